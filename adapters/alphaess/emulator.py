"""AlphaESS's cloud and its batteries on loopback.

Follows the Web Monitoring API Specification V2.1 and, where it is silent, what servers were seen to do: checks in
the order token, signature, timestamp, account, serial number, permission; a token lives 90 minutes from its
last use and belongs to one address; an empty Sn dispatches every system; code 0 means stored, no more; a dispatch
lapses 90 s after it was received. The document has no limit of calls, so `Faults.rate_limited` changes nothing here.
"""

from __future__ import annotations

import base64
import datetime as dt
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.utils import format_datetime
from typing import Any
from zoneinfo import ZoneInfo

from Crypto.Cipher import AES
from Crypto.Hash import MD5, SHA256
from Crypto.Util.Padding import unpad
from pydantic import BaseModel, ConfigDict, SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.alphaess.emulated_system import DISPATCH_EVENTS, System
from adapters.alphaess.mapping import (
    PATHS,
    POWER_CADENCE_S,
    RUNNING_CADENCE_S,
    ControlMode,
    ReturnCode,
    Status,
    power_from_raw,
    soc_from_raw,
)
from adapters.emulation import (
    Cloud,
    EmulatedClock,
    EmulatedCloud,
    EmulatedSite,
    EventLog,
    FaultBox,
)

CADENCES_S = (POWER_CADENCE_S, RUNNING_CADENCE_S)
TOKEN_LIFE = dt.timedelta(minutes=90)
TIMESTAMP_WINDOW_S = 300


class Account(BaseModel):
    """The one account that the emulated cloud knows."""

    model_config = ConfigDict(frozen=True)

    api_account: str
    api_secret: SecretStr
    username: str
    password: SecretStr

    @classmethod
    def random(cls) -> Account:
        """Throw-away credentials."""
        return cls(
            api_account=f"api{secrets.token_hex(4)}",
            api_secret=SecretStr(secrets.token_hex(16)),
            username=f"user{secrets.token_hex(4)}",
            password=SecretStr(secrets.token_urlsafe(12)),
        )


class AlphaEssCloud(EmulatedCloud):
    """The vendor's server: one account, its tokens, its systems."""

    def __init__(
        self,
        sites: Sequence[EmulatedSite],
        clock: EmulatedClock,
        log: EventLog,
        faults: FaultBox,
        account: Account | None = None,
        upload_time_zone: str = "UTC",
        largest_page: int = 100,
    ) -> None:
        """Take the sites, whose cadences are `CADENCES_S`.

        Args:
            sites: The systems of the account.
            clock: The true time; the cloud's own may be off by a fault.
            log: What happened.
            faults: The switches.
            account: Credentials; None makes throw-away ones.
            upload_time_zone: Zone of `UploadTime`.
            largest_page: A larger `pagesize` is cut to this.
        """
        self._account = account or Account.random()
        self._zone = upload_time_zone
        self._largest_page = largest_page
        self._clock, self._log, self._faults = clock, log, faults
        zone = ZoneInfo(upload_time_zone)
        self._systems = {site.device_id: System(site, log, faults, zone) for site in sites}
        self._tokens: dict[str, tuple[dt.datetime, str]] = {}
        handlers: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "GetSystemList": self._system_list,
            "GetEnergySummary": self._energy_summary,
            "GetRunningData": lambda body: self._written(
                s.running_rows[-1] for s in self._chosen(body) if s.running_rows
            ),
            "GetHistoryRunningData": self._history,
            "GetLastPowerData": lambda body: self._written(s.power_row for s in self._chosen(body)),
            "RemoteDispatch": self._dispatch,
        }
        routes = [Route(PATHS["Login"], self._login, methods=["POST"])]
        routes += [Route(PATHS[name], self._data_call(name, call), methods=["POST"]) for name, call in handlers.items()]
        self._offer(routes, clock, faults, lambda path: path == PATHS["RemoteDispatch"])

    def account(self) -> dict[str, Any]:
        """What `adapters.alphaess.adapter.create` needs beside the address."""
        return {
            "api_account": self._account.api_account,
            "api_secret": self._account.api_secret.get_secret_value(),
            "username": self._account.username,
            "password": self._account.password.get_secret_value(),
            "upload_time_zone": self._zone,
        }

    def system(self, serial_number: str) -> System:
        """One of the systems."""
        return self._systems[serial_number]

    def advance(self) -> None:
        """Bring all systems to the emulated time."""
        now = self._clock.now()
        for system in self._systems.values():
            system.advance(now)

    def state(self) -> dict[str, Any]:
        """The emulator's own account of itself."""
        return {
            "systems": {
                serial_number: {
                    **system.site.state(),
                    "lapse_s": system.lapse_s,
                    **{event: self._log.count(event, serial_number) for event in DISPATCH_EVENTS},
                }
                for serial_number, system in self._systems.items()
            }
        }

    async def _login(self, request: Request) -> Response:
        self.advance()
        body = await _json_object(request)
        fields = {"api_account": str, "timestamp": int, "sign": str, "username": str, "password": str}
        if body is None or not _typed(body, fields):
            return self._answer({"Message": "The request is invalid."}, status_code=400)
        code = self._login_code(body)
        if code is not ReturnCode.OK:
            self._log.add(self._clock.now(), "login refused", code=int(code))
            return self._answer({"ReturnCode": int(code)})
        token = secrets.token_hex(16)
        self._tokens = {token: (self._clock.now(), _address(request))}
        self._log.add(self._clock.now(), "login")
        return self._answer({"ReturnCode": 0, "userType": "customer", "Token": token})

    def _login_code(self, body: Mapping[str, Any]) -> ReturnCode:
        if not self._in_window(body["timestamp"]):
            return ReturnCode.TIMESTAMP
        if body["api_account"] != self._account.api_account:
            return ReturnCode.API_ACCOUNT
        if not self._is_signed(body):
            return ReturnCode.SIGNATURE
        if body["username"] != self._account.username:
            return ReturnCode.USER
        if not body["password"]:
            return ReturnCode.FIELD_MISSING
        password = _decrypt(body["password"], self._account.username)
        expected = self._account.password.get_secret_value()
        if password is None or not hmac.compare_digest(password.encode(), expected.encode()):
            return ReturnCode.PASSWORD
        return ReturnCode.OK

    def _data_call(self, name: str, call: Callable[[Mapping[str, Any]], Any]) -> Callable[[Request], Any]:
        fields = {"api_account": str, "timestamp": int, "sign": str, "Token": str, **_FIELDS[name]}

        async def handle(request: Request) -> Response:
            body = await _json_object(request)
            optional = {key: kind for key, kind in _OPTIONAL.items() if body and body.get(key) is not None}
            if body is None or not _typed(body, {**optional, **fields}):
                return self._answer({"Message": "The request is invalid."}, status_code=400)
            code = self._data_code(body, _address(request))
            if code is not ReturnCode.OK:
                self._log.add(self._clock.now(), "call refused", call=name, code=int(code))
                return self._answer({"ReturnCode": int(code), "Result": None})
            # Only the systems that are asked about: bringing thousands up to date for each call takes all the time.
            for system in self._chosen(body):
                system.advance(self._clock.now())
            self._log.add(self._clock.now(), "call", call=name)
            try:
                # Nothing to show is null, not an empty list.
                return self._answer({"ReturnCode": 0, "Result": call(body) or None})
            except ValueError:
                return self._answer({"ReturnCode": int(ReturnCode.ERROR), "Result": None})

        return handle

    def _data_code(self, body: Mapping[str, Any], address: str) -> ReturnCode:
        faults = self._faults.now
        if faults.session_stolen:
            self._tokens.clear()  # another login ends the session before it
        last_used, owner = self._tokens.get(body["Token"], (None, ""))
        if last_used is None or faults.tokens_expired or self._clock.now() - last_used > TOKEN_LIFE:
            return ReturnCode.LOGIN_TIMEOUT
        if owner != address:
            return ReturnCode.ABNORMAL_LOGIN
        if not self._is_signed(body):
            return ReturnCode.SIGNATURE
        if not self._in_window(body["timestamp"]):
            return ReturnCode.TIMESTAMP
        if body["api_account"] != self._account.api_account:
            return ReturnCode.API_ACCOUNT
        serial_number = body.get("Sn")
        if serial_number and serial_number not in self._systems:
            return ReturnCode.SERIAL_NUMBER
        self._tokens[body["Token"]] = (self._clock.now(), owner)
        return ReturnCode.OK

    def _in_window(self, timestamp: int) -> bool:
        return abs(int(self._now().timestamp()) - timestamp) <= TIMESTAMP_WINDOW_S

    def _now(self) -> dt.datetime:
        """What the cloud's own clock shows."""
        return self._clock.now() + dt.timedelta(seconds=self._faults.now.clock_skew_s)

    def _is_signed(self, body: Mapping[str, Any]) -> bool:
        # Written out again rather than shared with the client, so that the two can disagree.
        pairs = [(key, value) for key, value in body.items() if key != "sign"]
        pairs.append(("secretkey", self._account.api_secret.get_secret_value()))
        pairs.sort(key=lambda pair: pair[0].casefold())
        text = "".join(f"{key}={'' if value is None else value}" for key, value in pairs)
        return hmac.compare_digest(MD5.new(text.encode()).hexdigest().encode(), body["sign"].encode())

    def _chosen(self, body: Mapping[str, Any]) -> list[System]:
        serial_number = body.get("Sn")
        return [self._systems[serial_number]] if serial_number else list(self._systems.values())

    def _system_list(self, body: Mapping[str, Any]) -> dict[str, Any]:
        page, size = body["pageindex"], min(body.get("pagesize") or 10, self._largest_page)
        systems = list(self._systems.values())
        shown = systems[(page - 1) * size : page * size]
        return {
            "PageIndex": page,
            "PageSize": size,
            "TotalPageCount": -(-len(systems) // size),
            "TotalCount": len(systems),
            "Systems": [
                {
                    "Sn": system.serial_number,
                    "SystemModel": "Emulated",
                    "Cobat": system.site.plant.battery.capacity_kwh,
                    "Poinv": max(system.site.plant.battery.max_charge_kw, system.site.plant.battery.max_discharge_kw),
                    "Remark": "",
                    "NetWorkStatus": 1,
                }
                for system in shown
            ],
        }

    def _energy_summary(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        day = body["TheDate"]
        summaries = []
        for system in self._chosen(body):
            rows = list(system.running_rows)
            within = [place for place, row in enumerate(rows) if row["UploadTime"].startswith(day)]
            if within:
                # To the first row of the next day, where there is one: registers are read at midnight.
                first, last = rows[within[0]], rows[min(within[-1] + 1, len(rows) - 1)]
                summaries.append(
                    {
                        "Sn": system.serial_number,
                        **{name: round(last[source] - first[source], 3) for name, source in _SUMMARY.items()},
                    }
                )
        return self._written(summaries)

    def _history(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        begin, end = (dt.datetime.fromisoformat(body[name].replace("/", "-")) for name in ("Starttime", "endtime"))
        if not dt.timedelta(0) <= end - begin <= dt.timedelta(days=1):
            raise ValueError("history: one day at a time")
        return self._written(
            row
            for system in self._chosen(body)
            for row in system.running_rows
            if f"{begin}" <= row["UploadTime"] <= f"{end}"
        )

    def _dispatch(self, body: Mapping[str, Any]) -> None:
        for system in self._chosen(body):
            system.receive(
                power_from_raw(body["ActivePower"]),
                soc_from_raw(body["SOC"]),
                ControlMode(body["ControlMode"])
                if body["ControlMode"] in set(ControlMode)
                else ControlMode.LOAD_FOLLOWING,
                Status.START if body["Status"] == Status.START else Status.STOP,
            )

    def _written(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Rows with their numbers as the cloud writes them now."""
        return [
            {name: value if isinstance(value, str) else self._faults.written(value) for name, value in row.items()}
            for row in rows
        ]

    def _answer(self, content: Mapping[str, Any], status_code: int = 200) -> Response:
        date = format_datetime(self._now(), usegmt=True)
        shown = _oddly_named(content) if self._faults.now.odd_json else dict(content)
        return JSONResponse(shown, status_code=status_code, headers={"Date": date})


_SUMMARY = {"Einput": "Einput", "Eout": "Eoutput", "Ebat": "EDischarge", "EpvT": "EpvTotal"}
_OPTIONAL: dict[str, type] = {"Sn": str, "pagesize": int}
_FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "GetSystemList": {"pageindex": int},
    "GetEnergySummary": {"TheDate": str},
    "GetRunningData": {},
    "GetHistoryRunningData": {"Starttime": str, "endtime": str},
    "GetLastPowerData": {},
    "RemoteDispatch": {
        "ActivePower": int,
        "ReactivePower": int,
        "SOC": (int, float),
        "Status": int,
        "ControlMode": int,
    },
}


def build(sites: Sequence[EmulatedSite], clock: EmulatedClock, log: EventLog, faults: FaultBox) -> Cloud:
    """The cloud of one account with throw-away credentials.

    Args:
        sites: Its systems; the cadences of their readings are `CADENCES_S`.
        clock: The emulated time.
        log: What happens.
        faults: The switches.
    """
    return AlphaEssCloud(sites, clock, log, faults)


def _oddly_named(content: Any) -> Any:
    """The same with every name in the other case, and the list under the name that section 2 does not have."""
    if isinstance(content, Mapping):
        renamed = {("Items" if name == "Systems" else name): value for name, value in content.items()}
        return {name.swapcase(): _oddly_named(value) for name, value in renamed.items()}
    return [_oddly_named(part) for part in content] if isinstance(content, list) else content


async def _json_object(request: Request) -> dict[str, Any] | None:
    try:
        body = await request.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _typed(body: Mapping[str, Any], fields: Mapping[str, type | tuple[type, ...]]) -> bool:
    return all(
        isinstance(body.get(name), kind) and not isinstance(body.get(name), bool) for name, kind in fields.items()
    )


def _decrypt(text: str, key_seed: str) -> str | None:
    seed = key_seed.encode()
    cipher = AES.new(SHA256.new(seed).digest(), AES.MODE_CBC, iv=MD5.new(seed).digest())
    try:
        return unpad(cipher.decrypt(base64.b64decode(text, validate=True)), AES.block_size).decode()
    except ValueError:
        return None


def _address(request: Request) -> str:
    return "" if request.client is None else request.client.host

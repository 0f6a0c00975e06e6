"""AlphaESS's cloud and its batteries on loopback.

Follows the Web Monitoring API Specification V2.1 and, where it is silent, what servers were seen to do: checks in
the order token, signature, timestamp, account, serial number, permission; a token lives 90 minutes from its
last use and belongs to one address; an empty Sn dispatches every system; code 0 means stored, no more; a dispatch
lapses 90 s after it was received.
"""

from __future__ import annotations

import base64
import datetime as dt
import hmac
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import format_datetime
from typing import Any
from zoneinfo import ZoneInfo

from Crypto.Cipher import AES
from Crypto.Hash import MD5, SHA256
from Crypto.Util.Padding import unpad
from pydantic import BaseModel, ConfigDict, SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.alphaess.mapping import (
    DISPATCH_LIFETIME_S,
    PATHS,
    POWER_CADENCE_S,
    RUNNING_CADENCE_S,
    ControlMode,
    ReturnCode,
    Status,
    power_from_raw,
    soc_from_raw,
)
from adapters.emulation import EmulatedClock, EventLog, House, control_routes
from engine.plant import Plant, PlantCommand, PlantMode

TOKEN_LIFE = dt.timedelta(minutes=90)
TIMESTAMP_WINDOW_S = 300
# Between the cloud's receipt and the battery's obedience.
APPLY_DELAY_S = 5.0
# Two months of states.
KEPT_ROWS = 60 * 288
DISPATCH_EVENTS = ("started", "renewed", "stopped", "lapsed")


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


@dataclass(frozen=True)
class Dispatch:
    """A dispatch as the cloud stored it."""

    power_kw: float
    until_soc: float
    mode: ControlMode
    applies_at: dt.datetime
    lapses_at: dt.datetime

    def as_plant_command(self) -> PlantCommand:
        """What the system's controller makes of it."""
        if self.mode is ControlMode.STATE_OF_CHARGE:
            return PlantCommand(PlantMode.SET_POINT, self.power_kw, self.until_soc)
        if self.mode is ControlMode.PV_CHARGE_ONLY:
            return PlantCommand(PlantMode.PV_CHARGE, min(0.0, self.power_kw))
        return PlantCommand(PlantMode.SELF_CONSUMPTION)


@dataclass
class System:
    """One battery system: physics, the dispatch in force, and the rows that the cloud shows of it."""

    serial_number: str
    plant: Plant
    house: House
    now: dt.datetime
    log: EventLog
    zone: dt.tzinfo = dt.UTC
    dispatch: Dispatch | None = None
    pending: Dispatch | None = None
    lapsed_at: dt.datetime | None = None
    lapse_s: float = 0.0
    power_row: dict[str, Any] | None = None
    running_rows: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT_ROWS))

    def __post_init__(self) -> None:
        self._step(1e-3)  # instruments read something from the first moment on
        self._record(self.now)

    def receive(self, power_kw: float, until_soc: float, mode: ControlMode, status: Status) -> None:
        """Take a dispatch or its stop, effective after the delay."""
        if self.lapsed_at is not None:
            # The controller came back after a lapse: that time the battery was not where it was wanted.
            self.lapse_s += (self.now - self.lapsed_at).total_seconds()
            self.lapsed_at = None
        if status is Status.STOP:
            self.log.add(self.now, "stopped", sn=self.serial_number, was_active=self.dispatch is not None)
            self.dispatch = self.pending = None
            self.plant.command = PlantCommand()
            return
        renewal = (self.pending or self.dispatch) is not None
        self.pending = Dispatch(
            power_kw=power_kw,
            until_soc=until_soc,
            mode=mode,
            applies_at=self.now + dt.timedelta(seconds=APPLY_DELAY_S),
            lapses_at=self.now + dt.timedelta(seconds=DISPATCH_LIFETIME_S),
        )
        if self.dispatch is not None:
            # The old order holds until the new one applies, but the lease is renewed now.
            self.dispatch = replace(self.dispatch, lapses_at=self.pending.lapses_at)
        event = "renewed" if renewal else "started"
        self.log.add(self.now, event, sn=self.serial_number, power_kw=power_kw, mode=int(mode))

    def advance(self, target: dt.datetime) -> None:
        """Let physics, leases and row cadences catch up with a time."""
        while self.now < target:
            until = min([target, self._next_row_at(), *self._lease_events()])
            self._step((until - self.now).total_seconds())
            self.now = until
            self._apply_lease_events()
            if _is_multiple(self.now, POWER_CADENCE_S):
                self._record(self.now)

    @property
    def released(self) -> bool:
        """Whether the battery follows the house by itself."""
        return self.dispatch is None and self.pending is None

    def _lease_events(self) -> list[dt.datetime]:
        events = []
        if self.pending is not None:
            events.append(self.pending.applies_at)
        if self.dispatch is not None:
            events.append(self.dispatch.lapses_at)
        return [event for event in events if event > self.now]

    def _apply_lease_events(self) -> None:
        if self.pending is not None and self.pending.applies_at <= self.now:
            self.dispatch, self.pending = self.pending, None
            self.plant.command = self.dispatch.as_plant_command()
        if self.dispatch is not None and self.dispatch.lapses_at <= self.now:
            self.log.add(self.now, "lapsed", sn=self.serial_number, power_kw=self.dispatch.power_kw)
            self.dispatch = None
            self.lapsed_at = self.now
            self.plant.command = PlantCommand()

    def _next_row_at(self) -> dt.datetime:
        period = POWER_CADENCE_S
        return dt.datetime.fromtimestamp((self.now.timestamp() // period + 1) * period, dt.UTC)

    def _step(self, seconds: float) -> None:
        load_kw, pv_kw = self.house.at(self.now)
        self.plant.run(seconds, load_kw, pv_kw)

    def _record(self, at: dt.datetime) -> None:
        self.power_row = self._row(at)
        if _is_multiple(at, RUNNING_CADENCE_S):
            self.running_rows.append({**self.power_row, **self._state()})

    def _row(self, at: dt.datetime) -> dict[str, Any]:
        sample = self.plant.sample
        return {
            "Sn": self.serial_number,
            "UploadTime": at.astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S"),
            "Ppv1": round(sample.pv_kw * 1000),
            "Ppv2": 0,
            "PrealL1": round((sample.battery_kw + sample.pv_kw) * 1000),
            "PrealL2": None,
            "PrealL3": None,
            "PmeterL1": round(sample.grid_kw * 1000),
            "PmeterL2": None,
            "PmeterL3": None,
            "PmeterDc": 0,
            "Pbat": round(sample.battery_kw * 1000),
            "Sva": round(abs(sample.battery_kw + sample.pv_kw) * 1000),
        }

    def _state(self) -> dict[str, Any]:
        registers, battery = self.plant.registers, self.plant.battery
        dispatch = self.dispatch
        return {
            "InvworkMode": 2,
            "Soc": round(self.plant.soc * 100, 1),
            "Pcharge": round(battery.max_charge_kw * 1000),
            "Pdischarge": round(battery.max_discharge_kw * 1000),
            "EpvTotal": round(registers.pv_kwh, 3),
            "Einput": round(registers.import_kwh, 3),
            "Eoutput": round(registers.export_kwh, 3),
            "Echarge": round(registers.charge_kwh, 3),
            "EDischarge": round(registers.discharge_kwh, 3),
            "DispatchSwitch": int(dispatch is not None),
            "Pdispatch": 0 if dispatch is None else round(dispatch.power_kw * 1000),
            "DispatchSoc": 0 if dispatch is None else round(dispatch.until_soc * 100, 1),
            "DispatchMode": 0 if dispatch is None else int(dispatch.mode),
        }


class AlphaEssCloud:
    """The vendor's server: one account, its tokens, its systems."""

    def __init__(self, account: Account, systems: list[System], clock: EmulatedClock, log: EventLog) -> None:
        self._account = account
        self._systems = {system.serial_number: system for system in systems}
        self._clock = clock
        self._log = log
        self.stopped = False
        self._tokens: dict[str, tuple[dt.datetime, str]] = {}
        handlers: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "GetSystemList": self._system_list,
            "GetEnergySummary": self._energy_summary,
            "GetRunningData": lambda body: [s.running_rows[-1] for s in self._chosen(body) if s.running_rows],
            "GetHistoryRunningData": self._history,
            "GetLastPowerData": lambda body: [s.power_row for s in self._chosen(body) if s.power_row],
            "RemoteDispatch": self._dispatch,
        }
        routes = [Route(PATHS["Login"], self._login, methods=["POST"])]
        routes += [Route(PATHS[name], self._data_call(name, call), methods=["POST"]) for name, call in handlers.items()]
        self.app = Starlette(routes=[*routes, *control_routes(clock, self.advance, self.state, self.stop)])

    def advance(self) -> None:
        """Bring all systems to the emulated time."""
        now = self._clock.now()
        for system in self._systems.values():
            system.advance(now)

    def stop(self) -> None:
        """Whoever serves this cloud should end."""
        self.stopped = True

    def state(self) -> dict[str, Any]:
        """The emulator's own account of itself."""
        return {
            "systems": {
                serial_number: {
                    "released": system.released,
                    "soc": system.plant.soc,
                    "battery_kw": system.plant.sample.battery_kw,
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
            self.advance()
            body = await _json_object(request)
            optional = {key: kind for key, kind in _OPTIONAL.items() if body and body.get(key) is not None}
            if body is None or not _typed(body, {**optional, **fields}):
                return self._answer({"Message": "The request is invalid."}, status_code=400)
            code = self._data_code(body, _address(request))
            if code is not ReturnCode.OK:
                self._log.add(self._clock.now(), "call refused", call=name, code=int(code))
                return self._answer({"ReturnCode": int(code), "Result": None})
            self._log.add(self._clock.now(), "call", call=name)
            try:
                # Nothing to show is null, not an empty list.
                return self._answer({"ReturnCode": 0, "Result": call(body) or None})
            except ValueError:
                return self._answer({"ReturnCode": int(ReturnCode.ERROR), "Result": None})

        return handle

    def _data_code(self, body: Mapping[str, Any], address: str) -> ReturnCode:
        last_used, owner = self._tokens.get(body["Token"], (None, ""))
        if last_used is None or self._clock.now() - last_used > TOKEN_LIFE:
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
        return abs(int(self._clock.now().timestamp()) - timestamp) <= TIMESTAMP_WINDOW_S

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
        page, size = body["pageindex"], body.get("pagesize") or 10
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
                    "Cobat": system.plant.battery.capacity_kwh,
                    "Poinv": max(system.plant.battery.max_charge_kw, system.plant.battery.max_discharge_kw),
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
        return summaries

    def _history(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        begin, end = (dt.datetime.fromisoformat(body[name].replace("/", "-")) for name in ("Starttime", "endtime"))
        if not dt.timedelta(0) <= end - begin <= dt.timedelta(days=1):
            raise ValueError("history: one day at a time")
        return [
            row
            for system in self._chosen(body)
            for row in system.running_rows
            if f"{begin}" <= row["UploadTime"] <= f"{end}"
        ]

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

    def _answer(self, content: Mapping[str, Any], status_code: int = 200) -> Response:
        date = format_datetime(self._clock.now(), usegmt=True)
        return JSONResponse(dict(content), status_code=status_code, headers={"Date": date})


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


def emulated_system(
    serial_number: str,
    plant: Plant,
    house: House,
    start: dt.datetime,
    log: EventLog,
    upload_time_zone: str = "UTC",
) -> System:
    """A system whose rows begin at a time."""
    return System(serial_number, plant, house, start, log, ZoneInfo(upload_time_zone))


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


def _is_multiple(moment: dt.datetime, period_s: float) -> bool:
    return moment.timestamp() % period_s == 0

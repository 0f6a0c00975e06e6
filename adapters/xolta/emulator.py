"""Xolta's cloud, its authority and its devices on loopback.

Follows the API Manual: bearer tokens of an authority with OpenID discovery, samples every 10 s that arrive once a
minute, five calls, and fair use: who asks a call more than once a minute is first warned, then locked out of that call
for a while. Where the manual is silent it does what servers were seen to do, and where nobody has seen anything the
harshest that is plausible: numbers go stale while a device idles, though their time stamps do not; a map of set-points
replaces the one before it; commands to an idling device are taken and come to nothing.
"""

from __future__ import annotations

import datetime as dt
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs

from pydantic import BaseModel, ConfigDict, SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.emulation import (
    Cloud,
    EmulatedClock,
    EmulatedCloud,
    EmulatedSite,
    EventLog,
    FaultBox,
    Reading,
)
from adapters.xolta.emulated_device import CADENCES_S, EmulatedDevice
from adapters.xolta.mapping import Mode, Sign, State, Unit

TOKEN_LIFE = dt.timedelta(seconds=3599)
SCOPE = "https://Xolta.onmicrosoft.com/TelemetryAPI/.default"
# So many calls too early are let pass, each within so long of the last.
FORGIVEN, FORGOTTEN_AFTER = 3, dt.timedelta(minutes=10)
FAIR = dt.timedelta(seconds=59)
"""A minute, less what a call is under way."""
LONGEST_QUERY = dt.timedelta(days=2)
LARGEST_VALUE = 1e7
__all__ = ["CADENCES_S", "Account", "XoltaCloud", "build"]
_STAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")


class Account(BaseModel):
    """The one organisation that the emulated authority knows."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    client_id: str
    client_secret: SecretStr

    @classmethod
    def random(cls) -> Account:
        """Throw-away credentials."""
        return cls(
            tenant=secrets.token_hex(8),
            client_id=secrets.token_hex(8),
            client_secret=SecretStr(secrets.token_urlsafe(16)),
        )


class XoltaCloud(EmulatedCloud):
    """The vendor's servers: an authority, its tokens, and the devices of one organisation."""

    def __init__(
        self,
        account: Account,
        sites: Sequence[EmulatedSite],
        clock: EmulatedClock,
        log: EventLog,
        faults: FaultBox,
        *,
        unit: Unit = "kW",
        sign: Sign = 1,
    ) -> None:
        """Take sites that read every `CADENCES_S`; unit and sign are those of `batteryActivePower`."""
        self._account, self._clock, self._log, self._faults = account, clock, log, faults
        self._unit, self._sign = unit, sign
        self.devices = {site.device_id: EmulatedDevice(site, log, faults, unit, sign) for site in sites}
        self._tokens: dict[str, dt.datetime] = {}
        self._asked: dict[str, dt.datetime] = {}
        self._unfair: Counter[str] = Counter()
        self._unfair_at: dict[str, dt.datetime] = {}
        self._banned_until: dict[str, dt.datetime] = {}
        tenant = f"/{account.tenant}"
        routes = [
            Route(f"{tenant}/v2.0/.well-known/openid-configuration", self._discovery, methods=["GET"]),
            Route(f"{tenant}/oauth2/v2.0/token", self._token, methods=["POST"]),
            Route("/api/deviceStatus", self._guarded("deviceStatus", self._device_status)),
            Route("/api/GetTelemetryRaw", self._guarded("GetTelemetryRaw", self._raw)),
            Route("/api/GetTelemetrySummary", self._guarded("GetTelemetrySummary", self._summary)),
            Route("/api/GetDataSummary", self._guarded("GetTelemetrySummary", self._summary)),
            Route("/api/GetMetaData", self._guarded("GetMetaData", self._meta_data)),
            Route("/api/SendStateModeCommand", self._guarded("command", self._command), methods=["POST"]),
        ]
        self._offer(routes, clock, faults, lambda path: path.endswith("Command"))

    def advance(self) -> None:
        """Bring all devices to the emulated time."""
        now = self._clock.now()
        for device in self.devices.values():
            device.advance(now)

    def state(self) -> dict[str, Any]:
        """The emulator's own account of itself."""
        return {
            "systems": {
                device_id: {
                    **device.site.state(),
                    "released": device.mode is Mode.SELF_CONSUMPTION and device.site.released,
                    "state": device.state.value,
                    "mode": device.mode.value,
                    "commands": self._log.count("command", device_id),
                }
                for device_id, device in self.devices.items()
            }
        }

    def account(self) -> dict[str, Any]:
        """Settings of an adapter for it, as a commissioned organisation has them."""
        return {
            "authority": f"/{self._account.tenant}",
            "client_id": self._account.client_id,
            "client_secret": self._account.client_secret.get_secret_value(),
            "commissioned": True,
            "setpoint_unit": self._unit,
            "setpoint_sign": self._sign,
        }

    # --- the authority ---

    async def _discovery(self, request: Request) -> Response:
        # An authority is reached by https, whatever a proxy makes of it on the way.
        base = f"https://{request.headers['host']}/{self._account.tenant}"
        return self._answer(
            {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
            }
        )

    async def _token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode("utf-8", "replace")).items()}
        if form.get("grant_type") != "client_credentials":
            return self._oauth_error("unsupported_grant_type", 400)
        if form.get("client_id") != self._account.client_id:
            return self._oauth_error("unauthorized_client", 400)
        expected = self._account.client_secret.get_secret_value()
        if not hmac.compare_digest(form.get("client_secret", "").encode(), expected.encode()):
            return self._oauth_error("invalid_client", 401)
        if form.get("scope") != SCOPE:
            return self._oauth_error("invalid_scope", 400)
        token = secrets.token_urlsafe(24)
        self._tokens[token] = self._clock.now() + TOKEN_LIFE
        self._log.add(self._clock.now(), "login")
        return self._answer(
            {"token_type": "Bearer", "expires_in": int(TOKEN_LIFE.total_seconds()), "access_token": token}
        )

    def _oauth_error(self, error: str, status: int) -> Response:
        self._log.add(self._clock.now(), "login refused", error=error)
        return self._answer({"error": error, "error_description": f"AADSTS: {error}"}, status)

    # --- the API ---

    def _guarded(
        self, call: str, handle: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            self.advance()
            if not self._is_known(request.headers.get("Authorization", "")):
                self._log.add(self._clock.now(), "call refused", call=call, status=401)
                return self._answer({"message": "Unauthorized"}, 401)
            banned_s = self._ban_s(call)
            if banned_s is not None:
                self._log.add(self._clock.now(), "call refused", call=call, status=429)
                return self._answer({"message": "Too many requests"}, 429, {"Retry-After": f"{banned_s:.0f}"})
            self._log.add(self._clock.now(), "call", call=call)
            try:
                return await handle(request)
            except (KeyError, ValueError) as error:
                self._log.add(self._clock.now(), "bad request", call=call, error=str(error))
                return self._answer({"message": "Bad request"}, 400)

        return guarded

    def _is_known(self, header: str) -> bool:
        if self._faults.now.tokens_expired or not header.startswith("Bearer "):
            return False
        expires_at = self._tokens.get(header.removeprefix("Bearer "))
        return expires_at is not None and self._clock.now() < expires_at

    def _ban_s(self, call: str) -> float | None:
        """How long a call is banned still; asking in that time begins the ban anew."""
        now, ban = self._clock.now(), dt.timedelta(seconds=self._faults.now.ban_s)
        if self._faults.now.rate_limited or now < self._banned_until.get(call, now):
            self._banned_until[call] = now + ban
            return ban.total_seconds()
        if call == "command":
            return None
        last, self._asked[call] = self._asked.get(call), now
        if last is None or now - last >= FAIR:
            return None
        if now - self._unfair_at.get(call, now) > FORGOTTEN_AFTER:
            self._unfair[call] = 0
        self._unfair[call] += 1
        self._unfair_at[call] = now
        self._log.add(now, "unfair", call=call)
        if self._unfair[call] <= FORGIVEN:
            return None
        self._banned_until[call] = now + ban
        return ban.total_seconds()

    async def _device_status(self, _: Request) -> Response:
        rows = [self._status(device) for device in self._all()]
        if not self._faults.now.odd_json:
            return self._answer(rows)
        return self._answer({"Data": {"Devices": [self._oddly(row) for row in rows], "Next": None}})

    def _status(self, device: EmulatedDevice) -> dict[str, Any]:
        return {
            "deviceId": device.site.device_id,
            "siteId": f"site-{device.site.device_id}",
            "state": device.state.value,
            "mode": device.mode.value,
            **self._sample_row(*device.samples[-1]),
        }

    @staticmethod
    def _oddly(row: Mapping[str, Any]) -> dict[str, Any]:
        """The same in capitals, its telemetry in a list of its own, beside an older sample and unknown fields."""
        outer = {"deviceId", "siteId", "state", "mode"}
        capital = {name[0].upper() + name[1:]: value for name, value in row.items()}
        inner = {name: value for name, value in capital.items() if name[0].lower() + name[1:] not in outer}
        older = {**inner, "UtcTime": "2001-01-01T00:00:00Z", "InverterActivePower": 99.0}
        shown = {name: value for name, value in capital.items() if name not in inner}
        return {**shown, "Firmware": {"version": [1, None, "x"]}, "Telemetry": [older, inner], "Alarms": None}

    async def _raw(self, request: Request) -> Response:
        device = self.devices[request.query_params["DeviceId"]]
        begin, end = self._stretch(request)
        rows = [self._sample_row(*sample) for sample in device.samples if begin <= sample[1].at <= end]
        return self._answer({"telemetry": rows})

    async def _summary(self, request: Request) -> Response:
        begin, end = self._stretch(request)
        minutes = int(request.query_params["resolutionMin"])
        if minutes not in (1, 10, 60):
            raise ValueError("resolutionMin")
        wants_consumption = {"true": True, "false": False}[request.query_params["CalculateConsumptionNeeded"]]
        device_id, site_id = request.query_params.get("DeviceId"), request.query_params.get("SiteId")
        if (device_id is None) == (site_id is None):
            raise ValueError("DeviceId or SiteId")
        device = self.devices[device_id if device_id is not None else str(site_id).removeprefix("site-")]
        step = dt.timedelta(minutes=minutes)
        buckets: dict[dt.datetime, list[Reading]] = {}
        for _, sample in device.samples:
            if begin <= sample.at < end:
                whole = dt.datetime.fromtimestamp(
                    sample.at.timestamp() // step.total_seconds() * step.total_seconds(), dt.UTC
                )
                buckets.setdefault(whole + step, []).append(sample)
        rows = [
            self._bucket_row(ends, samples, site_id is not None, wants_consumption) for ends, samples in buckets.items()
        ]
        return self._answer({"telemetry": rows})

    async def _meta_data(self, _: Request) -> Response:
        reading = next(iter(self._all())).samples[-1]
        names = [name for name in self._sample_row(*reading) if name != "utcTime"]
        return self._answer([{"signal": name, "type": "Float32", "unit": None} for name in names])

    async def _command(self, request: Request) -> Response:
        body = await request.json()
        if not isinstance(body, dict) or set(body) != {"DeviceId", "CommandName", "Payload"}:
            raise ValueError("DeviceId, CommandName and Payload are wanted")
        device = self.devices.get(str(body["DeviceId"]))
        if device is None:
            return self._answer({"message": "Unknown device"}, 404)
        name, payload = body["CommandName"], body["Payload"]
        acts: dict[str, Callable[[], None]] = {
            "GoToMode_SelfConsumption": device.follow_house,
            "GoToState_Running": lambda: device.go_to_state(State.RUNNING),
            "GoToState_Idling": lambda: device.go_to_state(State.IDLING),
        }
        if not isinstance(name, str):
            raise ValueError("CommandName")
        points = self._points(payload) if name == "GoToMode_ExternalControl" else None
        if points is None and (name not in acts or payload != ""):
            raise ValueError("CommandName or Payload")
        self._log.add(self._clock.now(), "command", sn=device.site.device_id, name=name, payload=payload)
        if points is None:
            acts[name]()
        else:
            device.follow(points)
        return Response(status_code=200, headers=self._headers())

    def _points(self, payload: Any) -> list[tuple[dt.datetime, float]]:
        if not isinstance(payload, dict) or set(payload) != {"setPoint"} or not isinstance(payload["setPoint"], dict):
            raise ValueError("Payload wants setPoint")
        entries: dict[str, Any] = payload["setPoint"]
        if not entries or set(entries) != {str(place) for place in range(1, len(entries) + 1)}:
            raise ValueError("setPoint wants keys from 1 on")
        points = []
        for entry in entries.values():
            if not isinstance(entry, dict) or set(entry) != {"utcTime", "batteryActivePower"}:
                raise ValueError("utcTime and batteryActivePower are wanted")
            value = entry["batteryActivePower"]
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST_VALUE:
                raise ValueError("batteryActivePower wants a number")
            # Times are meant by the cloud's clock.
            points.append((self._moment(entry["utcTime"]) - self._skew(), float(value)))
        return points

    # --- words ---

    def _all(self) -> list[EmulatedDevice]:
        return list(self.devices.values())

    def _skew(self) -> dt.timedelta:
        return dt.timedelta(seconds=self._faults.now.clock_skew_s)

    def _stretch(self, request: Request) -> tuple[dt.datetime, dt.datetime]:
        begin, end = (self._moment(request.query_params[name]) for name in ("fromDateTime", "toDateTime"))
        if not dt.timedelta(0) <= end - begin <= LONGEST_QUERY:
            raise ValueError("fromDateTime, toDateTime")
        return begin - self._skew(), end - self._skew()

    @staticmethod
    def _moment(text: Any) -> dt.datetime:
        if not isinstance(text, str) or not _STAMP.fullmatch(text):
            raise ValueError("a time wants whole seconds and Z")
        return dt.datetime.fromisoformat(text)

    def _stamp(self, at: dt.datetime) -> str:
        return (at + self._skew()).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _sample_row(self, set_point_kw: float, reading: Reading) -> dict[str, Any]:
        written = self._faults.written
        percent = reading.soc * 100
        return {
            "utcTime": self._stamp(reading.at),
            "inverterActivePower": written(round(reading.battery_kw, 6)),
            "inverterActivePowerSetPoint": written(round(set_point_kw, 6)),
            "inverterReactivePower": written(0.0),
            "inverterAcCurrentP1": None,
            "batteryPower": written(round(-reading.battery_kw * 1.02, 6)),
            "meterGridActivePower": written(round(reading.grid_kw, 6)),
            "meterPvActivePower": written(round(reading.pv_kw, 6)),
            "meterConsumptionActivePower": written(round(reading.load_kw, 6)),
            "bmsSocRawArrayCloudTrimmed": written(round(max(0.0, min(100.0, percent)), 4)),
            "bmsSocRawArray": [written(round(percent, 4)), written(round(percent, 4))],
        }

    def _bucket_row(
        self, ends: dt.datetime, samples: Sequence[Reading], of_site: bool, wants_consumption: bool
    ) -> dict[str, Any]:
        quantities = {
            "inverterActivePower": ([sample.battery_kw for sample in samples], "Sum"),
            "meterGridActivePower": ([sample.grid_kw for sample in samples], "Single"),
            "meterPvActivePower": ([sample.pv_kw for sample in samples], "Single"),
            "bmsSocRawArrayCloudTrimmed": ([sample.soc * 100 for sample in samples], "Avg"),
        }
        row: dict[str, Any] = {"utcEndTime": self._stamp(ends)}
        for name, (values, site_word) in quantities.items():
            mean = sum(values) / len(values)
            figures = {"AggAvg": mean, "AggMin": min(values), "AggMax": max(values), "AggCount": len(values)}
            for function, value in figures.items():
                row[name + function + (f"Site{site_word}" if of_site else "")] = self._faults.written(value)
        if wants_consumption:
            row["calculatedConsumption"] = self._faults.written(
                sum(sample.load_kw for sample in samples) / len(samples)
            )
        return row

    def _headers(self) -> dict[str, str]:
        return {"Date": format_datetime(self._clock.now() + self._skew(), usegmt=True)}

    def _answer(self, content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        return JSONResponse(content, status_code=status, headers={**self._headers(), **(headers or {})})


def build(sites: Sequence[EmulatedSite], clock: EmulatedClock, log: EventLog, faults: FaultBox) -> Cloud:
    """An emulated cloud for these sites, with throw-away credentials."""
    return XoltaCloud(Account.random(), sites, clock, log, faults)

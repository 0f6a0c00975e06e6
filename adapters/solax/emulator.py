"""SolaX's cloud and its inverters on loopback.

Follows the SolaXCloud User API V2.0 and, where it is silent, what servers were seen to do: fewer than 10 calls a
minute and 10,000 a day, refusals as too frequent in texts of their own, a ban of an hour after several of them.
"""

from __future__ import annotations

import datetime as dt
import hmac
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from email.utils import format_datetime
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.emulation import (
    EmulatedClock,
    EmulatedCloud,
    EmulatedSite,
    EventLog,
    FaultBox,
    Reading,
)
from adapters.solax.mapping import BatteryStatus, ErrorCode, InverterStatus

CADENCES_S = (300.0,)
"""The reading cadences that the sites of this cloud need [s]."""
PLANT_ZONE = "Europe/Copenhagen"
CALLS_PER_MINUTE, CALLS_PER_DAY = 10, 10_000
MINUTE, DAY, HOUR = dt.timedelta(minutes=1), dt.timedelta(days=1), dt.timedelta(hours=1)
REFUSALS_BEFORE_BAN = 3
TOO_MANY_IN_MINUTE = "Request calls within the current minute > threshold"
TOO_MANY_IN_DAY = "The number of calls exceeds the maximum call threshold limit"
BANNED = (
    "There have been several violations in a row, and the system will prohibit calls within the next hour, "
    "please try again later"
)
_MESSAGES = {
    ErrorCode.INTERFACE_UNAUTHORIZED: "Interface Unauthorized",
    ErrorCode.PARAMETER: "Parameter validation failed",
    ErrorCode.DATA_UNAUTHORIZED: "Data Unauthorized",
    ErrorCode.FAILED: "Operation failed",
    ErrorCode.NOT_FOUND: "Data not found",
}


class SolaxCloud(EmulatedCloud):
    """The vendor's server: one token and the inverters bound to it."""

    def __init__(
        self,
        token: SecretStr,
        sites: Sequence[EmulatedSite],
        clock: EmulatedClock,
        log: EventLog,
        faults: FaultBox,
        zone: str = PLANT_ZONE,
        gives_utc: bool = False,
    ) -> None:
        """Take the sites; `gives_utc` adds the `utcDateTime` that some servers send and the document lacks."""
        self._token, self._clock, self._log, self._faults = token, clock, log, faults
        self._sites = {site.device_id: site for site in sites}
        self._zone_name, self._zone, self._gives_utc = zone, ZoneInfo(zone), gives_utc
        self._calls: deque[dt.datetime] = deque(maxlen=CALLS_PER_DAY)
        self._refusals: deque[dt.datetime] = deque(maxlen=REFUSALS_BEFORE_BAN)
        self._banned_until: dt.datetime | None = None
        self._pv_before: dict[str, tuple[dt.date, float]] = {}
        routes = [Route("/api/v2/dataAccess/realtimeInfo/get", self._realtime_info, methods=["POST"])]
        self._offer(routes, clock, faults)

    def advance(self) -> None:
        """Bring all inverters to the emulated time."""
        now = self._clock.now()
        for site in self._sites.values():
            site.advance(now)
            self._begin_day(site)

    def state(self) -> dict[str, Any]:
        """The emulator's own account of itself."""
        return {
            "systems": {
                sn: {
                    **site.state(),
                    "calls": self._log.count("call", sn),
                }
                for sn, site in self._sites.items()
            }
        }

    def account(self) -> dict[str, Any]:
        """What an adapter needs, without the address."""
        return {"token_id": self._token.get_secret_value(), "upload_time_zone": self._zone_name}

    async def _realtime_info(self, request: Request) -> Response:
        self.advance()
        limited = self._limit()
        if limited is not None:
            return limited
        given = request.headers.get("tokenId", "")
        if self._faults.now.tokens_expired or not hmac.compare_digest(
            given.encode(), self._token.get_secret_value().encode()
        ):
            return self._refuse(ErrorCode.INTERFACE_UNAUTHORIZED)
        wifi_sn = await _wifi_sn(request)
        if wifi_sn is None:
            return self._refuse(ErrorCode.PARAMETER)
        site = self._sites.get(wifi_sn)
        if site is None:
            return self._refuse(ErrorCode.DATA_UNAUTHORIZED)
        self._log.add(self._clock.now(), "call", call="realtimeInfo", sn=wifi_sn)
        row = self._row(site, site.reading(CADENCES_S[0]))
        if self._faults.now.odd_json:
            return self._answer([_odd(row)], 0, "Query success!")
        return self._answer(row, 0, "Query success!")

    def _limit(self) -> Response | None:
        """The answer to a call too many."""
        now, faults = self._clock.now(), self._faults.now
        if faults.rate_limited:
            self._banned_until = now + dt.timedelta(seconds=faults.ban_s)
        if self._banned_until is not None and now < self._banned_until:
            if not faults.rate_limited:
                self._banned_until = max(self._banned_until, now + dt.timedelta(seconds=faults.ban_s))
            return self._refuse_as_too_frequent(ErrorCode.LIMIT_3, BANNED)
        while self._calls and self._calls[0] <= now - DAY:
            self._calls.popleft()
        if len(self._calls) + 1 >= CALLS_PER_DAY:
            return self._refuse_as_too_frequent(ErrorCode.LIMIT_104, TOO_MANY_IN_DAY)
        if sum(time > now - MINUTE for time in self._calls) + 1 >= CALLS_PER_MINUTE:
            self._refusals.append(now)
            if len(self._refusals) == REFUSALS_BEFORE_BAN and self._refusals[0] > now - HOUR:
                self._banned_until = now + HOUR
                self._refusals.clear()
                return self._refuse_as_too_frequent(ErrorCode.LIMIT_3, BANNED)
            return self._refuse_as_too_frequent(ErrorCode.LIMIT_104, TOO_MANY_IN_MINUTE)
        self._calls.append(now)
        return None

    def _refuse_as_too_frequent(self, code: ErrorCode, text: str) -> Response:
        self._log.add(self._clock.now(), "call refused", code=int(code), text=text)
        return self._answer(None, code, text)

    def _refuse(self, code: ErrorCode) -> Response:
        self._log.add(self._clock.now(), "call refused", code=int(code))
        return self._answer(None, code, _MESSAGES[code])

    def _row(self, site: EmulatedSite, reading: Reading) -> dict[str, Any]:
        """`result` as section 7.1 has it; the inverter is a hybrid with two strings and no second meter."""
        watts, kwh = self._faults.written, reading.registers
        day, pv_before_kwh = self._pv_before[site.device_id]
        at = reading.at + dt.timedelta(seconds=self._faults.now.clock_skew_s)
        today_kwh = kwh.pv_kwh - pv_before_kwh if reading.at.astimezone(self._zone).date() == day else 0.0
        status = InverterStatus.NORMAL if site.order is None else InverterStatus.VPP
        row = {
            "inverterSN": f"H34{site.device_id}",
            "sn": site.device_id,
            "acpower": watts(_watts(reading.battery_kw + reading.pv_kw)),
            "yieldtoday": watts(round(max(0.0, today_kwh), 1)),
            "yieldtotal": watts(round(kwh.pv_kwh, 1)),
            "feedinpower": watts(_watts(-reading.grid_kw)),
            "feedinenergy": watts(round(kwh.export_kwh, 2)),
            "consumeenergy": watts(round(kwh.import_kwh, 2)),
            "feedinpowerM2": None,
            "soc": watts(round(reading.soc * 100)),
            "peps1": None,
            "peps2": None,
            "peps3": None,
            "inverterType": "4",
            "inverterStatus": str(int(status)),
            "uploadTime": at.astimezone(self._zone).strftime("%Y-%m-%d %H:%M:%S"),
            "batPower": watts(_watts(-reading.battery_kw)),
            "powerdc1": watts(_watts(reading.pv_kw * 0.6)),
            "powerdc2": watts(_watts(reading.pv_kw) - _watts(reading.pv_kw * 0.6)),
            "powerdc3": None,
            "powerdc4": None,
            "batStatus": str(int(BatteryStatus.NORMAL)),
        }
        if self._gives_utc:
            row["utcDateTime"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        return row

    def _begin_day(self, site: EmulatedSite) -> None:
        """Note the PV register at the first look at each local day; `yieldtoday` counts from there."""
        today = site.now.astimezone(self._zone).date()
        if self._pv_before.get(site.device_id, (None, 0.0))[0] != today:
            self._pv_before[site.device_id] = (today, site.plant.registers.pv_kwh)

    def _answer(self, result: Any, code: int, text: str) -> Response:
        content = {"success": code == 0, "exception": text, "result": result, "code": int(code)}
        date = self._clock.now() + dt.timedelta(seconds=self._faults.now.clock_skew_s)
        return JSONResponse(content, headers={"Date": format_datetime(date, usegmt=True)})


def build(sites: Sequence[EmulatedSite], clock: EmulatedClock, log: EventLog, faults: FaultBox) -> SolaxCloud:
    """A cloud with a throw-away token; the entry point of this emulator."""
    return SolaxCloud(SecretStr(secrets.token_hex(16)), sites, clock, log, faults)


async def _wifi_sn(request: Request) -> str | None:
    """The number asked for; None where the request is not what section 7.1 wants."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return None
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        return None
    wifi_sn = body.get("wifiSn") if isinstance(body, dict) else None
    return wifi_sn if isinstance(wifi_sn, str) and wifi_sn else None


def _watts(kw: float) -> int:
    return round(kw * 1000)


def _odd(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same in other names' cases, with codes as the table has them and things that nobody asked for."""
    odd = {key.upper(): value for key, value in row.items()}
    odd["INVERTERSTATUS"], odd["BATSTATUS"] = int(row["inverterStatus"]), int(row["batStatus"])
    return {**odd, "surplus": {"nested": [None]}, "": 0}

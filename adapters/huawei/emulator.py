"""SmartPVMS's cloud and its OAuth service on loopback.

Follows the SmartPVMS 24.5.0 NBI Reference; it reads requests for itself and shares no code with the client. Where the
document prints an answer in two ways, `Faults.odd_json` takes the odd one. One owner has all plants; an API account
sees the same.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from adapters.emulation import Cloud, EmulatedClock, EmulatedCloud, EmulatedSite, EventLog, FaultBox
from adapters.huawei.codes import FailCode
from adapters.huawei.emulated_control import CONTROL_CALLS, TaskDesk, malformed
from adapters.huawei.emulated_data import DATA_CALLS, DataDesk
from adapters.huawei.emulated_plant import CADENCE_S, EmulatedPlant

CADENCES_S = (CADENCE_S,)
CODE_LIFE = dt.timedelta(minutes=5)
ACCESS_LIFE = dt.timedelta(hours=1)
SESSION_LIFE = dt.timedelta(minutes=30)
LOCKED_FOR = dt.timedelta(minutes=30)
DAY, TEN_MINUTES = dt.timedelta(days=1), dt.timedelta(minutes=10)
AUTHORIZE, TOKEN = "/rest/dp/uidm/oauth2/v1/authorize", "/rest/dp/uidm/oauth2/v1/token"
SCOPES = ("pvms.openapi.basic", "pvms.openapi.control")
REDIRECT_URL = "https://www.example.com/cn/?a=b&c=d"


class HuaweiCloud(EmulatedCloud):
    """The management system, its OAuth service, one owner and one API account."""

    def __init__(self, plants: Sequence[EmulatedPlant], clock: EmulatedClock, log: EventLog, faults: FaultBox) -> None:
        self.plants = {plant.code: plant for plant in plants}
        self.clock, self.log, self.faults = clock, log, faults
        self.client_id, self.client_secret = f"{secrets.randbelow(10**9):09d}", secrets.token_urlsafe(24)
        self.user_name, self.system_code = f"api{secrets.token_hex(4)}", secrets.token_urlsafe(12)
        self.rotates_refresh_tokens = True
        self.system_limit: int | None = None
        """403 or 429: the whole system is asked too much."""
        self.control_calls_per_day = 100
        self._codes: dict[str, tuple[dt.datetime, tuple[str, ...]]] = {}
        self._access: tuple[str, dt.datetime] | None = None
        self._scope: tuple[str, ...] = SCOPES
        self._refresh = secrets.token_urlsafe(24)
        self._session: tuple[str, dt.datetime] | None = None
        self._wrong_logins: deque[dt.datetime] = deque()
        self._locked_until = clock.now()
        self._banned_until = clock.now()
        self._calls: dict[str, deque[dt.datetime]] = {}
        self.data = DataDesk(self.plants, faults, self._now_ms)
        self.tasks = TaskDesk(self.plants, clock.now, faults, log)
        routes = [
            Route(AUTHORIZE, self._authorize, methods=["GET"]),
            Route(TOKEN, self._token, methods=["POST"]),
            Route("/thirdData/login", self._login, methods=["POST"]),
            Route("/thirdData/logout", self._logout, methods=["POST"]),
            *[Route(path, self._call(path, False), methods=["POST"]) for path in DATA_CALLS],
            *[Route(path, self._call(path, True), methods=["POST"]) for path in CONTROL_CALLS],
        ]
        self._offer(routes, clock, faults, lambda path: path.endswith("/async-task"))

    # --- Cloud ---

    def advance(self) -> None:
        """Bring all plants to the emulated time."""
        for plant in self.plants.values():
            plant.advance(self.clock.now())

    def state(self) -> dict[str, Any]:
        """The emulator's own account of itself."""
        return {
            "systems": {
                code: {
                    **plant.site.state(),
                    "pv_kw": plant.site.plant.sample.pv_kw,
                    "working_mode": plant.settings["mode"]["operationMode"],
                    "orders": self.log.count("order", code),
                }
                for code, plant in self.plants.items()
            }
        }

    def account(self) -> dict[str, Any]:
        """An owner who has consented to everything, and agreed to other working modes and to limits of feed-in."""
        return {
            "access": "oauth",
            "oauth_url": "same",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "redirect_url": REDIRECT_URL,
            "refresh_token": self._refresh,
            "neutral_idle_plants": [code for code, plant in self.plants.items() if not plant.commercial],
            "feed_in_limit_plants": list(self.plants),
        }

    def api_account(self) -> dict[str, Any]:
        """The API account, which may only look."""
        return {"access": "api_account", "user_name": self.user_name, "system_code": self.system_code}

    def consent(self, scopes: tuple[str, ...] = SCOPES) -> str:
        """The owner agrees; the code that goes to the redirect URL."""
        code = secrets.token_urlsafe(16)
        self._codes[code] = (self.clock.now(), scopes)
        return code

    # --- OAuth, section 3.1.2 ---

    async def _authorize(self, request: Request) -> Response:
        query = request.query_params
        right = (query.get("response_type"), query.get("client_id"), query.get("redirect_uri"))
        if right != ("code", self.client_id, REDIRECT_URL):
            return Response("Whitelabel Error Page", status_code=400)
        scopes = tuple(query["scope"].split(" ")) if query.get("scope") else SCOPES
        if not set(scopes) <= set(SCOPES):
            back = {"error": "invalid_scope", "error_description": "OAuth 2.0 Parameter: scope"}
        else:
            back = {"code": self.consent(scopes)}
            if "state" in query and not self.faults.now.odd_json:  # the document does not mention it
                back["state"] = query["state"]
        return RedirectResponse(f"{REDIRECT_URL}&{urlencode(back)}", status_code=302)

    async def _token(self, request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0]
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        if kind != "application/x-www-form-urlencoded":
            return JSONResponse({"error_description": "unsupported_grant_type", "error": "1111"}, status_code=400)
        if (form.get("client_id"), form.get("client_secret")) != (self.client_id, self.client_secret):
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        bad_grant = JSONResponse({"error_description": "invalid_grant", "error": "1110"}, status_code=400)
        if form.get("grant_type") == "authorization_code":
            made_at, scope = self._codes.pop(form.get("code", ""), (None, ()))
            if made_at is None or self.clock.now() - made_at > CODE_LIFE or form.get("redirect_uri") != REDIRECT_URL:
                return bad_grant
            self._scope, self._refresh = scope, secrets.token_urlsafe(24)
        elif form.get("grant_type") == "refresh_token":
            if form.get("refresh_token") != self._refresh:
                return bad_grant
            if self.rotates_refresh_tokens:
                self._refresh = secrets.token_urlsafe(24)
        else:
            return JSONResponse({"error_description": "unsupported_grant_type", "error": "1111"}, status_code=400)
        access = secrets.token_urlsafe(24)
        self._access = (access, self.clock.now())  # the earlier one is void
        self.log.add(self.clock.now(), "token", grant=form["grant_type"])
        return JSONResponse(
            {
                "access_token": access,
                "refresh_token": self._refresh,
                "expires_in": int(ACCESS_LIFE.total_seconds()),
                "scope": " ".join(self._scope),
                "token_type": "Bearer",
            }
        )

    # --- API account, section 3.2.2 ---

    async def _login(self, request: Request) -> Response:
        now, body = self.clock.now(), await _json(request)
        if not self._may_call("login", 5, TEN_MINUTES):
            return self._failed(FailCode.TOO_FREQUENT)
        if now < self._locked_until:
            return self._failed(FailCode.LOGIN_REFUSED)
        if body is None or (body.get("userName"), body.get("systemCode")) != (self.user_name, self.system_code):
            self._wrong_logins = deque(time for time in [*self._wrong_logins, now] if time > now - TEN_MINUTES)
            if len(self._wrong_logins) >= 5:
                self._locked_until = now + LOCKED_FOR
            self.log.add(now, "login refused")
            return self._failed(FailCode.LOGIN_REFUSED)
        self._wrong_logins.clear()
        token = f"x-{secrets.token_hex(30)}"
        self._session = (token, now)
        self.log.add(now, "login")
        answer = {"success": True, "data": None, "failCode": 0, "params": None, "message": None}
        if self.faults.now.odd_json:  # the token in the cookie only, as older versions had it
            return JSONResponse(answer, headers={"Set-Cookie": f"XSRF-TOKEN={token}; Path=/; HttpOnly; Secure"})
        return JSONResponse(answer, headers={"XSRF-TOKEN": token})

    async def _logout(self, request: Request) -> Response:
        body = await _json(request)
        if not self._may_call("logout", 5, TEN_MINUTES):
            return self._failed(FailCode.TOO_FREQUENT)
        if self._session is None or body is None or body.get("xsrftoken") != self._session[0]:
            return self._failed(FailCode.SERVER_ABNORMAL)
        self._session = None
        return JSONResponse({"success": True, "data": None, "failCode": 0, "params": {}, "message": None})

    # --- all other calls ---

    def _call(self, path: str, control: bool) -> Callable[[Request], Any]:
        async def handle(request: Request) -> Response:
            self.advance()
            if self.system_limit == 403:
                return Response(status_code=403)
            if self.system_limit is not None:
                return self._failed(self.system_limit)
            owner = self._who(request)
            if owner is None:
                return JSONResponse({"success": False, "failCode": 305, "message": "INVALID_CREDENTIAL"})
            if (owner == "api_account" and control) or (owner == "oauth" and SCOPES[control] not in self._scope):
                return self._failed(FailCode.NO_PERMISSION, "Invalid access to current interface!")
            if self._is_banned() or not self._is_within_limits(path, control, owner):
                answer = {"success": False, "failCode": 407, "data": "ACCESS_FREQUENCY_IS_TOO_HIGH", "message": None}
                return JSONResponse(answer)
            body = await _json(request)
            if body is None:
                return JSONResponse(malformed("body", "the body is no JSON object"), status_code=400)
            self.log.add(self.clock.now(), "call", path=path)
            if control:
                answer, status = self.tasks.handle(path, body)
                return JSONResponse(answer, status_code=status)
            return JSONResponse(self.data.handle(path, body))

        return handle

    def _who(self, request: Request) -> str | None:
        now, faults = self.clock.now(), self.faults.now
        if faults.session_stolen:
            self._access, self._session = None, None
        bearer = request.headers.get("authorization", "")
        if self._access is not None and bearer == f"Bearer {self._access[0]}" and not faults.tokens_expired:
            return "oauth" if now - self._access[1] < ACCESS_LIFE else None
        token = request.headers.get("xsrf-token", "")
        if self._session is not None and token == self._session[0] and not faults.tokens_expired:
            if now - self._session[1] < SESSION_LIFE:
                self._session = (token, now)
                return "api_account"
            self._session = None
        return None

    def _is_banned(self) -> bool:
        now = self.clock.now()
        if self.faults.now.rate_limited or now < self._banned_until:
            self._banned_until = now + dt.timedelta(seconds=self.faults.now.ban_s)
            self.log.add(now, "refused as too frequent")
            return True
        return False

    def _is_within_limits(self, path: str, control: bool, owner: str) -> bool:
        if owner == "oauth":
            most = self.control_calls_per_day if control else 1000
            return self._may_call("control" if control else "basic", most, DAY)
        by_100 = -(-len(self.plants) // 100)
        kinds = {kind for plant in self.plants.values() for kind in plant.device_ids()}
        owners = {kind: sum(kind in plant.device_ids() for plant in self.plants.values()) for kind in kinds}
        devices_by_100 = sum(-(-count // 100) for count in owners.values())
        name = path.rsplit("/", 1)[-1]
        limits: dict[str, tuple[int, dt.timedelta]] = {
            "stations": (by_100 * 10 + 24, DAY),
            "getDevList": (by_100 + 24, DAY),
            "getStationRealKpi": (by_100, TEN_MINUTES / 2),
            "getDevRealKpi": (devices_by_100, TEN_MINUTES / 2),
            "getDevHistoryKpi": (sum(-(-count // 10) for count in owners.values()) + 24, DAY),
            "getAlarmList": (max(by_100, devices_by_100), 3 * TEN_MINUTES),
        }
        most, per = limits.get(name, ((by_100 if "Station" in name else devices_by_100) + 24, DAY))
        return self._may_call(name, most, per)

    def _may_call(self, kind: str, most: int, per: dt.timedelta) -> bool:
        now, made = self.clock.now(), self._calls.setdefault(kind, deque())
        while made and made[0] <= now - per:
            made.popleft()
        if len(made) >= most:
            return False
        made.append(now)
        return True

    def _now_ms(self) -> int:
        skew = dt.timedelta(seconds=self.faults.now.clock_skew_s)
        return round((self.clock.now() + skew).timestamp() * 1000)

    def _failed(self, code: int, message: str | None = None) -> Response:
        params = {"currentTime": self._now_ms()}
        answer = {"success": False, "data": None, "failCode": int(code), "params": params, "message": message}
        return JSONResponse(answer)


def build(sites: Sequence[EmulatedSite], clock: EmulatedClock, log: EventLog, faults: FaultBox) -> Cloud:
    """A cloud of residential plants, one for each site."""
    plants = [EmulatedPlant(site, number, faults) for number, site in enumerate(sites, start=1)]
    return HuaweiCloud(plants, clock, log, faults)


async def _json(request: Request) -> dict[str, Any] | None:
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        return None
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None

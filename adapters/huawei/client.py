"""One method per call of SmartPVMS, with what every call needs: proof of who calls, flow control, typed errors.

Source: SmartPVMS 24.5.0 NBI Reference, sections 3.1.3, 3.2.3, 4, 5.
"""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import stamina
from pydantic import SecretStr

from adapters.contract import Clock, ConfigurationError, QuotaExceededError, Tracked, VendorUnavailableError
from adapters.huawei import records, tasks
from adapters.huawei.auth import AccountSession, OAuthClient, OAuthSession
from adapters.huawei.codes import DELIVERED, OVER_LIMIT, SYSTEM_OVER_LIMIT, FailCode
from adapters.huawei.errors import NotLoggedInError, ParameterFaultError, error_of
from adapters.huawei.flow import FlowControl
from adapters.huawei.mapping import (
    CONTROL_SCOPE,
    DELIVERIES,
    LONGEST_HISTORY_DAYS,
    MOST_DEVICES_PER_HISTORY,
    MOST_DEVICES_PER_QUERY,
    MOST_PLANTS_PER_CHARGE_TASK,
    MOST_PLANTS_PER_QUERY,
    MOST_PLANTS_PER_SETTING_TASK,
    TASK_QUESTIONS,
    Call,
    Signs,
    WorkingMode,
)
from adapters.huawei.settings import Settings
from adapters.huawei.wire import Envelope, envelope, ms
from adapters.quota import Ledger
from adapters.tokens import MemoryTokenStore, Tokens, TokenStore
from adapters.transport import READ_ATTEMPTS, NotSentError, RefusedRequestError, Request, Transport

MOST_PAGES = 1000
# Statuses that stand for the system's flow control, if it speaks HTTP rather than failCode (section 4).
LIMIT_STATUSES = {403: True, 429: True, 407: False}
_NO_CONSENT = "access: an API account needs no consent; set access to oauth"
_SETTING_CALLS: dict[type, tuple[Call, Call]] = {
    tasks.WorkingModeTask: (Call.WORKING_MODE, Call.WORKING_MODE_INFO),
    tasks.BatteryParametersTask: (Call.BATTERY_PARAMETERS, Call.BATTERY_PARAMETERS_INFO),
    tasks.ActivePowerTask: (Call.ACTIVE_POWER, Call.ACTIVE_POWER_INFO),
}


class HuaweiClient:
    """Calls in the name of one owner or one API account."""

    def __init__(
        self, settings: Settings, clock: Clock, store: TokenStore | None = None, ledger: Ledger | None = None
    ) -> None:
        """Contact nobody yet.

        Args:
            settings: Account and address.
            clock: The time.
            store: Where tokens are kept; None keeps them in memory.
            ledger: Where calls are counted; None counts those of this client.
        """
        self.settings, self._clock = settings, clock
        self._transport = Transport(settings.base_url, clock, settings.timeout_s)
        self._oauth_transport: Transport | None = None
        self._signs = Signs(settings.storage_sign, settings.battery_rack_sign)
        self.flow = FlowControl(
            settings.access,
            clock,
            polls_count=settings.status_polls_count,
            old_policy=settings.old_flow_control,
            reserve=settings.control_reserve,
            jitter=random.Random(settings.client_id or settings.user_name),
            ledger=ledger,
        )
        self.oauth: OAuthClient | None = None
        self._session: OAuthSession | AccountSession
        if settings.access == "oauth":
            url = settings.base_url if settings.oauth_url == "same" else settings.oauth_url
            self._oauth_transport = Transport(url, clock, settings.timeout_s)
            self.oauth = OAuthClient(
                self._oauth_transport, url, settings.client_id, settings.client_secret, settings.redirect_url, clock
            )
            self._session = OAuthSession(self.oauth, store or MemoryTokenStore(), clock, settings.refresh_token)
        else:
            self._session = AccountSession(
                self._transport, settings.user_name, settings.system_code, store or MemoryTokenStore(), self.flow
            )
        self._latest_tokens: Tokens | None = None

    # --- access ---

    def authorize_url(self, state: str) -> str:
        """The link that an owner opens to consent (section 3.1.2.2).

        Raises:
            ConfigurationError: This is an API account.
        """
        if self.oauth is None:
            raise ConfigurationError(_NO_CONSENT)
        return self.oauth.authorize_url(state=state)

    async def consent(self, code: SecretStr) -> Tokens:
        """Take the code that the owner's consent brought to the redirect URL (section 3.1.2.3).

        Raises:
            ConfigurationError: The code is too old, or this is an API account.
            AdapterError: No answer.
        """
        if not isinstance(self._session, OAuthSession):
            raise ConfigurationError(_NO_CONSENT)
        self._latest_tokens = await self._session.consent(code)
        return self._latest_tokens

    async def logout(self) -> None:
        """End an API account's session (section 3.2.2.2); with OAuth there is none to end.

        Raises:
            AdapterError: It could not be ended.
        """
        if isinstance(self._session, AccountSession):
            await self._session.logout()

    # --- basic calls, section 5.1 ---

    async def plants(self) -> list[records.Plant]:
        """All plants, over all pages (section 5.1.1.1).

        Raises:
            AdapterError: As every call here; see `adapters.huawei.errors`.
        """
        found: list[records.Plant] = []
        page, pages = 1, 1
        while page <= min(pages, MOST_PAGES):
            more, pages = records.plants_of(await self._read(Call.PLANTS, {"pageNo": page}))
            known = {plant.plant_code for plant in found}
            fresh = [plant for plant in more if plant.plant_code not in known]
            if not fresh:
                break  # whatever the number of pages says, a page that brings nothing new is the last
            found += fresh
            page += 1
        return found

    async def devices(self, plant_codes: Sequence[str]) -> list[records.PlantDevice]:
        """All devices of plants (section 5.1.1.2)."""
        found: list[records.PlantDevice] = []
        for part in _parts(plant_codes, MOST_PLANTS_PER_QUERY):
            found += records.devices_of(await self._read(Call.DEVICES, {"stationCodes": ",".join(part)}))
        types = Counter(device.device_type for device in found)
        self.flow.learn(len(plant_codes), types)
        return found

    async def plants_now(self, plant_codes: Sequence[str]) -> list[records.PlantNow]:
        """Counters of plants (section 5.1.2.1); they have no power."""
        found: list[records.PlantNow] = []
        for part in _parts(plant_codes, MOST_PLANTS_PER_QUERY):
            found += records.plants_now_of(await self._read(Call.PLANT_NOW, {"stationCodes": ",".join(part)}))
        return found

    async def devices_now(self, device_type: int, device_ids: Sequence[str]) -> list[records.DeviceReading]:
        """Real-time values of devices of one type (section 5.1.2.2)."""
        found: list[records.DeviceReading] = []
        for part in _parts(device_ids, MOST_DEVICES_PER_QUERY):
            body = {"devIds": ",".join(part), "devTypeId": int(device_type)}
            found += records.readings_of(await self._read(Call.DEVICE_NOW, body), device_type, self._signs)
        return found

    async def device_history(
        self, device_type: int, device_ids: Sequence[str], begin: dt.datetime, end: dt.datetime
    ) -> list[records.DeviceReading]:
        """Values of every 5 minutes (section 5.1.2.3), in parts of 10 devices and 3 days."""
        found: list[records.DeviceReading] = []
        longest = dt.timedelta(days=LONGEST_HISTORY_DAYS)
        while begin < end:
            until = min(end, begin + longest)
            for part in _parts(device_ids, MOST_DEVICES_PER_HISTORY):
                times = {"startTime": ms(begin), "endTime": ms(until)}
                body = {"devIds": ",".join(part), "devTypeId": int(device_type), **times}
                found += records.readings_of(await self._read(Call.DEVICE_HISTORY, body), device_type, self._signs)
            begin = until
        return found

    async def alarms(
        self,
        plant_codes: Sequence[str],
        begin: dt.datetime,
        end: dt.datetime,
        language: str = "en_US",
        severities: Sequence[int] = (),
        device_types: Sequence[int] = (),
    ) -> list[records.Alarm]:
        """Active alarms of plants (section 5.1.3.1), of all severities and types of device unless some are named."""
        found: list[records.Alarm] = []
        for part in _parts(plant_codes, MOST_PLANTS_PER_QUERY):
            body = {
                "stationCodes": ",".join(part),
                "beginTime": ms(begin),
                "endTime": ms(end),
                "language": language,
                **({"levels": ",".join(str(int(one)) for one in severities)} if severities else {}),
                **({"devTypes": ",".join(str(int(one)) for one in device_types)} if device_types else {}),
            }
            found += records.alarms_of(await self._read(Call.ALARMS, body))
        return found

    async def plant_hours(self, plant_codes: Sequence[str], day: dt.datetime) -> list[records.Report]:
        """Energies by hour, of the plants' local day that has this moment (section 5.1.4.1)."""
        return await self._plant_reports(Call.PLANT_HOURS, plant_codes, day)

    async def plant_days(self, plant_codes: Sequence[str], month: dt.datetime) -> list[records.Report]:
        """Energies by day, of the month that has this moment (section 5.1.4.2)."""
        return await self._plant_reports(Call.PLANT_DAYS, plant_codes, month)

    async def plant_months(self, plant_codes: Sequence[str], year: dt.datetime) -> list[records.Report]:
        """Energies by month, of the year that has this moment (section 5.1.4.3)."""
        return await self._plant_reports(Call.PLANT_MONTHS, plant_codes, year)

    async def plant_years(self, plant_codes: Sequence[str], moment: dt.datetime) -> list[records.Report]:
        """Energies by year (section 5.1.4.4)."""
        return await self._plant_reports(Call.PLANT_YEARS, plant_codes, moment)

    async def device_days(
        self, device_type: int, device_ids: Sequence[str], month: dt.datetime
    ) -> list[records.Report]:
        """Energies by day, of the month that has this moment (section 5.1.4.5); types 1, 38, 39, 41."""
        return await self._device_reports(Call.DEVICE_DAYS, device_type, device_ids, month)

    async def device_months(
        self, device_type: int, device_ids: Sequence[str], year: dt.datetime
    ) -> list[records.Report]:
        """Energies by month, of the year that has this moment (section 5.1.4.6); types 1, 38, 39, 41."""
        return await self._device_reports(Call.DEVICE_MONTHS, device_type, device_ids, year)

    async def device_years(
        self, device_type: int, device_ids: Sequence[str], moment: dt.datetime
    ) -> list[records.Report]:
        """Energies by year (section 5.1.4.7); types 1, 38, 39, 41."""
        return await self._device_reports(Call.DEVICE_YEARS, device_type, device_ids, moment)

    # --- control calls, section 5.2 ---

    async def charge(self, wanted: Sequence[tasks.ChargeTask]) -> tasks.Delivery:
        """Deliver forced charges and discharges, or their ends, of up to 100 plants (section 5.2.1), once."""
        _check(wanted, MOST_PLANTS_PER_CHARGE_TASK)
        urgent = all(task.power_w == 0 for task in wanted)
        answer = await self._write(Call.CHARGE, {"tasks": [task.wire() for task in wanted]}, urgent=urgent)
        return tasks.read_delivery(answer, [task.plant_code for task in wanted], charge=True, clean=self._clean)

    async def charge_status(self, request_id: int) -> list[tasks.ChargeStatus]:
        """How far a charge task is (section 5.2.2)."""
        answer = await self._read(Call.CHARGE_STATUS, {"requestID": request_id})
        return tasks.read_charge_status(answer, self._clean)

    async def change(self, wanted: Sequence[tasks.SettingTask], urgent: bool = False) -> tasks.Delivery:
        """Deliver settings of one kind for up to 10 plants (sections 5.2.3, 5.2.5, 5.2.7), once.

        Args:
            wanted: What to set.
            urgent: Whether it may use what is kept for releases; self-consumption always may.
        """
        _check(wanted, MOST_PLANTS_PER_SETTING_TASK)
        kinds = {type(task) for task in wanted}
        if len(kinds) > 1:
            raise ConfigurationError("tasks: of several kinds; each kind has a call of its own")
        call, _ = _SETTING_CALLS[kinds.pop()]
        # A call that lets go of one plant may be made; what rides along costs nothing more.
        urgent = urgent or any(getattr(task, "mode", None) is WorkingMode.SELF_CONSUMPTION for task in wanted)
        answer = await self._write(call, {"tasks": [task.wire() for task in wanted]}, urgent=urgent)
        return tasks.read_delivery(answer, [task.plant_code for task in wanted], charge=False, clean=self._clean)

    async def change_progress(self, task: tasks.SettingTask, task_id: str) -> Tracked:
        """How far a setting task is (sections 5.2.4, 5.2.6, 5.2.8)."""
        _, call = _SETTING_CALLS[type(task)]
        return tasks.setting_progress(await self._read(call, {"taskId": task_id}), task.plant_code, self._clean)

    def now(self) -> dt.datetime:
        """The time."""
        return self._clock()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()
        if self._oauth_transport is not None:
            await self._oauth_transport.close()

    # --- what every call needs ---

    async def _plant_reports(self, call: Call, plant_codes: Sequence[str], moment: dt.datetime) -> list[records.Report]:
        found: list[records.Report] = []
        for part in _parts(plant_codes, MOST_PLANTS_PER_QUERY):
            body = {"stationCodes": ",".join(part), "collectTime": ms(moment)}
            found += records.reports_of(await self._read(call, body))
        return found

    async def _device_reports(
        self, call: Call, device_type: int, device_ids: Sequence[str], moment: dt.datetime
    ) -> list[records.Report]:
        found: list[records.Report] = []
        for part in _parts(device_ids, MOST_DEVICES_PER_QUERY):
            body = {"devIds": ",".join(part), "devTypeId": int(device_type), "collectTime": ms(moment)}
            found += records.reports_of(await self._read(call, body))
        return found

    async def _read(self, call: Call, body: dict[str, Any]) -> Envelope:
        return await self._call(call, body, write=False, urgent=False, taken=frozenset({FailCode.OK}))

    async def _write(self, call: Call, body: dict[str, Any], urgent: bool = False) -> Envelope:
        return await self._call(call, body, write=True, urgent=urgent, taken=DELIVERED)

    async def _call(
        self, call: Call, body: dict[str, Any], *, write: bool, urgent: bool, taken: frozenset[FailCode]
    ) -> Envelope:
        if call in DELIVERIES | TASK_QUESTIONS and self.settings.access != "oauth":
            raise ConfigurationError(f"{call.value}: batteries are driven with OAuth only; set access to oauth")
        tokens = await self._tokens(None)
        if call in DELIVERIES and tokens.scope and CONTROL_SCOPE not in tokens.scope:
            raise ConfigurationError(f"{call.value}: the owner has not granted {CONTROL_SCOPE}; let them add it")
        answer = await self._once(call, body, tokens, write=write, urgent=urgent)
        if answer.fail_code == FailCode.NOT_LOGGED_IN:
            # Refused at the door, so nothing was done: one renewal and one repetition are safe for writes too.
            tokens = await self._tokens(tokens)
            answer = await self._once(call, body, tokens, write=write, urgent=urgent)
        return self._checked(call, answer, taken)

    async def _tokens(self, refused: Tokens | None) -> Tokens:
        """Tokens for a call; where they cannot be had the call itself was certainly not sent."""
        try:
            self._latest_tokens = await self._session.tokens(refused)
        except (RefusedRequestError, NotSentError):
            raise
        except VendorUnavailableError as error:
            raise NotSentError(str(error)) from None
        return self._latest_tokens

    async def _once(self, call: Call, body: dict[str, Any], tokens: Tokens, *, write: bool, urgent: bool) -> Envelope:
        request = Request(
            "POST",
            call.value,
            json=body,
            headers=self._session.headers(tokens),
            answers_with=frozenset({200, 400}),
        )
        attempts = 1 if write else READ_ATTEMPTS
        try:
            async for attempt in stamina.retry_context(on=_may_retry, attempts=attempts, wait_max=2.0):
                with attempt:
                    self.flow.take(call, urgent)  # each attempt counts at the vendor
                    return envelope((await self._transport.tell(request)).content)
        except RefusedRequestError as error:
            if error.status in LIMIT_STATUSES:
                raise self.flow.refused(call, LIMIT_STATUSES[error.status], error.retry_after_s) from None
            raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _checked(self, call: Call, answer: Envelope, taken: frozenset[FailCode]) -> Envelope:
        code, path = answer.fail_code, call.value
        if answer.exception:
            raise ParameterFaultError(f"{path}: malformed: {self._clean(answer.exception)[:200]}")
        if code is None:
            raise VendorUnavailableError(f"{path}: the answer has no failCode")
        if code in OVER_LIMIT | SYSTEM_OVER_LIMIT:
            raise self.flow.refused(call, by_system=code in SYSTEM_OVER_LIMIT)
        self.flow.worked(call)
        if code == FailCode.NOT_LOGGED_IN:
            raise NotLoggedInError(path, code)
        if code not in taken:
            raise error_of(path, code)
        return answer

    def _clean(self, words: str) -> str:
        """The vendor's words without our secrets, should it ever repeat them."""
        settings, tokens = self.settings, self._latest_tokens
        secrets = [settings.client_secret, settings.system_code, settings.refresh_token]
        if tokens is not None:
            secrets += [tokens.access, *([] if tokens.refresh is None else [tokens.refresh])]
        for secret in secrets:
            if secret.get_secret_value():
                words = words.replace(secret.get_secret_value(), "***")
        return words


def _may_retry(error: Exception) -> bool:
    wanted = isinstance(error, VendorUnavailableError) and error.retryable
    return wanted and not isinstance(error, QuotaExceededError)


def _check(wanted: Sequence[tasks.ChargeTask] | Sequence[tasks.SettingTask], most: int) -> None:
    plants = [task.plant_code for task in wanted]
    if not 1 <= len(plants) <= most:
        raise ConfigurationError(f"tasks: {len(plants)} are outside 1..{most}; split them")
    if len(set(plants)) < len(plants):
        raise ConfigurationError("tasks: a plant is named twice; send one after the other")


def _parts(items: Sequence[str], most: int) -> list[list[str]]:
    return [list(items[begin : begin + most]) for begin in range(0, len(items), most)]

"""The Xolta API: tokens, fair use, and one method per call.

Source: API Manual, sections 1 (setup), 2 (endpoints) and 4 (fair use). The document names five calls and none of their
parameters; the ones here are those that servers were seen to take.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from adapters.contract import (
    AdapterError,
    Clock,
    ConfigurationError,
    QuotaExceededError,
    Telemetry,
    VendorUnavailableError,
)
from adapters.quota import Ledger, Meter, Quota
from adapters.settings import AccountSettings, CallSeconds, Seconds, WebAddress, is_loopback
from adapters.transport import Answer, NotSentError, RefusedRequestError, Request, Transport
from adapters.xolta import mapping
from adapters.xolta.auth import AccessTokens
from adapters.xolta.mapping import Names, Sign, Status, Unit

MINUTE = dt.timedelta(minutes=1)
# Kinds of calls that fair use counts.
READ, COMMAND, RELEASE = "read", "command", "release"
TOO_MANY_REQUESTS = 429
LONGEST_PENALTY_S = 86_400.0
# Set-points carry absolute times: with clocks further apart than this they would begin at the wrong time [s].
LARGEST_CLOCK_OFFSET_S = 60.0
# What a command may be answered with; the document does not say.
TAKEN = frozenset({200, 201, 202, 204})

Path = Annotated[str, Field(pattern=r'^/[!"$->@-~]*$')]
PathAndQuery = Annotated[str, Field(pattern=r'^/[!"$-~]*$')]
FieldNames = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class CommandFaultError(VendorUnavailableError):
    """A command was answered with success and a complaint: nobody can say whether it counts."""


class Settings(AccountSettings):
    """One organisation's access and how to reach it; what the document leaves open is a setting."""

    base_url: WebAddress = "https://external.xolta.com"
    authority: WebAddress
    """`https://login.microsoftonline.com/<tenant>`; a mere path lies below `base_url`, on loopback only."""
    client_id: Annotated[str, Field(min_length=1)]
    client_secret: SecretStr
    scopes: Annotated[tuple[str, ...], Field(min_length=1)] = (mapping.SCOPE,)
    timeout_s: CallSeconds = 10.0

    device_status_path: PathAndQuery = mapping.DEVICE_STATUS_PATH
    """With the query that a server may want: the document speaks of "the queried devices" and names no parameter."""
    raw_path: Path = mapping.RAW_PATH
    summary_path: Path = mapping.SUMMARY_PATH
    """Servers were seen to answer at `/api/GetDataSummary` instead."""
    meta_data_path: Path = mapping.META_DATA_PATH
    command_path: Path = mapping.COMMAND_PATH
    id_fields: FieldNames = Names.device
    state_fields: FieldNames = Names.state
    mode_fields: FieldNames = Names.mode
    time_fields: FieldNames = Names.time

    reads_per_minute: Annotated[int, Field(ge=1)] = 1
    """Section 4: the whole organisation together, whatever it reads."""
    commands_per_minute: Annotated[int, Field(ge=1)] = 60
    """No limit is documented. Letting go of a battery is never held back by this one."""
    penalty_s: Seconds = 300.0
    """How long to keep quiet after "too many requests" where the vendor does not say [s]."""

    commissioned: bool = False
    """Whether unit and sign below were found by commissioning; until then nothing is driven."""
    commissioned_devices: frozenset[str] | None = None
    """The devices that they were found on; None: good for all of the organisation."""
    setpoint_unit: Unit | None = None
    """Unit of `batteryActivePower`."""
    setpoint_sign: Sign | None = None
    """+1 where a positive `batteryActivePower` discharges."""
    set_points_per_call: Annotated[int, Field(ge=1, le=96)] = 8
    """How many slots ahead one call carries, besides the safe one at its end; the vendor's limit is not known."""
    release_after_schedule: bool = True
    """Whether a schedule ends with a call that lets go, rather than resting at the 0 kW that ends each map."""

    @model_validator(mode="before")
    @classmethod
    def _authority_below_base(cls, data: Any) -> Any:
        """A path names an authority on the emulator, whose address is known only when it runs."""
        authority = data.get("authority") if isinstance(data, dict) else None
        base_url = data.get("base_url") if isinstance(data, dict) else None
        if isinstance(authority, str) and authority.startswith("/") and _is_loopback(base_url):
            return {**data, "authority": f"{str(base_url).rstrip('/')}{authority}"}
        return data

    @field_validator("authority")
    @classmethod
    def _is_authority(cls, value: str) -> str:
        if not urlsplit(value).path.strip("/"):
            raise ValueError("names no tenant; write one like 'https://login.microsoftonline.com/<tenant>'")
        return value

    @model_validator(mode="after")
    def _is_commissioned_whole(self) -> Self:
        if self.commissioned and (self.setpoint_unit is None or self.setpoint_sign is None):
            raise ValueError("commissioned without setpoint_unit and setpoint_sign; run the commissioning")
        return self

    @property
    def names(self) -> Names:
        """What the vendor calls its fields."""
        return Names(self.id_fields, self.state_fields, self.mode_fields, self.time_fields)


class XoltaClient:
    """Calls with a bearer token for one organisation.

    A token that the API refuses is replaced by one new login and the call repeated once: it was not acted upon.
    Fair use is held before a socket opens; when the vendor says "too many requests", that kind of call rests.
    """

    def __init__(self, settings: Settings, clock: Clock, ledger: Ledger | None = None) -> None:
        self._settings, self._clock = settings, clock
        self._transport = Transport(settings.base_url, clock, settings.timeout_s)
        self._tokens = AccessTokens(
            settings.authority,
            settings.client_id,
            settings.client_secret,
            settings.scopes,
            clock,
            settings.timeout_s,
        )
        self._meter = Meter(
            {
                READ: (Quota(settings.reads_per_minute, MINUTE),),
                COMMAND: (Quota(settings.commands_per_minute, MINUTE),),
            },
            clock,
            ledger,
        )

    @property
    def clock_offset_s(self) -> float:
        """The vendor's clock less ours [s], before its first answer by that of its authority."""
        offset_s = self._transport.clock_offset_s
        return (self._tokens.clock_offset_s if offset_s is None else offset_s) or 0.0

    async def device_status(self) -> dict[str, Status]:
        """All devices with their current telemetry, state and mode (sections 2 and 4).

        Raises:
            QuotaExceededError: Fair use; nothing was sent.
            AdapterError: The call failed.
        """
        answer = await self._read(self._settings.device_status_path, {}, "device_status_path")
        return mapping.statuses(answer, self._settings.names)

    async def get_telemetry_raw(self, device_id: str, begin: dt.datetime, end: dt.datetime) -> list[Telemetry]:
        """Samples of one device (sections 2 and 3.2); parameters as the summary has them, for none are documented.

        Raises:
            QuotaExceededError: Fair use; nothing was sent.
            AdapterError: The call failed.
        """
        parameters = {"DeviceId": device_id, **_between(begin, end)}
        return mapping.telemetry_rows(
            await self._read(self._settings.raw_path, parameters, "raw_path"), self._settings.names
        )

    async def get_telemetry_summary(
        self,
        begin: dt.datetime,
        end: dt.datetime,
        resolution_min: int,
        *,
        device_id: str | None = None,
        site_id: str | None = None,
    ) -> list[Telemetry]:
        """Means of one device or of a whole site (sections 2 and 3.3), stamped with the end of their interval.

        Args:
            begin: First moment, aware.
            end: Last moment, aware.
            resolution_min: Length of an interval: 1, 10 or 60 minutes.
            device_id: Which device; or
            site_id: which site.

        Raises:
            ValueError: Not exactly one of device and site, or another resolution.
            QuotaExceededError: Fair use; nothing was sent.
            AdapterError: The call failed.
        """
        if (device_id is None) == (site_id is None):
            raise ValueError("device_id, site_id: give one of them")
        if resolution_min not in mapping.RESOLUTIONS_MIN:
            raise ValueError(f"resolution_min: {resolution_min} is none of {mapping.RESOLUTIONS_MIN}")
        whose = {"SiteId": site_id} if device_id is None else {"DeviceId": device_id}
        parameters: dict[str, str | int] = {
            **{name: text for name, text in whose.items() if text is not None},
            "CalculateConsumptionNeeded": "true",
            "resolutionMin": resolution_min,
            **_between(begin, end),
        }
        answer = await self._read(self._settings.summary_path, parameters, "summary_path")
        return mapping.telemetry_rows(answer, self._settings.names, of_site=site_id is not None)

    async def get_meta_data(self) -> list[str]:
        """The signals that the vendor has (section 2).

        Raises:
            QuotaExceededError: Fair use; nothing was sent.
            AdapterError: The call failed.
        """
        return mapping.signal_names(await self._read(self._settings.meta_data_path, {}, "meta_data_path"))

    async def send_state_mode_command(self, body: Mapping[str, Any], *, drives: bool) -> str:
        """Send a state, a mode or set-points (section 2), once.

        Args:
            body: As `mapping` makes them.
            drives: Whether it drives the battery, so that quota and clock must be right.

        Returns:
            What the vendor calls it; empty where it does not say.

        Raises:
            ConfigurationError: No device, or clocks too far apart for absolute times.
            QuotaExceededError: The limit of commands; nothing was sent.
            CommandFaultError: Taken, with a complaint in the body.
            AdapterError: It was refused, or nobody knows; see the transport's errors.
        """
        if not str(body.get("DeviceId") or "").strip():
            raise ConfigurationError("DeviceId: empty; name one device")
        if drives:
            await self._token_before(None, self._settings.command_path)  # its answer tells the time
        if drives and abs(self.clock_offset_s) > LARGEST_CLOCK_OFFSET_S:
            raise ConfigurationError(
                f"clock: {self.clock_offset_s:+.0f} s off the vendor's, beyond {LARGEST_CLOCK_OFFSET_S:g} s; "
                "set this machine's clock, until then batteries are only read and released"
            )
        request = Request("POST", self._settings.command_path, json=dict(body), answers_with=TAKEN, needs_json=False)
        # Not even a release is sent into a penalty: it would not be taken, and makes the penalty longer.
        self._meter.take(COMMAND if drives else RELEASE)
        answer = await self._call(request, (COMMAND, RELEASE), "command_path", write=True)
        fault = mapping.fault_of(answer.content)
        if fault is not None:
            raise CommandFaultError(f"{request.path}: HTTP {answer.status}, but {fault}")
        return mapping.reference_of(answer.content)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()
        await self._tokens.close()

    async def _read(self, path: str, parameters: Mapping[str, str | int], setting: str) -> Any:
        self._meter.take(READ)
        return (await self._call(Request("GET", path, params=parameters), (READ,), setting, write=False)).content

    async def _call(self, request: Request, kinds: Sequence[str], setting: str, *, write: bool) -> Answer:
        token = await self._token_before(None, request.path)
        try:
            return await self._bearing(token, request, write=write)
        except RefusedRequestError as error:
            if error.status != 401:
                raise self._explained(error, kinds, setting) from None
        # The token was refused, so nothing was done: one new login and one repetition are safe for writes too.
        token = await self._token_before(token, request.path)
        try:
            return await self._bearing(token, request, write=write)
        except RefusedRequestError as error:
            if error.status == 401:
                raise ConfigurationError(
                    f"{request.path}: a fresh token is refused too; check scopes and the agreement with Xolta"
                ) from None
            raise self._explained(error, kinds, setting) from None

    async def _token_before(self, refused: str | None, path: str) -> str:
        """Get a token for a call; where that fails the call itself was certainly not sent."""
        try:
            return await self._tokens.token(refused)
        except VendorUnavailableError as error:
            raise NotSentError(f"{path}: not sent, for there is no token ({error})") from None

    async def _bearing(self, token: str, request: Request, *, write: bool) -> Answer:
        bearing = replace(request, headers={"Authorization": f"Bearer {token}"})
        # A read that got no answer is tried again at once: fair use counts what was served.
        return await (self._transport.tell(bearing) if write else self._transport.ask(bearing))

    def _explained(self, error: RefusedRequestError, kinds: Sequence[str], setting: str) -> AdapterError:
        """An HTTP refusal with the way out."""
        if error.status == TOO_MANY_REQUESTS:
            told_s = error.retry_after_s
            pause_s = told_s if told_s is not None and 0 < told_s <= LONGEST_PENALTY_S else self._settings.penalty_s
            until = self._clock() + dt.timedelta(seconds=pause_s)
            for kind in kinds:
                self._meter.pause(kind, until)
            return QuotaExceededError(kinds[0], until)
        if error.status == 403:
            return ConfigurationError(f"{error}: access is refused; check scopes and the agreement with Xolta")
        if error.status == 404:
            return ConfigurationError(f"{error}: no such call there; check base_url and {setting}")
        return error


def _between(begin: dt.datetime, end: dt.datetime) -> dict[str, str]:
    return {"fromDateTime": mapping.utc_text(begin), "toDateTime": mapping.utc_text(end)}


def _is_loopback(url: Any) -> bool:
    try:
        return isinstance(url, str) and is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False

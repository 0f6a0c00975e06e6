"""What an account needs, and a setting for everything that the document leaves open."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from adapters.huawei.mapping import OAUTH_HOST, Sign
from adapters.settings import AccountSettings, CallSeconds, Seconds, WebAddress


class Settings(AccountSettings):
    """One owner who has authorised us, or one API account, and how to reach SmartPVMS."""

    base_url: WebAddress
    """The management system that has the plants, as in "https://eu5.fusionsolar.huawei.com"."""
    access: Literal["oauth", "api_account"] = "oauth"
    """Batteries can be driven with OAuth only (section 5.2)."""
    oauth_url: WebAddress | Literal["same"] = OAUTH_HOST
    """Where the OAuth service is; "same" means at `base_url`."""
    client_id: str = ""
    client_secret: SecretStr = SecretStr("")
    redirect_url: str = ""
    refresh_token: SecretStr = SecretStr("")
    """To begin with; where tokens are stored, the stored ones count."""
    user_name: str = ""
    """Of an API account."""
    system_code: SecretStr = SecretStr("")
    """Password of an API account."""
    timeout_s: CallSeconds = 10.0

    storage_sign: Sign = "discharges"
    """What a positive power of device type 41 means; one source only."""
    battery_rack_sign: Sign | None = None
    """What a positive power of device type 60014 means; unknown: until then it has no power."""
    battery_counters: Literal["unknown", "lifetime"] = "unknown"
    """Whether `charge_cap` and `discharge_cap` count since commissioning; the document does not say."""
    grid_meter_sn: str = ""
    """Which meter is at the grid, where a plant has several; without it such a plant has no grid power."""
    old_flow_control: bool = False
    """Whether the API account is under the old policy (section 6.2)."""
    status_polls_count: bool = True
    """Whether questions about tasks count as control calls; the document does not say."""
    control_reserve: Annotated[int, Field(ge=0, le=50)] = 20
    """Control calls of a day that only releases may use."""
    polls_per_task: Annotated[int, Field(ge=0, le=20)] = 0
    """How often a schedule reckons to ask about each task. Telemetry shows what a battery does, sooner and for no
    control call; a task that it does not show can still be asked about with what is left."""
    plants_sharing_quota: Annotated[int, Field(ge=1)] = 1
    """How many plants of the owner are driven by schedules, one call each."""
    stop_before_same_signal: bool = True
    """Whether a stop goes before a task where another may still run: then "the same signals cannot be sent", and nobody
    knows whether another power makes another signal."""
    charge_below_pv: Literal["refuse", "raise", "allow"] = "refuse"
    """What to do with a forced charge below what the array gives: it would throttle the array."""
    neutral_idle_plants: frozenset[str] = frozenset()
    """Plants whose owner agreed that we switch the working mode: only they can be held, and a release sets them to
    self-consumption, whatever mode they had before."""
    feed_in_limit_plants: frozenset[str] = frozenset()
    """Plants whose owner agreed that we limit what they feed in: a limit that is lifted leaves the site's own, as its
    assets have it, or none, whatever was set before."""
    batteries_of_plant: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """How many batteries a plant has, where it has several: "the task is executed on every ESS", so each is told its
    share of the power. 1 tells each the whole, if the vendor turns out to share it out."""
    reading_kept_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 300.0
    """How long real-time values are used again before the vendor is asked anew [s]."""
    devices_kept_s: Seconds = 86_400.0
    """How long the lists of plants and devices are used [s]."""
    identical_for_s: Seconds = 1800.0
    """Values that have not changed in the least for so long are as old as they are [s]: real-time data have no time of
    their own, and the cloud repeats the last ones of a plant that is offline."""

    @model_validator(mode="after")
    def _has_its_credentials(self) -> Self:
        needed = {
            "oauth": {
                "client_id": self.client_id,
                "client_secret": self.client_secret.get_secret_value(),
                "redirect_url": self.redirect_url,
            },
            "api_account": {"user_name": self.user_name, "system_code": self.system_code.get_secret_value()},
        }[self.access]
        missing = [name for name, value in needed.items() if not value]
        if missing:
            raise ValueError(f"access {self.access} needs {', '.join(missing)}")
        return self

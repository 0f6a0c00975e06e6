"""How this installation is run: where its state is and what it is connected to, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from adapters.settings import WebAddress
from engine.errors import InputError

PREFIX = "TIDEWATT_"
LoadForecaster = Literal["similar_day", "trees"]
# A century: so long ago is still a date.
LONGEST_DAYS = 36_500


class Settings(BaseModel):
    """One installation. Every field is the environment's variable of that name with `TIDEWATT_` before it.

    Addresses may hold passwords, so no error, log or repr shows one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    state: Path = Path("var/tidewatt")
    """The folder of what is kept on this machine: the store, the broker's messages, results."""
    store: SecretStr = SecretStr("")
    """Address of the database, as SQLAlchemy has it; empty: SQLite in the folder."""
    broker: SecretStr = SecretStr("")
    """Address of the message broker, as Celery has it; empty: messages are files in the folder."""
    results: SecretStr = SecretStr("")
    """Where Celery keeps results; empty: SQLite in the folder. The state of things is in the store, not here."""
    beat_lock: SecretStr = SecretStr("")
    """A Redis in which several beats agree who rings; empty: there is one. Two that do not agree cost wake-ups only."""
    keep_days: Annotated[int, Field(ge=1, le=LONGEST_DAYS)] = 400
    """How long readings and renewals are kept [days]."""
    keep_plans_days: Annotated[int, Field(ge=1, le=LONGEST_DAYS)] = 60
    """How long plans, and prices and forecasts that newer ones have replaced, are kept [days]."""
    keep_journal_days: Annotated[int, Field(ge=30, le=LONGEST_DAYS)] = 3650
    """How long calls, what they were for, overrides, lifted halts, events and prices of markets are kept [days]."""
    load_forecaster: LoadForecaster = "similar_day"
    """Who forecasts loads that nobody publishes; trees are for a firm or a farm, and need the extra `forecast`."""
    weather: Literal["off", "open_meteo"] = "off"
    """Who is asked for the weather at sites whose location is known."""
    weather_url: WebAddress | Literal[""] = ""
    """Where that is; empty: at the service's own address. Customers of Open-Meteo have another."""
    weather_key: SecretStr = SecretStr("")
    """Of its customers."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("state")
    @classmethod
    def _whole(cls, value: Path) -> Path:
        return value.absolute()

    @field_validator("store", "broker", "results", "beat_lock")
    @classmethod
    def _is_an_address(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and "://" not in value.get_secret_value():
            raise ValueError("no address; write it as kind://...")
        return value

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the variables; an empty one counts as unset.

        Raises:
            InputError: A value is wrong; names the variable.
        """
        values = os.environ if environment is None else environment
        given = {name: values[variable(name)] for name in cls.model_fields if values.get(variable(name))}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            fault = error.errors(include_input=False, include_url=False)[0]
            problem, _, way_out = fault["msg"].removeprefix("Value error, ").partition("; ")
            raise InputError(variable(str(fault["loc"][0])), problem, way_out or "correct it") from None

    @property
    def store_url(self) -> str:
        """Address of the database."""
        return self.store.get_secret_value() or f"sqlite:///{self.state / 'tidewatt.sqlite'}"

    @property
    def broker_url(self) -> str:
        """Address of the broker."""
        return self.broker.get_secret_value() or "filesystem://localhost//"

    @property
    def results_url(self) -> str:
        """Where results are kept."""
        return self.results.get_secret_value() or f"db+sqlite:///{self.state / 'results.sqlite'}"

    @property
    def secrets(self) -> list[str]:
        """What must be seen in no log."""
        given = (self.store, self.broker, self.results, self.beat_lock)
        found = []
        for url in (secret.get_secret_value() for secret in given):
            password = urlsplit(url).password
            # A client may put it into a message alone, decoded or not.
            found += [url, password, unquote(password)] if password else []
        if self.weather_key.get_secret_value():
            found.append(self.weather_key.get_secret_value())
        return list(dict.fromkeys(found))

    def make_folders(self) -> None:
        """Make the folder of the state, readable by its owner only.

        Raises:
            InputError: It cannot be made.
        """
        try:
            self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise InputError(
                variable("state"), f"{self.state}: {error.strerror}", "name a folder that can be written"
            ) from None


def variable(name: str) -> str:
    """The environment's variable of a setting."""
    return f"{PREFIX}{name.upper()}"

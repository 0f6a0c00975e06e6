"""Files of vendor accounts, in YAML or JSON; what `tidewatt emulate --ready-file` writes is one.

What is wrong is told by the name of the field; no value of such a file is ever shown.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from adapters import registry
from adapters.contract import Clock, ConfigurationError
from console.inputs import NoRepeats, read_text
from engine.errors import InputError

WAY_OUT = "write adapter, account (its settings) and device_ids for each account"


class VendorAccount(BaseModel):
    """One account with a vendor, and the devices in it that matter."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    adapter: str
    account: Annotated[dict[str, Any], Field(repr=False)]
    """Settings of the adapter: address, credentials."""
    name: str = ""
    """What the account is called on the screen; empty: its adapter's name."""
    device_id: str | None = None
    device_ids: list[str] = []
    """The vendor's identifiers; none of both: all that the vendor lists."""
    clock_factor: Annotated[float, Field(gt=0)] | None = None
    """Of an emulator: its seconds per second; null where its clock is stepped."""
    pid: int | None = None
    day: str | None = None
    seed: int | None = None

    @model_validator(mode="after")
    def _names_devices(self) -> VendorAccount:
        if not all(device.strip() for device in self.devices):
            raise ValueError("an empty device_id; name the device or leave it out")
        return self

    @property
    def label(self) -> str:
        """What the account is called on the screen."""
        return self.name or self.adapter

    @property
    def devices(self) -> list[str]:
        """The devices that the file names, each once."""
        named = [*([] if self.device_id is None else [self.device_id]), *self.device_ids]
        return list(dict.fromkeys(named))

    @property
    def is_emulated(self) -> bool:
        """Whether an emulator wrote this, so that its time can be asked for."""
        return "clock_factor" in self.model_fields_set


def read_accounts(path: Path) -> list[VendorAccount]:
    """Read accounts: a list of them, a mapping with `accounts`, a single one, or one in each line.

    Raises:
        InputError: The file cannot be read, or a field of it is missing, unknown or wrong.
    """
    content = parse_accounts(path, read_text(path))
    if isinstance(content, dict) and "accounts" in content:
        unknown = sorted(str(key) for key in content if key != "accounts")
        if unknown:
            raise InputError(f"{path.name}: {unknown[0]}", "unknown field beside accounts", "remove it")
        content = content["accounts"]
    entries = [content] if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise InputError(path.name, "holds no accounts", WAY_OUT)
    return [_account(path, place, entry) for place, entry in enumerate(entries, start=1)]


def open_adapter(path: Path, place: int, account: VendorAccount, clock: Clock) -> Any:
    """Build the adapter of an account; nothing is contacted.

    Args:
        path: The file, for messages.
        place: Which account of it, from 1.
        account: The account.
        clock: Where the adapter gets the time from.

    Raises:
        InputError: No such adapter is installed, its settings are wrong, or looking would spend its tokens.
    """
    where = f"{path.name}: account {place}"
    if account.adapter not in registry.names():
        raise InputError(
            f"{where}: adapter", "no such adapter is installed", f"choose one of {', '.join(registry.names())}"
        )
    factory = registry.factory(account.adapter)
    if "store" in inspect.signature(factory).parameters and not account.is_emulated:
        # Its tokens are replaced as they are used: with no place to keep them a look costs the consent.
        raise InputError(
            f"{where}: adapter", "its tokens change with every use and nothing keeps them here", "leave the account out"
        )
    try:
        return factory(account.account, clock)
    except ValidationError as error:
        raise InputError(f"{where}: account", f"wrong: {_fields(error)}", "correct the settings") from None
    except ConfigurationError as error:
        problem, _, way_out = str(error).partition("; ")
        raise InputError(where, problem, way_out or "correct the settings") from None


def parse_accounts(path: Path, text: str) -> Any:
    """The text of such a file as data: JSON, JSON by lines, or YAML.

    Raises:
        InputError: It is none of them; names the file, and shows nothing of the text.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    # YAML reads most JSON, but neither one object a line nor all of JSON's escapes.
    for parse in (lambda: json.loads(text), lambda: [json.loads(line) for line in lines]):
        try:
            return parse()
        except (ValueError, RecursionError):
            continue
    try:
        return yaml.load(text, Loader=NoRepeats)
    except InputError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "somewhere"
        raise InputError(str(path), f"neither YAML nor JSON ({where})", "correct the syntax") from None


def _account(path: Path, place: int, entry: object) -> VendorAccount:
    where = f"{path.name}: account {place}"
    if not isinstance(entry, dict):
        raise InputError(where, "holds no fields", WAY_OUT)
    try:
        return VendorAccount.model_validate(entry)
    except ValidationError as error:
        raise InputError(f"{where}: {_fields(error)}", _problem(error), WAY_OUT) from None


def _fields(error: ValidationError) -> str:
    found = {".".join(str(part) for part in fault["loc"]) or "device_id" for fault in error.errors()}
    return ", ".join(sorted(found))


def _problem(error: ValidationError) -> str:
    """What is wrong with the first field; pydantic's own words hold the value for some kinds only."""
    fault = error.errors(include_input=False, include_url=False)[0]
    known = {
        "missing": "missing",
        "extra_forbidden": "unknown",
        "string_type": "no text; put it in quotes",
        "dict_type": "no mapping of settings",
        "list_type": "no list",
    }
    return known.get(fault["type"], "wrong")

"""Files of vendor accounts, in YAML or JSON; what `tidewatt emulate --ready-file` writes is one.

What is wrong is told by the name of the field; no value of such a file is ever shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from adapters import registry
from adapters.contract import Clock, ConfigurationError
from adapters.token_file import FileTokenStore
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
    token_file: str = ""
    """Where tokens that change with their use are kept, beside this file or by a whole path; empty: named after the
    account."""
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

    def tokens_beside(self, path: Path) -> Path:
        """Where this account's tokens are kept, given the file of accounts."""
        own = re.sub(r"[^\w-]", "_", self.label)
        return path.resolve().parent / (self.token_file or f"{path.name}.{own}.tokens")

    @property
    def is_emulated(self) -> bool:
        """Whether an emulator wrote this, so that its time can be asked for."""
        return "clock_factor" in self.model_fields_set


def read_accounts(path: Path) -> list[VendorAccount]:
    """Read accounts: a list of them, a mapping with `accounts`, a single one, or one in each line.

    Raises:
        InputError: The file cannot be read, a field of it is missing, unknown or wrong, or two accounts would share
            their tokens.
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
    accounts = [_account(path, place, entry) for place, entry in enumerate(entries, start=1)]
    _refuse_shared_tokens(path, accounts)
    return accounts


def open_adapter(path: Path, place: int, account: VendorAccount, clock: Clock) -> Any:
    """Build the adapter of an account; nothing is contacted.

    Args:
        path: The file, for messages.
        place: Which account of it, from 1.
        account: The account.
        clock: Where the adapter gets the time from.

    Raises:
        InputError: No such adapter is installed, or its settings are wrong.
    """
    where = f"{path.name}: account {place}"
    if account.adapter not in registry.names():
        raise InputError(
            f"{where}: adapter", "no such adapter is installed", f"choose one of {', '.join(registry.names())}"
        )
    try:
        return registry.build(
            account.adapter, account.account, clock, store=FileTokenStore(account.tokens_beside(path))
        )
    except ValidationError as error:
        raise InputError(f"{where}: account", f"wrong: {_fields(error)}", "correct the settings") from None
    except ConfigurationError as error:
        problem, _, way_out = str(error).partition("; ")
        raise InputError(where, problem, way_out or "correct the settings") from None


def refuse_one_name(path: Path, accounts: Sequence[VendorAccount]) -> None:
    """In the store an account is known by its name.

    Raises:
        InputError: Two accounts have the same.
    """
    labels = [account.label for account in accounts]
    for place, label in enumerate(labels, start=1):
        if label in labels[: place - 1]:
            raise InputError(
                f"{path.name}: account {place}: name", f"{label!r} is another account's", "give each a name of its own"
            )


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


def _refuse_shared_tokens(path: Path, accounts: Sequence[VendorAccount]) -> None:
    """Each consent is one owner's: with another's tokens an account would watch, and drive, another's plants."""
    known: dict[Path, int] = {}
    for place, account in enumerate(accounts, start=1):
        if account.adapter not in registry.names() or not registry.takes(account.adapter, "store"):
            continue
        file = account.tokens_beside(path).resolve()
        if file in known:
            raise InputError(
                f"{path.name}: account {place}: name",
                f"its tokens would be kept in the same file as account {known[file]}'s ({file.name})",
                "give each account a name or a token_file of its own",
            )
        known[file] = place


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

"""What the settings of all vendors' accounts have in common: strictness, addresses, and words for what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from adapters.contract import LONGEST_CALL_S, ConfigurationError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class AccountSettings(BaseModel):
    """Settings that cannot change, take no unknown name and show no value in an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


Account = TypeVar("Account", bound=AccountSettings)


def checked(model: type[Account], settings: Mapping[str, Any], vendor: str) -> Account:
    """Settings as a vendor's model.

    Raises:
        ConfigurationError: One is missing, misspelt or wrong; names it and never shows its value.
    """
    try:
        return model.model_validate(dict(settings))
    except ValidationError as error:
        # A fault between several settings has no place, and tells itself.
        faults = {
            str(one["loc"][0]) if one["loc"] else one["msg"].removeprefix("Value error, ") for one in error.errors()
        }
        raise ConfigurationError(
            f"{vendor} account: missing, unknown or wrong: {', '.join(sorted(faults))}; correct the settings"
        ) from None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    return host in LOOPBACK


def checked_address(value: str, may_be_in_clear: Callable[[str], bool]) -> str:
    """A web address without credentials in it.

    Args:
        value: The address.
        may_be_in_clear: Which hosts may be reached without TLS, though credentials travel there.

    Raises:
        ValueError: It is none.
    """
    parts = urlsplit(value)
    # Like `urlsplit` for what is no address at all, `port` raises ValueError for what is no port.
    is_port = parts.port != 0
    is_plain = value.isascii() and value.isprintable() and " " not in value
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_port or not is_plain:
        raise ValueError("no web address; write one like 'https://example.com'")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("more than an address; credentials are settings of their own")
    if parts.scheme == "http" and not may_be_in_clear(parts.hostname):
        raise ValueError("credentials would travel in clear; write https")
    return value


def _over_tls(value: str) -> str:
    return checked_address(value, is_loopback)


WebAddress = Annotated[str, AfterValidator(_over_tls)]
"""An address of the internet; in clear on loopback only, where emulators are."""
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A length of time [s]."""
CallSeconds = Annotated[float, Field(gt=0, le=LONGEST_CALL_S)]
"""How long to wait for a call that drives a battery [s]: the lease under which it is made must outlast it."""

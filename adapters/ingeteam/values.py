"""Values of the device's JSON, as forgiving as they must be: nothing that comes raises more than an adapter's error."""

from __future__ import annotations

from typing import Any

from adapters.contract import VendorUnavailableError
from adapters.values import lowered

# Loads and arrays that are less negative than this are meters around zero, others are a wrong sign.
NEAR_ZERO_W = 100.0


def rows(content: Any, name: str) -> list[dict[str, Any]]:
    """The objects of a list, with their names in lower case.

    Raises:
        VendorUnavailableError: It is no list.
    """
    if not isinstance(content, list):
        raise VendorUnavailableError(f"{name}: no list came; the device has another firmware or an error")
    return [lowered(row) for row in content if isinstance(row, dict)]


def member(content: Any, name: str) -> Any:
    """A member of a JSON object, by its name in any case; None where there is none."""
    if not isinstance(content, dict):
        return None
    return next((value for key, value in content.items() if str(key).lower() == name), None)


def text_of(value: Any) -> str:
    """A text, or a number as text; empty for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    try:
        return str(value).strip()
    except ValueError:  # an integer of thousands of digits
        return ""


def is_error(content: Any) -> bool:
    """Whether an answer with HTTP 200 says that something went wrong."""
    return text_of(member(content, "code")).lower() == "error"


def not_negative(watts: float | None) -> float | None:
    """A power that has one direction; a little below zero is zero, far below it is a wrong sign and so unknown."""
    return None if watts is None or watts < -NEAR_ZERO_W else max(watts, 0.0)

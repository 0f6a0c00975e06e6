"""Vendors' own numbers for what went wrong."""

from __future__ import annotations

from enum import IntEnum

from adapters.contract import VendorUnavailableError


def described(word: str, codes: type[IntEnum], code: int) -> str:
    """A code with its name, for messages; never the vendor's text, which may quote what it was sent."""
    try:
        return f"{word} {code} ({codes(code).name.lower().replace('_', ' ')})"
    except ValueError:
        return f"{word} {code} (not in the document)"


class VendorCodeError(VendorUnavailableError):
    """The vendor answered with a code that a later try may not see again."""

    def __init__(self, path: str, code: int, description: str) -> None:
        self.code = code
        super().__init__(path, code, description)

    def __str__(self) -> str:
        path, _, description = self.args
        return f"{path}: {description}"

"""Files of markets, in YAML or JSON: where prices come from, and what sites make of them.

What is wrong is told by the name of the field; no value of such a file, which may hold tokens, is ever shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from console.accounts import parse_accounts
from console.inputs import read_text
from engine.errors import InputError
from schedules.price_terms import Terms

WAY_OUT = "write name, area, sources and sites for each market; see docs/feeds.md"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class SourceEntry(_Strict):
    """Whom to ask."""

    source: str
    settings: Annotated[dict[str, Any], Field(repr=False)] = {}


class SiteEntry(Terms):
    """What some sites' contract is."""

    sites: Annotated[list[str], Field(min_length=1)]

    @property
    def terms(self) -> Terms:
        """The contract alone."""
        return Terms(contract=self.contract, per_eur=self.per_eur, demand_charges=self.demand_charges)


class MarketEntry(_Strict):
    """One market, and the sites that live by it."""

    name: Annotated[str, Field(min_length=1)]
    area: str
    sources: Annotated[list[SourceEntry], Field(min_length=1)]
    sites: list[SiteEntry] = []


def read_markets(path: Path) -> list[MarketEntry]:
    """Read markets: a list of them, a mapping with `markets`, or a single one.

    Raises:
        InputError: The file cannot be read, or a field of it is missing, unknown or wrong.
    """
    content = parse_accounts(path, read_text(path))
    if isinstance(content, dict):
        content = content["markets"] if list(content) == ["markets"] else [content]
    if not isinstance(content, list) or not content:
        raise InputError(path.name, "holds no markets", WAY_OUT)
    found = []
    for place, entry in enumerate(content, start=1):
        try:
            found.append(MarketEntry.model_validate(entry))
        except ValidationError as error:
            fields = sorted({".".join(map(str, fault["loc"])) or "market" for fault in error.errors()})
            where = f"{path.name}: market {place}: {', '.join(fields)}"
            raise InputError(where, "missing, unknown or wrong", WAY_OUT) from None
    return found

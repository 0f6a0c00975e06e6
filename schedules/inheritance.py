"""Who wants what of a site: scopes, the versions of what they want, and what a site inherits from them, field by field.

The portfolio of all sites comes first, then the portfolio of the site's group, then the group; what is set at the site
itself outranks them all.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pydantic import ValidationError

from engine import Strategy
from engine.errors import InputError, input_error_from


class ScopeKind(Enum):
    """For which sites a strategy is, the widest first."""

    PORTFOLIO = "portfolio"
    GROUP = "group"
    SITE = "site"


@dataclass(frozen=True)
class Scope:
    """One portfolio, group or site; the portfolio without a name is that of all sites."""

    kind: ScopeKind
    name: str = ""

    @classmethod
    def parse(cls, written: str) -> Scope:
        """As people write it: `portfolio`, `portfolio:north`, `group:street`, `site:barn`, or just `barn` for a site.

        Raises:
            InputError: A group or site has no name.
        """
        word, colon, name = written.partition(":")
        if written == ScopeKind.PORTFOLIO.value:
            return ALL_SITES
        if colon and word in {kind.value for kind in ScopeKind}:
            kind = ScopeKind(word)
        else:
            kind, name = ScopeKind.SITE, written
        if not name.strip():
            raise InputError("scope", f"value {written!r} has no name", "write portfolio, group:NAME or a site's name")
        return cls(kind, name)

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.name}" if self.name else self.kind.value


ALL_SITES = Scope(ScopeKind.PORTFOLIO)


def scopes_of(site: str | None, group: str | None, portfolio: str | None) -> list[Scope]:
    """What a site inherits from, itself included, or without one what a group or a portfolio does; the widest first."""
    names = ((ScopeKind.PORTFOLIO, portfolio), (ScopeKind.GROUP, group), (ScopeKind.SITE, site))
    return [ALL_SITES, *(Scope(kind, name) for kind, name in names if name)]


@dataclass(frozen=True)
class Version:
    """What a scope wants from a time on, and who said so."""

    scope: Scope
    number: int
    """Counts the versions of the scope from 1; 0 is a draft that nobody has saved."""
    fields: Mapping[str, Any]
    """The fields of `engine.Strategy` that are set at this scope, as JSON has them."""
    by: str
    note: str
    made_at: dt.datetime

    def __str__(self) -> str:
        return f"{self.scope} version {self.number}" if self.number else f"{self.scope} as proposed"


@dataclass(frozen=True)
class Effective:
    """What is wanted of one site, all that it inherits taken together, and who wants which part of it."""

    versions: tuple[Version, ...]
    """Those in force, the widest scope first; scopes without a version are left out."""

    @property
    def fields(self) -> dict[str, Any]:
        """What is set anywhere: for each field the word of the narrowest scope."""
        return {name: value for version in self.versions for name, value in version.fields.items()}

    @property
    def origins(self) -> dict[str, Version]:
        """Which version each field is from; what is left out is nobody's, and has its default."""
        return {name: version for version in self.versions for name in version.fields}

    @property
    def numbers(self) -> dict[str, int]:
        """The versions in force by scope: what a plan remembers."""
        return {str(version.scope): version.number for version in self.versions}

    @property
    def strategy(self) -> Strategy:
        """As the engine takes it.

        Raises:
            InputError: The wishes contradict each other; says which versions they are from.
        """
        try:
            return Strategy.model_validate(self.fields)
        except ValidationError as error:
            raise self.explained(input_error_from(error)) from None

    def explained(self, fault: InputError) -> InputError:
        """The same error, saying where the fields that it speaks of are set."""
        named = [name for name in self.origins if re.search(rf"\b{name}\b", str(fault))]
        where = ", ".join(f"{name} is from {self.origins[name]}" for name in named)
        return InputError(fault.field, f"{fault.problem} ({where})" if where else fault.problem, fault.way_out)


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The fields that two versions do not have the same; unset is not null."""
    either = {**before, **after}
    return [name for name in either if (name in before, before.get(name)) != (name in after, after.get(name))]


def described(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What differs between two versions, in words."""
    changes = (f"{name} {before.get(name, 'unset')} -> {after.get(name, 'unset')}" for name in differing(before, after))
    return ", ".join(changes) or "nothing changes"

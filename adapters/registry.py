"""Adapters by name. Built-in and third-party ones are found the same way: entry points of `tidewatt.adapters`.

An entry point names a factory `(settings: Mapping, clock: Clock) -> adapter`, where settings are the account's
address and credentials. One that takes an argument `store` has tokens that change with their use, and is given an
`adapters.tokens.TokenStore` to keep them; one that takes `ledger` counts its calls in an `adapters.quota.Ledger`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol, cast, get_args, get_type_hints

from adapters.contract import Clock, ConfigurationError

GROUP = "tidewatt.adapters"
EMULATORS = "tidewatt.emulators"
"""The like group of emulators; `adapters.emulation.emulator` loads them."""


class AdapterFactory(Protocol):
    """Makes an adapter for one vendor account."""

    def __call__(self, settings: Mapping[str, Any], clock: Clock) -> Any:
        """Build the adapter; nothing is contacted yet."""
        ...


def names(group: str = GROUP) -> list[str]:
    """Names of all installed adapters, or of what else is in another group."""
    return sorted(point.name for point in entry_points(group=group))


def factory(name: str) -> AdapterFactory:
    """The factory of one adapter.

    Raises:
        ConfigurationError: No such adapter is installed.
    """
    for point in entry_points(group=GROUP, name=name):
        return cast(AdapterFactory, point.load())
    raise ConfigurationError(
        f"adapter: {name!r} is not installed; choose one of {', '.join(names()) or 'none'} or install its package"
    )


def takes(name: str, place: str) -> bool:
    """Whether an adapter asks for a place to keep something: `store` for tokens, `ledger` for counted calls.

    Raises:
        ConfigurationError: No such adapter is installed.
    """
    return place in inspect.signature(factory(name)).parameters


def only_reads(name: str) -> bool:
    """Whether nothing that an adapter's factory may return can be driven, by what it says that it returns.

    One that is not installed, or does not say, may be driven.
    """
    for point in entry_points(group=GROUP, name=name):
        returned = get_type_hints(point.load()).get("return", Any)
        return returned is not Any and not any(hasattr(kind, "send") for kind in get_args(returned) or (returned,))
    return False


def build(name: str, settings: Mapping[str, Any], clock: Clock, **places: Any) -> Any:
    """Build an adapter with those of the places that it asks for; nothing is contacted yet.

    Args:
        name: Of the adapter.
        settings: The account's address and credentials.
        clock: The time.
        places: `store` and `ledger`, as far as there are any.

    Raises:
        ConfigurationError: No such adapter is installed, or a setting is wrong; no value is shown.
    """
    wanted = {place: keeper for place, keeper in places.items() if takes(name, place)}
    create: Callable[..., Any] = factory(name)
    return create(settings, clock, **wanted)

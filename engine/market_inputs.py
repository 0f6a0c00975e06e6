"""Series of markets and schedules: read where a strategy asks for them, refused where none does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, get_args

import numpy as np

from engine.arrays import Array
from engine.assets import Site
from engine.balancing import ProductName, most_kw, refuse_uncontrollable
from engine.errors import InputError
from engine.request import Request, Series
from engine.strategy import Strategy

# Where the objective is self-consumption: what a kWh bought weighs, and, far below it, one in store at the end, so that
# surplus is stored rather than fed in, and one fed in, so that PV is not curtailed for nothing. The first falls and
# the last rises by so much over the horizon: what can be used or stored now is not left for later.
WEIGHT_OF_IMPORT, WEIGHT_IN_STORE, WEIGHT_OF_EXPORT = 1.0, 1e-4, 1e-5
EARLIER_OF_IMPORT, EARLIER_OF_EXPORT = 1e-3, 1e-5


BY_PRODUCT = ("balancing_price", "balancing_sold_kw")


class Reader(Protocol):
    """What reads series of some sites."""

    @property
    def sites(self) -> Sequence[Site]:
        """The sites."""

    def price(self, name: str, series: Series) -> Array:
        """Prices [EUR/kWh]."""

    def signed(self, name: str, series: Series) -> Array:
        """Powers of either sign [kW]."""

    def at(self, t: int) -> str:
        """An interval's start, for messages."""


def used_by(strategy: Strategy) -> dict[str, tuple[str, bool]]:
    """Which field asks for each series, a product's as `balancing_price.fcr_n`, and whether it does in a strategy."""
    sold = most_kw(strategy)
    return {
        "position_kw": ("intraday or imbalance_kw", strategy.trades),
        "bid_price": ("intraday", strategy.intraday),
        "ask_price": ("intraday", strategy.intraday),
        "imbalance_price": ("imbalance_kw", strategy.imbalance_kw is not None),
        "schedule_kw": ("follow", strategy.follow is not None),
        "carbon_kg_per_kwh": ("carbon_eur_per_kg", bool(strategy.carbon_eur_per_kg)),
        **{f"{of}.{each}": (f"{each}_kw", each in sold) for of in BY_PRODUCT for each in get_args(ProductName)},
    }


def wanted(reader: Reader, strategy: Strategy, request: Request) -> dict[str, Array]:
    """The series that markets and schedules need, by name, a product's as `balancing_price.fcr_n`.

    Args:
        reader: Reads the series of the sites on one index.
        strategy: What is wanted.
        request: What is given for it.

    Raises:
        InputError: A series is missing, wrong, or nothing uses it; or a site cannot sell what is offered.
    """
    products = most_kw(strategy)
    for site in reader.sites if products else ():
        refuse_uncontrollable(strategy, local_control=site.local_control, site=site.name)
    for field in BY_PRODUCT:
        by_product = getattr(request, field) or {}
        if not isinstance(by_product, Mapping):
            raise InputError(
                field, f"it is {type(by_product).__name__}", "give series by product, as {'fcr_n': series}"
            )
        for unknown in set(by_product) - set(get_args(ProductName)):
            raise InputError(field, f"product {unknown!r} is unknown", f"choose of {', '.join(get_args(ProductName))}")
    given: dict[str, tuple[str, bool, Series | None]] = {}
    for name, (user, used) in used_by(strategy).items():
        field, _, product = name.partition(".")
        series = getattr(request, field)
        given[name] = (user, used, (series or {}).get(product) if product else series)
    # Whatever weighs it, it is read beside load and PV.
    del given["carbon_kg_per_kwh"]
    found = {}
    for name, (user, used, series) in given.items():
        if series is not None and not used:
            raise InputError(name, f"it is given, and strategy.{user} does not ask for it", "set that or leave it out")
        if series is not None:
            kw = name.partition(".")[0].endswith("_kw")
            read = reader.signed if kw else reader.price
            found[name] = read(name, series)
        elif used and name == "position_kw":
            found[name] = np.zeros((1, 1))
        elif used and not name.startswith("balancing_sold_kw"):
            raise InputError(name, f"it is missing, and strategy.{user} needs it", "give the series")
    if strategy.intraday:
        crossed = found["bid_price"] > found["ask_price"]
        if crossed.any():
            row, t = (int(place) for place in np.argwhere(crossed)[0])
            bid, ask = (np.broadcast_to(found[name], crossed.shape)[row, t] for name in ("bid_price", "ask_price"))
            raise InputError(
                "bid_price",
                f"value {bid:g} EUR/kWh at {reader.at(t)} is above ask_price {ask:g} EUR/kWh",
                "swap them: one buys at the ask and sells at the bid",
            )
    for name in products:
        sold = found.get(f"balancing_sold_kw.{name}")
        if sold is not None and (sold < 0).any():
            raise InputError(f"balancing_sold_kw.{name}", f"value {sold.min():g} kW is below 0", "give 0 or more")
    return found


def self_consumption_weights(strategy: Strategy, intervals: int) -> dict[str, Array]:
    """What a kWh bought or fed in weighs in each interval where prices are dropped, as `wanted`."""
    if strategy.objective == "cost":
        return {}
    passed = np.arange(intervals)[np.newaxis, :] / intervals
    return {
        "weight_of_import": WEIGHT_OF_IMPORT + EARLIER_OF_IMPORT * (1 - passed),
        "weight_of_export": WEIGHT_OF_EXPORT + EARLIER_OF_EXPORT * passed,
    }


def refuse_uncurtailable(sites: Sequence[Site]) -> None:
    """Refuse sites whose PV cannot give way to an export guard.

    Raises:
        InputError: Naming the site.
    """
    for site in sites:
        if site.pv is not None and not site.pv.curtailable:
            raise InputError(
                "strategy.export_guard",
                f"value 'curtail' with pv.curtailable False of {site.name}: nothing can be held back there",
                "choose 'hold_battery', or say that the array can be curtailed",
            )

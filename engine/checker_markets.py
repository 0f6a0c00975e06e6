"""What the checker knows of markets: trades, imbalance and balancing capacity; `engine.checker` says why it is its own.

Rules come as (name, what is judged, value, bound): no value may be above its bound, in any interval of any site.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd

from engine.arrays import Array, Mask
from engine.checker_input import Asked

Rule = tuple[str, str, Array, Array | float]
# What a kW of each product keeps free: power up and down [kW], energy up and down [h]. Of FCR as Svenska kraftnat
# prescribes it for limited energy reservoirs, of aFRR all of it for its hour.
KEEPS_FREE = {
    "fcr_n": (1.34, 1.34, 1.0, 1.0),
    "fcr_d_up": (1.0, 0.2, 1 / 3, 0.0),
    "fcr_d_down": (0.2, 1.0, 0.0, 1 / 3),
    "afrr_up": (1.0, 0.0, 1.0, 0.0),
    "afrr_down": (0.0, 1.0, 0.0, 1.0),
}
# Solvers keep energies to their own tolerance [kWh], and what little is held is held nowhere [kW].
ENERGY_TOLERANCE_KWH = 1e-6
HELD_KW = 1e-6


def columns_of_markets(asked: Asked) -> tuple[str, ...]:
    """The columns that a plan has besides those of all."""
    trades = ("trade_kw", "imbalance_kw") if _trades(asked) else ()
    return (*trades, *(f"{name}_kw" for name in _offered(asked)))


def earned_per_h(asked: Asked, of: Mapping[str, Array]) -> Array | float:
    """What trades, imbalance and capacity earn in each interval [EUR/h]."""
    earned: Array | float = 0.0
    if _trades(asked) and asked.strategy.intraday:
        sold, bought = np.maximum(of["trade_kw"], 0.0), np.maximum(-of["trade_kw"], 0.0)
        earned = earned + sold * asked.markets["bid_price"] - bought * asked.markets["ask_price"]
    if _trades(asked) and asked.strategy.imbalance_kw is not None:
        earned = earned + of["imbalance_kw"] * asked.markets["imbalance_price"]
    for name in _offered(asked):
        earned = earned + of[f"{name}_kw"] * asked.markets[f"balancing_price.{name}"]
    return earned


def rules_of_trades(asked: Asked, of: Mapping[str, Array]) -> Iterator[Rule]:
    """Delivery is the position, the trades and the imbalance; imbalance keeps its side, hours and most."""
    strategy = asked.strategy
    if not _trades(asked):
        return
    delivered = of["export_kw"] - of["import_kw"]
    accounted = asked.markets.get("position_kw", np.zeros((1, 1))) + of["trade_kw"] + of["imbalance_kw"]
    yield "position", "what is delivered and not accounted for", np.abs(delivered - accounted), 0.0
    if not strategy.intraday:
        yield "trade", "a trade without a market", np.abs(of["trade_kw"]), 0.0
    most = np.where(_in_hours(asked), strategy.imbalance_kw or 0.0, 0.0)
    long = np.zeros_like(most) if strategy.imbalance_side == "short" else most
    short = np.zeros_like(most) if strategy.imbalance_side == "long" else most
    if strategy.intraday:
        yield "imbalance", "imbalance_kw", of["imbalance_kw"], long
        yield "imbalance", "-imbalance_kw", -of["imbalance_kw"], short
        return
    # Where nothing can be traded, what the battery cannot deliver is imbalance whoever allows it; what it can is not.
    figures = {
        name: np.array([[getattr(site.battery, name)] for site in asked.sites])
        for name in ("max_charge_kw", "max_discharge_kw", "min_soc", "max_soc")
    }
    judged = ~np.array([[site.battery.tapered for site in asked.sites]]).T & (not strategy.budgeted)
    judged = judged & (np.arange(len(asked.index)) >= asked.shared_intervals)
    # Capacity sold ahead ranks alike and may keep the battery from it.
    judged = judged & (not any(name.startswith("balancing_sold_kw") for name in asked.markets))
    lacks = judged & (spare_soc(asked, of["soc"]) > 1e-5) & (_unused(asked, of, "discharge_kw", figures) > 1e-6)
    yield "imbalance", "-imbalance_kw with stored energy to spare", np.where(lacks, -of["imbalance_kw"], 0.0), short
    room = np.minimum.accumulate((figures["max_soc"] - of["soc"])[:, ::-1], axis=1)[:, ::-1]
    takes = judged & (room > 1e-5) & (_unused(asked, of, "charge_kw", figures) > 1e-6)
    curtailable = np.array([[site.pv is not None and site.pv.curtailable] for site in asked.sites])
    # With surplus alone to charge, curtailing would forgo the charging.
    curtailable &= not asked.solar_only
    takes |= judged & curtailable & (np.minimum(of["pv_kw"], _room_kw(asked, of, "import")) > 1e-6)
    yield "imbalance", "imbalance_kw with room or PV to spare", np.where(takes, of["imbalance_kw"], 0.0), long


def rules_of_capacity(
    asked: Asked, of: Mapping[str, Array], most_kw: Callable[[str], Array], limits: Mapping[str, Array]
) -> Iterator[Rule]:
    """Capacity is what may be sold, the same all hour, and free in power, at the connection and in energy.

    Args:
        asked: What was asked.
        of: The plans' columns.
        most_kw: What rating, availability and guards leave of `charge_kw` or `discharge_kw`.
        limits: Of `import_kw` and `export_kw`.
    """
    names = _offered(asked)
    if not names:
        return
    hours = np.asarray(pd.factorize(asked.index.floor("h"))[0])
    starts = np.flatnonzero(np.diff(hours, prepend=-1))
    for name in names:
        held, price = of[f"{name}_kw"], asked.markets[f"balancing_price.{name}"]
        sold = asked.markets.get(f"balancing_sold_kw.{name}", np.zeros((1, 1)))
        mean_price = np.add.reduceat(np.broadcast_to(price, held.shape), starts, axis=1) / np.bincount(hours)
        dear = mean_price[:, hours] >= asked.strategy.balancing_price_floor_eur_per_kw_h
        sold_in_hour = np.maximum.reduceat(np.broadcast_to(sold, held.shape), starts, axis=1)[:, hours]
        yield "capacity", f"{name}_kw below nothing", -held, 0.0
        most = np.maximum(np.where(dear, getattr(asked.strategy, f"{name}_kw"), 0.0), sold_in_hour)
        yield "capacity", f"{name}_kw", held, most
        again = hours[1:] == hours[:-1]
        yield "capacity", f"change of {name}_kw within an hour", np.abs(np.diff(held, axis=1)) * again, 0.0
    up_kw, down_kw, up_kwh, down_kwh = (
        sum((KEEPS_FREE[name][number] * of[f"{name}_kw"] for name in names), np.zeros((1, 1))) for number in range(4)
    )
    holds_up, holds_down = up_kw > HELD_KW, down_kw > HELD_KW
    power, drawn = of["discharge_kw"] - of["charge_kw"], of["import_kw"] - of["export_kw"]
    yield "headroom", "power up", np.where(holds_up, power + up_kw, 0.0), most_kw("discharge_kw")
    yield "headroom", "power down", np.where(holds_down, down_kw - power, 0.0), most_kw("charge_kw")
    yield "headroom", "export when activated", np.where(holds_up, up_kw - drawn, 0.0), limits["export_kw"]
    yield "headroom", "import when activated", np.where(holds_down, drawn + down_kw, 0.0), limits["import_kw"]
    capacity, max_soc, eta_in, eta_out = (
        np.array([[getattr(site.battery, name)] for site in asked.sites])
        for name in ("capacity_kwh", "max_soc", "charge_efficiency", "discharge_efficiency")
    )
    begin = np.concatenate([asked.initial_soc[:, np.newaxis], of["soc"][:, :-1]], axis=1)
    for edge, soc in (("begin", begin), ("end", of["soc"])):
        left, room = (soc - _floor_soc(asked)) * capacity, (max_soc - soc) * capacity
        lacking = np.where(up_kwh > HELD_KW, up_kwh / eta_out, 0.0) - np.maximum(left, 0.0)
        yield "headroom", f"energy lacking for what is sold at the {edge}", lacking, ENERGY_TOLERANCE_KWH
        lacking = np.where(down_kwh > HELD_KW, down_kwh * eta_in, 0.0) - np.maximum(room, 0.0)
        yield "headroom", f"room lacking for what is sold at the {edge}", lacking, ENERGY_TOLERANCE_KWH


def spare_soc(asked: Asked, after: Array) -> Array:
    """How much of the store is never needed again, by the end, the band and the reserve, shape (N, T)."""
    min_soc = np.array([[site.battery.min_soc] for site in asked.sites])
    at_end = np.maximum(asked.final_soc_min, -1.0)[:, np.newaxis]
    reserve = np.maximum(asked.reserve_soc, asked.strategy.reserve_soc)
    room = after - np.maximum(np.maximum(min_soc, at_end), reserve)
    return np.asarray(np.minimum.accumulate(room[:, ::-1], axis=1)[:, ::-1])


def _floor_soc(asked: Asked) -> Array:
    min_soc: Array = np.array([[site.battery.min_soc] for site in asked.sites])
    if asked.strategy.reserve_breach_price is not None:
        return min_soc
    return np.asarray(np.maximum(min_soc, np.maximum(asked.reserve_soc, asked.strategy.reserve_soc)))


def _unused(asked: Asked, of: Mapping[str, Array], way: str, figures: Mapping[str, Array]) -> Array:
    """How much further the battery could go that way, as far as rating, connection and guards are plain [kW]."""
    strategy = asked.strategy
    guards = asked.solar_only if way == "charge_kw" else asked.stored_export != "allowed"
    if guards or strategy.export_floor_eur_per_kwh is not None:
        return np.zeros_like(of[way])
    charges = way == "charge_kw"
    available = asked.charge_available_kw if charges else asked.discharge_available_kw
    left_kw = np.minimum(figures[f"max_{way}"], available) - of[way]
    return np.asarray(np.minimum(left_kw, _room_kw(asked, of, "import" if charges else "export")))


def _room_kw(asked: Asked, of: Mapping[str, Array], way: str) -> Array:
    """How much more the connection and an import target let through."""
    own = [getattr(site.grid, f"{way}_limit_kw") for site in asked.sites]
    most = np.minimum(getattr(asked, f"{way}_limit_kw"), np.array([[np.inf if kw is None else kw] for kw in own]))
    if way == "import" and asked.strategy.import_target_kw is not None:
        most = np.minimum(most, asked.strategy.import_target_kw)
    return np.asarray(most - of[f"{way}_kw"])


def _trades(asked: Asked) -> bool:
    return asked.strategy.intraday or asked.strategy.imbalance_kw is not None


def _offered(asked: Asked) -> tuple[str, ...]:
    return tuple(name for name in KEEPS_FREE if getattr(asked.strategy, f"{name}_kw") > 0)


def _in_hours(asked: Asked) -> Mask:
    strategy = asked.strategy
    of_zone = {zone: asked.index.tz_convert(zone).hour for zone in {site.timezone for site in asked.sites}}
    hours = np.array([of_zone[site.timezone] for site in asked.sites])
    return np.asarray((hours >= strategy.imbalance_from_hour) & (hours < strategy.imbalance_to_hour))

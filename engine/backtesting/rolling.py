"""Planning again and again along a history, each time from what was known and from where the battery really was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from engine.arrays import Array
from engine.assets import Battery, Site
from engine.backtesting.deals import Deals, traded_kw
from engine.backtesting.futures import possible
from engine.backtesting.knowledge import DAY, Positions, at_decisions
from engine.backtesting.one_by_one import OneByOne, reason
from engine.backtesting.peaks import PeakKeeper
from engine.backtesting.reality import Reality
from engine.balancing import most_kw
from engine.demand import DemandCharge
from engine.forecast import Forecaster, Observed, WithLatest
from engine.inputs import build_stack, guarded_export_kw
from engine.intent import HABITS, ties_powers
from engine.market_inputs import self_consumption_weights
from engine.problem import ProblemStack
from engine.request import Request
from engine.storage_dp import MOST_VALUE_PIECES, NO_STEERING, inverter_of, kernel_input
from engine.storage_kernels import INFINITE, Caps, Habits, House, Trace, carry_out, roll
from engine.strategy import Strategy

# Rows of forecasts that are held at a time.
DECISIONS_AT_ONCE = 2048
# Of plans that are solved one by one: whoever waits wants to see them go on.
SLOW_PLANS_AT_ONCE = 24

Progress = Callable[[int, int], None]
"""Told how many intervals of how many are done."""


def nobody_watches(_done: int, _of: int) -> None:
    """Take no notice of progress."""


@dataclass(frozen=True, eq=False)
class Rolling:
    """How plans are made along the way."""

    site: Site
    strategy: Strategy
    horizon: int
    """Intervals that a plan looks ahead."""
    every: int
    """Intervals from one plan to the next."""
    load_forecaster: Forecaster
    pv_forecaster: Forecaster
    charges: tuple[DemandCharge, ...] = ()
    """Charges on the peak import; none may be in the problems themselves."""
    modes: bool = True
    """Whether the battery is left to follow the house where that serves a plan; otherwise it holds its power."""
    futures: int = 1
    """How many futures a plan weighs: the expected one, and others that are as wrong as forecasts have been."""


@dataclass(frozen=True, eq=False)
class Rolled:
    """A history planned and carried out."""

    trace: Trace
    """What was wanted and what came of it, by interval."""
    deals: Deals
    """What was traded and sold by the plans."""
    one_by_one: str = ""
    """Why each plan was solved by itself; empty where the kernel planned."""
    too_many_pieces: int = 0
    """Plans that the kernel gave up; the battery was left to follow the house there."""


def run(rolling: Rolling, reality: Reality, initial_soc: float, progress: Progress = nobody_watches) -> Rolled:
    """Plan and carry out a whole history.

    Args:
        rolling: How to plan.
        reality: What was.
        initial_soc: State of charge at the start [fraction].
        progress: Told how many intervals are done.

    Raises:
        InputError: The site or the strategy cannot be planned, or a peak is measured over what no interval divides.
        SolveError: A plan that is solved by itself found no proved optimum in its time.
    """
    intervals, template = len(reality), template_of(rolling, reality)
    why = reason(template, reality)
    if why or template.commitments:
        # Neither weighs more than what is expected.
        rolling = replace(rolling, futures=1)
    trace, battery = new_trace(intervals), rolling.site.battery
    inverter, house = inverter_of(rolling.site), House(reality.load_kw, reality.pv_kw)
    habits = _habits(rolling, template)
    stored = initial_soc * battery.capacity_kwh
    outlook = np.full(int(DAY // reality.step), _first_worth(reality, battery))
    forecasts = _forecasts(rolling, reality, template)
    sold = {name: reality.others.get(f"balancing_sold_kw.{name}", np.zeros(intervals)) for name in template.balancing}
    slow = OneByOne(rolling, reality, house, inverter, habits, outlook, trace, sold)
    keeper = keeper_of(rolling, reality) if rolling.charges else None
    per, offset = _measured(rolling, reality)
    too_many = 0
    for at in _stints(rolling, reality, SLOW_PLANS_AT_ONCE if why else DECISIONS_AT_ONCE):
        first, caps, kept_soc = int(at[0]), np.empty(0), None
        if keeper is not None:
            # Of what lies behind the stint only the horizons of its plans are told.
            reach = int(at[-1]) + rolling.horizon - first
            caps = np.full(first + reach, np.inf)
            caps[first:] = keeper.caps_kw(first, stored, trace.imported, reach)
            kept_soc = keeper.kept_soc(first, caps[first:])
        stack, held = _stack(rolling, reality, template, forecasts, at, kept_soc), Caps(caps, per, offset)
        if why:
            stored = slow.roll(stack, first, held, stored)
        else:
            how = (first, rolling.every, house, inverter, habits, held)
            data = kernel_input(stack, NO_STEERING)
            stored, gave_up = roll(data, stack.convex, rolling.futures, *how, stored, outlook, trace, MOST_VALUE_PIECES)
            too_many += gave_up
        progress(min(int(at[-1]) + rolling.every, intervals), intervals)
    # Where nobody can tell yet, plans reckon with nothing.
    expected = {
        name: np.nan_to_num(ahead[:, : rolling.every].reshape(1, -1)[:, :intervals])
        for name, ahead in forecasts.items()
    }
    return Rolled(trace, Deals(traded_kw(template, reality, expected, trace), sold), why, too_many)


def _habits(rolling: Rolling, template: ProblemStack) -> Habits:
    strategy = rolling.strategy
    floor = strategy.export_floor_eur_per_kwh if strategy.export_guard == "curtail" else None
    return HABITS._replace(
        follows_within_kw=HABITS.follows_within_kw if rolling.modes else -1.0,
        covers_more=not (rolling.charges or ties_powers(template)),
        least_export_price=max(0.0, floor or 0.0),
    )


def keeper_of(rolling: Rolling, reality: Reality) -> PeakKeeper:
    """The charges on peaks along a history; their outlook knows site and guards, no wish of single intervals."""
    without: dict[str, Any] = {"follow": None, "follow_price_eur_per_kwh": None, "carbon_eur_per_kg": 0.0}
    if rolling.strategy.import_target_price_eur_per_kwh is not None:
        without |= {"import_target_kw": None, "import_target_price_eur_per_kwh": None}
    without |= {f"{name}_kw": 0.0 for name in most_kw(rolling.strategy)}
    plain = replace(rolling, strategy=rolling.strategy.model_copy(update=without))
    return PeakKeeper.of(rolling.charges, reality, template_of(plain, replace(reality, others={})))


def _stints(rolling: Rolling, reality: Reality, at_once: int) -> list[Positions]:
    """The intervals at which plans are made, so many at a time, futures counted apart, or a local day's."""
    at = np.arange(0, len(reality), rolling.every)
    if not rolling.charges:
        return np.array_split(at, -(-len(at) * rolling.futures // at_once))
    days = reality.index[at].tz_convert(rolling.site.timezone).tz_localize(None).normalize()
    return np.split(at, np.flatnonzero(days[1:] != days[:-1]) + 1)


def _measured(rolling: Rolling, reality: Reality) -> tuple[int, int]:
    """How many intervals a peak is the mean of, and how many of such the first interval is into one."""
    minutes = reality.minutes
    longest = max((charge.measured_over_minutes or minutes for charge in rolling.charges), default=minutes)
    into = int(reality.index[0].tz_convert(rolling.site.timezone).minute) % longest
    return longest // minutes, into // minutes


def _forecasts(rolling: Rolling, reality: Reality, template: ProblemStack) -> dict[str, Array]:
    """Prices, load, PV and other series as they were forecast at every decision, shape (D, H), or (1, 1) for none.

    All at once: what learns does so on fixed dates, and would do so again in every part.
    """
    decisions, at = reality.index[:: rolling.every], np.arange(0, len(reality), rolling.every)
    names = ["import_price", "export_price", *(name for name in reality.others if name in template.wanted)]
    if rolling.strategy.carbon_eur_per_kg:
        names.append("carbon_kg_per_kwh")
    found = {name: at_decisions(name, reality, at, rolling.horizon) for name in names}
    for name, forecaster, power, weather in (
        ("load_kw", rolling.load_forecaster, reality.mean_load_kw, reality.weather),
        ("pv_kw", rolling.pv_forecaster, reality.mean_pv_kw, reality.weather),
    ):
        if not power.any():
            found[name] = np.zeros((1, 1))
            continue
        observed = Observed(reality.series(power, name), weather=weather, **reality.place)
        # The peak of an hour is saved by who sees in its first minutes what is on.
        seeing = WithLatest(forecaster) if name == "load_kw" and rolling.charges else forecaster
        found[name] = seeing.forecast(observed, decisions, rolling.horizon).mean
    return found


def _stack(
    rolling: Rolling,
    reality: Reality,
    template: ProblemStack,
    forecasts: dict[str, Array],
    at: Positions,
    kept_soc: Array | None,
) -> ProblemStack:
    """The problems of some decisions: each future of each a row, as if it were a site of its own.

    `kept_soc` is what is to be in store for a peak, by interval of the day that the first of them begins.
    """
    rows = slice(int(at[0]) // rolling.every, int(at[-1]) // rolling.every + 1)
    day = int(DAY // reality.step)
    changed: dict[str, Any] = {}
    # A price that is told after the fact has taught nothing by then.
    timely = np.where(reality.known_at <= reality.index.asi8 + reality.step.value, 0.0, np.nan)
    for name, actual in (
        ("import_price", reality.import_price + timely),
        ("export_price", reality.export_price + timely),
        ("load_kw", reality.mean_load_kw),
        ("pv_kw", reality.mean_pv_kw),
    ):
        forecast = forecasts[name]
        if len(forecast) > 1:
            forecast = possible(forecast, actual, rows, rolling.every, day, rolling.futures)
        changed[name] = forecast
    expected = {
        name: np.repeat(forecast[rows], rolling.futures, axis=0)
        for name, forecast in forecasts.items()
        if name not in changed
    }
    if "carbon_kg_per_kwh" in expected:
        changed["carbon_kg_per_kwh"] = expected.pop("carbon_kg_per_kwh")
    changed["export_limit_kw"] = guarded_export_kw(
        rolling.strategy, changed["export_price"], template.figures.export_limit_kw
    )
    weights = self_consumption_weights(rolling.strategy, rolling.horizon)
    if kept_soc is not None:
        of_day = (at[:, np.newaxis] - at[0] + np.arange(rolling.horizon)) % len(kept_soc)
        kept = np.repeat(kept_soc[of_day], rolling.futures, axis=0)
        changed["reserve_soc"] = np.maximum(kept, template.reserve_soc[:, :1])
    changed["wanted"] = {**template.wanted, **expected, **weights}
    changed["index"] = pd.date_range(reality.index[at[0]], periods=rolling.horizon, freq=reality.step)
    return replace(template, sites=(rolling.site,) * (len(at) * rolling.futures), **changed)


def request_of(rolling: Rolling, reality: Reality) -> Request:
    """What `optimise` is asked for over a history, charges on peaks left out."""
    site = rolling.site
    others: dict[str, Any] = {}
    for name, values in reality.others.items():
        field, _, product = name.partition(".")
        series = reality.series(values, name)
        if product:
            others.setdefault(field, {})[product] = series
        # Without imbalance of its own choice a plan knows no price of it.
        elif name != "imbalance_price" or rolling.strategy.imbalance_kw is not None or not rolling.strategy.trades:
            others[name] = series
    return Request(
        import_price=reality.series(reality.import_price, "import_price"),
        export_price=reality.series(reality.export_price, "export_price"),
        load=reality.series(reality.mean_load_kw, "load"),
        pv=reality.series(reality.mean_pv_kw, "pv") if site.pv is not None else None,
        initial_soc=site.battery.max_soc,
        strategy=rolling.strategy,
        **others,
    )


def template_of(rolling: Rolling, reality: Reality) -> ProblemStack:
    """The problem of the whole history, whose series are replaced by those of each decision.

    Raises:
        InputError: A series of the history is missing or wrong, or the strategy does not ask for it.
    """
    return build_stack([rolling.site], request_of(rolling, reality))


def _first_worth(reality: Reality, battery: Battery) -> float:
    """What a stored kWh is held for before anything was planned [EUR/kWh]."""
    known = reality.known_at <= reality.index.asi8[0]
    prices = reality.import_price[known] if known.any() else reality.import_price[:1]
    return float(prices.mean() * battery.discharge_efficiency)


def new_trace(intervals: int) -> Trace:
    """Room for a history."""
    return Trace(*(np.zeros(intervals, dtype=np.bool_ if name == "follows" else np.float64) for name in Trace._fields))


def follow_the_house(site: Site, reality: Reality, initial_soc: float) -> Trace:
    """The history of a battery that nobody plans for: it stores surplus and covers the load."""
    trace = new_trace(len(reality))
    trace.follows[:] = True
    trace.export_limit_kw[:] = INFINITE
    carry_out(House(reality.load_kw, reality.pv_kw), inverter_of(site), initial_soc * site.battery.capacity_kwh, trace)
    return trace

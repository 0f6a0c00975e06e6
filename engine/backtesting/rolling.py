"""Planning again and again along a history, each time from what was known and from where the battery really was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.arrays import Array
from engine.assets import Battery, Site
from engine.backtesting.futures import possible
from engine.backtesting.peaks import PeakKeeper
from engine.backtesting.reality import Reality
from engine.demand import DemandCharge
from engine.forecast import Forecaster, Observed
from engine.inputs import build_stack
from engine.intent import HABITS
from engine.problem import ProblemStack
from engine.request import Request
from engine.storage_dp import MOST_VALUE_PIECES, NO_STEERING, inverter_of, kernel_input
from engine.storage_kernels import INFINITE, Caps, House, Trace, carry_out, roll
from engine.strategy import Strategy

# Rows of forecasts that are held at a time.
DECISIONS_AT_ONCE = 2048
DAY = pd.Timedelta(days=1)

Positions = npt.NDArray[np.int64]
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


def run(rolling: Rolling, reality: Reality, initial_soc: float, progress: Progress = nobody_watches) -> Trace:
    """Plan and carry out a whole history.

    Args:
        rolling: How to plan.
        reality: What was.
        initial_soc: State of charge at the start [fraction].
        progress: Told how many intervals are done.

    Returns:
        What was wanted and what came of it, by interval.

    Raises:
        InputError: The site or the strategy cannot be planned, or a peak is measured over what no interval divides.
    """
    intervals, template = len(reality), template_of(rolling, reality)
    trace, battery = new_trace(intervals), rolling.site.battery
    inverter, house = inverter_of(rolling.site), House(reality.load_kw, reality.pv_kw)
    habits = HABITS if rolling.modes else HABITS._replace(follows_within_kw=-1.0)
    stored = initial_soc * battery.capacity_kwh
    outlook = np.full(int(DAY // reality.step), _first_worth(reality, battery))
    forecasts = _forecasts(rolling, reality)
    keeper = PeakKeeper.of(rolling.charges, reality, template) if rolling.charges else None
    per, offset = _measured(rolling, reality)
    for at in _stints(rolling, reality):
        caps = np.empty(0)
        if keeper is not None:
            # Of what lies behind the stint only the horizons of its plans are told.
            reach = int(at[-1]) + rolling.horizon - int(at[0])
            caps = np.full(int(at[0]) + reach, np.inf)
            caps[at[0] :] = keeper.caps_kw(int(at[0]), stored, trace.imported, reach)
        stack = _stack(rolling, reality, template, forecasts, at)
        data = kernel_input(stack, NO_STEERING)
        how = (int(at[0]), rolling.every, house, inverter, habits, Caps(caps, per, offset))
        stored, _ = roll(data, stack.convex, rolling.futures, *how, stored, outlook, trace, MOST_VALUE_PIECES)
        progress(min(int(at[-1]) + rolling.every, intervals), intervals)
    return trace


def _stints(rolling: Rolling, reality: Reality) -> list[Positions]:
    """The intervals at which plans are made, as many at a time as forecasts are held, or a local day's."""
    at = np.arange(0, len(reality), rolling.every)
    if not rolling.charges:
        return np.array_split(at, -(-len(at) * rolling.futures // DECISIONS_AT_ONCE))
    days = reality.index[at].tz_convert(rolling.site.timezone).tz_localize(None).normalize()
    return np.split(at, np.flatnonzero(days[1:] != days[:-1]) + 1)


def _measured(rolling: Rolling, reality: Reality) -> tuple[int, int]:
    """How many intervals a peak is the mean of, and how many of such the first interval is into one."""
    minutes = reality.minutes
    longest = max((charge.measured_over_minutes or minutes for charge in rolling.charges), default=minutes)
    into = int(reality.index[0].tz_convert(rolling.site.timezone).minute) % longest
    return longest // minutes, into // minutes


def _forecasts(rolling: Rolling, reality: Reality) -> dict[str, Array]:
    """Prices, load and PV as they were forecast at every decision, shape (D, H), or (1, 1) where there is none.

    All at once: what learns does so on fixed dates, and would do so again in every part.
    """
    decisions = reality.index[:: rolling.every]
    buy, sell = price_windows(rolling, reality, np.arange(0, len(reality), rolling.every))
    found = {"import_price": buy, "export_price": sell}
    for name, forecaster, power, weather in (
        ("load_kw", rolling.load_forecaster, reality.mean_load_kw, reality.weather),
        ("pv_kw", rolling.pv_forecaster, reality.mean_pv_kw, reality.weather),
    ):
        if not power.any():
            found[name] = np.zeros((1, 1))
            continue
        observed = Observed(reality.series(power, name), weather=weather, **reality.place)
        found[name] = forecaster.forecast(observed, decisions, rolling.horizon).mean
    return found


def _stack(
    rolling: Rolling, reality: Reality, template: ProblemStack, forecasts: dict[str, Array], at: Positions
) -> ProblemStack:
    """The problems of some decisions: each future of each a row, as if it were a site of its own."""
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
    return replace(template, sites=(rolling.site,) * (len(at) * rolling.futures), **changed)


def price_windows(rolling: Rolling, reality: Reality, at: Positions) -> tuple[Array, Array]:
    """Import and export prices as they were known at some decisions, forecast where they were not, shape (D, H)."""
    decided = reality.index.asi8[at][:, np.newaxis]
    rows = at[:, np.newaxis] + np.arange(rolling.horizon)
    inside = np.minimum(rows, len(reality) - 1)
    told = (reality.known_at[inside] <= decided) & (rows < len(reality))
    sides = []
    for price in (reality.import_price, reality.export_price):
        known = price[inside]
        sides.append(np.where(told, known, _repeated(price, reality, rows, decided)))
    return sides[0], sides[1]


def _repeated(price: Array, reality: Reality, rows: Positions, decided: Positions) -> Array:
    """For each interval the price of the newest known day at the same time, shape (D, H)."""
    day = int(DAY // reality.step)
    known_at = reality.known_at
    source = rows.copy()
    for _ in range(int(rows.shape[1] // day) + 3):
        late = (source >= len(price)) | (known_at[np.clip(source, 0, len(price) - 1)] > decided)
        late &= source >= day
        if not late.any():
            break
        source[late] -= day
    return np.asarray(price[np.clip(source, 0, len(price) - 1)])


def template_of(rolling: Rolling, reality: Reality) -> ProblemStack:
    """One decision's problem, whose series are yet to be replaced."""
    span = slice(0, min(rolling.horizon, len(reality)))
    request = Request(
        import_price=reality.series(reality.import_price, "import_price")[span],
        export_price=reality.series(reality.export_price, "export_price")[span],
        load=reality.series(reality.mean_load_kw, "load")[span],
        pv=reality.series(reality.mean_pv_kw, "pv")[span] if rolling.site.pv is not None else None,
        initial_soc=rolling.site.battery.max_soc,
        strategy=rolling.strategy,
    )
    return build_stack([rolling.site], request)


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

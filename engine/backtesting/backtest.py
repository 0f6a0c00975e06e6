"""`backtest`: a strategy on a site's history, planned with only what was known, carried out by the minute, settled."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from engine.arrays import is_count
from engine.assets import Site
from engine.backtesting import valuation
from engine.backtesting.peaks import PeakKeeper
from engine.backtesting.reality import Reality
from engine.backtesting.result import AccountName, BacktestResult
from engine.backtesting.rolling import Progress, Rolling, follow_the_house, nobody_watches, run, template_of
from engine.backtesting.valuation import Account
from engine.demand import DemandCharge
from engine.errors import InputError
from engine.forecast import Forecaster, Persistence, SeasonalNaive
from engine.planner import optimise
from engine.prices import PriceCurve
from engine.storage_kernels import Trace
from engine.strategy import Strategy
from engine.tariffs import Tariff

# More futures earn no more.
MANY_FUTURES = 16


def backtest(
    site: Site,
    strategy: Strategy | None = None,
    *,
    prices: pd.DataFrame | pd.Series | PriceCurve,
    load: pd.Series | None = None,
    pv: pd.Series | None = None,
    tariff: Tariff | None = None,
    demand_charges: Sequence[DemandCharge] = (),
    horizon: str | pd.Timedelta = "36h",
    replan_every: str | pd.Timedelta = "1h",
    step: str | pd.Timedelta | None = None,
    initial_soc: float = 0.5,
    load_forecaster: Forecaster | None = None,
    pv_forecaster: Forecaster | None = None,
    weather: pd.DataFrame | None = None,
    location: tuple[float, float] | None = None,
    modes: bool = True,
    futures: int | None = None,
    yardsticks: bool = True,
    progress: Progress = nobody_watches,
) -> BacktestResult:
    """Find out what a strategy would have cost.

    At every decision the site is planned over the horizon from where the battery really is, with the prices that were
    known then and forecasts of all else; until the next decision the battery does by the minute what it was told.

    Args:
        site: Battery, grid connection and PV array.
        strategy: What is wanted. None: only the lowest cost.
        prices: Columns `import_price` and `export_price` [EUR/kWh] on an aware regular index, with `known_at` where
            it is not that of the day-ahead market (13:00 in Brussels on the day before); or the market price alone.
        load: Consumption [kW]; None: none. Of any step from seconds up: it is carried out by the minute.
        pv: What the sun offered [kW]; None: none.
        tariff: What makes a market price an import and an export price.
        demand_charges: Charges on the peak import; held down by a peak chosen anew each day for the rest of the period.
        horizon: How far each plan looks.
        replan_every: Time from one plan to the next.
        step: Interval of plans; None: the finest of the series, but no less than a quarter of an hour or the
            prices' own.
        initial_soc: State of charge at the start [fraction].
        load_forecaster: Who forecasts load. None: the same time of the last such day.
        pv_forecaster: Who forecasts PV. None: the day before.
        weather: `temperature_c`, `ghi_w_per_m2` as they were forecast, for forecasters that use them.
        location: Latitude and longitude [degrees], for forecasters that know the sun.
        modes: Whether the battery is left to follow the house where that serves the plan; otherwise it holds the
            plan's power.
        futures: How many futures each plan weighs: what is expected, and that with the errors of so many past days;
            1: only what is expected, many times as fast. None: 16, or 1 with demand charges, whose peaks are planned
            for already. Where selling pays more than buying, or charging from the grid is forbidden, it comes to 1.
        yardsticks: Whether the same is done with persistence, for comparison.
        progress: Told how many intervals of how many are done.

    Returns:
        The account by the meter, those that explain it, and the yardsticks.

    Raises:
        InputError: A series is incomplete or does not fit, a figure is out of its bound, the strategy has a budget of
            cycles or energy, or the battery's power falls with its state of charge.
        SolveError: Perfect foresight found no proved optimum in its time.
    """
    strategy = strategy or Strategy()
    _refuse_what_couples_plans(site, strategy)
    reality = Reality.read(
        prices,
        load,
        pv,
        tariff=tariff,
        step=None if step is None else pd.Timedelta(step),
        timezone=site.timezone,
        weather=weather,
        location=location,
    )
    if not site.battery.min_soc <= initial_soc <= site.battery.max_soc:
        raise InputError(
            "initial_soc",
            f"value {initial_soc:g} is outside the band {site.battery.min_soc:g}..{site.battery.max_soc:g}",
            "begin inside the band",
        )
    rolling = Rolling(
        site=site,
        strategy=strategy,
        horizon=_intervals("horizon", horizon, reality),
        every=_intervals("replan_every", replan_every, reality),
        load_forecaster=load_forecaster or SeasonalNaive(),
        pv_forecaster=pv_forecaster or Persistence(),
        charges=tuple(demand_charges),
        modes=modes,
        futures=(1 if demand_charges else MANY_FUTURES) if futures is None else futures,
    )
    if not is_count(rolling.futures):
        raise InputError("futures", f"value {futures!r} is not 1 or more", "give 1 for the expected one alone")
    if rolling.every > rolling.horizon:
        raise InputError("replan_every", f"{replan_every} is longer than the horizon of {horizon}", "plan more often")
    initial_kwh = initial_soc * site.battery.capacity_kwh
    begun = time.perf_counter()
    trace = run(rolling, reality, initial_soc, progress)
    seconds = time.perf_counter() - begun
    worth = float(reality.import_price.mean() * site.battery.discharge_efficiency)
    # The weights of self-consumption are no money.
    by_plans = valuation.worth_by_plans(trace, reality, site, worth) if strategy.objective == "cost" else worth
    orders = valuation.Orders(trace, reality, site, initial_kwh, np.broadcast_to(by_plans, len(reality)))
    accounts: dict[AccountName, Account] = {
        "no battery": valuation.idle(reality, site),
        "self-consumption rule": valuation.metered(follow_the_house(site, reality, initial_soc), initial_kwh),
        "perfect foresight": perfect_foresight(rolling, reality, initial_soc, worth),
        "planned": orders.planned(),
        "commanded": orders.commanded(),
        "acted": valuation.acted(trace, reality, initial_kwh),
        "metered": valuation.metered(trace, initial_kwh),
    }
    if yardsticks:
        accounts["persistence"] = valuation.metered(_persistence(rolling, reality, initial_soc), initial_kwh)
    fees: dict[AccountName, float] = {}
    if rolling.charges:
        keeper = PeakKeeper.of(rolling.charges, reality, template_of(rolling, reality))
        fees = {name: keeper.fees_eur(account.imported) for name, account in accounts.items()}
    return BacktestResult(
        site=site,
        strategy=strategy,
        reality=reality,
        trace=trace,
        accounts=accounts,
        fees_eur=fees,
        stored_worth_eur_per_kwh=worth,
        initial_soc=initial_soc,
        forecasters={
            name: forecaster.name
            for name, forecaster, given in (
                ("load", rolling.load_forecaster, load),
                ("pv", rolling.pv_forecaster, pv),
            )
            if given is not None
        },
        horizon=rolling.horizon * reality.step,
        replan_every=rolling.every * reality.step,
        seconds=seconds,
    )


def perfect_foresight(rolling: Rolling, reality: Reality, initial_soc: float, worth: float) -> Account:
    """The optimum of the whole history, all of it known; by the means of its intervals."""
    plan = optimise(
        rolling.site,
        import_price=reality.series(reality.import_price, "import_price"),
        export_price=reality.series(reality.export_price, "export_price"),
        load=reality.series(reality.mean_load_kw, "load"),
        pv=reality.series(reality.mean_pv_kw, "pv") if rolling.site.pv is not None else None,
        initial_soc=initial_soc,
        terminal_value_eur_per_kwh=worth,
        strategy=rolling.strategy,
        demand_charges=rolling.charges,
    )
    table = plan.table
    initial_kwh = initial_soc * rolling.site.battery.capacity_kwh
    return valuation.of_plan(table, reality.step_h, rolling.site.battery.capacity_kwh, initial_kwh)


def _refuse_what_couples_plans(site: Site, strategy: Strategy) -> None:
    """Refuse what the rolling plans do not see: planned without it, they would answer another question."""
    for name in ("cycles_per_day", "cycles_per_year", "warranty_throughput_mwh"):
        if getattr(strategy, name) is not None:
            raise InputError(
                f"strategy.{name}",
                f"value {getattr(strategy, name):g}: a budget ties the plans of a history to each other",
                "leave it out and let battery.wear_eur_per_kwh say what a cycle costs",
            )
    for name in ("charge_kw_at_soc", "discharge_kw_at_soc"):
        if getattr(site.battery, name):
            raise InputError(
                f"battery.{name}",
                "plans of a backtest know no power that falls with the state of charge",
                "give the rated powers alone, or the lowest of them to be on the safe side",
            )


def _persistence(rolling: Rolling, reality: Reality, initial_soc: float) -> Trace:
    naive = replace(rolling, load_forecaster=Persistence(), pv_forecaster=Persistence())
    return run(naive, reality, initial_soc)


def _intervals(name: str, length: str | pd.Timedelta, reality: Reality) -> int:
    try:
        asked = pd.Timedelta(length)
    except ValueError:
        raise InputError(name, f"value {length!r} is no length of time", "write '36h' or '15min'") from None
    count = asked / reality.step
    if not count >= 1 or not np.isclose(count, round(count)):
        raise InputError(
            name,
            f"{asked} is no whole number of intervals of {reality.step / pd.Timedelta(minutes=1):g} min",
            "give a multiple of it",
        )
    return round(count)

"""`backtest`: a strategy on a site's history, planned with only what was known, carried out by the minute, settled."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from engine.arrays import is_count
from engine.assets import Site
from engine.backtesting import valuation
from engine.backtesting.bound import perfect_foresight
from engine.backtesting.deals import Deals
from engine.backtesting.reality import Reality
from engine.backtesting.result import AccountName, BacktestResult
from engine.backtesting.rolling import Progress, Rolled, Rolling, follow_the_house, keeper_of, nobody_watches, run
from engine.backtesting.valuation import Account
from engine.demand import DemandCharge
from engine.errors import InputError
from engine.forecast import Forecaster, Persistence, SeasonalNaive
from engine.prices import PriceCurve
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
    carbon_kg_per_kwh: pd.Series | None = None,
    position_kw: pd.Series | None = None,
    bid_price: pd.Series | None = None,
    ask_price: pd.Series | None = None,
    imbalance_price: pd.Series | None = None,
    schedule_kw: pd.Series | None = None,
    balancing_price: Mapping[str, pd.Series] | None = None,
    balancing_sold_kw: Mapping[str, pd.Series] | None = None,
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
        carbon_kg_per_kwh: As `optimise` takes it, as the others below; known when the prices are.
        position_kw: Known when the prices are, which then are what the meter costs and earns besides the market.
        bid_price: The last quote of each interval, known when it begins.
        ask_price: The same.
        imbalance_price: What imbalance was settled at, known an hour after its interval. Wherever there is a position
            it is needed: nobody foresees what is delivered to the kWh.
        schedule_kw: Known when the prices are.
        balancing_price: What capacity was paid; it is sold hour by hour in an auction that ends when prices are told.
        balancing_sold_kw: What was sold of a product really: then no more is.
        modes: Whether the battery is left to follow the house where that serves the plan; otherwise it holds the
            plan's power.
        futures: How many futures each plan weighs: what is expected, and that with the errors of so many past days;
            1: only what is expected, many times as fast. None: 16, or 1 with demand charges, whose peaks are planned
            for already. Where selling pays more than buying, charging from the grid is forbidden, a position,
            schedule or priced import target bends the cost, or plans are solved one by one, it comes to 1.
        yardsticks: Whether the same is done with persistence, for comparison.
        progress: Told how many intervals of how many are done.

    Returns:
        The account by the meter, those that explain it, and the yardsticks.

    Raises:
        InputError: A series is incomplete, does not fit or is not asked for, or a figure is out of its bound.
        SolveError: Perfect foresight, or a plan that is solved by itself, found no proved optimum in its time.
    """
    strategy = strategy or Strategy()
    others = _series(
        {
            "carbon_kg_per_kwh": carbon_kg_per_kwh,
            "position_kw": position_kw,
            "bid_price": bid_price,
            "ask_price": ask_price,
            "imbalance_price": imbalance_price,
            "schedule_kw": schedule_kw,
        },
        {"balancing_price": balancing_price, "balancing_sold_kw": balancing_sold_kw},
    )
    _refuse_what_has_no_answer(strategy, demand_charges, set(others))
    reality = Reality.read(
        prices,
        load,
        pv,
        tariff=tariff,
        step=None if step is None else pd.Timedelta(step),
        timezone=site.timezone,
        weather=weather,
        location=location,
        others=others,
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
    rolled = run(rolling, reality, initial_soc, progress)
    seconds = time.perf_counter() - begun
    trace = rolled.trace
    worth = float(reality.import_price.mean() * site.battery.discharge_efficiency)

    def settled(account: Account, deals: Deals) -> Account:
        return valuation.settled(account, deals, reality, site, strategy, initial_kwh)

    # The weights of self-consumption are no money.
    by_plans = valuation.worth_by_plans(trace, reality, site, worth) if strategy.objective == "cost" else worth
    orders = valuation.Orders(
        trace,
        reality,
        site,
        initial_kwh,
        np.broadcast_to(by_plans, len(reality)),
        lambda account: settled(account, rolled.deals),
    )
    rule = follow_the_house(site, reality, initial_soc)
    accounts: dict[AccountName, Account] = {
        "no battery": settled(valuation.idle(reality, site), Deals()),
        "self-consumption rule": settled(valuation.metered(rule, initial_kwh), Deals()),
        "perfect foresight": perfect_foresight(rolling, reality, initial_soc, worth, trace.discharged),
        "planned": orders.planned(),
        "commanded": orders.commanded(),
        "acted": settled(valuation.acted(trace, reality, initial_kwh), rolled.deals),
        "metered": settled(valuation.metered(trace, initial_kwh), rolled.deals),
    }
    if yardsticks:
        naive = _persistence(rolling, reality, initial_soc)
        accounts["persistence"] = settled(valuation.metered(naive.trace, initial_kwh), naive.deals)
    fees: dict[AccountName, float] = {}
    if rolling.charges:
        keeper = keeper_of(rolling, reality)
        fees = {name: keeper.fees_eur(account.imported) for name, account in accounts.items()}
    return BacktestResult(
        site=site,
        strategy=strategy,
        reality=reality,
        rolled=rolled,
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


def _refuse_what_has_no_answer(strategy: Strategy, charges: Sequence[DemandCharge], others: set[str]) -> None:
    if strategy.trades and "imbalance_price" not in others:
        raise InputError(
            "imbalance_price",
            "it is missing, and what is delivered otherwise than sold, wanted or not, is settled at it",
            "give the series",
        )
    if strategy.trades and charges:
        raise InputError(
            "demand_charges",
            "with a position the peak of a period would be chosen without knowing what else is sold in it",
            "leave them out, or the strategy's intraday and imbalance_kw",
        )


def _series(
    others: Mapping[str, pd.Series | None], products: Mapping[str, Mapping[str, pd.Series] | None]
) -> dict[str, pd.Series]:
    """Those that are given, a product's as `balancing_price.fcr_n`."""
    found = {name: series for name, series in others.items() if series is not None}
    for field, by_product in products.items():
        if not isinstance(by_product or {}, Mapping):
            raise InputError(field, f"it is {type(by_product).__name__}", "give series by product, {'fcr_n': series}")
        found |= {f"{field}.{product}": series for product, series in (by_product or {}).items()}
    return found


def _persistence(rolling: Rolling, reality: Reality, initial_soc: float) -> Rolled:
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

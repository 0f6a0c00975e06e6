"""What a backtest found: money, where it was lost, and the figures that people compare."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from engine.arrays import Array
from engine.assets import Site
from engine.backtesting.reality import Reality
from engine.backtesting.valuation import Account
from engine.errors import InputError
from engine.prices import PriceCurve
from engine.settlement import Ledger, settle
from engine.storage_kernels import Trace
from engine.strategy import Strategy
from engine.tariffs import Tariff

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

AccountName = Literal[
    "no battery",
    "self-consumption rule",
    "persistence",
    "perfect foresight",
    "planned",
    "commanded",
    "acted",
    "metered",
]
# What the difference of two accounts is called, in the order in which they add up.
STEPS: tuple[tuple[str, AccountName, AccountName], ...] = (
    ("forecast", "perfect foresight", "planned"),
    ("command", "planned", "commanded"),
    ("execution", "commanded", "acted"),
    ("metering", "acted", "metered"),
)
# A command counts as carried out within this much of it, or of the rating where that is more.
TOLERANCE = 0.05
HOURS_PER_YEAR = 8766.0


@dataclass(frozen=True, eq=False)
class BacktestResult:
    """One strategy on one site's history."""

    site: Site
    strategy: Strategy
    reality: Reality
    trace: Trace
    accounts: dict[AccountName, Account]
    fees_eur: dict[AccountName, float]
    """Charges on the peak, over the whole history; none where the contract has none."""
    stored_worth_eur_per_kwh: float
    """What a kWh left in store counts in all accounts."""
    initial_soc: float
    forecasters: dict[str, str]
    """Who forecast `load`, `pv`."""
    horizon: pd.Timedelta
    replan_every: pd.Timedelta
    seconds: float
    """How long planning and carrying out took [s]."""

    @property
    def plans(self) -> int:
        """How many plans were made."""
        return -(-len(self.reality) // int(self.replan_every // self.reality.step))

    @cached_property
    def costs_eur(self) -> dict[AccountName, float]:
        """What each account comes to, charges on peaks and what is left in store included [EUR]."""
        return {
            name: math.fsum(account.cost_eur(self.reality, self.site, self.stored_worth_eur_per_kwh))
            + self.fees_eur.get(name, 0.0)
            for name, account in self.accounts.items()
        }

    @property
    def cost_eur(self) -> float:
        """What the history cost by the meter [EUR]."""
        return self.costs_eur["metered"]

    @property
    def saved_eur(self) -> float:
        """What the battery saved against having none [EUR]."""
        return self.costs_eur["no battery"] - self.cost_eur

    def capture_rate(self, account: AccountName = "metered") -> float:
        """Part of what perfect foresight saves that an account saves [fraction]; NaN where there is nothing to save."""
        possible = self.costs_eur["no battery"] - self.costs_eur["perfect foresight"]
        return (self.costs_eur["no battery"] - self.costs_eur[account]) / possible if possible > 0 else math.nan

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per interval, indexed by `start` (UTC).

        Means over the interval [kW]; `soc` at its END [fraction]; `mode` is what the battery was told; `cost_eur` by
        the meter, charges on peaks and stored energy left out.
        """
        trace, reality, h = self.trace, self.reality, self.reality.step_h
        money = self.accounts["metered"].cost_eur(reality, self.site, 0.0)
        mode = np.select(
            [trace.follows, trace.set_point_kw < 0, trace.set_point_kw > 0],
            ["self_consumption", "charge", "discharge"],
            "hold",
        )
        return pd.DataFrame(
            {
                "mode": mode,
                "planned_kw": trace.planned_kw,
                "battery_kw": (trace.discharged - trace.charged) / h,
                "charge_kw": trace.charged / h,
                "discharge_kw": trace.discharged / h,
                "import_kw": trace.imported / h,
                "export_kw": trace.exported / h,
                "pv_kw": trace.generated / h,
                "curtailment_kw": reality.mean_pv_kw - trace.generated / h,
                "load_kw": reality.mean_load_kw,
                "soc": trace.stored / self.site.battery.capacity_kwh,
                "import_price": reality.import_price,
                "export_price": reality.export_price,
                "cost_eur": money,
            },
            index=reality.index,
        )

    @cached_property
    def daily_costs_eur(self) -> pd.DataFrame:
        """Each account by local day [EUR], a column each; stored energy counts, charges on peaks do not."""
        days = pd.Index(self.reality.index.tz_convert(self.site.timezone).date, name="day")
        worth = self.stored_worth_eur_per_kwh
        costs = {name: account.cost_eur(self.reality, self.site, worth) for name, account in self.accounts.items()}
        return pd.DataFrame(costs).groupby(days).sum()

    @cached_property
    def attribution(self) -> pd.DataFrame:
        """Where money was lost against perfect foresight, by local day [EUR]; see docs/backtesting.md.

        Columns `perfect_eur`, `forecast_eur`, `command_eur`, `execution_eur`, `metering_eur` and `total_eur`, which
        they sum to: what the day cost by the meter, stored energy counted, charges on peaks left out.
        """
        daily = self.daily_costs_eur
        columns = {"perfect_eur": daily["perfect foresight"]}
        columns |= {f"{step}_eur": daily[after] - daily[before] for step, before, after in STEPS}
        return pd.DataFrame({**columns, "total_eur": daily["metered"]})

    @cached_property
    def kpis(self) -> dict[str, float]:
        """What people compare; units are in the names."""
        battery, trace = self.site.battery, self.trace
        hours = len(self.reality) * self.reality.step_h
        rated_kw = max(battery.max_charge_kw, battery.max_discharge_kw)
        usable_kwh = battery.capacity_kwh * (battery.max_soc - battery.min_soc)
        given, taken = math.fsum(trace.discharged), math.fsum(trace.charged)
        left = (trace.stored[-1] - self.initial_soc * battery.capacity_kwh) * battery.discharge_efficiency
        acted_kw = (trace.discharged - trace.charged) / self.reality.step_h
        return {
            "capture_rate": self.capture_rate(),
            "saved_eur_per_kw_year": _over(self.saved_eur, rated_kw) * HOURS_PER_YEAR / hours,
            "saved_eur_per_kwh_year": self.saved_eur / usable_kwh * HOURS_PER_YEAR / hours,
            "cycles": given / usable_kwh,
            "round_trip_efficiency": _over(given + left, taken),
            "availability": self._availability(acted_kw, rated_kw),
            "delivery_accuracy": 1 - _over(float(np.abs(acted_kw - trace.planned_kw).sum()), _throughput(trace)),
        }

    def _availability(self, acted_kw: Array, rated_kw: float) -> float:
        told = ~self.trace.follows
        wanted_kw = self.trace.set_point_kw[told]
        slack_kw = np.maximum(TOLERANCE * np.abs(wanted_kw), TOLERANCE * rated_kw)
        return float((np.abs(acted_kw[told] - wanted_kw) <= slack_kw).mean()) if told.any() else 1.0

    def comparison(self) -> pd.DataFrame:
        """The accounts that people compare: cost, saving against no battery, capture rate; indexed by name."""
        names: list[AccountName] = [
            name
            for name in ("no battery", "self-consumption rule", "persistence", "metered", "perfect foresight")
            if name in self.accounts
        ]
        base = self.costs_eur["no battery"]
        return pd.DataFrame(
            {
                "cost_eur": [self.costs_eur[name] for name in names],
                "saved_eur": [base - self.costs_eur[name] for name in names],
                "capture_rate": [self.capture_rate(name) for name in names],
            },
            index=pd.Index(["this strategy" if name == "metered" else name for name in names], name="account"),
        )

    def ledger(
        self,
        tariff: Tariff,
        spot: PriceCurve | None = None,
        *,
        account: AccountName = "metered",
        units_per_eur: float | None = None,
    ) -> Ledger:
        """An account booked by settlement period, as exact decimals.

        Charges on peaks and what is left in store belong to no period and are not part of it.

        Args:
            tariff: The contract that the prices were made with.
            spot: The market price of at least this history, in the contract's currency; None: that follows the clock
                alone.
            account: Which account.
            units_per_eur: What a euro of wear comes to in the contract's currency, where that is another.

        Raises:
            InputError: `units_per_eur` is missing, or the market price of an interval.
        """
        reality, booked = self.reality, self.accounts[account]
        if units_per_eur is None and tariff.currency != "EUR":
            raise InputError("units_per_eur", f"missing for a contract in {tariff.currency}", "wear is in EUR, give it")
        market: PriceCurve | pd.DatetimeIndex = reality.index
        if spot is not None:
            finer = spot if spot.step <= reality.step else spot.hold(reality.step)
            market = PriceCurve(finer.series.resample(reality.step).mean().reindex(reality.index), finer.currency)
        return settle(
            tariff,
            market,
            reality.series(booked.imported, "import_kwh"),
            reality.series(booked.exported, "export_kwh") if tariff.export_components else None,
            discharge_kwh=reality.series(booked.discharged, "discharge_kwh"),
            wear_per_kwh=self.site.battery.wear_eur_per_kwh * (units_per_eur or 1.0),
        )

    def summary(self) -> str:
        """The comparison, where money was lost, and the figures, in lines."""
        from engine.backtesting.words import summary

        return summary(self)

    def plot(self) -> Figure:
        """Saved money over time, where it was lost, and the battery by day and time, as a plotly figure."""
        from engine.backtesting.figures import backtest_figure

        return backtest_figure(self)

    def plot_day(self, day: str | dt.date) -> Figure:
        """One local day drawn open: prices, what was planned, what was done, what perfect foresight would have done.

        Raises:
            InputError: The day is not in the history.
        """
        from engine.backtesting.figures import day_figure

        return day_figure(self, day)


def _throughput(trace: Trace) -> float:
    return float(np.abs(trace.planned_kw).sum())


def _over(value: float, by: float) -> float:
    return value / by if by else math.nan

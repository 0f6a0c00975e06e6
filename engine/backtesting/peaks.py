"""Charges on peaks along a history: once a day it is chosen anew which peak to hold to (`engine.peaks`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.arrays import Array
from engine.backtesting.reality import Reality
from engine.demand import DemandCharge, PeakPeriod, peak_periods
from engine.inputs import guarded_export_kw
from engine.market_inputs import self_consumption_weights
from engine.peaks import MARGIN, OUTLOOK_DAYS, cap_kw, kept_kwh
from engine.problem import ProblemStack

WEEK_DAYS = 7


@dataclass(frozen=True, eq=False)
class PeakKeeper:
    """Charges on peaks along a history."""

    reality: Reality
    template: ProblemStack
    """Site and strategy; its series are replaced."""
    periods: tuple[PeakPeriod, ...]
    """All periods of all charges, over the whole history."""

    @classmethod
    def of(cls, charges: Sequence[DemandCharge], reality: Reality, template: ProblemStack) -> PeakKeeper:
        """Lay charges on a history.

        Raises:
            InputError: A measuring interval does not fit the plan's intervals.
        """
        periods = peak_periods(tuple(charges), reality.index[0], len(reality), reality.step, template.sites[0].timezone)
        return cls(reality, template, periods)

    def caps_kw(self, now: int, stored: float, imported_kwh: Array, intervals: int) -> Array:
        """What to hold import to from interval `now` on, shape (intervals,) [kW]; infinite where any import will do.

        Args:
            now: The interval.
            stored: Energy in store [kWh].
            imported_kwh: Of the intervals before, shape (T,); what it has from `now` on is not looked at.
            intervals: How far.
        """
        caps = np.full(intervals, np.inf)
        for period in self.periods:
            counted = period.inside[(period.inside >= now) & (period.inside < now + intervals)]
            if len(counted):
                held_kw = self._cap_kw(period, now, stored, imported_kwh / self.reality.step_h) * (1 - MARGIN)
                caps[counted - now] = np.minimum(caps[counted - now], held_kw)
        return caps

    def kept_soc(self, now: int, caps_kw: Array) -> Array | None:
        """State of charge to be kept for the caps, by interval of the day from `now` on, shape (intervals of a day,).

        Args:
            now: The interval.
            caps_kw: What import is held to from `now` on; where that is nothing there is nothing to keep.
        """
        held_kw = float(caps_kw.min())
        if not np.isfinite(held_kw):
            return None
        reality, battery = self.reality, self.template.sites[0].battery
        day = round(24 / reality.step_h)
        past = slice(now - min(now // day, OUTLOOK_DAYS) * day, now)
        net_kw = (reality.mean_load_kw - reality.mean_pv_kw)[past].reshape(-1, day)
        soc: Array = battery.min_soc + kept_kwh(net_kw, held_kw, battery, reality.step_h) / battery.capacity_kwh
        return soc

    def fees_eur(self, imported_kwh: Array) -> float:
        """What the history's import costs by its peaks, all periods [EUR]."""
        import_kw = imported_kwh / self.reality.step_h
        return float(sum(period.charge.fees_eur(period.billed_kw(import_kw)) for period in self.periods))

    def _cap_kw(self, period: PeakPeriod, now: int, stored: float, import_kw: Array) -> float:
        if not now:
            # Nothing is known of the house, and a peak cannot be taken back.
            return next((bound for bound, _ in period.charge.steps_eur if bound is not None), 0.0)
        return cap_kw(period, self._outlook(now, int(period.inside.max()) + 1, stored), import_kw, now)

    def _outlook(self, now: int, end: int, stored: float) -> ProblemStack:
        """The rest of a period as the last weeks were, prices as far as they are known."""
        reality = self.reality
        rows = np.arange(now, end)
        past = self._like(rows, now)
        told = reality.known_at[rows] <= reality.index.asi8[now]
        series: dict[str, Any] = {
            name: np.where(told, price[rows], price[past])[np.newaxis]
            for name, price in (("import_price", reality.import_price), ("export_price", reality.export_price))
        }
        series |= {
            name: self._usual(power, rows, now)[np.newaxis]
            for name, power in (("load_kw", reality.mean_load_kw), ("pv_kw", reality.mean_pv_kw))
        }
        battery = self.template.sites[0].battery
        worth = float(series["import_price"].mean() * battery.discharge_efficiency)
        return replace(
            self.template,
            index=reality.index[now:end],
            initial_soc=np.full((1, 1), stored / battery.capacity_kwh),
            terminal_up_to_soc=np.full(1, np.inf),
            terminal_value=np.full((1, 1), worth),
            export_limit_kw=guarded_export_kw(
                self.template.strategy, series["export_price"], self.template.figures.export_limit_kw
            ),
            wanted=self_consumption_weights(self.template.strategy, end - now),
            **series,
        )

    def _usual(self, power: Array, rows: Any, now: int) -> Array:
        """The mean of the last weeks at the same time of day.

        Days as spiky as they were would tell at once that a low peak cannot be held. But a higher one cannot be taken
        back either, and costs hardly less when it is chosen later.
        """
        day = round(24 / self.reality.step_h)
        days = min(now // day, OUTLOOK_DAYS)
        if not days:
            return np.asarray(power[self._like(rows, now)])
        usual = power[now - days * day : now].reshape(days, day).mean(axis=0)
        return np.asarray(usual[(rows - now) % day])

    def _like(self, rows: Any, now: int) -> Any:
        """For each interval to come one of the past that it is taken to be like: some whole weeks ago, or some days."""
        day = round(24 / self.reality.step_h)
        days = min(now // day, OUTLOOK_DAYS)
        days = days // WEEK_DAYS * WEEK_DAYS or days
        if not days:
            return np.minimum(rows, max(now - 1, 0))
        return rows - (rows - now + days * day) // (days * day) * (days * day)

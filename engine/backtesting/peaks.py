"""What import to hold to for the sake of a charge on its peak, whose period reaches past every plan's horizon.

A plan of a day or two cannot know what a peak of today costs over the month. So once a day the rest of the period is
planned on an outlook, under each peak that could be worth holding to, and the cheapest is held to until the next day.
Perez-Pineiro, Skogestad and Boyd (arXiv 2307.07580) found such a rolling plan close to perfect foresight; they plan the
whole period at every step, with a variable for the peak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine import storage_dp
from engine.arrays import Array
from engine.backtesting.reality import Reality
from engine.decisions import objective_eur, reckon
from engine.demand import DemandCharge, PeakPeriod, peak_periods
from engine.inputs import guarded_export_kw
from engine.market_inputs import self_consumption_weights
from engine.problem import ProblemStack
from engine.storage_dp import Steering

# What a battery that is told a power misses of a peak it plans to hold.
MARGIN = 0.05
# Prices to come are taken to be those of so long ago, and loads the mean since, where the history reaches back so far.
OUTLOOK_DAYS = 28
WEEK_DAYS = 7
# Peaks that are tried besides the bounds of a charge's steps, relative to the one that nothing holds down.
TRIED = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
BISECTIONS = 40


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
                cap_kw = self._cap_kw(period, now, stored, imported_kwh / self.reality.step_h)
                caps[counted - now] = np.minimum(caps[counted - now], cap_kw * (1 - MARGIN))
        return caps

    def fees_eur(self, imported_kwh: Array) -> float:
        """What the history's import costs by its peaks, all periods [EUR]."""
        import_kw = imported_kwh / self.reality.step_h
        return float(sum(period.charge.fees_eur(period.billed_kw(import_kw)) for period in self.periods))

    def _cap_kw(self, period: PeakPeriod, now: int, stored: float, import_kw: Array) -> float:
        end = int(period.inside.max()) + 1
        stack = self._outlook(now, end, stored)
        counted = np.zeros(end - now, dtype=np.bool_)
        counted[period.inside[period.inside >= now] - now] = True
        before = np.where(np.arange(len(import_kw)) < now, import_kw, 0.0)

        def total_eur(cap_kw: float) -> float:
            cap = np.where(counted, cap_kw * (1 - MARGIN), np.inf)
            decisions, pieces = storage_dp.solve(stack, Steering(import_cap_kw=cap))
            if pieces[0] < 0:
                return np.inf
            outcome = reckon(stack, decisions)
            whole = before.copy()
            whole[now:end] = outcome.import_kw[0]
            return float(objective_eur(stack, outcome)[0] + period.charge.fees_eur(period.billed_kw(whole)))

        return min(self._worth_trying(period, now, end, stack, before), key=total_eur)

    def _worth_trying(self, period: PeakPeriod, now: int, end: int, stack: ProblemStack, before: Array) -> list[float]:
        """Peaks of the days to come that could be the cheapest, rising: of two of one cost the first is taken."""
        if not period.charge.steps_eur:
            free, _ = storage_dp.solve(stack)
            peak_kw = float(reckon(stack, free).import_kw.max(initial=0.0))
            return [share * peak_kw for share in TRIED]
        highest_kw = float(stack.most_import_kw.max() + stack.idle_over_import_kw.max())
        bounds = [highest_kw if bound is None else bound for bound, _ in period.charge.steps_eur]
        return [self._highest_kw(period, now, end, before, bound, highest_kw) for bound in bounds]

    @staticmethod
    def _highest_kw(period: PeakPeriod, now: int, end: int, before: Array, bound: float, most: float) -> float:
        """The highest peak that all days to come may have so that no more than `bound` is billed; 0 where none may."""
        low, high = 0.0, most
        for _ in range(BISECTIONS):
            tried = (low + high) / 2
            whole = before.copy()
            whole[now:end] = tried
            low, high = (tried, high) if period.billed_kw(whole) <= bound else (low, tried)
        return low

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
            name: self._usual(power, rows, now)[np.newaxis] if now else np.full((1, 1), 0.0)
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

"""How good forecasts are: by the order of the hours that they tell, and by the money that planning on them loses.

A battery needs to know which hours have more load or sun than others; being off by a level costs it little. So rank
correlation and regret judge a forecaster; the mean absolute error is there for information.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from engine.arrays import Array
from engine.assets import GridConnection, Site
from engine.errors import InputError
from engine.fleet import optimise_fleet
from engine.forecast.history import ONE_DAY
from engine.forecast.naive import PerfectForesight
from engine.forecast.series import Forecaster, Forecasts, Observed
from engine.timeline import ONE_HOUR, step_hours, utc_index


@dataclass(frozen=True, eq=False)
class Stakes:
    """The battery and the money that forecasts are for.

    Each decision's horizon is planned by itself, from `initial_soc` back to it. Set-points are carried out as planned,
    so a device that follows the house loses less than is told here.
    """

    site: Site
    """Limits of its connection are left out: a plan made on a wrong forecast may not be able to keep them."""
    import_price: pd.Series
    """All-in price of a bought kWh [EUR/kWh]."""
    export_price: pd.Series
    """All-in price of a sold kWh [EUR/kWh]."""
    forecast_of: Literal["load", "pv"] = "load"
    """What is forecast."""
    other: pd.Series | None = None
    """The other one of load and PV [kW], taken as known, so that only one forecast is judged; None: 0."""
    initial_soc: float = 0.5
    """State of charge at both ends of every plan [fraction]."""


def score(
    forecasters: Sequence[Forecaster],
    observed: Observed,
    decisions: pd.DatetimeIndex,
    steps: int,
    stakes: Stakes | None = None,
) -> pd.DataFrame:
    """Judge forecasters by what came true.

    Args:
        forecasters: Who is judged.
        observed: What they are given, and the truth.
        decisions: When they forecast.
        steps: How many intervals from each decision on.
        stakes: What is planned on the forecasts; None: no regret is told.

    Returns:
        One row per forecaster by its name. ``tau_day_1`` and so on: mean Kendall tau-b within that day of the horizon.
        ``mae_kw``. ``regret_eur``: mean per decision, where there are stakes. ``pinball_kw``: mean over its levels,
        where the forecaster has quantiles.

    Raises:
        InputError: Prices do not cover the horizons, or the input of a forecaster is refused.
    """
    truth = PerfectForesight().forecast(observed, decisions, steps)
    rows = []
    for forecaster in forecasters:
        forecasts = forecaster.forecast(observed, decisions, steps)
        row = {f"tau_day_{day}": _mean(tau) for day, tau in _tau_by_day(forecasts, truth)}
        row["mae_kw"] = _mean(np.abs(forecasts.mean - truth.mean))
        if stakes is not None:
            row["regret_eur"] = _mean(regret_eur(forecasts, truth, stakes))
        if forecasts.quantiles is not None:
            row["pinball_kw"] = _mean(pinball_kw(forecasts, truth))
        rows.append(row)
    return pd.DataFrame(rows, pd.Index([forecaster.name for forecaster in forecasters], name="forecaster"))


def _mean(values: Array) -> float:
    """Mean of what is there, NaN if nothing is."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")


def _tau_by_day(forecasts: Forecasts, truth: Forecasts) -> Iterator[tuple[int, Array]]:
    day = int(ONE_DAY // forecasts.step)
    for number, first in enumerate(range(0, truth.mean.shape[1], day), start=1):
        some = slice(first, first + day)
        yield number, kendall_tau(forecasts.mean[:, some], truth.mean[:, some])


def kendall_tau(one: Array, other: Array) -> Array:
    """Kendall's tau-b of each row, ties counted and pairs with a NaN left out.

    Args:
        one: Shape (D, H).
        other: Shape (D, H).

    Returns:
        Shape (D,), -1..1; NaN where a row has no two different values.
    """
    agreement, of_one, of_other = np.zeros((3, len(one)))
    missing = np.isnan(one) | np.isnan(other)
    for apart in range(1, one.shape[1]):
        there = ~(missing[:, apart:] | missing[:, :-apart])
        up_one = np.where(there, np.sign(one[:, apart:] - one[:, :-apart]), 0.0)
        up_other = np.where(there, np.sign(other[:, apart:] - other[:, :-apart]), 0.0)
        agreement += (up_one * up_other).sum(axis=1)
        of_one += np.abs(up_one).sum(axis=1)
        of_other += np.abs(up_other).sum(axis=1)
    pairs = np.sqrt(of_one * of_other)
    return np.asarray(np.divide(agreement, pairs, out=np.full(len(one), np.nan), where=pairs > 0))


def pinball_kw(forecasts: Forecasts, truth: Forecasts) -> Array:
    """Pinball loss of each level [kW], shape (Q,), the mean over all that is there.

    Raises:
        InputError: The forecasts have no quantiles.
    """
    if forecasts.quantiles is None:
        raise InputError("forecasts", "they have no quantiles", "forecast WithQuantiles(...)")
    levels = np.array(forecasts.levels)[:, np.newaxis, np.newaxis]
    above = truth.mean - forecasts.quantiles
    return np.array([_mean(loss) for loss in np.maximum(levels * above, (levels - 1) * above)])


def regret_eur(forecasts: Forecasts, truth: Forecasts, stakes: Stakes) -> Array:
    """What planning on forecasts costs more than planning on the truth, each decision by itself.

    Args:
        forecasts: What is planned on.
        truth: What comes true, for the same decisions and intervals.
        stakes: Battery and prices.

    Returns:
        Shape (D,), >= 0 [EUR]; NaN where the forecast, the truth or the other power is missing.

    Raises:
        InputError: Prices or the other power do not reach over all horizons.
    """
    import_price, export_price = (
        _over(forecasts, name, getattr(stakes, name)) for name in ("import_price", "export_price")
    )
    other = np.zeros_like(truth.mean) if stakes.other is None else _over(forecasts, "other", stakes.other)
    there = ~np.isnan(forecasts.mean + truth.mean + other).any(axis=1)
    regret = np.full(len(forecasts), np.nan)
    if there.any():
        days = _Days(stakes, forecasts.step, import_price[there], export_price[there], other[there])
        on_forecast, on_truth = (days.cost_eur(of.mean[there], truth.mean[there]) for of in (forecasts, truth))
        regret[there] = on_forecast - on_truth
    return regret


@dataclass(frozen=True, eq=False)
class _Days:
    """Horizons that are planned side by side as if they were sites of one fleet; arrays of shape (D, H)."""

    stakes: Stakes
    step: pd.Timedelta
    import_price: Array
    export_price: Array
    other: Array

    def cost_eur(self, told: Array, came: Array) -> Array:
        """What plans made on one thing cost when another comes, shape (D,) [EUR]."""
        site = self.stakes.site.model_copy(update={"grid": GridConnection()})
        # Any time will do: no price of a horizon hangs on it.
        index = pd.date_range("2000-01-01", periods=told.shape[1], freq=self.step, tz="UTC")
        load, pv = self._load_and_pv(told)
        plans = optimise_fleet(
            [site] * len(told),
            import_price=pd.DataFrame(self.import_price.T, index),
            export_price=pd.DataFrame(self.export_price.T, index),
            load=pd.DataFrame(load.T, index),
            pv=pd.DataFrame(pv.T, index),
            initial_soc=self.stakes.initial_soc,
            final_soc_min=self.stakes.initial_soc,
        )
        wear = site.battery.wear_eur_per_kwh * plans.discharge_kw
        eur_per_h = wear + self._exchange(plans.discharge_kw - plans.charge_kw, *self._load_and_pv(came))
        return np.asarray(eur_per_h.sum(axis=1) * (self.step / ONE_HOUR))

    def _load_and_pv(self, forecast: Array) -> tuple[Array, Array]:
        return (forecast, self.other) if self.stakes.forecast_of == "load" else (self.other, forecast)

    def _exchange(self, battery_kw: Array, load: Array, pv: Array) -> Array:
        """What the grid costs at the curtailment that is best for it [EUR/h]."""
        drawn = load - pv - battery_kw
        array = self.stakes.site.pv
        curtailable = pv if array is not None and array.curtailable else np.zeros_like(pv)
        # The cost is straight between these: nothing, no feed-in, all of it.
        cases = [drawn, drawn + np.clip(-drawn, 0.0, curtailable), drawn + curtailable]
        costs = [np.where(kw > 0, self.import_price, self.export_price) * kw for kw in cases]
        return np.asarray(np.min(costs, axis=0))


def _over(forecasts: Forecasts, name: str, series: pd.Series) -> Array:
    """A series over each horizon, shape (D, H)."""
    index = utc_index(name, series.index)
    at, steps = index.get_indexer(forecasts.decisions), forecasts.mean.shape[1]
    if pd.Timedelta(hours=step_hours(index)) != forecasts.step:
        raise InputError(f"{name}.index", f"its step is not {forecasts.step}", "hold or resample it to that")
    beyond = (at < 0) | (at + steps > len(index))
    if beyond.any():
        raise InputError(
            f"{name}.index",
            f"it does not cover {steps} intervals from {forecasts.decisions[int(beyond.argmax())].isoformat()}",
            "give the series over all horizons",
        )
    return np.lib.stride_tricks.sliding_window_view(series.to_numpy(dtype=np.float64), steps)[at]

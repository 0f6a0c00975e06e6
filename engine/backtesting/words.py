"""A backtest in lines of text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from engine.timeline import ONE_HOUR

if TYPE_CHECKING:
    from engine.backtesting.result import BacktestResult


def summary(result: BacktestResult) -> str:
    """The comparison, where money was lost, and the figures, in lines."""
    index, kpis = result.reality.index, result.kpis
    days = len(index) * result.reality.step_h / 24
    lines = [
        f"{result.site.name}: {index[0]:%Y-%m-%d} to {index[-1]:%Y-%m-%d}, {days:.0f} days, {result.plans:,} plans of "
        f"{result.horizon / ONE_HOUR:g} h in {result.seconds:.1f} s",
        "",
        f"{'':38}{'cost':>12}{'saved':>12}{'of perfect':>12}",
    ]
    for name, row in result.comparison().iterrows():
        money = f"{row['cost_eur']:>8,.2f} EUR{row['saved_eur']:>8,.2f} EUR"
        lines.append(f"{name!s:38.38}{money}{_percent(row['capture_rate']):>12}")
    lost = result.attribution.sum()
    lines += [
        "",
        "Lost against perfect foresight [EUR]: "
        + ", ".join(f"{step} {lost[f'{step}_eur']:,.2f}" for step in ("forecast", "command", "execution", "metering")),
    ]
    if any(result.fees_eur.values()):
        fees = result.fees_eur
        lines.append(
            f"Charges on peaks [EUR]: {fees['metered']:,.2f}; perfect foresight {fees['perfect foresight']:,.2f}, no "
            f"battery {fees['no battery']:,.2f}"
        )
    lines += [
        f"{kpis['saved_eur_per_kw_year']:,.0f} EUR/kW and year, {kpis['cycles']:,.0f} cycles, round trip "
        f"{_percent(kpis['round_trip_efficiency'])}, set-points held {_percent(kpis['availability'])} of the time",
        f"Stored energy counts {result.stored_worth_eur_per_kwh:.3f} EUR/kWh in all accounts.",
    ]
    return "\n".join(lines)


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.1%}"

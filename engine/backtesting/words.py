"""A backtest in words: where money was lost and why, and its figures as people read them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from engine.timeline import ONE_HOUR

if TYPE_CHECKING:
    from engine.backtesting.result import BacktestResult

REASONS = {
    "forecast": "hours to come that were not as forecast",
    "command": "orders given before their interval's load and PV were known, by mode or set-point",
    "execution": "a battery that was full, empty or at its rating for part of an interval",
    "metering": "minutes that both bought and sold, which means do not show",
}


def losses(result: BacktestResult) -> list[tuple[str, float, str]]:
    """Where money was lost against perfect foresight: step, EUR (negative: gained), and by what."""
    lost = result.attribution.sum()
    return [(step, float(lost[f"{step}_eur"]), why) for step, why in REASONS.items()]


def figures(result: BacktestResult) -> dict[str, str]:
    """Each figure by its name, with its unit."""
    kpis = result.kpis
    found = {
        "saved per year and kW": f"{kpis['saved_eur_per_kw_year']:,.0f} EUR",
        "saved per year and usable kWh": f"{kpis['saved_eur_per_kwh_year']:,.0f} EUR",
        "full cycles": f"{kpis['cycles']:,.1f}",
        "round trip": percent(kpis["round_trip_efficiency"]),
        "set-points held": f"{percent(kpis['availability'])} of the time",
        "energy delivered as planned": percent(kpis["delivery_accuracy"]),
        "worth of stored energy": f"{result.stored_worth_eur_per_kwh:.3f} EUR/kWh in all accounts",
    }
    if any(result.fees_eur.values()):
        fees = result.fees_eur
        found["charges on peaks"] = (
            f"{fees['metered']:,.2f} EUR (perfect foresight {fees['perfect foresight']:,.2f}, no battery "
            f"{fees['no battery']:,.2f})"
        )
    return found


def summary(result: BacktestResult) -> str:
    """The comparison, where money was lost, and the figures, in lines."""
    local = result.reality.index.tz_convert(result.site.timezone)
    days = len(local) * result.reality.step_h / 24
    forecasts = ", ".join(f"{name} by {who}" for name, who in result.forecasters.items())
    lines = [
        f"{result.site.name}: {local[0]:%Y-%m-%d} to {local[-1]:%Y-%m-%d}, {days:.0f} days, {result.plans:,} plans of "
        f"{result.horizon / ONE_HOUR:g} h in {result.seconds:.1f} s",
        *([f"forecasts: {forecasts}"] if forecasts else []),
        "",
        f"{'':24}{'cost':>14}{'saved':>14}{'of perfect':>12}",
    ]
    for name, row in result.comparison().iterrows():
        money = f"{row['cost_eur']:>10,.2f} EUR{row['saved_eur']:>10,.2f} EUR"
        lines.append(f"{name!s:24}{money}{percent(row['capture_rate']):>12}")
    lines += ["", "Lost against perfect foresight:"]
    lines += [f"{step:24}{eur:>10,.2f} EUR  {why}" for step, eur, why in losses(result)]
    lines += ["", *(f"{name:32}{value}" for name, value in figures(result).items())]
    return "\n".join(lines)


def percent(share: float) -> str:
    """A fraction as people read it."""
    return "-" if math.isnan(share) else f"{share:.1%}"

"""A plan in words: what it does at a time, what binds, what a stored kWh is worth, and what the next best act costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from engine.alternatives import DUST, MOVING_KW, budgets_at, next_best, taken_kwh
from engine.errors import SolveError
from engine.explain_wishes import markets, wishes

if TYPE_CHECKING:
    from engine.budgets import CycleBudget
    from engine.plan import Plan


def explain(plan: Plan, position: int) -> str:
    """One paragraph about one interval.

    Args:
        plan: The plan.
        position: Number of the interval.
    """
    row = plan.table.iloc[position]
    start = plan.table.index[position]
    value = float(plan.marginal_value.iloc[position])
    local = start.tz_convert(plan.site.timezone)
    broken = [str(breach) for breach in plan.breaches if breach.start == start]
    sentences = [
        f"{local:%Y-%m-%d %H:%M %Z}: {_action(row)}.",
        _prices(plan, position),
        markets(plan, row, position),
        _worth(plan, value, position),
        _binding(plan, row, position),
        _next_best(plan, position),
        f"Not kept: {'; '.join(broken)}." if broken else "",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def summary(plan: Plan) -> str:
    """The plan in a few lines.

    Args:
        plan: The plan.
    """
    from engine.plan import cost_without_battery_eur

    table, problem, h = plan.table, plan.problem, plan.problem.step_h
    local = problem.index.tz_convert(plan.site.timezone)
    end = (problem.index[-1] + pd.Timedelta(hours=h)).tz_convert(plan.site.timezone)
    idle_eur = cost_without_battery_eur(problem)
    money = plan.breakdown
    energy = {name: float(table[f"{name}_kw"].sum()) * h for name in ("import", "export", "charge", "discharge")}
    cycles = energy["discharge"] / plan.site.battery.discharge_efficiency / plan.site.battery.capacity_kwh
    earned = {"trades": money.trading_eur, "imbalance": money.imbalance_eur, "balancing capacity": money.balancing_eur}
    lines = [
        f"{plan.site.name}: {local[0]:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M %Z}, {len(table)} x {h * 60:g} min",
        f"cost {plan.cost_eur:.4f} EUR: import {money.import_eur:.4f}, export {0.0 - money.export_eur:.4f}, "
        f"wear {money.wear_eur:.4f}, demand charge {money.demand_eur:.4f}"
        + "".join(f", {name} {0.0 - eur:.4f}" for name, eur in earned.items() if eur),
        f"without the battery {idle_eur:.4f} EUR, so it saves {idle_eur - plan.cost_eur:.4f} EUR",
        ", ".join(f"{name} {kwh:.2f} kWh" for name, kwh in energy.items()) + f", {cycles:.2f} cycles",
        f"soc {problem.initial_soc:.1%} -> {float(table['soc'].iloc[-1]):.1%}",
        *(f"not kept: {breach}" for breach in plan.breaches),
        f"{plan.solver} in {plan.seconds * 1e3:.1f} ms: {plan.why}",
    ]
    return "\n".join(lines)


def _couplings(plan: Plan, position: int) -> list[str]:
    """What ties the interval to others and binds in it."""
    problem, imported = plan.problem, plan.table["import_kw"].to_numpy()
    more = imported.copy()
    more[position] += MOVING_KW
    found = [
        f"more import would raise the {peak.charge.name}"
        for peak in problem.peaks
        if peak.added_eur(more) > peak.added_eur(imported)
    ]
    return found + [
        f"the cycles of the {budget.period} are used up"
        if budget.kwh is None
        else f"what the warranty allows for a {budget.period} is used up"
        for budget in _used_up(plan, position)
    ]


def _used_up(plan: Plan, position: int) -> list[CycleBudget]:
    """The budgets around an interval of which nothing is left."""
    taken, capacity = taken_kwh(plan), plan.site.battery.capacity_kwh
    return [b for b in budgets_at(plan, position) if b.over_kwh(taken, capacity) > -DUST * capacity]


def _prices(plan: Plan, position: int) -> str:
    problem = plan.problem
    bought, sold = problem.import_price[position], problem.export_price[position]
    weighed = problem.decision_import_price[position]
    if problem.strategy.objective == "self_consumption":
        return (
            f"Buying costs {bought:.4f}, selling earns {sold:.4f} EUR/kWh; self-consumption minds neither, "
            "a kWh bought counts as one euro."
        )
    carbon = f" ({weighed:.4f} with its carbon)" if weighed != bought else ""
    return f"Buying costs {bought:.4f}{carbon}, selling earns {sold:.4f} EUR/kWh."


def _worth(plan: Plan, value: float, position: int) -> str:
    """What a stored kWh is worth, and between which prices the battery rests."""
    battery = plan.site.battery
    if value >= plan.problem.breach.final * (1 - DUST):
        return "Stored energy decides here whether a limit is kept, which no money outranks."
    pays_above = value / battery.discharge_efficiency + plan.problem.decision_wear
    # Where cycles are scarce they have a price too, which each kWh that is taken out has to earn.
    discharging = "" if _used_up(plan, position) else f" and discharging above {pays_above:.4f}"
    return (
        f"A stored kWh is worth {value:.4f} EUR, so charging pays below {value * battery.charge_efficiency:.4f}"
        f"{discharging} EUR/kWh."
    )


def _next_best(plan: Plan, position: int) -> str:
    try:
        best = next_best(plan, position)
    except SolveError as error:
        return f"What another act would cost was not found: {error}."
    return f"Next best: {best}." if best else ""


def _action(row: pd.Series) -> str:
    if row["charge_kw"] > MOVING_KW:
        from_sun = min(row["charge_kw"], max(0.0, row["pv_kw"] - row["load_kw"]))
        source = "surplus PV" if from_sun > row["charge_kw"] - MOVING_KW else "the grid"
        if MOVING_KW < from_sun <= row["charge_kw"] - MOVING_KW:
            source = "surplus PV and the grid"
        return f"charge with {row['charge_kw']:.2f} kW from {source}"
    if row["discharge_kw"] > MOVING_KW:
        sink = "to the house" if row["export_kw"] <= MOVING_KW else "to the house and the grid"
        return f"discharge with {row['discharge_kw']:.2f} kW {sink}"
    return "rest"


def _binding(plan: Plan, row: pd.Series, position: int) -> str:
    battery, problem = plan.site.battery, plan.problem
    most = {"charge": float(problem.max_charge_kw[position]), "discharge": float(problem.max_discharge_kw[position])}
    rating = {"charge": battery.max_charge_kw, "discharge": battery.max_discharge_kw}
    binding = []
    if row["soc"] >= battery.max_soc - DUST:
        binding.append("the battery is full at the end of it")
    if row["soc"] <= battery.min_soc + DUST:
        binding.append("the battery is empty at the end of it")
    for way, word in (("charge", "charging"), ("discharge", "discharging")):
        cells_kw = getattr(battery, f"{way}_limit_kw")(row["soc"])
        if DUST < cells_kw < most[way] and row[f"{way}_kw"] >= cells_kw - DUST:
            binding.append(f"{word} is at what the cells take at this state of charge")
        elif most[way] <= DUST < rating[way]:
            binding.append(f"{word} is not allowed")
        elif row[f"{way}_kw"] >= most[way] - DUST and most[way] > DUST:
            binding.append(f"{word} is at its {'rating' if most[way] >= rating[way] else 'limit'}")
    for way in ("import", "export"):
        limit = float(getattr(problem, f"{way}_limit_kw")[position])
        if row[f"{way}_kw"] >= limit - DUST and np.isfinite(limit):
            beyond = row[f"{way}_kw"] > limit + DUST
            binding.append(
                f"{way} is above its limit"
                if beyond
                else f"{way} is {'at its limit' if limit > DUST else 'not allowed'}"
            )
    if problem.reserve_soc[position] > 0 and abs(row["soc"] - problem.reserve_soc[position]) <= DUST:
        binding.append("the reserve is all that is left at the end of it")
    binding += wishes(plan, row, position)
    binding += _couplings(plan, position)
    return f"Binding: {', '.join(binding)}." if binding else "No limit binds."

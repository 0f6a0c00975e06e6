"""A plan in words: what it does at a time, what binds, what a stored kWh is worth, and what the next best act costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from engine.plan import Plan
    from engine.problem import ProblemStack

MOVING_KW = 1e-3
# Below this a power or a fraction is arithmetic dust.
DUST = 1e-7


@dataclass(frozen=True)
class Alternative:
    """Something else to do in an interval, with the best that can follow it."""

    charge_kw: float
    discharge_kw: float
    extra_eur: float
    """What it costs more than the plan's own act [EUR]."""

    def __str__(self) -> str:
        power_kw = max(self.charge_kw, self.discharge_kw)
        word = "charge" if self.charge_kw > 0 else "discharge"
        act = "rest" if power_kw <= MOVING_KW else f"{word} with {power_kw:.2f} kW"
        return f"{act}, at {self.extra_eur:.4f} EUR more"


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
    best = next_best(plan, position)
    broken = [str(breach) for breach in plan.breaches if breach.start == start]
    sentences = [
        f"{local:%Y-%m-%d %H:%M %Z}: {_action(row)}.",
        _prices(plan, position),
        _worth(plan, value),
        _binding(plan, row, position),
        f"Next best: {best}." if best else _untold(plan),
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
    lines = [
        f"{plan.site.name}: {local[0]:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M %Z}, {len(table)} x {h * 60:g} min",
        f"cost {plan.cost_eur:.4f} EUR: import {money.import_eur:.4f}, export {0.0 - money.export_eur:.4f}, "
        f"wear {money.wear_eur:.4f}, demand charge {money.demand_eur:.4f}",
        f"without the battery {idle_eur:.4f} EUR, so it saves {idle_eur - plan.cost_eur:.4f} EUR",
        ", ".join(f"{name} {kwh:.2f} kWh" for name, kwh in energy.items()) + f", {cycles:.2f} cycles",
        f"soc {problem.initial_soc:.1%} -> {float(table['soc'].iloc[-1]):.1%}",
        *(f"not kept: {breach}" for breach in plan.breaches),
        f"{plan.solver} in {plan.seconds * 1e3:.1f} ms: {plan.why}",
    ]
    return "\n".join(lines)


def next_best(plan: Plan, position: int) -> Alternative | None:
    """The cheapest other thing to do in an interval: rest, or charge or discharge as hard as is allowed.

    The store arrives as in the plan, and what follows is planned anew. None where nothing else is possible without a
    breach, or where a cycle budget, a demand charge or a limit by state of charge couples the interval to others, so
    that one interval's act has no cost of its own.

    Args:
        plan: The plan.
        position: Number of the interval.
    """
    from engine import storage_dp
    from engine.decisions import objective_eur, reckon, unlawful_kwh

    problem, stack = plan.problem, plan.problem.stack
    battery = plan.site.battery
    if problem.budgets or problem.peaks or battery.tapered:
        return None
    row = plan.table.iloc[position]
    soc = float(plan.table["soc"].iloc[position - 1]) if position else problem.initial_soc
    now = stack.part(position, position + 1, soc)

    def total_eur(charge_kw: float, discharge_kw: float) -> tuple[float, float]:
        """What the rest of the horizon comes to behind an act, and how much of it is breaches."""
        decisions = storage_dp.with_curtailment(now, np.array([[charge_kw]]), np.array([[discharge_kw]]))
        outcome = reckon(now, decisions)
        total, breach = float(objective_eur(now, outcome)[0]), float(unlawful_kwh(now, outcome)[0])
        if position + 1 < problem.intervals:
            rest = stack.part(position + 1, problem.intervals, float(outcome.soc[0, 0]))
            following, pieces = storage_dp.solve(rest)
            if pieces[0] < 0:
                return np.inf, np.inf
            after = reckon(rest, following)
            total += float(objective_eur(rest, after)[0])
            breach += float(unlawful_kwh(rest, after)[0])
        return total, breach

    own = float(row["charge_kw"]), float(row["discharge_kw"])
    others = [act for act in _acts(plan, now, soc, position) if max(abs(np.subtract(act, own))) > MOVING_KW]
    own_eur, own_breach = total_eur(*own)
    tried = [(act, *total_eur(*act)) for act in others]
    # An act that breaks a limit has no price in money.
    lawful = [(eur - own_eur, act) for act, eur, breach in tried if breach <= own_breach + DUST]
    if not lawful:
        return None
    extra_eur, (charge_kw, discharge_kw) = min(lawful)
    return Alternative(charge_kw, discharge_kw, max(0.0, extra_eur))


def _acts(plan: Plan, now: ProblemStack, soc: float, position: int) -> list[tuple[float, float]]:
    """Rest, and charge and discharge as hard as limits and store allow: (charge, discharge) in kW."""
    problem, battery, h = plan.problem, plan.site.battery, plan.problem.step_h
    kept = soc * problem.kept
    room = max(0.0, battery.max_soc - kept) * battery.capacity_kwh / battery.charge_efficiency / h
    held = max(0.0, kept - battery.min_soc) * battery.capacity_kwh * battery.discharge_efficiency / h
    surplus = float(problem.surplus_kw[position])
    most_import = float(problem.import_limit_kw[position])
    most_export = float(problem.export_limit_kw[position]) + float(now.pv_kw[0, 0]) * problem.pv_curtailable
    charge = min(float(problem.max_charge_kw[position]), room, most_import + surplus)
    discharge = min(float(problem.max_discharge_kw[position]), held, most_export - surplus)
    return [(0.0, 0.0), *((kw, 0.0) for kw in [charge] if kw > MOVING_KW), *((0.0, kw) for kw in [discharge] if kw > 0)]


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
    taken = plan.table["discharge_kw"].to_numpy() * problem.step_h / plan.site.battery.discharge_efficiency
    capacity = plan.site.battery.capacity_kwh
    found += [
        f"the cycles of the {budget.period} are used up"
        for budget in problem.budgets
        if budget.first <= position < budget.last and budget.over_kwh(taken, capacity) > -DUST * capacity
    ]
    return found


def _prices(plan: Plan, position: int) -> str:
    problem = plan.problem
    bought, sold = problem.import_price[position], problem.export_price[position]
    weighed = problem.decision_import_price[position]
    carbon = f" ({weighed:.4f} with its carbon)" if weighed != bought else ""
    return f"Buying costs {bought:.4f}{carbon}, selling earns {sold:.4f} EUR/kWh."


def _worth(plan: Plan, value: float) -> str:
    """What a stored kWh is worth, and between which prices the battery rests."""
    battery = plan.site.battery
    if value >= plan.problem.breach.final * (1 - DUST):
        return "Stored energy decides here whether a limit is kept, which no money outranks."
    pays_above = value / battery.discharge_efficiency + battery.wear_eur_per_kwh
    return (
        f"A stored kWh is worth {value:.4f} EUR, so charging pays below {value * battery.charge_efficiency:.4f} "
        f"and discharging above {pays_above:.4f} EUR/kWh."
    )


def _untold(plan: Plan) -> str:
    """Why another act has no price of its own, if it has none."""
    couplings = {
        "cycle budgets": plan.problem.budgets,
        "demand charges": plan.problem.peaks,
        "power by state of charge": plan.site.battery.tapered,
    }
    names = [name for name, given in couplings.items() if given]
    return f"What another act would cost is not told: {' and '.join(names)} tie it to other intervals." if names else ""


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
    binding += _couplings(plan, position)
    return f"Binding: {', '.join(binding)}." if binding else "No limit binds."

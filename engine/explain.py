"""A plan in words: what it does at a time, what binds, what a stored kWh is worth, and what the next best act costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from engine.alternatives import DUST, MOVING_KW, budgets_at, next_best, taken_kwh
from engine.balancing import HEADROOM
from engine.commitments import imbalance_limits
from engine.errors import SolveError

if TYPE_CHECKING:
    from engine.assets import Battery
    from engine.budgets import CycleBudget
    from engine.plan import Plan
    from engine.problem import DispatchProblem

# Headroom of which less than this is left is used up [kW, kWh].
SEEN_KW = 1e-5


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
        _markets(plan, row, position),
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
    markets = {"trades": money.trading_eur, "imbalance": money.imbalance_eur, "balancing capacity": money.balancing_eur}
    lines = [
        f"{plan.site.name}: {local[0]:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M %Z}, {len(table)} x {h * 60:g} min",
        f"cost {plan.cost_eur:.4f} EUR: import {money.import_eur:.4f}, export {0.0 - money.export_eur:.4f}, "
        f"wear {money.wear_eur:.4f}, demand charge {money.demand_eur:.4f}"
        + "".join(f", {name} {0.0 - eur:.4f}" for name, eur in markets.items() if eur),
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


def _markets(plan: Plan, row: pd.Series, position: int) -> str:
    """What is delivered of a position, and at which prices it may be changed."""
    wanted, strategy = plan.problem.stack.wanted, plan.problem.strategy

    def at(name: str) -> float:
        return float(np.broadcast_to(wanted[name], (1, plan.problem.intervals))[0, position])

    said = []
    if strategy.trades:
        said.append(f"{at('position_kw'):.2f} kW are sold already")
    if strategy.intraday:
        trade = row["trade_kw"]
        word = f"{abs(trade):.2f} kW more are {'sold' if trade > 0 else 'bought'}" if abs(trade) > DUST else "no trade"
        said.append(f"at a bid of {at('bid_price'):.4f} and an ask of {at('ask_price'):.4f} EUR/kWh {word}")
    if strategy.imbalance_kw is not None:
        said.append(f"{row['imbalance_kw']:.2f} kW are left as imbalance at {at('imbalance_price'):.4f} EUR/kWh")
    for offer in plan.problem.balancing:
        price = offer.price_eur_per_kw_h[position]
        said.append(f"{row[f'{offer.name}_kw']:.2f} kW of {offer.product.title} are held at {price:.4f} EUR/kW/h")
    words = "; ".join(said)
    return f"{words[0].upper()}{words[1:]}." if said else ""


def _wishes(plan: Plan, row: pd.Series, position: int) -> list[str]:
    """Which wish of the strategy decides here."""
    problem, strategy, site = plan.problem, plan.problem.strategy, plan.site
    found = []
    floor = strategy.export_floor_eur_per_kwh
    if floor is not None and problem.export_price[position] < floor:
        what = "nothing" if strategy.export_guard == "curtail" else "no stored energy"
        found.append(f"{what} is fed in below {floor:.4f} EUR/kWh")
    target = strategy.import_target_kw
    if target is not None and row["import_kw"] >= target - DUST:
        above = row["import_kw"] - target
        found.append(f"import is {f'{above:.2f} kW above' if above > DUST else 'at'} its target of {target:.2f} kW")
    if strategy.follow is not None:
        scheduled = float(np.broadcast_to(problem.stack.wanted["schedule_kw"], (1, problem.intervals))[0, position])
        own = {"grid": row["import_kw"] - row["export_kw"], "battery": row["discharge_kw"] - row["charge_kw"]}
        off = own[strategy.follow] - scheduled
        kept = "is as scheduled" if abs(off) <= DUST else f"is {off:+.2f} kW off its schedule of {scheduled:.2f} kW"
        found.append(f"the {strategy.follow} {kept}")
    if strategy.imbalance_kw is not None:
        long_kw, short_kw = (float(most[0, position]) for most in imbalance_limits(problem.stack))
        if row["imbalance_kw"] >= long_kw - DUST or row["imbalance_kw"] <= -short_kw + DUST:
            found.append("imbalance is at what the strategy allows")
    if problem.balancing:
        found += _headroom(problem, site.battery, row, position)
    return found


def _headroom(problem: DispatchProblem, battery: Battery, row: pd.Series, position: int) -> list[str]:
    """Where capacity that is held leaves nothing more of power or energy."""
    held = [(offer.product, float(row[f"{offer.name}_kw"])) for offer in problem.balancing]
    if not sum(kw for _, kw in held) > DUST:
        return []
    up_kw, down_kw, up_kwh, down_kwh = (sum(getattr(product, name) * kw for product, kw in held) for name in HEADROOM)
    power = row["discharge_kw"] - row["charge_kw"]
    left_kwh = (row["soc"] - problem.headroom_floor_soc[position]) * battery.capacity_kwh
    room_kwh = (battery.max_soc - row["soc"]) * battery.capacity_kwh
    found = []
    if power + up_kw >= problem.max_discharge_kw[position] - SEEN_KW and up_kw > 0:
        found.append("capacity held upwards leaves no more discharging power")
    if down_kw - power >= problem.max_charge_kw[position] - SEEN_KW and down_kw > 0:
        found.append("capacity held downwards leaves no more charging power")
    if up_kwh / battery.discharge_efficiency >= left_kwh - SEEN_KW and up_kwh > 0:
        found.append("all that is in store backs capacity held upwards")
    if down_kwh * battery.charge_efficiency >= room_kwh - SEEN_KW and down_kwh > 0:
        found.append("all room in the store backs capacity held downwards")
    return found


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
    binding += _wishes(plan, row, position)
    binding += _couplings(plan, position)
    return f"Binding: {', '.join(binding)}." if binding else "No limit binds."

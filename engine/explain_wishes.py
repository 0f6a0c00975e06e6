"""What the markets and wishes of a strategy do in an interval, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from engine.alternatives import DUST
from engine.balancing import HEADROOM
from engine.commitments import imbalance_limits

if TYPE_CHECKING:
    from engine.assets import Battery
    from engine.plan import Plan
    from engine.problem import DispatchProblem

# Headroom of which less than this is left is used up [kW, kWh].
SEEN_KW = 1e-5


def markets(plan: Plan, row: pd.Series, position: int) -> str:
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


def wishes(plan: Plan, row: pd.Series, position: int) -> list[str]:
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

"""What solvers decide, and what follows from it by arithmetic alone: flows, state of charge, money, breaches.

No solver's own account of balance or cost is ever reported; all arrays have shape (N, T), a single site being N = 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from engine.arrays import Array
from engine.commitments import Commitment, Trades, trades_of
from engine.problem import ProblemStack

# Below this a power is arithmetic dust, not a decision [kW].
DUST_KW = 1e-9
# Below this a breach is arithmetic dust [kWh short at the end, others by their priority].
BREACH_DUST_KWH = 1e-7


@dataclass(frozen=True, eq=False)
class Decisions:
    """What the solvers decided; AC-side kW."""

    charge_kw: Array
    discharge_kw: Array
    curtailment_kw: Array
    marginal_value_eur_per_kwh: Array
    """What one more kWh in store at the end of the interval would save [EUR/kWh]."""
    balancing_kw: Mapping[str, Array] = field(default_factory=dict)
    """Capacity held by product; empty where none is offered."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What decisions come to."""

    import_kw: Array
    export_kw: Array
    pv_kw: Array
    """What is used of the sun."""
    soc: Array
    """At the end of the interval [fraction]."""
    import_eur: Array
    export_eur: Array
    wear_eur: Array
    discharged_kwh: Array
    trades: Trades | None = None
    balancing_eur: Array | None = None
    """Earned by capacity held."""

    @property
    def cost_eur(self) -> Array:
        """Energy bought less energy sold plus wear, less what trades, imbalance and capacity earn, per interval."""
        cost = self.import_eur - self.export_eur + self.wear_eur
        if self.trades is not None:
            cost = cost - self.trades.trading_eur - self.trades.imbalance_eur
        return cost if self.balancing_eur is None else cost - self.balancing_eur


def reckon(stack: ProblemStack, decisions: Decisions) -> Outcome:
    """Work out balance, state of charge and money of decisions for N sites."""
    h = stack.step_h
    charge, discharge = decisions.charge_kw, decisions.discharge_kw
    pv_used = stack.pv_kw - decisions.curtailment_kw
    net_import = stack.load_kw - pv_used + charge - discharge
    net_import[np.abs(net_import) < DUST_KW] = 0.0
    imported, exported = np.maximum(net_import, 0.0), np.maximum(-net_import, 0.0)
    discharged = h * discharge
    gained = (charge * stack.charge_efficiency - discharge / stack.discharge_efficiency) * (h / stack.capacity_kwh)
    return Outcome(
        import_kw=imported,
        export_kw=exported,
        pv_kw=pv_used,
        soc=_state_of_charge(stack, gained),
        import_eur=h * stack.import_price * imported,
        export_eur=h * stack.export_price * exported,
        wear_eur=stack.wear_eur_per_kwh * discharged,
        discharged_kwh=discharged,
        trades=trades_of(stack, net_import),
        balancing_eur=_balancing_eur(stack, decisions),
    )


def _balancing_eur(stack: ProblemStack, decisions: Decisions) -> Array | None:
    if not decisions.balancing_kw:
        return None
    held = decisions.balancing_kw.items()
    return np.asarray(stack.step_h * sum(kw * stack.wanted[f"balancing_price.{name}"] for name, kw in held))


def _state_of_charge(stack: ProblemStack, gained: Array) -> Array:
    if (stack.kept == 1).all():
        return stack.initial_soc + np.cumsum(gained, axis=1)
    soc = np.empty_like(gained)
    before = stack.initial_soc[:, 0]
    for t in range(gained.shape[1]):
        before = soc[:, t] = stack.kept[:, 0] * before + gained[:, t]
    return soc


def taken_kwh(stack: ProblemStack, decisions: Decisions) -> Array:
    """Energy taken from each store per interval, discharge losses included, shape (N, T) [kWh]."""
    return np.asarray(decisions.discharge_kw * stack.step_h / stack.discharge_efficiency)


def plan_columns(stack: ProblemStack, decisions: Decisions, outcome: Outcome) -> dict[str, Array]:
    """The columns of `Plan.table` for N sites, shape (N, T) each."""
    columns = {
        "charge_kw": decisions.charge_kw,
        "discharge_kw": decisions.discharge_kw,
        "import_kw": outcome.import_kw,
        "export_kw": outcome.export_kw,
        "pv_kw": outcome.pv_kw,
        "curtailment_kw": decisions.curtailment_kw,
        "load_kw": np.broadcast_to(stack.load_kw, outcome.soc.shape),
        "soc": outcome.soc,
        "cost_eur": outcome.cost_eur,
    }
    if outcome.trades is not None:
        columns |= {"trade_kw": outcome.trades.trade_kw, "imbalance_kw": outcome.trades.imbalance_kw}
    return columns | {f"{name}_kw": kw for name, kw in decisions.balancing_kw.items()}


def objective_eur(stack: ProblemStack, outcome: Outcome) -> Array:
    """What the solvers minimise, shape (N,): cost with what steers weighed in, less the terminal worth, plus breaches.

    Budgets and demand charges, which couple intervals, and capacity sold already are not in it [EUR].
    """
    steering = stack.step_h * (stack.decision_import_price - stack.import_price) * outcome.import_kw
    if stack.decision_export_price is not stack.export_price:
        steering = steering - stack.step_h * (stack.decision_export_price - stack.export_price) * outcome.export_kw
    steering = steering + (stack.decision_wear - stack.wear_eur_per_kwh) * outcome.discharged_kwh
    for commitment in stack.commitments:
        if commitment.role == "wish":
            steering = steering + stack.step_h * commitment.eur_per_h(_drawn_kw(stack, outcome, commitment))
    money: Array = (outcome.cost_eur + steering).sum(axis=1)
    return money - stack.terminal_worth_eur(outcome.soc[:, -1]) + breach_eur(stack, outcome)


def breach_eur(stack: ProblemStack, outcome: Outcome) -> Array:
    """What breaches weigh in the objective, shape (N,) [EUR]."""
    return _limits_eur(stack, outcome) + _reserve_eur(stack, outcome)


def unlawful_kwh(stack: ProblemStack, outcome: Outcome) -> Array:
    """Breaches that no stepped fee excuses, shape (N,) [kWh short at the end, others by what they weigh against it].

    The reserve is among them unless the strategy says what it is worth. Budgets, which couple intervals, are not.
    """
    eur = _limits_eur(stack, outcome)
    if stack.strategy.reserve_breach_price is None:
        eur = eur + _reserve_eur(stack, outcome)
    return np.asarray(eur / stack.breach.final[:, 0])


def _reserve_eur(stack: ProblemStack, outcome: Outcome) -> Array:
    short = np.maximum(stack.reserve_soc - outcome.soc, 0.0)
    return np.asarray((stack.breach.reserve * stack.capacity_kwh * short).sum(axis=1))


def _drawn_kw(stack: ProblemStack, outcome: Outcome, commitment: Commitment) -> Array:
    grid_kw = outcome.import_kw - outcome.export_kw
    return grid_kw if commitment.of == "grid" else grid_kw + outcome.pv_kw - stack.load_kw


def _limits_eur(stack: ProblemStack, outcome: Outcome) -> Array:
    breach = stack.breach
    over = np.maximum(outcome.import_kw - stack.import_limit_kw, 0.0)
    over += np.maximum(outcome.export_kw - stack.export_limit_kw, 0.0)
    min_soc, max_soc = stack.figures.min_soc, stack.figures.max_soc
    below, above = np.maximum(min_soc - outcome.soc, 0.0), np.maximum(outcome.soc - max_soc, 0.0)
    per_interval = breach.limit * stack.step_h * over + stack.capacity_kwh * (
        breach.band * below + breach.overfull * above
    )
    final_short = np.maximum(stack.final_soc_min - outcome.soc[:, -1:], 0.0)
    at_end = breach.final * stack.capacity_kwh * final_short
    total: Array = per_interval.sum(axis=1) + at_end[:, 0]
    for commitment in stack.commitments:
        if commitment.role == "promise":
            drawn_kw = _drawn_kw(stack, outcome, commitment)
            total = total + stack.step_h * commitment.eur_per_h(drawn_kw).sum(axis=1)
    return total

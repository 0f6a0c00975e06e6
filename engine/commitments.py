"""What is promised or wished of a power, as prices on missing it: a position sold, a schedule, an import target.

Every one is a `Commitment`: a power, and what a kWh above or below it costs. Together they are convex: missing a
commitment further never gets cheaper. Trades are among them:

* intraday alone: a kWh drawn beyond what was sold is bought at the ask, one less is sold at the bid;
* with imbalance, at one price p for either side: of all that is delivered beyond the position (sold short) the first
  kWh cost what is cheaper, so three slopes, bid, p held to bid..ask, and ask, that meet at the ends of what is allowed.

`trades_of` takes the same apart into trades and imbalance, for the money.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from engine.arrays import Array

if TYPE_CHECKING:
    from engine.problem import DispatchProblem, ProblemStack


@dataclass(frozen=True, eq=False)
class Commitment:
    """A power drawn and the prices of drawing more or less; arrays of shape (N, T), or (T,) for one site.

    The sum of both prices is never negative.
    """

    of: Literal["grid", "battery"]
    """Import less export, or charging less discharging."""
    role: Literal["money", "wish", "promise"]
    """Whether the price is paid, steers only, or ranks with the limits that no money breaks."""
    at_kw: Array
    above_eur_per_kwh: Array
    below_eur_per_kwh: Array

    def row(self, number: int, intervals: int) -> Commitment:
        """One site's."""
        shape = (intervals,)
        at, above, below = (
            np.broadcast_to(array[number if len(array) > 1 else 0], shape)
            for array in (self.at_kw, self.above_eur_per_kwh, self.below_eur_per_kwh)
        )
        return replace(self, at_kw=at, above_eur_per_kwh=above, below_eur_per_kwh=below)

    def eur_per_h(self, drawn_kw: Array) -> Array:
        """What drawing so much costs, in the shape given [EUR/h]."""
        beyond = drawn_kw - self.at_kw
        return np.asarray(np.where(beyond > 0, self.above_eur_per_kwh * beyond, -self.below_eur_per_kwh * beyond))


@dataclass(frozen=True, eq=False)
class Trades:
    """What is delivered besides the position sold, shape (N, T)."""

    trade_kw: Array
    """Sold (+) or bought (-) intraday."""
    imbalance_kw: Array
    """Delivered (+) or lacking (-) without having been sold."""
    trading_eur: Array
    """Earned by trades."""
    imbalance_eur: Array
    """Earned by imbalance."""


def money_commitments(stack: ProblemStack) -> list[Commitment]:
    """What missing the position sold is settled at."""
    strategy, wanted, sold = stack.strategy, stack.wanted, stack.wanted.get("position_kw")
    if sold is None:
        return []
    if not strategy.intraday:
        price = wanted["imbalance_price"]
        return [Commitment("grid", "money", -sold, price, -price)]
    bid, ask = wanted["bid_price"], wanted["ask_price"]
    if strategy.imbalance_kw is None:
        return [Commitment("grid", "money", -sold, ask, -bid)]
    most_long, most_short = imbalance_limits(stack)
    price = np.clip(wanted["imbalance_price"], bid, ask)
    nothing = np.zeros((1, 1))
    return [
        Commitment("grid", "money", -sold - most_long, price, -bid),
        Commitment("grid", "money", -sold + most_short, ask - price, nothing),
    ]


def wishes(stack: ProblemStack) -> list[Commitment]:
    """What steers only: an import target that has a price, a schedule to follow."""
    strategy, nothing, found = stack.strategy, np.zeros((1, 1)), []
    if strategy.import_target_price_eur_per_kwh is not None:
        target, price = (np.full((1, 1), value) for value in _target(stack))
        found.append(Commitment("grid", "wish", target, price, nothing))
    if strategy.follow is not None:
        price = np.full((1, 1), strategy.follow_price_eur_per_kwh)
        sign = 1.0 if strategy.follow == "grid" else -1.0
        found.append(Commitment(strategy.follow, "wish", sign * stack.wanted["schedule_kw"], price, price))
    return found


def promises(stack: ProblemStack) -> list[Commitment]:
    """How far delivery may differ from the position where nothing can be traded."""
    if stack.strategy.intraday or "position_kw" not in stack.wanted:
        return []
    most_long, most_short = imbalance_limits(stack)
    sold, price, nothing = stack.wanted["position_kw"], stack.breach.promise, np.zeros((1, 1))
    return [
        Commitment("grid", "promise", most_short - sold, price, nothing),
        Commitment("grid", "promise", -most_long - sold, nothing, price),
    ]


def imbalance_limits(stack: ProblemStack) -> tuple[Array, Array]:
    """How much more, and how much less, may be delivered than is sold, each of shape (1, T) or (N, T) [kW]."""
    strategy = stack.strategy
    zones = list(stack.zones.values())
    hours = np.empty((len(stack) if len(zones) > 1 else 1, len(stack.index)))
    for timezone, zone in stack.zones.items():
        hours[zone.numbers if len(zones) > 1 else 0] = stack.index.tz_convert(timezone).hour
    inside = (hours >= strategy.imbalance_from_hour) & (hours < strategy.imbalance_to_hour)
    most = np.where(inside, strategy.imbalance_kw or 0.0, 0.0)
    nothing = np.zeros_like(most)
    return (nothing if strategy.imbalance_side == "short" else most), (
        nothing if strategy.imbalance_side == "long" else most
    )


def trades_of(stack: ProblemStack, drawn_kw: Array) -> Trades | None:
    """The most that a draw earns by trades and imbalance; None where nothing is traded.

    Args:
        stack: N sites.
        drawn_kw: Import less export, shape (N, T).
    """
    wanted, strategy, h = stack.wanted, stack.strategy, stack.step_h
    if "position_kw" not in wanted:
        return None
    beyond = -drawn_kw - wanted["position_kw"]
    if not strategy.intraday:
        return Trades(
            np.zeros_like(beyond), beyond, np.zeros_like(beyond), h * np.asarray(wanted["imbalance_price"] * beyond)
        )
    bid, ask = wanted["bid_price"], wanted["ask_price"]
    imbalance = imbalance_eur = np.zeros_like(beyond)
    if strategy.imbalance_kw is not None:
        most_long, most_short = imbalance_limits(stack)
        price = wanted["imbalance_price"]
        imbalance = np.clip(beyond, -most_short, most_long)
        # Beyond bid or ask it pays to trade for the imbalance's sake.
        imbalance = np.where(price >= ask, most_long, np.where(price <= bid, -most_short, imbalance))
        imbalance_eur = h * price * imbalance
    trade = beyond - imbalance
    return Trades(trade, imbalance, h * trade * np.where(trade > 0, bid, ask), imbalance_eur)


def settled_eur(problem: DispatchProblem) -> float:
    """What commitments cost over the horizon besides their price on each kWh drawn and on each above what is aimed at.

    Args:
        problem: One site's problem.
    """
    eur = 0.0
    for commitment in problem.commitments:
        above = commitment.above_eur_per_kwh + commitment.below_eur_per_kwh
        if commitment.role == "money":
            eur -= float((above * np.maximum(-commitment.at_kw, 0.0)).sum())
        if commitment.role == "wish":
            eur += float((commitment.below_eur_per_kwh * commitment.at_kw).sum())
    trades = trades_of(problem.stack, np.zeros((1, problem.intervals)))
    earned_eur = 0.0 if trades is None else float((trades.trading_eur + trades.imbalance_eur).sum())
    return problem.step_h * eur - earned_eur


def _target(stack: ProblemStack) -> tuple[float, float]:
    target_kw, price = stack.strategy.import_target_kw, stack.strategy.import_target_price_eur_per_kwh
    assert target_kw is not None  # the validator of the strategy
    assert price is not None
    return target_kw, price

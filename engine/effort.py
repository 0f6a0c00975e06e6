"""How long the linear program or MILP may take, and how far from a proved bound its answer may be."""

from __future__ import annotations

from dataclasses import dataclass

from engine.arrays import is_number
from engine.errors import InputError

# A minute, and one more for every so many intervals (a week of quarter-hours).
TIME_LIMIT_S = 60.0
INTERVALS_PER_TIME_LIMIT = 672
MONEY_TOLERANCE_EUR = 1e-9
LONGEST_S = 1e9
LARGEST_EUR = 1e12


@dataclass(frozen=True)
class Effort:
    """What one solve may take."""

    time_limit_s: float
    money_tolerance_eur: float

    @classmethod
    def of(cls, time_limit_s: float | None, money_tolerance_eur: float, intervals: int) -> Effort:
        """Check what was asked for; a time limit of None is the usual one for so many intervals.

        Raises:
            InputError: A figure is no number or out of its bound.
        """
        usual_s = TIME_LIMIT_S * max(1.0, intervals / INTERVALS_PER_TIME_LIMIT)
        limit_s = usual_s if time_limit_s is None else time_limit_s
        if not is_number(limit_s) or not 0 < limit_s < LONGEST_S:
            raise InputError("time_limit_s", f"value {time_limit_s!r} is not above 0 s", "give seconds, or None")
        if not is_number(money_tolerance_eur) or not 0 <= money_tolerance_eur < LARGEST_EUR:
            raise InputError(
                "money_tolerance_eur", f"value {money_tolerance_eur!r} is outside 0..{LARGEST_EUR:g} EUR", "give euros"
            )
        return cls(float(limit_s), float(money_tolerance_eur))

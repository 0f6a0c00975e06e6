"""Names of the arrays that the engine works on, and what it takes for a number."""

from __future__ import annotations

import numbers
from decimal import Decimal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def is_number(value: object) -> bool:
    """Whether a value is a real number, numpy's included; a truth value is none."""
    return isinstance(value, numbers.Real | Decimal) and not isinstance(value, bool)


def is_count(value: object) -> bool:
    """Whether a value is a whole number above 0."""
    return not isinstance(value, bool) and isinstance(value, numbers.Integral) and int(value) > 0

"""Errors of the planning floor.

Every message is one line that names the field, the value, the bound and the way out, so that whoever
shows it (a command, an API, a log) need not add anything.
"""

from __future__ import annotations

from pydantic import ValidationError


class TidewattError(Exception):
    """Base of every error that Tidewatt raises on purpose."""


class InputError(TidewattError, ValueError):
    """An input that cannot become a plan.

    Attributes:
        field: Name of the input, as the caller spells it (``load``, ``battery.capacity_kwh``).
        problem: The value and the bound that it breaks.
        way_out: What to do about it.
    """

    def __init__(self, field: str, problem: str, way_out: str) -> None:
        self.field = field
        self.problem = problem
        self.way_out = way_out
        super().__init__(f"{field}: {problem}; {way_out}")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        """Whole from process to process: a pool that cannot unpickle an error breaks."""
        return type(self), (self.field, self.problem, self.way_out)


class SolveError(TidewattError):
    """The solver gave no proved optimum; the message says what it gave instead."""


class PlanRejectedError(TidewattError):
    """The independent checker found fault with a plan; the plan is withheld."""


def input_error_from(error: ValidationError, prefix: str = "") -> InputError:
    """Fold a pydantic error into one line about its first fault.

    Args:
        error: What pydantic raised while building an asset.
        prefix: Where the data came from, for example a file name; put before the field.

    Returns:
        An `InputError` that names the field, its value, the bound and the way out.
    """
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or error.title
    kind, value = first["type"], first.get("input")
    if kind == "extra_forbidden":
        problem, way_out = f"unknown field (value {value!r})", "remove it or correct its spelling"
    elif kind == "missing":
        problem, way_out = "missing", "add it"
    elif kind == "value_error":
        text = first["msg"].removeprefix("Value error, ")
        problem, _, way_out = text.partition("; ")
        way_out = way_out or "correct the value"
    else:
        problem, way_out = f"value {value!r}: {_lower_first(first['msg'])}", "correct the value"
    more = error.error_count() - 1
    if more:
        way_out += f" ({more} more fault{'s' if more > 1 else ''} after this one)"
    return InputError(f"{prefix}{field}", problem, way_out)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]

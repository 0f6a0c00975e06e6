"""Mend data by repairs that somebody named, in the order given, and write down what each did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.errors import InputError
from engine.quality.inspection import about_of, duration
from engine.quality.quantity import with_unit
from engine.quality.reading import numbers_if_all, numbers_of, times_of
from engine.quality.repairs import Data, parsed

LOG_COLUMNS = ("rule", "outcome", "count", "share", "from", "to", "before", "after", "note")
# A repair that replaces more than this no longer mends, it makes data up [fraction].
MOST_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class Repaired:
    """Samples after the repairs.

    Attributes:
        series: The samples by time; numbers unless some are text that no repair read. A name that tells the unit tells
            the new one where a repair changed it.
        changed: Which samples are not as measured (filled, averaged, clipped, masked, rescaled), on the same index:
            leave them out where something is to be learned from the data. Rows that were only restated (order, clock,
            unit) are not among them.
        unit: Of the samples now; empty: what the engine takes.
        log: One row per repair: what it did, to how many samples [count, share], from when to when, and what the series
            was before and after. The outcome is ``done``, ``nothing to do``, or ``refused`` where it would have changed
            more than was allowed; then it did nothing.
    """

    series: pd.Series
    changed: pd.Series
    unit: str
    log: pd.DataFrame


def repair(
    raw: pd.Series,
    rules: Sequence[str],
    kind: str | None = None,
    *,
    unit: str | None = None,
    step: str | pd.Timedelta | None = None,
    timezone: str | None = None,
    rated_kw: float | None = None,
    most_share: float = MOST_SHARE,
) -> Repaired:
    """Mend a series by named rules only, in the order given.

    Args:
        raw: Samples by time, as for `inspect`.
        rules: Names of `REPAIRS` with what they are told: ``drop_equal_duplicates``, ``fill_gaps_up_to:60,linear``,
            ``local_clock_to_utc:Europe/Copenhagen``, ``scale_unit:W,kW``.
        kind: As for `inspect`.
        unit: As for `inspect`.
        step: As for `inspect`.
        timezone: As for `inspect`; fills and daily registers go by its clock.
        rated_kw: As for `inspect`; what is beyond it is a spike.
        most_share: A repair that would replace more of the samples is refused [fraction].

    Returns:
        The mended samples, which of them are changed, and the log.

    Raises:
        InputError: A rule is unknown or told nonsense, or needs another before it.
    """
    if not isinstance(raw, pd.Series):
        raise InputError(
            "raw", f"it is {type(raw).__name__}", "give a pandas Series; mend the columns of a frame in turn"
        )
    if isinstance(rules, str):
        raise InputError("rules", f"it is the text {rules!r}", "give a list of rules")
    if not 0 <= most_share <= 1:
        raise InputError("most_share", f"value {most_share!r} is outside 0..1", "give a fraction")
    chosen = [(text, *parsed(text)) for text in rules]
    about = next(iter(about_of(raw, kind, unit, timezone, rated_kw, None, None).values()))
    table = pd.DataFrame({"value": numbers_if_all(raw), "changed": False}, index=times_of(raw))
    data = Data(table, about, duration(step))
    log = []
    for text, rule, told in chosen:
        outcome = rule.apply(data, *told)
        count, touched = len(outcome.touched), outcome.touched
        share = count / max(len(data.table), 1)
        refused = not rule.restates and share > most_share
        note, after = outcome.note, outcome.data
        if refused:
            note, after = f"it would change more than {most_share:.1%}", data
        log.append(
            (
                text,
                "refused" if refused else "done" if count else "nothing to do",
                count,
                share,
                touched.min() if count else pd.NaT,
                touched.max() + data.step if count else pd.NaT,
                _summary(data),
                _summary(after),
                note,
            )
        )
        data = after
    return Repaired(
        series=data.table["value"].rename(None if raw.name is None else _truthful(str(raw.name), about.unit, data)),
        changed=data.table["changed"].astype(bool).rename("changed"),
        unit=data.about.unit,
        log=pd.DataFrame(log, columns=list(LOG_COLUMNS)),
    )


def _truthful(name: str, unit: str, data: Data) -> str:
    return name if data.about.unit == unit else with_unit(name, data.about.unit)


def _summary(data: Data) -> str:
    values = numbers_of(data.table["value"]).values
    known = values[np.isfinite(values)]
    figures = f", {known.min():g} to {known.max():g}, mean {known.mean():g}" if len(known) else ""
    return f"{len(values)} rows, {len(values) - len(known)} missing{figures}"

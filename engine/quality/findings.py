"""What can be found wrong with a series: the catalogue of rules, and one finding of one of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pandas as pd


class Severity(Enum):
    """What a finding means for whoever wants to use the data."""

    ERROR = "error"
    """The engine would refuse it, or its figures or times are wrong."""
    WARNING = "warning"
    """It can be used; somebody should look whether the figures are true."""
    HINT = "hint"
    """A sign of something that the data alone cannot prove."""


@dataclass(frozen=True)
class Rule:
    """What one rule looks for."""

    severity: Severity
    meaning: str
    repair: str
    """The named repair that mends it; empty where only the source can."""


RULES: dict[str, Rule] = {
    "naive_stamps": Rule(Severity.ERROR, "times carry no zone", "naive_is_utc or local_clock_to_utc:ZONE"),
    "missing_stamps": Rule(Severity.ERROR, "rows without a time", "drop_rows_without_time"),
    "local_clock": Rule(Severity.ERROR, "times are those of the local clock, not UTC", "local_clock_to_utc:ZONE"),
    "clock_change": Rule(Severity.WARNING, "the hour that the clock shows twice is not what was measured", ""),
    "end_labels": Rule(Severity.HINT, "times seem to be the ends of intervals", "end_labels_to_start"),
    "early_labels": Rule(Severity.WARNING, "times seem to be a step early", ""),
    "unsorted": Rule(Severity.ERROR, "times go back", "sort_by_time"),
    "equal_duplicates": Rule(Severity.ERROR, "a time is repeated with equal values", "drop_equal_duplicates"),
    "conflicting_duplicates": Rule(
        Severity.ERROR, "a time is repeated with other values", "mean_of_conflicting_duplicates"
    ),
    "odd_step": Rule(Severity.ERROR, "the step does not divide the hour", ""),
    "off_grid": Rule(Severity.ERROR, "times lie between the steps of the others", ""),
    "missing_rows": Rule(Severity.ERROR, "rows are missing", "fill_gaps_up_to:MINUTES,METHOD"),
    "missing_values": Rule(Severity.ERROR, "values are missing", "fill_gaps_up_to:MINUTES,METHOD"),
    "decimal_comma": Rule(Severity.ERROR, "numbers are written with a decimal comma", "decimal_comma_to_point"),
    "unreadable": Rule(Severity.ERROR, "values are no numbers", "unreadable_to_missing"),
    "unit": Rule(Severity.ERROR, "the figures do not fit the unit", "scale_unit:FROM,TO"),
    "scale_change": Rule(Severity.ERROR, "a stretch is in another unit than the rest", "rescale_changed_stretch"),
    "register": Rule(Severity.ERROR, "the values are a register that counts up", "difference_register:RESET"),
    "negative": Rule(Severity.ERROR, "values are below 0", "clip_negative_up_to:KW"),
    "spike": Rule(Severity.WARNING, "values are far above all others, the rating or any price", "mask_spikes"),
    "stuck": Rule(Severity.WARNING, "the value does not move", "mask_stuck:HOURS"),
    "interpolated": Rule(Severity.WARNING, "the values lie on a straight line", "mask_interpolated:HOURS"),
    "pv_at_night": Rule(Severity.WARNING, "PV produces in the dark: a wrong clock, sign or offset", ""),
    "no_production": Rule(Severity.WARNING, "PV gives nothing for days: dead, or under snow", ""),
}


@dataclass(frozen=True)
class Stretch:
    """Consecutive samples that a rule found, [start, end)."""

    start: pd.Timestamp
    end: pd.Timestamp
    count: int
    """How many samples (of missing rows: how many should be there)."""


@dataclass(frozen=True)
class Finding:
    """What one rule found in one series, over all stretches."""

    rule: str
    series: str
    """Name of the series; empty where it concerns the times of all."""
    stretches: tuple[Stretch, ...]
    share: float
    """Of all samples of the series [fraction]."""
    worst: float
    """The most extreme figure, in `worst_unit`; NaN where there is none."""
    worst_unit: str
    detail: str = ""
    """What this one shows beyond the meaning of its rule."""
    severity: Severity = Severity.ERROR
    repair: str = ""

    @classmethod
    def of(
        cls,
        rule: str,
        series: str,
        stretches: tuple[Stretch, ...],
        samples: int,
        *,
        worst: float = float("nan"),
        worst_unit: str = "",
        detail: str = "",
        severity: Severity | None = None,
        repair: str | None = None,
    ) -> Finding:
        """A finding with severity and repair of its rule, where not told otherwise."""
        text = RULES[rule]
        share = sum(each.count for each in stretches) / max(samples, 1)
        return cls(
            rule,
            series,
            stretches,
            share,
            worst,
            worst_unit,
            detail,
            text.severity if severity is None else severity,
            text.repair if repair is None else repair,
        )

    @property
    def start(self) -> pd.Timestamp:
        """Begin of the first stretch."""
        return min(each.start for each in self.stretches)

    @property
    def end(self) -> pd.Timestamp:
        """End of the last stretch."""
        return max(each.end for each in self.stretches)

    @property
    def count(self) -> int:
        """Samples in all stretches."""
        return sum(each.count for each in self.stretches)

    @property
    def meaning(self) -> str:
        """What it means, in words."""
        return RULES[self.rule].meaning + (f": {self.detail}" if self.detail else "")

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON takes it; times in ISO 8601."""
        return {
            "rule": self.rule,
            "series": self.series,
            "severity": self.severity.value,
            "from": self.start.isoformat(),
            "to": self.end.isoformat(),
            "count": self.count,
            "share": self.share,
            "worst": None if math.isnan(self.worst) else self.worst,
            "worst_unit": self.worst_unit,
            "meaning": self.meaning,
            "repair": self.repair,
            "stretches": [
                {"from": each.start.isoformat(), "to": each.end.isoformat(), "count": each.count}
                for each in self.stretches
            ],
        }

    def __str__(self) -> str:
        worst = "" if math.isnan(self.worst) else f", worst {self.worst:g} {self.worst_unit}".rstrip()
        way_out = f"; repair: {self.repair}" if self.repair else ""
        series = f" [{self.series}]" if self.series else ""
        return (
            f"{self.severity.value}: {self.rule}{series}: {self.meaning}; {self.count} samples ({self.share:.2%}) in "
            f"{len(self.stretches)} stretches, {_stamp(self.start)} to {_stamp(self.end)}{worst}{way_out}"
        )


def _stamp(time: pd.Timestamp) -> str:
    return time.isoformat().replace("+00:00", "Z")

"""What an inspection found, as people and programs read it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from engine.quality.findings import Finding, Severity

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLUMNS = (
    "rule",
    "series",
    "severity",
    "from",
    "to",
    "stretches",
    "count",
    "share",
    "worst",
    "worst_unit",
    "meaning",
    "repair",
)


@dataclass(frozen=True)
class Coverage:
    """What there is of one series."""

    kind: str
    unit: str
    samples: int
    """Steps from the first time to the last."""
    missing_share: float
    """Of these [fraction]."""
    months_without: tuple[int, ...]
    """Calendar months (1 to 12) of which there is no sample."""

    def __str__(self) -> str:
        unit = f" in {self.unit}" if self.unit else ""
        months = f", no sample in months {', '.join(map(str, self.months_without))}" if self.months_without else ""
        return f"{self.kind}{unit}, {self.samples} samples, {self.missing_share:.2%} missing{months}"


@dataclass(frozen=True, eq=False)
class QualityReport:
    """Findings, worst first, and what there is.

    Attributes:
        findings: One per rule and series.
        begin: First time.
        end: End of the last interval.
        step: What lies between two times.
        coverage: What there is of each series.
        not_looked_at: What could not be checked, and what is needed to.
        frame: The samples as numbers, by the times that were looked at.
    """

    findings: tuple[Finding, ...]
    begin: pd.Timestamp
    end: pd.Timestamp
    step: pd.Timedelta
    coverage: dict[str, Coverage]
    not_looked_at: tuple[str, ...]
    frame: pd.DataFrame = field(repr=False)

    @property
    def is_usable(self) -> bool:
        """Whether nothing was found that is an error; what is missing or doubtful for sure is one."""
        return all(each.severity is not Severity.ERROR for each in self.findings)

    def of(self, rule: str, series: str | None = None) -> list[Finding]:
        """The findings of one rule, of one series or of all."""
        return [each for each in self.findings if each.rule == rule and series in (None, each.series)]

    def table(self) -> pd.DataFrame:
        """One row per finding, worst first; `share` is a fraction of the samples."""
        rows = [
            (
                each.rule,
                each.series,
                each.severity.value,
                each.start,
                each.end,
                len(each.stretches),
                each.count,
                each.share,
                each.worst,
                each.worst_unit,
                each.meaning,
                each.repair,
            )
            for each in self.findings
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def stretches(self) -> pd.DataFrame:
        """One row per stretch [from, to) of every finding."""
        rows = [
            (each.rule, each.series, stretch.start, stretch.end, stretch.count)
            for each in self.findings
            for stretch in each.stretches
        ]
        return pd.DataFrame(rows, columns=["rule", "series", "from", "to", "count"])

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON takes it; times in ISO 8601."""
        return {
            "from": self.begin.isoformat(),
            "to": self.end.isoformat(),
            "step_min": self.step / pd.Timedelta(minutes=1),
            "usable": self.is_usable,
            "series": {name: asdict(each) for name, each in self.coverage.items()},
            "findings": [each.to_dict() for each in self.findings],
            "not_looked_at": list(self.not_looked_at),
        }

    def __str__(self) -> str:
        lines = [
            f"{self.begin.isoformat()} to {self.end.isoformat()}, {(self.end - self.begin) / pd.Timedelta(days=1):.1f} "
            f"days in steps of {self.step / pd.Timedelta(minutes=1):g} min"
        ]
        lines += [f"{name}: {each}" for name, each in self.coverage.items()]
        lines += [str(each) for each in self.findings] or ["nothing found"]
        lines += [f"not looked at: {each}" for each in self.not_looked_at]
        lines.append("usable" if self.is_usable else "not usable as it is")
        return "\n".join(lines)

    def plot(self) -> go.Figure:
        """Each series over time with what was found in it shaded, one panel per series."""
        from engine.quality.figure import report_figure

        return report_figure(self)

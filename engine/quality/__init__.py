"""What is wrong with data as it comes from files, and mending of it by named rules only.

    from engine.quality import inspect, repair
    report = inspect(raw, "load", timezone="Europe/Copenhagen")
    print(report); report.table(); report.is_usable
    mended = repair(raw, ["drop_equal_duplicates", "fill_gaps_up_to:60,linear"], "load")
    mended.series; mended.changed; mended.log

Nothing is mended by the way: `inspect` changes nothing, and `repair` does what it was told and writes down each step.
"""

from engine.quality.findings import RULES, Finding, Severity, Stretch
from engine.quality.inspection import inspect
from engine.quality.quantity import Kind
from engine.quality.repairing import Repaired, repair
from engine.quality.repairs import REPAIRS
from engine.quality.report import QualityReport

__all__ = [
    "REPAIRS",
    "RULES",
    "Finding",
    "Kind",
    "QualityReport",
    "Repaired",
    "Severity",
    "Stretch",
    "inspect",
    "repair",
]

"""The result of a run: as tables on a screen, as Markdown and as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import rolling
from benchmarks.cold_start import IMPORTS
from benchmarks.fleet_scale import ScaleRow
from benchmarks.measure import Row
from benchmarks.solvers import BASELINES

VERSIONS = ("tidewatt", "numpy", "pandas", "numba", "highspy", "pulp")
# Times are for forming ratios; only in one run, on one machine, do they mean anything.
WIDTH = 200


@dataclass
class Report:
    """Everything that a run has measured."""

    mode: str
    rounds: int
    plans: list[Row] = field(default_factory=list)
    """Single sites, and fleets per site."""
    scale: list[ScaleRow] = field(default_factory=list)
    histories: list[Row] = field(default_factory=list)
    """Plans made again and again."""
    starts: list[Row] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """What could not be measured at all."""

    @property
    def failed(self) -> bool:
        """Whether an exact solver disagreed, broke, or gave a plan that cannot be carried out."""
        return bool(self.failures) or any(row.fault for row in (*self.plans, *self.starts))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "mode": self.mode,
            "rounds": self.rounds,
            "failed": self.failed,
            "machine": machine(),
            "plans": [_plain(row) for row in self.plans],
            "scale": [
                asdict(row) | {"per_site_us": row.per_site_us, "per_interval_ns": row.per_interval_ns}
                for row in self.scale
            ],
            "histories": [_plain(row) for row in self.histories],
            "starts": [_plain(row) for row in self.starts],
            "failures": self.failures,
        }

    def print(self) -> None:
        """Print the tables to standard output."""
        console = Console(width=WIDTH)
        for title, head, lines in self._tables():
            table = Table(title=title, title_justify="left")
            for name in head:
                table.add_column(name, justify="left" if name in _WORDS else "right", overflow="fold")
            for line in lines:
                table.add_row(*line)
            console.print(table)
        for failure in self.failures:
            console.print(failure)

    def save(self, path: Path) -> None:
        """Write Markdown to `path` and JSON beside it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = [f"Mode {self.mode}, median of {max(1, self.rounds)} rounds. {_sentence(machine())}\n"]
        for title, head, lines in self._tables():
            rule = ["---" if name in _WORDS else "---:" for name in head]
            parts.append(
                "\n".join([f"**{title}**\n", *("| " + " | ".join(line) + " |" for line in (head, rule, *lines)), ""])
            )
        parts.extend(self.failures)
        path.write_text("\n".join(parts).rstrip() + "\n", encoding="utf-8")
        path.with_suffix(".json").write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")

    def _tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        tables = []
        if self.plans:
            tables.append(
                ("plans: times as multiples of two baselines", *_rows_table(self.plans, BASELINES, costs=True))
            )
        if self.scale:
            head = ["sites", "intervals", "s", "us/site", "ns/site/interval", "MB before", "MB peak"]
            lines = [
                [
                    f"{row.sites:,}",
                    str(row.intervals),
                    f"{row.seconds:.3f}",
                    f"{row.per_site_us:.1f}",
                    f"{row.per_interval_ns:.0f}",
                    f"{row.memory_before_mb:.0f}",
                    f"{row.memory_peak_mb:.0f}",
                ]
                for row in self.scale
            ]
            tables.append(("growth of the batch", head, lines))
        if self.histories:
            head_and_lines = _rows_table(self.histories, (rolling.LOOP_ON_PULP, rolling.PANDAS), costs=False)
            tables.append(("a history planned again and again", *head_and_lines))
        if self.starts:
            tables.append(("fresh process to the first plan", *_rows_table(self.starts, (IMPORTS,), costs=False)))
        return tables


_WORDS = ("problem", "size", "solver", "model", "note")


def _rows_table(rows: list[Row], baselines: tuple[str, ...], costs: bool) -> tuple[list[str], list[list[str]]]:
    head = ["problem", "size", "solver", "model", "runs", "median ms", "min-max ms"]
    head += [f"x {name}" for name in baselines]
    head += ["cost EUR", "difference EUR"] if costs else []
    return [*head, "note"], [_line(row, baselines, costs) for row in rows]


def _line(row: Row, baselines: tuple[str, ...], costs: bool) -> list[str]:
    line = [row.problem, row.size, row.solver, row.method, str(len(row.seconds) or "")]
    if row.median_s is None:
        line += ["", ""] + [""] * len(baselines)
    else:
        line += [_ms(row.median_s), f"{_ms(min(row.seconds))}-{_ms(max(row.seconds))}"]
        line += [_ratio(row.ratios[name]) if name in row.ratios else "" for name in baselines]
    if costs:
        line.append("" if row.cost_eur is None else f"{row.cost_eur:.6f}")
        line.append("" if row.difference_eur is None else f"{row.difference_eur:+.1e}")
    return [*line, row.note]


def _ms(seconds: float) -> str:
    ms = seconds * 1e3
    return f"{ms:,.0f}" if ms >= 1000 else f"{ms:.3g}"


def _ratio(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def _plain(row: Row) -> dict[str, Any]:
    return asdict(row) | {"median_s": row.median_s}


def machine() -> dict[str, Any]:
    """What is needed to repeat a run, and nothing that tells whose machine it was."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "processors": os.cpu_count(),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
    }


def _sentence(found: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    where = f"{found['system']} {found['architecture']}, {found['processors']} processors"
    return f"Python {found['python']} on {where}; {versions}."

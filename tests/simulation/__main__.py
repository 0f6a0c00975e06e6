"""`python -m tests.simulation`: years of control in minutes, and what each guard is good for."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from dataclasses import asdict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.simulation.campaign import histories, unfold_all
from tests.simulation.faults import MIXES
from tests.simulation.guards import GUARDS
from tests.simulation.invariants import (
    BLIND,
    DOUBLED,
    FROZEN_TELEMETRY,
    HALTED,
    INVARIANTS,
    LATE,
    NO_DATABASE,
    OLD_TELEMETRY,
    OVER_QUOTA,
    OVERLAP,
    PAST_END,
    STALE,
    Figures,
)

# Headings of the table's columns of breaches.
COLUMNS = {
    "overlaps": OVERLAP,
    "late": LATE,
    "stale": STALE,
    "past end": PAST_END,
    "blind": BLIND,
    "doubled": DOUBLED,
    "halted": HALTED,
    "quota": OVER_QUOTA,
    "no store": NO_DATABASE,
    "old data": OLD_TELEMETRY,
    "frozen": FROZEN_TELEMETRY,
}
FALLBACK_ALLOWED = 0.025
SHOWN = 3


def main() -> int:
    """Run what was asked for; 1 where the whole protocol broke an invariant."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 160)
    if options.replay is not None:
        return _replay(console, options)
    rows: list[tuple[str | None, int]] = [(options.without, options.site_days)]
    if options.ablation:
        rows += [(guard, options.ablation) for guard in GUARDS]
    asked = [
        history
        for guard, site_days in rows
        for history in histories(site_days, options.seed, options.mix, guard, full_days=options.full_days)
    ]
    begun = time.monotonic()
    results: dict[str | None, Figures] = defaultdict(Figures)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("site-days", total=sum(history.site_days for history in asked))
        for history, figures in unfold_all(asked, options.processes):
            results[history.without].add(figures)
            progress.advance(task, history.site_days)
    passed_s = time.monotonic() - begun
    console.print(_table({guard: results[guard] for guard, _ in rows}, options.mix))
    site_days = sum(one.site_days for one in results.values())
    console.print(f"{site_days:.0f} site-days in {passed_s:.0f} s: {site_days / passed_s:.1f} a second")
    whole = results[options.without]
    _explain(console, whole)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump({str(guard): _plain(one) for guard, one in results.items()}, file, indent=1)
    too_much = options.mix == "reference" and whole.fallback_share > FALLBACK_ALLOWED
    return int(bool(whole.violations or too_much))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--site-days", type=int, default=20_000, help="of the whole protocol")
    parser.add_argument("--seed", type=int, default=0, help="of the first history")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--mix", choices=sorted(MIXES), default="ordinary", help="what goes wrong, and how often")
    parser.add_argument(
        "--full-days",
        action="store_true",
        help="plans from end to end of each day: to measure fallback; slow",
    )
    parser.add_argument("--without", choices=sorted(GUARDS), help="take one guard away")
    parser.add_argument("--ablation", type=int, default=0, metavar="SITE_DAYS", help="take each guard away in turn")
    parser.add_argument("--replay", type=int, metavar="SEED", help="one history again, with all its breaches")
    parser.add_argument("--json", help="write the figures to this file")
    return parser.parse_args()


def _replay(console: Console, options: argparse.Namespace) -> int:
    asked = histories(1, options.replay, options.mix, options.without, full_days=options.full_days)
    _, figures = next(iter(unfold_all(asked, 1)))
    console.print(_table({options.without: figures}, options.mix))
    _explain(console, figures, most=sys.maxsize)
    return int(bool(figures.violations))


def _table(results: dict[str | None, Figures], mix: str) -> Table:
    table = Table(title=f"{mix} mix; breaches per 1,000 site-days")
    for name in ("protocol", "site-days", "wrong set-point", "longest [min]", "fallback", "of wanted", *COLUMNS):
        table.add_column(name, justify="left" if name == "protocol" else "right")
    for guard, one in results.items():
        counts = Counter(violation.invariant for violation in one.violations)
        table.add_row(
            "whole" if guard is None else f"minus {guard}",
            f"{one.site_days:.0f}",
            f"{one.wrong_share:.2%}",
            f"{one.longest_wrong_s / 60:.1f}",
            f"{one.fallback_share:.2%}",
            f"{one.fallback_s / max(1.0, one.driven_s):.1%}",
            *(_rate(counts[name], one.site_days) for name in COLUMNS.values()),
        )
    return table


def _rate(count: int, site_days: float) -> str:
    return "0" if count == 0 else f"{1000 * count / site_days:.1f}"


def _explain(console: Console, figures: Figures, most: int = SHOWN) -> None:
    console.print(
        f"{figures.orders} orders, {figures.releases} releases, {figures.ticks} ticks, {figures.faults} process "
        f"faults; longest at a wrong set-point: {figures.longest_wrong_at or 'never'}"
    )
    for error, count in figures.errors.most_common():
        console.print(f"unforeseen, {count} times: {error}", markup=False)
    for invariant in INVARIANTS:
        found = [one for one in figures.violations if one.invariant == invariant]
        if found:
            console.print(f"{len(found)} x {invariant}", style="red")
        for one in found[:most]:
            console.print(f"  seed {one.seed}, {one.site}, {one.time:.1f} s: {one.detail}", markup=False)
            for line in one.trace:
                console.print(f"    {line}", markup=False, style="dim")


def _plain(figures: Figures) -> dict[str, object]:
    plain = asdict(figures)
    plain["violations"] = Counter(one.invariant for one in figures.violations)
    plain["seeds"] = sorted({one.seed for one in figures.violations})
    return plain


if __name__ == "__main__":
    sys.exit(main())

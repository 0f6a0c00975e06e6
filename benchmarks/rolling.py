"""A year planned again every quarter of an hour: the backtest's loop, the same loop on PuLP with HiGHS, and pandas.

The loop on PuLP would take hours, so a sample of its decisions is solved and its time is scaled up to all of them. What
pandas takes to read and resample the year is what nobody gets around.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from benchmarks.measure import Row
from benchmarks.problems import COLUMNS, PROBLEMS
from benchmarks.solvers import pulp_model
from engine import Site, Strategy
from engine.backtesting.reality import Reality
from engine.backtesting.rolling import Rolling, run
from engine.forecast import Persistence

PROBLEM = "backtest"
LOOP, LOOP_ON_PULP, PANDAS = "Tidewatt backtest", "PuLP + HiGHS loop", "pandas read and resample"
HORIZON = 144
ROUNDS = 3


def measure_backtest(days: int, sample: int, say: Callable[[str], None] = lambda _text: None) -> list[Row]:
    """Roll through a history in every way.

    Args:
        days: Length of the history, of a year at most.
        sample: How many decisions PuLP is asked for, spread over the history.
        say: Told what is being measured.
    """
    year = PROBLEMS["year"].make()
    index = pd.date_range(year.series.index[0], periods=days * 96, freq="15min", name="start", unit="ns")
    series = year.series.reindex(index, method="ffill")
    text = series.to_csv()
    plans = len(index)
    seconds: dict[str, list[float]] = {LOOP: [], PANDAS: [], LOOP_ON_PULP: []}
    turns: dict[str, Callable[[], None]] = {PANDAS: lambda: _read(text), LOOP: lambda: _roll(series, year.site)}
    for number in range(ROUNDS + 1):
        say(f"{PROBLEM}: round {number} of {ROUNDS}")
        for name, turn in turns.items():
            begin = time.perf_counter()
            turn()
            # The first round compiles and fills caches.
            if number:
                seconds[name].append(time.perf_counter() - begin)
    chosen = np.linspace(0, plans - HORIZON, sample, dtype=int)
    say(f"{PROBLEM}: {sample} decisions by {LOOP_ON_PULP}")
    begin = time.perf_counter()
    for first in chosen:
        window = series.iloc[first : first + HORIZON]
        pulp_model.solve(replace(year, series=window, final_soc_min=year.site.battery.min_soc), "HiGHS", binaries=False)
    seconds[LOOP_ON_PULP].append((time.perf_counter() - begin) / sample * plans)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    notes = {
        LOOP: "forecasts, plans, battery by the minute",
        LOOP_ON_PULP: f"scaled up from {sample} decisions; plans alone",
        PANDAS: "CSV of prices, load and PV, to hours",
    }
    return [
        Row(
            problem=PROBLEM,
            size=f"{plans:,} plans of {HORIZON} x 15 min",
            solver=name,
            seconds=tuple(found),
            ratios={base: medians[name] / medians[base] for base in (LOOP_ON_PULP, PANDAS)},
            note=notes[name],
        )
        for name, found in seconds.items()
    ]


def _roll(series: pd.DataFrame, site: Site) -> None:
    buy, sell, load, pv = (series[name] for name in COLUMNS)
    prices = pd.DataFrame({"import_price": buy, "export_price": sell})
    reality = Reality.read(prices, load, pv, timezone=site.timezone)
    run(Rolling(site, Strategy(), HORIZON, 1, Persistence(), Persistence()), reality, 0.5)


def _read(text: str) -> None:
    table = pd.read_csv(io.StringIO(text), index_col=0, parse_dates=True)
    table.resample("h").mean()

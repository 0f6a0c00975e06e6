"""Sweeps: every combination once, on several processes, kept as it is done, done anew where an input changed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from console.parquet_store import ParquetStore
from engine import Battery, DemandCharge, InputError, PvArray, Site, Strategy, TidewattError, backtest
from engine.backtesting.sweep import HISTORIES_KEPT, Case, History, Row, product, sweep
from engine.forecast import Persistence, SeasonalNaive

SITE = Site(name="home", battery=Battery(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5), pv=PvArray())
SMALLER = SITE.battery.model_copy(update={"capacity_kwh": 5.0})


def history(seed: int = 1, days: int = 4) -> History:
    index = pd.date_range("2025-03-03", periods=96 * days, freq="15min", tz="UTC")
    rng = np.random.default_rng(seed)
    hour = index.hour.to_numpy()
    prices = pd.DataFrame({"import_price": 0.2 + 0.1 * np.sin(hour / 3)}, index)
    return History(
        prices.assign(export_price=prices["import_price"] - 0.1),
        pd.Series(rng.uniform(0, 2, len(index)), index),
        pd.Series(np.maximum(0, np.sin((hour - 6) / 12 * np.pi)) * 3, index),
    )


def cases(**settings: Any) -> list[Case]:
    return product(
        {"a": (SITE, history(1)), "b": (SITE, history(2))},
        strategies={"free": Strategy(), "no export": Strategy(battery_export="never")},
        forecasters={"week": (SeasonalNaive(), Persistence()), "day": (Persistence(), Persistence())},
        batteries={"10 kWh": SITE.battery, "5 kWh": SMALLER},
        yardsticks=False,
        **settings,
    )


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as workers:
        yield workers


class Noted(Executor):
    """Passes work on and notes who was sent data."""

    def __init__(self, to: Executor) -> None:
        self.to, self.with_data, self.orders = to, 0, 0

    def submit(self, work: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        self.orders += 1
        self.with_data += arguments[-1] is not None
        return self.to.submit(work, *arguments, **named)


class Memory(dict[str, Row]):
    """A store that counts."""

    puts = 0

    def put(self, key: str, figures: Row) -> None:
        self.puts += 1
        self[key] = figures


def test_all_combinations_are_done_and_named():
    told: list[tuple[int, int]] = []
    found = sweep(cases(), progress=lambda done, of: told.append((done, of)))
    assert len(found) == 16
    assert told == [(done, 16) for done in range(17)]
    assert found.index[0] == "a, free, week, 10 kWh"
    assert list(found.columns[:6]) == ["site", "strategy", "forecaster", "battery", "cost_eur", "saved_eur"]
    row = found.loc["b, no export, day, 5 kWh"]
    made = history(2)
    alone = backtest(
        SITE.model_copy(update={"battery": SMALLER}),
        Strategy(battery_export="never"),
        prices=made.prices,
        load=made.load,
        pv=made.pv,
        load_forecaster=Persistence(),
        yardsticks=False,
    )
    assert row["cost_eur"] == alone.cost_eur
    assert row["capture_rate"] == alone.capture_rate()
    lost = sum(row[f"lost_by_{step}_eur"] for step in ("forecast", "command", "execution", "metering"))
    assert lost == pytest.approx(row["metered_cost_eur"] - row["perfect_foresight_cost_eur"])


def test_processes_find_the_same_and_data_is_not_sent_with_every_case(pool: ProcessPoolExecutor):
    noted = Noted(pool)
    spread = sweep(cases(), executor=noted, at_once=2)
    pd.testing.assert_frame_equal(spread.drop(columns="seconds"), sweep(cases()).drop(columns="seconds"))
    # Two histories of eight cases each, two workers: no worker needs either more than once.
    assert noted.with_data <= 4 + (noted.orders - 16)
    assert noted.orders - 16 <= 2


def test_a_worker_without_the_history_is_sent_it(pool: ProcessPoolExecutor):
    """One at a time: the second worker was never sent what the first was."""
    few = product({str(seed): (SITE, history(7)) for seed in range(6)}, yardsticks=False)
    assert len(sweep(few, executor=pool, at_once=1)) == 6


def test_more_histories_than_a_worker_keeps_are_sent_again_over_threads_too():
    """Each history comes twice, with more others in between than are kept."""
    sites = {str(seed): (SITE, history(100 + seed, days=2)) for seed in range(HISTORIES_KEPT + 2)}
    twice = [
        replace(case, name=f"{case.name} {horizon}", settings={"yardsticks": False, "horizon": horizon})
        for horizon in ("12h", "24h")
        for case in product(sites)
    ]
    with ThreadPoolExecutor(1) as workers:
        noted = Noted(workers)
        spread = sweep(twice, executor=noted, at_once=1)
    assert noted.with_data == len(twice)
    pd.testing.assert_frame_equal(spread.drop(columns="seconds"), sweep(twice).drop(columns="seconds"))


def test_what_is_done_is_not_done_again():
    store = Memory()
    first = sweep(cases(), store=store)
    again = sweep(cases(), store=store)
    assert store.puts == 16
    pd.testing.assert_frame_equal(first, again)
    renamed = [replace(case, name=f"{case.name}!", labels={}) for case in cases()]
    assert len(sweep(renamed, store=store)) == store.puts == 16


BASE = Case("x", SITE, history())


@pytest.mark.parametrize(
    "changed",
    [
        replace(BASE, site=SITE.model_copy(update={"battery": SMALLER})),
        replace(BASE, site=SITE.model_copy(update={"timezone": "Europe/Berlin"})),
        replace(BASE, strategy=Strategy(grid_charging=False)),
        replace(BASE, forecasting=(Persistence(), None)),
        replace(BASE, forecasting=(None, SeasonalNaive())),
        replace(BASE, forecasting=(SeasonalNaive(season="day"), None)),
        replace(BASE, demand_charges=(DemandCharge(eur_per_kw=5.0),)),
        replace(BASE, settings={"modes": False}),
        replace(BASE, history=history(2)),
        replace(BASE, history=replace(BASE.history, load=None)),
        replace(BASE, history=replace(BASE.history, load=BASE.history.pv, pv=BASE.history.load)),
        replace(BASE, history=replace(BASE.history, location=(55.0, 10.0))),
        replace(BASE, history=replace(BASE.history, load=BASE.history.load.shift(freq="15min"))),
    ],
)
def test_whatever_counts_is_in_the_key(changed: Case):
    assert changed.key != BASE.key


def test_the_key_of_the_same_content_is_the_same_in_another_process():
    script = "from tests.console.test_sweep import cases; print(*(case.key for case in cases(horizon='24h')))"
    answer = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert answer.stdout.split() == [case.key for case in cases(horizon="24h")]


def test_names_are_unique_and_errors_say_which_case(pool: ProcessPoolExecutor):
    with pytest.raises(InputError, match="2 are called 'x'"):
        sweep([BASE, BASE])
    wrong = replace(BASE, name="wrong", settings={"horizon": "7min"})
    store = Memory()
    for executor in (None, pool):
        with pytest.raises(InputError, match=r"^wrong: horizon: .* is no whole number of intervals"):
            sweep([BASE, wrong], executor=executor, at_once=1, store=store)
    assert BASE.key in store


def test_files_hold_the_figures_to_the_bit(tmp_path: Path):
    first = sweep(cases()[:2], store=ParquetStore(tmp_path))
    assert sorted(file.stem for file in tmp_path.iterdir()) == sorted(case.key for case in cases()[:2])
    pd.testing.assert_frame_equal(first, sweep(cases()[:2], store=ParquetStore(tmp_path)))
    assert len(pd.read_parquet(tmp_path)) == 2


def test_a_write_that_breaks_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = ParquetStore(tmp_path)

    def full(_: Any, file: Any, **__: Any) -> None:
        file.write(b"PAR1")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(pd.DataFrame, "to_parquet", full)
        with pytest.raises(OSError, match="No space"):
            store.put("k", {"a": 1.0})
    assert store.get("k") is None
    store.put("k", {"a": 1.0})
    assert store.get("k") == {"a": 1.0}


KILLED = """
from pathlib import Path
from console.parquet_store import ParquetStore
from engine.backtesting.sweep import sweep
from tests.console.test_sweep import cases
sweep(cases(), store=ParquetStore(Path({folder!r})), progress=lambda done, of: print(done, flush=True))
"""


def test_a_killed_sweep_goes_on_where_it_stopped(tmp_path: Path):
    script = KILLED.format(folder=str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 3:
                process.send_signal(signal.SIGKILL)
                break
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.parquet")}
    assert 3 <= len(kept) < 16
    told: list[int] = []
    found = sweep(cases(), store=ParquetStore(tmp_path), progress=lambda done, _: told.append(done))
    assert told[0] == len(kept)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), sweep(cases()).drop(columns="seconds"))


class Deadly(Persistence):
    """Ends its process."""

    def forecast(self, *_: Any) -> Any:
        os._exit(1)


def test_a_worker_that_dies_is_said_and_what_was_done_is_kept():
    store = Memory()
    deadly = replace(BASE, name="deadly", forecasting=(Deadly(), None))
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as workers,
        pytest.raises(TidewattError, match=r"a worker died .*sweep again"),
    ):
        sweep([BASE, deadly], executor=workers, at_once=1, store=store)
    assert list(store) == [BASE.key]

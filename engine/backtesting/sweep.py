"""Many backtests: over sites, strategies, forecasters and batteries, on all cores, going on where they stopped."""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import pickle
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from importlib.metadata import version
from typing import Any, Protocol

import pandas as pd

from engine.assets import Battery, Site
from engine.backtesting.backtest import backtest
from engine.backtesting.result import STEPS, BacktestResult
from engine.backtesting.rolling import Progress, nobody_watches
from engine.demand import DemandCharge
from engine.errors import InputError, TidewattError
from engine.forecast import Forecaster
from engine.prices import PriceCurve
from engine.strategy import Strategy
from engine.tariffs import Tariff

# A worker keeps so many histories; a year by the minute is 8 MB.
HISTORIES_KEPT = 16

Row = dict[str, Any]
Forecasting = tuple[Forecaster | None, Forecaster | None]
"""Of load and of PV; None is the default of `backtest`."""


@dataclass(frozen=True, eq=False)
class History:
    """What happened at a site, as `engine.backtest` takes it."""

    prices: pd.DataFrame | pd.Series | PriceCurve
    load: pd.Series | None = None
    pv: pd.Series | None = None
    tariff: Tariff | None = None
    weather: pd.DataFrame | None = None
    location: tuple[float, float] | None = None

    @cached_property
    def key(self) -> str:
        """The same for the same content, whatever object it is in."""
        prices = self.prices.series if isinstance(self.prices, PriceCurve) else self.prices
        return _digest(
            self.prices.currency if isinstance(self.prices, PriceCurve) else "",
            *(_content(series) for series in (prices, self.load, self.pv, self.weather)),
            "" if self.tariff is None else self.tariff.model_dump_json(),
            repr(self.location),
        )


@dataclass(frozen=True, eq=False)
class Case:
    """One backtest of a sweep."""

    name: str
    site: Site
    history: History
    strategy: Strategy = field(default_factory=Strategy)
    forecasting: Forecasting = (None, None)
    demand_charges: tuple[DemandCharge, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `backtest`: `horizon`, `replan_every`, `step`, `initial_soc`, `modes`, `yardsticks`, and
    series of markets, schedules and carbon."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What the case is put together from; columns of the result."""

    @property
    def key(self) -> str:
        """The same for the same inputs under the same version; name and labels do not count."""
        return _digest(
            version("tidewatt"),
            self.history.key,
            self.site.model_dump_json(),
            self.strategy.model_dump_json(),
            *(charge.model_dump_json() for charge in self.demand_charges),
            *(pickle.dumps(part) for part in (*self.forecasting, *sorted(self.settings.items()))),
        )

    def run(self, progress: Progress = nobody_watches) -> BacktestResult:
        """Backtest it."""
        history, (load_forecaster, pv_forecaster) = self.history, self.forecasting
        return backtest(
            self.site,
            self.strategy,
            prices=history.prices,
            load=history.load,
            pv=history.pv,
            tariff=history.tariff,
            weather=history.weather,
            location=history.location,
            demand_charges=self.demand_charges,
            load_forecaster=load_forecaster,
            pv_forecaster=pv_forecaster,
            progress=progress,
            **self.settings,
        )


class Store(Protocol):
    """Where the figures of finished cases are kept."""

    def get(self, key: str) -> Row | None:
        """The figures of a case, None where it was not finished."""
        ...

    def put(self, key: str, figures: Row) -> None:
        """Keep them whole or not at all."""
        ...


def product(
    sites: Mapping[str, tuple[Site, History]],
    *,
    strategies: Mapping[str, Strategy] | None = None,
    forecasters: Mapping[str, Forecasting] | None = None,
    batteries: Mapping[str, Battery] | None = None,
    demand_charges: Sequence[DemandCharge] = (),
    **settings: Any,
) -> list[Case]:
    """Every site with every strategy, forecaster and battery, named by them: ``home, no export, similar day``.

    Args:
        sites: Each with its history.
        strategies: None: each site for the lowest cost.
        forecasters: None: the defaults of `engine.backtest`.
        batteries: Each takes the place of the site's own. None: the site's own.
        demand_charges: Of all cases.
        settings: As `Case.settings`, of all cases.
    """
    axes: dict[str, Mapping[str, Any]] = {"site": sites}
    for axis, given in (("strategy", strategies), ("forecaster", forecasters), ("battery", batteries)):
        if given:
            axes[axis] = given
    cases = []
    for names in itertools.product(*axes.values()):
        labels = dict(zip(axes, names, strict=True))
        chosen = {axis: axes[axis][name] for axis, name in labels.items()}
        site, history = chosen["site"]
        battery = chosen.get("battery", site.battery)
        cases.append(
            Case(
                name=", ".join(names),
                site=site.model_copy(update={"battery": battery}),
                history=history,
                strategy=chosen.get("strategy", Strategy()),
                forecasting=chosen.get("forecaster", (None, None)),
                demand_charges=tuple(demand_charges),
                settings=settings,
                labels=labels,
            )
        )
    return cases


def sweep(
    cases: Iterable[Case],
    *,
    executor: Executor | None = None,
    at_once: int | None = None,
    store: Store | None = None,
    progress: Progress = nobody_watches,
) -> pd.DataFrame:
    """Backtest all cases; what the store has is not done again.

    Args:
        cases: Each with a name of its own.
        executor: Who works: a process pool (started by spawn, as Tidewatt's compiled code is fastest alone in a
            process), Dask's `client.get_executor()`. None: this process, one case after the other.
        at_once: How many cases are handed out at a time; of the same history as many are sent its data, the others
            find it where they are done. None: two for each core of this machine.
        store: Keeps the figures of each case as soon as it is done. None: nothing is kept.
        progress: Told how many cases of how many are done.

    Returns:
        One row per case in their order, indexed by `case`: labels, costs by account, what was lost where, the figures
        of `BacktestResult.kpis`.

    Raises:
        InputError: Two cases share a name, or a case cannot be run (its name is said).
        TidewattError: A worker died.
    """
    asked = list(cases)
    for name, times in Counter(case.name for case in asked).items():
        if times > 1:
            raise InputError("cases", f"{times} are called {name!r}", "give each its own name")
    keys = {case.name: case.key for case in asked}
    found = {} if store is None else {name: row for name, key in keys.items() if (row := store.get(key)) is not None}
    progress(len(found), len(asked))
    todo = [case for case in asked if case.name not in found]
    done = _alone(todo) if executor is None else _spread(todo, executor, at_once or 2 * multiprocessing.cpu_count())
    for case, row in done:
        found[case.name] = row
        if store is not None:
            store.put(keys[case.name], row)
        progress(len(found), len(asked))
    rows = [{**case.labels, **found[case.name]} for case in asked]
    return pd.DataFrame(rows, index=pd.Index([case.name for case in asked], name="case"))


def figures(result: BacktestResult) -> Row:
    """A backtest in one row."""
    lost = result.attribution.sum()
    costs = {f"{name.replace(' ', '_').replace('-', '_')}_cost_eur": cost for name, cost in result.costs_eur.items()}
    return {
        "cost_eur": result.cost_eur,
        "saved_eur": result.saved_eur,
        **result.kpis,
        **{f"lost_by_{step}_eur": float(lost[f"{step}_eur"]) for step, _, _ in STEPS},
        **costs,
        "days": len(result.reality) * result.reality.step_h / 24,
        "plans": result.plans,
        "too_many_pieces": result.rolled.too_many_pieces,
        **result.markets,
        "seconds": result.seconds,
    }


def _alone(cases: list[Case]) -> Iterator[tuple[Case, Row]]:
    for case in cases:
        yield case, _figures_of(case)


def _spread(cases: list[Case], executor: Executor, at_once: int) -> Iterator[tuple[Case, Row]]:
    """Hand out cases, few at a time, and their histories only as often as workers can lack them."""
    waiting = deque((case, False) for case in cases)
    sent: Counter[str] = Counter()
    running: dict[Future[Row | None], Case] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                case, lacked = waiting.popleft()
                key = case.history.key
                whole = lacked or sent[key] < at_once
                sent[key] += whole
                bare = replace(case, history=NO_HISTORY)
                running[executor.submit(_work, bare, key, case.history if whole else None)] = case
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                case, row = running.pop(future), future.result()
                if row is None:
                    waiting.appendleft((case, True))
                else:
                    yield case, row
    except BrokenExecutor as error:
        raise TidewattError(f"a worker died ({error}); what was done is kept in the store, sweep again") from error
    finally:
        for future in running:
            future.cancel()


NO_HISTORY = History(pd.Series(dtype=float))
_kept: OrderedDict[str, History] = OrderedDict()


def _work(case: Case, key: str, history: History | None) -> Row | None:
    """The figures of a case, in a worker; None where the history is neither sent nor kept."""
    if history is not None:
        _kept[key] = history
    if key not in _kept:
        return None
    _kept.move_to_end(key)
    while len(_kept) > HISTORIES_KEPT:
        _kept.popitem(last=False)
    with _one_thread():
        return _figures_of(replace(case, history=_kept[key]))


def _figures_of(case: Case) -> Row:
    try:
        return figures(case.run())
    except InputError as error:
        raise InputError(f"{case.name}: {error.field}", error.problem, error.way_out) from error


def _one_thread() -> AbstractContextManager[Any]:
    """Keep numeric libraries to one thread: the cores are taken by the other workers."""
    try:
        library = import_module("threadpoolctl")
    except ImportError:
        return nullcontext()
    limited: AbstractContextManager[Any] = library.threadpool_limits(limits=1)
    return limited


def _content(series: pd.DataFrame | pd.Series | None) -> bytes:
    if series is None:
        return b""
    names = list(series.columns) if isinstance(series, pd.DataFrame) else []
    return repr(names).encode() + pd.util.hash_pandas_object(series).to_numpy().tobytes()


def _digest(*parts: str | bytes) -> str:
    """A hash of parts, none of which can be mistaken for the end of another."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()

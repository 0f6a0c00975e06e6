"""`optimise_fleet`: plans for many sites in one call, each an optimum of its own.

Sites stream through in chunks: every thread takes one, solves it in compiled code that lets the other threads run,
works out its money, has it checked, and writes it into the result. What the dynamic program cannot prove is done site
by site.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine import checker
from engine.arrays import Array, is_count
from engine.assets import Site
from engine.checker_input import Asked
from engine.decisions import Decisions, Outcome, plan_columns, reckon
from engine.demand import DemandCharge
from engine.effort import MONEY_TOLERANCE_EUR, Effort
from engine.errors import InputError, SolveError
from engine.inputs import build_stack, in_euros
from engine.plan import Plan, Solution, assemble
from engine.planner import refuse_faults, solve
from engine.prices import PriceCurve
from engine.problem import ProblemStack
from engine.request import Figure, Request, Series, SeriesByProduct, TerminalValue
from engine.strategy import Strategy

# Values in an array of a chunk: enough sites to make a thread's turn worth it, few enough for the processor's cache.
VALUES_PER_CHUNK = 256 * 96
SERIES = (
    *("charge_kw", "discharge_kw", "import_kw", "export_kw", "curtailment_kw", "soc"),
    "marginal_value_eur_per_kwh",
)


@dataclass(frozen=True, eq=False)
class FleetPlan:
    """Proved and checked plans of N sites over T intervals; arrays of shape (N, T) in the order of `sites`."""

    sites: tuple[Site, ...]
    index: pd.DatetimeIndex
    """Starts of the intervals [UTC]."""
    cost_eur: Array
    """Cost of each plan, as `Plan.cost_eur`, shape (N,)."""
    charge_kw: Array
    discharge_kw: Array
    import_kw: Array
    export_kw: Array
    curtailment_kw: Array
    soc: Array
    """At the END of the interval [fraction]."""
    marginal_value_eur_per_kwh: Array
    """What one more stored kWh would save at the end of the interval."""
    solved_singly: dict[int, Solution] = field(repr=False)
    """Answers for the sites that the batch could not prove, by their number; all others are the dynamic program's."""
    seconds: float
    """How long planning took, checks of input and plans included [s]."""
    _stack: ProblemStack = field(repr=False)

    def __len__(self) -> int:
        return len(self.sites)

    def plan(self, number: int) -> Plan:
        """One site's plan, as `optimise` would give it.

        Args:
            number: Its place in `sites`; negative counts from the end.

        Raises:
            IndexError: There is no such site.
        """
        number = range(len(self))[number]
        stack = self._stack.rows(number, number + 1)
        row = slice(number, number + 1)
        solution = self.solved_singly.get(number) or Solution(
            Decisions(
                self.charge_kw[row],
                self.discharge_kw[row],
                self.curtailment_kw[row],
                self.marginal_value_eur_per_kwh[row],
            ),
            solver="storage DP",
            why=f"planned with {len(self)} sites in one batch, each exactly",
            seconds=self.seconds / len(self),
        )
        return assemble(stack.site(0), solution, reckon(stack, solution.decisions))


def optimise_fleet(
    sites: Sequence[Site],
    *,
    import_price: Series | PriceCurve,
    export_price: Series | PriceCurve,
    load: Series | None = None,
    pv: Series | None = None,
    initial_soc: Figure,
    final_soc_min: Figure | None = None,
    terminal_value_eur_per_kwh: TerminalValue | None = None,
    strategy: Strategy | None = None,
    demand_charges: Sequence[DemandCharge] = (),
    import_limit_kw: Series | None = None,
    export_limit_kw: Series | None = None,
    max_charge_kw: Series | None = None,
    max_discharge_kw: Series | None = None,
    reserve_soc: Series | None = None,
    carbon_kg_per_kwh: Series | None = None,
    position_kw: Series | None = None,
    bid_price: Series | None = None,
    ask_price: Series | None = None,
    imbalance_price: Series | None = None,
    schedule_kw: Series | None = None,
    balancing_price: SeriesByProduct | None = None,
    balancing_sold_kw: SeriesByProduct | None = None,
    time_limit_s: float | None = None,
    money_tolerance_eur: float = MONEY_TOLERANCE_EUR,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FleetPlan:
    """Compute the cheapest plan of every site, each on its own (nothing couples them).

    Args:
        sites: N sites, each with its own battery, connection and PV array.
        import_price: All-in price of a bought kWh [EUR/kWh]: a Series that all share, or a DataFrame with one column
            per site in their order. So are all series below.
        export_price: All-in price of a sold kWh [EUR/kWh].
        load: Mean consumption [kW]. None is no load.
        pv: Mean power that the sun offers [kW]. None is no PV.
        initial_soc: State of charge at the start [fraction]: a number for all, or one per site.
        final_soc_min: Least state of charge at the end [fraction]: a number, one per site, or None.
        terminal_value_eur_per_kwh: As in `optimise`, the same for all.
        strategy: As in `optimise`, the same for all.
        demand_charges: As in `optimise`, the same for all.
        import_limit_kw: As in `optimise`.
        export_limit_kw: As in `optimise`.
        max_charge_kw: As in `optimise`.
        max_discharge_kw: As in `optimise`.
        reserve_soc: As in `optimise`.
        carbon_kg_per_kwh: As in `optimise`.
        position_kw: As in `optimise`; so are the six below.
        bid_price: What one more kWh sold intraday earns [EUR/kWh].
        ask_price: What a kWh bought intraday costs [EUR/kWh].
        imbalance_price: What a kWh of imbalance is settled at [EUR/kWh].
        schedule_kw: Mean power to follow [kW].
        balancing_price: What a kW of each product earns per hour [EUR/kW/h].
        balancing_sold_kw: What of each is sold already [kW].
        time_limit_s: Longest time for one site that needs the linear program or MILP [s].
        money_tolerance_eur: As in `optimise`.
        workers: Threads; None takes as many as there are processors.
        progress: Called with (sites done, sites in all) after every chunk, in the calling thread.

    Returns:
        Costs and schedules as arrays, and each site's `Plan` on request.

    Raises:
        InputError: The input cannot become plans; names field, site, first offending interval, bound and way out.
        SolveError: A site's solver found no proved optimum in its time.
        PlanRejectedError: The checker found fault with a plan.
    """
    begin = time.perf_counter()
    request = Request(
        import_price=in_euros("import_price", import_price),
        export_price=in_euros("export_price", export_price),
        load=load,
        pv=pv,
        initial_soc=initial_soc,
        final_soc_min=final_soc_min,
        terminal_value_eur_per_kwh=terminal_value_eur_per_kwh,
        strategy=strategy,
        demand_charges=demand_charges,
        import_limit_kw=import_limit_kw,
        export_limit_kw=export_limit_kw,
        max_charge_kw=max_charge_kw,
        max_discharge_kw=max_discharge_kw,
        reserve_soc=reserve_soc,
        carbon_kg_per_kwh=carbon_kg_per_kwh,
        position_kw=position_kw,
        bid_price=bid_price,
        ask_price=ask_price,
        imbalance_price=imbalance_price,
        schedule_kw=schedule_kw,
        balancing_price=balancing_price,
        balancing_sold_kw=balancing_sold_kw,
    )
    if workers is not None and not is_count(workers):
        raise InputError("workers", f"value {workers!r} is not 1 or more", "give a number of threads, or None")
    if progress is not None and not callable(progress):
        raise InputError(
            "progress", f"it is {type(progress).__name__}", "give a function of (sites done, sites in all)"
        )
    stack = build_stack(sites, request, frames=True)
    sites = tuple(sites)  # nobody else's list: the result goes by their places
    import numba

    effort = Effort.of(time_limit_s, money_tolerance_eur, len(stack.index))
    batch = _Batch(stack, Asked.of(sites, request), effort)
    size = max(1, VALUES_PER_CHUNK // len(stack.index))
    # More threads than processors would only wait for each other.
    with ThreadPoolExecutor(int(workers or 0) or numba.get_num_threads()) as pool:
        starts = range(0, len(sites), size)
        running = [pool.submit(batch.chunk, first, min(first + size, len(sites))) for first in starts]
        try:
            done = 0
            for future in as_completed(running):
                done += future.result()
                if progress:
                    progress(done, len(sites))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return FleetPlan(
        sites=sites,
        index=stack.index,
        **batch.arrays,
        solved_singly=batch.solved_singly,
        seconds=time.perf_counter() - begin,
        _stack=stack,
    )


class _Batch:
    """The result under construction; every chunk fills its own rows."""

    def __init__(self, stack: ProblemStack, asked: Asked, effort: Effort) -> None:
        self._stack, self._asked, self._effort = stack, asked, effort
        # One block: the operating system hands out large ones in large pages.
        block = np.empty((len(SERIES), len(stack), len(stack.index)))
        self.arrays: dict[str, Array] = {"cost_eur": np.empty(len(stack)), **dict(zip(SERIES, block, strict=True))}
        self.solved_singly: dict[int, Solution] = {}

    def chunk(self, first: int, last: int) -> int:
        """Plan some sites; returns how many."""
        from engine import storage_dp

        stack = self._stack.rows(first, last)
        decisions, pieces = storage_dp.solve(stack)
        outcome = reckon(stack, decisions)
        unproved = _unproved(stack, pieces, decisions, outcome)
        for number in unproved:
            try:
                solution = solve(stack.site(number), "auto", self._effort)
            except SolveError as error:
                raise SolveError(f"site {first + number} ({stack.sites[number].name}): {error}") from error
            self.solved_singly[first + number] = solution
            for name in ("charge_kw", "discharge_kw", "curtailment_kw", "marginal_value_eur_per_kwh"):
                getattr(decisions, name)[number] = getattr(solution.decisions, name)[0]
            for product, held_kw in decisions.balancing_kw.items():
                held_kw[number] = solution.decisions.balancing_kw[product][0]
        if unproved:
            outcome = reckon(stack, decisions)
        cost = outcome.cost_eur.sum(axis=1)
        if stack.demand_charges:
            cost += stack.demand_eur(outcome.import_kw)
        columns = plan_columns(stack, decisions, outcome)
        refuse_faults(checker.check_many(self._asked.some(first, last), columns, cost))
        rows = {**vars(decisions), **vars(outcome), "cost_eur": cost}
        for name, array in self.arrays.items():
            array[first:last] = rows[name]
        return len(stack)


def _unproved(stack: ProblemStack, pieces: npt.NDArray[np.int64], decisions: Decisions, outcome: Outcome) -> list[int]:
    """Sites whose schedule the batch cannot call optimal, or that have a wish that it does not fulfil."""
    from engine import coupled

    if stack.strategy.prefer == "smoother_power":
        return list(range(len(stack)))
    unproved = pieces < 0
    for _, sites in coupled.binding(stack, decisions, outcome):
        unproved |= sites
    return [int(number) for number in np.flatnonzero(unproved)]

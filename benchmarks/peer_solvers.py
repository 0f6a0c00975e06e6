"""The other libraries as solvers: which there are, and how each comes to take its turns."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import python_of
from benchmarks.peer_process import PeerProcess
from benchmarks.problems import BenchmarkProblem
from benchmarks.solvers.contract import Answer, NotAvailableError, Solver


@dataclass(frozen=True)
class Peer:
    """A library, by its driver `benchmarks/peers/<module>.py` and its versions `benchmarks/peers/<module>.txt`."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()


PEERS: tuple[Peer, ...] = (
    Peer("EMHASS, new object", "emhass"),
    Peer("EMHASS, kept object", "emhass", ("kept",)),
    Peer("energy-py-linear", "energypylinear"),
    Peer("oemof-solph", "oemof"),
    Peer("PyPSA", "pypsa"),
)
# Their time grows into minutes beyond this, where binaries are everywhere or models are built in Python.
MOST_INTERVALS = 192


def _too_long(problem: BenchmarkProblem) -> str | None:
    return f"not asked beyond {MOST_INTERVALS} intervals" if problem.intervals > MOST_INTERVALS else None


@contextlib.contextmanager
def peers_running(state: Path, say: Callable[[str], None]) -> Iterator[list[Solver]]:
    """Install what is missing, start all drivers, end them afterwards.

    A peer that cannot be installed or started is still in the list; its solver says why.
    """
    with contextlib.ExitStack() as stack:
        solvers = []
        for peer in PEERS:
            try:
                process = stack.enter_context(_start(peer, state, say))
            except NotAvailableError as error:
                solvers.append(Solver(peer.name, _unavailable(str(error)), exact=False))
                continue
            versions = " ".join(process.versions.values())
            solvers.append(Solver(_named(peer, versions), process.solve, exact=False, skips=_too_long))
        yield solvers


def first_plans(problem: BenchmarkProblem, state: Path, say: Callable[[str], None]) -> dict[str, Callable[[], None]]:
    """By name: start a driver, ask it for one plan, end it."""

    def start(peer: Peer) -> Callable[[], None]:
        def run() -> None:
            with _start(peer, state, say) as process:
                process.solve(problem)

        return run

    return {peer.name.partition(",")[0]: start(peer) for peer in PEERS if not peer.arguments}


def _start(peer: Peer, state: Path, say: Callable[[str], None]) -> PeerProcess:
    log = state / "logs" / f"{'-'.join((peer.module, *peer.arguments))}.log"
    return PeerProcess(python_of(peer.module, state, say), peer.module, peer.arguments, log)


def _named(peer: Peer, versions: str) -> str:
    name, _, variant = peer.name.partition(",")
    return f"{name} {versions.split()[0]}{',' if variant else ''}{variant}"


def _unavailable(why: str) -> Callable[[BenchmarkProblem], Answer]:
    def solve(_problem: BenchmarkProblem) -> Answer:
        raise NotAvailableError(why)

    return solve

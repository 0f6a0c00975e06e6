"""Many histories, in several processes; each is its seed's and nothing else's."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tests.simulation import guards
from tests.simulation.faults import MIXES
from tests.simulation.invariants import Figures, judge
from tests.simulation.stage import folder_in_memory
from tests.simulation.vendors import MAKES
from tests.simulation.world import Setup, World

# Of each account. Days that are planned from end to end take long, and need many outages rather than many sites.
SITES, SITES_ON_FULL_DAYS = 6, 2
HOURS = 24.0


@dataclass(frozen=True)
class History:
    """One history to unfold."""

    seed: int
    mix: str = "ordinary"
    without: str | None = None
    """The guard that is taken away."""
    sites: int = SITES
    hours: float = HOURS
    full_days: bool = False

    @property
    def site_days(self) -> float:
        return len(MAKES) * self.sites * self.hours / 24.0


def histories(
    site_days: int, seed: int, mix: str, without: str | None = None, *, full_days: bool = False
) -> list[History]:
    """As many days of one seed after another as make so many site-days."""
    sites = SITES_ON_FULL_DAYS if full_days else SITES
    first = History(seed, mix, without, sites, full_days=full_days)
    return [replace(first, seed=seed + number) for number in range(-(-site_days // int(first.site_days)))]


def unfold(history: History) -> Figures:
    """Let one history happen, and judge it."""
    with folder_in_memory() as folder, guards.without(history.without):
        expires = history.without != guards.DEVICE_EXPIRY
        setup = Setup(history.seed, MIXES[history.mix], history.hours, history.sites, expires, history.full_days)
        world = World(setup, folder)
        world.run()
        return judge(world)


def unfold_all(asked: Sequence[History], processes: int) -> Iterator[tuple[History, Figures]]:
    """Unfold histories in processes of their own, as they come."""
    os.environ["PYTHONHASHSEED"] = "0"  # the order of a set is no part of the seed otherwise
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=50) as pool:
        yield from pool.imap_unordered(_told, asked)


def _told(history: History) -> tuple[History, Figures]:
    return history, unfold(history)

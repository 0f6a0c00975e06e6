"""What a change of strategy would come to: the coming plan of each site under the old and the new one, in money."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from adapters.contract import Clock
from engine import InputError, Plan, TidewattError
from schedules import inputs, jobs
from schedules.inheritance import Effective
from schedules.store import Database
from schedules.strategy_changes import Change


@dataclass(frozen=True, eq=False)
class WhatIf:
    """Both plans of a site, from the same state of charge over the same horizon."""

    site: str
    before: Plan | None
    """As it is wanted now; None: there is no such plan."""
    after: Plan | None
    """As it would be wanted."""
    problem: str
    """Why one of them is missing; empty where none is."""

    @property
    def more_eur(self) -> float | None:
        """What the new strategy costs more over the horizon [EUR]; None where a plan is missing."""
        return None if self.before is None or self.after is None else self.after.cost_eur - self.before.cost_eur


def what_if(db: Database, clock: Clock, changes: Sequence[Change]) -> Iterator[WhatIf]:
    """Plan each site twice from the stored prices, forecasts and readings; nothing is stored.

    Args:
        db: The store.
        clock: The time.
        changes: What a new version makes of which site.
    """
    now = clock()
    for change in changes:
        plans: list[Plan | None] = []
        problems: list[str] = []
        both = change.before, change.after
        known = [_series(db, change.site_id, now, wanted) for wanted in both]
        # Over the same time, though one of them may ask for a series that ends sooner.
        ends = [series.index[-1] for series in known if series is not None]
        for wanted, series in zip(both, known, strict=True):
            try:
                strategy = wanted.strategy
                if series is None:
                    raise TidewattError("prices or forecasts are missing; see `tidewatt inputs list`")
                shared = series.loc[: min(ends)]
                plans.append(jobs.propose(db, now, change.site_id, change.site, shared, strategy))
            except TidewattError as error:
                plans.append(None)
                problems.append(str(error))
        before, after = plans
        yield WhatIf(change.site.name, before, after, problems[0] if problems else "")


def _series(db: Database, site_id: int, now: dt.datetime, wanted: Effective) -> pd.DataFrame | None:
    try:
        return inputs.known(db, site_id, now, wanted.strategy)
    except InputError:
        return None  # what contradicts itself says so when it is planned

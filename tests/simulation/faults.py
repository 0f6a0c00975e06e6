"""What goes wrong and how often. All of it is drawn from one generator, so that a seed is a whole history."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random

from tests.simulation.scheduler import Fault
from tests.simulation.steps import BEFORE_COMMIT, POINTS, STATEMENT

HOUR_S = 3600.0
DAY_S = 86400.0


class Fate(Enum):
    """What becomes of one call."""

    DONE = "done"
    REFUSED = "refused"
    REQUEST_LOST = "request lost"
    """It never arrives, and the caller cannot know."""
    REPLY_LOST = "reply lost"
    """It is done, and the caller cannot know."""
    IGNORED = "ignored"
    """Accepted, and nothing changes."""
    PARTIAL = "partial"
    """Accepted, and done with half the power."""
    DELAYED = "delayed"
    """Accepted, and done later."""
    LAPSES_EARLY = "lapses early"
    """Done, and over after a third of its time."""


class Phase(Enum):
    """What the batteries of an account are about when its tick comes."""

    BEGINS = "begins"
    MOVES = "moves"
    RESTS = "rests"


@dataclass(frozen=True)
class TelemetryFault:
    """Telemetry of one site is no good for a while."""

    since: float
    until: float
    kind: str
    """`failing`, `absent`, `stale` (time stamps stand), `frozen` (values stand, time stamps move), `sentinel`."""


@dataclass(frozen=True)
class Mix:
    """How often what goes wrong; the defaults are those of reference 4.2, and more than those."""

    redelivered: float = 0.05
    """Of ticks: delivered again, at once or within two minutes; one in ten of them nine times."""
    crash: float = 0.02
    """Of the ticks that begin a stretch, for each step of the protocol."""
    pause: float = 0.03
    pause_mean_s: float = 240.0
    statement: float = 0.02
    """Of the ticks that begin a stretch: the process is held up before one of its database statements."""
    statement_mean_s: float = 1.0
    moving_share: float = 0.05
    """Of those rates, at the other ticks while batteries move by our word; there are many of them."""
    idle_share: float = 0.02
    """And at all other ticks."""
    ignored: float = 0.03
    reply_lost: float = 0.05
    request_lost: float = 0.005
    refused: float = 0.005
    partial: float = 0.002
    delayed: float = 0.01
    lapses_early: float = 0.002
    slow: float = 0.02
    token_expired: float = 0.005
    outage: float = 0.3
    """Of days: the control plane is gone for half an hour to three."""
    clock_step: float = 0.1
    """Of days and processes: the machine's clock is up to two seconds wrong for an hour."""
    telemetry: float = 0.05
    """Of site-days: telemetry is no good for ten minutes to three hours."""
    database: float = 0.1
    """Of days: the database is away for ten seconds to twenty minutes."""
    mean: float = 0.15
    """Of accounts whose vendor counts calls: it allows fewer than plans want."""
    override: float = 0.05
    """Of site-days: a person overrides the plan for a quarter of an hour to two hours; one in three changes their
    mind."""
    user: float = 0.02
    """Of site-days: somebody uses the vendor's app."""
    kill_switch: float = 0.03
    """Of days: somebody pulls a kill switch, for five minutes to an hour."""
    early: float = 0.1
    """Of the edges of plans: a tick comes in the last seconds before."""
    replan: float = 0.3
    """Of site-days: there is a new plan in the middle of the day."""

    def fate(self, rng: Random) -> Fate:
        drawn = rng.random()
        for fate, share in (
            (Fate.IGNORED, self.ignored),
            (Fate.REPLY_LOST, self.reply_lost),
            (Fate.REQUEST_LOST, self.request_lost),
            (Fate.REFUSED, self.refused),
            (Fate.PARTIAL, self.partial),
            (Fate.DELAYED, self.delayed),
            (Fate.LAPSES_EARLY, self.lapses_early),
        ):
            if drawn < share:
                return fate
            drawn -= share
        return Fate.DONE

    def fault(self, rng: Random, phase: Phase) -> Fault | None:
        """What befalls the process of one tick."""
        share = {Phase.BEGINS: 1.0, Phase.MOVES: self.moving_share, Phase.RESTS: self.idle_share}[phase]
        for point in POINTS:
            drawn = rng.random()
            if drawn < share * self.crash:
                return Fault(point, None)
            # One that is stopped in a transaction would hold SQLite's lock of the whole file, and stop everybody.
            if drawn < share * (self.crash + self.pause) and point != BEFORE_COMMIT:
                return Fault(point, rng.expovariate(1 / self.pause_mean_s))
        if rng.random() < share * self.statement:
            return Fault(STATEMENT, rng.expovariate(1 / self.statement_mean_s), rng.randint(1, 12))
        return None

    def redeliveries(self, rng: Random) -> int:
        if rng.random() >= self.redelivered:
            return 0
        return 9 if rng.random() < 0.1 else 1


# Ticks come in pairs, most processes stall, and ticks fall just before the edges of plans: what a soak of ordinary days
# does not tell apart.
ADVERSARIAL = Mix(
    redelivered=0.5,
    crash=0.01,
    pause=0.05,
    pause_mean_s=40.0,
    statement=0.5,
    statement_mean_s=8.0,
    moving_share=0.7,
    token_expired=0.3,
    outage=0.0,
    kill_switch=1.0,
    telemetry=1.0,
    early=0.9,
)
CALM = Mix(**dict.fromkeys(Mix.__dataclass_fields__, 0.0) | {"pause_mean_s": 1.0, "statement_mean_s": 1.0})
REFERENCE = Mix(
    statement=0.0,
    request_lost=0.0,
    refused=0.0,
    partial=0.0,
    delayed=0.0,
    lapses_early=0.0,
    token_expired=0.0,
    clock_step=0.0,
    telemetry=0.0,
    database=0.0,
    mean=0.0,
    override=0.0,
    user=0.0,
    kill_switch=0.0,
    early=0.0,
    replan=0.0,
)
"""The mix of reference 4.2 and nothing else: what its figure of fallback time refers to."""
MIXES = {"ordinary": Mix(), "reference": REFERENCE, "adversarial": ADVERSARIAL, "calm": CALM}


def telemetry_faults(rng: Random, mix: Mix, days: int) -> list[TelemetryFault]:
    """When and how one site's telemetry is no good."""
    faults = []
    for day in range(days):
        if rng.random() < mix.telemetry:
            since = (day + rng.random()) * DAY_S
            kind = rng.choice(("failing", "absent", "stale", "frozen", "sentinel"))
            faults.append(TelemetryFault(since, since + rng.uniform(600.0, 3 * HOUR_S), kind))
    return faults

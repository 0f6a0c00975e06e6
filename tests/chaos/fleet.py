"""The fleet under disturbance: three vendors, several sites each, and what is wanted of them."""

from __future__ import annotations

import datetime as dt
import random
from itertools import cycle, islice

from adapters.contract import Clock
from engine import Battery, GridConnection, Site
from engine.intent import Intent, IntentMode
from schedules.overrides import set_override
from schedules.store import Database

SITES = {"alphaess": 3, "huawei": 2, "xolta": 3}
VENDORS = tuple(SITES)
MODES = (IntentMode.CHARGE, IntentMode.HOLD, IntentMode.DISCHARGE, IntentMode.SELF_CONSUMPTION)
# Huawei's tasks last whole minutes, and its control calls of a day are 100.
LENGTHS_S = {"alphaess": (30, 60), "huawei": (60, 120), "xolta": (30, 60)}


def site_name(vendor: str, number: int) -> str:
    return f"{vendor} {number}"


def device_id(vendor: str, number: int) -> str:
    return f"NE={vendor}{number}"


def site_of(vendor: str, number: int) -> Site:
    """A battery so large that no run fills or empties it."""
    return Site(
        name=site_name(vendor, number),
        battery=Battery(capacity_kwh=60.0, max_charge_kw=5.0, max_discharge_kw=5.0, min_soc=0.1),
        grid=GridConnection(import_limit_kw=17.0, export_limit_kw=17.0),
    )


def wanted(vendor: str, number: int, seed: int, begin: dt.datetime, seconds: float) -> list[Intent]:
    """What is wanted of a site, one after the other without a gap."""
    chance = random.Random(f"{seed}/{vendor}/{number}")
    modes = islice(cycle(MODES), chance.randrange(len(MODES)), None)
    found, at, end = [], begin, begin + dt.timedelta(seconds=seconds)
    while at < end:
        until = at + dt.timedelta(seconds=chance.randint(*LENGTHS_S[vendor]))
        mode, power_kw = next(modes), round(chance.uniform(1.0, 4.5), 1)
        moves = mode in (IntentMode.CHARGE, IntentMode.DISCHARGE)
        found.append(Intent(mode, power_kw if moves else 0.0, at, until))
        at = until
    return found


def put_plans(db: Database, clock: Clock, seed: int, begin: dt.datetime, seconds: float) -> None:
    """Put what is wanted of all sites into the store, as a person does."""
    for vendor, count in SITES.items():
        for number in range(count):
            for intent in wanted(vendor, number, seed, begin, seconds):
                set_override(db, clock, site_name(vendor, number), intent, "chaos", "to and fro")

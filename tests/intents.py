"""The modes by short names, and plans that are written as powers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

from engine.intent import Intent, IntentMode

START = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)
QUARTER = dt.timedelta(minutes=15)
CHARGE, DISCHARGE, HOLD, FOLLOW = (
    IntentMode.CHARGE,
    IntentMode.DISCHARGE,
    IntentMode.HOLD,
    IntentMode.SELF_CONSUMPTION,
)


def plan(*powers_kw: float | None, start: dt.datetime = START, limits_kw: Sequence[float | None] = ()) -> list[Intent]:
    """Quarters of an hour: + discharges, - charges, 0 holds, None follows the house; the first ones limit export."""
    intents = []
    for place, power_kw in enumerate(powers_kw):
        begin = start + place * QUARTER
        if power_kw is None or power_kw == 0:
            intents.append(Intent(FOLLOW if power_kw is None else HOLD, 0.0, begin, begin + QUARTER))
        else:
            mode = DISCHARGE if power_kw > 0 else CHARGE
            intents.append(Intent(mode, abs(power_kw), begin, begin + QUARTER, 0.1 if power_kw > 0 else 0.9))
    limited = [replace(intent, export_limit_kw=kw) for intent, kw in zip(intents, limits_kw, strict=False)]
    return limited + intents[len(limited) :]

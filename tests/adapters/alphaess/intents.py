"""Intents, a reading, and settings of an adapter that reaches nobody."""

from __future__ import annotations

import datetime as dt

from adapters.contract import Channel, Telemetry
from engine.intent import Intent, IntentMode
from tests.intents import START

NOWHERE = {
    "base_url": "http://127.0.0.1:1",
    "api_account": "apiacct01",
    "api_secret": "secret",
    "username": "installer01",
    "password": "pass1234",
}


def intent(mode, power_kw=0.0, until_soc=None):
    return Intent(mode, power_kw, START, START + dt.timedelta(minutes=15), until_soc)


def charge(power_kw, until_soc=0.9):
    return intent(IntentMode.CHARGE, power_kw, until_soc)


def discharge(power_kw, until_soc=0.1):
    return intent(IntentMode.DISCHARGE, power_kw, until_soc)


HOLD = intent(IntentMode.HOLD)
FOLLOW = intent(IntentMode.SELF_CONSUMPTION)


def reading(**values):
    return Telemetry(channel=Channel.STATE, measured_at=START, **values)

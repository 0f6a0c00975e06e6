"""Every switch of the emulators at every vendor: a typed outcome in bounded time, no secret told, and work again after.

What comes of each is written down, so that another outcome is noticed where it is typed too. What the physical faults
mean is judged above the adapters, by effect: `tests/schedules/test_effect_under_faults.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time

import pytest

from adapters.contract import (
    Accepted,
    AdapterError,
    Channel,
    ConfigurationError,
    Dispatchable,
    QuotaExceededError,
    Rejected,
    Telemetry,
    Unknown,
    VendorUnavailableError,
)
from adapters.emulation import Faults
from adapters.huawei.errors import NotLoggedInError
from adapters.testing import installed
from adapters.testing.bench import TIMEOUT_S, Bench
from adapters.testing.case import first_drive
from adapters.testing.cases.secrets import listening, told

# Three tries of a call and of a login before it, and some seconds for two busy cores.
LONGEST_S = 6 * TIMEOUT_S + 3
# Longer than any penalty or pause that a vendor or an adapter keeps.
ALL_IS_OVER_S = 4000
SUBJECTS = {subject.name: subject for subject in installed()}
FAULTS = {
    "late": {"latency_s": 20},
    "down": {"server_error_share": 1},
    "answer lost": {"lost_answers": 1},
    "too frequent": {"rate_limited": True},
    "long ban": {"rate_limited": True, "ban_s": 900},
    "session stolen": {"session_stolen": True},
    "token expired": {"tokens_expired": True},
    "clock behind": {"clock_skew_s": -400},
    "clock ahead": {"clock_skew_s": 400},
    "applied after 5 s": {"apply_delay_s": 5},
    "applied after 120 s": {"apply_delay_s": 120},
    "applied in part": {"applied_share": 0.5},
    "ignored": {"commands_ignored": True},
    "lapses early": {"lapses_after_s": 20},
    "frozen": {"frozen": True},
    "text": {"numbers_as": "text"},
    "null": {"numbers_as": "null"},
    "n/a": {"numbers_as": "n/a"},
    "sign flipped": {"battery_sign_flipped": True},
    "W for kW": {"power_factor": 1000},
    "SOC jumps": {"soc_jump": 0.3},
    "PV throttled": {"pv_throttled": True},
    "odd JSON": {"odd_json": True},
}
ALL = "any vendor"
# What a read ends in where it is no reading, and a command where it is not accepted.
READS = {
    ("late", ALL): VendorUnavailableError,
    ("down", ALL): VendorUnavailableError,
    ("too frequent", ALL): QuotaExceededError,
    ("too frequent", "alphaess"): Telemetry,  # no limit in its document
    ("too frequent", "ingeteam"): VendorUnavailableError,
    ("long ban", ALL): QuotaExceededError,
    ("long ban", "alphaess"): Telemetry,
    ("long ban", "ingeteam"): VendorUnavailableError,
    ("session stolen", "alphaess"): VendorUnavailableError,
    ("session stolen", "huawei"): NotLoggedInError,
    ("token expired", "alphaess"): VendorUnavailableError,
    ("token expired", "huawei"): NotLoggedInError,
    ("token expired", "solax"): ConfigurationError,  # somebody has to copy a new one from the portal
    ("token expired", "xolta"): ConfigurationError,
}
WRITES = {
    ("late", ALL): Unknown,
    ("down", ALL): Unknown,
    ("answer lost", ALL): Unknown,
    ("too frequent", ALL): Rejected,
    ("too frequent", "alphaess"): Accepted,
    ("long ban", ALL): Rejected,
    ("long ban", "alphaess"): Accepted,
    ("session stolen", ALL): Rejected,
    ("session stolen", "xolta"): Accepted,  # its tokens are no sessions
    ("token expired", ALL): Rejected,
    ("clock behind", "alphaess"): Rejected,  # signed with a time that the vendor refuses
    ("clock ahead", "alphaess"): Rejected,
}
# A token that a person has to replace is not tried again, so that this one does not come back by itself.
STAYS_OUT = {("token expired", "solax")}


def wanted(table, fault, vendor, otherwise):
    return table.get((fault, vendor), table.get((fault, ALL), otherwise))


async def timed(call, times):
    begin = time.monotonic()
    try:
        return await call
    except AdapterError as error:
        logging.getLogger("adapters").exception("a read failed")
        return error
    finally:
        times.append(time.monotonic() - begin)


def test_every_switch_is_here():
    # The same as "late" and "answer lost", by chance: for tests under load.
    by_chance = {"latency_tail_s", "lost_share"}
    assert {switch for faults in FAULTS.values() for switch in faults} | by_chance == set(Faults.model_fields)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("vendor", sorted(SUBJECTS))
def test_every_fault_ends_typed_and_soon_and_tells_no_secret(vendor, fault):
    bench = Bench(SUBJECTS[vendor], load_kw=1.0, pv_kw=0.6, soc=0.5, sites=1)
    times, outcomes = [], []

    async def story():
        async with bench.open():
            adapter = bench.adapter
            drives = isinstance(adapter, Dispatchable)
            await bench.read_all()  # logged in
            bench.step(2 * bench.longest_cadence_s)
            bench.switch(**FAULTS[fault])
            receipt = None
            if drives:
                command = adapter.translate(bench.intent(*first_drive(bench)), bench.device(), None)
                receipt = await timed(adapter.send(command), times)
            readings = []
            for channel in Channel:
                bench.step(2 * bench.longest_cadence_s)
                readings.append(await timed(adapter.read(bench.device(), channel), times))
            outcomes.extend([receipt, *readings, adapter])
            bench.switch()
            bench.step(ALL_IS_OVER_S)
            again = await timed(adapter.read(bench.device(), Channel.POWER), times)
            return drives, receipt, readings, again

    with listening() as ear:
        drives, receipt, readings, again = asyncio.run(story())

    expected = wanted(READS, fault, vendor, Telemetry)
    assert [isinstance(reading, expected) for reading in readings] == [True, True], readings
    if drives:
        assert isinstance(receipt, wanted(WRITES, fault, vendor, Accepted)), receipt
    assert max(times) < LONGEST_S
    if (fault, vendor) in STAYS_OUT:
        assert isinstance(again, ConfigurationError)
    else:
        assert again.battery_kw is not None
    secrets = bench.secrets | set(bench.secret_settings().values())
    assert secrets
    seen = [*map(told, [*outcomes, again]), *ear.heard, json.dumps(bench.log.events), json.dumps(bench.cloud.state())]
    assert not [secret for secret in secrets if any(secret in text for text in seen)]

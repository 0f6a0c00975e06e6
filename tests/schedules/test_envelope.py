from __future__ import annotations

import datetime as dt
import itertools

import pandas as pd
import pytest

from adapters.contract import Channel, Telemetry
from engine import Battery, Site, optimise
from engine.intent import Intent, IntentMode
from engine.plant import Plant, PlantCommand, PlantMode
from schedules.confirmation import Tolerance, judge
from schedules.envelope import Envelope, Seen, applied, learned
from schedules.store import SiteRow, Verdict
from schedules.verdicts import confirm

BEGIN = dt.datetime(2024, 4, 10, 12, 0, tzinfo=dt.UTC)
NAMEPLATE = Battery(capacity_kwh=10.0, max_charge_kw=5.0, max_discharge_kw=5.0, min_soc=0.05)
# As some managements do it: 5 kW up to 88 %, falling to 0.2 kW; and the mirror image near empty.
TAPERS = NAMEPLATE.model_copy(
    update={
        "charge_kw_at_soc": ((0.88, 5.0), (1.0, 0.2)),
        "discharge_kw_at_soc": ((0.0, 0.2), (0.17, 5.0)),
    }
)
NOTHING = Envelope({}, {})
TOLERANCE = Tolerance()


def at(minutes: float) -> dt.datetime:
    return BEGIN + dt.timedelta(minutes=minutes)


def driven(power_kw: float, soc: float, minutes: int = 30, begin: float = 0) -> tuple[Intent, list[Telemetry]]:
    """An order to a battery that tapers, and what is shown of it each minute."""
    mode = IntentMode.CHARGE if power_kw < 0 else IntentMode.DISCHARGE
    plant = Plant(TAPERS, soc, PlantCommand(PlantMode.SET_POINT, power_kw))
    readings = []
    for minute in range(1, minutes + 1):
        sample = plant.run(60, 0.5, 0.0)
        powers = {"battery_kw": round(sample.battery_kw, 3), "load_kw": 0.5, "pv_kw": 0.0}
        readings.append(Telemetry(Channel.STATE, at(begin + minute), **powers, soc=round(sample.soc, 3)))
    return Intent(mode, abs(power_kw), at(begin), at(begin + minutes)), readings


def taught(power_kw: float, soc: float, envelope: Envelope = NOTHING) -> Envelope:
    intent, readings = driven(power_kw, soc, minutes=90)
    return learned(envelope, NAMEPLATE, intent, readings, BEGIN, TOLERANCE)


def test_the_taper_near_full_is_learned_to_within_a_tenth():
    battery = applied(taught(-5.0, 0.75), NAMEPLATE, at(30))
    for soc in (0.85, 0.90, 0.93, 0.96):
        assert battery.charge_limit_kw(soc) == pytest.approx(TAPERS.charge_limit_kw(soc), abs=0.5)
    assert battery.discharge_kw_at_soc == ()


def test_the_taper_near_empty_is_learned_to_within_a_tenth():
    battery = applied(taught(5.0, 0.35), NAMEPLATE, at(30))
    for soc in (0.20, 0.12, 0.09):
        assert battery.discharge_limit_kw(soc) == pytest.approx(TAPERS.discharge_limit_kw(soc), abs=0.5)
    assert battery.charge_kw_at_soc == ()


def test_a_battery_that_does_as_told_teaches_nothing():
    intent, readings = driven(-2.0, 0.80, minutes=10)
    envelope = learned(NOTHING, NAMEPLATE, intent, readings, BEGIN, TOLERANCE)
    assert applied(envelope, NAMEPLATE, at(30)) is NAMEPLATE


@pytest.mark.parametrize("battery_kw", [0.0, 0.5], ids=["stopped", "follows the house"])
def test_a_battery_that_does_not_obey_teaches_nothing(battery_kw):
    intent, _ = driven(-5.0, 0.9)
    idle = [Telemetry(Channel.STATE, at(n), battery_kw, load_kw=0.5, pv_kw=0.0, soc=0.9) for n in range(1, 20)]
    assert learned(NOTHING, NAMEPLATE, intent, idle, BEGIN, TOLERANCE).near_full == {}


def test_less_in_the_middle_is_a_failure_and_not_learned():
    intent, _ = driven(-5.0, 0.5)
    half = [Telemetry(Channel.STATE, at(n), -2.5, load_kw=0.5, pv_kw=0.0, soc=0.5) for n in range(1, 20)]
    assert learned(NOTHING, NAMEPLATE, intent, half, BEGIN, TOLERANCE).near_full == {}


def test_each_reading_is_learned_from_once():
    intent, readings = driven(-5.0, 0.75)
    once = learned(NOTHING, NAMEPLATE, intent, readings, BEGIN, TOLERANCE)
    assert learned(once, NAMEPLATE, intent, readings, BEGIN, TOLERANCE) == once
    bit_by_bit = NOTHING
    for end in range(len(readings)):
        bit_by_bit = learned(bit_by_bit, NAMEPLATE, intent, readings[: end + 1], BEGIN, TOLERANCE)
    assert bit_by_bit == once


def test_what_is_not_seen_again_is_forgotten_in_weeks():
    envelope = taught(-5.0, 0.75)
    limits = [applied(envelope, NAMEPLATE, at(30 + 1440 * day)).charge_limit_kw(0.97) for day in (0, 7, 14, 28, 60)]
    assert all(earlier < later for earlier, later in itertools.pairwise(limits[:4]))
    assert limits[-1] == NAMEPLATE.max_charge_kw


def test_a_battery_that_gives_more_than_was_learned_is_believed_at_once():
    low = Envelope({46: Seen(1.0, BEGIN)}, {}, BEGIN)
    intent, _ = driven(-4.0, 0.92)
    more = [Telemetry(Channel.STATE, at(n), -4.0, load_kw=0.5, pv_kw=0.0, soc=0.93) for n in range(1, 4)]
    assert learned(low, NAMEPLATE, intent, more, BEGIN, TOLERANCE).near_full[46].kw == 4.0


def test_what_the_owner_wrote_down_is_not_touched():
    assert applied(taught(-5.0, 0.75), TAPERS, at(30)) is TAPERS


def test_it_is_stored_as_it_is():
    envelope = taught(5.0, 0.35, taught(-5.0, 0.75))
    assert Envelope.from_json(envelope.as_json()) == envelope
    assert Envelope.from_json(NOTHING.as_json()) == NOTHING


def test_a_second_charge_is_limited_by_the_device_and_no_failure():
    intent, readings = driven(-5.0, 0.90, minutes=5)
    alone = judge(intent, NAMEPLATE, readings, BEGIN, 20.0)
    battery = applied(taught(-5.0, 0.75), NAMEPLATE, at(30))
    assert (alone, judge(intent, battery, readings, BEGIN, 20.0)) == (Verdict.NOT_EFFECTIVE, Verdict.DEVICE_LIMITED)


def test_the_next_plan_keeps_to_what_was_learned():
    battery = applied(taught(5.0, 0.35, taught(-5.0, 0.75)), NAMEPLATE, at(30))
    index = pd.date_range(BEGIN, periods=16, freq="15min")
    price = pd.Series([0.05] * 8 + [0.50] * 8, index)
    plan = optimise(
        Site(battery=battery),
        import_price=price,
        export_price=price - 0.02,
        load=pd.Series(0.5, index),
        initial_soc=0.6,
    )
    for row in plan.table.itertuples():
        assert row.charge_kw <= battery.charge_limit_kw(row.soc) + 1e-6
        assert row.discharge_kw <= battery.discharge_limit_kw(row.soc) + 1e-6
    assert plan.table["soc"].max() > 0.9
    assert plan.table["discharge_kw"].max() > 1


def test_confirming_learns_and_keeps_it_in_the_store(bench):
    bench.battery.plant.battery = bench.battery.plant.battery.model_copy(
        update={"charge_kw_at_soc": ((0.85, 5.0), (1.0, 1.0))}
    )
    bench.battery.plant.soc = 0.86
    bench.plan(bench.intent("charge", 5.0, 0, 900))
    for _ in range(15):
        bench.tick()
        bench.move(15)
        bench.tick()
        bench.move(15)
        bench.read()
        confirm(bench.db, bench.clock, [bench.target])
    with bench.db.session() as session:
        stored = session.get_one(SiteRow, bench.target.id).envelope
    assert Envelope.from_json(stored).near_full

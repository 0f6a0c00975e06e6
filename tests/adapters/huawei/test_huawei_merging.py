"""A plan within a budget of calls: exact, honest about what it costs, and carried by the emulated cloud."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.contract import Accepted, IntentRefusedError
from adapters.huawei.adapter import create
from adapters.huawei.merging import REST_MISMATCH_KW, energy_deviation, merge
from adapters.huawei.merging import _merged as merged_options
from engine.intent import Intent, IntentMode

START = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)
QUARTER = dt.timedelta(minutes=15)
CHARGE, DISCHARGE, HOLD, FOLLOW = (
    IntentMode.CHARGE,
    IntentMode.DISCHARGE,
    IntentMode.HOLD,
    IntentMode.SELF_CONSUMPTION,
)


def plan(*powers_kw, start=START):
    """Quarters of an hour: + discharges, - charges, 0 holds, None follows the house."""
    intents = []
    for place, power_kw in enumerate(powers_kw):
        begin = start + place * QUARTER
        if power_kw is None or power_kw == 0:
            intents.append(Intent(FOLLOW if power_kw is None else HOLD, 0.0, begin, begin + QUARTER))
        else:
            mode = DISCHARGE if power_kw > 0 else CHARGE
            intents.append(Intent(mode, abs(power_kw), begin, begin + QUARTER, 0.1 if power_kw > 0 else 0.9))
    return intents


def one_call(intent):
    return int(intent.mode in (CHARGE, DISCHARGE))


def shapes(merging):
    return [(s.first, s.last, s.intent.mode, s.intent.power_kw) for s in merging.segments]


def test_equal_neighbours_become_one_for_nothing():
    merging = merge(plan(2, 2, 2, None, None, -1, -1), 10, one_call)

    assert shapes(merging) == [(0, 2, DISCHARGE, 2), (3, 4, FOLLOW, 0), (5, 6, CHARGE, 1)]
    assert (merging.calls, merging.calls_unmerged, merging.loss, merging.deviation_kwh) == (2, 2, 0, 0)
    assert [s.intent.until_soc for s in merging.segments] == [0.1, None, 0.9]


def test_a_tight_budget_merges_what_costs_least():
    merging = merge(plan(2, 2.2, 5, 5), 2, one_call)

    assert [(s.first, s.last) for s in merging.segments] == [(0, 1), (2, 3)]
    assert (merging.calls, merging.calls_unmerged) == (2, 3)
    assert merging.loss == pytest.approx(0.05), "0.2 kW for a quarter of an hour"


def test_without_calls_the_battery_rests():
    merging = merge(plan(2, 2, -1), 0, one_call)

    assert shapes(merging) == [(0, 2, FOLLOW, 0)]
    assert merging.deviation_kwh == pytest.approx(1.25)
    with pytest.raises(ValueError, match="budget"):
        merge(plan(2, 2), 0, lambda _: 1)


def test_money_decides_where_it_is_given():
    intents = plan(1, 5)
    prices = [10.0, 0.1]

    def loss(first, last, merged):
        return sum(
            prices[place] * abs(intents[place].battery_kw - merged.battery_kw) for place in range(first, last + 1)
        )

    by_energy, by_money = merge(intents, 1, one_call), merge(intents, 1, one_call, loss=loss)

    assert shapes(by_energy) == [(0, 0, FOLLOW, 0), (1, 1, DISCHARGE, 5)]
    assert shapes(by_money) == [(0, 1, DISCHARGE, 1)]
    assert by_money.loss == pytest.approx(0.4)
    assert by_money.deviation_kwh == pytest.approx(1.0), "the energy is told in any case"


def test_stretches_with_a_gap_or_over_a_day_stay_apart():
    apart = plan(2, 2) + plan(2, 2, start=START + dt.timedelta(hours=1))
    assert [(s.first, s.last) for s in merge(apart, 9, one_call).segments] == [(0, 1), (2, 3)]

    long = merge(plan(*[2] * 120), 9, one_call)
    assert long.calls == 2
    assert all(s.intent.not_after - s.intent.not_before <= dt.timedelta(hours=24) for s in long.segments)


def test_nothing_is_merged_into_nothing():
    assert merge([], 5, one_call).segments == ()


powers = st.lists(st.sampled_from([None, 0, 1, 2, 5, -1, -3]), min_size=1, max_size=6)


@settings(max_examples=150)
@given(powers, st.integers(0, 6), st.sampled_from([(FOLLOW,), (FOLLOW, HOLD)]))
def test_no_other_way_to_cut_the_plan_loses_less(planned, budget, rests):
    """Against brute force over all cuts and all options of each part."""
    intents, loss = plan(*planned), energy_deviation(plan(*planned))
    merging = merge(intents, budget, one_call, rests)

    best = float("inf")
    count = len(intents)
    for cuts in itertools.product([False, True], repeat=count - 1):
        edges = [0, *[place + 1 for place, cut in enumerate(cuts) if cut], count]
        parts = [
            [(loss(a, b - 1, option), one_call(option)) for option in merged_options(intents[a:b], rests)]
            for a, b in itertools.pairwise(edges)
        ]
        for choice in itertools.product(*parts):
            if sum(calls for _, calls in choice) <= budget:
                best = min(best, sum(cost for cost, _ in choice))
    assert merging.loss == pytest.approx(best)
    assert merging.calls <= budget


@settings(max_examples=100)
@given(powers, st.integers(0, 6))
def test_segments_cover_the_plan_once(planned, budget):
    intents = plan(*planned)
    merging = merge(intents, budget, one_call)

    places = [place for s in merging.segments for place in range(s.first, s.last + 1)]
    assert places == list(range(len(intents)))
    assert merging.segments[0].intent.not_before == intents[0].not_before
    assert merging.segments[-1].intent.not_after == intents[-1].not_after
    assert merging.loss == pytest.approx(sum(s.loss for s in merging.segments))
    assert merging.loss >= 0
    more = merge(intents, budget + 1, one_call)
    assert more.loss <= merging.loss + 1e-9, "one more call never costs more"


def test_resting_in_the_wrong_way_is_not_free():
    loss = energy_deviation(plan(None))
    assert loss(0, 0, plan(0)[0]) == pytest.approx(REST_MISMATCH_KW / 4)


# --- as a schedule ---


@pytest.fixture
def offline():
    def build(**changes):
        given_settings = {
            "base_url": "http://127.0.0.1:1",
            "client_id": "1",
            "client_secret": "s",
            "redirect_url": "https://r/",
            **changes,
        }
        return create(given_settings, lambda: START)

    return build


def test_a_day_of_96_intents_fits_the_day(offline, plant_device):
    restless = [((place * 7919) % 9 - 4) * 0.9 or None for place in range(96)]
    sendings, merging = offline().schedule_with(plan(*restless), plant_device(), None)

    assert merging.calls <= 95, "a hundred, less the reserve"
    assert merging.calls_unmerged > 95
    assert len(sendings) == merging.calls // 3, "a task, a stop before it, a question about it"
    assert all(0 < s.command.payload["dispatchTime"] <= 1440 for s in sendings)
    assert [s.send_at for s in sendings] == sorted(s.send_at for s in sendings)
    assert all(s.send_at < s.not_after <= s.send_at + dt.timedelta(minutes=3) for s in sendings)
    cheap = offline(status_polls_count=False, stop_before_same_signal=False)
    assert cheap.schedule_with(plan(*restless), plant_device(), None)[1].loss < merging.loss


def test_plants_that_share_a_quota_get_their_part(offline, plant_device):
    restless = [(place % 5 + 1) * 0.7 for place in range(96)]
    _, merging = offline(plants_sharing_quota=4).schedule_with(plan(*restless), plant_device(), None)

    assert merging.calls <= 95 // 4


def test_resting_needs_no_call_and_holding_a_prepared_plant(offline, plant_device):
    assert offline().schedule(plan(None, None), plant_device(), None) == []
    assert offline().schedule([], plant_device(), None) == []
    with pytest.raises(IntentRefusedError, match="prepare_neutral_idle"):
        offline().schedule(plan(2, 0), plant_device(), None)
    assert len(offline(neutral_idle_plants=["NE=1"]).schedule(plan(2, 0), plant_device(), None)) == 1
    with pytest.raises(IntentRefusedError, match="rating"):
        offline().schedule(plan(2, 9), plant_device(), None)


def test_a_schedule_moves_the_battery_as_planned(emulate_huawei, plant_device):
    world = emulate_huawei()
    planned = [-2, -2, None, None, 3, 3, 3, None]

    async def session(adapter):
        sendings = adapter.schedule(plan(*planned), plant_device(), None)
        powers_kw = []
        for place in range(len(planned)):
            while sendings and sendings[0].send_at <= world.clock.now():
                assert isinstance(await adapter.send(sendings.pop(0).command), Accepted)
            world.after(450)
            powers_kw.append(world.battery_kw())
            world.after(450)
            assert world.clock.now() == START + (place + 1) * QUARTER
        return powers_kw

    assert world.run(session) == pytest.approx([1.0 if kw is None else kw for kw in planned], abs=0.01)
    assert world.calls("async-task") == 4, "each task and the stop before it, as reckoned"


def test_a_plan_that_begins_with_rest_stops_what_still_runs(emulate_huawei, plant_device):
    world = emulate_huawei()

    async def session(adapter):
        (first,) = adapter.schedule(plan(*[2] * 8), plant_device(), None)
        await adapter.send(first.command)
        world.after(900)
        later = plan(None, None, 3, start=world.clock.now())
        return [sending.command.releases for sending in adapter.schedule(later, plant_device(), None)]

    assert world.run(session) == [True, False]

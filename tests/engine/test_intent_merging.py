"""A plan within a budget of calls: exact, and honest about what it costs."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.intent import IntentMode
from engine.intent_merging import LIMIT_MISMATCH_KW, REST_MISMATCH_KW, CallCosts, energy_deviation, merge
from engine.intent_merging import _merged as merged_options
from tests.intents import CHARGE, DISCHARGE, FOLLOW, HOLD, START, plan

ONE_CALL = CallCosts({CHARGE: 1, DISCHARGE: 1, FOLLOW: 0})


def shapes(merging):
    return [(s.first, s.last, s.intent.mode, s.intent.power_kw) for s in merging.segments]


def test_equal_neighbours_become_one_for_nothing():
    merging = merge(plan(2, 2, 2, None, None, -1, -1), 10, ONE_CALL)

    assert shapes(merging) == [(0, 2, DISCHARGE, 2), (3, 4, FOLLOW, 0), (5, 6, CHARGE, 1)]
    assert (merging.calls, merging.calls_unmerged, merging.loss, merging.deviation_kwh) == (2, 2, 0, 0)
    assert [s.intent.until_soc for s in merging.segments] == [0.1, None, 0.9]


def test_a_tight_budget_merges_what_costs_least():
    merging = merge(plan(2, 2.2, 5, 5), 2, ONE_CALL)

    assert [(s.first, s.last) for s in merging.segments] == [(0, 1), (2, 3)]
    assert (merging.calls, merging.calls_unmerged) == (2, 3)
    assert merging.loss == pytest.approx(0.05), "0.2 kW for a quarter of an hour"


def test_without_calls_the_battery_rests():
    merging = merge(plan(2, 2, -1), 0, ONE_CALL)

    assert shapes(merging) == [(0, 2, FOLLOW, 0)]
    assert merging.deviation_kwh == pytest.approx(1.25)
    with pytest.raises(ValueError, match="budget"):
        merge(plan(2, 2), 0, CallCosts({CHARGE: 1, DISCHARGE: 1, FOLLOW: 1}))


def test_money_decides_where_it_is_given():
    intents = plan(1, 5)
    prices = [10.0, 0.1]

    def loss(first, last, merged):
        return sum(
            prices[place] * abs(intents[place].battery_kw - merged.battery_kw) for place in range(first, last + 1)
        )

    by_energy, by_money = merge(intents, 1, ONE_CALL), merge(intents, 1, ONE_CALL, loss=loss)

    assert shapes(by_energy) == [(0, 0, FOLLOW, 0), (1, 1, DISCHARGE, 5)]
    assert shapes(by_money) == [(0, 1, DISCHARGE, 1)]
    assert by_money.loss == pytest.approx(0.4)
    assert by_money.deviation_kwh == pytest.approx(1.0), "the energy is told in any case"


def test_stretches_with_a_gap_or_over_a_day_stay_apart():
    apart = plan(2, 2) + plan(2, 2, start=START + dt.timedelta(hours=1))
    assert [(s.first, s.last) for s in merge(apart, 9, ONE_CALL).segments] == [(0, 1), (2, 3)]

    long = merge(plan(*[2] * 120), 9, ONE_CALL)
    assert long.calls == 2
    assert all(s.intent.not_after - s.intent.not_before <= dt.timedelta(hours=24) for s in long.segments)


def test_nothing_is_merged_into_nothing():
    assert merge([], 5, ONE_CALL).segments == ()


def test_stretches_with_other_limits_of_export_stay_apart():
    merging = merge(
        plan(None, None, None, -1, -1, limits_kw=[None, 0.0, 0.0, 0.0, None]), 9, replace(ONE_CALL, per_limit=1)
    )

    found = [(s.first, s.last, s.intent.mode, s.intent.export_limit_kw) for s in merging.segments]
    assert found == [(0, 0, FOLLOW, None), (1, 2, FOLLOW, 0.0), (3, 3, CHARGE, 0.0), (4, 4, CHARGE, None)]
    assert merging.loss == 0
    assert [s.calls for s in merging.segments] == [0, 1, 1, 2], "a limit costs a call, and so does lifting it"
    assert merging.calls == merging.calls_unmerged == 4


def test_a_limit_that_the_calls_do_not_reach_for_is_dropped_and_its_loss_is_told():
    intents = plan(None, None, None, limits_kw=[None, 0.0, None])
    merging = merge(intents, 1, replace(ONE_CALL, per_limit=1))

    assert {s.intent.export_limit_kw for s in merging.segments} == {None}
    assert merging.loss == pytest.approx(LIMIT_MISMATCH_KW / 4)


powers = st.lists(st.sampled_from([None, 0, 1, 2, 5, -1, -3]), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    powers,
    st.lists(st.sampled_from([None, 0.0, 1.5]), max_size=4),
    st.integers(0, 6),
    st.sampled_from(
        [
            ONE_CALL,
            CallCosts({**ONE_CALL.per_intent, HOLD: 0}),
            CallCosts({CHARGE: 2, DISCHARGE: 1, FOLLOW: 1, HOLD: 0}),
            CallCosts({CHARGE: 1, DISCHARGE: 1, FOLLOW: 0, HOLD: 0}, behind_another=1),
            CallCosts({CHARGE: 1, DISCHARGE: 1, FOLLOW: 0, HOLD: 1}, 1, stopped_for=frozenset(IntentMode)),
            CallCosts({CHARGE: 1, DISCHARGE: 1, FOLLOW: 0}, 1, per_limit=1),
        ]
    ),
)
def test_no_other_way_to_cut_the_plan_loses_less(planned, limits_kw, budget, costs):
    """Against brute force over all cuts and all options of each part."""
    intents = plan(*planned, limits_kw=limits_kw[: len(planned)])
    loss = energy_deviation(intents)
    merging = merge(intents, budget, costs)

    best = float("inf")
    count = len(intents)
    for cuts in itertools.product([False, True], repeat=count - 1):
        edges = [0, *[place + 1 for place, cut in enumerate(cuts) if cut], count]
        parts = [
            [(loss(a, b - 1, option), option) for option in merged_options(intents[a:b], costs.per_intent.keys())]
            for a, b in itertools.pairwise(edges)
        ]
        for choice in itertools.product(*parts):
            befores = [(None, None), *((option.mode, option.export_limit_kw) for _, option in choice)]
            calls = sum(costs.calls(option, *before) for (_, option), before in zip(choice, befores, strict=False))
            if calls <= budget:
                best = min(best, sum(cost for cost, _ in choice))
    assert merging.loss == pytest.approx(best)
    assert merging.calls <= budget


@settings(max_examples=100)
@given(powers, st.integers(0, 6))
def test_segments_cover_the_plan_once(planned, budget):
    intents = plan(*planned)
    merging = merge(intents, budget, ONE_CALL)

    places = [place for s in merging.segments for place in range(s.first, s.last + 1)]
    assert places == list(range(len(intents)))
    assert merging.segments[0].intent.not_before == intents[0].not_before
    assert merging.segments[-1].intent.not_after == intents[-1].not_after
    assert merging.loss == pytest.approx(sum(s.loss for s in merging.segments))
    assert merging.loss >= 0
    more = merge(intents, budget + 1, ONE_CALL)
    assert more.loss <= merging.loss + 1e-9, "one more call never costs more"


def test_resting_in_the_wrong_way_is_not_free():
    loss = energy_deviation(plan(None))
    assert loss(0, 0, plan(0)[0]) == pytest.approx(REST_MISMATCH_KW / 4)

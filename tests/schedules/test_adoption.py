from __future__ import annotations

import pandas as pd
import pytest

from adapters.contract import Channel
from schedules.adoption import Threshold
from schedules.jobs import plan_site
from schedules.sites import register_site

NEVER = Threshold(eur=1e9)


@pytest.fixture
def planned(bench, series):
    """A bench with a first plan in force."""
    bench.read(Channel.STATE)
    plan(bench, series)
    return bench


def plan(bench, series, **options):
    return plan_site(bench.db, bench.clock, bench.target, series, "test", **options)


def in_force(bench) -> set[int | None]:
    return {row.plan_id for row in bench.intents() if not row.superseded and row.not_after > bench.clock()}


def test_the_first_plan_is_taken_and_has_no_older_figure(planned):
    (row,) = planned.plans()
    assert (row.adopted, row.older_cost_eur) == (True, None)


def test_the_same_plan_again_is_kept_for_the_record_only(planned, series):
    plan(planned, series)
    first, second = planned.plans()
    assert not second.adopted
    assert second.older_cost_eur == pytest.approx(second.cost_eur + first.translation_loss_eur, abs=1e-9)
    assert in_force(planned) == {first.id}


def test_better_prices_are_worth_a_new_plan_and_both_figures_are_kept(planned, series):
    # What was to be dear is now cheap, and the other way round.
    turned = series.assign(import_price_eur_per_kwh=[0.45] * 4 + [0.10] * 8, export_price_eur_per_kwh=0.05)
    plan(planned, turned)
    _, second = planned.plans()
    assert second.adopted
    assert second.older_cost_eur > second.cost_eur + 0.1
    assert in_force(planned) == {second.id}


def test_a_gain_of_cents_is_not_worth_it_and_the_threshold_decides(planned, series):
    nudged = series.assign(import_price_eur_per_kwh=[0.45, 0.10, 0.10, 0.10] + [0.45] * 8)
    plan(planned, nudged, threshold=NEVER)
    gain_eur = planned.plans()[-1].older_cost_eur - planned.plans()[-1].cost_eur
    assert gain_eur > 0.02
    assert in_force(planned) == {1}
    plan(planned, nudged, threshold=Threshold(eur=gain_eur + 0.01, share=0.0))
    assert in_force(planned) == {1}
    plan(planned, nudged, threshold=Threshold(eur=0.0, share=2.0))
    assert in_force(planned) == {1}
    plan(planned, nudged, threshold=Threshold(eur=gain_eur - 0.01, share=0.0))
    assert in_force(planned) == {4 + 1}


def test_a_person_may_want_the_new_one_whatever_it_gains(planned, series):
    plan(planned, series, threshold=None)
    assert in_force(planned) == {2}


def test_a_longer_horizon_is_taken(planned, series):
    longer = pd.concat([series, series.set_axis(series.index + pd.Timedelta("3h"))])
    plan(planned, longer, threshold=NEVER)
    assert planned.plans()[-1].adopted
    assert planned.plans()[-1].older_cost_eur is None


def test_a_plan_that_is_over_is_no_rival(planned, series):
    planned.move(4 * 3600)
    planned.keep_state(0.5)
    later = series.set_axis(series.index + pd.Timedelta("4h"))
    plan(planned, later, threshold=NEVER)
    assert planned.plans()[-1].adopted


def test_a_plan_that_the_true_state_of_charge_cannot_carry_is_replaced(planned, series):
    planned.move(4 * 900)  # the cheap hour is over, and nothing has gone in
    planned.keep_state(0.12)
    plan(planned, series, threshold=NEVER)
    assert planned.plans()[-1].adopted


def test_a_plan_that_would_break_the_connection_is_replaced(bench, series):
    site = bench.target.site
    limited = site.model_copy(update={"grid": site.grid.model_copy(update={"import_limit_kw": 6.0})})
    bench.target = register_site(bench.db, limited, bench.vendor, "scripted", "B1")
    bench.read(Channel.STATE)
    plan(bench, series)
    plan(bench, series.assign(load_kw=[4.0] * 4 + [0.9] * 8), threshold=NEVER)
    assert bench.plans()[-1].adopted


def test_the_state_of_charge_is_held_against_what_is_followed(planned, series):
    nudged = series.assign(import_price_eur_per_kwh=[0.45, 0.10, 0.10, 0.10] + [0.45] * 8)
    plan(planned, nudged, threshold=NEVER)
    first, second = planned.plans()
    assert not second.adopted
    assert [i["carried_soc"] for i in second.intervals] == pytest.approx([i["carried_soc"] for i in first.intervals])
    planned.move(900)
    planned.keep_state(first.intervals[0]["carried_soc"])
    assert planned.deviation() == pytest.approx(0.0)

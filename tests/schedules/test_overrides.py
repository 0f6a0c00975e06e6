from __future__ import annotations

import datetime as dt
from collections import Counter

import pandas as pd
import pytest
from sqlalchemy import select

from engine import InputError
from engine.intent import Intent, IntentMode
from schedules import overrides
from schedules.jobs import plan_site
from schedules.overrides import cancel, in_force, set_override
from schedules.plans import current_intents, stretches_between
from schedules.registration import remove_site
from schedules.sites import register_site
from schedules.store import EventRow, SiteRow, Verdict
from schedules.verdicts import confirm


def wish(bench, mode="discharge", power_kw=2.0, begin_s=0, end_s=1800, until_soc=None, by="ada", reason="trying"):
    intent = bench.intent(mode, power_kw, begin_s, end_s, until_soc)
    return set_override(bench.db, bench.clock, "bench", intent, by, reason)


def plan(bench, series):
    bench.read()
    return plan_site(bench.db, bench.clock, bench.target, series, "test")


def wanted(bench, at_s: float):
    with bench.db.session() as session:
        found = current_intents(session, [bench.target.id], bench.at(at_s)).get(bench.target.id)
    return None if found is None else (found.mode, found.power_kw)


def events(bench) -> Counter[str]:
    with bench.db.session() as session:
        return Counter(session.scalars(select(EventRow.kind).where(EventRow.kind.startswith("override."))))


@pytest.mark.parametrize("vendor", ["solax", "ingeteam"])
def test_a_site_that_is_only_read_cannot_be_overridden(bench, vendor):
    with bench.db.write() as session:
        session.get_one(SiteRow, bench.target.id).adapter = vendor
    with pytest.raises(InputError, match=rf"site: bench is only read: {vendor} takes no commands; choose one whose"):
        wish(bench)
    assert in_force(bench.db, bench.clock) == []
    assert not events(bench)


# Precedence


def test_an_override_outranks_the_plan_while_it_lasts(bench):
    bench.plan(bench.intent("charge", 3.0, 0, 3600))
    wish(bench, begin_s=900, end_s=1800)
    times = (0, 899, 900, 1799, 1800, 3599, 3600)
    assert [wanted(bench, at) for at in times] == [
        *[("charge", 3.0)] * 2,
        *[("discharge", 2.0)] * 2,
        *[("charge", 3.0)] * 2,
        None,
    ]


def test_a_newer_plan_does_not_touch_an_override(bench, series):
    made = wish(bench, begin_s=1800, end_s=3600)
    plan(bench, series)
    assert [wanted(bench, at) == ("discharge", 2.0) for at in (1799, 1800, 3599, 3600)] == [False, True, True, False]
    assert in_force(bench.db, bench.clock) == [made]


def test_the_newer_of_two_overrides_wins(bench):
    wish(bench, power_kw=2.0, end_s=3600)
    wish(bench, power_kw=1.0, begin_s=900, end_s=1800)
    assert [wanted(bench, at) for at in (0, 900, 1800)] == [("discharge", 2.0), ("discharge", 1.0), ("discharge", 2.0)]
    stretches = stretches_between(bench.db, bench.target.id, bench.at(0), bench.at(3600))
    assert [(each.begin, each.end, each.intent.power_kw) for each in stretches] == [
        (bench.at(0), bench.at(900), 2.0),
        (bench.at(900), bench.at(1800), 1.0),
        (bench.at(1800), bench.at(3600), 2.0),
    ]


def test_the_battery_does_it_and_goes_back_to_the_plan_and_both_are_confirmed(bench):
    bench.plan(bench.intent("charge", 3.0, 0, 3600))
    wish(bench, begin_s=900, end_s=1800)
    seen = {}
    for minute in range(1, 61):
        for _ in range(4):
            bench.tick()
            bench.move(15)
        bench.read()
        confirm(bench.db, bench.clock, [bench.target])
        seen[minute] = round(bench.battery.plant.sample.battery_kw, 1)
    assert {seen[minute] for minute in range(1, 15)} == {-3.0}
    assert {seen[minute] for minute in range(17, 30)} == {2.0}
    assert {seen[minute] for minute in range(32, 60)} == {-3.0}
    assert [row.verdict for row in bench.intents()] == [Verdict.CONFIRMED, Verdict.CONFIRMED]


# What is refused


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"end_s": -1, "begin_s": -900}, "until: .* is over"),
        ({"end_s": 8 * 86400}, "until: .* more than 7 days ahead; choose one until 2024-04-17"),
        ({"power_kw": 4.1}, r"power_kw: 4.1 kW is above the rating of 4 kW; ask for at most 4 kW"),
        ({"mode": "charge", "power_kw": 5.1}, "power_kw: 5.1 kW is above the rating of 5 kW"),
        ({"until_soc": 0.05}, r"until_soc: 0.05 is outside the band 0.1..1"),
        ({"by": " "}, "by: it is empty"),
        ({"reason": ""}, "reason: it is empty"),
    ],
)
def test_what_cannot_be_is_refused_with_field_value_bound_and_way_out(bench, changes, names):
    with pytest.raises(InputError, match=names):
        wish(bench, **changes)
    assert bench.intents() == []
    assert events(bench) == {}


def test_a_site_that_was_taken_out_is_refused(bench):
    remove_site(bench.db, bench.clock, bench.target, "ada")
    with pytest.raises(InputError, match="site: value 'bench' is not in the store"):
        wish(bench)


def test_an_unknown_site_is_refused(bench):
    with pytest.raises(InputError, match="site: value 'nowhere'"):
        set_override(bench.db, bench.clock, "nowhere", bench.intent("hold", 0.0, 0, 900), "ada", "why")


def limit(bench, series, **grid) -> None:
    """Give the site a tight connection, and plan for it: the house draws 0.9 kW, and the sun gives 0.3 kW."""
    site = bench.target.site
    limited = site.model_copy(update={"grid": site.grid.model_copy(update=grid)})
    bench.target = register_site(bench.db, limited, bench.vendor, "scripted", "B1")
    plan(bench, series)


@pytest.mark.parametrize(
    ("grid", "mode", "power_kw", "names"),
    [
        ({"import_limit_kw": 3.0}, "charge", 3.5, r"import_limit_kw of 3 kW; ask for at most 2.40 kW"),
        ({"export_limit_kw": 1.0}, "discharge", 3.0, r"export_limit_kw of 1 kW; ask for at most 1.60 kW"),
    ],
)
def test_what_would_exceed_the_connection_on_the_plans_forecast_is_refused(bench, series, grid, mode, power_kw, names):
    limit(bench, series, **grid)
    with pytest.raises(InputError, match=names):
        wish(bench, mode, power_kw)


@pytest.mark.parametrize(
    ("grid", "mode", "power_kw"),
    [({"import_limit_kw": 3.0}, "charge", 2.4), ({"export_limit_kw": 1.0}, "discharge", 1.6)],
)
def test_what_just_keeps_the_connection_on_the_plans_forecast_is_done(bench, series, grid, mode, power_kw):
    limit(bench, series, **grid)
    wish(bench, mode, power_kw)
    assert wanted(bench, 0) == (mode, power_kw)


def test_without_a_bound_the_band_is_the_bound(bench):
    assert wish(bench, "discharge", 2.0).intent.until_soc == 0.1
    assert wish(bench, "charge", 2.0).intent.until_soc == 1.0


# The next plan includes it


def test_a_plan_begins_after_an_override_from_the_state_of_charge_that_it_leads_to(bench, series):
    wish(bench, "discharge", 2.0, 0, 1800)
    made = plan(bench, series)
    assert made.table.index[0] == pd.Timestamp(bench.at(1800))
    # Half an hour of 2 kW out of 10 kWh, at 95 %.
    assert made.problem.initial_soc == pytest.approx(0.5 - 1.0 / 0.95 / 10)
    assert wanted(bench, 0) == ("discharge", 2.0)


@pytest.mark.parametrize(
    ("mode", "power_kw", "charge_kw", "discharge_kw"),
    [("hold", 0.0, 0.0, 0.0), ("charge", 1.0, 1.0, 0.0), ("discharge", 1.0, 0.0, 1.0)],
)
def test_a_plan_leaves_the_battery_to_an_override_that_is_to_come(
    bench, series, mode, power_kw, charge_kw, discharge_kw
):
    without = plan(bench, series).table
    assert without["charge_kw"].iloc[2:4].max() > 1
    assert without["discharge_kw"].iloc[4:6].max() > 0.5
    wish(bench, mode, power_kw, 1800, 5400)
    during = plan(bench, series).table.iloc[2:6]
    assert during["charge_kw"].max() <= charge_kw + 1e-9
    assert during["discharge_kw"].max() <= discharge_kw + 1e-9


def test_a_plan_made_without_knowing_of_an_override_is_replaced_whatever_that_gains(bench, series):
    plan(bench, series)
    plan(bench, series)
    wish(bench, "hold", 0.0, 1800, 5400)
    plan(bench, series)
    assert [row.adopted for row in bench.plans()] == [True, False, True]


def test_where_an_override_has_all_of_the_horizon_nothing_is_planned(bench, series):
    wish(bench, "hold", 0.0, 0, 4 * 3600)
    with pytest.raises(InputError, match="an override has all of it"):
        plan(bench, series)


# Its end


def test_an_override_under_way_is_cancelled_from_now_on(bench):
    bench.plan(bench.intent("charge", 3.0, 0, 3600))
    made = wish(bench)
    bench.move(600)
    cancel(bench.db, bench.clock, made.id, "bob")
    assert [wanted(bench, at) for at in (599, 600)] == [("discharge", 2.0), ("charge", 3.0)]
    assert in_force(bench.db, bench.clock) == []
    (past,) = in_force(bench.db, bench.clock, "bench", past=True)
    assert (past.by, past.reason, past.cancelled_at) == ("ada", "trying", bench.at(600))
    assert events(bench) == {"override.set": 1, "override.cancelled": 1}


def test_an_override_that_has_not_begun_is_cancelled_whole(bench):
    made = wish(bench, begin_s=900)
    cancel(bench.db, bench.clock, made.id, "bob")
    assert [wanted(bench, at) for at in (0, 900, 1799)] == [None] * 3


def test_what_is_over_cancelled_or_unknown_cannot_be_cancelled(bench):
    made = wish(bench)
    with pytest.raises(InputError, match="override: value 2 is unknown"):
        cancel(bench.db, bench.clock, made.id + 1, "bob")
    cancel(bench.db, bench.clock, made.id, "bob")
    with pytest.raises(InputError, match="override: 1 ended at 2024-04-10T10:00:00"):
        cancel(bench.db, bench.clock, made.id, "bob")
    over = wish(bench, end_s=60)
    bench.move(60)
    with pytest.raises(InputError, match="override: 2 ended at 2024-04-10T10:01:00"):
        cancel(bench.db, bench.clock, over.id, "bob")


def test_an_override_expires_by_itself(bench):
    wish(bench, end_s=60)
    bench.move(60)
    assert in_force(bench.db, bench.clock) == []
    assert wanted(bench, 60) is None


def test_overrides_are_listed_by_site(bench):
    made = wish(bench)
    assert in_force(bench.db, bench.clock, "bench") == [made]
    assert in_force(bench.db, bench.clock, "other") == []


def test_without_its_guard_an_override_would_last_for_ever(bench, without_guard):
    careless = without_guard(set_override, "LONGEST")
    made = careless(
        bench.db,
        bench.clock,
        "bench",
        Intent(IntentMode.HOLD, 0.0, bench.at(0), bench.at(0) + dt.timedelta(days=365)),
        "ada",
        "why",
    )
    assert made in overrides.in_force(bench.db, bench.clock)

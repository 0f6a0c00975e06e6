"""A charge on the month's peak in live plans: what was drawn so far is measured, and a peak is held to."""

from __future__ import annotations

import asyncio
import datetime as dt

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from engine import DemandCharge, InputError, Strategy
from engine.peaks import MARGIN
from schedules import inputs, jobs, peaks
from schedules.account_runner import AccountRunner
from schedules.plans import newest_plan
from schedules.price_terms import Terms
from schedules.store import MarketRow, PriceTermsRow, TelemetryRow
from tests.schedules.fake_battery import SITE
from tests.schedules.frames import hours

STEPS = ((2.0, 10.0), (5.0, 80.0), (10.0, 200.0), (None, 400.0))
HOURLY = DemandCharge(steps_eur=STEPS, measured_over_minutes=60)
BEGIN = pd.Timestamp("2024-04-10T10:00Z")
QUARTER = pd.Timedelta(minutes=15)


def contract(bench, *charges: DemandCharge) -> None:
    terms = Terms.model_validate({"contract": {"kind": "spot"}, "demand_charges": charges})
    with bench.db.write() as session:
        market = MarketRow(name="m", area="DK1")
        session.add(market)
        session.flush()
        content = terms.model_dump(mode="json")
        session.add(PriceTermsRow(site_id=bench.target.id, market_id=market.id, terms=content))


def drew(bench, *stretches: tuple[str, float, float]) -> None:
    """Keep readings of stretches: begin (UTC), minutes, power drawn [kW]."""
    rows = [
        {
            "site_id": bench.target.id,
            "channel": "power",
            "measured_at": at.to_pydatetime(),
            "received_at": at.to_pydatetime(),
            "grid_kw": kw,
        }
        for begin, minutes, kw in stretches
        for at in pd.date_range(begin, periods=int(minutes / 5) + 1, freq="5min", tz="UTC", inclusive="right")
    ]
    with bench.db.write() as session:
        session.execute(TelemetryRow.__table__.insert(), rows)


def told(bench, charge=HOURLY, begin=BEGIN, timezone="UTC", step=QUARTER) -> DemandCharge:
    return peaks.so_far(bench.db, bench.target.id, timezone, charge, begin, step)


def dear_evenings(count: int = 36) -> pd.DataFrame:
    """Cheap nights, when a battery is best filled at once; a load of 1.5 kW."""
    frame = hours("2024-04-10T10:00", count, export_price_eur_per_kwh=0.0, load_kw=1.5, pv_kw=0.0)
    hour = pd.DatetimeIndex(frame.index).hour
    frame["import_price_eur_per_kwh"] = np.where((hour >= 1) & (hour < 4), 0.05, 0.30)
    return frame


@pytest.fixture
def charged(bench):
    bench.is_watched = False
    bench.keep_state(0.5)
    inputs.publish(bench.db, bench.clock, dear_evenings())
    return bench


def plan(bench) -> pd.DataFrame:
    assert asyncio.run(AccountRunner(bench.db, bench.clock, [bench.target]).tick()).planned == 1
    return pd.DataFrame(newest_plan(bench.db, bench.target.id).intervals)


def test_peaks_of_the_month_are_means_of_whole_hours_day_by_day(bench):
    drew(
        bench,
        ("2024-03-31T20:00", 60, 9.0),  # last month's
        ("2024-04-02T08:00", 30, 8.0),
        ("2024-04-02T08:30", 30, 2.0),
        ("2024-04-05T17:00", 60, 4.0),
        ("2024-04-10T07:00", 60, 3.0),
        ("2024-04-10T08:00", 60, -6.0),
    )
    charge = told(bench, HOURLY.model_copy(update={"largest_daily_peaks": 3}))
    assert charge.daily_peaks_so_far_kw == pytest.approx((5.0, 4.0))
    assert charge.peak_today_so_far_kw == pytest.approx(3.0)
    assert charge.measured_so_far_kwh == 0.0


def test_days_and_months_are_those_of_the_local_clock(bench):
    drew(bench, ("2024-03-31T22:00", 60, 6.0), ("2024-03-31T21:00", 60, 9.0), ("2024-04-09T22:00", 60, 3.0))
    charge = told(bench, timezone="Europe/Copenhagen")
    assert charge.daily_peaks_so_far_kw == pytest.approx((6.0,))
    assert charge.peak_today_so_far_kw == pytest.approx(3.0)
    daily = told(bench, HOURLY.model_copy(update={"period": "day"}), timezone="Europe/Copenhagen")
    assert (daily.daily_peaks_so_far_kw, daily.peak_today_so_far_kw) == ((), pytest.approx(3.0))


def test_of_an_hour_under_way_the_energy_counts_and_no_peak_yet(bench):
    drew(bench, ("2024-04-10T10:00", 30, 8.0))
    charge = told(bench, begin=BEGIN + 2 * QUARTER)
    assert charge.measured_so_far_kwh == pytest.approx(4.0)
    assert charge.peak_today_so_far_kw == 0.0
    by_quarter = told(bench, HOURLY.model_copy(update={"measured_over_minutes": None}), begin=BEGIN + 2 * QUARTER)
    assert (by_quarter.measured_so_far_kwh, by_quarter.peak_today_so_far_kw) == (0.0, pytest.approx(8.0))


def test_only_the_hours_and_days_that_are_charged_count(bench):
    drew(bench, ("2024-04-06T12:00", 60, 9.0), ("2024-04-08T05:00", 60, 7.0), ("2024-04-08T12:00", 60, 4.0))
    charge = HOURLY.model_copy(update={"from_hour": 6, "to_hour": 22, "weekdays_only": True})
    assert told(bench, charge).daily_peaks_so_far_kw == pytest.approx((4.0,))


def test_without_a_charge_the_battery_is_filled_as_fast_as_it_can_be(charged):
    assert plan(charged)["import_kw"].max() > 6.0


def test_a_peak_is_held_that_costs_less_than_what_a_higher_one_earns(charged):
    contract(charged, HOURLY)
    table = plan(charged)
    assert table["import_kw"].max() == pytest.approx(2.0 * (1 - MARGIN)), "the next step costs 70 EUR more"


def test_a_peak_that_was_drawn_already_is_not_saved_any_more(charged):
    contract(charged, HOURLY)
    drew(charged, ("2024-04-03T18:00", 60, 4.5))
    assert plan(charged)["import_kw"].max() == pytest.approx(5.0 * (1 - MARGIN))


def test_of_several_daily_peaks_what_is_left_below_the_step_is_used(charged):
    """With 6 and 6 kW drawn a third day of 3 kW is billed as 5 kW."""
    contract(charged, HOURLY.model_copy(update={"largest_daily_peaks": 3}))
    drew(charged, ("2024-04-03T18:00", 60, 6.0), ("2024-04-04T18:00", 60, 6.0))
    assert plan(charged)["import_kw"].max() == pytest.approx(3.0 * (1 - MARGIN), abs=1e-3)


def test_a_price_per_kw_is_held_where_it_is_dear_and_not_where_it_is_cheap(charged):
    dear, cheap = (DemandCharge(eur_per_kw=price, measured_over_minutes=60) for price in (20.0, 0.01))
    for charge, least, most in ((dear, 0.0, 3.0), (cheap, 4.0, 99.0)):
        with charged.db.write() as session:
            row = session.get(PriceTermsRow, charged.target.id)
            if row is not None:
                row.terms = {**row.terms, "demand_charges": [charge.model_dump(mode="json")]}
        if row is None:
            contract(charged, charge)
        frame = dear_evenings()
        made = jobs.propose(charged.db, charged.clock(), charged.target.id, SITE, frame, Strategy())
        assert least <= made.table["import_kw"].max() <= most


def test_the_next_month_has_a_peak_of_its_own(charged):
    """On the last day of a month whose peak is high already, and in the first hours of the next."""
    contract(charged, HOURLY)
    drew(charged, ("2024-04-03T18:00", 60, 4.5))
    begin = dt.datetime(2024, 4, 30, 10, tzinfo=dt.UTC)
    charged.move((begin - charged.clock()).total_seconds())
    charged.keep_state(0.5)
    frame = dear_evenings()
    frame.index += begin - charged.T0
    inputs.publish(charged.db, charged.clock, frame)
    table = plan(charged)
    april = pd.to_datetime(table["start"]) < pd.Timestamp("2024-05-01T00:00Z")
    caps = peaks.caps_kw(charged.db, charged.target.id, SITE, frame.asfreq("1h"), 0.5, Strategy())
    assert set(caps.round(3)) == {round(5.0 * (1 - MARGIN), 3), round(2.0 * (1 - MARGIN), 3)}
    assert table.loc[~april, "import_kw"].max() <= 2.0 * (1 - MARGIN) + 1e-6


def test_a_load_above_the_peak_is_met_as_far_as_the_battery_can(charged):
    contract(charged, HOURLY)
    frame = dear_evenings()
    frame.loc["2024-04-10T18:00Z", "load_kw"] = 9.0
    charged.move(60)
    inputs.publish(charged.db, charged.clock, frame)
    table = plan(charged)
    at = pd.to_datetime(table["start"]) == pd.Timestamp("2024-04-10T18:00Z")
    assert table.loc[at, "discharge_kw"].item() == pytest.approx(4.0, abs=0.01)


def test_what_the_site_has_lived_is_what_the_rest_of_the_month_is_taken_to_be(charged):
    """Evenings that always draw 8 kW cannot be brought below 2 kW: the higher step is held, and earned with."""
    contract(charged, HOURLY)
    index = pd.date_range("2024-03-20T00:00Z", "2024-04-10T10:00Z", freq="15min", inclusive="right")
    evening = (index.hour >= 17) & (index.hour < 21)
    rows = [
        {
            "site_id": charged.target.id,
            "channel": "power",
            "measured_at": at.to_pydatetime(),
            "received_at": at.to_pydatetime(),
            "load_kw": 8.0 if late else 1.0,
            "pv_kw": 0.0,
            "grid_kw": 0.0,
        }
        for at, late in zip(index, evening, strict=True)
    ]
    with charged.db.write() as session:
        session.execute(TelemetryRow.__table__.insert(), rows)
    caps = peaks.caps_kw(charged.db, charged.target.id, SITE, dear_evenings(8).asfreq("1h"), 0.5, Strategy())
    assert caps.min() > 2.0


def test_a_site_without_an_array_can_have_a_charge(charged):
    contract(charged, HOURLY)
    site = SITE.model_copy(update={"pv": None})
    caps = peaks.caps_kw(charged.db, charged.target.id, site, dear_evenings().asfreq("1h"), 0.5, Strategy())
    assert np.isfinite(caps).all()


def test_a_charge_that_no_plan_can_hold_is_refused_where_it_is_written(charged):
    with pytest.raises(ValidationError, match="cannot be looked over"):
        contract(charged, HOURLY.model_copy(update={"period": "year"}))
    with pytest.raises(ValidationError, match="is measured; leave it out"):
        contract(charged, DemandCharge(eur_per_kw=1.0, peak_today_so_far_kw=3.0))


def test_a_peak_measured_by_less_than_the_plans_interval_is_named(charged):
    contract(charged, DemandCharge(eur_per_kw=5.0, measured_over_minutes=15))
    with pytest.raises(InputError, match="measured_over_minutes"):
        peaks.caps_kw(charged.db, charged.target.id, SITE, dear_evenings().asfreq("1h"), 0.5, Strategy())

"""What holds for every feed of prices, over real HTTP or a real file: whole days are taken, all else is told apart."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from adapters.contract import AdapterError, ConfigurationError
from adapters.emulation import EmulatedClock, Faults
from adapters.feeds.contract import Fault, FeedError, PriceFeed, Side
from adapters.feeds.files.mapping import quotes
from adapters.feeds.registry import SOURCES, open_feed

SPRING, AUTUMN, SUMMER = dt.date(2026, 3, 29), dt.date(2026, 10, 25), dt.date(2026, 6, 1)
COUNTS = {"octopus": {SPRING: 46, SUMMER: 48, AUTUMN: 50}}
USUAL_COUNTS = {SPRING: 92, SUMMER: 96, AUTUMN: 100}
ALWAYS_REFUSED = {
    "late": Fault.LATE,
    "partial": Fault.PARTIAL,
    "missing_values": Fault.PARTIAL,
    "duplicated": Fault.DUPLICATED,
    "wrong_resolution": Fault.WRONG_RESOLUTION,
    "extreme": Fault.IMPLAUSIBLE,
    "wrong_unit": Fault.IMPLAUSIBLE,
    "shifted": Fault.PARTIAL,
}


@pytest.mark.parametrize("day", [SPRING, SUMMER, AUTUMN], ids=str)
def test_a_whole_day_is_taken_as_it_is_with_the_time_at_which_it_became_known(feed, day):
    prices = feed.ask(day)
    series = prices.curves[feed.kind].series
    assert len(series) == COUNTS.get(feed.source, USUAL_COUNTS)[day]
    np.testing.assert_allclose(series.to_numpy(), feed.truth(day).to_numpy(), rtol=1e-9, atol=1e-9)
    assert series.index.equals(feed.cloud.market.index(day))
    assert (prices.day, prices.area, prices.source) == (day, feed.area, feed.source)
    assert prices.known_at == feed.clock.now()


@pytest.mark.parametrize("day", [SPRING, SUMMER, AUTUMN], ids=str)
@pytest.mark.parametrize(("wrong", "fault"), ALWAYS_REFUSED.items(), ids=list(ALWAYS_REFUSED))
def test_what_is_wrong_with_an_answer_is_told_apart(feed, day, wrong, fault):
    with pytest.raises(FeedError) as refusal:
        feed.ask(day, **{wrong: True})
    assert refusal.value.fault is fault, refusal.value
    assert str(refusal.value).startswith(f"{fault.value}: {feed.source}")


def test_a_day_of_24_hours_is_refused_in_autumn_and_in_spring_its_23_are_the_truth(feed):
    """In spring the hour too many is the next day's first, with its own time: it moves nothing."""
    with pytest.raises(FeedError, match=r"partial: .*first missing at 2026-10-25T22:00:00Z"):
        feed.ask(AUTUMN, day_of_24_hours=True)
    series = feed.ask(SPRING, day_of_24_hours=True).curves[feed.kind].series
    np.testing.assert_allclose(series.to_numpy(), feed.truth(SPRING).to_numpy(), rtol=1e-9, atol=1e-9)


def test_yesterdays_prices_with_todays_times_are_refused(feed):
    with pytest.raises(FeedError, match=r"implausible: .*the day before"):
        feed.ask(SUMMER, stale=True)


def test_nothing_is_there_before_publication(feed):
    market = feed.cloud.market
    feed.cloud.clock = EmulatedClock(market.at(SUMMER - dt.timedelta(days=1), market.opens), None)
    with pytest.raises(FeedError, match="late"):
        feed.ask(SUMMER)


def test_an_answer_that_is_cut_off_is_no_answer(feed):
    with pytest.raises(AdapterError) as refusal:
        feed.ask(SUMMER, broken=True)
    # The first half of a CSV is one too, up to a time that is cut off.
    said = "no time with an offset" if ".csv" in str(feed.settings.get("path")) else "unreachable"
    assert said in str(refusal.value)


def test_an_area_that_is_not_the_markets_is_refused_before_anybody_is_asked(feed):
    feed.area = "ATLANTIS"
    calls = feed.cloud.calls
    with pytest.raises(ConfigurationError, match="'ATLANTIS' is unknown; choose one of"):
        feed.read(SUMMER)
    assert feed.cloud.calls == calls


@pytest.mark.parametrize("source", ["energi_data_service", "entsoe"])
def test_prices_of_another_area_are_refused(serve, source):
    with pytest.raises(FeedError, match=r"wrong area: .*the answer is about DK"):
        serve(source).ask(SUMMER, wrong_area=True)


@pytest.mark.parametrize("source", ["energi_data_service", "entsoe", "octopus"])
def test_a_source_that_is_down_or_gone_is_unreachable(serve, source, closed_port_url):
    served = serve(source)
    served.cloud.faults.switch(Faults(server_error_share=1.0))
    with pytest.raises(FeedError, match=r"unreachable: .*HTTP 503"):
        served.ask(SUMMER)
    served.settings["base_url"] = closed_port_url
    with pytest.raises(FeedError, match=r"unreachable: .*no (connection|answer)"):
        served.ask(SUMMER)


@pytest.mark.parametrize("source", ["energi_data_service", "entsoe", "octopus"])
def test_a_source_that_does_not_answer_is_not_waited_for(serve, source):
    served = serve(source, timeout_s=0.05)
    served.cloud.faults.switch(Faults(latency_s=0.5))
    with pytest.raises(FeedError, match=r"unreachable: .*no answer"):
        served.ask(SUMMER)


def test_every_source_keeps_the_contract_and_names_a_wrong_setting_only(tmp_path):
    wanted = {"entsoe": {"security_token": "t"}, "file": {"path": str(tmp_path / "x.csv")}}
    for source in SOURCES:
        opened, market = open_feed(source, wanted.get(source, {}), lambda: dt.datetime.now(dt.UTC))
        assert isinstance(opened, PriceFeed)
        assert market.areas
        with pytest.raises(ConfigurationError, match="canary_field") as refusal:
            open_feed(
                source, {**wanted.get(source, {}), "canary_field": "canary-value"}, lambda: dt.datetime.now(dt.UTC)
            )
        assert "canary-value" not in str(refusal.value)
    with pytest.raises(ConfigurationError, match="'moon' is unknown; choose one of"):
        open_feed("moon", {}, lambda: dt.datetime.now(dt.UTC))


def test_octopus_gives_both_what_is_paid_and_what_is_earned(serve):
    prices = serve("octopus").ask(AUTUMN)
    assert set(prices.curves) == {(Side.IMPORT, "GBP"), (Side.EXPORT, "GBP")}
    gained = prices.curves[Side.IMPORT, "GBP"].series - prices.curves[Side.EXPORT, "GBP"].series
    assert (gained != 0).all()


def test_a_product_that_does_not_exist_is_a_matter_of_configuration(serve):
    with pytest.raises(ConfigurationError, match="HTTP 404; check area, product"):
        serve("octopus", import_product="AGILE-99-01-01").ask(SUMMER)


def test_energi_data_service_gives_both_currencies_and_euros_alone_while_kroner_are_late(serve):
    served = serve("energi_data_service")
    both = served.ask(SUMMER)
    assert set(both.curves) == {(Side.SPOT, "EUR"), (Side.SPOT, "DKK")}
    ratio = both.curves[Side.SPOT, "DKK"].series / both.curves[Side.SPOT, "EUR"].series
    assert ratio[both.curves[Side.SPOT, "EUR"].series.abs() > 0.01].between(7.4, 7.5).all()
    served.cloud._gives_dkk = False
    assert set(served.ask(SUMMER).curves) == {(Side.SPOT, "EUR")}


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ("start,price\n2026-06-01T00:00:00+02:00,1", "name it as spot_eur_per_mwh"),
        ("time,spot_eur_per_mwh\n2026-06-01T00:00:00+02:00,1", "no column start"),
        ("start,spot_eur_per_mwh\n2026-06-01T00:00:00,1", "no time with an offset"),
        ("start\n2026-06-01T00:00:00+02:00", "no column of prices"),
    ],
)
def test_a_file_without_units_or_zones_is_refused(tmp_path, columns, says):
    (tmp_path / "x.csv").write_text(columns)
    with pytest.raises(ConfigurationError, match=says):
        quotes(pd.read_csv(tmp_path / "x.csv", dtype=str), "DK1", "x.csv")


def test_a_file_of_a_fixed_tariff_may_repeat_itself_where_somebody_says_so(serve):
    fixed = serve("csv")
    index = pd.date_range("2026-05-31T22:00Z", periods=2 * 96, freq="15min")
    table = pd.DataFrame(
        {"start": [at.isoformat() for at in index], "import_eur_per_kwh": 0.3, "export_eur_per_kwh": 0.0}
    )
    table.to_csv(fixed.path, index=False)
    day = dt.date(2026, 6, 2)
    with pytest.raises(FeedError, match="implausible"):
        fixed.read(day)
    fixed.settings["may_repeat"] = True
    prices = fixed.read(day)
    assert (prices.curves[Side.IMPORT, "EUR"].series == 0.3).all()
    assert (prices.curves[Side.EXPORT, "EUR"].series == 0.0).all()

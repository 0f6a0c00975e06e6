"""ENTSO-E's token is seen by nobody but its server, and what its format leaves out comes back."""

from __future__ import annotations

import datetime as dt
import logging

import pytest

from adapters.contract import ConfigurationError
from adapters.feeds.contract import FeedError
from adapters.feeds.entsoe import mapping
from adapters.feeds.entsoe.client import Entsoe, Settings
from adapters.feeds.markets import SDAC

SUMMER = dt.date(2026, 6, 1)


def test_a_token_that_is_refused_is_a_matter_of_configuration(serve):
    served = serve("entsoe", security_token="wrong")
    with pytest.raises(ConfigurationError, match="HTTP 401; check security_token"):
        served.ask(SUMMER)


@pytest.mark.parametrize("trouble", ["down", "gone", "refused", "slow", "led elsewhere", "none"])
def test_the_token_is_in_no_message_log_or_repr(serve, trouble, closed_port_url, caplog, vendor, reply, monkeypatch):
    caplog.set_level(logging.DEBUG)
    served = serve("entsoe")
    token, asked = served.settings["security_token"], []
    if trouble == "down":
        served.cloud.faults.switch(type(served.cloud.faults.now)(server_error_share=1.0))
    elif trouble == "gone":
        served.settings["base_url"] = closed_port_url
    elif trouble == "refused":
        served.cloud.token = "another"
    elif trouble == "slow":
        served.settings["timeout_s"] = 0.05
        served.cloud.faults.switch(type(served.cloud.faults.now)(latency_s=0.5))
    elif trouble == "led elsewhere":
        elsewhere = reply(status=302, headers={"Location": f"{vendor.url}/elsewhere?securityToken={token}"})
        monkeypatch.setattr(vendor, "_take", lambda call: (asked.append(call), elsewhere)[1])
        served.settings["base_url"] = vendor.url
    said = ""
    try:
        served.ask(SUMMER)
    except (FeedError, ConfigurationError) as error:
        said = f"{error!r} {error} {error.__cause__!r} {error.__context__ if not error.__suppress_context__ else ''}"
    assert bool(said) == (trouble != "none")
    assert token not in said
    assert len(asked) == (trouble == "led elsewhere"), "it went where it was led"
    assert served.cloud.calls == (trouble == "none") or trouble == "slow"
    assert not [record for record in caplog.records if token in record.getMessage()]
    assert token not in repr(Settings.model_validate({"security_token": token}))


def test_whatever_the_environment_says_only_the_configured_address_is_asked(serve, monkeypatch):
    """The library takes its address from the environment when it is imported."""
    import entsoe.entsoe

    monkeypatch.setattr(entsoe.entsoe, "URL", "http://elsewhere.invalid/api")
    served = serve("entsoe")
    assert len(served.ask(SUMMER).index) == 96
    assert served.cloud.calls == 1


def document(points: str, end: str = "2026-06-01T01:00Z", resolution: str = "PT15M", **fields: str) -> str:
    words = {"currency": "EUR", "unit": "MWH", "area": "10YDK-1--------W", **fields}
    return (
        "<Publication_MarketDocument><TimeSeries>"
        f"<in_Domain.mRID codingScheme='A01'>{words['area']}</in_Domain.mRID>"
        f"<currency_Unit.name>{words['currency']}</currency_Unit.name>"
        f"<price_Measure_Unit.name>{words['unit']}</price_Measure_Unit.name><curveType>A03</curveType><Period>"
        f"<timeInterval><start>2026-06-01T00:00Z</start><end>{end}</end></timeInterval>"
        f"<resolution>{resolution}</resolution>{points}</Period></TimeSeries></Publication_MarketDocument>"
    )


def point(position: int, price: float) -> str:
    return f"<Point><position>{position}</position><price.amount>{price}</price.amount></Point>"


def quote(text: str):
    return mapping.quote(text, SDAC.index(SUMMER), SDAC.step(SUMMER))


def test_prices_that_repeat_are_left_out_of_the_document_and_come_back():
    quoted = quote(document(point(1, 10.0) + point(4, -5.0)))
    assert quoted.prices.to_list() == [0.01, 0.01, 0.01, -0.005]
    assert (quoted.area, quoted.currency, quoted.step) == ("DK1", "EUR", SDAC.step(SUMMER))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (document(point(1, 10.0))[:-20], "cut off"),
        (document(point(1, 10.0), unit="KWH"), "not in one currency per MWh"),
        (document(point(1, 10.0), currency="EUR</currency_Unit.name><currency_Unit.name>GBP"), "not in one currency"),
        (document(point(1, 10.0), area=""), "no area"),
        (document(point(1, 10.0), resolution="PT7M"), "no price document"),
        ("<html>maintenance</html>", "no price document"),
        ("<Acknowledgement_MarketDocument>No matching data found</Acknowledgement_MarketDocument>", "late"),
    ],
)
def test_what_is_no_price_document_is_refused(text, says):
    with pytest.raises(FeedError, match=says):
        quote(text)


def test_without_the_library_the_way_out_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "entsoe", None)
    with pytest.raises(ConfigurationError, match=r"install tidewatt\[entsoe\]"):
        Entsoe(Settings(security_token="t"), lambda: dt.datetime.now(dt.UTC))

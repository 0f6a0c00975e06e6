"""What contracts make of a market's prices, in euros."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from adapters.contract import ConfigurationError
from adapters.feeds.contract import Side
from engine.errors import InputError
from engine.prices import PriceCurve
from engine.tariffs import dk
from engine.timeline import local_day
from schedules.price_terms import Terms

BOUGHT, SOLD = "import_price_eur_per_kwh", "export_price_eur_per_kwh"
QUARTER = pd.Timedelta(minutes=15)
SUMMER = local_day(dt.date(2025, 6, 2), "Europe/Brussels", QUARTER)


def curve(currency: str, value: float, index: pd.DatetimeIndex = SUMMER) -> PriceCurve:
    return PriceCurve(pd.Series(value, index), currency)


def terms(per_eur: float = 1.0, **contract) -> Terms:
    return Terms.model_validate({"contract": contract, "per_eur": per_eur})


@pytest.mark.parametrize("day", [dt.date(2025, 3, 30), dt.date(2025, 10, 26)], ids=["spring", "autumn"])
def test_a_danish_household_pays_its_tariff_in_euros_on_days_of_23_and_25_hours(day):
    index = local_day(day, "Europe/Copenhagen", QUARTER)
    spot = PriceCurve(pd.Series(np.linspace(-0.5, 1.5, len(index)), index), "DKK")
    found = terms(7.46, kind="danish household", grid="N1", supplier_fee_dkk_per_kwh=0.04).prices(
        {(Side.SPOT, "DKK"): spot, (Side.SPOT, "EUR"): curve("EUR", 9.9, index)}, None
    )
    tariff = dk.household(dk.N1, supplier_fee=0.04, export_fee=0.0)
    np.testing.assert_allclose(found[BOUGHT] * 7.46, tariff.import_price(spot).series)
    np.testing.assert_allclose(found[SOLD] * 7.46, tariff.export_price(spot).series)
    assert len(found) == len(index)


def test_a_market_in_euros_is_converted_where_it_has_no_kroner():
    contract = terms(7.5, kind="danish household", grid="N1", supplier_fee_dkk_per_kwh=0.0)
    with_kroner = contract.prices({(Side.SPOT, "DKK"): curve("DKK", 0.75)}, None)
    in_euros = contract.prices({(Side.SPOT, "EUR"): curve("EUR", 0.1)}, None)
    pd.testing.assert_frame_equal(with_kroner, in_euros)


def test_a_negative_market_price_stays_negative_for_who_sells_and_has_vat_for_who_buys():
    found = terms(kind="spot", vat=0.25, export_fee_per_kwh=0.01).prices({(Side.SPOT, "EUR"): curve("EUR", -0.1)}, None)
    assert found[BOUGHT].unique() == pytest.approx([-0.125])
    assert found[SOLD].unique() == pytest.approx([-0.11])


def test_the_hour_is_billed_at_the_mean_of_its_quarters_where_the_contract_says_so():
    spot = PriceCurve(pd.Series([0.0, 0.1, 0.2, 0.3] * 24, SUMMER), "EUR")
    found = terms(kind="spot", billing_minutes=60).prices({(Side.SPOT, "EUR"): spot}, None)
    assert found[BOUGHT].unique() == pytest.approx([0.15])


def test_what_a_source_quotes_is_taken_as_it_is():
    quoted = {(Side.IMPORT, "GBP"): curve("GBP", 0.25), (Side.EXPORT, "GBP"): curve("GBP", 0.05)}
    found = terms(0.86, kind="as quoted", currency="GBP").prices(quoted, None)
    assert (found[BOUGHT].unique() * 0.86, found[SOLD].unique() * 0.86) == (
        pytest.approx([0.25]),
        pytest.approx([0.05]),
    )
    del quoted[Side.EXPORT, "GBP"]
    fixed = terms(0.86, kind="as quoted", currency="GBP", export_per_kwh=0.15).prices(quoted, None)
    assert fixed[SOLD].unique() * 0.86 == pytest.approx([0.15])
    with pytest.raises(ConfigurationError, match="write export_per_kwh"):
        terms(0.86, kind="as quoted", currency="GBP").prices(quoted, None)


def test_what_cannot_be_priced_is_refused():
    spot = {(Side.SPOT, "GBP"): curve("GBP", 0.1)}
    with pytest.raises(ConfigurationError, match="no spot price in EUR"):
        terms(kind="spot").prices(spot, None)
    grid = {"gln": "5790000000000", "codes": ["A"]}
    with pytest.raises(ConfigurationError, match="DataHub has not told"):
        terms(7.46, kind="danish household", grid=grid, supplier_fee_dkk_per_kwh=0).prices(
            {(Side.SPOT, "DKK"): curve("DKK", 0.1)}, None
        )
    future = local_day(dt.date(2031, 6, 2), "Europe/Copenhagen", QUARTER)
    with pytest.raises(InputError, match="nothing is valid at 2031"):
        terms(7.46, kind="danish household", grid="N1", supplier_fee_dkk_per_kwh=0).prices(
            {(Side.SPOT, "DKK"): curve("DKK", 0.1, future)}, None
        )


@pytest.mark.parametrize(
    "contract",
    [
        {"kind": "spot", "fee_per_kwh": 25.0},
        {"kind": "spot", "vat": 25},
        {"kind": "spot", "timezone": "Mars"},
        {"kind": "danish household", "grid": "Nowhere", "supplier_fee_dkk_per_kwh": 0.1},
        {"kind": "as quoted", "currency": "pence"},
        {"kind": "barter"},
    ],
    ids=str,
)
def test_terms_that_cannot_be_meant_are_refused(contract):
    with pytest.raises(ValidationError):
        terms(**contract)

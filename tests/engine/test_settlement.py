"""The ledger: exact by line, equal to the accounts in floats, and additive over days and months."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from engine import Battery, InputError, PriceCurve, PvArray, Site, backtest
from engine.settlement import COLUMNS, SIDE_COLUMNS, SMALLEST, Imbalance, Ledger, settle
from engine.tariffs import Charge, Spot, Tariff, Vat, bill, de, dk, gb, generic

ZONE = "Europe/Berlin"
CONTRACT = generic.spot_contract(
    Charge.flat("supplier", 0.015, "energy"),
    Charge.flat("grid", 0.08),
    Charge.flat("tax", 0.0205, "tax"),
    currency="EUR",
    timezone=ZONE,
    vat=0.19,
    export_fee=0.003,
)


@pytest.fixture
def history() -> pd.DataFrame:
    """Six weeks over the clock change in spring, with negative prices and hours that both buy and sell."""
    index = pd.date_range("2025-03-01", "2025-04-12", freq="15min", tz=ZONE, inclusive="left").tz_convert("UTC")
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "spot": rng.normal(0.05, 0.08, len(index)),
            "import_kwh": rng.uniform(0, 2, len(index)),
            "export_kwh": rng.uniform(0, 1, len(index)),
            "discharge_kwh": rng.uniform(0, 1, len(index)),
        },
        index=index.rename("start"),
    )


def booked(history: pd.DataFrame, tariff: Tariff = CONTRACT, wear: float = 0.02) -> Ledger:
    return settle(
        tariff,
        PriceCurve(history["spot"], "EUR"),
        history["import_kwh"],
        history["export_kwh"],
        discharge_kwh=history["discharge_kwh"],
        wear_per_kwh=wear,
    )


def test_a_period_by_hand():
    index = pd.date_range("2025-03-01", periods=2, freq="h", tz="UTC")
    ledger = settle(
        CONTRACT,
        PriceCurve(pd.Series([0.1, -0.2], index), "EUR"),
        pd.Series([2.0, 1.0], index),
        pd.Series([0.5, 1.0], index),
        discharge_kwh=pd.Series([1.0, 0.0], index),
        wear_per_kwh=0.03,
    )
    # VAT: 0.19 x (0.1 + 0.015 + 0.08 + 0.0205) x 2, and 0.19 x (-0.2 + 0.1155) of the hour whose price is negative.
    assert list(ledger.imports.iloc[0]) == [Decimal("0.23"), Decimal("0.16"), Decimal("0.12289")]
    assert list(ledger.imports.iloc[1]) == [Decimal("-0.185"), Decimal("0.08"), Decimal("0.0205") - Decimal("0.016055")]
    # Sold at a negative price: the customer pays, and the fee comes on top.
    assert list(ledger.exports["energy"]) == [Decimal("-0.0485"), Decimal("0.203")]
    assert list(ledger.table.iloc[0]) == [
        *(Decimal(text) for text in ("0.1815", "0.16", "0.12289", "0", "0.03", "0.49439"))
    ]
    assert list(ledger.table.columns) == list(COLUMNS)


def test_every_line_is_rounded_half_to_even_and_nothing_else_is():
    index = pd.date_range("2025-03-01", periods=2, freq="h", tz="UTC")
    tariff = Tariff(name="x", currency="EUR", timezone="UTC", import_components=(Charge.flat("a", 0.0000005),))
    lines = settle(tariff, index, pd.Series([1.0, 3.0], index)).imports["network"]
    assert list(lines) == [Decimal("0"), Decimal("0.000002")]


def test_it_agrees_with_the_bill_in_floats(history: pd.DataFrame):
    ledger = booked(history)
    floats = bill(CONTRACT, PriceCurve(history["spot"], "EUR"), history["import_kwh"], history["export_kwh"])
    lines = len(history) * 7
    assert float(ledger.total) == pytest.approx(
        floats.total + 0.02 * history["discharge_kwh"].sum(), abs=lines * float(SMALLEST) / 2
    )
    energy = floats.imports[["spot", "supplier"]].sum()
    assert float(sum(ledger.imports["energy"])) == pytest.approx(energy, abs=1e-3)
    assert float(sum(ledger.imports["tax"])) == pytest.approx(floats.imports[["tax", "VAT"]].sum(), abs=1e-3)
    assert -float(sum(ledger.exports["energy"])) == pytest.approx(floats.exports.sum(), abs=1e-3)


@pytest.mark.parametrize("period", ["day", "month"])
def test_periods_add_up_to_days_and_months_without_a_remainder(history: pd.DataFrame, period):
    ledger = booked(history)
    summed = ledger.by(period)
    assert len(summed) == {"day": 42, "month": 2}[period]
    assert sum(summed["total"]) == ledger.total
    assert [sum(row[:-1]) for row in summed.itertuples(index=False)] == list(summed["total"])
    for column in SIDE_COLUMNS:
        both = sum(ledger.imports[column]) + sum(ledger.exports[column])
        assert both == sum(ledger.table[column]) == sum(summed[column])
    # 30 March has 23 hours.
    wall = ledger.table.index.tz_convert(ZONE)
    short = ledger.table["total"][wall.date == dt.date(2025, 3, 30)]
    assert len(short) == 92
    assert period == "month" or sum(short) == summed["total"][dt.date(2025, 3, 30)]


def test_import_and_export_of_one_period_are_not_netted(history: pd.DataFrame):
    net = (history["import_kwh"] - history["export_kwh"]).to_numpy()
    netted = history.assign(import_kwh=np.maximum(net, 0), export_kwh=np.maximum(-net, 0))
    assert booked(history).total > booked(netted).total + 1


def test_the_billing_resolution_is_the_settlement_period(history: pd.DataFrame):
    hourly = booked(history, CONTRACT.model_copy(update={"billing_resolution": dt.timedelta(hours=1)}))
    assert len(hourly.table) == len(history) / 4
    assert (hourly.table.index == history.index[::4]).all()
    # Charges without a market price in them come to the same, quarters or hours.
    network = sum(booked(history).imports["network"])
    assert abs(sum(hourly.imports["network"]) - network) < Decimal("0.01")


def test_what_was_nominated_otherwise_costs_the_difference_to_the_market():
    index = pd.date_range("2025-03-01", periods=2, freq="15min", tz="UTC")
    spot, price = (PriceCurve(pd.Series(prices, index), "EUR") for prices in ([0.1, 0.1], [0.3, -0.1]))
    kwh, none = pd.Series([2.0, 2.0], index), pd.Series([0.0, 0.5], index)
    ledger = settle(CONTRACT, spot, kwh, none, imbalance=Imbalance(pd.Series([1.0, 2.5], index), price))
    # One kWh too much at 0.2 above the market; one too little, sold at 0.2 below it.
    assert list(ledger.table["imbalance"]) == [Decimal("0.2"), Decimal("0.2")]
    with pytest.raises(InputError, match="cannot subtract GBP/kWh and EUR"):
        settle(CONTRACT, spot, kwh, none, imbalance=Imbalance(kwh, PriceCurve(price.series, "GBP")))


def test_a_missing_or_negative_reading_is_refused(history: pd.DataFrame):
    for fault in (np.nan, -0.1):
        with pytest.raises(InputError, match=r"^import_kwh: .* at 2025-03-01T00:00:00Z, it is never"):
            booked(history.assign(import_kwh=history["import_kwh"].mask(history.index == history.index[4], fault)))


@pytest.mark.parametrize(
    ("tariff", "columns"),
    [
        (
            dk.household(dk.N1, supplier_fee=0.04, export_fee=0.01),
            {"supplier fee": "energy", "grid tariff": "network", "system": "network", "electricity tax": "tax"},
        ),
        (
            de.dynamic(de.EW_WANFRIED_2025, supplier_fee=0.01, levies=0.02, concession_fee=0.02, feed_in=0.08),
            {"grid fee": "network", "levies": "tax", "concession fee": "tax", "electricity tax": "tax"},
        ),
        (gb.agile(gb.AGILE_EXAMPLE, export=0.15), {"wholesale": "energy", "peak": "energy", "cap": "energy"}),
    ],
    ids=["DK", "DE", "GB"],
)
def test_published_contracts_say_what_their_lines_are_for(tariff: Tariff, columns: dict[str, str]):
    found = {component.name: component.column for component in tariff.import_components}
    assert found | columns | {"VAT": "tax"} == found
    assert tariff.export_components[0].column == "energy"


def test_components_have_sensible_columns():
    assert [part.column for part in (Spot(), Charge.flat("x", 1), Vat.at(0.2))] == ["energy", "network", "tax"]


def test_a_backtest_is_booked_to_what_its_account_says(history: pd.DataFrame):
    site = Site(
        timezone=ZONE,
        battery=Battery(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5, wear_eur_per_kwh=0.02),
        pv=PvArray(),
    )
    few = history.iloc[: 96 * 4]
    spot = PriceCurve(few["spot"], "EUR")
    found = backtest(site, prices=spot, tariff=CONTRACT, load=few["import_kwh"], pv=few["export_kwh"], yardsticks=False)
    ledgers = {name: found.ledger(CONTRACT, spot, account=name) for name in ("metered", "no battery")}
    for name, ledger in ledgers.items():
        floats = found.accounts[name].cost_eur(found.reality, site, 0.0).sum()
        assert float(ledger.total) == pytest.approx(floats, abs=len(few) * 7 * float(SMALLEST))
    assert ledgers["metered"].total < ledgers["no battery"].total
    danish = dk.household(dk.N1, supplier_fee=0.04, export_fee=0.0)
    with pytest.raises(InputError, match="units_per_eur: missing for a contract in DKK"):
        found.ledger(danish)
    in_kroner = found.ledger(danish, spot.to("DKK", 7.5), units_per_eur=7.5)
    assert in_kroner.currency == "DKK"
    assert float(sum(in_kroner.table["wear"])) == pytest.approx(
        7.5 * float(sum(ledgers["metered"].table["wear"])), abs=1e-3
    )

"""Contracts of any country from a few figures; for more, put components together into a `Tariff`."""

from __future__ import annotations

import datetime as dt

from engine.tariffs.components import Charge, Component, Spot, Vat
from engine.tariffs.rates import Rates
from engine.tariffs.tariff import Tariff


def time_of_use(
    *sheets: Rates,
    currency: str,
    timezone: str,
    vat: float = 0.0,
    feed_in: float | None = None,
    name: str = "time of use",
) -> Tariff:
    """A contract whose prices follow the clock alone; an index is enough to price it.

    Args:
        sheets: Dated prices of a bought kWh without VAT [currency/kWh].
        currency: ISO 4217 code.
        timezone: IANA name of the customer's zone.
        vat: VAT on bought energy [fraction].
        feed_in: What a sold kWh earns [currency/kWh]; None where the contract says nothing of it.
        name: Name of the contract.

    Raises:
        pydantic.ValidationError: A figure is out of its bound, or two sheets hold on one date.
    """
    return Tariff(
        name=name,
        currency=currency,
        timezone=timezone,
        import_components=(Charge(name="energy", column="energy", sheets=sheets), Vat.at(vat)),
        export_components=() if feed_in is None else (Charge.flat("feed-in", feed_in, "energy"),),
    )


def spot_contract(
    *charges: Component,
    currency: str,
    timezone: str,
    factor: float = 1.0,
    vat: float = 0.0,
    export_fee: float | None = None,
    billing_resolution: dt.timedelta | None = None,
    name: str = "spot",
) -> Tariff:
    """A contract that passes the market price on.

    Args:
        charges: What comes on top of the market price, without VAT.
        currency: ISO 4217 code.
        timezone: IANA name of the customer's zone.
        factor: What the market price is multiplied with.
        vat: VAT on bought energy [fraction].
        export_fee: What is kept of the market price of a sold kWh [currency/kWh]; None where nothing can be sold.
        billing_resolution: Length of the intervals whose mean market price is billed; None bills each price.
        name: Name of the contract.

    Raises:
        pydantic.ValidationError: A figure is out of its bound, or two charges share a name.
    """
    return Tariff(
        name=name,
        currency=currency,
        timezone=timezone,
        import_components=(Spot(factor=factor), *charges, Vat.at(vat)),
        export_components=() if export_fee is None else (Spot(), Charge.flat("export fee", -export_fee, "energy")),
        billing_resolution=billing_resolution,
    )

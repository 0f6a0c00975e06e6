"""Tariffs by name, for files that people write."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
from pydantic import ValidationError

from engine.errors import InputError, input_error_from
from engine.prices import PriceCurve
from engine.tariffs import Charge, Tariff, de, dk, gb, generic

BUILDERS: dict[str, Callable[..., Tariff]] = {
    "dk-n1": partial(dk.household, dk.N1),
    "dk-radius": partial(dk.household, dk.RADIUS),
    "dk-cerius": partial(dk.household, dk.CERIUS),
    "de-ew-wanfried-2025": partial(de.dynamic, de.EW_WANFRIED_2025),
    "de-westnetz-2026": partial(de.dynamic, de.WESTNETZ_2026),
    "de-bayernwerk-2026": partial(de.dynamic, de.BAYERNWERK_2026),
    **{f"gb-agile-2018-{region.lower()}": partial(gb.agile, terms) for region, terms in gb.AGILE_2018.items()},
    "spot": generic.spot_contract,
}
WORDS = ("currency", "timezone")


def tariff_named(name: str, **terms: Any) -> Tariff:
    """A published tariff with a contract's own terms: `supplier_fee`, `export_fee`, `levies` and so on.

    Of ``spot``, `charges` are what comes on top of the market price, by name [currency/kWh without VAT].

    Raises:
        InputError: There is no tariff of that name, or a term is missing, unknown or no number.
    """
    if name not in BUILDERS:
        raise InputError("tariff.name", f"value {name!r} is unknown", f"choose one of {', '.join(BUILDERS)}")
    builder, charges = BUILDERS[name], terms.pop("charges", {})
    if not isinstance(charges, dict):
        raise InputError("tariff.charges", f"value {charges!r} has no names", "write them as {grid: 0.08}")
    for term, value in (*terms.items(), *charges.items()):
        if term == "billing_resolution" and value == "1h":
            terms[term] = pd.Timedelta("1h").to_pytimedelta()
        elif not (isinstance(value, str) if term in WORDS else isinstance(value, int | float)):
            raise InputError(f"tariff.{term}", f"value {value!r} does not fit", "give prices as numbers")
    lines = [Charge.flat(str(line), price) for line, price in charges.items()]
    try:
        inspect.signature(builder).bind(*lines, **terms)
    except TypeError as error:
        known = [term for term, one in inspect.signature(builder).parameters.items() if one.kind is one.KEYWORD_ONLY]
        raise InputError("tariff", f"{name}: {error}", f"its terms are {', '.join(known)}") from None
    try:
        return builder(*lines, **terms)
    except ValidationError as error:
        raise input_error_from(error, prefix="tariff.") from None


def all_in(spot: PriceCurve, tariff: Tariff, units_per_eur: float) -> pd.DataFrame:
    """Import and export price [EUR/kWh] of a market price in EUR under a tariff in whatever currency.

    Args:
        spot: The market price [EUR/kWh].
        tariff: The contract; where it says nothing of sold energy, that earns nothing.
        units_per_eur: What a euro comes to in the tariff's currency.
    """
    market = spot.to(tariff.currency, units_per_eur)
    bought = tariff.import_price(market).to("EUR", 1 / units_per_eur)
    sold = tariff.export_price(market).to("EUR", 1 / units_per_eur).series if tariff.export_components else 0.0
    return pd.DataFrame({"import_price": bought.series, "export_price": sold}, index=bought.index)

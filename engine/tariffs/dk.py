"""Denmark: spot, supplier, grid company (C customers, 0.4 kV), Energinet, electricity tax, VAT. DKK/kWh without VAT.

Figures are published in øre/kWh, some with VAT; they are written here as published and converted. Each sheet ends on
the date up to which a source was found: what is not covered is refused, not guessed. Fixed subscriptions are not part
of a price per kWh. Reduced electricity tax depends on the year's metered kWh and is for the contract to state.

Grid companies charge by local hour, alike on all days of the week. Tarifmodel 3.0 (dinel.dk, "Forstå din nettarif",
2024): low 00-06, high 06-17 and 21-24, peak 17-21, each with a winter (October to March) and a summer price.
Tarifmodel 2.0 (radiuselnet.dk and cerius.dk, 2021): peak 17-20 in winter, low at all other times.
"""

from __future__ import annotations

import datetime as dt

from engine.errors import InputError
from engine.tariffs.components import Charge, Spot, Vat
from engine.tariffs.rates import Band, Frozen, Rates
from engine.tariffs.tariff import Tariff

TIMEZONE = "Europe/Copenhagen"
WINTER = (10, 11, 12, 1, 2, 3)
SUMMER = (4, 5, 6, 7, 8, 9)
VAT = Vat.at(0.25)
"""25 % on everything, a negative market price included (momsloven, section 33)."""


class GridCompany(Frozen):
    """A grid company's tariffs for household and other C customers."""

    name: str
    charges: tuple[Charge, ...]
    """Codes that are added up, discounts among them."""
    feed_in: Charge | None = None
    """What the company takes for a kWh fed in (indfødningstarif), negative; None where no source was found."""


def model_3(
    valid_from: dt.date,
    valid_to: dt.date,
    *,
    winter: tuple[float, float, float],
    summer: tuple[float, float, float] | None = None,
    per: float = 100.0,
) -> Rates:
    """A price sheet after Tarifmodel 3.0.

    Args:
        valid_from: First date.
        valid_to: The date after the last.
        winter: Low, high and peak as published, October to March.
        summer: The same, April to September; None where the sheet lies wholly in winter.
        per: What divides the figures into DKK without VAT: 100 for øre, 125 for øre with VAT, 1 for DKK.

    Raises:
        InputError: The sheet reaches into summer and has no summer prices.
    """
    last = valid_to - dt.timedelta(days=1)
    months = 12 * (last.year - valid_from.year) + last.month - valid_from.month + 1
    if summer is None and any((valid_from.month + passed - 1) % 12 + 1 in SUMMER for passed in range(months)):
        raise InputError("summer", f"none is given, but the sheet holds from {valid_from} to {last}", "add the prices")
    low, high, peak = (price / per for price in winter)
    bands = [
        Band(price=low, hours=("00:00-06:00",), months=WINTER),
        Band(price=peak, hours=("17:00-21:00",), months=WINTER),
    ]
    if summer is not None:
        low, high_summer, peak = (price / per for price in summer)
        bands += [
            Band(price=low, hours=("00:00-06:00",), months=SUMMER),
            Band(price=high_summer, hours=("06:00-17:00", "21:00-24:00"), months=SUMMER),
            Band(price=peak, hours=("17:00-21:00",), months=SUMMER),
        ]
    return Rates(standard=high, bands=tuple(bands), valid_from=valid_from, valid_to=valid_to)


def model_2(valid_from: dt.date, valid_to: dt.date, *, low: float, peak: float) -> Rates:
    """A price sheet after Tarifmodel 2.0, valid in [valid_from, valid_to): low, winter peak [øre/kWh without VAT]."""
    evening = Band(price=peak / 100, hours=("17:00-20:00",), months=WINTER)
    return Rates(standard=low / 100, bands=(evening,), valid_from=valid_from, valid_to=valid_to)


def flat(ore: float, valid_from: dt.date, valid_to: dt.date) -> Rates:
    """One price at all hours, valid in [valid_from, valid_to) [øre/kWh without VAT]."""
    return Rates(standard=ore / 100, valid_from=valid_from, valid_to=valid_to)


N1 = GridCompany(
    name="N1",
    charges=(
        Charge(
            name="grid tariff",
            sheets=(
                model_3(
                    dt.date(2024, 1, 1),
                    dt.date(2024, 12, 1),
                    winter=(11.0116, 33.0349, 99.1048),
                    summer=(11.01, 16.52, 42.95),
                ),
                model_3(dt.date(2024, 12, 1), dt.date(2025, 1, 1), winter=(4.46, 13.39, 40.18)),
                model_3(
                    dt.date(2025, 1, 1),
                    dt.date(2025, 12, 1),
                    winter=(10.83, 32.50, 97.51),
                    summer=(10.83, 16.25, 42.25),
                    per=125,
                ),
                model_3(dt.date(2025, 12, 1), dt.date(2026, 1, 1), winter=(8.51, 25.52, 76.56), per=125),
            ),
        ),
    ),
    feed_in=Charge(
        name="grid feed-in tariff",
        sheets=(
            flat(-1.53, dt.date(2024, 1, 1), dt.date(2024, 12, 1)),
            flat(-0.07, dt.date(2024, 12, 1), dt.date(2025, 1, 1)),
            flat(-1.37 / 1.25, dt.date(2025, 1, 1), dt.date(2025, 12, 1)),
            flat(-0.84 / 1.25, dt.date(2025, 12, 1), dt.date(2026, 1, 1)),
        ),
    ),
)
"""N1, codes CD and CD R, as published on n1.dk: priser2024 (without VAT) and priser2025 (with VAT).

The winter of 2024 to six decimals as registered in Energinet's DatahubPricelist. n1.dk rounds to a hundredth of an øre,
so the 2025 figures without VAT may differ from DataHub's by 0.004 øre. No discount was listed in these years.
"""

RADIUS = GridCompany(
    name="Radius",
    charges=(
        Charge(
            name="grid tariff",
            sheets=(
                model_2(dt.date(2021, 1, 1), dt.date(2022, 4, 1), low=23.63, peak=63.07),
                model_3(dt.date(2026, 1, 1), dt.date(2026, 4, 1), winter=(9.76, 29.29, 87.88)),
                model_3(dt.date(2026, 10, 1), dt.date(2027, 3, 23), winter=(10.6175, 31.8524, 95.5573)),
            ),
        ),
    ),
)
"""Radius, code DT_C_01.

2021: radiuselnet.dk, "Tariffer og netabonnement", from 2021-01-01; its end from a customer's published settings.
January to March 2026: from a public repository's settings for 2026, not seen at Radius; check against your bill.
Winter 2026/27: DatahubPricelist as read in September and October 2026, registered until 2027-03-23.
The summer of 2026 (low 10.62, peak 41.41 øre) is left out, because its high price was not found.
"""

CERIUS = GridCompany(
    name="Cerius",
    charges=(
        Charge(name="grid tariff", sheets=(model_2(dt.date(2021, 1, 1), dt.date(2022, 1, 1), low=15.41, peak=47.57),)),
        Charge(
            name="grid discount",
            sheets=(
                flat(0.0, dt.date(2021, 1, 1), dt.date(2021, 2, 1)),
                model_2(dt.date(2021, 2, 1), dt.date(2022, 1, 1), low=-15.41, peak=-47.57),
            ),
        ),
    ),
)
"""Cerius, code 30TR_C_ET and its discount, as published on cerius.dk for 2021 ("Rabat på alle tariffer").

From February to December 2021 the discount equalled the tariff. Later figures were found in private settings only.
"""

TRANSMISSION = Charge(
    name="transmission",
    sheets=(
        flat(4.9, dt.date(2021, 1, 1), dt.date(2022, 1, 1)),
        flat(5.8, dt.date(2023, 1, 1), dt.date(2024, 1, 1)),
        flat(7.4, dt.date(2024, 1, 1), dt.date(2025, 1, 1)),
        flat(6.1, dt.date(2025, 1, 1), dt.date(2026, 1, 1)),
        flat(4.3, dt.date(2026, 1, 1), dt.date(2027, 1, 1)),
    ),
)
"""Energinet's transmissionsnettarif, code 40000: energinet.dk "Aktuelle tariffer" of 2021 and 2023, DatahubPricelist
for 2023 to 2026. Read without an end for 2026; Energinet changes it each New Year."""

SYSTEM = Charge(
    name="system",
    sheets=(
        flat(6.1 + 0.229, dt.date(2021, 1, 1), dt.date(2022, 1, 1)),
        flat(5.4, dt.date(2023, 1, 1), dt.date(2024, 1, 1)),
        flat(5.1, dt.date(2024, 1, 1), dt.date(2025, 1, 1)),
        flat(7.4, dt.date(2025, 1, 1), dt.date(2026, 1, 1)),
        flat(7.2, dt.date(2026, 1, 1), dt.date(2027, 1, 1)),
    ),
)
"""Energinet's systemtarif, code 41000: energinet.dk "Aktuelle tariffer" of 2021 (with the balance tariff, 0.229, which
became part of it in 2023) and 2023; verdo.com, notice for 2024; DatahubPricelist as read in 2026. The figure for 2025
is from general knowledge and was not confirmed by a source: check it against your bill."""

ELECTRICITY_TAX = Charge(
    name="electricity tax",
    column="tax",
    sheets=(
        flat(90.0, dt.date(2021, 1, 1), dt.date(2022, 1, 1)),
        flat(0.8, dt.date(2023, 1, 1), dt.date(2023, 7, 1)),
        flat(69.7, dt.date(2023, 7, 1), dt.date(2024, 1, 1)),
        flat(76.1, dt.date(2024, 1, 1), dt.date(2025, 1, 1)),
        flat(72.0, dt.date(2025, 1, 1), dt.date(2026, 1, 1)),
        flat(0.8, dt.date(2026, 1, 1), dt.date(2028, 1, 1)),
    ),
)
"""Elafgift, code EA-001, full rate: radiuselnet.dk for 2021; DatahubPricelist for 2023, 2024, the end of 2025 and the
beginning of 2026; bill L 24 of 2025-10-08 for 2026 and 2027. From 2028 the law names a rate at 2015 prices that is
still to be indexed, so there is no figure."""


def household(
    grid: GridCompany,
    *,
    supplier_fee: float,
    export_fee: float | None = None,
    billing_resolution: dt.timedelta | None = None,
) -> Tariff:
    """A household on a spot contract: 1.25 (spot + supplier + grid + Energinet + tax).

    Sold energy earns the market price less the fee of whoever buys it and the grid company's feed-in tariff; a private
    seller charges no VAT.

    Args:
        grid: The grid company.
        supplier_fee: What the supplier adds [DKK/kWh without VAT].
        export_fee: What the buyer of the surplus keeps [DKK/kWh]; None where nothing is sold.
        billing_resolution: An hour where the supplier bills the mean of four quarter-hour prices; None bills each.

    Raises:
        pydantic.ValidationError: A figure is not finite.
    """
    feed_in = () if grid.feed_in is None else (grid.feed_in,)
    sold = () if export_fee is None else (Spot(), Charge.flat("export fee", -export_fee, "energy"), *feed_in)
    return Tariff(
        name=f"{grid.name} household",
        currency="DKK",
        timezone=TIMEZONE,
        import_components=(
            Spot(),
            Charge.flat("supplier fee", supplier_fee, "energy"),
            *grid.charges,
            TRANSMISSION,
            SYSTEM,
            ELECTRICITY_TAX,
            VAT,
        ),
        export_components=sold,
        billing_resolution=billing_resolution,
    )

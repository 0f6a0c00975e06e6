"""Germany: spot, supplier, grid fee with Paragraph 14a Module 3, levies, electricity tax, VAT. EUR/kWh without VAT.

Module 3 (section 14a EnWG, BNetzA decision BK8-22/010-A; rules here as summarised by BET Consulting, 2024): a
time-variable grid fee in three levels for customers with Module 1 and a smart meter, billed since 2025-04-01. The grid
operator chooses windows per quarter; in quarters without windows the standard level holds all day. Module 1 is a yearly
sum and no price per kWh.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.tariffs.components import Charge, Spot, Vat
from engine.tariffs.rates import Band, Frozen, Rates, SomeHours, minutes_held
from engine.tariffs.tariff import Tariff

TIMEZONE = "Europe/Berlin"
VAT = Vat.at(0.19)
"""Section 12 UStG."""
ELECTRICITY_TAX = Charge.flat("electricity tax", 0.0205, "tax")
"""Section 3 StromStG, full rate: 20.50 EUR/MWh."""

LEAST_HIGH_MINUTES = 120
LEAST_LOW_SHARE, LARGEST_LOW_SHARE = 0.10, 0.40
LARGEST_HIGH_SHARE = 2.0
LEAST_QUARTERS = 2
# Price sheets round to a hundredth of a cent: 0.56 ct is sold as a tenth of 5.62 ct.
ROUNDING = 0.00005

Quarter = Literal[1, 2, 3, 4]


class QuarterWindows(Frozen):
    """When the low and the high level hold in one quarter, every day of the week alike."""

    low: SomeHours
    high: SomeHours


class Module3(Frozen):
    """One operator's Module 3 for one year, checked against the bounds of the decision.

    Raises:
        pydantic.ValidationError: A level, a window or the number of quarters is out of the rules' bounds.
    """

    operator: str
    year: int
    low: Annotated[float, Field(gt=0)]
    """Niedertarif [EUR/kWh without VAT]."""
    standard: Annotated[float, Field(gt=0)]
    """Standardtarif [EUR/kWh without VAT]."""
    high: Annotated[float, Field(gt=0)]
    """Hochtarif [EUR/kWh without VAT]."""
    quarters: Mapping[Quarter, QuarterWindows]
    """Windows of the quarters in which the levels differ; all others are at the standard level."""

    @model_validator(mode="after")
    def _keeps_the_bounds(self) -> Self:
        least, largest = LEAST_LOW_SHARE * self.standard, LARGEST_LOW_SHARE * self.standard
        if not least - ROUNDING <= self.low <= largest + ROUNDING:
            raise ValueError(
                f"low {self.low:g} is outside 10-40 % of standard ({least:g} to {largest:g} EUR/kWh); check the sheet"
            )
        if not self.standard < self.high <= LARGEST_HIGH_SHARE * self.standard + ROUNDING:
            raise ValueError(
                f"high {self.high:g} is not above standard {self.standard:g} by at most 100 %; check the sheet"
            )
        if len(self.quarters) < LEAST_QUARTERS:
            raise ValueError(f"{len(self.quarters)} quarter has windows, the rules ask for at least 2; add the others")
        for quarter, windows in self.quarters.items():
            low, high = minutes_held(windows.low), minutes_held(windows.high)
            if high.sum() < LEAST_HIGH_MINUTES:
                raise ValueError(
                    f"the high level lasts {high.sum()} min a day in quarter {quarter}, the rules ask for 120; "
                    "check the windows"
                )
            if (low & high).any():
                raise ValueError(f"the low and the high windows overlap in quarter {quarter}; check the windows")
        return self

    @property
    def charge(self) -> Charge:
        """The grid fee of the year by local time, a component for any tariff."""
        bands = []
        for quarter, windows in self.quarters.items():
            months = tuple(range(3 * quarter - 2, 3 * quarter + 1))
            bands.append(Band(price=self.low, hours=windows.low, months=months))
            bands.append(Band(price=self.high, hours=windows.high, months=months))
        sheet = Rates(
            standard=self.standard,
            bands=tuple(bands),
            valid_from=dt.date(self.year, 1, 1),
            valid_to=dt.date(self.year + 1, 1, 1),
        )
        return Charge(name="grid fee", sheets=(sheet,))


_NIGHT = QuarterWindows(low=("01:00-04:00",), high=("17:00-19:00",))
EW_WANFRIED_2025 = Module3(
    operator="EW Wanfried",
    year=2025,
    low=0.0345,
    standard=0.0862,
    high=0.1084,
    quarters={1: _NIGHT, 4: _NIGHT},
)
"""ewwanfried.de, "Steuerbare Verbrauchseinrichtungen", low voltage, 2025; Module 3 is billed from 2025-04-01."""

_EVENING = QuarterWindows(low=("00:00-07:00",), high=("15:00-20:00",))
WESTNETZ_2026 = Module3(
    operator="Westnetz",
    year=2026,
    low=0.0113,
    standard=0.1134,
    high=0.1862,
    quarters={1: _EVENING, 2: _EVENING, 3: _EVENING, 4: _EVENING},
)
"""From the operator table of the OpenEMS project (2026); Westnetz's own sheet was not seen. Check it."""

_MIDDAY = QuarterWindows(low=("10:00-15:00",), high=("17:00-22:00",))
BAYERNWERK_2026 = Module3(
    operator="Bayernwerk",
    year=2026,
    low=0.0056,
    standard=0.0562,
    high=0.1075,
    quarters={2: _MIDDAY, 3: _MIDDAY},
)
"""From the operator table of the OpenEMS project (2026); Bayernwerk's own sheet was not seen. Check it."""


def dynamic(
    grid: Module3 | Charge,
    *,
    supplier_fee: float,
    levies: float,
    concession_fee: float,
    feed_in: float | None = None,
    billing_resolution: dt.timedelta | None = None,
) -> Tariff:
    """A household on a dynamic contract: 1.19 (spot + supplier + grid + levies + concession fee + tax).

    Args:
        grid: Module 3, or any other grid fee as a charge [EUR/kWh without VAT].
        supplier_fee: What the supplier adds [EUR/kWh without VAT].
        levies: KWKG, offshore and section 19 levies of the year together [EUR/kWh without VAT].
        concession_fee: What the municipality takes [EUR/kWh without VAT].
        feed_in: Fixed feed-in payment by date of commissioning [EUR/kWh]; None where nothing is sold.
        billing_resolution: An hour where the contract bills the mean of four quarter-hour prices; None bills each.

    Raises:
        pydantic.ValidationError: A figure is not finite.
    """
    name = f"{grid.operator} Module 3" if isinstance(grid, Module3) else "dynamic"
    return Tariff(
        name=name,
        currency="EUR",
        timezone=TIMEZONE,
        import_components=(
            Spot(),
            Charge.flat("supplier fee", supplier_fee, "energy"),
            grid.charge if isinstance(grid, Module3) else grid,
            Charge.flat("levies", levies, "tax"),
            Charge.flat("concession fee", concession_fee, "tax"),
            ELECTRICITY_TAX,
            VAT,
        ),
        export_components=() if feed_in is None else (Charge.flat("feed-in", feed_in, "energy"),),
        billing_resolution=billing_resolution,
    )

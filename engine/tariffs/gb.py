"""Great Britain: Octopus Agile for homes, and distribution charges by time band (DUoS) for half-hourly contracts.

GBP/kWh without VAT. Settlement is by half-hour, local time; a day has 46, 48 or 50 of them.
"""

from __future__ import annotations

from typing import Literal

from engine.tariffs.components import Cap, Charge, Spot, Vat
from engine.tariffs.rates import Band, DayKind, Frozen, Hours, Money, Rates, SomeHours
from engine.tariffs.tariff import Tariff

TIMEZONE = "Europe/London"
DOMESTIC_VAT = Vat.at(0.05)
"""Reduced rate on fuel for homes (VAT Notice 701/19)."""
BUSINESS_VAT = Vat.at(0.20)
"""Standard rate."""


class AgileTerms(Frozen):
    """The coefficients of an Agile contract; they belong to the region and the product version."""

    multiplier: float
    """What the wholesale price is multiplied with, for losses and distribution."""
    peak: Money
    """What is added from 16:00 to 19:00 local time, every day [GBP/kWh without VAT]."""
    cap: Money
    """The most that a kWh may cost [GBP/kWh without VAT]."""


_CAP_2018 = 0.3333
AGILE_2018 = {
    "A": AgileTerms(multiplier=2.1, peak=0.13, cap=_CAP_2018),
    "B": AgileTerms(multiplier=2.0, peak=0.14, cap=_CAP_2018),
    "C": AgileTerms(multiplier=2.0, peak=0.12, cap=_CAP_2018),
    "D": AgileTerms(multiplier=2.2, peak=0.13, cap=_CAP_2018),
    "E": AgileTerms(multiplier=2.1, peak=0.12, cap=_CAP_2018),
    "F": AgileTerms(multiplier=2.1, peak=0.12, cap=_CAP_2018),
    "G": AgileTerms(multiplier=2.1, peak=0.12, cap=_CAP_2018),
    "H": AgileTerms(multiplier=2.1, peak=0.12, cap=_CAP_2018),
    "J": AgileTerms(multiplier=2.2, peak=0.12, cap=_CAP_2018),
    "K": AgileTerms(multiplier=2.2, peak=0.12, cap=_CAP_2018),
    "L": AgileTerms(multiplier=2.3, peak=0.11, cap=_CAP_2018),
    "M": AgileTerms(multiplier=2.0, peak=0.13, cap=_CAP_2018),
    "N": AgileTerms(multiplier=2.1, peak=0.13, cap=_CAP_2018),
    "P": AgileTerms(multiplier=2.4, peak=0.12, cap=_CAP_2018),
}
"""The first product by region letter, capped at 35 p with VAT: coefficients from public notes on Agile, within the
ranges of Guy Lipman ("A Winter's Tale", 2021: 2 to 2.4 and 11 to 14 p); Octopus published no table. The half-hourly
prices of region A in 2020 and 2021 agree with 2.1, 13 p and a cap of 33.33 p. Octopus rounds to a hundredth of a penny
before VAT; this module does not."""

AGILE_EXAMPLE = AgileTerms(multiplier=2.2, peak=0.12, cap=0.5238)
"""Octopus's own worked example, min(2.20 W + P, 52.38): "Agile pricing explained", version of 2022 (55 p with VAT).
Later products are capped at 100 p with VAT; take the coefficients from your contract."""


def agile(terms: AgileTerms, *, export: float | None = None) -> Tariff:
    """Agile Octopus: min(multiplier W + peak, cap) and 5 % VAT; negative where the wholesale price is.

    Args:
        terms: Coefficients of the contract.
        export: What a sold kWh earns [GBP/kWh]; None where nothing is sold.

    Raises:
        pydantic.ValidationError: A figure is not finite.
    """
    evening = Rates(standard=0.0, bands=(Band(price=terms.peak, hours=("16:00-19:00",)),))
    return Tariff(
        name="Agile",
        currency="GBP",
        timezone=TIMEZONE,
        import_components=(
            Spot(name="wholesale", factor=terms.multiplier),
            Charge(name="peak", column="energy", sheets=(evening,)),
            Cap(price=terms.cap),
            DOMESTIC_VAT,
        ),
        export_components=() if export is None else (Charge.flat("export", export, "energy"),),
    )


class DuosBands(Frozen):
    """When a distributor's red and amber bands hold; green is the rest."""

    distributor: str
    red: SomeHours
    """On weekdays."""
    amber: SomeHours
    """On weekdays."""
    weekend_amber: Hours = ()
    """On the other days."""

    def charge(
        self, *, red: float, amber: float, green: float, bank_holidays: Literal["weekday", "weekend"] = "weekday"
    ) -> Charge:
        """The distribution charge as a component.

        Args:
            red: Rate in the red band [GBP/kWh without VAT], from the distributor's schedule of charges of the year.
            amber: The same for amber.
            green: The same for green.
            bank_holidays: Whether a bank holiday counts as the weekday it falls on or as a weekend. The schedule says
                which; with ``"weekend"`` the tariff must list the bank holidays.
        """
        weekday: DayKind = "Monday-Friday" if bank_holidays == "weekday" else "working day"
        weekend: DayKind = "Saturday-Sunday" if bank_holidays == "weekday" else "day of rest"
        bands = [Band(price=red, hours=self.red, days=weekday), Band(price=amber, hours=self.amber, days=weekday)]
        if self.weekend_amber:
            bands.append(Band(price=amber, hours=self.weekend_amber, days=weekend))
        return Charge(name="DUoS", sheets=(Rates(standard=green, bands=tuple(bands)),))


EASTERN = DuosBands(distributor="Eastern (UKPN, 10)", red=("16:00-19:00",), amber=("07:00-16:00", "19:00-23:00"))
LONDON = DuosBands(
    distributor="London (UKPN, 12)",
    red=("11:00-14:00", "16:00-19:00"),
    amber=("07:00-11:00", "14:00-16:00", "19:00-23:00"),
)
MANWEB = DuosBands(
    distributor="Manweb (SP, 13)",
    red=("16:30-19:30",),
    amber=("08:00-16:30", "19:30-22:30"),
    weekend_amber=("16:00-20:00",),
)
"""Bands of the three distributors as compiled by the broker Advantage Utilities, "Time Bands for Half Hourly Meter",
undated. Neither the distributors' own statements nor their rule for bank holidays were seen: check the schedule of
charges of the year, which also has the rates."""


def half_hourly(
    duos: Charge, *, supplier_fee: float, levies: float, loss_factor: float = 1.0, export: float | None = None
) -> Tariff:
    """A business on a pass-through contract: 1.20 (loss factor x wholesale + supplier + DUoS + levies).

    Args:
        duos: Distribution charge, from `DuosBands.charge`.
        supplier_fee: What the supplier adds [GBP/kWh without VAT].
        levies: Everything else per kWh [GBP/kWh without VAT].
        loss_factor: Energy bought at the grid supply point per kWh at the meter.
        export: What a sold kWh earns [GBP/kWh]; None where nothing is sold.

    Raises:
        pydantic.ValidationError: A figure is out of its bound.
    """
    return Tariff(
        name="half-hourly",
        currency="GBP",
        timezone=TIMEZONE,
        import_components=(
            Spot(name="wholesale", factor=loss_factor),
            Charge.flat("supplier fee", supplier_fee, "energy"),
            duos,
            Charge.flat("levies", levies, "tax"),
            BUSINESS_VAT,
        ),
        export_components=() if export is None else (Charge.flat("export", export, "energy"),),
    )

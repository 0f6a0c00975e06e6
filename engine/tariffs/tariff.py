"""A contract: components in order, and the all-in prices that they come to."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Annotated, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, SerializeAsAny, field_validator, model_validator

from engine.arrays import Array
from engine.errors import InputError
from engine.prices import PriceCurve
from engine.tariffs.clock import LocalClock, stamp
from engine.tariffs.components import Basis, Component
from engine.tariffs.rates import Frozen
from engine.timeline import ClockIntervals, TimeZoneName, utc_index

Side = Literal["import", "export"]


class Tariff(Frozen):
    """Turns a market price into what a customer pays and earns per kWh.

    Raises:
        pydantic.ValidationError: A field is unknown or out of its bound, or two components of a side share a name.
    """

    name: str
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    """ISO 4217 code of every price in the contract; the market price must carry the same."""
    timezone: TimeZoneName
    """IANA name of the zone in which windows, dates and holidays are meant."""
    import_components: Annotated[tuple[SerializeAsAny[Component], ...], Field(min_length=1)]
    """What a bought kWh is charged for, in order: VAT and caps see those before them."""
    export_components: tuple[SerializeAsAny[Component], ...] = ()
    """What a sold kWh is paid for; fees are negative."""
    holidays: frozenset[dt.date] = frozenset()
    """Public holidays, for bands on working days or days of rest."""
    billing_resolution: dt.timedelta | None = None
    """Where the contract bills the mean market price of longer intervals, their length: an hour of four quarters.

    They begin with the hours of the contract's time zone, which in India or South Australia are not those of UTC.
    """

    @field_validator("billing_resolution")
    @classmethod
    def _divides_the_hour(cls, value: dt.timedelta | None) -> dt.timedelta | None:
        if value is not None and (value <= dt.timedelta(0) or dt.timedelta(hours=1) % value):
            raise ValueError(f"value {value} does not divide the hour; use 15, 30 or 60 minutes, or none")
        return value

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        for components in (self.import_components, self.export_components):
            for name, times in Counter(component.name for component in components).items():
                if times > 1:
                    raise ValueError(
                        f"{times} components are called {name!r}; give each its own name, they are summed anyway"
                    )
        return self

    def import_price(self, spot: PriceCurve | pd.DatetimeIndex) -> PriceCurve:
        """All-in price of a bought kWh.

        Args:
            spot: The market price in the tariff's currency; for a tariff without a market price the times suffice.

        Returns:
            Prices [currency/kWh] on the same index.

        Raises:
            InputError: The market price is in another currency, an instant has no valid price, a price changes inside
                an interval, or the market price lacks part of a billing interval.
        """
        return self._price(spot, "import")

    def export_price(self, spot: PriceCurve | pd.DatetimeIndex) -> PriceCurve:
        """What a sold kWh earns, all fees deducted; arguments, result and errors as for `import_price`.

        Raises:
            InputError: Also where the contract names no price for sold energy.
        """
        return self._price(spot, "export")

    def components(self, spot: PriceCurve | pd.DatetimeIndex, side: Side = "import") -> pd.DataFrame:
        """What each component adds to the price, ready to stack in a plot.

        Args:
            spot: The market price, or the times, as for `import_price`.
            side: ``"import"`` or ``"export"``.

        Returns:
            One column per component in the order of the contract [currency/kWh], indexed by ``start`` (UTC); each row
            sums to the all-in price.

        Raises:
            InputError: As for `import_price` and `export_price`.
        """
        chosen = self.import_components if side == "import" else self.export_components
        if not chosen:
            raise InputError(
                "export_components",
                f"{self.name} has no price for sold energy",
                "add what it earns; if that is nothing, Charge.flat('feed-in', 0.0)",
            )
        index = spot.index if isinstance(spot, PriceCurve) else utc_index("times", spot)
        clock = LocalClock.read(index, self.timezone, self.holidays)
        market = self._billed(spot, clock) if isinstance(spot, PriceCurve) else None
        subtotal = np.zeros(len(index))
        columns: dict[str, Array] = {}
        for component in chosen:
            columns[component.name] = component.per_kwh(Basis(clock, market, subtotal))
            subtotal = subtotal + columns[component.name]
        return pd.DataFrame(columns, index=index)

    def _price(self, spot: PriceCurve | pd.DatetimeIndex, side: Side) -> PriceCurve:
        return PriceCurve(self.components(spot, side).sum(axis="columns"), self.currency)

    def _billed(self, spot: PriceCurve, clock: LocalClock) -> Array:
        """The market price as the contract bills it [currency/kWh]; shape (T,)."""
        if spot.currency != self.currency:
            raise InputError(
                "spot",
                f"{self.name} is in {self.currency}/kWh, the market price in {spot.currency}/kWh "
                f"(first interval {stamp(spot.index[0])})",
                f"convert it, for example with .to({self.currency!r}, rate)",
            )
        if self.billing_resolution is None:
            return spot.series.to_numpy()
        per_bill = round(self.billing_resolution / dt.timedelta(minutes=clock.step_minutes))
        if per_bill <= 1:
            return spot.series.to_numpy()
        step = pd.Timedelta(minutes=clock.step_minutes)
        billed = ClockIntervals.read("spot", spot.index, step, self.timezone, pd.Timedelta(self.billing_resolution))
        given = np.bincount(billed.number)
        lacking = np.zeros_like(given)
        lacking[0] += billed.before
        lacking[-1] += billed.after
        if lacking.any():
            short = int((lacking > 0).argmax())
            first = spot.index[int((billed.number == short).argmax())]
            if short == 0:
                first -= billed.before * step
            whole = given[short] + lacking[short]
            raise InputError(
                "spot",
                f"the billing interval from {stamp(first)} has {given[short]} of {whole} prices",
                "begin and end with whole billing intervals",
            )
        return (np.bincount(billed.number, spot.series) / given)[billed.number]

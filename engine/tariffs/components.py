"""What a kWh is charged for: market price, dated charges, tax on the sum, and a cap.

Every component adds a price per kWh, possibly negative, to those before it; so the components of a tariff sum to its
all-in price by construction, and a discount is a charge below zero. Write a new kind by deriving from `Component`.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from engine.arrays import Array
from engine.errors import InputError
from engine.tariffs.clock import LocalClock
from engine.tariffs.rates import Frozen, Money, Rates

Column = Literal["energy", "network", "tax"]
"""What the ledger books a line under."""


@dataclass(frozen=True, eq=False)
class Basis:
    """What a component may look at; arrays of shape (T,)."""

    clock: LocalClock
    spot: Array | None
    """Market price as the contract bills it [currency/kWh]; None where only times were given."""
    subtotal: Array
    """Sum of the components before this one [currency/kWh]."""


class Component(Frozen, ABC):
    """One line of the price per kWh."""

    name: str
    """The column of `Tariff.components` and the line of the bill."""
    column: Column = "network"
    """What the ledger books it under."""

    @abstractmethod
    def per_kwh(self, basis: Basis) -> Array:
        """What the component adds in each interval [currency/kWh]; shape (T,).

        Raises:
            InputError: It has no price for an interval, or lacks what it needs.
        """


class Spot(Component):
    """The market price, passed through."""

    name: str = "spot"
    column: Column = "energy"
    factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """What the contract multiplies the market price with, negative prices included; losses, or Agile's 2.2."""

    def per_kwh(self, basis: Basis) -> Array:
        """Market price times the factor [currency/kWh]; shape (T,).

        Raises:
            InputError: Only times were given.
        """
        if basis.spot is None:
            raise InputError(
                "spot", f"{self.name} passes the market price through", "give a PriceCurve, not only times"
            )
        return basis.spot * self.factor


class Dated(Component):
    """A component whose figure stands in dated sheets, by local time.

    Raises:
        pydantic.ValidationError: Two sheets hold on one date.
    """

    sheets: Annotated[tuple[Rates, ...], Field(min_length=1)]
    """In any order; a date that none covers is refused when it is asked for."""

    @model_validator(mode="after")
    def _sheets_exclude_each_other(self) -> Self:
        ordered = sorted(self.sheets, key=lambda sheet: sheet.valid_from or dt.date.min)
        for earlier, later in pairwise(ordered):
            if later.valid_from is None or earlier.valid_to is None or later.valid_from < earlier.valid_to:
                raise ValueError(
                    f"the sheet from {later.valid_from} overlaps the one until {earlier.valid_to}; "
                    "let each end where the next begins, and write two codes that hold together as two charges"
                )
        return self

    def figures(self, clock: LocalClock) -> Array:
        """The figure of the sheet that is valid at each local date; shape (T,).

        Raises:
            InputError: No sheet is valid at an instant, the figure changes inside an interval, or bands overlap.
        """
        figures = np.full(len(clock), np.nan)
        for sheet in self.sheets:
            valid = clock.between(sheet.valid_from, sheet.valid_to)
            if valid.any():
                then = clock.at(valid)
                then.refuse_straddled(self.name, sheet.edges)
                figures[valid] = sheet.prices(then)
        missing = np.isnan(figures)
        if missing.any():
            raise InputError(
                self.name, f"nothing is valid at {clock.first(missing)}", "add the price sheet of that date"
            )
        return figures


class Charge(Dated):
    """A price per kWh by local time.

    Grid tariffs, levies, energy tax, supplier fees, discounts (negative), fixed feed-in. Several codes of one company,
    discounts among them, are several charges; they are summed like all components.
    """

    @classmethod
    def flat(cls, name: str, price: float, column: Column = "network") -> Charge:
        """One price at all times, for a figure of the contract that has no date [currency/kWh]."""
        return cls(name=name, column=column, sheets=(Rates(standard=price),))

    def per_kwh(self, basis: Basis) -> Array:
        """Price at each instant [currency/kWh]; shape (T,). Errors as for `figures`."""
        return self.figures(basis.clock)


class Vat(Dated):
    """A share of everything before it, as a fraction (a quarter is 0.25); of a negative sum, a negative share."""

    name: str = "VAT"
    column: Column = "tax"

    @classmethod
    def at(cls, rate: float) -> Vat:
        """One rate at all times [fraction]."""
        return cls(sheets=(Rates(standard=rate),))

    def per_kwh(self, basis: Basis) -> Array:
        """Rate times the subtotal [currency/kWh]; shape (T,). Errors as for `figures`."""
        return self.figures(basis.clock) * basis.subtotal


class Cap(Component):
    """The most that the components before it may come to; the line shows what the cap takes off."""

    name: str = "cap"
    column: Column = "energy"
    price: Money
    """[currency/kWh], with or without VAT according to its place before or after it."""

    def per_kwh(self, basis: Basis) -> Array:
        """Zero, or the negative of what the subtotal is above the cap [currency/kWh]; shape (T,)."""
        return np.minimum(0.0, self.price - basis.subtotal)

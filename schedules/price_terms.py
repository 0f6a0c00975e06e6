"""What a site's contract makes of a market's prices: what it pays and what it earns per kWh, in euros."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field, field_validator

from adapters.contract import ConfigurationError
from adapters.feeds.contract import Side
from adapters.settings import AccountSettings
from engine.demand import DemandCharge
from engine.prices import PriceCurve
from engine.tariffs import Charge, Tariff, dk
from engine.tariffs.generic import spot_contract
from engine.timeline import TimeZoneName
from schedules.price_days import CurvesOfDay

GRIDS = {grid.name: grid for grid in (dk.N1, dk.RADIUS, dk.CERIUS)}
Money = Annotated[float, Field(ge=-10, le=10)]
"""Per kWh in the main unit of the contract's currency; beyond ten it is another unit."""


class DatahubGrid(AccountSettings):
    """A Danish grid company by what DataHub calls it; its tariffs are looked up every day."""

    gln: Annotated[str, Field(pattern=r"^\d{13}$")]
    """Global Location Number."""
    codes: Annotated[tuple[str, ...], Field(min_length=1)]
    """Charge codes of what is bought; they are added up, so discounts are named too."""
    feed_in_code: str | None = None
    """Of what is sold; taken off."""


class DanishHousehold(AccountSettings):
    """`engine.tariffs.dk.household`."""

    kind: Literal["danish household"]
    grid: Literal["N1", "Radius", "Cerius"] | DatahubGrid
    supplier_fee_dkk_per_kwh: Money
    """Without VAT."""
    export_fee_dkk_per_kwh: Money = 0.0
    billing_minutes: Literal[15, 30, 60] | None = None

    def tariff(self, grid: dk.GridCompany | None) -> Tariff:
        """The contract.

        Raises:
            ConfigurationError: DataHub has not told the grid company's tariffs yet.
        """
        if isinstance(self.grid, str):
            grid = GRIDS[self.grid]
        if grid is None:
            raise ConfigurationError("grid: DataHub has not told its tariffs yet; see `tidewatt prices show`")
        return dk.household(
            grid,
            supplier_fee=self.supplier_fee_dkk_per_kwh,
            export_fee=self.export_fee_dkk_per_kwh,
            billing_resolution=_length(self.billing_minutes),
        )


class SpotContract(AccountSettings):
    """`engine.tariffs.generic.spot_contract`: the market's price times a factor, a fee, VAT."""

    kind: Literal["spot"]
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "EUR"
    timezone: TimeZoneName = "UTC"
    factor: Annotated[float, Field(gt=0, le=10)] = 1.0
    fee_per_kwh: Money = 0.0
    """What comes on top of a bought kWh, without VAT."""
    vat: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """[fraction]"""
    export_fee_per_kwh: Money = 0.0
    billing_minutes: Literal[15, 30, 60] | None = None

    def tariff(self, _grid: dk.GridCompany | None) -> Tariff:
        """The contract."""
        return spot_contract(
            Charge.flat("fee", self.fee_per_kwh),
            currency=self.currency,
            timezone=self.timezone,
            factor=self.factor,
            vat=self.vat,
            export_fee=self.export_fee_per_kwh,
            billing_resolution=_length(self.billing_minutes),
        )


class AsQuoted(AccountSettings):
    """The source gives what is paid and earned itself, as Octopus does."""

    kind: Literal["as quoted"]
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    export_per_kwh: Money | None = None
    """What a sold kWh earns where the source does not say."""


class Terms(AccountSettings):
    """A site's contract, and what its currency is worth."""

    contract: Annotated[DanishHousehold | SpotContract | AsQuoted, Field(discriminator="kind")]
    per_eur: Annotated[float, Field(gt=0, le=10_000)] = 1.0
    """Units of the contract's currency per euro; plans are made in euros."""
    demand_charges: tuple[DemandCharge, ...] = ()
    """What the peak of a day or a month costs, in euros."""

    @field_validator("demand_charges")
    @classmethod
    def _can_be_held(cls, charges: tuple[DemandCharge, ...]) -> tuple[DemandCharge, ...]:
        for charge in charges:
            measured = [name for name in charge.model_fields_set if "so_far" in name]
            if measured:
                raise ValueError(f"{measured[0]} is measured; leave it out")
            if charge.period not in ("day", "month"):
                raise ValueError(f"period {charge.period!r} cannot be looked over; give the charge of a month")
        return charges

    @property
    def datahub(self) -> DatahubGrid | None:
        """The codes to look up, where the contract names any."""
        grid = self.contract.grid if isinstance(self.contract, DanishHousehold) else None
        return None if isinstance(grid, str) else grid

    def prices(self, of_day: CurvesOfDay, grid: dk.GridCompany | None) -> pd.DataFrame:
        """What a day's prices come to.

        Args:
            of_day: The market's prices.
            grid: The grid company as DataHub has it, where the contract names codes.

        Returns:
            `import_price_eur_per_kwh` and `export_price_eur_per_kwh` on the day's index.

        Raises:
            ConfigurationError: The market does not give what the contract needs.
            InputError: The tariff has no price for an instant of the day.
        """
        if isinstance(self.contract, AsQuoted):
            bought, sold = self._as_quoted(self.contract, of_day)
        else:
            tariff = self.contract.tariff(grid)
            spot = self._spot(of_day, tariff.currency)
            bought, sold = tariff.import_price(spot), tariff.export_price(spot)
        columns = {"import_price_eur_per_kwh": bought, "export_price_eur_per_kwh": sold}
        return pd.DataFrame({name: curve.to("EUR", 1 / self.per_eur).series for name, curve in columns.items()})

    def _spot(self, of_day: CurvesOfDay, currency: str) -> PriceCurve:
        """The market's price in the contract's currency: its own where it has one, else from euros at the rate."""
        own, euros = of_day.get((Side.SPOT, currency)), of_day.get((Side.SPOT, "EUR"))
        if own is None and euros is None:
            raise ConfigurationError(f"contract: the market has no spot price in {currency} or EUR; choose another")
        if own is not None:
            return own
        assert euros is not None
        return euros.to(currency, self.per_eur)

    def _as_quoted(self, contract: AsQuoted, of_day: CurvesOfDay) -> tuple[PriceCurve, PriceCurve]:
        bought = of_day.get((Side.IMPORT, contract.currency))
        if bought is None:
            raise ConfigurationError(f"contract: the source gives no import price in {contract.currency}")
        sold = of_day.get((Side.EXPORT, contract.currency))
        if sold is None and contract.export_per_kwh is None:
            raise ConfigurationError("contract: the source gives no export price; write export_per_kwh")
        if sold is None:
            sold = PriceCurve(pd.Series(contract.export_per_kwh, bought.index, dtype=float), contract.currency)
        return bought, sold


def _length(minutes: int | None) -> dt.timedelta | None:
    return None if minutes is None else dt.timedelta(minutes=minutes)


def grid_from_json(grid: dict[str, Any] | None) -> dk.GridCompany | None:
    """A grid company as it was stored."""
    return None if grid is None else dk.GridCompany.model_validate(grid)

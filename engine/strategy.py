"""What a trader or owner wants of a site, beyond the cheapest bill: guards, budgets, reserve, carbon, taste."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# Nothing weighs more than this per kWh, kg or hour of it [EUR].
Price = Annotated[float, Field(ge=0, le=1e4, allow_inf_nan=False)]
Preference = Literal["fewer_switches", "smoother_power", "later_charging"]


class Strategy(BaseModel):
    """Guards and wishes that a plan keeps; the default wishes for nothing but the lowest cost.

    Raises:
        pydantic.ValidationError: A field is unknown or out of its bound.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    grid_charging: bool = True
    """Whether the battery may be charged with bought energy; if not, only with PV that load and curtailment leave."""
    battery_export: Literal["allowed", "behind_pv", "never"] = "allowed"
    """Whether stored energy may reach the grid. `behind_pv`: the battery covers at most the load, so that PV is
    exported in its place (lenient). `never`: it covers at most the load that PV leaves (strict)."""
    reserve_soc: Annotated[float, Field(ge=0, le=1)] = 0.0
    """State of charge kept for an outage [fraction]; given up where that earns more than `reserve_breach_price`."""
    reserve_breach_price: Price | None = None
    """What a kWh missing from the reserve costs per hour [EUR/kWh/h]. None: so much that only what is promised to
    the grid connection outranks it. Steers the plan; never part of its cost."""
    cycles_per_day: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Most full cycles in a local calendar day: energy taken from the store over its capacity."""
    cycles_per_year: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Most full cycles in a local calendar year."""
    cycles_today_so_far: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Full cycles of the local day that the horizon begins in, before it begins."""
    cycles_this_year_so_far: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Full cycles of the local year that the horizon begins in, before it begins."""
    carbon_eur_per_kg: Price = 0.0
    """What a kg of CO2 of bought energy weighs in decisions [EUR/kg]; never part of a plan's cost."""
    prefer: Preference | None = None
    """Which of several plans of the very same cost to take. None: rest, or go on as before."""

    @property
    def budgeted(self) -> bool:
        """Whether there is a cycle budget."""
        return self.cycles_per_day is not None or self.cycles_per_year is not None

"""What a trader or owner wants of a site: what to make least, and the guards, budgets and markets that go with it.

Whatever is not named is not wanted: the default is day-ahead arbitrage, the lowest cost at the prices given. Each field
carries title, description, unit and group in its JSON schema, from which forms are made; `docs/strategies.md` has the
mathematics of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Nothing weighs more than this per kWh, kg or hour of it [EUR].
Price = Annotated[float, Field(ge=0, le=1e4, allow_inf_nan=False)]
# A price that what is sold is held against may be below nothing [EUR/kWh].
Threshold = Annotated[float, Field(ge=-20, le=20, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Preference = Literal["fewer_switches", "smoother_power", "later_charging"]
DAYS_PER_YEAR = 365.25
# Products of balancing capacity that charge, or discharge, whenever the grid asks.
CHARGING_PRODUCTS = ("fcr_n_kw", "fcr_d_down_kw", "afrr_down_kw")
DISCHARGING_PRODUCTS = ("fcr_n_kw", "fcr_d_up_kw", "afrr_up_kw")
# What has no meaning once prices are dropped.
NEEDS_PRICES = (
    *("carbon_eur_per_kg", "throughput_price_eur_per_kwh", "intraday", "imbalance_kw"),
    *("follow", "fcr_n_kw", "fcr_d_up_kw", "fcr_d_down_kw", "afrr_up_kw", "afrr_down_kw"),
)


def _field(default: Any, group: str, title: str, unit: str = "") -> Any:
    return Field(default, title=title, json_schema_extra={"unit": unit, "group": group})


class Strategy(BaseModel):
    """Guards and wishes that a plan keeps; the default wishes for nothing but the lowest cost.

    Raises:
        pydantic.ValidationError: A field is unknown, out of its bound, or contradicts another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    version: Literal[1] = _field(1, "Objective", "Version")
    """Of this schema; a strategy that was stored by a later one is refused rather than half understood."""
    objective: Literal["cost", "self_consumption"] = _field("cost", "Objective", "Objective")
    """What is made least. `cost`: the money at the prices given. `self_consumption`: the energy bought, whatever it
    costs; the battery is charged with surplus PV only and never feeds the grid. What is reported is money all the same,
    and demand charges weigh as if a kWh cost one euro."""

    grid_charging: bool = _field(True, "Guards", "Charging from the grid")
    """Whether the battery may be charged with bought energy; if not, only with PV that load and curtailment leave."""
    battery_export: Literal["allowed", "behind_pv", "never"] = _field("allowed", "Guards", "Export of stored energy")
    """Whether stored energy may reach the grid. `behind_pv`: the battery covers at most the load, so that PV is
    exported in its place (lenient). `never`: it covers at most the load that PV leaves (strict)."""
    export_floor_eur_per_kwh: Threshold | None = _field(None, "Guards", "Export price floor", "EUR/kWh")
    """Where exporting earns less than this, the export guard holds. None: nothing is guarded; what is sold at a loss is
    sold only where that is the cheapest."""
    export_guard: Literal["curtail", "hold_battery"] = _field("curtail", "Guards", "Export guard")
    """What holds below the export price floor. `curtail`: nothing is fed in, PV is curtailed instead. `hold_battery`:
    stored energy is not fed in, PV may be. Prices stay as they are, negative ones too."""
    import_target_kw: Amount | None = _field(None, "Guards", "Import target (peak shaving)", "kW")
    """Import that is not to be exceeded. None: only the connection limits it."""
    import_target_price_eur_per_kwh: Price | None = _field(None, "Guards", "Price above the import target", "EUR/kWh")
    """What a kWh drawn above the target weighs [EUR/kWh]. None: as much as above a limit of the connection, more than
    any money. Steers the plan; never part of its cost. What a tariff asks for a peak is a `DemandCharge`."""

    reserve_soc: Annotated[float, Field(ge=0, le=1)] = _field(0.0, "Backup", "Reserve for an outage", "fraction")
    """State of charge kept for an outage [fraction]; given up where that earns more than `reserve_breach_price`."""
    reserve_breach_price: Price | None = _field(None, "Backup", "Price of a missing reserve", "EUR/kWh/h")
    """What a kWh missing from the reserve costs per hour [EUR/kWh/h]. None: so much that only what is promised to
    the grid connection outranks it. Steers the plan; never part of its cost."""

    cycles_per_day: Amount | None = _field(None, "Wear", "Cycles per day", "cycles")
    """Most full cycles in a local calendar day: energy taken from the store over its capacity."""
    cycles_per_year: Amount | None = _field(None, "Wear", "Cycles per year", "cycles")
    """Most full cycles in a local calendar year."""
    cycles_today_so_far: Amount = _field(0.0, "Wear", "Cycles today so far", "cycles")
    """Full cycles of the local day that the horizon begins in, before it begins."""
    cycles_this_year_so_far: Amount = _field(0.0, "Wear", "Cycles this year so far", "cycles")
    """Full cycles of the local year that the horizon begins in, before it begins."""
    warranty_throughput_mwh: Amount | None = _field(None, "Wear", "Throughput under warranty", "MWh")
    """Energy that may be taken from one store over `warranty_years`, losses included. What is left of it, spread evenly
    over the days that are left, is a budget of each local day."""
    warranty_years: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = _field(
        None, "Wear", "Length of the warranty", "years"
    )
    """How long the warranty lasts."""
    warranty_used_mwh: Amount = _field(0.0, "Wear", "Throughput used so far", "MWh")
    """Energy taken from the store since the warranty began, up to the start of today."""
    warranty_elapsed_years: Amount = _field(0.0, "Wear", "Age of the warranty", "years")
    """How long ago the warranty began, at the start of today."""
    throughput_price_eur_per_kwh: Price = _field(0.0, "Wear", "Least spread", "EUR/kWh")
    """What a discharged kWh must earn besides its wear [EUR/kWh]: a least spread, or the price of a warranty, raised
    while use is ahead of its pace (`next_throughput_price`). Steers the plan; never part of its cost."""

    carbon_eur_per_kg: Price = _field(0.0, "Objective", "Weight of carbon", "EUR/kg")
    """What a kg of CO2 of bought energy weighs in decisions [EUR/kg]; never part of a plan's cost."""

    intraday: bool = _field(False, "Markets", "Trade intraday")
    """Whether the position already sold may be changed at the bid and ask prices (rolling intrinsic): keeping it costs
    nothing, so that where it can be delivered a plan is never dearer than that."""
    imbalance_kw: Amount | None = _field(None, "Markets", "Imbalance taken", "kW")
    """Most that delivery may differ from what is sold, settled at the imbalance price. None: not at all by choice."""
    imbalance_side: Literal["both", "long", "short"] = _field("both", "Markets", "Side of the imbalance")
    """`long`: only more may be delivered than is sold. `short`: only less."""
    imbalance_from_hour: Annotated[int, Field(ge=0, le=23)] = _field(0, "Markets", "Imbalance from", "local hour")
    """Imbalance is taken from this local hour on."""
    imbalance_to_hour: Annotated[int, Field(ge=1, le=24)] = _field(24, "Markets", "Imbalance until", "local hour")
    """Imbalance is taken before this local hour."""
    follow: Literal["grid", "battery"] | None = _field(None, "Markets", "Follow a schedule")
    """Which power follows the schedule given: that of the grid (+ imports) or that of the battery (+ discharges)."""
    follow_price_eur_per_kwh: Price | None = _field(None, "Markets", "Price of a deviation", "EUR/kWh")
    """What a kWh of deviation from the schedule weighs, either way [EUR/kWh]. Steers the plan; never part of its
    cost."""
    fcr_n_kw: Amount = _field(0.0, "Balancing capacity", "FCR-N, at most", "kW")
    """Most FCR-N capacity to sell, symmetric."""
    fcr_d_up_kw: Amount = _field(0.0, "Balancing capacity", "FCR-D up, at most", "kW")
    """Most upward FCR-D capacity to sell."""
    fcr_d_down_kw: Amount = _field(0.0, "Balancing capacity", "FCR-D down, at most", "kW")
    """Most downward FCR-D capacity to sell."""
    afrr_up_kw: Amount = _field(0.0, "Balancing capacity", "aFRR up, at most", "kW")
    """Most upward aFRR capacity to sell."""
    afrr_down_kw: Amount = _field(0.0, "Balancing capacity", "aFRR down, at most", "kW")
    """Most downward aFRR capacity to sell."""
    balancing_price_floor_eur_per_kw_h: Price = _field(0.0, "Balancing capacity", "Least price of capacity", "EUR/kW/h")
    """No capacity is sold for less [EUR/kW per hour]; what is sold already is kept."""

    prefer: Preference | None = _field(None, "Objective", "Among plans of equal cost")
    """Which of several plans of the very same cost to take. None: rest, or go on as before."""

    @model_validator(mode="after")
    def _does_not_contradict_itself(self) -> Self:
        for one, other, why, way_out in self._contradictions():
            raise ValueError(f"{one} {getattr(self, one)!r} with {other} {getattr(self, other)!r}: {why}; {way_out}")
        return self

    def _contradictions(self) -> Iterator[tuple[str, str, str, str]]:
        """Two fields each, why they exclude each other, and the way out."""
        if self.objective == "self_consumption":
            for name in NEEDS_PRICES:
                if self._chosen(name):
                    yield "objective", name, "self-consumption drops the prices that it needs", "choose one of them"
        for name in CHARGING_PRODUCTS if not self.grid_charging else ():
            if getattr(self, name):
                yield "grid_charging", name, "its activation charges from the grid", "allow that or leave it out"
        for name in DISCHARGING_PRODUCTS if self.battery_export != "allowed" else ():
            if getattr(self, name):
                yield "battery_export", name, "its activation feeds the grid", "allow that or leave it out"
        if self.follow is not None and self.intraday:
            yield "follow", "intraday", "a schedule is followed, a position is traded", "choose one of them"
        if self.follow is not None and self.imbalance_kw is not None:
            yield "follow", "imbalance_kw", "both say how far delivery may differ", "choose one of them"
        if self.imbalance_from_hour >= self.imbalance_to_hour:
            yield "imbalance_from_hour", "imbalance_to_hour", "it is not before it", "swap them"
        if self.warranty_years is not None and self.warranty_elapsed_years >= self.warranty_years:
            yield "warranty_elapsed_years", "warranty_years", "the warranty is over", "leave it out"
        hours = "imbalance_side", "imbalance_from_hour", "imbalance_to_hour"
        for detail, main in (
            ("import_target_price_eur_per_kwh", "import_target_kw"),
            ("follow_price_eur_per_kwh", "follow"),
            ("follow", "follow_price_eur_per_kwh"),
            ("warranty_throughput_mwh", "warranty_years"),
            ("warranty_years", "warranty_throughput_mwh"),
            ("warranty_used_mwh", "warranty_throughput_mwh"),
            ("warranty_elapsed_years", "warranty_throughput_mwh"),
            ("export_guard", "export_floor_eur_per_kwh"),
            *((name, "imbalance_kw") for name in hours),
        ):
            if getattr(self, main) is None and self._chosen(detail):
                yield detail, main, "the one means nothing without the other", "give both or neither"

    def _chosen(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).model_fields[name].default)

    @property
    def budgeted(self) -> bool:
        """Whether there is a budget of cycles or energy."""
        return not (self.cycles_per_day is None and self.cycles_per_year is None and self.pace_kwh_per_day is None)

    @property
    def buys_to_charge(self) -> bool:
        """Whether the battery may be charged with bought energy, all wishes together."""
        return self.grid_charging and self.objective == "cost"

    @property
    def stored_export(self) -> Literal["allowed", "behind_pv", "never"]:
        """Whether stored energy may reach the grid, all wishes together."""
        return self.battery_export if self.objective == "cost" else "never"

    @property
    def trades(self) -> bool:
        """Whether delivery may differ from the position already sold, for money."""
        return self.intraday or self.imbalance_kw is not None

    @property
    def pace_kwh_per_day(self) -> float | None:
        """What is left of the warranty's throughput for each day that is left of it [kWh]; None: no warranty."""
        if self.warranty_throughput_mwh is None or self.warranty_years is None:
            return None
        left_mwh = max(0.0, self.warranty_throughput_mwh - self.warranty_used_mwh)
        return left_mwh * 1e3 / (DAYS_PER_YEAR * (self.warranty_years - self.warranty_elapsed_years))


def next_throughput_price(price_eur_per_kwh: float, used_kwh: float, pace_kwh: float, step: float) -> float:
    """The throughput price for the days to come: dearer after more use than the pace, cheaper after less.

    A subgradient step on the price of a budget over years, which earns more than the same budget cut into days
    (Oeltz and Pfingsten, arXiv 2510.01956).

    Args:
        price_eur_per_kwh: The price so far [EUR/kWh].
        used_kwh: Energy taken from the store at that price [kWh].
        pace_kwh: What the budget allows for the same time [kWh].
        step: By how much a kWh ahead of the pace raises the price [EUR/kWh per kWh].

    Returns:
        The new price, never negative [EUR/kWh].
    """
    return max(0.0, price_eur_per_kwh + step * (used_kwh - pace_kwh))

"""What stands at a site: battery, PV array, grid connection. Frozen, validated, units in names.

Powers are AC-side in kW, energies in kWh, state of charge a fraction 0..1 of `Battery.capacity_kwh`.
Sign convention of everything that leaves this package: battery + discharges, grid + imports.
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from engine.timeline import TimeZoneName

# A battery that needs longer than this to fill, or fills faster than this, was given in W or Wh.
LONGEST_DURATION_H = 200.0
SHORTEST_DURATION_H = 1 / 30
DEAREST_WEAR_EUR_PER_KWH = 5.0
# A connection this many times stronger than its battery was given in W, and so was a battery so much stronger than it.
LARGEST_CONNECTION_PER_BATTERY = 1000.0
LARGEST_BATTERY_PER_CONNECTION = 100.0

# Less than this of what goes in or comes out is no battery; such a figure is a loss.
SMALLEST_EFFICIENCY = 0.4
# Less than this was given in MWh.
SMALLEST_CAPACITY_KWH = 0.001
# More than this, 10 GWh, was given in Wh.
LARGEST_CAPACITY_KWH = 1e7
# A store that loses more than this per hour is no battery; a figure above it was given in % or per day.
LARGEST_STANDING_LOSS_PER_H = 0.05

Power = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PowerAtSoc = tuple[tuple[Fraction, Power], ...]
Location = tuple[
    Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)],
    Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)],
]
Efficiency = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class _Asset(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Battery(_Asset):
    """A battery with its inverter, seen from the AC side.

    Raises:
        pydantic.ValidationError: A field is unknown, out of its bound, or contradicts another.
    """

    capacity_kwh: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Nominal energy [kWh]; `soc` 0..1 is a fraction of it."""
    max_charge_kw: Power
    """Largest AC power into the battery [kW]."""
    max_discharge_kw: Power
    """Largest AC power out of the battery [kW]."""
    charge_efficiency: Efficiency = 1.0
    """Energy stored per AC energy taken [fraction]."""
    discharge_efficiency: Efficiency = 1.0
    """AC energy given per energy taken from the store [fraction]."""
    min_soc: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Lower edge of the band that plans keep to [fraction]."""
    max_soc: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Upper edge of the band that plans keep to [fraction]."""
    wear_eur_per_kwh: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Cost of ageing per kWh discharged at the AC side [EUR/kWh]."""
    standing_loss_per_h: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Part of the stored energy that is lost in an hour at rest [fraction/h]."""
    charge_kw_at_soc: PowerAtSoc = ()
    """Charging power that the cells take, falling with the state of charge: (soc, kW) points joined by straight lines,
    the last at soc 1, level below the first. Empty: only `max_charge_kw` limits."""
    discharge_kw_at_soc: PowerAtSoc = ()
    """Discharging power that the cells give, falling towards empty: (soc, kW) points joined by straight
    lines, the first at soc 0, level above the last. Empty: only `max_discharge_kw` limits."""

    @field_validator("min_soc", "max_soc", "charge_efficiency", "discharge_efficiency", mode="before")
    @classmethod
    def _is_fraction(cls, value: object) -> object:
        if isinstance(value, int | float) and 1 < value <= 100:
            raise ValueError(f"value {value} is above 1, the bound of a fraction; for {value} % write {value / 100:g}")
        return value

    @field_validator("charge_efficiency", "discharge_efficiency")
    @classmethod
    def _is_no_loss(cls, value: float) -> float:
        if value < SMALLEST_EFFICIENCY:
            raise ValueError(
                f"value {value:g} is below {SMALLEST_EFFICIENCY:g}; "
                f"give what is left of the energy, as in {1 - value:g} for a loss of {value:.0%}"
            )
        return value

    @field_validator("capacity_kwh")
    @classmethod
    def _is_in_kwh(cls, value: float) -> float:
        if value < SMALLEST_CAPACITY_KWH:
            raise ValueError(
                f"value {value:g} kWh is below {SMALLEST_CAPACITY_KWH:g} kWh; if it is in MWh, multiply it by 1000"
            )
        if value > LARGEST_CAPACITY_KWH:
            raise ValueError(
                f"value {value:g} kWh is above {LARGEST_CAPACITY_KWH:g} kWh; if it is in Wh, divide it by 1000"
            )
        return value

    @field_validator("wear_eur_per_kwh")
    @classmethod
    def _is_per_kwh(cls, value: float) -> float:
        if value > DEAREST_WEAR_EUR_PER_KWH:
            raise ValueError(
                f"value {value:g} EUR/kWh is above {DEAREST_WEAR_EUR_PER_KWH:g} EUR/kWh; "
                "if it is in EUR/MWh, divide it by 1000"
            )
        return value

    @field_validator("standing_loss_per_h")
    @classmethod
    def _is_per_hour(cls, value: float) -> float:
        if value > LARGEST_STANDING_LOSS_PER_H:
            raise ValueError(
                f"value {value:g} is above {LARGEST_STANDING_LOSS_PER_H:g} of the store per hour; "
                "give a fraction per hour (3 % a month is 0.00004)"
            )
        return value

    @field_validator("charge_kw_at_soc", "discharge_kw_at_soc")
    @classmethod
    def _is_concave_limit(cls, points: PowerAtSoc, info: ValidationInfo) -> PowerAtSoc:
        charging = info.field_name == "charge_kw_at_soc"
        sign = -1.0 if charging else 1.0
        if points and points[-1 if charging else 0][0] != (1.0 if charging else 0.0):
            raise ValueError(
                f"the points end at soc {points[-1][0]:g}; give the last one at soc 1"
                if charging
                else f"the points begin at soc {points[0][0]:g}; give the first one at soc 0"
            )
        slopes = []
        for (soc, kw), (next_soc, next_kw) in itertools.pairwise(points):
            if next_soc <= soc:
                raise ValueError(f"soc {next_soc:g} comes after {soc:g}; give the points in order of soc")
            slopes.append((next_kw - kw) / (next_soc - soc))
            if sign * slopes[-1] < 0:
                raise ValueError(
                    f"power goes from {kw:g} kW at soc {soc:g} to {next_kw:g} kW at {next_soc:g}; "
                    "charging power may only fall and discharging power only rise with soc"
                )
        if any(later > earlier + 1e-9 for earlier, later in itertools.pairwise(slopes)):
            raise ValueError("the line through the points is not concave; leave out the points below the straight line")
        return points

    @model_validator(mode="after")
    def _is_plausible(self) -> Self:
        if self.min_soc >= self.max_soc:
            raise ValueError(f"min_soc {self.min_soc} is not below max_soc {self.max_soc}; leave a band between them")
        power_kw = max(self.max_charge_kw, self.max_discharge_kw)
        if power_kw > 0:
            duration_h = self.capacity_kwh / power_kw
            if not SHORTEST_DURATION_H <= duration_h <= LONGEST_DURATION_H:
                raise ValueError(
                    f"capacity_kwh {self.capacity_kwh:g} with {power_kw:g} kW lasts {duration_h:.4g} h, outside "
                    f"{SHORTEST_DURATION_H:.3f}..{LONGEST_DURATION_H:g} h; "
                    "check the units (Wh and W must be divided by 1000)"
                )
        return self

    @property
    def round_trip_efficiency(self) -> float:
        """AC energy given back per AC energy taken [fraction]."""
        return self.charge_efficiency * self.discharge_efficiency

    @property
    def tapered(self) -> bool:
        """Whether power falls with the state of charge."""
        return bool(self.charge_kw_at_soc or self.discharge_kw_at_soc)

    def charge_limit_kw(self, soc: float) -> float:
        """Most AC power into the battery at a state of charge [kW]."""
        return min(self.max_charge_kw, _interpolated(self.charge_kw_at_soc, soc))

    def discharge_limit_kw(self, soc: float) -> float:
        """Most AC power out of the battery at a state of charge [kW]."""
        return min(self.max_discharge_kw, _interpolated(self.discharge_kw_at_soc, soc))

    def kept_after(self, hours: float) -> float:
        """Part of the stored energy that is still there after so many hours at rest [fraction]."""
        return float((1.0 - self.standing_loss_per_h) ** hours)


def _interpolated(points: PowerAtSoc, soc: float) -> float:
    if not points:
        return math.inf
    return float(np.interp(soc, [at for at, _ in points], [kw for _, kw in points]))


class PvArray(_Asset):
    """A PV array on the AC side of the battery."""

    curtailable: bool = False
    """Whether a plan may use less than the sun offers."""


class GridConnection(_Asset):
    """The site's connection; `None` means that no limit binds."""

    import_limit_kw: Power | None = None
    """Largest power bought from the grid [kW]."""
    export_limit_kw: Power | None = None
    """Largest power fed into the grid [kW]."""


class Site(_Asset):
    """One battery behind one grid connection, with or without PV."""

    battery: Battery
    grid: GridConnection = GridConnection()
    pv: PvArray | None = None
    name: str = "site"
    timezone: TimeZoneName = "UTC"
    """IANA name; only for local calendars and the screen, never for planning arithmetic."""
    location: Location | None = None
    """Latitude, north positive, and longitude, east positive [degrees]; only forecasts use it, for sun and weather."""
    local_control: bool = False
    """Whether a controller at the site follows grid frequency or a signal within seconds, without a vendor's cloud;
    balancing capacity is sold from no other."""

    @model_validator(mode="after")
    def _connection_fits_battery(self) -> Self:
        battery_kw = max(self.battery.max_charge_kw, self.battery.max_discharge_kw)
        for name in ("import_limit_kw", "export_limit_kw"):
            limit_kw = getattr(self.grid, name)
            if limit_kw is not None and 0 < battery_kw * LARGEST_CONNECTION_PER_BATTERY < limit_kw:
                raise ValueError(
                    f"grid.{name} {limit_kw:g} kW is above {LARGEST_CONNECTION_PER_BATTERY:g} times the battery's "
                    f"{battery_kw:g} kW; if it is in W, divide it by 1000; if no limit binds, leave it out"
                )
        limits_kw = [limit for limit in (self.grid.import_limit_kw, self.grid.export_limit_kw) if limit is not None]
        strongest_kw = max(limits_kw, default=0.0)
        if 0 < strongest_kw * LARGEST_BATTERY_PER_CONNECTION < battery_kw:
            raise ValueError(
                f"battery power {battery_kw:g} kW is above {LARGEST_BATTERY_PER_CONNECTION:g} times the connection's "
                f"{strongest_kw:g} kW; if the battery is in W and Wh, divide it by 1000"
            )
        return self

"""The sample home: real prices, load and PV for five weeks, and the contract that it buys and sells under.

Origin and licence of the data: `console/sample_data/ORIGIN.md`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import pandas as pd

from adapters.emulation import with_fluctuation
from engine import Battery, GridConnection, PriceCurve, PvArray, Site
from engine.errors import InputError
from engine.inputs import build_stack
from engine.plan import cost_without_battery_eur
from engine.request import Request
from engine.timeline import hold, local_day

# A Dutch household contract by the hour in 2024. Energy tax of the first bracket: 0.10880 EUR/kWh before VAT
# (Wet belastingen op milieugrondslag, rates for 2024), VAT 21 %. Under the net metering then in force
# (salderingsregeling, Elektriciteitswet 1998 art. 31c) a sold kWh earns tax and VAT back as well. The supplier's fee is
# a typical one, our choice.
ENERGY_TAX_EUR_PER_KWH = 0.10880
SUPPLIER_FEE_EUR_PER_KWH = 0.02
VAT = 0.21

DEFAULT_DAY = dt.date(2024, 4, 10)
QUARTER_HOUR = pd.Timedelta(minutes=15)
# The homes of a street against the first: smallest and largest.
LOAD_SIZES, PV_SIZES = (0.6, 1.5), (0.5, 1.4)
HOMES_SEED = 7


def sample_site() -> Site:
    """A home battery as sold in 2024: 10 kWh, 5 kW, behind a three-phase connection of 25 A."""
    return Site(
        name="sample home",
        timezone="Europe/Amsterdam",
        battery=Battery(
            capacity_kwh=10.0,
            max_charge_kw=5.0,
            max_discharge_kw=5.0,
            charge_efficiency=0.95,
            discharge_efficiency=0.95,
            min_soc=0.1,
            max_soc=1.0,
            wear_eur_per_kwh=0.02,
        ),
        grid=GridConnection(import_limit_kw=17.0, export_limit_kw=10.0),
        pv=PvArray(curtailable=False),
    )


def sample_days() -> list[dt.date]:
    """The local days that the sample covers."""
    local = pd.DatetimeIndex(sample_hours().index).tz_convert(sample_site().timezone)
    return sorted(set(local.date))


def sample_series(day: dt.date, step: pd.Timedelta = QUARTER_HOUR) -> pd.DataFrame:
    """One local day of the sample, as `engine.optimise` takes it.

    Args:
        day: One of `sample_days`.
        step: Length of an interval; prices and mean powers are held over the hour.

    Returns:
        `import_price_eur_per_kwh`, `export_price_eur_per_kwh`, `load_kw`, `pv_kw`, indexed by `start` (UTC).

    Raises:
        InputError: The day is not in the sample.
    """
    days = sample_days()
    if day not in days:
        raise InputError("day", f"value {day} is not in the sample", f"choose one from {days[0]} to {days[-1]}")
    hourly = sample_hours()
    spot_eur_per_kwh = hourly["spot_eur_per_mwh"] / 1000
    series = pd.DataFrame(
        {
            "import_price_eur_per_kwh": (spot_eur_per_kwh + SUPPLIER_FEE_EUR_PER_KWH + ENERGY_TAX_EUR_PER_KWH)
            * (1 + VAT),
            "export_price_eur_per_kwh": (spot_eur_per_kwh + ENERGY_TAX_EUR_PER_KWH) * (1 + VAT),
            "load_kw": hourly["load_kw"],
            "pv_kw": hourly["pv_kw"],
        }
    )
    wanted = local_day(day, sample_site().timezone, step)
    return pd.DataFrame({name: hold(column, step).reindex(wanted) for name, column in series.items()})


def sample_market() -> PriceCurve:
    """The day-ahead price of all days of the sample [EUR/kWh], by the hour."""
    return PriceCurve.per_mwh(sample_hours()["spot_eur_per_mwh"], "EUR")


def sample_history(seed: int = 1) -> dict[str, pd.DataFrame]:
    """All days of the sample.

    Args:
        seed: Seed of the minutes within the sample's hours.

    Returns:
        `prices`: `import_price` and `export_price` [EUR/kWh] by the quarter-hour; `house`: `load_kw` and `pv_kw` by the
        minute.
    """
    series = pd.concat([sample_series(day) for day in sample_days()])
    prices = series[["import_price_eur_per_kwh", "export_price_eur_per_kwh"]]
    return {
        "prices": prices.rename(columns=lambda name: name.removesuffix("_eur_per_kwh")),
        "house": with_fluctuation(series[["load_kw", "pv_kw"]], pd.Timedelta(minutes=1), seed),
    }


def sample_from(now: dt.datetime, step_min: int) -> pd.DataFrame:
    """The default day of the sample as 24 hours from an interval's begin on, each at its own time of the UTC day.

    So it goes with what `tidewatt emulate` lets the sample home do at that time.

    Args:
        now: The time; the first interval is the one that it falls in.
        step_min: Length of an interval [min]; divides 60.

    Raises:
        InputError: It does not.
    """
    if step_min < 1 or 60 % step_min:
        raise InputError("step_min", f"value {step_min} does not divide 60", "choose one of 1, 5, 10, 15, 30, 60")
    step = pd.Timedelta(minutes=step_min)
    day = sample_series(DEFAULT_DAY, step)
    index = pd.date_range(pd.Timestamp(now).floor(step), periods=len(day), freq=step, name="start")
    first = int((index[0] - day.index[0]) // step)
    places = [(first + number) % len(day) for number in range(len(day))]
    return pd.DataFrame(day.to_numpy()[places], index=index, columns=day.columns)


@dataclass(frozen=True, eq=False)
class Day:
    """A day of the sample: what is known of it beforehand, and what it turns out to be."""

    date: dt.date
    seed: int
    series: pd.DataFrame
    """Prices and forecasts at 15 minutes, as `sample_series` gives them."""
    house: pd.DataFrame
    """Load and PV by the minute [kW]; every quarter-hour has the mean that was forecast."""

    @property
    def begin(self) -> dt.datetime:
        """The start of the day, UTC."""
        begin: dt.datetime = self.series.index[0].to_pydatetime()
        return begin

    @property
    def end(self) -> dt.datetime:
        """The end of the day, UTC."""
        end: dt.datetime = (self.series.index[-1] + QUARTER_HOUR).to_pydatetime()
        return end

    def cost_without_battery_eur(self) -> float:
        """What the meter would cost that day with the battery idle, minute by minute [EUR]."""
        prices = self.series.reindex(self.house.index, method="ffill")
        stack = build_stack(
            [sample_site()],
            Request(
                import_price=prices["import_price_eur_per_kwh"],
                export_price=prices["export_price_eur_per_kwh"],
                load=self.house["load_kw"],
                pv=self.house["pv_kw"],
                initial_soc=0.5,
            ),
        )
        return cost_without_battery_eur(stack.site(0))


def sample_day(date: dt.date, seed: int, home: int = 0) -> Day:
    """A day of the sample with its minutes.

    Args:
        date: One of `sample_days`.
        seed: Seed of the minutes; the same seed gives the same day.
        home: Which home. The first is the sample itself; others have a load and a roof of their own size, drawn.
    """
    series = sample_series(date)
    if home > 0:
        sizes = np.random.default_rng([HOMES_SEED, home])
        series["load_kw"] *= sizes.uniform(*LOAD_SIZES)
        series["pv_kw"] *= sizes.uniform(*PV_SIZES)
    house = with_fluctuation(series[["load_kw", "pv_kw"]], pd.Timedelta(minutes=1), seed + home)
    return Day(date, seed, series, house)


def sample_hours() -> pd.DataFrame:
    """The sample as it is packaged: `spot_eur_per_mwh`, `load_kw`, `pv_kw` by the hour, indexed by `start` (UTC)."""
    source = files("console.sample_data").joinpath("home_spring_2024.csv")
    with source.open(encoding="utf-8") as file:
        return pd.read_csv(file, index_col="start", parse_dates=["start"])

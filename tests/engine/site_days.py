"""Every local day of every real site, paired with real prices under a contract drawn for that day.

Sites and prices are of different years and places, and prices in different currencies: what matters here is only that
both solvers find the same optimum of whatever the day asks.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine import Battery, GridConnection, PvArray, Site
from engine.timeline import hold, local_day
from tests.engine.conftest import Case

STEPS = (5, 15, 30, 60)


@dataclass(frozen=True)
class Prices:
    """A column of a price file; divided by `per_kwh` it is money per kWh."""

    file: str
    column: str
    zone: str
    per_kwh: float = 1000.0


@dataclass(frozen=True)
class House:
    """The load of a real site, its PV if it has any, and a battery of a size that fits."""

    file: str
    zone: str
    prices: Prices
    load: str = "load_kw"
    pv: str | None = "pv_kw"
    kw_per_unit: float = 1.0
    battery_kwh: float = 10.0

    def __str__(self) -> str:
        return f"{self.file} {self.load}"


BERLIN, PARIS, OSLO, BRUSSELS = "Europe/Berlin", "Europe/Paris", "Europe/Oslo", "Europe/Brussels"
GERMAN_2016 = Prices("prices_de_with_dayahead_forecasts_2016_2017", "price_actual_eur_per_mwh", BERLIN)
GERMAN_2020 = Prices("prices_de_lu_2020", "price_de_lu_eur_per_mwh", BERLIN)
GERMAN_2021 = Prices("prices_de_lu_2021_2022", "price_de_lu_eur_per_mwh", BERLIN)
DUTCH = Prices("prices_nl_2019_2022", "price_nl_eur_per_mwh", "Europe/Amsterdam")
DANISH_WEST = Prices("prices_dk1_2021_2022", "price_dk1_eur_per_mwh", "Europe/Copenhagen")
DANISH_EAST_2019 = Prices("prices_dk2_2019_2020", "price_dk2_eur_per_mwh", "Europe/Copenhagen")
DANISH_EAST_2021 = Prices("prices_dk2_2021_2022", "price_dk2_eur_per_mwh", "Europe/Copenhagen")
DANISH_IMBALANCE = Prices("balancing_dk1_15min_2025_03_04", "price_imbalance_eur_per_mwh", "Europe/Copenhagen")
SWEDISH = Prices("prices_se3_2023", "price_se3_eur_per_mwh", "Europe/Stockholm")
NORDIC = Prices("prices_np_with_dayahead_forecasts_2016_2018", "price_actual_eur_per_mwh", OSLO)
BELGIAN_IMBALANCE = Prices("prices_be_da_imbalance_15min_2024", "price_be_imbalance_eur_per_mwh", BRUSSELS)
BRITISH = Prices("prices_gb_agile_region_a_2020_2021", "price_import_inc_vat_pence_per_kwh", "Europe/London", 100.0)
AUSTRALIAN = Prices("prices_au_sa1_5min_2023h1", "price_sa1_aud_per_mwh", "Australia/Brisbane")  # market time


def _fontana(number: str, prices: Prices) -> House:
    return House(f"site_us_fontana_{number}_load_pv_2016_2017", "America/Los_Angeles", prices)


def _trondheim(year: int) -> House:
    file = f"site_no_trondheim_home_load_price_{year}"
    return House(file, OSLO, Prices(file, "price_spot_nok_per_kwh", OSLO, 1.0), pv=None)


def _opengrid(home: str, prices: Prices) -> House:
    return House("sites_be_opengrid_6homes_load_2016", BRUSSELS, prices, load=f"load_home_{home}_kw", pv=None)


RYE = "site_no_rye_microgrid_load_pv_wind_2020"
HOUSES = (
    _fontana("01", GERMAN_2016),
    _fontana("02", DUTCH),
    _fontana("05", DANISH_WEST),
    _fontana("06", BELGIAN_IMBALANCE),
    _fontana("10", BRITISH),
    _fontana("16", AUSTRALIAN),
    House("site_fr_emhass_load_pv_2024_2025", PARIS, BELGIAN_IMBALANCE),
    House("site_au_ausgrid12_load_pv_2011_2012", "Australia/Sydney", AUSTRALIAN),
    House(RYE, OSLO, Prices(RYE, "price_spot_nok_per_kwh", OSLO, 1.0), battery_kwh=100.0),
    _trondheim(2020),
    _trondheim(2021),
    House("site_au_monash_b1_load_pv_2020", "Australia/Melbourne", DANISH_IMBALANCE, battery_kwh=60.0),
    House("site_eu_prosumpy_load_pvshape_2014", BRUSSELS, NORDIC, pv="pv_kw_per_kwp"),
    House(
        "site_fr_emsx01_load_pv_with_forecasts_2014_07",
        PARIS,
        GERMAN_2021,
        load="load_kwh_per_15min",
        pv="pv_kwh_per_15min",
        kw_per_unit=4.0,
        battery_kwh=300.0,
    ),
    _opengrid("e1de", GERMAN_2020),
    _opengrid("3aa4", GERMAN_2016),
    _opengrid("a7d5", DUTCH),
    _opengrid("9afa", DANISH_EAST_2019),
    _opengrid("ce8a", SWEDISH),
    _opengrid("cf6d", DANISH_EAST_2021),
)


@cache
def _file(folder: Path, file: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{file}.csv.gz", index_col="timestamp_utc", parse_dates=True)


def _step(series: pd.Series) -> pd.Timedelta:
    return series.index[1] - series.index[0]


@cache
def _whole_days(folder: Path, file: str, zone: str) -> tuple[dt.date, dt.date]:
    """The first and the last local day that a file covers wholly."""
    index = _file(folder, file).index
    end = (index[-1] + (index[1] - index[0])).tz_convert(zone)
    begin = index[0].tz_convert(zone)
    first = begin.date() + dt.timedelta(days=begin != begin.normalize())
    return first, end.date() - dt.timedelta(days=1)


@cache
def days(folder: Path, house: House) -> tuple[dt.date, ...]:
    """The local days of a house on which no load or sun is missing."""
    first, last = _whole_days(folder, house.file, house.zone)
    columns = [house.load] if house.pv is None else [house.load, house.pv]
    frame = _file(folder, house.file)[columns]
    missing = set(frame.index[frame.isna().any(axis=1)].tz_convert(house.zone).date)
    every = (first + dt.timedelta(days=number) for number in range((last - first).days + 1))
    return tuple(day for day in every if day not in missing)


def hours(house: House, day: dt.date) -> int:
    """23, 24 or 25."""
    return len(local_day(day, house.zone, pd.Timedelta(hours=1)))


def _at(series: pd.Series, begin: pd.Timestamp, index: pd.DatetimeIndex, step: pd.Timedelta) -> np.ndarray:
    """Means of a series over as many intervals as `index` has, from `begin` on."""
    window = series.loc[begin : begin + len(index) * step - pd.Timedelta(1, "ns")]
    own = _step(series)
    fine = hold(window, step) if step < own else window.resample(step, origin=begin).mean()
    assert len(fine) == len(index)
    return fine.to_numpy()


def _price_day(folder: Path, prices: Prices, day: dt.date) -> dt.date:
    """The same date where the file has it, else one found by going round the file."""
    first, last = _whole_days(folder, prices.file, prices.zone)
    span = (last - first).days  # one less than there are: a day of 25 hours needs the beginning of the next
    return day if first <= day < last else first + dt.timedelta(days=(day - first).days % span)


def site_day(folder: Path, house: House, day: dt.date, minutes: int) -> Case:
    """One day of a house in steps of so many minutes, with a battery and a contract drawn for it."""
    step = pd.Timedelta(minutes=minutes)
    index = local_day(day, house.zone, step)
    frame = _file(folder, house.file)
    load = _at(frame[house.load], index[0], index, step) * house.kw_per_unit
    pv = np.zeros(len(index)) if house.pv is None else _at(frame[house.pv], index[0], index, step) * house.kw_per_unit
    prices = house.prices
    price_begin = pd.Timestamp(_price_day(folder, prices, day), tz=prices.zone).tz_convert("UTC")
    spot = _at(_file(folder, prices.file)[prices.column], price_begin, index, step) / prices.per_kwh

    rng = np.random.default_rng([HOUSES.index(house), day.toordinal(), minutes])

    def one_of(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    peak_kw = float(frame[house.load].max()) * house.kw_per_unit
    power_kw = house.battery_kwh * one_of(0.25, 0.5)
    site = Site(
        battery=Battery(
            capacity_kwh=house.battery_kwh,
            max_charge_kw=power_kw,
            max_discharge_kw=power_kw,
            charge_efficiency=one_of(1.0, 0.95, 0.9),
            discharge_efficiency=one_of(1.0, 0.95, 0.8),
            min_soc=one_of(0.0, 0.1),
            max_soc=one_of(0.9, 1.0),
            wear_eur_per_kwh=one_of(0.0, 0.02, 0.1),
        ),
        grid=GridConnection(
            import_limit_kw=one_of(None, 2 * peak_kw, 0.5 * peak_kw), export_limit_kw=one_of(None, power_kw, 0.0)
        ),
        pv=PvArray(curtailable=one_of(True, False)),
        timezone=house.zone,
    )
    taxed = spot + 0.13
    bought, sold = one_of(
        (spot, spot),
        (spot + 0.05, spot),
        (taxed, taxed),  # net metering
        (taxed, spot - 0.01),
        (taxed, 0.3 * spot),
        (taxed, np.full(len(index), 0.08)),  # fixed feed-in tariff
    )
    series = (pd.Series(values, index) for values in (bought, sold, load, pv))
    return Case(
        site,
        *series,
        initial_soc=one_of(0.5, float(rng.uniform(0.1, 0.9)), float(rng.uniform(-0.05, 1.05))),
        final_soc_min=one_of(None, 0.5, 0.9),
        terminal_value=one_of(None, 0.1, -0.05),
    )

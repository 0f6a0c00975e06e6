"""Forecasters on real homes, farms and firms; prints the table of docs/forecasting.md (`-s` shows it)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from engine import Battery, PvArray, Site
from engine.forecast import (
    GradientBoosting,
    Observed,
    PerfectForesight,
    Persistence,
    PvPhysical,
    PvRegression,
    SeasonalNaive,
    SimilarDay,
    Stakes,
    WithQuantiles,
    score,
)
from engine.timeline import hold

CALIFORNIA = {"timezone": "America/Los_Angeles", "latitude": 34.1, "longitude": -117.4}
FRANCE = {"timezone": "Europe/Paris", "latitude": 45.8, "longitude": 5.0}
SYDNEY = {"timezone": "Australia/Sydney", "latitude": -33.9, "longitude": 151.2}
MELBOURNE = {"timezone": "Australia/Melbourne", "latitude": -37.9, "longitude": 145.1}
NORWAY = {"timezone": "Europe/Oslo", "latitude": 63.4, "longitude": 10.4}
BELGIUM = {"timezone": "Europe/Brussels", "latitude": 50.8, "longitude": 4.4}
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
Home = tuple[str, pd.Series, pd.Series | None, pd.DataFrame | None, dict[str, Any]]


def read(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path)
    return table.set_axis(pd.DatetimeIndex(pd.to_datetime(table.pop("timestamp_utc"), utc=True)))


def homes(folder: Path) -> Iterator[Home]:
    """Name, load, PV, weather and place of each site."""
    with_pv = {f"us_fontana_{number}_load_pv_2016_2017": CALIFORNIA for number in ("01", "02", "05", "06", "10", "16")}
    with_pv |= {"fr_emhass_load_pv_2024_2025": FRANCE, "au_ausgrid12_load_pv_2011_2012": SYDNEY}
    with_pv |= {"au_monash_b1_load_pv_2020": MELBOURNE}
    for name, place in with_pv.items():
        table = read(folder / f"site_{name}.csv.gz")
        yield name.partition("_load")[0], table["load_kw"], table["pv_kw"], None, place
    rye = read(folder / "site_no_rye_microgrid_load_pv_wind_2020.csv.gz")
    weather = rye[["temp_c", "global_rad_w_per_m2"]].set_axis(["temperature_c", "ghi_w_per_m2"], axis=1)
    yield "no_rye", rye["load_kw"], rye["pv_kw"], weather, NORWAY
    table = read(folder / "site_no_trondheim_home_load_price_2020.csv.gz")
    yield "no_trondheim", table["load_kw"], None, weather[["temperature_c"]].reindex(table.index), NORWAY
    table = read(folder / "sites_be_opengrid_6homes_load_2016.csv.gz").filter(like="load_home")
    weather = read(folder / "weather_be_brussels_2016.csv.gz")[["temperature_c", "ghi_w_per_m2"]]
    for column in table:
        yield f"be_{column[10:14]}", table[column], None, weather, BELGIUM


@pytest.fixture(scope="module")
def spot(data_folder: Path) -> Callable[[Observed], pd.Series]:
    """Western Denmark's prices of 2021 and 2022, whole weeks away, the evening in the evening [EUR/kWh]."""
    price = read(data_folder / "prices_dk1_2021_2022.csv.gz")["price_dk1_eur_per_mwh"] / 1000

    def at(observed: Observed) -> pd.Series:
        first = observed.index[0]
        weeks = (first - price.index[0]).floor("7D")
        winter = pd.Timestamp("2021-01-15")
        east = winter.tz_localize("Europe/Copenhagen") - winter.tz_localize(observed.timezone)
        moved = price.set_axis(price.index + weeks - east)
        return hold(moved, observed.step)

    return at


def judged(observed: Observed, hour: int) -> pd.DatetimeIndex:
    """One decision a day, once five weeks are known, as long as two days follow."""
    wall = observed.index.tz_convert(observed.timezone)
    return observed.index[(wall.hour == hour) & (wall.minute == 0)][35:-2]


def stakes(spot: pd.Series, load: pd.Series, pv: pd.Series | None, forecast_of: Any) -> Stakes:
    """A battery that carries eight hours of the mean load, and 15 ct/kWh between buying and selling."""
    capacity_kwh = max(1.0, 8 * float(load.mean()))
    battery = Battery(
        capacity_kwh=capacity_kwh,
        max_charge_kw=capacity_kwh / 2,
        max_discharge_kw=capacity_kwh / 2,
        charge_efficiency=0.95,
        discharge_efficiency=0.95,
    )
    other = pv if forecast_of == "load" else load
    return Stakes(Site(battery=battery, pv=PvArray(curtailable=True)), spot + 0.15, spot, forecast_of, other)


def table_of(homes: Iterator[Home], spot: Callable[[Observed], pd.Series], forecast_of: str) -> pd.DataFrame:
    """Every forecaster on every site; MAE and pinball loss in % of the mean power, regret in EUR a plan."""
    tables = {}
    for name, load, pv, weather, place in homes:
        values = load if forecast_of == "load" else pv
        if values is None:
            continue
        observed = Observed(values, weather=weather, **place)
        learnt = (SimilarDay(), GradientBoosting()) if forecast_of == "load" else (PvRegression(), PvPhysical())
        naive = (PerfectForesight(), Persistence(), *((SeasonalNaive(),) if forecast_of == "load" else ()))
        table = score(
            [*naive, *(WithQuantiles(one, LEVELS, zero_is_certain=forecast_of == "pv") for one in learnt)],
            observed,
            judged(observed, 17 if forecast_of == "load" else 6),
            int(pd.Timedelta(hours=36) / observed.step),
            stakes(spot(observed), load, pv, forecast_of),
        )
        for kind in ("mae", "pinball"):
            table[f"{kind}_percent"] = table.pop(f"{kind}_kw") / values.mean() * 100
        tables[name] = table
    return pd.concat(tables, names=["site"])


@pytest.mark.timeout(1200)
def test_what_learns_beats_the_day_before_on_real_loads(
    data_folder: Path, spot: Callable[[Observed], pd.Series]
) -> None:
    table = table_of(homes(data_folder), spot, "load")
    medians = table.groupby("forecaster").median()
    print(f"\n{table.round(3).to_string()}\n{medians.round(3).to_string()}")
    for name in ("similar day", "gradient boosting"):
        assert medians["tau_day_1"][name] > medians["tau_day_1"]["persistence"] + 0.05
        assert medians["mae_percent"][name] < 0.9 * medians["mae_percent"]["persistence"]
        by_site = table["regret_eur"].unstack()
        assert (by_site[name] < by_site["persistence"]).mean() > 0.75
        assert (by_site[name] / by_site["persistence"]).median() < 0.95


@pytest.mark.timeout(600)
def test_what_learns_beats_the_day_before_on_real_arrays(
    data_folder: Path, spot: Callable[[Observed], pd.Series]
) -> None:
    table = table_of(homes(data_folder), spot, "pv")
    medians = table.groupby("forecaster").median()
    print(f"\n{table.round(3).to_string()}\n{medians.round(3).to_string()}")
    by_site = table["regret_eur"].unstack()
    for name in ("PV regression", "PV physical"):
        # Not of the first day: its order is mostly night and noon, which the day before has right too.
        assert medians["tau_day_2"][name] > medians["tau_day_2"]["persistence"]
        assert (by_site[name] / by_site["persistence"]).median() < 0.95
    farm = table.loc["no_rye"]
    # With an irradiance most of what can be known of the sun is known.
    assert farm["mae_percent"]["PV physical"] < 0.7 * farm["mae_percent"]["persistence"]

"""A charge on the month's peak, on a real home: all fees included, close to the optimum of the whole year."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from engine import Battery, DemandCharge, GridConnection, Site, Strategy
from engine.backtesting.reality import Reality
from engine.backtesting.rolling import Rolling, keeper_of, run
from engine.forecast import Persistence, SimilarDay

# What a Norwegian grid company asks a month for the mean of the three largest daily peaks of an hour [NOK].
STEPS = ((2, 83), (5, 147), (10, 252), (15, 371), (None, 490))
# Energy and fees of the best plan of the whole year, everything known [NOK].
YEARS = {2020: 11797.7 + 11 * 147 + 252 + 83, 2021: 19726.7 + 1188 + 13 * 83}
# What not knowing may cost beyond it.
MOST = 0.025


@pytest.mark.parametrize("year", YEARS)
def test_a_real_year_costs_little_more_than_perfect_foresight(data_folder: Path, year: int) -> None:
    table = pd.read_csv(data_folder / f"site_no_trondheim_home_load_price_{year}.csv.gz", index_col=0, parse_dates=True)
    price = table["price_spot_nok_per_kwh"] + table["price_tou_grid_nok_per_kwh"]
    prices = pd.DataFrame({"import_price": price, "export_price": 0.0})
    site = Site(
        battery=Battery(
            capacity_kwh=40, max_charge_kw=20, max_discharge_kw=20, charge_efficiency=0.95, discharge_efficiency=0.95
        ),
        grid=GridConnection(export_limit_kw=0),
        timezone="Europe/Oslo",
    )
    charge = DemandCharge(steps_eur=STEPS, largest_daily_peaks=3, measured_over_minutes=60)
    reality = Reality.read(prices, table["load_kw"], None, step=pd.Timedelta(minutes=15), timezone=site.timezone)
    rolling = Rolling(site, Strategy(), 144, 1, SimilarDay(), Persistence(), (charge,))
    trace = run(rolling, reality, 0.5).trace
    fees = keeper_of(rolling, reality).fees_eur(trace.imported)
    paid = float(reality.import_price @ trace.imported) + fees
    assert YEARS[year] <= paid + 1 <= YEARS[year] * (1 + MOST)

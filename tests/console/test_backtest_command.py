"""`tidewatt backtest` as its user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

from console.backtest_file import history_of, read_subject
from console.cli import app
from console.sample import sample_history
from engine.errors import InputError

SITE = {
    "name": "my home",
    "timezone": "Europe/Amsterdam",
    "battery": {"capacity_kwh": 10, "max_charge_kw": 5, "max_discharge_kw": 5, "wear_eur_per_kwh": 0.02},
    "pv": {"curtailable": False},
}
SHORT = ("--from", "2024-04-08", "--to", "2024-04-10")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["backtest", *map(str, arguments)])


def refused(*arguments: str | Path) -> str:
    done = run(*arguments)
    assert isinstance(done.exception, InputError), done.output
    return str(done.exception)


def found(*arguments: str | Path) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a site of its own, market prices, and load and PV by the quarter-hour."""
    sample = sample_history()
    quarters = sample["house"].resample("15min").mean()
    spot = (sample["prices"]["export_price"] / 1.21 * 1000).rename("spot_price_eur_per_mwh")
    spot.resample("1h").first().to_csv(tmp_path / "prices.csv")
    quarters[["load_kw"]].to_csv(tmp_path / "load.csv.gz")
    quarters[["pv_kw"]].to_parquet(tmp_path / "pv.parquet")
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(SITE))
    return tmp_path


def write(folder: Path, **fields: Any) -> Path:
    (folder / "case.yaml").write_text(yaml.safe_dump({"site": SITE, **fields}))
    return folder / "case.yaml"


ALL = {"prices": "prices.csv", "load": "load.csv.gz", "pv": "pv.parquet"}


def test_without_files_it_runs_the_packaged_sample():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "console", "backtest"],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith(
        "sample home: 2024-03-18 to 2024-04-21, 839 plans of 36 h, forecasts: load by similar day"
    )
    accounts = ("no battery", "self-consumption rule", "persistence", "this strategy", "perfect foresight")
    places = [next(place for place, line in enumerate(lines) if account in line) for account in accounts]
    assert places == sorted(places)
    for words in ("of perfect", "lost against perfect foresight", "forecast", "metering", "full cycles", "round trip"):
        assert words in done.stdout


def test_json_sums_up():
    row = found(*SHORT)
    assert row["days"] == 3
    assert row["forecasters"] == {"load": "similar day", "pv": "PV regression"}
    lost = sum(row[f"lost_by_{step}_eur"] for step in ("forecast", "command", "execution", "metering"))
    assert row["perfect_foresight_cost_eur"] + lost == pytest.approx(row["cost_eur"])
    assert row["saved_eur"] == pytest.approx(row["no_battery_cost_eur"] - row["cost_eur"])
    assert 0.5 < row["capture_rate"] <= 1


def test_options_reach_the_plans():
    usual = found(*SHORT)
    assert found(*SHORT, "--forecaster", "perfect-foresight")["lost_by_forecast_eur"] < usual["lost_by_forecast_eur"]
    assert found(*SHORT, "--every", "6h")["plans"] == usual["plans"] / 6
    assert found(*SHORT, "--horizon", "6h")["saved_eur"] < usual["saved_eur"]


def test_figure_and_table_are_written(tmp_path: Path):
    figure, table = tmp_path / "out.html", tmp_path / "table.parquet"
    done = run(*SHORT, "--plot", figure, "--out", table)
    assert done.exit_code == 0, done.exception
    assert f"written: {figure}" in done.stdout
    assert "of perfect foresight" in figure.read_text()
    written = pd.read_parquet(table)
    assert len(written) == 3 * 96
    assert {"mode", "battery_kw", "soc", "cost_eur"} <= set(written)
    local = written.index.tz_convert("Europe/Amsterdam")
    assert str(local[0]) == "2024-04-08 00:00:00+02:00"


def test_files_on_the_command_line(files: Path):
    options = [text for name, file in ALL.items() for text in (f"--{name}", files / file)]
    row = found(files / "site.yaml", *options, *SHORT)
    assert row["days"] == 3
    assert found(write(files, **ALL), *SHORT)["cost_eur"] == row["cost_eur"]


def test_a_tariff_by_name_makes_the_prices(files: Path):
    terms = {"vat": 0.21, "charges": {"grid": 0.05, "tax": 0.03}, "export_fee": 0.01}
    tariff = {"name": "spot", "currency": "EUR", "timezone": "Europe/Amsterdam", **terms}
    history = history_of(read_subject(write(files, **ALL, tariff=tariff)), (None, None))
    spot = pd.read_csv(files / "prices.csv")["spot_price_eur_per_mwh"].to_numpy() / 1000
    assert history.prices["import_price"].to_numpy() == pytest.approx((spot + 0.08) * 1.21)
    assert history.prices["export_price"].to_numpy() == pytest.approx(spot - 0.01)


def test_a_tariff_in_another_currency_comes_to_euros(files: Path):
    terms = {"name": "dk-n1", "supplier_fee": 0.0, "export_fee": 0.0}
    with pytest.raises(InputError, match=r"^tariff.units_per_eur: missing; say what a euro comes to in DKK$"):
        history_of(read_subject(write(files, **ALL, tariff=terms)), (None, None))
    subject = read_subject(write(files, **ALL, tariff=terms | {"units_per_eur": 7.46}))
    prices = history_of(subject, (None, None)).prices
    # Energinet, grid company and tax come to 1.1 DKK and more, with VAT; the market price is not touched by the rate.
    spread = (
        prices["import_price"] - 1.25 * pd.read_csv(files / "prices.csv")["spot_price_eur_per_mwh"].to_numpy() / 1000
    )
    assert spread.min() == pytest.approx(1.25 * (0.110116 + 0.074 + 0.051 + 0.761) / 7.46, abs=1e-4)


def test_demand_charges_and_a_strategy_file_count(files: Path):
    (files / "strategy.yaml").write_text("grid_charging: false\n")
    plain = found(write(files, **ALL), *SHORT)
    charged = found(write(files, **ALL, demand_charges=[{"eur_per_kw": 3.0}]), *SHORT)
    assert charged["no_battery_cost_eur"] > plain["no_battery_cost_eur"] + 1
    kept = found(write(files, **ALL, strategy="strategy.yaml"), *SHORT)
    assert kept["cost_eur"] > plain["cost_eur"]


def test_all_forecasters_and_fixed_set_points_are_compared_and_kept(tmp_path: Path):
    rows = found(*SHORT, "--compare", "--keep", tmp_path)
    assert set(rows) == {
        *("similar-day", "gradient-boosting", "seasonal-naive", "persistence", "perfect-foresight"),
        "similar-day, fixed set-points",
    }
    assert rows["similar-day"]["cost_eur"] == pytest.approx(found(*SHORT)["cost_eur"])
    modes, fixed = rows["similar-day"], rows["similar-day, fixed set-points"]
    assert fixed["cost_eur"] != modes["cost_eur"]
    assert fixed["lost_by_command_eur"] > modes["lost_by_command_eur"] > 0
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert len(kept) == 6
    again = run(*SHORT, "--compare", "--keep", tmp_path)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == kept
    assert "similar-day, fixed set-points" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--forecaster", "oracle"), "--forecaster: value 'oracle' is unknown; choose one of similar-day"),
        (("--from", "soon"), "--from: value 'soon' is no day"),
        (("--from", "2025-01-01"), "time: nothing is in it, the data is from 2024-03-17 to 2024-04-21; change --from"),
        (("--column", "price"), "--column: there is no --prices"),
        (("--compare", "--plot", "x.html"), "--compare: goes without --plot"),
        (("--keep", "x"), "--keep: goes with --compare only"),
        (("--horizon", "90min", "--every", "2h"), "replan_every: 2h is longer than the horizon"),
        (("--horizon", "many"), "horizon: value 'many' is no length of time"),
        (("--load", "load.csv.gz"), "--prices: missing; give a file of market prices"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments: tuple[str, ...], message: str):
    assert refused(*arguments).startswith(message)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("prices", None, "cannot be read (No such file or directory); check path"),
        ("prices", "", "is no table"),
        ("prices", "start,a_price_eur_per_mwh\n", "it has no rows"),
        (
            "prices",
            "start,a_price_eur_per_mwh\n2024-04-08T00:00,1\n",
            "start: value '2024-04-08T00:00' in row 2 is no time",
        ),
        (
            "prices",
            "start,a_price_eur_per_mwh\n{0}Z,1\n{1}Z,\n",
            "a_price_eur_per_mwh: value empty in row 3 (2024-04-08T01:00Z)",
        ),
        ("prices", "start,a_price_eur_per_mwh\n{0}Z,1\n{1}Z,n/a\n", "value 'n/a' in row 3"),
        ("prices", "start,price\n{0}Z,1\n{1}Z,2\n", "price: its name does not end with its unit"),
        (
            "prices",
            "start,price_a_per_mwh,price_b_per_mwh\n{0}Z,1,2\n",
            "it could be any of price_a_per_mwh, price_b_per_mwh",
        ),
        ("load", "start,load_kw\n{1}Z,1\n{0}Z,2\n", "times: 2024-04-08T00:00:00Z comes after a later one"),
        ("pv", "start,other\n", "it has no rows"),
    ],
)
def test_faults_in_files_name_file_column_and_row(files: Path, name: str, text: str | None, message: str):
    bad = files / "bad.csv"
    if text is not None:
        bad.write_text(text.format("2024-04-08T00:00:00", "2024-04-08T01:00:00"))
    answer = refused(write(files, **{**ALL, name: "bad.csv"}))
    assert message in answer
    assert "bad.csv" in answer
    assert "\n" not in answer


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_a_file_that_is_absent_or_damaged_is_one_line(files: Path, ending: str):
    name = f"bad.{ending}"
    assert f"{name}: cannot be read (No such file or directory)" in refused(write(files, **{**ALL, "load": name}))
    (files / name).write_bytes(b"\x89\x00broken")
    assert f"{name}" in (answer := refused(write(files, **{**ALL, "load": name})))
    assert "\n" not in answer


def test_a_gap_outside_the_time_asked_for_does_not_matter(files: Path):
    lines = (files / "prices.csv").read_text().splitlines()
    lines[3] = lines[3].split(",")[0] + ","
    (files / "prices.csv").write_text("\n".join(lines))
    assert "in row 4 (2024-03-18T01:00Z) is no number" in refused(write(files, **ALL))
    assert found(write(files, **ALL), *SHORT)["days"] == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tarif": {}}, "case.yaml: tarif: unknown field"),
        ({"initial_soc": 2}, "case.yaml: initial_soc: value 2"),
        ({"tariff": {"vat": 0.2}, **ALL}, "tariff.name: missing"),
        ({"tariff": {"name": "spott"}, **ALL}, "tariff.name: value 'spott' is unknown; choose one of dk-n1"),
        (
            {"tariff": {"name": "dk-n1"}, **ALL},
            "tariff: dk-n1: missing a required argument: 'supplier_fee'; its terms are",
        ),
        (
            {"tariff": {"name": "dk-n1", "supplier_fee": "much"}, **ALL},
            "tariff.supplier_fee: value 'much' does not fit",
        ),
        ({"tariff": {"name": "spot", "charges": [1]}, **ALL}, "tariff.charges: value [1] has no names"),
        ({"tariff": {"name": "gb-agile-2018-a", "charges": {"a": 1}}, **ALL}, "tariff: gb-agile-2018-a: too many"),
        ({"strategy": {"reserve_soc": 3}}, "case.yaml: strategy.reserve_soc: value 3"),
    ],
)
def test_faults_in_the_yaml_name_the_field(files: Path, fields: dict[str, Any], message: str):
    assert refused(write(files, **fields)).startswith(message)

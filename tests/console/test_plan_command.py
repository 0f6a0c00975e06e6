"""`tidewatt plan` as its user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from console.sample import DEFAULT_DAY, sample_series, sample_site

SITE = """
name: home
timezone: Europe/Amsterdam
battery: {capacity_kwh: 10, max_charge_kw: 5, max_discharge_kw: 5, charge_efficiency: 0.95,
          discharge_efficiency: 0.95, min_soc: 0.1, max_soc: 1.0, wear_eur_per_kwh: 0.02}
grid: {import_limit_kw: 17, export_limit_kw: 10}
pv: {curtailable: false}
"""
HEADER = "start,import_price_eur_per_kwh,export_price_eur_per_kwh,load_kw,pv_kw"
KEYS = [
    *("start", "charge_kw", "discharge_kw", "import_kw", "export_kw"),
    *("pv_kw", "curtailment_kw", "load_kw", "soc", "cost_eur"),
]


def sample_csv() -> str:
    frame = sample_series(DEFAULT_DAY)
    frame.index = frame.index.tz_convert("Europe/Amsterdam")
    return frame.to_csv(date_format="%Y-%m-%dT%H:%M:%S%z")


def tidewatt(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "console", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    site, series = tmp_path / "site.yaml", tmp_path / "day.csv"
    site.write_text(SITE)
    series.write_text(sample_csv())
    return site, series


def test_json_has_the_promised_shape_and_cost(files: tuple[Path, Path]) -> None:
    from engine import optimise

    site, series = files
    done = tidewatt(
        "plan", "--site", site, "--series", series, "--initial-soc", "0.5", "--final-soc-min", "0.5", "--json"
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    frame = sample_series(DEFAULT_DAY)
    plan = optimise(
        sample_site(),
        import_price=frame["import_price_eur_per_kwh"],
        export_price=frame["export_price_eur_per_kwh"],
        load=frame["load_kw"],
        pv=frame["pv_kw"],
        initial_soc=0.5,
        final_soc_min=0.5,
    )
    assert answer["status"] == "optimal"
    assert answer["cost_eur"] == pytest.approx(plan.cost_eur, abs=1e-9)
    assert len(answer["intervals"]) == 96
    assert list(answer["intervals"][0]) == KEYS
    assert answer["intervals"][0]["start"] == "2024-04-09T22:00:00+00:00"


def test_the_table_shows_every_interval_in_local_time(files: tuple[Path, Path]) -> None:
    done = tidewatt("plan", "--site", files[0], "--series", files[1])
    assert done.returncode == 0, done.stderr
    assert "2024-04-10" in done.stdout
    assert "23:45" in done.stdout
    assert "proved optimal" in done.stdout


def bad_csv(rows: list[str]) -> str:
    return "\n".join([HEADER, *rows]) + "\n"


GOOD = [f"2026-02-03T{hour:02d}:00:00+01:00,0.25,0.09,0.4,0.0" for hour in range(4)]

BAD_SERIES = {
    "missing column": ("start,import_price_eur_per_kwh,load_kw,pv_kw\n", ["export_price_eur_per_kwh", "missing"]),
    "naive times": (bad_csv(["2026-02-03T00:00:00,0.25,0.09,0.4,0"]), ["start", "offset"]),
    "no time": (bad_csv(["yesterday,0.25,0.09,0.4,0"]), ["start", "yesterday"]),
    "gap": (bad_csv(GOOD[:2] + GOOD[3:]), ["day.csv: start", "2026-02-03T00:00:00Z", "gap"]),
    "repeated row": (bad_csv(GOOD[:2] + GOOD[1:]), ["2026-02-03T00:00:00Z", "repeated"]),
    "unsorted rows": (bad_csv([GOOD[1], GOOD[0], *GOOD[2:]]), ["in order of time"]),
    "empty cell": (bad_csv([*GOOD[:3], GOOD[3].replace("0.4", "")]), ["load_kw", "empty", "03:00"]),
    "NaN": (bad_csv([*GOOD[:3], GOOD[3].replace("0.4", "NaN")]), ["load_kw", "nan"]),
    "text for a number": (bad_csv([*GOOD[:3], GOOD[3].replace("0.4", "much")]), ["load_kw", "much"]),
    "negative load": (bad_csv([*GOOD[:3], GOOD[3].replace("0.4", "-0.4")]), ["load_kw", "-0.4", "below 0"]),
    "prices per MWh": (bad_csv([row.replace("0.25", "250") for row in GOOD]), ["import_price", "250", "EUR/MWh"]),
    "load in W": (bad_csv([row.replace("0.4", "400") for row in GOOD]), ["load", "400", "divide it by 1000"]),
    "unknown column": (HEADER + ",comment\n" + "\n".join(row + ",x" for row in GOOD), ["comment", "unknown"]),
    "no rows": (HEADER + "\n", ["no rows"]),
    "nothing at all": ("", ["it is empty"]),
    "a field too many": (bad_csv([row + ",1" for row in GOOD]), ["line 2", "6 fields"]),
    "year 1": (bad_csv(["0001-01-01T00:00:00+14:00,0.25,0.09,0.4,0"]), ["start", "0001"]),
    "year 1500": (bad_csv([row.replace("2026", "1500") for row in GOOD]), ["start", "out of range"]),
    "cheap prices per MWh": (bad_csv([row.replace("0.25", "15") for row in GOOD]), ["import_price", "15", "EUR/MWh"]),
    "ragged rows": (bad_csv([*GOOD, GOOD[0] + ",1,2"]), ["line 6", "7 fields"]),
}
BAD_SITES = {
    "capacity 0": (SITE.replace("capacity_kwh: 10", "capacity_kwh: 0"), ["battery.capacity_kwh", "0", "greater"]),
    "capacity in Wh": (
        SITE.replace("capacity_kwh: 10", "capacity_kwh: 10000"),
        ["battery", "10000", "divided by 1000"],
    ),
    "power in W": (SITE.replace("max_charge_kw: 5", "max_charge_kw: 5000"), ["battery", "5000", "divided by 1000"]),
    "connection in W": (SITE.replace("import_limit_kw: 17", "import_limit_kw: 17000"), ["import_limit_kw", "17000"]),
    "efficiency in per cent": (SITE.replace("discharge_efficiency: 0.95", "discharge_efficiency: 95"), ["95", "0.95"]),
    "wear per MWh": (SITE.replace("wear_eur_per_kwh: 0.02", "wear_eur_per_kwh: 20"), ["wear", "20", "EUR/MWh"]),
    "band upside down": (SITE.replace("min_soc: 0.1", "min_soc: 1.0"), ["min_soc", "max_soc", "not below"]),
    "per cent": (SITE.replace("min_soc: 0.1", "min_soc: 10"), ["battery.min_soc", "10", "0.1"]),
    "unknown field": (SITE + "tarif: cheap\n", ["tarif", "unknown field"]),
    "unknown battery field": (SITE.replace("min_soc: 0.1", "minimum_soc: 0.1"), ["battery.minimum_soc", "unknown"]),
    "missing field": (SITE.replace("capacity_kwh: 10,", ""), ["battery.capacity_kwh", "missing"]),
    "unknown zone": (SITE.replace("Europe/Amsterdam", "Mars/Base"), ["timezone", "Mars/Base"]),
    "text for a number": (SITE.replace("import_limit_kw: 17", "import_limit_kw: big"), ["grid.import_limit_kw", "big"]),
    "no YAML": ("battery: {", ["no YAML"]),
    "no fields": ("- 1\n", ["holds no fields"]),
    "given twice": (SITE.replace("min_soc: 0.1", "min_soc: 0.1, min_soc: 0.2"), ["min_soc", "twice"]),
    "all in W": (
        SITE.replace("_kw: 5,", "_kw: 5000,").replace("capacity_kwh: 10", "capacity_kwh: 10000"),
        ["battery power", "5000"],
    ),
    "a continent": (SITE.replace("Europe/Amsterdam", "Europe"), ["timezone", "Europe"]),
    "no PV array": (SITE.replace("pv: {curtailable: false}", ""), ["day.csv: pv_kw", "pv: {curtailable: false}"]),
}


def refused(done: subprocess.CompletedProcess[str], words: list[str]) -> None:
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("tidewatt: ")
    assert "; " in lines[0], "the line does not say what to do"
    for word in words:
        assert word in lines[0], lines[0]


@pytest.mark.parametrize("case", BAD_SERIES)
def test_a_bad_series_is_refused_in_one_line(case: str, files: tuple[Path, Path]) -> None:
    site, series = files
    text, words = BAD_SERIES[case]
    series.write_text(text)
    refused(tidewatt("plan", "--site", site, "--series", series), words)


@pytest.mark.parametrize("case", BAD_SITES)
def test_a_bad_site_is_refused_in_one_line(case: str, files: tuple[Path, Path]) -> None:
    site, series = files
    text, words = BAD_SITES[case]
    site.write_text(text)
    refused(tidewatt("plan", "--site", site, "--series", series), words)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--initial-soc", "50", ["initial_soc", "50", "0.5"]),
        ("--initial-soc", "1.2", ["initial_soc", "1.2", "between 0 and 1"]),
        ("--final-soc-min", "1.5", ["final_soc_min", "1.5"]),
        ("--initial-soc", "nan", ["initial_soc", "nan"]),
    ],
)
def test_a_bad_state_of_charge_is_refused(option: str, value: str, words: list[str], files: tuple[Path, Path]) -> None:
    refused(tidewatt("plan", "--site", files[0], "--series", files[1], option, value), words)


def test_unreadable_files_are_refused(tmp_path: Path, files: tuple[Path, Path]) -> None:
    site, series = files
    refused(tidewatt("plan", "--site", tmp_path / "none.yaml", "--series", series), ["none.yaml", "cannot be read"])
    refused(tidewatt("plan", "--site", site, "--series", tmp_path), [str(tmp_path), "cannot be read"])
    series.write_bytes(b"\xff\xfe\x00binary")
    refused(tidewatt("plan", "--site", site, "--series", series), ["UTF-8"])


def test_markets_are_planned_for_from_the_same_files_and_their_money_has_lines(files: tuple[Path, Path]) -> None:
    site, series = files
    wanted = site.parent / "strategy.yaml"
    wanted.write_text("intraday: true\nimbalance_kw: 0.5\n")
    frame = sample_series(DEFAULT_DAY)
    for name, price in (("bid", 0.10), ("ask", 0.14)):
        frame[f"{name}_price_eur_per_kwh"] = price
    frame["imbalance_price_eur_per_kwh"], frame["position_kw"] = 0.12, 1.0
    series.write_text(frame.to_csv(date_format="%Y-%m-%dT%H:%M:%S%z"))
    planned = tidewatt("plan", "--site", site, "--series", series, "--strategy", wanted)
    assert (planned.returncode, planned.stderr) == (0, "")
    assert " - trades " in planned.stdout
    assert " - imbalance " in planned.stdout
    assert "capacity" not in planned.stdout
    told = json.loads(tidewatt("plan", "--site", site, "--series", series, "--strategy", wanted, "--json").stdout)
    money = told["breakdown"]
    assert told["cost_eur"] == pytest.approx(
        money["import_eur"] - money["export_eur"] + money["wear_eur"] - money["trading_eur"] - money["imbalance_eur"]
    )
    delivered = [each["export_kw"] - each["import_kw"] for each in told["intervals"]]
    beyond = [each["trade_kw"] + each["imbalance_kw"] for each in told["intervals"]]
    assert delivered == pytest.approx([1.0 + each for each in beyond], abs=1e-6)


def test_a_column_that_the_strategy_does_not_ask_for_and_one_that_it_lacks_are_refused(
    files: tuple[Path, Path],
) -> None:
    site, series = files
    frame = sample_series(DEFAULT_DAY)
    frame["schedule_kw"] = 1.0
    series.write_text(frame.to_csv(date_format="%Y-%m-%dT%H:%M:%S%z"))
    words = ["schedule_kw", "strategy.follow does not ask for it"]
    refused(tidewatt("plan", "--site", site, "--series", series), words)
    wanted = site.parent / "strategy.yaml"
    wanted.write_text("intraday: true\n")
    frame.drop(columns="schedule_kw").to_csv(series, date_format="%Y-%m-%dT%H:%M:%S%z")
    words = ["bid_price_eur_per_kwh", "missing", "strategy.intraday needs it"]
    refused(tidewatt("plan", "--site", site, "--series", series, "--strategy", wanted), words)
    wanted.write_text("intraday: perhaps\n")
    refused(tidewatt("plan", "--site", site, "--series", series, "--strategy", wanted), ["strategy.yaml: intraday"])

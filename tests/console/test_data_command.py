"""`tidewatt data check` as its user meets it: any dialect of CSV in, a table and an exit code out."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.engine.quality.clean_series import clean_load, clean_price, clean_pv

Run = Callable[..., subprocess.CompletedProcess[str]]


def german_csv(series: pd.Series) -> str:
    """Semicolons, decimal commas, the local clock."""
    local = series.tz_convert("Europe/Berlin").tz_localize(None)
    rows = [f"{time:%Y-%m-%d %H:%M};{value:.4f};gemessen".replace(".", ",") for time, value in local.items()]
    return "\n".join(["Zeit;load_kw;Status", *rows]) + "\n"


def test_a_clean_file_is_usable(tidewatt: Run, tmp_path: Path) -> None:
    file = tmp_path / "home.csv"
    pd.DataFrame({"load_kw": clean_load(1), "pv_kw": clean_pv(1)}).to_csv(file, index_label="start")
    done = tidewatt("data", "check", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert "home.csv: nothing found" in done.stdout
    assert "load_kw: load in kW, 1920 samples, 0.00% missing" in done.stdout
    assert "not looked at: clock changes; give the time zone of the place" in done.stdout
    assert done.stdout.rstrip().endswith("\nusable")


def test_findings_make_a_table_and_exit_code_1(tidewatt: Run, tmp_path: Path) -> None:
    load = clean_load(1)
    load.iloc[10:14] = -0.5
    file = tmp_path / "home.csv.gz"
    file.write_bytes(gzip.compress(load.to_csv(index_label="start").encode()))
    done = tidewatt("data", "check", file)
    assert done.returncode == 1
    (row,) = [line for line in done.stdout.splitlines() if "negative" in line]
    for cell in (
        "error",
        "load_kw",
        "2024-03-01 05:00",
        "2024-03-01 07:00",
        "0.21%",
        "-0.5 kW",
        "clip_negative_up_to:KW",
    ):
        assert cell in row
    assert done.stdout.rstrip().endswith("not usable as it is")


def test_a_german_file_is_read_and_mended_by_what_is_named(tidewatt: Run, tmp_path: Path) -> None:
    clean = clean_load(2, 60)
    file, target = tmp_path / "zaehler.csv", tmp_path / "load.csv"
    file.write_text(german_csv(clean.drop(clean.index[100])), encoding="utf-8")
    rules = ("decimal_comma_to_point", "local_clock_to_utc:Europe/Berlin", "fill_gaps_up_to:30,linear", "mask_spikes")
    repairs = [word for rule in rules for word in ("--repair", rule)]
    done = tidewatt("data", "check", file, "--timezone", "Europe/Berlin", *repairs, "--out", target, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said["usable"]
    assert said["left_out"] == ["Status"]
    assert {each["rule"] for each in said["inspected"]["findings"]} == {
        "decimal_comma",
        "naive_stamps",
        "missing_rows",
    }
    assert [(each["rule"], each["outcome"]) for each in said["repairs"]["load_kw"]] == [
        *((rule, "done") for rule in rules[:3]),
        ("mask_spikes", "nothing to do"),
    ]
    assert said["repairs"]["load_kw"][2]["from"] == clean.index[100].isoformat()
    assert said["repairs"]["load_kw"][3]["from"] is None
    assert said["repaired"]["findings"] == []
    mended = pd.read_csv(target, index_col="start", parse_dates=True)
    assert mended.columns.tolist() == ["load_kw", "load_kw_changed"]
    assert mended.index.equals(clean.index.rename("start"))
    assert mended.index[mended["load_kw_changed"]].tolist() == [clean.index[100]]
    kept = ~mended["load_kw_changed"]
    assert mended.loc[kept, "load_kw"].tolist() == clean[kept.to_numpy()].tolist()


def test_parquet_goes_in_and_out_and_units_change_names(tidewatt: Run, tmp_path: Path) -> None:
    file, target = tmp_path / "prices.parquet", tmp_path / "mended.parquet"
    (1000 * clean_price(1)).rename("price_eur_per_mwh").to_frame().to_parquet(file)
    done = tidewatt("data", "check", file, "--repair", "scale_unit:EUR/MWh,EUR/kWh", "--out", target)
    assert done.returncode == 0, done.stdout
    mended = pd.read_parquet(target)
    assert mended.columns.tolist() == ["price_eur_per_kwh", "price_eur_per_kwh_changed"]
    assert mended["price_eur_per_kwh"].to_numpy() == pytest.approx(clean_price(1).to_numpy())
    assert not mended["price_eur_per_kwh_changed"].any()


def test_a_refused_repair_is_shown_and_leaves_the_file_unusable(tidewatt: Run, tmp_path: Path) -> None:
    load = clean_load(1)
    load.iloc[100:400] = -0.2
    file = tmp_path / "home.csv"
    load.to_csv(file, index_label="start")
    done = tidewatt("data", "check", file, "--repair", "clip_negative_up_to:1")
    assert done.returncode == 1
    assert "refused" in done.stdout
    assert "it would change more than 5.0%" in " ".join(done.stdout.split())
    allowed = tidewatt("data", "check", file, "--repair", "clip_negative_up_to:1", "--most-share", "0.2")
    assert allowed.returncode == 0
    assert "stuck" in allowed.stdout  # 300 samples of 0 in a row are no secret either


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("", (), "its header is empty"),
        ("start,load_kw\n", (), "no rows"),
        ("start,load_kw\n2024-03-01T00:00Z,1\nyesterday,2\n", (), "'yesterday' in line 3 is no ISO time"),
        ("start,load_kw\n2024-03-01T00:00Z,1\n2024-03-01T01:00,2\n", (), "'2024-03-01T01:00' in line 3 has no offset"),
        (
            "start,load_kw\n2024-03-01T00:00Z,1,2,3\n2024-03-01T00:00Z,1,2,3,4\n",
            (),
            "line 2: it has 4 fields, the header 2",
        ),
        ("start,load_kw\n2024-03-01T00:00Z,1\n2024-03-01T01:00Z,2\n", ("--column", "pv_kw"), "pv_kw: missing"),
        ("start,load_kw\n2024-03-01T00:00Z,1\n2024-03-01T01:00Z,2\n", ("--repair", "smooth"), "'smooth' is unknown"),
        ("start,load_kw\n2024-03-01T00:00Z,1\n2024-03-01T01:00Z,2\n", ("--out", "x.csv"), "nothing is to be mended"),
        ("start,load_kw\n2024-03-01T00:00Z,1\n2024-03-01T01:00Z,2\n", ("--kind", "loads"), "'loads' is unknown"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tidewatt: Run, tmp_path: Path, text: str, arguments: tuple[str, ...], said: str
) -> None:
    file = tmp_path / "home.csv"
    file.write_text(text)
    done = tidewatt("data", "check", file, *arguments)
    assert done.returncode == 2, done.stdout
    assert done.stdout == ""
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_file_itself_is_never_written(tidewatt: Run, tmp_path: Path) -> None:
    file = tmp_path / "home.csv"
    clean_load(1).to_csv(file, index_label="start")
    before = file.read_bytes()
    done = tidewatt("data", "check", file, "--repair", "sort_by_time", "--out", file)
    assert done.returncode == 2
    assert "raw data stays as it came" in done.stderr
    assert file.read_bytes() == before
    assert tidewatt("data", "check", tmp_path / "none.csv").returncode == 2

"""Real files, cleaned by hand: what is known to be odd in them is found, and nothing that is not explained here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from engine.quality import QualityReport, inspect

FILES = 30


@dataclass(frozen=True)
class Place:
    timezone: str
    latitude: float | None = None
    longitude: float | None = None
    rated_kw: float | None = None


# By a part of the file's name; others are of Central Europe.
PLACES = {
    "fontana": Place("America/Los_Angeles", 34.1, -117.4),
    "ausgrid": Place("Australia/Sydney", -33.9, 151.2),
    "monash": Place("Australia/Melbourne", -37.9, 145.1),
    "emhass": Place("Europe/Paris", 45.8, 5.0),
    "rye": Place("Europe/Oslo", 63.4, 10.1),
    "trondheim": Place("Europe/Oslo"),
    "agile": Place("Europe/London"),
    "au_sa1": Place("Australia/Brisbane"),
    "emsx01": Place("Europe/Paris", rated_kw=600),
}
# Hours that the sources lack and the files fill.
FILLED = "clock_change"
# Rule by series, and why. Everything else that is found fails the test.
EXPECTED: dict[str, dict[str, set[str]]] = {
    # Quarter-hours of which the balancing direction was not published.
    "balancing_dk1_15min": {"dominating_direction": {"missing_values"}},
    # Two hours of the clock change.
    "prices_be_da_imbalance": {"price_be_day_ahead_eur_per_mwh": {"missing_values", "clock_change"}},
    "prices_de_with_dayahead": {
        "price_actual_eur_per_mwh": {FILLED},
        "forecast_dnn_ensemble_eur_per_mwh": {FILLED},
        "forecast_lear_ensemble_eur_per_mwh": {FILLED},
    },
    "prices_np_with_dayahead": {
        "price_actual_eur_per_mwh": {FILLED},
        "forecast_dnn_ensemble_eur_per_mwh": {FILLED},
        "forecast_lear_ensemble_eur_per_mwh": {FILLED},
    },
    "ausgrid12": {"load_kw": {FILLED}},
    "monash": {"load_kw": {"missing_values"}},
    # Its forecast of PV is above 0 before midnight at times.
    "emhass": {
        "load_kw": {"missing_values"},
        "pv_kw": {"missing_values"},
        "pv_forecast_kw": {"missing_values", "pv_at_night"},
    },
    # 63 degrees north: snow and polar winter; noise of the wind meter below 0.
    "rye": {"pv_kw": {"no_production"}, "wind_kw_raw": {"negative"}},
    # PV before sunrise, in four homes so much that an hour later all of it would be in daylight. Two homes have nights
    # at 0 kW.
    "fontana_01": {"load_kw": {FILLED}, "pv_kw": {"early_labels", "pv_at_night"}},
    "fontana_02": {"load_kw": {FILLED, "stuck"}, "pv_kw": {"early_labels", "pv_at_night"}},
    "fontana_05": {"load_kw": {FILLED}, "pv_kw": {"early_labels", "pv_at_night"}},
    "fontana_06": {"load_kw": {FILLED, "stuck"}, "pv_kw": {"early_labels", "pv_at_night"}},
    "fontana_10": {"load_kw": {FILLED}, "pv_kw": {"pv_at_night"}},
    "fontana_16": {"load_kw": {FILLED}, "pv_kw": {"pv_at_night"}},
}


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, index_col=0, parse_dates=True)


def inspected(path: Path) -> QualityReport:
    place = next((place for part, place in PLACES.items() if part in path.name), Place("Europe/Paris"))
    # A model's 96 answers for each quarter-hour are no measurements; many stand still for nights and weekends.
    numbers = read(path).select_dtypes("number").filter(regex=r"^(?!forecast_(load|pv)_kwh_h)")
    return inspect(
        numbers,
        timezone=place.timezone,
        latitude=place.latitude,
        longitude=place.longitude,
        rated_kw=place.rated_kw,
    )


def one(folder: Path, part: str) -> Path:
    (path,) = folder.glob(f"*{part}*.csv.gz")
    return path


def times_of(report: QualityReport, rule: str, series: str, step: pd.Timedelta) -> list[pd.Timestamp]:
    return [
        time
        for finding in report.of(rule, series)
        for each in finding.stretches
        for time in pd.date_range(each.start, each.end, freq=step, inclusive="left")
    ]


def test_what_is_found_in_real_files_is_explained(data_folder: Path) -> None:
    paths = sorted(data_folder.glob("*.csv.gz"))
    assert len(paths) == FILES
    series = findings = unexplained = 0
    for path in paths:
        report = inspected(path)
        expected = next((each for part, each in EXPECTED.items() if part in path.name), {})
        found: dict[str, set[str]] = {}
        for each in report.findings:
            found.setdefault(each.series, set()).add(each.rule)
            known = each.rule in expected.get(each.series, set())
            unexplained += not known
            print(f"{path.name:58} {each.series:34} {each.rule:16} {each.count:6} {'' if known else 'UNEXPLAINED'}")
        series += len(report.coverage)
        findings += len(report.findings)
        assert found == expected, path.name
    print(f"{len(paths)} files, {series} series, {findings} findings, {unexplained} unexplained")


@pytest.mark.parametrize(
    ("part", "series"),
    [
        ("prices_de_with_dayahead", "price_actual_eur_per_mwh"),
        ("prices_np_with_dayahead", "price_actual_eur_per_mwh"),
        ("ausgrid12", "load_kw"),
        *((f"fontana_{home}", "load_kw") for home in ("01", "02", "05", "06", "10", "16")),
    ],
)
def test_the_hours_that_were_filled_are_found(data_folder: Path, part: str, series: str) -> None:
    path = one(data_folder, part)
    truth = read(path)
    filled = truth.index[truth["quality"] == "filled_dst"]
    assert len(filled)
    report = inspected(path)
    assert times_of(report, FILLED, series, report.step) == filled.tolist()


def test_a_large_site_is_asked_about_unless_its_rating_is_known(data_folder: Path) -> None:
    load = read(one(data_folder, "emsx01"))["load_kwh_per_15min"]
    report = inspect(load)
    assert [each.rule for each in report.findings] == ["unit"]
    assert report.is_usable
    assert not inspect(load, rated_kw=600).findings


def test_every_run_of_missing_values_is_found(data_folder: Path) -> None:
    path = one(data_folder, "emhass")
    truth, report = read(path), inspected(path)
    for series, words in (
        ("load_kw", ("load_missing", "load_pv_missing")),
        ("pv_kw", ("pv_missing", "load_pv_missing")),
    ):
        wanted = truth.index[truth["quality"].isin(words)]
        assert times_of(report, "missing_values", series, report.step) == wanted.tolist()
    path = one(data_folder, "prices_be_da")
    (gap,) = inspected(path).of("missing_values")
    assert (gap.count, str(gap.start)) == (8, "2024-10-27 00:00:00+00:00")


def test_the_noise_of_the_wind_meter_is_found_and_can_be_clipped(data_folder: Path) -> None:
    (finding,) = inspected(one(data_folder, "rye")).of("negative")
    assert (finding.series, finding.worst, finding.count) == ("wind_kw_raw", -582.2, 4098)


@pytest.mark.parametrize("part", ["fontana_01", "ausgrid12", "emhass", "prosumpy", "trondheim_home_load_price_2020"])
@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_a_stretch_of_a_real_series_in_another_unit_is_found(data_folder: Path, part: str, factor: float) -> None:
    frame = read(one(data_folder, part))
    per_day = round(pd.Timedelta(days=1) / (frame.index[1] - frame.index[0]))
    for number, name in enumerate(frame.filter(regex="^(load_kw|pv_kw)")):
        series = frame[name].copy()
        put = slice((90 + 40 * number) * per_day + 7, (90 + 40 * number + 4 + 9 * number) * per_day + 16)
        series.iloc[put] *= factor
        (finding,) = inspect(series, name[: name.index("_")]).of("scale_change")
        truth = pd.Series(False, series.index)
        truth.iloc[put] = True
        found = pd.Series(series.index.map(lambda time, of=finding: of.start <= time < of.end), series.index)
        assert ((found != truth) & (series > 0)).sum() <= (2 if name == "load_kw" else 20)


@pytest.mark.parametrize("part", ["fontana_06", "ausgrid12", "emhass", "monash", "rye", "prosumpy"])
def test_real_pv_in_a_local_clock_is_told(data_folder: Path, part: str) -> None:
    path = one(data_folder, part)
    zone = next((place for name, place in PLACES.items() if name in path.name), Place("Europe/Paris")).timezone
    pv = read(path).filter(regex="^pv_kw").iloc[:, 0]
    assert not inspect(pv, "pv", timezone=zone).of("local_clock")
    wall = pv.tz_convert(zone).tz_localize(None)
    wall = wall[~wall.index.duplicated()].asfreq(pv.index[1] - pv.index[0]).ffill().tz_localize("UTC")
    (finding,) = inspect(wall, "pv", timezone=zone).of("local_clock")
    assert finding.worst == pytest.approx(1, abs=0.25)

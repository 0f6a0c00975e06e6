"""Bills worked out by hand, on the days when the clocks change; and that mistakes with the clock would be seen."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
import yaml

from engine.prices import PriceCurve
from engine.tariffs import Bill, Tariff, bill, clock, de, dk, gb
from engine.timeline import hold, local_day

FILES = sorted((Path(__file__).parent / "golden").glob("*.yaml"))
GERMAN = {"supplier_fee": 0.012, "levies": 0.03, "concession_fee": 0.016}
CONTRACTS: dict[str, Tariff] = {
    "n1": dk.household(dk.N1, supplier_fee=0.04, export_fee=0.02),
    "radius": dk.household(dk.RADIUS, supplier_fee=0.04),
    "cerius": dk.household(dk.CERIUS, supplier_fee=0.04),
    "westnetz": de.dynamic(de.WESTNETZ_2026, **GERMAN, feed_in=0.08),
    "wanfried": de.dynamic(de.EW_WANFRIED_2025, **GERMAN),
    "agile": gb.agile(gb.AGILE_2018["A"]),
}


@dataclass(frozen=True)
class Case:
    """One day of one file."""

    tariff: Tariff
    step: pd.Timedelta
    date: dt.date
    sheet: dict

    @property
    def times(self) -> pd.DatetimeIndex:
        return local_day(self.date, self.tariff.timezone, self.step)

    def readings(self, side: str) -> list[tuple[pd.Timestamp, str, float, float]]:
        rows = self.sheet.get(side, [])
        return [(pd.Timestamp(start).tz_convert("UTC"), wall.strip(), spot, kwh) for start, wall, spot, kwh in rows]

    @property
    def spot(self) -> PriceCurve:
        prices = pd.Series(0.37, self.times)  # where nothing is metered, the price does not matter
        for start, _, spot, _ in self.readings("import") + self.readings("export"):
            prices[start] = spot
        return PriceCurve(prices, self.tariff.currency)

    def kwh(self, side: str) -> pd.Series:
        energy = pd.Series(0.0, self.times)
        for start, _, _, metered in self.readings(side):
            energy[start] = metered
        return energy

    def by_hand(self, part: str) -> dict[str, Decimal]:
        lines = self.sheet.get(part, {})
        return {name: sum((_product(text) for text in products), Decimal(0)) for name, products in lines.items()}

    def settled(self) -> Bill:
        sold = self.kwh("export") if "export" in self.sheet else None
        return bill(self.tariff, self.spot, self.kwh("import"), sold)


def _product(text: str) -> Decimal:
    factors, _, result = text.partition("=")
    energy, _, price = factors.partition("*")
    assert Decimal(energy.strip()) * Decimal(price.strip()) == Decimal(result.strip()), text
    return Decimal(result.strip())


def _cases() -> list:
    cases = []
    for path in FILES:
        file = yaml.safe_load(path.read_text(encoding="utf-8"))
        for date, sheet in file["days"].items():
            case = Case(CONTRACTS[file["contract"]], pd.Timedelta(file["step"]), date, sheet)
            cases.append(pytest.param(case, id=f"{path.stem}-{date}"))
    return cases


every_day = pytest.mark.parametrize("case", _cases())


def test_every_contract_has_both_days_of_a_year_in_which_the_clock_changes():
    for path in FILES:
        file = yaml.safe_load(path.read_text(encoding="utf-8"))
        spring, autumn = (sheet["intervals"] for sheet in file["days"].values())
        assert {"1h": (23, 25), "30min": (46, 50), "15min": (92, 100)}[file["step"]] == (spring, autumn), path.name


@every_day
def test_the_hand_made_sheet_agrees_with_itself(case):
    """Products, sums, energies and wall clocks; so that a slip of the hand is not taken for one of the engine."""
    cost, revenue = case.by_hand("cost"), case.by_hand("revenue")
    assert sum(cost.values()) - sum(revenue.values()) == Decimal(str(case.sheet["total"]))
    *before, vat = case.sheet["cost"].items()
    assert Decimal(vat[1][0].split("*")[0].strip()) == sum(cost[name] for name, _ in before)
    for start, wall, _, _ in case.readings("import") + case.readings("export"):
        assert start.tz_convert(case.tariff.timezone).strftime("%H:%M %Z") == wall
    metered = Decimal(str(case.kwh("import").sum()))
    for name in ("supplier fee", "transmission", "system", "electricity tax", "levies"):
        if name in cost:
            assert Decimal(case.sheet["cost"][name][0].split("*")[0].strip()) == metered


@every_day
def test_the_bill_is_the_hand_made_one_line_by_line(case):
    assert len(case.times) == case.sheet["intervals"]
    settled = case.settled()
    assert settled.currency == case.tariff.currency
    for part, money in (("cost", settled.imports), ("revenue", settled.exports)):
        expected = {name: float(amount) for name, amount in case.by_hand(part).items()}
        assert money.to_dict() == pytest.approx(expected, abs=1e-9)
        assert list(money.index) == list(expected)
    assert settled.total == pytest.approx(case.sheet["total"], abs=1e-9)


@every_day
def test_shorter_intervals_give_the_same_bill(case):
    for finer in (pd.Timedelta(minutes=5), pd.Timedelta(minutes=15)):
        share = case.step / finer
        sold = hold(case.kwh("export"), finer) / share if "export" in case.sheet else None
        settled = bill(case.tariff, case.spot.hold(finer), hold(case.kwh("import"), finer) / share, sold)
        assert settled.total == pytest.approx(case.sheet["total"], abs=1e-9)


def _hours_since_midnight(index: pd.DatetimeIndex, timezone: str) -> pd.DatetimeIndex:
    local = index.tz_convert(timezone)
    return local[0].normalize().tz_localize(None) + (local - local[0])


def _winter_time_all_year(index: pd.DatetimeIndex, timezone: str) -> pd.DatetimeIndex:
    winter = pd.Timestamp("2025-01-15", tz=timezone).utcoffset()
    return index.tz_localize(None) + winter


def _an_hour_late(index: pd.DatetimeIndex, timezone: str) -> pd.DatetimeIndex:
    return index.tz_convert(timezone).tz_localize(None) - pd.Timedelta(hours=1)


@every_day
@pytest.mark.parametrize("mistake", [_hours_since_midnight, _an_hour_late])
def test_a_clock_that_is_an_hour_off_would_be_seen_on_every_day(case, monkeypatch, mistake):
    assert not _bill_is_right(case, monkeypatch, mistake)


@pytest.mark.parametrize("case", [case for case in _cases() if case.values[0].date.month == 3])
def test_a_clock_without_summer_time_would_be_seen(case, monkeypatch):
    assert not _bill_is_right(case, monkeypatch, _winter_time_all_year)


def _bill_is_right(case: Case, monkeypatch, mistake: Callable[[pd.DatetimeIndex, str], pd.DatetimeIndex]) -> bool:
    """Whether the bill is right to a hundredth, with a wrong clock in the place of the right one."""
    monkeypatch.setattr(clock, "wall_clock", mistake)
    lines = case.by_hand("cost")
    # Where a discount takes the whole grid tariff off again, only its line could show the mistake.
    if "grid discount" in lines:
        return abs(case.settled().imports["grid tariff"] - float(lines["grid tariff"])) < 0.01
    return abs(case.settled().total - case.sheet["total"]) < 0.01

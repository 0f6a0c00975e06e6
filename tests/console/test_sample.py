from __future__ import annotations

import datetime as dt
import hashlib
from importlib.resources import files

import pytest

from console.sample import sample_days, sample_series
from engine import InputError


def test_the_file_is_the_one_whose_origin_is_recorded() -> None:
    folder = files("console.sample_data")
    digest = hashlib.sha256(folder.joinpath("home_spring_2024.csv").read_bytes()).hexdigest()
    assert digest in folder.joinpath("ORIGIN.md").read_text()


def test_it_has_five_weeks_of_complete_days() -> None:
    days = sample_days()
    assert len(days) == 35
    lengths = {day: len(sample_series(day)) for day in days}
    assert lengths.pop(dt.date(2024, 3, 31)) == 92
    assert set(lengths.values()) == {96}
    for day in days:
        assert not sample_series(day).isna().to_numpy().any()


def test_an_unknown_day_is_refused_with_the_days_there_are() -> None:
    with pytest.raises(InputError, match="2024-03-18 to 2024-04-21"):
        sample_series(dt.date(2020, 1, 1))

"""A forecast that begins at the newest value."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine import InputError
from engine.forecast import Observed, Persistence, WithLatest

INDEX = pd.date_range("2024-05-01", periods=96, freq="h", tz="UTC")
NOW = INDEX[[72]]


def observed(latest_kw: float, delay: str = "0h") -> Observed:
    values = pd.Series(1.0, INDEX)
    values.iloc[71] = latest_kw
    return Observed(values, delay=pd.Timedelta(delay))


def test_it_begins_at_the_newest_value_and_comes_back() -> None:
    mean = WithLatest(Persistence(), fades_h=2.0).forecast(observed(3.0), NOW, 12).mean[0]
    assert mean == pytest.approx(1 + 2 * np.exp(-np.arange(12) / 2))


def test_what_was_read_late_has_faded_by_then() -> None:
    values = observed(1.0).values
    values.iloc[70] = 3.0
    late = Observed(values, delay=pd.Timedelta(hours=1))
    mean = WithLatest(Persistence(), fades_h=2.0).forecast(late, NOW, 12).mean[0]
    assert mean == pytest.approx(1 + 2 * np.exp(-np.arange(1, 13) / 2))


def test_no_power_falls_below_zero_and_what_is_missing_says_nothing() -> None:
    low = WithLatest(Persistence()).forecast(observed(0.0), NOW, 12).mean[0]
    assert (low >= 0).all()
    assert low[0] == 0
    assert (WithLatest(Persistence()).forecast(observed(np.nan), NOW, 12).mean[0] == 1.0).all()


@pytest.mark.parametrize("fades_h", [0.0, -1.0, np.nan, np.inf])
def test_a_time_that_is_none_is_refused(fades_h: float) -> None:
    with pytest.raises(InputError, match="fades_h"):
        WithLatest(Persistence(), fades_h)

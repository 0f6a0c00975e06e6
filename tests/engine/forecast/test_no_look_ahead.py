"""A forecast leans on nothing that was not known when it was made, and on no other forecast: to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from engine.forecast import Forecaster, Forecasts, Observed, PerfectForesight, in_chunks

# The day before the clock is put forward and the day on which it is; a Saturday; the end of a day.
DECISIONS = pd.DatetimeIndex(["2024-03-30T15:00Z", "2024-03-31T00:00Z", "2024-04-20T07:00Z", "2024-05-09T22:00Z"])
STEPS = 36
DELAYS = [pd.Timedelta(0), pd.Timedelta(minutes=70), pd.Timedelta(hours=30)]


def same(one: Forecasts, other: Forecasts) -> bool:
    both = [(one.mean, other.mean)]
    if one.quantiles is not None and other.quantiles is not None:
        both.append((one.quantiles, other.quantiles))
    return all(np.array_equal(a, b, equal_nan=True) for a, b in both)


def with_another_future(observed: Observed, decision: pd.Timestamp) -> Observed:
    """The same until the decision; behind it other values, other gaps, and others that say nothing."""
    rng = np.random.default_rng(7)
    unknown = np.asarray(observed.index + observed.step + observed.delay > decision)
    other = rng.gamma(1, 50, len(unknown))
    other[rng.random(len(unknown)) < 0.2] = np.nan
    values = observed.values.where(~unknown, other)
    excluded = pd.Series(np.where(unknown, rng.random(len(unknown)) < 0.2, observed.excluded), observed.index)
    return replace(observed, values=values, excluded=excluded.astype(bool))


def first_that_looks_ahead(forecaster: Forecaster, observed: Observed) -> pd.Timestamp | None:
    forecasts = forecaster.forecast(observed, DECISIONS, STEPS)
    for number, decision in enumerate(DECISIONS):
        alone = forecaster.forecast(with_another_future(observed, decision), DECISIONS[[number]], STEPS)
        row = replace(
            forecasts,
            mean=forecasts.mean[[number]],
            quantiles=None if forecasts.quantiles is None else forecasts.quantiles[:, [number]],
        )
        if not same(row, alone):
            return decision
    return None


@pytest.mark.parametrize("delay", DELAYS, ids=str)
def test_no_forecast_knows_what_comes(
    forecaster: Forecaster, its_own: Callable[[Forecaster], Observed], delay: pd.Timedelta
) -> None:
    observed = replace(its_own(forecaster), delay=delay)
    assert np.isfinite(forecaster.forecast(observed, DECISIONS, STEPS).mean).all()
    assert first_that_looks_ahead(forecaster, observed) is None


def test_the_search_finds_one_that_knows_what_comes(its_own: Callable[[Forecaster], Observed]) -> None:
    truth = PerfectForesight()
    assert first_that_looks_ahead(truth, its_own(truth)) == DECISIONS[0]


def test_the_newest_known_value_counts(forecaster: Forecaster, its_own: Callable[[Forecaster], Observed]) -> None:
    """Another value there is another forecast: what may be seen is used."""
    observed, decision = its_own(forecaster), pd.DatetimeIndex(["2024-04-24T14:00Z"])
    for delay in (pd.Timedelta(0), pd.Timedelta(hours=5)):
        told = forecaster.forecast(replace(observed, delay=delay), decision, 24 * 8)
        values = observed.values.copy()
        values[decision[0] - delay - observed.step] *= 1.5
        assert not same(told, forecaster.forecast(replace(observed, values=values, delay=delay), decision, 24 * 8))


def test_what_says_nothing_is_never_used(forecaster: Forecaster, its_own: Callable[[Forecaster], Observed]) -> None:
    observed = its_own(forecaster)
    assert observed.excluded is not None
    decisions = observed.index[1100:1500:7]
    told = forecaster.forecast(observed, decisions, STEPS)
    for poison in (0.0, 1e6):
        poisoned = replace(observed, values=observed.values.mask(observed.excluded, poison))
        assert same(told, forecaster.forecast(poisoned, decisions, STEPS))
    believed = replace(poisoned, excluded=None)
    assert not same(told, forecaster.forecast(believed, decisions, STEPS))


def test_forecasts_are_the_same_together_and_apart(
    forecaster: Forecaster, its_own: Callable[[Forecaster], Observed]
) -> None:
    observed = its_own(forecaster)
    decisions = observed.index[1300:1700:9]
    together = forecaster.forecast(observed, decisions, STEPS)
    chunks = list(in_chunks(forecaster, observed, decisions, STEPS, most=20))
    assert [len(chunk) for chunk in chunks] == [20, 20, 5]
    apart = replace(
        together,
        mean=np.concatenate([chunk.mean for chunk in chunks]),
        quantiles=None
        if together.quantiles is None
        else np.concatenate([chunk.quantiles for chunk in chunks if chunk.quantiles is not None], axis=1),
    )
    assert same(together, apart)

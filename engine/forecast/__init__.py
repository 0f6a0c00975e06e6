"""Forecasts of load and PV for planning, each from nothing but what was known when it was made.

from engine.forecast import Observed, SeasonalNaive
observed = Observed(load_kw, timezone="Europe/Copenhagen")
forecasts = SeasonalNaive().forecast(observed, decisions, steps=144)
forecasts.row(0)
"""

from engine.forecast.latest import WithLatest
from engine.forecast.load import GradientBoosting, SimilarDay
from engine.forecast.naive import PerfectForesight, Persistence, SeasonalNaive
from engine.forecast.pv import PvPhysical, PvRegression
from engine.forecast.quantiles import WithQuantiles
from engine.forecast.score import Stakes, score
from engine.forecast.series import Forecaster, Forecasts, Observed, in_chunks

__all__ = [
    "Forecaster",
    "Forecasts",
    "GradientBoosting",
    "Observed",
    "PerfectForesight",
    "Persistence",
    "PvPhysical",
    "PvRegression",
    "SeasonalNaive",
    "SimilarDay",
    "Stakes",
    "WithLatest",
    "WithQuantiles",
    "in_chunks",
    "score",
]

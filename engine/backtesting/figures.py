"""A backtest in pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from engine.plotting import BLUE, GREY, ORANGE, PURPLE, RED, SKY

if TYPE_CHECKING:
    from engine.backtesting.result import AccountName, BacktestResult

SHOWN: tuple[tuple[AccountName, str, str], ...] = (
    ("perfect foresight", GREY, "dot"),
    ("metered", BLUE, "solid"),
    ("persistence", ORANGE, "dash"),
    ("self-consumption rule", PURPLE, "dash"),
)
LOST = {"forecast_eur": ORANGE, "command_eur": SKY, "execution_eur": RED, "metering_eur": GREY}


def backtest_figure(result: BacktestResult) -> go.Figure:
    """Saved money over time, where it was lost by month, and the battery's power by day and time of day."""
    figure = make_subplots(
        rows=3,
        cols=1,
        vertical_spacing=0.09,
        row_heights=[0.36, 0.24, 0.4],
        subplot_titles=(
            "Saved against no battery, charges on peaks left out [EUR]",
            "Lost against perfect foresight, by month [EUR]",
            "Battery [kW], + discharges, by day and time of day",
        ),
    )
    _saved(figure, result)
    _lost(figure, result)
    _heat_map(figure, result)
    figure.update_layout(
        height=1050,
        template="plotly_white",
        barmode="relative",
        legend={"orientation": "h", "y": -0.06, "yanchor": "top"},
        margin={"t": 50, "r": 20, "l": 60},
        title={"text": f"{result.site.name}: capture rate {result.capture_rate():.1%}", "x": 0.01},
    )
    return figure


def _local(result: BacktestResult) -> pd.DatetimeIndex:
    return result.reality.index.tz_convert(result.site.timezone)


def _saved(figure: go.Figure, result: BacktestResult) -> None:
    days = _local(result).tz_localize(None).normalize()
    worth = result.stored_worth_eur_per_kwh
    idle = result.accounts["no battery"].cost_eur(result.reality, result.site, worth)
    for name, colour, dash in SHOWN:
        if name not in result.accounts:
            continue
        saved = pd.Series(idle - result.accounts[name].cost_eur(result.reality, result.site, worth)).groupby(days).sum()
        label = "this strategy" if name == "metered" else name
        line = {"color": colour, "dash": dash, "width": 2}
        figure.add_trace(go.Scatter(x=saved.index, y=saved.cumsum(), name=label, mode="lines", line=line), row=1, col=1)


def _lost(figure: go.Figure, result: BacktestResult) -> None:
    table = result.attribution
    lost = table[list(LOST)].set_axis(pd.DatetimeIndex(pd.to_datetime(table.index))).resample("MS").sum()
    for column, colour in LOST.items():
        bars = go.Bar(x=lost.index, y=lost[column], name=column.removesuffix("_eur"), marker_color=colour)
        figure.add_trace(bars, row=2, col=1)


def _heat_map(figure: go.Figure, result: BacktestResult) -> None:
    local = _local(result)
    battery_kw = (result.trace.discharged - result.trace.charged) / result.reality.step_h
    table = pd.DataFrame(
        {"day": local.tz_localize(None).normalize(), "hour": local.hour + local.minute / 60, "kw": battery_kw}
    ).pivot_table(index="hour", columns="day", values="kw", aggfunc="mean")
    most = float(np.nanmax(np.abs(table.to_numpy()), initial=0.1))
    heat = go.Heatmap(
        x=table.columns,
        y=table.index,
        z=table.to_numpy(),
        zmin=-most,
        zmax=most,
        colorscale=[[0.0, BLUE], [0.5, "#FFFFFF"], [1.0, RED]],
        colorbar={"len": 0.36, "y": 0.17, "title": "kW"},
    )
    figure.add_trace(heat, row=3, col=1)
    figure.update_yaxes(title_text=f"hour, {result.site.timezone}", row=3, col=1)

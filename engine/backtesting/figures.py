"""A backtest in pictures: three panels over one axis of local days."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from engine.errors import InputError
from engine.plotting import BLUE, GREY, ORANGE, PURPLE, RED, SKY, edges_of, label, line, panels, steps

if TYPE_CHECKING:
    from engine.backtesting.result import AccountName, BacktestResult

SHOWN: tuple[tuple[AccountName, str, str], ...] = (
    ("perfect foresight", GREY, "dot"),
    ("metered", BLUE, "solid"),
    ("persistence", ORANGE, "dash"),
    ("self-consumption rule", PURPLE, "dash"),
)
LOST = {"forecast_eur": ORANGE, "command_eur": SKY, "execution_eur": RED, "metering_eur": GREY}
ONE_DAY = pd.Timedelta(days=1)
# Histories up to so long show what was lost by day, longer ones by month.
DAYS_SHOWN = 92
TITLES = (
    "Saved against no battery, charges on peaks left out [EUR]",
    "Lost against perfect foresight by {period} [EUR], gained below 0",
    "Battery by day and time of day [kW], + discharges",
)


def backtest_figure(result: BacktestResult) -> go.Figure:
    """Saved money over time, where it was lost, and the battery's power by day and time of day."""
    by_day = len(result.attribution) <= DAYS_SHOWN
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.1, row_heights=[0.36, 0.24, 0.4])
    _saved(figure, result)
    _lost(figure, result, by_day)
    _heat_map(figure, result)
    for row, title in enumerate(TITLES, start=1):
        # Title and legend stand in one line above their panel.
        top = figure.get_subplot(row, 1).yaxis.domain[1]
        text = f"<b>{title.format(period='day' if by_day else 'month')}</b>"
        place = {"x": 0, "y": top, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
        figure.add_annotation(text=text, showarrow=False, yshift=8, font_size=14, **place)
        legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": top, "yanchor": "bottom"}
        figure.update_layout({f"legend{row if row > 1 else ''}": legend})
    figure.update_layout(
        height=1000,
        template="plotly_white",
        barmode="relative",
        hovermode="x unified",
        margin={"t": 110, "r": 30, "l": 70, "b": 50},
        title={"text": _heading(result), "x": 0.01, "y": 0.98, "yanchor": "top"},
    )
    figure.update_xaxes(showticklabels=True, ticklabelstandoff=6, tickformat="%-d %b\n%Y")
    return figure


def day_figure(result: BacktestResult, day: str | dt.date) -> go.Figure:
    """One local day: prices, what was planned and done, and what perfect foresight would have done.

    Raises:
        InputError: The day is not in the history.
    """
    try:
        wanted = pd.Timestamp(day).date()
    except (ValueError, TypeError):
        raise InputError("day", f"value {day!r} is no day", "write it as 2024-04-10") from None
    within = _local(result).date == wanted
    if not within.any():
        days = result.attribution.index
        raise InputError("day", f"{wanted} is not in the history", f"choose one from {days[0]} to {days[-1]}")
    table, best = result.table[within], result.accounts["perfect foresight"]
    best_kw = (best.discharged - best.charged)[within] / result.reality.step_h
    figure, on_axis = panels(result.site, table.index)
    edges = edges_of(table.index, on_axis)
    steps(figure, 1, edges, table["import_price"], "import price", BLUE)
    steps(figure, 1, edges, table["export_price"], "export price", ORANGE)
    steps(figure, 2, edges, table["load_kw"], "load", GREY, "dot")
    steps(figure, 2, edges, table["pv_kw"], "PV used", ORANGE, "dot")
    steps(figure, 2, edges, table["planned_kw"], "battery planned", RED)
    steps(figure, 2, edges, table["battery_kw"], "battery did", SKY, fill=True)
    steps(figure, 2, edges, pd.Series(best_kw), "battery, perfect foresight", PURPLE, "dash")
    initial_kwh, capacity_kwh = result.initial_soc * result.site.battery.capacity_kwh, result.site.battery.capacity_kwh
    for stored, name, colour in (
        (initial_kwh + best.stored_change.cumsum(), "SOC, perfect foresight", PURPLE),
        (result.trace.stored, "SOC", BLUE),
    ):
        # A state of charge is that at the end of its interval; the day begins with that of the interval before.
        soc = np.concatenate([[initial_kwh], stored])[np.append(within, False) | np.insert(within, 0, False)]
        line(figure, 3, edges, pd.Series(soc / capacity_kwh * 100), name, colour, width=2)
    label(figure, result.site, table.index[0])
    return figure


def _heading(result: BacktestResult) -> str:
    days = result.attribution.index
    return (
        f"{result.site.name}, {days[0]} to {days[-1]}: saved {result.saved_eur:,.2f} EUR, "
        f"{result.capture_rate():.1%} of perfect foresight"
    )


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
        # What a day saved is there at its end.
        times = [days[0], *(pd.DatetimeIndex(saved.index) + ONE_DAY)]
        line = {"color": colour, "dash": dash, "width": 3 if name == "metered" else 2}
        lines = go.Scatter(x=times, y=[0.0, *saved.cumsum()], name=label, mode="lines", line=line, legend="legend")
        figure.add_trace(lines.update(hovertemplate="%{y:.2f} EUR"), row=1, col=1)


def _lost(figure: go.Figure, result: BacktestResult, by_day: bool) -> None:
    table = result.attribution
    days = pd.DatetimeIndex(pd.to_datetime(table.index))
    lost = table[list(LOST)].set_axis(days).resample("D" if by_day else "MS").sum()
    for column, colour in LOST.items():
        bars = go.Bar(
            x=lost.index,
            y=lost[column],
            name=column.removesuffix("_eur"),
            marker_color=colour,
            marker_line_width=0,
            xperiod=ONE_DAY / pd.Timedelta(milliseconds=1) if by_day else "M1",
            xperiodalignment="middle",
            legend="legend2",
            hovertemplate="%{y:.2f} EUR",
        )
        figure.add_trace(bars, row=2, col=1)


def _heat_map(figure: go.Figure, result: BacktestResult) -> None:
    local = _local(result)
    battery_kw = (result.trace.discharged - result.trace.charged) / result.reality.step_h
    table = pd.DataFrame(
        {"day": local.tz_localize(None).normalize(), "hour": local.hour + local.minute / 60, "kw": battery_kw}
    ).pivot_table(index="hour", columns="day", values="kw", aggfunc="mean")
    most = float(np.nanmax(np.abs(table.to_numpy()), initial=0.1))
    # Cells are drawn around their middle.
    heat = go.Heatmap(
        x=pd.DatetimeIndex(table.columns) + ONE_DAY / 2,
        y=table.index + result.reality.step_h / 2,
        z=table.to_numpy(),
        zmin=-most,
        zmax=most,
        colorscale=[[0.0, BLUE], [0.5, "#FFFFFF"], [1.0, RED]],
        colorbar={
            "orientation": "h",
            "len": 0.3,
            "thickness": 10,
            "x": 1,
            "xanchor": "right",
            "y": 0.32,
            "yanchor": "bottom",
            "ypad": 4,
        },
        hovertemplate="%{z:.2f} kW",
        name="battery",
    )
    figure.add_trace(heat, row=3, col=1)
    hours = list(range(0, 25, 6))
    axis = {"range": [0, 24], "tickvals": hours, "ticktext": [f"{hour}:00" for hour in hours], "showgrid": False}
    figure.update_yaxes(axis, title_text=result.site.timezone, row=3, col=1)

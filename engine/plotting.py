"""Figures: prices, power and state of charge, drawn the same way wherever they appear.

Colours are those of Okabe and Ito (2008), distinguishable with any colour vision.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from engine.assets import Site
from engine.timeline import step_hours

ORANGE, SKY, BLUE, RED, PURPLE, GREY = (
    "#E69F00",
    "#56B4E9",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#888888",
)


def plan_figure(
    site: Site,
    table: pd.DataFrame,
    import_price: pd.Series,
    export_price: pd.Series,
    initial_soc: float,
    seen_kw: pd.Series | None = None,
    seen_soc: pd.Series | None = None,
) -> go.Figure:
    """Draw a plan and, where given, what telemetry saw of it.

    Args:
        site: The site planned for.
        table: As `Plan.table`.
        import_price: Price of a bought kWh [EUR/kWh], one row per interval.
        export_price: Price of a sold kWh [EUR/kWh].
        initial_soc: State of charge at the start [fraction].
        seen_kw: Battery power from telemetry [kW], + discharges, on an aware index.
        seen_soc: State of charge from telemetry [fraction].

    Returns:
        Three panels on one local time axis: prices [EUR/kWh], power [kW], state of charge [%].
    """
    index = pd.DatetimeIndex(table.index)
    figure, on_axis = panels(site, index)
    edges = edges_of(index, on_axis)
    steps(figure, 1, edges, import_price, "import price", BLUE)
    steps(figure, 1, edges, export_price, "export price", ORANGE)
    steps(figure, 2, edges, table["load_kw"], "load", GREY, "dot")
    steps(figure, 2, edges, table["pv_kw"], "PV used", ORANGE, "dot")
    steps(figure, 2, edges, table["import_kw"] - table["export_kw"], "grid planned", PURPLE, "dash")
    steps(figure, 2, edges, table["discharge_kw"] - table["charge_kw"], "battery planned", SKY, fill=True)
    step = pd.Timedelta(hours=step_hours(index))
    planned_soc = pd.concat([pd.Series([initial_soc], [index[0]]), table["soc"].set_axis(index + step)])
    line(figure, 3, on_axis(planned_soc.index), planned_soc * 100, "SOC planned", BLUE, width=4)
    if seen_kw is not None and len(seen_kw):
        line(figure, 2, on_axis(seen_kw.index), seen_kw, "battery seen", RED, width=1.2)
    if seen_soc is not None and len(seen_soc):
        line(figure, 3, on_axis(seen_soc.index), seen_soc * 100, "SOC seen", ORANGE, width=1.5)
    label(figure, site, index[0])
    return figure


def watched_figure(
    site: Site, import_price: pd.Series, export_price: pd.Series, seen_kw: pd.DataFrame, seen_soc: pd.Series
) -> go.Figure:
    """Draw what telemetry saw of a site that nobody plans for.

    Args:
        site: The site.
        import_price: Price of a bought kWh [EUR/kWh], one row per interval.
        export_price: Price of a sold kWh [EUR/kWh].
        seen_kw: `load_kw`, `pv_kw`, `grid_kw` and `battery_kw` from telemetry [kW], on an aware index.
        seen_soc: State of charge from telemetry [fraction].

    Returns:
        The panels of `plan_figure`.
    """
    index = pd.DatetimeIndex(import_price.index)
    figure, on_axis = panels(site, index)
    for price, name, colour in ((import_price, "import price", BLUE), (export_price, "export price", ORANGE)):
        steps(figure, 1, edges_of(index, on_axis), price, name, colour)
    colours = {"load_kw": GREY, "pv_kw": ORANGE, "grid_kw": PURPLE, "battery_kw": RED}
    for column, colour in colours.items():
        values = seen_kw[column].dropna()
        line(figure, 2, on_axis(values.index), values, f"{column.removesuffix('_kw')} seen", colour, width=1.2)
    line(figure, 3, on_axis(seen_soc.index), seen_soc * 100, "SOC seen", ORANGE, width=1.5)
    label(figure, site, index[0])
    return figure


def panels(site: Site, index: pd.DatetimeIndex) -> tuple[go.Figure, Callable[[pd.Index], pd.DatetimeIndex]]:
    """Three empty panels, and how a time is put on their axis."""
    # Plotly drops offsets, and on the day of a clock change local times jump: the axis keeps the first offset.
    offset = pd.Timedelta(index[0].tz_convert(site.timezone).utcoffset() or 0)
    figure = make_subplots(
        rows=3,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.05,
        row_heights=[0.27, 0.46, 0.27],
        subplot_titles=("Price", "Power (battery + discharges, grid + imports)", "State of charge"),
    )
    return figure, lambda times: pd.DatetimeIndex(times).tz_convert("UTC").tz_localize(None) + offset


def edges_of(index: pd.DatetimeIndex, on_axis: Callable[[pd.Index], pd.DatetimeIndex]) -> pd.DatetimeIndex:
    """Where intervals begin, and the end of the last: without it a step line stops one interval short."""
    return on_axis(pd.DatetimeIndex([*index, index[-1] + pd.Timedelta(hours=step_hours(index))]))


def steps(
    figure: go.Figure,
    row: int,
    edges: pd.DatetimeIndex,
    values: pd.Series,
    name: str,
    colour: str,
    dash: str = "solid",
    fill: bool = False,
) -> None:
    """Draw what holds over each interval."""
    line = {"shape": "hv", "color": colour, "dash": dash, "width": 2}
    held = [*values, values.iloc[-1]]
    trace = go.Scatter(x=edges, y=held, name=name, mode="lines", line=line, fill="tozeroy" if fill else None)
    figure.add_trace(trace, row=row, col=1)


def label(figure: go.Figure, site: Site, begin: pd.Timestamp) -> None:
    """Name the axes of the three panels, and draw the edges of the band."""
    for edge in (site.battery.min_soc, site.battery.max_soc):
        figure.add_hline(y=edge * 100, line={"color": GREY, "width": 1, "dash": "dot"}, row=3, col=1)
    figure.update_yaxes(title_text="EUR/kWh", row=1, col=1, zeroline=True)
    figure.update_yaxes(title_text="kW", row=2, col=1, zeroline=True)
    figure.update_yaxes(title_text="%", row=3, col=1, range=[0, 105])
    figure.update_xaxes(title_text=f"{site.timezone} ({begin.tz_convert(site.timezone):UTC%z} all day)", row=3, col=1)
    figure.update_layout(
        height=820,
        template="plotly_white",
        hovermode="x unified",
        legend={"orientation": "h", "y": -0.1, "yanchor": "top"},
        margin={"t": 40, "r": 20, "l": 60},
    )


def line(figure: go.Figure, row: int, times: pd.Index, values: pd.Series, name: str, colour: str, width: float) -> None:
    """Draw what holds at each time."""
    trace = go.Scatter(x=times, y=values, name=name, mode="lines", line={"color": colour, "width": width})
    figure.add_trace(trace, row=row, col=1)

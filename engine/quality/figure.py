"""A report drawn: the series, and what was found in it."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from engine.plotting import BLUE, GREY, ORANGE, RED
from engine.quality.findings import Severity
from engine.quality.report import QualityReport

COLOURS = {Severity.ERROR: RED, Severity.WARNING: ORANGE, Severity.HINT: GREY}
# More shades than this nobody can tell apart, and browsers crawl.
MOST_SHADES = 200


def report_figure(report: QualityReport) -> go.Figure:
    """Draw samples by time, each finding's stretches shaded by severity and named at the first."""
    names = list(report.frame.columns)
    figure = make_subplots(rows=len(names), cols=1, shared_xaxes=True, subplot_titles=names)
    frame = report.frame.sort_index()
    for row, name in enumerate(names, start=1):
        line = {"color": BLUE, "width": 1}
        figure.add_trace(go.Scatter(x=frame.index, y=frame[name], name=name, mode="lines", line=line), row=row, col=1)
        for finding in (each for each in report.findings if each.series in ("", name)):
            for number, stretch in enumerate(finding.stretches[:MOST_SHADES]):
                figure.add_vrect(
                    x0=stretch.start,
                    x1=stretch.end,
                    fillcolor=COLOURS[finding.severity],
                    opacity=0.25,
                    line_width=0,
                    annotation_text=finding.rule if number == 0 else None,
                    row=row,
                    col=1,
                )
    figure.update_layout(template="plotly_white", height=120 + 240 * len(names), showlegend=False)
    return figure

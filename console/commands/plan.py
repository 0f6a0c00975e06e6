"""`tidewatt plan`: the cheapest plan for one site."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from console.commands.screen import out
from console.inputs import MARKET_COLUMNS, SERIES_COLUMNS
from engine import Plan, Site


def plan(
    site: Annotated[Path, typer.Option(help="The site, a YAML file: name, timezone, battery, grid, pv.")],
    series: Annotated[
        Path,
        typer.Option(
            help=f"The horizon, a CSV file: start, {', '.join(SERIES_COLUMNS)}, and what the strategy asks for, "
            f"such as {', '.join(MARKET_COLUMNS[:4])}."
        ),
    ],
    strategy: Annotated[
        Path | None, typer.Option(help="What is wanted, a YAML file of the fields of a strategy. Unset: least cost.")
    ] = None,
    initial_soc: Annotated[float, typer.Option(help="State of charge at the start, a fraction.")] = 0.5,
    final_soc_min: Annotated[
        float | None, typer.Option(help="Least state of charge at the end, a fraction. Unset: the band only.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute the cheapest plan for one site and print it."""
    from console.inputs import in_file_terms, read_series, read_site, read_strategy
    from engine import columns, optimise

    chosen = read_site(site)
    wanted = read_strategy(strategy) if strategy else None
    frame = read_series(series, optional=MARKET_COLUMNS)
    with in_file_terms(series):
        result = optimise(
            chosen,
            import_price=frame["import_price_eur_per_kwh"],
            export_price=frame["export_price_eur_per_kwh"],
            load=frame["load_kw"],
            pv=frame["pv_kw"],
            initial_soc=initial_soc,
            final_soc_min=final_soc_min,
            strategy=wanted,
            **columns.arguments(frame),
        )
    if as_json:
        print(
            json.dumps(
                {
                    "status": result.status,
                    "cost_eur": result.cost_eur,
                    "breakdown": dataclasses.asdict(result.breakdown),
                    "intervals": result.intervals(),
                    "breaches": [str(breach) for breach in result.breaches],
                }
            )
        )
        return
    out.print(_plan_table(chosen, result))
    costs = result.breakdown
    lines = {"trades": costs.trading_eur, "imbalance": costs.imbalance_eur, "capacity": costs.balancing_eur}
    earned = "".join(f" - {name} {eur:.4f}" for name, eur in lines.items() if eur)
    out.print(
        f"cost {result.cost_eur:.4f} EUR = bought {costs.import_eur:.4f} - sold {costs.export_eur:.4f} "
        f"+ wear {costs.wear_eur:.4f}{earned}"
    )
    out.print(f"proved optimal by {result.solver} in {result.seconds:.3f} s: {result.why}")
    for breach in result.breaches:
        out.print(f"not kept: {breach}", style="bold", markup=False)


def _plan_table(site: Site, plan: Plan) -> Table:
    """The plan in kW, local times; columns that hold nothing but zeros are left out."""
    local = plan.problem.index.tz_convert(site.timezone)
    one_day = local[0].date() == local[-1].date() and local[0].utcoffset() == local[-1].utcoffset()
    powers = [str(name) for name in plan.table if str(name).endswith("_kw") and plan.table[name].to_numpy().any()]
    day = f"{local[0]:%Y-%m-%d}, " if one_day else ""
    table = Table(
        title=escape(f"{site.name}: {day}times in {site.timezone}, powers in kW, SOC at the end of the interval"),
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1),
    )
    table.add_column("start", no_wrap=True)
    for name in (*(name.removesuffix("_kw") for name in powers), "SOC %", "EUR"):
        table.add_column(name, justify="right", no_wrap=True)
    for start, row in zip(local, plan.table.to_dict("records"), strict=True):
        table.add_row(
            f"{start:%H:%M}" if one_day else f"{start:%Y-%m-%d %H:%M%z}",
            *(f"{row[name]:.2f}" for name in powers),
            f"{row['soc'] * 100:.1f}",
            f"{row['cost_eur']:.4f}",
        )
    return table

"""`tidewatt devices`: list, probe and watch the devices of vendor accounts. Nothing here is ever sent to a battery."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from adapters.contract import Channel
from console.commands.screen import EXIT_FAILED, err, out

if TYPE_CHECKING:
    from console.devices import Listing, Row

app = typer.Typer(
    help="List, probe, watch, connect and commission the devices of vendor accounts; only commission moves a battery.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Accounts = Annotated[
    Path, typer.Argument(help="Accounts in YAML or JSON: adapter, account, device_ids; or an emulator's ready file.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AtOnce = Annotated[int, typer.Option(min=1, max=1000, help="Questions at the same time, over all accounts.")]
TimeoutS = Annotated[float, typer.Option(min=0.1, max=3600, help="Longest wait for one answer, in seconds.")]


ChannelOption = Annotated[
    Channel | None,
    typer.Option(
        help="state: everything, at the slower cadence; power: the fastest powers. Unset: the one that knows the meter."
    ),
]
HEADINGS = ("battery kW", "grid kW", "PV kW", "load kW", "SOC %", "age s", "balance", "dispatch")


@app.command("list")
def list_command(accounts: Accounts, at_once: AtOnce = 8, timeout_s: TimeoutS = 30.0, as_json: AsJson = False) -> None:
    """List all devices of all accounts, as their vendors have them."""
    from console.accounts import read_accounts
    from console.devices import Bounds, connected, list_devices

    async def run() -> list[Listing]:
        async with connected(accounts, read_accounts(accounts)) as connections:
            return await list_devices(connections, Bounds(at_once, timeout_s))

    rows = asyncio.run(run())
    if as_json:
        print(json.dumps([row.as_json() for row in rows]))
    else:
        out.print(_listing_table(rows))
    _exit(all(not row.error for row in rows))


@app.command()
def probe(
    accounts: Accounts,
    channel: ChannelOption = None,
    at_once: AtOnce = 8,
    timeout_s: TimeoutS = 30.0,
    as_json: AsJson = False,
) -> None:
    """Take one reading of every device: battery + discharges, grid + imports; exit code 1 if one fails."""
    from console.accounts import read_accounts
    from console.devices import Bounds, connected
    from console.devices import probe as take

    async def run() -> list[Row]:
        async with connected(accounts, read_accounts(accounts)) as connections:
            return await take(connections, channel, Bounds(at_once, timeout_s))

    rows = asyncio.run(run())
    if as_json:
        print(json.dumps([row.as_json() for row in rows]))
    else:
        out.print(_probe_table(rows))
    _exit(all(not row.error for row in rows))


@app.command()
def watch(
    accounts: Accounts,
    channel: ChannelOption = None,
    every_s: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two readings, where the vendor does not send by itself.")
    ] = 30.0,
    count: Annotated[int | None, typer.Option(min=1, help="Readings of each device; unset: until Ctrl-C.")] = None,
    at_once: AtOnce = 8,
    timeout_s: TimeoutS = 30.0,
    as_json: AsJson = False,
) -> None:
    """Show readings as they come, a line each, until Ctrl-C; exit code 1 if one failed."""
    from console.accounts import read_accounts
    from console.devices import Bounds, connected
    from console.devices import watch as follow

    def show(row: Row) -> None:
        if as_json:
            print(json.dumps(row.as_json()), flush=True)
        else:
            out.print(_line(row))

    async def run() -> bool:
        async with connected(accounts, read_accounts(accounts)) as connections:
            return await follow(connections, channel, Bounds(at_once, timeout_s), every_s, count, show)

    try:
        all_well = asyncio.run(run())
    except KeyboardInterrupt:
        err.print("watch: stopped")
        return
    _exit(all_well)


def _exit(all_well: bool) -> None:
    if not all_well:
        sys.exit(EXIT_FAILED)


def _probe_table(rows: Sequence[Row]) -> Table:
    table = Table(title="battery + discharges, grid + imports", title_justify="left", box=box.SIMPLE, padding=(0, 1))
    for heading in ("account", "device"):
        table.add_column(heading, no_wrap=True)
    for heading in HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("error", overflow="fold")
    for row in rows:
        table.add_row(escape(row.account), escape(row.device_id), *_cells(row), Text(row.error, style="red"))
    return table


def _line(row: Row) -> Text:
    at = "" if row.reading is None else f"{row.reading.measured_at:%Y-%m-%dT%H:%M:%SZ} "
    line = Text(f"{at}{row.account} {row.device_id}")
    if row.reading is not None:
        cells = zip(HEADINGS, _cells(row), strict=True)
        line.append("  " + "  ".join(f"{heading} {cell}" for heading, cell in cells))
    if row.error:
        line.append(f"  {row.error}", style="red")
    return line


def _cells(row: Row) -> list[str]:
    reading = row.reading
    if reading is None:
        return ["-"] * len(HEADINGS)
    powers = (reading.battery_kw, reading.grid_kw, reading.pv_kw, reading.load_kw)
    off_kw = row.imbalance_kw
    return [
        *("-" if power is None else f"{power:z.3f}" for power in powers),
        "-" if reading.soc is None else f"{reading.soc * 100:.1f}",
        "-" if row.age_s is None else f"{row.age_s:z.0f}",
        "-" if off_kw is None else "ok" if row.balanced else f"off by {off_kw:+.3f} kW",
        {None: "-", True: "active", False: "none"}[reading.dispatch_active],
    ]


def _listing_table(rows: Sequence[Listing]) -> Table:
    table = Table(box=box.SIMPLE, padding=(0, 1))
    for heading in ("account", "adapter", "device", "name", "model"):
        table.add_column(heading, no_wrap=True)
    for heading in ("kWh", "kW", "control", "listed by"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("error", overflow="fold")
    for row in rows:
        found = row.found
        cells = ["-"] * 6
        if found is not None:
            numbers = ("-" if value is None else f"{value:g}" for value in (found.capacity_kwh, found.rated_kw))
            control = {None: "-", True: "yes", False: "no"}[found.controllable]
            cells = [found.device_id, found.name or "-", found.model or "-", *numbers, control]
        table.add_row(
            escape(row.account),
            escape(row.adapter),
            *map(escape, cells),
            "vendor" if row.listed_by_vendor else "file",
            Text(row.error, style="red"),
        )
    return table

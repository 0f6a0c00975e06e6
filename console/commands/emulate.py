"""`tidewatt emulate`: one vendor's cloud or all of them, and what goes wrong in them."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table
from typer.core import TyperGroup

from adapters.registry import EMULATORS, names
from console.commands.screen import date_of, err, out
from engine.errors import InputError

Ready = list[dict[str, Any]]


class _Group(TyperGroup):
    """Lets `--all` stand for the command `all`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--all" in args and args[0].startswith("-"):
            args = ["all", *(word for word in args if word != "--all")]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Group,
    help="Emulate vendors' clouds and their batteries on loopback: one vendor, or `--all` of them; or sources of "
    "prices and weather: one, or `feeds` for all of them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _command(vendors: Callable[[], Sequence[str]]) -> Callable[..., None]:
    def command(
        site: Annotated[Path | None, typer.Option(help="The site, a YAML file. Unset: the sample home.")] = None,
        house: Annotated[
            Path | None, typer.Option(help="CSV with start, load_kw, pv_kw; repeats. Unset: a sample day.")
        ] = None,
        day: Annotated[str | None, typer.Option(help="Day of the sample, as 2024-04-10.")] = None,
        seed: Annotated[
            int, typer.Option(min=0, help="Seed of the minutes within the sample's hours, and of faults.")
        ] = 1,
        sites: Annotated[int, typer.Option(min=1, max=10_000, help="How many sites each vendor has.")] = 1,
        initial_soc: Annotated[float, typer.Option(help="State of charge at the start, a fraction.")] = 0.5,
        speed: Annotated[
            float,
            typer.Option(
                "--clock-factor",
                "--speed",
                min=0.001,
                help="Emulated seconds per second, from now on; a client needs the same clock.",
            ),
        ] = 1.0,
        stepped: Annotated[
            bool, typer.Option("--stepped", help="Start with the day; time is stepped by whoever drives.")
        ] = False,
        port: Annotated[
            int,
            typer.Option(
                min=0,
                max=65535,
                help="Port on 127.0.0.1, the vendors after the first take the next ones; 0 takes free ones.",
            ),
        ] = 0,
        log: Annotated[
            Path | None, typer.Option(help="Write what happens, a line of JSON an event; a file for each vendor.")
        ] = None,
        ready_file: Annotated[
            Path | None, typer.Option(help="Write addresses and throw-away credentials here, not to the screen.")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print lines of JSON on a screen, too.")] = False,
        idle_exit_s: Annotated[
            float | None, typer.Option(help="Stop after this many seconds without a request.")
        ] = None,
    ) -> None:
        from console.emulate import EmulatorOptions, run_emulators, write_ready
        from console.inputs import read_series, read_site
        from console.sample import DEFAULT_DAY, sample_day, sample_site

        sample = sample_day(date_of(day) if day else DEFAULT_DAY, seed)
        frame = read_series(house, wanted=("load_kw", "pv_kw")) if house else None
        begins = (sample.house if frame is None else frame).index[0].to_pydatetime()
        if not 0 <= initial_soc <= 1:
            raise InputError("initial_soc", f"value {initial_soc:g} is outside 0..1", "give a fraction")

        def announce(ready: Ready) -> None:
            marks = {"pid": os.getpid(), "day": sample.date.isoformat(), "seed": seed}
            records = [{**record, **marks} for record in ready]
            if ready_file is not None:
                write_ready(ready_file, records)
            _show(records, as_json, ready_file)

        options = EmulatorOptions(
            site=read_site(site) if site else sample_site(),
            house=lambda number: sample_day(sample.date, seed, number).house if frame is None else frame,
            initial_soc=initial_soc,
            start=begins if stepped else dt.datetime.now(dt.UTC),
            speed=None if stepped else speed,
            sites=sites,
            seed=seed,
            port=port,
            log_file=log,
            idle_exit_s=idle_exit_s,
        )
        try:
            run_emulators(vendors(), options, announce)
        except KeyboardInterrupt:
            err.print("emulator: stopped")

    return command


def _show(records: Ready, as_json: bool, ready_file: Path | None) -> None:
    """A table without credentials on a screen; else lines of JSON, with credentials where no file has them."""
    on_screen = sys.stdout.isatty()
    if as_json or (not on_screen and ready_file is None):
        for record in records:
            account = record["account"] if ready_file is None else {"base_url": record["account"]["base_url"]}
            print(json.dumps({**record, "account": account}), flush=True)
    elif on_screen:
        table = Table(box=box.SIMPLE, padding=(0, 1))
        for heading in ("vendor", "address", "sites", "devices"):
            table.add_column(heading, no_wrap=True)
        for record in records:
            found = record["device_ids"]
            shown = found[0] if len(found) == 1 else f"{found[0]} .. {found[-1]}"
            table.add_row(record["adapter"], record["account"]["base_url"], str(len(found)), shown)
        out.print(table)
        if ready_file is None:
            out.print("for the throw-away credentials give --ready-file FILE; then: tidewatt devices probe FILE")
        else:
            out.print(f"credentials are in it: tidewatt devices probe {ready_file}", markup=False)


def _all_vendors() -> list[str]:
    from adapters.registry import EMULATORS, names

    return names(EMULATORS)


def _named(name: str) -> Callable[[], Sequence[str]]:
    return lambda: [name]


for _name in sorted({"alphaess", *names(EMULATORS)}):
    app.command(_name, help=f"The cloud of {_name}; prints address and credentials as a line of JSON.")(
        _command(_named(_name))
    )
app.command("all", help="All vendors in one process, a port each; the same as --all.")(_command(_all_vendors))


# As in `console.emulate_feeds`, which takes long to load.
FEEDS = ("energi_data_service", "entsoe", "octopus", "open_meteo")


def _feeds_command(wanted: Sequence[str]) -> Callable[..., None]:
    def command(
        seed: Annotated[int, typer.Option(min=0, help="Seed of the prices.")] = 1,
        port: Annotated[
            int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1, the others take the next ones; 0: free ones.")
        ] = 0,
        ready_file: Annotated[
            Path | None, typer.Option(help="Write markets of these sources here, for `tidewatt prices import`.")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print lines of JSON on a screen, too.")] = False,
        idle_exit_s: Annotated[
            float | None, typer.Option(help="Stop after this many seconds without a request.")
        ] = None,
    ) -> None:
        from console.emulate import write_ready
        from console.emulate_feeds import ServedFeed, markets, run_feeds

        def announce(served: list[ServedFeed]) -> None:
            if ready_file is not None:
                write_ready(ready_file, markets(served))
            if as_json or not sys.stdout.isatty():
                for each in served:
                    record = {"source": each.source, "base_url": each.base_url, "pid": os.getpid()}
                    print(json.dumps(record | ({} if ready_file else {"account": each.account})), flush=True)
                return
            table = Table(box=box.SIMPLE, padding=(0, 1))
            for heading in ("source", "address"):
                table.add_column(heading, no_wrap=True)
            for each in served:
                table.add_row(each.source, each.base_url)
            out.print(table)
            if ready_file is not None:
                out.print(f"then: tidewatt prices import {ready_file}; tidewatt prices fetch", markup=False)
            for each in served:
                if each.source == "open_meteo":
                    out.print(
                        f"weather: TIDEWATT_WEATHER=open_meteo TIDEWATT_WEATHER_URL={each.base_url}", markup=False
                    )

        try:
            run_feeds(wanted, seed, port, idle_exit_s, announce)
        except KeyboardInterrupt:
            err.print("emulator: stopped")

    return command


for _name in FEEDS:
    app.command(_name, help=f"The source {_name}, with prices or weather of a model; none are anybody's.")(
        _feeds_command([_name])
    )
app.command("feeds", help="All sources of prices and weather in one process, a port each.")(_feeds_command(FEEDS))


@app.command()
def fault(
    url: Annotated[str, typer.Argument(help="Address of a running emulator.")],
    switches: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=VALUE...",
            help="What goes wrong, as rate_limited=true latency_s=2; with prices also as late=true (docs/feeds.md).",
        ),
    ] = None,
) -> None:
    """Switch faults of a running emulator on; those not named go off, so that none named mends everything."""
    from adapters.emulation import EmulatorControl, Faults
    from adapters.feeds.emulation import Wrong
    from adapters.settings import checked_address, is_loopback
    from adapters.transport import RefusedRequestError

    try:
        checked_address(url, is_loopback)
    except ValueError:
        raise InputError(
            "url", f"value {url!r} is no address of an emulator", "write one like http://127.0.0.1:41234"
        ) from None
    wanted: dict[str, Any] = {}
    names = [*Faults.model_fields, *Wrong.model_fields]
    for word in switches or []:
        name, equals, text = word.partition("=")
        if not equals or name not in names:
            raise InputError("fault", f"value {word!r} names none", f"write name=value; names are {', '.join(names)}")
        try:
            wanted[name] = json.loads(text)
        except ValueError:
            wanted[name] = text
    faults, wrong = (
        {name: value for name, value in wanted.items() if name in model.model_fields} for model in (Faults, Wrong)
    )
    Faults.model_validate(faults)
    Wrong.model_validate(wrong)

    async def switch() -> None:
        control = EmulatorControl(url)
        try:
            await control.switch(**faults)
            try:
                await control.spoil(**wrong)
            except RefusedRequestError as error:
                # Only sources of prices have these; nothing is to be mended elsewhere.
                if error.status != 404 or wrong:
                    raise
        except RefusedRequestError as error:
            if error.status == 404:
                raise InputError("url", "this emulator has no such switches", "emulate one that has") from None
            raise
        finally:
            await control.close()

    asyncio.run(switch())
    print("in force: " + (" ".join(f"{name}={json.dumps(value)}" for name, value in wanted.items()) or "no faults"))

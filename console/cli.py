"""The `tidewatt` command: its parts are in `console.commands`."""

from __future__ import annotations

import logging
import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer
from pydantic import ValidationError

from console.commands import (
    accounts,
    data,
    devices,
    emulate,
    forecast,
    groups,
    inputs,
    override,
    prices,
    sites,
    strategy,
)
from console.commands.audit import audit
from console.commands.backtest import backtest
from console.commands.check import check
from console.commands.commission import commission
from console.commands.connect import connect
from console.commands.control import arm, disarm, kill, status
from console.commands.demo import demo
from console.commands.init import init
from console.commands.metrics import metrics
from console.commands.plan import plan
from console.commands.run import beat, up, worker
from console.commands.screen import EXIT_BAD_INPUT, EXIT_FAILED, err
from engine.errors import InputError, TidewattError, input_error_from

app = typer.Typer(
    help="Plan, run and prove what batteries do.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
app.command()(plan)
app.command()(backtest)
app.add_typer(emulate.app, name="emulate")
app.command()(demo)
app.command()(init)
devices.app.command()(connect)
devices.app.command()(commission)
app.add_typer(devices.app, name="devices")
for _command in (up, worker, beat, status, kill, arm, disarm, audit, check, metrics):
    app.command()(_command)
app.add_typer(accounts.app, name="accounts")
app.add_typer(sites.app, name="sites")
app.add_typer(groups.app, name="groups")
app.add_typer(strategy.app, name="strategy")
app.add_typer(inputs.app, name="inputs")
app.add_typer(forecast.app, name="forecast")
app.add_typer(data.app, name="data")
app.add_typer(prices.app, name="prices")
app.add_typer(override.app, name="override")


def main() -> None:
    """Run the command; what people can mend is one line on stderr, not a traceback."""
    # Retries are counted where they matter; on the screen they are noise.
    logging.getLogger("stamina").setLevel(logging.ERROR)
    try:
        app()
    except InputError as error:
        _complain(error, EXIT_BAD_INPUT)
    except ValidationError as error:
        _complain(input_error_from(error), EXIT_BAD_INPUT)
    except TidewattError as error:
        _complain(error, EXIT_FAILED)
    except BrokenPipeError:
        # Who read the output has seen enough; at the interpreter's end nothing may be written to it any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _complain(InputError("file", f"{where}{error.strerror}", "check path and permissions"), EXIT_BAD_INPUT)


def _complain(error: Exception, code: int) -> None:
    err.print(f"tidewatt: {error}", markup=False)
    sys.exit(code)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(version("tidewatt"))
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Plan, run and prove what batteries do."""

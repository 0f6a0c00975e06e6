"""`tidewatt worker`, `beat`, `up`: the processes that keep batteries at their plans."""

from __future__ import annotations

from typing import Annotated

import typer


def worker(
    queues: Annotated[
        str | None, typer.Option(help="Which queues, with commas between them. Unset: all of them.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="How many tasks at once.")] = 2,
    name: Annotated[str, typer.Option(help="What this worker is called; each of a machine needs its own.")] = "worker",
) -> None:
    """Do what the messages of some queues ask for, until SIGTERM; running tasks end first."""
    from console import processes

    processes.run_worker(queues.split(",") if queues else None, concurrency, name)


def beat() -> None:
    """Ring for the jobs that are due, until SIGTERM. Several do no harm: each slot is done once."""
    from console import processes

    processes.run_beat()


def up(
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="How many accounts at once.")] = 4,
    release_on_stop: Annotated[
        bool,
        typer.Option(
            "--release-on-stop", help="At the end disarm all accounts, and wait until batteries are let go of."
        ),
    ] = False,
) -> None:
    """Run all of it on this machine: workers and beat; what dies is started again. Ctrl-C or SIGTERM ends it.

    Batteries go on with their plans as far as the vendors' commands carry, and are taken up at the next start.
    """
    from console import processes

    processes.run_all(concurrency, release_on_stop)

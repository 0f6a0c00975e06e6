"""`tidewatt status`, `kill`, `arm`, `disarm`: what stands where, and what may move at all."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from console.commands.screen import out
from console.commands.store import whoami
from engine.errors import InputError

if TYPE_CHECKING:
    from schedules.overview import SiteStatus
    from schedules.store import HaltRow

By = Annotated[str, typer.Option(help="Who does it, for the record. Unset: who is logged in.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def status(as_json: AsJson = False) -> None:
    """Show every site: whether it may be driven, its plan, what is wanted now, the last call, what telemetry says."""
    from console.store import opened
    from schedules import halts, overview

    with opened() as (db, clock):
        now = clock()
        with db.session() as session:
            sites = overview.sites(session, now)
        pulled = halts.in_force(db)
    if as_json:
        print(json.dumps({"sites": [_entry(site, now) for site in sites], "halts": [_halt(halt) for halt in pulled]}))
        return
    for halt in pulled:
        scope = f"{halt.scope.value} {halt.name}".strip()
        out.print(f"halt {halt.id}: {scope} by {halt.by} since {_clock_time(halt.since)}: {halt.reason}", markup=False)
    if not sites:
        out.print("no sites yet")
        return
    table = Table(box=box.SIMPLE, padding=(0, 1))
    entries = [_row(site, now) for site in sites]
    for heading in entries[0]:
        table.add_column(heading)
    for entry in entries:
        table.add_row(*map(escape, entry.values()))
    out.print(table)
    for site in sites:
        if site.plan is not None and site.plan.degraded:
            out.print(f"{site.site.name}: plan is DEGRADED: {site.plan.degraded}", markup=False)


def kill(
    vendor: Annotated[str | None, typer.Option(help="Stop one vendor's batteries only.")] = None,
    account: Annotated[str | None, typer.Option(help="Stop one account's only.")] = None,
    site: Annotated[str | None, typer.Option(help="Stop one site's only.")] = None,
    reason: Annotated[str, typer.Option(help="Why; who finds the batteries at rest will ask.")] = "",
    lift: Annotated[int | None, typer.Option(help="Let things go on that halt NUMBER stopped.")] = None,
    by: By = "",
) -> None:
    """Stop everything but releases, everywhere or in one part, at the next call; or lift such a halt."""
    from console.store import opened
    from schedules import halts
    from schedules.store import HaltScope

    named = [(HaltScope.VENDOR, vendor), (HaltScope.ACCOUNT, account), (HaltScope.SITE, site)]
    wanted = [(scope, name) for scope, name in named if name is not None] or [(HaltScope.GLOBAL, "")]
    if len(wanted) > 1 or (lift is not None and (reason or wanted[0][1])):
        raise InputError("kill", "more than one thing is asked for", "give one of --vendor, --account, --site, --lift")
    with opened() as (db, clock):
        if lift is not None:
            halts.lift(db, clock, lift, by or whoami())
            out.print(f"halt {lift} is lifted")
            return
        number = halts.pull(db, clock, *wanted[0], reason, by or whoami())
    out.print(
        f"halt {number} is in force; batteries are let go of at the next tick; lift it: tidewatt kill --lift {number}"
    )


def arm(
    account: Annotated[str, typer.Argument(help="The account.")],
    by: By = "",
) -> None:
    """Allow an account's batteries to be driven."""
    from console.store import opened
    from schedules import halts

    with opened() as (db, clock):
        halts.arm(db, clock, account, by or whoami())
    out.print(f"{account} is armed", markup=False)


def disarm(
    account: Annotated[str, typer.Argument(help="The account.")],
    by: By = "",
) -> None:
    """Allow it no more; what is driven is released at the next tick."""
    from console.store import opened
    from schedules import halts

    with opened() as (db, clock):
        halts.disarm(db, clock, account, by or whoami())
    out.print(f"{account} is disarmed; its batteries are let go of at the next tick", markup=False)


def _row(status: SiteStatus, now: dt.datetime) -> dict[str, str]:
    """A site as a line of the screen."""
    intent, command, plan, age_s = status.intent, status.command, status.plan, status.age_s(now)
    soc = None if status.state is None else status.state.soc
    wants = "-" if intent is None else intent.mode
    if intent is not None and intent.power_kw:
        wants += f" {intent.power_kw:+.1f} kW"
    return {
        "site": status.site.name,
        "account": "-" if status.account is None else status.account.name,
        "armed": "yes" if status.armed else "no",
        "state": status.site.safety.value,
        "plan until": "-" if plan is None else _clock_time(plan.ends_at) + (" DEGRADED" if plan.degraded else ""),
        "wanted now": wants,
        "last call": "-" if command is None else f"{command.kind.value} {command.state.value}",
        "at": "-" if command is None else _clock_time(command.sent_at),
        "seen": "-" if intent is None or intent.verdict is None else intent.verdict.value,
        "soc": "-" if soc is None else f"{soc:.0%}",
        "age": "-" if age_s is None else f"{age_s:.0f} s",
    }


def _entry(status: SiteStatus, now: dt.datetime) -> dict[str, Any]:
    """A site as JSON; powers kW, + discharges, times UTC."""
    intent, command, plan = status.intent, status.command, status.plan
    return {
        "site": status.site.name,
        "vendor": status.vendor,
        "account": status.account and status.account.name,
        "armed": status.armed,
        "safety": status.site.safety.value,
        "safety_reason": status.site.safety_reason,
        "plan": plan
        and {
            "made_at": plan.made_at.isoformat(),
            "ends_at": plan.ends_at.isoformat(),
            "degraded": plan.degraded or None,
        },
        "intent": intent
        and {
            "mode": intent.mode,
            "power_kw": intent.power_kw,
            "until": intent.not_after.isoformat(),
            "verdict": intent.verdict and intent.verdict.value,
        },
        "command": command
        and {"kind": command.kind.value, "state": command.state.value, "sent_at": command.sent_at.isoformat()},
        "soc": status.state and status.state.soc,
        "age_s": status.age_s(now),
    }


def _halt(halt: HaltRow) -> dict[str, Any]:
    return {
        "id": halt.id,
        "scope": halt.scope.value,
        "name": halt.name,
        "reason": halt.reason,
        "by": halt.by,
        "since": halt.since.isoformat(),
    }


def _clock_time(at: dt.datetime) -> str:
    return f"{at.astimezone():%d %b %H:%M:%S}"

"""`tidewatt override`: what a person wants of a site for a while; it outranks plans, and it expires."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from console.commands.screen import out
from console.commands.store import StoreOption, open_store, whoami
from engine.errors import InputError
from engine.intent import Intent, IntentMode

if TYPE_CHECKING:
    from schedules.overrides import Override
    from schedules.store import Database

app = typer.Typer(
    help="Set, list and cancel what a person wants of a site; it outranks plans, and it expires.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
By = Annotated[str, typer.Option(help="Who wants it; unset: the user of this machine.")]


@app.command("set")
def set_command(
    site: Annotated[str, typer.Argument(help="The site's name.")],
    mode: Annotated[IntentMode, typer.Option(help="What the battery is to do.")],
    until: Annotated[
        str, typer.Option(help="When it ends: 2024-04-10T18:00, local to the site unless with an offset.")
    ],
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    power_kw: Annotated[float, typer.Option(min=0, help="AC power of charge or discharge in kW.")] = 0.0,
    begin: Annotated[str, typer.Option("--from", help="When it begins; unset: now.")] = "",
    until_soc: Annotated[
        float | None, typer.Option(min=0, max=1, help="State of charge not to be passed, a fraction. Unset: the band.")
    ] = None,
    by: By = "",
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """Override a site's plan until a time."""
    from schedules.clock import RealClock
    from schedules.overrides import described, set_override

    clock = RealClock()
    with _opened(store) as db:
        zone = _zone(db, site)
        first, last = _time("from", begin, zone) if begin else clock(), _time("until", until, zone)
        if last <= max(first, clock()):
            raise InputError("until", f"value {until!r} is over or before the beginning", "choose a later time")
        moving = mode in (IntentMode.CHARGE, IntentMode.DISCHARGE)
        if moving != (power_kw > 0):
            way_out = "give --power-kw above 0" if moving else "leave --power-kw out"
            raise InputError("power_kw", f"value {power_kw:g} does not belong to {mode.value}", way_out)
        wanted = Intent(mode, power_kw, first, last, until_soc)
        made = set_override(db, clock, site, wanted, by or whoami(), reason)
    if as_json:
        print(json.dumps(_record(made)))
    else:
        out.print(f"override {made.id}: {site}, {described(made.intent)}", markup=False)


@app.command("list")
def list_command(
    site: Annotated[str | None, typer.Option(help="Of this site only.")] = None,
    past: Annotated[bool, typer.Option("--past", help="Those that are over or were cancelled, too.")] = False,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """List the overrides that last or are to come."""
    from schedules.clock import RealClock
    from schedules.overrides import in_force

    with _opened(store) as db:
        found = in_force(db, RealClock(), site, past=past)
    if as_json:
        print(json.dumps([_record(each) for each in found]))
    else:
        out.print(_table(found) if found else "no overrides")


@app.command()
def cancel(
    number: Annotated[int, typer.Argument(help="The override's number, as `list` has it.")],
    by: By = "",
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """End an override now; the plan is in force again."""
    from schedules.clock import RealClock
    from schedules.overrides import cancel as end

    with _opened(store) as db:
        end(db, RealClock(), number, by or whoami())
    if as_json:
        print(json.dumps({"cancelled": number}))
    else:
        out.print(f"override {number}: cancelled", markup=False)


@contextmanager
def _opened(store: str) -> Iterator[Database]:
    db = open_store(store)
    try:
        yield db
    finally:
        db.close()


def _zone(db: Database, site: str) -> ZoneInfo:
    from sqlalchemy import select

    from schedules.store import SiteRow

    with db.session() as session:
        assets = session.scalar(select(SiteRow.assets).where(SiteRow.name == site))
    if assets is None:
        raise InputError("site", f"value {site!r} is not in the store", "give the name of a registered site")
    return ZoneInfo(assets["timezone"])


def _time(field: str, text: str, zone: ZoneInfo) -> dt.datetime:
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        raise InputError(field, f"value {text!r} is no time", "write it as 2024-04-10T18:00") from None
    if found.tzinfo is not None:
        return found.astimezone(dt.UTC)
    local = [found.replace(tzinfo=zone, fold=fold).astimezone(dt.UTC) for fold in (0, 1)]
    if local[0] != local[1]:
        problem = f"{text} happens twice or not at all in {zone}"
        raise InputError(field, problem, "add the offset, as in 2024-10-27T02:30+01:00")
    return local[0]


def _record(override: Override) -> dict[str, object]:
    intent = override.intent
    return {
        "id": override.id,
        "site": override.site,
        "mode": intent.mode.value,
        "power_kw": intent.power_kw,
        "until_soc": intent.until_soc,
        "from": intent.not_before.isoformat(),
        "until": intent.not_after.isoformat(),
        "by": override.by,
        "reason": override.reason,
        "made_at": override.made_at.isoformat(),
        "cancelled_at": None if override.cancelled_at is None else override.cancelled_at.isoformat(),
    }


def _table(found: list[Override]) -> Table:
    table = Table(title="overrides, times in UTC", title_justify="left", box=box.SIMPLE, padding=(0, 1))
    table.add_column("number", justify="right")
    for heading in ("site", "mode", "kW", "from", "until", "by", "reason", "cancelled"):
        table.add_column(heading)
    for each in found:
        intent, cancelled = each.intent, each.cancelled_at
        table.add_row(
            str(each.id),
            escape(each.site),
            intent.mode.value,
            f"{intent.power_kw:g}" if intent.power_kw else "-",
            f"{intent.not_before:%Y-%m-%d %H:%M}",
            f"{intent.not_after:%Y-%m-%d %H:%M}",
            escape(each.by),
            escape(each.reason),
            "-" if cancelled is None else f"{cancelled:%Y-%m-%d %H:%M}",
        )
    return table

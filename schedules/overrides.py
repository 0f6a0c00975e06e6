"""Overrides: what a person wants of a site for a while. They outrank plans, are checked as plans are, and expire.

The next plan includes them: it begins after one that is under way, from the state of charge that it leads to, and
leaves the battery to those that are to come.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select

from adapters import registry
from adapters.contract import Clock
from engine import InputError, Site
from engine.intent import Intent, IntentMode
from schedules.plans import intent_of, intent_row, newest_plan
from schedules.store import Database, EventRow, IntentRow, OverrideRow, PlanRow, SiteRow

# What somebody wants for longer than this is no exception but a strategy.
LONGEST = dt.timedelta(days=7)
# Arithmetic of a limit [kW].
DUST_KW = 1e-6


@dataclass(frozen=True)
class Override:
    """What a person wants, who it is, and why."""

    id: int
    site: str
    intent: Intent
    reason: str
    by: str
    made_at: dt.datetime
    cancelled_at: dt.datetime | None


def set_override(db: Database, clock: Clock, site: str, intent: Intent, by: str, reason: str) -> Override:
    """Put what a person wants in force; it outranks every plan until it ends.

    Args:
        db: The store.
        clock: The time.
        site: The site's name.
        intent: What the battery is to do; without a bound for the state of charge it keeps the battery's band.
        by: The person.
        reason: Why, for the record.

    Raises:
        InputError: The site is unknown or only read, nobody says who and why, its end is over or too far, or the
            battery, its band or the connection do not allow it.
    """
    now = clock()
    for field, value in (("by", by), ("reason", reason)):
        if not value.strip():
            raise InputError(field, "it is empty", "say who wants it and why")
    if intent.not_after <= now:
        raise InputError("until", f"{intent.not_after.isoformat()} is over", f"choose one after {now.isoformat()}")
    if intent.not_after - now > LONGEST:
        latest = now + LONGEST
        raise InputError(
            "until",
            f"{intent.not_after.isoformat()} is more than {LONGEST.days} days ahead",
            f"choose one until {latest.isoformat()}; what lasts longer is a strategy",
        )
    if intent.not_before < now:
        intent = replace(intent, not_before=now)
    with db.session() as session:
        # One that was taken out is nobody's to drive; it would be driven as soon as it came back.
        found = session.scalar(select(SiteRow).where(SiteRow.name == site, SiteRow.account_id.is_not(None)))
    if found is None:
        raise InputError("site", f"value {site!r} is not in the store", "give the name of a registered site")
    if registry.only_reads(found.adapter):
        problem = f"{site} is only read: {found.adapter} takes no commands"
        raise InputError("site", problem, "choose one whose vendor can drive it, see `tidewatt devices`")
    plan = newest_plan(db, found.id)
    intent = _checked(Site.model_validate(found.assets), intent, plan)
    with db.write() as session:
        row = OverrideRow(site_id=found.id, reason=reason, by=by, made_at=now)
        session.add(row)
        session.flush()
        session.add(intent_row(intent, found.id, override_id=row.id))
        text = f"{described(intent)}: {reason}"
        session.add(_event(now, "override.set", by, found, text))
        return Override(row.id, site, intent, reason, by, now, None)


def cancel(db: Database, clock: Clock, override_id: int, by: str) -> None:
    """End an override now; the plan is in force again.

    Raises:
        InputError: There is none of that number, or it is over or cancelled already.
    """
    now = clock()
    with db.write() as session:
        row = session.get(OverrideRow, override_id)
        intent = session.scalar(select(IntentRow).where(IntentRow.override_id == override_id))
        if row is None or intent is None:
            raise InputError("override", f"value {override_id} is unknown", "list them by `tidewatt override list`")
        if row.cancelled_at is not None or intent.not_after <= now:
            ended = row.cancelled_at or intent.not_after
            raise InputError("override", f"{override_id} ended at {ended.isoformat()}", "there is nothing to cancel")
        row.cancelled_at = now
        if intent.not_before >= now:
            intent.superseded = True
        else:
            intent.not_after = now
        site = session.get_one(SiteRow, row.site_id)
        session.add(_event(now, "override.cancelled", by, site, f"override {override_id}"))


def in_force(db: Database, clock: Clock, site: str | None = None, *, past: bool = False) -> list[Override]:
    """The overrides that last or are to come, by their beginning.

    Args:
        db: The store.
        clock: The time.
        site: Of this site only.
        past: Those that are over or were cancelled, too.
    """
    query = (
        select(OverrideRow, IntentRow, SiteRow.name)
        .join(IntentRow, IntentRow.override_id == OverrideRow.id)
        .join(SiteRow, SiteRow.id == OverrideRow.site_id)
        .order_by(IntentRow.not_before, OverrideRow.id)
    )
    if site is not None:
        query = query.where(SiteRow.name == site)
    if not past:
        query = query.where(IntentRow.not_after > clock(), OverrideRow.cancelled_at.is_(None))
    with db.session() as session:
        return [
            Override(row.id, name, intent_of(intent), row.reason, row.by, row.made_at, row.cancelled_at)
            for row, intent, name in session.execute(query)
        ]


def described(intent: Intent) -> str:
    """An intent in words."""
    power = f" {intent.power_kw:g} kW" if intent.power_kw else ""
    return f"{intent.mode.value}{power} from {intent.not_before.isoformat()} to {intent.not_after.isoformat()}"


def _checked(site: Site, intent: Intent, plan: PlanRow | None) -> Intent:
    """The intent within the battery's band; refused where battery or connection cannot carry it."""
    battery = site.battery
    if intent.mode in (IntentMode.CHARGE, IntentMode.DISCHARGE):
        charging = intent.mode is IntentMode.CHARGE
        rated_kw = battery.max_charge_kw if charging else battery.max_discharge_kw
        if intent.power_kw > rated_kw + DUST_KW:
            raise InputError(
                "power_kw",
                f"{intent.power_kw:g} kW is above the rating of {rated_kw:g} kW",
                f"ask for at most {rated_kw:g} kW",
            )
        edge = battery.max_soc if charging else battery.min_soc
        asked = edge if intent.until_soc is None else intent.until_soc
        if not battery.min_soc <= asked <= battery.max_soc:
            raise InputError(
                "until_soc",
                f"{asked:g} is outside the band {battery.min_soc:g}..{battery.max_soc:g}",
                "choose one inside the band",
            )
        intent = replace(intent, until_soc=asked)
    _refuse_beyond_connection(site, intent, () if plan is None else plan.intervals)
    return intent


def _refuse_beyond_connection(site: Site, intent: Intent, forecast: Sequence[dict[str, float | str]]) -> None:
    """Neither import nor export may exceed the connection more than it would with the battery at rest.

    By the newest plan's load and PV where it reaches, else by the battery alone.
    """
    if not intent.has_set_point:
        return
    starts = [dt.datetime.fromisoformat(str(interval["start"])) for interval in forecast]
    ends = [*starts[1:], *(starts[-1] + (starts[-1] - each) for each in starts[-2:-1])]
    houses = [
        (start, float(interval["load_kw"]) - float(interval["pv_kw"]) - float(interval["curtailment_kw"]))
        for interval, start, end in zip(forecast, starts, ends, strict=False)
        if start < intent.not_after and end > intent.not_before
    ]
    for start, house_kw in houses or [(intent.not_before, 0.0)]:
        grid_kw = house_kw - intent.battery_kw
        for name, limit_kw, flow_kw, idle_kw in (
            ("import_limit_kw", site.grid.import_limit_kw, grid_kw, house_kw),
            ("export_limit_kw", site.grid.export_limit_kw, -grid_kw, -house_kw),
        ):
            if limit_kw is not None and flow_kw > max(limit_kw, idle_kw) + DUST_KW:
                room_kw = max(0.0, limit_kw - idle_kw)
                raise InputError(
                    "power_kw",
                    f"{intent.power_kw:g} kW makes {flow_kw:.2f} kW at {start.isoformat()}, above the connection's "
                    f"{name} of {limit_kw:g} kW",
                    f"ask for at most {room_kw:.2f} kW",
                )


def _event(now: dt.datetime, kind: str, by: str, site: SiteRow, text: str) -> EventRow:
    return EventRow(at=now, kind=kind, by=by, account_id=site.account_id, site_id=site.id, text=text)

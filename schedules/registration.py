"""Which sites an installation has: put in under an account, listed, taken out again."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters.contract import Clock
from engine import Site
from engine.errors import InputError
from schedules import export_limits, journal
from schedules.sites import ControlledSite, WatchedSite
from schedules.store import AccountRow, Database, EventRow, SiteGroupRow, SiteRow


@dataclass(frozen=True)
class SiteSummary:
    """A site as people may see it."""

    name: str
    account: str
    adapter: str
    device_id: str
    capacity_kwh: float
    rated_kw: float | None
    """The larger of its charging and discharging power [kW]."""
    safety: str
    safety_reason: str
    group: str | None
    """The group whose strategy it inherits."""


def add_site(db: Database, clock: Clock, site: Site, account: str, device_id: str, by: str) -> int:
    """Put a site under an account, or change the assets of one; a site that was taken out comes back as it was left.

    Args:
        db: The store.
        clock: The time.
        site: The assets; the name identifies it.
        account: The account's name.
        device_id: The vendor's identifier of its device.
        by: Who does it.

    Returns:
        The site's id.

    Raises:
        InputError: There is no such account, the name is another device's, or the device another site's.
    """
    if not site.name.strip() or not device_id.strip():
        raise InputError("name" if not site.name.strip() else "device", "it is empty", "give it")
    with db.write() as session:
        owner = session.scalar(select(AccountRow).where(AccountRow.name == account))
        if owner is None:
            raise InputError(f"account {account}", "is not in the store", "see `tidewatt accounts list`")
        row = session.scalar(select(SiteRow).where(SiteRow.name == site.name).with_for_update())
        same_device = (SiteRow.adapter == owner.adapter, SiteRow.device_id == device_id)
        other = session.scalar(
            select(SiteRow.name).where(*same_device, SiteRow.account_id.is_not(None), SiteRow.name != site.name)
        )
        if other is not None:
            # Two plans for one battery would take turns at it.
            raise InputError(f"device {device_id}", f"is the one of site {other}", "remove that site first")
        if row is not None and (row.adapter, row.device_id) != (owner.adapter, device_id):
            # Its journal and telemetry are that device's.
            problem = f"is the one of {row.adapter}'s device {row.device_id}"
            raise InputError(f"site {site.name}", problem, "choose another name")
        if row is not None and row.account_id not in (None, owner.id):
            raise InputError(f"site {site.name}", "is another account's", "remove it there first")
        kind = "site.added" if row is None or row.account_id is None else "site.changed"
        if row is None:
            row = SiteRow(name=site.name, adapter=owner.adapter, device_id=device_id)
            session.add(row)
        row.assets = site.model_dump(mode="json")
        row.rated_kw = max(site.battery.max_charge_kw, site.battery.max_discharge_kw)
        row.account_id = owner.id
        session.flush()
        session.add(EventRow(at=clock(), kind=kind, by=by, account_id=owner.id, site_id=row.id, text=site.name))
        return row.id


def sites(db: Database) -> list[SiteSummary]:
    """The sites under accounts, by name."""
    with db.session() as session:
        found = session.execute(
            select(SiteRow, AccountRow.name, SiteGroupRow.name)
            .join(AccountRow, SiteRow.account_id == AccountRow.id)
            .outerjoin(SiteGroupRow, SiteRow.group_id == SiteGroupRow.id)
            .order_by(SiteRow.name)
        ).all()
    return [
        SiteSummary(
            row.name,
            account,
            row.adapter,
            row.device_id,
            Site.model_validate(row.assets).battery.capacity_kwh,
            row.rated_kw,
            row.safety.value,
            row.safety_reason,
            group,
        )
        for row, account, group in found
    ]


def site_id(session: Session, name: str) -> int:
    """The id of a site under an account.

    Raises:
        InputError: There is none of that name.
    """
    found = session.scalar(select(SiteRow.id).where(SiteRow.name == name, SiteRow.account_id.is_not(None)))
    if found is None:
        raise InputError(f"site {name}", "is not in the store", "see `tidewatt sites list`")
    return found


def remove_site(db: Database, clock: Clock, target: WatchedSite, by: str) -> None:
    """Take a site out: it is neither read nor driven any more. Its journal, plans and telemetry stay.

    What a worker has in hand for it is stopped at the last line, as nobody has armed a site without an account.

    Raises:
        InputError: A command of ours may be in force on its device, or the fate of one is unknown.
    """
    now = clock()
    with db.write() as session:
        row = session.get_one(SiteRow, target.id, with_for_update=True)
        standing = journal.standings(session, [row.id], now)[row.id]
        if isinstance(target, ControlledSite) and (
            standing.unresolved
            or standing.drives(target.adapter.abilities, now)
            or export_limits.may_be_in_force(session, row.id)
        ):
            way_out = f"let go of it first: tidewatt kill --site '{row.name}' --reason removal"
            raise InputError(f"site {row.name}", "is driven", way_out)
        session.add(
            EventRow(at=now, kind="site.removed", by=by, account_id=row.account_id, site_id=row.id, text=row.name)
        )
        row.account_id = None

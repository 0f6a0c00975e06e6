"""A site under control, as the jobs pass it around, and its registration in the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import select

from adapters.contract import Device, Dispatchable, Readable
from engine import Site
from schedules.store import AccountRow, Database, SiteRow


class Controllable(Readable, Dispatchable, Protocol):
    """An adapter whose devices can be driven and watched."""


@dataclass(frozen=True)
class WatchedSite:
    """One site, its device, and the account that reaches it."""

    id: int
    account_id: int
    site: Site
    device: Device
    adapter: Readable


@dataclass(frozen=True)
class ControlledSite(WatchedSite):
    """A site whose device can be driven."""

    adapter: Controllable


def register_site(
    db: Database, site: Site, adapter: Controllable, adapter_name: str, device_id: str, account: str = ""
) -> ControlledSite:
    """Put a site that is driven into the store, or bring its entry up to date.

    Args:
        db: The store.
        site: The site's assets; its name identifies it.
        adapter: The account's adapter.
        adapter_name: The adapter's name in the registry.
        device_id: The vendor's identifier of the device.
        account: What its account is called; empty: as the adapter. One that is not there yet is put in, disarmed.
    """
    numbers = _entry(db, site, adapter_name, device_id, account or adapter_name)
    return ControlledSite(*numbers, site, Device(device_id, site.battery), adapter)


def register_watched(
    db: Database, site: Site, adapter: Readable, adapter_name: str, device_id: str, account: str = ""
) -> WatchedSite:
    """The same for a site that is only watched."""
    numbers = _entry(db, site, adapter_name, device_id, account or adapter_name)
    return WatchedSite(*numbers, site, Device(device_id, site.battery), adapter)


def _entry(db: Database, site: Site, adapter_name: str, device_id: str, account_name: str) -> tuple[int, int]:
    with db.write() as session:
        account = session.scalar(select(AccountRow).where(AccountRow.name == account_name))
        if account is None:
            account = AccountRow(name=account_name, adapter=adapter_name)
            session.add(account)
            session.flush()
        row = session.scalar(select(SiteRow).where(SiteRow.name == site.name))
        if row is None:
            row = SiteRow(name=site.name)
            session.add(row)
        row.assets = site.model_dump(mode="json")
        row.adapter = adapter_name
        row.device_id = device_id
        row.rated_kw = max(site.battery.max_charge_kw, site.battery.max_discharge_kw)
        row.account_id = account.id
        session.flush()
        return row.id, account.id

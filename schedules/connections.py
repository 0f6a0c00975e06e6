"""Adapters that this process has opened, and the loop that they live on: logins and connections outlast a tick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from sqlalchemy import select

from adapters.contract import Device, Dispatchable
from engine import Site
from schedules.sites import ControlledSite, WatchedSite
from schedules.store import AccountRow, Database, SiteRow

T = TypeVar("T")
Opener = Callable[[int], Any]
"""Builds the adapter of an account; nothing is contacted."""


class Connections:
    """Opens each account's adapter once, and again when its settings have changed or a tick broke off."""

    def __init__(self, db: Database, opener: Opener) -> None:
        self._db = db
        self._open = opener
        self._adapters: dict[int, tuple[bytes | None, Any]] = {}
        self._loop = asyncio.Runner()

    def sites(self, account_id: int) -> list[WatchedSite]:
        """The sites of an account with its adapter, driven ones as such.

        Raises:
            ConfigurationError: The account cannot be opened.
        """
        with self._db.session() as session:
            account = session.get_one(AccountRow, account_id)
            rows = session.scalars(select(SiteRow).where(SiteRow.account_id == account_id).order_by(SiteRow.id)).all()
        if not rows:
            return []
        known = self._adapters.get(account_id)
        if known is None or known[0] != account.sealed_settings:
            known = self._adapters[account_id] = (account.sealed_settings, self._open(account_id))
        adapter = known[1]
        kind = ControlledSite if isinstance(adapter, Dispatchable) else WatchedSite
        found = []
        for row in rows:
            site = Site.model_validate(row.assets)
            found.append(kind(row.id, account_id, site, Device(row.device_id, site.battery), adapter))
        return found

    def run(self, act: Coroutine[Any, Any, T]) -> T:
        """Run something on the loop to its end.

        What breaks off, as a time limit makes it, may leave calls half done: all of it is thrown away with the loop.
        What failed with nothing left undone is no reason for every account to log in anew.
        """
        try:
            return self._loop.run(act)
        except BaseException:
            if asyncio.all_tasks(self._loop.get_loop()):
                self._adapters.clear()
                self._loop.close()
                self._loop = asyncio.Runner()
            raise

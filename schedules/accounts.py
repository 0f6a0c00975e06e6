"""Vendor accounts in the store: settings sealed, adapters opened with their tokens and counted calls beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import delete, func, select, update

from adapters import registry
from adapters.contract import Clock, ConfigurationError
from engine.errors import InputError
from schedules.quota_ledger import DatabaseLedger
from schedules.seal import Sealer, settings_place
from schedules.store import AccountRow, Database, EventRow, QuotaCallRow, QuotaPauseRow, SiteRow, TokenRow
from schedules.tokens import DatabaseTokenStore


@dataclass(frozen=True)
class AccountSummary:
    """An account as people may see it."""

    id: int
    name: str
    adapter: str
    armed: bool
    sites: int
    """How many hang on it."""
    has_tokens: bool


def put_account(
    db: Database, sealer: Sealer, clock: Clock, name: str, adapter: str, settings: Mapping[str, Any], by: str
) -> int:
    """Put an account into the store, disarmed, or change the settings of one; its tokens and whether it is armed stay.

    Args:
        db: The store.
        sealer: Seals the settings.
        clock: The time.
        name: What people call the account; another owner's is another account.
        adapter: Name of the adapter.
        settings: Address and credentials.
        by: Who does it.

    Returns:
        The account's id.

    Raises:
        InputError: The account is there with another adapter.
        ConfigurationError: No such adapter is installed, or a setting is wrong; no value is shown.
    """
    _built(name, adapter, settings, clock)
    with db.write() as session:
        row = session.scalar(select(AccountRow).where(AccountRow.name == name).with_for_update())
        kind = "account.added" if row is None else "account.changed"
        if row is None:
            row = AccountRow(name=name, adapter=adapter)
            session.add(row)
            session.flush()
        if row.adapter != adapter:
            raise InputError(f"account {name}", f"is one of {row.adapter}, not of {adapter}", "choose another name")
        row.sealed_settings = sealer.seal(json.dumps(dict(settings), default=str).encode(), settings_place(row.id))
        session.add(EventRow(at=clock(), kind=kind, by=by, account_id=row.id, text=name))
        return row.id


def accounts(db: Database) -> list[AccountSummary]:
    """All accounts by name, without anything secret."""
    sites = select(func.count(SiteRow.id)).where(SiteRow.account_id == AccountRow.id).scalar_subquery()
    tokens = select(func.count(TokenRow.account_id)).where(TokenRow.account_id == AccountRow.id).scalar_subquery()
    with db.session() as session:
        rows = session.execute(select(AccountRow, sites, tokens).order_by(AccountRow.name)).all()
    return [AccountSummary(row.id, row.name, row.adapter, row.armed, count, bool(kept)) for row, count, kept in rows]


def remove_account(db: Database, clock: Clock, name: str, by: str) -> None:
    """Forget an account, its credentials and its tokens; what happened to it stays among the events.

    Raises:
        InputError: There is none of that name, or sites hang on it.
    """
    with db.write() as session:
        row = session.scalar(select(AccountRow).where(AccountRow.name == name).with_for_update())
        if row is None:
            raise InputError(f"account {name}", "is not in the store", "see `tidewatt accounts list`")
        sites = session.scalars(select(SiteRow.name).where(SiteRow.account_id == row.id).order_by(SiteRow.name)).all()
        if sites:
            raise InputError(f"account {name}", f"is the one of {', '.join(sites)}", "move or remove the sites first")
        for table in (TokenRow, QuotaCallRow, QuotaPauseRow):
            session.execute(delete(table).where(table.account_id == row.id))
        session.execute(update(EventRow).where(EventRow.account_id == row.id).values(account_id=None))
        session.delete(row)
        session.add(EventRow(at=clock(), kind="account.removed", by=by, text=name))


def open_account(db: Database, sealer: Sealer, clock: Clock, account_id: int) -> Any:
    """Build the adapter of an account; nothing is contacted.

    Raises:
        ConfigurationError: There is no such account, its settings cannot be opened, or its adapter refuses them.
    """
    with db.session() as session:
        row = session.get(AccountRow, account_id)
    if row is None or row.sealed_settings is None:
        raise ConfigurationError(f"account {account_id}: the store has no settings for it; import it")
    settings = json.loads(sealer.open(row.sealed_settings, settings_place(account_id)))
    places = {
        "store": DatabaseTokenStore(db, sealer, clock, account_id),
        "ledger": DatabaseLedger(db, account_id),
    }
    return _built(row.name, row.adapter, settings, clock, **places)


def _built(name: str, adapter: str, settings: Mapping[str, Any], clock: Clock, **places: Any) -> Any:
    try:
        return registry.build(adapter, settings, clock, **places)
    except ValidationError as error:
        fields = sorted({".".join(map(str, fault["loc"])) for fault in error.errors()})
        raise ConfigurationError(f"account {name}: wrong: {', '.join(fields)}; correct the settings") from None

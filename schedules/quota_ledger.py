"""The calls and pauses of an account in the store: a quota that all processes and machines share."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from adapters.quota import Page
from adapters.transport import NotSentError
from schedules.store import AccountRow, Database, QuotaCallRow, QuotaPauseRow


class DatabaseLedger:
    """A `Ledger` of one account. A turn is one short transaction, over before the call is made."""

    def __init__(self, db: Database, account_id: int) -> None:
        self._db, self._account_id = db, account_id

    @contextlib.contextmanager
    def turn(self) -> Iterator[Page]:
        """Look and note while nobody else does.

        Raises:
            NotSentError: The store cannot be used, so no call may be made.
        """
        with _usable(), self._db.write() as session:
            # SQLite has one writer anyway; elsewhere the account's row is what processes wait for.
            of_account = select(AccountRow.id).where(AccountRow.id == self._account_id)
            session.execute(of_account.with_for_update(key_share=True))
            yield _AccountPage(session, self._account_id)

    @contextlib.contextmanager
    def look(self) -> Iterator[Page]:
        """Look only.

        Raises:
            NotSentError: The store cannot be used.
        """
        with _usable(), self._db.session() as session:
            yield _AccountPage(session, self._account_id)


class _AccountPage:
    def __init__(self, session: Session, account_id: int) -> None:
        self._session, self._account_id = session, account_id

    def count(self, kind: str, after: dt.datetime) -> int:
        """How many calls of a kind were made after a time."""
        return self._session.scalar(select(func.count()).select_from(QuotaCallRow).where(*self._made(kind, after))) or 0

    def latest(self, kind: str, number: int, after: dt.datetime) -> dt.datetime | None:
        """When the latest call but `number` - 1 was made, if that was after a time."""
        newest_first = (
            select(QuotaCallRow.made_at).where(*self._made(kind, after)).order_by(QuotaCallRow.made_at.desc())
        )
        return self._session.scalar(newest_first.offset(number - 1).limit(1))

    def add(self, kind: str, at: dt.datetime) -> None:
        """Note a call."""
        self._session.add(QuotaCallRow(account_id=self._account_id, kind=kind, made_at=at))

    def forget(self, kind: str, until: dt.datetime) -> None:
        """Drop the calls of a kind up to a time."""
        row = QuotaCallRow
        old = delete(row).where(row.account_id == self._account_id, row.kind == kind, row.made_at <= until)
        self._session.execute(old.execution_options(synchronize_session=False))

    def paused_until(self, kind: str) -> dt.datetime | None:
        """The end of the last pause."""
        row = self._session.get(QuotaPauseRow, (self._account_id, kind))
        return None if row is None else row.until

    def pause(self, kind: str, until: dt.datetime) -> None:
        """Note a pause."""
        self._session.merge(QuotaPauseRow(account_id=self._account_id, kind=kind, until=until))

    def _made(self, kind: str, after: dt.datetime) -> tuple[ColumnElement[bool], ...]:
        row = QuotaCallRow
        return row.account_id == self._account_id, row.kind == kind, row.made_at > after


@contextlib.contextmanager
def _usable() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise NotSentError(f"quota: the store cannot be used ({type(error).__name__}), so nothing is called") from None

"""Tokens of an account in the store, sealed, shared by all processes and machines that work on it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import secrets
from collections.abc import AsyncIterator
from typing import Any, cast

from sqlalchemy import CursorResult, Update, or_, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from adapters.contract import Clock, ConfigurationError, VendorUnavailableError
from adapters.tokens import NewerTokensError, Tokens, tokens_from_json, tokens_to_json
from schedules.seal import Sealer, token_place
from schedules.store import AccountRow, Database, TokenRow

# A renewal is one call of seconds. Who died in the middle of it holds the others up for so long.
TURN = dt.timedelta(seconds=45)
LONGEST_WAIT_S = 60.0
ASK_AGAIN_S = 0.1


class DatabaseTokenStore:
    """A `TokenStore` of one account.

    A turn is a lease in the account's row and no transaction, which would block all others for as long as the vendor
    takes. Should its holder stall beyond it, the version of the row keeps the tokens that were saved first.
    """

    def __init__(self, db: Database, sealer: Sealer, clock: Clock, account_id: int) -> None:
        self._db, self._sealer, self._clock, self._account_id = db, sealer, clock, account_id
        self._version = 0
        """Of the tokens that this turn found or saved; 0: there are none."""

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Held by one process at a time, for 45 s at most.

        Raises:
            VendorUnavailableError: The turn did not come within a minute, or the store cannot be used.
        """
        me = secrets.token_hex(8)
        try:
            async with asyncio.timeout(LONGEST_WAIT_S):
                while not self._take_turn(me):
                    await asyncio.sleep(ASK_AGAIN_S)
        except TimeoutError:
            raise VendorUnavailableError(
                f"account {self._account_id}: another process has been renewing its tokens for {LONGEST_WAIT_S:g} s; "
                "wait"
            ) from None
        except SQLAlchemyError as error:
            raise self._unusable(error) from None
        try:
            yield
        finally:
            with contextlib.suppress(SQLAlchemyError):  # it ends by itself
                self._give_back(me)

    async def load(self) -> Tokens | None:
        """The tokens last saved, or None.

        Raises:
            ConfigurationError: They cannot be opened.
            VendorUnavailableError: The store cannot be used.
        """
        try:
            with self._db.session() as session:
                row = session.get(TokenRow, self._account_id)
        except SQLAlchemyError as error:
            raise self._unusable(error) from None
        if row is None:
            return None
        try:
            return tokens_from_json(self._sealer.open(row.sealed, token_place(self._account_id)))
        except ValueError:
            raise ConfigurationError(
                f"account {self._account_id}: the store holds no tokens for it; let the owner authorise again"
            ) from None

    async def save(self, tokens: Tokens) -> None:
        """Replace the tokens that were there when the turn began, all of them at once.

        Raises:
            NewerTokensError: Others were saved in between.
            OSError: They could not be saved; the earlier ones are as they were.
        """
        sealed = self._sealer.seal(tokens_to_json(tokens).encode(), token_place(self._account_id))
        try:
            with self._db.write() as session:
                if self._version == 0:
                    session.add(TokenRow(account_id=self._account_id, sealed=sealed, version=1))
                elif not _changed(
                    session,
                    update(TokenRow)
                    .where(TokenRow.account_id == self._account_id, TokenRow.version == self._version)
                    .values(sealed=sealed, version=self._version + 1),
                ):
                    raise self._newer()
        except IntegrityError:
            raise self._newer() from None
        except SQLAlchemyError as error:
            raise OSError(f"tokens: the store cannot be written ({type(error).__name__})") from None
        self._version += 1

    def _take_turn(self, me: str) -> bool:
        """Begin a turn where nobody else has one, and note which version it finds."""
        now = self._clock()
        held_until = AccountRow.tokens_held_until
        # As a lease: a clock that was set back must not keep the turn from everybody.
        free = or_(held_until.is_(None), held_until <= now, held_until > now + 2 * TURN)
        with self._db.write() as session:
            took = _changed(
                session,
                update(AccountRow)
                .where(AccountRow.id == self._account_id, free)
                .values(tokens_held_by=me, tokens_held_until=now + TURN),
            )
            if took:
                version = select(TokenRow.version).where(TokenRow.account_id == self._account_id)
                self._version = session.scalar(version) or 0
        return took

    def _give_back(self, me: str) -> None:
        with self._db.write() as session:
            session.execute(
                update(AccountRow)
                .where(AccountRow.id == self._account_id, AccountRow.tokens_held_by == me)
                .values(tokens_held_by=None, tokens_held_until=None)
            )

    def _newer(self) -> NewerTokensError:
        return NewerTokensError(f"account {self._account_id}: other tokens were saved during this turn")

    def _unusable(self, error: Exception) -> VendorUnavailableError:
        return VendorUnavailableError(
            f"account {self._account_id}: the store cannot be used for its tokens ({type(error).__name__})"
        )


def _changed(session: Session, statement: Update) -> bool:
    """Whether a change met a row."""
    return cast("CursorResult[Any]", session.execute(statement)).rowcount > 0

"""The store of this installation, for commands that look at it or change something in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy.exc import SQLAlchemyError

from adapters.contract import Clock
from engine.errors import TidewattError
from schedules import logs
from schedules.clock import RealClock
from schedules.settings import Settings
from schedules.store import Database


@contextlib.contextmanager
def opened() -> Iterator[tuple[Database, Clock]]:
    """The store, and the time.

    Raises:
        InputError: The environment is wrong.
        TidewattError: The store cannot be reached; the message holds no address.
    """
    settings = Settings.from_environment()
    settings.make_folders()
    logs.register_secrets(settings.secrets)
    try:
        db = Database(settings.store_url)
        try:
            yield db, RealClock()
        finally:
            db.close()
    except SQLAlchemyError as error:
        raise TidewattError(
            f"store: it cannot be used ({type(error).__name__}); see that it runs, and TIDEWATT_STORE"
        ) from None

"""What all commands that work on the store share: where it is, and who works on it."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import InputError

if TYPE_CHECKING:
    from schedules.store import Database

StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        help="The store: a path for SQLite, or postgresql+psycopg://user@host/name. Unset: the installation's.",
    ),
]


def open_store(store: str) -> Database:
    """Open the store, which is made or brought up to date where needed.

    Args:
        store: A path, or a URL; empty: the one that the environment names, as for all other commands.

    Raises:
        InputError: It cannot be opened; a URL, which may hold a password, is not shown.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from schedules.settings import Settings
    from schedules.store import Database

    try:
        if not store:
            settings = Settings.from_environment()
            settings.make_folders()
            return Database(settings.store_url)
        return Database(store) if "://" in store else Database.at(Path(store))
    except SQLAlchemyError as error:
        raise InputError("store", f"cannot be opened ({type(error).__name__})", "check address and rights") from None


def whoami() -> str:
    """Who runs this command, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"user {os.getuid()}"

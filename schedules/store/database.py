"""Opening the store: migrated to the newest revision, SQLite in write-ahead mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.orm import Session, sessionmaker

from engine.errors import InputError

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 7_489_210
"""Any number that no other program takes for its advisory locks in the same PostgreSQL database."""

IDLE_TRANSACTION_S = 15
"""No transaction of ours thinks for so long between two statements; a worker that does is stalled [s]."""

TO_SERVER = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""How long a PostgreSQL server may be silent [s, the last in ms]: one that is cut off without a word would hold a
worker for a quarter of an hour. What the URL says outranks it."""


class Database:
    """A connection pool to a store whose tables are up to date.

    Reads use `with database.session() as session: ...`, writes `with database.write() as session: ...`; what is inside
    is one transaction.
    """

    def __init__(self, url: str) -> None:
        self.engine = engine_of(url)
        try:
            migrate(self.engine)
        except BaseException:
            self.close()
            raise
        self.session: sessionmaker[Session] = sessionmaker(self.engine, expire_on_commit=False)
        self._writers = sessionmaker(self.engine.execution_options(sqlite_begin="IMMEDIATE"), expire_on_commit=False)

    @classmethod
    def at(cls, path: Path) -> Database:
        """A SQLite store in a file; its folder is made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        return cls(f"sqlite:///{path}")

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that writes; on SQLite it waits for its turn before it reads anything.

        One that had read before it first wrote could not wait: what it read might be over.
        """
        with self._writers() as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def engine_of(url: str) -> Engine:
    """Connections as the store needs them, whatever is in it.

    Raises:
        InputError: The driver of such a database is not installed.
    """
    # Errors of the database go into logs, and what was to be written does not belong there.
    # A server that was started again has closed the connections in the pool: each is tried before it is used.
    address = make_url(url)
    is_server = address.get_backend_name() != "sqlite"
    asked = {name: value for name, value in TO_SERVER.items() if name not in address.query} if is_server else {}
    try:
        engine = create_engine(address, hide_parameters=True, pool_pre_ping=is_server, connect_args=asked)
    except ModuleNotFoundError as error:
        raise InputError("store", f"needs {error.name}", "install tidewatt[postgresql]") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "connect", _tune_postgresql)
    return engine


def migrate(engine: Engine, revision: str = "head") -> None:
    """Bring the tables to a revision."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    # Processes that start together take turns, and a killed migration leaves nothing half done.
    with engine.execution_options(sqlite_begin="IMMEDIATE").connect() as connection, _taking_turns(connection):
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@contextmanager
def _taking_turns(connection: Connection) -> Iterator[None]:
    """One transaction that no other migration runs beside."""
    if connection.dialect.name != "sqlite":
        with connection.begin():
            connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            yield
        return
    # A table that changes is made anew and the old one dropped; to its foreign keys its rows would seem deleted. The
    # switch works outside of transactions only.
    raw = connection.connection.cursor()
    raw.execute("PRAGMA foreign_keys=OFF")
    try:
        with connection.begin():
            yield
    finally:
        raw.execute("PRAGMA foreign_keys=ON")
        raw.close()


def _tune_sqlite(connection: Any, _: Any) -> None:
    # The driver would not put changes of tables into transactions: begin them ourselves, in `_begin_sqlite`.
    connection.isolation_level = None
    cursor = connection.cursor()
    # Two processes that open a new store at once both want to change its mode: wait for the other.
    cursor.execute("PRAGMA busy_timeout=10000")
    # Readers never block the writer, and a crash loses nothing that was committed before it: in WAL mode
    # NORMAL survives a killed process. Only a power cut can lose the last commits; the device's own expiry covers that.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _tune_postgresql(connection: Any, _: Any) -> None:
    # A process that is stopped, or a machine that is cut off, in the midst of a transaction keeps its rows locked: the
    # account's, and nobody else could take it over. The server ends such a transaction.
    with connection.cursor() as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_TRANSACTION_S}s'")
    connection.commit()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('sqlite_begin', '')}")

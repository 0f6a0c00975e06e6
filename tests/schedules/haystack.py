"""All that others could read of an installation, as bytes, and how a secret is looked for in it."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from redis import Redis
from sqlalchemy import MetaData, select, text

from schedules.store import Database

# Those that vendors' emulators draw are longer; what is shorter is an address, or a word that files are full of.
SHORTEST_SECRET = 12
_THAT_IS_ALL = "that is all"


def places_of(words: Iterable[str], places: Mapping[str, bytes]) -> list[str]:
    """Where any of some words is, as it is or within something that is written in base 64."""
    forms = {form for word in words if len(word) >= SHORTEST_SECRET for form in _forms(word)}
    return [place for place, content in places.items() if any(form in content for form in forms)]


def _forms(word: str) -> Iterator[bytes]:
    plain = word.encode()
    yield plain
    for before in range(3):
        # As messages hold their bodies: whatever stands before and after it, these characters of it are the same.
        encoded = base64.b64encode(b"\0" * before + plain)
        yield encoded[-(-before * 8 // 6) : (before + len(plain)) * 8 // 6]


def of_tables(db: Database) -> dict[str, bytes]:
    """Every value in every table."""
    tables = MetaData()
    tables.reflect(db.engine)
    contents = {}
    with db.engine.connect() as connection:
        for table in tables.sorted_tables:
            values = (value for row in connection.execute(select(table)) for value in row)
            contents[table.name] = b"\n".join(
                value if isinstance(value, bytes) else str(value).encode() for value in values
            )
    return contents


def of_database(db: Database) -> dict[str, bytes]:
    """Every byte of the files that the database keeps, with what was deleted and is not yet written over."""
    if db.engine.dialect.name == "sqlite":
        file = Path(str(db.engine.url.database))
        return of_files(file.parent.glob(f"{file.name}*"))
    with db.engine.connect() as connection:
        connection.execute(text("CHECKPOINT"))
        folder = Path(connection.scalar(text("SELECT current_setting('data_directory')")))
    return of_files(folder.rglob("*"))


def of_files(files: Iterable[Path]) -> dict[str, bytes]:
    """What is in some files; those that go meanwhile are left out."""
    contents = {}
    for file in files:
        with suppress(FileNotFoundError):
            if file.is_file():
                contents[str(file)] = file.read_bytes()
    return contents


def of_redis(client: Redis) -> dict[str, bytes]:
    """Every key of a Redis with what it holds."""
    read = {
        b"string": lambda key: [client.get(key)],
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"hash": lambda key: [part for item in client.hgetall(key).items() for part in item],
        b"zset": lambda key: client.zrange(key, 0, -1),
    }
    return {f"key {key!r}": b"\n".join([key, *read[client.type(key)](key)]) for key in client.scan_iter()}


@contextmanager
def stream_of_redis(path: Path) -> Iterator[list[bytes]]:
    """Every command that a Redis on a Unix socket is told meanwhile."""
    told: list[bytes] = []
    listens = threading.Event()

    def listen() -> None:
        with Redis(unix_socket_path=str(path)) as client, client.monitor() as monitor:
            listens.set()
            for command in monitor.listen():
                told.append(str(command["command"]).encode())
                if _THAT_IS_ALL in command["command"]:
                    return

    listener = threading.Thread(target=listen)
    listener.start()
    assert listens.wait(10)
    try:
        yield told
    finally:
        with Redis(unix_socket_path=str(path)) as client:
            client.echo(_THAT_IS_ALL)
        listener.join(10)

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection, Consumer, Producer, Queue

from schedules import spool


@pytest.fixture
def url_options(tmp_path: Path) -> dict[str, str]:
    spool.install()
    folders = {name: tmp_path / name for name in ("messages", "processed", "control")}
    for folder in folders.values():
        folder.mkdir()
    return {
        "data_folder_in": str(folders["messages"]),
        "data_folder_out": str(folders["messages"]),
        "processed_folder": str(folders["processed"]),
        "control_folder": str(folders["control"]),
        "polling_interval": 0.001,
    }


@pytest.fixture
def connections(url_options: dict[str, str]) -> Iterator[list[Connection]]:
    both = [Connection("filesystem://localhost//", transport_options=url_options) for _ in range(2)]
    yield both
    for connection in both:
        connection.close()


def test_a_reader_at_work_never_finds_half_a_message(connections: list[Connection]) -> None:
    """Kombu's own transport fails here after some thousand messages, with a JSONDecodeError in the reader."""
    writing, reading = connections
    many = 3000
    queue = Queue("default")
    got: list[int] = []

    def write() -> None:
        producer = Producer(writing.default_channel)
        for number in range(many):
            producer.publish({"number": number, "filler": "x" * 5000}, routing_key="default", exchange="")

    thread = threading.Thread(target=write)
    with Consumer(reading, [queue], callbacks=[lambda body, message: (got.append(body["number"]), message.ack())]):
        thread.start()
        while len(got) < many:
            reading.drain_events(timeout=20)
    thread.join()
    assert got == list(range(many)), "in order, each once"

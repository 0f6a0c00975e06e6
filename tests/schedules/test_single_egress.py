"""A vendor write has one way out: the dispatcher calls the adapter, the adapter calls its client, nobody else does."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest

import engine

ROOT = Path(engine.__file__).parents[1]
PACKAGES = ("engine", "adapters", "schedules", "console")
WRITES = {"send", "remote_dispatch"}
LOOKUPS = {"getattr", "attrgetter", "methodcaller"}


def writes_in(source: str) -> list[tuple[str, int]]:
    """Every use of a vendor write, called at once or only taken hold of; name and line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in WRITES:
            found.append((node.attr, node.lineno))
        if isinstance(node, ast.Call):
            function = node.func
            name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
            texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
            found += [(text, node.lineno) for text in texts if name in LOOKUPS and text in WRITES]
    return found


def transport_writes_in(source: str) -> int:
    """How often a transport's `write` is used: the one call that is sent once and changes something."""
    return sum(
        isinstance(node, ast.Attribute) and node.attr == "write" and "transport" in ast.unparse(node.value).lower()
        for node in ast.walk(ast.parse(source))
    )


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    # The cases of the contract drive emulators on loopback, and nothing that runs a site may import them.
    cases = ROOT / "adapters" / "testing"
    files = [
        path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")) if cases not in path.parents
    ]
    assert len(files) > 30, f"the walk found {len(files)} files only; is {ROOT} the project?"
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files}


def test_only_the_dispatcher_sends_and_only_the_vendors_adapter_dispatches(sources):
    users = {(name, path) for path, source in sources.items() for name, _ in writes_in(source)}
    assert users == {
        ("send", "schedules/dispatch.py"),
        ("remote_dispatch", "adapters/alphaess/adapter.py"),
    }


def test_the_dispatcher_sends_in_one_place(sources):
    assert len(writes_in(sources["schedules/dispatch.py"])) == 1


def test_only_the_vendors_client_writes_through_a_transport(sources):
    users = {path for path, source in sources.items() if transport_writes_in(source)}
    assert users == {"adapters/alphaess/client.py"}


@pytest.mark.parametrize(
    "planted",
    [
        "await adapter.send(command)",
        "await self._target.adapter.send(command)",
        "out = adapter.send",
        "asyncio.run(client.remote_dispatch(fields))",
        "getattr(adapter, 'send')(command)",
        "operator.methodcaller('remote_dispatch', fields)(client)",
    ],
)
def test_a_second_way_out_would_be_noticed(planted):
    source = f"async def quick_fix(self, adapter, client, command, fields):\n    {planted}\n"
    assert len(writes_in(source)) == 1


def test_reading_and_names_that_only_look_alike_are_no_writes():
    source = textwrap.dedent(
        """
        async def harmless(self, adapter, send, sender):
            await adapter.read(device, channel)
            await send({"type": "http.response.start"})
            self._send(command)
            sender.resend()
            getattr(adapter, "read")
            mailer.send = None
        """
    )
    assert writes_in(source) == []


def test_a_second_transport_write_would_be_noticed():
    assert transport_writes_in("async def f(self):\n    await self._transport.write('/x', {})\n") == 1
    assert transport_writes_in("file.write(text)\nself._transport.read('/x', {})\n") == 0

"""A vendor write has one way out: the dispatcher calls the adapter, the adapter calls its client, nobody else does.

Beside the dispatcher only commissioning sends: an operator's act on one device, which no schedule may start.
"""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest

import engine

ROOT = Path(engine.__file__).parents[1]
PACKAGES = ("engine", "adapters", "schedules", "console")
# What an adapter offers that changes something at the vendor, and the calls of the vendors' clients that do it.
ADAPTER_WRITES = {"send", "send_many"}
CLIENT_WRITES = {"remote_dispatch", "send_state_mode_command", "charge", "change"}
WRITES = ADAPTER_WRITES | CLIENT_WRITES
# Below the adapters, where none can be had, these words are of money and energy.
ENGINE_WORDS = {"charge"}
# A transport's calls that are sent once: all that changes anything, logins, and reads that must not be repeated.
ONCE = {"write", "tell"}
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
    """How often a call of a transport is used that is sent once and so may change something."""
    return sum(
        isinstance(node, ast.Attribute) and node.attr in ONCE and "transport" in ast.unparse(node.value).lower()
        for node in ast.walk(ast.parse(source))
    )


def imports_of(source: str) -> set[str]:
    """Modules that a source imports, and names from them, in full."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


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
    users = {
        (name, path)
        for path, source in sources.items()
        for name, _ in writes_in(source)
        if not (path.startswith("engine/") and name in ENGINE_WORDS)
    }
    assert users == {
        ("send", "schedules/egress.py"),
        ("send", "adapters/commissioning.py"),
        ("send", "console/commission.py"),  # tells what commissioning sends, and hands it on
        ("remote_dispatch", "adapters/alphaess/adapter.py"),
        ("send_state_mode_command", "adapters/xolta/adapter.py"),
        ("send_many", "adapters/huawei/adapter.py"),  # its own, for a single command
        ("charge", "adapters/huawei/adapter.py"),
        ("change", "adapters/huawei/adapter.py"),
    }


def test_the_dispatcher_sends_in_one_place(sources):
    assert len(writes_in(sources["schedules/egress.py"])) == 1


def test_no_schedule_commissions(sources):
    scheduling = [source for path, source in sources.items() if path.startswith("schedules/")]
    assert len(scheduling) > 3
    assert not [module for source in scheduling for module in imports_of(source) if "commission" in module]


def test_only_the_vendors_client_writes_through_a_transport(sources):
    users = {path: count for path, source in sources.items() if (count := transport_writes_in(source))}
    assert users == {
        "adapters/alphaess/client.py": 1,
        "adapters/huawei/client.py": 1,
        "adapters/huawei/auth.py": 3,  # tokens, log-out, login
        "adapters/xolta/client.py": 1,
        "adapters/xolta/auth.py": 1,  # tokens
        "adapters/solax/client.py": 1,  # a read that counts against a tight limit
    }


@pytest.mark.parametrize(
    "planted",
    [
        "await adapter.send(command)",
        "await self._target.adapter.send(command)",
        "out = adapter.send",
        "asyncio.run(client.remote_dispatch(fields))",
        "getattr(adapter, 'send')(command)",
        "operator.methodcaller('remote_dispatch', fields)(client)",
        "await adapter.send_many([command])",
        "await client.send_state_mode_command(body, drives=True)",
        "await self.client.charge([task])",
        "await adapter.change([task])",
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
    assert transport_writes_in("async def f(self):\n    await self._transport.tell(request)\n") == 1
    assert transport_writes_in("file.write(text)\nself._transport.read('/x', {})\n") == 0


@pytest.mark.parametrize(
    "planted",
    [
        "from adapters.commissioning import commission",
        "from adapters import commissioning",
        "import adapters.commissioning as setup",
    ],
)
def test_a_schedule_that_commissions_would_be_noticed(planted):
    assert any("commission" in module for module in imports_of(f"def late():\n    {planted}\n"))

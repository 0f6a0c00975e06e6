"""No answer of a vendor, however odd, does more to an adapter than an error with a name.

Whole adapters are asked, so that logins, envelopes, mappings and receipts are all among the parsers. A vendor's answers
are recorded from its emulator; then one of them is replaced, by JSON of any kind or by itself with some nodes replaced,
and comes back as the bytes of an HTTP answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import datetime as dt
import json
import math
import random
from dataclasses import asdict, dataclass

import httpx
import pytest
import stamina
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.contract import (
    Accepted,
    AdapterError,
    BatchDispatchable,
    Channel,
    Discoverable,
    Dispatchable,
    Telemetry,
    Trackable,
)
from adapters.ingeteam.mapping import PLANT_EVENT
from adapters.testing import installed
from adapters.testing.bench import START, Bench
from adapters.transport import Transport
from adapters.xolta.auth import AccessTokens
from engine.intent import IntentMode

EXAMPLES_PER_VENDOR = 10_000
# Three tries of a call and of its login, and all pages of a list that an answer can make.
MOST_REQUESTS = 40
# More rows alike would only take longer.
LONGEST_LIST = 8
SUBJECTS = {subject.name: subject for subject in installed()}
BEGIN = START - dt.timedelta(hours=1)

# --- what an adapter is asked ---


async def _charge(bench, adapter):
    return await adapter.send(bench.translate(IntentMode.CHARGE, 1.0))


async def _track(bench, adapter):
    return await adapter.track(bench.translate(IntentMode.CHARGE, 1.0), bench.receipt)


BY_CAPABILITY = {
    Discoverable: {"devices": lambda _, adapter: adapter.devices()},
    Dispatchable: {
        "charge": _charge,
        "release": lambda bench, adapter: adapter.send(bench.driver.release(bench.device())),
    },
    BatchDispatchable: {
        "batch": lambda bench, adapter: adapter.send_many([bench.translate(IntentMode.CHARGE, 1.0)]),
    },
    Trackable: {"track": _track},
}
BY_VENDOR = {
    "alphaess": {
        "summary": lambda bench, adapter: adapter._client.get_energy_summary(bench.site.device_id, START.date()),
        "history": lambda bench, adapter: adapter._client.get_history_running_data(bench.site.device_id, BEGIN, START),
    },
    "huawei": {
        "alarms": lambda bench, adapter: adapter.client.alarms([bench.site.device_id], BEGIN, START),
        "days": lambda bench, adapter: adapter.client.plant_days([bench.site.device_id], START),
    },
    "ingeteam": {"day": lambda bench, adapter: adapter.day(bench.device(), START.date())},
    "xolta": {
        "raw": lambda bench, adapter: adapter._client.get_telemetry_raw(bench.site.device_id, BEGIN, START),
        "summary": lambda bench, adapter: adapter._client.get_telemetry_summary(
            BEGIN, START, 10, device_id=bench.site.device_id
        ),
        "signals": lambda _, adapter: adapter._client.get_meta_data(),
        "read-back": lambda bench, adapter: adapter.read_back(bench.device()),
    },
}


def calls_of(name, adapter):
    calls = {
        "power": lambda bench, adapter: adapter.read(bench.device(), Channel.POWER),
        "state": lambda bench, adapter: adapter.read(bench.device(), Channel.STATE),
    }
    for capability, more in BY_CAPABILITY.items():
        if isinstance(adapter, capability):
            calls |= more
    return calls | BY_VENDOR.get(name, {})


# --- what the vendor answers ---


@dataclass
class Answers:
    """What the emulator answered to one call, by path; a stream's answer is the data of its events."""

    json: dict[str, list]
    events: dict[str, list]

    @property
    def paths(self) -> list[str]:
        return [*self.json, *self.events]

    def of(self, path: str):
        """The answer to attack: a stream's events, or the last time that a path was asked."""
        return self.events[path] if path in self.events else self.json[path][-1]


class Played:
    """A vendor that answers as it was recorded, except on one path."""

    def __init__(self, answers: Answers, path: str) -> None:
        self.answers, self.path, self.golden = answers, path, answers.of(path)
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self.answer), base_url="http://127.0.0.1")

    def begin(self, replaced: object) -> None:
        self.replaced, self.requests = replaced, 0
        self.left = {path: list(reversed(contents)) for path, contents in self.answers.json.items()}

    async def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.requests += 1
        assert self.requests <= MOST_REQUESTS, "an answer makes an adapter ask without end"
        if path in self.answers.events:
            events = self.replaced if path == self.path else self.answers.events[path]
            told = map(event, events if isinstance(events, list) else [events])
            return httpx.Response(200, content="".join(told).encode())
        if path == self.path:
            return httpx.Response(200, content=json.dumps(self.replaced).encode())
        left = self.left.get(path)
        if not left:
            return httpx.Response(404)
        return httpx.Response(200, content=json.dumps(left.pop() if len(left) > 1 else left[0]).encode())


def event(content) -> str:
    return f"event: {PLANT_EVENT}\ndata: {json.dumps(content)}\n\n"


async def recorded(bench, ask) -> Answers:
    """What the emulator answers to a new adapter that is asked once, over real HTTP."""
    found = Answers({}, {})
    tell, stream = Transport.tell, Transport.stream

    async def told(self, request):
        answer = await tell(self, request)
        content = answer.content[-LONGEST_LIST:] if isinstance(answer.content, list) else answer.content
        found.json.setdefault(request.path.partition("?")[0], []).append(content)
        return answer

    async def streamed(self, request, silence_s):
        async for chunk in stream(self, request, silence_s):
            lines = chunk.decode().splitlines()
            data = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
            found.events.setdefault(request.path, []).extend(data)
            yield chunk

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transport, "tell", told)
        patch.setattr(Transport, "stream", streamed)
        await ask(bench, bench.create())
    return found


ODD = [
    *(None, True, False, 0, -1, 2**63, 10**12, 10**400, -(10**400), 10**4000, 1e300, -1e308, 5e-324, 0.5),
    *(math.nan, math.inf, "", " ", "1e999", "sNaN", "-0", "N/A", "1", "true", "error", "ffff", "0x", "-f", "Running"),
    *(
        "f" * 5000,
        "9" * 5000,
        "\uff10",
        "\ud800",
        "\x00",
        "\x80",
        "a\nb\r\n",
        "ExternalControl",
        [],
        {},
    ),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01 00:00:00", "2026-03-29 02:30:00"),
]


def any_json(chance: random.Random, deepest: int = 3):
    """JSON of any kind; hypothesis would take longer to make it than the adapter to read it, so it gives the seed."""
    kind = chance.randrange(8 if deepest else 5)
    if kind < 3:
        return chance.choice(ODD)
    if kind == 3:
        return chance.choice([chance.randrange(-(10**6), 10**6), chance.uniform(-1e6, 1e6), chance.gauss()])
    if kind == 4:
        return "".join(chr(chance.choice([32, 65, 0x10000, 0xD800]) + chance.randrange(58)) for _ in range(3))
    inner = [any_json(chance, deepest - 1) for _ in range(chance.randrange(4))]
    return inner if kind < 7 else {str(any_json(chance, 0))[:9]: value for value in inner}


def places(node, way=()):
    """The ways to all nodes of a JSON value."""
    yield way
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        yield from places(value, (*way, key))


def put(whole, changes):
    """A value with some of its nodes replaced; a way that an earlier change has cut off is left."""
    whole = copy.deepcopy(whole)
    for way, value in changes:
        if not way:
            whole = value
            continue
        node = whole
        for key in way[:-1]:
            node = node[key] if _has(node, key) else None
        if _has(node, way[-1]):
            node[way[-1]] = value
    return whole


def _has(node, key):
    return (isinstance(node, dict) and key in node) or (
        isinstance(node, list) and isinstance(key, int) and key < len(node)
    )


def unlike(golden, chance: random.Random):
    """JSON of any kind, or mostly: what was recorded with some nodes replaced."""
    if not chance.randrange(4):
        return any_json(chance)
    ways = list(places(golden))
    return put(golden, [(chance.choice(ways), any_json(chance)) for _ in range(chance.randint(1, 3))])


# --- what may come of it ---


def is_sound(outcome) -> bool:
    """No number is infinite or none, and every time has its zone."""
    readings = [part for part in (outcome if isinstance(outcome, list) else [outcome]) if isinstance(part, Telemetry)]
    numbers = [value for one in readings for value in {**asdict(one), **asdict(one.registers)}.values()]
    return all(math.isfinite(value) for value in numbers if isinstance(value, float)) and all(
        one.measured_at.utcoffset() == dt.timedelta(0) for one in readings
    )


def attack(runner, bench, ask, played, examples):
    """Ask a new adapter once for each of many replaced answers."""

    @settings(max_examples=examples)
    @given(st.randoms(use_true_random=True))
    def replay(chance):
        played.begin(unlike(played.golden, chance))
        adapter = bench.subject.create(bench.account(), bench.clock.now)
        with contextlib.suppress(AdapterError):
            assert is_sound(runner.run(ask(bench, adapter)))

    with pytest.MonkeyPatch.context() as patch, stamina.set_testing(True, attempts=1):
        patch.setattr(Transport, "_http", lambda _: played.http)
        if played.path.startswith("/api/"):
            patch.setattr(AccessTokens, "_acquire", _token)  # MSAL is slow, and its own answers are others' turn
        replay()


async def _token(_):
    return {"access_token": "token", "expires_in": 3600}


def asked_first_by(answers):
    """Which call first asks on each path: what comes before the answer that a call is about, like a login."""
    first = {path: name for name, found in reversed(answers.items()) for path in found.paths}
    return {(name, path) for path, name in first.items()}


@pytest.mark.parametrize("vendor", sorted(SUBJECTS))
def test_no_answer_does_more_than_an_error_with_a_name(vendor):
    bench = Bench(SUBJECTS[vendor], load_kw=1.0, pv_kw=0.6, soc=0.5, sites=1)
    with asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        opened = bench.open()
        runner.run(opened.__aenter__())
        stack.callback(lambda: runner.run(opened.__aexit__(None, None, None)))
        if isinstance(bench.adapter, Dispatchable):
            bench.receipt = runner.run(_charge(bench, bench.adapter))
            assert isinstance(bench.receipt, Accepted)
        bench.step(2 * bench.longest_cadence_s)
        calls = calls_of(vendor, bench.adapter)
        answers = {name: runner.run(recorded(bench, ask)) for name, ask in calls.items()}
        about = {(name, found.paths[-1]) for name, found in answers.items()}
        targets = sorted(about | asked_first_by(answers))
        examples = math.ceil(EXAMPLES_PER_VENDOR / len(targets))
        for name, path in targets:
            attack(runner, bench, calls[name], Played(answers[name], path), examples)

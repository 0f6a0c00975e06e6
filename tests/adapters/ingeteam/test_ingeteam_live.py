"""The stream kept open: watchdog, reconnection, several watchers, readings that repeat themselves."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import Channel, ConfigurationError, Telemetry, VendorUnavailableError
from adapters.ingeteam.frozen import FEWEST_REPEATS, ReceptionTime
from adapters.ingeteam.live import FIRST_PAUSE_S, LONGEST_PAUSE_S, Backoff, LiveFeed

START = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)


def telemetry(kilowatts):
    return Telemetry(Channel.POWER, START, grid_kw=kilowatts)


async def take(readings, count, within_s=5.0):
    """So many readings, and no more."""
    async with asyncio.timeout(within_s), contextlib.aclosing(readings):
        return [await anext(readings) for _ in range(count)]


# --- pauses ---


def test_pauses_double_from_a_second_to_a_minute_and_begin_anew():
    backoff = Backoff(jitter=lambda: 0.0)

    assert [backoff.next_s() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    backoff.reset()
    assert backoff.next_s() == 1


@given(chances=st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_chance_keeps_pauses_within_bounds(chances):
    drawn = iter(chances)
    backoff = Backoff(jitter=lambda: next(drawn))

    for place, _ in enumerate(chances):
        whole_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**place)
        assert max(FIRST_PAUSE_S, whole_s / 2) <= backoff.next_s() <= whole_s


def test_two_sites_do_not_come_back_at_once():
    one, other = Backoff(jitter=lambda: 0.2), Backoff(jitter=lambda: 0.9)

    assert [one.next_s() for _ in range(7)][1:] != [other.next_s() for _ in range(7)][1:]


# --- the feed ---


class Scripted:
    """Connections that give what each script says and then break."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.connections = 0
        self.pauses = []
        self.open = 0

    async def connect(self):
        self.connections += 1
        self.open += 1
        try:
            for item in self.scripts.pop(0) if self.scripts else ["hang"]:
                if item == "hang":
                    await asyncio.Event().wait()
                if isinstance(item, Exception):
                    raise item
                yield telemetry(item)
                await asyncio.sleep(0)
        finally:
            self.open -= 1

    async def sleep(self, seconds):
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    def feed(self):
        return LiveFeed(self.connect, sleep=self.sleep, jitter=lambda: 0.0)


def test_a_broken_stream_is_opened_anew_with_longer_pauses_until_it_works():
    broken = [VendorUnavailableError("broken")]
    script = Scripted(broken, broken, broken, [1.0, *broken], broken, [2.0, "hang"])

    found = asyncio.run(take(script.feed().readings(), 2))

    assert [reading.grid_kw for reading in found] == [1.0, 2.0]
    assert script.pauses == [1, 2, 4, 1, 2]


def test_refused_credentials_reach_every_watcher_and_close_the_stream():
    script = Scripted([1.0, ConfigurationError("refused")], [2.0, "hang"])
    feed = script.feed()

    async def session():
        ended = await asyncio.gather(*(take(feed.readings(), 9) for _ in range(2)), return_exceptions=True)
        assert not feed.is_open
        return ended, await take(feed.readings(), 1)

    ended, (later,) = asyncio.run(session())

    assert [type(error) for error in ended] == [ConfigurationError] * 2
    assert script.pauses == []
    assert later.grid_kw == 2.0, "who watches again, asks again"


def test_a_stream_that_ends_without_a_word_is_opened_anew():
    script = Scripted([], [], [1.0, "hang"])

    asyncio.run(take(script.feed().readings(), 1))

    assert script.pauses == [1, 2]


def test_watchers_share_one_connection_and_the_last_one_closes_it():
    script = Scripted([*range(1000), "hang"])
    feed = script.feed()

    async def session():
        assert not feed.is_open
        one, other = feed.readings(), feed.readings()
        await anext(one)
        await anext(other)
        assert (script.connections, feed.is_open) == (1, True)
        await one.aclose()
        assert (script.open, feed.is_open) == (1, True)
        await anext(other)
        await other.aclose()
        assert (script.open, feed.is_open) == (0, False)
        return await take(feed.readings(), 0)

    asyncio.run(session())


def test_who_is_slow_gets_the_latest():
    script = Scripted([*range(100), "hang"])

    async def session():
        readings = script.feed().readings()
        first = await anext(readings)
        for _ in range(300):
            await asyncio.sleep(0)
        second = await anext(readings)
        await readings.aclose()
        return first.grid_kw, second.grid_kw

    assert asyncio.run(session()) == (0, 99)


def test_closing_ends_it_for_who_watches():
    script = Scripted([1.0, "hang"])
    feed = script.feed()

    async def watch():
        return [reading.grid_kw async for reading in feed.readings()]

    async def session():
        watching = asyncio.create_task(watch())
        for _ in range(10):
            await asyncio.sleep(0)
        await feed.close()
        return await asyncio.wait_for(watching, 5)

    assert asyncio.run(session()) == [1.0]
    assert script.open == 0


def test_a_fault_of_ours_reaches_who_watches():
    script = Scripted([ZeroDivisionError("a fault")])

    with pytest.raises(ZeroDivisionError):
        asyncio.run(take(script.feed().readings(), 1))


def test_cancelling_who_watches_closes_the_connection():
    script = Scripted(["hang"])
    feed = script.feed()

    async def watch():
        async with contextlib.aclosing(feed.readings()) as readings:
            await anext(readings)

    async def session():
        watching = asyncio.create_task(watch())
        for _ in range(10):
            await asyncio.sleep(0)
        assert script.open == 1
        watching.cancel()
        await asyncio.wait({watching})
        return script.open

    assert asyncio.run(session()) == 0


def test_a_feed_serves_one_event_loop_after_another():
    script = Scripted([1.0, "hang"], [2.0, "hang"])
    feed = script.feed()

    assert [asyncio.run(take(feed.readings(), 1))[0].grid_kw for _ in range(2)] == [1.0, 2.0]


# --- over HTTP ---


class Pauses(list):
    async def __call__(self, seconds):
        self.append(seconds)
        await asyncio.sleep(0.001)


def watched(adapt, url, device, count, **options):
    """So many readings of `watch`, and the pauses made."""
    pauses = Pauses()

    async def session():
        async with adapt(url, sleep=pauses, **options) as adapter:
            return await take(adapter.watch(device()), count, within_s=20)

    return asyncio.run(session()), pauses


async def hang():
    await asyncio.sleep(30)


async def rest():
    await asyncio.sleep(0.05)


def test_a_server_that_closes_is_asked_again_without_replay(
    adapt, scripted_stream, loopback_server, plant_event, device
):
    numbered = b"id: 17\nretry: 1\n" + plant_event(W=1)
    scripted_stream.scripts = [[numbered, rest], [plant_event(W=2), rest, hang]]

    found, pauses = watched(adapt, loopback_server.url, device, 2)

    assert [reading.grid_kw for reading in found] == [0.001, 0.002]
    assert pauses == [1]
    assert len(scripted_stream.requests) == 2
    assert not [request for request in scripted_stream.requests if "last-event-id" in request]


OTHERS = {
    "heart-beats": b": beat\n\n",
    "unrelated events": b'event: /ems/sse/stream\ndata: {"Phases": []}\n\n',
    "nameless events without phases": b'data: {"Devices": []}\n\n',
    "events without data": b"event: /ems/sse/phases\n\n",
    "two aggregates": b'data: {"Phases": [{"Phase": 4, "W": 1}, {"Phase": 4, "W": 2}]}\n\n',
    "broken JSON": b'event: /ems/sse/phases\ndata: {"Phases": [\n\n',
}


@pytest.mark.parametrize("noise", OTHERS)
def test_nothing_but_a_reading_keeps_the_watchdog_quiet(
    adapt, scripted_stream, loopback_server, plant_event, device, noise
):
    chatter = [piece for _ in range(100) for piece in (OTHERS[noise], rest)]
    scripted_stream.scripts = [[plant_event(W=1), *chatter], [plant_event(W=2), hang]]

    begin = time.monotonic()
    found, pauses = watched(adapt, loopback_server.url, device, 2, silence_s=1.0)

    assert [reading.grid_kw for reading in found] == [0.001, 0.002]
    assert pauses == [1]
    assert 1.0 <= time.monotonic() - begin < 10


def test_readings_keep_the_watchdog_quiet(adapt, scripted_stream, loopback_server, plant_event, device):
    scripted_stream.scripts = [[piece for place in range(20) for piece in (plant_event(W=place), rest)] + [hang]]

    found, pauses = watched(adapt, loopback_server.url, device, 15, silence_s=1.0)

    assert len(found) == 15
    assert pauses == []
    assert len(scripted_stream.requests) == 1


def test_of_readings_that_come_together_only_the_last_is_believed(
    adapt, scripted_stream, loopback_server, plant_event, device
):
    scripted_stream.scripts = [[b"".join(plant_event(W=place) for place in range(10)), hang]]

    found, _ = watched(adapt, loopback_server.url, device, 1)

    assert found[0].grid_kw == 0.009


def test_watching_with_wrong_credentials_ends_with_what_to_correct(adapt, device_world, device):
    world = device_world()
    account = {**world.cloud.account(), "password": "not the password"}

    async def session():
        async with adapt(world.url, **account) as adapter:
            for _ in range(2):
                with pytest.raises(ConfigurationError, match="check user and password"):
                    await take(adapter.watch(device()), 1)

    asyncio.run(session())

    assert world.log.count("call refused", world.site.device_id) == 1, "the second time nothing is asked"


def test_while_watched_a_read_takes_the_streams_next_reading(
    adapt, scripted_stream, loopback_server, plant_event, device
):
    scripted_stream.scripts = [[piece for place in range(200) for piece in (plant_event(W=place), rest)]]

    async def session():
        async with adapt(loopback_server.url) as adapter:
            readings = adapter.watch(device())
            first = await anext(readings)
            second = await adapter.read(device(), Channel.POWER)
            third = await anext(readings)
            await readings.aclose()
            return first, second, third

    first, second, _ = asyncio.run(session())

    assert second.grid_kw > first.grid_kw
    assert len(scripted_stream.requests) == 1, "the device serves few connections"


def test_while_watched_a_read_of_a_silent_stream_gives_up(adapt, scripted_stream, loopback_server, plant_event, device):
    scripted_stream.scripts = [[plant_event(), hang]]

    async def session():
        async with adapt(loopback_server.url, timeout_s=0.2) as adapter:
            readings = adapter.watch(device())
            await anext(readings)
            try:
                with pytest.raises(VendorUnavailableError, match="no reading of the plant"):
                    await adapter.read(device(), Channel.POWER)
            finally:
                await readings.aclose()

    asyncio.run(session())


def test_a_single_read_of_a_silent_stream_gives_up(adapt, scripted_stream, loopback_server, device):
    scripted_stream.scripts = [[b": beat\n\n", hang]]

    async def session():
        async with adapt(loopback_server.url, silence_s=0.2) as adapter:
            with pytest.raises(VendorUnavailableError, match=r"no reading of the plant|no answer"):
                await adapter.read(device(), Channel.POWER)

    asyncio.run(session())


def test_a_single_read_is_not_as_patient_as_a_watcher(adapt, scripted_stream, loopback_server, device):
    scripted_stream.scripts = [[b": beat\n\n", hang]]

    async def session():
        async with adapt(loopback_server.url, timeout_s=0.2, silence_s=60.0) as adapter, asyncio.timeout(5):
            with pytest.raises(VendorUnavailableError, match=r"no reading of the plant for 0\.2 s"):
                await adapter.read(device(), Channel.POWER)

    asyncio.run(session())


def test_skipped_events_are_told_aloud_once(adapt, scripted_stream, loopback_server, plant_event, device, caplog):
    scripted_stream.scripts = [[OTHERS["two aggregates"] * 20, OTHERS["broken JSON"] * 20, plant_event(), hang]]

    watched(adapt, loopback_server.url, device, 1)

    assert caplog.text.count("an event was skipped") == 1


# --- values that repeat themselves ---


@pytest.fixture
def reception(manual_clock):
    return ReceptionTime("test", manual_clock, 300)


def test_readings_are_dated_when_they_come(reception, manual_clock):
    for place in range(5):
        manual_clock.time = START + dt.timedelta(seconds=place)
        assert reception.of(place) == manual_clock.time
    assert reception.frozen_since is None


def test_time_stands_still_once_values_repeat_themselves_for_too_long(reception, manual_clock, caplog):
    times = []
    for second in range(1000):
        manual_clock.time = START + dt.timedelta(seconds=second)
        times.append(reception.of("the same"))

    assert times[:300] == [START + dt.timedelta(seconds=second) for second in range(300)]
    assert set(times[300:]) == {START + dt.timedelta(seconds=299)}
    assert reception.frozen_since == START
    assert caplog.text.count("taken for frozen") == 1
    assert reception.of("another") == manual_clock.time
    assert reception.frozen_since is None


def test_a_few_equal_readings_far_apart_are_chance(reception, manual_clock):
    for place in range(FEWEST_REPEATS):
        manual_clock.time = START + dt.timedelta(hours=place)
        assert reception.of("the same") == manual_clock.time
    manual_clock.time += dt.timedelta(hours=1)
    assert reception.of("the same") == START + dt.timedelta(hours=FEWEST_REPEATS - 1)


def test_many_equal_readings_at_once_are_no_sign(reception):
    assert {reception.of("the same") for _ in range(1000)} == {START}
    assert reception.frozen_since is None


@given(steps=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 2)), max_size=60))
def test_times_never_go_back_and_never_lie_ahead(steps):
    now = START
    reception = ReceptionTime("test", lambda: now, 300)
    last = START
    for seconds, content in steps:
        now += dt.timedelta(seconds=seconds)
        measured_at = reception.of(content)
        assert last <= measured_at <= now
        last = measured_at

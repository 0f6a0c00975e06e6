"""What every emulator stands on: its clock, its house, its log, its control routes, its server."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import VendorUnavailableError
from adapters.emulation import (
    CLOCK_PATH,
    STATE_PATH,
    EmulatedClock,
    EmulatorControl,
    EventLog,
    House,
    listen,
    serve,
    with_fluctuation,
)
from engine import InputError

START = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)
SERIAL_NUMBER = "AL0000000000001"


def seconds(number):
    return dt.timedelta(seconds=number)


# --- clock ---


def test_a_stepped_clock_stands_until_it_is_stepped():
    clock = EmulatedClock(START, speed=None)
    time.sleep(0.01)

    assert clock.is_stepped
    assert clock.now() == START
    clock.step_to(START + seconds(90))
    assert clock.now() == START + seconds(90)


def test_a_stepped_clock_may_be_told_the_same_time_again():
    clock = EmulatedClock(START, speed=None)

    clock.step_to(START)

    assert clock.now() == START


def test_a_stepped_clock_refuses_to_go_back():
    clock = EmulatedClock(START, speed=None)
    clock.step_to(START + seconds(10))

    with pytest.raises(ValueError, match="before"):
        clock.step_to(START + seconds(9))

    assert clock.now() == START + seconds(10)


def test_a_running_clock_runs_at_its_speed():
    clock = EmulatedClock(START, speed=3600)
    before = time.monotonic()
    first = clock.now()
    time.sleep(0.02)
    moved_s = (clock.now() - first).total_seconds()
    real_s = time.monotonic() - before

    assert not clock.is_stepped
    assert 0.02 * 3600 * 0.9 <= moved_s <= real_s * 3600


def test_a_running_clock_cannot_be_stepped():
    clock = EmulatedClock(START, speed=60)

    with pytest.raises(ValueError, match="runs by itself"):
        clock.step_to(START + dt.timedelta(days=1))


# --- house ---


def house_frame(rows=2, freq="1h", tz="UTC"):
    index = pd.date_range("2024-01-01", periods=rows, freq=freq, tz=tz)
    return pd.DataFrame({"load_kw": np.arange(rows) + 1.0, "pv_kw": np.arange(rows) * 10.0}, index=index)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-01T00:00:00+00:00", (1, 0)),
        ("2024-01-01T00:59:59.999+00:00", (1, 0)),
        ("2024-01-01T01:00:00+00:00", (2, 10)),
        ("2024-01-01T02:30:00+00:00", (1, 0)),
        ("2031-07-04T13:00:00+00:00", (2, 10)),
        ("2023-12-31T23:59:59+00:00", (2, 10)),
        ("2024-01-01T02:30:00+01:00", (2, 10)),
    ],
)
def test_a_house_holds_each_row_and_repeats_for_ever(text, expected):
    assert House(house_frame()).at(dt.datetime.fromisoformat(text)) == expected


@given(offset_s=st.floats(-(10**9), 10**9), days=st.integers(-50, 50))
def test_a_house_of_one_day_lives_the_same_day_every_day(offset_s, days):
    house, moment = House(house_frame(rows=96, freq="15min")), START + seconds(offset_s)

    assert house.at(moment) == house.at(moment + dt.timedelta(days=days))


def test_a_house_of_one_row_is_always_the_same():
    house = House(house_frame(rows=1))

    assert {house.at(START + seconds(offset)) for offset in (0, 1800, 5400, 10**6)} == {(1.0, 0.0)}


@pytest.mark.parametrize("column", ["load_kw", "pv_kw"])
def test_a_house_without_a_column_is_refused(column):
    with pytest.raises(InputError, match=column):
        House(house_frame().drop(columns=column))


def test_a_house_without_a_zone_is_refused():
    with pytest.raises(InputError, match="zone"):
        House(house_frame(tz=None))


# --- fluctuation ---


def test_fluctuation_keeps_every_mean():
    frame = house_frame(rows=24)

    fine = with_fluctuation(frame, pd.Timedelta("1min"), seed=7)

    assert len(fine) == 24 * 60
    means = fine.groupby(np.arange(len(fine)) // 60).mean()
    np.testing.assert_allclose(means.to_numpy(), frame.to_numpy(), rtol=1e-12)


def test_fluctuation_fluctuates_and_stays_on_the_right_side_of_zero():
    fine = with_fluctuation(house_frame(rows=24), pd.Timedelta("1min"), seed=7)

    assert (fine >= 0).all(axis=None)
    first_hour, second_hour = fine.iloc[:60], fine.iloc[60:120]
    assert (first_hour["pv_kw"] == 0).all(), "no sun stays no sun"
    assert 0.1 < second_hour["load_kw"].std() / second_hour["load_kw"].mean() < 1
    assert 0.05 < second_hour["pv_kw"].std() / second_hour["pv_kw"].mean() < 1


def test_the_same_seed_gives_the_same_house_and_another_seed_another():
    frame, step = house_frame(), pd.Timedelta("1min")

    assert with_fluctuation(frame, step, 7).equals(with_fluctuation(frame, step, 7))
    assert not with_fluctuation(frame, step, 7).equals(with_fluctuation(frame, step, 8))


def test_a_fluctuating_house_begins_and_ends_where_the_frame_does():
    fine = with_fluctuation(house_frame(rows=3), pd.Timedelta("10min"), seed=1)

    assert fine.index[0] == pd.Timestamp("2024-01-01T00:00Z")
    assert fine.index[-1] == pd.Timestamp("2024-01-01T02:50Z")
    assert not fine.isna().any(axis=None)


# --- log ---


def test_each_line_of_the_log_file_is_one_event_as_json(tmp_path):
    path = tmp_path / "emulator.jsonl"
    log = EventLog(path)

    log.add(START, "started", sn="AL1", power_kw=-2.5)
    log.add(START + seconds(90), "lapsed", sn="AL1", note='quotes " and\nlines')

    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == log.events
    assert log.events[0] == {"at": "2024-05-01T12:00:00+00:00", "event": "started", "sn": "AL1", "power_kw": -2.5}


def test_the_log_file_is_continued_not_overwritten(tmp_path):
    path = tmp_path / "emulator.jsonl"

    EventLog(path).add(START, "login")
    EventLog(path).add(START, "login")

    assert len(path.read_text(encoding="utf-8").splitlines()) == 2


def test_events_are_counted_per_system():
    log = EventLog()
    for serial_number, event in [("AL1", "started"), ("AL1", "renewed"), ("AL2", "renewed"), ("AL1", "renewed")]:
        log.add(START, event, sn=serial_number)
    log.add(START, "renewed")

    assert (log.count("renewed", "AL1"), log.count("renewed", "AL2"), log.count("lapsed", "AL1")) == (2, 1, 0)


# --- control routes ---


def test_the_clock_route_steps_the_clock_and_lets_the_physics_catch_up(emulate):
    world = emulate()

    status, answer = world.post(CLOCK_PATH, {"to": "2024-05-01T12:00:30+00:00"})

    assert (status, answer) == (200, {"now": "2024-05-01T12:00:30+00:00"})
    assert world.clock.now() == world.system.site.now == START + seconds(30)
    assert world.system.power_row["UploadTime"] == "2024-05-01 12:00:30"


def test_the_clock_route_understands_other_zones(emulate):
    world = emulate()

    assert world.post(CLOCK_PATH, {"to": "2024-05-01T14:00:30+02:00"})[0] == 200
    assert world.clock.now() == START + seconds(30)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"to": "2024-05-01T11:59:59+00:00"}, id="back"),
        pytest.param({"to": "soon"}, id="no time"),
        pytest.param({}, id="nothing"),
        pytest.param({"to": "2024-05-01T13:00:00"}, id="no zone"),
        pytest.param({"to": 5}, id="a number"),
        pytest.param([], id="a list"),
        pytest.param(b"{", id="no JSON"),
    ],
)
def test_the_clock_route_refuses_what_it_cannot_do(emulate, body):
    world = emulate()

    status, _ = world.post(CLOCK_PATH, body)

    assert status == 400
    assert world.clock.now() == START


def test_the_clock_route_does_not_push_a_running_clock(emulate):
    status, answer = emulate(speed=1.0).post(CLOCK_PATH, {"to": "2030-01-01T00:00:00+00:00"})

    assert status == 400
    assert "runs by itself" in answer["error"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_state_route_shows_every_system(emulate, method):
    world = emulate(soc=0.5, serial_numbers=("AL1", "AL2"))
    world.login()
    world.dispatch(2.0, "AL2")

    status, answer = world.post(STATE_PATH, {}, method=method)

    assert (status, answer["now"]) == (200, "2024-05-01T12:00:00+00:00")
    assert answer["systems"].keys() == {"AL1", "AL2"}
    assert (answer["systems"]["AL1"]["released"], answer["systems"]["AL2"]["released"]) == (True, False)
    assert answer["systems"]["AL2"]["started"] == 1
    assert answer["systems"]["AL1"]["soc"] == pytest.approx(0.5, abs=1e-6)


def test_a_running_emulator_moves_when_it_is_looked_at(emulate):
    world = emulate(speed=3600)
    time.sleep(0.02)

    _, answer = world.post(STATE_PATH, {}, method="GET")

    assert dt.datetime.fromisoformat(answer["now"]) > START + seconds(60)
    assert world.system.site.now > START + seconds(60)


def test_the_control_reaches_a_served_emulator(emulate):
    world = emulate()

    async def session():
        control = EmulatorControl(world.url)
        try:
            await control.step_to(START + seconds(60))
            await control.step_to(START + seconds(60))
            return await control.state()
        finally:
            await control.close()

    state = asyncio.run(session())

    assert state["now"] == "2024-05-01T12:01:00+00:00"
    assert state["systems"].keys() == {SERIAL_NUMBER}


@pytest.mark.parametrize("name", ["a list", "a page"])
def test_the_control_notices_that_no_emulator_answers(vendor, reply, name):
    vendor.on("state", [] if name == "a list" else reply(b"<html></html>"))

    async def session():
        control = EmulatorControl(vendor.url)
        try:
            await control.state()
        finally:
            await control.close()

    with pytest.raises(VendorUnavailableError):
        asyncio.run(session())


# --- server ---


def test_a_listener_is_on_loopback_only():
    listener = listen()
    try:
        assert listener.getsockname()[0] == "127.0.0.1"
    finally:
        listener.close()


def test_a_port_that_is_taken_is_an_input_error():
    listener = listen()
    port = listener.getsockname()[1]
    try:
        with pytest.raises(InputError, match=f"port: value {port}"):
            listen(port)
    finally:
        listener.close()


def test_the_server_serves_until_it_is_told_to_stop(emulate, connect):
    world = emulate()
    listener = listen()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    done = False
    advanced = 0

    def advance():
        nonlocal advanced
        advanced += 1

    async def session():
        nonlocal done
        serving = asyncio.create_task(serve(world.cloud.app, listener, advance, None, lambda: done))
        async with connect(url, world.clock.now) as client:
            rows = await client.get_running_data(SERIAL_NUMBER)
        done = True
        await asyncio.wait_for(serving, timeout=10)
        return rows

    (row,) = asyncio.run(session())

    assert row["Sn"] == SERIAL_NUMBER
    assert advanced >= 1


def test_the_server_ends_when_nobody_asks_for_long_enough(emulate):
    world = emulate()

    async def session():
        began = time.monotonic()
        await asyncio.wait_for(serve(world.cloud.app, listen(), world.cloud.advance, idle_exit_s=0.1), timeout=10)
        return time.monotonic() - began

    assert asyncio.run(session()) >= 0.1


def test_a_server_with_an_open_stream_is_not_idle():
    listener = listen()
    port = listener.getsockname()[1]
    said = 0

    async def stream(_, receive, send):
        nonlocal said
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while said < 15:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            said += 1
            await asyncio.sleep(0.1)
        await send({"type": "http.response.body", "body": b""})

    async def session():
        serving = asyncio.create_task(serve(stream, listener, lambda: None, idle_exit_s=0.2))
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: emulator\r\n\r\n")
        while said < 14:
            assert not serving.done()
            with pytest.raises(OSError, match=str(port)):
                # Still listening, well beyond the idle time: nobody else can have the port.
                await asyncio.start_server(lambda *_: None, "127.0.0.1", port)
            await asyncio.sleep(0.05)
        writer.close()
        await asyncio.wait_for(serving, timeout=10)

    asyncio.run(session())

    assert said == 15

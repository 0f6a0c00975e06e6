"""Rows to readings."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from adapters.alphaess.adapter import create
from adapters.contract import AdapterError, Channel
from tests.adapters.alphaess.calls import NO_USABLE_ANSWER
from tests.adapters.alphaess.intents import NOWHERE
from tests.adapters.alphaess.world import SERIAL_NUMBER


def row(serial_number=SERIAL_NUMBER, **changes):
    return {"Sn": serial_number, "UploadTime": "2024-05-01 12:00:00", "Pbat": 1500, **changes}


@pytest.fixture
def read(vendor, adapt, manual_clock, device):
    def run(channel=Channel.POWER, url=None, **changes):
        async def session():
            async with adapt(url or vendor.url, manual_clock, **changes) as adapter:
                return await adapter.read(device(), channel)

        return asyncio.run(session())

    return run


@pytest.mark.parametrize(("channel", "name"), [(Channel.POWER, "GetLastPowerData"), (Channel.STATE, "GetRunningData")])
def test_each_channel_has_its_call(read, vendor, channel, name):
    vendor.on(name, {"ReturnCode": 0, "Result": [row()]})

    answer = read(channel)

    assert (answer.channel, answer.battery_kw) == (channel, 1.5)
    assert [call.name for call in vendor.calls] == ["Login", name]


@pytest.mark.parametrize("result", [None, [], [row("AL9")], [row("AL8"), row("AL9")]])
def test_no_row_of_the_device_is_no_reading(read, vendor, result):
    vendor.on("GetLastPowerData", {"ReturnCode": 0, "Result": result})

    assert read() is None


def test_the_devices_own_row_is_picked(read, vendor):
    rows = [row("AL8", Pbat=800), row(Pbat=100), row("AL9", Pbat=900)]
    vendor.on("GetLastPowerData", {"ReturnCode": 0, "Result": rows})

    assert read().battery_kw == 0.1


@pytest.mark.parametrize("name", ["SN", "sn", "sN"])
def test_another_systems_row_is_not_taken_for_ours_however_its_number_is_spelled(read, vendor, name):
    foreign = {name: "AL9", "UploadTime": "2024-05-01 12:00:00", "Pbat": 900}
    ours = {name: SERIAL_NUMBER, "UploadTime": "2024-05-01 12:00:00", "Pbat": 100}
    vendor.on("GetLastPowerData", {"ReturnCode": 0, "Result": [foreign, ours]})

    assert read().battery_kw == 0.1


def test_a_row_that_names_no_system_answers_the_question_that_named_one(read, vendor):
    anonymous = {name: value for name, value in row().items() if name != "Sn"}
    vendor.on("GetLastPowerData", {"ReturnCode": 0, "Result": [anonymous]})

    assert read().battery_kw == 1.5


@pytest.mark.parametrize(("zone", "hour"), [("UTC", 12), ("Europe/Copenhagen", 10), ("Asia/Shanghai", 4)])
def test_the_time_of_a_reading_is_in_the_zone_of_the_settings(vendor, manual_clock, device, zone, hour):
    vendor.on("GetLastPowerData", {"ReturnCode": 0, "Result": [row()]})

    async def session():
        adapter = create({**NOWHERE, "base_url": vendor.url, "upload_time_zone": zone}, manual_clock)
        try:
            return await adapter.read(device(), Channel.POWER)
        finally:
            await adapter.close()

    assert asyncio.run(session()).measured_at == dt.datetime(2024, 5, 1, hour, tzinfo=dt.UTC)


@pytest.mark.parametrize("fault", NO_USABLE_ANSWER)
def test_a_read_is_tried_three_times_at_most_and_fails_with_a_typed_error(read, vendor, reply, fault):
    vendor.on("GetLastPowerData", reply(**NO_USABLE_ANSWER[fault]))

    with pytest.raises(AdapterError):
        read()

    assert 1 <= vendor.count("GetLastPowerData") <= 3


def test_a_row_whose_age_is_unknown_is_an_error(read, vendor):
    vendor.on("GetLastPowerData", {"ReturnCode": 0, "Result": [row(UploadTime=None)]})

    with pytest.raises(AdapterError, match="UploadTime"):
        read()

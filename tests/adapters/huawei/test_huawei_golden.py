"""The document's own examples, as they are printed: requests that we make, answers that we read.

SmartPVMS 24.5.0 NBI Reference; each test names the section and the example.
"""

from __future__ import annotations

import datetime as dt
import json

import pytest

from adapters.contract import Accepted, Progress, Rejected, Unknown
from adapters.huawei.errors import ParameterFaultError
from adapters.huawei.mapping import DispatchSwitch, LimitationMode, SurplusPriority, WorkingMode
from adapters.huawei.tasks import (
    ActivePowerTask,
    BatteryParametersTask,
    ChargeTask,
    Window,
    WorkingModeTask,
    charge_progress,
    neutral_idle,
)

ILLEGAL = "PowerDispatch is illegal. The value should be greater than 0 during forced charge."


ONE, TWO = ChargeTask("NE=12345678", DispatchSwitch.CHARGE, 5000, 600), ChargeTask("NE=23456789", DispatchSwitch.STOP)


def charged(adapter):
    return adapter.client.charge([ONE, TWO])


# --- access ---


def test_a_refresh_and_a_plant_list(vendor, talk):
    """Section 3.1.2.3, refresh example; 3.1.3, access example; 5.1.1.1, example 2."""
    plant = {
        "plantCode": "NE=12345678",
        "plantName": "NMplant1",
        "plantAddress": None,
        "longitude": None,
        "latitude": None,
        "capacity": 146.5,
        "contactPerson": "",
        "contactMethod": "",
        "gridConnectionDate": "2022-11-21T16:23:00+08:00",
    }
    second = {**plant, "plantCode": "NE=23456789", "gridConnectionDate": "2022-11-21T16:30:28-12:00"}
    page = {"list": [plant, second], "pageCount": 1, "pageNo": 1, "pageSize": 100, "total": 2}
    vendor.on("stations", {"success": True, "data": page, "failCode": 0, "message": "get plant list success"})

    plants = talk(lambda adapter: adapter.client.plants())

    assert sorted(vendor.calls[0].text.split("&")) == sorted(
        [
            "grant_type=refresh_token",
            "refresh_token=r%2A%2A%2A%2A%2At",
            "client_id=123456789",
            "client_secret=A%2A%2A%2A%2A%2AA",
        ]
    )
    assert vendor.calls[0].path == "/rest/dp/uidm/oauth2/v1/token"
    headers = {name.lower(): value for name, value in vendor.calls[1].headers.items()}
    assert (vendor.calls[1].path, vendor.calls[1].body) == ("/thirdData/stations", {"pageNo": 1})
    assert (headers["authorization"], headers["content-type"]) == ("Bearer a*****t", "application/json")
    assert (plants[0].plant_code, plants[0].array_kwp) == ("NE=12345678", 146.5)
    assert plants[1].connected_at == dt.datetime(2022, 11, 22, 4, 30, 28, tzinfo=dt.UTC)


def test_a_login_and_a_device_list(vendor, talk, reply):
    """Section 3.2.2.1, example 1; 5.1.1.2, example 2, with its misprinted name."""
    done = {"success": True, "data": None, "failCode": 0, "params": None, "message": None}
    vendor.on("login", reply.of(done, **{"XSRF-TOKEN": "x-apepjy1fpd2"}))
    row = {
        "id": -214543629611879,
        "stationCode": "5D02",
        "esnCode": "5fbfk4",
        "devTypeld": 1,
        "invType": "SUN2000-17KTL",
    }
    vendor.on("getDevList", {"success": True, "data": [row], "failCode": 0, "params": {"currentTime": 1503046597854}})

    (device,) = talk(
        lambda reader: reader.client.devices(["BA43", "5D02"]),
        access="api_account",
        user_name="*****",
        system_code="*****",
    )

    assert vendor.calls[0].body == {"userName": "*****", "systemCode": "*****"}
    assert {name.lower(): value for name, value in vendor.calls[1].headers.items()}["xsrf-token"] == "x-apepjy1fpd2"
    assert vendor.calls[1].body == {"stationCodes": "BA43,5D02"}
    assert (device.device_id, device.device_type, device.model) == ("-214543629611879", 1, "SUN2000-17KTL")


# --- charge tasks ---


def test_the_request_of_two_charges(vendor, talk):
    """Section 5.2.1, request example: the first by duration, the second by state of charge."""
    vendor.on("async-task", {"success": False, "failCode": 2, "data": None, "message": ""})
    second = ChargeTask("NE=23456789", DispatchSwitch.CHARGE, 5000, target_percent=100)

    talk(lambda adapter: adapter.client.charge([ONE, second]))

    assert vendor.calls[1].path == "/rest/openapi/pvms/nbi/v2/control/charge-and-discharge/async-task"
    assert vendor.calls[1].body == {
        "tasks": [
            {
                "plantCode": "NE=12345678",
                "dispatchSwitch": 1,
                "controlType": 2,
                "dispatchTime": 600,
                "powerDispatch": 5000,
            },
            {
                "plantCode": "NE=23456789",
                "dispatchSwitch": 1,
                "controlType": 1,
                "targetSOC": 100,
                "powerDispatch": 5000,
            },
        ]
    }


def result(plant, ok, description=None):
    sub_id = "2004882110006589" if ok else None
    return {"plantCode": plant, "sn": None, "dispatchResult": 1 - ok, "subTaskId": sub_id, "description": description}


RESULTS = [result("NE=12345678", False, ILLEGAL), result("NE=23456789", True)]
PARTLY = {"failCode": 1, "message": "The battery charge/discharge task is partially delivered", "success": True}
FAILED = {"failCode": 2, "message": "Failed to deliver the battery charge/discharge task.", "success": False}
BOTH = [result("NE=12345678", True), result("NE=23456789", True)]
DONE = {"failCode": 0, "message": "The battery charge/discharge task is delivered successfully.", "success": True}
CHARGE_ANSWERS = {
    "example 1": ({"data": None, "failCode": 2, "message": "list is empty.", "success": False}, None, ("NO", "NO")),
    "example 2": (
        {"data": {"requestID": None}, "result": [RESULTS[0], result("NE=23456789", False, "illegal")], **FAILED},
        None,
        ("NO", "NO"),
    ),
    "example 3": (
        {"data": {"requestID": 1107541629693466, "result": RESULTS, **PARTLY}},
        1107541629693466,
        ("NO", "YES"),
    ),
    "example 3, whole": (
        {"data": {"requestID": 1107541629693466, "result": RESULTS}, **PARTLY},
        1107541629693466,
        ("NO", "YES"),
    ),
    "example 4": ({"data": {"requestID": 9694030627470695, "result": BOTH}, **DONE}, 9694030627470695, ("YES", "YES")),
}


@pytest.mark.parametrize("example", CHARGE_ANSWERS)
def test_the_answers_to_a_charge_task(vendor, talk, example):
    """Section 5.2.1, response examples, braces where the document has them."""
    answer, request_id, taken = CHARGE_ANSWERS[example]
    vendor.on("async-task", answer)

    delivery = talk(charged)

    assert delivery.task_id == request_id
    assert tuple(one.taken.name for one in delivery.results) == taken
    if "ILLEGAL" not in example and example.startswith("example 3"):
        assert delivery.results[0].description == ILLEGAL


def test_a_request_id_keeps_every_digit(vendor, talk, reply):
    """Section 5.2.1, example 4: 9694030627470695 is more than a double holds."""
    body = json.dumps({"data": {"requestID": 9694030627470695, "result": BOTH}, **DONE})
    vendor.on("async-task", reply(body.encode()))
    vendor.on("chargeAndDischargeStatus", {"success": True, "failCode": 0, "message": None, "data": []})

    async def session(adapter):
        command = adapter.release(type("D", (), {"device_id": "NE=12345678"})())
        receipt = await adapter.send(command)
        await adapter.track(command, receipt)
        return receipt

    assert talk(session) == Accepted("9694030627470695")
    assert vendor.calls[-1].text.replace(" ", "") == '{"requestID":9694030627470695}'


@pytest.mark.parametrize(
    "given", ["9.694030627470695e15", "9694030627470695.0", "99999999999999999999", "true", "null"]
)
def test_a_request_id_that_is_no_64_bit_integer_is_nobodys(vendor, talk, reply, given):
    vendor.on("async-task", reply(f'{{"data": {{"requestID": {given}}}, "failCode": 0, "success": true}}'.encode()))

    async def session(adapter):
        return await adapter.send(adapter.release(type("D", (), {"device_id": "NE=12345678"})()))

    assert isinstance(talk(session), Unknown)


STATUS = {"plantCode": "NE=12345678", "sn": "5fbfk4", "remoteID": "12345678", "status": 0, "chargedCapacity": 1000}
TIMES = {"execStartTime": "2020-02-06T00:00:10+08:00", "execEndTime": "2020-02-06T00:01:10+08:00"}


@pytest.mark.parametrize(
    "data",
    [[{**STATUS, "message": None, **TIMES}], {**STATUS, "message": None, **TIMES}, [{**STATUS, "lastUpdate": "2024"}]],
    ids=["list", "map", "as printed"],
)
def test_the_state_of_a_charge_task(vendor, talk, data):
    """Section 5.2.2, example 2; the table says Map, the example has a list."""
    vendor.on("chargeAndDischargeStatus", {"success": True, "failCode": 0, "message": None, "data": data})

    (status,) = talk(lambda adapter: adapter.client.charge_status(432523532523))

    assert vendor.calls[1].path == "/rest/openapi/pvms/v1/vpp/chargeAndDischargeStatus"
    assert vendor.calls[1].body == {"requestID": 432523532523}
    assert charge_progress([status], "NE=12345678").progress is Progress.DONE
    assert (status.charged_raw, status.discharged_raw) == (1000, None)
    if "lastUpdate" not in str(data):
        assert status.ended_at == dt.datetime(2020, 2, 5, 16, 1, 10, tzinfo=dt.UTC)


def test_the_other_names_of_the_times(vendor, talk):
    """Section 5.2.2, example 2, its second part."""
    times = {"startTime": "2020-02-06T00:00:00+08:00", "endTime": "2020-02-06T00:01:00+08:00"}
    answer = {"success": True, "failCode": 0, "message": None, "data": [{**STATUS, **times}]}
    vendor.on("chargeAndDischargeStatus", answer)

    (status,) = talk(lambda adapter: adapter.client.charge_status(1))

    assert (status.ended_at - status.started_at).total_seconds() == 60


@pytest.mark.parametrize(
    ("parts", "progress"),
    [
        ([(0, "")], Progress.DONE),
        ([(0, "changed")], Progress.FAILED),
        ([(1, "")], Progress.RUNNING),
        ([(2, "")], Progress.FAILED),
        ([(0, ""), (1, "")], Progress.RUNNING),
        ([(1, ""), (2, "")], Progress.FAILED),
        ([(0, ""), (0, "")], Progress.DONE),
        ([(7, "")], Progress.UNKNOWN),
        ([(None, "")], Progress.UNKNOWN),
        ([], Progress.UNKNOWN),
    ],
)
def test_an_exception_is_status_0_too(vendor, talk, parts, progress):
    """Section 5.2.2, notice: complete only without a message."""
    data = [{"plantCode": "NE=12345678", "status": status, "message": message} for status, message in parts]
    vendor.on("chargeAndDischargeStatus", {"success": True, "failCode": 0, "message": None, "data": data})

    statuses = talk(lambda adapter: adapter.client.charge_status(1))

    assert charge_progress(statuses, "NE=12345678").progress is progress


# --- settings ---


def test_the_request_of_a_working_mode(vendor, talk):
    """Section 5.2.3, request example; the path is the one of section 1, without the blank."""
    vendor.on("async-task", {"failCode": 2, "success": False, "message": "", "data": None})
    tou = WorkingModeTask(
        "NE=234567891",
        WorkingMode.TIME_OF_USE,
        SurplusPriority.FEED_IN,
        10,
        (Window("00:00", "02:00", True, (2, 3)), Window("02:00", "04:00", False, (1, 2))),
    )

    talk(lambda adapter: adapter.client.change([WorkingModeTask("NE=123456789", WorkingMode.SELF_CONSUMPTION), tou]))

    windows = [
        {"startTime": "00:00", "endTime": "02:00", "chargeOrDischarge": "charge", "repeat": [2, 3]},
        {"startTime": "02:00", "endTime": "04:00", "chargeOrDischarge": "discharge", "repeat": [1, 2]},
    ]
    assert vendor.calls[1].path == "/rest/openapi/pvms/nbi/v1/control/battery/mode/async-task"
    assert vendor.calls[1].body["tasks"] == [
        {"plantCode": "NE=123456789", "operationMode": "maximumSelfConsumption"},
        {
            "plantCode": "NE=234567891",
            "operationMode": "TOU",
            "redundantPVEnergyPriority": "fedToGridPreference",
            "allowedAcChargePower": 10,
            "chargingAndDischargingTimeWindow": windows,
        },
    ]


def test_neutral_idle_is_practice_2():
    """Section 7.5, practice 2."""
    assert neutral_idle("NE=123456789", 10).wire() == {
        "plantCode": "NE=123456789",
        "operationMode": "TOU",
        "redundantPVEnergyPriority": "fedToGridPreference",
        "allowedAcChargePower": 10,
        "chargingAndDischargingTimeWindow": [
            {"startTime": "00:05", "endTime": "00:06", "chargeOrDischarge": "charge", "repeat": [1]}
        ],
    }


def test_the_requests_of_battery_parameters_and_feed_in():
    """Sections 5.2.5 and 5.2.7, request examples."""
    assert BatteryParametersTask("NE=12345678", 0.98, 0.18, 0.022, 0.048).wire() == {
        "plantCode": "NE=12345678",
        "batteryConfigurationInfo": {
            "endOfDischargeSoc": 18,
            "endOfChargeSoc": 98,
            "maximumDischargePower": 48,
            "maximumChargePower": 22,
        },
    }
    assert ActivePowerTask("NE=123456789").wire() == {"plantCode": "NE=123456789", "controlMode": "0"}
    assert ActivePowerTask("NE=234567891", 53, LimitationMode.SINGLE_PHASE).wire() == {
        "plantCode": "NE=234567891",
        "controlMode": "6",
        "controlInfo": {"maxGridFeedInPower": 53, "limitationMode": "1"},
    }


def test_a_value_that_is_set_already_is_no_failure(vendor, talk):
    """Section 5.2.3, example 4."""
    rows = [
        {"plantCode": "NE=1", "status": "FAIL", "message": "The configured value is the same as the current value."},
        {"plantCode": "NE=2", "status": "RUNNING", "message": None},
        {"plantCode": "NE=3", "status": "FAIL", "message": "No resource permission."},
    ]
    data = {"taskId": "5882491459219785", "result": rows}
    vendor.on("async-task", {"failCode": 1, "success": True, "message": "partially", "data": data})
    tasks = [WorkingModeTask(f"NE={n}", WorkingMode.SELF_CONSUMPTION) for n in (1, 2, 3)]

    same, running, refused = talk(lambda adapter: adapter.change(tasks))

    assert isinstance(same, Accepted)
    assert running == Accepted("5882491459219785")
    assert refused == Rejected("No resource permission.")


@pytest.mark.parametrize(
    ("status", "message", "progress"),
    [
        ("RUNNING", None, Progress.RUNNING),
        ("SUCCESS", None, Progress.DONE),
        ("FAIL", "TIMEOUT", Progress.FAILED),
        ("FAIL", "The configured value is the same as the current value.", Progress.DONE),
        ("ODD", None, Progress.UNKNOWN),
    ],
)
@pytest.mark.parametrize("misplaced", [False, True])
def test_the_state_of_a_setting(vendor, talk, status, message, progress, misplaced):
    """Sections 5.2.4 and 5.2.6, examples 3 to 5; in the first the times are one more row."""
    row = {"plantCode": "NE=234567891", "status": status, "message": message, "operationMode": "TOU"}
    times = {"startTime": "2024-02-29T23:02:49+08:00", "endTime": None}
    data = {"dispatchResult": [row, times]} if misplaced else {"dispatchResult": [row], **times}
    vendor.on("task-info", {"failCode": 0, "success": True, "message": "queried successfully.", "data": data})
    task = WorkingModeTask("NE=234567891", WorkingMode.SELF_CONSUMPTION)

    tracked = talk(lambda adapter: adapter.change_progress(task, Accepted("3051190140256431")))

    assert tracked.progress is progress
    assert vendor.calls[1].body == {"taskId": "3051190140256431"}


@pytest.mark.parametrize("name", ["framwork.remote.Paramerror", "framework.remote.Paramerror"])
def test_an_exception_of_the_framework(vendor, talk, reply, name):
    """Section 5.2.3, example 3, and 6.4: HTTP 400."""
    body = {
        "exceptionId": name,
        "exceptionType": "ROA_EXFRAME_EXCEPTION",
        "descArgs": None,
        "reasonArgs": ["tasks"],
        "detailArgs": ["tasks size must be between 1 and 10"],
        "adviceArgs": None,
    }
    vendor.on("async-task", reply.of(body, 400))

    async def session(adapter):
        with pytest.raises(ParameterFaultError, match="tasks size must be between 1 and 10"):
            await charged(adapter)
        return await adapter.send(adapter.release(type("D", (), {"device_id": "NE=1"})()))

    assert isinstance(talk(session), Rejected)

"""Parsers take any JSON, secrets stay secret, and the emulated cloud refuses what the document does not allow."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import traceback
import urllib.error
import urllib.request

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from adapters.contract import Channel, IntentRefusedError, VendorUnavailableError
from adapters.huawei import records, tasks, wire
from adapters.huawei.adapter import create
from adapters.huawei.mapping import DeviceType, DispatchSwitch, Signs, WorkingMode
from adapters.huawei.tasks import ActivePowerTask, BatteryParametersTask, ChargeTask, Window, WorkingModeTask

NAMES = st.sampled_from(
    [
        *[
            "data",
            "failCode",
            "message",
            "success",
            "params",
            "currentTime",
            "list",
            "pageCount",
            "plantCode",
            "result",
        ],
        *["requestID", "taskId", "dispatchResult", "status", "description", "devTypeId", "devTypeld", "dataItemMap"],
        *["id", "stationCode", "devId", "collectTime", "exceptionId", "detailArgs", "battery_soc", "active_power"],
        *["ch_discharge_power", "raiseTime", "execStartTime", "startTime", "gridConnectionDate", "capacity"],
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["N/A", "1e999999", "-0", "9694030627470695", "RUNNING", "2020-02-06T00:00:00+08:00", "\uff10", 10**400]
    )
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=4), inner, max_size=6),
    max_leaves=12,
)
ANSWERS = ANYTHING | st.fixed_dictionaries({"failCode": st.sampled_from([0, 1, 2]), "data": ANYTHING}).map(dict)


@settings(max_examples=2000)
@given(ANSWERS)
@example({"data": {"list": [{"plantCode": "NE=1", "gridConnectionDate": "0001-01-01T00:00:00+14:00"}]}})
@example({"params": {"currentTime": 1e300}})
def test_no_answer_crashes_a_parser(answer):
    found = wire.envelope(answer)
    records.plants_of(found)
    records.devices_of(found)
    records.plants_now_of(found)
    records.alarms_of(found)
    for report in records.reports_of(found):
        assert report.begins_at.tzinfo is not None
    for device_type in DeviceType:
        for reading in records.readings_of(found, device_type, Signs(battery_rack="charges")):
            assert all(isinstance(value, float) and abs(value) < float("inf") for value in reading.values.values())
    statuses = tasks.read_charge_status(found, str)
    assert tasks.charge_progress(statuses, "NE=1").progress
    assert tasks.setting_progress(found, "NE=1", str).progress
    for charge in (True, False):
        try:
            delivery = tasks.read_delivery(found, ["NE=1", "NE=2"], charge=charge, clean=str)
        except VendorUnavailableError:
            assert charge
        else:
            assert [result.plant_code for result in delivery.results] == ["NE=1", "NE=2"]
            assert isinstance(delivery.task_id, int if charge else str) or delivery.task_id is None


@settings(max_examples=500)
@given(st.integers(-(2**70), 2**70))
def test_whole_numbers_are_exact_or_nothing(number):
    expected = number if -(2**63) <= number < 2**63 else None
    assert wire.whole(number) == expected
    assert wire.whole(str(number)) == expected
    assert wire.whole(float(number)) is None


@settings(max_examples=500)
@given(st.dictionaries(NAMES | st.sampled_from(["plantCode", "dispatchSwitch", "powerDispatch"]), SCALARS))
def test_any_payload_is_a_task_or_refused(payload):
    try:
        task = ChargeTask.of_wire(payload)
    except IntentRefusedError:
        return
    assert task.plant_code


@pytest.mark.parametrize(
    "make",
    [
        lambda: ChargeTask("", DispatchSwitch.STOP),
        lambda: ChargeTask("NE=1", DispatchSwitch.CHARGE, 0, 60),
        lambda: ChargeTask("NE=1", DispatchSwitch.CHARGE, -1, 60),
        lambda: ChargeTask("NE=1", DispatchSwitch.DISCHARGE, 1, 60),
        lambda: ChargeTask("NE=1", DispatchSwitch.CHARGE, 1000),
        lambda: ChargeTask("NE=1", DispatchSwitch.CHARGE, 1000, 60, 50.0),
        lambda: ChargeTask("NE=1", DispatchSwitch.CHARGE, 1000, 0),
        lambda: ChargeTask("NE=1", DispatchSwitch.CHARGE, 1000, 1441),
        lambda: ChargeTask("NE=1", DispatchSwitch.CHARGE, 1000, target_percent=100.1),
        lambda: Window("0:05", "00:06", True, (1,)),
        lambda: Window("00:06", "00:06", True, (1,)),
        lambda: Window("00:05", "24:00", True, (1,)),
        lambda: Window("00:05", "00:06", True, ()),
        lambda: Window("00:05", "00:06", True, (1, 1)),
        lambda: Window("00:05", "00:06", True, (0,)),
        lambda: WorkingModeTask("NE=1", WorkingMode.TIME_OF_USE),
        lambda: WorkingModeTask("NE=1", WorkingMode.SELF_CONSUMPTION, grid_charge_kw=1),
        lambda: WorkingModeTask("NE=1", WorkingMode.TIME_OF_USE, windows=(WINDOW, WINDOW)),
        lambda: WorkingModeTask("NE=1", WorkingMode.TIME_OF_USE, grid_charge_kw=-1, windows=(WINDOW,)),
        lambda: BatteryParametersTask("NE=1"),
        lambda: BatteryParametersTask("NE=1", end_of_charge_soc=0.89),
        lambda: BatteryParametersTask("NE=1", end_of_discharge_soc=0.21),
        lambda: BatteryParametersTask("NE=1", max_charge_kw=float("nan")),
        lambda: ActivePowerTask("NE=1", 5000.1),
        lambda: ActivePowerTask("NE=1", -1000.1),
        lambda: ActivePowerTask("NE=1", float("nan")),
    ],
)
def test_what_the_document_does_not_allow_is_refused_before_it_is_sent(make):
    with pytest.raises(IntentRefusedError):
        make()


WINDOW = Window("00:05", "00:06", True, (1,))


# --- secrets ---

SONG = "witsch"
SECRETS = {"client_secret": "zwitscher-1", "refresh_token": "zwitscher-2", "system_code": "zwitscher-3"}
ACCESS = "zwitscher-4"


def words_of(error):
    return str(error) + repr(error) + "".join(traceback.format_exception(error))


@pytest.mark.parametrize("api_account", [False, True])
@pytest.mark.parametrize("path", ["token", "login", "stations", "async-task"])
@pytest.mark.parametrize("status", [200, 400, 401, 403, 500, 302])
def test_no_failure_lets_a_secret_out(vendor, reply, manual_clock, caplog, path, status, api_account):
    for name in ("", "httpx", "httpcore", "stamina", "adapters"):
        caplog.set_level(logging.DEBUG, logger=name)
    echo = [*SECRETS.values(), ACCESS]
    told = {"failCode": 2, "message": str(echo), "data": {"result": [{"plantCode": "NE=1", "description": str(echo)}]}}
    tokens = {"access_token": ACCESS, "refresh_token": "zwitscher-5", "expires_in": 3600, "error": str(echo)}
    vendor.on("token", tokens)
    vendor.on("login", reply.of({"failCode": 0, "success": True, "message": str(echo)}, **{"XSRF-TOKEN": ACCESS}))
    body = told if path in ("stations", "async-task") else {"failCode": 20400, "error_description": str(echo)}
    vendor.on(
        path, reply.of({**body, **({"exceptionId": str(echo), "detailArgs": echo} if status == 400 else {})}, status)
    )
    access = (
        {"access": "api_account", "user_name": "u"} if api_account else {"client_id": "1", "redirect_url": "https://r/"}
    )
    given = {"base_url": vendor.url, "oauth_url": "same", **SECRETS, **access}
    errors, texts = [], []

    async def session():
        adapter = create(given, manual_clock)
        texts.extend([repr(adapter), repr(adapter.client.settings), str(adapter.client.settings.model_dump())])
        for call in (adapter.client.plants, lambda: adapter.client.consent(SecretStr("zwitscher-6"))):
            try:
                await call()
            except Exception as error:
                errors.append(error)
                logging.getLogger("adapters").exception("a call failed")
        if not api_account:
            texts.append(repr(await adapter.send(adapter.release(type("D", (), {"device_id": "NE=1"})()))))
            texts.append(repr(await adapter.client._session._store.load()))
        await adapter.close()

    asyncio.run(session())

    assert errors or path == "async-task"
    assert SONG not in "".join([*texts, *map(words_of, errors)])
    assert SONG not in caplog.text
    assert not [record for record in caplog.records if SONG in repr(vars(record))]


def test_the_emulators_log_and_state_have_no_secrets(emulate_huawei, plant_device):
    world = emulate_huawei()

    async def session(adapter):
        await adapter.read(plant_device(), Channel.POWER)
        return adapter.client._latest_tokens

    tokens = world.run(session)
    world.run(lambda reader: reader.client.plants(), api_account=True)

    seen = json.dumps(world.log.events) + json.dumps(world.cloud.state())
    secrets = [tokens.access.get_secret_value(), world.cloud.client_secret, world.cloud.system_code]
    assert not [secret for secret in secrets if secret in seen]


# --- the emulated cloud ---


@pytest.fixture
def owner(emulate_huawei):
    """An owner's raw calls: (path, body) -> (HTTP status, answer)."""
    world = emulate_huawei(plants=2)
    tokens = {}

    def post(path, body, kind="application/json"):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        headers = {"Content-Type": kind, **tokens}
        request = urllib.request.Request(f"{world.url}{path}", data, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, json.loads(answer.read() or b"null")

    account = world.cloud.account()
    form = (
        f"grant_type=refresh_token&refresh_token={account['refresh_token']}"
        f"&client_id={account['client_id']}&client_secret={account['client_secret']}"
    )
    assert post("/thirdData/stations", {"pageNo": 1})[1]["failCode"] == 305
    _, answer = post("/rest/dp/uidm/oauth2/v1/token", form, "application/x-www-form-urlencoded")
    assert answer["token_type"] == "Bearer"
    tokens["Authorization"] = f"Bearer {answer['access_token']}"
    post.world = world
    return post


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("stations", {}, 30004),
        ("stations", {"pageNo": 0}, 30021),
        ("stations", {"pageNo": 1, "gridConnectedStartTime": -1}, 20605),
        ("getDevList", {"stationCodes": ""}, 20010),
        ("getDevList", {"stationCodes": "NE=7"}, 20007),
        ("getStationRealKpi", {"stationCodes": ",".join(["NE=1"] * 101)}, 20014),
        ("getDevRealKpi", {"devTypeId": 39}, 20011),
        ("getDevRealKpi", {"devTypeId": 23070, "devIds": "1"}, 20013),
        ("getDevHistoryKpi", {"devTypeId": 39, "devIds": ",".join("1" * 11)}, 30031),
        ("getAlarmList", {"language": "en_US"}, 20055),
        ("getAlarmList", {"stationCodes": "NE=1", "language": "xx"}, 20025),
        ("getKpiStationDay", {"stationCodes": "NE=1"}, 20012),
        ("getKpiStationDay", {"stationCodes": "NE=1", "collectTime": -5}, 20605),
        ("getDevKpiDay", {"devTypeId": 47, "devIds": "1", "collectTime": 1}, 20013),
    ],
)
def test_the_cloud_refuses_data_calls(owner, path, body, code):
    assert owner(f"/thirdData/{path}", body)[1]["failCode"] == code


def test_the_cloud_refuses_long_histories(owner):
    device = str(owner.world.plant().device_ids()[39])
    for days, code in ((4, 30032), (-1, 20023)):
        times = {"startTime": 10**12, "endTime": 10**12 + days * 86_400_000}
        answer = owner("/thirdData/getDevHistoryKpi", {"devIds": device, "devTypeId": 39, **times})[1]
        assert answer["failCode"] == code


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"dispatchSwitch": 3}, "DispatchSwitch"),
        ({"dispatchSwitch": 1}, "ControlType"),
        ({"dispatchSwitch": 1, "controlType": 2}, "DispatchTime"),
        ({"dispatchSwitch": 1, "controlType": 2, "dispatchTime": 1441}, "DispatchTime"),
        ({"dispatchSwitch": 1, "controlType": 1}, "TargetSOC"),
        ({"dispatchSwitch": 1, "controlType": 2, "dispatchTime": 5, "powerDispatch": -1}, "PowerDispatch"),
        ({"dispatchSwitch": 2, "controlType": 2, "dispatchTime": 5, "powerDispatch": 1}, "PowerDispatch"),
        ({"dispatchSwitch": 1, "controlType": 2, "dispatchTime": 5, "powerDispatch": 0}, "PowerDispatch"),
        ({"dispatchSwitch": 1, "controlType": 2, "dispatchTime": 5, "powerDispatch": 1.5}, "PowerDispatch"),
    ],
)
def test_the_cloud_refuses_forced_tasks(owner, task, words):
    path = "/rest/openapi/pvms/nbi/v2/control/charge-and-discharge/async-task"
    _, answer = owner(path, {"tasks": [{"plantCode": "NE=1", **task}]})

    assert (answer["failCode"], answer["success"]) == (2, False)
    assert words in answer["data"]["result"][0]["description"]
    assert owner(path, {"tasks": []})[1]["message"] == "Battery charge and discharge task list is empty."
    stop = {"plantCode": "NE=1", "dispatchSwitch": 0}
    assert owner(path, {"tasks": [stop, stop]})[1]["failCode"] == 20608


def test_a_task_without_power_takes_all_there_is_and_ends_at_its_state_of_charge(owner):
    path = "/rest/openapi/pvms/nbi/v2/control/charge-and-discharge/async-task"
    task = {"plantCode": "NE=1", "dispatchSwitch": 1, "controlType": 1, "targetSOC": 60}
    _, answer = owner(path, {"tasks": [task]})
    world = owner.world
    world.after(300)
    assert world.battery_kw() == pytest.approx(-5.0)
    world.after(1500)

    assert world.plant().site.plant.soc == pytest.approx(0.6, abs=0.03)
    assert world.battery_kw() == pytest.approx(1.0, abs=0.01), "it does not hold, it follows the house again"
    status = "/rest/openapi/pvms/v1/vpp/chargeAndDischargeStatus"
    _, told = owner(status, {"requestID": answer["data"]["requestID"]})
    assert told["data"][0]["status"] == 0
    assert told["data"][0]["chargedCapacity"] > 0.9
    assert owner(status, {})[1]["failCode"] == 20044
    assert owner(status, {"requestID": float(answer["data"]["requestID"])})[1]["failCode"] == 20050


@pytest.mark.parametrize(
    ("path", "task", "words"),
    [
        ("nbi/v1/control/battery/mode", {"operationMode": "other"}, "operationMode"),
        ("nbi/v1/control/battery/mode", {"operationMode": "TOU"}, "TimeWindow"),
        (
            "nbi/v1/control/battery/configuration",
            {"batteryConfigurationInfo": {"endOfChargeSoc": 50}},
            "endOfChargeSoc",
        ),
        ("nbi/v1/control/battery/configuration", {"batteryConfigurationInfo": {}}, "batteryConfigurationInfo"),
        ("nbi/v2/control/active-power-control", {"controlMode": 0}, "controlMode"),
        ("nbi/v2/control/active-power-control", {"controlMode": "6"}, "controlInfo"),
    ],
)
def test_the_cloud_refuses_settings(owner, path, task, words):
    base = f"/rest/openapi/pvms/{path}"
    _, answer = owner(f"{base}/async-task", {"tasks": [{"plantCode": "NE=1", **task}]})

    assert words in answer["data"]["result"][0]["message"]
    status, answer = owner(f"{base}/async-task", {"tasks": [{"plantCode": "NE=1", **task}] * 11})
    assert (status, answer["detailArgs"]) == (400, ["tasks size must be between 1 and 10"])
    assert owner(f"{base}/task-info", {})[0] == 400
    assert owner(f"{base}/task-info", {"taskId": "1" * 16})[1]["failCode"] == 20620


def test_the_cloud_takes_json_and_a_hundred_control_calls_a_day(owner):
    path = "/rest/openapi/pvms/v1/vpp/chargeAndDischargeStatus"
    assert owner("/thirdData/stations", "nonsense")[0] == 400
    assert owner("/thirdData/stations", '{"pageNo": 1}', "text/plain")[0] == 400
    codes = [owner(path, {"requestID": 1})[1]["failCode"] for _ in range(101)]
    assert codes == [20050] * 100 + [407]
    assert owner("/thirdData/stations", {"pageNo": 1})[1]["failCode"] == 0, "basic calls have a quota of their own"


def test_five_wrong_passwords_lock_the_account_for_half_an_hour(owner):
    world, account = owner.world, owner.world.cloud.api_account()
    wrong = {"userName": account["user_name"], "systemCode": "wrong"}
    right = {**wrong, "systemCode": account["system_code"]}
    assert [owner("/thirdData/login", wrong)[1]["failCode"] for _ in range(5)] == [20400] * 5
    assert owner("/thirdData/login", right)[1]["failCode"] == 407
    world.clock.step_to(world.clock.now() + dt.timedelta(minutes=11))
    assert owner("/thirdData/login", right)[1]["failCode"] == 20400
    world.clock.step_to(world.clock.now() + dt.timedelta(minutes=20))
    assert owner("/thirdData/login", right)[1]["failCode"] == 0


def test_the_state_of_the_cloud(emulate_huawei):
    world = emulate_huawei()
    state = world.cloud.state()["systems"]["NE=1"]

    assert (state["released"], state["soc"], state["working_mode"]) == (
        True,
        pytest.approx(0.5),
        "maximumSelfConsumption",
    )

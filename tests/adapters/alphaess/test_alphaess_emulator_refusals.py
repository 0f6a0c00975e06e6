"""The emulated AlphaESS cloud refuses what the document and servers refuse, in the vendor's order."""

from __future__ import annotations

import pytest

from tests.adapters.alphaess.world import SERIAL_NUMBER
from tests.intents import START

ENCRYPTED = "S+QtkJNDR5d82NFl7czJ2A=="  # pass1234 under installer01
DISPATCH = {
    "Sn": SERIAL_NUMBER,
    "ActivePower": 34_000,
    "ReactivePower": 32_000,
    "SOC": 0,
    "Status": 1,
    "ControlMode": 2,
}
DATA_CALLS = {
    "GetSystemList": {"pageindex": 1, "pagesize": 10},
    "GetEnergySummary": {"Sn": SERIAL_NUMBER, "TheDate": "2024-05-01"},
    "GetRunningData": {"Sn": SERIAL_NUMBER},
    "GetHistoryRunningData": {
        "Sn": SERIAL_NUMBER,
        "Starttime": "2024/05/01 00:00:00",
        "endtime": "2024/05/01 23:59:59",
    },
    "GetLastPowerData": {"Sn": SERIAL_NUMBER},
    "RemoteDispatch": DISPATCH,
}


# --- refusals, in the vendor's order ---

LOGIN_FAULTS = {
    3: {"timestamp": int(START.timestamp()) - 1000},
    8: {"api_account": "apiacct02"},
    4: {"sign": "0" * 32},
    9: {"username": "installer02"},
    11: {"password": "AAAAAAAAAAAAAAAAAAAAAA=="},
}


@pytest.mark.parametrize("code", LOGIN_FAULTS)
def test_a_login_is_refused_for_each_fault(emulate, code):
    world = emulate()

    status, answer = world.post(
        "/ras/v2/Login", world.signed({"username": "installer01", "password": ENCRYPTED, **LOGIN_FAULTS[code]})
    )

    assert (status, answer) == (200, {"ReturnCode": code})
    assert [event["code"] for event in world.events("login refused")] == [code]


@pytest.mark.parametrize("position", range(len(LOGIN_FAULTS)))
def test_a_login_with_several_faults_is_refused_for_the_first_in_the_vendors_order(emulate, position):
    world = emulate()
    order = list(LOGIN_FAULTS)
    faults = {name: value for code in order[position:] for name, value in LOGIN_FAULTS[code].items()}

    _, answer = world.post("/ras/v2/Login", world.signed({"username": "installer01", "password": ENCRYPTED, **faults}))

    assert answer["ReturnCode"] == order[position]


def test_a_login_gives_a_token_and_the_type_of_the_user(emulate):
    world = emulate()

    status, answer = world.post("/ras/v2/Login", world.signed({"username": "installer01", "password": ENCRYPTED}))

    assert status == 200
    assert answer.keys() == {"ReturnCode", "userType", "Token"}
    assert answer["ReturnCode"] == 0
    assert len(answer["Token"]) == 32


@pytest.mark.parametrize("password", ["pass1234", "", "AAAA", "not base64!", "e5gLt9ijeDmQHIRn3slwsw=="])
def test_a_password_that_is_not_encrypted_with_the_user_name_is_wrong(emulate, password):
    world = emulate()

    _, answer = world.post("/ras/v2/Login", world.signed({"username": "installer01", "password": password}))

    # 2 is "Required fields not filled".
    assert answer["ReturnCode"] == (11 if password else 2)


DATA_FAULTS = {
    14: {"Token": "nobody's"},
    16: {"address": "10.0.0.9"},
    4: {"sign": "0" * 32},
    3: {"timestamp": int(START.timestamp()) + 1000},
    8: {"api_account": "apiacct02"},
    12: {"Sn": "AL9"},
}
# The system list is asked for without a serial number.
FAULTS_OF_CALLS = [(name, code) for name in DATA_CALLS for code in DATA_FAULTS if (name, code) != ("GetSystemList", 12)]


@pytest.mark.parametrize(("name", "code"), FAULTS_OF_CALLS)
def test_a_data_call_is_refused_for_each_fault(world, name, code):
    status, answer = world.call(name, **{**DATA_CALLS[name], **DATA_FAULTS[code]})

    assert (status, answer) == (200, {"ReturnCode": code, "Result": None})
    assert [(event["call"], event["code"]) for event in world.events("call refused")] == [(name, code)]


@pytest.mark.parametrize("position", range(len(DATA_FAULTS)))
def test_a_call_with_several_faults_is_refused_for_the_first_in_the_vendors_order(world, position):
    order = list(DATA_FAULTS)
    faults = {name: value for code in order[position:] for name, value in DATA_FAULTS[code].items()}

    assert world.code("RemoteDispatch", **{**DISPATCH, **faults}) == order[position]


@pytest.mark.parametrize("code", DATA_FAULTS)
def test_a_refused_dispatch_leaves_the_battery_alone(world, code):
    world.call("RemoteDispatch", **{**DISPATCH, **DATA_FAULTS[code]})
    world.step(30)

    assert world.system.site.released
    assert world.plant.sample.battery_kw == 1.0
    assert world.events("started") == []


def test_another_secret_is_an_authentication_failure(world):
    body = world.signed({"Token": world.token, **DISPATCH}, secret="f" * 32)

    assert world.post("/ras/v2/RemoteDispatch", body)[1]["ReturnCode"] == 4


@pytest.mark.parametrize("change", [{"ActivePower": 30_000}, {"Sn": "AL9"}, {"Remark": "more"}])
def test_a_request_that_was_changed_on_its_way_is_an_authentication_failure(world, change):
    body = {**world.signed({"Token": world.token, **DISPATCH}), **change}

    assert world.post("/ras/v2/RemoteDispatch", body)[1]["ReturnCode"] == 4


@pytest.mark.parametrize(("offset_s", "code"), [(-301, 3), (-300, 0), (0, 0), (300, 0), (301, 3)])
def test_the_timestamp_may_be_300_seconds_off(world, offset_s, code):
    timestamp = int(START.timestamp()) + offset_s

    assert world.code("GetRunningData", Sn=SERIAL_NUMBER, timestamp=timestamp) == code


@pytest.mark.parametrize(("unused_s", "code"), [(5400, 0), (5401, 14)])
def test_a_token_lives_90_minutes_without_use(world, unused_s, code):
    world.step(unused_s)

    assert world.code("GetRunningData", Sn=SERIAL_NUMBER) == code


def test_each_use_gives_a_token_another_90_minutes(world):
    codes = []
    for _ in range(3):
        world.step(5000)
        codes.append(world.code("GetRunningData", Sn=SERIAL_NUMBER))

    assert codes == [0, 0, 0]


def test_a_new_login_ends_the_session_before_it(world):
    first = world.token

    second = world.login()

    assert world.code("GetRunningData", Token=first, Sn=SERIAL_NUMBER) == 14
    assert world.code("GetRunningData", Token=second, Sn=SERIAL_NUMBER) == 0


# --- requests that are no requests ---


# What the document marks "Yes" under "Requires", beside what every call has.
REQUIRED = {
    "Login": ("username", "password"),
    "GetSystemList": ("Token", "pageindex"),
    "GetEnergySummary": ("Token", "TheDate"),
    "GetRunningData": ("Token",),
    "GetHistoryRunningData": ("Token", "Starttime", "endtime"),
    "GetLastPowerData": ("Token",),
    "RemoteDispatch": ("Token", "ActivePower", "ReactivePower", "SOC", "Status", "ControlMode"),
}
REQUIRED_FIELDS = [
    (call, name) for call, names in REQUIRED.items() for name in ("api_account", "timestamp", "sign", *names)
]


def complete(world, call):
    if call == "Login":
        return world.signed({"username": "installer01", "password": ENCRYPTED})
    return world.signed({"Token": world.token, **DATA_CALLS[call]})


@pytest.mark.parametrize(("call", "name"), REQUIRED_FIELDS)
def test_a_missing_field_is_a_bad_request(world, call, name):
    body = complete(world, call)
    del body[name]

    assert world.post(f"/ras/v2/{call}", body)[0] == 400


@pytest.mark.parametrize("wrong", [None, True, [], {}], ids=repr)
@pytest.mark.parametrize(("call", "name"), REQUIRED_FIELDS)
def test_a_field_of_a_wrong_type_is_a_bad_request(world, call, name, wrong):
    assert world.post(f"/ras/v2/{call}", {**complete(world, call), name: wrong})[0] == 400


@pytest.mark.parametrize(("call", "name"), REQUIRED_FIELDS)
def test_text_for_a_number_and_a_number_for_text_are_bad_requests(world, call, name):
    body = complete(world, call)
    wrong = str(body[name]) if isinstance(body[name], int) else 5

    assert world.post(f"/ras/v2/{call}", {**body, name: wrong})[0] == 400


@pytest.mark.parametrize(
    ("call", "name", "wrong"),
    [
        ("RemoteDispatch", "Sn", []),
        ("RemoteDispatch", "Sn", {}),
        ("GetRunningData", "Sn", ["AL0000000000001"]),
        ("GetSystemList", "pagesize", "many"),
        ("GetSystemList", "pagesize", []),
    ],
)
def test_an_optional_field_of_a_wrong_type_is_a_bad_request(world, call, name, wrong):
    body = world.signed({"Token": world.token, **DATA_CALLS[call], name: wrong})

    assert world.post(f"/ras/v2/{call}", body)[0] == 400


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff"])
@pytest.mark.parametrize("call", ["Login", "RemoteDispatch"])
def test_a_body_that_is_no_json_object_is_a_bad_request(world, call, body):
    assert world.post(f"/ras/v2/{call}", body)[0] == 400


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        pytest.param("sign", "\u00e9" * 32, 4, id="a signature with accents"),
        pytest.param("timestamp", 10**400, 3, id="a time beyond the end of time"),
        pytest.param("Sn", "\u20ac", 12, id="a serial number with a currency"),
    ],
)
def test_strange_values_are_refused_like_any_wrong_ones(world, name, value, code):
    assert world.code("GetRunningData", **{"Sn": SERIAL_NUMBER, name: value}) == code


def test_only_post_is_answered(world):
    assert world.post("/ras/v2/GetRunningData", {}, method="GET")[0] == 405
    assert world.post("/ras/v2/Nothing", {})[0] == 404

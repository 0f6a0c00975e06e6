"""Requests and answers as the Web Monitoring API Specification V2.1 prints them, by the lines of its text.

The document has two examples with numbers (lines 412 and 414) and two listings (449 to 476, 484 to 498); the rest
is in tables. Each pair here holds all parameters of a request table and all fields of its answer, spelled as printed.
"""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from adapters.alphaess import mapping
from adapters.alphaess.client import Settings
from adapters.alphaess.mapping import ControlMode, ReturnCode, Status
from adapters.alphaess.signing import sign
from adapters.contract import Channel, Found, IntentRefusedError, Registers
from engine.intent import Intent, IntentMode

SERIAL_NUMBER = "AL0000000000001"
TOKEN = "11111111-2222-3333-4444-555555555555"
SECRET = "0123456789abcdef0123456789abcdef"
SIGNED_AT = dt.datetime.fromtimestamp(1_700_000_000, dt.UTC)
DAY = dt.date(2023, 11, 14)
MORNING, NIGHT = dt.datetime(2023, 11, 14, tzinfo=dt.UTC), dt.datetime(2023, 11, 14, 23, 59, 59, tzinfo=dt.UTC)

ACCOUNT = {"api_account": "apiacct01", "timestamp": 1_700_000_000}
OF_ONE_SYSTEM = {**ACCOUNT, "Token": TOKEN, "Sn": SERIAL_NUMBER}

POWER_ROW = {
    "Sn": SERIAL_NUMBER,
    "UploadTime": "2023-11-14 22:13:10",
    "Ppv1": 1100.0,
    "Ppv2": 900.0,
    "PrealL1": 500.0,
    "PrealL2": 400.0,
    "PrealL3": 300.0,
    "PmeterL1": -700.0,
    "PmeterL2": 100.0,
    "PmeterL3": 50.0,
    "PmeterDC": 250.0,
    "Pbat": -800.0,
}
# Lines 154 to 240, and 268 to 354 again.
RUNNING_ROW = {
    **POWER_ROW,
    **dict.fromkeys(("Upv1", "Upv2", "Ua", "Ub", "Uc", "Fac", "Ubus", "Tinv", "BatV", "InvBatV"), 230.0),
    **dict.fromkeys(("PacL1", "PacL2", "PacL3", "BatC", *(f"BatC{n}" for n in range(1, 7))), 12.0),
    **{"InvWorkMode": 2, "EpvTotal": 5000.0, "Einput": 1200.5, "Eoutput": 3400.25, "Echarge": 900.0},
    **{"SOC": 38.0, "FlagBms": "0", "BmsWork": 1, "Pcharge": 4600, "Pdischarge": 4800, "BmsRelay": "111"},
    **dict.fromkeys(("VcellLow", "VcellHigh", "TcellLow", "TcellHigh"), "1-1-3.2"),
    **{f"Id{name}": "" for name in ("TempLover", "TempEover", "Tempediffe", "Chargcurre", "Dischcurre")},
    **{f"Id{name}": "" for name in ("Cellvolover", "Cellvollower", "Soclower", "Cellvoldiffe")},
    **dict.fromkeys(("ErrInv", "WarInv", "ErrEms", "ErrBms", "ErrMeter", "ErrBackupBox", "EmsStatus"), ""),
    **{"BmsNum": "2", "EGridCharge": "77.5", "EDischarge": 810.0, **{f"SOC{n}": 99.0 for n in range(1, 7)}},
    **dict.fromkeys(("VcellLowValue", "VcellHighValue", "TcellLowValue", "TcellHighValue"), 3.3),
    **{"BmsShutdown": 0, "BmuRelay": 1, "BmsHardVer1": 1, "BmsHardVer2": 1, "BmsHardVer3": 1},
    **{"DispatchSwitch": 1.0, "Pdispatch": 34500.0, "DispatchSoc": 95.0, "DispatchMode": 2.0},
}
SYSTEM_ROW = {
    **{"Sn": SERIAL_NUMBER, "SystemModel": "SMILE5", "Cobat": 10.1, "UsableCapacity": 90.0, "Mbat": "M4860"},
    **{"Poinv": 5.0, "Popv": 6.2, "Remark": "the barn", "Solution": "3", "EmsVersion": "1", "BmsVersion": "1"},
    **{"InvVersion": "1", "InvModel": "I", "MeterModel": "M", "MeterPhase": 1, "SetFeed": 100, "NetWorkStatus": 1},
    **{"State": "Normal", "EndUser": {"Name": "nobody"}},
}
SUMMARY_ROW = {
    "Sn": SERIAL_NUMBER,
    **dict.fromkeys(("EGrid2Load", "EGridCharge", "Ebat", "Echarge", "Eeff", "Einput", "Eload", "Eout"), 1.5),
    **dict.fromkeys(("Epv2load", "EpvT", "EselfConsumption", "EselfSufficiency"), 2.5),
}

# Name: (address, request, its call, answer, what is made of it). Signatures were made with other tools.
PAIRS = {
    "GetSystemList": (  # lines 47 to 93
        "https://api.alphaess.com/ras/v2/GetSystemList",
        {**ACCOUNT, "Token": TOKEN, "pageindex": 1, "pagesize": 50, "sign": "4d823ccbc84118ce154e5dffbedd07b4"},
        lambda client: client.get_system_list(),
        {"TotalPageCount": 1, "PageIndex": 1, "TotalCount": 1, "PageSize": 50, "Systems": [SYSTEM_ROW]},
        [SYSTEM_ROW],
    ),
    "GetEnergySummary": (  # lines 97 to 130
        "https://api.alphaess.com/ras/v2/GetEnergySummary",
        {**OF_ONE_SYSTEM, "TheDate": "2023-11-14", "sign": "6498ec1c22a103ebc540f2a0b5a79c2d"},
        lambda client: client.get_energy_summary(SERIAL_NUMBER, DAY),
        [SUMMARY_ROW],
        [SUMMARY_ROW],
    ),
    "GetRunningData": (  # lines 134 to 240
        "https://api.alphaess.com/ras/v2/GetRunningData",
        {**OF_ONE_SYSTEM, "sign": "b324f5e497ded97b062ea43250bb16b3"},
        lambda client: client.get_running_data(SERIAL_NUMBER),
        [RUNNING_ROW],
        [RUNNING_ROW],
    ),
    "GetHistoryRunningData": (  # lines 244 to 354
        "https://api.alphaess.com/ras/v2/GetHistoryRunningData",
        {
            **OF_ONE_SYSTEM,
            "Starttime": "2023/11/14 00:00:00",
            "endtime": "2023/11/14 23:59:59",
            "sign": "ca7c4e8a40084c5822e1729ece0412eb",
        },
        lambda client: client.get_history_running_data(SERIAL_NUMBER, MORNING, NIGHT),
        [RUNNING_ROW],
        [RUNNING_ROW],
    ),
    "GetLastPowerData": (  # lines 358 to 392
        "https://api.alphaess.com/ras/v2/GetLastPowerData",
        {**OF_ONE_SYSTEM, "sign": "b324f5e497ded97b062ea43250bb16b3"},
        lambda client: client.get_last_power_data(SERIAL_NUMBER),
        [{**POWER_ROW, "Sva": 1300.0}],
        [{**POWER_ROW, "Sva": 1300.0}],
    ),
    "RemoteDispatch": (  # lines 396 to 421; the numbers are those of lines 412 and 414
        "https://api.alphaess.com/ras/v2/RemoteDispatch",
        {
            **OF_ONE_SYSTEM,
            "ActivePower": 34_500,
            "ReactivePower": 32_000,
            "SOC": 95,
            "Status": 1,
            "ControlMode": 2,
            "sign": "8479119a63579f2b91c452840690daca",
        },
        lambda client: client.remote_dispatch(mapping.dispatch_fields(SERIAL_NUMBER, 2.5, 0.38)),
        None,
        None,
    ),
}


def exchange(vendor, connect, manual_clock, name):
    """The body that a call sent, and what was made of the answer."""
    address, _, call, result, _ = PAIRS[name]
    manual_clock.time = SIGNED_AT
    vendor.token = TOKEN
    vendor.on(name, {"ReturnCode": 0, "Result": result} if result is not None else {"ReturnCode": 0})

    async def session():
        async with connect(vendor.url, manual_clock) as client:
            return await call(client)

    answer = asyncio.run(session())
    (sent,) = [request for request in vendor.calls if request.name == name]
    assert f"https://api.alphaess.com{sent.path}" == address
    assert sent.method == "POST"
    return sent.body, answer


@pytest.mark.parametrize("name", PAIRS)
def test_a_request_and_its_answer_are_the_documents(vendor, connect, manual_clock, name):
    body, answer = exchange(vendor, connect, manual_clock, name)

    assert body == PAIRS[name][1]
    assert answer == PAIRS[name][4]


def test_a_login_and_its_answer_are_the_documents(vendor, connect, manual_clock):
    """Lines 23 to 43, with the signature of 484 to 498 and the encryption of 449 to 476."""
    vendor.on("Login", {"userType": "customer", "ReturnCode": 0, "Token": TOKEN})

    body, _ = exchange(vendor, connect, manual_clock, "GetRunningData")

    assert body["Token"] == TOKEN
    (login,) = vendor.bodies("Login")
    assert login == {
        **ACCOUNT,
        "username": "installer01",
        "password": "S+QtkJNDR5d82NFl7czJ2A==",
        "sign": "17a3ded38dd07ba863f597fcfb3637d9",
    }


def test_every_address_is_the_documents():
    """Lines 23, 47, 97, 134, 244, 358 and 396."""
    base_url = Settings.model_fields["base_url"].default

    assert {f"{base_url}{path}" for path in mapping.PATHS.values()} == {
        "https://api.alphaess.com/ras/v2/Login",
        *(address for address, *_ in PAIRS.values()),
    }


def test_the_signature_of_the_documents_own_listing():
    """Lines 484 to 498; without the blank that line 485 has behind `api_account`."""
    listed = {**ACCOUNT, "username": "installer01", "email": "owner@example.com"}

    # md5sum of "api_account=...email=...secretkey=...timestamp=...username=...".
    assert sign(listed, SECRET) == "19601507c46a43baefa4c8e512a878ec"


def test_a_running_row_of_the_document_is_read_whole():
    """Lines 154 to 240. Line 188 and 189 print the same words: `Pcharge` is what the battery may be charged with."""
    reading = mapping.telemetry(RUNNING_ROW, Channel.STATE, dt.UTC)

    assert reading.measured_at == dt.datetime(2023, 11, 14, 22, 13, 10, tzinfo=dt.UTC)
    assert (reading.battery_kw, reading.grid_kw, reading.pv_kw) == (-0.8, -0.55, 2.25)
    assert reading.load_kw == pytest.approx(0.9)
    assert (reading.soc, reading.charge_limit_kw, reading.discharge_limit_kw) == (0.38, 4.6, 4.8)
    assert reading.registers == Registers(1200.5, 3400.25, 900.0, 810.0)
    assert reading.dispatch_active is True


def test_a_power_row_of_the_document_has_no_state_of_charge():
    """Lines 380 to 392."""
    reading = mapping.telemetry(POWER_ROW, Channel.POWER, dt.UTC)

    assert (reading.battery_kw, reading.grid_kw, reading.pv_kw, reading.soc) == (-0.8, -0.55, 2.25, None)


def test_a_system_of_the_document_is_found():
    """Lines 75 to 93."""
    assert mapping.found(SYSTEM_ROW) == Found(SERIAL_NUMBER, "the barn", "SMILE5", capacity_kwh=10.1, rated_kw=5.0)


@pytest.mark.parametrize(
    ("code", "description"),
    [
        (0, "Data successfully downloaded"),
        (1, "Error"),
        (2, "Required fields not filled"),
        (3, "Invalid timestamp"),
        (4, "Authentication unsuccessful"),
        (5, "User name already exists"),
        (6, "License already exists"),
        (7, "SN already exists"),
        (8, "Invalid API account"),
        (9, "Invalid User"),
        (10, "E-mail address and username do not match our records."),
        (11, "Your username or password is incorrect."),
        (12, "Invalid SN"),
        (13, "The command Dispatch failed."),
        (14, "Login timeout"),
        (15, "You don't have appropriate permission to perform this operation."),
        (16, "Abnormal login"),
        (-1, "Unknown mistake"),
    ],
)
def test_every_return_code_of_the_document_has_a_name(code, description):
    """Lines 427 to 444."""
    assert ReturnCode(code) == code, description
    assert "not in the document" not in mapping.describe_code(code)


def test_words_of_a_dispatch():
    """Lines 415 and 416."""
    assert {status.name: int(status) for status in Status} == {"STOP": 0, "START": 1}
    assert [int(mode) for mode in ControlMode] == [1, 2, 3]


@pytest.mark.parametrize("soc", [-0.01, 1.01, 38, 95])
def test_a_soc_outside_0_to_100_percent_reaches_no_socket(vendor, adapt, manual_clock, device, soc):
    """Line 414: 0.4 % a bit; an intent in percent, or in the vendor's own bits, is no intent."""

    async def session():
        async with adapt(vendor.url, manual_clock) as adapter:
            intent = Intent(IntentMode.CHARGE, 1.0, SIGNED_AT, SIGNED_AT + dt.timedelta(minutes=15), soc)
            await adapter.send(adapter.translate(intent, device(), None))

    with pytest.raises(ValueError, match="outside 0"):
        asyncio.run(session())
    with pytest.raises(IntentRefusedError, match="outside 0"):
        mapping.dispatch_fields(SERIAL_NUMBER, 1.0, soc)
    assert vendor.calls == []


def test_a_power_over_the_rating_reaches_no_socket(vendor, adapt, manual_clock, device):
    """2500 W for 2.5 kW, the mistake that line 412 invites."""

    async def session():
        async with adapt(vendor.url, manual_clock) as adapter:
            intent = Intent(IntentMode.DISCHARGE, 2500.0, SIGNED_AT, SIGNED_AT + dt.timedelta(minutes=15))
            await adapter.send(adapter.translate(intent, device(), None))

    with pytest.raises(IntentRefusedError, match="rating"):
        asyncio.run(session())
    assert vendor.calls == []

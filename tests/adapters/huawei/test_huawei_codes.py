"""Every failCode of the document has its type, for reads and for writes."""

from __future__ import annotations

import pytest

from adapters.contract import QuotaExceededError, Rejected, Unknown, VendorUnavailableError
from adapters.huawei.codes import FailCode
from adapters.huawei.errors import (
    PermissionMissingError,
    TaskInTheWayError,
    TaskLostError,
    VendorBusyError,
    VendorCodeError,
)
from adapters.huawei.mapping import Call
from adapters.huawei.tasks import Taken


def kind_of(code):
    """What each code of the document is, written without looking at the product."""
    if code in (20004, 20049, 20200, 20614, 30008):
        return VendorBusyError
    if code in (401, 20045, 20046, 20056, 20621, 20622, 20623):
        return PermissionMissingError
    if code in (20034, 20044, 20050, 20616, 20620, 30015):
        return TaskLostError
    if code in (20615, 30033, 30035):
        return TaskInTheWayError
    if code in (403, 407, 429, 20618):
        return QuotaExceededError
    return VendorCodeError


@pytest.mark.parametrize("code", [code for code in FailCode if code not in (0, 305)])
def test_every_code_is_typed_for_reads_and_writes(vendor, talk, code):
    """Section 6.1."""
    answer = {"success": False, "data": None, "failCode": int(code), "message": None}
    vendor.on("stations", answer)
    vendor.on("async-task", answer)

    async def session(adapter):
        with pytest.raises(kind_of(code)) as error:
            await adapter.client.plants()
        return error.value, await adapter.send(adapter.release(type("D", (), {"device_id": "NE=1"})()))

    error, receipt = talk(session)

    assert code in (403, 407, 429, 20618) or (
        str(int(code)) in str(error) and code.name.lower().split("_")[0] in str(error)
    )
    assert isinstance(error, VendorUnavailableError) is (code in (20004, 20049, 20200, 20614, 30008))
    open_question = code in (1, 20004, 20049, 20614, 30008)
    assert isinstance(receipt, Unknown if open_question else Rejected)
    if isinstance(receipt, Rejected):
        assert receipt.retryable is (code in (403, 407, 429, 20200, 20615, 20618, 30033, 30035))
    assert sum(call.name == "async-task" for call in vendor.calls) == 1


def test_there_are_as_many_codes_as_the_document_has():
    """Section 6.1 numbers 170; 403 and 429 are of section 4, and 0 is success."""
    assert len(FailCode) == 170 + 3


def test_an_unknown_code_of_a_write_is_an_open_question(vendor, talk):
    vendor.on("async-task", {"success": False, "failCode": 99999})

    async def session(adapter):
        return await adapter.send(adapter.release(type("D", (), {"device_id": "NE=1"})()))

    assert "99999 (not in the document)" in talk(session).reason


def test_407_has_text_where_data_should_be(vendor, talk):
    vendor.on("getDevRealKpi", {"success": False, "failCode": 407, "data": "ACCESS_FREQUENCY_IS_TOO_HIGH"})

    async def session(adapter):
        with pytest.raises(QuotaExceededError, match="basic"):
            await adapter.client.devices_now(39, ["1"])

    talk(session)
    assert vendor.count("getDevRealKpi") == 1


def test_every_call_has_a_path_of_its_own():
    assert len({call.value for call in Call}) == len(Call) == 23
    assert all(" " not in call.value for call in Call)
    assert Taken.YES is not Taken.NO

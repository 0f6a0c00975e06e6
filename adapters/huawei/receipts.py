"""What the vendor's answers and errors say about a write."""

from __future__ import annotations

from adapters.contract import (
    Accepted,
    AdapterError,
    ConfigurationError,
    QuotaExceededError,
    Receipt,
    Rejected,
    Unknown,
)
from adapters.huawei.codes import NOTHING_DONE_YET, PASSING, FailCode
from adapters.huawei.errors import VendorCodeError
from adapters.huawei.mapping import SAME_AS_CURRENT
from adapters.huawei.tasks import Delivery, PlantResult, Taken
from adapters.transport import NotSentError, RefusedRequestError


def receipt_of(delivery: Delivery, result: PlantResult) -> Receipt:
    """One plant's receipt for a delivered task; its reference is the task's ID."""
    if result.taken is Taken.YES:
        if delivery.task_id is None or SAME_AS_CURRENT in result.description:
            return Accepted(result.description)
        return Accepted(str(delivery.task_id))
    if result.taken is Taken.NO:
        return Rejected(result.description or "the vendor gave no reason")
    return Unknown(f"{result.taken.value}; {result.description}".rstrip("; "))


def receipt_of_error(error: AdapterError) -> Receipt:
    """What an error says about a write."""
    if isinstance(error, NotSentError | QuotaExceededError):
        return Rejected(str(error), retryable=True)
    if isinstance(error, ConfigurationError | RefusedRequestError):
        return Rejected(str(error))
    if isinstance(error, VendorCodeError):
        if error.code in NOTHING_DONE_YET:
            return Rejected(str(error), retryable=True)
        if error.code in set(FailCode) - PASSING:
            return Rejected(str(error))
    return Unknown(str(error))

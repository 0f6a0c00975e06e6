"""What SmartPVMS refuses, as errors that say what a caller can do."""

from __future__ import annotations

from adapters.contract import AdapterError, ConfigurationError, VendorUnavailableError
from adapters.huawei.codes import LOGIN_FAULTS, NO_RIGHT, PASSING, TASK_IN_THE_WAY, TASK_LOST, describe


class VendorCodeError(AdapterError):
    """The vendor answered with a failCode; the same call would be answered so again.

    Attributes:
        path: Which call.
        code: Its failCode.
    """

    def __init__(self, path: str, code: int) -> None:
        super().__init__(path, code)
        self.path, self.code = path, code

    def __str__(self) -> str:
        return f"{self.path}: {describe(self.code)}"


class NotLoggedInError(VendorCodeError):
    """The token is not taken, even a new one."""

    retryable = True


class PermissionMissingError(VendorCodeError, ConfigurationError):
    """The owner has not granted this call or this plant, or the installer has not ticked it."""


class LoginFaultError(VendorCodeError, ConfigurationError):
    """The credentials are refused; trying them again would lock the account."""


class TaskLostError(VendorCodeError):
    """The vendor does not know the task."""


class TaskInTheWayError(VendorCodeError):
    """An earlier task of the plant is not over."""

    retryable = True


class VendorBusyError(VendorCodeError, VendorUnavailableError):
    """The vendor is busy or ill; later it may not be."""

    retryable = True


class ParameterFaultError(ConfigurationError):
    """The vendor's framework takes the request for malformed (section 6.4)."""


def error_of(path: str, code: int) -> VendorCodeError:
    """The error that a failCode stands for; never for 0, 305 and the flow control's codes."""
    kinds: list[tuple[frozenset[int], type[VendorCodeError]]] = [
        (frozenset(NO_RIGHT), PermissionMissingError),
        (frozenset(LOGIN_FAULTS), LoginFaultError),
        (frozenset(TASK_LOST), TaskLostError),
        (frozenset(TASK_IN_THE_WAY), TaskInTheWayError),
        (frozenset(PASSING), VendorBusyError),
    ]
    for codes, kind in kinds:
        if code in codes:
            return kind(path, code)
    return VendorCodeError(path, code)

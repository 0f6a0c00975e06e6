"""Control tasks: what may be asked, and what the vendor says of it.

Source: SmartPVMS 24.5.0 NBI Reference, sections 5.2.1 to 5.2.8 and 7.5. Delivering a task only queues it; what came
of it is asked later by its ID.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from adapters.contract import IntentRefusedError, Progress, Tracked, VendorUnavailableError
from adapters.huawei.codes import FailCode
from adapters.huawei.mapping import (
    LONGEST_TASK_MIN,
    SAME_AS_CURRENT,
    ControlType,
    DispatchSwitch,
    FeedInControl,
    LimitationMode,
    SurplusPriority,
    TaskStatus,
    WorkingMode,
)
from adapters.huawei.wire import Envelope, fields, rows, text, time_of_text, whole
from adapters.values import number

_CLOCK_TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
MOST_WINDOWS = 14
LONGEST_DESCRIPTION = 200


def _refuse_unless(true: bool, field: str, problem: str) -> None:
    if not true:
        raise IntentRefusedError(f"{field}: {problem}")


@dataclass(frozen=True)
class ChargeTask:
    """A forced charge or discharge, or its end (section 5.2.1).

    Raises:
        IntentRefusedError: A field is out of its range, or the vendor would fill in what is left out.
    """

    plant_code: str
    switch: DispatchSwitch
    power_w: int = 0
    """`powerDispatch` [W], + charges; 0 for a stop only."""
    minutes: int | None = None
    """For control by duration: 1..1440."""
    target_percent: float | None = None
    """For control by state of charge [%]."""

    def __post_init__(self) -> None:
        _refuse_unless(bool(self.plant_code.strip()), "plant_code", "empty; name one plant")
        if self.switch is DispatchSwitch.STOP:
            return
        charging = self.switch is DispatchSwitch.CHARGE
        fits = self.power_w > 0 if charging else self.power_w < 0
        _refuse_unless(
            fits, "power_w", f"{self.power_w} does not {self.switch.name.lower()}; 0 or nothing means full power"
        )
        one = (self.minutes is None) != (self.target_percent is None)
        _refuse_unless(one, "minutes", "a task ends by duration or by state of charge; give one of the two")
        if self.minutes is not None:
            inside = 1 <= self.minutes <= LONGEST_TASK_MIN
            _refuse_unless(inside, "minutes", f"{self.minutes} is outside 1..{LONGEST_TASK_MIN}")
        if self.target_percent is not None:
            _refuse_unless(
                0 <= self.target_percent <= 100, "target_percent", f"{self.target_percent} is outside 0..100"
            )

    @classmethod
    def of_wire(cls, payload: Mapping[str, Any]) -> ChargeTask:
        """The inverse of `wire`, for what a journal kept.

        Raises:
            IntentRefusedError: It is no charge task, or has something else in it.
        """
        known = {"plantCode", "dispatchSwitch", "controlType", "dispatchTime", "targetSOC", "powerDispatch"}
        switch = whole(payload.get("dispatchSwitch"))
        _refuse_unless(set(payload) <= known and switch in set(DispatchSwitch), "payload", "no charge task")
        assert switch is not None
        return cls(
            text(payload.get("plantCode")),
            DispatchSwitch(switch),
            whole(payload.get("powerDispatch")) or 0,
            whole(payload.get("dispatchTime")),
            number(payload.get("targetSOC")),
        )

    def wire(self) -> dict[str, Any]:
        """One element of `tasks`."""
        start = {"plantCode": self.plant_code, "dispatchSwitch": int(self.switch)}
        if self.switch is DispatchSwitch.STOP:
            return start
        if self.minutes is not None:
            end: dict[str, Any] = {"controlType": int(ControlType.DURATION), "dispatchTime": self.minutes}
        else:
            end = {"controlType": int(ControlType.STATE_OF_CHARGE), "targetSOC": self.target_percent}
        return {**start, **end, "powerDispatch": self.power_w}


@dataclass(frozen=True)
class Window:
    """A stretch of the week in which a battery in TOU mode charges or discharges (section 5.2.3)."""

    start: str
    """"HH:MM", local time of the plant."""
    end: str
    charges: bool
    weekdays: tuple[int, ...]
    """1 is Monday, 7 is Sunday."""

    def __post_init__(self) -> None:
        for name, value in (("start", self.start), ("end", self.end)):
            _refuse_unless(_CLOCK_TIME.fullmatch(value) is not None, name, f"{value!r} is no HH:MM from 00:00 to 23:59")
        _refuse_unless(self.start < self.end, "end", f"{self.end} is not after {self.start}")
        days = self.weekdays
        right = 1 <= len(set(days)) == len(days) <= 7 and all(1 <= day <= 7 for day in days)
        _refuse_unless(right, "weekdays", f"{days} are not different days of 1..7")


@dataclass(frozen=True)
class WorkingModeTask:
    """Sets what a battery does without forced tasks (section 5.2.3).

    Raises:
        IntentRefusedError: A field is out of its range, or windows overlap.
    """

    plant_code: str
    mode: WorkingMode
    priority: SurplusPriority | None = None
    grid_charge_kw: float | None = None
    """Most power from the grid into the battery [kW]."""
    windows: tuple[Window, ...] = ()

    def __post_init__(self) -> None:
        _refuse_unless(bool(self.plant_code.strip()), "plant_code", "empty; name one plant")
        if self.mode is WorkingMode.SELF_CONSUMPTION:
            bare = self.priority is None and self.grid_charge_kw is None and not self.windows
            _refuse_unless(bare, "mode", "priority, grid_charge_kw and windows belong to TOU only")
            return
        most = f"TOU needs 1 to {MOST_WINDOWS}"
        _refuse_unless(1 <= len(self.windows) <= MOST_WINDOWS, "windows", f"{len(self.windows)}, {most}")
        if self.grid_charge_kw is not None:
            inside = 0 <= self.grid_charge_kw <= 50_000
            _refuse_unless(inside, "grid_charge_kw", f"{self.grid_charge_kw} is outside 0..50000 kW")
        for place, one in enumerate(self.windows):
            for other in self.windows[place + 1 :]:
                crosses = one.start < other.end and other.start < one.end and set(one.weekdays) & set(other.weekdays)
                _refuse_unless(not crosses, "windows", f"{one.start}-{one.end} overlaps {other.start}-{other.end}")

    def wire(self) -> dict[str, Any]:
        """One element of `tasks`."""
        task: dict[str, Any] = {"plantCode": self.plant_code, "operationMode": self.mode.value}
        if self.mode is WorkingMode.SELF_CONSUMPTION:
            return task
        if self.priority is not None:
            task["redundantPVEnergyPriority"] = self.priority.value
        if self.grid_charge_kw is not None:
            task["allowedAcChargePower"] = self.grid_charge_kw
        task["chargingAndDischargingTimeWindow"] = [
            {
                "startTime": window.start,
                "endTime": window.end,
                "chargeOrDischarge": "charge" if window.charges else "discharge",
                "repeat": list(window.weekdays),
            }
            for window in self.windows
        ]
        return task


def neutral_idle(plant_code: str, grid_charge_kw: float) -> WorkingModeTask:
    """Practice 2 of section 7.5: a working mode that leaves the battery idle, so that only forced tasks move it.

    TOU with surplus to the grid, and one minute on Mondays as the window that the vendor insists on.
    """
    window = Window("00:05", "00:06", charges=True, weekdays=(1,))
    return WorkingModeTask(
        plant_code, WorkingMode.TIME_OF_USE, SurplusPriority.FEED_IN, grid_charge_kw, windows=(window,)
    )


def task_of_wire(payload: Mapping[str, Any]) -> ChargeTask | WorkingModeTask | ActivePowerTask:
    """The task that a command carries, as its words tell, or a journal's.

    Raises:
        IntentRefusedError: It is none that an intent leads to.
    """
    if "controlMode" in payload:
        return ActivePowerTask.of_wire(payload)
    if "operationMode" not in payload:
        return ChargeTask.of_wire(payload)
    plant = text(payload.get("plantCode"))
    rests = (
        WorkingModeTask(plant, WorkingMode.SELF_CONSUMPTION),
        neutral_idle(plant, number(payload.get("allowedAcChargePower")) or 0.0),
    )
    found = next((task for task in rests if task.wire() == payload), None)
    if found is None:
        raise IntentRefusedError("payload: a working mode that no intent leads to")
    return found


@dataclass(frozen=True)
class BatteryParametersTask:
    """Sets the band and the largest powers of a plant's batteries (section 5.2.5).

    Raises:
        IntentRefusedError: A field is out of its range, or none is given.
    """

    plant_code: str
    end_of_charge_soc: float | None = None
    """0.90..1 [fraction]."""
    end_of_discharge_soc: float | None = None
    """0..0.20 [fraction]."""
    max_charge_kw: float | None = None
    max_discharge_kw: float | None = None

    def __post_init__(self) -> None:
        _refuse_unless(bool(self.plant_code.strip()), "plant_code", "empty; name one plant")
        given = (self.end_of_charge_soc, self.end_of_discharge_soc, self.max_charge_kw, self.max_discharge_kw)
        _refuse_unless(any(value is not None for value in given), "parameters", "none given; give at least one")
        for name, value, low, high in (
            ("end_of_charge_soc", self.end_of_charge_soc, 0.9, 1.0),
            ("end_of_discharge_soc", self.end_of_discharge_soc, 0.0, 0.2),
            ("max_charge_kw", self.max_charge_kw, 0.0, 1e6),
            ("max_discharge_kw", self.max_discharge_kw, 0.0, 1e6),
        ):
            inside = value is None or (math.isfinite(value) and low <= value <= high)
            _refuse_unless(inside, name, f"{value} is outside {low:g}..{high:g}")

    def wire(self) -> dict[str, Any]:
        """One element of `tasks`; powers in W as the text says, though the document's examples look like kW."""
        info = {
            "endOfChargeSoc": None if self.end_of_charge_soc is None else round(self.end_of_charge_soc * 100, 1),
            "endOfDischargeSoc": None
            if self.end_of_discharge_soc is None
            else round(self.end_of_discharge_soc * 100, 1),
            "maximumChargePower": None if self.max_charge_kw is None else round(self.max_charge_kw * 1000),
            "maximumDischargePower": None if self.max_discharge_kw is None else round(self.max_discharge_kw * 1000),
        }
        given = {name: value for name, value in info.items() if value is not None}
        return {"plantCode": self.plant_code, "batteryConfigurationInfo": given}


@dataclass(frozen=True)
class ActivePowerTask:
    """Limits what a plant feeds into the grid, or lifts the limit (section 5.2.7).

    Raises:
        IntentRefusedError: The limit is out of its range.
    """

    plant_code: str
    feed_in_limit_kw: float | None = None
    """Most power into the grid [kW]; negative: at least so much must be drawn. None lifts the limit."""
    limitation: LimitationMode = LimitationMode.TOTAL
    most_kw: float = 5000.0
    """The controller's bound: 5000, or 50,000 for a distributed SmartLogger (device type 63)."""

    def __post_init__(self) -> None:
        _refuse_unless(bool(self.plant_code.strip()), "plant_code", "empty; name one plant")
        limit = self.feed_in_limit_kw
        inside = limit is None or -1000 <= limit <= self.most_kw
        _refuse_unless(inside, "feed_in_limit_kw", f"{limit} is outside -1000..{self.most_kw:g} kW")

    @classmethod
    def of_wire(cls, payload: Mapping[str, Any]) -> ActivePowerTask:
        """The inverse of `wire` for a limit of the plant's total power, for what a journal kept.

        Raises:
            IntentRefusedError: It is none, or has something else in it.
        """
        info = payload.get("controlInfo")
        limit_kw = number(info.get("maxGridFeedInPower")) if isinstance(info, Mapping) else None
        task = cls(text(payload.get("plantCode")), limit_kw)
        _refuse_unless(task.wire() == payload, "payload", "no limit of feed-in")
        return task

    def wire(self) -> dict[str, Any]:
        """One element of `tasks`."""
        if self.feed_in_limit_kw is None:
            return {"plantCode": self.plant_code, "controlMode": FeedInControl.UNLIMITED.value}
        info = {"maxGridFeedInPower": round(self.feed_in_limit_kw, 3), "limitationMode": self.limitation.value}
        return {"plantCode": self.plant_code, "controlMode": FeedInControl.LIMITED.value, "controlInfo": info}


SettingTask = WorkingModeTask | BatteryParametersTask | ActivePowerTask


class Taken(Enum):
    """What became of one plant's part of a delivery."""

    YES = "accepted"
    NO = "rejected"
    PARTLY = "accepted by some of the plant's devices"
    SILENT = "not mentioned in the answer"


@dataclass(frozen=True)
class PlantResult:
    """One plant's part of a delivery."""

    plant_code: str
    taken: Taken
    description: str = ""


@dataclass(frozen=True)
class Delivery:
    """What the vendor said to a task."""

    task_id: int | str | None
    """`requestID` of a charge task, a 64-bit integer; `taskId` of a setting task, text. None: nothing was queued."""
    results: tuple[PlantResult, ...]


@dataclass(frozen=True)
class ChargeStatus:
    """One device's part of a charge task (section 5.2.2)."""

    plant_code: str
    inverter_sn: str
    status: int | None
    message: str
    started_at: dt.datetime | None
    ended_at: dt.datetime | None
    charged_raw: float | None
    """`chargedCapacity`: kWh by the text, Wh by the size of the examples; for information only."""
    discharged_raw: float | None


def read_delivery(answer: Envelope, plants: Sequence[str], *, charge: bool, clean: Callable[[str], str]) -> Delivery:
    """What the vendor said to a delivered task.

    Args:
        answer: With failCode 0, 1 or 2.
        plants: Which plants it was for.
        charge: Whether it was a charge task; the others have other words.
        clean: Takes secrets out of the vendor's words.

    Raises:
        VendorUnavailableError: A charge task was taken and its ID cannot be read exactly.
    """
    data = fields(answer.data)
    found: dict[str, list[tuple[bool, str]]] = {plant: [] for plant in plants}
    # Example 2 of section 5.2.1 has the results beside the data.
    for row in rows(data.get("result")) or rows(answer.top.get("result")):
        plant = text(row.get("plantcode"))
        if charge:
            ok, words = whole(row.get("dispatchresult")) == 0, text(row.get("description"))
        else:
            words = text(row.get("message"))
            ok = text(row.get("status")).upper() in ("RUNNING", "SUCCESS") or SAME_AS_CURRENT in words
        if plant in found:
            found[plant].append((ok, clean(words)[:LONGEST_DESCRIPTION]))
    results = tuple(_plant_result(plant, found[plant], answer, clean) for plant in plants)
    raw_id = data.get("requestid", answer.top.get("requestid")) if charge else data.get("taskid")
    task_id: int | str | None = whole(raw_id) if charge else (text(raw_id) or None)
    if charge and task_id is None and any(result.taken is not Taken.NO for result in results):
        raise VendorUnavailableError("requestID: missing or no 64-bit integer, though the task was taken")
    return Delivery(task_id, results)


def _plant_result(
    plant: str, parts: list[tuple[bool, str]], answer: Envelope, clean: Callable[[str], str]
) -> PlantResult:
    words = "; ".join(word for _, word in parts if word)
    if not parts:
        if answer.fail_code == FailCode.OK:
            return PlantResult(plant, Taken.YES)
        general = clean(answer.message)[:LONGEST_DESCRIPTION]
        return PlantResult(plant, Taken.NO if answer.fail_code == FailCode.FAILED else Taken.SILENT, general)
    if all(ok for ok, _ in parts):
        return PlantResult(plant, Taken.YES, words)
    return PlantResult(plant, Taken.PARTLY if any(ok for ok, _ in parts) else Taken.NO, words)


def read_charge_status(answer: Envelope, clean: Callable[[str], str]) -> list[ChargeStatus]:
    """How far a charge task is, one row per inverter; `data` is an object or a list (section 5.2.2)."""
    return [
        ChargeStatus(
            plant_code=text(row.get("plantcode")),
            inverter_sn=text(row.get("sn")),
            status=whole(row.get("status")),
            message=clean(text(row.get("message")))[:LONGEST_DESCRIPTION],
            started_at=time_of_text(row.get("starttime")),
            ended_at=time_of_text(row.get("endtime")),
            charged_raw=number(row.get("chargedcapacity")),
            discharged_raw=number(row.get("dischargedcapacity")),
        )
        for row in rows(answer.data)
        if "status" in row or "plantcode" in row
    ]


def charge_progress(statuses: Sequence[ChargeStatus], plant_code: str) -> Tracked:
    """How far one plant's part of a charge task is.

    An exception comes as status 0 too, so a part is done only where there is no message.
    """
    parts = [status for status in statuses if status.plant_code == plant_code]
    if not parts:
        return Tracked(Progress.UNKNOWN, "the vendor's answer does not mention the plant")
    words = "; ".join(status.message for status in parts if status.message)
    if any(part.status not in set(TaskStatus) for part in parts):
        return Tracked(Progress.UNKNOWN, words or "the vendor's status cannot be read")
    if any(part.status == TaskStatus.FAILED or (part.status == TaskStatus.COMPLETE and part.message) for part in parts):
        return Tracked(Progress.FAILED, words or "timed out or failed")
    if any(part.status == TaskStatus.IN_PROGRESS for part in parts):
        return Tracked(Progress.RUNNING, words)
    return Tracked(Progress.DONE)


def setting_progress(answer: Envelope, plant_code: str, clean: Callable[[str], str]) -> Tracked:
    """How far one plant's part of a setting task is (sections 5.2.4, 5.2.6, 5.2.8)."""
    parts = [row for row in rows(fields(answer.data).get("dispatchresult")) if text(row.get("plantcode")) == plant_code]
    if not parts:
        return Tracked(Progress.UNKNOWN, "the vendor's answer does not mention the plant")
    words = "; ".join(clean(text(row.get("message")))[:LONGEST_DESCRIPTION] for row in parts)
    states = [text(row.get("status")).upper() for row in parts]
    same = [SAME_AS_CURRENT in text(row.get("message")) for row in parts]
    if any(state == "FAIL" and not as_wished for state, as_wished in zip(states, same, strict=True)):
        return Tracked(Progress.FAILED, words)
    if "RUNNING" in states:
        return Tracked(Progress.RUNNING)
    if all(state in ("SUCCESS", "FAIL") for state in states):
        return Tracked(Progress.DONE, words)
    return Tracked(Progress.UNKNOWN, "the vendor's status cannot be read")

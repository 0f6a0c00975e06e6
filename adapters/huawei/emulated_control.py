"""The control calls of the emulated cloud (section 5.2): what it refuses per plant, and how tasks go on."""

from __future__ import annotations

import datetime as dt
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from adapters.emulation import EventLog, FaultBox
from adapters.huawei.emulated_plant import EmulatedPlant, ForcedTask, SettingTask

BASE = "/rest/openapi/pvms"
CHARGE, CHARGE_STATUS = (
    f"{BASE}/nbi/v2/control/charge-and-discharge/async-task",
    f"{BASE}/v1/vpp/chargeAndDischargeStatus",
)
SETTINGS = {
    f"{BASE}/nbi/v1/control/battery/mode": ("mode", "battery mode"),
    f"{BASE}/nbi/v1/control/battery/configuration": ("configuration", "battery configuration"),
    f"{BASE}/nbi/v2/control/active-power-control": ("power", "active power control"),
}
CONTROL_CALLS = (CHARGE, CHARGE_STATUS, *[f"{path}/{end}" for path in SETTINGS for end in ("async-task", "task-info")])
ILLEGAL_POWER = (
    "PowerDispatch is illegal. The value should be greater than 0 during forced charge (dispatchSwitch = 1) "
    "and smaller than 0 during forced discharge (dispatchSwitch = 2)."
)
SAME = "The configured value is the same as the current value."
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
Answer = tuple[dict[str, Any], int]


class TaskDesk:
    """Answers the control calls."""

    def __init__(
        self, plants: Mapping[str, EmulatedPlant], now: Callable[[], dt.datetime], faults: FaultBox, log: EventLog
    ) -> None:
        self._plants, self._now, self._faults, self._log = plants, now, faults, log
        self._forced: dict[int, list[tuple[str, ForcedTask]]] = {}
        self._changes: dict[str, list[tuple[str, SettingTask]]] = {}

    def handle(self, path: str, body: Mapping[str, Any]) -> Answer:
        """The answer to one call, and its HTTP status."""
        if path == CHARGE:
            return self._charge(body), 200
        if path == CHARGE_STATUS:
            return self._charge_status(body), 200
        kind, words = SETTINGS[path.rsplit("/", 1)[0]]
        return self._info(words, body) if path.endswith("task-info") else self._change(kind, words, body)

    # --- forced tasks, sections 5.2.1 and 5.2.2 ---

    def _charge(self, body: Mapping[str, Any]) -> dict[str, Any]:
        wanted = body.get("tasks")
        if not isinstance(wanted, list) or not wanted:
            return _failed(2, "Battery charge and discharge task list is empty.")
        if len(wanted) > 100 or not all(isinstance(task, dict) for task in wanted):
            return _failed(20014, None)
        if len({str(task.get("plantCode")) for task in wanted}) < len(wanted):
            return _failed(20608, None)
        request_id = 9_100_000_000_000_000 + secrets.randbelow(9 * 10**14)  # more than a double holds exactly
        results, taken = [], []
        for task in wanted:
            code, problem = str(task.get("plantCode")), self._charge_fault(task)
            sub_id = None if problem else str(10**15 + secrets.randbelow(9 * 10**15))
            results.append(
                {
                    "plantCode": code,
                    "sn": None if problem else self._plants[code].inverter_sn,
                    "dispatchResult": 1 if problem else 0,
                    "subTaskId": sub_id,
                    "description": problem,
                }
            )
            if sub_id is not None:
                taken.append((code, self._begin(request_id, sub_id, self._plants[code], task)))
        if taken:
            self._forced[request_id] = taken
        fail_code = 2 if not taken else 0 if len(taken) == len(wanted) else 1
        words = {
            0: "The battery charge/discharge task is delivered successfully.",
            1: "The battery charge/discharge task is partially delivered successfully.",
            2: "Failed to deliver the battery charge/discharge task.",
        }[fail_code]
        about = {"failCode": fail_code, "message": words, "success": fail_code != 2}
        data: dict[str, Any] = {"requestID": request_id if taken else None}
        if not self._faults.now.odd_json:
            return {"data": {**data, "result": results}, **about}
        if fail_code == 1:  # example 3: all of it inside the data
            return {"data": {**data, "result": results, **about}}
        return {"data": data, "result": results, **about}  # example 2: the result beside the data

    def _charge_fault(self, task: Mapping[str, Any]) -> str | None:
        switch, control = task.get("dispatchSwitch"), task.get("controlType")
        power, minutes, target = task.get("powerDispatch"), task.get("dispatchTime"), task.get("targetSOC")
        plant = self._plants.get(str(task.get("plantCode")))
        if plant is None:
            return "No resource permission."
        if switch not in (0, 1, 2) or isinstance(switch, bool):
            return "DispatchSwitch is illegal, valid value: 0 or 1 or 2"
        if switch != 0:
            if control not in (1, 2):
                return "ControlType is illegal, valid value: 1 or 2"
            if control == 2 and (not isinstance(minutes, int) or not 0 <= minutes <= 1440):
                return "DispatchTime is illegal, valid range: [0,1440]"
            if control == 1 and (not isinstance(target, int | float) or not 0 <= target <= 100):
                return "TargetSOC is illegal."
            if power is not None and (not isinstance(power, int) or power == 0 or (power > 0) != (switch == 1)):
                return ILLEGAL_POWER
        return plant.refusal(int(switch), self._now())

    def _begin(self, request_id: int, sub_id: str, plant: EmulatedPlant, task: Mapping[str, Any]) -> ForcedTask:
        forced = ForcedTask(request_id, sub_id, task["dispatchSwitch"], self._now())
        minutes = None
        if forced.switch != 0 and task["controlType"] == 1:
            forced.target_soc = task["targetSOC"] / 100
        elif forced.switch != 0:
            minutes = task["dispatchTime"]
        self._log.add(self._now(), "task", sn=plant.code, switch=forced.switch, power_w=task.get("powerDispatch"))
        plant.receive(forced, task.get("powerDispatch"), minutes)
        return forced

    def _charge_status(self, body: Mapping[str, Any]) -> dict[str, Any]:
        request_id = body.get("requestID")
        if request_id is None:
            return _failed(20044, None)
        # A double that has lost its last digits finds no task.
        if not isinstance(request_id, int) or request_id not in self._forced:
            return _failed(20050, None)
        now, odd = self._now(), self._faults.now.odd_json
        tasks = self._forced[request_id]
        rows = [
            self._plants[code].status_row(task, now, odd and bool(place % 2))
            for place, (code, task) in enumerate(tasks)
        ]
        data: Any = rows[0] if odd and len(rows) == 1 else rows
        return {"success": True, "failCode": 0, "message": None, "data": data}

    # --- settings, sections 5.2.3 to 5.2.8 ---

    def _change(self, kind: str, words: str, body: Mapping[str, Any]) -> Answer:
        wanted = body.get("tasks")
        if not isinstance(wanted, list) or not 1 <= len(wanted) <= 10 or not all(isinstance(t, dict) for t in wanted):
            return malformed("tasks", "tasks size must be between 1 and 10"), 400
        unknown = [str(task.get("plantCode")) for task in wanted if task.get("plantCode") not in self._plants]
        if unknown and kind != "configuration":
            return _failed(2, f"Exist no permission resources. plantCodes: [{', '.join(unknown)}]"), 200
        task_id = str(10**15 + secrets.randbelow(9 * 10**15))
        results, taken = [], []
        for task in wanted:
            code = str(task.get("plantCode"))
            problem = "No resource permission." if code in unknown else self._change_fault(kind, task)
            results.append({"plantCode": code, "status": "FAIL" if problem else "RUNNING", "message": problem})
            if problem is None:
                values = {name: value for name, value in task.items() if name != "plantCode"}
                change = SettingTask(kind, values, self._now(), works=not self._faults.now.commands_ignored)
                self._plants[code].changing.append(change)
                self._log.add(self._now(), "setting", sn=code, kind=kind)
                taken.append((code, change))
        if taken:
            self._changes[task_id] = taken
        fail_code = 2 if not taken else 0 if len(taken) == len(wanted) else 1
        outcome = {0: "delivered successfully", 1: "partially delivered successfully"}.get(fail_code)
        message = f"The {words} task is {outcome}." if outcome else f"Failed to deliver the {words} task."
        data = {"taskId": task_id if taken else None, "result": results}
        return {"failCode": fail_code, "success": fail_code != 2, "message": message, "data": data}, 200

    def _change_fault(self, kind: str, task: Mapping[str, Any]) -> str | None:
        plant = self._plants[str(task["plantCode"])]
        under_way = [each for each in plant.changing if not each.applied and each.ends_at() > self._now()]
        if any(change.kind == kind for change in under_way):
            return "The same task is being executed in the current plant."
        fault = {"mode": _mode_fault, "configuration": _configuration_fault, "power": _power_fault}[kind](task)
        if fault is not None:
            return fault
        values = {name: value for name, value in task.items() if name != "plantCode"}
        return SAME if plant.settings.get(kind) == values else None

    def _info(self, words: str, body: Mapping[str, Any]) -> Answer:
        task_id = body.get("taskId")
        if task_id is None:
            return malformed("taskId", "taskId may not be null"), 400
        if task_id not in self._changes:
            return _failed(20620, "The taskId is not exist."), 200
        rows: list[dict[str, Any]] = []
        times: dict[str, Any] = {}
        for code, change in self._changes[str(task_id)]:
            over = change.ends_at() <= self._now()
            status = "RUNNING" if not over else "SUCCESS" if change.works else "FAIL"
            message = "TIMEOUT" if status == "FAIL" else None
            rows.append({"plantCode": code, "status": status, "message": message, **change.wanted})
            zone = self._plants[code].zone
            ended = change.ends_at().astimezone(zone).isoformat(timespec="seconds") if over else None
            times = {"startTime": change.received_at.astimezone(zone).isoformat(timespec="seconds"), "endTime": ended}
        about = {"failCode": 0, "success": True, "message": f"The {words} task status queried successfully."}
        if self._faults.now.odd_json:  # section 5.2.4, example 3: the times as one more row
            return {**about, "data": {"dispatchResult": [*rows, times]}}, 200
        return {**about, "data": {"dispatchResult": rows, **times}}, 200


def _mode_fault(task: Mapping[str, Any]) -> str | None:
    mode, windows = task.get("operationMode"), task.get("chargingAndDischargingTimeWindow")
    if mode not in ("maximumSelfConsumption", "TOU"):
        return "The input parameter is out of the valid range, operationMode in: [maximumSelfConsumption, TOU]"
    if mode == "maximumSelfConsumption":
        return None
    if not isinstance(windows, list) or not 1 <= len(windows) <= 14:
        return "The chargingAndDischargingTimeWindow must be set."
    if task.get("redundantPVEnergyPriority") not in (None, "fedToGridPreference", "chargePreference"):
        return "The input parameter is out of the valid range, redundantPVEnergyPriority"
    power = task.get("allowedAcChargePower", 0)
    if not isinstance(power, int | float) or not 0 <= power <= 50:
        return "The input parameter is out of the valid range, allowedAcChargePower"
    busy: set[tuple[int, int]] = set()
    for window in windows:
        begin, end, days = window.get("startTime"), window.get("endTime"), window.get("repeat")
        times = all(isinstance(time, str) and _TIME.fullmatch(time) for time in (begin, end))
        if not times or window.get("chargeOrDischarge") not in ("charge", "discharge"):
            return "The input parameter is out of the valid range, chargingAndDischargingTimeWindow"
        if not isinstance(days, list) or not 1 <= len(days) <= 7 or not set(days) <= set(range(1, 8)):
            return "The input parameter is out of the valid range, repeat"
        first, last = (int(time[:2]) * 60 + int(time[3:]) for time in (begin, end))
        minutes = {(day, minute) for day in days for minute in range(first, last)}
        if not minutes or minutes & busy:
            return "The startTime and endTime of multiple days overlap."
        busy |= minutes
    return None


def _configuration_fault(task: Mapping[str, Any]) -> str | None:
    info = task.get("batteryConfigurationInfo")
    ranges = {
        "endOfChargeSoc": (90, 100, (int, float)),
        "endOfDischargeSoc": (0, 20, (int, float)),
        "maximumChargePower": (0, 10**9, (int,)),
        "maximumDischargePower": (0, 10**9, (int,)),
    }
    if not isinstance(info, dict) or not info or not set(info) <= set(ranges):
        return "The input parameter is empty, batteryConfigurationInfo"
    for name, value in info.items():
        low, high, kinds = ranges[name]
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            return f"The input parameter is out of the valid range, {name}"
    return None


def _power_fault(task: Mapping[str, Any]) -> str | None:
    mode, info = task.get("controlMode"), task.get("controlInfo")
    if mode == "0":
        return None
    if mode != "6":
        return "The input parameter is out of the valid range, controlMode in: [0, 6]"
    if not isinstance(info, dict):
        return "The input parameter is empty, controlInfo"
    if info.get("limitationMode", "0") not in ("0", "1"):
        return "The input parameter is out of the valid range, limitationMode in: [0, 1]"
    limit = info.get("maxGridFeedInPower")
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not -1000 <= limit <= 5000:
        return "The input parameter is out of the valid range, maxGridFeedInPower"
    return None


def _failed(code: int, message: str | None) -> dict[str, Any]:
    return {"data": None, "failCode": code, "message": message, "success": False}


def malformed(field: str, problem: str) -> dict[str, Any]:
    """The framework refuses a request (section 5.2.3, example 3; section 6.4)."""
    return {
        "exceptionId": "framwork.remote.Paramerror",
        "exceptionType": "ROA_EXFRAME_EXCEPTION",
        "descArgs": None,
        "reasonArgs": [field],
        "detailArgs": [problem],
        "adviceArgs": None,
    }

"""The basic calls of the emulated cloud (section 5.1): what it refuses, and what it shows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from adapters.emulation import FaultBox
from adapters.huawei.codes import FailCode
from adapters.huawei.emulated_plant import NAMES_OF_HOUR, EmulatedPlant, device_energies, rounded

PAGE_SIZE = 100
QUERYABLE = {1, 10, 17, 38, 39, 41, 47, 60001, 60003, 60043, 60044, 60092, 60014, 60010}
REPORTABLE = {1, 38, 39, 41}
LANGUAGES = {"zh_CN", "en_US", "ja_JP", "it_IT", "nl_NL", "pt_BR", "de_DE", "fr_FR", "es_ES", "pl_PL"}
LONGEST_HISTORY_MS = 3 * 86_400_000
_NAMES: dict[str, tuple[Callable[[dt.datetime], tuple[int, ...]], int]] = {
    "Hour": (lambda at: (at.year, at.month, at.day, at.hour), 3),
    "Day": (lambda at: (at.year, at.month, at.day), 2),
    "Month": (lambda at: (at.year, at.month), 1),
    "Year": (lambda at: (at.year,), 0),
}
DATA_CALLS = (
    "/thirdData/stations",
    "/thirdData/getDevList",
    "/thirdData/getStationRealKpi",
    "/thirdData/getDevRealKpi",
    "/thirdData/getDevHistoryKpi",
    "/thirdData/getAlarmList",
    *[f"/thirdData/getKpiStation{span}" for span in _NAMES],
    *[f"/thirdData/getDevKpi{span}" for span in ("Day", "Month", "Year")],
)


class Refusal(Exception):
    """A failCode."""

    def __init__(self, code: FailCode) -> None:
        super().__init__(code)
        self.code = code


class DataDesk:
    """Answers the basic calls."""

    def __init__(self, plants: Mapping[str, EmulatedPlant], faults: FaultBox, now_ms: Callable[[], int]) -> None:
        self._plants, self._faults, self._now_ms = plants, faults, now_ms
        self.alarms: list[dict[str, Any]] = []
        """Active alarms, as the wire has them."""

    def handle(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one call."""
        name = path.rsplit("/", 1)[-1]
        params = {**body, "currentTime": self._now_ms()}
        try:
            data = self._data(name, body)
        except Refusal as refusal:
            return {"success": False, "data": None, "failCode": int(refusal.code), "params": params, "message": None}
        if name == "stations":
            return {"success": True, "data": data, "failCode": 0, "message": "get plant list success"}
        return {"success": True, "data": data, "failCode": 0, "params": params, "message": None}

    def _data(self, name: str, body: Mapping[str, Any]) -> Any:
        if name == "stations":
            return self._stations(body)
        if name == "getDevList":
            odd = self._faults.now.odd_json
            return [row for plant in self._chosen(body) for row in plant.device_rows(odd)]
        if name == "getStationRealKpi":
            return [{"stationCode": plant.code, "dataItemMap": self._counters(plant)} for plant in self._chosen(body)]
        if name == "getAlarmList":
            return self._alarms(body)
        if name.startswith("getKpiStation"):
            return self._plant_report(name.removeprefix("getKpiStation"), body)
        kind = _integer(body.get("devTypeId"), FailCode.DEVICE_TYPE_UNSUPPORTED)
        if name.startswith("getDevKpi"):
            return self._device_report(name.removeprefix("getDevKpi"), kind, body)
        devices = self._devices(body, kind, QUERYABLE, 100 if name == "getDevRealKpi" else 10)
        if name == "getDevRealKpi":
            return [
                {
                    "devId": device_id,
                    "sn": plant.inverter_sn,
                    "dataItemMap": self._items(plant.items(kind, plant.rows[-1])),
                }
                for plant, device_id in devices
            ]
        return self._history(kind, devices, body)

    def _stations(self, body: Mapping[str, Any]) -> dict[str, Any]:
        page = _integer(body.get("pageNo"), FailCode.PAGE_NUMBER_EMPTY)
        if page < 1:
            raise Refusal(FailCode.PAGE_NUMBER_NEGATIVE)
        if any(_integer(body.get(name, 0), FailCode.PARAMETER_WRONG) < 0 for name in body if name.startswith("grid")):
            raise Refusal(FailCode.TIME_NEGATIVE)
        plants = list(self._plants.values())
        return {
            "list": [
                {
                    "plantCode": plant.code,
                    "plantName": f"plant {plant.number}",
                    "plantAddress": None,
                    "longitude": None,
                    "latitude": None,
                    "capacity": 10.0,
                    "contactPerson": "",
                    "contactMethod": "",
                    "gridConnectionDate": "2022-11-21T16:23:00+08:00",
                }
                for plant in plants[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
            ],
            "pageCount": -(-len(plants) // PAGE_SIZE),
            "pageNo": page,
            "pageSize": PAGE_SIZE,
            "total": len(plants),
        }

    def _chosen(self, body: Mapping[str, Any]) -> list[EmulatedPlant]:
        codes = body.get("stationCodes")
        if not isinstance(codes, str) or not codes:
            raise Refusal(FailCode.PLANT_LIST_EMPTY)
        wanted = codes.split(",")
        if len(wanted) > 100:
            raise Refusal(FailCode.OVER_100_PLANTS)
        if any(code not in self._plants for code in wanted):
            raise Refusal(FailCode.PLANT_UNKNOWN)
        return [self._plants[code] for code in wanted]

    def _devices(
        self, body: Mapping[str, Any], kind: int, kinds: set[int], most: int
    ) -> list[tuple[EmulatedPlant, int]]:
        if kind not in kinds:
            raise Refusal(FailCode.DEVICE_TYPE_UNSUPPORTED)
        ids = body.get("devIds")
        if not isinstance(ids, str) or not ids:
            raise Refusal(FailCode.DEVICE_LIST_EMPTY)
        wanted = ids.split(",")
        if len(wanted) > most:
            raise Refusal(FailCode.OVER_100_DEVICES if most == 100 else FailCode.OVER_10_DEVICES_QUERIED)
        known = {
            str(id_): (plant, id_, type_)
            for plant in self._plants.values()
            for type_, id_ in plant.device_ids().items()
        }
        if any(one not in known for one in wanted):
            raise Refusal(FailCode.DEVICE_UNKNOWN)
        if any(known[one][2] != kind for one in wanted):
            raise Refusal(FailCode.DEVICES_OF_OTHER_TYPE)
        return [known[one][:2] for one in wanted]

    def _counters(self, plant: EmulatedPlant) -> dict[str, Any]:
        pv_kwh = plant.rows[-1].reading.registers.pv_kwh
        values = {"day_power": pv_kwh, "month_power": pv_kwh, "total_power": pv_kwh, "real_health_state": 3}
        return self._items(rounded({**values, "day_income": 0.0, "total_income": 0.0}))

    def _history(
        self, kind: int, devices: list[tuple[EmulatedPlant, int]], body: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        begin = _integer(body.get("startTime"), FailCode.QUERY_TIME_EMPTY)
        end = _integer(body.get("endTime"), FailCode.QUERY_TIME_EMPTY)
        if begin > end:
            raise Refusal(FailCode.START_AFTER_END)
        if end - begin > LONGEST_HISTORY_MS:
            raise Refusal(FailCode.LONGER_THAN_3_DAYS)
        return [
            {
                "devId": device_id,
                "sn": plant.inverter_sn,
                "collectTime": at_ms,
                "dataItemMap": self._items(plant.items(kind, row)),
            }
            for plant, device_id in devices
            for row in plant.rows
            if begin <= (at_ms := round(row.reading.at.timestamp() * 1000)) < end
        ]

    def _alarms(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        if not body.get("stationCodes") and not body.get("sns"):
            raise Refusal(FailCode.PLANTS_AND_DEVICES_EMPTY)
        if body.get("language") not in LANGUAGES:
            raise Refusal(FailCode.LANGUAGE_WRONG)
        begin = _integer(body.get("beginTime"), FailCode.QUERY_TIME_EMPTY)
        end = _integer(body.get("endTime"), FailCode.QUERY_TIME_EMPTY)
        plants = {plant.code for plant in self._chosen(body)}
        levels = [int(level) for level in str(body.get("levels") or "1,2,3,4").split(",")]
        types = str(body.get("devTypes") or "")
        return [
            alarm
            for alarm in self.alarms
            if alarm["stationCode"] in plants and begin <= alarm["raiseTime"] <= end and alarm["lev"] in levels
            if not types or str(alarm["devTypeId"]) in types.split(",")
        ]

    def _plant_report(self, span: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        plants, moment = self._chosen(body), _moment(body)
        name_of, shared = _NAMES[span]
        names = NAMES_OF_HOUR if span == "Hour" else None
        return [
            {
                "stationCode": plant.code,
                "collectTime": round(begin.timestamp() * 1000),
                "dataItemMap": {"radiation_intensity": None, **self._items(rounded(energies, names))},
            }
            for plant in plants
            for begin, energies in plant.report(name_of, moment, shared)
        ]

    def _device_report(self, span: str, kind: int, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        devices, moment = self._devices(body, kind, REPORTABLE, 100), _moment(body)
        name_of, shared = _NAMES[span]
        return [
            {
                # The yearly table has another name for it than the others.
                "deviceId" if span == "Year" else "devId": device_id,
                "sn": plant.inverter_sn,
                "collectTime": round(begin.timestamp() * 1000),
                "dataItemMap": self._items(rounded(device_energies(kind, energies))),
            }
            for plant, device_id in devices
            for begin, energies in plant.report(name_of, moment, shared)
        ]

    def _items(self, items: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._faults.written(value) for name, value in items.items()}


def _integer(value: Any, refusal: FailCode) -> int:
    """An integer; this cloud takes text too, as the document's own examples send it."""
    if isinstance(value, str) and value.lstrip("-").isdigit():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refusal(refusal)
    return value


def _moment(body: Mapping[str, Any]) -> dt.datetime:
    found = _integer(body.get("collectTime"), FailCode.QUERY_TIME_EMPTY)
    if found < 0:
        raise Refusal(FailCode.TIME_NEGATIVE)
    return dt.datetime.fromtimestamp(found / 1000, dt.UTC)

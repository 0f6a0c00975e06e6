"""Every path, sign, unit and word of SmartPVMS, and nothing else.

Source: SmartPVMS 24.5.0 NBI Reference, sections 3.1 (OAuth), 3.2 (API account), 5.1 (data), 5.2 (control). The
document states no sign of any power: the signs are those seen in production data, and a setting where only one
source or none was found.

Device type        vendor field                canonical            note
39 battery         ch_discharge_power    W     battery_kw = - /1000  + charges
39 battery         max_charge_power      W     charge_limit_kw
39 battery         max_discharge_power   W     discharge_limit_kw
41 C&I ESS         ch_discharge_power    W     battery_kw = + /1000  + discharges; one source only: setting
60014 battery rack charge_discharge_power kW   battery_kw            sign unknown: no value until a setting tells
39, 41 / 60014     battery_soc / soc     %     soc = /100
1, 38 inverter     active_power          kW    inverter_kw           AC, the battery behind it included
1, 38 inverter     mppt_power            kW    pv_kw                 DC
47 power sensor    active_power          W     grid_kw = - /1000     + exports; phases are printed in kW: not used
17 grid meter      active_power          kW    grid_kw = -           + exports
17, 47             active_cap            kWh   export_kwh
17, 47             reverse_active_cap    kWh   import_kwh
60001 mains        active_power          kW    mains_kw              sign unknown: never taken for grid_kw
60003 genset       output_power          kW    genset_kw
60010 AC output    active_power          kW    output_kw
10 EMI             radiant_line          W/m2  irradiance_w_per_m2

`reverse_active_power` and `positive_active_power` of meters are energies, whatever their names say: not used.
Control: powerDispatch = - battery_kw * 1000, in W, + charges, never left out (left out means full power), never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, Literal

from adapters.values import number

# Section 3.1.2: the OAuth service has a host of its own.
OAUTH_HOST = "https://oauth2.fusionsolar.huawei.com"
AUTHORIZE_PATH = "/rest/dp/uidm/oauth2/v1/authorize"
TOKEN_PATH = "/rest/dp/uidm/oauth2/v1/token"  # noqa: S105 a path
BASIC_SCOPE = "pvms.openapi.basic"
CONTROL_SCOPE = "pvms.openapi.control"

# Section 5.1.2: data come every 5 minutes.
CADENCE_S = 300.0
# Section 5.2.2: how far a task is, is known anew every 3 minutes; it times out after 24 hours.
TASK_CADENCE_S = 180.0
# Section 5.2.1: [0, 1440] minutes, and 0 would mean nothing.
LONGEST_TASK_MIN = 1440
MOST_PLANTS_PER_QUERY = 100
MOST_DEVICES_PER_QUERY = 100
MOST_DEVICES_PER_HISTORY = 10
LONGEST_HISTORY_DAYS = 3
MOST_PLANTS_PER_CHARGE_TASK = 100
MOST_PLANTS_PER_SETTING_TASK = 10
# A state of charge outside this is no reading.
LOWEST_PERCENT, HIGHEST_PERCENT = -5.0, 105.0


class Call(Enum):
    """Every call, by its path. The control paths keep the versions that the document prints for each."""

    LOGIN = "/thirdData/login"
    LOGOUT = "/thirdData/logout"
    PLANTS = "/thirdData/stations"
    DEVICES = "/thirdData/getDevList"
    PLANT_NOW = "/thirdData/getStationRealKpi"
    DEVICE_NOW = "/thirdData/getDevRealKpi"
    DEVICE_HISTORY = "/thirdData/getDevHistoryKpi"
    ALARMS = "/thirdData/getAlarmList"
    PLANT_HOURS = "/thirdData/getKpiStationHour"
    PLANT_DAYS = "/thirdData/getKpiStationDay"
    PLANT_MONTHS = "/thirdData/getKpiStationMonth"
    PLANT_YEARS = "/thirdData/getKpiStationYear"
    DEVICE_DAYS = "/thirdData/getDevKpiDay"
    DEVICE_MONTHS = "/thirdData/getDevKpiMonth"
    DEVICE_YEARS = "/thirdData/getDevKpiYear"
    CHARGE = "/rest/openapi/pvms/nbi/v2/control/charge-and-discharge/async-task"
    CHARGE_STATUS = "/rest/openapi/pvms/v1/vpp/chargeAndDischargeStatus"
    WORKING_MODE = "/rest/openapi/pvms/nbi/v1/control/battery/mode/async-task"
    WORKING_MODE_INFO = "/rest/openapi/pvms/nbi/v1/control/battery/mode/task-info"
    BATTERY_PARAMETERS = "/rest/openapi/pvms/nbi/v1/control/battery/configuration/async-task"
    BATTERY_PARAMETERS_INFO = "/rest/openapi/pvms/nbi/v1/control/battery/configuration/task-info"
    ACTIVE_POWER = "/rest/openapi/pvms/nbi/v2/control/active-power-control/async-task"
    ACTIVE_POWER_INFO = "/rest/openapi/pvms/nbi/v2/control/active-power-control/task-info"


DELIVERIES = frozenset({Call.CHARGE, Call.WORKING_MODE, Call.BATTERY_PARAMETERS, Call.ACTIVE_POWER})
TASK_QUESTIONS = frozenset(
    {Call.CHARGE_STATUS, Call.WORKING_MODE_INFO, Call.BATTERY_PARAMETERS_INFO, Call.ACTIVE_POWER_INFO}
)


class DeviceType(IntEnum):
    """`devTypeId` of the devices that data can be had of (section 5.1.2.2)."""

    STRING_INVERTER = 1
    ENVIRONMENT = 10
    GRID_METER = 17
    RESIDENTIAL_INVERTER = 38
    BATTERY = 39
    STORAGE = 41
    POWER_SENSOR = 47
    MAINS = 60001
    GENSET = 60003
    AC_OUTPUT = 60010
    BATTERY_RACK = 60014
    SSU_GROUP = 60043
    SSU = 60044
    POWER_CONVERTER = 60092


BATTERIES = frozenset({DeviceType.BATTERY, DeviceType.STORAGE, DeviceType.BATTERY_RACK})
INVERTERS = frozenset({DeviceType.STRING_INVERTER, DeviceType.RESIDENTIAL_INVERTER})
METERS = frozenset({DeviceType.GRID_METER, DeviceType.POWER_SENSOR})


class ForcedMode(IntEnum):
    """`ch_discharge_model` of a battery (section 5.1.2.2) as far as it tells of remote commands."""

    FORCED = 1
    REMOTE_SELF_CONSUMPTION = 7
    REMOTE_FED_TO_GRID = 8
    REMOTE_TIME_OF_USE = 9


class DispatchSwitch(IntEnum):
    """What a charge task does (section 5.2.1)."""

    STOP = 0
    CHARGE = 1
    DISCHARGE = 2


class ControlType(IntEnum):
    """How a charge task ends (section 5.2.1); may be left out of a stop only."""

    STATE_OF_CHARGE = 1
    DURATION = 2


class TaskStatus(IntEnum):
    """How far a charge task is (section 5.2.2). An exception is also 0: a task is complete only without a message."""

    COMPLETE = 0
    IN_PROGRESS = 1
    FAILED = 2


class WorkingMode(Enum):
    """`operationMode` (section 5.2.3)."""

    SELF_CONSUMPTION = "maximumSelfConsumption"
    TIME_OF_USE = "TOU"


class SurplusPriority(Enum):
    """`redundantPVEnergyPriority` (section 5.2.3)."""

    FEED_IN = "fedToGridPreference"
    CHARGE = "chargePreference"


class FeedInControl(Enum):
    """`controlMode` of an active power task (section 5.2.7); text on the wire."""

    UNLIMITED = "0"
    LIMITED = "6"


class LimitationMode(Enum):
    """`limitationMode` of an active power task (section 5.2.7); text on the wire."""

    TOTAL = "0"
    SINGLE_PHASE = "1"


SAME_AS_CURRENT = "same as the current value"
"""A setting task that fails with these words found everything as wished (sections 5.2.3, 5.2.7)."""

Sign = Literal["charges", "discharges"]
"""What a positive number of the vendor means."""


@dataclass(frozen=True)
class Signs:
    """Signs that the document leaves open."""

    storage: Sign = "discharges"
    """Type 41; seen in production at one site."""
    battery_rack: Sign | None = None
    """Type 60014; unknown, so its power is not used until somebody tells."""


@dataclass(frozen=True)
class Point:
    """One value of a device: its canonical name, and what to multiply the vendor's number with."""

    name: str
    factor: float = 1.0


_INVERTER = {
    "active_power": Point("inverter_kw"),
    "mppt_power": Point("pv_kw"),
    "day_cap": Point("day_kwh"),
    "total_cap": Point("total_kwh"),
    "temperature": Point("temperature_c"),
    "elec_freq": Point("frequency_hz"),
    "inverter_state": Point("inverter_state"),
    "run_state": Point("connected"),
}
_METER = {
    "active_cap": Point("export_kwh"),
    "reverse_active_cap": Point("import_kwh"),
    "grid_frequency": Point("frequency_hz"),
}
_STORAGE = {
    "battery_soc": Point("soc", 0.01),
    "battery_soh": Point("health"),
    "charge_cap": Point("charge_cap_kwh"),
    "discharge_cap": Point("discharge_cap_kwh"),
    "run_state": Point("connected"),
}
POINTS: Mapping[int, Mapping[str, Point]] = {
    DeviceType.STRING_INVERTER: _INVERTER,
    DeviceType.RESIDENTIAL_INVERTER: _INVERTER,
    DeviceType.GRID_METER: {"active_power": Point("grid_kw", -1.0), **_METER},
    DeviceType.POWER_SENSOR: {"active_power": Point("grid_kw", -0.001), "meter_status": Point("connected"), **_METER},
    DeviceType.BATTERY: {
        "ch_discharge_power": Point("battery_kw", -0.001),
        "max_charge_power": Point("charge_limit_kw", 0.001),
        "max_discharge_power": Point("discharge_limit_kw", 0.001),
        "battery_status": Point("battery_status"),
        "ch_discharge_model": Point("forced_mode"),
        **_STORAGE,
    },
    DeviceType.STORAGE: {"ch_discharge_power": Point("battery_kw", 0.001), **_STORAGE},
    DeviceType.BATTERY_RACK: {
        "charge_discharge_power": Point("battery_kw", 1.0),
        "soc": Point("soc", 0.01),
        "total_discharge": Point("discharge_kwh"),
        "total_capacity": Point("capacity_kwh"),
        "battery_state": Point("battery_status"),
    },
    DeviceType.ENVIRONMENT: {
        "temperature": Point("temperature_c"),
        "pv_temperature": Point("module_temperature_c"),
        "wind_speed": Point("wind_m_per_s"),
        "wind_direction": Point("wind_from_degrees"),
        "radiant_line": Point("irradiance_w_per_m2"),
        "radiant_total": Point("irradiation_mj_per_m2"),
        "run_state": Point("connected"),
    },
    DeviceType.MAINS: {
        "active_power": Point("mains_kw"),
        "mains_state": Point("mains_available"),
        "total_energy_consumption": Point("mains_kwh"),
        "ac_frequency": Point("frequency_hz"),
    },
    DeviceType.GENSET: {
        "output_power": Point("genset_kw"),
        "running_state": Point("running_state"),
        "load_rate": Point("load_share", 0.01),
    },
    DeviceType.AC_OUTPUT: {
        "active_power": Point("output_kw"),
        "total_load_active_power": Point("output_kw"),
        "ac_frequency": Point("frequency_hz"),
    },
    DeviceType.SSU_GROUP: {"total_output_power": Point("output_kw"), "total_output_energy": Point("output_kwh")},
    DeviceType.SSU: {"on_off_state": Point("is_off")},
    DeviceType.POWER_CONVERTER: {"pv_input_power": Point("pv_kw")},
}

PLANT_POINTS: Mapping[str, str] = {
    "day_power": "day_kwh",
    "month_power": "month_kwh",
    "total_power": "total_kwh",
    "day_income": "day_revenue",
    "total_income": "total_revenue",
    "real_health_state": "health",
}
"""Section 5.1.2.1; the vendor calls these energies powers. Revenue in the currency of the management system."""

REPORT_POINTS: Mapping[str, str] = {
    "radiation_intensity": "irradiation_kwh_per_m2",
    "theory_power": "theoretical_kwh",
    "inverter_power": "inverter_rough_kwh",
    "inverteryield": "inverter_kwh",
    "pvyield": "pv_kwh",
    "ongrid_power": "export_kwh",
    "buypower": "import_kwh",
    "use_power": "load_kwh",
    "selfusepower": "self_used_kwh",
    "selfprovide": "self_provided_kwh",
    "chargecap": "charge_kwh",
    "dischargecap": "discharge_kwh",
    "charge_cap": "charge_kwh",
    "discharge_cap": "discharge_kwh",
    "charge_time": "charge_h",
    "discharge_time": "discharge_h",
    "product_power": "yield_kwh",
    "installed_capacity": "installed_kw",
    "perpower_ratio": "specific_h",
    "performance_ratio": "performance_percent",
    "power_profit": "revenue",
    "reduction_total_co2": "co2_saved_t",
    "reduction_total_coal": "coal_saved_t",
    "reduction_total_tree": "trees",
}
"""Sections 5.1.4.1 to 5.1.4.7; the vendor calls energies powers here too."""


def device_values(device_type: int, item_map: Mapping[str, Any], signs: Signs) -> dict[str, float]:
    """The values of one device by canonical name; what the vendor did not give is not in it.

    Args:
        device_type: `devTypeId`.
        item_map: `dataItemMap`, its names folded to lower case.
        signs: What the document leaves open.
    """
    values: dict[str, float] = {}
    for key, point in POINTS.get(device_type, {}).items():
        value = number(item_map.get(key))
        if value is not None:
            values[point.name] = value * point.factor
    if device_type == DeviceType.STORAGE and signs.storage == "charges" and "battery_kw" in values:
        values["battery_kw"] = -values["battery_kw"]
    if device_type == DeviceType.BATTERY_RACK and "battery_kw" in values:
        if signs.battery_rack is None:
            del values["battery_kw"]
        elif signs.battery_rack == "charges":
            values["battery_kw"] = -values["battery_kw"]
    if not LOWEST_PERCENT / 100 <= values.get("soc", 0.0) <= HIGHEST_PERCENT / 100:
        del values["soc"]
    return values


def named_values(item_map: Mapping[str, Any], points: Mapping[str, str]) -> dict[str, float]:
    """Numbers of a `dataItemMap` by canonical name; what is missing is left out."""
    found = ((name, number(item_map.get(key))) for key, name in points.items())
    return {name: value for name, value in found if value is not None}


def is_remote(forced_mode: float) -> bool:
    """Whether a battery says that a remote command is in force, ours or anybody's."""
    return forced_mode in set(ForcedMode)


def dispatch_power_w(battery_kw: float) -> int:
    """A battery power [kW, + discharges] as `powerDispatch` [W, + charges]."""
    return -round(battery_kw * 1000)


def battery_kw_of(dispatch_w: int) -> float:
    """The inverse of `dispatch_power_w`."""
    return -dispatch_w / 1000

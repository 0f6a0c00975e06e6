"""What bounds a forced task beside the ratings: the array behind the same inverter, and time.

Source: SmartPVMS 24.5.0 NBI Reference, section 5.2.1; the array's throttling was measured on the same inverters.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import Literal

from adapters.contract import Device, IntentRefusedError, Telemetry
from adapters.huawei.mapping import LONGEST_TASK_MIN
from adapters.ratings import bound_kw
from engine.intent import Intent, IntentMode

# A charge this little below PV takes nothing from the array that anybody would notice [kW].
PV_MARGIN_KW = 0.05


def minutes_of(intent: Intent, device: Device, latest: Telemetry | None, begin: dt.datetime, power_kw: float) -> int:
    """How long a task is to last: to the intent's end, or until its state of charge is reached, if that is sooner.

    Raises:
        IntentRefusedError: The time is over, or the state of charge is reached already.
    """
    minutes = (intent.not_after - begin).total_seconds() / 60
    if minutes < 0.5:
        raise IntentRefusedError(
            f"not_after: {intent.not_after.isoformat()} is over or nearly so; a task is 1 minute or more"
        )
    whole = min(LONGEST_TASK_MIN, max(1, round(minutes)))
    if intent.until_soc is None or latest is None or latest.soc is None:
        return whole
    battery = device.battery
    if intent.mode is IntentMode.CHARGE:
        missing_kwh = (intent.until_soc - latest.soc) * battery.capacity_kwh / battery.charge_efficiency
    else:
        missing_kwh = (latest.soc - intent.until_soc) * battery.capacity_kwh * battery.discharge_efficiency
    if missing_kwh <= 0:
        raise IntentRefusedError(
            f"until_soc: {intent.until_soc:g} is reached already ({latest.soc:g}); the task would pass it"
        )
    return min(whole, max(1, math.ceil(missing_kwh / power_kw * 60)))


def not_below_pv(
    power_kw: float, device: Device, latest: Telemetry, rule: Literal["refuse", "raise", "allow"]
) -> float:
    """A forced charge that does not become the array's ceiling [kW].

    Raises:
        IntentRefusedError: It would, and may or can not be raised.
    """
    if rule == "allow" or latest.pv_kw is None or power_kw >= latest.pv_kw - PV_MARGIN_KW:
        return power_kw
    most_kw = bound_kw(IntentMode.CHARGE, device, latest)
    if rule == "raise" and most_kw >= latest.pv_kw - PV_MARGIN_KW:
        return min(most_kw, math.ceil(latest.pv_kw * 1000) / 1000)
    raise IntentRefusedError(
        f"power_kw: a forced charge of {power_kw:g} kW would throttle the array, which gives {latest.pv_kw:g} kW; "
        "let the battery follow the house, or charge with more"
    )

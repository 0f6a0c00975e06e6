"""What no command may exceed: the battery's rating, and what its management allows now."""

from __future__ import annotations

import math

from adapters.contract import Device, IntentRefusedError, Telemetry
from engine.intent import Intent, IntentMode

# An order above the rating by no more than this is rounding and is clamped; more is a wrong unit and is refused.
RATING_MARGIN = 1.05


def bound_kw(mode: IntentMode, device: Device, latest: Telemetry | None) -> float:
    """Most power in a direction, in whole watts [kW]."""
    charging = mode is IntentMode.CHARGE
    most_kw = device.battery.max_charge_kw if charging else device.battery.max_discharge_kw
    allowed_kw = None
    if latest is not None:
        allowed_kw = latest.charge_limit_kw if charging else latest.discharge_limit_kw
    if allowed_kw is not None:
        most_kw = min(most_kw, max(0.0, allowed_kw))
    # Whole watts go out, and rounding must not exceed the bound; the inner rounding sweeps off binary dust.
    return math.floor(round(most_kw * 1000, 6)) / 1000


def clamped_kw(intent: Intent, device: Device, latest: Telemetry | None) -> float:
    """An intent's power, clamped to rating and to what the battery allows now [kW], never negative.

    Raises:
        IntentRefusedError: It is so far above the rating that its unit must be wrong.
    """
    rating_kw = device.battery.max_charge_kw if intent.mode is IntentMode.CHARGE else device.battery.max_discharge_kw
    if intent.power_kw > rating_kw * RATING_MARGIN:
        raise IntentRefusedError(
            f"power_kw: {intent.power_kw:g} is above the rating of {rating_kw:g} kW; check the units"
        )
    return min(intent.power_kw, bound_kw(intent.mode, device, latest))

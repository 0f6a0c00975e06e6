"""Intents, what is seen of the battery that should do them, and the verdict on both."""

from __future__ import annotations

import datetime as dt

from adapters.contract import Channel, Telemetry
from engine import Battery
from engine.intent import Intent, IntentMode
from engine.plant import Plant, PlantCommand
from schedules.confirmation import judge

BEGIN = dt.datetime(2024, 4, 10, 12, 0, tzinfo=dt.UTC)
QUARTER_HOUR_S = 900
SETTLING_S = 20.0
BATTERY = Battery(
    capacity_kwh=10.0,
    max_charge_kw=5.0,
    max_discharge_kw=5.0,
    charge_efficiency=0.95,
    discharge_efficiency=0.95,
    min_soc=0.1,
)


def at(seconds: float) -> dt.datetime:
    return BEGIN + dt.timedelta(seconds=seconds)


def wanted(mode: IntentMode, power_kw: float = 0.0, until_soc: float | None = None) -> Intent:
    return Intent(mode, power_kw, BEGIN, at(QUARTER_HOUR_S), until_soc)


def power(seconds: float, battery_kw: float | None, load_kw: float | None = 1.0, pv_kw: float | None = 0.0):
    return Telemetry(Channel.POWER, at(seconds), battery_kw=battery_kw, load_kw=load_kw, pv_kw=pv_kw)


def minutes(*powers_kw: float, load_kw: float = 1.0, dispatch_active: bool | None = None) -> list[Telemetry]:
    return [
        Telemetry(Channel.POWER, at(60 * minute), kw, load_kw=load_kw, pv_kw=0.0, dispatch_active=dispatch_active)
        for minute, kw in enumerate(powers_kw, 1)
    ]


def state(seconds: float, soc: float | None, **limits: float) -> Telemetry:
    """A state of charge alone, so that a case decides by itself what powers were seen."""
    return Telemetry(Channel.STATE, at(seconds), soc=soc, **limits)


def verdict(intent: Intent, readings: list[Telemetry], in_force_s: float = 0.0, battery: Battery = BATTERY):
    in_order = sorted(readings, key=lambda reading: reading.measured_at)
    return judge(intent, battery, in_order, at(in_force_s), SETTLING_S)


# 5 minutes of 3 kW into 10 kWh at 95 % are 2.4 %; out of it, 2.6 %.
CHARGED = [state(0, 0.500), state(300, 0.524)]
DISCHARGED = [state(0, 0.500), state(300, 0.474)]
UNMOVED = [state(0, 0.500), state(300, 0.500)]


def watched(
    command: PlantCommand, *, soc: float, load_kw: float, pv_kw: float, seconds: int = QUARTER_HOUR_S
) -> list[Telemetry]:
    """What the cloud shows of a plant that has one command: powers each minute, a state each five."""
    plant = Plant(BATTERY, soc)
    plant.command = command
    readings = [state(0, soc)]
    for minute in range(1, seconds // 60 + 1):
        sample = plant.run(60.0, load_kw, pv_kw)
        shown = {"battery_kw": round(sample.battery_kw, 3), "load_kw": load_kw, "pv_kw": pv_kw}
        readings.append(Telemetry(Channel.POWER, at(60 * minute), **shown))
        if minute % 5 == 0:
            readings.append(Telemetry(Channel.STATE, at(60 * minute), soc=round(sample.soc, 3), **shown))
    return readings

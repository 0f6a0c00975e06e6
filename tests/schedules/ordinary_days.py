"""Ordinary days of ordinary sites, quickly: what a vendor shows of a plant that nobody has tampered with."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator

import numpy as np

from adapters.contract import Channel, Telemetry
from engine import Battery
from engine.plant import Plant, PlantCommand, PlantMode

MIDNIGHT = dt.datetime(2024, 4, 10, tzinfo=dt.UTC)
STEP_S = 60
# (power, state) of AlphaESS, Huawei or SolaX, Xolta [s].
CADENCES = ((60, 300), (300, 300), (60, 60))
RESOLUTIONS = (0.001, 0.004, 0.01)


def site_day(seed: int) -> tuple[Battery, float, list[Telemetry]]:
    """A battery as its owner wrote it down, the resolution of its gauge, and a day of readings."""
    rng = np.random.default_rng(seed)
    written = Battery(
        capacity_kwh=(capacity_kwh := float(rng.uniform(5, 30))),
        max_charge_kw=float(capacity_kwh * rng.uniform(0.25, 0.7)),
        max_discharge_kw=float(capacity_kwh * rng.uniform(0.25, 0.7)),
        charge_efficiency=0.95,
        discharge_efficiency=0.95,
        min_soc=float(rng.choice([0.0, 0.05, 0.1])),
    )
    # Cells age and efficiencies are guessed.
    real = written.model_copy(
        update={
            "capacity_kwh": capacity_kwh * rng.uniform(0.85, 1.05),
            "charge_efficiency": rng.uniform(0.9, 0.98),
            "discharge_efficiency": rng.uniform(0.9, 0.98),
            "standing_loss_per_h": rng.uniform(0, 0.001),
        }
    )
    plant = Plant(real, float(rng.uniform(real.min_soc, 1.0)))
    power_s, state_s = CADENCES[rng.integers(len(CADENCES))]
    resolution = RESOLUTIONS[rng.integers(len(RESOLUTIONS))]
    meter = rng.normal(1, 0.01, 3)
    readings = []
    conduct = _commands(rng, real)
    house = zip(_load_kw(rng), _pv_kw(rng, real), strict=True)
    for minute, (load_kw, pv_kw) in enumerate(house, 1):
        plant.command = next(conduct)
        sample = plant.run(STEP_S, load_kw, pv_kw, step_s=STEP_S)
        second = minute * STEP_S
        shown = {
            "battery_kw": round(sample.battery_kw * meter[0] + rng.normal(0, 0.01), 3),
            "grid_kw": round(sample.grid_kw * meter[1] + rng.normal(0, 0.02), 3),
            "pv_kw": round(max(0.0, sample.pv_kw * meter[2]), 3),
            "load_kw": round(max(0.0, sample.load_kw + rng.normal(0, 0.02)), 3),
        }
        at = MIDNIGHT + dt.timedelta(seconds=second)
        if rng.random() < 0.01:
            continue  # a message is lost now and then
        if second % power_s == 0:
            readings.append(Telemetry(Channel.POWER, at, **shown))
        if second % state_s == 0:
            soc = round(round(sample.soc / resolution) * resolution, 4)
            readings.append(Telemetry(Channel.STATE, at, **shown, soc=soc))
    return written, resolution, readings


def _commands(rng: np.random.Generator, battery: Battery) -> Iterator[PlantCommand]:
    """Half of the time left to itself, else driven for a quarter of an hour to three hours."""
    for _ in itertools.count():
        minutes = int(rng.choice([15, 30, 60, 180]))
        kind = rng.integers(4)
        charge_kw, discharge_kw = battery.max_charge_kw, battery.max_discharge_kw
        power_kw = (-rng.uniform(0.05, 1) * charge_kw, rng.uniform(0.05, 1) * discharge_kw, 0.0)
        command = PlantCommand() if kind == 3 else PlantCommand(PlantMode.SET_POINT, float(power_kw[kind]))
        yield from itertools.repeat(command, minutes)


def _load_kw(rng: np.random.Generator) -> np.ndarray:
    """A base, and appliances that switch on and off by the minute."""
    load = np.full(1440, rng.uniform(0.1, 0.8))
    for _ in range(rng.integers(10, 60)):
        begin, minutes = rng.integers(1440), int(rng.choice([2, 4, 15, 45, 90]))
        load[begin : begin + minutes] += rng.choice([0.1, 0.5, 1.0, 2.2, 3.5])
    return load * rng.normal(1, 0.05, 1440).clip(0.8, 1.2)


def _pv_kw(rng: np.random.Generator, battery: Battery) -> np.ndarray:
    """A bell over the day under passing clouds."""
    peak_kw = rng.uniform(0, 1.2) * battery.capacity_kwh
    clear = np.clip(np.sin((np.arange(1440) - 360) / 720 * np.pi), 0, None) ** 1.5
    cloud = np.repeat(rng.choice([1.0, 0.9, 0.5, 0.2], 288), 5)
    return peak_kw * clear * np.where(rng.random() < 0.5, cloud, 1.0)

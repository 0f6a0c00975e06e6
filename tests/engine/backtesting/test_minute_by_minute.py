"""What the kernel lets a battery do within a minute is what the plant does, which the emulators are built on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Battery, GridConnection, PvArray, Site
from engine.backtesting.rolling import new_trace
from engine.plant import Plant, PlantCommand, PlantLimits, PlantMode
from engine.storage_dp import inverter_of
from engine.storage_kernels import INFINITE, House, carry_out

MINUTES, INTERVALS = 15, 8
NO_RAMP = PlantLimits(ramp_kw_per_s=1e6, taper_s=0.0)
TAPER = st.sampled_from([(), ((0.0, 5.0), (0.8, 5.0), (1.0, 1.0))])
FLOWS = {"imported": "import", "exported": "export", "charged": "charge", "discharged": "discharge", "generated": "pv"}


@st.composite
def batteries(draw: Any) -> Battery:
    return Battery(
        capacity_kwh=draw(st.sampled_from([0.5, 3.0, 12.0])),
        max_charge_kw=draw(st.sampled_from([0.0, 0.3, 2.5])),
        max_discharge_kw=draw(st.sampled_from([0.2, 3.0])),
        charge_efficiency=draw(st.sampled_from([0.9, 1.0])),
        discharge_efficiency=draw(st.sampled_from([0.93, 1.0])),
        min_soc=draw(st.sampled_from([0.0, 0.1])),
        max_soc=draw(st.sampled_from([0.95, 1.0])),
        standing_loss_per_h=draw(st.sampled_from([0.0, 0.01])),
        charge_kw_at_soc=draw(TAPER),
        discharge_kw_at_soc=draw(st.sampled_from([(), ((0.0, 0.5), (0.3, 5.0), (1.0, 5.0))])),
    )


@settings(max_examples=150, deadline=None)
@given(
    battery=batteries(),
    seed=st.integers(0, 10**6),
    soc=st.floats(0.1, 0.95),
    connection_kw=st.none() | st.sampled_from([0.0, 1.0]),
)
def test_the_kernel_is_the_plant_at_steps_of_a_minute(
    battery: Battery, seed: int, soc: float, connection_kw: float | None
) -> None:
    rng = np.random.default_rng(seed)
    site = Site(battery=battery, pv=PvArray(curtailable=True), grid=GridConnection(export_limit_kw=connection_kw))
    house = House(rng.gamma(0.5, 3, (INTERVALS, MINUTES)), rng.gamma(0.5, 3, (INTERVALS, MINUTES)))
    trace = new_trace(INTERVALS)
    trace.follows[:] = rng.random(INTERVALS) < 0.4
    trace.set_point_kw[:] = rng.uniform(-4, 4, INTERVALS) * (rng.random(INTERVALS) < 0.8)
    trace.export_limit_kw[:] = np.where(rng.random(INTERVALS) < 0.3, rng.uniform(0, 2, INTERVALS), INFINITE)
    carry_out(house, inverter_of(site), soc * battery.capacity_kwh, trace)

    plant = Plant(battery, soc, limits=NO_RAMP)
    for t in range(INTERVALS):
        limit_kw = min(trace.export_limit_kw[t], INFINITE if connection_kw is None else connection_kw)
        plant.export_limit_kw = None if limit_kw == INFINITE else limit_kw
        follow, hold = PlantCommand(), PlantCommand(PlantMode.SET_POINT, float(trace.set_point_kw[t]))
        plant.command = follow if trace.follows[t] else hold
        before = {name: getattr(plant.registers, f"{register}_kwh") for name, register in FLOWS.items()}
        for minute in range(MINUTES):
            plant.run(60, house.load_kw[t, minute], house.pv_kw[t, minute], step_s=60)
        assert trace.stored[t] == pytest.approx(plant.soc * battery.capacity_kwh, abs=1e-9)
        for name, register in FLOWS.items():
            flow = getattr(plant.registers, f"{register}_kwh") - before[name]
            assert getattr(trace, name)[t] == pytest.approx(flow, abs=1e-9), name

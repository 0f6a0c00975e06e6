"""What all drivers share: problems come in as lines of JSON, plans go out as lines of JSON.

Runs inside the peer's environment: nothing but the standard library and numpy may be imported here.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass
class Case:
    """A problem as drivers see it; powers in kW at the AC side, energies in kWh, prices in EUR/kWh, arrays (T,)."""

    start: dt.datetime
    step_h: float
    capacity_kwh: float
    max_charge_kw: float
    max_discharge_kw: float
    charge_efficiency: float
    discharge_efficiency: float
    min_soc: float
    max_soc: float
    wear_eur_per_kwh: float
    import_limit_kw: float
    export_limit_kw: float
    curtailable: bool
    initial_soc: float
    final_soc_min: float
    import_price: Array
    export_price: Array
    load_kw: Array
    pv_kw: Array

    @property
    def intervals(self) -> int:
        """Number of intervals T."""
        return len(self.load_kw)

    @property
    def minutes(self) -> int:
        """Length of an interval [min]."""
        return round(self.step_h * 60)


@dataclass
class PeerPlan:
    """What a driver answers; arrays of shape (T,), AC-side kW."""

    charge_kw: Array
    discharge_kw: Array
    claimed_eur: float
    """The library's own account of the cost [EUR], without what it adds to break ties where that can be told."""
    method: str
    """Kind of model: ``LP`` or ``MILP``."""
    stages_s: dict[str, float] = field(default_factory=dict)
    """Parts of the time, where the library lets them be told apart [s]."""


def serve(solve: Callable[[Case], PeerPlan], *distributions: str) -> None:
    """Say hello, then answer one problem per line until the input ends.

    Args:
        solve: From a case to a plan; building the model is part of it, reading JSON is not.
        distributions: What to give the versions of.
    """
    # Libraries print; the answers must stay alone on the real standard output.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _send(answers, {"versions": {name: importlib.metadata.version(name) for name in distributions}})
    for line in sys.stdin:
        case = _case(json.loads(line))
        try:
            begin = time.perf_counter()
            plan = solve(case)
            seconds = time.perf_counter() - begin
        except Exception as error:  # whatever a library raises belongs into its row
            _send(answers, {"error": f"{type(error).__name__}: {error}"})
            continue
        _send(
            answers,
            {
                "seconds": seconds,
                "stages_s": plan.stages_s,
                "charge_kw": np.asarray(plan.charge_kw, dtype=float).tolist(),
                "discharge_kw": np.asarray(plan.discharge_kw, dtype=float).tolist(),
                "claimed_eur": float(plan.claimed_eur),
                "method": plan.method,
            },
        )


def _send(stream: Any, answer: dict[str, Any]) -> None:
    stream.write(json.dumps(answer) + "\n")
    stream.flush()


def _case(data: dict[str, Any]) -> Case:
    battery, grid, series = data["site"]["battery"], data["site"]["grid"], data["series"]
    return Case(
        start=dt.datetime.fromisoformat(data["start"]),
        step_h=data["step_h"],
        capacity_kwh=battery["capacity_kwh"],
        max_charge_kw=battery["max_charge_kw"],
        max_discharge_kw=battery["max_discharge_kw"],
        charge_efficiency=battery["charge_efficiency"],
        discharge_efficiency=battery["discharge_efficiency"],
        min_soc=battery["min_soc"],
        max_soc=battery["max_soc"],
        wear_eur_per_kwh=battery["wear_eur_per_kwh"],
        import_limit_kw=grid["import_limit_kw"],
        export_limit_kw=grid["export_limit_kw"],
        curtailable=data["site"]["pv"]["curtailable"],
        initial_soc=data["initial_soc"],
        final_soc_min=data["final_soc_min"],
        import_price=np.array(series["import_price_eur_per_kwh"]),
        export_price=np.array(series["export_price_eur_per_kwh"]),
        load_kw=np.array(series["load_kw"]),
        pv_kw=np.array(series["pv_kw"]),
    )

"""`optimise_fleet`: what `optimise` gives site by site, for many sites in one call."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import engine.fleet
from engine import (
    Battery,
    DemandCharge,
    FleetPlan,
    GridConnection,
    InputError,
    PlanRejectedError,
    PvArray,
    Site,
    Strategy,
    checker,
    optimise,
    optimise_fleet,
)
from engine.checker_input import Asked

ARRAYS = ("charge_kw", "discharge_kw", "import_kw", "export_kw", "curtailment_kw", "soc", "marginal_value_eur_per_kwh")
COLUMNS = ("charge_kw", "discharge_kw", "import_kw", "export_kw", "curtailment_kw", "soc")


CHUNK = 16
HOURS = 8


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 16 sites of 8 intervals, so that a test has several of them at little cost."""
    monkeypatch.setattr(engine.fleet, "VALUES_PER_CHUNK", CHUNK * HOURS)


def random_sites(rng: np.random.Generator, count: int) -> list[Site]:
    """Homes and small firms: with and without PV, tapers, losses, limits; in three time zones."""

    def one_of(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    return [
        Site(
            name=f"site {number}",
            timezone=one_of("UTC", "Europe/Copenhagen", "Europe/Lisbon"),
            battery=Battery(
                capacity_kwh=float(rng.uniform(4, 40)),
                max_charge_kw=one_of(3.0, 5.0, 10.0),
                max_discharge_kw=one_of(2.0, 5.0, 10.0),
                charge_efficiency=one_of(1.0, 0.95, 0.8),
                discharge_efficiency=one_of(1.0, 0.93),
                min_soc=one_of(0.0, 0.1),
                max_soc=one_of(0.9, 1.0),
                wear_eur_per_kwh=one_of(0.0, 0.02),
                standing_loss_per_h=one_of(0.0, 0.0, 0.01),
                charge_kw_at_soc=one_of((), (), ((0.5, 5.0), (1.0, 0.5))),
                discharge_kw_at_soc=one_of((), (), ((0.0, 0.5), (0.3, 5.0))),
            ),
            grid=GridConnection(import_limit_kw=one_of(None, 6.0, 17.0), export_limit_kw=one_of(None, 0.0, 3.0)),
            pv=one_of(None, PvArray(), PvArray(curtailable=True)),
        )
        for number in range(count)
    ]


def random_fleet(seed: int, count: int, intervals: int = 24, **more: Any) -> dict[str, Any]:
    """What `optimise_fleet` is asked with: negative prices, frames and shared Series, figures of both kinds."""
    rng = np.random.default_rng([29, seed])
    index = pd.date_range("2026-03-28T20:00Z", periods=intervals, freq="60min")
    sites = random_sites(rng, count)
    price = rng.uniform(-0.2, 0.4, (intervals, count)) if seed % 2 else rng.uniform(0.0, 0.4, (intervals, 1))

    def frame(values: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(values, index, columns=[site.name for site in sites])

    shared_load = pd.Series(rng.uniform(0, 4, intervals), index)
    pv = np.maximum(0, rng.normal(size=(intervals, count)) * 3) * [site.pv is not None for site in sites]
    return {
        "sites": sites,
        "import_price": frame(price) if seed % 2 else pd.Series(price[:, 0], index),
        "export_price": frame(price - rng.uniform(-0.02, 0.1, (intervals, count)))
        if seed % 3
        else pd.Series(price[:, 0] * 0.5, index),
        "load": frame(rng.uniform(0, 4, (intervals, count))) if seed % 4 else shared_load,
        "pv": frame(pv),
        "initial_soc": rng.uniform(0.1, 0.9, count) if seed % 2 else 0.5,
        "final_soc_min": None if seed % 3 == 0 else 0.3 if seed % 3 == 1 else list(rng.uniform(0.1, 0.8, count)),
        **more,
    }


def alone(asked: dict[str, Any], number: int) -> dict[str, Any]:
    """What `optimise` is asked with for one of the sites."""
    own = {}
    for name, value in asked.items():
        if isinstance(value, pd.DataFrame):
            own[name] = value.iloc[:, number]
        elif name in ("initial_soc", "final_soc_min") and np.ndim(value):
            own[name] = float(value[number])
        else:
            own[name] = value
    own["site"] = own.pop("sites")[number]
    return own


def assert_as_alone(asked: dict[str, Any], fleet: FleetPlan) -> None:
    for number in range(len(fleet)):
        plan = optimise(**alone(asked, number))
        assert fleet.cost_eur[number] == pytest.approx(plan.cost_eur, rel=1e-9, abs=1e-9), number
        for name in COLUMNS:
            np.testing.assert_allclose(getattr(fleet, name)[number], plan.table[name], atol=1e-7, err_msg=f"{number}")
        np.testing.assert_allclose(fleet.marginal_value_eur_per_kwh[number], plan.marginal_value, atol=1e-7)
        own = fleet.plan(number)
        pd.testing.assert_frame_equal(own.table, plan.table, atol=1e-7)
        assert own.cost_eur == pytest.approx(plan.cost_eur, rel=1e-9, abs=1e-9)
        assert own.breakdown.demand_eur == pytest.approx(plan.breakdown.demand_eur, abs=1e-9)
        assert [str(breach) for breach in own.breaches] == [str(breach) for breach in plan.breaches]


@pytest.mark.parametrize("seed", range(12))
def test_a_fleet_gets_the_plans_that_its_sites_get_alone(seed):
    asked = random_fleet(seed, 30)
    assert_as_alone(asked, optimise_fleet(**asked))


def test_the_random_fleets_have_all_kinds_of_sites():
    """Else the comparison above compares less than it says."""
    fleets = [optimise_fleet(**random_fleet(seed, 30)) for seed in range(4)]
    singly = [fleet.plan(number) for fleet in fleets for number in fleet.solved_singly]
    assert any(plan.solver.startswith("HiGHS LP") for plan in singly)
    assert any(plan.solver.startswith("HiGHS MILP") for plan in singly)
    in_batch = [fleet.plan(n) for fleet in fleets for n in range(len(fleet)) if n not in fleet.solved_singly]
    convex = {bool(plan.problem.stack.convex[0]) for plan in in_batch}
    assert convex == {True, False}
    assert {plan.site.pv is None for plan in in_batch} == {True, False}
    assert any(plan.breaches for plan in singly + in_batch)


FEATURES: dict[str, dict[str, Any]] = {
    "guards": {"strategy": Strategy(grid_charging=False, battery_export="behind_pv")},
    "reserve and carbon": {"strategy": Strategy(reserve_soc=0.4, reserve_breach_price=0.05, carbon_eur_per_kg=0.1)},
    "cycles": {"strategy": Strategy(cycles_per_day=0.4)},
    "a preference within the batch": {"strategy": Strategy(prefer="fewer_switches")},
    "a preference site by site": {"strategy": Strategy(prefer="smoother_power")},
    "a peak per month": {"demand_charges": [DemandCharge(eur_per_kw=0.5, peak_today_so_far_kw=2)]},
    "a stepped peak": {"demand_charges": [DemandCharge(steps_eur=((2, 1), (5, 3), (None, 9)), period="day")]},
    "a worth that falls": {"terminal_value_eur_per_kwh": [(0.4, 0.3), (0.8, 0.1), (1.0, 0.0)]},
}


@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature_reaches_every_site(feature):
    rng = np.random.default_rng(5)
    asked = random_fleet(5, 12, **FEATURES[feature])
    index = asked["load"].index
    if feature == "reserve and carbon":
        asked["carbon_kg_per_kwh"] = pd.DataFrame(rng.uniform(0, 0.5, (24, 12)), index)
    if feature == "guards":
        asked["import_limit_kw"] = pd.Series(np.where(np.arange(24) % 5, np.inf, 4.2), index)
        asked["max_charge_kw"] = pd.DataFrame(rng.uniform(0, 5, (24, 12)), index)
    assert_as_alone(asked, optimise_fleet(**asked))


@pytest.mark.usefixtures("small_chunks")
def test_more_sites_than_a_chunk_keep_their_order():
    asked = random_fleet(2, 2 * CHUNK + 7, intervals=HOURS)
    fleet = optimise_fleet(**asked)
    assert len(fleet) == 2 * CHUNK + 7
    for number in (0, CHUNK - 1, CHUNK, 2 * CHUNK, -1):
        plan = optimise(**alone(asked, range(len(fleet))[number]))
        assert fleet.plan(number).site.name == plan.site.name
        assert fleet.cost_eur[number] == pytest.approx(plan.cost_eur, rel=1e-9, abs=1e-9)


@pytest.fixture(scope="module")
def small() -> tuple[dict[str, Any], FleetPlan]:
    asked = random_fleet(4, 5)
    return asked, optimise_fleet(**asked)


def test_a_plan_is_had_by_number_from_either_end(small):
    _, fleet = small
    assert [fleet.plan(number).site.name for number in (0, 4, -1, -5)] == ["site 0", "site 4", "site 4", "site 0"]


@pytest.mark.parametrize("number", [5, -6, 100])
def test_there_is_no_plan_of_a_site_that_is_not_there(small, number):
    with pytest.raises(IndexError):
        small[1].plan(number)


def test_arrays_have_a_row_per_site_and_a_column_per_interval(small):
    asked, fleet = small
    assert {getattr(fleet, name).shape for name in ARRAYS} == {(5, 24)}
    assert fleet.cost_eur.shape == (5,)
    assert fleet.index.tolist() == asked["pv"].index.tolist()


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("workers", [1, 2])
def test_progress_is_told_in_order_up_to_all(workers):
    count = 3 * CHUNK + 1
    told: list[tuple[int, int]] = []
    optimise_fleet(
        **random_fleet(0, count, intervals=HOURS), workers=workers, progress=lambda *so_far: told.append(so_far)
    )
    done = [so_far for so_far, _ in told]
    assert len(told) == 4
    assert done == sorted(set(done))
    assert done[-1] == count
    assert {all_sites for _, all_sites in told} == {count}


@pytest.mark.usefixtures("small_chunks")
def test_the_number_of_workers_changes_nothing():
    asked = random_fleet(1, 8 * CHUNK, intervals=HOURS)
    one, two = optimise_fleet(**asked, workers=1), optimise_fleet(**asked, workers=2)
    for name in (*ARRAYS, "cost_eur"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
    assert one.solved_singly.keys() == two.solved_singly.keys()


@pytest.mark.usefixtures("small_chunks")
def test_whoever_stops_the_progress_stops_the_run():
    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimise_fleet(**random_fleet(0, 2 * CHUNK, intervals=HOURS), progress=stop)


def broken(asked: dict[str, Any], name: str, change: Any) -> dict[str, Any]:
    return {**asked, name: change(asked[name].copy() if hasattr(asked[name], "copy") else asked[name])}


def one_value(column: str, position: int, value: float) -> Any:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.iloc[position, frame.columns.get_loc(column)] = value
        return frame

    return change


BAD_INPUT = {
    "a column too few": ("pv", lambda frame: frame.iloc[:, :-1], r"^pv: it has 4 columns for 5 sites"),
    "NaN in one column": (
        "pv",
        one_value("site 3", 7, np.nan),
        r"^pv\['site 3'\]: value nan at 2026-03-29T03:00:00Z; .* never taken as 0",
    ),
    "a negative power": (
        "pv",
        one_value("site 2", 5, -0.5),
        r"^pv\['site 2'\]: value -0.5 kW at 2026-03-29T01:00:00Z is below 0",
    ),
    "another index": (
        "pv",
        lambda frame: frame.shift(freq="60min"),
        r"^pv.index: interval 0 starts 2026-03-28T21:00:00\+00:00, that of import_price 2026-03-28T20:00:00\+00:00",
    ),
    "an interval less": ("pv", lambda frame: frame.iloc[:-1], r"^pv.index: it has 23 intervals, import_price 24"),
    "a gap": ("pv", lambda frame: frame.drop(frame.index[3]), r"^pv.index: after 2026-03-28T22:00:00Z comes"),
    "a price per MWh": (
        "export_price",
        lambda frame: frame * 1000,
        r"^export_price\['site \d'\]: value .* EUR/kWh at 2026-03-28T20:00:00Z .* divide it by 1000",
    ),
    "words": ("pv", lambda frame: frame.astype(str), r"^pv: its values are"),
    "no series": ("pv", lambda frame: frame.to_numpy(), r"^pv: it is ndarray; give a pandas Series or DataFrame"),
    "a state too few": ("initial_soc", lambda _: [0.5] * 4, r"^initial_soc: it has shape \(4,\) for 5 sites"),
    "one state in percent": (
        "initial_soc",
        lambda _: [0.5, 0.5, 50.0, 0.5, 0.5],
        r"^initial_soc\[2\] \(site 2\): value 50 is outside 0..1; for 50 % write 0.5",
    ),
    "one state unknown": (
        "initial_soc",
        lambda _: [0.5, np.nan, 0.5, 0.5, 0.5],
        r"^initial_soc\[1\] \(site 1\): value nan is no number",
    ),
    "one final state above its band": (
        "final_soc_min",
        lambda _: [0.5, 0.5, 0.5, 0.5, 1.0],
        r"^final_soc_min\[4\].*: value 1 is above max_soc 0.9",
    ),
    "no sites": ("sites", lambda _: [], r"^sites: there are none"),
}


@pytest.mark.parametrize("fault", BAD_INPUT)
def test_bad_input_names_the_field_the_site_and_the_first_interval(small, fault):
    name, change, message = BAD_INPUT[fault]
    asked = dict(small[0])
    asked["export_price"] = pd.DataFrame(0.1, asked["pv"].index, columns=asked["pv"].columns)
    band = asked["sites"][4].battery.model_copy(update={"max_soc": 0.9})
    asked["sites"] = [*asked["sites"][:4], asked["sites"][4].model_copy(update={"battery": band})]
    with pytest.raises(InputError, match=message):
        optimise_fleet(**broken(asked, name, change))


def test_the_earliest_of_several_faults_is_named(small):
    asked = broken(small[0], "pv", one_value("site 0", 9, np.nan))
    with pytest.raises(InputError, match=r"^pv\['site 4'\]: value nan at 2026-03-28T22:00:00Z"):
        optimise_fleet(**broken(asked, "pv", one_value("site 4", 2, np.nan)))


def test_sun_without_an_array_names_the_site(small):
    asked = dict(small[0])
    asked["sites"] = [asked["sites"][0].model_copy(update={"pv": None, "name": "flat"}), *asked["sites"][1:]]
    asked["pv"] = asked["pv"].assign(**{"site 0": 1.0})
    with pytest.raises(InputError, match=r"^pv: site 0 \(flat\) has no PV array"):
        optimise_fleet(**asked)


def test_a_load_in_watts_names_the_column(small):
    asked = dict(small[0])
    load = asked["pv"] * 0 + 1.0
    asked["load"] = load.assign(**{"site 1": 900.0})
    with pytest.raises(InputError, match=r"^load\[.*1.*\]: value 900 kW at 2026-03-28T20:00:00Z is above"):
        optimise_fleet(**asked)


@pytest.mark.usefixtures("small_chunks")
def test_one_fault_of_the_checker_withholds_the_whole_fleet(monkeypatch):
    """A site in the second chunk is faulted: nothing is returned, and the site is named."""
    asked = random_fleet(0, 2 * CHUNK, intervals=HOURS)
    sound = checker.check_many

    def strict(judged: Asked, *rest: Any) -> tuple[checker.Fault, ...]:
        names = [site.name for site in judged.sites]
        fault = checker.Fault("balance", "2026-03-28 20:00", "made up", "site 20")
        return (*sound(judged, *rest), fault) if "site 20" in names else sound(judged, *rest)

    monkeypatch.setattr(checker, "check_many", strict)
    with pytest.raises(PlanRejectedError, match="balance at 2026-03-28 20:00 of site 20: made up; the plan is"):
        optimise_fleet(**asked)


@pytest.mark.parametrize("array", ["charge_kw", "discharge_kw", "curtailment_kw"])
def test_a_chunk_that_was_solved_wrong_is_withheld(monkeypatch, array):
    from engine import storage_dp

    right = storage_dp.solve

    def wrong(stack: Any, *steering: Any) -> Any:
        decisions, pieces = right(stack, *steering)
        if len(stack) > 1:  # not where a site is planned once more by itself
            getattr(decisions, array)[3, 2] += 100.0
        return decisions, pieces

    asked = random_fleet(0, 10)
    # Nothing sends site 3 to be planned once more by itself.
    simple = Battery(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5)
    asked["sites"][3] = Site(name="site 3", battery=simple, pv=PvArray())
    monkeypatch.setattr(storage_dp, "solve", wrong)
    with pytest.raises(PlanRejectedError, match="of site 3"):
        optimise_fleet(**asked)


MEMORY_RUN = """
import numpy as np, pandas as pd, resource
from engine import Battery, PvArray, Site, optimise_fleet
count, intervals = {count}, 96
rng = np.random.default_rng(0)
index = pd.date_range("2026-02-03", periods=intervals, freq="15min", tz="UTC")
sites = [
    Site(name=f"home {{n}}", pv=PvArray(),
         battery=Battery(capacity_kwh=c, max_charge_kw=5, max_discharge_kw=5, charge_efficiency=.95, min_soc=.1))
    for n, c in enumerate(rng.uniform(5, 15, count))
]
price = pd.Series(rng.uniform(0.05, 0.4, intervals), index)
load = pd.DataFrame(rng.uniform(0, 3, (intervals, count)), index)
pv = pd.DataFrame(rng.uniform(0, 2, (intervals, count)), index)
fleet = optimise_fleet(sites, import_price=price, export_price=price * 0.4, load=load, pv=pv, initial_soc=0.5)
assert len(fleet.solved_singly) == 0 and np.isfinite(fleet.cost_eur).all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_mib(count: int) -> float:
    """Largest memory of a process that plans so many sites over a day [MiB]."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_RUN.format(count=count)], cwd=root, check=True, capture_output=True, text=True
    )
    return int(done.stdout) / (1024 if sys.platform != "darwin" else 1024**2)


def test_memory_grows_by_input_and_result_alone():
    """20,000 homes over a day: 7 arrays of results, and 2 frames of input that are held twice, are 8 KiB a site."""
    few, many = peak_mib(1000), peak_mib(20_000)
    assert many < 1024
    per_site_kib = (many - few) * 1024 / 19_000
    arrays_kib = (7 + 2 * 2) * 96 * 8 / 1024
    assert per_site_kib < 3 * arrays_kib

"""The checker passes every sound plan and kills every bad one, whoever made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from console.sample import sample_days
from engine import Battery, GridConnection, PlanRejectedError, PvArray, Site, Strategy, checker, linear_program
from engine.checker_input import Asked
from engine.decisions import Decisions
from engine.plan import COLUMNS, Solution
from engine.request import Request

POWERS = COLUMNS[:7]


def table_of(case: Any, **decisions: Any) -> pd.DataFrame:
    """A table that is true to physics and prices whatever is decided, so that a bad decision is its only fault."""
    table = pd.DataFrame(0.0, index=case.load.index, columns=list(COLUMNS))
    for name, values in decisions.items():
        table[name] = np.asarray(values, dtype=float) + np.zeros(len(table))
    table["load_kw"] = case.load
    table["pv_kw"] = case.pv - table["curtailment_kw"]
    drawn = table["load_kw"] - table["pv_kw"] + table["charge_kw"] - table["discharge_kw"]
    table["import_kw"] += drawn.clip(lower=0)
    table["export_kw"] += (-drawn).clip(lower=0)
    return priced(case, table)


def priced(case: Any, table: pd.DataFrame) -> pd.DataFrame:
    """The table with state of charge and money worked out anew from its powers."""
    battery, h = case.site.battery, case.step_h
    gained = table["charge_kw"] * battery.charge_efficiency - table["discharge_kw"] / battery.discharge_efficiency
    bought, sold = table["import_kw"] * case.import_price, table["export_kw"] * case.export_price
    return table.assign(
        soc=case.initial_soc + (h * gained).cumsum() / battery.capacity_kwh,
        cost_eur=h * (bought - sold + table["discharge_kw"] * battery.wear_eur_per_kwh),
    )


def rules(case: Any, table: pd.DataFrame, cost_eur: float | None = None) -> set[str]:
    faults = case.faults(table, table["cost_eur"].sum() if cost_eur is None else cost_eur)
    return {fault.rule for fault in faults}


@pytest.fixture
def small(case):
    """Four quarter-hours of 2 kW load under 1 kW of sun, on a battery from 10 to 90 % that starts half full."""
    site = Site(
        battery=Battery(
            capacity_kwh=4,
            max_charge_kw=3,
            max_discharge_kw=3,
            charge_efficiency=0.9,
            discharge_efficiency=0.8,
            min_soc=0.1,
            max_soc=0.9,
            wear_eur_per_kwh=0.02,
        ),
        grid=GridConnection(import_limit_kw=3.5, export_limit_kw=1.5),
        pv=PvArray(curtailable=False),
    )
    return case(
        site, import_price=[0.1, 0.2, 0.3, 0.4], export_price=[0.05, 0.1, 0.15, 0.2], load=2.0, pv=1.0, initial_soc=0.5
    )


SOUND = {
    "resting": {},
    "charging to its fuse": {"charge_kw": [2.5, 0, 0, 0]},
    "discharging to its export limit": {"discharge_kw": [0, 2.5, 0, 0]},
    "buying dear and selling cheap": {"charge_kw": [0, 0, 0, 2.5], "discharge_kw": [2.5, 0, 0, 0]},
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_plan_passes_however_dear_it_is(small, name):
    assert rules(small, table_of(small, **SOUND[name])) == set()


BAD_DECISIONS = {
    "charged beyond its band": ("soc band", {"charge_kw": [2.5, 2.5, 2.5, 0]}),
    "discharged beyond its band": ("soc band", {"discharge_kw": [2.5, 2.5, 0.5, 0]}),
    "charged above its rating": ("rating", {"charge_kw": [3.5, 0, 0, 0]}),
    "discharged above its rating": ("rating", {"discharge_kw": [3.5, 0, 0, 0]}),
    "charged and discharged at once": ("both directions", {"charge_kw": [1, 0, 0, 0], "discharge_kw": [0.5, 0, 0, 0]}),
    "bought and sold at once": ("both directions", {"import_kw": [1, 0, 0, 0], "export_kw": [1, 0, 0, 0]}),
    "curtailed what cannot be curtailed": ("curtailment", {"curtailment_kw": [0, 0.5, 0, 0]}),
    "bought above its fuse": ("import limit", {"charge_kw": [2.6, 0, 0, 0]}),
    "sold above its export limit": ("export limit", {"discharge_kw": [2.6, 0, 0, 0]}),
    "charged with a negative discharge": ("sign", {"discharge_kw": [-1, 0, 0, 0]}),
    "discharged with a negative charge": ("sign", {"charge_kw": [-1, 0, 0, 0]}),
}


@pytest.mark.parametrize("name", BAD_DECISIONS)
def test_a_bad_decision_is_killed_by_the_rule_that_forbids_it(small, name):
    rule, decisions = BAD_DECISIONS[name]
    # Wide enough that nothing but the decision is at fault.
    free = {
        "charged above its rating": {"import_limit_kw": None},
        "discharged above its rating": {"export_limit_kw": None},
    }
    grid = small.site.grid.model_copy(update=free.get(name, {}))
    asked = small.but(site=small.site.model_copy(update={"grid": grid}))
    assert rules(asked, table_of(asked, **decisions)) == {rule}


def changed(table: pd.DataFrame, column: str, position: int, value: float) -> pd.DataFrame:
    table = table.copy()
    table.iloc[position, table.columns.get_loc(column)] = value
    return table


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("load_kw", 1.0, "load"),
        ("pv_kw", 1.5, "pv"),
        ("import_kw", 2.0, "balance"),
        ("export_kw", 0.5, "balance"),
        ("charge_kw", 0.5, "balance"),
        ("soc", 0.51, "physics"),
        ("cost_eur", 0.0, "cost"),
    ],
)
def test_a_figure_that_contradicts_the_others_is_killed(small, column, value, rule):
    assert rule in rules(small, changed(table_of(small), column, 1, value))


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_figure_that_is_no_number_is_killed(small, column, value):
    table = table_of(small)
    assert "finite" in rules(small, changed(table, column, 2, value), cost_eur=table["cost_eur"].sum())


@pytest.mark.parametrize("reported_eur", [np.nan, np.inf, 0.0, 0.251, -0.25])
def test_a_total_that_is_not_the_sum_of_the_intervals_is_killed(small, reported_eur):
    # 1 kW bought for a quarter of an hour at 0.1, 0.2, 0.3 and 0.4 EUR/kWh.
    table = table_of(small)
    assert rules(small, table, cost_eur=0.25) == set()
    assert rules(small, table, cost_eur=reported_eur) == {"cost"}


def test_a_cost_without_the_wear_is_killed(small):
    table = table_of(small, discharge_kw=[1, 0, 0, 0])
    unworn = table["cost_eur"] - 0.25 * 0.02 * table["discharge_kw"]
    assert rules(small, table.assign(cost_eur=unworn)) == {"cost"}


def test_a_store_without_losses_is_killed(small):
    table = table_of(small, charge_kw=[2, 0, 0, 0])
    assert rules(small, table.assign(soc=0.5 + 2 * 0.25 / 4)) == {"physics"}


@pytest.mark.parametrize(
    "reordered",
    [
        pytest.param(lambda table: table.iloc[:-1], id="the last interval is missing"),
        pytest.param(lambda table: table.drop(table.index[1]), id="an interval in the middle is missing"),
        pytest.param(lambda table: pd.concat([table, table.iloc[-1:]]), id="an interval is there twice"),
        pytest.param(lambda table: table.iloc[::-1], id="time runs backwards"),
        pytest.param(lambda table: table.shift(freq="15min"), id="a quarter of an hour late"),
        pytest.param(lambda table: table.shift(freq="1h"), id="in local time that says it is UTC"),
        pytest.param(lambda table: table.tz_localize(None), id="times without a zone"),
        pytest.param(lambda table: table.iloc[:0], id="no interval at all"),
    ],
)
def test_a_plan_for_other_intervals_is_killed(small, reordered):
    assert rules(small, reordered(table_of(small))) == {"horizon"}


def test_a_final_state_missed_though_within_reach_is_killed(small):
    asked = small.but(final_soc_min=0.7)
    assert rules(asked, table_of(asked)) == {"final_soc"}
    assert rules(asked, table_of(asked, charge_kw=[2.5, 0, 0, 0.5])) == {"final_soc"}
    assert rules(asked, table_of(asked, charge_kw=[2.5, 0, 0, 1.1])) == set()


def test_a_final_state_missed_after_charging_all_it_could_passes(small):
    """At its fuse in every interval: 0.5 + 4 x 0.5 kW x 0.25 h x 0.9 / 4 kWh is 0.6125."""
    grid = small.site.grid.model_copy(update={"import_limit_kw": 1.5})
    asked = small.but(site=small.site.model_copy(update={"grid": grid}), final_soc_min=0.7)
    assert rules(asked, table_of(asked, charge_kw=0.5)) == set()
    assert rules(asked, table_of(asked, charge_kw=[0.5, 0.5, 0.5, 0.4])) == {"final_soc"}


def test_a_final_state_missed_after_a_full_store_kept_the_fuse_passes(small):
    """What it left uncharged before it was full is of no account: the fuse took the store down afterwards."""
    asked = small.but(
        load=pd.Series([0.0, 0.0, 4.5, 4.5], small.load.index), pv=small.pv * 0, initial_soc=0.85, final_soc_min=0.9
    )
    assert rules(asked, table_of(asked, charge_kw=[0, 0.2 / 0.9 / 0.25, 0, 0], discharge_kw=[0, 0, 1, 1])) == set()


@pytest.mark.parametrize(
    ("initial_soc", "decisions", "expected"),
    [
        pytest.param(0.05, {}, {"soc band"}, id="below and resting"),
        pytest.param(-0.5, {"charge_kw": 2.5}, set(), id="far below and coming as fast as the fuse lets it"),
        pytest.param(-0.5, {"charge_kw": [2.5, 2.5, 2.4, 2.5]}, {"soc band"}, id="far below and slower"),
        pytest.param(0.05, {"charge_kw": [1, 0, 0, 0]}, set(), id="below and coming back"),
        pytest.param(0.05, {"discharge_kw": [0.1, 0, 0, 0]}, {"soc band"}, id="below and going further"),
        pytest.param(0.05, {"charge_kw": [1, 0, 0, 0], "discharge_kw": [0, 0.8, 0, 0]}, {"soc band"}, id="below again"),
        pytest.param(0.95, {}, {"soc band"}, id="above and resting"),
        pytest.param(0.95, {"discharge_kw": [0.7, 0, 0, 0]}, set(), id="above and coming back"),
        pytest.param(0.95, {"charge_kw": [0, 0, 0.1, 0]}, {"soc band"}, id="above and going further"),
    ],
)
def test_a_store_outside_its_band_comes_back_and_never_moves_further_out(small, initial_soc, decisions, expected):
    asked = small.but(initial_soc=initial_soc)
    assert rules(asked, table_of(asked, **decisions)) == expected


def test_load_above_the_fuse_is_no_licence_to_charge_from_it(small):
    empty = small.but(load=small.load + 4, initial_soc=0.1)
    assert rules(empty, table_of(empty)) == set()
    assert rules(empty, table_of(empty, charge_kw=[0.1, 0, 0, 0])) >= {"import limit"}


def test_a_battery_that_could_help_where_the_fuse_is_exceeded_must(small):
    """1.5 kW above the fuse for an hour; from 0.5 down to 0.1 there are 1.28 kWh to give."""
    asked = small.but(load=small.load + 4)
    assert rules(asked, table_of(asked)) == {"idle at the limit"}
    assert rules(asked, table_of(asked, discharge_kw=[1.5, 1.5, 1.5, 0.62])) == set()
    assert rules(asked, table_of(asked, discharge_kw=[0.62, 1.5, 1.5, 1.5])) == set(), "whenever the breach falls"
    assert rules(asked, table_of(asked, discharge_kw=[1.5, 1.5, 1.5, 0.6])) == {"idle at the limit"}


def test_nothing_but_the_last_interval_over_the_fuse_excuses_a_missed_end(small):
    """The fuse takes 1 kW for a quarter of an hour; what it takes and no more may lack at the end."""
    load = pd.Series([2.0, 2.0, 2.0, 5.5], small.load.index)
    asked = small.but(load=load, final_soc_min=0.9)
    charged = {"charge_kw": [2.5, 2.5, 0.0, 0.0], "discharge_kw": [0, 0, 0, 1.0]}
    assert rules(asked, table_of(asked, **charged)) == {"final_soc"}
    charged["charge_kw"] = [2.5, 2.5, 2.11111111, 0.0]  # full before the last
    assert rules(asked, table_of(asked, **charged)) == set()


@pytest.mark.parametrize(("curtailable", "expected"), [(False, set()), (True, {"export limit"})])
def test_sun_above_the_export_limit_is_lawful_only_where_it_cannot_be_curtailed(small, curtailable, expected):
    site = small.site.model_copy(update={"pv": PvArray(curtailable=curtailable)})
    asked = small.but(site=site, pv=small.pv + 4, initial_soc=0.9)
    assert rules(asked, table_of(asked)) == expected
    assert rules(asked, table_of(asked, discharge_kw=[0.1, 0, 0, 0])) >= {"export limit"}


@pytest.mark.parametrize(
    ("column", "within", "beyond"), [("soc", 5e-7, 5e-6), ("import_kw", 5e-7, 5e-6), ("cost_eur", 5e-7, 5e-6)]
)
def test_dust_of_arithmetic_is_forgiven_and_no_more(small, column, within, beyond):
    table = table_of(small)
    cost_eur = table["cost_eur"].sum()
    value = table[column].iloc[0]
    assert rules(small, changed(table, column, 0, value + within), cost_eur) == set()
    assert rules(small, changed(table, column, 0, value + beyond), cost_eur) != set()


def test_a_fault_reads_as_rule_time_and_figures(small):
    (fault,) = small.faults(
        table_of(small, charge_kw=[0, 2.6, 0, 0]), table_of(small, charge_kw=[0, 2.6, 0, 0])["cost_eur"].sum()
    )
    assert str(fault) == "import limit at 2026-02-03 00:15:00+00:00: import_kw is 3.600000, the bound 3.500000"


def test_plans_of_every_sample_day_still_pass_after_a_trip_through_json(sample_case):
    for day in sample_days():
        asked = sample_case(day)
        plan = asked.plan()
        read_back = pd.DataFrame(plan.intervals()).set_index("start")
        read_back.index = pd.to_datetime(read_back.index)
        assert asked.faults(read_back, plan.cost_eur) == ()


@pytest.mark.parametrize(
    ("decided", "rule"),
    [
        pytest.param({}, "final_soc", id="rest, though a final state is asked for"),
        pytest.param({"charge_kw": 4.0}, "rating", id="above the rating"),
        pytest.param({"charge_kw": np.nan}, "finite", id="no numbers"),
        pytest.param({"charge_kw": 1.0, "discharge_kw": 0.3}, "both directions", id="both directions"),
        pytest.param({"curtailment_kw": 0.5}, "curtailment", id="curtailment of what cannot be curtailed"),
        pytest.param({"discharge_kw": 2.0}, "soc band", id="an empty store emptied further"),
    ],
)
def test_an_answer_of_the_solver_that_the_checker_faults_is_withheld(small, monkeypatch, decided, rule):
    def answer(problem, *_):
        nothing = np.zeros((1, problem.intervals))
        powers = [nothing + decided.get(name, 0.0) for name in ("charge_kw", "discharge_kw", "curtailment_kw")]
        return Solution(Decisions(*powers, nothing), solver="a liar", why="", seconds=0.0)

    monkeypatch.setattr(linear_program, "solve", answer)
    with pytest.raises(
        PlanRejectedError, match=rf"^plan: \d+ faults, first {rule} at 2026-02-03 00:.*; the plan is withheld"
    ):
        small.but(final_soc_min=0.7).plan("lp")


# Mutations: each takes a sound plan and gives one that is wrong by far more than the tolerances.


@dataclass(frozen=True)
class Sound:
    """A sound plan, what was asked, and the dice."""

    case: Any
    table: pd.DataFrame
    rng: np.random.Generator


def one_cell(sound: Sound) -> pd.DataFrame:
    column, position = str(sound.rng.choice(COLUMNS)), int(sound.rng.integers(len(sound.table)))
    value = sound.table[column].iloc[position]
    return changed(sound.table, column, position, value + sound.rng.choice([-1, 1]) * sound.rng.uniform(1e-4, 2))


def two_rows_swapped(sound: Sound) -> pd.DataFrame:
    first = int(sound.rng.integers(len(sound.table)))
    different = np.flatnonzero(np.abs(sound.table["soc"] - sound.table["soc"].iloc[first]) > 1e-3)
    order = np.arange(len(sound.table))
    second = int(sound.rng.choice(different))
    order[[first, second]] = second, first
    return pd.DataFrame(sound.table.to_numpy()[order], sound.table.index, sound.table.columns)


def rolled(sound: Sound) -> pd.DataFrame:
    return pd.DataFrame(
        np.roll(sound.table.to_numpy(), int(sound.rng.integers(1, 20)), axis=0), sound.table.index, sound.table.columns
    )


def watts(sound: Sound) -> pd.DataFrame:
    column = sound.rng.choice([name for name in POWERS if sound.table[name].max() > 0.01])
    return sound.table.assign(**{column: sound.table[column] * 1000})


def reversed_sign(sound: Sound) -> pd.DataFrame:
    column = sound.rng.choice([name for name in (*POWERS, "cost_eur") if sound.table[name].abs().max() > 0.01])
    return sound.table.assign(**{column: -sound.table[column]})


def directions_exchanged(sound: Sound) -> pd.DataFrame:
    one, other = [("charge_kw", "discharge_kw"), ("import_kw", "export_kw")][int(sound.rng.integers(2))]
    return sound.table.assign(**{one: sound.table[other], other: sound.table[one]})


def soc_in_percent(sound: Sound) -> pd.DataFrame:
    return sound.table.assign(soc=sound.table["soc"] * 100)


def soc_at_the_start(sound: Sound) -> pd.DataFrame:
    return sound.table.assign(soc=[sound.case.initial_soc, *sound.table["soc"].iloc[:-1]])


def a_row_lost(sound: Sound) -> pd.DataFrame:
    return sound.table.drop(sound.table.index[int(sound.rng.integers(len(sound.table)))])


def rating_passed(sound: Sound) -> pd.DataFrame:
    position = int(sound.rng.integers(len(sound.table)))
    more_kw = sound.case.site.battery.max_charge_kw + sound.rng.uniform(1e-3, 3)
    both = changed(sound.table, "charge_kw", position, sound.table["charge_kw"].iloc[position] + more_kw)
    return priced(sound.case, changed(both, "import_kw", position, sound.table["import_kw"].iloc[position] + more_kw))


def energy_burnt(sound: Sound) -> pd.DataFrame:
    """Charge with discharge through the meter's own balance, in an interval that moves."""
    table = sound.table
    moving = np.flatnonzero((table["charge_kw"] > 0.1) | (table["discharge_kw"] > 0.1))
    position, extra_kw = int(sound.rng.choice(moving)), sound.rng.uniform(1e-3, 1)
    for column in ("charge_kw", "discharge_kw"):
        table = changed(table, column, position, table[column].iloc[position] + extra_kw)
    return priced(sound.case, table)


def netted_meter(sound: Sound) -> pd.DataFrame:
    table = sound.table
    position, extra_kw = int(sound.rng.integers(len(table))), sound.rng.uniform(1e-3, 1)
    for column in ("import_kw", "export_kw"):
        table = changed(table, column, position, table[column].iloc[position] + extra_kw)
    return priced(sound.case, table)


def energy_from_nowhere(sound: Sound) -> pd.DataFrame:
    position = int(sound.rng.choice(np.flatnonzero(sound.table["import_kw"] > 0.05)))
    return priced(sound.case, changed(sound.table, "import_kw", position, 0.0))


MUTATIONS = [
    one_cell,
    two_rows_swapped,
    rolled,
    watts,
    reversed_sign,
    directions_exchanged,
    soc_in_percent,
    soc_at_the_start,
    a_row_lost,
    rating_passed,
    energy_burnt,
    netted_meter,
    energy_from_nowhere,
]


@pytest.fixture(scope="module")
def real_plans(sample_case):
    return [(asked, asked.plan("lp")) for asked in map(sample_case, sample_days()[::7])]


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_every_mutation_of_a_real_plan_is_rejected(real_plans, mutate):
    survivors = []
    for seed in range(25):
        asked, plan = real_plans[seed % len(real_plans)]
        mutant = mutate(Sound(asked, plan.table, np.random.default_rng(seed)))
        if not asked.faults(mutant, float(mutant["cost_eur"].sum())):
            survivors.append(seed)
    assert survivors == []


@pytest.mark.parametrize("seed", range(20))
def test_a_total_reported_wrong_is_rejected(real_plans, seed):
    asked, plan = real_plans[seed % len(real_plans)]
    wrong_by_eur = np.random.default_rng(seed).uniform(1e-4, 1)
    assert asked.faults(plan.table, plan.cost_eur + wrong_by_eur)


def test_the_plan_of_another_day_is_rejected(real_plans):
    """A stale answer of the solver, with today's times on it."""
    (today, _), (_, yesterday) = real_plans[1], real_plans[0]
    assert today.faults(yesterday.table.set_axis(today.load.index), yesterday.cost_eur)


def test_the_cycles_of_many_sites_are_counted_by_each_ones_calendar(ask):
    """4 kWh each from 22:00 and 23:00 UTC: in UTC one day's 0.8 cycles, in Copenhagen 0.4 on each side of midnight."""
    asked = ask(import_price=0.6, export_price=[0.1, 0.1, 0.0], start="2026-02-03T22:00Z", initial_soc=1.0)
    zones = ["Europe/Copenhagen", "UTC", "Europe/Copenhagen"]
    sites = [asked.site.model_copy(update={"name": zone, "timezone": zone}) for zone in zones]
    table = asked.table(discharge_kw=[4, 4, 0])
    columns = {name: np.tile(table[name].to_numpy(), (3, 1)) for name in COLUMNS}
    given = {name: asked.given[name] for name in ("import_price", "export_price")} | {"initial_soc": 1.0}
    judged = Asked.of(sites, Request(**given, strategy=Strategy(cycles_per_day=0.5)))
    faults = checker.check_many(judged, columns, np.full(3, table["cost_eur"].sum()))
    assert [(fault.rule, fault.site, fault.start[:10]) for fault in faults] == [("cycle budget", "UTC", "2026-02-03")]
    tighter = Asked.of(sites, Request(**given, strategy=Strategy(cycles_per_day=0.3)))
    starts = {fault.start for fault in checker.check_many(tighter, columns, np.full(3, table["cost_eur"].sum()))}
    assert starts == {"2026-02-03 22:00:00+00:00", "2026-02-03 23:00:00+00:00"}

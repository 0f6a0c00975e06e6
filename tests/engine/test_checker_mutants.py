"""Plans spoilt in every way that we could think of are rejected, by the rule that forbids it; dust is forgiven.

Each class of mutation takes a sound plan of a real day and spoils it at random places by random amounts; where that
hides it better, all other figures are made to agree with the spoilt one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from console.sample import sample_days
from engine import GridConnection, PvArray
from engine.plan import COLUMNS
from tests.engine.conftest import Case
from tests.engine.test_checker import changed, priced

MUTANTS_PER_CLASS = 20
DUST, BARELY = 4e-7, 4e-6
SOME_KW = 1e-3


@dataclass(frozen=True)
class Sound:
    """A sound plan, what was asked, and the dice."""

    case: Case
    table: pd.DataFrame
    rng: np.random.Generator

    @property
    def some_kw(self) -> float:
        return float(self.rng.uniform(SOME_KW, 2.0))

    @property
    def step(self) -> pd.Timedelta:
        return pd.Timedelta(hours=self.case.step_h)

    def where(self, having: pd.Series | None = None) -> int:
        """Some interval, of those at which a condition holds."""
        return int(self.rng.choice(np.arange(len(self.table)) if having is None else np.flatnonzero(having)))

    def moved(self, position: int, **by_kw: float) -> pd.DataFrame:
        """The table with powers changed at one interval, state of charge and money worked out anew."""
        table = self.table
        for column, kw in by_kw.items():
            table = changed(table, column, position, table[column].iloc[position] + kw)
        return priced(self.case, table)

    def decided(self, **decisions: float) -> pd.DataFrame:
        """The day with the battery's powers set throughout; balanced at the meter, and priced."""
        table = self.table.assign(**{"charge_kw": 0.0, "discharge_kw": 0.0, **decisions})
        drawn = table["load_kw"] - table["pv_kw"] + table["charge_kw"] - table["discharge_kw"]
        return priced(self.case, table.assign(import_kw=drawn.clip(lower=0), export_kw=(-drawn).clip(lower=0)))


@dataclass(frozen=True)
class Mutant:
    """A spoilt plan; `case` and `cost_eur` where they are not those of the sound one, or the sum of its rows."""

    table: pd.DataFrame
    case: Case | None = None
    cost_eur: float | None = None


MUTATIONS: dict[str, tuple[str, Callable[[Sound], Mutant]]] = {}


def breaks(rule: str) -> Callable[[Callable[[Sound], Mutant]], Callable[[Sound], Mutant]]:
    def register(mutate: Callable[[Sound], Mutant]) -> Callable[[Sound], Mutant]:
        MUTATIONS[mutate.__name__] = rule, mutate
        return mutate

    return register


# The store.


@breaks("physics")
def soc_drifting(sound: Sound) -> Mutant:
    drift = sound.rng.choice([-1, 1]) * sound.rng.uniform(1e-6, 1e-3)
    return Mutant(sound.table.assign(soc=sound.table["soc"] + drift * np.arange(1, len(sound.table) + 1)))


@breaks("physics")
def soc_from_another_start(sound: Sound) -> Mutant:
    return Mutant(sound.table.assign(soc=sound.table["soc"] + sound.rng.choice([-1, 1]) * sound.rng.uniform(1e-5, 0.3)))


@breaks("physics")
def soc_clipped_to_less_than_it_is(sound: Sound) -> Mutant:
    soc = sound.table["soc"]
    return Mutant(sound.table.assign(soc=soc.clip(upper=soc.max() - sound.rng.uniform(1e-4, 0.1))))


@breaks("physics")
def losses_forgotten(sound: Sound) -> Mutant:
    lossless = sound.case.site.battery.model_copy(update={"charge_efficiency": 1.0, "discharge_efficiency": 1.0})
    case = sound.case.but(site=sound.case.site.model_copy(update={"battery": lossless}))
    return Mutant(priced(case, sound.table))


@breaks("physics")
def soc_of_another_step(sound: Sound) -> Mutant:
    change = sound.table["soc"] - sound.case.initial_soc
    return Mutant(sound.table.assign(soc=sound.case.initial_soc + change * sound.rng.choice([0.5, 2.0, 4.0])))


@breaks("soc band")
def overfull(sound: Sound) -> Mutant:
    return Mutant(sound.decided(charge_kw=float(sound.rng.uniform(2.0, 5.0))))


@breaks("soc band")
def overdrawn(sound: Sound) -> Mutant:
    return Mutant(sound.decided(discharge_kw=float(sound.rng.uniform(2.0, 5.0))))


@breaks("final_soc")
def final_soc_barely_missed(sound: Sound) -> Mutant:
    more = float(sound.rng.uniform(2e-6, 0.2))
    return Mutant(sound.table, sound.case.but(final_soc_min=float(sound.table["soc"].iloc[-1]) + more))


@breaks("final_soc")
def idle_though_more_was_asked_for(sound: Sound) -> Mutant:
    return Mutant(sound.decided(), sound.case.but(final_soc_min=sound.case.initial_soc + sound.rng.uniform(0.01, 0.3)))


# Power.


@breaks("rating")
def charge_above_rating(sound: Sound) -> Mutant:
    more_kw = sound.case.site.battery.max_charge_kw + sound.some_kw
    return Mutant(sound.moved(sound.where(), charge_kw=more_kw, import_kw=more_kw))


@breaks("rating")
def discharge_above_rating(sound: Sound) -> Mutant:
    more_kw = sound.case.site.battery.max_discharge_kw + sound.some_kw
    return Mutant(sound.moved(sound.where(), discharge_kw=more_kw, export_kw=more_kw))


@breaks("both directions")
def charging_while_discharging(sound: Sound) -> Mutant:
    kw = sound.some_kw
    moving = sound.table["charge_kw"] + sound.table["discharge_kw"] > SOME_KW
    return Mutant(sound.moved(sound.where(moving), charge_kw=kw, discharge_kw=kw))


@breaks("both directions")
def buying_while_selling(sound: Sound) -> Mutant:
    kw = sound.some_kw
    return Mutant(sound.moved(sound.where(), import_kw=kw, export_kw=kw))


@breaks("import limit")
def import_above_limit(sound: Sound) -> Mutant:
    position = sound.where(sound.table["import_kw"] > 0)
    kw = sound.case.site.grid.import_limit_kw - sound.table["import_kw"].iloc[position] + sound.some_kw
    return Mutant(sound.moved(position, import_kw=kw, charge_kw=kw))


@breaks("export limit")
def export_above_limit(sound: Sound) -> Mutant:
    position = sound.where(sound.table["import_kw"] == 0)
    kw = sound.case.site.grid.export_limit_kw - sound.table["export_kw"].iloc[position] + sound.some_kw
    return Mutant(sound.moved(position, export_kw=kw, discharge_kw=kw))


@breaks("balance")
def energy_from_nowhere(sound: Sound) -> Mutant:
    return Mutant(sound.moved(sound.where(), export_kw=sound.some_kw))


@breaks("balance")
def energy_to_nowhere(sound: Sound) -> Mutant:
    return Mutant(sound.moved(sound.where(), import_kw=sound.some_kw))


@breaks("sign")
def registers_netted(sound: Sound) -> Mutant:
    table = sound.table
    return Mutant(priced(sound.case, table.assign(import_kw=table["import_kw"] - table["export_kw"], export_kw=0.0)))


@breaks("sign")
def battery_netted(sound: Sound) -> Mutant:
    table = sound.table
    netted = table.assign(discharge_kw=table["discharge_kw"] - table["charge_kw"], charge_kw=0.0)
    return Mutant(priced(sound.case, netted))


@breaks("balance")
def one_power_scaled(sound: Sound) -> Mutant:
    """An efficiency applied once too often, or kWh for kW."""
    column = str(sound.rng.choice(["charge_kw", "discharge_kw", "import_kw", "export_kw"]))
    return Mutant(
        priced(sound.case, sound.table.assign(**{column: sound.table[column] * sound.rng.uniform(0.2, 0.99)}))
    )


@breaks("balance")
def rounded_as_a_device_would(sound: Sound) -> Mutant:
    column = str(sound.rng.choice(["charge_kw", "discharge_kw"]))
    return Mutant(priced(sound.case, sound.table.assign(**{column: sound.table[column].round(1)})))


# Sun and load.


@breaks("curtailment")
def curtailed_without_leave(sound: Sound) -> Mutant:
    position = sound.where(sound.table["pv_kw"] > SOME_KW)
    kw = sound.rng.uniform(0.1, 1.0) * sound.table["pv_kw"].iloc[position]
    fixed = sound.case.but(site=sound.case.site.model_copy(update={"pv": PvArray(curtailable=False)}))
    return Mutant(sound.moved(position, curtailment_kw=kw, pv_kw=-kw, import_kw=kw), fixed)


@breaks("sign")
def more_curtailed_than_shines(sound: Sound) -> Mutant:
    position = sound.where()
    kw = sound.table["pv_kw"].iloc[position] + sound.some_kw
    return Mutant(sound.moved(position, curtailment_kw=kw, pv_kw=-kw, import_kw=kw))


@breaks("pv")
def curtailed_and_used(sound: Sound) -> Mutant:
    return Mutant(sound.moved(sound.where(), curtailment_kw=sound.some_kw))


@breaks("pv")
def sun_at_night(sound: Sound) -> Mutant:
    position = sound.where(sound.table["import_kw"] > SOME_KW)
    kw = sound.rng.uniform(0.1, 1.0) * sound.table["import_kw"].iloc[position]
    return Mutant(sound.moved(position, pv_kw=kw, import_kw=-kw))


@breaks("load")
def load_shed(sound: Sound) -> Mutant:
    position = sound.where(sound.table["import_kw"] > SOME_KW)
    kw = sound.rng.uniform(0.1, 1.0) * sound.table["import_kw"].iloc[position]
    return Mutant(sound.moved(position, load_kw=-kw, import_kw=-kw))


# Money.


@breaks("cost")
def cost_of_one_interval_wrong(sound: Sound) -> Mutant:
    position = sound.where()
    eur = sound.table["cost_eur"].iloc[position] + sound.rng.choice([-1, 1]) * sound.rng.uniform(1e-5, 1)
    return Mutant(changed(sound.table, "cost_eur", position, eur))


@breaks("cost")
def cost_moved_to_another_interval(sound: Sound) -> Mutant:
    """The sum is as it was."""
    first, second = (int(position) for position in sound.rng.choice(len(sound.table), 2, replace=False))
    eur = sound.rng.uniform(1e-5, 1)
    table = changed(sound.table, "cost_eur", first, sound.table["cost_eur"].iloc[first] + eur)
    return Mutant(changed(table, "cost_eur", second, table["cost_eur"].iloc[second] - eur))


@breaks("cost")
def total_wrong(sound: Sound) -> Mutant:
    total_eur = float(sound.table["cost_eur"].sum())
    return Mutant(sound.table, cost_eur=total_eur + sound.rng.choice([-1, 1]) * 10 ** sound.rng.uniform(-4, 3))


@breaks("cost")
def prices_exchanged(sound: Sound) -> Mutant:
    exchanged = sound.case.but(import_price=sound.case.export_price, export_price=sound.case.import_price)
    return Mutant(priced(exchanged, sound.table))


@breaks("cost")
def prices_of_another_time(sound: Sound) -> Mutant:
    late = np.roll(sound.case.import_price.to_numpy(), int(sound.rng.integers(4, 40)))
    return Mutant(priced(sound.case.but(import_price=pd.Series(late, sound.table.index)), sound.table))


@breaks("cost")
def wear_forgotten(sound: Sound) -> Mutant:
    unworn = sound.case.site.battery.model_copy(update={"wear_eur_per_kwh": 0.0})
    return Mutant(priced(sound.case.but(site=sound.case.site.model_copy(update={"battery": unworn})), sound.table))


@breaks("cost")
def cost_per_hour(sound: Sound) -> Mutant:
    return Mutant(sound.table.assign(cost_eur=sound.table["cost_eur"] / sound.case.step_h))


# Time and shape.


@breaks("horizon")
def shifted(sound: Sound) -> Mutant:
    steps = int(sound.rng.choice([-1, 1]) * sound.rng.integers(1, 97))
    return Mutant(sound.table.set_axis(sound.table.index + steps * sound.step))


@breaks("horizon")
def of_another_step(sound: Sound) -> Mutant:
    freq = str(sound.rng.choice(["5min", "30min", "60min"]))
    index = pd.date_range(sound.table.index[0], periods=len(sound.table), freq=freq)
    return Mutant(sound.table.set_axis(index))


@breaks("horizon")
def an_interval_lost_and_another_twice(sound: Sound) -> Mutant:
    order = np.arange(len(sound.table))
    order[sound.rng.integers(1, len(order))] -= 1
    return Mutant(sound.table.iloc[order])


@breaks("horizon")
def cut_short(sound: Sound) -> Mutant:
    return Mutant(sound.table.iloc[: int(sound.rng.integers(1, len(sound.table)))])


@breaks("columns")
def a_column_lost(sound: Sound) -> Mutant:
    total_eur = float(sound.table["cost_eur"].sum())
    return Mutant(sound.table.drop(columns=str(sound.rng.choice(COLUMNS))), cost_eur=total_eur)


@breaks("finite")
def no_number(sound: Sound) -> Mutant:
    total_eur = float(sound.table["cost_eur"].sum())
    value = float(sound.rng.choice([np.nan, np.inf, -np.inf]))
    return Mutant(changed(sound.table, str(sound.rng.choice(COLUMNS)), sound.where(), value), cost_eur=total_eur)


@pytest.fixture(scope="module")
def sound_plans(sample_case) -> list[tuple[Case, pd.DataFrame]]:
    """Real days at a site whose limits, band and array all matter."""
    plans = []
    for day in sample_days()[::5]:
        case = sample_case(day)
        battery = case.site.battery.model_copy(update={"max_soc": 0.9})
        grid = GridConnection(import_limit_kw=8.0, export_limit_kw=0.3)
        site = case.site.model_copy(update={"battery": battery, "grid": grid, "pv": PvArray(curtailable=True)})
        case = case.but(site=site)
        plans.append((case, case.plan("lp").table))
    return plans


def test_the_plans_are_sound_and_use_all_that_is_spoilt(sound_plans):
    for case, table in sound_plans:
        assert case.faults(table, float(table["cost_eur"].sum())) == ()
        assert table["import_kw"].max() <= 8.0 + DUST
    whole = pd.concat([table for _, table in sound_plans])
    assert (whole.drop(columns="cost_eur").max() > 0.05).all()


def test_the_mutants_are_more_than_500_and_of_every_rule():
    assert len(MUTATIONS) * MUTANTS_PER_CLASS >= 500
    rules = {rule for rule, _ in MUTATIONS.values()}
    assert rules == {
        *("physics", "soc band", "final_soc", "rating", "both directions", "import limit", "export limit", "balance"),
        *("sign", "curtailment", "pv", "load", "cost", "horizon", "columns", "finite"),
    }


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_mutant_is_rejected_by_the_rule_that_it_breaks(sound_plans, name):
    rule, mutate = MUTATIONS[name]
    for seed in range(MUTANTS_PER_CLASS):
        case, table = sound_plans[seed % len(sound_plans)]
        mutant = mutate(Sound(case, table, np.random.default_rng(seed)))
        cost_eur = float(mutant.table["cost_eur"].sum()) if mutant.cost_eur is None else mutant.cost_eur
        faults = (mutant.case or case).faults(mutant.table, cost_eur)
        assert rule in {fault.rule for fault in faults}, f"seed {seed}: {faults}"


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize(("by", "rejected"), [(DUST, False), (BARELY, True)], ids=["dust", "barely more than dust"])
def test_one_figure_may_be_off_by_the_dust_of_arithmetic_and_no_more(sound_plans, column, by, rejected):
    for seed in range(MUTANTS_PER_CLASS):
        case, table = sound_plans[seed % len(sound_plans)]
        rng = np.random.default_rng(seed)
        position, off = int(rng.integers(len(table))), rng.choice([-by, by])
        spoilt = changed(table, column, position, table[column].iloc[position] + off)
        faults = case.faults(spoilt, float(table["cost_eur"].sum()))
        assert bool(faults) == rejected, f"seed {seed}: {faults}"

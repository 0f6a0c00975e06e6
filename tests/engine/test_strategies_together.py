"""Wishes in any combination: both solvers, the checker and a program written from the mathematics alone agree.

The program knows guards and targets as limits, self-consumption as prices, a warranty as cycles, trades as what is
bought, sold and left as imbalance, a schedule as a distance, and capacity as what it keeps free at either end.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine import PlanRejectedError, PvArray, Strategy, site_model, storage_dp
from tests.engine.test_model_agreement import Oracle, objective_eur, reserve, series

SAME_EUR = 1e-6
INTERVALS = 8
KEEPS_FREE = {
    "fcr_n": (1.34, 1.34, 1.0, 1.0),
    "fcr_d_up": (1.0, 0.2, 1 / 3, 0.0),
    "fcr_d_down": (0.2, 1.0, 0.0, 1 / 3),
    "afrr_up": (1.0, 0.0, 1.0, 0.0),
    "afrr_down": (0.0, 1.0, 0.0, 1.0),
}
MARKETS = ("none", "intraday", "imbalance", "both", "follow grid", "follow battery", "self-consumption")


@dataclass(frozen=True)
class Wished:
    """An ask with wishes, and the same with all that plain limits and prices can say said by them."""

    asked: Any
    plain: Any


def wished(random_ask: Any, seed: int, *, capacity: bool, market: str | None = None) -> Wished:
    rng = np.random.default_rng([18, seed])

    def one_of(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    def price() -> Any:
        return rng.uniform(-0.05, 0.4, INTERVALS)

    market = market or one_of(*MARKETS)
    guard = one_of("curtail", "hold_battery")
    wishes: dict[str, Any] = {
        "import_target_kw": one_of(None, 0.5, 2.0),
        "export_floor_eur_per_kwh": one_of(None, 0.05),
        "throughput_price_eur_per_kwh": 0.0 if market == "self-consumption" else one_of(0.0, 0.05),
    }
    given: dict[str, Any] = {}
    if wishes["import_target_kw"] is not None:
        wishes["import_target_price_eur_per_kwh"] = one_of(None, 0.02, 0.3)
    if wishes["export_floor_eur_per_kwh"] is not None:
        wishes["export_guard"] = guard
    if rng.random() < 0.25:
        wishes |= {"warranty_throughput_mwh": 8.0, "warranty_years": 10.0, "warranty_used_mwh": one_of(0.0, 3.0)}
    if market in ("intraday", "both"):
        middle, half = price(), rng.uniform(0.0, 0.05)
        wishes["intraday"] = True
        given |= {"bid_price": middle - half, "ask_price": middle + half}
    if market in ("imbalance", "both"):
        wishes |= {"imbalance_kw": one_of(0.0, 1.5), "imbalance_side": one_of("both", "long", "short")}
        wishes |= {"imbalance_from_hour": one_of(0, 21), "imbalance_to_hour": one_of(22, 24)}
        given["imbalance_price"] = price()
    if market in ("intraday", "imbalance", "both"):
        given["position_kw"] = rng.uniform(-2, 2, INTERVALS)
    if market.startswith("follow"):
        wishes |= {"follow": market.split()[1], "follow_price_eur_per_kwh": one_of(0.03, 0.5)}
        given["schedule_kw"] = rng.uniform(-3, 3, INTERVALS)
    if market == "self-consumption":
        wishes |= {"objective": "self_consumption", "carbon_eur_per_kg": 0.0}
    if capacity:
        wishes |= {"grid_charging": True, "battery_export": "allowed"}
        products = [name for name in KEEPS_FREE if rng.random() < 0.5] or ["fcr_n"]
        wishes |= {f"{name}_kw": one_of(0.5, 4.0) for name in products}
        wishes["balancing_price_floor_eur_per_kw_h"] = one_of(0.0, 0.02)
        given["balancing_price"] = {name: rng.uniform(0, 0.05, INTERVALS) for name in products}
        given["balancing_sold_kw"] = {products[0]: np.full(INTERVALS, one_of(0.0, 0.3))}
    asked = random_ask(seed, INTERVALS, **wishes)
    site = asked.site
    if guard == "curtail":
        site = site.model_copy(update={"pv": PvArray(curtailable=True)})
    asked = type(asked)(site.model_copy(update={"local_control": True}), asked.given).but(**given)
    return Wished(asked, said_plainly(asked))


def said_plainly(asked: Any) -> Any:
    strategy: Strategy = asked.given["strategy"]
    import_limit, export_limit = (np.array(series(asked, f"{way}_limit_kw", np.inf)) for way in ("import", "export"))
    most_discharge = np.array(series(asked, "max_discharge_kw", np.inf))
    load, sun = asked.given["load"].to_numpy(), asked.given["pv"].to_numpy()
    if strategy.import_target_kw is not None and strategy.import_target_price_eur_per_kwh is None:
        import_limit = np.minimum(import_limit, strategy.import_target_kw)
    if strategy.export_floor_eur_per_kwh is not None:
        low = asked.given["export_price"].to_numpy() < strategy.export_floor_eur_per_kwh
        if strategy.export_guard == "curtail":
            export_limit = np.where(low, 0.0, export_limit)
        else:
            most_discharge = np.where(low, np.minimum(most_discharge, np.maximum(load - sun, 0)), most_discharge)
    battery = asked.site.battery
    wishes: dict[str, Any] = {}
    changes: dict[str, Any] = {}
    if strategy.warranty_throughput_mwh is not None:
        left_kwh = (strategy.warranty_throughput_mwh - strategy.warranty_used_mwh) * 1000
        pace = left_kwh / (10 * 365.25) / battery.capacity_kwh
        wishes["cycles_per_day"] = min(pace, strategy.cycles_per_day or np.inf)
    wear = battery.wear_eur_per_kwh + strategy.throughput_price_eur_per_kwh
    if strategy.objective == "self_consumption":
        wear, wishes = 0.0, {**wishes, "grid_charging": False, "battery_export": "never"}
        passed = np.arange(INTERVALS) / INTERVALS
        changes = {"import_price": 1 + 1e-3 * (1 - passed), "export_price": 1e-5 * (1 + passed)}
        changes["terminal_value_eur_per_kwh"] = 1e-4
    return asked.but(
        battery={"wear_eur_per_kwh": wear},
        import_limit_kw=import_limit,
        export_limit_kw=export_limit,
        max_discharge_kw=most_discharge,
        strategy=strategy.model_copy(update=wishes),
        **changes,
    )


def sides(asked: Any) -> tuple[np.ndarray, np.ndarray]:
    """How much more, and how much less, may be delivered than is sold [kW]."""
    strategy = asked.given["strategy"]
    hours = asked.index.tz_convert(asked.site.timezone).hour
    inside = (hours >= strategy.imbalance_from_hour) & (hours < strategy.imbalance_to_hour)
    most = inside * (strategy.imbalance_kw or 0.0)
    return most * (strategy.imbalance_side != "short"), most * (strategy.imbalance_side != "long")


def total_eur(both: Wished, plan: Any) -> float:
    """What a plan minimises, reckoned from its table and the definition of each wish."""
    plain, h, table, strategy = both.plain, both.plain.step_h, plan.table, both.plain.given["strategy"]
    bought = table["import_kw"] @ plain.given["import_price"].to_numpy()
    sold = table["export_kw"] @ plain.given["export_price"].to_numpy()
    eur = h * (bought - sold + table["discharge_kw"].sum() * plain.site.battery.wear_eur_per_kwh)
    drawn = (table["import_kw"] - table["export_kw"]).to_numpy()
    if strategy.intraday:
        prices = np.where(table["trade_kw"] > 0, series(plain, "bid_price", 0.0), series(plain, "ask_price", 0.0))
        eur -= h * float(table["trade_kw"] @ prices)
    if strategy.imbalance_kw is not None:
        eur -= h * float(table["imbalance_kw"] @ series(plain, "imbalance_price", 0.0))
        if not strategy.intraday:
            long, short = sides(plain)
            missed = np.maximum(table["imbalance_kw"] - long, 0) + np.maximum(-table["imbalance_kw"] - short, 0)
            eur += plan.problem.breach.promise * h * float(missed.sum())
    if strategy.import_target_price_eur_per_kwh is not None:
        beyond = np.maximum(drawn - strategy.import_target_kw, 0).sum()
        eur += h * strategy.import_target_price_eur_per_kwh * float(beyond)
    if strategy.follow is not None:
        own = {"grid": drawn, "battery": (table["discharge_kw"] - table["charge_kw"]).to_numpy()}[strategy.follow]
        off = np.abs(own - series(plain, "schedule_kw", 0.0)).sum()
        eur += h * strategy.follow_price_eur_per_kwh * float(off)
    eur -= held_eur(plain, plan)
    reckoned = SimpleNamespace(table=table, cost_eur=eur + plan.breakdown.demand_eur, problem=plan.problem)
    return objective_eur(plain, reckoned)


def given_of(asked: Any, name: str, product: str) -> np.ndarray:
    own = asked.given.get(name, {}).get(product)
    return np.zeros(INTERVALS) if own is None else own.to_numpy()


def most_held(asked: Any, product: str) -> np.ndarray:
    """What may be held of a product, by the mean price of its hour [kW]."""
    strategy, hours = asked.given["strategy"], asked.index.floor("h")
    price = pd.Series(given_of(asked, "balancing_price", product)).groupby(hours).transform("mean").to_numpy()
    offered = np.where(price >= strategy.balancing_price_floor_eur_per_kw_h, getattr(strategy, f"{product}_kw"), 0.0)
    return np.maximum(offered, given_of(asked, "balancing_sold_kw", product))


def floor_kwh(asked: Any) -> np.ndarray:
    """Store below this backs no capacity."""
    strategy, battery = asked.given["strategy"], asked.site.battery
    kept = 0.0 if strategy.reserve_breach_price is not None else reserve(asked)
    return np.maximum(np.full(INTERVALS, battery.min_soc), kept) * battery.capacity_kwh


def held_eur(asked: Any, plan: Any) -> float:
    """What capacity earns, less what weighs of it that is sold and not held."""
    h, table, weight = asked.step_h, plan.table, plan.problem.breach.promise
    earned, missing = 0.0, 0.0
    for name in KEEPS_FREE:
        if f"{name}_kw" not in table:
            continue
        held = table[f"{name}_kw"].to_numpy()
        earned += h * float(held @ given_of(asked, "balancing_price", name))
        missing += float(np.maximum(given_of(asked, "balancing_sold_kw", name) - held, 0).sum())
    return earned - weight * h * float(missing)


class WishedOracle(Oracle):
    """The program with rows of its own for each wish."""

    def __init__(self, both: Wished, breach: Any) -> None:
        self._held: dict[Any, Any] = {}
        super().__init__(both.plain, breach)

    def _wish(self, t: int, stores: tuple[Any, Any], battery_kwh: Any, within_kwh: Any, beyond_kwh: Any) -> None:
        strategy, h = self._ask.given["strategy"], self._ask.step_h
        drawn_kwh = within_kwh + beyond_kwh
        self._hold(t, stores, battery_kwh, within_kwh)

        def at(name: str) -> float:
            return float(series(self._ask, name, 0.0)[t])

        if strategy.intraday or strategy.imbalance_kw is not None:
            long, short = (float(most[t]) * h for most in sides(self._ask))
            more, less = self._variable(long), self._variable(short)
            sells, buys = (self._variable(None if strategy.intraday else 0.0) for _ in range(2))
            missing, over = (
                (self._variable(0.0), self._variable(0.0))
                if strategy.intraday
                else (self._soft(self._breach.promise), self._soft(self._breach.promise))
            )
            self._require(-1 * drawn_kwh == h * at("position_kw") + sells - buys + more - less + over - missing)
            self._cost = self._cost - at("bid_price") * sells + at("ask_price") * buys
            self._cost = self._cost - at("imbalance_price") * (more - less + over - missing)
        if strategy.import_target_price_eur_per_kwh is not None:
            beyond = self._soft(strategy.import_target_price_eur_per_kwh)
            self._require(drawn_kwh <= h * strategy.import_target_kw + beyond)
        if strategy.follow is not None:
            off = self._soft(strategy.follow_price_eur_per_kwh)
            own = drawn_kwh if strategy.follow == "grid" else -1 * battery_kwh
            self._require(own - h * at("schedule_kw") <= off)
            self._require(h * at("schedule_kw") - own <= off)

    def _hold(self, t: int, stores: tuple[Any, Any], battery_kwh: Any, within_kwh: Any) -> None:
        """Capacity held in an interval; all figures for an hour of it, so that a kW is a kWh over `h`."""
        ask, battery, strategy, h = self._ask, self._ask.site.battery, self._ask.given["strategy"], self._ask.step_h
        up, down, up_kwh, down_kwh = 0.0, 0.0, 0.0, 0.0
        for name, (up_kw, down_kw, up_h, down_h) in KEEPS_FREE.items():
            if not getattr(strategy, f"{name}_kw"):
                continue
            block = name, ask.index[t].floor("h")
            if block not in self._held:
                own_hour = ask.index.floor("h") == block[1]
                self._held[block] = self._variable(float(most_held(ask, name)[own_hour].max()))
            held = self._held[block]
            up, down = up + up_kw * h * held, down + down_kw * h * held
            up_kwh, down_kwh = up_kwh + up_h * held, down_kwh + down_h * held
            self._require(held + self._soft(self._breach.promise * h) >= given_of(ask, "balancing_sold_kw", name)[t])
            self._cost = self._cost - h * given_of(ask, "balancing_price", name)[t] * held
        if isinstance(up, float):
            return
        most = {}
        for way in ("charge", "discharge"):
            available = series(ask, f"max_{way}_kw", np.inf)[t]
            most[way] = h * min(getattr(battery, f"max_{way}_kw"), available)
        self._require(up - battery_kwh <= most["discharge"])
        self._require(battery_kwh + down <= most["charge"])
        for way, free, sign in (("charge", down, 1), ("discharge", up, -1)):
            points = getattr(battery, f"{way}_kw_at_soc")
            for (soc, kw), (next_soc, next_kw) in itertools.pairwise(points):
                slope = (next_kw - kw) / (next_soc - soc)
                most_here = h * (kw - slope * soc) + (h * slope / battery.capacity_kwh) * stores[1]
                self._require(sign * battery_kwh + free <= most_here)
            if points:
                self._require(sign * battery_kwh + free <= h * max(kw for _, kw in points))
        for way, flow, free in (("import", within_kwh, down), ("export", -1 * within_kwh, up)):
            limit = getattr(ask.site.grid, f"{way}_limit_kw")
            limit = min(np.inf if limit is None else limit, series(ask, f"{way}_limit_kw", np.inf)[t])
            if np.isfinite(limit):
                self._require(flow + free <= h * limit)
        capacity = battery.capacity_kwh
        for stored in stores:
            for kwh, there in (
                (up_kwh * (1 / battery.discharge_efficiency), stored - floor_kwh(ask)[t]),
                (down_kwh * battery.charge_efficiency, battery.max_soc * capacity - stored),
            ):
                none = self._binary()
                self._require(kwh <= there + 2 * capacity * none)
                self._require(kwh <= 2 * capacity * (1 - none))

    def _variable(self, most: float | None = None, least: float = 0.0) -> Any:
        return super()._variable(*(() if most is None else (most,)), least=least)


@pytest.mark.parametrize("batch", range(12))
def test_both_solvers_agree_with_each_other_and_with_the_mathematics(random_ask, batch):
    kinds: Counter[str] = Counter()
    for number in range(25):
        both = wished(random_ask, 100 * batch + number, capacity=False)
        fast, reference = both.asked.plan("auto"), both.asked.plan("lp")
        found, expected = total_eur(both, fast), total_eur(both, reference)
        assert found == pytest.approx(expected, rel=1e-8, abs=1e-7), (batch, number, fast.why)
        least = WishedOracle(both, reference.problem.breach).least_eur()
        assert expected == pytest.approx(least, rel=1e-8, abs=SAME_EUR), (batch, number, reference.why)
        kinds["dynamic program"] += fast.solver == "storage DP"
        kinds["bent"] += fast.solver == "storage DP" and bool(fast.problem.commitments)
        kinds["handed over"] += fast.solver != "storage DP"
    # Else the batch proved nothing.
    assert kinds["bent"] >= 2
    assert kinds["dynamic program"] >= 5
    assert kinds["handed over"] >= 2


@pytest.mark.parametrize("batch", range(10))
def test_capacity_is_sold_as_the_mathematics_says_whatever_else_is_wished(random_ask, batch):
    markets = ("none", "intraday", "imbalance", "both", "follow grid", "follow battery")
    held, breached = 0, 0
    for number in range(12):
        seed = 100 * batch + number
        both = wished(random_ask, seed, capacity=True, market=markets[seed % len(markets)])
        plan = both.asked.plan("auto")
        least = WishedOracle(both, plan.problem.breach).least_eur()
        assert total_eur(both, plan) == pytest.approx(least, rel=1e-8, abs=SAME_EUR), (batch, number, plan.why)
        assert "balancing capacity ties" in plan.why
        held += plan.breakdown.balancing_eur > 0
        breached += bool(plan.breaches)
    # Else the batch proved nothing.
    assert held >= 3
    assert breached >= 1


@pytest.mark.parametrize(
    ("rows", "capacity"), [("_commitments", False), ("_balancing", True), ("_backed", True), ("_directions", False)]
)
def test_a_program_without_one_kind_of_rows_is_found_out(random_ask, monkeypatch, rows, capacity):
    """What the comparisons above can see: without these rows some plan is dearer than the oracle's, or withheld."""
    monkeypatch.setattr(site_model.SiteModel, rows, lambda *_: None)
    for seed in range(200):
        both = wished(random_ask, seed, capacity=capacity, market="both" if capacity else None)
        try:
            plan = both.asked.plan("lp")
        except (PlanRejectedError, KeyError):
            return
        if abs(total_eur(both, plan) - WishedOracle(both, plan.problem.breach).least_eur()) > 1e-4:
            return
    pytest.fail("nobody noticed")


def test_a_dynamic_program_without_its_bends_is_found_out(random_ask, monkeypatch):
    plain = storage_dp.NO_BENDS
    none = {"bend_at": plain, "bend_discharging": plain, "bend_charging": plain}
    monkeypatch.setattr(storage_dp, "_bends", lambda _: none)
    for seed in range(50):
        both = wished(random_ask, seed, capacity=False, market="intraday")
        fast, reference = both.asked.plan("auto"), both.asked.plan("lp")
        if fast.solver == "storage DP" and total_eur(both, fast) > total_eur(both, reference) + 1e-4:
            return
    pytest.fail("nobody noticed")

"""Plans as vendors can carry them: what is lost is told, and little is lost to few calls."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adapters.contract import CallBudget, Command, Device
from adapters.huawei.adapter import create
from adapters.huawei.flow import CONTROL_CALLS_PER_DAY
from console.sample import sample_days, sample_series, sample_site
from engine import InputError, Plan, PvArray, optimise
from engine.intent import IntentMode, intents_of
from engine.intent_merging import CallCosts
from engine.plan import cost_without_battery_eur
from schedules.translation import translate
from tests.intents import CHARGE, DISCHARGE, FOLLOW, HOLD

EVERY_CALL = CallCosts(dict.fromkeys(IntentMode, 1), behind_another=1, stopped_for=frozenset(IntentMode))


@dataclass
class Vendor:
    """As much of an adapter as a translation asks."""

    budget: CallBudget

    @property
    def abilities(self) -> Any:
        return SimpleNamespace(modes=frozenset(self.budget.costs.per_intent))

    def call_budget(self, _device: Device, _until: Any) -> CallBudget:
        return self.budget


class Limiting:
    """A vendor that can limit export."""

    abilities = SimpleNamespace(modes=frozenset(IntentMode))
    limited = frozenset({"B1"})

    def limits_export(self, device: Device) -> bool:
        return device.device_id in self.limited

    def limit_export(self, _device: Device, _export_limit_kw: float | None) -> Command:
        raise AssertionError("a translation sends nothing")


class LimitingOthers(Limiting):
    limited = frozenset({"B2"})


class SparingLimiting(Vendor, Limiting):
    pass


def target(vendor: Any) -> Any:
    return SimpleNamespace(adapter=vendor, device=Device("B1", sample_site().battery))


def plan_of(day: Any, restless_eur: float = 0.0) -> Plan:
    """A plan of the sample home; restless ones have a price and a load of its own in each quarter of an hour."""
    series, random = sample_series(day), np.random.default_rng(day.toordinal())
    noise = random.normal(0, restless_eur, len(series))
    return optimise(
        sample_site(),
        import_price=series["import_price_eur_per_kwh"] + noise,
        export_price=series["export_price_eur_per_kwh"] - 0.02 + noise,
        load=series["load_kw"] * (random.uniform(0.3, 1.7, len(series)) if restless_eur else 1.0),
        pv=series["pv_kw"],
        initial_soc=0.5,
        final_soc_min=0.5,
    )


@pytest.mark.parametrize("day", sample_days()[::8])
@pytest.mark.parametrize("restless_eur", [0.0, 0.01, 0.04])
def test_a_day_within_a_hundred_calls_loses_less_than_a_hundredth_of_what_the_plan_is_worth(day, restless_eur):
    plan = plan_of(day, restless_eur)
    worth_eur = cost_without_battery_eur(plan.problem) - plan.cost_eur
    translated = translate(plan, target(Vendor(CallBudget(95, EVERY_CALL))))

    assert -1e-6 * worth_eur <= translated.loss_eur <= 0.01 * worth_eur
    calls, after = 0, None
    for intent in translated.intents:
        calls += EVERY_CALL.calls(intent, after)
        after = intent.mode
    assert calls <= 95
    assert translated.intents[0].not_before == plan.table.index[0]
    for one, following in itertools.pairwise(translated.intents):
        assert one.not_after == following.not_before


@pytest.mark.parametrize(
    ("restless_eur", "reserve", "lost"),
    # On a restless day the default reserve for releases costs 4 % of what the battery earns; half of it under 1 %.
    [(0.0, {}, 0.01), (0.04, {}, 0.05), (0.04, {"control_reserve": 10}, 0.01)],
)
def test_a_day_of_a_huawei_owner_fits_the_hundred_control_calls(restless_eur, reserve, lost):
    """By the adapter's own account of what calls buy; questions about tasks would count too, and none is planned."""
    plan = plan_of(sample_days()[9], restless_eur)
    begin = plan.table.index[0].to_pydatetime()
    settings = {"base_url": "http://127.0.0.1:1", "client_id": "1", "client_secret": "s", "redirect_url": "https://r/"}
    huawei = create({**settings, **reserve, "neutral_idle_plants": ["B1"]}, lambda: begin)
    translated = translate(plan, target(huawei))

    costs = huawei.call_budget(Device("B1", sample_site().battery), begin).costs
    befores = [None, *(intent.mode for intent in translated.intents)]
    calls = sum(costs.calls(*pair) for pair in zip(translated.intents, befores, strict=False))
    assert 5 < calls <= CONTROL_CALLS_PER_DAY
    assert translated.loss_eur <= lost * (cost_without_battery_eur(plan.problem) - plan.cost_eur)


@pytest.fixture(scope="module")
def sample_plan():
    return plan_of(sample_days()[3])


def test_fewer_calls_lose_more_and_none_is_too_few_to_rest():
    plan = plan_of(sample_days()[3], 0.04)
    costs = replace(EVERY_CALL, per_intent={CHARGE: 1, DISCHARGE: 1, HOLD: 0})
    losses = [translate(plan, target(Vendor(CallBudget(calls, costs)))).loss_eur for calls in (0, 4, 10, 20, 60)]
    worth_eur = cost_without_battery_eur(plan.problem) - plan.cost_eur

    assert all(more >= less - 0.01 * worth_eur for more, less in itertools.pairwise(losses))
    assert losses[0] > 0.1 * worth_eur > losses[-1]


def test_without_scarce_calls_every_interval_has_its_intent(sample_plan):
    vendor = SimpleNamespace(abilities=SimpleNamespace(modes=frozenset(IntentMode)))
    translated = translate(sample_plan, target(vendor))

    assert translated.intents == intents_of(sample_plan)
    assert translated.loss_eur == pytest.approx(0.0, abs=1e-9)


def test_a_device_that_cannot_hold_follows_the_house_and_the_price_of_that_is_told(sample_plan):
    vendor = SimpleNamespace(abilities=SimpleNamespace(modes=frozenset({CHARGE, DISCHARGE, FOLLOW})))
    translated = translate(sample_plan, target(vendor))

    assert HOLD in {intent.mode for intent in intents_of(sample_plan)}
    assert HOLD not in {intent.mode for intent in translated.intents}
    assert translated.loss_eur > 0.01


def test_a_device_that_cannot_follow_the_house_is_told_what_the_plan_has_there(sample_plan):
    modes = frozenset({CHARGE, DISCHARGE, HOLD})
    translated = translate(sample_plan, target(SimpleNamespace(abilities=SimpleNamespace(modes=modes))))

    assert {intent.mode for intent in translated.intents} <= modes
    assert [intent.battery_kw for intent in translated.intents] == pytest.approx(
        [kw if abs(kw) >= 0.05 else 0.0 for kw in sample_plan.battery_kw]
    )
    assert abs(translated.loss_eur) < 0.01


def test_a_device_that_lacks_what_the_plan_needs_is_refused_by_name(sample_plan):
    vendor = SimpleNamespace(abilities=SimpleNamespace(modes=frozenset({CHARGE, FOLLOW, HOLD})))
    with pytest.raises(InputError, match="modes: the device has no discharge"):
        translate(sample_plan, target(vendor))


def negative_day() -> Plan:
    """The sample home with an array that may be curtailed, on a day when selling costs money around noon."""
    series = sample_series(sample_days()[3])
    noon = (series.index.hour >= 8) & (series.index.hour < 14)
    site = sample_site().model_copy(update={"pv": PvArray(curtailable=True)})
    return optimise(
        site,
        import_price=series["import_price_eur_per_kwh"],
        export_price=series["export_price_eur_per_kwh"].where(~noon, -0.2),
        load=series["load_kw"],
        pv=series["pv_kw"] + noon * 8.0,
        initial_soc=0.5,
        final_soc_min=0.5,
    )


FOR_LIMITS = CallBudget(95, replace(EVERY_CALL, per_limit=1))


@pytest.mark.parametrize(
    ("able", "unable"),
    [
        (Limiting(), LimitingOthers()),
        (Limiting(), SimpleNamespace(abilities=Limiting.abilities)),
        (SparingLimiting(FOR_LIMITS), Vendor(FOR_LIMITS)),
    ],
    ids=["not on this device", "not at all", "scarce calls"],
)
def test_a_device_that_cannot_limit_export_sells_what_the_plan_curtails_and_the_price_of_that_is_told(able, unable):
    plan = negative_day()
    curtailed_eur = 0.2 * 0.25 * plan.table["curtailment_kw"].sum()
    assert curtailed_eur > 2
    limited = translate(plan, target(able))
    unlimited = translate(plan, target(unable))

    curtailing = [start for start, kw in plan.table["curtailment_kw"].items() if kw > 0.05]
    assert all(
        any(intent.not_before <= start < intent.not_after and intent.export_limit_kw == 0 for intent in limited.intents)
        for start in curtailing
    )
    assert limited.loss_eur < 0.01 * curtailed_eur
    assert {intent.export_limit_kw for intent in unlimited.intents} == {None}
    # With scarce calls other set-points make a little of it good.
    assert unlimited.loss_eur == pytest.approx(curtailed_eur, rel=0.05)


def test_a_day_without_calls_to_spare_goes_unlimited_rather_than_without_a_plan():
    plan = negative_day()
    costs = CallCosts({CHARGE: 1, DISCHARGE: 1, FOLLOW: 1, HOLD: 1}, per_limit=1)
    translated = translate(plan, target(SparingLimiting(CallBudget(1, costs))))

    assert [intent.export_limit_kw for intent in translated.intents] == [None]
    assert translated.loss_eur > 1

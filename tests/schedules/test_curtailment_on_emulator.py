"""Hours of negative prices on an emulated cloud: what a plan curtails is not fed in, and afterwards flows again."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest
import stamina

from adapters import registry
from adapters.contract import Channel
from adapters.emulation import House
from engine import PvArray, Site
from schedules import halts, jobs
from schedules.dispatch import Dispatcher
from schedules.plans import newest_plan, stretches_between
from schedules.sites import register_site
from schedules.store import Database
from schedules.telemetry import read_telemetry

HOURS, NEGATIVE = 5, range(1, 4)
LOAD_KW, PV_KW = 1.0, 6.0
MINUTE = dt.timedelta(minutes=1)


@dataclass
class Midday:
    """What came of some sunny hours."""

    exported_kwh: list[float]
    """By the plant's own register, per hour."""
    limits_kw: list[float | None]
    """What is wanted in the middle of each hour."""
    translation_loss_eur: float
    curtailed_kwh: list[float]
    """By the plan, per hour."""
    settings: int
    """Limits that reached the vendor."""


@pytest.fixture
def midday(tmp_path, serve_vendor, site: Site):
    """Live through them: `midday(settings)`."""

    def run(**settings: Any) -> Midday:
        vendor = serve_vendor("huawei")
        begin = vendor.clock.now()
        emulated = vendor.cloud.plants["NE=1"].site
        sunny = pd.DataFrame({"load_kw": LOAD_KW, "pv_kw": PV_KW}, index=pd.date_range(begin, periods=2, freq="1h"))
        emulated.house = House(sunny)
        index = pd.date_range(begin, periods=4 * HOURS, freq="15min")
        negative = [place // 4 in NEGATIVE for place in range(4 * HOURS)]
        series = pd.DataFrame(
            {
                "import_price_eur_per_kwh": 0.30,
                "export_price_eur_per_kwh": [-0.10 if each else 0.08 for each in negative],
                "load_kw": LOAD_KW,
                "pv_kw": PV_KW,
            },
            index=index,
        )
        curtailable = site.model_copy(update={"pv": PvArray(curtailable=True)})

        async def live() -> Midday:
            db = Database.at(tmp_path / "store.sqlite")
            adapter = registry.factory("huawei")({**vendor.settings, **settings}, vendor.clock.now)
            target = register_site(db, curtailable, adapter, "huawei", "NE=1")
            halts.arm(db, vendor.clock.now, "huawei", "test")
            dispatcher = Dispatcher(db, vendor.clock.now, [target])
            await read_telemetry(db, vendor.clock.now, target, Channel.STATE)
            plan = jobs.plan_site(db, vendor.clock.now, target, series, "test")
            wanted = stretches_between(db, target.id, begin, begin + dt.timedelta(hours=HOURS))
            exported = [0.0]
            for minute in range(60 * HOURS):
                if minute % 5 == 0:
                    for channel in Channel:
                        await read_telemetry(db, vendor.clock.now, target, channel)
                await dispatcher.tick()
                vendor.after(60)
                if minute % 60 == 59:
                    exported.append(emulated.plant.registers.export_kwh)
            stored = newest_plan(db, target.id)
            assert stored is not None
            await adapter.close()
            db.close()
            middles = [begin + dt.timedelta(hours=hour, minutes=31) for hour in range(HOURS)]
            return Midday(
                [after - before for before, after in itertools.pairwise(exported)],
                [
                    next(each.intent.export_limit_kw for each in wanted if each.begin <= time < each.end)
                    for time in middles
                ],
                stored.translation_loss_eur or 0.0,
                (plan.table["curtailment_kw"].to_numpy().reshape(HOURS, 4).sum(axis=1) / 4).tolist(),
                len([each for each in vendor.events("setting") if each["kind"] == "power"]),
            )

        with stamina.set_testing(True):
            return asyncio.run(live())

    return run


def test_what_a_plan_curtails_is_not_fed_in_and_flows_again_afterwards(midday):
    found = midday()

    assert sum(found.curtailed_kwh) > 4, "the battery takes the rest"
    for hour in range(HOURS):
        if hour in NEGATIVE:
            assert found.exported_kwh[hour] < 0.05
        else:
            assert found.exported_kwh[hour] > 1
    assert found.settings == 2, "set and lifted"
    assert found.translation_loss_eur < 0.05


def test_a_plant_that_nobody_agreed_to_limit_feeds_in_and_the_plans_row_tells_the_price(midday):
    """So the test above could fail."""
    found = midday(feed_in_limit_plants=[])

    exported_kwh = sum(found.exported_kwh[hour] for hour in NEGATIVE)
    assert exported_kwh > 4
    assert found.translation_loss_eur == pytest.approx(0.10 * exported_kwh, rel=0.1)
    assert found.settings == 0
    assert set(found.limits_kw) == {None}

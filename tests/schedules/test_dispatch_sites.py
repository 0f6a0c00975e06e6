"""Two sites in one store do not see each other's intents, commands or faults."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from schedules.dispatch import Dispatcher, Outcome
from schedules.site_dispatch import SiteDispatch
from schedules.sites import register_site


@pytest.fixture
def neighbour(make_bench, bench, tmp_path):
    """A second site in the store of `bench`, with a vendor and a battery of its own, on the same clock."""
    folder: Path = tmp_path / "neighbour"
    folder.mkdir()
    made = make_bench(folder)
    made.db.close()
    made.path, made.clock, made.db = bench.path, bench.clock, bench.db
    made.battery._clock = made.vendor.clock = bench.clock
    renamed = made.target.site.model_copy(update={"name": "neighbour"})
    made.target = register_site(made.db, renamed, made.vendor, "scripted", "B1")
    made.dispatcher = Dispatcher(made.db, made.clock, [made.target])
    assert made.target.id != bench.target.id
    return made


def orders(bench) -> list[tuple[str, float]]:
    return [(sent.kind, sent.command.battery_kw) for sent in bench.vendor.wire]


def test_an_intent_is_sent_to_its_own_site_only(bench, neighbour):
    bench.plan(bench.intent("charge", 2.0, 0, 900))
    assert neighbour.tick() is Outcome.NOTHING_DUE
    assert bench.tick() is Outcome.SENT
    assert (orders(bench), orders(neighbour)) == ([("start", -2.0)], [])


def test_a_command_of_unknown_fate_holds_up_its_own_site_only(bench, neighbour):
    bench.plan(bench.intent("charge", 2.0, 0, 900))
    bench.vendor.will("lose reply")
    bench.tick()
    neighbour.plan(neighbour.intent("discharge", 3.0, 0, 900))
    assert neighbour.tick() is Outcome.SENT
    assert bench.tick() is Outcome.WAITING
    assert neighbour.vendor.calls == ["send"]


def test_what_was_sent_to_one_site_says_nothing_of_the_other(bench, neighbour):
    bench.plan(bench.intent("charge", 2.0, 0, 60))
    neighbour.plan(neighbour.intent("charge", 1.0, 0, 900))
    for _ in range(9):
        bench.tick()
        neighbour.tick()
        bench.move(15)
        neighbour.battery.catch_up()
    assert orders(bench) == [("start", -2.0), ("renew", -2.0), ("release", 0.0)]
    assert orders(neighbour) == [("start", -1.0), ("renew", -1.0), ("renew", -1.0)]
    assert neighbour.battery.lapses == []


def test_a_release_settles_the_open_rows_of_its_own_site_only(bench, neighbour):
    for each in (bench, neighbour):
        each.plan(each.intent("charge", 2.0, 0, 900))
        each.vendor.will("lose reply")
        each.tick()
    assert asyncio.run(bench.dispatcher.release())
    assert [row.state.value for row in bench.journal() if row.site_id == bench.target.id] == ["superseded", "accepted"]
    assert [row.state.value for row in bench.journal() if row.site_id == neighbour.target.id] == ["unknown"]


def test_the_workers_time_limit_is_no_sites_trouble(bench, neighbour, monkeypatch):
    """Swallowed as one, it would have the worker go on until it is killed, and that counts against the account."""

    async def tick(site: SiteDispatch) -> Outcome:
        if site.target.id == bench.target.id:
            raise SoftTimeLimitExceeded
        await asyncio.sleep(30)
        return Outcome.NOTHING_DUE

    async def both() -> None:
        async with asyncio.timeout(5):
            await Dispatcher(bench.db, bench.clock, [bench.target, neighbour.target]).tick()

    monkeypatch.setattr(SiteDispatch, "tick", tick)
    with pytest.raises(SoftTimeLimitExceeded):
        asyncio.run(both())

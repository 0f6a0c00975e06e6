"""Sites are put in, changed, taken out: never two for one device, never out while a battery is driven."""

from __future__ import annotations

import pytest

from engine.errors import InputError
from schedules import halts, overview
from schedules.registration import add_site, remove_site, site_id, sites
from schedules.store import HaltScope


def add(bench, site, name, device_id="B2", account="scripted"):
    return add_site(bench.db, bench.clock, site.model_copy(update={"name": name}), account, device_id, "me")


def test_a_site_is_added_listed_and_found(bench, site):
    number = add(bench, site, "barn")
    assert [(each.name, each.account, each.device_id) for each in sites(bench.db)] == [
        ("barn", "scripted", "B2"),
        ("bench", "scripted", "B1"),
    ]
    with bench.db.session() as session:
        assert site_id(session, "barn") == number
        with pytest.raises(InputError, match="site attic: is not in the store"):
            site_id(session, "attic")


def test_the_assets_of_a_site_can_be_changed(bench, site):
    number = add(bench, site, "barn")
    larger = site.model_copy(update={"battery": site.battery.model_copy(update={"capacity_kwh": 15.0})})
    assert add(bench, larger, "barn") == number
    assert [each.capacity_kwh for each in sites(bench.db) if each.name == "barn"] == [15.0]


@pytest.mark.parametrize(
    ("name", "device_id", "account", "said"),
    [
        ("barn", "B1", "scripted", "device B1: is the one of site bench"),
        ("bench", "B2", "scripted", "site bench: is the one of scripted's device B1"),
        ("barn", "B2", "nobody", "account nobody: is not in the store"),
        (" ", "B2", "scripted", "name: it is empty"),
        ("barn", "", "scripted", "device: it is empty"),
    ],
)
def test_what_would_mix_sites_up_is_refused(bench, site, name, device_id, account, said):
    with pytest.raises(InputError, match=said):
        add(bench, site, name, device_id, account)
    assert [each.name for each in sites(bench.db)] == ["bench"]


def test_a_removed_site_is_seen_no_more_and_comes_back_as_itself(bench, site):
    remove_site(bench.db, bench.clock, bench.target, "me")
    assert sites(bench.db) == []
    with bench.db.session() as session:
        assert overview.sites(session, bench.clock()) == []
    assert add(bench, site, "bench", "B1") == bench.target.id


def drive_after_removal(bench) -> list[str]:
    """What a worker does that has the site in hand while it is taken out."""
    bench.plan(bench.intent("charge", 2.0, 0, 900))
    with bench.hooked(before=lambda: remove_site(bench.db, bench.clock, bench.target, "me")):
        bench.tick()
    return bench.states()


def test_a_site_that_is_removed_while_a_call_to_it_is_prepared_is_not_driven(bench):
    assert drive_after_removal(bench) == []


def test_without_the_guard_it_would_be(bench, monkeypatch, without_guard):
    monkeypatch.setattr(halts, "objections", without_guard(halts.objections, "not armed"))
    assert drive_after_removal(bench) == ["accepted"]


def test_a_driven_site_stays_until_it_is_let_go_of(bench):
    bench.plan(bench.intent("charge", 2.0, 0, 900))
    bench.tick()
    with pytest.raises(InputError, match="site bench: is driven"):
        remove_site(bench.db, bench.clock, bench.target, "me")
    assert [each.name for each in sites(bench.db)] == ["bench"]
    halts.pull(bench.db, bench.clock, HaltScope.SITE, "bench", "removal", "me")
    bench.run(60)
    remove_site(bench.db, bench.clock, bench.target, "me")
    assert sites(bench.db) == []


def test_a_site_of_which_a_call_may_have_arrived_stays(bench):
    bench.vendor.will("lose reply")
    bench.plan(bench.intent("charge", 2.0, 0, 900))
    bench.tick()
    assert bench.states() == ["unknown"]
    with pytest.raises(InputError, match="site bench: is driven"):
        remove_site(bench.db, bench.clock, bench.target, "me")

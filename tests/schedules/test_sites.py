from __future__ import annotations

from sqlalchemy import select

from engine import Site
from schedules.sites import register_site
from schedules.store import SiteRow


def rows(bench) -> list[SiteRow]:
    with bench.db.session() as session:
        return list(session.scalars(select(SiteRow)))


def test_a_site_is_stored_with_what_it_takes_to_find_it_again(bench, site):
    (row,) = rows(bench)
    assert (row.id, row.adapter, row.device_id) == (bench.target.id, "scripted", "B1")
    assert Site.model_validate(row.assets) == site


def test_registering_a_site_again_keeps_its_identity(bench, site):
    again = register_site(bench.db, site, bench.vendor, "scripted", "B1")
    assert again.id == bench.target.id
    assert len(rows(bench)) == 1


def test_registering_a_site_again_brings_its_entry_up_to_date(bench, site):
    larger = site.model_copy(update={"battery": site.battery.model_copy(update={"capacity_kwh": 15.0})})
    again = register_site(bench.db, larger, bench.vendor, "other", "B2")
    (row,) = rows(bench)
    assert (row.adapter, row.device_id, row.assets["battery"]["capacity_kwh"]) == ("other", "B2", 15.0)
    assert (again.device.device_id, again.device.battery.capacity_kwh) == ("B2", 15.0)


def test_a_site_of_another_name_is_another_site(bench, site):
    other = register_site(bench.db, site.model_copy(update={"name": "other"}), bench.vendor, "scripted", "B2")
    assert other.id != bench.target.id
    assert [row.name for row in rows(bench)] == ["bench", "other"]


def test_the_nameplate_that_dispatch_uses_is_that_of_the_site(bench, site):
    assert bench.target.device.battery == site.battery

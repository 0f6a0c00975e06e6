"""Versions of strategies in the store: only ever added to, none that a site could not be planned by."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import model_validator
from sqlalchemy import select

from engine import Strategy
from engine.errors import InputError
from schedules import groups, inheritance, strategies, strategy_changes
from schedules.inheritance import ALL_SITES, Scope
from schedules.store import EventRow, SiteRow, StrategyVersionRow
from schedules.strategy_changes import preview, rollback, save
from tests.schedules.test_store_at_once import meanwhile, wait_for

STREET, NORTH = Scope.parse("group:street"), Scope.parse("portfolio:north")
BARN, MILL = Scope.parse("barn"), Scope.parse("mill")


@pytest.fixture
def db(store, clock, account_id, site):
    """Two sites, one of them in a group that is in a portfolio; on both databases."""
    with store.write() as session:
        for number, name in enumerate(("barn", "mill"), start=1):
            assets = site.model_copy(update={"name": name}).model_dump(mode="json")
            session.add(
                SiteRow(id=number, name=name, assets=assets, adapter="huawei", device_id=name, account_id=account_id)
            )
    groups.put_group(store, clock, "street", "north", "ada")
    groups.put_sites(store, clock, ["barn"], "street", "ada")
    return store


@pytest.fixture
def picky(monkeypatch):
    """A model in which two fields exclude each other."""

    class Picky(Strategy):
        @model_validator(mode="after")
        def _agrees(self) -> Picky:
            if self.battery_export == "never" and self.prefer == "later_charging":
                raise ValueError("battery_export 'never' with prefer 'later_charging': they quarrel; choose one")
            if self.prefer == "smoother_power" and self.cycles_per_day is None:
                raise ValueError("prefer 'smoother_power' with cycles_per_day None: means nothing; give both")
            return self

    for module in (inheritance, strategy_changes):
        monkeypatch.setattr(module, "Strategy", Picky)


def events(db) -> list[tuple[str, str, int | None, str]]:
    with db.session() as session:
        found = session.scalars(select(EventRow).where(EventRow.kind.startswith("strategy.")).order_by(EventRow.id))
        return [(row.kind, row.by, row.site_id, row.text) for row in found]


def wanted(db, site_id: int) -> dict[str, object]:
    return strategies.of_site(db, site_id).fields


def test_a_site_inherits_from_all_that_it_belongs_to_and_others_do_not(db, clock):
    save(db, clock, ALL_SITES, {"reserve_soc": 0.1, "prefer": "later_charging", "cycles_per_day": 2.0}, "ada")
    save(db, clock, NORTH, {"reserve_soc": 0.2, "grid_charging": False}, "ada")
    save(db, clock, STREET, {"reserve_soc": 0.3, "battery_export": "never"}, "ada")
    save(db, clock, BARN, {"reserve_soc": 0.4, "cycles_per_day": None}, "ada")
    barn = strategies.of_site(db, 1)
    assert barn.fields == {
        "reserve_soc": 0.4,
        "prefer": "later_charging",
        "cycles_per_day": None,
        "grid_charging": False,
        "battery_export": "never",
    }
    assert barn.numbers == {"portfolio": 1, "portfolio:north": 1, "group:street": 1, "site:barn": 1}
    assert wanted(db, 2) == {"reserve_soc": 0.1, "prefer": "later_charging", "cycles_per_day": 2.0}


@pytest.mark.parametrize(
    ("written", "count"), [("portfolio", 1), ("portfolio:north", 2), ("group:street", 3), ("barn", 4)]
)
def test_each_scope_says_what_holds_there(db, clock, written, count):
    for number, scope in enumerate((ALL_SITES, NORTH, STREET, BARN)):
        save(db, clock, scope, {"reserve_soc": number / 10}, "ada")
    with db.session() as session:
        found = strategies.of_scope(session, Scope.parse(written))
    assert len(found.versions) == count
    assert found.fields == {"reserve_soc": (count - 1) / 10}


def test_versions_are_counted_by_scope_and_nothing_is_overwritten(db, clock):
    for reserve_soc in (0.1, 0.2, 0.3):
        save(db, clock, STREET, {"reserve_soc": reserve_soc}, "ada", f"now {reserve_soc}")
    save(db, clock, BARN, {}, "bob")
    assert [(str(each.scope), each.number, each.fields, each.by, each.note) for each in strategies.versions(db)] == [
        ("group:street", 1, {"reserve_soc": 0.1}, "ada", "now 0.1"),
        ("group:street", 2, {"reserve_soc": 0.2}, "ada", "now 0.2"),
        ("group:street", 3, {"reserve_soc": 0.3}, "ada", "now 0.3"),
        ("site:barn", 1, {}, "bob", ""),
    ]
    assert {each.made_at for each in strategies.versions(db, STREET)} == {clock()}


def test_only_what_was_set_is_kept_and_left_out_fields_are_inherited_again(db, clock):
    save(db, clock, ALL_SITES, {"reserve_soc": 0.1}, "ada")
    save(db, clock, BARN, {"reserve_soc": 0.5, "prefer": "later_charging"}, "ada")
    made = save(db, clock, BARN, {"prefer": "later_charging"}, "ada")
    assert made.fields == {"prefer": "later_charging"}
    assert wanted(db, 1) == {"reserve_soc": 0.1, "prefer": "later_charging"}


def test_rolling_back_is_a_new_version_that_repeats_an_old_one(db, clock):
    save(db, clock, STREET, {"reserve_soc": 0.1}, "ada")
    save(db, clock, STREET, {"reserve_soc": 0.2, "grid_charging": False}, "ada")
    made = rollback(db, clock, STREET, 1, "bob")
    assert (made.number, made.fields, made.by, made.note) == (3, {"reserve_soc": 0.1}, "bob", "as version 1")
    assert [each.fields for each in strategies.versions(db, STREET)] == [
        {"reserve_soc": 0.1},
        {"reserve_soc": 0.2, "grid_charging": False},
        {"reserve_soc": 0.1},
    ]
    assert events(db)[-1] == (
        "strategy.rolled_back",
        "bob",
        None,
        "group:street version 3: reserve_soc 0.2 -> 0.1, grid_charging False -> unset (as version 1)",
    )
    with pytest.raises(InputError, match="version: value 9 is none of group:street"):
        rollback(db, clock, STREET, 9, "bob")


def test_who_changed_what_from_what_is_among_the_events(db, clock):
    save(db, clock, BARN, {"reserve_soc": 0.1}, "ada", "winter")
    assert events(db) == [("strategy.set", "ada", 1, "site:barn version 1: reserve_soc unset -> 0.1 (winter)")]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"reserve_soc": 1.5}, "reserve_soc: value 1.5: input should be less than or equal to 1"),
        ({"reserve": 0.1}, "reserve: unknown field"),
        ({"battery_export": "sometimes"}, "battery_export: value 'sometimes'"),
        ({"cycles_today_so_far": 0.5}, "cycles_today_so_far: value 0.5 is not for people to set"),
        ({"reserve_soc": float("nan")}, "reserve_soc: value nan"),
    ],
)
def test_a_field_that_cannot_be_is_refused_by_name_even_where_no_site_inherits_it(db, clock, fields, said):
    groups.put_group(db, clock, "empty", None, "ada")
    with pytest.raises(InputError, match=said):
        save(db, clock, Scope.parse("group:empty"), fields, "ada")
    assert strategies.versions(db) == []


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("attic", "site attic: is not in the store; see `tidewatt sites list`"),
        ("group:attic", "group attic: is not in the store; see `tidewatt groups list`"),
        ("portfolio:attic", "portfolio attic: is not in the store"),
    ],
)
def test_a_scope_that_is_not_there_is_refused(db, clock, written, said):
    with pytest.raises(InputError, match=said):
        save(db, clock, Scope.parse(written), {"reserve_soc": 0.1}, "ada")
    with pytest.raises(InputError, match=said):
        strategies.versions(db, Scope.parse(written))


def test_what_a_sites_battery_cannot_keep_is_refused_with_both_fields_and_nothing_is_saved(db, clock, site):
    small = site.model_copy(update={"name": "mill", "battery": site.battery.model_copy(update={"max_soc": 0.8})})
    with db.write() as session:
        session.get_one(SiteRow, 2).assets = small.model_dump(mode="json")
    save(db, clock, STREET, {"reserve_soc": 0.9}, "ada")
    before = events(db)
    with pytest.raises(InputError) as refused:
        save(db, clock, ALL_SITES, {"reserve_soc": 0.9}, "ada")
    assert str(refused.value) == (
        "site mill: reserve_soc: value 0.9 is above max_soc 0.8 (reserve_soc is from portfolio as proposed); "
        "ask for less or widen the band"
    )
    assert [str(each) for each in strategies.versions(db)] == ["group:street version 1"]
    assert events(db) == before


def test_what_no_plan_could_be_made_for_is_refused(db, clock):
    with pytest.raises(InputError, match=r"site barn: strategy\.carbon_eur_per_kg: .* a carbon_kg_per_kwh that is not"):
        save(db, clock, BARN, {"carbon_eur_per_kg": 0.1}, "ada")
    assert strategies.versions(db) == []


@pytest.mark.usefixtures("picky")
@pytest.mark.parametrize("first", ["portfolio", "portfolio:north", "group:street"])
def test_fields_of_two_scopes_that_contradict_each_other_are_refused_with_site_and_origins(db, clock, first):
    save(db, clock, Scope.parse(first), {"battery_export": "never"}, "ada")
    with pytest.raises(InputError) as refused:
        save(db, clock, BARN, {"prefer": "later_charging"}, "ada")
    said = str(refused.value)
    assert said.startswith("site barn: ")
    assert f"battery_export is from {first} version 1" in said
    assert "prefer is from site:barn as proposed" in said
    assert wanted(db, 1) == {"battery_export": "never"}
    assert len(strategies.versions(db)) == 1


@pytest.mark.usefixtures("picky")
def test_a_wider_scope_is_refused_for_what_a_narrower_one_has_set_and_allowed_where_it_is_overridden(db, clock):
    save(db, clock, BARN, {"prefer": "later_charging"}, "ada")
    with pytest.raises(InputError, match="site barn: "):
        save(db, clock, ALL_SITES, {"battery_export": "never"}, "ada")
    save(db, clock, BARN, {"prefer": "later_charging", "battery_export": "allowed"}, "ada")
    save(db, clock, ALL_SITES, {"battery_export": "never"}, "ada")
    assert strategies.of_site(db, 1).strategy.battery_export == "allowed"
    assert strategies.of_site(db, 2).strategy.battery_export == "never"


@pytest.mark.usefixtures("picky")
def test_a_field_that_means_nothing_alone_may_be_set_where_the_other_is_inherited(db, clock):
    with pytest.raises(InputError, match=r"site barn: .*means nothing"):
        save(db, clock, STREET, {"prefer": "smoother_power"}, "ada")
    save(db, clock, NORTH, {"cycles_per_day": 1.0}, "ada")
    save(db, clock, STREET, {"prefer": "smoother_power"}, "ada")
    with pytest.raises(InputError, match=r"site barn: .*means nothing"):
        save(db, clock, NORTH, {}, "ada")
    assert wanted(db, 1) == {"cycles_per_day": 1.0, "prefer": "smoother_power"}


@pytest.mark.usefixtures("picky")
def test_a_group_without_sites_may_want_anything_until_a_site_is_put_into_it(db, clock):
    groups.put_group(db, clock, "empty", None, "ada")
    both = {"battery_export": "never", "prefer": "later_charging"}
    save(db, clock, Scope.parse("group:empty"), both, "ada")
    with pytest.raises(InputError, match=r"site mill: .*group:empty version 1"):
        groups.put_sites(db, clock, ["mill"], "empty", "ada")
    save(db, clock, MILL, {"prefer": None}, "ada")
    groups.put_sites(db, clock, ["mill"], "empty", "ada")
    assert strategies.of_site(db, 2).strategy.battery_export == "never"


@pytest.mark.usefixtures("picky")
def test_without_the_check_a_site_would_be_left_without_a_strategy(db, clock, monkeypatch):
    monkeypatch.setattr(strategy_changes, "refuse_contradictions", list)
    save(db, clock, BARN, {"battery_export": "never", "prefer": "later_charging"}, "ada")
    with pytest.raises(InputError, match="they quarrel"):
        _ = strategies.of_site(db, 1).strategy


@pytest.mark.usefixtures("picky")
def test_moving_a_site_or_a_group_is_refused_where_what_it_would_inherit_contradicts(db, clock):
    groups.put_group(db, clock, "village", "south", "ada")
    save(db, clock, Scope.parse("portfolio:south"), {"battery_export": "never"}, "ada")
    save(db, clock, BARN, {"prefer": "later_charging"}, "ada")
    for move in (
        lambda: groups.put_sites(db, clock, ["mill", "barn"], "village", "ada"),
        lambda: groups.put_group(db, clock, "street", "south", "ada"),
    ):
        with pytest.raises(InputError, match=r"site barn: .*portfolio:south version 1"):
            move()
    assert groups.groups(db) == [
        groups.Group("street", "north", ["barn"]),
        groups.Group("village", "south", []),
    ]


def test_a_preview_says_what_becomes_of_which_site_and_saves_nothing(db, clock):
    save(db, clock, ALL_SITES, {"reserve_soc": 0.1}, "ada")
    (change,) = preview(db, clock, STREET, {"reserve_soc": 0.5})
    assert (change.site_id, change.site.name) == (1, "barn")
    assert (change.before.strategy.reserve_soc, change.after.strategy.reserve_soc) == (0.1, 0.5)
    assert [change.site.name for change in preview(db, clock, ALL_SITES, {})] == ["barn", "mill"]
    assert len(strategies.versions(db)) == 1


def test_an_author_who_had_another_version_in_view_is_refused(db, clock):
    save(db, clock, STREET, {"reserve_soc": 0.1}, "ada", based_on=0)
    with pytest.raises(InputError, match="strategy: group:street version 1 came from ada meanwhile"):
        save(db, clock, STREET, {"reserve_soc": 0.2}, "bob", based_on=0)
    save(db, clock, STREET, {"reserve_soc": 0.2}, "bob", based_on=1)
    assert wanted(db, 1) == {"reserve_soc": 0.2}


def test_writers_at_once_get_consecutive_versions(db, clock):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: save(db, clock, STREET, {"reserve_soc": n / 100}, f"author {n}"), range(24)))
    assert sorted(each.number for each in made) == list(range(1, 25))
    kept = {each.number: (each.by, each.fields) for each in strategies.versions(db, STREET)}
    assert kept == {each.number: (each.by, each.fields) for each in made}


def two_that_contradict_only_together(db, clock) -> object:
    with db.write() as session:
        strategy_changes.take_turns(session)
        session.add(
            StrategyVersionRow(
                scope="group:street", number=1, fields={"battery_export": "never"}, by="ada", note="", made_at=clock()
            )
        )
        session.flush()
        with meanwhile(db, lambda: save(db, clock, BARN, {"prefer": "later_charging"}, "bob")) as results:
            session.commit()
    return wait_for(results)


@pytest.mark.usefixtures("picky")
def test_of_two_at_once_that_contradict_only_together_one_is_refused(db, clock):
    assert isinstance(two_that_contradict_only_together(db, clock), InputError)
    assert wanted(db, 1) == {"battery_export": "never"}


@pytest.mark.usefixtures("picky")
def test_without_taking_turns_both_would_be_saved_on_postgresql(db, clock, monkeypatch):
    if db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has writers take turns by itself")
    monkeypatch.setattr(strategy_changes, "take_turns", lambda _session: None)
    assert two_that_contradict_only_together(db, clock).number == 1
    with pytest.raises(InputError, match="they quarrel"):
        _ = strategies.of_site(db, 1).strategy


def test_groups_and_where_sites_went_are_told_among_the_events(db, clock):
    groups.put_sites(db, clock, ["barn"], None, "bob")
    with pytest.raises(InputError, match="group attic: is not in the store"):
        groups.put_sites(db, clock, ["barn"], "attic", "bob")
    with pytest.raises(InputError, match="site attic: is not in the store"):
        groups.put_sites(db, clock, ["mill", "attic"], "street", "bob")
    with pytest.raises(InputError, match="portfolio: its name is empty"):
        groups.put_group(db, clock, "street", " ", "bob")
    assert groups.groups(db) == [groups.Group("street", "north", [])]
    with db.session() as session:
        told = session.execute(select(EventRow.kind, EventRow.by, EventRow.site_id, EventRow.text)).all()
    assert told == [
        ("group.changed", "ada", None, "group street: portfolio none -> north"),
        ("site.group", "ada", 1, "group none -> street"),
        ("site.group", "bob", 1, "group street -> none"),
    ]

"""What a site inherits, field by field, for any mixture of scopes and fields."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Strategy
from engine.errors import InputError
from schedules.inheritance import ALL_SITES, Effective, Scope, ScopeKind, Version, described, differing, scopes_of

NOW = dt.datetime(2024, 4, 10, tzinfo=dt.UTC)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "grid_charging": st.booleans(),
        "battery_export": st.sampled_from(["allowed", "behind_pv", "never"]),
        "reserve_soc": st.sampled_from([0.0, 0.2, 0.5]),
        "cycles_per_day": st.sampled_from([None, 0.5, 1.0]),
        "prefer": st.sampled_from([None, "fewer_switches"]),
    },
)
PROPERTY = settings(max_examples=200, deadline=None, derandomize=True, database=None)


def versions(*fields: dict[str, object]) -> tuple[Version, ...]:
    scopes = scopes_of("barn", "street", "north")
    return tuple(
        Version(scope, number, each, "ada", "", NOW)
        for number, (scope, each) in enumerate(zip(scopes, fields, strict=False), start=1)
    )


@PROPERTY
@given(st.lists(FIELDS, max_size=4))
def test_each_field_has_the_word_of_the_narrowest_scope_that_sets_it_and_says_whose_that_is(fields):
    inherited = Effective(versions(*fields))
    strategy = inherited.strategy
    for name, info in Strategy.model_fields.items():
        setting = [number for number, each in enumerate(fields, start=1) if name in each]
        if not setting:
            assert name not in inherited.origins
            assert getattr(strategy, name) == info.default
        else:
            assert inherited.origins[name].number == setting[-1]
            assert getattr(strategy, name) == fields[setting[-1] - 1][name]


@PROPERTY
@given(st.lists(FIELDS, min_size=1, max_size=4), FIELDS)
def test_what_the_site_sets_holds_whatever_the_others_want_and_the_rest_is_left_as_it_was(wider, own):
    without, with_own = Effective(versions(*wider[:3], {})), Effective(versions(*wider[:3], own))
    assert with_own.fields == {**without.fields, **own}


@PROPERTY
@given(FIELDS, FIELDS)
def test_what_differs_is_what_has_to_be_set_or_unset_to_come_from_one_version_to_the_other(before, after):
    names = differing(before, after)
    made = {name: value for name, value in before.items() if name not in names}
    made |= {name: after[name] for name in names if name in after}
    assert made == after
    assert all((name in before) != (name in after) or before[name] != after[name] for name in names)


def test_null_is_a_wish_and_no_gap():
    inherited = Effective(versions({"cycles_per_day": 1.0}, {"cycles_per_day": None}))
    assert inherited.strategy.cycles_per_day is None
    assert inherited.origins["cycles_per_day"].number == 2
    assert described({"cycles_per_day": None}, {}) == "cycles_per_day None -> unset"


@pytest.mark.parametrize(
    "scope",
    [
        ALL_SITES,
        *(Scope(kind, name) for kind in ScopeKind for name in ("north", "site:x", "a b", "portfolio", ":", "ä=1")),
    ],
    ids=str,
)
def test_a_scope_is_read_as_it_is_written(scope):
    assert Scope.parse(str(scope)) == scope


def test_a_name_alone_is_a_sites_and_a_scope_without_one_is_refused():
    assert Scope.parse("barn") == Scope(ScopeKind.SITE, "barn")
    for written in ("group:", "site: ", "", " ", "portfolio:"):
        with pytest.raises(InputError, match="has no name"):
            Scope.parse(written)

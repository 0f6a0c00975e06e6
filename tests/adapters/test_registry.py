"""Adapters are found by name, and the one we ship can do what callers ask for."""

from __future__ import annotations

import asyncio
import inspect
import tomllib
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from adapters import registry
from adapters.alphaess import adapter as alphaess
from adapters.contract import Closable, ConfigurationError, Dispatchable, Readable

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.fixture
def account(vendor):
    return {
        "base_url": vendor.url,
        "api_account": "apiacct01",
        "api_secret": "0123456789abcdef0123456789abcdef",
        "username": "installer01",
        "password": "pass1234",
    }


@pytest.fixture
def installed(monkeypatch):
    """Pretend that these entry points, and no others, are installed."""

    def pretend(**points):
        found = EntryPoints(EntryPoint(name, value, registry.GROUP) for name, value in points.items())
        monkeypatch.setattr(registry, "entry_points", lambda **wanted: found.select(**wanted))

    return pretend


def test_every_adapter_of_the_project_is_installed():
    declared = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["entry-points"][registry.GROUP]

    assert set(declared) <= set(registry.names())
    assert "alphaess" in declared


def test_the_alphaess_adapter_is_found_by_its_entry_point():
    assert registry.factory("alphaess") is alphaess.create


@pytest.mark.parametrize("name", ["alphaes", "AlphaESS", "", "alphaess "])
def test_an_unknown_name_is_answered_with_the_names_there_are(name):
    with pytest.raises(ConfigurationError) as caught:
        registry.factory(name)

    assert repr(name) in str(caught.value)
    assert "choose one of alphaess" in str(caught.value)


def test_without_any_adapter_the_answer_says_so(installed):
    installed()

    with pytest.raises(ConfigurationError, match="choose one of none"):
        registry.factory("alphaess")


def test_an_adapter_of_a_third_party_is_found_the_same_way(installed):
    installed(zeta="adapters.alphaess.adapter:create", alpha="adapters.alphaess.adapter:create")

    assert registry.names() == ["alpha", "zeta"]
    assert registry.factory("zeta") is alphaess.create


def test_building_an_adapter_contacts_nobody(vendor, account, manual_clock):
    adapter = registry.factory("alphaess")(account, manual_clock)
    asyncio.run(adapter.close())

    assert vendor.calls == []


PLACES = {
    "alphaess": set(),
    "huawei": {"store", "ledger"},
    "ingeteam": set(),
    "solax": {"ledger"},
    "xolta": {"ledger"},
}


@pytest.mark.parametrize("name", PLACES)
def test_each_vendor_asks_for_what_it_has_to_share(name):
    assert {place for place in ("store", "ledger") if registry.takes(name, place)} == PLACES[name]


def test_an_adapter_is_given_the_places_that_it_asks_for(monkeypatch, manual_clock):
    monkeypatch.setattr(registry, "factory", lambda _: lambda settings, clock, ledger=None: (settings, clock, ledger))

    built = registry.build("any", {"a": 1}, manual_clock, store="tokens", ledger="calls")

    assert built == ({"a": 1}, manual_clock, "calls")


@pytest.mark.parametrize("capability", [Readable, Dispatchable, Closable])
def test_the_alphaess_adapter_has_each_capability(account, manual_clock, capability):
    adapter = registry.factory("alphaess")(account, manual_clock)

    assert isinstance(adapter, capability)
    assert not isinstance(object(), capability)


@pytest.mark.parametrize(
    ("capability", "method"),
    [
        (Readable, "read"),
        (Dispatchable, "translate"),
        (Dispatchable, "release"),
        (Dispatchable, "send"),
        (Closable, "close"),
    ],
)
def test_each_method_takes_what_its_protocol_promises(capability, method):
    promised, ours = getattr(capability, method), getattr(alphaess.AlphaEssAdapter, method)

    assert list(inspect.signature(ours).parameters) == list(inspect.signature(promised).parameters)
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(promised)


def says_nothing(_settings, _clock):
    return None


def says_anything(_settings, _clock) -> Any:
    return None


@pytest.mark.parametrize(
    ("name", "reads"),
    [
        ("alphaess", False),
        ("huawei", False),
        ("xolta", False),
        ("solax", True),
        ("ingeteam", True),
        ("nobody's", False),
    ],
)
def test_which_vendors_are_only_read_is_known_before_they_are_opened(name, reads):
    assert registry.only_reads(name) is reads


@pytest.mark.parametrize("factory", [says_nothing, says_anything])
def test_a_factory_that_does_not_say_what_it_makes_may_make_what_is_driven(installed, monkeypatch, factory):
    installed(mine=f"{__name__}:x")
    monkeypatch.setattr(EntryPoint, "load", lambda _: factory)
    assert not registry.only_reads("mine")

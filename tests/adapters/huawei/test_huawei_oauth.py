"""The way in by OAuth: an owner's consent, and tokens that rotate."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import urllib.error
import urllib.parse
import urllib.request

import pytest
from pydantic import SecretStr

from adapters.contract import ConfigurationError, Rejected, VendorUnavailableError
from adapters.huawei.adapter import create
from adapters.huawei.errors import NotLoggedInError, PermissionMissingError
from adapters.tokens import MemoryTokenStore, NewerTokensError, Tokens
from engine.intent import IntentMode
from tests.adapters.huawei.world import STOP


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def where_it_leads(url):
    """The address that an owner's browser is sent to."""
    opener = urllib.request.build_opener(NoRedirects)
    try:
        opener.open(url, timeout=5)
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.headers["Location"]
    raise AssertionError("no redirect")


def grants(world):
    return [event["grant"] for event in world.log.events if event["event"] == "token"]


def test_the_link_of_the_documents_example(manual_clock):
    """Section 3.1.2.2, link example: URL-encoded redirect URL."""
    adapter = create(
        {
            "base_url": "https://eu5.fusionsolar.huawei.com",
            "client_id": "123456789",
            "client_secret": "x",
            "redirect_url": "https://www.example1.com/cn/?example2=example3&example4=example5",
        },
        manual_clock,
    )

    url = urllib.parse.urlsplit(adapter.client.oauth.authorize_url(("pvms.openapi.basic", "pvms.openapi.control")))

    assert url.geturl().startswith(
        "https://oauth2.fusionsolar.huawei.com/rest/dp/uidm/oauth2/v1/authorize?response_type=code&client_id=123456789"
        "&redirect_uri=https%3A%2F%2Fwww.example1.com%2Fcn%2F%3Fexample2%3Dexample3%26example4%3Dexample5"
    )
    assert url.query.endswith("scope=pvms.openapi.basic%20pvms.openapi.control"), "the blank is %20"


def test_an_owner_consents_and_the_code_brings_tokens(emulate_huawei):
    world = emulate_huawei()
    store = MemoryTokenStore()

    async def session(adapter):
        with pytest.raises(ConfigurationError, match="has not authorised"):
            await adapter.client.plants()
        back = where_it_leads(adapter.client.oauth.authorize_url())
        code = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back).query))["code"]
        tokens = await adapter.client.consent(SecretStr(code))
        assert await store.load() == tokens
        return tokens, await adapter.client.plants()

    tokens, plants = world.run(session, store=store, refresh_token="")

    assert tokens.scope == {"pvms.openapi.basic", "pvms.openapi.control"}
    assert tokens.expires_at == world.clock.now() + dt.timedelta(hours=1)
    assert [plant.plant_code for plant in plants] == ["NE=1"]


def test_a_code_is_good_for_five_minutes(emulate_huawei):
    world = emulate_huawei()
    code = SecretStr(world.cloud.consent())
    world.after(301)

    async def session(adapter):
        with pytest.raises(ConfigurationError, match="authorise again") as error:
            await adapter.client.consent(code)
        return error.value

    assert code.get_secret_value() not in str(world.run(session))


@pytest.mark.parametrize("rotates", [True, False])
def test_tokens_are_renewed_before_they_end_and_kept_as_one(emulate_huawei, rotates):
    world = emulate_huawei()
    world.cloud.rotates_refresh_tokens = rotates
    store = MemoryTokenStore(Tokens(SecretStr(""), SecretStr(world.cloud.account()["refresh_token"])))

    async def session(adapter):
        kept = []
        for _ in range(3):
            await adapter.client.plants()
            kept.append(await store.load())
            world.after(3590)
        return kept

    kept = world.run(session, store=store)

    assert grants(world) == ["refresh_token"] * 3
    assert len({tokens.access.get_secret_value() for tokens in kept}) == 3
    assert len({tokens.refresh.get_secret_value() for tokens in kept}) == (3 if rotates else 1)


def test_many_calls_at_once_share_one_refresh(emulate_huawei):
    world = emulate_huawei()

    async def session(adapter):
        await asyncio.gather(*[adapter.client.plants() for _ in range(8)])
        world.cloud._access = None  # somebody refreshed elsewhere
        return await asyncio.gather(*[adapter.client.plants() for _ in range(8)])

    answers = world.run(session)

    assert all(len(answer) == 1 for answer in answers)
    assert len(grants(world)) == 2


class SharedStore(MemoryTokenStore):
    """A store of two processes: a real lock, and a count of who held it."""

    def __init__(self, tokens):
        super().__init__(tokens)
        self.lock = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def exclusive(self):
        async with self.lock:
            yield


def test_two_processes_with_one_store_do_not_refresh_each_other_away(emulate_huawei):
    world = emulate_huawei()
    store = SharedStore(Tokens(SecretStr(""), SecretStr(world.cloud.account()["refresh_token"])))

    async def session(first):
        async with world.adapter(store=store) as second:
            for _ in range(3):
                await asyncio.gather(first.client.plants(), second.client.plants())
                world.after(3600)
        return True

    assert world.run(session, store=store)
    assert len(grants(world)) == 3


class FullDisk(MemoryTokenStore):
    """A store that fails from its n-th save on, until there is room again."""

    def __init__(self, good_saves):
        super().__init__()
        self.good_saves = good_saves

    async def save(self, tokens):
        if self.good_saves <= 0:
            raise OSError("disk full")
        self.good_saves -= 1
        await super().save(tokens)


def test_a_consent_is_not_spent_where_its_successor_could_not_be_kept(emulate_huawei):
    world = emulate_huawei()
    store = FullDisk(0)

    async def session(adapter):
        with pytest.raises(VendorUnavailableError, match="cannot be written"):
            await adapter.client.plants()
        spent_while_full = grants(world)
        store.good_saves = 2
        return spent_while_full, await adapter.client.plants()

    spent_while_full, plants = world.run(session, store=store)

    assert spent_while_full == []
    assert len(plants) == 1


def test_a_store_that_fails_after_a_refresh_does_not_lose_tokens(emulate_huawei, caplog):
    world = emulate_huawei()
    store = FullDisk(1)

    async def session(adapter):
        first = await adapter.client.plants()
        world.after(3600)
        with pytest.raises(VendorUnavailableError, match="cannot be written"):
            await adapter.client.plants()
        store.good_saves = 2
        return first, await adapter.client.plants()

    first, later = world.run(session, store=store)

    assert first == later
    assert grants(world) == ["refresh_token"] * 2
    assert "could not be stored" in caplog.text


class Overtaken(MemoryTokenStore):
    """While its holder stalls before the second save, another process has the turn, refreshes and saves."""

    oauth = None
    saves = 0

    async def save(self, tokens):
        self.saves += 1
        if self.saves == 2:
            await super().save(await self.oauth.refresh(tokens))
            raise NewerTokensError("overtaken")
        await super().save(tokens)


def test_who_was_overtaken_goes_on_with_what_the_other_saved(emulate_huawei, caplog):
    world = emulate_huawei()
    store = Overtaken()

    async def session(adapter):
        store.oauth = adapter.client.oauth
        return await adapter.client.plants(), await adapter.client.plants()

    first, later = world.run(session, store=store)

    assert len(first) == len(later) == 1
    assert grants(world) == ["refresh_token"] * 2, "its own, and the other's; none is renewed again"
    assert "could not be stored" not in caplog.text


def test_a_cancelled_call_does_not_lose_the_tokens_that_are_on_their_way(emulate_huawei):
    """What `asyncio.timeout` and Ctrl-C do to whoever waits."""
    world = emulate_huawei()
    store = MemoryTokenStore()

    async def session(adapter):
        asked = asyncio.Event()
        refresh = adapter.client.oauth.refresh

        async def noticed(tokens):
            asked.set()
            return await refresh(tokens)

        adapter.client.oauth.refresh = noticed
        waiting = asyncio.create_task(adapter.client.plants())
        await asked.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return await store.load()

    tokens = world.run(session, store=store)

    assert grants(world) == ["refresh_token"]
    assert tokens.refresh.get_secret_value() == world.cloud.account()["refresh_token"]


def test_another_refresh_token_in_the_settings_begins_anew_and_the_same_one_does_not(emulate_huawei):
    world = emulate_huawei()
    store, begin = MemoryTokenStore(), world.cloud.account()["refresh_token"]

    async def session(adapter):
        return await adapter.client.plants()

    def seen(**settings):
        return len(world.run(session, store=store, **settings)), len(grants(world))

    assert seen(refresh_token=begin) == (1, 1)
    assert seen(refresh_token=begin) == (1, 1), "what is stored counts"
    assert seen(refresh_token="") == (1, 1), "also once the spent one is taken out of the settings"
    assert seen(refresh_token=world.cloud.account()["refresh_token"]) == (1, 2)
    kept = asyncio.run(store.load())
    with pytest.raises(ConfigurationError, match="authorise again"):
        seen(refresh_token=begin)
    assert asyncio.run(store.load()) == kept, "an old settings file does not take away what works"


def test_a_refused_refresh_token_is_not_tried_again(emulate_huawei):
    world = emulate_huawei()

    async def session(adapter):
        for _ in range(3):
            with pytest.raises(ConfigurationError, match="authorise again"):
                await adapter.client.plants()
        receipt = await adapter.send(adapter.release(type("D", (), {"device_id": "NE=1"})()))
        with pytest.raises(ConfigurationError):
            await adapter.client.plants()
        await adapter.client.consent(SecretStr(world.cloud.consent()))
        return receipt, await adapter.client.plants()

    receipt, plants = world.run(session, refresh_token="wrong")

    assert isinstance(receipt, Rejected)
    assert len(plants) == 1, "a new consent begins anew"


def test_a_wrong_client_is_a_matter_of_settings(emulate_huawei):
    world = emulate_huawei()

    async def session(adapter):
        with pytest.raises(ConfigurationError, match="client_secret"):
            await adapter.client.plants()

    world.run(session, client_secret="wrong")


@pytest.mark.parametrize("fault", ["tokens_expired", "session_stolen"])
@pytest.mark.parametrize("api_account", [False, True])
def test_a_lost_session_is_renewed_once_and_no_more(emulate_huawei, fault, api_account):
    world = emulate_huawei()
    world.switch(**{fault: True})

    async def session(adapter):
        with pytest.raises(NotLoggedInError):
            await adapter.client.plants()
        if not api_account:
            assert isinstance(await adapter.send_many([]), list)
            with pytest.raises(NotLoggedInError):
                await adapter.client.charge([STOP])
        world.switch()
        return await adapter.client.plants()

    assert world.run(session, api_account=api_account)
    assert world.calls("async-task") == 0


def test_an_owner_who_grants_no_control_is_not_asked_for_it(emulate_huawei, plant_device, intent_for):
    world = emulate_huawei()
    code = world.cloud.consent(("pvms.openapi.basic",))

    async def session(adapter):
        await adapter.client.consent(SecretStr(code))
        receipt = await adapter.send(adapter.translate(intent_for(IntentMode.CHARGE, 1.0), plant_device(), None))
        adapter.client._session._now = Tokens(adapter.client._session._now.access)  # as if the scope were unknown
        with pytest.raises(PermissionMissingError, match="401"):
            await adapter.client.charge([STOP])
        return receipt, await adapter.client.plants()

    receipt, plants = world.run(session)

    assert isinstance(receipt, Rejected)
    assert "pvms.openapi.control" in receipt.reason
    assert plants

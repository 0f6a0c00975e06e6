"""Both ways in: OAuth with rotating tokens, API accounts with one session; and what flow control does to calls."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import urllib.error
import urllib.parse
import urllib.request

import pytest
from pydantic import SecretStr

from adapters.contract import (
    Channel,
    ConfigurationError,
    Dispatchable,
    IntentRefusedError,
    QuotaExceededError,
    Rejected,
    VendorUnavailableError,
    dispatchable,
)
from adapters.huawei.adapter import HuaweiAdapter, create
from adapters.huawei.errors import NotLoggedInError, PermissionMissingError
from adapters.huawei.flow import FlowControl, account_quotas, oauth_quotas, old_account_quotas
from adapters.huawei.mapping import Call
from adapters.huawei.tasks import ChargeTask, DispatchSwitch
from adapters.quota import Quota
from adapters.tokens import MemoryTokenStore, NewerTokensError, Tokens
from engine.intent import IntentMode

MINUTE, DAY = dt.timedelta(minutes=1), dt.timedelta(days=1)
STOP = ChargeTask("NE=1", DispatchSwitch.STOP)


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


# --- OAuth ---


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


# --- API account ---


@pytest.mark.parametrize("odd", [False, True], ids=["header", "cookie"])
def test_an_api_account_reads_and_is_refused_control(emulate_huawei, plant_device, odd):
    world = emulate_huawei()
    world.switch(odd_json=odd)

    async def session(reader):
        assert not isinstance(reader, Dispatchable)
        with pytest.raises(IntentRefusedError, match="telemetry only"):
            dispatchable(reader, "huawei")
        with pytest.raises(ConfigurationError, match="OAuth only"):
            await reader.client.charge([STOP])
        reading = await reader.read(plant_device(), Channel.STATE)
        await reader.client.logout()
        return reading

    reading = world.run(session, api_account=True)

    assert reading.soc == pytest.approx(0.5, abs=0.01)
    assert world.calls("async-task") == 0
    assert sum(event["event"] == "login" for event in world.log.events) == 1


def test_a_session_that_was_not_used_for_half_an_hour_is_renewed(emulate_huawei):
    world = emulate_huawei()

    async def session(reader):
        for pause_s in (0, 1700, 1700, 1900):
            world.after(pause_s)
            await reader.client.plants()

    world.run(session, api_account=True)

    assert sum(event["event"] == "login" for event in world.log.events) == 2


def test_a_wrong_password_is_tried_once(emulate_huawei):
    world = emulate_huawei()

    async def session(reader):
        for _ in range(4):
            with pytest.raises(ConfigurationError, match="login refused"):
                await reader.client.plants()

    world.run(session, api_account=True, system_code="wrong")

    assert sum(event["event"] == "login refused" for event in world.log.events) == 1


def test_five_logins_in_ten_minutes_and_no_more(emulate_huawei):
    world = emulate_huawei()

    async def session(reader):
        for _ in range(5):
            await reader.client.plants()
            world.cloud._session = None
        with pytest.raises(QuotaExceededError, match="login"):
            await reader.client.plants()
        world.after(600)
        return await reader.client.plants()

    assert world.run(session, api_account=True)


# --- flow control ---


def test_the_quotas_of_both_access_modes():
    """Section 4.1, and the examples of section 4.2: 20 and 120 plants, with as many inverters and meters."""
    assert oauth_quotas() == {"basic": (Quota(1000, DAY),), "control": (Quota(100, DAY),)}
    for count, expected in ((20, (34, 25, 1, 2, 28, 2, 25, 26)), (120, (44, 26, 2, 4, 48, 4, 26, 28))):
        quotas = account_quotas(count, {1: count, 17: count})
        calls = (
            Call.PLANTS,
            Call.DEVICES,
            Call.PLANT_NOW,
            Call.DEVICE_NOW,
            Call.DEVICE_HISTORY,
            Call.ALARMS,
            Call.PLANT_HOURS,
            Call.DEVICE_YEARS,
        )
        assert tuple(quotas[call.value][0].calls for call in calls) == expected
        assert quotas[Call.DEVICE_NOW.value][0].per == 5 * MINUTE
        assert quotas[Call.ALARMS.value][0].per == 30 * MINUTE
        assert quotas[Call.CHARGE.value] == (Quota(1, MINUTE),)
    old = old_account_quotas()
    assert [old[call.value][0].calls for call in (Call.PLANTS, Call.PLANT_NOW, Call.DEVICE_HISTORY)] == [10, 30, 1]


def test_control_calls_and_questions_share_a_hundred_and_releases_have_the_last(manual_clock):
    flow = FlowControl("oauth", manual_clock, reserve=5)
    for place in range(95):
        flow.take(Call.CHARGE if place % 2 else Call.CHARGE_STATUS)
    assert flow.control_calls_left() == 0
    for call in (Call.CHARGE, Call.WORKING_MODE, Call.CHARGE_STATUS):
        with pytest.raises(QuotaExceededError, match="control"):
            flow.take(call)
    for _ in range(5):
        flow.take(Call.CHARGE, urgent=True)
    with pytest.raises(QuotaExceededError):
        flow.take(Call.CHARGE, urgent=True)
    flow.take(Call.PLANTS)
    manual_clock.time += DAY
    flow.take(Call.CHARGE)


def test_questions_may_be_set_to_count_for_nothing(manual_clock):
    flow = FlowControl("oauth", manual_clock, polls_count=False)
    for _ in range(500):
        flow.take(Call.CHARGE_STATUS)
    assert flow.control_calls_left() == 100


@pytest.mark.parametrize("used", [79, 80])
def test_when_the_quota_is_used_up_a_release_still_goes(emulate_huawei, plant_device, intent_for, used):
    """With one call left a task does not go either: the stop before it would end what runs, and nothing follow."""
    world = emulate_huawei(plants=2)

    async def session(adapter):
        charge = adapter.translate(intent_for(IntentMode.CHARGE, 1.0), plant_device(), None)
        for _ in range(used):
            adapter.client.flow.take(Call.CHARGE)
        return await adapter.send_many([charge, adapter.release(plant_device("NE=2"))])

    refused, released = world.run(session)

    assert refused.retryable
    assert "need 2 calls" in refused.reason
    assert type(released).__name__ == "Accepted"
    assert [event["sn"] for event in world.log.events if event["event"] == "task"] == ["NE=2"]


@pytest.mark.parametrize(("limit", "first_s"), [(403, 60), (429, 60), (407, 300)])
def test_a_call_that_was_too_frequent_is_not_repeated_and_pauses_double(emulate_huawei, limit, first_s):
    world = emulate_huawei()
    if limit == 407:
        world.switch(rate_limited=True, ban_s=0)
    else:
        world.cloud.system_limit = limit

    async def session(adapter):
        pauses = []
        for _ in range(3):
            with pytest.raises(QuotaExceededError) as error:
                await adapter.client.plants()
            with pytest.raises(QuotaExceededError):
                await adapter.client.plants()  # refused before a socket opens
            pauses.append((error.value.free_at - world.clock.now()).total_seconds())
            world.after(pauses[-1] + 1)
        world.cloud.system_limit = None
        world.switch()
        world.after(1)
        return pauses, await adapter.client.plants()

    pauses, plants = world.run(session)

    for times, pause_s in enumerate(pauses):
        assert first_s * 2**times <= pause_s <= first_s * 2**times * 1.1
    assert plants


def test_a_ban_is_not_lengthened_by_calls_into_it(emulate_huawei, plant_device):
    world = emulate_huawei()
    world.switch(rate_limited=True, ban_s=200)

    async def session(adapter):
        first = await adapter.send(adapter.release(plant_device()))
        for _ in range(20):
            world.after(10)
            await adapter.send(adapter.release(plant_device()))
        world.switch()
        world.after(900)
        return first, await adapter.send(adapter.release(plant_device()))

    first, last = world.run(session)

    assert (type(first).__name__, first.retryable) == ("Rejected", True)
    assert type(last).__name__ == "Accepted"
    assert sum(event["event"] == "refused as too frequent" for event in world.log.events) == 1


# --- faults ---


def test_an_adapter_outlives_its_event_loop(emulate_huawei, plant_device):
    """Workers run each task in a loop of its own, with many readings at once in each."""
    world = emulate_huawei(plants=3)
    adapter = create({**world.cloud.account(), "base_url": world.url}, world.clock.now)

    async def session():
        readings = [adapter.read(plant_device(f"NE={n}"), Channel.POWER) for n in (1, 2, 3)]
        try:
            return await asyncio.gather(*readings)
        finally:
            await adapter.close()

    for _ in range(3):
        assert all(reading is not None for reading in asyncio.run(session()))
        world.after(3600)


def test_a_cloud_that_is_down(emulate_huawei, plant_device):
    world = emulate_huawei()

    async def session(adapter):
        await adapter.client.plants()
        world.switch(server_error_share=1.0)
        with pytest.raises(VendorUnavailableError):
            await adapter.client.plants()
        return await adapter.send(adapter.release(plant_device()))

    assert type(world.run(session)).__name__ == "Unknown"


def test_a_login_that_fails_inside_a_write_means_that_nothing_was_sent(emulate_huawei, plant_device):
    world = emulate_huawei()
    world.switch(server_error_share=1.0)

    async def session(adapter):
        return await adapter.send(adapter.release(plant_device()))

    receipt = world.run(session)

    assert (type(receipt).__name__, receipt.retryable) == ("Rejected", True)


def test_nobody_there(closed_port_url, manual_clock, plant_device):
    settings = {
        "base_url": closed_port_url,
        "oauth_url": "same",
        "client_id": "1",
        "client_secret": "s",
        "redirect_url": "https://r/",
        "refresh_token": "r",
    }

    async def session():
        adapter = create(settings, manual_clock)
        assert isinstance(adapter, HuaweiAdapter)
        receipt = await adapter.send(adapter.release(plant_device()))
        with pytest.raises(VendorUnavailableError):
            await adapter.read(plant_device(), Channel.POWER)
        await adapter.close()
        return receipt

    assert asyncio.run(session()).retryable


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"client_id": ""}, "access .* needs"),
        ({"base_url": "ftp://x"}, "base_url"),
        ({"base_url": "http://eu5.fusionsolar.huawei.com"}, "base_url"),
        ({"oauth_url": "nonsense"}, "oauth_url"),
        ({"acess": "oauth"}, "acess"),
        ({"access": "api_account"}, "access .* needs"),
        ({"control_reserve": -1}, "control_reserve"),
    ],
)
def test_wrong_settings_are_named_and_never_shown(manual_clock, change, named):
    given = {
        "base_url": "https://eu5.fusionsolar.huawei.com",
        "client_id": "1",
        "client_secret": "canary",
        "redirect_url": "https://r/",
        **change,
    }
    with pytest.raises(ConfigurationError, match=named) as error:
        create(given, manual_clock)
    assert "canary" not in repr(error.value)

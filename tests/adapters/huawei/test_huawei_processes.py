"""Processes of their own that share one owner's tokens by a file."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import subprocess
import sys

import pytest
from pydantic import SecretStr

from adapters.token_file import FileTokenStore
from adapters.tokens import Tokens

# Asks for the plants at the time that each line of its input says, and prints how many there are.
ASKS = """
import asyncio, datetime, json, pathlib, sys
from adapters.huawei.adapter import create
from adapters.token_file import FileTokenStore
settings = json.loads(sys.stdin.readline())
now = None
async def main():
    adapter = create(settings, lambda: now, FileTokenStore(pathlib.Path(sys.argv[1])))
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, ""):
        global now
        now = datetime.datetime.fromisoformat(line.strip())
        try:
            print(len(await adapter.client.plants()), flush=True)
        except Exception as error:
            print(error, flush=True)
    await adapter.close()
asyncio.run(main())
"""


class Asker:
    def __init__(self, path, settings):
        command = [sys.executable, "-W", "error", "-c", ASKS, str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.say(json.dumps(settings))
        assert self.hear() == "ready"

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self):
        return self.process.stdout.readline().strip()


@pytest.fixture
def start(tmp_path):
    tmp_path.chmod(0o700)
    started = []

    def run(settings):
        started.append(Asker(tmp_path / "owner.tokens", settings))
        return started[-1]

    yield run
    for asker in started:
        asker.process.kill()
        asker.process.communicate()


def refreshes(world):
    return sum(event["event"] == "token" for event in world.log.events)


def test_two_processes_that_find_the_token_over_refresh_it_once(emulate_huawei, start, tmp_path):
    world = emulate_huawei()
    account = {**world.cloud.account(), "base_url": world.url, "refresh_token": ""}
    over = Tokens(
        SecretStr("old"),
        SecretStr(world.cloud.account()["refresh_token"]),
        world.clock.now() - dt.timedelta(seconds=1),
    )
    asyncio.run(FileTokenStore(tmp_path / "owner.tokens").save(over))
    both = [start(account), start(account)]

    for hour in range(1, 6):
        for asker in both:
            asker.say(world.clock.now().isoformat())
        assert [asker.hear() for asker in both] == ["1", "1"]
        assert refreshes(world) == hour
        world.after(3600)


def test_a_process_that_begins_later_goes_on_with_what_the_first_left(emulate_huawei, start):
    world = emulate_huawei()
    account = {**world.cloud.account(), "base_url": world.url}
    for hour in (1, 2):
        asker = start(account)  # the refresh token of its settings is spent the second time
        asker.say(world.clock.now().isoformat())
        assert asker.hear() == "1"
        asker.process.kill()
        assert refreshes(world) == hour
        world.after(3600)


def test_an_api_accounts_session_is_shared_too(emulate_huawei, start):
    """A second login would end the first session."""
    world = emulate_huawei()
    account = {**world.cloud.api_account(), "base_url": world.url}
    for asker in (start(account), start(account)):
        asker.say(world.clock.now().isoformat())
        assert asker.hear() == "1"

    assert sum(event["event"] == "login" for event in world.log.events) == 1

"""Tokens in a file: private, whole whatever dies when, and one holder at a time over processes."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import signal
import subprocess
import sys
import time

import pytest
from pydantic import SecretStr

from adapters import token_file
from adapters.contract import ConfigurationError, VendorUnavailableError
from adapters.token_file import FileTokenStore
from adapters.tokens import Tokens

TOKENS = Tokens(
    SecretStr("zwitscher-1"),
    SecretStr("zwitscher-2"),
    dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC),
    frozenset({"a", "b"}),
    "0123",
)
# Saves one of two pairs after the other, each as long as many disk blocks; says when it has begun.
SAVES_FOR_EVER = """
import asyncio, pathlib, sys
from pydantic import SecretStr
from adapters.token_file import FileTokenStore
from adapters.tokens import Tokens
store = FileTokenStore(pathlib.Path(sys.argv[1]))
pairs = [Tokens(SecretStr(letter * 100_000), SecretStr(letter * 100_000)) for letter in "ab"]
asyncio.run(store.save(pairs[0]))
print("begun", flush=True)
while True:
    for pair in pairs:
        asyncio.run(store.save(pair))
"""
# Saves once, and stands still at the n-th time that something is to reach the disk: draft, then folder.
STOPS_AT_SYNC = """
import asyncio, os, pathlib, sys, time
from pydantic import SecretStr
from adapters.token_file import FileTokenStore
from adapters.tokens import Tokens
times = 0
def stop(_):
    global times
    times += 1
    if times == PLACE:
        print("there", flush=True)
        time.sleep(60)
os.fsync = stop
asyncio.run(FileTokenStore(pathlib.Path(sys.argv[1])).save(Tokens(SecretStr("b" * 100_000), SecretStr("b" * 100_000))))
"""
HOLDS = """
import asyncio, pathlib, sys
from adapters.token_file import FileTokenStore
async def hold():
    async with FileTokenStore(pathlib.Path(sys.argv[1])).exclusive():
        print("held", flush=True)
        await asyncio.sleep(60)
asyncio.run(hold())
"""


@pytest.fixture
def path(tmp_path):
    tmp_path.chmod(0o700)
    return tmp_path / "owner.tokens"


@pytest.fixture
def start(path):
    started = []

    def run(program):
        process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        process.stdout.readline()
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


async def hold_briefly(path):
    async with FileTokenStore(path).exclusive():
        pass


@pytest.mark.parametrize("tokens", [TOKENS, Tokens(SecretStr("x"))])
def test_what_is_saved_comes_back_in_a_file_of_its_owners(path, tokens):
    asyncio.run(FileTokenStore(path).save(tokens))

    assert asyncio.run(FileTokenStore(path).load()) == tokens
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name], "no draft is left"


def test_a_file_that_is_not_there_holds_none(path):
    assert asyncio.run(FileTokenStore(path).load()) is None


def test_a_link_and_its_file_are_one_store(path):
    link = path.with_name("link")
    link.symlink_to(path)
    asyncio.run(FileTokenStore(link).save(TOKENS))

    assert link.is_symlink()
    assert asyncio.run(FileTokenStore(path).load()) == TOKENS
    assert FileTokenStore(link)._path == FileTokenStore(path)._path, "and they share one lock"


@pytest.mark.parametrize("content", ["", "zwitscher-3", '{"access": "zwitscher-3"', "[]", '{"refresh": "zwitscher-3"}'])
def test_a_file_of_something_else_is_refused_without_its_content(path, content):
    path.touch(mode=0o600)
    path.write_text(content)

    with pytest.raises(ConfigurationError, match=r"owner\.tokens: holds no tokens") as caught:
        asyncio.run(FileTokenStore(path).load())
    assert "zwitscher" not in str(caught.value) + repr(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_may_use_is_refused(path, mode):
    asyncio.run(FileTokenStore(path).save(TOKENS))
    path.chmod(mode)

    with pytest.raises(ConfigurationError, match="chmod it to 600"):
        asyncio.run(FileTokenStore(path).load())


def test_a_folder_that_anybody_may_write_in_is_refused_and_a_sticky_one_is_not(path):
    path.parent.chmod(0o777)
    with pytest.raises(ConfigurationError, match="folder of your own"):
        asyncio.run(hold_briefly(path))
    path.parent.chmod(0o1777)
    asyncio.run(hold_briefly(path))


def test_a_folder_that_is_not_there_is_told(path):
    with pytest.raises(ConfigurationError, match="cannot be used"):
        asyncio.run(hold_briefly(path.parent / "nowhere" / "owner.tokens"))


def test_a_draft_that_somebody_laid_there_is_never_written_into(path):
    foreign = path.with_name("foreign")
    foreign.write_text("theirs")
    path.with_name("owner.tokens.part").symlink_to(foreign)

    asyncio.run(FileTokenStore(path).save(TOKENS))

    assert foreign.read_text() == "theirs"
    assert not path.is_symlink()


def pair(letter):
    return Tokens(SecretStr(letter * 100_000), SecretStr(letter * 100_000))


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize(("place", "left"), [(1, "a"), (2, "b")])
def test_a_kill_before_and_after_the_swap_leaves_the_old_tokens_and_the_new(path, start, place, left):
    asyncio.run(FileTokenStore(path).save(pair("a")))
    kill(start(STOPS_AT_SYNC.replace("PLACE", str(place))))

    assert path.with_name("owner.tokens.part").exists() is (left == "a"), "it died where it was meant to"
    assert asyncio.run(FileTokenStore(path).load()) == pair(left)
    asyncio.run(FileTokenStore(path).save(TOKENS))
    assert asyncio.run(FileTokenStore(path).load()) == TOKENS


def test_a_kill_at_any_moment_of_a_save_leaves_whole_tokens(path, start):
    for round_ in range(8):
        process = start(SAVES_FOR_EVER)
        time.sleep(0.003 * round_)
        kill(process)
        assert asyncio.run(FileTokenStore(path).load()) in (pair("a"), pair("b"))
        assert path.stat().st_mode & 0o777 == 0o600


def test_one_process_at_a_time_and_a_dead_one_is_no_obstacle(path, start, monkeypatch):
    monkeypatch.setattr(token_file, "LONGEST_WAIT_S", 0.2)
    holder = start(HOLDS)
    with pytest.raises(VendorUnavailableError, match="another process"):
        asyncio.run(hold_briefly(path))

    holder.kill()
    holder.wait()
    asyncio.run(hold_briefly(path))


def test_one_at_a_time_within_a_process(path):
    order = []

    async def turn(name):
        async with FileTokenStore(path).exclusive():
            order.append(name)
            await asyncio.sleep(0.02)
            order.append(name)

    async def both():
        await asyncio.gather(turn("a"), turn("b"))

    asyncio.run(both())

    assert order in (list("aabb"), list("bbaa"))


def test_the_file_is_plain_json(path):
    asyncio.run(FileTokenStore(path).save(TOKENS))

    assert json.loads(path.read_text())["scope"] == ["a", "b"]

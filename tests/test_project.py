"""Promises of the repository itself."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_socket import SocketConnectBlockedError

ROOT = Path(__file__).parents[1]


def test_no_test_can_reach_beyond_loopback() -> None:
    # An address reserved for documentation (RFC 5737): nobody is there, and the guard stops before it is tried.
    # The guard warns before it raises, and warnings are errors here.
    with (
        socket.socket() as outside,
        pytest.warns(UserWarning, match="192.0.2.1"),
        pytest.raises(SocketConnectBlockedError),
    ):
        outside.connect(("192.0.2.1", 80))


def test_make_alone_prints_a_line_of_help_for_every_target() -> None:
    done = subprocess.run(["make", "-C", ROOT], capture_output=True, text=True, check=True)
    for target in ("demo", "test", "check", "bench", "bench-peers", "clean"):
        assert f"make {target} " in done.stdout


def test_every_pinned_version_is_a_plain_pin_without_an_address() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        assert name
        assert version.replace(".", "").replace("post", "").isalnum(), line


def test_the_imports_keep_to_the_four_floors() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_benchmarks_agree_with_the_raw_solver() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--smoke"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

"""A slice of `make up-proof`: killed workers, and a journal that agrees with the emulators' logs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(900)
def test_killed_workers_leave_a_journal_that_agrees_with_the_vendors(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if not request.config.getoption("--chaos"):
        pytest.skip("takes minutes; ask for it by --chaos")
    arguments = ["--minutes", "1.5", "--kill-every-s", "30", "--step-min", "1", "--folder", str(tmp_path / "proof")]
    command = [sys.executable, "-m", "tests.up_proof", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("AGREES\n")
    assert "3 kills" in done.stdout

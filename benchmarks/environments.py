"""Virtual environments for the other libraries, one each, so that none of their dependencies or licences meets ours."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.solvers.contract import NotAvailableError

PEERS_FOLDER = Path(__file__).parent / "peers"
INSTALL_LIMIT_S = 900


def python_of(peer: str, state: Path, say: Callable[[str], None]) -> Path:
    """The Python of a peer's environment, made at first use and anew when its list of versions changes.

    Args:
        peer: Stem of `benchmarks/peers/<peer>.txt`.
        state: Folder for environments.
        say: Told what is being installed.

    Raises:
        NotAvailableError: It cannot be installed; says why.
    """
    wanted = (PEERS_FOLDER / f"{peer}.txt").read_text(encoding="utf-8")
    venv = state / "venvs" / peer
    python = venv / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    installed = venv / "installed.txt"
    if installed.exists() and installed.read_text(encoding="utf-8") == wanted:
        return python
    say(f"installing {peer} into {venv}")
    shutil.rmtree(venv, ignore_errors=True)
    _run(peer, [sys.executable, "-m", "venv", str(venv)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run(peer, [*pip, "--requirement", str(PEERS_FOLDER / f"{peer}.txt")])
    installed.write_text(wanted, encoding="utf-8")
    return python


def _run(peer: str, command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise NotAvailableError(f"not installed: {peer} took more than {INSTALL_LIMIT_S} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise NotAvailableError(f"not installed: {lines[-1]}")

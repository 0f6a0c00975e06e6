"""At the end of `tidewatt up --release-on-stop` nothing of ours is left in force, as far as that is in our power."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.contract import ConfigurationError
from console import processes
from schedules import work
from schedules.clock import RealClock
from schedules.sites import register_site
from schedules.store import AccountRow, CommandRow, CommandState, Database, IntentRow
from schedules.store.models import CommandKind
from tests.schedules.fake_battery import SITE
from tests.schedules.scripted_vendor import ScriptedVendor

CLOCK = RealClock()


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A store with two armed accounts, of which the first cannot be opened; nobody works on it."""

    def open_adapter(number: int) -> Any:
        if number == 1:
            raise ConfigurationError("account/1: sealed with a key that is not in the ring")
        return ScriptedVendor(CLOCK, None, None)  # type: ignore[arg-type]

    monkeypatch.setattr(work, "open_adapter", open_adapter)
    monkeypatch.setattr(processes, "RELEASED_WITHIN_S", 0.3)
    made = Database.at(tmp_path / "store.sqlite")
    for name in ("lost", "barn"):
        site = SITE.model_copy(update={"name": name})
        register_site(made, site, None, "scripted", name, account=name)  # type: ignore[arg-type]
    with made.write() as session:
        for number in (1, 2):
            session.get_one(AccountRow, number).armed = True
    yield made
    made.close()


def test_one_account_that_cannot_be_opened_keeps_nobody_from_waiting_for_the_others(
    db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    with db.write() as session:
        session.add(_call(CommandKind.START, -2.0))
    processes._let_go(db, CLOCK)
    said = capsys.readouterr().err
    assert "up: lost: account/1" in said
    assert "not released within" in said
    assert "barn" in said
    with db.session() as session:
        assert not any(session.get_one(AccountRow, number).armed for number in (1, 2))


def test_a_limit_of_export_is_waited_for_too(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    with db.write() as session:
        intent = IntentRow(
            site_id=2, mode="hold", power_kw=0.0, not_before=CLOCK(), not_after=CLOCK(), export_limit_kw=0.0
        )
        session.add(intent)
        session.flush()
        session.add(_call(CommandKind.LIMIT, 0.0, intent_id=intent.id))
    processes._let_go(db, CLOCK)
    assert "not released within" in capsys.readouterr().err
    with db.write() as session:
        session.add(_call(CommandKind.LIMIT, 0.0))  # lifted
        session.get_one(AccountRow, 2).armed = True
    processes._let_go(db, CLOCK)
    assert "1 batteries are let go of" in capsys.readouterr().err


def _call(kind: CommandKind, battery_kw: float, intent_id: int | None = None) -> CommandRow:
    return CommandRow(
        site_id=2,
        kind=kind,
        battery_kw=battery_kw,
        payload={},
        state=CommandState.ACCEPTED,
        sent_at=CLOCK(),
        answered_at=CLOCK(),
        intent_id=intent_id,
    )

"""What stands where, at a glance: every site with its plan, its intent, its last command and what telemetry says."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import ScalarSelect, Select, select
from sqlalchemy.orm import Session

from adapters.contract import Channel
from schedules.store import AccountRow, CommandRow, IntentRow, PlanRow, SiteRow, TelemetryRow

Row = TypeVar("Row", PlanRow, IntentRow, CommandRow, TelemetryRow)


@dataclass(frozen=True)
class SiteStatus:
    """One site now. None: there is none."""

    site: SiteRow
    account: AccountRow | None
    plan: PlanRow | None
    """The newest that came into force."""
    intent: IntentRow | None
    """What is wanted now."""
    command: CommandRow | None
    """The last call."""
    power: TelemetryRow | None
    """The newest reading of powers."""
    state: TelemetryRow | None
    """The newest reading of the full state."""

    @property
    def vendor(self) -> str:
        """The adapter's name."""
        return self.site.adapter

    @property
    def armed(self) -> bool:
        """Whether its account may be driven."""
        return self.account is not None and self.account.armed

    def age_s(self, now: dt.datetime) -> float | None:
        """How old the newest reading is by the vendor's time [s]; None: there is none."""
        measured = [reading.measured_at for reading in (self.power, self.state) if reading is not None]
        return (now - max(measured)).total_seconds() if measured else None


def sites(session: Session, now: dt.datetime) -> list[SiteStatus]:
    """All sites under accounts by name, in six queries however many they are."""
    of_site = (
        _first(select(PlanRow.id).where(PlanRow.site_id == SiteRow.id, PlanRow.adopted).order_by(PlanRow.id.desc())),
        _first(
            select(IntentRow.id)
            .where(
                IntentRow.site_id == SiteRow.id,
                IntentRow.superseded.is_(False),
                IntentRow.not_before <= now,
                IntentRow.not_after > now,
            )
            # As `plans.current_intents`: a person's wish first, though a newer plan was made around it.
            .order_by(IntentRow.override_id.is_not(None).desc(), IntentRow.id.desc())
        ),
        _first(select(CommandRow.id).where(CommandRow.site_id == SiteRow.id).order_by(CommandRow.id.desc())),
        *(
            _first(
                select(TelemetryRow.id)
                .where(TelemetryRow.site_id == SiteRow.id, TelemetryRow.channel == channel.value)
                .order_by(TelemetryRow.measured_at.desc())
            )
            for channel in (Channel.POWER, Channel.STATE)
        ),
    )
    found = session.execute(
        select(SiteRow, AccountRow)
        .add_columns(*of_site)
        .join(AccountRow, SiteRow.account_id == AccountRow.id)
        .order_by(SiteRow.name)
    ).all()
    plans = _by_id(session, PlanRow, [row[2] for row in found])
    intents = _by_id(session, IntentRow, [row[3] for row in found])
    commands = _by_id(session, CommandRow, [row[4] for row in found])
    readings = _by_id(session, TelemetryRow, [number for row in found for number in row[5:7]])
    return [
        SiteStatus(
            site,
            account,
            plans.get(plan),
            intents.get(intent),
            commands.get(command),
            readings.get(power),
            readings.get(state),
        )
        for site, account, plan, intent, command, power, state in found
    ]


def _first(query: Select[int]) -> ScalarSelect[int]:
    return query.limit(1).correlate(SiteRow).scalar_subquery()


def _by_id(session: Session, row: type[Row], ids: Sequence[int | None]) -> dict[int | None, Row]:
    wanted = [number for number in ids if number is not None]
    # A database takes so many numbers in one question.
    chunks = (wanted[begin : begin + 10_000] for begin in range(0, len(wanted), 10_000))
    return {one.id: one for chunk in chunks for one in session.scalars(select(row).where(row.id.in_(chunk)))}

"""The store: all state of a running Tidewatt, in SQLite or any database that SQLAlchemy speaks to."""

from schedules.store.database import Database
from schedules.store.models import (
    CommandRow,
    CommandState,
    IntentRow,
    PlanRow,
    SiteRow,
    TelemetryRow,
    Verdict,
)

__all__ = [
    "CommandRow",
    "CommandState",
    "Database",
    "IntentRow",
    "PlanRow",
    "SiteRow",
    "TelemetryRow",
    "Verdict",
]

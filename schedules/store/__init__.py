"""The store: all state of a running Tidewatt, in SQLite or PostgreSQL."""

from schedules.store.base import SITE_IDS
from schedules.store.control import (
    AccountRow,
    EventRow,
    HaltRow,
    HaltScope,
    JobRunRow,
    OverrideRow,
    QuotaCallRow,
    QuotaPauseRow,
    RampLimitRow,
    SeriesRow,
    TokenRow,
)
from schedules.store.database import Database
from schedules.store.models import (
    CommandRow,
    CommandState,
    IntentRow,
    PlanRow,
    ReadRow,
    SafetyState,
    SiteRow,
    TelemetryRow,
    Verdict,
)
from schedules.store.prices import MarketDayRow, MarketRow, PriceTermsRow
from schedules.store.strategies import SiteGroupRow, StrategyVersionRow

__all__ = [
    "SITE_IDS",
    "AccountRow",
    "CommandRow",
    "CommandState",
    "Database",
    "EventRow",
    "HaltRow",
    "HaltScope",
    "IntentRow",
    "JobRunRow",
    "MarketDayRow",
    "MarketRow",
    "OverrideRow",
    "PlanRow",
    "PriceTermsRow",
    "QuotaCallRow",
    "QuotaPauseRow",
    "RampLimitRow",
    "ReadRow",
    "SafetyState",
    "SeriesRow",
    "SiteGroupRow",
    "SiteRow",
    "StrategyVersionRow",
    "TelemetryRow",
    "TokenRow",
    "Verdict",
]

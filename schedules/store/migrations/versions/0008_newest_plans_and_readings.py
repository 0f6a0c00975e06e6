"""indexes for the newest plan of a site, and for its readings by time"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_plan_newest", "plan", ["site_id", "id"])
    op.create_index("ix_telemetry_time", "telemetry", ["site_id", "measured_at"])

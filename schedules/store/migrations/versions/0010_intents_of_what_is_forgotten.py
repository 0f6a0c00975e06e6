"""intents of a plan or an override are found when that is forgotten"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_intent_plan_id", "intent", ["plan_id"])
    op.create_index("ix_intent_override_id", "intent", ["override_id"])

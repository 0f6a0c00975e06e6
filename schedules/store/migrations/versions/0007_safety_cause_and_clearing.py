"""when a site's signs last called for its state, and when a person cleared it"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("site", schema=None) as batch_op:
        batch_op.add_column(sa.Column("safety_cause_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("safety_cleared_at", sa.DateTime(timezone=True), nullable=True))

"""when whoever does a slot of a job last showed that he is alive"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("job_run") as table:
        table.add_column(sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE job_run SET seen_at = started_at")
    with op.batch_alter_table("job_run") as table:
        table.alter_column("seen_at", existing_type=sa.DateTime(timezone=True), nullable=False)

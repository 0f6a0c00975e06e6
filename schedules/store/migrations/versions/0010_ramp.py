"""the fleet's ramp limit; when a channel was asked for last"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ramp_limit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kw_per_min", sa.Double(), nullable=True),
        sa.Column("share_per_min", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "read",
        sa.Column("site_id", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"]),
        sa.PrimaryKeyConstraint("site_id", "channel"),
    )
    op.add_column("command", sa.Column("step_kw", sa.Double(), nullable=True))
    op.create_index("ix_command_sent_at", "command", ["sent_at"])
    op.add_column("site", sa.Column("rated_kw", sa.Double(), nullable=True))

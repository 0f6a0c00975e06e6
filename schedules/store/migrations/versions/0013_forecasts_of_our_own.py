"""forecasts that are made here, beside those that are published"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("series", sa.Column("made_by", sa.String(), nullable=False, server_default=""))
    op.add_column("series", sa.Column("doubt", sa.String(), nullable=False, server_default=""))

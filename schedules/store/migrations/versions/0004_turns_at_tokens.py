"""whose turn it is to renew an account's tokens"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("account", sa.Column("tokens_held_by", sa.String(), nullable=True))
    op.add_column("account", sa.Column("tokens_held_until", sa.DateTime(timezone=True), nullable=True))

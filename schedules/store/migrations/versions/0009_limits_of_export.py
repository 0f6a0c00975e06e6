"""commands that limit export are found without looking through all others"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    is_limit = sa.text("kind = 'limit'")
    op.create_index("ix_command_limit", "command", ["site_id", "id"], sqlite_where=is_limit, postgresql_where=is_limit)

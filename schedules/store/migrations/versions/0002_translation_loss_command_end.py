"""what translating a plan into a vendor's intents loses, and when commands end by themselves"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("plan", sa.Column("translation_loss_eur", sa.Double(), nullable=True))
    op.add_column("command", sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True))

"""Which account a key belongs to, so that Stripe need not be asked at each start.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "account",
        sa.Column(
            "key_digests",
            pg.ARRAY(sa.LargeBinary()),
            nullable=False,
            server_default=sa.text("'{}'::bytea[]"),
            comment="Digests of the API keys that Stripe said are this account's; no key can be told from them.",
        ),
        schema="refund_sync",
    )

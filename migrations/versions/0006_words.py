"""Comments on tables and columns in plain words; nothing else.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    for statement in text.partition("\n\n")[2].split(";\n"):
        if statement.strip():
            op.execute(statement.strip().replace(":", r"\:"))


def downgrade() -> None:
    """The comments stay: an older program reads none."""

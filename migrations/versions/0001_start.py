"""The first schema.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    for statement in text.partition("\n\n")[2].split(";\n"):
        if statement.strip():
            op.execute(statement.strip().replace(":", r"\:"))

"""What is known for certain: times that lie in the future, refunds that are gone, months that are complete.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    for statement in text.partition("\n\n")[2].split(";\n"):
        if statement.strip():
            op.execute(statement.strip().replace(":", r"\:"))

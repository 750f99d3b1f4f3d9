"""Rechecks by day, gaps in events, counted reads, the daemon's lease.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    for statement in text.partition("\n\n")[2].split(";\n"):
        if statement.strip():
            op.execute(statement.strip().replace(":", r"\:"))

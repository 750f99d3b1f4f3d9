"""Each version is stored once: those that another followed in a table, the current one in its refund's row.

This changes the shape alone, which takes no longer for a million refunds than for none but for one small index.
``migrate`` moves the rows afterwards, in steps; until then the view finds them where they were.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

HERE = Path(__file__)


def upgrade() -> None:
    _run(HERE.with_suffix(".sql"))


def downgrade() -> None:
    """Each current version is copied beside its refund again; what an older program needs is there then."""
    _run(HERE.with_suffix(".back.sql"))


def _run(path: Path) -> None:
    for statement in path.read_text(encoding="utf-8").partition("\n\n")[2].split(";\n"):
        if statement.strip():
            op.execute(statement.strip().replace(":", r"\:"))

"""Moves the current version of each refund into its row, after the migration that made room for it.

In bounded steps, each a transaction of its own: killed, it goes on where it stopped; readers and writers
need not wait for its end, as ``refund_version`` shows each version wherever it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.adapters.postgres.queries import query

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.adapters.postgres.session.connect import Connection

STEP_ROWS = 20_000


async def move_versions(
    connection: Connection, report: Callable[[str], None], *, step_rows: int = STEP_ROWS
) -> int:
    """Returns how many were moved; *report* is given a line after each step but the last."""
    total = await connection.fetchval(query("unmoved_versions"))
    moved, last = 0, ("", "")
    while moved < total:
        async with connection.transaction():
            await connection.execute(query("lift_limits"))
            step = await connection.fetchrow(query("move_versions"), *last, step_rows)
        if step is None:
            break
        moved, last = moved + step["moved"], (step["account_id"], step["id"])
        if moved < total:
            report(f"versions: {moved:,} of {total:,} moved")
    return moved

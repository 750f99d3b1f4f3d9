"""Hints from outside, kept for whichever accounts this database holds."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import structlog

from service.adapters.postgres.queries import query
from service.adapters.postgres.rechecks import queue as rechecks
from service.adapters.postgres.session.halves import write_parts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from service.adapters.postgres.session.connect import Connection
    from service.adapters.postgres.session.database import Database
    from service.domain.batch import Batch
    from service.domain.refund import Hint
    from service.ports.runs import Clock

log = structlog.get_logger(__name__)


class PostgresHinted:
    """Implements ``ports.hints.Hinted``. Who waits for an answer gives it a database of little patience."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def hint(self, hints: Mapping[str, Sequence[Hint]]) -> dict[str, int]:
        """All in one transaction; one by one where the database refuses the data of one, which is lost."""
        new: Counter[str] = Counter()
        each = [(account_id, hint) for account_id in sorted(hints) for hint in hints[account_id]]

        async def write(part: Sequence[tuple[str, Hint]]) -> None:
            found: dict[str, list[Hint]] = {}
            for account_id, hint in part:
                found.setdefault(account_id, []).append(hint)
            new.update(await self._write(found))

        for (account_id, hint), reason in await write_parts(each, write):
            log.warning("hint.refused", account_id=account_id, kind=hint.kind, reason=reason)
        return dict(new)

    async def _write(self, hints: Mapping[str, Sequence[Hint]]) -> dict[str, int]:
        async def write(connection: Connection) -> dict[str, int]:
            found = await connection.fetch(query("known_accounts"), sorted(hints))
            return {
                account_id: await rechecks.hint(
                    connection, account_id, hints[account_id], self._clock.now()
                )
                for account_id in sorted(row[0] for row in found)
            }

        return await self._database.patiently(write)


async def keep(connection: Connection, account_id: str, batch: Batch, now: datetime) -> int:
    """Keeps the hints of a batch. Returns how many were new: an event that was received before is not."""
    hints = [hint for reading in batch.readings for hint in reading.hints]
    new = await rechecks.hint(connection, account_id, [h for h in hints if not h.recent], now)
    await rechecks.hint(connection, account_id, [h for h in hints if h.recent], now)
    return new

"""What the warehouse remembers of how refunds were received, so that the same need not be decoded again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.adapters.postgres.store import Database
    from service.domain.walk import Key
    from service.ports import Clock


class PostgresMemory:
    """Implements ``ports.Memory`` for one account."""

    def __init__(self, database: Database, account_id: str, clock: Clock) -> None:
        self._database = database
        self._account_id = account_id
        self._clock = clock

    async def same(self, received: Mapping[Key, bytes]) -> frozenset[str]:
        if not received:
            return frozenset()
        ids, seconds = [key.id for key in received], [key.created for key in received]
        known = await self._database.fetch(
            "received_so", self._account_id, ids,
            min(seconds), max(seconds), self._clock.now(),
        )  # fmt: skip
        digests = dict(zip(ids, received.values(), strict=True))
        return frozenset(row[0] for row in known if digests.get(row[0]) == row[1])

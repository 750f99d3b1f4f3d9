"""What the warehouse remembers of how refunds were received, so that the same need not be decoded again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.domain.recheck import STATES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.adapters.postgres.store import Database
    from service.ports import Clock


class PostgresMemory:
    """Implements ``ports.Memory`` for one account."""

    def __init__(self, database: Database, account_id: str, clock: Clock) -> None:
        self._database = database
        self._account_id = account_id
        self._clock = clock

    async def same(self, received: Mapping[str, bytes]) -> frozenset[str]:
        known = await self._database.fetch(
            "received_so", self._account_id, list(received), self._clock.now(), list(STATES)
        )
        return frozenset(row[0] for row in known if received[row[0]] == row[1])

"""What the warehouse remembers of how refunds were received, so that the same need not be decoded again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.adapters.postgres.queries import query
from service.domain.recheck import STATES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.adapters.postgres.connect import Connection
    from service.adapters.postgres.store import Database
    from service.ports import Clock


class PostgresMemory:
    """Implements ``ports.Memory`` for one account."""

    def __init__(self, database: Database, account_id: str, clock: Clock) -> None:
        self._database = database
        self._account_id = account_id
        self._clock = clock

    async def same(self, received: Mapping[str, bytes]) -> frozenset[str]:
        async def read(connection: Connection) -> frozenset[str]:
            known = await connection.fetch(query("received_so"), self._account_id, list(received))
            same = [row[0] for row in known if received[row[0]] == row[1]]
            if not same:
                return frozenset()
            waited = await connection.fetch(
                query("waited_for"), self._account_id, same, self._clock.now(), list(STATES)
            )
            return frozenset(same) - {row[0] for row in waited}

        return await self._database.patiently(read)

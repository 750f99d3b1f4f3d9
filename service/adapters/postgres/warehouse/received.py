"""What the warehouse remembers of how refunds were received, so that the same need not be decoded again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.adapters.postgres.session.values import time_of
from service.domain.coverage.walk import Key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from service.adapters.postgres.session.database import Database
    from service.ports.runs import Clock


class PostgresReceivedDigests:
    """Implements ``ports.warehouse.ReceivedDigests`` for one account."""

    def __init__(self, database: Database, account_id: str, clock: Clock) -> None:
        self._database = database
        self._account_id = account_id
        self._clock = clock

    async def same(
        self, received: Sequence[bytes], earliest: int, latest: int, asked_at: datetime
    ) -> dict[bytes, Key]:
        now = self._clock.now()
        known = await self._database.fetch(
            "received_so", self._account_id, received,
            time_of(earliest), time_of(latest), now, asked_at,
        )  # fmt: skip
        pending_though_unchanged: set[str] = set()
        if known and known[0]["any_waits"]:
            ids = [row["id"] for row in known]
            found = await self._database.fetch(
                "pending_though_unchanged", self._account_id, ids, now
            )
            pending_though_unchanged = {row["object_id"] for row in found}
        return {
            digest: Key(second, refund_id)
            for digest, second, refund_id, _ in known
            if refund_id not in pending_though_unchanged
        }

"""A daemon as far as the lease goes: takes it, keeps it, writes one refund when asked, says how it went.

Reads commands on stdin, writes lines of JSON on stdout. Arguments: DSN, name, lease time, the
status that it writes, and where to stop and wait inside its transaction.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import date
from typing import TYPE_CHECKING, Any

import structlog

from service.adapters.postgres.operations.lease import Lease, application_name
from service.adapters.postgres.session.connect import create_pool
from service.adapters.postgres.session.database import Database, Fence
from service.adapters.postgres.warehouse.store import PostgresStore
from service.domain.errors import RefundSyncError
from tests.builders import a_refund, an_observation, batch_of
from tests.integration.warehouse import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.adapters.postgres.session.connect import Connection

BEFORE_COMMIT, IN_COPY = "before COMMIT", "inside COPY"
COPIED = ("account_id", "day", "class", "endpoint", "reads")


def say(event: str, reported: object = None) -> None:
    print(json.dumps([event, reported]), flush=True)


class Pausing(Database):
    """Stops dead at one place of its first transaction: nothing else of the process runs on."""

    pause = ""

    async def _hold_on(self, connection: Connection) -> None:
        if self.pause == IN_COPY:
            await connection.copy_records_to_table(
                "read_count", schema_name="refund_sync", columns=COPIED, records=self._rows()
            )
        await super()._hold_on(connection)
        if self.pause == BEFORE_COMMIT:
            self._stop()

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        for number in range(2_000):
            if number == 1_500:
                self._stop()
            yield ACCOUNT, date(2026, 3, 1), "polls", f"{number:>1000}", 1

    def _stop(self) -> None:
        self.pause = ""
        say("paused")
        sys.stdin.readline()


async def main(dsn: str, holder: str, lease_s: str, status: str, pause: str) -> None:
    lease = Lease(dsn, ACCOUNT, holder, lease_s=float(lease_s))
    epoch = await lease.take(wait=True, report=lambda news: say("waits", news))
    keeper = asyncio.create_task(lease.keep())
    name = application_name(ACCOUNT, epoch)
    say("taken", epoch)
    async with await create_pool(dsn, size=1, application_name=name) as pool:
        database = Pausing(pool, deadline_s=10, fence=Fence(ACCOUNT, epoch))
        database.pause = pause
        await asyncio.to_thread(sys.stdin.readline)
        say("written", await _error_of(_write(database, status)))
        await asyncio.to_thread(sys.stdin.readline)
        say("kept", await _error_of(asyncio.wait_for(keeper, 1)))
    await lease.release()


async def _write(database: Database, status: str) -> None:
    seen = an_observation(a_refund(status=status))
    await PostgresStore(database, ACCOUNT, None).write(batch_of(seen))


async def _error_of(work: Any) -> str:
    """The name of the error that it ended with; none where it went well."""
    try:
        await work
    except (RefundSyncError, TimeoutError) as error:
        return type(error).__name__
    return ""


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(*sys.argv[1:]))

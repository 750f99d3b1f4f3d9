"""Puts a database and Stripe together, talking about the same account."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from service.adapters.postgres.operations import runs as records
from service.adapters.postgres.operations.lease import held_by
from service.adapters.postgres.rechecks.due import PostgresDue
from service.adapters.postgres.rechecks.gaps import EventGaps
from service.adapters.postgres.reports import status as reports
from service.adapters.postgres.session.clock import SystemClock
from service.adapters.postgres.session.values import time_of
from service.adapters.postgres.warehouse.compare import PostgresComparison
from service.adapters.postgres.warehouse.received import PostgresReceivedDigests
from service.adapters.postgres.warehouse.store import PostgresStore
from service.adapters.stripe.client import StripeClient
from service.adapters.stripe.http.limits import Limits
from service.adapters.stripe.identity import key_digest, resolve_account
from service.adapters.stripe.lists.events import StripeEvents
from service.adapters.stripe.lists.refunds import StripeRefunds
from service.adapters.stripe.objects.event import RecentEvents
from service.app.databases import if_there
from service.app.decoding import decoder_of
from service.domain.coverage.span import Span
from service.jobs import plan
from service.jobs.estimate import Estimate, estimated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from service.adapters.postgres.operations.runs import ReadLog
    from service.adapters.postgres.session.connect import Connection
    from service.adapters.postgres.session.database import Database
    from service.adapters.stripe.identity import Identity
    from service.jobs.record import Run
    from service.ports.runs import Clock
    from service.ports.warehouse import ReceivedDigests
    from service.settings import Settings

BESIDE_A_DAEMON = 0.5
"""Of the rate: what a command takes while a daemon lives for the same account."""


@dataclass(frozen=True, slots=True)
class Account:
    """A database and Stripe, talking about the same account. *met_s* is when it was first met."""

    settings: Settings
    database: Database
    client: StripeClient
    source: StripeRefunds
    id: str
    met_s: int
    reads: ReadLog
    clock: Clock
    recent: RecentEvents = field(default_factory=RecentEvents)

    def store(self, run: Run | None = None) -> PostgresStore:
        return PostgresStore(self.database, self.id, run.id if run else None, self.clock)

    def events(self) -> StripeEvents:
        lag_s = self.settings.settle_lag_s
        return StripeEvents(self.client, settle_lag_s=lag_s, recent=self.recent)

    def due(self, *, hinted: bool) -> PostgresDue:
        return PostgresDue(self.database, self.id, hinted=hinted)

    def gaps(self) -> EventGaps:
        return EventGaps(self.database, self.id)

    def uncached_source(self) -> StripeRefunds:
        """Refunds that are always decoded, to be compared column by column."""
        return make_source(self.settings, self.client)

    def comparison(self, run: Run) -> PostgresComparison:
        return PostgresComparison(self.database, self.id, run.id)

    def on(self, database: Database) -> Account:
        """The same account by way of another pool of the same database."""
        memory = PostgresReceivedDigests(database, self.id, self.clock)
        source = make_source(self.settings, self.client, memory)
        return replace(self, database=database, reads=self.reads.on(database), source=source)

    async def settle_bound(self) -> int:
        """The latest instant that a claim could reach now, by the database's clock."""
        now = await self.database.now()
        return int(now.timestamp()) - self.settings.settle_lag_s

    async def want(self) -> None:
        """Records how far back refunds are wanted, for status and completeness: as it is set now."""
        await self.database.execute("want", self.id, time_of(self.settings.since_s))

    async def wanted(self) -> Span:
        bound = await self.settle_bound()
        return Span(min(self.settings.since_s, bound - 1), bound)


def make_client(
    settings: Settings, now: Callable[[], datetime], *, share: float = 1.0
) -> StripeClient:
    key = settings.require_key()
    limits = Limits(
        endpoint_rate=settings.endpoint_rate * share,
        global_rate=settings.rate_of_all * share,
        concurrency=settings.concurrency,
    )
    return StripeClient(
        key.secret.get_secret_value(),
        now=now,
        limits=limits,
        base=settings.stripe_api_base,
        proxy=settings.network.proxy_for(settings.stripe_api_base),
        deadline_s=settings.deadline_s,
    )


def make_source(
    settings: Settings, client: StripeClient, memory: ReceivedDigests | None = None
) -> StripeRefunds:
    """Refunds as this account reads them; with *memory*, what it knows is not decoded again."""
    return StripeRefunds(
        client,
        decoder_of(settings, client.counters.masked),
        hydrate=settings.hydrate,
        settle_lag_s=settings.settle_lag_s,
        memory=memory,
    )


@asynccontextmanager
async def open_account(
    settings: Settings, database: Database, *, clock: Clock | None = None, daemon: bool = False
) -> AsyncIterator[Account]:
    """Knows who the key belongs to, and that this database may hold it, before anything is written.

    Beside a living daemon of the same account, everything but the daemon itself goes at half the rate.
    """
    await records.refuse_other_mode(database, livemode=settings.require_key().livemode)
    async with make_client(settings, database.clock.now) as client:
        account_id, met = await _met(settings, database, client)
        if not daemon and await _daemon_of(database, account_id):
            client.slow_to(BESIDE_A_DAEMON)
        ours = clock or SystemClock()
        yield Account(
            settings, database, client,
            make_source(settings, client, PostgresReceivedDigests(database, account_id, ours)),
            account_id, int(met.timestamp()),
            records.ReadLog(database, account_id, client.counters.reads, ours), ours,
        )  # fmt: skip


async def _met(
    settings: Settings, database: Database, client: StripeClient
) -> tuple[str, datetime]:
    """The account of the key, on record from now on, and when it was first met."""
    identity = await identified(settings, database, client)
    return identity.account_id, await recorded(settings, database, identity)


async def identified(settings: Settings, database: Database, client: StripeClient) -> Identity:
    """The account of the key; writes nothing."""
    return await resolve_account(
        client,
        remembered=await records.account_of_key(database, _digest(settings)),
        account_id_setting=settings.account_id,
        livemode=settings.require_key().livemode,
        newest_stored=lambda account_id: records.newest_refunds(database, account_id),
    )


async def recorded(settings: Settings, database: Database, identity: Identity) -> datetime:
    """Puts the account on record, and the key as its own if Stripe said so. Returns when it was first met."""
    return await records.register_account(
        database, identity.account_id, livemode=identity.livemode, wanted_from=settings.since_s,
        key_digests=[_digest(settings)] if identity.confirmed else [],
    )  # fmt: skip


def _digest(settings: Settings) -> bytes:
    key = settings.require_key().secret.get_secret_value()
    return key_digest(key, settings.stripe_api_base)


async def _daemon_of(database: Database, account_id: str) -> str | None:
    async def read(connection: Connection) -> str | None:
        return await held_by(connection, account_id)

    return await database.patiently(read)


async def estimate(settings: Settings, first: int, last: int) -> Estimate:
    """What a backfill would read. Reads one page; makes no folder, no server, no row."""
    covered = await if_there(settings, reports.covered_of_the_only_account) or []
    async with make_client(settings, lambda: datetime.now(UTC)) as client:
        return await estimated(
            make_source(settings, client),
            covered,
            plan.wanted_of(first, last, int(time.time()) - settings.settle_lag_s).span,
        )

"""What is received just as it was stored is not decoded again, unless somebody waits for it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from service.adapters.postgres.session.clock import SystemClock
from service.adapters.postgres.session.database import Database
from service.adapters.postgres.warehouse.received import PostgresReceivedDigests
from service.adapters.postgres.warehouse.store import PostgresStore
from service.adapters.stripe.lists.refunds import StripeRefunds
from service.adapters.stripe.objects.decode import Decoder
from service.domain.batch import Batch, Proof, Reading
from service.domain.coverage.span import Span
from service.domain.coverage.walk import Ask, claim_of
from service.domain.refund import Hint
from service.jobs.fetch import fetch
from service.ports.runs import Progress
from tests.integration.loopback import END, START, a_stripe, a_world
from tests.integration.warehouse import ACCOUNT, audit, report, rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from service.adapters.postgres.session.connect import Pool
    from service.adapters.stripe.objects.render import MetadataPolicy
    from service.domain.batch import Written
    from service.domain.coverage.walk import Key
    from service.simulator.http.server import Simulator

REFUNDS = 60
WHOLE = Ask(START, END)


@dataclass
class Reader:
    simulator: Simulator
    make_source: Callable[[PostgresReceivedDigests], StripeRefunds]
    store: PostgresStore
    memory: PostgresReceivedDigests

    async def read(
        self, ask: Ask = WHOLE, memory: PostgresReceivedDigests | None = None
    ) -> tuple[Reading, Written]:
        """Lists as a command of its own would, and writes what it finds with what that proves."""
        reading = await self.make_source(memory or self.memory).read(ask)
        span = Span(ask.lower or START, ask.upper or END)
        proof = Proof("refunds", claim_of(span, reading.page.keys), reading.observed_at)
        return reading, await self.store.write(Batch([reading], [proof], "recheck"))


@asynccontextmanager
async def a_reader(pool: Pool, policy: MetadataPolicy = "keep") -> AsyncIterator[Reader]:
    database = Database(pool, deadline_s=20)
    memory = PostgresReceivedDigests(database, ACCOUNT, SystemClock())
    async with a_stripe(a_world(REFUNDS)) as (simulator, client):
        yield Reader(
            simulator,
            lambda memory: StripeRefunds(client, Decoder(policy), memory=memory),
            PostgresStore(database, ACCOUNT, None),
            memory,
        )


async def test_a_page_that_is_known_is_not_decoded_and_counts_as_unchanged(pool: Pool) -> None:
    async with a_reader(pool) as reader:
        first, written = await reader.read()
        assert (len(first.observations), first.same, written.inserted) == (REFUNDS, 0, REFUNDS)
        before = await rows(pool, "refund")
        again, written = await reader.read()
        assert (len(again.observations), again.same) == (0, REFUNDS)
        assert (written.unchanged, written.changed) == (REFUNDS, 0)
        assert again.page.keys == first.page.keys
        assert await rows(pool, "refund") == before
        assert not await audit(pool)


async def test_what_changed_at_stripe_is_decoded_and_its_charge_too(pool: Pool) -> None:
    async with a_reader(pool) as reader:
        await reader.read()
        (failed,) = reader.simulator.change("fail")
        again, written = await reader.read()
        assert failed in [seen.refund.id for seen in again.observations]
        assert again.same >= REFUNDS - 2, "its charge has two refunds at most"
        assert written.changed == 1
        assert (await reader.read())[0].same >= REFUNDS - 2


@pytest.mark.parametrize(
    ("waits", "still_waits"),
    [
        ("hinted", "SELECT FROM refund_sync.recheck WHERE hinted_at IS NOT NULL"),
        ("hidden", "SELECT FROM refund_sync.refund WHERE hidden_at IS NOT NULL"),
        ("odd", "SELECT FROM refund_sync.quarantine WHERE resolved_at IS NULL"),
    ],
    ids=["hinted", "hidden", "odd"],
)
async def test_who_is_waited_for_is_decoded_though_nothing_changed(
    pool: Pool, waits: str, still_waits: str
) -> None:
    async with a_reader(pool) as reader:
        first, _ = await reader.read()
        refund_id = first.page.keys[0].id
        await _let_wait(pool, reader.store, waits, refund_id)
        assert await pool.fetch(still_waits)
        again, _ = await reader.read()
        assert {seen.refund.id for seen in again.observations} == {refund_id}
        assert not await pool.fetch(still_waits)
        assert (await reader.read())[0].same == REFUNDS


async def _let_wait(pool: Pool, store: PostgresStore, how: str, refund_id: str) -> None:
    if how == "hinted":
        await report(store, Hint("refund", refund_id, datetime.now(UTC)))
    elif how == "hidden":
        await pool.execute(
            "UPDATE refund_sync.refund SET hidden_at = now() - interval '1 minute' WHERE id = $1",
            refund_id,
        )
    else:
        await pool.execute(
            "INSERT INTO refund_sync.quarantine (account_id, stream, object_id, payload, error, earliest, latest,"
            " seen_at) VALUES ($1, 'refunds', $2, '{}', 'odd', now(), now(), now() - interval '1 minute')",
            ACCOUNT, refund_id,
        )  # fmt: skip


async def test_what_is_asked_for_by_its_charge_is_read_and_said_so_though_it_is_known(
    pool: Pool,
) -> None:
    async with a_reader(pool) as reader:
        first, _ = await reader.read()
        (charge_id, refund_id) = next(
            (o.link.charge_id, o.refund.id) for o in first.observations if o.link.charge_id
        )
        fetched = await fetch(
            reader.make_source(reader.memory), reader.store, [charge_id], Progress()
        )
        assert refund_id in fetched.refund_ids
        read_at = await pool.fetchval(
            "SELECT observed_at FROM refund_sync.refund WHERE id = $1", refund_id
        )
        assert read_at > first.observed_at


async def test_what_another_command_listed_later_and_wrote_sooner_was_listed_by_this_one_too(
    pool: Pool,
) -> None:
    asked, written = asyncio.Event(), asyncio.Event()

    class Slow(PostgresReceivedDigests):
        async def same(
            self, received: Sequence[bytes], earliest: int, latest: int, asked_at: datetime
        ) -> dict[bytes, Key]:
            asked.set()
            await written.wait()
            return await super().same(received, earliest, latest, asked_at)

    async with a_reader(pool) as reader:
        memory = Slow(Database(pool, deadline_s=20), ACCOUNT, SystemClock())
        slow = asyncio.create_task(reader.read(WHOLE, memory))
        await asked.wait()
        later, _ = await reader.read(Ask((START + END) // 2, END))
        written.set()
        first, _ = await slow
        assert first.observed_at < later.observed_at
        listed = {row["first_listed_at"] for row in await rows(pool, "refund")}
        assert listed == {first.observed_at}
        assert not await audit(pool)
        assert (await reader.read())[0].same == REFUNDS


@pytest.mark.parametrize("policy", ["drop", frozenset({"order_id"})])
async def test_another_form_of_decoding_decodes_all_again(
    pool: Pool, policy: MetadataPolicy
) -> None:
    async with a_reader(pool) as reader:
        await reader.read()
    async with a_reader(pool, policy) as reader:
        again, written = await reader.read()
        assert (again.same, len(again.observations)) == (0, REFUNDS)
        assert written.changed == REFUNDS
    versions = await rows(pool, "refund_version")
    assert {row["source"] for row in versions if row["version"] == 2} == {"upgrade"}


async def test_in_history_that_is_new_fewer_pages_are_asked_about(pool: Pool) -> None:
    asked = 0

    class Counting(PostgresReceivedDigests):
        async def same(
            self, received: Sequence[bytes], earliest: int, latest: int, asked_at: datetime
        ) -> dict[bytes, Key]:
            nonlocal asked
            asked += 1
            return await super().same(received, earliest, latest, asked_at)

    database = Database(pool, deadline_s=20)
    async with a_stripe(a_world(REFUNDS)) as (_, client):
        memory = Counting(database, ACCOUNT, SystemClock())
        source = StripeRefunds(client, Decoder(), memory=memory)
        for _ in range(33):
            await source.read(WHOLE)
    assert 4 <= asked <= 6

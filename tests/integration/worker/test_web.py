"""The HTTP side of the daemon: real deliveries over loopback into a real warehouse."""

from __future__ import annotations

import asyncio
import gzip
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from random import Random
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from service.adapters.postgres.operations.runs import register_account
from service.adapters.postgres.rechecks.hints import PostgresHinted
from service.adapters.postgres.session.clock import SystemClock
from service.adapters.postgres.session.database import Database
from service.adapters.stripe.webhook import WebhookReceiver
from service.adapters.web.guard import Limits
from service.adapters.web.metrics import Metrics
from service.adapters.web.server import WEBHOOKS, Checks, Health, serving
from service.domain.errors import SettingError
from service.jobs.intake import Intake
from tests.integration.warehouse import ACCOUNT, rows
from tests.webhooks import SECRET, a_notification, an_event, signed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from service.adapters.postgres.session.connect import Pool
    from service.domain.refund import Hint
    from service.ports.hints import Hinted

CONNECTED = "acct_1Connected"
BURST = 1_000
AT_ONCE = 200


@dataclass
class Commits:
    """Passes hints on, and counts the transactions that it took."""

    store: Hinted
    count: int = 0

    async def hint(self, hints: Mapping[str, Sequence[Hint]]) -> Mapping[str, int]:
        self.count += 1
        return await self.store.hint(hints)


@dataclass
class Post:
    """Where deliveries go, and what became of them."""

    session: aiohttp.ClientSession
    url: str
    pool: Pool
    intake: Intake
    commits: Commits
    news: asyncio.Event

    async def deliver(self, body: bytes, header: str | None = None, **headers: str) -> int:
        given = {"Stripe-Signature": signed(body) if header is None else header} | headers
        async with self.session.post(
            self.url + WEBHOOKS, data=BytesIO(body), headers=given
        ) as answer:
            return answer.status

    async def read(self, path: str) -> tuple[int, str]:
        async with self.session.get(self.url + path) as answer:
            return answer.status, await answer.text()

    async def hinted(self) -> list[tuple[str, str, str]]:
        return [
            (row["account_id"], row["kind"], row["object_id"])
            for row in await rows(self.pool, "recheck")
        ]


async def _fine() -> Checks:
    return {"all": None}


@pytest.fixture
async def post(pool: Pool) -> AsyncIterator[Post]:
    async with a_post(pool) as post:
        yield post


@asynccontextmanager
async def a_post(pool: Pool, **options: Any) -> AsyncIterator[Post]:
    """The daemon's way from a delivery to the warehouse, which holds two accounts."""
    database = Database(pool, deadline_s=5)
    for account_id in (ACCOUNT, CONNECTED):
        await register_account(database, account_id, livemode=False, wanted_from=0)
    commits = Commits(PostgresHinted(database, SystemClock()))
    news = asyncio.Event()
    metrics = Metrics()
    async with Intake(commits, ACCOUNT, on_hints=news.set, **options) as intake:
        receiver = WebhookReceiver([SECRET], intake.take, database.clock.now, livemode=False)
        metrics.webhooks = receiver.outcomes
        async with (
            serving("127.0.0.1:0", Health(_fine, _fine), metrics.registry(), receiver) as address,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session,
        ):
            yield Post(session, f"http://{address}", pool, intake, commits, news)


async def test_a_hint_is_stored_before_the_delivery_is_answered(post: Post) -> None:
    async with post.pool.acquire() as other, other.transaction():
        await other.execute("LOCK TABLE refund_sync.recheck IN EXCLUSIVE MODE")
        delivery = asyncio.create_task(post.deliver(an_event()))
        while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.005)
        assert not delivery.done()
        assert not post.news.is_set()
    assert await delivery == 200
    assert await post.hinted() == [(ACCOUNT, "refund", "re_1")]
    assert post.news.is_set()


async def test_a_burst_of_a_thousand_is_absorbed_and_each_refund_stored_once(post: Post) -> None:
    chance = Random(7)
    bodies = [an_event(f"re_{n}", "refund.created", charge=None) for n in range(BURST // 2)]
    deliveries = [(body, signed(body)) for body in bodies for _ in range(2)]
    chance.shuffle(deliveries)
    async with post.pool.acquire() as other, other.transaction():
        await other.execute("LOCK TABLE refund_sync.recheck IN EXCLUSIVE MODE")
        burst = asyncio.gather(*(post.deliver(*delivery) for delivery in deliveries))
        while post.intake.received < AT_ONCE:
            await asyncio.sleep(0.005)
    assert set(await burst) == {200}
    assert await post.hinted() == sorted((ACCOUNT, "refund", f"re_{n}") for n in range(BURST // 2))
    assert post.intake.received == BURST
    assert post.commits.count <= 2 + BURST - AT_ONCE, "those that waited are one commit"


async def test_what_a_delivery_says_is_stored_for_the_account_that_it_is_about(post: Post) -> None:
    for body in (
        an_event("re_1", account=CONNECTED),
        a_notification("re_2", context=CONNECTED),
        an_event("ch_3", "charge.refunded"),
        a_notification("re_4"),
        an_event("re_5", account="acct_1Stranger"),
    ):
        assert await post.deliver(body) == 200
    assert await post.hinted() == [
        (CONNECTED, "refund", "re_1"),
        (CONNECTED, "refund", "re_2"),
        (ACCOUNT, "charge", "ch_3"),
        (ACCOUNT, "refund", "re_4"),
    ]
    assert post.intake.elsewhere == 1


async def test_a_hint_is_of_the_databases_time_of_receipt_no_matter_what_time_the_event_says(
    post: Post,
) -> None:
    before = await post.pool.fetchval("SELECT clock_timestamp() - interval '50 ms'")
    assert await post.deliver(an_event()) == 200
    after = await post.pool.fetchval("SELECT clock_timestamp() + interval '50 ms'")
    (row,) = await rows(post.pool, "recheck")
    assert before < row["hinted_at"] < after
    assert (row["why"], row["due_at"] < after) == ("hint", True)


async def test_a_delivery_that_is_badly_signed_or_not_at_all_is_refused_and_stores_nothing(
    post: Post,
) -> None:
    body = an_event()
    for header in ("", "t=1", signed(body, "whsec_other"), signed(body, second=1), signed(b"{}")):
        assert await post.deliver(body, header) == 400
    async with post.session.post(post.url + WEBHOOKS, data=body) as answer:
        assert (answer.status, await answer.text()) == (400, "")
    assert await post.deliver(b"{}") == 400
    assert post.intake.received == 0
    assert await post.hinted() == []


async def test_what_is_signed_is_the_body_as_it_travels(post: Post) -> None:
    packed = gzip.compress(an_event())
    assert await post.deliver(packed, signed(an_event()), **{"Content-Encoding": "gzip"}) == 400
    spaced = an_event().replace(b":", b" : ")
    assert await post.deliver(spaced) == 200


async def test_a_body_may_be_half_a_mebibyte_long_and_no_more(post: Post) -> None:
    longest = an_event(padding="x").ljust(Limits().body)
    assert await post.deliver(longest) == 200
    assert await post.deliver(longest + b" ") == 413


async def test_who_hangs_up_in_the_middle_disturbs_nobody(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    host, _, port = post.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST {WEBHOOKS} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n"
        "Stripe-Signature: t=1,v1=0\r\n\r\nhalf".encode()
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert await post.deliver(an_event()) == 200
    assert caplog.records == []


async def test_what_cannot_be_committed_now_is_to_be_sent_again_and_is_then_stored(
    pool: Pool,
) -> None:
    async with a_post(pool, commit_limit_s=0.2) as post:
        async with pool.acquire() as other, other.transaction():
            await other.execute("LOCK TABLE refund_sync.recheck IN EXCLUSIVE MODE")
            assert await post.deliver(an_event()) == 503
        assert await post.hinted() == []
        assert await post.deliver(an_event()) == 200
        assert len(await post.hinted()) == 1


async def test_health_and_metrics_are_served_next_to_webhooks_which_are_counted(post: Post) -> None:
    assert await post.deliver(an_event()) == 200
    assert await post.deliver(an_event(), "t=1,v1=0") == 400
    for path in ("/livez", "/readyz"):
        assert (await post.read(path))[0] == 200
    status, text = await post.read("/metrics")
    assert status == 200
    assert 'refund_sync_webhooks_total{outcome="kept"} 1.0' in text
    assert 'refund_sync_webhooks_total{outcome="refused"} 1.0' in text
    assert (await post.read(WEBHOOKS))[0] == 405


async def test_without_a_secret_there_is_no_route() -> None:
    health = Health(_fine, _fine)
    async with (
        serving("127.0.0.1:0", health, Metrics().registry()) as address,
        aiohttp.ClientSession() as session,
        session.post(f"http://{address}{WEBHOOKS}", data=an_event()) as answer,
    ):
        assert answer.status == 404


async def test_an_ipv6_address_is_reported_as_urls_have_it() -> None:
    health = Health(_fine, _fine)
    async with (
        serving("[::1]:0", health, Metrics().registry()) as address,
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}/livez") as answer,
    ):
        assert address.startswith("[::1]:")
        assert answer.status == 200
        with pytest.raises(SettingError, match=re.escape(f"cannot listen on {address}:")):
            async with serving(address, health, Metrics().registry()):
                pass

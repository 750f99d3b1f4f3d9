"""What is asked about rechecks takes as long as its answer, on tables that nobody has analyzed too."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from service.adapters.postgres.queries import query
from service.domain.coverage.span import DAY_S
from tests.integration.warehouse import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.adapters.postgres.session.connect import Pool

START = 1_700_000_000 // DAY_S * DAY_S
REFUNDS, APART_S = 3_000, 2_000
LATER = datetime(2100, 1, 1, tzinfo=UTC)

NEVER_ANALYZED = """
ALTER TABLE refund_sync.refund SET (autovacuum_enabled = off);
ALTER TABLE refund_sync.charge_link SET (autovacuum_enabled = off);
ALTER TABLE refund_sync.recheck SET (autovacuum_enabled = off);
"""
FILLED = """
WITH new AS (
    INSERT INTO refund_sync.refund (account_id, id, created_at, amount_minor, currency, status, raw,
        content_hash, version, observed_at, first_seen_at, first_listed_at, received_hash)
    SELECT $1, 're_' || n, to_timestamp($2 + n * $3), 100, 'eur', 'succeeded', '{}', '', 1, now(), now(), now(),
        'so'
    FROM generate_series(1, $4) AS n
    RETURNING account_id, id
), linked AS (
    INSERT INTO refund_sync.charge_link (account_id, refund_id, charge_id)
    SELECT account_id, id, 'ch_' || id FROM new
)
INSERT INTO refund_sync.recheck (account_id, kind, object_id, due_at, hinted_at, why)
SELECT account_id, 'refund', id, now(), CASE WHEN id LIKE '%7' THEN now() END, 'open' FROM new
"""


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


async def planned(pool: Pool, name: str, *values: Any) -> list[dict[str, Any]]:
    """What is done to answer, and how often, and of how many rows."""
    await pool.execute(NEVER_ANALYZED)
    await pool.execute(FILLED, ACCOUNT, START, APART_S, REFUNDS)
    explained = await pool.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query(name)}", *values)
    return list(nodes(json.loads(explained)[0]["Plan"]))


def met(plan: list[dict[str, Any]], table: str) -> float:
    """Rows of *table* that were looked at."""
    return sum(
        float(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)))
        for node in plan
        if node.get("Relation Name") == table
    )


@pytest.mark.parametrize("kind", ["refund", "charge"])
async def test_hints_are_looked_up_one_by_one(kind: str, pool: Pool) -> None:
    count = 100
    ids = [f"re_{n}" if kind == "refund" else f"ch_re_{n}" for n in range(1, count + 1)]
    reported = [kind] * count, ids, [LATER] * count
    plan = await planned(pool, "queue_hints", ACCOUNT, LATER, *reported)
    assert met(plan, "refund") == count
    assert met(plan, "charge_link") == (count if kind == "charge" else 0)


async def test_refunds_are_counted_by_looking_at_their_days_alone(pool: Pool) -> None:
    days = [START + n * DAY_S for n in range(1, 31, 2)]
    plan = await planned(pool, "refunds_by_hour", ACCOUNT, days)
    assert met(plan, "refund") == pytest.approx(len(days) * DAY_S / APART_S, abs=len(days))


@pytest.mark.parametrize("name", ["due_hinted", "due_otherwise"])
async def test_no_more_of_what_is_due_is_looked_up_than_is_wanted(name: str, pool: Pool) -> None:
    plan = await planned(pool, name, ACCOUNT, LATER, 10)
    assert met(plan, "refund") == 10


async def test_that_nothing_is_due_is_known_from_the_earliest_with_a_hint_and_without(
    pool: Pool,
) -> None:
    first, last = (datetime.fromtimestamp(START + n * APART_S, UTC) for n in (1, 100))
    nothing_is_due = datetime.fromtimestamp(START, UTC)
    values = ACCOUNT, [b"so", b"otherwise"], first, last, nothing_is_due, LATER
    plan = await planned(pool, "received_so", *values)
    assert met(plan, "recheck") == 2
    assert met(plan, "refund") == 100

"""What the warehouse holds, and what must always be true of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from service.adapters.postgres.queries import query
from service.domain.batch import Batch, Reading, Written
from service.domain.coverage.walk import Page

if TYPE_CHECKING:
    import asyncpg

    from service.adapters.postgres.session.connect import Pool
    from service.domain.refund import Hint
    from service.ports.warehouse import RefundStore

ACCOUNT = "acct_1Warehouse"

BROKEN_CHAINS = """
SELECT v.refund_id, v.version, v.changes, c.expected
FROM refund_sync.refund_version v
LEFT JOIN refund_sync.refund_version p
    ON p.account_id = v.account_id AND p.refund_id = v.refund_id AND p.version = v.version - 1
CROSS JOIN LATERAL (
    SELECT jsonb_object_agg(k, jsonb_build_array(p.raw -> k, v.raw -> k)) AS expected
    FROM jsonb_object_keys(v.raw) AS k WHERE p.raw -> k <> v.raw -> k
) c
WHERE CASE WHEN v.version = 1 THEN v.changes IS NOT NULL
    ELSE p.version IS NULL OR p.observed_at > v.observed_at OR v.changes IS DISTINCT FROM c.expected END
UNION ALL
SELECT r.id, r.version, to_jsonb(r), v.raw
FROM refund_sync.refund r
LEFT JOIN refund_sync.refund_version v
    ON v.account_id = r.account_id AND v.refund_id = r.id AND v.version = r.version
WHERE v.raw IS DISTINCT FROM r.raw OR r.raw ->> 'status' IS DISTINCT FROM r.status
    OR (SELECT max(version) FROM refund_sync.refund_version n WHERE n.account_id = r.account_id AND n.refund_id = r.id) > r.version
"""
"""Each version must follow the one before it, and name all that differs between the two, no more."""


async def rows(pool: Pool, table: str, order: str = "1, 2, 3") -> list[dict[str, Any]]:
    found = await pool.fetch(f"SELECT * FROM refund_sync.{table} ORDER BY {order}")
    return [dict(row.items()) for row in found]


async def the_refund(pool: Pool) -> dict[str, Any]:
    (row,) = await rows(pool, "refund")
    return row


async def changes_of(pool: Pool) -> list[dict[str, Any] | None]:
    versions = await rows(pool, "refund_version")
    return [v["changes"] and json.loads(v["changes"]) for v in versions]


async def audit(pool: Pool) -> list[asyncpg.Record]:
    found = []
    for statement in (query("audit_coverage"), query("audit_claims"), BROKEN_CHAINS):
        found += await pool.fetch(statement)
    return found


async def report(store: RefundStore, *hints: Hint) -> int:
    """Gives the warehouse hints, as a page of events does. Returns how many were new."""
    page = Page([], has_more=False, settle_bound=0)
    reading = Reading(page, max(hint.at for hint in hints), hints=hints)
    return (await store.write(Batch([reading], [], "events"))).hinted


def written(**counts: int) -> Written:
    return Written(**counts)

"""The naive sync: list page after page, upsert row by row.

It runs next to the service in the bench, on the same tables, hydrated by expansions as ours is.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import Any

import aiohttp
import asyncpg

REFUND = """INSERT INTO naive.refund VALUES ($1, $2, $3, $4, $5, $6::jsonb)
ON CONFLICT (id) DO UPDATE SET status = excluded.status, raw = excluded.raw"""
CHARGE = """INSERT INTO naive.charge VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET amount_refunded = excluded.amount_refunded"""
LEDGER = """INSERT INTO naive.balance_transaction VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE SET status = excluded.status"""
DESTINATION = """INSERT INTO naive.destination VALUES ($1, $2, $3::jsonb)
ON CONFLICT (refund_id) DO UPDATE SET details = excluded.details"""
TABLES = """
DROP SCHEMA IF EXISTS naive CASCADE;
CREATE SCHEMA naive;
CREATE TABLE naive.refund (id text PRIMARY KEY, created timestamptz, amount bigint, currency text, status text, raw jsonb);
CREATE TABLE naive.charge (id text PRIMARY KEY, amount bigint, amount_refunded bigint, currency text);
CREATE TABLE naive.balance_transaction (id text PRIMARY KEY, amount bigint, fee bigint, net bigint, status text);
CREATE TABLE naive.destination (refund_id text PRIMARY KEY, type text, details jsonb);
"""
EXPAND = ["data.charge", "data.balance_transaction", "data.failure_balance_transaction"]


async def sync(url: str, key: str, dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    await connection.execute(TABLES)
    count, after = 0, ""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        while True:
            query = [("limit", "100"), *(("expand[]", name) for name in EXPAND)]
            if after:
                query.append(("starting_after", after))
            async with session.get(f"{url}/v1/refunds", params=query) as answer:
                page = await answer.json()
            await write(connection, page["data"])
            count += len(page["data"])
            if not page["has_more"]:
                break
            after = page["data"][-1]["id"]
    await connection.close()
    return count


async def write(connection: asyncpg.Connection, refunds: list[dict[str, Any]]) -> None:
    async with connection.transaction():
        await connection.executemany(REFUND, [
            (r["id"], datetime.fromtimestamp(r["created"], UTC), r["amount"], r["currency"],
             r["status"], json.dumps(r)) for r in refunds
        ])  # fmt: skip
        await connection.executemany(CHARGE, [
            (c["id"], c["amount"], c["amount_refunded"], c["currency"])
            for c in (r["charge"] for r in refunds) if c
        ])  # fmt: skip
        await connection.executemany(LEDGER, [
            (b["id"], b["amount"], b["fee"], b["net"], b["status"])
            for r in refunds
            for b in (r["balance_transaction"], r.get("failure_balance_transaction")) if b
        ])  # fmt: skip
        await connection.executemany(DESTINATION, [
            (r["id"], r["destination_details"]["type"], json.dumps(r["destination_details"]))
            for r in refunds if r.get("destination_details")
        ])  # fmt: skip


if __name__ == "__main__":
    asyncio.run(sync(*sys.argv[1:]))

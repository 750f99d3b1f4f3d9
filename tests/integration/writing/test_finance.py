"""What finance reads: the views, and every query of docs/finance.md."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE = Path(__file__).resolve().parents[3] / "docs" / "finance.md"
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
ACCOUNT = "acct_1Finance"


def epoch(*day: int) -> int:
    return int(datetime(*day, tzinfo=UTC).timestamp())  # type: ignore[misc, arg-type]


@pytest.fixture
async def finance(database: str) -> AsyncIterator[asyncpg.Connection]:
    """Three refunds of January 2026 that is covered, February covered in part, one in quarantine."""
    connection = await asyncpg.connect(database)
    await connection.execute(
        "INSERT INTO refund_sync.account (id, livemode, wanted_from) VALUES ($1, true, '2026-01-01Z')",
        ACCOUNT,
    )
    await connection.execute(
        "INSERT INTO refund_sync.coverage (account_id, stream, covered) VALUES"
        " ($1, 'refunds', int8multirange(int8range($2, $3), int8range($4, $5))),"
        " ($1, 'refunds:settled', int8multirange(int8range($2, $5)))",
        ACCOUNT, epoch(2026, 1, 1), epoch(2026, 2, 8), epoch(2026, 2, 15), epoch(2026, 4, 1),
    )  # fmt: skip
    for id_, amount, currency, status in (
        ("re_usd", 1234, "usd", "succeeded"), ("re_jpy", 1234, "jpy", "failed"),
        ("re_kwd", 12340, "kwd", "pending"), ("re_isk", 1200, "isk", "succeeded"),
        ("re_odd", 5, "xxx", "succeeded"), ("re_big", 2**63 - 1, "usd", "succeeded"),
    ):  # fmt: skip
        await _refund(connection, id_, amount, currency, status)
    yield connection
    await connection.close()


async def _refund(
    connection: asyncpg.Connection, id_: str, amount: int, currency: str, status: str
) -> None:
    at = datetime(2026, 1, 10, tzinfo=UTC)
    await connection.execute(
        "INSERT INTO refund_sync.refund (account_id, id, created_at, amount_minor, currency, status,"
        " raw, content_hash, version, observed_at, first_seen_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, '{}', '', 1, $3, $3)",
        ACCOUNT, id_, at, amount, currency, status,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO refund_sync.charge_link (account_id, refund_id, charge_id) VALUES ($1, $2, 'ch_1')",
        ACCOUNT, id_,
    )  # fmt: skip


def test_the_page_has_queries() -> None:
    assert len(QUERIES) >= 9


@pytest.mark.parametrize("sql", QUERIES, ids=range(len(QUERIES)))
async def test_each_query_of_the_page_runs(sql: str, finance: asyncpg.Connection) -> None:
    await finance.fetch(sql)


async def test_amounts_are_in_major_units_as_stripe_counts_them(
    finance: asyncpg.Connection,
) -> None:
    rows = await finance.fetch("SELECT refund_id, amount, amount_minor FROM finance.refunds")
    found = {row["refund_id"]: row["amount"] for row in rows}
    assert found == {
        "re_usd": Decimal("12.34"),
        "re_jpy": Decimal(1234),
        "re_kwd": Decimal("12.340"),
        "re_isk": Decimal("12.00"),
        "re_odd": None,
        "re_big": Decimal("92233720368547758.07"),
    }


async def months(connection: asyncpg.Connection) -> dict[date, Any]:
    rows = await connection.fetch("SELECT * FROM finance.completeness_by_month")
    return {row["month"]: row for row in rows}


async def test_a_month_is_complete_when_all_of_it_is_covered(finance: asyncpg.Connection) -> None:
    found = await months(finance)
    january, february = found[date(2026, 1, 1)], found[date(2026, 2, 1)]
    assert (january["complete"], january["share_covered"], list(january["gaps"])) == (True, 1, [])
    assert (february["complete"], february["share_covered"]) == (False, Decimal("0.75"))
    gap = february["gaps"][0]
    assert (gap.lower.day, gap.upper.day) == (8, 15)


async def test_a_month_is_covered_before_its_second_look_and_complete_after_it(
    finance: asyncpg.Connection,
) -> None:
    async def january() -> tuple[str, bool]:
        row = (await months(finance))[date(2026, 1, 1)]
        return row["state"], row["complete"]

    assert await january() == ("complete", True)
    for lacks in ("refunds:settled", "refunds"):
        await finance.execute(
            "UPDATE refund_sync.coverage SET covered = covered - int8multirange(int8range($1, $2))"
            " WHERE stream = $3",
            epoch(2026, 1, 31), epoch(2026, 1, 31) + 1, lacks,
        )  # fmt: skip
        state = "covered" if lacks == "refunds:settled" else "partial"
        assert await january() == (state, False)


async def test_a_month_that_lacks_one_second_is_not_complete(finance: asyncpg.Connection) -> None:
    await finance.execute(
        "UPDATE refund_sync.coverage SET covered = covered - int8multirange(int8range($1, $2))",
        epoch(2026, 1, 31), epoch(2026, 1, 31) + 1,
    )  # fmt: skip
    january = (await months(finance))[date(2026, 1, 1)]
    assert (january["complete"], january["share_covered"] < 1) == (False, True)


async def test_the_current_month_is_never_complete(finance: asyncpg.Connection) -> None:
    await finance.execute(
        "UPDATE refund_sync.coverage SET covered = '{[0,9999999999)}'::int8multirange"
    )
    found = await months(finance)
    current = max(found)
    assert (found[current]["complete"], found[current]["state"]) == (False, "partial")
    assert all(row["complete"] for month, row in found.items() if month != current)


@pytest.mark.parametrize("created", [datetime(2026, 1, 5, tzinfo=UTC), None])
async def test_a_month_with_unresolved_quarantine_is_not_complete(
    created: datetime | None, finance: asyncpg.Connection
) -> None:
    earliest = created or datetime(2025, 12, 1, tzinfo=UTC)
    latest = created or datetime(2026, 1, 2, tzinfo=UTC)
    await finance.execute(
        "INSERT INTO refund_sync.quarantine (account_id, stream, object_id, payload, error, created_at,"
        " earliest, latest) VALUES ($1, 'refunds', 're_bad', '{}', 'odd', $2, $3, $4)",
        ACCOUNT, created, earliest, latest,
    )  # fmt: skip
    assert not (await months(finance))[date(2026, 1, 1)]["complete"]
    await finance.execute("UPDATE refund_sync.quarantine SET resolved_at = now()")
    assert (await months(finance))[date(2026, 1, 1)]["complete"]


async def test_refunds_that_are_gone_are_left_out(finance: asyncpg.Connection) -> None:
    await finance.execute("UPDATE refund_sync.refund SET gone_at = now() WHERE id = 're_usd'")
    found = await finance.fetch("SELECT 1 FROM finance.refunds WHERE refund_id = 're_usd'")
    assert not found

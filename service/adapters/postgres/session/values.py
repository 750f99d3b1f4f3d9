"""Values as Postgres takes them: instants, ranges, arrays, COPY."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any

from asyncpg import Range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.adapters.postgres.session.connect import Connection
    from service.domain.coverage.span import Span


def time_of(second: float) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def json_number(text: str) -> float | str:
    """A number that Python's floats cannot hold stays text: as infinity it would be no JSON any more."""
    number = float(text)
    return number if isfinite(number) else text


def columns_of(values: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows turned into the arrays that unnest takes; never called without a row."""
    return [list(column) for column in zip(*values, strict=True)]


async def copy(
    connection: Connection, table: str, columns: Sequence[str], values: Sequence[tuple[Any, ...]]
) -> None:
    if values:
        await connection.copy_records_to_table(
            table, schema_name="refund_sync", columns=list(columns), records=values
        )


def range_of(span: Span) -> Range[int]:
    return Range(span.start, span.end)

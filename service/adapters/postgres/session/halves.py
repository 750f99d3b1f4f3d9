"""Writes in halves, down to the one value that the database refuses for its data."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

T = TypeVar("T")

REFUSALS = (
    asyncpg.DataError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.CheckViolationError,
    asyncpg.NotNullViolationError,
    # Raised by the driver at a value that it cannot encode, and by us at one that we cannot render.
    ValueError,
    ArithmeticError,
    RecursionError,
)
"""Errors that the values are at fault for: the same values would fail again."""


async def write_parts(
    items: Sequence[T], write: Callable[[Sequence[T]], Awaitable[object]]
) -> list[tuple[T, str]]:
    """Writes all of *items* that can be written, by halves. Returns the others, each with the reason."""
    refused: list[tuple[T, str]] = []
    waiting = [items] if items else []
    while waiting:
        part = waiting.pop()
        try:
            await write(part)
        except REFUSALS as error:
            half = len(part) // 2
            if half:
                waiting += [part[half:], part[:half]]
            else:
                refused.append((part[0], reason_of(error)))
    return refused


def reason_of(error: BaseException) -> str:
    """Why the values were refused. What the driver says quotes them, what Postgres says in DETAIL too."""
    if isinstance(error, asyncpg.PostgresError):
        return f"the database refuses it: {error.message} ({error.sqlstate})"
    return f"it cannot be written: {type(error).__name__}"

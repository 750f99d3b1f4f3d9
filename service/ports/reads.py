"""Which class a read is counted in."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from service.domain.pace import ASKED

if TYPE_CHECKING:
    from collections.abc import Iterator


READS_FOR: ContextVar[str] = ContextVar("reads_for", default=ASKED)
"""The class that this task's reads are counted in (``domain.pace``); tasks that it starts inherit it."""


@contextmanager
def reads_for(kind: str) -> Iterator[None]:
    """Counts the reads of the body, and of the tasks that it starts, in that class."""
    token = READS_FOR.set(kind)
    try:
        yield
    finally:
        READS_FOR.reset(token)

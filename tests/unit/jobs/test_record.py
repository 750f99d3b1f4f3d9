"""A run reports its progress as long as it lives, also after the database was away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from service.domain.batch import Written
from service.domain.errors import DatabaseAwayError
from service.jobs import record
from service.ports.runs import Progress

if TYPE_CHECKING:
    from uuid import UUID


class Away:
    """A record that cannot be reached at first."""

    def __init__(self) -> None:
        self.asked = 0
        self.recent = asyncio.Event()
        self.outcomes: list[str] = []

    async def progress(self, run_id: UUID, at: Progress) -> None:
        self.asked += 1
        if self.asked <= 2:
            raise DatabaseAwayError("the database is away")
        self.recent.set()

    async def end(self, run_id: UUID, outcome: str, error: str | None = None) -> None:
        self.outcomes.append(outcome)


async def test_a_run_goes_on_reporting_after_the_database_was_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(record, "TELL_EVERY_S", 0.001)
    runs = Away()
    async with record.recorded(runs, record.Run(uuid4(), "sync"), Progress()):
        async with asyncio.timeout(5):
            await runs.recent.wait()
    assert runs.outcomes == ["ok"]


@pytest.mark.parametrize(
    ("found", "level"),
    [
        (Progress(requests=2), "debug"),
        (Progress(requests=2, written=Written(unchanged=3)), "debug"),
        (Progress(written=Written(inserted=1)), "info"),
        (Progress(written=Written(hinted=1)), "info"),
        (Progress(written=Written(returned=1)), "info"),
        (Progress(unread=1), "info"),
    ],
)
async def test_a_run_that_found_nothing_is_logged_for_debugging_only(
    found: Progress, level: str
) -> None:
    with capture_logs() as logged:
        async with record.recorded(Away(), record.Run(uuid4(), "newest part"), found):
            pass
    assert [line["log_level"] for line in logged if line["event"] == "run.ended"] == [level]


async def test_a_run_that_failed_is_logged_though_it_found_nothing() -> None:
    with capture_logs() as logged, pytest.raises(DatabaseAwayError):
        async with record.recorded(Away(), record.Run(uuid4(), "newest part"), Progress()):
            raise DatabaseAwayError("the database is away")
    assert [line["log_level"] for line in logged if line["event"] == "run.ended"] == ["info"]

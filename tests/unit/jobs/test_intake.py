"""The intake of hints: none is confirmed before it is kept, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from service.domain.errors import DatabaseAwayError, LeaseLostError, RetryableError
from service.domain.refund import Hint
from service.jobs.intake import Intake
from tests.builders import at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.ports.hints import Hinted

OWN, CONNECTED, STRANGER = "acct_1Own", "acct_1Connected", "acct_1Stranger"


def a_hint(object_id: str = "re_1", *, seconds: float = 0) -> Hint:
    return Hint("refund", object_id, at(seconds))


@dataclass
class Kept:
    """Keeps hints of two accounts, once it may; fails when it is asked to."""

    may: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    errors: list[Exception] = field(default_factory=list)
    batches: list[dict[str, list[str]]] = field(default_factory=list)

    async def hint(self, hints: Mapping[str, Sequence[Hint]]) -> dict[str, int]:
        self.batches.append(
            {who: [h.object_id for h in reported] for who, reported in hints.items()}
        )
        self.asked.set()
        await self.may.wait()
        if self.errors:
            raise self.errors.pop(0)
        held = {OWN, CONNECTED} & set(hints)
        return {who: len({h.object_id for h in hints[who]}) for who in held}

    def intake(self, **options: Any) -> Intake:
        store: Hinted = self
        usual: dict[str, Any] = {"on_hints": lambda: None}
        return Intake(store, OWN, **(usual | options))


def freely() -> Kept:
    kept = Kept()
    kept.may.set()
    return kept


def taking(intake: Intake, *ids: str) -> list[asyncio.Task[bool]]:
    return [asyncio.create_task(intake.take(None, a_hint(object_id))) for object_id in ids]


async def outcomes(tasks: Sequence[asyncio.Task[bool]]) -> list[object]:
    """What each caller got: none may be left waiting."""
    async with asyncio.timeout(10):
        reported = await asyncio.gather(*tasks, return_exceptions=True)
    return [type(done) if isinstance(done, BaseException) else done for done in reported]


async def test_who_brings_a_hint_waits_until_it_is_kept() -> None:
    kept = Kept()
    async with kept.intake() as intake:
        (task,) = taking(intake, "re_1")
        await kept.asked.wait()
        assert not task.done()
        assert (intake.received, intake.new, intake.last_at) == (1, 0, None)
        kept.may.set()
        assert await task
        assert (intake.received, intake.new, intake.last_at) == (1, 1, at(0))


async def test_what_comes_during_a_commit_goes_into_the_next_together() -> None:
    kept = Kept()
    async with kept.intake() as intake:
        first = taking(intake, "re_0")
        await kept.asked.wait()
        others = taking(intake, *(f"re_{n}" for n in range(1, 40)))
        await asyncio.sleep(0)
        kept.may.set()
        assert await outcomes([*first, *others]) == [True] * 40
    assert kept.batches == [{OWN: ["re_0"]}, {OWN: [f"re_{n}" for n in range(1, 40)]}]


async def test_a_commit_is_bounded() -> None:
    kept = freely()
    async with kept.intake(most_at_once=10) as intake:
        assert await outcomes(taking(intake, *map(str, range(25)))) == [True] * 25
    assert [len(batch[OWN]) for batch in kept.batches] == [10, 10, 5]


async def test_hints_of_several_accounts_are_kept_in_one_go_and_those_of_strangers_are_reported() -> (
    None
):
    kept = freely()
    async with kept.intake() as intake:
        tasks = [
            asyncio.create_task(intake.take(who, a_hint(f"re_{n}", seconds=n)))
            for n, who in enumerate([None, OWN, CONNECTED, STRANGER, STRANGER])
        ]
        assert await outcomes(tasks) == [True, True, True, False, False]
        assert (intake.received, intake.new, intake.elsewhere) == (5, 3, 2)
        assert intake.last_at == at(2)
    assert kept.batches == [
        {OWN: ["re_0", "re_1"], CONNECTED: ["re_2"], STRANGER: ["re_3", "re_4"]}
    ]


async def test_updates_are_reported_after_they_are_kept_and_what_is_no_update_is_not() -> None:
    kept, news = freely(), list[int]()
    async with kept.intake(on_hints=lambda: news.append(len(kept.batches))) as intake:
        await intake.take(STRANGER, a_hint())
        await intake.take(None, a_hint())
    assert news == [2]


@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (DatabaseAwayError("away"), DatabaseAwayError),
        (LeaseLostError("taken over"), LeaseLostError),
        (KeyError("a bug"), RetryableError),
    ],
)
async def test_an_error_of_the_store_goes_to_all_of_its_batch_and_to_nobody_else(
    error: Exception, reported: type
) -> None:
    kept = Kept(errors=[error])
    async with kept.intake(most_at_once=3) as intake:
        with capture_logs() as logs:
            tasks = taking(intake, *map(str, range(5)))
            await kept.asked.wait()
            kept.may.set()
            assert await outcomes(tasks) == [reported] * 3 + [True] * 2
    assert [entry["count"] for entry in logs] == [3]
    assert intake.new == 2


async def test_a_commit_that_takes_too_long_is_given_up_and_the_next_is_tried() -> None:
    kept = Kept()
    async with kept.intake(commit_limit_s=0.05) as intake:
        assert await outcomes(taking(intake, "re_1", "re_2")) == [RetryableError] * 2
        kept.may.set()
        assert await intake.take(None, a_hint("re_1"))


async def test_more_than_may_wait_are_asked_at_once_to_come_again() -> None:
    kept = Kept()
    async with kept.intake(most_waiting=3, most_at_once=1) as intake:
        tasks = taking(intake, "re_0")
        await kept.asked.wait()
        tasks += taking(intake, "re_1", "re_2", "re_3")
        await asyncio.sleep(0)
        with pytest.raises(RetryableError, match="3 hints wait already"):
            await intake.take(None, a_hint("re_4"))
        assert intake.received == 4
        kept.may.set()
        assert await outcomes(tasks) == [True] * 4


async def test_who_goes_away_is_not_waited_for_and_disturbs_nobody() -> None:
    kept = Kept()
    async with kept.intake() as intake:
        gone, stays = taking(intake, "re_1", "re_2")
        await kept.asked.wait()
        gone.cancel()
        kept.may.set()
        assert await stays
        assert await intake.take(None, a_hint("re_3"))
        assert gone.cancelled()


async def test_what_waits_when_it_ends_is_kept_and_nothing_more_is_taken() -> None:
    kept = freely()
    async with kept.intake(most_at_once=2) as intake:
        tasks = taking(intake, *map(str, range(5)))
        await asyncio.sleep(0)
    assert await outcomes(tasks) == [True] * 5
    with pytest.raises(RetryableError, match="stopping"):
        await intake.take(None, a_hint())


async def test_an_end_does_not_wait_for_ever_and_says_so_to_who_does() -> None:
    kept = Kept()
    async with kept.intake(most_at_once=2, drain_s=0.05) as intake:
        tasks = taking(intake, *map(str, range(5)))
        await kept.asked.wait()
    assert await outcomes(tasks) == [RetryableError] * 5
    assert len(kept.batches) == 1

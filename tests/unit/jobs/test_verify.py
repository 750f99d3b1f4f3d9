"""Verifying: what it counts and reports, of lists whose pages overlap."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import pytest

from service.domain.batch import Compared
from service.domain.coverage.span import Span, gaps
from service.jobs.verify import Verdict, Verifier, cut
from service.ports.runs import Progress
from tests.unit.jobs.test_cover import READ_AT, WANTED, Listing, ReceivedDigests, keys_every

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from service.domain.batch import Batch


@dataclass
class Comparison:
    """Finds *missing* all that is listed of it, and says of *recent* that a hint has them."""

    missing: frozenset[str] = frozenset()
    differing: frozenset[str] = frozenset()
    recent: frozenset[str] = frozenset()
    outdated: frozenset[str] = frozenset()
    batches: list[list[str]] = field(default_factory=list)

    async def compare(self, batch: Batch) -> Compared:
        ids = [key.id for reading in batch.readings for key in reading.page.keys]
        self.batches.append(ids)
        return Compared(
            missing=[i for i in ids if i in self.missing],
            differing=[i for i in ids if i in self.differing],
            outdated=[i for i in ids if i in self.outdated],
            equal=len(ids),
        )

    async def hinted_since(self, ids: Sequence[str], since: datetime) -> Sequence[str]:
        del since
        return [i for i in ids if i in self.recent]

    async def miss(self, ids: Sequence[str], observed_at: datetime, now: datetime) -> None:
        raise AssertionError("nothing is marked before it is to be repaired")


async def read_events() -> None:
    """Nothing new."""


async def verdict_on(source: Listing, comparison: Comparison, *, permitted: bool = True) -> Verdict:
    events = read_events if permitted else None
    verifier = Verifier(source, ReceivedDigests(), comparison, lambda: READ_AT, events, 4, 5)
    verdict, short_s = await verifier.verify(WANTED, Progress(), chance=Random(3))
    assert short_s == 0
    return verdict


async def test_a_refund_that_two_pages_hold_is_counted_and_reported_once() -> None:
    source = Listing(keys_every(100, 5_000))
    ids = [key.id for key in source.keys]
    some = Comparison(missing=frozenset(ids[:3_000]), differing=frozenset(ids[3_000:3_100]))
    found = (await verdict_on(source, some)).found
    assert sum(map(len, some.batches)) > len(ids), "pages overlap"
    assert sorted(found.missing) == ids[:3_000]
    assert sorted(found.differing) == ids[3_000:3_100]
    assert found.equal == 1_900


async def test_without_events_nothing_but_an_alteration_is_called_drift() -> None:
    source = Listing(keys_every(100, 50))
    ids = [key.id for key in source.keys]
    comparison = Comparison(differing=frozenset(ids[:2]), recent=frozenset(ids[:1]))
    asked = await verdict_on(source, comparison)
    assert (asked.stale, asked.drift, asked.holds) == (ids[:1], ids[1:2], False)
    blind = await verdict_on(source, comparison, permitted=False)
    assert (sorted(blind.stale), blind.drift, blind.holds) == (ids[:2], [], True)


@pytest.mark.parametrize("seconds", [1, 2, 5, 86_400])
def test_a_span_is_cut_into_pieces_that_are_all_of_it(seconds: int) -> None:
    span = Span(1_000, 1_000 + seconds)
    pieces = cut(span, Random(1))
    assert gaps(span, pieces) == []
    assert sum(piece.seconds for piece in pieces) == seconds


async def test_what_an_older_form_of_ours_decoded_is_stale_and_no_drift() -> None:
    source = Listing(keys_every(100, 50))
    ids = [key.id for key in source.keys]
    comparison = Comparison(differing=frozenset(ids[:2]), outdated=frozenset(ids[:1]))
    asked = await verdict_on(source, comparison)
    assert (asked.stale, asked.drift, asked.holds) == (ids[:1], ids[1:2], False)

"""No claim covers an unread object: whatever the history, the order of pages, splits, faults, crashes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.coverage.frontier import Frontier
from service.domain.coverage.span import Span, gaps, merged
from service.domain.coverage.walk import Ask, Claim, Key, Page, Walk, claim_of
from service.domain.errors import ProtocolError

if TYPE_CHECKING:
    from random import Random

LAG = 10
PAGE = 4


@dataclass(frozen=True)
class Listed:
    created: int
    id: str
    late_by: int = 0


@dataclass
class Stripe:
    """A list as Stripe serves it: newest first, ties in a fixed order, objects visible late."""

    objects: list[Listed]
    now: int

    def answer(self, ask: Ask) -> Page:
        seen = [o for o in self.objects if o.created + o.late_by <= self.now]
        seen.sort(key=lambda o: (-o.created, o.id))
        if ask.after is not None:
            ids = [o.id for o in seen]
            seen = seen[ids.index(ask.after) + 1 :]
        low = -1 if ask.lower is None else ask.lower
        high = 10**9 if ask.upper is None else ask.upper
        found = [o for o in seen if low <= o.created < high]
        keys = [Key(o.created, o.id) for o in found[:PAGE]]
        return Page(keys, len(found) > PAGE, self.now - LAG)


@dataclass
class Warehouse:
    rows: set[str] = field(default_factory=set)
    claims: list[Claim] = field(default_factory=list)

    def commit(self, page: Page, claim: Claim | None) -> None:
        self.rows |= {key.id for key in page.keys}
        if claim:
            self.claims.append(claim)

    def covered(self) -> list[Span]:
        return merged(claim.span for claim in self.claims)


@dataclass
class Flight:
    walk: Walk
    ask: Ask
    page: Page
    anchored: bool


class Job:
    """Workers whose pages are answered, fed, committed and lost in an order that chance decides."""

    def __init__(self, stripe: Stripe, chance: Random, *, false_pages: bool) -> None:
        self.stripe, self.chance, self.false_pages = stripe, chance, false_pages
        self.warehouse = Warehouse()
        self.steps = 0

    def run(self, wanted: Span, *, open_top: bool, crashes: int) -> None:
        for _ in range(crashes):
            self._attempt(wanted, open_top=open_top, crash_after=self.chance.randint(0, 12))
        self._attempt(wanted, open_top=open_top, crash_after=None)

    def _attempt(self, wanted: Span, *, open_top: bool, crash_after: int | None) -> None:
        frontier = Frontier(gaps(wanted, self.warehouse.covered()), open_top=open_top)
        flights: list[Flight] = []
        uncommitted: list[tuple[Page, Claim | None]] = []
        steps = 0
        while not frontier.done:
            steps += 1
            assert steps < 20_000, "the walk does not end"
            self.stripe.now += self.chance.randint(0, 1)
            if steps - 1 == crash_after:
                return
            if len(flights) < 5 and (walk := frontier.take() or frontier.cut()):
                flights.append(self._launch(walk, first=True))
            if uncommitted and self.chance.random() < 0.5:
                self._commit(uncommitted.pop(self.chance.randrange(len(uncommitted))))
            if flights:
                flight = flights.pop(self.chance.randrange(len(flights)))
                self._land(flight, frontier, flights, uncommitted)
        while uncommitted:
            self._commit(uncommitted.pop())

    def _launch(self, walk: Walk, *, first: bool) -> Flight:
        ask = walk.ask()
        return Flight(walk, ask, self.stripe.answer(ask), not first and ask.after is None)

    def _land(
        self,
        flight: Flight,
        frontier: Frontier,
        flights: list[Flight],
        uncommitted: list[tuple[Page, Claim | None]],
    ) -> None:
        page = flight.page
        if self.false_pages and flight.anchored and self.chance.random() < 0.2:
            page = Page([], has_more=False, settle_bound=page.settle_bound)
        drains = flight.walk.draining
        claim = frontier.feed(flight.walk, flight.ask, page)
        if drains or flight.walk.draining:
            self._commit((page, claim))
        else:
            uncommitted.append((page, claim))
        if flight.walk.done:
            frontier.leave(flight.walk)
        else:
            flights.append(self._launch(flight.walk, first=False))

    def _commit(self, work: tuple[Page, Claim | None]) -> None:
        self.warehouse.commit(*work)
        self.check()

    def check(self) -> None:
        for claim in self.warehouse.claims:
            inside = [o for o in self.stripe.objects if claim.span.holds(o.created)]
            missing = [o.id for o in inside if o.id not in self.warehouse.rows]
            assert not missing, f"{claim.span} is claimed without {missing}"
            true = claim_of(claim.span, [Key(o.created, o.id) for o in inside])
            assert (claim.rows, claim.digest) == (true.rows, true.digest)


@st.composite
def histories(draw: st.DrawFn) -> list[Listed]:
    seconds = draw(st.lists(st.integers(0, 60), max_size=60))
    ties = draw(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 25)), max_size=3))
    created = seconds + [second for second, count in ties for _ in range(count)]
    late = draw(st.lists(st.integers(0, LAG - 1), min_size=len(created), max_size=len(created)))
    order = draw(st.permutations(range(len(created))))
    return [Listed(s, f"re_{n:04}", lag) for s, lag, n in zip(created, late, order, strict=True)]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    histories(), st.randoms(use_true_random=False), st.integers(0, 4), st.booleans(), st.booleans()
)
def test_no_claim_covers_an_unread_object(
    history: list[Listed], chance: Random, crashes: int, open_top: bool, false_pages: bool
) -> None:
    job = Job(Stripe(history, now=chance.randint(20, 90)), chance, false_pages=false_pages)
    try:
        job.run(Span(0, 61), open_top=open_top, crashes=crashes)
    except ProtocolError:
        assert false_pages
    job.check()


@settings(max_examples=100, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_all_that_has_settled_is_covered_in_the_end(history: list[Listed], chance: Random) -> None:
    job = Job(Stripe(history, now=61 + LAG), chance, false_pages=False)
    job.run(Span(0, 61), open_top=False, crashes=2)
    assert job.warehouse.covered() == [Span(0, 61)]
    assert job.warehouse.rows == {o.id for o in history}


def test_a_page_that_lost_its_anchor_is_read_again_and_then_refused() -> None:
    walk = Walk(0, 100)
    first = Page([Key(50, "re_a"), Key(40, "re_b")], has_more=True, settle_bound=100)
    assert walk.feed(walk.ask(), first) == claim_of(Span(41, 100), first.keys)
    empty = Page([], has_more=False, settle_bound=100)
    for _ in range(3):
        assert walk.feed(walk.ask(), empty) is None
    with pytest.raises(ProtocolError, match="re_b"):
        walk.feed(walk.ask(), empty)


@pytest.mark.parametrize(
    ("page", "says"),
    [
        (Page([], has_more=True, settle_bound=100), "empty"),
        (Page([Key(10, "re_a"), Key(11, "re_b")], has_more=False, settle_bound=100), "order"),
        (Page([Key(9, "re_a")], has_more=False, settle_bound=100), "below"),
        (Page([Key(100, "re_a")], has_more=False, settle_bound=100), "above"),
    ],
)
def test_a_page_that_contradicts_its_filter_proves_nothing(page: Page, says: str) -> None:
    walk = Walk(10, 100)
    with pytest.raises(ProtocolError, match=says):
        walk.feed(walk.ask(), page)


def test_a_cut_between_a_drained_second_and_the_next_object_is_no_contradiction() -> None:
    walk = Walk(0, 1_000, pace=100.0)
    full = Page([Key(999, f"re_{n}") for n in range(4)], has_more=True, settle_bound=1_000)
    assert walk.feed(walk.ask(), full) is None
    older = Page([Key(999, "re_last"), Key(10, "re_old")], has_more=True, settle_bound=1_000)
    assert walk.feed(walk.ask(), older)
    assert walk.split()
    newer = Page([], has_more=False, settle_bound=1_000)
    assert walk.feed(walk.ask(), newer) is not None

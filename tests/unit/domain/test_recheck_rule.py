"""When a refund is due again, and in how few reads what is due can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.domain.coverage.span import DAY_S, HOUR_S, Span
from service.domain.reads import Density, Due, Reads, reads_for
from service.domain.recheck import (
    ALWAYS_ALONE,
    OPEN,
    REFERENCE,
    RETURN_LEG,
    SUCCEEDED,
    Day,
    backoff_s,
    days_in_turn,
    due_days,
    interval_s,
    is_late,
    next_due_s,
    spans_over,
    state_of,
)
from tests.builders import CREATED, a_destination, a_link, a_refund

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.domain.refund import ChargeLink, Destination

TODAY = CREATED // DAY_S * DAY_S
BOOKED = a_link(balance_transaction_id="txn_1")
RETURNED = a_link(balance_transaction_id="txn_1", failure_balance_transaction_id="txn_2")


def dues(*seconds: int, why: str = "hint") -> list[Due]:
    return [Due("refund", f"re_{n}", why, second) for n, second in enumerate(seconds)]


def by_hour(seconds: Sequence[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for second in seconds:
        counts[second // HOUR_S * HOUR_S] = counts.get(second // HOUR_S * HOUR_S, 0) + 1
    return counts


@pytest.mark.parametrize(
    ("state", "age_days", "again_days"),
    [
        (OPEN, 0, 1), (OPEN, 89.9, 1), (OPEN, 90, 7), (OPEN, 5_000, 7),
        (REFERENCE, 0, 1), (REFERENCE, 20.9, 1), (REFERENCE, 21, 7), (REFERENCE, 89.9, 7),
        (REFERENCE, 90, None),
        (RETURN_LEG, 13.9, 1), (RETURN_LEG, 14, 7), (RETURN_LEG, 90, None),
        (SUCCEEDED, 0, 1), (SUCCEEDED, 13.9, 1), (SUCCEEDED, 14, 7), (SUCCEEDED, 44.9, 7),
        (SUCCEEDED, 45, 30), (SUCCEEDED, 89.9, 30), (SUCCEEDED, 90, None),
    ],
)  # fmt: skip
def test_a_state_is_read_again_less_often_the_older_it_is(
    state: str, age_days: float, again_days: int | None
) -> None:
    again = interval_s(state, age_days * DAY_S)
    assert again == (None if again_days is None else again_days * DAY_S)


@pytest.mark.parametrize(
    ("status", "link", "destination", "state"),
    [
        ("pending", BOOKED, None, OPEN),
        ("requires_action", BOOKED, None, OPEN),
        (None, BOOKED, None, OPEN),
        ("a status of tomorrow", BOOKED, None, OPEN),
        ("pending", BOOKED, a_destination(reference_status="pending"), OPEN),
        ("succeeded", BOOKED, a_destination(reference_status="pending"), REFERENCE),
        ("succeeded", BOOKED, a_destination(card_type="pending"), REFERENCE),
        ("succeeded", BOOKED, a_destination(reference_status="available"), None),
        ("succeeded", BOOKED, a_destination(reference_status="unavailable"), None),
        ("succeeded", BOOKED, None, None),
        ("failed", BOOKED, None, RETURN_LEG),
        ("canceled", BOOKED, None, RETURN_LEG),
        ("failed", RETURNED, None, None),
        ("canceled", RETURNED, None, None),
        ("canceled", a_link(), None, None),
    ],
)
def test_what_is_still_open_about_a_refund_makes_it_due_by_itself(
    status: str | None, link: ChargeLink, destination: Destination | None, state: str | None
) -> None:
    assert state_of(a_refund(status=status), link, destination) == state


def test_the_next_due_time_counts_from_now_and_ends_with_the_state() -> None:
    now = CREATED + 3 * DAY_S + 0.5
    assert next_due_s(OPEN, CREATED, now) == now + DAY_S
    assert next_due_s(None, CREATED, now) is None
    assert next_due_s(REFERENCE, CREATED - 90 * DAY_S, now) is None


def test_ten_thousand_hints_of_one_day_are_about_a_hundred_reads() -> None:
    seconds = [TODAY + n * 8 for n in range(10_000)]
    reads = reads_for(dues(*seconds), Density(by_hour(seconds)), 10**9)
    assert reads.spans == [Span(TODAY, TODAY + DAY_S)]
    assert (len(reads.covered), reads.alone, reads.cost) == (10_000, [], 100)


def test_lone_ones_are_read_by_id() -> None:
    lone = [TODAY + n * DAY_S for n in range(50)]
    others = [day + n * 80 for day in lone for n in range(1_000)]
    reads = reads_for(dues(*lone), Density(by_hour(others)), 10**9)
    assert reads.spans == []
    assert (len(reads.alone), reads.cost) == (50, 50)


def test_a_dense_hour_of_a_large_day_is_listed_and_the_rest_read_by_id() -> None:
    day = [TODAY + n for n in range(0, DAY_S, 2)]
    dense = [TODAY + 3 * HOUR_S + n * 10 for n in range(300)]
    lone = [TODAY + 20 * HOUR_S]
    reads = reads_for(dues(*dense, *lone), Density(by_hour(day)), 10**9)
    assert reads.spans == [Span(TODAY + 3 * HOUR_S, TODAY + 4 * HOUR_S)]
    assert [one.created for one in reads.alone] == lone
    assert reads.cost == 1_800 // 100 + 1


def test_neighbouring_days_are_listed_as_one_span() -> None:
    seconds = [TODAY + n * 900 for n in range(2 * 96)]
    reads = reads_for(dues(*seconds), Density(by_hour(seconds)), 10**9)
    assert reads.spans == [Span(TODAY, TODAY + 2 * DAY_S)]


@pytest.mark.parametrize("why", sorted(ALWAYS_ALONE))
def test_what_no_listing_can_settle_is_read_by_id(why: str) -> None:
    seconds = [TODAY + n for n in range(500)]
    reads = reads_for(dues(*seconds, why=why), Density(by_hour(seconds)), 10**9)
    assert (reads.spans, len(reads.alone)) == ([], 500)


def test_hidden_ones_are_read_by_id_though_word_of_them_came() -> None:
    seconds = [TODAY] * 3
    due = [Due("refund", f"re_{n}", "hint", TODAY, hidden=True) for n in range(2)]
    reads = reads_for(
        [*due, Due("refund", "re_2", "hint", TODAY)], Density(by_hour(seconds)), 1_000
    )
    assert (reads.spans, {one.id for one in reads.alone}) == ([], {"re_0", "re_1", "re_2"})


def test_what_is_not_stored_and_what_is_a_charge_is_read_by_id() -> None:
    unknown = [Due("refund", "re_x", "hint"), Due("charge", "ch_1", "hint", TODAY)]
    assert reads_for(unknown, Density({}), 10**9).alone == unknown


def scattered(count: int, *, every_days: int, others: int = 0) -> Reads:
    """What reading *count* refunds takes, one a day, with *others* stored between each two."""
    lone = [TODAY + n * every_days * DAY_S for n in range(count)]
    between = dict.fromkeys(lone[:-1], others)
    return reads_for(dues(*lone), Density(by_hour(lone), between), 10**9)


def test_lone_refunds_of_many_days_are_listed_together_where_few_others_lie_between() -> None:
    reads = scattered(250, every_days=3)
    assert (reads.cost, len(reads.spans), len(reads.covered), reads.alone) == (3, 3, 250, [])
    assert all(any(span.holds(one.created or 0) for span in reads.spans) for one in reads.covered)
    dense = scattered(250, every_days=3, others=150)
    assert (dense.cost, dense.spans, len(dense.alone)) == (250, [], 250)
    some = scattered(4, every_days=1, others=40)
    assert (some.cost, len(some.spans), len(some.alone)) == (2, 1, 1)


def test_what_is_not_known_to_lie_between_two_days_is_taken_to_be_much() -> None:
    lone = [TODAY, TODAY + 5 * DAY_S]
    reads = reads_for(dues(*lone), Density(by_hour(lone)), 10**9)
    assert (reads.cost, reads.spans) == (2, [])


def test_no_more_is_planned_than_may_be_read_and_the_rest_stays_due() -> None:
    lone = [TODAY + n * DAY_S for n in range(500)]
    reads = reads_for(dues(*lone), Density(by_hour(lone)), 20)
    assert (len(reads.alone), reads.spans) == (20, [])
    days = [TODAY + d * DAY_S + n * 60 for d in range(50) for n in range(200)]
    reads = reads_for(dues(*days), Density(by_hour(days)), 20)
    assert len(reads.spans) == 1
    assert reads.spans[0].seconds == 10 * DAY_S


def test_a_day_is_due_when_its_listing_is_older_than_its_age_asks_for() -> None:
    def day(ago: int, checked_ago: float | None, **more: bool) -> Day:
        checked = None if checked_ago is None else TODAY - checked_ago * DAY_S
        return Day(TODAY - ago * DAY_S, 5, checked, **more)

    due = [day(2, 1), day(2, None), day(20, 7), day(60, 30), day(400, 1, outstanding=True)]
    not_due = [
        day(0, None), day(1, None), day(2, 0.9), day(20, 6.9), day(60, 29.9), day(100, 100),
        day(100, None), Day(TODAY - 5 * DAY_S, 0, None), Day(TODAY - 5 * DAY_S, 0, None, outstanding=True),
    ]  # fmt: skip
    assert due_days([*due, *not_due], TODAY) == due
    late = [day(5, 2), day(20, 14), day(2, 0.5, outstanding=True)]
    assert due_days([*late, day(5, 1.9), day(20, 13.9)], TODAY, overdue=2) == late


def test_a_listing_made_while_its_day_went_on_counts_from_the_day_s_end() -> None:
    during = Day(TODAY, 5, TODAY + HOUR_S)
    assert due_days([during], TODAY + 2 * DAY_S - 1) == []
    assert due_days([during], TODAY + 2 * DAY_S) == [during]


def test_a_day_is_due_when_so_many_of_it_are_due_by_themselves_that_listing_it_is_no_dearer() -> (
    None
):
    def day(refunds: int, pending_rechecks: int) -> Day:
        return Day(TODAY - 5 * DAY_S, refunds, TODAY, pending_rechecks=pending_rechecks)

    due, not_due = [day(100, 1), day(250, 3)], [day(100, 0), day(101, 1), day(250, 2)]
    assert due_days([*due, *not_due], TODAY) == due


def days_of(*refunds: int) -> list[Day]:
    return [Day(TODAY + n * DAY_S, count, None) for n, count in enumerate(refunds)]


def days_between(first: int, end: int) -> Span:
    return Span(TODAY + first * DAY_S, TODAY + end * DAY_S)


def test_due_days_are_listed_together_where_that_takes_no_more_reads() -> None:
    days = days_of(20, 20, 20)
    assert spans_over([days[0], days[2]], days, 10) == [days_between(0, 3)]
    days = days_of(20, 900, 20)
    assert spans_over([days[0], days[2]], days, 10) == [days_between(0, 1), days_between(2, 3)]
    assert spans_over([], days, 10) == []


@pytest.mark.parametrize(
    ("refunds", "most", "listed"),
    [
        ((100, 100, 100), 2, [(1, 3)]),
        ((100, 900, 100, 900, 100), 2, [(2, 3), (4, 5)]),
        ((100, 100, 900, 100), 2, [(1, 2), (3, 4)]),
        ((5_000,), 1, [(0, 1)]),
        ((100, 5_000), 1, [(1, 2)]),
    ],
)
def test_the_newest_due_days_come_first_as_many_as_may_be_read_and_at_least_one(
    refunds: tuple[int, ...], most: int, listed: list[tuple[int, int]]
) -> None:
    days = days_of(*refunds)
    due = [day for day in days if day.refunds != 900]
    assert spans_over(due, days, most) == [days_between(*span) for span in listed]


def test_old_days_are_taken_in_turn_as_many_as_fit() -> None:
    days = [Day(TODAY + n * DAY_S, 60, None) for n in (0, 1, 2, 9)]
    assert days_in_turn(days, 2) == [Span(TODAY, TODAY + 3 * DAY_S)]
    assert days_in_turn(days, 3) == [
        Span(TODAY, TODAY + 3 * DAY_S), Span(TODAY + 9 * DAY_S, TODAY + 10 * DAY_S),
    ]  # fmt: skip
    assert days_in_turn([], 5) == []
    empty = [Day(TODAY + n * DAY_S, 0, None) for n in range(400)]
    assert days_in_turn(empty, 1) == [Span(TODAY, TODAY + 400 * DAY_S)]


def test_a_day_larger_than_any_budget_does_not_keep_all_others_waiting() -> None:
    large, small = Day(TODAY, 100_000, None), Day(TODAY + DAY_S, 3, None)
    assert days_in_turn([large, small], 10) == [Span(TODAY, TODAY + DAY_S)]


def test_what_cannot_be_read_is_left_alone_ever_longer_up_to_a_week() -> None:
    waits = [backoff_s(n) for n in range(10)]
    assert waits[1:] == sorted(waits[1:])
    assert (waits[0], waits[1], waits[-1]) == (HOUR_S, HOUR_S, 7 * DAY_S)


@pytest.mark.parametrize(
    ("why", "age_days", "late_days", "is_overdue"),
    [
        (OPEN, 10, 0.9, False), (OPEN, 10, 1, True), (OPEN, 200, 6.9, False), (OPEN, 200, 7, True),
        ("unhydrated", 200, 1, True), ("hint", 200, 0.5, False), (REFERENCE, 5_000, 1, True),
    ],
)  # fmt: skip
def test_what_is_late_by_as_long_as_it_may_be_left_alone_is_overdue(
    why: str, age_days: float, late_days: float, is_overdue: bool
) -> None:
    now_s = float(CREATED + age_days * DAY_S)
    assert is_late(why, CREATED, now_s - late_days * DAY_S, now_s) is is_overdue

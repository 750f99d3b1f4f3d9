"""Spans as people type them, and their algebra."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cli.spans import month_of, second_of, span_of
from service.domain.coverage.span import Span, clipped, gaps, merged
from service.domain.errors import UsageError

NOW = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())


def at(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[misc,arg-type]  # year, month, day, …


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ("2026-01-31", at(2026, 1, 31)),
        ("2026-01-31T12:00", at(2026, 1, 31, 12)),
        ("2026-01-31T12:00:00+02:00", at(2026, 1, 31, 10)),
        ("2026-01-31T12:00:00Z", at(2026, 1, 31, 12)),
    ],
)
def test_a_date_means_its_first_instant_and_utc_unless_an_offset_is_given(
    text: str, second: int
) -> None:
    assert second_of(text, "--from") == second


def test_a_month_is_half_open_and_december_ends_with_the_year() -> None:
    assert month_of("2025-12") == (at(2025, 12, 1), at(2026, 1, 1))
    assert month_of("2024-02") == (at(2024, 2, 1), at(2024, 3, 1))


@pytest.mark.parametrize("text", ["2026-13", "2026", "January", "2026-1", "2026-01-01"])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="month"):
        month_of(text)


@pytest.mark.parametrize(
    ("start", "end", "month", "says"),
    [
        ("2026-02-01", "2026-02-01", None, "empty"),
        ("2026-02-02", "2026-02-01", None, "empty"),
        ("2026-07-01", "2026-08-01", None, "future"),
        (None, None, "2026-07", "future"),
        (None, None, "9999-12", "future"),
        ("9999-12-31", None, None, "future"),
        ("1969-12-31", None, None, "before 1970"),
        ("1970-01-01T00:00+02:00", None, None, "before 1970"),
        (None, "1969-12-31", None, "before 1970"),
        (None, None, "1969-12", "before 1970"),
        (None, None, "0001-01", "before 1970"),
        ("0001-01-01", "2026-01-01", None, "before 1970"),
        ("2026-02-01", None, "2026-02", "--month"),
        ("yesterday", None, None, "--from"),
    ],
)
def test_a_span_that_cannot_be_read_is_refused(
    start: str | None, end: str | None, month: str | None, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        span_of(start, end, month, since=0, now=NOW)


def test_a_span_defaults_to_all_that_is_wanted_until_now() -> None:
    assert span_of(None, None, None, since=5, now=NOW) == (5, NOW)
    assert span_of("1970-01-01", None, None, since=5, now=NOW) == (0, NOW)


spans = st.builds(
    lambda start, length: Span(start, start + length), st.integers(0, 200), st.integers(1, 50)
)


def seconds_of(parts: list[Span]) -> set[int]:
    return {second for span in parts for second in range(span.start, span.end)}


@given(st.lists(spans), spans)
def test_gaps_and_coverage_share_no_second_and_miss_none(covered: list[Span], wanted: Span) -> None:
    missing = gaps(wanted, covered)
    inside = clipped(covered, wanted)
    assert seconds_of(missing) | seconds_of(inside) == seconds_of([wanted])
    assert not seconds_of(missing) & seconds_of(inside)
    assert missing == sorted(missing)


@given(st.lists(spans))
def test_merged_spans_are_the_same_seconds_in_few_disjoint_parts(parts: list[Span]) -> None:
    result = merged(parts)
    assert seconds_of(result) == seconds_of(parts)
    assert all(a.end < b.start for a, b in pairwise(result))


def test_an_empty_span_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="empty"):
        Span(5, 5)

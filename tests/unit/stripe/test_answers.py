"""Whatever a header says, it is no bug: a Date that no calendar holds is no Date."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from service.adapters.stripe.http.answers import date_of

GOOD = "Tue, 10 Mar 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "Tue, 10 Mar 99999 12:00:00 GMT",
        "Tue, 10 Mar 99999999999999999999999 12:00:00 GMT",
        "Tue, 99 Mar 2026 12:00:00 GMT",
        "Tue, 10 Mar 2026 99:99:99 GMT",
        "Tue, 10 Mar 2026 12:00:00 +99999999999999999999",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "\x00" * 100,
        GOOD * 1_000,
    ],
)
def test_a_date_that_cannot_be_is_none(text: str) -> None:
    found = date_of({"Date": text})
    assert found is None or text.startswith(GOOD)


def test_a_date_is_utc_whether_it_says_so_or_not() -> None:
    second = datetime(2026, 3, 10, 12, tzinfo=UTC).timestamp()
    assert date_of({"Date": GOOD}) == date_of({"Date": GOOD[:-4]}) == second

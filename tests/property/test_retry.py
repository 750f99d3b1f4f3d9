"""The retry decision over every history of answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.adapters.stripe.http.retry import LONGEST_WAIT_S, Failure, Retry, Stop, decide

chances = st.floats(0, 1, exclude_max=True)
attempts = st.integers(1, 10_000)
statuses = st.sampled_from([301, 400, 401, 402, 404, 409, 424, 429, 499, 500, 503, 599])
failures: st.SearchStrategy[Failure] = st.sampled_from(
    ["timeout", "connection", "broken", "foreign"]
)
header_sets = st.fixed_dictionaries(
    {},
    optional={
        "Stripe-Should-Retry": st.sampled_from(["true", "false", "True", "perhaps"]),
        "Retry-After": st.one_of(
            st.floats().map(str), st.sampled_from(["", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"])
        ),
        "Stripe-Rate-Limited-Reason": st.sampled_from(
            ["global-rate", "endpoint-rate", "global-concurrency", "resource-specific", ""]
        ),
    },
)


@given(attempts, chances, statuses, header_sets)
def test_every_wait_is_positive_and_bounded_no_matter_what_stripe_asks_for(
    attempt: int, chance: float, status: int, headers: dict[str, str]
) -> None:
    verdict = decide(attempt, chance=chance, status=status, headers=headers)
    if isinstance(verdict, Retry):
        assert 0.5 <= verdict.after_s <= LONGEST_WAIT_S
        assert 0 <= verdict.pause_s <= verdict.after_s


@given(attempts, chances, header_sets)
def test_a_429_is_always_retried(attempt: int, chance: float, headers: dict[str, str]) -> None:
    assert isinstance(decide(attempt, chance=chance, status=429, headers=headers), Retry)


@given(attempts, chances, statuses.filter(lambda status: status != 429))
def test_stripes_own_word_decides_over_the_status(attempt: int, chance: float, status: int) -> None:
    no, yes = ({"Stripe-Should-Retry": word} for word in ("false", "true"))
    assert isinstance(decide(attempt, chance=chance, status=status, headers=no), Stop)
    assert isinstance(decide(attempt, chance=chance, status=status, headers=yes), Retry)


@given(attempts, chances, statuses.filter(lambda status: status != 429))
def test_without_a_word_conflicts_and_server_errors_are_retried_and_nothing_else(
    attempt: int, chance: float, status: int
) -> None:
    verdict = decide(attempt, chance=chance, status=status)
    assert isinstance(verdict, Retry) == (status == 409 or status >= 500)


@given(attempts, chances, failures)
def test_no_answer_or_a_broken_one_is_retried(
    attempt: int, chance: float, failure: Failure
) -> None:
    assert isinstance(decide(attempt, chance=chance, failure=failure), Retry)


@given(attempts, chances)
def test_a_certificate_that_is_not_trusted_is_not_asked_again(attempt: int, chance: float) -> None:
    assert isinstance(decide(attempt, chance=chance, failure="tls"), Stop)


@given(attempts, chances)
def test_waits_grow_with_the_attempts(attempt: int, chance: float) -> None:
    for status in (429, 500):
        now = decide(attempt, chance=chance, status=status)
        then = decide(attempt + 1, chance=chance, status=status)
        assert isinstance(now, Retry)
        assert isinstance(then, Retry)
        assert now.after_s <= then.after_s


@given(chances)
def test_a_429_waits_from_a_second_to_a_minute_with_jitter(chance: float) -> None:
    first = decide(1, chance=chance, status=429)
    late = decide(50, chance=chance, status=429)
    assert isinstance(first, Retry)
    assert isinstance(late, Retry)
    assert first.after_s == pytest.approx(1 * (0.5 + chance / 2))
    assert late.after_s == pytest.approx(60 * (0.5 + chance / 2))


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("3600", 60.0), ("inf", 60.0)])
def test_retry_after_is_honoured_and_capped(asked: str, waited: float) -> None:
    for status in (429, 503):
        verdict = decide(1, chance=0, status=status, headers={"Retry-After": asked})
        assert isinstance(verdict, Retry)
        assert verdict.after_s == waited


@pytest.mark.parametrize(
    ("reason", "lowers"),
    [
        ("endpoint-rate", "rate"),
        ("global-rate", "rate"),
        ("endpoint-concurrency", "concurrency"),
        ("global-concurrency", "concurrency"),
        ("resource-specific", None),
        (None, None),
    ],
)
def test_a_429_lowers_only_what_it_blames(reason: str | None, lowers: str | None) -> None:
    headers = {"Stripe-Rate-Limited-Reason": reason} if reason else {}
    verdict = decide(1, chance=0, status=429, headers=headers)
    assert isinstance(verdict, Retry)
    assert verdict.lower == lowers

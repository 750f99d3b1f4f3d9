"""Recurring reads keep to their share of the allowance, and none of them ever stops."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.pace import (
    FLOOR,
    HINTS,
    MINIMUM,
    MONTH_S,
    RECHECKS,
    RELAXED_POLL_S,
    REVISITS,
    STREAMS,
    WINDOW_DAYS,
    Budget,
    WebhookTrust,
    allowance_of,
)

KINDS = st.sampled_from(sorted(MINIMUM))
BUDGETS = st.builds(
    Budget,
    allowance=st.integers(1, 10**8),
    share=st.floats(0.001, 1),
    wished_s=st.floats(1, 86_400),
)
"""Down to the least that can be set."""
ORDINARY = st.builds(
    Budget, allowance=st.integers(FLOOR, 10**8), share=st.floats(0.1, 1), wished_s=st.just(60.0)
)
SPENT = st.dictionaries(KINDS, st.integers(0, 10**7))


@given(BUDGETS, KINDS)
def test_a_class_that_read_nothing_lately_may_read(budget: Budget, kind: str) -> None:
    others = {name: 10**9 for name in MINIMUM if name != kind}
    assert budget.available(kind, others) >= 1
    assert budget.available(kind, {}) >= 1


@given(ORDINARY, KINDS, SPENT)
def test_what_others_read_takes_nothing_of_a_class_s_minimum(
    budget: Budget, kind: str, spent: dict[str, int]
) -> None:
    left = budget.reads * (1 - 0.576) * WINDOW_DAYS / 30
    least = int(MINIMUM[kind] * left) - spent.get(kind, 0)
    assert budget.available(kind, spent) >= least


@given(ORDINARY, st.lists(st.tuples(KINDS, st.integers(1, 10**6)), max_size=40))
def test_in_any_order_of_work_a_window_holds_no_more_than_the_share(
    budget: Budget, work: list[tuple[str, int]]
) -> None:
    spent: Counter[str] = Counter()
    for kind, wanted in work:
        spent[kind] += min(wanted, budget.available(kind, spent))
    polls = STREAMS * WINDOW_DAYS * 86_400 / budget.poll_interval_s
    share = budget.reads * WINDOW_DAYS / 30
    assert spent.total() + polls <= share * 1.01 + len(MINIMUM)


@given(BUDGETS)
def test_polls_never_stop_and_are_never_more_frequent_than_wished(budget: Budget) -> None:
    assert budget.wished_s <= budget.poll_interval_s <= max(86_400.0, budget.wished_s)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_larger_account_polls_no_less_often(fewer: int, more: int) -> None:
    fewer, more = sorted((fewer, more))
    slow, fast = (Budget(allowance_of(None, n), 0.5, 60).poll_interval_s for n in (fewer, more))
    assert fast <= slow


def test_at_the_floor_refunds_and_events_are_each_asked_for_every_half_hour() -> None:
    budget = Budget(allowance_of(None, 0), 0.5, 60)
    assert budget.allowance == FLOOR
    assert budget.poll_interval_s == pytest.approx(1_800)
    polls = STREAMS * MONTH_S / budget.poll_interval_s
    assert polls <= budget.reads


def test_every_minute_where_the_allowance_permits_it() -> None:
    assert Budget(allowance_of(None, 1_000), 0.5, 60).poll_interval_s == 60
    assert Budget(allowance_of(None, 0), 0.5, 3_600).poll_interval_s == 3_600
    assert Budget(300_000, 0.5, 60).poll_interval_s == pytest.approx(60)


def test_the_allowance_is_the_setting_else_by_refunds_and_at_least_the_floor() -> None:
    assert allowance_of(123, 10**6) == 123
    assert allowance_of(None, 19) == FLOOR
    assert allowance_of(None, 21) == 10_500


def test_minimums_are_those_that_were_promised() -> None:
    assert {HINTS: 0.5, RECHECKS: 0.3, REVISITS: 0.05} == MINIMUM


@given(st.lists(st.tuples(st.booleans(), st.booleans())), st.floats(1, 86_400))
def test_webhooks_slow_polls_only_as_long_as_they_arrive_and_say_all(
    polls: list[tuple[bool, bool]], interval_s: float
) -> None:
    agreement = WebhookTrust()
    for unreported, arrive in polls:
        agreement.polled(found_unreported=unreported, webhooks_arrive=arrive)
        stretched = agreement.stretched(interval_s)
        assert interval_s <= stretched <= max(interval_s, RELAXED_POLL_S)
        if unreported or not arrive:
            assert stretched == interval_s


def test_agreement_stretches_a_minute_to_half_an_hour_step_by_step() -> None:
    agreement = WebhookTrust()
    steps = []
    for _ in range(6):
        agreement.polled(found_unreported=False, webhooks_arrive=True)
        steps.append(agreement.stretched(60))
    assert steps == [120, 240, 480, 960, 1_800, 1_800]
    agreement.polled(found_unreported=True, webhooks_arrive=True)
    assert agreement.stretched(60) == 60

"""Money: how many decimals Stripe's amounts have, and that no cent is lost on the way."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.money import (
    THREE_DECIMALS,
    TWO_DECIMALS,
    ZERO_DECIMALS,
    exponent,
    major,
)

KNOWN = sorted(ZERO_DECIMALS | TWO_DECIMALS | THREE_DECIMALS)
LARGEST = 2**63 - 1


@pytest.mark.parametrize(
    ("amount", "code", "expected"),
    [
        (1099, "usd", "10.99"),
        (-1099, "eur", "-10.99"),
        (500, "jpy", "500"),
        (5125, "kwd", "5.125"),
        (0, "usd", "0.00"),
        (5, "usd", "0.05"),
    ],
)
def test_an_amount_in_major_units_is_exact(amount: int, code: str, expected: str) -> None:
    assert str(major(amount, code)) == expected


@pytest.mark.parametrize("code", ["isk", "ugx", "huf", "twd"])
def test_currencies_without_cents_that_stripe_sends_with_two_decimals(code: str) -> None:
    assert major(100_000, code) == Decimal(1000)


def test_the_largest_amount_keeps_every_digit() -> None:
    assert str(major(LARGEST, "usd")) == "92233720368547758.07"
    assert str(major(LARGEST, "bhd")) == "9223372036854775.807"


@pytest.mark.parametrize("code", ["xxx", "", "USD", "btc"])
def test_an_unknown_currency_has_no_amount_rather_than_a_wrong_one(code: str) -> None:
    assert exponent(code) is None
    assert major(100, code) is None


def test_no_currency_has_two_exponents() -> None:
    assert len(KNOWN) == len(ZERO_DECIMALS) + len(TWO_DECIMALS) + len(THREE_DECIMALS)
    assert all(code == code.lower() for code in KNOWN)


@given(st.integers(-LARGEST, LARGEST), st.sampled_from(KNOWN))
def test_minor_units_come_back_from_major_ones(amount: int, code: str) -> None:
    decimals = exponent(code)
    found = major(amount, code)
    assert decimals is not None
    assert found is not None
    assert int(found.scaleb(decimals)) == amount
    assert -found.as_tuple().exponent == decimals  # type: ignore[operator]  # finite: an int

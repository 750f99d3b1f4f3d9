"""What is no refund, and what an undecodable member costs."""

from __future__ import annotations

from typing import Any

import pytest

from service.adapters.stripe.objects.decode import FAILURES
from tests.unit.stripe.test_stripe_decode import MAX, a_charge, a_line, a_refund, observed


@pytest.mark.parametrize(
    "members",
    [
        {"amount": MAX + 1},
        {"amount": 10.5},
        {"amount": "10"},
        {"amount": None},
        {"created": None},
        {"created": 10**15},
        {"currency": 7},
        {"id": ""},
        {"status": 3},
        {"charge": 7},
        {"destination_details": {"card": {}}},
        {"destination_details": "card"},
    ],
)
def test_what_is_no_refund_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(FAILURES):
        observed(a_refund(**members))


@pytest.mark.parametrize(
    "members",
    [
        {"charge": a_charge(amount="many")},
        {"balance_transaction": a_line(amount=MAX + 1)},
        {"failure_balance_transaction": a_line(id="txn_2", created=None)},
    ],
)
def test_an_undecodable_expanded_member_leaves_the_rest_of_the_refund_stored(
    members: dict[str, Any],
) -> None:
    full = a_refund(charge=a_charge(), balance_transaction=a_line()) | members
    seen = observed(full)
    assert not seen.hydrated
    folded = {name: member["id"] for name, member in members.items()}
    plain = observed(a_refund() | folded)
    assert (seen.refund, seen.link, seen.content_hash) == (
        plain.refund,
        plain.link,
        plain.content_hash,
    )
    assert seen.raw() == plain.raw()
    assert bool(seen.charge) == ("charge" not in members)
    assert len(seen.ledger) == (
        1 if "charge" in members else 1 - ("balance_transaction" in members)
    )

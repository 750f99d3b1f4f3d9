"""Odd, broken and ordinary objects through the decoder; all samples are made up."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from service.adapters.stripe.objects.decode import FORM_BYTES, Decoder
from service.adapters.stripe.objects.render import MetadataPolicy, sound_json

if TYPE_CHECKING:
    from service.domain.refund import Observation

AT = datetime(2026, 3, 1, tzinfo=UTC)
MAX = 2**63 - 1


def a_charge(**members: Any) -> dict[str, Any]:
    return {
        "id": "ch_1",
        "object": "charge",
        "amount": 5000,
        "amount_captured": 5000,
        "amount_refunded": 1000,
        "currency": "eur",
        "created": 1_700_000_000,
        "billing_details": {"name": "Jenny Rosen", "email": "jenny@example.com"},
        "payment_method_details": {"type": "card", "card": {"last4": "4242"}},
        "balance_transaction": "txn_0",
    } | members


def a_line(**members: Any) -> dict[str, Any]:
    return {
        "id": "txn_1",
        "object": "balance_transaction",
        "amount": -1000,
        "fee": 0,
        "net": -1000,
        "currency": "usd",
        "exchange_rate": 1.0861,
        "created": 1_700_000_100,
        "available_on": 1_700_600_000,
        "type": "refund",
        "reporting_category": "refund",
        "status": "available",
        "source": "re_1",
    } | members


def a_refund(**members: Any) -> dict[str, Any]:
    return {
        "id": "re_1",
        "object": "refund",
        "amount": 1000,
        "currency": "eur",
        "created": 1_700_000_100,
        "charge": "ch_1",
        "balance_transaction": "txn_1",
        "payment_intent": "pi_1",
        "status": "succeeded",
        "reason": None,
        "metadata": {"order": "o-1", "shop": "berlin"},
        "destination_details": {
            "type": "card",
            "card": {
                "type": "refund",
                "reference": "74537604221422224242424",
                "reference_status": "available",
                "reference_type": "acquirer_reference_number",
            },
        },
    } | members


def body_of(value: Any) -> bytes:
    return sound_json(json.dumps(value).encode())


def observed(value: dict[str, Any] | bytes, metadata: MetadataPolicy = "keep") -> Observation:
    body = sound_json(value) if isinstance(value, bytes) else body_of(value)
    return Decoder(metadata).observe(body, observed_at=AT)


def test_a_hydrated_refund_has_every_column_where_it_belongs() -> None:
    seen = observed(
        a_refund(
            charge=a_charge(),
            balance_transaction=a_line(),
            failure_balance_transaction=a_line(id="txn_2", amount=1000, net=1000),
            failure_reason="declined",
            next_action={
                "type": "display_details",
                "display_details": {"expires_at": 1_800_000_000},
            },
            presentment_details={"presentment_amount": 9, "presentment_currency": "usd"},
            customer="cus_1",
            payment_method={"id": "pm_1", "object": "payment_method"},
            transfer_reversal="trr_1",
        )
    )
    assert seen.refund._asdict() == {
        "id": "re_1",
        "created": 1_700_000_100,
        "amount_minor": 1000,
        "currency": "eur",
        "status": "succeeded",
        "reason": None,
        "failure_reason": "declined",
        "pending_reason": None,
        "receipt_number": None,
        "description": None,
        "metadata": '{"order":"o-1","shop":"berlin"}',
        "presentment_amount_minor": 9,
        "presentment_currency": "usd",
        "next_action_type": "display_details",
        "next_action_expires": 1_800_000_000,
        "customer_id": "cus_1",
        "payment_method_id": "pm_1",
    }
    assert tuple(seen.link) == ("ch_1", "pi_1", "txn_1", "txn_2", "trr_1", None)
    assert seen.destination
    assert tuple(seen.destination[:6]) == (
        "card",
        "74537604221422224242424",
        "available",
        "acquirer_reference_number",
        "refund",
        None,
    )
    assert seen.charge
    assert seen.charge[0][:7] == ("ch_1", 5000, 5000, 1000, "eur", 1_700_000_000, "card")
    assert [line.id for line, _ in seen.ledger] == ["txn_1", "txn_2"]
    assert seen.ledger[0][0].exchange_rate == Decimal("1.0861")
    assert {line.refund_id for line, _ in seen.ledger} == {"re_1"}
    assert seen.hydrated


def test_expansion_changes_neither_the_hash_nor_a_byte_of_the_text() -> None:
    plain = observed(a_refund())
    expanded = observed(a_refund(charge=a_charge(), balance_transaction=a_line()))
    shuffled = observed(dict(reversed(a_refund().items())))
    assert plain.content_hash == expanded.content_hash == shuffled.content_hash
    assert plain.raw() == expanded.raw() == shuffled.raw()
    assert not plain.hydrated
    assert expanded.hydrated


def test_the_order_of_metadata_members_makes_no_other_version() -> None:
    one = observed(a_refund(metadata={"a": "1", "b": "2"}))
    other = observed(a_refund(metadata={"b": "2", "a": "1"}))
    assert one.content_hash == other.content_hash


@pytest.mark.parametrize(
    "change",
    [
        {"status": "failed"},
        {"charge": "ch_2"},
        {"description": "x"},
        {"destination_details": {"type": "card", "card": {"type": "reversal"}}},
        {"destination_details": None},
        {"metadata": None},
    ],
)
def test_a_change_at_stripe_changes_the_hash_and_not_its_form(change: dict[str, Any]) -> None:
    before, after = observed(a_refund()), observed(a_refund(**change))
    assert before.content_hash != after.content_hash
    assert before.content_hash[:FORM_BYTES] == after.content_hash[:FORM_BYTES]


def test_a_change_of_our_settings_shows_in_the_form_alone() -> None:
    kept = observed(a_refund(metadata={}))
    named = observed(a_refund(metadata={}), frozenset({"order"}))
    assert kept.content_hash[:FORM_BYTES] != named.content_hash[:FORM_BYTES]
    assert kept.content_hash[FORM_BYTES:] == named.content_hash[FORM_BYTES:]


@pytest.mark.parametrize(
    ("policy", "column"), [("drop", None), (frozenset({"order"}), '{"order":"o-1"}')]
)
def test_metadata_that_is_not_wanted_is_nowhere(policy: MetadataPolicy, column: str | None) -> None:
    seen = observed(a_refund(), policy)
    assert seen.refund.metadata == column
    assert "berlin" not in seen.raw()
    assert json.loads(seen.raw())["metadata"] == (json.loads(column) if column else None)


@pytest.mark.parametrize(
    "members",
    [
        {"status": None},
        {"status": "a_status_of_next_year"},
        {"reason": "expired_uncaptured_charge"},
        {"metadata": None},
        {"charge": None, "payment_intent": None, "balance_transaction": None},
        {"destination_details": {"type": "konbini"}},
        {"destination_details": {"type": "new_method", "new_method": {"x": [1, 2.50, None]}}},
        {"destination_details": {"type": "pix", "pix": None}},
        {"destination_details": {"type": "swish", "swish": {"reference": 12}}},
        {"next_action": {"type": "display_details", "display_details": None}},
        {"presentment_details": None},
        {"amount": MAX},
        {"id": "x" * 255},
        {"id": "weird-prefix/ä_" + "9" * 200},
        {"brand_new": {"nested": [True, 1e400]}},
        {"charge": a_charge(on_behalf_of={"id": "acct_1"}, payment_method_details=None)},
    ],
)
def test_odd_but_legal_refunds_are_stored(members: dict[str, Any]) -> None:
    text = json.dumps(a_refund(**members)).replace("Infinity", "1e400")
    seen = observed(text.encode())
    assert seen.refund.id == members.get("id", "re_1")
    assert json.loads(seen.raw())["id"] == seen.refund.id


def test_a_refund_of_the_five_required_members_is_stored() -> None:
    seen = observed(
        {"id": "re_1", "object": "refund", "amount": 1, "created": 5, "currency": "usd"}
    )
    assert seen.hydrated
    assert seen.destination is None
    assert set(seen.refund[4:]) == {None}

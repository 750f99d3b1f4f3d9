"""Odd, broken and ordinary objects through the decoder; all samples are made up."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from service.adapters.stripe.answers import Answer
from service.adapters.stripe.client import _as_listing
from service.adapters.stripe.decode import FAILURES, FORM_BYTES, Decoder
from service.adapters.stripe.mask import MASK
from service.adapters.stripe.pages import Query, reading_of
from service.adapters.stripe.render import MetadataPolicy, sound_json
from service.domain.walk import Key

if TYPE_CHECKING:
    from service.domain.refund import Observation
    from service.ports import Reading

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


def test_the_exchange_rate_is_kept_digit_for_digit() -> None:
    body = json.dumps(a_refund(balance_transaction=a_line(exchange_rate=7)))
    seen = observed(body.replace('"exchange_rate": 7', '"exchange_rate": 0.86123400').encode())
    assert str(seen.ledger[0][0].exchange_rate) == "0.86123400"


def test_numbers_in_the_text_are_those_that_stripe_sent() -> None:
    seen = observed(json.dumps(a_refund(rate=7)).replace(": 7}", ": 1.10}").encode())
    assert "1.10" in seen.raw()


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (rb"a\u0000b", "a\ufffdb"),
        (rb"a\ud800b", "a\ufffdb"),
        (rb"a\uDFFFb", "a\ufffdb"),
        (rb"\ud83d\ude00", "\U0001f600"),
        (rb"\\ud800 \\u0000", r"\ud800 \u0000"),
        (rb"\ud800\ud83d\ude00", "\ufffd\U0001f600"),
        (b"a\xffb", "a\ufffdb"),
    ],
)
def test_nul_and_lone_surrogates_become_replacement_characters_everywhere(
    sent: bytes, kept: str
) -> None:
    body = json.dumps(
        a_refund(description="HERE", metadata={"k-HERE": "HERE"}, new="HERE")
    ).encode()
    seen = observed(body.replace(b"HERE", sent))
    assert seen.refund.description == kept
    assert json.loads(seen.refund.metadata or "") == {f"k-{kept}": kept}
    assert json.loads(seen.raw())["new"] == kept


def test_planted_personal_data_is_in_no_column_and_no_text() -> None:
    mail, card = "jenny@example.com", "4242 4242 4242 4242"
    seen = observed(
        a_refund(
            description=f"for {mail}, {card}",
            metadata={"note": card, mail: "x", "order": "4711"},
            reason=mail,
            instructions_email=mail,
            next_action={
                "type": "display_details",
                "display_details": {"email_sent": {"email_sent_to": mail, "email_sent_at": 1}},
            },
            destination_details={"type": "pix", "pix": {"reference": mail, "note": card}},
            unknown=[{"deep": f"{mail} {card}"}],
            charge=a_charge(description=card),
        )
    )
    everything = f"{seen.refund} {seen.link} {seen.destination} {seen.charge} {seen.raw()}"
    assert mail not in everything
    assert "4242" not in everything
    assert "4711" in everything
    assert seen.destination
    assert json.loads(seen.destination.details) == {"reference": MASK, "note": MASK}


@pytest.mark.parametrize(
    ("personal", "letter"), [("jo@example.com", "@"), ("4242424242424242", "2")]
)
def test_personal_data_is_masked_however_its_letters_are_escaped(
    personal: str, letter: str
) -> None:
    told = json.dumps(a_refund(description=personal, destination_details=None))
    escaped = told.replace(letter, f"\\u{ord(letter):04x}").encode()
    assert json.loads(observed(escaped).raw())["description"] == MASK


def listed(*objects: Any, has_more: bool = False, query: Query | None = None) -> Reading:
    body = body_of({"object": "list", "data": list(objects), "has_more": has_more})
    answer = Answer(_as_listing(body), body, {}, AT, AT.timestamp(), 0.25, 1)
    return reading_of(answer, query or Query(100, 2000), Decoder(), 600)


def test_one_undecodable_object_costs_its_page_nothing_else() -> None:
    bad = a_refund(id="re_bad", created=900, amount="ten", description="jenny@example.com")
    reading = listed(a_refund(created=1000), bad, a_refund(id="re_3", created=800))
    assert [seen.refund.id for seen in reading.observations] == ["re_1", "re_3"]
    assert reading.page.keys == [
        Key(1000, "re_1"),
        Key(900, "re_bad", kept=False),
        Key(800, "re_3"),
    ]
    (odd,) = reading.undecodable
    assert (odd.object_id, odd.earliest, odd.latest) == ("re_bad", 900, 900)
    assert "jenny" not in odd.payload
    assert "amount" in odd.error


def test_an_object_without_a_second_is_placed_between_its_neighbours() -> None:
    nameless = {"object": "refund"}
    reading = listed(
        nameless,
        a_refund(created=1000),
        a_refund(id="re_b", created=None),
        a_refund(created=800),
        5,
    )
    places = [(odd.object_id, odd.earliest, odd.latest) for odd in reading.undecodable]
    assert places == [(None, 1000, 1999), ("re_b", 800, 1000), (None, 100, 800)]
    assert [key.created for key in reading.page.keys] == [1000, 800]


def test_an_object_without_a_second_at_the_end_of_a_page_is_left_to_the_next_read() -> None:
    reading = listed(a_refund(created=1000), {"id": "re_x"}, has_more=True)
    assert not reading.undecodable
    assert [key.id for key in reading.page.keys] == ["re_1"]


def test_the_settle_bound_is_stripes_clock_when_asked_less_the_lag_and_never_above_ours() -> None:
    def bound(date: float, took_s: float) -> int:
        return Answer(None, b"", {}, AT, date, took_s, 1).settle_bound(600)

    at = int(AT.timestamp())
    assert bound(at - 5, 1.5) == at - 5 - 2 - 600
    assert bound(at + 3600, 0.1) == at - 600

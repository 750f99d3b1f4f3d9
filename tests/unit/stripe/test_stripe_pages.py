"""What decoding keeps to the digit, masks, and does with what it cannot decode."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from service.adapters.stripe.client import _as_listing
from service.adapters.stripe.http.answers import Answer
from service.adapters.stripe.lists.pages import Query, reading_of
from service.adapters.stripe.objects.decode import Decoder
from service.adapters.stripe.objects.mask import MASK
from service.domain.coverage.walk import Key
from tests.unit.stripe.test_stripe_decode import AT, a_charge, a_line, a_refund, body_of, observed

if TYPE_CHECKING:
    from service.domain.batch import Reading


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
    reported = json.dumps(a_refund(description=personal, destination_details=None))
    escaped = reported.replace(letter, f"\\u{ord(letter):04x}").encode()
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

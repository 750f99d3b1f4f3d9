"""Personal data and keys, planted and looked for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.adapters.stripe.objects.mask import (
    KEY_MASK,
    MASK,
    Masking,
    is_suspect,
    masked_json,
    masked_text,
    without_keys,
)

CARDS = (
    "4242424242424242",
    "4242 4242 4242 4242",
    "4242-4242-4242-4242",
    "378282246310005",
    "3782 822463 10005",
    "6011111111111117",
    "2223003122003222",
    "30569309025904",
)


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize(
    "around",
    [
        "{}", "card {} please", "({})", "12 {}", "{} 123", "pan_{}", "card={}", "card:{};", "{}_old",
        "<b>{}</b>", "{}.", "visa-{}", "{}-visa", "#{}#", "a\n{}\n", "exp 12/29, {}", "{} 12/29 123", "é: {}…",
        "{}|12|29|123", "a\\n{}"
    ],
)  # fmt: skip
def test_a_card_number_is_masked_wherever_it_stands(card: str, around: str) -> None:
    shown = masked_text(around.format(card))
    assert MASK in shown
    assert card[-4:] not in shown.replace(MASK, "")


@pytest.mark.parametrize(
    "text",
    [
        "12345678901234567890123",
        "74537604221422224242424",
        "4242424242424241",
        "1700000000000",
        "1758000000000000",
        "order 20260115-0001",
        "+49 30 1234567",
        "re_3NabcDEF",
    ],
)
def test_longer_references_timestamps_and_other_numbers_stay(text: str) -> None:
    assert masked_text(text) == text


@pytest.mark.parametrize(
    "around", ["x{}", "{}x", "re_a{}b", "é{}", "{}é", "0{}", "{}0", "0.{}", "{}.50", "20-{}", "{}-1", "{}Ω"]
)  # fmt: skip
def test_digits_inside_a_longer_token_are_somebodys_id(around: str) -> None:
    for card in ("4242424242424242", "378282246310005"):
        text = around.format(card)
        assert masked_text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "4242-42424242-4242",  # another grouping than Visa's
        "42-42424242424242",
        "4242424-24242-4242",
        "1234-4242-4242-4242-4242",  # a fifth group
        "GPA.4242-4242-4242-42424",  # Google Play
        "424-2424242-4242420",  # Amazon
        "4242/4242/4242/4242",
        "4242_4242_4242_4242",
        "7992739871300007",  # Luhn holds, and no issuer begins so
        "378282246310005" + "00",  # another length than American Express's
        "4242424242424242424",  # as long as a Visa, and Luhn does not hold
        "4006381333931",  # EAN-13
        "673419267366",  # UPC-A
        "1Z9994242424242424",  # UPS
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",  # ULID
        "42424242-4242-4242-4242-424242424242",  # UUID
        "2026-10-01T12:00:00.4242424242424242Z",
    ],
)
def test_other_lengths_and_groupings_are_somebodys_ids(text: str) -> None:
    assert masked_text(text) == text


def test_what_was_masked_is_counted_by_the_path_of_the_member() -> None:
    masking = Masking()
    masking.json({
        "metadata": {"order": "4242424242424242", "note": "a@example.com, 4242 4242 4242 4242", "sku": "1"},
        "billing_details": {"name": "Jenny Rosen"},
        "items": [{"text": "4242424242424242"}, {"text": "378282246310005"}],
        "amount": 1,
    })  # fmt: skip
    assert masking.found == {
        "metadata.order": 1, "metadata.note": 2, "billing_details": 1, "items.text": 2,
    }  # fmt: skip


def test_a_key_that_is_exempted_keeps_its_digits_and_not_an_email_address() -> None:
    masking = Masking(frozenset({"order"}))
    card = "4242424242424242"
    shown = masking.json(
        {
            "metadata": {"order": f"{card} a@example.com", "Order": card, "deep": {"order": card}},
            "order": card,
            "description": card,
        }
    )
    assert shown == {
        "metadata": {"order": f"{card} {MASK}", "Order": MASK, "deep": {"order": MASK}},
        "order": MASK,
        "description": MASK,
    }


@pytest.mark.parametrize(
    "mail", ["a.b+c@example.com", "jürgen@bücher.example", "USER@EXAMPLE.CO.UK", "a%40example.com"]
)
def test_an_email_address_is_masked_and_what_is_around_it_stays(mail: str) -> None:
    assert masked_text(f"refund for <{mail}>, thanks") == f"refund for <{MASK}>, thanks"


def test_masking_reaches_member_names_and_loses_no_value() -> None:
    shown = masked_json({"metadata": {"a@example.com": "1", "b@example.com": "2", "order": "3"}})
    assert shown == {"metadata": {MASK: "1", f"{MASK} 2": "2", "order": "3"}}


def test_personal_members_are_masked_no_matter_what_they_hold_and_null_stays_null() -> None:
    shown = masked_json(
        {
            "billing_details": {"name": "Jenny Rosen", "address": {"city": "Berlin"}},
            "instructions_email": None,
            "next_action": {"display_details": {"email_sent": {"email_sent_to": "no mail at all"}}},
        }
    )
    assert "Jenny" not in json.dumps(shown)
    assert "Berlin" not in json.dumps(shown)
    assert shown["instructions_email"] is None
    assert shown["next_action"]["display_details"]["email_sent"] == {"email_sent_to": MASK}


def test_ids_and_numbers_are_never_taken_for_cards_but_metadata_may_be() -> None:
    members = {
        "id": "re_4242424242424242",
        "charge": "4242424242424242",
        "amount": 4242424242424242,
        "destination_details": {"card": {"reference": "4242424242424242"}},
    }
    assert masked_json(members) == members
    assert masked_json({"metadata": {"id": "4242424242424242"}}) == {"metadata": {"id": MASK}}


@given(
    st.recursive(
        st.one_of(
            st.text(max_size=30),
            st.sampled_from([*CARDS, "a@example.com", "x%40y", "12345678901234567890123"]),
            st.text("4242 -._\n\\\x01é\u00a0", max_size=24),
            st.integers(),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(["metadata", "id", "email", "x", "a@example.com"]),
                inner,
                max_size=3,
            ),
        ),
        max_leaves=8,
    )
)
def test_the_quick_look_overlooks_nothing_and_masking_twice_changes_nothing(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    shown = masked_json(value)
    if not is_suspect(text):
        assert shown == value
    assert masked_json(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key 'rk_test_****abcd' lacks", f"key '{KEY_MASK}' lacks"),
        ("key 'rk_test_***' lacks", f"key '{KEY_MASK}' lacks"),
        ("Invalid API Key provided: sk_live_51AbC", f"Invalid API Key provided: {KEY_MASK}"),
        ("ending in ****wxyz.", f"ending in {KEY_MASK}."),
        ("Authorization: Bearer abc.def", f"Authorization: {KEY_MASK}"),
        ("the 'rak_charge_read' permission on 'acct_1'", None),
        ("a risk_level of the week_day", None),
    ],
)
def test_keys_go_whole_with_their_last_characters_and_other_words_stay(
    text: str, shown: str | None
) -> None:
    assert without_keys(text) == (shown or text)

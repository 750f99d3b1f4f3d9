"""Card numbers are masked however they are written, and ids survive: both ways, by rules of the tests' own."""

from __future__ import annotations

import json
import random
import re
import string
import uuid
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.adapters.stripe.objects.cards import may_hold_a_card
from service.adapters.stripe.objects.issuers import prefixes_by_grouping
from service.adapters.stripe.objects.mask import MASK, is_suspect, masked_text

if TYPE_CHECKING:
    from collections.abc import Callable

TEST_CARDS = {
    "Visa": (
        "4242424242424242", "4000056655665556", "4111111111111111", "4012888888881881",
        "4222222222222", "4988438843884305", "4035501000000008",
    ),
    "Mastercard": (
        "5555555555554444", "2223003122003222", "5200828282828210", "5105105105105100",
        "2222400070000005", "2720990000000007",
    ),
    "American Express": ("378282246310005", "371449635398431", "378734493671000", "370000000000002"),
    "Discover": (
        "6011111111111117", "6011000990139424", "6011981111111113", "6445644564456445", "6555900000604105",
    ),
    "Diners Club": (
        "3056930009020004", "36227206271667", "30569309025904", "38520000023237", "36006666333344",
    ),
    "JCB": ("3566002020360505", "3530111333300000", "3569990010095841"),
    "UnionPay": (
        "6200000000000005", "6200000000000047", "6205500000000000004", "8171999927660000",
        "8171999900000000021",
    ),
    "Maestro": (
        "6759649826438453", "6771798021000008", "6304000000000000", "5018000000000009",
        "6759560045005727054", "6799990100000000019", "5641821111166669", "501800000009",
    ),
    "RuPay": ("6073849700004947",),
    "Mir": ("2200770239097761", "2201382000000013"),
    "Elo": ("5066991111111118", "6362970000457013"),
    "Dankort": ("5019717010103742",),
    "Troy": ("9792030000000000",),
}  # fmt: skip
"""As the networks and those who process for them publish them."""

OWN_GROUPINGS = {
    ("Visa", 13): (4, 3, 3, 3),
    ("American Express", 15): (4, 6, 5),
    ("Diners Club", 14): (4, 6, 4),
    ("UnionPay", 19): (6, 13),
}
SPACINGS = (" ", "-", ".", "  ", " - ", "\u00a0", "\u2009", "\u202f", "\u2011", "\u2013")
NUMBERS = [(network, card) for network, cards in TEST_CARDS.items() for card in cards]
MARKS = "_=:;,.!?/|#*+~'\"()[]{}<>&$€-\u2013\n\t "


def luhn_holds(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


def in_groups(digits: str, sizes: tuple[int, ...], spacing: str) -> str:
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    return spacing.join(digits[s : s + size] for s, size in zip(starts, sizes, strict=True))


def spellings(network: str, card: str) -> list[str]:
    by_fours = " ".join(card[n : n + 4] for n in range(0, len(card), 4))
    spelt = [by_fours]
    if own := OWN_GROUPINGS.get((network, len(card))):
        spelt.append(in_groups(card, own, " "))
    return [card, *(text.replace(" ", spacing) for text in spelt for spacing in SPACINGS)]


@pytest.mark.parametrize(("network", "card"), NUMBERS)
def test_a_test_card_is_masked_in_every_spacing_after_and_before_every_mark(
    network: str, card: str
) -> None:
    assert luhn_holds(card)
    for spelt in spellings(network, card):
        for mark in MARKS:
            for text in (f"pan{mark}{spelt}", f"{mark}{spelt}{mark}", f"{spelt}{mark}pan"):
                shown = masked_text(text)
                assert shown.replace(MASK, "", 1) == text.replace(spelt, "", 1), text
                assert is_suspect(json.dumps({"metadata": {"note": text}}, ensure_ascii=False))


@pytest.mark.parametrize("text", ["pan@{}", "{}@pan.example", "a.{}@pan.example"])
def test_a_card_that_an_email_address_overlaps_is_masked_with_it(text: str) -> None:
    for spelt in spellings("Visa", "4000056655665556"):
        shown = masked_text(text.format(spelt))
        assert not re.search(r"[0-9]{4}", shown), shown
        assert masked_text(shown) == shown


@given(
    st.sampled_from(NUMBERS).flatmap(lambda n: st.sampled_from(spellings(*n))),
    st.text(max_size=8),
    st.text(max_size=8),
)
def test_a_test_card_is_masked_between_any_two_texts_that_do_not_go_on_as_a_token(
    spelt: str, before: str, after: str
) -> None:
    goes_on = re.search(r"[^\W_]$|[0-9][-.\u2010-\u2015\u2212]{1,3}$", before) or re.search(
        r"^[^\W_]|^[-.\u2010-\u2015\u2212]{1,3}[0-9]", after
    )
    # A blank and digits may be groups of a longer number of the same issuer, which is masked whole.
    longer = re.search(r"[0-9]\W{1,3}$", before) or re.search(r"^\W{1,3}[0-9]", after)
    if not goes_on and not longer and "@" not in before + after:
        text = f"{before}{spelt}{after}"
        assert masked_text(text) == f"{before}{MASK}{after}"
        assert is_suspect(text)


def test_the_quick_look_overlooks_no_prefix_and_no_grouping() -> None:
    for sizes, prefixes in prefixes_by_grouping().items():
        for prefix in prefixes:
            body = prefix.ljust(sum(sizes) - 1, "0")
            digits = next(c for c in (f"{body}{n}" for n in range(10)) if luhn_holds(c))
            spelt = in_groups(digits, sizes, "-")
            assert may_hold_a_card(f'"order":"{spelt}"') == (masked_text(spelt) == MASK)


ISSUED = re.compile(
    r"4(\d{12}|\d{15}|\d{18})"
    r"|5[1-5]\d{14}|(222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}"
    r"|(6011|64[4-9]\d|65\d\d)\d{12,15}"
    r"|(30[0-5]\d|3095|36\d\d|3[89]\d\d)\d{10,15}"
    r"|35(2[89]|[3-8]\d)\d{12,15}"
    r"|(62|81)\d{14,17}"
    r"|(5018|5020|5038|5893|6304|6759|676[123])\d{8,11}"
    r"|(5018|5020|5038|56\d\d|57\d\d|58\d\d|63\d\d|67\d\d)\d{12,15}"
    r"|(508\d|60\d\d|81\d\d|82\d\d|220[0-4]|509\d|5019|9792)\d{12}|(506699|5067[0-6]\d|50677[0-8]|627780|636297|636368)\d{10}"
    r"|220[0-4]\d{12,15}"
)
GROUPINGS = {
    *((size,) for size in range(12, 20)),
    (4, 4, 4), (4, 4, 4, 1), (4, 4, 4, 2), (4, 4, 4, 3), (4, 4, 4, 4), (4, 4, 4, 4, 1),
    (4, 4, 4, 4, 2), (4, 4, 4, 4, 3), (4, 3, 3, 3), (4, 6, 4), (4, 6, 5), (4, 4, 5), (6, 13),
}  # fmt: skip


def is_written_like_a_card(text: str) -> bool:
    """Whether prefix, length, Luhn and grouping of all of *text* fit."""
    if not re.fullmatch(r"\d+([-.]\d+)*", text):
        return False
    groups = re.split("[-.]", text)
    digits = "".join(groups)
    return (
        tuple(map(len, groups)) in GROUPINGS
        and luhn_holds(digits)
        and ISSUED.fullmatch(digits) is not None
    )


def digits(chance: random.Random, count: int) -> str:
    return str(chance.randrange(10**count)).zfill(count)


def an_ean(chance: random.Random) -> str:
    body = digits(chance, 12)
    odd, even = sum(map(int, body[::2])), sum(map(int, body[1::2]))
    return f"{body}{-(odd + 3 * even) % 10}"


def a_ulid(chance: random.Random) -> str:
    return "01" + "".join(chance.choices("0123456789ABCDEFGHJKMNPQRSTVWXYZ", k=24))


def a_grouped_number(chance: random.Random) -> str:
    sizes = chance.choices(range(1, 8), k=chance.randint(2, 6))
    return "-".join(digits(chance, size) for size in sizes)


def a_number_by_fours(chance: random.Random) -> str:
    return "-".join(digits(chance, 4) for _ in range(chance.randint(3, 6)))


def a_token(chance: random.Random) -> str:
    """Digits inside of something longer, as marketplaces, app stores and carriers have them."""
    letter = chance.choice(string.ascii_letters)
    return chance.choice(
        (
            f"1Z{digits(chance, 16)}",
            f"{letter}{digits(chance, 16)}",
            f"{digits(chance, 16)}{letter}",
        )
    )


FORMS: dict[str, Callable[[random.Random], str]] = {
    "EAN": an_ean,
    "UUID": lambda c: str(uuid.UUID(int=c.getrandbits(128), version=4)),
    "ULID": a_ulid,
    "snowflake": lambda c: str(c.randrange(10**16, 2**63)),
    "epoch milliseconds": lambda c: str(c.randrange(1_300_000_000_000, 2_000_000_000_000)),
    "epoch microseconds": lambda c: str(c.randrange(1_300_000_000_000_000, 2_000_000_000_000_000)),
    "plain order number": lambda c: digits(c, c.randint(10, 20)),
    "hyphenated order number": a_grouped_number,
    "hyphenated by fours": a_number_by_fours,
    "marketplace": lambda c: f"{digits(c, 3)}-{digits(c, 7)}-{digits(c, 7)}",
    "app store": lambda c: f"GPA.{digits(c, 4)}-{digits(c, 4)}-{digits(c, 4)}-{digits(c, 5)}",
    "longer token": a_token,
}
EACH, AT_ONCE = 84_000, 6_000


@pytest.mark.parametrize("form", FORMS)
def test_of_a_million_ids_only_those_survive_not_that_are_written_like_cards(form: str) -> None:
    """84,000 of each of twelve forms, many to a text, as one alone costs more to look at than to make."""
    chance = random.Random(form)
    for _ in range(EACH // AT_ONCE):
        made = [FORMS[form](chance) for _ in range(AT_ONCE)]
        shown = masked_text("\n".join(made)).split("\n")
        changed = [before for before, after in zip(made, shown, strict=True) if before != after]
        assert not [text for text in changed if not is_written_like_a_card(text)]
    assert not changed or form in {"snowflake", "plain order number", "hyphenated by fours"}

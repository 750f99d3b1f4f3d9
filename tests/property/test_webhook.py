"""Signatures by whatever header comes, with Stripe's own library as judge; bodies of any shape."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from datetime import UTC, datetime

import stripe
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.adapters.stripe.webhook import TOLERANCE_S, is_genuine, notice_in
from tests.webhooks import SECRET, a_notification, an_event, signed

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OTHER = "whsec_theOneThatWasRotatedOut"
BODY = an_event()

EMPTY = " \t"

secrets = st.lists(
    st.sampled_from([SECRET, SECRET, OTHER, OTHER, "whsec_unrelated", "", EMPTY]), max_size=3
)
bodies = st.one_of(
    st.just(BODY), st.just(BODY), st.binary(max_size=20), st.just("\ufeff{}".encode())
)
ages_s = st.sampled_from([0, 0, 280, -280, -320, 320, -(10**10), 10**10, 10**400])
names = st.sampled_from(["t", "v1", "v1", "v0", " t", "v1 ", "T", "V1", "", "v11", "t\u200b"])
equals = st.sampled_from(["=", "=", "=", "", "=="])


def signature(body: bytes, secret: str, second: int) -> str:
    """As the library makes it; of bytes that are no text too."""
    return hmac.new(secret.encode(), b"%d." % second + body, hashlib.sha256).hexdigest()


def oracle(body: bytes, header: str, secret: str) -> bool:
    """The library's verdict; it stumbles over some of what it does not accept."""
    try:
        stripe.WebhookSignature.verify_header(body, header, secret, tolerance=TOLERANCE_S)
    except (stripe.SignatureVerificationError, UnicodeError, TypeError):
        return False
    return True


def is_ahead(header: str, now_s: float) -> bool:
    second, _ = stripe.WebhookSignature._get_timestamp_and_signatures(header, "v1")
    return bool(second > now_s + TOLERANCE_S)


def assert_judged_alike(body: bytes, header: str, several: list[str]) -> None:
    now_s = time.time()
    judged = any(oracle(body, header, secret) for secret in several)
    expected = judged and not is_ahead(header, now_s)
    assert is_genuine(body, header, several, now_s) is expected


@st.composite
def stamps(draw: st.DrawFn, second: int) -> str:
    """A second, as a number may be written, or something else."""
    digits = str(second)
    odd = "".join(chr(0x0660 + int(d)) if d.isdigit() else d for d in digits)
    written = [f" {digits}", f"+{digits}", f"0{digits}", f"{digits[:2]}_{digits[2:]}", odd]
    none = [f"{digits}.0", f"-{digits}", "", "nan", "9" * 5_000]
    return draw(st.sampled_from([*[digits] * 10, *written, *none]))


@st.composite
def headers(draw: st.DrawFn, body: bytes) -> str:
    """A stamp and a signature, mostly good, with other items before, between and after them."""
    second = int(time.time()) + draw(ages_s)
    good = [signature(body, secret, second) for secret in (SECRET, OTHER, "", EMPTY)]
    broken = [good[0].upper(), good[0][:-1], f"{good[0]}=", f" {good[0]}", "é" * 64]
    signatures = st.sampled_from([*good[:2] * 4, *good, *broken])
    values = st.one_of(signatures, stamps(second), stamps(second + 1), st.text(max_size=6))
    items = [f"t={draw(stamps(second))}", f"v1={draw(signatures)}"]
    for _ in range(draw(st.integers(0, 3))):
        name, sign = draw(names), draw(equals)
        item = f"{name}{sign}{draw(values)}" if sign else name
        items.insert(draw(st.integers(0, len(items))), item)
    return draw(st.sampled_from([",", ",", ",", ", ", ";"])).join(items)


@st.composite
def mutations(draw: st.DrawFn, body: bytes) -> str:
    """A good header with a piece cut out, doubled, or put in."""
    second = int(time.time()) + draw(ages_s)
    header = f"t={second},v1={signature(body, SECRET, second)}"
    start = draw(st.integers(0, len(header)))
    end = draw(st.integers(start, min(start + 3, len(header))))
    put = draw(st.one_of(st.just(""), st.just(header[start:end] * 2), st.text(max_size=3)))
    return header[:start] + put + header[end:]


@settings(deadline=None, max_examples=1_000)
@given(st.data(), bodies, secrets)
def test_any_header_is_judged_as_the_library_judges_it_but_for_stamps_to_come(
    data: st.DataObject, body: bytes, several: list[str]
) -> None:
    assert_judged_alike(body, data.draw(headers(body)), several)


@settings(deadline=None)
@given(st.data(), bodies)
def test_a_good_header_that_was_touched_is_judged_as_the_library_judges_it(
    data: st.DataObject, body: bytes
) -> None:
    assert_judged_alike(body, data.draw(mutations(body)), [OTHER, SECRET])


@settings(deadline=None)
@given(st.text(), st.sampled_from([-320, -280, 0, 280, 320]))
def test_what_is_well_signed_passes_if_its_stamp_is_about_now(body: str, age_s: int) -> None:
    sent = body.encode(errors="replace")
    header = signed(sent, second=time.time() + age_s)
    assert is_genuine(sent, header, ["whsec_new", SECRET], time.time()) is (abs(age_s) < 300)


inner_names = st.sampled_from(["id", "object", "charge", "type"])
odd_leaves = st.sampled_from(["re_2", "\0", "", "x" * 501, 2**70, None, True])
anything = st.recursive(
    odd_leaves | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(inner_names, inner, max_size=3),
    max_leaves=6,
)
members = st.sampled_from(
    ["type", "data", "related_object", "account", "context", "livemode", "id"]
)


@settings(deadline=None, max_examples=500)
@given(
    st.sampled_from([an_event(), an_event("ch_1", "charge.refunded"), a_notification()]),
    st.dictionaries(members, anything, max_size=3),
    st.dictionaries(inner_names, odd_leaves, max_size=2),
)
def test_an_event_with_members_of_any_shape_gives_a_hint_that_can_be_kept_or_none(
    body: bytes, odd: dict[str, object], inside: dict[str, object]
) -> None:
    event = json.loads(body)
    for object_ in (event.get("related_object"), event.get("data", {}).get("object")):
        if object_:
            object_.update(inside)
    notice = notice_in(json.dumps(event | odd).encode(), NOW)
    if notice and notice.hint:
        assert 1 <= len(notice.hint.object_id) <= 500
        assert "\0" not in notice.hint.object_id
        assert notice.account_id is None or (notice.account_id and "\0" not in notice.account_id)


@settings(deadline=None)
@given(st.binary())
@example(b"[" * 100_000)
@example(b'{"type": "refund.created", "data": ' + b'{"object":' * 100_000)
def test_bytes_that_are_no_event_are_distinguished_without_an_error(body: bytes) -> None:
    assert notice_in(body, NOW) is None

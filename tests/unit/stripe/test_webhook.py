"""Webhooks: what they report, and what they are answered."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import stripe
from structlog.testing import capture_logs

from service.adapters.stripe.objects.event import RecentEvents
from service.adapters.stripe.webhook import OUTCOMES, Notice, WebhookReceiver, is_genuine, notice_in
from service.domain.errors import LeaseLostError, RefundSyncError, RetryableError
from service.domain.refund import Hint
from tests.builders import at
from tests.webhooks import REFUND_TYPES, SECRET, a_notification, an_event, signed

if TYPE_CHECKING:
    from service.adapters.web.server import Receiver

NOW = at(0)
NOW_S = NOW.timestamp()
BODY = an_event()
GOOD = signed(BODY, second=NOW_S)
STAMP, SIGNATURE = GOOD.split(",")


def test_what_the_library_signed_passes_and_nothing_else_does() -> None:
    assert is_genuine(BODY, GOOD, [SECRET], NOW_S)
    assert not is_genuine(BODY + b" ", GOOD, [SECRET], NOW_S)
    assert not is_genuine(BODY, GOOD, ["whsec_other"], NOW_S)
    assert not is_genuine(BODY, GOOD, [], NOW_S)


def test_either_secret_may_sign_while_they_are_rotated_and_either_signature_may_match() -> None:
    old = signed(BODY, "whsec_old", second=NOW_S).split(",")[1]
    for several in ([SECRET], ["whsec_old"], ["whsec_newest", "whsec_old"]):
        assert is_genuine(BODY, f"{STAMP},{old},{SIGNATURE},v0=00", several, NOW_S)


@pytest.mark.parametrize(
    ("age_s", "verdict"),
    [(300, True), (300.5, False), (301, False), (-300, True), (-300.5, False), (-(10**9), False)],
)
def test_a_stamp_may_be_five_minutes_old_and_no_more_than_that_ahead(
    age_s: float, verdict: bool
) -> None:
    assert is_genuine(BODY, GOOD, [SECRET], NOW_S + age_s) is verdict


@pytest.mark.parametrize(
    "header",
    [
        "", STAMP, SIGNATURE, f"{STAMP},v0{SIGNATURE[2:]}", f"{STAMP}, {SIGNATURE}",
        f"{STAMP},{SIGNATURE.upper()}", f"{STAMP};{SIGNATURE}", f"t,{GOOD}", f"v1,{GOOD}",
        f"t=soon,{SIGNATURE}", f"t=1,{GOOD}", f"{STAMP},v1=\udcff,{SIGNATURE}",
    ],
)  # fmt: skip
def test_a_header_that_lacks_a_part_or_holds_a_broken_one_is_refused(header: str) -> None:
    assert not is_genuine(BODY, header, [SECRET], NOW_S)


@pytest.mark.parametrize("secret", ["", " ", "\n"])
def test_an_empty_secret_signs_nothing(secret: str) -> None:
    assert not is_genuine(BODY, signed(BODY, secret, second=NOW_S), [secret], NOW_S)


@pytest.mark.parametrize("kind", REFUND_TYPES)
def test_an_event_about_a_refund_names_it_and_its_charge(kind: str) -> None:
    reported = notice_in(an_event("re_7", kind), NOW)
    assert reported == Notice(None, False, Hint("refund", "re_7", NOW, "ch_1"), "evt_re_7")


def test_a_charge_that_was_refunded_is_what_its_event_is_about() -> None:
    for body in (an_event("ch_7", "charge.refunded"), a_notification("ch_7", "v1.charge.refunded")):
        reported = notice_in(body, NOW)
        assert reported
        assert reported.hint == Hint("charge", "ch_7", NOW)


@pytest.mark.parametrize("kind", [f"v1.{kind}" for kind in REFUND_TYPES])
def test_a_notification_is_read_as_the_library_reads_it(kind: str) -> None:
    body = a_notification("re_7", kind, context="acct_1Connected")
    library = stripe.StripeClient("rk_test_1")
    note: Any = stripe.v2.core.EventNotification.from_json(body, library)
    reported = notice_in(body, NOW)
    assert type(note).__name__.startswith("V1")
    assert reported == Notice(
        str(note.context), note.livemode, Hint("refund", note.related_object.id, NOW), note.id
    )


@pytest.mark.parametrize(
    ("body", "account_id"),
    [
        (an_event(), None),
        (an_event(account=None), None),
        (an_event(account="acct_1Connected"), "acct_1Connected"),
        (an_event(context="acct_1Own"), "acct_1Own"),
        (a_notification(), None),
        (a_notification(context=""), None),
        (a_notification(context="org_1/acct_1Connected"), "acct_1Connected"),
    ],
)
def test_an_event_says_which_account_it_is_about(body: bytes, account_id: str | None) -> None:
    reported = notice_in(body, NOW)
    assert reported
    assert reported.account_id == account_id


@pytest.mark.parametrize(
    "body",
    [
        an_event(kind="charge.succeeded"),
        an_event(kind="balance.available", data={"object": {"object": "balance"}}),
        an_event(kind="invoice.upcoming", data={"object": {"object": "invoice"}}),
        an_event(kind="refund.unheard_of"),
        a_notification(kind="v2.core.event_destination.ping"),
        a_notification(kind="v1.billing.meter.error_report_triggered", data={"reason": {}}),
    ],
)
def test_an_event_about_something_else_is_one_and_gives_no_hint(body: bytes) -> None:
    reported = notice_in(body, NOW)
    assert reported
    assert reported.hint is None


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"{}", b'"refund.created"', b"\xff", b'{"type": 1}',
        an_event(data=None), an_event(data={"object": {"object": "refund"}}), an_event(""),
        an_event("re_\0"), an_event(account="acct_\0"), an_event("r" * 501), a_notification(related_object=None),
    ],
)  # fmt: skip
def test_a_body_that_is_no_event_or_does_not_name_its_refund_is_not_understood(body: bytes) -> None:
    assert notice_in(body, NOW) is None


@dataclass
class Taker:
    """Keeps hints, or fails."""

    error: Exception | None = None
    is_ours: bool = True
    taken: list[tuple[str | None, Hint]] = field(default_factory=list)

    async def __call__(self, account_id: str | None, hint: Hint) -> bool:
        if self.error:
            raise self.error
        self.taken.append((account_id, hint))
        return self.is_ours

    def receiver(self, **options: Any) -> WebhookReceiver:
        return WebhookReceiver([SECRET], self, lambda: NOW, second=lambda: NOW_S, **options)


async def sent(receiver: Receiver, body: bytes, header: str | None = None) -> int:
    header = signed(body, second=NOW_S) if header is None else header
    return await receiver.receive(body, header)


async def test_a_delivery_is_answered_once_its_hint_is_taken_stamped_by_the_databases_clock() -> (
    None
):
    taker = Taker()
    receiver = taker.receiver()
    assert await sent(receiver, an_event(account="acct_1Connected")) == 200
    assert taker.taken == [("acct_1Connected", Hint("refund", "re_1", NOW, "ch_1"))]
    assert +receiver.outcomes == {"kept": 1}


@pytest.mark.parametrize("error", [RetryableError("away"), LeaseLostError("taken over")])
async def test_what_cannot_be_kept_now_is_to_be_sent_again(error: RefundSyncError) -> None:
    receiver = Taker(error).receiver()
    assert await sent(receiver, an_event()) == 503
    assert +receiver.outcomes == {"not kept": 1}


async def test_deliveries_are_counted_by_what_became_of_them_and_only_ours_are_taken() -> None:
    taker = Taker()
    receiver = taker.receiver(livemode=False)
    assert await sent(receiver, BODY, "") == 400
    assert await sent(receiver, BODY, f"{STAMP},v1=00") == 400
    assert await sent(receiver, b"{}") == 400
    assert await sent(receiver, an_event(kind="charge.succeeded")) == 200
    assert await sent(receiver, an_event(livemode=True)) == 200
    assert taker.taken == []
    taker.is_ours = False
    assert await sent(receiver, an_event(account="acct_1Stranger")) == 200
    assert +receiver.outcomes == {
        "refused": 2, "not understood": 1, "about something else": 1, "other mode": 1,
        "other account": 1,
    }  # fmt: skip
    assert set(receiver.outcomes) == set(OUTCOMES)


async def test_only_an_event_whose_hint_is_kept_counts_as_received() -> None:
    recent = RecentEvents()
    for taker in (Taker(RetryableError("away")), Taker(is_ours=False)):
        await sent(taker.receiver(recent=recent), an_event())
        assert recent.at("evt_re_1") is None
    await sent(Taker().receiver(recent=recent), an_event())
    assert recent.at("evt_re_1") == NOW


def test_the_oldest_events_received_are_forgotten_first() -> None:
    recent = RecentEvents()
    for n in range(RecentEvents.MOST + 2):
        recent.add(f"evt_{n}", NOW)
    at = [recent.at(f"evt_{n}") for n in (0, 1, 2, RecentEvents.MOST + 1)]
    assert at == [None, None, NOW, NOW]


@pytest.mark.parametrize("livemode", [True, False])
async def test_an_event_of_either_mode_is_taken_by_a_database_of_that_mode(livemode: bool) -> None:
    taker = Taker()
    assert await sent(taker.receiver(livemode=livemode), an_event(livemode=livemode)) == 200
    assert len(taker.taken) == 1


async def test_refusals_are_logged_once_in_a_while_and_nothing_that_was_sent_is() -> None:
    body = json.dumps({"type": "refund.created", "data": {"object": {"name": "Ada"}}}).encode()
    receiver = Taker().receiver()
    with capture_logs() as logs:
        for _ in range(3):
            assert await sent(receiver, body, "t=1,v1=forged") == 400
        assert await sent(receiver, body) == 400
    assert [entry["event"] for entry in logs] == ["webhook.refused", "webhook.not_understood"]
    for reported in ("Ada", "forged", SECRET):
        assert reported not in str(logs)

"""Webhooks: whether one is Stripe's, what it reports, and what it is answered."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import structlog
from msgspec import Struct

from service.adapters.stripe.objects.event import THIN, TYPES, RecentEvents, event_in, hint_of
from service.domain.errors import RefundSyncError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from service.domain.refund import Hint

log = structlog.get_logger(__name__)

TOLERANCE_S = 300
"""How far a stamp may be from now. A replay is harmless, a stamp of tomorrow would be one for a day."""

OUTCOMES = (
    "kept", "not kept", "refused", "not understood", "about something else", "other mode",
    "other account",
)  # fmt: skip

TOLD_AGAIN_S = 60.0
"""Refusals are counted one by one, and logged no more often than this: anybody can cause them."""


def is_genuine(body: bytes, header: str, secrets: Sequence[str], now_s: float) -> bool:
    """Whether one of *secrets* signed *body* about now.

    As Stripe's own library decides, but that it would take a stamp of any time to come.
    """
    signed = _signed_in(header)
    if signed is None or not _is_text(body):
        return False
    second, signatures = signed
    if not now_s - TOLERANCE_S <= second <= now_s + TOLERANCE_S:
        return False
    payload = str(second).encode() + b"." + body
    return any(_is_signed(payload, signatures, secret) for secret in secrets)


def _signed_in(header: str) -> tuple[int, list[str]] | None:
    """The second of the first ``t=``, and what each ``v1=`` holds up to a second equals sign."""
    found: dict[str, list[str]] = {"t": [], "v1": []}
    for item in header.split(","):
        name, *values = item.split("=")
        if name in found:
            if not values:
                return None
            found[name].append(values[0])
    try:
        return int(found["t"][0]), found["v1"]
    except (IndexError, ValueError):
        return None


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_signed(payload: bytes, signatures: Sequence[str], secret: str) -> bool:
    """A signature that is not ASCII cannot be compared: nothing after it is looked at."""
    if not secret.strip(" \t\r\n\f\v"):
        return False
    try:
        expected = hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()
        return any(hmac.compare_digest(expected, given) for given in signatures)
    except (TypeError, UnicodeEncodeError):
        return False


class Notice(NamedTuple):
    """What a webhook reports: for which account (None is our own), in which mode if it says so.

    *hint* is None where it is about something that we do not keep.
    """

    account_id: str | None
    livemode: bool | None
    hint: Hint | None
    event_id: str = ""


class _Envelope(Struct, frozen=True):
    """What every event has, of any type: a balance has no id, an upcoming invoice neither."""

    type: str
    livemode: bool | None = None


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def notice_in(body: bytes, at: datetime) -> Notice | None:
    """What *body* reports, received *at*. None where it is no event, or one of ours without its object."""
    try:
        envelope = _decode_envelope(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if envelope.type.removeprefix(THIN) not in TYPES:
        return Notice(None, envelope.livemode, None)
    event = event_in(body)
    hint = hint_of(event, at) if event else None
    # Postgres keeps no NUL, and one bad hint would fail all that are committed with it.
    if event is None or hint is None or "\0" in hint.object_id + (event.about or ""):
        return None
    # A context is a path that ends with the account: org_…/acct_….
    about = (event.about or "").rpartition("/")[2]
    return Notice(about or None, envelope.livemode, hint, event.id)


class WebhookReceiver:
    """Implements ``web.Receiver``: answers 2xx once *take* has kept the hint, and not before.

    *take* says whether this database holds the account; *now* is the database's clock, *second* that
    which stamps are compared with. *livemode* is the mode of this database: the endpoint of a live
    platform is sent the test events of its accounts too. *recent* is given the events that were kept.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        take: Callable[[str | None, Hint], Awaitable[bool]],
        now: Callable[[], datetime],
        *,
        livemode: bool | None = None,
        second: Callable[[], float] = time.time,
        recent: RecentEvents | None = None,
    ) -> None:
        self._secrets = tuple(secrets)
        self._take = take
        self._now = now
        self._livemode = livemode
        self._second = second
        self._recent = RecentEvents() if recent is None else recent
        self._reported_at = float("-inf")
        self.outcomes: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        """Deliveries by what became of them, since the start; what did not come about is there as 0."""

    async def receive(self, body: bytes, signature: str) -> int:
        """The status to answer with: 200, 400, or 503 where it is to be sent again."""
        status, outcome = await self._received(body, signature)
        self.outcomes[outcome] += 1
        return status

    async def _received(self, body: bytes, signature: str) -> tuple[int, str]:
        if not is_genuine(body, signature, self._secrets, self._second()):
            self._report("webhook.refused", signed=bool(signature))
            return 400, "refused"
        notice = notice_in(body, self._now())
        if notice is None:
            log.warning("webhook.not_understood", size=len(body))
            return 400, "not understood"
        if notice.hint is None:
            return 200, "about something else"
        if None not in (notice.livemode, self._livemode) and notice.livemode != self._livemode:
            return 200, "other mode"
        try:
            is_ours = await self._take(notice.account_id, notice.hint)
        except RefundSyncError:
            return 503, "not kept"
        if is_ours:
            self._recent.add(notice.event_id, notice.hint.at)
        return 200, "kept" if is_ours else "other account"

    def _report(self, event: str, **keys: object) -> None:
        if time.monotonic() - self._reported_at >= TOLD_AGAIN_S:
            self._reported_at = time.monotonic()
            log.warning(event, **keys)

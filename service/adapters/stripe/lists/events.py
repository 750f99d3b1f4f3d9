"""Events as the jobs read them: a page of the list, each with the hint that it gives."""

from __future__ import annotations

from datetime import UTC, datetime
from math import floor
from typing import TYPE_CHECKING

import structlog

from service.adapters.stripe.client import LARGEST_PAGE
from service.adapters.stripe.objects.decode import FAILURES
from service.adapters.stripe.objects.event import TYPES, RecentEvents, decode_key, event_in, hint_of
from service.domain.batch import Reading
from service.domain.coverage.walk import Key, Page

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import msgspec

    from service.adapters.stripe.client import StripeClient
    from service.adapters.stripe.http.answers import Answer
    from service.adapters.stripe.objects.shapes import Listing
    from service.domain.coverage.walk import Ask
    from service.domain.refund import Hint

KEPT_S = 30 * 86_400
"""Stripe lists events of so long back, and no older."""
MARGIN_S = 3_600
SLACK_S = 2.0
"""A read that begins so long after an event sees the change: seconds are whole, and copies lag."""

log = structlog.get_logger()


class StripeEvents:
    """Implements ``ports.lists.ListSource`` for the events about refunds.

    What is *recent* is nothing new. It is reported once more where the read that followed may have come
    too early: a webhook is followed within milliseconds, and the copy that is read may lag.
    """

    def __init__(
        self, client: StripeClient, *, settle_lag_s: int, recent: RecentEvents | None = None
    ) -> None:
        self._client = client
        self._lag_s = settle_lag_s
        self._recent = RecentEvents() if recent is None else recent

    def free_in_s(self) -> float:
        return self._client.free_in_s("GET /v1/events")

    async def read(self, ask: Ask) -> Reading:
        bounds = {"gte": ask.lower, "lt": ask.upper}
        created = {name: second for name, second in bounds.items() if second is not None}
        answer = await self._client.events(
            types=TYPES, created=created or None, starting_after=ask.after, limit=LARGEST_PAGE
        )
        found = [(raw, key) for raw in answer.value.data if (key := _key_of(raw))]
        page = Page(
            [key for _, key in found],
            answer.value.has_more,
            answer.settle_bound(self._lag_s),
            floor(answer.date - KEPT_S + MARGIN_S),
        )
        return Reading(
            page,
            answer.observed_at,
            requests=answer.attempts,
            hints=list(self._hints_of(answer, found)),
        )

    def _hints_of(
        self, answer: Answer[Listing], found: Sequence[tuple[msgspec.Raw, Key]]
    ) -> Iterator[Hint]:
        """Stripe's seconds are taken to the database's clock by what the answer says of both."""
        asked_s = answer.observed_at.timestamp()
        ahead_s = asked_s - answer.date
        for raw, key in found:
            # No later than this: an odd second may lie beyond all calendars.
            at_s = min(key.created + ahead_s + SLACK_S, asked_s + SLACK_S)
            at = datetime.fromtimestamp(max(at_s, 0.0), UTC)
            received_at = self._recent.at(key.id)
            # One so young is listed again by the next poll.
            if received_at and (received_at >= at or at > answer.observed_at):
                continue
            event = event_in(raw)
            if event is None:
                log.warning("event.unreadable", event_id=key.id)
                continue
            if hint := hint_of(event, min(at, answer.observed_at)):
                yield hint._replace(recent=received_at is not None)


def _key_of(raw: msgspec.Raw) -> Key | None:
    """None for an event that says neither which it is nor when: it costs the others nothing."""
    try:
        key = decode_key(raw)
    except FAILURES as error:
        log.warning("event.unreadable", error=str(error))
        return None
    return Key(key.created, key.id)

"""Refunds as the jobs read them: a page of the list, hydrated in whichever way Stripe allows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import structlog

from service.adapters.stripe.client import LARGEST_PAGE
from service.adapters.stripe.http.errors import StripeGivenUpError
from service.adapters.stripe.lists.hydrate import Hydrator
from service.adapters.stripe.lists.pages import (
    Query,
    Recalled,
    odd_of,
    reach_of,
    reading_of,
    undecodable_of,
)
from service.adapters.stripe.objects.decode import FAILURES
from service.domain.batch import Reading
from service.domain.coverage.walk import Key, Page
from service.domain.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.adapters.stripe.client import StripeClient
    from service.adapters.stripe.http.answers import Answer
    from service.adapters.stripe.objects.decode import Decoder
    from service.adapters.stripe.objects.shapes import AnyObject, Listing
    from service.domain.coverage.walk import Ask
    from service.ports.warehouse import ReceivedDigests

Hydrate = Literal["expand", "retrieve", "parts"]

LADDER = (LARGEST_PAGE, 50, 25)
"""Sizes of expanded pages, each tried where Stripe cannot bear the one before it; then plain pages."""
TRIES = 4
"""So often an expanded page is asked for before a smaller one is; a timeout counts twice."""
MOST_PAGES = 100
"""No charge has more refunds than fit in this many pages."""

MOST_UNASKED = 15
"""In history that is new, the warehouse is asked about one page in this many and one."""

log = structlog.get_logger()


class StripeRefunds:
    """Implements ``ports.lists.RefundSource``; every way of hydrating gives the same observations.

    What Stripe could not bear, or the key may not see, is remembered for the life of this object. A
    page size is given up only when it fails again after a smaller one succeeded: an outage is no
    reason to read slower ever after.
    """

    def __init__(
        self,
        client: StripeClient,
        decoder: Decoder,
        *,
        hydrate: Hydrate = "expand",
        settle_lag_s: int = 600,
        memory: ReceivedDigests | None = None,
    ) -> None:
        self._client = client
        self._decoder = decoder
        self._hydrate = hydrate
        self._lag_s = settle_lag_s
        self._hydrator = Hydrator(client, decoder)
        self._memory = memory
        self._misses = 0
        self._unasked = 0
        self._rung = 0
        self._suspect = False

    async def read(self, ask: Ask) -> Reading:
        return await self._page(Query(ask.lower, ask.upper, ask.after))

    def free_in_s(self) -> float:
        return self._client.free_in_s("GET /v1/refunds")

    async def fetch(self, object_id: str, *, tries: int | None = None) -> Sequence[Reading]:
        if object_id.startswith(("ch_", "py_")):
            return await self._pages(Query(charge=object_id), tries)
        if object_id.startswith("pi_"):
            return await self._pages(Query(payment_intent=object_id), tries)
        return [await self._one(object_id, tries)]

    async def _page(self, query: Query, most: int | None = None) -> Reading:
        if self._hydrate == "expand":
            return await self._expanded(query, most)
        plain = await self._plain(query, most)
        if self._hydrate == "parts":
            return await self._hydrator.with_parts(plain)
        return await self._hydrator.with_retrieves(plain)

    async def _expanded(self, query: Query, most: int | None) -> Reading:
        first, suspect = self._rung, self._suspect
        for rung in range(first, len(LADDER)):
            tries = 1 if suspect and rung == first else min(TRIES, most or TRIES)
            try:
                answer = await self._listed(query, LADDER[rung], tries)
            except StripeGivenUpError as error:
                if not error.overburdened:
                    raise
            else:
                self._learn(first, rung, suspect=suspect)
                recalled = None if query.by_payment else await self._recalled(answer)
                return reading_of(answer, query, self._decoder, self._lag_s, recalled)
        plain = await self._plain(query, most)
        self._learn(first, len(LADDER), suspect=suspect)
        return await self._hydrator.with_retrieves(plain)

    async def _recalled(self, answer: Answer[Listing]) -> Recalled | None:
        """What the warehouse knows of the page. Where it knew nothing, fewer of the next are asked about."""
        if self._memory is None:
            return None
        received = [self._decoder.received(raw) for raw in answer.value.data]
        if self._unasked < self._misses:
            self._unasked += 1
            return Recalled(received, [None] * len(received))
        same: Mapping[bytes, Key] = {}
        if reach := reach_of(answer):
            same = await self._memory.same(received, *reach, answer.observed_at)
        self._unasked = 0
        self._misses = 0 if same else min(self._misses * 2 + 1, MOST_UNASKED)
        return Recalled(received, [same.get(digest) for digest in received])

    def _learn(self, first: int, rung: int, *, suspect: bool) -> None:
        """What a read that began on one rung and succeeded on another says about the first."""
        if first != self._rung:
            return
        if rung == first:
            self._suspect = self._suspect and not suspect
        elif not suspect:
            self._suspect = True
        else:
            self._rung, self._suspect = rung, False
            limit = LADDER[rung] if rung < len(LADDER) else None
            log.warning("stripe.page_reduced", limit=limit, expanded=limit is not None)

    async def _listed(self, query: Query, limit: int, tries: int) -> Answer[Listing]:
        """One expanded page, without what the key may not see."""
        return await self._hydrator.permitted(
            lambda expand: self._list(query, limit, expand, tries)
        )

    async def _plain(self, query: Query, tries: int | None) -> Reading:
        answer = await self._list(query, LARGEST_PAGE, tries=tries)
        return reading_of(answer, query, self._decoder, self._lag_s)

    async def _list(
        self, query: Query, limit: int, expand: Sequence[str] = (), tries: int | None = None
    ) -> Answer[Listing]:
        return await self._client.refunds(
            charge=query.charge,
            payment_intent=query.payment_intent,
            created=query.created,
            starting_after=query.after,
            limit=limit,
            expand=[f"data.{member}" for member in expand],
            tries=tries,
        )

    async def _pages(self, query: Query, tries: int | None) -> list[Reading]:
        """All refunds of a charge or payment intent, by Stripe's own cursor."""
        readings: list[Reading] = []
        seen: set[str] = set()
        while len(readings) < MOST_PAGES:
            reading = await self._page(query, tries)
            readings.append(reading)
            if not reading.page.has_more:
                return readings
            ids = [key.id for key in reading.page.keys]
            if not ids or not seen.isdisjoint(ids):
                raise ProtocolError("a page does not go on from the one before it")
            seen.update(ids)
            query = replace(query, after=ids[-1])
        raise ProtocolError(f"more than {MOST_PAGES} pages of refunds of one payment")

    async def cancel(self, refund_id: str, *, idempotency_key: str) -> Reading:
        """The refund as Stripe answers that it is cancelled. Raises RefusedError, NotFoundError."""
        return self._alone(await self._client.cancel(refund_id, idempotency_key=idempotency_key))

    async def _one(self, refund_id: str, tries: int | None) -> Reading:
        return self._alone(await self._hydrator.retrieve(refund_id, tries))

    def _alone(self, answer: Answer[AnyObject]) -> Reading:
        at = answer.observed_at
        second = int(at.timestamp())
        bound = answer.settle_bound(self._lag_s)
        try:
            seen = self._decoder.observe(answer.body, observed_at=at)
        except FAILURES as error:
            odd = undecodable_of([odd_of(answer.body, error)], 0, second, self._decoder)
            return Reading(
                Page([], has_more=False, settle_bound=bound), at, [], odd, answer.attempts
            )
        page = Page([Key(seen.refund.created, seen.refund.id)], has_more=False, settle_bound=bound)
        return Reading(page, at, [seen], [], answer.attempts)

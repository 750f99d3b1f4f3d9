"""From one answer of the list to a reading: what stands where, and what could not be decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.adapters.stripe.objects.decode import FAILURES, id_and_created
from service.domain.batch import Reading
from service.domain.coverage.walk import Key, Page
from service.domain.refund import Observation, Undecodable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from msgspec import Raw

    from service.adapters.stripe.http.answers import Answer
    from service.adapters.stripe.objects.decode import Decoder
    from service.adapters.stripe.objects.shapes import Listing

TIME_BEGINS = 0


@dataclass(frozen=True, slots=True)
class Query:
    """One read of the list: a span of created time, or the refunds of a charge or payment intent."""

    lower: int | None = None
    upper: int | None = None
    after: str | None = None
    charge: str | None = None
    payment_intent: str | None = None

    @property
    def by_payment(self) -> bool:
        """Whether these refunds were asked for by name: then each is decoded, known or not."""
        return self.charge is not None or self.payment_intent is not None

    @property
    def created(self) -> dict[str, int] | None:
        bounds = {"gte": self.lower, "lt": self.upper}
        return {name: second for name, second in bounds.items() if second is not None} or None


@dataclass(frozen=True, slots=True)
class Odd:
    """An object that is no refund we know how to read."""

    body: bytes | Raw
    id: str | None
    created: int | None
    error: str


Item = Observation | Odd | Key
"""A refund; something that is none; or one that is stored just so and was not decoded."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """Of each object of a page: the digest of what was received, and its key if it is stored just so."""

    received: Sequence[bytes | None]
    same: Sequence[Key | None]


def reach_of(answer: Answer[Listing]) -> tuple[int, int] | None:
    """The seconds of the oldest and the newest object of a page; None where either does not say."""
    data = answer.value.data
    if not data:
        return None
    (_, oldest), (_, newest) = id_and_created(data[-1]), id_and_created(data[0])
    return None if oldest is None or newest is None else (oldest, newest)


def reading_of(
    answer: Answer[Listing],
    query: Query,
    decoder: Decoder,
    lag_s: int,
    recalled: Recalled | None = None,
) -> Reading:
    """The page as listed, hydrated as far as the answer goes; what is *recalled* is not decoded again.

    Objects at the end of a page that goes on, of which no second is known, are left to the next read,
    which lists them again: then their neighbours say more.
    """
    at = answer.observed_at
    nothing = [None] * len(answer.value.data)
    received, same = (recalled.received, recalled.same) if recalled else (nothing, nothing)
    found = [
        key or _found(raw, decoder, at, digest)
        for raw, digest, key in zip(answer.value.data, received, same, strict=True)
    ]
    keys = [key for key in map(_key_of, found) if key]
    if answer.value.has_more and keys:
        while isinstance(last := found[-1], Odd) and last.created is None:
            found.pop()
    latest = int(at.timestamp()) if query.upper is None else query.upper - 1
    return Reading(
        page=Page(keys, answer.value.has_more, answer.settle_bound(lag_s)),
        observed_at=at,
        observations=[item for item in found if isinstance(item, Observation)],
        undecodable=undecodable_of(found, query.lower or TIME_BEGINS, latest, decoder),
        requests=answer.attempts,
        same=sum(isinstance(item, Key) for item in found),
    )


def undecodable_of(
    found: Sequence[Item], earliest: int, latest: int, decoder: Decoder
) -> list[Undecodable]:
    """The odd ones of a page, newest first, each placed between its neighbours."""
    result = []
    for index, item in enumerate(found):
        if isinstance(item, Odd):
            newer = next(filter(None, map(_second_of, reversed(found[:index]))), latest)
            older = next(filter(None, map(_second_of, found[index + 1 :])), earliest)
            start, end = (older, newer) if item.created is None else (item.created, item.created)
            payload = decoder.payload(item.body)
            result.append(Undecodable(item.id, min(start, end), end, payload, item.error))
    return result


def odd_of(body: bytes | Raw, error: Exception) -> Odd:
    return Odd(body, *id_and_created(body), str(error))


def _found(raw: Raw, decoder: Decoder, at: datetime, received: bytes | None) -> Observation | Odd:
    try:
        return decoder.observe(raw, observed_at=at, listed_at=at, received=received)
    except FAILURES as error:
        return odd_of(raw, error)


def _key_of(item: Item) -> Key | None:
    if isinstance(item, Key):
        return item
    if isinstance(item, Observation):
        return Key(item.refund.created, item.refund.id)
    if item.id is None or item.created is None:
        return None
    return Key(item.created, item.id, kept=False)


def _second_of(item: Item) -> int | None:
    return item.refund.created if isinstance(item, Observation) else item.created

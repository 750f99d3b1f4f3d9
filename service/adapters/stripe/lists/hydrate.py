"""Hydrates refunds that a plain list named: each by its id, or by the ids of what they point to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from service.adapters.stripe.http.errors import StripeAccessError
from service.adapters.stripe.objects.decode import FAILURES, decode_charge, decode_line, is_hydrated
from service.domain.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from service.adapters.stripe.client import StripeClient
    from service.adapters.stripe.http.answers import Answer
    from service.adapters.stripe.objects.decode import Decoder
    from service.adapters.stripe.objects.shapes import AnyObject
    from service.domain.batch import Reading
    from service.domain.refund import BalanceTransaction, Charge, Observation

T = TypeVar("T")

MEMBERS = ("charge", "balance_transaction", "failure_balance_transaction")
"""What hydrating learns of a refund."""

log = structlog.get_logger()


def without(expand: tuple[str, ...], permission: str | None) -> tuple[str, ...]:
    """What is left to expand where the key lacks *permission*; the same where that explains nothing."""
    if permission is None:
        return expand
    word = "balance" if "balance" in permission else "charge"
    return tuple(member for member in expand if word not in permission or word not in member)


@dataclass(frozen=True, slots=True)
class _Part(Generic[T]):
    value: T | None
    attempts: int


class Hydrator:
    """Requests run side by side; how many, the client's limits say.

    *expand* is what the key may see, as far as is known.
    """

    def __init__(self, client: StripeClient, decoder: Decoder) -> None:
        self._client = client
        self._decoder = decoder
        self.expand: tuple[str, ...] = MEMBERS

    def drop(self, permission: str | None) -> None:
        """Leaves out from now on what needs *permission*."""
        fewer = without(self.expand, permission)
        if fewer != self.expand:
            left_out = [member for member in self.expand if member not in fewer]
            self.expand = fewer
            log.warning("stripe.expansion_dropped", permission=permission, members=left_out)

    async def permitted(self, read: Callable[[tuple[str, ...]], Awaitable[T]]) -> T:
        """The outcome of *read* with all the expansions that the key may see."""
        expand, lacking = self.expand, list[str | None]()
        while True:
            try:
                result = await read(expand)
            except StripeAccessError as error:
                fewer = without(expand, error.permission)
                if fewer == expand:
                    raise
                expand = fewer
                lacking.append(error.permission)
            else:
                for permission in lacking:
                    self.drop(permission)
                return result

    async def retrieve(self, refund_id: str, tries: int | None = None) -> Answer[AnyObject]:
        return await self.permitted(
            lambda expand: self._client.refund(refund_id, expand=expand, tries=tries)
        )

    async def with_retrieves(self, plain: Reading) -> Reading:
        """The same page, each refund read again by its id; one that is gone stays as it was listed."""
        read = await all_of(self._retrieved(seen) for seen in plain.observations)
        requests = plain.requests + sum(attempts for _, attempts in read)
        return replace(plain, observations=[seen for seen, _ in read], requests=requests)

    async def _retrieved(self, listed: Observation) -> tuple[Observation, int]:
        try:
            answer = await self.retrieve(listed.refund.id)
        except NotFoundError:
            listed.hydrated = False
            return listed, 1
        try:
            seen = self._decoder.observe(
                answer.body, observed_at=answer.observed_at, listed_at=listed.listed_at
            )
        except FAILURES:
            listed.hydrated = False
            return listed, answer.attempts
        return seen, answer.attempts

    async def with_parts(self, plain: Reading) -> Reading:
        """The same page with the charges, each once, and the ledger lines that it points to."""
        seen = plain.observations
        charge_ids = sorted({o.link.charge_id for o in seen if o.link.charge_id})
        pairs = sorted({pair for o in seen for pair in _lines_of(o)})
        charges = dict(zip(charge_ids, await all_of(map(self._charge, charge_ids)), strict=True))
        lines = dict(zip(pairs, await all_of(map(self._line, pairs)), strict=True))
        for o in seen:
            o.charge = charges[o.link.charge_id].value if o.link.charge_id else None
            o.ledger = tuple(line for pair in _lines_of(o) if (line := lines[pair].value))
            o.hydrated = is_hydrated(o.link, o.charge, o.ledger)
        attempts = sum(c.attempts for c in charges.values()) + sum(
            n.attempts for n in lines.values()
        )
        return replace(plain, requests=plain.requests + attempts)

    async def _charge(self, charge_id: str) -> _Part[tuple[Charge, bytes]]:
        if "charge" not in self.expand:
            return _Part(None, 0)
        return await self._part(self._client.charge(charge_id), decode_charge)

    async def _line(self, pair: tuple[str, str]) -> _Part[tuple[BalanceTransaction, bytes]]:
        line_id, refund_id = pair
        if "balance_transaction" not in self.expand:
            return _Part(None, 0)
        return await self._part(
            self._client.balance_transaction(line_id), partial(decode_line, refund_id=refund_id)
        )

    async def _part(
        self, request: Awaitable[Answer[AnyObject]], decode: Callable[[bytes], T]
    ) -> _Part[T]:
        """What one request gives; nothing where it is gone, odd, or not for this key."""
        try:
            answer = await request
        except NotFoundError:
            return _Part(None, 1)
        except StripeAccessError as error:
            if without(MEMBERS, error.permission) == MEMBERS:
                raise
            self.drop(error.permission)
            return _Part(None, 1)
        try:
            return _Part(decode(answer.body), answer.attempts)
        except FAILURES:
            return _Part(None, answer.attempts)


async def all_of(requests: Iterable[Awaitable[T]]) -> list[T]:
    """All results, in order; the first failure ends the others and is raised as it is."""
    tasks = [asyncio.ensure_future(request) for request in requests]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _lines_of(seen: Observation) -> list[tuple[str, str]]:
    """The ledger lines that a refund points to, each with the refund's id."""
    link = seen.link
    ids = (link.balance_transaction_id, link.failure_balance_transaction_id)
    return [(line_id, seen.refund.id) for line_id in ids if line_id]

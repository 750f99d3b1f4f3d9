"""Stripe's refunds API, whole, and the few reads next to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from service.adapters.stripe.http.transport import Transport
from service.adapters.stripe.objects.shapes import AnyObject, Listing, OnlyId
from service.domain.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from service.adapters.stripe.http.answers import Answer

LARGEST_PAGE = 100

_as_listing = msgspec.json.Decoder(Listing).decode
_as_object = msgspec.json.Decoder(AnyObject).decode
_as_id = msgspec.json.Decoder(OnlyId).decode


class StripeClient(Transport):
    """Methods are named for what Stripe calls it; answers are decoded no further than they must be."""

    async def account(self) -> Answer[OnlyId]:
        """The account that the key belongs to."""
        return await self.send("GET /v1/account", _as_id)

    async def refund(
        self, refund_id: str, *, expand: Sequence[str] = (), tries: int | None = None
    ) -> Answer[AnyObject]:
        return await self.send(
            "GET /v1/refunds/:id",
            _as_object,
            object_id=refund_id,
            params=_params(expand=expand),
            tries=tries,
        )

    async def refunds(
        self,
        *,
        charge: str | None = None,
        payment_intent: str | None = None,
        created: int | Mapping[str, int] | None = None,
        starting_after: str | None = None,
        ending_before: str | None = None,
        limit: int | None = None,
        expand: Sequence[str] = (),
        tries: int | None = None,
    ) -> Answer[Listing]:
        """One page, newest first whichever cursor is used."""
        params = _params(
            charge=charge,
            payment_intent=payment_intent,
            created=created,
            starting_after=starting_after,
            ending_before=ending_before,
            limit=limit,
            expand=expand,
        )
        return await self.send("GET /v1/refunds", _as_listing, params=params, tries=tries)

    async def iter_refunds(
        self,
        *,
        charge: str | None = None,
        payment_intent: str | None = None,
        created: int | Mapping[str, int] | None = None,
        starting_after: str | None = None,
        ending_before: str | None = None,
        limit: int = LARGEST_PAGE,
        expand: Sequence[str] = (),
    ) -> AsyncIterator[dict[str, Any]]:
        """Newest to oldest; with *ending_before* oldest to newest, ending at the newest.

        Raises ProtocolError where a page does not go on from the one before it.
        """
        if starting_after and ending_before:
            raise ValueError("one cursor at a time: starting_after or ending_before")
        backwards = ending_before is not None
        cursor = ending_before or starting_after
        order = _Order(backwards, cursor)
        while True:
            answer = await self.refunds(
                charge=charge,
                payment_intent=payment_intent,
                created=created,
                starting_after=None if backwards else cursor,
                ending_before=cursor if backwards else None,
                limit=limit,
                expand=expand,
            )
            objects = [msgspec.json.decode(raw) for raw in answer.value.data]
            for found in reversed(objects) if backwards else objects:
                cursor = order.follow(found)
                yield found
            if not answer.value.has_more:
                return
            if not objects:
                raise ProtocolError("an empty page says that there is more")

    async def cancel(self, refund_id: str, *, idempotency_key: str) -> Answer[AnyObject]:
        """Cancels a refund that waits for its customer; the same key makes any repetition harmless."""
        return await self.send(
            "POST /v1/refunds/:id/cancel",
            _as_object,
            object_id=refund_id,
            headers={"Idempotency-Key": idempotency_key},
        )

    async def events(
        self,
        *,
        types: Sequence[str] = (),
        created: int | Mapping[str, int] | None = None,
        starting_after: str | None = None,
        ending_before: str | None = None,
        limit: int | None = None,
    ) -> Answer[Listing]:
        """One page of events, newest first, of the last 30 days."""
        params = _params(
            created=created,
            starting_after=starting_after,
            ending_before=ending_before,
            limit=limit,
        )
        params += [("types[]", kind) for kind in types]
        return await self.send("GET /v1/events", _as_listing, params=params)

    async def charge(self, charge_id: str) -> Answer[AnyObject]:
        return await self.send("GET /v1/charges/:id", _as_object, object_id=charge_id)

    async def balance_transaction(self, line_id: str) -> Answer[AnyObject]:
        return await self.send("GET /v1/balance_transactions/:id", _as_object, object_id=line_id)

    async def balance_transactions(
        self,
        *,
        kind: str | None = None,
        source: str | None = None,
        payout: str | None = None,
        currency: str | None = None,
        created: int | Mapping[str, int] | None = None,
        starting_after: str | None = None,
        ending_before: str | None = None,
        limit: int | None = None,
        expand: Sequence[str] = (),
    ) -> Answer[Listing]:
        """One page of ledger lines, newest first; *kind* is Stripe's ``type``."""
        params = _params(
            type=kind,
            source=source,
            payout=payout,
            currency=currency,
            created=created,
            starting_after=starting_after,
            ending_before=ending_before,
            limit=limit,
            expand=expand,
        )
        return await self.send("GET /v1/balance_transactions", _as_listing, params=params)


class _Order:
    """That each object of an iteration is new and not before the last one.

    Remembers the ids of one second only: an older second cannot come again.
    """

    def __init__(self, backwards: bool, cursor: str | None) -> None:
        self._sign = 1 if backwards else -1
        self._second: int | None = None
        self._ids = {cursor}

    def follow(self, found: dict[str, Any]) -> str:
        object_id, created = found.get("id"), found.get("created")
        if not isinstance(object_id, str) or not isinstance(created, int):
            raise ProtocolError("a listed object has no id or no created second to go on from")
        if self._second is not None and (created - self._second) * self._sign < 0:
            raise ProtocolError(f"a list goes back instead of on: {object_id}")
        if object_id in self._ids:
            raise ProtocolError(f"a list does not go on: {object_id} comes twice")
        if created != self._second:
            self._second, self._ids = created, set()
        self._ids.add(object_id)
        return object_id


def _params(
    *,
    created: int | Mapping[str, int] | None = None,
    limit: int | None = None,
    expand: Sequence[str] = (),
    **plain: str | None,
) -> list[tuple[str, str]]:
    params = [(name, value) for name, value in plain.items() if value is not None]
    if isinstance(created, Mapping):
        params += [(f"created[{bound}]", str(second)) for bound, second in created.items()]
    elif created is not None:
        params.append(("created", str(created)))
    if limit is not None:
        params.append(("limit", str(limit)))
    return params + [("expand[]", path) for path in expand]

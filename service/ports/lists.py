"""Lists at Stripe, as the jobs read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.domain.batch import Reading
    from service.domain.coverage.walk import Ask


class ListSource(Protocol):
    """A list of one account, newest first. Reads are retried and limited inside."""

    async def read(self, ask: Ask) -> Reading:
        """One page of the list. Raises StripeAwayError past the deadline, AccessError, ProtocolError."""
        ...

    def free_in_s(self) -> float:
        """At least so long a read that is asked for now waits for the limits; ``inf``: until another ends."""
        ...


class RefundSource(ListSource, Protocol):
    """Stripe's refunds of one account."""

    async def fetch(self, object_id: str, *, tries: int | None = None) -> Sequence[Reading]:
        """The refund of that id, or those of that charge or payment intent, read now.

        *tries* bounds the attempts of each request. Raises NotFoundError, RefusedError, StripeAwayError.
        """
        ...

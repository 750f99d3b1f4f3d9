"""What events report, and the times whose events were never read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from service.domain.coverage.span import Span
    from service.domain.refund import Hint


class GapStore(Protocol):
    """Times whose events expired at Stripe before they were read."""

    async def known(self) -> Sequence[Span]: ...

    async def add(self, span: Span, read_from: int, now: datetime) -> None:
        """From now on, refunds created from *read_from* to the end of *span* have a read outstanding."""
        ...

    async def outstanding_since(self) -> int | None:
        """The earliest second from which reads are still outstanding."""
        ...

    async def close(self, now: datetime) -> Sequence[Span]:
        """Closes, and returns, the gaps without an outstanding read."""
        ...


class Hinted(Protocol):
    """Where hints are kept, for every account of this database."""

    async def hint(self, hints: Mapping[str, Sequence[Hint]]) -> Mapping[str, int]:
        """Keeps the hints of each account, all of them or none.

        Returns how many were new, by account; one that this database does not hold is not
        among them.
        """
        ...

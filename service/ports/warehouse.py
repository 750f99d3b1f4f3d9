"""The warehouse of one account, as the jobs write it and compare with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from service.domain.batch import Batch, Compared, Written
    from service.domain.coverage.span import Span
    from service.domain.coverage.walk import Key


class ReceivedDigests(Protocol):
    """What the warehouse remembers of how refunds were received."""

    async def same(
        self, received: Sequence[bytes], earliest: int, latest: int, asked_at: datetime
    ) -> Mapping[bytes, Key]:
        """By these digests, refunds that were stored from the same bytes and that no pending recheck names.

        All were created in ``[earliest, latest]``. One that was first listed after *asked_at*, by another
        command, is not among them: that it was listed earlier is new.
        """
        ...


class RefundStore(Protocol):
    """The warehouse of one account."""

    async def covered(self, stream: str) -> list[Span]: ...

    async def settle(self, bound: int) -> None:
        """Records how far history can be proven by now."""
        ...

    async def write(self, batch: Batch) -> Written:
        """All of it in one transaction, or none. Raises DatabaseAwayError where it may work later."""
        ...


class ComparingStore(Protocol):
    """The warehouse as verify needs it."""

    async def compare(self, batch: Batch) -> Compared:
        """Writes no refund; revokes, in the same transaction, claims that the batch contradicts."""
        ...

    async def hinted_since(self, ids: Sequence[str], since: datetime) -> Sequence[str]:
        """Those that a hint names, or that were read again since."""
        ...

    async def miss(self, ids: Sequence[str], observed_at: datetime, now: datetime) -> None:
        """A listing that began then did not return these: each is due by itself."""
        ...

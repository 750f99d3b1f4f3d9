"""A refund as one read found it, in the shape the warehouse keeps. Ids and words are Stripe's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from decimal import Decimal


class Refund(NamedTuple):
    """Money in minor units, times in epoch seconds, JSON as text. The order is that of the table."""

    id: str
    created: int
    amount_minor: int
    currency: str
    status: str | None
    reason: str | None
    failure_reason: str | None
    pending_reason: str | None
    receipt_number: str | None
    description: str | None
    metadata: str | None
    presentment_amount_minor: int | None
    presentment_currency: str | None
    next_action_type: str | None
    next_action_expires: int | None
    customer_id: str | None
    payment_method_id: str | None


class ChargeLink(NamedTuple):
    """The ids that tie a refund to its charge, payment intent, ledger lines and transfer reversals."""

    charge_id: str | None
    payment_intent_id: str | None
    balance_transaction_id: str | None
    failure_balance_transaction_id: str | None
    transfer_reversal_id: str | None
    source_transfer_reversal_id: str | None


class Destination(NamedTuple):
    """Where the money went; *details* is the JSON of the hash that *type* names."""

    type: str
    reference: str | None
    reference_status: str | None
    reference_type: str | None
    card_type: str | None
    network_decline_code: str | None
    details: str


class Charge(NamedTuple):
    id: str
    amount_minor: int
    amount_captured_minor: int | None
    amount_refunded_minor: int | None
    currency: str
    created: int
    payment_method_type: str | None
    balance_transaction_id: str | None
    transfer_id: str | None
    application_fee_id: str | None
    on_behalf_of: str | None


class BalanceTransaction(NamedTuple):
    """A ledger line; *refund_id* is None where its source is no known refund."""

    id: str
    refund_id: str | None
    source: str | None
    type: str
    reporting_category: str
    amount_minor: int
    fee_minor: int
    net_minor: int
    currency: str
    exchange_rate: Decimal | None
    created: int
    available_on: int
    status: str


class Hint(NamedTuple):
    """Word that a refund may have changed, or that a charge may have a refund more.

    *kind* is refund or charge. A read that began after *at*, by the database's clock, knows of it.
    *charge_id* is the refund's, where the event names it. *recent* says that the same event was received before: it may
    ask for a read, and counts as nothing new.
    """

    kind: str
    object_id: str
    at: datetime
    charge_id: str | None = None
    recent: bool = False


def without_echoes(hints: Iterable[Hint]) -> list[Hint]:
    """One hint for each object, its latest; none for a charge of which a refund's own came with it."""
    latest: dict[tuple[str, str], Hint] = {}
    for hint in hints:
        key = (hint.kind, hint.object_id)
        if key not in latest or latest[key].at < hint.at:
            latest[key] = hint
    reported = {hint.charge_id for hint in latest.values() if hint.kind == "refund"}
    kept = (h for h in latest.values() if h.kind == "refund" or h.object_id not in reported)
    return sorted(kept, key=lambda hint: (hint.kind, hint.object_id))


@dataclass(slots=True)
class Observation:
    """One refund as one read found it.

    *content_hash* covers refund, link and destination, so every way of reading gives the same.
    *raw* renders the object as it would be without expansions, personal data masked; it is costly,
    and asked for only where something is written. *hydrated* says that charge and ledger hold all
    that the refund points to. *observed_at* is when the read that gave this began, by the database's
    clock; *listed_at* when the list that named it was asked for, None where no list did.
    """

    refund: Refund
    link: ChargeLink
    destination: Destination | None
    content_hash: bytes
    raw: Callable[[], str]
    charge: tuple[Charge, bytes] | None
    ledger: tuple[tuple[BalanceTransaction, bytes], ...]
    hydrated: bool
    observed_at: datetime
    listed_at: datetime | None
    received: bytes | None = None
    """Digest of all that a list sent of it; None where it was read otherwise."""


@dataclass(frozen=True, slots=True)
class Undecodable:
    """An object that does not have the shape of a refund, as received, personal data masked.

    Its created second lies in ``[earliest, latest]``: one second where it could be read, else what
    its neighbours on the page leave open.
    """

    object_id: str | None
    earliest: int
    latest: int
    payload: str
    error: str

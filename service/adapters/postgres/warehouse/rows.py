"""From what was observed to rows, and from two versions of a row to what changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from service.adapters.postgres.session.values import json_number, time_of
from service.domain.refund import BalanceTransaction, Charge, ChargeLink, Destination, Refund

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.domain.refund import Observation

REFUND_COLUMNS = (
    "account_id", "id", "created_at", "amount_minor", "currency", "status", "reason",
    "failure_reason", "pending_reason", "receipt_number", "description", "metadata",
    "presentment_amount_minor", "presentment_currency", "next_action_type",
    "next_action_expires_at", "customer_id", "payment_method_id", "raw", "content_hash", "version",
    "observed_at", "first_seen_at", "first_listed_at", "received_hash", "version_observed_at", "source",
)  # fmt: skip
CHARGE_LINK_COLUMNS = ("account_id", "refund_id", *ChargeLink._fields)
DESTINATION_COLUMNS = ("account_id", "refund_id", *Destination._fields)
CHARGE_COLUMNS = (
    "account_id", "id", "amount_minor", "amount_captured_minor", "amount_refunded_minor",
    "currency", "created_at", "payment_method_type", "balance_transaction_id", "transfer_id",
    "application_fee_id", "on_behalf_of", "content_hash", "observed_at",
)  # fmt: skip
BALANCE_TRANSACTION_COLUMNS = (
    "account_id", "id", "refund_id", "source", "type", "reporting_category", "amount_minor",
    "fee_minor", "net_minor", "currency", "exchange_rate", "created_at", "available_on", "status",
    "content_hash", "observed_at",
)  # fmt: skip

LINK_FIELDS = ChargeLink._fields
DESTINATION_FIELDS = ("destination_type", *Destination._fields[1:-1], "destination_details")
_FIELDS = (*Refund._fields[1:], *LINK_FIELDS, *DESTINATION_FIELDS)
_TIMES = {"created": "created_at", "next_action_expires": "next_action_expires_at"}
_JSON = {"metadata", "destination_details"}
_NO_DESTINATION = (None,) * len(Destination._fields)


def refund_values(refund: Refund) -> tuple[Any, ...]:
    """The refund's own columns, times as instants."""
    values: list[Any] = list(refund)
    values[1] = time_of(refund.created)
    if refund.next_action_expires is not None:
        values[14] = time_of(refund.next_action_expires)
    return tuple(values)


def new_refund(account_id: str, seen: Observation, version: int, source: str) -> tuple[Any, ...]:
    """A row of ``REFUND_COLUMNS``."""
    return (
        account_id,
        *refund_values(seen.refund),
        seen.raw(),
        seen.content_hash,
        version,
        seen.observed_at,
        min(seen.observed_at, seen.listed_at or seen.observed_at),
        seen.listed_at,
        seen.received,
        seen.observed_at,
        source,
    )


def changed_refund(seen: Observation, version: int, source: str, changes: str) -> tuple[Any, ...]:
    """What the query ``update_refunds`` takes of one refund; *changes* is JSON."""
    return (
        *refund_values(seen.refund),
        seen.raw(),
        seen.content_hash,
        version,
        seen.observed_at,
        seen.listed_at,
        seen.received,
        source,
        changes,
    )


def charge_values(charge: Charge) -> tuple[Any, ...]:
    return (*charge[:5], time_of(charge.created), *charge[6:])


def balance_transaction_values(line: BalanceTransaction) -> tuple[Any, ...]:
    return (*line[:10], time_of(line.created), time_of(line.available_on), line.status)


def changes_between(stored: Mapping[str, Any], seen: Observation) -> dict[str, list[Any]]:
    """``{field: [before, after]}`` of what differs; JSON is compared by value, not by spelling."""
    after = (*seen.refund[1:], *seen.link, *(seen.destination or _NO_DESTINATION))
    changes = {}
    for field, new in zip(_FIELDS, after, strict=True):
        old = stored[field]
        if old == new:
            continue
        if field in _JSON:
            old, new = _parsed(old), _parsed(new)  # noqa: PLW2901 - compared in another form
            if old == new:
                continue
        changes[_TIMES.get(field, field)] = [_reported(field, old), _reported(field, new)]
    return changes


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text, parse_float=json_number)


def _reported(field: str, value: Any) -> Any:
    return time_of(value).isoformat() if field in _TIMES and value is not None else value

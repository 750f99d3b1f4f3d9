"""What the warehouse must hold, worked out from Stripe's plain objects by code of the tests' own."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import asyncpg

    from service.adapters.postgres.session.connect import Connection

EMAIL = re.compile(r"[^\s\"@]+@[^\s\"@]+\.[a-z]+")

REFUNDS = """
SELECT r.*, l.charge_id, l.payment_intent_id, l.balance_transaction_id,
    l.failure_balance_transaction_id, l.transfer_reversal_id, l.source_transfer_reversal_id,
    d.type AS destination_type, d.reference, d.reference_status, d.reference_type, d.card_type,
    d.network_decline_code, d.details
FROM refund_sync.refund r
JOIN refund_sync.charge_link l USING (account_id)
LEFT JOIN refund_sync.destination_details d ON d.account_id = r.account_id AND d.refund_id = r.id
WHERE l.refund_id = r.id AND r.account_id = coalesce($1, r.account_id)
"""


def instant(second: int | None) -> datetime | None:
    return None if second is None else datetime.fromtimestamp(second, UTC)


def expected_refund(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Column to value of one refund, as finance is to see it."""
    destination = plain.get("destination_details") or {}
    kind = destination.get("type")
    hash_ = destination.get(kind) or {} if kind else {}
    presentment = plain.get("presentment_details") or {}
    action = plain.get("next_action") or {}
    return {
        "id": plain["id"],
        "created_at": instant(plain["created"]),
        "amount_minor": plain["amount"],
        "currency": plain["currency"],
        **{name: plain.get(name) for name in (
            "status", "reason", "failure_reason", "pending_reason", "receipt_number", "description",
        )},
        "metadata": plain.get("metadata"),
        "presentment_amount_minor": presentment.get("presentment_amount"),
        "presentment_currency": presentment.get("presentment_currency"),
        "next_action_type": action.get("type"),
        "next_action_expires_at": instant((action.get("display_details") or {}).get("expires_at")),
        "customer_id": plain.get("customer"),
        "payment_method_id": plain.get("payment_method"),
        "charge_id": plain.get("charge"),
        "payment_intent_id": plain.get("payment_intent"),
        "balance_transaction_id": plain.get("balance_transaction"),
        "failure_balance_transaction_id": plain.get("failure_balance_transaction"),
        "transfer_reversal_id": plain.get("transfer_reversal"),
        "source_transfer_reversal_id": plain.get("source_transfer_reversal"),
        "destination_type": kind,
        "reference": hash_.get("reference"),
        "reference_status": hash_.get("reference_status"),
        "reference_type": hash_.get("reference_type"),
        "card_type": hash_.get("type"),
        "network_decline_code": hash_.get("network_decline_code"),
        "details": hash_ if kind else None,
    }  # fmt: skip


def stored_refund(row: asyncpg.Record) -> dict[str, Any]:
    found = dict(row.items())
    for name in ("metadata", "details"):
        found[name] = json.loads(found[name]) if found[name] is not None else None
    return found


async def differences(
    connection: Connection,
    truth: Iterable[Mapping[str, Any]],
    *,
    account_id: str | None = None,
) -> list[str]:
    """Every way in which the refund tables differ from Stripe's truth; none twice, none too many."""
    found = await connection.fetch(REFUNDS, account_id)
    stored = {row["id"]: stored_refund(row) for row in found}
    reported: list[str] = []
    seen: set[str] = set()
    for plain in truth:
        seen.add(plain["id"])
        row = stored.get(plain["id"])
        if row is None:
            reported.append(f"{plain['id']} is missing")
            continue
        reported += [
            f"{plain['id']}.{name}: {row[name]!r} is not {value!r}"
            for name, value in expected_refund(plain).items()
            if row[name] != value and not _masked(value, row[name])
        ]
    return reported + [f"{object_id} is not Stripe's" for object_id in stored.keys() - seen]


def _masked(reported: Any, stored: Any) -> bool:
    """Text with personal data is stored masked; everything else must be equal."""
    return bool(EMAIL.search(json.dumps(reported))) and not EMAIL.search(json.dumps(stored))


async def broken_invariants(connection: Connection) -> list[str]:
    """Coverage against its claims, claims against the rows, versions against the current row."""
    from service.adapters.postgres.queries import query

    found = [
        *await connection.fetch(query("audit_coverage")),
        *await connection.fetch(query("audit_claims")),
        *await connection.fetch(VERSIONS_IN_ORDER),
    ]
    return [str(row) for row in found]


VERSIONS_IN_ORDER = """
SELECT r.id, r.version, count(v.version) AS versions, max(v.version) AS newest
FROM refund_sync.refund r
LEFT JOIN refund_sync.refund_version v ON v.account_id = r.account_id AND v.refund_id = r.id
GROUP BY r.account_id, r.id, r.version
HAVING count(v.version) <> r.version OR max(v.version) <> r.version
"""

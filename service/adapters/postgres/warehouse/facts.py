"""Writes what hydrating learns: charges and ledger lines, each once, by hash and time of reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from service.adapters.postgres.queries import query
from service.adapters.postgres.session.values import columns_of, copy
from service.adapters.postgres.warehouse import rows
from service.adapters.postgres.warehouse.order import known_at
from service.domain.refund import BalanceTransaction, Charge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from service.adapters.postgres.session.connect import Connection
    from service.domain.refund import Observation

F = TypeVar("F", Charge, BalanceTransaction)


async def write_charges(
    connection: Connection, account_id: str, seen: Sequence[Observation], now: datetime
) -> None:
    found = _latest(((*o.charge, o.observed_at) for o in seen if o.charge), now)
    new, newer = await _split(connection, account_id, "known_charges", found, now)
    if newer:
        values = [(*rows.charge_values(c), digest, at) for c, digest, at in newer]
        await connection.execute(query("update_charges"), account_id, *columns_of(values))
    added = [(account_id, *rows.charge_values(c), digest, at) for c, digest, at in new]
    await copy(connection, "charge", rows.CHARGE_COLUMNS, added)


async def write_ledger(
    connection: Connection, account_id: str, seen: Sequence[Observation], now: datetime
) -> None:
    found = _latest(((*line, o.observed_at) for o in seen for line in o.ledger), now)
    new, newer = await _split(connection, account_id, "known_balance_transactions", found, now)
    if newer:
        values = [(*rows.balance_transaction_values(b), digest, at) for b, digest, at in newer]
        await connection.execute(
            query("update_balance_transactions"), account_id, *columns_of(values)
        )
    added = [(account_id, *rows.balance_transaction_values(b), h, at) for b, h, at in new]
    await copy(connection, "balance_transaction", rows.BALANCE_TRANSACTION_COLUMNS, added)


def _latest(
    facts: Iterable[tuple[F, bytes, datetime]], now: datetime
) -> dict[str, tuple[F, bytes, datetime]]:
    found: dict[str, tuple[F, bytes, datetime]] = {}
    for fact in facts:
        known = found.setdefault(fact[0].id, fact)
        if known_at(known[2], now) < known_at(fact[2], now):
            found[fact[0].id] = fact
    return found


async def _split(
    connection: Connection,
    account_id: str,
    known: str,
    facts: dict[str, tuple[F, bytes, datetime]],
    now: datetime,
) -> tuple[list[tuple[F, bytes, datetime]], list[tuple[F, bytes, datetime]]]:
    """Those not stored yet, and those that a newer read found changed; both in the order of ids."""
    if not facts:
        return [], []
    ids = sorted(facts)
    stored = {r[0]: r for r in await connection.fetch(query(known), account_id, ids)}
    new = [facts[i] for i in ids if i not in stored]
    differing = [facts[i] for i in ids if i in stored and stored[i][1] != facts[i][1]]
    return new, [f for f in differing if stored[f[0].id][2] < known_at(f[2], now)]

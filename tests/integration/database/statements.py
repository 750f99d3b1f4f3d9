"""What each statement of a pass is asked, the tables that it is asked of, and what its plan looks at."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg

from service.adapters.postgres.warehouse.rows import REFUND_COLUMNS
from service.domain.coverage.span import DAY_S
from service.domain.recheck import STATES

if TYPE_CHECKING:
    from collections.abc import Iterator


LARGE, SMALL = "acct_1Large", "acct_1Small"
REFUNDS, OF_SMALL = 100_000, 10
START, APART_S = 1_700_000_000 // DAY_S * DAY_S, 100
ASKED = 100
NOW = datetime(2026, 6, 1, tzinfo=UTC)
LONG_AGO, LATER = NOW - timedelta(days=300), NOW + timedelta(days=300)
RUN = UUID(int=7)

TABLES = (
    "refund", "charge_link", "destination_details", "charge", "balance_transaction", "refund_superseded",
    "recheck", "quarantine", "coverage_claim", "run", "span_check", "read_count",
)  # fmt: skip
FILLED = """
CREATE TEMP TABLE made AS
SELECT account_id, n, 're_' || md5(account_id || n) AS id, to_timestamp({start} + n * {apart}) AS at FROM (
    SELECT 'acct_1Large' AS account_id, generate_series(1, {refunds}) AS n
    UNION ALL SELECT 'acct_1Small', generate_series(1, {small})
) AS numbers;

INSERT INTO refund_sync.refund (account_id, id, created_at, amount_minor, currency, status, raw, content_hash,
    version, observed_at, first_seen_at, first_listed_at, received_hash, hidden_at, version_observed_at, source)
SELECT account_id, id, at, 100, 'eur', 'succeeded', '{{}}', 'form', 2, {seen}, {seen}, {seen}, decode(md5(id), 'hex'),
    CASE WHEN n % 1000 = 0 THEN {seen} END, {seen}, 'list'
FROM made;

INSERT INTO refund_sync.charge_link (account_id, refund_id, charge_id)
SELECT account_id, id, 'ch_' || id FROM made;

INSERT INTO refund_sync.destination_details (account_id, refund_id, type, details)
SELECT account_id, id, 'card', '{{}}' FROM made;

INSERT INTO refund_sync.charge (account_id, id, amount_minor, currency, created_at, content_hash, observed_at)
SELECT account_id, 'ch_' || id, 1, 'eur', at, '', {seen} FROM made;

INSERT INTO refund_sync.balance_transaction (account_id, id, refund_id, type, reporting_category, amount_minor,
    fee_minor, net_minor, currency, created_at, available_on, status, content_hash, observed_at)
SELECT account_id, 'txn_' || id, id, 'refund', 'refund', 1, 0, 1, 'eur', at, at, 'available', '', {seen} FROM made;

INSERT INTO refund_sync.refund_superseded (account_id, refund_id, version, observed_at, source, raw, left_behind)
SELECT account_id, id, 1, {seen}, 'list', '{{}}', n % 1000 = 0 FROM made;

INSERT INTO refund_sync.recheck (account_id, kind, object_id, due_at, hinted_at, why)
SELECT account_id, 'refund', id, {seen}, CASE WHEN n % 3 = 0 THEN {seen} END, 'open' FROM made
UNION ALL SELECT account_id, 'charge', 'ch_' || id, {seen}, {seen}, 'hint' FROM made;

INSERT INTO refund_sync.coverage_claim (account_id, stream, kind, span, rows, digest, observed_at)
SELECT account_id, 'refunds', CASE WHEN n % 5000 = 0 THEN 'revoked' ELSE 'covered' END,
    int8range(extract(epoch FROM at)::bigint, extract(epoch FROM at)::bigint + 50), 1, 0, {seen}
FROM made;

INSERT INTO refund_sync.coverage (account_id, stream, covered)
SELECT account_id, stream, int8multirange(int8range(0, 1::bigint << 40))
FROM unnest(ARRAY['acct_1Large', 'acct_1Small']) AS account_id, unnest(ARRAY['refunds', 'refunds:settled']) AS stream;

INSERT INTO refund_sync.run (id, account_id, job, outcome, started_at, updated_at, ended_at)
SELECT gen_random_uuid(), account_id, 'events', 'ok', now() - n * interval '1 minute', now(), now() FROM made;

INSERT INTO refund_sync.span_check (account_id, stream, span, observed_at, checked_at)
SELECT account_id, 'refunds', int8range(d, d + 86400), {seen}, {seen} FROM (
    SELECT DISTINCT account_id, floor(extract(epoch FROM at) / 86400)::bigint * 86400 AS d FROM made
    UNION ALL SELECT 'acct_1Large', {start} - 86400 * generate_series(1, 5000)
) AS days;

INSERT INTO refund_sync.quarantine (account_id, stream, object_id, payload, error, earliest, latest, resolved_at)
SELECT account_id, 'refunds', id, '{{}}', 'odd', at, at, {seen} FROM made;

INSERT INTO refund_sync.account (id, livemode, wanted_from)
VALUES ('acct_1Large', false, {seen}), ('acct_1Small', false, {seen});

DROP TABLE made
"""


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


def looked_at(plan: dict[str, Any]) -> Counter[str]:
    """Rows that were looked at, by table."""
    found: Counter[str] = Counter()
    for node in nodes(plan):
        if (table := node.get("Relation Name")) and node["Node Type"] != "ModifyTable":
            rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            found[table] += round(
                node["Actual Loops"] * (rows + node.get("Rows Removed by Index Recheck", 0))
            )
    return found


def span_of(seconds: list[int]) -> asyncpg.Range[int]:
    return asyncpg.Range(min(seconds), max(seconds) + 1)


def asked(account_id: str, ids: list[str], seconds: list[int]) -> dict[str, tuple[Any, ...]]:
    """What each statement is asked, about these refunds; about as many rows as there are ids."""
    charges, lines = [f"ch_{i}" for i in ids], [f"txn_{i}" for i in ids]
    count, some = len(ids), [LONG_AGO] * len(ids)
    none: list[Any] = [None] * count
    spans, days = [span_of([s]) for s in seconds], sorted({s // DAY_S * DAY_S for s in seconds[:2]})
    a = account_id
    refund = {
        "id": ids, "created_at": some, "amount_minor": [1] * count, "currency": ["eur"] * count,
        "raw": ["{}"] * count, "content_hash": [b"x"] * count, "version": [2] * count,
        "observed_at": [LATER] * count, "first_listed_at": [LATER] * count,
        "received_hash": [b"y"] * count,
    }  # fmt: skip
    changed = [refund.get(name, none) for name in REFUND_COLUMNS[1:] if name != "first_seen_at"]
    narrow = datetime.fromtimestamp(min(seconds), UTC), datetime.fromtimestamp(max(seconds), UTC)
    return {
        "known_refunds": (a, ids), "known_charges": (a, charges), "known_balance_transactions": (a, lines),
        "pending_rechecks": (a, ids, NOW, list(STATES)), "pending_though_unchanged": (a, ids, NOW),
        "received_so": (a, [b"so"], narrow[0], narrow[0] + timedelta(seconds=ASKED * APART_S), LONG_AGO, LATER),
        "anything_pending": (a,), "lock_refunds": (a, ids), "stored_refunds": (a, ids),
        "update_refunds": (a, *changed), "update_charge_links": (a, ids, charges, none, none, none, none, none),
        "orphaned_versions": (a, ids), "delete_destinations": (a, ids),
        "reform_refunds": (a, ids, ["{}"] * count, [b"x"] * count, none),
        "touch_refunds": (a, ids, some, some, [b""] * count, [True] * count, [True] * count),
        "update_charges": (a, charges, [1] * count, none, none, ["eur"] * count, some, none, none, none, none,
                           none, [b"x"] * count, [LATER] * count),
        "update_balance_transactions": (
            a, lines, ids, none, ["refund"] * count, ["refund"] * count, [1] * count, [0] * count, [1] * count,
            ["eur"] * count, none, some, some, ["available"] * count, [b"x"] * count, [LATER] * count,
        ),
        "watch_quarantined": (a, ids, NOW), "see_nameless_again": (a, "refunds", "{}", NOW),
        "quarantine": (a, "refunds", ids[0], "{}", "odd", None, NOW, NOW, NOW),
        "resolve_quarantine": (a, "refunds", ids, some), "quarantined_is_unknown": (a, ids[0], NOW, timedelta(hours=1)),
        "miss_quarantined": (a, "refunds", spans[:3], some[:3], ids[:3], [], timedelta(hours=1)),
        "queue_rechecks": (a, ids, ["x"] * count, some), "missed": (a, spans, [LATER] * count, ["re_x"]),
        "miss": (a, NOW, ids, some), "settle_rechecks": (a, ids, [LATER] * count),
        "settle_charge_hints": (a, charges, [LATER] * count), "settle_charges": (a, charges, LATER),
        "queue_hints": (a, NOW, ["refund"] * count + ["charge"] * count, [*ids, *charges], [LATER] * 2 * count),
        "due_hinted": (a, NOW, count), "due_otherwise": (a, NOW, count),
        "refunds_by_hour": (a, days), "refunds_between": (a, days, 200), "stored_seconds": (a, ids),
        "reschedule": (a, ids, ["open"] * count, some, NOW, LATER), "still_hidden": (a, ids),
        "refund_is_unknown": (a, ids[0], LATER, timedelta(hours=1)),
        "ask_later": (a, "refund", ids[0], NOW, "x", LATER), "drop_recheck": (a, "refund", ids[0], LATER),
        "unlisted": (a, spans, [LATER] * count, ["re_x"]), "distrust": (a, ids), "clear_marks": (a, ids),
        "hinted_since": (a, ids, LONG_AGO), "unread_since": (a, ids, LATER), "check_spans": (a, NOW, ["refunds"], spans[:1], some[:1]),
        "refunds_by_day": (a, days[0], days[0] + DAY_S), "days_in_turn": (a, days[0], days[0] + DAY_S, 5, LATER, NOW),
        "covered": (a, "refunds"), "open_coverage": (a, "refunds"), "lock_coverage": (a, ["refunds"]),
        "count_late": (a, "refunds", seconds), "covered_seconds": (a, "refunds", seconds),
        "extend_claim": (a, "refunds", asyncpg.Range(1 << 41, (1 << 41) + 9), NOW),
        "add_claims": (a, "refunds", None, spans, [1] * count, [0] * count, some),
        "add_coverage": (a, "refunds", spans), "subtract_coverage": (a, "refunds", spans),
        "revoke": (a, "refunds", None, spans[:1], NOW), "in_quarantine": (a, "refunds", ids),
        "stored_though_unlisted": (a, spans), "begin_run": (RUN, a, "x", None), "end_run": (RUN, "ok", None),
        "end_lost_runs": (a, timedelta(hours=1)), "merge_idle_run": (RUN,),
        "progress_run": (RUN, 1, 1, 1, 1, 1, 1, 1, None, 1, 1, 1), "newest_refunds": (a,),
        "known_accounts": ([a],), "fence": (a, 1),
        "settle_account": (a, NOW), "want": (a, NOW), "refunds_since": (a, datetime.fromtimestamp(START + APART_S * (REFUNDS - ASKED), UTC)),
    }  # fmt: skip


EXEMPT = {
    # Audits, folds and other upkeep of a day: they look at all that there is, or at a month of it.
    "audit_claims", "audit_coverage", "broken_claims", "foldable_spans", "fold_claims", "fold_runs",
    "forget_runs", "forget_reads", "unmoved_versions", "move_versions", "redate_rechecks", "expedite_rechecks", "analyze",
    # Events that expired: once in an outage of a month.
    "add_event_gap", "close_event_gaps", "redate_event_gaps", "event_gaps", "oldest_outstanding",
    # Counts of what waits, and days as a whole: bounded by what is due.
    "days", "waiting", "rechecks_late", "rechecks_waiting", "misdated", "oldest_open",
    # Reports that people ask for.
    "currencies_stored", "database_role", "failing_jobs", "last_run", "open_event_gaps", "show_ledger", "show_quarantine",
    "show_recheck", "show_refund", "show_versions", "status_accounts", "refunds_of_other_forms",
    "summary_by_currency", "summary_by_month",
    # Tables of a few rows, and no table at all.
    "account", "account_of_key", "count_reads", "database_mode", "database_time", "end_sessions", "foreign_objects",
    "lease_holder", "lease_state", "lock_migrations", "register_account", "open_lease", "reads_by_class",
    "release_lease", "renew_lease", "schema_revision", "schema_version_table", "take_lease",
    # Migrations.
    "lift_limits", "migration_holder", "blockers", "clear_snapshot", "migration_ground", "schemas_of_others",
    "tables_of_another",
}  # fmt: skip

-- status_accounts
-- Each account: what is wanted of it, what is proven, what waits in quarantine.
SELECT a.id, a.livemode, a.wanted_from, a.settled_until, c.covered,
    (SELECT count(*) FROM refund_sync.refund r WHERE r.account_id = a.id) AS refunds,
    (SELECT count(*) FROM refund_sync.quarantine q
        WHERE q.account_id = a.id AND q.resolved_at IS NULL) AS quarantined
FROM refund_sync.account a
LEFT JOIN refund_sync.coverage c ON c.account_id = a.id AND c.stream = 'refunds'
ORDER BY a.id

-- last_run
-- The run that began last for an account.
SELECT job, outcome, started_at, ended_at, requests, inserted, changed, late, error, passes, first_started_at
FROM refund_sync.run WHERE account_id = $1 ORDER BY started_at DESC LIMIT 1

-- misdated
-- How many rows a clock dated that was ahead, by table. Until they are read again nobody knows when they were read.
SELECT
    (SELECT count(*) FROM refund_sync.refund
        WHERE account_id = $1 AND observed_at > refund_sync.known_at(observed_at)) AS refunds,
    (SELECT count(*) FROM refund_sync.span_check
        WHERE account_id = $1 AND observed_at > refund_sync.known_at(observed_at)) AS days,
    (SELECT count(*) FROM refund_sync.recheck
        WHERE account_id = $1 AND hinted_at > refund_sync.known_at(hinted_at)) AS hints,
    (SELECT count(*) FROM refund_sync.coverage_claim
        WHERE account_id = $1 AND observed_at > refund_sync.known_at(observed_at)) AS claims

-- oldest_open
-- The oldest of what waits for an end: in quarantine, unknown to Stripe, not given by it, an unclosed gap of events.
(SELECT 'in quarantine' AS what, coalesce(object_id, 'without an id, created ' || earliest || ' to ' || latest) AS id,
    found_at AS since, error AS why
FROM refund_sync.quarantine WHERE account_id = $1 AND resolved_at IS NULL ORDER BY found_at LIMIT 1)
UNION ALL
(SELECT 'not known to Stripe', object_id, coalesce(hinted_at, due_at), 'asked ' || attempts || ' times'
FROM refund_sync.recheck WHERE account_id = $1 AND why IN ('not found', 'unknown')
ORDER BY attempts DESC, due_at LIMIT 1)
UNION ALL
(SELECT 'not read', object_id, due_at, why || ', tried ' || attempts || ' times'
FROM refund_sync.recheck WHERE account_id = $1 AND attempts > 0 AND why NOT IN ('not found', 'unknown', 'gone', 'in quarantine')
ORDER BY attempts DESC, due_at LIMIT 1)
UNION ALL
(SELECT 'events expired', span::text, found_at, 'refunds that may have changed are read again'
FROM refund_sync.event_gap WHERE account_id = $1 AND closed_at IS NULL ORDER BY found_at LIMIT 1)

-- failing_jobs
-- Jobs whose newest run failed, of the 1,000 runs that began last: a job of a daemon that goes on failing is in it.
SELECT job, error, started_at FROM (
    SELECT DISTINCT ON (job) job, outcome, error, started_at
    FROM (
        SELECT job, outcome, error, started_at
        FROM refund_sync.run WHERE account_id = $1 ORDER BY started_at DESC LIMIT 1000
    ) recent
    ORDER BY job, started_at DESC
) newest
WHERE outcome = 'failed' ORDER BY started_at DESC

-- summary_by_currency
-- Refunds by currency: how many, their sum, and of these what failed and what is pending.
SELECT currency, count(*) AS refunds, sum(amount) AS gross,
    coalesce(sum(amount) FILTER (WHERE status IN ('failed', 'canceled')), 0) AS failed,
    coalesce(sum(amount) FILTER (WHERE status IN ('pending', 'requires_action')), 0) AS pending
FROM finance.refunds GROUP BY currency ORDER BY count(*) DESC, currency

-- summary_by_month
-- Completeness of the latest months.
SELECT account_id, month, share_covered, complete, gaps, quarantined, state
FROM finance.completeness_by_month ORDER BY month DESC, account_id LIMIT $1

-- show_refund
-- All that is known of a refund now, as one JSON object; no row where the id is unknown.
SELECT r.account_id,
    to_jsonb(r) - '{raw,content_hash,version_observed_at,recorded_at,source,changes}'::text[] AS refund,
    to_jsonb(l) - 'account_id' - 'refund_id' AS charge_link,
    to_jsonb(d) - 'account_id' - 'refund_id' AS destination_details,
    to_jsonb(c) - 'account_id' - 'content_hash' AS charge,
    r.raw,
    EXISTS (SELECT FROM refund_sync.coverage k WHERE k.account_id = r.account_id
        AND k.stream = 'refunds' AND k.covered @> extract(epoch FROM r.created_at)::bigint) AS covered
FROM refund_sync.refund r
JOIN refund_sync.charge_link l ON l.account_id = r.account_id AND l.refund_id = r.id
LEFT JOIN refund_sync.destination_details d ON d.account_id = r.account_id AND d.refund_id = r.id
LEFT JOIN refund_sync.charge c ON c.account_id = r.account_id AND c.id = l.charge_id
WHERE r.id = $1
ORDER BY r.account_id

-- show_versions
-- Every version of a refund that was ever known, oldest first.
SELECT version, observed_at, recorded_at, source, changes
FROM refund_sync.refund_version WHERE account_id = $1 AND refund_id = $2 ORDER BY version

-- show_ledger
-- The ledger lines of a refund.
SELECT to_jsonb(b) - 'account_id' - 'content_hash' AS line
FROM refund_sync.balance_transaction b WHERE b.account_id = $1 AND b.refund_id = $2
ORDER BY b.created_at, b.id

-- show_quarantine
-- What waits in quarantine under this id.
SELECT account_id, payload, error, created_at, seen_at, resolved_at
FROM refund_sync.quarantine WHERE object_id = $1 ORDER BY seen_at

-- show_recheck
-- Whether, when and why a refund is to be read again.
SELECT due_at, hinted_at, why FROM refund_sync.recheck
WHERE account_id = $1 AND kind = 'refund' AND object_id = $2

-- database_role
-- Who we are there, whether that is more than needed, and whether it is enough to write.
SELECT
    current_user::text,
    rolsuper,
    CASE
        WHEN to_regclass('refund_sync.refund') IS NULL
            THEN has_database_privilege(current_database(), 'CREATE')
        ELSE has_table_privilege(to_regclass('refund_sync.refund'), 'INSERT')
    END
FROM pg_roles
WHERE rolname = current_user

-- currencies_stored
-- Every currency that a stored refund is in.
SELECT DISTINCT currency FROM refund_sync.refund ORDER BY currency

-- open_event_gaps
-- Times whose events expired unread: those still being made up for, and the last ones that were.
SELECT span, closed_at, reason FROM refund_sync.event_gap
WHERE account_id = $1 AND (closed_at IS NULL OR closed_at > now() - interval '90 days')
ORDER BY closed_at IS NOT NULL, span LIMIT 100

-- waiting
-- What is pending: objects in quarantine, objects due to be read again, and those with a hint.
SELECT
    (SELECT count(*) FROM refund_sync.quarantine WHERE account_id = $1 AND resolved_at IS NULL) AS quarantined,
    (SELECT count(*) FROM refund_sync.recheck WHERE account_id = $1 AND due_at <= $2) AS due,
    (SELECT count(*) FROM refund_sync.recheck WHERE account_id = $1 AND hinted_at IS NOT NULL
        AND why NOT IN ('not found', 'gone')) AS hinted

-- refunds_of_other_forms
-- How many refunds an older version, or one with other settings, decoded: their digest does not begin with $2.
SELECT count(*) FROM refund_sync.refund
WHERE account_id = $1 AND substring(content_hash FOR length($2::bytea)) <> $2

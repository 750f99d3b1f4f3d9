-- known_refunds
-- What is stored of these ids, so that what is equal can be skipped. Locks nothing. Each is looked up by its key.
SELECT r.* FROM unnest($2::text[]) AS k(id)
CROSS JOIN LATERAL (
    SELECT id, content_hash, refund_sync.known_at(observed_at) AS observed_at, first_listed_at,
        observed_at <> refund_sync.known_at(observed_at) AS misdated,
        refund_sync.known_at(gone_at) AS gone_at, refund_sync.known_at(hidden_at) AS hidden_at,
        refund_sync.known_at(unknown_at) AS unknown_at
    FROM refund_sync.refund WHERE account_id = $1 AND id = k.id OFFSET 0
) AS r

-- received_so
-- The refunds of this time that were received so, and listed by $6; and whether any recheck or quarantined object
-- may be pending. Usually nothing is due, so one look at the earliest due time answers it.
SELECT
    received_hash, extract(epoch FROM created_at)::bigint AS second, id,
    (SELECT min(due_at) FROM refund_sync.recheck WHERE account_id = $1 AND hinted_at IS NULL) <= $5
        OR (SELECT min(due_at) FROM refund_sync.recheck WHERE account_id = $1 AND hinted_at IS NOT NULL) <= $5
        OR (SELECT resolved_at IS NULL FROM refund_sync.quarantine
            WHERE account_id = $1 ORDER BY resolved_at NULLS FIRST LIMIT 1) AS any_waits
FROM refund_sync.refund
WHERE account_id = $1 AND created_at >= $3 AND created_at <= $4
    AND received_hash = ANY($2::bytea[])
    AND first_listed_at <= $6 AND hidden_at IS NULL AND gone_at IS NULL AND unknown_at IS NULL
    AND observed_at = refund_sync.known_at(observed_at)

-- pending_though_unchanged
-- Those of these refunds that a read helps although it finds nothing new: they are due to be read again, or
-- something of theirs is in quarantine.
SELECT c.object_id FROM unnest($2::text[]) AS k(id)
CROSS JOIN LATERAL (
    SELECT object_id FROM refund_sync.recheck
    WHERE account_id = $1 AND kind = 'refund' AND object_id = k.id AND due_at <= $3 OFFSET 0
) AS c
UNION ALL
SELECT object_id FROM refund_sync.quarantine
WHERE account_id = $1 AND resolved_at IS NULL AND object_id = ANY($2::text[])

-- known_charges
-- Hash and age of these charges.
SELECT c.* FROM unnest($2::text[]) AS k(id)
CROSS JOIN LATERAL (
    SELECT id, content_hash, refund_sync.known_at(observed_at) AS observed_at
    FROM refund_sync.charge WHERE account_id = $1 AND id = k.id OFFSET 0
) AS c

-- known_balance_transactions
-- Hash and age of these ledger lines.
SELECT b.* FROM unnest($2::text[]) AS k(id)
CROSS JOIN LATERAL (
    SELECT id, content_hash, refund_sync.known_at(observed_at) AS observed_at
    FROM refund_sync.balance_transaction WHERE account_id = $1 AND id = k.id OFFSET 0
) AS b

-- anything_pending
-- Whether anything is in quarantine, whether charges are hinted at, and whether anybody ever deleted a refund here:
-- mostly not, and then nothing of a batch need be looked up there. And what time it is.
SELECT
    (SELECT resolved_at IS NULL FROM refund_sync.quarantine
        WHERE account_id = $1 ORDER BY resolved_at NULLS FIRST LIMIT 1) AS odd,
    (SELECT object_id FROM refund_sync.recheck
        WHERE account_id = $1 AND kind = 'charge' ORDER BY object_id LIMIT 1) IS NOT NULL AS charges,
    (SELECT left_behind FROM refund_sync.refund_superseded
        WHERE account_id = $1 AND left_behind LIMIT 1) AS left_behind,
    clock_timestamp() AS now

-- lock_refunds
-- Locks the rows about to change, in the order of their ids so that two writers never deadlock. What they
-- hold is read by a statement of its own: one that had to wait sees other tables as they were before.
SELECT FROM unnest($2::text[]) AS k(id)
CROSS JOIN LATERAL (
    SELECT FROM refund_sync.refund WHERE account_id = $1 AND id = k.id OFFSET 0 FOR UPDATE
) AS r

-- stored_refunds
-- All columns that are compared of these refunds. Each is looked up by its key, however large the tables are.
SELECT
    r.id, extract(epoch FROM r.created_at)::bigint AS created, r.amount_minor, r.currency, r.status,
    r.reason, r.failure_reason, r.pending_reason, r.receipt_number, r.description,
    r.metadata::text AS metadata, r.presentment_amount_minor, r.presentment_currency,
    r.next_action_type, extract(epoch FROM r.next_action_expires_at)::bigint AS next_action_expires,
    r.customer_id, r.payment_method_id,
    l.charge_id, l.payment_intent_id, l.balance_transaction_id, l.failure_balance_transaction_id,
    l.transfer_reversal_id, l.source_transfer_reversal_id,
    d.type AS destination_type, d.reference, d.reference_status, d.reference_type, d.card_type,
    d.network_decline_code, d.details::text AS destination_details,
    r.content_hash, r.version, refund_sync.known_at(r.observed_at) AS observed_at,
    r.observed_at <> refund_sync.known_at(r.observed_at) AS misdated,
    refund_sync.known_at(r.gone_at) AS gone_at, refund_sync.known_at(r.hidden_at) AS hidden_at
FROM unnest($2::text[]) AS k(id)
CROSS JOIN LATERAL (
    SELECT * FROM refund_sync.refund r WHERE r.account_id = $1 AND r.id = k.id OFFSET 0
) AS r
LEFT JOIN LATERAL (
    SELECT * FROM refund_sync.charge_link k WHERE k.account_id = r.account_id AND k.refund_id = r.id OFFSET 0
) AS l ON true
LEFT JOIN LATERAL (
    SELECT * FROM refund_sync.destination_details k
    WHERE k.account_id = r.account_id AND k.refund_id = r.id OFFSET 0
) AS d ON true
ORDER BY r.id

-- update_refunds
-- The new current version of locked refunds; a trigger keeps the one before. Written as an insert, so that each row is found by its key.
INSERT INTO refund_sync.refund AS r (
    account_id, id, created_at, amount_minor, currency, status, reason, failure_reason, pending_reason,
    receipt_number, description, metadata, presentment_amount_minor, presentment_currency, next_action_type,
    next_action_expires_at, customer_id, payment_method_id, raw, content_hash, version, observed_at,
    first_seen_at, first_listed_at, received_hash, version_observed_at, source, changes
)
SELECT $1, n.id, n.created_at, n.amount_minor, n.currency, n.status, n.reason, n.failure_reason, n.pending_reason,
    n.receipt_number, n.description, n.metadata, n.presentment_amount_minor, n.presentment_currency,
    n.next_action_type, n.next_action_expires_at, n.customer_id, n.payment_method_id, n.raw, n.content_hash,
    n.version, n.observed_at, n.observed_at, n.listed_at, n.received_hash, n.observed_at, n.source, n.changes
FROM unnest(
    $2::text[], $3::timestamptz[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::jsonb[], $13::bigint[], $14::text[], $15::text[],
    $16::timestamptz[], $17::text[], $18::text[], $19::jsonb[], $20::bytea[], $21::int[],
    $22::timestamptz[], $23::timestamptz[], $24::bytea[], $25::text[], $26::jsonb[]
) AS n(
    id, created_at, amount_minor, currency, status, reason, failure_reason, pending_reason,
    receipt_number, description, metadata, presentment_amount_minor, presentment_currency,
    next_action_type, next_action_expires_at, customer_id, payment_method_id, raw, content_hash,
    version, observed_at, listed_at, received_hash, source, changes
)
ON CONFLICT (account_id, id) DO UPDATE SET
    created_at = excluded.created_at, amount_minor = excluded.amount_minor, currency = excluded.currency,
    status = excluded.status, reason = excluded.reason, failure_reason = excluded.failure_reason,
    pending_reason = excluded.pending_reason, receipt_number = excluded.receipt_number,
    description = excluded.description, metadata = excluded.metadata,
    presentment_amount_minor = excluded.presentment_amount_minor,
    presentment_currency = excluded.presentment_currency, next_action_type = excluded.next_action_type,
    next_action_expires_at = excluded.next_action_expires_at, customer_id = excluded.customer_id,
    payment_method_id = excluded.payment_method_id, raw = excluded.raw,
    content_hash = excluded.content_hash, version = excluded.version, observed_at = excluded.observed_at,
    received_hash = excluded.received_hash, version_observed_at = excluded.version_observed_at,
    recorded_at = excluded.recorded_at, source = excluded.source, changes = excluded.changes,
    first_seen_at = least(r.first_seen_at, excluded.first_listed_at),
    first_listed_at = least(r.first_listed_at, excluded.first_listed_at),
    gone_at = CASE WHEN refund_sync.known_at(r.gone_at) > excluded.observed_at THEN r.gone_at END,
    unknown_at = CASE WHEN refund_sync.known_at(r.unknown_at) > excluded.observed_at THEN r.unknown_at END,
    hidden_at = CASE WHEN excluded.first_listed_at >= refund_sync.known_at(r.hidden_at) THEN NULL ELSE r.hidden_at END

-- update_charge_links
-- The links of locked refunds; one that somebody deleted comes back.
INSERT INTO refund_sync.charge_link (
    account_id, refund_id, charge_id, payment_intent_id, balance_transaction_id,
    failure_balance_transaction_id, transfer_reversal_id, source_transfer_reversal_id
)
SELECT $1, n.*
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[]) AS n
ON CONFLICT (account_id, refund_id) DO UPDATE SET
    charge_id = excluded.charge_id, payment_intent_id = excluded.payment_intent_id,
    balance_transaction_id = excluded.balance_transaction_id,
    failure_balance_transaction_id = excluded.failure_balance_transaction_id,
    transfer_reversal_id = excluded.transfer_reversal_id,
    source_transfer_reversal_id = excluded.source_transfer_reversal_id

-- orphaned_versions
-- Clears the way for new refunds of whose rows some are there though the refund itself is not: somebody deleted
-- it. Their versions stay, and the new one follows the last of them.
WITH links AS (
    DELETE FROM refund_sync.charge_link WHERE ctid = ANY(ARRAY(
        SELECT l.ctid FROM unnest($2::text[]) AS k(id) CROSS JOIN LATERAL (
            SELECT ctid FROM refund_sync.charge_link WHERE account_id = $1 AND refund_id = k.id OFFSET 0
        ) AS l
    ))
), destinations AS (
    DELETE FROM refund_sync.destination_details WHERE ctid = ANY(ARRAY(
        SELECT d.ctid FROM unnest($2::text[]) AS k(id) CROSS JOIN LATERAL (
            SELECT ctid FROM refund_sync.destination_details
            WHERE account_id = $1 AND refund_id = k.id OFFSET 0
        ) AS d
    ))
)
SELECT k.id AS refund_id, v.version FROM unnest($2::text[]) AS k(id)
CROSS JOIN LATERAL (
    SELECT version FROM refund_sync.refund_superseded
    WHERE account_id = $1 AND refund_id = k.id ORDER BY version DESC LIMIT 1
) AS v

-- delete_destinations
-- Clears the way for the destinations of locked refunds; Stripe may also send none any more.
DELETE FROM refund_sync.destination_details WHERE ctid = ANY(ARRAY(
    SELECT d.ctid FROM unnest($2::text[]) AS k(id) CROSS JOIN LATERAL (
        SELECT ctid FROM refund_sync.destination_details
        WHERE account_id = $1 AND refund_id = k.id OFFSET 0
    ) AS d
))

-- reform_refunds
-- The text of locked refunds as it is rendered now, where an older form of ours rendered it otherwise.
UPDATE refund_sync.refund r SET
    raw = n.raw, content_hash = n.content_hash, received_hash = coalesce(n.received_hash, r.received_hash)
FROM unnest($2::text[], $3::jsonb[], $4::bytea[], $5::bytea[]) AS n(id, raw, content_hash, received_hash)
WHERE r.id = n.id AND r.ctid = ANY(ARRAY(
    SELECT t.ctid FROM unnest($2::text[]) AS k(id) CROSS JOIN LATERAL (
        SELECT ctid FROM refund_sync.refund WHERE account_id = $1 AND id = k.id OFFSET 0
    ) AS t
))

-- touch_refunds
-- Sharpens the times of locked refunds found as stored: seen and listed earlier than was known, read later. Of one
-- that has changed since it was compared, only when it was first seen and listed.
UPDATE refund_sync.refund r SET
    first_seen_at = least(r.first_seen_at, n.observed_at),
    first_listed_at = least(r.first_listed_at, n.listed_at),
    content_hash = CASE WHEN n.compared AND n.observed_at >= refund_sync.known_at(r.observed_at)
        THEN coalesce(n.content_hash, r.content_hash) ELSE r.content_hash END,
    observed_at = CASE WHEN n.read_alone AND (n.compared OR r.content_hash = n.content_hash)
        AND n.observed_at > refund_sync.known_at(r.observed_at) THEN n.observed_at ELSE r.observed_at END,
    gone_at = CASE WHEN refund_sync.known_at(r.gone_at) > n.observed_at THEN r.gone_at END,
    unknown_at = CASE WHEN refund_sync.known_at(r.unknown_at) > n.observed_at THEN r.unknown_at END,
    hidden_at = CASE WHEN n.listed_at >= refund_sync.known_at(r.hidden_at) THEN NULL ELSE r.hidden_at END
FROM unnest(
    $2::text[], $3::timestamptz[], $4::timestamptz[], $5::bytea[], $6::boolean[], $7::boolean[]
) AS n(id, observed_at, listed_at, content_hash, read_alone, compared)
WHERE r.id = n.id AND r.ctid = ANY(ARRAY(
    SELECT t.ctid FROM unnest($2::text[]) AS k(id) CROSS JOIN LATERAL (
        SELECT ctid FROM refund_sync.refund WHERE account_id = $1 AND id = k.id OFFSET 0
    ) AS t
))
RETURNING r.id, n.compared OR r.content_hash = n.content_hash AS as_compared

-- update_charges
-- Charges as newer reads found them. Written as an insert, so that each row is found by its key.
INSERT INTO refund_sync.charge AS c (
    account_id, id, amount_minor, amount_captured_minor, amount_refunded_minor, currency, created_at,
    payment_method_type, balance_transaction_id, transfer_id, application_fee_id, on_behalf_of, content_hash,
    observed_at
)
SELECT $1, n.* FROM unnest(
    $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::timestamptz[],
    $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bytea[], $14::timestamptz[]
) AS n
ON CONFLICT (account_id, id) DO UPDATE SET
    amount_minor = excluded.amount_minor, amount_captured_minor = excluded.amount_captured_minor,
    amount_refunded_minor = excluded.amount_refunded_minor, currency = excluded.currency,
    created_at = excluded.created_at, payment_method_type = excluded.payment_method_type,
    balance_transaction_id = excluded.balance_transaction_id, transfer_id = excluded.transfer_id,
    application_fee_id = excluded.application_fee_id, on_behalf_of = excluded.on_behalf_of,
    content_hash = excluded.content_hash, observed_at = excluded.observed_at
WHERE refund_sync.known_at(c.observed_at) < refund_sync.known_at(excluded.observed_at)

-- update_balance_transactions
-- Ledger lines as newer reads found them. Written as an insert, so that each row is found by its key.
INSERT INTO refund_sync.balance_transaction AS b (
    account_id, id, refund_id, source, type, reporting_category, amount_minor, fee_minor, net_minor, currency,
    exchange_rate, created_at, available_on, status, content_hash, observed_at
)
SELECT $1, n.* FROM unnest(
    $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[],
    $9::bigint[], $10::text[], $11::numeric[], $12::timestamptz[], $13::timestamptz[],
    $14::text[], $15::bytea[], $16::timestamptz[]
) AS n
ON CONFLICT (account_id, id) DO UPDATE SET
    refund_id = coalesce(excluded.refund_id, b.refund_id), source = excluded.source, type = excluded.type,
    reporting_category = excluded.reporting_category, amount_minor = excluded.amount_minor,
    fee_minor = excluded.fee_minor, net_minor = excluded.net_minor, currency = excluded.currency,
    exchange_rate = excluded.exchange_rate, created_at = excluded.created_at,
    available_on = excluded.available_on, status = excluded.status, content_hash = excluded.content_hash,
    observed_at = excluded.observed_at
WHERE refund_sync.known_at(b.observed_at) < refund_sync.known_at(excluded.observed_at)

-- resolve_quarantine
-- Objects in quarantine that could be decoded by a later read.
UPDATE refund_sync.quarantine q SET resolved_at = clock_timestamp(), resolution = 'decoded'
FROM unnest($3::text[], $4::timestamptz[]) AS n(id, observed_at)
WHERE q.account_id = $1 AND q.stream = $2 AND q.resolved_at IS NULL AND q.object_id = n.id
    AND refund_sync.known_at(q.seen_at) <= refund_sync.known_at(n.observed_at)

-- quarantine
-- Keeps an undecodable object as received; one that is there already is only seen again.
INSERT INTO refund_sync.quarantine AS q
    (account_id, stream, object_id, payload, error, created_at, earliest, latest, seen_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (account_id, stream, object_id) WHERE resolved_at IS NULL AND object_id IS NOT NULL
DO UPDATE SET payload = excluded.payload, error = excluded.error, unknown_at = NULL, unlisted = '{}',
    seen_at = CASE WHEN refund_sync.known_at(q.seen_at) > refund_sync.known_at(excluded.seen_at)
        THEN q.seen_at ELSE excluded.seen_at END

-- see_nameless_again
-- An object without an id that is in quarantine already.
UPDATE refund_sync.quarantine SET unknown_at = NULL, unlisted = '{}',
    seen_at = CASE WHEN refund_sync.known_at(seen_at) > refund_sync.known_at($4) THEN seen_at ELSE $4 END
WHERE account_id = $1 AND stream = $2 AND resolved_at IS NULL AND object_id IS NULL AND payload = $3
RETURNING id

-- miss_quarantined
-- Objects in quarantine that listings of their time did not return, though they began after it was last received.
-- One without an id is gone once its whole time was listed so twice, an interval of $7 apart.
WITH missed AS (
    SELECT q.id, range_agg(n.span * int8range(extract(epoch FROM q.earliest)::bigint, extract(epoch FROM q.latest)::bigint, '[]')) AS spans,
        max(n.observed_at) AS observed_at
    FROM refund_sync.quarantine q
    JOIN unnest($3::int8range[], $4::timestamptz[]) AS n(span, observed_at)
        ON n.span && int8range(extract(epoch FROM q.earliest)::bigint, extract(epoch FROM q.latest)::bigint, '[]')
        AND refund_sync.known_at(q.seen_at) < n.observed_at
    WHERE q.account_id = $1 AND q.stream = $2 AND q.resolved_at IS NULL
        AND CASE WHEN q.object_id IS NULL THEN q.payload <> ALL($6::text[]) ELSE q.object_id <> ALL($5::text[]) END
    GROUP BY q.id
), looked AS (
    SELECT m.id, m.observed_at, q.unlisted + m.spans AS unlisted, q.object_id IS NULL AND q.unlisted + m.spans @>
        int8range(extract(epoch FROM q.earliest)::bigint, extract(epoch FROM q.latest)::bigint, '[]') AS nowhere,
        CASE WHEN q.unknown_at = refund_sync.known_at(q.unknown_at) THEN q.unknown_at END AS unknown_at
    FROM missed m JOIN refund_sync.quarantine q ON q.id = m.id
)
UPDATE refund_sync.quarantine q SET
    unlisted = CASE WHEN l.nowhere THEN '{}' ELSE l.unlisted END,
    unknown_at = CASE WHEN l.nowhere THEN coalesce(l.unknown_at, l.observed_at) ELSE l.unknown_at END,
    resolved_at = CASE WHEN l.nowhere AND l.unknown_at + $7::interval <= l.observed_at THEN clock_timestamp() END,
    resolution = CASE WHEN l.nowhere AND l.unknown_at + $7::interval <= l.observed_at THEN 'gone' END
FROM looked l WHERE q.id = l.id

-- quarantined_is_unknown
-- Stripe does not know this object in quarantine. It is gone after a second such answer, an interval of $4 after
-- the first, and listings of its whole time without it. No row where none is in quarantine.
UPDATE refund_sync.quarantine q SET
    unknown_at = coalesce(k.unknown_at, $3), resolved_at = CASE WHEN k.gone THEN clock_timestamp() END,
    resolution = CASE WHEN k.gone THEN 'gone' END
FROM (
    SELECT o.id, o.unknown_at, o.unknown_at + $4::interval <= $3
        AND o.unlisted @> int8range(extract(epoch FROM o.earliest)::bigint, extract(epoch FROM o.latest)::bigint, '[]') AS gone
    FROM (
        SELECT id, unlisted, earliest, latest,
            CASE WHEN unknown_at = refund_sync.known_at(unknown_at) THEN unknown_at END AS unknown_at
        FROM refund_sync.quarantine
        WHERE account_id = $1 AND object_id = $2 AND resolved_at IS NULL AND refund_sync.known_at(seen_at) < $3
    ) AS o
) AS k
WHERE q.id = k.id
RETURNING q.resolved_at IS NOT NULL

-- watch_quarantined
-- These objects in quarantine were received again: that Stripe might not know them is answered.
UPDATE refund_sync.recheck SET why = 'in quarantine', due_at = $3
WHERE why = 'unknown' AND ctid = ANY(ARRAY(
    SELECT c.ctid FROM unnest($2::text[]) AS k(id) CROSS JOIN LATERAL (
        SELECT ctid FROM refund_sync.recheck
        WHERE account_id = $1 AND kind = 'refund' AND object_id = k.id OFFSET 0
    ) AS c
))

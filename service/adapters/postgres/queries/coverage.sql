-- covered
-- What has been proven complete.
SELECT covered FROM refund_sync.coverage WHERE account_id = $1 AND stream = $2

-- open_coverage
-- Makes the row that proofs are added to.
INSERT INTO refund_sync.coverage (account_id, stream) VALUES ($1, $2) ON CONFLICT DO NOTHING

-- lock_coverage
-- Numbering, revoking and folding claims take turns: the numbers give the order in which
-- coverage was changed. Locked in order, and after the rows of refunds, so that nobody deadlocks.
SELECT FROM refund_sync.coverage WHERE account_id = $1 AND stream = ANY($2::text[]) ORDER BY stream FOR UPDATE

-- count_late
-- How many of these new objects lie in seconds that were covered before: they arrived late.
SELECT count(*)
FROM refund_sync.coverage c, unnest($3::bigint[]) AS n(created)
WHERE c.account_id = $1 AND c.stream = $2 AND c.covered @> n.created

-- add_claims
-- Numbers the claims that cover something new; one that repeats what is known writes nothing, nor does one that
-- was read before a read that contradicted a part of it. Returns the spans of those that were numbered.
WITH refuted AS MATERIALIZED (
    SELECT span, refund_sync.known_at(observed_at) AS observed_at FROM refund_sync.coverage_claim
    WHERE account_id = $1 AND stream = $2 AND kind = 'revoked'
        AND observed_at > (SELECT min(refund_sync.known_at(observed_at)) FROM unnest($7::timestamptz[]) AS n(observed_at))
)
INSERT INTO refund_sync.coverage_claim
    (account_id, stream, kind, span, rows, digest, run_id, observed_at)
SELECT $1, $2, 'covered', n.span, n.rows, n.digest, $3, n.observed_at
FROM unnest($4::int8range[], $5::bigint[], $6::bigint[], $7::timestamptz[])
    WITH ORDINALITY AS n(span, rows, digest, observed_at, place)
LEFT JOIN refund_sync.coverage c ON c.account_id = $1 AND c.stream = $2
WHERE (c.covered IS NULL OR NOT c.covered @> n.span)
    AND NOT EXISTS (
        SELECT FROM refuted r WHERE r.span && n.span AND r.observed_at > refund_sync.known_at(n.observed_at)
    )
ORDER BY n.place
RETURNING span

-- in_quarantine
-- Which of these refunds are in quarantine, and when a list first named those that are stored from before.
SELECT q.object_id AS id, r.first_listed_at
FROM refund_sync.quarantine q
LEFT JOIN LATERAL (
    SELECT first_listed_at FROM refund_sync.refund
    WHERE account_id = $1 AND id = q.object_id OFFSET 0
) AS r ON true
WHERE q.account_id = $1 AND q.stream = $2 AND q.resolved_at IS NULL AND q.object_id = ANY($3::text[])

-- stored_though_unlisted
-- Refunds of these spans that were listed once, and are known to be listed no more.
SELECT found.id, found.created, found.first_listed_at
FROM unnest($2::int8range[]) AS k(span)
CROSS JOIN LATERAL (
    SELECT r.id, extract(epoch FROM r.created_at)::bigint AS created, r.first_listed_at
    FROM refund_sync.refund r
    WHERE r.account_id = $1
        AND r.created_at >= to_timestamp(lower(k.span)) AND r.created_at < to_timestamp(upper(k.span))
        AND r.hidden_at IS NOT NULL AND r.gone_at IS NULL AND r.first_listed_at IS NOT NULL
    OFFSET 0
) AS found

-- revoke
-- Takes back what was claimed of these spans: a listing found there what is not stored.
WITH taken AS (
    SELECT c.account_id, n.span * part AS span
    FROM refund_sync.coverage c, unnest($4::int8range[]) AS n(span), unnest(c.covered) AS part
    WHERE c.account_id = $1 AND c.stream = $2 AND n.span && part
)
INSERT INTO refund_sync.coverage_claim (account_id, stream, kind, span, rows, digest, run_id, observed_at)
SELECT account_id, $2, 'revoked', span, 0, 0, $3, $5 FROM taken ORDER BY span
RETURNING span

-- subtract_coverage
-- Takes spans out of what is covered now; never from a value read before.
UPDATE refund_sync.coverage SET covered = covered - $3::int8multirange
WHERE account_id = $1 AND stream = $2

-- add_coverage
-- Adds proven spans to what is covered now; never from a value read before.
UPDATE refund_sync.coverage SET covered = covered + $3::int8multirange
WHERE account_id = $1 AND stream = $2

-- audit_coverage
-- Coverage recomputed from its claims, in order; what differs from the row is a bug or tampering.
-- Returns a row for each account and stream whose coverage is not the fold of its claims.
WITH RECURSIVE numbered AS (
    SELECT account_id, stream, kind, span,
        row_number() OVER (PARTITION BY account_id, stream ORDER BY seq) AS n
    FROM refund_sync.coverage_claim
), fold AS (
    SELECT account_id, stream, 0::bigint AS n, '{}'::int8multirange AS covered
    FROM refund_sync.coverage
    UNION ALL
    SELECT f.account_id, f.stream, f.n + 1,
        CASE m.kind WHEN 'covered' THEN f.covered + m.span::int8multirange
                    ELSE f.covered - m.span::int8multirange END
    FROM fold f
    JOIN numbered m ON m.account_id = f.account_id AND m.stream = f.stream AND m.n = f.n + 1
), last AS (
    SELECT DISTINCT ON (account_id, stream) account_id, stream, covered
    FROM fold ORDER BY account_id, stream, n DESC
)
SELECT c.account_id, c.stream, c.covered AS recorded, l.covered AS recomputed
FROM refund_sync.coverage c JOIN last l USING (account_id, stream)
WHERE c.covered <> l.covered

-- audit_claims
-- Each claim on refunds against the rows: how many were listed by then, and the digest of their ids.
-- Returns a row for each claim that the rows do not confirm; one that was revoked since claims nothing.
SELECT k.account_id, k.stream, k.seq, k.span, k.rows, found.rows AS found_rows, k.digest, found.digest AS found_digest
FROM refund_sync.coverage_claim k
CROSS JOIN LATERAL (
    SELECT count(*) AS rows,
        coalesce(bit_xor(('x' || encode(substring(sha256(convert_to(r.id, 'UTF8')) FOR 8), 'hex'))::bit(64)::bigint), 0) AS digest
    FROM refund_sync.refund r
    WHERE r.account_id = k.account_id
        AND r.created_at >= to_timestamp(lower(k.span)) AND r.created_at < to_timestamp(upper(k.span))
        AND r.first_listed_at <= k.observed_at
        AND (r.gone_at IS NULL OR r.gone_at > k.observed_at)
) found
WHERE k.kind = 'covered' AND k.stream IN ('refunds', 'refunds:settled')
    AND (k.rows <> found.rows OR k.digest <> found.digest)
    AND NOT EXISTS (
        SELECT FROM refund_sync.coverage_claim x
        WHERE x.account_id = k.account_id AND x.stream = k.stream AND x.kind = 'revoked'
            AND x.seq > k.seq AND x.span && k.span
    )
ORDER BY k.seq

-- covered_seconds
-- Which of these seconds are covered.
SELECT DISTINCT n.second
FROM refund_sync.coverage c, unnest($3::bigint[]) AS n(second)
WHERE c.account_id = $1 AND c.stream = $2 AND c.covered @> n.second

-- broken_claims
-- Claims inside a span that the rows contradict, and that nothing revoked: their spans.
SELECT k.span FROM refund_sync.coverage_claim k
CROSS JOIN LATERAL (
    SELECT count(*) AS rows,
        coalesce(bit_xor(('x' || encode(substring(sha256(convert_to(r.id, 'UTF8')) FOR 8), 'hex'))::bit(64)::bigint), 0) AS digest
    FROM refund_sync.refund r
    WHERE r.account_id = k.account_id
        AND r.created_at >= to_timestamp(lower(k.span)) AND r.created_at < to_timestamp(upper(k.span))
        AND r.first_listed_at <= k.observed_at
        AND (r.gone_at IS NULL OR r.gone_at > k.observed_at)
) found
WHERE k.account_id = $1 AND k.stream = $2 AND k.kind = 'covered' AND k.span && $3::int8range
    AND k.stream LIKE 'refunds%' AND (k.rows <> found.rows OR k.digest <> found.digest)
    AND NOT EXISTS (
        SELECT FROM refund_sync.coverage_claim x
        WHERE x.account_id = $1 AND x.stream = $2 AND x.kind = 'revoked' AND x.seq > k.seq AND x.span && k.span
    )
ORDER BY k.span

-- fold_claims
-- Many claims inside a span become one for each stretch that they cover together, as of the latest of them; those
-- that a revocation touches stay as they are. Rows and digest of refunds are computed from what is stored; those of
-- other streams are added up.
WITH old AS (
    DELETE FROM refund_sync.coverage_claim k
    WHERE account_id = $1 AND stream = $2 AND kind = 'covered' AND span <@ $3::int8range AND NOT EXISTS (
        SELECT FROM refund_sync.coverage_claim r
        WHERE r.account_id = $1 AND r.stream = $2 AND r.kind = 'revoked' AND r.span && k.span
    )
    RETURNING span, rows, digest, observed_at
), stretches AS (
    SELECT unnest(range_agg(span)) AS span FROM old
), parts AS (
    SELECT s.span, max(o.observed_at) AS observed_at, sum(o.rows)::bigint AS rows, bit_xor(o.digest) AS digest
    FROM stretches s JOIN old o ON o.span <@ s.span GROUP BY s.span
)
INSERT INTO refund_sync.coverage_claim (account_id, stream, kind, span, rows, digest, observed_at)
SELECT $1, $2, 'covered', p.span,
    CASE WHEN $2 LIKE 'refunds%' THEN found.rows ELSE p.rows END,
    CASE WHEN $2 LIKE 'refunds%' THEN found.digest ELSE p.digest END, p.observed_at
FROM parts p
CROSS JOIN LATERAL (
    SELECT count(*) AS rows,
        coalesce(bit_xor(('x' || encode(substring(sha256(convert_to(r.id, 'UTF8')) FOR 8), 'hex'))::bit(64)::bigint), 0) AS digest
    FROM refund_sync.refund r
    WHERE r.account_id = $1
        AND r.created_at >= to_timestamp(lower(p.span)) AND r.created_at < to_timestamp(upper(p.span))
        AND r.first_listed_at <= p.observed_at
        AND (r.gone_at IS NULL OR r.gone_at > p.observed_at)
) found
ORDER BY p.span

-- extend_claim
-- A listing that returned nothing only moves the end of the newest claim: that keeps its own instant, which stays
-- true of the wider span as long as no refund in it was ever listed. No row where this does not apply: the newest
-- is a revocation, lies elsewhere or is younger, a later listing contradicted the span, or it is covered already.
UPDATE refund_sync.coverage_claim k SET span = k.span + $3::int8range
FROM (
    SELECT seq, kind, span, observed_at FROM refund_sync.coverage_claim
    WHERE account_id = $1 AND stream = $2 ORDER BY seq DESC LIMIT 1
) AS n
WHERE k.seq = n.seq AND n.kind = 'covered' AND (n.span && $3 OR n.span -|- $3)
    AND refund_sync.known_at(n.observed_at) <= refund_sync.known_at($4)
    AND NOT EXISTS (
        SELECT FROM refund_sync.coverage WHERE account_id = $1 AND stream = $2 AND covered @> $3
    )
    AND NOT EXISTS (
        SELECT FROM refund_sync.coverage_claim r
        WHERE r.account_id = $1 AND r.stream = $2 AND r.kind = 'revoked' AND r.span && $3 AND r.observed_at > $4
            AND refund_sync.known_at(r.observed_at) > refund_sync.known_at($4)
    )
    AND NOT EXISTS (
        SELECT FROM refund_sync.refund f
        WHERE f.account_id = $1 AND $2 LIKE 'refunds%' AND f.first_listed_at IS NOT NULL
            AND f.created_at >= to_timestamp(lower($3)) AND f.created_at < to_timestamp(upper($3))
    )
RETURNING $3 AS span

-- foldable_spans
-- Days or months (UTC; $3 says which) that ended before $2 and hold more claims than stretches, by stream. Claims that
-- a revocation touches do not count, because where one does the order of claims says more than their union.
WITH counted AS (
    SELECT stream, date_trunc($3, to_timestamp(lower(span)) AT TIME ZONE 'UTC') AS start, span
    FROM refund_sync.coverage_claim k
    WHERE account_id = $1 AND kind = 'covered' AND NOT EXISTS (
        SELECT FROM refund_sync.coverage_claim r
        WHERE r.account_id = $1 AND r.stream = k.stream AND r.kind = 'revoked' AND r.span && k.span
    )
), units AS (
    SELECT stream, int8range(
        extract(epoch FROM start AT TIME ZONE 'UTC')::bigint,
        extract(epoch FROM (start + ('1 ' || $3)::interval) AT TIME ZONE 'UTC')::bigint
    ) AS unit, span
    FROM counted
)
SELECT stream, unit AS span FROM units
WHERE span <@ unit AND upper(unit) <= extract(epoch FROM $2::timestamptz)
GROUP BY stream, unit HAVING count(*) > (SELECT count(*) FROM unnest(range_agg(span)))
ORDER BY unit, stream LIMIT 400

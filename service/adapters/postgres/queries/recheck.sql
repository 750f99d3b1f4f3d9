-- pending_rechecks
-- Which of these refunds are to be read again, and are helped by a read that has just been made; and whether
-- because of a hint.
SELECT c.object_id, c.hinted_at IS NOT NULL AS hinted FROM unnest($2::text[]) AS k(id)
CROSS JOIN LATERAL (
    SELECT * FROM refund_sync.recheck
    WHERE account_id = $1 AND kind = 'refund' AND object_id = k.id OFFSET 0
) AS c
WHERE c.due_at <= $3 OR c.hinted_at IS NOT NULL OR c.why <> ALL($4::text[])

-- queue_rechecks
-- Asks for these refunds to be read again; what is queued already keeps the earlier due time.
INSERT INTO refund_sync.recheck AS c (account_id, kind, object_id, due_at, why)
SELECT $1, 'refund', n.id, n.due_at, n.why
FROM unnest($2::text[], $3::text[], $4::timestamptz[]) AS n(id, why, due_at)
ORDER BY n.id
ON CONFLICT (account_id, kind, object_id) DO UPDATE SET
    due_at = least(c.due_at, excluded.due_at),
    why = CASE WHEN c.hinted_at IS NULL AND excluded.due_at < c.due_at THEN excluded.why ELSE c.why END
WHERE excluded.due_at < c.due_at AND c.why <> excluded.why

-- settle_rechecks
-- These refunds were read whole; a hint that came since the read began keeps its row.
DELETE FROM refund_sync.recheck c
USING unnest($2::text[], $3::timestamptz[]) AS n(id, observed_at)
WHERE c.object_id = n.id
    AND (c.hinted_at IS NULL OR refund_sync.known_at(c.hinted_at) < refund_sync.known_at(n.observed_at))
    AND c.ctid = ANY(ARRAY(
        SELECT t.ctid FROM unnest($2::text[]) AS k(id) CROSS JOIN LATERAL (
            SELECT ctid FROM refund_sync.recheck
            WHERE account_id = $1 AND kind = 'refund' AND object_id = k.id OFFSET 0
        ) AS t
    ))

-- settle_charge_hints
-- Hints about refunds of these charges: such a refund has appeared since.
DELETE FROM refund_sync.recheck c
USING unnest($2::text[], $3::timestamptz[]) AS n(charge_id, observed_at)
WHERE c.object_id = n.charge_id
    AND refund_sync.known_at(c.hinted_at) < refund_sync.known_at(n.observed_at)
    AND c.ctid = ANY(ARRAY(
        SELECT t.ctid FROM unnest($2::text[]) AS k(id) CROSS JOIN LATERAL (
            SELECT ctid FROM refund_sync.recheck
            WHERE account_id = $1 AND kind = 'charge' AND object_id = k.id OFFSET 0
        ) AS t
    ))

-- queue_hints
-- Word that these may have changed. What was read since it was given is not asked for again; what nobody
-- knew since, only by a hint that is newer by more than the precision of an event's second.
INSERT INTO refund_sync.recheck AS c (account_id, kind, object_id, due_at, hinted_at, why)
SELECT $1, n.kind, n.id, $2, n.at, 'hint'
FROM unnest($3::text[], $4::text[], $5::timestamptz[]) AS n(kind, id, at)
LEFT JOIN LATERAL (
    SELECT r.id FROM (
        SELECT id, observed_at, hidden_at, floor(extract(epoch FROM created_at) / 86400)::bigint * 86400 AS day
        FROM refund_sync.refund WHERE n.kind = 'refund' AND account_id = $1 AND id = n.id OFFSET 0
    ) AS r
    LEFT JOIN LATERAL (
        SELECT observed_at FROM refund_sync.span_check
        WHERE account_id = $1 AND stream = 'refunds' AND span = int8range(r.day, r.day + 86400) OFFSET 0
    ) AS s ON r.hidden_at IS NULL
    WHERE refund_sync.known_at(r.observed_at) > n.at OR refund_sync.known_at(s.observed_at) > n.at
    LIMIT 1
) AS a ON true
LEFT JOIN LATERAL (
    SELECT r.id FROM (
        SELECT k.account_id, k.refund_id FROM refund_sync.charge_link k
        WHERE n.kind = 'charge' AND k.charge_id = n.id AND k.account_id = $1 OFFSET 0
    ) AS l
    CROSS JOIN LATERAL (
        SELECT r.id FROM refund_sync.refund r
        WHERE r.account_id = l.account_id AND r.id = l.refund_id
            AND refund_sync.known_at(r.observed_at) > n.at OFFSET 0
    ) AS r
    LIMIT 1
) AS b ON true
WHERE a.id IS NULL AND b.id IS NULL
ORDER BY n.kind, n.id
ON CONFLICT (account_id, kind, object_id) DO UPDATE SET
    hinted_at = CASE WHEN refund_sync.known_at(c.hinted_at) > refund_sync.known_at(excluded.hinted_at)
        THEN c.hinted_at ELSE excluded.hinted_at END,
    due_at = least(c.due_at, excluded.due_at), why = 'hint', attempts = 0
WHERE c.hinted_at IS NULL OR refund_sync.known_at(c.hinted_at) < refund_sync.known_at(excluded.hinted_at)
    - CASE WHEN c.why IN ('not found', 'gone') THEN interval '2 seconds' ELSE interval '0' END

-- known_accounts
-- Which of these accounts this database holds.
SELECT id FROM refund_sync.account WHERE id = ANY($1::text[])

-- due_hinted
-- What hints name, oldest hint first. No more than the limit is looked up.
SELECT c.kind, c.object_id, c.why, coalesce(r.created, q.created) AS created, c.attempts,
    coalesce(r.hidden, q.hidden, false) AS hidden
FROM (
    SELECT * FROM refund_sync.recheck
    WHERE account_id = $1 AND due_at <= $2 AND hinted_at IS NOT NULL
    ORDER BY due_at, object_id LIMIT $3
) AS c
LEFT JOIN LATERAL (
    SELECT extract(epoch FROM created_at)::bigint AS created, hidden_at IS NOT NULL AS hidden
    FROM refund_sync.refund
    WHERE c.kind = 'refund' AND account_id = c.account_id AND id = c.object_id OFFSET 0
) AS r ON true
LEFT JOIN LATERAL (
    SELECT extract(epoch FROM created_at)::bigint AS created, unlisted @> extract(epoch FROM created_at)::bigint AS hidden
    FROM refund_sync.quarantine
    WHERE c.why = 'unknown' AND account_id = c.account_id AND object_id = c.object_id AND resolved_at IS NULL LIMIT 1
) AS q ON true
ORDER BY c.due_at, c.object_id

-- due_otherwise
-- What is due without a hint, longest ago first.
SELECT c.kind, c.object_id, c.why, coalesce(r.created, q.created) AS created, c.attempts,
    coalesce(r.hidden, q.hidden, false) AS hidden
FROM (
    SELECT * FROM refund_sync.recheck
    WHERE account_id = $1 AND due_at <= $2 AND hinted_at IS NULL
    ORDER BY due_at, object_id LIMIT $3
) AS c
LEFT JOIN LATERAL (
    SELECT extract(epoch FROM created_at)::bigint AS created, hidden_at IS NOT NULL AS hidden
    FROM refund_sync.refund
    WHERE c.kind = 'refund' AND account_id = c.account_id AND id = c.object_id OFFSET 0
) AS r ON true
LEFT JOIN LATERAL (
    SELECT extract(epoch FROM created_at)::bigint AS created, unlisted @> extract(epoch FROM created_at)::bigint AS hidden
    FROM refund_sync.quarantine
    WHERE c.why = 'unknown' AND account_id = c.account_id AND object_id = c.object_id AND resolved_at IS NULL LIMIT 1
) AS q ON true
ORDER BY c.due_at, c.object_id

-- refunds_by_hour
-- How many refunds are stored of each hour of these days, by first seconds. Each day is looked up by itself.
SELECT n.hour, n.refunds FROM unnest($2::bigint[]) AS d(day)
CROSS JOIN LATERAL (
    SELECT floor(extract(epoch FROM r.created_at) / 3600)::bigint * 3600 AS hour, count(*) AS refunds
    FROM refund_sync.refund r
    WHERE r.account_id = $1
        AND r.created_at >= to_timestamp(d.day) AND r.created_at < to_timestamp(d.day + 86400)
    GROUP BY 1 OFFSET 0
) AS n

-- refunds_between
-- How many refunds are stored between each of these days and the next of them, $3 at the most.
SELECT d.day, n.refunds
FROM (SELECT day, lead(day) OVER (ORDER BY day) AS next FROM unnest($2::bigint[]) AS u(day)) AS d
CROSS JOIN LATERAL (
    SELECT count(*) AS refunds FROM (
        SELECT FROM refund_sync.refund
        WHERE account_id = $1
            AND created_at >= to_timestamp(d.day + 86400) AND created_at < to_timestamp(d.next)
        LIMIT $3
    ) AS r
) AS n
WHERE d.next IS NOT NULL

-- stored_seconds
-- When those of these refunds that are stored were created, and whether lists return them.
SELECT k.id, r.created, r.hidden FROM unnest($2::text[]) AS k(id)
CROSS JOIN LATERAL (
    SELECT extract(epoch FROM created_at)::bigint AS created, coalesce(hidden_at, gone_at) IS NOT NULL AS hidden
    FROM refund_sync.refund WHERE account_id = $1 AND id = k.id OFFSET 0
) AS r

-- reschedule
-- What was read, and is still pending, is rescheduled for later each time; a newer hint keeps it due.
UPDATE refund_sync.recheck c SET
    attempts = c.attempts + 1, due_at = n.due_at, hinted_at = NULL,
    why = CASE WHEN c.why = 'hint' THEN 'unhydrated' ELSE c.why END
FROM unnest($2::text[], $3::text[], $4::timestamptz[]) AS n(id, why, due_at)
WHERE c.object_id = n.id AND c.why = n.why AND c.due_at <= $5
    AND (c.hinted_at IS NULL OR refund_sync.known_at(c.hinted_at) < refund_sync.known_at($6))
    AND c.ctid = ANY(ARRAY(
        SELECT t.ctid FROM unnest($2::text[]) AS k(id) CROSS JOIN LATERAL (
            SELECT ctid FROM refund_sync.recheck
            WHERE account_id = $1 AND kind = 'refund' AND object_id = k.id OFFSET 0
        ) AS t
    ))

-- settle_charges
-- All refunds of these charges were read.
DELETE FROM refund_sync.recheck c
WHERE (c.hinted_at IS NULL OR refund_sync.known_at(c.hinted_at) < refund_sync.known_at($3))
    AND c.ctid = ANY(ARRAY(
        SELECT t.ctid FROM unnest($2::text[]) AS k(id) CROSS JOIN LATERAL (
            SELECT ctid FROM refund_sync.recheck
            WHERE account_id = $1 AND kind = 'charge' AND object_id = k.id OFFSET 0
        ) AS t
    ))

-- still_hidden
-- Which of these refunds no listing returned since it missed them, and Stripe still knows.
SELECT k.id FROM unnest($2::text[]) AS k(id)
CROSS JOIN LATERAL (
    SELECT FROM refund_sync.refund
    WHERE account_id = $1 AND id = k.id AND hidden_at IS NOT NULL AND gone_at IS NULL AND unknown_at IS NULL
    OFFSET 0
) AS r

-- ask_later
-- This object could not be read: it is asked for again, ever less often, and shown. The hint is remembered,
-- so that the same event, listed again, does not make it due.
INSERT INTO refund_sync.recheck AS c (account_id, kind, object_id, due_at, why, attempts)
VALUES ($1, $2, $3, $4, $5, 1)
ON CONFLICT (account_id, kind, object_id) DO UPDATE SET
    attempts = CASE WHEN c.why <> excluded.why THEN 1 ELSE c.attempts + 1 END, due_at = excluded.due_at, why = excluded.why
WHERE c.hinted_at IS NULL OR refund_sync.known_at(c.hinted_at) < refund_sync.known_at($6)

-- drop_recheck
-- This object need not be asked for again.
DELETE FROM refund_sync.recheck
WHERE account_id = $1 AND kind = $2 AND object_id = $3
    AND (hinted_at IS NULL OR refund_sync.known_at(hinted_at) < refund_sync.known_at($4))

-- unlisted
-- Stored refunds of these spans that a listing of the whole spans did not return, those
-- that are known to be hidden too. Changes nothing.
SELECT found.id, found.created
FROM unnest($2::int8range[], $3::timestamptz[]) AS k(span, observed_at)
CROSS JOIN LATERAL (
    SELECT r.id, extract(epoch FROM r.created_at)::bigint AS created FROM refund_sync.refund r
    WHERE r.account_id = $1
        AND r.created_at >= to_timestamp(lower(k.span)) AND r.created_at < to_timestamp(upper(k.span))
        AND r.gone_at IS NULL
        AND refund_sync.known_at(r.first_seen_at) < k.observed_at AND r.id <> ALL($4::text[])
    OFFSET 0
) AS found
ORDER BY found.id

-- distrust
-- Locked rows that are not what their digest says were altered here: the next read that finds them puts them right.
UPDATE refund_sync.refund SET content_hash = substring(content_hash FOR 4) || '\x00'::bytea, received_hash = NULL
WHERE ctid = ANY(ARRAY(
    SELECT t.ctid FROM unnest($2::text[]) AS k(id) CROSS JOIN LATERAL (
        SELECT ctid FROM refund_sync.refund WHERE account_id = $1 AND id = k.id OFFSET 0
    ) AS t
))

-- miss
-- A listing of their whole second did not return these locked refunds: each is asked for by id.
WITH missed AS (
    UPDATE refund_sync.refund r SET hidden_at = n.observed_at
    FROM unnest($3::text[], $4::timestamptz[]) AS n(id, observed_at)
    WHERE r.id = n.id AND r.hidden_at IS NULL AND r.gone_at IS NULL AND r.ctid = ANY(ARRAY(
        SELECT t.ctid FROM unnest($3::text[]) AS k(id) CROSS JOIN LATERAL (
            SELECT ctid FROM refund_sync.refund WHERE account_id = $1 AND id = k.id OFFSET 0
        ) AS t
    ))
    RETURNING r.id
)
INSERT INTO refund_sync.recheck AS c (account_id, kind, object_id, due_at, why)
SELECT $1, 'refund', id, $2, 'not listed' FROM missed ORDER BY id
ON CONFLICT (account_id, kind, object_id) DO UPDATE SET
    due_at = least(c.due_at, excluded.due_at), why = excluded.why

-- hinted_since
-- Which of these have changed since by our own reading, or wait because of a hint: a net has them.
SELECT k.id FROM unnest($2::text[]) AS k(id)
CROSS JOIN LATERAL (
    SELECT refund_sync.known_at(observed_at) > $3 AS later
    FROM refund_sync.refund WHERE account_id = $1 AND id = k.id OFFSET 0
) AS r
LEFT JOIN LATERAL (
    SELECT hinted_at IS NOT NULL AS hinted FROM refund_sync.recheck
    WHERE account_id = $1 AND kind = 'refund' AND object_id = k.id OFFSET 0
) AS c ON true
WHERE r.later OR c.hinted

-- unread_since
-- Which of these are not stored, or were last read before.
SELECT k.id FROM unnest($2::text[]) AS k(id)
LEFT JOIN LATERAL (
    SELECT refund_sync.known_at(observed_at) AS observed_at
    FROM refund_sync.refund WHERE account_id = $1 AND id = k.id OFFSET 0
) AS r ON true
WHERE r.observed_at IS NULL OR r.observed_at < $3

-- days
-- Days of created time: when all of each was listed last, whether events that expired unread ask for it, and
-- how many of its refunds are due by themselves. A listing that lies in the future was dated by a clock that was ahead.
WITH due AS (
    SELECT floor(extract(epoch FROM r.created_at) / 86400)::bigint * 86400 AS day, count(*) AS pending
    FROM (
        SELECT object_id FROM refund_sync.recheck
        WHERE account_id = $1 AND due_at <= $4 AND kind = 'refund' AND why = ANY($5::text[])
    ) AS c
    CROSS JOIN LATERAL (
        SELECT created_at FROM refund_sync.refund WHERE account_id = $1 AND id = c.object_id OFFSET 0
    ) AS r
    GROUP BY 1
)
SELECT d.day, extract(epoch FROM CASE WHEN s.checked_at <= $4 + interval '5 seconds' THEN s.checked_at END)::float8 AS checked_s,
EXISTS (
    SELECT FROM refund_sync.event_gap g
    WHERE g.account_id = $1 AND g.closed_at IS NULL AND d.day < upper(g.span)
        AND to_timestamp(d.day + 86400) > g.read_from
        AND (s.observed_at IS NULL OR refund_sync.known_at(s.observed_at) <= g.found_at)
) AS outstanding, coalesce(due.pending, 0) AS pending
FROM generate_series($2::bigint, $3::bigint - 86400, 86400) AS d(day)
LEFT JOIN due ON due.day = d.day
LEFT JOIN refund_sync.span_check s
    ON s.account_id = $1 AND s.stream = 'refunds' AND s.span = int8range(d.day, d.day + 86400)
ORDER BY d.day

-- refunds_by_day
-- How many refunds of each day Stripe may list.
SELECT floor(extract(epoch FROM r.created_at) / 86400)::bigint * 86400 AS day, count(*) AS refunds
FROM refund_sync.refund r
WHERE r.account_id = $1
    AND r.created_at >= to_timestamp($2::bigint) AND r.created_at < to_timestamp($3::bigint)
    AND r.gone_at IS NULL AND r.hidden_at IS NULL
GROUP BY 1

-- days_in_turn
-- Covered days that were not listed since $5, in the order in which they were listed last; those that never
-- were, whole, come first, and so do those whose listing lies in the future.
SELECT d.day, n.refunds, extract(epoch FROM d.checked_at)::float8 AS checked_s, false AS outstanding,
    0::bigint AS pending
FROM (
    SELECT g.day, t.checked_at
    FROM generate_series($2::bigint, $3::bigint - 86400, 86400) AS g(day)
    JOIN refund_sync.coverage k
        ON k.account_id = $1 AND k.stream = 'refunds' AND k.covered @> int8range(g.day, g.day + 86400)
    LEFT JOIN LATERAL (
        SELECT checked_at FROM refund_sync.span_check
        WHERE account_id = $1 AND stream = 'refunds' AND span = int8range(g.day, g.day + 86400) OFFSET 0
    ) AS s ON true
    CROSS JOIN LATERAL (
        SELECT CASE WHEN s.checked_at <= $6::timestamptz + interval '5 seconds' THEN s.checked_at END AS checked_at
    ) AS t
    WHERE t.checked_at IS NULL OR t.checked_at < $5
    ORDER BY t.checked_at NULLS FIRST, g.day
    LIMIT $4
) d
CROSS JOIN LATERAL (
    SELECT count(*) AS refunds FROM refund_sync.refund r
    WHERE r.account_id = $1 AND r.created_at >= to_timestamp(d.day) AND r.created_at < to_timestamp(d.day + 86400)
) n
ORDER BY d.checked_at NULLS FIRST, d.day

-- check_spans
-- Spans that were listed whole; the later listing counts.
INSERT INTO refund_sync.span_check AS s (account_id, stream, span, observed_at, checked_at)
SELECT $1, n.stream, n.span, n.observed_at, $2
FROM unnest($3::text[], $4::int8range[], $5::timestamptz[]) AS n(stream, span, observed_at)
ORDER BY n.stream, n.span
ON CONFLICT (account_id, stream, span) DO UPDATE SET
    observed_at = excluded.observed_at, checked_at = excluded.checked_at
WHERE refund_sync.known_at(s.observed_at) < refund_sync.known_at(excluded.observed_at) OR s.checked_at IS NULL

-- oldest_outstanding
-- From when on refunds are to be read again because of events that expired unread.
SELECT extract(epoch FROM min(read_from))::bigint FROM refund_sync.event_gap
WHERE account_id = $1 AND closed_at IS NULL

-- event_gaps
-- Times whose events expired unread, ever.
SELECT span FROM refund_sync.event_gap WHERE account_id = $1

-- add_event_gap
-- Events of this span expired unread; found once.
INSERT INTO refund_sync.event_gap (account_id, span, found_at, read_from)
VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING

-- expedite_rechecks
-- What waits for one of these reasons is due at once.
UPDATE refund_sync.recheck SET due_at = $2
WHERE account_id = $1 AND why = ANY($3::text[]) AND due_at > $2

-- close_event_gaps
-- Closes the gaps that everything was read again for: every day of theirs, and every refund not final.
UPDATE refund_sync.event_gap g SET closed_at = $2, reason = 'all that may have changed was read again'
WHERE g.account_id = $1 AND g.closed_at IS NULL
    AND NOT EXISTS (
        SELECT FROM refund_sync.refund r
        LEFT JOIN refund_sync.span_check s
            ON s.account_id = r.account_id AND s.stream = 'refunds'
            AND s.span = int8range(
                floor(extract(epoch FROM r.created_at) / 86400)::bigint * 86400,
                floor(extract(epoch FROM r.created_at) / 86400)::bigint * 86400 + 86400
            )
        WHERE r.account_id = $1 AND r.gone_at IS NULL AND r.hidden_at IS NULL
            AND r.created_at >= g.read_from AND r.created_at < to_timestamp(upper(g.span))
            AND greatest(refund_sync.known_at(r.observed_at), refund_sync.known_at(s.observed_at)) <= g.found_at
    )
    AND NOT EXISTS (
        SELECT FROM refund_sync.recheck c
        CROSS JOIN LATERAL (
            SELECT * FROM refund_sync.refund r WHERE r.account_id = $1 AND r.id = c.object_id OFFSET 0
        ) AS r
        LEFT JOIN refund_sync.span_check s
            ON s.account_id = r.account_id AND s.stream = 'refunds'
            AND s.span = int8range(
                floor(extract(epoch FROM r.created_at) / 86400)::bigint * 86400,
                floor(extract(epoch FROM r.created_at) / 86400)::bigint * 86400 + 86400
            )
        WHERE c.account_id = $1 AND c.kind = 'refund' AND c.why = ANY($3::text[])
            AND greatest(refund_sync.known_at(r.observed_at), refund_sync.known_at(s.observed_at)) <= g.found_at
            AND c.due_at <= $2
    )
RETURNING span

-- count_reads
-- Adds to what was read of Stripe's API.
INSERT INTO refund_sync.read_count AS c (account_id, day, class, endpoint, reads)
SELECT $1, $2, n.class, n.endpoint, n.reads
FROM unnest($3::text[], $4::text[], $5::bigint[]) AS n(class, endpoint, reads)
ORDER BY n.class, n.endpoint
ON CONFLICT (account_id, day, class, endpoint) DO UPDATE SET reads = c.reads + excluded.reads

-- reads_by_class
-- What was read since that day, by class.
SELECT class, sum(reads)::bigint AS reads FROM refund_sync.read_count
WHERE account_id = $1 AND day > $2 GROUP BY class ORDER BY class

-- refunds_since
-- How many refunds were created since.
SELECT count(*) FROM refund_sync.refund WHERE account_id = $1 AND created_at >= $2

-- rechecks_waiting
-- What waits to be read again: how many, how many of them because of a hint, how many that nobody knows.
SELECT count(*) FILTER (WHERE due_at <= $2) AS due,
    count(*) FILTER (WHERE hinted_at IS NOT NULL AND why NOT IN ('not found', 'gone')) AS hinted,
    count(*) FILTER (WHERE why IN ('not found', 'unknown')) AS not_found
FROM refund_sync.recheck WHERE account_id = $1

-- rechecks_late
-- What has been due since then, of what Stripe knows: why, when it was created, and since when.
SELECT c.why, extract(epoch FROM r.created_at)::bigint AS created, extract(epoch FROM c.due_at)::float8 AS due_s
FROM refund_sync.recheck c
LEFT JOIN refund_sync.refund r
    ON c.kind = 'refund' AND r.account_id = c.account_id AND r.id = c.object_id
WHERE c.account_id = $1 AND c.due_at <= $2 AND c.why NOT IN ('not found', 'gone')
LIMIT 10000

-- refund_is_unknown
-- Stripe does not know this refund. It is gone after a second such answer, an interval of $4 after the first, and
-- a listing of its second without it. Row and history stay; a later read than this one wins. Says whether it is
-- gone; no row where none is stored.
WITH answered AS (
    UPDATE refund_sync.refund r SET unknown_at = coalesce(k.unknown_at, $3),
        gone_at = CASE WHEN k.unknown_at + $4::interval <= $3 AND r.hidden_at IS NOT NULL THEN $3 END
    FROM (
        SELECT CASE WHEN unknown_at = refund_sync.known_at(unknown_at) THEN unknown_at END AS unknown_at
        FROM refund_sync.refund WHERE account_id = $1 AND id = $2
    ) AS k
    WHERE r.account_id = $1 AND r.id = $2 AND r.gone_at IS NULL
        AND refund_sync.known_at(r.observed_at) < refund_sync.known_at($3)
    RETURNING r.gone_at IS NOT NULL AS gone
)
SELECT gone FROM answered
UNION ALL
SELECT gone_at IS NOT NULL FROM refund_sync.refund
WHERE account_id = $1 AND id = $2 AND NOT EXISTS (SELECT FROM answered)

-- clear_marks
-- These locked refunds were marked gone or hidden, and a later listing returned them.
UPDATE refund_sync.refund SET gone_at = NULL, hidden_at = NULL, unknown_at = NULL
WHERE ctid = ANY(ARRAY(
    SELECT t.ctid FROM unnest($2::text[]) AS k(id) CROSS JOIN LATERAL (
        SELECT ctid FROM refund_sync.refund WHERE account_id = $1 AND id = k.id OFFSET 0
    ) AS t
))

-- redate_event_gaps
-- Gaps found by a clock that was ahead count from now on: what was read before may have been read too early.
UPDATE refund_sync.event_gap SET found_at = clock_timestamp()
WHERE account_id = $1 AND closed_at IS NULL AND found_at > refund_sync.known_at(found_at)

-- redate_rechecks
-- Nothing is due later than $3 from now: what is was dated by a clock that was ahead.
UPDATE refund_sync.recheck SET due_at = $2 WHERE account_id = $1 AND due_at > $2::timestamptz + $3::interval

-- missed
-- Stored refunds of these spans that listings of the whole spans did not return, and that were not missed before.
SELECT found.id, k.observed_at
FROM unnest($2::int8range[], $3::timestamptz[]) AS k(span, observed_at)
CROSS JOIN LATERAL (
    SELECT r.id FROM refund_sync.refund r
    WHERE r.account_id = $1
        AND r.created_at >= to_timestamp(lower(k.span)) AND r.created_at < to_timestamp(upper(k.span))
        AND r.gone_at IS NULL AND r.hidden_at IS NULL
        AND refund_sync.known_at(r.first_seen_at) < k.observed_at AND r.id <> ALL($4::text[])
    OFFSET 0
) AS found
ORDER BY found.id

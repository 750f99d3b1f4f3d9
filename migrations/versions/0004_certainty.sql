-- What is known for certain. Statements are separated by a semicolon at the end of a line.

CREATE FUNCTION refund_sync.known_at(at timestamptz) RETURNS timestamptz
LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$ SELECT CASE WHEN at > clock_timestamp() + interval '5 seconds' THEN at - interval '365000 days' ELSE at END $$;

COMMENT ON FUNCTION refund_sync.known_at IS 'When something was read. A time in the future was taken from a clock that was ahead: nobody knows when it was, so it sorts before all known times, in its own order. Five seconds are tolerated, because clocks are compared by estimate.';

ALTER TABLE refund_sync.refund ADD COLUMN unknown_at TIMESTAMP WITH TIME ZONE;

COMMENT ON COLUMN refund_sync.refund.unknown_at IS 'When Stripe first answered that it does not know this id. The refund counts as gone after a second such answer an hour later, and a listing without it.';

COMMENT ON COLUMN refund_sync.refund.gone_at IS 'When Stripe was found to know it no longer: by two answers an hour apart and a listing of its second without it. The history stays.';

ALTER TABLE refund_sync.quarantine ADD COLUMN unknown_at TIMESTAMP WITH TIME ZONE;

COMMENT ON COLUMN refund_sync.quarantine.unknown_at IS 'When Stripe first answered that it does not know this id, or, without an id, when listings of its whole time first lacked it.';

ALTER TABLE refund_sync.quarantine ADD COLUMN unlisted INT8MULTIRANGE DEFAULT '{}'::int8multirange NOT NULL;

COMMENT ON COLUMN refund_sync.quarantine.unlisted IS 'Created-seconds (Unix time) that listings returned without it since it was last received.';

ALTER TABLE refund_sync.quarantine ADD COLUMN resolution TEXT;

COMMENT ON COLUMN refund_sync.quarantine.resolution IS 'Why it is resolved: decoded, or gone.';

UPDATE refund_sync.quarantine SET resolution = 'decoded' WHERE resolved_at IS NOT NULL;

ALTER TABLE refund_sync.quarantine ADD COLUMN found_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL;

COMMENT ON COLUMN refund_sync.quarantine.found_at IS 'When it was first received.';

UPDATE refund_sync.quarantine SET found_at = seen_at;

ALTER TABLE refund_sync.run ADD COLUMN passes INTEGER DEFAULT 1 NOT NULL;

COMMENT ON COLUMN refund_sync.run.passes IS 'How many runs of this job this row stands for. Runs in a row that found nothing new share one row a day.';

ALTER TABLE refund_sync.run ADD COLUMN first_started_at TIMESTAMP WITH TIME ZONE;

COMMENT ON COLUMN refund_sync.run.first_started_at IS 'When the first of these runs began; empty where the row stands for one.';

ALTER TABLE refund_sync.run ADD COLUMN returned BIGINT DEFAULT 0 NOT NULL;

COMMENT ON COLUMN refund_sync.run.returned IS 'Refunds that were marked gone or hidden, and were listed again.';

ALTER TABLE refund_sync.run ADD COLUMN unread BIGINT DEFAULT 0 NOT NULL;

COMMENT ON COLUMN refund_sync.run.unread IS 'Objects that Stripe did not give when they were asked for; they are asked for again.';

CREATE INDEX quarantine_open ON refund_sync.quarantine (account_id, resolved_at NULLS FIRST);

DROP INDEX refund_sync.recheck_due;

CREATE INDEX recheck_due ON refund_sync.recheck (account_id, due_at, object_id) WHERE hinted_at IS NULL;

CREATE INDEX recheck_hinted ON refund_sync.recheck (account_id, due_at, object_id) WHERE hinted_at IS NOT NULL;

DROP INDEX refund_sync.charge_link_charge;

CREATE INDEX charge_link_charge ON refund_sync.charge_link (charge_id, account_id);

CREATE INDEX coverage_claim_revoked ON refund_sync.coverage_claim (account_id, stream, observed_at) WHERE kind = 'revoked';

DROP INDEX refund_sync.refund_created;

CREATE INDEX refund_created ON refund_sync.refund (account_id, created_at);

DROP INDEX refund_sync.refund_hidden;

CREATE INDEX refund_hidden ON refund_sync.refund (account_id, created_at) WHERE hidden_at IS NOT NULL;

CREATE OR REPLACE VIEW finance.refunds AS
SELECT
    r.id AS refund_id,
    r.account_id,
    r.created_at,
    round(r.amount_minor * power(10::numeric, -c.exponent::int), c.exponent::int) AS amount,
    r.currency,
    r.amount_minor,
    r.status,
    r.reason,
    r.failure_reason,
    r.pending_reason,
    l.charge_id,
    l.payment_intent_id,
    r.customer_id,
    round(h.amount_minor * power(10::numeric, -hc.exponent::int), hc.exponent::int) AS charge_amount,
    h.payment_method_type,
    d.type AS destination_type,
    d.reference,
    d.reference_status,
    d.reference_type,
    l.balance_transaction_id,
    round(b.fee_minor * power(10::numeric, -bc.exponent::int), bc.exponent::int) AS fee,
    round(b.net_minor * power(10::numeric, -bc.exponent::int), bc.exponent::int) AS net,
    b.currency AS settlement_currency,
    b.exchange_rate,
    r.first_seen_at,
    r.observed_at,
    greatest(
        CASE WHEN r.observed_at <= clock_timestamp() + interval '5 seconds' THEN r.observed_at END,
        CASE WHEN s.observed_at <= clock_timestamp() + interval '5 seconds' THEN s.observed_at END
    ) AS state_checked_at
FROM refund_sync.refund r
JOIN refund_sync.charge_link l ON l.account_id = r.account_id AND l.refund_id = r.id
LEFT JOIN refund_sync.currency c ON c.code = r.currency
LEFT JOIN refund_sync.charge h ON h.account_id = l.account_id AND h.id = l.charge_id
LEFT JOIN refund_sync.currency hc ON hc.code = h.currency
LEFT JOIN refund_sync.destination_details d ON d.account_id = r.account_id AND d.refund_id = r.id
LEFT JOIN refund_sync.balance_transaction b
    ON b.account_id = l.account_id AND b.id = l.balance_transaction_id
LEFT JOIN refund_sync.currency bc ON bc.code = b.currency
LEFT JOIN refund_sync.span_check s
    ON s.account_id = r.account_id AND s.stream = 'refunds' AND r.hidden_at IS NULL
    AND s.span = int8range(
        div(extract(epoch FROM r.created_at), 86400)::bigint * 86400,
        div(extract(epoch FROM r.created_at), 86400)::bigint * 86400 + 86400
    )
WHERE r.gone_at IS NULL;

COMMENT ON COLUMN finance.refunds.state_checked_at IS 'When we last made sure that it is still so; empty where no clock can say when that was.';

CREATE OR REPLACE VIEW finance.completeness_by_month AS
WITH month AS (
    SELECT
        a.id AS account_id,
        m.start::date AS month,
        int8range(
            extract(epoch FROM m.start AT TIME ZONE 'UTC')::bigint,
            extract(epoch FROM (m.start + interval '1 month') AT TIME ZONE 'UTC')::bigint
        ) AS span
    FROM refund_sync.account a
    CROSS JOIN LATERAL generate_series(
        date_trunc('month', a.wanted_from AT TIME ZONE 'UTC'),
        date_trunc('month', now() AT TIME ZONE 'UTC'),
        interval '1 month'
    ) AS m (start)
), measured AS (
    SELECT
        m.account_id, m.month, m.span,
        m.span::int8multirange * coalesce(c.covered, '{}') AS covered,
        m.span::int8multirange - coalesce(c.covered, '{}') AS missing,
        m.span::int8multirange - coalesce(s.covered, '{}') AS seen_once,
        (
            SELECT count(*) FROM refund_sync.quarantine q
            WHERE q.account_id = m.account_id AND q.resolved_at IS NULL
                AND q.latest >= to_timestamp(lower(m.span)) AND q.earliest < to_timestamp(upper(m.span))
        ) AS quarantined
    FROM month m
    LEFT JOIN refund_sync.coverage c ON c.account_id = m.account_id AND c.stream = 'refunds'
    LEFT JOIN refund_sync.coverage s ON s.account_id = m.account_id AND s.stream = 'refunds:settled'
), judged AS (
    SELECT *, CASE
        WHEN NOT isempty(missing) OR quarantined > 0 OR upper(span) > extract(epoch FROM now()) THEN 'partial'
        WHEN isempty(seen_once) THEN 'complete'
        ELSE 'covered'
    END AS state
    FROM measured
)
SELECT
    account_id,
    month,
    trunc((
        SELECT coalesce(sum(upper(part) - lower(part)), 0) FROM unnest(covered) AS part
    ) / (upper(span) - lower(span))::numeric, 6) AS share_covered,
    state = 'complete' AS complete,
    (
        SELECT coalesce(
            range_agg(tstzrange(to_timestamp(lower(part)), to_timestamp(upper(part)))), '{}'
        )
        FROM unnest(
            missing * int8multirange(int8range(NULL, ceil(extract(epoch FROM now()))::bigint))
        ) AS part
    ) AS gaps,
    quarantined,
    state
FROM judged;

COMMENT ON VIEW finance.completeness_by_month IS 'Which months (UTC) are complete: every refund that Stripe lists there is stored, and every day was listed once more after it was a day old.';

COMMENT ON COLUMN finance.completeness_by_month.complete IS 'True when state is complete.';

COMMENT ON COLUMN finance.completeness_by_month.state IS 'partial: not over, not covered in every second, or something of it is in quarantine. covered: every second was listed once. complete: every second was listed again at least a day after it passed, so that what Stripe lists late is in too.';

-- What the nets need that catch later changes. Statements are separated by a semicolon at the end of a line.

ALTER TABLE refund_sync.refund ADD COLUMN hidden_at TIMESTAMP WITH TIME ZONE;

CREATE INDEX refund_hidden ON refund_sync.refund (created_at) WHERE hidden_at IS NOT NULL;

ALTER TABLE refund_sync.refund ADD COLUMN received_hash BYTEA;

COMMENT ON COLUMN refund_sync.refund.received_hash IS 'Digest of all that the list sent of it, to tell at once that nothing is new.';

COMMENT ON COLUMN refund_sync.refund.hidden_at IS 'When Stripe was found not to list it, though it still knows it: on a test clock, say. Empty when it is listed.';

COMMENT ON COLUMN refund_sync.refund_version.source IS 'What found it: list, second look, recheck, hint, verify, fetch, cancel; upgrade where only our own form changed.';

COMMENT ON COLUMN refund_sync.run.job IS 'backfill, sync, newest part, fill of history, second look, events, rechecks, verify, fetch, cancel.';

COMMENT ON COLUMN refund_sync.coverage.stream IS 'What is covered: refunds, events; with :settled, what was listed again a day later.';

COMMENT ON COLUMN refund_sync.coverage_claim.rows IS 'How many objects the read listed in the span, with those stored that are known to be hidden.';

COMMENT ON COLUMN refund_sync.recheck.kind IS 'refund; or charge, whose refunds are then all read.';

COMMENT ON COLUMN refund_sync.recheck.why IS 'Why it is to be read again: hint, unhydrated, open, reference pending, not listed …';

DROP INDEX refund_sync.recheck_due;

CREATE INDEX recheck_due ON refund_sync.recheck (due_at);

INSERT INTO refund_sync.recheck (account_id, kind, object_id, due_at, why)
SELECT r.account_id, 'refund', r.id, now(), CASE
    WHEN r.status IN ('failed', 'canceled') THEN 'return leg unknown'
    WHEN r.status = 'succeeded' THEN 'reference pending'
    ELSE 'open' END
FROM refund_sync.refund r
JOIN refund_sync.charge_link l ON l.account_id = r.account_id AND l.refund_id = r.id
LEFT JOIN refund_sync.destination_details d ON d.account_id = r.account_id AND d.refund_id = r.id
WHERE r.gone_at IS NULL AND (
    r.status IS NULL OR r.status NOT IN ('succeeded', 'failed', 'canceled')
    OR r.created_at > now() - interval '90 days' AND (
        r.status = 'succeeded' AND 'pending' IN (d.reference_status, d.card_type)
        OR r.status IN ('failed', 'canceled') AND l.balance_transaction_id IS NOT NULL
            AND l.failure_balance_transaction_id IS NULL
    )
)
ON CONFLICT DO NOTHING;

ALTER TABLE refund_sync.run ADD COLUMN hinted BIGINT DEFAULT 0 NOT NULL;

COMMENT ON COLUMN refund_sync.run.hinted IS 'Hints that told something new.';

ALTER TABLE refund_sync.span_check ADD COLUMN checked_at TIMESTAMP WITH TIME ZONE;

COMMENT ON COLUMN refund_sync.span_check.checked_at IS 'The same by the clock that due times are reckoned with.';

COMMENT ON TABLE refund_sync.span_check IS 'Days (UTC) whose refunds were all listed again, and when: their state was checked then.';

CREATE TABLE refund_sync.event_gap (
    account_id TEXT COLLATE "C" NOT NULL,
    span INT8RANGE NOT NULL,
    found_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    read_from TIMESTAMP WITH TIME ZONE NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    reason TEXT,
    PRIMARY KEY (account_id, span)
);

COMMENT ON TABLE refund_sync.event_gap IS 'Times whose events expired at Stripe before they were read. Refunds that may have changed then are read again.';

COMMENT ON COLUMN refund_sync.event_gap.account_id IS 'Stripe account that the row belongs to (acct_…).';

COMMENT ON COLUMN refund_sync.event_gap.span IS 'Created-seconds of the events (Unix time), the end not included.';

COMMENT ON COLUMN refund_sync.event_gap.found_at IS 'When the gap was found, by the database''s clock: whatever is read later makes up for it.';

COMMENT ON COLUMN refund_sync.event_gap.read_from IS 'Refunds created from here to the end of the span are read again, and those that are not final.';

COMMENT ON COLUMN refund_sync.event_gap.closed_at IS 'When the last of them had been read again.';

COMMENT ON COLUMN refund_sync.event_gap.reason IS 'How it was closed.';

CREATE TABLE refund_sync.read_count (
    account_id TEXT COLLATE "C" NOT NULL,
    day DATE NOT NULL,
    class TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    reads BIGINT NOT NULL,
    PRIMARY KEY (account_id, day, class, endpoint)
);

COMMENT ON TABLE refund_sync.read_count IS 'Reads of Stripe''s API, every attempt counted. Stripe allows 500 a transaction over 30 days, and at least 10,000.';

COMMENT ON COLUMN refund_sync.read_count.account_id IS 'Stripe account that the row belongs to (acct_…).';

COMMENT ON COLUMN refund_sync.read_count.day IS 'Day, UTC.';

COMMENT ON COLUMN refund_sync.read_count.class IS 'What for: backfill, polls, hints, rechecks, revisits, verify, or asked (by a person).';

COMMENT ON COLUMN refund_sync.read_count.endpoint IS 'What was asked.';

COMMENT ON COLUMN refund_sync.read_count.reads IS 'How often.';

CREATE TABLE refund_sync.lease (
    account_id TEXT COLLATE "C" NOT NULL,
    epoch BIGINT NOT NULL,
    holder TEXT NOT NULL,
    taken_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (account_id)
);

COMMENT ON TABLE refund_sync.lease IS 'Which daemon works for an account. Each of its transactions holds on to this row to the end.';

COMMENT ON COLUMN refund_sync.lease.account_id IS 'Stripe account that the row belongs to (acct_…).';

COMMENT ON COLUMN refund_sync.lease.epoch IS 'Grows with each takeover, and never falls: an older holder cannot commit.';

COMMENT ON COLUMN refund_sync.lease.holder IS 'Machine and process of the daemon.';

COMMENT ON COLUMN refund_sync.lease.taken_at IS 'When it took over.';

CREATE TABLE refund_sync.lease_renewal (
    account_id TEXT COLLATE "C" NOT NULL,
    epoch BIGINT NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (account_id)
);

COMMENT ON TABLE refund_sync.lease_renewal IS 'Until when the holder of a lease is taken to live. A row of its own, so that writers never delay it.';

COMMENT ON COLUMN refund_sync.lease_renewal.account_id IS 'Stripe account that the row belongs to (acct_…).';

COMMENT ON COLUMN refund_sync.lease_renewal.epoch IS 'The lease that it renews.';

COMMENT ON COLUMN refund_sync.lease_renewal.expires_at IS 'When another may take over, by the database''s clock.';

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
    greatest(r.observed_at, s.observed_at) AS state_checked_at
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

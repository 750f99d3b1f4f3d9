-- Comments in plain words; nothing else. Statements are separated by a semicolon at the end of a line.

COMMENT ON COLUMN refund_sync.span_check.checked_at IS 'The same by the clock that due times are computed with.';

COMMENT ON COLUMN refund_sync.account.key_digests IS 'Digests of the API keys that Stripe said are this account''s; no key can be computed from them.';

COMMENT ON COLUMN refund_sync.run.updated_at IS 'When it last reported its progress.';

COMMENT ON COLUMN refund_sync.run.late IS 'Refunds that arrived late: new in seconds that were covered before.';

COMMENT ON COLUMN refund_sync.run.hinted IS 'Hints that were new.';

COMMENT ON COLUMN refund_sync.event_gap.found_at IS 'When the gap was found, by the database''s clock: a read that begins later makes up for it.';

COMMENT ON COLUMN refund_sync.recheck.hinted_at IS 'When the newest hint was received that it may have changed.';

COMMENT ON COLUMN refund_sync.refund.content_hash IS 'Digest of the columns: equal if a read found nothing else.';

COMMENT ON COLUMN refund_sync.refund.received_hash IS 'Digest of all that the list sent of it, equal if nothing changed.';

COMMENT ON COLUMN refund_sync.charge.content_hash IS 'Digest of the columns: equal if a read found nothing else.';

COMMENT ON TABLE refund_sync.destination_details IS 'Where the money went. No row where Stripe returns nothing.';

COMMENT ON COLUMN refund_sync.destination_details.details IS 'All that Stripe returns about this kind of destination.';

COMMENT ON COLUMN refund_sync.balance_transaction.content_hash IS 'Digest of the columns: equal if a read found nothing else.';

COMMENT ON COLUMN finance.refunds.customer_id IS 'Customer, where Stripe returns one.';

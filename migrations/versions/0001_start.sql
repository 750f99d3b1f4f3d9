-- The first schema. Statements are separated by a semicolon at the end of a line.

COMMENT ON SCHEMA refund_sync IS 'Stripe refunds as synced, and the proof of what was read. Kept by refund-sync; read the views in finance.';

CREATE TABLE refund_sync.account (
    id TEXT COLLATE "C" NOT NULL,
    livemode BOOLEAN NOT NULL,
    wanted_from TIMESTAMP WITH TIME ZONE NOT NULL,
    settled_until TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id)
);

COMMENT ON TABLE refund_sync.account IS 'Stripe accounts that are synced into this database.';

COMMENT ON COLUMN refund_sync.account.id IS 'Stripe account (acct_…).';

COMMENT ON COLUMN refund_sync.account.livemode IS 'True for live mode; a database holds one mode only.';

COMMENT ON COLUMN refund_sync.account.wanted_from IS 'Refunds created from here on are wanted.';

COMMENT ON COLUMN refund_sync.account.settled_until IS 'How far the history could be proven when it was last read.';

COMMENT ON COLUMN refund_sync.account.created_at IS 'When this account was first synced.';

CREATE TABLE refund_sync.balance_transaction (
    account_id TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    refund_id TEXT COLLATE "C",
    source TEXT COLLATE "C",
    type TEXT NOT NULL,
    reporting_category TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    fee_minor BIGINT NOT NULL,
    net_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    exchange_rate NUMERIC,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    available_on TIMESTAMP WITH TIME ZONE NOT NULL,
    status TEXT NOT NULL,
    payout_id TEXT COLLATE "C",
    content_hash BYTEA NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (account_id, id)
);

CREATE INDEX balance_transaction_refund ON refund_sync.balance_transaction (refund_id);

COMMENT ON TABLE refund_sync.balance_transaction IS 'Lines of Stripe''s ledger that belong to refunds.';

COMMENT ON COLUMN refund_sync.balance_transaction.account_id IS 'Stripe account that the row belongs to (acct_…).';

COMMENT ON COLUMN refund_sync.balance_transaction.id IS 'Ledger line (txn_…).';

COMMENT ON COLUMN refund_sync.balance_transaction.refund_id IS 'Refund that it belongs to, where it belongs to one.';

COMMENT ON COLUMN refund_sync.balance_transaction.source IS 'Object that caused it.';

COMMENT ON COLUMN refund_sync.balance_transaction.type IS 'Stripe''s type: refund, payment_refund, refund_failure …';

COMMENT ON COLUMN refund_sync.balance_transaction.reporting_category IS 'Stripe''s category for reports; use this one to sum by.';

COMMENT ON COLUMN refund_sync.balance_transaction.amount_minor IS 'Gross in minor units: negative leaves your balance.';

COMMENT ON COLUMN refund_sync.balance_transaction.fee_minor IS 'Fee in minor units; positive is charged to you.';

COMMENT ON COLUMN refund_sync.balance_transaction.net_minor IS 'Gross less fee, in minor units.';

COMMENT ON COLUMN refund_sync.balance_transaction.currency IS 'Currency of your balance, lower-case ISO code.';

COMMENT ON COLUMN refund_sync.balance_transaction.exchange_rate IS 'From the charge''s currency to your balance''s.';

COMMENT ON COLUMN refund_sync.balance_transaction.created_at IS 'When it was booked.';

COMMENT ON COLUMN refund_sync.balance_transaction.available_on IS 'When the money becomes, or stops being, available.';

COMMENT ON COLUMN refund_sync.balance_transaction.status IS 'pending or available.';

COMMENT ON COLUMN refund_sync.balance_transaction.payout_id IS 'Payout that settled it (po_…), once known.';

COMMENT ON COLUMN refund_sync.balance_transaction.content_hash IS 'Digest of the columns, to tell quickly whether a read found something else.';

COMMENT ON COLUMN refund_sync.balance_transaction.observed_at IS 'When we asked Stripe, by the database''s clock.';

CREATE TABLE refund_sync.charge (
    account_id TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    amount_minor BIGINT NOT NULL,
    amount_captured_minor BIGINT,
    amount_refunded_minor BIGINT,
    currency TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    payment_method_type TEXT,
    balance_transaction_id TEXT COLLATE "C",
    transfer_id TEXT COLLATE "C",
    application_fee_id TEXT COLLATE "C",
    on_behalf_of TEXT COLLATE "C",
    content_hash BYTEA NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (account_id, id)
);

COMMENT ON TABLE refund_sync.charge IS 'Charges that refunds point to, each as it was last seen.';

COMMENT ON COLUMN refund_sync.charge.account_id IS 'Stripe account that the row belongs to (acct_…).';

COMMENT ON COLUMN refund_sync.charge.id IS 'Charge (ch_… or py_…).';

COMMENT ON COLUMN refund_sync.charge.amount_minor IS 'Amount charged, in minor units.';

COMMENT ON COLUMN refund_sync.charge.amount_captured_minor IS 'Amount captured, in minor units.';

COMMENT ON COLUMN refund_sync.charge.amount_refunded_minor IS 'Amount refunded by then, in minor units.';

COMMENT ON COLUMN refund_sync.charge.currency IS 'Currency of the charge, lower-case ISO code.';

COMMENT ON COLUMN refund_sync.charge.created_at IS 'When the charge was made.';

COMMENT ON COLUMN refund_sync.charge.payment_method_type IS 'How the customer paid: card, ideal, sepa_debit …';

COMMENT ON COLUMN refund_sync.charge.balance_transaction_id IS 'Ledger line of the charge (txn_…).';

COMMENT ON COLUMN refund_sync.charge.transfer_id IS 'Transfer to a connected account (tr_…).';

COMMENT ON COLUMN refund_sync.charge.application_fee_id IS 'Application fee taken (fee_…).';

COMMENT ON COLUMN refund_sync.charge.on_behalf_of IS 'Account on whose behalf the charge was made (acct_…).';

COMMENT ON COLUMN refund_sync.charge.content_hash IS 'Digest of the columns, to tell quickly whether a read found something else.';

COMMENT ON COLUMN refund_sync.charge.observed_at IS 'When we asked Stripe, by the database''s clock.';

CREATE TABLE refund_sync.charge_link (
    account_id TEXT COLLATE "C" NOT NULL,
    refund_id TEXT COLLATE "C" NOT NULL,
    charge_id TEXT COLLATE "C",
    payment_intent_id TEXT COLLATE "C",
    balance_transaction_id TEXT COLLATE "C",
    failure_balance_transaction_id TEXT COLLATE "C",
    transfer_reversal_id TEXT COLLATE "C",
    source_transfer_reversal_id TEXT COLLATE "C",
    PRIMARY KEY (account_id, refund_id)
);

CREATE INDEX charge_link_charge ON refund_sync.charge_link (charge_id);

CREATE INDEX charge_link_payment_intent ON refund_sync.charge_link (payment_intent_id);

COMMENT ON TABLE refund_sync.charge_link IS 'What ties a refund to its charge, payment and ledger lines: one row for each refund.';

COMMENT ON COLUMN refund_sync.charge_link.account_id IS 'Stripe account that the row belongs to (acct_…).';

COMMENT ON COLUMN refund_sync.charge_link.refund_id IS 'Refund (re_… or pyr_…).';

COMMENT ON COLUMN refund_sync.charge_link.charge_id IS 'Charge that was refunded (ch_… or py_…).';

COMMENT ON COLUMN refund_sync.charge_link.payment_intent_id IS 'Payment intent of the charge (pi_…).';

COMMENT ON COLUMN refund_sync.charge_link.balance_transaction_id IS 'Ledger line that takes the money from your balance (txn_…).';

COMMENT ON COLUMN refund_sync.charge_link.failure_balance_transaction_id IS 'Ledger line that gives it back after a failure (txn_…).';

COMMENT ON COLUMN refund_sync.charge_link.transfer_reversal_id IS 'Reversal of the transfer to a connected account (trr_…).';

COMMENT ON COLUMN refund_sync.charge_link.source_transfer_reversal_id IS 'Reversal on the side of the connected account (trr_…).';

CREATE TABLE refund_sync.coverage (
    account_id TEXT COLLATE "C" NOT NULL,
    stream TEXT NOT NULL,
    covered INT8MULTIRANGE DEFAULT '{}'::int8multirange NOT NULL,
    PRIMARY KEY (account_id, stream)
);

COMMENT ON TABLE refund_sync.coverage IS 'What is proven complete. The fold of coverage_claim, changed only with the rows it proves.';

COMMENT ON COLUMN refund_sync.coverage.account_id IS 'Stripe account that the row belongs to (acct_…).';

COMMENT ON COLUMN refund_sync.coverage.stream IS 'What is covered: refunds; refunds:settled, listed again a day later.';

COMMENT ON COLUMN refund_sync.coverage.covered IS 'Created-seconds (Unix time) that are proven complete.';

CREATE TABLE refund_sync.coverage_claim (
    seq BIGINT GENERATED ALWAYS AS IDENTITY,
    account_id TEXT COLLATE "C" NOT NULL,
    stream TEXT NOT NULL,
    kind TEXT NOT NULL,
    span INT8RANGE NOT NULL,
    rows BIGINT NOT NULL,
    digest BIGINT NOT NULL,
    run_id UUID,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (seq)
);

CREATE INDEX coverage_claim_stream ON refund_sync.coverage_claim (account_id, stream, seq);

COMMENT ON TABLE refund_sync.coverage_claim IS 'Every proof of completeness, so that coverage can be audited: rows and digest can be recomputed.';

COMMENT ON COLUMN refund_sync.coverage_claim.seq IS 'Order of the claims.';

COMMENT ON COLUMN refund_sync.coverage_claim.account_id IS 'Stripe account that the row belongs to (acct_…).';

COMMENT ON COLUMN refund_sync.coverage_claim.stream IS 'What is claimed to be complete.';

COMMENT ON COLUMN refund_sync.coverage_claim.kind IS 'covered, or revoked where a claim was found to be false.';

COMMENT ON COLUMN refund_sync.coverage_claim.span IS 'Created-seconds (Unix time), the end not included.';

COMMENT ON COLUMN refund_sync.coverage_claim.rows IS 'How many objects the read listed in the span.';

COMMENT ON COLUMN refund_sync.coverage_claim.digest IS 'Digest of their ids: XOR of the first eight bytes of each one''s SHA-256.';

COMMENT ON COLUMN refund_sync.coverage_claim.run_id IS 'Run that made the claim.';

COMMENT ON COLUMN refund_sync.coverage_claim.observed_at IS 'When we asked Stripe, by the database''s clock.';

COMMENT ON COLUMN refund_sync.coverage_claim.recorded_at IS 'When the claim was committed.';

CREATE TABLE refund_sync.currency (
    code TEXT NOT NULL,
    exponent SMALLINT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (code)
);

COMMENT ON TABLE refund_sync.currency IS 'Currencies as Stripe counts them: ISK and UGX travel with two decimals.';

COMMENT ON COLUMN refund_sync.currency.code IS 'Lower-case ISO code.';

COMMENT ON COLUMN refund_sync.currency.exponent IS 'Decimals of Stripe''s amounts: 2 means that 100 is 1.00.';

COMMENT ON COLUMN refund_sync.currency.name IS 'Name of the currency.';

CREATE TABLE refund_sync.destination_details (
    account_id TEXT COLLATE "C" NOT NULL,
    refund_id TEXT COLLATE "C" NOT NULL,
    type TEXT NOT NULL,
    reference TEXT,
    reference_status TEXT,
    reference_type TEXT,
    card_type TEXT,
    network_decline_code TEXT,
    details JSONB NOT NULL,
    PRIMARY KEY (account_id, refund_id)
);

COMMENT ON TABLE refund_sync.destination_details IS 'Where the money went. No row where Stripe tells nothing.';

COMMENT ON COLUMN refund_sync.destination_details.account_id IS 'Stripe account that the row belongs to (acct_…).';

COMMENT ON COLUMN refund_sync.destination_details.refund_id IS 'Refund (re_… or pyr_…).';

COMMENT ON COLUMN refund_sync.destination_details.type IS 'Kind of destination: card, eu_bank_transfer, paypal …';

COMMENT ON COLUMN refund_sync.destination_details.reference IS 'Number by which the customer''s bank finds the refund, such as an ARN.';

COMMENT ON COLUMN refund_sync.destination_details.reference_status IS 'pending, available or unavailable.';

COMMENT ON COLUMN refund_sync.destination_details.reference_type IS 'What kind of number the reference is.';

COMMENT ON COLUMN refund_sync.destination_details.card_type IS 'For cards: pending, refund or reversal.';

COMMENT ON COLUMN refund_sync.destination_details.network_decline_code IS 'Why the network declined it.';

COMMENT ON COLUMN refund_sync.destination_details.details IS 'All that Stripe tells of this kind of destination.';

CREATE TABLE refund_sync.quarantine (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    account_id TEXT COLLATE "C" NOT NULL,
    stream TEXT NOT NULL,
    object_id TEXT COLLATE "C",
    payload TEXT NOT NULL,
    error TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE,
    earliest TIMESTAMP WITH TIME ZONE NOT NULL,
    latest TIMESTAMP WITH TIME ZONE NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    resolved_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id)
);

CREATE UNIQUE INDEX quarantine_unresolved ON refund_sync.quarantine (account_id, stream, object_id) WHERE resolved_at IS NULL AND object_id IS NOT NULL;

COMMENT ON TABLE refund_sync.quarantine IS 'Objects that could not be decoded. Until resolved, their months are not complete.';

COMMENT ON COLUMN refund_sync.quarantine.id IS 'Number of the entry.';

COMMENT ON COLUMN refund_sync.quarantine.account_id IS 'Stripe account that the row belongs to (acct_…).';

COMMENT ON COLUMN refund_sync.quarantine.stream IS 'Where it was listed.';

COMMENT ON COLUMN refund_sync.quarantine.object_id IS 'Its id, if that could be read.';

COMMENT ON COLUMN refund_sync.quarantine.payload IS 'The object as received, personal data masked.';

COMMENT ON COLUMN refund_sync.quarantine.error IS 'Why it could not be decoded.';

COMMENT ON COLUMN refund_sync.quarantine.created_at IS 'When it was created, if that could be read.';

COMMENT ON COLUMN refund_sync.quarantine.earliest IS 'It was created no earlier.';

COMMENT ON COLUMN refund_sync.quarantine.latest IS 'It was created no later.';

COMMENT ON COLUMN refund_sync.quarantine.seen_at IS 'When it was last received.';

COMMENT ON COLUMN refund_sync.quarantine.resolved_at IS 'When it could be decoded, or was gone.';

CREATE TABLE refund_sync.recheck (
    account_id TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL,
    object_id TEXT COLLATE "C" NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    hinted_at TIMESTAMP WITH TIME ZONE,
    why TEXT NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    PRIMARY KEY (account_id, kind, object_id)
);

CREATE INDEX recheck_due ON refund_sync.recheck (account_id, due_at);

COMMENT ON TABLE refund_sync.recheck IS 'Objects due to be read again.';

COMMENT ON COLUMN refund_sync.recheck.account_id IS 'Stripe account that the row belongs to (acct_…).';

COMMENT ON COLUMN refund_sync.recheck.kind IS 'refund or charge.';

COMMENT ON COLUMN refund_sync.recheck.object_id IS 'Object to read again.';

COMMENT ON COLUMN refund_sync.recheck.due_at IS 'When it is due.';

COMMENT ON COLUMN refund_sync.recheck.hinted_at IS 'When we last heard that it may have changed.';

COMMENT ON COLUMN refund_sync.recheck.why IS 'Why it is to be read again.';

COMMENT ON COLUMN refund_sync.recheck.attempts IS 'How often reading it failed.';

CREATE TABLE refund_sync.refund (
    account_id TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    status TEXT,
    reason TEXT,
    failure_reason TEXT,
    pending_reason TEXT,
    receipt_number TEXT,
    description TEXT,
    metadata JSONB,
    presentment_amount_minor BIGINT,
    presentment_currency TEXT,
    next_action_type TEXT,
    next_action_expires_at TIMESTAMP WITH TIME ZONE,
    customer_id TEXT COLLATE "C",
    payment_method_id TEXT COLLATE "C",
    raw JSONB NOT NULL,
    content_hash BYTEA NOT NULL,
    version INTEGER NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    first_listed_at TIMESTAMP WITH TIME ZONE,
    gone_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (account_id, id)
);

CREATE INDEX refund_created ON refund_sync.refund (created_at);

COMMENT ON TABLE refund_sync.refund IS 'Refunds, each as it was last seen. Its earlier versions are in refund_version.';

COMMENT ON COLUMN refund_sync.refund.account_id IS 'Stripe account that the row belongs to (acct_…).';

COMMENT ON COLUMN refund_sync.refund.id IS 'Refund (re_… or pyr_…).';

COMMENT ON COLUMN refund_sync.refund.created_at IS 'When the refund was created at Stripe.';

COMMENT ON COLUMN refund_sync.refund.amount_minor IS 'Amount in minor units of the currency (cents; whole yen).';

COMMENT ON COLUMN refund_sync.refund.currency IS 'Currency of the charge, lower-case ISO code.';

COMMENT ON COLUMN refund_sync.refund.status IS 'pending, requires_action, succeeded, failed, canceled, or what Stripe adds.';

COMMENT ON COLUMN refund_sync.refund.reason IS 'Why it was refunded, as given to Stripe.';

COMMENT ON COLUMN refund_sync.refund.failure_reason IS 'Why it failed, once it has.';

COMMENT ON COLUMN refund_sync.refund.pending_reason IS 'Why it is still pending.';

COMMENT ON COLUMN refund_sync.refund.receipt_number IS 'Number on the receipt that was sent.';

COMMENT ON COLUMN refund_sync.refund.description IS 'Free text, shown for refunds that are not to a card; masked.';

COMMENT ON COLUMN refund_sync.refund.metadata IS 'Your own keys, such as order ids; masked.';

COMMENT ON COLUMN refund_sync.refund.presentment_amount_minor IS 'Amount as the customer saw it, in minor units.';

COMMENT ON COLUMN refund_sync.refund.presentment_currency IS 'Currency that the customer saw.';

COMMENT ON COLUMN refund_sync.refund.next_action_type IS 'What the customer has to do to get the money.';

COMMENT ON COLUMN refund_sync.refund.next_action_expires_at IS 'Until when the customer can do it.';

COMMENT ON COLUMN refund_sync.refund.customer_id IS 'Customer (cus_…).';

COMMENT ON COLUMN refund_sync.refund.payment_method_id IS 'Payment method (pm_…).';

COMMENT ON COLUMN refund_sync.refund.raw IS 'The refund as Stripe sent it, without expansions, personal data masked.';

COMMENT ON COLUMN refund_sync.refund.content_hash IS 'Digest of the columns, to tell quickly whether a read found something else.';

COMMENT ON COLUMN refund_sync.refund.version IS 'Which version of the refund this is, from 1 on.';

COMMENT ON COLUMN refund_sync.refund.observed_at IS 'When we asked Stripe, by the database''s clock.';

COMMENT ON COLUMN refund_sync.refund.first_seen_at IS 'When a read first found this refund.';

COMMENT ON COLUMN refund_sync.refund.first_listed_at IS 'When a list first named this refund; empty if none ever did.';

COMMENT ON COLUMN refund_sync.refund.gone_at IS 'When Stripe was found to know it no longer; the history stays.';

CREATE TABLE refund_sync.refund_version (
    account_id TEXT COLLATE "C" NOT NULL,
    refund_id TEXT COLLATE "C" NOT NULL,
    version INTEGER NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    source TEXT NOT NULL,
    changes JSONB,
    raw JSONB NOT NULL,
    PRIMARY KEY (account_id, refund_id, version)
);

COMMENT ON TABLE refund_sync.refund_version IS 'Every version of every refund that was ever seen. Rows are added, never changed.';

COMMENT ON COLUMN refund_sync.refund_version.account_id IS 'Stripe account that the row belongs to (acct_…).';

COMMENT ON COLUMN refund_sync.refund_version.refund_id IS 'Refund (re_… or pyr_…).';

COMMENT ON COLUMN refund_sync.refund_version.version IS '1 for the first that we saw.';

COMMENT ON COLUMN refund_sync.refund_version.observed_at IS 'When we asked Stripe, by the database''s clock.';

COMMENT ON COLUMN refund_sync.refund_version.recorded_at IS 'When it was written here.';

COMMENT ON COLUMN refund_sync.refund_version.source IS 'What found it: list, second look, fetch; upgrade where only our own form changed.';

COMMENT ON COLUMN refund_sync.refund_version.changes IS 'What changed: {field: [before, after]}; empty for the first.';

COMMENT ON COLUMN refund_sync.refund_version.raw IS 'The refund as Stripe sent it then, personal data masked.';

CREATE TABLE refund_sync.run (
    id UUID NOT NULL,
    account_id TEXT COLLATE "C",
    job TEXT NOT NULL,
    outcome TEXT NOT NULL,
    span INT8RANGE,
    settle_bound TIMESTAMP WITH TIME ZONE,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    requests BIGINT DEFAULT 0 NOT NULL,
    inserted BIGINT DEFAULT 0 NOT NULL,
    changed BIGINT DEFAULT 0 NOT NULL,
    unchanged BIGINT DEFAULT 0 NOT NULL,
    stale BIGINT DEFAULT 0 NOT NULL,
    late BIGINT DEFAULT 0 NOT NULL,
    quarantined BIGINT DEFAULT 0 NOT NULL,
    error TEXT,
    PRIMARY KEY (id)
);

CREATE INDEX run_started ON refund_sync.run (account_id, started_at);

COMMENT ON TABLE refund_sync.run IS 'Every execution of a job, and how it ended.';

COMMENT ON COLUMN refund_sync.run.id IS 'Number of the run, on every line of its log.';

COMMENT ON COLUMN refund_sync.run.account_id IS 'Stripe account that the row belongs to (acct_…).';

COMMENT ON COLUMN refund_sync.run.job IS 'backfill, sync, newest part, fill of history, second look, fetch.';

COMMENT ON COLUMN refund_sync.run.outcome IS 'running, ok, incomplete (not all was read), failed or stopped.';

COMMENT ON COLUMN refund_sync.run.span IS 'Created-seconds (Unix time) that it was asked for.';

COMMENT ON COLUMN refund_sync.run.settle_bound IS 'How far claims could reach while it ran.';

COMMENT ON COLUMN refund_sync.run.started_at IS 'When it began.';

COMMENT ON COLUMN refund_sync.run.updated_at IS 'When it last told how far it was.';

COMMENT ON COLUMN refund_sync.run.ended_at IS 'When it ended.';

COMMENT ON COLUMN refund_sync.run.requests IS 'Requests to Stripe.';

COMMENT ON COLUMN refund_sync.run.inserted IS 'Refunds that were new.';

COMMENT ON COLUMN refund_sync.run.changed IS 'Refunds that had changed.';

COMMENT ON COLUMN refund_sync.run.unchanged IS 'Refunds that were as known.';

COMMENT ON COLUMN refund_sync.run.stale IS 'Reads that were older than what was known.';

COMMENT ON COLUMN refund_sync.run.late IS 'Refunds that turned up in seconds covered before.';

COMMENT ON COLUMN refund_sync.run.quarantined IS 'Objects that could not be decoded.';

COMMENT ON COLUMN refund_sync.run.error IS 'What went wrong, or what is missing.';

CREATE TABLE refund_sync.span_check (
    account_id TEXT COLLATE "C" NOT NULL,
    stream TEXT NOT NULL,
    span INT8RANGE NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (account_id, stream, span)
);

COMMENT ON TABLE refund_sync.span_check IS 'Spans whose refunds were all listed again, and when: their state was checked then.';

COMMENT ON COLUMN refund_sync.span_check.account_id IS 'Stripe account that the row belongs to (acct_…).';

COMMENT ON COLUMN refund_sync.span_check.stream IS 'What was listed.';

COMMENT ON COLUMN refund_sync.span_check.span IS 'Created-seconds (Unix time) that were listed whole.';

COMMENT ON COLUMN refund_sync.span_check.observed_at IS 'When the listing of the whole span began.';

INSERT INTO refund_sync.currency (code, exponent, name) VALUES
    ('aed', 2, 'UAE dirham'),
    ('afn', 2, 'Afghan afghani'),
    ('all', 2, 'Albanian lek'),
    ('amd', 2, 'Armenian dram'),
    ('ang', 2, 'Antillean guilder'),
    ('aoa', 2, 'Angolan kwanza'),
    ('ars', 2, 'Argentine peso'),
    ('aud', 2, 'Australian dollar'),
    ('awg', 2, 'Aruban florin'),
    ('azn', 2, 'Azerbaijani manat'),
    ('bam', 2, 'Bosnian mark'),
    ('bbd', 2, 'Barbadian dollar'),
    ('bdt', 2, 'Bangladeshi taka'),
    ('bgn', 2, 'Bulgarian lev'),
    ('bhd', 3, 'Bahraini dinar'),
    ('bif', 0, 'Burundian franc'),
    ('bmd', 2, 'Bermudian dollar'),
    ('bnd', 2, 'Brunei dollar'),
    ('bob', 2, 'Bolivian boliviano'),
    ('brl', 2, 'Brazilian real'),
    ('bsd', 2, 'Bahamian dollar'),
    ('btn', 2, 'Bhutanese ngultrum'),
    ('bwp', 2, 'Botswana pula'),
    ('byn', 2, 'Belarusian rouble'),
    ('bzd', 2, 'Belize dollar'),
    ('cad', 2, 'Canadian dollar'),
    ('cdf', 2, 'Congolese franc'),
    ('chf', 2, 'Swiss franc'),
    ('clp', 0, 'Chilean peso'),
    ('cny', 2, 'Chinese yuan'),
    ('cop', 2, 'Colombian peso'),
    ('crc', 2, 'Costa Rican colón'),
    ('cup', 2, 'Cuban peso'),
    ('cve', 2, 'Cape Verdean escudo'),
    ('czk', 2, 'Czech koruna'),
    ('djf', 0, 'Djiboutian franc'),
    ('dkk', 2, 'Danish krone'),
    ('dop', 2, 'Dominican peso'),
    ('dzd', 2, 'Algerian dinar'),
    ('egp', 2, 'Egyptian pound'),
    ('etb', 2, 'Ethiopian birr'),
    ('eur', 2, 'Euro'),
    ('fjd', 2, 'Fijian dollar'),
    ('fkp', 2, 'Falkland pound'),
    ('gbp', 2, 'Pound sterling'),
    ('gel', 2, 'Georgian lari'),
    ('ghs', 2, 'Ghanaian cedi'),
    ('gip', 2, 'Gibraltar pound'),
    ('gmd', 2, 'Gambian dalasi'),
    ('gnf', 0, 'Guinean franc'),
    ('gtq', 2, 'Guatemalan quetzal'),
    ('gyd', 2, 'Guyanese dollar'),
    ('hkd', 2, 'Hong Kong dollar'),
    ('hnl', 2, 'Honduran lempira'),
    ('hrk', 2, 'Croatian kuna'),
    ('htg', 2, 'Haitian gourde'),
    ('huf', 2, 'Hungarian forint'),
    ('idr', 2, 'Indonesian rupiah'),
    ('ils', 2, 'Israeli shekel'),
    ('inr', 2, 'Indian rupee'),
    ('irr', 2, 'Iranian rial'),
    ('isk', 2, 'Icelandic króna'),
    ('jmd', 2, 'Jamaican dollar'),
    ('jod', 3, 'Jordanian dinar'),
    ('jpy', 0, 'Japanese yen'),
    ('kes', 2, 'Kenyan shilling'),
    ('kgs', 2, 'Kyrgyzstani som'),
    ('khr', 2, 'Cambodian riel'),
    ('kmf', 0, 'Comorian franc'),
    ('krw', 0, 'South Korean won'),
    ('kwd', 3, 'Kuwaiti dinar'),
    ('kyd', 2, 'Cayman dollar'),
    ('kzt', 2, 'Kazakhstani tenge'),
    ('lak', 2, 'Lao kip'),
    ('lbp', 2, 'Lebanese pound'),
    ('lkr', 2, 'Sri Lankan rupee'),
    ('lrd', 2, 'Liberian dollar'),
    ('lsl', 2, 'Lesotho loti'),
    ('mad', 2, 'Moroccan dirham'),
    ('mdl', 2, 'Moldovan leu'),
    ('mga', 0, 'Malagasy ariary'),
    ('mkd', 2, 'Macedonian denar'),
    ('mmk', 2, 'Myanmar kyat'),
    ('mnt', 2, 'Mongolian tögrög'),
    ('mop', 2, 'Macanese pataca'),
    ('mru', 2, 'Mauritanian ouguiya'),
    ('mur', 2, 'Mauritian rupee'),
    ('mvr', 2, 'Maldivian rufiyaa'),
    ('mwk', 2, 'Malawian kwacha'),
    ('mxn', 2, 'Mexican peso'),
    ('myr', 2, 'Malaysian ringgit'),
    ('mzn', 2, 'Mozambican metical'),
    ('nad', 2, 'Namibian dollar'),
    ('ngn', 2, 'Nigerian naira'),
    ('nio', 2, 'Nicaraguan córdoba'),
    ('nok', 2, 'Norwegian krone'),
    ('npr', 2, 'Nepalese rupee'),
    ('nzd', 2, 'New Zealand dollar'),
    ('omr', 3, 'Omani rial'),
    ('pab', 2, 'Panamanian balboa'),
    ('pen', 2, 'Peruvian sol'),
    ('pgk', 2, 'Papua New Guinean kina'),
    ('php', 2, 'Philippine peso'),
    ('pkr', 2, 'Pakistani rupee'),
    ('pln', 2, 'Polish złoty'),
    ('pyg', 0, 'Paraguayan guaraní'),
    ('qar', 2, 'Qatari riyal'),
    ('ron', 2, 'Romanian leu'),
    ('rsd', 2, 'Serbian dinar'),
    ('rub', 2, 'Russian rouble'),
    ('rwf', 0, 'Rwandan franc'),
    ('sar', 2, 'Saudi riyal'),
    ('sbd', 2, 'Solomon Islands dollar'),
    ('scr', 2, 'Seychellois rupee'),
    ('sdg', 2, 'Sudanese pound'),
    ('sek', 2, 'Swedish krona'),
    ('sgd', 2, 'Singapore dollar'),
    ('shp', 2, 'Saint Helena pound'),
    ('sle', 2, 'Sierra Leonean leone'),
    ('sll', 2, 'Sierra Leonean leone (old)'),
    ('sos', 2, 'Somali shilling'),
    ('srd', 2, 'Surinamese dollar'),
    ('ssp', 2, 'South Sudanese pound'),
    ('std', 2, 'São Tomé dobra (old)'),
    ('stn', 2, 'São Tomé dobra'),
    ('svc', 2, 'Salvadoran colón'),
    ('syp', 2, 'Syrian pound'),
    ('szl', 2, 'Swazi lilangeni'),
    ('thb', 2, 'Thai baht'),
    ('tjs', 2, 'Tajikistani somoni'),
    ('tnd', 3, 'Tunisian dinar'),
    ('top', 2, 'Tongan paʻanga'),
    ('try', 2, 'Turkish lira'),
    ('ttd', 2, 'Trinidad and Tobago dollar'),
    ('twd', 2, 'New Taiwan dollar'),
    ('tzs', 2, 'Tanzanian shilling'),
    ('uah', 2, 'Ukrainian hryvnia'),
    ('ugx', 2, 'Ugandan shilling'),
    ('usd', 2, 'US dollar'),
    ('usdc', 2, 'USD Coin'),
    ('uyu', 2, 'Uruguayan peso'),
    ('uzs', 2, 'Uzbekistani sum'),
    ('vnd', 0, 'Vietnamese đồng'),
    ('vuv', 0, 'Vanuatu vatu'),
    ('wst', 2, 'Samoan tālā'),
    ('xaf', 0, 'Central African CFA franc'),
    ('xcd', 2, 'East Caribbean dollar'),
    ('xcg', 2, 'Caribbean guilder'),
    ('xof', 0, 'West African CFA franc'),
    ('xpf', 0, 'CFP franc'),
    ('yer', 2, 'Yemeni rial'),
    ('zar', 2, 'South African rand'),
    ('zmw', 2, 'Zambian kwacha');

DO $$ BEGIN IF to_regnamespace('finance') IS NULL THEN CREATE SCHEMA finance; END IF; END $$;

COMMENT ON SCHEMA finance IS 'Views for finance: refunds in major units, and which months are complete.';

CREATE VIEW finance.refunds AS
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
    greatest(r.observed_at, (
        SELECT max(s.observed_at) FROM refund_sync.span_check s
        WHERE s.account_id = r.account_id AND s.stream = 'refunds'
            AND s.span @> extract(epoch FROM r.created_at)::bigint
    )) AS state_checked_at
FROM refund_sync.refund r
JOIN refund_sync.charge_link l ON l.account_id = r.account_id AND l.refund_id = r.id
LEFT JOIN refund_sync.currency c ON c.code = r.currency
LEFT JOIN refund_sync.charge h ON h.account_id = l.account_id AND h.id = l.charge_id
LEFT JOIN refund_sync.currency hc ON hc.code = h.currency
LEFT JOIN refund_sync.destination_details d ON d.account_id = r.account_id AND d.refund_id = r.id
LEFT JOIN refund_sync.balance_transaction b
    ON b.account_id = l.account_id AND b.id = l.balance_transaction_id
LEFT JOIN refund_sync.currency bc ON bc.code = b.currency
WHERE r.gone_at IS NULL;

COMMENT ON VIEW finance.refunds IS 'Every refund as last seen, in major units. Refunds that Stripe no longer knows are left out.';

COMMENT ON COLUMN finance.refunds.refund_id IS 'Refund (re_… or pyr_…).';

COMMENT ON COLUMN finance.refunds.account_id IS 'Stripe account that the refund belongs to.';

COMMENT ON COLUMN finance.refunds.created_at IS 'When the refund was created at Stripe.';

COMMENT ON COLUMN finance.refunds.amount IS 'Amount in major units; empty where the currency is unknown to us.';

COMMENT ON COLUMN finance.refunds.currency IS 'Currency of the charge, lower-case ISO code.';

COMMENT ON COLUMN finance.refunds.amount_minor IS 'Amount in minor units, as Stripe sent it.';

COMMENT ON COLUMN finance.refunds.status IS 'pending, requires_action, succeeded, failed, canceled, or what Stripe adds. Failed and canceled moved no money in the end.';

COMMENT ON COLUMN finance.refunds.reason IS 'Why it was refunded. expired_uncaptured_charge is no refund to a customer.';

COMMENT ON COLUMN finance.refunds.failure_reason IS 'Why it failed, once it has.';

COMMENT ON COLUMN finance.refunds.pending_reason IS 'Why it is still pending.';

COMMENT ON COLUMN finance.refunds.charge_id IS 'Charge that was refunded; empty for refunds of a cash balance.';

COMMENT ON COLUMN finance.refunds.payment_intent_id IS 'Payment intent of the charge.';

COMMENT ON COLUMN finance.refunds.customer_id IS 'Customer, where Stripe tells it.';

COMMENT ON COLUMN finance.refunds.charge_amount IS 'Amount of the whole charge in major units.';

COMMENT ON COLUMN finance.refunds.payment_method_type IS 'How the customer had paid.';

COMMENT ON COLUMN finance.refunds.destination_type IS 'Where the money went: card, eu_bank_transfer, paypal …';

COMMENT ON COLUMN finance.refunds.reference IS 'Number by which the customer''s bank finds the refund, such as an ARN.';

COMMENT ON COLUMN finance.refunds.reference_status IS 'pending, available or unavailable.';

COMMENT ON COLUMN finance.refunds.reference_type IS 'What kind of number the reference is.';

COMMENT ON COLUMN finance.refunds.balance_transaction_id IS 'Ledger line that took the money from your balance.';

COMMENT ON COLUMN finance.refunds.fee IS 'Fee of the refund in major units of the settlement currency.';

COMMENT ON COLUMN finance.refunds.net IS 'What the refund took from your balance: negative, in major units of the settlement currency.';

COMMENT ON COLUMN finance.refunds.settlement_currency IS 'Currency of your balance.';

COMMENT ON COLUMN finance.refunds.exchange_rate IS 'From the charge''s currency to that of your balance.';

COMMENT ON COLUMN finance.refunds.first_seen_at IS 'When we first saw the refund.';

COMMENT ON COLUMN finance.refunds.observed_at IS 'When we asked Stripe for what is shown here.';

COMMENT ON COLUMN finance.refunds.state_checked_at IS 'When we last made sure that it is still so.';

CREATE VIEW finance.completeness_by_month AS
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
        (
            SELECT count(*) FROM refund_sync.quarantine q
            WHERE q.account_id = m.account_id AND q.resolved_at IS NULL
                AND q.latest >= to_timestamp(lower(m.span)) AND q.earliest < to_timestamp(upper(m.span))
        ) AS quarantined
    FROM month m
    LEFT JOIN refund_sync.coverage c ON c.account_id = m.account_id AND c.stream = 'refunds'
)
SELECT
    account_id,
    month,
    trunc((
        SELECT coalesce(sum(upper(part) - lower(part)), 0) FROM unnest(covered) AS part
    ) / (upper(span) - lower(span))::numeric, 6) AS share_covered,
    isempty(missing) AND quarantined = 0 AND upper(span) <= extract(epoch FROM now()) AS complete,
    (
        SELECT coalesce(
            range_agg(tstzrange(to_timestamp(lower(part)), to_timestamp(upper(part)))), '{}'
        )
        FROM unnest(
            missing * int8multirange(int8range(NULL, ceil(extract(epoch FROM now()))::bigint))
        ) AS part
    ) AS gaps,
    quarantined
FROM measured;

COMMENT ON VIEW finance.completeness_by_month IS 'Which months (UTC) are complete: every refund that Stripe lists there is stored.';

COMMENT ON COLUMN finance.completeness_by_month.account_id IS 'Stripe account.';

COMMENT ON COLUMN finance.completeness_by_month.month IS 'First day of the month, UTC.';

COMMENT ON COLUMN finance.completeness_by_month.share_covered IS 'Share of the month''s seconds that are proven complete, 0 to 1.';

COMMENT ON COLUMN finance.completeness_by_month.complete IS 'True when the month is over, covered in every second, and nothing of it waits in quarantine.';

COMMENT ON COLUMN finance.completeness_by_month.gaps IS 'Times up to now that are not proven complete.';

COMMENT ON COLUMN finance.completeness_by_month.quarantined IS 'Objects that could not be decoded and may belong to this month.';

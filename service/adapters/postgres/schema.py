"""The tables of the warehouse, as SQLAlchemy Core declares them for alembic; nothing runs through this.

There are no foreign keys between data tables: pages commit in any order, a charge may come after its
refund or not at all, and each key would cost every write. The audit queries check instead.
Statements look ids up one by one (see ``queries/``): no plan of theirs depends on statistics.
Ids sort by bytes (``COLLATE "C"``), money is in minor units, Stripe's words are text that may grow.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

SCHEMA = "refund_sync"
metadata = sa.MetaData(schema=SCHEMA)

NOW = sa.text("now()")
ZERO = sa.text("0")
ACCOUNT = "Stripe account that the row belongs to (acct_…)."
OBSERVED = "When we asked Stripe, by the database's clock."
DIGEST = "Digest of the columns, to tell quickly whether a read found something else."


def identifier() -> sa.Text:
    return sa.Text(collation="C")


def column(name: str, type_: Any, comment: str, *rules: Any, **options: Any) -> sa.Column[Any]:
    """Not null unless said otherwise; every column tells what it means."""
    options.setdefault("nullable", False)
    return sa.Column(name, type_, *rules, comment=comment, **options)


def id_(name: str, comment: str, **options: Any) -> sa.Column[Any]:
    return column(name, identifier(), comment, **options)


def text(name: str, comment: str, **options: Any) -> sa.Column[Any]:
    return column(name, sa.Text(), comment, **options)


def money(name: str, comment: str, **options: Any) -> sa.Column[Any]:
    return column(name, sa.BigInteger(), comment, **options)


def instant(name: str, comment: str, **options: Any) -> sa.Column[Any]:
    return column(name, sa.DateTime(timezone=True), comment, **options)


def json_(name: str, comment: str, **options: Any) -> sa.Column[Any]:
    return column(name, pg.JSONB(), comment, **options)


def maybe(make: Any, name: str, comment: str) -> sa.Column[Any]:
    column_: sa.Column[Any] = make(name, comment, nullable=True)
    return column_


def key(name: str, comment: str) -> sa.Column[Any]:
    return id_(name, comment, primary_key=True)


account = sa.Table(
    "account",
    metadata,
    key("id", "Stripe account (acct_…)."),
    column("livemode", sa.Boolean(), "True for live mode; a database holds one mode only."),
    instant("wanted_from", "Refunds created from here on are wanted."),
    maybe(instant, "settled_until", "How far the history could be proven when it was last read."),
    instant("created_at", "When this account was first synced.", server_default=NOW),
    column(
        "key_digests",
        pg.ARRAY(sa.LargeBinary()),
        "Digests of the API keys that Stripe said are this account's; no key can be told from them.",
        server_default=sa.text("'{}'::bytea[]"),
    ),
    comment="Stripe accounts that are synced into this database.",
)

refund = sa.Table(
    "refund",
    metadata,
    key("account_id", ACCOUNT),
    key("id", "Refund (re_… or pyr_…)."),
    instant("created_at", "When the refund was created at Stripe."),
    money("amount_minor", "Amount in minor units of the currency (cents; whole yen)."),
    text("currency", "Currency of the charge, lower-case ISO code."),
    maybe(
        text,
        "status",
        "pending, requires_action, succeeded, failed, canceled, or what Stripe adds.",
    ),
    maybe(text, "reason", "Why it was refunded, as given to Stripe."),
    maybe(text, "failure_reason", "Why it failed, once it has."),
    maybe(text, "pending_reason", "Why it is still pending."),
    maybe(text, "receipt_number", "Number on the receipt that was sent."),
    maybe(text, "description", "Free text, shown for refunds that are not to a card; masked."),
    maybe(json_, "metadata", "Your own keys, such as order ids; masked."),
    maybe(money, "presentment_amount_minor", "Amount as the customer saw it, in minor units."),
    maybe(text, "presentment_currency", "Currency that the customer saw."),
    maybe(text, "next_action_type", "What the customer has to do to get the money."),
    maybe(instant, "next_action_expires_at", "Until when the customer can do it."),
    maybe(id_, "customer_id", "Customer (cus_…)."),
    maybe(id_, "payment_method_id", "Payment method (pm_…)."),
    column(
        "raw", pg.JSONB(), "The refund as Stripe sent it, without expansions, personal data masked."
    ),
    column("content_hash", sa.LargeBinary(), DIGEST),
    column("version", sa.Integer(), "Which version of the refund this is, from 1 on."),
    instant("observed_at", OBSERVED),
    instant("first_seen_at", "When a read first found this refund."),
    maybe(
        instant, "first_listed_at", "When a list first named this refund; empty if none ever did."
    ),
    maybe(
        instant,
        "gone_at",
        "When Stripe was found to know it no longer: by two answers an hour apart and a listing of its"
        " second without it. The history stays.",
    ),
    maybe(
        instant,
        "unknown_at",
        "When Stripe first answered that it does not know this id. The refund counts as gone after a"
        " second such answer an hour later, and a listing without it.",
    ),
    maybe(
        instant,
        "hidden_at",
        "When Stripe was found not to list it, though it still knows it: on a test clock, say."
        " Empty when it is listed.",
    ),
    column(
        "received_hash",
        sa.LargeBinary(),
        "Digest of all that the list sent of it, to tell at once that nothing is new.",
        nullable=True,
    ),
    maybe(
        instant,
        "version_observed_at",
        "When we asked Stripe and this version was first seen, by the database's clock; observed_at is when"
        " it was last seen so.",
    ),
    column(
        "recorded_at",
        sa.DateTime(timezone=True),
        "When this version was written here.",
        nullable=True,
        server_default=NOW,
    ),
    maybe(
        text,
        "source",
        "What found this version: list, second look, recheck, hint, verify, fetch, cancel; upgrade where only"
        " our own form changed. Empty while the version is in refund_superseded still, from where migrate"
        " moves it.",
    ),
    maybe(
        json_,
        "changes",
        "What this version changed: {field: [before, after]}; empty for the first.",
    ),
    sa.Index("refund_created", "account_id", "created_at"),
    sa.Index("refund_unmoved", "account_id", "id", postgresql_where=sa.text("source IS NULL")),
    sa.Index(
        "refund_hidden",
        "account_id",
        "created_at",
        postgresql_where=sa.text("hidden_at IS NOT NULL"),
    ),
    comment="Refunds, each as it was last seen. All versions are in refund_version.",
)

charge_link = sa.Table(
    "charge_link",
    metadata,
    key("account_id", ACCOUNT),
    key("refund_id", "Refund (re_… or pyr_…)."),
    maybe(id_, "charge_id", "Charge that was refunded (ch_… or py_…)."),
    maybe(id_, "payment_intent_id", "Payment intent of the charge (pi_…)."),
    maybe(
        id_, "balance_transaction_id", "Ledger line that takes the money from your balance (txn_…)."
    ),
    maybe(
        id_,
        "failure_balance_transaction_id",
        "Ledger line that gives it back after a failure (txn_…).",
    ),
    maybe(id_, "transfer_reversal_id", "Reversal of the transfer to a connected account (trr_…)."),
    maybe(
        id_, "source_transfer_reversal_id", "Reversal on the side of the connected account (trr_…)."
    ),
    sa.Index("charge_link_charge", "charge_id", "account_id"),
    sa.Index("charge_link_payment_intent", "payment_intent_id"),
    comment="What ties a refund to its charge, payment and ledger lines: one row for each refund.",
)

charge = sa.Table(
    "charge",
    metadata,
    key("account_id", ACCOUNT),
    key("id", "Charge (ch_… or py_…)."),
    money("amount_minor", "Amount charged, in minor units."),
    maybe(money, "amount_captured_minor", "Amount captured, in minor units."),
    maybe(money, "amount_refunded_minor", "Amount refunded by then, in minor units."),
    text("currency", "Currency of the charge, lower-case ISO code."),
    instant("created_at", "When the charge was made."),
    maybe(text, "payment_method_type", "How the customer paid: card, ideal, sepa_debit …"),
    maybe(id_, "balance_transaction_id", "Ledger line of the charge (txn_…)."),
    maybe(id_, "transfer_id", "Transfer to a connected account (tr_…)."),
    maybe(id_, "application_fee_id", "Application fee taken (fee_…)."),
    maybe(id_, "on_behalf_of", "Account on whose behalf the charge was made (acct_…)."),
    column("content_hash", sa.LargeBinary(), DIGEST),
    instant("observed_at", OBSERVED),
    comment="Charges that refunds point to, each as it was last seen.",
)

destination_details = sa.Table(
    "destination_details",
    metadata,
    key("account_id", ACCOUNT),
    key("refund_id", "Refund (re_… or pyr_…)."),
    text("type", "Kind of destination: card, eu_bank_transfer, paypal …"),
    maybe(
        text, "reference", "Number by which the customer's bank finds the refund, such as an ARN."
    ),
    maybe(text, "reference_status", "pending, available or unavailable."),
    maybe(text, "reference_type", "What kind of number the reference is."),
    maybe(text, "card_type", "For cards: pending, refund or reversal."),
    maybe(text, "network_decline_code", "Why the network declined it."),
    column("details", pg.JSONB(), "All that Stripe tells of this kind of destination."),
    comment="Where the money went. No row where Stripe tells nothing.",
)

refund_superseded = sa.Table(
    "refund_superseded",
    metadata,
    key("account_id", ACCOUNT),
    key("refund_id", "Refund (re_… or pyr_…)."),
    column("version", sa.Integer(), "1 for the first that we saw.", primary_key=True),
    instant("observed_at", OBSERVED),
    instant("recorded_at", "When it was written here.", server_default=NOW),
    text(
        "source",
        "What found it: list, second look, recheck, hint, verify, fetch, cancel;"
        " upgrade where only our own form changed.",
    ),
    column(
        "changes",
        pg.JSONB(),
        "What changed: {field: [before, after]}; empty for the first.",
        nullable=True,
    ),
    column("raw", pg.JSONB(), "The refund as Stripe sent it then, personal data masked."),
    column(
        "left_behind",
        sa.Boolean(),
        "True for the last version of a refund whose row somebody deleted here; empty otherwise.",
        nullable=True,
    ),
    sa.Index(
        "refund_superseded_left_behind", "account_id", postgresql_where=sa.text("left_behind")
    ),
    comment="Versions of refunds that another one followed. Rows are added, never changed. The current version"
    " is the refund's own row; refund_version shows both.",
)

balance_transaction = sa.Table(
    "balance_transaction",
    metadata,
    key("account_id", ACCOUNT),
    key("id", "Ledger line (txn_…)."),
    maybe(id_, "refund_id", "Refund that it belongs to, where it belongs to one."),
    maybe(id_, "source", "Object that caused it."),
    text("type", "Stripe's type: refund, payment_refund, refund_failure …"),
    text("reporting_category", "Stripe's category for reports; use this one to sum by."),
    money("amount_minor", "Gross in minor units: negative leaves your balance."),
    money("fee_minor", "Fee in minor units; positive is charged to you."),
    money("net_minor", "Gross less fee, in minor units."),
    text("currency", "Currency of your balance, lower-case ISO code."),
    column(
        "exchange_rate",
        sa.Numeric(),
        "From the charge's currency to your balance's.",
        nullable=True,
    ),
    instant("created_at", "When it was booked."),
    instant("available_on", "When the money becomes, or stops being, available."),
    text("status", "pending or available."),
    maybe(id_, "payout_id", "Payout that settled it (po_…), once known."),
    column("content_hash", sa.LargeBinary(), DIGEST),
    instant("observed_at", OBSERVED),
    sa.Index("balance_transaction_refund", "refund_id"),
    comment="Lines of Stripe's ledger that belong to refunds.",
)

coverage = sa.Table(
    "coverage",
    metadata,
    key("account_id", ACCOUNT),
    column(
        "stream",
        sa.Text(),
        "What is covered: refunds, events; with :settled, what was listed again a day later.",
        primary_key=True,
    ),
    column(
        "covered",
        pg.INT8MULTIRANGE(),
        "Created-seconds (Unix time) that are proven complete.",
        server_default=sa.text("'{}'::int8multirange"),
    ),
    comment="What is proven complete. The fold of coverage_claim, changed only with the rows it proves.",
)

coverage_claim = sa.Table(
    "coverage_claim",
    metadata,
    column(
        "seq", sa.BigInteger(), "Order of the claims.", sa.Identity(always=True), primary_key=True
    ),
    id_("account_id", ACCOUNT),
    text("stream", "What is claimed to be complete."),
    text("kind", "covered, or revoked where a claim was found to be false."),
    column("span", pg.INT8RANGE(), "Created-seconds (Unix time), the end not included."),
    money(
        "rows",
        "How many objects the read listed in the span, with those stored that are known to be hidden.",
    ),
    money("digest", "Digest of their ids: XOR of the first eight bytes of each one's SHA-256."),
    column("run_id", pg.UUID(), "Run that made the claim.", nullable=True),
    instant("observed_at", OBSERVED),
    instant("recorded_at", "When the claim was committed.", server_default=NOW),
    sa.Index("coverage_claim_stream", "account_id", "stream", "seq"),
    sa.Index(
        "coverage_claim_revoked",
        "account_id",
        "stream",
        "observed_at",
        postgresql_where=sa.text("kind = 'revoked'"),
    ),
    comment="Every proof of completeness, so that coverage can be audited: rows and digest can be recomputed.",
)

span_check = sa.Table(
    "span_check",
    metadata,
    key("account_id", ACCOUNT),
    column("stream", sa.Text(), "What was listed.", primary_key=True),
    column(
        "span",
        pg.INT8RANGE(),
        "Created-seconds (Unix time) that were listed whole.",
        primary_key=True,
    ),
    instant("observed_at", "When the listing of the whole span began."),
    maybe(instant, "checked_at", "The same by the clock that due times are reckoned with."),
    comment="Days (UTC) whose refunds were all listed again, and when: their state was checked then.",
)

event_gap = sa.Table(
    "event_gap",
    metadata,
    key("account_id", ACCOUNT),
    column(
        "span",
        pg.INT8RANGE(),
        "Created-seconds of the events (Unix time), the end not included.",
        primary_key=True,
    ),
    instant(
        "found_at",
        "When the gap was found, by the database's clock: whatever is read later makes up for it.",
        server_default=NOW,
    ),
    instant(
        "read_from",
        "Refunds created from here to the end of the span are read again, and those that are not final.",
    ),
    maybe(instant, "closed_at", "When the last of them had been read again."),
    maybe(text, "reason", "How it was closed."),
    comment="Times whose events expired at Stripe before they were read."
    " Refunds that may have changed then are read again.",
)

recheck = sa.Table(
    "recheck",
    metadata,
    key("account_id", ACCOUNT),
    column(
        "kind", sa.Text(), "refund; or charge, whose refunds are then all read.", primary_key=True
    ),
    key("object_id", "Object to read again."),
    instant("due_at", "When it is due."),
    maybe(instant, "hinted_at", "When we last heard that it may have changed."),
    text(
        "why",
        "Why it is to be read again: hint, unhydrated, open, reference pending, not listed …",
    ),
    column("attempts", sa.Integer(), "How often reading it failed.", server_default=ZERO),
    sa.Index(
        "recheck_due",
        "account_id",
        "due_at",
        "object_id",
        postgresql_where=sa.text("hinted_at IS NULL"),
    ),
    sa.Index(
        "recheck_hinted",
        "account_id",
        "due_at",
        "object_id",
        postgresql_where=sa.text("hinted_at IS NOT NULL"),
    ),
    comment="Objects due to be read again.",
)

quarantine = sa.Table(
    "quarantine",
    metadata,
    column("id", sa.BigInteger(), "Number of the entry.", sa.Identity(always=True), primary_key=True),
    id_("account_id", ACCOUNT),
    text("stream", "Where it was listed."),
    maybe(id_, "object_id", "Its id, if that could be read."),
    text("payload", "The object as received, personal data masked."),
    text("error", "Why it could not be decoded."),
    maybe(instant, "created_at", "When it was created, if that could be read."),
    instant("earliest", "It was created no earlier."),
    instant("latest", "It was created no later."),
    instant("seen_at", "When it was last received.", server_default=NOW),
    maybe(instant, "resolved_at", "When it could be decoded, or was gone."),
    maybe(
        instant,
        "unknown_at",
        "When Stripe first answered that it does not know this id, or, without an id, when listings of"
        " its whole time first lacked it.",
    ),
    column(
        "unlisted",
        pg.INT8MULTIRANGE(),
        "Created-seconds (Unix time) that listings returned without it since it was last received.",
        server_default=sa.text("'{}'::int8multirange"),
    ),
    maybe(text, "resolution", "Why it is resolved: decoded, or gone."),
    instant("found_at", "When it was first received.", server_default=NOW),
    sa.Index("quarantine_open", "account_id", sa.text("resolved_at NULLS FIRST")),
    sa.Index(
        "quarantine_unresolved", "account_id", "stream", "object_id",
        unique=True, postgresql_where=sa.text("resolved_at IS NULL AND object_id IS NOT NULL"),
    ),
    comment="Objects that could not be decoded. Until resolved, their months are not complete.",
)  # fmt: skip

run = sa.Table(
    "run",
    metadata,
    column("id", pg.UUID(), "Number of the run, on every line of its log.", primary_key=True),
    maybe(id_, "account_id", ACCOUNT),
    text(
        "job",
        "backfill, sync, newest part, fill of history, second look, events, rechecks, verify,"
        " fetch, cancel.",
    ),
    text("outcome", "running, ok, incomplete (not all was read), failed or stopped."),
    column(
        "span", pg.INT8RANGE(), "Created-seconds (Unix time) that it was asked for.", nullable=True
    ),
    maybe(instant, "settle_bound", "How far claims could reach while it ran."),
    instant("started_at", "When it began.", server_default=NOW),
    instant("updated_at", "When it last told how far it was.", server_default=NOW),
    maybe(instant, "ended_at", "When it ended."),
    money("requests", "Requests to Stripe.", server_default=ZERO),
    money("inserted", "Refunds that were new.", server_default=ZERO),
    money("changed", "Refunds that had changed.", server_default=ZERO),
    money("unchanged", "Refunds that were as known.", server_default=ZERO),
    money("stale", "Reads that were older than what was known.", server_default=ZERO),
    money("late", "Refunds that turned up in seconds covered before.", server_default=ZERO),
    money("quarantined", "Objects that could not be decoded.", server_default=ZERO),
    maybe(text, "error", "What went wrong, or what is missing."),
    money("hinted", "Hints that told something new.", server_default=ZERO),
    column(
        "passes",
        sa.Integer(),
        "How many runs of this job this row stands for. Runs in a row that found nothing new share one"
        " row a day.",
        server_default=sa.text("1"),
    ),
    maybe(
        instant,
        "first_started_at",
        "When the first of these runs began; empty where the row stands for one.",
    ),
    money(
        "returned",
        "Refunds that were marked gone or hidden, and were listed again.",
        server_default=ZERO,
    ),
    money(
        "unread",
        "Objects that Stripe did not give when they were asked for; they are asked for again.",
        server_default=ZERO,
    ),
    sa.Index("run_started", "account_id", "started_at"),
    comment="Every execution of a job, and how it ended.",
)

read_count = sa.Table(
    "read_count",
    metadata,
    key("account_id", ACCOUNT),
    column("day", sa.Date(), "Day, UTC.", primary_key=True),
    column(
        "class",
        sa.Text(),
        "What for: backfill, polls, hints, rechecks, revisits, verify, or asked (by a person).",
        primary_key=True,
    ),
    column("endpoint", sa.Text(), "What was asked.", primary_key=True),
    money("reads", "How often."),
    comment="Reads of Stripe's API, every attempt counted."
    " Stripe allows 500 a transaction over 30 days, and at least 10,000.",
)

lease = sa.Table(
    "lease",
    metadata,
    key("account_id", ACCOUNT),
    money("epoch", "Grows with each takeover, and never falls: an older holder cannot commit."),
    text("holder", "Machine and process of the daemon."),
    instant("taken_at", "When it took over.", server_default=NOW),
    comment="Which daemon works for an account. Each of its transactions holds on to this row to the end.",
)

lease_renewal = sa.Table(
    "lease_renewal",
    metadata,
    key("account_id", ACCOUNT),
    money("epoch", "The lease that it renews."),
    instant("expires_at", "When another may take over, by the database's clock."),
    comment="Until when the holder of a lease is taken to live."
    " A row of its own, so that writers never delay it.",
)

currency = sa.Table(
    "currency",
    metadata,
    column("code", sa.Text(), "Lower-case ISO code.", primary_key=True),
    column(
        "exponent", sa.SmallInteger(), "Decimals of Stripe's amounts: 2 means that 100 is 1.00."
    ),
    text("name", "Name of the currency."),
    comment="Currencies as Stripe counts them: ISK and UGX travel with two decimals.",
)

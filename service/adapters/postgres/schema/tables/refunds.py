"""Refunds and what they point to."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from service.adapters.postgres.schema.tables.columns import (
    ACCOUNT,
    DIGEST,
    NOW,
    OBSERVED,
    column,
    id_,
    instant,
    json_,
    key,
    maybe,
    metadata,
    money,
    text,
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
        "Digest of all that the list sent of it, equal if nothing changed.",
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
    column("details", pg.JSONB(), "All that Stripe returns about this kind of destination."),
    comment="Where the money went. No row where Stripe returns nothing.",
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

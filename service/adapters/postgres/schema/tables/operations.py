"""Accounts, runs, reads and the lease."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from service.adapters.postgres.schema.tables.columns import (
    ACCOUNT,
    NOW,
    ZERO,
    column,
    id_,
    instant,
    key,
    maybe,
    metadata,
    money,
    text,
)

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
        "Digests of the API keys that Stripe said are this account's; no key can be computed from them.",
        server_default=sa.text("'{}'::bytea[]"),
    ),
    comment="Stripe accounts that are synced into this database.",
)


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
    instant("updated_at", "When it last reported its progress.", server_default=NOW),
    maybe(instant, "ended_at", "When it ended."),
    money("requests", "Requests to Stripe.", server_default=ZERO),
    money("inserted", "Refunds that were new.", server_default=ZERO),
    money("changed", "Refunds that had changed.", server_default=ZERO),
    money("unchanged", "Refunds that were as known.", server_default=ZERO),
    money("stale", "Reads that were older than what was known.", server_default=ZERO),
    money(
        "late",
        "Refunds that arrived late: new in seconds that were covered before.",
        server_default=ZERO,
    ),
    money("quarantined", "Objects that could not be decoded.", server_default=ZERO),
    maybe(text, "error", "What went wrong, or what is missing."),
    money("hinted", "Hints that were new.", server_default=ZERO),
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

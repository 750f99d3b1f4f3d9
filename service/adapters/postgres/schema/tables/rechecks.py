"""What is to be read again, and what could not be decoded."""

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
    text,
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
        "When the gap was found, by the database's clock: a read that begins later makes up for it.",
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
    maybe(instant, "hinted_at", "When the newest hint was received that it may have changed."),
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

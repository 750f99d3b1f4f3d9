"""What has been read, and what proves it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from service.adapters.postgres.schema.tables.columns import (
    ACCOUNT,
    NOW,
    OBSERVED,
    column,
    id_,
    instant,
    key,
    maybe,
    metadata,
    money,
    text,
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
    maybe(instant, "checked_at", "The same by the clock that due times are computed with."),
    comment="Days (UTC) whose refunds were all listed again, and when: their state was checked then.",
)

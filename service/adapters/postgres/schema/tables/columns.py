"""What the tables share: their schema, and columns by kind, each with its comment."""

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
DIGEST = "Digest of the columns: equal if a read found nothing else."


def identifier() -> sa.Text:
    return sa.Text(collation="C")


def column(name: str, type_: Any, comment: str, *rules: Any, **options: Any) -> sa.Column[Any]:
    """Not null unless said otherwise; every column says what it means."""
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

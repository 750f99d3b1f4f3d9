"""Puts settings, adapters and jobs together by hand: the only package that knows every adapter."""

from __future__ import annotations

from service.wiring.accounts import Account, estimate, make_client, open_account
from service.wiring.daemons import leased, receiving
from service.wiring.passes import (
    Gate,
    Planned,
    budget,
    cancel,
    catch_up,
    close_gaps,
    cover,
    fold_claims,
    list_due_days,
    look_again,
    may_read_events,
    read_due,
    read_hints,
    recorded_run,
    revisit,
    told_short,
    verify,
)
from service.wiring.places import (
    Place,
    Summary,
    database_checks,
    database_place,
    embedded_root,
    everything_of,
    migrate,
    migrations_as_sql,
    open_database,
    pooled,
    server_of,
    status,
    summary,
    waiting,
)

__all__ = [
    "Account", "Gate", "Place", "Planned", "Summary", "budget", "cancel", "catch_up", "close_gaps", "cover",
    "database_checks", "database_place", "embedded_root", "estimate", "everything_of", "fold_claims",
    "leased", "list_due_days", "look_again", "make_client", "may_read_events", "migrate",
    "migrations_as_sql", "open_account", "open_database", "pooled", "read_due", "read_hints",
    "receiving", "recorded_run", "revisit", "server_of", "status", "summary", "told_short",
    "verify", "waiting",
]  # fmt: skip

"""The tables of the warehouse, as SQLAlchemy Core declares them for alembic; nothing runs through this.

There are no foreign keys between data tables: pages commit in any order, a charge may come after its
refund or not at all, and each key would cost every write. The audit queries check instead.
Statements look ids up one by one (see ``queries/``): no plan of theirs depends on statistics.
Ids sort by bytes (``COLLATE "C"``), money is in minor units, Stripe's words are text that may grow.
"""

from __future__ import annotations

from service.adapters.postgres.schema.tables import coverage, operations, rechecks, refunds
from service.adapters.postgres.schema.tables.columns import SCHEMA, metadata

__all__ = ["SCHEMA", "coverage", "metadata", "operations", "rechecks", "refunds"]

-- schema_version_table
-- Whether alembic's table is there, which tells that the schema is ours.
SELECT to_regclass('refund_sync.alembic_version') IS NOT NULL

-- schema_revision
-- The revision that the schema is at.
SELECT version_num FROM refund_sync.alembic_version

-- foreign_objects
-- What stands in schemas of our names.
SELECT n.nspname || '.' || c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('refund_sync', 'finance') AND c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S')
ORDER BY 1

-- schemas_there
-- Which of our two schemas exist.
SELECT nspname FROM pg_namespace WHERE nspname IN ('refund_sync', 'finance') ORDER BY 1

-- fence
-- Last in each of a daemon's transactions: no row where another has taken over, and then no commit.
SELECT true FROM refund_sync.lease WHERE account_id = $1 AND epoch = $2 FOR SHARE

-- lock_migrations
-- One migration at a time in this database; held by the session.
SELECT pg_advisory_lock(hashtext('refund_sync.migrate'))

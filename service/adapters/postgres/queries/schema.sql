-- schema_version_table
-- Whether alembic's table is there, which tells that the schema is ours.
SELECT to_regclass('refund_sync.alembic_version') IS NOT NULL

-- schema_revision
-- The revision that the schema is at.
SELECT version_num FROM refund_sync.alembic_version

-- foreign_objects
-- What stands in schemas of our names: tables and their like, functions, types of their own.
SELECT n.nspname || '.' || o.name FROM pg_namespace n JOIN (
    SELECT relnamespace, relname FROM pg_class WHERE relkind IN ('r', 'v', 'm', 'p', 'f', 'S')
    UNION ALL SELECT pronamespace, proname FROM pg_proc
    UNION ALL SELECT typnamespace, typname FROM pg_type WHERE typtype IN ('d', 'e', 'r', 'm')
) AS o (schema, name) ON o.schema = n.oid
WHERE n.nspname IN ('refund_sync', 'finance')
ORDER BY 1

-- fence
-- Last in each of a daemon's transactions: no row where another has taken over, and then no commit.
SELECT true FROM refund_sync.lease WHERE account_id = $1 AND epoch = $2 FOR SHARE

-- lift_limits
-- For this transaction no limit of the role or the database ends a statement, or the wait between two.
SELECT set_config(name, '0', true) FROM pg_settings
WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')

-- lock_migrations
-- One migration at a time in this database; false where another holds the lock. Held by the transaction.
SELECT pg_try_advisory_xact_lock(hashtext('refund_sync.migrate'))

-- migration_holder
-- Who holds that lock: an advisory lock's bigint key stands in two halves.
SELECT l.pid, a.usename::text AS role,
    extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS age_s, NULL::text AS prepared
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (l.classid::bigint << 32) | l.objid::bigint = hashtext('refund_sync.migrate')

-- blockers
-- Who stands in the way of the backend $1: sessions, and prepared transactions, which have no process.
SELECT b.pid, coalesce(a.usename::text, x.owner::text) AS role,
    extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, x.prepared))::float8 AS age_s,
    x.gid AS prepared
FROM (SELECT DISTINCT unnest(pg_blocking_pids($1))) AS b (pid)
LEFT JOIN pg_stat_activity a ON a.pid = b.pid
LEFT JOIN LATERAL (
    SELECT gid, owner, prepared FROM pg_prepared_xacts
    WHERE database = current_database() ORDER BY prepared LIMIT 1
) x ON b.pid = 0
ORDER BY age_s DESC NULLS LAST, b.pid

-- clear_snapshot
-- What a transaction sees of other sessions stays as it first saw it, until this.
SELECT pg_stat_clear_snapshot()

-- migration_ground
-- What a migration needs of a database, and whether we may do it.
SELECT current_setting('server_encoding') AS encoding, current_database()::text AS database,
    quote_ident(current_user) AS role, pg_is_in_recovery() AS standby,
    current_setting('transaction_read_only') = 'on' AS read_only,
    has_database_privilege(current_database(), 'CREATE') AS may_create,
    ARRAY(
        SELECT name FROM unnest(ARRAY['refund_sync', 'finance']) WITH ORDINALITY AS s (name, place)
        WHERE to_regnamespace(name) IS NULL ORDER BY place
    ) AS missing

-- schemas_of_others
-- Schemas of our names that belong to a role whose rights we do not have; a superuser's own only are its.
SELECT n.nspname::text AS schema, pg_get_userbyid(n.nspowner)::text AS owner
FROM pg_namespace n JOIN pg_roles me ON me.rolname = current_user
WHERE n.nspname IN ('refund_sync', 'finance') AND n.nspowner <> me.oid
    AND (me.rolsuper OR NOT pg_has_role(n.nspowner, 'USAGE'))
ORDER BY 1

-- tables_of_another
-- The role that owns our tables, if we have not its rights.
SELECT pg_get_userbyid(relowner)::text FROM pg_class
WHERE oid = 'refund_sync.alembic_version'::regclass AND NOT pg_has_role(relowner, 'USAGE')

-- schema_version_table
-- Whether alembic's table is there, which says that the schema is ours.
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
SELECT b.pid, coalesce(a.usename::text, x.owner::text, a.backend_type, 'unknown') AS role,
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

-- unmoved_versions
-- How many refunds have their current version in refund_superseded still.
SELECT count(*) FROM refund_sync.refund WHERE source IS NULL

-- move_versions
-- Moves the current versions of the next $3 refunds after $1, $2 into their rows. Both are found by their place, as
-- no statistics say how many there are. A version that somebody deleted counts as found when the refund was read.
WITH next AS MATERIALIZED (
    SELECT ctid AS place, account_id, id, version, observed_at, first_seen_at FROM refund_sync.refund
    WHERE source IS NULL AND (account_id, id) > ($1, $2)
    ORDER BY account_id, id LIMIT $3 FOR UPDATE
), taken AS (
    DELETE FROM refund_sync.refund_superseded WHERE ctid = ANY(ARRAY(
        SELECT v.ctid FROM next s CROSS JOIN LATERAL (
            SELECT ctid FROM refund_sync.refund_superseded
            WHERE account_id = s.account_id AND refund_id = s.id AND version = s.version OFFSET 0
        ) AS v
    ))
    RETURNING account_id, refund_id, observed_at, recorded_at, source, changes
), kept AS (
    UPDATE refund_sync.refund r SET
        version_observed_at = n.observed_at, recorded_at = n.recorded_at, source = n.source, changes = n.changes
    FROM (
        SELECT s.place, coalesce(t.observed_at, s.observed_at) AS observed_at,
            coalesce(t.recorded_at, s.first_seen_at) AS recorded_at, coalesce(t.source, 'list') AS source, t.changes
        FROM next s LEFT JOIN taken t ON t.account_id = s.account_id AND t.refund_id = s.id
    ) AS n
    WHERE r.ctid = n.place
)
SELECT account_id, id, count(*) OVER () AS moved FROM next ORDER BY account_id DESC, id DESC LIMIT 1

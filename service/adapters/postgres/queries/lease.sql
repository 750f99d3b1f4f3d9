-- open_lease
-- The rows of an account's lease, free and of epoch 0; those that are there stay as they are.
WITH renewal AS (
    INSERT INTO refund_sync.lease_renewal (account_id, epoch, expires_at)
    VALUES ($1, 0, to_timestamp(0))
    ON CONFLICT DO NOTHING
)
INSERT INTO refund_sync.lease (account_id, epoch, holder) VALUES ($1, 0, '')
ON CONFLICT DO NOTHING

-- lease_state
-- Who holds the lease, or held it last, and for how many seconds it still runs. Waits for nobody.
SELECT l.epoch, l.holder, n.expires_at,
    extract(epoch FROM n.expires_at - clock_timestamp())::float8 AS left_s
FROM refund_sync.lease l JOIN refund_sync.lease_renewal n ON n.account_id = l.account_id
WHERE l.account_id = $1

-- end_sessions
-- Ends the sessions named $1 and an epoch up to $2, in the middle of any statement.
-- Returns those that are there, and whether our role may end them; the others are left alone.
SELECT a.pid, a.usename AS role, s.ours, CASE WHEN s.ours THEN pg_terminate_backend(a.pid) END AS ended
FROM pg_stat_activity a
CROSS JOIN LATERAL (
    SELECT me.rolsuper OR NOT them.rolsuper
        AND (pg_has_role(them.oid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE')) AS ours
    FROM pg_roles me, pg_roles them
    WHERE me.rolname = current_user AND them.oid = a.usesysid
) s
WHERE a.datname = current_database() AND starts_with(a.application_name, $1)
    AND substring(substr(a.application_name, length($1) + 1) FROM '^[0-9]{1,18}$')::bigint <= $2

-- take_lease
-- One statement, so that nobody stopped half-way holds it up: takes the lease for $3 seconds if it
-- is free or expired, under an epoch never given before. No row where another was quicker.
-- Waits for each of the two rows no longer than $4: writers of older epochs hold on to the first.
WITH renewed AS (
    UPDATE refund_sync.lease_renewal n
    SET epoch = greatest(n.epoch, l.epoch) + 1,
        expires_at = clock_timestamp() + $3::float8 * interval '1 second'
    FROM refund_sync.lease l, (SELECT set_config('lock_timeout', $4, true)) AS patience
    WHERE n.account_id = $1 AND l.account_id = n.account_id AND n.expires_at <= clock_timestamp()
    RETURNING n.account_id, n.epoch
)
UPDATE refund_sync.lease l
SET epoch = r.epoch, holder = $2, taken_at = clock_timestamp()
FROM renewed r
WHERE l.account_id = r.account_id AND l.epoch < r.epoch
RETURNING l.epoch

-- renew_lease
-- For $3 seconds more; no row where another epoch has begun. Only reads the row that writers hold.
UPDATE refund_sync.lease_renewal n
SET expires_at = clock_timestamp() + $3::float8 * interval '1 second'
FROM refund_sync.lease l
WHERE n.account_id = $1 AND n.epoch = $2 AND l.account_id = n.account_id AND l.epoch = n.epoch
RETURNING true

-- release_lease
-- The next one may take it at once; the epoch stays. Changes nothing where another holds it.
UPDATE refund_sync.lease_renewal SET expires_at = clock_timestamp()
WHERE account_id = $1 AND epoch = $2

-- lease_holder
-- The holder of a lease that still runs.
SELECT l.holder
FROM refund_sync.lease l JOIN refund_sync.lease_renewal n ON n.account_id = l.account_id
WHERE l.account_id = $1 AND n.expires_at > clock_timestamp()

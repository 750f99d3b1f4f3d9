-- begin_run
-- A run is on record before its first read. Said twice where the first answer was lost, it is one run.
INSERT INTO refund_sync.run (id, account_id, job, outcome, span) VALUES ($1, $2, $3, 'running', $4)
ON CONFLICT (id) DO NOTHING

-- progress_run
-- How far a run has come; the row of a run that was killed keeps the last of these.
UPDATE refund_sync.run SET
    updated_at = clock_timestamp(), requests = $2, inserted = $3, changed = $4, unchanged = $5,
    stale = $6, late = $7, quarantined = $8, settle_bound = coalesce($9, settle_bound), hinted = $10,
    returned = $11, unread = $12
WHERE id = $1

-- end_run
-- The outcome; an ended run is never ended twice, but for one that was taken to be killed and lives.
UPDATE refund_sync.run SET ended_at = clock_timestamp(), outcome = $2, error = $3
WHERE id = $1 AND (ended_at IS NULL OR error = 'killed before it could end')

-- end_lost_runs
-- Runs that stopped telling how far they came were killed: they say so from now on. Looked for among those that
-- began so long ago at most, because there are many; by now(), which can be looked up in an index.
UPDATE refund_sync.run SET
    ended_at = updated_at, outcome = 'stopped', error = 'killed before it could end'
WHERE account_id = $1 AND started_at > now() - $2::interval
    AND outcome = 'running' AND updated_at < clock_timestamp() - interval '10 minutes'

-- forget_runs
-- The oldest runs that ended so long ago and that no claim names. Work that comes again and again leaves many.
DELETE FROM refund_sync.run WHERE id = ANY(ARRAY(
    SELECT r.id FROM refund_sync.run r
    WHERE r.account_id = $1 AND r.started_at < now() - $2::interval
        AND r.ended_at < now() - $2::interval
        AND NOT EXISTS (SELECT FROM refund_sync.coverage_claim k WHERE k.run_id = r.id)
    ORDER BY r.started_at LIMIT $3
))

-- account
-- The account as it was first met.
SELECT id, livemode, wanted_from, settled_until FROM refund_sync.account WHERE id = $1

-- database_mode
-- Whether this database holds live refunds or those of test mode; no row before the first sync.
SELECT livemode FROM refund_sync.account LIMIT 1

-- account_of_key
-- Whose key this is, as Stripe once said.
SELECT id FROM refund_sync.account WHERE $1 = ANY(key_digests)

-- register_account
-- Records an account, and that this key is its own. One that was met before stays as it is otherwise; of its
-- keys the newest 16 are remembered.
INSERT INTO refund_sync.account AS a (id, livemode, wanted_from, key_digests) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET key_digests =
    CASE WHEN a.key_digests @> $4 THEN a.key_digests ELSE ($4 || a.key_digests)[:16] END
RETURNING created_at

-- want
-- How far back refunds are wanted, as it is set by the command that brings everything wanted up to date.
UPDATE refund_sync.account SET wanted_from = $2 WHERE id = $1 AND wanted_from <> $2

-- settle_account
-- How far the account's history can be proven by now.
UPDATE refund_sync.account SET settled_until = greatest(settled_until, $2) WHERE id = $1

-- database_time
-- The one clock that reads are ordered by.
SELECT clock_timestamp()

-- analyze
-- Tells the planner how much there is, by the columns that rows are found by. Somebody else's tables are left as
-- they are, with a warning.
ANALYZE refund_sync.refund (account_id, id, created_at), refund_sync.charge_link (account_id, refund_id, charge_id),
    refund_sync.destination_details (account_id, refund_id), refund_sync.charge (account_id, id),
    refund_sync.balance_transaction (account_id, id, refund_id), refund_sync.span_check, refund_sync.recheck

-- merge_idle_run
-- A run that found nothing new takes the place of the one before it of the same job, if that found nothing either,
-- began this day, and no claim names it: so an account at rest leaves a row a day, not two a minute.
WITH this AS (
    SELECT * FROM refund_sync.run
    WHERE id = $1 AND outcome = 'ok' AND inserted + changed + stale + late + quarantined + hinted + returned + unread = 0
), before AS (
    SELECT r.* FROM this CROSS JOIN LATERAL (
        SELECT * FROM refund_sync.run
        WHERE account_id = this.account_id AND started_at <= this.started_at AND job = this.job AND id <> this.id
            AND started_at > this.started_at - interval '1 day'
        ORDER BY started_at DESC LIMIT 1
    ) AS r
    WHERE r.outcome = 'ok' AND r.inserted + r.changed + r.stale + r.late + r.quarantined + r.hinted + r.returned + r.unread = 0
        AND coalesce(r.first_started_at, r.started_at) > this.started_at - interval '1 day'
        AND NOT EXISTS (
            SELECT FROM refund_sync.coverage c CROSS JOIN LATERAL (
                SELECT run_id FROM refund_sync.coverage_claim k
                WHERE k.account_id = c.account_id AND k.stream = c.stream ORDER BY seq DESC LIMIT 50
            ) AS k
            WHERE c.account_id = r.account_id AND k.run_id = r.id
        )
), gone AS (
    DELETE FROM refund_sync.run r USING before WHERE r.id = before.id
)
UPDATE refund_sync.run r SET passes = r.passes + before.passes, requests = r.requests + before.requests,
    unchanged = r.unchanged + before.unchanged,
    first_started_at = coalesce(before.first_started_at, before.started_at)
FROM before WHERE r.id = $1

-- forget_reads
-- What was read of Stripe so long ago that no report asks for it.
DELETE FROM refund_sync.read_count WHERE account_id = $1 AND day < $2

-- newest_refunds
-- The ids to ask for when an account cannot say who it is.
SELECT r.id FROM (
    SELECT id, first_listed_at, gone_at FROM refund_sync.refund
    WHERE account_id = $1 ORDER BY created_at DESC LIMIT 50
) AS r
WHERE r.first_listed_at IS NOT NULL AND r.gone_at IS NULL LIMIT 3

-- fold_runs
-- Runs of recurring jobs that ended well before $2 become one a day and job, with the sums of what they did. Those
-- that a claim names stay until that claim is folded.
WITH many AS (
    SELECT job, date_trunc('day', started_at AT TIME ZONE 'UTC') AS day FROM refund_sync.run
    WHERE account_id = $1 AND started_at < $2 AND outcome = 'ok' AND job = ANY($3::text[])
    GROUP BY 1, 2 HAVING count(*) > 1
), named AS MATERIALIZED (
    SELECT DISTINCT run_id FROM refund_sync.coverage_claim WHERE account_id = $1 AND run_id IS NOT NULL
), old AS (
    DELETE FROM refund_sync.run r USING many m
    WHERE r.account_id = $1 AND r.started_at < $2 AND r.outcome = 'ok' AND r.job = m.job
        AND date_trunc('day', r.started_at AT TIME ZONE 'UTC') = m.day
        AND NOT EXISTS (SELECT FROM named n WHERE n.run_id = r.id)
    RETURNING r.*
)
INSERT INTO refund_sync.run (id, account_id, job, outcome, settle_bound, started_at, updated_at, ended_at, requests,
    inserted, changed, unchanged, stale, late, quarantined, hinted, returned, unread, passes, first_started_at)
SELECT gen_random_uuid(), $1, job, 'ok', max(settle_bound), max(started_at), max(updated_at), max(ended_at),
    sum(requests), sum(inserted), sum(changed), sum(unchanged), sum(stale), sum(late), sum(quarantined), sum(hinted),
    sum(returned), sum(unread), sum(passes), min(coalesce(first_started_at, started_at))
FROM old GROUP BY job, date_trunc('day', started_at AT TIME ZONE 'UTC')

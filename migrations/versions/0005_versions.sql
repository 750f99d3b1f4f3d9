-- Each version is stored once. Statements are separated by a semicolon at the end of a line.

ALTER TABLE refund_sync.refund_version RENAME TO refund_superseded;

ALTER TABLE refund_sync.refund_superseded RENAME CONSTRAINT refund_version_pkey TO refund_superseded_pkey;

COMMENT ON TABLE refund_sync.refund_superseded IS 'Versions of refunds that another one followed. Rows are added, never changed. The current version is the refund''s own row; refund_version shows both.';

ALTER TABLE refund_sync.refund_superseded ADD COLUMN left_behind BOOLEAN;

COMMENT ON COLUMN refund_sync.refund_superseded.left_behind IS 'True for the last version of a refund whose row somebody deleted here; empty otherwise.';

CREATE INDEX refund_superseded_left_behind ON refund_sync.refund_superseded (account_id) WHERE left_behind;

ALTER TABLE refund_sync.refund ADD COLUMN version_observed_at TIMESTAMP WITH TIME ZONE, ADD COLUMN recorded_at TIMESTAMP WITH TIME ZONE, ADD COLUMN source TEXT, ADD COLUMN changes JSONB;

ALTER TABLE refund_sync.refund ALTER COLUMN recorded_at SET DEFAULT now();

COMMENT ON TABLE refund_sync.refund IS 'Refunds, each as it was last seen. All versions are in refund_version.';

COMMENT ON COLUMN refund_sync.refund.version_observed_at IS 'When we asked Stripe and this version was first seen, by the database''s clock; observed_at is when it was last seen so.';

COMMENT ON COLUMN refund_sync.refund.recorded_at IS 'When this version was written here.';

COMMENT ON COLUMN refund_sync.refund.source IS 'What found this version: list, second look, recheck, hint, verify, fetch, cancel; upgrade where only our own form changed. Empty while the version is in refund_superseded still, from where migrate moves it.';

COMMENT ON COLUMN refund_sync.refund.changes IS 'What this version changed: {field: [before, after]}; empty for the first.';

CREATE INDEX refund_unmoved ON refund_sync.refund (account_id, id) WHERE source IS NULL;

CREATE FUNCTION refund_sync.keep_version() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN INSERT INTO refund_sync.refund_superseded (account_id, refund_id, version, observed_at, recorded_at, source, changes, raw, left_behind) VALUES (OLD.account_id, OLD.id, OLD.version, OLD.version_observed_at, OLD.recorded_at, OLD.source, OLD.changes, OLD.raw, CASE WHEN TG_OP = 'DELETE' THEN true END); RETURN NULL; END $$;

COMMENT ON FUNCTION refund_sync.keep_version IS 'Keeps the version that a refund''s row held, where another follows or the row is deleted.';

CREATE TRIGGER version_followed AFTER UPDATE OF version ON refund_sync.refund FOR EACH ROW WHEN (OLD.version <> NEW.version AND OLD.source IS NOT NULL) EXECUTE FUNCTION refund_sync.keep_version();

CREATE TRIGGER version_left_behind AFTER DELETE ON refund_sync.refund FOR EACH ROW WHEN (OLD.source IS NOT NULL) EXECUTE FUNCTION refund_sync.keep_version();

CREATE VIEW refund_sync.refund_version AS
SELECT account_id, refund_id, version, observed_at, recorded_at, source, changes, raw FROM refund_sync.refund_superseded
UNION ALL
SELECT account_id, id, version, version_observed_at, recorded_at, source, changes, raw FROM refund_sync.refund WHERE source IS NOT NULL;

COMMENT ON VIEW refund_sync.refund_version IS 'Every version of every refund that was ever seen.';

COMMENT ON COLUMN refund_sync.refund_version.account_id IS 'Stripe account that the row belongs to (acct_…).';

COMMENT ON COLUMN refund_sync.refund_version.refund_id IS 'Refund (re_… or pyr_…).';

COMMENT ON COLUMN refund_sync.refund_version.version IS '1 for the first that we saw.';

COMMENT ON COLUMN refund_sync.refund_version.observed_at IS 'When we asked Stripe, by the database''s clock.';

COMMENT ON COLUMN refund_sync.refund_version.recorded_at IS 'When it was written here.';

COMMENT ON COLUMN refund_sync.refund_version.source IS 'What found it: list, second look, recheck, hint, verify, fetch, cancel; upgrade where only our own form changed.';

COMMENT ON COLUMN refund_sync.refund_version.changes IS 'What changed: {field: [before, after]}; empty for the first.';

COMMENT ON COLUMN refund_sync.refund_version.raw IS 'The refund as Stripe sent it then, personal data masked.';

DO $$ DECLARE g record; BEGIN FOR g IN SELECT a.grantee, a.is_grantable FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = 'refund_sync.refund_superseded'::regclass AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner LOOP EXECUTE format('GRANT SELECT ON refund_sync.refund_version TO %s%s', CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END, CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' END); END LOOP; END $$;

-- Back to a copy of each current version beside its refund. Statements are separated by a semicolon at the end of a line.

INSERT INTO refund_sync.refund_superseded (account_id, refund_id, version, observed_at, recorded_at, source, changes, raw)
SELECT account_id, id, version, version_observed_at, recorded_at, source, changes, raw FROM refund_sync.refund WHERE source IS NOT NULL;

CREATE TEMP TABLE granted_back ON COMMIT DROP AS
SELECT a.grantee, a.is_grantable FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = 'refund_sync.refund_version'::regclass AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner;

DROP VIEW refund_sync.refund_version;

DROP TRIGGER version_followed ON refund_sync.refund;

DROP TRIGGER version_left_behind ON refund_sync.refund;

DROP FUNCTION refund_sync.keep_version();

DROP INDEX refund_sync.refund_unmoved;

ALTER TABLE refund_sync.refund DROP COLUMN version_observed_at, DROP COLUMN recorded_at, DROP COLUMN source, DROP COLUMN changes;

COMMENT ON TABLE refund_sync.refund IS 'Refunds, each as it was last seen. Its earlier versions are in refund_version.';

ALTER TABLE refund_sync.refund_superseded DROP COLUMN left_behind;

ALTER TABLE refund_sync.refund_superseded RENAME CONSTRAINT refund_superseded_pkey TO refund_version_pkey;

ALTER TABLE refund_sync.refund_superseded RENAME TO refund_version;

COMMENT ON TABLE refund_sync.refund_version IS 'Every version of every refund that was ever seen. Rows are added, never changed.';

DO $$ DECLARE g record; BEGIN FOR g IN SELECT * FROM granted_back LOOP EXECUTE format('GRANT SELECT ON refund_sync.refund_version TO %s%s', CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END, CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' END); END LOOP; END $$;

--
-- fitted.sql
--    What a learner weighs, for tests that ask whether two fits weigh the same.
--
CREATE SCHEMA fitted;
CREATE FUNCTION fitted.weights(of_catalog text, of_kind text) RETURNS float4[] LANGUAGE plpgsql AS $$
BEGIN
    PERFORM bundle_rec.fit(of_catalog, of_kind);
    RETURN (SELECT weights FROM bundle_rec.learned_version v JOIN bundle_rec.catalog c USING (catalog) WHERE c.name = of_catalog AND v.kind = of_kind AND v.serving);
END $$;
CREATE FUNCTION fitted.apart(one float4[], other float4[]) RETURNS float8 LANGUAGE sql AS 'SELECT max(abs(a - b)) FROM unnest(one, other) u(a, b)';

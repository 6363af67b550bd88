--
-- sound.sql
--    Whether the tables of the catalogs are whole: heap and indexes by amcheck,
--    and every constraint by a query, since rows that are written in bulk pass
--    by the executor's checks.
--
CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA public;

-- tables of catalogs, item_1 and so on
CREATE VIEW child AS
SELECT i.inhrelid::regclass AS child FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
WHERE p.relnamespace = 'bundle_rec'::regnamespace AND p.relkind = 'r';

-- what is wrong with them, no row where nothing is
CREATE FUNCTION unsound() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    one record;
    n bigint;
BEGIN
    FOR one IN SELECT child FROM child LOOP
        RETURN QUERY SELECT format('%s block %s offset %s: %s', one.child, v.blkno, v.offnum, v.msg) FROM verify_heapam(one.child) v;
    END LOOP;
    FOR one IN SELECT indexrelid::regclass AS index FROM pg_catalog.pg_index JOIN child ON indrelid = child
               JOIN pg_catalog.pg_class i ON i.oid = indexrelid JOIN pg_catalog.pg_am a ON a.oid = i.relam WHERE a.amname = 'btree' LOOP
        PERFORM bt_index_check(one.index, heapallindexed => true);
    END LOOP;
    FOR one IN SELECT child, pg_catalog.pg_get_expr(conbin, conrelid) AS holds FROM pg_catalog.pg_constraint JOIN child ON conrelid = child WHERE contype = 'c'
               UNION ALL SELECT child, format('%I IS NOT NULL', attname) FROM pg_catalog.pg_attribute JOIN child ON attrelid = child WHERE attnotnull AND attnum > 0 LOOP
        EXECUTE format('SELECT count(*) FROM %s WHERE NOT (%s)', one.child, one.holds) INTO n;
        IF n > 0 THEN
            RETURN NEXT format('%s: %s rows violate %s', one.child, n, one.holds);
        END IF;
    END LOOP;
END $$;

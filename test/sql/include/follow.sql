--
-- follow.sql
--    Whether a catalog holds what its sources hold: functions that return no row
--    where it does.
--
-- items of a catalog that are not as its source says, or the other way round
CREATE FUNCTION wrong_items(catalog_name text, source text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'WITH stored AS (SELECT i.item_id, s.price, s.stock, s.active FROM bundle_rec.catalog c
             JOIN bundle_rec.item i USING (catalog) JOIN bundle_rec.item_state s USING (catalog, item) WHERE c.name = %L),
         plain AS (SELECT sku::text COLLATE "C", price::float8, stock::float8, coalesce(active, true) FROM %s)
         SELECT ''stored '' || x::text FROM (TABLE stored EXCEPT TABLE plain) x
         UNION ALL SELECT ''plain '' || x::text FROM (TABLE plain EXCEPT TABLE stored) x', catalog_name, source);
END $$;

-- live events of a catalog that are not rows of the given query, as multisets, or the other way round
CREATE FUNCTION wrong_events(catalog_name text, query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'WITH stored AS (SELECT e.user_id::text AS usr, coalesce(e.item_id, e.bundle_id)::text AS sku, e.basket_id::text AS basket, e.kind, e.quantity, sum(e.weight) AS n
             FROM (TABLE bundle_rec.event UNION ALL TABLE bundle_rec.event_queue) e JOIN bundle_rec.catalog c USING (catalog)
             WHERE c.name = %L GROUP BY 1, 2, 3, 4, 5 HAVING sum(e.weight) <> 0),
         plain AS (SELECT usr::text, sku::text, basket::text, kind, quantity::float8, count(*)::numeric FROM (%s) q GROUP BY 1, 2, 3, 4, 5)
         SELECT ''stored '' || x::text FROM (TABLE stored EXCEPT TABLE plain) x
         UNION ALL SELECT ''plain '' || x::text FROM (TABLE plain EXCEPT TABLE stored) x', catalog_name, query);
END $$;

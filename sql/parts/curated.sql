-- curated.sql
--    Bundles that the shop put together: where they come from, which of them to
--    offer, and what would complete a set.

CREATE FUNCTION bundles_changed() RETURNS trigger
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_bundles_changed';
COMMENT ON FUNCTION bundles_changed() IS 'Trigger that carries changed rows of a bundle source into its catalog; add_bundle_source attaches it';

CREATE FUNCTION add_bundle_source(catalog text, bundles regclass, bundle_id name, item_id name,
                                  quantity name DEFAULT NULL, price name DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_add_bundle_source';
COMMENT ON FUNCTION add_bundle_source(text, regclass, name, name, name, name) IS
'Feeds a catalog from a plain table of curated bundles, one row per bundle and item, now and by triggers. Arguments after bundles name columns. quantity NULL, or NULL in a row: 1. price: of the whole bundle, the same in each of its rows; NULL, or NULL in all of them: the sum of the items'' prices. An error where catalog, bundles, bundle_id or item_id is NULL';

CREATE FUNCTION drop_bundle_source(catalog text, bundles regclass) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_drop_bundle_source';
COMMENT ON FUNCTION drop_bundle_source(text, regclass) IS
'Ends what add_bundle_source began, also where the table is gone (give its OID then): its bundles are no longer offered. For the catalog''s owner. An error where an argument is NULL';

CREATE VIEW bundle_coverage WITH (security_barrier) AS
SELECT c.name AS catalog,
       b.bundle_id,
       m.items,
       m.price,
       coalesce(n.purchases, 0) AS purchases,
       r.reason IS NULL AS offered,
       r.reason
FROM @extschema@.catalog c
JOIN @extschema@.bundle b USING (catalog)
JOIN (SELECT m.catalog, m.bundle, pg_catalog.array_agg(m.item_id ORDER BY m.item_id) AS items,
             CASE WHEN pg_catalog.count(DISTINCT coalesce(m.price, -1)) = 1 THEN pg_catalog.min(m.price) END AS price,
             pg_catalog.count(DISTINCT coalesce(m.price, -1)) > 1 AS prices_differ,
             pg_catalog.bool_or(t.oid IS NULL) AS dropped,
             pg_catalog.min(m.item_id) FILTER (WHERE s.item IS NULL) AS unknown,
             pg_catalog.min(m.item_id) FILTER (WHERE NOT s.active) AS inactive,
             pg_catalog.min(m.item_id) FILTER (WHERE s.stock < m.quantity) AS scarce,
             pg_catalog.bool_and(t.oid IS NULL OR (pg_catalog.has_table_privilege(t.oid, 'SELECT')
                                                   AND NOT pg_catalog.row_security_active(t.oid))) AS readable
      FROM @extschema@.bundle_item m
      LEFT JOIN @extschema@.bundle_source f USING (source)
      LEFT JOIN pg_catalog.pg_class t ON t.oid = f.bundles
      LEFT JOIN @extschema@.item i ON i.catalog = m.catalog AND i.item_id = m.item_id
      LEFT JOIN @extschema@.item_state s ON s.catalog = i.catalog AND s.item = i.item
      GROUP BY m.catalog, m.bundle) m USING (catalog, bundle)
LEFT JOIN @extschema@.bundle_count n USING (catalog, bundle),
LATERAL (SELECT CASE WHEN m.dropped THEN 'the table it came from was dropped'
                     WHEN m.prices_differ THEN 'its rows name different prices'
                     WHEN pg_catalog.cardinality(m.items) > 100 THEN 'it holds more than 100 items'
                     WHEN m.unknown IS NOT NULL THEN pg_catalog.format('item "%s" is not in the catalog', m.unknown)
                     WHEN m.inactive IS NOT NULL THEN pg_catalog.format('item "%s" is not active', m.inactive)
                     WHEN m.scarce IS NOT NULL THEN pg_catalog.format('item "%s" is out of stock', m.scarce)
                END COLLATE pg_catalog."default" AS reason) r
WHERE m.readable AND (NOT m.dropped OR pg_catalog.pg_has_role(c.owner, 'USAGE'))
  AND pg_catalog.has_table_privilege(c.items, 'SELECT')
  AND NOT pg_catalog.row_security_active(c.items);
COMMENT ON VIEW bundle_coverage IS 'Curated bundles, and why some are not offered, for those who may SELECT from the source of the items and that of the bundle, unless row-level security limits what they see there';
COMMENT ON COLUMN bundle_coverage.catalog IS 'Name of the catalog';
COMMENT ON COLUMN bundle_coverage.bundle_id IS 'Id of the bundle';
COMMENT ON COLUMN bundle_coverage.items IS 'Ids of the items that it holds';
COMMENT ON COLUMN bundle_coverage.price IS 'What it costs as a whole; NULL: the sum of its items'' prices, or unknown where its rows disagree';
COMMENT ON COLUMN bundle_coverage.purchases IS 'Purchases of it as a whole less returns, as of the last refresh';
COMMENT ON COLUMN bundle_coverage.offered IS 'Whether rank_bundles offers it where in_stock is true and nothing else is asked for';
COMMENT ON COLUMN bundle_coverage.reason IS 'Why it is not offered; NULL where it is';
GRANT SELECT ON bundle_coverage TO PUBLIC;

CREATE FUNCTION rank_bundles(catalog text, user_id text DEFAULT NULL, k int DEFAULT 10, exclude_owned boolean DEFAULT true,
                             basket text[] DEFAULT NULL, query text DEFAULT NULL,
                             budget double precision DEFAULT NULL, min_margin double precision DEFAULT NULL,
                             categories text[] DEFAULT NULL, exclude text[] DEFAULT NULL, in_stock boolean DEFAULT true,
                             diversity double precision DEFAULT NULL, policy text DEFAULT NULL,
                             log boolean DEFAULT NULL, seed bigint DEFAULT NULL)
RETURNS TABLE (rank int, decision_id bigint, bundle_id text, items text[], score double precision,
               propensity double precision, price double precision, list_price double precision,
               discount double precision, margin double precision, reasons jsonb)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000 ROWS 10
AS 'MODULE_PATHNAME', 'br_rank_bundles';
COMMENT ON FUNCTION rank_bundles(text, text, int, boolean, text[], text, double precision, double precision, text[], text[], boolean, double precision, text, boolean, bigint) IS
'Ranked curated bundles for a user, a basket, a query or nobody in particular, decided and logged as recommend does. Where fit has put a ranker of bundles into service, scores start from its probability for this user; with a basket or a query they start from the fixed weights. price is the bundle''s own, list_price the sum of quantity times price of its items, discount the fraction between, negative where the bundle costs more. Only bundles whose items are all active, and in stock in the quantity needed; price at most budget, (price - cost) / price at least min_margin, all items of the given categories, none of exclude, not all of the basket. exclude_owned: nothing that the user bought as a whole and did not return, nothing of which every item was bought. NULL leaves a limit out, and is true for exclude_owned and in_stock; a NULL catalog or k is an error; prices are NULL where they are not known';

CREATE FUNCTION complete(catalog text, items text[], k int DEFAULT 10)
RETURNS TABLE (rank int, item_id text, score double precision)
LANGUAGE C STABLE PARALLEL UNSAFE COST 10000 ROWS 10
AS 'MODULE_PATHNAME', 'br_complete';
COMMENT ON FUNCTION complete(text, text[], int) IS
'What is missing from this set: the k active items, in stock or not, that go best with the given ones and are none of them. score: where fit has put a ranker into service, the probability that it gives an item in the company of the given ones, logistic(sum of weight * feature) as for recommend_items, of every item; otherwise mean affinity to the given items, 1 - (1 - sqrt(s)) (1 - 0.3 t) with s the shrunk cosine of pair_scores and t the similarity of text, c / 0.8 up to 1, falling to 0 from c = 0.95 to 1, of those that have anything to do with the set. Ties by age, the older first. Only items that the caller may see. By exact search over all items. An error where an argument is NULL or items is empty or names an unknown item';

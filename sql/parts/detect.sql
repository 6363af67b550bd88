-- detect.sql
--    Bundles out of what a catalog has: those within a session, and those that
--    its baskets suggest.

CREATE FUNCTION detect_bundles(catalog text, items text[])
RETURNS TABLE (bundle int, items text[], score double precision)
LANGUAGE C STABLE PARALLEL UNSAFE COST 10000 ROWS 3
AS 'MODULE_PATHNAME', 'br_detect_bundles';
COMMENT ON FUNCTION detect_bundles(text, text[]) IS
'The bundles within the items of a session, the best first; they may overlap, and one may be the whole session. score: the Jaccard index that is expected of a bundle with the true one most like it, shared items over all items of both. The best is always named, others from a threshold on. By the version of detector in service, which fit learns from baskets with curated bundles, or by fixed weights where none is. Items count once, and stand in a bundle in the order in which they were given; fewer than two have no bundle. Only for those who may see all of the items. An error where an argument is NULL, an item is unknown, or there are more than 200';

CREATE FUNCTION mine_bundles(catalog text, k int DEFAULT 20, min_support bigint DEFAULT NULL, sizes int4range DEFAULT '[2,4]')
RETURNS TABLE (rank int, items text[], name text, support bigint, expected double precision, lift double precision, price double precision)
LANGUAGE C STABLE PARALLEL UNSAFE COST 10000 ROWS 20
AS 'MODULE_PATHNAME', 'br_mine_bundles';
COMMENT ON FUNCTION mine_bundles(text, int, bigint, int4range) IS
'Proposals for new curated bundles: sets of active items that stand together in many baskets, as the version of itemsets in service found them, and that no curated bundle is exactly. support: baskets that hold the set, or users where baskets are rare; expected: how many would if its items were bought independently; lift: the one over the other. Ranked by how far the support exceeds what chance explains, which is taken at its best: the rest of the set and one of its items, bought independently; a set must exceed that by two standard deviations. Left out is what a larger set says nearly as often, in nine tenths of the baskets, and what shares more than half of its items, or of the other''s, with a set that ranks before it. name: words that the items'' texts share, or their categories do, or else the categories; NULL where there are none. price: sum of the items'' prices less the catalog''s discount; NULL where one is unknown. min_support NULL: what the sets were mined with. Only items that the caller may see. 55000 where no itemsets are in service. An error where catalog, k or sizes is NULL';

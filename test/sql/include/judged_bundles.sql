--
-- judged_bundles.sql
--    Every curated bundle beside every row of the table request, judged by the
--    source alone (steam_shop.sql).
--
-- request: call, and the arguments user_id, exclude_owned, basket, budget, min_margin,
-- categories, exclude, in_stock of rank_bundles; answer: what that gave. Makes judged,
-- which says of each bundle what limits it breaks, and the views feasible and offered.
--
CREATE TABLE judged AS
SELECT q.call, f.bundle, NOT f.active AS inactive, q.in_stock AND NOT f.in_stock AS sold_out, q.budget IS NOT NULL AND f.price > q.budget::numeric AS dear,
       q.min_margin IS NOT NULL AND (f.cost IS NULL OR f.price = 0 OR (f.price - f.cost) / nullif(f.price, 0) < q.min_margin::numeric) AS unprofitable,
       q.categories IS NOT NULL AND NOT f.genres <@ q.categories AS other, coalesce(f.items && q.exclude, false) AS excluded, f.items <@ q.basket AS had,
       q.exclude_owned IS NOT FALSE AND f.bundle = ANY (o.bundles) AS owned, q.exclude_owned IS NOT FALSE AND f.items <@ o.items AS owned_in_parts
FROM request q CROSS JOIN LATERAL (SELECT coalesce(array_agg(DISTINCT o.bundle), '{}') AS bundles, coalesce(array_agg(DISTINCT c.id), '{}') AS items
                                   FROM owner o JOIN content c USING (bundle) WHERE o.shopper = q.user_id) o CROSS JOIN fact f;
CREATE VIEW feasible AS SELECT call, bundle FROM judged WHERE NOT (inactive OR sold_out OR dear OR unprofitable OR other OR excluded OR had OR owned OR owned_in_parts);
CREATE VIEW offered AS SELECT a.call, a.rank, j.* FROM answer a JOIN (SELECT call AS asked, bundle, inactive, sold_out, dear, unprofitable, other, excluded, had, owned, owned_in_parts
                                                                      FROM judged) j ON j.asked = a.call AND j.bundle = a.bundle_id COLLATE "default";

\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- steam.sql
--    10,000 random requests for Steam's catalog at its real prices, with all that
--    can be learned of it in service: recommend, rank_bundles and recommend_items,
--    a quarter of them under no rule, a quarter under bans and a cap, a quarter
--    under pins and a requirement, a quarter under all of these and boosts. What
--    comes back obeys every constraint, is as much as there is, and says of itself
--    what is true, judged by plain SQL over the source tables.
--
--    psql -v calls=400 makes fewer of them, -v timing=on shows what they take.
--
SELECT plan(45);
SELECT coalesce((pg_stat_file(:'data_dir' || '/steam/items.csv', true)).size > 0, false) AS have_data \gset
\if :have_data
\if :{?calls}
\else
\set calls 10000
\endif

\i test/sql/include/steam_shop.sql
SELECT count(*) AS learned, count(*) FILTER (WHERE kind IN ('ranker', 'bundle_ranker')) AS rankers FROM fit('steam') WHERE version IS NOT NULL \gset
SELECT is(:rankers, 2, 'both rankers serve');

---- the rules ----

CREATE TABLE bestseller AS SELECT id, row_number() OVER (ORDER BY count(*) DESC, id) AS place FROM owner JOIN content USING (bundle) GROUP BY id;
-- the door is the one that a pin is for
CREATE TABLE ruling (phases int[], name text, action text, items text[], categories text[], bundle_id text, amount float8, slot int, door text);
INSERT INTO ruling VALUES
    ('{2,4}', 'recalled', 'ban', (SELECT array_agg(id) FROM bestseller WHERE place % 3 = 0 AND place < 120), NULL, NULL, NULL, NULL, NULL),
    ('{2,4}', 'not here', 'ban', NULL, '{Anime,Racing}', NULL, NULL, NULL, NULL),
    ('{2,4}', 'withdrawn', 'ban', NULL, NULL, (SELECT bundle FROM owner GROUP BY bundle ORDER BY count(*) DESC, bundle LIMIT 1), NULL, NULL, NULL),
    ('{2,4}', 'one of each', 'cap', NULL, '{Action,Strategy}', NULL, 1, NULL, NULL),
    ('{3,4}', 'something for all', 'require', NULL, '{Action,Adventure,Indie}', NULL, NULL, NULL, NULL),
    ('{4}', 'sale', 'boost', (SELECT array_agg(id) FROM bestseller WHERE place % 7 = 1 AND place < 140), '{Casual}', NULL, 3, NULL, NULL),
    ('{4}', 'season over', 'boost', NULL, '{Strategy}', NULL, .2, NULL, NULL);
-- what a pin names may be offered, and no other rule forbids it
CREATE TABLE pinnable AS
SELECT id, genre, row_number() OVER (PARTITION BY genre ORDER BY place, id) AS place FROM game LEFT JOIN bestseller USING (id)
WHERE active IS NOT FALSE AND stock >= 1 AND cost IS NOT NULL AND price BETWEEN 2 AND 12 AND place % 3 <> 0;
CREATE TABLE pinnable_bundle AS
SELECT bundle, row_number() OVER (ORDER BY price, bundle) AS place FROM fact f
WHERE active AND in_stock AND cost IS NOT NULL AND cardinality(items) > 1 AND NOT genres && '{Anime,Racing}'
  AND NOT items && (SELECT items FROM ruling WHERE name = 'recalled') AND bundle <> (SELECT bundle_id FROM ruling WHERE name = 'withdrawn')
  AND NOT EXISTS (SELECT FROM game WHERE id = ANY (f.items) AND genre IN ('Action', 'Strategy') GROUP BY genre HAVING count(*) > 1);
CREATE FUNCTION pick(VARIADIC genres text[]) RETURNS text[] LANGUAGE sql STABLE
AS $$SELECT array_agg(id ORDER BY id) FROM unnest(genres) WITH ORDINALITY g(genre, i) JOIN pinnable p USING (genre) WHERE p.place = i$$;
INSERT INTO ruling VALUES
    ('{3,4}', 'pair', 'pin', pick('Action', 'Adventure'), NULL, NULL, NULL, 2, 'recommend'),
    ('{3,4}', 'trio', 'pin', pick('Strategy', 'Indie', 'RPG'), NULL, NULL, NULL, NULL, 'recommend'),
    ('{3,4}', 'single', 'pin', pick('Casual'), NULL, NULL, NULL, 4, 'recommend_items'),
    ('{3,4}', 'hero', 'pin', pick('Indie'), NULL, NULL, NULL, NULL, 'recommend_items'),
    ('{3,4}', 'kit', 'pin', NULL, NULL, (SELECT bundle FROM pinnable_bundle WHERE place = 7), NULL, 3, 'rank_bundles'),
    ('{3,4}', 'box', 'pin', NULL, NULL, (SELECT bundle FROM pinnable_bundle WHERE place = 40), NULL, NULL, 'rank_bundles');
SELECT is((SELECT count(*) FROM ruling WHERE num_nonnulls(items, categories, bundle_id) = 0), 0::bigint, 'there is something for every rule');

-- what they say in each phase
CREATE TABLE force AS
SELECT phase, coalesce((SELECT array_agg(i) FROM ruling, unnest(items) i WHERE phase = ANY (phases) AND action = 'ban'), '{}') AS banned,
       coalesce((SELECT array_agg(c) FROM ruling, unnest(categories) c WHERE phase = ANY (phases) AND action = 'ban'), '{}') AS banned_categories,
       coalesce((SELECT array_agg(bundle_id) FROM ruling WHERE phase = ANY (phases) AND action = 'ban' AND bundle_id IS NOT NULL), '{}') AS banned_bundles,
       coalesce((SELECT categories FROM ruling WHERE phase = ANY (phases) AND action = 'cap'), '{}') AS capped,
       (SELECT amount FROM ruling WHERE phase = ANY (phases) AND action = 'cap')::int AS most,
       (SELECT categories FROM ruling WHERE phase = ANY (phases) AND action = 'require') AS required
FROM generate_series(1, 4) phase;

---- the requests ----

CREATE TABLE page AS
SELECT call, 1 + (call - 1) * 4 / :calls AS phase, (ARRAY['recommend', 'recommend', 'rank_bundles', 'recommend_items'])[1 + floor(4 * chance(call::text, 'door'))::int] AS door,
       CASE WHEN chance(call::text, 'user?') < .6 THEN (SELECT shopper FROM shopper s
                 WHERE s.n = 1 + floor(chance(call::text, 'user') * (SELECT count(*) FROM shopper))::bigint)
            WHEN chance(call::text, 'user?') < .7 THEN 'a stranger' END AS user_id,
       1 + floor(CASE WHEN chance(call::text, 'many') < .1 THEN 100 ELSE 12 END ^ chance(call::text, 'k'))::int AS k,
       (ARRAY['[2,2]', '[3,3]', '[2,4]', '[1,3]', '[4,5]', '[2,3]'])[1 + floor(chance(call::text, 'size') * 6)::int]::int4range AS size,
       (ARRAY[true, true, false, NULL])[1 + floor(chance(call::text, 'owned') * 4)::int] AS exclude_owned,
       CASE WHEN chance(call::text, 'basket?') < .3 THEN (SELECT items[1:3] FROM kit WHERE n = 1 + floor(chance(call::text, 'kit') * (SELECT count(*) FROM kit))::bigint)
            ELSE some_items(call, 'basket', floor(chance(call::text, 'basket size') * 3)::int) END AS basket,
       CASE WHEN chance(call::text, 'query?') < .1 THEN (SELECT name FROM numbered p
                 WHERE p.n = 1 + floor(chance(call::text, 'query') * (SELECT count(*) FROM numbered))::bigint) END AS query,
       CASE WHEN chance(call::text, 'budget?') < .5 THEN round((80 ^ chance(call::text, 'budget'))::numeric, 2)::float8 END AS budget,
       CASE WHEN chance(call::text, 'margin?') < .4 THEN round((-.1 + .92 * chance(call::text, 'margin'))::numeric, 3)::float8 END AS min_margin,
       CASE WHEN chance(call::text, 'genres?') < .3 THEN some_genres(call, 1 + floor(12 * chance(call::text, 'genres'))::int) END AS categories,
       CASE WHEN chance(call::text, 'exclude?') < .3 THEN some_items(call, 'exclude', 1 + floor(chance(call::text, 'excluded') * 60)::int) END AS exclude,
       chance(call::text, 'in stock') < .7 AS in_stock
FROM generate_series(1, :calls) AS call;
ALTER TABLE page ADD PRIMARY KEY (call);
ANALYZE page;

CREATE TABLE answer (call int, rank int, decision_id bigint, bundle_id text, items text[], score float8, propensity float8, price float8, list_price float8,
                     discount float8, margin float8, reasons jsonb);
CREATE FUNCTION ask(which int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO answer
    SELECT q.call, r.rank, r.decision_id, NULL, r.items, r.score, r.propensity, r.price, r.list_price, r.discount, r.margin, r.reasons
    FROM page q, LATERAL recommend('steam', user_id => q.user_id, basket => q.basket, query => q.query, bundles => q.k, size => q.size, budget => q.budget,
                                   min_margin => q.min_margin, categories => q.categories, exclude => q.exclude, in_stock => q.in_stock, seed => q.call) r
    WHERE q.phase = which AND q.door = 'recommend';
    INSERT INTO answer
    SELECT q.call, r.rank, r.decision_id, NULL, ARRAY[r.item_id], r.score, r.propensity, r.price, r.price, 0, NULL, r.reasons
    FROM page q, LATERAL recommend_items('steam', user_id => q.user_id, basket => q.basket, query => q.query, k => q.k, budget => q.budget,
                                         min_margin => q.min_margin, categories => q.categories, exclude => q.exclude, in_stock => q.in_stock, seed => q.call) r
    WHERE q.phase = which AND q.door = 'recommend_items';
    INSERT INTO answer
    SELECT q.call, r.rank, r.decision_id, r.bundle_id, r.items, r.score, r.propensity, r.price, r.list_price, r.discount, r.margin, r.reasons
    FROM page q, LATERAL rank_bundles('steam', user_id => q.user_id, k => q.k, exclude_owned => q.exclude_owned, basket => q.basket, query => q.query, budget => q.budget,
                                      min_margin => q.min_margin, categories => q.categories, exclude => q.exclude, in_stock => q.in_stock, seed => q.call) r
    WHERE q.phase = which AND q.door = 'rank_bundles';
END $$;
CREATE FUNCTION make_rules(which int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM drop_rule(catalog, rule) FROM rule;
    PERFORM create_rule('steam', name, action, items, categories, bundle_id, amount, slot) FROM ruling WHERE which = ANY (phases);
END $$;
\if :{?timing}
\timing
\endif
SELECT ask(1) \g /dev/null
SELECT make_rules(2) \g /dev/null
SELECT ask(2) \g /dev/null
SELECT make_rules(3) \g /dev/null
SELECT ask(3) \g /dev/null
SELECT make_rules(4) \g /dev/null
SELECT ask(4) \g /dev/null
CREATE INDEX ON answer (call);
ANALYZE answer;
CREATE TABLE got AS SELECT q.call, q.phase, q.door, q.k AS wanted, count(a.rank)::int AS n, min(a.decision_id) AS decision_id FROM page q LEFT JOIN answer a USING (call) GROUP BY q.call;
ALTER TABLE got ADD PRIMARY KEY (call);

SELECT cmp_ok(count(*) FILTER (WHERE n > 0), '>=', :calls * 2::bigint / 10, 'most requests are answered: ' || door) FROM got GROUP BY door ORDER BY door;
SELECT cmp_ok(count(*) FILTER (WHERE n < wanted), '>=', :calls / 100::bigint, 'some not in full: ' || door) FROM got GROUP BY door ORDER BY door;

---- bundles that are made, and items ----

-- what was offered, and what pins would have offered
CREATE TABLE tried AS
SELECT a.call, a.rank, NULL AS pin, a.items, a.price::numeric AS price FROM answer a WHERE bundle_id IS NULL
UNION ALL
SELECT q.call, NULL, r.name, r.items, (SELECT sum(price) FROM game WHERE id = ANY (r.items))
FROM page q JOIN ruling r ON r.door = q.door AND q.phase = ANY (r.phases) WHERE r.items IS NOT NULL;

CREATE TABLE judged_set AS
SELECT t.call, t.rank, t.pin, t.items, t.price, s.list, s.cost, s.found <> cardinality(t.items) AS unknown,
       q.door = 'recommend' AND NOT cardinality(t.items) <@ q.size AS missized, q.budget IS NOT NULL AND t.price > q.budget::numeric AS dear,
       q.min_margin IS NOT NULL AND (s.cost IS NULL OR t.price = 0 OR (t.price - s.cost) / nullif(t.price, 0) < q.min_margin::numeric) AS unprofitable,
       q.in_stock AND NOT s.in_stock AS sold_out, NOT s.active AS inactive, q.categories IS NOT NULL AND NOT s.genres <@ q.categories AS other,
       coalesce(t.items && q.exclude, false) OR t.items && q.basket AS excluded, t.items && f.banned OR s.genres && f.banned_categories AS banned,
       EXISTS (SELECT FROM unnest(s.genres) g WHERE g = ANY (f.capped) GROUP BY g HAVING count(*) > f.most) AS over_cap,
       q.door = 'recommend' AND f.required IS NOT NULL AND NOT s.genres && f.required AS lacking
FROM tried t JOIN page q USING (call) JOIN force f USING (phase), LATERAL (
    SELECT count(*) AS found, sum(price) AS list, CASE WHEN count(cost) = count(*) THEN sum(cost) END AS cost, bool_and(stock IS NULL OR stock >= 1) AS in_stock,
           bool_and(active IS NOT FALSE) AS active, array_agg(genre) AS genres
    FROM game WHERE id = ANY (t.items)) s;
CREATE TABLE offered_set AS SELECT * FROM judged_set WHERE pin IS NULL;

SELECT is((SELECT count(*) FROM offered_set WHERE unknown), 0::bigint, 'every item is in the source, none twice in a bundle');
SELECT is((SELECT count(*) FROM offered_set WHERE missized), 0::bigint, 'size');
SELECT is((SELECT count(*) FROM offered_set WHERE dear), 0::bigint, 'budget');
SELECT is((SELECT count(*) FROM offered_set WHERE unprofitable), 0::bigint, 'margin');
SELECT is((SELECT count(*) FROM offered_set WHERE sold_out), 0::bigint, 'stock');
SELECT is((SELECT count(*) FROM offered_set WHERE inactive), 0::bigint, 'nothing retired');
SELECT is((SELECT count(*) FROM offered_set WHERE other), 0::bigint, 'categories');
SELECT is((SELECT count(*) FROM offered_set WHERE excluded), 0::bigint, 'nothing excluded, nothing of the basket');
SELECT is((SELECT count(*) FROM offered_set WHERE banned), 0::bigint, 'nothing banned');
SELECT is((SELECT count(*) FROM offered_set WHERE over_cap), 0::bigint, 'caps');
SELECT is((SELECT count(*) FROM offered_set WHERE lacking), 0::bigint, 'what is required');
SELECT is((SELECT count(*) FROM (SELECT FROM offered_set GROUP BY call, (SELECT array_agg(i ORDER BY i) FROM unnest(items) i) HAVING count(*) > 1) d),
          0::bigint, 'no bundle twice in an answer');

-- curated bundles of one piece of each item stand among those that are made, at their own prices
SELECT cmp_ok((SELECT count(DISTINCT call) FROM offered_set WHERE price <> list), '>=', :calls / 50::bigint, 'curated bundles stand among those that are made');
SELECT is_empty($$SELECT call, items, price FROM offered_set o JOIN page q USING (call) JOIN force f USING (phase) WHERE price <> list
                  AND NOT EXISTS (SELECT FROM fact WHERE fact.items @> o.items AND fact.items <@ o.items AND fact.price = o.price AND bundle <> ALL (f.banned_bundles) AND active
                                  AND NOT EXISTS (SELECT FROM content c WHERE c.bundle = fact.bundle AND units > 1))$$, 'at prices of their own, those that are not banned');
SELECT is((SELECT count(*) FROM answer a JOIN offered_set o USING (call, rank) WHERE abs(a.list_price - o.list) > 1e-9 OR abs(a.discount - (1 - o.price / o.list)) > 1e-9
           OR cardinality(a.items) > 1 AND (abs(a.margin - (o.price - o.cost) / o.price) > 1e-9 OR (a.margin IS NULL) <> (o.cost IS NULL))),
          0::bigint, 'list prices, discounts and margins are those of the source');

---- as many as there are ----

-- in cents, so that sums are exact
CREATE VIEW good AS SELECT id, (price * 100)::float8 AS price, (cost * 100)::float8 AS cost, genre AS category FROM game;
\i test/sql/include/search.sql
-- what could be offered at all, from the source
CREATE FUNCTION offerable(q page) RETURNS text[] LANGUAGE sql STABLE
AS $$SELECT coalesce(array_agg(id), '{}') FROM game g, force f
     WHERE f.phase = q.phase AND g.active IS NOT FALSE AND (NOT q.in_stock OR g.stock IS NULL OR g.stock >= 1) AND (q.categories IS NULL OR g.genre = ANY (q.categories))
       AND g.id <> ALL (q.basket) AND (q.exclude IS NULL OR g.id <> ALL (q.exclude)) AND g.id <> ALL (f.banned) AND (g.genre IS NULL OR g.genre <> ALL (f.banned_categories))$$;
SELECT is_empty($$SELECT q.call, n, wanted FROM page q JOIN got USING (call), LATERAL (
                      SELECT count(*) AS possible FROM game WHERE id = ANY (offerable(q)) AND (q.budget IS NULL OR price <= q.budget::numeric)
                         AND (q.min_margin IS NULL OR (price - cost) / nullif(price, 0) >= q.min_margin::numeric)) p
                  WHERE q.door = 'recommend_items' AND n <> least(wanted, possible)$$, 'as many items as are wanted, or as there are');

CREATE TABLE short AS
SELECT q.call, q.size, q.budget, round(q.budget * 100) AS cents, q.min_margin, g.n, g.wanted, f.capped, f.most, f.required, offerable(q) AS offerable,
       (SELECT array_agg(i.item_id COLLATE "default") FROM item i WHERE i.catalog = :n AND i.item = ANY (d.candidates)) AS candidates
FROM page q JOIN got g USING (call) JOIN force f ON f.phase = q.phase LEFT JOIN decision d USING (decision_id) WHERE q.door = 'recommend' AND g.n < g.wanted;
SELECT is_empty($$SELECT call FROM short WHERE n > 0 AND NOT candidates <@ offerable$$, 'nothing but what may be offered was a candidate');
SELECT is_empty($$SELECT call, n, wanted FROM short WHERE n > 0 AND feasible(candidates, size, cents, min_margin, n + 1, capped, most, required) > n$$,
                'where fewer bundles come back, the candidates make no more');
SELECT is_empty($$SELECT call, n, wanted FROM short
                  WHERE num_nonnulls(budget, min_margin) < 2 AND feasible(offerable, size, cents, min_margin, n + 1, capped, most, required) > n$$,
                'where one limit binds, the whole catalog makes no more');

---- curated bundles ----

CREATE VIEW request AS SELECT * FROM page WHERE door = 'rank_bundles';
\i test/sql/include/judged_bundles.sql
CREATE TABLE permitted AS
SELECT p.call, p.bundle FROM feasible p JOIN page q USING (call) JOIN force r USING (phase) JOIN fact f USING (bundle)
WHERE f.bundle <> ALL (r.banned_bundles) AND NOT f.items && r.banned AND NOT f.genres && r.banned_categories
  AND NOT EXISTS (SELECT FROM game WHERE id = ANY (f.items) AND genre = ANY (r.capped) GROUP BY genre HAVING count(*) > r.most);
ALTER TABLE permitted ADD PRIMARY KEY (call, bundle);
SELECT is((SELECT count(*) FROM answer a WHERE bundle_id IS NOT NULL AND NOT EXISTS (SELECT FROM permitted p WHERE p.call = a.call AND p.bundle = a.bundle_id)), 0::bigint,
          'no curated bundle that breaks a limit or a rule, or is owned');
SELECT is((SELECT count(*) FROM (SELECT FROM answer WHERE bundle_id IS NOT NULL GROUP BY call, bundle_id HAVING count(*) > 1) d), 0::bigint, 'none twice in an answer');
SELECT is_empty($$SELECT call, wanted, n FROM got g WHERE door = 'rank_bundles' AND n <> least(wanted, (SELECT count(*) FROM permitted p WHERE p.call = g.call))$$,
                'as many as are wanted, or as there are');
SELECT is_empty($$SELECT a.bundle_id, a.price, f.price FROM answer a JOIN fact f ON f.bundle = a.bundle_id
                  WHERE abs(a.price - f.price) > 1e-9 OR abs(a.list_price - f.list) > 1e-9 OR abs(a.discount - (1 - f.price / nullif(f.list, 0))) > 1e-9
                     OR abs(a.margin - (f.price - f.cost) / nullif(f.price, 0)) > 1e-9 OR (a.margin IS NULL) <> (f.cost IS NULL OR f.price = 0)$$,
                'prices, discounts and margins are those of the source');

---- pins ----

-- whether each may be offered, and where it stands
CREATE TABLE pinned AS
SELECT t.call, r.name, r.slot, g.n, g.wanted, NOT (missized OR dear OR unprofitable OR sold_out OR inactive OR other OR excluded OR banned OR over_cap OR lacking) AS possible,
       (SELECT min(rank) FROM answer a WHERE a.call = t.call AND a.items @> r.items AND a.items <@ r.items) AS rank
FROM judged_set t JOIN ruling r ON r.name = t.pin JOIN got g USING (call)
UNION ALL
SELECT g.call, r.name, r.slot, g.n, g.wanted, p.bundle IS NOT NULL, (SELECT min(rank) FROM answer a WHERE a.call = g.call AND a.bundle_id = r.bundle_id)
FROM got g JOIN ruling r ON r.door = g.door AND g.phase = ANY (r.phases) LEFT JOIN permitted p ON p.call = g.call AND p.bundle = r.bundle_id WHERE g.door = 'rank_bundles';
-- one of the two pins of each door has a slot beyond the first, the other takes the first
SELECT is_empty($$SELECT * FROM pinned WHERE possible AND (slot IS NULL OR slot <= wanted) AND rank IS DISTINCT FROM CASE WHEN slot IS NULL THEN 1 ELSE least(slot, n) END$$,
                'what is pinned stands at its slot, or the first');
SELECT is_empty($$SELECT * FROM pinned WHERE NOT possible AND rank IS NOT NULL$$, 'unless the request rules it out');
SELECT cmp_ok((SELECT count(*) FROM pinned WHERE possible AND rank = least(slot, n)), '>=', :calls / 50::bigint, 'both of them often');
SELECT is_empty($$SELECT a.call, a.rank, a.reasons -> 'rules' FROM answer a LEFT JOIN pinned p ON p.call = a.call AND p.rank = a.rank AND (p.slot IS NULL OR p.slot <= p.wanted)
                  WHERE p.name IS NOT NULL AND NOT (a.propensity = 1 AND a.reasons -> 'rules' ? p.name)
                     OR p.name IS NULL AND a.reasons -> 'rules' ?| (SELECT array_agg(name) FROM ruling WHERE action = 'pin')$$,
                'with certainty, and with its rule among the reasons');

---- the log ----

-- each slot, its place in the pool, and how many of the pool were left for it
CREATE TABLE place AS
SELECT d.decision_id, k AS rank, d.propensity[k] AS logged,
       CASE kind WHEN 'curated' THEN array_position(d.pool_bundles, d.slot_bundles[k]) ELSE array_position(d.pool_items, d.slot_items[k]) END AS place
FROM decision d, generate_subscripts(d.propensity, 1) k WHERE d.catalog = :n AND d.kind <> 'bundle'
UNION ALL
SELECT d.decision_id, s.rank, d.propensity[s.rank], m.place
FROM decision d, LATERAL (SELECT u.rank, d.slot_items[sum(u.size) OVER (ORDER BY u.rank) - u.size + 1 : sum(u.size) OVER (ORDER BY u.rank)] AS items
                          FROM unnest(d.slot_sizes) WITH ORDINALITY AS u(size, rank)) s
     JOIN LATERAL (SELECT u.place, d.pool_items[sum(u.size) OVER (ORDER BY u.place) - u.size + 1 : sum(u.size) OVER (ORDER BY u.place)] AS items
                   FROM unnest(d.pool_sizes) WITH ORDINALITY AS u(size, place)) m USING (items)
WHERE d.catalog = :n AND d.kind = 'bundle';
SELECT is((SELECT count(*) FROM place WHERE place IS NOT NULL), (SELECT count(*) FROM answer), 'every slot is a member of its pool, once');
SELECT is((SELECT count(*) FROM answer WHERE NOT (propensity > 0 AND propensity <= 1)), 0::bigint, 'propensities are probabilities');
CREATE TABLE drawn AS
SELECT p.*, d.epsilon, d.draws, d.votes[(p.rank - 1) * d.pool_size + p.place] AS votes, coalesce(d.slot_pinned[p.rank], 0) > 0 AS pinned,
       d.pool_size - (SELECT count(*) FROM unnest(d.slot_pinned) s WHERE s > 0)
       - (p.rank - 1 - (SELECT count(*) FROM unnest(d.slot_pinned[1 : p.rank - 1]) s WHERE s > 0)) AS remaining
FROM place p JOIN decision d USING (decision_id);
SELECT is((SELECT count(*) FROM drawn WHERE abs(logged - CASE WHEN pinned THEN 1 ELSE (1 - epsilon) * votes / draws + epsilon / remaining END) > 1e-12), 0::bigint,
          'propensity = (1 - epsilon) votes / draws + epsilon / remaining');
SELECT is((SELECT count(*) FROM decision d, generate_subscripts(d.propensity, 1) k WHERE d.catalog = :n AND d.decision_id % 10 = 0
           AND (SELECT sum(v) FROM unnest(d.votes[(k - 1) * d.pool_size + 1 : k * d.pool_size]) v) <> CASE WHEN d.slot_pinned[k] > 0 THEN 0 ELSE d.draws END), 0::bigint,
          'every draw votes, but on what is pinned');

---- reasons ----

CREATE TABLE sample AS SELECT a.*, q.budget, q.door FROM answer a JOIN page q USING (call) ORDER BY md5(a.call || ' ' || a.rank) LIMIT 500;
CREATE INDEX ON sale (id);
ANALYZE sale;
-- every pair that reasons name, inside the bundle or with what the request starts from
CREATE TABLE named AS
SELECT call, rank, 'pair' AS part, p ->> 'similarity' IS NOT NULL AS similar, p -> 'items' ->> 0 AS id, p -> 'items' ->> 1 AS other, p AS told
FROM sample, jsonb_array_elements(reasons -> 'pairs') p
UNION ALL
SELECT call, rank, c ->> 'source', c ? 'similarity', c ->> 'from', c ->> 'item', c FROM sample, jsonb_array_elements(reasons -> 'context') c WHERE c ? 'together';
CREATE TABLE recounted AS
SELECT n.*, a, b, ab, (SELECT count(DISTINCT shopper) FROM sale) * ab / nullif(a * b, 0)::float8 AS lift, coalesce(ab / sqrt(nullif(a * b, 0)) * ab / (ab + 10), 0) AS cosine
FROM named n, LATERAL (SELECT count(*)::float8 AS a FROM sale WHERE id = n.id) a, LATERAL (SELECT count(*)::float8 AS b FROM sale WHERE id = n.other) b,
     LATERAL (SELECT count(*)::float8 AS ab FROM sale x JOIN sale y USING (shopper) WHERE x.id = n.id AND y.id = n.other) ab;
-- told with four digits
SELECT is_empty($$SELECT call, rank, part, id, other, told FROM recounted WHERE (told ->> 'together')::float8 <> ab OR told -> 'baskets' <> jsonb_build_array(a, b)
                  OR (told ->> 'lift')::float8 IS DISTINCT FROM lift AND (abs((told ->> 'lift')::float8 - lift) <= 5.001e-4 * lift) IS NOT TRUE
                  OR (abs((told ->> 'shrunk_cosine')::float8 - cosine) <= 5.001e-4 * cosine) IS NOT TRUE$$,
                'what was bought together, lift and cosine are those of the sales');
SELECT is((SELECT count(*) FROM sample WHERE jsonb_array_length(reasons -> 'pairs') <> least(cardinality(items) * (cardinality(items) - 1) / 2, 28)), 0::bigint,
          'of every pair of a bundle, or of the 28 strongest');
SELECT is((SELECT count(*) FROM sample WHERE CASE WHEN budget IS NULL THEN reasons ? 'budget'
           ELSE ((reasons -> 'budget' ->> 'limit')::float8 = budget AND (reasons -> 'budget' ->> 'price')::float8 = price) IS NOT TRUE END), 0::bigint, 'the budget and the price');
SELECT is((SELECT count(*) FROM sample, LATERAL (SELECT sum(c.value::float8) AS logit FROM jsonb_each_text(reasons -> 'contributions') c) c
           WHERE abs(logit - (reasons ->> 'logit')::float8) > 1e-3 OR abs(1 / (1 + exp(-logit)) - (reasons -> 'features' ->> 'score')::float8) > 2e-4), 0::bigint,
          'what the features add up to is the score they say');
CREATE TABLE explained AS SELECT e.*, x.decision_id FROM (SELECT DISTINCT decision_id FROM sample) x, LATERAL explain_decision(x.decision_id) e;
SELECT is_empty($$SELECT e.decision_id, e.rank FROM explained e LEFT JOIN answer a USING (decision_id, rank)
                  WHERE (e.items, e.bundle_id, e.score, e.propensity, e.price, e.reasons) IS DISTINCT FROM (a.items, a.bundle_id, a.score, a.propensity, a.price, a.reasons)$$,
                'explain_decision tells what was offered');
SELECT is_empty($$SELECT decision_id, rank, score, contributions FROM explained
                  WHERE (abs(score - (SELECT sum(c.value::float8) FROM jsonb_each_text(contributions) c)) < 1e-9) IS NOT TRUE$$, 'and contributions that add up to the score');

\else
SELECT skip('the Steam data are not there', 45);
\endif

SELECT * FROM finish();

\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
\i test/sql/include/learning_shop.sql
\i test/sql/include/fitted.sql
--
-- learn.sql
--    What fit learns: every kind of learner beside values computed elsewhere, versions
--    that come into service and go, parameters, and data that are too few, too
--    large, or odd.
--
SELECT plan(160);
SET client_min_messages = warning;
SELECT catalog AS n FROM catalog WHERE name = 'shop' \gset

---- everything that the data support ----

SELECT set_eq($$SELECT kind FROM fit('shop')$$,
    $$VALUES ('popularity'), ('association'), ('ease'), ('als'), ('bpr'), ('complement'), ('lexical'), ('itemsets'), ('bundle_companions'), ('bundle_association'),
      ('bundle_ease'), ('bundle_likeness'), ('bundle_graph'), ('ranker'), ('bundle_ranker')$$, 'fit learns every kind of a shop that has it all');
SELECT results_eq($$SELECT min(catalog::text), count(*), count(*) FILTER (WHERE serving), bool_and(seconds >= 0), bool_and(fitted_at <= now()) FROM learner$$,
    $$VALUES ('shop', 15::bigint, 15::bigint, true, true)$$, 'the view lists a version of each, all in service');
SELECT is((SELECT parameters FROM learner WHERE kind = 'ease'), '{"lambda": 200, "depth": 200, "dense": 0, "neighbours": 100, "side_weight": 1}'::jsonb, 'with its parameters');
SELECT is((SELECT parameters - 'lambda' FROM learner WHERE kind = 'als'), '{"factors": 64, "alpha": 20, "iterations": 15, "exact": 0, "depth": 100, "seed": 1}'::jsonb,
    'numbers as they were given');
SELECT is((SELECT round((parameters ->> 'lambda')::numeric, 9) FROM learner WHERE kind = 'als'),
    (SELECT round(.05 * 21 * count(DISTINCT (shopper, sku)) / count(DISTINCT sku), 9)
     FROM (SELECT shopper, sku FROM shop.purchase UNION SELECT shopper, sku FROM shop.kit_purchase JOIN shop.kit USING (kit)) w), 'or, where none was given, as the data make it');
SELECT results_eq($$SELECT figures -> 'rows', figures -> 'columns', figures -> 'entries' FROM learner WHERE kind = 'ease'$$,
    $$SELECT to_jsonb(count(DISTINCT receipt)), to_jsonb((SELECT count(*) FROM shop.product)), to_jsonb(count(*)) FROM shop.purchase$$, 'and figures that a count gives');
SELECT results_eq($$SELECT kind, figures -> 'rows', figures -> 'columns', figures -> 'entries' FROM learner WHERE kind LIKE 'bundle\_%' AND figures ? 'rows' ORDER BY kind$$,
    $$SELECT kind, to_jsonb(count(DISTINCT shopper)), '12'::jsonb, to_jsonb(count(*)) FROM shop.kit_purchase,
      unnest(ARRAY['bundle_association', 'bundle_companions', 'bundle_ease', 'bundle_graph']) kind GROUP BY 1 ORDER BY 1$$, 'of purchases of bundles too');
SELECT version FROM fit('shop', 'popularity') \gset
SELECT is(:version, (SELECT max(version) FROM learner), 'fit tells the number of the version');
SELECT results_eq($$SELECT kind FROM fit('shop', 'bundle_companions', NULL)$$, ARRAY['bundle_companions'], 'a kind alone');

-- a list entry by entry, by the names of what it is about
CREATE VIEW shop.entry AS
SELECT v.catalog, v.kind, l.item, o.other, o.weight FROM learned_version v JOIN learned_list l USING (version), unnest(l.others, l.weights) o(other, weight)
WHERE v.serving;
CREATE VIEW shop.item_entry AS
SELECT c.name AS catalog, e.kind, i.item_id::text COLLATE "default" AS item, o.item_id::text COLLATE "default" AS other, e.weight FROM shop.entry e JOIN catalog c USING (catalog)
JOIN item i ON i.catalog = e.catalog AND i.item = e.item JOIN item o ON o.catalog = e.catalog AND o.item = e.other WHERE e.kind NOT LIKE 'bundle%';
CREATE VIEW shop.kit_entry AS
SELECT e.kind, b.bundle_id::text COLLATE "default" AS kit, o.bundle_id::text COLLATE "default" AS other, e.weight FROM shop.entry e JOIN bundle b ON b.catalog = e.catalog AND b.bundle = e.item
JOIN bundle o ON o.catalog = e.catalog AND o.bundle = e.other WHERE e.kind LIKE 'bundle%';

SELECT is_empty(format('SELECT FROM shop.entry WHERE item <> 0 AND kind = %L AND (weight = 0 OR weight IN (''NaN'', ''Infinity'', ''-Infinity'') OR item = other)', kind),
    kind || ': weights are finite and not 0, and nothing goes with itself') FROM unnest(ARRAY['association', 'ease', 'als', 'bpr', 'complement', 'lexical', 'bundle_companions',
    'bundle_association', 'bundle_ease', 'bundle_likeness', 'bundle_graph']) kind;
SELECT is_empty(format('SELECT item FROM (SELECT item, lag(weight) OVER (PARTITION BY item ORDER BY place) AS before, weight FROM learned_version v JOIN learned_list l USING (version),
    unnest(l.weights) WITH ORDINALITY u(weight, place) WHERE v.kind = %L AND v.serving AND item <> 0) x WHERE before < weight', kind), kind || ': the strongest comes first')
    FROM unnest(ARRAY['association', 'ease', 'als', 'bpr', 'complement', 'lexical', 'bundle_companions', 'bundle_association', 'bundle_ease', 'bundle_likeness', 'bundle_graph']) kind;
-- most of what was bought together is of one family; shoppers, whom factors know, buy of both
SELECT cmp_ok((SELECT avg((left(item, 1) = left(other, 1))::int) FROM (SELECT *, row_number() OVER (PARTITION BY item ORDER BY weight DESC) AS place FROM shop.item_entry WHERE kind = k) x
    WHERE place <= 5), '>=', least, k || ': nearest are those of the family')
    FROM (VALUES ('association', .9), ('ease', .9), ('complement', .9), ('lexical', .9), ('als', .6), ('bpr', .6)) x(k, least);

---- beside SQL ----

SELECT results_eq($$SELECT kit, other, weight FROM shop.kit_entry WHERE kind = 'bundle_companions' ORDER BY 1, 2$$,
    $$SELECT a.kit, b.kit, (count(*)::float8 / min(n))::real FROM shop.kit_purchase a JOIN shop.kit_purchase b USING (shopper)
      JOIN (SELECT kit, count(*) AS n FROM shop.kit_purchase GROUP BY 1) c ON c.kit = a.kit WHERE a.kit <> b.kit GROUP BY 1, 2 ORDER BY 1, 2$$,
    'confidences of bundles are those of a join');
SELECT cmp_ok((SELECT count(*) FROM shop.kit_entry WHERE kind = 'bundle_companions'), '>', 100::bigint, 'which has many');

-- ages count from the last event; a bundle speaks for all of its items
CREATE TABLE shop.faded AS
WITH event AS (SELECT sku, at FROM shop.purchase UNION ALL SELECT k.sku, p.at FROM shop.kit_purchase p JOIN shop.kit k USING (kit)),
     latest AS (SELECT max(at) AS at FROM event),
     total AS (SELECT sku, sum(2 ^ (-extract(epoch FROM latest.at - event.at)::float8 / 86400 / 30)) AS total FROM event, latest GROUP BY 1)
SELECT sku, ln(1 + total) / ln(1 + max(total) OVER ()) AS popularity, max(total) OVER () AS most FROM total;
SELECT is_empty($$SELECT sku, popularity, weight FROM shop.faded FULL JOIN (SELECT i.item_id::text COLLATE "default" AS sku, weight FROM shop.entry e JOIN item i ON i.item = e.other WHERE e.kind = 'popularity') p USING (sku)
    WHERE (abs(popularity - weight) < 1e-6) IS NOT TRUE$$, 'popularity is what SQL adds up, halved every 30 days');
SELECT cmp_ok(abs((SELECT (figures ->> 'most')::float8 FROM learner WHERE kind = 'popularity' AND serving) - (SELECT max(most) FROM shop.faded)), '<', 1e-6::float8, 'and the most of it');
SELECT lives_ok($$SELECT fit('shop', 'popularity', '{"half_life": 0.01}')$$, 'what is long ago may fade to nothing');
SELECT is((SELECT max(weight) FROM shop.entry WHERE kind = 'popularity'), 1::real, 'while the latest stays');

SELECT lives_ok($$SELECT fit('shop', 'itemsets', '{"size": 2, "support": 3}')$$, 'sets of two');
CREATE VIEW shop.pair_set AS SELECT s.support, (SELECT array_agg(i.item_id::text COLLATE "default" ORDER BY i.item_id) FROM item i WHERE i.catalog = s.catalog AND i.item = ANY (s.items)) AS items, s.categories
FROM learned_set s JOIN learned_version v USING (version) WHERE v.serving;
SELECT set_eq($$SELECT items, support FROM shop.pair_set WHERE categories = '{}'$$,
    $$SELECT ARRAY[a.sku, b.sku] AS items, count(*) FROM shop.purchase a JOIN shop.purchase b USING (receipt) WHERE a.sku < b.sku GROUP BY 1 HAVING count(*) >= 3$$, 'are those of a join');
SELECT set_eq($$SELECT items[1], categories[1], support FROM shop.pair_set WHERE cardinality(items) = 1$$,
    $$SELECT a.sku, q.category, count(DISTINCT receipt) AS support FROM shop.purchase a JOIN shop.product p USING (sku) JOIN shop.purchase b USING (receipt) JOIN shop.product q ON q.sku = b.sku
      WHERE q.category <> p.category GROUP BY 1, 2 HAVING count(DISTINCT receipt) >= 3$$, 'an item with a category not its own too');
SELECT set_eq($$SELECT categories[1] AS one, categories[2] AS other, support FROM (SELECT support, (SELECT array_agg(c ORDER BY c) FROM unnest(categories) c) AS categories FROM shop.pair_set WHERE items IS NULL) x$$,
    $$SELECT p.category AS one, q.category AS other, count(DISTINCT receipt) FROM shop.purchase a JOIN shop.product p USING (sku) JOIN shop.purchase b USING (receipt) JOIN shop.product q ON q.sku = b.sku
      WHERE p.category < q.category GROUP BY 1, 2 HAVING count(DISTINCT receipt) >= 3$$, 'and two categories');

---- vectors and weights ----

SELECT results_eq($$SELECT kind, count(*), min(cardinality(vector)), max(cardinality(vector)) FROM learned_vector JOIN learned_version USING (version) WHERE serving GROUP BY 1 ORDER BY 1$$,
    $$VALUES ('als', 40::bigint, 64, 64), ('bpr', 40, 32, 32)$$, 'factors of every item');
SELECT lives_ok($$SELECT fit('shop', 'als', '{"factors": 5, "exact": 1, "iterations": 100, "lambda": 1}')$$, 'five factors');
SELECT results_eq($$SELECT min(cardinality(vector)), max(cardinality(vector)) FROM learned_vector JOIN learned_version USING (version) WHERE serving AND kind = 'als'$$, $$VALUES (5, 5)$$,
    'are five numbers');
CREATE TABLE shop.factors AS SELECT l.item, ordinality AS d, v::float8 FROM learned_vector l JOIN learned_version USING (version), unnest(vector) WITH ORDINALITY u(v) WHERE serving AND kind = 'als';
-- the packed lower triangle, row by row
SELECT is_empty($$SELECT a.d, b.d FROM shop.factors a JOIN shop.factors b USING (item), learned_version v WHERE v.kind = 'als' AND v.serving AND b.d <= a.d
    GROUP BY a.d, b.d, v.weights HAVING (abs(sum(a.v * b.v) - v.weights[a.d * (a.d - 1) / 2 + b.d]) < 1e-5) IS NOT TRUE$$, 'the version keeps their products, for folding in');
SELECT is_empty($$WITH length AS (SELECT item, sqrt(sum(v * v)) AS length FROM shop.factors GROUP BY 1)
    SELECT e.item, e.other FROM shop.entry e JOIN shop.factors a ON a.item = e.item JOIN shop.factors b ON b.item = e.other AND b.d = a.d
    JOIN length m ON m.item = e.item JOIN length o ON o.item = e.other WHERE e.kind = 'als' GROUP BY 1, 2, weight, m.length, o.length
    HAVING (abs(sum(a.v * b.v) / m.length / o.length - weight) < 1e-5) IS NOT TRUE$$, 'and lists have their cosines');
SELECT results_eq($$SELECT kind, min(w) FILTER (WHERE place > 1) >= 0, max(w) FILTER (WHERE place > 1) > 0 FROM learned_version, unnest(weights) WITH ORDINALITY u(w, place)
    WHERE kind LIKE '%ranker' AND serving GROUP BY 1 ORDER BY 1$$, $$VALUES ('bundle_ranker', true, true), ('ranker', true, true)$$, 'evidence speaks for a thing, never against it');
SELECT ok((figures ->> 'cases')::int >= 20 AND (figures ->> 'held_out_first')::float8 BETWEEN 0 AND 1 AND (figures ->> 'held_out_brier')::float8 BETWEEN 0 AND .25, kind || ' tells how it did on what was held out')
    FROM learner WHERE kind LIKE '%ranker' AND serving ORDER BY kind;

---- EASE of five items ----

CREATE TABLE shop.letter (id text PRIMARY KEY);
INSERT INTO shop.letter SELECT unnest(ARRAY['a', 'b', 'c', 'd', 'e']);
CREATE TABLE shop.word (word text, letter text);
INSERT INTO shop.word SELECT word, unnest(string_to_array(word, NULL)) FROM unnest(ARRAY['ab', 'abc', 'cd', 'de', 'ade', 'bc']) word;
SELECT create_catalog('five', 'shop.letter', item_id => 'id') \g /dev/null
SELECT add_event_source('five', 'shop.word', item_id => 'letter', basket_id => 'word') \g /dev/null
SELECT refresh('five') \g /dev/null
SELECT results_eq($$SELECT figures FROM fit('five', 'ease', '{"lambda": 2}')$$, $$VALUES ('{"rows": 6, "columns": 5, "entries": 14, "dense": 1}'::jsonb)$$, 'a small matrix is inverted whole');
-- numpy 2.4.6: x[w, c] = letter c is in word w; p = inv(x.T @ x + 2 * eye(5)); b = -p / diag(p)
CREATE TABLE shop.expected AS SELECT * FROM (VALUES ('a', 'b', 0.3604651), ('a', 'e', 0.15), ('a', 'd', 0.1148036), ('a', 'c', 0.0192926), ('b', 'a', 0.3924051), ('b', 'c', 0.392283),
    ('c', 'b', 0.3546512), ('c', 'd', 0.2326284), ('c', 'a', 0.0189873), ('d', 'e', 0.39), ('d', 'c', 0.2475884), ('d', 'a', 0.1202532), ('e', 'd', 0.4712991), ('e', 'a', 0.1898734)) x(item, other, weight);
CREATE FUNCTION shop.wrong(name text) RETURNS SETOF record LANGUAGE sql AS
$$SELECT item, other, x.weight, e.weight FROM shop.expected x FULL JOIN (SELECT * FROM shop.item_entry WHERE catalog = name AND kind = 'ease') e USING (item, other)
  WHERE (abs(x.weight - e.weight) < 1e-6) IS NOT TRUE$$;
SELECT is_empty($$SELECT shop.wrong('five')$$, 'its lists are NumPy''s, what is positive of them');
SET maintenance_work_mem = '1MB';
SELECT results_eq($$SELECT figures -> 'dense' FROM fit('five', 'ease', '{"lambda": 2, "neighbours": 4, "dense": 1}')$$, ARRAY['1'::jsonb], 'dense where that is asked for');
RESET maintenance_work_mem;
SELECT is_empty($$SELECT shop.wrong('five')$$, 'and the same');

---- odd events ----

-- five once more, every line twice
CREATE TABLE shop.twice AS TABLE shop.word UNION ALL TABLE shop.word;
SELECT create_catalog('twice', 'shop.letter', item_id => 'id') \g /dev/null
SELECT add_event_source('twice', 'shop.twice', item_id => 'letter', basket_id => 'word') \g /dev/null
SELECT refresh('twice') \g /dev/null
SELECT results_eq($$SELECT figures -> 'entries' FROM fit('twice', 'ease', '{"lambda": 2}')$$, ARRAY['14'::jsonb], 'an event that is there twice counts once in its basket');
SELECT is_empty($$SELECT shop.wrong('twice')$$, 'and changes no weight');

-- and once more out of purchases and returns: what is left of "abcde" is "ab"; more comes back from "de" and "ade" than was bought
CREATE TABLE shop.movement (word text, letter text, kind text, quantity float8, shopper text);
INSERT INTO shop.movement
SELECT word, letter, 'purchase', 2, 'u' || word FROM shop.word WHERE word <> 'ab'
UNION ALL SELECT 'abcde', unnest(ARRAY['a', 'b', 'c', 'd', 'e']), 'purchase', 3, 'u'
UNION ALL SELECT 'abcde', unnest(ARRAY['c', 'd', 'e']), 'return', 3, 'u'
UNION ALL SELECT 'abcde', 'a', 'return', 2, 'u'
UNION ALL SELECT 'de', unnest(ARRAY['a', 'b', 'c']), 'return', 7, 'ude'
UNION ALL SELECT 'ade', 'b', 'return', 7, 'uade';
SELECT create_catalog('returns', 'shop.letter', item_id => 'id') \g /dev/null
SELECT add_event_source('returns', 'shop.movement', item_id => 'letter', basket_id => 'word', kind => 'kind', quantity => 'quantity', user_id => 'shopper') \g /dev/null
SELECT refresh('returns') \g /dev/null
SELECT results_eq($$SELECT figures -> 'rows', figures -> 'entries' FROM fit('returns', 'ease', '{"lambda": 2}')$$, $$VALUES ('6'::jsonb, '14'::jsonb)$$, 'what is returned leaves its basket, and nothing falls below 0');
SELECT is_empty($$SELECT shop.wrong('returns')$$, 'with all that follows');
SELECT lives_ok($$SELECT fit('returns', k) FROM unnest(ARRAY['popularity', 'als', 'bpr', 'association']) k$$, 'other learners take returns as well');
SELECT is((SELECT count(*) FROM shop.entry WHERE weight < 0 AND kind = 'popularity'), 0::bigint, 'nothing is less popular than what nobody bought');
SET client_min_messages = error;
INSERT INTO shop.movement VALUES ('ab', 'c', 'purchase', -1, 'v'), ('ab', 'c', 'purchase', 0, 'v'), ('ab', 'c', 'purchase', 'NaN', 'v');
SELECT refresh('returns') \g /dev/null
SET client_min_messages = warning;
SELECT is((SELECT count(*) FROM rejected_row WHERE catalog = 'returns'), 3::bigint, 'quantities below 0 are no events');
SELECT results_eq($$SELECT figures -> 'entries' FROM fit('returns', 'ease')$$, ARRAY['14'::jsonb], 'and not learned from');

INSERT INTO shop.movement VALUES ('bc', 'd', 'purchase', 0.1, 'ubc'), ('bc', 'd', 'purchase', 0.2, 'ubc'), ('bc', 'd', 'return', 0.3, 'ubc');
SELECT refresh('returns') \g /dev/null
SELECT results_eq($$SELECT figures -> 'entries' FROM fit('returns', 'ease')$$, ARRAY['14'::jsonb], 'what rounding leaves of a return is nothing, as for refresh');
INSERT INTO shop.movement VALUES ('bc', 'b', 'purchase', 1e300, 'ubc');
SELECT refresh('returns') \g /dev/null
SELECT results_eq($$SELECT figures -> 'entries' FROM fit('returns', 'ease')$$, ARRAY['14'::jsonb], 'any quantity can be learned from');

-- one letter in every basket
INSERT INTO shop.word SELECT DISTINCT word, 'e' FROM shop.word WHERE word !~ 'e';
SELECT refresh('five') \g /dev/null
SELECT lives_ok(format('SELECT fit(''five'', %L)', kind), 'an item in every basket: ' || kind) FROM unnest(ARRAY['popularity', 'association', 'ease', 'als', 'bpr', 'itemsets']) kind;
SELECT set_eq($$SELECT i.item_id::text COLLATE "default" AS letter, s.support FROM learned_set s JOIN learned_version v USING (version) JOIN item i ON i.catalog = s.catalog AND i.item = ANY (s.items)
    JOIN item e ON e.catalog = s.catalog AND e.item = ANY (s.items) AND e.item_id = 'e' WHERE v.serving AND s.catalog = (SELECT catalog FROM catalog WHERE name = 'five')
    AND cardinality(s.items) = 2 AND i.item_id <> 'e'$$,
    $$SELECT letter, count(*) FROM shop.word WHERE letter <> 'e' GROUP BY 1$$, 'it is in a set with each letter, as often as that is bought');
SELECT is_empty($$SELECT FROM shop.entry WHERE weight IN ('NaN', 'Infinity', '-Infinity')$$, 'with finite weights');

---- too little ----

CREATE TABLE shop.nothing (shopper text, letter text, basket text);
SELECT create_catalog('bare', 'shop.letter', item_id => 'id') \g /dev/null
SET client_min_messages = notice;
SELECT count(*) AS learned FROM fit('bare');
SELECT add_event_source('bare', 'shop.nothing', item_id => 'letter', basket_id => 'basket', user_id => 'shopper') \g /dev/null
INSERT INTO shop.nothing VALUES ('u', 'a', '1'), ('u', 'b', '1'), ('u', 'c', '2');
SELECT refresh('bare') \g /dev/null
-- one user, who has one basket of two letters
SELECT kind FROM fit('bare');
SET client_min_messages = warning;
CREATE FUNCTION shop.detail(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    told text;
BEGIN
    EXECUTE statement;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS told = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(': ', SQLSTATE, SQLERRM, told);
END $$;
SELECT is(shop.detail($$SELECT fit('bare', 'bundle_ease')$$), '55000: "bundle_ease" cannot be learned of catalog "bare": Fewer than two users bought two curated bundles as a whole, as of the last refresh.',
    'a kind that is asked for and cannot be had is an error');
SELECT is(shop.detail($$SELECT fit('bare', 'complement')$$), '55000: "complement" cannot be learned of catalog "bare": The catalog has no model, or refresh has embedded none of its texts.', 'that tells why');
CREATE TABLE shop.alone (id text PRIMARY KEY, name text);
INSERT INTO shop.alone VALUES ('only', 'the only one');
SELECT create_catalog('alone', 'shop.alone', item_id => 'id', text => '{name}', model => 'tiny') \g /dev/null
SELECT set_eq($$SELECT kind FROM fit('alone')$$, $$VALUES ('lexical')$$, 'of one item nobody bought, words');
INSERT INTO shop.nothing SELECT 'u' || i, 'only', 'basket ' || i FROM generate_series(1, 100) i;
SELECT add_event_source('alone', 'shop.nothing', item_id => 'letter', basket_id => 'basket', user_id => 'shopper') \g /dev/null
SELECT refresh('alone') \g /dev/null
SELECT set_eq($$SELECT kind FROM fit('alone')$$, $$VALUES ('popularity'), ('lexical')$$, 'of one item that many bought, its popularity');

---- parameters ----

SELECT is(shop.detail(format('SELECT fit(''shop'', %s)', call)), told, call) FROM (VALUES
    ($$'sense'$$, '22023: there is no learner "sense": '),
    ($$'ease', '{"lamda": 1}'$$, '22023: "ease" takes no parameter "lamda": '),
    ($$'bundle_companions', '{"depth": 1}'$$, '22023: "bundle_companions" takes no parameter "depth": '),
    ($$'ease', '{"lambda": 0}'$$, '22023: parameter "lambda" is out of range: 0: It is a number between 0.001 and 1e+09.'),
    ($$'ease', '{"lambda": -1}'$$, '22023: parameter "lambda" is out of range: -1: It is a number between 0.001 and 1e+09.'),
    ($$'ease', '{"lambda": 1e400}'$$, '22023: parameter "lambda" is out of range: Infinity: It is a number between 0.001 and 1e+09.'),
    ($$'als', '{"factors": 0}'$$, '22023: parameter "factors" is out of range: 0: It is a whole number between 1 and 512.'),
    ($$'als', '{"factors": 513}'$$, '22023: parameter "factors" is out of range: 513: It is a whole number between 1 and 512.'),
    ($$'als', '{"factors": 2.5}'$$, '22023: parameter "factors" is out of range: 2.5: It is a whole number between 1 and 512.'),
    ($$'bpr', '{"epochs": 0}'$$, '22023: parameter "epochs" is out of range: 0: It is a whole number between 1 and 1000.'),
    ($$'bpr', '{"epochs": 1e9}'$$, '22023: parameter "epochs" is out of range: 1e+09: It is a whole number between 1 and 1000.'),
    ($$'bundle_graph', '{"layers": 4}'$$, '22023: parameter "layers" is out of range: 4: It is a whole number between 1 and 3.'),
    ($$'ease', '{"lambda": "1"}'$$, '22023: parameter "lambda" is not a number: It is a number between 0.001 and 1e+09.'),
    ($$'ease', '{"lambda": null}'$$, '22023: parameter "lambda" is not a number: It is a number between 0.001 and 1e+09.'),
    ($$'ease', '{"lambda": [1]}'$$, '22023: parameter "lambda" is not a number: It is a number between 0.001 and 1e+09.'),
    ($$'ease', '{"lambda": {"lambda": 1}}'$$, '22023: parameter "lambda" is not a number: It is a number between 0.001 and 1e+09.'),
    ($$'ease', '[1]'$$, '22023: "parameters" is not a JSON object: '),
    ($$'ease', '7'$$, '22023: "parameters" is not a JSON object: '),
    ($$NULL, '{"lambda": 1}'$$, '22023: parameters were given, but not for which learner: ')) x(call, told);
SELECT is(shop.detail($$SELECT fit_async('shop', 'ease', '{"lambda": 0}')$$), '22023: parameter "lambda" is out of range: 0: It is a number between 0.001 and 1e+09.', 'what waits for a worker is checked before');
SELECT is(shop.detail($$SELECT fit_async('shop', 'sense')$$), '22023: there is no learner "sense": ', 'its kind too');
SELECT lives_ok($$SELECT fit('shop', 'ease', '{}')$$, 'no parameter at all is fine');
SELECT throws_ok($$SELECT fit(NULL)$$, '22004', NULL, 'a catalog is needed');
SELECT throws_ok($$SELECT fit_async(NULL)$$, '22004', NULL, 'in a worker too');
SELECT throws_ok($$SELECT fit('nowhere')$$, '42704', NULL, 'one that is there');
SELECT lives_ok($$SELECT fit('shop', 'bpr', '{"factors": 512, "epochs": 1, "learning_rate": 1, "lambda": 0}')$$, 'the ends of ranges are within');

---- versions ----

DELETE FROM shop.nothing;
CREATE FUNCTION shop.versions(text) RETURNS text LANGUAGE sql AS
$$SELECT string_agg(rank || CASE WHEN serving THEN '*' ELSE '' END, ' ' ORDER BY rank) FROM (SELECT row_number() OVER (ORDER BY version) AS rank, serving FROM bundle_rec.learner WHERE catalog = 'shop' AND kind = $1) x$$;
CREATE FUNCTION shop.version(text, int) RETURNS int LANGUAGE sql AS
$$SELECT version FROM (SELECT version, row_number() OVER (ORDER BY version) AS rank FROM bundle_rec.learner WHERE catalog = 'shop' AND kind = $1) x WHERE rank = $2$$;
SELECT fit('shop', 'lexical') \g /dev/null
SELECT is(shop.versions('lexical'), '1 2*', 'the newer of two serves');
SELECT fit('shop', 'lexical'), fit('shop', 'lexical'), fit('shop', 'lexical') \g /dev/null
SELECT is(shop.versions('lexical'), '1 2 3*', 'three are kept');
SELECT is((SELECT count(DISTINCT version) FROM learned_list l JOIN learned_version v USING (version) WHERE kind = 'lexical'), 3::bigint, 'with their lists');
SELECT is_empty($$SELECT version FROM (SELECT version FROM learned_list UNION SELECT version FROM learned_vector UNION SELECT version FROM learned_set EXCEPT SELECT version FROM learned_version) x$$,
    'of others nothing is left');
SELECT serve_version('shop', shop.version('lexical', 1)) \g /dev/null
SELECT is(shop.versions('lexical'), '1* 2 3', 'an older one serves again');
SELECT serve_version('shop', shop.version('lexical', 1)) \g /dev/null
SELECT is(shop.versions('lexical'), '1* 2 3', 'saying so twice changes nothing');
SELECT fit('shop', 'lexical') \g /dev/null
SELECT is(shop.versions('lexical'), '1 2 3*', 'until something is learned anew');
SELECT drop_version('shop', shop.version('lexical', 1)) \g /dev/null
SELECT is(shop.versions('lexical'), '1 2*', 'one is dropped');
SELECT drop_version('shop', shop.version('lexical', 2)) \g /dev/null
SELECT is(shop.versions('lexical'), '1', 'with the one in service nothing serves');
SELECT lives_ok($$SELECT * FROM recommend('shop', basket => '{a01}', seed => 1)$$, 'and recommend does without');
BEGIN;
SELECT fit('shop', 'ease', '{"lambda": 3}') \g /dev/null
SELECT is((SELECT parameters -> 'lambda' FROM learner WHERE catalog = 'shop' AND kind = 'ease' AND serving), '3'::jsonb, 'a transaction sees what it fitted');
ROLLBACK;
SELECT is((SELECT parameters -> 'lambda' FROM learner WHERE catalog = 'shop' AND kind = 'ease' AND serving), '200'::jsonb, 'rolled back, it never was');
SELECT is(shop.detail($$SELECT serve_version('shop', 1000000)$$), '42704: catalog "shop" has no version 1000000: ', 'a version that is not there');
SELECT is(shop.detail($$SELECT drop_version('shop', 1000000)$$), '42704: catalog "shop" has no version 1000000: ', 'to drop');
SELECT is(shop.detail(format($$SELECT serve_version('five', %s)$$, shop.version('ease', 1))), format('42704: catalog "five" has no version %s: ', shop.version('ease', 1)), 'that of another catalog');
SELECT throws_ok($$SELECT serve_version('nowhere', 1)$$, '42704', NULL, 'a catalog that is not there');
SELECT throws_ok(format('SELECT %s', call), '22004', NULL, call) FROM unnest(ARRAY[$$serve_version(NULL, 1)$$, $$serve_version('shop', NULL)$$, $$drop_version(NULL, 1)$$, $$drop_version('shop', NULL)$$]) call;

---- who may ----

DROP ROLE IF EXISTS br_test_learner;
CREATE ROLE br_test_learner;
GRANT USAGE ON SCHEMA shop TO br_test_learner;
SELECT shop.version('ease', 1) AS version \gset
SET ROLE br_test_learner;
SELECT throws_ok(format('SELECT %s', call), '42501', NULL, 'for the owner alone: ' || call) FROM unnest(ARRAY[$$fit('shop')$$, $$fit('shop', 'ease')$$, $$fit_async('shop')$$,
    format('serve_version(''shop'', %s)', :version), format('drop_version(''shop'', %s)', :version)]) call;
SELECT is_empty('SELECT FROM learner', 'who may not read the source sees no versions');
SELECT throws_ok('SELECT FROM learned_list', '42501', NULL, 'nor what they hold');
RESET ROLE;
GRANT SELECT ON shop.product TO br_test_learner;
SET ROLE br_test_learner;
SELECT set_eq('SELECT DISTINCT catalog FROM learner', $$VALUES ('shop' COLLATE "C")$$, 'who may sees those of its catalogs');
RESET ROLE;
REVOKE ALL ON shop.product FROM br_test_learner;
REVOKE ALL ON SCHEMA shop FROM br_test_learner;
DROP ROLE br_test_learner;
SELECT is_empty('SELECT FROM fit_progress', 'nobody fits anything now');

---- many items, and a basket of them all ----

CREATE TABLE shop.part (id int PRIMARY KEY);
INSERT INTO shop.part SELECT generate_series(1, 10000);
CREATE TABLE shop.order_line (number int, part int);
INSERT INTO shop.order_line SELECT 0, generate_series(1, 10000);
INSERT INTO shop.order_line SELECT n, 1 + (n * 37 + step * n % 11) % 10000 FROM generate_series(1, 10000) n, generate_series(0, 2) step;
SELECT create_catalog('parts', 'shop.part', item_id => 'id') \g /dev/null
SELECT add_event_source('parts', 'shop.order_line', item_id => 'part', basket_id => 'number') \g /dev/null
SELECT refresh('parts') \g /dev/null
SELECT is((SELECT figures -> 'dense' FROM fit('parts', 'ease', '{"neighbours": 10, "depth": 5}')), '0'::jsonb, '10,000 items, and a basket that has them all: EASE of the nearest');
SELECT lives_ok(format('SELECT fit(''parts'', %L, %L)', kind, parameters), kind) FROM (VALUES ('popularity', '{}'), ('als', '{"factors": 4, "iterations": 2, "depth": 5}'),
    ('bpr', '{"factors": 4, "epochs": 1, "depth": 5}'), ('itemsets', '{"support": 3, "size": 2, "limit": 100}')) x(kind, parameters);
SELECT is(shop.detail($$SELECT fit('parts', 'association')$$),
    '55000: "association" cannot be learned of catalog "parts": The catalog has 10000 items; every basket is compared with all of them, which is done for up to 2000.', 'associations are for fewer items');
SET maintenance_work_mem = '1MB';
SELECT matches(shop.detail($$SELECT fit('parts', 'ease', '{"dense": 1}')$$), 'EASE of 10000 columns takes \d{9,10} bytes, of which 1048576 are allowed', 'dense EASE of 10,000 items is refused, with the figure');
RESET maintenance_work_mem;
SELECT is((SELECT parameters -> 'neighbours' FROM learner WHERE catalog = 'parts' AND kind = 'ease' AND serving), '10'::jsonb, 'and what was in service stays');

-- how long a call takes that is broken off after half a second; NULL where it is not
CREATE FUNCTION shop.broken_off(statement text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz = clock_timestamp();
BEGIN
    EXECUTE statement;
    RETURN NULL;
EXCEPTION WHEN query_canceled THEN
    RETURN extract(epoch FROM clock_timestamp() - began);
END $$;
SET maintenance_work_mem = '2GB';
SET statement_timeout = '500ms';
SELECT shop.broken_off(format('SELECT fit(''parts'', %L, %L)', 'als', '{"factors": 128, "iterations": 1000, "exact": 1}')) AS als \gset
SELECT shop.broken_off(format('SELECT fit(''parts'', %L, %L)', 'ease', '{"dense": 1}')) AS ease \gset
SELECT shop.broken_off(format('SELECT fit(''parts'', %L, %L)', 'ease', '{"neighbours": 2000}')) AS local \gset
SELECT shop.broken_off(format('SELECT fit(''parts'', %L, %L)', 'bpr', '{"factors": 512, "epochs": 1000}')) AS bpr \gset
RESET statement_timeout;
RESET maintenance_work_mem;
SELECT cmp_ok(:'als'::float8, '<', 30::float8, 'ALS is broken off');
SELECT cmp_ok(:'ease'::float8, '<', 30::float8, 'EASE as well');
SELECT cmp_ok(:'local'::float8, '<', 30::float8, 'that of the nearest too');
SELECT cmp_ok(:'bpr'::float8, '<', 30::float8, 'and BPR');
SELECT results_eq($$SELECT kind, parameters ->> 'depth' FROM learner WHERE catalog = 'parts' AND serving AND kind IN ('als', 'bpr', 'ease') ORDER BY 1$$,
    $$VALUES ('als', '5'), ('bpr', '5'), ('ease', '5')$$, 'what was in service stays');
SELECT is_empty('SELECT FROM fit_progress', 'and nothing looks as if it went on');

---- what is new enough to learn again ----

SELECT max(events_since) AS since FROM learner WHERE catalog = 'five' \gset
SELECT coalesce(max(job), 0) AS earlier FROM job \gset
SET bundle_rec.refit_share = 0;
INSERT INTO shop.word SELECT 'more' || i, l FROM generate_series(1, 50) i, unnest('{a,b}'::text[]) l;
SELECT refresh('five') \g /dev/null
SELECT is((SELECT max(events_since) FROM learner WHERE catalog = 'five'), :since + 100::bigint, 'a version says how many events it has not seen');
SELECT is_empty('SELECT FROM job WHERE job > ' || :earlier, 'nothing is learned again where the setting says so');
SET bundle_rec.refit_share = 1000;
SELECT refresh('five') \g /dev/null
SELECT is_empty('SELECT FROM job WHERE job > ' || :earlier, 'nor before enough is new');
RESET bundle_rec.refit_share;
SELECT refresh('five') \g /dev/null
SELECT results_eq('SELECT catalog, kind, learner FROM job WHERE job > ' || :earlier, $$VALUES ('five', 'fit', NULL::text)$$, 'refresh queues a fit of all that the data support');
-- its worker may not have begun, and would wait for what follows
SELECT cancel_job(job) FROM job WHERE job > :earlier \g /dev/null

---- a model that was trained ----

-- what a training makes of a model, here by a pruning that at first says what it is
SELECT compress_model('tiny', 'tuned', 'shop', 'structure', '{"neurons_removed": 0.9, "heads_removed": 0.7}') \g /dev/null
SET bundle_rec.refit_share = 0;
SELECT fitted.weights('shop', 'ranker') AS before \gset
SELECT alter_catalog('shop', model => 'tuned') \g /dev/null
SELECT refresh('shop') \g /dev/null
SELECT cmp_ok(fitted.apart(fitted.weights('shop', 'ranker'), :'before'), '>', .05::float8, 'other embeddings weigh otherwise');
UPDATE stored_lineage SET made_by = 'train';
SELECT cmp_ok(fitted.apart(fitted.weights('shop', 'ranker'), :'before'), '<', .001::float8, 'of a trained model those weigh that it began with');
INSERT INTO stored_model (name, hash, layout, bytes, architecture, tokenizer, pooling, "normalize", dimensions, max_tokens, parameters, loaded_by)
    SELECT 'grown', hash, layout, bytes, architecture, tokenizer, pooling, "normalize", dimensions, max_tokens, parameters, loaded_by FROM stored_model WHERE name = 'tuned';
INSERT INTO model_chunk SELECT g.model, part, data FROM model_chunk JOIN stored_model t USING (model), stored_model g WHERE t.name = 'tuned' AND g.name = 'grown';
INSERT INTO stored_lineage (model, made_by, parent, parent_name, objective, method, parameters, seed, data, figures, backend, threads)
    SELECT g.model, 'compress', t.model, t.name, 'compress', 'vocabulary', '{}', 1, '{}', '{}', 'portable', 1 FROM stored_model g, stored_model t WHERE g.name = 'grown' AND t.name = 'tuned';
SELECT alter_catalog('shop', model => 'grown') \g /dev/null
SELECT refresh('shop') \g /dev/null
SELECT cmp_ok(fitted.apart(fitted.weights('shop', 'ranker'), :'before'), '<', .001::float8, 'and of what was made of a trained one');
DELETE FROM stored_lineage WHERE model = (SELECT model FROM stored_model WHERE name = 'tuned');
SELECT cmp_ok(fitted.apart(fitted.weights('shop', 'ranker'), :'before'), '>', .05::float8, 'unless nothing is known of it');
RESET bundle_rec.refit_share;

---- the end ----

SELECT drop_catalog(name) FROM catalog \g /dev/null
SELECT is_empty('SELECT FROM learned_version', 'versions go with their catalogs');
SELECT is_empty($$SELECT FROM pg_class WHERE relnamespace = 'bundle_rec'::regnamespace AND relname ~ '^learned_(list|vector|set)_\d'$$, 'and what they hold');

SELECT * FROM finish();

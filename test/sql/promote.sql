\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- promote.sql
--    Gates, promotions and the way back, over a shop that md5 draws. What a gate
--    must find is computed beside it: the sessions from the shop's own tables, the
--    ranks from embed() and <=>.
--
SELECT plan(99);
SET client_min_messages = warning;
SET bundle_rec.backend = portable;
SET TimeZone = 'UTC';

-- full reads a text; short its first word alone, and is worse where that tells nothing; same is full once more
CREATE FUNCTION public.tiny(max_tokens int) RETURNS model_file[] LANGUAGE sql AS $$
    SELECT array_agg((path, CASE path WHEN '1_Pooling/config.json' THEN convert_to(replace(convert_from(content, 'UTF8'), '"cls"', '"mean"'), 'UTF8')
                                      WHEN 'sentence_bert_config.json' THEN convert_to(format('{"max_seq_length": %s}', max_tokens), 'UTF8') ELSE content END)::model_file)
    FROM (SELECT path, pg_read_binary_file(current_setting('test.golden') || '/models/tiny-bert-cls/' || path) AS content
          FROM unnest('{config.json,model.safetensors,modules.json,sentence_bert_config.json,tokenizer.json,tokenizer_config.json,vocab.txt,1_Pooling/config.json}'::text[]) path) f $$;
SELECT set_config('test.golden', :'golden_dir', false) \g /dev/null
SELECT load_model('short', tiny(3)), load_model('full', tiny(64)), load_model('same', tiny(3)) \g /dev/null

-- in [0, n), the same for the same words
CREATE FUNCTION public.draw(n int, VARIADIC words text[]) RETURNS int LANGUAGE sql IMMUTABLE
AS $$SELECT (('x' || substr(md5(array_to_string(words, ' ')), 1, 8))::bit(32)::bigint % n)::int$$;
CREATE SCHEMA shop;
CREATE TABLE shop.product (sku text PRIMARY KEY, title text);
INSERT INTO shop.product
SELECT format('f%s-%s', f, i), format('%s %s', (ARRAY['black', 'cable', 'case', 'camera', 'card', 'power', 'battery', 'micro', 'wireless', 'drive'])[i],
                                      repeat((ARRAY['usb', 'hdmi', 'laptop', 'tablet', 'keyboard', 'memory'])[f] || ' ', 4))
FROM generate_series(1, 6) f, generate_series(1, 10) i;
-- a basket of receipt r begins at hour r and takes a minute a line; its items are of one family
CREATE TABLE shop.purchase (receipt int, sku text, at timestamptz);
CREATE FUNCTION shop.sell(first int, last int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO shop.purchase
    SELECT r, 'f' || 1 + draw(6, r::text) || '-' || 1 + (draw(10, r::text, 'item') + line * (1 + draw(3, r::text, 'step'))) % 10,
           timestamptz '2024-01-01' + r * interval '1 hour' + line * interval '1 minute'
    FROM generate_series(first, last) r, generate_series(0, 2) line $$;
SELECT shop.sell(1, 200) \g /dev/null
SELECT create_catalog('shop', 'shop.product', item_id => 'sku', text => '{title}', model => 'short') \g /dev/null
SELECT add_event_source('shop', 'shop.purchase', item_id => 'sku', basket_id => 'receipt', occurred_at => 'at') \g /dev/null
SELECT refresh('shop') \g /dev/null
SELECT catalog AS n FROM catalog WHERE name = 'shop' \gset

---- what a gate must find, by the shop's own tables ----

-- baskets all of whose lines are later than a moment, with the place of the item that a hash hides
CREATE FUNCTION shop.later(since timestamptz) RETURNS TABLE (receipt int, items int[], hidden int) LANGUAGE sql AS $$
    SELECT receipt, items, items[1 + ('x' || substr(md5(receipt || '0'), 1, 8))::bit(32)::bigint % cardinality(items)]
    FROM (SELECT receipt, array_agg(DISTINCT item ORDER BY item) AS items FROM shop.purchase JOIN item i ON i.item_id = sku JOIN catalog c USING (catalog)
          WHERE c.name = 'shop' GROUP BY receipt HAVING min(at) > since) b WHERE cardinality(items) > 1 $$;
-- whether the hidden item is among the first ten by the mean cosine with the others, ties at their expected rank
CREATE FUNCTION shop.hits(by_model text, since timestamptz) RETURNS TABLE (receipt int, hit float8) LANGUAGE sql AS $$
    WITH vector AS MATERIALIZED (SELECT item, embed(title, by_model) AS v FROM shop.product JOIN item i ON i.item_id = sku JOIN catalog c USING (catalog) WHERE c.name = 'shop'),
    likeness AS MATERIALIZED (SELECT a.item, b.item AS other, 1 - (a.v <=> b.v) AS cosine FROM vector a, vector b),
    asked AS MATERIALIZED (SELECT * FROM shop.later(since)),
    scored AS (SELECT receipt, hidden, other AS item, round(avg(cosine)::numeric, 6) AS score FROM asked a JOIN likeness l ON l.item = ANY (a.items) AND l.item <> hidden
               WHERE other = hidden OR other <> ALL (a.items) GROUP BY 1, 2, 3),
    placed AS (SELECT receipt, score, max(score) FILTER (WHERE item = hidden) OVER (PARTITION BY receipt) AS own FROM scored)
    SELECT receipt, least(greatest((10 - count(*) FILTER (WHERE score > own)) / count(*) FILTER (WHERE score = own)::float8, 0), 1) FROM placed GROUP BY 1 $$;
CREATE FUNCTION shop.compared(before text, after text, since timestamptz, OUT cases bigint, OUT before float8, OUT after float8, OUT difference float8, OUT error float8) LANGUAGE sql AS $$
    SELECT count(*), avg(b.hit), avg(a.hit), avg(a.hit - b.hit), sqrt(var_samp(a.hit - b.hit) / count(*)) FROM shop.hits($1, $3) b JOIN shop.hits($2, $3) a USING (receipt) $$;
-- what is said at a statement
CREATE FUNCTION public.said(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'nothing';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' / ', message, nullif(detail, ''), nullif(hint, ''));
END $$;
-- the first five of a query's nearest items, by the index
CREATE FUNCTION shop.nearest(query text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    number int := (SELECT catalog FROM catalog WHERE name = 'shop');
    serving int := (SELECT model FROM catalog WHERE name = 'shop');
    name text := (SELECT m.name FROM stored_model m WHERE m.model = serving);
    plan text;
    found text[];
BEGIN
    SET LOCAL enable_seqscan = off;
    EXECUTE format('EXPLAIN (FORMAT json) SELECT item_id FROM item_%s WHERE model = %s ORDER BY embedding <=> embed(%L, %L) LIMIT 5', number, serving, query, name) INTO plan;
    IF plan !~ format('item_%s_embedding_%s"', number, serving) THEN
        RAISE 'the index does not answer: %', plan;
    END IF;
    EXECUTE format('SELECT array_agg(item_id) FROM (SELECT item_id FROM item_%s WHERE model = %s ORDER BY embedding <=> embed(%L, %L) LIMIT 5) x', number, serving, query, name) INTO found;
    RETURN found;
END $$;
-- how far these are by a model, and how far the five nearest are
CREATE FUNCTION shop.are_nearest(skus text[], query text, by_model text) RETURNS boolean LANGUAGE sql AS $$
    SELECT (SELECT array_agg(round(d::numeric, 4) ORDER BY d) FROM (SELECT embed(title, by_model) <=> embed(query, by_model) AS d FROM shop.product WHERE sku = ANY (skus)) x)
         = (SELECT array_agg(round(d::numeric, 4) ORDER BY d) FROM (SELECT embed(title, by_model) <=> embed(query, by_model) AS d FROM shop.product ORDER BY 1 LIMIT 5) x) $$;

---- the history begins with the catalog ----

SELECT results_eq('SELECT catalog, model, why, gate, served_from IS NOT NULL, served_until, ordered_by::text, dropped FROM model_history',
                  $$VALUES ('shop', 'short', 'created', NULL::bigint, true, NULL::timestamptz, current_user::text, false)$$, 'a catalog is served by the model that it was created with');

---- the same model under another name is no better ----

SELECT * FROM gate('shop', 'same', parameters => '{"latency": 1000}') \g /dev/null
SELECT results_eq('SELECT model, against, passed, task, metric, k, cases, sessions, difference, standard_error, margin, used_from, used_until, judged_by::text FROM model_gate',
                  $$SELECT 'same', 'short', false, 'completion', 'hit_rate', 10, (SELECT count(*)::int FROM shop.later('-infinity')), 200::bigint, 0::float8, 0::float8, 0::float8, NULL::timestamptz,
                    (SELECT max(at) FROM shop.purchase), current_user::text$$, 'the same answers differ by nothing, and that is not enough');
SELECT cmp_ok((SELECT cases FROM model_gate), '>', 100, 'over many baskets');
SELECT is((SELECT array_agg(c ->> 'condition') FROM model_gate, jsonb_array_elements(conditions) c WHERE NOT (c ->> 'held')::boolean), '{hit_rate}', 'nothing else speaks against it');

---- sessions are used up ----

SELECT results_eq($$SELECT * FROM gate('shop', 'full')$$, $$VALUES ('cases', NULL::float8, NULL::float8, 0::float8, 100::float8, false)$$, 'no basket is left for another');
SELECT is((SELECT count(*) FROM model_gate), 1::bigint, 'which uses nothing up');
SELECT shop.sell(201, 260), refresh('shop') \g /dev/null
SELECT results_eq($$SELECT * FROM promote_model('shop', 'full', force => NULL)$$, $$SELECT 'cases', NULL::float8, NULL::float8, count(*)::float8, 100::float8, false FROM shop.later((SELECT used_until FROM model_gate))$$,
                  'sixty baskets are too few');
SELECT is((SELECT count(*) FROM model_gate), 1::bigint, 'and are left for later');
SELECT is((SELECT next_model FROM catalog WHERE name = 'shop'), NULL, 'no more than the model changes');

---- what was learned from is not asked about ----

-- full learned until the middle of basket 250, of which two lines came later
INSERT INTO stored_lineage (model, made_by, parent, parent_name, catalog, objective, method, parameters, seed, data, learned_until, figures, backend, threads)
SELECT f.model, 'train', s.model, s.name, :n, 'contrastive', 'full', '{}', 0, '{}', timestamptz '2024-01-01' + 250 * interval '1 hour', '{}', 'portable', 1
FROM stored_model f, stored_model s WHERE f.name = 'full' AND s.name = 'short';
SELECT results_eq($$SELECT * FROM gate('shop', 'full')$$, $$VALUES ('cases', NULL::float8, NULL::float8, 10::float8, 100::float8, false)$$,
                  'of the baskets since, ten began after it had learned');
SELECT shop.sell(261, 460), refresh('shop') \g /dev/null
-- events of the future, and of no known time, are nobody's
INSERT INTO shop.purchase VALUES (9001, 'f1-1', '2200-01-01'), (9001, 'f1-2', '2200-01-01'), (9002, 'f1-1', NULL), (9002, 'f1-2', NULL),
    (460, 'f1-1', '2200-01-01');
SELECT refresh('shop') \g /dev/null
DELETE FROM shop.purchase WHERE receipt > 9000 OR receipt = 460;
CREATE TEMP TABLE expected AS SELECT * FROM shop.compared('short', 'full', timestamptz '2024-01-01' + 250 * interval '1 hour');
CREATE TEMP TABLE near_before AS SELECT q, shop.nearest(q) AS skus FROM unnest('{usb,memory black,tablet}'::text[]) q;
SELECT is_empty($$SELECT q FROM near_before WHERE shop.are_nearest(skus, q, 'short') IS NOT TRUE$$, 'the index answers with the neighbours of the model in service');

---- better, but not by the margin ----

BEGIN;
CREATE TEMP TABLE found ON COMMIT DROP AS SELECT * FROM promote_model('shop', 'full', .99, parameters => '{"latency": 1000}');
SELECT results_eq('SELECT condition, held FROM found', $$VALUES ('cases', true), ('hit_rate', false), ('unembedded', true), ('latency', true), ('coverage', true)$$, 'a margin beyond what it is better by');
SELECT is((SELECT count(*) FROM stored_job), 0::bigint, 'queues no job');
SELECT is((SELECT next_model FROM catalog WHERE name = 'shop'), NULL, 'and moves nothing');
ROLLBACK;
SELECT is((SELECT count(*) FROM model_gate), 1::bigint, 'a gate that is rolled back used nothing');

---- a guardrail ----

BEGIN;
SELECT set_eq($$SELECT condition FROM promote_model('shop', 'full', parameters => '{"latency": 0, "coverage": 1000}') WHERE NOT held$$, ARRAY['latency', 'coverage'], 'guardrails keep it back');
SELECT is((SELECT next_model FROM catalog WHERE name = 'shop'), NULL, 'however much better it is');
ROLLBACK;

---- better ----

BEGIN;
CREATE TEMP TABLE promoted AS SELECT * FROM promote_model('shop', 'full', .5, parameters => '{"latency": 1000}');
SELECT results_eq('SELECT kind, catalog, state, max_texts, created_by FROM job', $$VALUES ('refresh', 'shop', 'queued', NULL::int, current_user)$$, 'a job is to move the catalog');
-- its worker finds nothing to do: what it would do, this test does
DELETE FROM stored_job;
COMMIT;
SELECT results_eq('SELECT condition, held FROM promoted', $$VALUES ('cases', true), ('hit_rate', true), ('unembedded', true), ('latency', true), ('coverage', true)$$, 'all conditions hold');
SELECT is((SELECT value FROM promoted WHERE condition = 'cases'), (SELECT cases::float8 FROM expected), 'all baskets after the moment, and no other, are asked about');
SELECT is((SELECT cases FROM expected), 209::bigint, 'which are 251 to 459');
SELECT is_empty('SELECT p.*, e.* FROM promoted p, expected e WHERE condition = ''hit_rate'' AND NOT (abs(p.before - e.before) < 1e-6 AND abs(p.after - e.after) < 1e-6
                AND abs(p.value - (e.difference - 1.96 * e.error)) < 1e-6 AND bound = .5)', 'ranks, difference and its error are those of plain SQL');
SELECT cmp_ok((SELECT before FROM promoted WHERE condition = 'hit_rate'), '<', .2::float8, 'the first word tells nothing');
SELECT cmp_ok((SELECT after FROM promoted WHERE condition = 'hit_rate'), '>', .8::float8, 'the whole text does');
SELECT results_eq('SELECT model, why, gate, served_from IS NULL, served_until FROM model_history ORDER BY history',
                  $$VALUES ('short', 'created', NULL::bigint, false, NULL::timestamptz), ('full', 'promoted', (SELECT max(gate) FROM model_gate), true, NULL)$$, 'the move is under way');
SELECT is((SELECT passed FROM model_gate ORDER BY gate DESC LIMIT 1), true, 'the gate is kept');
SELECT alter_catalog('shop', model => 'full') \g /dev/null
SELECT is((SELECT why FROM model_history WHERE served_from IS NULL), 'promoted', 'naming the next model once more takes nothing from it');
SELECT is_empty($$SELECT q FROM near_before WHERE shop.nearest(q) <> skus$$, 'queries go on with the former model');
SELECT is(said($$SELECT promote_model('shop', 'same')$$), 'catalog "shop" is moving to model "full" / Wait until it has, which refresh completes, or take that back with rollback_model(''shop'').',
          'another promotion must wait');
SELECT throws_ok($$SELECT promote_model('shop', 'same', force => true)$$, '55000', NULL, 'even by force');
SELECT refresh('shop', 20) \g /dev/null
SELECT is_empty($$SELECT q FROM near_before WHERE shop.nearest(q) <> skus$$, 'also with a part of the texts embedded anew');
SELECT refresh('shop') \g /dev/null
SELECT is_empty($$SELECT q FROM near_before WHERE shop.are_nearest(shop.nearest(q), q, 'full') IS NOT TRUE$$, 'after the switch the index answers with the new model''s neighbours');
SELECT isnt_empty($$SELECT q FROM near_before WHERE NOT shop.are_nearest(shop.nearest(q), q, 'short')$$, 'which are others');
SELECT results_eq('SELECT a.model, a.served_until = b.served_from, b.served_until FROM model_history a JOIN model_history b ON b.history > a.history',
                  $$VALUES ('short', true, NULL::timestamptz)$$, 'the one ends where the other begins');

---- worse ----

SELECT shop.sell(461, 600), refresh('shop') \g /dev/null
SELECT set_eq($$SELECT condition FROM promote_model('shop', 'short', parameters => '{"latency": 1000}') WHERE NOT held$$, ARRAY['hit_rate'], 'the way back fails at the gate');
SELECT cmp_ok((SELECT lower_bound FROM model_gate ORDER BY gate DESC LIMIT 1), '<', -.5::float8, 'by far');
SELECT is((SELECT next_model FROM catalog WHERE name = 'shop'), NULL, 'and nothing moves');

---- no session twice ----

SELECT is_empty('SELECT a.gate, b.gate FROM model_gate a JOIN model_gate b ON b.gate > a.gate WHERE b.used_from < a.used_until', 'gates follow each other in time');
CREATE TEMP TABLE used AS SELECT g.gate, p.receipt FROM model_gate g, (SELECT receipt, min(at) AS first, max(at) AS last FROM shop.purchase GROUP BY 1) p
WHERE first > coalesce(used_from, '-infinity') AND last <= used_until;
SELECT is_empty('SELECT receipt FROM used GROUP BY 1 HAVING count(*) > 1', 'no basket is asked about twice');
SELECT results_eq('SELECT gate, sessions FROM model_gate ORDER BY 1', 'SELECT gate, count(*) FROM used GROUP BY 1 ORDER BY 1', 'and as many are used up as there are');
SELECT is((SELECT count(*) FROM used), 549::bigint, 'which leaves out 201 to 250, which one model had learned, and the one that goes on in the future');

---- back ----

SELECT is(said($$SELECT promote_model('shop', 'full')$$), 'the model serves catalog "shop" already / The view bundle_rec.model_history says which models do and did.', 'the model in service is no candidate');
BEGIN;
SELECT rollback_model('shop') AS job \gset
SELECT results_eq('SELECT job, kind, catalog FROM job', format($$VALUES (%s::bigint, 'refresh', 'shop')$$, :job), 'a job goes back');
DELETE FROM stored_job;
COMMIT;
SELECT is((SELECT m.name FROM catalog c JOIN stored_model m ON m.model = c.next_model WHERE c.name = 'shop'), 'short', 'to the model before');
SELECT refresh('shop', 20) \g /dev/null
SELECT is(rollback_model('shop'), NULL, 'a move is taken back at once');
SELECT is_empty('SELECT FROM item_shadow', 'with what it had embedded');
SELECT results_eq('SELECT model, why, served_until IS NULL FROM model_history ORDER BY history', $$VALUES ('short', 'created', false), ('full', 'promoted', true)$$, 'and leaves no trace');
BEGIN;
SELECT rollback_model('shop') \g /dev/null
DELETE FROM stored_job;
COMMIT;
SELECT refresh('shop') \g /dev/null
SELECT results_eq('SELECT model, why, served_until IS NULL FROM model_history ORDER BY history',
                  $$VALUES ('short', 'created', false), ('full', 'promoted', false), ('short', 'rolled back', true)$$, 'back in service');
SELECT is_empty($$SELECT q FROM near_before WHERE shop.nearest(q) <> skus$$, 'with its neighbours');
SELECT is(said($$SELECT rollback_model('shop')$$), 'there is no model that catalog "shop" could go back to / None served it before the present one, or it was dropped. / alter_catalog moves it to any model.',
          'what was rolled back is not gone back to');

---- by force, by hand, and back two models ----

BEGIN;
SELECT is_empty($$SELECT * FROM promote_model('shop', 'full', force => true)$$, 'force asks no gate');
DELETE FROM stored_job;
COMMIT;
SELECT refresh('shop') \g /dev/null
SELECT alter_catalog('shop', model => 'same'), refresh('shop') \g /dev/null
SELECT results_eq('SELECT model, why, gate FROM model_history ORDER BY history OFFSET 3', $$VALUES ('full', 'forced', NULL::bigint), ('same', 'altered', NULL)$$, 'the history says so');
SELECT is((SELECT count(*) FROM model_gate), 3::bigint, 'and no gate was held');
BEGIN;
SELECT rollback_model('shop'), refresh('shop') \g /dev/null
SELECT is((SELECT model FROM model_history WHERE served_until IS NULL), 'full', 'one back');
SELECT rollback_model('shop'), refresh('shop') \g /dev/null
SELECT is((SELECT model FROM model_history WHERE served_until IS NULL), 'short', 'two back');
ROLLBACK;

---- which models may go ----

-- of those made of others: c1 to c5 for the shop, one of them compressed, d1 of nobody's data
SELECT load_model(name, tiny(9 + max_tokens::int)) FROM unnest('{c1,c2,c3,c4,c5,d1}'::text[]) WITH ORDINALITY x(name, max_tokens) \g /dev/null
INSERT INTO stored_lineage (model, made_by, parent, parent_name, catalog, objective, method, parameters, seed, data, figures, backend, threads)
SELECT m.model, CASE m.name WHEN 'c2' THEN 'compress' ELSE 'train' END, f.model, f.name, CASE WHEN m.name <> 'd1' THEN :n END, 'contrastive', 'full', '{}', 0, '{}', '{}', 'portable', 1
FROM stored_model m, stored_model f WHERE m.name ~ '^[cd]\d$' AND f.name = CASE m.name WHEN 'c3' THEN 'c1' ELSE 'full' END;
BEGIN;
SELECT set_eq('SELECT prune_models()', ARRAY['c1', 'c2'], 'three of the shop''s are kept, and one of nobody''s');
SELECT results_eq($$SELECT parent, parent_dropped FROM lineage WHERE model = 'c3'$$, $$VALUES ('c1', true)$$, 'a child still says of which it was made');
SELECT set_eq('SELECT prune_models(0)', ARRAY['c3', 'c4', 'c5', 'd1'], 'or none');
SELECT set_eq('SELECT name FROM model', ARRAY['short', 'full', 'same'], 'but never what was loaded, serves or served before');
ROLLBACK;
BEGIN;
SELECT alter_catalog('shop', model => 'c1') \g /dev/null
SELECT set_eq('SELECT prune_models(0)', ARRAY['c2', 'c3', 'c4', 'c5', 'd1'], 'nor what a catalog moves to');
ROLLBACK;
SELECT throws_ok('SELECT prune_models(-1)', '22023', '"keep" must be at least 0: -1', 'not fewer than none');
SELECT throws_ok('SELECT prune_models(NULL)', '22004', 'argument "keep" must not be NULL', 'nor an unknown number');
SELECT is((SELECT count(*) FROM lineage), 7::bigint, 'which drops nothing');

---- users without baskets, and bundles ----

CREATE TABLE shop.looked (shopper text, sku text, at timestamptz);
-- each of 40 shoppers takes three items of a family, one after the other
INSERT INTO shop.looked SELECT 'u' || u, 'f' || 1 + draw(6, 'u', u::text) || '-' || 1 + (u + i * 3) % 10, timestamptz '2024-03-01' + u * interval '1 day' + i * interval '1 hour'
FROM generate_series(1, 40) u, generate_series(1, 3) i;
SELECT create_catalog('users', 'shop.product', item_id => 'sku', text => '{title}', model => 'short') \g /dev/null
SELECT add_event_source('users', 'shop.looked', item_id => 'sku', user_id => 'shopper', occurred_at => 'at'), refresh('users') \g /dev/null
CREATE TEMP TABLE next_item AS SELECT * FROM gate('users', 'full', parameters => '{"cases": 20, "latency": 1000, "metric": "mrr"}');
SELECT results_eq($$SELECT task, metric, k, cases, sessions, passed FROM model_gate WHERE catalog = 'users'$$, $$VALUES ('next_item', 'mrr', NULL::int, 40, 40::bigint, true)$$,
                  'where nothing can be completed, the next item is asked for, of users after what was learned');
-- what they had before is no question, what is new to them is
INSERT INTO shop.looked SELECT shopper, sku, timestamptz '2024-05-01' + row_number() OVER (ORDER BY shopper, sku) * interval '1 minute' FROM shop.looked;
INSERT INTO shop.looked SELECT DISTINCT shopper, left(sku, 3) || (substr(sku, 4)::int % 10) + 1, timestamptz '2024-06-01' + 60 * draw(1000, shopper, sku) * interval '1 second' FROM shop.looked WHERE shopper < 'u2' AND at < '2024-05-01';
SELECT refresh('users') \g /dev/null
SELECT * FROM gate('users', 'full', parameters => '{"cases": 2, "latency": 1000, "task": "next_item"}') \g /dev/null
SELECT results_eq($$SELECT cases FROM model_gate WHERE catalog = 'users' ORDER BY gate DESC LIMIT 1$$,
    $$SELECT count(*)::int FROM (SELECT shopper FROM (SELECT shopper, sku, min(at) AS first, max(at) AS last FROM shop.looked GROUP BY 1, 2) x WHERE first > '2024-05-01' GROUP BY 1
      HAVING count(*) > 1 AND min(last) < max(last)) y$$, 'new to them, one after the other');
SELECT cmp_ok((SELECT cases FROM model_gate WHERE catalog = 'users' ORDER BY gate DESC LIMIT 1), '>', 5, 'of several');

CREATE TABLE shop.kit (kit text, sku text);
INSERT INTO shop.kit SELECT 'k' || f, 'f' || f || '-' || i FROM generate_series(1, 6) f, generate_series(1, 4) i;
CREATE TABLE shop.kit_sale (receipt int, kit text, at timestamptz);
INSERT INTO shop.kit_sale SELECT r, 'k' || 1 + r % 6, timestamptz '2024-03-01' + r * interval '1 hour' FROM generate_series(1, 50) r;
SELECT create_catalog('kits', 'shop.product', item_id => 'sku', text => '{title}', model => 'short') \g /dev/null
SELECT add_bundle_source('kits', 'shop.kit', bundle_id => 'kit', item_id => 'sku'),
       add_event_source('kits', 'shop.kit_sale', bundle_id => 'kit', basket_id => 'receipt', occurred_at => 'at'),
       add_event_source('kits', 'shop.purchase', item_id => 'sku', basket_id => 'receipt', occurred_at => 'at'), refresh('kits') \g /dev/null
SELECT * FROM gate('kits', 'full', parameters => '{"cases": 10, "latency": 1000}') \g /dev/null
SELECT results_eq($$SELECT task, cases, sessions > 50 FROM model_gate WHERE catalog = 'kits'$$, $$VALUES ('completion', 50, true)$$, 'bundles that were bought whole go before baskets');

---- what cannot be ----

SELECT throws_ok($$SELECT gate(NULL, 'full')$$, '22004', 'argument "catalog" must not be NULL', 'a gate needs a catalog');
SELECT throws_ok($$SELECT gate('shop', NULL)$$, '22004', 'argument "model" must not be NULL', 'and a model');
SELECT throws_ok($$SELECT promote_model('shop', 'full', NULL)$$, '22004', 'argument "margin" must not be NULL', 'and a margin');
SELECT throws_ok($$SELECT rollback_model(NULL)$$, '22004', 'argument "catalog" must not be NULL', 'going back needs a catalog');
SELECT throws_ok($$SELECT gate('nowhere', 'full')$$, '42704', NULL, 'that is there');
SELECT throws_ok($$SELECT promote_model('shop', 'nobody')$$, '42704', 'model "nobody" does not exist', 'so is the model');
SELECT throws_ok($$SELECT gate('shop', 'full', 'NaN')$$, '22023', '"margin" must be a finite number', 'the margin is a number');
SELECT throws_ok($$SELECT gate('shop', 'full', 'Infinity')$$, '22023', '"margin" must be a finite number', 'a finite one');
SELECT is(said($$SELECT gate('shop', 'full', parameters => '{"case": 3}')$$), 'a gate takes no parameter "case" / It takes task, metric, k, cases, latency and coverage.', 'parameters have names');
SELECT is(said(format($$SELECT gate('shop', 'full', parameters => %L)$$, p)), e, 'and values: ' || p)
FROM (VALUES ('{"k": 1.5}', 'parameter "k" is wrong / It must be a whole number between 1 and 1000.'),
             ('{"cases": 1}', 'parameter "cases" is wrong / It must be a whole number between 2 and 1e+06.'),
             ('{"latency": "x"}', 'parameter "latency" is wrong / It must be a number between 0 and 1e+06.'),
             ('{"metric": "hit"}', 'parameter "metric" is wrong / It must be "hit_rate", "ndcg" or "mrr".'),
             ('{"task": null}', 'parameter "task" is wrong / It must be "completion" or "next_item".'),
             ('[1]', '"parameters" is not a JSON object / Name them, as in ''{"cases": 200}''.')) x(p, e);
SELECT create_catalog('bare', 'shop.product', item_id => 'sku') \g /dev/null
SELECT throws_ok($$SELECT gate('bare', 'full')$$, '55000', 'catalog "bare" has no model', 'a catalog without texts has nothing to promote');
SELECT throws_ok($$SELECT rollback_model('bare')$$, '55000', NULL, 'nor to go back to');
BEGIN READ ONLY;
SELECT throws_ok(format('SELECT * FROM %s', call), '25006', NULL, 'nothing of it only reads: ' || call)
FROM unnest('{"gate(''shop'', ''full'')","promote_model(''shop'', ''full'')","rollback_model(''shop'')",prune_models()}'::text[]) call;
ROLLBACK;

---- who may ----

DROP ROLE IF EXISTS br_test_owner, br_test_reader;
CREATE ROLE br_test_owner;
CREATE ROLE br_test_reader;
GRANT USAGE ON SCHEMA shop TO br_test_owner, br_test_reader;
GRANT SELECT ON shop.product TO br_test_reader;
SET ROLE br_test_reader;
SELECT throws_ok(format('SELECT * FROM %s', call), '42501', NULL, 'for the owner: ' || call)
FROM unnest('{"gate(''shop'', ''full'')","promote_model(''shop'', ''full'', force => true)",rollback_model(''shop'')}'::text[]) call;
SELECT is_empty('SELECT prune_models(0)', 'others may drop nothing');
SELECT cmp_ok((SELECT count(*) FROM model_gate), '>=', 3::bigint, 'a reader sees gates');
SELECT is((SELECT model FROM model_history WHERE catalog = 'shop' AND served_until IS NULL), 'same', 'and which model serves');
SELECT throws_ok('SELECT FROM stored_gate', '42501', NULL, 'by the views alone');
RESET ROLE;
REVOKE SELECT ON shop.product FROM br_test_reader;
SET ROLE br_test_reader;
SELECT is_empty('SELECT FROM model_gate UNION ALL SELECT FROM model_history', 'and others nothing');
RESET ROLE;
ALTER TABLE shop.product OWNER TO br_test_owner;
ALTER TABLE shop.purchase OWNER TO br_test_owner;
SELECT shop.sell(601, 760), refresh('shop') \g /dev/null
SET ROLE br_test_owner;
BEGIN;
SELECT is((SELECT bool_and(held) FROM promote_model('shop', 'full', parameters => '{"latency": 1000}')), true, 'the owner promotes');
SELECT is((SELECT ordered_by::text FROM model_history WHERE catalog = 'shop' AND served_from IS NULL), 'br_test_owner', 'in his name');
ROLLBACK;
RESET ROLE;

---- a catalog that goes takes its history along ----

SELECT drop_catalog(name) FROM catalog \g /dev/null
SELECT is_empty('SELECT FROM stored_gate UNION ALL SELECT FROM stored_model_history', 'nothing is left of gates and history');

SELECT * FROM finish();
DROP OWNED BY br_test_owner, br_test_reader CASCADE;
DROP ROLE br_test_owner, br_test_reader;

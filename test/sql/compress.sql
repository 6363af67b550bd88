\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- compress.sql
--    Smaller models out of larger ones, beside the models that they were made of,
--    whose tokens, sizes and embeddings are counted and compared here in SQL.
--
SELECT plan(78);
SET client_min_messages = warning;
DROP ROLE IF EXISTS br_test_owner, br_test_other;
CREATE ROLE br_test_owner;
CREATE ROLE br_test_other;
GRANT CREATE, USAGE ON SCHEMA public TO br_test_owner;
\o /dev/null
SELECT load_model('bert', :'golden_dir' || '/models/tiny-bert-cls'),
       load_model('mpnet', :'golden_dir' || '/models/tiny-mpnet-mean'),
       load_model('roberta', :'golden_dir' || '/models/tiny-roberta-mean'),
       load_model('xlmr', :'golden_dir' || '/models/tiny-xlmr-mean');
\o
SET ROLE br_test_owner;
CREATE TABLE public.product (sku text PRIMARY KEY, title text);
INSERT INTO product
SELECT format('p%s%s%s', i, j, k), (ARRAY['blue', 'red', 'small', 'large'])[i] || ' ' || (ARRAY['wooden', 'glass', 'steel'])[j] || ' '
       || (ARRAY['table', 'lamp', 'chair', 'vase', 'clock'])[k]
FROM generate_series(1, 4) i, generate_series(1, 3) j, generate_series(1, 5) k;
INSERT INTO product VALUES ('twin', 'blue wooden table'), ('none', NULL);
CREATE TABLE public.few (sku text PRIMARY KEY, title text);
INSERT INTO few VALUES ('a', 'one'), ('b', 'two'), ('c', 'three'), ('d', 'four'), ('e', 'one');
SELECT create_catalog('shop', items => 'product', item_id => 'sku', text => '{title}', model => 'bert') AS _ \gset
SELECT create_catalog('tiny', items => 'few', item_id => 'sku', text => '{title}', model => 'bert') AS _ \gset
SELECT create_catalog('mute', items => 'few', item_id => 'sku') AS _ \gset
RESET ROLE;
SELECT refresh('shop') AS _ \gset

-- what compress_model told, of all calls
CREATE TEMP TABLE told (model text, quantity text, before float8, after float8);
CREATE FUNCTION pg_temp.told(name text, what text) RETURNS float8 LANGUAGE sql AS 'SELECT after FROM told WHERE model = $1 AND quantity = $2';
-- the cosine of an item's two embeddings
CREATE FUNCTION pg_temp.cosines(one text, other text) RETURNS SETOF float8 LANGUAGE sql AS
$$SELECT 1 - (bundle_rec.embed(title, one) OPERATOR(bundle_rec.<=>) bundle_rec.embed(title, other)) FROM product WHERE title IS NOT NULL$$;

---- fewer tokens ----

INSERT INTO told SELECT m || '_words', c.* FROM unnest('{bert,mpnet,roberta,xlmr}'::text[]) m, compress_model(m, m || '_words', 'shop', 'vocabulary', '{"sample": 12}') c;
SELECT results_eq($$SELECT model, count(*), count(before), count(after) FROM told GROUP BY model ORDER BY model$$,
    $$VALUES ('bert_words', 10::bigint, 10::bigint, 10::bigint), ('mpnet_words', 10, 10, 10), ('roberta_words', 10, 10, 10), ('xlmr_words', 10, 10, 10)$$, 'every quantity is told');
SELECT results_eq($$SELECT t.model, quantity, t.before, t.after FROM told t WHERE quantity IN ('bytes', 'parameters') ORDER BY 1, 2$$,
    $$SELECT n.name, q.quantity, q.before::float8, q.after::float8 FROM model o JOIN model n ON n.name = o.name || '_words',
      LATERAL (VALUES ('bytes', o.bytes, n.bytes), ('parameters', o.parameters, n.parameters)) q(quantity, before, after) ORDER BY 1, 2$$, 'sizes are those of the models');
SELECT results_eq($$SELECT model FROM told WHERE quantity = 'parameters' AND before - after <> 32 * (SELECT u.before - u.after FROM told u WHERE u.model = told.model AND u.quantity = 'vocabulary')$$,
    ARRAY[]::text[], 'what went are rows of 32 weights');
SELECT is((SELECT count(*) FROM told WHERE quantity = 'vocabulary' AND after < before AND after > 50), 4::bigint, 'of all kinds of tokenizers');
SELECT is((SELECT before FROM told WHERE model = 'bert_words' AND quantity = 'vocabulary'), (pg_read_file(:'golden_dir' || '/models/tiny-bert-cls/config.json')::jsonb ->> 'vocab_size')::float8,
    'there were as many tokens as config.json says');
SELECT is((SELECT count(*) FROM unnest('{bert,mpnet,roberta,xlmr}'::text[]) m, product WHERE title IS NOT NULL AND embed(title, m) IS DISTINCT FROM embed(title, m || '_words')), 0::bigint,
    'embeddings are the same to the last bit');
SELECT is((SELECT count(*) FROM product WHERE title IS NOT NULL AND tokenize(title, 'bert') IS DISTINCT FROM tokenize(title, 'bert_words')), 61::bigint, 'by other numbers of tokens');
SELECT is((SELECT count(DISTINCT cardinality(tokenize(title, 'bert')) - cardinality(tokenize(title, 'bert_words'))) FROM product), 1::bigint, 'of which there are as many');
SELECT ok(cardinality(tokenize('incomprehensibilities', 'bert_words')) > cardinality(tokenize('incomprehensibilities', 'bert')), 'a word that no text has is cut into smaller pieces');
SELECT results_eq($$SELECT model, quantity, after FROM told WHERE quantity IN ('mean_cosine', 'least_cosine', 'recall_at_10') AND abs(after - 1) > 1e-6$$,
    $$SELECT NULL::text, NULL::text, NULL::float8 WHERE false$$, 'texts left out of its making have the same tokens, and so the same embeddings');
INSERT INTO told SELECT 'bert_common', c.* FROM compress_model('bert', 'bert_common', 'shop', 'vocabulary', '{"sample": 1, "least_uses": 1000}') c;
SELECT ok(pg_temp.told('bert_common', 'vocabulary') < pg_temp.told('bert_words', 'vocabulary'), 'a higher least_uses leaves fewer');
SELECT ok((SELECT min(c) < .999 FROM pg_temp.cosines('bert', 'bert_common') c), 'and costs likeness');

---- fewer heads and neurons ----

INSERT INTO told SELECT m || '_narrow', c.* FROM unnest('{bert,mpnet}'::text[]) m,
    compress_model(m, m || '_narrow', 'shop', 'structure', '{"heads_removed": 0.25, "neurons_removed": 0.5, "sample": 12}') c;
SELECT results_eq($$SELECT model, quantity, before, after FROM told WHERE model LIKE '%narrow' AND quantity IN ('heads', 'neurons', 'layers', 'vocabulary') ORDER BY 1, 2$$,
    $$VALUES ('bert_narrow', 'heads', 4::float8, 3::float8), ('bert_narrow', 'layers', 2, 2), ('bert_narrow', 'neurons', 64, 32), ('bert_narrow', 'vocabulary', 1200, 1200),
             ('mpnet_narrow', 'heads', 4, 3), ('mpnet_narrow', 'layers', 2, 2), ('mpnet_narrow', 'neurons', 64, 32), ('mpnet_narrow', 'vocabulary', 1200, 1200)$$, 'a quarter of the heads and half of the neurons go');
-- of each layer a head of 8 dimensions (query, key, value of 32 inputs and a bias, 32 outputs) and 32 neurons; of mpnet a column of 32 distances
SELECT results_eq($$SELECT model, before - after FROM told WHERE model LIKE '%narrow' AND quantity = 'parameters' ORDER BY 1$$,
    $$VALUES ('bert_narrow', 2 * (8 * (3 * 33 + 32) + 32 * (32 + 1 + 32))::float8), ('mpnet_narrow', 2 * (8 * (3 * 33 + 32) + 32 * (32 + 1 + 32)) + 32)$$, 'with all their weights');
SELECT ok(pg_temp.told(m || '_narrow', 'mean_cosine') BETWEEN (SELECT min(c) - .001 FROM pg_temp.cosines(m, m || '_narrow') c) AND (SELECT max(c) + .001 FROM pg_temp.cosines(m, m || '_narrow') c)
          AND pg_temp.told(m || '_narrow', 'least_cosine') BETWEEN (SELECT min(c) - .001 FROM pg_temp.cosines(m, m || '_narrow') c) AND pg_temp.told(m || '_narrow', 'mean_cosine'),
          'cosines are as embed() has them: ' || m) FROM unnest('{bert,mpnet}'::text[]) m;
-- two tens of 11 others have at least 9 in common
SELECT ok(pg_temp.told('bert_narrow', 'recall_at_10') BETWEEN 0.9 AND 1, 'neighbours are partly the same');
INSERT INTO told SELECT 'bert_less', c.* FROM compress_model('bert', 'bert_less', 'shop', 'structure', '{"neurons_removed": 0.02, "draws": 20, "sample": 12}') c;
SELECT is(pg_temp.told('bert_less', 'neurons'), 63::float8, 'a neuron of 64');
SELECT ok(pg_temp.told('bert_less', 'mean_cosine') > .999 AND pg_temp.told('bert_less', 'mean_cosine') > pg_temp.told('bert_narrow', 'mean_cosine'), 'the least important one is hardly missed');
SELECT is((SELECT count(*) FROM told WHERE quantity = 'texts_per_second' AND before > 0 AND after > 0), (SELECT count(DISTINCT model) FROM told), 'speeds are told');
INSERT INTO told SELECT 'bert_again', c.* FROM compress_model('bert', 'bert_again', 'shop', 'structure', '{"neurons_removed": 0.02, "draws": 20, "sample": 12}') c;
SELECT is((SELECT hash FROM model WHERE name = 'bert_again'), (SELECT hash FROM model WHERE name = 'bert_less'), 'the same seed gives the same model');
INSERT INTO told SELECT 'bert_twice', c.* FROM compress_model('bert_narrow', 'bert_twice', 'shop', 'vocabulary', '{"sample": 12}') c;
SELECT results_eq($$SELECT quantity, after FROM told WHERE model = 'bert_twice' AND quantity IN ('heads', 'vocabulary') ORDER BY 1$$,
    $$VALUES ('heads', 3::float8), ('vocabulary', pg_temp.told('bert_words', 'vocabulary'))$$, 'one after another');

---- fewer layers ----

-- texts that no catalog has
CREATE TEMP TABLE unseen AS SELECT split_part(title, ' ', 3) || ' ' || split_part(title, ' ', 2) || ' ' || split_part(title, ' ', 1) AS title FROM product WHERE title IS NOT NULL;
CREATE FUNCTION pg_temp.unlikeness(one text, other text) RETURNS float8 LANGUAGE sql AS
$$SELECT avg(bundle_rec.embed(title, one) OPERATOR(bundle_rec.<=>) bundle_rec.embed(title, other)) FROM unseen$$;
INSERT INTO told SELECT m || '_flat', c.* FROM unnest('{bert,mpnet}'::text[]) m, compress_model(m, m || '_flat', 'shop', 'layers', '{"epochs": 60, "batch": 16, "rate": 0.002, "sample": 12}') c;
-- by such a rate weights stay what they were
INSERT INTO told SELECT m || '_raw', c.* FROM unnest('{bert,mpnet}'::text[]) m, compress_model(m, m || '_raw', 'shop', 'layers', '{"layers": 1, "epochs": 1, "rate": 1e-9, "sample": 12}') c;
-- a layer: query, key, value and output of 32 inputs and a bias, two norms, 64 neurons
SELECT results_eq($$SELECT model, quantity, before - after FROM told WHERE model ~ '_(flat|raw)' AND quantity IN ('layers', 'parameters', 'heads', 'neurons', 'vocabulary') AND before <> after ORDER BY 1, 2$$,
    $$SELECT m, q.quantity, q.fewer::float8 FROM unnest('{bert_flat,bert_raw,mpnet_flat,mpnet_raw}'::text[]) m,
      (VALUES ('layers', 1), ('parameters', 4 * 32 * 33 + 4 * 32 + 64 * 33 + 32 * 65)) q(quantity, fewer)$$, 'half of the layers go, and nothing else');
SELECT ok(pg_temp.unlikeness(m, m || '_flat') < pg_temp.unlikeness(m, m || '_raw') / 4, 'the others learn to embed what they have never seen: ' || m) FROM unnest('{bert,mpnet}'::text[]) m;
SELECT ok(pg_temp.told(m || '_flat', 'mean_cosine') > pg_temp.told(m || '_raw', 'mean_cosine') AND pg_temp.told(m || '_flat', 'least_cosine') > pg_temp.told(m || '_raw', 'least_cosine')
          AND pg_temp.told(m || '_flat', 'mean_cosine') BETWEEN (SELECT min(c) - .001 FROM pg_temp.cosines(m, m || '_flat') c) AND (SELECT max(c) + .001 FROM pg_temp.cosines(m, m || '_flat') c),
          'as is told: ' || m) FROM unnest('{bert,mpnet}'::text[]) m;
SELECT lives_ok($$SELECT compress_model('bert', 'bert_once', 'shop', 'layers', '{"epochs": 2}'), compress_model('bert', 'bert_anew', 'shop', 'layers', '{"epochs": 2}'),
                         compress_model('bert', 'bert_other', 'shop', 'layers', '{"epochs": 2, "seed": 2}'), compress_model('bert', 'bert_some', 'shop', 'layers', '{"epochs": 2, "texts": 20}')$$, 'with a few epochs');
SELECT is((SELECT hash FROM model WHERE name = 'bert_anew'), (SELECT hash FROM model WHERE name = 'bert_once'), 'the same seed gives the same model');
SELECT is((SELECT count(DISTINCT hash) FROM model WHERE name IN ('bert_once', 'bert_other', 'bert_some')), 3::bigint, 'another seed or fewer texts another one');
SELECT results_eq($$SELECT made_by, parent, method, parameters, seed, data - 'sha256' FROM lineage WHERE model = 'bert_flat'$$,
    $$VALUES ('compress'::text, 'bert'::text, 'layers'::text, '{"layers": 1, "texts": 10000, "epochs": 60, "batch": 16, "rate": 0.002, "sample": 12, "seed": 1}'::jsonb, 1::bigint, '{"texts": 48, "sample": 12}'::jsonb)$$,
    'lineage tells how many layers the default was');

---- weights as bytes ----

INSERT INTO told SELECT m || '_int8', c.* FROM unnest('{bert,mpnet,roberta,xlmr}'::text[]) m, compress_model(m, m || '_int8', 'shop', 'int8', '{"sample": 12}') c;
SELECT results_eq($$SELECT o.name, n.weights, n.bytes = o.bytes, t.after::bigint, t.before::bigint FROM model o JOIN model n ON n.name = o.name || '_int8' JOIN told t ON t.model = n.name AND quantity = 'bytes' ORDER BY 1$$,
    $$SELECT o.name, 'int8'::text, true, n.stored_bytes, o.stored_bytes FROM model o JOIN model n ON n.name = o.name || '_int8' ORDER BY 1$$, 'the tables keep another form of an image as large');
-- three of four bytes of a weight go, but 4 come with each row of at least 32, and vectors stay
SELECT is((SELECT count(*) FROM told t JOIN told p USING (model) WHERE t.model LIKE '%int8' AND t.quantity = 'bytes' AND p.quantity = 'parameters'
           AND t.before - t.after BETWEEN 2.6 * p.after AND 3 * p.after), 4::bigint, 'of some three quarters of its weights'' size');
SELECT is((SELECT count(*) FROM told WHERE model LIKE '%int8' AND quantity IN ('parameters', 'vocabulary', 'layers', 'heads', 'neurons') AND before = after), 20::bigint, 'nothing else changes');
SELECT throws_ok($$UPDATE model_chunk SET data = set_byte(data, octet_length(data) - 100, get_byte(data, octet_length(data) - 100) # 1)
    WHERE model = (SELECT model FROM stored_model WHERE name = 'xlmr_int8'); SELECT embed('red lamp', 'xlmr_int8')$$, 'XX001', 'a stored model is damaged', 'a bit that was lost is found');
SELECT throws_ok($$DELETE FROM model_chunk WHERE model = (SELECT model FROM stored_model WHERE name = 'xlmr_int8'); SELECT embed('red lamp', 'xlmr_int8')$$,
    'XX001', 'a stored model is damaged', 'and parts that are missing');
SELECT ok((SELECT min(c) > .999 AND min(c) < 1 FROM pg_temp.cosines(m, m || '_int8') c)
          AND pg_temp.told(m || '_int8', 'mean_cosine') BETWEEN (SELECT min(c) - .001 FROM pg_temp.cosines(m, m || '_int8') c) AND (SELECT max(c) + .001 FROM pg_temp.cosines(m, m || '_int8') c),
          'embeddings hardly change: ' || m) FROM unnest('{bert,mpnet,roberta,xlmr}'::text[]) m;
INSERT INTO told SELECT 'bert_bytes', c.* FROM compress_model('bert_int8', 'bert_bytes', 'shop', 'vocabulary', '{"sample": 12}') c;
SELECT results_eq($$SELECT weights, stored_bytes < bytes / 2 FROM model WHERE name = 'bert_bytes'$$, $$VALUES ('int8', true)$$, 'rows that stay are still bytes');
SELECT is((SELECT count(*) FROM product WHERE title IS NOT NULL AND embed(title, 'bert_int8') IS DISTINCT FROM embed(title, 'bert_bytes')), 0::bigint, 'the same');
SELECT results_eq($$SELECT quantity FROM told WHERE model = 'bert_int8' EXCEPT SELECT quantity FROM told WHERE model = 'bert_words' ORDER BY 1$$,
    $$VALUES ('int8_mean_cosine'), ('int8_texts_per_second')$$, 'two quantities more');
SELECT ok(bool_and(CASE WHEN 'int8' = ANY (b.precisions) THEN before > 0 AND after > 0 ELSE before IS NULL AND after IS NULL END), 'tell of computing in bytes, where the backend does')
FROM told, backends() b WHERE b.in_use AND model LIKE '%int8' AND quantity LIKE 'int8%';
SET bundle_rec.backend = portable;
SELECT results_eq($$SELECT quantity FROM compress_model('bert', 'bert_plain', 'shop', 'int8') WHERE after IS NULL$$, $$VALUES ('int8_texts_per_second'), ('int8_mean_cosine')$$, 'or are NULL');
RESET bundle_rec.backend;
SELECT is((SELECT hash FROM model WHERE name = 'bert_plain'), (SELECT hash FROM model WHERE name = 'bert_int8'), 'whoever rounds comes to the same');

---- where it comes from, and what for ----

SELECT results_eq($$SELECT made_by, parent, catalog, objective, method, parameters, seed, data - 'sha256', (figures ->> 'parameters')::float8, learned_until, job FROM lineage WHERE model = 'bert_narrow'$$,
    $$SELECT 'compress'::text, 'bert'::text, 'shop'::text, 'compress'::text, 'structure'::text,
      '{"heads_removed": 0.25, "neurons_removed": 0.5, "sample": 12, "texts": 1000, "draws": 1, "seed": 1}'::jsonb, 1::bigint,
      '{"texts": 48, "sample": 12}'::jsonb, pg_temp.told('bert_narrow', 'parameters'), NULL::timestamptz, NULL::bigint$$, 'lineage tells of what it was made, equal texts once');
SELECT matches((SELECT data ->> 'sha256' FROM lineage WHERE model = 'bert_narrow'), '^[0-9a-f]{64}$', 'and the hash of its texts');
SELECT is((SELECT m.name FROM catalog c JOIN stored_model m USING (model) WHERE c.name = 'shop'), 'bert', 'the catalog has its model');
SELECT alter_catalog('shop', model => 'bert_narrow') AS _ \gset
SELECT refresh('shop') AS _ \gset
SELECT is((SELECT m.name FROM catalog c JOIN stored_model m USING (model) WHERE c.name = 'shop'), 'bert_narrow', 'until it is moved to the new one');
SELECT is((SELECT count(*) FROM item JOIN stored_model m USING (model) WHERE m.name = 'bert_narrow'), 61::bigint, 'which embeds its items');
SELECT alter_catalog('shop', model => 'bert') AS _ \gset
SELECT refresh('shop') AS _ \gset

---- what is refused ----

SELECT count(*) AS models FROM model \gset
SELECT throws_ok($$SELECT compress_model('bert', 'x', 'shop', 'zip')$$, '22023', 'there is no method "zip"', 'an unknown method');
SELECT throws_ok($$SELECT compress_model('bert', 'x', 'shop', 'vocabulary', '{"heads_removed": 0.5}')$$, '22023', 'method "vocabulary" takes no parameter "heads_removed"', 'a parameter of another method');
SELECT throws_ok($$SELECT compress_model('bert', 'x', 'shop', 'structure', '{"neurons_removed": 1}')$$, '22023', 'parameter "neurons_removed" is out of range: 1', 'a number out of range');
SELECT throws_ok($$SELECT compress_model('bert', 'x', 'shop', 'structure', '{"neurons_removed": "half"}')$$, '22023', 'parameter "neurons_removed" is not a number', 'no number');
SELECT throws_ok($$SELECT compress_model('bert', 'x', 'shop', 'structure', '[1]')$$, '22023', '"parameters" is not a JSON object', 'no object');
SELECT throws_ok($$SELECT compress_model('bert', 'x', 'shop', 'structure', '{"neurons_removed": 0}')$$, '22023', 'nothing would be removed from model "bert"', 'nothing to remove');
SELECT throws_ok($$SELECT compress_model('bert', 'x', 'shop', 'layers', '{"layers": 2}')$$, '22023', 'nothing would be removed from model "bert"', 'all layers');
SELECT throws_ok($$SELECT compress_model('bert_flat', 'x', 'shop', 'layers')$$, '22023', 'nothing would be removed from model "bert_flat"', 'the only layer');
SELECT throws_ok($$SELECT compress_model('bert', 'x', 'shop', 'layers', '{"layers": 0}')$$, '22023', 'parameter "layers" is out of range: 0', 'no layer');
SELECT throws_ok($$SELECT compress_model('bert', 'x', 'shop', 'layers', '{"epochs": 1.5}')$$, '22023', 'parameter "epochs" is out of range: 1.5', 'a part of an epoch');
SELECT throws_ok($$SELECT compress_model('bert', 'x', 'shop', 'layers', '{"rate": 0}')$$, '22023', 'parameter "rate" is out of range: 0', 'no learning');
SELECT throws_ok($$SELECT compress_model('bert', 'x', 'shop', 'layers', '{"neurons_removed": 0.5}')$$, '22023', 'method "layers" takes no parameter "neurons_removed"', 'a parameter of structure');
SELECT throws_ok($$SELECT compress_model('bert_int8', 'x', 'shop', 'int8')$$, '22023', 'nothing would be removed from model "bert_int8"', 'bytes once more');
SELECT throws_ok($$SELECT compress_model('none', 'x', 'shop', 'vocabulary')$$, '42704', 'model "none" does not exist', 'an unknown model');
SELECT throws_ok($$SELECT compress_model('bert', 'mpnet', 'shop', 'vocabulary')$$, '42710', 'model "mpnet" already exists', 'a name that is taken');
SELECT throws_ok($$SELECT compress_model('bert', '', 'shop', 'vocabulary')$$, '22023', NULL, 'an empty name');
SELECT throws_ok($$SELECT compress_model('bert', 'x', 'none', 'vocabulary')$$, '42704', NULL, 'an unknown catalog');
SELECT throws_ok($$SELECT compress_model('bert', 'x', 'tiny', 'vocabulary')$$, '55000', 'catalog "tiny" has too few texts to compress a model for', 'four different texts are too few');
SELECT throws_ok($$SELECT compress_model('bert', 'x', 'mute', 'vocabulary')$$, '55000', 'catalog "mute" has too few texts to compress a model for', 'a catalog without texts');
SELECT throws_ok($$SELECT compress_model('bert', NULL, 'shop', 'vocabulary')$$, '22004', NULL, 'NULL for a name');
GRANT EXECUTE ON FUNCTION compress_model(text, text, text, text, jsonb) TO br_test_other;
SET ROLE br_test_owner;
SELECT throws_ok($$SELECT compress_model('bert', 'x', 'shop', 'vocabulary')$$, '42501', NULL, 'the owner of the catalog needs EXECUTE');
RESET ROLE;
SET ROLE br_test_other;
SELECT throws_ok($$SELECT compress_model('bert', 'x', 'shop', 'vocabulary')$$, '42501', NULL, 'who has that must own the catalog');
RESET ROLE;
BEGIN READ ONLY;
SELECT throws_ok($$SELECT compress_model('bert', 'x', 'shop', 'vocabulary')$$, '25006', NULL, 'a read-only transaction');
ROLLBACK;
CREATE FUNCTION pg_temp.cancel(method text, parameters jsonb) RETURNS interval LANGUAGE plpgsql AS $$
BEGIN
    PERFORM bundle_rec.compress_model('bert', 'x', 'shop', method, parameters);
    RETURN NULL;
EXCEPTION WHEN query_canceled THEN
    RETURN clock_timestamp() - statement_timestamp();
END $$;
SET statement_timeout = '200ms';
SELECT pg_temp.cancel('structure', '{"draws": 1000}') AS structure \gset
SELECT pg_temp.cancel('layers', '{"epochs": 10000}') AS layers \gset
RESET statement_timeout;
SELECT ok(:'structure'::interval < '1 second' AND :'layers'::interval < '1 second', 'it can be cancelled');
SELECT is((SELECT count(*) FROM model), :models::bigint, 'nothing was stored by any of these');

GRANT EXECUTE ON FUNCTION compress_model(text, text, text, text, jsonb) TO br_test_owner;
SET ROLE br_test_owner;
SELECT is((SELECT count(*) FROM compress_model('bert', 'mine', 'shop', 'vocabulary')), 10::bigint, 'the owner with EXECUTE may');
SELECT is((SELECT loaded_by FROM model WHERE name = 'mine'), 'br_test_owner', 'and it is his model');
RESET ROLE;

SET client_min_messages = warning;
DROP OWNED BY br_test_owner, br_test_other CASCADE;
DROP ROLE br_test_owner, br_test_other;
SELECT * FROM finish();

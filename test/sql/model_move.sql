\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- model_move.sql
--    Several models side by side, and catalogs that move from one to another.
--    What an item should have is computed by embed() of its row in the source.
--
SELECT plan(71);
SET client_min_messages = warning;
DROP ROLE IF EXISTS br_test_owner, br_test_reader;
CREATE ROLE br_test_owner;
CREATE ROLE br_test_reader;
GRANT CREATE, USAGE ON SCHEMA public TO br_test_owner;
\o /dev/null
SELECT load_model('small', :'golden_dir' || '/models/tiny-bert-cls'),
       load_model('wide', :'golden_dir' || '/models/tiny-bert-cased-max-dense');
-- as small, but for its pooling: another model of the same dimensions
SELECT load_model('mean', array_agg((path, CASE path WHEN '1_Pooling/config.json'
                  THEN convert_to(replace(convert_from(content, 'UTF8'), '"cls"', '"mean"'), 'UTF8')
                  ELSE content END)::model_file))
FROM (SELECT path, pg_read_binary_file(:'golden_dir' || '/models/tiny-bert-cls/' || path) AS content
      FROM unnest('{config.json,model.safetensors,modules.json,sentence_bert_config.json,tokenizer.json,tokenizer_config.json,vocab.txt,1_Pooling/config.json}'::text[]) path) f;
\o
SELECT results_eq('SELECT name, pooling, dimensions FROM model ORDER BY name',
                  $$VALUES ('mean', 'mean', 32), ('small', 'cls', 32), ('wide', 'max', 16)$$, 'three models, two of one size');

SET ROLE br_test_owner;
CREATE TABLE public.product (sku text PRIMARY KEY, title text, price int, active boolean);
INSERT INTO product
SELECT 'p' || i, CASE WHEN i % 20 = 0 THEN NULL WHEN i % 11 = 0 THEN 'twins' ELSE format('product %s of kind %s', i, i % 4) END, i, i % 7 <> 0
FROM generate_series(1, 60) i;
CREATE TABLE public.other (id int PRIMARY KEY, name text);
INSERT INTO other SELECT i, 'thing ' || i FROM generate_series(1, 20) i;
RESET ROLE;

-- items of a catalog that have not the embedding of their source's text by the model, or of none where there is no text
CREATE FUNCTION public.wrong_embeddings(catalog_name text, by_model text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT coalesce(item_id, sku)
    FROM product FULL JOIN (bundle_rec.item i JOIN bundle_rec.item_state USING (catalog, item)) ON item_id = sku
    WHERE coalesce(catalog = (SELECT catalog FROM bundle_rec.catalog WHERE name = catalog_name), true)
      AND (i.item IS NULL OR sku IS NULL
           OR CASE WHEN title IS NULL THEN i.embedding IS NOT NULL OR i.model IS NOT NULL
              ELSE i.embedding IS NULL OR bundle_rec.dims(i.embedding) <> bundle_rec.dims(bundle_rec.embed(title, by_model))
                OR i.model IS DISTINCT FROM (SELECT model FROM bundle_rec.stored_model WHERE name = by_model)
                OR (CASE WHEN bundle_rec.dims(i.embedding) = bundle_rec.dims(bundle_rec.embed(title, by_model))
                    THEN i.embedding OPERATOR(bundle_rec.<->) bundle_rec.embed(title, by_model) END) > 0.01 END)
$$;

-- items whose stored neighbours are not what a search over all active items finds
CREATE FUNCTION public.wrong_neighbours(catalog_name text, k int) RETURNS SETOF text LANGUAGE sql AS $$
    WITH n AS (SELECT catalog FROM bundle_rec.catalog WHERE name = catalog_name),
    active AS (
        SELECT item, embedding FROM bundle_rec.item JOIN bundle_rec.item_state USING (catalog, item) JOIN n USING (catalog)
        WHERE active AND embedding IS NOT NULL),
    plain AS (
        SELECT a.item, (SELECT array_agg(d ORDER BY d DESC) FROM (
                SELECT 1 - (a.embedding OPERATOR(bundle_rec.<=>) b.embedding) AS d FROM active b
                WHERE b.item <> a.item ORDER BY 1 DESC LIMIT k) x) AS similarity
        FROM active a),
    stored AS (SELECT item, similarity FROM bundle_rec.item_neighbour JOIN n USING (catalog))
    SELECT 'item ' || coalesce(p.item, s.item)
    FROM plain p FULL JOIN stored s USING (item)
    WHERE p.item IS NULL OR s.item IS NULL OR cardinality(s.similarity) <> cardinality(p.similarity)
       OR EXISTS (SELECT FROM unnest(s.similarity, p.similarity) u (a, b) WHERE abs(a - b) > 2e-6)
$$;

-- side by side

SET ROLE br_test_owner;
SELECT lives_ok($$SELECT create_catalog('shop', 'product', 'sku', text => '{title}', price => 'price', active => 'active', model => 'small')$$, 'a catalog of one model');
SELECT lives_ok($$SELECT create_catalog('things', 'other', 'id', text => '{name}', model => 'wide')$$, 'a catalog of another');
SELECT throws_ok($$SELECT create_catalog('third', 'other', 'id', text => '{name}')$$, '42704', NULL, 'where several are there one is named');
SET bundle_rec.default_model = 'wide';
SELECT lives_ok($$SELECT refresh('shop'), refresh('things')$$, 'both are refreshed, whatever the default is');
RESET ROLE;
SELECT is_empty($$SELECT wrong_embeddings('shop', 'small')$$, 'the one by its model');
SELECT is_empty($$SELECT item_id FROM item JOIN other ON id::text = item_id WHERE catalog = (SELECT catalog FROM catalog WHERE name = 'things')
                  AND embedding <-> embed(name, 'wide') > 0.01$$, 'the other by its own');
SELECT is(embed('shirt'), embed('shirt', 'wide'), 'the default decides where none is named');
SELECT isnt(dims(embed('shirt', 'small')), dims(embed('shirt')), 'and only there');
SELECT results_eq($$SELECT catalog, model, next_model, next_embedded FROM catalog_coverage ORDER BY catalog$$,
                  $$VALUES ('shop', 'small', NULL::text, NULL::bigint), ('things', 'wide', NULL, NULL)$$, 'the view names both');
SELECT is((SELECT count(*) FROM similar_items('shop', query => 'product 3', k => 5)) + (SELECT count(*) FROM similar_items('things', query => 'thing 3', k => 5)),
          10::bigint, 'both answer in one statement');
RESET bundle_rec.default_model;
SELECT throws_ok($$SELECT drop_model('small')$$, '2BP01', 'model "small" is in use', 'neither model can be dropped');

-- who may, and what

SELECT throws_ok($$SELECT alter_catalog(NULL, model => 'wide')$$, '22004', NULL, 'alter_catalog of NULL');
SELECT throws_ok($$SELECT alter_catalog('no', model => 'wide')$$, '42704', NULL, 'of a catalog that is not there');
SELECT throws_ok($$SELECT alter_catalog('shop', model => 'no')$$, '42704', 'model "no" does not exist', 'to a model that is not there');
CREATE TABLE public.bare (id int PRIMARY KEY);
SELECT create_catalog('bare', 'bare', 'id') \g /dev/null
SELECT throws_ok($$SELECT alter_catalog('bare', model => 'wide')$$, '22023', 'model "wide" has no text to read', 'a catalog without text has no model');
GRANT SELECT ON product TO br_test_reader;
SET ROLE br_test_reader;
SELECT throws_ok($$SELECT alter_catalog('shop', model => 'wide')$$, '42501', 'must be owner of catalog "shop"', 'not for readers');
RESET ROLE;
SELECT throws_ok($$SELECT refresh('shop', -1)$$, '22023', 'max_texts must not be negative', 'texts are not un-embedded');
SELECT lives_ok($$SELECT alter_catalog('shop')$$, 'nothing is changed where nothing is given');
SELECT is((SELECT next_model FROM catalog_coverage WHERE catalog = 'shop'), NULL, 'indeed nothing');

-- a move in steps

DELETE FROM product WHERE sku = 'p50';
CREATE TEMP TABLE served AS SELECT * FROM similar_items('shop', query => 'product 3', k => 60);
SET ROLE br_test_owner;
SELECT lives_ok($$SELECT alter_catalog('shop', model => 'wide')$$, 'the owner names the next model');
RESET ROLE;
SELECT results_eq($$SELECT model, next_model, next_embedded FROM catalog_coverage WHERE catalog = 'shop'$$, $$VALUES ('small', 'wide', 0::bigint)$$,
                  'the view says so');
SELECT results_eq('SELECT name, used_by FROM model ORDER BY name', $$VALUES ('mean', '{}'::text[]), ('small', '{shop}'), ('wide', '{shop,things}')$$,
                  'a catalog uses the model that it is moving to');
SELECT throws_ok($$SELECT drop_catalog('things'), drop_model('wide')$$, '2BP01', 'model "wide" is in use', 'which cannot be dropped');
SELECT throws_ok($$SELECT drop_model('small')$$, '2BP01', 'model "small" is in use', 'nor the one that it leaves');
SELECT refresh('shop', 0) \g /dev/null
SELECT is((SELECT next_embedded FROM catalog_coverage WHERE catalog = 'shop'), 0::bigint, 'no text where none is allowed');
-- 56 distinct items with text: 57 texts less p50, of which 5 are twins
SELECT refresh('shop', 10) \g /dev/null
SELECT cmp_ok((SELECT next_embedded FROM catalog_coverage WHERE catalog = 'shop'), '>=', 10::bigint, 'ten texts, equal ones counted once');
SELECT cmp_ok((SELECT next_embedded FROM catalog_coverage WHERE catalog = 'shop'), '<=', 14::bigint, 'and no more');
SELECT set_eq($$SELECT * FROM similar_items('shop', query => 'product 3', k => 60)$$, 'SELECT * FROM served', 'answers are those of the model in service');
SELECT is_empty($$SELECT wrong_embeddings('shop', 'small')$$, 'and so are all items');
SELECT is_empty($$SELECT wrong_neighbours('shop', 32)$$, 'and neighbours');

-- what the shop changes meanwhile: a text that has its shadow, one that has not, a new row, one that goes, one that comes back
UPDATE product SET title = 'changed ' || sku WHERE sku IN (SELECT item_id FROM item_shadow JOIN item USING (catalog, item) ORDER BY item_id LIMIT 4);
UPDATE product SET title = 'changed ' || sku WHERE sku IN ('p1', 'p2', 'p58', 'p59');
INSERT INTO product VALUES ('p61', 'new on the way', 5, true);
DELETE FROM product WHERE sku IN ('p3', 'p4');
UPDATE product SET active = NOT active WHERE sku IN ('p5', 'p7');
SELECT refresh('shop', 12) \g /dev/null
SELECT is((SELECT pending FROM catalog_coverage WHERE catalog = 'shop'), 0::bigint, 'what is new is first embedded for service');
SELECT is_empty($$SELECT wrong_embeddings('shop', 'small')$$, 'by the model in service');
SELECT is((SELECT model FROM catalog_coverage WHERE catalog = 'shop'), 'small', 'which still serves');
INSERT INTO product VALUES ('p4', 'product 4 of kind 0', 4, true);

SELECT refresh('shop') \g /dev/null
SELECT results_eq($$SELECT model, next_model, next_embedded, pending FROM catalog_coverage WHERE catalog = 'shop'$$,
                  $$VALUES ('wide', NULL::text, NULL::bigint, 0::bigint)$$, 'a refresh without limit completes the move');
SELECT is_empty($$SELECT wrong_embeddings('shop', 'wide')$$, 'every item has the embedding of its present text by the next model');
SELECT is_empty($$SELECT wrong_neighbours('shop', 32)$$, 'neighbours are those of the next model');
SELECT is_empty('SELECT * FROM item_shadow', 'no shadow is left');
SELECT is((SELECT count(*) FROM similar_items('shop', query => 'product 3', k => 60)), (SELECT count(*) FROM product WHERE active AND title IS NOT NULL),
          'queries are read with the next model');
SELECT is_empty($$SELECT item FROM item WHERE model = (SELECT model FROM stored_model WHERE name = 'small')$$, 'nothing of the former model is left');
SELECT lives_ok($$SELECT drop_model('small')$$, 'which can be dropped');

-- an item that was away while the catalog moved

INSERT INTO product VALUES ('p3', 'product 3 of kind 3', 3, true), ('p50', 'product 50 of kind 2', 50, true);
SELECT is((SELECT count(*) FROM item JOIN item_state USING (catalog, item) WHERE item_id = 'p50' AND embedding IS NULL AND pending_text IS NULL), 1::bigint,
          'it comes back without an embedding');
SELECT refresh('shop'), refresh('shop') \g /dev/null
SELECT is_empty($$SELECT wrong_embeddings('shop', 'wide')$$, 'and is embedded again');
SELECT is_empty($$SELECT wrong_neighbours('shop', 32)$$, 'with its neighbours');

-- to a model of other dimensions, and to one of the same

\o /dev/null
SELECT load_model('small', :'golden_dir' || '/models/tiny-bert-cls');
SELECT alter_catalog('shop', model => 'small');
SELECT refresh('shop');
\o
SELECT is_empty($$SELECT wrong_embeddings('shop', 'small')$$, 'in one step where there is no limit');
SELECT is_empty($$SELECT wrong_neighbours('shop', 32)$$, 'neighbours too');
SELECT is_empty($$SELECT sku FROM product WHERE embed(title, 'small') <-> embed(title, 'mean') < 0.1$$, 'two models of one size are told apart');
CREATE TEMP TABLE before AS SELECT * FROM similar_items('shop', query => 'product 3', k => 60);
\o /dev/null
SELECT alter_catalog('shop', model => 'mean');
SELECT refresh('shop', 30);
\o
SELECT set_eq($$SELECT * FROM similar_items('shop', query => 'product 3', k => 60)$$, 'SELECT * FROM before', 'of one size: nothing is mixed on the way');
DELETE FROM product WHERE sku IN ('p8', 'p9');
SELECT refresh('shop') \g /dev/null
SELECT is_empty($$SELECT wrong_embeddings('shop', 'mean')$$, 'of one size: all is moved');
SELECT is_empty($$SELECT wrong_neighbours('shop', 32)$$, 'neighbours too');
SELECT is_empty($$SELECT item_id FROM item WHERE model = (SELECT model FROM stored_model WHERE name = 'small')$$, 'what is gone keeps no embedding of the former model');

-- back, elsewhere, once more

\o /dev/null
SELECT alter_catalog('shop', model => 'small');
SELECT refresh('shop', 5);
\o
SELECT isnt_empty('SELECT * FROM item_shadow', 'on the way');
SELECT alter_catalog('shop', model => 'small') \g /dev/null
SELECT isnt_empty('SELECT * FROM item_shadow WHERE embedding IS NOT NULL', 'naming the next model once more loses nothing');
SELECT alter_catalog('shop', model => 'mean') \g /dev/null
SELECT results_eq($$SELECT model, next_model FROM catalog_coverage WHERE catalog = 'shop'$$, $$VALUES ('mean', NULL::text)$$, 'naming the model in service ends the move');
SELECT is_empty('SELECT * FROM item_shadow', 'and discards what was embedded');
\o /dev/null
SELECT alter_catalog('shop', model => 'small');
SELECT refresh('shop', 5);
SELECT alter_catalog('shop', model => 'wide');
\o
SELECT is_empty('SELECT * FROM item_shadow', 'so does another next model');
SELECT lives_ok($$SELECT drop_model('small')$$, 'the one named before is free');
\o /dev/null
SELECT refresh('shop', 5);
BEGIN;
SELECT refresh('shop');
ROLLBACK;
\o
SELECT is((SELECT model FROM catalog_coverage WHERE catalog = 'shop'), 'mean', 'a switch that is rolled back did not happen');
SELECT is_empty($$SELECT wrong_embeddings('shop', 'mean')$$, 'to any item');
SELECT isnt_empty('SELECT * FROM item_shadow WHERE embedding IS NOT NULL', 'and what was embedded before is still there');

-- inside a block that catches errors: an error in the switch leaves nothing of it
CREATE FUNCTION public.no_switch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no switch today'; END $$;
CREATE TRIGGER no_switch BEFORE UPDATE ON catalog FOR EACH ROW WHEN (new.model <> old.model) EXECUTE FUNCTION no_switch();
SELECT throws_ok($$SELECT refresh('shop')$$, 'P0001', 'no switch today', 'an error at the last moment');
DROP TRIGGER no_switch ON catalog;
SELECT is_empty($$SELECT wrong_embeddings('shop', 'mean')$$, 'changes no item');
SELECT is_empty($$SELECT wrong_neighbours('shop', 32)$$, 'nor their neighbours');
SELECT refresh('shop') \g /dev/null
SELECT is_empty($$SELECT wrong_embeddings('shop', 'wide')$$, 'and the next refresh succeeds');

-- nothing to move

TRUNCATE bare;
CREATE TABLE public.fresh (id int PRIMARY KEY, title text);
INSERT INTO fresh VALUES (1, 'one'), (2, 'two');
\o /dev/null
SELECT create_catalog('fresh', 'fresh', 'id', text => '{title}', model => 'mean');
SELECT alter_catalog('fresh', model => 'wide');
\o
SELECT results_eq($$SELECT model, next_model, pending FROM catalog_coverage WHERE catalog = 'fresh'$$, $$VALUES ('wide', NULL::text, 2::bigint)$$,
                  'a catalog that has embedded nothing needs no move');
\o /dev/null
SELECT refresh('fresh', 1);
\o
SELECT is((SELECT pending FROM catalog_coverage WHERE catalog = 'fresh'), 1::bigint, 'a limit holds without a move too');
\o /dev/null
SELECT refresh('fresh');
SELECT alter_catalog('fresh', model => 'mean');
DELETE FROM fresh;
SELECT refresh('fresh');
\o
SELECT is((SELECT model FROM catalog_coverage WHERE catalog = 'fresh'), 'mean', 'an empty catalog moves');

-- columns that went
INSERT INTO fresh VALUES (3, 'three');
\o /dev/null
SELECT refresh('fresh');
ALTER TABLE fresh RENAME title TO name;
SELECT alter_catalog('fresh', model => 'wide');
\o
SET client_min_messages = error;
SELECT lives_ok($$SELECT refresh('fresh')$$, 'a source without its text column is a warning');
SELECT is((SELECT model FROM catalog_coverage WHERE catalog = 'fresh'), 'mean', 'and the catalog stays where it is');
SELECT lives_ok($$SELECT drop_catalog(name) FROM catalog$$, 'catalogs are dropped on the way');
SELECT lives_ok($$SELECT drop_model(name) FROM model$$, 'and models after them');

SELECT * FROM finish();
DROP OWNED BY br_test_owner, br_test_reader CASCADE;
DROP ROLE br_test_owner, br_test_reader;

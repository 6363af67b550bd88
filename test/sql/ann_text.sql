\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
\i test/sql/include/ann.sql
--
-- ann_text.sql
--    Indexes of bundle_ann on texts. What must come first is computed from
--    embed() by plain arithmetic in SQL.
--
SELECT plan(95);

SELECT :'golden_dir' || '/models/tiny-bert-cls' AS cls_dir,
       :'golden_dir' || '/models/tiny-bert-cased-max-dense' AS dense_dir \gset
SET client_min_messages = warning;
DROP ROLE IF EXISTS br_ann_keeper, br_ann_writer;
CREATE ROLE br_ann_keeper;
CREATE ROLE br_ann_writer;
GRANT CREATE, USAGE ON SCHEMA public TO br_ann_keeper;
GRANT USAGE ON SCHEMA public TO br_ann_writer;
RESET client_min_messages;
-- the same sums on every machine, and scans that miss next to nothing
SET bundle_rec.backend = 'portable';
SET bundle_rec.recall = .999;
SET search_path = public, bundle_rec;

CREATE FUNCTION pg_temp.pending(index text) RETURNS bigint LANGUAGE sql AS $$
    SELECT pending FROM bundle_ann_stats(index::regclass)
$$;
CREATE FUNCTION pg_temp.tokens() RETURNS bigint LANGUAGE sql AS $$
    SELECT sum(tokens)::bigint FROM model m, model_info(m.name)
$$;

-- without a model

CREATE TABLE item (id int PRIMARY KEY, title text);
SELECT lives_ok('CREATE INDEX item_title ON item USING bundle_ann (title)', 'an empty table is indexed without a model');
SELECT is((SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'text_cosine_ops'), true, 'text_cosine_ops is valid');
SELECT is((SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'text_ip_ops'), true, 'text_ip_ops is valid');
SELECT is((SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'text_l2_ops'), true, 'text_l2_ops is valid');
INSERT INTO item VALUES (0, NULL);
SELECT is(bundle_ann_check('item_title', true), 0::bigint, 'a text that is NULL needs no model, and is not in the index');
SELECT throws_ok($$INSERT INTO item VALUES (-1, 'a')$$, '42704', 'there is no model', 'a row with a text needs a model');
SELECT throws_ok($$SELECT 'a'::text <=> 'b'$$, '42704', 'there is no model', 'so does the operator');
SELECT is_empty($$SELECT id FROM item WHERE id > 0 ORDER BY title <=> 'a'$$, 'where nothing is compared, none is needed');

SELECT load_model('cls', :'cls_dir') \g /dev/null

-- order: by arithmetic, by a sort with the operator, by the index

INSERT INTO item SELECT row_number() OVER (), concat_ws(' ', a, b, c)
FROM unnest('{red,blue,light,warm,wireless,folding,cheap,heavy}'::text[]) a,
     unnest('{travel,garden,kitchen,office,camping}'::text[]) b,
     unnest('{mouse,tent,stove,lamp,chair,table,knife,bag}'::text[]) c;
REINDEX INDEX item_title;
SELECT is(bundle_ann_check('item_title', true), 320::bigint, 'all texts are in the index');
SELECT is(pg_temp.pending('item_title'), 0::bigint, 'and none waits');
SELECT is((SELECT model FROM bundle_ann_stats('item_title')), 'cls', 'which knows its model');

CREATE TEMP TABLE query AS SELECT unnest('{wireless travel mouse,something warm for the garden,knife,lamp}'::text[]) AS text;
CREATE TEMP VIEW distance AS
SELECT q.text AS query, i.id, 1 - dot / sqrt(left_square * right_square) AS cosine, -dot AS product,
       sqrt(left_square + right_square - 2 * dot) AS l2
FROM query q, item i,
     LATERAL (SELECT sum(x * y) AS dot, sum(x * x) AS left_square, sum(y * y) AS right_square
              FROM unnest(embed(q.text)::real[]::float8[], embed(i.title)::real[]::float8[]) u (x, y)) s;
CREATE TEMP TABLE nearest AS SELECT * FROM distance;

CREATE FUNCTION pg_temp.first_ids(query text, kind text, operator text) RETURNS int[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(SELECT trim(r, '()')::int FROM pg_temp.rows_of(
        format('SELECT id FROM item ORDER BY title %s %L LIMIT 10', operator, query), kind) r);
END $$;
CREATE FUNCTION pg_temp.true_ids(query text, metric text) RETURNS int[] LANGUAGE sql AS $$
    SELECT ARRAY(SELECT id FROM nearest n WHERE n.query = true_ids.query AND id > 0
                 ORDER BY CASE metric WHEN 'cosine' THEN cosine WHEN 'ip' THEN product ELSE l2 END LIMIT 10)
$$;

SELECT ok(pg_temp.uses_index($$SELECT id FROM item ORDER BY title <=> 'lamp' LIMIT 10$$), 'the index serves <=>');
SELECT is(pg_temp.first_ids(text, 'sort', '<=>'), pg_temp.true_ids(text, 'cosine'), 'a sort by <=>: ' || text) FROM query;
SELECT is(pg_temp.first_ids(text, 'index', '<=>'), pg_temp.true_ids(text, 'cosine'), 'the index by <=>: ' || text) FROM query;
CREATE INDEX item_title_ip ON item USING bundle_ann (title text_ip_ops);
SELECT is(pg_temp.first_ids(text, 'index', '<#>'), pg_temp.true_ids(text, 'ip'), 'the index by <#>: ' || text) FROM query;
DROP INDEX item_title_ip;
CREATE INDEX item_title_l2 ON item USING bundle_ann (title text_l2_ops);
SELECT is(pg_temp.first_ids(text, 'index', '<->'), pg_temp.true_ids(text, 'l2'), 'the index by <->: ' || text) FROM query;
DROP INDEX item_title_l2;
SELECT results_eq(
    $$SELECT * FROM pg_temp.rows_of('SELECT id, title <=> ''lamp'' FROM item WHERE title IS NOT NULL ORDER BY title <=> ''lamp'' LIMIT 300', 'index')$$,
    $$SELECT * FROM pg_temp.rows_of('SELECT id, title <=> ''lamp'' FROM item WHERE title IS NOT NULL ORDER BY title <=> ''lamp'' LIMIT 300', 'sort')$$,
    'distances are those of the operator, far down');

-- nothing is embedded for being found

SELECT pg_temp.tokens() AS tokens \gset
SELECT count(*) FROM pg_temp.rows_of($$SELECT id, title <=> 'a new query' FROM item ORDER BY title <=> 'a new query' LIMIT 50$$, 'index') \g /dev/null
SELECT is(pg_temp.tokens() - :tokens, array_length(tokenize('a new query'), 1)::bigint, 'a query embeds its own text, and no row''s');
SELECT pg_temp.tokens() AS tokens \gset
SELECT count(*) FROM pg_temp.rows_of($$SELECT id, title <=> 'a new query' FROM item ORDER BY title <=> 'a new query' LIMIT 50$$, 'index') \g /dev/null
SELECT is(pg_temp.tokens() - :tokens, 0::bigint, 'once more, nothing at all');

-- rows that wait

INSERT INTO item VALUES (501, 'a wireless mouse for travel'), (502, 'warm mittens'), (503, 'lamps, lamps, lamps');
TRUNCATE nearest;
INSERT INTO nearest SELECT * FROM distance;
SELECT is(pg_temp.pending('item_title'), 3::bigint, 'new rows wait');
SELECT is(bundle_ann_check('item_title', true), 323::bigint, 'and are in the index');
SELECT is(pg_temp.first_ids(text, 'index', '<=>'), pg_temp.true_ids(text, 'cosine'), 'they are found at once: ' || text) FROM query;
SELECT cmp_ok((SELECT count(*) FROM query, unnest(pg_temp.true_ids(text, 'cosine')) t WHERE t > 500), '>', 0::bigint, 'some of them are near');
SELECT pg_temp.tokens() AS tokens \gset
SELECT count(*) FROM query, LATERAL pg_temp.first_ids(text, 'index', '<=>') \g /dev/null
SELECT is(pg_temp.tokens() - :tokens, 0::bigint, 'they are embedded for the first query only');
SELECT is(bundle_ann_flush('item_title'), 3::bigint, 'a flush moves them');
SELECT is(bundle_ann_flush('item_title'), 0::bigint, 'and finds nothing more');
SELECT is(pg_temp.tokens() - :tokens, 0::bigint, 'with the vectors that queries have made');
SELECT is(pg_temp.pending('item_title'), 0::bigint, 'none waits any more');
SELECT is(pg_temp.first_ids(text, 'index', '<=>'), pg_temp.true_ids(text, 'cosine'), 'they are found in their lists: ' || text) FROM query;
SELECT is(bundle_ann_check('item_title', true), 323::bigint, 'and are there once');

ALTER INDEX item_title SET (pending = 5);
INSERT INTO item SELECT 510 + i, 'thing ' || i FROM generate_series(1, 4) i;
SELECT is(pg_temp.pending('item_title'), 4::bigint, 'fewer than the limit wait');
INSERT INTO item VALUES (515, 'thing 5');
SELECT is(pg_temp.pending('item_title'), 0::bigint, 'who reaches the limit embeds them');
INSERT INTO item SELECT 520 + i, 'object ' || i FROM generate_series(1, 23) i;
SELECT is(pg_temp.pending('item_title'), 3::bigint, 'also within one statement');
SELECT is(bundle_ann_check('item_title', true), 351::bigint, 'none was lost');
ALTER INDEX item_title RESET (pending);
SELECT bundle_ann_flush('item_title') \g /dev/null

-- changes of rows that wait

INSERT INTO item SELECT 600 + i, 'waiting ' || i FROM generate_series(1, 20) i;
UPDATE item SET title = 'updated ' || id WHERE id BETWEEN 601 AND 605;
DELETE FROM item WHERE id BETWEEN 606 AND 615;
BEGIN;
INSERT INTO item VALUES (699, 'rolled back');
ROLLBACK;
SELECT is(pg_temp.pending('item_title'), 26::bigint, 'versions that are gone wait until a vacuum comes');
SELECT is_empty($$SELECT * FROM pg_temp.rows_of('SELECT id, title FROM item ORDER BY title <=> ''waiting'' LIMIT 400', 'index')
                  WHERE rows_of ~ 'rolled back|waiting (1|5|6|15)"'$$, 'but no scan returns them');
SELECT pg_temp.tokens() AS tokens \gset
VACUUM item;
SELECT is(pg_temp.pending('item_title'), 10::bigint, 'it takes them away');
SELECT is(pg_temp.tokens() - :tokens, 0::bigint, 'and embeds nothing');
SELECT is(bundle_ann_check('item_title', true), 361::bigint, 'the others stay');
DELETE FROM item WHERE id > 600;
VACUUM item;
SELECT is(pg_temp.pending('item_title'), 0::bigint, 'all of them may go');
INSERT INTO item SELECT 700 + i, repeat('long text ', 20) || i FROM generate_series(1, 60) i;
SELECT is(pg_temp.pending('item_title'), 60::bigint, 'pages of the waiting are made');
SELECT bundle_ann_flush('item_title'), pages FROM bundle_ann_stats('item_title') \gset
DELETE FROM item WHERE id > 700;
VACUUM item;
-- the list that lost these rows was written anew beside its old pages
INSERT INTO item SELECT 700 + i, repeat('long text ', 20) || i FROM generate_series(1, 60) i;
SELECT cmp_ok((SELECT pages FROM bundle_ann_stats('item_title')), '<=', :pages::bigint + 2, 'and used again');
SELECT bundle_ann_flush('item_title') \g /dev/null
SELECT is(bundle_ann_check('item_title', true), (SELECT count(title) FROM item), 'the index is sound');

-- what texts there are

CREATE TABLE note (id int, body varchar(4000), subject text);
CREATE INDEX note_body ON note USING bundle_ann (body);
CREATE INDEX note_subject ON note USING bundle_ann (lower(subject)) WHERE id > 1;
INSERT INTO note VALUES (1, '', 'Not in it'), (2, repeat('very long ', 390), 'Garden Chair'), (3, NULL, NULL), (4, 'short', 'Kitchen Table');
SELECT is(pg_temp.pending('note_body'), 3::bigint, 'empty and long texts are indexed, NULL is not');
SELECT results_eq($$SELECT * FROM pg_temp.rows_of('SELECT id FROM note ORDER BY body <=> ''short'' LIMIT 3', 'index')$$,
                  $$SELECT * FROM pg_temp.rows_of('SELECT id FROM note WHERE body IS NOT NULL ORDER BY body <=> ''short'' LIMIT 3', 'sort')$$,
                  'they are found where they wait');
SELECT bundle_ann_flush('note_body') \g /dev/null
SELECT results_eq($$SELECT * FROM pg_temp.rows_of('SELECT id FROM note ORDER BY body <=> ''short'' LIMIT 3', 'index')$$,
                  $$SELECT * FROM pg_temp.rows_of('SELECT id FROM note WHERE body IS NOT NULL ORDER BY body <=> ''short'' LIMIT 3', 'sort')$$,
                  'and in their lists');
SELECT is(bundle_ann_check('note_subject', true), 2::bigint, 'a partial index on an expression has its rows');
SELECT ok(pg_temp.uses_index($$SELECT id FROM note WHERE id > 1 ORDER BY lower(subject) <=> 'chair' LIMIT 1$$), 'and is used');
SELECT is(ARRAY(SELECT * FROM pg_temp.rows_of($$SELECT id FROM note WHERE id > 1 ORDER BY lower(subject) <=> 'garden chair' LIMIT 1$$, 'index')),
          '{(2)}', 'by the expression''s text');

-- several models

TRUNCATE nearest;
INSERT INTO nearest SELECT * FROM distance;
SELECT load_model('dense', :'dense_dir') \g /dev/null
SET bundle_rec.default_model = 'dense';
SELECT throws_ok('CREATE INDEX none ON note USING bundle_ann (body) WITH (model = ''none'')', '42704', 'model "none" does not exist', 'an option must name a model');
CREATE INDEX note_dense ON note USING bundle_ann (body) WITH (model = 'dense');
SELECT is((SELECT model FROM bundle_ann_stats('note_dense')), 'dense', 'an option names the model');
DROP INDEX note_dense;
SELECT ok(NOT pg_temp.uses_index($$SELECT id FROM item ORDER BY title <=> 'lamp' LIMIT 10$$), 'an index of another model is not used');
SET bundle_rec.default_model = 'cls';
SELECT ok(pg_temp.uses_index($$SELECT id FROM item ORDER BY title <=> 'lamp' LIMIT 10$$), 'one of the operator''s model is');
PREPARE near(text) AS SELECT id FROM item ORDER BY title <=> $1 LIMIT 10;
SET plan_cache_mode = force_generic_plan;
SET enable_sort = off;
SELECT results_eq($$EXECUTE near('lamp')$$, $$SELECT unnest(pg_temp.true_ids('lamp', 'cosine'))$$, 'a kept plan uses the index');
CREATE TEMP TABLE returned AS EXECUTE near(NULL);
SELECT is((SELECT count(DISTINCT id) FROM returned), 10::bigint, 'a query that is NULL returns rows in any order');
SET bundle_rec.default_model = 'dense';
SELECT throws_ok($$EXECUTE near('lamp')$$, '55000', 'index "item_title" is of model "cls", and the operator means model "dense"',
                 'a plan kept for one model does not mix it with another');
SET bundle_rec.default_model = 'none';
SELECT throws_ok($$EXECUTE near('lamp')$$, '42704', 'model "none" does not exist', 'nor with none');
SET bundle_rec.default_model = 'cls';

-- a model that is gone

INSERT INTO item VALUES (801, 'waits for its model');
SELECT drop_model('cls') \g /dev/null
SET bundle_rec.default_model = '';
SELECT throws_ok($$EXECUTE near('lamp')$$, '55000', 'model "cls" of index "item_title" is gone', 'its index says so');
SELECT throws_ok($$INSERT INTO item VALUES (802, 'another')$$, '55000', 'model "cls" of index "item_title" is gone', 'and takes no rows');
SELECT throws_ok($$SELECT bundle_ann_flush('item_title')$$, '55000', 'model "cls" of index "item_title" is gone', 'nor embeds what waits');
SELECT load_model('cls', :'dense_dir') \g /dev/null
SELECT throws_ok($$INSERT INTO item VALUES (802, 'another')$$, '55000', 'model "cls" of index "item_title" has other contents now',
                 'another model of its name is another model');
SELECT drop_model('cls'), load_model('again', :'cls_dir') \g /dev/null
SET bundle_rec.default_model = 'again';
SELECT lives_ok($$INSERT INTO item VALUES (802, 'another')$$, 'the same contents are the same model, whatever its name');
SELECT is(bundle_ann_flush('item_title'), 2::bigint, 'then all goes on');
SELECT results_eq($$EXECUTE near('lamp')$$, $$SELECT unnest(pg_temp.true_ids('lamp', 'cosine'))$$, 'and is found as before');
SELECT drop_model('again') \g /dev/null
SET bundle_rec.default_model = '';
SELECT lives_ok('DELETE FROM item WHERE id > 800; REINDEX INDEX item_title', 'REINDEX takes the model that is there now');
SELECT is((SELECT model FROM bundle_ann_stats('item_title')), 'dense', 'and says so');
RESET plan_cache_mode;
RESET enable_sort;

-- whose rights

SET ROLE br_ann_keeper;
SET search_path = public;
CREATE TABLE kept (id int, title text);
INSERT INTO kept SELECT i, 'thing ' || i FROM generate_series(1, 10) i;
SELECT lives_ok('CREATE INDEX kept_title ON kept USING bundle_ann (title)', 'who owns a table may index its texts, without rights on models');
GRANT INSERT ON kept TO br_ann_writer;
SET ROLE br_ann_writer;
SELECT lives_ok($$INSERT INTO kept SELECT i, 'other thing ' || i FROM generate_series(11, 100) i$$, 'who may INSERT may insert, beyond the limit of waiting rows');
RESET ROLE;
SET search_path = public, bundle_rec;
SELECT lives_ok('REINDEX INDEX kept_title', 'another superuser may REINDEX');
SELECT is(bundle_ann_check('kept_title', true), 100::bigint, 'and all rows are there');

-- a catalog's refresh

CREATE TABLE product (sku text PRIMARY KEY, title text);
INSERT INTO product VALUES ('a', 'tent'), ('b', 'stove');
CREATE INDEX product_title ON product USING bundle_ann (title);
SELECT create_catalog('shop', 'product', item_id => 'sku', text => '{title}') \g /dev/null
INSERT INTO product VALUES ('c', 'lamp');
SELECT is(pg_temp.pending('product_title'), 1::bigint, 'a product waits');
SELECT refresh('shop') \g /dev/null
SELECT is(pg_temp.pending('product_title'), 0::bigint, 'until refresh');
SELECT load_model('other', :'cls_dir') \g /dev/null
SET bundle_rec.default_model = 'dense';
CREATE INDEX product_other ON product USING bundle_ann (title) WITH (model = 'other');
INSERT INTO product VALUES ('d', 'chair');
SELECT drop_model('other') \g /dev/null
SET client_min_messages = error;
SELECT lives_ok($$SELECT refresh('shop')$$, 'an index whose model is gone does not keep refresh from its work');
RESET client_min_messages;
SELECT is(ARRAY[pg_temp.pending('product_title'), pg_temp.pending('product_other')], '{0,1}', 'on the others');
DROP INDEX product_other;

-- rows that a scan finds waiting, far away, and meets once more in the lists before it hands them out
CREATE TABLE moved (id serial PRIMARY KEY, title text);
CREATE INDEX moved_title ON moved USING bundle_ann (title) WITH (pending = 1000);
CREATE TABLE far AS SELECT title, row_number() OVER (ORDER BY embed(title) <=> embed('a thing')) AS place FROM (SELECT 'thing ' || md5(i::text) FROM generate_series(1, 400) i) t (title);
-- candidates are looked at 16 at a time: with one of these numbers of rows the last look begins at those that move
CREATE FUNCTION pg_temp.while_they_move(near int, OUT waited bigint, OUT waiting bigint, OUT returned bigint, OUT ids bigint)
LANGUAGE plpgsql SET bundle_rec.scan_order = relaxed AS $$
DECLARE
    scan CURSOR FOR SELECT id FROM moved ORDER BY title <=> 'a thing' LIMIT 1000;
    found int[];
BEGIN
    TRUNCATE moved;
    INSERT INTO moved (title) SELECT title FROM far WHERE place <= near;
    PERFORM bundle_ann_flush('moved_title');
    INSERT INTO moved (title) SELECT title FROM far WHERE place > 380;
    waited := pg_temp.pending('moved_title');
    PERFORM pg_temp.use('index');
    FOR row IN scan LOOP
        IF found IS NULL THEN
            PERFORM bundle_ann_flush('moved_title');
        END IF;
        found := found || row.id;
    END LOOP;
    PERFORM pg_temp.use('any');
    waiting := pg_temp.pending('moved_title');
    returned := cardinality(found);
    ids := (SELECT count(DISTINCT id) FROM unnest(found) id);
END $$;
SELECT results_eq('SELECT near, w.* FROM generate_series(365, 380) near, pg_temp.while_they_move(near) w', 'SELECT near, 20::bigint, 0::bigint, near + 20::bigint, near + 20::bigint FROM generate_series(365, 380) near',
    'a scan during which they move returns each row once');

-- tables without WAL

CREATE UNLOGGED TABLE draft (id int, title text);
CREATE INDEX draft_title ON draft USING bundle_ann (title);
INSERT INTO draft SELECT i, 'draft ' || i FROM generate_series(1, 100) i;
SELECT is(bundle_ann_check('draft_title', true), 100::bigint, 'an unlogged table');
CREATE TEMP TABLE scratch (id int, title text);
CREATE INDEX scratch_title ON scratch USING bundle_ann (title);
INSERT INTO scratch SELECT i, 'scratch ' || i FROM generate_series(1, 100) i;
SELECT is(bundle_ann_check('scratch_title', true), 100::bigint, 'a temporary table');

DROP OWNED BY br_ann_keeper, br_ann_writer;
DROP ROLE br_ann_keeper, br_ann_writer;
SELECT * FROM finish();

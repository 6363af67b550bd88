\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
\i test/sql/include/ann.sql
--
-- ann_tools.sql
--    bundle_ann_check, bundle_ann_stats, bundle_ann_recall and bundle_ann_flush:
--    what they say of an index, to whom, and what they refuse.
--
-- Damage that a check must find is the matter of 062_ann_damage.
--
SELECT plan(60);

\o /dev/null
CREATE TABLE v (id int, kind int, embedding embedding);
INSERT INTO v SELECT id, id % 3, embedding FROM pg_temp.clustered(3000, 48, .3);
INSERT INTO v VALUES (0, 0, NULL);
CREATE INDEX v_index ON v USING bundle_ann (embedding);
CREATE INDEX part_index ON v USING bundle_ann (embedding embedding_ip_ops) WHERE kind = 1;
CREATE INDEX expression_index ON v USING bundle_ann ((embedding + embedding) embedding_l2_ops) WITH (recall = .9, lists = 7);
CREATE INDEX btree_index ON v (id);
CREATE TABLE empty (embedding embedding);
CREATE INDEX empty_index ON empty USING bundle_ann (embedding);
CREATE TEMP TABLE own AS SELECT * FROM v;
CREATE INDEX own_index ON own USING bundle_ann (embedding);
CREATE UNLOGGED TABLE unlogged AS SELECT * FROM v;
CREATE INDEX unlogged_index ON unlogged USING bundle_ann (embedding);
CREATE TABLE parted (id int, embedding embedding) PARTITION BY RANGE (id);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (MINVALUE) TO (1000);
CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (1000) TO (MAXVALUE);
INSERT INTO parted SELECT id, embedding FROM v;
CREATE INDEX parted_index ON parted USING bundle_ann (embedding);
\o

-- ---- check ----

SELECT is(bundle_ann_check('v_index'), 3000::bigint, 'rows whose value is not NULL');
SELECT is(bundle_ann_check('v_index', true), 3000::bigint, 'the same, compared with the table');
SELECT is(bundle_ann_check(index => 'part_index', deep => true), 1000::bigint, 'a partial index');
SELECT is(bundle_ann_check('expression_index', true), 3000::bigint, 'an index of an expression');
SELECT is(bundle_ann_check('empty_index', true), 0::bigint, 'an empty one');
SELECT is(bundle_ann_check('own_index', true), 3000::bigint, 'a temporary one');
SELECT is(bundle_ann_check('unlogged_index', true), 3000::bigint, 'an unlogged one');
SELECT is(bundle_ann_check('parted_low_embedding_idx', true) + bundle_ann_check('parted_high_embedding_idx', true), 3000::bigint, 'those of partitions');
\o /dev/null
UPDATE v SET id = id + 10000 WHERE id % 2 = 0;
UPDATE v SET kind = 2 WHERE kind = 1 AND id % 4 = 0;
DELETE FROM v WHERE id % 7 = 0;
SELECT count(*) AS n, count(*) FILTER (WHERE kind = 1) AS part FROM v WHERE embedding IS NOT NULL \gset
\o
SELECT cmp_ok(bundle_ann_check('v_index', true), '>=', :n::bigint, 'rows that are dead are counted until a vacuum');
VACUUM v;
SELECT is(bundle_ann_check('v_index', true), :n::bigint, 'and after it no more');
SELECT is(bundle_ann_check('part_index', true), :part::bigint, 'of a partial index, those that qualify');
BEGIN;
\o /dev/null
INSERT INTO v SELECT 20000 + id, kind, embedding FROM v LIMIT 100;
SAVEPOINT s;
INSERT INTO v SELECT 30000 + id, kind, embedding FROM v LIMIT 100;
ROLLBACK TO s;
\o
SELECT lives_ok($$SELECT bundle_ann_check('v_index', true)$$, 'in a transaction that has rows of its own, and some taken back');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT lives_ok($$SELECT bundle_ann_check('v_index', true)$$, 'under a snapshot of the transaction');
ROLLBACK;
BEGIN READ ONLY;
SELECT lives_ok($$SELECT bundle_ann_check('v_index', true)$$, 'in a read-only transaction');
ROLLBACK;

VACUUM v;

-- ---- stats ----

SELECT results_eq($$SELECT rows, pending, dimensions, metric, model, skipped >= 0 FROM bundle_ann_stats('v_index')$$,
                  format($$VALUES (%s::bigint, 0::bigint, 48, 'cosine', NULL::text, true)$$, :n), 'what an index holds');
SELECT results_eq($$SELECT lists, metric, recall FROM bundle_ann_stats('expression_index')$$, $$VALUES (7, 'l2', .9::float8)$$, 'and what was asked for at its build');
SELECT results_eq($$SELECT metric, recall FROM bundle_ann_stats('part_index')$$, $$VALUES ('inner product', .95::float8)$$, 'or not');
SELECT results_eq($$SELECT pages * 8192 = pg_relation_size('v_index'), pages = 1 + posting_pages + exact_pages + directory_pages + other_pages,
                           abs(bytes_per_row * rows - pages * 8192) < 1, abs(average_list * lists - rows) < 1, shortest_list <= average_list, average_list <= longest_list
                    FROM bundle_ann_stats('v_index')$$, 'VALUES (true, true, true, true, true, true)', 'pages and lists add up');
SELECT is((SELECT exact_pages >= rows / (8192 / 96) FROM bundle_ann_stats('v_index')), true, 'half vectors of 96 bytes each');
SELECT results_eq($$SELECT rows, lists, shortest_list, average_list, bytes_per_row, dimensions, pages FROM bundle_ann_stats('empty_index')$$,
                  $$VALUES (0::bigint, 0, 0::bigint, NULL::float8, NULL::float8, NULL::int, 1::bigint)$$, 'of an empty one');
SELECT cmp_ok(visited, '<=', 1::float8, 'the share of lists that a scan visits') FROM bundle_ann_stats('v_index');

-- ---- recall ----

SET bundle_rec.full_scan_rows = 0;
SELECT cmp_ok(bundle_ann_recall('v_index'), '>=', .9::float8, 'recall of the nearest lists');
SELECT cmp_ok(bundle_ann_recall('v_index', 50, 1), '>=', .85::float8, 'of the nearest row');
SET bundle_rec.probes = 1;
SELECT cmp_ok(bundle_ann_recall('expression_index', 300, 100), '<', .97::float8, 'one list of seven does not hold all of a hundred');
RESET bundle_rec.probes;
SET bundle_rec.full_scan_rows = 1000000;
SELECT cmp_ok(bundle_ann_recall(i, 100, 10), '>=', .97::float8, i || ', all lists') FROM unnest('{v_index,part_index,expression_index}'::text[]) i;
RESET bundle_rec.full_scan_rows;
SELECT is(bundle_ann_recall('empty_index'), NULL, 'no recall without rows');
\o /dev/null
INSERT INTO empty VALUES ('[1,2]');
\o
SELECT is(bundle_ann_recall('empty_index'), NULL, 'nor with one');
\o /dev/null
INSERT INTO empty SELECT '[1,2]' FROM generate_series(1, 50);
\o
SELECT is(bundle_ann_recall('empty_index', 10, 5), 1::float8, 'of equal rows any five are the nearest');
\o /dev/null
INSERT INTO empty VALUES ('[3,4]');
DELETE FROM empty WHERE embedding = '[1,2]';
INSERT INTO empty VALUES ('[5,1]');
\o
SELECT is(bundle_ann_recall('empty_index', 10, 10), 1::float8, 'deleted rows are neither sampled nor near');

-- ---- flush ----

SELECT is(bundle_ann_flush('v_index'), 0::bigint, 'no text waits in an index of embeddings');

-- ---- whom and what they refuse ----

CREATE FUNCTION pg_temp.calls(index text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT format('SELECT bundle_ann_%s(%s)', f, index) FROM unnest('{check,stats,recall,flush}'::text[]) f $$;

SELECT throws_ok(c, '42809', NULL, c || ': of another access method') FROM pg_temp.calls($$'btree_index'$$) c;
SELECT throws_ok(c, '42809', NULL, c || ': a table') FROM pg_temp.calls($$'v'$$) c;
SELECT throws_ok(c, '42809', NULL, c || ': of a partitioned table') FROM pg_temp.calls($$'parted_index'$$) c;
SELECT throws_ok(c, '22004', NULL, c) FROM pg_temp.calls('NULL') c;
SELECT throws_ok($$SELECT bundle_ann_check('v_index', NULL)$$, '22004', NULL, 'deep or not');
SELECT throws_ok($$SELECT bundle_ann_recall('v_index', 0)$$, '22023', 'sample must be from 1 to 100000, and is 0', 'no sample');
SELECT throws_ok($$SELECT bundle_ann_recall('v_index', 10, 10001)$$, '22023', 'k must be from 1 to 10000, and is 10001', 'too many');
SELECT throws_ok(format('SELECT bundle_ann_stats(%s)', 'pg_class'::regclass::oid::int8 + 4000000000), '42809', NULL, 'an index that does not exist');

SET client_min_messages = warning;
DROP ROLE IF EXISTS br_test_reader;
RESET client_min_messages;
CREATE ROLE br_test_reader;
SET ROLE br_test_reader;
SELECT throws_ok(c, '42501', NULL, c || ' by a stranger') FROM pg_temp.calls($$'v_index'$$) c;
RESET ROLE;
GRANT SELECT ON v TO br_test_reader;
SET ROLE br_test_reader;
SELECT lives_ok(c, c || ' by a reader') FROM pg_temp.calls($$'v_index'$$) c WHERE c ~ 'stats|recall';
SELECT throws_ok(c, '42501', 'must be owner of index v_index', c || ' by a reader') FROM pg_temp.calls($$'v_index'$$) c WHERE c ~ 'check|flush';
RESET ROLE;
DROP OWNED BY br_test_reader;
DROP ROLE br_test_reader;

SELECT * FROM finish();

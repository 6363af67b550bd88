\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
\i test/sql/include/ann.sql
--
-- ann_vacuum.sql
--    What becomes of an index of bundle_ann as its rows come and go: lists are
--    divided and put together, room is used again, and nothing gets lost.
--
-- After each step bundle_ann_check compares all rows of index and table.
-- Recall is that of scans of the nearest lists only.
--
SELECT plan(41);

\o /dev/null
SET bundle_rec.full_scan_rows = 0;
CREATE TABLE source AS SELECT * FROM pg_temp.clustered(8000, 32, .3);
CREATE TABLE v (id int, embedding embedding) WITH (autovacuum_enabled = off);
CREATE INDEX v_index ON v USING bundle_ann (embedding embedding_l2_ops);
\o

-- whether the index is whole and has so many rows
CREATE FUNCTION pg_temp.whole(n bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT bundle_ann_check('v_index', true) = n $$;

-- ---- an index that began empty ----

SELECT is(bundle_ann_check('v_index'), 0::bigint, 'an empty index is whole');
VACUUM v;
SELECT ok(pg_temp.whole(0), 'and after a vacuum');
\o /dev/null
INSERT INTO v SELECT * FROM source WHERE id <= 4000;
\o
SELECT ok(pg_temp.whole(4000), 'rows that were inserted');
SELECT is((SELECT lists FROM bundle_ann_stats('v_index')), 1, 'are in one list');
VACUUM v;
SELECT ok(pg_temp.whole(4000), 'after a vacuum they are all there');
SELECT cmp_ok(lists, '>=', 4000 / 500, 'in lists') FROM bundle_ann_stats('v_index');
SELECT cmp_ok(longest_list, '<=', 500::bigint, 'of which none is too long') FROM bundle_ann_stats('v_index');
SELECT cmp_ok(bundle_ann_recall('v_index', 200), '>=', .93::float8, 'that are around their rows');
SELECT is((SELECT reltuples FROM pg_class WHERE relname = 'v_index'), 4000::real, 'and PostgreSQL knows how many');
SELECT ok(lists = l, 'a second vacuum finds nothing to do')
FROM (SELECT lists AS l FROM bundle_ann_stats('v_index')) b, LATERAL (SELECT lists FROM bundle_ann_stats('v_index')) a;

-- ---- rows that are gone ----

\o /dev/null
DELETE FROM v WHERE id / 40 % 5 = 0;
\o
SELECT ok(pg_temp.whole(4000), 'deleted rows stay until a vacuum');
VACUUM v;
SELECT ok(pg_temp.whole(3200), 'which takes them out');
SELECT is(dead, 800::bigint, 'and leaves their slots where few of a list are gone') FROM bundle_ann_stats('v_index');
SELECT is((SELECT reltuples FROM pg_class WHERE relname = 'v_index'), 3200::real, 'PostgreSQL is told');
\o /dev/null
DELETE FROM v WHERE id / 40 % 5 = 1;
\o
VACUUM v;
SELECT ok(pg_temp.whole(2400), 'more of them');
SELECT results_eq($$SELECT * FROM (SELECT id FROM v ORDER BY embedding <-> (SELECT embedding FROM source WHERE id = 200), id LIMIT 1) s$$,
                  $$SELECT v.id FROM v, source s WHERE s.id = 200 ORDER BY v.embedding <-> s.embedding, v.id LIMIT 1$$, 'a deleted row is not its own nearest any more');

-- two long lists, whose dead rows fill pages
\o /dev/null
CREATE TABLE long AS SELECT * FROM source;
CREATE INDEX long_index ON long USING bundle_ann (embedding) WITH (lists = 2);
DELETE FROM long WHERE id % 5 < 2;
\o
VACUUM long;
SELECT is(dead, 0::bigint, 'a list with many is written anew') FROM bundle_ann_stats('long_index');
SELECT is(bundle_ann_check('long_index', true), 4800::bigint, 'without them');
SELECT is(lists, 2, 'as many lists as the index is to have') FROM bundle_ann_stats('long_index');

-- ---- room is used again ----

\o /dev/null
CREATE TABLE size (round int, bytes bigint, whole boolean);
\o
SELECT pg_relation_size('v_index') AS before \gset
SELECT format($$UPDATE v SET embedding = s.embedding FROM source s WHERE s.id = (v.id + %s * 397) %% 8000 + 1$$, round),
       'VACUUM v',
       format($$INSERT INTO size SELECT %s, pg_relation_size('v_index'), pg_temp.whole(2400)$$, round)
FROM generate_series(1, 10) round \gexec
SELECT ok(whole, format('whole after all rows were replaced, round %s', round)) FROM size ORDER BY round;
SELECT cmp_ok(max(bytes), '<=', 2::bigint * :before, 'the index stays within twice its size') FROM size;
SELECT cmp_ok((SELECT bytes FROM size WHERE round = 10), '<=', (SELECT bytes * 11 / 10 FROM size WHERE round = 5), 'and stops growing');
SELECT cmp_ok(bundle_ann_recall('v_index', 200), '>=', .93::float8, 'recall after that');

-- ---- few are left ----

SELECT lists AS before FROM bundle_ann_stats('v_index') \gset
\o /dev/null
DELETE FROM v WHERE id / 40 % 50 <> 3;
\o
VACUUM v;
SELECT ok(pg_temp.whole(80), 'where few are left, they are there');
SELECT cmp_ok(lists, '<=', :before / 2, 'lists are put together') FROM bundle_ann_stats('v_index');
\o /dev/null
DELETE FROM v;
\o
VACUUM v;
SELECT ok(pg_temp.whole(0), 'none is left');
VACUUM v;
SELECT ok(pg_temp.whole(0), 'nor after another vacuum');
\o /dev/null
INSERT INTO v SELECT * FROM source;
\o
SELECT ok(pg_temp.whole(8000), 'and it can be filled again');
VACUUM v;
SELECT ok(pg_temp.whole(8000), 'divided again');
SELECT cmp_ok(bundle_ann_recall('v_index', 200), '>=', .93::float8, 'with the recall of before');

-- ---- rows that cannot be divided ----

\o /dev/null
CREATE TABLE equal (embedding embedding);
CREATE INDEX equal_index ON equal USING bundle_ann (embedding);
INSERT INTO equal SELECT '[1,2,3]' FROM generate_series(1, 3000);
\o
VACUUM equal;
SELECT is(bundle_ann_check('equal_index', true), 3000::bigint, 'rows that are all equal');
SELECT is(lists, 1, 'stay in one list') FROM bundle_ann_stats('equal_index');

SELECT * FROM finish();

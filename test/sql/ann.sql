\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
\i test/sql/include/ann.sql
--
-- ann.sql
--    The index access method bundle_ann on embeddings: what scans find, in
--    which order, and what they refuse.
--
-- Expectations are sorts by the operators themselves, without the index.
--
SELECT plan(78);

\o /dev/null
CREATE TABLE vectors AS SELECT * FROM pg_temp.clustered(6000, 48, .3);
ALTER TABLE vectors ADD tenth int, ADD hundredth int;
UPDATE vectors SET tenth = id % 10, hundredth = id * 7919 % 100;
CREATE TABLE queries AS SELECT * FROM pg_temp.clustered(60, 48, .7);
ANALYZE vectors;
\o

-- ---- three metrics ----

CREATE INDEX by_cosine ON vectors USING bundle_ann (embedding);
CREATE INDEX by_product ON vectors USING bundle_ann (embedding embedding_ip_ops) WITH (lists = 30);
CREATE INDEX by_distance ON vectors USING bundle_ann (embedding embedding_l2_ops) WITH (lists = 30, recall = .99);
SELECT is((SELECT count(*)::int FROM pg_index WHERE indrelid = 'vectors'::regclass AND indisvalid), 3, 'three operator classes');

-- share of the true ten nearest that a scan finds
CREATE FUNCTION pg_temp.recall(operator text, filter text DEFAULT 'true') RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    found bigint;
    nearest bigint;
    ten text := format('SELECT q.id, v.id FROM queries q CROSS JOIN LATERAL (SELECT id FROM vectors WHERE %s ORDER BY embedding %s q.embedding LIMIT 10) v',
                       filter, operator);
BEGIN
    EXECUTE format('SELECT count(*) FROM (SELECT pg_temp.rows_of(%L, ''index'') INTERSECT SELECT pg_temp.rows_of(%1$L, ''sort'')) s', ten) INTO found;
    EXECUTE format('SELECT count(*) FROM pg_temp.rows_of(%L, ''sort'')', ten) INTO nearest;
    RETURN found::numeric / nearest;
END $$;

SELECT ok(pg_temp.uses_index(format('SELECT id FROM vectors ORDER BY embedding %s (SELECT embedding FROM queries WHERE id = 1) LIMIT 10', o)),
          o || ' is answered through an index') FROM unnest('{<=>,<#>,<->}'::text[]) o;
SELECT cmp_ok(pg_temp.recall(o), '>=', .97, o || ': recall of all lists') FROM unnest('{<=>,<#>,<->}'::text[]) o;
SET bundle_rec.full_scan_rows = 0;
SELECT cmp_ok(pg_temp.recall(o), '>=', .93, o || ': recall of the nearest lists') FROM unnest('{<=>,<#>,<->}'::text[]) o;
SET bundle_rec.recall = .999;
SELECT cmp_ok(pg_temp.recall(o), '>=', .985, o || ': recall, aiming at .999') FROM unnest('{<=>,<#>,<->}'::text[]) o;
RESET bundle_rec.recall;
SET bundle_rec.probes = 1;
SELECT cmp_ok(pg_temp.recall('<->'), '<', 1.0, 'one list does not hold them all');
RESET bundle_rec.probes;

-- ---- filters ----

SELECT cmp_ok(pg_temp.recall(o, 'tenth = 3'), '>=', .95, o || ': recall where one of ten rows qualifies') FROM unnest('{<=>,<#>,<->}'::text[]) o;
SELECT cmp_ok(pg_temp.recall(o, 'hundredth = 3'), '>=', .95, o || ': recall where one of a hundred rows qualifies') FROM unnest('{<=>,<#>,<->}'::text[]) o;
SELECT is((SELECT min(n) FROM (SELECT count(*) AS n FROM pg_temp.rows_of(
    'SELECT q.id AS query, v.id FROM queries q CROSS JOIN LATERAL (SELECT id FROM vectors WHERE hundredth = 3 ORDER BY embedding <=> q.embedding LIMIT 10) v', 'index') r
    GROUP BY split_part(r, ',', 1)) s), 10::bigint, 'ten rows wherever ten qualify');
RESET bundle_rec.full_scan_rows;

-- ---- order, and the very end ----

CREATE FUNCTION pg_temp.all_rows(operator text) RETURNS TABLE (n bigint, ids bigint, sorted boolean) LANGUAGE sql AS $$
    SELECT count(*), count(DISTINCT id), bool_and(d >= before)
    FROM (SELECT id, d, lag(d, 1, '-infinity') OVER (ORDER BY o) AS before
          FROM (SELECT split_part(btrim(r, '()'), ',', 1) AS id, split_part(btrim(r, '()'), ',', 2)::float8 AS d, o
                FROM pg_temp.rows_of(format('SELECT id, embedding %s (SELECT embedding FROM queries WHERE id = 2) FROM vectors ORDER BY 2', operator), 'index')
                WITH ORDINALITY AS s (r, o)) t) u $$;

SELECT ok(pg_temp.uses_index(format('SELECT id, embedding %s (SELECT embedding FROM queries WHERE id = 2) FROM vectors ORDER BY 2', o)),
          o || ': all rows come through the index') FROM unnest('{<=>,<#>,<->}'::text[]) o;
SELECT results_eq(format('SELECT ids = n, sorted, n > 5990 FROM pg_temp.all_rows(%L)', o), 'VALUES (true, true, true)',
                  o || ', strict: each row at most once, in order, to the end') FROM unnest('{<=>,<#>,<->}'::text[]) o;
SET bundle_rec.scan_order = relaxed;
SELECT results_eq(format('SELECT n, ids FROM pg_temp.all_rows(%L)', o), 'VALUES (6000::bigint, 6000::bigint)',
                  o || ', relaxed: every row once') FROM unnest('{<=>,<#>,<->}'::text[]) o;
SET bundle_rec.full_scan_rows = 0;
SET bundle_rec.horizon = 1;
SELECT results_eq(format('SELECT n, ids FROM pg_temp.all_rows(%L)', o), 'VALUES (6000::bigint, 6000::bigint)',
                  o || ', relaxed, beginning with few lists: every row once') FROM unnest('{<=>,<#>,<->}'::text[]) o;
RESET bundle_rec.horizon;
SET work_mem = '64kB';
SELECT results_eq(format('SELECT n, ids FROM pg_temp.all_rows(%L)', o), 'VALUES (6000::bigint, 6000::bigint)',
                  o || ', relaxed, in little memory: every row once') FROM unnest('{<=>,<#>,<->}'::text[]) o;
RESET work_mem;
RESET bundle_rec.full_scan_rows;
RESET bundle_rec.scan_order;

-- what the operator gives is what rows were ordered by
SELECT is(pg_temp.rows_of('SELECT embedding <=> (SELECT embedding FROM queries WHERE id = 3) FROM vectors ORDER BY 1 LIMIT 1', 'index'),
          pg_temp.rows_of('SELECT embedding <=> (SELECT embedding FROM queries WHERE id = 3) FROM vectors ORDER BY 1 LIMIT 1', 'sort'),
          'the distance of the nearest row, bit for bit');

-- ---- no order, and many scans ----

SELECT is((SELECT count(*) FROM pg_temp.rows_of('SELECT id FROM vectors ORDER BY embedding <=> NULL', 'index')), 6000::bigint,
          'to a query that is NULL all rows are equally near');
SELECT is((SELECT count(DISTINCT r) FROM pg_temp.rows_of('SELECT q.id, v.id FROM queries q CROSS JOIN LATERAL (SELECT id FROM vectors ORDER BY embedding <=> q.embedding LIMIT 3) v WHERE q.id <= 20', 'index') r),
          60::bigint, 'a scan for each row of another table');

-- ---- cursors ----

BEGIN;
SELECT pg_temp.use('index') \g /dev/null
DECLARE nearest CURSOR FOR SELECT id FROM vectors ORDER BY embedding <=> (SELECT embedding FROM queries WHERE id = 6);
FETCH 5 FROM nearest \g /dev/null
SELECT throws_ok('FETCH BACKWARD 1 FROM nearest', '55000', 'cursor can only scan forward', 'backward is refused');
ROLLBACK;
BEGIN;
SELECT pg_temp.use('index') \g /dev/null
DECLARE nearest SCROLL CURSOR FOR SELECT id FROM vectors ORDER BY embedding <=> (SELECT embedding FROM queries WHERE id = 6);
SELECT set_config('ann.there', (SELECT string_agg(r, ' ') FROM (SELECT id::text AS r FROM vectors ORDER BY embedding <=> (SELECT embedding FROM queries WHERE id = 6) LIMIT 3) s), true) \g /dev/null
MOVE 3 FROM nearest;
FETCH BACKWARD 1 FROM nearest \g /dev/null
SELECT pass('a scroll cursor goes back over what it keeps itself');
ROLLBACK;
SELECT pg_temp.use('any') \g /dev/null

-- ---- changes ----

\o /dev/null
CREATE TABLE changing (id int PRIMARY KEY, embedding embedding);
CREATE INDEX changing_ann ON changing USING bundle_ann (embedding);
\o
SELECT is((SELECT count(*) FROM pg_temp.rows_of('SELECT id FROM changing ORDER BY embedding <=> (SELECT embedding FROM queries WHERE id = 1)', 'index')), 0::bigint,
          'an empty index has no rows, whatever the dimensions');
INSERT INTO changing SELECT id, embedding FROM vectors WHERE id <= 700;
SELECT results_eq($$SELECT pg_temp.rows_of('SELECT id FROM changing ORDER BY embedding <=> (SELECT embedding FROM queries WHERE id = 1) LIMIT 10', 'index')$$,
                  $$SELECT pg_temp.rows_of('SELECT id FROM changing ORDER BY embedding <=> (SELECT embedding FROM queries WHERE id = 1) LIMIT 10', 'sort')$$,
                  'rows inserted into an empty index');
DELETE FROM changing WHERE id % 3 = 0;
UPDATE changing SET embedding = l2_normalize(embedding) WHERE id % 5 = 0;
UPDATE changing SET embedding = NULL WHERE id % 7 = 0;
SELECT results_eq($$SELECT pg_temp.rows_of('SELECT id FROM changing WHERE embedding IS NOT NULL ORDER BY embedding <=> (SELECT embedding FROM queries WHERE id = 1) LIMIT 10', 'index')$$,
                  $$SELECT pg_temp.rows_of('SELECT id FROM changing WHERE embedding IS NOT NULL ORDER BY embedding <=> (SELECT embedding FROM queries WHERE id = 1) LIMIT 10', 'sort')$$,
                  'rows deleted, changed, and made NULL');
BEGIN;
INSERT INTO changing SELECT 0, embedding FROM queries WHERE id = 1;
SELECT is((SELECT string_agg(r, '') FROM pg_temp.rows_of('SELECT id FROM changing ORDER BY embedding <=> (SELECT embedding FROM queries WHERE id = 1) LIMIT 1', 'index') r), '(0)', 'a transaction sees its own row');
ROLLBACK;
SELECT isnt((SELECT string_agg(r, '') FROM pg_temp.rows_of('SELECT id FROM changing ORDER BY embedding <=> (SELECT embedding FROM queries WHERE id = 1) LIMIT 1', 'index') r), '(0)', 'rolled back, nobody does');
TRUNCATE changing;
INSERT INTO changing VALUES (1, '[1,2,3]'), (2, '[3,2,1]');
SELECT is((SELECT string_agg(r, '') FROM pg_temp.rows_of('SELECT id FROM changing ORDER BY embedding <=> ''[3,2,1]''', 'index') r), '(2)(1)', 'after TRUNCATE other dimensions may come');

-- ---- what does not fit ----

SELECT throws_ok($$INSERT INTO changing VALUES (3, '[1,2]')$$, '22000',
                 'an embedding of 2 dimensions does not fit index "changing_ann", which has 3', 'other dimensions are refused');
SELECT throws_ok($$SELECT pg_temp.rows_of('SELECT id FROM changing ORDER BY embedding <=> ''[1,2]''', 'index')$$, '22000',
                 'different numbers of dimensions: 3 and 2', 'of a query too');
SELECT throws_ok($$CREATE TABLE mixed AS SELECT ('[1' || repeat(',1', n) || ']')::embedding AS e FROM generate_series(1, 2) n;
                   CREATE INDEX ON mixed USING bundle_ann (e)$$, '22000',
                 'embeddings of 2 and of 3 dimensions cannot be in one index', 'and in a build');
SELECT throws_ok($$CREATE TABLE large AS SELECT array_fill(1::real, '{4001}')::embedding AS e; CREATE INDEX ON large USING bundle_ann (e)$$, '54000',
                 'an embedding of 4001 dimensions cannot be indexed', 'too many dimensions');
SELECT lives_ok($$CREATE TABLE large AS SELECT array_fill(n::real / 7, '{4000}')::embedding || '' AS e FROM generate_series(1, 40) n; ALTER TABLE large ALTER e TYPE embedding USING e::embedding;
                  CREATE INDEX ON large USING bundle_ann (e embedding_l2_ops)$$, 'the most');
SELECT is((SELECT string_agg(r, '') FROM pg_temp.rows_of('SELECT round((e::real[])[1]) FROM large ORDER BY e <-> array_fill(3::real, ''{4000}'')::embedding LIMIT 1', 'index') r), '(3)', 'are found too');
SELECT throws_ok($$CREATE INDEX ON changing USING bundle_ann (embedding) WITH (recall = 1)$$, '22023', NULL, 'recall has a range');
SELECT throws_ok($$CREATE INDEX ON changing USING bundle_ann (embedding) WITH (lists = -1)$$, '22023', NULL, 'so has lists');
SELECT throws_ok($$CREATE INDEX ON changing USING bundle_ann (embedding) WITH (m = 16)$$, '22023', NULL, 'an option of another access method');
SELECT throws_ok($$CREATE INDEX ON changing USING bundle_ann (id)$$, '42704', NULL, 'a column of another type');
SELECT throws_ok($$CREATE INDEX ON changing USING bundle_ann (embedding, embedding)$$, '0A000', NULL, 'two columns');
SELECT throws_ok($$CREATE UNIQUE INDEX ON changing USING bundle_ann (embedding)$$, '0A000', NULL, 'a unique index');
SELECT throws_ok($$SET bundle_rec.recall = .4$$, '22023', NULL, 'a recall below its range');

-- ---- zero vectors and equal ones ----

\o /dev/null
CREATE TABLE zero AS SELECT n AS id, CASE WHEN n % 4 = 0 THEN '[0,0,0]' ELSE '[1,' || n % 4 || ',-1]' END::embedding AS e FROM generate_series(1, 2000) n;
CREATE INDEX ON zero USING bundle_ann (e);
ANALYZE zero;
SET bundle_rec.scan_order = relaxed;
\o
SELECT is((SELECT array_agg(DISTINCT d ORDER BY d) FROM (SELECT r::numeric(9, 6) AS d FROM (SELECT btrim(r, '()')::numeric AS r FROM pg_temp.rows_of('SELECT e <=> ''[1,2,-1]'' FROM zero ORDER BY e <=> ''[1,2,-1]'' LIMIT 500', 'index') r) s) t),
          '{0.000000}', 'five hundred equal rows');
SELECT is((SELECT count(*) FROM pg_temp.rows_of('SELECT id FROM zero ORDER BY e <=> ''[1,2,-1]''', 'index')), 2000::bigint, 'and all others, those without a direction too');
SELECT is((SELECT count(*) FROM pg_temp.rows_of('SELECT id FROM zero ORDER BY e <=> ''[0,0,0]''', 'index')), 2000::bigint, 'to the zero vector all are at distance 1');
RESET bundle_rec.scan_order;

-- ---- kinds of tables and indexes ----

\o /dev/null
CREATE TABLE parted (id int, embedding embedding) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (2000);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (2000) TO (9000);
INSERT INTO parted SELECT id, embedding FROM vectors WHERE id < 4000;
CREATE INDEX parted_ann ON parted USING bundle_ann (embedding);
CREATE UNLOGGED TABLE unlogged AS SELECT id, embedding FROM vectors WHERE id < 2000;
CREATE INDEX unlogged_ann ON unlogged USING bundle_ann (embedding);
CREATE TEMP TABLE temporary AS SELECT id, embedding FROM vectors WHERE id < 2000;
CREATE INDEX temporary_ann ON temporary USING bundle_ann (embedding);
CREATE TABLE partial AS SELECT id, embedding FROM vectors WHERE id < 2000;
CREATE INDEX partial_ann ON partial USING bundle_ann (embedding) WHERE id < 500;
CREATE TABLE expressed AS SELECT id, embedding FROM vectors WHERE id < 2000;
CREATE INDEX expressed_ann ON expressed USING bundle_ann (l2_normalize(embedding) embedding_l2_ops);
\o
CREATE FUNCTION pg_temp.same(source text, ordering text, what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    query text := format('SELECT id FROM %s ORDER BY %s LIMIT 8', source, ordering);
BEGIN
    IF NOT pg_temp.uses_index(query) THEN
        RETURN fail(what || ' (no index in the plan)');
    END IF;
    RETURN results_eq(format('SELECT pg_temp.rows_of(%L, ''index'')', query), format('SELECT pg_temp.rows_of(%L, ''sort'')', query), what);
END $$;
SELECT pg_temp.same('parted', 'embedding <=> (SELECT embedding FROM queries WHERE id = 7)', 'a partitioned table');
SELECT pg_temp.same('unlogged', 'embedding <=> (SELECT embedding FROM queries WHERE id = 7)', 'an unlogged table');
SELECT pg_temp.same('temporary', 'embedding <=> (SELECT embedding FROM queries WHERE id = 7)', 'a temporary table');
SELECT pg_temp.same('partial WHERE id < 500', 'embedding <=> (SELECT embedding FROM queries WHERE id = 7)', 'a partial index');
SELECT pg_temp.same('expressed', 'l2_normalize(embedding) <-> (SELECT l2_normalize(embedding) FROM queries WHERE id = 7)', 'an index of an expression');
INSERT INTO parted SELECT 8000 + id, embedding FROM queries;
INSERT INTO unlogged SELECT 8000 + id, embedding FROM queries;
INSERT INTO temporary SELECT 8000 + id, embedding FROM queries;
INSERT INTO expressed SELECT 8000 + id, embedding FROM queries;
SELECT pg_temp.same('parted', 'embedding <=> (SELECT embedding FROM queries WHERE id = 7)', 'a partitioned table with new rows');
SELECT pg_temp.same('unlogged', 'embedding <=> (SELECT embedding FROM queries WHERE id = 7)', 'an unlogged table with new rows');
SELECT pg_temp.same('temporary', 'embedding <=> (SELECT embedding FROM queries WHERE id = 7)', 'a temporary table with new rows');
SELECT pg_temp.same('expressed', 'l2_normalize(embedding) <-> (SELECT l2_normalize(embedding) FROM queries WHERE id = 7)', 'an index of an expression with new rows');
REINDEX INDEX unlogged_ann;
SELECT pg_temp.same('unlogged', 'embedding <=> (SELECT embedding FROM queries WHERE id = 7)', 'after REINDEX');
ALTER TABLE unlogged SET LOGGED;
SELECT pg_temp.same('unlogged', 'embedding <=> (SELECT embedding FROM queries WHERE id = 7)', 'after SET LOGGED');
SELECT throws_ok('CLUSTER parted_1 USING parted_1_embedding_idx', '0A000', NULL, 'tables are not clustered on such an index');

-- ---- concurrently, since these need a transaction of their own ----

CREATE INDEX CONCURRENTLY later ON partial USING bundle_ann (embedding);
REINDEX INDEX CONCURRENTLY expressed_ann;
DROP INDEX partial_ann;
SELECT pg_temp.same('partial', 'embedding <=> (SELECT embedding FROM queries WHERE id = 8)', 'CREATE INDEX CONCURRENTLY');
SELECT pg_temp.same('expressed', 'l2_normalize(embedding) <-> (SELECT l2_normalize(embedding) FROM queries WHERE id = 8)', 'REINDEX INDEX CONCURRENTLY');

-- the same rows give the same index, with threads or without
\o /dev/null
SET max_parallel_maintenance_workers = 0;
CREATE INDEX one_thread ON vectors USING bundle_ann (embedding);
SET max_parallel_maintenance_workers = 2;
SET min_parallel_table_scan_size = 0;
ALTER TABLE vectors SET (parallel_workers = 2);
CREATE INDEX more_threads ON vectors USING bundle_ann (embedding);
CREATE EXTENSION IF NOT EXISTS pageinspect SCHEMA public;
\o
SELECT is((SELECT md5(string_agg(md5(substr(get_raw_page('one_thread', b), 25)), '' ORDER BY b)) FROM generate_series(0, pg_relation_size('one_thread')::int / 8192 - 1) b),
          (SELECT md5(string_agg(md5(substr(get_raw_page('more_threads', b), 25)), '' ORDER BY b)) FROM generate_series(0, pg_relation_size('more_threads')::int / 8192 - 1) b),
          'threads build the same index, byte for byte');
SELECT * FROM finish();

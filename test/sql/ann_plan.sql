\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- ann_plan.sql
--    Which queries the planner answers from a bundle_ann index, and which by an
--    exact sort. Only shapes of plans are looked at, never their costs.
--
SELECT plan(70);
SET client_min_messages = warning;
SET search_path = public, bundle_rec;
SET max_parallel_workers_per_gather = 0;

-- 20,000 embeddings of 24 dimensions around 40 centres, from a hash: the same in each run
CREATE FUNCTION noise(seed text) RETURNS double precision LANGUAGE sql IMMUTABLE AS
$$SELECT (('x' || substr(md5(seed), 1, 8))::bit(32)::bigint / 4294967296.0 - 0.5)::float8$$;
CREATE TABLE thing AS
SELECT i AS id, i % 40 AS kind, i % 2000 AS maker, noise('price' || i) + 0.5 AS price,
       (SELECT array_agg(noise((i % 40) || '/' || d) + noise(i || ':' || d) ORDER BY d)
        FROM generate_series(1, 24) d)::embedding(24) AS embedding
FROM generate_series(1, 20000) i;
ALTER TABLE thing ADD PRIMARY KEY (id);
CREATE INDEX thing_maker ON thing (maker);
CREATE INDEX thing_ann ON thing USING bundle_ann (embedding);
VACUUM ANALYZE thing;

-- a plan as `Limit(Sort(Seq Scan))`, each node with its index
CREATE FUNCTION shape(plan jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN concat_ws(' ', plan->>'Node Type', plan->>'Index Name') ||
        coalesce('(' || (SELECT string_agg(shape(child), ', ' ORDER BY place)
                         FROM jsonb_array_elements(plan->'Plans') WITH ORDINALITY c (child, place)) || ')', '');
END $$;

-- $q$ in a statement stands for the embedding of row 17, as a constant
CREATE FUNCTION plan_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    plan jsonb;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) ' ||
        replace(statement, '$q$', (SELECT quote_literal(embedding) || '::embedding' FROM thing WHERE id = 17)) INTO plan;
    RETURN shape(plan->0->'Plan');
END $$;

---- an order and a LIMIT ----

\set nearest '''Limit(Index Scan thing_ann)'''
\set sorted '''Limit(Sort(Seq Scan))'''
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <=> $q$ LIMIT 10'), :nearest, 'ORDER BY and LIMIT');
SELECT is(plan_of('SELECT id FROM thing ORDER BY $q$ <=> embedding LIMIT 10'), :nearest, 'the operands the other way round');
SELECT is(plan_of('SELECT id, embedding <=> $q$ AS distance FROM thing ORDER BY distance LIMIT 10'), :nearest, 'the distance selected');
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <=> $q$ LIMIT 1000'), :nearest, 'a twentieth of the table');
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <=> $q$ LIMIT 12000'), :sorted, 'more than half of the table');
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <=> $q$'), 'Sort(Seq Scan)', 'no LIMIT');
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <=> $q$ OFFSET 100 LIMIT 10'), :nearest, 'a small OFFSET');
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <=> $q$ OFFSET 15000 LIMIT 10'), :sorted, 'a large OFFSET');
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <=> $q$ LIMIT 10 FOR UPDATE'), 'Limit(LockRows(Index Scan thing_ann))',
          'FOR UPDATE');
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <=> (SELECT embedding FROM thing WHERE id = 5) LIMIT 10'),
          'Limit(Index Scan thing_pkey, Index Scan thing_ann)', 'a query from a subquery');

---- orders that the index does not give ----

SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <=> $q$ DESC LIMIT 10'), :sorted, 'farthest first');
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <-> $q$ LIMIT 10'), :sorted, 'another operator than the class has');
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <#> $q$ LIMIT 10'), :sorted, 'and the third one');
SELECT is(plan_of('SELECT id FROM thing ORDER BY 1 - (embedding <=> $q$) LIMIT 10'), :sorted, 'an expression of the distance');
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <=> $q$, id LIMIT 10'), :sorted, 'a second key');
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <=> $q$, embedding <=> l2_normalize($q$) LIMIT 10'), :sorted,
          'two orders, each of which the index has');
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <=> (array_fill(random(), ''{24}''))::embedding LIMIT 10'), :sorted,
          'a query that is another for each row');
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <=> NULL LIMIT 10'), 'Limit(Seq Scan)', 'a NULL orders nothing');
SELECT is(plan_of('SELECT id FROM (SELECT id, kind FROM thing ORDER BY embedding <=> $q$ LIMIT 50) near ORDER BY kind, id LIMIT 5'),
          'Limit(Sort(Subquery Scan(Limit(Index Scan thing_ann))))', 'so a second key goes outside');

---- filters ----

SELECT is(plan_of('SELECT id FROM thing WHERE price < 0.3 ORDER BY embedding <=> $q$ LIMIT 10'), :nearest, 'a filter without an index, 30 %');
SELECT is(plan_of('SELECT id FROM thing WHERE kind = 3 ORDER BY embedding <=> $q$ LIMIT 10'), :nearest, 'and 2.5 %');
SELECT is(plan_of('SELECT id FROM thing WHERE price BETWEEN 0.1 AND 0.1005 ORDER BY embedding <=> $q$ LIMIT 10'), :sorted,
          'where fewer than LIMIT pass, the table is read anyway');
SELECT is(plan_of('SELECT id FROM thing WHERE maker = 3 ORDER BY embedding <=> $q$ LIMIT 10'),
          'Limit(Sort(Bitmap Heap Scan(Bitmap Index Scan thing_maker)))', 'a selective filter with an index: 10 rows');
SELECT is(plan_of('SELECT id FROM thing WHERE id BETWEEN 100 AND 300 ORDER BY embedding <=> $q$ LIMIT 10'),
          'Limit(Sort(Index Scan thing_pkey))', '200 rows');
SELECT is(plan_of('SELECT id FROM thing WHERE id > 100 ORDER BY embedding <=> $q$ LIMIT 10'), :nearest, 'nearly all rows');
SELECT is(plan_of('SELECT id FROM thing WHERE embedding <=> $q$ < 0.4 ORDER BY embedding <=> $q$ LIMIT 10'), :nearest, 'a largest distance');
SELECT is(plan_of('SELECT id FROM thing WHERE embedding <=> $q$ < 0.4'), 'Seq Scan', 'which alone is no order');

---- no order at all ----

SET enable_seqscan = off;
SELECT is(plan_of('SELECT embedding FROM thing'), 'Seq Scan', 'an index is not for reading the table, though enable_seqscan is off');
SELECT is(plan_of('SELECT id FROM thing WHERE embedding <=> $q$ < 0.4'), 'Seq Scan', 'nor for conditions');
SET enable_sort = off;
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <-> $q$ LIMIT 10'), :sorted, 'nor for another order, though enable_sort is off');
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <=> $q$, embedding <=> l2_normalize($q$) LIMIT 10'), :sorted, 'nor for two');
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <=> $q$'), 'Index Scan thing_ann', 'but for all rows in its own');
RESET enable_sort;
RESET enable_seqscan;
SET enable_indexscan = off;
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <=> $q$ LIMIT 10'), :sorted, 'enable_indexscan = off gives the exact answer');
RESET enable_indexscan;

---- larger queries ----

SELECT is(plan_of('WITH near AS MATERIALIZED (SELECT id, price FROM thing ORDER BY embedding <=> $q$ LIMIT 50) SELECT * FROM near ORDER BY price'),
          'Sort(Limit(Index Scan thing_ann), CTE Scan)', 'CTE');
SELECT is(plan_of('(SELECT id FROM thing ORDER BY embedding <=> $q$ LIMIT 5) UNION ALL (SELECT id FROM thing ORDER BY embedding <=> l2_normalize($q$) LIMIT 5)'),
          'Append(Subquery Scan(Limit(Index Scan thing_ann)), Subquery Scan(Limit(Index Scan thing_ann)))', 'UNION ALL');
SELECT is(plan_of('SELECT kind, count(*) FROM (SELECT kind FROM thing ORDER BY embedding <=> $q$ LIMIT 100) near GROUP BY kind'),
          'Aggregate(Limit(Index Scan thing_ann))', 'aggregate of the nearest');
SELECT is(plan_of('SELECT i.id, n.id FROM thing i, LATERAL (SELECT id FROM thing ORDER BY embedding <=> i.embedding LIMIT 5) n WHERE i.id <= 20'),
          'Nested Loop(Index Scan thing_pkey, Limit(Index Scan thing_ann))', 'LATERAL: a scan for each outer row');
SELECT is(plan_of('SELECT (SELECT id FROM thing n WHERE n.id <> i.id ORDER BY n.embedding <=> i.embedding LIMIT 1) FROM thing i'),
          'Seq Scan(Limit(Index Scan thing_ann))', 'a subquery for each row of the whole table');
SELECT is(plan_of('SELECT thing.id FROM thing JOIN (VALUES (1), (2)) v (k) ON thing.kind = v.k ORDER BY embedding <=> $q$ LIMIT 10'),
          'Limit(Nested Loop(Index Scan thing_ann, Materialize(Values Scan)))', 'a join keeps the order of its outer side');
SELECT is(plan_of('SELECT id FROM thing i WHERE EXISTS (SELECT FROM thing j WHERE j.id = i.id + 1) ORDER BY embedding <=> $q$ LIMIT 10'),
          'Limit(Nested Loop(Index Scan thing_ann, Index Only Scan thing_pkey))', 'a semi-join does');
SELECT is(plan_of('UPDATE thing SET price = 1 WHERE id IN (SELECT id FROM thing ORDER BY embedding <=> $q$ LIMIT 3)') ~ 'Limit\(Index Scan thing_ann\)',
          true, 'rows to update');

---- prepared statements ----

PREPARE near (embedding) AS SELECT id FROM thing ORDER BY embedding <=> $1 LIMIT 10;
PREPARE first_rows (embedding, integer) AS SELECT id FROM thing ORDER BY embedding <=> $1 LIMIT $2;
SET plan_cache_mode = force_custom_plan;
SELECT is(plan_of('EXECUTE near($q$)'), :nearest, 'custom plan');
SELECT is(plan_of('EXECUTE first_rows($q$, 12000)'), :sorted, 'which knows its LIMIT');
SET plan_cache_mode = force_generic_plan;
SELECT is(plan_of('EXECUTE near($q$)'), :nearest, 'generic plan');
SELECT is(plan_of('EXECUTE first_rows($q$, 10)'), :nearest, 'which takes a LIMIT for a tenth of the table at most');
RESET plan_cache_mode;

---- partial indexes, expressions, other classes ----

DROP INDEX thing_ann;
CREATE INDEX thing_cheap ON thing USING bundle_ann (embedding) WHERE price < 0.2;
SELECT is(plan_of('SELECT id FROM thing WHERE price < 0.2 ORDER BY embedding <=> $q$ LIMIT 10'), 'Limit(Index Scan thing_cheap)',
          'the predicate of a partial index');
SELECT is(plan_of('SELECT id FROM thing WHERE price < 0.1 ORDER BY embedding <=> $q$ LIMIT 10'), 'Limit(Index Scan thing_cheap)',
          'and a narrower one');
SELECT is(plan_of('SELECT id FROM thing WHERE price < 0.3 ORDER BY embedding <=> $q$ LIMIT 10'), :sorted, 'but not a wider one');
SELECT is(plan_of('SELECT id FROM thing WHERE price < 0.2'), 'Seq Scan', 'nor the predicate alone');
DROP INDEX thing_cheap;

CREATE INDEX thing_unit ON thing USING bundle_ann (l2_normalize(embedding) embedding_l2_ops);
SELECT is(plan_of('SELECT id FROM thing ORDER BY l2_normalize(embedding) <-> l2_normalize($q$) LIMIT 10'), 'Limit(Index Scan thing_unit)',
          'index on an expression');
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <-> $q$ LIMIT 10'), :sorted, 'which is not the column');
CREATE INDEX thing_ip ON thing USING bundle_ann (embedding embedding_ip_ops);
SELECT is(plan_of('SELECT id FROM thing ORDER BY embedding <#> $q$ LIMIT 10'), 'Limit(Index Scan thing_ip)', 'inner products');

---- partitions ----

CREATE TABLE parted (id integer, embedding embedding(24)) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (1) TO (10001);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10001) TO (20001);
INSERT INTO parted SELECT id, embedding FROM thing;
CREATE INDEX parted_ann ON parted USING bundle_ann (embedding);
ANALYZE parted;
SELECT is(plan_of('SELECT id FROM parted ORDER BY embedding <=> $q$ LIMIT 10'),
          'Limit(Merge Append(Index Scan parted_1_embedding_idx, Index Scan parted_2_embedding_idx))', 'partitions are merged in order');
SELECT is(plan_of('SELECT id FROM parted WHERE id >= 10001 ORDER BY embedding <=> $q$ LIMIT 10'), 'Limit(Index Scan parted_2_embedding_idx)',
          'pruned ones are not read');
SELECT is(plan_of('SELECT id FROM parted ORDER BY embedding <=> $q$'), 'Sort(Append(Seq Scan, Seq Scan))', 'no LIMIT');

---- little or nothing known ----

CREATE TABLE young (id integer, embedding embedding(24)) WITH (autovacuum_enabled = off);
CREATE INDEX young_ann ON young USING bundle_ann (embedding);
SELECT results_eq('SELECT id FROM young ORDER BY embedding <=> (SELECT embedding FROM thing WHERE id = 17) LIMIT 10',
                  'SELECT 1 WHERE false', 'an empty index');
INSERT INTO young SELECT id, embedding FROM thing WHERE id <= 5000;
SELECT is(plan_of('SELECT id FROM young ORDER BY embedding <=> $q$ LIMIT 10'), 'Limit(Index Scan young_ann)', 'never analyzed');
TRUNCATE young;
INSERT INTO young SELECT id, embedding FROM thing WHERE id <= 10;
ANALYZE young;
SELECT is(plan_of('SELECT id FROM young ORDER BY embedding <=> $q$ LIMIT 10'), 'Limit(Sort(Seq Scan))', 'ten rows on one page');

---- settings that change the price ----

CREATE INDEX thing_ann ON thing USING bundle_ann (embedding);
CREATE FUNCTION price_of_first(setting text, value text) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    PERFORM set_config('bundle_rec.' || setting, value, true);
    EXECUTE format('EXPLAIN (FORMAT json) SELECT id FROM thing ORDER BY embedding <=> %L LIMIT 1', (SELECT embedding FROM thing WHERE id = 17)) INTO plan;
    RETURN plan->0->'Plan'->'Startup Cost';
END $$;
SELECT ok(price_of_first('full_scan_rows', '30000') > price_of_first('full_scan_rows', '0')
          AND price_of_first('probes', '40') > price_of_first('probes', '4'), 'what is read first counts from the start');

---- texts ----

SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls'), load_model('other', :'golden_dir' || '/models/tiny-mpnet-mean') \g /dev/null
SET bundle_rec.default_model = tiny;
CREATE TABLE title AS SELECT i AS id, i % 400 AS maker, 'cup ' || i AS name FROM generate_series(1, 2000) i;
ALTER TABLE title ADD PRIMARY KEY (id);
CREATE INDEX title_maker ON title (maker);
CREATE INDEX title_ann ON title USING bundle_ann (name);
VACUUM ANALYZE title;
SELECT is(plan_of('SELECT id FROM title ORDER BY name <=> ''red cup'' LIMIT 10'), 'Limit(Index Scan title_ann)', 'nearest texts');
SELECT is(plan_of('SELECT id FROM title WHERE maker < 200 ORDER BY name <=> ''red cup'' LIMIT 10'), 'Limit(Index Scan title_ann)', 'half of them');
SELECT is(plan_of('SELECT id FROM title WHERE maker BETWEEN 10 AND 29 ORDER BY name <=> ''red cup'' LIMIT 10'), 'Limit(Index Scan title_ann)',
          'a scan returns ten, a sort would embed a hundred');
SELECT is(plan_of('SELECT id FROM title WHERE id BETWEEN 10 AND 14 ORDER BY name <=> ''red cup'' LIMIT 10'), 'Limit(Sort(Index Scan title_pkey))',
          'it embeds five without more ado');
SELECT is(plan_of('SELECT id FROM title ORDER BY name <=> ''red cup'''), 'Index Scan title_ann', 'all: a sort would embed them all');
SELECT is(plan_of('SELECT id FROM title ORDER BY name <-> ''red cup'' LIMIT 10'), :sorted, 'but for another operator');
SELECT is(plan_of('SELECT id FROM title WHERE name <=> ''red cup'' < 0.5'), 'Seq Scan', 'or a condition alone');
SET bundle_rec.default_model = other;
SELECT is(plan_of('SELECT id FROM title ORDER BY name <=> ''red cup'' LIMIT 10'), :sorted, 'an index of another model than the operator''s is none');
SET bundle_rec.default_model = gone;
SELECT is(plan_of('SELECT id FROM title ORDER BY name <=> ''red cup'' LIMIT 10'), :sorted, 'the planner leaves it to the operator to miss a model');
RESET bundle_rec.default_model;
SELECT is(plan_of('SELECT id FROM title ORDER BY name <=> ''red cup'' LIMIT 10'), :sorted, 'or to find that there are two');
SELECT drop_model('other') \g /dev/null
SELECT is(plan_of('SELECT id FROM title ORDER BY name <=> ''red cup'' LIMIT 10'), 'Limit(Index Scan title_ann)', 'the only one needs no name');

SELECT * FROM finish();

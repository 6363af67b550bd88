\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- ann_plan.sql
--    Which queries the planner answers from a bundle_ann index, and which by an
--    exact sort. Only the shape of plans is looked at, never their costs.
--
SELECT plan(46);
SET client_min_messages = warning;
SET max_parallel_workers_per_gather = 0;
SET jit = off;

-- 20,000 embeddings of 24 dimensions around 40 centres, from a hash: the same in each run
CREATE FUNCTION pg_temp.noise(seed text) RETURNS double precision LANGUAGE sql IMMUTABLE AS
$$SELECT (('x' || substr(md5(seed), 1, 8))::bit(32)::bigint / 4294967296.0 - 0.5)::float8$$;
CREATE TABLE item AS
SELECT i AS id, i % 40 AS kind, i % 2000 AS maker, pg_temp.noise('price' || i) + 0.5 AS price,
       (SELECT array_agg(pg_temp.noise((i % 40) || '/' || d) + pg_temp.noise(i || ':' || d) ORDER BY d)
        FROM generate_series(1, 24) d)::embedding(24) AS embedding
FROM generate_series(1, 20000) i;
ALTER TABLE item ADD PRIMARY KEY (id);
CREATE INDEX item_maker ON item (maker);
CREATE INDEX item_ann ON item USING bundle_ann (embedding);
VACUUM ANALYZE item;
SELECT embedding AS q FROM item WHERE id = 17 \gset

-- the nodes of a plan from the top, each with its index; conditions and what subplans are called are left out
CREATE FUNCTION pg_temp.nodes(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    line text;
    shape text := '';
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || statement LOOP
        line := substring(line FROM '^(?:\s*->)?\s*((?:Limit|Sort|Incremental Sort|Seq Scan|Index Scan|Bitmap|Nested|Hash|Merge|'
                                    'Append|Unique|Aggregate|CTE Scan|Subquery Scan|WindowAgg|Materialize|Memoize|Result).*)');
        -- not `Sort Key`, `Hash Cond` and the like
        CONTINUE WHEN line IS NULL OR line ~ '^\S+( \S+)?: ';
        line := regexp_replace(line, ' on (?:item|part_\d|far)(?:_\d+)?(?: \w+)?$', '');
        line := regexp_replace(line, ' on (?:item|part_\d|far)(?:_\d+)? \w+', '');
        shape := concat_ws(' > ', nullif(shape, ''), line);
    END LOOP;
    RETURN shape;
END $$;

-- $q$ stands for the query's vector
CREATE FUNCTION pg_temp.plan_of(statement text, query embedding) RETURNS text LANGUAGE sql AS
$$SELECT pg_temp.nodes(replace(statement, '$q$', quote_literal(query) || '::embedding'))$$;
\set nodes 'SELECT pg_temp.plan_of('

SELECT pg_temp.plan_of(statement, :'q') AS plan, statement FROM (VALUES
 ('SELECT id FROM item ORDER BY embedding <=> $q$ LIMIT 10'),
 ('SELECT id FROM item ORDER BY $q$ <=> embedding LIMIT 10'),
 ('SELECT id, embedding <=> $q$ AS distance FROM item ORDER BY distance LIMIT 10'),
 ('SELECT id FROM item WHERE price < 0.3 ORDER BY embedding <=> $q$ LIMIT 10'),
 ('SELECT id FROM item WHERE kind = 3 ORDER BY embedding <=> $q$ LIMIT 10'),
 ('SELECT id FROM item WHERE maker = 3 ORDER BY embedding <=> $q$ LIMIT 10'),
 ('SELECT id FROM item WHERE id BETWEEN 100 AND 300 ORDER BY embedding <=> $q$ LIMIT 10'),
 ('SELECT id FROM item WHERE id > 100 ORDER BY embedding <=> $q$ LIMIT 10'),
 ('SELECT id FROM item WHERE id = 3 ORDER BY embedding <=> $q$ LIMIT 10'),
 ('SELECT id FROM item ORDER BY embedding <=> $q$'),
 ('SELECT id FROM item ORDER BY embedding <=> $q$ LIMIT 12000'),
 ('SELECT id FROM item ORDER BY embedding <=> $q$ LIMIT 1000'),
 ('SELECT id FROM item ORDER BY embedding <=> $q$ OFFSET 100 LIMIT 10'),
 ('SELECT id FROM item ORDER BY embedding <=> $q$ OFFSET 15000 LIMIT 10'),
 ('SELECT id FROM item ORDER BY embedding <=> (SELECT embedding FROM item WHERE id = 5) LIMIT 10'),
 ('SELECT id FROM item ORDER BY embedding <=> $q$ DESC LIMIT 10'),
 ('SELECT id FROM item ORDER BY embedding <-> $q$ LIMIT 10'),
 ('SELECT id FROM item ORDER BY embedding <#> $q$ LIMIT 10'),
 ('SELECT id FROM item ORDER BY embedding <=> $q$, id LIMIT 10'),
 ('SELECT id FROM item ORDER BY embedding <=> $q$ + 0 LIMIT 10'),
 ('SELECT id FROM item ORDER BY 1 - (embedding <=> $q$) LIMIT 10'),
 ('SELECT * FROM (SELECT id, price FROM item ORDER BY embedding <=> $q$ LIMIT 50) near ORDER BY price LIMIT 5'),
 ('WITH near AS MATERIALIZED (SELECT id, price FROM item ORDER BY embedding <=> $q$ LIMIT 50) SELECT * FROM near ORDER BY price'),
 ('(SELECT id FROM item ORDER BY embedding <=> $q$ LIMIT 5) UNION ALL (SELECT id FROM item ORDER BY embedding <=> ''[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]'' LIMIT 5)'),
 ('SELECT id FROM item WHERE embedding <=> $q$ < 0.4 ORDER BY embedding <=> $q$ LIMIT 10'),
 ('SELECT id FROM item WHERE embedding <=> $q$ < 0.4'),
 ('SELECT count(*) FROM item'),
 ('SELECT i.id, n.id FROM (SELECT * FROM item WHERE id <= 20) i, LATERAL (SELECT id FROM item ORDER BY embedding <=> i.embedding LIMIT 5) n'),
 ('SELECT item.id FROM item JOIN (VALUES (1), (2)) v (k) ON item.kind = v.k ORDER BY embedding <=> $q$ LIMIT 10'),
 ('SELECT id FROM item i WHERE EXISTS (SELECT FROM item j WHERE j.id = i.id + 1) ORDER BY embedding <=> $q$ LIMIT 10'),
 ('SELECT DISTINCT kind FROM item ORDER BY kind'),
 ('SELECT kind, count(*) FROM (SELECT kind FROM item ORDER BY embedding <=> $q$ LIMIT 100) near GROUP BY kind'),
 ('SELECT id FROM item ORDER BY embedding <=> NULL LIMIT 10'),
 ('SELECT id FROM item FOR UPDATE'),
 ('SELECT id FROM item ORDER BY embedding <=> $q$ LIMIT 10 FOR UPDATE')
) s (statement);

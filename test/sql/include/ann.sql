--
-- ann.sql
--    What the tests of the access method share: rows in clusters, and
--    comparisons of what a scan gives with what a sort gives.
--

-- n rows of d dimensions around 40 centres, the same in every run
CREATE FUNCTION pg_temp.clustered(n int, d int, seed float8)
RETURNS TABLE (id int, embedding embedding) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM setseed(seed);
    RETURN QUERY
    WITH centre AS MATERIALIZED (
        SELECT c, array_agg(random() - .5 ORDER BY j) AS at
        FROM generate_series(0, 39) c, generate_series(1, d) j GROUP BY c
    )
    SELECT i, (SELECT array_agg((a + .35 * (random() - .5))::real) FROM unnest(at) a WHERE i > 0)::embedding
    FROM generate_series(1, n) i JOIN centre ON c = i * 7919 % 40;
END $$;

-- the plan that the planner must take for what follows
CREATE FUNCTION pg_temp.use(kind text) RETURNS void LANGUAGE sql AS $$
    SELECT set_config('enable_seqscan', CASE kind WHEN 'index' THEN 'off' ELSE 'on' END, false),
           set_config('enable_sort', CASE kind WHEN 'index' THEN 'off' ELSE 'on' END, false),
           set_config('enable_indexscan', CASE kind WHEN 'sort' THEN 'off' ELSE 'on' END, false);
$$;

-- the rows of a query through the index, or by a sort
CREATE FUNCTION pg_temp.rows_of(query text, kind text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_temp.use(kind);
    RETURN QUERY EXECUTE format('SELECT r::text FROM (%s) r', query);
    PERFORM pg_temp.use('any');
END $$;

-- whether the plan of a query has an Index Scan with an order
CREATE FUNCTION pg_temp.uses_index(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    line text;
    found boolean := false;
BEGIN
    PERFORM pg_temp.use('index');
    FOR line IN EXECUTE 'EXPLAIN (COSTS off) ' || query LOOP
        found := found OR line ~ 'Order By:';
    END LOOP;
    PERFORM pg_temp.use('any');
    RETURN found;
END $$;

\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
\i test/sql/include/small_shop.sql
--
-- diversify.sql
--    Items that do not repeat one another, compared with determinants and sums
--    that plain SQL computes.
--
SELECT plan(20);
SET client_min_messages = warning;

-- similarity of the items of a list, from the embeddings themselves
CREATE FUNCTION public.cosine(a text, b text) RETURNS double precision LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN a = b THEN 1 ELSE 1 - (x.embedding <=> y.embedding) END FROM item x, item y WHERE x.item_id = a AND y.item_id = b $$;
-- ln of the determinant of L_ij = q_i S_ij q_j, by elimination with the largest pivot; -Infinity where it is 0 or less
CREATE FUNCTION public.ln_det(ids text[], log_quality double precision[]) RETURNS double precision LANGUAGE plpgsql STABLE AS $$
DECLARE
    n int = cardinality(ids);
    m double precision[] = array_fill(0::float8, ARRAY[n, n]);
    row_of int[] = ARRAY(SELECT generate_series(1, n));
    total double precision = 0;
    sign int = 1;
    best int; factor double precision; swapped int;
BEGIN
    FOR i IN 1 .. n LOOP FOR j IN 1 .. n LOOP
        m[i][j] = exp(log_quality[i] + log_quality[j]) * public.cosine(ids[i], ids[j]);
    END LOOP; END LOOP;
    FOR i IN 1 .. n LOOP
        best = (SELECT r FROM generate_series(i, n) r ORDER BY abs(m[row_of[r]][i]) DESC, r LIMIT 1);
        IF best <> i THEN
            sign = -sign;
            swapped = row_of[i]; row_of[i] = row_of[best]; row_of[best] = swapped;
        END IF;
        IF abs(m[row_of[i]][i]) < 1e-12 THEN RETURN '-Infinity'; END IF;
        IF m[row_of[i]][i] < 0 THEN sign = -sign; END IF;
        total = total + ln(abs(m[row_of[i]][i]));
        FOR r IN i + 1 .. n LOOP
            factor = m[row_of[r]][i] / m[row_of[i]][i];
            FOR j IN i .. n LOOP m[row_of[r]][j] = m[row_of[r]][j] - factor * m[row_of[i]][j]; END LOOP;
        END LOOP;
    END LOOP;
    RETURN CASE WHEN sign > 0 THEN total ELSE '-Infinity' END;
END $$;
-- theta * quality + (1 - theta) * sum over all of the cosine with the nearest pick
CREATE FUNCTION public.covered(picks text[], ids text[], quality double precision[], theta double precision) RETURNS double precision LANGUAGE sql STABLE AS $$
    SELECT theta * (SELECT sum(quality[array_position(ids, p)]) FROM unnest(picks) p)
           + (1 - theta) * (SELECT sum((SELECT max(greatest(public.cosine(v, p), 0)) FROM unnest(picks) p)) FROM unnest(ids) v) $$;
-- worth of the first picks and of what could stand in place of the last of them
CREATE FUNCTION public.worth(method text, picks text[], ids text[], quality double precision[], theta double precision) RETURNS double precision LANGUAGE sql STABLE AS $$
    SELECT CASE method WHEN 'coverage' THEN public.covered(picks, ids, quality, theta)
           ELSE public.ln_det(picks, ARRAY(SELECT theta / (2 * (1 - theta)) * quality[array_position(ids, p)] FROM unnest(picks) WITH ORDINALITY u (p, n) ORDER BY n)) END $$;
CREATE TABLE small.question AS
SELECT m.method, t.theta, q.ids, q.quality
FROM (VALUES ('dpp'), ('coverage')) m (method), (VALUES (0::float8), (.3), (.7), (.9)) t (theta),
     (VALUES ('{p01,p02,p06,p09,p14,p16}'::text[], '{.3,.1,.9,.2,.6,.5}'::float8[]),
             ('{p12,p04,p08,p16,p03}', '{1,1,1,1,1}'),
             ('{p07,p10,p13}', '{-2,.5,3}')) q (ids, quality);
CREATE TABLE small.answer AS
SELECT q.*, d.picks FROM small.question q,
LATERAL (SELECT array_agg(item_id ORDER BY rank) AS picks FROM diversify('small', q.ids, q.quality, 6, q.theta, q.method)) d;

SELECT is((SELECT count(*) FROM small.answer), 24::bigint, 'all are answered');
SELECT is_empty($$SELECT * FROM small.answer WHERE NOT (picks <@ ids AND ids <@ picks AND cardinality(picks) = cardinality(ids))$$, 'each item once');
SELECT is_empty($$
    SELECT a.method, a.theta, a.picks, s, o.other, g.reached, w.worth
    FROM small.answer a, generate_series(1, cardinality(picks)) s, LATERAL unnest(picks[s + 1:]) o (other),
         LATERAL (SELECT public.worth(method, picks[:s], ids, quality, theta) AS reached) g,
         LATERAL (SELECT public.worth(method, picks[:s - 1] || o.other, ids, quality, theta) AS worth) w
    WHERE w.worth > g.reached + 1e-7$$, 'no other item in a place would be worth more');
SELECT isnt_empty($$SELECT FROM small.answer a JOIN small.answer b USING (method, ids) WHERE a.theta = 0 AND b.theta = .9 AND a.picks <> b.picks$$,
                  'theta decides');
-- of all sets of two, the determinant's best begins where greedy does with one alike quality: 1 - c^2 is largest
SELECT is((SELECT array_agg(item_id ORDER BY rank) FROM diversify('small', '{p02,p06,p14}', k => 1, theta => 0)), '{p02}', 'of equals the first');
SELECT is((SELECT item_id FROM diversify('small', '{p01,p02,p06,p09,p14,p16}', k => 2, theta => 0) WHERE rank = 2),
          (SELECT o FROM unnest('{p02,p06,p09,p14,p16}'::text[]) o ORDER BY abs(public.cosine('p01', o)), o LIMIT 1), 'then the least like it');
SELECT results_eq($$SELECT item_id FROM diversify('small', '{p01,p02,p06,p09}', '{1,4,2,3}', theta => 1)$$, $$VALUES ('p02'), ('p09'), ('p06'), ('p01')$$, 'theta 1: by quality');
SELECT results_eq($$SELECT item_id FROM diversify('small', '{p01,p02,p06,p09}', '{1,4,2,3}', theta => 1, method => 'coverage')$$, $$VALUES ('p02'), ('p09'), ('p06'), ('p01')$$, 'by either method');

-- two products of one text: the second comes last, however good it is
INSERT INTO small.product SELECT 'p17', title, category, price, cost, stock, active, since FROM small.product WHERE sku = 'p01';
SELECT refresh('small') \g /dev/null
SELECT is((SELECT item_id FROM diversify('small', '{p01,p17,p02,p06}', '{5,5,0,0}', 4) WHERE rank = 4), 'p17', 'what repeats another comes last');
SELECT results_eq($$SELECT item_id FROM diversify('small', '{p01,p17,p02,p06}', '{5,5,0,0}', 4, theta => 1)$$, $$VALUES ('p01'), ('p02'), ('p06'), ('p17')$$, 'even then');
-- ids without text are unlike one another
CREATE TABLE small.bare (id int PRIMARY KEY);
INSERT INTO small.bare SELECT generate_series(1, 3);
SELECT create_catalog('bare', 'small.bare', item_id => 'id') \g /dev/null
SELECT results_eq($$SELECT item_id FROM diversify('bare', '{1,2,3}', '{0,1,2}', 2)$$, $$VALUES ('3'), ('2')$$, 'without text quality decides');

SELECT is_empty($$SELECT diversify('small', '{}')$$, 'nothing of nothing');
SELECT throws_ok($$SELECT diversify('small', '{p01,p99}')$$, '42704', NULL, 'an unknown item');
SELECT throws_ok($$SELECT diversify('small', '{p01,p02,p01}')$$, '22023', 'item "p01" is named twice', 'an item twice');
SELECT throws_ok($$SELECT diversify('small', '{p01,p02}', '{1}')$$, '22023', '2 items have 1 qualities', 'too few qualities');
SELECT throws_ok($$SELECT diversify('small', '{p01,p02}', '{1,NULL}')$$, '22004', NULL, 'a NULL quality');
SELECT throws_ok($$SELECT diversify('small', '{p01,p02}', '{1,NaN}')$$, '22023', NULL, 'a NaN quality');
SELECT throws_ok($$SELECT diversify('small', '{p01}', theta => 1.1)$$, '22023', NULL, 'theta out of range');
SELECT throws_ok($$SELECT diversify('small', '{p01}', method => 'mmr')$$, '22023', 'there is no method "mmr"', 'an unknown method');
SELECT throws_ok($$SELECT diversify('small', ARRAY(SELECT i::text FROM generate_series(1, 2001) i))$$, '22023', NULL, 'more items than are compared');

SELECT * FROM finish();

\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- metric.sql
--    Metrics of rankings and predictions. Where nothing else is said, expected
--    numbers are those of scikit-learn 1.9.1 and NumPy 1.26.4, from the same
--    formulas for the inputs.
--
SELECT plan(107);
SET client_min_messages = error;

-- equal to 1e-9; IS NOT DISTINCT FROM makes NULL equal NULL
CREATE FUNCTION public.near(have float8, want float8, about text) RETURNS text LANGUAGE sql AS
$$SELECT ok(have IS NOT DISTINCT FROM want OR abs(have - want) <= 1e-9, about || CASE WHEN abs(have - want) <= 1e-9 OR have IS NOT DISTINCT FROM want THEN '' ELSE format(': %s, not %s', have, want) END)$$;
CREATE FUNCTION public.near(have metric, value float8, error float8, n bigint, about text) RETURNS text LANGUAGE sql AS
$$SELECT ok(abs(have.value - value) <= 1e-9 AND abs(have.standard_error - error) <= 1e-9 AND have.n = n,
            about || CASE WHEN abs(have.value - value) <= 1e-9 AND abs(have.standard_error - error) <= 1e-9 AND have.n = n THEN '' ELSE ': ' || have::text END)$$;

---- one list ----

-- b, d and g of a to h are relevant, and z, which is not recommended
\set list '\'{a,b,c,d,e,f,g,h}\', \'{b,d,g,z}\''
SELECT near(precision_at(:list, 3), 1 / 3.0, 'precision at 3');
SELECT near(precision_at(:list, 8), 0.375, 'precision at 8');
SELECT near(precision_at(:list, 16), 3 / 16.0, 'precision at more than the list has is over k');
SELECT near(recall_at(:list, 5), 0.5, 'recall at 5');
SELECT near(recall_at(:list, 8), 0.75, 'recall at 8');
SELECT near(f1_at(:list, 3), 0.2857142857142857, 'F1 at 3');
SELECT near(f1_at(:list, 8), 0.5, 'F1 at 8');
SELECT near(hit_rate_at(:list, 1), 0, 'no hit at 1');
SELECT near(hit_rate_at(:list, 2), 1, 'a hit at 2');
SELECT near(reciprocal_rank_at(:list, 8), 0.5, 'the first hit is the second');
SELECT near(reciprocal_rank_at(:list, 1), 0, 'none at 1');
SELECT near(ndcg_at(:list, 3), 0.2960819109658652, 'NDCG at 3');
SELECT near(ndcg_at(:list, 5), 0.4144299250118474, 'NDCG at 5');
SELECT near(ndcg_at(:list, 8), 0.544556608342548, 'NDCG at 8');
SELECT near(ndcg_at(:list, '{3,1,2,0.5}', 3), 0.3974895222916885, 'graded NDCG at 3');
SELECT near(ndcg_at(:list, '{3,1,2,0.5}', 5), 0.46682207913043505, 'graded NDCG at 5');
SELECT near(ndcg_at(:list, '{3,1,2,0.5}', 8), 0.6007662572215343, 'graded NDCG at 8');
SELECT near(average_precision_at('{a,b,c,d,e,f,g,h,z}', '{b,d,g,z}', 9), 0.46825396825396826, 'average precision of a whole ranking');
-- precisions 1/2 and 2/4 at the hits; the best four places would have four
SELECT near(average_precision_at(:list, 4), 0.25, 'average precision at 4');
-- one hit at rank 2 of the two that fit
SELECT near(average_precision_at(:list, 2), 0.25, 'average precision is over min(k, relevant)');
SELECT near(average_precision_at('{b,d}', '{b,d,g,z}', 2), 1, 'so that the best list has 1');
-- as if the repetitions were something else
SELECT near(precision_at('{b,b,b,d}', '{b,d}', 4), 0.5, 'a repeated item counts once');
SELECT near(recall_at('{b,b}', '{b,d}', 2), 0.5, 'in recall too');
SELECT near(ndcg_at('{b,b,d}', '{b,d}', 3), ndcg_at('{b,x,d}', '{b,d}', 3), 'and takes its place');
SELECT near(recall_at('{b}', '{b,b,b,d}', 1), 0.5, 'what is relevant twice counts once');
SELECT near(ndcg_at('{b}', '{b,b}', '{2,2}', 1), 1, 'with one gain');
SELECT near(precision_at('{}', '{b}', 3), 0, 'an empty list is a bad one');
SELECT near(ndcg_at('{}', '{b}', 3), 0, 'by NDCG too');
SELECT is(ARRAY[precision_at('{a}', '{}', 1), recall_at('{a}', '{}', 1), f1_at('{a}', '{}', 1), hit_rate_at('{a}', '{}', 1),
                reciprocal_rank_at('{a}', '{}', 1), average_precision_at('{a}', '{}', 1), ndcg_at('{a}', '{}', 1)],
          array_fill(NULL::float8, ARRAY[7]), 'nothing relevant: no metric');
SELECT is(ndcg_at('{a}', '{a}', '{0}', 1), NULL, 'nor where all gains are 0');
SELECT is(precision_at(NULL, '{a}', 1), NULL, 'NULL in, NULL out');
SELECT throws_ok($$SELECT precision_at('{a}', '{a}', 0)$$, '22023', NULL, 'k of 0');
SELECT throws_ok($$SELECT ndcg_at('{a}', '{a}', '{-1}', 1)$$, '22023', NULL, 'a negative gain');
SELECT throws_ok($$SELECT ndcg_at('{a}', '{a}', '{NaN}', 1)$$, '22023', NULL, 'a gain that is NaN');
SELECT throws_ok($$SELECT ndcg_at('{a}', '{a,a}', '{1,2}', 1)$$, '22023', NULL, 'an item with two gains');
SELECT throws_ok($$SELECT ndcg_at('{a}', '{a,b}', '{1}', 1)$$, '2202E', NULL, 'a gain too few');
SELECT throws_ok($$SELECT ndcg_at('{a}', '{a}', '{NULL}', 1)$$, '2202E', NULL, 'a gain that is NULL');
SELECT throws_ok($$SELECT precision_at('{a,NULL}', '{a}', 1)$$, '22004', NULL, 'an item that is NULL');
SELECT throws_ok($$SELECT precision_at('{{a},{b}}', '{a}', 1)$$, '2202E', NULL, 'a table of items');
SELECT near(intra_list_diversity('{"[1,0,2,1]","[0,3,1,0]","[1,1,1,1]","[2,0,0,1]"}'), 0.5123843410893889, 'mean cosine distance of pairs');
SELECT near(intra_list_diversity('{"[1,2]","[2,4]"}'), 0, 'all alike');
SELECT near(intra_list_diversity('{"[1,2]","[-1,-2]","[0,0]"}'), 4 / 3.0, 'opposites, and a zero vector at distance 1 of both');
SELECT is(intra_list_diversity('{"[1,2]"}'), NULL, 'one has no distance');
SELECT is(intra_list_diversity('{}'), NULL, 'none neither');
SELECT throws_ok($$SELECT intra_list_diversity('{"[1,2]","[1]"}')$$, '22000', NULL, 'other dimensions');
SELECT throws_ok($$SELECT intra_list_diversity('{"[1,2]",NULL}')$$, '22004', NULL, 'an embedding that is NULL');
SELECT near(position_exposure(3), 0.5, 'exposure of rank 3 is half of that of rank 1');
SELECT throws_ok('SELECT position_exposure(0)', '22023', NULL, 'rank 0');

---- means over lists ----

-- 300 lists of 12 with repetitions; up to 5 items of 97 are relevant, none of them for every sixth
CREATE TABLE ranking (u int, recommended text[], relevant text[]);
INSERT INTO ranking SELECT u, ARRAY(SELECT ((u * 37 + j * j * 11) % 97)::text FROM generate_series(1, 12) j ORDER BY j),
       ARRAY(SELECT ((u * 13 + j * 29) % 97)::text FROM generate_series(1, u % 6) j)
FROM generate_series(1, 300) u;
SELECT near(mean_precision(recommended, relevant, 10), 0.0312, 0.003666060555964672, 250, 'mean precision') FROM ranking;
SELECT near(mean_recall(recommended, relevant, 10), 0.106, 0.013590491990980101, 250, 'mean recall') FROM ranking;
SELECT near(mean_f1(recommended, relevant, 10), 0.046332334332334336, 0.005383656643083295, 250, 'mean F1') FROM ranking;
SELECT near(hit_rate(recommended, relevant, 10), 0.256, 0.027657108718204846, 250, 'hit rate') FROM ranking;
SELECT near(mean_reciprocal_rank(recommended, relevant, 10), 0.07906825396825397, 0.01221928858723461, 250, 'MRR') FROM ranking;
SELECT near(mean_average_precision(recommended, relevant, 10), 0.035392592592592594, 0.006790240761887158, 250, 'MAP') FROM ranking;
SELECT near(mean_ndcg(recommended, relevant, 10), 0.06673101194319499, 0.009263089266608437, 250, 'mean NDCG') FROM ranking;
SELECT near(mean_ndcg(recommended, relevant, array_fill(2.5::float8, ARRAY[cardinality(relevant)]), 10), 0.06673101194319499, 0.009263089266608437, 250,
            'equal gains are binary ones') FROM ranking WHERE relevant <> '{}';
SELECT is((mean_metric(precision_at(recommended, relevant, 10)))::text, mean_precision(recommended, relevant, 10)::text, 'the mean of any metric') FROM ranking;
-- statsmodels 0.15.0, OLS on a constant with cov_type='cluster'
SELECT near(mean_metric(((i * 7919) % 101) / 10.0 - 3, ((i * i) % 37)::text), 2.0108, 0.39350007319817504, 500, 'a mean whose error is clustered') FROM generate_series(1, 500) i;
SELECT is(mean_metric(v, 'one user'), ROW(2, NULL, 2)::metric, 'one cluster has no error') FROM (VALUES (1), (3)) x(v);
SELECT is(mean_metric(1, NULL), ROW(NULL, NULL, 0)::metric, 'no cluster, no row');
SELECT is(mean_precision(recommended, relevant, 10), ROW(NULL, NULL, 0)::metric, 'no list, no mean') FROM ranking WHERE u < 0;
SELECT is(mean_precision('{a}', '{a}', 1), ROW(1, NULL, 1)::metric, 'one list has no error');
SELECT throws_ok($$SELECT mean_metric('NaN')$$, '22003', NULL, 'a value that is NaN');
SELECT throws_ok($$SELECT mean_metric(v) FROM unnest('{1e300,-1e300}'::float8[]) v$$, '22003', NULL, 'values whose squares overflow');
SELECT throws_ok($$SELECT metric_merge(s) FROM (VALUES ('{1,1e300,0}'::float8[]), ('{1,-1e300,0}')) v(s)$$, '22003', NULL, 'states too');

---- predictions ----

CREATE TABLE prediction AS
SELECT i, ((i * 7919) % 101) / 10.0::float8 AS score, (((i * 104729) % 13) < 5) <> (i % 7 = 0 AND ((i * 7919) % 101) / 10.0 > 5) AS label,
       ((i * 31) % 17) / 2.0::float8 AS truth FROM generate_series(1, 500) i;
SELECT near(auc(score, label), 0.5047330811265237, 0.026520585478276053, 500, 'AUC with ties; DeLong error by its definition over all pairs') FROM prediction;
SELECT near(rmse(score, truth), 3.9297302706419943, 0.1054649647800319, 500, 'RMSE') FROM prediction;
SELECT near(mae(score, truth), 3.2158, 0.10111017384273957, 500, 'MAE') FROM prediction;
SELECT near(accuracy(i % 5, (i % 3)::bigint), 0.202, 0.017973260031288275, 500, 'accuracy') FROM prediction;
SELECT is((accuracy(p, t)).value, 0.5::float8, 'accuracy of texts; NULLs are skipped') FROM (VALUES ('a', 'a'), ('a', 'b'), (NULL, 'a')) v(p, t);
SELECT is(auc(score, true), ROW(NULL, NULL, 500)::metric, 'one class has no AUC') FROM prediction;
SELECT is(auc(s, l), ROW(0.5, 0, 4)::metric, 'equal scores tell nothing') FROM (VALUES (1, true), (1, false), (1, true), (1, false)) v(s, l);
SELECT is((auc(s, l)).value, 1::float8, 'infinite scores have their order') FROM (VALUES ('-Infinity'::float8, false), ('Infinity', true), (NULL, true)) v(s, l);
SELECT is((auc(s, l)).value, 0.5::float8, '-0 and 0 are one score') FROM (VALUES ('-0'::float8, false), (0, true)) v(s, l);
SELECT throws_ok($$SELECT auc('NaN', true)$$, '22003', NULL, 'a score that is NaN');
SELECT throws_ok($$SELECT rmse('NaN', 1)$$, '22003', NULL, 'a prediction that is NaN');
SELECT throws_ok($$SELECT rmse(1e200, -1e200)$$, '22003', NULL, 'an error whose square overflows');
SELECT throws_ok($$SELECT accuracy(point(1, 2), point(1, 2))$$, '42883', NULL, 'a type without equality');

SELECT is_empty($$SELECT * FROM (SELECT i, auc(score, label) OVER w AS running, mean_metric(score) OVER w AS mean, metric_partial(score) OVER w AS state FROM prediction WINDOW w AS (ORDER BY i)) r
                  WHERE i % 50 = 0 AND ROW(running, mean, metric_final(state))::text IS DISTINCT FROM (SELECT ROW(auc(score, label), mean_metric(score), mean_metric(score))::text FROM prediction p WHERE p.i <= r.i)$$,
                'as window functions each row has its own');

---- the catalog ----

-- item j of 40 was recommended j * j mod 23 times; the catalog has 50
CREATE TABLE shown AS SELECT 'item ' || j AS item, j FROM generate_series(1, 40) j, generate_series(1, (j * j) % 23);
SELECT near(item_coverage(item, 50), 0.78, 'coverage') FROM shown;
SELECT near(exposure_gini(item, 50), 0.5020238095238095, 'Gini index of exposure, by mean absolute differences') FROM shown;
SELECT near(gini((j * j) % 23), 0.3775297619047619, 'Gini index of values') FROM generate_series(1, 40) j;
SELECT near(exposure_gini(items, 50), 0.5020238095238095, 'from lists') FROM (SELECT array_agg(item) AS items FROM shown GROUP BY j % 7) l;
SELECT near(item_coverage(items, 50), 0.78, 'coverage too') FROM (SELECT array_agg(item) AS items FROM shown GROUP BY j % 7) l;
SELECT is(item_coverage('{}'::text[], 50), 0::float8, 'empty lists cover nothing');
SELECT throws_ok('SELECT item_coverage(item, 30) FROM shown', '22023', 'more items were recommended than the catalog has', 'a catalog that is too small');
SELECT throws_ok('SELECT item_coverage(item, j) FROM shown', '22023', '"catalog_size" must be the same for all rows', 'two sizes');
SELECT near(novelty(p), 2.276164356788186, 0.8866507409680295, 5, 'novelty') FROM unnest('{0.5,0.25,0.1,0.03,1}'::float8[]) p;
SELECT throws_ok('SELECT novelty(0)', '22023', NULL, 'an item that nobody had');
-- by SciPy 1.17 (entropy)
SELECT ok(groups = 4 AND abs(disparity_ratio - 0.4090909090909091) < 1e-9 AND abs(kl_divergence - 0.08173765262955554) < 1e-9
          AND abs(total_variation - 0.1819291819291819) < 1e-9, 'fairness of exposure')
FROM (SELECT (exposure_fairness(g, e, t)).* FROM (VALUES ('a', 5.5, 10), ('b', 2.25, 4), ('c', 7, 30), ('d', 1, 2), ('b', 0, 6)) v(g, e, t)) f;
SELECT is(exposure_fairness(g, e, t), ROW(2, 0, 'Infinity', 0.5)::fairness, 'exposure that nobody was due') FROM (VALUES ('a', 1, 1), ('b', 1, 0)) v(g, e, t);
SELECT is(exposure_fairness(g, e, t), ROW(1, NULL, NULL, NULL)::fairness, 'no exposure at all') FROM (VALUES ('a', 0, 1), ('b', 0, 0)) v(g, e, t);

---- parallel workers, partitions, other servers ----

CREATE TABLE big AS
SELECT i::int AS id, ((i * 7919) % 10007) / 7.0::float8 AS score, (i * 104729) % 13 < 5 AS label, 'i' || (i * i) % 5003 AS item, 'g' || i % 5 AS seller,
       ARRAY(SELECT ((i * 37 + j * j * 11) % 97)::text FROM generate_series(1, 5) j) AS recommended,
       ARRAY(SELECT ((i * 13 + j * 29) % 97)::text FROM generate_series(1, i % 6) j) AS relevant FROM generate_series(1, 60000::bigint) i;
CREATE TABLE parts (LIKE big) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (20001);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (20001) TO (60001);
INSERT INTO parts SELECT * FROM big;
ANALYZE big;
ANALYZE parts;
-- every number that a table gives
\set all 'ARRAY[(mean_ndcg(recommended, relevant, 4)).value, (mean_ndcg(recommended, relevant, 4)).standard_error, (mean_ndcg(recommended, relevant, 4)).n, (rmse(score, length(item))).value, (rmse(score, length(item))).standard_error, (auc(score, label)).value, (auc(score, label)).standard_error, (auc(score, label)).n, item_coverage(item, 6000), exposure_gini(item, 6000), exposure_gini(recommended, 6000), gini(score), (exposure_fairness(seller, score, length(item))).kl_divergence, (novelty(1 / (1 + score))).value, (accuracy(item, seller)).value, (mean_metric(score, seller)).value, (mean_metric(score, item)).standard_error]'
CREATE FUNCTION public.differences(a float8[], b float8[]) RETURNS bigint LANGUAGE sql AS
$$SELECT count(*) FILTER (WHERE abs(x - y) <= 1e-10 * greatest(1, abs(y))) FROM unnest(a, b) u(x, y)$$;
SET max_parallel_workers_per_gather = 0;
SELECT :all AS serial FROM big \gset
-- as plain SQL has it
SELECT ok(abs((:'serial'::float8[])[1] - avg(ndcg_at(recommended, relevant, 4))) < 1e-10 AND abs((:'serial'::float8[])[2] - stddev(ndcg_at(recommended, relevant, 4)) / sqrt(count(relevant) FILTER (WHERE relevant <> '{}'))) < 1e-10,
          'a mean and its error are those of avg and stddev') FROM big;
SELECT ok(abs((:'serial'::float8[])[6] - (sum(r) FILTER (WHERE label) - count(*) FILTER (WHERE label) * (count(*) FILTER (WHERE label) + 1) / 2.0)
                                          / (count(*) FILTER (WHERE label)::float8 * count(*) FILTER (WHERE NOT label))) < 1e-10, 'AUC is that of rank sums')
FROM (SELECT label, rank() OVER (ORDER BY score) + (count(*) OVER (PARTITION BY score) - 1) / 2.0 AS r FROM big) x;
SELECT ok(abs((:'serial'::float8[])[9] - count(DISTINCT item) / 6000.0) < 1e-10, 'coverage is that of count(DISTINCT)') FROM big;
SET max_parallel_workers_per_gather = 4;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
SET enable_partitionwise_aggregate = on;
CREATE FUNCTION public.plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE line text; lines text := '';
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (VERBOSE, COSTS off) ' || query LOOP lines := lines || line || E'\n'; END LOOP;
    RETURN lines;
END $$;
SELECT matches(plan_of(format('SELECT %s FROM parts', :'all')), 'Finalize Aggregate.*Gather.*Partial Aggregate', 'the plan is a parallel one');
SELECT is(differences(:all, :'serial'), 17::bigint, 'parallel equals serial') FROM big;
SELECT is(differences(:all, :'serial'), 17::bigint, 'on partitions too') FROM parts;
RESET max_parallel_workers_per_gather;

CREATE EXTENSION postgres_fdw SCHEMA public;
SELECT format('CREATE SERVER %s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L, extensions ''bundle_rec'')', s,
              split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database()) FROM unnest('{north,south}'::text[]) s \gexec
CREATE USER MAPPING FOR CURRENT_USER SERVER north;
CREATE USER MAPPING FOR CURRENT_USER SERVER south;
CREATE FOREIGN TABLE north (id int, score float8, label boolean, item text, seller text, recommended text[], relevant text[]) SERVER north OPTIONS (schema_name 'bundle_rec', table_name 'parts_1');
CREATE FOREIGN TABLE south (id int, score float8, label boolean, item text, seller text, recommended text[], relevant text[]) SERVER south OPTIONS (schema_name 'bundle_rec', table_name 'parts_2');
\set states 'metric_partial(ndcg_at(recommended, relevant, 4)) AS ndcg, metric_partial((score - length(item)) ^ 2) AS squares, auc_partial(score, label) AS auc, exposure_partial(item, 6000) AS shown, exposure_partial(recommended, 6000) AS listed, gini_partial(score) AS scores, fairness_partial(seller, score, length(item)) AS sellers, metric_partial(-ln(1 / (1 + score)) / ln(2)) AS novelty, metric_partial((item = seller)::int) AS correct, clustered_partial(score, seller) AS by_seller, clustered_partial(score, item) AS by_item'
SELECT matches(plan_of(format('SELECT %s FROM north', :'states')), 'Remote SQL: SELECT bundle_rec.metric_partial\(bundle_rec.ndcg_at', 'states are made by the other server');
SELECT is(differences(ARRAY[(metric_final(ndcg)).value, (metric_final(ndcg)).standard_error, (metric_final(ndcg)).n, (rmse_final(squares)).value, (rmse_final(squares)).standard_error,
                            (auc_final(auc)).value, (auc_final(auc)).standard_error, (auc_final(auc)).n, item_coverage_final(shown), exposure_gini_final(shown), exposure_gini_final(listed),
                            gini_final(scores), (fairness_final(sellers)).kl_divergence, (metric_final(novelty)).value, (metric_final(correct)).value,
                            (clustered_final(by_seller)).value, (clustered_final(by_item)).standard_error], :'serial'),
          17::bigint, 'two servers give what one table gives')
FROM (SELECT metric_merge(ndcg) AS ndcg, metric_merge(squares) AS squares, tally_merge(auc) AS auc, tally_merge(shown) AS shown, tally_merge(listed) AS listed,
             tally_merge(scores) AS scores, tally_merge(sellers) AS sellers, metric_merge(novelty) AS novelty, metric_merge(correct) AS correct, tally_merge(by_seller) AS by_seller, tally_merge(by_item) AS by_item
      FROM (SELECT :states FROM north UNION ALL SELECT :states FROM south) s) m;

-- what strangers may call them with
SELECT throws_ok($$SELECT metric_merge('{1,2}')$$, '22023', NULL, 'a state of another length');
SELECT throws_ok($$SELECT metric_final('{-1,0,0}')$$, '22023', NULL, 'a state of -1 rows');
SELECT throws_ok($$SELECT tally_merge('{7,0,1,2,3,4}')$$, '22023', NULL, 'a tally of more entries than it has');
SELECT throws_ok($$SELECT auc_final('{1,0,NaN,0,1,1}')$$, '22003', NULL, 'a tally with a key that is NaN');
SELECT throws_ok($$SELECT gini_final('{1,0,1,0,-1,0}')$$, '22003', NULL, 'a tally with a negative sum');
SELECT throws_ok($$SELECT tally_merge(t) FROM (VALUES ('{0,3}'::float8[]), ('{0,4}')) v(t)$$, '22023', NULL, 'tallies of two catalogs');
SELECT is(tally_merge(t), '{1,5,2,0,3,4}'::float8[], 'tallies add up by key') FROM (VALUES ('{1,5,2,0,1,4}'::float8[]), ('{2,0,2,0,1,0,2,0,1,0}'), (NULL)) v(t);

SELECT * FROM finish();

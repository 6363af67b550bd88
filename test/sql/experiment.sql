\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- experiment.sql
--    Who gets which variant, who is logged, and what ab_test says of it.
--
-- Statistics are compared with SciPy 1.17.1, statsmodels 0.15.0 and NumPy 1.26.4;
-- the calls that gave them stand in test/unit/test_eval_experiment.c, whose two
-- groups of units public.unit holds.
--
SELECT plan(144);
SET client_min_messages = warning;

CREATE FUNCTION public.near(value double precision, expected double precision) RETURNS boolean LANGUAGE sql IMMUTABLE AS
$$SELECT abs(value - expected) <= 1e-9 * greatest(1, abs(expected))$$;

CREATE TABLE public.unit AS
SELECT 'c' || i AS unit_id, 'control' AS variant, y, ((i * 53) % 97) / 9::float8 + y / 2 AS x, 1 + (i * 29) % 7 AS d
FROM generate_series(1, 40) i, LATERAL (SELECT ((i * 37) % 101) / 10::float8 AS y) v
UNION ALL
SELECT 't' || i, 'treatment', y, ((i * 59) % 89) / 9::float8 + y / 2, 1 + (i * 31) % 6
FROM generate_series(1, 50) i, LATERAL (SELECT ((i * 41) % 103) / 9::float8 AS y) v;

---- moments and what follows from them ----

SELECT is(experiment_moments(y), '{0,0,0,0,0,0,0,0,0,0}', 'no units') FROM public.unit WHERE false;
SELECT is(experiment_moments(v), '{3,2,0,1,2,0,0,0,0,0}', 'three units, and one that is left out') FROM (VALUES (1), (2), (3), (NULL)) t (v);
SELECT is(experiment_moments(y, x, d), '{2,2,4,6,2,8,18,4,6,12}', 'products of deviations') FROM (VALUES (1, 2, 3), (3, 6, 9), (5, NULL, 1)) t (y, x, d);
SELECT is(experiment_moments_combine(experiment_moments(v) FILTER (WHERE v < 3), experiment_moments(v) FILTER (WHERE v >= 3)),
          '{4,2.5,0,1,5,0,0,0,0,0}', 'two halves are the whole') FROM generate_series(1, 4) v;
SELECT throws_ok($$SELECT experiment_moments(v) FROM (VALUES (1::float8), ('NaN')) t (v)$$, '22003', 'the value of a unit is NaN', 'NaN');
SELECT throws_ok($$SELECT experiment_moments(1, v) FROM (VALUES ('Infinity'::float8)) t (v)$$, '22003', 'the covariate of a unit is Infinity', 'infinity');
SELECT throws_ok($$SELECT experiment_moments(1, 1, v) FROM (VALUES ('-Infinity'::float8)) t (v)$$, '22003', 'the denominator of a unit is -Infinity', 'and below');
SELECT throws_ok($$SELECT experiment_moments(v) FROM (VALUES (1e200::float8), (-1e200)) t (v)$$, '22003', NULL, 'values whose squares overflow');
SELECT throws_ok($$SELECT experiment_moments_add('{1,2}', 1)$$, '22023', NULL, 'an array that is no state');
SELECT throws_ok($$SELECT experiment_moments_add('{1.5,0,0,1,0,0,0,0,0,0}', 1)$$, '22023', NULL, 'half a unit');
SELECT throws_ok($$SELECT experiment_moments_add('{1,0,0,1,-1,0,0,0,0,0}', 1)$$, '22023', NULL, 'a negative square');
SELECT throws_ok($$SELECT experiment_moments_combine('{0,0,0,0,0,0,0,0,0,0}', '{{1,2},{3,4}}')$$, '22023', NULL, 'two dimensions');
SELECT is(experiment_moments_add(NULL, 1), NULL, 'NULL for NULL');

CREATE VIEW public.moments AS
SELECT experiment_moments(y) FILTER (WHERE variant = 'control') AS c, experiment_moments(y) FILTER (WHERE variant = 'treatment') AS t,
       experiment_moments(y, x) FILTER (WHERE variant = 'control') AS cx, experiment_moments(y, x) FILTER (WHERE variant = 'treatment') AS tx,
       experiment_moments(y, 0, d) FILTER (WHERE variant = 'control') AS cd, experiment_moments(y, 0, d) FILTER (WHERE variant = 'treatment') AS td,
       experiment_moments(y, x, d) FILTER (WHERE variant = 'control') AS cxd, experiment_moments(y, x, d) FILTER (WHERE variant = 'treatment') AS txd
FROM public.unit;
SELECT ok(public.near(statistic, 1.7705993872648065) AND public.near(degrees_of_freedom, 87.1224042476114) AND public.near(p_value, 0.08012514176807359)
          AND public.near(lower, -0.14092117657044434) AND public.near(upper, 2.440921176570443) AND public.near(difference, 1.15)
          AND public.near(standard_error, 0.6494975702982146) AND public.near(lift, 0.2233009708737863)
          AND public.near(lift_standard_error, 0.1407071142486522), 'Welch')
FROM public.moments, compare_variants(c, t);
SELECT ok(public.near(control_estimate, 1.2875) AND public.near(variant_estimate, 1.8208092485549132) AND public.near(standard_error, 0.2288305062426554)
          AND public.near(p_value, 0.019775183268418917) AND degrees_of_freedom = 'Infinity', 'ratios by the delta method')
FROM public.moments, compare_variants(cd, td, 'ratio');
SELECT ok(public.near(control_estimate, 5.410828013577239) AND public.near(variant_estimate, 6.0913375891382096) AND public.near(statistic, 1.1884257169552264)
          AND public.near(p_value, 0.2378863336843907) AND public.near(lower, -0.45755674669445057), 'CUPED')
FROM public.moments, compare_variants(cx, tx, 'cuped');
SELECT ok(public.near(control_estimate, 1.3800780036228755) AND public.near(standard_error, 0.20330014363744292) AND public.near(p_value, 0.071296580322857),
          'CUPED of ratios')
FROM public.moments, compare_variants(cxd, txd, 'cuped');
SELECT is(compare_variants(cx, tx, 'cuped'), compare_variants(cx, tx, 'cuped', experiment_moments_combine(cx, tx)), 'pooled are both, unless said otherwise')
FROM public.moments;
CREATE FUNCTION public.converted(conversions int, units int) RETURNS double precision[] LANGUAGE sql AS
$$SELECT experiment_moments((i <= conversions)::int) FROM generate_series(1, units) i$$;
SELECT ok(public.near(statistic, 2.3066347738170103) AND public.near(p_value, 0.021075189273797826) AND public.near(lower, 0.0015040591315121105)
          AND public.near(upper, 0.01849594086848788) AND public.near(lift_standard_error, 0.045475268003608287), 'two proportions')
FROM compare_variants(public.converted(1000, 10000), public.converted(1100, 10000), 'proportions');
SELECT ok(public.near(p_value, 0.43372021342570544) AND public.near(upper - 0.01, 0.013555237271372596) AND public.near(lower + upper, 0.02), 'always valid')
FROM sequential_test(0.01, 0.004334743360338649, 20000);
SELECT ok(public.near(non_inferiority(-0.01, 0.006, 0.02), 0.0477903522728147), 'a margin below');
SELECT ok(public.near(non_inferiority(0.01, 0.006, -0.02), 0.0477903522728147), 'a margin above');
SELECT ok(public.near(sample_ratio_mismatch('{5123,4877}', '{1,1}'), 0.013893701577248655), 'a sample-ratio mismatch');
SELECT ok(public.near(sample_ratio_mismatch('{5000,2600,2400}', '{0.5,0.25,0.25}'), 0.018315638888734182), 'of three');
SELECT ok(bool_and(public.near(got, expected)), 'Benjamini and Hochberg')
FROM unnest(benjamini_hochberg('{.01,.04,.03,.005,.5,.04,.9}'), '{.035,.056,.056,.035,0.5833333333333334,.056,.9}'::float8[]) t (got, expected);
SELECT ok(bool_and(public.near(got, expected)), 'Holm')
FROM unnest(holm('{.01,.04,.03,.005,.5,.04,.9}'), '{.06,.16,.15,.035,1,.16,1}'::float8[]) t (got, expected);
SELECT is(holm('{0.01,NULL,0.5}'), '{0.02,NULL,0.5}', 'NULLs are not counted');
SELECT is(benjamini_hochberg('{}'), '{}', 'nor is nothing');

SELECT throws_ok($$SELECT compare_variants(c, t, 'median') FROM public.moments$$, '22023', 'unknown method "median"', 'an unknown method');
SELECT throws_ok($$SELECT compare_variants(c, t, 'cuped') FROM public.moments$$, '22003', 'cannot compare the variants', 'a covariate that does not vary');
SELECT throws_ok($$SELECT compare_variants(c, experiment_moments(1.0)) FROM public.moments GROUP BY c$$, '22003', NULL, 'one unit');
SELECT throws_ok($$SELECT compare_variants(c, t, 'proportions') FROM public.moments$$, '22003', NULL, 'values that are no conversions');
SELECT throws_ok($$SELECT compare_variants(public.converted(0, 9), public.converted(0, 9), 'proportions')$$, '22003', NULL, 'no conversion');
SELECT throws_ok($$SELECT compare_variants(c, t, confidence => 1) FROM public.moments$$, '22023', NULL, 'a confidence of 1');
SELECT throws_ok($$SELECT sequential_test(0.1, 0, 100)$$, '22023', NULL, 'no standard error');
SELECT throws_ok($$SELECT non_inferiority(0.1, 0.1, 0)$$, '22023', NULL, 'no margin');
SELECT throws_ok($$SELECT sample_ratio_mismatch('{1,2}', '{1}')$$, '22023', 'there are 2 counts and 1 weights', 'a weight is missing');
SELECT throws_ok($$SELECT sample_ratio_mismatch('{1,NULL}', '{1,1}')$$, '22004', NULL, 'a count is missing');
SELECT throws_ok($$SELECT sample_ratio_mismatch('{1,2}', '{1,0}')$$, '22023', NULL, 'units where none should be');
SELECT throws_ok($$SELECT holm('{0.1,1.5}')$$, '22023', NULL, 'no p-value');
SELECT throws_ok($$SELECT holm('{{0.1},{0.5}}')$$, '2202E', NULL, 'two dimensions');
SELECT is(compare_variants(NULL, NULL), NULL, 'NULL for NULL');

---- planning ----

SELECT ok(public.near(experiment_power(.1, .01, 10000), 0.6357058611395973), 'power of rates');
SELECT ok(public.near(experiment_power(7, .2, 1000, 2), 0.6087794846454566), 'power of means');
SELECT is(required_sample_size(.1, .01), 14749::bigint, 'units for rates');
SELECT is(required_sample_size(.005, -.001, ratio => 2, power => .9), 73206::bigint, 'with twice as many in the variant');
SELECT is(required_sample_size(7, .1, 2), 6280::bigint, 'units for means');
SELECT ok(public.near(minimum_detectable_effect(.1, 10000), 0.012199291927830492), 'what they find');
SELECT ok(public.near(minimum_detectable_effect(7, 1000, 2, .5, .9), 2 * 0.17754508787649487), 'of means');
-- 14,749 in each group, 3,000 a day
SELECT is(experiment_duration(.1, .01, 3000), 10, 'days');
SELECT is(experiment_duration(.1, NULL, 3000), NULL, 'NULL for NULL');
SELECT throws_ok('SELECT required_sample_size(.1, 0)', '22023', NULL, 'no effect');
SELECT throws_ok('SELECT required_sample_size(.1, .95)', '22023', NULL, 'a rate above 1');
SELECT throws_ok('SELECT required_sample_size(5, .1)', '22023', NULL, 'a mean without its deviation');
SELECT throws_ok('SELECT experiment_duration(.1, .01, 0)', '22023', NULL, 'no units a day');
SELECT throws_ok('SELECT minimum_detectable_effect(.1, .5)', '22003', NULL, 'too few units for any effect');

---- experiments ----

SELECT lives_ok($$SELECT create_experiment('button', salt => 'salt')$$, 'an experiment');
SELECT results_eq($$SELECT layer, traffic, holdout, variants, version, salt, first_slot, end_slot, stopped_at FROM experiment_state WHERE experiment = 'button'$$,
                  $$VALUES (NULL::text, 1::float8, 0::float8, '{"control": 0.5, "treatment": 0.5}'::jsonb, 1, 'salt', 0::bigint, 4294967296, NULL::timestamptz)$$, 'as it was asked for');
-- the hash as README states it, in plain SQL
CREATE FUNCTION public.slot(salt text, unit text, which int) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$SELECT ('x' || substr(encode(sha256(convert_to(salt || ':' || unit, 'UTF8')), 'hex'), 1 + 8 * which, 8))::bit(32)::bigint & 4294967295$$;
SELECT is_empty($$SELECT u FROM generate_series(1, 1000) u WHERE assignment('button', u::text)
                  <> CASE WHEN public.slot('salt', u::text, 1) < 2147483648 THEN 'control' ELSE 'treatment' END$$, 'the hash decides');
SELECT cmp_ok(sample_ratio_mismatch(array_agg(n), '{1,1}'), '>', 0.001::float8, 'in the shares of the weights')
FROM (SELECT count(*) AS n FROM generate_series(1, 20000) u GROUP BY assignment('button', u::text)) v;
SELECT is((SELECT count(*) FROM exposure), 0::bigint, 'assignment logs nothing');
SELECT is(assign('button', 'u1', log => false), assignment('button', 'u1'), 'nor does assign when told');
SELECT is((SELECT count(*) FROM exposure), 0::bigint, 'not to');
SELECT is(assign('button', 'u1'), assignment('button', 'u1'), 'both say the same');
SELECT is(assign('button', 'u1', log => true), assignment('button', 'u1'), 'again');
SELECT results_eq($$SELECT unit_id, variant, version FROM exposure$$, $$SELECT 'u1', assignment('button', 'u1'), 1$$, 'logged once');
SELECT is(count(DISTINCT assign('button', 'twice')), 1::bigint, 'twice in one statement') FROM generate_series(1, 3);
BEGIN READ ONLY;
SELECT is(assign('button', 'u2'), assignment('button', 'u2'), 'a read-only transaction answers without log');
SELECT throws_ok($$SELECT assign('button', 'u2', true)$$, '25006', 'cannot log an exposure in a read-only transaction', 'and cannot be told to log');
COMMIT;
SELECT is((SELECT array_agg(unit_id ORDER BY unit_id) FROM exposure), '{twice,u1}', 'two units');
SELECT throws_ok($$SELECT assign('nothing', 'u1')$$, '42704', 'experiment "nothing" does not exist', 'an unknown experiment');
SELECT throws_ok($$SELECT assign('button', '')$$, '22023', NULL, 'an empty unit');
SELECT throws_ok($$SELECT assign('button', repeat('u', 1001))$$, '22023', NULL, 'a unit that is too long');
SELECT throws_ok($$SELECT assign('button', NULL)$$, '22004', NULL, 'no unit');
SELECT is(assignment('button', NULL), NULL, 'NULL for NULL');

SELECT throws_ok($$SELECT create_experiment('button')$$, '42710', NULL, 'a name once');
SELECT throws_ok($$SELECT create_experiment('')$$, '22023', NULL, 'no name');
SELECT throws_ok($$SELECT create_experiment(NULL)$$, '22004', NULL, 'NULL');
SELECT throws_ok($$SELECT create_experiment('x', '{"a": 0.5, "b": 0.6}')$$, '22023', 'the weights of the variants do not sum to 1', 'weights above 1');
SELECT throws_ok($$SELECT create_experiment('x', '{"a": 1.5, "b": -0.5}')$$, '22023', 'the weight of variant "b" is -0.5', 'a negative weight');
SELECT throws_ok($$SELECT create_experiment('x', '{"a": 1, "b": 0}')$$, '22023', 'the weight of variant "b" is 0', 'a weight of nothing');
SELECT throws_ok($$SELECT create_experiment('x', '{"a": 1}')$$, '22023', 'an experiment needs at least two variants', 'one variant');
SELECT throws_ok($$SELECT create_experiment('x', '{"a": "half", "b": 0.5}')$$, '22023', '"a" of "variants" is not a number', 'a weight in words');
SELECT throws_ok($$SELECT create_experiment('x', '[0.5, 0.5]')$$, '22023', '"variants" is not a JSON object', 'no object');
SELECT throws_ok($$SELECT create_experiment('x', traffic => 0)$$, '22023', '"traffic" is 0', 'no traffic');
SELECT throws_ok($$SELECT create_experiment('x', traffic => 'NaN')$$, '22023', '"traffic" is NaN', 'no number');
SELECT throws_ok($$SELECT create_experiment('x', holdout => 1)$$, '22023', '"holdout" is 1', 'all held out');

---- weights that change ----

SELECT count(assign('button', 'v' || i)) FROM generate_series(1, 200) i \g /dev/null
CREATE TABLE public.before AS SELECT unit_id, variant FROM exposure;
SELECT lives_ok($$SELECT alter_experiment('button', '{"control": 0, "treatment": 0.25, "third": 0.75}')$$, 'other weights, and a third variant');
SELECT is_empty($$SELECT unit_id FROM public.before WHERE assign('button', unit_id) <> variant$$, 'who was exposed keeps his variant');
SELECT is((SELECT array_agg(DISTINCT assign('button', 'w' || i) COLLATE "C") FROM generate_series(1, 200) i), '{third,treatment}', 'others get the new ones');
SELECT is((SELECT array_agg(DISTINCT version) FROM exposure), '{1,2}', 'the log tells them apart');
SELECT throws_ok($$SELECT alter_experiment('button', '{"control": 0.5, "treatment": 0.5}')$$, '22023', 'variant "third" of experiment "button" is missing', 'none may be missing');
SELECT cmp_ok((SELECT srm_p_value FROM ab_test('SELECT NULL::text AS unit_id, 1 AS value', 'button') LIMIT 1), '>', 0.001::float8, 'each version is expected in its own shares');
-- a fifth of the units, then two fifths: the first stay
SELECT create_experiment('some', traffic => 0.25, holdout => 0.2, salt => 's') \g /dev/null
SELECT is_empty($$SELECT u FROM generate_series(1, 1000) u WHERE (assignment('some', u::text) IS NULL) <> (public.slot('s', u::text, 0) >= 858993459)$$, 'traffic is a share of what is not held out');
SELECT alter_experiment('some', traffic => 0.5) \g /dev/null
SELECT is_empty($$SELECT u FROM generate_series(1, 1000) u WHERE (assignment('some', u::text) IS NULL) <> (public.slot('s', u::text, 0) >= 1717986918)$$, 'and may grow');
SELECT stop_experiment('button') \g /dev/null
SELECT is(assign('button', 'u1'), NULL, 'a stopped experiment assigns nothing');
SELECT throws_ok($$SELECT alter_experiment('button', traffic => 0.5)$$, '55000', NULL, 'nor is it altered');
SELECT isnt((SELECT stopped_at FROM experiment_state WHERE experiment = 'button'), NULL, 'it says so');

---- layers ----

SELECT create_experiment('one', layer => 'page', traffic => 0.5, holdout => 0.1) \g /dev/null
SELECT create_experiment('two', layer => 'page', traffic => 0.3) \g /dev/null
SELECT is_empty($$SELECT u FROM generate_series(1, 2000) u WHERE assignment('one', u::text) IS NOT NULL AND assignment('two', u::text) IS NOT NULL$$,
                'no unit is in two experiments of a layer');
SELECT throws_ok($$SELECT create_experiment('three', layer => 'page', traffic => 0.3)$$, '55000', 'the layer has no room for this traffic', 'a full layer');
SELECT throws_ok($$SELECT create_experiment('three', layer => 'page', traffic => 0.1, holdout => 0.2)$$, '22023', NULL, 'a layer holds out one share');
SELECT throws_ok($$SELECT alter_experiment('one', traffic => 0.6)$$, '55000', NULL, 'no room to grow');
SELECT throws_ok($$SELECT alter_experiment('two', traffic => 0.2)$$, '22023', NULL, 'nor to shrink');
SELECT create_experiment('three', layer => 'page', traffic => 0.2) \g /dev/null
SELECT results_eq($$SELECT count(assignment('one', u::text)) + count(assignment('two', u::text)) + count(assignment('three', u::text)) BETWEEN 1740 AND 1860
                    FROM generate_series(1, 2000) u$$, 'VALUES (true)', 'together all but a tenth');
SELECT throws_ok($$UPDATE experiment SET first_slot = 0 WHERE name = 'two'$$, '23P01', NULL, 'an overlap is refused by the table itself');
SELECT stop_experiment('one') \g /dev/null
SELECT lives_ok($$SELECT create_experiment('four', layer => 'page', traffic => 0.5)$$, 'a stopped one leaves its room');
SELECT drop_experiment(e) FROM unnest('{one,two,three,four}'::text[]) e \g /dev/null
SELECT is((SELECT count(*) FROM experiment_layer), 0::bigint, 'a layer goes with its last experiment');
SELECT throws_ok($$SELECT drop_experiment('one')$$, '42704', NULL, 'what is dropped is gone');

---- ab_test ----

\set all '\'SELECT *, y AS value FROM public.unit\''
SELECT results_eq(format($$SELECT segment, metric, variant, method, n, difference IS NULL FROM ab_test(%L)$$, :all),
                  $$VALUES (NULL::text, 'value', 'control', 'welch', 40::bigint, true), (NULL, 'value', 'treatment', 'welch', 50, false)$$, 'a row for each variant');
SELECT ok(public.near(p_value, 0.08012514176807359) AND public.near(difference, 1.15) AND public.near(lower, -0.14092117657044434) AND public.near(lift, 0.2233009708737863)
          AND public.near(adjusted_p_value, p_value) AND public.near(mean, 6.3), 'means')
FROM ab_test(:all) WHERE variant = 'treatment';
SELECT ok(public.near(a.sequential_p_value, s.p_value) AND public.near(a.sequential_lower, s.lower) AND public.near(a.sequential_upper, s.upper), 'with their sequence')
FROM ab_test(:all || ' ;  ') a, sequential_test(a.difference, a.standard_error, 90) s WHERE variant = 'treatment';
SELECT is(array_agg(method || ' ' || public.near(p_value, e.p)::text ORDER BY e.place), '{"welch true","cuped true","ratio true","cuped true"}', 'four metrics')
FROM ab_test('SELECT variant, y AS a, y AS b, y AS c, y AS e, x, d FROM public.unit', metrics => '{a,b,c,e}', covariates => '{"b": "x", "e": "x"}',
             denominators => '{"c": "d", "e": "d"}')
JOIN (VALUES (1, 'a', 0.08012514176807359), (2, 'b', 0.2378863336843907), (3, 'c', 0.019775183268418917), (4, 'e', 0.071296580322857)) e (place, metric, p) USING (metric)
WHERE variant = 'treatment';
SELECT is(array_agg(adjusted_p_value ORDER BY metric), benjamini_hochberg(array_agg(p_value ORDER BY metric)), 'adjusted together')
FROM ab_test('SELECT variant, y AS a, y > 8 AS b FROM public.unit', metrics => '{a,b}') WHERE variant = 'treatment';
SELECT ok(public.near(srm_p_value, sample_ratio_mismatch('{40,50}', '{0.4,0.6}')), 'units against weights')
FROM ab_test(:all, weights => '{"control": 0.4, "treatment": 0.6}') LIMIT 1;

CREATE DOMAIN public.amount AS numeric CHECK (VALUE >= 0);
SELECT ok(public.near(p_value, 0.08012514176807359), 'a domain is a number')
FROM ab_test('SELECT variant, y::numeric::public.amount AS value FROM public.unit UNION ALL SELECT NULL, 7', control => 'control') WHERE variant = 'treatment';
-- rows of one unit are one unit: 4 units of 2 rows, of which one is true
SELECT results_eq($$SELECT variant, n, mean FROM ab_test('SELECT CASE WHEN u < 3 THEN ''control'' ELSE ''treatment'' END AS variant, u AS unit_id, u * r AS value
                    FROM generate_series(1, 4) u, generate_series(1, 2) r')$$,
                  $$VALUES ('control', 2::bigint, 4.5::float8), ('treatment', 2, 10.5)$$, 'rows are summed per unit');
SELECT results_eq($$SELECT variant, method, n, mean FROM ab_test('SELECT CASE WHEN u < 3 THEN ''control'' ELSE ''treatment'' END AS variant, u AS unit_id, r = u AS value
                    FROM generate_series(1, 4) u, generate_series(1, 3) r')$$,
                  $$VALUES ('control', 'proportions', 2::bigint, 1::float8), ('treatment', 'proportions', 2, 0.5)$$, 'or ever true');

SET client_min_messages = error;
SELECT results_eq($$SELECT variant, n FROM ab_test('SELECT * FROM (VALUES (1, ''control'', 5), (1, ''treatment'', 6), (2, ''control'', 1), (3, ''treatment'', 2)) t (unit_id, variant, value)')$$,
                  $$VALUES ('control', 1::bigint), ('treatment', 1)$$, 'a unit of both variants is of none');
SELECT results_eq($$SELECT segment, variant, n FROM ab_test('SELECT * FROM (VALUES (1, ''control'', 5, ''a''), (1, ''control'', 6, ''b''), (2, ''control'', 1, ''a''), (3, ''treatment'', 2, ''a''))
                    t (unit_id, variant, value, segment)')$$,
                  $$VALUES (NULL, 'control', 2::bigint), (NULL, 'treatment', 1), ('a', 'control', 1), ('a', 'treatment', 1)$$, 'a unit of two segments is of none of them');
SET client_min_messages = warning;
-- segments, and one of them without an answer
SELECT results_eq($$SELECT segment, n, p_value IS NULL, note FROM ab_test('SELECT variant, y > 1 AND d < 6 AS value, CASE WHEN d < 6 THEN ''few'' ELSE ''many'' END AS segment FROM public.unit')
                    WHERE variant = 'treatment'$$,
                  $$SELECT NULL::text, 50::bigint, false, NULL::text UNION ALL SELECT 'few', count(*), false, NULL FROM public.unit WHERE variant = 'treatment' AND d < 6
                    UNION ALL SELECT 'many', count(*), true, 'No unit of either group converted.' FROM public.unit WHERE variant = 'treatment' AND d >= 6$$, 'segments');
SELECT is(array_agg(guardrail ORDER BY metric), '{undecided,holds,broken,broken}', 'guardrails')
FROM ab_test('SELECT variant, y AS a, 100 + y AS b, CASE variant WHEN ''control'' THEN 100 ELSE 80 END + y / 10 AS c, CASE variant WHEN ''control'' THEN 80 ELSE 100 END + y / 10 AS e FROM public.unit',
             metrics => '{a,b,c,e}', margins => '{"a": 0.02, "b": 0.02, "c": 0.05, "e": -0.05}') WHERE variant = 'treatment';

-- with exposures: units without rows count, and rows before the exposure do not
SELECT create_experiment('shop', salt => 'salt') \g /dev/null
SELECT count(assign('shop', u::text)) FROM generate_series(1, 60) u \g /dev/null
CREATE TABLE public.sale AS SELECT u AS unit_id, r * u::float8 AS value, now() + make_interval(hours => r) AS occurred_at FROM generate_series(1, 80) u, generate_series(-1, 2) r WHERE u % 3 = 0;
SELECT results_eq($$SELECT variant, n, round(mean::numeric, 9) FROM ab_test('SELECT * FROM public.sale', 'shop')$$,
                  $$SELECT CASE WHEN public.slot('salt', u::text, 1) < 2147483648 THEN 'control' ELSE 'treatment' END AS v, count(*), round(avg(CASE WHEN u % 3 = 0 THEN 3 * u ELSE 0 END), 9)
                    FROM generate_series(1, 60) u GROUP BY 1 ORDER BY 1$$, 'the exposed are the units');
SELECT results_eq($$SELECT p_value FROM ab_test('SELECT unit_id, value FROM public.sale WHERE occurred_at > now()', 'shop')$$,
                  $$SELECT p_value FROM ab_test('SELECT *, ''x'' AS label FROM public.sale', 'shop')$$, 'from their exposure on');

SELECT throws_ok($$SELECT * FROM ab_test('SELECT ''a'' AS variant, 1 AS value')$$, '22023', 'unknown variant "control"', 'no control');
SELECT throws_ok($$SELECT * FROM ab_test('SELECT variant, y AS value FROM public.unit', weights => '{"control": 1, "other": 1}')$$, '22023', 'unknown variant "treatment"', 'a variant without weight');
SELECT throws_ok($$SELECT * FROM ab_test('SELECT variant, y AS value FROM public.unit', 'shop')$$, '42703', 'the query has no column "unit_id"', 'nothing to join');
SELECT throws_ok($$SELECT * FROM ab_test('SELECT unit_id, variant, y AS value FROM public.unit', 'shop')$$, '22023', NULL, 'variants twice');
SELECT throws_ok($$SELECT * FROM ab_test('SELECT unit_id, y AS value FROM public.unit')$$, '42703', 'the query has no column "variant"', 'no variants');
SELECT throws_ok($$SELECT * FROM ab_test('SELECT variant FROM public.unit')$$, '42703', 'the query has no column "value"', 'no metric');
SELECT throws_ok($$SELECT * FROM ab_test('SELECT variant, unit_id AS value FROM public.unit')$$, '42804', 'column "value" of the query is no number', 'a metric of words');
SELECT throws_ok($$SELECT * FROM ab_test('SELECT variant, y AS value, 1 AS x FROM public.unit', covariates => '{"value": "x"}')$$, '22003', 'cannot adjust metric "value" by column "x"', 'a covariate that explains nothing');
SELECT throws_ok($$SELECT * FROM ab_test('SELECT variant, y AS value FROM public.unit', covariates => '{"y": "x"}')$$, '22023', NULL, 'a covariate of no metric');
SELECT throws_ok($$SELECT * FROM ab_test('SELECT variant, y AS value FROM public.unit', margins => '{"value": 0}')$$, '22023', NULL, 'a margin of nothing');
SELECT throws_ok($$SELECT * FROM ab_test('SELECT variant, ''NaN''::float8 AS value FROM public.unit')$$, '22003', 'the value of a unit is NaN', 'NaN');
SELECT throws_ok($$SELECT * FROM ab_test('DELETE FROM public.unit')$$, '42601', NULL, 'no SELECT');
SELECT throws_ok($$SELECT * FROM ab_test('SELECT 1 AS value) q; DELETE FROM public.unit; SELECT * FROM (SELECT 1 AS value')$$, '0A000', NULL, 'nor more than one');
SELECT throws_ok($$SELECT * FROM ab_test(' ; ')$$, '22023', '"query" is empty', 'nothing');
SELECT throws_ok($$SELECT * FROM ab_test('SELECT variant, y AS value FROM public.unit', confidence => 0)$$, '22023', NULL, 'no confidence');
SELECT throws_ok($$SELECT * FROM ab_test('SELECT variant, y AS value FROM public.unit', metrics => '{}')$$, '22023', NULL, 'no metrics');
SELECT throws_ok($$SELECT * FROM ab_test(NULL)$$, '22004', NULL, 'no query');

---- the same from parts of a table ----

CREATE TABLE public.many AS SELECT (ARRAY['control', 'treatment'])[1 + u % 2] AS variant, u, (u * 7919 % 1000) / 17::float8 AS y, (u * 104729 % 997) / 13::float8 AS x, 1 + u % 5 AS d FROM generate_series(1::bigint, 60000) u;
CREATE TABLE public.parted (LIKE public.many) PARTITION BY HASH (u);
CREATE TABLE public.part0 PARTITION OF public.parted FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE public.part1 PARTITION OF public.parted FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE public.part2 PARTITION OF public.parted FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO public.parted SELECT * FROM public.many;
ANALYZE public.many, public.parted;
CREATE TABLE public.serial AS SELECT variant, experiment_moments(y, x, d) AS m FROM public.many GROUP BY variant;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET enable_partitionwise_aggregate = on;
CREATE FUNCTION public.plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    line text;
    lines text := '';
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP lines := lines || line; END LOOP;
    RETURN lines;
END $$;
SELECT matches(public.plan_of('SELECT variant, experiment_moments(y, x, d) FROM public.parted GROUP BY variant'), 'Finalize.*Gather.*Partial', 'parallel workers');
SELECT is_empty($$SELECT variant FROM (SELECT variant, experiment_moments(y, x, d) AS m FROM public.parted GROUP BY variant) p JOIN public.serial s USING (variant),
                  unnest(p.m, s.m) v (a, b) WHERE abs(a - b) > 1e-10 * greatest(1, abs(b))$$, 'in parallel over partitions as over a plain table');
SELECT is_empty($$SELECT s.variant FROM (SELECT variant, experiment_moments_merge(part) AS m FROM (SELECT variant, d, experiment_moments(y, x, d) AS part FROM public.many GROUP BY variant, d) p
                  GROUP BY variant) p JOIN public.serial s USING (variant), unnest(p.m, s.m) v (a, b) WHERE abs(a - b) > 1e-10 * greatest(1, abs(b))$$, 'merged by hand too');
SELECT ok(bool_and(a.p_value IS NOT DISTINCT FROM b.p_value OR abs(a.p_value - b.p_value) < 1e-9), 'and ab_test')
FROM ab_test('SELECT variant, y AS value, x FROM public.many', covariates => '{"value": "x"}') a
JOIN ab_test('SELECT variant, y AS value, x FROM public.parted', covariates => '{"value": "x"}') b USING (variant);

SELECT * FROM finish();

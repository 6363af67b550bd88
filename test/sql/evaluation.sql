\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- evaluation.sql
--    Off-policy estimators: values of the reference on real logs, the same
--    answer by every way of computing it, and what is refused.
--
SELECT plan(168);

-- whether two numbers agree to a relative difference; so do two NULLs
CREATE FUNCTION near(a float8, b float8, tolerance float8 DEFAULT 1e-9) RETURNS boolean LANGUAGE sql IMMUTABLE
AS $$SELECT a IS NOT DISTINCT FROM b OR coalesce(abs(a - b) <= tolerance * greatest(abs(a), abs(b)), false)$$;
CREATE FUNCTION near(a estimate, b estimate, tolerance float8 DEFAULT 1e-9) RETURNS boolean LANGUAGE sql IMMUTABLE
AS $$SELECT near(a.value, b.value, tolerance) AND near(a.standard_error, b.standard_error, tolerance) AND a.n = b.n
            AND near(a.effective_sample_size, b.effective_sample_size, tolerance) AND near(a.max_weight, b.max_weight, tolerance)
            AND near(a.mean_weight, b.mean_weight, tolerance)$$;

---- by hand ----

-- weights 2, 0.5 and 0.25 for rewards 1, 3 and 0
CREATE TABLE hand (reward float8, target float8, logged float8, predicted float8, expected float8);
INSERT INTO hand VALUES (1, .5, .25, .5, .75), (3, .25, .5, 2, 1), (0, .125, .5, 1, .5);
SELECT ok(near(ips(reward, target, logged), (3.5 / 3, sqrt((4 + 2.25 - 3.5 ^ 2 / 3) / 2 / 3), 3, 2.75 ^ 2 / 4.3125, 2, 2.75 / 3)::estimate), 'ips: (2 + 1.5 + 0) / 3') FROM hand;
SELECT ok(near((SELECT (snips(reward, target, logged)).value FROM hand), 3.5 / 2.75), 'snips: 3.5 / 2.75');
SELECT ok(near((SELECT (snips(reward, target, logged)).standard_error FROM hand),
               (SELECT sqrt(sum((target / logged) ^ 2 * (reward - 3.5 / 2.75) ^ 2)) / 2.75 FROM hand)), 'and its error by the delta method');
SELECT ok(near((SELECT (clipped_ips(reward, target, logged, 1.5)).value FROM hand), 1), 'clipped at 1.5: (1.5 + 1.5 + 0) / 3');
SELECT ok(near((SELECT (dr(reward, target, logged, predicted, expected)).value FROM hand), (1.75 + 1.5 + .25) / 3), 'dr: (.75 + 2 x .5 + 1 + .5 x 1 + .5 - .25 x 1) / 3');
SELECT ok(near((SELECT (sndr(reward, target, logged, predicted, expected)).value FROM hand), 2.25 / 3 + 1.25 / 2.75), 'sndr: 2.25 / 3 + 1.25 / 2.75');
SELECT ok(near((SELECT (switch_dr(reward, target, logged, predicted, expected, .5)).value FROM hand), (.75 + 1.5 + .25) / 3), 'switch_dr keeps a weight of tau');
SELECT ok(near((SELECT (dr_os(reward, target, logged, predicted, expected, 2)).value FROM hand),
               (2.25 + 4 / 6. * .5 + 1 / 2.25 * 1 - .5 / 2.0625 * 1) / 3), 'dr_os: 2 w / (w^2 + 2)');
SELECT results_eq($$SELECT (dm(expected)).* FROM hand$$, $$VALUES (.75::float8, sqrt(.125 / 2 / 3)::float8, 3::bigint, NULL::float8, NULL::float8, NULL::float8)$$, 'dm has no weights');
SELECT results_eq($$SELECT value, n FROM (SELECT (replay(reward, target >= .25)).* FROM hand) r$$, $$VALUES (2::float8, 2::bigint)$$, 'replay: (1 + 3) / 2');

-- at their limits the estimators are each other
SELECT ok(near(clipped_ips(reward, target, logged, 'inf'), ips(reward, target, logged)), 'no cap: ips') FROM hand;
SELECT ok(near(switch_dr(reward, target, logged, predicted, expected, 'inf'), dr(reward, target, logged, predicted, expected)), 'tau infinite: dr') FROM hand;
SELECT ok(near(dr_os(reward, target, logged, predicted, expected, 'inf'), dr(reward, target, logged, predicted, expected)), 'lambda infinite: dr') FROM hand;
SELECT ok(near((dr_os(reward, target, logged, predicted, expected, 0)).value, (dm(expected)).value), 'lambda 0: dm') FROM hand;
SELECT ok(near(dr(reward, target, logged, 0, 0), ips(reward, target, logged)), 'dr that predicts nothing: ips') FROM hand;
SELECT ok(near(sndr(reward, target, logged, 0, 0), snips(reward, target, logged)), 'sndr that predicts nothing: snips') FROM hand;

---- few rows ----

SELECT is((SELECT ips(1, 1, 1) WHERE false), NULL, 'no rows, no estimate');
SELECT results_eq($$SELECT (ips(1, .5, .25)).*$$, $$VALUES (2::float8, NULL::float8, 1::bigint, 1::float8, 2::float8, 2::float8)$$, 'one row has no standard error');
SELECT results_eq($$SELECT (snips(r, 0, .25)).* FROM generate_series(1, 3) r$$,
                  $$VALUES (NULL::float8, NULL::float8, 3::bigint, 0::float8, 0::float8, 0::float8)$$, 'weights of 0 alone give no snips');
SELECT results_eq($$SELECT (ips(r, 0, .25)).* FROM generate_series(1, 3) r$$,
                  $$VALUES (0::float8, 0::float8, 3::bigint, 0::float8, 0::float8, 0::float8)$$, 'and an ips of 0');
SELECT is((SELECT (snips(1, t, .5)).standard_error FROM unnest('{.1,.3,.9}'::float8[]) t), 0::float8, 'equal rewards, no error of snips');

SELECT results_eq($$SELECT round((ips(reward, target, logged) OVER (ORDER BY target DESC)).value::numeric, 12) FROM hand$$,
                  $$VALUES (2::numeric), (1.75), (1.166666666667)$$, 'estimates may run along a log');

---- slates ----

-- Values of sb-obp 0.5.10: SlateStandardIPS, SlateIndependentIPS, SlateRewardInteractionIPS and SlateCascadeDoublyRobust (2 actions, q-hat of the other one
-- 2 expected - predicted, each with target probability 1/2), pbm_ips of NumPy 1.26, errors: std(ddof=1) / sqrt(n) of NumPy over the slates' terms.
CREATE TABLE slate AS
SELECT i, array_agg(((i * 3 + l * l) % 4 = 0)::int::float8 ORDER BY l) AS reward, array_agg(((i * 11 + l * 5) % 19) / 19.0::float8 ORDER BY l) AS target,
       array_agg(.1 + ((i * 7 + l * 13) % 17) / 20.0::float8 ORDER BY l) AS logged, array_agg(((i + l) % 5) / 10.0::float8 ORDER BY l) AS predicted,
       array_agg(((i * 2 + l) % 7) / 14.0::float8 ORDER BY l) AS expected,
       array_agg(ARRAY[((i * 5 + l * 3 + 7) % 11) / 33.0::float8, ((i * 5 + l * 3 + 14) % 11) / 33.0::float8, ((i * 5 + l * 3 + 21) % 11) / 33.0::float8] ORDER BY l) AS target_at,
       array_agg(ARRAY[(1 + (i * 3 + l) % 13) / 39.0::float8, (1 + (i * 3 + l * 2) % 13) / 39.0::float8, (1 + (i * 3 + l * 3) % 13) / 39.0::float8] ORDER BY l) AS logged_at
FROM generate_series(1, 200) i, generate_series(1, 3) l GROUP BY i;
CREATE TABLE slate_estimate AS
SELECT sips(reward, target, logged), iips(reward, target, logged), rips(reward, target, logged), cascade_dr(reward, target, logged, predicted, expected),
       pbm_ips(reward, target_at, logged_at, '{1,.6,.25}') FROM slate;
SELECT ok(near((e).value, value) AND near((e).standard_error, error) AND near((e).mean_weight, weight) AND near((e).max_weight, most) AND (e).n = 200, name)
FROM slate_estimate, (VALUES
    ('sips', 0.9815637706680566::float8, 0.17070415372820583::float8, 1.3238621146731355::float8, 13.879574281965295::float8),
    ('iips', 0.9934323979254319, 0.10941691569908167, 1.3922476557383678, 8.947368421052632),
    ('rips', 1.033852429922653, 0.13355687522141085, 1.3238621146731355, 13.879574281965295),
    ('cascade_dr', 1.0090953948433858, 0.1433189142675457, 1.3238621146731355, 13.879574281965295),
    ('pbm_ips', 0.8118255229626979, 0.08296408512963978, 1.068438709441251, 5.648690292758089)) v(name, value, error, weight, most),
    LATERAL (SELECT CASE name WHEN 'sips' THEN sips WHEN 'iips' THEN iips WHEN 'rips' THEN rips WHEN 'cascade_dr' THEN cascade_dr ELSE pbm_ips END AS e) x;
SELECT ok(near(s.sips, e.ips) AND near(s.iips, e.ips) AND near(s.rips, e.ips) AND near(s.pbm, e.ips), 'slates of one slot are rows')
FROM (SELECT sips(ARRAY[reward], ARRAY[target], ARRAY[logged]), iips(ARRAY[reward], ARRAY[target], ARRAY[logged]), rips(ARRAY[reward], ARRAY[target], ARRAY[logged]),
             pbm_ips(ARRAY[reward], ARRAY[[target]], ARRAY[[logged]], '{0.5}') AS pbm FROM hand) s, (SELECT ips(reward, target, logged) FROM hand) e;
SELECT ok(near(s.cascade_dr, e.dr), 'and cascade_dr is dr')
FROM (SELECT cascade_dr(ARRAY[reward], ARRAY[target], ARRAY[logged], ARRAY[predicted], ARRAY[expected]) FROM hand) s, (SELECT dr(reward, target, logged, predicted, expected) FROM hand) e;

---- the Open Bandit Dataset ----

SELECT coalesce((pg_stat_file(:'data_dir' || '/obd_men/bts.csv', true)).size > 0, false) AS have_data \gset
\if :have_data
\set random :data_dir '/obd_men/random.csv'
\set bts :data_dir '/obd_men/bts.csv'
CREATE TEMP TABLE line (log text DEFAULT 'random', line text);
COPY line (line) FROM :'random' (DELIMITER E'\x01', HEADER);
ALTER TABLE line ALTER log SET DEFAULT 'bts';
COPY line (line) FROM :'bts' (DELIMITER E'\x01', HEADER);
CREATE TEMP TABLE logged AS
SELECT log, f[3]::int AS item, f[4]::int AS position, f[5]::float8 AS reward, f[6]::float8 AS propensity, f[7:10] AS visitor
FROM (SELECT log, string_to_array(line, ',') AS f FROM line) l;

-- Probability of each of the 34 items at positions 1, 2 and 3 under Beta-Thompson sampling with the priors that sb-obp 0.5.10 ships for the men's campaign
-- (obp/policy/conf/prior_bts.yaml): of independent draws x, the integral of f_a(x) P(exactly k - 1 other draws > x) on (0, .05), 600 panels of 20 Gauss-Legendre
-- points, SciPy 1.17.
CREATE TEMP TABLE thompson (item int, at_1 float8, at_2 float8, at_3 float8);
INSERT INTO thompson VALUES
    (0, .045679713919737, .045821724524702, .052406467798084), (1, .004225775547883, .003038311494097, .003219779737631),
    (2, .032571367459477, .040876362876137, .052215607969503), (3, .013708144749309, .032659916242547, .058509168553939),
    (4, .000754065211188, .000483646882855, .000495632109302), (5, .002543075211691, .001763024783549, .001849675255573),
    (6, .036124544280333, .056330972848638, .078119254247475), (7, .016892920356168, .021626621325012, .028770751318893),
    (8, .016714100748847, .014995110236386, .017041058214766), (9, .033542556897481, .044749575152189, .058539045364322),
    (10, .004014537285917, .007662872707195, .013022801801077), (11, .000830829880082, .000924492767639, .001221498785529),
    (12, .000427583684807, .000568286215712, .000829523410612), (13, .286604571176969, .313707946280888, .208708620519911),
    (14, .017907942870744, .017973453780171, .021393909215242), (15, .003346595821696, .002364572662127, .002493886227262),
    (16, .004476384842778, .002436028769166, .002314399822137), (17, .008935376179542, .009033209638183, .010985485256413),
    (18, .053243771795551, .022096209247128, .019029616137675), (19, .016062302070805, .009978003670619, .009812516239434),
    (20, .002019492587883, .001853115822667, .002206692917562), (21, .040117697479442, .020943082847419, .019185060082541),
    (22, .064450723401396, .036784441655996, .034268690180043), (23, .153753891637897, .162048061836890, .154609357045330),
    (24, .002836558388338, .002477351656257, .002871720761374), (25, .000390235428440, .000299770501258, .000333352513720),
    (26, .032131928309434, .029211204668656, .032691959663891), (27, .021871449071727, .021040837099683, .024436766160867),
    (28, .002871193473881, .002299978693784, .002564270541432), (29, .025512962439652, .020478989255963, .021984563684876),
    (30, .001987942767333, .001428810770135, .001525352944771), (31, .028597842748431, .022834080951687, .024381141607105),
    (32, .004530857738149, .002675268623906, .002619457024596), (33, .020321064536990, .026534663510758, .035342916887112);
CREATE TEMP TABLE chance AS
SELECT 'random' AS log, item, position, at AS probability FROM thompson, LATERAL (VALUES (1, at_1), (2, at_2), (3, at_3)) p(position, at)
UNION ALL SELECT 'bts', item, position, 1 / 34.0::float8 FROM generate_series(0, 33) item, generate_series(1, 3) position;
-- predictions: the item's click rate, drawn to that of the log by 100 impressions
CREATE TEMP TABLE prediction AS
SELECT log, item, (sum(reward) + 100 * min(rate)) / (count(*) + 100) AS predicted
FROM (SELECT *, avg(reward) OVER (PARTITION BY log) AS rate FROM logged) l GROUP BY log, item;
CREATE TEMP TABLE observed AS
SELECT l.log, reward, probability AS target, propensity AS logged, predicted, expected, item, visitor
FROM logged l JOIN chance USING (log, item, position) JOIN prediction USING (log, item)
     JOIN (SELECT log, position, sum(probability * predicted) AS expected FROM chance JOIN prediction USING (log, item) GROUP BY 1, 2) e USING (log, position);
SELECT is((SELECT count(*) FROM observed), 20000::bigint, 'both logs');
CREATE TEMP TABLE estimated AS
SELECT log, name, (e).* FROM (
    SELECT log, ips(reward, target, logged), clipped_ips(reward, target, logged, 5), snips(reward, target, logged), dm(expected),
           dr(reward, target, logged, predicted, expected), sndr(reward, target, logged, predicted, expected),
           switch_dr(reward, target, logged, predicted, expected, 10) AS switch_dr_10, switch_dr(reward, target, logged, predicted, expected, 2) AS switch_dr_2,
           dr_os(reward, target, logged, predicted, expected, 100) AS dr_os_100, dr_os(reward, target, logged, predicted, expected, 1) AS dr_os_1
    FROM observed GROUP BY log) o,
    LATERAL (VALUES ('ips', ips), ('clipped_ips', clipped_ips), ('snips', snips), ('dm', dm), ('dr', dr), ('sndr', sndr), ('switch_dr 10', switch_dr_10),
                    ('switch_dr 2', switch_dr_2), ('dr_os 100', dr_os_100), ('dr_os 1', dr_os_1)) n(name, e);
-- Values of sb-obp 0.5.10, estimate_policy_value of InverseProbabilityWeighting (lambda_ inf, 5), SelfNormalizedInverseProbabilityWeighting, DirectMethod,
-- DoublyRobust, SelfNormalizedDoublyRobust, SwitchDoublyRobust (lambda_ 10, 2) and DoublyRobustWithShrinkage (lambda_ 100, 1). Errors: of means
-- std(ddof=1) / sqrt(n) of the reference's round rewards; of snips and sndr the delta method in NumPy 1.26.
CREATE TEMP TABLE reference (log text, name text, value float8, standard_error float8);
INSERT INTO reference VALUES
    ('random', 'ips', 0.004540055783183177, 0.0011820748207346304),
    ('random', 'clipped_ips', 0.004282011427892505, 0.0010461073603971246),
    ('random', 'snips', 0.004610212965433038, 0.0011992028448350423),
    ('random', 'dm', 0.005009786306179679, 1.0819051790934273e-06),
    ('random', 'dr', 0.004634011898468208, 0.0011802283371203552),
    ('random', 'sndr', 0.004628205081357216, 0.0011982902697707837),
    ('random', 'switch_dr 10', 0.004984705422887564, 0.0011796130240515402),
    ('random', 'switch_dr 2', 0.004829336257912761, 0.0005229840662935481),
    ('random', 'dr_os 100', 0.004857092179044115, 0.0009399980055115337),
    ('random', 'dr_os 1', 0.005027037361878299, 0.00023570550245224025),
    ('bts', 'ips', 0.0030086263272564836, 0.0007739354628865029),
    ('bts', 'clipped_ips', 0.0030086263272564836, 0.0007739354628865029),
    ('bts', 'snips', 0.003189423162277392, 0.0008278231141916916),
    ('bts', 'dm', 0.0058937296636323985, 0),
    ('bts', 'dr', 0.003248662979940464, 0.0008000230637352504),
    ('bts', 'sndr', 0.0030897134684978672, 0.0008270889186711948),
    ('bts', 'switch_dr 10', 0.004899720223615151, 0.0007693093267007943),
    ('bts', 'switch_dr 2', 0.005197577203071767, 0.00024965586848523907),
    ('bts', 'dr_os 100', 0.004786004088549538, 0.000682735531659443),
    ('bts', 'dr_os 1', 0.005636014383986138, 0.00018660309741609453);
SELECT ok(near(e.value, r.value) AND (near(e.standard_error, r.standard_error) OR abs(e.standard_error - r.standard_error) < 1e-15), format('%s from the %s log', name, log))
FROM reference r LEFT JOIN estimated e USING (log, name) ORDER BY log COLLATE "C", name COLLATE "C";
SELECT ok(near(mean_weight, 0.9433136257492369) AND near(max_weight, 178.25311942959001) AND near(effective_sample_size, 655.7098495873154), 'weights of the uniform policy')
FROM estimated WHERE log = 'bts' AND name = 'dr_os 1';
SELECT ok(near(mean_weight, 0.9847822252950366) AND near(max_weight, 10.66607017355021) AND near(effective_sample_size, 2474.2708593278044), 'and of the Thompson policy')
FROM estimated WHERE log = 'random' AND name = 'snips';
-- sb-obp's ReplayMethod for item 0 at all positions
SELECT ok(near((e).value, 0.014705882352941176) AND (e).n = 272 AND near((e).standard_error, 0.0073121289768460634), 'replay of one item from the random log')
FROM (SELECT replay(reward, item = 0) AS e FROM observed WHERE log = 'random') r;
-- statsmodels 0.15, OLS of the terms on a constant (snips: WLS of the reward) with cov_type='cluster', by the visitor's four features
SELECT ok(near((e).value, r.value) AND near((e).standard_error, r.standard_error) AND (e).n = 10000, format('%s of the %s log, clustered', r.name, r.log))
FROM (VALUES ('random', 'ips', 0.004540055783183179::float8, 0.0010768139623487248::float8), ('random', 'snips', 0.00461021296543304, 0.0011061016582267318),
             ('random', 'dr', 0.004634011898468205, 0.001088741491688318), ('bts', 'ips', 0.0030086263272564853, 0.0008005359040005089),
             ('bts', 'snips', 0.0031894231622773914, 0.000845599578528561), ('bts', 'dr', 0.00324866297994046, 0.0008088296388326725)) r(log, name, value, standard_error)
     JOIN (SELECT log, clustered_estimate(i) AS ips, clustered_estimate(s) AS snips, clustered_estimate(d) AS dr
           FROM (SELECT log, visitor, ips_state(reward, target, logged) i, snips_state(reward, target, logged) s, dr_state(reward, target, logged, predicted, expected) d
                 FROM observed GROUP BY log, visitor) v GROUP BY log) c USING (log),
     LATERAL (SELECT CASE r.name WHEN 'ips' THEN ips WHEN 'snips' THEN snips ELSE dr END AS e) x
ORDER BY r.log COLLATE "C", r.name COLLATE "C";
\else
SELECT skip('no Open Bandit Dataset beside the checkout', 30);
\endif

---- plain, partitioned, parallel, sharded ----

CREATE TABLE decided (id int, visitor int, reward float8, target float8, logged float8, predicted float8, expected float8);
SELECT setseed(.5) \g /dev/null
INSERT INTO decided
SELECT i, i % 997, 1000 + random(), random(), .05 + .95 * random(), 1000 + random(), 1000 + random() FROM generate_series(1, 20000) i;
CREATE TABLE parted (LIKE decided) PARTITION BY HASH (id);
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO parted TABLE decided;
ANALYZE decided, parted;

\set estimators 'ips(reward, target, logged), clipped_ips(reward, target, logged, 3), snips(reward, target, logged), dm(expected), dr(reward, target, logged, predicted, expected), sndr(reward, target, logged, predicted, expected), switch_dr(reward, target, logged, predicted, expected, 2), dr_os(reward, target, logged, predicted, expected, 4), replay(reward, target > .5), sips(ARRAY[reward, expected], ARRAY[target, .5], ARRAY[logged, .9]), iips(ARRAY[reward, expected], ARRAY[target, .5], ARRAY[logged, .9]), rips(ARRAY[reward, expected], ARRAY[target, .5], ARRAY[logged, .9]), cascade_dr(ARRAY[reward, expected], ARRAY[target, .5], ARRAY[logged, .9], ARRAY[predicted, 1], ARRAY[expected, 2]), pbm_ips(ARRAY[reward], ARRAY[[target, .2]], ARRAY[[logged, .1]], ''{1,.5}'')'
SET max_parallel_workers_per_gather = 0;
CREATE TABLE serial AS SELECT :estimators FROM decided;
-- figures that a two-pass computation gives
SELECT ok(near((ips).value, avg, 1e-12) AND near((ips).standard_error, error, 1e-12), 'sums over 20,000 rows are those of two passes')
FROM serial, (SELECT avg(z), (SELECT sqrt(sum((z - m) ^ 2) / (count(*) - 1) / count(*)) FROM (SELECT (reward * target / logged)::numeric AS z FROM decided) y,
    (SELECT avg((reward * target / logged)::numeric) AS m FROM decided) m)::float8 AS error FROM (SELECT (reward * target / logged)::numeric AS z FROM decided) x) x;
SELECT ok(near((snips).value, v) AND near((snips).standard_error, error) AND near((sndr).value, dr_value) AND near((sndr).standard_error, dr_error),
          'even of rewards that vary little')
FROM serial, (SELECT sum(w * r) / sum(w) AS v FROM (SELECT reward::numeric AS r, (target / logged)::numeric AS w FROM decided) d) a,
    LATERAL (SELECT sqrt(sum(w ^ 2 * (r - v) ^ 2)) / sum(w) AS error FROM (SELECT reward::numeric AS r, (target / logged)::numeric AS w FROM decided) d) b,
    (SELECT avg(e) + sum(w * r) / sum(w) AS dr_value, avg(e) AS mean, sum(w * r) / sum(w) AS ratio, avg(w) AS weight
     FROM (SELECT reward::numeric - predicted::numeric AS r, (target / logged)::numeric AS w, expected::numeric AS e FROM decided) d) c,
    LATERAL (SELECT sqrt(sum((e - mean + w * (r - ratio) / weight) ^ 2)) / count(*) AS dr_error
             FROM (SELECT reward::numeric - predicted::numeric AS r, (target / logged)::numeric AS w, expected::numeric AS e FROM decided) d) f;
SET max_parallel_workers_per_gather = 4;
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
CREATE FUNCTION plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    line text;
    lines text := '';
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (VERBOSE, COSTS off) ' || query LOOP
        lines := lines || line || E'\n';
    END LOOP;
    RETURN lines;
END $$;
-- those of serial's figures that another computation does not reach to 1e-10
CREATE FUNCTION differs(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format($q$
        WITH a AS (SELECT key, value AS row FROM serial s, jsonb_each(to_jsonb(s))), b AS (SELECT key, value AS row FROM (%s) q, jsonb_each(to_jsonb(q)))
        SELECT format('%%s: %%s, %%s', key, a.row, b.row) FROM a FULL JOIN b USING (key)
        WHERE NOT coalesce(near(jsonb_populate_record(NULL::estimate, a.row), jsonb_populate_record(NULL::estimate, b.row), 1e-10), false)$q$, query);
END $$;
SELECT is_empty(format('SELECT differs(%L)', 'SELECT ' || :'estimators' || ' FROM decided'), 'parallel workers agree with one process');
SELECT ok(plan_of('SELECT ' || :'estimators' || ' FROM decided') ~ 'Partial Aggregate', 'and there are some');
SELECT is_empty(format('SELECT differs(%L)', 'SELECT ' || :'estimators' || ' FROM parted'), 'so does a partitioned table');
SELECT ok(plan_of('SELECT ' || :'estimators' || ' FROM parted') ~ 'Partial Aggregate(.|\n)*Parallel Append', 'whose partitions workers share');
SET enable_partitionwise_aggregate = on;
SELECT is_empty(format('SELECT differs(%L)', 'SELECT ' || :'estimators' || ' FROM parted'), 'so does partition by partition');
RESET enable_partitionwise_aggregate;

-- two servers, which hold two partitions and the third
CREATE EXTENSION postgres_fdw SCHEMA public;
SELECT format('host %L, port %L, dbname %L, extensions ''bundle_rec''', split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database()) AS here \gset
CREATE SERVER shard_a FOREIGN DATA WRAPPER postgres_fdw OPTIONS (:here);
CREATE SERVER shard_b FOREIGN DATA WRAPPER postgres_fdw OPTIONS (:here);
CREATE USER MAPPING FOR CURRENT_USER SERVER shard_a;
CREATE USER MAPPING FOR CURRENT_USER SERVER shard_b;
CREATE VIEW two_parts AS TABLE parted_0 UNION ALL TABLE parted_1;
CREATE FOREIGN TABLE far_a (id int, visitor int, reward float8, target float8, logged float8, predicted float8, expected float8) SERVER shard_a OPTIONS (table_name 'two_parts');
CREATE FOREIGN TABLE far_b (id int, visitor int, reward float8, target float8, logged float8, predicted float8, expected float8) SERVER shard_b OPTIONS (table_name 'parted_2');
SELECT regexp_replace(:'estimators', '(\w+)\(([^()]*)\)', '\1_state(\2) AS \1', 'g') AS states \gset
SELECT string_agg(format('combine_estimates(%I) AS %1$I', attname), ', ' ORDER BY attnum) AS combined FROM pg_attribute WHERE attrelid = 'serial'::regclass AND attnum > 0 \gset
SELECT format('SELECT %s FROM (SELECT %s FROM far_a UNION ALL SELECT %2$s FROM far_b) s', :'combined', :'states') AS over_shards \gset
SELECT is_empty(format('SELECT differs(%L)', :'over_shards'), 'states of two servers combine to the same');
SELECT ok(plan_of(:'over_shards') ~ 'Remote SQL: SELECT [^\n]*ips_state\([^\n]*two_parts(.|\n)*Remote SQL: SELECT [^\n]*ips_state\([^\n]*parted_2', 'each server sums its own rows');
CREATE TABLE spread (LIKE decided) PARTITION BY HASH (id);
ALTER TABLE spread ATTACH PARTITION far_b FOR VALUES WITH (MODULUS 3, REMAINDER 2);
CREATE FOREIGN TABLE far_0 PARTITION OF spread FOR VALUES WITH (MODULUS 3, REMAINDER 0) SERVER shard_a OPTIONS (table_name 'parted_0');
CREATE FOREIGN TABLE far_1 PARTITION OF spread FOR VALUES WITH (MODULUS 3, REMAINDER 1) SERVER shard_a OPTIONS (table_name 'parted_1');
SELECT is_empty(format('SELECT differs(%L)', 'SELECT ' || :'estimators' || ' FROM spread'), 'a table partitioned over servers needs no states');

-- users whose rows lie on both
CREATE TABLE clustered AS SELECT clustered_estimate(s) AS e FROM (SELECT sndr_state(reward, target, logged, predicted, expected) AS s FROM decided GROUP BY visitor) v;
SELECT ok(near(e, (SELECT clustered_estimate(s) FROM (
        SELECT combine_states(s) AS s FROM (SELECT visitor, sndr_state(reward, target, logged, predicted, expected) AS s FROM far_a GROUP BY visitor
            UNION ALL SELECT visitor, sndr_state(reward, target, logged, predicted, expected) FROM far_b GROUP BY visitor) x GROUP BY visitor) v), 1e-10), 'clusters combine too') FROM clustered;
SELECT ok(near(e, (SELECT clustered_estimate(s) FROM (SELECT sndr_state(reward, target, logged, predicted, expected) AS s FROM parted GROUP BY visitor) v), 1e-10), 'and in parallel') FROM clustered;
SELECT ok(near((e).value, (sndr).value, 1e-10) AND near((e).max_weight, (sndr).max_weight) AND near((e).mean_weight, (sndr).mean_weight)
          AND near((e).effective_sample_size, (sndr).effective_sample_size, 1e-10) AND (e).n = (sndr).n, 'a clustered estimate has its own error only') FROM clustered, serial;
SELECT ok(near(clustered_estimate(s), (SELECT ips FROM serial), 1e-10), 'clusters of one row are rows') FROM (SELECT ips_state(reward, target, logged) AS s FROM decided GROUP BY id) v;

---- intervals ----

-- SciPy 1.17: norm.ppf(.975) = 1.959963984540054, norm.ppf(.95) = 1.6448536269514722
SELECT ok(near(lower, .5 - 1.959963984540054 * .1) AND near(upper, .5 + 1.959963984540054 * .1), 'the normal interval') FROM confidence_interval((.5, .1, 100, 90, 2, 1));
SELECT ok(near(lower, .5 - 1.6448536269514722 * .1) AND near(upper, .5 + 1.6448536269514722 * .1), 'of another level') FROM confidence_interval((.5, .1, 100, 90, 2, 1), .9);
SELECT results_eq($$SELECT (confidence_interval(ips(1, .5, .5))).*$$, $$VALUES (NULL::float8, NULL::float8)$$, 'one row has none');
SELECT is(confidence_interval(NULL), NULL, 'nor has no estimate');
-- Python's math module: .5 -+ (sqrt(2 (400 x .02^2) ln 80 / 400) + 7 x 3 ln 80 / (3 x 399)), .5 -+ (.02 sqrt(2 ln 40) + 7 x 3 ln 40 / (3 x 999))
SELECT ok(near(lower, 0.3639140522505316) AND near(upper, 0.6360859477494685), 'the empirical Bernstein interval') FROM bernstein_interval((.5, .02, 400, 90, 2, 1), 0, 3);
SELECT ok(near(lower, 0.4198279351873947) AND near(upper, 0.5801720648126053), 'of other bounds and level') FROM bernstein_interval((.5, .02, 1000, 90, 2, 1), -1, 2, .9);
SELECT results_eq($$SELECT * FROM bernstein_interval((.5, .2, 4, 4, 1, 1), 0, 3)$$, $$VALUES (0::float8, 3::float8)$$, 'is cut to the bounds');

---- warnings ----

SELECT is(support_warnings(ips(r, .5, .5)), '{}', 'nothing speaks against equal policies') FROM generate_series(1, 200) r;
SELECT is(support_warnings(ips(r, .4, .5)), '{mean_weight_below_1}', 'equal weights below 1') FROM generate_series(1, 200) r;
SELECT is(support_warnings(ips(r, .5, .4)), '{mean_weight_above_1}', 'and above 1') FROM generate_series(1, 200) r;
SELECT is(support_warnings(ips(r, .5, .5)), '{small_effective_sample_size}', 'few rows') FROM generate_series(1, 99) r;
SELECT is(support_warnings(ips(r, .5, CASE WHEN r > 198 THEN .02 ELSE .6 END)), '{small_effective_sample_size,dominant_weight}', 'two rows with a fifth of all weight') FROM generate_series(1, 200) r;
SELECT is(support_warnings(ips(r, 0, .5)), '{mean_weight_below_1,small_effective_sample_size}', 'another policy altogether') FROM generate_series(1, 200) r;
SELECT is(support_warnings(dm(r)), '{}', 'dm has no weights to warn of') FROM generate_series(1, 9) r;
-- the mean of weights 0 and 3 in turn is 1.5, its standard error 1.5 / sqrt(n - 1): three of them are .5 at n = 82
SELECT results_eq($$SELECT n, 'mean_weight_above_1' = ANY (support_warnings(e)) FROM (SELECT n, (SELECT ips(1, (i % 2) * .3, .1) FROM generate_series(1, n) i) AS e
                    FROM unnest('{80,84}'::int[]) n) w$$, $$VALUES (80, false), (84, true)$$, 'the alarm is at three standard errors');

---- overlap ----

CREATE TABLE weighed AS
SELECT power(2, i % 27 - 13) * (1 + i / 1000.) AS w, i FROM generate_series(0, 270) i;
SELECT results_eq($$SELECT lower, upper, n, round(weight::numeric, 9) FROM unnest((SELECT overlap_histogram(least(w, 1) * .5, least(1 / w, 1) * .5) FROM weighed))$$,
                  $$SELECT CASE k WHEN -11 THEN 0 ELSE power(2::float8, k) END, CASE k WHEN 10 THEN 'Infinity' ELSE power(2::float8, k + 1) END, count(*), round(sum(w)::numeric, 9)
                    FROM weighed, LATERAL (SELECT greatest(-11, least(10, floor(log(2, w::numeric))))::int AS k) l GROUP BY k ORDER BY k$$, 'weights by powers of 2');
SELECT results_eq($$SELECT b::text FROM unnest((SELECT overlap_histogram(t, l) FROM (VALUES (0::float8, .5::float8), (0, 0), (.25, 0), (.5, NULL), (.25, .25), (1, .5)) v(t, l))) b$$,
                  $$VALUES ('(0,0,2,0,0)'), ('(1,2,1,1,0.25)'), ('(2,4,1,2,1)'), ('(Infinity,Infinity,2,,0.75)')$$, 'what only one of the policies does');
SELECT overlap_histogram(target, logged) AS bins FROM decided \gset
SET max_parallel_workers_per_gather = 4;
SELECT ok(plan_of('SELECT overlap_histogram(target, logged) FROM parted') ~ 'Partial Aggregate', 'workers count too');
SELECT set_eq(format('SELECT lower, upper, n, round(weight::numeric, 6) AS w, round(target::numeric, 6) AS t FROM unnest(%L::overlap_bin[])', :'bins'),
              'SELECT lower, upper, n, round(weight::numeric, 6) AS w, round(target::numeric, 6) AS t FROM unnest((SELECT overlap_histogram(target, logged) FROM parted))', 'to the same bins');
SELECT set_eq(format('SELECT lower, upper, n, round(weight::numeric, 6) AS w, round(target::numeric, 6) AS t FROM unnest(%L::overlap_bin[])', :'bins'),
              $$SELECT lower, upper, sum(n)::bigint AS n, round(sum(weight)::numeric, 6) AS w, round(sum(target)::numeric, 6) AS t
                FROM (SELECT overlap_histogram(target, logged) AS b FROM far_a UNION ALL SELECT overlap_histogram(target, logged) FROM far_b) s, unnest(b) GROUP BY lower, upper$$,
              'bins of two servers add up');
SELECT is(overlap_histogram(1, 1), NULL, 'no rows, no histogram') FROM generate_series(1, 0);

---- the bootstrap ----

CREATE TABLE unit AS SELECT visitor, sndr_state(reward, target, logged, predicted, expected) AS s FROM decided GROUP BY visitor;
CREATE TABLE shuffled AS SELECT * FROM unit ORDER BY md5(visitor::text);
SET max_parallel_workers_per_gather = 0;
CREATE TABLE redrawn AS SELECT bootstrap_interval(s, visitor::text, 2000, 5, .95) AS b FROM unit;
-- 2,000 replicates leave the width a standard error of about 2 %
SELECT ok(near((b).upper - (b).lower, i.upper - i.lower, .08) AND (b).lower < (e).value AND (b).upper > (e).value, 'the bootstrap over users is as wide as the clustered interval')
FROM redrawn, (SELECT clustered_estimate(s) AS e FROM unit) c, LATERAL confidence_interval(e) i;
SET max_parallel_workers_per_gather = 4;
SELECT ok(near((x).lower, (b).lower, 1e-10) AND near((x).upper, (b).upper, 1e-10), 'workers and another order do not change it')
FROM redrawn, (SELECT bootstrap_interval(s, visitor::text, 2000, 5, .95) AS x FROM shuffled) q;
SELECT ok(near((x).lower, (b).lower, 1e-10) AND near((x).upper, (b).upper, 1e-10), 'nor do two servers')
FROM redrawn, (SELECT bootstrap_interval(s, visitor::text, 2000, 5, .95) AS x FROM (
    SELECT visitor, combine_states(s) AS s FROM (SELECT visitor, sndr_state(reward, target, logged, predicted, expected) AS s FROM far_a GROUP BY visitor
        UNION ALL SELECT visitor, sndr_state(reward, target, logged, predicted, expected) FROM far_b GROUP BY visitor) y GROUP BY visitor) z) q;
SELECT ok(plan_of('SELECT bootstrap_interval(s, visitor::text, 2000, 5, .95) FROM shuffled') ~ 'Partial Aggregate', 'and there are workers');
SELECT ok(x <> b AND near((x).upper - (x).lower, (b).upper - (b).lower, .08), 'another seed changes it a little') FROM redrawn, (SELECT bootstrap_interval(s, visitor::text, 2000, 6, .95) AS x FROM unit) q;
SELECT ok((x).lower > (b).lower AND (x).upper < (b).upper, 'a lower level makes it narrower') FROM redrawn, (SELECT bootstrap_interval(s, visitor::text, 2000, 5, .5) AS x FROM unit) q;
SELECT is(bootstrap_interval(s, 'x', 10, 1, .95), NULL, 'no units, no interval') FROM unit WHERE false;
SELECT results_eq($$SELECT (bootstrap_interval(snips_state, i::text, 10, 1, .95)).* FROM (SELECT i, snips_state(1, 0, 1) FROM generate_series(1, 3) i GROUP BY i) s$$,
                  $$VALUES (NULL::float8, NULL::float8)$$, 'nor where there is no value');
SELECT ok(near((b).lower, 7) AND near((b).upper, 7), 'one unit has its own value in every replicate') FROM (SELECT bootstrap_interval(s, 'x', 100, 1, .95) AS b FROM (SELECT ips_state(7, 1, 1) AS s) o) q;

---- what is refused ----

-- a statement's SQLSTATE, message and detail
CREATE FUNCTION error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    EXECUTE statement;
    RETURN 'none';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(': ', SQLSTATE, SQLERRM, nullif(detail, ''));
END $$;
SET max_parallel_workers_per_gather = 0;
SELECT is(regexp_replace(error_of('SELECT ' || call), '^(\w+: )invalid row for an off-policy estimator: ', '\1'), error, call)
FROM (VALUES
    ('ips(1, .5, 0)', '22023: The logged propensity is 0; it must be above 0 and at most 1.'),
    ('ips(1, .5, 1.25)', '22023: The logged propensity is 1.25; it must be above 0 and at most 1.'),
    ('ips(1, .5, -.5)', '22023: The logged propensity is -0.5; it must be above 0 and at most 1.'),
    ('ips(1, .5, ''NaN'')', '22023: The logged propensity is nan; it must be above 0 and at most 1.'),
    ('ips(1, .5, NULL)', '22004: argument "logged_propensity" of an off-policy estimator must not be NULL'),
    ('ips(1, NULL, .5)', '22004: argument "target_probability" of an off-policy estimator must not be NULL'),
    ('ips(NULL, .5, .5)', '22004: argument "reward" of an off-policy estimator must not be NULL'),
    ('ips(1, 1.5, .5)', '22023: The target probability is 1.5; it must be between 0 and 1.'),
    ('ips(1, ''NaN'', .5)', '22023: The target probability is nan; it must be between 0 and 1.'),
    ('snips(''NaN'', .5, .5)', '22023: The reward is nan; it must be finite.'),
    ('replay(''inf'', true)', '22023: The reward is inf; it must be finite.'),
    ('replay(1, NULL)', '22004: argument "matched" of an off-policy estimator must not be NULL'),
    ('dm(''-inf'')', '22023: The expected predicted reward is -inf; it must be finite.'),
    ('dm(NULL)', '22004: argument "expected" of an off-policy estimator must not be NULL'),
    ('dr(1, .5, .5, ''NaN'', 1)', '22023: The predicted reward is nan; it must be finite.'),
    ('sndr(1, .5, .5, 1, ''NaN'')', '22023: The expected predicted reward is nan; it must be finite.'),
    ('clipped_ips(1, .5, .5, 0)', '22023: cap is 0; it must be above 0.'),
    ('clipped_ips(1, .5, .5, NULL)', '22004: argument "cap" of an off-policy estimator must not be NULL'),
    ('clipped_ips(1, .5, .5, c) FROM generate_series(1, 2) c', '22023: cap is 2 after rows in which it was 1; it must be the same in all.'),
    ('switch_dr(1, .5, .5, 1, 1, -1)', '22023: tau is -1; it must be at least 0.'),
    ('switch_dr(1, .5, .5, 1, 1, NULL)', '22004: argument "tau or lambda" of an off-policy estimator must not be NULL'),
    ('dr_os(1, .5, .5, 1, 1, ''NaN'')', '22023: lambda is nan; it must be at least 0.'),
    ('ips(1, 1, 1e-310)', '22003: Importance weight inf and weighted reward inf are too large for sums of their squares.'),
    ('ips(r, 1, 1) FROM unnest(''{1e200,0}''::float8[]) r', '22003: Importance weight 1 and weighted reward 0 are too large for sums of their squares.'),
    ('ips(1e308, 1, 1) FROM generate_series(1, 3)', '22003: off-policy estimate out of range: The sums of 3 rows are out of the range of double precision.'),
    ('sips(''{1}'', ''{.5,.5}'', ''{.5}'')', '2202E: argument "target_probabilities" has 2 elements in dimension 1 where 1 are needed'),
    ('sips(''{}'', ''{}'', ''{}'')', '22023: argument "rewards" must be an array of 1 dimension(s) without NULL, and not empty'),
    ('iips(''{1,NULL}'', ''{.5,.5}'', ''{.5,.5}'')', '22023: argument "rewards" must be an array of 1 dimension(s) without NULL, and not empty'),
    ('rips(''{1,1}'', ''{.5,.5}'', NULL)', '22004: argument "logged_propensities" of an off-policy estimator must not be NULL'),
    ('rips(''{1,1}'', ''{.5,.5}'', ''{.5,0}'')', '22023: The logged propensity of slot 2 is 0; it must be above 0 and at most 1.'),
    ('rips(''{1,1}'', ''{.5,-.5}'', ''{.5,1}'')', '22023: The target probability of slot 2 is -0.5; it must be between 0 and 1.'),
    ('iips(''{1,NaN}'', ''{.5,.5}'', ''{.5,1}'')', '22023: The reward of slot 2 is nan; it must be finite.'),
    ('cascade_dr(''{1}'', ''{.5}'', ''{.5}'', ''{inf}'', ''{0}'')', '22023: The predicted reward of slot 1 is inf; it must be finite.'),
    ('cascade_dr(''{1}'', ''{.5}'', ''{.5}'', ''{1}'', ''{NaN}'')', '22023: The expected predicted reward of slot 1 is nan; it must be finite.'),
    ('pbm_ips(''{1}'', ''{{.5,.5}}'', ''{{.5,.5}}'', ''{1}'')', '2202E: argument "examination" has 1 elements in dimension 1 where 2 are needed'),
    ('pbm_ips(''{1}'', ''{.5}'', ''{.5}'', ''{1}'')', '22023: argument "target_probabilities" must be an array of 2 dimension(s) without NULL, and not empty'),
    ('pbm_ips(''{1}'', ''{{.5}}'', ''{{.5}}'', ''{2}'')', '22023: The examination probability of position 1 is 2; it must be between 0 and 1.'),
    ('pbm_ips(''{1}'', ''{{.5}}'', ''{{0}}'', ''{1}'')', '22023: The logging policy shows the item of slot 1 at no position that is looked at.'),
    ('combine_estimates(s) FROM (SELECT ips_state(1, 1, 1) UNION ALL SELECT snips_state(1, 1, 1)) v(s)', '22023: cannot combine states of different estimators: One state is of ips, another of snips.'),
    ('combine_estimates(s) FROM (SELECT clipped_ips_state(1, 1, 1, 2) UNION ALL SELECT clipped_ips_state(1, 1, 1, 3)) v(s)',
     '22023: cannot combine states of different estimators: One state of clipped_ips was made with 2, another with 3.'),
    ('clustered_estimate(s) FROM (SELECT ips_state(1, 1, 1) UNION ALL SELECT dm_state(1)) v(s)', '22023: cannot combine states of different estimators: One state is of ips, another of dm.'),
    ('combine_estimates(''{1,2}'')', '22023: invalid state of an off-policy estimator: It must be an array of 14 numbers without NULL.'),
    ('combine_estimates(''{99,0,0,1,0,0,0,0,0,0,0,0,0,0}'')',
     '22023: invalid state of an off-policy estimator: It is not what an off-policy estimator leaves: estimator 99, rows 1, mean weight 0.'),
    ('estimate_final(''{1,0,0,1,1,NaN,0,0,0,0,0,0,0,0}'')',
     '22023: invalid state of an off-policy estimator: It is not what an off-policy estimator leaves: estimator 1, rows 1, mean weight nan.'),
    ('estimate_accumulate(''{4,0,0,0,0,0,0,0,0,0,0,0,0,0}'', 1, 1, 1)', '22023: invalid state of an off-policy estimator: The estimator numbered 4 does not take these arguments.'),
    ('estimate_accumulate(''{-1e300,0,0,0,0,0,0,0,0,0,0,0,0,0}'', 1, 1, 1)',
     '22023: invalid state of an off-policy estimator: The estimator numbered -1e+300 does not take these arguments.'),
    ('clusters_final(''{1,0,0,2,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}'')',
     '22023: invalid state of an off-policy estimator: It is not what clusters of rows leave: estimator 1, clusters 2, rows 1.'),
    ('confidence_interval((1, 1, 9, 9, 1, 1), 1)', '22023: invalid confidence interval: The level is 1; it must be above 0 and below 1.'),
    ('bernstein_interval((1, 1, 9, 9, 1, 1), 0, 3, 0)', '22023: invalid empirical Bernstein interval: The level is 0; it must be above 0 and below 1.'),
    ('bernstein_interval((1, 1, 9, 9, 1, 1), 3, 0)',
     '22023: invalid empirical Bernstein interval: The terms'' bounds are 3 and 0; they must be finite, the first below the second.'),
    ('bernstein_interval((4, 1, 9, 9, 1, 1), 0, 3)', '22023: invalid empirical Bernstein interval: The value 4 is outside of the terms'' bounds 0 and 3.'),
    ('overlap_histogram(NULL, 1)', '22004: argument "target_probability" must not be NULL'),
    ('overlap_histogram(1.5, 1)', '22023: invalid row for an overlap histogram: The target probability is 1.5; it must be between 0 and 1.'),
    ('overlap_histogram(1, ''NaN'')', '22023: invalid row for an overlap histogram: The logged propensity is nan; it must be between 0 and 1.'),
    ('overlap_final(array_fill(''NaN''::float8, ''{72}''))', '22023: invalid state of an overlap histogram: It has NaN rows in bin 1.'),
    ('bootstrap_interval(ips_state, NULL, 10, 1, .9) FROM (SELECT ips_state(1, 1, 1)) s', '22004: argument "key" must not be NULL'),
    ('bootstrap_interval(NULL, ''x'', 10, 1, .9)', '22004: argument "state" must not be NULL'),
    ('bootstrap_interval(ips_state, ''x'', 1, 1, .9) FROM (SELECT ips_state(1, 1, 1)) s',
     '22023: invalid bootstrap: The number of replicates is 1; it must be between 2 and 10000.'),
    ('bootstrap_interval(ips_state, ''x'', 10001, 1, .9) FROM (SELECT ips_state(1, 1, 1)) s',
     '22023: invalid bootstrap: The number of replicates is 10001; it must be between 2 and 10000.'),
    ('bootstrap_interval(ips_state, ''x'', 10, 1, ''NaN'') FROM (SELECT ips_state(1, 1, 1)) s', '22023: invalid bootstrap: The level is nan; it must be above 0 and below 1.'),
    ('bootstrap_interval(ips_state, ''x'', 10, i, .9) FROM (SELECT ips_state(1, 1, 1)) s, generate_series(1, 2) i',
     '22023: replicates, seed and level of a bootstrap must be the same in all rows'),
    ('bootstrap_interval(s, ''x'', 10, 1, .9) FROM (SELECT ips_state(1, 1, 1) UNION ALL SELECT dm_state(1)) v(s)',
     '22023: cannot combine states of different estimators: One state is of ips, another of dm.'),
    ('bootstrap_final(''{1,2,3}'')', '22023: invalid state of a bootstrap: It has 3 numbers.'),
    ('bootstrap_final(array_fill(''NaN''::float8, ''{15}''))', '22023: invalid state of a bootstrap: It is not what a bootstrap leaves: estimator nan, units nan.')) v(call, error);
-- called by hand, a function leaves its arguments alone
CREATE TABLE kept AS SELECT ips_state(1, .5, .5) AS s;
SELECT is((SELECT count(*) FROM (SELECT s, estimate_accumulate(s, 1, .5, .5), estimate_combine(s, s) FROM kept OFFSET 0) x WHERE s = (SELECT s FROM kept)), 1::bigint, 'states are values');

SELECT * FROM finish();

\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
\i test/sql/include/small_shop.sql
--
-- policy_evaluation.sql
--    evaluate_policy beside scikit-learn, NumPy and the aggregates; intervals over
--    simulated logs with a known truth; what is refused; and the dashboards.
--
SELECT plan(117);
SET client_min_messages = error;
SET jit = off;

CREATE FUNCTION near(a float8, b float8, tolerance float8 DEFAULT 1e-9) RETURNS boolean LANGUAGE sql IMMUTABLE
AS $$SELECT a IS NOT DISTINCT FROM b OR coalesce(abs(a - b) <= tolerance * greatest(abs(a), abs(b)), false)$$;
-- 32 bits of i and j, and a number in [0, 1), the same in any language
CREATE FUNCTION bits(i bigint, j bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT c # (c >> 16) FROM (SELECT (b # (b >> 13)) * 374761393 % 4294967296 AS c
    FROM (SELECT (a # (a >> 15)) * 668265263 % 4294967296 AS b
    FROM (SELECT (i * 64 + j + 1) * 1540483477 % 4294967296 AS a) a) b) c $$;
CREATE FUNCTION unit(i bigint, j bigint) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$SELECT bits(i, j) / 4294967296.0$$;

---- beside scikit-learn ----

-- Without evidence all arms are equal and the first is the favourite: LinUCB with
-- epsilon .3 chooses a with .8, b and c with .1 each.
SELECT create_policy('dis', 'linear_ucb', params => '{"context": 2, "epsilon": 0.3}') \g /dev/null
SELECT add_arms('dis', '{a,b,c}') \g /dev/null
CREATE TABLE log AS
SELECT i AS decision_id, ('{a,b,c}'::text[])[arm + 1] AS arm, ('{.5,.3,.2}'::float8[])[arm + 1] AS propensity, context,
       'u' || i % 80 AS user_id,
       (unit(i, 3) < .2 + .2 * arm + .15 * context[1] * CASE WHEN arm = 1 THEN -1 ELSE 1 END)::int::float8 AS reward
FROM (SELECT i, CASE WHEN unit(i, 0) < .5 THEN 0 WHEN unit(i, 0) < .8 THEN 1 ELSE 2 END AS arm,
             ARRAY[bits(i, 1) % 16 / 8.0 - 1, bits(i, 2) % 16 / 8.0 - 1]::float8[] AS context
      FROM generate_series(0, 399) i) i;

-- scikit-learn 1.9.1, Ridge(alpha=1) and LogisticRegression(C=1) over the folds by FNV-1a, features one-hot
-- arms (0 to 3), 1 and the context; standard errors by NumPy 1.26.4
CREATE TABLE reference (what text, estimator text, value float8, standard_error float8);
INSERT INTO reference VALUES
    ('ridge by user', 'ips', .252666666666667, .0207918489925459), ('ridge by user', 'snips', .261740331491713, NULL),
    ('ridge by user', 'dm', .255366526208458, NULL), ('ridge by user', 'dr', .252985255620249, .020066682363916),
    ('ridge by user', 'sndr', .252899740378131, NULL),
    ('ridge by decision', 'ips', .252666666666667, .022605832660772), ('ridge by decision', 'dm', .252609185704469, NULL),
    ('ridge by decision', 'dr', .251542427085383, .0225015180043757), ('ridge by decision', 'sndr', .251504118074201, NULL),
    ('logistic by user', 'dm', .258962033604137, NULL), ('logistic by user', 'dr', .253391665738174, .0201163156982655),
    ('logistic by user', 'sndr', .253191624903208, NULL);
CREATE TABLE got AS
SELECT 'ridge by user' AS what, e.* FROM evaluate_policy('dis', 'SELECT * FROM log', '{ips,snips,dm,dr,sndr}') e
UNION ALL SELECT 'ridge by decision', e.* FROM evaluate_policy('dis', 'SELECT arm, reward, propensity, context, decision_id FROM log', '{ips,dm,dr,sndr}', folds => 4, seed => 7) e
UNION ALL SELECT 'logistic by user', e.* FROM evaluate_policy('dis', 'SELECT * FROM log', '{dm,dr,sndr}', reward_model => 'logistic') e;
SELECT ok(near(g.value, r.value, 1e-8) AND (r.standard_error IS NULL OR near(g.standard_error, r.standard_error, 1e-8)),
          format('%s: %s', what, estimator))
FROM reference r LEFT JOIN got g USING (what, estimator);
SELECT ok(bool_and(near(lower, value - 1.959963984540054 * standard_error) AND near(upper, value + 1.959963984540054 * standard_error)), 'normal intervals') FROM got;
SELECT results_eq($$SELECT estimator, value, standard_error FROM evaluate_policy('dis', 'SELECT arm::varchar, reward::int, propensity::numeric, context, user_id, decision_id::smallint, 1::bigint AS rank FROM log', '{ips,snips,dm,dr,sndr}')$$,
                  $$SELECT estimator, value, standard_error FROM got WHERE what = 'ridge by user'$$, 'whatever the types of the numbers');
SELECT ok(bool_and(n = 400 AND near(mean_weight, .965333333333333, 1e-12) AND near(max_weight, 1.6)), 'rows and weights') FROM got WHERE estimator <> 'dm';

---- beside the aggregates ----

CREATE TABLE weighed AS
SELECT l.*, (SELECT probability FROM choice_probabilities('dis', context => to_jsonb(l.context)) p WHERE p.arm = l.arm) AS target FROM log l;
CREATE TABLE both_ways AS
SELECT estimator, value, standard_error, n, effective_sample_size, max_weight, mean_weight
FROM evaluate_policy('dis', 'SELECT arm, reward, propensity, context FROM log', '{ips,clipped_ips,snips}', cap => 1.1);
SELECT ok(near(b.value, a.value) AND near(b.standard_error, a.standard_error) AND b.n = a.n AND near(b.effective_sample_size, a.effective_sample_size)
          AND near(b.max_weight, a.max_weight) AND near(b.mean_weight, a.mean_weight), estimator || ' is the aggregate of that name')
FROM both_ways b JOIN (SELECT 'ips' AS estimator, (ips(reward, target, propensity)).* FROM weighed
    UNION ALL SELECT 'snips', (snips(reward, target, propensity)).* FROM weighed
    UNION ALL SELECT 'clipped_ips', (clipped_ips(reward, target, propensity, 1.1)).* FROM weighed) a USING (estimator);

CREATE FUNCTION pg_temp.value(query text, estimator text, VARIADIC parameters float8[] DEFAULT '{10,10,100}') RETURNS float8 LANGUAGE sql AS
$$SELECT value FROM evaluate_policy('dis', query, ARRAY[estimator], cap => parameters[1], tau => parameters[2], lambda => parameters[3])$$;
SELECT ok(near(pg_temp.value('SELECT * FROM log', 'switch_dr', 10, 'inf', 0), pg_temp.value('SELECT * FROM log', 'dr')), 'tau infinite: dr');
SELECT ok(near(pg_temp.value('SELECT * FROM log', 'switch_dr', 10, 0, 0), pg_temp.value('SELECT * FROM log', 'dm')), 'tau 0: dm');
SELECT ok(near(pg_temp.value('SELECT * FROM log', 'dr_os', 10, 10, 'inf'), pg_temp.value('SELECT * FROM log', 'dr')), 'lambda infinite: dr');
SELECT ok(near(pg_temp.value('SELECT * FROM log ORDER BY decision_id DESC', 'dr'), pg_temp.value('SELECT * FROM log', 'dr')), 'the order of rows is nothing');
SELECT ok(near(pg_temp.value($$SELECT arm, reward, propensity, to_jsonb(context) AS context FROM log$$, 'ips'), pg_temp.value('SELECT * FROM log', 'ips')), 'contexts as jsonb');

-- eligible arms: among b and c, b is the favourite with .85
SELECT ok(near(value, .85 / .5), 'the probability is that among the eligible arms')
FROM evaluate_policy('dis', $$SELECT 'b'::text AS arm, 1::float8 AS reward, .5::float8 AS propensity, '{0,0}'::float8[] AS context, '{b,c}'::text[] AS eligible$$, '{ips}');

---- versions ----

SELECT warm_start('dis', $$SELECT 'c'::text AS arm, 1::float8 AS reward, '{0,0}'::float8[] AS context FROM generate_series(1, 200)$$) \g /dev/null
SELECT ok(near(value, .252666666666667, 1e-12), 'version 0 is as it was') FROM evaluate_policy('dis', 'SELECT * FROM log', '{ips}', version => 0);
SELECT isnt(pg_temp.value('SELECT * FROM log', 'ips'), pg_temp.value('SELECT * FROM log WHERE arm = ''a''', 'ips'), 'the newest is evaluated');
SELECT ok(near(value, (SELECT avg(reward * CASE WHEN arm = 'c' THEN .8 ELSE .1 END / propensity) FROM log WHERE context = '{0,0}'), 1e-12), 'where nothing is known of other contexts, c is the favourite of this one')
FROM evaluate_policy('dis', $$SELECT * FROM log WHERE context = '{0,0}'$$, '{ips}');
SELECT throws_ok($$SELECT * FROM evaluate_policy('dis', 'SELECT * FROM log', version => 9)$$, '42704', 'policy "dis" has no version 9', 'a version that is not kept');

---- slates, by hand ----

-- epsilon-greedy with epsilon .3 over x, y, z without evidence: x .8, y and z .1; given x, y .85; given y, x .85
SELECT create_policy('hand', 'epsilon_greedy', params => '{"epsilon": 0.3}') \g /dev/null
SELECT add_arms('hand', '{x,y,z}') \g /dev/null
CREATE TABLE slates (decision_id int, rank int, arm text, propensity float8, reward float8);
INSERT INTO slates VALUES (1, 1, 'x', .5, 1), (1, 2, 'y', .5, 2), (2, 1, 'y', .25, 0), (2, 2, 'x', .5, 1), (3, 1, 'z', .25, 3), (3, 2, 'y', .25, 1);
-- weights 1.6 and 1.7; .4 and 1.7; .4 and .6
SELECT ok(near(value, (1.6 * 1.7 * 3 + .4 * 1.7 * 1 + .4 * .6 * 4) / 3), 'sips: product times sum') FROM evaluate_policy('hand', 'SELECT * FROM slates', '{sips}');
SELECT ok(near(value, (1.6 * 1 + 1.6 * 1.7 * 2 + .4 * 1.7 * 1 + .4 * 3 + .4 * .6 * 1) / 3), 'rips: prefix products') FROM evaluate_policy('hand', 'SELECT * FROM slates', '{rips}');
SELECT ok(near(value, (1.6 * 1 + .4 * 0 + .4 * 3) / 3) AND n = 3, 'ips reads first slots') FROM evaluate_policy('hand', 'SELECT * FROM slates', '{ips}');
SELECT is(n, 3::bigint, 'cascade_dr reads slates') FROM evaluate_policy('hand', 'SELECT * FROM slates', '{cascade_dr}', folds => 2);
SELECT throws_ok($$SELECT * FROM evaluate_policy('hand', 'SELECT * FROM slates ORDER BY rank', '{sips}')$$, '22023', 'row 4 of the log is wrong: rank 2 does not follow rank 1 of its decision', 'slots out of order');
SELECT throws_ok($$SELECT * FROM evaluate_policy('hand', 'SELECT 1 AS decision_id, r AS rank, ''x''::text AS arm, .5::float8 AS propensity, 1::float8 AS reward FROM generate_series(1, 2) r', '{sips}')$$,
                 '22023', 'row 2 of the log is wrong: its arm stands at an earlier slot of the same decision', 'an arm twice');
SELECT throws_ok($$SELECT * FROM evaluate_policy('hand', 'SELECT * FROM slates', '{iips}')$$, '0A000', 'iips needs more than a log holds', 'marginals are not logged');

---- replay beside NumPy ----

SELECT create_policy('lin', 'linear_ucb', params => '{"context": 3, "epsilon": 0, "width": 0.7, "prior_precision": 2, "noise": 1}') \g /dev/null
SELECT add_arms('lin', '{a,b,c,d}') \g /dev/null
CREATE TABLE uniform AS
SELECT i, ('{a,b,c,d}'::text[])[arm + 1] AS arm, .25::float8 AS propensity, context, (unit(i, 21) < .1 + .15 * arm * context[1] + CASE WHEN arm = 1 THEN .3 * context[2] ELSE 0 END)::int::float8 AS reward,
       '2024-01-01'::timestamptz + i * interval '1 second' AS decided_at, 'u' || i % 50 AS user_id
FROM (SELECT i, bits(i, 20) % 4 AS arm, ARRAY[bits(i, 10) % 256 / 256.0, bits(i, 11) % 256 / 256.0, bits(i, 12) % 256 / 256.0]::float8[] AS context
      FROM generate_series(0, 19999) i) i;
-- LinUCB by NumPy 1.26.4: numpy.linalg.inv(A) anew for every row learned, numpy.argmax
SELECT ok(n = 5022 AND near(value, 1846 / 5022.0) AND near(standard_error, .00680431289205004), 'LinUCB agrees on the same rows')
FROM evaluate_policy('lin', 'SELECT arm, reward, propensity, context FROM uniform ORDER BY i', learning => true);
SELECT ok(n = 5028 AND near(value, 1815 / 5028.0) AND near(standard_error, .00677398086982788), 'and where it learns 50 rows together')
FROM evaluate_policy('lin', 'SELECT arm, reward, propensity, context FROM uniform ORDER BY i', learning => true, batch => 50);
SELECT ok(n = 5022 AND near(value, 1846 / 5022.0) AND NOT near(standard_error, .00680431289205004, 1e-3), 'users change the error, not the value')
FROM evaluate_policy('lin', 'SELECT arm, reward, propensity, context, user_id FROM uniform ORDER BY i', learning => true);
SELECT ok(abs(mean_weight - 1) < .05 AND warning IS NULL, 'it agrees as often as chance does')
FROM evaluate_policy('lin', 'SELECT arm, reward, propensity, context FROM uniform ORDER BY i', learning => true);
SELECT is((SELECT version FROM policy_state WHERE policy = 'lin'), 0, 'the policy itself has learned nothing');
SELECT throws_ok($$SELECT * FROM evaluate_policy('lin', 'SELECT arm, reward, CASE i WHEN 7 THEN .3 ELSE propensity END AS propensity, context FROM uniform ORDER BY i', learning => true)$$,
                 '0A000', 'a learning candidate cannot be evaluated over this log: it did not choose uniformly', 'a log that is not uniform');
SELECT throws_ok($$SELECT * FROM evaluate_policy('lin', 'SELECT * FROM uniform ORDER BY i DESC', learning => true)$$,
                 '22023', 'row 2 of the log is wrong: it was decided before the row above it; let the query end with ORDER BY decided_at', 'time going backwards');
SELECT throws_ok($$SELECT * FROM evaluate_policy('lin', 'SELECT * FROM uniform', '{ips}', learning => true)$$, '0A000', 'a learning candidate cannot be evaluated by ips', 'weights of what learns');
SELECT throws_ok($$SELECT * FROM evaluate_policy('lin', 'SELECT * FROM uniform', '{replay}')$$, '0A000', 'replay evaluates learning candidates only', 'replay of what does not');
SELECT create_policy('log reg', 'logistic_thompson', params => '{"context": 3}') \g /dev/null
SELECT add_arms('log reg', '{a,b,c,d}') \g /dev/null
SELECT throws_ok($$SELECT * FROM evaluate_policy('log reg', 'SELECT * FROM uniform', learning => true)$$, '0A000', 'policy "log reg" cannot be replayed', 'what refits');
SELECT create_policy('window', 'ucb1', params => '{"evidence_window": "1 day"}') \g /dev/null
SELECT add_arms('window', '{a,b,c,d}') \g /dev/null
SELECT throws_ok($$SELECT * FROM evaluate_policy('window', 'SELECT * FROM uniform', learning => true)$$, '0A000', 'policy "window" cannot be replayed', 'what counts a window only');
-- discounted so strongly that only the last rows count, UCB1 keeps changing its mind
SELECT create_policy('forgets', 'ucb1', params => '{"discount": 0.5, "discount_period": "2 seconds", "epsilon": 0}') \g /dev/null
SELECT add_arms('forgets', '{a,b,c,d}') \g /dev/null
SELECT create_policy('keeps', 'ucb1', params => '{"epsilon": 0}') \g /dev/null
SELECT add_arms('keeps', '{a,b,c,d}') \g /dev/null
SELECT cmp_ok((SELECT value FROM evaluate_policy('keeps', 'SELECT * FROM uniform ORDER BY i', learning => true)), '>',
              (SELECT value + 2 * standard_error FROM evaluate_policy('forgets', 'SELECT * FROM uniform ORDER BY i', learning => true)), 'a discount is heeded');
SELECT throws_ok($$SELECT * FROM evaluate_policy('forgets', 'SELECT arm, reward, propensity FROM uniform ORDER BY i', learning => true)$$,
                 '22023', 'row 1 of the log is wrong: it has no decided_at, by which the candidate discounts', 'and needs to know the time');

---- intervals over logs with a known truth ----

-- 600 logs of 60 users with 8 decisions; a user likes everything by .2 more or less; the candidate (.8, .1, .1) earns
-- .8 x .3 + .1 x .5 + .1 x .4 = .33
SELECT setseed(.25) \g /dev/null
CREATE TABLE visitors AS SELECT s, u, random() < .5 AS likes FROM generate_series(1, 600) s, generate_series(1, 60) u;
CREATE TABLE simulated AS
SELECT s, ('{x,y,z}'::text[])[arm] AS arm, ('{.4,.3,.3}'::float8[])[arm] AS propensity, s || '/' || u AS user_id,
       (luck < ('{.3,.5,.4}'::float8[])[arm] + CASE WHEN likes THEN .2 ELSE -.2 END)::int::float8 AS reward
FROM (SELECT s, u, likes, luck, CASE WHEN draw < .4 THEN 1 WHEN draw < .7 THEN 2 ELSE 3 END AS arm
      FROM (SELECT s, u, likes, random() AS draw, random() AS luck FROM visitors, generate_series(1, 8) OFFSET 0) d) d;
CREATE INDEX ON simulated (s);
ANALYZE simulated;
CREATE TABLE covered AS
SELECT e.estimator, e.user_known, avg((.33 BETWEEN lower AND upper)::int) AS coverage, avg(value) AS mean, stddev(value) / sqrt(count(*)) AS error
FROM (SELECT s, true AS user_known, e.* FROM generate_series(1, 600) s, evaluate_policy('hand', format('SELECT arm, propensity, reward, user_id FROM simulated WHERE s = %s', s), seed => s) e
      UNION ALL SELECT s, false, e.* FROM generate_series(1, 600) s, evaluate_policy('hand', format('SELECT arm, propensity, reward FROM simulated WHERE s = %s', s), '{ips}') e) e
GROUP BY 1, 2;
SELECT ok(coverage BETWEEN .93 AND .97, format('%s: 95 %% intervals cover the truth', estimator)) FROM covered WHERE user_known ORDER BY estimator;
SELECT ok(abs(mean - .33) < 3 * error, format('%s: no bias', estimator)) FROM covered WHERE user_known ORDER BY estimator;
SELECT cmp_ok(coverage, '<', .93, 'as if nobody came back, they cover less') FROM covered WHERE NOT user_known;

---- alarms ----

CREATE FUNCTION pg_temp.warnings(query text, estimator text DEFAULT 'ips', policy text DEFAULT 'hand') RETURNS text LANGUAGE sql AS
$$SELECT warning FROM evaluate_policy(policy, query, ARRAY[estimator])$$;
SELECT matches(pg_temp.warnings($$SELECT arm, least(propensity * 2, 1) AS propensity, reward FROM simulated WHERE s < 10$$), '^the mean weight is 0\.(49|50)[0-9]*, [0-9.]+ standard errors from 1', 'propensities that are wrong');
SELECT is(pg_temp.warnings($$SELECT arm, propensity, reward FROM simulated WHERE s < 10$$), NULL, 'and those that are right');
SELECT matches(pg_temp.warnings($$SELECT arm, propensity, reward FROM simulated WHERE s = 1 LIMIT 20$$), 'the effective sample size is [0-9.]+ of 20 rows', 'a small sample');
SELECT matches(pg_temp.warnings($$SELECT arm, propensity, reward FROM simulated WHERE s < 10 AND arm <> 'z'$$), 'support is missing: 10 % of the candidate''s probability lies on arms that the log never holds \(z\)', 'an arm without support');
SELECT is(pg_temp.warnings($$SELECT arm, propensity / .7 AS propensity, reward, '{x,y}'::text[] AS eligible FROM simulated WHERE s < 10 AND arm <> 'z'$$), NULL, 'but not one that was not eligible');
SELECT matches(pg_temp.warnings($$SELECT arm, propensity, reward FROM simulated WHERE s < 10 AND arm <> 'z'$$, 'dm'), '^support is missing', 'dm has no weights, and needs support too');

---- the policy's own log ----

SELECT create_policy('own', 'epsilon_greedy', params => '{"epsilon": 0.5}', attribution_window => '0') \g /dev/null
SELECT add_arms('own', '{x,y,z}') \g /dev/null
SELECT throws_ok($$SELECT * FROM evaluate_policy('own')$$, '22023', 'the log has no rows', 'an empty log');
CREATE TABLE asked AS SELECT c.* FROM generate_series(1, 300) i, choose('own', k => 2, user_id => 'u' || i % 30) c;
SELECT feedback(decision_id, 1, 'click', 1) FROM asked WHERE rank = 1 AND arm <> 'x' \g /dev/null
SELECT count(*) FROM (SELECT choose('own', seed => 1)) c \g /dev/null
SELECT ok(near(value, (SELECT avg((arm <> 'x')::int) FROM asked WHERE rank = 1)) AND n = 300 AND mean_weight = 1, 'as it chose, it earned what it earned')
FROM evaluate_policy('own', estimators => '{ips}');
SELECT ok(near(value, (SELECT avg((arm <> 'x')::int) FROM asked WHERE rank = 1)) AND n = 300, 'slates too') FROM evaluate_policy('own', estimators => '{rips}');
SELECT fold('own') \g /dev/null
SELECT ok(bool_and(near(o.value, q.value) AND near(o.standard_error, q.standard_error)), 'its own log is what choice_log shows')
FROM evaluate_policy('own') o JOIN evaluate_policy('own', $$SELECT * FROM choice_log WHERE policy = 'own' AND NOT deterministic ORDER BY decided_at, decision_id, rank$$) q USING (estimator);
SELECT ok(near((SELECT value FROM evaluate_policy('hand', $$SELECT * FROM choice_log WHERE policy = 'own' AND NOT deterministic ORDER BY decision_id, rank$$, '{ips}')),
               (SELECT (ips(reward, CASE arm WHEN 'x' THEN .8 ELSE .1 END, propensity)).value FROM choice_log WHERE policy = 'own' AND rank = 1 AND NOT deterministic)), 'another policy over it');
SELECT matches(warning, '(^|; )the candidate has learned from 300 of 300 decisions, and looks better on them than it is$', 'it is tested by what it has learned from') FROM evaluate_policy('own', estimators => '{dm}');
SELECT is(warning, NULL, 'and before it had learned it was not') FROM evaluate_policy('own', estimators => '{dm}', version => 0);
SELECT retire_arm('own', 'z') \g /dev/null
SELECT is(n, 300::bigint, 'arms retired since are as they were') FROM evaluate_policy('own', estimators => '{ips}');
SELECT throws_ok($$SELECT * FROM evaluate_policy('own', $q$SELECT * FROM choice_log WHERE policy = 'own' AND NOT deterministic ORDER BY decision_id, rank$q$)$$,
                 '22023', NULL, 'but not over a log that names them');

---- catalogs ----

SELECT create_policy('keen', 'epsilon_greedy', 'small', '{"epsilon": 0.4}', attribution_window => '0', make_default => true) \g /dev/null
CREATE TABLE offered AS SELECT r.* FROM generate_series(1, 150) i, recommend('small', user_id => 'v' || i % 20, bundles => 2) r;
SELECT feedback(decision_id, 1, 'click', 1) FROM offered WHERE rank = 1 AND decision_id % 3 = 0 \g /dev/null
SELECT ok(n = 150 AND mean_weight = 1 AND near(value, (SELECT avg((decision_id % 3 = 0)::int) FROM offered WHERE rank = 1)), 'as it recommended, it earned what it earned')
FROM evaluate_policy('keen', estimators => '{ips}');
-- nearly uniform, so the weight of the favourite (.6 + .4/n) is .2 + .8/n over that, and of others 2
SELECT create_policy('shy', 'epsilon_greedy', 'small', '{"epsilon": 0.8}', attribution_window => '0') \g /dev/null
SELECT ok(near(e.value, s.value), 'another policy over the same pools')
FROM evaluate_policy('shy', estimators => '{ips}') e,
     (SELECT avg((o.decision_id % 3 = 0)::int * CASE WHEN o.propensity > .5 THEN (.2 + .8 / d.pool_size) / (.6 + .4 / d.pool_size) ELSE 2 END) AS value
      FROM offered o JOIN decision d USING (decision_id) WHERE o.rank = 1) s;
SELECT is((SELECT count(*) FROM evaluate_policy('shy', estimators => '{dm,dr,sndr}') WHERE value BETWEEN 0 AND 1), 3::bigint, 'models over the features of bundles');
SELECT throws_ok($$SELECT * FROM evaluate_policy('keen', 'SELECT * FROM slates')$$, '0A000', 'policy "keen" cannot be evaluated over a given log', 'a log without pools');
SELECT throws_ok($$SELECT * FROM evaluate_policy('keen', estimators => '{rips}')$$, '0A000', 'rips cannot evaluate policy "keen"', 'slates of bundles');

---- rows that are wrong ----

CREATE FUNCTION pg_temp.one(arm text DEFAULT 'a', reward float8 DEFAULT 1, propensity float8 DEFAULT .5, context text DEFAULT '{0,0}', more text DEFAULT '') RETURNS text LANGUAGE sql AS
$$SELECT format('SELECT * FROM (VALUES (%L::text, 1::float8, .5::float8, %L::float8[]), (%L, %L, %L, %L)) v (arm, reward, propensity, context) %s', 'a', '{0,0}', arm, reward, propensity, context, more)$$;
SELECT throws_ok(format('SELECT * FROM evaluate_policy(%L, %L)', 'dis', query), '22023', 'row 2 of the log is wrong: ' || reason, reason)
FROM (VALUES
    (pg_temp.one(propensity => 0), 'its propensity is 0, not above 0 and at most 1'),
    (pg_temp.one(propensity => 1.5), 'its propensity is 1.5, not above 0 and at most 1'),
    (pg_temp.one(propensity => 'NaN'), 'its propensity is NaN, not above 0 and at most 1'),
    (pg_temp.one(propensity => NULL), 'it has no propensity'),
    (pg_temp.one(reward => NULL), 'it has no reward'),
    (pg_temp.one(reward => 'inf'), 'its reward is Infinity'),
    (pg_temp.one(reward => 'NaN'), 'its reward is NaN'),
    (pg_temp.one(arm => 'q'), 'policy "dis" has no arm "q"'),
    (pg_temp.one(arm => NULL), 'it has no arm'),
    (pg_temp.one(context => NULL), 'it has no context, which policy "dis" needs'),
    (pg_temp.one(context => '{1}'), 'its context has 1 numbers instead of 2')) r (query, reason);
SELECT throws_ok($$SELECT * FROM evaluate_policy('dis', pg_temp.one(context => '{1,NaN}'))$$, '22003', NULL, 'a context of NaN');
SELECT throws_ok($$SELECT * FROM evaluate_policy('hand', 'SELECT ''x''::text AS arm, 1::float8 AS reward, 1::float8 AS propensity, ''{y,z}''::text[] AS eligible')$$, '22023', 'row 1 of the log is wrong: its arm is not among its eligible ones', 'an arm that was not eligible');
SELECT throws_ok($$SELECT * FROM evaluate_policy('hand', 'SELECT ''x''::text AS arm, 1::float8 AS reward, 1::float8 AS propensity, ''{x,x}''::text[] AS eligible')$$, '22023', 'row 1 of the log is wrong: arm "x" is eligible twice', 'an arm that is eligible twice');

---- calls that are wrong ----

SELECT throws_ok(statement, state, message, what)
FROM (VALUES
    ($$evaluate_policy('hand', 'SELECT * FROM slates', '{oracle}')$$, '22023', 'unknown estimator "oracle"', 'an unknown estimator'),
    ($$evaluate_policy('hand', 'SELECT * FROM slates', '{ips,ips}')$$, '22023', 'estimator "ips" is given twice', 'an estimator twice'),
    ($$evaluate_policy('hand', 'SELECT * FROM slates', '{}')$$, '22023', '"estimators" must not be empty', 'no estimator'),
    ($$evaluate_policy('nobody', 'SELECT * FROM slates')$$, '42704', 'policy "nobody" does not exist', 'an unknown candidate'),
    ($$evaluate_policy(NULL)$$, '22004', 'argument "candidate" must not be NULL', 'no candidate'),
    ($$evaluate_policy('hand', 'SELECT * FROM slates', level => 1)$$, '22023', '"level" is out of range: 1', 'a certain interval'),
    ($$evaluate_policy('hand', 'SELECT * FROM slates', cap => 0)$$, '22023', '"cap" is out of range: 0', 'a cap of 0'),
    ($$evaluate_policy('hand', 'SELECT * FROM slates', tau => 'NaN')$$, '22023', '"tau" is out of range: NaN', 'no tau'),
    ($$evaluate_policy('hand', 'SELECT * FROM slates', folds => 1)$$, '22023', '"folds" must be between 2 and 100', 'one fold'),
    ($$evaluate_policy('hand', 'SELECT * FROM slates', reward_model => 'forest')$$, '22023', 'unknown reward model "forest"', 'an unknown model'),
    ($$evaluate_policy('hand', 'SELECT * FROM slates', '{dr}', reward_model => 'logistic')$$, '22023', 'the reward model cannot learn from the log', 'rewards that no logistic model takes'),
    ($$evaluate_policy('dis', 'SELECT arm, reward, propensity, context FROM log WHERE arm = ''a''', '{dr}', penalty => 0)$$, '22003', 'the reward model cannot be fitted', 'a design that is singular'),
    ($$evaluate_policy('hand', 'SELECT 1 AS arm')$$, '42804', 'column "arm" of the log is no text', 'a column of another type'),
    ($$evaluate_policy('hand', 'SELECT arm, reward FROM slates')$$, '42703', 'the log has no column "propensity"', 'no propensity at all'),
    ($$evaluate_policy('hand', 'SELECT arm, reward, propensity, rank FROM slates')$$, '42703', 'the log has a column "rank" and no column "decision_id"', 'ranks of nothing'),
    ($$evaluate_policy('hand', 'SELECT * FROM slates WHERE false')$$, '22023', 'the log has no rows', 'no rows'),
    ($$evaluate_policy('hand', 'DELETE FROM slates')$$, '22023', '"log" returns no rows', 'a log that is no query')) c (call, state, message, what),
    LATERAL (SELECT 'SELECT * FROM ' || c.call) s (statement);
SELECT create_policy('armless', 'ucb1') \g /dev/null
SELECT throws_ok($$SELECT * FROM evaluate_policy('armless', 'SELECT * FROM slates')$$, '22023', 'policy "armless" has nothing to choose among', 'a candidate without arms');

---- dashboards ----

SELECT results_eq($$SELECT arm, pulls, reward, mean_reward, standard_error FROM policy_reward('own')$$,
                  $$SELECT arm, count(*), sum(reward), avg(reward), stddev_samp(reward) / sqrt(count(*)::float8) FROM choice_log WHERE policy = 'own' GROUP BY 1 ORDER BY 1$$, 'rewards by arm');
SELECT is((SELECT count(*) FROM policy_reward('own', '1 hour')), (SELECT count(DISTINCT arm) FROM choice_log WHERE policy = 'own'), 'all of one hour');
SELECT results_eq($$SELECT best_arm, decisions, round(best_value::numeric, 9), round(regret::numeric, 9), round(standard_error::numeric, 9) FROM regret_estimate('own')$$,
                  $$WITH l AS (SELECT * FROM choice_log WHERE policy = 'own' AND rank = 1 AND NOT deterministic), v AS (SELECT a, avg(CASE WHEN arm = a THEN reward / propensity ELSE 0 END) AS value FROM l, unnest('{x,y,z}'::text[]) a GROUP BY a),
                    b AS (SELECT * FROM v ORDER BY value DESC LIMIT 1)
                    SELECT a, count(*), round(min(value)::numeric, 9), round(avg(CASE WHEN arm = a THEN reward / propensity ELSE 0 END - reward)::numeric, 9),
                           round((stddev_samp(CASE WHEN arm = a THEN reward / propensity ELSE 0 END - reward) / sqrt(count(*)))::numeric, 9) FROM l, b GROUP BY a$$, 'regret against the best single arm');
SELECT is((SELECT sum(slots) FROM propensity_histogram('own', 10)), 600::numeric, 'every slot has a bin');
SELECT results_eq($$SELECT lower, slots FROM propensity_histogram('own', 4) WHERE slots > 0$$,
                  $$SELECT floor(propensity * 4) / 4, count(*) FROM choice_log WHERE policy = 'own' AND NOT deterministic GROUP BY 1 ORDER BY 1$$, 'by its propensity');
SELECT results_eq($$SELECT waiting_decisions, waiting_events, oldest, age = now() - oldest FROM fold_lag WHERE policy = 'keen'$$,
                  $$SELECT count(*), 50::bigint, min(decided_at), true FROM offered JOIN decision USING (decision_id) WHERE rank = 1$$, 'what waits for a fold');

---- rights ----

CREATE ROLE policy_evaluation_reader;
SET ROLE policy_evaluation_reader;
SELECT throws_ok($$SELECT * FROM evaluate_policy('own')$$, '42501', 'permission denied to choose by policy "own"', 'a stranger');
SELECT throws_ok($$SELECT * FROM evaluate_policy('keen')$$, '42501', 'permission denied to read decisions of catalog "small"', 'of a catalog');
SELECT is_empty($$SELECT * FROM policy_reward('own')$$, 'sees nothing');
SELECT is_empty($$SELECT * FROM fold_lag WHERE policy = 'own'$$, 'nor what waits');
RESET ROLE;
DROP ROLE policy_evaluation_reader;

SELECT * FROM finish();

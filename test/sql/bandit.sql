\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
\i test/sql/include/small_shop.sql
--
-- bandit.sql
--    Policies, feedback and fold: exactly once, and what it changes.
--
SELECT plan(67);
SET client_min_messages = warning;

SELECT format('decision_%s', catalog) AS decision, format('feedback_%s', catalog) AS feedback
FROM catalog WHERE name = 'small' \gset

---- policies ----

SELECT results_eq($$SELECT policy, algorithm, is_default, version, decisions, events FROM policy_state$$,
                  $$VALUES ('small', 'linear_thompson', true, 0, 0::bigint, 0::bigint)$$, 'a catalog begins with linear Thompson');
SELECT lives_ok($$SELECT create_policy('greedy', 'epsilon_greedy', 'small', '{"epsilon": 0.25, "noise": 0.5}')$$, 'epsilon-greedy');
SELECT results_eq($$SELECT epsilon, noise, is_default FROM policy_state WHERE policy = 'greedy'$$,
                  $$VALUES (.25::float8, .5::float8, false)$$, 'with its own parameters');
SELECT throws_ok($$SELECT create_policy('greedy', 'epsilon_greedy', 'small')$$, '42710', NULL, 'a name once');
SELECT throws_ok($$SELECT create_policy('x', 'oracle', 'small')$$, '22023', NULL, 'unknown algorithm');
SELECT throws_ok($$SELECT create_policy('x', 'epsilon_greedy', 'nowhere')$$, '42704', NULL, 'unknown catalog');
SELECT throws_ok($$SELECT create_policy('x', 'epsilon_greedy', 'small', '{"epsilom": 1}')$$, '22023', NULL, 'unknown parameter');
SELECT throws_ok($$SELECT create_policy('x', 'epsilon_greedy', 'small', '{"epsilon": 1.5}')$$, '22023', NULL, 'parameter out of range');
SELECT throws_ok($$SELECT create_policy('x', 'epsilon_greedy', 'small', '{"draws": 2.5}')$$, '22023', NULL, 'half a draw');
SELECT throws_ok($$SELECT create_policy('x', 'epsilon_greedy', 'small', '[]')$$, '22023', NULL, 'parameters that are no object');
SELECT throws_ok($$SELECT create_policy('x', 'epsilon_greedy', 'small', reward => '{}')$$, '22023', NULL, 'no reward at all');
SELECT throws_ok($$SELECT create_policy('x', 'epsilon_greedy', 'small', attribution_window => '-1 day')$$, '22023', NULL, 'a negative window');
SELECT throws_ok($$SELECT create_policy('', 'epsilon_greedy', 'small')$$, '22023', NULL, 'no name');

-- greedy: all votes go to one member, so a slot has epsilon/n or 1 - epsilon + epsilon/n
SELECT is_empty(
    $$SELECT * FROM generate_series(1, 20) s, recommend('small', size => '[2,2]', policy => 'greedy', bundles => 1, seed => s)
      WHERE propensity NOT IN (.25::float8 / 91, .75 + .25::float8 / 91)$$,
    'epsilon-greedy has two propensities (14 offerable items make 91 pairs)');

---- feedback ----

SELECT create_policy('prompt', 'linear_thompson', 'small', reward => '{"click": 1, "purchase": 3}',
                     attribution_window => '0', make_default => true) \g /dev/null
SELECT results_eq($$SELECT policy FROM policy_state WHERE is_default$$, $$VALUES ('prompt')$$, 'one default at a time');
SELECT throws_ok($$SELECT alter_policy('prompt', make_default => false)$$, '2BP01', 'policy "prompt" is its catalog''s default policy', 'and never none');
SELECT lives_ok($$SELECT alter_policy('small', make_default => false)$$, 'what is no default may be none');

SELECT decision_id AS one FROM recommend('small', bundles => 2) LIMIT 1 \gset
SELECT is(feedback(:one, 1), true, 'a click is new');
SELECT is(feedback(:one, 1), false, 'and counted once');
SELECT throws_ok(format('SELECT feedback(%s, 1, value => 2)', :one), '23505', NULL, 'the same event with another value');
SELECT is(feedback(:one, 1, 'purchase', 1, 'order 7'), true, 'an event with an id');
SELECT is(feedback(:one, 1, 'purchase', 1, 'order 7'), false, 'is the same event again');
SELECT throws_ok(format($$SELECT feedback(%s, 2, 'purchase', 1, 'order 7')$$, :one), '23505', NULL, 'the same id on another rank');
SELECT throws_ok(format('SELECT feedback(%s, 3)', :one), '22023', NULL, 'a rank that was not offered');
SELECT throws_ok(format('SELECT feedback(%s, 0)', :one), '22023', NULL, 'rank 0');
SELECT throws_ok(format($$SELECT feedback(%s, 1, value => 'NaN')$$, :one), '22003', NULL, 'NaN');
SELECT throws_ok(format($$SELECT feedback(%s, 1, '')$$, :one), '22023', NULL, 'no kind');
SELECT throws_ok(format('SELECT feedback(%s, NULL)', :one), '22004', NULL, 'no rank');
SELECT throws_ok('SELECT feedback(NULL, 1)', '22004', NULL, 'no decision');
SELECT throws_ok('SELECT feedback(77, 1)', '42704', NULL, 'an unknown decision');
SELECT throws_ok(format('SELECT feedback(%s, 1)', :one + 1000), '42704', NULL, 'a decision of this catalog that was not taken');

---- fold ----

-- what the evidence must be, from the log, in plain SQL
CREATE FUNCTION pg_temp.expected(wanted_policy text) RETURNS TABLE (place int, value double precision) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format($q$
        WITH slot AS (
            SELECT d.decision_id, r AS rank, d.slot_features[(r - 1) * 17 + 1 : r * 17]::float8[] AS x,
                   coalesce((SELECT sum(f.value * CASE f.kind WHEN 'click' THEN 1 WHEN 'purchase' THEN 3 ELSE 0 END)
                             FROM feedback f WHERE f.decision_id = d.decision_id AND f.rank = r), 0) AS reward
            FROM decision d JOIN policy p USING (policy), generate_series(1, cardinality(d.slot_sizes)) r
            WHERE p.name = %L AND NOT d.deterministic)
        SELECT 1, count(*)::float8 FROM slot
        UNION ALL SELECT 2, sum(reward ^ 2) FROM slot
        UNION ALL SELECT 2 + i, sum(reward * x[i]) FROM slot, generate_series(1, 17) i GROUP BY i
        UNION ALL SELECT 19 + i * (i - 1) / 2 + j, sum(x[i] * x[j])
                  FROM slot, generate_series(1, 17) i, generate_series(1, i) j GROUP BY i, j$q$, wanted_policy);
END $$;
CREATE FUNCTION pg_temp.largest_difference(wanted_policy text) RETURNS double precision LANGUAGE sql AS $$
    SELECT max(abs(e.value - o.evidence[e.place])) FROM pg_temp.expected($1) e,
        (SELECT evidence FROM posterior JOIN policy p USING (policy) WHERE p.name = $1 ORDER BY version DESC LIMIT 1) o
$$;

SELECT is(fold('prompt'), 1, 'the first version');
SELECT cmp_ok(pg_temp.largest_difference('prompt'), '<', 1e-9::float8, 'holds what the log says');
SELECT results_eq($$SELECT decisions, events, unfolded_decisions, unfolded_feedback FROM policy_state WHERE policy = 'prompt'$$,
                  $$VALUES (1::bigint, 2::bigint, 0::bigint, 0::bigint)$$, 'one decision, two events, nothing left');
SELECT is(fold('prompt'), 1, 'nothing new makes no version');

SELECT is(feedback(:one, 2, 'click', 1, 'late'), true, 'a late click');
SELECT is(feedback(:one, 1, 'purchase', -1, 'order 7 returned'), true, 'a purchase taken back');
SELECT decision_id AS two FROM recommend('small', bundles => 3) LIMIT 1 \gset
SELECT decision_id AS seeded FROM recommend('small', bundles => 3, seed => 5) LIMIT 1 \gset
SELECT is(feedback(:seeded, 1), true, 'feedback on a seeded decision is recorded');
SELECT is(fold('prompt'), 2, 'the second version');
SELECT cmp_ok(pg_temp.largest_difference('prompt'), '<', 1e-9::float8, 'corrections enter, seeded decisions do not');
SELECT results_eq($$SELECT decisions, events FROM policy_state WHERE policy = 'prompt'$$, $$VALUES (2::bigint, 4::bigint)$$,
                  'counted');

-- the default window of a day is still open
SELECT decision_id AS waiting FROM recommend('small', policy => 'small') LIMIT 1 \gset
SELECT is(feedback(:waiting, 1), true, 'a click within the window');
SELECT is(fold('small'), 0, 'a slot enters when its window closes, and its reward with it');
SELECT results_eq($$SELECT unfolded_decisions, unfolded_feedback FROM policy_state WHERE policy = 'small'$$,
                  $$VALUES (1::bigint, 1::bigint)$$, 'until then both wait');
SELECT throws_ok($$SELECT fold('nobody')$$, '42704', NULL, 'fold of an unknown policy');

---- other algorithms ----

SELECT lives_ok(format('SELECT create_policy(%L, %L, %L, params => %L, attribution_window => %L)', a, a, 'small', p, '0'), a || ' decides about bundles')
FROM (VALUES ('softmax', '{"temperature": 0.02}'), ('square_cb', '{}'), ('linear_ucb', '{}'), ('logistic_thompson', '{"draws": 64}')) v (a, p);
SELECT throws_ok($$SELECT create_policy('x', 'thompson_beta', 'small')$$, '22023', 'algorithm "thompson_beta" cannot decide about bundles', 'one that needs named arms does not');
SELECT throws_ok($$SELECT create_policy('x', 'linear_ucb', 'small', '{"arm_features": 3}')$$, '22023', 'a catalog''s policy has its features from the catalog', 'nor may a catalog''s have other features');
SELECT is_empty($$SELECT a FROM unnest('{softmax,square_cb,linear_ucb,logistic_thompson}'::text[]) a, generate_series(1, 5) s,
                  LATERAL (SELECT count(*) AS n, count(*) FILTER (WHERE propensity > 0 AND propensity <= 1) AS proper FROM recommend('small', policy => a, bundles => 4, seed => s)) r
                  WHERE (n, proper) <> (4, 4)$$, 'four bundles each, with their propensities');
-- untaught, the expected reward is the calibrated score: softmax of it over the logged pool, slot by slot
SELECT decision_id AS soft FROM recommend('small', policy => 'softmax', bundles => 1, diversity => 0) LIMIT 1 \gset
SELECT cmp_ok((SELECT abs(d.propensity[1] - exp(d.score[1] / .02) / (SELECT sum(exp(d.pool_features[(b - 1) * 17 + 2] / .02)) FROM generate_series(1, d.pool_size) b))
               FROM decision d WHERE decision_id = :soft), '<', 1e-9::float8, 'softmax of the scores');
SELECT is((SELECT votes FROM decision WHERE decision_id = :soft), NULL, 'which needs no votes');
SELECT count(feedback(decision_id, 1, 'click', .5)) FROM unnest('{softmax,square_cb,linear_ucb,logistic_thompson}'::text[]) a, generate_series(1, 6) g,
    recommend('small', policy => a, bundles => 1 + g % 2) \g /dev/null
SELECT is(fold('linear_ucb'), 1, 'it learns');
SELECT cmp_ok(pg_temp.largest_difference('linear_ucb'), '<', 1e-6::float8, 'what the log says');
SELECT is(fold('logistic_thompson'), 1, 'and so does a logistic regression');
-- flat at its mode: sum (r - p) x = precision (mean - prior)
SELECT cmp_ok((SELECT max(abs(total)) FROM (
    SELECT i, sum((r.reward - 1 / (1 + exp(-r.score))) * r.x[i]) - 1000 * (max(o.evidence[2 + i]) - CASE i WHEN 1 THEN -4.6 WHEN 2 THEN 4.6 ELSE 0 END) AS total
    FROM (SELECT evidence FROM posterior JOIN policy p USING (policy) WHERE p.name = 'logistic_thompson' ORDER BY version DESC LIMIT 1) o,
         LATERAL (SELECT s.x, s.reward, (SELECT sum(s.x[j] * o.evidence[2 + j]) FROM generate_series(1, 17) j) AS score
                  FROM (SELECT d.slot_features[(k - 1) * 17 + 1 : k * 17]::float8[] AS x,
                               coalesce((SELECT sum(value) FROM feedback f WHERE f.decision_id = d.decision_id AND f.rank = k), 0) AS reward
                        FROM decision d JOIN policy p USING (policy), generate_series(1, cardinality(d.slot_sizes)) k
                        WHERE p.name = 'logistic_thompson' AND NOT d.deterministic) s) r, generate_series(1, 17) i GROUP BY i) g), '<', 1e-6::float8, 'at its mode');

-- every decision of every policy comes out the same when it is taken again
SELECT recommend('small', policy => 'softmax', bundles => 6, diversity => 1), recommend_items('small', policy => 'square_cb', k => 4),
       recommend('small', policy => 'prompt', bundles => 3, size => '[3,3]') \g /dev/null
SELECT alter_policy('softmax', '{"temperature": 1}') \g /dev/null
SELECT results_eq($$SELECT count(*) > 30, count(*) FILTER (WHERE NOT r.as_logged) FROM decision d, replay_decision(d.decision_id) r$$, 'VALUES (true, 0::bigint)', 'every slot of every decision can be replayed');
SET bundle_rec.log_pool = 0;
SELECT decision_id AS poolless FROM recommend('small', bundles => 1) LIMIT 1 \gset
RESET bundle_rec.log_pool;
SELECT throws_ok(format('SELECT replay_decision(%s)', :poolless), '55000', format('the pool of decision %s was not logged', :poolless), 'but where the pool was not logged');
SELECT throws_ok('SELECT replay_decision(77)', '42704', NULL, 'or there was none');
-- as whoever may INSERT there might have written it
CREATE FUNCTION pg_temp.with_pool(sizes smallint[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE id bigint; state text;
BEGIN
    SELECT max(decision_id) INTO id FROM decision WHERE pool_sizes IS NOT NULL;
    UPDATE decision SET pool_sizes = sizes WHERE decision_id = id;
    PERFORM replay_decision(id);
    RAISE EXCEPTION 'replayed';
EXCEPTION WHEN others THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE;
    RETURN state;
END $$;
SELECT is(pg_temp.with_pool(pool), 'XX001', 'a pool of ' || what)
FROM (VALUES ('one bundle', '{2}'::smallint[]), ('negative sizes', '{32767,-32765}'), ('nothing', '{}'), ('NULL', '{NULL}')) v (what, pool);

---- learning ----

-- whatever has a margin of at least one half is bought, all else is not
CREATE FUNCTION pg_temp.teach(rounds int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. rounds LOOP
        PERFORM feedback(r.decision_id, r.rank) FROM recommend('small', size => '[2,2]', policy => 'prompt') r
        WHERE r.margin >= .5;
        IF i % 20 = 0 THEN PERFORM fold('prompt'); END IF;
    END LOOP;
END $$;
CREATE FUNCTION pg_temp.shown_margin() RETURNS double precision LANGUAGE sql AS $$
    SELECT avg(margin) FROM generate_series(1, 20) s, recommend('small', size => '[2,2]', policy => 'prompt', seed => s)
$$;
SELECT pg_temp.shown_margin() AS before \gset
SELECT pg_temp.teach(100) \g /dev/null
SELECT cmp_ok(pg_temp.shown_margin(), '>', :before + .05::float8, 'under the same seeds, what was rewarded is offered more');
SELECT cmp_ok((SELECT count(*) FROM posterior JOIN policy p USING (policy) WHERE p.name = 'prompt'), '>=', 7::bigint,
              'every version is kept');

SELECT * FROM finish();

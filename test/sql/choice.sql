\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- choice.sql
--    Choices among named arms: what a policy may be, what is eligible, what is
--    logged, learned and replayed. Evidence is compared with plain SQL over the
--    log, probabilities with closed forms worked out here.
--
SELECT plan(182);
SET client_min_messages = warning;
SET jit = off;

-- the table of a policy's choices
CREATE FUNCTION pg_temp.number(policy text) RETURNS int LANGUAGE sql AS $$ SELECT number FROM policy_state s WHERE s.policy = $1 $$;

---- what a policy may be ----

SELECT lives_ok(format('SELECT create_policy(%L, %L)', 'arm ' || a, a), a)
FROM unnest('{epsilon_greedy,epsilon_delta,ucb1,ucb_tuned,kl_ucb,thompson_beta,thompson_gaussian,softmax,exp3,square_cb}'::text[]) a;
SELECT lives_ok(format('SELECT create_policy(%L, %L, params => %L)', 'shared ' || a, a, '{"arm_features": 2}'), a || ', shared theta')
FROM unnest('{epsilon_greedy,linear_ucb,linear_thompson,logistic_thompson,softmax,square_cb}'::text[]) a;
SELECT lives_ok(format('SELECT create_policy(%L, %L, params => %L)', 'disjoint ' || a, a, '{"context": 2}'), a || ', a theta for each arm')
FROM unnest('{epsilon_greedy,linear_ucb,linear_thompson,logistic_thompson,softmax,square_cb}'::text[]) a;
SELECT results_eq($$SELECT DISTINCT model, split_part(policy, ' ', 1) FROM policy_state ORDER BY 1$$,
                  $$VALUES ('arm', 'arm'), ('disjoint', 'disjoint'), ('shared', 'shared')$$, 'the model follows from what there is');

SELECT throws_ok(format('SELECT create_policy(%L, %L, params => %L)', 'x', algorithm, params), state, message, what)
FROM (VALUES
    ('oracle', '{}', '22023', 'unknown algorithm "oracle"', 'an unknown algorithm'),
    ('ucb1', '{"model": "shared", "arm_features": 2}', '22023', 'algorithm "ucb1" does not work over model "shared"', 'a model that an algorithm does not work over'),
    ('ucb1', '{"model": "cubic"}', '22023', 'parameter "model" is wrong', 'an unknown model'),
    ('ucb1', '{"context": 3}', '22023', 'model "arm" uses neither context nor arm_features', 'a context that is not used'),
    ('linear_ucb', '{"model": "shared"}', '22023', 'model "shared" needs arm_features', 'arms that cannot be told apart'),
    ('linear_ucb', '{"context": 100, "arm_features": 10}', '54000', 'the policy would have 1111 features', 'too many features'),
    ('linear_ucb', '{"context": {"age": "text"}}', '22023', 'the declaration of context value "age" is wrong', 'a context value of no known kind'),
    ('linear_ucb', '{"context": {"age": {"least": 5, "most": 5}}}', '22023', 'the declaration of context value "age" is wrong', 'an empty range'),
    ('linear_ucb', '{"context": {}}', '22023', 'parameter "context" is wrong', 'a context of nothing'),
    ('linear_ucb', '{"context": 2.5}', '22023', 'parameter "context" is out of range: 2.5', 'half a feature'),
    ('thompson_beta', '{"discount": 0}', '22023', 'parameter "discount" is out of range: 0', 'a discount of 0'),
    ('thompson_beta', '{"discount": 1.01}', '22023', 'parameter "discount" is out of range: 1.01', 'a discount above 1'),
    ('thompson_beta', '{"discount_period": "0"}', '22023', 'parameter "discount_period" is wrong', 'a period of nothing'),
    ('thompson_beta', '{"evidence_window": "-1 day"}', '22023', 'parameter "evidence_window" is wrong', 'a window before now'),
    ('thompson_beta', '{"examination": [1, 0]}', '22023', 'parameter "examination" is wrong', 'a slot that nobody looks at'),
    ('thompson_beta', '{"examination": 0.5}', '22023', 'parameter "examination" is wrong', 'an examination that is no array'),
    ('thompson_beta', '{"keep_versions": 0}', '22023', 'parameter "keep_versions" is out of range: 0', 'no version kept'),
    ('epsilon_delta', '{"delta": -0.1}', '22023', 'parameter "delta" is out of range: -0.1', 'a negative delta'),
    ('epsilon_greedy', '{"epsilon": null}', '22023', 'parameter "epsilon" is null', 'no epsilon'),
    ('epsilon_greedy', '{"epsilon": "much"}', '22023', 'parameter "epsilon" is wrong', 'an epsilon that is no number'),
    ('epsilon_greedy', '{"temperature": 1}', '22023', 'over model "arm" this algorithm does not read parameter "temperature"', 'a parameter of another algorithm'),
    ('softmax', '{"index": true, "arm_features": 2}', '22023', 'arms of algorithm "softmax" over model "shared" cannot be found by an index', 'an index that does not help'),
    ('ucb1', '[]', '22023', '"params" is not a JSON object', 'params that are no object')
) c (algorithm, params, state, message, what);
SELECT throws_ok($$SELECT create_policy('x', 'ucb1', make_default => true)$$, '22023', 'only a catalog has a default policy', 'a default of nothing');
SELECT throws_ok($$SELECT create_policy('arm ucb1', 'ucb1')$$, '42710', NULL, 'a name once');
SELECT throws_ok($$SELECT create_policy('x', NULL)$$, '22004', NULL, 'no algorithm');

---- arms ----

SELECT is(add_arms('arm epsilon_greedy', '{a,b,c,d}'), 4, 'four arms');
SELECT is(add_arms('arm epsilon_greedy', '{d,e}'), 1, 'one of two is new');
SELECT is(add_arms('arm epsilon_greedy', '{}'), 0, 'none');
SELECT throws_ok($$SELECT add_arms('arm epsilon_greedy', '{f,f}')$$, '22023', 'arm "f" is given twice to policy "arm epsilon_greedy"', 'an arm twice');
SELECT throws_ok($$SELECT add_arms('arm epsilon_greedy', '{f,""}')$$, '22023', 'the name of arm 2 is empty', 'an arm without a name');
SELECT throws_ok($$SELECT add_arms('arm epsilon_greedy', '{f,NULL}')$$, '22004', NULL, 'an arm that is NULL');
SELECT throws_ok($$SELECT add_arms('arm epsilon_greedy', '{f}', '{1}')$$, '22023', 'policy "arm epsilon_greedy" takes no features of arms', 'features that are not used');
SELECT throws_ok($$SELECT add_arms('shared linear_ucb', '{f}', '{1}')$$, '22023', '"features" has 1 numbers instead of 2', 'a feature too few');
SELECT throws_ok($$SELECT add_arms('shared linear_ucb', '{f}', '{1,NaN}')$$, '22003', 'number 2 of the features of arms is NaN', 'a feature that is no number');
SELECT throws_ok($$SELECT add_arms('shared linear_ucb', '{f}', '{1,1e7}')$$, '22003', 'number 2 of the features of arms is 1e+07', 'an enormous feature');
SELECT throws_ok($$SELECT add_arms('nobody', '{f}')$$, '42704', NULL, 'arms of an unknown policy');
SELECT is(retire_arm('arm epsilon_greedy', 'e'), true, 'an arm retires');
SELECT is(retire_arm('arm epsilon_greedy', 'e'), false, 'once');
SELECT throws_ok($$SELECT retire_arm('arm epsilon_greedy', 'z')$$, '42704', 'policy "arm epsilon_greedy" has no arm "z"', 'an unknown arm cannot');
SELECT results_eq($$SELECT arms FROM policy_state WHERE policy = 'arm epsilon_greedy'$$, 'VALUES (4::bigint)', 'four are left');
SELECT add_arms('arm ' || a, '{a,b,c,d}') FROM unnest('{epsilon_delta,ucb1,ucb_tuned,kl_ucb,thompson_beta,thompson_gaussian,softmax,exp3,square_cb}'::text[]) a \g /dev/null
SELECT add_arms('shared ' || a, '{a,b,c}', '{1,0,0,1,.5,.5}') FROM unnest('{epsilon_greedy,linear_ucb,linear_thompson,logistic_thompson,softmax,square_cb}'::text[]) a \g /dev/null
SELECT add_arms('disjoint ' || a, '{a,b,c}') FROM unnest('{epsilon_greedy,linear_ucb,linear_thompson,logistic_thompson,softmax,square_cb}'::text[]) a \g /dev/null

---- choosing ----

-- untaught and greedy: the first arm has 1 - epsilon + epsilon / n
SELECT results_eq($$SELECT arm, probability FROM choice_probabilities('arm epsilon_greedy')$$,
                  $$VALUES ('a', .925::float8), ('b', .025), ('c', .025), ('d', .025)$$, 'epsilon .1 over four arms');
SELECT results_eq($$SELECT arm, round(probability::numeric, 12)::float8 FROM choice_probabilities('arm epsilon_greedy', '{d,b}')$$,
                  $$VALUES ('d', .95::float8), ('b', .05)$$, 'only what is eligible has a probability, in the order of the call');
SELECT results_eq($$SELECT DISTINCT arm, propensity FROM generate_series(1, 50) s, choose('arm epsilon_greedy', '{b}', seed => s)$$,
                  $$VALUES ('b', 1::float8)$$, 'one arm is certain');
SELECT is_empty($$SELECT s FROM generate_series(1, 50) s, LATERAL (SELECT count(DISTINCT arm) AS arms, count(*) AS n, min(rank) AS first, max(rank) AS last
                  FROM choose('arm thompson_beta', k => 3, seed => s)) c WHERE (arms, n, first, last) <> (3, 3, 1, 3)$$, 'three different arms in a slate');
SELECT is_empty($$SELECT s FROM generate_series(1, 20) s, choose('arm softmax', k => 4, seed => s) c WHERE abs(propensity - 1.0 / (5 - rank)) > 1e-12$$,
                'untaught softmax is uniform over what is left');
SELECT results_eq($$SELECT arm, propensity FROM choose('shared linear_thompson', k => 3, seed => 7)$$,
                  $$SELECT arm, propensity FROM choose('shared linear_thompson', k => 3, seed => 7)$$, 'the same seed, the same slate');
SELECT is_empty($$SELECT policy FROM policy_state p, LATERAL (SELECT sum(probability) AS total
                  FROM choice_probabilities(p.policy, context => CASE WHEN p.context IS NOT NULL THEN '[0.5, 1]'::jsonb END)) c WHERE abs(total - 1) > 1e-9$$,
                'probabilities of every policy sum to 1');
SELECT throws_ok(statement, state, message, what)
FROM (VALUES
    ($$SELECT choose('arm ucb1', '{a,z}')$$, '42704', 'policy "arm ucb1" has no arm "z"', 'an arm that is not there'),
    ($$SELECT choose('arm epsilon_greedy', '{e}')$$, '42704', 'policy "arm epsilon_greedy" has no arm "e"', 'a retired arm'),
    ($$SELECT choose('arm ucb1', '{a,a}')$$, '22023', 'arm "a" is given twice', 'an arm twice'),
    ($$SELECT choose('arm ucb1', '{}')$$, '22023', 'policy "arm ucb1" has nothing to choose among', 'nothing eligible'),
    ($$SELECT choose('arm ucb1', k => 5)$$, '22023', '5 arms are wanted and 4 are eligible', 'more than there are'),
    ($$SELECT choose('arm ucb1', k => 0)$$, '22023', '"k" must be between 1 and 1000', 'no slot'),
    ($$SELECT choose('arm ucb1', k => NULL)$$, '22004', 'argument "k" must not be NULL', 'k NULL'),
    ($$SELECT choose(NULL)$$, '22004', 'argument "policy" must not be NULL', 'policy NULL'),
    ($$SELECT choose('nobody')$$, '42704', 'policy "nobody" does not exist', 'an unknown policy'),
    ($$SELECT choose('arm ucb1', NULL, '{1}'::float8[])$$, '22023', 'policy "arm ucb1" takes no context', 'a context that is not used'),
    ($$SELECT choose('disjoint linear_ucb')$$, '22023', 'policy "disjoint linear_ucb" needs a context', 'no context'),
    ($$SELECT choose('disjoint linear_ucb', NULL, '{1}'::float8[])$$, '22023', 'the context has 1 numbers instead of 2', 'a context too short'),
    ($$SELECT choose('disjoint linear_ucb', NULL, '{1,NaN}'::float8[])$$, '22003', 'number 2 of the context is NaN', 'a context with NaN'),
    ($$SELECT choose('disjoint linear_ucb', NULL, '{1,1e300}'::float8[])$$, '22003', 'number 2 of the context is 1e+300', 'an enormous context'),
    ($$SELECT choose('disjoint linear_ucb', NULL, '{1,NULL}'::float8[])$$, '22004', '"context" must not contain NULL', 'a context with NULL'),
    ($$SELECT choose('disjoint linear_ucb', NULL, '{"a": 1}'::jsonb)$$, '22023', 'policy "disjoint linear_ucb" takes a context of numbers', 'names instead of numbers'),
    ($$SELECT choose('disjoint linear_ucb', NULL, '[1, "x"]'::jsonb)$$, '22023', 'number 2 of the context is not a number', 'a text instead of a number'),
    ($$SELECT choose('disjoint linear_ucb', NULL, '[1,2,3]'::embedding)$$, '22023', 'the context has 3 numbers instead of 2', 'an embedding of other dimensions'),
    ($$SELECT choose('shared linear_ucb', features => '{1,2}')$$, '22023', '"features" are given without "arms"', 'features of whom'),
    ($$SELECT choose('shared linear_ucb', '{a}', features => '{1,2,3}')$$, '22023', '"features" has 3 numbers instead of 2', 'features too many'),
    ($$SELECT choose('shared linear_ucb', '{a}', features => '{1,Infinity}')$$, '22003', 'number 2 of "features" is Infinity', 'an infinite feature'),
    ($$SELECT choose('arm ucb1', '{a}', features => '{1}')$$, '22023', 'policy "arm ucb1" takes no features of arms', 'features that are not used')
) c (statement, state, message, what);

-- named contexts: {1, arm 0 features, age, country one-hot, member} in the order of jsonb's keys
SELECT create_policy('named', 'linear_ucb', params => '{"context": {"age": {"least": 0, "most": 100}, "member": "boolean", "country": ["NL", "DE", "*"], "visits": "number"}}') \g /dev/null
SELECT add_arms('named', '{a,b}') \g /dev/null
SELECT lives_ok($$SELECT choose('named', NULL, '{"age": 25, "country": "DE", "member": true, "visits": 7}'::jsonb),
                         choose('named', NULL, '{"visits": 0, "member": false, "country": "FR", "age": 100}'::jsonb)$$, 'two named contexts');
SELECT results_eq($$SELECT context FROM choice_log WHERE policy = 'named' ORDER BY decision_id$$,
                  $$VALUES ('{0.25,1,7,0,1,0}'::float8[]), ('{1,0,0,0,0,1}')$$, 'become features: scaled, one-hot, others under *');
SELECT throws_ok(format('SELECT choose(%L, NULL, %L::jsonb)', 'named', context), '22023', message, what)
FROM (VALUES
    ('{"age": 25, "country": "DE", "member": true}', 'the context lacks "visits"', 'a value is missing'),
    ('{"age": 25, "country": "DE", "member": true, "visits": 1, "extra": 2}', 'policy "named" declares no context value "extra"', 'a value too many'),
    ('{"age": 125, "country": "DE", "member": true, "visits": 1}', 'context value "age" is wrong', 'a value out of its range'),
    ('{"age": 25, "country": 5, "member": true, "visits": 1}', 'context value "country" is wrong', 'a number instead of a text'),
    ('{"age": 25, "country": "DE", "member": 1, "visits": 1}', 'context value "member" is wrong', 'a number instead of a truth'),
    ('[1, 2, 3]', 'policy "named" takes a context of named values', 'numbers instead of names')
) c (context, message, what);
SELECT throws_ok($$SELECT choose('named', NULL, '{"age": 25, "country": "DE", "member": true, "visits": 1e9}'::jsonb)$$, '22003', 'context value "visits" is 1e+09', 'an enormous value');

---- the log ----

SELECT decision_id AS id FROM choose('shared linear_thompson', '{c,a}', k => 2, user_id => 'ann', features => '{1,2,3,4}') LIMIT 1 \gset
SELECT results_eq(format('SELECT rank, user_id, eligible, features, posterior, deterministic, reward, counted FROM choice_log WHERE decision_id = %s ORDER BY rank', :id),
                  $$VALUES (1, 'ann', '{c,a}'::text[], '{1,2,3,4}'::float8[], 0, false, 0::float8, false), (2, 'ann', '{c,a}', '{1,2,3,4}', 0, false, 0, false)$$,
                  'what was eligible, and what was known of it');
SELECT results_eq(format('SELECT rank, arm, score, propensity FROM replay_choice(%s)', :id),
                  format('SELECT rank, arm, score, propensity FROM choice_log WHERE decision_id = %s ORDER BY rank', :id), 'the choice can be taken again');
SELECT is((SELECT decision_id FROM choose('arm ucb1', log => false)), NULL, 'nothing is logged where nothing shall be');
BEGIN READ ONLY;
SELECT is((SELECT decision_id FROM choose('arm ucb1')), NULL, 'nor where nothing can be');
SELECT throws_ok($$SELECT choose('arm ucb1', log => true)$$, '25006', 'cannot log a choice in a read-only transaction', 'unless it must be');
SELECT throws_ok($$SELECT add_arms('arm ucb1', '{z}')$$, '25006', NULL, 'no arms in a read-only transaction');
COMMIT;

---- feedback ----

SELECT is(feedback(:id, 1, user_id => 'ann'), true, 'a click of the user it was for');
SELECT is(feedback(:id, 1), false, 'counted once');
SELECT throws_ok(format($$SELECT feedback(%s, 2, user_id => 'bob')$$, :id), '42501', format('decision %s was not taken for user "bob"', :id), 'another user is refused');
SELECT throws_ok(format('SELECT feedback(%s, 3)', :id), '22023', format('decision %s has no rank 3', :id), 'a slot that was not there');
SELECT throws_ok(format('SELECT feedback(%s, 1)', :id + 1000), '42704', NULL, 'an unknown choice');
SELECT decision_id AS beta FROM choose('arm thompson_beta') \gset
SELECT throws_ok(format('SELECT feedback(%s, 1, value => 2)', :beta), '22003', 'a reward of 2 is out of the range of the policy', 'a reward that a Beta posterior has no place for');

---- learning ----

-- random rounds: contexts, slates of 1 to 3, clicks, a purchase worth 2 in general policies, some of it taken back
CREATE FUNCTION pg_temp.rounds(policies text[], n int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    p record;
    c record;
BEGIN
    FOR p IN SELECT * FROM policy_state s WHERE s.policy = ANY (policies) ORDER BY s.policy LOOP
        FOR i IN 1 .. n LOOP
            FOR c IN SELECT * FROM choose(p.policy, NULL, CASE WHEN p.context IS NOT NULL THEN jsonb_build_array(random(), random()) END, 1 + i % 3) LOOP
                IF (random() < CASE c.arm WHEN 'a' THEN .2 WHEN 'b' THEN .5 ELSE .1 END) THEN
                    PERFORM feedback(c.decision_id, c.rank, value => .5);
                    IF random() < .3 THEN PERFORM feedback(c.decision_id, c.rank, value => .25, event_id => 'more ' || c.rank); END IF;
                    IF random() < .3 THEN PERFORM feedback(c.decision_id, c.rank, value => -.5, event_id => 'back ' || c.rank); END IF;
                END IF;
            END LOOP;
        END LOOP;
    END LOOP;
END $$;
SELECT alter_policy(policy, attribution_window => '0') FROM policy_state \g /dev/null
SELECT setseed(.3) \g /dev/null
SELECT pg_temp.rounds(array_agg(policy), 40) FROM policy_state WHERE policy <> 'named' \g /dev/null
SELECT is(count(DISTINCT fold(policy)), 1::bigint, 'every policy folds') FROM policy_state WHERE policy <> 'named';
SELECT is((SELECT count(*) FROM unfolded_feedback), 0::bigint, 'and leaves nothing');

-- what the evidence must be, from the log
CREATE VIEW public.slot AS
SELECT p.name AS policy, p.model, p.policy AS number, p.dims, d.decision_id, k.rank, d.slot_arms[k.rank] AS arm,
       d.slot_features[(k.rank - 1) * p.dims + 1 : k.rank * p.dims]::float8[] AS x, d.propensity[k.rank] AS propensity, d.decided_at,
       coalesce((SELECT sum(value) FROM feedback f WHERE f.decision_id = d.decision_id AND f.rank = k.rank), 0) AS reward
FROM choice d JOIN policy p USING (policy), generate_series(1, cardinality(d.slot_arms)) k (rank) WHERE NOT d.deterministic AND p.name <> 'named';
CREATE VIEW public.newest AS SELECT DISTINCT ON (p.name) p.name AS policy, o.policy AS number, o.version, o.parameters, o.evidence FROM posterior o JOIN policy p ON p.policy = o.policy ORDER BY p.name, o.version DESC;
CREATE VIEW public.newest_arm AS SELECT DISTINCT ON (policy, arm) * FROM posterior_arm ORDER BY policy, arm, version DESC;
CREATE FUNCTION pg_temp.linear(dims int, x double precision[], reward double precision) RETURNS TABLE (place int, value double precision) LANGUAGE sql AS $$
    SELECT 1, 1::float8 UNION ALL SELECT 2, reward ^ 2 UNION ALL SELECT 2 + i, reward * x[i] FROM generate_series(1, dims) i
    UNION ALL SELECT 2 + dims + i * (i - 1) / 2 + j, x[i] * x[j] FROM generate_series(1, dims) i, generate_series(1, i) j $$;

SELECT is_empty($$
    SELECT s.policy FROM public.slot s JOIN public.newest o USING (policy) WHERE s.model IN ('arm', 'disjoint') AND s.policy !~ 'logistic'
    GROUP BY s.policy, o.evidence
    HAVING abs(count(*) - o.evidence[1]) + abs(sum(reward) - o.evidence[2]) + abs(sum(reward ^ 2) - o.evidence[3]) > 1e-9$$,
    'what all arms share: slots, rewards and their squares');
SELECT is((SELECT count(DISTINCT s.policy) FROM public.slot s WHERE model = 'arm'), 10::bigint, 'of ten policies over arms');
SELECT is_empty($$
    SELECT s.policy, s.arm FROM public.slot s JOIN public.newest_arm o ON o.policy = s.number AND o.arm = s.arm WHERE s.model = 'arm'
    GROUP BY s.policy, s.arm, o.evidence
    HAVING abs(count(*) - o.evidence[1]) + abs(sum(reward) - o.evidence[2]) + abs(sum(reward ^ 2) - o.evidence[3]) + abs(sum(reward / propensity) - o.evidence[4]) > 1e-9$$,
    'each arm: the same, and rewards over propensities');
SELECT set_eq($$SELECT DISTINCT number, arm FROM public.slot WHERE model IN ('arm', 'disjoint')$$, $$SELECT policy, arm FROM public.newest_arm$$, 'every arm that was shown has evidence, and no other');
SELECT is_empty($$
    WITH expected AS (SELECT s.policy, l.place, sum(l.value) AS value FROM public.slot s, pg_temp.linear(s.dims, s.x, s.reward) l
                      WHERE s.model = 'shared' AND s.policy !~ 'logistic' GROUP BY 1, 2)
    SELECT e.policy, e.place FROM expected e JOIN public.newest o USING (policy) WHERE abs(e.value - o.evidence[e.place]) > 1e-5$$, 'a shared theta: the sums of a regression');
SELECT is_empty($$
    WITH expected AS (SELECT s.number, s.arm, l.place, sum(l.value) AS value FROM public.slot s, pg_temp.linear(s.dims, s.x, s.reward) l
                      WHERE s.model = 'disjoint' AND s.policy !~ 'logistic' GROUP BY 1, 2, 3)
    SELECT e.number, e.arm, e.place FROM expected e JOIN public.newest_arm o ON o.policy = e.number AND o.arm = e.arm WHERE abs(e.value - o.evidence[e.place]) > 1e-5$$,
    'a theta of each arm: the same by arm');

-- logistic: [sum w, sum w r, mean, precision]; at the mode the penalised likelihood is flat
SELECT is_empty($$
    WITH fit AS (SELECT s.policy, s.x, least(greatest(s.reward, 0), 1) AS r, s.dims, (o.parameters ->> 'prior_precision')::float8 AS prior,
                        CASE s.model WHEN 'shared' THEN o.evidence ELSE (SELECT evidence FROM public.newest_arm a WHERE a.policy = s.number AND a.arm = s.arm) END AS e,
                        CASE s.model WHEN 'shared' THEN 0 ELSE s.arm END AS arm
                 FROM public.slot s JOIN public.newest o USING (policy) WHERE s.policy ~ 'logistic'),
         scored AS (SELECT policy, arm, dims, prior, e, x, r, 1 / (1 + exp(-(SELECT sum(e[2 + i] * x[i]) FROM generate_series(1, dims) i))) AS p FROM fit)
    SELECT policy, arm, i FROM scored, generate_series(1, dims) i GROUP BY policy, arm, i, prior, e[2 + i]
    HAVING abs(sum((r - p) * x[i]) - prior * e[2 + i]) > 1e-6$$, 'logistic: the gradient is zero at the mode');

-- the next decisions use it, and the earlier ones can be taken again
SELECT pg_temp.rounds(array_agg(policy), 5) FROM policy_state WHERE policy <> 'named' \g /dev/null
SELECT alter_policy('arm softmax', '{"temperature": 5}') \g /dev/null
SELECT add_arms('arm softmax', '{f}') \g /dev/null
SELECT retire_arm('arm kl_ucb', 'd') \g /dev/null
SELECT results_eq($$SELECT count(*), count(*) FILTER (WHERE (r.arm, r.score, r.propensity) = (c.arm, c.score, c.propensity)) FROM choice_log c JOIN LATERAL replay_choice(c.decision_id) r USING (rank)$$,
                  $$SELECT count(*), count(*) FROM choice_log$$, 'every choice of every policy is the same when it is taken again');
-- as whoever may INSERT there might have written it
CREATE FUNCTION pg_temp.forged(policy_name text, change text, ask text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE id bigint; state text; message text;
BEGIN
    SELECT max(decision_id) INTO id FROM choice_log WHERE policy = policy_name AND NOT deterministic;
    EXECUTE format('UPDATE choice SET %s WHERE decision_id = %s', change, id);
    EXECUTE format(ask, id);
    RAISE EXCEPTION 'answered';
EXCEPTION WHEN others THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
    RETURN state || ' ' || message;
END $$;
SELECT is(pg_temp.forged(policy, change, ask), '22023 a logged choice of policy "' || policy || '" has ' || says, format('%s: %s', split_part(ask, '(', 1), change))
FROM (VALUES ('disjoint linear_ucb', 'context = NULL', '0 numbers in its context instead of 2'),
             ('disjoint linear_ucb', $$context = '{1}'$$, '1 numbers in its context instead of 2'),
             ('shared linear_thompson', $$pool_features = '{1}'$$, '1 numbers in its features instead of 6')) v (policy, change, says),
     LATERAL (VALUES ('SELECT replay_choice(%s)'), (format($$SELECT evaluate_policy(%L, estimators => '{ips}')$$, policy))) a (ask);

-- what the newest version knows of each arm
SELECT is_empty($$SELECT a.policy, a.arm FROM arm_state a LEFT JOIN (SELECT policy, arm, count(*) AS slots, avg(reward) AS mean FROM public.slot WHERE model = 'arm' GROUP BY 1, 2) s
                  ON s.policy = a.policy AND s.arm = (SELECT arm FROM arm n JOIN policy p USING (policy) WHERE p.name = a.policy AND n.name = a.arm ORDER BY added DESC LIMIT 1)
                  WHERE a.policy IN (SELECT policy FROM public.newest n JOIN policy_state USING (policy, version) WHERE policy ~ '^arm' AND unfolded_decisions = 0)
                  AND (a.slots IS DISTINCT FROM s.slots::float8 OR abs(a.mean_reward - s.mean) > 1e-9)$$, 'arm_state says what the log says');
SELECT is((SELECT count(*) FROM arm_state WHERE policy = 'arm epsilon_greedy' AND retired), 1::bigint, 'retired arms too');

-- a late reward and its reversal
SELECT decision_id AS old FROM choice_log WHERE policy = 'arm ucb1' ORDER BY 1 LIMIT 1 \gset
SELECT fold('arm ucb1') \g /dev/null
SELECT feedback(:old, 1, value => .125, event_id => 'late') \g /dev/null
SELECT fold('arm ucb1') \g /dev/null
SELECT is((SELECT evidence[2] FROM public.newest WHERE policy = 'arm ucb1'), (SELECT sum(reward) FROM public.slot WHERE policy = 'arm ucb1'), 'a late reward is counted');
SELECT feedback(:old, 1, value => -.125, event_id => 'never') \g /dev/null
SELECT fold('arm ucb1') \g /dev/null
SELECT is((SELECT evidence[3] FROM public.newest WHERE policy = 'arm ucb1'), (SELECT sum(reward ^ 2) FROM public.slot WHERE policy = 'arm ucb1'), 'and taken back, squares too');

---- closed forms over what was learned ----

-- softmax over arms: exp(mean / temperature), with the prior mean of the pooled rate
SELECT is_empty($$
    WITH s AS (SELECT (parameters ->> 'prior_strength')::float8 AS n0, evidence[2] / evidence[1] AS pooled, policy, parameters FROM public.newest WHERE policy = 'arm square_cb' OR policy = 'arm softmax'),
    m AS (SELECT s.policy, a.name, coalesce((e.evidence[2] + n0 * pooled) / (e.evidence[1] + n0), pooled) AS mean, (s.parameters ->> 'temperature')::float8 AS temperature
          FROM public.newest o JOIN s USING (policy) JOIN arm a ON a.policy = o.number AND a.retired IS NULL LEFT JOIN public.newest_arm e ON e.policy = o.number AND e.arm = a.arm
          WHERE s.policy = 'arm softmax')
    SELECT name FROM m JOIN choice_probabilities('arm softmax') c ON c.arm = m.name
    WHERE abs(c.probability - exp(mean / temperature) / (SELECT sum(exp(mean / temperature)) FROM m)) > 1e-9$$, 'softmax of the means');

---- marginals ----

SELECT is_empty($$
    WITH first AS (SELECT arm, probability FROM choice_probabilities('arm softmax', '{a,b,c,d}')),
    second AS (SELECT c.arm, sum(f.probability * c.probability) AS probability FROM first f, choice_probabilities('arm softmax', array_remove('{a,b,c,d}', f.arm)) c GROUP BY 1),
    m AS (SELECT * FROM marginal_propensity('arm softmax', 2, '{a,b,c,d}'))
    SELECT m.arm FROM m JOIN first f USING (arm) JOIN second s USING (arm)
    WHERE m.estimated OR abs(m.probability - CASE m.slot WHEN 1 THEN f.probability ELSE s.probability END) > 1e-9$$, 'P(arm at slot) sums over what stands before it');
SELECT is_empty($$SELECT slot FROM marginal_propensity('shared linear_thompson', 3) GROUP BY slot HAVING abs(sum(probability) - 1) > 1e-9$$, 'each slot holds one arm');
SELECT throws_ok($$SELECT marginal_propensity('arm ucb1', 5)$$, '22023', '5 slots are wanted and 4 arms are eligible', 'more slots than arms');

---- layouts ----

SELECT alter_policy('arm epsilon_greedy', '{"epsilon": 0, "examination": [0.3, 1, 0.5]}') \g /dev/null
SELECT results_eq($$SELECT "position", rank FROM arrange('arm epsilon_greedy', '{a,b,c,d}', '{left,middle,right}', seed => 1)$$,
                  $$VALUES ('left', 3), ('middle', 1), ('right', 2)$$, 'the best goes where most look');
SELECT results_eq($$SELECT item FROM arrange('arm epsilon_greedy', '{a,b,c,d}', '{left,middle,right}', seed => 1) ORDER BY rank$$,
                  $$SELECT arm FROM choose('arm epsilon_greedy', '{a,b,c,d}', k => 3, seed => 1)$$, 'in the order of a slate');
SELECT decision_id AS layout FROM arrange('arm epsilon_greedy', NULL, '{left,middle}') LIMIT 1 \gset
SELECT results_eq(format('SELECT "position" FROM choice_log WHERE decision_id = %s ORDER BY rank', :layout), $$VALUES ('middle'), ('left')$$, 'and the log says where');
SELECT throws_ok($$SELECT arrange('arm epsilon_greedy', NULL, '{a,b,c,d}')$$, '22023', 'policy "arm epsilon_greedy" knows the examination of 3 positions, not of 4', 'a position that nothing is known of');
-- position-based: a slot that is looked at k of the time counts k
SELECT evidence[1] AS before FROM public.newest WHERE policy = 'arm epsilon_greedy' \gset
SELECT count(*) AS waiting FROM unfolded_decision u JOIN policy p USING (policy) WHERE p.name = 'arm epsilon_greedy' \gset
SELECT fold('arm epsilon_greedy') \g /dev/null
SELECT is((SELECT round((evidence[1] - :before)::numeric, 9) FROM public.newest WHERE policy = 'arm epsilon_greedy'),
          (SELECT round(sum(('{0.3,1,0.5}'::float8[])[rank])::numeric, 9) FROM (SELECT s.*, dense_rank() OVER (ORDER BY decision_id DESC) AS age FROM public.slot s WHERE policy = 'arm epsilon_greedy') s WHERE age <= :waiting),
          'slots count as often as they are looked at');

---- ageing ----

SELECT create_policy('ageing', 'thompson_beta', params => '{"discount": 0.5, "discount_period": "2 days"}', attribution_window => '0') \g /dev/null
SELECT add_arms('ageing', '{a,b}') \g /dev/null
SELECT count(*) FROM generate_series(1, 8) g, choose('ageing', log => g > 0) \g /dev/null
SELECT feedback(decision_id, 1) FROM choice_log WHERE policy = 'ageing' \g /dev/null
-- the i-th is i days old
UPDATE choice d SET decided_at = now() - make_interval(days => n.i::int) FROM (SELECT decision_id, row_number() OVER (ORDER BY decision_id) AS i FROM choice_log WHERE policy = 'ageing') n WHERE n.decision_id = d.decision_id;
UPDATE unfolded_decision u SET decided_at = d.decided_at FROM choice d WHERE d.decision_id = u.decision_id;
BEGIN;
SELECT fold('ageing') \g /dev/null
SELECT cmp_ok((SELECT max(abs(e.evidence[1] - s.n)) FROM public.newest_arm e JOIN (SELECT number, arm, sum(.5 ^ (extract(epoch FROM now() - decided_at)::float8 / 172800)) AS n FROM public.slot WHERE policy = 'ageing' GROUP BY 1, 2) s
               ON s.number = e.policy AND s.arm = e.arm), '<', 1e-6::float8, 'a decision of i days weighs .5 ^ (i / 2)');
SELECT cmp_ok((SELECT abs(sum(.5 ^ (extract(epoch FROM now() - decided_at)::float8 / 172800)) - max(o.evidence[2])) FROM public.slot s JOIN public.newest o USING (policy) WHERE s.policy = 'ageing'), '<', 1e-6::float8, 'and so does its reward');
COMMIT;
SELECT alter_policy('ageing', '{"evidence_window": "84 hours"}') \g /dev/null
SELECT choose('ageing') \g /dev/null
SELECT fold('ageing') \g /dev/null
SELECT is((SELECT round(sum(evidence[1])::numeric, 3) FROM public.newest_arm JOIN policy p USING (policy) WHERE p.name = 'ageing'),
          round((1 + .5 ^ .5 + .5 ^ 1 + .5 ^ 1.5)::numeric, 3), 'only what is in the window counts');
SELECT throws_ok($$SELECT alter_policy('ageing', '{"discount": 2}')$$, '22023', 'parameter "discount" is out of range: 2', 'a discount above 1');
SELECT throws_ok($$SELECT alter_policy('ageing', '{"model": "shared"}')$$, '0A000', NULL, 'the model cannot change');
SELECT throws_ok($$SELECT alter_policy('ageing', make_default => true)$$, '22023', 'only a catalog has a default policy', 'nor can it be a default');

---- versions ----

SELECT alter_policy('arm exp3', '{"keep_versions": 2}') \g /dev/null
SELECT decision_id AS early FROM choice_log WHERE policy = 'arm exp3' ORDER BY 1 LIMIT 1 \gset
SELECT pg_temp.rounds('{arm exp3}', 1), fold('arm exp3') FROM generate_series(1, 3) \g /dev/null
SELECT is((SELECT count(*) FROM posterior JOIN policy p USING (policy) WHERE p.name = 'arm exp3'), 2::bigint, 'two versions are kept');
SELECT is_empty($$SELECT s.arm FROM public.slot s JOIN public.newest_arm o ON o.policy = s.number AND o.arm = s.arm WHERE s.policy = 'arm exp3'
                  GROUP BY s.arm, o.evidence HAVING abs(sum(reward / propensity) - o.evidence[4]) > 1e-9$$, 'and what they need of the arms');
SELECT throws_ok(format('SELECT replay_choice(%s)', :early), '42704', 'policy "arm exp3" has no version 0', 'what a version decided that is gone cannot be replayed');
SELECT is((SELECT count(*) FROM choice_probabilities('arm ucb1', version => 0)), 4::bigint, 'others answer as of any version');

---- warm start ----

SELECT create_policy('warm ' || split_part(p, ' ', 1), split_part(p, ' ', 2), params => coalesce(CASE split_part(p, ' ', 1) WHEN 'disjoint' THEN '{"context": 2}'::jsonb WHEN 'shared' THEN '{"arm_features": 2}' END, '{}'))
FROM unnest('{arm thompson_gaussian,disjoint linear_ucb,shared linear_thompson}'::text[]) p \g /dev/null
SELECT add_arms('warm arm', '{a,b,c,d}'), add_arms('warm disjoint', '{a,b,c}'), add_arms('warm shared', '{a,b,c}', '{1,0,0,1,.5,.5}') \g /dev/null
SELECT fold(p) FROM unnest('{arm thompson_gaussian,disjoint linear_ucb,shared linear_thompson}'::text[]) p \g /dev/null
SELECT results_eq($$SELECT warm_start('warm arm', $q$SELECT arm, reward, propensity FROM choice_log WHERE policy = 'arm thompson_gaussian'$q$)$$,
                  $$SELECT count(*) FROM choice_log WHERE policy = 'arm thompson_gaussian'$$, 'as many rows as the log has');
SELECT warm_start('warm disjoint', $$SELECT arm, reward, context FROM choice_log WHERE policy = 'disjoint linear_ucb'$$) \g /dev/null
SELECT warm_start('warm shared', $$SELECT arm, reward, features[array_position(eligible, arm) * 2 - 1 : array_position(eligible, arm) * 2] AS features FROM choice_log WHERE policy = 'shared linear_thompson' AND NOT deterministic$$) \g /dev/null
SELECT results_eq($$SELECT arm, round(probability::numeric, 9) FROM choice_probabilities('warm arm')$$, $$SELECT arm, round(probability::numeric, 9) FROM choice_probabilities('arm thompson_gaussian')$$, 'a policy taught from a log believes what the one believes that logged');
SELECT results_eq($$SELECT round(score::numeric, 9) FROM choice_probabilities('warm disjoint', context => '[0.2, 0.4]')$$, $$SELECT round(score::numeric, 9) FROM choice_probabilities('disjoint linear_ucb', context => '[0.2, 0.4]')$$, 'with contexts');
SELECT results_eq($$SELECT round(score::numeric, 9) FROM choice_probabilities('warm shared')$$, $$SELECT round(score::numeric, 9) FROM choice_probabilities('shared linear_thompson')$$, 'with features of arms');
SELECT create_policy('warm numeric', 'thompson_gaussian') \g /dev/null
SELECT add_arms('warm numeric', '{a,b,c,d}') \g /dev/null
SELECT warm_start('warm numeric', $$SELECT arm::varchar, reward::numeric, propensity::numeric FROM choice_log WHERE policy = 'arm thompson_gaussian'$$) \g /dev/null
SELECT results_eq($$SELECT arm, probability FROM choice_probabilities('warm numeric')$$, $$SELECT arm, probability FROM choice_probabilities('warm arm')$$, 'and with numbers of any type');
SELECT throws_ok(format('SELECT warm_start(%L, %L)', policy, query), state, message, what)
FROM (VALUES
    ('warm arm', $$SELECT 'a' AS arm$$, '42703', 'the query has no column "reward"', 'no rewards'),
    ('warm arm', $$SELECT 'a' AS arm, true AS reward$$, '42804', 'column "reward" of the query is no number', 'rewards of another type'),
    ('warm arm', $$SELECT 'z' AS arm, 1::float8 AS reward$$, '42704', 'policy "warm arm" has no arm "z"', 'an unknown arm'),
    ('warm arm', $$SELECT 'a' AS arm, 'NaN'::float8 AS reward$$, '22023', 'row 1 of the query is wrong: its reward is NaN', 'a reward that is no number'),
    ('warm arm', $$SELECT 'a' AS arm, 1::float8 AS reward, 0::float8 AS propensity$$, '22023', 'row 1 of the query is wrong: its propensity is 0, not above 0 and at most 1', 'a propensity of 0'),
    ('arm thompson_beta', $$SELECT 'a' AS arm, 3::float8 AS reward$$, '22023', 'row 1 of the query is wrong: its reward is 3, and the algorithm takes rewards from 0 to 1', 'a reward out of range'),
    ('shared logistic_thompson', $$SELECT 'a' AS arm, 1::float8 AS reward$$, '0A000', 'policy "shared logistic_thompson" counts its whole log anew at every fold', 'a policy that would forget it'),
    ('nobody', 'SELECT 1', '42704', 'policy "nobody" does not exist', 'an unknown policy')
) c (policy, query, state, message, what);

---- folding what is due ----

SELECT is_empty($$SELECT * FROM fold_due() WHERE policy = 'named'$$, 'nothing is due');
SELECT alter_policy('named', '{"fold_size": 1}') \g /dev/null
SELECT is((SELECT version FROM fold_due() WHERE policy = 'named'), 1, 'until enough waits');
-- what stops one policy does not stop the others
SELECT create_policy('broken', 'thompson_beta', params => '{"fold_size": 1}', attribution_window => '0') \g /dev/null
SELECT add_arms('broken', '{a}') \g /dev/null
SELECT choose('broken'), choose('named', NULL, '{"age": 25, "country": "DE", "member": true, "visits": 7}'::jsonb) \g /dev/null
UPDATE posterior SET evidence = '{1}' WHERE policy = (SELECT policy FROM policy WHERE name = 'broken');
SET client_min_messages = error;
SELECT results_eq($$SELECT policy, version FROM fold_due()$$, $$VALUES ('named', 2)$$, 'a policy that cannot be folded does not stop the others');
SET client_min_messages = warning;
SELECT throws_ok($$SELECT fold('broken')$$, 'XX001', 'version 0 of policy "broken" does not fit its model', 'and says why when it is asked');

---- an index over arms ----

SELECT create_policy('many', 'linear_thompson', params => '{"arm_features": 8, "index": true, "draws": 64, "epsilon": 0}', attribution_window => '0') \g /dev/null
SELECT add_arms('many', array_agg('arm ' || i ORDER BY i), (SELECT array_agg(random() - .5) FROM generate_series(1, 24000))) FROM generate_series(1, 3000) i \g /dev/null
SELECT is((SELECT count(*) FROM choose('many', k => 5)), 5::bigint, 'five of three thousand');
SELECT results_eq($$SELECT count(*), count(*) FILTER (WHERE (r.arm, r.propensity) = (c.arm, c.propensity)) FROM choice_log c JOIN LATERAL replay_choice(c.decision_id) r USING (rank) WHERE c.policy = 'many'$$,
                  'VALUES (5::bigint, 5::bigint)', 'which can be taken again');
-- taught that the first feature is what counts, it finds the arms that have most of it
SELECT warm_start('many', $$SELECT 'arm ' || i AS arm, a.features[1]::float8 AS reward FROM generate_series(1, 3000) i JOIN bundle_rec.arm a ON a.name = 'arm ' || i$$) \g /dev/null
SELECT cmp_ok((SELECT avg(a.features[1]) FROM generate_series(1, 20) s, choose('many', seed => s) c JOIN arm a ON a.name = c.arm), '>', .45::float8, 'the best by far are found');
SELECT results_eq($$SELECT arm FROM choose('many', '{arm 7}')$$, $$VALUES ('arm 7')$$, 'or one that is named');
SELECT throws_ok($$SELECT choose('many', '{arm 7,arm 0}')$$, '42704', 'policy "many" has no arm "arm 0"', 'if it is there');
SELECT throws_ok($$SELECT add_arms('many', '{new}')$$, '22023', 'arm "new" has no features', 'an index needs features');

---- an incumbent ----

SELECT create_policy('careful', 'epsilon_delta', params => '{"epsilon": 0, "delta": 0.05, "eta": 0.05}', attribution_window => '0') \g /dev/null
SELECT add_arms('careful', '{a,b}') \g /dev/null
SELECT warm_start('careful', $$SELECT CASE WHEN i % 2 = 0 THEN 'a' ELSE 'b' END AS arm, (i % 10 < 3)::int::float8 AS reward FROM generate_series(1, 400) i$$) \g /dev/null
SELECT arm AS incumbent FROM choose('careful', seed => 1) \gset
SELECT warm_start('careful', format($$SELECT %L AS arm, (i %% 10 < 3)::int::float8 AS reward FROM generate_series(1, 40) i$$, CASE :'incumbent' WHEN 'a' THEN 'b' ELSE 'a' END)) \g /dev/null
SELECT is((SELECT arm FROM choose('careful', seed => 1)), :'incumbent', 'a challenger that is hardly better does not replace the incumbent');
SELECT warm_start('careful', format($$SELECT %L AS arm, 1::float8 AS reward FROM generate_series(1, 400) i$$, CASE :'incumbent' WHEN 'a' THEN 'b' ELSE 'a' END)) \g /dev/null
SELECT isnt((SELECT arm FROM choose('careful', seed => 1)), :'incumbent', 'one that is much better does');

---- the end ----

SELECT pg_temp.number('many') AS many \gset
SELECT lives_ok($$SELECT drop_policy('many')$$, 'a policy is dropped');
SELECT is_empty(format($$SELECT relname FROM pg_class WHERE relnamespace = 'bundle_rec'::regnamespace AND relname ~ '_%s(_|$)'$$, :many), 'with its tables');
SELECT throws_ok($$SELECT drop_policy('many')$$, '42704', NULL, 'once');
SELECT throws_ok(format('SELECT feedback(%s, 1)', :many * 1099511627776 + 1), '42704', NULL, 'its choices are unknown');

SELECT * FROM finish();

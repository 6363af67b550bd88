-- policy_evaluation.sql
--    What another policy would have earned from the log of decisions, and how
--    the present one fares.

CREATE FUNCTION evaluate_policy(candidate text, log text DEFAULT NULL, estimators text[] DEFAULT NULL,
                                learning boolean DEFAULT false,
                                cap double precision DEFAULT 10, tau double precision DEFAULT 10,
                                lambda double precision DEFAULT 100, level double precision DEFAULT 0.95,
                                version int DEFAULT NULL, reward_model text DEFAULT 'ridge', folds int DEFAULT 5,
                                penalty double precision DEFAULT 1, batch int DEFAULT 1, seed bigint DEFAULT 0)
RETURNS TABLE (estimator text, value double precision, standard_error double precision,
               lower double precision, upper double precision, n bigint,
               effective_sample_size double precision, max_weight double precision,
               mean_weight double precision, warning text)
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 3
AS 'MODULE_PATHNAME', 'br_evaluate_policy';
COMMENT ON FUNCTION evaluate_policy(text, text, text[], boolean, double precision, double precision, double precision, double precision, int, text, int, double precision, int, bigint) IS
'What a policy would have earned for each decision of a log, by importance weights, as it stands in its newest version or a given one; or, with learning, by replay from its prior over a log of uniform choices in the order of time, learning after every batch rows on which it agrees. log: a query, run with the caller''s rights, with the columns arm, reward and propensity, and where there are such context (float8[] or jsonb), features (float8[] of the eligible arms), eligible (text[]; NULL: all arms of the candidate), user_id, decision_id and rank (slots of a decision follow each other), decided_at; NULL: its own log. estimators NULL: ips, snips and dr, or replay; sips, rips and cascade_dr read whole slates, all others first slots. cap, tau and lambda: of clipped_ips, switch_dr and dr_os; reward_model: ridge or logistic, cross-fitted in folds by user, or by decision. Where users repeat, standard errors are clustered by user. lower and upper: the normal interval of that level. An error where another argument is NULL, but for version';

CREATE FUNCTION policy_reward(policy text, every interval DEFAULT '1 day')
RETURNS TABLE (since timestamptz, arm text, pulls bigint, reward double precision,
               mean_reward double precision, standard_error double precision)
LANGUAGE SQL STABLE STRICT PARALLEL SAFE ROWS 100
BEGIN ATOMIC
    SELECT pg_catalog.date_bin(every, l.decided_at, '2000-01-01 00:00:00+00') AS since, l.arm, count(*), sum(l.reward),
           avg(l.reward), stddev_samp(l.reward) / sqrt(count(*)::double precision)
    FROM @extschema@.choice_log l
    WHERE l.policy = policy_reward.policy
    GROUP BY 1, 2 ORDER BY 1, 2;
END;
COMMENT ON FUNCTION policy_reward(text, interval) IS
'How often each arm of a policy was offered in each stretch of time, and what it brought: sum, mean and standard error of the mean, over the slots of the choices that the caller may read. every: an interval without months; bins begin at midnight UTC where it divides a day. No rows if an argument is NULL';

CREATE FUNCTION regret_estimate(policy text, since timestamptz DEFAULT NULL)
RETURNS TABLE (best_arm text, best_value double precision, realised double precision, regret double precision,
               standard_error double precision, decisions bigint)
LANGUAGE SQL STABLE CALLED ON NULL INPUT PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    WITH decided AS MATERIALIZED (
        SELECT l.arm, l.reward, l.propensity
        FROM @extschema@.choice_log l
        WHERE l.policy = regret_estimate.policy AND l.rank = 1 AND l.counted AND NOT l.deterministic
              AND (regret_estimate.since IS NULL OR l.decided_at >= regret_estimate.since)),
    best AS (
        SELECT d.arm, sum(d.reward / d.propensity) / (SELECT count(*) FROM decided) AS value
        FROM decided d GROUP BY d.arm ORDER BY value DESC, d.arm LIMIT 1),
    lost AS (
        SELECT b.arm, b.value, d.reward,
               CASE WHEN d.arm = b.arm THEN d.reward / d.propensity ELSE 0 END - d.reward AS regret
        FROM decided d CROSS JOIN best b)
    SELECT o.arm, o.value, avg(o.reward), avg(o.regret), stddev_samp(o.regret) / sqrt(count(*)::double precision), count(*)
    FROM lost o GROUP BY o.arm, o.value;
END;
COMMENT ON FUNCTION regret_estimate(text, timestamptz) IS
'How much more for each decision the best single arm would have brought: with p the propensity of a decision''s first slot, regret is the mean of [arm = best] r / p - r, best the arm whose mean of [arm = a] r / p is largest, and standard_error that of the mean. The best of several estimates looks better than it is, the more so the fewer decisions there are. Of choices that are counted and that the caller may read; since NULL: all';

CREATE FUNCTION propensity_histogram(policy text, bins int DEFAULT 20)
RETURNS TABLE (lower double precision, upper double precision, slots bigint)
LANGUAGE SQL STABLE STRICT PARALLEL SAFE ROWS 20
BEGIN ATOMIC
    SELECT (b.bin - 1)::double precision / bins, b.bin::double precision / bins, count(l.arm)
    FROM pg_catalog.generate_series(1, bins) AS b (bin)
    LEFT JOIN @extschema@.choice_log l
           ON l.policy = propensity_histogram.policy AND NOT l.deterministic
              AND least(pg_catalog.width_bucket(l.propensity, 0, 1, bins), bins) = b.bin
    GROUP BY b.bin ORDER BY b.bin;
END;
COMMENT ON FUNCTION propensity_histogram(text, int) IS
'How many slots of a policy were chosen with a propensity of at least lower and below upper (1 is in the last bin), over the choices that the caller may read. No rows if an argument is NULL';

CREATE VIEW fold_lag WITH (security_barrier) AS
SELECT s.policy, s.catalog, s.unfolded_decisions AS waiting_decisions, s.unfolded_feedback AS waiting_events,
       s.oldest_unfolded AS oldest, pg_catalog.now() - s.oldest_unfolded AS age, s.learned_at
FROM @extschema@.policy_state s;
COMMENT ON VIEW fold_lag IS 'What of each policy''s log no posterior has counted yet, for the readers of policy_state';
COMMENT ON COLUMN fold_lag.policy IS 'Name of the policy';
COMMENT ON COLUMN fold_lag.catalog IS 'Name of its catalog; NULL: it chooses among arms of its own';
COMMENT ON COLUMN fold_lag.waiting_decisions IS 'Decisions that no posterior has counted, most of them because their window is open';
COMMENT ON COLUMN fold_lag.waiting_events IS 'Feedback events that no posterior has counted';
COMMENT ON COLUMN fold_lag.oldest IS 'When the oldest of these decisions was taken; NULL: none waits';
COMMENT ON COLUMN fold_lag.age IS 'How long ago that was';
COMMENT ON COLUMN fold_lag.learned_at IS 'When the newest posterior was made';
GRANT SELECT ON fold_lag TO PUBLIC;

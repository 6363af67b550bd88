-- Off-policy evaluation: what another policy would have earned, from the log of
-- this one. Every estimator is an aggregate; NAME_state gives its sums instead of
-- its estimate, for combine_estimates, clustered_estimate and bootstrap_interval.

CREATE TYPE estimate AS (
    value double precision,
    standard_error double precision,
    n bigint,
    effective_sample_size double precision,
    max_weight double precision,
    mean_weight double precision
);
COMMENT ON TYPE estimate IS
'What a policy is worth: value and standard error (NULL for one row), number of rows or slates; of the importance weights, before cap, tau or lambda, (sum w)^2 / sum w^2, the largest and the mean, which is 1 but for chance where the propensities are right; NULL for estimators without weights';
COMMENT ON COLUMN estimate.value IS 'What the policy is worth: mean reward of a row, or of a slate';
COMMENT ON COLUMN estimate.standard_error IS 'Of value; NULL for one row';
COMMENT ON COLUMN estimate.n IS 'Rows, or slates';
COMMENT ON COLUMN estimate.effective_sample_size IS '(sum w)^2 / sum w^2';
COMMENT ON COLUMN estimate.max_weight IS 'The largest importance weight';
COMMENT ON COLUMN estimate.mean_weight IS 'Their mean; 1 but for chance where propensities are right';

-- what a row adds to a state

CREATE FUNCTION estimate_accumulate(state double precision[], reward double precision, target_probability double precision, logged_propensity double precision) RETURNS double precision[]
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_estimate_accumulate';
COMMENT ON FUNCTION estimate_accumulate(double precision[], double precision, double precision, double precision) IS
'Adds a row to the state of ips, snips. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE FUNCTION estimate_accumulate(state double precision[], reward double precision, target_probability double precision, logged_propensity double precision, cap double precision) RETURNS double precision[]
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_estimate_accumulate';
COMMENT ON FUNCTION estimate_accumulate(double precision[], double precision, double precision, double precision, double precision) IS
'Adds a row to the state of clipped_ips. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE FUNCTION estimate_accumulate(state double precision[], expected double precision) RETURNS double precision[]
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_estimate_accumulate';
COMMENT ON FUNCTION estimate_accumulate(double precision[], double precision) IS
'Adds a row to the state of dm. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE FUNCTION estimate_accumulate(state double precision[], reward double precision, target_probability double precision, logged_propensity double precision, predicted double precision, expected double precision) RETURNS double precision[]
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_estimate_accumulate';
COMMENT ON FUNCTION estimate_accumulate(double precision[], double precision, double precision, double precision, double precision, double precision) IS
'Adds a row to the state of dr, sndr. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE FUNCTION estimate_accumulate(state double precision[], reward double precision, target_probability double precision, logged_propensity double precision, predicted double precision, expected double precision, parameter double precision) RETURNS double precision[]
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_estimate_accumulate';
COMMENT ON FUNCTION estimate_accumulate(double precision[], double precision, double precision, double precision, double precision, double precision, double precision) IS
'Adds a row to the state of switch_dr, dr_os. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE FUNCTION estimate_accumulate(state double precision[], reward double precision, matched boolean) RETURNS double precision[]
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_estimate_accumulate';
COMMENT ON FUNCTION estimate_accumulate(double precision[], double precision, boolean) IS
'Adds a row to the state of replay. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE FUNCTION slate_accumulate(state double precision[], rewards double precision[], target_probabilities double precision[], logged_propensities double precision[]) RETURNS double precision[]
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_slate_accumulate';
COMMENT ON FUNCTION slate_accumulate(double precision[], double precision[], double precision[], double precision[]) IS
'Adds a slate to the state of sips, iips, rips. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE FUNCTION slate_accumulate(state double precision[], rewards double precision[], target_probabilities double precision[], logged_propensities double precision[], predicted double precision[], expected double precision[]) RETURNS double precision[]
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_slate_accumulate';
COMMENT ON FUNCTION slate_accumulate(double precision[], double precision[], double precision[], double precision[], double precision[], double precision[]) IS
'Adds a slate to the state of cascade_dr. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE FUNCTION slate_accumulate(state double precision[], rewards double precision[], target_probabilities double precision[], logged_propensities double precision[], examination double precision[]) RETURNS double precision[]
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_slate_accumulate';
COMMENT ON FUNCTION slate_accumulate(double precision[], double precision[], double precision[], double precision[], double precision[]) IS
'Adds a slate to the state of pbm_ips. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE FUNCTION estimate_combine(state double precision[], other double precision[]) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_estimate_combine';
COMMENT ON FUNCTION estimate_combine(double precision[], double precision[]) IS
'Joins two states of the same estimator; NULL if an argument is NULL. Raises 22023 if they are of different estimators, or of different cap, tau or lambda';

CREATE FUNCTION estimate_final(state double precision[]) RETURNS estimate
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_estimate_final';
COMMENT ON FUNCTION estimate_final(double precision[]) IS
'The estimate that a state holds; NULL if the state is NULL or without rows';

CREATE FUNCTION clusters_accumulate(clusters double precision[], state double precision[]) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_clusters_accumulate';
COMMENT ON FUNCTION clusters_accumulate(double precision[], double precision[]) IS
'Adds the state of a whole cluster of rows to the state of clustered_estimate; NULL if an argument is NULL';

CREATE FUNCTION clusters_combine(clusters double precision[], other double precision[]) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_clusters_combine';
COMMENT ON FUNCTION clusters_combine(double precision[], double precision[]) IS
'Joins two states of clustered_estimate; NULL if an argument is NULL';

CREATE FUNCTION clusters_final(clusters double precision[]) RETURNS estimate
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_clusters_final';
COMMENT ON FUNCTION clusters_final(double precision[]) IS
'The estimate that a state of clustered_estimate holds; NULL without rows';

-- the estimators

CREATE AGGREGATE ips(reward double precision, target_probability double precision, logged_propensity double precision) (
    SFUNC = estimate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{1,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    FINALFUNC = estimate_final, COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE ips(double precision, double precision, double precision) IS
'Inverse propensity scoring: the mean of w r, w = target_probability / logged_propensity. NULL without rows. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE AGGREGATE ips_state(reward double precision, target_probability double precision, logged_propensity double precision) (
    SFUNC = estimate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{1,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE ips_state(double precision, double precision, double precision) IS
'The sums of ips over some of the rows, for combine_estimates, combine_states, clustered_estimate and bootstrap_interval. An error where an argument is NULL';

CREATE AGGREGATE clipped_ips(reward double precision, target_probability double precision, logged_propensity double precision, cap double precision) (
    SFUNC = estimate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{2,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    FINALFUNC = estimate_final, COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE clipped_ips(double precision, double precision, double precision, double precision) IS
'Inverse propensity scoring with weights cut: the mean of min(w, cap) r. NULL without rows. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE AGGREGATE clipped_ips_state(reward double precision, target_probability double precision, logged_propensity double precision, cap double precision) (
    SFUNC = estimate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{2,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE clipped_ips_state(double precision, double precision, double precision, double precision) IS
'The sums of clipped_ips over some of the rows, for combine_estimates, combine_states, clustered_estimate and bootstrap_interval. An error where an argument is NULL';

CREATE AGGREGATE snips(reward double precision, target_probability double precision, logged_propensity double precision) (
    SFUNC = estimate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{3,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    FINALFUNC = estimate_final, COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE snips(double precision, double precision, double precision) IS
'Self-normalized inverse propensity scoring: sum w r / sum w; NULL value where all weights are 0. NULL without rows. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE AGGREGATE snips_state(reward double precision, target_probability double precision, logged_propensity double precision) (
    SFUNC = estimate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{3,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE snips_state(double precision, double precision, double precision) IS
'The sums of snips over some of the rows, for combine_estimates, combine_states, clustered_estimate and bootstrap_interval. An error where an argument is NULL';

CREATE AGGREGATE dm(expected double precision) (
    SFUNC = estimate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{4,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    FINALFUNC = estimate_final, COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE dm(double precision) IS
'Direct method: the mean of the expected predicted reward under the target policy. NULL without rows. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE AGGREGATE dm_state(expected double precision) (
    SFUNC = estimate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{4,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE dm_state(double precision) IS
'The sums of dm over some of the rows, for combine_estimates, combine_states, clustered_estimate and bootstrap_interval. An error where an argument is NULL';

CREATE AGGREGATE dr(reward double precision, target_probability double precision, logged_propensity double precision, predicted double precision, expected double precision) (
    SFUNC = estimate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{5,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    FINALFUNC = estimate_final, COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE dr(double precision, double precision, double precision, double precision, double precision) IS
'Doubly robust: the mean of expected + w (reward - predicted); predicted is of the logged action, expected under the target policy. NULL without rows. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE AGGREGATE dr_state(reward double precision, target_probability double precision, logged_propensity double precision, predicted double precision, expected double precision) (
    SFUNC = estimate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{5,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE dr_state(double precision, double precision, double precision, double precision, double precision) IS
'The sums of dr over some of the rows, for combine_estimates, combine_states, clustered_estimate and bootstrap_interval. An error where an argument is NULL';

CREATE AGGREGATE sndr(reward double precision, target_probability double precision, logged_propensity double precision, predicted double precision, expected double precision) (
    SFUNC = estimate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{6,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    FINALFUNC = estimate_final, COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE sndr(double precision, double precision, double precision, double precision, double precision) IS
'Self-normalized doubly robust: mean expected + sum w (reward - predicted) / sum w; NULL value where all weights are 0. NULL without rows. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE AGGREGATE sndr_state(reward double precision, target_probability double precision, logged_propensity double precision, predicted double precision, expected double precision) (
    SFUNC = estimate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{6,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE sndr_state(double precision, double precision, double precision, double precision, double precision) IS
'The sums of sndr over some of the rows, for combine_estimates, combine_states, clustered_estimate and bootstrap_interval. An error where an argument is NULL';

CREATE AGGREGATE switch_dr(reward double precision, target_probability double precision, logged_propensity double precision, predicted double precision, expected double precision, tau double precision) (
    SFUNC = estimate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{7,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    FINALFUNC = estimate_final, COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE switch_dr(double precision, double precision, double precision, double precision, double precision, double precision) IS
'Switch-DR: doubly robust where w <= tau, expected alone where it is larger. NULL without rows. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE AGGREGATE switch_dr_state(reward double precision, target_probability double precision, logged_propensity double precision, predicted double precision, expected double precision, tau double precision) (
    SFUNC = estimate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{7,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE switch_dr_state(double precision, double precision, double precision, double precision, double precision, double precision) IS
'The sums of switch_dr over some of the rows, for combine_estimates, combine_states, clustered_estimate and bootstrap_interval. An error where an argument is NULL';

CREATE AGGREGATE dr_os(reward double precision, target_probability double precision, logged_propensity double precision, predicted double precision, expected double precision, lambda double precision) (
    SFUNC = estimate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{8,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    FINALFUNC = estimate_final, COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE dr_os(double precision, double precision, double precision, double precision, double precision, double precision) IS
'Doubly robust with optimistic shrinkage: weights lambda w / (w^2 + lambda). NULL without rows. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE AGGREGATE dr_os_state(reward double precision, target_probability double precision, logged_propensity double precision, predicted double precision, expected double precision, lambda double precision) (
    SFUNC = estimate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{8,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE dr_os_state(double precision, double precision, double precision, double precision, double precision, double precision) IS
'The sums of dr_os over some of the rows, for combine_estimates, combine_states, clustered_estimate and bootstrap_interval. An error where an argument is NULL';

CREATE AGGREGATE replay(reward double precision, matched boolean) (
    SFUNC = estimate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{9,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    FINALFUNC = estimate_final, COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE replay(double precision, boolean) IS
'Replay: the mean reward of the rows in which the target policy, which is deterministic and frozen, would have done what a uniform logging policy did; other rows are not counted. NULL without rows. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE AGGREGATE replay_state(reward double precision, matched boolean) (
    SFUNC = estimate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{9,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE replay_state(double precision, boolean) IS
'The sums of replay over some of the rows, for combine_estimates, combine_states, clustered_estimate and bootstrap_interval. An error where an argument is NULL';

CREATE AGGREGATE sips(rewards double precision[], target_probabilities double precision[], logged_propensities double precision[]) (
    SFUNC = slate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{10,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    FINALFUNC = estimate_final, COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE sips(double precision[], double precision[], double precision[]) IS
'Standard inverse propensity scoring of slates: the mean of the product of all slots weights times the sum of rewards; probabilities of each slot are given the slots above it. NULL without rows. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE AGGREGATE sips_state(rewards double precision[], target_probabilities double precision[], logged_propensities double precision[]) (
    SFUNC = slate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{10,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE sips_state(double precision[], double precision[], double precision[]) IS
'The sums of sips over some of the rows, for combine_estimates, combine_states, clustered_estimate and bootstrap_interval. An error where an argument is NULL';

CREATE AGGREGATE iips(rewards double precision[], target_probabilities double precision[], logged_propensities double precision[]) (
    SFUNC = slate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{11,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    FINALFUNC = estimate_final, COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE iips(double precision[], double precision[], double precision[]) IS
'Independent inverse propensity scoring of slates: the mean of sum w_l r_l; probabilities are marginal, of the slots item at that slot. NULL without rows. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE AGGREGATE iips_state(rewards double precision[], target_probabilities double precision[], logged_propensities double precision[]) (
    SFUNC = slate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{11,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE iips_state(double precision[], double precision[], double precision[]) IS
'The sums of iips over some of the rows, for combine_estimates, combine_states, clustered_estimate and bootstrap_interval. An error where an argument is NULL';

CREATE AGGREGATE rips(rewards double precision[], target_probabilities double precision[], logged_propensities double precision[]) (
    SFUNC = slate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{12,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    FINALFUNC = estimate_final, COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE rips(double precision[], double precision[], double precision[]) IS
'Reward-interaction (cascade) inverse propensity scoring of slates: the mean of sum w_1 ... w_l r_l; probabilities of each slot are given the slots above it. NULL without rows. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE AGGREGATE rips_state(rewards double precision[], target_probabilities double precision[], logged_propensities double precision[]) (
    SFUNC = slate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{12,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE rips_state(double precision[], double precision[], double precision[]) IS
'The sums of rips over some of the rows, for combine_estimates, combine_states, clustered_estimate and bootstrap_interval. An error where an argument is NULL';

CREATE AGGREGATE cascade_dr(rewards double precision[], target_probabilities double precision[], logged_propensities double precision[], predicted double precision[], expected double precision[]) (
    SFUNC = slate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{13,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    FINALFUNC = estimate_final, COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cascade_dr(double precision[], double precision[], double precision[], double precision[], double precision[]) IS
'Cascade doubly robust estimator of slates: the mean of sum w_1 ... w_l (r_l - predicted_l) + w_1 ... w_(l-1) expected_l; all given the slots above. NULL without rows. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE AGGREGATE cascade_dr_state(rewards double precision[], target_probabilities double precision[], logged_propensities double precision[], predicted double precision[], expected double precision[]) (
    SFUNC = slate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{13,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cascade_dr_state(double precision[], double precision[], double precision[], double precision[], double precision[]) IS
'The sums of cascade_dr over some of the rows, for combine_estimates, combine_states, clustered_estimate and bootstrap_interval. An error where an argument is NULL';

CREATE AGGREGATE pbm_ips(rewards double precision[], target_probabilities double precision[], logged_propensities double precision[], examination double precision[]) (
    SFUNC = slate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{14,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    FINALFUNC = estimate_final, COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE pbm_ips(double precision[], double precision[], double precision[], double precision[]) IS
'Inverse propensity scoring of slates under the position-based click model: the mean of sum r_l <examination, target_l> / <examination, logged_l>; probabilities have a row for each slot, with the probability of its item at each position. NULL without rows. Raises 22004 if an argument is NULL, 22023 if one is out of its range';

CREATE AGGREGATE pbm_ips_state(rewards double precision[], target_probabilities double precision[], logged_propensities double precision[], examination double precision[]) (
    SFUNC = slate_accumulate, STYPE = double precision[], SSPACE = 128, INITCOND = '{14,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE pbm_ips_state(double precision[], double precision[], double precision[], double precision[]) IS
'The sums of pbm_ips over some of the rows, for combine_estimates, combine_states, clustered_estimate and bootstrap_interval. An error where an argument is NULL';

-- states of parts of a log

CREATE AGGREGATE combine_estimates(state double precision[]) (
    SFUNC = estimate_combine, STYPE = double precision[], SSPACE = 128,
    FINALFUNC = estimate_final, COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE combine_estimates(double precision[]) IS
'The estimate of a log from the states of its parts, as of shards or days; NULL is skipped. Raises 22023 if they are of different estimators';

CREATE AGGREGATE combine_states(state double precision[]) (
    SFUNC = estimate_combine, STYPE = double precision[], SSPACE = 128,
    COMBINEFUNC = estimate_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE combine_states(double precision[]) IS
'The state of several parts of a log from the states of each, as of a user whose rows lie on several shards; NULL is skipped';

CREATE AGGREGATE clustered_estimate(state double precision[]) (
    SFUNC = clusters_accumulate, STYPE = double precision[], SSPACE = 256,
    INITCOND = '{0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    FINALFUNC = clusters_final, COMBINEFUNC = clusters_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE clustered_estimate(double precision[]) IS
'The estimate of a log from the states of its clusters, as of users, each whole in one state, with a standard error that allows for rows of a cluster being alike; NULL standard error for one cluster; NULL is skipped. Raises 22023 if the states are of different estimators';

-- how far to trust an estimate

CREATE TYPE bounds AS (lower double precision, upper double precision);
COMMENT ON TYPE bounds IS 'An interval; NULL where there is none, as for an estimate from one row';
COMMENT ON COLUMN bounds.lower IS 'The lower end';
COMMENT ON COLUMN bounds.upper IS 'The upper end';

CREATE FUNCTION confidence_interval(estimate estimate, level double precision DEFAULT 0.95) RETURNS bounds
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_confidence_interval';
COMMENT ON FUNCTION confidence_interval(estimate, double precision) IS
'Value -+ z standard errors, z the normal quantile of the level; NULL if an argument is NULL. Raises 22023 if level is not between 0 and 1';

CREATE FUNCTION bernstein_interval(estimate estimate, lowest double precision, highest double precision, level double precision DEFAULT 0.95) RETURNS bounds
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_bernstein_interval';
COMMENT ON FUNCTION bernstein_interval(estimate, double precision, double precision, double precision) IS
'Empirical Bernstein interval (Maurer and Pontil 2009), which holds for any number of rows: of an estimate that is a mean (not snips, sndr) of independent terms between lowest and highest, as 0 and cap times the largest reward of clipped_ips; NULL if an argument is NULL. Raises 22023 if level is not between 0 and 1, or the value not between lowest and highest';

CREATE FUNCTION support_warnings(estimate estimate) RETURNS text[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_support_warnings';
COMMENT ON FUNCTION support_warnings(estimate) IS
'What speaks against an estimate: mean_weight_below_1 (by 3 standard errors: the target policy does what was never logged), mean_weight_above_1 (logged propensities are too small), small_effective_sample_size (below 100), dominant_weight (one row has a tenth of all weight); an empty array if nothing does, NULL if the estimate is NULL';

CREATE TYPE overlap_bin AS (
    lower double precision,
    upper double precision,
    n bigint,
    weight double precision,
    target double precision
);
COMMENT ON TYPE overlap_bin IS
'Rows whose importance weight w is at least lower and below upper: their number, the sum of w, the sum of their target probabilities. 0 and 0: the target policy never does it; Infinity and Infinity: the logging policy never does (weight NULL)';
COMMENT ON COLUMN overlap_bin.lower IS 'The least weight of the bin';
COMMENT ON COLUMN overlap_bin.upper IS 'Where the next bin begins';
COMMENT ON COLUMN overlap_bin.n IS 'Rows in it';
COMMENT ON COLUMN overlap_bin.weight IS 'Sum of their weights';
COMMENT ON COLUMN overlap_bin.target IS 'Sum of their target probabilities';

CREATE FUNCTION overlap_accumulate(state double precision[], target_probability double precision, logged_propensity double precision) RETURNS double precision[]
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_overlap_accumulate';
COMMENT ON FUNCTION overlap_accumulate(double precision[], double precision, double precision) IS
'Adds an action to the state of overlap_histogram. Raises 22004 if state or target_probability is NULL, 22023 if a probability is not between 0 and 1';

CREATE FUNCTION overlap_combine(state double precision[], other double precision[]) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_overlap_combine';
COMMENT ON FUNCTION overlap_combine(double precision[], double precision[]) IS
'Joins two states of overlap_histogram; NULL if an argument is NULL';

CREATE FUNCTION overlap_final(state double precision[]) RETURNS overlap_bin[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_overlap_final';
COMMENT ON FUNCTION overlap_final(double precision[]) IS
'The bins that a state of overlap_histogram holds; NULL without rows';

CREATE AGGREGATE overlap_histogram(target_probability double precision, logged_propensity double precision) (
    SFUNC = overlap_accumulate, STYPE = double precision[], SSPACE = 640,
    INITCOND = '{0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}',
    FINALFUNC = overlap_final, COMBINEFUNC = overlap_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE overlap_histogram(double precision, double precision) IS
'How often which importance weights occur, by powers of 2 from 2^-10 to 2^10, bins without rows left out; over all actions of the pools it shows what the target policy does and the logging policy, with a propensity of 0 or NULL, never does. NULL without rows. Raises 22004 if target_probability is NULL, 22023 if a probability is not between 0 and 1';

CREATE FUNCTION bootstrap_accumulate(sums double precision[], state double precision[], key text, replicates integer, seed bigint, level double precision) RETURNS double precision[]
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_bootstrap_accumulate';
COMMENT ON FUNCTION bootstrap_accumulate(double precision[], double precision[], text, integer, bigint, double precision) IS
'Adds the state of a unit to the sums of bootstrap_interval. Raises 22004 if an argument is NULL, 22023 if one is out of its range or not the same as before';

CREATE FUNCTION bootstrap_combine(sums double precision[], other double precision[]) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_bootstrap_combine';
COMMENT ON FUNCTION bootstrap_combine(double precision[], double precision[]) IS
'Joins two sums of bootstrap_interval; NULL if an argument is NULL';

CREATE FUNCTION bootstrap_final(sums double precision[]) RETURNS bounds
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_bootstrap_final';
COMMENT ON FUNCTION bootstrap_final(double precision[]) IS
'The interval that sums of bootstrap_interval hold; NULL without rows';

CREATE AGGREGATE bootstrap_interval(state double precision[], key text, replicates integer, seed bigint, level double precision) (
    SFUNC = bootstrap_accumulate, STYPE = double precision[], SSPACE = 32768, INITCOND = '{}',
    FINALFUNC = bootstrap_final, COMBINEFUNC = bootstrap_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE bootstrap_interval(double precision[], text, integer, bigint, double precision) IS
'Percentile interval of any estimator by the Poisson bootstrap, which redraws units: one state each, such as ips_state of a row or of a user''s rows, and a key of its own, from which and the seed its counts in each of 2 to 10000 replicates follow; 32 bytes per replicate. NULL without rows. Raises 22004 if an argument is NULL, 22023 if one is out of its range, or replicates, seed and level are not the same in all rows';

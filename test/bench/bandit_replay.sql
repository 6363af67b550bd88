-- bandit_replay.sql
--    The table that bandit_replay.sh replays, and the candidate: LinUCB with a
--    theta of each of 10 arms over 10 features and a constant.

CREATE UNLOGGED TABLE replay_log (id bigint, arm text, reward float8, propensity float8, context float8[]);
SELECT create_policy('replayed', 'linear_ucb', params => '{"context": 10, "epsilon": 0, "width": 1, "prior_precision": 1, "noise": 1}');
SELECT add_arms('replayed', ARRAY(SELECT 'arm' || i FROM generate_series(0, 9) i));

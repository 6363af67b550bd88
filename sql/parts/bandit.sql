-- bandit.sql
--    Policies: what they are, what they have learned, and what waits to be
--    learned.

CREATE SEQUENCE policy_number AS int;
COMMENT ON SEQUENCE policy_number IS 'Numbers of policies, never reused';

CREATE TABLE policy (
    policy int PRIMARY KEY DEFAULT nextval('@extschema@.policy_number'),
    catalog int NOT NULL,
    name text NOT NULL UNIQUE CHECK (name <> ''),
    algorithm text NOT NULL CHECK (algorithm IN ('linear_thompson', 'epsilon_greedy')),
    is_default boolean NOT NULL DEFAULT false,
    feature_schema int NOT NULL,
    epsilon double precision NOT NULL CHECK (epsilon >= 0 AND epsilon <= 1),
    draws int NOT NULL CHECK (draws BETWEEN 1 AND 65535),
    diversity double precision NOT NULL CHECK (diversity >= 0),
    prior_mean double precision[] NOT NULL,
    prior_precision double precision NOT NULL CHECK (prior_precision > 0),
    noise double precision NOT NULL CHECK (noise > 0),
    reward jsonb NOT NULL,
    attribution_window interval NOT NULL CHECK (attribution_window >= '0'),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX policy_default ON policy (catalog) WHERE is_default;
COMMENT ON TABLE policy IS 'One row per policy: algorithm, parameters, the weight of each kind of feedback in its reward, and how long after a decision rewards are waited for';

CREATE TABLE posterior (
    policy int NOT NULL,
    version int NOT NULL CHECK (version >= 0),
    feature_schema int NOT NULL,
    evidence double precision[] NOT NULL,
    decisions bigint NOT NULL,
    events bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (policy, version)
);
COMMENT ON TABLE posterior IS 'Immutable versions of what a policy has learned: additive evidence, and how many decisions and feedback events went into it';

CREATE TABLE unfolded_decision (
    policy int NOT NULL,
    decision_id bigint NOT NULL PRIMARY KEY,
    decided_at timestamptz NOT NULL
);
CREATE INDEX unfolded_decision_due ON unfolded_decision (policy, decided_at);
COMMENT ON TABLE unfolded_decision IS 'Decisions whose slots no posterior has counted yet; fold removes them when it counts them';

CREATE TABLE unfolded_feedback (
    policy int NOT NULL,
    decision_id bigint NOT NULL,
    event_id text NOT NULL,
    PRIMARY KEY (decision_id, event_id)
);
CREATE INDEX unfolded_feedback_policy ON unfolded_feedback (policy);
COMMENT ON TABLE unfolded_feedback IS 'Feedback whose reward no posterior has counted yet; fold removes it when it counts it';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.policy_number', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.policy', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.posterior', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.unfolded_decision', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.unfolded_feedback', '');
REVOKE ALL ON SEQUENCE policy_number FROM PUBLIC;
REVOKE ALL ON TABLE policy, posterior, unfolded_decision, unfolded_feedback FROM PUBLIC;

CREATE FUNCTION create_policy(name text, algorithm text, catalog text, params jsonb DEFAULT '{}',
                              reward jsonb DEFAULT '{"click": 1}',
                              attribution_window interval DEFAULT '1 day',
                              make_default boolean DEFAULT false)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_create_policy';
COMMENT ON FUNCTION create_policy(text, text, text, jsonb, jsonb, interval, boolean) IS
'Creates a policy of a catalog: algorithm linear_thompson or epsilon_greedy; params may set epsilon, draws, diversity, prior_precision, noise; reward gives the weight of each kind of feedback; slots are learned from once attribution_window has passed since the decision; make_default serves it where no policy is named. Only the owner of the catalog may. Does nothing if any argument is NULL';

CREATE FUNCTION fold(policy text)
RETURNS int
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_fold';
COMMENT ON FUNCTION fold(text) IS
'Learns what the log holds and the policy has not counted yet, and returns the number of its newest posterior version; decisions go on meanwhile. Only the owner of the catalog may. NULL for NULL';

CREATE VIEW policy_state WITH (security_barrier) AS
SELECT p.name AS policy, c.name AS catalog, p.algorithm, p.is_default, o.version, o.decisions, o.events,
       (SELECT count(*) FROM unfolded_decision u WHERE u.policy = p.policy) AS unfolded_decisions,
       (SELECT count(*) FROM unfolded_feedback u WHERE u.policy = p.policy) AS unfolded_feedback,
       p.epsilon, p.draws, p.diversity, p.prior_precision, p.noise, p.reward, p.attribution_window,
       o.created_at AS learned_at
FROM policy p
JOIN catalog c USING (catalog)
JOIN LATERAL (SELECT * FROM posterior o WHERE o.policy = p.policy ORDER BY o.version DESC LIMIT 1) o ON true
WHERE EXISTS (SELECT FROM pg_catalog.pg_class r WHERE r.oid = c.items
              AND pg_catalog.has_table_privilege(r.oid, 'SELECT'));
COMMENT ON VIEW policy_state IS 'Policies of the catalogs whose items the reader may select: parameters, and how much each has learned';
COMMENT ON COLUMN policy_state.policy IS 'Name of the policy';
COMMENT ON COLUMN policy_state.catalog IS 'Name of its catalog';
COMMENT ON COLUMN policy_state.algorithm IS 'linear_thompson or epsilon_greedy';
COMMENT ON COLUMN policy_state.is_default IS 'Whether it decides where no policy is named';
COMMENT ON COLUMN policy_state.version IS 'Number of its newest posterior; 0 has learned nothing';
COMMENT ON COLUMN policy_state.decisions IS 'Decisions that the newest posterior counts';
COMMENT ON COLUMN policy_state.events IS 'Feedback events that the newest posterior counts';
COMMENT ON COLUMN policy_state.unfolded_decisions IS 'Logged decisions not counted yet';
COMMENT ON COLUMN policy_state.unfolded_feedback IS 'Feedback events not counted yet';
COMMENT ON COLUMN policy_state.epsilon IS 'Share of each slot that is uniform over the pool, in [0, 1]';
COMMENT ON COLUMN policy_state.draws IS 'Posterior draws that vote on each slot';
COMMENT ON COLUMN policy_state.diversity IS 'Penalty on repeating an earlier slot, as a share of the best calibrated score';
COMMENT ON COLUMN policy_state.prior_precision IS 'Precision of the prior on each weight';
COMMENT ON COLUMN policy_state.noise IS 'Variance of one reward around its mean';
COMMENT ON COLUMN policy_state.reward IS 'Weight of each kind of feedback in the reward';
COMMENT ON COLUMN policy_state.attribution_window IS 'How long after a decision its slots are learned from';
COMMENT ON COLUMN policy_state.learned_at IS 'When the newest posterior was made';
GRANT SELECT ON policy_state TO PUBLIC;

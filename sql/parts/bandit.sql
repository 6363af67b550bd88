-- bandit.sql
--    Policies: what they are, what they have learned, and what waits to be
--    learned.

CREATE SEQUENCE policy_number AS int;
COMMENT ON SEQUENCE policy_number IS 'Numbers of policies, never reused';

CREATE TABLE policy (
    policy int PRIMARY KEY DEFAULT nextval('@extschema@.policy_number'),
    catalog int NOT NULL,
    name text NOT NULL UNIQUE CHECK (name <> ''),
    owner name,
    algorithm text NOT NULL CHECK (algorithm <> ''),
    model text NOT NULL DEFAULT 'shared' CHECK (model IN ('arm', 'shared', 'disjoint')),
    is_default boolean NOT NULL DEFAULT false,
    feature_schema int NOT NULL,
    dims int NOT NULL CHECK (dims BETWEEN 0 AND 512),
    prior_mean double precision[] NOT NULL,
    context jsonb,
    arm_features int NOT NULL DEFAULT 0 CHECK (arm_features >= 0),
    interactions boolean NOT NULL DEFAULT true,
    indexed boolean NOT NULL DEFAULT false,
    arms_version int NOT NULL DEFAULT 0,
    reward jsonb NOT NULL,
    attribution_window interval NOT NULL CHECK (attribution_window >= '0'),
    discount double precision NOT NULL DEFAULT 1 CHECK (discount > 0 AND discount <= 1),
    discount_period interval NOT NULL DEFAULT '1 day' CHECK (discount_period > '0'),
    evidence_window interval CHECK (evidence_window > '0'),
    examination double precision[],
    keep_versions int CHECK (keep_versions > 0),
    keep_decisions interval CHECK (keep_decisions > '0'),
    fold_size int NOT NULL DEFAULT 1000 CHECK (fold_size > 0),
    fold_every interval NOT NULL DEFAULT '1 hour' CHECK (fold_every > '0'),
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (owner IS NULL OR NOT is_default)
);
CREATE UNIQUE INDEX policy_default ON policy (catalog) WHERE is_default;
CREATE INDEX policy_catalog ON policy (catalog);
COMMENT ON TABLE policy IS 'One row per policy: algorithm, what it believes about what, the weight of each kind of feedback in its reward, how long rewards are waited for, and how evidence ages. catalog: the number of the catalog that it serves, or, where owner is not NULL, a number of its own, whose decisions stand in choice_<n>; owner: who created it then, while whoever may grant INSERT on choice_<n> owns it';

CREATE TABLE posterior (
    policy int NOT NULL,
    version int NOT NULL CHECK (version >= 0),
    feature_schema int NOT NULL,
    parameters jsonb NOT NULL,
    evidence double precision[] NOT NULL,
    incumbent int,
    decisions bigint NOT NULL,
    events bigint NOT NULL,
    as_of timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (policy, version)
);
COMMENT ON TABLE posterior IS 'Immutable versions of what a policy has learned: its parameters then, the evidence that all arms share, as discounted to as_of, and how many decisions and feedback events went into it';

CREATE TABLE posterior_arm (
    policy int NOT NULL,
    arm int NOT NULL,
    version int NOT NULL,
    as_of timestamptz NOT NULL,
    evidence double precision[] NOT NULL,
    PRIMARY KEY (policy, arm, version)
);
COMMENT ON TABLE posterior_arm IS 'What a version of a policy learned of one arm, as discounted to as_of; a version that learned nothing new of an arm has no row, and the one before it still holds';

CREATE TABLE arm (
    policy int NOT NULL,
    arm int NOT NULL,
    added int NOT NULL,
    name text COLLATE "C" NOT NULL CHECK (name <> ''),
    features real[],
    retired int,
    PRIMARY KEY (policy, arm, added),
    CHECK (retired > added)
);
CREATE UNIQUE INDEX arm_name ON arm (policy, name) WHERE retired IS NULL;
COMMENT ON TABLE arm IS 'Arms of the policies that choose among named ones: added and retired are the values of policy.arms_version from which on, and before which, the row holds';

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

CREATE TABLE unattributed_event (
    catalog int NOT NULL,
    source int NOT NULL,
    user_id text COLLATE "C",
    item_id text COLLATE "C",
    bundle_id text COLLATE "C",
    basket_id text COLLATE "C",
    kind text NOT NULL,
    quantity double precision NOT NULL,
    occurred_at timestamptz NOT NULL
);
CREATE INDEX unattributed_event_user ON unattributed_event (catalog, user_id);
-- rows without a key can be deleted all the same where somebody publishes all tables
ALTER TABLE unattributed_event REPLICA IDENTITY FULL;
COMMENT ON TABLE unattributed_event IS 'Purchases and returns that refresh has counted, or taken back, since events were last attributed to slots; kept only where a policy of the catalog learns from purchases. fold removes them when it attributes them';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.policy_number', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.policy', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.posterior', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.posterior_arm', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.arm', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.unfolded_decision', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.unfolded_feedback', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.unattributed_event', '');
REVOKE ALL ON SEQUENCE policy_number FROM PUBLIC;
REVOKE ALL ON TABLE policy, posterior, posterior_arm, arm, unfolded_decision, unfolded_feedback, unattributed_event FROM PUBLIC;

CREATE FUNCTION create_policy(name text, algorithm text, catalog text DEFAULT NULL, params jsonb DEFAULT '{}',
                              reward jsonb DEFAULT '{"click": 1}',
                              attribution_window interval DEFAULT '1 day',
                              make_default boolean DEFAULT false)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_create_policy';
COMMENT ON FUNCTION create_policy(text, text, text, jsonb, jsonb, interval, boolean) IS
'Creates a policy of a catalog, whose owner alone may, or, without a catalog, one that choose asks, which belongs to the caller, who needs CREATE on the database. params: parameters of the algorithm, and model, context, arm_features, interactions, discount, discount_period, evidence_window, examination, keep_versions, keep_decisions, fold_size, fold_every; reward gives each kind of feedback its weight, or {"weight": w, "window": interval} where it is waited for otherwise than for attribution_window; a slot is learned from once its longest window has closed. Of a catalog''s policy the kinds purchase (the whole slot was bought: 1), partial_purchase (the share of its value that was, in [0, 1]) and margin (what was earned with it, in currency) come from the catalog''s event sources, unless they are given as feedback; make_default serves it where a catalog''s call names no policy. An error where any other argument than catalog is NULL';

CREATE FUNCTION alter_policy(policy text, params jsonb DEFAULT '{}', reward jsonb DEFAULT NULL,
                             attribution_window interval DEFAULT NULL, make_default boolean DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_alter_policy';
COMMENT ON FUNCTION alter_policy(text, jsonb, jsonb, interval, boolean) IS
'Changes what params names, and what else is given, from now on: parameters of the algorithm make a new posterior version, so that older decisions can still be replayed. model, context, arm_features and interactions cannot change; reward counts for feedback that is folded later. NULL leaves as it is; an error where policy is NULL. For the owner of the policy or its catalog';

CREATE FUNCTION drop_policy(policy text)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_drop_policy';
COMMENT ON FUNCTION drop_policy(text) IS
'Drops a policy and what it has learned; of a policy without a catalog its choices and their feedback too. A catalog''s default policy is refused. For the owner of the policy or its catalog. Does nothing for NULL';

CREATE FUNCTION add_arms(policy text, arms text[], features double precision[] DEFAULT NULL)
RETURNS int
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_add_arms';
COMMENT ON FUNCTION add_arms(text, text[], double precision[]) IS
'Adds arms to a policy, or gives known ones other features, and returns how many are new or changed. features: arm_features numbers for each arm, one arm after the other; a retired arm comes back with what was learned of it. For the owner of the policy. An error where policy or arms are NULL';

CREATE FUNCTION retire_arm(policy text, arm text)
RETURNS boolean
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_retire_arm';
COMMENT ON FUNCTION retire_arm(text, text) IS
'Takes an arm out of what a policy chooses among; what it learned of it stays, and feedback on it is still counted. True, or false where it was retired before. For the owner of the policy. NULL if any argument is NULL';

CREATE FUNCTION fold(policy text)
RETURNS int
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_fold';
COMMENT ON FUNCTION fold(text) IS
'Attributes purchases, where the policy learns from them, learns what the log holds and the policy has not counted yet, and returns the number of its newest posterior version; decisions go on meanwhile. Only the owner of the catalog may. NULL for NULL';

CREATE VIEW policy_state WITH (security_barrier) AS
SELECT p.name AS policy, c.name AS catalog, p.algorithm, p.is_default, o.version, o.decisions, o.events,
       (SELECT count(*) FROM unfolded_decision u WHERE u.policy = p.policy) AS unfolded_decisions,
       (SELECT count(*) FROM unfolded_feedback u WHERE u.policy = p.policy) AS unfolded_feedback,
       (o.parameters ->> 'epsilon')::float8 AS epsilon, (o.parameters ->> 'draws')::int AS draws,
       (o.parameters ->> 'diversity')::float8 AS diversity,
       (o.parameters ->> 'prior_precision')::float8 AS prior_precision,
       (o.parameters ->> 'noise')::float8 AS noise, p.reward, p.attribution_window,
       o.created_at AS learned_at, p.model, o.parameters, p.context, p.arm_features,
       (SELECT count(*) FROM arm a WHERE a.policy = p.policy AND a.retired IS NULL) AS arms,
       p.discount, p.discount_period, p.evidence_window, p.examination, p.keep_versions, p.keep_decisions, p.fold_size, p.fold_every,
       CASE WHEN p.owner IS NOT NULL THEN p.catalog END AS number,
       (SELECT min(u.decided_at) FROM unfolded_decision u WHERE u.policy = p.policy) AS oldest_unfolded
FROM policy p
LEFT JOIN catalog c USING (catalog)
JOIN LATERAL (SELECT * FROM posterior o WHERE o.policy = p.policy ORDER BY o.version DESC LIMIT 1) o ON true
WHERE CASE WHEN p.owner IS NULL
           THEN EXISTS (SELECT FROM pg_catalog.pg_class r WHERE r.oid = c.items
                        AND pg_catalog.has_table_privilege(r.oid, 'SELECT'))
           ELSE pg_catalog.has_table_privilege(pg_catalog.to_regclass('@extschema@.choice_' || p.catalog), 'SELECT, INSERT')
      END;
COMMENT ON VIEW policy_state IS 'Policies of the catalogs whose items the reader may select, and those that he may ask to choose: parameters, and how much each has learned';
COMMENT ON COLUMN policy_state.policy IS 'Name of the policy';
COMMENT ON COLUMN policy_state.catalog IS 'Name of its catalog; NULL: it chooses among arms of its own';
COMMENT ON COLUMN policy_state.algorithm IS 'How beliefs become probabilities, such as linear_thompson';
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
COMMENT ON COLUMN policy_state.reward IS 'Weight of each kind of feedback in the reward, and the window of those that have one of their own';
COMMENT ON COLUMN policy_state.attribution_window IS 'How long after a decision kinds of feedback are waited for that have no window of their own; when the longest window has passed, slots are learned from';
COMMENT ON COLUMN policy_state.learned_at IS 'When the newest posterior was made';
COMMENT ON COLUMN policy_state.model IS 'What it believes about: arm (a mean of each), shared (one theta over features of arm and context), disjoint (a theta of each arm)';
COMMENT ON COLUMN policy_state.parameters IS 'All parameters of the newest posterior';
COMMENT ON COLUMN policy_state.context IS 'What a context is: a number of features, or names with what each holds; NULL: none';
COMMENT ON COLUMN policy_state.arm_features IS 'Features of each arm';
COMMENT ON COLUMN policy_state.arms IS 'Arms that it chooses among now';
COMMENT ON COLUMN policy_state.discount IS 'Factor on evidence for every discount_period of its decision''s age';
COMMENT ON COLUMN policy_state.discount_period IS 'Age for which evidence is discounted once';
COMMENT ON COLUMN policy_state.evidence_window IS 'Age beyond which decisions count no longer; NULL: none';
COMMENT ON COLUMN policy_state.examination IS 'Share of times that each slot is looked at, first slot first; NULL: every slot is';
COMMENT ON COLUMN policy_state.keep_versions IS 'How many of its newest versions are kept; NULL: all';
COMMENT ON COLUMN policy_state.keep_decisions IS 'Age up to which its choices and their feedback are kept; NULL: any, or as set_retention says of its catalog';
COMMENT ON COLUMN policy_state.fold_size IS 'Decisions and events waiting from which on fold_due folds it';
COMMENT ON COLUMN policy_state.fold_every IS 'Age of what waits from which on fold_due folds it';
COMMENT ON COLUMN policy_state.number IS 'Number that ends the names of its tables, such as choice_7; NULL: it serves a catalog';
COMMENT ON COLUMN policy_state.oldest_unfolded IS 'When the oldest decision was taken that is not counted yet; NULL: none waits';
GRANT SELECT ON policy_state TO PUBLIC;

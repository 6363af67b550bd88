-- choice.sql
--    Decisions among named arms: their log, and the functions that take,
--    repeat and lay them out.

CREATE TABLE choice (
    catalog int NOT NULL,
    decision_id bigint NOT NULL,
    decided_at timestamptz NOT NULL,
    user_id text,
    policy int NOT NULL,
    posterior int NOT NULL,
    arms_version int NOT NULL,
    random_key bigint NOT NULL,
    deterministic boolean NOT NULL,
    -- what was asked
    wanted int NOT NULL,
    context real[],
    pool int[],
    pool_features real[],
    -- what was offered, slot by slot
    slot_arms int[] NOT NULL,
    slot_features real[] NOT NULL,
    propensity double precision[] NOT NULL,
    score double precision[] NOT NULL,
    positions text[],
    anonymised_at timestamptz
);
COMMENT ON TABLE choice IS 'The log of choices among named arms: versions, random key, context as features, the arms that were eligible (NULL: all that the policy had then), features given with the call, and the slots with their propensities; positions: where arrange put them';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.choice', '');
REVOKE ALL ON TABLE choice FROM PUBLIC;

CREATE FUNCTION choose(policy text, arms text[] DEFAULT NULL, context double precision[] DEFAULT NULL, k int DEFAULT 1,
                       user_id text DEFAULT NULL, features double precision[] DEFAULT NULL,
                       log boolean DEFAULT NULL, seed bigint DEFAULT NULL)
RETURNS TABLE (rank int, decision_id bigint, arm text, score double precision, propensity double precision)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000 ROWS 1
AS 'MODULE_PATHNAME', 'br_choose';
COMMENT ON FUNCTION choose(text, text[], double precision[], int, text, double precision[], boolean, bigint) IS
'k different arms of a policy, best first: score is the expected reward, propensity the probability of the arm at its rank given the earlier ones. arms: those that are eligible, NULL: all; context: as many numbers as the policy declares; features: arm_features numbers for each of arms, in place of those that add_arms stored. log NULL writes the choice where writing is possible; a seed makes the answer reproducible and keeps it out of learning. A NULL policy or k is an error';

CREATE FUNCTION choose(policy text, arms text[], context jsonb, k int DEFAULT 1,
                       user_id text DEFAULT NULL, features double precision[] DEFAULT NULL,
                       log boolean DEFAULT NULL, seed bigint DEFAULT NULL)
RETURNS TABLE (rank int, decision_id bigint, arm text, score double precision, propensity double precision)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000 ROWS 1
AS 'MODULE_PATHNAME', 'br_choose';
COMMENT ON FUNCTION choose(text, text[], jsonb, int, text, double precision[], boolean, bigint) IS
'The same with a context of named values, as the policy declares them; NULL: none';

CREATE FUNCTION choose(policy text, arms text[], context embedding, k int DEFAULT 1,
                       user_id text DEFAULT NULL, features double precision[] DEFAULT NULL,
                       log boolean DEFAULT NULL, seed bigint DEFAULT NULL)
RETURNS TABLE (rank int, decision_id bigint, arm text, score double precision, propensity double precision)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000 ROWS 1
AS 'MODULE_PATHNAME', 'br_choose';
COMMENT ON FUNCTION choose(text, text[], embedding, int, text, double precision[], boolean, bigint) IS
'The same with an embedding as the context; NULL: none';

CREATE FUNCTION arrange(policy text, items text[], positions text[], context jsonb DEFAULT NULL,
                        user_id text DEFAULT NULL, features double precision[] DEFAULT NULL,
                        log boolean DEFAULT NULL, seed bigint DEFAULT NULL)
RETURNS TABLE ("position" text, decision_id bigint, rank int, item text, score double precision, propensity double precision)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000 ROWS 3
AS 'MODULE_PATHNAME', 'br_arrange';
COMMENT ON FUNCTION arrange(text, text[], text[], jsonb, text, double precision[], boolean, bigint) IS
'A layout: an item (an arm of the policy) for each position of a page, in the order of positions; the best expected goes to the position that is looked at most, as the policy''s examination says of the positions in this order (NULL: earlier ones more). items NULL: all arms. rank is what feedback takes; context: an object of named values, or an array of numbers. A NULL policy or positions is an error';

CREATE FUNCTION choice_probabilities(policy text, arms text[] DEFAULT NULL, context jsonb DEFAULT NULL,
                                     features double precision[] DEFAULT NULL, version int DEFAULT NULL,
                                     seed bigint DEFAULT 0)
RETURNS TABLE (arm text, probability double precision, score double precision)
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000 ROWS 10
AS 'MODULE_PATHNAME', 'br_choice_probabilities';
COMMENT ON FUNCTION choice_probabilities(text, text[], jsonb, double precision[], int, bigint) IS
'With which probability a policy would choose each eligible arm first, and the reward that it expects, by its newest version or a given one; nothing is logged. seed: of the draws, for algorithms that vote. A NULL policy is an error';

CREATE FUNCTION marginal_propensity(policy text, slots int, arms text[] DEFAULT NULL, context jsonb DEFAULT NULL,
                                    features double precision[] DEFAULT NULL, version int DEFAULT NULL,
                                    replays int DEFAULT 10000, seed bigint DEFAULT 0)
RETURNS TABLE (arm text, slot int, probability double precision, estimated boolean)
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000 ROWS 30
AS 'MODULE_PATHNAME', 'br_marginal_propensity';
COMMENT ON FUNCTION marginal_propensity(text, int, text[], jsonb, double precision[], int, int, bigint) IS
'With which probability each eligible arm stands at each slot of a slate, whatever stands in the others: exact where the earlier slots can be enumerated, else from that many replayed slates, and then estimated is true. A NULL policy or number of slots is an error';

CREATE FUNCTION replay_choice(decision_id bigint)
RETURNS TABLE (rank int, arm text, score double precision, propensity double precision)
LANGUAGE C STABLE STRICT PARALLEL UNSAFE COST 1000 ROWS 1
AS 'MODULE_PATHNAME', 'br_replay_choice';
COMMENT ON FUNCTION replay_choice(bigint) IS
'Takes a logged choice again, from the versions, the key and the features that the log holds: the same rows as choose returned. An error where keep_versions has let the version go. For those who may SELECT from the policy''s choices. No rows for NULL';

CREATE FUNCTION warm_start(policy text, query text)
RETURNS bigint
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_warm_start';
COMMENT ON FUNCTION warm_start(text, text) IS
'Teaches a policy from another log, and returns how many rows it counted, in one new version. query, run with the caller''s rights, returns one row for each slot that was shown, with the columns arm and reward, and if it has them context (float8[] or jsonb), features (float8[], of the arm), propensity and decided_at. Arms that the policy does not have are an error. For the owner of the policy. NULL if any argument is NULL';

CREATE FUNCTION forget_user_choices(policy text, user_id text)
RETURNS TABLE (choices bigint, feedback bigint)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'br_forget_user_choices';
COMMENT ON FUNCTION forget_user_choices(text, text) IS
'Takes a user''s name out of a policy''s choices and their feedback, and keeps it out: returns how many rows of each lost it. What the policy learned stays. For the owner of the policy. An error where an argument is NULL';

CREATE FUNCTION fold_due()
RETURNS TABLE (policy text, version int)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', 'br_fold_due';
COMMENT ON FUNCTION fold_due() IS
'Folds every policy of the caller that has fold_size decisions and events waiting, or something that has waited for fold_every, and returns their newest versions; for a scheduler';

CREATE VIEW choice_log WITH (security_barrier) AS
SELECT p.name AS policy, d.decision_id, k.rank::int AS rank, d.decided_at,
       CASE WHEN p.sees_users THEN d.user_id ELSE @extschema@.pseudonym(p.secret, 'user', d.user_id) END AS user_id,
       a.name COLLATE pg_catalog."default" AS arm, d.propensity[k.rank] AS propensity, d.score[k.rank] AS score, f.reward, f.feedback,
       d.context::double precision[] AS context,
       ARRAY(SELECT e.name COLLATE pg_catalog."default" FROM @extschema@.arm e
             WHERE e.policy = d.policy AND e.added <= d.arms_version AND (e.retired IS NULL OR e.retired > d.arms_version)
               AND (d.pool IS NULL OR e.arm = ANY (d.pool))
             ORDER BY pg_catalog.array_position(d.pool, e.arm), e.arm) AS eligible,
       d.pool_features::double precision[] AS features,
       d.posterior, d.deterministic, d.positions[k.rank] AS "position",
       NOT EXISTS (SELECT FROM @extschema@.unfolded_decision u WHERE u.decision_id = d.decision_id) AS counted,
       d.anonymised_at
FROM (SELECT p.policy, p.name, p.catalog, p.reward, s.secret, @extschema@.sees_users(p.choices) AS sees_users
      FROM (SELECT policy, name, catalog, reward, pg_catalog.to_regclass('@extschema@.choice_' || catalog) AS choices
            FROM @extschema@.policy WHERE owner IS NOT NULL OFFSET 0) p
      JOIN @extschema@.catalog_secret s USING (catalog)
      WHERE pg_catalog.has_column_privilege(p.choices, 'decision_id', 'SELECT') OFFSET 0) p
JOIN @extschema@.choice d ON d.catalog = p.catalog
CROSS JOIN LATERAL pg_catalog.generate_series(1, pg_catalog.cardinality(d.slot_arms)) AS k (rank)
JOIN @extschema@.arm a ON a.policy = d.policy AND a.arm = d.slot_arms[k.rank] AND a.added <= d.arms_version
     AND (a.retired IS NULL OR a.retired > d.arms_version)
CROSS JOIN LATERAL (
    SELECT coalesce(pg_catalog.sum(f.value * coalesce((CASE pg_catalog.jsonb_typeof(p.reward -> f.kind) WHEN 'object' THEN p.reward -> f.kind ->> 'weight'
                                                        ELSE p.reward ->> f.kind END)::double precision, 0)), 0) AS reward,
           coalesce(pg_catalog.jsonb_object_agg(f.kind, f.value), '{}') AS feedback
    FROM (SELECT f.kind, pg_catalog.sum(f.value) AS value FROM @extschema@.feedback f
          WHERE f.catalog = d.catalog AND f.decision_id = d.decision_id AND f.rank = k.rank GROUP BY f.kind) f) f;
COMMENT ON VIEW choice_log IS 'Slots of logged choices with what they brought, for those who may SELECT from the policy''s table of choices, or its column decision_id; users are masked for those who may not SELECT user_id there';
COMMENT ON COLUMN choice_log.policy IS 'Name of the policy that chose';
COMMENT ON COLUMN choice_log.decision_id IS 'The choice, as choose returned it';
COMMENT ON COLUMN choice_log.rank IS 'The slot, from 1';
COMMENT ON COLUMN choice_log.decided_at IS 'When the transaction that asked began';
COMMENT ON COLUMN choice_log.user_id IS 'For whom, or user_ and 16 hexadecimal digits; NULL: nobody in particular, or a forgotten user';
COMMENT ON COLUMN choice_log.arm IS 'What was chosen';
COMMENT ON COLUMN choice_log.propensity IS 'Probability of the arm at this slot given the earlier ones';
COMMENT ON COLUMN choice_log.score IS 'The reward that was expected';
COMMENT ON COLUMN choice_log.reward IS 'The reward so far, as the policy weighs the kinds of feedback now';
COMMENT ON COLUMN choice_log.feedback IS 'Sum of the values received, by kind of feedback';
COMMENT ON COLUMN choice_log.context IS 'The context as features; NULL: none';
COMMENT ON COLUMN choice_log.eligible IS 'The arms that could have been chosen, in the order of the call';
COMMENT ON COLUMN choice_log.features IS 'Features of these arms that came with the call; NULL: the stored ones';
COMMENT ON COLUMN choice_log.posterior IS 'The version of what the policy had learned';
COMMENT ON COLUMN choice_log.deterministic IS 'Whether a seed was given: such choices teach nothing';
COMMENT ON COLUMN choice_log."position" IS 'Where arrange put the arm; NULL: choose was asked';
COMMENT ON COLUMN choice_log.counted IS 'Whether the policy has counted the choice: its window has closed, and a fold has run';
COMMENT ON COLUMN choice_log.anonymised_at IS 'When the user was taken out; NULL: never';
GRANT SELECT ON choice_log TO PUBLIC;

CREATE VIEW arm_state WITH (security_barrier) AS
SELECT p.policy, a.name COLLATE pg_catalog."default" AS arm, a.retired IS NOT NULL AS retired, a.features::double precision[] AS features,
       o.version, o.as_of, o.evidence[1] AS slots,
       CASE WHEN p.model = 'arm' AND o.evidence[1] > 0 THEN o.evidence[2] / o.evidence[1] END AS mean_reward,
       o.evidence
FROM (SELECT p.policy AS number, p.name AS policy, p.model,
             pg_catalog.to_regclass('@extschema@.choice_' || p.catalog) AS choices
      FROM @extschema@.policy p WHERE p.owner IS NOT NULL OFFSET 0) p
JOIN LATERAL (SELECT DISTINCT ON (a.arm) a.arm, a.name, a.retired, a.features
              FROM @extschema@.arm a WHERE a.policy = p.number ORDER BY a.arm, a.added DESC) a ON true
LEFT JOIN LATERAL (SELECT o.version, o.as_of, o.evidence FROM @extschema@.posterior_arm o
                   WHERE o.policy = p.number AND o.arm = a.arm ORDER BY o.version DESC LIMIT 1) o ON true
WHERE pg_catalog.has_column_privilege(p.choices, 'decision_id', 'SELECT');
COMMENT ON VIEW arm_state IS 'Arms of policies that choose, and what the newest version knows of each, for those who may SELECT from the policy''s table of choices, or its column decision_id';
COMMENT ON COLUMN arm_state.policy IS 'Name of the policy';
COMMENT ON COLUMN arm_state.arm IS 'Name of the arm';
COMMENT ON COLUMN arm_state.retired IS 'Whether it can be chosen no longer';
COMMENT ON COLUMN arm_state.features IS 'Features that add_arms stored; NULL: none';
COMMENT ON COLUMN arm_state.version IS 'The version that learned of it last; NULL: none has';
COMMENT ON COLUMN arm_state.as_of IS 'The time to which its evidence is discounted';
COMMENT ON COLUMN arm_state.slots IS 'Slots counted, each with the weight of its age and how often it is looked at';
COMMENT ON COLUMN arm_state.mean_reward IS 'Their mean reward, over model arm';
COMMENT ON COLUMN arm_state.evidence IS 'Over model arm: slots, sums of r, r^2, r / propensity. Over model disjoint: slots, sum of r^2, of r x (dims), of x x'' (lower triangle); of logistic_thompson slots, sum of r, mean and precision of theta. NULL over model shared, whose evidence is the policy''s';
GRANT SELECT ON arm_state TO PUBLIC;

-- recommend.sql
--    Decisions: their log, and the functions that take, explain and reward
--    them.

CREATE SEQUENCE decision_number MAXVALUE 1099511627775;
COMMENT ON SEQUENCE decision_number IS 'The low 40 bits of decision ids, in all catalogs';

CREATE TABLE decision (
    catalog int NOT NULL,
    decision_id bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('bundle', 'item', 'curated')),
    decided_at timestamptz NOT NULL,
    -- the request
    user_id text,
    basket text[] NOT NULL,
    query text,
    wanted int NOT NULL,
    filters jsonb NOT NULL,
    -- what decided
    policy int NOT NULL,
    posterior int NOT NULL,
    feature_schema int NOT NULL,
    ranker int,
    algorithm text NOT NULL,
    epsilon double precision NOT NULL,
    draws int NOT NULL,
    diversity double precision NOT NULL,
    random_key bigint NOT NULL,
    deterministic boolean NOT NULL,
    -- what was considered; arrays of bundles are flat, sizes cut them
    candidates int[] NOT NULL,
    pool_size int NOT NULL,
    pool_sizes smallint[],
    pool_items int[],
    pool_features real[],
    votes int[],
    -- what was offered, slot by slot
    slot_sizes smallint[] NOT NULL,
    slot_items int[] NOT NULL,
    slot_features real[] NOT NULL,
    -- of each of slot_items: its share of the slot's value, and what one earns; NaN: unknown
    slot_item_share double precision[],
    slot_item_margin double precision[],
    propensity double precision[] NOT NULL,
    score double precision[] NOT NULL,
    list_price double precision[] NOT NULL,
    price double precision[] NOT NULL,
    margin double precision[] NOT NULL,
    reasons jsonb NOT NULL,
    -- which curated bundles these are, where that was asked for
    pool_bundles int[],
    slot_bundles int[],
    anonymised_at timestamptz,
    -- of each slot the place in the pool, from 1, of what a rule pinned there, 0: the policy chose; NULL: all of them
    slot_pinned int[],
    CHECK ((kind = 'curated') = (slot_bundles IS NOT NULL))
);
-- floats hardly shrink, and compressing them takes longer than all else about the log
ALTER TABLE decision ALTER COLUMN pool_features SET STORAGE EXTERNAL;
COMMENT ON TABLE decision IS 'The log of decisions: request, versions, random key, candidates, pool with features and votes (where log_pool took it), and the slots with their propensities; anonymised_at: when forget_user took user, basket and query out, or decided_at where the user was forgotten before';

CREATE TABLE feedback (
    catalog int NOT NULL,
    decision_id bigint NOT NULL,
    event_id text NOT NULL,
    rank int NOT NULL,
    kind text NOT NULL,
    value double precision NOT NULL,
    received_at timestamptz NOT NULL,
    attributed boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE feedback IS 'Feedback on slots of decisions; an event id stands once per decision. attributed: fold drew it from events of the catalog''s sources';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.decision_number', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.decision', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.feedback', '');
REVOKE ALL ON SEQUENCE decision_number FROM PUBLIC;
REVOKE ALL ON TABLE decision, feedback FROM PUBLIC;

CREATE FUNCTION recommend(catalog text, user_id text DEFAULT NULL, basket text[] DEFAULT NULL, query text DEFAULT NULL,
                          bundles int DEFAULT 5, size int4range DEFAULT '[2,3]',
                          budget double precision DEFAULT NULL, min_margin double precision DEFAULT NULL,
                          categories text[] DEFAULT NULL, exclude text[] DEFAULT NULL, in_stock boolean DEFAULT true,
                          diversity double precision DEFAULT NULL, policy text DEFAULT NULL,
                          log boolean DEFAULT NULL, seed bigint DEFAULT NULL)
RETURNS TABLE (rank int, decision_id bigint, items text[], score double precision, propensity double precision,
               price double precision, list_price double precision, discount double precision,
               margin double precision, reasons jsonb)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000 ROWS 5
AS 'MODULE_PATHNAME', 'br_recommend';
COMMENT ON FUNCTION recommend(text, text, text[], text, int, int4range, double precision, double precision, text[], text[], boolean, double precision, text, boolean, bigint) IS
'Ranked bundles for a user, a basket, a query or nobody in particular: size items each, price at most budget, (price - cost) / price at least min_margin, items of the given categories only, none of the basket or of exclude, all in stock. Curated bundles of one piece of each item, for callers who may read their tables, and sets that fit mined are among those it makes; what has a price of its own goes by that, and discount is the fraction between, negative where it costs more. score is the expected reward, propensity the probability of the slot given the earlier ones. log NULL writes the decision where writing is possible; a seed makes the answer reproducible and keeps it out of learning. NULL leaves a limit out; a NULL catalog or number of bundles is an error; prices are NULL where the catalog has none';

CREATE FUNCTION recommend_items(catalog text, user_id text DEFAULT NULL, basket text[] DEFAULT NULL, query text DEFAULT NULL,
                                k int DEFAULT 10,
                                budget double precision DEFAULT NULL, min_margin double precision DEFAULT NULL,
                                categories text[] DEFAULT NULL, exclude text[] DEFAULT NULL, in_stock boolean DEFAULT true,
                                diversity double precision DEFAULT NULL, policy text DEFAULT NULL,
                                log boolean DEFAULT NULL, seed bigint DEFAULT NULL)
RETURNS TABLE (rank int, decision_id bigint, item_id text, score double precision, propensity double precision,
               price double precision, reasons jsonb)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000 ROWS 10
AS 'MODULE_PATHNAME', 'br_recommend_items';
COMMENT ON FUNCTION recommend_items(text, text, text[], text, int, double precision, double precision, text[], text[], boolean, double precision, text, boolean, bigint) IS
'Ranked single items, decided and logged as recommend does for bundles; budget and min_margin bound each item. NULL leaves a limit out; a NULL catalog or k is an error; price is NULL where the catalog has none';

CREATE FUNCTION feedback(decision_id bigint, rank int, kind text DEFAULT 'click', value double precision DEFAULT 1,
                         event_id text DEFAULT NULL, user_id text DEFAULT NULL)
RETURNS boolean
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_feedback';
COMMENT ON FUNCTION feedback(bigint, int, text, double precision, text, text) IS
'Records what became of the slot at a rank of a decision: true if it is new, false if the same event was recorded before; the same event_id with other content is an error. A NULL event_id means one event per slot and kind. user_id: refused unless the decision was taken for that user; NULL: whoever it was for. Any other NULL is an error';

CREATE FUNCTION feedback_batch(decision_ids bigint[], ranks int[], kinds text[] DEFAULT NULL,
                               amounts double precision[] DEFAULT NULL, event_ids text[] DEFAULT NULL,
                               user_ids text[] DEFAULT NULL)
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_feedback_batch';
COMMENT ON FUNCTION feedback_batch(bigint[], int[], text[], double precision[], text[], text[]) IS
'Records as many events of feedback as the arrays have elements, each as feedback does, all or none, and returns how many were new; an error says in its context which element it met. NULL instead of an array: click for kinds, 1 for amounts, NULL for event_ids and user_ids. An error where decision_ids or ranks is NULL or lengths differ';

CREATE FUNCTION explain_decision(decision_id bigint)
RETURNS TABLE (rank int, items text[], score double precision, propensity double precision,
               price double precision, list_price double precision, margin double precision,
               reasons jsonb, feedback jsonb, policy text, posterior int, pool_size int,
               decided_at timestamptz, user_id text, basket text[], query text, filters jsonb,
               bundle_id text, contributions jsonb)
LANGUAGE C STABLE STRICT PARALLEL UNSAFE COST 1000 ROWS 5
AS 'MODULE_PATHNAME', 'br_explain_decision';
COMMENT ON FUNCTION explain_decision(bigint) IS
'The slots of a logged decision as they were offered, with reasons, the feedback each received, and what was asked and which posterior version decided; bundle_id is NULL but for decisions of rank_bundles. contributions: what each feature added to the score, its weight in that version times its value, those that are not 0; they sum to score. NULL for policies whose score is no such sum, and where keep_versions has let the version go. Needs SELECT on the source, and at least on the column decision_id of the catalog''s decision table: with that alone, users, queries and ids of feedback are masked as in decision_log. Names nothing that the caller cannot see in the source. No rows for NULL; columns are NULL where the request left them out';

CREATE FUNCTION replay_decision(decision_id bigint)
RETURNS TABLE (rank int, score double precision, propensity double precision, as_logged boolean)
LANGUAGE C STABLE STRICT PARALLEL UNSAFE COST 1000 ROWS 5
AS 'MODULE_PATHNAME', 'br_replay_decision';
COMMENT ON FUNCTION replay_decision(bigint) IS
'Takes a logged decision again, from the pool, the key and the versions that the log holds; as_logged: whether the slot came out as it was logged, to the last bit of its propensity. An error where the pool was not logged, or keep_versions has let the version go. Needs what explain_decision needs. No rows for NULL';

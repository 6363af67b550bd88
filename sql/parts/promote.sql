-- promote.sql
--    The life of models: which one serves a catalog, what another must pass to
--    take its place, the way back, and which may go.

CREATE SEQUENCE gate_number;
COMMENT ON SEQUENCE gate_number IS 'Numbers of gates';

CREATE TABLE stored_gate (
    gate bigint PRIMARY KEY DEFAULT nextval('@extschema@.gate_number'),
    catalog int NOT NULL,
    model int NOT NULL,
    model_name text NOT NULL,
    against int NOT NULL,
    against_name text NOT NULL,
    task text NOT NULL CHECK (task IN ('completion', 'next_item')),
    metric text NOT NULL,
    k int,
    cases int NOT NULL,
    sessions bigint NOT NULL,
    used_from timestamptz,
    used_until timestamptz NOT NULL,
    difference double precision,
    standard_error double precision,
    margin double precision NOT NULL,
    conditions jsonb NOT NULL,
    passed boolean NOT NULL,
    judged_by name NOT NULL,
    judged_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE INDEX stored_gate_catalog ON stored_gate (catalog, used_until);
COMMENT ON TABLE stored_gate IS 'What each gate found, and which sessions it used up: those that began after used_from (NULL: whenever) and ended up to used_until';

CREATE SEQUENCE model_history_number;
COMMENT ON SEQUENCE model_history_number IS 'Numbers of times of service, in their order';

CREATE TABLE stored_model_history (
    history bigint PRIMARY KEY DEFAULT nextval('@extschema@.model_history_number'),
    catalog int NOT NULL,
    model int NOT NULL,
    model_name text NOT NULL,
    why text NOT NULL CHECK (why IN ('created', 'altered', 'promoted', 'forced', 'rolled back')),
    gate bigint,
    ordered_by name NOT NULL,
    ordered_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    served_from timestamptz,
    served_until timestamptz
);
CREATE INDEX stored_model_history_catalog ON stored_model_history (catalog, history);
COMMENT ON TABLE stored_model_history IS 'Which model served a catalog and why, one row per time of service; one that has not begun is the move under way';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.gate_number', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.stored_gate', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.model_history_number', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.stored_model_history', '');
REVOKE ALL ON SEQUENCE gate_number, model_history_number FROM PUBLIC;
REVOKE ALL ON TABLE stored_gate, stored_model_history FROM PUBLIC;

CREATE FUNCTION gate(catalog text, model text, margin double precision DEFAULT 0, parameters jsonb DEFAULT '{}')
RETURNS TABLE (condition text, before double precision, after double precision, value double precision,
               bound double precision, held boolean)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000000 ROWS 5
AS 'MODULE_PATHNAME', 'br_gate';
COMMENT ON FUNCTION gate(text, text, double precision, jsonb) IS
'Whether a model is better for a catalog than the one in service, and does no harm. Uses sessions up for good: both models are asked about the same ones, all later than what either learned from (learned_until of the view lineage) and than any session that an earlier gate of the catalog used. A session is a basket, or what a user did outside of any. Asked is which item of a bundle bought whole, else of a basket, is missing, or else which item a user took next; all items are ranked by the mean cosine of their embeddings with those given, ties at their expected rank. One row per condition: cases (at least so many); the metric, whose value is the difference between the models less 1.96 standard errors, clustered by session, and must exceed margin; unembedded (share of texts without an embedding, not larger); latency (milliseconds to embed one text; value: by what it takes now); coverage (share of items shown in the first ten; value: by that of now). With too few cases there is but that row, and nothing is used up. parameters, with their defaults: task (completion, or next_item where nothing can be completed), metric (hit_rate, ndcg or mrr), k 10, cases 100, latency 1.5, coverage 0.8. The view model_gate keeps the outcome. For the catalog''s owner. An error where catalog, model or margin is NULL';

CREATE FUNCTION promote_model(catalog text, model text, margin double precision DEFAULT 0, force boolean DEFAULT false,
                              parameters jsonb DEFAULT '{}')
RETURNS TABLE (condition text, before double precision, after double precision, value double precision,
               bound double precision, held boolean)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000000 ROWS 5
AS 'MODULE_PATHNAME', 'br_promote_model';
COMMENT ON FUNCTION promote_model(text, text, double precision, boolean, jsonb) IS
'Asks gate, whose rows it returns, and where all conditions hold moves the catalog to the model as alter_catalog does: a job embeds all texts beside the model in service, which goes on answering, and then switches at once, indexes included. force: without a gate, and no row; the view model_history says so. For the catalog''s owner. An error where catalog, model or margin is NULL; NULL for force is false';

CREATE FUNCTION rollback_model(catalog text) RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_rollback_model';
COMMENT ON FUNCTION rollback_model(text) IS
'Takes back the move that is under way, at once, and returns NULL; otherwise moves the catalog to the model that served it before the present one, and returns the job that does it. That embeds all texts again and takes as long as any move. Rolling back twice goes back two models. For the catalog''s owner. An error where catalog is NULL';

CREATE FUNCTION prune_models(keep int DEFAULT 3) RETURNS SETOF text
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', 'br_prune_models';
COMMENT ON FUNCTION prune_models(int) IS
'Drops models that were trained or compressed, as the view lineage lists them, and that no catalog uses, moves to or would be rolled back to, but the latest keep of those made from each catalog''s data, or from none''s; never one that was loaded from files, nor one that the caller may not drop. Returns the names. An error where keep is NULL';

CREATE VIEW model_gate WITH (security_barrier) AS
SELECT g.gate, c.name AS catalog, g.model_name AS model, g.against_name AS against, g.passed, g.task, g.metric, g.k,
       g.cases, g.sessions, g.difference, g.standard_error, g.difference - 1.96 * g.standard_error AS lower_bound,
       g.margin, g.conditions, g.used_from, g.used_until, g.judged_by, g.judged_at
FROM @extschema@.stored_gate g JOIN @extschema@.catalog c USING (catalog)
WHERE pg_catalog.has_table_privilege(c.items, 'SELECT');
COMMENT ON VIEW model_gate IS 'What gates found, for those who may SELECT from the catalog''s source; gate and promote_model add to it';
COMMENT ON COLUMN model_gate.gate IS 'Number of the gate';
COMMENT ON COLUMN model_gate.catalog IS 'Name of the catalog';
COMMENT ON COLUMN model_gate.model IS 'Model that was judged';
COMMENT ON COLUMN model_gate.against IS 'Model that was in service then';
COMMENT ON COLUMN model_gate.passed IS 'Whether all conditions held';
COMMENT ON COLUMN model_gate.task IS 'What was asked: completion or next_item';
COMMENT ON COLUMN model_gate.metric IS 'What was measured: hit_rate, ndcg or mrr';
COMMENT ON COLUMN model_gate.k IS 'Places that count; NULL: all';
COMMENT ON COLUMN model_gate.cases IS 'Cases that both models ranked';
COMMENT ON COLUMN model_gate.sessions IS 'Sessions that were used up';
COMMENT ON COLUMN model_gate.difference IS 'Of the metric, the judged model less the one in service, case by case';
COMMENT ON COLUMN model_gate.standard_error IS 'Of that difference, clustered by session; NULL: there was but one session';
COMMENT ON COLUMN model_gate.lower_bound IS 'The difference less 1.96 standard errors';
COMMENT ON COLUMN model_gate.margin IS 'What the lower bound had to exceed';
COMMENT ON COLUMN model_gate.conditions IS 'All conditions, as gate returned them';
COMMENT ON COLUMN model_gate.used_from IS 'The sessions began after that; NULL: whenever';
COMMENT ON COLUMN model_gate.used_until IS 'Last event of these sessions; those of a later gate begin after it';
COMMENT ON COLUMN model_gate.judged_by IS 'Role that asked';
COMMENT ON COLUMN model_gate.judged_at IS 'Start of the transaction';
GRANT SELECT ON model_gate TO PUBLIC;

CREATE VIEW model_history WITH (security_barrier) AS
SELECT c.name AS catalog, h.model_name AS model, h.why, h.gate, h.served_from, h.served_until, h.ordered_by, h.ordered_at,
       NOT EXISTS (SELECT FROM @extschema@.stored_model m WHERE m.model = h.model) AS dropped, h.history
FROM @extschema@.stored_model_history h JOIN @extschema@.catalog c USING (catalog)
WHERE pg_catalog.has_table_privilege(c.items, 'SELECT');
COMMENT ON VIEW model_history IS 'Which model served a catalog, from when until when, and why, for those who may SELECT from the catalog''s source';
COMMENT ON COLUMN model_history.catalog IS 'Name of the catalog';
COMMENT ON COLUMN model_history.model IS 'Name of the model, as it was then';
COMMENT ON COLUMN model_history.why IS 'created with it, altered by alter_catalog, promoted because it passed a gate, forced without one, or rolled back to';
COMMENT ON COLUMN model_history.gate IS 'Number of the gate that it passed, of the view model_gate; NULL: none';
COMMENT ON COLUMN model_history.served_from IS 'When it came into service; NULL: the catalog is moving to it';
COMMENT ON COLUMN model_history.served_until IS 'When another took its place; NULL: it is in service';
COMMENT ON COLUMN model_history.ordered_by IS 'Role that asked for it';
COMMENT ON COLUMN model_history.ordered_at IS 'When that was';
COMMENT ON COLUMN model_history.dropped IS 'Whether the model is gone';
COMMENT ON COLUMN model_history.history IS 'Number of the time of service, in their order';
GRANT SELECT ON model_history TO PUBLIC;

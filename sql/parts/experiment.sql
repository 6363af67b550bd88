-- experiment.sql
--    Experiments: who gets which variant, who saw it, and what it was worth.

CREATE SEQUENCE experiment_number AS int;
COMMENT ON SEQUENCE experiment_number IS 'Numbers of experiments and of layers, never reused';

CREATE TABLE experiment_layer (
    layer int PRIMARY KEY DEFAULT nextval('@extschema@.experiment_number'),
    name text NOT NULL UNIQUE CHECK (name <> ''),
    salt text NOT NULL,
    holdout double precision NOT NULL CHECK (holdout >= 0 AND holdout < 1)
);
COMMENT ON TABLE experiment_layer IS 'Layers: experiments of one layer share its units without ever sharing a unit, and leave the same share of them out';

CREATE TABLE experiment (
    experiment int PRIMARY KEY DEFAULT nextval('@extschema@.experiment_number'),
    name text NOT NULL UNIQUE CHECK (name <> ''),
    layer int,
    salt text NOT NULL,
    holdout double precision NOT NULL CHECK (holdout >= 0 AND holdout < 1),
    first_slot bigint NOT NULL CHECK (first_slot >= 0),
    end_slot bigint NOT NULL CHECK (end_slot <= 4294967296),
    version int NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    stopped_at timestamptz,
    CHECK (first_slot < end_slot),
    -- two that run in one layer have no slot in common
    EXCLUDE USING gist (int8range((layer::bigint << 32) + first_slot, (layer::bigint << 32) + end_slot) WITH &&)
        WHERE (layer IS NOT NULL AND stopped_at IS NULL)
);
COMMENT ON TABLE experiment IS 'One row per experiment: the slots of its hash, or its layer''s, whose units are in it, first_slot included, end_slot not';

CREATE TABLE experiment_variant (
    experiment int NOT NULL,
    version int NOT NULL,
    variant text NOT NULL CHECK (variant <> ''),
    weight double precision NOT NULL CHECK (weight >= 0 AND weight <= 1),
    end_slot bigint NOT NULL CHECK (end_slot BETWEEN 0 AND 4294967296),
    PRIMARY KEY (experiment, version, variant)
);
COMMENT ON TABLE experiment_variant IS 'The variants of each experiment and their weights, in each version of the weights: a unit gets the first variant, in the order of bytes, whose end_slot is above its hash';

CREATE TABLE exposure (
    experiment int NOT NULL,
    unit_id text NOT NULL,
    variant text NOT NULL,
    version int NOT NULL,
    exposed_at timestamptz NOT NULL
);
COMMENT ON TABLE exposure IS 'Parent of the exposure_<n>, one for each experiment: each unit once, with the variant that it got first and keeps';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.experiment_number', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.experiment_layer', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.experiment', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.experiment_variant', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.exposure', '');
REVOKE ALL ON SEQUENCE experiment_number FROM PUBLIC;
REVOKE ALL ON TABLE experiment_layer, experiment, experiment_variant, exposure FROM PUBLIC;

CREATE FUNCTION create_experiment(name text, variants jsonb DEFAULT '{"control": 0.5, "treatment": 0.5}', layer text DEFAULT NULL,
                                  traffic double precision DEFAULT 1, holdout double precision DEFAULT NULL, salt text DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_create_experiment';
COMMENT ON FUNCTION create_experiment(text, jsonb, text, double precision, double precision, text) IS
'Starts an experiment: variants and their weights, which sum to 1; traffic, the share of the units not held out that are in it; layer, whose experiments have no unit in common; holdout, the share of the units that is left out, one for all experiments of a layer, NULL: the layer''s, or none; salt of the hash, NULL: a random one. Its owner is whoever creates it, for which a role needs EXECUTE and, in a layer that is there, to own an experiment of it. An error where name, variants or traffic is NULL';
-- it makes a table, which not everybody may
REVOKE ALL ON FUNCTION create_experiment(text, jsonb, text, double precision, double precision, text) FROM PUBLIC;

CREATE FUNCTION alter_experiment(name text, variants jsonb DEFAULT NULL, traffic double precision DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_alter_experiment';
COMMENT ON FUNCTION alter_experiment(text, jsonb, double precision) IS
'Changes the weights of an experiment''s variants, which may be more than before, and 0, but none may be missing, or its traffic, which in a layer may only grow; NULL leaves as it is. A unit that was exposed keeps its variant; the others are assigned by the new weights. For the experiment''s owner. An error where name is NULL';

CREATE FUNCTION stop_experiment(name text) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_stop_experiment';
COMMENT ON FUNCTION stop_experiment(text) IS
'Ends an experiment for good: no unit has a variant any more, its share of the layer is free, and its exposures stay for ab_test. For the experiment''s owner. An error where name is NULL';

CREATE FUNCTION drop_experiment(name text) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_drop_experiment';
COMMENT ON FUNCTION drop_experiment(text) IS
'Removes an experiment and its exposures. For the experiment''s owner. An error where name is NULL';

CREATE FUNCTION assign(experiment text, unit_id text, log boolean DEFAULT NULL) RETURNS text
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_assign';
COMMENT ON FUNCTION assign(text, text, boolean) IS
'The variant of a unit, logged as its exposure the first time; NULL where the unit is not in the experiment, is held out, or the experiment was stopped. log NULL: not on standbys and in read-only transactions; true is an error there; false logs nothing. Needs INSERT on the experiment''s exposure_<n>. An error where experiment or unit_id is NULL';

CREATE FUNCTION assignment(experiment text, unit_id text) RETURNS text
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'br_assignment';
COMMENT ON FUNCTION assignment(text, text) IS
'What assign would answer, without logging anything. Needs INSERT or SELECT on the experiment''s exposure_<n>. NULL if any argument is NULL';

CREATE FUNCTION ab_test(query text, experiment text DEFAULT NULL, metrics text[] DEFAULT '{value}', control text DEFAULT 'control',
                        covariates jsonb DEFAULT '{}', denominators jsonb DEFAULT '{}', margins jsonb DEFAULT '{}', weights jsonb DEFAULT NULL,
                        confidence double precision DEFAULT 0.95, planned double precision DEFAULT 5000)
RETURNS TABLE (segment text, metric text, variant text, method text, n bigint, mean double precision, difference double precision,
               standard_error double precision, p_value double precision, lower double precision, upper double precision,
               lift double precision, lift_lower double precision, lift_upper double precision,
               sequential_p_value double precision, sequential_lower double precision, sequential_upper double precision,
               adjusted_p_value double precision, guardrail text, srm_p_value double precision, note text)
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 10 COST 10000
AS 'MODULE_PATHNAME', 'br_ab_test';
COMMENT ON FUNCTION ab_test(text, text, text[], text, jsonb, jsonb, jsonb, jsonb, double precision, double precision) IS
'Compares the variants of an experiment with its control, for each metric and, where the query has a column segment, each segment. query is a SELECT, read with the caller''s rights: its columns metrics are summed per unit_id (a boolean: whether it was ever true). With experiment its units are those exposed, with 0 where the query has no row, counted from their exposure on where it has occurred_at; without, the query has a column variant. covariates names for metrics a column from before the experiment (CUPED), denominators the denominator of a ratio, margins how much of its control a metric may lose (above 0) or gain (below 0); weights are the expected shares of the variants. planned: units at which sequential intervals are narrowest. NULL statistics are explained by note. An error where another argument than experiment or weights is NULL';

CREATE FUNCTION experiment_moments_add(state double precision[], value double precision) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_experiment_moments_add';
COMMENT ON FUNCTION experiment_moments_add(double precision[], double precision) IS
'Adds a unit to a state of experiment_moments; NULL if any argument is NULL';

CREATE FUNCTION experiment_moments_add(state double precision[], value double precision, covariate double precision)
RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_experiment_moments_add';
COMMENT ON FUNCTION experiment_moments_add(double precision[], double precision, double precision) IS
'Adds a unit with a covariate to a state of experiment_moments; NULL if any argument is NULL';

CREATE FUNCTION experiment_moments_add(state double precision[], value double precision, covariate double precision, denominator double precision)
RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_experiment_moments_add';
COMMENT ON FUNCTION experiment_moments_add(double precision[], double precision, double precision, double precision) IS
'Adds a unit with a covariate and a denominator to a state of experiment_moments; NULL if any argument is NULL';

CREATE FUNCTION experiment_moments_combine(left_state double precision[], right_state double precision[])
RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_experiment_moments_combine';
COMMENT ON FUNCTION experiment_moments_combine(double precision[], double precision[]) IS
'The moments of the units of both states together; NULL if any argument is NULL';

CREATE AGGREGATE experiment_moments(value double precision) (
    SFUNC = experiment_moments_add, STYPE = double precision[], INITCOND = '{0,0,0,0,0,0,0,0,0,0}',
    COMBINEFUNC = experiment_moments_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE experiment_moments(double precision) IS
'What compare_variants needs of a group of units, one value each: number, means and sums of products of deviations; a NULL is left out';

CREATE AGGREGATE experiment_moments(value double precision, covariate double precision) (
    SFUNC = experiment_moments_add, STYPE = double precision[], INITCOND = '{0,0,0,0,0,0,0,0,0,0}',
    COMBINEFUNC = experiment_moments_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE experiment_moments(double precision, double precision) IS
'The same with a covariate from before the experiment; units with a NULL are left out';

CREATE AGGREGATE experiment_moments(value double precision, covariate double precision, denominator double precision) (
    SFUNC = experiment_moments_add, STYPE = double precision[], INITCOND = '{0,0,0,0,0,0,0,0,0,0}',
    COMBINEFUNC = experiment_moments_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE experiment_moments(double precision, double precision, double precision) IS
'The same with the denominator of a ratio; a covariate of 0 for all is none; units with a NULL are left out';

CREATE AGGREGATE experiment_moments_merge(state double precision[]) (
    SFUNC = experiment_moments_combine, STYPE = double precision[], INITCOND = '{0,0,0,0,0,0,0,0,0,0}',
    COMBINEFUNC = experiment_moments_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE experiment_moments_merge(double precision[]) IS
'The moments of all units, from those of parts of them that experiment_moments gave, here or on other servers; a NULL is left out';

CREATE FUNCTION compare_variants(control double precision[], variant double precision[], method text DEFAULT 'welch',
                                 pooled double precision[] DEFAULT NULL, confidence double precision DEFAULT 0.95,
                                 OUT control_estimate double precision, OUT variant_estimate double precision,
                                 OUT difference double precision, OUT standard_error double precision,
                                 OUT statistic double precision, OUT degrees_of_freedom double precision, OUT p_value double precision,
                                 OUT lower double precision, OUT upper double precision, OUT lift double precision,
                                 OUT lift_standard_error double precision, OUT lift_lower double precision, OUT lift_upper double precision)
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_compare_variants';
COMMENT ON FUNCTION compare_variants(double precision[], double precision[], text, double precision[], double precision) IS
'Compares a variant with the control by their experiment_moments: method proportions (two-proportion z, values 0 and 1), welch (means, Welch''s t), ratio (values over denominators, delta method) or cuped (means or ratios adjusted by the covariate; pooled: the moments of all variants, NULL: of these two). The p-value is two-sided, intervals are of that confidence, lift is relative to the control. NULL if another argument than pooled is NULL';

CREATE FUNCTION sequential_test(difference double precision, standard_error double precision, n double precision,
                                confidence double precision DEFAULT 0.95, planned double precision DEFAULT 5000,
                                OUT p_value double precision, OUT lower double precision, OUT upper double precision)
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_sequential_test';
COMMENT ON FUNCTION sequential_test(double precision, double precision, double precision, double precision, double precision) IS
'The asymptotic confidence sequence of a difference between two groups of together n units, valid however often it is looked at, narrowest at planned units; NULL if any argument is NULL';

CREATE FUNCTION non_inferiority(estimate double precision, standard_error double precision, margin double precision)
RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_non_inferiority';
COMMENT ON FUNCTION non_inferiority(double precision, double precision, double precision) IS
'One-sided p-value of the hypothesis that a metric fell by more than margin or, where margin is negative, rose by more than -margin: small values say that a guardrail holds; NULL if any argument is NULL';

CREATE FUNCTION sample_ratio_mismatch(counts bigint[], weights double precision[]) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_sample_ratio_mismatch';
COMMENT ON FUNCTION sample_ratio_mismatch(bigint[], double precision[]) IS
'Chi-square p-value of units per variant against their weights, which need not sum to 1; below .001 something is wrong with the assignment or the log. NULL if any argument is NULL';

CREATE FUNCTION benjamini_hochberg(p_values double precision[]) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_benjamini_hochberg';
COMMENT ON FUNCTION benjamini_hochberg(double precision[]) IS
'P-values adjusted so that of those below q at most the share q is expected to be false; NULLs stay and are not counted. NULL for NULL';

CREATE FUNCTION holm(p_values double precision[]) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_holm';
COMMENT ON FUNCTION holm(double precision[]) IS
'P-values adjusted so that any of those below q is false with probability at most q; NULLs stay and are not counted. NULL for NULL';

CREATE FUNCTION experiment_power(baseline double precision, effect double precision, units double precision,
                                 standard_deviation double precision DEFAULT NULL, ratio double precision DEFAULT 1,
                                 significance double precision DEFAULT 0.05)
RETURNS double precision
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_experiment_power';
COMMENT ON FUNCTION experiment_power(double precision, double precision, double precision, double precision, double precision, double precision) IS
'Probability that an effect is found by a two-sided test with so many units in the control and ratio times as many in the variant; baseline is a rate, or with a standard_deviation of the units a mean. NULL if another argument than standard_deviation is NULL';

CREATE FUNCTION required_sample_size(baseline double precision, effect double precision,
                                     standard_deviation double precision DEFAULT NULL, ratio double precision DEFAULT 1,
                                     power double precision DEFAULT 0.8, significance double precision DEFAULT 0.05)
RETURNS bigint
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_required_sample_size';
COMMENT ON FUNCTION required_sample_size(double precision, double precision, double precision, double precision, double precision, double precision) IS
'The least units in the control, with ratio times as many in the variant, that find an effect, an absolute difference, with that power. NULL if another argument than standard_deviation is NULL';

CREATE FUNCTION minimum_detectable_effect(baseline double precision, units double precision,
                                          standard_deviation double precision DEFAULT NULL, ratio double precision DEFAULT 1,
                                          power double precision DEFAULT 0.8, significance double precision DEFAULT 0.05)
RETURNS double precision
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_minimum_detectable_effect';
COMMENT ON FUNCTION minimum_detectable_effect(double precision, double precision, double precision, double precision, double precision, double precision) IS
'The least increase that so many units in the control, and ratio times as many in the variant, find with that power. NULL if another argument than standard_deviation is NULL';

CREATE FUNCTION experiment_duration(baseline double precision, effect double precision, units_per_day double precision,
                                    standard_deviation double precision DEFAULT NULL, ratio double precision DEFAULT 1,
                                    power double precision DEFAULT 0.8, significance double precision DEFAULT 0.05)
RETURNS int
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_experiment_duration';
COMMENT ON FUNCTION experiment_duration(double precision, double precision, double precision, double precision, double precision, double precision, double precision) IS
'Days until the control and one variant, which together get units_per_day new units, have required_sample_size. NULL if another argument than standard_deviation is NULL';

CREATE VIEW experiment_state WITH (security_barrier) AS
SELECT e.name AS experiment, l.name AS layer, (e.end_slot - e.first_slot) / 4294967296.0::double precision / (1 - e.holdout) AS traffic, e.holdout,
       (SELECT pg_catalog.jsonb_object_agg(v.variant, v.weight) FROM experiment_variant v
        WHERE v.experiment = e.experiment AND v.version = e.version) AS variants,
       e.version, e.salt, l.salt AS layer_salt, e.first_slot, e.end_slot, r.relation::regclass AS exposures, e.created_at, e.stopped_at
FROM experiment e
LEFT JOIN experiment_layer l USING (layer)
JOIN LATERAL (SELECT c.oid AS relation FROM pg_catalog.pg_class c
              WHERE c.relnamespace = '@extschema@'::regnamespace AND c.relname = 'exposure_' || e.experiment) r ON true
WHERE pg_catalog.has_table_privilege(r.relation, 'SELECT, INSERT');
COMMENT ON VIEW experiment_state IS 'Experiments whose exposures the reader may select or add to: what they are, and what an application needs to assign variants itself';
COMMENT ON COLUMN experiment_state.experiment IS 'Name of the experiment';
COMMENT ON COLUMN experiment_state.layer IS 'Name of its layer; NULL: none';
COMMENT ON COLUMN experiment_state.traffic IS 'Share of the units not held out that are in it';
COMMENT ON COLUMN experiment_state.holdout IS 'Share of all units that is held out';
COMMENT ON COLUMN experiment_state.variants IS 'Weights of the variants, those of the newest version';
COMMENT ON COLUMN experiment_state.version IS 'How often weights were set';
COMMENT ON COLUMN experiment_state.salt IS 'Salt of the hash that chooses the variant';
COMMENT ON COLUMN experiment_state.layer_salt IS 'Salt of the hash that chooses the experiment in its layer';
COMMENT ON COLUMN experiment_state.first_slot IS 'The first of the 2^32 slots whose units are in it';
COMMENT ON COLUMN experiment_state.end_slot IS 'The slot after the last of them';
COMMENT ON COLUMN experiment_state.exposures IS 'The table of its exposures; GRANT INSERT on it lets a role assign, SELECT lets it analyse';
COMMENT ON COLUMN experiment_state.created_at IS 'When it was started';
COMMENT ON COLUMN experiment_state.stopped_at IS 'When it was stopped; NULL while it runs';
GRANT SELECT ON experiment_state TO PUBLIC;

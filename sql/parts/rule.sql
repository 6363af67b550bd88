-- rule.sql
--    Merchandiser rules: what a shop pins, bans, boosts, caps and requires,
--    whatever a policy has learned.

CREATE TABLE merchandiser_rule (
    catalog int NOT NULL,
    name text COLLATE "C" NOT NULL CHECK (name <> ''),
    action text NOT NULL CHECK (action IN ('pin', 'ban', 'boost', 'cap', 'require')),
    items text[] CHECK (items <> '{}'),
    categories text[] CHECK (categories <> '{}'),
    bundle_id text,
    amount double precision CHECK (amount > 0),
    slot int CHECK (slot > 0),
    valid tstzrange NOT NULL CHECK (NOT isempty(valid)),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (catalog, name),
    CHECK (num_nonnulls(items, categories, bundle_id) > 0)
);
COMMENT ON TABLE merchandiser_rule IS 'What a catalog''s owner pins, bans, boosts, caps and requires, and when: ids and categories as its sources have them, sorted';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.merchandiser_rule', '');
REVOKE ALL ON TABLE merchandiser_rule FROM PUBLIC;

CREATE FUNCTION create_rule(catalog text, name text, action text, items text[] DEFAULT NULL, categories text[] DEFAULT NULL,
                            bundle_id text DEFAULT NULL, amount double precision DEFAULT NULL, slot int DEFAULT NULL,
                            valid tstzrange DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_create_rule';
COMMENT ON FUNCTION create_rule(text, text, text, text[], text[], text, double precision, int, tstzrange) IS
'What recommend, recommend_items and rank_bundles, and of bans complete, must do from now on, at the times of valid, NULL for always. action pin: the bundle of these items, or the one item, or the curated bundle stands at slot, NULL for the first free one, unless the request rules it out; ban: these items, all of these categories, this curated bundle are never offered; boost: the odds of the score are multiplied by amount for these items and those of these categories, a mean over a bundle''s items; cap: at most amount items of each of these categories in a bundle; require: every bundle that recommend makes has an item of one of these categories. An error where it contradicts another rule, names an unknown item or bundle, or has an argument that its action does not take; other arguments than catalog, name and action may be NULL. For the catalog''s owner';

CREATE FUNCTION drop_rule(catalog text, name text)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_drop_rule';
COMMENT ON FUNCTION drop_rule(text, text) IS
'Ends what create_rule began; decisions that were taken under the rule can still be explained and replayed. For the catalog''s owner. An error where an argument is NULL or there is no such rule';

CREATE VIEW rule WITH (security_barrier) AS
SELECT c.name AS catalog, r.name AS rule, r.action, r.items, r.categories, r.bundle_id, r.amount, r.slot, r.valid,
       r.valid @> pg_catalog.now() AS in_force, r.created_at
FROM merchandiser_rule r
JOIN catalog c USING (catalog)
WHERE pg_catalog.has_table_privilege(c.items, 'SELECT')
  AND NOT pg_catalog.row_security_active(c.items);
COMMENT ON VIEW rule IS 'Merchandiser rules of the catalogs whose items the reader may select, with no row-level security on them';
COMMENT ON COLUMN rule.catalog IS 'Name of the catalog';
COMMENT ON COLUMN rule.rule IS 'Name of the rule, as reasons name it';
COMMENT ON COLUMN rule.action IS 'pin, ban, boost, cap or require';
COMMENT ON COLUMN rule.items IS 'Ids of the items that it names; NULL: none';
COMMENT ON COLUMN rule.categories IS 'Categories that it names; NULL: none';
COMMENT ON COLUMN rule.bundle_id IS 'The curated bundle that it names; NULL: none';
COMMENT ON COLUMN rule.amount IS 'Of a boost the factor on the odds, of a cap the number of items; NULL for other actions';
COMMENT ON COLUMN rule.slot IS 'Slot of a pin, from 1; NULL: the first free one';
COMMENT ON COLUMN rule.valid IS 'When it holds';
COMMENT ON COLUMN rule.in_force IS 'Whether it holds now';
COMMENT ON COLUMN rule.created_at IS 'When create_rule was called';
GRANT SELECT ON rule TO PUBLIC;

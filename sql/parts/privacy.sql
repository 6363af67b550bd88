-- privacy.sql
--    Forgetting a user, showing analysts masks instead of names, and how long
--    events and decisions are kept.

CREATE TABLE catalog_secret (
    catalog int PRIMARY KEY,
    secret bytea NOT NULL DEFAULT pg_catalog.sha256(pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
                                                    || pg_catalog.uuid_send(pg_catalog.gen_random_uuid()))
        CHECK (pg_catalog.octet_length(secret) = 32)
);
COMMENT ON TABLE catalog_secret IS 'The random key of each catalog''s keyed hashes of user ids, 244 random bits; whoever knows it can tell whether a mask is that of a given user';

CREATE TABLE forgotten_user (
    catalog int NOT NULL,
    user_hash bytea NOT NULL CHECK (pg_catalog.octet_length(user_hash) = 32),
    forgotten_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (catalog, user_hash)
);
COMMENT ON TABLE forgotten_user IS 'Users that forget_user took out of a catalog, as HMAC-SHA-256 of their ids under the catalog''s key: what comes under such an id later is kept without it';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.catalog_secret', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.forgotten_user', '');
REVOKE ALL ON TABLE catalog_secret, forgotten_user FROM PUBLIC;

CREATE FUNCTION forget_user(catalog text, user_id text)
RETURNS TABLE (events bigint, decisions bigint, feedback bigint, in_sources jsonb)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'br_forget_user';
COMMENT ON FUNCTION forget_user(text, text) IS
'Takes a user''s name out of a catalog''s events, decisions and feedback, and keeps it out: returns how many rows of each lost it, and for each source, by name, how many rows of the user it still held when he was forgotten; the sources themselves are never changed. Counts and what policies learned stay. For the catalog''s owner. An error where an argument is NULL';

CREATE FUNCTION unforget_user(catalog text, user_id text)
RETURNS boolean
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_unforget_user';
COMMENT ON FUNCTION unforget_user(text, text) IS
'Lets a catalog know a forgotten user''s id again from now on; what was made anonymous stays so. True if he was forgotten. For the catalog''s owner. An error where an argument is NULL';

CREATE FUNCTION set_retention(catalog text, events interval DEFAULT NULL, decisions interval DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_set_retention';
COMMENT ON FUNCTION set_retention(text, interval, interval) IS
'How long a catalog keeps events, with rejected rows, and decisions, with their feedback; NULL: for ever. refresh takes out what is older: events no longer count, decisions go once their policy has learned from them. For the catalog''s owner. An error where catalog is NULL';

CREATE FUNCTION pseudonym(secret bytea, what text, value text)
RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_pseudonym';
COMMENT ON FUNCTION pseudonym(bytea, text, text) IS
'what || ''_'' || the first 16 hexadecimal digits of HMAC-SHA-256(secret, value); NULL if any argument is NULL';

CREATE FUNCTION sees_users(decisions regclass)
RETURNS boolean
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_sees_users';
COMMENT ON FUNCTION sees_users(regclass) IS
'Whether the current user is shown names rather than masks: he may SELECT the column user_id of that table of decisions, or bundle_rec.mask_users is off. NULL for NULL';

CREATE VIEW decision_log WITH (security_barrier) AS
SELECT c.name AS catalog, d.decision_id, k.rank, d.decided_at, d.kind,
       CASE WHEN c.sees_users THEN d.user_id ELSE @extschema@.pseudonym(c.secret, 'user', d.user_id) END AS user_id,
       CASE WHEN c.sees_users THEN d.query ELSE @extschema@.pseudonym(c.secret, 'query', d.query) END AS query,
       p.name AS policy, d.posterior, d.deterministic,
       ARRAY(SELECT i.item_id FROM pg_catalog.unnest(d.slot_items[k.before + 1 : k.before + k.size]) WITH ORDINALITY m (item, place)
             JOIN @extschema@.item i ON i.catalog = d.catalog AND i.item = m.item ORDER BY m.place) AS items,
       d.score[k.rank] AS score,
       d.propensity[k.rank] AS propensity,
       nullif(d.price[k.rank], 'NaN') AS price,
       nullif(d.margin[k.rank], 'NaN') AS margin,
       coalesce((SELECT pg_catalog.jsonb_object_agg(f.kind, f.value)
                 FROM (SELECT f.kind, pg_catalog.sum(f.value) AS value FROM @extschema@.feedback f
                       WHERE f.catalog = d.catalog AND f.decision_id = d.decision_id AND f.rank = k.rank
                       GROUP BY f.kind) f), '{}') AS feedback,
       d.anonymised_at,
       coalesce(d.slot_pinned[k.rank], 0) > 0 AS pinned
FROM (SELECT c.catalog, c.name, s.secret, @extschema@.sees_users(c.decisions) AS sees_users
      FROM (SELECT catalog, name, items, pg_catalog.to_regclass('@extschema@.decision_' || catalog) AS decisions
            FROM @extschema@.catalog OFFSET 0) c
      JOIN @extschema@.catalog_secret s USING (catalog)
      WHERE pg_catalog.has_table_privilege(c.items, 'SELECT')
        AND NOT pg_catalog.row_security_active(c.items)
        AND pg_catalog.has_column_privilege(c.decisions, 'decision_id', 'SELECT') OFFSET 0) c
JOIN @extschema@.decision d USING (catalog)
LEFT JOIN @extschema@.policy p ON p.policy = d.policy
CROSS JOIN LATERAL (SELECT u.rank::int, u.size, pg_catalog.sum(u.size) OVER (ORDER BY u.rank) - u.size AS before
                    FROM pg_catalog.unnest(d.slot_sizes) WITH ORDINALITY AS u (size, rank)) k;
COMMENT ON VIEW decision_log IS 'Slots of logged decisions with the feedback they received, for those who may SELECT from the catalog''s source, with no row-level security on it, and the column decision_id of its table of decisions; users and queries are masked for those who may not SELECT user_id there';
COMMENT ON COLUMN decision_log.catalog IS 'Name of the catalog';
COMMENT ON COLUMN decision_log.decision_id IS 'The decision, as recommend returned it';
COMMENT ON COLUMN decision_log.rank IS 'The slot, from 1';
COMMENT ON COLUMN decision_log.decided_at IS 'When the transaction that asked began';
COMMENT ON COLUMN decision_log.kind IS 'What was asked for: bundle, item or curated';
COMMENT ON COLUMN decision_log.user_id IS 'Who asked, or user_ and 16 hexadecimal digits, the same in all decisions of one user of a catalog; NULL: nobody in particular, or a forgotten user';
COMMENT ON COLUMN decision_log.query IS 'What was typed, or query_ and 16 hexadecimal digits, the same for the same query';
COMMENT ON COLUMN decision_log.policy IS 'Name of the policy that decided';
COMMENT ON COLUMN decision_log.posterior IS 'The version of what it had learned';
COMMENT ON COLUMN decision_log.deterministic IS 'Whether a seed was given: such decisions teach nothing';
COMMENT ON COLUMN decision_log.items IS 'Ids of the items that were offered';
COMMENT ON COLUMN decision_log.score IS 'The reward that was expected';
COMMENT ON COLUMN decision_log.propensity IS 'Probability of the slot given the earlier ones';
COMMENT ON COLUMN decision_log.price IS 'What the offer cost; NULL without prices';
COMMENT ON COLUMN decision_log.margin IS '(price - cost) / price; NULL where unknown';
COMMENT ON COLUMN decision_log.feedback IS 'Sum of the values received, by kind of feedback';
COMMENT ON COLUMN decision_log.anonymised_at IS 'When the user was taken out by forget_user, or the decision''s time where he was forgotten before; NULL: never';
COMMENT ON COLUMN decision_log.pinned IS 'Whether a rule put it there, whatever the policy believed: its propensity is 1, and neither learning nor evaluation counts it';
GRANT SELECT ON decision_log TO PUBLIC;

CREATE VIEW privacy_state WITH (security_barrier) AS
SELECT c.name AS catalog, c.keep_events, c.keep_decisions, s.events_since,
       (SELECT pg_catalog.count(*) FROM @extschema@.forgotten_user f WHERE f.catalog = c.catalog) AS forgotten_users
FROM @extschema@.catalog c
JOIN @extschema@.catalog_state s USING (catalog)
WHERE pg_catalog.has_table_privilege(c.items, 'SELECT') OR pg_catalog.pg_has_role(c.owner, 'USAGE');
COMMENT ON VIEW privacy_state IS 'What each catalog keeps for how long, and how many users it has forgotten, for those whose source the current user may SELECT from';
COMMENT ON COLUMN privacy_state.catalog IS 'Name of the catalog';
COMMENT ON COLUMN privacy_state.keep_events IS 'Age up to which events count; NULL: any';
COMMENT ON COLUMN privacy_state.keep_decisions IS 'Age up to which decisions and their feedback are kept; NULL: any';
COMMENT ON COLUMN privacy_state.events_since IS 'Events before this moment are not taken from the sources; NULL: all are';
COMMENT ON COLUMN privacy_state.forgotten_users IS 'Users taken out by forget_user';
GRANT SELECT ON privacy_state TO PUBLIC;

-- privacy.sql
--    Forgetting a user.

CREATE TABLE catalog_secret (
    catalog int PRIMARY KEY REFERENCES catalog ON DELETE CASCADE,
    secret bytea NOT NULL DEFAULT pg_catalog.sha256(pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
                                                    || pg_catalog.uuid_send(pg_catalog.gen_random_uuid()))
        CHECK (pg_catalog.octet_length(secret) = 32)
);
COMMENT ON TABLE catalog_secret IS 'The random key of each catalog''s keyed hashes of user ids, 244 random bits; whoever knows it can tell whether a mask is that of a given user';

CREATE TABLE forgotten_user (
    catalog int NOT NULL REFERENCES catalog ON DELETE CASCADE,
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

CREATE FUNCTION pseudonym(secret bytea, what text, value text)
RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_pseudonym';
COMMENT ON FUNCTION pseudonym(bytea, text, text) IS
'what || ''_'' || the first 16 hexadecimal digits of HMAC-SHA-256(secret, value); NULL if any argument is NULL';

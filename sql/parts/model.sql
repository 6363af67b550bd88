-- model.sql
--    Models: the tables that hold them, and the functions that load, list,
--    drop and use them.

CREATE SEQUENCE model_number AS int;
COMMENT ON SEQUENCE model_number IS 'Numbers of models, never reused';

CREATE TABLE stored_model (
    model int PRIMARY KEY DEFAULT nextval('@extschema@.model_number'),
    name text NOT NULL UNIQUE CHECK (name <> ''),
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    layout int NOT NULL,
    bytes bigint NOT NULL CHECK (bytes > 0),
    weights text NOT NULL DEFAULT 'f32' CHECK (weights IN ('f32', 'int8')),
    architecture text NOT NULL,
    tokenizer text NOT NULL,
    pooling text NOT NULL,
    normalize boolean NOT NULL,
    dimensions int NOT NULL CHECK (dimensions BETWEEN 1 AND 16000),
    max_tokens int NOT NULL,
    parameters bigint NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now(),
    loaded_by name NOT NULL
);
COMMENT ON TABLE stored_model IS 'One row per model; hash is the SHA-256 of its image of so many bytes, which stand in model_chunk; where its weights are int8, numbers of a byte with a scale for each row, a shorter form of it does';

CREATE TABLE model_chunk (
    model int NOT NULL,
    part int NOT NULL CHECK (part >= 0),
    data bytea NOT NULL,
    PRIMARY KEY (model, part)
);
ALTER TABLE model_chunk ALTER COLUMN data SET STORAGE EXTERNAL;
COMMENT ON TABLE model_chunk IS 'The image of each model (configuration, tokenizer, weights), or its short form, in parts of at most 4 MiB, in order';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.model_number', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.stored_model', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.model_chunk', '');
REVOKE ALL ON SEQUENCE model_number FROM PUBLIC;
REVOKE ALL ON TABLE stored_model, model_chunk FROM PUBLIC;

CREATE FUNCTION load_model(name text, directory text) RETURNS void
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_load_model';
COMMENT ON FUNCTION load_model(text, text) IS
'Reads a sentence-transformers or plain Hugging Face folder on the server (absolute path) and stores the model under a new name; needs the rights of pg_read_server_files; nothing is stored unless everything in the folder is right; does nothing and returns NULL if an argument is NULL';

CREATE TYPE model_file AS (path text, content bytea);
COMMENT ON TYPE model_file IS 'A file of a model''s folder, or a piece of one, as load_model takes it';
COMMENT ON COLUMN model_file.path IS 'Path inside the folder, such as config.json or 1_Pooling/config.json';
COMMENT ON COLUMN model_file.content IS 'What is in it';

CREATE FUNCTION load_model(name text, files model_file[]) RETURNS void
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_load_model_files';
COMMENT ON FUNCTION load_model(text, model_file[]) IS
'Stores a model under a new name from the files of its folder, as a client has them; elements of one path that follow each other are the pieces of one file, in that order; files that are not needed are ignored. For those to whom EXECUTE on it was granted, such as the members of pg_read_server_files; nothing is stored unless everything is right; does nothing and returns NULL if an argument is NULL';
REVOKE ALL ON FUNCTION load_model(text, model_file[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION load_model(text, model_file[]) TO pg_read_server_files;

CREATE FUNCTION load_model_add(internal, text, text, bytea) RETURNS internal
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_load_model_add';
COMMENT ON FUNCTION load_model_add(internal, text, text, bytea) IS 'Transition function of the aggregate load_model';

CREATE FUNCTION load_model_finish(internal) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_load_model_finish';
COMMENT ON FUNCTION load_model_finish(internal) IS 'Final function of the aggregate load_model';

CREATE AGGREGATE load_model(name text, path text, content bytea) (
    SFUNC = load_model_add,
    STYPE = internal,
    FINALFUNC = load_model_finish,
    FINALFUNC_MODIFY = READ_WRITE,
    PARALLEL = UNSAFE
);
COMMENT ON AGGREGATE load_model(text, text, bytea) IS
'The same from the rows of a query, whose files may together be larger than an array can be: load_model(''name'', path, content ORDER BY path, part). An error where there are no rows, or something in them is NULL';
REVOKE ALL ON FUNCTION load_model(text, text, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION load_model(text, text, bytea) TO pg_read_server_files;

CREATE FUNCTION drop_model(name text) RETURNS void
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_drop_model';
COMMENT ON FUNCTION drop_model(text) IS
'Removes a model that no catalog uses; needs the rights of the role that loaded it, or of pg_read_server_files; does nothing and returns NULL if name is NULL';

CREATE FUNCTION model_used_by(model int) RETURNS text[]
LANGUAGE C STRICT STABLE PARALLEL SAFE COST 1000
AS 'MODULE_PATHNAME', 'br_model_used_by';
COMMENT ON FUNCTION model_used_by(int) IS
'Names of the catalogs that use a model, given by its number, are moving to it, or hold embeddings of it, of those whose source the caller may SELECT from; NULL if the number is NULL';

CREATE FUNCTION model_info(name text DEFAULT NULL, OUT model text, OUT architecture text, OUT tokenizer text,
                           OUT pooling text, OUT "normalize" boolean, OUT dimensions int, OUT max_tokens int,
                           OUT parameters bigint, OUT bytes bigint, OUT weights text, OUT stored_bytes bigint, OUT hash text, OUT loaded_at timestamptz,
                           OUT loaded_by name, OUT used_by text[], OUT embedded jsonb, OUT backend text,
                           OUT instruction_set text, OUT precision_class text, OUT packed_file text, OUT packed_bytes bigint,
                           OUT weights_file text, OUT weights_bytes bigint, OUT bytes_by_precision jsonb,
                           OUT tokens bigint, OUT tokens_per_second double precision, OUT query_hits bigint, OUT query_misses bigint)
RETURNS record
LANGUAGE C STABLE PARALLEL RESTRICTED COST 1000
AS 'MODULE_PATHNAME', 'br_model_info';
COMMENT ON FUNCTION model_info(text) IS
'All that is known of one model: the columns of the view model; embedded: how many items it has embedded, by catalog, of those that the current user may read; the backend that computes it in this session, the instruction set and the precision; for members of pg_monitor or pg_read_server_files, the names of its packed file in the data directory and of the file of its weights as that backend has packed them (NULL where it takes those of the packed file), and their sizes, NULL while there are none; bytes_by_precision: what its packed weights take in each precision of that backend, 0 where they are those of the packed file, NULL while there is no packed file; and what this session did: tokens embedded, how many a second, and how many single texts were and were not found among the embeddings it keeps. name NULL: bundle_rec.default_model, or the only one there is';

CREATE FUNCTION tokenize(text text, model text DEFAULT NULL, parse_special boolean DEFAULT false)
RETURNS int[]
LANGUAGE C STABLE PARALLEL SAFE COST 1000
AS 'MODULE_PATHNAME', 'br_tokenize';
COMMENT ON FUNCTION tokenize(text, text, boolean) IS
'Token ids of a text, with the model''s special tokens, cut to its max_tokens; special tokens written inside the text are plain text unless parse_special; NULL if the text is NULL; model NULL: bundle_rec.default_model, or the only one there is';

CREATE FUNCTION embed(text text, model text DEFAULT NULL, parse_special boolean DEFAULT false)
RETURNS embedding
LANGUAGE C STABLE PARALLEL SAFE COST 100000
AS 'MODULE_PATHNAME', 'br_embed';
COMMENT ON FUNCTION embed(text, text, boolean) IS
'Embedding of a text, computed in 32 bits and rounded to 16; NULL if the text is NULL, while an empty text has the embedding that the model gives it; model NULL: bundle_rec.default_model, or the only one there is';

CREATE FUNCTION embed(texts text[], model text DEFAULT NULL, parse_special boolean DEFAULT false)
RETURNS embedding[]
LANGUAGE C STABLE PARALLEL SAFE COST 1000000
AS 'MODULE_PATHNAME', 'br_embed_array';
COMMENT ON FUNCTION embed(text[], text, boolean) IS
'Embeddings of the texts of an array, in its shape, faster than one by one; NULL for an element that is NULL, NULL if the array is NULL; model NULL: bundle_rec.default_model, or the only one there is';

CREATE FUNCTION backends(OUT name text, OUT available boolean, OUT in_use boolean,
                         OUT instruction_set text, OUT precisions text[], OUT reason text)
RETURNS SETOF record
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 3
AS 'MODULE_PATHNAME', 'br_backends';
COMMENT ON FUNCTION backends() IS
'The libraries that can compute embeddings: whether each can be loaded here, whether bundle_rec.backend makes this session use it, the instruction set it found, the precisions in which it computes on this processor, and the reason where it cannot be loaded (otherwise NULL)';

CREATE VIEW model AS
SELECT s.name, s.architecture, s.tokenizer, s.pooling, s.normalize, s.dimensions, s.max_tokens,
       s.parameters, s.bytes, s.weights,
       (SELECT sum(octet_length(c.data))::bigint FROM @extschema@.model_chunk c WHERE c.model = s.model) AS stored_bytes,
       pg_catalog.encode(s.hash, 'hex') AS hash, s.loaded_at, s.loaded_by,
       @extschema@.model_used_by(s.model) AS used_by
FROM @extschema@.stored_model s;
COMMENT ON VIEW model IS 'The models that are loaded; load_model and drop_model change them';
COMMENT ON COLUMN model.name IS 'What the model is called in calls of embed, tokenize and create_catalog';
COMMENT ON COLUMN model.architecture IS 'Kind of transformer';
COMMENT ON COLUMN model.tokenizer IS 'Kind of tokenizer';
COMMENT ON COLUMN model.pooling IS 'How the token vectors of a text become one: cls, mean, max, mean_sqrt_len_tokens, weightedmean or lasttoken';
COMMENT ON COLUMN model.normalize IS 'Whether embeddings have length 1';
COMMENT ON COLUMN model.dimensions IS 'Components of an embedding';
COMMENT ON COLUMN model.max_tokens IS 'Longest text in tokens, special tokens included; longer ones are cut';
COMMENT ON COLUMN model.parameters IS 'Number of weights';
COMMENT ON COLUMN model.bytes IS 'Size of the image, in bytes, as sessions map it';
COMMENT ON COLUMN model.weights IS 'What weights are in the tables: f32, or int8, numbers of a byte with a scale for each row';
COMMENT ON COLUMN model.stored_bytes IS 'What the image takes in the tables, and so in backups and on standbys, in bytes';
COMMENT ON COLUMN model.hash IS 'SHA-256 of the image, hexadecimal';
COMMENT ON COLUMN model.loaded_at IS 'Start of the transaction that loaded the model';
COMMENT ON COLUMN model.loaded_by IS 'Role that loaded the model';
COMMENT ON COLUMN model.used_by IS 'Names of the catalogs that use the model, are moving to it, or hold embeddings of it, of those whose source the reader may SELECT from';
GRANT SELECT ON model TO PUBLIC;

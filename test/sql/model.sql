\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- model.sql
--    Models: loading, listing, naming, using and dropping them.
--
SELECT plan(146);

SELECT :'golden_dir' || '/models/tiny-bert-cls' AS cls_dir,
       :'golden_dir' || '/models/tiny-bert-cased-max-dense' AS dense_dir \gset
SET client_min_messages = warning;
DROP ROLE IF EXISTS br_test_loader, br_test_nobody;
CREATE ROLE br_test_loader;
CREATE ROLE br_test_nobody;
GRANT pg_read_server_files TO br_test_loader;
GRANT USAGE ON SCHEMA public TO br_test_nobody;
RESET client_min_messages;

CREATE TEMP TABLE place AS SELECT :'cls_dir'::text AS cls, :'dense_dir'::text AS dense;
GRANT SELECT ON place TO PUBLIC;

-- without a model

SELECT is((SELECT count(*) FROM model), 0::bigint, 'no model at first');
SELECT throws_ok($$SELECT embed('a')$$, '42704', 'there is no model', 'embed without a model');
SELECT throws_ok($$SELECT tokenize('a', 'none')$$, '42704', 'model "none" does not exist', 'an unknown model');
SELECT throws_ok($$SELECT drop_model('none')$$, '42704', 'model "none" does not exist', 'dropping an unknown model');

-- loading

SELECT throws_ok($$SELECT load_model('', cls) FROM place$$, '22023', NULL, 'a model needs a name');
SELECT throws_ok($$SELECT load_model('a', 'models/a')$$, '42602', NULL, 'a relative path is refused');
SELECT throws_ok($$SELECT load_model('a', cls || '/nowhere') FROM place$$, '58P01', NULL, 'a folder that is not there');
SELECT throws_ok($$SELECT load_model('a', cls || '/config.json') FROM place$$, '42809', NULL, 'a file is no folder');
SELECT throws_ok($$SELECT load_model('a', cls || '/1_Pooling') FROM place$$, '58P01', NULL, 'a folder without weights');
SELECT is(load_model(NULL, '/')::text, NULL, 'load_model(NULL, ...) does nothing');
SELECT is(load_model('a', NULL)::text, NULL, 'load_model(..., NULL) does nothing');
SELECT is((SELECT count(*) FROM stored_model), 0::bigint, 'nothing was stored so far');

SET ROLE br_test_nobody;
SELECT throws_ok($$SELECT load_model('cls', cls) FROM place$$, '42501', 'permission denied to load models from the server''s files',
                 'loading takes the rights of pg_read_server_files');
RESET ROLE;
SET ROLE br_test_loader;
SELECT lives_ok($$SELECT load_model('cls', cls) FROM place$$, 'who has them may load');
RESET ROLE;

-- what the view says: expectations from the folder's own files

SELECT results_eq(
    $$SELECT architecture, tokenizer, pooling, normalize, loaded_by::text COLLATE "default", used_by FROM model WHERE name = 'cls'$$,
    $$VALUES ('bert'::text, 'wordpiece'::text, 'cls'::text, false, 'br_test_loader'::text, '{}'::text[])$$,
    'the view says what the model is');
SELECT is((SELECT dimensions FROM model), (pg_read_file(cls || '/config.json')::jsonb ->> 'hidden_size')::int,
          'dimensions as config.json says') FROM place;
SELECT is((SELECT max_tokens FROM model),
          (pg_read_file(cls || '/tokenizer_config.json')::jsonb ->> 'model_max_length')::int,
          'max_tokens as the folder says') FROM place;

-- a safetensors file: 8 bytes of length, little-endian, then a JSON header
CREATE FUNCTION pg_temp.weights(path text) RETURNS bigint
LANGUAGE sql BEGIN ATOMIC
    SELECT sum((SELECT coalesce(exp(sum(ln(d::numeric))), 1)
                FROM jsonb_array_elements_text(t.value -> 'shape') d))::numeric(20, 0)::bigint
    FROM jsonb_each((SELECT convert_from(pg_read_binary_file(path, 8,
                                get_byte(pg_read_binary_file(path, 0, 8), 0)
                                + get_byte(pg_read_binary_file(path, 0, 8), 1) * 256
                                + get_byte(pg_read_binary_file(path, 0, 8), 2) * 65536), 'UTF8')::jsonb)) t
    WHERE t.key <> '__metadata__' AND t.key !~ '(^|\.)pooler\.|position_ids';
END;
SELECT is((SELECT parameters FROM model), pg_temp.weights(cls || '/model.safetensors'),
          'parameters as the file of weights has, without the pooler that is not used') FROM place;
SELECT is((SELECT hash FROM model), (SELECT encode(sha256(string_agg(data, '' ORDER BY part)), 'hex') FROM model_chunk),
          'hash is the SHA-256 of the stored parts');
SELECT results_eq('SELECT bytes, stored_bytes, weights FROM model', $$SELECT sum(octet_length(data))::bigint, sum(octet_length(data))::bigint, 'f32' FROM model_chunk$$,
          'bytes is their size');

SELECT throws_ok($$SELECT load_model('cls', cls) FROM place$$, '42710', 'model "cls" already exists',
                 'a name can be taken once');

-- everybody may use models, see the view, and nothing else

SET ROLE br_test_nobody;
SELECT is((SELECT array_agg(name) FROM model), '{cls}', 'everybody sees the view');
SELECT is(dims(embed('a')), 32, 'everybody may embed');
SELECT throws_ok($$SELECT FROM stored_model$$, '42501', NULL, 'the tables are private');
SELECT throws_ok($$SELECT FROM model_chunk$$, '42501', NULL, 'the weights too');
SELECT throws_ok($$SELECT drop_model('cls')$$, '42501', 'permission denied to drop model "cls"', 'and not everybody may drop');
RESET ROLE;

-- loading from a client: the same files as contents

CREATE TABLE upload (path text, part int, content bytea);
GRANT SELECT ON upload TO PUBLIC;
WITH RECURSIVE entry AS (
    SELECT name, cls || '/' || name AS at, (pg_stat_file(cls || '/' || name)).isdir FROM place, pg_ls_dir(cls) name
    UNION ALL
    SELECT e.name || '/' || n, e.at || '/' || n, (pg_stat_file(e.at || '/' || n)).isdir
    FROM entry e, LATERAL pg_ls_dir(e.at) n WHERE e.isdir)
INSERT INTO upload SELECT name, 1, pg_read_binary_file(at) FROM entry WHERE NOT isdir;

SET client_min_messages = warning;
SELECT lives_ok($$SELECT load_model('given', array_agg((path, content)::model_file)) FROM upload$$, 'a model is loaded from its files');
SELECT is((SELECT hash FROM model WHERE name = 'given'), (SELECT hash FROM model WHERE name = 'cls'), 'it is the same as from the folder');
SELECT is(embed('shirt', 'given'), embed('shirt', 'cls'), 'and embeds the same');
SELECT drop_model('given') \g /dev/null
-- no file is longer than 100 bytes in one piece, and paths are as find writes them
CREATE TABLE piece AS
SELECT './' || path AS path, p AS part, substr(content, 1 + 100 * p, 100) AS content
FROM upload, generate_series(0, octet_length(content) / 100) p;
GRANT SELECT ON piece TO PUBLIC;
SELECT cmp_ok((SELECT count(*) FROM piece), '>', 100::bigint, 'many pieces');
SELECT lives_ok($$SELECT load_model('given', array_agg((path, content)::model_file ORDER BY path, part)) FROM piece$$, 'pieces are put together');
SELECT is((SELECT hash FROM model WHERE name = 'given'), (SELECT hash FROM model WHERE name = 'cls'), 'in their order');
SELECT drop_model('given') \g /dev/null
SELECT throws_like($$SELECT load_model('given', array_agg((path, content)::model_file ORDER BY part, path)) FROM piece$$,
                   'the pieces of file "%" do not follow each other', 'not in another order');
-- rows of a query
SELECT lives_ok($$SELECT load_model('given', path, content ORDER BY path, part) FROM piece$$, 'rows are gathered without an array');
SELECT is((SELECT hash FROM model WHERE name = 'given'), (SELECT hash FROM model WHERE name = 'cls'), 'to the same model');
SELECT drop_model('given') \g /dev/null
SELECT lives_ok($$SELECT load_model(n, path, content) FROM upload, unnest('{given,given too}'::text[]) n GROUP BY n$$, 'several models at once');
SELECT is((SELECT count(DISTINCT hash) FROM model), 1::bigint, 'each from its rows');
SELECT drop_model('given'), drop_model('given too') \g /dev/null
SELECT throws_ok($$SELECT load_model(n, path, content) FROM upload, unnest('{given,given too}'::text[]) n$$, '22023', NULL, 'but not mixed');
SELECT throws_ok($$SELECT load_model('given', path, content ORDER BY part, path) FROM piece$$, '22023', NULL, 'pieces in another order are refused here too');
SELECT throws_ok($$SELECT load_model('given', path, content) FROM upload WHERE false$$, '58P01', 'there are no files of a model', 'no rows, no model');
SELECT throws_ok($$SELECT load_model('given', path, NULL) FROM upload$$, '22004', 'the content of a file of a model must not be NULL', 'nor from NULL');
SELECT throws_ok($$SELECT load_model('given', path, content) OVER () FROM upload$$, '0A000', NULL, 'a window loads nothing');
-- psql reads the client's files
\set config `base64 -w0 "$BR_GOLDEN_DIR/models/tiny-bert-cls/config.json"`
\lo_import :golden_dir/models/tiny-bert-cls/model.safetensors
SELECT lives_ok(format($$SELECT load_model('given', array_agg((path, CASE path WHEN 'config.json' THEN decode(%L, 'base64')
                                WHEN 'model.safetensors' THEN lo_get(%s) ELSE content END)::model_file)) FROM upload$$, :'config', :LASTOID),
                'a client''s own files serve');
SELECT is((SELECT hash FROM model WHERE name = 'given'), (SELECT hash FROM model WHERE name = 'cls'), 'the same again');
SELECT drop_model('given'), lo_unlink(:LASTOID) \g /dev/null

SELECT throws_ok($$SELECT load_model('given', ARRAY[NULL]::model_file[])$$, '22004', 'element 1 of "files" is NULL', 'an element is not NULL');
SELECT throws_ok($$SELECT load_model('given', ARRAY[('a', ''), (NULL, '')]::model_file[])$$, '22004', 'the path of element 2 of "files" is NULL', 'nor a path');
SELECT throws_ok($$SELECT load_model('given', ARRAY[('a', NULL)]::model_file[])$$, '22004', 'the content of element 1 of "files" is NULL', 'nor a content');
SELECT throws_ok(format($$SELECT load_model('given', ARRAY[(%L, '')]::model_file[])$$, path), '42602',
                 format('"%s" is not a path inside a model''s folder', path), 'refused as a path: ' || path)
FROM unnest('{"",/etc/passwd,../config.json,1_Pooling/../../config.json,1_Pooling/..}'::text[]) path;
SELECT throws_ok($$SELECT load_model('given', '{}'::model_file[])$$, '58P01', 'the files given lack "config.json"', 'no files, no model');
SELECT throws_ok($$SELECT load_model('given', array_agg((path, content)::model_file)) FROM upload WHERE path <> 'model.safetensors'$$,
                 '58P01', 'the files given lack "model.safetensors"', 'nor without weights');
SELECT throws_ok($$SELECT load_model('given', array_agg((path, substr(content, 1, 10000))::model_file)) FROM upload$$,
                 '22P03', 'could not load a model from the files given', 'a file that was cut off');
SELECT throws_ok($$SELECT load_model('given', array_agg((path, CASE path WHEN 'modules.json' THEN '[' ELSE content END)::model_file)) FROM upload$$,
                 '22P03', 'could not load a model from the files given', 'modules.json that is no JSON');
SELECT throws_ok($$SELECT load_model('cls', array_agg((path, content)::model_file)) FROM upload$$, '42710', NULL, 'a name that is taken');
SELECT is((SELECT load_model('given', NULL::model_file[]))::text, NULL, 'NULL does nothing');
SELECT is((SELECT count(*) FROM stored_model), 1::bigint, 'nothing was stored of what was wrong');
RESET client_min_messages;

SET ROLE br_test_nobody;
SELECT throws_ok($$SELECT load_model('given', array_agg((path, content)::model_file)) FROM upload$$, '42501', NULL, 'not everybody may load');
SELECT throws_ok($$SELECT load_model('given', path, content) FROM upload$$, '42501', NULL, 'in either way');
RESET ROLE;
GRANT EXECUTE ON FUNCTION load_model(text, model_file[]) TO br_test_nobody;
SET client_min_messages = warning;
SET ROLE br_test_nobody;
SELECT lives_ok($$SELECT load_model('given', array_agg((path, content)::model_file)) FROM upload$$, 'who was granted it may');
SELECT lives_ok($$SELECT drop_model('given')$$, 'and may drop what he loaded');
SELECT throws_ok($$SELECT load_model('given', cls) FROM place$$, '42501', NULL, 'but not read the server''s files');
SELECT throws_ok($$SELECT drop_model('cls')$$, '42501', NULL, 'nor drop what another loaded');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION load_model(text, model_file[]) FROM br_test_nobody;
RESET client_min_messages;

-- which model a call means

SELECT is(embed('shirt'), embed('shirt', 'cls'), 'the only model needs no name');
SELECT is(embed('shirt', ''), embed('shirt', 'cls'), 'an empty name is no name');
SELECT lives_ok($$SELECT load_model('dense', dense) FROM place$$, 'a second model');
SELECT results_eq($$SELECT pooling, normalize FROM model WHERE name = 'dense'$$, $$VALUES ('max'::text, true)$$,
              'the view tells them apart');
SELECT throws_ok($$SELECT embed('shirt')$$, '42704', 'there are several models and none is named',
                 'of several models one must be named');
SET bundle_rec.default_model = 'dense';
SELECT is(embed('shirt'), embed('shirt', 'dense'), 'the default is taken where none is named');
SELECT isnt(embed('shirt', 'cls'), embed('shirt', 'dense'), 'two models, two embeddings');
SET bundle_rec.default_model = 'gone';
SELECT throws_ok($$SELECT embed('shirt')$$, '42704', 'model "gone" does not exist', 'a default that does not exist');
SET bundle_rec.default_model = 'cls';

-- NULL, empty, arrays, types

SELECT is(embed(NULL::text), NULL, 'NULL has no embedding');
SELECT is(tokenize(NULL), NULL, 'NULL has no tokens');
SELECT is(embed(NULL::text[]), NULL, 'a NULL array has no embeddings');
SELECT is(pg_typeof(embed('a'))::text, 'embedding', 'a literal is a text');
SELECT is(pg_typeof(embed(ARRAY['a']))::text, 'embedding[]', 'an array is an array');
SELECT is(tokenize('')::text, '{2,3}', 'an empty text is its special tokens');
SELECT is(dims(embed('')), 32, 'an empty text has an embedding');
SELECT is(embed('{}'::text[])::text, '{}', 'an empty array gives an empty array');
SELECT is((SELECT array_agg(e IS NULL ORDER BY n) FROM unnest(embed(ARRAY['a', NULL, 'b', NULL])) WITH ORDINALITY u (e, n)),
          '{f,t,f,t}'::boolean[], 'a NULL element stays NULL');
SELECT is((embed(ARRAY[NULL, NULL]::text[])) :: text, '{NULL,NULL}', 'nothing but NULL');
SELECT is(array_dims(embed('[2:3][0:1]={{a,b},{c,d}}'::text[])), '[2:3][0:1]', 'an array keeps its shape');
SELECT is((embed('[2:3][0:1]={{a,b},{c,d}}'::text[]))[3][0], (embed(ARRAY['a', 'b', 'c', 'd']))[3], 'and its order');
-- packed with others a text's sums may differ in their last bits
SELECT is((SELECT count(*) FROM (SELECT 'text ' || i % 7 AS content, i FROM generate_series(1, 1300) i) t
           JOIN unnest(embed(ARRAY(SELECT 'text ' || i % 7 FROM generate_series(1, 1300) i)))
                WITH ORDINALITY u (e, i) USING (i)
           JOIN (SELECT 'text ' || i AS content, embed('text ' || i) AS alone FROM generate_series(0, 6) i) a USING (content)
           WHERE e <-> alone < 0.01),
          1300::bigint, 'an array longer than what is computed at once');

-- parallel workers

CREATE TABLE title AS SELECT i, 'title number ' || i AS title FROM generate_series(1, 2000) i;
ANALYZE title;
CREATE FUNCTION pg_temp.has_gather(query text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        IF line LIKE '%Gather%' THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN false;
END $$;
CREATE TEMP TABLE serial AS SELECT i, embed(title) AS e FROM title;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
SELECT ok(pg_temp.has_gather('SELECT i, embed(title) FROM title'), 'embed is planned in parallel');
CREATE TEMP TABLE in_parallel AS SELECT i, embed(title) AS e FROM title;
SELECT set_eq('SELECT i, e FROM in_parallel', 'SELECT i, e FROM serial', 'parallel workers embed the same');
RESET ALL;
SET search_path = bundle_rec, public;

-- backends

SELECT results_eq($$SELECT available, in_use, reason FROM backends() WHERE name = 'portable'$$,
              $$VALUES (true, false, NULL::text)$$, 'the portable backend is always there');
SELECT is((SELECT count(*) FROM backends() WHERE in_use), 1::bigint, 'one backend is in use');
SET bundle_rec.backend = portable;
SELECT is((SELECT name FROM backends() WHERE in_use), 'portable', 'the setting chooses it');
SELECT is((SELECT precisions FROM backends() WHERE name = 'portable'), '{f32}', 'it computes in 32 bits');
SELECT is_empty($$SELECT FROM backends() WHERE available <> (reason IS NULL) OR available <> (instruction_set IS NOT NULL)
                  OR available <> ('f32' = ANY (precisions)) IS TRUE$$, 'what is available says how it computes, what is not says why');

-- precision

SELECT lives_ok('SET bundle_rec.precision = int8', 'a precision may be asked for where it is not to be had');
SELECT throws_ok($$SELECT embed('a', 'cls')$$, '0A000', 'the backend "portable" does not compute in int8 here', 'using it is an error');
SELECT throws_ok($$SELECT embed('{a}'::text[], 'cls')$$, '0A000', 'the backend "portable" does not compute in int8 here', 'for arrays too');
SELECT is((SELECT precision_class FROM model_info('cls')), NULL, 'model_info goes on');
SELECT throws_ok('SET bundle_rec.precision = fp16', '22023', NULL, 'others do not exist');
SET bundle_rec.precision = f32;
SELECT is((SELECT precision_class FROM model_info('cls')), 'f32', 'f32 is everywhere');
RESET bundle_rec.precision;
SELECT is((SELECT precision_class FROM model_info('cls')), 'f32', 'and what auto takes where there is no bf16');
RESET bundle_rec.backend;

-- all about one model

SELECT results_eq($$SELECT model, architecture, tokenizer, pooling, normalize, dimensions, max_tokens, parameters, bytes, weights, stored_bytes, hash, loaded_at,
                    loaded_by, used_by FROM model_info('dense')$$, $$SELECT * FROM model WHERE name = 'dense'$$, 'model_info says what the view says');
SELECT results_eq($$SELECT backend, instruction_set FROM model_info('dense')$$, $$SELECT name, instruction_set FROM backends() WHERE in_use$$,
                  'and what computes it here');
SET bundle_rec.backend = portable;
SELECT is((SELECT backend FROM model_info('dense')), 'portable', 'as the setting says');
RESET bundle_rec.backend;
SELECT throws_ok($$SELECT model_info()$$, '42704', NULL, 'of several models one must be named here too');
SET bundle_rec.default_model = 'cls';
SELECT is((SELECT model FROM model_info()), 'cls', 'without a name, of the default model');
RESET bundle_rec.default_model;
SELECT throws_ok($$SELECT model_info('none')$$, '42704', 'model "none" does not exist', 'not of one that is not there');
SELECT results_eq($$SELECT packed_bytes FROM model_info('cls')$$,
                  $$SELECT (pg_stat_file(packed_file)).size FROM model_info('cls')$$, 'its packed file has the size that is said');
SELECT is((SELECT pg_read_binary_file(packed_file, packed_bytes - bytes, bytes) FROM model_info('cls')),
          (SELECT string_agg(data, '' ORDER BY part) FROM model_chunk JOIN stored_model USING (model) WHERE name = 'cls'), 'and ends with the image');
SET ROLE br_test_nobody;
SELECT results_eq($$SELECT dimensions, packed_file, packed_bytes FROM model_info('cls')$$, $$VALUES (32, NULL::text, NULL::bigint)$$,
                  'not everybody is told of files');
RESET ROLE;
CREATE TABLE thing AS SELECT i, 'thing ' || i AS title FROM generate_series(1, 7) i;
CREATE TABLE secret AS SELECT i, 'secret ' || i AS title FROM generate_series(1, 3) i;
GRANT SELECT ON thing TO br_test_nobody;
SET client_min_messages = warning;
SELECT create_catalog('things', 'thing', 'i', text => '{title}', model => 'cls'), create_catalog('secrets', 'secret', 'i', text => '{title}', model => 'cls') \g /dev/null
SELECT refresh('things'), refresh('secrets') \g /dev/null
SELECT is((SELECT embedded FROM model_info('cls')), '{"things": 7, "secrets": 3}', 'what it has embedded');
SELECT is((SELECT embedded FROM model_info('dense')), NULL, 'another has embedded nothing');
SELECT query_hits AS hits, query_misses AS misses FROM model_info('cls') \gset
SELECT similar_items('things', query => 'the third thing'), similar_items('secrets', query => 'the third thing') \g /dev/null
SELECT results_eq(format($$SELECT query_hits - %s, query_misses - %s FROM model_info('cls')$$, :hits, :misses), 'VALUES (1::bigint, 1::bigint)',
                  'a query is embedded once, whatever catalog it is asked of');
SET ROLE br_test_nobody;
SELECT is((SELECT embedded FROM model_info('cls')), '{"things": 7}', 'is told to who may read it');
RESET ROLE;
SELECT drop_catalog('things'), drop_catalog('secrets') \g /dev/null
DROP TABLE thing, secret;
RESET client_min_messages;

-- what a session did with a model, and the embeddings of single texts that it keeps

CREATE FUNCTION pg_temp.done(OUT hits bigint, OUT misses bigint, OUT tokens bigint)
LANGUAGE sql AS $$SELECT query_hits, query_misses, tokens FROM bundle_rec.model_info('cls')$$;
-- what a statement adds to these, in this order
CREATE FUNCTION pg_temp.adds(statement text) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    before record := pg_temp.done();
    after record;
BEGIN
    EXECUTE statement;
    after := pg_temp.done();
    RETURN ARRAY[after.hits - before.hits, after.misses - before.misses, after.tokens - before.tokens];
END $$;
CREATE FUNCTION pg_temp.kept_bytes() RETURNS bigint
LANGUAGE sql AS $$SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts WHERE name = 'bundle_rec query cache'$$;

SET bundle_rec.query_cache = '64kB';
SELECT is(pg_temp.adds($$SELECT embed('asked twice', 'cls')$$), ARRAY[0, 1, cardinality(tokenize('asked twice', 'cls'))]::bigint[], 'a text that is new is embedded');
SELECT is(pg_temp.adds($$SELECT embed('asked twice', 'cls')$$), '{1,0,0}', 'once');
SELECT is(embed('asked twice', 'cls'), (embed('{asked twice}'::text[], 'cls'))[1], 'what is kept is what would be computed');
SELECT is(pg_temp.adds($$SELECT embed('asked  twice', 'cls')$$), ARRAY[0, 1, cardinality(tokenize('asked  twice', 'cls'))]::bigint[], 'of this text only');
SELECT is((pg_temp.adds($$SELECT embed('asked twice', 'cls', true)$$))[1:2], '{0,1}', 'with parse_special it is another');
SELECT is((pg_temp.adds($$SELECT embed('asked twice', 'cls', true)$$))[1:2], '{1,0}', 'which is kept too');
SET bundle_rec.backend = portable;
SELECT is((pg_temp.adds($$SELECT embed('asked twice', 'cls')$$))[1:2], '{0,1}', 'another backend computes it itself');
RESET bundle_rec.backend;
SELECT is((pg_temp.adds($$SELECT embed('asked twice', 'dense')$$))[1:2], '{0,0}', 'another model counts by itself');
SELECT isnt(dims(embed('asked twice', 'dense')), dims(embed('asked twice', 'cls')), 'and gives its own');
SELECT is(pg_temp.adds($$SELECT embed('{asked twice,asked twice,and more}'::text[], 'cls')$$),
          ARRAY[0, 0, 2 * cardinality(tokenize('asked twice', 'cls')) + cardinality(tokenize('and more', 'cls'))]::bigint[],
          'arrays are computed, and all their tokens counted');
SELECT cmp_ok((SELECT tokens_per_second FROM model_info('cls')), '>', 0::float8, 'as many a second');

-- 3,000 texts go through room for some 250; one of them is asked for again and again
SELECT embed('often', 'cls') \g /dev/null
SELECT is((pg_temp.adds($$SELECT count(embed(t, 'cls')) FROM generate_series(1, 3000) i, LATERAL unnest(ARRAY['text ' || i, 'often']) t$$))[1:2],
          '{3000,3000}', 'what is used again stays, however many come');
SELECT cmp_ok(pg_temp.kept_bytes(), '<=', 65536::bigint, 'in the memory that the setting gives');
SELECT is((pg_temp.adds($$SELECT count(embed('text ' || i, 'cls')) FROM generate_series(2901, 3000) i$$))[1:2], '{100,0}', 'the last are kept');
SELECT is((pg_temp.adds($$SELECT count(embed('text ' || i, 'cls')) FROM generate_series(1, 100) i$$))[1:2], '{0,100}', 'the first have left');
SELECT embed(repeat('long ', i), 'cls') FROM generate_series(1, 2500, 10) i \g /dev/null
SELECT cmp_ok(pg_temp.kept_bytes(), '<=', 65536::bigint, 'texts of any length stay within it');
SELECT is((pg_temp.adds($$SELECT embed(repeat('long ', 3000), 'cls'), embed(repeat('long ', 3000), 'cls')$$))[1:2], '{0,2}', 'one that would push out too many is not kept');
SET bundle_rec.query_cache = '2MB';
SELECT is((pg_temp.adds($$SELECT count(embed('text ' || i, 'cls')) FROM generate_series(1, 3000) i, generate_series(1, 2)$$))[1:2], '{3000,3000}', 'a larger cache begins anew and keeps more');
SELECT cmp_ok(pg_temp.kept_bytes(), '>', 65536::bigint, 'which takes memory');
SET bundle_rec.query_cache = 0;
SELECT is((pg_temp.adds($$SELECT embed('text 1', 'cls'), embed('text 1', 'cls')$$))[1:2], '{0,2}', 'none is kept where the setting says so');
SELECT is(pg_temp.kept_bytes(), NULL, 'nor any memory');
RESET bundle_rec.query_cache;

-- dropping, and a name that comes to mean another model

PREPARE shirt AS SELECT embed('shirt', 'dense');
CREATE TEMP TABLE before AS EXECUTE shirt;
BEGIN;
SELECT drop_model('dense') \g /dev/null
SELECT throws_ok('EXECUTE shirt', '42704', NULL, 'what is dropped is gone in its own transaction');
ROLLBACK;
CREATE TEMP TABLE rolled_back AS EXECUTE shirt;
SELECT is((SELECT embed FROM rolled_back), (SELECT embed FROM before), 'and back after a rollback');
BEGIN;
SELECT drop_model('dense'), load_model('dense', cls) FROM place \g /dev/null
COMMIT;
CREATE TEMP TABLE replaced AS EXECUTE shirt;
SELECT is((SELECT embed FROM replaced), embed('shirt', 'cls'), 'a name means what it now stands for, in plans made before too');

SELECT create_catalog('shop', 'title', 'i', text => '{title}', model => 'cls'),
       create_catalog('other', 'title', 'i'), create_catalog('third', 'title', 'i') \g /dev/null
-- as if another model had served it before
INSERT INTO item (catalog, item, item_id, model)
SELECT c.catalog, 1, '1', s.model FROM catalog c, stored_model s WHERE c.name = 'other' AND s.name = 'cls';
SELECT results_eq('SELECT name, used_by FROM model ORDER BY name',
                  $$VALUES ('cls', '{other,shop}'::text[]), ('dense', '{}')$$, 'the view says which catalogs use a model');
SELECT throws_ok($$SELECT drop_model('cls')$$, '2BP01', 'model "cls" is in use', 'a model in use is not dropped');
SELECT is(model_used_by(NULL), NULL, 'no number, no users');
DELETE FROM ONLY item;
SELECT drop_catalog('shop') \g /dev/null
SET ROLE br_test_loader;
SELECT lives_ok($$SELECT drop_model('cls'), drop_model('dense')$$, 'who may load may drop');
RESET ROLE;
SELECT is(drop_model(NULL)::text, NULL, 'drop_model(NULL) does nothing');
SELECT is((SELECT count(*) FROM stored_model) + (SELECT count(*) FROM model_chunk), 0::bigint, 'nothing is left of a dropped model');

-- all or nothing

BEGIN READ ONLY;
SELECT throws_ok($$SELECT load_model('a', cls) FROM place$$, '25006', NULL, 'nothing is loaded in a read-only transaction');
ROLLBACK;
BEGIN;
SELECT load_model('gone', cls) FROM place \g /dev/null
SELECT is(dims(embed('a', 'gone')), 32, 'a model can be used where it was loaded');
ROLLBACK;
SELECT is((SELECT count(*) FROM stored_model) + (SELECT count(*) FROM model_chunk), 0::bigint, 'a rollback leaves nothing of it');

SELECT * FROM finish();
DROP OWNED BY br_test_loader, br_test_nobody;
DROP ROLE br_test_loader, br_test_nobody;

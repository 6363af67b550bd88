\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- service.sql
--    The embedding service where the library is not preloaded: it is not there, and
--    nobody misses it. What it does where it is stands in test/t/080_service.pl.
--
SELECT plan(14);
SET client_min_messages = warning;
SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls') \g /dev/null

---- the view ----

SELECT is_empty('SELECT * FROM gpu', 'the view is empty');
SELECT is_empty('SELECT * FROM service_state()', 'and so is what it shows');
SELECT is((SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'gpu'::regclass AND attnum > 0),
    'state text, compute text, instructions text, precision text, memory bigint, memory_free bigint, models integer, model_bytes bigint, evicted bigint, '
    'worker_pid integer, helper_pid integer, started_at timestamp with time zone, batches bigint, texts bigint, tokens bigint, tokens_per_second double precision, '
    'waiting integer, queue_wait_p50 double precision, queue_wait_p99 double precision, fallbacks bigint, restarts bigint, last_error text, '
    'last_error_at timestamp with time zone', 'it has these columns');

---- settings ----

SELECT results_eq($$SELECT name, setting, unit, vartype, min_val, max_val FROM pg_settings WHERE name ~ '^bundle_rec\.(embedding_)?service' ORDER BY name$$,
    $$VALUES ('bundle_rec.embedding_service', 'off', NULL, 'enum', NULL, NULL), ('bundle_rec.service_build_work', '100', NULL, 'integer', '-1', '2147483647'), ('bundle_rec.service_device', 'cuda', NULL, 'string', NULL, NULL),
             ('bundle_rec.service_linger', '200', NULL, 'integer', '0', '1000000'), ('bundle_rec.service_memory', '0', 'MB', 'integer', '0', '1048576'),
             ('bundle_rec.service_slots', '64', NULL, 'integer', '8', '1024'), ('bundle_rec.service_timeout', '10000', 'ms', 'integer', '1', '2147483647')$$,
    'its settings have these values and ranges');
SELECT results_eq($$SELECT name, context FROM pg_settings WHERE name ~ '^bundle_rec\.(embedding_)?service' AND context <> 'sighup'$$,
    $$VALUES ('bundle_rec.service_build_work', 'user'), ('bundle_rec.service_timeout', 'user')$$, 'sessions may change how long they wait, and what their builds do');
SELECT is((SELECT enumvals FROM pg_settings WHERE name = 'bundle_rec.embedding_service'), '{off,cpu,gpu,auto}', 'it is on the CPU, on a device, or neither');
SELECT throws_ok($$SET bundle_rec.embedding_service = 'cpu'$$, '55P02', 'parameter "bundle_rec.embedding_service" cannot be changed now', 'not for a session alone');
SELECT lives_ok($$SET bundle_rec.service_timeout = '2s'$$, 'a time has units');
SELECT is(current_setting('bundle_rec.service_timeout'), '2s', 'and keeps them');
RESET bundle_rec.service_timeout;

---- sessions compute ----

SET bundle_rec.query_cache = 0;
SELECT is(embed('a red shirt')::text, (embed(ARRAY['a red shirt', 'a cup']))[1]::text, 'sessions embed');
SELECT is((SELECT tokens FROM model_info('tiny')), (2 * array_length(tokenize('a red shirt'), 1) + array_length(tokenize('a cup'), 1))::bigint,
    'and count what they embed');
SELECT is((SELECT count(*) FROM unnest(embed(array_agg_texts)) e WHERE e IS NOT NULL), 1000::bigint, 'in arrays as well')
FROM (SELECT array_agg('text ' || i) AS array_agg_texts FROM generate_series(1, 1000) i) t;
CREATE TABLE product (sku text PRIMARY KEY, title text);
INSERT INTO product SELECT 'p' || i, 'product ' || i FROM generate_series(1, 20) i;
SELECT create_catalog('shop', 'product', item_id => 'sku', text => '{title}', model => 'tiny') \g /dev/null
SET bundle_rec.backend = portable;
SET bundle_rec.precision = f32;
SELECT refresh('shop') \g /dev/null
SELECT results_eq('SELECT precision_class, count(*) FROM item GROUP BY 1', $$VALUES ('f32', 20::bigint)$$, 'refresh notes in which precision');
RESET bundle_rec.backend;
RESET bundle_rec.precision;
INSERT INTO product SELECT 'p' || i, 'product ' || i FROM generate_series(15, 30) i ON CONFLICT DO NOTHING;
INSERT INTO product VALUES ('again', 'product 1');
SELECT refresh('shop') \g /dev/null
SELECT is((SELECT string_agg(DISTINCT i.precision_class, ' ') FROM item i WHERE item_id IN ('p1', 'again')), 'f32', 'an item whose text was known has the precision of that');

SELECT * FROM finish();

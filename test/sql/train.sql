\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- train.sql
--    The doors of training: arguments, rights, what is wrong with a query, the
--    views. What would start a worker is rolled back, rows of figures are written by
--    hand; what workers do is in test/t/027_train.pl.
--
SELECT plan(84);
SET client_min_messages = error;
SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls') \g /dev/null
CREATE ROLE br_test_keeper;
CREATE ROLE br_test_stranger;
CREATE SCHEMA shop AUTHORIZATION br_test_keeper;
SET ROLE br_test_keeper;
CREATE TABLE shop.product (sku text PRIMARY KEY, title text);
INSERT INTO shop.product VALUES ('p1', 'a tent'), ('p2', 'a lamp');
SELECT create_catalog('shop', 'shop.product', item_id => 'sku', text => '{title}', model => 'tiny') \g /dev/null
SELECT create_catalog('bare', 'shop.product', item_id => 'sku') \g /dev/null
GRANT SELECT ON shop.product TO br_test_stranger;
RESET ROLE;
SELECT catalog AS n FROM catalog WHERE name = 'shop' \gset

---- arguments ----

SELECT throws_ok($$SELECT train(NULL)$$, '22004', 'argument "catalog" must not be NULL', 'a training needs a catalog');
SELECT throws_ok($$SELECT train('shop', NULL)$$, '22004', 'argument "objective" must not be NULL', 'an objective');
SELECT throws_ok($$SELECT train('shop', method => NULL)$$, '22004', 'argument "method" must not be NULL', 'a method');
SELECT throws_ok($$SELECT train('shop', promote => NULL)$$, '22004', 'argument "promote" must not be NULL', 'and a word on what follows');
SELECT throws_ok($$SELECT train('none')$$, '42704', 'there is no catalog "none"', 'the catalog must be there');
SELECT throws_ok($$SELECT train('bare')$$, '55000', 'catalog "bare" has no model to train', 'and have a model');
SELECT throws_ok($$SELECT train('shop', 'wishful')$$, '22023', 'there is no objective "wishful"', 'an objective that is none');
SELECT throws_ok($$SELECT train('shop', method => 'magic')$$, '22023', 'there is no method "magic"', 'a method that is none');
SELECT throws_ok($$SELECT train('shop', 'sets', query => 'SELECT 1::text AS text')$$, '42703', NULL, 'members without a set');
SELECT throws_ok($$SELECT train('shop', method => 'adalora', parameters => '{"adalora_rank": 4, "adalora_target_rank": 5}')$$, '22023', 'these parameters do not go together', 'ranks that grow');
SELECT throws_ok($$SELECT train('shop', model_name => 'tiny')$$, '42710', NULL, 'a name that is taken');
SELECT throws_ok($$SELECT train('shop', 'score')$$, '22023', 'the objective "score" needs a query', 'what a catalog does not know');
SELECT throws_ok($$SELECT train('shop', 'distillation')$$, '22023', 'the objective "distillation" needs the parameter "teacher"', 'a pupil without a teacher');
SELECT throws_ok($$SELECT train('shop', 'distillation', parameters => '{"teacher": "nobody"}')$$, '42704', NULL, 'a teacher that is none');
SELECT throws_ok($$SELECT train('shop', parameters => '{"teacher": "tiny"}')$$, '22023', 'the objective "sets" has no teacher', 'a teacher that is not asked');
BEGIN READ ONLY;
SELECT throws_ok($$SELECT train('shop')$$, '25006', 'cannot execute train() in a read-only transaction', 'it writes');
COMMIT;

---- parameters ----

SELECT throws_ok(format('SELECT train(''shop'', parameters => %L)', p), '22023', m, 'parameters: ' || p)
FROM (VALUES ('[]', '"parameters" is not a JSON object'),
             ('{"spead": 1}', 'train() takes no parameter "spead"'),
             ('{"epochs": 0}', 'parameter "epochs" is out of range: 0'),
             ('{"epochs": 1.5}', 'parameter "epochs" is out of range: 1.5'),
             ('{"epochs": "many"}', 'parameter "epochs" is not a number'),
             ('{"epochs": null}', 'parameter "epochs" is not a number'),
             ('{"rate": 0}', 'parameter "rate" is out of range: 0'),
             ('{"rate": -1e-5}', 'parameter "rate" is out of range: -1e-05'),
             ('{"rate": 1e400}', 'parameter "rate" is out of range: Infinity'),
             ('{"temperature": 0}', 'parameter "temperature" is out of range: 0'),
             ('{"dropout": 1}', 'parameter "dropout" is out of range: 1'),
             ('{"seed": -1}', 'parameter "seed" is out of range: -1'),
             ('{"batch": 5000000000}', 'parameter "batch" is out of range: 5e+09'),
             ('{"both_directions": 1}', 'parameter "both_directions" is not true or false'),
             ('{"optimiser": "newton"}', 'parameter "optimiser" is none of its words'),
             ('{"schedule": 3}', 'parameter "schedule" is none of its words'),
             ('{"matryoshka": 64}', 'parameter "matryoshka" is not a list'),
             ('{"matryoshka": [1,2,3,4,5,6,7,8,9]}', 'parameter "matryoshka" has too many numbers'),
             ('{"matryoshka": ["a"]}', 'parameter "matryoshka" is not a number'),
             ('{"lora_matrices": ["query", "soul"]}', 'parameter "lora_matrices" is none of its words'),
             ('{"holdout": 0.6}', 'parameter "holdout" is out of range: 0.6'),
             ('{"holdout": -0.1}', 'parameter "holdout" is out of range: -0.1'),
             ('{"validation": 1}', 'parameter "validation" is out of range: 1'),
             ('{"seeds": 0}', 'parameter "seeds" is out of range: 0'),
             ('{"seeds": 2, "validation": 0}', 'several seeds need validation to choose among them'),
             ('{"pairs": 1}', 'parameter "pairs" is out of range: 1'),
             ('{"source": "air"}', 'parameter "source" is none of its words'),
             ('{"teacher": 7}', 'parameter "teacher" is not a string'),
             ('{"negatives": 5, "negatives_from": 9, "negatives_to": 3}', 'these parameters do not go together')) v (p, m);

---- queries ----

SELECT throws_ok(format('SELECT train(''shop'', %L, query => %L)', o, q), s, m, o || ': ' || q)
FROM (VALUES ('contrastive', 'SELECT 1 AS anchor', '42804', 'column "anchor" of the query is no text'),
             ('contrastive', 'SELECT ''a''::text AS anchor', '42703', 'the query has no column "positive"'),
             ('contrastive', 'SELECT ''a''::text AS anchor, ''b''::text AS positive, 3 AS negative', '42804', 'column "negative" of the query is no text'),
             ('contrastive', 'SELECT ''a''::text AS anchor, ''b''::text AS positive, 3 AS occurred_at', '42804', 'column "occurred_at" of the query is no timestamp with time zone'),
             ('triplet', 'SELECT ''a''::text AS anchor, ''b''::text AS positive', '42703', 'the query has no column "negative"'),
             ('score', 'SELECT ''a''::text AS a, ''b''::text AS b, ''high''::text AS score', '42804', 'column "score" of the query is no number'),
             ('text_classes', 'SELECT ''a''::text AS text', '42703', 'the query has no column "label"'),
             ('text_classes', 'SELECT ''a''::text AS text, 1.5 AS label', '42804', 'column "label" of the query is no integer'),
             ('pair_classes', 'SELECT ''a''::text AS a, 1 AS label', '42703', 'the query has no column "b"'),
             ('masked_words', 'SELECT 1', '42703', 'the query has no column "text"'),
             ('next_sentence', 'SELECT ''a''::text AS text', '42703', 'the query has no column "document"'),
             ('contrastive', 'SELEC', '42601', NULL),
             ('contrastive', '', '22023', '"query" returns no rows'),
             ('contrastive', 'DELETE FROM shop.product', '22023', '"query" returns no rows'),
             ('contrastive', 'SELECT 1; SELECT 2', '22023', '"query" returns no rows'),
             ('contrastive', 'DELETE FROM shop.product RETURNING title AS anchor, title AS positive', '0A000', NULL),
             ('contrastive', 'WITH d AS (DELETE FROM shop.product RETURNING title) SELECT title AS anchor, title AS positive FROM d', '0A000', NULL),
             ('contrastive', 'SELECT title AS anchor, title AS positive FROM shop.product FOR UPDATE', '0A000', NULL)) v (o, q, s, m);
SELECT is((SELECT count(*) FROM shop.product), 2::bigint, 'nothing that the queries would have done was done');

---- rights ----

SET ROLE br_test_stranger;
SELECT throws_ok($$SELECT train('shop')$$, '42501', 'must be owner of catalog "shop"', 'a training is for the owner');
SELECT throws_ok(format('SELECT FROM %I', t), '42501', format('permission denied for table %s', t), 'nobody''s to read: ' || t)
FROM unnest('{stored_training,job_data,job_checkpoint,stored_job_metric}'::text[]) t;
RESET ROLE;

---- queued ----

BEGIN;
SET LOCAL ROLE br_test_keeper;
SELECT train('shop', parameters => '{"epochs": 3, "optimiser": "sgd", "lora_matrices": ["query", "value"], "matryoshka": [16, 32]}') AS job \gset
SELECT results_eq(format('SELECT kind, catalog, state, phase, done, total, loss, learning_rate, eta, model, created_by, pid FROM job WHERE job = %s', :job),
    $$VALUES ('train', 'shop', 'queued', NULL::text, 0::bigint, NULL::bigint, NULL::float8, NULL::float8, NULL::timestamptz, NULL::text, 'br_test_keeper'::name, NULL::int)$$,
    'the view shows a training that is queued');
SELECT throws_ok($$SELECT train('shop')$$, '55006', 'a model is being trained for the catalog', 'one training at a time');
SELECT is(cancel_job(:job), true, 'it can be cancelled');
SELECT lives_ok($$SELECT train('shop', 'masked_words', 'lora', query => 'SELECT title AS text FROM shop.product')$$, 'and another one queued');
SELECT throws_ok(format('SELECT resume_job(%s)', :job), '55006', 'a model is being trained for the catalog', 'beside which it cannot be resumed');
SELECT is((SELECT count(*) FROM job), 2::bigint, 'both are there');
ROLLBACK;

---- figures ----

INSERT INTO stored_job (job, kind, catalog, role, state, done, total, loss, eta, finished_at)
VALUES (1000, 'train', :n, 'br_test_keeper'::regrole, 'failed', 20, 40, 0.5, now(), now() - interval '31 days');
INSERT INTO stored_training (job, objective, method, search_path, promote, parent) VALUES (1000, 'contrastive', 'full', '', false, 1);
INSERT INTO job_data VALUES (1000, 0, '\x00');
INSERT INTO job_checkpoint VALUES (1000, 0, 10, 0, '\x00');
INSERT INTO stored_job_metric (job, seed, step, seconds, epoch, loss, learning_rate, validation, validation_loss)
VALUES (1000, 0, 10, 1, 1, 2.5, 1e-5, NULL, NULL), (1000, 0, 20, 2, 1, 0.5, 1e-5, 0.75, 1.5);
SET ROLE br_test_keeper;
SELECT results_eq('SELECT seed, step, seconds, epoch, loss, validation, validation_loss FROM job_metric WHERE job = 1000 ORDER BY step',
    $$VALUES (0, 10::bigint, 1::float8, 1::float8, 2.5::float8, NULL::float8, NULL::float8), (0, 20, 2, 1, 0.5, 0.75, 1.5)$$,
    'the owner sees the figures of a training');
SELECT is((SELECT eta FROM job WHERE job = 1000), NULL, 'what is not running is not awaited');
SELECT matches(plot_job(1000), '^<svg.*>2 series of 3 points; horizontally 10 to 20, .*>loss<.*>validation loss<.*</svg>\s*$', 'drawn, they are two lines');
SELECT is(plot_job(1001), NULL, 'without figures there is no drawing');
SELECT is(plot_job(NULL), NULL, 'nor of no job');
SET ROLE br_test_stranger;
SELECT is((SELECT count(*) FROM job_metric), 0::bigint, 'others see none');
SELECT is(plot_job(1000), NULL, 'and no drawing');
RESET ROLE;

---- what ended long ago ----

BEGIN;
SELECT train('shop') \g /dev/null
SELECT is((SELECT (SELECT count(*) FROM stored_job WHERE job = 1000) + (SELECT count(*) FROM stored_training WHERE job = 1000)
    + (SELECT count(*) FROM job_data) + (SELECT count(*) FROM job_checkpoint) + (SELECT count(*) FROM stored_job_metric)), 0::numeric::bigint,
    'a job that ended 30 days ago is forgotten with all that was kept of it');
ROLLBACK;
SELECT drop_catalog('shop') \g /dev/null
SELECT is((SELECT (SELECT count(*) FROM stored_training) + (SELECT count(*) FROM job_data) + (SELECT count(*) FROM job_checkpoint)
    + (SELECT count(*) FROM stored_job_metric)), 0::bigint, 'and goes with its catalog');
SELECT * FROM finish();
DROP OWNED BY br_test_keeper, br_test_stranger CASCADE;
DROP ROLE br_test_keeper, br_test_stranger;

\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- job.sql
--    The doors of background jobs: arguments, rights, states, the view. Rows of
--    jobs are written by hand, and what would start a worker is rolled back;
--    what workers do is in test/t/024_worker.pl.
--
SELECT plan(39);
SET client_min_messages = error;
SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls') \g /dev/null
CREATE ROLE br_test_keeper;
CREATE ROLE br_test_colleague;
CREATE ROLE br_test_stranger;
CREATE SCHEMA shop AUTHORIZATION br_test_keeper;
SET ROLE br_test_keeper;
CREATE TABLE shop.product (sku text PRIMARY KEY, title text);
INSERT INTO shop.product VALUES ('p1', 'a tent'), ('p2', 'a lamp');
SELECT create_catalog('shop', 'shop.product', item_id => 'sku', text => '{title}', model => 'tiny') \g /dev/null
GRANT SELECT ON shop.product TO br_test_stranger;
RESET ROLE;
SELECT catalog AS n FROM catalog WHERE name = 'shop' \gset

---- arguments ----

SELECT throws_ok($$SELECT refresh_async(NULL)$$, '22004', 'argument "catalog" must not be NULL', 'a job needs a catalog');
SELECT throws_ok($$SELECT refresh_async('none')$$, '42704', 'there is no catalog "none"', 'which there must be');
SELECT throws_ok($$SELECT refresh_async('shop', -1)$$, '22023', 'max_texts must not be negative', 'a limit is no negative number');
SELECT throws_ok($$SELECT cancel_job(NULL)$$, '22004', 'argument "job" must not be NULL', 'cancel_job needs a number');
SELECT throws_ok($$SELECT resume_job(NULL)$$, '22004', 'argument "job" must not be NULL', 'so does resume_job');
SELECT throws_ok($$SELECT cancel_job(4711)$$, '42704', 'there is no job 4711', 'of a job that there is');
SELECT throws_ok($$SELECT resume_job(-1)$$, '42704', 'there is no job -1', 'whatever the number');
SELECT is(job_worker(4711), NULL, 'no worker is at work on a job that is none');
SELECT is(job_worker(9223372036854775807), NULL, 'of any number');
SELECT is(job_interrupted(4711, now()), false, 'nor was it interrupted');
BEGIN READ ONLY;
SELECT throws_ok(format('SELECT %s', call), '25006', format('cannot execute %s() in a read-only transaction', split_part(call, '(', 1)), 'it writes: ' || call)
FROM unnest('{refresh_async(''shop''),cancel_job(1),resume_job(1),run_jobs()}'::text[]) call;
COMMIT;

---- queued, and taken back ----

BEGIN;
SET LOCAL ROLE br_test_keeper;
SELECT refresh_async('shop', 5) AS job \gset
SELECT results_eq(format('SELECT kind, catalog, state, phase, done, total, rejected, rate, max_texts, created_by, started_at, finished_at, pid, message FROM job WHERE job = %s', :job),
    $$VALUES ('refresh', 'shop', 'queued', NULL::text, 0::bigint, NULL::bigint, 0::bigint, NULL::float8, 5, 'br_test_keeper'::name, NULL::timestamptz, NULL::timestamptz, NULL::int,
              'no worker has begun it: run_jobs() starts one where max_worker_processes, which is ' || current_setting('max_worker_processes') || ', leaves room')$$,
    'the view shows a queued job, and why it waits');
SELECT is(run_jobs(), 0, 'which starts at commit and not before');
SELECT is(cancel_job(:job), true, 'it can be cancelled before it began');
SELECT is(resume_job(:job), true, 'and resumed');
SELECT is((SELECT state FROM job WHERE job = :job), 'queued', 'and is queued again');
ROLLBACK;
SELECT is((SELECT count(*) FROM stored_job), 0::bigint, 'rolled back, it never was');

---- states ----

INSERT INTO stored_job (job, kind, catalog, role, state, done, message, finished_at)
SELECT 1000 + i, 'refresh', :n, 'br_test_colleague'::regrole, s, 7, CASE s WHEN 'failed' THEN 'a reason' END,
       CASE WHEN s IN ('done', 'failed', 'cancelled') THEN now() END
FROM unnest('{done,failed,cancelled,queued,running}'::text[]) WITH ORDINALITY AS u (s, i);
SELECT results_eq($$SELECT job, state FROM job ORDER BY job$$,
    $$VALUES (1001::bigint, 'done'), (1002, 'failed'), (1003, 'cancelled'), (1004, 'queued'), (1005, 'interrupted')$$,
    'a job that runs without a worker is interrupted');
SELECT is(job_interrupted(1005, now()), false, 'unless its row has changed since it was seen');
SELECT results_eq($$SELECT cancel_job(j) FROM generate_series(1001, 1003) j$$, $$VALUES (false), (false), (false)$$, 'what has ended cannot be cancelled');
BEGIN;
SELECT results_eq($$SELECT cancel_job(1004) UNION ALL SELECT cancel_job(1005)$$, $$VALUES (true), (true)$$, 'what has not, can');
SELECT results_eq($$SELECT state, finished_at IS NOT NULL FROM job WHERE job >= 1004$$, $$VALUES ('cancelled', true), ('cancelled', true)$$, 'and has ended then');
ROLLBACK;
BEGIN;
SELECT results_eq($$SELECT resume_job(j) FROM generate_series(1001, 1005) j$$, $$VALUES (false), (true), (true), (true), (true)$$, 'all but what is done can be resumed');
SELECT results_eq($$SELECT state, finished_at, message, done FROM job WHERE job > 1001 ORDER BY job$$,
    $$SELECT 'queued', NULL::timestamptz, 'no worker has begun it: run_jobs() starts one where max_worker_processes, which is ' || current_setting('max_worker_processes') || ', leaves room', 7::bigint FROM generate_series(1, 4)$$, 'from where it was');
ROLLBACK;

---- rights ----

-- who owns the catalog, who queued the job, who may only read the catalog
SET ROLE br_test_keeper;
SELECT is((SELECT count(*) FROM job), 5::bigint, 'the owner of a catalog sees its jobs');
SET ROLE br_test_colleague;
SELECT is((SELECT count(*) FROM job), 5::bigint, 'so does who queued them');
SELECT is(cancel_job(1003), false, 'and may cancel them');
SELECT throws_ok($$SELECT refresh_async('shop')$$, '42501', 'must be owner of catalog "shop"', 'but queue none, not being the owner');
SET ROLE br_test_stranger;
SELECT is((SELECT count(*) FROM job), 0::bigint, 'a reader of the catalog sees none');
SELECT throws_ok($$SELECT cancel_job(1004)$$, '42501', 'must be owner of the catalog of job 1004, or have queued it', 'nor may he cancel one');
SELECT throws_ok($$SELECT resume_job(1002)$$, '42501', 'must be owner of the catalog of job 1002, or have queued it', 'or resume one');
SELECT is(run_jobs(), 0, 'run_jobs does nothing for him');
SELECT throws_ok($$SELECT FROM stored_job$$, '42501', 'permission denied for table stored_job', 'the table is nobody''s to read');
RESET ROLE;
UPDATE stored_job SET role = 1;
SELECT is((SELECT count(*) FROM job WHERE created_by = 'unknown (OID=1)'), 5::bigint, 'the role may be gone');

---- forgotten ----

UPDATE stored_job SET finished_at = now() - interval '31 days' WHERE job = 1001;
BEGIN;
SELECT refresh_async('shop') \g /dev/null
SELECT bag_eq($$SELECT job FROM job WHERE job < 2000 AND job > 1000$$, 'VALUES (1002::bigint), (1003), (1004), (1005)', 'jobs that ended long ago are forgotten');
ROLLBACK;
SELECT drop_catalog('shop') \g /dev/null
SELECT is((SELECT count(*) FROM stored_job), 0::bigint, 'jobs go with their catalog');

SELECT * FROM finish();
DROP OWNED BY br_test_keeper, br_test_colleague, br_test_stranger CASCADE;
DROP ROLE br_test_keeper, br_test_colleague, br_test_stranger;

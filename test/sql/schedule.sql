\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- schedule.sql
--    Schedules where pg_cron is not: what they refuse and how they say so, runs
--    by hand within transactions, alerts, rights. What pg_cron really runs is in
--    test/t/027_schedule.pl.
--
SELECT plan(66);
SET client_min_messages = error;
SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls') \g /dev/null
CREATE ROLE br_test_keeper LOGIN;
CREATE ROLE br_test_colleague LOGIN;
CREATE ROLE br_test_stranger LOGIN;
GRANT br_test_keeper TO br_test_colleague;
CREATE SCHEMA shop AUTHORIZATION br_test_keeper;
SET ROLE br_test_keeper;
CREATE TABLE shop.product (sku text PRIMARY KEY, title text);
INSERT INTO shop.product SELECT 'p' || i, 'a tent of size ' || i FROM generate_series(1, 6) i;
CREATE TABLE shop.sale (basket int, sku text);
INSERT INTO shop.sale SELECT b, 'p' || 1 + (b + i * (1 + b % 2)) % 6 FROM generate_series(1, 40) b, generate_series(0, 1) i;
SELECT create_catalog('shop', 'shop.product', item_id => 'sku', text => '{title}', model => 'tiny') \g /dev/null
SELECT add_event_source('shop', 'shop.sale', item_id => 'sku', basket_id => 'basket') \g /dev/null
GRANT SELECT ON shop.product TO br_test_stranger;

---- arguments ----

SELECT throws_ok($$SELECT schedule(NULL, '0 3 * * *')$$, '22004', 'argument "catalog" must not be NULL', 'a schedule needs a catalog');
SELECT throws_ok($$SELECT schedule('shop', NULL)$$, '22004', 'argument "cron" must not be NULL', 'and a time');
SELECT throws_ok($$SELECT schedule('shop', '0 3 * * *', NULL)$$, '22004', 'argument "tasks" must not be NULL', 'and tasks');
SELECT throws_ok($$SELECT schedule('shop', '0 3 * * *', '{fit}', NULL)$$, '22004', 'argument "parameters" must not be NULL', 'and parameters');
SELECT throws_ok($$SELECT schedule('none', '0 3 * * *')$$, '42704', 'there is no catalog "none"', 'of a catalog that there is');
SELECT throws_ok($$SELECT schedule('shop', '0 3 * * *', '{}')$$, '22023', 'tasks must not be empty', 'with something to do');
SELECT throws_ok($$SELECT schedule('shop', '0 3 * * *', '{refresh,NULL}')$$, '22004', 'element 2 of "tasks" is NULL', 'each of which has a name');
SELECT throws_ok($$SELECT schedule('shop', '0 3 * * *', '{refresh,sleep}')$$, '22023', 'there is no task "sleep"', 'that is known');
SELECT throws_ok($$SELECT schedule('shop', '0 3 * * *', '{fit,refresh,fit}')$$, '22023', 'task "fit" stands twice', 'and stands once');
SELECT throws_ok(format('SELECT schedule(''shop'', ''0 3 * * *'', ''{refresh,fit,evaluate}'', %L)', parameters), state, message, 'parameters ' || parameters)
FROM (VALUES ('[]', '22023', 'invalid parameters of a schedule'),
             ('{"fold": {}}', '22023', 'invalid parameters of a schedule'),
             ('{"fit": 7}', '22023', 'invalid parameters of a schedule'),
             ('{"refresh": {"texts": 7}}', '22023', 'invalid parameters of a schedule'),
             ('{"refresh": {"max_texts": -1}}', '22023', 'invalid parameters of a schedule'),
             ('{"refresh": {"max_texts": "many"}}', '22P02', 'invalid input syntax for type integer: "many"'),
             ('{"evaluate": {"seeds": 0}}', '22023', 'invalid parameters of a schedule'),
             ('{"fit": {"kind": "magic"}}', '22023', NULL)) v (parameters, state, message);
SELECT throws_ok($$SELECT unschedule(NULL)$$, '22004', 'argument "schedule" must not be NULL', 'unschedule needs a number');
SELECT throws_ok($$SELECT unschedule(4711)$$, '42704', 'there is no schedule 4711', 'of a schedule that there is');
SELECT throws_ok($$CALL run_schedule(NULL)$$, '22004', 'argument "schedule" must not be NULL', 'so does run_schedule');
SELECT lives_ok($$CALL run_schedule(4711)$$, 'which makes no fuss of one that is gone');
SELECT throws_ok($$SELECT acknowledge_alert(NULL)$$, '22004', 'argument "alert" must not be NULL', 'acknowledge_alert needs a number');
SELECT throws_ok($$SELECT acknowledge_alert(4711)$$, '42704', 'there is no alert 4711', 'of an alert that there is');
BEGIN READ ONLY;
SELECT throws_ok(call, '25006', format('cannot execute %s() in a read-only transaction', substring(call from '\w+(?=\()')), 'it writes: ' || call)
FROM unnest(ARRAY['SELECT schedule(''shop'', ''0 3 * * *'')', 'SELECT unschedule(1)', 'CALL run_schedule(1)', 'SELECT acknowledge_alert(1)']) call;
COMMIT;

---- where pg_cron is not ----

SELECT current_setting('cron.database_name', true) IS NULL AS no_cron \gset
\if :no_cron
CREATE FUNCTION pg_temp.hint_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN hint;
END $$;
SELECT throws_ok($$SELECT schedule('shop', '0 3 * * *', '{refresh}')$$, '55000', 'schedules need pg_cron, which this server has not loaded', 'a schedule needs pg_cron');
SELECT is(pg_temp.hint_of($$SELECT schedule('shop', '0 3 * * *', '{refresh}')$$),
    format('Install it (Debian: postgresql-15-cron), set shared_preload_libraries = ''pg_cron'' and cron.database_name = ''%s'', restart the server, and run CREATE EXTENSION pg_cron.', current_database()),
    'the hint says how to get it');
SELECT is((SELECT count(*) FROM schedules), 0::bigint, 'and nothing is left of it');
SELECT set_config('cron.database_name', current_database(), false) \g /dev/null
SELECT throws_ok($$SELECT schedule('shop', '0 3 * * *', '{refresh}')$$, '55000', 'extension "pg_cron" is not installed in this database', 'loaded, it is not yet created');
SELECT is(pg_temp.hint_of($$SELECT schedule('shop', '0 3 * * *', '{refresh}')$$), 'As a superuser run CREATE EXTENSION pg_cron; GRANT USAGE ON SCHEMA cron TO br_test_keeper.', 'which the hint says, too');
\else
SELECT skip('pg_cron is loaded', 5);
\endif

---- where it is in another database ----

\if :no_cron
SET cron.database_name = 'elsewhere';
SELECT schedule('shop', '0 3 * * *', '{refresh,fit,fold,evaluate}', '{"refresh": {"max_texts": 100}, "fit": {"kind": "ease"}, "evaluate": {"seeds": 1}}') AS s \gset
SELECT results_eq('SELECT catalog, cron, tasks, parameters, created_by, state, task, runs, skipped, started_at, finished_at, message, cron_job FROM schedules',
    $$VALUES ('shop', '0 3 * * *', '{refresh,fit,fold,evaluate}'::text[], '{"refresh": {"max_texts": 100}, "fit": {"kind": "ease"}, "evaluate": {"seeds": 1}}'::jsonb, 'br_test_keeper'::name,
             NULL::text, NULL::text, 0::bigint, 0::bigint, NULL::timestamptz, NULL::timestamptz, NULL::text, NULL::bigint)$$,
    'the view shows the schedule');
SELECT is((SELECT cron_statement FROM schedules),
    format($$SELECT cron.schedule_in_database('bundle_rec schedule %s of %s', '0 3 * * *', %L, '%2$s', 'br_test_keeper')$$, :s, current_database(),
           format($$DO %L$$, format($$BEGIN IF pg_catalog.to_regprocedure('bundle_rec.run_schedule(bigint)') IS NOT NULL THEN CALL bundle_rec.run_schedule(%s); END IF; END$$, :s))),
    'and the statement that starts it there');
RESET ROLE;
ALTER ROLE br_test_keeper NOLOGIN;
SET ROLE br_test_keeper;
SELECT throws_ok($$SELECT schedule('shop', '0 3 * * *', '{refresh}')$$, '55000', 'role "br_test_keeper" cannot log in, and pg_cron would have to as it', 'pg_cron must be able to log in');
RESET ROLE;
ALTER ROLE br_test_keeper LOGIN;
RESET cron.database_name;
\else
SELECT skip('pg_cron is loaded', 3);
\endif
RESET ROLE;
-- by hand from here on, as restored from a dump of where pg_cron was
DELETE FROM stored_schedule;
INSERT INTO stored_schedule (schedule, catalog, role, cron, tasks, parameters)
SELECT s, catalog, 'br_test_keeper', '0 3 * * *', tasks, parameters
FROM catalog, (VALUES (1001, '{refresh,fit,fold,evaluate}'::text[], '{"refresh": {"max_texts": 100}, "fit": {"kind": "ease"}, "evaluate": {"seeds": 1}}'::jsonb),
                      (1002, '{refresh,fit,evaluate}', '{"fit": {"kind": "bundle_ease"}}'),
                      (1003, '{refresh}', '{"refresh": {"max_texts": 2}}')) v (s, tasks, parameters)
WHERE name = 'shop';
SET ROLE br_test_keeper;

---- a run ----

SELECT is((SELECT pending FROM catalog_coverage WHERE catalog = 'shop'), 6::bigint, 'six texts wait');
CALL run_schedule(1003);
SELECT is((SELECT pending FROM catalog_coverage WHERE catalog = 'shop'), 4::bigint, 'a run embeds as many as it may');
CALL run_schedule(1001);
SELECT results_eq('SELECT state, task, runs, message, started_at <= finished_at FROM schedules WHERE schedule = 1001', $$VALUES ('done', NULL::text, 1::bigint, NULL::text, true)$$, 'a run is done');
SELECT is((SELECT pending FROM catalog_coverage WHERE catalog = 'shop'), 0::bigint, 'it has refreshed');
SELECT results_eq($$SELECT baskets FROM catalog_coverage WHERE catalog = 'shop'$$, $$SELECT count(DISTINCT basket) FROM shop.sale$$, 'and counted');
RESET ROLE;
SELECT bag_eq('SELECT kind, serving FROM learned_version', $$VALUES ('ease', true)$$, 'it has fitted');
SELECT bag_eq('SELECT DISTINCT task, seeds FROM leaderboard', $$VALUES ('completion', 1)$$, 'and evaluated');
SET ROLE br_test_keeper;
BEGIN;
CALL run_schedule(1001);
ROLLBACK;
SELECT is((SELECT runs FROM schedules WHERE schedule = 1001), 1::bigint, 'in a transaction that is rolled back a run never was');

---- a run that fails ----

INSERT INTO shop.sale VALUES (100, 'p1'), (100, 'p2');
INSERT INTO shop.product VALUES ('p7', 'a lamp');
BEGIN;
CALL run_schedule(1002);
SELECT results_eq('SELECT state, task, runs, split_part(message, '':'', 1), finished_at IS NOT NULL FROM schedules WHERE schedule = 1002', $$VALUES ('failed', 'fit', 1::bigint, '55000', true)$$, 'the view says what failed');
SELECT results_eq('SELECT catalog, schedule, job, task, sqlstate, acknowledged_at, acknowledged_by FROM alert',
    $$VALUES ('shop', 1002::bigint, NULL::bigint, 'fit', '55000', NULL::timestamptz, NULL::name)$$, 'and an alert');
SELECT is((SELECT '55000: ' || message FROM alert), (SELECT message FROM schedules WHERE schedule = 1002), 'with the same message');
SELECT isnt((SELECT message FROM alert), '', 'which is one');
COMMIT;
SELECT is((SELECT pending FROM catalog_coverage WHERE catalog = 'shop'), 0::bigint, 'what was done before it stays');
RESET ROLE;
SELECT bag_eq('SELECT kind, serving FROM learned_version', $$VALUES ('ease', true)$$, 'and what is in service');
SELECT is((SELECT count(DISTINCT evaluation) FROM leaderboard), 1::bigint, 'what would have followed is not done');
SET ROLE br_test_keeper;

---- training ----

-- what train is told, by a function in its place
RESET ROLE;
CREATE TABLE public.told (catalog text, objective text, method text, query text, model_name text, parameters jsonb, promote boolean);
GRANT INSERT ON public.told TO br_test_keeper;
CREATE OR REPLACE FUNCTION bundle_rec.train(catalog text, objective text DEFAULT 'sets', method text DEFAULT 'full', query text DEFAULT NULL,
    model_name text DEFAULT NULL, parameters jsonb DEFAULT '{}', promote boolean DEFAULT false) RETURNS bigint
LANGUAGE sql AS 'INSERT INTO public.told VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING 7::bigint';
INSERT INTO stored_schedule (schedule, catalog, role, cron, tasks, parameters)
SELECT s, catalog, 'br_test_keeper', '0 3 * * *', '{train}', parameters
FROM catalog, (VALUES (1004, '{}'::jsonb),
                      (1005, '{"train": {"objective": "triplet", "method": "lora", "query": "SELECT 1", "model_name": "better", "promote": true, "epochs": 3, "rate": 0.1}}')) v (s, parameters)
WHERE name = 'shop';
SET ROLE br_test_keeper;
CALL run_schedule(1004);
CALL run_schedule(1005);
RESET ROLE;
SELECT results_eq('TABLE public.told', $$VALUES ('shop', 'sets', 'full', NULL::text, NULL::text, '{}'::jsonb, false),
    ('shop', 'triplet', 'lora', 'SELECT 1', 'better', '{"epochs": 3, "rate": 0.1}', true)$$, 'train gets its defaults, or what parameters say');
DELETE FROM stored_schedule WHERE schedule > 1003;
SET ROLE br_test_keeper;

---- rights ----

SELECT alert AS a FROM alert \gset
SET ROLE br_test_stranger;
SELECT is((SELECT count(*) FROM schedules), 0::bigint, 'a stranger sees no schedule');
SELECT is((SELECT count(*) FROM alert), 0::bigint, 'nor an alert');
SELECT throws_ok($$CALL run_schedule(1001)$$, '42501', 'must be owner of the catalog of schedule 1001, or have made the schedule', 'nor may run one');
SELECT throws_ok($$SELECT unschedule(1001)$$, '42501', 'must be owner of the catalog of schedule 1001, or have made the schedule', 'or end one');
SELECT throws_ok(format('SELECT acknowledge_alert(%s)', :a), '42501', format('must be owner of the catalog of alert %s, or have made the schedule', :a), 'or acknowledge one');
SELECT throws_ok($$SELECT schedule('shop', '0 3 * * *')$$, '42501', 'must be owner of catalog "shop"', 'or make one');
SELECT throws_ok($$SELECT FROM stored_schedule$$, '42501', 'permission denied for table stored_schedule', 'the tables are nobody''s to read');
SET ROLE br_test_colleague;
SELECT is(acknowledge_alert(:a), true, 'a member of the owner''s role may acknowledge');
SELECT is(acknowledge_alert(:a), false, 'once');
SELECT results_eq('SELECT acknowledged_by, acknowledged_at >= raised_at FROM alert', $$VALUES ('br_test_colleague'::name, true)$$, 'which the view shows');
SELECT is(schedule_interrupted(1001, now()), false, 'a run that has ended was not interrupted');
RESET ROLE;
UPDATE stored_schedule SET state = 'running', task = 'fit' WHERE schedule = 1001;
SELECT is((SELECT state FROM schedules WHERE schedule = 1001), 'interrupted', 'one that runs, but by nobody, was');

---- ended ----

SET ROLE br_test_keeper;
SELECT lives_ok('SELECT unschedule(1003)', 'a schedule ends');
SELECT results_eq('SELECT schedule FROM schedules ORDER BY 1', $$VALUES (1001::bigint), (1002)$$, 'and is gone');
SELECT drop_catalog('shop') \g /dev/null
RESET ROLE;
SELECT is((SELECT count(*) FROM stored_schedule) + (SELECT count(*) FROM stored_alert), 0::bigint, 'schedules and alerts go with their catalog');

SELECT * FROM finish();
DROP OWNED BY br_test_keeper, br_test_colleague, br_test_stranger CASCADE;
DROP ROLE br_test_keeper, br_test_colleague, br_test_stranger;

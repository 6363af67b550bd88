\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- rights.sql
--    Which role may call what: a table of roles and calls, written down from the
--    rules and not from what the code does; what is granted to whom; and roles
--    that come and go, with catalogs and grants behind them.
--
SELECT plan(181);
SET client_min_messages = error;
SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls'), load_model('spare', :'golden_dir' || '/models/tiny-bert-cls') \g /dev/null

-- owner of the shop; a member of that role, and one that must say SET ROLE first; who may SELECT and log;
-- SELECT and explain; SELECT; only log; read files of the server; nothing; everything
CREATE ROLE br_test_keeper;
CREATE ROLE br_test_member;
GRANT br_test_keeper TO br_test_member;
CREATE ROLE br_test_guarded NOINHERIT;
GRANT br_test_keeper TO br_test_guarded;
CREATE ROLE br_test_logger;
CREATE ROLE br_test_auditor;
CREATE ROLE br_test_reader;
CREATE ROLE br_test_recorder;
CREATE ROLE br_test_librarian;
GRANT pg_read_server_files TO br_test_librarian;
CREATE ROLE br_test_stranger;
CREATE ROLE br_test_super SUPERUSER;
CREATE ROLE br_test_heir;
\set roles 'ARRAY[\'keeper\', \'member\', \'guarded\', \'logger\', \'auditor\', \'reader\', \'recorder\', \'librarian\', \'stranger\', \'super\']'

CREATE SCHEMA shop AUTHORIZATION br_test_keeper;
SET ROLE br_test_keeper;
CREATE TABLE shop.product (sku text PRIMARY KEY, title text, price float8, cost float8);
INSERT INTO shop.product SELECT 'p' || lpad(i::text, 2, '0'), 'product ' || i, 3 + i, 2 FROM generate_series(1, 12) i;
INSERT INTO shop.product VALUES ('broken', 'its price', -1, 2);
CREATE TABLE shop.purchase (receipt int, sku text);
INSERT INTO shop.purchase SELECT r, 'p' || lpad(((r + step) % 12 + 1)::text, 2, '0') FROM generate_series(1, 48) r, generate_series(0, 2) step;
CREATE TABLE shop.visit (receipt int, sku text);
CREATE TABLE shop.kit (kit text, sku text);
INSERT INTO shop.kit VALUES ('one', 'p01'), ('one', 'p02'), ('two', 'p03'), ('two', 'p04');
CREATE TABLE shop.season (kit text, sku text);
CREATE TABLE shop.place (embedding embedding);
CREATE INDEX place_index ON shop.place USING bundle_ann (embedding);
SELECT create_catalog('shop', 'shop.product', item_id => 'sku', text => '{title}', price => 'price', cost => 'cost', model => 'tiny') \g /dev/null
SELECT add_event_source('shop', 'shop.purchase', item_id => 'sku', basket_id => 'receipt') \g /dev/null
SELECT add_bundle_source('shop', 'shop.kit', bundle_id => 'kit', item_id => 'sku') \g /dev/null
SELECT refresh('shop') \g /dev/null
SELECT fit('shop', 'itemsets', '{"support": 2}') \g /dev/null
SELECT create_rule('shop', 'quiet', 'ban', '{p12}', valid => '[2090-01-01,)') \g /dev/null
SELECT version FROM fit('shop', 'ease') \gset
SELECT evaluate('shop', 'completion', seeds => 1) \g /dev/null
SELECT decision_id AS id FROM recommend('shop', seed => 1) LIMIT 1 \gset
-- of a number that no catalog has
RESET ROLE;
SELECT setval('experiment_number', 1000) \g /dev/null
GRANT EXECUTE ON FUNCTION create_experiment TO br_test_keeper, br_test_librarian;
GRANT CREATE ON DATABASE :"DBNAME" TO br_test_keeper;
SET ROLE br_test_keeper;
SELECT create_experiment('banner', layer => 'page', traffic => 0.9) \g /dev/null
SELECT create_policy('offer', 'epsilon_greedy') \g /dev/null
SELECT add_arms('offer', '{a,b}') \g /dev/null
SELECT decision_id AS choice FROM choose('offer') \gset
SELECT number AS offer FROM policy_state WHERE policy = 'offer' \gset
GRANT SELECT ON shop.product, shop.kit, shop.place TO br_test_logger, br_test_auditor, br_test_reader;
RESET ROLE;
SELECT catalog AS n FROM catalog WHERE name = 'shop' \gset
-- by who owns the extension, and by who owns the catalog
GRANT INSERT ON bundle_rec.decision_:n, bundle_rec.feedback_:n, bundle_rec.event_:n TO br_test_logger;
SELECT exposures AS exposures FROM experiment_state \gset
GRANT INSERT ON :exposures TO br_test_logger, br_test_recorder;
GRANT INSERT ON bundle_rec.choice_:offer, bundle_rec.feedback_:offer TO br_test_logger, br_test_recorder;
GRANT SELECT ON bundle_rec.choice_:offer TO br_test_auditor;
GRANT SELECT ON :exposures TO br_test_auditor;
SET ROLE br_test_keeper;
GRANT INSERT ON bundle_rec.decision_:n, bundle_rec.feedback_:n, bundle_rec.event_:n TO br_test_recorder;
GRANT SELECT (decision_id) ON bundle_rec.decision_:n TO br_test_auditor;
RESET ROLE;
INSERT INTO stored_job (job, kind, catalog, role, state) VALUES (1000, 'refresh', :n, 'br_test_keeper'::regrole, 'failed');
INSERT INTO stored_job_metric (job, seed, step, seconds, epoch, learning_rate) VALUES (1000, 0, 1, 1, 1, 0.1);
INSERT INTO stored_schedule (schedule, catalog, role, cron, tasks, parameters) VALUES (1000, :n, 'br_test_keeper', '0 3 * * *', '{refresh}', '{}');
INSERT INTO stored_alert (alert, catalog, role, schedule, task, message) VALUES (1000, :n, 'br_test_keeper', 1000, 'refresh', 'a reason');

---- the matrix ----

-- What a call ends with, as a role and undone at once: the number of its rows, or what the error says is missing.
CREATE FUNCTION public.attempt(role text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
    message text;
    hint text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', 'br_test_' || role);
    IF statement ~ '^CALL' THEN
        EXECUTE statement;
        n = 1;
    ELSE
        EXECUTE format('SELECT count(*) FROM (%s) q', statement) INTO n;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'BR000', MESSAGE = n::text;
EXCEPTION WHEN SQLSTATE 'BR000' THEN
    RETURN SQLERRM;
WHEN insufficient_privilege THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN CASE WHEN message ~ 'must be owner of the catalog of (job 1000, or have queued it|(schedule|alert) 1000, or have made the schedule)' THEN 'owner'
                WHEN message ~ 'must be owner of catalog' AND hint ~ 'owner of its source table' THEN 'owner'
                WHEN message ~ 'must be owner of policy "offer"' THEN 'policy'
                WHEN message ~ 'to create a policy without a catalog' AND hint ~ '^GRANT CREATE ON DATABASE' THEN 'create'
                WHEN message ~ '(log choices of|choose by|read choices of) policy' AND hint ~ '^GRANT (SELECT|INSERT|SELECT or INSERT) ON bundle_rec.choice_\d+ TO' THEN 'choice'
                WHEN message ~ 'must be owner of experiment "banner"' AND hint ~ 'exposure_\d+' THEN 'experiment'
                WHEN message ~ 'must be owner of an experiment of layer' THEN 'layer'
                WHEN message ~ 'to (assign variants|see assignments) of' AND hint ~ '^GRANT INSERT ON bundle_rec.exposure_\d+ TO' THEN 'assign'
                WHEN message ~ 'to analyse' AND hint ~ '^GRANT SELECT ON bundle_rec.exposure_\d+ TO' THEN 'analyse'
                WHEN message ~ 'must be owner of table' THEN 'table'
                WHEN message ~ 'must be owner of index place_index' THEN 'index'
                WHEN message ~ 'permission denied for table place' THEN 'place'
                WHEN message ~ 'for catalog' AND hint ~ 'needs SELECT on its source' THEN 'select'
                WHEN message ~ 'to log decisions' AND hint ~ '^GRANT INSERT ON bundle_rec.decision_\d+ TO' THEN 'decision'
                WHEN message ~ 'to give feedback' AND hint ~ '^GRANT INSERT ON bundle_rec.feedback_\d+ TO' THEN 'feedback'
                WHEN message ~ 'to log events' AND hint ~ '^GRANT INSERT ON bundle_rec.event_\d+ TO' THEN 'event'
                WHEN message ~ 'to read decisions' AND hint ~ '^GRANT SELECT \(decision_id\) ON bundle_rec.decision_\d+ TO' THEN 'explain'
                WHEN message ~ 'to read decisions' AND hint ~ '^GRANT SELECT ON bundle_rec.decision_\d+ TO' THEN 'log'
                WHEN message ~ 'load models|drop model' AND hint ~ 'pg_read_server_files' THEN 'files'
                WHEN message ~ 'for (function|aggregate) (load_model|create_experiment|compress_model)' THEN 'function'
                ELSE message END;
WHEN duplicate_object THEN
    RETURN 'taken';
WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;

CREATE TABLE public.call (call text, statement text, expected text);
\set only_owner '1 1 owner owner owner owner owner owner owner 1'
INSERT INTO public.call VALUES
--                                                                                keeper member guarded logger auditor reader recorder librarian stranger super
    ('create_catalog', $$SELECT create_catalog('new', @items, 'sku')$$,          '1 1 table table table table table table table 1'),
    ('alter_catalog', $$SELECT alter_catalog('shop', discount => 0.1)$$,         :'only_owner'),
    ('alter_catalog, its columns', $$SELECT alter_catalog('shop', cost => '')$$, :'only_owner'),
    ('add_event_source', $$SELECT add_event_source('shop', @visit, item_id => 'sku')$$,       :'only_owner'),
    ('add_bundle_source', $$SELECT add_bundle_source('shop', @season, 'kit', 'sku')$$,        :'only_owner'),
    ('drop_bundle_source', $$SELECT drop_bundle_source('shop', @kit)$$,           :'only_owner'),
    ('forget_user', $$SELECT * FROM forget_user('shop', 'u1')$$,                 :'only_owner'),
    ('unforget_user', $$SELECT unforget_user('shop', 'u1')$$,                    :'only_owner'),
    ('set_retention', $$SELECT set_retention('shop', '1 year')$$,                :'only_owner'),
    ('drop_event_source', $$SELECT drop_event_source('shop', @purchase)$$,       :'only_owner'),
    ('refresh', $$SELECT refresh('shop')$$,                                      :'only_owner'),
    ('refresh_async', $$SELECT refresh_async('shop')$$,                          :'only_owner'),
    ('cancel_job', $$SELECT cancel_job(1000)$$,                                  :'only_owner'),
    ('resume_job', $$SELECT resume_job(1000)$$,                                  :'only_owner'),
    ('run_jobs', $$SELECT run_jobs()$$,                                          '1 1 1 1 1 1 1 1 1 1'),
    ('job_worker', $$SELECT job_worker(1000)$$,                                  '1 1 1 1 1 1 1 1 1 1'),
    ('job_interrupted', $$SELECT job_interrupted(1000, now())$$,                 '1 1 1 1 1 1 1 1 1 1'),
    ('job', $$SELECT FROM job$$,                                                 '1 1 0 0 0 0 0 0 0 1'),
    ('compress_model', $$SELECT * FROM compress_model('tiny', 'tiny', 'shop', 'vocabulary')$$, 'function function function function function function function taken function taken'),
    ('train', $$SELECT train('shop')$$,                                          :'only_owner'),
    ('job_metric', $$SELECT FROM job_metric$$,                                   '1 1 0 0 0 0 0 0 0 1'),
    ('schedule', $$SELECT schedule('shop', '0 3 * * *', '{}')$$,                 '22023 22023 owner owner owner owner owner owner owner 22023'),
    ('unschedule', $$SELECT unschedule(1000)$$,                                  :'only_owner'),
    ('run_schedule', $$CALL run_schedule(1000)$$,                                :'only_owner'),
    ('schedule_interrupted', $$SELECT schedule_interrupted(1000, now())$$,       '1 1 1 1 1 1 1 1 1 1'),
    ('acknowledge_alert', $$SELECT acknowledge_alert(1000)$$,                    :'only_owner'),
    ('schedules', $$SELECT FROM schedules$$,                                     '1 1 0 0 0 0 0 0 0 1'),
    ('lineage', $$SELECT FROM lineage$$,                                         '0 0 0 0 0 0 0 0 0 0'),
    ('alert', $$SELECT FROM alert$$,                                             '1 1 0 0 0 0 0 0 0 1'),
    ('drop_catalog', $$SELECT drop_catalog('shop')$$,                            :'only_owner'),
    ('create_rule', $$SELECT create_rule('shop', 'new', 'ban', '{p01}')$$,       :'only_owner'),
    ('drop_rule', $$SELECT drop_rule('shop', 'quiet')$$,                         :'only_owner'),
    ('rule', $$SELECT FROM rule$$,                                               '1 1 0 1 1 1 0 0 0 1'),
    ('fit', $$SELECT * FROM fit('shop', 'popularity')$$,                         :'only_owner'),
    ('fit_async', $$SELECT fit_async('shop')$$,                                  :'only_owner'),
    ('serve_version', $$SELECT serve_version('shop', @version)$$,                :'only_owner'),
    ('drop_version', $$SELECT drop_version('shop', @version)$$,                  :'only_owner'),
    ('fit_progress_rows', $$SELECT * FROM fit_progress_rows()$$,                 '0 0 0 0 0 0 0 0 0 0'),
    ('fit_progress', $$SELECT FROM fit_progress$$,                               '0 0 0 0 0 0 0 0 0 0'),
    ('learner', $$SELECT FROM learner$$,                                         '2 2 0 2 2 2 0 0 0 2'),
    ('evaluate', $$SELECT * FROM evaluate('shop', 'completion', seeds => 1) LIMIT 1$$, :'only_owner'),
    ('leaderboard', $$SELECT FROM leaderboard LIMIT 1$$,                         '1 1 0 1 1 1 0 0 0 1'),
    ('gate', $$SELECT * FROM gate('shop', 'spare')$$,                            :'only_owner'),
    ('promote_model', $$SELECT FROM (SELECT count(*) FROM promote_model('shop', 'spare', force => true)) q$$, :'only_owner'),
    ('rollback_model', $$SELECT rollback_model('shop')$$,                        '55000 55000 owner owner owner owner owner owner owner 55000'),
    ('prune_models', $$SELECT * FROM prune_models(0)$$,                          '0 0 0 0 0 0 0 0 0 0'),
    ('model_gate', $$SELECT FROM model_gate$$,                                   '0 0 0 0 0 0 0 0 0 0'),
    ('model_history', $$SELECT FROM model_history$$,                             '1 1 0 1 1 1 0 0 0 1'),
    ('create_policy', $$SELECT create_policy('new', 'epsilon_greedy', 'shop')$$, :'only_owner'),
    ('create_policy, of no catalog', $$SELECT create_policy('new', 'epsilon_greedy')$$, '1 1 create create create create create create create 1'),
    ('alter_policy', $$SELECT alter_policy('shop')$$,                            :'only_owner'),
    ('drop_policy', $$SELECT drop_policy('offer')$$,                             '1 1 policy policy policy policy policy policy policy 1'),
    ('add_arms', $$SELECT add_arms('offer', '{c}')$$,                            '1 1 policy policy policy policy policy policy policy 1'),
    ('retire_arm', $$SELECT retire_arm('offer', 'a')$$,                          '1 1 policy policy policy policy policy policy policy 1'),
    ('warm_start', $$SELECT warm_start('offer', 'SELECT ''a'' AS arm, 1::float8 AS reward')$$, '1 1 policy policy policy policy policy policy policy 1'),
    ('fold, of no catalog', $$SELECT fold('offer')$$,                            '1 1 policy policy policy policy policy policy policy 1'),
    ('forget_user_choices', $$SELECT forget_user_choices('offer', 'u1')$$,        '1 1 policy policy policy policy policy policy policy 1'),
    ('fold_due', $$SELECT FROM fold_due()$$,                                     '0 0 0 0 0 0 0 0 0 0'),
    ('choose', $$SELECT choose('offer')$$,                                       '1 1 choice 1 choice choice 1 choice choice 1'),
    ('choose, log false', $$SELECT choose('offer', log => false)$$,              '1 1 choice 1 1 choice 1 choice choice 1'),
    ('arrange', $$SELECT arrange('offer', NULL, '{top}')$$,                      '1 1 choice 1 choice choice 1 choice choice 1'),
    ('choice_probabilities', $$SELECT choice_probabilities('offer')$$,           '2 2 choice 2 2 choice 2 choice choice 2'),
    ('marginal_propensity', $$SELECT marginal_propensity('offer', 1)$$,          '2 2 choice 2 2 choice 2 choice choice 2'),
    ('replay_choice', $$SELECT replay_choice(@choice)$$,                         '1 1 choice choice 1 choice choice choice choice 1'),
    ('feedback, on a choice', $$SELECT feedback(@choice, 1)$$,                   '1 1 feedback 1 feedback feedback 1 feedback feedback 1'),
    ('arm_state', $$SELECT FROM arm_state$$,                                     '2 2 0 0 2 0 0 0 0 2'),
    ('choice_log', $$SELECT FROM choice_log$$,                                   '1 1 0 0 1 0 0 0 0 1'),
    ('evaluate_policy, its own log', $$SELECT * FROM evaluate_policy('offer', estimators => '{ips}')$$, '22023 22023 choice choice 22023 choice choice choice choice 22023'),
    ('evaluate_policy, a given log', $$SELECT * FROM evaluate_policy('offer', 'SELECT ''a'' AS arm, 1::float8 AS reward, .5::float8 AS propensity', '{ips}')$$, '1 1 choice 1 1 choice 1 choice choice 1'),
    ('evaluate_policy, of a catalog', $$SELECT * FROM evaluate_policy('shop', estimators => '{ips}')$$, '22023 22023 log log log log log log log 22023'),
    ('policy_reward', $$SELECT FROM policy_reward('offer')$$,                    '1 1 0 0 1 0 0 0 0 1'),
    ('regret_estimate', $$SELECT FROM regret_estimate('offer')$$,                '0 0 0 0 0 0 0 0 0 0'),
    ('propensity_histogram', $$SELECT FROM propensity_histogram('offer') WHERE slots > 0$$, '1 1 0 0 1 0 0 0 0 1'),
    ('fold_lag', $$SELECT FROM fold_lag WHERE policy = 'offer'$$,                '1 1 0 1 1 0 1 0 0 1'),
    ('fold', $$SELECT fold('shop')$$,                                            :'only_owner'),
    ('create_experiment', $$SELECT create_experiment('new')$$,                   '1 1 function function function function function 1 function 1'),
    ('create_experiment, layer', $$SELECT create_experiment('new', layer => 'page', traffic => 0.1)$$, '1 1 function function function function function layer function 1'),
    ('alter_experiment', $$SELECT alter_experiment('banner', traffic => 0.95)$$, '1 1 experiment experiment experiment experiment experiment experiment experiment 1'),
    ('stop_experiment', $$SELECT stop_experiment('banner')$$,                    '1 1 experiment experiment experiment experiment experiment experiment experiment 1'),
    ('drop_experiment', $$SELECT drop_experiment('banner')$$,                    '1 1 experiment experiment experiment experiment experiment experiment experiment 1'),
    ('assign', $$SELECT assign('banner', 'u1')$$,                                '1 1 assign 1 assign assign 1 assign assign 1'),
    ('assignment', $$SELECT FROM (SELECT assignment('banner', 'u1') AS x OFFSET 0) y WHERE x IS NULL OR x <> ''$$, '1 1 assign 1 1 assign 1 assign assign 1'),
    ('ab_test', $$SELECT * FROM ab_test('SELECT ''u1'' AS unit_id, 1 AS value', 'banner')$$, '2 2 analyse analyse 2 analyse analyse analyse analyse 2'),
    ('ab_test, variants in the query', $$SELECT * FROM ab_test('SELECT ''control'' AS variant, 1 AS value')$$, '1 1 1 1 1 1 1 1 1 1'),
    ('experiment_state', $$SELECT FROM experiment_state$$,                       '1 1 0 1 1 0 1 0 0 1'),
    ('sync', $$SELECT * FROM sync('shop')$$,                                     '3 3 owner owner owner owner owner owner owner 3'),
    ('log_event', $$SELECT log_event('shop', item_id => 'p01')$$,                '1 1 event 1 event event 1 event event 1'),
    ('feedback', $$SELECT feedback(@id, 1)$$,                                    '1 1 feedback 1 feedback feedback 1 feedback feedback 1'),
    ('feedback_batch', $$SELECT feedback_batch(ARRAY[@id], ARRAY[1])$$,          '1 1 feedback 1 feedback feedback 1 feedback feedback 1'),
    ('recommend', $$SELECT * FROM recommend('shop')$$,                           '5 5 select 5 decision decision select select select 5'),
    ('recommend, log true', $$SELECT * FROM recommend('shop', log => true)$$,    '5 5 select 5 decision decision select select select 5'),
    ('recommend, log false', $$SELECT * FROM recommend('shop', log => false)$$,  '5 5 select 5 5 5 select select select 5'),
    ('recommend_items', $$SELECT * FROM recommend_items('shop')$$,               '10 10 select 10 decision decision select select select 10'),
    ('recommend_items, log true', $$SELECT * FROM recommend_items('shop', log => true)$$,     '10 10 select 10 decision decision select select select 10'),
    ('recommend_items, log false', $$SELECT * FROM recommend_items('shop', log => false)$$,   '10 10 select 10 10 10 select select select 10'),
    ('rank_bundles', $$SELECT * FROM rank_bundles('shop')$$,                     '2 2 select 2 decision decision select select select 2'),
    ('rank_bundles, log false', $$SELECT * FROM rank_bundles('shop', log => false)$$,         '2 2 select 2 2 2 select select select 2'),
    ('complete', $$SELECT * FROM complete('shop', '{p02}', k => 4)$$,            '4 4 select 4 4 4 select select select 4'),
    ('detect_bundles', $$SELECT FROM detect_bundles('shop', '{p02,p03}')$$,     '1 1 select 1 1 1 select select select 1'),
    ('mine_bundles', $$SELECT count(*) > 0 FROM mine_bundles('shop')$$,         '1 1 select 1 1 1 select select select 1'),
    ('bought_together', $$SELECT * FROM bought_together('shop', '{p02}', k => 4)$$,           '4 4 select 4 4 4 select select select 4'),
    ('similar_items', $$SELECT * FROM similar_items('shop', 'p02', k => 4)$$,                 '4 4 select 4 4 4 select select select 4'),
    ('similar_items by query', $$SELECT * FROM similar_items('shop', query => 'a product', k => 4)$$, '4 4 select 4 4 4 select select select 4'),
    ('diversify', $$SELECT * FROM diversify('shop', '{p02,p04,p06,p08}')$$,     '4 4 select 4 4 4 select select select 4'),
    ('explain_decision', $$SELECT * FROM explain_decision(@id)$$,                '5 5 select explain 5 explain select select select 5'),
    ('replay_decision', $$SELECT replay_decision(@id)$$,                         '5 5 select explain 5 explain select select select 5'),
    ('embed', $$SELECT embed('a product', 'tiny')$$,                             '1 1 1 1 1 1 1 1 1 1'),
    ('embed of an array', $$SELECT embed('{a,b}'::text[], 'tiny')$$,             '1 1 1 1 1 1 1 1 1 1'),
    ('tokenize', $$SELECT tokenize('a product', 'tiny')$$,                       '1 1 1 1 1 1 1 1 1 1'),
    ('backends', $$SELECT FROM backends() WHERE name = 'portable'$$,             '1 1 1 1 1 1 1 1 1 1'),
    ('load_model', $$SELECT load_model('new', @model)$$,                         'files files files files files files files 1 files 1'),
    ('load_model of files', $$SELECT load_model('new', '{}'::bundle_rec.model_file[])$$,
     'function function function function function function function 58P01 function 58P01'),
    ('load_model of rows', $$SELECT FROM (SELECT load_model('new', 'config.json', '') AS x OFFSET 0) y WHERE x IS NOT NULL$$,
     'function function function function function function function 58P01 function 58P01'),
    ('drop_model', $$SELECT drop_model('spare')$$,                               'files files files files files files files 1 files 1'),
    ('bundle_ann_check', $$SELECT * FROM bundle_ann_check(@place)$$,             '1 1 index index index index index index index 1'),
    ('bundle_ann_flush', $$SELECT bundle_ann_flush(@place)$$,                    '1 1 index index index index index index index 1'),
    ('bundle_ann_stats', $$SELECT * FROM bundle_ann_stats(@place)$$,             '1 1 place 1 1 1 place place place 1'),
    ('bundle_ann_recall', $$SELECT * FROM bundle_ann_recall(@place)$$,           '1 1 place 1 1 1 place place place 1'),
    ('service_state', $$SELECT FROM service_state()$$,                           '0 0 0 0 0 0 0 0 0 0'),
    ('gpu', $$SELECT FROM gpu$$,                                                 '0 0 0 0 0 0 0 0 0 0'),
    ('catalog_coverage', $$SELECT FROM catalog_coverage$$,                       '1 1 0 1 1 1 0 0 0 1'),
    ('rejected_row', $$SELECT FROM rejected_row$$,                               '1 1 0 1 1 1 0 0 0 1'),
    ('bundle_coverage', $$SELECT FROM bundle_coverage$$,                         '2 2 0 2 2 2 0 0 0 2'),
    ('decision_log', $$SELECT FROM decision_log$$,                               '5 5 0 0 5 0 0 0 0 5'),
    ('privacy_state', $$SELECT FROM privacy_state$$,                             '1 1 0 1 1 1 0 0 0 1'),
    ('policy_state', $$SELECT FROM policy_state$$,                               '2 2 0 2 2 1 1 0 0 2'),
    ('model', $$SELECT FROM model$$,                                             '2 2 2 2 2 2 2 2 2 2'),
    ('model, the catalogs that use it', $$SELECT FROM model WHERE used_by = '{shop}'$$,       '1 1 0 1 1 1 0 0 0 1'),
    ('plot_series', $$SELECT plot_series('SELECT 1 AS x, 2 AS y')$$,             '1 1 1 1 1 1 1 1 1 1'),
    ('model_used_by', $$SELECT FROM unnest(model_used_by(1)) u$$,                '1 1 0 1 1 1 0 0 0 1');
UPDATE public.call SET statement = replace(replace(statement, '@choice', :'choice'), '@version', :'version');
UPDATE public.call SET statement = replace(statement, '@place', format('%s::regclass', 'shop.place_index'::regclass::oid));
UPDATE public.call SET statement = replace(replace(statement, '@kit', format('%s::regclass', 'shop.kit'::regclass::oid)), '@season', format('%s::regclass', 'shop.season'::regclass::oid));
UPDATE public.call SET statement = replace(replace(replace(replace(replace(statement, '@id', :'id'),
    '@items', format('%s::regclass', 'shop.product'::regclass::oid)), '@visit', format('%s::regclass', 'shop.visit'::regclass::oid)),
    '@purchase', format('%s::regclass', 'shop.purchase'::regclass::oid)), '@model', quote_literal(:'golden_dir' || '/models/tiny-bert-cls'));

SELECT is((SELECT array_agg(regexp_replace(public.attempt(role, statement), '^(58P01|22023|55000).*', '\1') ORDER BY place)
           FROM unnest(:roles) WITH ORDINALITY r(role, place)), string_to_array(expected, ' '), call)
FROM public.call ORDER BY call COLLATE "C";
SELECT is_empty($$SELECT proname FROM pg_catalog.pg_proc WHERE pronamespace = 'bundle_rec'::regnamespace
                  AND (provolatile = 'v' OR 'catalog' = ANY (proargnames)) AND prorettype <> 'trigger'::regtype AND 'internal'::regtype <> ALL (proargtypes)
                  AND NOT EXISTS (SELECT FROM public.call WHERE statement ~ ('\m' || proname || '\('))$$, 'no function that writes or reads a catalog is missing there');
SELECT is_empty($$SELECT viewname FROM pg_catalog.pg_views WHERE schemaname = 'bundle_rec'
                  AND NOT EXISTS (SELECT FROM public.call WHERE statement ~ ('FROM ' || viewname || '\M'))$$, 'nor is a view missing');

---- what is granted ----

-- everything but what owners have: C functions for everybody, and the rest by name
SELECT set_eq(
    $$SELECT a.object, coalesce(r.rolname::text, 'PUBLIC'), a.privilege_type FROM (
          SELECT 'schema bundle_rec' AS object, x.*, n.nspowner AS owner FROM pg_namespace n, aclexplode(nspacl) x WHERE nspname = 'bundle_rec'
          UNION ALL SELECT relkind::text || ' ' || relname, x.*, relowner FROM pg_class c, aclexplode(relacl) x
              WHERE relnamespace = 'bundle_rec'::regnamespace AND relname !~ '_\d+$' AND relkind <> 'i'
          UNION ALL SELECT 'function ' || p.oid::regprocedure, x.*, proowner FROM pg_proc p, aclexplode(proacl) x
              WHERE pronamespace = 'bundle_rec'::regnamespace
          UNION ALL SELECT 'type ' || typname, x.*, typowner FROM pg_type t, aclexplode(typacl) x WHERE typnamespace = 'bundle_rec'::regnamespace
      ) a LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE a.grantee <> a.owner$$,
    $$VALUES ('function create_experiment(text,jsonb,text,double precision,double precision,text)', 'br_test_keeper', 'EXECUTE'),
             ('function create_experiment(text,jsonb,text,double precision,double precision,text)', 'br_test_librarian', 'EXECUTE'),
             ('function compress_model(text,text,text,text,jsonb)', 'pg_read_server_files', 'EXECUTE'), ('function load_model(text,model_file[])', 'pg_read_server_files', 'EXECUTE'), ('function load_model(text,text,bytea)', 'pg_read_server_files', 'EXECUTE'),
             ('v bundle_coverage', 'PUBLIC', 'SELECT'), ('v decision_log', 'PUBLIC', 'SELECT'), ('v privacy_state', 'PUBLIC', 'SELECT'), ('schema bundle_rec', 'PUBLIC', 'USAGE'),
             ('v catalog_coverage', 'PUBLIC', 'SELECT'), ('v job', 'PUBLIC', 'SELECT'), ('v model', 'PUBLIC', 'SELECT'), ('v policy_state', 'PUBLIC', 'SELECT'), ('v rule', 'PUBLIC', 'SELECT'),
             ('v experiment_state', 'PUBLIC', 'SELECT'), ('v rejected_row', 'PUBLIC', 'SELECT'), ('v choice_log', 'PUBLIC', 'SELECT'), ('v arm_state', 'PUBLIC', 'SELECT'), ('v fold_lag', 'PUBLIC', 'SELECT'),
             ('v learner', 'PUBLIC', 'SELECT'), ('v gpu', 'PUBLIC', 'SELECT'), ('v fit_progress', 'PUBLIC', 'SELECT'), ('v schedules', 'PUBLIC', 'SELECT'), ('v alert', 'PUBLIC', 'SELECT'), ('v lineage', 'PUBLIC', 'SELECT'), ('v job_metric', 'PUBLIC', 'SELECT'), ('v model_gate', 'PUBLIC', 'SELECT'),
             ('v model_history', 'PUBLIC', 'SELECT'), ('v leaderboard', 'PUBLIC', 'SELECT')$$, 'to others is granted just this');
-- the child tables: their catalog's owner, and whom he chose
SELECT set_eq(
    format($$SELECT DISTINCT r.rolname::text, x.privilege_type, x.is_grantable FROM pg_class c, aclexplode(relacl) x JOIN pg_roles r ON r.oid = x.grantee
             WHERE relnamespace = 'bundle_rec'::regnamespace AND relkind = 'r' AND relname ~ '_%s$' AND grantee <> relowner$$, :'n'),
    $$VALUES ('br_test_keeper', 'INSERT', true), ('br_test_keeper', 'SELECT', true), ('br_test_logger', 'INSERT', false), ('br_test_recorder', 'INSERT', false)$$,
    'on the tables of a catalog, to its owner and to whom he granted');
SELECT set_eq(
    format($$SELECT DISTINCT regexp_replace(relname, '_\d+', '') FROM pg_class c, aclexplode(relacl) x
             WHERE relnamespace = 'bundle_rec'::regnamespace AND relname ~ '_%s$' AND x.privilege_type = 'INSERT' AND grantee <> relowner$$, :'n'),
    $$VALUES ('decision'), ('event'), ('feedback')$$, 'who may add to the log, and to nothing else');
SELECT is_empty($$SELECT relname FROM pg_class c WHERE relnamespace = 'bundle_rec'::regnamespace AND relowner <> (SELECT extowner FROM pg_extension WHERE extname = 'bundle_rec')$$,
                'all of it belongs to the owner of the extension');

SELECT is_empty($$SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'bundle_rec'::regnamespace AND (prosecdef OR proconfig IS NOT NULL)$$,
                'no function runs as somebody else, or under settings of its own');
SELECT is_empty($$SELECT oid::regclass FROM pg_class WHERE relnamespace = 'bundle_rec'::regnamespace AND relkind IN ('r', 'p') AND relrowsecurity
                  UNION ALL SELECT tgrelid::regclass FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid WHERE relnamespace = 'bundle_rec'::regnamespace
                  UNION ALL SELECT ev_class::regclass FROM pg_rewrite JOIN pg_class c ON c.oid = ev_class WHERE relnamespace = 'bundle_rec'::regnamespace AND relkind <> 'v'$$,
                'no policy, trigger or rule runs when its tables are read or written');

-- the sequences and tables behind it, directly
SELECT is((SELECT array_agg(public.attempt(role, 'SELECT * FROM bundle_rec.item LIMIT 0') ORDER BY place) FROM unnest(:roles) WITH ORDINALITY r(role, place)),
          array_fill('permission denied for table item'::text, ARRAY[9]) || '0'::text, 'nobody reads the tables of all catalogs');
SELECT is((SELECT array_agg(public.attempt(role, 'SELECT nextval(''bundle_rec.decision_number'')') ORDER BY place) FROM unnest(:roles) WITH ORDINALITY r(role, place)),
          array_fill('permission denied for sequence decision_number'::text, ARRAY[9]) || '1'::text, 'nor takes numbers');
SET ROLE br_test_recorder;
SELECT throws_ok(format('UPDATE bundle_rec.decision_%s SET propensity = NULL', :'n'), '42501', NULL, 'who may log may not change the log');
SELECT throws_ok(format('SELECT * FROM bundle_rec.decision_%s', :'n'), '42501', NULL, 'nor read it');
SET ROLE br_test_auditor;
SELECT throws_ok(format('SELECT basket FROM bundle_rec.decision_%s', :'n'), '42501', NULL, 'who may explain decisions reads no more of them');
RESET ROLE;
SELECT throws_ok('SELECT items_changed()', '39P01', NULL, 'a trigger function is no function');

---- what loggers could write ----

-- straight into the log: a decision of more slots than features, and two whose features are no numbers
SELECT policy AS p FROM policy WHERE name = 'shop' \gset
SET ROLE br_test_recorder;
PREPARE forge(bigint, smallint[], real[]) AS INSERT INTO bundle_rec.decision_:n (decision_id, kind, decided_at, basket, wanted, filters, policy,
    posterior, feature_schema, algorithm, epsilon, draws, diversity, random_key, deterministic, candidates, pool_size, slot_sizes, slot_items,
    slot_features, propensity, score, list_price, price, margin, reasons)
VALUES (:n::bigint << 40 | $1, 'bundle', now(), '{}', 1, '{}', :p, 0, 1, 'linear_thompson', 0, 1, 0, 0, false, '{}', 1, $2, '{}', $3,
        '{}', '{}', '{}', '{}', '{}', '[]');
EXECUTE forge(900000000001, array_fill(1::smallint, ARRAY[9999]), array_fill(0.5::real, ARRAY[10]));
EXECUTE forge(900000000002, '{1}', array_fill('NaN'::real, ARRAY[10]));
EXECUTE forge(900000000003, '{1}', array_fill('-Infinity'::real, ARRAY[10]));
SELECT bool_and(feedback(:n::bigint << 40 | d, rank)) FROM (VALUES (900000000001, 9999), (900000000002, 1), (900000000003, 1)) f(d, rank) \g /dev/null
INSERT INTO bundle_rec.feedback_:n (decision_id, event_id, rank, kind, value, received_at)
SELECT :id, 'forged', 1, 'click', 'NaN', now();
RESET ROLE;
SET ROLE br_test_keeper;
SELECT is(fold('shop'), 0, 'nothing is learned from forged decisions');
RESET ROLE;
SELECT is((SELECT count(*) FROM unfolded_feedback WHERE policy = :p), 0::bigint, 'and they are not met again');
SET ROLE br_test_keeper;
SELECT create_policy('quick', 'epsilon_greedy', 'shop', attribution_window => '0') \g /dev/null
SELECT feedback(decision_id, 1) FROM recommend('shop', policy => 'quick', bundles => 1) \g /dev/null
SELECT is(fold('quick'), 1, 'what is sound is learned');
SELECT results_eq($$SELECT decisions, events FROM policy_state WHERE policy = 'quick'$$, 'VALUES (1::bigint, 1::bigint)', 'and counted');
RESET ROLE;

---- where tables go ----

SET allow_in_place_tablespaces = on;
CREATE TABLESPACE br_test_space LOCATION '';
CREATE SCHEMA hut AUTHORIZATION br_test_stranger;
SET ROLE br_test_stranger;
CREATE TABLE hut.thing (id int PRIMARY KEY);
SET default_tablespace = br_test_space;
SELECT throws_ok('CREATE TABLE hut.other (id int)', '42501', NULL, 'a tablespace that he may not use');
SELECT create_catalog('hut', 'hut.thing', item_id => 'id') \g /dev/null
RESET default_tablespace;
RESET ROLE;
SELECT is_empty($$SELECT relname FROM pg_class WHERE reltablespace = (SELECT oid FROM pg_tablespace WHERE spcname = 'br_test_space')$$,
                'he cannot use through a catalog');
SELECT drop_catalog('hut') \g /dev/null
DROP SCHEMA hut CASCADE;
DROP TABLESPACE br_test_space;

---- loggers and readers go ----

SELECT throws_ok('DROP ROLE br_test_logger', '2BP01', NULL, 'a logger with grants is not dropped');
DROP OWNED BY br_test_logger, br_test_reader, br_test_auditor;
SELECT lives_ok('DROP ROLE br_test_logger, br_test_reader', 'DROP OWNED takes them back');
SELECT is(public.attempt('recorder', format('SELECT feedback(%s, 2)', :'id')), '1', 'other grants stay');
-- PostgreSQL takes back only what the tables' owner granted
SELECT throws_ok('DROP ROLE br_test_auditor', '2BP01', NULL, 'what the owner of the catalog granted');
SET ROLE br_test_keeper;
REVOKE SELECT (decision_id) ON bundle_rec.decision_:n FROM br_test_auditor;
RESET ROLE;
SELECT lives_ok('DROP ROLE br_test_auditor', 'he takes back');
SET ROLE br_test_keeper;
GRANT SELECT (decision_id, basket) ON bundle_rec.decision_:n TO br_test_librarian;
GRANT SELECT ON bundle_rec.item_:n TO br_test_librarian WITH GRANT OPTION;
SET ROLE br_test_librarian;
GRANT SELECT ON bundle_rec.item_:n TO br_test_guarded;
RESET ROLE;
SELECT is(public.attempt('keeper', $$SELECT * FROM recommend('shop')$$), '5', 'and the catalog works');

---- the source has another owner ----

GRANT USAGE ON SCHEMA shop TO br_test_heir, br_test_stranger;
ALTER TABLE shop.product OWNER TO br_test_heir;
SELECT is(public.attempt('heir', $$SELECT * FROM recommend('shop')$$), '5', 'the new owner has decisions logged at once');
SELECT is(public.attempt('heir', format('SELECT * FROM explain_decision(%s)', :'id')), '5', 'and explained');
SELECT is(public.attempt('heir', format('SELECT feedback(%s, 2)', :'id')), '1', 'gives feedback');
SELECT is(public.attempt('heir', $$SELECT log_event('shop', item_id => 'p01')$$), '1', 'logs events');
SELECT is(public.attempt('keeper', $$SELECT refresh('shop')$$), 'owner', 'the old one is none any more');
SELECT is(public.attempt('heir', $$SELECT * FROM sync('shop')$$), 'table', 'sync wants all sources to be of one owner');
SET ROLE br_test_heir;
SELECT refresh('shop') \g /dev/null
RESET ROLE;
-- who may what on the tables of a catalog
CREATE FUNCTION public.grants(n text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT DISTINCT format('%s %s', substr(r.rolname, 9), x.privilege_type) || CASE WHEN x.is_grantable THEN '*' ELSE ' by ' || substr(g.rolname, 9) END
    FROM pg_class c CROSS JOIN LATERAL (SELECT relacl UNION ALL SELECT attacl FROM pg_attribute WHERE attrelid = c.oid) a(acl),
         aclexplode(a.acl) x JOIN pg_roles r ON r.oid = x.grantee JOIN pg_roles g ON g.oid = x.grantor
    WHERE relnamespace = 'bundle_rec'::regnamespace AND relkind = 'r' AND relname ~ ('_' || n || '$') AND r.rolname ~ '^br_test' $$;
SELECT set_eq(format('SELECT public.grants(%L)', :'n'), ARRAY['heir SELECT*', 'heir INSERT*', 'recorder INSERT by heir', 'librarian SELECT by heir', 'librarian SELECT*', 'guarded SELECT by heir'],
              'refresh passes rights on with what was granted to others');
SET ROLE br_test_heir;
REVOKE INSERT ON bundle_rec.feedback_:n FROM br_test_recorder;
RESET ROLE;
SELECT is(public.attempt('recorder', format('SELECT feedback(%s, 2)', :'id')), 'feedback', 'which the new owner can take back');
SELECT is(public.attempt('recorder', $$SELECT log_event('shop', item_id => 'p01')$$), '1', 'one by one');

REASSIGN OWNED BY br_test_keeper TO br_test_heir;
DROP OWNED BY br_test_keeper;
SELECT lives_ok('DROP ROLE br_test_keeper', 'the old owner can be dropped');
SELECT is(public.attempt('heir', $$SELECT * FROM sync('shop')$$), '3', 'the sources have one owner again');
SELECT is(public.attempt('heir', $$SELECT alter_catalog('shop', discount => 0.2)$$), '1', 'who does what owners do');

-- a source in another role's hands by alter_catalog
CREATE TABLE shop.elsewhere (LIKE shop.product INCLUDING ALL);
SELECT is(public.attempt('heir', format($$SELECT alter_catalog('shop', items => %s::regclass)$$, 'shop.elsewhere'::regclass::oid)), 'table',
          'a catalog moves to no table of others');
ALTER TABLE shop.elsewhere OWNER TO br_test_stranger;
SELECT alter_catalog('shop', items => 'shop.elsewhere') \g /dev/null
SELECT set_eq(format('SELECT public.grants(%L)', :'n'),
              ARRAY['stranger SELECT*', 'stranger INSERT*', 'recorder INSERT by stranger', 'librarian SELECT by stranger', 'librarian SELECT*',
                    'guarded SELECT by stranger'], 'moved by a superuser, its rights move too');
SELECT is(public.attempt('heir', $$SELECT drop_catalog('shop')$$), 'owner', 'away from the former owner');
SELECT alter_catalog('shop', items => 'shop.product') \g /dev/null

---- the owner goes with the source ----

DROP TABLE shop.elsewhere, shop.purchase, shop.visit;
BEGIN;
DROP TABLE shop.product;
SELECT is(public.attempt('heir', $$SELECT drop_catalog('shop')$$), '1', 'who owned the source drops its catalog');
SELECT is(public.attempt('heir', 'SELECT FROM catalog_coverage'), '1', 'and sees it');
ROLLBACK;
-- what he granted of a column by his right on the table PostgreSQL would leave behind
SET ROLE br_test_heir;
REVOKE SELECT (basket) ON bundle_rec.decision_:n FROM br_test_librarian;
RESET ROLE;
DROP OWNED BY br_test_heir;
SELECT lives_ok('DROP ROLE br_test_heir', 'the owner can be dropped with the source');
CREATE ROLE br_test_heir;
SELECT is(public.attempt('super', $$SELECT * FROM recommend('shop')$$), '42P01: the source table of catalog "shop" was dropped', 'which is told');
SELECT is(public.attempt('heir', $$SELECT drop_catalog('shop')$$), 'owner', 'another role of his name is not the owner');
SELECT is(public.attempt('heir', $$SELECT alter_catalog('shop', discount => 0)$$), 'owner', 'in no way');
SELECT is(public.attempt('heir', 'SELECT FROM catalog_coverage'), '0', 'nor sees the catalog');
SELECT is(public.attempt('stranger', $$SELECT drop_catalog('shop')$$), 'owner', 'nor is a stranger');
DROP ROLE br_test_heir;
SELECT is(public.attempt('super', $$SELECT FROM catalog_coverage WHERE catalog = 'shop'$$), '1', 'a superuser sees it');
SELECT is(public.attempt('super', $$SELECT drop_catalog('shop')$$), '1', 'and drops it');

SELECT drop_catalog('shop') \g /dev/null
SELECT * FROM finish();
DROP OWNED BY br_test_member, br_test_guarded, br_test_recorder, br_test_librarian, br_test_stranger, br_test_super CASCADE;
DROP ROLE br_test_member, br_test_guarded, br_test_recorder, br_test_librarian, br_test_stranger, br_test_super;

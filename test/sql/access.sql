\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- access.sql
--    What hints say about missing rights, row-level security of the source in
--    every answer, and other people's code that must not run with our rights.
--    Which role may call what is in rights.sql, what sources show to whom in
--    rights_source.sql.
--
SELECT plan(58);
SET client_min_messages = warning;
SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls') \g /dev/null

DROP ROLE IF EXISTS br_test_keeper, br_test_guest, br_test_stranger, br_test_mallory;
CREATE ROLE br_test_keeper;
CREATE ROLE br_test_guest;
CREATE ROLE br_test_stranger;
CREATE ROLE br_test_mallory;

-- 24 products in 4 categories, every third one for members only; baskets of three consecutive products
CREATE SCHEMA shop AUTHORIZATION br_test_keeper;
SET ROLE br_test_keeper;
CREATE TABLE shop.product (
    sku text PRIMARY KEY, title text, category text, price numeric(8, 2), cost numeric(8, 2), stock int, hidden boolean NOT NULL);
INSERT INTO shop.product
SELECT 'p' || lpad(i::text, 2, '0'), 'product ' || i, 'kind ' || i % 4, 3 + i, 2, 5, i % 3 = 0 FROM generate_series(1, 24) i;
CREATE TABLE shop.purchase (receipt int, shopper text, sku text, at timestamptz DEFAULT now());
INSERT INTO shop.purchase (receipt, shopper, sku)
SELECT r, 'u' || r % 5, 'p' || lpad(((r + step) % 24 + 1)::text, 2, '0') FROM generate_series(1, 96) r, generate_series(0, 2) step;
SELECT create_catalog('shop', 'shop.product', item_id => 'sku', text => '{title}', price => 'price', cost => 'cost', stock => 'stock',
                      category => 'category', model => 'tiny') \g /dev/null
SELECT add_event_source('shop', 'shop.purchase', user_id => 'shopper', item_id => 'sku', basket_id => 'receipt', occurred_at => 'at') \g /dev/null
SELECT refresh('shop') \g /dev/null
GRANT USAGE ON SCHEMA shop TO br_test_guest;
GRANT SELECT ON shop.product TO br_test_guest;
RESET ROLE;
SELECT format('decision_%s', catalog) AS decision, format('feedback_%s', catalog) AS feedback, format('item_%s', catalog) AS item,
       format('item_state_%s', catalog) AS item_state
FROM catalog WHERE name = 'shop' \gset

-- the hint of the error that a statement raises, with the role in the place of `this role`
CREATE FUNCTION public.cure(statement text, role text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE statement;
    RETURN NULL;
EXCEPTION WHEN insufficient_privilege THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN replace(hint, 'this role.', role);
END $$;

---- what hints say ----

SET ROLE br_test_guest;
SELECT public.cure($$SELECT recommend('shop')$$, 'br_test_guest') AS cure \gset
RESET ROLE;
SELECT is(:'cure', format('GRANT INSERT ON bundle_rec.%s TO br_test_guest', :'decision'), 'the hint says what is missing');
SET ROLE br_test_keeper;
SELECT lives_ok(:'cure', 'the owner of the catalog can do as it says');
SET ROLE br_test_guest;
SELECT decision_id AS id FROM recommend('shop', seed => 1) LIMIT 1 \gset
SELECT ok(:'id' <> '', 'and the decision is logged');

SELECT throws_ok(format('SELECT explain_decision(%s)', :'id'), '42501', 'permission denied to read decisions of catalog "shop"', 'reading the log needs SELECT on it');
SELECT public.cure(format('SELECT explain_decision(%s)', :'id'), 'br_test_guest') AS cure \gset
SET ROLE br_test_keeper;
:cure;
SET ROLE br_test_guest;
SELECT is((SELECT count(*) FROM explain_decision(:id)), 5::bigint, 'and then works');

SELECT throws_ok(format('SELECT feedback(%s, 1)', :'id'), '42501', 'permission denied to give feedback on decisions of catalog "shop"',
                 'feedback needs INSERT on its table');
SELECT public.cure(format('SELECT feedback(%s, 1)', :'id'), 'br_test_guest') AS cure \gset
SET ROLE br_test_keeper;
:cure;
SET ROLE br_test_guest;
SELECT is(feedback(:id, 1), true, 'and then is new');
SELECT is(feedback(:id, 1), false, 'the first time');

RESET ROLE;

---- row-level security ----

ALTER TABLE shop.product ENABLE ROW LEVEL SECURITY;
CREATE POLICY members_only ON shop.product FOR SELECT TO br_test_guest USING (NOT hidden);
CREATE FUNCTION public.hides(items text[]) RETURNS boolean LANGUAGE sql
AS $$SELECT EXISTS (SELECT FROM unnest(items) i WHERE substr(i, 2)::int % 3 = 0)$$;
-- a decision of the owner's that offers hidden and visible items, to somebody whose basket and history have hidden ones
SET ROLE br_test_keeper;
SELECT decision_id AS mixed FROM recommend('shop', user_id => 'u1', basket => '{p03,p04}', bundles => 40, size => '[1,2]', seed => 7) LIMIT 1 \gset
RESET ROLE;

-- the same questions for both
\set bundles 'SELECT items FROM bundle_rec.recommend(\'shop\', user_id => \'u1\', basket => \'{p02}\', bundles => 150, log => false, seed => 3)'
\set singles 'SELECT ARRAY[item_id] FROM bundle_rec.recommend_items(\'shop\', user_id => \'u1\', basket => \'{p02}\', k => 24, log => false, seed => 3)'
\set queried 'SELECT items FROM bundle_rec.recommend(\'shop\', query => \'product 12\', bundles => 150, log => false, seed => 3)'
\set partners 'SELECT ARRAY[item_id] FROM bundle_rec.bought_together(\'shop\', \'{p02}\', k => 24)'
\set similar 'SELECT ARRAY[item_id] FROM bundle_rec.similar_items(\'shop\', \'p02\', k => 24)'
\set searched 'SELECT ARRAY[item_id] FROM bundle_rec.similar_items(\'shop\', query => \'product 12\', k => 24)'
\set explained 'SELECT items FROM bundle_rec.explain_decision(' :mixed ')'
CREATE TABLE public.question (name text, statement text);
INSERT INTO public.question VALUES ('recommend', :'bundles'), ('recommend_items', :'singles'), ('recommend by query', :'queried'),
    ('bought_together', :'partners'), ('similar_items', :'similar'), ('similar_items by query', :'searched'), ('explain_decision', :'explained');
GRANT SELECT ON public.question TO PUBLIC;

SET ROLE br_test_keeper;
SELECT isnt_empty(format('SELECT FROM (%s) a(items) WHERE public.hides(items)', statement), name || ' shows the owner what is hidden')
FROM public.question;
SET ROLE br_test_guest;
SELECT isnt_empty(statement, name || ' answers others') FROM public.question;
SELECT is_empty(format('SELECT FROM (%s) a(items) WHERE public.hides(items)', statement), 'without what is hidden from them: ' || name)
FROM public.question;

SELECT is((SELECT count(*) FROM similar_items('shop', query => 'product 12', k => 16)), 16::bigint, 'as many as are asked for where they exist');
SELECT is((SELECT count(*) FROM recommend_items('shop', k => 16, log => false)), 16::bigint, 'of items too');
SELECT results_eq(
    $$SELECT items, reasons FROM recommend('shop', basket => '{p03}', bundles => 50, log => false, seed => 5)$$,
    $$SELECT items, reasons FROM recommend('shop', basket => '{p99}', bundles => 50, log => false, seed => 5)$$,
    'a hidden item in the basket is as good as an unknown one');
SELECT is_empty($$SELECT r.reasons FROM recommend('shop', user_id => 'u1', bundles => 150, log => false) r,
                  jsonb_array_elements(r.reasons -> 'context') c WHERE public.hides(ARRAY[c ->> 'from'])$$,
                'a hidden item of the history is not told as a reason');
SELECT isnt_empty($$SELECT FROM recommend('shop', user_id => 'u1', bundles => 150, log => false) r,
                    jsonb_array_elements(r.reasons -> 'context') c$$, 'the rest of the history is');
SELECT is_empty(format($$SELECT c FROM explain_decision(%s) e, jsonb_array_elements(e.reasons -> 'context') c
                         WHERE public.hides(ARRAY[c ->> 'from'])$$, :'mixed'), 'nor is it afterwards');
SELECT is((SELECT public.hides(basket) FROM explain_decision(:mixed) LIMIT 1), false, 'and the basket is told without it');
RESET ROLE;
ALTER TABLE shop.product DISABLE ROW LEVEL SECURITY;

---- other people's code ----

-- everything that our statements use by a short name, in a schema that comes first
CREATE SCHEMA mallory AUTHORIZATION br_test_mallory;
GRANT USAGE ON SCHEMA mallory TO PUBLIC;
SET ROLE br_test_mallory;
SET search_path = mallory, public;
CREATE FUNCTION trap() RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'hostile code ran as %', current_user; END $$;
DO $$
DECLARE
    type text;
    operator text;
    function text;
BEGIN
    FOREACH type IN ARRAY '{int,bigint,text,float8,boolean,timestamptz,smallint}'::text[] LOOP
        EXECUTE format('CREATE FUNCTION trap_pair(%1$s, %1$s) RETURNS boolean LANGUAGE sql AS ''SELECT mallory.trap()''', type);
        FOREACH operator IN ARRAY '{=,<>,<,<=,>,>=}'::text[] LOOP
            EXECUTE format('CREATE OPERATOR mallory.%s (LEFTARG = %s, RIGHTARG = %2$s, FUNCTION = mallory.trap_pair)', operator, type);
        END LOOP;
        FOREACH function IN ARRAY '{max,sum,min,unnest,cardinality}'::text[] LOOP
            EXECUTE format('CREATE FUNCTION mallory.%s(%s) RETURNS boolean LANGUAGE sql AS ''SELECT mallory.trap()''',
                           function, CASE WHEN function IN ('unnest', 'cardinality') THEN type || '[]' ELSE type END);
        END LOOP;
    END LOOP;
END $$;
CREATE FUNCTION now() RETURNS timestamptz LANGUAGE sql AS $$SELECT timestamptz 'epoch' WHERE mallory.trap()$$;
CREATE FUNCTION count() RETURNS bigint LANGUAGE sql AS $$SELECT 1::bigint WHERE mallory.trap()$$;
CREATE FUNCTION embed(text, text, boolean) RETURNS boolean LANGUAGE sql AS $$SELECT mallory.trap()$$;
RESET ROLE;
SET search_path = bundle_rec, public;

CREATE FUNCTION public.under_hostile_path(statement text) RETURNS text LANGUAGE plpgsql
SET search_path = mallory, pg_catalog, public AS $$
BEGIN
    EXECUTE statement;
    RETURN 'fine';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLERRM;
END $$;
SET ROLE br_test_mallory;
SELECT is(public.under_hostile_path('SELECT 1 WHERE 1 = 1'), 'hostile code ran as br_test_mallory', 'the trap works');
SET ROLE br_test_keeper;
SELECT is(public.under_hostile_path(statement), 'fine', 'not in ' || name) FROM public.question;
SELECT is(public.under_hostile_path($$SELECT bundle_rec.feedback(decision_id, rank) FROM bundle_rec.recommend('shop')$$), 'fine', 'not in feedback');
SELECT is(public.under_hostile_path($$SELECT bundle_rec.fold('shop')$$), 'fine', 'not in fold');
SELECT is(public.under_hostile_path($$SELECT bundle_rec.create_policy('another', 'epsilon_greedy', 'shop', '{"draws": 10}')$$), 'fine', 'not in create_policy');
SELECT is(public.under_hostile_path($$INSERT INTO shop.product SELECT 'p25', 'product 25', 'kind 1', 28, 2, 5, false$$), 'fine', 'not in the triggers of items');
SELECT is(public.under_hostile_path($$INSERT INTO shop.purchase (receipt, shopper, sku) SELECT 1000, 'u1', 'p25'$$), 'fine', 'not in those of events');
SELECT is(public.under_hostile_path($$SELECT bundle_rec.refresh('shop')$$), 'fine', 'not in refresh');
RESET ROLE;

-- a catalog of mallory's, whose type has a cast, and whose policy looks who reads it
SET ROLE br_test_mallory;
CREATE TABLE mallory.seen (reader name);
GRANT INSERT ON mallory.seen TO PUBLIC;
CREATE FUNCTION mallory.spy() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO mallory.seen VALUES (current_user);
    BEGIN
        CREATE TEMP TABLE foothold (a int);
        DROP TABLE foothold;
        INSERT INTO mallory.seen VALUES ('unrestricted ' || current_user);
    EXCEPTION WHEN insufficient_privilege THEN
    END;
    RETURN true;
END $$;
CREATE TYPE mallory.sku AS ENUM ('a', 'b', 'c', 'd');
CREATE FUNCTION mallory.show(mallory.sku) RETURNS text LANGUAGE sql AS $$SELECT 'cast' WHERE mallory.trap()$$;
CREATE CAST (mallory.sku AS text) WITH FUNCTION mallory.show(mallory.sku) AS ASSIGNMENT;
CREATE TABLE mallory.ware (sku mallory.sku PRIMARY KEY, title text, price int);
INSERT INTO mallory.ware SELECT s, 'ware', 1 FROM unnest(enum_range(NULL::mallory.sku)) s;
CREATE TABLE mallory.sale (receipt int, sku mallory.sku);
INSERT INTO mallory.sale SELECT 1, sku FROM mallory.ware;
GRANT SELECT, INSERT, UPDATE ON mallory.ware, mallory.sale TO br_test_guest;
ALTER TABLE mallory.ware ENABLE ROW LEVEL SECURITY;
ALTER TABLE mallory.ware FORCE ROW LEVEL SECURITY;
CREATE POLICY spying ON mallory.ware USING (mallory.spy());
SELECT lives_ok($$SELECT create_catalog('ware', 'mallory.ware', item_id => 'sku', text => '{title}', price => 'price', model => 'tiny')$$,
                'a catalog whose ids have a hostile cast');
SELECT lives_ok($$SELECT add_event_source('ware', 'mallory.sale', item_id => 'sku', basket_id => 'receipt')$$, 'and its events');
RESET ROLE;
SELECT lives_ok($$SELECT refresh('ware')$$, 'refreshed by a superuser');
TRUNCATE mallory.seen;
SET ROLE br_test_guest;
SELECT is((SELECT count(*) FROM recommend('ware', bundles => 4, log => false)), 4::bigint, 'whose readers get answers');
RESET ROLE;
SELECT set_eq('SELECT DISTINCT reader::text FROM mallory.seen', ARRAY['br_test_guest'],
              'in which its policy runs with their rights, and restricted');

---- temporary tables ----

SET ROLE br_test_guest;
CREATE TEMP TABLE expected AS SELECT items, score, propensity FROM recommend('shop', basket => '{p02}', log => false, seed => 11);
CREATE TEMP TABLE :item (item int, item_id text);
CREATE TEMP TABLE :item_state (item int, price float8);
CREATE TEMP TABLE :decision (decision_id bigint);
CREATE TEMP TABLE catalog (catalog int, name text, items regclass);
CREATE TEMP TABLE policy (policy int, name text);
CREATE TEMP TABLE unfolded_decision (policy int);
SET search_path = pg_temp, bundle_rec, public;
SELECT results_eq($$SELECT items, score, propensity FROM recommend('shop', basket => '{p02}', log => false, seed => 11)$$,
                  'SELECT items, score, propensity FROM expected', 'temporary tables with our names change nothing');
SELECT lives_ok($$SELECT feedback(decision_id, rank) FROM recommend('shop', bundles => 1)$$, 'nor do they catch what is written');
SELECT is_empty(format('SELECT FROM pg_temp.%I', :'decision'), 'nothing of it');
RESET ROLE;
SET search_path = bundle_rec, public;

SELECT * FROM finish();
DROP OWNED BY br_test_keeper, br_test_guest, br_test_stranger, br_test_mallory CASCADE;
DROP ROLE br_test_keeper, br_test_guest, br_test_stranger, br_test_mallory;

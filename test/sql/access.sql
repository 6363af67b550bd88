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
SELECT plan(69);
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

-- everything that pg_catalog and our schema hold, by the same names and for the same types, in a schema that comes first
CREATE SCHEMA mallory AUTHORIZATION br_test_mallory;
GRANT USAGE ON SCHEMA mallory TO PUBLIC;
SET ROLE br_test_mallory;
CREATE FUNCTION mallory.trap() RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'hostile code ran as %', current_user; END $$;
-- functions with these types of arguments cannot be written in SQL
CREATE FUNCTION mallory.is_odd(oid[]) RETURNS boolean LANGUAGE sql
AS $$SELECT $1 && (SELECT array_agg(oid) FROM pg_type WHERE typtype = 'p' AND typname !~ '^any(array|element|range|nonarray|enum|compatible)')$$;
DO $$
DECLARE
    statement text;
    made int = 0;
BEGIN
    FOR statement IN
        SELECT DISTINCT format('CREATE FUNCTION mallory.%I(%s) RETURNS boolean LANGUAGE sql AS ''SELECT mallory.trap()''', p.proname, oidvectortypes(p.proargtypes))
        FROM pg_proc p WHERE pronamespace IN ('pg_catalog'::regnamespace, 'bundle_rec'::regnamespace) AND NOT mallory.is_odd(proargtypes::oid[] || 0::oid)
        UNION ALL
        SELECT DISTINCT format('CREATE FUNCTION mallory.trap_operator(%s) RETURNS boolean LANGUAGE sql AS ''SELECT mallory.trap()''',
                               concat_ws(', ', nullif(oprleft, 0)::regtype, oprright::regtype))
        FROM pg_operator WHERE oprnamespace IN ('pg_catalog'::regnamespace, 'bundle_rec'::regnamespace) AND NOT mallory.is_odd(ARRAY[oprleft, oprright])
        UNION ALL
        SELECT format('CREATE OPERATOR mallory.%s (%s RIGHTARG = %s, FUNCTION = mallory.trap_operator)', oprname,
                      'LEFTARG = ' || nullif(oprleft, 0)::regtype || ',', oprright::regtype)
        FROM pg_operator WHERE oprnamespace IN ('pg_catalog'::regnamespace, 'bundle_rec'::regnamespace) AND NOT mallory.is_odd(ARRAY[oprleft, oprright])
        UNION ALL
        SELECT format('CREATE VIEW mallory.%I AS SELECT mallory.trap() AS trapped', relname) FROM pg_class
        WHERE relnamespace IN ('pg_catalog'::regnamespace, 'bundle_rec'::regnamespace) AND relkind IN ('r', 'v', 'S')
        UNION ALL
        SELECT format('CREATE DOMAIN mallory.%I AS pg_catalog.text CHECK (mallory.trap())', typname) FROM pg_type
        WHERE typnamespace IN ('pg_catalog'::regnamespace, 'bundle_rec'::regnamespace) AND typtype IN ('b', 'r') AND typname !~ '^_' LOOP
        EXECUTE statement;
        made := made + 1;
    END LOOP;
    IF made < 3500 THEN RAISE 'only % traps', made; END IF;
END $$;
-- those of any number of arguments of any type, for the likeliest
CREATE FUNCTION mallory.format(text, text) RETURNS boolean LANGUAGE sql AS $$SELECT mallory.trap()$$;
CREATE FUNCTION mallory.format(text, int) RETURNS boolean LANGUAGE sql AS $$SELECT mallory.trap()$$;
CREATE FUNCTION mallory.count(int) RETURNS boolean LANGUAGE sql AS $$SELECT mallory.trap()$$;
CREATE FUNCTION mallory.count(text) RETURNS boolean LANGUAGE sql AS $$SELECT mallory.trap()$$;
CREATE FUNCTION mallory.unnest(text[], text[]) RETURNS boolean LANGUAGE sql AS $$SELECT mallory.trap()$$;
RESET ROLE;

CREATE FUNCTION public.under_hostile_path(statement text) RETURNS text LANGUAGE plpgsql
SET search_path = mallory, pg_catalog, public AS $$
BEGIN
    EXECUTE statement;
    RETURN 'fine';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLERRM;
END $$;
SET ROLE br_test_mallory;
SELECT is(public.under_hostile_path(statement), 'hostile code ran as br_test_mallory', 'the trap works: ' || statement)
FROM unnest('{SELECT 1 WHERE 1 = 1,SELECT 1 + 1,SELECT lower(''A''),SELECT ''a''::text,SELECT FROM pg_class,SELECT FROM catalog}'::text[]) statement;
RESET ROLE;
-- what an owner does, in an order in which it can be done; no statement says an operator or a short name itself
CREATE TABLE public.deed (place int GENERATED ALWAYS AS IDENTITY, statement text);
INSERT INTO public.deed (statement)
SELECT 'SELECT bundle_rec.' || call FROM unnest(ARRAY[
    $$feedback(decision_id, rank) FROM bundle_rec.recommend('shop')$$, $$fold('shop')$$, $$create_policy('another', 'epsilon_greedy', 'shop', '{"noise": 0.1}')$$,
    $$create_policy('quick', 'epsilon_greedy', 'shop', attribution_window => '0')$$, $$feedback(decision_id, rank) FROM bundle_rec.recommend('shop', policy => 'quick')$$,
    $$fold('quick')$$, $$create_policy('arms', 'linear_thompson', params => '{"arm_features": 2, "index": true}', attribution_window => '0')$$, $$add_arms('arms', '{a,b,c}', '{1,0,0,1,1,1}')$$,
    $$feedback(decision_id, rank) FROM bundle_rec.choose('arms', k => 2)$$, $$fold('arms')$$, $$warm_start('arms', 'SELECT ''a'' AS arm, 1::pg_catalog.float8 AS reward')$$,
    $$replay_choice(decision_id) FROM bundle_rec.choice_log$$, $$retire_arm('arms', 'b')$$, $$choose('arms', '{a,c}')$$, $$alter_policy('arms', '{"evidence_window": "1 day"}')$$, $$fold_due()$$,
    $$create_rule('shop', 'ban', 'ban', '{p02}', '{kind 1}')$$, $$create_rule('shop', 'boost', 'boost', categories => '{kind 2}', amount => 2)$$, $$create_rule('shop', 'cap', 'cap', categories => '{kind 3}', amount => 1)$$,
    $$create_rule('shop', 'pin', 'pin', '{p07,p08}')$$, $$create_rule('shop', 'need', 'require', categories => '{kind 3,kind 4}')$$, $$recommend('shop')$$, $$recommend('shop', bundles => 200, budget => 20, min_margin => 0.1)$$,
    $$drop_rule(catalog, rule) FROM bundle_rec.rule$$,
    $$choice_probabilities('arms')$$, $$forget_user_choices('arms', 'u1')$$, $$drop_policy('arms')$$, $$log_event('shop', 'u1', 'p03')$$, $$sync('shop')$$, $$refresh('shop')$$, $$alter_catalog('shop', price => '')$$,
    $$alter_catalog('shop', price => 'price')$$, $$alter_catalog('shop', model => 'other')$$, $$refresh('shop')$$, $$drop_event_source('shop', 'shop.purchase')$$,
    $$refresh('shop')$$, $$add_event_source('shop', 'shop.purchase', 'shopper', 'sku', basket_id => 'receipt', occurred_at => 'at')$$, $$refresh('shop')$$,
    $$create_catalog('window', 'shop.window', 'sku', '{title}', model => 'other')$$, $$sync('window')$$, $$refresh('window')$$,
    $$recommend_items('window', log => false)$$, $$drop_catalog('window')$$]) call
UNION ALL VALUES ('INSERT INTO shop.product SELECT ''p25'', ''product 25'', ''kind 1'', 28, 2, 5, false'), ('UPDATE shop.product SET price = 9'),
    ('UPDATE shop.product SET price = NULL'), ('INSERT INTO shop.purchase (receipt, shopper, sku) SELECT 1000, ''u1'', ''p25'''),
    ('UPDATE shop.purchase SET shopper = ''u2'''), ('SELECT bundle_rec.refresh(''shop'')'), ('DELETE FROM shop.purchase'), ('TRUNCATE shop.purchase'),
    ('SELECT * FROM bundle_rec.catalog_coverage'), ('SELECT * FROM bundle_rec.rejected_row'), ('SELECT * FROM bundle_rec.policy_state'), ('SELECT * FROM bundle_rec.model'),
    ('SELECT bundle_rec.embed(''a product'', ''tiny''), bundle_rec.tokenize(''a product'', ''tiny''), bundle_rec.backends()');
GRANT SELECT ON public.deed TO PUBLIC;
GRANT CREATE ON DATABASE :"DBNAME" TO br_test_keeper;
SELECT load_model('other', :'golden_dir' || '/models/tiny-bert-cls') \g /dev/null
CREATE TABLE shop.shelf AS TABLE shop.product;
CREATE VIEW shop.window AS SELECT sku, title FROM shop.shelf;
ALTER VIEW shop.window OWNER TO br_test_keeper;
ALTER TABLE shop.shelf OWNER TO br_test_keeper;
SET ROLE br_test_keeper;
SELECT is(public.under_hostile_path(statement), 'fine', 'not in ' || name) FROM public.question;
BEGIN;
SELECT coalesce(string_agg(statement || ': ' || said, E'\n'), '') AS said FROM (
    SELECT statement, public.under_hostile_path(statement) AS said FROM (SELECT * FROM public.deed ORDER BY place) d) d WHERE said <> 'fine' \gset
ROLLBACK;
SELECT is(:'said'::text, '', 'nor in anything that an owner does');
RESET ROLE;
SELECT is(public.under_hostile_path(format('SELECT bundle_rec.load_model(''third'', %L)', :'golden_dir' || '/models/tiny-bert-cls')), 'fine', 'nor in loading a model');
SELECT is(public.under_hostile_path('SELECT bundle_rec.drop_model(''third'')'), 'fine', 'nor in dropping it');
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

---- temporary objects ----

-- every relation and type of pg_catalog and of ours once more, as the session's own, which come first unless a path says otherwise
GRANT USAGE ON SCHEMA mallory TO br_test_guest;
SET search_path = bundle_rec, public, pg_temp;
CREATE TEMP TABLE expected AS SELECT items, score, propensity FROM recommend('shop', basket => '{p02}', log => false, seed => 11);
DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT format('CREATE DOMAIN pg_temp.%I AS pg_catalog.text CHECK (mallory.trap())', typname) FROM pg_type
        WHERE typnamespace IN ('pg_catalog'::regnamespace, 'bundle_rec'::regnamespace) AND typtype IN ('b', 'r') AND typname !~ '^_'
        UNION ALL
        SELECT format('CREATE TEMP VIEW %I AS SELECT mallory.trap() AS trapped', relname) FROM pg_class
        WHERE relnamespace IN ('pg_catalog'::regnamespace, 'bundle_rec'::regnamespace) AND relkind IN ('r', 'v', 'S') LOOP
        EXECUTE statement;
    END LOOP;
END $$;
DO $$BEGIN
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO PUBLIC', (SELECT nspname FROM pg_catalog.pg_namespace WHERE oid = pg_my_temp_schema()));
END $$;
CREATE FUNCTION public.under_temporary_path(statement text) RETURNS text LANGUAGE plpgsql
SET search_path = pg_temp, pg_catalog, public AS $$
BEGIN
    EXECUTE statement;
    RETURN 'fine';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLERRM;
END $$;
SET ROLE br_test_keeper;
SELECT is(public.under_temporary_path(statement), 'hostile code ran as br_test_keeper', 'the trap works: ' || statement)
FROM unnest('{SELECT ''a''::text,SELECT FROM pg_class,SELECT FROM catalog}'::text[]) statement;
SELECT is(public.under_temporary_path(statement), 'fine', 'not in ' || name) FROM public.question;
BEGIN;
SELECT coalesce(string_agg(statement || ': ' || said, E'\n'), '') AS said FROM (
    SELECT statement, public.under_temporary_path(statement) AS said FROM (SELECT * FROM public.deed ORDER BY place) d) d WHERE said <> 'fine' \gset
ROLLBACK;
SELECT is(:'said'::text, '', 'nor in anything that an owner does');
SELECT results_eq($$SELECT items, score, propensity FROM recommend('shop', basket => '{p02}', log => false, seed => 11)$$,
                  'SELECT items, score, propensity FROM expected', 'the answer is the same');
RESET ROLE;

SELECT * FROM finish();
DROP OWNED BY br_test_keeper, br_test_guest, br_test_stranger, br_test_mallory CASCADE;
DROP ROLE br_test_keeper, br_test_guest, br_test_stranger, br_test_mallory;

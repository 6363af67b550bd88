\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- rights_source.sql
--    Sources that show each reader other rows: tables and partitioned tables
--    under row-level security, views, foreign tables. Whatever is answered names
--    only what a plain SELECT from the source shows the same role. And sources
--    whose owner is hostile: his functions run as whoever asks, or as himself
--    when synchronising, never as anybody else.
--
SELECT plan(141);
SET client_min_messages = error;
SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls') \g /dev/null

CREATE ROLE br_test_keeper LOGIN;
CREATE ROLE br_test_alice LOGIN;
CREATE ROLE br_test_bob LOGIN;
CREATE ROLE br_test_bypass BYPASSRLS LOGIN;
CREATE ROLE br_test_mallory;
SELECT extowner::regrole AS extension_owner FROM pg_extension WHERE extname = 'bundle_rec' \gset

-- 24 wares: alice sees the even ones, bob each third, the owner all but the last
CREATE SCHEMA shop AUTHORIZATION br_test_keeper;
GRANT USAGE ON SCHEMA shop TO PUBLIC;
SET ROLE br_test_keeper;
CREATE TABLE shop.ware (sku text PRIMARY KEY, title text, price float8, audience name[]);
INSERT INTO shop.ware
SELECT 'p' || lpad(i::text, 2, '0'), 'product ' || i, 3 + i,
       array_remove(ARRAY[CASE WHEN i < 24 THEN 'br_test_keeper' END, CASE WHEN i % 2 = 0 THEN 'br_test_alice' END,
                          CASE WHEN i % 3 = 0 THEN 'br_test_bob' END], NULL)
FROM generate_series(1, 24) i;
CREATE TABLE shop.sale (receipt int, shopper text, sku text);
INSERT INTO shop.sale SELECT r, 'u' || r % 5, 'p' || lpad(((r + step) % 24 + 1)::text, 2, '0') FROM generate_series(1, 96) r, unnest('{0,1,3,6}'::int[]) step;

CREATE TABLE shop.secured (LIKE shop.ware INCLUDING ALL);
CREATE TABLE shop.forced (LIKE shop.ware INCLUDING ALL);
CREATE TABLE shop.parted (LIKE shop.ware INCLUDING ALL) PARTITION BY HASH (sku);
CREATE TABLE shop.parted_0 PARTITION OF shop.parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE shop.parted_1 PARTITION OF shop.parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO shop.secured TABLE shop.ware;
INSERT INTO shop.forced TABLE shop.ware;
INSERT INTO shop.parted TABLE shop.ware;
ALTER TABLE shop.secured ENABLE ROW LEVEL SECURITY;
ALTER TABLE shop.forced ENABLE ROW LEVEL SECURITY;
ALTER TABLE shop.forced FORCE ROW LEVEL SECURITY;
ALTER TABLE shop.parted ENABLE ROW LEVEL SECURITY;
-- one policy for two users, and two that differ
CREATE POLICY audience ON shop.secured FOR SELECT USING (current_user = ANY (audience));
CREATE POLICY audience ON shop.forced FOR SELECT USING (current_user = ANY (audience));
CREATE POLICY evens ON shop.parted FOR SELECT TO br_test_alice USING (substr(sku, 2)::int % 2 = 0);
CREATE POLICY thirds ON shop.parted FOR SELECT TO br_test_bob USING (substr(sku, 2)::int % 3 = 0);
CREATE FUNCTION shop.may_see(audience name[]) RETURNS boolean LANGUAGE plpgsql STABLE AS $$BEGIN RETURN current_user = ANY (audience); END $$;
CREATE VIEW shop.barrier WITH (security_barrier) AS SELECT * FROM shop.ware WHERE current_user = ANY (audience);
CREATE VIEW shop.asking AS SELECT * FROM shop.ware WHERE shop.may_see(audience);
CREATE VIEW shop.invoking WITH (security_invoker) AS SELECT * FROM shop.forced;
GRANT SELECT ON shop.secured, shop.forced, shop.parted, shop.barrier, shop.asking, shop.invoking TO br_test_alice, br_test_bob, br_test_bypass;
RESET ROLE;

-- a foreign table over the view: this server, once more
CREATE EXTENSION postgres_fdw;
DO $$BEGIN
    EXECUTE format('CREATE SERVER loopback FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L)',
                   split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database());
END $$;
CREATE USER MAPPING FOR br_test_keeper SERVER loopback OPTIONS (user 'br_test_keeper', password_required 'false');
CREATE USER MAPPING FOR br_test_alice SERVER loopback OPTIONS (user 'br_test_alice', password_required 'false');
CREATE USER MAPPING FOR br_test_bob SERVER loopback OPTIONS (user 'br_test_bob', password_required 'false');
GRANT USAGE ON FOREIGN SERVER loopback TO br_test_keeper;
SET ROLE br_test_keeper;
CREATE FOREIGN TABLE shop.remote (sku text, title text, price float8, audience name[]) SERVER loopback OPTIONS (schema_name 'shop', table_name 'barrier');
-- and a partitioned table of which it is a part
CREATE TABLE shop.mixed (LIKE shop.ware) PARTITION BY RANGE (sku);
CREATE TABLE shop.mixed_here PARTITION OF shop.mixed FOR VALUES FROM ('q') TO ('r');
CREATE FOREIGN TABLE shop.mixed_there PARTITION OF shop.mixed FOR VALUES FROM ('p') TO ('q') SERVER loopback OPTIONS (schema_name 'shop', table_name 'barrier');
GRANT SELECT ON shop.remote, shop.mixed TO br_test_alice, br_test_bob, br_test_bypass;
RESET ROLE;

-- a catalog over each, and a decision of its owner's for somebody whose basket and history have what others may not see
CREATE TABLE public.source (name text PRIMARY KEY, asked boolean);
INSERT INTO public.source VALUES ('secured', false), ('forced', false), ('parted', false), ('barrier', true), ('asking', true), ('invoking', true), ('remote', true), ('mixed', true);
GRANT SELECT ON public.source TO PUBLIC;
SET ROLE br_test_keeper;
SELECT create_catalog(name, format('shop.%I', name)::regclass, 'sku', text => '{title}', price => 'price', model => 'tiny') FROM public.source \g /dev/null
SELECT add_event_source(name, 'shop.sale', user_id => 'shopper', item_id => 'sku', basket_id => 'receipt') FROM public.source \g /dev/null
SELECT refresh(name) FROM public.source \g /dev/null
SELECT name, d.decision_id INTO TEMP mixed FROM public.source, LATERAL (
    SELECT decision_id FROM recommend(name, user_id => 'u1', basket => '{p03,p04}', bundles => 40, size => '[1,2]', seed => 7) LIMIT 1) d;
DO $$
DECLARE
    number int;
BEGIN
    FOR number IN SELECT c.number FROM bundle_rec.catalog_coverage c LOOP
        EXECUTE format('GRANT SELECT (decision_id) ON bundle_rec.decision_%s TO br_test_alice, br_test_bob, br_test_bypass', number);
    END LOOP;
END $$;
RESET ROLE;
SELECT is((SELECT count(*) FROM mixed), 8::bigint, 'decisions of the owner');

---- what each role is told of each source ----

CREATE TABLE public.sold AS TABLE shop.sale;
GRANT SELECT ON public.sold TO PUBLIC;

-- What a role is answered, question by question: how many rows, and what they name that it cannot SELECT.
CREATE FUNCTION public.ask(role text, catalog text, OUT question text, OUT answers bigint, OUT unseen text[]) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
    decision bigint = (SELECT decision_id FROM mixed WHERE name = catalog);
    visible text[];
    statement text;
    told text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    EXECUTE format('SELECT array_agg(sku) FROM shop.%I', catalog) INTO visible;
    FOR question, statement IN VALUES
        ('recommend', 'recommend(%L, user_id => ''u1'', basket => ''{p06,p07,p08,p09}'', bundles => 150, log => false, seed => 3)'),
        ('recommend by query', 'recommend(%L, query => ''product 12'', bundles => 150, log => false, seed => 3)'),
        ('recommend_items', 'recommend_items(%L, user_id => ''u1'', basket => ''{p06,p07,p08,p09}'', k => 24, log => false, seed => 3)'),
        ('bought_together', 'bought_together(%L, ''{p06}'', k => 24)'),
        ('similar_items', 'similar_items(%L, ''p06'', k => 24)'),
        ('similar_items by query', 'similar_items(%L, query => ''product 12'', k => 24)'),
        ('explain_decision', 'explain_decision(' || decision || ')') LOOP
        EXECUTE format('SELECT count(*), string_agg(q::text, '' '') FROM bundle_rec.' || statement || ' q', catalog) INTO answers, told;
        unseen := ARRAY(SELECT m[1] FROM regexp_matches(told, '\mp\d\d\M', 'g') m WHERE m[1] <> ALL (visible));
        RETURN NEXT;
    END LOOP;
    RESET ROLE;
END $$;
CREATE VIEW public.reader AS SELECT name, 'br_test_' || role AS role FROM public.source, unnest('{keeper,alice,bob,bypass}'::text[]) role
-- whose policy, view or server shows him nothing
WHERE NOT (role = 'bypass' AND asked);

SELECT is_empty(format('SELECT * FROM public.ask(%L, %L) WHERE unseen <> ''{}''', role, name), format('%s is told of %s only what he sees', role, name))
FROM public.reader ORDER BY name, role;
SELECT is_empty(format('SELECT question FROM public.ask(%L, %L) WHERE answers = 0', role, name), format('%s is answered from %s', role, name))
FROM public.reader ORDER BY name, role;

-- all that he sees, and the owner saw when synchronising: a question to which everything is an answer
CREATE FUNCTION public.all_answers(role text, catalog text, statement text, OUT ids text[]) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    EXECUTE format(statement, catalog) INTO ids;
    RESET ROLE;
END $$;
SELECT is(public.all_answers(role, name, 'SELECT array_agg(item_id ORDER BY item_id) FROM bundle_rec.similar_items(%L, query => ''a product'', k => 24)'),
          array_remove(public.all_answers(role, name, 'SELECT array_agg(sku ORDER BY sku) FROM shop.%I'), CASE WHEN asked THEN 'p24' END),
          format('and of all of it: %s, %s', name, role))
FROM public.reader JOIN public.source USING (name) ORDER BY name, role;
SELECT is(public.all_answers(role, name, 'SELECT array_agg(item_id ORDER BY item_id) FROM bundle_rec.bought_together(%L, ''{p06}'', k => 24)'),
          array_remove(public.all_answers(role, name, 'SELECT array_agg(DISTINCT b.sku ORDER BY b.sku) FROM public.sold a JOIN public.sold b USING (receipt)
              JOIN shop.%I s ON s.sku = b.sku WHERE a.sku = ''p06'' AND b.sku <> ''p06'''), CASE WHEN asked THEN 'p24' END),
          format('what was bought together: %s, %s', name, role))
FROM public.reader JOIN public.source USING (name) WHERE role IN ('br_test_alice', 'br_test_bob') ORDER BY name, role;
-- a superuser is no audience; who does not log in at the foreign server is told so, as by SELECT
SELECT is_empty(format($$SELECT * FROM similar_items(%L, query => 'a product')$$, name), 'a superuser sees no more than the view: ' || name)
FROM public.source WHERE name IN ('barrier', 'asking') ORDER BY name;
SET ROLE br_test_bypass;
SELECT throws_ok('SELECT * FROM shop.remote', '42704', 'user mapping not found for "br_test_bypass"', 'a foreign table needs a user mapping');
SELECT throws_ok($$SELECT * FROM recommend_items('remote', log => false)$$, '42704', 'user mapping not found for "br_test_bypass"', 'its catalog too');
-- what is hidden cannot be told from what is not there
SET ROLE br_test_alice;
SELECT throws_ok($$SELECT * FROM bought_together('secured', '{p03,zzz}')$$, '42704', 'there is no item "p03" in catalog "secured"', 'a hidden item is not there');
SELECT throws_ok($$SELECT * FROM similar_items('secured', 'p03')$$, '42704', 'there is no item "p03" in catalog "secured"', 'nor to compare with');
SET row_security = off;
SELECT throws_ok($$SELECT * FROM recommend('secured', log => false)$$, '42501', NULL, 'without row-level security it is an error, as in SELECT');
RESET row_security;
RESET ROLE;
-- rows set aside under row-level security, or seen by the owner of a view alone
UPDATE shop.secured SET price = -1 WHERE sku = 'p03';
UPDATE shop.ware SET price = -1 WHERE sku = 'p03';
SELECT count(*) FROM public.source, sync(name) WHERE name IN ('barrier', 'remote') \g /dev/null
SET ROLE br_test_alice;
SELECT is_empty('SELECT * FROM rejected_row', 'rows set aside are not told past policies, views and servers');
SET ROLE br_test_keeper;
SELECT set_eq('SELECT DISTINCT origin::text, row_id FROM rejected_row', $$VALUES ('shop.secured', 'p03'), ('shop.barrier', 'p03'), ('shop.remote', 'p03')$$, 'but to the owner');
RESET ROLE;

---- who sees little of much ----

-- of 3,000 items, some bought far more often than others, a tenant sees ten that nobody buys
SET ROLE br_test_keeper;
CREATE TABLE shop.shared (sku int PRIMARY KEY, title text, price float8, tenant name);
INSERT INTO shop.shared SELECT i, 'thing ' || i, 1 + i % 7, CASE WHEN i % 300 = 0 THEN 'br_test_alice' ELSE 'br_test_bob' END FROM generate_series(1, 3000) i;
CREATE TABLE shop.sold (receipt int, sku int);
INSERT INTO shop.sold SELECT r, 1 + (r * 7 + step) % 200 FROM generate_series(1, 2000) r, generate_series(0, 2) step;
ALTER TABLE shop.shared ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenants ON shop.shared FOR SELECT USING (tenant = current_user);
CREATE VIEW shop.shared_view WITH (security_barrier) AS SELECT * FROM shop.shared WHERE tenant = current_user OR current_user = 'br_test_keeper';
GRANT SELECT ON shop.shared, shop.shared_view TO br_test_alice;
SELECT create_catalog('shared', 'shop.shared', 'sku', price => 'price'), create_catalog('shared_view', 'shop.shared_view', 'sku', price => 'price') \g /dev/null
SELECT add_event_source('shared', 'shop.sold', item_id => 'sku', basket_id => 'receipt'), refresh('shared') \g /dev/null
SET ROLE br_test_alice;
SELECT set_eq(format('SELECT item_id FROM recommend_items(%L, k => 20, log => false)', name), 'SELECT sku::text FROM shop.shared', 'a tenant is offered all that is his: ' || name)
FROM (VALUES ('shared'), ('shared_view')) s(name);
SELECT set_eq($$SELECT item_id FROM recommend_items('shared', k => 20, basket => '{300,1}', budget => 3, log => false)$$,
              $$SELECT sku::text FROM shop.shared WHERE sku <> 300 AND price <= 3$$, 'within the limits');
SELECT is((SELECT count(*) FROM recommend('shared', bundles => 45, size => '[2,2]', log => false)), 45::bigint, 'in every pair of ten');
RESET ROLE;

---- a view whose function is hostile ----

CREATE SCHEMA mallory AUTHORIZATION br_test_mallory;
GRANT USAGE ON SCHEMA mallory TO PUBLIC;
SELECT number AS n FROM catalog_coverage WHERE catalog = 'secured' \gset
SET ROLE br_test_mallory;
CREATE TABLE mallory.seen (reader name, did text);
CREATE TABLE mallory.mode (mode text);
GRANT SELECT, INSERT ON mallory.seen TO PUBLIC;
GRANT SELECT ON mallory.mode TO PUBLIC;
INSERT INTO mallory.mode VALUES ('spy');
CREATE FUNCTION mallory.spy() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    mode text = (SELECT m.mode FROM mallory.mode m);
    attempt text;
BEGIN
    IF mode = 'raise' THEN RAISE 'as you wish'; END IF;
    IF mode = 'sleep' THEN PERFORM pg_sleep(60); END IF;
    INSERT INTO mallory.seen VALUES (current_user, 'ran under ' || current_setting('search_path'));
    FOREACH attempt IN ARRAY ARRAY[
        'GRANT br_test_keeper TO br_test_mallory', 'ALTER ROLE br_test_mallory SUPERUSER', 'CREATE TEMP TABLE foothold (a int)',
        'SET LOCAL ROLE br_test_keeper', 'SET LOCAL SESSION AUTHORIZATION br_test_keeper', 'RESET ROLE', 'RESET SESSION AUTHORIZATION', 'LISTEN foothold',
        'SELECT count(*) FROM bundle_rec.catalog', 'SELECT count(*) FROM bundle_rec.item', 'SELECT count(*) FROM bundle_rec.stored_model',
        'SELECT basket FROM bundle_rec.decision_' || (SELECT number FROM mallory.victim), 'DELETE FROM bundle_rec.policy',
        'UPDATE bundle_rec.item_' || (SELECT number FROM mallory.victim) || ' SET category = NULL', 'SELECT count(*) FROM shop.secured'] LOOP
        BEGIN
            EXECUTE attempt;
            INSERT INTO mallory.seen VALUES (current_user, attempt);
        EXCEPTION WHEN OTHERS THEN
        END;
    END LOOP;
    RETURN true;
END $$;
CREATE TABLE mallory.victim AS SELECT :n AS number;
GRANT SELECT ON mallory.victim TO PUBLIC;
CREATE TABLE mallory.ware (sku text PRIMARY KEY, title text, price float8);
INSERT INTO mallory.ware SELECT 'm' || i, 'ware ' || i, i FROM generate_series(1, 4) i;
CREATE VIEW mallory.stall AS SELECT sku, title, price, 'u1'::text AS shopper FROM mallory.ware WHERE mallory.spy();
GRANT SELECT ON mallory.stall TO br_test_alice;
SELECT create_catalog('stall', 'mallory.stall', 'sku', text => '{title}', price => 'price', model => 'tiny') \g /dev/null
SELECT add_event_source('stall', 'mallory.stall', user_id => 'shopper', item_id => 'sku') \g /dev/null
RESET ROLE;
SELECT number AS stall FROM catalog_coverage WHERE catalog = 'stall' \gset
GRANT INSERT ON bundle_rec.decision_:stall TO br_test_alice;
TRUNCATE mallory.seen;
SELECT (SELECT count(*) FROM sync('stall')), refresh('stall'), alter_catalog('stall', price => ''), alter_catalog('stall', price => 'price') \g /dev/null
SELECT set_eq('SELECT DISTINCT * FROM mallory.seen', $$VALUES ('br_test_mallory'::name, 'ran under pg_catalog, pg_temp')$$,
              'a superuser who synchronises runs a view''s function as its owner, who gains nothing');
TRUNCATE mallory.seen;
SET ROLE br_test_alice;
SELECT is((SELECT count(*) FROM recommend('stall', bundles => 3, size => '[1,2]')), 3::bigint, 'readers get answers');
SELECT count(*) FROM recommend_items('stall', user_id => 'u1', basket => '{m1}', log => false), similar_items('stall', 'm1'), similar_items('stall', query => 'ware') s \g /dev/null
SELECT throws_ok($$SELECT * FROM bought_together('stall', '{nothing}')$$, '42704', NULL, 'of all kinds');
RESET ROLE;
SELECT set_eq($$SELECT DISTINCT reader FROM mallory.seen$$, ARRAY['br_test_alice'::name], 'and run it as themselves');
SELECT set_eq($$SELECT DISTINCT did FROM mallory.seen WHERE did NOT LIKE 'ran under%'$$, ARRAY['SELECT count(*) FROM shop.secured'], 'it does what they may do, restricted');

UPDATE mallory.mode SET mode = 'raise';
SELECT throws_ok($$SELECT sync('stall')$$, 'P0001', 'as you wish', 'what it raises ends sync');
SELECT is((SELECT items FROM catalog_coverage WHERE catalog = 'stall'), 4::bigint, 'which changed nothing');
SET ROLE br_test_alice;
SELECT throws_ok($$SELECT * FROM recommend('stall')$$, 'P0001', 'as you wish', 'and ends an answer');
SELECT is(current_user, 'br_test_alice'::name, 'that leaves nobody another''s rights');
SELECT throws_ok('SELECT * FROM bundle_rec.item', '42501', NULL, 'none');
RESET ROLE;
UPDATE mallory.mode SET mode = 'sleep';
SET statement_timeout = '300ms';
CREATE FUNCTION public.is_cancelled(statement text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN false;
EXCEPTION WHEN query_canceled THEN
    RETURN true;
END $$;
SELECT ok(public.is_cancelled($$SELECT sync('stall')$$), 'time is limited in sync');
SET ROLE br_test_alice;
SELECT ok(public.is_cancelled($$SELECT recommend('stall')$$), 'and in answers');
RESET ROLE;
RESET statement_timeout;
UPDATE mallory.mode SET mode = 'spy';

-- the owner of a catalog is who owns its source, also of a view: others' rows are not taken into it
SET ROLE br_test_mallory;
CREATE VIEW mallory.window AS SELECT * FROM shop.secured;
SELECT throws_ok($$SELECT create_catalog('window', 'mallory.window', 'sku')$$, '42501', 'permission denied for table secured', 'a view shows no more than its owner may see');
RESET ROLE;
SELECT throws_ok($$SELECT create_catalog('window', 'mallory.window', 'sku')$$, '42501', 'permission denied for table secured', 'also where a superuser asks for its catalog');

---- a table with hostile code all around ----

TRUNCATE mallory.seen;
SET ROLE br_test_mallory;
CREATE FUNCTION mallory.noisy(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM mallory.spy(); RETURN $1; END $$;
CREATE FUNCTION mallory.loud() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN mallory.spy(); END $$;
CREATE FUNCTION mallory.fire() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM mallory.spy(); RETURN NULL; END $$;
CREATE DOMAIN mallory.checked AS text CHECK (mallory.noisy(VALUE) IS NOT NULL);
CREATE TABLE mallory.trap (sku mallory.checked PRIMARY KEY, title mallory.checked, price float8 CHECK (mallory.loud()),
                           loud text GENERATED ALWAYS AS (mallory.noisy(title)) STORED, extra text DEFAULT mallory.noisy('x'));
CREATE INDEX ON mallory.trap (mallory.noisy(sku));
CREATE INDEX ON mallory.trap (sku) WHERE mallory.loud();
INSERT INTO mallory.trap SELECT 't' || i, 'trap ' || i, i FROM generate_series(1, 6) i;
CREATE TRIGGER fire AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON mallory.trap FOR EACH STATEMENT EXECUTE FUNCTION mallory.fire();
CREATE FUNCTION mallory.differs(mallory.checked, mallory.checked) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM mallory.spy(); RETURN false; END $$;
CREATE OPERATOR mallory.= (LEFTARG = mallory.checked, RIGHTARG = mallory.checked, FUNCTION = mallory.differs);
ALTER TABLE mallory.trap ENABLE ROW LEVEL SECURITY;
CREATE POLICY odd ON mallory.trap FOR SELECT TO br_test_alice USING (price::int % 2 = 1);
GRANT SELECT, TRIGGER ON mallory.trap TO br_test_alice;
RESET ROLE;
SET ROLE br_test_alice;
CREATE TRIGGER another AFTER INSERT ON mallory.trap FOR EACH ROW EXECUTE FUNCTION mallory.fire();
RESET ROLE;
SELECT isnt_empty('SELECT * FROM mallory.seen', 'the traps work');
TRUNCATE mallory.seen;
SELECT create_catalog('trap', 'mallory.trap', 'sku', text => '{title,loud}', category => 'extra', price => 'price', model => 'tiny') \g /dev/null
SELECT add_event_source('trap', 'mallory.trap', item_id => 'sku', kind => 'extra') \g /dev/null
SELECT refresh('trap'), (SELECT count(*) FROM sync('trap')), alter_catalog('trap', category => ''), alter_catalog('trap', category => 'extra') \g /dev/null
SELECT is((SELECT count(*) FROM recommend_items('trap', log => false)), 6::bigint, 'a superuser is answered');
SELECT is_empty('SELECT * FROM mallory.seen', 'checks, generated columns, defaults, indexes, triggers and operators: none has run');
SET ROLE br_test_alice;
SELECT set_eq($$SELECT item_id FROM recommend_items('trap', log => false)$$, '{t1,t3,t5}'::text[], 'a reader too');
RESET ROLE;
SELECT is_empty($$SELECT * FROM mallory.seen WHERE reader <> 'br_test_alice' OR did NOT LIKE 'ran under%' AND did <> 'SELECT count(*) FROM shop.secured'$$,
                'at most with his rights, restricted');

---- event triggers, and triggers that stand elsewhere ----

CREATE TABLE public.ddl (command text, owner name);
GRANT INSERT ON public.ddl TO PUBLIC;
CREATE FUNCTION public.note() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.ddl VALUES (tg_tag, current_user); END $$;
CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION public.note();
SET ROLE br_test_mallory;
SELECT create_catalog('more', 'mallory.ware', 'sku') \g /dev/null
RESET ROLE;
DROP EVENT TRIGGER note;
SELECT set_eq('SELECT DISTINCT command, owner FROM public.ddl WHERE command ~ ''CREATE (TABLE|TRIGGER)''',
              format($$VALUES ('CREATE TABLE', %L::name), ('CREATE TRIGGER', 'br_test_mallory')$$, :'extension_owner'),
              'what is made of ours is made by the extension''s owner, triggers by the source''s');

SELECT number AS secured FROM catalog_coverage WHERE catalog = 'secured' \gset
SELECT source AS sales FROM event_source WHERE catalog = :secured AND events IS NOT NULL \gset
SET ROLE br_test_mallory;
CREATE TABLE mallory.fake (sku text, title text, price float8, receipt int, shopper text);
DO $$BEGIN
    EXECUTE format('CREATE TRIGGER fake_items AFTER INSERT ON mallory.fake REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION bundle_rec.items_changed(%L)',
                   (SELECT number FROM mallory.victim));
END $$;
CREATE TRIGGER fake_events AFTER INSERT ON mallory.fake REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION bundle_rec.events_changed(:'sales');
INSERT INTO mallory.fake SELECT 'forged', 'forged', 1, 1, 'u1';
CREATE TRIGGER fake_rows AFTER INSERT ON mallory.fake FOR EACH ROW EXECUTE FUNCTION bundle_rec.items_changed('1');
SELECT throws_ok('INSERT INTO mallory.fake DEFAULT VALUES', '39P01', NULL, 'a row trigger on a plain table is an error of his own statement');
DROP TRIGGER fake_rows ON mallory.fake;
CREATE TRIGGER fake_number AFTER INSERT ON mallory.fake REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION bundle_rec.items_changed('x');
SELECT throws_ok('INSERT INTO mallory.fake DEFAULT VALUES', '22P02', NULL, 'so is one without a number');
RESET ROLE;
SELECT is_empty('SELECT FROM item WHERE item_id = ''forged''', 'a trigger on another table feeds no items');
SELECT is_empty('SELECT FROM event_queue WHERE item_id = ''forged''', 'and no events');

-- a partition of another role's
ALTER TABLE shop.parted_1 OWNER TO br_test_bob;
SELECT drop_catalog('parted') \g /dev/null
SET ROLE br_test_keeper;
SELECT throws_ok($$SELECT create_catalog('parted', 'shop.parted', 'sku')$$, '42501', 'the owner of table "parted" may not make triggers on table "parted_1"',
                 'partitions are followed by the owner of their table');
RESET ROLE;
SELECT throws_ok($$SELECT create_catalog('parted', 'shop.parted', 'sku')$$, '42501', NULL, 'also where a superuser asks for it');
GRANT TRIGGER ON shop.parted_1 TO br_test_keeper;
SET ROLE br_test_keeper;
SELECT lives_ok($$SELECT create_catalog('parted', 'shop.parted', 'sku')$$, 'who may make triggers there');
RESET ROLE;
GRANT CREATE ON SCHEMA shop TO br_test_bob;
SET ROLE br_test_bob;
INSERT INTO shop.parted_1 SELECT 'x' || i, 'new', 1, '{}' FROM generate_series(1, 40) i WHERE satisfies_hash_partition('shop.parted'::regclass, 2, 1, 'x' || i);
RESET ROLE;
SELECT set_eq($$SELECT i.item_id FROM item i JOIN catalog USING (catalog) JOIN item_state USING (catalog, item) WHERE name = 'parted'$$, 'SELECT sku FROM shop.parted',
              'and is told of what others write there');
SET ROLE br_test_keeper;
SELECT lives_ok($$SELECT drop_catalog('parted')$$, 'drops its catalog with the triggers there');
RESET ROLE;
SELECT is_empty('SELECT tgname FROM pg_trigger WHERE tgrelid = ''shop.parted_1''::regclass', 'all of them');

SELECT * FROM finish();
DROP SERVER loopback CASCADE;
DROP OWNED BY br_test_keeper, br_test_alice, br_test_bob, br_test_bypass, br_test_mallory CASCADE;
DROP ROLE br_test_keeper, br_test_alice, br_test_bob, br_test_bypass, br_test_mallory;

\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- fault.sql
--    What goes wrong beside and inside a catalog, in one session: statements that
--    are rolled back in part or as a whole, triggers of the shop's own that fail,
--    transactions that may not write, little memory, ids of every plane of
--    Unicode, very many faulty rows, a table that somebody dropped. Afterwards a
--    catalog must hold what its sources hold, and its tables must be whole.
--
SELECT plan(60);
SET client_min_messages = error;
\i test/sql/include/follow.sql
\i test/sql/include/sound.sql

CREATE TABLE ware (sku text PRIMARY KEY, price numeric, stock int, active boolean);
CREATE TABLE sale (basket text, sku text, usr text, quantity int DEFAULT 1);
CREATE TABLE part (sku text, price numeric, stock int, active boolean, region int) PARTITION BY LIST (region);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2);
CREATE TABLE part_sale (basket text, sku text, usr text, quantity int DEFAULT 1) PARTITION BY HASH (basket);
CREATE TABLE part_sale_1 PARTITION OF part_sale FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE part_sale_2 PARTITION OF part_sale FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO ware SELECT 'w' || i, i, i % 4, i % 5 <> 0 FROM generate_series(1, 50) i;
INSERT INTO part SELECT 'w' || i, i, i % 4, i % 5 <> 0, 1 + i % 2 FROM generate_series(1, 50) i;
INSERT INTO sale SELECT 'b' || i / 3, 'w' || 1 + i % 50, 'u' || i % 7 FROM generate_series(1, 120) i;
INSERT INTO part_sale SELECT * FROM sale;
\set sales 'SELECT *, ''purchase'' AS kind FROM sale'
\set part_sales 'SELECT *, ''purchase'' AS kind FROM part_sale'

-- what catalogs leave behind that are not there
CREATE VIEW left_behind AS
SELECT 'trigger ' || tgname AS what FROM pg_catalog.pg_trigger WHERE tgname LIKE 'bundle\_rec\_%' AND NOT tgisinternal
UNION ALL SELECT 'table ' || child FROM child
UNION ALL SELECT 'catalog ' || name FROM catalog
UNION ALL SELECT 'source ' || source FROM event_source
UNION ALL SELECT 'state ' || s.catalog FROM catalog_state s
UNION ALL SELECT 'rejected ' || reason FROM rejected
UNION ALL SELECT 'policy ' || name FROM policy
UNION ALL SELECT 'posterior ' || p.policy FROM posterior p;

---- catalogs that come and go in one transaction ----

BEGIN;
CREATE TABLE young (sku text PRIMARY KEY, price int, stock int, active boolean);
INSERT INTO young VALUES ('a', 1, 1, true), ('b', 2, 1, true);
CREATE TABLE young_sale (basket int, sku text);
SELECT create_catalog('young', 'young', 'sku', price => 'price', stock => 'stock', active => 'active') \g /dev/null
SELECT add_event_source('young', 'young_sale', item_id => 'sku', basket_id => 'basket') \g /dev/null
INSERT INTO young VALUES ('c', 3, 1, false);
INSERT INTO young_sale VALUES (1, 'a'), (1, 'b'), (1, 'c');
UPDATE young SET price = 7 WHERE sku = 'a';
SELECT refresh('young') \g /dev/null
SELECT is_empty($$SELECT wrong_items('young', 'young')$$, 'a source may be as young as its catalog');
SELECT results_eq($$SELECT item_id, together FROM bought_together('young', '{a}') ORDER BY 1$$, $$VALUES ('b', 1::bigint), ('c', 1)$$, 'which counts and answers at once');
SELECT is((SELECT count(*) FROM recommend_items('young', basket => '{a}', log => true)), 1::bigint, 'and logs decisions');
ROLLBACK;
SELECT is_empty('TABLE left_behind', 'rolled back, nothing of it is left');

BEGIN;
SAVEPOINT before;
SELECT create_catalog('never', 'ware', 'sku') \g /dev/null
SELECT add_event_source('never', 'sale', item_id => 'sku') \g /dev/null
ROLLBACK TO before;
SELECT is_empty('TABLE left_behind', 'nor of one that a savepoint takes back');
UPDATE ware SET stock = stock + 1;
SELECT create_catalog('never', 'ware', 'sku') \g /dev/null
SAVEPOINT inner_one;
SELECT drop_catalog('never') \g /dev/null
ROLLBACK TO inner_one;
SELECT results_eq('SELECT items FROM catalog_coverage', 'SELECT count(*) FROM ware', 'a drop that is taken back drops nothing');
COMMIT;
INSERT INTO ware VALUES ('after', 1, 1, true);
SELECT results_eq('SELECT items FROM catalog_coverage', 'SELECT count(*) FROM ware', 'and the catalog goes on');
SELECT drop_catalog('never') \g /dev/null
SELECT throws_ok($$SELECT create_catalog('no', 'ware', 'sku'), create_catalog('no', 'part', 'sku')$$, '42710', 'catalog "no" already exists', 'two of one name in one transaction');
DO $$ BEGIN
    PERFORM bundle_rec.create_catalog('no', 'ware', 'sku');
    PERFORM bundle_rec.add_event_source('no', 'sale', item_id => 'sku');
    RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN
    INSERT INTO ware VALUES ('caught', 1, 1, true);
END $$;
SELECT is_empty('TABLE left_behind', 'an exception that is caught leaves nothing either');

---- what cannot be a source ----

CREATE TEMP TABLE fleeting (sku text PRIMARY KEY);
CREATE TEMP VIEW fleeting_view AS SELECT * FROM ware;
SELECT create_catalog('ware', 'ware', 'sku', price => 'price', stock => 'stock', active => 'active') \g /dev/null
SELECT throws_ok($$SELECT create_catalog('f', 'fleeting', 'sku')$$, '0A000', '"fleeting" cannot be a source: it is temporary', 'a temporary table is none');
SELECT throws_ok($$SELECT create_catalog('f', 'fleeting_view', 'sku')$$, '0A000', '"fleeting_view" cannot be a source: it is temporary', 'nor a temporary view');
SELECT throws_ok($$SELECT add_event_source('ware', 'fleeting', item_id => 'sku')$$, '0A000', '"fleeting" cannot be a source: it is temporary', 'of events neither');
SELECT throws_ok($$SELECT alter_catalog('ware', items => 'fleeting')$$, '0A000', '"fleeting" cannot be a source: it is temporary', 'nor later');
SELECT throws_ok($$SELECT create_catalog('f', 0, 'sku')$$, '42P01', NULL, 'nor a table that is not there');

---- savepoints, exceptions, cursors ----

SELECT add_event_source('ware', 'sale', user_id => 'usr', item_id => 'sku', basket_id => 'basket', quantity => 'quantity') \g /dev/null
SELECT create_catalog('part', 'part', 'sku', price => 'price', stock => 'stock', active => 'active') \g /dev/null
SELECT add_event_source('part', 'part_sale', user_id => 'usr', item_id => 'sku', basket_id => 'basket', quantity => 'quantity') \g /dev/null

CREATE FUNCTION write_and_fail(wares text, sales text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one record;
BEGIN
    FOR i IN 1 .. 6 LOOP
        BEGIN
            EXECUTE format('INSERT INTO %I (sku, price, stock, active%s) SELECT %L || k, 1, 1, true%s FROM generate_series(1, 3) k', wares,
                           CASE wares WHEN 'part' THEN ', region' ELSE '' END, 'x' || i || '_', CASE wares WHEN 'part' THEN ', 1 + k % 2' ELSE '' END);
            EXECUTE format('UPDATE %I SET price = price + %s WHERE sku LIKE ''w1%%''', wares, i);
            EXECUTE format('DELETE FROM %I WHERE sku = %L', wares, 'w' || i + 20);
            EXECUTE format('INSERT INTO %I VALUES (%L, ''w1'', ''u1''), (%L, ''w2'', ''u1'')', sales, 'n' || i, 'n' || i);
            EXECUTE format('UPDATE %I SET basket = basket || ''-'' WHERE basket = %L', sales, 'b' || i);
            EXECUTE format('DELETE FROM %I WHERE basket = %L', sales, 'b' || i + 10);
            IF i % 2 = 0 THEN
                RAISE EXCEPTION 'taken back';
            END IF;
        EXCEPTION WHEN raise_exception THEN
            EXECUTE format('UPDATE %I SET stock = 100 + %s WHERE sku = ''w40''', wares, i);
        END;
    END LOOP;
    FOR one IN EXECUTE format('SELECT sku FROM %I WHERE sku LIKE ''w3%%''', wares) LOOP
        EXECUTE format('UPDATE %I SET stock = 50 WHERE sku = %L', wares, one.sku);
        EXECUTE format('INSERT INTO %I VALUES (''cursor'', %L, ''u9'')', sales, one.sku);
    END LOOP;
END $$;
SELECT write_and_fail('ware', 'sale'), write_and_fail('part', 'part_sale') \g /dev/null
SELECT is_empty($$SELECT wrong_items('ware', 'ware')$$, 'writes of which some are taken back: items');
SELECT is_empty(format($$SELECT wrong_events('ware', %L)$$, :'sales'), 'events');
SELECT is_empty($$SELECT wrong_items('part', 'part')$$, 'items of partitions');
SELECT is_empty(format($$SELECT wrong_events('part', %L)$$, :'part_sales'), 'events of partitions');

BEGIN;
DECLARE walk CURSOR FOR SELECT sku FROM part ORDER BY sku FOR UPDATE;
FETCH 3 FROM walk \g /dev/null
UPDATE part SET price = 1000 WHERE CURRENT OF walk;
SAVEPOINT s;
UPDATE part SET price = 2000, region = 3 - region WHERE sku LIKE 'w4%';
DELETE FROM part_sale WHERE usr = 'u3';
ROLLBACK TO s;
DELETE FROM part WHERE CURRENT OF walk;
FETCH FROM walk \g /dev/null
UPDATE part SET region = 3 - region WHERE sku = 'w45';
SAVEPOINT t;
INSERT INTO part_sale SELECT 't' || i / 4, 'w' || 1 + i % 30, 'u' FROM generate_series(1, 40) i;
RELEASE t;
COMMIT;
SELECT is_empty($$SELECT wrong_items('part', 'part')$$, 'cursors and savepoints over partitions');
SELECT is_empty(format($$SELECT wrong_events('part', %L)$$, :'part_sales'), 'their events too');

MERGE INTO ware w USING (SELECT 'w' || i AS sku, i AS price FROM generate_series(30, 70) i) n ON w.sku = n.sku
WHEN MATCHED AND n.price % 3 = 0 THEN DELETE
WHEN MATCHED THEN UPDATE SET price = n.price + 0.5
WHEN NOT MATCHED THEN INSERT VALUES (n.sku, n.price, 1, true);
WITH gone AS (DELETE FROM ware WHERE sku IN ('w60', 'w61') RETURNING *), more AS (INSERT INTO ware VALUES ('m1', 1, 1, true)),
     moved AS (UPDATE ware SET stock = 99 WHERE sku = 'w62')
INSERT INTO ware SELECT 'again ' || sku, price, stock, active FROM gone;
INSERT INTO ware VALUES ('w1', 11, 1, true), ('m2', 1, 1, true) ON CONFLICT (sku) DO UPDATE SET price = excluded.price;
SELECT is_empty($$SELECT wrong_items('ware', 'ware')$$, 'MERGE, writing WITH and ON CONFLICT');

---- triggers of the shop's own ----

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the shop says no' USING ERRCODE = 'P0042'; END $$;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sale VALUES ('noted', NEW.sku, 'clerk');
    UPDATE ware SET price = price + 1 WHERE sku = 'w5';
    RETURN NULL;
END $$;
-- by name they come after ours
CREATE TRIGGER zz_refuse AFTER INSERT ON ware FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER zz_refuse AFTER UPDATE ON part FOR EACH ROW WHEN (NEW.price = 4242) EXECUTE FUNCTION refuse();
CREATE TRIGGER zz_note AFTER UPDATE OF stock ON ware FOR EACH ROW EXECUTE FUNCTION note();
SELECT throws_ok($$INSERT INTO ware VALUES ('no', 1, 1, true)$$, 'P0042', NULL, 'a trigger of the shop that fails after ours');
SELECT throws_ok($$UPDATE part SET price = CASE WHEN sku = 'w20' THEN 4242 ELSE price + 1 END$$, 'P0042', NULL, 'on some row of many');
UPDATE part SET price = price + 2;
UPDATE ware SET stock = stock + 1 WHERE sku LIKE 'w1%';
SELECT is_empty($$SELECT wrong_items('ware', 'ware') UNION ALL SELECT wrong_items('part', 'part')$$, 'leaves catalogs as the tables are');
SELECT is_empty(format($$SELECT wrong_events('ware', %L)$$, :'sales'), 'and one that writes to sources is followed');
DROP TRIGGER zz_refuse ON ware;
DROP TRIGGER zz_refuse ON part;
DROP TRIGGER zz_note ON ware;

---- refresh and sync taken back ----

CREATE VIEW wrong_pairs AS
WITH b AS (SELECT DISTINCT basket, sku FROM sale JOIN ware USING (sku)),
plain AS (SELECT a.sku AS one, b.sku AS other, count(*) AS n FROM b a JOIN b USING (basket) WHERE a.sku <> b.sku GROUP BY 1, 2),
stored AS (SELECT a.item_id::text AS one, o.item_id::text AS other, together AS n FROM item_pair p JOIN item a USING (catalog, item)
           JOIN item o ON o.catalog = p.catalog AND o.item = p.other JOIN catalog c ON c.catalog = p.catalog WHERE c.name = 'ware'
           AND a.item_id IN (SELECT sku FROM ware) AND o.item_id IN (SELECT sku FROM ware))
(TABLE plain EXCEPT TABLE stored) UNION ALL (TABLE stored EXCEPT TABLE plain);
BEGIN;
SAVEPOINT s;
SELECT refresh('ware') \g /dev/null
ROLLBACK TO s;
SELECT refresh('ware') \g /dev/null
INSERT INTO sale VALUES ('late', 'w1', 'u'), ('late', 'w2', 'u');
SAVEPOINT t;
SELECT refresh('ware') \g /dev/null
ROLLBACK TO t;
COMMIT;
SELECT isnt_empty('TABLE wrong_pairs', 'a refresh that is taken back counted nothing');
SELECT refresh('ware') \g /dev/null
SELECT is_empty('TABLE wrong_pairs', 'the next one counts it, once');
ALTER TABLE ware DISABLE TRIGGER USER;
ALTER TABLE sale DISABLE TRIGGER USER;
DELETE FROM ware WHERE sku IN ('w3', 'w4');
INSERT INTO ware SELECT 'unseen ' || i, i, i, true FROM generate_series(1, 2500) i;
UPDATE ware SET price = price + 1 WHERE sku LIKE 'w2%';
INSERT INTO sale SELECT 'unseen' || i / 3, 'unseen ' || 1 + i % 2500, 'u' || i % 9 FROM generate_series(1, 3000) i;
DELETE FROM sale WHERE basket = 'b1';
ALTER TABLE ware ENABLE TRIGGER USER;
ALTER TABLE sale ENABLE TRIGGER USER;
BEGIN;
SAVEPOINT s;
SELECT sync('ware') \g /dev/null
ROLLBACK TO s;
SELECT is((SELECT count(*) FROM wrong_items('ware', 'ware') WHERE wrong_items LIKE 'plain ("unseen%'), 2500::bigint, 'a sync that is taken back changed nothing');
SELECT sync('ware') \g /dev/null
COMMIT;
SELECT is_empty($$SELECT wrong_items('ware', 'ware')$$, 'the next one does all');
SELECT is_empty(format($$SELECT wrong_events('ware', %L)$$, :'sales'), 'for events too');

---- transactions that may not write, and those with one snapshot ----

BEGIN READ ONLY;
SAVEPOINT s;
SELECT throws_ok(format('SELECT %s', call), '25006', NULL, call || ' in a read-only transaction')
FROM unnest(ARRAY[$$refresh('ware')$$, $$sync('ware')$$, $$drop_catalog('ware')$$, $$alter_catalog('ware', discount => 0.1)$$, $$create_catalog('x', 'ware', 'sku')$$,
                  $$add_event_source('ware', 'part_sale', item_id => 'sku')$$, $$drop_event_source('ware', 'sale')$$, $$log_event('ware', 'u', 'w1')$$]) call;
SELECT ok((SELECT count(*) = 5 FROM recommend('ware', basket => '{w1}')), 'which may ask for recommendations');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
INSERT INTO ware VALUES ('serial', 1, 1, true);
INSERT INTO sale VALUES ('serial', 'serial', 'u'), ('serial', 'w1', 'u');
SELECT refresh('ware'), sync('ware') \g /dev/null
UPDATE ware SET stock = 7 WHERE sku = 'serial';
SELECT is_empty('TABLE wrong_pairs', 'all in one serializable transaction');
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
DELETE FROM ware WHERE sku = 'serial';
TRUNCATE part_sale;
SELECT sync('part') \g /dev/null
COMMIT;
SELECT is_empty($$SELECT wrong_items('ware', 'ware')$$, 'or with repeatable reads');
SELECT is_empty(format($$SELECT wrong_events('part', %L)$$, :'part_sales'), 'a table that such a transaction truncates has no events');

---- ids of every plane of Unicode ----

CREATE TABLE rune (sku text PRIMARY KEY, price int, stock int, active boolean);
-- two characters of each plane, its noncharacter, signs that look alike, combine, are not seen, or turn the line round
INSERT INTO rune SELECT chr(plane * 65536 + c), plane, 1, true FROM generate_series(0, 16) plane, unnest(ARRAY[40, 4660, 65534]) c WHERE NOT (plane = 0 AND c = 0);
INSERT INTO rune SELECT x, 1, 1, true FROM unnest(ARRAY[U&'\00E9', U&'e\0301', U&'\200B', U&'\202Eabc', U&'a\200Db', U&'\FEFF', E'\u0001', E'\x7f', E'"\\''', E'a\tb\nc', ' ', '{,}', '$1', '%s', '@']) x;
CREATE TABLE rune_sale (basket text, sku text, usr text);
INSERT INTO rune_sale SELECT b.sku, r.sku, b.sku FROM rune b, rune r WHERE b.price % 3 = 0 AND r.price IN (1, 2, 16);
SELECT create_catalog(U&'\+01F6D2 "; --', 'rune', 'sku', price => 'price', stock => 'stock', active => 'active') \g /dev/null
SELECT add_event_source(U&'\+01F6D2 "; --', 'rune_sale', user_id => 'usr', item_id => 'sku', basket_id => 'basket') \g /dev/null
SELECT refresh(U&'\+01F6D2 "; --') \g /dev/null
SELECT is_empty($$SELECT wrong_items(U&'\+01F6D2 "; --', 'rune')$$, 'ids of every plane are items');
SELECT is_empty($$SELECT wrong_events(U&'\+01F6D2 "; --', 'SELECT *, ''purchase'' AS kind, 1 AS quantity FROM rune_sale')$$, 'of events');
SELECT results_eq($$SELECT r.sku COLLATE "C", b.item_id COLLATE "C", b.together FROM rune r, bought_together(U&'\+01F6D2 "; --', ARRAY[r.sku], k => 100) b WHERE r.price IN (2, 16) ORDER BY 1, 2$$,
                  $$SELECT a.sku COLLATE "C", b.sku COLLATE "C", count(*) FROM rune_sale a JOIN rune_sale b USING (basket) WHERE a.sku <> b.sku AND a.sku IN (SELECT sku FROM rune WHERE price IN (2, 16)) GROUP BY 1, 2 ORDER BY 1, 2$$, 'and are paired as a join pairs them');
SELECT decision_id AS rune FROM recommend(U&'\+01F6D2 "; --', user_id => U&'\+10FFFE', basket => ARRAY[U&'\+01F6D2', U&'e\0301', E'"\\''']) LIMIT 1 \gset
SELECT ok((SELECT bool_and(reasons::text::jsonb = reasons) FROM explain_decision(:rune)), 'reasons name them');
SELECT ok(feedback(:rune, 1, event_id => U&'\+10FFFE"'), 'feedback too');

---- very many faulty rows, very large texts ----

CREATE TABLE rubbish (sku text, title text, price int, stock int, active boolean);
INSERT INTO rubbish SELECT CASE i % 500 WHEN 0 THEN i::text END, 't', 1, 1, true FROM generate_series(1, 5000) i;
CREATE TABLE rubbish_sale (basket int, sku text);
INSERT INTO rubbish_sale SELECT i, CASE i % 500 WHEN 0 THEN i::text END FROM generate_series(1, 5000) i;
CREATE VIEW rubbish_view AS SELECT * FROM rubbish;
SELECT lives_ok($$SELECT create_catalog('rubbish', 'rubbish', 'sku', price => 'price', stock => 'stock', active => 'active')$$, 'thousands of rows without an id');
SELECT lives_ok($$SELECT create_catalog('rubbish view', 'rubbish_view', 'sku', price => 'price', stock => 'stock', active => 'active')$$, 'in a view');
SELECT lives_ok($$SELECT add_event_source('rubbish', 'rubbish_sale', item_id => 'sku', basket_id => 'basket')$$, 'in events');
INSERT INTO rubbish SELECT NULL, 't', 1, 1, true FROM generate_series(1, 3000);
INSERT INTO rubbish SELECT 'same', 't', 1, 1, true FROM generate_series(1, 3000);
SELECT sync('rubbish'), sync('rubbish view') \g /dev/null
SELECT results_eq($$SELECT catalog, origin::text, count(*) FROM rejected_row GROUP BY 1, 2 ORDER BY 1, 2$$,
                  $$VALUES ('rubbish', 'rubbish', 4990 + 3000 + 2999::bigint), ('rubbish', 'rubbish_sale', 4990), ('rubbish view', 'rubbish_view', 4990 + 3000 + 2999)$$, 'are set aside, each of them');
SELECT is((SELECT count(*) FROM item_state), (SELECT count(*) FROM ware) + (SELECT count(*) FROM part) + (SELECT count(*) FROM rune) + 2 * 11, 'and the others are taken');

---- little memory ----

SET work_mem = '64kB';
SET maintenance_work_mem = '1MB';
CREATE TABLE many (sku int PRIMARY KEY, price int, stock int, active boolean);
INSERT INTO many SELECT i, i % 100, 1, true FROM generate_series(1, 20000) i;
CREATE TABLE many_sale (basket int, sku int, usr text, quantity int DEFAULT 1);
INSERT INTO many_sale SELECT i / 4, 1 + (i::bigint * 7919) % 20000, 'u' || i % 50 FROM generate_series(1, 40000) i;
SELECT create_catalog('many', 'many', 'sku', price => 'price', stock => 'stock', active => 'active') \g /dev/null
SELECT add_event_source('many', 'many_sale', user_id => 'usr', item_id => 'sku', basket_id => 'basket', quantity => 'quantity') \g /dev/null
UPDATE many SET price = price + 1;
UPDATE many_sale SET quantity = 2 WHERE basket % 2 = 0;
DELETE FROM many WHERE sku % 3 = 0;
ALTER TABLE many DISABLE TRIGGER USER;
ALTER TABLE many_sale DISABLE TRIGGER USER;
UPDATE many SET stock = 2;
UPDATE many_sale SET usr = usr || 'x' WHERE basket % 3 = 0;
ALTER TABLE many ENABLE TRIGGER USER;
ALTER TABLE many_sale ENABLE TRIGGER USER;
SELECT sync('many'), refresh('many') \g /dev/null
RESET work_mem;
RESET maintenance_work_mem;
SELECT is_empty($$SELECT wrong_items('many', 'many')$$, 'large statements and comparisons in little memory');
SELECT is_empty($$SELECT wrong_events('many', 'SELECT *, ''purchase'' AS kind FROM many_sale')$$, 'events too');
SELECT is_empty($$WITH b AS (SELECT DISTINCT basket, sku FROM many_sale),
                        plain AS (SELECT a.sku::text COLLATE "C", b.sku::text COLLATE "C", count(*) FROM b a JOIN b USING (basket) WHERE a.sku <> b.sku GROUP BY 1, 2),
                        stored AS (SELECT a.item_id, o.item_id, together FROM catalog c JOIN item_pair p USING (catalog) JOIN item a USING (catalog, item) JOIN item o ON o.catalog = p.catalog AND o.item = p.other WHERE c.name = 'many')
                  (TABLE plain EXCEPT TABLE stored) UNION ALL (TABLE stored EXCEPT TABLE plain)$$, 'counts also');

---- the tables are whole, and one of them is missing ----

SELECT isnt_empty('TABLE child', 'catalogs have tables');
SELECT is_empty('SELECT unsound()', 'whose heaps, indexes and constraints hold');
SELECT format('DROP TABLE event_queue_%s, item_pair_%s', catalog, catalog) FROM catalog WHERE name = 'many' \gexec
SELECT throws_ok($$INSERT INTO many_sale VALUES (1, 1, 'u')$$, '42P01', NULL, 'a table that somebody dropped is missed');
SELECT lives_ok($$SELECT drop_catalog(name) FROM catalog$$, 'but does not keep a catalog from being dropped');
SELECT is_empty('TABLE left_behind', 'nothing is left of any');

SELECT * FROM finish();

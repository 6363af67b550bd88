\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- source.sql
--    What a catalog may be made over, and how it keeps up with it: partitions,
--    views, foreign tables, keys of every type, several sources of events, rows
--    that no trigger saw. What a catalog should hold is asked of the source itself.
--
SELECT plan(104);
SET client_min_messages = error;
\o /dev/null
SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls');
\o

\i test/sql/include/follow.sql

---- partitions ----

CREATE TABLE part (sku int, price numeric, stock int, active boolean, title text, region text) PARTITION BY LIST (region);
CREATE TABLE part_north PARTITION OF part FOR VALUES IN ('north');
-- columns at other places than in the parent
CREATE TABLE part_south (region text, extra int, title text, sku int, active boolean, stock int, price numeric);
ALTER TABLE part_south DROP COLUMN extra;
ALTER TABLE part ATTACH PARTITION part_south FOR VALUES IN ('south');
CREATE TABLE part_rest PARTITION OF part DEFAULT PARTITION BY RANGE (sku);
CREATE TABLE part_rest_low PARTITION OF part_rest FOR VALUES FROM (0) TO (1000);
CREATE TABLE part_sale (basket int, sku int, usr int, day date, quantity int DEFAULT 1) PARTITION BY RANGE (day);
CREATE TABLE part_sale_1 PARTITION OF part_sale FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE part_sale_2 PARTITION OF part_sale FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
INSERT INTO part SELECT i, i, i % 3, i % 5 <> 0, 'thing ' || i, (ARRAY['north', 'south', 'east'])[1 + i % 3] FROM generate_series(1, 30) i;
INSERT INTO part_sale SELECT i / 3, 1 + i % 31, i % 4, date '2024-01-01' + i % 55 FROM generate_series(1, 90) i;
\set sales 'SELECT *, ''purchase'' AS kind FROM part_sale'
SELECT lives_ok($$SELECT create_catalog('part', 'part', 'sku', text => '{title}', price => 'price', stock => 'stock', active => 'active')$$, 'a catalog over a partitioned table');
SELECT lives_ok($$SELECT add_event_source('part', 'part_sale', user_id => 'usr', item_id => 'sku', basket_id => 'basket', quantity => 'quantity', occurred_at => 'day')$$, 'and partitioned events');
SELECT is_empty($$SELECT wrong_items('part', 'part')$$, 'every partition is read, whatever the order of its columns');
SELECT is_empty(format($$SELECT wrong_events('part', %L)$$, :'sales'), 'every event too');
INSERT INTO part VALUES (40, 1, 1, NULL, 'forty', 'north'), (41, 1, 1, NULL, 'forty-one', 'west');
INSERT INTO part_south (sku, price, region) VALUES (42, 7, 'south');
UPDATE part_north SET stock = 17, price = price * 2 WHERE sku < 20;
UPDATE part SET region = 'south' WHERE sku IN (3, 40);
DELETE FROM part_rest_low WHERE sku IN (5, 8);
DELETE FROM part WHERE sku = 6;
COPY part_north (sku, price, stock, region) FROM stdin;
50	1	2	north
51	\N	\N	north
\.
SELECT is_empty($$SELECT wrong_items('part', 'part')$$, 'writes to the table and to its partitions are followed, rows that move too');
INSERT INTO part_sale_1 VALUES (100, 1, 1, '2024-01-05'), (100, 2, 1, '2024-01-05');
UPDATE part_sale SET day = day + 31 WHERE basket < 5 AND day < '2024-02-01';
UPDATE part_sale_2 SET quantity = 3 WHERE basket = 7;
DELETE FROM part_sale WHERE basket = 9;
SELECT is_empty(format($$SELECT wrong_events('part', %L)$$, :'sales'), 'events of partitions are followed');
CREATE TABLE part_sale_3 PARTITION OF part_sale FOR VALUES FROM ('2024-03-01') TO ('2024-04-01');
INSERT INTO part_sale_3 VALUES (200, 1, 1, '2024-03-05'), (200, 3, 1, '2024-03-05');
SELECT is_empty(format($$SELECT wrong_events('part', %L)$$, :'sales'), 'a partition that comes later is followed');
\o /dev/null
SELECT refresh('part');
\o
SELECT results_eq($$SELECT item_id, together FROM bought_together('part', '{1}', k => 100) ORDER BY 1$$,
                  $$SELECT b.sku::text, count(DISTINCT b.basket) FROM part_sale a JOIN part_sale b USING (basket)
                    WHERE a.sku = 1 AND b.sku <> 1 AND b.sku IN (SELECT sku FROM part) GROUP BY 1 ORDER BY 1$$, 'pairs equal a plain join');
SET client_min_messages = warning;
\set VERBOSITY terse
SELECT count(*) AS held FROM part_sale_2 \gset
TRUNCATE part_sale_2;
SET client_min_messages = error;
SELECT set_eq($$SELECT origin::text, reason FROM rejected_row WHERE catalog = 'part'$$,
              $$VALUES ('part_sale', 'its partition "part_sale_2" was truncated, and sync was not called since')$$, 'a partition that is truncated alone is noticed');
SELECT results_eq($$SELECT kind, added, changed, removed, rejected FROM sync('part')$$,
                  format($$VALUES ('items', 0::bigint, 0::bigint, 0::bigint, 0::bigint), ('events', 0, 0, %s, 0)$$, :held), 'sync finds what it held');
SELECT is_empty(format($$SELECT wrong_events('part', %L)$$, :'sales'), 'and takes it back');
SELECT is_empty($$SELECT FROM rejected_row WHERE catalog = 'part'$$, 'the notice is gone');
ALTER TABLE part_sale DETACH PARTITION part_sale_1;
CREATE TABLE part_east (LIKE part);
INSERT INTO part_east VALUES (60, 6, 6, true, 'sixty', 'southeast');
ALTER TABLE part ATTACH PARTITION part_east FOR VALUES IN ('southeast');
\o /dev/null
SELECT sync('part');
\o
SELECT is_empty($$SELECT wrong_items('part', 'part')$$, 'what ATTACH brought is there after sync');
SELECT is_empty(format($$SELECT wrong_events('part', %L)$$, :'sales'), 'what DETACH took is gone');
TRUNCATE part;
SELECT is_empty($$SELECT FROM item_state WHERE catalog = (SELECT catalog FROM catalog WHERE name = 'part')$$, 'a table that is truncated has no items');
TRUNCATE part_sale;
SELECT is_empty(format($$SELECT wrong_events('part', %L)$$, :'sales'), 'and no events');
SELECT is_empty($$SELECT FROM rejected_row WHERE catalog = 'part' AND origin = 'part'::regclass$$, 'nothing is said against a table that was truncated whole');

---- views ----

CREATE TABLE goods (id int PRIMARY KEY, name text, cents int, units int, owner name DEFAULT current_user);
INSERT INTO goods SELECT i, 'good ' || i, i * 100, i FROM generate_series(1, 40) i;
CREATE TABLE receipt (nr int, good int, customer text, at timestamptz DEFAULT '2024-05-01');
INSERT INTO receipt SELECT i / 2, 1 + i % 37, 'c' || i % 5 FROM generate_series(1, 100) i;
CREATE VIEW shelf AS SELECT id AS sku, name, cents / 100.0 AS price, units AS stock, units > 3 AS active FROM goods;
CREATE VIEW till AS SELECT nr AS basket, good AS sku, customer AS usr, at, 1 AS quantity FROM receipt;
\set till 'SELECT *, ''purchase'' AS kind FROM till'
SELECT lives_ok($$SELECT create_catalog('shelf', 'shelf', 'sku', text => '{name}', price => 'price', stock => 'stock', active => 'active')$$, 'a catalog over a view');
SELECT lives_ok($$SELECT add_event_source('shelf', 'till', user_id => 'usr', item_id => 'sku', basket_id => 'basket', occurred_at => 'at')$$, 'and events from a view');
SELECT is_empty($$SELECT wrong_items('shelf', 'shelf')$$, 'it takes the rows of the view');
SELECT is_empty(format($$SELECT wrong_events('shelf', %L)$$, :'till'), 'and its events');
SELECT is_empty($$SELECT FROM pg_trigger WHERE tgrelid IN ('shelf'::regclass, 'till'::regclass, 'goods'::regclass)$$, 'without triggers');
UPDATE goods SET cents = cents + 50 WHERE id % 7 = 0;
DELETE FROM goods WHERE id IN (11, 12);
INSERT INTO goods VALUES (100, 'a late good', 5, 5), (101, NULL, NULL, NULL);
UPDATE goods SET name = 'renamed' WHERE id = 13;
DELETE FROM receipt WHERE nr % 10 = 0;
INSERT INTO receipt VALUES (3, 4, 'c1'), (3, 4, 'c1'), (77, 100, 'c9');
SELECT results_eq($$SELECT source, kind, added, changed, removed, rejected FROM sync('shelf')$$,
                  $$VALUES ('bundle_rec.shelf', 'items', 2::bigint, 6::bigint, 2::bigint, 0::bigint), ('bundle_rec.till', 'events', 3, 0, 10, 0)$$,
                  'sync tells what differed');
SELECT is_empty($$SELECT wrong_items('shelf', 'shelf')$$, 'and makes it good');
SELECT is_empty(format($$SELECT wrong_events('shelf', %L)$$, :'till'), 'events too, equal rows as often as they stand there');
SELECT results_eq($$SELECT added, changed, removed, rejected FROM sync('shelf')$$,
                  $$VALUES (0::bigint, 0::bigint, 0::bigint, 0::bigint), (0, 0, 0, 0)$$, 'a second time there is nothing to do');
\o /dev/null
SELECT refresh('shelf');
\o
SELECT results_eq($$SELECT item_id, together FROM bought_together('shelf', '{5}', k => 100) ORDER BY 1$$,
                  $$SELECT b.sku::text, count(DISTINCT b.basket) FROM till a JOIN till b USING (basket)
                    WHERE a.sku = 5 AND b.sku <> 5 AND b.sku IN (SELECT sku FROM shelf) GROUP BY 1 ORDER BY 1$$, 'pairs equal a plain join');
SELECT is((SELECT count(*) FROM recommend('shelf', basket => '{5}', seed => 1)), 5::bigint, 'and recommend answers');
SELECT ok((SELECT synced_at < refreshed_at FROM catalog_coverage WHERE catalog = 'shelf'), 'the view of coverage says when it was compared');

-- a view that repeats ids, and shows each reader what is his
CREATE VIEW twice AS SELECT id AS sku, name, cents / 100.0 AS price, units AS stock, true AS active FROM goods WHERE id <= 3 UNION ALL SELECT 2, 'two again', 1, 1, true;
SELECT create_catalog('twice', 'twice', 'sku', price => 'price', stock => 'stock', active => 'active') \g /dev/null
SELECT results_eq($$SELECT row_id, reason FROM rejected_row WHERE catalog = 'twice'$$, $$VALUES ('2' COLLATE "C", 'another row has this id')$$, 'the second row of an id is set aside');
SELECT is((SELECT count(*) FROM item_state JOIN catalog c USING (catalog) WHERE c.name = 'twice'), 3::bigint, 'the first is kept');

---- foreign tables ----

CREATE EXTENSION postgres_fdw;
SELECT format('host %L, port %L, dbname %L', split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database()) AS here \gset
CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (:here);
CREATE USER MAPPING FOR CURRENT_USER SERVER here;
CREATE FOREIGN TABLE far_goods (junk int, id int, name text, cents int, units int) SERVER here OPTIONS (table_name 'goods');
ALTER FOREIGN TABLE far_goods DROP COLUMN junk;
CREATE FOREIGN TABLE far_receipt (nr int, good int, customer text) SERVER here OPTIONS (table_name 'receipt');
SELECT lives_ok($$SELECT create_catalog('far', 'far_goods', 'id', text => '{name}', price => 'cents', stock => 'units')$$, 'a catalog over a foreign table');
SELECT lives_ok($$SELECT add_event_source('far', 'far_receipt', user_id => 'customer', item_id => 'good', basket_id => 'nr')$$, 'and foreign events');
SELECT is_empty($$SELECT wrong_items('far', '(SELECT id AS sku, cents AS price, units AS stock, true AS active FROM goods) g')$$, 'it takes the rows');
DELETE FROM goods WHERE id = 20;
INSERT INTO receipt VALUES (500, 1, 'c1');
SELECT results_eq($$SELECT added, changed, removed FROM sync('far')$$, $$VALUES (0::bigint, 0::bigint, 1::bigint), (1, 0, 0)$$, 'and sync follows');
SELECT is_empty($$SELECT wrong_events('far', 'SELECT customer AS usr, good AS sku, nr AS basket, ''purchase'' AS kind, 1 AS quantity FROM receipt')$$, 'events that say no time are compared without it');

---- keys ----

CREATE DOMAIN code AS text CHECK (value ~ '^[A-Z]');
CREATE TYPE grade AS ENUM ('low', 'high');
CREATE TABLE k_big (sku bigint PRIMARY KEY);
CREATE TABLE k_uuid (sku uuid PRIMARY KEY);
CREATE TABLE k_text (sku text PRIMARY KEY);
CREATE TABLE k_domain (sku code PRIMARY KEY);
CREATE TABLE k_char (sku char(8) PRIMARY KEY);
CREATE TABLE k_enum (sku grade PRIMARY KEY);
CREATE TABLE k_numeric (sku numeric PRIMARY KEY);
INSERT INTO k_big VALUES (1), (9223372036854775807), (-5);
INSERT INTO k_uuid VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), ('{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A12}');
INSERT INTO k_text VALUES ('x'), ('ä ö'), (E'\t'), ('𝔘nicode ﷽ 🛒'), ('''; DROP TABLE item; --'), (repeat('é', 512));
INSERT INTO k_domain VALUES ('A'), ('Zz');
INSERT INTO k_char VALUES ('ab'), ('ab c');
INSERT INTO k_enum VALUES ('low'), ('high');
INSERT INTO k_numeric VALUES (1.50), (2);
SELECT create_catalog(t, t::regclass, 'sku') FROM unnest('{k_big,k_uuid,k_text,k_domain,k_char,k_enum,k_numeric}'::text[]) t \g /dev/null
SELECT set_eq(format($$SELECT i.item_id FROM item i JOIN item_state USING (catalog, item) JOIN catalog c USING (catalog) WHERE c.name = %L$$, t),
              format('SELECT rtrim(sku::text, '' '') COLLATE "C" FROM %I', t), t || ': ids are the text of the key')
FROM unnest('{k_big,k_uuid,k_domain,k_char,k_enum,k_numeric}'::text[]) t;
SELECT set_eq($$SELECT i.item_id FROM item i JOIN item_state USING (catalog, item) JOIN catalog c USING (catalog) WHERE c.name = 'k_text'$$,
              'SELECT sku COLLATE "C" FROM k_text', 'k_text: every plane of Unicode');
SELECT lives_ok($$INSERT INTO k_text VALUES (repeat('x', 10000)), (repeat('é', 513))$$, 'ids of any length do not stop the shop');
SELECT results_eq($$SELECT length(row_id), reason FROM rejected_row WHERE catalog = 'k_text' ORDER BY 1$$,
                  $$VALUES (103, 'its id is longer than 1024 bytes'), (203, 'its id is longer than 1024 bytes')$$, 'longer ones are set aside');
DELETE FROM k_text WHERE octet_length(sku) > 1024;
SELECT is_empty($$SELECT FROM rejected_row WHERE catalog = 'k_text'$$, 'until they are gone');
CREATE TABLE k_two (sku int, shop int, sum int GENERATED ALWAYS AS (sku * 100 + shop) STORED UNIQUE, PRIMARY KEY (sku, shop));
SELECT throws_like($$SELECT create_catalog('two', 'k_two', 'sku')$$, '%only a part of the primary key%', 'a composite key is refused');
SELECT lives_ok($$SELECT create_catalog('two', 'k_two', 'sum')$$, 'a generated column that joins it will do');
CREATE TABLE wide (sku int PRIMARY KEY);
SELECT format('ALTER TABLE wide %s', string_agg(format('ADD c%s int', i), ', ')) FROM generate_series(1, 1599) i \gexec
INSERT INTO wide (sku, c1599) VALUES (1, 10);
SELECT lives_ok($$SELECT create_catalog('wide', 'wide', 'sku', price => 'c1599')$$, 'a source of 1,600 columns');
UPDATE wide SET c1599 = 11;
SELECT is((SELECT s.price FROM item_state s JOIN catalog c USING (catalog) WHERE c.name = 'wide'), 11::float8, 'is followed');
CREATE VIEW wide_view AS SELECT * FROM wide;
SELECT lives_ok($$SELECT create_catalog('wide view', 'wide_view', 'sku', price => 'c1599')$$, 'and a view of them');

---- kinds and weights ----

CREATE TABLE ware (sku text PRIMARY KEY, price int, stock int, active boolean);
INSERT INTO ware SELECT 'w' || i, i, 1, true FROM generate_series(1, 12) i;
CREATE TABLE act (basket int, sku text, usr text, kind text, quantity numeric DEFAULT 1);
CREATE TABLE peek (sku text, usr text);
CREATE TABLE bundle_order (nr int, bundle text, usr text);
SELECT create_catalog('ware', 'ware', 'sku', price => 'price', stock => 'stock', active => 'active') \g /dev/null
SELECT add_event_source('ware', 'act', user_id => 'usr', item_id => 'sku', basket_id => 'basket', kind => 'kind', quantity => 'quantity') \g /dev/null
SELECT add_event_source('ware', 'peek', user_id => 'usr', item_id => 'sku', default_kind => 'view', weights => '{"view": 0.25}') \g /dev/null
SELECT add_event_source('ware', 'bundle_order', user_id => 'usr', bundle_id => 'bundle', basket_id => 'nr') \g /dev/null
SELECT catalog AS ware FROM catalog WHERE name = 'ware' \gset
INSERT INTO act VALUES (1, 'w1', 'u', 'purchase', 2), (1, 'w2', 'u', NULL, 1), (2, 'w1', 'u', 'purchase', 1), (2, 'w3', 'u', 'purchase', 1),
                       (3, 'w1', 'v', 'click', 1), (3, 'w2', 'v', 'cart', 1), (4, 'w4', 'v', 'purchase', 1), (4, 'w5', 'v', 'purchase', 1);
INSERT INTO act VALUES (1, 'w1', 'u', 'return', 1), (2, 'w3', 'u', 'return', 1), (4, 'w4', 'v', 'return', 1);
INSERT INTO peek VALUES ('w7', 'u'), ('w7', 'u'), ('w8', 'u'), ('w1', 'z');
\o /dev/null
SELECT refresh('ware');
\o
SELECT set_eq(format('SELECT i.item_id, baskets FROM item_count JOIN item i USING (catalog, item) WHERE catalog = %s', :ware),
              $$VALUES ('w1' COLLATE "C", 2::bigint), ('w2', 1), ('w5', 1)$$, 'only purchases count, less what was sent back');
SELECT set_eq(format('SELECT a.item_id AS one, b.item_id AS other, together FROM item_pair p JOIN item a USING (catalog, item) JOIN item b ON b.catalog = p.catalog AND b.item = p.other WHERE p.catalog = %s', :ware),
              $$VALUES ('w1' COLLATE "C", 'w2' COLLATE "C", 1::bigint), ('w2', 'w1', 1)$$, 'a return takes the item out of its basket');
SELECT is((SELECT baskets FROM catalog_state WHERE catalog = :ware), 3::bigint, 'a basket that is left with one item is still one');
-- bought whole: 1 view of w7 twice at .25 is .5
SELECT set_eq($$SELECT DISTINCT c ->> 'from' FROM recommend_items('ware', user_id => 'u', k => 8, log => false), jsonb_array_elements(reasons -> 'context') c$$,
              $$VALUES ('w1'), ('w2')$$, 'history holds what was bought and kept');
SELECT results_eq($$SELECT sum(e.weight * (s.weights ->> e.kind)::float8) FROM event e JOIN event_source s USING (source) WHERE e.user_id = 'u' AND e.item_id = 'w7'$$,
                  'SELECT 0.5::float8', 'a source''s own weights are its own');
SELECT throws_ok($$SELECT add_event_source('ware', 'ware', item_id => 'sku', weights => '[1]')$$, '22023', NULL, 'weights are an object');
SELECT throws_ok($$SELECT add_event_source('ware', 'ware', item_id => 'sku', weights => '{"click": "much"}')$$, '22023', NULL, 'of numbers');
SELECT throws_ok($$SELECT add_event_source('ware', 'ware', item_id => 'sku', weights => '{"click": {"a": 1}}')$$, '22023', NULL, 'and nothing else');
SELECT throws_ok($$SELECT add_event_source('ware', 'ware', item_id => 'sku', default_kind => '')$$, '22023', NULL, 'a kind has a name');

-- faulty events go when they are mended or deleted
INSERT INTO act VALUES (5, NULL, 'u', 'purchase', 1), (5, 'w1', 'u', 'purchase', -1), (5, 'w1', 'u', 'purchase', -1), (5, repeat('w', 2000), 'u', 'purchase', 1);
INSERT INTO act VALUES (5, 'w1', repeat('u', 2000), 'purchase', 1);
SELECT is((SELECT count(*) FROM rejected_row WHERE catalog = 'ware'), 5::bigint, 'unsound events are set aside');
DELETE FROM act WHERE ctid = (SELECT min(ctid) FROM act WHERE quantity = -1);
UPDATE act SET sku = 'w2' WHERE basket = 5 AND sku IS NULL;
SELECT set_eq($$SELECT left(row_id, 3), reason FROM rejected_row WHERE catalog = 'ware'$$,
              $$VALUES ('w1', 'its quantity is not above 0, NaN or infinite'), ('www', 'one of its ids is longer than 1024 bytes'), ('w1', 'one of its ids is longer than 1024 bytes')$$,
              'until they are mended or gone');

---- log_event ----

SELECT lives_ok($$SELECT log_event('ware', 'x', 'w9', basket_id => 'b1'), log_event('ware', 'x', 'w10', basket_id => 'b1', quantity => 2, price => 3),
                         log_event('ware', 'x', 'w11', 'click'), log_event('ware', 'x', bundle_id => 'some bundle', occurred_at => '2024-01-01')$$, 'events without a table');
\o /dev/null
SELECT refresh('ware');
SELECT sync('ware');
SELECT refresh('ware');
\o
SELECT results_eq($$SELECT item_id, together FROM bought_together('ware', '{w9}')$$, $$VALUES ('w10', 1::bigint)$$, 'they count, and sync leaves them alone');
SELECT results_eq(format($$SELECT bundle_id, occurred_at FROM event_queue_%s WHERE bundle_id IS NOT NULL$$, :ware), $$VALUES ('some bundle' COLLATE "C", timestamptz '2024-01-01')$$, 'an unknown bundle waits');
SELECT throws_ok($$SELECT log_event('ware', 'x')$$, '22023', NULL, 'an event is of something');
SELECT throws_ok($$SELECT log_event('ware', 'x', 'w1', bundle_id => 'b')$$, '22023', NULL, 'of one thing');
SELECT throws_ok($$SELECT log_event('ware', 'x', 'w1', quantity => 0)$$, '22023', NULL, 'in some quantity');
SELECT throws_ok($$SELECT log_event('ware', 'x', 'w1', price => 'NaN')$$, '22023', NULL, 'at a price');
SELECT throws_ok($$SELECT log_event('no', 'x', 'w1')$$, '42704', NULL, 'in a catalog');
SELECT throws_ok($$SELECT log_event(NULL, 'x', 'w1')$$, '22004', NULL, 'that is named');

---- what triggers did not see, and what is set aside and retried ----

ALTER TABLE act DISABLE TRIGGER USER;
ALTER TABLE ware DISABLE TRIGGER USER;
INSERT INTO act SELECT i / 4, 'w' || 1 + i % 12, 'u' || i % 3, 'purchase', 1 FROM generate_series(10, 2000) i;
DELETE FROM act WHERE basket = 2;
UPDATE ware SET price = price + 1, stock = NULL WHERE sku > 'w3';
DELETE FROM ware WHERE sku = 'w12';
INSERT INTO ware VALUES ('w13', 1, 1, false);
ALTER TABLE act ENABLE TRIGGER USER;
ALTER TABLE ware ENABLE TRIGGER USER;
SET maintenance_work_mem = '1MB';
\o /dev/null
SELECT sync('ware');
\o
RESET maintenance_work_mem;
SELECT is_empty($$SELECT wrong_items('ware', 'ware')$$, 'sync finds items that triggers did not see');
\set acts 'SELECT usr, sku, basket::text, coalesce(kind, ''purchase'') AS kind, quantity FROM act WHERE quantity > 0 AND length(sku) < 1000 AND length(usr) < 1000 UNION ALL SELECT usr, sku, NULL, ''view'', 1 FROM peek UNION ALL VALUES (''x'', ''w9'', ''b1'', ''purchase'', 1), (''x'', ''w10'', ''b1'', ''purchase'', 2), (''x'', ''w11'', NULL, ''click'', 1), (''x'', ''some bundle'', NULL, ''purchase'', 1)'
SELECT is_empty(format($$SELECT wrong_events('ware', %L)$$, :'acts'), 'and events');
SELECT format('DROP TRIGGER bundle_rec_%s_insert ON ware', :ware) \gexec
INSERT INTO ware VALUES ('w20', 20, 1, true);
\o /dev/null
SELECT sync('ware');
\o
INSERT INTO ware VALUES ('w21', 21, 1, true);
SELECT is_empty($$SELECT wrong_items('ware', 'ware')$$, 'a trigger that was dropped is there again after sync');

CREATE TABLE loose (sku text, price int, stock int, active boolean);
SELECT create_catalog('loose', 'loose', 'sku', price => 'price', stock => 'stock', active => 'active') \g /dev/null
INSERT INTO loose VALUES ('a', 1), ('b', 1);
INSERT INTO loose VALUES ('a', 2), ('a', 3), ('c', -1), (NULL, 1);
SELECT results_eq($$SELECT row_id, count(*) FROM rejected_row WHERE catalog = 'loose' GROUP BY 1 ORDER BY 1$$, $$VALUES ('a' COLLATE "C", 2::bigint), ('c', 1), (NULL, 1)$$, 'rows that cannot be taken are set aside');
DELETE FROM loose WHERE sku = 'a' AND price = 1;
\o /dev/null
SELECT refresh('loose');
\o
SELECT results_eq($$SELECT i.item_id, s.price FROM item_state s JOIN item i USING (catalog, item) JOIN catalog c USING (catalog) WHERE c.name = 'loose' ORDER BY 1$$,
                  $$VALUES ('a' COLLATE "C", 2::float8), ('b', 1)$$, 'refresh tries again where the other row of the id is gone');
SELECT results_eq($$SELECT row_id, count(*) FROM rejected_row WHERE catalog = 'loose' GROUP BY 1 ORDER BY 1$$, $$VALUES ('a' COLLATE "C", 1::bigint), ('c', 1), (NULL, 1)$$, 'the other one waits on');
\o /dev/null
SELECT sync('loose');
\o
SELECT results_eq($$SELECT row_id, count(*) FROM rejected_row WHERE catalog = 'loose' GROUP BY 1 ORDER BY 1$$, $$VALUES ('a' COLLATE "C", 1::bigint), ('c', 1), (NULL, 1)$$, 'sync finds the same');

---- renamed, dropped ----

ALTER TABLE ware RENAME price TO euros;
SELECT lives_ok($$UPDATE ware SET stock = 9 WHERE sku < 'w2'; UPDATE ware SET stock = 10 WHERE sku = 'w5'; DELETE FROM ware WHERE sku = 'w6'$$, 'a renamed column does not stop the shop');
SELECT set_eq($$SELECT origin::text, reason FROM rejected_row WHERE catalog = 'ware' AND row_id IS NULL$$, $$VALUES ('ware', 'Table "ware" has no column "price" any more.')$$, 'it is noticed, once');
SELECT throws_ok($$SELECT sync('ware')$$, '42703', NULL, 'sync says so too');
SELECT lives_ok($$SELECT alter_catalog('ware', price => 'euros')$$, 'the catalog is told the new name');
SELECT is_empty($$SELECT wrong_items('ware', '(SELECT sku, euros AS price, stock, active FROM ware) w')$$, 'and has made good what it missed');
SELECT is_empty($$SELECT FROM rejected_row WHERE catalog = 'ware' AND row_id IS NULL$$, 'nothing is said against it any more');
SELECT lives_ok($$SELECT alter_catalog('ware', stock => '', discount => 0.2)$$, 'a column can be taken away');
SELECT throws_ok($$SELECT recommend_items('ware', min_margin => 0.1)$$, '55000', NULL, 'what needs a column says so');
SELECT results_eq($$SELECT DISTINCT s.stock IS NULL, c.discount FROM item_state s JOIN catalog c USING (catalog) WHERE c.name = 'ware'$$, 'VALUES (true, 0.2::float8)', 'no stock is known then');
SELECT throws_ok($$SELECT alter_catalog('ware', item_id => '')$$, '22023', NULL, 'but not the ids');
SELECT throws_ok($$SELECT alter_catalog('ware', category => 'no')$$, '42703', NULL, 'nor one that is not there');
ALTER TABLE ware RENAME TO merchandise;
UPDATE merchandise SET euros = 77 WHERE sku = 'w1';
SELECT is((SELECT price FROM item_state JOIN item USING (catalog, item) WHERE catalog = :ware AND item_id = 'w1'), 77::float8, 'a table may be renamed');
CREATE TABLE merchandise_2 (sku text PRIMARY KEY, euros int, active boolean);
INSERT INTO merchandise_2 SELECT sku, euros + 1, active FROM merchandise WHERE sku <> 'w2';
DROP TABLE merchandise;
SELECT throws_ok($$SELECT * FROM recommend('ware')$$, '42P01', NULL, 'a source that was dropped is missed');
SELECT lives_ok($$SELECT alter_catalog('ware', items => 'merchandise_2')$$, 'another may take its place');
SELECT is_empty($$SELECT wrong_items('ware', '(SELECT sku, euros AS price, NULL AS stock, active FROM merchandise_2) w')$$, 'with its rows');
INSERT INTO merchandise_2 VALUES ('w30', 1, true);
SELECT is_empty($$SELECT wrong_items('ware', '(SELECT sku, euros AS price, NULL AS stock, active FROM merchandise_2) w')$$, 'and is followed');
SELECT 'peek'::regclass::oid AS peek \gset
DROP TABLE peek;
SELECT lives_ok($$SELECT refresh('ware')$$, 'refresh goes on without a source of events');
SELECT throws_ok($$SELECT drop_event_source('ware', 'merchandise_2')$$, '42704', NULL, 'a table that is none cannot be dropped as a source');
SELECT lives_ok(format($$SELECT drop_event_source('ware', %s)$$, :peek), 'a source that is gone is dropped by its number');
SELECT lives_ok($$SELECT drop_event_source('ware', 'act', keep_events => true)$$, 'another by its name, and its events go on counting');
SELECT is_empty($$SELECT FROM pg_trigger WHERE tgrelid = 'act'::regclass$$, 'its triggers are gone');
\o /dev/null
SELECT refresh('ware');
\o
SELECT is((SELECT count(*) FROM event e WHERE catalog = :ware AND kind = 'view'), 0::bigint, 'what was looked at is forgotten');
SELECT is((SELECT sum(weight)::bigint FROM (TABLE event UNION ALL TABLE event_queue) e WHERE catalog = :ware AND user_id <> 'x'),
          (SELECT count(*) FROM act WHERE quantity > 0 AND length(sku) < 1000 AND length(usr) < 1000), 'what was bought is not');
SELECT lives_ok($$SELECT drop_catalog(name) FROM catalog$$, 'all are dropped');
SELECT is_empty($$SELECT FROM pg_trigger WHERE tgname LIKE 'bundle_rec%'$$, 'no trigger is left');
SELECT is_empty($$SELECT relname FROM pg_class WHERE relnamespace = 'bundle_rec'::regnamespace AND relname ~ '^(item|event|bundle|decision|feedback)[a-z_]*_[0-9]+$'$$, 'no table is left');

SELECT * FROM finish();

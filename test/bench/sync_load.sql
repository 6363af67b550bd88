-- sync_load.sql: sources that no trigger saw filled, compared by sync.
--    :items and :events rows. One catalog has the items, another the events.
SET client_min_messages = warning;
SET search_path = public, bundle_rec;
CREATE TABLE goods (sku bigint PRIMARY KEY, title text, price numeric, stock int, category text);
CREATE TABLE act (id bigint PRIMARY KEY, basket int, sku bigint, usr int, at timestamptz);
CREATE TABLE few (sku bigint PRIMARY KEY);
CREATE TABLE goods_copy (LIKE goods INCLUDING ALL);
CREATE TABLE act_copy (LIKE act INCLUDING ALL);
CREATE VIEW goods_seen AS TABLE goods;
SELECT create_catalog('goods', 'goods', 'sku', price => 'price', stock => 'stock', category => 'category') \g /dev/null
SELECT create_catalog('acts', 'few', 'sku') \g /dev/null
SELECT add_event_source('acts', 'act', user_id => 'usr', item_id => 'sku', basket_id => 'basket', occurred_at => 'at') \g /dev/null
ALTER TABLE goods DISABLE TRIGGER USER;
ALTER TABLE act DISABLE TRIGGER USER;
INSERT INTO goods SELECT i, 'product number ' || i, i % 100 + .99, i % 50, 'c' || i % 20 FROM generate_series(1, :items) i;
INSERT INTO act SELECT i, i / 3, 1 + (i::bigint * 7919) % :items, i % (:events / 10), timestamptz '2024-01-01' + i * interval '1 second'
FROM generate_series(1, :events) i;
VACUUM ANALYZE goods, act;
CHECKPOINT;

CREATE TEMP TABLE measured (n int GENERATED ALWAYS AS IDENTITY, what text, row_count bigint, seconds float8);
CREATE PROCEDURE measure(what text, row_count bigint, statement text) LANGUAGE plpgsql AS $$
DECLARE
    begun timestamptz := clock_timestamp();
BEGIN
    EXECUTE statement;
    INSERT INTO measured (what, row_count, seconds) VALUES (what, row_count, extract(epoch FROM clock_timestamp() - begun));
END $$;
CALL measure('items', :items, 'INSERT INTO goods_copy TABLE goods');
CALL measure('items: sync of all', :items, $$SELECT bundle_rec.sync('goods')$$);
CALL measure('items: sync, nothing differs', :items, $$SELECT bundle_rec.sync('goods')$$);
UPDATE goods SET price = price + 1 WHERE sku % 100 = 0;
CALL measure('items: sync, one in a hundred differs', :items, $$SELECT bundle_rec.sync('goods')$$);
CALL measure('items: the same over a view, from the beginning', :items,
             $$SELECT bundle_rec.create_catalog('seen', 'goods_seen', 'sku', price => 'price', stock => 'stock', category => 'category')$$);
CALL measure('events', :events, 'INSERT INTO act_copy TABLE act');
CALL measure('events: sync of all', :events, $$SELECT bundle_rec.sync('acts')$$);
CALL measure('events: sync, nothing differs', :events, $$SELECT bundle_rec.sync('acts')$$);
DELETE FROM act WHERE id % 100 = 0;
CALL measure('events: sync, one in a hundred differs', :events, $$SELECT bundle_rec.sync('acts')$$);
SELECT format('%s %s us a row   %s', rpad(CASE WHEN what ~ ':' THEN what ELSE what || ': INSERT ... SELECT' END, 50),
              lpad(round((seconds / row_count * 1e6)::numeric, 2)::text, 6),
              CASE WHEN what ~ ':' THEN round((seconds / (SELECT p.seconds FROM measured p WHERE p.what = split_part(m.what, ':', 1)))::numeric, 2)
                   || ' x the INSERT' ELSE '' END)
FROM measured m ORDER BY n \g (tuples_only format=unaligned)

\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- catalog.sql
--    Catalogs follow their sources: first load, triggers, refresh, rights, end.
--    Counts and neighbours are compared with plain SQL over the sources.
--
SELECT plan(92);
SET client_min_messages = error;
\o /dev/null
SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls');
\o

-- what a catalog should hold, from its sources alone
CREATE TABLE product (sku text PRIMARY KEY, title text, tags text, price numeric, cost real,
                      stock int, category text, active boolean, made date, note text);
CREATE TABLE sale (id bigint GENERATED ALWAYS AS IDENTITY, basket int, sku text, usr int, kind text,
                   quantity int DEFAULT 1, price numeric, at timestamp DEFAULT '2024-05-01');

CREATE FUNCTION live_basket(max_items int)
RETURNS TABLE (basket int, sku text, size bigint) LANGUAGE sql AS $$
    SELECT basket, sku, count(*) OVER (PARTITION BY basket)
    FROM (SELECT DISTINCT basket, s.sku FROM sale s
          WHERE coalesce(kind, 'purchase') = 'purchase' AND quantity > 0 AND basket IS NOT NULL
            AND EXISTS (SELECT FROM bundle_rec.item i WHERE i.item_id = s.sku)) b
$$;

-- differences between stored counts of a catalog and plain joins, both ways
CREATE FUNCTION wrong_counts(n int, max_items int DEFAULT 200) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE query text;
BEGIN
    FOR query IN VALUES
        ('SELECT i.item_id, c.baskets FROM bundle_rec.item_count c JOIN bundle_rec.item i USING (catalog, item) WHERE c.catalog = $1'),
        ('SELECT a.item_id || ''+'' || b.item_id, p.together FROM bundle_rec.item_pair p
          JOIN bundle_rec.item a USING (catalog, item)
          JOIN bundle_rec.item b ON b.catalog = p.catalog AND b.item = p.other WHERE p.catalog = $1')
    LOOP
        RETURN QUERY EXECUTE format(
            'WITH stored AS (%s), plain AS (%s)
             SELECT ''stored '' || x::text FROM (TABLE stored EXCEPT TABLE plain) x
             UNION ALL SELECT ''plain '' || x::text FROM (TABLE plain EXCEPT TABLE stored) x', query,
            CASE WHEN query LIKE '%item_count%' THEN
                'SELECT sku, sum(n) FROM (
                   SELECT sku, count(*) n FROM live_basket($2) GROUP BY 1
                   UNION ALL SELECT sku, count(*) FROM sale WHERE basket IS NULL AND quantity > 0
                     AND coalesce(kind, ''purchase'') = ''purchase''
                     AND sku IN (SELECT item_id FROM bundle_rec.item) GROUP BY 1) x GROUP BY 1'
            ELSE
                'SELECT a.sku || ''+'' || b.sku, count(*) FROM live_basket($2) a JOIN live_basket($2) b USING (basket)
                 WHERE a.sku <> b.sku AND a.size <= $2 GROUP BY 1'
            END) USING n, max_items;
    END LOOP;
END $$;

CREATE FUNCTION plain_baskets() RETURNS bigint LANGUAGE sql AS $$
    SELECT (SELECT count(DISTINCT basket) FROM live_basket(200))
         + (SELECT count(*) FROM sale WHERE basket IS NULL AND quantity > 0
            AND coalesce(kind, 'purchase') = 'purchase' AND sku IN (SELECT item_id FROM bundle_rec.item))
$$;

-- differences between the items of a catalog and its source
CREATE FUNCTION wrong_items(n int) RETURNS SETOF text LANGUAGE sql AS $$
    WITH stored AS (
        SELECT i.item_id, i.category, i.created_at, s.price, s.cost, s.stock, s.active,
               encode(i.text_hash, 'hex') AS text_hash
        FROM bundle_rec.item i JOIN bundle_rec.item_state s USING (catalog, item) WHERE catalog = n),
    plain AS (
        SELECT sku, category, made::timestamptz, price::float8, cost::text::float8, stock::float8, coalesce(active, true),
               encode(sha256(convert_to(nullif(concat_ws(' ', nullif(btrim(title), ''), nullif(btrim(tags), '')), ''), 'UTF8')), 'hex')
        FROM product
        WHERE sku <> '' AND (price IS NULL OR (price >= 0 AND price < 'Infinity'))
          AND (cost IS NULL OR (cost >= 0 AND cost < 'Infinity')) AND (stock IS NULL OR stock >= 0))
    SELECT 'stored ' || x::text FROM (TABLE stored EXCEPT TABLE plain) x
    UNION ALL SELECT 'plain ' || x::text FROM (TABLE plain EXCEPT TABLE stored) x
$$;

-- items whose stored neighbours are not what a search over all active items finds
CREATE FUNCTION wrong_neighbours(n int, k int) RETURNS SETOF text LANGUAGE sql AS $$
    WITH active AS (
        SELECT item, item_id, embedding FROM bundle_rec.item JOIN bundle_rec.item_state USING (catalog, item)
        WHERE catalog = n AND active AND embedding IS NOT NULL),
    plain AS (
        SELECT a.item, (SELECT array_agg(d ORDER BY d) FROM (
                SELECT 1 - (a.embedding <=> b.embedding) AS d FROM active b
                WHERE b.item <> a.item ORDER BY 1 DESC LIMIT k) x) AS similarity
        FROM active a),
    stored AS (SELECT item, neighbours, similarity FROM bundle_rec.item_neighbour WHERE catalog = n)
    SELECT 'item ' || coalesce(p.item, s.item)
    FROM plain p FULL JOIN stored s USING (item)
    WHERE p.item IS NULL OR s.item IS NULL
       OR cardinality(s.neighbours) <> coalesce(cardinality(p.similarity), 0)
       OR s.item = ANY (s.neighbours)
       OR EXISTS (SELECT FROM generate_subscripts(s.similarity, 1) i WHERE
              abs(s.similarity[i] - p.similarity[cardinality(p.similarity) + 1 - i]) > 2e-6)
       OR EXISTS (SELECT FROM unnest(s.neighbours, s.similarity) u (other, near) WHERE NOT EXISTS (
              SELECT FROM active a, active b WHERE a.item = s.item AND b.item = u.other
                AND abs(1 - (a.embedding <=> b.embedding) - u.near) < 2e-6))
$$;

-- first load
INSERT INTO product
SELECT 'p' || i, (ARRAY['red', 'green', 'blue', 'dark'])[1 + i % 4] || ' ' ||
       (ARRAY['camera', 'lens', 'bag', 'lamp', 'chair'])[1 + i % 5] || ' ' || i, 'tag' || i % 3,
       i + 0.99, i * 0.7, i % 7, 'c' || i % 4, CASE i % 10 WHEN 0 THEN false WHEN 1 THEN NULL ELSE true END,
       date '2024-01-01' + i
FROM generate_series(1, 60) i;
INSERT INTO sale (basket, sku, usr)
SELECT i / 3, 'p' || 1 + (i * i + 7 * i) % 61, i % 9 FROM generate_series(1, 400) i;
\o /dev/null
SELECT create_catalog('shop', 'product', item_id => 'sku', text => '{title,tags}', price => 'price', cost => 'cost',
                      stock => 'stock', category => 'category', active => 'active', created_at => 'made');
SELECT add_event_source('shop', 'sale', user_id => 'usr', item_id => 'sku', basket_id => 'basket', kind => 'kind',
                        quantity => 'quantity', price => 'price', occurred_at => 'at');
SELECT catalog AS n FROM catalog WHERE name = 'shop' \gset
\o
SELECT is_empty(format('SELECT wrong_items(%s)', :n), 'the first load takes every item');
SELECT results_eq('SELECT items, active, embedded, pending, rejected, unfolded, baskets, pairs, refreshed_at IS NULL FROM catalog_coverage',
                  $$VALUES (60::bigint, 54::bigint, 0::bigint, 60::bigint, 0::bigint, 400::bigint, 0::bigint, 0::bigint, true)$$,
                  'the coverage of a catalog that was never refreshed');
\o /dev/null
SELECT refresh('shop');
\o
SELECT is_empty(format('SELECT wrong_counts(%s)', :n), 'counts equal a plain join');
SELECT is((SELECT baskets FROM catalog_coverage), plain_baskets(), 'baskets are counted');
SELECT results_eq('SELECT items, embedded, pending, unfolded, refreshed_at = now() FROM catalog_coverage',
                  $$SELECT 60::bigint, 60::bigint, 0::bigint, count(*), false FROM sale WHERE sku = 'p61'$$,
                  'all is embedded and folded but events of an item that is not there');
SELECT is_empty($$SELECT item_id FROM item JOIN product ON item_id = sku
                  WHERE (embedding <=> embed(title || ' ' || tags)::embedding) > 1e-6$$,
                'embeddings are those of the joined texts');
SELECT is_empty(format('SELECT wrong_neighbours(%s, 32)', :n), 'stored neighbours equal a search over all');
SELECT is((SELECT typical_price FROM catalog_state),
          (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY price) FROM product WHERE coalesce(active, true)),
          'the typical price is the median of active items');
SELECT set_eq('SELECT cost FROM item_state JOIN item USING (catalog, item) WHERE item_id = ''p1''', ARRAY[0.7::float8],
              'a real is read as it is written');

-- an item that comes later brings its events
INSERT INTO product (sku, title) VALUES ('p61', 'late arrival');
\o /dev/null
SELECT refresh('shop');
\o
SELECT is((SELECT unfolded FROM catalog_coverage), 0::bigint, 'events of an item wait for the item');
SELECT is_empty(format('SELECT wrong_counts(%s)', :n), 'and are then counted');
SELECT is_empty(format('SELECT wrong_neighbours(%s, 32)', :n), 'the late item is a neighbour and has neighbours');

-- random changes, refreshed now and then
CREATE FUNCTION shake(rounds int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    what int;
    picked text;
BEGIN
    FOR i IN 1 .. rounds LOOP
        what := floor(random() * 14);
        picked := 'p' || 1 + floor(random() * 80);
        IF what = 0 THEN INSERT INTO product (sku, title, price) VALUES (picked, 'new ' || i, i) ON CONFLICT (sku) DO UPDATE SET title = 'newer ' || i;
        ELSIF what = 1 THEN DELETE FROM product WHERE sku = picked;
        ELSIF what = 2 THEN UPDATE product SET price = price * 1.1, stock = stock + 1 WHERE sku = picked;
        ELSIF what = 3 THEN UPDATE product SET title = 'changed ' || i % 5 WHERE sku = picked;
        ELSIF what = 4 THEN UPDATE product SET sku = 'q' || (random() * 1e9)::int WHERE sku = picked;
        ELSIF what = 5 THEN UPDATE product SET active = NOT coalesce(active, true) WHERE sku = picked;
        ELSIF what = 6 THEN UPDATE product SET title = NULL, tags = '  ' WHERE sku = picked;
        ELSIF what = 7 THEN UPDATE product SET price = -price WHERE sku = picked;
        ELSIF what = 8 THEN DELETE FROM sale WHERE basket = floor(random() * 150) AND random() < 0.5;
        ELSIF what = 9 THEN UPDATE sale SET sku = picked WHERE basket = floor(random() * 150) AND random() < 0.5;
        ELSIF what = 10 THEN UPDATE sale SET basket = nullif(floor(random() * 150)::int, 3) WHERE sku = picked AND random() < 0.5;
        ELSIF what = 11 THEN UPDATE sale SET kind = (ARRAY['purchase', 'click', NULL])[1 + i % 3], at = at + interval '1 day' WHERE usr = i % 9;
        ELSIF what = 12 THEN UPDATE sale SET quantity = i % 3 WHERE usr = i % 9 AND random() < 0.3;
        ELSE INSERT INTO sale (basket, sku, usr) SELECT floor(random() * 150), 'p' || 1 + floor(random() * 80), i % 9 FROM generate_series(1, 5);
        END IF;
    END LOOP;
END $$;
\o /dev/null
SELECT setseed(0.4);
SELECT shake(150);
SELECT refresh('shop');
\o
SELECT is_empty(format('SELECT wrong_items(%s)', :n), 'random changes: items equal the source');
SELECT is_empty(format('SELECT wrong_counts(%s)', :n), 'random changes: counts equal a plain join');
SELECT is_empty(format('SELECT wrong_neighbours(%s, 32)', :n), 'random changes: neighbours equal a search over all');
SELECT is((SELECT baskets FROM catalog_coverage), plain_baskets(), 'random changes: baskets are counted');
\o /dev/null
DO $$ BEGIN FOR i IN 1 .. 12 LOOP PERFORM shake(30); PERFORM bundle_rec.refresh('shop'); END LOOP; END $$;
\o
SELECT is_empty(format('SELECT wrong_items(%s)', :n), 'after many refreshes: items equal the source');
SELECT is_empty(format('SELECT wrong_counts(%s)', :n), 'after many refreshes: counts equal a plain join');
SELECT is_empty(format('SELECT wrong_neighbours(%s, 32)', :n), 'after many refreshes: neighbours equal a search over all');
SELECT is((SELECT baskets FROM catalog_coverage), plain_baskets(), 'after many refreshes: baskets are counted');
SELECT is((SELECT events FROM catalog_coverage), (SELECT count(*) FROM sale WHERE quantity > 0 AND sku <> ''),
          'live events are the rows of the source');
SELECT is_empty($$SELECT item_id FROM item JOIN item_state USING (catalog, item) JOIN product ON sku = item_id
                  WHERE embedding IS DISTINCT FROM embed(nullif(concat_ws(' ', nullif(btrim(title), ''), nullif(btrim(tags), '')), ''))::embedding
                    AND (embedding <=> embed(concat_ws(' ', title, tags))) > 1e-6$$, 'every embedding is that of the present text');
SELECT cmp_ok((SELECT count(*) FROM product), '>', 40::bigint, 'the random shop is still a shop');
SELECT cmp_ok((SELECT pairs FROM catalog_coverage), '>', 50::bigint, 'with pairs');

-- a catalog made afresh holds the same
CREATE TEMP VIEW stored AS
SELECT catalog, item_id, category, price, cost, stock, active, text_hash, baskets,
       (SELECT jsonb_object_agg(o.item_id, p.together) FROM item_pair p JOIN item o ON o.catalog = p.catalog AND o.item = p.other
        JOIN item_state os ON os.catalog = o.catalog AND os.item = o.item
        WHERE p.catalog = i.catalog AND p.item = i.item) AS pairs
FROM item i JOIN item_state USING (catalog, item) LEFT JOIN item_count USING (catalog, item);
BEGIN;
\o /dev/null
DELETE FROM sale WHERE sku NOT IN (SELECT item_id FROM item JOIN item_state USING (catalog, item));
SELECT refresh('shop');
SELECT create_catalog('afresh', 'product', item_id => 'sku', text => '{title,tags}', price => 'price', cost => 'cost',
                      stock => 'stock', category => 'category', active => 'active', created_at => 'made');
SELECT add_event_source('afresh', 'sale', item_id => 'sku', basket_id => 'basket', kind => 'kind', quantity => 'quantity');
SELECT refresh('afresh');
SELECT catalog AS afresh FROM catalog WHERE name = 'afresh' \gset
\o
SELECT set_eq(format('SELECT item_id, category, price, cost, stock, active, text_hash, baskets, pairs FROM stored WHERE catalog = %s', :n),
              format('SELECT item_id, category, price, cost, stock, active, text_hash, baskets, pairs FROM stored WHERE catalog = %s', :afresh),
              'a catalog kept by triggers equals one made afresh');
ROLLBACK;
SELECT is_empty($$SELECT relname FROM pg_class WHERE relname ~ '_[0-9]+$' AND relname LIKE 'item%' AND relnamespace = 'bundle_rec'::regnamespace
                  AND relname NOT LIKE '%\_' || (SELECT max(catalog) FROM bundle_rec.catalog)$$, 'a catalog that is rolled back leaves nothing');

-- the border between baskets that count for pairs and those that do not
\o /dev/null
SET bundle_rec.max_basket_items = 3;
SELECT refresh('shop');
\o
SELECT is_empty(format('SELECT wrong_counts(%s, 3)', :n), 'a new limit on baskets counts pairs anew');
\o /dev/null
INSERT INTO sale (basket, sku) SELECT basket, sku FROM (SELECT DISTINCT basket FROM sale WHERE basket % 3 = 0) b, (SELECT sku FROM product ORDER BY sku LIMIT 2) p;
DELETE FROM sale WHERE basket % 3 = 1 AND id % 2 = 0;
SELECT refresh('shop');
\o
SELECT is_empty(format('SELECT wrong_counts(%s, 3)', :n), 'baskets that cross the limit in either direction stay exact');
\o /dev/null
RESET bundle_rec.max_basket_items;
SELECT refresh('shop');
\o
SELECT is_empty(format('SELECT wrong_counts(%s, 200)', :n), 'and back');

-- fewer neighbours
\o /dev/null
SET bundle_rec.neighbours = 5;
SELECT refresh('shop');
RESET bundle_rec.neighbours;
\o
SELECT is_empty(format('SELECT wrong_neighbours(%s, 5)', :n), 'a new number of neighbours makes all lists anew');

-- swapped ids, chains of ids
\o /dev/null
SELECT refresh('shop');
TRUNCATE product;
\o
SELECT is((SELECT items FROM catalog_coverage), 0::bigint, 'TRUNCATE takes all items away');
SELECT is_empty(format('SELECT wrong_items(%s)', :n), 'as in the source');
\o /dev/null
CREATE TABLE rename_me (id int UNIQUE DEFERRABLE, title text, price int);
INSERT INTO rename_me VALUES (1, 'one', 10), (2, 'two', 20), (3, 'three', 30);
SELECT create_catalog('renamed', 'rename_me', item_id => 'id', text => '{title}', price => 'price');
UPDATE rename_me SET id = 4 - id;
\o
SELECT results_eq($$SELECT i.item_id, s.price FROM item i JOIN item_state s USING (catalog, item) JOIN catalog c USING (catalog) WHERE name = 'renamed' ORDER BY 1$$,
                  $$VALUES ('1'::text COLLATE "C", 30::float8), ('2', 20), ('3', 10)$$, 'ids that are swapped keep their items');
UPDATE rename_me SET id = id + 1;
SELECT results_eq($$SELECT i.item_id, s.price FROM item i JOIN item_state s USING (catalog, item) JOIN catalog c USING (catalog) WHERE name = 'renamed' ORDER BY 1$$,
                  $$VALUES ('2'::text COLLATE "C", 30::float8), ('3', 20), ('4', 10)$$, 'ids that move along leave none behind');

-- TRUNCATE of events
\o /dev/null
INSERT INTO product (sku, title) SELECT DISTINCT sku, 'again' FROM sale WHERE sku <> '';
TRUNCATE sale;
SELECT refresh('shop');
\o
SELECT results_eq('SELECT events, baskets, pairs FROM catalog_coverage WHERE catalog = ''shop''', 'VALUES (0::bigint, 0::bigint, 0::bigint)',
                  'TRUNCATE of events takes all counts away');
SELECT is_empty(format('SELECT * FROM item_count_%s', :n), 'no item counts no baskets');
SELECT is((SELECT count(DISTINCT embedding::text) FROM item JOIN item_state USING (catalog, item) WHERE catalog = :n AND embedding IS NOT NULL), 1::bigint,
          'equal texts have one embedding');

-- rows that a catalog cannot take
RESET client_min_messages;
\o /dev/null
CREATE TABLE strange (id text, price float8, cost float8, stock numeric);
SET client_min_messages = error;
INSERT INTO strange VALUES (NULL, 1, 1, 1), ('', 1, 1, 1), ('negative price', -1, 1, 1), ('nan price', 'NaN', 1, 1),
    ('endless cost', 1, 'Infinity', 1), ('negative stock', 1, 1, -1), ('huge stock', 1, 1, 1e400), ('twice', 1, 1, 1), ('twice', 2, 2, 2),
    ('good', 1, 0, 0), ('unknown', NULL, NULL, NULL);
SELECT create_catalog('strange', 'strange', item_id => 'id', price => 'price', cost => 'cost', stock => 'stock');
CREATE TEMP VIEW offered AS SELECT i.item_id, s.price FROM item i JOIN item_state s USING (catalog, item) JOIN catalog c USING (catalog) WHERE name = 'strange';
\o
SELECT set_eq($$SELECT item_id FROM offered$$, ARRAY['twice', 'good', 'unknown'], 'only sound rows become items');
SELECT set_eq($$SELECT row_id, reason FROM rejected_row WHERE catalog = 'strange'$$,
    $$VALUES (NULL, 'its id is NULL'), ('', 'its id is empty'), ('negative price', 'its price is negative, NaN or infinite'),
             ('nan price', 'its price is negative, NaN or infinite'), ('endless cost', 'its cost is negative, NaN or infinite'),
             ('negative stock', 'its stock is negative, NaN or infinite'), ('huge stock', 'its stock is negative, NaN or infinite'),
             ('twice', 'another row has this id')$$, 'the others are set aside with the reason');
UPDATE strange SET price = 3 WHERE id = 'negative price';
SELECT is((SELECT price FROM offered WHERE item_id = 'negative price'), 3::float8, 'a row that was put right becomes an item');
SELECT is_empty($$SELECT * FROM rejected_row WHERE row_id = 'negative price'$$, 'and is no longer listed');
UPDATE strange SET price = 'NaN' WHERE id = 'good';
SELECT is_empty($$SELECT * FROM offered WHERE item_id = 'good'$$, 'a price that becomes NaN is not offered with the old one');
INSERT INTO strange VALUES ('twice', 9, 9, 9);
SELECT is((SELECT price FROM offered WHERE item_id = 'twice'), 1::float8, 'another row with a known id changes nothing');
SELECT lives_ok($$INSERT INTO strange SELECT NULL, -1 FROM generate_series(1, 2500)$$, 'a statement full of bad rows succeeds');
SELECT is((SELECT count(*) FROM rejected_row WHERE catalog = 'strange' AND row_id IS NULL), 2501::bigint, 'and all of them are listed');
ALTER TABLE strange RENAME price TO amount;
SELECT lives_ok($$INSERT INTO strange (id) VALUES ('later')$$, 'a column that went does not fail the shop');
SELECT is((SELECT reason FROM rejected_row WHERE row_id IS NULL AND catalog = 'strange' ORDER BY noticed_at DESC, reason DESC LIMIT 1),
          'Table "strange" has no column "price" any more.', 'but is noted');
ALTER TABLE strange RENAME amount TO price;
\o /dev/null
SELECT create_catalog('numbers', 'rename_me', item_id => 'id');
CREATE TABLE odd_event (item int, amount float8, q numeric);
INSERT INTO odd_event VALUES (2, 1, 1), (NULL, 1, 1), (2, -1, 1), (2, 'NaN', 1), (2, 1, 0), (2, 1, 'NaN'), (3, NULL, NULL), (4, 1, 2);
SELECT add_event_source('numbers', 'odd_event', item_id => 'item', price => 'amount', quantity => 'q');
SELECT refresh('numbers');
\o
SELECT results_eq($$SELECT events, rejected, baskets, pairs, embedded, pending FROM catalog_coverage WHERE catalog = 'numbers'$$,
                  $$VALUES (3::bigint, 5::bigint, 3::bigint, 0::bigint, 0::bigint, 0::bigint)$$,
                  'unsound events are set aside; without baskets each purchase is one; without text nothing is embedded');
DELETE FROM odd_event;
\o /dev/null
SELECT refresh('numbers');
\o
SELECT is((SELECT baskets FROM catalog_state JOIN catalog USING (catalog) WHERE name = 'numbers'), 0::bigint, 'deleted purchases are no baskets');

-- errors
CREATE TABLE parted (id int, title text) PARTITION BY LIST (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE VIEW seen AS SELECT 1 AS id;
CREATE TABLE grown () INHERITS (rename_me);
CREATE TEMP TABLE fleeting (id int);
CREATE TABLE plain_table (id int PRIMARY KEY, a text[], m money, title text, amount int);
SELECT throws_ok($$SELECT create_catalog('x', 'parted_primary', 'id')$$, '42P01', NULL, 'a table that is not there is refused');
SELECT throws_ok($$SELECT create_catalog('x', 'parted_1', 'id')$$, '0A000', NULL, 'a partition is refused');
SELECT throws_ok($$SELECT create_catalog('x', 'pg_class', 'relname')$$, '0A000', NULL, 'a system catalog is refused');
SELECT throws_ok($$SELECT create_catalog('x', 'rename_me', 'id')$$, '0A000', NULL, 'a table with heirs is refused');
SELECT throws_ok($$SELECT create_catalog('x', 'grown', 'id')$$, '0A000', NULL, 'an heir is refused');
SELECT throws_ok($$SELECT create_catalog('x', 'fleeting', 'id')$$, '0A000', NULL, 'a temporary table is refused');
SELECT throws_ok($$SELECT create_catalog('x', 'pg_catalog.pg_class', 'oid')$$, '0A000', NULL, 'a system catalog is refused');
SELECT throws_ok($$SELECT create_catalog('shop', 'plain_table', 'id')$$, '42710', NULL, 'a name is taken once');
SELECT throws_ok($$SELECT create_catalog('', 'plain_table', 'id')$$, '22023', NULL, 'a name is not empty');
SELECT throws_ok($$SELECT create_catalog(NULL, 'plain_table', 'id')$$, '22004', NULL, 'a name is not NULL');
SELECT throws_ok($$SELECT create_catalog('x', 0::regclass, 'id')$$, '42P01', NULL, 'a table that is not there');
SELECT throws_ok($$SELECT create_catalog('x', 'plain_table', 'no')$$, '42703', NULL, 'a column that is not there');
SELECT throws_ok($$SELECT create_catalog('x', 'plain_table', 'a')$$, '42804', NULL, 'an id of an unfit type');
SELECT throws_ok($$SELECT create_catalog('x', 'plain_table', 'id', price => 'm')$$, '42804', NULL, 'a price of an unfit type');
SELECT throws_ok($$SELECT create_catalog('x', 'plain_table', 'id', active => 'id')$$, '42804', NULL, 'a flag of an unfit type');
SELECT throws_ok($$SELECT create_catalog('x', 'plain_table', 'id', image => 'no')$$, '42703', NULL, 'an image column that is not there');
SELECT throws_ok($$SELECT create_catalog('x', 'plain_table', 'id', text => '{title}', model => 'no')$$, '42704', NULL, 'a model that is not there');
SELECT throws_ok($$SELECT create_catalog('x', 'plain_table', 'id', model => 'tiny')$$, '22023', NULL, 'a model without text');
SELECT throws_ok($$SELECT create_catalog('x', 'plain_table', 'id', discount => 1)$$, '22023', NULL, 'nothing is given away');
SELECT throws_ok($$SELECT create_catalog('x', 'plain_table', 'id', discount => 'NaN')$$, '22023', NULL, 'a discount is a number');
SELECT throws_ok($$SELECT add_event_source('no', 'sale', item_id => 'sku')$$, '42704', NULL, 'events of a catalog that is not there');
SELECT throws_ok($$SELECT add_event_source('shop', 'sale', item_id => 'sku')$$, '42710', NULL, 'an event source is added once');
SELECT throws_ok($$SELECT add_event_source('shop', 'odd_event', item_id => 'item', weights => '{"click": 2}')$$, '22023', NULL, 'weights are at most 1');
SELECT throws_ok($$SELECT add_event_source('shop', 'odd_event')$$, '22004', NULL, 'events without items are refused');
SELECT throws_ok($$SELECT refresh('no')$$, '42704', NULL, 'refresh of a catalog that is not there');
SELECT throws_ok($$SELECT refresh(NULL)$$, '22004', NULL, 'refresh of NULL');
SELECT throws_ok($$SELECT drop_catalog('no')$$, '42704', NULL, 'a catalog that is not there is not dropped');
SELECT lives_ok($$CREATE TRIGGER mine AFTER INSERT ON plain_table REFERENCING NEW TABLE AS bundle_rec_new FOR EACH STATEMENT EXECUTE FUNCTION items_changed('1');
                  SET LOCAL client_min_messages = error; INSERT INTO plain_table VALUES (-1); DROP TRIGGER mine ON plain_table$$,
                'a trigger of one''s own harms no statement');
SELECT is((SELECT count(*) FROM item WHERE catalog = 1 AND item_id = '-1'), 0::bigint, 'nor does it feed a catalog');

-- an empty catalog
TRUNCATE plain_table;
\o /dev/null
SELECT create_catalog('empty', 'plain_table', 'id', text => '{title}', price => 'amount');
SELECT refresh('empty');
\o
SELECT results_eq($$SELECT items, baskets FROM catalog_coverage WHERE catalog = 'empty'$$, 'VALUES (0::bigint, 0::bigint)', 'an empty catalog is a catalog');
INSERT INTO plain_table VALUES (1, NULL, NULL, 'first');
\o /dev/null
SELECT refresh('empty');
\o
SELECT is((SELECT embedded FROM catalog_coverage WHERE catalog = 'empty'), 1::bigint, 'and its first item is embedded');

-- a queue that was analyzed while it stood empty is known before it is folded
CREATE TABLE bulk_sale (item text, basket int);
SELECT catalog AS empty FROM catalog WHERE name = 'empty' \gset
\o /dev/null
SELECT add_event_source('empty', 'bulk_sale', item_id => 'item', basket_id => 'basket');
\o
INSERT INTO bulk_sale SELECT '1', i FROM generate_series(1, 20000) i;
\o /dev/null
SELECT refresh('empty');
SELECT format('ANALYZE bundle_rec.event_queue_%s', :empty) \gexec
\o
SELECT is((SELECT reltuples FROM pg_class WHERE relname = 'event_queue_' || :empty), 0::real, 'a queue is analyzed while it is empty');
INSERT INTO bulk_sale SELECT '1', i FROM generate_series(1, 20000) i;
\o /dev/null
SELECT refresh('empty');
\o
SELECT is((SELECT reltuples FROM pg_class WHERE relname = 'event_queue_' || :empty), 20000::real, 'and analyzed again with what has come since');
SELECT is((SELECT baskets FROM catalog_coverage WHERE catalog = 'empty'), 20000::bigint, 'which is counted');

-- what a refresh fills is analyzed where that was much of it, else left to autovacuum
SELECT count(*) AS counted FROM event WHERE catalog = :empty \gset
SELECT is((SELECT reltuples FROM pg_class WHERE relname = 'event_' || :empty), :counted::real, 'events are analyzed after a refresh that brought many of them');
INSERT INTO bulk_sale SELECT '1', 20000 + i FROM generate_series(1, 1000) i;
\o /dev/null
SELECT refresh('empty');
\o
SELECT results_eq(format('SELECT count(*), (SELECT reltuples FROM pg_class WHERE relname = %L) FROM event WHERE catalog = %s', 'event_' || :empty, :empty),
                  format('VALUES (%s::bigint, %s::real)', :counted + 1000, :counted), 'and not after one that brought few');

-- the end
SELECT lives_ok($$SELECT drop_catalog('empty')$$, 'a catalog is dropped');
DROP TABLE strange;
SELECT throws_ok($$SELECT refresh('strange')$$, '42P01', NULL, 'a catalog without its source cannot be refreshed');
SELECT lives_ok($$SELECT drop_catalog(name) FROM catalog ORDER BY name$$, 'all are dropped, also one whose source is gone');
SELECT is_empty($$SELECT relname FROM pg_class WHERE relnamespace = 'bundle_rec'::regnamespace AND relkind IN ('r', 'S', 'i')
                  AND relname ~ '^(item|item_state|item_count|item_pair|item_neighbour|learned_list|learned_vector|learned_set|event|decision|feedback)_[0-9]+'$$, 'no table is left');
SELECT is_empty($$SELECT tgname FROM pg_trigger WHERE tgname LIKE 'bundle_rec%'$$, 'no trigger is left');
SELECT is_empty($$SELECT catalog FROM catalog_state UNION ALL SELECT catalog FROM rejected UNION ALL SELECT catalog FROM event_source UNION ALL SELECT catalog FROM policy$$,
                'no row is left');
SELECT lives_ok($$INSERT INTO sale (basket, sku) VALUES (1, 'p1'); UPDATE product SET stock = 1; DELETE FROM rename_me$$, 'the sources live on');

SELECT * FROM finish();

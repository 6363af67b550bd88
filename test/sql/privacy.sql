\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- privacy.sql
--    Forgetting users, masks in the place of names, and retention. Hashes are
--    computed by hand from sha256, counts by plain SQL over the shop's tables.
--
SELECT plan(113);
SET client_min_messages = warning;
SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls') \g /dev/null

DROP ROLE IF EXISTS br_test_keeper, br_test_analyst, br_test_auditor, br_test_stranger;
CREATE ROLE br_test_keeper;
CREATE ROLE br_test_analyst;
CREATE ROLE br_test_auditor;
CREATE ROLE br_test_stranger;

-- 20 products; 90 baskets of three over the last 90 days, by alice and eight others
CREATE SCHEMA shop AUTHORIZATION br_test_keeper;
SET ROLE br_test_keeper;
CREATE TABLE shop.product (sku text PRIMARY KEY, title text, price numeric(8, 2));
INSERT INTO shop.product SELECT 'p' || lpad(i::text, 2, '0'), CASE i WHEN 12 THEN 'a gift for Anna''s son' ELSE 'product ' || i END, 3 + i FROM generate_series(1, 20) i;
CREATE TABLE shop.purchase (id int GENERATED ALWAYS AS IDENTITY, receipt int, shopper text, sku text, quantity int DEFAULT 1, at timestamptz);
INSERT INTO shop.purchase (receipt, shopper, sku, at)
SELECT r, CASE r % 9 WHEN 0 THEN 'alice@example.org' ELSE 'user ' || r % 9 END, 'p' || lpad(((r * 7 + step * step) % 20 + 1)::text, 2, '0'),
       now() - r * interval '1 day' + interval '3 hours'
FROM generate_series(1, 90) r, generate_series(0, 2) step;
SELECT create_catalog('shop', 'shop.product', item_id => 'sku', text => '{title}', price => 'price', model => 'tiny') \g /dev/null
SELECT add_event_source('shop', 'shop.purchase', user_id => 'shopper', item_id => 'sku', basket_id => 'receipt', quantity => 'quantity',
                        occurred_at => 'at') \g /dev/null
SELECT refresh('shop') \g /dev/null
-- the same shop, where all that a shopper ever bought is one basket
SELECT create_catalog('habits', 'shop.product', item_id => 'sku') \g /dev/null
SELECT add_event_source('habits', 'shop.purchase', user_id => 'shopper', item_id => 'sku', basket_id => 'shopper', occurred_at => 'at') \g /dev/null
SELECT refresh('habits') \g /dev/null
RESET ROLE;
SELECT c.catalog AS n, format('event_%s', c.catalog) AS event, format('event_queue_%s', c.catalog) AS queue,
       format('decision_%s', c.catalog) AS decision, format('feedback_%s', c.catalog) AS feedback,
       h.catalog AS habits, format('event_%s', h.catalog) AS habit
FROM catalog c, catalog h WHERE c.name = 'shop' AND h.name = 'habits' \gset

-- HMAC-SHA-256 as RFC 2104 writes it, for keys of at most 64 bytes
CREATE FUNCTION public.padded(key bytea, pad int) RETURNS bytea LANGUAGE sql AS $$
    SELECT string_agg(set_byte('\x00', 0, get_byte(key || decode(repeat('00', 64 - length(key)), 'hex'), i) # pad), '' ORDER BY i)
    FROM generate_series(0, 63) i $$;
CREATE FUNCTION public.hmac_by_hand(key bytea, message text) RETURNS bytea LANGUAGE sql AS $$
    SELECT sha256(public.padded(key, 92) || sha256(public.padded(key, 54) || convert_to(message, 'UTF8'))) $$;
CREATE FUNCTION public.mask_by_hand(n int, what text, value text) RETURNS text LANGUAGE sql AS $$
    SELECT what || '_' || left(encode(public.hmac_by_hand(secret, value), 'hex'), 16) FROM bundle_rec.catalog_secret WHERE catalog = n $$;

-- differences between the stored counts of a catalog and plain joins over the rows since a moment, both ways
CREATE FUNCTION public.wrong_counts(n int, basket text, since timestamptz DEFAULT '-infinity') RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format($q$
        WITH line AS (SELECT DISTINCT %1$I::text AS basket, sku FROM shop.purchase WHERE at >= $2 AND quantity > 0),
        plain AS (SELECT sku AS a, NULL AS b, count(*) AS n FROM line GROUP BY 1
                  UNION ALL SELECT x.sku, y.sku, count(*) FROM line x JOIN line y USING (basket) WHERE x.sku <> y.sku GROUP BY 1, 2
                  UNION ALL SELECT NULL, NULL, count(DISTINCT basket) FROM line),
        stored AS (SELECT i.item_id AS a, NULL AS b, c.baskets AS n FROM bundle_rec.item_count c JOIN bundle_rec.item i USING (catalog, item) WHERE c.catalog = $1
                   UNION ALL SELECT i.item_id, o.item_id, p.together FROM bundle_rec.item_pair p JOIN bundle_rec.item i USING (catalog, item)
                   JOIN bundle_rec.item o ON o.catalog = p.catalog AND o.item = p.other WHERE p.catalog = $1
                   UNION ALL SELECT NULL, NULL, baskets FROM bundle_rec.catalog_state WHERE catalog = $1)
        SELECT 'stored ' || s::text FROM (TABLE stored EXCEPT TABLE plain) s
        UNION ALL SELECT 'plain ' || p::text FROM (TABLE plain EXCEPT TABLE stored) p$q$, basket) USING n, since;
END $$;

-- rows of our tables that hold a text anywhere
CREATE FUNCTION public.holding(what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE name regclass;
BEGIN
    FOR name IN SELECT oid FROM pg_class WHERE relnamespace = 'bundle_rec'::regnamespace AND relkind = 'r' AND relname !~ '^(stored_model|model_chunk)$' LOOP
        RETURN QUERY EXECUTE format('SELECT %L || '': '' || t::text FROM ONLY %s t WHERE strpos(t::text, $1) > 0', name, name) USING what;
    END LOOP;
END $$;

-- decisions: two of alice's, one of another's, one of nobody's; feedback under an id of the shop's and under none
SET ROLE br_test_keeper;
SELECT decision_id AS hers FROM recommend('shop', user_id => 'alice@example.org', basket => '{p02,p09}', exclude => '{p05}', query => 'a gift for Anna', bundles => 40) LIMIT 1 \gset
SELECT decision_id AS hers_too FROM recommend_items('shop', user_id => 'alice@example.org') LIMIT 1 \gset
SELECT decision_id AS others FROM recommend('shop', user_id => 'user 1', basket => '{p02}', query => 'a gift for Anna') LIMIT 1 \gset
SELECT decision_id AS nobodys FROM recommend('shop', query => 'product 4') LIMIT 1 \gset
SELECT feedback(:hers, 1, 'purchase', 2, 'order 4711'), feedback(:hers, 1), feedback(:hers_too, 3, 'click', 1, '3:click'), feedback(:others, 1, 'purchase', 1, 'order 4712') \g /dev/null
RESET ROLE;

---- masks ----

SELECT is(pseudonym(decode(repeat('0b', 20), 'hex'), 'user', 'Hi There'), 'user_b0344c61d8db3853', 'the first test case of RFC 4231');
SELECT is(pseudonym('Jefe', 'x', 'what do ya want for nothing?'), 'x_5bdcc146bf60754e', 'and the second');
SELECT is(pseudonym(NULL, 'user', 'a'), NULL, 'no key, no mask');
SELECT is(pseudonym('k', 'user', NULL), NULL, 'nobody has no mask');
SELECT is((SELECT count(DISTINCT secret) FROM catalog_secret WHERE length(secret) = 32), (SELECT count(*) FROM catalog), 'every catalog has a key of its own');

GRANT USAGE ON SCHEMA shop TO br_test_analyst, br_test_auditor, br_test_stranger;
SET ROLE br_test_keeper;
GRANT SELECT ON shop.product TO br_test_analyst, br_test_auditor, br_test_stranger;
GRANT SELECT (decision_id) ON bundle_rec.:decision TO br_test_analyst;
GRANT SELECT ON bundle_rec.:decision TO br_test_auditor;
SELECT is((SELECT array_agg(DISTINCT user_id ORDER BY user_id) FROM decision_log WHERE user_id IS NOT NULL), '{alice@example.org,user 1}'::text[], 'the owner sees names');
SELECT is((SELECT array_agg(DISTINCT query ORDER BY query) FROM decision_log WHERE query IS NOT NULL), '{a gift for Anna,product 4}'::text[], 'and queries');
SET ROLE br_test_stranger;
SELECT is_empty('SELECT * FROM decision_log', 'who has no right to the decisions sees none of them');
SELECT throws_ok(format('SELECT explain_decision(%s)', :'hers'), '42501', NULL, 'nor has them explained');
SET ROLE br_test_auditor;
SELECT is((SELECT count(DISTINCT user_id) FROM decision_log WHERE user_id IN ('alice@example.org', 'user 1')), 2::bigint, 'who may read the table sees names');
SET ROLE br_test_analyst;
CREATE TEMP TABLE seen AS SELECT * FROM decision_log;
RESET ROLE;
SELECT results_eq('SELECT DISTINCT decision_id, user_id FROM seen ORDER BY 1',
                  format($$VALUES (%s::bigint, %L), (%s, %L), (%s, %L), (%s, NULL)$$, :'hers', public.mask_by_hand(:n, 'user', 'alice@example.org'),
                         :'hers_too', public.mask_by_hand(:n, 'user', 'alice@example.org'), :'others', public.mask_by_hand(:n, 'user', 'user 1'), :'nobodys'),
                  'who may not sees their keyed hashes');
SELECT results_eq('SELECT DISTINCT decision_id, query FROM seen WHERE query IS NOT NULL ORDER BY 1',
                  format($$VALUES (%s::bigint, %L), (%s, %2$L), (%4$s, %5$L)$$, :'hers', public.mask_by_hand(:n, 'query', 'a gift for Anna'), :'others',
                         :'nobodys', public.mask_by_hand(:n, 'query', 'product 4')),
                  'of queries too');
SELECT isnt(public.mask_by_hand(:n, 'user', 'user 1'), public.mask_by_hand(:habits, 'user', 'user 1'), 'another catalog masks the same user otherwise');
SELECT results_eq('SELECT decision_id, rank, items::text COLLATE "default", score, propensity, price, feedback FROM seen ORDER BY 1, 2',
                  format($$SELECT %s::bigint, rank, items::text, score, propensity, price, CASE rank WHEN 1 THEN '{"click": 1, "purchase": 2}' ELSE '{}' END::jsonb FROM explain_decision(%1$s)
                           UNION ALL SELECT %s, rank, items::text, score, propensity, price, CASE rank WHEN 3 THEN '{"click": 1}' ELSE '{}' END::jsonb FROM explain_decision(%2$s)
                           UNION ALL SELECT %s, rank, items::text, score, propensity, price, CASE rank WHEN 1 THEN '{"purchase": 1}' ELSE '{}' END::jsonb FROM explain_decision(%3$s)
                           UNION ALL SELECT %s, rank, items::text, score, propensity, price, '{}' FROM explain_decision(%4$s)$$,
                         :'hers', :'hers_too', :'others', :'nobodys'), 'and all the rest');

-- what is explained
CREATE TEMP TABLE plain AS SELECT * FROM explain_decision(:hers);
SET ROLE br_test_analyst;
CREATE TEMP TABLE masked AS SELECT * FROM explain_decision(:hers);
RESET ROLE;
SELECT is((SELECT user_id FROM plain LIMIT 1), 'alice@example.org', 'explain_decision shows a superuser the name');
SELECT results_eq('SELECT DISTINCT user_id, query FROM masked',
                  format('VALUES (%L, %L)', public.mask_by_hand(:n, 'user', 'alice@example.org'), public.mask_by_hand(:n, 'query', 'a gift for Anna')),
                  'and a reader the masks');
SELECT results_eq($$SELECT f ->> 'event_id' FROM masked, jsonb_array_elements(feedback) f ORDER BY 1$$,
                  format('VALUES (%L), (%L)', '1:click', public.mask_by_hand(:n, 'event', 'order 4711')), 'ids of the shop''s own are masked as well');
SELECT isnt_empty($$SELECT FROM plain WHERE strpos(plain::text, 'a gift for Anna') > 0 AND strpos(reasons::text, 'a gift for Anna') > 0$$, 'the query is a reason');
SELECT is_empty($$SELECT FROM masked WHERE masked::text ~ 'Anna|alice|order 4711'$$, 'but masked there too');
SELECT results_eq('SELECT rank, items, replace(reasons::text, $$a gift for Anna$$, $$...$$) FROM plain',
                  format('SELECT rank, items, replace(reasons::text, %L, $$...$$) FROM masked', public.mask_by_hand(:n, 'query', 'a gift for Anna')),
                  'and nothing else of the reasons');
SELECT results_eq('SELECT basket, filters, score, policy FROM plain', 'SELECT basket, filters, score, policy FROM masked', 'basket and filters stay');

-- the setting
SET bundle_rec.mask_users = off;
SET ROLE br_test_analyst;
SELECT is((SELECT count(DISTINCT decision_id) FROM decision_log WHERE user_id = 'alice@example.org'), 2::bigint, 'where masks are off everybody sees names');
RESET ROLE;
RESET bundle_rec.mask_users;
SET ROLE br_test_analyst;
SELECT throws_ok('SET bundle_rec.mask_users = off', '42501', NULL, 'which is not for readers to set');
SELECT throws_ok('SELECT * FROM bundle_rec.catalog_secret', '42501', NULL, 'the keys are not to be read');
SELECT throws_ok('SELECT * FROM bundle_rec.forgotten_user', '42501', NULL, 'nor the list');
SELECT throws_ok(format('SELECT user_id FROM bundle_rec.%s', :'decision'), '42501', NULL, 'nor the names themselves');
CREATE TEMP TABLE overheard (what text);
CREATE FUNCTION pg_temp.overhear(what text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$BEGIN INSERT INTO overheard VALUES (what); RETURN true; END $$;
SELECT count(*) FROM decision_log WHERE pg_temp.overhear(user_id) AND pg_temp.overhear(query) AND pg_temp.overhear(catalog) \g /dev/null
SELECT is_empty($$SELECT what FROM overheard WHERE what !~ '^(user|query)_[0-9a-f]{16}$|^shop$'$$, 'a cheap function in a query overhears no more');
SELECT sees_users(format('bundle_rec.%s', :'decision')::regclass) AS sees \gset
SELECT is(:'sees'::boolean, false, 'sees_users says so');
RESET ROLE;
SELECT is(sees_users('shop.product'), false, 'a table without users shows none');
SELECT is(sees_users(NULL), NULL, 'no table, no answer');
ALTER TABLE shop.product ENABLE ROW LEVEL SECURITY;
SET ROLE br_test_auditor;
SELECT is_empty('SELECT * FROM decision_log', 'row-level security of the source closes the log');
RESET ROLE;
ALTER TABLE shop.product DISABLE ROW LEVEL SECURITY;

---- forgetting: who and when ----

SELECT throws_ok($$SELECT forget_user(NULL, 'a')$$, '22004', NULL, 'forget_user needs a catalog');
SELECT throws_ok($$SELECT forget_user('shop', NULL)$$, '22004', NULL, 'and a user');
SELECT throws_ok($$SELECT forget_user('shop', '')$$, '22023', NULL, 'with a name');
SELECT throws_ok($$SELECT forget_user('shoop', 'a')$$, '42704', NULL, 'of a catalog that exists');
SELECT throws_ok($$SELECT unforget_user(NULL, 'a')$$, '22004', NULL, 'unforget_user needs a catalog');
SELECT throws_ok($$SELECT unforget_user('shop', NULL)$$, '22004', NULL, 'and a user too');
SET ROLE br_test_auditor;
SELECT throws_ok($$SELECT forget_user('shop', 'alice@example.org')$$, '42501', NULL, 'only the owner forgets');
SELECT throws_ok($$SELECT unforget_user('shop', 'alice@example.org')$$, '42501', NULL, 'and takes it back');
RESET ROLE;
BEGIN READ ONLY;
SELECT throws_ok($$SELECT forget_user('shop', 'alice@example.org')$$, '25006', NULL, 'not in a read-only transaction');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT throws_ok($$SELECT forget_user('shop', 'alice@example.org')$$, '25001', NULL, 'nor where later rows are out of sight');
ROLLBACK;
CREATE FUNCTION public.everything() RETURNS text LANGUAGE sql AS $$
    SELECT md5(string_agg(t, ',' ORDER BY t)) FROM (
        SELECT e::text FROM bundle_rec.event e UNION ALL SELECT e::text FROM bundle_rec.event_queue e UNION ALL SELECT d::text FROM bundle_rec.decision d
        UNION ALL SELECT f::text FROM bundle_rec.feedback f UNION ALL SELECT u::text FROM bundle_rec.unfolded_feedback u UNION ALL SELECT q::text FROM bundle_rec.unattributed_event q
        UNION ALL SELECT f::text FROM bundle_rec.forgotten_user f UNION ALL SELECT c::text FROM bundle_rec.item_count c
        UNION ALL SELECT p::text FROM bundle_rec.item_pair p) x (t) $$;
SELECT public.everything() AS everything \gset
BEGIN;
SELECT forget_user('shop', 'alice@example.org') \g /dev/null
ROLLBACK;
SELECT is(public.everything(), :'everything', 'what is rolled back has changed nothing');

---- forgetting: what goes and what stays ----

-- what would be learned without it
UPDATE policy SET attribution_window = '0', reward = '{"click": 1, "purchase": 3}' WHERE name = 'shop';
BEGIN;
SELECT fold('shop') \g /dev/null
SELECT format('%s %s %s', decisions, events, evidence) AS learned FROM posterior JOIN policy USING (policy) WHERE name = 'shop' AND version = 1 \gset
ROLLBACK;
CREATE TEMP TABLE was AS SELECT * FROM :decision;
CREATE TEMP TABLE logged AS SELECT * FROM :event;
SELECT count(*) AS rows FROM shop.purchase WHERE shopper = 'alice@example.org' \gset

-- one purchase that refresh has not counted yet
SET ROLE br_test_keeper;
INSERT INTO shop.purchase (receipt, shopper, sku, at) VALUES (901, 'alice@example.org', 'p01', now());
CREATE TEMP TABLE told AS SELECT * FROM forget_user('shop', 'alice@example.org');
RESET ROLE;
SELECT results_eq('SELECT * FROM told', format($$VALUES (%s::bigint, 2::bigint, 1::bigint, '{"shop.purchase": %1$s}'::jsonb)$$, :rows + 1),
                  'forget_user says what lost the name, and what the shop still holds');
SELECT results_eq(format($$SELECT holding FROM public.holding('alice') WHERE holding !~ '^"?event(_queue)?_%s:'$$, :habits), 'SELECT ''''::text WHERE false',
                  'no row of the catalog holds it any more');
SELECT is_empty($$SELECT * FROM public.holding('order 4711')$$, 'nor the id of her order');
SELECT is((SELECT count(*) FROM public.holding('a gift for Anna')), 1::bigint, 'nor what she typed; the same of another stays');
SELECT is((SELECT count(*) FROM shop.purchase WHERE shopper = 'alice@example.org'), :rows + 1::bigint, 'the shop''s table does');
SELECT results_eq(format($$SELECT source, item_id, basket_id, kind, quantity, price, occurred_at, weight, nullif(user_id, 'alice@example.org') FROM logged ORDER BY 3, 2, 7$$),
                  format($$SELECT source, item_id, basket_id, kind, quantity, price, occurred_at, weight, user_id FROM %s ORDER BY 3, 2, 7$$, :'event'),
                  'of events only the name has gone');
SELECT results_eq($$SELECT to_jsonb(w) - '{user_id,query,basket,filters,reasons,anonymised_at}'::text[] FROM was w ORDER BY decision_id$$,
                  format($$SELECT to_jsonb(d) - '{user_id,query,basket,filters,reasons,anonymised_at}'::text[] FROM %s d ORDER BY decision_id$$, :'decision'),
                  'of decisions all that learning and evaluation read is as it was');
SELECT results_eq(format($$SELECT user_id, query, basket, filters, anonymised_at = now() IS NULL FROM %s WHERE decision_id IN (%s, %s) ORDER BY decision_id$$, :'decision', :'hers', :'hers_too'),
                  $$SELECT NULL, NULL, '{}'::text[], filters - 'exclude', false FROM was WHERE user_id = 'alice@example.org' ORDER BY decision_id$$,
                  'user, query, basket and exclusions have gone');
SELECT results_eq(format($$SELECT r - 'context', r -> 'context' FROM %s, jsonb_array_elements(reasons) WITH ORDINALITY r (r, n) WHERE anonymised_at IS NOT NULL ORDER BY decision_id, n$$, :'decision'),
                  $$SELECT r - 'context', '[]'::jsonb FROM was, jsonb_array_elements(reasons) WITH ORDINALITY r (r, n) WHERE user_id = 'alice@example.org' ORDER BY decision_id, n$$,
                  'and of the reasons those that her basket and history gave');
SELECT results_eq(format($$SELECT d::text FROM %s d WHERE anonymised_at IS NULL ORDER BY decision_id$$, :'decision'),
                  $$SELECT w::text FROM was w WHERE user_id IS DISTINCT FROM 'alice@example.org' ORDER BY decision_id$$, 'others'' decisions are untouched');
SELECT results_eq('SELECT catalog, encode(user_hash, ''hex'') FROM forgotten_user',
                  format($$SELECT %s, encode(public.hmac_by_hand(secret, 'alice@example.org'), 'hex') FROM bundle_rec.catalog_secret WHERE catalog = %1$s$$, :'n'),
                  'she is remembered as a keyed hash alone');
SELECT is_empty(format($$SELECT FROM public.wrong_counts(%s, 'receipt') WHERE wrong_counts !~ 'p01|,,'$$, :'n'), 'counts are as they were');
SELECT refresh('shop') \g /dev/null
SELECT is_empty(format($$SELECT * FROM public.wrong_counts(%s, 'receipt')$$, :'n'), 'and what waited is counted');
SELECT fold('shop') \g /dev/null
SELECT is((SELECT format('%s %s %s', decisions, events, evidence) FROM posterior JOIN policy USING (policy) WHERE name = 'shop' AND version = 1), :'learned',
          'the policy learns from her decisions and rewards what it would have learned');
SELECT is((SELECT count(*) FROM recommend('shop', user_id => 'alice@example.org', log => false) r, jsonb_array_elements(r.reasons -> 'context') c
           WHERE c ->> 'source' = 'history'), 0::bigint, 'she has no history');

---- and stays forgotten ----

SET ROLE br_test_keeper;
SELECT is(feedback(:hers, 1, 'purchase', 2, 'order 4711'), false, 'feedback reported again is known again');
SELECT is(feedback(:hers, 1), false, 'under a made-up id too');
SELECT is(feedback(:hers, 2, 'purchase', 1, 'order 4713'), true, 'new feedback counts');
SELECT is(feedback(:hers, 2, 'purchase', 1, 'order 4713'), false, 'once');
RESET ROLE;
SELECT is_empty($$SELECT * FROM public.holding('order 4713')$$, 'without the id');
SELECT results_eq(format('SELECT event_id FROM %s WHERE decision_id = %s ORDER BY rank, event_id', :'feedback', :'hers'),
                  format('VALUES (%L), (%L), (%L)', '1:click', public.mask_by_hand(:n, 'event', 'order 4711'), public.mask_by_hand(:n, 'event', 'order 4713')),
                  'its keyed hash stands there');
UPDATE shop.purchase SET quantity = 2 WHERE shopper = 'alice@example.org' AND receipt < 40;
DELETE FROM shop.purchase WHERE shopper = 'alice@example.org' AND receipt > 60;
INSERT INTO shop.purchase (receipt, shopper, sku, at) VALUES (902, 'alice@example.org', 'p03', now()), (902, 'user 2', 'p04', now()), (903, 'user 2', 'p05', now());
SELECT decision_id AS later FROM recommend('shop', user_id => 'alice@example.org', query => 'something else') LIMIT 1 \gset
SELECT is_empty(format($$SELECT holding FROM public.holding('alice') WHERE holding !~ '^"?event(_queue)?_%s:'$$, :habits),
                'neither changes in the shop nor new decisions bring the name back');
SELECT results_eq(format('SELECT user_id, query, anonymised_at IS NULL FROM %s WHERE decision_id = %s', :'decision', :'later'),
                  $$VALUES (NULL, 'something else', false)$$, 'a later decision is that of a visitor without a name');
SELECT is((SELECT count(*) FROM :queue WHERE user_id = 'user 2'), 2::bigint, 'others keep theirs');
SELECT refresh('shop') \g /dev/null
SELECT is_empty(format($$SELECT * FROM public.wrong_counts(%s, 'receipt')$$, :'n'), 'what the shop changed is counted right');
SELECT is((SELECT sum(weight) FROM :event), (SELECT count(*) FROM shop.purchase), 'no event too many or too few');
SELECT is((SELECT sum(weight) FROM :event WHERE user_id IS NULL), (SELECT count(*) FROM shop.purchase WHERE shopper = 'alice@example.org'), 'hers are those of nobody');

-- thirty more: a list that is read whole
SELECT forget_user('shop', 'many ' || i) FROM generate_series(1, 30) i \g /dev/null
INSERT INTO shop.purchase (receipt, shopper, sku, at) SELECT 2000 + i, 'many ' || i, 'p06', now() FROM generate_series(0, 60) i;
SELECT results_eq(format($$SELECT user_id COLLATE "default" FROM %s WHERE basket_id::int BETWEEN 2000 AND 2060 ORDER BY basket_id::int$$, :'queue'),
                  $$SELECT CASE WHEN i NOT BETWEEN 1 AND 30 THEN 'many ' || i END FROM generate_series(0, 60) i$$, 'of many users just the forgotten ones lose their names');
DELETE FROM shop.purchase WHERE receipt >= 2000;

SELECT results_eq($$SELECT * FROM forget_user('shop', 'alice@example.org')$$, $$VALUES (0::bigint, 0::bigint, 0::bigint, '{}'::jsonb)$$, 'forgetting her again finds nothing');
SELECT results_eq($$SELECT * FROM forget_user('shop', 'who was never here')$$, $$VALUES (0::bigint, 0::bigint, 0::bigint, '{}'::jsonb)$$, 'nor an unknown one');

-- a basket that bears her name
SELECT is((SELECT count(*) FROM :habit WHERE user_id = 'alice@example.org' AND basket_id = 'alice@example.org'), :rows::bigint, 'another catalog remembers her');
SELECT forget_user('habits', 'alice@example.org') \g /dev/null
SELECT is_empty($$SELECT * FROM public.holding('alice')$$, 'until it forgets her too');
SELECT is((SELECT count(*) FROM :habit WHERE basket_id = public.mask_by_hand(:habits, 'user', 'alice@example.org')), :rows::bigint, 'her basket bears a mask');
SELECT refresh('habits') \g /dev/null
SELECT is_empty(format($$SELECT * FROM public.wrong_counts(%s, 'shopper')$$, :'habits'), 'and counts as before');
UPDATE shop.purchase SET sku = 'p20' WHERE shopper = 'alice@example.org' AND receipt = 9;
SELECT refresh('habits'), refresh('shop') \g /dev/null
SELECT is_empty(format($$SELECT * FROM public.wrong_counts(%s, 'shopper')$$, :'habits'), 'also when the shop changes it');

-- back again
SELECT is(unforget_user('shop', 'alice@example.org'), true, 'her id may be used again');
SELECT is(unforget_user('shop', 'alice@example.org'), false, 'once');
INSERT INTO shop.purchase (receipt, shopper, sku, at) VALUES (904, 'alice@example.org', 'p07', now());
SELECT is((SELECT count(*) FROM :queue WHERE user_id = 'alice@example.org'), 1::bigint, 'from now on');
SELECT is((SELECT count(*) FROM :event WHERE user_id = 'alice@example.org'), 0::bigint, 'not for what was');
DELETE FROM shop.purchase WHERE receipt = 904;
SELECT refresh('shop') \g /dev/null

---- what was taken back leaves the log ----

SELECT is((SELECT count(*) FROM :event), (SELECT count(*) FROM shop.purchase), 'a refresh leaves no pair of an event and its taking back');
INSERT INTO shop.purchase (receipt, shopper, sku, at) SELECT NULL, s, 'p08', date_trunc('day', now()) FROM unnest('{x,x,x,NULL,NULL}'::text[]) s;
SELECT refresh('shop') \g /dev/null
DELETE FROM shop.purchase WHERE id IN (SELECT min(id) FROM shop.purchase WHERE receipt IS NULL GROUP BY shopper);
SELECT refresh('shop') \g /dev/null
SELECT results_eq(format($$SELECT user_id COLLATE "default", weight::int, count(*) FROM %s WHERE basket_id IS NULL GROUP BY 1, 2 ORDER BY 1$$, :'event'),
                  $$VALUES ('x', 1, 2::bigint), (NULL, 1, 1)$$, 'of equal events as many go as were taken back');
DELETE FROM shop.purchase WHERE receipt IS NULL;
SELECT refresh('shop') \g /dev/null
SELECT is_empty(format($$SELECT * FROM public.wrong_counts(%s, 'receipt')$$, :'n'), 'counts are right afterwards');

---- retention: events ----

SELECT throws_ok($$SELECT set_retention(NULL)$$, '22004', NULL, 'set_retention needs a catalog');
SELECT throws_ok($$SELECT set_retention('shoop')$$, '42704', NULL, 'that exists');
SELECT throws_ok($$SELECT set_retention('shop', '0')$$, '22023', NULL, 'an age above 0');
SELECT throws_ok($$SELECT set_retention('shop', decisions => '-1 day')$$, '22023', NULL, 'for decisions too');
SELECT throws_ok($$SELECT set_retention('shop', '5000 years')$$, '22023', NULL, 'and below eternity');
SET ROLE br_test_auditor;
SELECT throws_ok($$SELECT set_retention('shop', '1 day')$$, '42501', NULL, 'by the owner');
RESET ROLE;
BEGIN READ ONLY;
SELECT throws_ok($$SELECT set_retention('shop', '1 day')$$, '25006', NULL, 'who may write');
ROLLBACK;
SELECT results_eq($$SELECT keep_events, keep_decisions, events_since, forgotten_users FROM privacy_state WHERE catalog = 'shop'$$,
                  'VALUES (NULL::interval, NULL::interval, NULL::timestamptz, 31::bigint)', 'all is kept for ever unless somebody says otherwise');

-- an event of an item that is not there, and a row that was set aside long ago
INSERT INTO shop.purchase (receipt, shopper, sku, at) VALUES (905, 'x', 'later', now() - interval '80 days'), (906, 'x', 'later', now());
SET client_min_messages = error;
INSERT INTO shop.purchase (receipt, shopper, sku, quantity, at) VALUES (907, 'x', 'p01', 0, now()), (908, 'x', 'p01', -1, now());
RESET client_min_messages;
SET client_min_messages = warning;
UPDATE rejected SET noticed_at = now() - interval '31 days' WHERE rejected = (SELECT min(rejected) FROM rejected WHERE catalog = :n);
-- past the triggers, which would no longer blame them
ALTER TABLE shop.purchase DISABLE TRIGGER USER;
DELETE FROM shop.purchase WHERE quantity <= 0;
ALTER TABLE shop.purchase ENABLE TRIGGER USER;
SET ROLE br_test_keeper;
SELECT set_retention('shop', '30 days') \g /dev/null
RESET ROLE;
SELECT results_eq($$SELECT keep_events, keep_decisions, events_since = now() - interval '30 days' IS NULL FROM privacy_state WHERE catalog = 'shop'$$,
                  $$VALUES (interval '30 days', NULL::interval, false)$$, 'the view says for how long');
SELECT isnt_empty(format($$SELECT FROM %s WHERE occurred_at < now() - interval '30 days'$$, :'event'), 'refresh applies it');
SELECT refresh('shop') \g /dev/null
SELECT is_empty(format($$SELECT FROM %s WHERE occurred_at < now() - interval '30 days' UNION ALL SELECT FROM %s WHERE occurred_at < now() - interval '30 days'$$, :'event', :'queue'),
                'no older event is left');
SELECT is((SELECT count(*) FROM :event), (SELECT count(*) FROM shop.purchase WHERE at >= now() - interval '30 days' AND sku <> 'later'), 'every younger one is');
SELECT is((SELECT count(*) FROM :queue), 1::bigint, 'a young one of an unknown item waits on');
SELECT is_empty(format($$SELECT * FROM public.wrong_counts(%s, 'receipt', now() - interval '30 days') WHERE wrong_counts !~ 'later|,,'$$, :'n'), 'counts equal a recount of the younger ones');
SELECT is((SELECT count(*) FROM rejected WHERE catalog = :n), 1::bigint, 'rows set aside longer ago have gone');
SELECT is_empty(format($$SELECT * FROM public.wrong_counts(%s, 'shopper') WHERE wrong_counts !~ 'later|,,'$$, :'habits') || ' AND false', 'another catalog keeps its own');
DELETE FROM shop.purchase WHERE sku = 'later';

DELETE FROM shop.purchase WHERE at < now() - interval '60 days';
UPDATE shop.purchase SET at = at + interval '40 days' WHERE receipt BETWEEN 41 AND 44;
UPDATE shop.purchase SET at = at - interval '40 days' WHERE receipt BETWEEN 11 AND 14;
INSERT INTO shop.purchase (receipt, shopper, sku, at) VALUES (909, 'x', 'p01', now() - interval '50 days'), (909, 'x', 'p02', now() - interval '50 days');
SELECT is_empty(format('SELECT FROM %s WHERE occurred_at < now() - interval $$30 days$$', :'queue'), 'what is too old is not taken in the first place');
SELECT refresh('shop') \g /dev/null
SELECT is_empty(format($$SELECT * FROM public.wrong_counts(%s, 'receipt', now() - interval '30 days')$$, :'n'), 'old rows may come, go and change their age');
SELECT is((SELECT count(*) FROM :event), (SELECT count(*) FROM shop.purchase WHERE at >= now() - interval '30 days'), 'only young ones are logged');
SELECT set_retention('shop') \g /dev/null
SELECT refresh('shop') \g /dev/null
SELECT is((SELECT count(*) FROM :event), (SELECT count(*) FROM shop.purchase WHERE at >= now() - interval '30 days'), 'what went does not come back by itself');
INSERT INTO shop.purchase (receipt, shopper, sku, at) VALUES (910, 'x', 'p01', now() - interval '50 days');
SELECT is((SELECT count(*) FROM :queue), 1::bigint, 'and new rows of any age are taken again');

---- retention: decisions ----

SELECT fold('shop') \g /dev/null
SELECT decision_id AS waiting FROM recommend('shop') LIMIT 1 \gset
SELECT decision_id AS seeded FROM recommend('shop', seed => 5) LIMIT 1 \gset
SELECT decision_id AS young FROM recommend('shop') LIMIT 1 \gset
SELECT fold('shop') \g /dev/null
SELECT feedback(:others, 2), feedback(:waiting, 1), feedback(:young, 1) \g /dev/null
SELECT decision_id AS unlearned FROM recommend('shop') LIMIT 1 \gset
UPDATE :decision SET decided_at = decided_at - interval '1 year' WHERE decision_id <> :young;
UPDATE unfolded_decision SET decided_at = decided_at - interval '1 year' WHERE decision_id = :unlearned;
SELECT version AS newest, evidence AS newest_evidence FROM posterior JOIN policy USING (policy) WHERE name = 'shop' ORDER BY version DESC LIMIT 1 \gset
SELECT set_retention('shop', decisions => '6 months') \g /dev/null
SELECT refresh('shop') \g /dev/null
SELECT results_eq(format('SELECT decision_id FROM %s ORDER BY 1', :'decision'),
                  format('SELECT unnest(ARRAY[%s, %s, %s, %s]::bigint[]) ORDER BY 1', :'others', :'waiting', :'young', :'unlearned'),
                  'old decisions go, those that fold still waits for do not');
SELECT results_eq(format('SELECT DISTINCT decision_id FROM %s ORDER BY 1', :'feedback'),
                  format('SELECT unnest(ARRAY[%s, %s, %s]::bigint[]) ORDER BY 1', :'others', :'waiting', :'young'), 'with their feedback');
SELECT results_eq($$SELECT version, evidence::text FROM posterior JOIN policy USING (policy) WHERE name = 'shop' ORDER BY version DESC LIMIT 1$$,
                  format('VALUES (%s, %L)', :'newest', :'newest_evidence'), 'what was learned stays');
SELECT fold('shop') \g /dev/null
SELECT refresh('shop') \g /dev/null
SELECT results_eq(format('SELECT decision_id FROM %s', :'decision'), format('VALUES (%s::bigint)', :'young'), 'once learned from they go');
SELECT results_eq(format('SELECT decision_id FROM %s', :'feedback'), format('VALUES (%s::bigint)', :'young'), 'and their feedback');
SELECT throws_ok(format('SELECT feedback(%s, 1)', :'waiting'), '42704', NULL, 'feedback on one that has gone is refused');
INSERT INTO :feedback SELECT :n, :waiting, 'late', 1, 'click', 1, now();
SELECT refresh('shop') \g /dev/null
SELECT results_eq(format('SELECT decision_id FROM %s', :'feedback'), format('VALUES (%s::bigint)', :'young'), 'and what came all the same goes with the next refresh');

---- the end ----

SELECT drop_catalog('habits') \g /dev/null
SELECT is((SELECT count(*) FROM catalog_secret) + (SELECT count(*) FROM forgotten_user WHERE catalog = :habits), 1::bigint, 'a dropped catalog takes its key and its list with it');

SELECT * FROM finish();
-- what a role granted on a column goes with no DROP OWNED of its own
SET ROLE br_test_keeper;
REVOKE SELECT (decision_id) ON bundle_rec.:decision FROM br_test_analyst;
RESET ROLE;
DROP OWNED BY br_test_keeper, br_test_analyst, br_test_auditor, br_test_stranger CASCADE;
DROP ROLE br_test_keeper, br_test_analyst, br_test_auditor, br_test_stranger;

\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- click_model.sql
--    What independent arms win and where they stand; click models fitted to
--    queries, compared with EM in numpy 1.26 and with hand arithmetic.
--
SELECT plan(45);
SET client_min_messages = error;

-- independent arms: P(X > Y) = 2/3 for Beta(2, 1) and Beta(1, 1)
SELECT results_eq($$SELECT arm, round(probability::numeric, 12) FROM thompson_probabilities('{2,1}', '{1,1}')$$,
                  'VALUES (1, round(2 / 3.0, 12)), (2, round(1 / 3.0, 12))', 'two arms by hand');
SELECT results_eq($$SELECT arm, round(probability::numeric, 9) FROM thompson_probabilities('{0.5,0.3,2}', '{0.5,0.4,1.5}')$$,
                  'VALUES (1, 0.344040780), (2, 0.294571128), (3, 0.361388092)', 'poles at both ends: mpmath''s integral');
SELECT results_eq($$SELECT arm, slot, round(probability::numeric, 12) FROM thompson_marginals('{2,1}', '{1,1}', 3)$$,
                  'VALUES (1, 1, round(2 / 3.0, 12)), (1, 2, round(1 / 3.0, 12)), (1, 3, 0),
                          (2, 1, round(1 / 3.0, 12)), (2, 2, round(2 / 3.0, 12)), (2, 3, 0)',
                  'marginals of two arms, and a slot too many');
SELECT is((SELECT count(*)::int FROM (SELECT sum(probability) AS s FROM thompson_marginals(
               (SELECT array_agg(1 + i % 7) FROM generate_series(1, 40) i), (SELECT array_agg(100 + 13 * i) FROM generate_series(1, 40) i), 5)
               GROUP BY slot) x WHERE abs(s - 1) < 1e-12), 5, 'every slot is taken');
SELECT is((SELECT round(abs(p.probability - m.probability)::numeric, 12) FROM thompson_probabilities('{3,4,5}', '{9,9,30}') p
           JOIN thompson_marginals('{3,4,5}', '{9,9,30}', 2) m USING (arm) WHERE slot = 1 AND arm = 2), 0.000000000000,
          'the first slot is the best arm''s');
SELECT is((SELECT count(*)::int FROM thompson_probabilities(NULL, '{1}')), 0, 'NULL in, nothing out');
SELECT throws_ok($$SELECT * FROM thompson_probabilities('{1,2}', '{1}')$$, '22023', '"alpha" has 2 elements, "beta" has 1', 'lengths that differ');
SELECT throws_ok($$SELECT * FROM thompson_probabilities('{1,NULL}', '{1,1}')$$, '22023', '"alpha" must be a plain list of numbers', 'a NULL in it');
SELECT throws_ok($$SELECT * FROM thompson_probabilities('{{1,1}}', '{1,1}')$$, '22023', '"alpha" must be a plain list of numbers', 'two dimensions');
SELECT throws_ok($$SELECT * FROM thompson_probabilities('{1,0}', '{1,1}')$$, '22023', NULL, 'a parameter of 0');
SELECT throws_ok($$SELECT * FROM thompson_probabilities('{1,NaN}', '{1,1}')$$, '22023', NULL, 'NaN');
SELECT throws_ok($$SELECT * FROM thompson_probabilities('{}', '{}')$$, '22023', '0 arms', 'no arms');
SELECT throws_ok($$SELECT * FROM thompson_marginals('{1}', '{1}', 0)$$, '22023', '0 slots', 'no slots');

-- expected clicks
SELECT is((SELECT array_agg(round(c::numeric, 12)) FROM unnest(expected_clicks('{0.5,0.2,0.1}', '{1,0.5,0.25}')) c),
          '{0.500000000000,0.100000000000,0.025000000000}', 'by position');
SELECT is((SELECT array_agg(round(c::numeric, 12)) FROM unnest(expected_clicks('{0.5,0.2,0.1}')) c),
          '{0.500000000000,0.100000000000,0.040000000000}', 'by cascade');
SELECT is(expected_clicks(NULL), NULL, 'NULL in, NULL out');
SELECT is(expected_clicks('{}'), '{}', 'an empty list');
SELECT throws_ok($$SELECT expected_clicks('{0.5,1.2}')$$, '22023', 'element 2 of "attractiveness" is 1.2', 'no probability');
SELECT throws_ok($$SELECT expected_clicks('{0.5,0.2}', '{1}')$$, '22023', NULL, 'one position too few');

-- the position-based model
CREATE TABLE cell (item text, "position" int, shown bigint, clicks numeric);
INSERT INTO cell VALUES ('a', 1, 200, 60), ('a', 2, 100, 20), ('a', 3, 50, 5), ('b', 1, 80, 40), ('b', 2, 120, 42), ('b', 3, 40, 6),
    ('c', 2, 10, 1), ('c', 2, 50, 5), ('c', 3, 90, 3), ('d', 1, 150, 15), ('d', 3, 30, 1);
SELECT results_eq(
    'SELECT position, round(examination::numeric, 8), shown, clicks, round(log_likelihood::numeric, 8) FROM fit_position_model(''SELECT * FROM cell'')',
    'VALUES (1::bigint, 1.00000000, 430::float8, 115::float8, -424.45506455), (2, 0.69397083, 280, 68, -424.45506455), (3, 0.30137211, 210, 15, -424.45506455)',
    'examination equals numpy''s');
SELECT results_eq(
    'SELECT item, round(attractiveness::numeric, 8), shown, clicks FROM fit_attractiveness(''SELECT * FROM cell'')',
    'VALUES (''a'', 0.29869897, 350::float8, 85::float8), (''b'', 0.50172769, 240, 88), (''c'', 0.13132550, 150, 9), (''d'', 0.10056152, 180, 16)',
    'attractiveness equals numpy''s');
CREATE TABLE showing AS
SELECT item, "position", n <= clicks AS clicked FROM cell, generate_series(1, shown) n;
SELECT results_eq(
    'SELECT position, round(examination::numeric, 8), shown, clicks FROM fit_position_model(''SELECT * FROM showing ORDER BY random()'')',
    'SELECT position, round(examination::numeric, 8), shown, clicks FROM fit_position_model(''SELECT * FROM cell'')', 'one row for each showing is the same');
SELECT results_eq(
    'SELECT position, round(examination::numeric, 8) FROM fit_position_model(''SELECT item, position::smallint, clicked::int::real AS clicked FROM showing'')',
    'SELECT position, round(examination::numeric, 8) FROM fit_position_model(''SELECT * FROM cell'')', 'numbers for booleans');
SELECT throws_ok($$SELECT * FROM fit_position_model('SELECT item, position + CASE item WHEN ''d'' THEN 10 ELSE 0 END AS position, shown, clicks FROM cell')$$,
                 '55000', 'positions 1 and 11 cannot be compared', 'items that stand apart');
SELECT lives_ok($$SELECT * FROM fit_position_model('SELECT * FROM cell WHERE item <> ''d''')$$, 'without them it goes');
SELECT throws_ok($$SELECT * FROM fit_position_model('SELECT item, position, shown, 0 AS clicks FROM cell')$$, '22003', NULL, 'no clicks at all');
SELECT throws_ok($$SELECT * FROM fit_position_model('SELECT * FROM cell WHERE false')$$, '22003', NULL, 'no rows at all');
SELECT throws_ok($$SELECT * FROM fit_position_model('SELECT * FROM cell', max_iterations => 3)$$, '22003', NULL, 'too few iterations');
SELECT throws_ok($$SELECT * FROM fit_position_model('SELECT * FROM cell', 0)$$, '22023', NULL, 'a tolerance of 0');
SELECT throws_ok($$SELECT * FROM fit_position_model('SELECT item, shown, clicks FROM cell')$$, '42703', 'the query has no column "position"', 'no position');
SELECT throws_ok($$SELECT * FROM fit_position_model('SELECT item, position, clicks FROM cell')$$, '42703', 'the query has no column "clicked"', 'neither clicked nor shown');
SELECT throws_ok($$SELECT * FROM fit_position_model('SELECT item, item AS position, shown, clicks FROM cell')$$, '42804', 'column "position" of the query is no number', 'a text for a position');
SELECT throws_ok($$SELECT * FROM fit_position_model('SELECT 1 AS item, 1 AS position, true AS clicked UNION ALL SELECT 1, NULL, true')$$,
                 '22004', 'row 2 of the query has no position', 'a position that is NULL');
SELECT throws_ok($$SELECT * FROM fit_position_model('SELECT i AS item, 1 AS position, CASE i WHEN 1500 THEN 3 ELSE 0 END AS clicked FROM generate_series(1, 2000) i')$$,
                 '22023', 'row 1500 of the query has clicked 3', 'the number of a row beyond the first fetch');
SELECT throws_ok($$SELECT * FROM fit_position_model('SELECT 1 AS item, 1 AS position, 3 AS shown, 4 AS clicks')$$, '22023', 'row 1 of the query has clicks 4', 'more clicks than showings');
SELECT throws_ok($$SELECT * FROM fit_position_model('SELECT 1 AS item, 1.5 AS position, true AS clicked')$$, '22023', 'row 1 of the query has position 1.5', 'half a position');
SELECT throws_ok($$SELECT * FROM fit_position_model('DELETE FROM cell RETURNING item, position, shown, clicks')$$, NULL, NULL, 'a query that writes');

-- the cascade model: list 1 is read to b, list 2 to its end, list 3 to a
CREATE TABLE list (list int, "position" int, item text, clicked boolean);
INSERT INTO list VALUES (1, 3, 'c', true), (1, 1, 'a', false), (1, 2, 'b', true), (2, 1, 'b', false), (2, 2, 'a', false), (3, 1, 'a', true);
SELECT results_eq('SELECT item, round(attractiveness::numeric, 12), examined, clicks, round(log_likelihood::numeric, 12) FROM fit_cascade_model(''SELECT * FROM list'') ORDER BY item',
                  'SELECT i, round(a, 12), e::float8, c::float8, round(ln(1 / 3.0) + 2 * ln(2 / 3.0) + 2 * ln(0.5), 12)
                   FROM (VALUES (''a'', 1 / 3.0, 3, 1), (''b'', 0.5, 2, 1), (''c'', 0, 0, 0)) v (i, a, e, c)', 'cascade by hand');
SELECT throws_ok($$SELECT * FROM fit_cascade_model('SELECT 7 AS list, 1 AS position, 2 AS item, false AS clicked UNION ALL SELECT 7, 1, 3, true')$$,
                 '22023', 'rows 1 and 2 of the query are both position 1 of list "7"', 'a place taken twice');
SELECT throws_ok($$SELECT * FROM fit_cascade_model('SELECT 7 AS list, 1 AS position, 2 AS item, ''x'' AS clicked')$$, '42804', NULL, 'clicked is a text');
SELECT is((SELECT count(*)::int FROM fit_cascade_model('SELECT * FROM list WHERE false')), 0, 'no lists, no items');

-- the caller's rights
CREATE ROLE click_reader;
GRANT USAGE ON SCHEMA bundle_rec TO click_reader;
SET ROLE click_reader;
SELECT throws_ok($$SELECT * FROM fit_position_model('SELECT * FROM cell')$$, '42501', NULL, 'a table that the caller may not read');
RESET ROLE;
\o /dev/null
DROP OWNED BY click_reader;
DROP ROLE click_reader;
\o

-- men's random log of the Open Bandit Dataset: every item stands at every position
SELECT :'data_dir' <> '' AS have_data \gset
\if :have_data
\o /dev/null
SELECT 'CREATE TABLE obd (row_number int, ' || string_agg(quote_ident(c) || ' text', ', ' ORDER BY n) || ')'
FROM unnest(string_to_array((SELECT ltrim(split_part(pg_read_file(:'data_dir' || '/obd_men/random.csv', 0, 4000), E'\n', 1), ',')), ',')) WITH ORDINALITY u (c, n) \gexec
\set file :data_dir '/obd_men/random.csv'
COPY obd FROM :'file' WITH (FORMAT csv, HEADER);
\o
SELECT results_eq(
    $$SELECT position, round(examination::numeric, 7), shown, clicks, round(log_likelihood::numeric, 7)
      FROM fit_position_model('SELECT item_id AS item, position::int, click::int AS clicked FROM obd')$$,
    'VALUES (1::bigint, 0.4727896, 3284::float8, 10::float8, -271.3473236), (2, 1.0000000, 3388, 22, -271.3473236), (3, 0.6474412, 3328, 14, -271.3473236)',
    'the Open Bandit Dataset: numpy''s kappa');
SELECT is((SELECT count(*)::int FROM fit_attractiveness('SELECT item_id AS item, position::int, click::int AS clicked FROM obd')
           WHERE (clicks = 0) = (attractiveness = 0)), 34, 'items without clicks attract nobody');
-- at the maximum the sum of (clicks - n p) / (1 - p) over the items of a position is 0
SELECT is((SELECT array_agg(round(s::numeric, 5) ORDER BY p) FROM (
               SELECT k.position AS p, sum((o.c - o.n * a.attractiveness * k.examination) / (1 - a.attractiveness * k.examination)) AS s
               FROM fit_position_model('SELECT item_id AS item, position::int, click::int AS clicked FROM obd') k,
                    fit_attractiveness('SELECT item_id AS item, position::int, click::int AS clicked FROM obd') a,
                    LATERAL (SELECT count(*) AS n, sum(click::int) AS c FROM obd WHERE item_id = a.item AND obd.position::int = k.position) o
               GROUP BY 1) x), '{0.00000,0.00000,0.00000}', 'the likelihood has its maximum there');
\else
SELECT skip('no real data beside the checkout', 3);
\endif

SELECT * FROM finish();

\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- plot.sql
--    Plots of queries: documents that are well-formed, what is in them, what is
--    refused, and whose rights a query has. Where things lie is known to the C
--    tests.
--
SELECT plan(48);
SET client_min_messages = error;
SET timezone = 'UTC';

-- how often an element stands in a document, which must be well-formed
CREATE FUNCTION public.count_of(svg text, path text) RETURNS int LANGUAGE sql AS
$$SELECT cardinality(xpath(path, xmlparse(DOCUMENT svg), ARRAY[ARRAY['s', 'http://www.w3.org/2000/svg']]))$$;
CREATE FUNCTION public.texts_of(svg text, path text) RETURNS text[] LANGUAGE sql AS
$$SELECT xpath(path || '/text()', xmlparse(DOCUMENT svg), ARRAY[ARRAY['s', 'http://www.w3.org/2000/svg']])::text[]$$;

---- series ----

CREATE TABLE daily AS
SELECT timestamptz '2025-02-20' + i * interval '1 day' AS day, policy, rate + 0.002 * sin(i / 2.0) AS reward, 0.004 / sqrt(i + 1) AS error
FROM generate_series(0, 27) i, (VALUES ('thompson', 0.012), ('a < b & "c"', 0.0095)) v(policy, rate);
SELECT plot_series('SELECT day AS x, reward AS y, policy AS series, reward - error AS lower, reward + error AS upper FROM daily', title => 'Reward & more',
                   x_label => 'day', y_label => 'click rate') AS svg \gset
SELECT is(count_of(:'svg', '/s:svg[@role="img"]/s:title'), 1, 'one document with a title');
SELECT is(texts_of(:'svg', '/s:svg/s:title'), '{Reward &amp; more}', 'which is escaped');
SELECT is(texts_of(:'svg', '/s:svg/s:desc'), '{"2 series of 56 points; horizontally 2025-02-20 to 2025-03-19, vertically 0.0055 to 0.016."}', 'and a description');
SELECT is(count_of(:'svg', '//s:path[@fill-opacity]'), 2, 'two bands');
SELECT is(count_of(:'svg', '//s:path[@stroke-linejoin]'), 2, 'two lines');
SELECT is(count_of(:'svg', '//s:circle'), 56, 'a dot for each day');
SELECT ok(count_of(:'svg', '//s:text[. = "Mar 3"]') = 1 AND count_of(:'svg', '//s:text[. = "Mar 10"]') = 1 AND count_of(:'svg', '//s:text[. = "Mar 4"]') = 0, 'ticks on Mondays');
SELECT is(count_of(:'svg', $$//s:text[. = 'a < b & "c"']$$), 1, 'a name in the legend, with its markup as text');
SELECT is(plot_series('SELECT day AS x, reward AS y, policy AS series FROM daily ORDER BY policy, day DESC'),
          plot_series('SELECT day AS x, reward AS y, policy AS series FROM daily ORDER BY policy, day'), 'rows may come in any order');
SET timezone = 'Asia/Tokyo';
SELECT matches(plot_series('SELECT day AS x, reward AS y FROM daily'), 'horizontally 2025-02-20 09:00:00 to', 'times are those of the session');
SET timezone = 'UTC';
SELECT matches(plot_series('SELECT day::date AS x, reward AS y FROM daily'), 'horizontally 2025-02-20 to 2025-03-19', 'dates are times');
SELECT matches(plot_series('SELECT day::timestamp AS x, reward AS y FROM daily'), 'horizontally 2025-02-20 to 2025-03-19', 'so are timestamps without a zone');
SELECT matches(plot_series('SELECT x::smallint, y FROM (VALUES (1, 2.5), (2, NULL), (3, 4.5)) v(x, y)'), '1 series of 3 points; horizontally 1 to 3, vertically 2.5 to 4.5',
               'integers, numerics, and a gap');
SELECT is(count_of(plot_series('SELECT i::bigint AS x, sqrt(i)::real AS y FROM generate_series(1, 10000) i'), '//s:path[@stroke-linejoin]'), 1, '10,000 points are one line');
SELECT is(count_of(plot_series('SELECT 1 AS x, 2 AS y'), '//s:circle[@r="4"]'), 1, 'one point is a dot');
SELECT is(count_of(plot_series('SELECT 1 AS x, 2 AS y WHERE false', title => 'Soon'), '//s:text[. = "No rows"]'), 1, 'no rows, and the plot says so');
SELECT is(count_of(plot_series('SELECT 1 AS x, 2 AS y', title => e'\x01\x1F\u65E5'), '/s:svg'), 1, 'control characters leave a document well-formed');
SELECT is(count_of(plot_series('SELECT 1 AS x, 2 AS y', width => 160, height => 160), '/s:svg[@width="160" and @height="160"]'), 1, 'as small as may be');
SELECT is(plot_series(q), plot_series(q), 'the same query, the same bytes') FROM (VALUES ('SELECT day AS x, reward AS y FROM daily')) v(q);

---- intervals and histograms ----

SELECT plot_intervals($$SELECT * FROM (VALUES ('IPS', 0.003, 0.0015, 0.0045, 'men'), ('always valid', 0.004, '-Infinity', 0.0078, 'women'), ('alone', 0.005, NULL, NULL, 'men'))
                      v(label, value, lower, upper, series)$$, reference => 0.0046) AS svg \gset
SELECT is(count_of(:'svg', '//s:g'), 3, 'a row for each interval');
SELECT is(count_of(:'svg', '//s:path[@class="br-mark"]'), 1, 'a line at the reference');
SELECT is(texts_of(:'svg', '//s:g/s:title'), '{"IPS: 0.0030 [0.0015, 0.0045]","always valid: 0.0040 [-∞, 0.0078]","alone: 0.0050"}', 'the numbers of each');
SELECT is(count_of(:'svg', '//s:text[. = "women"]'), 1, 'a legend');
SELECT plot_histogram('SELECT i % 100 / 100.0 AS value, i % 2 AS series FROM generate_series(0, 999) i', bins => 10) AS svg \gset
SELECT matches(:'svg'::text, '2 series of 20 bins; horizontally 0 to 1, the highest bar is 50', 'a thousand values in ten bins of two series');
SELECT matches(plot_histogram($$SELECT width_bucket(i, 0, 100, 10) * 10 - 10 AS lower, width_bucket(i, 0, 100, 10) * 10 AS upper, count(*) AS count
                                FROM generate_series(0, 99) i GROUP BY 1, 2$$), '1 series of 10 bins; horizontally 0 to 100, the highest bar is 10', 'bins that the query counted');
SELECT is(count_of(plot_histogram('SELECT 5 AS value'), '//s:path[@fill-opacity]'), 1, 'one value is one bar');

---- what is refused ----

SELECT throws_ok($$SELECT plot_series(NULL)$$, '22004', NULL, 'no query');
SELECT throws_ok($$SELECT plot_series('SELECT 1 AS x; SELECT 2 AS y')$$, '22023', '"query" returns no rows', 'two queries');
SELECT throws_ok($$SELECT plot_series('DELETE FROM daily RETURNING reward AS x, reward AS y')$$, '0A000', NULL, 'a query that writes');
SELECT throws_ok($$SELECT plot_series('SELECT 1 AS x')$$, '42703', 'the query has no column "y"', 'a column that is missing');
SELECT throws_ok($$SELECT plot_series('SELECT 1 AS x, 2 AS y, 3 AS uper')$$, '42703', 'cannot plot the column "uper"', 'a column that is misspelt');
SELECT throws_ok($$SELECT plot_series('SELECT true AS x, 2 AS y')$$, '42804', 'column "x" is of type boolean', 'a type that is no number');
SELECT throws_ok($$SELECT plot_series('SELECT 1 AS x, now() AS y')$$, '42804', NULL, 'a time where a number belongs');
SELECT throws_ok($$SELECT plot_series('SELECT NULL::int AS x, 2 AS y')$$, '22023', 'column "x" is NULL or NaN', 'x is NULL');
SELECT throws_ok($$SELECT plot_series('SELECT 1 AS x, float8 ''NaN'' AS y')$$, '22023', 'column "y" is NULL or NaN', 'y is NaN');
SELECT throws_ok($$SELECT plot_series('SELECT timestamp ''infinity'' AS x, 1 AS y')$$, '22008', NULL, 'a time without an end');
SELECT throws_ok($$SELECT plot_series('SELECT 1 AS x, 2 AS y, 3 AS lower, 1 AS upper')$$, '22023', 'cannot draw the plot', 'bounds the wrong way round');
SELECT throws_ok($$SELECT plot_series('SELECT i AS x, i AS y, i AS series FROM generate_series(1, 25) i')$$, '54000', 'too many series to plot', '25 series');
SELECT throws_ok($$SELECT plot_series('SELECT i AS x, i AS y FROM generate_series(1, 100001) i')$$, '54000', 'too many rows to plot', '100,001 points');
SELECT throws_ok($$SELECT plot_series('SELECT 1 AS x, 2 AS y', width => 10)$$, '22023', 'cannot draw the plot', 'too narrow');
SELECT throws_ok($$SELECT plot_series('SELECT 1 AS x, 2 AS y', height => 0)$$, '22023', 'cannot draw the plot', 'no height');
SELECT throws_ok($$SELECT plot_histogram('SELECT 1 AS value, 2 AS count')$$, '42703', 'the query has the columns "value" and "count"', 'values and bins');
SELECT throws_ok($$SELECT plot_histogram('SELECT 1 AS value', bins => 0)$$, '22023', 'cannot draw the plot', 'no bins');
SELECT throws_ok($$SELECT plot_histogram('SELECT 2 AS lower, 1 AS upper, 3 AS count')$$, '22023', 'cannot draw the plot', 'a bin that ends before it begins');
SELECT throws_ok($$SELECT plot_intervals('SELECT i AS label, i AS value FROM generate_series(1, 201) i')$$, '54000', 'too many rows to plot', '201 intervals');

---- rights ----

CREATE ROLE br_test_plotter;
GRANT USAGE ON SCHEMA bundle_rec TO br_test_plotter;
SET ROLE br_test_plotter;
SELECT throws_ok($$SELECT plot_series('SELECT day AS x, reward AS y FROM bundle_rec.daily')$$, '42501', NULL, 'a query has the rights of its caller');
SELECT is(count_of(plot_series('SELECT 1 AS x, 2 AS y'), '//s:circle'), 1, 'who may read nothing plots what is no table''s');
RESET ROLE;
REVOKE USAGE ON SCHEMA bundle_rec FROM br_test_plotter;
DROP ROLE br_test_plotter;
START TRANSACTION READ ONLY;
SELECT is(count_of(plot_series('SELECT day AS x, reward AS y FROM daily'), '/s:svg'), 1, 'in a read-only transaction');
COMMIT;

SELECT * FROM finish();

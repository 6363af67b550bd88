\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- ann_settings.sql
--    Settings of scans and options of indexes: defaults, ranges, and what an
--    error says. What they do to answers is in ann.sql, to plans in ann_plan.sql.
--
SELECT plan(42);
SET client_min_messages = warning;

---- settings ----

SELECT results_eq($$SELECT name, setting, vartype, context FROM pg_settings
                    WHERE name ~ '^bundle_rec\.(scan_order|horizon|probes|recall|full_scan_rows)$' ORDER BY name$$,
    $$VALUES ('bundle_rec.full_scan_rows', '20000', 'integer', 'user'), ('bundle_rec.horizon', '150', 'integer', 'user'),
             ('bundle_rec.probes', '0', 'integer', 'user'), ('bundle_rec.recall', '0', 'real', 'user'),
             ('bundle_rec.scan_order', 'strict', 'enum', 'user')$$, 'the settings of scans, which every session may change');
SELECT is((SELECT count(*) FROM pg_settings WHERE name ~ '^bundle_rec\.' AND short_desc = ''), 0::bigint, 'each says what it is');

-- what a setting becomes, or the error and its detail
CREATE FUNCTION pg_temp.become(setting text, value text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    RETURN set_config('bundle_rec.' || setting, value, true);
EXCEPTION WHEN invalid_parameter_value THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN concat_ws('|', replace(SQLERRM, 'parameter "bundle_rec.' || setting || '"', 'it'), nullif(detail, ''));
END $$;
SELECT is(pg_temp.become('scan_order', 'relaxed'), 'relaxed', 'scan_order may be relaxed');
SELECT is(pg_temp.become('scan_order', 'STRICT'), 'strict', 'or strict');
SELECT is(pg_temp.become('scan_order', 'off'), 'invalid value for it: "off"', 'and nothing else');
SELECT is(pg_temp.become('horizon', '1'), '1', 'horizon from 1');
SELECT is(pg_temp.become('horizon', '1000000'), '1000000', 'to a million');
SELECT is(pg_temp.become('horizon', '0'), '0 is outside the valid range for it (1 .. 1000000)', 'not 0');
SELECT is(pg_temp.become('horizon', '1000001'), '1000001 is outside the valid range for it (1 .. 1000000)', 'nor more');
SELECT is(pg_temp.become('probes', '65536'), '65536', 'probes up to as many lists as there can be');
SELECT is(pg_temp.become('probes', '65537'), '65537 is outside the valid range for it (0 .. 65536)', 'not more');
SELECT is(pg_temp.become('probes', '-1'), '-1 is outside the valid range for it (0 .. 65536)', 'nor less than 0');
SELECT is(pg_temp.become('recall', '0'), '0', 'recall may be 0');
SELECT is(pg_temp.become('recall', '0.5'), '0.5', 'or from a half');
SELECT is(pg_temp.become('recall', '0.999'), '0.999', 'to .999');
SELECT is(pg_temp.become('recall', '0.4999'),
          'invalid value for it: 0.4999|A recall target is between 0.5 and 0.999, or 0 for the index''s own.', 'not less');
SELECT is(pg_temp.become('recall', '0.0001'),
          'invalid value for it: 0.0001|A recall target is between 0.5 and 0.999, or 0 for the index''s own.', 'nor next to 0');
SELECT is(pg_temp.become('recall', '1'), '1 is outside the valid range for it (0 .. 0.999)', 'nor all, which a sort gives');
SELECT is(pg_temp.become('recall', 'NaN'), 'invalid value for it: "NaN"', 'nor NaN');
SELECT is(pg_temp.become('full_scan_rows', '0'), '0', 'full_scan_rows from 0');
SELECT is(pg_temp.become('full_scan_rows', '2147483647'), '2147483647', 'to all integers');
SELECT is(pg_temp.become('full_scan_rows', '-1'), '-1 is outside the valid range for it (0 .. 2147483647)', 'not less');
SELECT throws_ok('SET bundle_rec.scan_ordre = relaxed', '42602', NULL, 'a setting that there is not');

---- options ----

CREATE TABLE vector (id integer, embedding embedding);
INSERT INTO vector SELECT i, ARRAY[i, 1, 2]::embedding FROM generate_series(1, 300) i;

-- an index with these options, or the error and its detail
CREATE FUNCTION pg_temp.options(list text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    DROP INDEX IF EXISTS vector_ann;
    EXECUTE format('CREATE INDEX vector_ann ON vector USING bundle_ann (embedding) WITH (%s)', list);
    RETURN (SELECT reloptions FROM pg_class WHERE oid = 'vector_ann'::regclass);
EXCEPTION WHEN invalid_parameter_value THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN concat_ws('|', SQLERRM, nullif(detail, ''));
END $$;
SELECT is(pg_temp.options('recall = 0.5, lists = 0, pending = 1'), '{recall=0.5,lists=0,pending=1}', 'the least of each');
SELECT is(pg_temp.options('recall = .999, lists = 65536, pending = 1000000'), '{recall=.999,lists=65536,pending=1000000}', 'and the most');
SELECT is(pg_temp.options('recall = .49'), 'value .49 out of bounds for option "recall"|Valid values are between "0.500000" and "0.999000".',
          'recall too small');
SELECT is(pg_temp.options('recall = 1'), 'value 1 out of bounds for option "recall"|Valid values are between "0.500000" and "0.999000".',
          'recall too large');
SELECT is(pg_temp.options('recall = high'), 'invalid value for floating point option "recall": high', 'recall that is no number');
SELECT is(pg_temp.options('lists = -1'), 'value -1 out of bounds for option "lists"|Valid values are between "0" and "65536".', 'lists below 0');
SELECT is(pg_temp.options('lists = 65537'), 'value 65537 out of bounds for option "lists"|Valid values are between "0" and "65536".',
          'too many lists');
SELECT is(pg_temp.options('lists = many'), 'invalid value for integer option "lists": many', 'lists that are no number');
SELECT is(pg_temp.options('pending = 0'), 'value 0 out of bounds for option "pending"|Valid values are between "1" and "1000000".',
          'nothing may wait');
SELECT is(pg_temp.options('pending = 1000001'),
          'value 1000001 out of bounds for option "pending"|Valid values are between "1" and "1000000".', 'too much may wait');
SELECT is(pg_temp.options('recall = .9, recall = .95'), 'parameter "recall" specified more than once', 'an option twice');
SELECT is(pg_temp.options('m = 16'), 'unrecognized parameter "m"', 'an option of another access method');
SELECT is(pg_temp.options('fillfactor = 90'), 'unrecognized parameter "fillfactor"', 'nor do pages keep room free');

-- more lists than rows are as many as there are rows
SELECT is(pg_temp.options('lists = 65536'), '{lists=65536}', 'more lists than rows');
SET enable_seqscan = off;
SET enable_sort = off;
SELECT is((SELECT count(*) FROM (SELECT id FROM vector ORDER BY embedding <=> '[1,2,3]') s), 300::bigint, 'and all rows are found in them');
RESET enable_sort;
RESET enable_seqscan;
SELECT lives_ok('ALTER INDEX vector_ann SET (recall = 0.99, lists = 4)', 'options change');
SELECT is((SELECT reloptions::text FROM pg_class WHERE oid = 'vector_ann'::regclass), '{recall=0.99,lists=4}', 'and are kept');
SELECT lives_ok('ALTER INDEX vector_ann RESET (recall, lists)', 'and are taken back');
SELECT throws_ok('ALTER INDEX vector_ann SET (recall = 2)', '22023', NULL, 'but not beyond their range');

SELECT * FROM finish();

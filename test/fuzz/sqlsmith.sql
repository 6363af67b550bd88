--
-- sqlsmith.sql
--    What sqlsmith finds: the small shop, values to pass, and functions to call.
--
-- Run by sqlsmith.sh as a superuser. sqlsmith calls every function that it sees
-- in pg_proc, but none that returns rows, and most arguments that it makes up
-- are NULL. So each function of the extension gets two wrappers besides, which
-- count rows and take values from smith.value. smith's own
-- pg_proc, in front of the system's in the search path, shows nothing but all
-- those and some functions that see only their arguments: none of them can
-- reach the server's files, other processes or settings.
--
\set ON_ERROR_STOP 1
\set QUIET 1
\set golden_dir ''
\getenv golden_dir BR_GOLDEN_DIR
SET client_min_messages = warning;
CREATE EXTENSION bundle_rec;

-- owns shop and catalog; reads the model's folder now and never again
CREATE ROLE smith_owner LOGIN;
-- as an application: may read the shop, and log decisions
CREATE ROLE smith_visitor LOGIN;
SELECT format('GRANT CREATE ON DATABASE %I TO smith_owner', current_database()) \gexec
GRANT pg_read_server_files TO smith_owner;
GRANT EXECUTE ON FUNCTION bundle_rec.create_experiment TO smith_owner, smith_visitor;
SET SESSION AUTHORIZATION smith_owner;
SET search_path = bundle_rec, public;
\i test/sql/include/small_shop.sql
RESET SESSION AUTHORIZATION;
REVOKE pg_read_server_files FROM smith_owner;
SET search_path = bundle_rec, public;
SET client_min_messages = warning;

SELECT catalog FROM catalog WHERE name = 'small' \gset
GRANT USAGE ON SCHEMA small TO smith_visitor;
GRANT SELECT ON small.product, small.purchase TO smith_visitor;
GRANT SELECT, INSERT ON bundle_rec.decision_:catalog, bundle_rec.feedback_:catalog TO smith_visitor;

SET SESSION AUTHORIZATION smith_owner;
SELECT count(*) FROM generate_series(1, 30) i, recommend('small', 'u' || i % 6, ARRAY['p0' || 1 + i % 9]) \g /dev/null
SELECT feedback(decision_id, 1) FROM (SELECT (recommend('small')).decision_id LIMIT 1) d \g /dev/null
SELECT create_policy('greedy', 'epsilon_greedy', 'small') \g /dev/null
SELECT create_policy('banner', 'thompson_beta', attribution_window => '0') \g /dev/null
SELECT create_policy('page', 'linear_ucb', params => '{"context": 3}', attribution_window => '0') \g /dev/null
SELECT add_arms('banner', '{p01,p02,p05}'), add_arms('page', '{p01,p05}') \g /dev/null
SELECT feedback(decision_id, 1) FROM choose('banner') \g /dev/null
SELECT choose('page', NULL, '{1,0.5,0}'::float8[]) \g /dev/null
SELECT create_experiment('button', layer => 'page', traffic => 0.5) \g /dev/null
SELECT count(assign('button', u::text)) FROM generate_series(1, 30) u \g /dev/null
RESET SESSION AUTHORIZATION;

-- values that mean something, and values at the ends of their types
CREATE SCHEMA smith;
-- a text form each, because an array cannot hold arrays of different shapes
CREATE FUNCTION smith.array_of(which int) RETURNS text[] LANGUAGE sql IMMUTABLE AS
$$SELECT (CASE abs(which % 6) WHEN 0 THEN '{p01,p05}' WHEN 1 THEN '{}' WHEN 2 THEN '{p02,NULL}' WHEN 3 THEN '{{p01},{p02}}'
                              WHEN 4 THEN '[5:6]={p03,p04}' ELSE '{kind 1,p09}' END)::text[]$$;
-- states of estimators and of histograms, whole and not
CREATE FUNCTION smith.state_of(which int) RETURNS double precision[] LANGUAGE sql IMMUTABLE AS
$$SELECT CASE which % 6 WHEN 0 THEN array_fill(0::float8, '{72}') WHEN 1 THEN '{0.5,1e300}'
              ELSE ARRAY[1 + which % 15, which % 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]::float8[] END$$;
CREATE TABLE smith.value (
    catalog text, item text, words text, plotted text, measure text, policy text, algorithm text, model text,
    items text[], names name[], a_name name, kind text, small_number int, large_number bigint, decision_id bigint, fraction double precision,
    single real, flag boolean, sizes int4range, options jsonb, span interval, moment timestamptz, relation regclass,
    vector embedding, other_vector embedding, vectors embedding[], numbers double precision[], reals real[],
    decision_ids bigint[], experiment text, totals bigint[], moments double precision[], variants jsonb, counts int[], digits numeric[], bytes bytea, files model_file[],
    state double precision[], other double precision[], clusters double precision[], sums double precision[], an_estimate estimate, key text);
INSERT INTO smith.value
SELECT (ARRAY['small', 'small', 'none', 'small', ''])[1 + i % 5], format('p%s', lpad((i % 18)::text, 2, '0')),
       (ARRAY['red product', '', 'kind [SEP] 2', repeat('long ', 2000), U&'\4E2D e\0301'])[1 + i % 5],
       (ARRAY['SELECT 1 AS x, 2 AS y', 'SELECT now() + i * interval ''1 day'' AS x, i AS y, i % 3 AS series, i - 1 AS lower, 1e9 AS upper FROM generate_series(1, 9) i',
              'SELECT i AS label, i AS value, ''-Infinity'' AS lower, 1e99 AS upper FROM generate_series(1, 9) i', 'SELECT 1 / i AS value FROM generate_series(1, 9) i',
              'SELECT 0 AS lower, 1 AS upper, 3 AS count', 'SELECT kind AS variant, item AS unit_id, fraction AS value FROM smith.value',
              'SELECT item AS arm, 1::float8 AS reward, 0.5::float8 AS propensity FROM smith.value'])[1 + i % 7],
       (ARRAY['confidence', 'lift', 'npmi', 'odd'])[1 + i % 4], (ARRAY['small', 'greedy', 'banner', 'page', NULL])[1 + i % 5],
       (ARRAY['linear_thompson', 'epsilon_greedy', 'thompson_beta', 'softmax', 'none'])[1 + i % 5], (ARRAY['tiny', NULL, 'none'])[1 + i % 3],
       smith.array_of(i),
       '{title,category}', (ARRAY['title', 'sku', 'price', 'none'])[1 + i % 4]::name,
       (ARRAY['click', 'purchase', 'none'])[1 + i % 3], (ARRAY[0, 1, 2, 5, -1, 100, 2147483647, -2147483648])[1 + i % 8],
       (ARRAY[0, 1, 7, -1, 9223372036854775807, -9223372036854775808])[1 + i % 6],
       (SELECT min(decision_id) FROM bundle_rec.decision) + i % 7 - 1, (ARRAY[0, 0.5, 1, 40, -1, 1e308, 'NaN', 'Infinity']::float8[])[1 + i % 8],
       (ARRAY[0.25, -1, 3e38, 'NaN', '-Infinity']::real[])[1 + i % 5], i % 2 = 0,
       (ARRAY['[2,3]', '[1,1]', 'empty', '(,)', '[2,)', '[-5,2147483647)', NULL]::int4range[])[1 + i % 7],
       (ARRAY['{}', '{"click": 1}', '{"epsilon": 0.2}', '{"epsilon": "x"}', '[1]', 'null', '{"draws": -1, "noise": 1e400}', '{"context": 2}', '[1, 0.5, 0]', '{"discount": 0.5, "evidence_window": "1 day"}']::jsonb[])[1 + i % 10],
       (ARRAY['1 day', '0', '-1 mon', '178000000 years']::interval[])[1 + i % 4],
       (ARRAY['2024-01-02', 'infinity', '-infinity', 'epoch']::timestamptz[])[1 + i % 4],
       (ARRAY['small.product', 'small.purchase', 'bundle_rec.item', 'pg_catalog.pg_class']::regclass[])[1 + i % 4],
       CASE i % 4 WHEN 0 THEN embed('product ' || i, 'tiny') WHEN 1 THEN '[1,2,3]' WHEN 2 THEN '[65504,-65504,6e-08]' ELSE '[0,0,0]' END,
       CASE i % 3 WHEN 0 THEN embed('kind ' || i, 'tiny') WHEN 1 THEN '[3,2,1]' ELSE '[-0,1,1e-5]' END,
       ARRAY['[1,2,3]', NULL]::embedding[],
       (ARRAY['{2,5,7}', '{0}', '{}', '{NaN,1}', '{-1,2}', '{{1,2},{3,4}}', '{1e308,1e308}', '{3,NULL}', '{2,0.5,0.1}', '{2,7,0.5,0,3,1,-2,1e9,0,4}'])[1 + i % 10]::float8[],
       '{0.5,-1,2}', CASE WHEN i % 4 < 3 THEN ARRAY[(SELECT min(decision_id) FROM bundle_rec.decision) + i % 3, i] END,
       (ARRAY['button', 'none', NULL])[1 + i % 3], (ARRAY['{10,12}', '{}', '{0,-1,9223372036854775807}', '{1,NULL}'])[1 + i % 4]::bigint[],
       (ARRAY['{4,2.5,0,1,5,0,0,0,0,0}', '{0,0,0,0,0,0,0,0,0,0}', '{9,0.5,2,3,2.25,1,4,1,0.5,0.25}', '{1,2}', '{9,NaN,2,3,2,1,4,1,0,0}'])[1 + i % 5]::float8[],
       (ARRAY['{"control": 0.5, "treatment": 0.5}', '{"a": 1}', '[]'])[1 + i % 3]::jsonb, '{1,2,3}', '{1,2.5,1e5}', '\x000200003c00c000',
       (ARRAY['{"(config.json,{})"}', '{}', '{NULL}', '{"(../x,)"}', '{"(,)"}'])[1 + i % 5]::model_file[],
       smith.state_of(i), smith.state_of(i / 2), ('{1,0,0,2,20,3,19,10,10,1,0,2,1,4,1,1,5,0,0,0,' || i % 3 || '}')::float8[],
       ('{1,0,0,1,0,' || i % 4 || ',0.9,10,10,1,0,20,21,3,0}')::float8[],
       (ARRAY['(0.5,0.1,100,90,2,1)', '(,,,,,)', '(NaN,Infinity,-1,0,0,0)', '(1e308,1e308,1,1e-308,1e308,1e308)']::estimate[])[1 + i % 4], 'unit ' || i
FROM generate_series(0, 23) i;
-- columns are taken from whatever relation a query happens to read: let it be this one often
SELECT format('CREATE VIEW smith.value_%s AS SELECT * FROM smith.value', i) FROM generate_series(1, 12) i \gexec

-- what the extension offers to SQL, but not what only PostgreSQL itself calls, nor what takes any type
CREATE VIEW smith.offered AS
SELECT p.* FROM pg_catalog.pg_proc p
WHERE pronamespace = 'bundle_rec'::regnamespace AND prokind = 'f' AND prorettype <> 'trigger'::regtype
  AND NOT '{internal,anycompatible}'::regtype[]::oid[] && proargtypes::oid[];

-- a value for an argument of smith.value's column of its name, else of its type; NULL: there is none
CREATE FUNCTION smith.value_for(argument text, type oid) RETURNS text LANGUAGE sql STABLE AS $$
SELECT format('(SELECT %I FROM smith.value OFFSET floor(24 * random()) LIMIT 1)', attname) FROM pg_catalog.pg_attribute
WHERE attrelid = 'smith.value'::regclass AND attnum > 0 AND atttypid = type
ORDER BY attname <> CASE WHEN argument = 'query' AND random() < 0.5 THEN 'plotted' WHEN argument IN ('query', 'text') THEN 'words' WHEN argument = 'item_id' THEN 'item' ELSE argument END, random()
LIMIT 1 $$;

-- smith.try_NAME has the same arguments, of which most NULLs become values; smith.chance_NAME has none
DO $$
DECLARE
    f record;
    body text;
BEGIN
    FOR f IN SELECT p.oid, proname, CASE WHEN proretset OR prorettype = 'record'::regtype THEN 'bigint' ELSE format_type(prorettype, NULL) END AS result,
                    CASE WHEN proretset OR prorettype = 'record'::regtype THEN 'SELECT count(*) FROM' ELSE 'SELECT' END AS asked,
                    string_agg(format_type(type, NULL), ', ' ORDER BY n) AS types,
                    string_agg(coalesce('CASE WHEN $' || n || ' IS NULL AND random() < 0.9 THEN ' || value || ' ELSE $' || n || ' END', '$' || n), ', ' ORDER BY n) AS tried,
                    string_agg(coalesce('CASE WHEN random() < 0.9 THEN ' || value || ' END', 'NULL::' || format_type(type, NULL)), ', ' ORDER BY n) AS by_chance
             FROM smith.offered p, unnest(proargtypes) WITH ORDINALITY a (type, n), smith.value_for(proargnames[n], type) value
             WHERE proname NOT IN ('embedding_in', 'embedding_out', 'embedding_recv', 'embedding_send', 'embedding_typmod_in')
             GROUP BY p.oid, proname, prorettype, proretset
    LOOP
        EXECUTE format('CREATE FUNCTION smith.%I(%s) RETURNS %s LANGUAGE sql AS %L', 'try_' || f.proname, f.types, f.result,
                       format('%s bundle_rec.%I(%s)', f.asked, f.proname, f.tried));
        -- the same name may have several lists of arguments
        EXECUTE format('CREATE FUNCTION smith.%I() RETURNS %s LANGUAGE sql AS %L', format('chance_%s_%s', f.proname, f.oid), f.result,
                       format('%s bundle_rec.%I(%s)', f.asked, f.proname, f.by_chance));
    END LOOP;
END $$;

-- immutable functions see nothing but their arguments; those with pseudo-types cannot be called at all
CREATE VIEW smith.pg_proc AS
SELECT * FROM smith.offered
-- those without arguments as if there were thrice as many
UNION ALL SELECT p.* FROM pg_catalog.pg_proc p, generate_series(1, CASE WHEN pronargs = 0 THEN 3 ELSE 1 END)
WHERE pronamespace = 'smith'::regnamespace AND proname ~ '^(try_|chance_|array_of)'
UNION ALL SELECT p.* FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_type t ON t.oid = prorettype
WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'i' AND prokind = 'f' AND NOT proretset AND provariadic = 0
  AND t.typtype <> 'p' AND prorettype IN ('text'::regtype, 'text[]'::regtype, 'int4'::regtype, 'int8'::regtype, 'float8'::regtype, 'bool'::regtype,
                                          'jsonb'::regtype, 'int4range'::regtype, 'interval'::regtype, 'name'::regtype)
  AND NOT EXISTS (SELECT FROM unnest(proargtypes) a JOIN pg_catalog.pg_type u ON u.oid = a WHERE u.typtype = 'p')
  AND proname !~ '^(binary_upgrade|pg_)' AND p.oid::bigint % 10 = 0;

-- sqlsmith takes these pseudo-types for types, and believes that every type has an equality
CREATE VIEW smith.pg_type AS
SELECT oid, CASE typname WHEN 'anymultirange' THEN 'int4multirange' WHEN 'anyrange' THEN 'int4range' WHEN 'anyenum' THEN 'text'
                         WHEN 'anyelement' THEN 'int4' ELSE typname END AS typname,
       typnamespace, typdelim, typrelid, typelem, typarray, typtype
FROM pg_catalog.pg_type;
CREATE OPERATOR smith.= (LEFTARG = point, RIGHTARG = point, FUNCTION = pg_catalog.point_eq);
CREATE OPERATOR smith.= (LEFTARG = polygon, RIGHTARG = polygon, FUNCTION = pg_catalog.poly_same);

GRANT USAGE ON SCHEMA smith TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA smith TO PUBLIC;
ALTER ROLE smith_owner SET search_path = smith, bundle_rec, public, pg_catalog;
ALTER ROLE smith_visitor SET search_path = smith, bundle_rec, public, pg_catalog;
ALTER ROLE smith_owner SET bundle_rec.backend = 'portable';
ALTER ROLE smith_visitor SET bundle_rec.backend = 'portable';
ANALYZE;

\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- house.sql
--    Rules that hold for every object of the extension, whichever part brought it.
--
SELECT plan(9);

CREATE TEMP VIEW member AS
SELECT classid, objid, pg_describe_object(classid, objid, 0) AS object,
       obj_description(objid, classid::regclass::text) AS comment
FROM pg_catalog.pg_depend
WHERE refclassid = 'pg_catalog.pg_extension'::regclass AND deptype = 'e'
  AND refobjid = (SELECT oid FROM pg_catalog.pg_extension WHERE extname = 'bundle_rec');

-- functions that people call, rather than types, indexes or triggers
CREATE TEMP VIEW called AS
SELECT p.*, m.object, m.comment
FROM pg_catalog.pg_proc p JOIN member m ON m.classid = 'pg_catalog.pg_proc'::regclass AND m.objid = p.oid
WHERE p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype,
                           'index_am_handler'::regtype, 'cstring'::regtype)
  AND NOT p.proargtypes::oid[] && ARRAY['internal'::regtype::oid, 'cstring'::regtype::oid];

SELECT cmp_ok((SELECT count(*) FROM called), '>', 0::bigint, 'the extension has functions');

SELECT is_empty(
    $$SELECT object FROM member WHERE comment IS NULL OR btrim(comment) = '' ORDER BY object$$,
    'every object has a comment');

SELECT is_empty(
    $$SELECT format('%s.%s', c.relname, a.attname)
      FROM pg_catalog.pg_attribute a
      JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relkind IN ('v', 'm', 'c')
      JOIN member m ON m.objid IN (c.oid, c.reltype)
      WHERE a.attnum > 0 AND NOT a.attisdropped AND col_description(c.oid, a.attnum) IS NULL
      ORDER BY 1$$,
    'every column of a view or composite type has a comment');

SELECT is_empty(
    $$SELECT object FROM called WHERE pronargs > 0 AND comment !~ '\mNULL\M' ORDER BY object$$,
    'the comment of a function with arguments says what NULL does');

SELECT is_empty(
    $$SELECT object FROM called WHERE prosecdef ORDER BY object$$,
    'no function runs with another''s rights');

SELECT is_empty(
    $$SELECT object FROM called WHERE provolatile = 'v' AND proparallel = 's' ORDER BY object$$,
    'no volatile function claims to be safe in parallel');

SELECT is_empty(
    $$SELECT o.objid::regoperator::text
      FROM member o JOIN pg_catalog.pg_operator p ON p.oid = o.objid
      JOIN pg_catalog.pg_proc f ON f.oid = p.oprcode
      WHERE o.classid = 'pg_catalog.pg_operator'::regclass AND f.provolatile = 'v' ORDER BY 1$$,
    'no operator is volatile');

SELECT is_empty(
    $$SELECT m.object FROM member m
      WHERE m.classid = 'pg_catalog.pg_class'::regclass
        AND (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = m.objid)
            <> 'bundle_rec'::regnamespace ORDER BY 1$$,
    'every relation lives in the schema bundle_rec');

SELECT is_empty(
    $$SELECT m.object FROM member m JOIN pg_catalog.pg_class c ON c.oid = m.objid
      WHERE m.classid = 'pg_catalog.pg_class'::regclass AND c.relkind IN ('r', 'S')
        AND c.oid <> ALL ((SELECT coalesce(extconfig, '{}') FROM pg_catalog.pg_extension
                           WHERE extname = 'bundle_rec')::oid[])
      ORDER BY 1$$,
    'every table and sequence is dumped with its data');

SELECT * FROM finish();

\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- ann_validate.sql
--    Operator classes of bundle_ann: what amvalidate says of ours and of wrong
--    ones. It speaks by INFO, which stands before the test that it belongs to.
--
SELECT plan(25);
SET client_min_messages = warning;

CREATE FUNCTION pg_temp.valid(class name) RETURNS boolean LANGUAGE sql AS
$$SELECT amvalidate(c.oid) FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod
  WHERE amname = 'bundle_ann' AND opcname = class$$;

---- ours ----

SELECT is((SELECT array_agg(opcname::text ORDER BY opcname) FILTER (WHERE amvalidate(c.oid))
           FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod WHERE amname = 'bundle_ann'),
          '{embedding_cosine_ops,embedding_ip_ops,embedding_l2_ops,text_cosine_ops,text_ip_ops,text_l2_ops}', 'ours are valid');
SELECT is((SELECT array_agg(opcname::text ORDER BY opcname) FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod
           WHERE amname = 'bundle_ann' AND opcdefault),
          '{embedding_cosine_ops,text_cosine_ops}', 'the default ones are for the cosine');
SELECT is((SELECT count(*) FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod
           WHERE amname = 'bundle_ann' AND NOT amvalidate(c.oid)), 0::bigint, 'none of ours is wrong');

---- what CREATE OPERATOR CLASS itself refuses ----

SELECT throws_ok($$CREATE OPERATOR CLASS wrong FOR TYPE embedding USING bundle_ann AS OPERATOR 2 <-> FOR ORDER BY float_ops$$,
                 '42P17', 'invalid operator number 2, must be between 1 and 1', 'one operator there is');
SELECT throws_ok($$CREATE OPERATOR CLASS wrong FOR TYPE embedding USING bundle_ann AS FUNCTION 2 l2_distance(embedding, embedding)$$,
                 '42P17', 'invalid function number 2, must be between 1 and 1', 'and one support function');
SELECT throws_ok($$CREATE OPERATOR CLASS wrong FOR TYPE embedding USING bundle_ann AS STORAGE real$$,
                 '42P17', 'storage type cannot be different from data type for access method "bundle_ann"',
                 'what is stored is no business of the class');
SELECT throws_ok($$CREATE OPERATOR CLASS wrong DEFAULT FOR TYPE embedding USING bundle_ann AS STORAGE embedding$$,
                 '42710', NULL, 'one class is the default');

---- members that are missing or do not fit each other ----

CREATE OPERATOR CLASS empty FOR TYPE embedding USING bundle_ann AS STORAGE embedding;
SELECT is(pg_temp.valid('empty'), false, 'nothing in it');

CREATE OPERATOR CLASS no_function FOR TYPE embedding USING bundle_ann AS OPERATOR 1 <-> FOR ORDER BY float_ops;
SELECT is(pg_temp.valid('no_function'), false, 'no support function');

CREATE OPERATOR CLASS no_operator FOR TYPE embedding USING bundle_ann AS FUNCTION 1 l2_distance(embedding, embedding);
SELECT is(pg_temp.valid('no_operator'), false, 'no operator');

CREATE OPERATOR CLASS crossed FOR TYPE embedding USING bundle_ann AS
    OPERATOR 1 <-> FOR ORDER BY float_ops, FUNCTION 1 cosine_distance(embedding, embedding);
SELECT is(pg_temp.valid('crossed'), false, 'operator and function are of different distances');

---- operators ----

CREATE OPERATOR CLASS search FOR TYPE embedding USING bundle_ann AS
    OPERATOR 1 =, FUNCTION 1 l2_distance(embedding, embedding);
SELECT is(pg_temp.valid('search'), false, 'an operator for search');

CREATE OPERATOR CLASS sorts_text FOR TYPE embedding USING bundle_ann AS
    OPERATOR 1 <-> FOR ORDER BY text_ops, FUNCTION 1 l2_distance(embedding, embedding);
SELECT is(pg_temp.valid('sorts_text'), false, 'a sort family that sorts no distances');

CREATE FUNCTION rounded(embedding, embedding) RETURNS integer LANGUAGE sql IMMUTABLE STRICT AS
$$SELECT round(l2_distance($1, $2))::integer$$;
CREATE OPERATOR <~> (LEFTARG = embedding, RIGHTARG = embedding, FUNCTION = rounded);
CREATE OPERATOR CLASS integral FOR TYPE embedding USING bundle_ann AS
    OPERATOR 1 <~> FOR ORDER BY integer_ops, FUNCTION 1 rounded(embedding, embedding);
SELECT is(pg_temp.valid('integral'), false, 'an operator that gives an integer');

CREATE FUNCTION mixed(embedding, real[]) RETURNS double precision LANGUAGE sql IMMUTABLE STRICT AS
$$SELECT l2_distance($1, $2::embedding)$$;
CREATE OPERATOR <~> (LEFTARG = embedding, RIGHTARG = real[], FUNCTION = mixed);
CREATE OPERATOR CLASS two_types FOR TYPE embedding USING bundle_ann AS
    OPERATOR 1 <-> FOR ORDER BY float_ops, OPERATOR 1 <~> (embedding, real[]) FOR ORDER BY float_ops,
    FUNCTION 1 l2_distance(embedding, embedding);
SELECT is(pg_temp.valid('two_types'), false, 'an operator of two types beside a right one');

---- functions ----

CREATE OPERATOR CLASS norm FOR TYPE embedding USING bundle_ann AS
    OPERATOR 1 <-> FOR ORDER BY float_ops, FUNCTION 1 l2_norm(embedding);
SELECT is(pg_temp.valid('norm'), false, 'a function of one argument');

CREATE OPERATOR CLASS two_functions FOR TYPE embedding USING bundle_ann AS
    OPERATOR 1 <-> FOR ORDER BY float_ops, FUNCTION 1 l2_distance(embedding, embedding),
    FUNCTION 1 (embedding, real[]) mixed(embedding, real[]);
SELECT is(pg_temp.valid('two_functions'), false, 'a function of two types beside a right one');

CREATE FUNCTION gap(integer, integer) RETURNS double precision LANGUAGE sql IMMUTABLE STRICT AS $$SELECT abs($1 - $2)::float8$$;
CREATE OPERATOR <~> (LEFTARG = integer, RIGHTARG = integer, FUNCTION = gap);
CREATE OPERATOR CLASS integers FOR TYPE integer USING bundle_ann AS
    OPERATOR 1 <~> FOR ORDER BY float_ops, FUNCTION 1 gap(integer, integer);
SELECT is(pg_temp.valid('integers'), false, 'a distance that is none of ours');

-- our own function under another type's name
SELECT probin AS library FROM pg_proc WHERE oid = 'l2_distance(embedding, embedding)'::regprocedure \gset
CREATE FUNCTION of_bytes(bytea, bytea) RETURNS double precision LANGUAGE C IMMUTABLE STRICT AS :'library', 'br_embedding_l2_distance';
CREATE OPERATOR <~> (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = of_bytes);
CREATE OPERATOR CLASS bytes FOR TYPE bytea USING bundle_ann AS
    OPERATOR 1 <~> FOR ORDER BY float_ops, FUNCTION 1 of_bytes(bytea, bytea);
SELECT is(pg_temp.valid('bytes'), false, 'our distance for another type');

---- numbers that only a damaged catalog has ----

BEGIN;
UPDATE pg_amop SET amopstrategy = 2 WHERE amopfamily = (SELECT oid FROM pg_opfamily WHERE opfname = 'embedding_l2_ops');
SELECT is(pg_temp.valid('embedding_l2_ops'), false, 'a second strategy');
ROLLBACK;
BEGIN;
UPDATE pg_amproc SET amprocnum = 2 WHERE amprocfamily = (SELECT oid FROM pg_opfamily WHERE opfname = 'embedding_l2_ops');
SELECT is(pg_temp.valid('embedding_l2_ops'), false, 'a second support function');
ROLLBACK;
SELECT is(pg_temp.valid('embedding_l2_ops'), true, 'and all is well again');

---- an index with a class that cannot work ----

CREATE TABLE number (a integer, b embedding);
INSERT INTO number VALUES (1, '[1,2]');
SELECT throws_ok('CREATE INDEX ON number USING bundle_ann (a integers)', '42P17',
                 'index "number_a_idx" has an operator class that bundle_ann does not know', 'no index on integers');
SELECT throws_ok('CREATE INDEX ON number USING bundle_ann (a)', '42704',
                 'data type integer has no default operator class for access method "bundle_ann"', 'and none by default');
SELECT throws_ok('CREATE UNIQUE INDEX ON number USING bundle_ann (b)', '0A000',
                 'access method "bundle_ann" does not support unique indexes', 'no unique index');

SELECT * FROM finish();

\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- embedding.sql
--    The type embedding: forms, casts, distances, arithmetic, order, aggregates.
--
-- Expectations are arithmetic done by hand or by plain SQL on the components,
-- but for one, which says that it comes from numpy.
--
SELECT plan(149);

-- value of every finite half that is not negative, from its bits: a formula, not our conversion
CREATE TEMP VIEW half AS
SELECT bits, CASE WHEN bits >> 10 = 0 THEN bits * 2.0::float8 ^ -24
                  ELSE (1024 + (bits & 1023)) * 2.0::float8 ^ ((bits >> 10) - 25) END AS value
FROM generate_series(0, x'7BFF'::int) bits;

-- all of them, negative ones too, in four embeddings; 0 - 0 is 0, so -0 needs the product
CREATE TEMP TABLE every AS
SELECT sign, bits / 15872 AS part, array_agg(sign * value ORDER BY bits) AS numbers,
       array_agg(sign * value ORDER BY bits)::embedding AS embedding
FROM half, (VALUES (1::float8), (-1)) signs (sign) GROUP BY 1, 2;

-- text form
SELECT is('[0.1,0.2]'::embedding::text, '[0.1,0.2]', 'text form');
SELECT is(' [ 1 , -2.50,+3e0 ,.5] '::embedding::text, '[1,-2.5,3,0.5]', 'space and other spellings of numbers');
SELECT is('[-0]'::embedding::text, '[-0]', 'negative zero keeps its sign');
SELECT is('[65504,-65504,2049,2051]'::embedding::text, '[65504,-65504,2048,2052]',
          'integers in full; from 2048 on halves are even, and ties go to the multiple of 4');
SELECT is('[1e-4,0.00009,6e-8,1e-9]'::embedding::text, '[0.0001,9e-05,6e-08,0]',
          'an exponent below 1e-4, as real has; what is too small is 0');
SELECT is('[65519.99]'::embedding::text, '[65504]', 'below the middle to the next half is in range');
SELECT is('[1.00048828125]'::embedding::text, '[1]', 'a tie goes to the even mantissa');
SELECT is('[1.000488281250001]'::embedding::text, '[1.001]',
          'just above a tie goes up, though as a float it would be the tie');
SELECT is((SELECT md5(string_agg(btrim(embedding::text, '[]'), ',' ORDER BY part)) FROM every WHERE sign = 1),
          '907b6b30273cd4ecdc25e81655f0972f',
          'shortest decimals: as numpy''s format_float_positional(unique), scientific below 1e-4, integers in full');
SELECT is((SELECT count(*) FROM every WHERE embedding::text::embedding::text = embedding::text
                                        AND embedding_send(embedding::text::embedding) = embedding_send(embedding)),
          4::bigint, 'every finite half survives the text form, bit for bit');

CREATE FUNCTION pg_temp.detail(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text; message text; detail text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    RETURN format('%s %s|%s', state, message, detail);
END $$;

CREATE FUNCTION pg_temp.reading(input text) RETURNS text LANGUAGE sql AS
$$SELECT replace(pg_temp.detail(format('SELECT %L::embedding', input)), 'invalid input syntax for type embedding', 'syntax')$$;

SELECT is(pg_temp.reading(''), '22P02 syntax|Component 1, character 1: expected "[", found the end.', 'empty text');
SELECT is(pg_temp.reading('1,2]'), '22P02 syntax|Component 1, character 1: expected "[", found "1".', 'no bracket');
SELECT is(pg_temp.reading('{1,2}'), '22P02 syntax|Component 1, character 1: expected "[", found "{".', 'an array''s braces');
SELECT is(pg_temp.reading('[]'), '22P02 syntax|Component 1, character 2: expected a number, found "]".', 'no components');
SELECT is(pg_temp.reading('['), '22P02 syntax|Component 1, character 2: expected a number, found the end.', 'a bracket only');
SELECT is(pg_temp.reading('[1,2'), '22P02 syntax|Component 2, character 5: expected "," or "]", found the end.', 'not closed');
SELECT is(pg_temp.reading('[1,,2]'), '22P02 syntax|Component 2, character 4: expected a number, found ",".', 'a component is missing');
SELECT is(pg_temp.reading('[1,2,]'), '22P02 syntax|Component 3, character 6: expected a number, found "]".', 'a comma too many');
SELECT is(pg_temp.reading('[1 2]'), '22P02 syntax|Component 1, character 4: expected "," or "]", found "2".', 'a comma is missing');
SELECT is(pg_temp.reading('[1,2]]'), '22P02 syntax|Component 2, character 6: expected nothing more, found "]".', 'more after the end');
SELECT is(pg_temp.reading('[äö]'), '22P02 syntax|Component 1, character 2: expected a number, found "ä".', 'a letter of two bytes');
SELECT is(pg_temp.reading('[1, é]'), '22P02 syntax|Component 2, character 5: expected a number, found "é".', 'positions count characters');
SELECT is(pg_temp.reading('[0x10]'), '22P02 syntax|Component 1, character 2: expected a number, found "0".', 'hexadecimal numbers are none');
SELECT is(pg_temp.reading('[1,1.5.2]'), '22P02 syntax|Component 2, character 7: expected "," or "]", found ".".', 'two points');
SELECT is(pg_temp.reading('[1,NaN]'), '22003 embedding out of range|Component 2 is NaN.', 'NaN');
SELECT is(pg_temp.reading('[-Infinity]'), '22003 embedding out of range|Component 1 is -Infinity.', 'infinity');
SELECT is(pg_temp.reading('[0,0,1e5]'), '22003 embedding out of range|Component 3 is 100000.', 'beyond a half');
SELECT is(pg_temp.reading('[65520]'), '22003 embedding out of range|Component 1 is 65520.', 'the middle to the next half is out of range');
SELECT is(pg_temp.reading('[1e999]'), '22003 embedding out of range|Component 1 is Infinity.', 'beyond a double');

-- dimensions and the type modifier
SELECT is(dims('[1,2,3]'), 3, 'dims');
SELECT is(dims(('[' || repeat('0.5,', 15999) || '0.5]')::embedding), 16000, 'as many dimensions as there may be');
SELECT is(pg_temp.detail($$SELECT ('[' || repeat('0.5,', 16000) || '0.5]')::embedding$$),
          '54000 an embedding cannot have more than 16000 dimensions|This one would have 16001.', 'one more');
SELECT is('[1,2,3]'::embedding(3)::text, '[1,2,3]', 'declared dimensions that are met');
SELECT is(pg_temp.detail($$SELECT '[1,2]'::embedding(3)$$),
          '22000 embedding has the wrong number of dimensions|embedding(3) was declared, the value has 2 dimensions.',
          'declared dimensions that are not met');
SELECT throws_ok($$SELECT '[1,2]'::embedding(0)$$, '22023', 'the dimensions of the type embedding must be between 1 and 16000',
                 'no dimensions cannot be declared');
SELECT throws_ok($$SELECT '[1,2]'::embedding(16001)$$, '22023', 'the dimensions of the type embedding must be between 1 and 16000',
                 'nor too many');
SELECT throws_ok($$SELECT '[1,2]'::embedding(1,2)$$, '22023', 'the type embedding takes one modifier, its number of dimensions',
                 'nor two numbers');

CREATE TABLE shelf (id int, e embedding(3));
SELECT is((SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'shelf'::regclass AND attname = 'e'),
          'embedding(3)', 'a column shows its dimensions');
SELECT is((SELECT attstorage FROM pg_attribute WHERE attrelid = 'shelf'::regclass AND attname = 'e'), 'e'::"char",
          'stored without compression');
SELECT lives_ok($$INSERT INTO shelf VALUES (1, '[1,2,3]'), (2, NULL)$$, 'text and NULL go into a column');
SELECT lives_ok($$INSERT INTO shelf VALUES (3, '{1,2,4}'::real[])$$, 'real[] is assigned without a cast');
SELECT lives_ok($$INSERT INTO shelf VALUES (4, ARRAY[1, 2, 5])$$, 'integer[] is');
SELECT lives_ok($$INSERT INTO shelf VALUES (5, ARRAY[1, 2, 5.5])$$, 'numeric[] is');
SELECT lives_ok($$INSERT INTO shelf VALUES (6, '{1,2,6}'::float8[])$$, 'double precision[] is');
SELECT results_eq($$SELECT id, e::text FROM shelf ORDER BY id$$,
                  $$VALUES (1, '[1,2,3]'), (2, NULL), (3, '[1,2,4]'), (4, '[1,2,5]'), (5, '[1,2,5.5]'), (6, '[1,2,6]')$$,
                  'and all arrive');
SELECT throws_ok($$INSERT INTO shelf VALUES (7, '[1,2]')$$, '22000', 'embedding has the wrong number of dimensions',
                 'a column refuses text of other dimensions');
SELECT throws_ok($$INSERT INTO shelf VALUES (7, '{1,2}'::real[])$$, '22000', 'embedding has the wrong number of dimensions',
                 'an array of other dimensions');
SELECT throws_ok($$INSERT INTO shelf SELECT 7, e FROM (VALUES ('[1]'::embedding)) v (e)$$, '22000',
                 'embedding has the wrong number of dimensions', 'and an embedding of other dimensions');

-- large values: out of line, and compressed where somebody asks for it
CREATE TABLE attic (e embedding);
INSERT INTO attic SELECT array_fill(0.5::real, ARRAY[16000])::embedding;
SELECT is((SELECT pg_column_size(e) FROM attic), 32004, 'out of line it takes 2 bytes a dimension and 4, uncompressed');
ALTER TABLE attic ALTER e SET STORAGE extended;
INSERT INTO attic SELECT array_fill(0.25::real, ARRAY[16000])::embedding;
SELECT cmp_ok((SELECT min(pg_column_size(e)) FROM attic), '<', 1000, 'a column may be compressed all the same');
SELECT results_eq($$SELECT dims(e), l2_norm(e) FROM attic ORDER BY e$$,
                  $$VALUES (16000, sqrt(1000::float8)), (16000, sqrt(4000::float8))$$, 'and both read back');

-- casts
SELECT is('[1,-2.5]'::embedding::real[], '{1,-2.5}'::real[], 'to real[]');
SELECT is('[1,-2.5]'::embedding::float8[], '{1,-2.5}'::float8[], 'to double precision[]');
SELECT is(pg_typeof('[1]'::embedding::real[])::text, 'real[]', 'of that type');
SELECT is('{0.1,65504}'::real[]::embedding::text, '[0.1,65504]', 'from real[]');
SELECT is('{1.000488281250001}'::float8[]::embedding::text, '[1.001]', 'from double precision[], rounded once');
SELECT is('{1,-7}'::int[]::embedding(2)::text, '[1,-7]', 'from integer[]');
SELECT is('{1.25,-7}'::numeric[]::embedding::text, '[1.25,-7]', 'from numeric[]');
SELECT is('[3:4]={1,2}'::real[]::embedding::text, '[1,2]', 'an array that begins at another subscript');
SELECT is((SELECT count(*) FROM every WHERE embedding::float8[] = numbers), 4::bigint,
          'every finite half has the value of its bits');
SELECT is((SELECT count(*) FROM every WHERE embedding_send(embedding::real[]::embedding) = embedding_send(embedding)),
          4::bigint, 'and survives real[]');
SELECT throws_ok($$SELECT '{1,NULL}'::real[]::embedding$$, '22004', 'a component of an embedding cannot be NULL', 'NULL elements');
SELECT throws_ok($$SELECT '{{1,2},{3,4}}'::real[]::embedding$$, '2202E', 'an embedding is made from an array of one dimension',
                 'a matrix');
SELECT throws_ok($$SELECT '{}'::real[]::embedding$$, '22000', 'an embedding must have at least 1 dimension', 'an empty array');
SELECT throws_ok($$SELECT array_fill(0::real, ARRAY[16001])::embedding$$, '54000',
                 'an embedding cannot have more than 16000 dimensions', 'a long array');
SELECT is(pg_temp.detail($$SELECT '{1,2}'::real[]::embedding(3)$$),
          '22000 embedding has the wrong number of dimensions|embedding(3) was declared, the value has 2 dimensions.',
          'an array of other dimensions than declared');
SELECT is(pg_temp.detail($$SELECT '{1,NaN}'::real[]::embedding$$), '22003 embedding out of range|Component 2 is NaN.', 'NaN in real[]');
SELECT is(pg_temp.detail($$SELECT '{-Infinity}'::float8[]::embedding$$), '22003 embedding out of range|Component 1 is -Infinity.',
          'infinity in double precision[]');
SELECT is(pg_temp.detail($$SELECT '{NaN}'::numeric[]::embedding$$), '22003 embedding out of range|Component 1 is NaN.', 'NaN in numeric[]');
SELECT is(pg_temp.detail($$SELECT '{1,70000}'::int[]::embedding$$), '22003 embedding out of range|Component 2 is 70000.',
          'beyond a half in integer[]');

-- binary form
SELECT is(embedding_send('[1,-2]'), '\x000200003c00c000'::bytea, 'dimensions, 0, and the halves 3C00 and C000');

CREATE TABLE received (e embedding(2));
CREATE FUNCTION pg_temp.receive(field bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message bytea := '\x5047434f50590aff0d0a00' || '\x0000000000000000'::bytea  -- signature, flags, extension
                     || '\x0001'::bytea || int4send(length(field)) || field || '\xffff'::bytea;
    escaped text := (SELECT string_agg(format('\0%s%s%s', b >> 6, b >> 3 & 7, b & 7), '' ORDER BY i)
                     FROM generate_series(0, length(message) - 1) i, get_byte(message, i) b);
BEGIN
    TRUNCATE received;
    EXECUTE format('COPY received FROM PROGRAM %L (FORMAT binary)', format('printf %%b ''%s''', escaped));
    RETURN (SELECT e::text FROM received);
END $$;
SELECT is(pg_temp.receive('\x000200003c00c000'), '[1,-2]', 'a field received');
SELECT throws_ok($$SELECT pg_temp.receive('\x000200003c00c00000')$$, '22P03', 'invalid binary form of an embedding', 'a byte too many');
SELECT throws_ok($$SELECT pg_temp.receive('\x000200003c00')$$, '22P03', 'invalid binary form of an embedding', 'a component missing');
SELECT throws_ok($$SELECT pg_temp.receive('\x000200013c00c000')$$, '22P03', 'invalid binary form of an embedding', 'not 0 where 0 belongs');
SELECT throws_ok($$SELECT pg_temp.receive('\x0002')$$, '08P01', NULL, 'half a header');
SELECT throws_ok($$SELECT pg_temp.receive('\x00000000')$$, '22000', 'an embedding must have at least 1 dimension', 'no dimensions');
SELECT throws_ok($$SELECT pg_temp.receive('\x3e810000')$$, '54000',
                 'an embedding cannot have more than 16000 dimensions', 'too many dimensions');
SELECT is(pg_temp.detail($$SELECT pg_temp.receive('\x000200003c007e00')$$), '22003 embedding out of range|Component 2 is NaN.', 'NaN');
SELECT is(pg_temp.detail($$SELECT pg_temp.receive('\x00020000fc003c00')$$), '22003 embedding out of range|Component 1 is -Infinity.', 'infinity');
SELECT throws_ok($$SELECT pg_temp.receive('\x000100003c00')$$, '22000', 'embedding has the wrong number of dimensions',
                 'other dimensions than declared');

-- in the data folder, named as what a base backup leaves out
COPY (SELECT embedding FROM every ORDER BY sign, part) TO PROGRAM 'cat >pgsql_tmp_br_embedding_test' (FORMAT binary);
CREATE TABLE copied (i int GENERATED ALWAYS AS IDENTITY, e embedding(15872));
COPY copied (e) FROM PROGRAM 'cat pgsql_tmp_br_embedding_test && rm pgsql_tmp_br_embedding_test' (FORMAT binary);
SELECT results_eq($$SELECT embedding_send(e) FROM copied ORDER BY i$$,
                  $$SELECT embedding_send(embedding) FROM every ORDER BY sign, part$$,
                  'every finite half survives COPY in binary, bit for bit');

-- distances
SELECT is('[1,2]'::embedding <-> '[4,6]', 5::float8, 'Euclidean distance of a 3-4-5 triangle');
SELECT is('[1,2]'::embedding <#> '[3,4]', -11::float8, 'negative inner product');
SELECT is(inner_product('[1,2]', '[3,4]'), 11::float8, 'inner product');
SELECT is('[1,2]'::embedding <=> '[3,4]', 1 - 11 / sqrt(125::float8), 'cosine distance');
SELECT is((SELECT array_agg(e <=> e) FROM (VALUES ('[0.1,0.2,0.7]'::embedding), ('[6e-08]'), ('[65504,65504]')) v (e)),
          '{0,0,0}'::float8[], 'of itself 0');
SELECT is('[1,2]'::embedding <=> '[-2,-4]', 2::float8, 'of the opposite 2');
SELECT is('[1,0]'::embedding <=> '[0,3]', 1::float8, 'of orthogonal ones 1');
SELECT is('[0,0]'::embedding <=> '[1,2]', 1::float8, 'of zero 1');
SELECT is(('[1,0]'::embedding <#> '[0,3]')::text, '0', 'orthogonal ones have no inner product of -0');
SELECT is('[65504]'::embedding <-> '[-65504]', 131008::float8, 'the ends of the range');
SELECT is(array_fill(65504, ARRAY[16000])::embedding <#> array_fill(65504, ARRAY[16000])::embedding,
          -16000 * 65504::float8 ^ 2, 'the largest of all inner products');
SELECT is(l2_norm('[3,-4]'), 5::float8, 'length');
SELECT is(l2_normalize('[3,-4]')::text, '[0.6,-0.8]', 'to length 1');
SELECT is(l2_normalize('[6e-08,0]')::text, '[1,0]', 'the smallest one too');
SELECT is(l2_normalize('[0,0]')::text, '[0,0]', 'zero stays zero');

-- 384 exact fractions whose products' sums are exact in double, in whatever order
CREATE TEMP VIEW wave AS
SELECT i, ((i * 37) % 101 - 50) / 64::float8 AS a, ((i * 53) % 89 - 44) / 32::float8 AS b FROM generate_series(1, 384) i;
CREATE TEMP VIEW waves AS
SELECT array_agg(a ORDER BY i)::embedding AS a, array_agg(b ORDER BY i)::embedding AS b FROM wave;
SELECT is((SELECT inner_product(a, b) FROM waves), (SELECT sum(a * b) FROM wave), 'inner product of 384 dimensions');
SELECT is((SELECT a <-> b FROM waves), (SELECT sqrt(sum((a - b) ^ 2)) FROM wave), 'Euclidean distance');
SELECT is((SELECT a <=> b FROM waves), (SELECT 1 - sum(a * b) / sqrt(sum(a ^ 2) * sum(b ^ 2)) FROM wave), 'cosine distance');

SELECT is(pg_temp.detail(format($$SELECT '[1,2]'::embedding %s '[1,2,3]'$$, operator)),
          '22000 embeddings have different numbers of dimensions|One has 2 dimensions, the other 3.',
          operator || ' refuses other dimensions')
FROM unnest('{<=>,<->,<#>,+,-,*}'::text[]) operator;

-- arithmetic
SELECT is(('[1,2]'::embedding + '[0.5,-2]')::text, '[1.5,0]', '+');
SELECT is(('[1,2]'::embedding - '[0.5,-2]')::text, '[0.5,4]', '-');
SELECT is(('[1,2]'::embedding * '[0.5,-2]')::text, '[0.5,-4]', '*');
SELECT is(('[2048]'::embedding + '[1]')::text, '[2048]', 'rounded to half: 2049 is none');
SELECT is(pg_temp.detail($$SELECT '[1,65504]'::embedding + '[1,16]'$$), '22003 embedding out of range|Component 2 is 65520.',
          'a sum beyond a half');
SELECT is(pg_temp.detail($$SELECT '[-300]'::embedding * '[300]'$$), '22003 embedding out of range|Component 1 is -90000.',
          'a product beyond a half');

-- order and equality
SELECT results_eq($$SELECT e::text AS shown FROM (VALUES ('[1,0]'::embedding), ('[-1]'), ('[1]'), ('[0.5,9]'), ('[-2,5]'), (NULL), ('[6e-08]'),
                                                ('[0]'), ('[1,-1]')) v (e) ORDER BY e$$,
                  $$VALUES ('[-2,5]'), ('[-1]'), ('[0]'), ('[6e-08]'), ('[0.5,9]'), ('[1]'), ('[1,-1]'), ('[1,0]'), (NULL)$$,
                  'by component, then by dimensions');
SELECT is((SELECT count(*) FROM (
               SELECT value, lag(value) OVER (ORDER BY ARRAY[value]::embedding) AS before
               FROM (SELECT value FROM half UNION ALL SELECT -value FROM half WHERE bits > 0) signed) sorted
           WHERE before < value), 63486::bigint, 'all finite halves sort as their values do');
SELECT ok('[1,2]'::embedding < '[1,3]' AND '[1,2]'::embedding <= '[1,2]' AND '[1,2]'::embedding = '[1,2]'
          AND '[1,2]'::embedding >= '[1,2]' AND '[2]'::embedding > '[1,3]' AND '[1]'::embedding <> '[1,0]',
          'comparisons that hold');
SELECT ok(NOT ('[1,2]'::embedding < '[1,2]' OR '[1,3]'::embedding <= '[1,2]' OR '[1]'::embedding = '[1,0]'
          OR '[1]'::embedding >= '[1,0]' OR '[1]'::embedding > '[1]' OR '[1]'::embedding <> '[1]'),
          'and that do not');
SELECT ok('[-0,1]'::embedding = '[0,1]' AND embedding_hash('[-0,1]') = embedding_hash('[0,1]')
          AND embedding_hash_extended('[-0,1]', 7) = embedding_hash_extended('[0,1]', 7), '-0 equals 0 and hashes alike');
SELECT is((SELECT count(*) FROM every
           WHERE int4send(embedding_hash(embedding)) = substr(int8send(embedding_hash_extended(embedding, 0)), 5)),
          4::bigint, 'the 64-bit hash with seed 0 ends in the 32-bit one');
SELECT is((SELECT count(DISTINCT embedding_hash(ARRAY[value]::embedding)) FROM half), 31744::bigint, 'hashes of all halves differ');
SELECT ok(bool_and(amvalidate(oid)), 'operator classes are valid')
FROM pg_opclass WHERE opcintype = 'embedding'::regtype;
SELECT is((SELECT count(DISTINCT e) FROM (VALUES ('[1]'::embedding), ('[1]'), ('[0]'), ('[-0]'), (NULL)) v (e)), 2::bigint,
          'distinct');

CREATE TABLE sorted AS SELECT i, ARRAY[i % 500, i]::embedding AS e FROM generate_series(1, 2000) i;
CREATE UNIQUE INDEX sorted_key ON sorted (e);
SELECT throws_ok($$INSERT INTO sorted SELECT 0, e FROM sorted WHERE i = 77$$, '23505', NULL, 'a unique index refuses what is there');
CREATE FUNCTION pg_temp.plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE line text; lines text := '';
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP lines := lines || line || E'\n'; END LOOP;
    RETURN lines;
END $$;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT matches(pg_temp.plan_of($$SELECT i FROM sorted WHERE e = '[277,777]'$$), 'Index Scan using sorted_key', 'the index is used');
SELECT is((SELECT i FROM sorted WHERE e = '[277,777]'), 777, 'and finds');
SELECT results_eq($$SELECT i FROM sorted WHERE e >= '[498]' ORDER BY e$$, $$VALUES (498), (998), (1498), (1998), (499), (999), (1499), (1999)$$,
                  'and sorts');
RESET enable_seqscan;
RESET enable_bitmapscan;
SET enable_mergejoin = off;
SET enable_nestloop = off;
SELECT matches(pg_temp.plan_of($$SELECT 1 FROM sorted a JOIN sorted b USING (e)$$), 'Hash Join', 'hash joins are possible');
SELECT is((SELECT count(*) FROM sorted a JOIN sorted b USING (e) WHERE a.i = b.i), 2000::bigint, 'and right');
RESET enable_mergejoin;
RESET enable_nestloop;

-- aggregates
SELECT is((SELECT avg(e)::text FROM (VALUES ('[1,2]'::embedding), (NULL), ('[2,5]')) v (e)), '[1.5,3.5]', 'avg skips NULL');
SELECT is((SELECT sum(e)::text FROM (VALUES ('[1,2]'::embedding), (NULL), ('[2,5]')) v (e)), '[3,7]', 'so does sum');
SELECT is((SELECT avg(e) FROM shelf WHERE false), NULL, 'avg of nothing');
SELECT is((SELECT sum(e) FROM shelf WHERE false), NULL, 'sum of nothing');
SELECT is((SELECT avg(e) FROM shelf WHERE e IS NULL), NULL, 'avg of NULLs');
SELECT is((SELECT avg(e)::text FROM (VALUES ('[65504,-65504]'::embedding), ('[65504,-65504]')) v (e)), '[65504,-65504]',
          'an average is in range where the sum is not');
SELECT is(pg_temp.detail($$SELECT sum(e) FROM (VALUES ('[65504]'::embedding), ('[65504]')) v (e)$$),
          '22003 embedding out of range|Component 1 is 131008.', 'such a sum is an error');
SELECT is(pg_temp.detail($$SELECT avg(e) FROM (VALUES ('[1]'::embedding), ('[1,2]')) v (e)$$),
          '22000 embeddings have different numbers of dimensions|One has 1 dimensions, the other 2.', 'dimensions must agree');
SELECT is((SELECT avg(ARRAY[i]::embedding)::text FROM generate_series(1, 2047) i), '[1024]',
          'rounded once: in half the sum would have stuck');
SELECT results_eq($$SELECT i, (sum(ARRAY[i, 1]::embedding) OVER (ORDER BY i))::text FROM generate_series(1, 3) i$$,
                  $$VALUES (1, '[1,1]'), (2, '[3,2]'), (3, '[6,3]')$$, 'a running sum');
SELECT results_eq($$SELECT g, avg(ARRAY[i, g]::embedding)::text FROM generate_series(1, 9) i, LATERAL (SELECT i % 3) m (g) GROUP BY g ORDER BY g$$,
                  $$VALUES (0, '[6,0]'), (1, '[4,1]'), (2, '[5,2]')$$, 'groups');

CREATE TABLE crowd AS
SELECT i % 7 AS g, (SELECT array_agg(sin(i * j)) FROM generate_series(1, 300) j)::embedding AS e FROM generate_series(1, 3000) i;
ALTER TABLE crowd SET (parallel_workers = 2);
ANALYZE crowd;
SET max_parallel_workers_per_gather = 0;
CREATE TEMP TABLE serial AS SELECT g, avg(e), sum(e) FROM crowd GROUP BY g;
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT matches(pg_temp.plan_of('SELECT g, avg(e), sum(e) FROM crowd GROUP BY g'), 'Partial (Hash|Group)Aggregate', 'aggregates run in parallel');
SELECT results_eq($$SELECT g, avg(e), sum(e) FROM crowd GROUP BY g ORDER BY g$$, $$SELECT * FROM serial ORDER BY g$$,
                  'parallel results equal serial ones');
SELECT is((SELECT count(*) FROM serial s, LATERAL unnest(s.sum::float8[]) WITH ORDINALITY u (total, j)
           WHERE abs(total - (SELECT sum((e::float8[])[j]) FROM crowd WHERE crowd.g = s.g)) > 2 ^ -11 * greatest(abs(total), 2 ^ -13)),
          0::bigint, 'and those equal the sums of the components, rounded');
RESET max_parallel_workers_per_gather;

SELECT is(embedding_combine('{0}', '{2,5,7}'), '{2,5,7}'::float8[], 'an empty state joined with another');
SELECT is(embedding_combine('{2,5,7}', '{0}'), '{2,5,7}'::float8[], 'and the other way round');
SELECT is(embedding_combine('{2,5,7}', '{1,1,-1}'), '{3,6,6}'::float8[], 'two states joined');
SELECT throws_ok($$SELECT embedding_combine('{2,5,7}', '{1,1}')$$, '22000', 'embeddings have different numbers of dimensions',
                 'states of different dimensions');
SELECT is((SELECT count(*) FROM unnest('{"{}","{1}","{0,1}","{-1,2}","{NaN,2}","{1,NULL}","{{1,2}}"}'::text[]) state
           WHERE pg_temp.detail(format('SELECT embedding_accumulate(%L, ''[1]'')', state))
                 LIKE '22023 invalid state of an aggregate of embeddings|%'), 7::bigint, 'arrays that are no states');

-- NULL, and types of results
SELECT is((SELECT count(*) FROM (VALUES (NULL::embedding)) v (e)
           WHERE num_nonnulls(e <=> '[1]', '[1]' <=> e, e <-> '[1]', e <#> '[1]', e + '[1]', e - '[1]', e * '[1]', e = '[1]', e < '[1]',
                              inner_product('[1]', e), l2_norm(e), l2_normalize(e), dims(e), e::real[], e::float8[], e::text,
                              e::embedding(3), NULL::real[]::embedding(3)) = 0), 1::bigint, 'NULL in, NULL out');
SELECT is((SELECT array_agg(pg_typeof(x)::text) FROM (SELECT '[1]'::embedding <=> '[1]' UNION ALL SELECT '[1]'::embedding <-> '[1]'
                                                      UNION ALL SELECT '[1]'::embedding <#> '[1]') v (x)),
          ARRAY['double precision', 'double precision', 'double precision'], 'distances are double precision');
SELECT is(ARRAY[pg_typeof('[1]'::embedding + '[1]'), pg_typeof('[1]'::embedding - '[1]'), pg_typeof('[1]'::embedding * '[1]'),
                pg_typeof(l2_normalize('[1]')), pg_typeof((SELECT avg(e) FROM shelf)), pg_typeof((SELECT sum(e) FROM shelf))],
          array_fill('embedding'::regtype, ARRAY[6]), 'arithmetic and aggregates give embeddings');

SELECT * FROM finish();

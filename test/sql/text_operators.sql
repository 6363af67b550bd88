\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- text_operators.sql
--    Distances between texts: those of their embeddings, under the model that
--    is meant at that moment, and how often a text is embedded for them.
--
SELECT plan(25);

SELECT :'golden_dir' || '/models/tiny-bert-cls' AS cls_dir,
       :'golden_dir' || '/models/tiny-bert-cased-max-dense' AS dense_dir \gset
SET bundle_rec.backend = 'portable';

CREATE FUNCTION pg_temp.tokens() RETURNS bigint LANGUAGE sql AS $$
    SELECT sum(tokens)::bigint FROM model m, model_info(m.name)
$$;

SELECT throws_ok($$SELECT 'a'::text <=> 'b'$$, '42704', 'there is no model', 'a model is needed');
SELECT is(NULL::text <=> 'b', NULL, 'but not to compare NULL');
SELECT load_model('cls', :'cls_dir') \g /dev/null

-- the golden file's reference embeddings, in double arithmetic

CREATE TEMP TABLE golden AS
SELECT n, r ->> 'text' AS text, ARRAY(SELECT e::float8 FROM jsonb_array_elements_text(r -> 'embedding') WITH ORDINALITY a (e, i) ORDER BY i) AS embedding
FROM jsonb_array_elements(pg_read_file(:'golden_dir' || '/tiny-bert-cls.json')::jsonb -> 'rows') WITH ORDINALITY a (r, n)
WHERE tokenize(r ->> 'text') = tokenize(r ->> 'text', parse_special => true) LIMIT 40;
CREATE TEMP TABLE expected AS
SELECT l.text AS left_text, r.text AS right_text, 1 - dot / sqrt(left_square * right_square) AS cosine, -dot AS product,
       sqrt(greatest(0, left_square + right_square - 2 * dot)) AS l2, sqrt(left_square * right_square) AS size
FROM golden l JOIN golden r ON r.n = l.n + 1,
     LATERAL (SELECT sum(x * y) AS dot, sum(x * x) AS left_square, sum(y * y) AS right_square
              FROM unnest(l.embedding, r.embedding) u (x, y)) s;
SELECT cmp_ok((SELECT count(*) FROM expected), '>=', 20::bigint, 'pairs of golden texts are compared');
SELECT is_empty('SELECT * FROM expected WHERE (abs((left_text <=> right_text) - cosine) < 1e-3) IS NOT TRUE', '<=> is the cosine distance of the reference''s embeddings');
SELECT is_empty('SELECT * FROM expected WHERE (abs((left_text <#> right_text) - product) < 1e-3 * size) IS NOT TRUE', '<#> is their negative inner product');
SELECT is_empty('SELECT * FROM expected WHERE (abs((left_text <-> right_text) - l2) < 1e-3 * sqrt(size)) IS NOT TRUE', '<-> is their Euclidean distance');

-- exactly what the operators on embeddings give

SELECT is('tent'::text <=> 'stove'::text, embed('tent') <=> embed('stove'), '<=> is that of the embeddings');
SELECT is('tent'::text <#> 'stove'::text, embed('tent') <#> embed('stove'), '<#> is that of the embeddings');
SELECT is('tent'::text <-> 'stove'::text, embed('tent') <-> embed('stove'), '<-> is that of the embeddings');
SELECT is(text_cosine_distance('tent', 'stove'), 'stove'::text <=> 'tent'::text, 'text_cosine_distance is the operator, from either side');
SELECT is(text_negative_inner_product('tent', 'stove'), 'stove'::text <#> 'tent'::text, 'text_negative_inner_product is');
SELECT is(text_l2_distance('tent', 'stove'), 'stove'::text <-> 'tent'::text, 'text_l2_distance is');
SELECT is(''::text <=> 'tent', embed('') <=> embed('tent'), 'the empty text has an embedding');
SELECT is('tent'::text <=> NULL, NULL, 'NULL is near to nothing');
SELECT is('[CLS]'::text <=> 'tent', embed('[CLS]') <=> embed('tent'), 'special tokens in a text are plain text');
SELECT is(a <=> b, embed('tent') <=> embed('stove'), 'collations mean nothing to it, and need not agree')
FROM (SELECT 'tent' COLLATE "C" AS a, 'stove'::varchar COLLATE "POSIX" AS b) t;
SELECT results_eq($$SELECT provolatile, proparallel, proisstrict, procost >= 100000 FROM pg_proc WHERE proname ~ '^text_(cosine|neg|l2)'$$,
                  $$VALUES ('s'::"char", 's'::"char", true, true), ('s', 's', true, true), ('s', 's', true, true)$$, 'they are stable, parallel safe, strict and dear');

-- a query is embedded once, and a row once

SET bundle_rec.query_cache = 0;
SELECT pg_temp.tokens() AS before \gset
SELECT sum(t <=> 'one query') FROM unnest('{tent,stove,lamp}'::text[]) t \g /dev/null
SELECT is(pg_temp.tokens() - :before,
          (SELECT sum(array_length(tokenize(t), 1)) FROM unnest('{tent,stove,lamp,one query}'::text[]) t)::bigint,
          'what stays on one side is embedded once');
RESET bundle_rec.query_cache;

-- the model that is meant

SELECT load_model('dense', :'dense_dir') \g /dev/null
SELECT throws_ok($$SELECT 'a'::text <=> 'b'$$, '42704', 'there are several models and none is named', 'with several models one must be named');
CREATE TEMP TABLE answer (model text, distance float8);
DO $$
DECLARE
    model text;
BEGIN
    -- one expression, prepared once
    FOREACH model IN ARRAY '{cls,dense,cls}'::text[] LOOP
        PERFORM set_config('bundle_rec.default_model', model, false);
        INSERT INTO answer VALUES (model, 'tent'::text <=> 'stove');
    END LOOP;
END $$;
SELECT results_eq('SELECT distance FROM answer', $$SELECT embed('tent', m) <=> embed('stove', m) FROM unnest('{cls,dense,cls}'::text[]) m$$,
                  'each statement takes the model of its moment');
SET bundle_rec.default_model = 'none';
SELECT throws_ok($$SELECT 'a'::text <=> 'b'$$, '42704', 'model "none" does not exist', 'one that is not there is none');
SET bundle_rec.default_model = 'dense';
PREPARE compare AS SELECT 'tent'::text <=> 'stove';
SELECT results_eq('compare', $$SELECT embed('tent') <=> embed('stove')$$, 'a prepared statement');
BEGIN;
SAVEPOINT before;
SELECT drop_model('dense'), load_model('dense', :'cls_dir') \g /dev/null
SELECT results_eq('compare', $$SELECT embed('tent', 'cls') <=> embed('stove', 'cls')$$, 'sees a model that was replaced');
ROLLBACK TO before;
SELECT isnt((SELECT 'tent'::text <=> 'stove'), embed('tent', 'cls') <=> embed('stove', 'cls'), 'and what a rollback has brought back');
SELECT results_eq('compare', $$SELECT embed('tent') <=> embed('stove')$$, 'also when it is prepared');
ROLLBACK;

SELECT * FROM finish();

\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- encoder.sql
--    Token ids and embeddings against the reference implementation (test/golden),
--    in both backends.
--
SELECT plan(72);

SELECT :'golden_dir' || '/models' AS models \gset

-- rows of a golden file, by model
CREATE TEMP TABLE golden (model text, n bigint, content text, ids int[], embedding float8[]);

CREATE FUNCTION pg_temp.read_golden(model text, path text) RETURNS void
LANGUAGE sql BEGIN ATOMIC
    INSERT INTO golden
    SELECT model, r.n, r.value ->> 'text',
           ARRAY(SELECT e::int FROM jsonb_array_elements_text(r.value -> 'ids') WITH ORDINALITY a (e, i) ORDER BY i),
           ARRAY(SELECT e::float8 FROM jsonb_array_elements_text(r.value -> 'embedding') WITH ORDINALITY a (e, i) ORDER BY i)
    FROM jsonb_array_elements(pg_read_file(path)::jsonb -> 'rows') WITH ORDINALITY r (value, n);
END;

-- what this extension makes of the same texts
CREATE TEMP TABLE ours (model text, n bigint, ids int[], embedding float8[]);

CREATE FUNCTION pg_temp.compute(model text) RETURNS void
LANGUAGE sql BEGIN ATOMIC
    INSERT INTO ours
    SELECT g.model, g.n, bundle_rec.tokenize(g.content, g.model, parse_special => true),
           bundle_rec.embed(g.content, g.model, parse_special => true)::real[]::float8[]
    FROM golden g WHERE g.model = compute.model;
END;

-- one row per pair of embeddings: cosine, and by how much a component is off.
-- A half has 11 significant bits; 1e-5 of the largest component is left to f32.
CREATE TEMP VIEW compared AS
SELECT g.model, g.n, g.ids = o.ids AS same_ids, c.cosine, c.excess
FROM golden g JOIN ours o USING (model, n),
     LATERAL (SELECT sum(x * y) / sqrt(sum(x * x) * sum(y * y)) AS cosine,
                     max(abs(x - y) - abs(x) * 2 ^ -11) / max(abs(x)) AS excess
              FROM unnest(g.embedding, o.embedding) AS u (x, y)) c;

-- TAP for one model: 6 assertions
CREATE FUNCTION pg_temp.parity(model text, at_least bigint) RETURNS SETOF text
LANGUAGE plpgsql AS $$
BEGIN
    RETURN NEXT cmp_ok((SELECT count(*) FROM compared c WHERE c.model = parity.model), '>=', at_least,
                       model || ': every golden text is compared');
    RETURN NEXT is((SELECT count(*) FROM golden g WHERE g.model = parity.model),
                   (SELECT count(*) FROM compared c WHERE c.model = parity.model),
                   model || ': none is left out');
    RETURN NEXT is_empty(format('SELECT n FROM compared WHERE model = %L AND same_ids IS NOT TRUE', model),
                         model || ': token ids are identical');
    RETURN NEXT is_empty(format('SELECT n, cosine FROM compared WHERE model = %L AND (cosine >= .9999) IS NOT TRUE', model),
                         model || ': cosine is at least .9999 on every row');
    RETURN NEXT is_empty(format('SELECT n, excess FROM compared WHERE model = %L AND (excess <= 1e-5) IS NOT TRUE', model),
                         model || ': no component is off by more than a half rounds');
    -- packed together, texts stay apart; sums may differ in their last bits
    RETURN NEXT is_empty(format(
        $q$SELECT o.n FROM ours o
           JOIN unnest((SELECT bundle_rec.embed(array_agg(content ORDER BY n), %1$L, parse_special => true)
                        FROM golden WHERE model = %1$L)) WITH ORDINALITY b (embedding, n) USING (n)
           WHERE o.model = %1$L AND EXISTS (
               SELECT FROM unnest(o.embedding, b.embedding::real[]) u (x, y)
               WHERE abs(x - y) > 1e-3 * greatest(abs(x), .1))$q$, model),
        model || ': as an array the texts have the same embeddings');
END $$;

SELECT load_model(name, :'models' || '/' || name)
FROM unnest('{tiny-bert-cls,tiny-bert-cased-max-dense}'::text[]) name \g /dev/null
SELECT pg_temp.read_golden(name, :'golden_dir' || '/' || name || '.json')
FROM unnest('{tiny-bert-cls,tiny-bert-cased-max-dense}'::text[]) name \g /dev/null

SET bundle_rec.backend = portable;
SELECT is((SELECT name FROM backends() WHERE in_use), 'portable', 'the reference computes');
SELECT pg_temp.compute('tiny-bert-cls'), pg_temp.compute('tiny-bert-cased-max-dense') \g /dev/null
SELECT pg_temp.parity('tiny-bert-cls', 50);
SELECT pg_temp.parity('tiny-bert-cased-max-dense', 50);

SET bundle_rec.backend = openblas;
SELECT is((SELECT name FROM backends() WHERE in_use), 'openblas', 'OpenBLAS computes');
TRUNCATE ours;
SELECT pg_temp.compute('tiny-bert-cls'), pg_temp.compute('tiny-bert-cased-max-dense') \g /dev/null
SELECT pg_temp.parity('tiny-bert-cls', 50);
SELECT pg_temp.parity('tiny-bert-cased-max-dense', 50);

-- the other architectures

TRUNCATE golden, ours;
SELECT load_model(name, :'models' || '/' || name), pg_temp.read_golden(name, :'golden_dir' || '/' || name || '.json'),
       pg_temp.compute(name)
FROM unnest('{tiny-distilbert-mean,tiny-mpnet-mean,tiny-roberta-mean,tiny-xlmr-mean}'::text[]) name \g /dev/null
SELECT pg_temp.parity('tiny-distilbert-mean', 50);
SELECT pg_temp.parity('tiny-mpnet-mean', 50);
SELECT pg_temp.parity('tiny-roberta-mean', 50);
SELECT pg_temp.parity('tiny-xlmr-mean', 50);
SELECT results_eq(
    $$SELECT model, architecture, tokenizer, pooling, "normalize", dimensions, max_tokens
      FROM unnest('{tiny-bert-cls,tiny-distilbert-mean,tiny-mpnet-mean,tiny-roberta-mean,tiny-xlmr-mean}'::text[]) WITH ORDINALITY n (name, i),
           LATERAL model_info(n.name) ORDER BY i$$,
    $$VALUES ('tiny-bert-cls'::text, 'bert'::text, 'wordpiece'::text, 'cls'::text, false, 32, 64),
             ('tiny-distilbert-mean', 'distilbert', 'wordpiece', 'mean', true, 32, 64),
             ('tiny-mpnet-mean', 'mpnet', 'wordpiece', 'mean', true, 32, 64),
             ('tiny-roberta-mean', 'roberta', 'bpe', 'mean', false, 32, 64),
             ('tiny-xlmr-mean', 'xlm-roberta', 'unigram', 'mean', true, 32, 64)$$,
    'model_info names architecture and tokenizer');
SELECT is((SELECT count(DISTINCT hash)::int FROM model WHERE name LIKE 'tiny-%'), 6, 'every model is another one');

-- the default model, where its folder is there

SELECT :'model_dir' <> '' AS have_model \gset
\if :have_model
SELECT load_model('all-MiniLM-L6-v2', :'model_dir') \g /dev/null
SELECT pg_temp.read_golden('all-MiniLM-L6-v2', :'golden_dir' || '/all-MiniLM-L6-v2.json') \g /dev/null
SELECT pg_temp.compute('all-MiniLM-L6-v2') \g /dev/null
SELECT pg_temp.parity('all-MiniLM-L6-v2', 50);
TRUNCATE ours;
SET bundle_rec.backend = portable;
SELECT pg_temp.compute('all-MiniLM-L6-v2') \g /dev/null
SELECT pg_temp.parity('all-MiniLM-L6-v2', 50);
\else
SELECT skip('no folder of all-MiniLM-L6-v2', 12);
\endif

-- the rest of the reference's output, where it stands beside the checkout

SELECT :'shared_golden_dir' <> '' AND :'model_dir' <> '' AS have_titles \gset
\if :have_titles
SET bundle_rec.backend = auto;
SET bundle_rec.precision = f32;
TRUNCATE golden, ours;
SELECT pg_temp.read_golden('all-MiniLM-L6-v2', :'shared_golden_dir' || '/all-MiniLM-L6-v2.json') \g /dev/null
SELECT pg_temp.compute('all-MiniLM-L6-v2') \g /dev/null
SELECT pg_temp.parity('all-MiniLM-L6-v2', 200);
\else
SELECT skip('no reference output beside the checkout', 6);
\endif

-- special tokens inside a text, by hand from the vocabulary

SELECT is(
    tokenize('[SEP]', 'tiny-bert-cls', parse_special => true),
    ARRAY(SELECT (line.n - 1)::int
          FROM unnest('{[CLS],[SEP],[SEP]}'::text[]) WITH ORDINALITY wanted (token, i)
          JOIN regexp_split_to_table(pg_read_file(:'models' || '/tiny-bert-cls/vocab.txt'), '\n')
               WITH ORDINALITY line (token, n) USING (token) ORDER BY i),
    'parse_special reads special tokens');
SELECT isnt(tokenize('[SEP]', 'tiny-bert-cls'), tokenize('[SEP]', 'tiny-bert-cls', parse_special => true),
            'by default they are plain text');

SELECT * FROM finish();

--
-- ann_embed.sql
--    Embeds the texts on standard input, one a line, with the model in
--    :model_dir and :threads threads, in f32 so that machines agree. place is
--    their order by hash: the first 1,000 become queries.
--
\set ON_ERROR_STOP 1
SELECT load_model('minilm', :'model_dir') \g /dev/null
SET bundle_rec.threads = :threads;
SET bundle_rec.precision = 'f32';

CREATE TABLE described (id int GENERATED ALWAYS AS IDENTITY, words text);
-- neither character occurs, so a line is one value whatever it holds
\copy described (words) FROM pstdin WITH (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02')

CREATE TABLE embedded AS
SELECT t.id, row_number() OVER (ORDER BY md5(words), t.id)::int AS place, t.v
FROM (SELECT array_agg(id ORDER BY id) AS ids, array_agg(words ORDER BY id) AS texts
      FROM described GROUP BY id / 1000) g,
     unnest(ids, texts, embed(texts, 'minilm')) t (id, words, v);

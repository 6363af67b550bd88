-- tune_quality_report.sql
--    The two tables of tune_quality.sh.
\pset title 'HR@10 of the encoder and of TF-IDF, every member hidden in its turn'
WITH c AS (SELECT m.*, t.session, t.lexical, 1.0 / count(*) OVER (PARTITION BY t.seed, t.bundle, m.method) AS weight
           FROM tuned.answer t JOIN tuned.answer b ON b.seed = t.seed AND b.bundle = t.bundle AND b.id = t.id AND b.model = 'minilm',
           LATERAL (VALUES ('encoder', b.encoder, t.encoder), ('TF-IDF', t.lexical, t.lexical), ('both', b.fused, t.fused)) m (method, base, trained)
           WHERE t.model = 'trained'),
m AS (SELECT method, sum(weight) AS n, count(*) AS cases, sum(weight * base) / sum(weight) AS base, sum(weight * trained) / sum(weight) AS trained,
             sum(weight * lexical) / sum(weight) AS lexical FROM c GROUP BY method),
s AS (SELECT method, session, sum(weight * (c.trained - m.trained)) AS trained, sum(weight * (c.trained - c.base - m.trained + m.base)) AS gained,
             sum(weight * (c.trained - c.lexical - m.trained + m.lexical)) AS above FROM c JOIN m USING (method) GROUP BY method, session)
SELECT method, round(m.n) AS bundles, m.cases, to_char(m.base, 'FM0.0000') AS "as it came", to_char(m.trained, 'FM0.0000') AS trained,
       to_char(sqrt(sum(s.trained ^ 2)) / m.n, 'FM0.0000') AS "its s.e.",
       to_char(m.trained - m.base, 'SG0.0000') AS gained, to_char(sqrt(sum(s.gained ^ 2)) / m.n, 'FM0.0000') AS "s.e. of the gain",
       to_char(m.trained - m.lexical, 'SG0.0000') AS "above TF-IDF", to_char(sqrt(sum(s.above ^ 2)) / m.n, 'FM0.0000') AS "s.e. of that"
FROM m JOIN s USING (method) GROUP BY method, m.n, m.cases, m.base, m.trained, m.lexical ORDER BY m.trained DESC;
-- A session is tested in several splits: errors are those of splits that know nothing of each
-- other, times what they are at most if a session is answered alike in all of its splits.
SELECT sqrt(sum(splits ^ 2) / sum(splits)) AS alike FROM
    (SELECT count(*)::float8 AS splits FROM (SELECT DISTINCT session, seed FROM tuned.answer) a GROUP BY session) s \gset
\pset title 'HR@10 of all methods, as evaluate hides one member of each bundle'
SELECT method, sum(cases) FILTER (WHERE model = 'minilm') AS cases,
       to_char(sum(value * cases) FILTER (WHERE model = 'minilm') / sum(cases) FILTER (WHERE model = 'minilm'), 'FM0.0000') AS "as it came",
       to_char(sum(value * cases) FILTER (WHERE model = 'trained') / sum(cases) FILTER (WHERE model = 'trained'), 'FM0.0000') AS trained,
       to_char(:alike * sqrt(sum((error * cases) ^ 2) FILTER (WHERE model = 'trained')) / sum(cases) FILTER (WHERE model = 'trained'), 'FM0.0000') AS "its s.e.",
       to_char(sum(difference * cases) FILTER (WHERE model = 'trained') / sum(cases) FILTER (WHERE model = 'trained'), 'SG0.0000') AS "above TF-IDF",
       to_char(:alike * sqrt(sum((difference_error * cases) ^ 2) FILTER (WHERE model = 'trained')) / sum(cases) FILTER (WHERE model = 'trained'), 'FM0.0000') AS "s.e. of that"
FROM tuned.figure GROUP BY method ORDER BY 4 DESC;

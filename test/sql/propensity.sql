\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
\i test/sql/include/small_shop.sql
--
-- propensity.sql
--    What the log calls the probability of a slot is its probability: over
--    20,000 slates, how often each bundle was offered agrees with the sum of
--    its logged probabilities, and importance weights average to 1. Seeds make
--    the run the same every time.
--
SELECT plan(6);
SET client_min_messages = warning;

SELECT count(*) FROM generate_series(1000001, 1020000) AS s,
    recommend('small', size => '[2,2]', bundles => 2, categories => '{kind 1,kind 2}', exclude => '{p14,p10}', seed => s)
\g /dev/null

-- one row per decision, slot and pool member: its probability, and whether it was offered
CREATE TEMP TABLE trial AS
SELECT d.decision_id, k AS rank, m.place, m.items,
       (1 - d.epsilon) * d.votes[(k - 1) * d.pool_size + m.place] / d.draws + d.epsilon / (d.pool_size - k + 1) AS p,
       m.items = d.slot_items[2 * k - 1 : 2 * k] AS offered,
       k = 2 AND m.items = d.slot_items[1 : 2] AS gone, d.propensity[k] AS logged, d.pool_size
FROM decision d, generate_series(1, 2) k,
     LATERAL (SELECT place, d.pool_items[2 * place - 1 : 2 * place] AS items FROM generate_series(1, d.pool_size) place) m
WHERE d.deterministic;
UPDATE trial SET p = 0 WHERE gone;

SELECT is((SELECT count(*) FROM trial WHERE offered), 40000::bigint, 'every slot is a pool member');
SELECT cmp_ok((SELECT max(abs(p - logged)) FROM trial WHERE offered), '<', 1e-12::float8,
              'the logged propensity is the probability of what was offered');
SELECT cmp_ok((SELECT max(abs(total - 1)) FROM (SELECT sum(p) AS total FROM trial GROUP BY decision_id, rank) t), '<', 1e-9::float8,
              'probabilities of a slot sum to 1');

-- z of each bundle and slot: (observed - expected) / sqrt(sum p (1 - p)); their squares sum to about chi-square
CREATE TEMP TABLE z AS
SELECT rank, items, count(*) FILTER (WHERE offered) AS observed, sum(p) AS expected,
       (count(*) FILTER (WHERE offered) - sum(p)) / sqrt(sum(p * (1 - p))) AS z
FROM trial GROUP BY rank, items HAVING sum(p) >= 5;
SELECT cmp_ok((SELECT max(abs(z)) FROM z), '<', 4::float8, 'no bundle is offered more or less often than it says');
-- 0.9999 quantile of chi-square with 9 degrees of freedom, for 10 pairs of 5 products: 33.72 (SciPy)
SELECT cmp_ok((SELECT max(chi) FROM (SELECT sum((observed - expected) ^ 2 / expected) AS chi FROM z GROUP BY rank) c),
              '<', 33.72::float8, 'chi-square of each slot');

-- a second policy, greedy with epsilon .2: it takes the member with the most votes, or any
CREATE TEMP TABLE other AS
SELECT t.*, .2 / pool_size + CASE WHEN p = max(p) OVER d THEN .8 / count(*) OVER (PARTITION BY decision_id, p) ELSE 0 END AS other_p
FROM trial t WHERE rank = 1 WINDOW d AS (PARTITION BY decision_id);
SELECT cmp_ok((SELECT abs(avg(other_p / p) - 1) / (stddev_samp(other_p / p) / sqrt(count(*))) FROM other WHERE offered),
              '<', 2::float8, 'the mean importance weight of a second policy is within two standard errors of 1');

SELECT * FROM finish();

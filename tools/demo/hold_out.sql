--
-- hold_out.sql
--	  The held-out simulator for data of the visitor's own (make demo DATA=DIR):
--	  a fifth of the past is hidden and becomes the visitors.
--
-- Needs chance.sql, and shop.purchase filled. Of the baskets with at least two
-- items those with md5(basket) mod 5 = 0 are taken out of shop.purchase before
-- the extension sees it. Up to 2,200 of them become visitors: one item is the
-- visitor's basket, the others are what the visitor wants. The probability that
-- the visitor clicks on a shown bundle is
--
--		.02 + .58 * share of the bundle's items that the visitor wants
--
-- Up to 200 visitors only judge ("test"), the others give feedback ("train").
--
CREATE TABLE hidden.visitor
(
    kind    text,               -- train or test
    visit   int,
    user_id text,
    basket  text[] NOT NULL,
    wants   text[] NOT NULL,
    PRIMARY KEY (kind, visit)
);

CREATE TEMP TABLE held_out AS
SELECT basket, min(user_id) AS user_id, array_agg(item ORDER BY md5(basket || ' ' || item)) AS items
FROM shop.purchase
GROUP BY basket
HAVING count(*) >= 2 AND ('x' || substr(md5(basket), 1, 8))::bit(32)::bigint % 5 = 0;

DELETE FROM shop.purchase USING held_out WHERE purchase.basket = held_out.basket;

INSERT INTO hidden.visitor
SELECT CASE WHEN place <= tests THEN 'test' ELSE 'train' END,
       CASE WHEN place <= tests THEN place ELSE place - tests END,
       user_id, items[:1], items[2:]
FROM (SELECT *, row_number() OVER (ORDER BY md5('visitor ' || basket)) AS place,
             least(200, count(*) OVER () / 2) AS tests
      FROM held_out) shuffled
WHERE place <= 2200;

DROP TABLE held_out;

CREATE FUNCTION hidden.click_probability(visitor hidden.visitor, bundle text[], price double precision)
RETURNS double precision
LANGUAGE sql IMMUTABLE
RETURN (SELECT 0.02 + 0.58 * avg((item = ANY ((visitor).wants))::int)
        FROM unnest(bundle) item);

COMMENT ON FUNCTION hidden.click_probability(hidden.visitor, text[], double precision) IS
'Probability, 0 to 1, that a simulated visitor clicks on a bundle; the price plays no part; NULL without a bundle';

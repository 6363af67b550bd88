--
-- generate.sql
--	  The sample shop's past: about 600 shoppers and 4,000 baskets.
--
-- Needs chance.sql, and shop.product filled. Fills shop.purchase. Everything that the shoppers
-- have in mind stands in the schema "hidden", which the recommender never
-- reads; simulate.sql asks it later what they would click on.
--
-- How a basket comes about
--   1. A shopper is drawn. Shopper number 1 + floor(600 u^1.5), u uniform: a
--      few come often, most seldom. Each belongs to a segment: bargain (40 %),
--      regular (40 %) or enthusiast (20 %).
--   2. The shopper comes with a mission, a group of things that are used
--      together (hidden.mission). With probability .70 it is one of the
--      shopper's three favourites (first .50, second .30, third .20),
--      otherwise any, drawn by weight.
--   3. The basket holds 1, 2, 3, 4 or 5 different items of the mission with
--      probabilities .20, .30, .25, .15 and .10. The item that stands at place
--      r of the mission's list has weight r^-0.5 (popular things first), times
--      (price / 30)^t with t = -0.3, 0 or 0.3 for the three segments.
--   4. With probability .20 one more item comes along, whatever it is, drawn
--      from the whole shop: the item at place r of a shuffled list has weight
--      1 / (r + 5).
--   5. Baskets are spread evenly over 300 days.
--
-- Drawing without replacement by weights is a race: the k smallest of
-- -ln(u) / weight (Efraimidis and Spirakis, 2006).
--
CREATE TABLE hidden.mission
(
    mission text PRIMARY KEY,
    weight  double precision NOT NULL,
    items   text[] NOT NULL             -- most wanted first
);

INSERT INTO hidden.mission VALUES
('weekend in a tent',    1.4, '{CMP-01,CMP-04,CMP-07,CMP-10,CMP-11,CMP-14,CMP-09,CMP-16,CMP-12}'),
('family camp site',     1.0, '{CMP-02,CMP-15,CMP-17,CMP-06,CMP-08,CMP-16,GAM-03,GAM-10}'),
('long-distance hike',   1.0, '{CMP-20,CMP-19,CMP-21,CMP-03,CMP-18,CMP-05,CMP-13,TRV-11}'),
('coffee outdoors',      0.8, '{CMP-10,CMP-11,COF-09,COF-01,COF-21,COF-07,CMP-13}'),
('commute by bicycle',   1.4, '{CYC-03,CYC-01,CYC-04,CYC-14,CYC-15,CYC-05,TRV-11}'),
('flat tyre',            1.2, '{CYC-06,CYC-07,CYC-08,CYC-09,CYC-11,CYC-13,CYC-10}'),
('road ride',            0.9, '{CYC-18,CYC-19,CYC-16,CYC-17,CYC-02,CYC-12,FIT-15,CYC-20}'),
('first real camera',    0.9, '{PHO-01,PHO-05,PHO-08,PHO-07,PHO-12,PHO-14,PHO-04,PHO-15,PHO-16}'),
('landscape photos',     0.6, '{PHO-10,PHO-13,PHO-09,PHO-05,PHO-14,CMP-14}'),
('filming sports',       0.8, '{PHO-03,PHO-06,PHO-19,PHO-11,PHO-07,ELC-14}'),
('filter coffee',        1.5, '{COF-07,COF-04,COF-03,COF-05,COF-01,COF-06,COF-17}'),
('espresso corner',      1.1, '{COF-08,COF-11,COF-12,COF-13,COF-15,COF-14,COF-18,COF-02}'),
('baking bread',         1.1, '{KIT-15,KIT-12,KIT-13,KIT-10,KIT-11,KIT-09,KIT-14,KIT-03}'),
('fresh pasta',          0.7, '{KIT-17,KIT-16,KIT-18,KIT-10,KIT-07,GAR-07}'),
('sharp knives',         0.9, '{KIT-01,KIT-04,KIT-02,KIT-05,KIT-06,KIT-19}'),
('home office',          1.5, '{ELC-03,OFF-01,ELC-04,OFF-05,OFF-02,OFF-04,OFF-06,OFF-07,ELC-11,OFF-03,OFF-09}'),
('tidy keyboard desk',   1.0, '{ELC-01,ELC-02,OFF-08,ELC-16,ELC-15,ELC-08,OFF-16}'),
('calls and streaming',  0.9, '{ELC-05,ELC-07,ELC-06,ELC-17,ELC-03,PHO-17,ELC-12}'),
('paper and ink',        0.9, '{OFF-10,OFF-11,OFF-12,OFF-14,OFF-13,OFF-15,OFF-17}'),
('new baby',             1.2, '{BAB-05,BAB-07,BAB-08,BAB-01,BAB-04,BAB-11,BAB-09,BAB-14,BAB-15,BAB-10}'),
('baby eats',            0.9, '{BAB-06,BAB-12,BAB-16,BAB-17,BAB-07,BAB-18}'),
('new puppy',            1.1, '{PET-05,PET-04,PET-02,PET-03,PET-01,PET-06,PET-07,PET-08}'),
('cat at home',          1.1, '{PET-10,PET-12,PET-11,PET-09,PET-13,PET-16,PET-17,PET-14}'),
('tomatoes on the balcony', 1.1, '{GAR-06,GAR-05,GAR-12,GAR-15,GAR-14,GAR-08,GAR-07,GAR-09}'),
('garden in spring',     0.9, '{GAR-02,GAR-01,GAR-03,GAR-10,GAR-11,GAR-13,GAR-04,GAR-05}'),
('yoga at home',         0.9, '{FIT-01,FIT-02,FIT-03,FIT-04,FIT-09,FIT-16,COF-19}'),
('strength at home',     0.9, '{FIT-05,FIT-13,FIT-12,FIT-07,FIT-06,FIT-08,FIT-10}'),
('hanging shelves',      0.9, '{TOO-03,TOO-02,TOO-01,TOO-04,TOO-07,TOO-05,TOO-10,TOO-08}'),
('painting a room',      0.8, '{TOO-11,TOO-12,TOO-13,TOO-14,TOO-15,TOO-10}'),
('long flight',          1.1, '{TRV-04,TRV-03,TRV-05,TRV-10,TRV-07,TRV-02,ELC-06,ELC-14,TRV-01,TRV-12}'),
('game night',           0.9, '{GAM-03,GAM-09,GAM-01,GAM-08,GAM-04,GAM-02,GAM-05}');

CREATE TABLE hidden.shopper
(
    user_id     text PRIMARY KEY,
    segment     text NOT NULL,          -- bargain, regular or enthusiast
    price_taste double precision NOT NULL,
    favourites  text[] NOT NULL         -- three missions
);

-- three favourites by a race of all missions
INSERT INTO hidden.shopper
SELECT user_id, segment,
       CASE segment WHEN 'bargain' THEN -0.3 WHEN 'enthusiast' THEN 0.3 ELSE 0 END,
       ARRAY(SELECT mission FROM hidden.mission
             ORDER BY -ln(hidden.uniform('favourite', user_id, mission)) / weight LIMIT 3)
FROM (SELECT 'u' || lpad(n::text, 3, '0') AS user_id,
             CASE WHEN hidden.uniform('segment', n::text) < 0.4 THEN 'bargain'
                  WHEN hidden.uniform('segment', n::text) < 0.8 THEN 'regular'
                  ELSE 'enthusiast' END AS segment
      FROM generate_series(1, 600) n) drawn;

-- the mission of a visit, named by the kind of visit and its number
CREATE FUNCTION hidden.draw_mission(kind text, visit text, visitor text) RETURNS text
LANGUAGE sql STABLE
RETURN CASE
    WHEN hidden.uniform(kind, visit, 'favourite?') < 0.7
    THEN (SELECT favourites[CASE WHEN u < 0.5 THEN 1 WHEN u < 0.8 THEN 2 ELSE 3 END]
          FROM hidden.shopper, hidden.uniform(kind, visit, 'which favourite') u
          WHERE user_id = visitor)
    ELSE (SELECT mission FROM hidden.mission
          ORDER BY -ln(hidden.uniform(kind, visit, mission)) / weight LIMIT 1)
END;

-- the first `size` items of a mission that win the race of a visit
CREATE FUNCTION hidden.draw_items(kind text, visit text, visitor text, wanted text, size int)
RETURNS text[]
LANGUAGE sql STABLE
RETURN ARRAY(SELECT product.item
             FROM hidden.mission
             CROSS JOIN unnest(items) WITH ORDINALITY listed(item, place)
             JOIN shop.product ON product.item = listed.item
             JOIN hidden.shopper ON user_id = visitor
             WHERE mission = wanted
             ORDER BY -ln(hidden.uniform(kind, visit, 'item', listed.item))
                      * sqrt(place) * power(price::float8 / 30, -price_taste)
             LIMIT size);

CREATE TABLE hidden.visit AS
SELECT b AS basket,
       'u' || lpad((1 + floor(600 * power(hidden.uniform('basket', b::text, 'shopper'), 1.5)))::text,
                   3, '0') AS user_id,
       CASE WHEN u < 0.20 THEN 1 WHEN u < 0.50 THEN 2 WHEN u < 0.75 THEN 3
            WHEN u < 0.90 THEN 4 ELSE 5 END AS size,
       timestamptz '2025-01-06 06:00+00' + b * interval '108 minutes' AS bought_at
FROM generate_series(1, 4000) b, hidden.uniform('basket', b::text, 'size') u;

-- the order in which things come along by chance
CREATE TEMP TABLE stray AS
SELECT item, row_number() OVER (ORDER BY md5('stray ' || item)) + 5 AS weight_divisor
FROM shop.product;

INSERT INTO shop.purchase (basket, user_id, item, quantity, price, bought_at)
SELECT visit.basket, visit.user_id, product.item, 1, product.price, visit.bought_at
FROM hidden.visit
CROSS JOIN LATERAL (
    SELECT unnest(hidden.draw_items('basket', basket::text, user_id,
                                    hidden.draw_mission('basket', basket::text, user_id), size))
    UNION
    (SELECT item FROM stray
     WHERE hidden.uniform('basket', basket::text, 'stray?') < 0.2
     ORDER BY -ln(hidden.uniform('basket', basket::text, 'stray', item)) * weight_divisor
     LIMIT 1)) AS bought(item)
JOIN shop.product ON product.item = bought.item
ORDER BY visit.basket, product.item;

DROP TABLE stray;

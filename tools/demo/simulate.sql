--
-- simulate.sql
--	  The held-out simulator: which shown bundles the sample shop's visitors
--	  click on. Needs generate.sql. The recommender never reads any of this.
--
-- A visitor is a shopper of the shop with one item of a mission in the basket.
-- The probability that the visitor clicks on a shown bundle is
--
--		.01 + .49 * match * bargain * taste
--
--	match	the share of the bundle's items that serve the visitor's mission,
--			squared: one thing that does not belong spoils most of it
--	bargain	exp(-price / scale), price of the whole bundle; scale 30 for bargain
--			hunters, 60 for regular shoppers, 150 for enthusiasts
--	taste	the mean over the bundle's items of a fixed factor between .7 and 1.3
--			for each segment and category
--
-- None of the three is a feature of the recommender. It sees what correlates
-- with them, bundles bought together and prices, and has to find out from
-- clicks how much each counts.
--
-- "train" visits give feedback, "test" visits only judge.
--
CREATE TABLE hidden.visitor
(
    kind    text,               -- train or test
    visit   int,
    user_id text NOT NULL,
    mission text NOT NULL,
    basket  text[] NOT NULL,
    PRIMARY KEY (kind, visit)
);

INSERT INTO hidden.visitor
SELECT kind, visit, user_id, mission,
       hidden.draw_items(kind, visit::text, user_id, mission, 1)
FROM (VALUES ('train', 2000), ('test', 200)) kinds(kind, visits)
CROSS JOIN LATERAL generate_series(1, visits) visit
CROSS JOIN LATERAL (SELECT 'u' || lpad((1 + floor(600 * power(
           hidden.uniform(kind, visit::text, 'shopper'), 1.5)))::text, 3, '0')) drawn(user_id)
CROSS JOIN LATERAL hidden.draw_mission(kind, visit::text, user_id) mission;

CREATE FUNCTION hidden.click_probability(visitor hidden.visitor, bundle text[], price double precision)
RETURNS double precision
LANGUAGE sql STABLE
RETURN (SELECT 0.01 + 0.49
               * power(avg((product.item = ANY (mission.items))::int), 2)
               * exp(-$3 / CASE segment WHEN 'bargain' THEN 30
                                        WHEN 'regular' THEN 60 ELSE 150 END)
               * avg(0.7 + 0.6 * hidden.uniform('taste', segment, category))
        FROM shop.product, hidden.mission, hidden.shopper
        WHERE product.item = ANY (bundle)
          AND mission.mission = (visitor).mission
          AND shopper.user_id = (visitor).user_id
        GROUP BY segment);

COMMENT ON FUNCTION hidden.click_probability(hidden.visitor, text[], double precision) IS
'Probability, 0 to 1, that a simulated visitor clicks on a bundle shown at a price; NULL without a bundle or price';

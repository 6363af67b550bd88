--
-- learn.sql
--	  Rounds of recommendation and feedback with the simulated visitors, and a
--	  measure of what they changed. Needs simulate.sql or hold_out.sql, and the
--	  extension with the catalog "shop" and the policies to be taught.
--
-- Quality of a policy is the mean probability that a test visitor clicks on a
-- slot of the five that it shows: known exactly, as the simulator's secret is
-- known here. Every judgement is seeded with the visit's number, so that before
-- and after differ in what was learned and in nothing else, and is not logged.
--
CREATE TABLE hidden.shown
(
    policy      text NOT NULL,
    visit       int NOT NULL,
    decision_id bigint,
    rank        int,
    items       text[] NOT NULL,
    probability double precision NOT NULL,  -- with which the visitor would click
    clicked     boolean NOT NULL,           -- as the policy is told
    PRIMARY KEY (decision_id, rank)
);

CREATE TABLE hidden.judged
(
    stage   text,
    visit   int,
    quality double precision,           -- NULL where nothing was recommended
    slate   text[],                     -- each bundle as text
    PRIMARY KEY (stage, visit)
);

-- Shows bundles to the train visitors first .. last and tells the policy of clicks.
--		told = 'truth'	the visitor clicks as the simulator says
--		told = 'belief'	a coin that shows heads as often as the policy expected of this bundle:
--						such clicks hold nothing that the policy did not know
--		told = 'noise'	a coin that shows heads with probability rate, whatever was shown
CREATE FUNCTION hidden.teach(taught text, told text, first int, last int,
                             rate double precision DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO hidden.shown
    SELECT taught, visit, decision_id, rank, items, probability,
           hidden.uniform('click', taught, visit::text, rank::text)
               < CASE told WHEN 'truth' THEN probability WHEN 'belief' THEN score ELSE rate END
    FROM hidden.visitor
    CROSS JOIN LATERAL bundle_rec.recommend('shop', user_id => visitor.user_id,
                                            basket => visitor.basket, policy => taught) slate
    CROSS JOIN LATERAL hidden.click_probability(visitor, slate.items, slate.price) probability
    WHERE kind = 'train' AND visit BETWEEN first AND last;

    PERFORM bundle_rec.feedback(decision_id, rank, 'click', 1, 'visit ' || visit || '/' || rank)
    FROM hidden.shown
    WHERE policy = taught AND visit BETWEEN first AND last AND clicked;
END;
$$;

COMMENT ON FUNCTION hidden.teach(text, text, int, int, double precision) IS
'One round: recommendations to some of the train visitors, and the clicks that the policy is told of';

-- Adds the quality of a policy's present version, per test visit, under a stage's name.
CREATE FUNCTION hidden.judge(named text, judged_policy text, seed_offset int DEFAULT 0)
RETURNS void
LANGUAGE sql
AS $$
    INSERT INTO hidden.judged
    SELECT named, visit, avg(hidden.click_probability(visitor, slate.items, slate.price)),
           array_agg(slate.items::text) FILTER (WHERE slate.rank IS NOT NULL)
    FROM hidden.visitor
    LEFT JOIN LATERAL bundle_rec.recommend('shop', user_id => visitor.user_id,
                                           basket => visitor.basket, policy => judged_policy,
                                           log => false, seed => visit + seed_offset) slate ON true
    WHERE kind = 'test'
    GROUP BY visit;
$$;

COMMENT ON FUNCTION hidden.judge(text, text, int) IS
'Stores what a policy would show to each test visitor now, and how likely a click on it is';

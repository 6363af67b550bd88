-- bandit_choose.sql
--    For bandit_choose.sh: a policy of 1,000 arms with 32 features and one of ten
--    banners, and plain tables like those that choices and feedback go to.
SET search_path = bundle_rec, public;
SELECT create_policy('page', 'linear_thompson', params => '{"arm_features": 32}', attribution_window => '0');
SELECT setseed(.5);
SELECT add_arms('page', array_agg('arm ' || i), (SELECT array_agg(random() - .5) FROM generate_series(1, 32000))) FROM generate_series(1, 1000) i;
SELECT warm_start('page', $$SELECT 'arm ' || 1 + i % 1000 AS arm, random() AS reward FROM generate_series(1, 5000) i$$);
SELECT create_policy('banner', 'thompson_beta', attribution_window => '0');
SELECT add_arms('banner', array_agg('banner ' || i)) FROM generate_series(1, 10) i;
CREATE TABLE public.slot AS SELECT p.name AS policy, d.slot_features AS features
FROM (SELECT choose('page', seed => 1), choose('banner', seed => 1)) c, choice d JOIN policy p USING (policy) LIMIT 0;
SELECT choose('page'), choose('banner');
INSERT INTO public.slot SELECT p.name, d.slot_features FROM choice d JOIN policy p USING (policy) WHERE NOT d.deterministic;
CREATE TABLE public.plain_choice (LIKE choice);
ALTER TABLE public.plain_choice DROP COLUMN catalog;
ALTER TABLE public.plain_choice ADD PRIMARY KEY (decision_id);
CREATE INDEX ON public.plain_choice (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX ON public.plain_choice USING brin (decided_at);
CREATE TABLE public.plain_unfolded_decision (LIKE unfolded_decision INCLUDING INDEXES);
CREATE TABLE public.plain_feedback (LIKE feedback);
ALTER TABLE public.plain_feedback ADD PRIMARY KEY (decision_id, event_id);
CREATE TABLE public.plain_unfolded_feedback (LIKE unfolded_feedback INCLUDING INDEXES);

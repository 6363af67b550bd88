# Shop.pm
#    What the tests of operations share: a shop with a catalog, decisions and
#    something learned, what it answers, and whether it follows its tables.
#
# What a copy of the shop must answer is asked of the original. Whether counts
# are right is asked of a plain join over the shop's own tables.

package Shop;

use strict;
use warnings;

use Exporter 'import';
use Test::More;

our @EXPORT = qw(make_shop make_catalog make_rules answers counts_are_right shop_goes_on error_of values_of);

# Roles of a server: keeper owns shops and is no superuser, web serves visitors.
sub make_roles
{
	my ($node) = @_;
	$node->safe_psql('postgres', 'CREATE ROLE keeper LOGIN; CREATE ROLE web LOGIN');
	return;
}

# 120 products of 6 categories and 400 baskets of 3, in schema shop of a database.
sub make_tables
{
	my ($node, $database) = @_;
	$node->safe_psql($database, <<'SQL');
CREATE SCHEMA shop AUTHORIZATION keeper;
GRANT USAGE ON SCHEMA shop TO web;
SET ROLE keeper;
CREATE TABLE shop.product (sku text PRIMARY KEY, title text, category text, price numeric, cost numeric, stock int);
CREATE TABLE shop.purchase (line bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, basket int, shopper text, sku text);
INSERT INTO shop.product SELECT 'p' || i, (ARRAY['red','green','blue','plain'])[1 + i % 4] || ' ' ||
	(ARRAY['tent','lamp','cup','rope','stove'])[1 + i % 5] || ' ' || i, 'kind ' || i % 6, 5 + i % 40, 3, 10 FROM generate_series(1, 120) i;
INSERT INTO shop.purchase (basket, shopper, sku) SELECT b, 'u' || b % 50, 'p' || 1 + (b * 7 + step * (1 + b % 5)) % 120
FROM generate_series(1, 400) b, generate_series(0, 2) step;
GRANT SELECT ON shop.product TO web;
SQL
	return;
}

sub make_catalog
{
	my ($node, $database) = @_;
	$node->safe_psql($database, <<'SQL');
SET ROLE keeper;
SELECT bundle_rec.create_catalog('shop', 'shop.product', item_id => 'sku', text => '{title}', price => 'price', cost => 'cost',
                                 stock => 'stock', category => 'category', model => 'tiny');
SELECT bundle_rec.add_event_source('shop', 'shop.purchase', user_id => 'shopper', item_id => 'sku', basket_id => 'basket');
SELECT bundle_rec.refresh('shop');
SQL
	return;
}

# Something pinned and something boosted, in all that the catalog answers.
sub make_rules
{
	my ($node, $database) = @_;
	$node->safe_psql($database, <<'SQL');
SET ROLE keeper;
SELECT bundle_rec.create_rule('shop', 'shelf', 'pin', '{p5,p9}', slot => 2),
       bundle_rec.create_rule('shop', 'lamps', 'boost', categories => '{kind 3}', amount => 3);
SQL
	return;
}

# The whole: extension, model, tables, catalog 1 with two rules, decisions by web, and a policy that has learned from them.
sub make_shop
{
	my ($node, $database) = @_;

	make_roles($node);
	$node->safe_psql($database, "CREATE EXTENSION bundle_rec;
		SELECT bundle_rec.load_model('tiny', '$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls')");
	make_tables($node, $database);
	make_catalog($node, $database);
	make_rules($node, $database);
	$node->safe_psql($database, <<'SQL');
SET ROLE keeper;
SELECT bundle_rec.create_policy('at once', 'linear_thompson', 'shop', attribution_window => '0', make_default => true);
GRANT SELECT, INSERT ON bundle_rec.decision_1, bundle_rec.feedback_1 TO web;
RESET ROLE;
SET ROLE web;
SELECT count(bundle_rec.feedback(decision_id, 1)) FROM (SELECT DISTINCT r.decision_id FROM generate_series(1, 20) i,
	LATERAL bundle_rec.recommend('shop', basket => ARRAY['p' || i], bundles => 3) r) d;
RESET ROLE;
SET ROLE keeper;
SELECT bundle_rec.fold('at once');
SQL
	make_choices($node, $database);
	return;
}

# Two policies of arms that have learned: means of banners, and products found by an index.
sub make_choices
{
	my ($node, $database) = @_;
	$node->safe_psql($database, qq{GRANT CREATE ON DATABASE "$database" TO keeper});
	$node->safe_psql($database, <<'SQL');
SET ROLE keeper;
SELECT bundle_rec.create_policy('banner', 'thompson_beta', attribution_window => '0');
SELECT bundle_rec.add_arms('banner', '{a,b,c}');
SELECT bundle_rec.create_policy('indexed', 'linear_thompson', params => '{"arm_features": 3, "index": true, "draws": 16}', attribution_window => '0');
SELECT bundle_rec.add_arms('indexed', array_agg('arm ' || i), (SELECT array_agg(cos(j)) FROM generate_series(1, 900) j)) FROM generate_series(1, 300) i;
SELECT format('GRANT INSERT ON bundle_rec.choice_%s, bundle_rec.feedback_%s TO web', number, number) FROM bundle_rec.policy_state WHERE number IS NOT NULL \gexec
SET ROLE web;
SELECT count(bundle_rec.feedback(decision_id, 1)) FROM generate_series(1, 20) i, bundle_rec.choose('banner', log => i > 0);
SELECT count(bundle_rec.feedback(decision_id, 1)) FROM generate_series(1, 5) i, bundle_rec.choose('indexed', log => i > 0);
RESET ROLE;
SET ROLE keeper;
SELECT bundle_rec.fold('banner');
SELECT bundle_rec.fold('indexed');
SELECT bundle_rec.retire_arm('banner', 'c');
SQL
	return;
}

# What the shop answers, as text: the same tables, model and seed give the same rows anywhere.
sub answers
{
	my ($node, $database) = @_;
	return $node->safe_psql($database, <<'SQL');
SET bundle_rec.backend = portable;
SELECT rank, items, score, propensity, price FROM bundle_rec.recommend('shop', basket => '{p1,p2}', seed => 7, log => false);
SELECT rank, items, score, propensity FROM bundle_rec.recommend('shop', query => 'a blue stove', budget => 60, seed => 8, log => false);
SELECT rank, item_id, score, propensity FROM bundle_rec.recommend_items('shop', user_id => 'u7', seed => 9, log => false);
SELECT * FROM bundle_rec.rule;
SELECT * FROM bundle_rec.similar_items('shop', 'p3', k => 5);
SELECT * FROM bundle_rec.bought_together('shop', '{p1}', k => 5);
SELECT p.policy, c.rank, c.arm, c.score, c.propensity FROM bundle_rec.policy_state p, bundle_rec.choose(p.policy, k => 2, seed => 9, log => false) c
WHERE p.number IS NOT NULL ORDER BY 1, 2;
SELECT c.policy, c.decision_id, r.arm, r.propensity = c.propensity, c.reward FROM bundle_rec.choice_log c JOIN LATERAL bundle_rec.replay_choice(c.decision_id) r USING (rank)
ORDER BY 2, c.rank;
SQL
}

# The rows of a query in one line, for safe_psql's several statements.
sub values_of
{
	my ($node, $database, $sql) = @_;
	return $node->safe_psql($database, $sql) =~ s/^\n+//r;
}

# Pairs, items and baskets counted otherwise than by a plain join; '0' is right.
my $wrong_counts = q{
	WITH b AS (SELECT DISTINCT basket, sku FROM shop.purchase JOIN shop.product USING (sku)),
	plain AS (SELECT a.sku AS one, b.sku AS other, count(*) AS n FROM b a JOIN b USING (basket) WHERE a.sku <> b.sku GROUP BY 1, 2
	          UNION ALL SELECT sku, NULL, count(*) FROM b GROUP BY 1
	          UNION ALL SELECT NULL, NULL, count(DISTINCT basket) FROM b),
	stored AS (SELECT a.item_id AS one, o.item_id AS other, together AS n FROM bundle_rec.item_pair p
	           JOIN bundle_rec.item a USING (catalog, item) JOIN bundle_rec.item o ON o.catalog = p.catalog AND o.item = p.other
	           UNION ALL SELECT item_id, NULL, baskets FROM bundle_rec.item_count JOIN bundle_rec.item USING (catalog, item)
	           UNION ALL SELECT NULL, NULL, baskets FROM bundle_rec.catalog_state)
	SELECT count(*) FROM ((TABLE plain EXCEPT TABLE stored) UNION ALL (TABLE stored EXCEPT TABLE plain)) x};

sub counts_are_right
{
	my ($node, $database, $what) = @_;
	is($node->safe_psql($database, $wrong_counts), '0', "$what: counts are those of a plain join");
	return;
}

# A shop that was copied, restored or promoted sells, counts, recommends and learns on, with the rights it had.
sub shop_goes_on
{
	my ($node, $database, $what) = @_;
	my $learned = q{SELECT version, decisions + unfolded_decisions FROM bundle_rec.policy_state WHERE policy = 'at once'};
	my ($version, $decisions) = split /\|/, $node->safe_psql($database, $learned);
	my $newest = $node->safe_psql($database, 'SELECT coalesce(max(decision_id), 0) FROM bundle_rec.decision');

	$node->safe_psql($database, q{SET ROLE keeper; INSERT INTO shop.product VALUES ('new', 'a new blue stove', 'kind 1', 20, 3, 5);
		UPDATE shop.product SET stock = 4 WHERE sku = 'p1';
		INSERT INTO shop.purchase (basket, shopper, sku) VALUES (-1000, 'u1', 'new'), (-1000, 'u1', 'p5');
		SELECT bundle_rec.refresh('shop')});
	counts_are_right($node, $database, $what);
	is(values_of($node, $database, q{SELECT item_id FROM bundle_rec.bought_together('shop', '{new}')}), 'p5', "$what: a purchase counts");
	is(values_of($node, $database, q{SELECT stock FROM bundle_rec.item_state JOIN bundle_rec.item USING (catalog, item) WHERE item_id = 'p1'}),
		'4', "$what: a changed stock is known");
	is(values_of($node, $database, q{SELECT embedded, pending FROM bundle_rec.catalog_coverage WHERE catalog = 'shop'}),
		$node->safe_psql($database, 'SELECT count(title), 0 FROM shop.product'),
		"$what: a new title is embedded");
	my $decision = values_of($node, $database, q{SET ROLE web; SELECT decision_id FROM bundle_rec.recommend('shop', basket => '{new}') LIMIT 1});
	cmp_ok($decision, '>', $newest, "$what: web may log decisions, under new numbers");
	is(values_of($node, $database, "SET ROLE web; SELECT bundle_rec.feedback($decision, 1)"), 't', "$what: web may give feedback");
	is(values_of($node, $database, q{SET ROLE keeper; SELECT bundle_rec.fold('at once')}), $version + 1, "$what: the policy learns on");
	is($node->safe_psql($database, $learned), ($version + 1) . '|' . ($decisions + 1), "$what: and counts the new decision once");
	is(values_of($node, $database, q{SET ROLE web; SELECT count(bundle_rec.feedback(decision_id, 1)) FROM bundle_rec.policy_state p, bundle_rec.choose(p.policy, log => true) WHERE p.number IS NOT NULL}),
		$node->safe_psql($database, 'SELECT count(*) FROM bundle_rec.policy WHERE owner IS NOT NULL'), "$what: web may log choices, and say what came of them");
	return;
}

# SQLSTATE and message of what a statement meets, '' where it meets nothing; the rest of it in a list.
sub error_of
{
	my ($node, $database, $sql) = @_;
	my (undef, undef, $error) = $node->psql($database, "\\set VERBOSITY verbose\n$sql");
	my ($message) = $error =~ /^(?:psql:\S+ )?ERROR:\s+(.*)$/m;
	return wantarray ? ($message // '', $error) : $message // '';
}

1;

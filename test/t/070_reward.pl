# 070_reward.pl
#    16 writers of decisions, sales and feedback beside refreshes and folds of
#    two policies, while the server is killed: afterwards the log, what waits and
#    what was learned agree exactly, and every sale that is left is attributed as
#    a plain query attributes it. BR_KILLS sets another number of kills.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

use Decisions;
use Writers;

my $kills = $ENV{BR_KILLS} // 3;
my $writers = 16;
my $window = 2;
my $node = PostgreSQL::Test::Cluster->new('reward');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nmax_connections = 40\nlog_min_messages = warning\nlog_statement = none\n");
$node->start;
my $folder = PostgreSQL::Test::Utils::tempdir();
my $log_start = -s $node->logfile;

$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION bundle_rec;
CREATE TABLE product (sku text PRIMARY KEY);
INSERT INTO product SELECT 'p' || i FROM generate_series(1, 30) i;
CREATE TABLE sale (usr text, basket text, sku text, at timestamptz DEFAULT now());
SELECT bundle_rec.create_catalog('shop', 'product', item_id => 'sku');
SELECT bundle_rec.create_policy(p, 'epsilon_greedy', 'shop', '{"epsilon": 1}', attribution_window => '$window seconds',
	reward => '{"click": 1, "purchase": {"weight": 3, "window": "$window seconds"}}') FROM unnest('{one,other}'::text[]) p;
SELECT bundle_rec.add_event_source('shop', 'sale', user_id => 'usr', item_id => 'sku', basket_id => 'basket', occurred_at => 'at');
SQL

# ---- who is at work ----

# A visit of a user of the writer's own: what is acknowledged is a line beginning with "!".
sub visit
{
	my ($writer, $n) = @_;
	my ($user, $event) = ("u$writer." . $n % 5, "$writer.$n");
	my $policy = (qw(one other))[ $n % 2 ];
	my $text = <<"SQL";
SELECT min(decision_id) AS id, array_agg(item_id ORDER BY rank) AS items FROM bundle_rec.recommend_items('shop', user_id => '$user', k => 3, policy => '$policy') \\gset
SELECT bundle_rec.feedback(:id, 1, 'click', 1, '$event', user_id => '$user') AS is_new \\gset
\\echo ! :id $event
INSERT INTO sale (usr, basket, sku) SELECT '$user', CASE WHEN $n % 3 > 0 THEN '$event' END, (:'items'::text[])[1 + $n % 3];
SQL
	$text .= "DELETE FROM sale WHERE usr = '$user' AND ctid = (SELECT ctid FROM sale WHERE usr = '$user' LIMIT 1);\n" if $n % 4 == 0;
	$text .= "SELECT bundle_rec.feedback(:id, 2, 'purchase', 1, '$event explicit') AS is_new \\gset\n\\echo ! :id $event\_explicit\n" if $n % 5 == 0;
	$text .= "BEGIN; SELECT bundle_rec.feedback(:id, 3, 'click', 1, '$event gone') AS is_new \\gset\nROLLBACK;\n" if $n % 7 == 0;
	# decisions that others write about too
	$text .= <<"SQL" if $n % 6 == 0;
SELECT bundle_rec.feedback_batch(array_agg(decision_id), array_agg(1 + i % 3), array_agg('click'::text), array_agg(i::float8), array_agg('batch $n ' || i)) AS n
FROM (SELECT decision_id, row_number() OVER ()::int AS i FROM (SELECT decision_id FROM bundle_rec.decision ORDER BY decision_id DESC LIMIT 10) d) d \\gset
SQL
	return $text;
}

my @at_work;
foreach my $writer (1 .. $writers)
{
	push @at_work, work($node, $folder, $writer, sub { return visit($writer, @_) });
}
push @at_work, work($node, $folder, 'refresh', sub { return "SELECT bundle_rec.refresh('shop');\nSELECT pg_sleep(.1);" });
foreach my $policy (qw(one other))
{
	push @at_work, work($node, $folder, "fold $policy", sub { return "SELECT bundle_rec.fold('$policy');\nSELECT pg_sleep(.1);" });
}

srand(7);
foreach my $kill (1 .. $kills)
{
	my $how = (qw(postmaster backend immediate))[ $kill % 3 ];
	sleep 2 + rand 2;
	ok(hard_restart($node, $how), "kill $kill: the server runs again after its end: $how");
}
sleep 2;
kill 'TERM', @at_work;
waitpid $_, 0 foreach @at_work;
is(-e "$folder/errors" ? slurp_file("$folder/errors") : '', '', 'nobody met an error but the lost connection');
is_deeply([ unexpected_messages($node, $log_start) ], [], 'nor did the server');

# ---- what must be there ----

sub sql
{
	my ($query) = @_;
	return $node->safe_psql('postgres', $query);
}

my $before = sql('SELECT sum(unfolded_decisions + unfolded_feedback) FROM bundle_rec.policy_state');
my $counts = q{SELECT p.name, p.decisions + p.unfolded_decisions = d.decisions, p.events + p.unfolded_feedback = d.events
	FROM (SELECT policy AS name, * FROM bundle_rec.policy_state) p JOIN (SELECT q.name, count(*) AS decisions,
		sum((SELECT count(*) FROM bundle_rec.feedback f WHERE f.decision_id = d.decision_id)) AS events
		FROM bundle_rec.decision d JOIN bundle_rec.policy q USING (policy) GROUP BY 1) d USING (name) ORDER BY 1};
is(sql($counts), "one|t|t\nother|t|t", 'log = what waits + what was counted, as the kills left it');
# the last windows close
sleep $window + 1;
sql("SELECT bundle_rec.refresh('shop'); SELECT bundle_rec.fold('one'), bundle_rec.fold('other'); SELECT bundle_rec.fold('one')");
is(sql(q{SELECT sum(unfolded_decisions + unfolded_feedback) FROM bundle_rec.policy_state WHERE policy IN ('one', 'other')}), '0', "nothing waits ($before did)");
is(sql($counts), "one|t|t\nother|t|t", 'log = what was counted');
is(sql('SELECT count(*) FROM bundle_rec.unattributed_event'), '0', 'all sales were looked at');

# rewards are whole numbers, so their sums are exact in any order
my $wrong_evidence = q{
	WITH slot AS (SELECT d.policy, r, coalesce((SELECT sum(f.value * CASE f.kind WHEN 'click' THEN 1 ELSE 3 END) FROM bundle_rec.feedback f
		WHERE f.decision_id = d.decision_id AND f.rank = r), 0) AS reward FROM bundle_rec.decision d, generate_series(1, cardinality(d.slot_sizes)) r)
	SELECT count(*) FROM (SELECT policy, count(*)::float8 AS slots, sum(reward ^ 2) AS squares FROM slot GROUP BY 1) s
	JOIN LATERAL (SELECT evidence FROM bundle_rec.posterior o WHERE o.policy = s.policy ORDER BY version DESC LIMIT 1) o ON true
	WHERE (o.evidence[1], o.evidence[2]) IS DISTINCT FROM (s.slots, s.squares)};
is(sql($wrong_evidence), '0', 'every slot and every reward is in the evidence once');

# a sale is the last decision's that offered it within the window, unless somebody said what became of it
my $wrong_sales = qq{
	WITH offer AS (SELECT d.decision_id, d.user_id, d.decided_at, r AS rank, i.item_id FROM bundle_rec.decision d, generate_series(1, 3) r, bundle_rec.item i WHERE i.item = d.slot_items[r]),
	sold AS (SELECT usr, sku, basket, min(at) AS at FROM sale GROUP BY usr, sku, basket, CASE WHEN basket IS NULL THEN at END),
	plain AS (SELECT DISTINCT l.decision_id, l.rank FROM sold s, LATERAL (SELECT * FROM offer o WHERE o.user_id = s.usr AND o.item_id = s.sku AND o.decided_at < s.at
		AND s.at <= o.decided_at + interval '$window seconds' ORDER BY o.decided_at DESC, o.decision_id DESC LIMIT 1) l
		WHERE NOT EXISTS (SELECT FROM bundle_rec.feedback f WHERE f.decision_id = l.decision_id AND f.rank = l.rank AND f.kind = 'purchase' AND NOT f.attributed)),
	stored AS (SELECT decision_id, rank FROM bundle_rec.feedback WHERE attributed GROUP BY 1, 2 HAVING sum(value) = 1),
	odd AS (SELECT decision_id, rank FROM bundle_rec.feedback WHERE attributed GROUP BY 1, 2 HAVING sum(value) NOT IN (0, 1))
	SELECT (SELECT count(*) FROM ((TABLE plain EXCEPT TABLE stored) UNION ALL (TABLE stored EXCEPT TABLE plain) UNION ALL TABLE odd) x), (SELECT count(*) > 0 FROM stored)};
is(sql($wrong_sales), '0|t', 'sales are attributed as a plain query attributes them');

my @done = map { my $line = $_; $line =~ s/_explicit/ explicit/; [ split / /, $line, 2 ] } map { split /\n/, slurp_file($_) } glob("$folder/done.[0-9]*");
cmp_ok(scalar @done, '>', 0, scalar(@done) . ' feedback events were acknowledged');
sql('CREATE TABLE acknowledged (decision_id bigint, event_id text)');
$node->safe_psql('postgres', "COPY acknowledged FROM stdin;\n" . join('', map { "$_->[0]\t$_->[1]\n" } @done) . "\\.\n");
is(sql('SELECT count(*) FROM acknowledged a WHERE (SELECT count(*) FROM bundle_rec.feedback f WHERE f.decision_id = a.decision_id AND f.event_id = a.event_id) <> 1'),
	'0', 'and every one of them is there once');
is(sql(q{SELECT count(*) FROM bundle_rec.feedback WHERE event_id LIKE '% gone'}), '0', 'what was rolled back is not');
diag(sql(q{SELECT format('%s decisions, %s feedback events, %s of them attributed, %s versions', (SELECT count(*) FROM bundle_rec.decision),
	count(*), count(*) FILTER (WHERE attributed), (SELECT count(*) FROM bundle_rec.posterior)) FROM bundle_rec.feedback}));

$node->stop;
done_testing();

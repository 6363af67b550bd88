# 071_choose.pl
#    16 writers of choices and feedback beside folds and changes of the arms,
#    while the server is killed: afterwards the log, what waits and what was
#    learned agree exactly, and every choice can be taken again. BR_KILLS sets
#    another number of kills.

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
my @policies = qw(banner page price);
my $node = PostgreSQL::Test::Cluster->new('choose');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nmax_connections = 40\nlog_min_messages = warning\nlog_statement = none\njit = off\n");
$node->start;
my $folder = PostgreSQL::Test::Utils::tempdir();
my $log_start = -s $node->logfile;

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION bundle_rec;
SELECT bundle_rec.create_policy('banner', 'thompson_gaussian', attribution_window => '1 second');
SELECT bundle_rec.create_policy('page', 'linear_ucb', params => '{"context": 2, "epsilon": 0.5}', attribution_window => '1 second');
SELECT bundle_rec.create_policy('price', 'exp3', params => '{"learning_rate": 0.01}', reward => '{"click": 0.25}', attribution_window => '1 second');
SELECT bundle_rec.add_arms(p, '{a,b,c,d,e}') FROM unnest('{banner,page,price}'::text[]) p;
SQL

# ---- who is at work ----

# What is acknowledged is a line beginning with "!".
sub visit
{
	my ($writer, $n) = @_;
	my $event = "$writer.$n";
	my $policy = $policies[ $n % 3 ];
	my $context = $policy eq 'page' ? q{ARRAY[random(), random()]} : 'NULL::float8[]';
	my $text = <<"SQL";
SELECT min(decision_id) AS id FROM bundle_rec.choose('$policy', '{a,b,c}', $context, 2, user_id => 'u$writer') \\gset
SELECT bundle_rec.feedback(:id, 1, 'click', 1, '$event', user_id => 'u$writer') AS is_new \\gset
\\echo ! :id $event
SQL
	$text .= "SELECT bundle_rec.feedback(:id, 1, 'click', -1, '$event back') AS is_new \\gset\n\\echo ! :id $event\_back\n" if $n % 4 == 0;
	$text .= "BEGIN; SELECT bundle_rec.feedback(:id, 2, 'click', 1, '$event gone') AS is_new \\gset\nROLLBACK;\n" if $n % 7 == 0;
	$text .= "SELECT count(*) AS n FROM bundle_rec.choose('$policy', NULL, $context) \\gset\n" if $n % 3 == 0;
	return $text;
}

my @at_work;
foreach my $writer (1 .. $writers)
{
	push @at_work, work($node, $folder, $writer, sub { return visit($writer, @_) });
}
push @at_work, work($node, $folder, 'fold', sub { return "SELECT bundle_rec.fold('$policies[$_[0] % 3]');\nSELECT pg_sleep(.05);" });
push @at_work, work($node, $folder, 'arms', sub {
	my $policy = $policies[ $_[0] % 3 ];
	return "SELECT bundle_rec.retire_arm('$policy', 'e'); SELECT bundle_rec.add_arms('$policy', '{d,e}'); SELECT pg_sleep(.1);";
});

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

my $done = join '', map { -e "$folder/done.$_" ? slurp_file("$folder/done.$_") : () } 1 .. $writers;
my @acknowledged = map { my ($id, $event) = split ' '; $event =~ tr/_/ /; "($id,'$event')" } split /\n/, $done;
cmp_ok(scalar @acknowledged, '>', 100, 'much was written');
is(sql('SELECT count(*) FROM (VALUES ' . join(',', @acknowledged) . ') a (decision_id, event_id) WHERE NOT EXISTS (SELECT FROM bundle_rec.feedback f WHERE (f.decision_id, f.event_id) = (a.decision_id, a.event_id))'),
	'0', 'and of what was acknowledged nothing is lost');

my $counts = q{SELECT p.name, p.decisions + p.unfolded_decisions = d.decisions, p.events + p.unfolded_feedback = d.events
	FROM (SELECT policy AS name, * FROM bundle_rec.policy_state) p JOIN (SELECT q.name, count(*) AS decisions,
		sum((SELECT count(*) FROM bundle_rec.feedback f WHERE f.decision_id = d.decision_id)) AS events
		FROM bundle_rec.choice d JOIN bundle_rec.policy q USING (policy) GROUP BY 1) d USING (name) ORDER BY 1};
my $all = join "\n", map { "$_|t|t" } @policies;
is(sql($counts), $all, 'log = what waits + what was counted, as the kills left it');
# the last windows close
sleep 2;
sql("SELECT bundle_rec.fold('$_')") foreach @policies;
is(sql('SELECT sum(unfolded_decisions + unfolded_feedback) FROM bundle_rec.policy_state'), '0', 'nothing waits any more');
is(sql($counts), $all, 'log = what was counted');

# rewards are whole numbers and quarters, so their sums are exact in any order
my $wrong_evidence = q{
	WITH slot AS (SELECT d.policy, d.slot_arms[r] AS arm, d.propensity[r] AS propensity, p.model, coalesce((SELECT sum(f.value) FROM bundle_rec.feedback f
		WHERE f.decision_id = d.decision_id AND f.rank = r), 0) * CASE p.name WHEN 'price' THEN .25 ELSE 1 END AS reward
		FROM bundle_rec.choice d JOIN bundle_rec.policy p USING (policy), generate_series(1, cardinality(d.slot_arms)) r),
	arm AS (SELECT policy, arm, count(*)::float8 AS slots, sum(reward) AS rewards, sum(reward ^ 2) AS squares, sum(reward / propensity) AS weighted, model FROM slot GROUP BY policy, arm, model)
	SELECT (SELECT count(*) FROM (SELECT policy, sum(slots) AS slots, sum(rewards) AS rewards, sum(squares) AS squares FROM arm GROUP BY 1) s
		JOIN LATERAL (SELECT evidence FROM bundle_rec.posterior o WHERE o.policy = s.policy ORDER BY version DESC LIMIT 1) o ON true
		WHERE (o.evidence[1], o.evidence[2], o.evidence[3]) IS DISTINCT FROM (s.slots, s.rewards, s.squares)),
	(SELECT count(*) FROM arm s JOIN LATERAL (SELECT evidence FROM bundle_rec.posterior_arm o WHERE o.policy = s.policy AND o.arm = s.arm ORDER BY version DESC LIMIT 1) o ON true
		WHERE o.evidence[1] <> s.slots OR o.evidence[2] <> CASE s.model WHEN 'arm' THEN s.rewards ELSE s.squares END
		OR s.model = 'arm' AND abs(o.evidence[4] - s.weighted) > 1e-6 * (1 + s.weighted))};
is(sql($wrong_evidence), '0|0', 'every slot and every reward is in the evidence once, of all arms and of each');
is(sql(q{SELECT count(*) FROM (SELECT decision_id FROM bundle_rec.choice ORDER BY random() LIMIT 300) d, LATERAL (
	SELECT FROM bundle_rec.choice_log c LEFT JOIN bundle_rec.replay_choice(d.decision_id) r USING (rank) WHERE c.decision_id = d.decision_id
	AND (r.arm, r.score, r.propensity) IS DISTINCT FROM (c.arm, c.score, c.propensity)) w}), '0', 'choices come out the same when they are taken again');

$node->stop;
done_testing();

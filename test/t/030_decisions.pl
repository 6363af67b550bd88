# 030_decisions.pl
#    Decisions and feedback by many clients at once: nothing that the server
#    acknowledged is lost or counted twice, whether it runs on or is killed.
#    slow_kill.pl does the same for longer.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

use Decisions;

my $seconds = $ENV{BR_DECISIONS_SECONDS} // 10;
my $node = PostgreSQL::Test::Cluster->new('decisions');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nmax_connections = 40\nlog_min_messages = warning\nlog_statement = none\n");
$node->start;
make_shop($node);
my $folder = PostgreSQL::Test::Utils::tempdir();

# ---- pgbench: 8 clients, and a ninth that folds ----

my $log_start = -s $node->logfile;
my $folding = start_folding($node, $folder);
my ($transactions, $tps, $p50, $p99) = run_pgbench($node, 8, $seconds);
my $versions = stop_folding($folding, $folder);
note(sprintf('%d transactions, %.0f/s, p50 %.1f ms, p99 %.1f ms, %d folds', $transactions, $tps, $p50, $p99, $versions));
cmp_ok($versions, '>', 1, 'folds ran meanwhile');
is_deeply([ unexpected_messages($node, $log_start) ], [], 'no error, no deadlock');
my ($number) = $node->safe_psql('postgres', q{SELECT catalog FROM bundle_rec.catalog WHERE name = 'shop'});
is($node->safe_psql('postgres', "SELECT count(*) FROM bundle_rec.decision_$number"), $transactions,
	'as many decisions as pgbench was answered');
is($node->safe_psql('postgres', "SELECT count(*) FROM bundle_rec.feedback_$number"), $transactions, 'and as much feedback');
is($node->safe_psql('postgres', "SELECT count(*) FROM bundle_rec.decision_$number d JOIN bundle_rec.feedback_$number USING (decision_id)"),
	$transactions, 'each of its own decision');
compare_with_posterior($node);

# ---- killed three times ----

$folding = start_folding($node, $folder);
my @clients = start_clients($node, 8, $folder);
foreach my $how (qw(postmaster backend immediate))
{
	sleep 3;
	ok(hard_restart($node, $how), "the server runs again after its end: $how");
}
sleep 2;
is_deeply([ wait_for_clients($folder, @clients) ], [], 'clients met no error but the lost connection');
stop_folding($folding, $folder);
my ($decisions, $feedback) = compare_with_log($node, $folder);
note("$decisions decisions and $feedback feedback events were acknowledged");
compare_with_posterior($node);
is_deeply([ unexpected_messages($node, $log_start) ], [], 'no error, no deadlock');

$node->stop;
done_testing();

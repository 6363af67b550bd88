# slow_kill.pl
#    The campaign of 030_decisions.pl at length: 30 s of pgbench, then 8
#    clients and a folding one while the server is killed 21 times. BR_KILLS
#    sets another number of kills.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

use Decisions;

my $kills = $ENV{BR_KILLS} // 21;
my $node = PostgreSQL::Test::Cluster->new('kill');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nmax_connections = 40\nlog_min_messages = warning\nlog_statement = none\n");
$node->start;
make_shop($node);
my $folder = PostgreSQL::Test::Utils::tempdir();
my $log_start = -s $node->logfile;

my $folding = start_folding($node, $folder);
my ($transactions, $tps, $p50, $p99) = run_pgbench($node, 8, 30);
stop_folding($folding, $folder);
diag(sprintf('pgbench, 8 clients, 30 s: %d transactions, %.0f/s, p50 %.1f ms, p99 %.1f ms', $transactions, $tps, $p50, $p99));
my ($number) = $node->safe_psql('postgres', q{SELECT catalog FROM bundle_rec.catalog WHERE name = 'shop'});
is($node->safe_psql('postgres', "SELECT count(*) FROM bundle_rec.decision_$number"), $transactions,
	'as many decisions as pgbench was answered');
is($node->safe_psql('postgres', "SELECT count(*) FROM bundle_rec.feedback_$number"), $transactions, 'and as much feedback');
compare_with_posterior($node);

srand(3);
$folding = start_folding($node, $folder);
my @clients = start_clients($node, 8, $folder);
foreach my $kill (1 .. $kills)
{
	my $how = (qw(postmaster backend immediate))[ $kill % 3 ];
	# at any moment: of a fold, of a checkpoint, of recovery's end
	sleep .3 + rand 3;
	ok(hard_restart($node, $how), "kill $kill: the server runs again after its end: $how");
}
sleep 2;
is_deeply([ wait_for_clients($folder, @clients) ], [], 'clients met no error but the lost connection');
stop_folding($folding, $folder);
my ($decisions, $feedback) = compare_with_log($node, $folder);
diag("$kills kills, $decisions decisions and $feedback feedback events acknowledged");
compare_with_posterior($node);
is_deeply([ unexpected_messages($node, $log_start) ], [], 'no error, no deadlock');

$node->stop;
done_testing();

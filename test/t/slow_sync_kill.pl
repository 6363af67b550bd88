# slow_sync_kill.pl
#    The kills of 051_broken_off.pl at length: 20 times a backend that changes
#    catalogs, or the postmaster, is killed at a random moment; every time items,
#    events and counts are afterwards those of a plain join over the sources, and
#    heaps and indexes are whole. BR_KILLS sets another number.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Faults;

my $kills = $ENV{BR_KILLS} // 20;
my $node = PostgreSQL::Test::Cluster->new('kills');
$node->init;
# checkpoints in the middle of changes, and pages torn by them
$node->append_conf('postgresql.conf', "client_min_messages = error\nlog_statement = none\ncheckpoint_timeout = 30s\nmax_wal_size = 64MB\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION bundle_rec');
load_checks($node, 'postgres');
make_sources($node, 'postgres', 5000);
$node->safe_psql('postgres', q{SELECT bundle_rec.refresh(c) FROM unnest('{plain,part,view}'::text[]) c});

srand($ENV{BR_SEED} // 7);
foreach my $kill (1 .. $kills)
{
	my $whom = $kill % 2 ? 'backend' : 'postmaster';
	my $what = kill_during_change($node, 'postgres', $whom);
	recovers($node, 'postgres', "kill $kill of the $whom during $what");
}
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|signal 11/, 'no other end than the kills');

$node->stop;
done_testing();

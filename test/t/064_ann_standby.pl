# 064_ann_standby.pl
#    A scan on a standby whose pages become others under it. There, and only
#    there, vacuum does not know of the scan.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Ann;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nclient_min_messages = error\n");
$node->start;
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = 0\n");
$standby->start;

sub sql
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', "SET search_path = public, bundle_rec;\n$sql") =~ s/^\n+//r;
}

make_source($node, 10000);
sql('VACUUM t');

# Rows that were never committed fill the lists, which are written anew without them, and other rows take their
# room. No row that the standby might see goes, so that its queries are in nobody's way.
sub rewrite_lists
{
	my ($round) = @_;
	sql('BEGIN; INSERT INTO t SELECT id, embedding FROM source, generate_series(1, 2); ROLLBACK;');
	sql("VACUUM (TRUNCATE off) t;\nSELECT txid_current();\nVACUUM (TRUNCATE off) t");
	sql("INSERT INTO t SELECT 10000 * $round + id, embedding FROM source WHERE id > 6000");
	$node->wait_for_catchup($standby);
	return;
}

# the first stage has a horizon that is far, the second one that is passed
my $rows = 6000;
foreach my $stage ([ 'the first stage', 1000000 ], [ 'the second stage', 5 ])
{
	my ($what, $horizon) = @$stage;
	$node->wait_for_catchup($standby);
	my $scan = $standby->background_psql('postgres');
	$scan->query_safe("SET search_path = public, bundle_rec; BEGIN ISOLATION LEVEL REPEATABLE READ; SET enable_seqscan = off; SET enable_sort = off;
		SET bundle_rec.full_scan_rows = 0; SET bundle_rec.horizon = $horizon; SET bundle_rec.scan_order = relaxed;");
	my $order = 'ORDER BY embedding OPERATOR(bundle_rec.<->) (SELECT embedding FROM source WHERE id = 7)';
	like($scan->query_safe("EXPLAIN (COSTS off) SELECT id FROM t $order;"), qr/Index Scan using i /, "$what: a cursor over the index");
	$scan->query_safe("DECLARE c CURSOR FOR SELECT id FROM t $order;");
	my @seen = split /\n/, $scan->query_safe('FETCH 30 FROM c;');
	rewrite_lists($horizon == 5 ? 2 : 1);
	push @seen, split /\n/, $scan->query_safe('FETCH ALL FROM c;');
	my %times;
	$times{$_}++ foreach @seen;
	is(scalar(@seen), $rows, "$what: gives all rows of its snapshot");
	is(scalar(keys %times), $rows, "$what: each of them once");
	$scan->query_safe('COMMIT;');
	$scan->quit;
	$rows = sql('SELECT count(*) FROM t');
}

$standby->stop;
$node->stop;
done_testing();

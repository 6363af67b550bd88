# 063_ann_vacuum.pl
#    Vacuums of an index of bundle_ann beside a scan that began before them, beside
#    inserts, and broken off at any moment.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Ann;
use Faults;

my $node = PostgreSQL::Test::Cluster->new('vacuum');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nclient_min_messages = error\n");
$node->start;

sub sql
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', "SET search_path = public, bundle_rec;\n$sql") =~ s/^\n+//r;
}

make_source($node, 20000);
my $whole = "SELECT bundle_ann_check('i', true) = (SELECT count(*) FROM t)";

# ---- a scan that began before ----

my $order = "ORDER BY embedding OPERATOR(bundle_rec.<->) (SELECT embedding FROM source WHERE id = 7)";
my $scan = $node->background_psql('postgres');
$scan->query_safe("SET search_path = public, bundle_rec; BEGIN ISOLATION LEVEL REPEATABLE READ; SET enable_seqscan = off; SET enable_sort = off; SET bundle_rec.scan_order = relaxed; SET bundle_rec.full_scan_rows = 0; SET bundle_rec.horizon = 1000000;");
like($scan->query_safe("EXPLAIN (COSTS off) SELECT id FROM t $order;"), qr/Index Scan using i /, 'a cursor over the index');
$scan->query_safe("DECLARE c CURSOR FOR SELECT id FROM t $order;");
my @seen = split /\n/, $scan->query_safe('FETCH 10 FROM c;');
# all rows become others, twice, and what was read first is rewritten; its room would do for what comes then
foreach my $round (1 .. 3)
{
	sql("UPDATE t SET embedding = s.embedding FROM source s WHERE s.id = t.id + 1000 * $round;\nVACUUM t;\nDELETE FROM t WHERE id % 7 = $round;\nVACUUM t;\nVACUUM t;\n"
		  . "INSERT INTO t SELECT 10000 * $round + id, embedding FROM source WHERE id % 5 = $round;\nVACUUM t");
}
push @seen, split /\n/, $scan->query_safe('FETCH ALL FROM c;');
my %times;
$times{$_}++ foreach @seen;
is(scalar(@seen), 6000, 'gives all rows of its snapshot');
is(scalar(keys %times), 6000, 'each of them once');
is(scalar(grep { $_ > 6000 } @seen), 0, 'and no other');
$scan->query_safe('COMMIT;');
is(sql($whole), 'f', 'rows that it could see were kept');
sql('VACUUM t');
is(sql($whole), 't', 'until it ended');
my $before = sql("SELECT pg_relation_size('i')");
sql("SELECT txid_current();\nVACUUM t;\nUPDATE t SET embedding = embedding;\nVACUUM t");
cmp_ok(sql("SELECT pg_relation_size('i')"), '<=', $before, 'the room of all that is used then');

# ---- broken off ----

my $cancelled = 0;
my $writer = start_session($node, 'postgres', "SET application_name = 'writer';\n" . join '', map { "INSERT INTO t SELECT 100000 + id, embedding FROM source WHERE id % 400 = $_;\n" } 0 .. 399);
foreach my $try (1 .. 60)
{
	my $timeout = 1 + $try % 15 * 4;
	my ($code, $out, $err) = $node->psql('postgres', "DELETE FROM t WHERE id % 60 = $try % 60;\nUPDATE t SET embedding = embedding WHERE id % 60 = ($try + 30) % 60;\nSET statement_timeout = '${timeout}ms';\nVACUUM t");
	$cancelled++ if ($err // '') =~ /canceling statement due to statement timeout/;
}
my ($state, undef, $err) = finish_session($writer);
is($state, '', 'inserts beside vacuums that are broken off') or diag($err);
cmp_ok($cancelled, '>=', 5, "of 60 vacuums, those broken off: $cancelled");
cmp_ok(sql("SELECT bundle_ann_check('i', true) - count(*) FROM t"), '>=', 0, 'the index is whole, but for deleted rows that are still there');
sql('VACUUM t');
is(sql($whole), 't', 'and after a vacuum without them');
is(sql("SET bundle_rec.full_scan_rows = 0; SELECT bundle_ann_recall('i', 200) >= .93"), 't', 'with the recall that it should have');
cmp_ok(sql("SELECT max_rows FROM (SELECT longest_list AS max_rows FROM bundle_ann_stats('i')) s"), '<=', 500, 'and no list that is too long');

# an index whose rows are all in one list, which is divided while others insert
sql("CREATE TABLE one (id int, embedding bundle_rec.embedding);\nCREATE INDEX one_index ON one USING bundle_ann (embedding);\nINSERT INTO one SELECT * FROM source");
$writer = start_session($node, 'postgres', "SET application_name = 'writer';\n" . join '', map { "INSERT INTO one SELECT 100000 + id, embedding FROM source WHERE id % 400 = $_;\n" } 0 .. 199);
sql('VACUUM one');
($state, undef, $err) = finish_session($writer);
is($state, '', 'inserts into a list that is divided') or diag($err);
is(sql("SELECT bundle_ann_check('one_index', true)"), '30000', 'lose nothing');
sql("VACUUM one;\nVACUUM one");
is(sql("SELECT bundle_ann_check('one_index', true), (SELECT shortest_list > 0 FROM bundle_ann_stats('one_index'))"), '30000|t', 'nor is anything left over');

$node->stop;
done_testing();

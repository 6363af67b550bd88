# 051_broken_off.pl
#    What is broken off: statements that are cancelled or run out of time, a disk
#    that is full, processes that are killed. All is left as it was, and works
#    afterwards. Rows that were written in bulk stand on a standby, in a dump and
#    after recovery as they do here.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

use Faults;

# ---- cancels and timeouts ----

my $node = PostgreSQL::Test::Cluster->new('cancels');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nclient_min_messages = error\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION bundle_rec');
load_checks($node, 'postgres');
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
make_sources($node, 'postgres', 30000);
follows_sources($node, 'postgres', 'after first loads', 0);
$node->safe_psql('postgres', q{SELECT bundle_rec.refresh(c) FROM unnest('{plain,part,view}'::text[]) c});

# differences that sync has to make good
sub hide_changes
{
	$node->safe_psql('postgres', q{SET session_replication_role = replica;
		UPDATE plain SET price = price + 1, title = title || '.'; UPDATE plain_sale SET usr = usr || '.';
		UPDATE part SET price = price + 1; UPDATE part_sale SET usr = usr || '.';
		UPDATE base SET price = price + 1; UPDATE base_sale SET usr = usr || '.'});
	return;
}
hide_changes();
my $before = state_of($node, 'postgres');
my @long = (
	"SELECT bundle_rec.sync('plain')", "SELECT bundle_rec.sync('part')", "SELECT bundle_rec.sync('view')",
	"UPDATE plain SET price = price + 7", "UPDATE part SET stock = stock + 1", "UPDATE plain_sale SET quantity = quantity + 1", "TRUNCATE plain_sale",
	"DELETE FROM plain", "SELECT bundle_rec.create_catalog('more', 'plain', 'sku')", "SELECT bundle_rec.add_event_source('plain', 'base_sale', item_id => 'sku')",
	"SELECT bundle_rec.drop_event_source('view', 'view_sale')", "INSERT INTO plain SELECT 'x' || sku, title, price, stock, active FROM plain");
my (%slowest, @late);
foreach my $statement (@long)
{
	foreach my $seconds (.05, .4)
	{
		my $took = cancel_after($node, 'postgres', "BEGIN; $statement; ROLLBACK;", $seconds);
		next if $took < 0;
		$slowest{$statement} = $took if $took > ($slowest{$statement} // 0);
		push @late, $took;
	}
}
# half of them, because a machine that pauses does so in one or two
cmp_ok((sort { $a <=> $b } @late)[ $#late / 2 ], '<', .5, 'they end at once');
diag(sprintf('cancelled after %.0f ms: %s', $slowest{$_} * 1000, $_)) foreach sort keys %slowest;
cmp_ok(scalar(@late), '>=', 12, 'statements were cancelled while they ran');
is(state_of($node, 'postgres'), $before, 'and nothing is half stored');
foreach my $statement (@long[ 0 .. 4 ])
{
	my ($state) = try_sql($node, 'postgres', "SET statement_timeout = '150ms'; BEGIN; $statement; ROLLBACK;");
	is($state, '57014', "$statement runs out of time");
}
is(state_of($node, 'postgres'), $before, 'which leaves nothing half stored either');
$node->safe_psql('postgres', qq{SELECT bundle_rec.sync('$_'); SELECT bundle_rec.refresh('$_')}) foreach qw(plain part view);
follows_sources($node, 'postgres', 'after cancels', 1);

# ---- standby and dump ----

$node->wait_for_catchup($standby);
is_whole($node, 'postgres', 'the primary');
is_whole($standby, 'postgres', 'the standby');
is(state_of($standby, 'postgres'), state_of($node, 'postgres'), 'which holds the same rows');
# through indexes alone, as queries find them
my $by_index = q{SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT count(*), md5(string_agg(i.item || i.item_id, ',' ORDER BY i.item_id)) FROM bundle_rec.item_1 i WHERE i.item_id > '';
	SELECT count(*) FROM bundle_rec.event_1 WHERE user_id > ''; SELECT count(*) FROM bundle_rec.event_1 WHERE source > 0 AND basket_id > ''};
is($standby->safe_psql('postgres', $by_index), $node->safe_psql('postgres', $by_index), 'and indexes');
$standby->stop;
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'tables written in bulk are dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'and restored');
is($node->safe_psql('restored', q{SELECT count(*), sum(hashtext(t::text)::bigint) FROM (SELECT item_id, category, text_hash FROM bundle_rec.item) t}),
	$node->safe_psql('postgres', q{SELECT count(*), sum(hashtext(t::text)::bigint) FROM (SELECT item_id, category, text_hash FROM bundle_rec.item) t}), 'with the same items');
is_whole($node, 'restored', 'the restored database');
follows_sources($node, 'restored', 'restored', 0);
$node->stop;

# ---- a full disk ----

# A limit on the size of files ends a write in the middle of a page, as a full disk does; WAL in small files stays below it.
my $full = PostgreSQL::Test::Cluster->new('full');
$full->init(extra => [ '--wal-segsize=1' ]);
$full->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nclient_min_messages = error\nmin_wal_size = 4MB\nmax_wal_size = 64MB\nwork_mem = 128MB\n");
$full->start;
$full->safe_psql('postgres', 'CREATE EXTENSION bundle_rec');
load_checks($full, 'postgres');
make_sources($full, 'postgres', 2000);
$full->safe_psql('postgres', q{SELECT bundle_rec.refresh(c) FROM unnest('{plain,part,view}'::text[]) c;
	SET session_replication_role = replica;
	INSERT INTO base SELECT 'more' || i, 'ware', 1, 1, true FROM generate_series(1, 50000) i;
	INSERT INTO base_sale SELECT 'more' || i / 3, 'more' || 1 + i % 50000, 'u' || i % 10 FROM generate_series(1, 60000) i});
$full->stop;
sub start_limited
{
	my ($kilobytes) = @_;
	local %ENV = $full->_get_env();
	# half a page more: a write that is cut short says that the disk is full
	my $file = 'ulimit -f ' . ($kilobytes + 4) . '; exec pg_ctl start -w -D "$1" -l "$2" -o "--cluster-name=full"';
	is(system('bash', '-c', $file, 'bash', $full->data_dir, $full->logfile), 0, "the server starts with files of $kilobytes kB at most");
	$full->_update_pid(1);
	return;
}
start_limited(2048);
$before = state_of($full, 'postgres');
foreach my $statement ("SELECT bundle_rec.sync('view')", "SELECT bundle_rec.create_catalog('more', 'base', 'sku')")
{
	my ($state, undef, $error) = try_sql($full, 'postgres', $statement);
	is($state, '53100', "$statement without room") or diag($error);
	like($error, qr/could not (extend|write)/, 'says so');
	is(state_of($full, 'postgres'), $before, 'and leaves all as it was');
}
nothing_left($full, 'postgres', 'without room');
$full->safe_psql('postgres', q{INSERT INTO plain VALUES ('small', 'small', 1, 1, true); INSERT INTO plain_sale VALUES ('small', 'small', 'u'); SELECT bundle_rec.refresh('plain')});
follows_sources($full, 'postgres', 'the shop goes on meanwhile', 1, 'plain');
my ($state, undef, $error) = try_sql($full, 'postgres', "SET temp_file_limit = '100kB'; SET maintenance_work_mem = '1MB'; SELECT bundle_rec.sync('view')");
is($state, '53400', 'a limit on temporary files');
$full->stop;
$full->start;
$full->safe_psql('postgres', q{SELECT bundle_rec.sync('view')});
$full->stop;
# now the queue stands, and counting it needs room
start_limited(2048);
$before = state_of($full, 'postgres');
($state, undef, $error) = try_sql($full, 'postgres', "SELECT bundle_rec.refresh('view')");
is($state, '53100', 'refresh without room') or diag($error);
is(state_of($full, 'postgres'), $before, 'leaves all as it was');
$full->stop;
$full->start;
$full->safe_psql('postgres', q{SELECT bundle_rec.refresh(c) FROM unnest('{plain,part,view}'::text[]) c});
follows_sources($full, 'postgres', 'with room again', 1);
is_whole($full, 'postgres', 'after a full disk');

# ---- kills ----

srand(51);
foreach my $kill (qw(backend postmaster backend))
{
	my $what = kill_during_change($full, 'postgres', $kill);
	recovers($full, 'postgres', "$kill killed during $what");
}
$full->stop;

# ---- bytes that are no UTF-8 ----

my $bytes = PostgreSQL::Test::Cluster->new('bytes');
$bytes->init(extra => [ '--encoding=SQL_ASCII', '--locale=C' ]);
$bytes->append_conf('postgresql.conf', "fsync = off\nclient_min_messages = error\n");
$bytes->start;
sub of_bytes
{
	my ($sql) = @_;
	return $bytes->safe_psql('postgres', "SET search_path = public, bundle_rec;\n$sql") =~ s/^\n+//r;
}
$bytes->safe_psql('postgres', 'CREATE EXTENSION bundle_rec');
of_bytes(qq{SELECT load_model('tiny', '$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls');
	CREATE TABLE ware (sku text PRIMARY KEY, title text, kind text, price int);
	CREATE TABLE sale (basket text, sku text, usr text);
	INSERT INTO ware SELECT E'\\xe9' || i, CASE WHEN i % 10 = 0 THEN E'bad \\xff text' ELSE 'good ' || i END, CASE WHEN i < 15 THEN E'k\\xe9' ELSE 'k' END, i FROM generate_series(1, 40) i;
	SELECT create_catalog('shop', 'ware', 'sku', text => '{title}', category => 'kind', price => 'price');
	SELECT add_event_source('shop', 'sale', user_id => 'usr', item_id => 'sku', basket_id => 'basket');
	INSERT INTO sale SELECT E'\\xff' || i / 3, E'\\xe9' || 1 + i % 39, E'\\xfeu' || i % 4 FROM generate_series(1, 100) i;
	UPDATE ware SET title = E'then \\xc0' WHERE price = 7; UPDATE ware SET title = 'mended' WHERE price = 20;
	SELECT refresh('shop')});
is(of_bytes(q{SELECT count(*), min(reason), max(reason) FROM rejected_row}), '4|its text is not valid UTF-8|its text is not valid UTF-8', 'items whose text is no UTF-8 are set aside');
is(of_bytes(q{SELECT items, embedded, pending FROM catalog_coverage}), '36|36|0', 'and everything else goes on');
is(of_bytes(q{SELECT count(*) FROM ((SELECT a.sku, b.sku, count(*) FROM (SELECT DISTINCT basket, sku FROM sale WHERE sku IN (SELECT item_id FROM item)) a JOIN (SELECT DISTINCT basket, sku FROM sale WHERE sku IN (SELECT item_id FROM item)) b USING (basket) WHERE a.sku <> b.sku GROUP BY 1, 2)
	EXCEPT SELECT a.item_id, b.item_id, together FROM item_pair p JOIN item a USING (item) JOIN item b ON b.item = p.other) x}), '0', 'ids of any bytes are counted');
is(of_bytes(q{SELECT count(*) FROM recommend('shop', user_id => E'\xfeu1', basket => ARRAY[E'\xe95'], categories => ARRAY[E'k\xe9'], exclude => ARRAY[E'\xe96'], log => true)}), '5', 'and recommended, filtered by categories of any bytes');
is(of_bytes(q{SELECT bool_and(feedback(decision_id, 1, event_id => E'\xff')) FROM (SELECT DISTINCT decision_id FROM decision) d}), 't', 'feedback comes by such ids');
is(of_bytes(q{SELECT count(*) FROM decision d, explain_decision(d.decision_id) e WHERE e.reasons -> 'context' @> jsonb_build_array(jsonb_build_object('from', E'\xe95'))}) > 0 ? 1 : 0, 1, 'reasons name them');
my ($invalid) = try_sql($bytes, 'postgres', q{SELECT count(*) FROM bundle_rec.recommend('shop', query => E'\xff')});
is($invalid, '22021', 'a query that is no UTF-8 is refused');
$bytes->stop;

done_testing();

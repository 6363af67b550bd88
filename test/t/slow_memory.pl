# slow_memory.pl
#    The memory of a backend that loads, compares and counts 300,000 rows, whose
#    statement changes 100,000, or that reads texts of a megabyte: it is bounded by
#    work_mem and maintenance_work_mem and does not grow with the rows.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use Faults;

plan skip_all => 'needs /proc' unless -r "/proc/$$/status";

my $node = PostgreSQL::Test::Cluster->new('memory');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nclient_min_messages = error\nmaintenance_work_mem = 4MB\nlog_statement = none\n");
$node->start;
$node->safe_psql('postgres', "CREATE EXTENSION bundle_rec; SELECT bundle_rec.load_model('tiny', '$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls')");

# Private memory of a process in MB.
sub private_memory
{
	my ($pid) = @_;
	open my $file, '<', "/proc/$pid/status" or return 0;
	my ($kilobytes) = map { /^RssAnon:\s+(\d+)/ } <$file>;
	return ($kilobytes // 0) / 1024;
}

# By how many MB a backend's private memory grows at most while it executes a statement.
sub growth
{
	my ($statement) = @_;
	my $session = start_session($node, 'postgres', "SET application_name = 'measured';\nSELECT pg_sleep(0.3);\n$statement;");
	my $pid = '';
	while ($pid eq '') { $pid = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'measured'}); }
	my ($before, $most) = (private_memory($pid), 0);
	while (my $now = private_memory($pid))
	{
		$most = $now if $now > $most;
		usleep(2_000);
		last unless $session->{run}->pumpable;
	}
	my ($state, undef, $error) = finish_session($session);
	is($state, '', $statement) or diag($error);
	return $most - $before;
}

my %grown;
foreach my $rows (100_000, 300_000)
{
	$node->safe_psql('postgres', qq{SELECT bundle_rec.drop_catalog(name) FROM bundle_rec.catalog; DROP TABLE IF EXISTS ware, sale CASCADE;
		CREATE TABLE ware (sku text PRIMARY KEY, price int); CREATE TABLE sale (basket int, sku text, usr text); CREATE VIEW shelf AS SELECT * FROM ware;
		INSERT INTO ware SELECT 'w' || i, i FROM generate_series(1, $rows) i;
		INSERT INTO sale SELECT i / 3, 'w' || 1 + i * 31::bigint % $rows, 'u' || i % 1000 FROM generate_series(1, $rows) i});
	my $measure = sub {
		my ($statement) = @_;
		my $grown = growth($statement);
		push @{ $grown{$statement} }, $grown;
		return;
	};
	$measure->(q{SELECT bundle_rec.create_catalog('shop', 'ware', 'sku', price => 'price')});
	$measure->(q{SELECT bundle_rec.create_catalog('shelf', 'shelf', 'sku', price => 'price')});
	$measure->(q{SELECT bundle_rec.add_event_source('shop', 'sale', user_id => 'usr', item_id => 'sku', basket_id => 'basket')});
	$measure->(q{SELECT bundle_rec.refresh('shop')});
	$node->safe_psql('postgres', q{SET session_replication_role = replica; UPDATE ware SET price = price + 1; UPDATE sale SET usr = usr || 'x'});
	$measure->(q{SELECT bundle_rec.sync('shop')});
	$measure->(q{SELECT bundle_rec.sync('shelf')});
	$measure->('UPDATE ware SET price = price + 1 WHERE price <= ' . int($rows / 3));
	$measure->('INSERT INTO sale SELECT i, sku, usr FROM sale, generate_series(1, 1) i WHERE basket < ' . int($rows / 9));
}
foreach my $statement (sort keys %grown)
{
	diag(sprintf('%s: %s MB', $statement, join(' and ', map { sprintf '%.1f', $_ } @{ $grown{$statement} })));
	my $most = (sort { $a <=> $b } @{ $grown{$statement} })[-1];
	# refresh sorts and hashes in several places, each with a work_mem of its own
	cmp_ok($most, '<', $statement =~ /refresh/ ? 96 : 32, "memory is bounded: $statement");
	cmp_ok($grown{$statement}[1] - $grown{$statement}[0], '<', 8, 'and does not grow with the rows') if @{ $grown{$statement} } > 1;
}

$node->safe_psql('postgres', q{CREATE TABLE book (sku int, text text); ALTER TABLE book ALTER text SET STORAGE EXTERNAL; INSERT INTO book SELECT i, i || repeat('word ', 200000) FROM generate_series(1, 300) i;
	CREATE TABLE keyed (LIKE book); INSERT INTO keyed TABLE book; ALTER TABLE keyed ADD PRIMARY KEY (sku)});
foreach my $table (qw(book keyed))
{
	my $grown = growth("SELECT bundle_rec.create_catalog('$table', '$table', 'sku', text => '{text}')");
	diag(sprintf('300 texts of 1 MB: %.1f MB', $grown));
	cmp_ok($grown, '<', 64, 'texts of a megabyte are not gathered by the thousand');
}

$node->stop;
done_testing();

# 061_ann_text.pl
#    An index of bundle_ann on texts while sessions insert, delete, scan, flush and
#    vacuum at the same time, and after crashes in between: every row that a
#    snapshot sees is found, once, wherever it is at that moment.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

use Decisions qw(hard_restart);

my $node = PostgreSQL::Test::Cluster->new('texts');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\njit = off\nrestart_after_crash = on\nclient_min_messages = error\n");
$node->start;
$node->safe_psql('postgres', qq{
	CREATE EXTENSION bundle_rec;
	SELECT bundle_rec.load_model('tiny', '$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls');
	CREATE TABLE item (id serial PRIMARY KEY, title text);
	INSERT INTO item (title) SELECT 'thing ' || md5(i::text) FROM generate_series(1, 300) i;
	CREATE INDEX item_title ON item USING bundle_ann (title) WITH (pending = 20);
	-- how many rows a sequential scan sees, and how often the index returns how many of them, under one snapshot
	CREATE FUNCTION seen(OUT by_table bigint, OUT by_index bigint, OUT returned bigint) STABLE LANGUAGE plpgsql
	SET search_path = public, bundle_rec SET bundle_rec.scan_order = relaxed SET enable_seqscan = off SET enable_sort = off AS \$\$
	DECLARE
		text text := 'thing ' || pg_backend_pid();
	BEGIN
		SELECT count(id + 0) INTO by_table FROM item;
		SELECT count(DISTINCT id), count(id) INTO by_index, returned
		FROM (SELECT id FROM item ORDER BY title <=> text LIMIT 1000000) s;
	END \$\$;
	CREATE FUNCTION compare() RETURNS void LANGUAGE plpgsql AS \$\$
	DECLARE
		s record;
	BEGIN
		SELECT * INTO s FROM seen();
		IF s.by_table <> s.by_index OR s.returned <> s.by_index THEN
			RAISE EXCEPTION 'the table has % rows, the index returns % of them in % rows', s.by_table, s.by_index, s.returned;
		END IF;
	END \$\$});
like($node->safe_psql('postgres', q{SET enable_seqscan = off; SET enable_sort = off; SET search_path = public, bundle_rec;
	EXPLAIN SELECT id FROM item ORDER BY title <=> 'thing' LIMIT 1000000}),
	qr/Index Scan using item_title/, 'the index is what is compared');

my %scripts = (
	insert => "\\set n random(1, 2)\nINSERT INTO item (title) SELECT 'thing ' || md5(random()::text) FROM generate_series(1, :n);\n",
	# old rows and new ones, which wait
	delete => "\\set r random(1, 1000)\nDELETE FROM item WHERE id = :r OR id = (SELECT max(id) FROM item) - :r / 50;\n",
	update => "\\set r random(1, 1000)\nUPDATE item SET title = title || '.' WHERE id = :r;\n",
	scan => "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT compare();\nEND;\n",
	flush => "SELECT bundle_rec.bundle_ann_flush('item_title');\n\\sleep 20 ms\n",
	vacuum => "VACUUM item;\n\\sleep 50 ms\n");
my %files;

foreach my $name (keys %scripts)
{
	$files{$name} = $node->basedir . "/$name.sql";
	append_to_file($files{$name}, $scripts{$name});
}

my %output;

sub begin_load
{
	my ($name, $clients, $seconds, @scripts) = @_;
	my @command = ('pgbench', '-n', '-T', $seconds, '-c', $clients, '--max-tries=100', '-h', $node->host, '-p', $node->port);

	push @command, '-f', $files{$_} foreach @scripts;
	$output{$name} = '';
	return IPC::Run::start([ @command, 'postgres' ], '<', \undef, '>', \$output{$name}, '2>&1');
}

# ---- all at once ----

my %loads = (
	writers => begin_load('writers', 4, 8, qw(insert insert delete update)),
	scans => begin_load('scans', 1, 8, 'scan'),
	flushes => begin_load('flushes', 1, 8, 'flush'),
	vacuums => begin_load('vacuums', 1, 8, 'vacuum'));

foreach my $name (sort keys %loads)
{
	$loads{$name}->finish;
	is($loads{$name}->result(0), 0, "$name go on beside all others") or diag($output{$name});
	my ($n) = $output{$name} =~ /number of transactions actually processed: (\d+)/;
	cmp_ok($n // 0, '>', 2, "$name: many times");
}
$node->safe_psql('postgres', 'SELECT compare()');
is($node->safe_psql('postgres', q{SELECT by_table = by_index AND by_index = returned FROM seen()}), 't', 'in the end each row is found once');
is($node->safe_psql('postgres', q{SELECT bundle_rec.bundle_ann_check('item_title', true) >= count(*) FROM item}), 't', 'and the index is sound');
$node->safe_psql('postgres', q{VACUUM (INDEX_CLEANUP on) item; SELECT bundle_rec.bundle_ann_flush('item_title')});
is($node->safe_psql('postgres', q{SELECT bundle_rec.bundle_ann_check('item_title', true) - count(*) FROM item}), '0', 'without what is gone it has as many rows as the table');

# ---- crashes ----

foreach my $round (1 .. 3)
{
	my @running = (begin_load('writers', 3, 60, qw(insert insert delete update)), begin_load('flushes', 1, 60, 'flush'), begin_load('vacuums', 1, 60, 'vacuum'));

	sleep(.7 + .4 * $round);
	ok(hard_restart($node, (qw(postmaster backend immediate))[ $round % 3 ]), "crash $round: the server runs again");
	$_->finish foreach @running;
	is($node->safe_psql('postgres', q{SELECT by_table = by_index AND by_index = returned FROM seen()}), 't', "crash $round: every committed row is found, once");
	is($node->safe_psql('postgres', q{SELECT bundle_rec.bundle_ann_check('item_title', true) >= count(*) FROM item}), 't', "crash $round: the index is sound");
}

# ---- rows that wait ----

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres', q{SELECT bundle_rec.bundle_ann_flush('item_title'); INSERT INTO item (title) SELECT 'waiting ' || i FROM generate_series(1, 7) i});
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', q{SELECT pending FROM bundle_rec.bundle_ann_stats('item_title')}), '7', 'they wait when it is back');
is($node->safe_psql('postgres', q{SELECT by_table = by_index AND by_index = returned FROM seen()}), 't', 'and are found');
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', q{SELECT by_table = by_index AND by_index = returned FROM seen()}), 't', 'on a standby too');
is($node->safe_psql('postgres', q{SELECT bundle_rec.bundle_ann_flush('item_title')}), '7', 'and are embedded');
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', q{SELECT by_table = by_index AND by_index = returned FROM seen()}), 't', 'which follows');
$standby->stop;

# ---- dumps ----

foreach my $kind ('whole', 'schema-only')
{
	my $dump = $node->basedir . "/$kind.sql";
	my @options = $kind eq 'whole' ? () : '--schema-only';
	$node->command_ok([ 'pg_dump', @options, '-f', $dump, '-d', $node->connstr('postgres') ], "$kind: a dump");
	$node->safe_psql('postgres', qq{CREATE DATABASE "$kind"});
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr($kind) ], "$kind: is restored, index and all");
	is($node->safe_psql($kind, q{SELECT bundle_rec.bundle_ann_check('item_title', true) - count(*) FROM item}), '0', "$kind: which has the table's rows");
}
$node->safe_psql('postgres', 'VACUUM (INDEX_CLEANUP on) item');
is($node->safe_psql('postgres', q{SELECT bundle_rec.bundle_ann_check('item_title', true) - count(*) FROM item}), '0', 'the index is whole in the end');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX002|is damaged/, 'and nothing else went wrong');

$node->stop;
done_testing();

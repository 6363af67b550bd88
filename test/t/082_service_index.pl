# 082_service_index.pl
#    Indexes that the device of the embedding service builds: that it does, how
#    good they are, and what becomes of a build when its helper dies, its device
#    fails or hangs, or the build is broken off.
#
# How many of the nearest rows an index finds is told by all distances, in a plain
# sort.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use Ann;
use Faults;
use Service;

my $build = 'CREATE INDEX ann ON vectors USING bundle_ann (embedding) WITH (lists = 60)';
my $by_device = 'SET bundle_rec.service_build_work = 0';
my $told = 'the device does not assign vectors to lists: this session does it by itself';

my $node = make_server('service_index', 600, "bundle_rec.embedding_service = gpu\nmax_parallel_maintenance_workers = 1\nrestart_after_crash = on");
make_vectors($node, 6000);
state_becomes($node, 'ready', 'the service is ready');
server_is_whole($node, 'its server is there');

sub sql
{
	my ($sql) = @_;
	return ask($node, $sql);
}

# Runs statements: vectors that a device has assigned (0: none did), warnings, all messages.
sub run
{
	my ($statements) = @_;
	my (undef, $warnings, $messages) = warnings_of($node, "SET client_min_messages = debug1; $statements");
	my $assigned = 0;

	$assigned += $_ foreach $messages =~ /DEBUG:  a device has assigned (\d+) vectors to lists/g;
	unlike($messages, qr/ERROR:/, 'without an error');
	return ($assigned, $warnings, $messages);
}

# Begins to build in a session of its own, with a helper: the session, its process and the helper's.
sub begin_build
{
	my ($statements, $then) = @_;
	my $session = start_session($node, 'postgres', "SET application_name = 'builds'; $by_device; SET client_min_messages = debug1;\n$statements;\n" . ($then // ''));
	my ($pid, @helpers) = ('');

	for (my $tries = 0; @helpers == 0 && $tries < 3000; $tries++)
	{
		$pid = sql(q{SELECT pid FROM pg_stat_activity WHERE application_name = 'builds'});
		@helpers = helpers_of($pid) if $pid ne '';
		usleep(10_000);
	}
	is(scalar(@helpers), 1, 'a session that builds has a helper of its own');
	return ($session, $pid, $helpers[0]);
}

sub phase_becomes
{
	my ($phase) = @_;
	return $node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_progress_create_index WHERE phase LIKE '%$phase%'");
}

# Of the 10 nearest rows to each of 90 queries, the share that the index finds with the nearest lists alone.
sql('CREATE TABLE query AS SELECT i AS q, near(i) AS at FROM generate_series(1, 90) i');
sql(q{SET enable_indexscan = off; CREATE TABLE limits AS SELECT q, at, max(d) AS d FROM query,
	LATERAL (SELECT embedding <=> at AS d FROM vectors ORDER BY 1 LIMIT 10) s GROUP BY q, at::text, at});
sub recall
{
	my ($settings) = @_;
	return sql(qq{SET enable_seqscan = off; SET enable_sort = off; SET bundle_rec.full_scan_rows = 0; $settings;
		SELECT round(avg((s.d <= limits.d)::int), 4) FROM limits, LATERAL (SELECT embedding <=> at AS d FROM vectors ORDER BY embedding <=> at LIMIT 10) s});
}

# ---- who builds ----

sql('DROP INDEX ann');
my ($assigned, $warnings) = run($build);
is("$assigned @$warnings", '0 ', 'a small index is built by its session');
my ($recall, $narrow) = (recall(''), recall('SET bundle_rec.probes = 2'));
cmp_ok($recall, '>=', .95, 'and finds what it should');
sql('DROP INDEX ann');
($assigned, $warnings) = run("$by_device; $build");
is("@$warnings", '', 'a device builds it without a warning');
# 3000 in the sample, twice at least, once more for calibration, and every row
cmp_ok($assigned, '>=', 3 * 3000 + 6000, 'and has the sample several times and every row');
index_is_right($node, 'built by a device');
cmp_ok(recall(''), '>=', .95, 'an index that a device has built finds what it should');
cmp_ok(abs(recall('SET bundle_rec.probes = 2') - $narrow), '<', .05, 'and as much as the other one where few lists are looked at');
is(sql(q{SELECT lists FROM bundle_ann_stats('ann')}), '60', 'it has the lists that were asked for');
is(gpu($node, 'batches, last_error'), '0|', 'the service itself has nothing to do with it');

foreach my $statement ('REINDEX INDEX ann', 'REINDEX INDEX CONCURRENTLY ann', 'DROP INDEX ann; ' . ($build =~ s/INDEX/INDEX CONCURRENTLY/r))
{
	($assigned, $warnings) = run("$by_device; $statement");
	cmp_ok($assigned, '>=', 3 * 3000 + 6000, "$statement: by the device");
	is("@$warnings", '', "$statement: without a warning");
}
index_is_right($node, 'built concurrently');
($assigned, $warnings) = run('SET max_parallel_maintenance_workers = 0; SET maintenance_work_mem = 1024; ' . "$by_device; REINDEX INDEX ann");
cmp_ok($assigned, '>', 6000, 'with little memory');
index_is_right($node, 'built with little memory');

($assigned) = run("$by_device; CREATE INDEX titles ON golden USING bundle_ann (text) WITH (lists = 12)");
cmp_ok($assigned, '>=', 3 * 600 + 600, 'an index of texts: by the device');
is(sql(q{SELECT bundle_ann_check('titles', true)}), '600', 'and whole');

# vectors that take both lanes, several times
sql(q{CREATE TABLE wide AS SELECT i AS id, (SELECT array_agg((sin(i % 40 + j) + sin(i * j) / 4)::real) FROM generate_series(1, 2000) j)::embedding AS at FROM generate_series(1, 3000) i});
my $wide = q{SET enable_seqscan = off; SET enable_sort = off; SET bundle_rec.full_scan_rows = 0; SET bundle_rec.probes = 1;
	SELECT count(*) FROM (SELECT at FROM wide WHERE id <= 40) q, LATERAL (SELECT id FROM (SELECT id FROM wide ORDER BY wide.at <=> q.at LIMIT 1) s WHERE id <= 40) s};
($assigned, $warnings) = run("$by_device; CREATE INDEX wide_ann ON wide USING bundle_ann (at) WITH (lists = 40)");
cmp_ok($assigned, '>=', 3 * 2000 + 3000, 'vectors of 2,000 dimensions, by the device');
is(sql(q{SELECT bundle_ann_check('wide_ann', true)}), '3000', 'are all there');
is(sql($wide), '40', 'each in the list in which it is looked for');

foreach my $settings ('bundle_rec.service_build_work = -1', 'bundle_rec.backend = portable', 'bundle_rec.precision = f32')
{
	($assigned, $warnings) = run("$by_device; SET $settings; REINDEX INDEX ann");
	is("$assigned @$warnings", '0 ', "$settings: by the session");
}

# ---- texts meanwhile ----

set_faults('slow 300');
my ($session, $pid, $helper) = begin_build('REINDEX INDEX ann');
my $start = time;
is(sql(q{SELECT bundle_rec.embed('meanwhile', 'tiny') IS NOT NULL}), 't', 'texts are embedded while an index is built');
ok($session->{run}->pumpable, 'and do not wait for it');
set_faults();
my ($state, undef, $messages) = finish_session($session);
is($state, '', 'which comes to its end');
like($messages, qr/a device has assigned/, 'by the device');
has_gone($helper, 'and its helper with it');

# ---- what fails ----

# Builds with a helper that meets something in the middle of a phase; the reason that is given for it.
sub fails
{
	my ($what, $phase, $happen, $detail) = @_;

	# the second one is short
	set_faults($phase eq 'k-means' ? 'slow 200' : 'slow 600');
	my ($session, $pid, $helper) = begin_build('REINDEX INDEX ann');
	phase_becomes($phase);
	usleep(300_000);
	$happen->($helper);
	my ($state, undef, $messages) = finish_session($session);
	is($state, '', "$what: the index is built");
	is(scalar(() = $messages =~ /WARNING:  \w+: \Q$told\E\n/g), 1, "$what: with one warning");
	like($messages, qr/DETAIL:  $detail\n/, "$what: which says why");
	has_gone($helper, "$what: no helper is left");
	set_faults();
	index_is_right($node, $what);
	cmp_ok(recall(''), '>=', .95, "$what: and as good as ever");
	return;
}

fails('a helper that is killed', 'k-means', sub { kill('KILL', $_[0]) }, 'The helper process was ended by signal 9: Killed\.?');
fails('a helper that is killed after k-means', 'assigning rows', sub { kill('KILL', $_[0]) }, 'The helper process was ended by signal 9: Killed\.?');
fails('a device that fails', 'k-means', sub { set_faults('device') }, 'The device fails as it was told to\.');
fails('a device that aborts', 'k-means', sub { set_faults('abort') }, 'The helper process was ended by signal 6: Aborted\.?');
fails('a device without memory', 'k-means', sub { set_faults('memory 59') }, 'The device has memory for 59 centroids\.');
server_is_whole($node, 'the server did not mind');
is(gpu($node, 'state'), 'ready', 'nor did the service, whose device fails only when it is asked');

foreach my $fault ([ 'device', 'The device fails as it was told to\.' ], [ 'none', 'There is no device, as it was told\.' ], [ 'abort', 'The helper process was ended by signal 6: Aborted\.?' ])
{
	my ($line, $detail) = @$fault;

	set_faults($line);
	($assigned, $warnings, $messages) = run("$by_device; REINDEX INDEX ann");
	is("$assigned @$warnings", "0 $told", "$line, from the beginning: the session builds, after one warning");
	like($messages, qr/DETAIL:  $detail/, "$line: which says why");
}
set_faults();
index_is_right($node, 'built in spite of devices');
($assigned) = run("$by_device; REINDEX INDEX ann; REINDEX INDEX ann");
cmp_ok($assigned, '>', 12000, 'a session builds one after another');

# ---- what is broken off ----

# A build that waits for a device that hangs, until it is told to end; its process stays.
sub breaks_off
{
	my ($what, $statements, $end, $expected) = @_;

	set_faults('slow 100');
	my ($session, $pid, $helper) = begin_build($statements, 'SELECT pg_sleep(600)');
	phase_becomes('k-means');
	set_faults('hang 600');
	usleep(300_000);
	my $start = time;
	$end->($pid);
	has_gone($helper, "$what: its helper is gone");
	cmp_ok(time - $start, '<', 10, "$what: soon");
	# it says so before it is told to end
	$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_stat_progress_create_index');
	sql("SELECT pg_terminate_backend($pid)");
	my ($state) = finish_session($session);
	is($state, $expected, "$what: as the session hears");
	set_faults();
	return;
}

breaks_off('a build that is cancelled', 'REINDEX INDEX ann', sub { sql("SELECT pg_cancel_backend($_[0])") }, '57014');
breaks_off('a build whose session is ended', 'REINDEX INDEX ann', sub { sql("SELECT pg_terminate_backend($_[0])") }, '57P01');
breaks_off('a build that is cancelled in a block which goes on', q{DO $$ BEGIN REINDEX INDEX ann; EXCEPTION WHEN query_canceled THEN RAISE NOTICE 'cancelled'; END $$},
	sub { sql("SELECT pg_cancel_backend($_[0])") }, '57P01');
breaks_off('a build in a transaction that has failed', "BEGIN;\n\\set ON_ERROR_STOP 0\nREINDEX INDEX ann", sub { sql("SELECT pg_cancel_backend($_[0])") }, '57014');
index_is_right($node, 'after builds that were broken off');

set_faults('hang 600');
my $seconds = cancel_after($node, 'postgres', "$by_device;\nREINDEX INDEX ann", 0.3);
ok($seconds >= 0 && $seconds < 10, sprintf('a build whose helper does not start is cancelled, in %.0f ms', 1000 * $seconds));
set_faults();
server_is_whole($node, 'the server is what it was');

# ---- off ----

set_service($node, 'bundle_rec.embedding_service = cpu', 'ready', 'the service computes on the CPU');
($assigned, $warnings) = run("$by_device; REINDEX INDEX ann");
is("$assigned @$warnings", '0 ', 'and sessions build');
set_service($node, 'bundle_rec.embedding_service = off', 'off', 'it is off');
($assigned, $warnings) = run("$by_device; REINDEX INDEX ann");
is("$assigned @$warnings", '0 ', 'and sessions build');
index_is_right($node, 'built without a device');

# ---- kill -9 ----

set_service($node, 'bundle_rec.embedding_service = gpu', 'ready', 'it is on again');
set_faults('slow 300');
($session, $pid, $helper) = begin_build('REINDEX INDEX ann');
kill('KILL', $pid);
has_gone($helper, 'a helper does not outlive a session that was killed');
set_faults();
finish_session($session);
$node->poll_query_until('postgres', 'SELECT true');
index_is_right($node, 'after a restart');
$node->stop;

done_testing();

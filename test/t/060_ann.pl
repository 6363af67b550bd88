# 060_ann.pl
#    The index access method under concurrent changes: beside vacuum, through
#    crashes, on a standby, and where a build is broken off.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

use Ann;
use Decisions qw(hard_restart);

my $folder = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('ann');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "autovacuum = off\njit = off\nmax_connections = 40\nrestart_after_crash = on\nlog_min_messages = warning\nlog_statement = none\nmax_wal_size = 256MB\n");
$node->start;
make_vectors($node, 6000);
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = -1\n");
$standby->start;

# ---- changes and vacuum at once, and what a standby makes of them ----

foreach my $round (1 .. 3)
{
	my $load = start_load($node, $folder, 4);
	my $until = time + 3;
	my $answers = 0;
	while (time < $until)
	{
		my $n = $standby->safe_psql('postgres', q{SET enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM vectors ORDER BY embedding <=> (SELECT near(4)) LIMIT 20) s});
		$answers++ if $n eq '20';
	}
	cmp_ok($answers, '>', 0, "round $round: the standby answers during replay");
	is(stop_load($load), '', "round $round: no client met an error");
	index_is_right($node, "round $round of changes");
	$node->wait_for_catchup($standby);
	same_rows($node, $standby, "round $round: primary and standby give the same rows");
}
foreach my $round (4 .. 10)
{
	$node->safe_psql('postgres', qq{DELETE FROM vectors WHERE id % 11 = $round; INSERT INTO vectors (embedding) SELECT near(i) FROM generate_series(1, 300) i; VACUUM vectors});
	$node->wait_for_catchup($standby);
	same_rows($node, $standby, "round $round: the same after a vacuum");
}
index_is_right($standby, 'the standby');

# an index that was empty when it was made, filled by several at once
$node->safe_psql('postgres', 'DROP INDEX ann; TRUNCATE vectors; CREATE INDEX ann ON vectors USING bundle_ann (embedding)');
my $filling = start_load($node, $folder, 6);
sleep 3;
is(stop_load($filling), '', 'an empty index is filled by several clients');
index_is_right($node, 'filled from empty');
$node->safe_psql('postgres', 'INSERT INTO vectors (embedding) SELECT near(i) FROM generate_series(1, 6000) i; VACUUM vectors');
index_is_right($node, 'divided by vacuum');
cmp_ok($node->safe_psql('postgres', q{SELECT lists FROM bundle_ann_stats('ann')}), '>', 10, 'vacuum has divided its one list');

# ---- the end of the server at any moment ----

srand(6);
foreach my $kill (1 .. $ENV{BR_KILLS} // 3)
{
	my $how = (qw(postmaster backend immediate))[ $kill % 3 ];
	my $load = start_load($node, $folder, 6);
	sleep .7 + rand 2;
	ok(hard_restart($node, $how), "kill $kill: the server runs again after its end: $how");
	is(stop_load($load), '', "kill $kill: clients met no error but the lost connection");
	index_is_right($node, "kill $kill");
}
$node->safe_psql('postgres', 'VACUUM vectors');
index_is_right($node, 'vacuumed after crashes');
$node->wait_for_catchup($standby);
same_rows($node, $standby, 'the standby has followed through the crashes');
$standby->promote;
$standby->safe_psql('postgres', 'INSERT INTO vectors (embedding) SELECT near(i) FROM generate_series(1, 500) i; DELETE FROM vectors WHERE id % 7 = 0; VACUUM vectors');
index_is_right($standby, 'promoted, changed and vacuumed');
$standby->stop;

# an unlogged index is empty after a crash, as its table is, and works
$node->safe_psql('postgres', 'CREATE UNLOGGED TABLE passing AS SELECT id, embedding FROM vectors; CREATE INDEX passing_ann ON passing USING bundle_ann (embedding)');
ok(hard_restart($node, 'immediate'), 'an end with an unlogged index');
is($node->safe_psql('postgres', q{SELECT bundle_ann_check('passing_ann', true)}), '0', 'it is empty');
$node->safe_psql('postgres', 'INSERT INTO passing SELECT id, embedding FROM vectors LIMIT 500');
is($node->safe_psql('postgres', q{SELECT bundle_ann_check('passing_ann', true)}), '500', 'and takes rows');

# ---- builds that are broken off ----

$node->safe_psql('postgres', 'INSERT INTO vectors (embedding) SELECT near(i) FROM generate_series(1, 60000) i');
my $files = sub { return $node->safe_psql('postgres', q{SELECT count(*) FROM pg_ls_dir('base/' || (SELECT oid FROM pg_database WHERE datname = 'postgres')) f WHERE f !~ '_'}) };
my $before = $files->();
my @late;
foreach my $after (5, 60, 200, 500)
{
	my $begun = time;
	my (undef, undef, $error) = $node->psql('postgres', "SET statement_timeout = $after; CREATE INDEX broken ON vectors USING bundle_ann (embedding)");
	next if $error eq '';
	like($error, qr/canceling statement due to statement timeout/, "a build is broken off after $after ms");
	push @late, time - $begun - $after / 1000;
}
cmp_ok(scalar(@late), '>=', 2, 'builds were broken off');
cmp_ok((sort { $a <=> $b } @late)[ $#late / 2 ], '<', 1.5, 'half of them at once') or diag("@late");
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_class WHERE relname = 'broken'}), '0', 'nothing is left of it');
index_is_right($node, 'beside builds that were broken off');
my ($seen, $tries) = ('', 0);
my $building = $node->background_psql('postgres', on_error_stop => 0);
$building->query_until(qr/begun/, "\\echo begun\nSET max_parallel_maintenance_workers = 0; CREATE INDEX later ON vectors USING bundle_ann (embedding) WITH (lists = 2000);\n\\echo done\n");
while ($tries++ < 400)
{
	my $phase = $node->safe_psql('postgres', q{SELECT phase FROM pg_stat_progress_create_index});
	$seen .= "$phase\n" if $phase ne '';
	last if $seen =~ /building index: \w/ && $phase eq '';
	sleep .01;
}
$building->quit;
like($seen, qr/building index: (reading rows|performing k-means|assigning rows to lists|writing lists)/, 'progress is shown');

$node->stop;
done_testing();

# 010_model.pl
#    Models around the server: threads, the shared packed file and what can
#    happen to it, backups, standbys, cancels, other encodings. The backend takes
#    plain weights, so that a model has one file; 012_compute.pl has the others.

use strict;
use warnings;

use Fcntl qw(:mode);
use File::Copy qw(copy);
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use Restart;

my $models = "$ENV{BR_GOLDEN_DIR}/models";
my $embed = q{SELECT bundle_rec.embed('a red cotton shirt', 'cls')::text};

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'bundle_rec'\nrestart_after_crash = on\nmax_connections = 40\n"
	  . "bundle_rec.backend = openblas\nbundle_rec.query_cache = 0\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION bundle_rec');
$node->safe_psql('postgres', "SELECT bundle_rec.load_model('cls', '$models/tiny-bert-cls')");

sub packed_files
{
	return map { s{.*/}{}r } glob($node->data_dir . '/pgsql_tmp_br_*');
}

sub threads
{
	my ($pid) = @_;
	my ($n) = slurp_file("/proc/$pid/status") =~ /^Threads:\s+(\d+)/m;
	return $n;
}

sub postmaster
{
	my ($pid) = slurp_file($node->data_dir . '/postmaster.pid') =~ /\A(\d+)/;
	return $pid;
}

# The inode of the packed file that a backend has mapped.
sub mapped_inode
{
	my ($pid) = @_;
	my ($inode) = slurp_file("/proc/$pid/maps") =~ /\s(\d+)\s+\S*pgsql_tmp_br_/;
	return $inode // 'none';
}

my $expected = $node->safe_psql('postgres', $embed);
like($expected, qr/^\[-?\d.*\]$/, 'a model embeds');

# ---- threads ----

is(threads(postmaster()), 1, 'the preloaded postmaster has one thread');
my $session = $node->background_psql('postgres');
is($session->query("SET bundle_rec.backend = openblas; $embed"), $expected, 'OpenBLAS is loaded in a session');
is(threads($session->query('SELECT pg_backend_pid()')), 1, 'a session that has loaded OpenBLAS has one thread');
like($session->query('SELECT reason IS NULL FROM bundle_rec.backends() WHERE name = \'openblas\''),
	qr/^t$/, 'and no reason not to use it');
$session->quit;

# ---- the packed file is a cache ----

my ($name) = packed_files();
is(scalar(packed_files()), 1, 'one packed file');
my $path = $node->data_dir . "/$name";
is(S_IMODE((stat $path)[2]), 0600, 'it is the server\'s alone');

# What may happen to the file while nobody looks; the answer stays the same.
sub damage
{
	my ($what, $do) = @_;
	unlink $path;
	$node->safe_psql('postgres', $embed);
	my $before = (stat $path)[1];
	$do->();
	is($node->safe_psql('postgres', $embed), $expected, "$what: the answer is the same");
	my @now = lstat $path;
	ok(S_ISREG($now[2]) && S_IMODE($now[2]) == 0600 && -s _ > 100_000, "$what: there is a right file again");
	return $before;
}

sub patch
{
	my ($at, $bytes) = @_;
	open my $file, '+<', $path or die "$path: $!";
	binmode $file;
	seek $file, $at, 0;
	print $file $bytes;
	close $file;
	return;
}

damage('deleted', sub { unlink $path });
damage('truncated', sub { truncate $path, 5000 });
damage('emptied', sub { truncate $path, 0 });
damage('grown', sub { patch(-s $path, "\0" x 64) });
damage('header overwritten', sub { patch(0, "\0" x 64) });
damage('weights overwritten', sub { patch(int(0.9 * -s $path), 'damage') });
damage('open to others', sub { chmod 0666, $path });
damage('a symbolic link', sub {
	my $elsewhere = PostgreSQL::Test::Utils::tempdir() . '/elsewhere';
	copy($path, $elsewhere);
	chmod 0600, $elsewhere;
	unlink $path;
	symlink $elsewhere, $path;
});
damage('a named pipe', sub { unlink $path; system('mkfifo', '-m', '600', $path) == 0 or die });
damage('leftovers', sub {
	unlink $path;
	append_to_file("$path.new", 'x' x 10_000);
	append_to_file($node->data_dir . '/pgsql_tmp_br_0123_1_generic.new', 'x');
});
is_deeply([ packed_files() ], [$name], 'half-written files of dead processes are gone');

# A directory in its place cannot be replaced: an error, nothing else.
unlink $path;
mkdir $path;
my ($status, undef, $error) = $node->psql('postgres', $embed);
isnt($status, 0, 'a directory in its place is an error');
like($error, qr/could not (rename|open) file.*directory/i, 'which says so');
rmdir $path;
is_deeply([ packed_files() ], [], 'and leaves nothing half-written');
is($node->safe_psql('postgres', $embed), $expected, 'without it the file is made again');

# A session keeps what it has mapped, whatever happens to the name.
$session = $node->background_psql('postgres');
$session->query($embed);
unlink $path;
is($session->query($embed), $expected, 'a session keeps its mapping when the file is deleted');
is_deeply([ packed_files() ], [], 'and needs no other');
$session->quit;

# ---- one writes, others wait ----

# Holding the table of parts stops the writer in the middle of its work.
sub wait_for_sessions
{
	my ($n, $condition) = @_;
	return $node->poll_query_until('postgres',
		"SELECT count(*) = $n FROM pg_stat_activity WHERE query LIKE '%cotton shirt%' AND pid <> pg_backend_pid() AND $condition");
}

my $holder = $node->background_psql('postgres');
$holder->query('BEGIN; LOCK TABLE bundle_rec.model_chunk IN ACCESS EXCLUSIVE MODE');
my @sessions = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 8;
my @pids = map { scalar $_->query('SELECT pg_backend_pid()') } @sessions;
$_->query_until(qr/begun/, "\\echo begun\n$embed;\n") for @sessions;
ok(wait_for_sessions(1, "wait_event_type = 'Lock'"), 'one session writes the file');
ok(wait_for_sessions(7, "wait_event_type = 'Extension'"), 'seven wait for it');
is_deeply([ packed_files() ], ["$name.new"], 'under another name');
is($node->safe_psql('postgres',
		"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND pid = ANY ('{"
		  . join(',', @pids) . "}') LIMIT 1"), 't', 'a waiting session is cancelled');
ok(wait_for_sessions(6, "wait_event_type = 'Extension'"), 'and stops waiting at once');
$holder->query('COMMIT');
# each answers the query that it has begun, but the one that was cancelled
my @answers = map { scalar $_->query('SELECT 1') } @sessions;
is(scalar(grep { /^\Q$expected\E\n1$/ } @answers), 7, 'the others answer');
is_deeply([ packed_files() ], [$name], 'there is one file');
my %inodes;
$inodes{ mapped_inode($_) }++ for @pids;
is_deeply(\%inodes, { (stat $path)[1] => 7, none => 1 }, 'and all have mapped it');
$_->quit for @sessions;

# ---- the writer dies ----

unlink $path;
$holder->query('BEGIN; LOCK TABLE bundle_rec.model_chunk IN ACCESS EXCLUSIVE MODE');
my $writer = $node->background_psql('postgres', on_error_stop => 0);
my $victim = $writer->query('SELECT pg_backend_pid()');
$writer->query_until(qr/begun/, "\\echo begun\n$embed;\n");
ok(wait_for_sessions(1, "wait_event_type = 'Lock'"), 'a session writes the file');
ok(-e "$path.new", 'and has begun it');
kill 'KILL', $victim;
# the whole server restarts, as PostgreSQL does whenever a backend is killed
ok(true_after_restart($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $victim"),
	'it is killed');
$_->{run}->kill_kill for $holder, $writer;
is($node->safe_psql('postgres', $embed), $expected, 'the next session finishes the file');
is_deeply([ packed_files() ], [$name], 'and leaves nothing else');

# ---- loading, dropping and the file ----

$node->safe_psql('postgres', "BEGIN; SELECT bundle_rec.load_model('dense', '$models/tiny-bert-cased-max-dense');
	SELECT bundle_rec.embed('x', 'dense'); ROLLBACK");
is_deeply([ packed_files() ], [$name], 'a load that is rolled back leaves no file');
$node->safe_psql('postgres', "SELECT bundle_rec.load_model('dense', '$models/tiny-bert-cased-max-dense'),
	bundle_rec.load_model('again', '$models/tiny-bert-cased-max-dense')");
$node->safe_psql('postgres', "SELECT bundle_rec.embed('x', 'dense'), bundle_rec.embed('x', 'again')");
is(scalar(packed_files()), 2, 'the same weights under two names share a file');
$node->safe_psql('postgres', "SELECT bundle_rec.drop_model('dense')");
is(scalar(packed_files()), 2, 'and it stays while one of them is there');
$node->safe_psql('postgres', "BEGIN; SELECT bundle_rec.drop_model('again'); ROLLBACK");
is(scalar(packed_files()), 2, 'a drop that is rolled back leaves the file');
$node->safe_psql('postgres', "SELECT bundle_rec.drop_model('again')");
is_deeply([ packed_files() ], [$name], 'with the last of them it goes');

# From a client's files: what is not needed is counted, and stands in no table.
my $given = join ', ', map { my $path = s{^\Q$models\E/tiny-bert-cls/}{}r; "('$path', pg_read_binary_file('$_'))::bundle_rec.model_file" }
	sort glob("$models/tiny-bert-cls/*.* $models/tiny-bert-cls/1_Pooling/*");
my ($status_given, undef, $told) = $node->psql('postgres',
	"SELECT bundle_rec.load_model('given', ARRAY[$given, ('README.md', 'read me')::bundle_rec.model_file, ('a/b.bin', '')::bundle_rec.model_file])");
is($status_given, 0, 'a model is loaded from files given') or diag($told);
like($told, qr/NOTICE:  \d of 1\d files are not needed and were ignored\nDETAIL:  Ignored: .*README\.md, a\/b\.bin\./,
	'with a notice of those that it does not need');
is($node->safe_psql('postgres', q{SELECT count(DISTINCT hash) FROM bundle_rec.model WHERE name IN ('cls', 'given')}), '1',
	'the model is that of the folder');
$node->safe_psql('postgres', "SELECT bundle_rec.drop_model('given')");
is_deeply([ packed_files() ], [$name], 'its file stays, for the model that shares it');

# Damaged rows are found by their hash.
$node->safe_psql('postgres', "CREATE TABLE kept AS SELECT * FROM bundle_rec.model_chunk;
	UPDATE bundle_rec.model_chunk SET data = overlay(data PLACING '\\x00112233' FROM octet_length(data) - 100) WHERE part = 0");
unlink $path;
($status, undef, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\n$embed");
like($error, qr/XX001: a stored model is damaged/, 'damaged rows are an error');
is_deeply([ packed_files() ], [], 'and no file is made of them');
$node->safe_psql('postgres', "UPDATE bundle_rec.model_chunk c SET data = k.data FROM kept k WHERE k.part = c.part;
	DROP TABLE kept");
is($node->safe_psql('postgres', $embed), $expected, 'repaired, they serve again');

# ---- files that nobody uses ----

# Leaves a file behind that was last used so many days ago.
sub leave
{
	my ($file, $days) = @_;
	open my $out, '>', $node->data_dir . "/$file" or die "$file: $!";
	print $out 'packed';
	close $out;
	utime time - $days * 86400, time - $days * 86400, $node->data_dir . "/$file";
	return $file;
}

my $old = leave('pgsql_tmp_br_' . '0' x 64 . '_1_generic', 31);
my $former = leave('pgsql_tmp_br_' . 'a' x 64 . '_0_avx512', 31);
my $recent = leave('pgsql_tmp_br_' . '1' x 64 . '_1_generic', 29);
my @others = (leave('pgsql_tmp_br_notes', 400), leave('pgsql_tmp_' . '0' x 64 . '_1_generic', 400));
utime time - 40 * 86400, time - 40 * 86400, $path;
$node->safe_psql('postgres', $embed);
ok(-e $node->data_dir . "/$old", 'using a file removes none');
cmp_ok(time - (stat $path)[9], '<', 600, 'and notes that it is used');
utime time - 3600, time - 3600, $path;
$node->safe_psql('postgres', $embed);
cmp_ok(time - (stat $path)[9], '>', 3000, 'not every time');
$node->safe_psql('postgres', "SET bundle_rec.packed_file_days = 0; SELECT bundle_rec.load_model('dense', '$models/tiny-bert-cased-max-dense');
	SELECT bundle_rec.embed('x', 'dense')");
ok(-e $node->data_dir . "/$old", 'none where that is turned off');
$node->safe_psql('postgres', "SELECT bundle_rec.drop_model('dense')");
is_deeply([ sort(packed_files()) ], [ sort($name, $recent, $others[0]) ], 'dropping a model removes those of a month ago');
leave($old, 31);
unlink $path;
$node->safe_psql('postgres', $embed);
is_deeply([ sort(packed_files()) ], [ sort($name, $recent, $others[0]) ], 'so does making one');
$node->safe_psql('postgres', "SET bundle_rec.packed_file_days = 28; SELECT bundle_rec.load_model('dense', '$models/tiny-bert-cased-max-dense');
	SELECT bundle_rec.embed('x', 'dense'), bundle_rec.drop_model('dense')");
ok(!-e $node->data_dir . "/$recent", 'earlier where the setting says so');
ok(-e $node->data_dir . "/$_", "never what is no packed file: $_") for @others;
unlink map { $node->data_dir . "/$_" } @others;

# what DROP DATABASE leaves behind
$node->safe_psql('postgres', 'CREATE DATABASE fleeting TEMPLATE template0');
$node->safe_psql('fleeting', "CREATE EXTENSION bundle_rec; SELECT bundle_rec.load_model('dense', '$models/tiny-bert-cased-max-dense');
	SELECT bundle_rec.embed('x')");
$node->safe_psql('postgres', 'DROP DATABASE fleeting');
my ($orphan) = grep { $_ ne $name } packed_files();
isnt($orphan, undef, 'the file of a dropped database stays');
utime time - 31 * 86400, time - 31 * 86400, $node->data_dir . "/$orphan";
unlink $path;
$node->safe_psql('postgres', $embed);
is_deeply([ packed_files() ], [$name], 'for a month');

# ---- cancels ----

# Uncancelled, this would take many times as long as the test allows.
my $long = q{SELECT bundle_rec.embed(array_agg(repeat('a long text ', 20) || i), 'cls') FROM generate_series(1, 400000) i};
my $start = time;
($status, undef, $error) = $node->psql('postgres',
	"\\set VERBOSITY verbose\nSET bundle_rec.backend = portable; SET statement_timeout = '1s'; $long");
like($error, qr/57014: canceling statement due to statement timeout/, 'a statement timeout ends a long embed');
cmp_ok(time - $start, '<', 10, 'soon');

$session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query('SET bundle_rec.backend = portable; SELECT pg_backend_pid()');
$session->query_until(qr/begun/, "\\echo begun\n$long;\n");
usleep(1_500_000);
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
$start = time;
is($session->query('SELECT 1'), '1', 'a cancelled session goes on');
cmp_ok(time - $start, '<', 5, 'at once');
like($session->{stderr}, qr/canceling statement due to user request/, 'having said that it was cancelled');
is($session->query($embed), $expected, 'and computes as before');
$session->quit;

# ---- other encodings ----

$node->safe_psql('postgres', "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
$node->safe_psql('latin', "CREATE EXTENSION bundle_rec; SELECT bundle_rec.load_model('cls', '$models/tiny-bert-cls')");
for my $function (qw(tokenize embed))
{
	# chr(233) is one byte there, and two in UTF-8
	my $query = "SELECT bundle_rec.$function('caf' || chr(233) || ' na' || chr(239) || 've', 'cls')::text";
	is($node->safe_psql('latin', $query), $node->safe_psql('postgres', $query), "$function in a LATIN1 database");
}
is_deeply([ packed_files() ], [$name], 'databases share the file');

# ---- dumps, backups and standbys ----

my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('postgres') ], 'a database with a model is dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), $dump ], 'and restored');
is($node->safe_psql('restored', $embed), $expected, 'with its model');
$node->safe_psql('restored', "SELECT bundle_rec.load_model('next', '$models/tiny-bert-cls')");
is($node->safe_psql('restored', 'SELECT count(DISTINCT model) FROM bundle_rec.stored_model'), 2,
	'whose number is not given again');

$node->backup('backup');
is_deeply([ glob($node->backup_dir . '/backup/pgsql_tmp_br*') ], [], 'a base backup contains no packed file');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
is($standby->safe_psql('postgres', $embed), $expected, 'a standby embeds, from the weights in the backup');
$node->safe_psql('postgres', "SELECT bundle_rec.load_model('dense', '$models/tiny-bert-cased-max-dense')");
$node->wait_for_catchup($standby);
my $dense = $embed =~ s/'cls'/'dense'/r;
is($standby->safe_psql('postgres', $dense), $node->safe_psql('postgres', $dense), 'and a model that was loaded since');
($status, undef, $error) = $standby->psql('postgres',
	"\\set VERBOSITY verbose\nSELECT bundle_rec.load_model('more', '$models/tiny-bert-cls')");
like($error, qr/25006: /, 'nothing is loaded on a standby');
$standby->stop;
$node->stop;

done_testing();

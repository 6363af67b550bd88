# 012_compute.pl
#    What computes embeddings in a session: its threads, the file of packed
#    weights that sessions share and what can happen to it, and the memory that
#    100 connections take.

use strict;
use warnings;

use Fcntl qw(:mode :flock O_RDWR O_CREAT);
use File::Copy qw(copy);
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $tiny = "$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls";
my $embed = q{SELECT bundle_rec.embed('a red cotton shirt', 'tiny')::text};

plan skip_all => 'needs /proc' unless -r "/proc/$$/smaps";

# what is kept of single texts would hide what computes them
my $node = PostgreSQL::Test::Cluster->new('compute');
$node->init;
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'bundle_rec'\nbundle_rec.query_cache = 0\nmax_connections = 130\nfsync = off\n");
$node->start;
$node->safe_psql('postgres', "CREATE EXTENSION bundle_rec; SELECT bundle_rec.load_model('tiny', '$tiny')");

sub threads
{
	my ($pid) = @_;
	my ($n) = slurp_file("/proc/$pid/status") =~ /^Threads:\s+(\d+)/m;
	return $n;
}

sub files
{
	my ($pattern) = @_;
	return map { s{.*/}{}r } glob($node->data_dir . "/pgsql_tmp_br_$pattern");
}

# Limits what a process may use of a resource while do runs.
sub limited
{
	my ($of, $resource, $limit, $do) = @_;
	chomp(my $before = qx(prlimit --pid $of --$resource --output SOFT --noheadings));
	system('prlimit', '--pid', $of, "--$resource=$limit:") == 0 or die 'prlimit';
	$do->();
	system('prlimit', '--pid', $of, "--$resource=$before:") == 0 or die 'prlimit';
	return;
}

# ---- threads ----

my $many = q{SELECT md5(bundle_rec.embed(array_agg('a text of number ' || i), 'tiny')::text) FROM generate_series(1, 1500) i};
chomp(my $cores = qx(env -u OMP_NUM_THREADS nproc));
my $session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query('SELECT pg_backend_pid()');
is(threads($pid), 1, 'a session begins with one thread');
my $expected = $session->query("SET bundle_rec.backend = portable; $many");
is(threads($pid), 1, 'embedding with bundle_rec.threads = 1 starts none');
foreach my $n (2, 5, 2)
{
	is($session->query("SET bundle_rec.threads = $n; $many"), $expected, "$n threads give the same embeddings");
	is(threads($pid), $n, "and $n threads there are");
}
is($session->query("SET bundle_rec.threads = 0; $many"), $expected, 'so does one for each core');
is(threads($pid), $cores, 'which are as many as the server may use');
is($session->query('SET bundle_rec.threads = 7; SELECT count(*) FROM bundle_rec.backends()'), '3', 'a call that embeds nothing');
is(threads($pid), $cores, 'starts no threads');

# cancelled while two threads compute
my $long = q{SELECT bundle_rec.embed(array_agg(repeat('a long text ', 20) || i), 'tiny') FROM generate_series(1, 400000) i};
$session->query('SET bundle_rec.threads = 2');
$session->query_until(qr/begun/, "\\echo begun\n$long;\n");
usleep(1_500_000);
my $start = time;
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
is($session->query('SELECT 1'), '1', 'a session with two threads is cancelled');
cmp_ok(time - $start, '<', 5, 'at once');
like($session->{stderr}, qr/canceling statement due to user request/, 'having said so');
is($session->query($many), $expected, 'and computes as before');
is(threads($pid), 2, 'with its two threads');
# threads that cannot be started
SKIP:
{
	skip 'a limit on processes does not bind root', 3 if $> == 0;
	limited($pid, 'nproc', 1, sub { $session->query("\\set VERBOSITY verbose\nSET bundle_rec.threads = 4; $many") });
	like($session->{stderr}, qr/53200: could not start the threads of bundle_rec\.threads\nDETAIL:  Only 0 of 3 threads could be started\.\nHINT:  Set bundle_rec\.threads to a lower/,
		'threads that cannot be started are an error that says how many could');
	is(threads($pid), 1, 'and none is left');
	is($session->query("SET bundle_rec.threads = 1; $many"), $expected, 'with one the session goes on');
	$session->query("SET bundle_rec.threads = 2; $many");
}
# a session that ends while threads sleep ends well
$session->quit;
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)"), 'it ends');

$session = $node->background_psql('postgres', on_error_stop => 0);
$pid = $session->query('SET bundle_rec.backend = portable; SET bundle_rec.threads = 2; SELECT pg_backend_pid()');
$session->query_until(qr/begun/, "\\echo begun\n$long;\n");
ok($node->poll_query_until('postgres', "SELECT state = 'active' FROM pg_stat_activity WHERE pid = $pid"), 'a session embeds with two threads');
usleep(500_000);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)"), 'and ends when it is terminated');
$session->{run}->kill_kill;

# threads of a session are its own: workers of a parallel query start without
is($node->safe_psql('postgres', qq{SET bundle_rec.threads = 2; SET bundle_rec.backend = portable; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
	SET min_parallel_table_scan_size = 0; CREATE TEMP TABLE warm AS SELECT bundle_rec.embed('x', 'tiny') AS e;
	CREATE TABLE title AS SELECT i FROM generate_series(1, 2000) i; ANALYZE title;
	SELECT count(DISTINCT bundle_rec.embed('title ' || i % 7, 'tiny')) FROM title}), '7', 'parallel workers embed with threads of their own');
$node->safe_psql('postgres', 'DROP TABLE title');
my ($status, undef, $error) = $node->psql('postgres', 'SET bundle_rec.threads = 257');
like($error, qr/257 is outside the valid range for parameter "bundle_rec.threads" \(0 \.\. 256\)/, 'more than 256 are refused');

my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /\A(\d+)/;
is(threads($postmaster), 1, 'the postmaster has one thread');

# ---- precision ----

($status, undef, $error) = $node->psql('postgres',
	"\\set VERBOSITY verbose\nSET bundle_rec.backend = portable; SET bundle_rec.precision = int8; $embed");
like($error, qr/0A000: the backend "portable" does not compute in int8 here\nDETAIL:  .*it computes in f32\.\nHINT: /,
	'a precision that a backend lacks is an error, with what it has');
is($node->safe_psql('postgres', "SET bundle_rec.backend = portable; SELECT precision_class, weights_file IS NULL, bytes_by_precision FROM bundle_rec.model_info('tiny')"),
	'f32|t|{"f32": 0}', 'a backend that takes plain weights has no file of its own');
is_deeply([ files('*') ], [ files('*_generic') ], 'nor is there any so far');

my $usable = $node->safe_psql('postgres', q{SELECT array_to_string(precisions, ' ') FROM bundle_rec.backends() WHERE name = 'onednn'});
my @precisions = split / /, $usable;

# ---- packed weights ----

# Of one precision, all that may happen to the file.
sub check_weights
{
	my ($precision) = @_;
	my $set = "SET bundle_rec.backend = onednn; SET bundle_rec.precision = $precision;";
	my $answer = $node->safe_psql('postgres', "$set $embed");
	my ($name) = files("*_onednn_*_${precision}_[0-9]*");
	my $path = $node->data_dir . "/$name";
	my $good = slurp_file($path);

	is(scalar(files("*_onednn_*_${precision}_[0-9]*")), 1, "$precision: there is a file of packed weights");
	is(S_IMODE((stat $path)[2]), 0600, "$precision: it is the server's alone");
	is($node->safe_psql('postgres', "$set SELECT precision_class, weights_file, weights_bytes, weights_bytes - 4096 = (bytes_by_precision ->> '$precision')::bigint FROM bundle_rec.model_info('tiny')"),
		join('|', $precision, $name, -s $path, 't'), "$precision: model_info names it");

	my $damage = sub {
		my ($what, $do) = @_;
		my $before = -e $path ? (stat $path)[1] : 0;
		$do->();
		is($node->safe_psql('postgres', "$set $embed"), $answer, "$precision, $what: the answer is the same");
		my @now = lstat $path;
		ok(S_ISREG($now[2]) && S_IMODE($now[2]) == 0600 && slurp_file($path) eq $good, "$precision, $what: the file is what it was");
		return;
	};
	my $write = sub {
		my ($at, $bytes) = @_;
		open my $file, '+<', $path or die "$path: $!";
		binmode $file;
		seek $file, $at, 0;
		print $file $bytes;
		close $file;
		return;
	};
	$damage->('deleted', sub { unlink $path });
	$damage->('truncated', sub { truncate $path, (-s $path) - 64 });
	$damage->('emptied', sub { truncate $path, 0 });
	$damage->('grown', sub { $write->(-s $path, "\0" x 64) });
	$damage->('header overwritten', sub { $write->(16, "\1" x 64) });
	$damage->('one byte changed', sub { my $at = int(.7 * -s $path); $write->($at, chr(ord(substr($good, $at, 1)) ^ 1)) });
	$damage->('garbage of the same size', sub { $write->(0, 'x' x -s $path) });
	$damage->('open to others', sub { chmod 0666, $path });
	$damage->('closed to the server, as another user\'s may be', sub { chmod 0000, $path });
	$damage->('the image in its place', sub { unlink $path; copy($node->data_dir . '/' . (files('*_generic'))[0], $path); chmod 0600, $path });
	$damage->('a symbolic link', sub { rename $path, "$path.moved"; symlink "$path.moved", $path });
	unlink "$path.moved";
	$damage->('leftovers', sub { unlink $path; append_to_file("$path.new", 'x' x 10_000) });
	is_deeply([ files('*.new') ], [], "$precision: none is left half-written");

	# sessions keep what they have mapped, whatever happens to the name
	my $one = $node->background_psql('postgres');
	$one->query("$set $embed");
	unlink $path;
	append_to_file($path, 'x' x length $good);
	is($one->query($embed), $answer, "$precision: a session keeps its mapping when the file is replaced");
	$one->quit;
	return;
}

# Several sessions that need the file at once, while another holds the lock of whoever writes it.
sub check_turns
{
	my ($precision) = @_;
	my $set = "SET bundle_rec.backend = onednn; SET bundle_rec.precision = $precision;";
	my ($name) = files("*_onednn_*_${precision}_[0-9]*");
	my $path = $node->data_dir . "/$name";
	my $answer = $node->safe_psql('postgres', "$set $embed");

	unlink $path;
	sysopen my $lock, "$path.new", O_RDWR | O_CREAT, 0600 or die "$path.new: $!";
	flock $lock, LOCK_EX or die $!;
	my @sessions = map { $node->background_psql('postgres') } 1 .. 4;
	my @pids = map { scalar $_->query('SELECT pg_backend_pid()') } @sessions;
	$_->query_until(qr/begun/, "\\echo begun\n$set $embed;\n") for @sessions;
	ok($node->poll_query_until('postgres', "SELECT count(*) = 4 FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND pid IN (" . join(',', @pids) . ')'),
		'sessions wait for whoever writes the weights');
	close $lock;
	is(scalar(grep { $_->query('SELECT 1') =~ /\A\Q$answer\E\n1\z/ } @sessions), 4, 'and all answer');
	my %inodes = map { (slurp_file("/proc/$_/maps") =~ /\s(\d+)\s+\S*\Q$name\E/)[0] => 1 } @pids;
	is_deeply(\%inodes, { (stat $path)[1] => 1 }, 'over the one file that one of them made');
	is_deeply([ files('*.new') ], [], 'and no other is left');
	$_->quit for @sessions;
	return;
}

# A disk that is full: a limit on what one session may write to a file.
sub check_full_disk
{
	my ($precision) = @_;
	my $set = "SET bundle_rec.backend = onednn; SET bundle_rec.precision = $precision;";
	my $answer = $node->safe_psql('postgres', "$set $embed");
	my $one = $node->background_psql('postgres', on_error_stop => 0);
	my $its = $one->query('SELECT pg_backend_pid()');
	my ($name) = files("*_onednn_*_${precision}_[0-9]*");

	unlink map { $node->data_dir . "/$_" } files('*_onednn_*');
	$one->query($set);
	limited($its, 'fsize', 10_000, sub { $one->query($embed) });
	like($one->{stderr}, qr/could not reserve \d+ bytes for file "pgsql_tmp_br_\w+_onednn_.*_${precision}_\d+\.new": File too large\nHINT:  .*free space there/,
		'where there is no room, the error names the file and says what to do');
	is_deeply([ files('*.new') ], [], 'nothing is left');
	mkdir $node->data_dir . "/$name.new";
	$one->query($embed);
	like($one->{stderr}, qr/could not create file "\Q$name\E\.new": Is a directory\nHINT:  .*remove what stands in the way/,
		'nor may something else stand in its place');
	rmdir $node->data_dir . "/$name.new";
	is($one->query($embed), $answer, 'the session goes on when there is room');
	$one->quit;
	return;
}

SKIP:
{
	skip 'the onednn backend is not available here', 1 unless @precisions;

	check_weights($_) for @precisions;

	# the library brings threads of its own unless it is told not to
	$session = $node->background_psql('postgres');
	$pid = $session->query('SELECT pg_backend_pid()');
	my $one = $session->query("SET bundle_rec.backend = onednn; $many");
	is(threads($pid), 1, 'a session that has loaded oneDNN has one thread');
	is($session->query("SET bundle_rec.threads = 2; $many"), $one, 'with two threads it gives the same embeddings');
	is(threads($pid), 2, 'and has two');
	$session->quit;
	is(scalar(files('*_onednn_*')), scalar(@precisions), 'each precision has a file');
	check_turns($precisions[-1]);
	check_full_disk($precisions[-1]);
	is($node->safe_psql('postgres', "SET bundle_rec.backend = auto; SELECT backend, precision_class FROM bundle_rec.model_info('tiny')"),
		'onednn|' . ($usable =~ /bf16/ ? 'bf16' : 'f32'), 'auto takes onednn, and bf16 where it is fast');

	# stored embeddings tell in what they were computed, and those that are taken over keep it
	if (@precisions > 1)
	{
		my $stored = q{SELECT string_agg(item_id || ' ' || precision_class, ', ' ORDER BY item_id) FROM bundle_rec.item};
		$node->safe_psql('postgres', "SET bundle_rec.backend = onednn; SET bundle_rec.precision = f32;
			CREATE TABLE ware (sku text PRIMARY KEY, title text); INSERT INTO ware VALUES ('a', 'a red shirt'), ('b', 'a blue tent'), ('c', 'a red shirt');
			SELECT bundle_rec.create_catalog('ware', 'ware', 'sku', text => '{title}'); SELECT bundle_rec.refresh('ware')");
		is($node->safe_psql('postgres', $stored), 'a f32, b f32, c f32', 'items tell the precision of their embeddings');
		is($node->safe_psql('postgres', "SET bundle_rec.backend = onednn; SET bundle_rec.precision = $precisions[1];
			INSERT INTO ware VALUES ('d', 'a blue tent'), ('e', 'a green cup'); SELECT bundle_rec.refresh('ware'); $stored") =~ s/.*\n//sr,
			"a f32, b f32, c f32, d f32, e $precisions[1]", 'the one they were computed in, not the one that is set');
		is($node->safe_psql('postgres', "SET bundle_rec.backend = onednn; SET bundle_rec.precision = $precisions[1];
			SELECT item_id FROM bundle_rec.similar_items('ware', query => 'a blue tent', k => 2) ORDER BY 1"), "b\nd", 'and all are compared');
		$node->safe_psql('postgres', q{SELECT bundle_rec.drop_catalog('ware')});
	}

	# a month old, they go with the files of images; then with the model
	my @weights = files('*_onednn_*');
	utime time - 31 * 86400, time - 31 * 86400, $node->data_dir . "/$weights[0]";
	$node->safe_psql('postgres', "SET bundle_rec.backend = onednn; SET bundle_rec.precision = f32; $embed");
	unlink map { $node->data_dir . "/$_" } files('*_generic');
	utime time - 31 * 86400, time - 31 * 86400, $node->data_dir . "/$_" for files('*_onednn_*');
	$node->safe_psql('postgres', "SET bundle_rec.backend = portable; $embed");
	is_deeply([ files('*_onednn_*') ], [], 'packed weights that nobody used are removed');
	$node->safe_psql('postgres', "SET bundle_rec.backend = onednn; $embed");
	is(scalar(files('*_onednn_*')), 1, 'and made again');
}
# a processor with other instructions wants files of its own
if (@precisions)
{
	local $ENV{BR_MAX_ISA} = 'baseline';
	my @before = files('*_onednn_*');
	$node->restart;
	is($node->safe_psql('postgres', "SET bundle_rec.backend = onednn; SET bundle_rec.precision = f32; SELECT bundle_rec.dims(bundle_rec.embed('x', 'tiny'))"), '32', 'another instruction set computes too');
	my ($instructions) = split /\|/, $node->safe_psql('postgres', q{SELECT instruction_set FROM bundle_rec.backends() WHERE name = 'onednn'});
	is_deeply([ sort grep { !/_onednn_\Q$instructions\E_f32_/ } files('*_onednn_*') ], [ sort @before ], 'from a file that the others do not read');
}
$node->restart;

$node->safe_psql('postgres', "SET bundle_rec.backend = auto; $embed; BEGIN; SELECT bundle_rec.drop_model('tiny'); ROLLBACK");
isnt(scalar(files('*')), 0, 'a drop that is rolled back leaves the files');
$node->safe_psql('postgres', "SELECT bundle_rec.drop_model('tiny')");
is_deeply([ files('*') ], [], 'a dropped model takes all its files along');

# ---- the memory of connections ----

# Private memory of a process, in kB, without pages of shared memory that only it has touched so far.
sub private_memory
{
	my ($of) = @_;
	my ($kilobytes, $shared) = (0, 0);

	foreach my $line (split /\n/, slurp_file("/proc/$of/smaps"))
	{
		if ($line =~ /^[0-9a-f]+-[0-9a-f]+ (\S+) .*?(\S*)$/) { $shared = $1 =~ /s$/ && $2 !~ /pgsql_tmp_br_/; }
		elsif ($line =~ /^Private_(?:Dirty|Clean):\s+(\d+)/ && !$shared) { $kilobytes += $1; }
	}
	return $kilobytes;
}

my $model = $ENV{BR_MODEL_DIR} || $tiny;
my $connections = 100;
$node->safe_psql('postgres', "SELECT bundle_rec.load_model('model', '$model')");
my $titles = q{SELECT count(bundle_rec.embed('a title of a product, number ' || i, 'model')) FROM generate_series(1, 3) i};
my $batch = q{SELECT cardinality(bundle_rec.embed(array_agg('a longer title of a product with words, number ' || i), 'model')) FROM generate_series(1, 20) i};
# texts of many lengths, one by one and together
my $hardest = q{SELECT count(bundle_rec.embed(repeat('word ', i), 'model')), cardinality(bundle_rec.embed(array_agg(repeat('word ', i)), 'model')) FROM generate_series(1, 250, 3) i};

# What a session that executes statements has of its own afterwards, more than before them; it stays.
my @held;
sub growth
{
	my (@statements) = @_;
	my $one = $node->background_psql('postgres');
	my $its = $one->query('SELECT pg_backend_pid()');
	my $before = private_memory($its);
	$one->query($_) for 'SET bundle_rec.query_cache = 1024', @statements;
	push @held, $one;
	return private_memory($its) - $before;
}

# files that one session alone has mapped would count as its own
my @kinds = (@precisions ? map { "SET bundle_rec.backend = onednn; SET bundle_rec.precision = $_" } @precisions : 'SELECT');
growth(map { ($_, $batch) } @kinds);
my @grown = sort { $a <=> $b } map { growth($titles, $batch) } 1 .. $connections;
diag(sprintf '%d connections over %s: %.1f MB more private memory each, %.1f at most', $connections,
	$model eq $tiny ? 'the tiny model' : 'a model of 384 dimensions', $grown[ @grown / 2 ] / 1024, $grown[-1] / 1024);
is(scalar(@grown), $connections, "$connections connections embed");
cmp_ok($grown[-1], '<=', 8 * 1024, 'none of them takes more than 8 MB of its own');
foreach my $kind (@kinds)
{
	my $most = growth($kind, $hardest);
	diag(sprintf '%s: %.1f MB after texts of many lengths', $kind, $most / 1024);
	cmp_ok($most, '<=', 8 * 1024, "$kind: nor after texts of many lengths");
}
$_->quit for @held;

unlike(slurp_file($node->logfile), qr/PANIC|was terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();

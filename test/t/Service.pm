# Service.pm
#    What the tests of the embedding service share: a server that has it, on the
#    CPU or on a device that fails as it is told to, and texts of whose embeddings
#    is known what they must be.
#
# What they must be is what a session computes by itself: exact, in f32 on the
# portable backend, within a thousandth; or here, with the backend and the
# precision that sessions have by themselves, bit for bit.

package Service;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use Faults;

our @EXPORT = qw(new_server make_server set_faults set_service state_becomes ask gpu warnings_of server_is_whole await_requests
  kill_helper kill_under_load helpers_of runs has_gone);

my $faults;

# Written whole: the device reads it whenever it is called.
sub set_faults
{
	my (@lines) = @_;
	open(my $file, '>', "$faults.new") or die "$faults.new: $!";
	print $file "$_\n" foreach @lines;
	close($file);
	rename("$faults.new", $faults) or die "$faults: $!";
	return;
}

# A server with the service, whose device does what set_faults says.
sub new_server
{
	my ($name, $settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$faults = PostgreSQL::Test::Utils::tempdir() . '/faults';
	set_faults();
	$ENV{BR_FAULTS} = $faults;
	$node->init(allows_streaming => 1);
	$node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'bundle_rec'
fsync = off
autovacuum = off
max_connections = 60
bundle_rec.query_cache = 0
bundle_rec.service_device = 'faulty'
bundle_rec.worker_threads = 1
$settings
CONF
	$node->start;
	return $node;
}

# The same with the model tiny, the table golden of n texts, and functions over it.
sub make_server
{
	my ($name, $n, $settings) = @_;
	my $node = new_server($name, $settings);

	$node->safe_psql('postgres', "CREATE EXTENSION bundle_rec; SELECT bundle_rec.load_model('tiny', '$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls')");
	make_golden($node, $n);
	return $node;
}

sub make_golden
{
	my ($node, $n) = @_;
	my $class = $node->safe_psql('postgres', q{SELECT precision_class FROM bundle_rec.model_info('tiny')});
	my $embed = q{FROM unnest(bundle_rec.embed((SELECT array_agg(text ORDER BY id) FROM golden), 'tiny')) WITH ORDINALITY e (embedding, n) WHERE id = n};

	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE golden (id int PRIMARY KEY, text text, here bundle_rec.embedding, exact bundle_rec.embedding);
INSERT INTO golden SELECT i, 'text ' || i || repeat(' of words', i % 7) FROM generate_series(1, $n) i;
SET bundle_rec.precision = '$class';
UPDATE golden SET here = embedding $embed;
SET bundle_rec.precision = 'f32';
SET bundle_rec.backend = 'portable';
UPDATE golden SET exact = embedding $embed;
CREATE FUNCTION differs(one bundle_rec.embedding, other bundle_rec.embedding) RETURNS boolean LANGUAGE sql AS
\$\$SELECT bool_or(abs(x - y) > 1e-3 * greatest(1, abs(y))) FROM unnest(one::real[], other::real[]) u (x, y)\$\$;
-- which of the texts first .. last, embedded as one array or one by one, are not as said
CREATE FUNCTION embedded(first int, last int) RETURNS TABLE (id int, embedding bundle_rec.embedding) LANGUAGE sql AS
\$\$SELECT (first + n - 1)::int, embedding FROM unnest(bundle_rec.embed((SELECT array_agg(text ORDER BY id) FROM golden WHERE golden.id BETWEEN first AND last), 'tiny'))
	WITH ORDINALITY e (embedding, n)\$\$;
CREATE FUNCTION not_here(first int, last int) RETURNS bigint LANGUAGE sql AS
\$\$SELECT count(*) FILTER (WHERE embedding::text IS DISTINCT FROM here::text) + last - first + 1 - count(*) FROM embedded(first, last) JOIN golden USING (id)\$\$;
CREATE FUNCTION not_exact(first int, last int) RETURNS bigint LANGUAGE sql AS
\$\$SELECT count(*) FILTER (WHERE differs(embedding, exact)) + last - first + 1 - count(*) FROM embedded(first, last) JOIN golden USING (id)\$\$;
CREATE FUNCTION neither(first int, last int) RETURNS bigint LANGUAGE sql AS
\$\$SELECT count(*) FILTER (WHERE embedding::text <> here::text AND differs(embedding, exact)) + last - first + 1 - count(*)
	FROM embedded(first, last) JOIN golden USING (id)\$\$;
CREATE FUNCTION neither_singly(first int, last int) RETURNS bigint LANGUAGE sql AS
\$\$SELECT count(*) FILTER (WHERE e::text <> here::text AND differs(e, exact)) FROM golden, bundle_rec.embed(text, 'tiny') e WHERE id BETWEEN first AND last\$\$;
SQL
	return;
}

# What a statement gives, in a session of its own.
sub ask
{
	my ($node, $sql) = @_;
	return $node->safe_psql('postgres', $sql) =~ s/^\n+//r;
}

sub gpu
{
	my ($node, $columns) = @_;
	return ask($node, "SELECT $columns FROM bundle_rec.gpu");
}

sub state_becomes
{
	my ($node, $state, $what) = @_;
	$node->poll_query_until('postgres', "SELECT state = '$state' FROM bundle_rec.gpu") or diag(gpu($node, '*'));
	is(gpu($node, 'state'), $state, $what);
	return;
}

# Other settings of the service, and the state to which they lead; where that is
# what it was, another helper tells that they have been read, unless it is to be
# the same one.
sub set_service
{
	my ($node, $settings, $state, $what, $same) = @_;
	my ($before, $restarts) = split /\|/, gpu($node, 'state, restarts');

	$node->append_conf('postgresql.conf', $settings);
	$node->reload;
	$node->poll_query_until('postgres', "SELECT restarts > $restarts FROM bundle_rec.gpu") if $before eq 'ready' && $state eq 'ready' && !defined $same;
	state_becomes($node, $state, $what);
	return;
}

# Waits until so many sessions wait in the middle of what they compute.
sub await_requests
{
	my ($node, $n) = @_;
	return $node->poll_query_until('postgres', "SELECT count(*) >= $n FROM pg_stat_activity WHERE backend_type = 'client backend' AND wait_event = 'Extension'");
}

# What a statement gives, and its warnings.
sub warnings_of
{
	my ($node, $sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $sql);
	my @warnings = $err =~ /WARNING:  ([^\n]*)/g;
	return ($out, \@warnings, $err);
}

# The server was not started anew, as after a crash, since this was asked first.
my %started;
sub server_is_whole
{
	my ($node, $what) = @_;
	my $now = ask($node, q{SELECT pg_postmaster_start_time() || ' ' || count(*) FROM pg_stat_activity WHERE backend_type = 'checkpointer'})
	  . ask($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'});

	$started{ $node->name } //= $now;
	is($now, $started{ $node->name }, $what);
	return;
}

# The process that was killed, '' where there was none.
sub kill_helper
{
	my ($node) = @_;
	my $helper = gpu($node, 'helper_pid');

	kill('KILL', $helper) if $helper ne '';
	return $helper;
}

# Processes that a process has started, by name.
sub helpers_of
{
	my ($parent) = @_;
	my @helpers;

	foreach my $file (glob '/proc/[0-9]*/stat')
	{
		open(my $stat, '<', $file) or next;
		my ($pid, $name, $state, $its) = (<$stat> // '') =~ /^(\d+) \((.*)\) (\S) (\d+) / or next;
		push @helpers, $pid if $its == $parent && $name =~ /^bundle_rec_help/;
	}
	return @helpers;
}

# Not one that has ended, and of which its parent does not know yet.
sub runs
{
	my ($pid) = @_;
	open(my $stat, '<', "/proc/$pid/stat") or return 0;
	return ((<$stat> // '') =~ /\) (\S) / && $1 ne 'Z') ? 1 : 0;
}

# A helper does not outlive its purpose; what hangs would for minutes.
sub has_gone
{
	my ($pid, $what) = @_;
	my $start = time;

	usleep(10_000) while runs($pid) && time - $start < 20;
	ok(!runs($pid), $what);
	return;
}

# Embeds arrays and single texts of golden (600 at least) until it is told to end; how many were wrong.
my $load = q{DO $$ DECLARE wrong bigint = 0; first int = %d; BEGIN
	WHILE NOT EXISTS (SELECT FROM ended) LOOP
		wrong := wrong + neither(first, first + 59) + neither_singly(first, first + 1);
		first := 1 + (first + 17) %% 530;
		COMMIT;
	END LOOP;
	RAISE INFO 'wrong %%', wrong; END $$};

# Kills so many helpers, each in the middle of what sessions ask for.
sub kill_under_load
{
	my ($node, $clients, $kills) = @_;
	my $restarts = gpu($node, 'restarts');

	ask($node, 'DROP TABLE IF EXISTS ended; CREATE TABLE ended (); SET client_min_messages = error');
	ask($node, 'DELETE FROM ended');
	my @sessions = map { start_session($node, 'postgres', sprintf($load, 1 + 16 * $_)) } 1 .. $clients;
	foreach my $kill (1 .. $kills)
	{
		$node->poll_query_until('postgres', q{SELECT state = 'ready' AND restarts = } . ($restarts + $kill - 1) . q{ FROM bundle_rec.gpu})
		  or die 'no helper starts';
		usleep(rand(300_000));
		kill_helper($node);
	}
	state_becomes($node, 'ready', 'the last helper is followed by another');
	$node->poll_query_until('postgres', 'SELECT restarts = ' . ($restarts + $kills) . ' FROM bundle_rec.gpu');
	is(gpu($node, "restarts - $restarts"), $kills, "$kills helpers were killed, and as many came after them");
	ask($node, 'INSERT INTO ended DEFAULT VALUES');
	my @finished = map { [ finish_session($_) ] } @sessions;
	is(scalar(grep { $_->[0] eq '' && $_->[2] =~ /INFO:  \w+: wrong 0\n/ } @finished), $clients, "no session of $clients gets a wrong answer, or none")
	  or diag(map { $_->[2] } @finished);
	my @told = sort { $a <=> $b } map { scalar(() = $_->[2] =~ /WARNING:  \w+: the embedding service failed/g) } @finished;
	cmp_ok($told[-1], '<=', $kills, 'no session hears of one more than once');
	cmp_ok($told[-1], '>=', 1, 'and some hear of it');
	return;
}

1;

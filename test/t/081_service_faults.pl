# 081_service_faults.pl
#    What can happen to the embedding service: a helper that dies, a device that
#    hangs, fails, is not there or has no memory, a worker that ends, sessions that
#    do. Nobody gets a wrong answer or none, nothing is left behind, and whoever
#    must compute by himself hears of it once.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use Faults;
use Service;

# with 8 slots a session has one at a time
my $node = make_server('service_faults', 600, "bundle_rec.embedding_service = gpu\nbundle_rec.service_slots = 8");
state_becomes($node, 'ready', 'the service is ready');
server_is_whole($node, 'its server is there');

sub sql
{
	my ($sql) = @_;
	return ask($node, $sql);
}

# Sessions with all slots get their texts from the device: so all slots are free, or become so.
sub service_works
{
	my ($what) = @_;
	state_becomes($node, 'ready', "$what: the service is ready");
	my $fallbacks = gpu($node, 'fallbacks');
	my @sessions = map { start_session($node, 'postgres', 'SELECT not_exact(1, 600)') } 1 .. 10;
	is(join(' ', map { (finish_session($_))[1] } @sessions), join(' ', ('0') x 10), "$what: texts are embedded");
	is(gpu($node, "fallbacks - $fallbacks, waiting"), '0|0', "$what: by the device");
	return;
}

# ---- a device that hangs ----

set_faults('hang 600');
my $start = time;
my ($state) = try_sql($node, 'postgres', "SET statement_timeout = 200; SELECT not_exact(1, 5)");
is($state, '57014', 'a statement that waits for a device that hangs has its timeout');
cmp_ok(time - $start, '<', 10, 'in time');
my $seconds = cancel_after($node, 'postgres', 'SELECT not_exact(1, 600)', 0.1);
ok($seconds >= 0 && $seconds < 10, sprintf('and is cancelled, in %.0f ms', 1000 * $seconds));

my $session = start_session($node, 'postgres', "SET application_name = 'ended'; SELECT not_exact(1, 600)");
await_requests($node, 1);
is(sql(q{SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'ended'}), 't', 'or its session is ended');
($state) = finish_session($session);
is($state, '57P01', 'as it hears');
$node->poll_query_until('postgres', 'SELECT waiting = 0 FROM bundle_rec.gpu');
is(gpu($node, 'waiting, fallbacks'), '0|0', 'none of them is waited for');

# ---- more requests than slots ----

my @sessions = map { start_session($node, 'postgres', 'SET bundle_rec.service_timeout = 60000; SELECT neither(1, 100)') } 1 .. 8;
await_requests($node, 8);
my ($out, $warnings, $messages) = warnings_of($node, 'SET bundle_rec.service_timeout = 300; SELECT neither(1, 100) + neither(1, 100)');
is($out, '0', 'a session for which there is no slot computes by itself');
is_deeply($warnings, ['the embedding service did not answer within 300 ms: this session computes by itself'], 'and says so once');
like($messages, qr/HINT:  Raise bundle_rec\.service_timeout/, 'with a hint');
is(gpu($node, 'fallbacks'), '2', 'which is counted');
set_faults();
kill_helper($node);
my @finished = map { [ finish_session($_) ] } @sessions;
is(join(' ', map { $_->[1] } @finished), join(' ', ('0') x 8), 'those whose helper is killed meanwhile compute by themselves');
is(scalar(grep { (() = $_->[2] =~ /WARNING:  \w+: the embedding service failed/g) == 1 } @finished), 8, 'and say so once each');
like($finished[0][2], qr/DETAIL:  The helper process was ended by signal 9: Killed\.?\nHINT:  The service starts again by itself/, 'with what has happened');
service_works('after hanging and a killed helper');
is(gpu($node, 'restarts, last_error'), '1|The helper process was ended by signal 9: Killed.', 'the view tells of it');

# ---- helpers that are killed ----

kill_under_load($node, 8, 5);
server_is_whole($node, 'the server goes on');
service_works('after kills');
cmp_ok(gpu($node, 'restarts'), '>=', 6, 'each was followed by another');

# ---- a worker that ends ----

my $worker = gpu($node, 'worker_pid');
set_faults('slow 1000');
$session = start_session($node, 'postgres', 'SELECT neither(1, 100)');
await_requests($node, 1);
is(sql("SELECT pg_terminate_backend($worker, 5000)"), 't', 'the worker is ended');
my (undef, $answer, $said) = finish_session($session);
is($answer, '0', 'who waited computes by himself');
like($said, qr/the embedding service failed.*\nDETAIL:  The worker of the embedding service has ended/, 'and is told');
set_faults();
$node->poll_query_until('postgres', "SELECT worker_pid <> $worker FROM bundle_rec.gpu");
service_works('after the end of its worker');
server_is_whole($node, 'the server did not mind');

# ---- a device without memory ----

sql(qq{SELECT bundle_rec.load_model('other', '$ENV{BR_GOLDEN_DIR}/models/tiny-distilbert-mean')});
is(sql(q{SELECT bundle_rec.embed('one', 'other') IS NOT NULL}), 't', 'a device has another model');
is(gpu($node, 'models, evicted'), '2|0', 'as well');
set_faults('memory 1');
my $texts = gpu($node, 'texts');
is(sql('SELECT not_exact(1, 5)'), '0', 'a device with little memory embeds');
is(gpu($node, "models, evicted, texts - $texts, last_error"), "1|1|5|" . gpu($node, 'last_error'), 'without the other model, and text by text');
set_faults('memory 0');
($out, $warnings, $messages) = warnings_of($node, 'SELECT neither(1, 5) + neither(1, 5)');
is($out, '0', 'where there is none at all the session embeds');
is(scalar(@$warnings), 2, 'and says for each failed request');
like($messages, qr/DETAIL:  The device has memory for 0 texts, not 1\./, 'why');
is(gpu($node, 'state'), 'ready', 'the service is still there');
set_faults();
sql(q{SELECT bundle_rec.drop_model('other')});
service_works('with memory again');

# ---- a device that fails ----

set_faults('device');
($out, $warnings, $messages) = warnings_of($node, 'SELECT neither(1, 5) + neither(1, 5)');
is("$out @$warnings", '0 the embedding service failed: this session computes by itself', 'a device fails, a session does not');
like($messages, qr/DETAIL:  The device fails as it was told to\./, 'and says why');
set_faults('abort');
sleep(2);
($out, $warnings) = warnings_of($node, 'SELECT neither(1, 5)');
is($out, '0', 'a device may take its process with it');
set_faults();
service_works('after failures of the device');

# ---- no device ----

foreach my $fault ([ 'none', qr/There is no device, as it was told/ ], [ 'wrong version', qr/is of version/ ])
{
	my ($line, $detail) = @$fault;

	set_faults($line);
	kill_helper($node);
	$node->poll_query_until('postgres', "SELECT state = 'down' AND last_error NOT LIKE '%signal%' FROM bundle_rec.gpu");
	($out, $warnings, $messages) = warnings_of($node, 'SELECT neither(1, 5) + neither(1, 5) + neither_singly(1, 5)');
	is("$out @$warnings", '0 the embedding service failed: this session computes by itself', "$line: sessions compute, after one warning");
	like($messages, $detail, 'which says why');
	set_faults();
	service_works("after $line");
}
set_faults('none');
set_service($node, 'bundle_rec.embedding_service = auto', 'ready', 'auto takes the device that there is', 'same');
kill_helper($node);
$node->stop;
$node->start;
state_becomes($node, 'no device', 'where there is none from the beginning');
($out, $warnings) = warnings_of($node, 'SELECT not_here(1, 50)');
is("$out @$warnings", '0 ', 'sessions compute without a warning');
is(gpu($node, 'fallbacks, last_error'), '0|There is no device, as it was told.', 'the view tells why');
set_faults();
set_service($node, 'bundle_rec.service_linger = 100', 'ready', 'a reload looks for a device again');
is(sql('SELECT not_exact(1, 50)'), '0', 'and uses it');
set_service($node, "bundle_rec.embedding_service = gpu\nbundle_rec.service_device = 'none_such'", 'down', 'a device of which there is no library');
($out, $warnings, $messages) = warnings_of($node, 'SELECT not_here(1, 50)');
is("$out @$warnings", '0 the embedding service failed: this session computes by itself', 'is none either');
like($messages, qr/br_backend_none_such\.so/, 'and is named');
$node->append_conf('postgresql.conf', "bundle_rec.service_device = '../faulty'");
$node->reload;
ok($node->wait_for_log(qr/invalid value for parameter "bundle_rec.service_device": "\.\.\/faulty"\n.*DETAIL:  A device is a name/), 'a path is no device');
$node->stop;

done_testing();

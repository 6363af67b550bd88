# slow_service_kill.pl
#    The helper of the embedding service is killed 50 times while 32 sessions
#    embed, on a device and on the CPU; a device that hangs is given up; and a
#    worker that is killed takes the server's sessions with it, as any process of a
#    server does, but no helper stays behind.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Faults;
use Restart;
use Service;

my $node = make_server('service_kill', 600, 'bundle_rec.embedding_service = gpu');
state_becomes($node, 'ready', 'the service is ready');
server_is_whole($node, 'its server is there');
kill_under_load($node, 32, 50);
set_service($node, 'bundle_rec.embedding_service = cpu', 'ready', 'switched to the CPU');
kill_under_load($node, 32, 50);
server_is_whole($node, 'the server goes on');

# ---- a batch that never ends ----

set_service($node, 'bundle_rec.embedding_service = gpu', 'ready', 'switched to the device');
my $restarts = gpu($node, 'restarts');
set_faults('hang 600');
my ($out, $warnings, $messages) = warnings_of($node, 'SET bundle_rec.service_timeout = 120000; SELECT neither(1, 100)');
is("$out @$warnings", '0 the embedding service failed: this session computes by itself', 'a device that hangs is given up');
like($messages, qr/DETAIL:  A batch of texts took longer than 30 s\./, 'after half a minute');
set_faults();
$node->poll_query_until('postgres', "SELECT restarts > $restarts FROM bundle_rec.gpu");
is(ask($node, 'SELECT not_exact(1, 600)'), '0', 'the next one works');
server_is_whole($node, 'the server did not mind');

# ---- the worker ----

$node->append_conf('postgresql.conf', 'restart_after_crash = on');
$node->reload;
my ($worker, $helper) = split /\|/, gpu($node, 'worker_pid, helper_pid');
kill('KILL', $worker);
ok(true_after_restart($node, "SELECT state = 'ready' AND worker_pid <> $worker FROM bundle_rec.gpu"), 'after a killed worker the server starts anew, with its service');
# its new parent may leave it a zombie
my $rest = -r "/proc/$helper/stat" ? slurp_file("/proc/$helper/stat") : '';
unlike($rest, qr/\) [^ZX] /, 'the helper of the killed worker has ended');
is(ask($node, 'SELECT not_exact(1, 600)'), '0', 'the new one works');
$node->stop;

done_testing();

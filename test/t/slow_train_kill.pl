# slow_train_kill.pl
#    The kills of 027_train.pl at length: a training whose worker, and now and then
#    the whole server, is killed at 20 random moments. BR_KILLS sets another number.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use Decisions qw(hard_restart);
use Restart;
use Training;

my $kills = $ENV{BR_KILLS} // 20;
my $node = PostgreSQL::Test::Cluster->new('train_kill');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nmax_worker_processes = 12\nbundle_rec.worker_threads = 1\nbundle_rec.checkpoint_interval = 1s\n");
$node->start;
make_goods($node);
my $steps = 400 * ($kills + 2);
my $long = qq{parameters => '{"epochs": 100000, "batch": 16, "dropout": 0.1, "negatives": 2, "negatives_from": 1, "negatives_to": 10, "most_steps": $steps}'};
my $job = train_job($node, $long);
job_ends($node, $job, 'done', 'a training, undisturbed');
my $hash = hash_of_model($node, $job);

srand(11);
$job = train_job($node, $long);
foreach my $kill (1 .. $kills)
{
	wait_for_step($node, $job, $kill * 300 + int(rand(250)));
	usleep(rand(800_000));
	if ($kill % 4 == 0)
	{
		ok(hard_restart($node, 'postmaster'), "kill $kill: the server");
	}
	else
	{
		my $worker = $node->safe_psql('postgres', "SELECT coalesce(pid, 0) FROM bundle_rec.job WHERE job = $job");
		isnt($worker, 0, "kill $kill: a worker");
		kill('KILL', $worker);
		usleep(20_000) while kill(0, $worker);
		true_after_restart($node, 'SELECT NOT pg_is_in_recovery()');
	}
	is($node->safe_psql('postgres', 'SELECT bundle_rec.run_jobs()'), '1', 'the training goes on');
}
job_ends($node, $job, 'done', 'after all of them it gets done');
is(hash_of_model($node, $job), $hash, 'with the same weights to the bit');

$node->stop;
done_testing();

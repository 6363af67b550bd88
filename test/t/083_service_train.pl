# 083_service_train.pl
#    Trainings that the device of the embedding service computes: that what they
#    learn is what the processor learns, and what becomes of them when the helper
#    dies, the device fails or refuses, or the job is cancelled, resumed or cut off.
#
# The device that computes right is the emulated one, kernels and all; the one that
# fails as it is told to trains something simpler.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use Restart;
use Service;
use Training;

my $node = new_server('service_train', <<CONF);
bundle_rec.embedding_service = gpu
bundle_rec.service_device = 'emulated'
bundle_rec.checkpoint_interval = 0
max_worker_processes = 12
restart_after_crash = on
CONF
make_goods($node);
state_becomes($node, 'ready', 'the service is ready');
server_is_whole($node, 'its server is there');

sub sql
{
	my ($sql) = @_;
	return ask($node, $sql);
}

# What is learned from: 20 pairs, of which 5 are for validation.
my $pairs = q{query => 'SELECT a.title AS anchor, b.title AS positive FROM goods.article a JOIN goods.article b ON b.sku = ''b'' || substr(a.sku, 2) AND a.sku LIKE ''a%'' ORDER BY a.sku'};

sub arguments
{
	my ($steps, $method, $parameters) = @_;
	return sprintf(q{'contrastive', '%s', %s, parameters => '{"validation": 0.25, "validate_every": 4, "epochs": 1000, "batch": 8, "patience": 0, "dropout": 0.1, "most_steps": %d%s}'},
		$method // 'full', $pairs, $steps, $parameters // '');
}

# What the lineage says of the model that a job made.
sub computed_by
{
	my ($job) = @_;
	return sql("SELECT backend FROM bundle_rec.lineage WHERE job = $job");
}

# The least cosine of titles by the models of two jobs, as the processor embeds them.
sub least_cosine
{
	my ($one, $other) = @_;
	my ($left, $right) = map { /^\d+$/ ? sql("SELECT model FROM bundle_rec.job WHERE job = $_") : $_ } $one, $other;

	return sql(qq{SET bundle_rec.backend = portable; SET bundle_rec.precision = f32;
		SELECT min(1 - (bundle_rec.embed(title, '$left') OPERATOR(bundle_rec.<=>) bundle_rec.embed(title, '$right'))) FROM goods.article});
}

# What the server has logged since this was asked last.
my $logged = 0;
sub log_since
{
	my $log = slurp_file($node->logfile, $logged);
	$logged += length($log);
	return $log;
}

# Begins a training that has a helper: the job, its worker and the helper.
sub begin_training
{
	my ($arguments) = @_;
	my $job = train_job($node, $arguments);
	my ($worker, @helpers) = ('');

	for (my $tries = 0; @helpers == 0 && $tries < 1000; $tries++)
	{
		$worker = sql("SELECT coalesce(pid, 0) FROM bundle_rec.job WHERE job = $job");
		@helpers = helpers_of($worker) if $worker ne '0';
		usleep(10_000);
	}
	is(scalar(@helpers), 1, 'a worker that trains has a helper of its own');
	return ($job, $worker, $helpers[0]);
}

# The same on the processor, for what a device is compared with.
sub train_here
{
	my ($arguments, $what) = @_;

	sql('ALTER DATABASE postgres SET bundle_rec.backend = portable');
	my $job = train_job($node, $arguments);
	job_ends($node, $job, 'done', $what);
	sql('ALTER DATABASE postgres RESET bundle_rec.backend');
	is(computed_by($job), 'portable', 'by the backend that the database names');
	return $job;
}

# ---- what a device learns ----

foreach my $method ('full', 'lora')
{
	my $arguments = arguments(16, $method, ', "rate": 0.002');
	my $here = train_here($arguments, "$method: a training on the processor gets done");
	my ($there, $worker, $helper) = begin_training($arguments);
	job_ends($node, $there, 'done', "$method: the same on a device gets done");
	is(computed_by($there), 'emulated', 'as the lineage says');
	has_gone($helper, 'and its helper ends with it');
	cmp_ok(least_cosine($there, 'tiny'), '<', .999, 'it has learned something');
	cmp_ok(least_cosine($there, $here), '>', .99999, 'and the same as on the processor');
	is(sql("SELECT count(*), min(step), max(step), bool_and(abs(a.validation_loss - b.validation_loss) < 1e-3 * b.validation_loss)
		FROM bundle_rec.job_metric a JOIN bundle_rec.job_metric b USING (step) WHERE a.job = $there AND b.job = $here"), '16|1|16|t', 'with the same figures at every step');
}
my $here = sql(q{SELECT name FROM bundle_rec.backends() WHERE in_use});

# ---- what a device does not train ----

my $job = train_job($node, arguments(40, 'prefix'));
wait_for_step($node, $job, 2);
is(scalar(helpers_of(sql("SELECT coalesce(pid, 0) FROM bundle_rec.job WHERE job = $job"))), 0, 'a training by prefix has no helper');
job_ends($node, $job, 'done', 'and gets done');
is(computed_by($job), $here, 'on the processor');
unlike(log_since(), qr/WARNING/, 'without a warning so far');

sql(q{SELECT count(*) FROM bundle_rec.compress_model('tiny', 'narrow', 'goods', 'structure', '{"heads_removed": 0.25, "neurons_removed": 0.5, "sample": 8}');
	SET ROLE keeper; SELECT bundle_rec.alter_catalog('goods', model => 'narrow'); SELECT bundle_rec.refresh('goods')});
$job = train_job($node, arguments(8));
job_ends($node, $job, 'done', 'a model without some of its heads is trained');
is(computed_by($job), $here, 'on the processor');
like(log_since(), qr/LOG:  the training of job $job goes on without the device "emulated"\n.*DETAIL:  .*heads/, 'as the log tells');
sql(q{SET ROLE keeper; SELECT bundle_rec.alter_catalog('goods', model => 'tiny'); SELECT bundle_rec.refresh('goods')});

# ---- what fails ----

set_service($node, q{bundle_rec.service_device = 'faulty'}, 'ready', 'a device that fails as it is told to');
log_since();

# A training whose device meets something after some steps.
sub goes_on
{
	my ($what, $happen, $detail) = @_;

	set_faults('slow 20');
	my ($job, $worker, $helper) = begin_training(arguments(30));
	wait_for_step($node, $job, 3);
	$happen->($helper);
	job_ends($node, $job, 'done', "$what: the job gets done");
	my $log = log_since();
	is(scalar(() = $log =~ /WARNING:  the training of job $job goes on without the device "faulty"\n/g), 1, "$what: with one warning");
	like($log, qr/DETAIL:  $detail\n/, "$what: which says why");
	unlike($log, qr/ERROR|PANIC|terminated by signal/, "$what: and nothing worse");
	has_gone($helper, "$what: no helper is left");
	is(computed_by($job), "faulty, $here", "$what: device and processor have computed it");
	is(sql("SELECT count(*), count(DISTINCT step), max(step) FROM bundle_rec.job_metric WHERE job = $job"), '30|30|30', "$what: each step once");
	set_faults();
	return;
}

goes_on('a helper that is killed', sub { kill('KILL', $_[0]) }, 'The helper process was ended by signal 9: Killed\.?');
goes_on('a device that fails', sub { set_faults('device') }, 'The device fails as it was told to\.');
goes_on('a device that aborts', sub { set_faults('abort') }, 'The helper process was ended by signal 6: Aborted\.?');
goes_on('a device without memory', sub { set_faults('memory 1') }, 'The device has memory for 1 texts\.');
server_is_whole($node, 'the server did not mind');
is(gpu($node, 'state'), 'ready', 'nor did the service');

foreach my $fault ([ 'device', 'The device fails as it was told to\.' ], [ 'none', 'There is no device, as it was told\.' ])
{
	my ($line, $detail) = @$fault;

	set_faults($line);
	$job = train_job($node, arguments(8));
	job_ends($node, $job, 'done', "$line, from the beginning: the job gets done");
	is(computed_by($job), $here, "$line: on the processor");
	like(log_since(), qr/WARNING:  the device does not train: this process does it by itself\n.*DETAIL:  $detail\n/, "$line: after a warning, which says why");
	set_faults();
}

# of each seed a device is asked for anew
set_faults('slow 20');
($job, undef, my $helper) = begin_training(arguments(12, 'full', ', "seeds": 2'));
wait_for_step($node, $job, 2);
kill('KILL', $helper);
wait_for_step($node, $job, 12);
job_ends($node, $job, 'done', 'a training of two seeds whose first helper is killed gets done');
is(computed_by($job), "faulty, $here", 'by both');
is(scalar(() = log_since() =~ /WARNING/g), 1, 'with one warning');

# ---- cancelled, and resumed elsewhere ----

my $worker;
set_faults('slow 20');
($job, $worker, $helper) = begin_training(arguments(60));
wait_for_step($node, $job, 3);
set_faults('hang 600');
usleep(200_000);
my $start = time;
is(sql("SELECT bundle_rec.cancel_job($job)"), 't', 'a training whose device hangs is cancelled');
has_gone($helper, 'its helper is gone');
cmp_ok(time - $start, '<', 10, 'soon');
has_gone($worker, 'and its worker');
is(sql("SELECT state FROM bundle_rec.job WHERE job = $job"), 'cancelled', 'as the view says');
set_faults();
set_service($node, 'bundle_rec.embedding_service = off', 'off', 'the service is switched off');
sql("SELECT bundle_rec.resume_job($job)");
job_ends($node, $job, 'done', 'resumed it goes on without a device');
is(computed_by($job), "faulty, $here", 'from where it was');

$job = train_job($node, arguments(20000));
wait_for_step($node, $job, 3);
sql("SELECT bundle_rec.cancel_job($job)");
set_service($node, 'bundle_rec.embedding_service = gpu', 'ready', 'and on again');
sql("SELECT bundle_rec.resume_job($job)");
$node->poll_query_until('postgres', "SELECT computed_by = '{$here,faulty}' FROM bundle_rec.stored_training WHERE job = $job");
is(sql("SELECT computed_by FROM bundle_rec.stored_training WHERE job = $job"), "{$here,faulty}", 'a training that began without a device goes on with it');
sql("SELECT bundle_rec.cancel_job($job)");

# ---- kill -9 ----

set_faults('slow 20');
($job, $worker, $helper) = begin_training(arguments(40));
wait_for_step($node, $job, 3);
kill('KILL', $worker);
has_gone($helper, 'a helper does not outlive a worker that was killed');
set_faults();
ok(true_after_restart($node, 'SELECT NOT pg_is_in_recovery()'), 'the server recovers');
# the service has hardly started
is(sql('SELECT bundle_rec.run_jobs()'), '1', 'and the training goes on');
job_ends($node, $job, 'done', 'to its end');
is(computed_by($job), 'faulty', 'on the device, for which it waits');

set_service($node, 'bundle_rec.embedding_service = cpu', 'ready', 'a service that computes on the processor');
$job = train_job($node, arguments(8));
job_ends($node, $job, 'done', 'has no device to train on');
is(computed_by($job), $here, 'and workers train by themselves');
$node->stop;

done_testing();

# 029_train_faults.pl
#    Trainings that meet a server or data as they should not be: no slot for a
#    worker, two at once, no room for what they write, a name that is taken
#    meanwhile, a loss that is no number; and who is told of it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Shop qw(error_of);
use Training;

my $node = PostgreSQL::Test::Cluster->new('train_faults');
$node->init;
# the launcher of logical replication takes one of the slots
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nmax_worker_processes = 2\nbundle_rec.worker_threads = 1\n");
$node->start;
make_goods($node);

sub sql
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql) =~ s/^\n+//r;
}

# Whether a query becomes true; says what jobs are like instead.
sub becomes
{
	my ($query, $what) = @_;
	return ok($node->poll_query_until('postgres', $query), $what) || diag(sql('SELECT * FROM bundle_rec.job'));
}

# What a statement of keeper's says, warnings included.
sub says
{
	my ($sql) = @_;
	return (error_of($node, 'postgres', "SET ROLE keeper; $sql"))[1];
}

my $short = q{parameters => '{"epochs": 1, "most_steps": 3, "validation": 0}'};
my $endless = q{parameters => '{"epochs": 100000, "validation": 0}'};
my $newest = 'SELECT max(job) FROM bundle_rec.job';

# ---- no slot for a worker ----

my $no_slot = qr/WARNING:  53400: no background worker is free: 1 job stays queued\nHINT:  SELECT bundle_rec\.run_jobs\(\) starts them later; max_worker_processes is 2\./;
my $sleeper = $node->background_psql('postgres', on_error_stop => 0);
$sleeper->set_query_timer_restart();
$sleeper->query_safe('SET force_parallel_mode = on');
$sleeper->query_until(qr/asleep/, "\\echo asleep\nSELECT pg_sleep(600);\n");
becomes(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'parallel worker'}, 'a query has the last slot for its parallel worker');
sql('CREATE TABLE goods.pair AS SELECT title AS anchor, title AS positive FROM goods.article; ALTER TABLE goods.pair OWNER TO keeper');
like(says(q{SELECT bundle_rec.train('goods', 'contrastive', query => 'SELECT anchor, positive FROM goods.pair')}), $no_slot, 'a training finds no worker');
my $job = sql($newest);
is(sql("SELECT state, pid, started_at, message FROM bundle_rec.job WHERE job = $job"), 'queued|||no worker has begun it: run_jobs() starts one where max_worker_processes, which is 2, leaves room', 'it waits, and the view says for what');
like(says('SELECT bundle_rec.run_jobs()'), $no_slot, 'run_jobs says so, too');
sql('ALTER TABLE goods.pair DROP COLUMN positive');
sql(q{SELECT pg_cancel_backend(leader_pid) FROM pg_stat_activity WHERE backend_type = 'parallel worker'});
becomes(q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'parallel worker'}, 'the query ends');
$sleeper->quit;
is(sql('SELECT bundle_rec.run_jobs()'), '1', 'and the training begins');
job_ends($node, $job, 'failed', 'with the data as they are by then');
is(sql("SELECT message FROM bundle_rec.job WHERE job = $job"), '42703: column "positive" does not exist', 'which its message tells');

# the worker that has the slot takes what waits for one
sql(q{SET ROLE keeper; SELECT bundle_rec.create_catalog('more', 'goods.article', 'sku', text => '{title}', model => 'tiny'); SELECT bundle_rec.refresh('more')});
$job = train_job($node, $endless);
wait_for_step($node, $job, 1);
like(says("SELECT bundle_rec.train('more', 'masked_words', $short)"), $no_slot, 'beside a training that has the last slot');
my $next = sql($newest);
is(sql("SELECT state FROM bundle_rec.job WHERE job = $next"), 'queued', 'another one waits');
sql("SELECT bundle_rec.cancel_job($job)");
job_ends($node, $next, 'done', 'and begins by itself when that ends');
is(sql("SELECT message FROM bundle_rec.job WHERE job = $next"), '', 'without a word of it');
$node->append_conf('postgresql.conf', "max_worker_processes = 12\n");
$node->restart;

# ---- two at once ----

my $first = $node->background_psql('postgres', on_error_stop => 0);
my $second = $node->background_psql('postgres', on_error_stop => 0);
$_->set_query_timer_restart() for $first, $second;
$_->query_safe('SET ROLE keeper') for $first, $second;
my $pid = $second->query_safe('SELECT pg_backend_pid()');
foreach my $end (qw(ROLLBACK COMMIT))
{
	my $mine = $first->query_safe("BEGIN; SELECT bundle_rec.train('goods', $endless)");
	$second->{stderr} = '';
	$second->query_until(qr/begun/, "\\echo begun\nSELECT bundle_rec.train('goods', $short);\n");
	becomes("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid", 'a training that is queued makes another one wait');
	$first->query_safe($end);
	$second->query('SELECT 1');
	if ($end eq 'ROLLBACK')
	{
		job_ends($node, sql($newest), 'done', 'rolled back, it leaves the catalog to the other');
		next;
	}
	like($second->{stderr}, qr/ERROR:  a model is being trained for the catalog\nDETAIL:  Job $mine has not ended\./, 'committed, it keeps the other off');
	wait_for_step($node, $mine, 1);
	is(sql("SELECT bundle_rec.cancel_job($mine)"), 't', 'until it ends');
}
$_->quit for $first, $second;

# ---- no room for what is written ----

my $with_seed = q{parameters => '{"epochs": 2, "batch": 16, "dropout": 0.1, "seed": 3, "validation": 0}'};
$job = train_job($node, $with_seed);
job_ends($node, $job, 'done', 'a training, undisturbed');
my $hash = hash_of_model($node, $job);
sql(q{CREATE FUNCTION public.no_room() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END$$});
foreach my $what (['job_data', 'reading', 'what it learns from'], ['stored_lineage', 'storing', 'its model'])
{
	my ($table, $phase, $name) = @$what;
	sql("CREATE TRIGGER no_room BEFORE INSERT ON bundle_rec.$table FOR EACH ROW EXECUTE FUNCTION public.no_room()");
	$job = train_job($node, $with_seed);
	job_ends($node, $job, 'failed', "a training without room for $name fails");
	is(sql("SELECT message, model FROM bundle_rec.job WHERE job = $job"), '53100: could not extend file|', 'as its message says');
	sql("DROP TRIGGER no_room ON bundle_rec.$table");
	is(sql("SELECT bundle_rec.resume_job($job)"), 't', 'with room again it is resumed');
	job_ends($node, $job, 'done', 'and gets done');
	is(hash_of_model($node, $job), $hash, 'with the same weights');
}

# ---- a name that is taken meanwhile ----

$job = train_job($node, q{model_name => 'mine', parameters => '{"epochs": 100000, "validation": 0, "most_steps": 400}'});
wait_for_step($node, $job, 1);
sql(qq{SELECT bundle_rec.load_model('mine', '$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls')});
job_ends($node, $job, 'failed', 'a training fails whose name another model has taken');
like(sql("SELECT message FROM bundle_rec.job WHERE job = $job"), qr/^42710: model "mine" already exists/, 'and says so');
sql("SELECT bundle_rec.drop_model('mine'); SELECT bundle_rec.resume_job($job)");
job_ends($node, $job, 'done', 'resumed when it is free, it gets done');
is(sql("SELECT model FROM bundle_rec.job WHERE job = $job"), 'mine', 'under that name');

# ---- a loss that is no number ----

# every step is followed by a checkpoint
sql('ALTER DATABASE postgres SET bundle_rec.checkpoint_interval = 0');
$job = train_job($node, q{parameters => '{"rate": 1e12, "optimiser": "sgd", "clip": 0, "schedule": "constant", "warm_up": 0, "validation": 0}'});
job_ends($node, $job, 'failed', 'a training whose loss is no number stops');
my ($step) = sql("SELECT message FROM bundle_rec.job WHERE job = $job") =~ /^22003: the training cannot go on: Step (\d+), at learning rate 1e\+12: /;
cmp_ok($step // 0, '>', 1, 'and says at which step, and rate');
is(sql("SELECT max(step), count(*) FILTER (WHERE loss IS NULL OR loss IN ('NaN', 'Infinity')) FROM bundle_rec.job_metric WHERE job = $job"), ($step - 1) . '|0', 'what its steps before came to is there');
is(sql("SELECT max(step) FROM bundle_rec.job_checkpoint WHERE job = $job"), $step - 1, 'with the checkpoint of the last good one');
sql("SELECT bundle_rec.resume_job($job)");
job_ends($node, $job, 'failed', 'resumed from there');
like(sql("SELECT message FROM bundle_rec.job WHERE job = $job"), qr/^22003: the training cannot go on: Step $step, at learning rate 1e\+12: /, 'it comes to the same');
sql('ALTER DATABASE postgres RESET bundle_rec.checkpoint_interval');

# ---- who is told ----

# a schedule without pg_cron, whose runs are called by hand
sub make_schedule
{
	my ($parameters) = @_;
	return sql(qq{INSERT INTO bundle_rec.stored_schedule (catalog, role, cron, tasks, parameters) SELECT catalog, 'keeper', '0 3 * * *', '{train}', '{"train": $parameters}'
		FROM bundle_rec.catalog WHERE name = 'goods' RETURNING schedule});
}
my $listener = $node->background_psql('postgres', on_error_stop => 0);
$listener->set_query_timer_restart();
$listener->query_safe('LISTEN bundle_rec_alert');
my $alerts = q{SELECT string_agg(concat_ws('|', job, task, coalesce(sqlstate, '-'), message), ', ' ORDER BY alert) FROM bundle_rec.alert WHERE schedule = };

my $schedule = make_schedule('{"objective": "contrastive", "query": "SELECT title AS anchor, title AS positive FROM goods.article WHERE false"}');
sql("SET ROLE keeper; CALL bundle_rec.run_schedule($schedule)");
$job = sql($newest);
job_ends($node, $job, 'failed', 'a training that a schedule queued fails later');
like(sql("SET ROLE keeper; $alerts $schedule"), qr/^$job\|train\|55000\|there is nothing to learn from: [^,]+, and 0 of them are for validation\.$/, 'which is an alert for who made the schedule');
like($listener->query('SELECT 1'), qr/notification "bundle_rec_alert" with payload "\d+"/, 'and told to who listens');
like(sql("SELECT state, task, message FROM bundle_rec.schedules WHERE schedule = $schedule"), qr/^failed\|train\|job $job: 55000: there is nothing to learn from/, 'the schedule says it, too');

# the worker of a job ends without a word
sub end_worker
{
	my ($of) = @_;
	wait_for_step($node, $of, 1);
	sql("SELECT pg_terminate_backend(pid, 10000) FROM bundle_rec.job WHERE job = $of");
	becomes("SELECT state = 'interrupted' FROM bundle_rec.job WHERE job = $of", 'its worker ends from outside');
	return;
}
$schedule = make_schedule('{"epochs": 100000}');
sql("SET ROLE keeper; CALL bundle_rec.run_schedule($schedule)");
$job = sql($newest);
end_worker($job);
is(sql("SELECT message FROM bundle_rec.job WHERE job = $job"), "its worker ended without saying so: run_jobs() or resume_job($job) goes on with it", 'the view says what to do');
is(sql('SET ROLE keeper; SELECT bundle_rec.run_jobs()'), '1', 'run_jobs starts another one');
my $interrupted = "$job|train|-|job $job was interrupted: its worker ended without saying so, in a crash or a restart; run_jobs() or resume_job($job) goes on with it";
is(sql("SET ROLE keeper; $alerts $schedule"), $interrupted, 'and raises an alert');
like($listener->query('SELECT 1'), qr/notification "bundle_rec_alert" with payload "\d+"/, 'which is told, too');
is(sql('SELECT bundle_rec.run_jobs()'), '0', 'one that is at work');
is(sql("$alerts $schedule"), $interrupted, 'raises none');
end_worker($job);
my $refused = says("CALL bundle_rec.run_schedule($schedule)");
like($refused, qr/ERROR:  55006: schedule $schedule failed at task "train"/, 'the next run cannot train beside it');
is(sql("$alerts $schedule"), "$interrupted, $interrupted, train|55006|a model is being trained for the catalog: Job $job has not ended.", 'and says of which job it has found no worker');
says("CALL bundle_rec.run_schedule($schedule)");
is(sql("SELECT count(*) FROM bundle_rec.alert WHERE job = $job"), '2', 'once');
sql("SELECT bundle_rec.cancel_job($job)");
$listener->quit;

$node->stop;
done_testing();

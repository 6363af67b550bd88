# 026_fit.pl
#    Learning in the background: jobs that fit, what others see of them, and that
#    what was in service stays so however a fit ends.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Restart;
use Shop;

my $node = PostgreSQL::Test::Cluster->new('fit');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nmax_connections = 30\nmax_worker_processes = 12\nrestart_after_crash = on\n");
$node->start;
make_shop($node, 'postgres');

sub sql
{
	my ($sql) = @_;
	return values_of($node, 'postgres', $sql);
}

# Whether a query becomes true; says what it gives instead.
sub becomes
{
	my ($query, $what) = @_;
	return ok($node->poll_query_until('postgres', $query), $what) || diag(sql('TABLE bundle_rec.job'));
}

sub job_becomes
{
	my ($job, $state, $what) = @_;
	return becomes("SELECT state = '$state' FROM bundle_rec.job WHERE job = $job", $what);
}

my $serving = q{SELECT string_agg(kind || ' ' || version, ', ' ORDER BY kind) FROM bundle_rec.learner WHERE serving};
# minutes, if nobody ends it
my $slow = q{SET ROLE keeper; SELECT bundle_rec.fit_async('shop', 'als', '{"factors": 512, "iterations": 1000, "exact": 1}')};
my $answers = q{SET bundle_rec.backend = portable; SELECT rank, items, score FROM bundle_rec.recommend('shop', basket => '{p1,p2}', seed => 7, log => false)};

my $buy = q{INSERT INTO shop.purchase (basket, shopper, sku) SELECT latest + i, 'u1', 'p1' FROM (SELECT max(basket) AS latest FROM shop.purchase) p, generate_series(1, 50) i};

# Queues a fit that takes long; its number, once it is under way.
sub start_slow
{
	my ($what) = @_;
	my $job = sql($slow);
	becomes("SELECT count(*) > 0 FROM bundle_rec.fit_progress p JOIN bundle_rec.job j USING (pid) WHERE j.job = $job AND p.total > 0", $what);
	return $job;
}

# A session that holds what a statement locks, until it quits.
sub hold
{
	my ($statement) = @_;
	my $holder = $node->background_psql('postgres', on_error_stop => 0);
	$holder->query_safe("BEGIN; $statement");
	return $holder;
}

# Begins a statement that will have to wait; the session that runs it.
sub begin_waiting
{
	my ($statement, $name, $what) = @_;
	my $waiting = $node->background_psql('postgres', on_error_stop => 0);
	$waiting->query_until(qr/begun/, "\\echo begun\n$statement;\n");
	becomes("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ '$name'", $what);
	return $waiting;
}

# ---- queued, done ----

my $job = sql(q{SET ROLE keeper; SELECT bundle_rec.fit_async('shop')});
job_becomes($job, 'done', 'all that the data support is learned by a worker');
is(sql("SELECT kind, learner, catalog, phase, created_by, message FROM bundle_rec.job WHERE job = $job"), 'fit||shop||keeper|', 'the view says so');
is(sql("SELECT done = total AND done = (SELECT count(*) FROM bundle_rec.learner) FROM bundle_rec.job WHERE job = $job"), 't', 'and how many versions it made');
is(sql(q{SELECT string_agg(kind, ' ' ORDER BY kind) FROM bundle_rec.learner WHERE serving}), 'als association bpr complement ease itemsets lexical popularity ranker',
	'without curated bundles these are all');
$job = sql(q{SET ROLE keeper; SELECT bundle_rec.fit_async('shop', 'ease', '{"lambda": 7}')});
job_becomes($job, 'done', 'one learner');
is(sql("SELECT kind, learner, done, total FROM bundle_rec.job WHERE job = $job"), 'fit|ease|1|1', 'is named in the view');
is(sql(q{SELECT parameters -> 'lambda' FROM bundle_rec.learner WHERE kind = 'ease' AND serving}), '7', 'and takes its parameters');
my @versions = (sql(q{SELECT version FROM bundle_rec.learner WHERE kind = 'ease' AND serving}), sql(q{SET ROLE keeper; SELECT version FROM bundle_rec.fit('shop', 'ease', '{"lambda": 7}')}));
is(sql("SELECT count(*) FROM ((SELECT item, others, weights FROM bundle_rec.learned_list WHERE version = $versions[0]) EXCEPT
	(SELECT item, others, weights FROM bundle_rec.learned_list WHERE version = $versions[1])) x"), '0', 'a session learns the same');
my $session = $node->background_psql('postgres', on_error_stop => 0);
my $next = $session->query_safe(q{BEGIN; SET LOCAL ROLE keeper; SELECT bundle_rec.fit_async('shop', 'ease')});
is(sql("SELECT count(*) FROM bundle_rec.job WHERE job = $next"), '0', 'nobody sees a job before it is committed');
$session->query_safe('ROLLBACK');
$session->quit;
is(sql("SELECT count(*) FROM bundle_rec.stored_job WHERE job = $next"), '0', 'rolled back, it never was');

# ---- under way ----

my $before = sql($serving);
my $answered = sql($answers);
$job = start_slow('a fit that takes long is under way');
is(sql("SELECT state, phase, learner FROM bundle_rec.job WHERE job = $job"), 'running|fitting|als', 'its job runs');
my $progress = q{SELECT catalog, kind, total, done < total, percent < 100 FROM bundle_rec.fit_progress};
like(sql($progress), qr/^shop\|als\|\d+\|t\|t$/, 'a superuser sees how far it is');
is(sql("SET ROLE keeper; $progress"), sql($progress), 'the owner of the catalog sees it');
is(sql("SET ROLE web; $progress"), '', 'others do not');
is(sql("SELECT p.pid = j.pid FROM bundle_rec.fit_progress p, bundle_rec.job j WHERE j.job = $job"), 't', 'it is the worker of the job');
my $done = sql('SELECT done FROM bundle_rec.fit_progress');
becomes("SELECT done > $done FROM bundle_rec.fit_progress", 'and it goes on');
is(sql($serving), $before, 'what was in service is so meanwhile');
is(sql($answers), $answered, 'and answers');
is(sql(q{SET ROLE keeper; SELECT kind FROM bundle_rec.fit('shop', 'popularity')}), 'popularity', 'a session may learn something else beside it');
$before = sql($serving);

# ---- ended from outside ----

my $start = time;
is(sql("SET ROLE keeper; SELECT bundle_rec.cancel_job($job)"), 't', 'it is cancelled');
becomes('SELECT count(*) = 0 FROM bundle_rec.fit_progress', 'and no longer under way');
cmp_ok(time - $start, '<', 10, 'soon');
is(sql("SELECT state, pid, message FROM bundle_rec.job WHERE job = $job"), 'cancelled||', 'the view says so');
is(sql($serving), $before, 'what was in service stays so');
is(sql($answers), $answered, 'and answers as before');

$job = start_slow('another one');
my $pid = sql("SELECT pid FROM bundle_rec.job WHERE job = $job");
is(sql("SELECT pg_terminate_backend($pid, 10000)"), 't', 'its worker is terminated');
job_becomes($job, 'interrupted', 'the job is interrupted');
is(sql($serving), $before, 'what was in service stays so');

# a process that is killed may have left shared memory half written: the server restarts
$job = start_slow('a third one');
$pid = sql("SELECT pid FROM bundle_rec.job WHERE job = $job");
is(kill('KILL', $pid), 1, 'its worker is killed');
ok(true_after_restart($node, "SELECT pg_postmaster_start_time() IS NOT NULL AND count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"), 'the server comes back');
like(slurp_file($node->logfile), qr/background worker "bundle_rec worker" \(PID $pid\) was terminated by signal 9/, 'after a crash of that worker');
job_becomes($job, 'interrupted', 'the job waits');
is(sql($serving), $before, 'what was in service is so after recovery');
is(sql($answers), $answered, 'and answers as before');
is(sql(q{SELECT count(*) FROM bundle_rec.learned_list l WHERE NOT EXISTS (SELECT FROM bundle_rec.learned_version v WHERE v.version = l.version)}), '0', 'nothing is half there');
sql("SET bundle_rec.refit_share = 0.0001; SET ROLE keeper; $buy; SELECT bundle_rec.refresh('shop')");
is(sql("SELECT count(*) FROM bundle_rec.job WHERE job > $job AND kind = 'fit'"), '1', 'what is new is learned although nobody resumes the job');
job_becomes("(SELECT max(job) FROM bundle_rec.job)", 'done', 'by another one');
sql(qq{UPDATE bundle_rec.stored_job SET parameters = '{"factors": 8, "iterations": 2}' WHERE job = $job});
is(sql("SET ROLE keeper; SELECT bundle_rec.resume_job($job)"), 't', 'it is resumed');
job_becomes($job, 'done', 'and done');
is(sql(q{SELECT parameters -> 'factors' FROM bundle_rec.learner WHERE kind = 'als' AND serving}), '8', 'and what it learned serves');

# ---- what fails ----

$before = sql($serving);
$job = sql(q{SET ROLE keeper; SELECT bundle_rec.fit_async('shop', 'bundle_ease')});
job_becomes($job, 'failed', 'what the data do not support fails');
is(sql("SELECT message FROM bundle_rec.job WHERE job = $job"),
	'55000: "bundle_ease" cannot be learned of catalog "shop": Fewer than two users bought two curated bundles as a whole, as of the last refresh.', 'and the job tells why');
$job = sql(q{ALTER ROLE keeper SET maintenance_work_mem = '1MB'; SET ROLE keeper;
	INSERT INTO shop.product SELECT 'x' || i, 'x', 'kind 1', 1, 1, 1 FROM generate_series(1, 500) i; SELECT bundle_rec.fit_async('shop', 'ease', '{"dense": 1}')});
job_becomes($job, 'failed', 'what does not fit into memory fails');
like(sql("SELECT message FROM bundle_rec.job WHERE job = $job"), qr/^54000: could not fit EASE to all columns at once: EASE of 620 columns takes \d+ bytes, of which 1048576 are allowed\.$/, 'with the figure');
sql('ALTER ROLE keeper RESET ALL');
is(sql("SET ROLE keeper; SELECT bundle_rec.resume_job($job)"), 't', 'with more of it');
job_becomes($job, 'done', 'it is done');

# ---- what comes meanwhile ----

sql('SET ROLE keeper; SET bundle_rec.refit_share = 0; SELECT bundle_rec.refresh(\'shop\')');
my $holder = hold('LOCK TABLE bundle_rec.learned_list_1 IN SHARE UPDATE EXCLUSIVE MODE');
$job = sql(q{SET ROLE keeper; SELECT bundle_rec.fit_async('shop', 'popularity')});
becomes(q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND backend_type = 'bundle_rec worker'}, 'a fit has read all events and waits for its turn to write');
sql("SET ROLE keeper; SET bundle_rec.refit_share = 0; $buy; SELECT bundle_rec.refresh('shop')");
$holder->quit;
job_becomes($job, 'done', 'it goes on');
is(sql(q{SELECT events_since FROM bundle_rec.learner WHERE kind = 'popularity' AND serving}), '50', 'and does not claim to know what was counted meanwhile');

my $counted = 'SELECT events_counted FROM bundle_rec.catalog_state';
my $was = sql($counted);
$holder = hold(q{SELECT FROM bundle_rec.item_count_1 JOIN bundle_rec.item_1 USING (item) WHERE item_id = 'p1' FOR UPDATE OF item_count_1});
sql("SET ROLE keeper; $buy");
$session = begin_waiting(q{SET ROLE keeper; SET bundle_rec.refit_share = 0; SELECT bundle_rec.refresh('shop')}, 'refresh', 'a refresh counts events');
sql("SET ROLE keeper; $buy; $buy");
$holder->quit;
$session->query_safe('SELECT 1');
$session->quit;
is(sql($counted) - $was, 50, 'those that come meanwhile are none of it');
sql('SET ROLE keeper; SET bundle_rec.refit_share = 0; SELECT bundle_rec.refresh(\'shop\')');
is(sql($counted) - $was, 150, 'they are counted next');

# ---- the catalog goes ----

$job = sql(q{SET ROLE keeper; SELECT bundle_rec.fit_async('shop', 'als', '{"factors": 128, "iterations": 500, "exact": 1, "lambda": 10}')});
becomes("SELECT count(*) > 0 FROM bundle_rec.fit_progress WHERE total > 0", 'a fit takes some seconds');
$session = begin_waiting(q{BEGIN; SELECT bundle_rec.drop_catalog('shop')}, 'drop_catalog', 'the catalog is to be dropped');
job_becomes($job, 'done', 'the fit comes first');
$session->query_safe('ROLLBACK');
$session->quit;
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'and neither waits for the other');

$job = start_slow('one more');
$session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_until(qr/begun/, "\\echo begun\nSELECT bundle_rec.drop_catalog('shop');\n");
becomes(q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'drop_catalog'}, 'the catalog is not dropped below a fit');
is(sql("SET ROLE keeper; SELECT bundle_rec.cancel_job($job)"), 't', 'but once that is cancelled');
becomes('SELECT count(*) = 0 FROM bundle_rec.catalog', 'it is dropped');
$session->quit;
is(sql('SELECT count(*) FROM bundle_rec.stored_job'), '0', 'jobs go with their catalog');

$node->stop;
done_testing();

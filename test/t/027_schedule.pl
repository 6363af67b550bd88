# 027_schedule.pl
#    Schedules that pg_cron really runs: refresh, fit, fold and evaluate by night,
#    runs that fail, meet, are cancelled or die, and entries that do not outlive
#    what they call.
#
# pg_cron counts in minutes, so the test waits once for the next one. Entries are
# made for a day that never comes and moved to every minute together, so that none
# runs before all are there, and back once all have begun, so that none runs twice
# while the test looks. What else pg_cron would run is run by hand.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use Shop;

my $node = PostgreSQL::Test::Cluster->new('schedule');
my ($library) = run_command([ 'pg_config', '--pkglibdir' ]);
plan skip_all => 'pg_cron (postgresql-15-cron) is not installed' unless -e "$library/pg_cron.so";

$node->init;
$node->append_conf('postgresql.conf', <<'END');
fsync = off
autovacuum = off
max_connections = 30
max_worker_processes = 20
shared_preload_libraries = 'pg_cron'
cron.database_name = 'postgres'
cron.use_background_workers = on
END
$node->start;
make_shop($node, 'postgres');
$node->safe_psql('postgres', q{CREATE EXTENSION pg_cron; CREATE DATABASE branch TEMPLATE template0});

sub sql
{
	my ($sql, $database) = @_;
	return values_of($node, $database // 'postgres', $sql);
}

# Whether a query becomes true; says what schedules came to instead.
sub becomes
{
	my ($query, $what) = @_;
	return ok($node->poll_query_until('postgres', $query), $what) ||
		diag(sql('TABLE bundle_rec.stored_schedule; TABLE bundle_rec.stored_alert; SELECT * FROM cron.job_run_details'));
}

# What a statement of keeper's meets: SQLSTATE, message, and the rest of it.
sub meets
{
	my ($sql) = @_;
	return error_of($node, 'postgres', "SET ROLE keeper;\n$sql");
}

my $never = '0 3 30 2 *';
my $entries = q{SELECT count(*) FROM cron.job};
my $serving = q{SELECT string_agg(version || kind, ' ' ORDER BY version) FROM bundle_rec.learned_version WHERE serving};

# ---- what pg_cron refuses ----

like(join(' ', meets(q{SELECT bundle_rec.schedule('shop', '0 3 * * *')})), qr/42501.*role "keeper" may not use pg_cron.*GRANT USAGE ON SCHEMA cron TO keeper/s,
	'who may not use pg_cron is told what is missing');
sql('GRANT USAGE ON SCHEMA cron TO keeper');
like(join(' ', meets(q{SELECT bundle_rec.schedule('shop', 'at night')})), qr/invalid schedule: at night.*scheduling work on a catalog with pg_cron/s,
	'a wrong expression is refused by pg_cron');
is(sql('SELECT count(*) FROM bundle_rec.schedules') . sql($entries), '00', 'and leaves nothing');

# ---- a minute ----

# one run that does everything, one that fails half way through its fit, one of a catalog that is
# gone without pg_cron having been told, one of another database, and one of a database without us
sql(q{SET ROLE keeper; SELECT bundle_rec.fit('shop', 'popularity')});
my $service = sql($serving);
my $session = $node->background_psql('postgres', on_error_stop => 0);
# it listens for longer than a query may take
$session->set_query_timer_restart();
$session->query_safe('LISTEN bundle_rec_alert');
sql(q{CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no more versions today' USING ERRCODE = 'BR001', DETAIL = 'kind ' || new.kind; END $$;
	CREATE TRIGGER break BEFORE INSERT ON bundle_rec.learned_version FOR EACH ROW
	WHEN (new.kind = 'association' AND current_setting('application_name') <> 'mends') EXECUTE FUNCTION break()});
sql(q{SET ROLE keeper; INSERT INTO shop.product VALUES ('n1', 'a new tent', 'kind 1', 5, 3, 1);
	INSERT INTO shop.purchase (basket, shopper, sku) VALUES (-1, 'u1', 'n1'), (-1, 'u1', 'p7')});
my $version = q{SELECT version FROM bundle_rec.policy_state WHERE policy = 'at once'};
my $before = sql($version);
sql(q{SET ROLE web; SELECT count(bundle_rec.feedback(decision_id, 1)) FROM bundle_rec.recommend('shop', basket => '{p1}') WHERE rank = 1});
my $good = sql(qq{SET ROLE keeper; SELECT bundle_rec.schedule('shop', '$never', '{refresh,fit,fold,evaluate}',
	'{"fit": {"kind": "ease"}, "evaluate": {"seeds": 1}}')});
my $bad = sql(qq{SET ROLE keeper; SELECT bundle_rec.schedule('shop', '$never', '{fit,evaluate}')});
my $gone = sql(qq{SET ROLE keeper; SELECT bundle_rec.schedule('shop', '$never', '{refresh}')});
sql("DELETE FROM bundle_rec.stored_schedule WHERE schedule = $gone");
sql(qq{CREATE EXTENSION bundle_rec; CREATE SCHEMA shop AUTHORIZATION keeper; SET ROLE keeper; CREATE TABLE shop.product (sku text);
	INSERT INTO shop.product VALUES ('a'), ('b'); SELECT bundle_rec.create_catalog('branch', 'shop.product', item_id => 'sku')}, 'branch');
my ($warning) = (join ' ', $node->psql('branch', qq{SET ROLE keeper; SELECT bundle_rec.schedule('branch', '$never', '{refresh}')})) =~ /(WARNING.*)/s;
my $statement = sql('SELECT cron_statement FROM bundle_rec.schedules', 'branch');
like($warning, qr/schedule 1 starts once pg_cron knows it, which is in database "postgres"\nHINT:  As a superuser run there: \Q$statement\E;/,
	'where pg_cron is elsewhere a warning has the statement to be run there');
sql($statement);
is(sql(q{SELECT jobname, username, database FROM cron.job WHERE database = 'branch'}), 'bundle_rec schedule 1 of branch|keeper|branch', 'which does it');
sql($statement =~ s/'branch', 'keeper'\)$/'template1', 'keeper')/r =~ s/schedule 1 of branch/leftover/r);
is(sql("$entries WHERE schedule = '$never'"), '5', 'five entries wait for a day that never comes');

sql(q{UPDATE cron.job SET schedule = '* * * * *'});
becomes('SELECT count(DISTINCT jobid) = 5 FROM cron.job_run_details', 'pg_cron has begun all of them in the next minute');
sql("UPDATE cron.job SET schedule = '$never'");
becomes("SELECT count(*) = 5 FROM (SELECT jobid FROM cron.job_run_details WHERE status IN ('succeeded', 'failed') GROUP BY jobid) r", 'and ended them');
is(sql("SELECT jobname, status FROM cron.job JOIN cron.job_run_details USING (jobid) GROUP BY 1, 2 ORDER BY 1"),
	"bundle_rec leftover|succeeded\nbundle_rec schedule 1 of branch|succeeded\nbundle_rec schedule $good of postgres|succeeded\nbundle_rec schedule $bad of postgres|failed",
	'all but one were fine, and what found its schedule gone has removed its entry');
is(sql("SELECT state, task, runs >= 1, message, finished_at >= started_at FROM bundle_rec.schedules WHERE schedule = $good"), 'done||t||t', 'the view says that the first is done');
is(sql('SELECT pending, baskets FROM bundle_rec.catalog_coverage'), '0|401', 'it has refreshed');
counts_are_right($node, 'postgres', 'after a scheduled run');
like(sql($serving), qr/^\Q$service\E \d+ease$/, 'it has fitted, and nothing of what failed is in service');
is(sql($version), $before + 1, 'folded');
is(sql(q{SELECT DISTINCT task, seeds FROM bundle_rec.leaderboard}), 'completion|1', 'and evaluated');
is(sql(q{SELECT state FROM bundle_rec.schedules}, 'branch'), 'done', 'the other database has been refreshed');
is(sql("SELECT state, task, message FROM bundle_rec.schedules WHERE schedule = $bad"), 'failed|fit|BR001: no more versions today: kind association', 'the view says what failed');
my $alert = sql("SELECT min(alert) FROM bundle_rec.alert");
is(sql("SELECT catalog, schedule, job, task, sqlstate, message FROM bundle_rec.alert WHERE alert = $alert"), "shop|$bad||fit|BR001|no more versions today: kind association",
	'an alert does');
like($session->query('SELECT 1'), qr/notification "bundle_rec_alert" with payload "$alert"/, 'and a notification has told who listens');
like(sql("SELECT return_message FROM cron.job_run_details WHERE status = 'failed' LIMIT 1"), qr/schedule $bad failed at task "fit"/, 'pg_cron knows of it, too');
is(sql("SELECT bundle_rec.acknowledge_alert($alert)"), 't', 'it is acknowledged');

# ---- a failed run by hand ----

like(join(' ', meets("CALL bundle_rec.run_schedule($bad);")), qr/BR001: schedule $bad failed at task "fit".*DETAIL:  no more versions today: kind association/s, 'who calls a run gets the error');
is(sql("SELECT count(*) > 1 FROM bundle_rec.alert WHERE schedule = $bad"), 't', 'which is written down all the same');
is(sql(qq{SET application_name = 'mends'; SET ROLE keeper; CALL bundle_rec.run_schedule($bad); SELECT state, task, message FROM bundle_rec.schedules WHERE schedule = $bad}), 'done||',
	'the next run may be done');

# ---- runs that meet, are cancelled and die ----

my $blocker = $node->background_psql('postgres');
$blocker->set_query_timer_restart();
$blocker->query_safe('BEGIN; SELECT FROM bundle_rec.catalog_state FOR UPDATE');
sub start_run
{
	my $runner = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $runner->query('SELECT pg_backend_pid()');
	$runner->query_until(qr/begins/, "SET ROLE keeper;\n\\echo begins\nCALL bundle_rec.run_schedule($good);\n");
	becomes("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid", 'a run waits for a row');
	return ($runner, $pid);
}
my ($runner, $pid) = start_run();
is(sql("SELECT state, task FROM bundle_rec.schedules WHERE schedule = $good"), 'running|refresh', 'the view shows how far it is');
my (undef, undef, $said) = $node->psql('postgres', "CALL bundle_rec.run_schedule($good)");
like($said, qr/WARNING:  schedule $good is still at work: this run is skipped/, 'a second one is skipped');
is(sql("SELECT state, skipped FROM bundle_rec.schedules WHERE schedule = $good"), 'running|1', 'and counted');
my $start = time;
sql("SELECT pg_cancel_backend($pid)");
becomes("SELECT state = 'failed' FROM bundle_rec.schedules WHERE schedule = $good", 'cancelled, a run has failed');
diag(sprintf('cancelled within %.0f ms, connections included', 1000 * (time - $start)));
is(sql("SELECT task, message FROM bundle_rec.schedules WHERE schedule = $good"), 'refresh|57014: canceling statement due to user request', 'as the view says');
is(sql("SELECT sqlstate FROM bundle_rec.alert ORDER BY alert DESC LIMIT 1"), '57014', 'and an alert');
$runner->quit;

($runner, $pid) = start_run();
sql("SELECT pg_terminate_backend($pid, 10000)");
becomes("SELECT state = 'interrupted' AND task = 'refresh' FROM bundle_rec.schedules WHERE schedule = $good", 'a run whose connection is lost is interrupted');
eval { $runner->quit };
$blocker->query_safe('ROLLBACK');
is(sql(qq{SET ROLE keeper; CALL bundle_rec.run_schedule($good); SELECT state FROM bundle_rec.schedules WHERE schedule = $good}), 'done', 'the next one is done');
is(sql("SELECT schedule, task, sqlstate FROM bundle_rec.alert ORDER BY alert DESC LIMIT 1"), "$good|refresh|", 'and has raised an alert about the one before');

# in a transaction block the lock goes with the transaction
$blocker->query_safe("BEGIN; SET LOCAL ROLE keeper; CALL bundle_rec.run_schedule($good)");
(undef, undef, $said) = $node->psql('postgres', "CALL bundle_rec.run_schedule($good)");
like($said, qr/this run is skipped/, 'a run in a transaction block keeps others off until it ends');
$blocker->query_safe('ROLLBACK');
is(sql(qq{SET ROLE keeper; CALL bundle_rec.run_schedule($good); SELECT state FROM bundle_rec.schedules WHERE schedule = $good}), 'done', 'and no longer');

# ---- jobs ----

# the refresh queues a fit, since enough is new, and that fails later
my $plain = sql(qq{SET ROLE keeper; SELECT bundle_rec.schedule('shop', '$never', '{refresh}')});
sql(q{ALTER TABLE bundle_rec.learned_version DISABLE TRIGGER break;
	CREATE TRIGGER break_all BEFORE INSERT ON bundle_rec.learned_version FOR EACH ROW EXECUTE FUNCTION break()});
sql(qq{SET ROLE keeper; INSERT INTO shop.purchase (basket, shopper, sku) SELECT -10 - i, 'u1', 'p' || i % 100 FROM generate_series(1, 600) i;
	SET bundle_rec.refit_share = 0.1; CALL bundle_rec.run_schedule($plain)});
my $job = sql("SELECT max(job) FROM bundle_rec.stored_job WHERE schedule = $plain");
isnt($job, '', 'a run has queued a job');
becomes("SELECT count(*) = 1 FROM bundle_rec.alert WHERE job = $job", 'which fails later, and raises an alert');
is(sql("SELECT schedule, task, sqlstate, message LIKE 'no more versions today: kind %' FROM bundle_rec.alert WHERE job = $job"), "$plain|fit|BR001|t", 'that says what it was');
like(sql("SELECT state, task, message FROM bundle_rec.schedules WHERE schedule = $plain"), qr/^failed\|fit\|job $job: BR001: no more versions today: kind /, 'as its schedule does');
$alert = sql("SELECT alert FROM bundle_rec.alert WHERE job = $job");
like($session->query('SELECT 1'), qr/notification "bundle_rec_alert" with payload "$alert"/, 'with a notification');
sql('DROP TRIGGER break_all ON bundle_rec.learned_version');
is(sql("SET ROLE keeper; SELECT bundle_rec.resume_job($job)"), 't', 'the job is resumed');
becomes("SELECT state = 'done' FROM bundle_rec.job WHERE job = $job", 'and is done');

# ---- the end of entries ----

sql("SET ROLE keeper; SELECT bundle_rec.unschedule($plain)");
is(sql("SELECT count(*) FROM cron.job WHERE jobname LIKE '% $plain of postgres'"), '0', 'unschedule removes the entry');
my $of_root = sql(qq{SELECT bundle_rec.schedule('shop', '$never', '{refresh}')});
(undef, undef, $said) = $node->psql('postgres', "SET ROLE keeper; SELECT bundle_rec.unschedule($of_root)");
like($said, qr/WARNING:  the entry "bundle_rec schedule $of_root of postgres" of role "\w+" is left in pg_cron.*HINT:.*SELECT cron.unschedule\(jobid\) FROM cron.job WHERE jobname = 'bundle_rec schedule $of_root of postgres';/s,
	'the entry of another role is left, which a warning tells');
my ($command) = sql("SELECT command FROM cron.job WHERE jobname = 'bundle_rec schedule $of_root of postgres'");
(undef, undef, $said) = $node->psql('postgres', $command);
like($said, qr/NOTICE:  there is no schedule $of_root\nDETAIL:  Its entry in pg_cron was removed/, 'and removes itself when it runs next');
is(sql("SELECT count(*) FROM cron.job WHERE jobname LIKE '% $of_root of postgres'"), '0', 'as it says');

(undef, undef, $said) = $node->psql('branch', q{SET ROLE keeper; SELECT bundle_rec.drop_catalog('branch')});
like($said, qr/is left in pg_cron.*run in database "postgres": (SELECT [^;]+);/s, 'a catalog that is dropped where pg_cron is not leaves its entry');
my ($removal) = $said =~ /run in database "postgres": (SELECT [^;]+);/;
sql("SET ROLE keeper; $removal");
is(sql(q{SELECT count(*) FROM cron.job WHERE database = 'branch'}), '0', 'which the statement in the warning removes');

$command = sql("SELECT command FROM cron.job WHERE jobname LIKE '% $bad of postgres'");
sql(q{SET client_min_messages = error; DROP EXTENSION bundle_rec CASCADE});
sql("SET ROLE keeper; $command");
is(sql("SELECT count(*) FROM cron.job WHERE jobname LIKE '% $bad of postgres'"), '0', 'what pg_cron runs when the extension is gone removes its entry');
sql(q{CREATE EXTENSION bundle_rec});
sql(q{DROP SCHEMA shop CASCADE; DROP EXTENSION bundle_rec CASCADE; DELETE FROM cron.job});
$session->quit;
$blocker->quit;

# ---- a catalog that is dropped ----

sql(q{CREATE EXTENSION bundle_rec; CREATE SCHEMA shop AUTHORIZATION keeper; SET ROLE keeper; CREATE TABLE shop.product (sku text);
	SELECT bundle_rec.create_catalog('small', 'shop.product', item_id => 'sku');
	SELECT count(bundle_rec.schedule('small', d || ' 3 30 2 *', '{refresh}')) FROM generate_series(0, 2) d});
is(sql($entries), '3', 'a catalog with three schedules');
sql(q{SET ROLE keeper; SELECT bundle_rec.drop_catalog('small')});
is(sql($entries), '0', 'takes its entries with it');

$node->stop;
done_testing();

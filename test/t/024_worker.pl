# 024_worker.pl
#    Jobs of the background worker: they begin when they are committed, survive
#    what ends them, and run with the rights of who queued them; and one bad text
#    among many.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use Shop;

my $models = "$ENV{BR_GOLDEN_DIR}/models";
my $node = PostgreSQL::Test::Cluster->new('worker');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nmax_connections = 30\nmax_prepared_transactions = 5\nmax_worker_processes = 12\n");
$node->start;
make_shop($node, 'postgres');

sub sql
{
	my ($sql, $database) = @_;
	return values_of($node, $database // 'postgres', $sql);
}

# Whether a query becomes true; says what it gives instead.
sub becomes
{
	my ($query, $what, $database) = @_;
	return ok($node->poll_query_until($database // 'postgres', $query), $what) || diag(sql('TABLE bundle_rec.job', $database));
}

sub job_becomes
{
	my ($job, $state, $what) = @_;
	return becomes("SELECT state = '$state' FROM bundle_rec.job WHERE job = $job", $what);
}

# Titles that wait, and are long enough for embedding them to take a while.
my $generation = 0;
sub many_titles
{
	my ($n) = @_;
	$generation++;
	sql(qq{INSERT INTO shop.product SELECT 'm' || i, 'edition $generation number ' || i || repeat(' of a long title', 30), 'kind 1', 5, 3, 1
		FROM generate_series(1, $n) i ON CONFLICT (sku) DO UPDATE SET title = excluded.title});
	return;
}

my $pending = 'SELECT pending FROM bundle_rec.catalog_coverage';
my $no_workers = q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'bundle_rec worker'};
my $wrong = q{SELECT count(*) FROM shop.product JOIN bundle_rec.item ON item_id = sku
	WHERE (embedding OPERATOR(bundle_rec.<=>) bundle_rec.embed(title)) > 1e-5 OR embedding IS NULL};

# ---- queued, done ----

sql(q{SET ROLE keeper; INSERT INTO shop.product VALUES ('n1', 'a new tent', 'kind 1', 5, 3, 1);
	INSERT INTO shop.purchase (basket, shopper, sku) VALUES (-1, 'u1', 'n1'), (-1, 'u1', 'p7')});
my $job = sql(q{SET ROLE keeper; SELECT bundle_rec.refresh_async('shop')});
job_becomes($job, 'done', 'a job that is queued gets done');
is(sql("SELECT kind, catalog, phase, done, total, rejected, max_texts, created_by, pid, message FROM bundle_rec.job WHERE job = $job"),
	'refresh|shop||1|1|0||keeper||', 'the view says so');
is(sql("SELECT created_at <= started_at AND started_at <= finished_at AND abs(extract(epoch FROM finished_at - updated_at)) < 1 AND rate > 0 FROM bundle_rec.job WHERE job = $job"), 't',
	'with times and a rate');
is(sql($pending), '0', 'it has embedded');
counts_are_right($node, 'postgres', 'after a job');
is(sql($wrong), '0', 'what it embedded is what embed gives');
becomes($no_workers, 'its worker is gone');
is(sql(q{SELECT bundle_rec.run_jobs()}), '0', 'nothing is left to start');
is(sql("SELECT bundle_rec.cancel_job($job), bundle_rec.resume_job($job)"), 'f|f', 'nor to cancel or resume');

my @jobs = split /\n/, sql(q{SET ROLE keeper; UPDATE shop.product SET title = 'other ' || sku WHERE sku LIKE 'p1%';
	SELECT bundle_rec.refresh_async('shop', 5) UNION ALL SELECT bundle_rec.refresh_async('shop', 0)});
job_becomes($_, 'done', 'a job with a limit gets done') for @jobs;
is(sql("SELECT done, total FROM bundle_rec.job WHERE job = $jobs[0]"), '5|5', 'within its limit');
is(sql("SELECT done FROM bundle_rec.job WHERE job = $jobs[1]"), '0', 'or without a text');
is(sql($pending), 32 - 5, 'the other texts wait');

# ---- transactions ----

my $session = $node->background_psql('postgres', on_error_stop => 0);
my $next = $session->query_safe(q{BEGIN; SELECT bundle_rec.refresh_async('shop')});
usleep(500_000);
is(sql("SELECT count(*) FROM bundle_rec.job WHERE job = $next"), '0', 'nobody sees a job before it is committed');
is($session->query_safe("SELECT state FROM bundle_rec.job WHERE job = $next"), 'queued', 'but the transaction');
is(sql($pending), 32 - 5, 'and nothing is done');
is($session->query_safe(q{SELECT bundle_rec.run_jobs()}), '0', 'run_jobs leaves it to the commit');
$session->query_safe('ROLLBACK');
usleep(500_000);
is(sql("SELECT count(*) FROM bundle_rec.stored_job WHERE job = $next"), '0', 'rolled back, it never was');
is(sql($no_workers), 't', 'and no worker came');
is(sql($pending), 32 - 5, 'to do anything');
$next = $session->query_safe(q{BEGIN; SAVEPOINT a; SELECT bundle_rec.refresh_async('shop', 1)});
$session->query_safe('ROLLBACK TO a; COMMIT');
becomes($no_workers, 'a worker for a savepoint that was rolled back ends');
is(sql($pending), 32 - 5, 'and does nothing');

$next = sql(q{BEGIN; SELECT bundle_rec.refresh_async('shop', 2); PREPARE TRANSACTION 'later'});
is(sql("SELECT count(*) FROM bundle_rec.job WHERE job = $next"), '0', 'a job that is prepared is not there yet');
sql(q{COMMIT PREPARED 'later'});
usleep(300_000);
is(sql("SELECT state FROM bundle_rec.job WHERE job = $next"), 'queued', 'committed, it waits');
is(sql(q{SELECT bundle_rec.run_jobs()}), '1', 'until run_jobs starts it');
job_becomes($next, 'done', 'and it is done');
is(sql($pending), 32 - 7, 'as it was told');

# ---- cancel and resume ----

my $busy = q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'bundle_rec worker' AND application_name = 'bundle_rec worker'
	AND state = 'active' AND usename = 'keeper' AND query LIKE 'job %: refresh of catalog "shop", %'};
many_titles(6000);
$job = sql(q{SET ROLE keeper; SELECT bundle_rec.refresh_async('shop')});
becomes("SELECT done > 0 FROM bundle_rec.job WHERE job = $job", 'a large job makes progress');
is(sql("SELECT state, phase, pid = (SELECT pid FROM pg_stat_activity WHERE backend_type = 'bundle_rec worker'), done < total FROM bundle_rec.job WHERE job = $job"),
	'running|embedding|t|t', 'which the view shows');
becomes($busy, 'and pg_stat_activity too');
my $start = time;
is(sql("SELECT bundle_rec.cancel_job($job)"), 't', 'it is cancelled');
becomes($no_workers, 'and its worker ends');
diag(sprintf('cancelled within %.0f ms, connections included', 1000 * (time - $start)));
is(sql("SELECT state, phase, pid, finished_at IS NOT NULL, message FROM bundle_rec.job WHERE job = $job"), 'cancelled|||t|', 'the view says so');
my ($done, $left) = split /\|/, sql("SELECT done, ($pending) FROM bundle_rec.job WHERE job = $job");
cmp_ok($left, '>', 0, 'with texts left');
is($done + $left, 6000 + 32 - 7, 'what its steps embedded is kept');
is(sql("SELECT bundle_rec.cancel_job($job)"), 'f', 'once');

is(sql("SELECT bundle_rec.resume_job($job)"), 't', 'it is resumed');
becomes("SELECT done > $done FROM bundle_rec.job WHERE job = $job", 'and goes on with what is left');
is(sql("SELECT bundle_rec.resume_job($job)"), 'f', 'a job that is at work cannot be resumed');
my $pid = sql("SELECT pid FROM bundle_rec.job WHERE job = $job");
is(sql("SELECT pg_cancel_backend($pid)"), 't', 'pg_cancel_backend cancels it as well');
job_becomes($job, 'cancelled', 'as the view says');

sql("SELECT bundle_rec.resume_job($job)");
becomes("SELECT state = 'running' AND pid IS NOT NULL FROM bundle_rec.job WHERE job = $job", 'resumed once more');
$pid = sql("SELECT pid FROM bundle_rec.job WHERE job = $job");
is(sql("SELECT pg_terminate_backend($pid, 10000)"), 't', 'its worker is terminated');
job_becomes($job, 'interrupted', 'which the view notices');
is(sql('SELECT count(*) FROM pg_stat_activity WHERE pid = ' . $pid), '0', 'the worker does not come back');
is(sql(q{SELECT bundle_rec.run_jobs()}), '1', 'run_jobs starts another one');
becomes("SELECT state = 'running' AND pid <> $pid FROM bundle_rec.job WHERE job = $job", 'which is at work');
is(sql(q{SELECT bundle_rec.run_jobs()}), '0', 'and is the only one');

$node->stop('immediate');
$node->start;
is(sql("SELECT state, pid FROM bundle_rec.job WHERE job = $job"), 'interrupted|', 'a crash of the server interrupts it');
sql('BEGIN; SET LOCAL ROLE keeper; SELECT bundle_rec.run_jobs(); ROLLBACK');
becomes("SELECT state = 'running' FROM bundle_rec.job WHERE job = $job", 'run_jobs starts it once more');
is(sql("SELECT bundle_rec.cancel_job($job)"), 't', 'a session cancels it');
becomes($no_workers, 'once more');
sql(q{SET ROLE keeper; DELETE FROM shop.product WHERE sku LIKE 'm%' AND length(sku) > 4});
sql("SELECT bundle_rec.resume_job($job)");
job_becomes($job, 'done', 'in the end it is done');
is(sql($pending), '0', 'completely');
is(sql($wrong), '0', 'and rightly');

# cancelled by a transaction that takes it back
many_titles(3000);
$job = sql(q{SET ROLE keeper; SELECT bundle_rec.refresh_async('shop')});
becomes("SELECT done > 0 FROM bundle_rec.job WHERE job = $job", 'a job is at work');
sql("BEGIN; SELECT bundle_rec.cancel_job($job); ROLLBACK");
job_becomes($job, 'cancelled', 'it is cancelled even where the transaction that did it rolls back');
many_titles(3000);

# ---- several jobs ----

@jobs = split /\n/, sql(q{SET ROLE keeper; SELECT bundle_rec.refresh_async('shop', 1400) UNION ALL SELECT bundle_rec.refresh_async('shop', 1400)});
becomes(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'bundle_rec worker' AND wait_event_type = 'Lock'}, 'two jobs of a catalog take turns');
job_becomes($_, 'done', 'both get done') for @jobs;
is(sql("SELECT sum(done) FROM bundle_rec.job WHERE job IN ($jobs[0], $jobs[1])"), '2800', 'and do nothing twice');

# a transaction that holds an item
$session->quit;
$session = $node->background_psql('postgres', on_error_stop => 0);
sql(q{SET ROLE keeper; DELETE FROM shop.product WHERE sku LIKE 'm%'});
$session->query_safe(q{BEGIN; UPDATE shop.product SET title = 'held' WHERE sku = 'p5'});
sql(q{UPDATE shop.product SET title = 'free' WHERE sku = 'p6'});
$job = sql(q{SET ROLE keeper; SELECT bundle_rec.refresh_async('shop')});
job_becomes($job, 'done', 'a row that is not committed does not keep a job waiting');
$session->query_safe('COMMIT');
$session->query_safe(q{BEGIN; SELECT FROM bundle_rec.item_1 WHERE item_id = 'p5' FOR UPDATE});
$job = sql(q{SET ROLE keeper; SELECT bundle_rec.refresh_async('shop')});
becomes("SELECT phase = 'waiting for rows' FROM bundle_rec.job WHERE job = $job", 'a job waits for an item that is held');
$session->query_safe('ROLLBACK');
job_becomes($job, 'done', 'and embeds it then');
is(sql($pending), '0', 'all of it');

# ---- moving to another model ----

sql(qq{SELECT bundle_rec.load_model('wide', '$models/tiny-bert-cased-max-dense')});
$job = sql(q{SET ROLE keeper; SELECT bundle_rec.alter_catalog('shop', model => 'wide'); SELECT bundle_rec.refresh_async('shop')});
job_becomes($job, 'done', 'a job moves a catalog');
is(sql('SELECT model, next_model FROM bundle_rec.catalog_coverage'), 'wide|', 'to its next model');
$job = sql(q{SET ROLE keeper; SELECT bundle_rec.alter_catalog('shop', model => 'tiny'); SELECT bundle_rec.refresh_async('shop')});
job_becomes($job, 'done', 'and back');
sql(q{SELECT bundle_rec.drop_model('wide')});

# ---- no worker ----

$session->quit;
$node->append_conf('postgresql.conf', "max_worker_processes = 0\n");
$node->restart;
my (undef, $all) = error_of($node, 'postgres', q{SET ROLE keeper; SELECT bundle_rec.refresh_async('shop')});
like($all, qr/WARNING:  53400: no background worker is free: 1 job stays queued\nHINT:  SELECT bundle_rec.run_jobs\(\) starts them later; max_worker_processes is 0\./,
	'without a worker the job stays queued');
is(sql(q{SELECT bundle_rec.run_jobs()}), '0', 'run_jobs starts none');
$job = sql('SELECT max(job) FROM bundle_rec.job');
is(sql("SELECT state FROM bundle_rec.job WHERE job = $job"), 'queued', 'and it stays so');
$node->append_conf('postgresql.conf', "max_worker_processes = 1\nmax_logical_replication_workers = 0\n");
$node->restart;
$next = sql(q{SET ROLE keeper; SELECT bundle_rec.refresh_async('shop', 0)});
job_becomes($_, 'done', 'a worker does all jobs of its role') for $job, $next;
$node->append_conf('postgresql.conf', "max_worker_processes = 12\n");
$node->restart;

# ---- rights ----

sql(q{CREATE ROLE stranger LOGIN; CREATE ROLE nologin; GRANT CREATE ON DATABASE postgres TO nologin; SET ROLE nologin;
	CREATE SCHEMA other; CREATE TABLE other.thing (id int PRIMARY KEY, name text); INSERT INTO other.thing SELECT i, 'thing ' || i FROM generate_series(1, 20) i;
	SELECT bundle_rec.create_catalog('things', 'other.thing', 'id', text => '{name}', model => 'tiny')});
$job = sql(q{SET ROLE nologin; SELECT bundle_rec.refresh_async('things')});
job_becomes($job, 'done', 'a role that may not log in has its jobs done');
is(sql("SELECT embedded FROM bundle_rec.catalog_coverage WHERE catalog = 'things'"), '20', 'all of them');
is(sql("SET ROLE stranger; SELECT count(*) FROM bundle_rec.job"), '0', 'another role sees no job');
is(sql("SET ROLE web; SELECT count(*) FROM bundle_rec.job"), '0', 'nor does who may read the catalog');
is(sql("SET ROLE nologin; SELECT count(*) FROM bundle_rec.job"), '1', 'one sees one\'s own');
like(error_of($node, 'postgres', "SET ROLE stranger; SELECT bundle_rec.$_($job)"), qr/^42501: must be owner of the catalog of job $job, or have queued it/, "nor may it: $_")
	for qw(cancel_job resume_job);
like(error_of($node, 'postgres', "SET ROLE stranger; SELECT bundle_rec.refresh_async('things')"), qr/^42501: must be owner of catalog "things"/, 'or queue one');
sql(q{INSERT INTO other.thing VALUES (21, 'more')});
$job = sql(q{BEGIN; SET LOCAL ROLE nologin; SELECT bundle_rec.refresh_async('things'); PREPARE TRANSACTION 'queued'});
sql(q{COMMIT PREPARED 'queued'});
is(sql('SET ROLE stranger; SELECT bundle_rec.run_jobs()'), '0', 'run_jobs starts nothing of others');
is(sql("SELECT state FROM bundle_rec.job WHERE job = $job"), 'queued', 'and leaves it queued');
# what a view of the owner's does must not have more than his rights
# and computes with the threads that workers have
sql(q{ALTER DATABASE postgres SET bundle_rec.worker_threads = 3; SET ROLE nologin; CREATE FUNCTION other.who() RETURNS text LANGUAGE plpgsql AS $$BEGIN
		BEGIN EXECUTE 'RESET SESSION AUTHORIZATION'; EXCEPTION WHEN OTHERS THEN END;
		BEGIN EXECUTE 'SET ROLE postgres'; EXCEPTION WHEN OTHERS THEN END;
		RETURN current_user || ' super ' || (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) || ' threads ' || current_setting('bundle_rec.threads'); END$$;
	SET bundle_rec.threads = 3;
	CREATE VIEW other.seen AS SELECT id, other.who() AS name FROM other.thing;
	SELECT bundle_rec.create_catalog('seen', 'other.seen', 'id', text => '{name}', model => 'tiny'); SELECT count(*) FROM bundle_rec.sync('seen');
	SELECT bundle_rec.refresh('seen')});
sql('SET ROLE nologin; SELECT bundle_rec.run_jobs()');
job_becomes($job, 'done', 'its owner starts it');
sql(q{UPDATE bundle_rec.item SET embedding = NULL, model = NULL WHERE catalog = (SELECT number FROM bundle_rec.catalog_coverage WHERE catalog = 'seen')});
$job = sql(q{SET ROLE nologin; SELECT bundle_rec.refresh_async('seen')});
job_becomes($job, 'done', 'a worker reads a view of a role that may not log in');
is(sql(q{SELECT count(*) FROM bundle_rec.item WHERE embedding IS NOT NULL AND catalog = (SELECT number FROM bundle_rec.catalog_coverage WHERE catalog = 'seen')
	AND (embedding OPERATOR(bundle_rec.<=>) bundle_rec.embed('nologin super false threads 3')) < 1e-5}), '21', 'with no more than his rights');
sql(q{SET ROLE nologin; SELECT bundle_rec.drop_catalog('seen')});

# rights that were lost, roles that were dropped
sql(q{ALTER TABLE other.thing OWNER TO keeper});
$job = sql(q{BEGIN; SET LOCAL ROLE keeper; SELECT bundle_rec.refresh_async('things'); PREPARE TRANSACTION 'queued'});
sql(q{COMMIT PREPARED 'queued'; ALTER TABLE other.thing OWNER TO postgres; SELECT bundle_rec.run_jobs()});
job_becomes($job, 'failed', 'a job fails whose role has lost its rights');
is(sql("SELECT message, phase, finished_at IS NOT NULL FROM bundle_rec.job WHERE job = $job"), '42501: must be owner of catalog "things"||t', 'and says why');
sql(q{ALTER TABLE other.thing OWNER TO keeper; SELECT bundle_rec.resume_job(} . $job . ')');
job_becomes($job, 'done', 'with the rights back it can be resumed');
is(sql("SELECT message FROM bundle_rec.job WHERE job = $job"), '', 'and the message is gone');
sql(q{CREATE ROLE passing; GRANT passing TO keeper; GRANT CREATE ON SCHEMA other TO passing; GRANT USAGE ON SCHEMA other TO keeper; ALTER TABLE other.thing OWNER TO passing});
$job = sql(q{BEGIN; SET LOCAL ROLE passing; SELECT bundle_rec.refresh_async('things'); PREPARE TRANSACTION 'queued'});
sql(q{COMMIT PREPARED 'queued'; REASSIGN OWNED BY passing TO keeper; DROP OWNED BY passing});
sql(q{SET ROLE keeper; SELECT bundle_rec.refresh('things')});
sql(q{DROP OWNED BY passing; DROP ROLE passing});
is(sql('SELECT bundle_rec.run_jobs()'), '0', 'no worker starts for a role that was dropped');
is(sql("SELECT state, message FROM bundle_rec.job WHERE job = $job"), 'failed|the role that queued it was dropped', 'its job has failed');

# settings that would break a step off, and those that a role has
sql(q{ALTER ROLE keeper SET statement_timeout = '1ms'; ALTER ROLE keeper SET lock_timeout = '1ms'; ALTER ROLE keeper SET default_transaction_read_only = on;
	ALTER ROLE keeper SET bundle_rec.neighbours = 3; ALTER ROLE keeper SET default_transaction_isolation = 'serializable';
	INSERT INTO other.thing VALUES (22, 'twenty-two')});
$job = sql(q{SET ROLE keeper; SELECT bundle_rec.refresh_async('things')});
job_becomes($job, 'done', 'timeouts of the role do not end its jobs');
is(sql(q{SELECT max(cardinality(neighbours)) FROM bundle_rec.item_neighbour WHERE catalog = (SELECT number FROM bundle_rec.catalog_coverage WHERE catalog = 'things')}), '3',
	'its other settings hold');
sql('ALTER ROLE keeper RESET ALL');

# ---- what is dropped meanwhile ----

$job = sql(q{BEGIN; SET LOCAL ROLE keeper; SELECT bundle_rec.refresh_async('things'); PREPARE TRANSACTION 'queued'});
sql(q{COMMIT PREPARED 'queued'; SELECT bundle_rec.drop_catalog('things')});
is(sql("SELECT count(*) FROM bundle_rec.stored_job WHERE job = $job"), '0', 'jobs go with their catalog');
many_titles(3000);
$job = sql(q{SET ROLE keeper; SELECT bundle_rec.refresh_async('shop')});
becomes("SELECT done > 0 FROM bundle_rec.job WHERE job = $job", 'a job is at work');
sql(q{SELECT bundle_rec.drop_catalog('shop')});
becomes($no_workers, 'its worker ends when the catalog is dropped');

# ---- one bad text ----

# The model tiny with component 5 of what it gives larger by a factor: its last
# layer norm, which nothing follows, scales and shifts components one by one.
sub loud_model
{
	my ($folder, $factor) = @_;
	PostgreSQL::Test::RecursiveCopy::copypath("$models/tiny-bert-cls", $folder);
	my $weights = slurp_file("$folder/model.safetensors");
	my $header_size = unpack('Q<', $weights);
	my $header = substr($weights, 8, $header_size);
	for my $name (qw(weight bias))
	{
		my ($last) = sort { $b cmp $a } $header =~ /"((?:bert\.)?encoder\.layer\.\d+\.output\.LayerNorm\.$name)"/g;
		my ($begin) = $header =~ /"\Q$last\E":\{[^}]*"data_offsets":\[(\d+),/ or die "no $last";
		my $at = 8 + $header_size + $begin + 4 * 5;
		substr($weights, $at, 4) = pack('f<', $factor * unpack('f<', substr($weights, $at, 4)));
	}
	open my $file, '>:raw', "$folder/model.safetensors" or die $!;
	print $file $weights;
	close $file;
	return;
}

# so that about one text in twenty leaves the range of a half, which ends at 65504
my $loud = $node->basedir . '/loud';
my $component = q{abs((bundle_rec.embed(title, 'tiny')::real[])[6])};
my $bound = sql("SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY $component) FROM shop.product WHERE sku LIKE 'p%'");
my $factor = 65504 / $bound;
loud_model($loud, $factor);
my $bad = join ' ', split /\n/, sql("SELECT sku FROM shop.product WHERE sku LIKE 'p%' AND $component * $factor > 65504 ORDER BY sku COLLATE \"C\"");
my $n_bad = () = $bad =~ /\S+/g;
cmp_ok($n_bad, '>', 2, 'the loud model cannot embed some of the titles');
sql(qq{SELECT bundle_rec.load_model('loud', '$loud'); DELETE FROM shop.product WHERE sku NOT LIKE 'p%'});
like(error_of($node, 'postgres', "SELECT bundle_rec.embed(title, 'loud') FROM shop.product ORDER BY $component DESC LIMIT 1"), qr/^22003: /, 'embed says so');
(undef, $all) = error_of($node, 'postgres', q{SET ROLE keeper;
	SELECT bundle_rec.create_catalog('loud', 'shop.product', item_id => 'sku', text => '{title}', stock => 'stock', model => 'loud'); SELECT bundle_rec.refresh('loud')});
my ($first) = $bad =~ /^(\S+)/;
like($all, qr/WARNING:  01000: catalog "loud" set aside the texts of $n_bad items\nDETAIL:  The first one is "$first": .*out of range.*\nHINT:  The view bundle_rec.rejected_row lists them/,
	'refresh sets them aside');
unlike($all, qr/WARNING.*WARNING/s, 'with one warning');
my $rejected = q{SELECT string_agg(row_id, ' ' ORDER BY row_id) FROM bundle_rec.rejected_row WHERE catalog = 'loud' AND reason ~ 'out of range'};
is(sql($rejected), $bad, 'they are those that the range of a half tells, and the view lists them');
is(sql(q{SELECT items - embedded, pending, rejected FROM bundle_rec.catalog_coverage WHERE catalog = 'loud'}), "$n_bad|0|$n_bad", 'all others are embedded');
is(sql(q{SELECT count(*) FROM shop.product JOIN bundle_rec.item i ON i.item_id = sku JOIN bundle_rec.catalog c USING (catalog)
	WHERE c.name = 'loud' AND CASE WHEN embedding IS NOT NULL THEN (embedding OPERATOR(bundle_rec.<=>) bundle_rec.embed(title, 'loud')) > 1e-4 END}), '0', 'as they should be');
(undef, $all) = error_of($node, 'postgres', q{SET ROLE keeper; SELECT bundle_rec.refresh('loud')});
is($all, '', 'the next refresh does not try them again');
sql(q{UPDATE shop.product SET stock = stock - 1});
(undef, $all) = error_of($node, 'postgres', q{SET ROLE keeper; SELECT bundle_rec.refresh('loud')});
is($all, '', 'nor does it after a sale');
is(sql($rejected), $bad, 'which changes nothing about the texts');
is(sql(qq{SELECT count(*) FROM bundle_rec.recommend_items('loud', basket => '{$first}', seed => 1, log => false)}), '10', 'such an item is served as one without text');

# the text of one changes, and another item gets a bad text in place of a good one
my ($good) = split /\n/, sql("SELECT sku FROM shop.product WHERE $component * $factor < 60000 ORDER BY sku COLLATE \"C\" LIMIT 1");
my ($second) = $bad =~ /^\S+ (\S+)/;
sql(qq{UPDATE shop.product SET title = (SELECT title FROM shop.product WHERE sku = '$good') WHERE sku = '$first';
	UPDATE shop.product SET title = (SELECT title FROM shop.product WHERE sku = '$second') WHERE sku = '$good'});
$job = sql(q{SET ROLE keeper; SELECT bundle_rec.refresh_async('loud')});
job_becomes($job, 'done', 'a worker sets texts aside as well');
is(sql("SELECT rejected, message FROM bundle_rec.job WHERE job = $job"), '1|', 'and counts them');
my $now_bad = join ' ', sort(grep({ $_ ne $first } split(/ /, $bad)), $good);
is(sql($rejected), $now_bad, 'a text that is good now is embedded, one that is bad now is not');
is(sql(qq{SELECT embedding IS NULL FROM bundle_rec.item i JOIN bundle_rec.catalog c USING (catalog) WHERE c.name = 'loud' AND i.item_id = '$good'}), 't', 'nor is its former text');
sql(q{SET ROLE keeper; SELECT bundle_rec.refresh('loud')});
is(sql(qq{SELECT count(*) FROM bundle_rec.item_neighbour n JOIN bundle_rec.catalog c USING (catalog) JOIN bundle_rec.item i USING (catalog)
	WHERE c.name = 'loud' AND i.item_id = '$good' AND (n.item = i.item OR i.item = ANY (n.neighbours))}), '0', 'and no list of neighbours names it any more');

# to that model and from it
sql(q{SET ROLE keeper; SELECT bundle_rec.create_catalog('moving', 'shop.product', item_id => 'sku', text => '{title}', model => 'tiny');
	SELECT bundle_rec.refresh('moving'); SELECT bundle_rec.alter_catalog('moving', model => 'loud')});
$job = sql(q{SET ROLE keeper; SELECT bundle_rec.refresh_async('moving')});
job_becomes($job, 'done', 'a catalog moves to a model that refuses some texts');
is(sql(q{SELECT model, next_model, items - embedded, pending, rejected FROM bundle_rec.catalog_coverage WHERE catalog = 'moving'}), "loud||$n_bad|0|$n_bad", 'without them');
is(sql(q{SET ROLE keeper; SELECT bundle_rec.refresh('moving'); SELECT pending FROM bundle_rec.catalog_coverage WHERE catalog = 'moving'}), '0', 'they do not wait again');
$job = sql(q{SET ROLE keeper; SELECT bundle_rec.alter_catalog('moving', model => 'tiny'); SELECT bundle_rec.refresh_async('moving')});
job_becomes($job, 'done', 'and back');
is(sql(q{SELECT model, items - embedded, pending, rejected FROM bundle_rec.catalog_coverage WHERE catalog = 'moving'}), 'tiny|0|0|0', 'with all of them');
is(sql(q{SELECT count(*) FROM bundle_rec.refused_text JOIN bundle_rec.catalog USING (catalog) WHERE name = 'moving'}), '0', 'nothing is said against them any more');

# a text without a token: a model that adds none of its own
my $bare = $node->basedir . '/bare';
PostgreSQL::Test::RecursiveCopy::copypath("$models/tiny-bert-cls", $bare);
my $tokenizer = slurp_file("$bare/tokenizer.json");
$tokenizer =~ s/"single":\s*\[.*?\],(?=\s*"pair")/"single": [{"Sequence": {"id": "A", "type_id": 0}}],/s or die 'no template';
open my $file, '>', "$bare/tokenizer.json" or die $!;
print $file $tokenizer;
close $file;
sql(qq{SELECT bundle_rec.load_model('bare', '$bare'); CREATE TABLE shop.mark (id int PRIMARY KEY, name text);
	INSERT INTO shop.mark VALUES (1, 'a tent'), (2, E'\\u200b\\u00ad'), (3, 'a lamp')});
(undef, $all) = error_of($node, 'postgres', q{SELECT bundle_rec.create_catalog('marks', 'shop.mark', 'id', text => '{name}', model => 'bare'); SELECT bundle_rec.refresh('marks')});
like($all, qr/WARNING:  01000: catalog "marks" set aside the text of 1 item\nDETAIL:  The first one is "2": .*without tokens/, 'a text without tokens is set aside');
is(sql(q{SELECT embedded, pending, rejected FROM bundle_rec.catalog_coverage WHERE catalog = 'marks'}), '2|0|1', 'alone');
is(sql(q{SELECT bundle_rec.drop_catalog('marks'); SELECT count(*) FROM bundle_rec.refused_text r WHERE NOT EXISTS (SELECT FROM bundle_rec.catalog c WHERE c.catalog = r.catalog)}), '0',
	'what was said goes with the catalog');
sql(q{UPDATE shop.product SET title = 'once more ' || sku WHERE sku < 'p2'});
$job = sql(q{BEGIN; SELECT bundle_rec.refresh_async('moving'); UPDATE bundle_rec.stored_model SET layout = 99 WHERE name = 'tiny'; PREPARE TRANSACTION 'queued'});
sql(q{COMMIT PREPARED 'queued'; SELECT bundle_rec.run_jobs()});
job_becomes($job, 'failed', 'what is no text\'s fault ends a job');
is(sql(q{SELECT count(*) FROM bundle_rec.refused_text r JOIN bundle_rec.catalog c USING (catalog) WHERE c.name = 'moving'}), '0', 'and refuses no text');
sql(q{UPDATE bundle_rec.stored_model SET layout = (SELECT min(layout) FROM bundle_rec.stored_model) WHERE name = 'tiny'});
sql("SELECT bundle_rec.resume_job($job)");
job_becomes($job, 'done', 'with the model mended it can be resumed');

# nor are texts at fault where the session asks for what its backend does not compute in
sql(q{UPDATE shop.product SET title = title || ' anew' WHERE sku IN (SELECT min(sku) FROM shop.product)});
is(error_of($node, 'postgres', q{SET bundle_rec.backend = portable; SET bundle_rec.precision = int8; SELECT bundle_rec.refresh('moving')}),
	'0A000: the backend "portable" does not compute in int8 here', 'a precision that is not to be had stops refresh');
is(sql(q{SELECT count(*) FROM bundle_rec.refused_text r JOIN bundle_rec.catalog c USING (catalog) WHERE c.name = 'moving'}), '0', 'and refuses no text either');
cmp_ok(sql(q{SELECT pending FROM bundle_rec.catalog_coverage WHERE catalog = 'moving'}), '>', 0, 'which waits on');
sql(q{SELECT bundle_rec.refresh('moving')});

# ---- dump, standby ----

my $dump = $node->basedir . '/dump.sql';
sql(q{BEGIN; SELECT bundle_rec.refresh_async('moving'); PREPARE TRANSACTION 'queued'});
sql(q{COMMIT PREPARED 'queued'; DELETE FROM bundle_rec.refused_text; SELECT bundle_rec.drop_catalog('loud'); SELECT bundle_rec.drop_model('loud')});
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'a database with a queued job is dumped');
sql('CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'and restored');
is(sql('SELECT count(*) FROM bundle_rec.stored_job', 'restored'), '0', 'without its jobs');
is(sql('SELECT bundle_rec.run_jobs()', 'restored'), '0', 'so that none starts');
cmp_ok(sql(q{SELECT bundle_rec.refresh_async('moving', 0)}, 'restored'), '>', $job, 'their numbers are not used again');

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is((error_of($standby, 'postgres', "SELECT bundle_rec.refresh_async('moving')"))[0], '25006: cannot execute refresh_async() during recovery', 'a standby queues nothing');
sql(q{SELECT bundle_rec.run_jobs()});
many_titles(3000);
$job = sql(q{SET ROLE keeper; SELECT bundle_rec.refresh_async('moving')});
becomes("SELECT done > 0 FROM bundle_rec.job WHERE job = $job", 'the primary is at work');
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', "SELECT state, pid FROM bundle_rec.job WHERE job = $job"), 'running|', 'and the standby sees its job running');
$standby->stop;
sql("SELECT bundle_rec.cancel_job($job)");
becomes($no_workers, 'it is cancelled');

# ---- DROP EXTENSION, DROP DATABASE ----

my $at_work = q{SELECT count(*) > 0 FROM bundle_rec.job WHERE state = 'running' AND pid IS NOT NULL};
sql(q{INSERT INTO shop.product SELECT 'm' || i, 'number ' || i || repeat(' of a long title', 30), 'kind 1', 5, 3, 1 FROM generate_series(1, 3000) i;
	SELECT bundle_rec.refresh_async('moving')}, 'restored');
becomes($at_work, 'a worker is at work in another database', 'restored');
sql('DROP EXTENSION bundle_rec CASCADE', 'restored');
becomes($no_workers, 'it ends when the extension is dropped');
is(sql('SELECT count(*) FROM shop.product', 'restored'), sql('SELECT count(*) FROM shop.product WHERE sku NOT LIKE \'m%\'') + 3000, 'and nothing else');
sql('DROP DATABASE restored; CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'restored once more');
sql(q{INSERT INTO shop.product SELECT 'm' || i, 'number ' || i || repeat(' of a long title', 30), 'kind 1', 5, 3, 1 FROM generate_series(1, 80000) i;
	SELECT bundle_rec.refresh_async('moving')}, 'restored');
# DROP DATABASE waits five seconds for others to leave: the job must take longer
becomes($at_work, 'a worker is at work', 'restored');
like(error_of($node, 'postgres', 'DROP DATABASE restored'), qr/^55006: database "restored" is being accessed by other users/, 'DROP DATABASE minds it as any session');
is(error_of($node, 'postgres', 'DROP DATABASE restored WITH (FORCE)'), '', 'and ends it with FORCE');
is(sql($no_workers), 't', 'it does not come back');
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|server process .* exited with exit code [^01]/, 'no worker took the server down');

$node->stop;
done_testing();

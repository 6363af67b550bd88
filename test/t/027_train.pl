# 027_train.pl
#    Training in the background: a model learns what goes together, whatever ends
#    its worker changes nothing of what comes of it, and nobody waits for it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use Decisions qw(hard_restart);
use Restart;
use Training;

my $node = PostgreSQL::Test::Cluster->new('train');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nrestart_after_crash = on\nmax_worker_processes = 12\nbundle_rec.worker_threads = 1\n");
$node->start;
make_goods($node);

sub sql
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql) =~ s/^\n+//r;
}

# ---- from baskets to a model ----

my $zero_shot = partners_found($node, 'tiny');
cmp_ok($zero_shot, '<=', 5, "the model finds $zero_shot of 20 partners before");
my $job = train_job($node, q{parameters => '{"epochs": 150, "rate": 0.002, "batch": 16, "validation": 0}', model_name => 'learned'});
job_ends($node, $job, 'done', 'a training gets done');
my $learned = partners_found($node, 'learned');
cmp_ok($learned, '>=', 18, "and finds $learned afterwards");
is(sql("SELECT kind, model, phase, done = total, total > 100, loss < 1, message FROM bundle_rec.job WHERE job = $job"), 'train|learned||t|t|t|', 'the view says what came of it');

# 600 baskets of an hour each, of which the latest 60 are held out
is(sql("SELECT made_by, parent, catalog, objective, method, learned_until = timestamptz '2025-01-01' + interval '540 hours', data ->> 'source', data ->> 'sessions', data ->> 'held_out', data ->> 'found', data ->> 'texts',
	data ->> 'sha256' ~ '^[0-9a-f]{64}\$', parameters ->> 'epochs', parameters ->> 'temperature' FROM bundle_rec.lineage WHERE model = 'learned'"),
	'train|tiny|goods|sets|full|t|baskets|540|60|540|40|t|150|0.1', 'its lineage from what');
is(sql("SELECT count(*) FROM bundle_rec.job_checkpoint") . sql("SELECT count(*) FROM bundle_rec.job_data"), '00', 'what it would have gone on from is gone');
is(sql("SELECT count(*) > 0, max(step) = (SELECT total FROM bundle_rec.job WHERE job = $job), min(loss) < max(loss) / 4, bool_and(tokens_per_second > 0 AND gradient > 0) FROM bundle_rec.job_metric WHERE job = $job"),
	't|t|t|t', 'its figures are there');
like(sql("SELECT bundle_rec.plot_job($job)"), qr/^<svg.*>loss</s, 'and drawn');
is(sql("SELECT model FROM bundle_rec.catalog_coverage WHERE catalog = 'goods'"), 'tiny', 'the catalog keeps its model');

# ---- who listens ----

my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN bundle_rec_job');
$job = sql(q{SELECT bundle_rec.refresh_async('goods')});
job_ends($node, $job, 'done', 'a refresh gets done');
like($listener->query('SELECT 1'), qr/Asynchronous notification "bundle_rec_job" with payload "\{"job" : \d+, "kind" : "refresh", "catalog" : "goods", "state" : "done", "model" : null\}"/, 'a job of any kind that ends is told to who listens');
$listener->quit;

# ---- what cannot be learned from ----

sub fails
{
	my ($arguments, $message, $what) = @_;
	my $failed = train_job($node, $arguments);
	job_ends($node, $failed, 'failed', $what);
	like(sql("SELECT message FROM bundle_rec.job WHERE job = $failed"), $message, 'and says why');
	return $failed;
}

fails(q{'contrastive', query => 'SELECT title AS anchor, title AS positive FROM goods.article WHERE false'}, qr/^55000: there is nothing to learn from: 0 examples were found/, 'an empty query');
fails(q{'contrastive', query => $q$SELECT 'red house'::text AS anchor, 'music'::text AS positive FROM goods.article$q$}, qr/^22023: cannot train with these data: /, 'many pairs that are all the same');
fails(q{'contrastive', query => $q$SELECT 'red house'::text AS anchor, 'music'::text AS positive$q$, parameters => '{"validation": 0}'}, qr/^22023: cannot train with these data: /, 'one pair');
fails(q{'contrastive', query => $q$SELECT title AS anchor, CASE sku WHEN 'b0' THEN NULL ELSE 'music' END AS positive FROM goods.article ORDER BY sku COLLATE "C"$q$}, qr/^22004: "positive" must not be null: It is row 21 of the query/, 'a NULL');
fails(q{'text_classes', query => $q$SELECT title AS text, CASE sku WHEN 'a1' THEN -1 ELSE 1 END AS label FROM goods.article ORDER BY sku COLLATE "C"$q$}, qr/^22023: label is out of range: -1: It is row 2 of the query/, 'a label below 0');
fails(q{'text_classes', query => $q$SELECT title AS text, 3 AS label FROM goods.article$q$, parameters => '{"classes": 3}'}, qr/^22023: label is out of range: 3: It is row 1 of the query/, 'a label of no class');
fails(q{'score', query => $q$SELECT title AS a, title AS b, 1.5 AS score FROM goods.article$q$}, qr/^22023: score is out of range: 1\.5: It is row 1/, 'a score that is no cosine');
sql(q{SET ROLE keeper; CREATE FUNCTION goods.sells(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN DELETE FROM goods.sale; RETURN $1; END$$});
fails(q{'contrastive', query => 'SELECT goods.sells(title) AS anchor, title AS positive FROM goods.article'}, qr/^25006: cannot execute DELETE in a read-only transaction/, 'a query with side effects');
is(sql('SELECT count(*) FROM goods.sale'), '1200', 'which has none');
fails(q{parameters => '{"rate": 1e30, "optimiser": "sgd", "clip": 0, "schedule": "constant", "warm_up": 0}'}, qr/^22003: the training cannot go on: Step \d+, at learning rate 1e\+30: /, 'a loss that is no number');

# ---- other objectives ----

$job = train_job($node, q{'score', 'lora', query => 'SELECT a.title AS a, b.title AS b, (a.sku = b.sku)::int AS score FROM goods.article a, goods.article b WHERE a.sku < ''a5''', model_name => 'scored', parameters => '{"epochs": 1, "seeds": 2}'});
job_ends($node, $job, 'done', 'scores from a query, by low-rank additions, with two seeds');
is(sql("SELECT count(DISTINCT seed) FROM bundle_rec.job_metric WHERE job = $job"), '2', 'of which each has figures');
is(sql("SELECT objective, method, data ->> 'source', learned_until IS NOT NULL FROM bundle_rec.lineage WHERE model = 'scored'"), 'score|lora|query|t', 'as its lineage says');
$job = train_job($node, q{'masked_words', model_name => 'guessed', parameters => '{"epochs": 2}'});
job_ends($node, $job, 'done', 'words of the catalog\'s texts');
is(sql("SELECT learned_until IS NULL, data ->> 'source' FROM bundle_rec.lineage WHERE model = 'guessed'"), 't|texts', 'which tell of no session');
$job = train_job($node, q{'distillation', model_name => 'pupil', parameters => '{"epochs": 1, "teacher": "learned"}'});
job_ends($node, $job, 'done', 'what another model says of them');

$job = train_job($node, q{'contrastive', model_name => 'paired', parameters => '{"epochs": 150, "rate": 0.002, "batch": 16, "validation": 0}'});
job_ends($node, $job, 'done', 'pairs of a basket');
cmp_ok(partners_found($node, 'paired'), '>=', 18, 'of which as much is learned');
is(sql("SELECT objective, data ->> 'source', data ->> 'found' FROM bundle_rec.lineage WHERE model = 'paired'"), 'contrastive|baskets|540', 'from as many');
$job = train_job($node, q{'sets', query => $q$SELECT substr(sku, 2) AS set, title AS text FROM goods.article$q$, model_name => 'listed', parameters => '{"epochs": 150, "rate": 0.002, "batch": 16, "validation": 0}'});
job_ends($node, $job, 'done', 'sets from a query');
cmp_ok(partners_found($node, 'listed'), '>=', 18, 'are learned, too');
fails(q{'sets', query => $q$SELECT sku AS set, title AS text FROM goods.article$q$}, qr/^22023: cannot train with these data: /, 'sets of one member');

# ---- additions ----

my $differs = q{SELECT bool_and((bundle_rec.embed(title, 'tiny') OPERATOR(bundle_rec.<=>) bundle_rec.embed(title, '%s')) > .01) FROM goods.article};
# Whether a model is another one than its parent, and known for what it is.
sub is_added
{
	my ($method, $made_by) = @_;
	is(sql(sprintf $differs, "by_$method"), 't', 'by embeddings that are others');
	is(sql("SELECT method, parent, job FROM bundle_rec.lineage WHERE model = 'by_$method'"), "$method|tiny|$made_by", 'as its lineage says');
	return;
}
foreach my $addition (['lora', 0.01, 1], ['adalora', 0.01, 1], ['bottleneck', 0.01, 2])
{
	my ($method, $rate, $seeds) = @$addition;
	my $validation = $seeds > 1 ? 0.1 : 0;
	$job = train_job($node, qq{'contrastive', '$method', model_name => 'by_$method', parameters => '{"epochs": 60, "rate": $rate, "batch": 16, "validation": $validation, "seeds": $seeds, "bottleneck_size": 16}'});
	job_ends($node, $job, 'done', "a training by $method, seeds: $seeds");
	my $found = partners_found($node, "by_$method");
	cmp_ok($found, '>=', 15, "finds $found of 20 partners");
	is_added($method, $job);
}
# before a model that keeps its own weights a prefix learns little; each step has its row
sql('ALTER DATABASE postgres SET bundle_rec.checkpoint_interval = 0');
$job = train_job($node, q{'contrastive', 'prefix', model_name => 'by_prefix', parameters => '{"epochs": 3, "rate": 0.02, "batch": 16, "validation": 0}'});
job_ends($node, $job, 'done', 'a training by prefix');
sql('ALTER DATABASE postgres RESET bundle_rec.checkpoint_interval');
is(sql("SELECT count(*) = max(step), avg(loss) FILTER (WHERE step > 80) < .95 * avg(loss) FILTER (WHERE step <= 10) FROM bundle_rec.job_metric WHERE job = $job"), 't|t', 'has a lower loss in the end');
is_added('prefix', $job);
foreach my $method ('bottleneck', 'prefix')
{
	sql("SET ROLE keeper; SELECT bundle_rec.alter_catalog('goods', model => 'by_$method'); SELECT bundle_rec.refresh('goods')");
	my (undef, undef, $refused) = $node->psql('postgres', "SET ROLE keeper; SELECT bundle_rec.train('goods')");
	like($refused, qr/ERROR:  the model of catalog "goods" cannot be trained further\nDETAIL:  It has bottlenecks or a prefix/, "a model with a $method is served, and not trained further");
}

# ---- until when it was learned ----

# of a model that is trained again, what its parent learned counts, too; of a pupil what its teacher did
sub learns_until
{
	my ($model, $arguments, $until, $what) = @_;
	my $teacher = $arguments =~ /distillation/ ? ', "teacher": "later"' : '';
	my $trains = train_job($node, qq{$arguments, model_name => '$model', parameters => '{"epochs": 1$teacher}'});
	job_ends($node, $trains, 'done', "a training $what");
	is(sql("SELECT learned_until AT TIME ZONE 'UTC' FROM bundle_rec.lineage WHERE model = '$model'"), $until, "learns until $until");
	return;
}
sub dated
{
	my ($day) = @_;
	return qq{'contrastive', query => \$q\$SELECT title AS anchor, 'the ' || title AS positive, timestamptz '$day 00:00 UTC' - length(sku) * interval '1 day' + interval '2 days' AS occurred_at FROM goods.article\$q\$};
}
sub serve
{
	my ($model) = @_;
	sql("SET ROLE keeper; SELECT bundle_rec.alter_catalog('goods', model => '$model'); SELECT bundle_rec.refresh('goods')");
	return;
}
serve('tiny');
learns_until('earlier', dated('2025-01-10'), '2025-01-10 00:00:00', 'by rows with a time');
learns_until('later', dated('2025-03-01'), '2025-03-01 00:00:00', 'by later ones');
learns_until('taught', "'distillation'", '2025-03-01 00:00:00', 'by what a teacher says of texts');
serve('earlier');
learns_until('child', "'masked_words'", '2025-01-10 00:00:00', 'of its child by texts');
learns_until('later child', dated('2025-02-01'), '2025-02-01 00:00:00', 'of its child by later rows');
serve('later');
learns_until('earlier child', dated('2025-02-01'), '2025-03-01 00:00:00', 'of a child by earlier rows');
serve('tiny');

# ---- long enough to be met at work ----

my $long = q{'contrastive', query => 'SELECT a.title AS anchor, b.title AS positive FROM goods.article a JOIN goods.article b ON b.sku = ''b'' || substr(a.sku, 2) AND a.sku LIKE ''a%'' ORDER BY a.sku',
	parameters => '{"validation": 0.3, "epochs": 6000, "batch": 16, "dropout": 0.1, "negatives": 2, "negatives_from": 1, "negatives_to": 10, "validate_every": 50, "patience": 0, "most_steps": 2400}'};
sql(q{ALTER DATABASE postgres SET bundle_rec.checkpoint_interval = '1s'});
$job = train_job($node, $long);
job_ends($node, $job, 'done', 'a longer training, undisturbed');
my $hash = hash_of_model($node, $job);
like($hash, qr/^[0-9a-f]{64}$/, 'has a result');
is(sql("SELECT count(*) FROM bundle_rec.job_metric WHERE job = $job AND validation IS NOT NULL"), '48', 'and was validated every 50 steps');
my $validations = validations_of($node, $job);

# xmin, cancel
$job = train_job($node, $long);
wait_for_step($node, $job, 100);
my $held = grep { usleep(30_000); sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'bundle_rec worker' AND backend_xmin IS NOT NULL}) } 1 .. 20;
cmp_ok($held, '<', 10, "a worker that computes holds no snapshot back ($held of 20 times it does)");
my ($pid, $nice) = split /\|/, sql("SELECT pid, split_part(pg_read_file('/proc/' || pid || '/stat'), ' ', 19) FROM bundle_rec.job WHERE job = $job");
cmp_ok($nice, '>=', 10, 'and stands back for others');
my $start = time;
is(sql("SELECT bundle_rec.cancel_job($job)"), 't', 'it is cancelled');
usleep(5_000) while kill(0, $pid) && time - $start < 30;
my $taken = time - $start;
cmp_ok($taken, '<', 5, sprintf('and its worker gone within %.0f ms, a connection included', 1000 * $taken));
is(sql("SELECT state FROM bundle_rec.job WHERE job = $job"), 'cancelled', 'as the view says');
sql("SELECT bundle_rec.resume_job($job)");
job_ends($node, $job, 'done', 'resumed, it gets done');
is(hash_of_model($node, $job), $hash, 'with the same result');

# ---- kills ----

srand(7);
$job = train_job($node, $long);
foreach my $kill (1 .. 4)
{
	wait_for_step($node, $job, $kill * 150 + int(rand(120)));
	usleep(rand(300_000));
	my $worker = sql("SELECT coalesce(pid, 0) FROM bundle_rec.job WHERE job = $job");
	if ($kill == 4)
	{
		ok(hard_restart($node, 'postmaster'), 'the server is killed, and runs again');
	}
	else
	{
		isnt($worker, 0, "kill $kill: a worker is at work");
		kill('KILL', $worker);
		usleep(20_000) while kill(0, $worker);
		ok(true_after_restart($node, 'SELECT NOT pg_is_in_recovery()'), 'which is killed, and the server recovers');
	}
	is(sql("SELECT state FROM bundle_rec.job WHERE job = $job"), 'interrupted', 'the training is interrupted');
	is(sql('SELECT bundle_rec.run_jobs()'), '1', 'and goes on');
}
job_ends($node, $job, 'done', 'after all of them it gets done');
is(hash_of_model($node, $job), $hash, 'with the same weights to the bit');
is(validations_of($node, $job), $validations, 'each figure once, and the same');

# ---- the gate ----

$job = train_job($node, q{parameters => '{"epochs": 1}', model_name => 'gated', promote => true});
job_ends($node, $job, 'done', 'a training that asks the gate gets done');
is(sql("SELECT model FROM bundle_rec.job WHERE job = $job"), 'gated', 'its model is stored whatever the gate says');
isnt(sql("SELECT message FROM bundle_rec.job WHERE job = $job"), '', 'which the job tells');
is(sql("SELECT count(*) FROM bundle_rec.catalog WHERE next_model IS NOT NULL OR name = 'goods' AND model = (SELECT model FROM bundle_rec.stored_model WHERE name = 'gated')")
	. sql("SELECT count(*) FROM bundle_rec.job WHERE job = $job AND message LIKE 'promoted%'"), '00', 'a model that is no better is not promoted');

# ---- no room, no model, no catalog ----

sql(q{CREATE FUNCTION public.no_room() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END$$;
	CREATE TRIGGER no_room BEFORE INSERT ON bundle_rec.job_checkpoint FOR EACH ROW EXECUTE FUNCTION public.no_room()});
$job = train_job($node, $long);
$node->poll_query_until('postgres', "SELECT message IS NOT NULL FROM bundle_rec.job WHERE job = $job");
like(sql("SELECT state, message FROM bundle_rec.job WHERE job = $job"), qr/^running\|53100: could not write a checkpoint at step \d+: could not extend file$/, 'a checkpoint without room is told');
sql('DROP TRIGGER no_room ON bundle_rec.job_checkpoint');
$node->poll_query_until('postgres', "SELECT message IS NULL FROM bundle_rec.job WHERE job = $job");
cmp_ok(sql("SELECT count(*) FROM bundle_rec.job_checkpoint WHERE job = $job"), '>', 0, 'and tried again');
job_ends($node, $job, 'done', 'while the training goes on');
is(hash_of_model($node, $job), $hash, 'to the same result');

sql(qq{SELECT bundle_rec.load_model('passing', '$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cased-max-dense'); SET ROLE keeper; SELECT bundle_rec.alter_catalog('goods', model => 'passing'); SELECT bundle_rec.refresh('goods')});
$job = train_job($node, $long);
wait_for_step($node, $job, 20);
sql(q{SET ROLE keeper; SELECT bundle_rec.alter_catalog('goods', model => 'tiny'); SELECT bundle_rec.refresh('goods'); RESET ROLE; SELECT bundle_rec.drop_model('passing')});
job_ends($node, $job, 'failed', 'a training whose model is dropped fails');
like(sql("SELECT message FROM bundle_rec.job WHERE job = $job"), qr/^42704: the model that job $job was training has been dropped/, 'and says so');

$job = train_job($node, $long);
wait_for_step($node, $job, 20);
$pid = sql("SELECT pid FROM bundle_rec.job WHERE job = $job");
sql(q{SET ROLE keeper; SELECT bundle_rec.drop_catalog('goods')});
$start = time;
usleep(20_000) while kill(0, $pid) && time - $start < 60;
is(kill(0, $pid), 0, 'a training ends when its catalog is dropped');
is(sql('SELECT (SELECT count(*) FROM bundle_rec.stored_training) + (SELECT count(*) FROM bundle_rec.job_data) + (SELECT count(*) FROM bundle_rec.job_checkpoint)'), '0', 'and leaves nothing');

$node->stop;
done_testing();

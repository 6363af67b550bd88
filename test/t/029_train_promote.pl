# 029_train_promote.pl
#    From baskets to a model in service, in the worker alone: a training that asks
#    the gate moves the catalog if its model is better, beside who reads, and leaves
#    everything as it was if it is not.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Training;

my $node = PostgreSQL::Test::Cluster->new('train_promote');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nmax_worker_processes = 12\nbundle_rec.worker_threads = 1\n");
$node->start;
make_goods($node, 1200);

sub sql
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql) =~ s/^\n+//r;
}

my $serves = q{SELECT model || coalesce(' to ' || next_model, '') FROM bundle_rec.catalog_coverage WHERE catalog = 'goods'};
my $indexes = q{SELECT string_agg(m.name, ' ') FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN bundle_rec.catalog g ON g.name = 'goods'
	JOIN bundle_rec.stored_model m ON c.relname = format('item_%s_embedding_%s', g.catalog, m.model) WHERE x.indisvalid};
my $history = q{SELECT string_agg(concat_ws(' ', why, model), ', ' ORDER BY history) FROM bundle_rec.model_history WHERE catalog = 'goods'};
# items whose embedding is not what the model makes of their title
sub strangers
{
	my ($model) = @_;
	return sql(qq{SELECT count(*) FROM goods.article LEFT JOIN bundle_rec.item ON item_id = sku WHERE (embedding OPERATOR(bundle_rec.<->) bundle_rec.embed(title, '$model') < .01) IS NOT TRUE});
}

# ---- better ----

# No integer, and says why, unless one statement sees one model everywhere: in the items and
# in what similar_items reads a query with, which the index answers.
my $reader = $node->basedir . '/reader.sql';
append_to_file($reader, q{
SET enable_seqscan = off;
SELECT (CASE WHEN mixed = 0 AND abs(similarity - nearest) < 1e-3 THEN '1' ELSE format('mixed %s, similarity %s, nearest %s', mixed, similarity, nearest) END)::int FROM (
	SELECT (SELECT count(*) FROM bundle_rec.item i WHERE i.embedding IS NOT NULL AND i.model <> m.model) AS mixed,
	       (SELECT similarity FROM bundle_rec.similar_items('goods', query => 'red house', k => 1)) AS similarity,
	       (SELECT max(1 - (i.embedding OPERATOR(bundle_rec.<=>) bundle_rec.embed('red house', m.name))) FROM bundle_rec.item i
	          JOIN bundle_rec.item_state USING (item)) AS nearest
	FROM bundle_rec.catalog c JOIN bundle_rec.stored_model m USING (model) WHERE c.name = 'goods') x;
});
is(sql($serves) . ', ' . sql($indexes), 'tiny, tiny', 'a catalog is served by a model that nobody trained');
my $job = train_job($node, q{parameters => '{"epochs": 75, "rate": 0.002, "batch": 16, "validation": 0}', model_name => 'better', promote => true});
my ($reads, $refused) = (0, '');
foreach my $turn (1 .. 100)
{
	my $moved = sql($serves) eq 'better';
	my ($out, $err) = ('', '');
	my $ran = IPC::Run::run([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-T', '3', '-c', '2', '-f', $reader, 'postgres' ], '>', \$out, '2>', \$err);
	$refused .= $err unless $ran;
	$reads += $1 if $out =~ /transactions actually processed: (\d+)/;
	# once more by the new model
	last if $moved;
}
job_ends($node, $job, 'done', 'a training that asks the gate gets done');
is(sql($serves), 'better', 'and moves the catalog');
is($refused, '', "while $reads queries see one model each, with its index");
cmp_ok($reads, '>', 20, 'and go on');
is(sql("SELECT message FROM bundle_rec.job WHERE job = $job"), 'promoted: All conditions hold.', 'the job says that it has');
# 1200 baskets, the last 120 of which are held out; each asks for one of its two items
is(sql(q{SELECT g.model, against, passed, task, metric, k, cases, sessions, used_from = l.learned_until, used_until = timestamptz '2025-01-01' + interval '1200 hours', judged_by,
		l.learned_until = timestamptz '2025-01-01' + interval '1080 hours'
	FROM bundle_rec.model_gate g JOIN bundle_rec.lineage l USING (model)}), 'better|tiny|t|completion|hit_rate|10|120|120|t|t|keeper|t', 'it was asked about what it had not seen');
my ($before, $after) = split /\|/, sql(q{SELECT c ->> 'before', c ->> 'after' FROM bundle_rec.model_gate, jsonb_array_elements(conditions) c WHERE c ->> 'condition' = 'hit_rate'});
cmp_ok($after, '>=', 0.9, "and found $after of the partners, where $before were found");
cmp_ok($before, '<', 0.8, 'before');
cmp_ok(partners_found($node, 'better'), '>=', 18, 'as it does');
is(strangers('better'), '0', 'every item has its embedding');
# what readers held at the switch, the next refresh finds free
sql(q{SELECT bundle_rec.refresh('goods')});
is(sql($indexes), 'better', 'and the index is its own');
is(sql($history), 'created tiny, promoted better', 'the history says how it came');
is(sql("SELECT count(*) FROM bundle_rec.job WHERE kind = 'refresh' AND state = 'done' AND created_by = 'keeper'"), '1', 'it was moved by a job, with the rights of who trained');

# ---- and back ----

$job = sql(q{SET ROLE keeper; SELECT bundle_rec.rollback_model('goods')});
job_ends($node, $job, 'done', 'a job goes back');
is(sql($serves) . ', ' . sql($indexes), 'tiny, tiny', 'to the model before, and its index');
is(strangers('tiny'), '0', 'with all embeddings');
is(sql($history), 'created tiny, promoted better, rolled back tiny', 'as the history says');

# ---- no better ----

sql(q{INSERT INTO goods.sale SELECT b, kind || (b * 7) % 20, timestamptz '2025-01-01' + b * interval '1 hour' FROM generate_series(1201, 2400) b, (VALUES ('a'), ('b')) k (kind);
	SELECT bundle_rec.refresh('goods')});
my $state = q{SELECT md5(string_agg(i::text, ' ' ORDER BY item)) FROM bundle_rec.item i};
my $untouched = sql($state);
$job = train_job($node, q{parameters => '{"epochs": 1, "rate": 1e-9, "batch": 16, "most_steps": 1}', model_name => 'same', promote => true});
job_ends($node, $job, 'done', 'a training that learns next to nothing gets done');
like(sql("SELECT message FROM bundle_rec.job WHERE job = $job"), qr/^not promoted: It fails by hit_rate \(/, 'and says that its model is not better');
is(sql(q{SELECT passed, cases, c ->> 'condition', c ->> 'held' FROM bundle_rec.model_gate, jsonb_array_elements(conditions) c WHERE model = 'same' AND NOT (c ->> 'held')::boolean}), 'f|240|hit_rate|false', 'as the gate does');
is(sql($serves) . ', ' . sql($indexes), 'tiny, tiny', 'the catalog keeps its model');
is(sql($state), $untouched, 'with every row as it was');
is(sql($history), 'created tiny, promoted better, rolled back tiny', 'and its history');
is(sql("SELECT count(*) FROM bundle_rec.job WHERE kind = 'refresh' AND job > $job"), '0', 'no job moves it');

# ---- what a gate that cannot be asked leaves ----

# two trainings on, the catalog is on its way to another model when the gate is asked
sql(q{INSERT INTO goods.sale SELECT b, kind || (b * 7) % 20, timestamptz '2025-01-01' + b * interval '1 hour' FROM generate_series(2401, 3600) b, (VALUES ('a'), ('b')) k (kind);
	SELECT bundle_rec.refresh('goods'); SET ROLE keeper; SELECT bundle_rec.alter_catalog('goods', model => 'better')});
$job = train_job($node, q{parameters => '{"epochs": 1, "most_steps": 1}', model_name => 'third', promote => true});
job_ends($node, $job, 'failed', 'a training whose catalog is moving fails at the gate');
like(sql("SELECT message FROM bundle_rec.job WHERE job = $job"), qr/^55000: catalog "goods" is moving to model "better"/, 'and says why');
is(sql(q{SELECT count(*) FROM bundle_rec.model WHERE name = 'third'}), '1', 'its model is kept');
sql(q{SET ROLE keeper; SELECT bundle_rec.rollback_model('goods')});
is(sql("SELECT bundle_rec.resume_job($job)"), 't', 'resumed when it is no longer moving');
job_ends($node, $job, 'done', 'it asks the gate');
is(sql(q{SELECT count(*) FROM bundle_rec.model_gate WHERE model = 'third'}), '1', 'which says what it thinks');

$node->stop;
done_testing();

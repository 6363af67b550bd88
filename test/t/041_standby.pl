# 041_standby.pl
#    A physical standby: what it answers, what it refuses and how it says so,
#    and that all goes on when it is promoted, a training that was under way, too.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Shop;
use Training qw(job_ends hash_of_model validations_of);

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nmax_connections = 30\nbundle_rec.worker_threads = 1\nbundle_rec.checkpoint_interval = 1s\n");
$primary->start;
make_shop($primary, 'postgres');
# some seconds of training, by rows that nothing else changes
my $train = q{SET ROLE keeper; SELECT bundle_rec.train('shop', 'contrastive', parameters => '{"epochs": 6000, "batch": 16, "dropout": 0.1, "validation": 0.2, "validate_every": 100, "patience": 0, "most_steps": 1600}',
	query => $q$SELECT 'red lamp ' || i AS anchor, 'blue tent ' || i % 7 || ' ' || i AS positive, timestamptz '2025-01-01' AS occurred_at FROM generate_series(1, 60) i$q$)};
my $trained = values_of($primary, 'postgres', $train);
job_ends($primary, $trained, 'done', 'a model is trained on the primary');
my $hash = hash_of_model($primary, $trained);
$primary->safe_psql('postgres', q{ALTER DATABASE postgres SET bundle_rec.default_model = 'tiny'});
$primary->safe_psql('postgres', q{SET ROLE keeper; SELECT bundle_rec.fit('shop', kind) FROM unnest(ARRAY['ease', 'als', 'itemsets']) kind});
my $decision = values_of($primary, 'postgres', q{SET ROLE web; SELECT decision_id FROM bundle_rec.recommend('shop', basket => '{p9}') LIMIT 1});
values_of($primary, 'postgres', "SET ROLE web; SELECT bundle_rec.feedback($decision, 2, 'click', 1, 'seen')");
values_of($primary, 'postgres', q{SELECT bundle_rec.create_experiment('button'); SELECT bundle_rec.assign('button', 'u1')});

sub packed_files
{
	my ($folder) = @_;
	return join ' ', map { s{.*/}{}r } sort glob("$folder/pgsql_tmp_br_*");
}

like(packed_files($primary->data_dir), qr/_generic/, 'the primary has a packed file');
$primary->backup('backup');
is(packed_files($primary->backup_dir . '/backup'), '', 'a base backup has none');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);

sub sql
{
	my ($sql) = @_;
	return values_of($standby, 'postgres', $sql);
}

# ---- what it answers ----

is(packed_files($standby->data_dir), '', 'nor has the standby, until it is asked');
is(answers($standby, 'postgres'), answers($primary, 'postgres'), 'a standby answers as the primary');
is(sql(q{SET ROLE web; SELECT count(*), count(decision_id) FROM bundle_rec.recommend('shop', basket => '{p1}')}), '5|0',
	'it recommends without being told not to log');
is(sql(q{SET ROLE web; SELECT count(*), count(decision_id) FROM bundle_rec.recommend_items('shop', basket => '{p1}')}), '10|0', 'items too');
is(sql(q{SET ROLE web; SELECT count(*), count(decision_id) FROM bundle_rec.choose('banner')}), '1|0', 'it chooses among arms');
my $assigned = q{SELECT string_agg(bundle_rec.assign('button', 'u' || u) || bundle_rec.assignment('button', 'u' || u), ' ') FROM generate_series(1, 20) u};
is(sql($assigned), values_of($primary, 'postgres', $assigned), 'it assigns variants without logging');
my $embed = q{SELECT bundle_rec.embed('a red lamp')::text || bundle_rec.tokenize('a red lamp')::text};
is(sql($embed), values_of($primary, 'postgres', $embed), 'it embeds');
is(packed_files($standby->data_dir), packed_files($primary->data_dir), 'and made its packed files, all of them, of replicated rows');
my $learned = "SELECT string_agg(md5(bundle_rec.embed(title, model)::text), ' ' ORDER BY sku) FROM shop.product, bundle_rec.job WHERE job = $trained";
is(sql($learned), values_of($primary, 'postgres', $learned), 'by a model that was trained, too');
is(sql("SELECT (SELECT count(*) FROM bundle_rec.lineage WHERE job = $trained) || ' ' || (SELECT count(*) FROM bundle_rec.job_metric WHERE job = $trained AND validation IS NOT NULL)"), '1 16', 'of which it knows how it came');
my $explain = "SET ROLE web; SELECT * FROM bundle_rec.explain_decision($decision)";
like(sql($explain), qr/"event_id": "seen"/, 'it explains decisions of the primary with their feedback');
is(sql($explain), values_of($primary, 'postgres', $explain), 'as the primary does');
foreach my $view (qw(catalog_coverage rejected_row policy_state choice_log arm_state model lineage job job_metric schedules alert model_gate model_history learner leaderboard))
{
	my $query = "SELECT * FROM bundle_rec.$view v";
	is(sql($query), values_of($primary, 'postgres', $query), "the view $view is that of the primary");
}
$primary->safe_psql('postgres', q{INSERT INTO shop.purchase (basket, shopper, sku) VALUES (-5, 'u1', 'p7'), (-5, 'u1', 'p8'); SELECT bundle_rec.refresh('shop')});
$primary->wait_for_catchup($standby);
is(answers($standby, 'postgres'), answers($primary, 'postgres'), 'it follows the primary');

# ---- what it refuses ----

$primary->safe_psql('postgres', q{CREATE TABLE shop.kit (kit text, sku text); INSERT INTO shop.kit VALUES ('k', 'p1'), ('k', 'p2');
	SELECT bundle_rec.add_bundle_source('shop', 'shop.kit', 'kit', 'sku')});
$primary->wait_for_catchup($standby);
is(sql(q{SELECT bundle_id FROM bundle_rec.rank_bundles('shop')}), 'k', 'curated bundles are ranked');

my %refused = (
	"recommend('shop', log => true)" => 'cannot log a decision on a standby',
	"recommend_items('shop', log => true)" => 'cannot log a decision on a standby',
	"feedback($decision, 1)" => 'cannot execute feedback() during recovery',
	"feedback_batch(ARRAY[$decision], ARRAY[1])" => 'cannot execute feedback_batch() during recovery',
	"create_catalog('more', 'shop.product', 'sku')" => 'cannot execute create_catalog() during recovery',
	"add_event_source('shop', 'shop.purchase', item_id => 'sku')" => 'cannot execute add_event_source() during recovery',
	"rank_bundles('shop', log => true)" => 'cannot log a decision on a standby',
	"add_bundle_source('shop', 'shop.purchase', 'basket', 'sku')" => 'cannot execute add_bundle_source() during recovery',
	"drop_bundle_source('shop', 'shop.purchase')" => 'cannot execute drop_bundle_source() during recovery',
	"forget_user('shop', 'u1')" => 'cannot execute forget_user() during recovery',
	"unforget_user('shop', 'u1')" => 'cannot execute unforget_user() during recovery',
	"set_retention('shop', events => '1 year')" => 'cannot execute set_retention() during recovery',
	"drop_event_source('shop', 'shop.purchase')" => 'cannot execute drop_event_source() during recovery',
	"alter_catalog('shop', discount => 0.1)" => 'cannot execute alter_catalog() during recovery',
	"sync('shop')" => 'cannot execute sync() during recovery',
	"log_event('shop', 'u1', 'p1')" => 'cannot execute log_event() during recovery',
	"refresh('shop')" => 'cannot execute refresh() during recovery',
	"refresh_async('shop')" => 'cannot execute refresh_async() during recovery',
	"cancel_job(1)" => 'cannot execute cancel_job() during recovery',
	"resume_job(1)" => 'cannot execute resume_job() during recovery',
	"run_jobs()" => 'cannot execute run_jobs() during recovery',
	"schedule('shop', '0 3 * * *')" => 'cannot execute schedule() during recovery',
	"unschedule(1)" => 'cannot execute unschedule() during recovery',
	"run_schedule(1)" => 'cannot execute run_schedule() during recovery',
	"acknowledge_alert(1)" => 'cannot execute acknowledge_alert() during recovery',
	"bundle_ann_flush('pg_class_oid_index')" => 'cannot execute bundle_ann_flush() during recovery',
	"drop_catalog('shop')" => 'cannot execute drop_catalog() during recovery',
	"create_policy('more', 'linear_thompson', 'shop')" => 'cannot execute create_policy() during recovery',
	"create_experiment('more')" => 'cannot execute create_experiment() during recovery',
	"alter_experiment('button', traffic => 0.5)" => 'cannot execute alter_experiment() during recovery',
	"stop_experiment('button')" => 'cannot execute stop_experiment() during recovery',
	"drop_experiment('button')" => 'cannot execute drop_experiment() during recovery',
	"assign('button', 'u1', true)" => 'cannot log an exposure on a standby',
	"alter_policy('at once')" => 'cannot execute alter_policy() during recovery',
	"create_rule('shop', 'more', 'ban', '{p1}')" => 'cannot execute create_rule() during recovery',
	"drop_rule('shop', 'none')" => 'cannot execute drop_rule() during recovery',
	"gate('shop', 'tiny')" => 'cannot execute gate() during recovery',
	"promote_model('shop', 'tiny')" => 'cannot execute promote_model() during recovery',
	"rollback_model('shop')" => 'cannot execute rollback_model() during recovery',
	"prune_models()" => 'cannot execute prune_models() during recovery',
	"train('shop')" => 'cannot execute train() during recovery',
	"compress_model('tiny', 'small', 'shop', 'vocabulary')" => 'cannot execute compress_model() during recovery',
	"fit('shop')" => 'cannot execute fit() during recovery',
	"fit_async('shop')" => 'cannot execute fit_async() during recovery',
	"serve_version('shop', 1)" => 'cannot execute serve_version() during recovery',
	"drop_version('shop', 1)" => 'cannot execute drop_version() during recovery',
	"drop_policy('banner')" => 'cannot execute drop_policy() during recovery',
	"add_arms('banner', '{x}')" => 'cannot execute add_arms() during recovery',
	"retire_arm('banner', 'a')" => 'cannot execute retire_arm() during recovery',
	"choose('banner', log => true)" => 'cannot log a choice on a standby',
	"choose('banner', NULL, NULL::jsonb, log => true)" => 'cannot log a choice on a standby',
	"choose('banner', NULL, NULL::bundle_rec.embedding, log => true)" => 'cannot log a choice on a standby',
	"arrange('banner', NULL, '{top}', log => true)" => 'cannot log a choice on a standby',
	"warm_start('banner', 'SELECT 1')" => 'cannot execute warm_start() during recovery',
	"forget_user_choices('banner', 'u1')" => 'cannot execute forget_user_choices() during recovery',
	"fold_due()" => 'cannot execute fold_due() during recovery',
	"fold('at once')" => 'cannot execute fold() during recovery',
	"load_model('more', '$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls')" => 'cannot execute load_model() during recovery',
	"load_model('more', ARRAY[('config.json', '{}')::bundle_rec.model_file])" => 'cannot execute load_model() during recovery',
	"drop_model('tiny')" => 'cannot execute drop_model() during recovery',
);
foreach my $call (sort keys %refused)
{
	my $verb = $call =~ /^run_schedule/ ? 'CALL' : 'SELECT';
	my ($message, $all) = error_of($standby, 'postgres', "$verb bundle_rec.$call");
	is($message, "25006: $refused{$call}", "refused on a standby: $call");
	like($all, qr/^HINT:  (Call it on the primary|Call with log => NULL)/m, 'with a hint');
	is((error_of($primary, 'postgres', "BEGIN READ ONLY; $verb bundle_rec.$call"))[0] =~ s/ during recovery| on a standby/ in a read-only transaction/r,
		"25006: $refused{$call}" =~ s/ during recovery| on a standby/ in a read-only transaction/r, 'and in a read-only transaction of the primary');
}
# it answers where it cannot write down what it answers
my $evaluate = q{SELECT method, metric, k, value FROM bundle_rec.evaluate('shop', 'completion', seeds => 1)};
is(sql($evaluate), values_of($primary, 'postgres', "BEGIN READ ONLY; $evaluate"), 'a standby evaluates as the primary');
# every other function that writes is among them
is(sql(q{SELECT string_agg(proname, ' ' ORDER BY proname) FROM pg_proc WHERE pronamespace = 'bundle_rec'::regnamespace AND provolatile = 'v'
		AND proname <> 'evaluate' AND prorettype <> 'trigger'::regtype AND 'internal'::regtype <> ALL (proargtypes)}), join(' ', sort(map { /^(\w+)/ } keys %refused)), 'no function that writes is left out');

# ---- promotion ----

# in the middle of a training, which the standby has a checkpoint of
my $job = values_of($primary, 'postgres', $train);
$primary->poll_query_until('postgres', "SELECT count(*) > 0 FROM bundle_rec.job_checkpoint WHERE job = $job AND step > 100");
$primary->wait_for_catchup($standby);
is(sql("SELECT state, phase, pid, message FROM bundle_rec.job WHERE job = $job"), 'running|training||', 'a standby shows a training that is under way');
$primary->stop('immediate');
$standby->promote;
ok($standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'the standby is promoted');
is(sql("SELECT state FROM bundle_rec.job WHERE job = $job"), 'interrupted', 'for which the training was interrupted');
my $moment = sql('SELECT clock_timestamp()');
is(sql('SELECT bundle_rec.run_jobs()'), '1', 'and goes on');
job_ends($standby, $job, 'done', 'to its end');
is(hash_of_model($standby, $job), $hash, 'with the weights that it would have had on the primary');
is(validations_of($standby, $job), validations_of($standby, $trained), 'by the same way');
cmp_ok(sql("SELECT count(*) FROM bundle_rec.job_metric WHERE job = $job AND recorded_at < '$moment'"), '>', 0, 'some of which it went as a standby');
like(sql($explain), qr/"event_id": "seen"/, 'decisions of before are there');
is(sql("SET ROLE web; SELECT bundle_rec.feedback($decision, 2, 'click', 1, 'seen')"), 'f', 'and feedback that it received is not new');
shop_goes_on($standby, 'postgres', 'promoted');

$standby->stop;
done_testing();

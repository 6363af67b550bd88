# 080_service.pl
#    The embedding service: what it computes is what sessions compute, for many of
#    them at once, on the CPU and on a device, on a standby as well; who uses it,
#    and what its settings do.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use Faults;
use Service;

my $node = make_server('service', 2000, 'bundle_rec.embedding_service = off');

sub sql
{
	my ($sql) = @_;
	return ask($node, $sql);
}

# The SQLSTATE that a statement meets.
sub error
{
	my ($sql) = @_;
	my ($state) = try_sql($node, 'postgres', $sql);
	return $state;
}

# ---- off ----

my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
is(scalar(() = glob("/proc/$postmaster/task/*")), 1, 'the postmaster that has preloaded the library has one thread');
is(gpu($node, 'state, compute, batches, waiting, fallbacks, last_error, worker_pid IS NULL, helper_pid'), 'off||0|0|0||f|', 'the service is off');
is(sql(q{SELECT count(*), min(backend_type) FROM pg_stat_activity WHERE pid = (SELECT worker_pid FROM bundle_rec.gpu) AND datname IS NULL}),
	'1|bundle_rec embedding service', 'its worker is there, without a database');
is(sql('SELECT not_here(1, 50)'), '0', 'sessions compute');
is(gpu($node, 'batches, fallbacks'), '0|0', 'by themselves');
is(sql(q{CREATE ROLE visitor; SET ROLE visitor; SELECT state, worker_pid, helper_pid, last_error FROM bundle_rec.gpu}), 'off|||', 'everybody may look, but for processes and errors');
is(sql(q{GRANT pg_read_all_stats TO visitor; SET ROLE visitor; SELECT worker_pid IS NULL FROM bundle_rec.gpu}), 'f', 'which pg_read_all_stats allows');

# ---- on the CPU ----

set_service($node, 'bundle_rec.embedding_service = cpu', 'ready', 'switched to the CPU it is ready');
is(gpu($node, 'compute, instructions'), sql(q{SELECT backend, instruction_set FROM bundle_rec.model_info('tiny')}), 'with the library and instructions of sessions');
like(gpu($node, 'memory > memory_free, started_at < now(), helper_pid <> worker_pid, restarts'), qr/^t\|t\|t\|0$/, 'it tells of the machine');
is(sql('SELECT not_here(1, 2000)'), '0', 'an array of 2,000 texts is what sessions make of it, bit for bit');
# some libraries round otherwise for a single text
is(sql(q{SELECT count(*) FROM golden, bundle_rec.embed(text) e WHERE id % 40 = 0 AND e::text <> here::text AND differs(e, exact)}), '0', 'and so are single texts');
is(gpu($node, 'texts, fallbacks, waiting, models, evicted, last_error'), '2050|0|0|1|0|', 'all of them were computed by the service');
my $tokens = sql(q{SELECT sum(array_length(bundle_rec.tokenize(text), 1) * CASE WHEN id % 40 = 0 THEN 2 ELSE 1 END) FROM golden});
is(gpu($node, 'tokens, tokens_per_second > 0, queue_wait_p50 > 0, queue_wait_p50 <= queue_wait_p99'), "$tokens|t|t|t", 'all their tokens are counted');
cmp_ok(gpu($node, 'batches'), '<', 2050, 'texts share batches');
# as the README shows it
like(sql('SELECT state, compute, instructions, precision, models, batches, texts, fallbacks, restarts FROM bundle_rec.gpu'),
	qr/^ready\|\w+\|\w+\|\w+\|1\|\d+\|2050\|0\|0$/, 'the view tells it in a line');
is(gpu($node, '"precision"'), sql(q{SELECT precision_class FROM bundle_rec.model_info('tiny')}), 'in the precision of sessions');
is(sql(q{SET bundle_rec.query_cache = 1000; SELECT bundle_rec.embed('once'); SELECT bundle_rec.embed('once'); SELECT tokens = array_length(bundle_rec.tokenize('once'), 1), query_hits FROM bundle_rec.model_info('tiny')}) =~ s/.*\n//sr,
	't|1', 'a session counts its tokens, and keeps what it asked for');

my $batches = gpu($node, 'batches');
is(sql("SET $_; SELECT not_exact(1, 20)"), '0', "$_ is computed by the session")
	foreach "bundle_rec.backend = portable; SET bundle_rec.precision = f32", 'bundle_rec.precision = f32';
is(gpu($node, 'batches'), $batches, 'and not by the service');

# what a model does not take is refused as ever, and troubles nobody else
is(error(q{SELECT bundle_rec.embed(ARRAY['one', convert_from('\xff', 'UTF8')])}), '22021', 'what is no text is no text');
is(gpu($node, 'fallbacks, last_error'), '0|', 'and no failure of the service');

# what refresh stores, and in which precision it says it was computed
sql(q{CREATE TABLE product (sku text PRIMARY KEY, title text);
	INSERT INTO product SELECT 'p' || id, text FROM golden WHERE id <= 40;
	SELECT bundle_rec.create_catalog('shop', 'product', item_id => 'sku', text => '{title}', model => 'tiny');
	SELECT bundle_rec.refresh('shop')});
my $stored = q{SELECT precision_class, count(*) FROM bundle_rec.item GROUP BY 1 ORDER BY 1};
is(sql($stored), gpu($node, '"precision"') . '|40', 'refresh notes the precision of the service');
cmp_ok(gpu($node, 'batches'), '>', $batches, 'which has computed it');

# ---- 20 connections ----

my @sessions = map { start_session($node, 'postgres', "SELECT neither(1, 2000) + neither_singly($_ * 50 + 1, $_ * 50 + 50)") } 0 .. 19;
is(join(' ', map { (finish_session($_))[1] } @sessions), join(' ', ('0') x 20), '20 connections with arrays and single texts get what is theirs');
is(gpu($node, 'fallbacks, waiting, last_error'), '0|0|', 'all of it from the service');

# ---- off and on ----

set_service($node, 'bundle_rec.embedding_service = off', 'off', 'it is switched off');
is(gpu($node, 'helper_pid, compute, last_error'), '||', 'and has no helper');
my ($out, $warnings) = warnings_of($node, 'SELECT not_here(1, 50)');
is("$out @$warnings", '0 ', 'sessions compute by themselves, without a warning');
set_service($node, 'bundle_rec.embedding_service = cpu', 'ready', 'it is switched on again');
is(gpu($node, 'restarts, fallbacks'), '1|0', 'with another helper');
$batches = gpu($node, 'batches');
is(sql('SELECT not_here(1, 50)'), '0', 'and computes');
cmp_ok(gpu($node, 'batches'), '>', $batches, 'for sessions');

# ---- a model with an addition ----

# Behind the weights a header and, of 2 layers with 2 halves each, 128 + 16 + 128 + 32 numbers of
# a bottleneck 4 wide, .1, -.5 and .5 in turn; the header of the image has its size.
my $add = q{WITH image AS (SELECT s.*, data || '\x4252414444454400'::bytea || '\x0100000004000000'::bytea || decode(repeat('00', 48), 'hex')
			|| decode(left(repeat('cdcccc3d000000bf0000003f', 2 * 2 * 304), 8 * 2 * 2 * 304), 'hex') AS longer
		FROM bundle_rec.stored_model s JOIN bundle_rec.model_chunk USING (model) WHERE name = 'tiny'),
	sized AS (SELECT i.*, set_byte(set_byte(set_byte(set_byte(longer, 16, length(longer) & 255), 17, length(longer) >> 8 & 255),
			18, length(longer) >> 16 & 255), 19, length(longer) >> 24) AS image FROM image i),
	stored AS (INSERT INTO bundle_rec.stored_model (name, hash, layout, bytes, architecture, tokenizer, pooling, normalize, dimensions, max_tokens, parameters, loaded_by)
		SELECT 'adapted', sha256(image), layout, length(image), architecture, tokenizer, pooling, normalize, dimensions, max_tokens, parameters, loaded_by FROM sized RETURNING model)
	INSERT INTO bundle_rec.model_chunk SELECT stored.model, 0, image FROM stored, sized};
sql($add);
sql(q{SET bundle_rec.backend = portable; SET bundle_rec.precision = f32;
	CREATE TABLE adapted AS SELECT id, text, exact, bundle_rec.embed(text, 'adapted') AS adapted FROM golden WHERE id <= 40});
is(sql('SELECT count(*) FROM adapted WHERE NOT differs(adapted, exact)'), '0', 'a model with an addition embeds otherwise than without');
my $adapted = q{SELECT count(*) FROM adapted WHERE differs(bundle_rec.embed(text, 'adapted'), adapted)};
$batches = gpu($node, 'batches');
is(sql("SET bundle_rec.precision = f32; $adapted"), '0', 'on every backend alike');
is(gpu($node, 'batches'), $batches, 'by the session');
my $alike = q{SELECT min(1 - (adapted OPERATOR(bundle_rec.<=>) bundle_rec.embed(text, 'adapted'))) > .99 FROM adapted};
is(sql($alike), 't', 'and by the service on the CPU');
is(gpu($node, 'batches, fallbacks'), $batches + 40 . '|0', 'which does not know the difference');
sql(q{SELECT bundle_rec.drop_model('adapted')});

# ---- on a device ----

set_service($node, 'bundle_rec.embedding_service = gpu', 'ready', 'switched to a device it is ready');
is(gpu($node, 'compute, instructions, "precision", memory'), 'a device that fails|double|f32|1073741824', 'it tells of the device');
is(sql('SELECT not_exact(1, 2000)'), '0', 'an array of 2,000 texts is right');
is(sql(q{SELECT count(*) FROM golden WHERE id % 40 = 0 AND differs(bundle_rec.embed(text), exact)}), '0', 'and so are single texts');
is(gpu($node, 'models, fallbacks, last_error'), '1|0|', 'all of them by the device');

# a session that embeds on a device loads no library of the CPU
my $maps = q{SELECT bundle_rec.embed('loaded') IS NOT NULL AND pg_read_file('/proc/self/maps') !~ 'dnnl|openblas'};
is(sql($maps), 't', 'no library computes in a session whose texts a device embeds');
is(sql("SET bundle_rec.precision = f32; $maps"), sql(q{SELECT count(*) = 0 FROM bundle_rec.backends() WHERE available AND name <> 'portable'}),
	'as one does, where there is one, in a session that computes');

sql(q{INSERT INTO product SELECT 'p' || id, text FROM golden WHERE id BETWEEN 41 AND 60; SELECT bundle_rec.refresh('shop')});
like(sql($stored), qr/^(f32\|60|bf16\|40\nf32\|20)$/, 'refresh notes the precision of the device');

# an index on text, whose scans embed what they look for
sql(q{CREATE INDEX title_index ON product USING bundle_ann (title) WITH (model = 'tiny')});
my $nearest = q{SET enable_seqscan = off; SET search_path = bundle_rec, public; SELECT title FROM product ORDER BY title <=> 'text 33 of words' LIMIT 1};
is(sql($nearest), sql("SET bundle_rec.backend = portable; SET bundle_rec.precision = f32; $nearest"), 'an index on text is built and read by the device');

# the cache of a session tells a device's embedding from its own
is(sql(q{SET bundle_rec.query_cache = 1000; CREATE TEMP TABLE two AS SELECT bundle_rec.embed('text 7') AS device;
	SET bundle_rec.precision = f32; SET bundle_rec.backend = portable; SELECT bundle_rec.embed('text 7');
	SELECT query_hits, query_misses FROM bundle_rec.model_info('tiny')}) =~ s/.*\n//sr, '0|2', 'what a device has computed is not taken for what a session would');

# what a device does not compute is not asked of it
sql($add);
$batches = gpu($node, 'batches');
($out, $warnings) = warnings_of($node, "SET bundle_rec.query_cache = 1000; $alike; $alike; SELECT query_hits FROM bundle_rec.model_info('adapted')");
is("$out @$warnings", "t\nt\n40 ", 'a model with an addition is computed by sessions, which keep it, without a warning');
is(gpu($node, 'batches, fallbacks, last_error'), "$batches|0|", 'and is not asked of a device');
sql(q{SELECT bundle_rec.drop_model('adapted')});

# what asks all processes of the server to do something does not wait for the worker
sql('CREATE DATABASE gone');
is(error("SET statement_timeout = '30s'; DROP DATABASE gone"), '', 'a database can be dropped');

# ---- settings ----

is(error("ALTER SYSTEM SET bundle_rec.service_device = '$_'"), '22023', "\"$_\" is no device")
	foreach '../faulty', 'Faulty', 'cpu', 'faulty:', 'faulty:x', 'faulty:12345', 'x' x 32, '';
is(error("ALTER SYSTEM SET bundle_rec.service_device = '$_'"), '', "\"$_\" may be one")
	foreach 'faulty:15', 'x' x 31, 'faulty';
is(error('SET bundle_rec.service_slots = 100'), '55P02', 'slots come with a restart');

# ---- many requests, few batches; a single text among very many ----

set_faults('slow 20');
$batches = gpu($node, 'batches');
@sessions = map { start_session($node, 'postgres', "SELECT neither_singly($_ * 10 + 1, $_ * 10 + 10)") } 0 .. 19;
is(join(' ', map { (finish_session($_))[1] } @sessions), join(' ', ('0') x 20), '20 connections with 10 single texts each');
cmp_ok(gpu($node, 'batches') - $batches, '<', 150, '200 requests are fewer batches');

my $many = start_session($node, 'postgres', q{SELECT count(*) FROM unnest(bundle_rec.embed((SELECT array_agg('word ' || i) FROM generate_series(1, 20000) i)))});
$node->poll_query_until('postgres', "SELECT batches > $batches + 160 OR texts > 0 AND EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'Extension' AND query LIKE '%20000%') FROM bundle_rec.gpu");
my $single = sql(q{SELECT batches AS before FROM bundle_rec.gpu \gset
	SELECT differs(bundle_rec.embed(text), exact) FROM golden WHERE id = 77;
	SELECT batches - :before FROM bundle_rec.gpu});
my ($wrong, $passed) = split /\n/, $single;
is($wrong, 'f', 'a single text is embedded while an array of 20,000 is');
cmp_ok($passed, '<=', 20, 'within a few of some hundred batches');
ok($many->{run}->pumpable, 'long before the array');
is((finish_session($many))[1], '20000', 'which comes to its end');
set_faults();

# ---- a standby ----

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('service_standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
state_becomes($standby, 'ready', 'a standby has a service of its own');
is(ask($standby, 'SELECT not_exact(1, 600)'), '0', 'which embeds');
is(gpu($standby, 'texts, fallbacks'), '600|0', 'as its own counters say');
$standby->promote;
is(ask($standby, 'SELECT not_exact(1, 600)'), '0', 'promoted it goes on');
is(gpu($standby, 'texts, fallbacks, restarts'), '1200|0|0', 'with the same helper');
$standby->stop;

# ---- DROP EXTENSION while requests run ----

set_faults('slow 300');
$many = start_session($node, 'postgres', q{SELECT count(*) FROM unnest(bundle_rec.embed((SELECT array_agg('word ' || i) FROM generate_series(1, 3000) i)))});
await_requests($node, 1);
sql('DROP EXTENSION bundle_rec CASCADE');
is((finish_session($many))[1], '3000', 'a call that runs comes to its end while the extension is dropped');
set_faults();
sql(qq{CREATE EXTENSION bundle_rec; SELECT bundle_rec.load_model('tiny', '$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls')});
is(sql(q{SELECT bundle_rec.embed('again') IS NOT NULL}), 't', 'and goes on when it is there again');
is(gpu($node, 'state, fallbacks'), 'ready|0', 'with the service');
$node->stop;

done_testing();

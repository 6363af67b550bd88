# 028_promote.pl
#    A better model takes over beside readers and writers; gates, promotions,
#    drops and changes that meet; a gate that is cancelled.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = PostgreSQL::Test::Cluster->new('promote');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nmax_worker_processes = 12\n");
$node->start;

sub sql
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', "SET client_min_messages = warning; $sql");
}

# What a statement that fails says.
sub error
{
	my ($sql) = @_;
	my (undef, undef, $error) = $node->psql('postgres', "SET client_min_messages = warning; $sql");
	return $error;
}

sub becomes
{
	my ($query, $what) = @_;
	return ok($node->poll_query_until('postgres', $query), $what) || diag(sql('TABLE job; TABLE catalog_coverage'));
}

# A session that does not wait for what it runs.
sub begin
{
	my ($sql) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe('SET client_min_messages = warning; SET application_name = waiter');
	$session->query_until(qr/begun/, "\\echo begun\n$sql\n");
	return $session;
}

my $waits = q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'waiter' AND wait_event_type = 'Lock'};

# full reads a text; short its first word alone, which tells nothing of what is bought together
$node->safe_psql('postgres', 'CREATE EXTENSION bundle_rec; ALTER DATABASE postgres SET search_path = bundle_rec, public');
sql(qq{
	SELECT load_model(name, array_agg((path, CASE path WHEN '1_Pooling/config.json' THEN convert_to(replace(convert_from(content, 'UTF8'), '"cls"', '"mean"'), 'UTF8')
		WHEN 'sentence_bert_config.json' THEN convert_to(format('{"max_seq_length": %s}', tokens), 'UTF8') ELSE content END)::model_file))
	FROM (VALUES ('short', 3), ('full', 64), ('other', 4)) m(name, tokens),
		(SELECT path, pg_read_binary_file('$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls/' || path) AS content
		 FROM unnest('{config.json,model.safetensors,modules.json,sentence_bert_config.json,tokenizer.json,tokenizer_config.json,vocab.txt,1_Pooling/config.json}'::text[]) path) f
	GROUP BY name;
	CREATE TABLE product (sku text PRIMARY KEY, title text, stock int);
	CREATE TABLE purchase (receipt int, sku text, at timestamptz);
	CREATE FUNCTION draw(n int, words text) RETURNS int LANGUAGE sql IMMUTABLE AS
		\$\$SELECT (('x' || substr(md5(words), 1, 8))::bit(32)::bigint % n)::int\$\$;
	CREATE FUNCTION sell(first int, last int) RETURNS void LANGUAGE sql AS \$\$
		INSERT INTO purchase SELECT r, 'f' || 1 + draw(6, r::text) || '-' || 1 + (draw(10, r || ' item') + line * (1 + draw(3, r || ' step'))) % 10,
			timestamptz '2024-01-01' + r * interval '1 hour' + line * interval '1 minute' FROM generate_series(first, last) r, generate_series(0, 2) line \$\$;
	INSERT INTO product SELECT format('f%s-%s', f, i), format('%s %s', (ARRAY['black','cable','case','camera','card','power','battery','micro','wireless','drive'])[i],
		repeat((ARRAY['usb','hdmi','laptop','tablet','keyboard','memory'])[f] || ' ', 4)), 100 FROM generate_series(1, 6) f, generate_series(1, 10) i;
	INSERT INTO product SELECT 'more ' || i, 'something else ' || i, 1 FROM generate_series(1, 600) i;
	SELECT sell(1, 300);
	SELECT create_catalog('shop', 'product', 'sku', text => '{title}', stock => 'stock', model => 'short');
	SELECT add_event_source('shop', 'purchase', item_id => 'sku', basket_id => 'receipt', occurred_at => 'at'), refresh('shop');
});
my $lenient = q{parameters => '{"latency": 1000}'};

# ---- the switch under load ----

# No integer, and says why, unless one statement sees one model everywhere: in the items and
# in what similar_items reads a query with, which the index answers.
my $reader = $node->basedir . '/reader.sql';
append_to_file($reader, q{
SET enable_seqscan = off;
SELECT (CASE WHEN mixed = 0 AND abs(similarity - nearest) < 1e-5 THEN '1' ELSE format('mixed %s, similarity %s, nearest %s', mixed, similarity, nearest) END)::int FROM (
	SELECT (SELECT count(*) FROM bundle_rec.item i WHERE i.embedding IS NOT NULL AND i.model <> m.model) AS mixed,
	       (SELECT similarity FROM bundle_rec.similar_items('shop', query => 'black usb', k => 1)) AS similarity,
	       (SELECT max(1 - (i.embedding OPERATOR(bundle_rec.<=>) bundle_rec.embed('black usb', m.name))) FROM bundle_rec.item i
	          JOIN bundle_rec.item_state USING (item)) AS nearest
	FROM bundle_rec.catalog c JOIN bundle_rec.stored_model m USING (model)) x;
});
my $writer = $node->basedir . '/writer.sql';
append_to_file($writer, q{\set f random(1, 6)
\set i random(1, 10)
UPDATE product SET stock = stock - 1, title = title || CASE WHEN :i = 7 AND :f = 1 THEN ' usb' ELSE '' END WHERE sku = 'f' || :f || '-' || :i;
});
my @running = map {
	my ($file, @more) = @$_;
	my ($out, $err) = ('', '');
	{ file => $file, err => \$err,
	  run => IPC::Run::start([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-T', '10', '-f', $file, @more, 'postgres' ], '>', \$out, '2>', \$err) };
} ([ $reader, '-c', 2 ], [ $writer, '-c', 1, '-R', 50 ]);
usleep(1_000_000);
is(sql("SELECT bool_and(held), count(*) FROM promote_model('shop', 'full', .3, $lenient)"), 't|5', 'a better model passes the gate beside them');
becomes(q{SELECT model = 'full' AND next_model IS NULL FROM catalog_coverage WHERE catalog = 'shop'}, 'and the job moves the catalog');
becomes(q{SELECT count(*) = 1 FROM job WHERE kind = 'refresh' AND state = 'done'}, 'and is done');
for my $each (@running)
{
	my $name = $each->{file} =~ s{.*/}{}r;
	ok($each->{run}->finish, "beside the move, $name meets no error") or diag(${ $each->{err} });
}
sql("SELECT refresh('shop')");
is(sql(q{SELECT count(*) FROM product JOIN item ON item_id = sku WHERE embedding <-> embed(title, 'full') > .01 OR embedding IS NULL}), '0', 'in the end every item has the embedding of its title');
is(sql(q{SELECT why, gate IS NOT NULL, served_until IS NULL FROM model_history ORDER BY history}), "created|f|f\npromoted|t|t", 'and the history says why');

# ---- two promotions at once ----

sql("SELECT sell(301, 500), refresh('shop')");
my $first = $node->background_psql('postgres', on_error_stop => 0);
$first->query_safe(q{SET client_min_messages = warning; BEGIN});
is($first->query_safe("SELECT count(*) FROM gate('shop', 'short', $lenient)"), '5', 'a gate that is not committed');
my $second = begin("SELECT count(*) FROM gate('shop', 'other', $lenient);");
becomes($waits, 'makes another one wait');
# ---- the model dropped while a gate runs ----
is(error(q{SET lock_timeout = '200ms'; SELECT drop_model('short')}) =~ /lock timeout/, 1, 'and who drops the model');
is(sql('SELECT * FROM prune_models(0)'), '', 'nor does prune wait for it');
$first->query_safe('COMMIT');
is($second->query_safe('SELECT 1') =~ s/\s.*//sr, '1', 'the other one finds no session that is left');
is(sql(q{SELECT count(*) FROM model_gate WHERE model = 'other'}), '0', 'and uses none');
$second->quit;
$first->query_safe('BEGIN');
$first->query_safe(q{SELECT promote_model('shop', 'other', force => true)});
$second = begin(q{SELECT promote_model('shop', 'short', force => true);});
becomes($waits, 'a promotion waits for another');
$first->query_safe('COMMIT');
$second->query('SELECT 1');
like($second->{stderr}, qr/catalog "shop" is moving to model "other"|catalog "shop" came to another model/, 'and does not overtake it');
$second->quit;
becomes(q{SELECT model = 'other' AND next_model IS NULL FROM catalog_coverage WHERE catalog = 'shop'}, 'which moves the catalog');
becomes(q{SELECT count(*) = 0 FROM job WHERE state IN ('queued', 'running')}, 'by its job');

# ---- altered while the gate runs ----

sql("SELECT sell(501, 800), refresh('shop')");
my $gates = sql('SELECT count(*) FROM model_gate');
$first->query_safe('BEGIN; SELECT FROM catalog_state FOR UPDATE');
my $altering = begin(q{SELECT alter_catalog('shop', model => 'short');});
becomes($waits, 'somebody is about to alter the catalog');
$second = begin("SELECT promote_model('shop', 'full', $lenient);");
becomes($waits =~ s/= 1/= 2/r, 'while a gate comes to its end');
$first->query_safe('COMMIT');
$second->query('SELECT 1');
like($second->{stderr}, qr/catalog "shop" is moving to model "short"/, 'which decides nothing for another model');
is(sql('SELECT count(*) FROM model_gate'), $gates, 'and uses no session up');
$_->quit for $first, $second, $altering;
is(sql(q{SELECT rollback_model('shop') IS NULL}), 't', 'the move is taken back');

# ---- back by the job ----

my $job = sql(q{SELECT rollback_model('shop')});
becomes("SELECT state = 'done' FROM job WHERE job = $job", 'a job goes back');
is(sql(q{SELECT model, next_model FROM catalog_coverage WHERE catalog = 'shop'}), 'full|', 'to the model before');

# ---- a gate that is cancelled ----

sql(q{INSERT INTO product SELECT 'm' || i, repeat('a long title of many words ', 12) || i, 1 FROM generate_series(1, 60000) i});
my $gate = $node->background_psql('postgres', on_error_stop => 0);
$gate->query_safe('SET client_min_messages = warning');
my $pid = $gate->query_safe('SELECT pg_backend_pid()');
my @late;
for my $after (.3, .7, 1.5)
{
	$gate->query_until(qr/begun/, "\\echo begun\nSELECT gate('shop', 'short', $lenient);\n");
	usleep($after * 1e6);
	my $start = time;
	sql("SELECT pg_cancel_backend($pid)");
	$node->poll_query_until('postgres', "SELECT state <> 'active' FROM pg_stat_activity WHERE pid = $pid");
	push @late, time - $start;
	$gate->query('SELECT 1');
	like($gate->{stderr}, qr/canceling statement/, "cancelled after $after s");
	$gate->{stderr} = '';
}
# starting two clients takes most of it
cmp_ok((sort { $a <=> $b } @late)[1], '<', 5, 'a gate stops when it is told to') or diag("@late");
is(sql('SELECT count(*) FROM model_gate'), $gates, 'and has used nothing');
$gate->quit;

done_testing();

# 021_model_move.pl
#    A catalog moves to another model while sessions read it and the shop
#    writes: what readers see, who waits for whom, cancels, kills, dumps.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use Restart;

my $models = "$ENV{BR_GOLDEN_DIR}/models";
my $node = PostgreSQL::Test::Cluster->new('shop');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nrestart_after_crash = on\n");
$node->start;

sub sql
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', "SET client_min_messages = warning; $sql");
}

# Standard error of statements that succeed.
sub told
{
	my ($sql) = @_;
	my ($status, undef, $error) = $node->psql('postgres', $sql);
	is($status, 0, "succeeds: $sql") or diag($error);
	return $error;
}

sql(qq{
	CREATE EXTENSION bundle_rec;
	SELECT bundle_rec.load_model('small', '$models/tiny-bert-cls'), bundle_rec.load_model('wide', '$models/tiny-bert-cased-max-dense');
	CREATE TABLE product (sku int PRIMARY KEY, title text, stock int);
	INSERT INTO product SELECT i, 'product ' || i, 100 FROM generate_series(1, 300) i;
	SELECT bundle_rec.create_catalog('shop', 'product', 'sku', text => '{title}', stock => 'stock', model => 'small');
	SELECT bundle_rec.refresh('shop');
});

# Items that have not the embedding of their title by the catalog's model; none is right.
my $wrong = q{
	SELECT count(*) FROM product p JOIN bundle_rec.item i ON i.item_id = p.sku::text JOIN bundle_rec.item_state s USING (catalog, item)
	JOIN bundle_rec.catalog c USING (catalog) JOIN bundle_rec.stored_model m ON m.model = c.model
	WHERE i.model IS DISTINCT FROM c.model OR bundle_rec.dims(i.embedding) IS DISTINCT FROM m.dimensions
	   OR i.embedding OPERATOR(bundle_rec.<->) bundle_rec.embed(p.title, m.name) > 0.01};
my $serving = q{SELECT model, next_model FROM bundle_rec.catalog_coverage};

# Everything that a move writes, as one value.
my $everything = q{
	SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM (
		SELECT i::text FROM bundle_rec.item i UNION ALL SELECT w::text FROM bundle_rec.item_shadow w
		UNION ALL SELECT n::text FROM bundle_rec.item_neighbour n UNION ALL SELECT c::text FROM bundle_rec.catalog c) t};

# ---- two models, two sessions ----

sql(q{CREATE TABLE thing (id int PRIMARY KEY, name text); INSERT INTO thing SELECT i, 'thing ' || i FROM generate_series(1, 20) i;
      SELECT bundle_rec.create_catalog('things', 'thing', 'id', text => '{name}', model => 'wide');
      SELECT bundle_rec.refresh('things')});
my %session = map { $_ => $node->background_psql('postgres') } qw(small wide);
$session{$_}->query_safe("SET bundle_rec.default_model = '$_'") for keys %session;
for my $round (1, 2)
{
	for (qw(small wide))
	{
		is($session{$_}->query_safe(q{SELECT bundle_rec.dims(bundle_rec.embed('x')), bundle_rec.dims(bundle_rec.embed('x', 'small')),
				bundle_rec.dims(bundle_rec.embed('x', 'wide')), bundle_rec.tokenize('x') = bundle_rec.tokenize('x', current_setting('bundle_rec.default_model'))}),
			($_ eq 'small' ? 32 : 16) . '|32|16|t', "round $round: the default of a session is its own: $_");
		is($session{$_}->query_safe(q{SELECT (SELECT item_id FROM bundle_rec.similar_items('shop', query => 'product 7', k => 1)),
				(SELECT item_id FROM bundle_rec.similar_items('things', query => 'thing 7', k => 1))}), '7|7', 'and decides for no catalog');
	}
}
$_->quit for values %session;
sql(q{SELECT bundle_rec.drop_catalog('things')});

# ---- readers ----

# No integer, and says why, unless one statement sees one model everywhere: in the items,
# in their neighbours (but of texts that changed while refresh was at work, which
# wait for the next), and in what similar_items reads a query with.
my $reader = $node->basedir . '/reader.sql';
append_to_file($reader, q{
SELECT (CASE WHEN mixed = 0 AND lagging = 0 AND abs(similarity - nearest) < 1e-5 THEN '1'
        ELSE format('mixed %s, lagging %s, similarity %s, nearest %s', mixed, lagging, similarity, nearest) END)::int FROM (
	SELECT (SELECT count(*) FROM bundle_rec.item i WHERE i.embedding IS NOT NULL
	          AND (i.model <> m.model OR bundle_rec.dims(i.embedding) <> m.dimensions)) AS mixed,
	       (SELECT count(*) FROM bundle_rec.item_neighbour n JOIN bundle_rec.item a USING (item)
	          JOIN bundle_rec.item b ON b.item = n.neighbours[1]
	          WHERE a.pending_text IS NULL AND b.pending_text IS NULL
	            AND abs(1 - (a.embedding OPERATOR(bundle_rec.<=>) b.embedding) - n.similarity[1]) > 1e-5) AS lagging,
	       (SELECT similarity FROM bundle_rec.similar_items('shop', query => 'a product', k => 1)) AS similarity,
	       (SELECT max(1 - (i.embedding OPERATOR(bundle_rec.<=>) bundle_rec.embed('a product', m.name))) FROM bundle_rec.item i
	          JOIN bundle_rec.item_state USING (item)) AS nearest
	FROM bundle_rec.catalog c JOIN bundle_rec.stored_model m USING (model)) x;
});
my $recommend = $node->basedir . '/recommend.sql';
append_to_file($recommend, q{\set a random(1, 300)
SELECT 1 / (count(*) > 0)::int FROM bundle_rec.recommend('shop', basket => ARRAY[:a::text], query => 'a product', bundles => 2);
});
my $writer = $node->basedir . '/writer.sql';
append_to_file($writer, q{\set a random(1, 300)
UPDATE product SET stock = stock - 1, title = title || CASE WHEN :a % 7 = 0 THEN ' x' ELSE '' END WHERE sku = :a;
});
my @common = ('pgbench', '-n', '-h', $node->host, '-p', $node->port);
my @running = map {
	my ($file, $clients) = @$_;
	my ($out, $err) = ('', '');
	{ file => $file, err => \$err,
	  run => IPC::Run::start([ @common, '-T', '9', '-c', $clients, '-f', $file, 'postgres' ], '>', \$out, '2>', \$err) };
} ([ $reader, 2 ], [ $recommend, 1 ], [ $writer, 1 ]);
my ($moves, $until) = (0, time + 8);
while (time < $until)
{
	my ($now) = split /\|/, sql($serving);
	my $next = $now eq 'small' ? 'wide' : 'small';
	sql("SELECT bundle_rec.alter_catalog('shop', model => '$next')");
	for (1 .. 20)
	{
		sql("SELECT bundle_rec.refresh('shop', 150)");
		last if sql($serving) eq "$next|";
	}
	$moves += sql($serving) eq "$next|";
}
for my $each (@running)
{
	my $name = $each->{file} =~ s{.*/}{}r;
	ok($each->{run}->finish, "beside moves, $name meets no error") or diag(${ $each->{err} });
}
cmp_ok($moves, '>=', 2, 'there was more than one move');
sql("SELECT bundle_rec.refresh('shop')");
is(sql($wrong), '0', 'in the end every item has the embedding of its title');

# ---- an item that the shop holds ----

my ($now) = split /\|/, sql($serving);
my $next = $now eq 'small' ? 'wide' : 'small';
sql("SELECT bundle_rec.alter_catalog('shop', model => '$next')");
my $holder = $node->background_psql('postgres');
$holder->query_safe(q{BEGIN; UPDATE product SET title = 'held' WHERE sku = 5;});
my $before = sql($wrong);
my $session = $node->background_psql('postgres');
$session->query_until(qr/begun/, "\\echo begun\nSELECT bundle_rec.refresh('shop');\n");
# what other statements need while refresh tries to get the row
my $longest = 0;
for (1 .. 20)
{
	my $start = time;
	sql("UPDATE product SET title = title || ' y' WHERE sku = 6");
	$longest = time - $start if time - $start > $longest;
	usleep(50_000);
}
# it tries for five
cmp_ok($longest, '<', 3, 'the shop writes other items while the switch waits for one');
$session->query('SELECT 1');
like($session->{stderr}, qr/NOTICE:  catalog "shop" is ready for model "$next" and still served by "$now"\nDETAIL:  Other transactions hold 1 of its items/,
	'a row that is held puts the switch off');
is(sql($serving), "$now|$next", 'until the next refresh');
$session->quit;
$holder->query_safe('COMMIT;');
like(told("SELECT bundle_rec.refresh('shop')"), qr/NOTICE:  catalog "shop" is now served by model "$next"/, 'which does it');
sql("SELECT bundle_rec.refresh('shop')");
is(sql($serving), "$next|", 'the catalog has moved');
is(sql($wrong), '0', 'with the text that was held');
$holder->quit;

# ---- who waits for whom ----

($now, $next) = ($next, $now);
my $first = $node->background_psql('postgres');
my $second = $node->background_psql('postgres', on_error_stop => 0);
$first->query_safe('SET client_min_messages = warning');
$first->query_safe("BEGIN; SELECT bundle_rec.refresh('shop');");
my ($status, undef, $error) = $node->psql('postgres', "SET lock_timeout = '200ms'; SELECT bundle_rec.alter_catalog('shop', model => '$next')");
like($error, qr/lock timeout/, 'alter_catalog waits for a refresh');
$first->query_safe('COMMIT;');
$first->query_safe("BEGIN; SELECT bundle_rec.alter_catalog('shop', model => '$next');");
$second->query_until(qr/begun/, "\\echo begun\n\\set VERBOSITY verbose\nSELECT bundle_rec.drop_model('$next');\n");
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%drop_model%' AND pid <> pg_backend_pid()}),
	'dropping the next model waits for who has just named it');
$first->query_safe('COMMIT;');
$second->query('SELECT 1');
like($second->{stderr}, qr/2BP01: model "$next" is in use/, 'and is refused');

# two refreshes: the second finds the catalog moved by the first, whatever it saw before it waited
sql("SELECT bundle_rec.refresh('shop', 100); UPDATE product SET title = 'once more ' || sku WHERE sku < 20");
$first->query_safe("BEGIN; SELECT bundle_rec.refresh('shop');");
$second->query_until(qr/begun2/, "\\echo begun2\nSELECT bundle_rec.refresh('shop');\n");
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%refresh(%' AND pid <> pg_backend_pid()}),
	'a second refresh waits for the first');
$first->query_safe('COMMIT;');
$second->query('SELECT 1');
is(sql($serving), "$next|", 'the first moves the catalog');
is(sql($wrong), '0', 'the second embeds with the model that then serves');
$_->quit for $first, $second;

# ---- cancels and kills ----

($now, $next) = ($next, $now);
sql(q{INSERT INTO product SELECT i, 'another product ' || i || repeat(' and more', 20 + i % 5), 1 FROM generate_series(1001, 5000) i});
sql("SELECT bundle_rec.refresh('shop'); SELECT bundle_rec.alter_catalog('shop', model => '$next'); SELECT bundle_rec.refresh('shop', 1500)");
is(sql('SELECT next_embedded FROM bundle_rec.catalog_coverage'), '1500', 'a step embeds what it is allowed to');
$before = sql($everything);
my $cancelled = 0;
for my $milliseconds (20, 100, 300, 600, 1000)
{
	($status, undef, $error) = $node->psql('postgres', "SET statement_timeout = $milliseconds; SELECT bundle_rec.refresh('shop')");
	last if $status == 0;
	$cancelled += $error =~ /statement timeout/;
	is(sql($everything), $before, "cancelled after $milliseconds ms, refresh leaves all as it was");
}
cmp_ok($cancelled, '>=', 2, 'there were cancels');

($now) = split /\|/, sql($serving);
$next = $now eq 'small' ? 'wide' : 'small';
sql("SELECT bundle_rec.alter_catalog('shop', model => '$now'), bundle_rec.alter_catalog('shop', model => '$next')");
sql("SELECT bundle_rec.refresh('shop', 1500)");
$before = sql($everything);
$session = $node->background_psql('postgres', on_error_stop => 0);
my $victim = $session->query('SELECT pg_backend_pid()');
$session->query_until(qr/begun/, "\\echo begun\nSELECT bundle_rec.refresh('shop');\n");
usleep(400_000);
is(sql("SELECT state FROM pg_stat_activity WHERE pid = $victim"), 'active', 'a refresh is at work');
kill 'KILL', $victim;
$session->{run}->kill_kill;
ok(true_after_restart($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $victim"), 'it is killed, and the server recovers');
is(sql($everything), $before, 'with what earlier steps had embedded');

# ---- dump and restore on the way ----

my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'a shop that is moving is dumped');
sql('CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'and restored');
is(sql('SELECT next_model, next_embedded FROM bundle_rec.catalog_coverage', 'restored'), "$next|1500", 'on the way as before');
for ('restored', 'postgres')
{
	sql("SELECT bundle_rec.refresh('shop')", $_);
	is(sql($serving, $_), "$next|", "the move is completed: $_");
	is(sql($wrong, $_), '0', 'for every item');
}

$node->stop;
done_testing();

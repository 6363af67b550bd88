# 020_catalog.pl
#    Catalogs among several sessions: refresh beside writers and beside itself,
#    cancels and timeouts that leave all as it was, dump and restore.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = PostgreSQL::Test::Cluster->new('shop');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\n");
$node->start;

sub sql
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', $sql);
}

sql(qq{
	CREATE EXTENSION bundle_rec;
	SELECT bundle_rec.load_model('tiny', '$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls');
	CREATE TABLE product (sku int PRIMARY KEY, title text, stock int);
	CREATE TABLE sale (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, basket int, sku int);
	INSERT INTO product SELECT i, 'product ' || i, 100 FROM generate_series(1, 300) i;
	INSERT INTO sale (basket, sku) SELECT i / 4, 1 + (i * 31) % 300 FROM generate_series(1, 2000) i;
	SELECT bundle_rec.create_catalog('shop', 'product', 'sku', text => '{title}', stock => 'stock');
	SELECT bundle_rec.add_event_source('shop', 'sale', item_id => 'sku', basket_id => 'basket');
});

# Pairs that are not what a plain join counts; none is right.
my $wrong_pairs = q{
	WITH b AS (SELECT DISTINCT basket, sku FROM sale),
	plain AS (SELECT a.sku::text AS a, b.sku::text AS b, count(*) FROM b a JOIN b USING (basket) WHERE a.sku <> b.sku GROUP BY 1, 2),
	stored AS (SELECT a.item_id, b.item_id, together FROM bundle_rec.item_pair p
	           JOIN bundle_rec.item a USING (catalog, item)
	           JOIN bundle_rec.item b ON b.catalog = p.catalog AND b.item = p.other)
	SELECT count(*) FROM ((TABLE plain EXCEPT TABLE stored) UNION ALL (TABLE stored EXCEPT TABLE plain)) x};

# Everything that refresh writes, as one value.
my $everything = q{
	SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM (
		SELECT i::text FROM bundle_rec.item i UNION ALL SELECT e::text FROM bundle_rec.event e UNION ALL SELECT q::text FROM bundle_rec.event_queue q
		UNION ALL SELECT c::text FROM bundle_rec.item_count c UNION ALL SELECT p::text FROM bundle_rec.item_pair p
		UNION ALL SELECT n::text FROM bundle_rec.item_neighbour n UNION ALL SELECT s::text FROM bundle_rec.catalog_state s) t};

# ---- a refresh that ends early leaves all as it was ----

my $before = sql($everything);
for my $milliseconds (1, 5, 20, 50)
{
	my ($status, undef, $error) = $node->psql('postgres',
		"SET statement_timeout = $milliseconds; SELECT bundle_rec.refresh('shop') FROM generate_series(1, 1)");
	if ($status == 0) { $before = sql($everything); next; }
	like($error, qr/statement timeout/, "refresh ends after $milliseconds ms");
	is(sql($everything), $before, 'and nothing is half stored');
}
sql("SELECT bundle_rec.refresh('shop')");
is(sql($wrong_pairs), '0', 'the next refresh does it all');
is(sql('SELECT embedded, pending, unfolded FROM bundle_rec.catalog_coverage'), '300|0|0', 'every text, every event');

# ---- refresh never waits for the shop ----

my $writer = $node->background_psql('postgres');
$writer->query_safe("BEGIN; UPDATE product SET title = 'held ' || sku WHERE sku <= 10;");
sql("UPDATE product SET title = 'free ' || sku WHERE sku = 11");
sql("SET lock_timeout = '2s'; SELECT bundle_rec.refresh('shop')");
is(sql('SELECT pending FROM bundle_rec.catalog_coverage'), '0', 'refresh does not wait for a statement of the shop');
$writer->query_safe('COMMIT;');
is(sql('SELECT pending FROM bundle_rec.catalog_coverage'), '10', 'what the shop then commits is pending');
$writer->query_safe("BEGIN; UPDATE product SET title = 'again ' || sku WHERE sku <= 5;");
sql("SET lock_timeout = '2s'; SELECT bundle_rec.refresh('shop')");
is(sql('SELECT pending FROM bundle_rec.catalog_coverage'), '5', 'rows that are held stay pending, the others do not');
$writer->query_safe('ROLLBACK;');
sql("SELECT bundle_rec.refresh('shop')");
is(sql('SELECT pending FROM bundle_rec.catalog_coverage'), '0', 'and are embedded by the next');

# ---- the shop does not wait for refresh, nor refresh for itself in vain ----

$writer->query_safe("BEGIN; SELECT bundle_rec.refresh('shop');");
sql("SET lock_timeout = '2s'; INSERT INTO sale (basket, sku) VALUES (-1, 1), (-1, 2); UPDATE product SET stock = stock - 1;
     INSERT INTO product VALUES (1000, 'new beside a refresh', 1)");
is(sql('SELECT count(*) FROM bundle_rec.item_state WHERE stock = 99'), '300', 'the shop sells while refresh runs');
my ($status, undef, $error) = $node->psql('postgres', "SET lock_timeout = '200ms'; SELECT bundle_rec.refresh('shop')");
like($error, qr/lock timeout/, 'a second refresh waits for the first');
$writer->query_safe('COMMIT;');
sql("SELECT bundle_rec.refresh('shop')");
is(sql($wrong_pairs), '0', 'what came meanwhile is counted by the next');
$writer->quit;

# ---- writers and refreshes at once ----

my $script = $node->basedir . '/writer.sql';
append_to_file($script, q{\set a random(1, 300)
\set b random(1, 300)
\set basket random(1, 200)
BEGIN;
UPDATE product SET stock = stock - 1, title = title || CASE WHEN :a % 7 = 0 THEN ' x' ELSE '' END WHERE sku = :a;
INSERT INTO sale (basket, sku) VALUES (:basket, :a), (:basket, :b);
DELETE FROM sale WHERE id = (SELECT id FROM sale WHERE basket = :basket ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED);
END;
});
my $refresher = $node->basedir . '/refresh.sql';
append_to_file($refresher, "SELECT bundle_rec.refresh('shop');\n");
my ($out, $err);
my @common = ('pgbench', '-n', '-T', '6', '-h', $node->host, '-p', $node->port);
my $writers = IPC::Run::start([ @common, '-c', '4', '-f', $script, 'postgres' ], '>', \$out, '2>', \$err);
my ($refresh_out, $refresh_err);
my $refreshes = IPC::Run::start([ @common, '-c', '2', '-f', $refresher, 'postgres' ], '>', \$refresh_out, '2>', \$refresh_err);
ok($writers->finish, 'writers beside refreshes end without an error') or diag($err);
ok($refreshes->finish, 'refreshes beside writers and each other end without an error') or diag($refresh_err);
sql("SELECT bundle_rec.refresh('shop')");
is(sql($wrong_pairs), '0', 'and no purchase is lost or counted twice');
is(sql('SELECT count(*) FROM product JOIN bundle_rec.item ON item_id = sku::text JOIN bundle_rec.item_state s USING (item) WHERE product.stock = s.stock'),
	sql('SELECT count(*) FROM product'), 'the stock of every item is that of the shop');
is(sql('SELECT count(*) FROM product JOIN bundle_rec.item ON item_id = sku::text
        WHERE (embedding OPERATOR(bundle_rec.<=>) bundle_rec.embed(title)::bundle_rec.embedding) > 1e-6 OR pending_text IS NOT NULL'),
	'0', 'every embedding is that of the present title');

# ---- cancels ----

sql(q{INSERT INTO product SELECT i, 'another product ' || i || repeat(' and more', i % 5), 1 FROM generate_series(2000, 32000) i});
sub cancelled_after
{
	my ($sql) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query('SELECT pg_backend_pid()');
	$session->query_until(qr/started/, "\\echo started\n$sql;\n");
	usleep(400_000);
	return -1 if sql("SELECT state FROM pg_stat_activity WHERE pid = $pid") ne 'active';
	my $start = time;
	sql("SELECT pg_cancel_backend($pid)");
	usleep(2_000) while sql("SELECT state FROM pg_stat_activity WHERE pid = $pid") eq 'active' && time - $start < 30;
	my $seconds = time - $start;
	$session->quit;
	return $seconds;
}
$before = sql($everything);
my $seconds = cancelled_after("SELECT bundle_rec.refresh('shop')");
ok($seconds >= 0 && $seconds < 5, 'refresh is cancelled at once') or diag("after $seconds s");
is(sql($everything), $before, 'and nothing is half stored');
sql("SELECT bundle_rec.refresh('shop')");
$seconds = cancelled_after("SELECT count(*) FROM generate_series(1, 1000000) i, bundle_rec.similar_items('shop', i::text)");
ok($seconds >= 0 && $seconds < 5, 'similar_items is cancelled at once') or diag("after $seconds s");

# ---- deleted, truncated, written again ----

# this source says no time: a deletion is noted at another one than the purchase that it takes back
sql(q{CREATE TABLE kept AS SELECT basket, sku FROM sale;
     DELETE FROM sale WHERE basket < 20; TRUNCATE sale});
is(sql('SELECT events FROM bundle_rec.catalog_coverage'), '0', 'TRUNCATE takes back what is there, not what was deleted before');
sql(q{INSERT INTO sale (basket, sku) SELECT basket, sku FROM kept; DROP TABLE kept; SELECT bundle_rec.refresh('shop')});
is(sql($wrong_pairs), '0', 'the same purchases count again');

# ---- dump and restore ----

sql(q{DELETE FROM product WHERE sku >= 2000});
sql("SELECT bundle_rec.refresh('shop')");
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'the shop is dumped');
sql('CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'and restored');
is(sql($everything, 'restored'), sql($everything), 'with all that was counted and embedded');
sql("INSERT INTO product VALUES (5000, 'after the restore', 1); INSERT INTO sale (basket, sku) VALUES (-7, 5000), (-7, 1);
     SELECT bundle_rec.refresh('shop')", 'restored');
is(sql($wrong_pairs, 'restored'), '0', 'the restored catalog follows its source');
is(sql("SELECT item_id FROM bundle_rec.bought_together('shop', '{5000}')", 'restored'), '1', 'and answers');
is(sql("SELECT bundle_rec.drop_catalog('shop');
        SELECT count(*) FROM pg_class WHERE relname ~ '^(item|event|decision|feedback).*_[0-9]+\$'", 'restored') =~ s/^\n//r, '0', 'and can be dropped');

done_testing();

# 022_bundles.pl
#    Curated bundles among several sessions: two writers of one bundle lose
#    nothing, whatever becomes of either; two rules that contradict each other;
#    dump and restore.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = PostgreSQL::Test::Cluster->new('bundles');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nlog_min_messages = warning\n");
$node->start;

sub sql
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', $sql);
}

sql(q{
	CREATE EXTENSION bundle_rec;
	CREATE TABLE product (sku int PRIMARY KEY, price numeric, stock int);
	CREATE TABLE kit (kit text, sku int, units int, price numeric, PRIMARY KEY (kit, sku));
	INSERT INTO product SELECT i, i, 100 FROM generate_series(1, 60) i;
	INSERT INTO kit SELECT 'old', i, 1, 5 FROM generate_series(1, 3) i;
	SELECT bundle_rec.create_catalog('shop', 'product', 'sku', price => 'price', stock => 'stock');
	SELECT bundle_rec.add_bundle_source('shop', 'kit', 'kit', 'sku', 'units', 'price');
});

# Rows that the catalog and the source do not have in common.
my $wrong_rows = q{
	WITH plain AS (SELECT kit, sku::text, units::float8, price::float8 FROM kit),
	stored AS (SELECT b.bundle_id COLLATE "default", m.item_id COLLATE "default", m.quantity, m.price
	           FROM bundle_rec.bundle b JOIN bundle_rec.bundle_item m USING (catalog, bundle))
	SELECT count(*) FROM ((TABLE plain EXCEPT TABLE stored) UNION ALL (TABLE stored EXCEPT TABLE plain)) x};
my $items = q{SELECT items FROM bundle_rec.bundle_coverage WHERE bundle_id = };

# ---- two writers of one bundle ----

my $first = $node->background_psql('postgres');
$first->query_safe("BEGIN; INSERT INTO kit VALUES ('old', 10, 1, 5);");
sql("SET lock_timeout = '2s'; INSERT INTO kit VALUES ('old', 11, 1, 5); DELETE FROM kit WHERE kit = 'old' AND sku = 3");
$first->query_safe('COMMIT;');
is(sql("$items 'old'"), '{1,10,11,2}', 'two writers of a bundle do not wait for each other, and lose nothing');

foreach my $end ('COMMIT', 'ROLLBACK')
{
	$first->query_safe("BEGIN; INSERT INTO kit VALUES ('$end', 20, 1, 5);");
	my $second = $node->background_psql('postgres');
	$second->query_until(qr/started/, "\\echo started\nINSERT INTO kit VALUES ('$end', 21, 1, 5);\n");
	my $start = time;
	usleep(10_000) while time - $start < 10
		&& sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") eq '0';
	$first->query_safe("$end;");
	$second->query_safe('SELECT 1');
	$second->quit;
	is(sql("$items '$end'"), $end eq 'COMMIT' ? '{20,21}' : '{21}', "nor where the bundle is new, and the first writer's end is $end");
}

# ---- two rules that contradict each other ----

foreach my $end ('COMMIT', 'ROLLBACK')
{
	$first->query_safe("BEGIN; SELECT bundle_rec.create_rule('shop', '$end', 'ban', '{1}');");
	my ($out, $err) = ('', '');
	my $second = IPC::Run::start([ 'psql', '-Xq', '-d', $node->connstr('postgres'), '-c', "SELECT bundle_rec.create_rule('shop', 'hero', 'pin', '{1,2}')" ],
		'>', \$out, '2>', \$err);
	ok($node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'hero'}), 'the second rule waits');
	$first->query_safe("$end;");
	$second->finish;
	like($err, $end eq 'COMMIT' ? qr/rule "hero" contradicts rule "COMMIT"/ : qr/^$/, "and knows of the first one where its end is $end");
	sql(q{SELECT bundle_rec.drop_rule(catalog, rule) FROM bundle_rec.rule});
}
$first->quit;

my $script = $node->basedir . '/writer.sql';
append_to_file($script, q{\set kit random(1, 40)
\set sku random(1, 60)
INSERT INTO kit VALUES ('k' || :kit, :sku, 1, :kit), ('k' || :kit, 1 + :sku % 60, 2, :kit) ON CONFLICT DO NOTHING;
UPDATE kit SET units = units + 1, kit = 'k' || (:kit + :sku % 2) WHERE kit = 'k' || :kit AND sku = :sku
	AND NOT EXISTS (SELECT FROM kit WHERE kit = 'k' || (:kit + 1) AND sku = :sku);
DELETE FROM kit WHERE kit = 'k' || :sku AND sku = 1 + :kit;
});
my ($out, $err);
my $writers = IPC::Run::start([ 'pgbench', '-n', '-T', '5', '-c', '6', '-h', $node->host, '-p', $node->port, '-f', $script, 'postgres' ],
	'>', \$out, '2>', \$err);
$writers->finish;
# two updates may move rows to one place: the shop's own key refuses the second
unlike($err, qr/deadlock|bundle_rec|bundle_item/, 'six writers meet no error of ours') or diag($err);
is(sql($wrong_rows), '0', 'and the catalog holds what the source holds');
is(sql('SELECT count(*) FROM bundle_rec.rejected'), '0', 'nothing was set aside');

# ---- dump and restore ----

my $decision = sql(q{SELECT decision_id FROM bundle_rec.rank_bundles('shop', k => 3) LIMIT 1});
my $everything = q{
	SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM (
		SELECT b::text FROM bundle_rec.bundle b UNION ALL SELECT m::text FROM bundle_rec.bundle_item m
		UNION ALL SELECT s.bundles::text || s.bundle_id FROM bundle_rec.bundle_source s UNION ALL SELECT d::text FROM bundle_rec.decision d) t};
my $explained = "SELECT string_agg(bundle_id || items::text || price, ';' ORDER BY rank) FROM bundle_rec.explain_decision($decision)";
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'the shop is dumped');
sql('CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'and restored');
is(sql($everything, 'restored'), sql($everything), 'with its bundles and its log');
is(sql($explained, 'restored'), sql($explained), 'which still names the bundles');
sql("INSERT INTO kit VALUES ('after', 1, 1, 7), ('after', 2, 1, 7); UPDATE kit SET price = 8 WHERE kit = 'old'; DELETE FROM kit WHERE sku = 30", 'restored');
is(sql($wrong_rows, 'restored'), '0', 'the restored catalog follows its source');
is(sql(q{SELECT price FROM bundle_rec.rank_bundles('shop', k => 200) WHERE bundle_id = 'after'}, 'restored'), '7', 'and offers what is new');
sql(q{SELECT bundle_rec.drop_catalog('shop')}, 'restored');
is(sql(q{SELECT count(*) FROM pg_class WHERE relname ~ '^bundle.*_[0-9]+$'}, 'restored'), '0', 'and can be dropped');
is(sql(q{SELECT count(*) FROM pg_trigger WHERE tgrelid = 'kit'::regclass}, 'restored'), '0', 'with its triggers');

done_testing();

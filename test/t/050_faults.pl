# 050_faults.pl
#    Faults that need several sessions: transactions with an older snapshot,
#    changes of one catalog at the same time, all of them at once for a while, and
#    very many catalogs.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

use Faults;

my $node = PostgreSQL::Test::Cluster->new('faults');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nmax_connections = 100\nclient_min_messages = error\n");
$node->start;
my $log_start = -s $node->logfile;

sub sql
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql) =~ s/^\n+//r;
}

# What comes of statements in one session.
sub state_is
{
	my ($session, $state, $message, $what) = @_;
	my ($got, $out, $err) = ref $session ? finish_session($session) : try_sql($node, 'postgres', $session);
	is($got, $state, $what) or diag($err);
	like($err, $message, "$what: a clear error") if $state ne '';
	return $out;
}

sql('CREATE EXTENSION bundle_rec');
load_checks($node, 'postgres');
make_sources($node, 'postgres', 200);
sql(q{SELECT bundle_rec.refresh(name) FROM bundle_rec.catalog});
follows_sources($node, 'postgres', 'at first', 1);

# ---- an older snapshot ----

my $old = $node->background_psql('postgres');

sub with_old_snapshot
{
	my ($isolation, $meanwhile, $then) = @_;
	$old->query_safe("BEGIN ISOLATION LEVEL $isolation; SELECT 1;");
	sql($meanwhile);
	$old->query_safe($then);
	$old->query_safe('COMMIT;');
	return;
}

foreach my $isolation ('REPEATABLE READ', 'SERIALIZABLE')
{
	my $n = $isolation eq 'SERIALIZABLE' ? 2 : 1;

	sql("CREATE TABLE young$n (sku text PRIMARY KEY, price int, stock int, active boolean, other int); INSERT INTO young$n SELECT i, i, 1, true, i FROM generate_series(1, 9) i;
		CREATE TABLE young${n}_sale (basket text, sku text, usr text, quantity int DEFAULT 1)");
	with_old_snapshot($isolation, "SELECT bundle_rec.create_catalog('young$n', 'young$n', 'sku', price => 'price', stock => 'stock', active => 'active');
		SELECT bundle_rec.add_event_source('young$n', 'young${n}_sale', user_id => 'usr', item_id => 'sku', basket_id => 'basket', quantity => 'quantity')",
		"INSERT INTO young$n VALUES ('late', 1, 1, true, 1); DELETE FROM young$n WHERE sku = '1'; UPDATE young$n SET price = 99 WHERE sku = '2';
		 INSERT INTO young${n}_sale VALUES ('l', 'late', 'u'), ('l', '2', 'u');");
	follows_sources($node, 'postgres', "$isolation: writers who do not see a catalog yet", 0, "young$n");
	sql("TRUNCATE young${n}_sale; SELECT bundle_rec.refresh('young$n')");
	with_old_snapshot($isolation, "INSERT INTO young${n}_sale VALUES ('m', '3', 'u'), ('m', '2', 'u'); INSERT INTO young$n VALUES ('m', 1, 1, true, 1)",
		"SELECT bundle_rec.sync('young$n');");
	follows_sources($node, 'postgres', "$isolation: sync that does not see rows which it counts", 0, "young$n");
	with_old_snapshot($isolation, "ALTER TABLE young$n DISABLE TRIGGER USER; INSERT INTO young$n VALUES ('n', 1, 1, true, 1); ALTER TABLE young$n ENABLE TRIGGER USER;
		SELECT bundle_rec.sync('young$n')", "INSERT INTO young$n VALUES ('o', 1, 1, true, 1); SELECT bundle_rec.sync('young$n');");
	follows_sources($node, 'postgres', "$isolation: sync after another sync", 0, "young$n");
	with_old_snapshot($isolation, "SELECT bundle_rec.alter_catalog('young$n', price => 'other')", "UPDATE young$n SET other = 1000, price = 5 WHERE sku = '4';");
	is(sql("SELECT s.price FROM bundle_rec.catalog c JOIN bundle_rec.item i USING (catalog) JOIN bundle_rec.item_state s USING (catalog, item) WHERE c.name = 'young$n' AND i.item_id = '4'"),
		'1000', "$isolation: writers who do not see that a catalog was altered");
	sql("SELECT bundle_rec.alter_catalog('young$n', price => 'price')");
	with_old_snapshot($isolation, "INSERT INTO young${n}_sale VALUES ('p', '3', 'u'); INSERT INTO young$n VALUES ('p', 1, 1, true, 1)", "TRUNCATE young$n, young${n}_sale;");
	follows_sources($node, 'postgres', "$isolation: TRUNCATE of rows that the snapshot does not show", 0, "young$n");
	with_old_snapshot($isolation, "INSERT INTO young${n}_sale VALUES ('q', '3', 'u'), ('q', '4', 'u')", "SELECT bundle_rec.drop_event_source('young$n', 'young${n}_sale');");
	is(sql("SELECT coalesce(sum(weight), 0) FROM bundle_rec.event_queue JOIN bundle_rec.catalog USING (catalog) WHERE name = 'young$n'"), '0',
		"$isolation: a source that is dropped with rows which the snapshot does not show");
	with_old_snapshot($isolation, "INSERT INTO young$n VALUES ('', 1, 1, true, 1); SELECT bundle_rec.create_policy('young policy $n', 'epsilon_greedy', 'young$n'); DROP TABLE young$n",
		"SELECT bundle_rec.drop_catalog('young$n');");
	nothing_left($node, 'postgres', "$isolation: a catalog that is dropped after its table");
}

# who waits for a change that its snapshot must not show is told to begin anew
my $busy = $node->background_psql('postgres');
foreach my $call ("SELECT bundle_rec.refresh('plain')", "SELECT bundle_rec.sync('plain')", "SELECT bundle_rec.alter_catalog('plain', discount => 0)")
{
	$busy->query_safe("BEGIN; INSERT INTO plain_sale VALUES ('busy', 'w1', 'u'); SELECT bundle_rec.refresh('plain');");
	my $waiting = start_session($node, 'postgres', "BEGIN ISOLATION LEVEL REPEATABLE READ; $call; COMMIT;", 'waiting');
	$busy->query_safe('COMMIT;');
	state_is($waiting, '40001', qr/could not serialize access/, "$call beside a refresh, with repeatable reads");
}
sql(q{SELECT bundle_rec.refresh('plain')});
follows_sources($node, 'postgres', 'after all that', 1);

# ---- two changes of one catalog ----

# Runs a statement while a transaction that has done another is still open; then that ends.
sub beside
{
	my ($first, $second, $end) = @_;
	$busy->query_safe("BEGIN; $first;");
	my $waiting = start_session($node, 'postgres', $second, 'waiting');
	$busy->query_safe(($end // 'COMMIT') . ';');
	return $waiting;
}
my $price = q{SELECT DISTINCT s.price = t.stock + 1000 FROM bundle_rec.catalog c JOIN bundle_rec.item i USING (catalog) JOIN bundle_rec.item_state s USING (catalog, item) JOIN twin t ON t.sku = i.item_id WHERE c.name = 'twin'};
sql(q{CREATE TABLE twin (sku text PRIMARY KEY, price int, stock int, active boolean, dear int); INSERT INTO twin SELECT i, i, i % 5, true, i % 5 + 1000 FROM generate_series(1, 50) i;
	CREATE TABLE twin_sale (basket text, sku text, usr text, quantity int DEFAULT 1); INSERT INTO twin_sale SELECT i / 2, 1 + i % 50, 'u' FROM generate_series(1, 90) i;
	CREATE VIEW twin_view AS SELECT * FROM twin_sale});
state_is(beside(q{SELECT bundle_rec.create_catalog('twin', 'twin', 'sku', price => 'price', stock => 'stock', active => 'active')}, q{SELECT bundle_rec.create_catalog('twin', 'base', 'sku')}),
	'42710', qr/catalog "twin" already exists/, 'two catalogs of one name');
state_is(beside(q{SELECT bundle_rec.create_catalog('other', 'twin', 'sku')}, q{SELECT bundle_rec.create_catalog('other', 'base', 'sku')}, 'ROLLBACK'),
	'', undef, 'the second comes where the first is taken back');
sql(q{SELECT bundle_rec.drop_catalog('other')});
state_is(beside(q{SELECT bundle_rec.add_event_source('twin', 'twin_view', item_id => 'sku', basket_id => 'basket')}, q{SELECT bundle_rec.add_event_source('twin', 'twin_view', item_id => 'sku')}),
	'42710', qr/is already an event source of catalog "twin"/, 'one source of events, added twice');
sql(q{SELECT bundle_rec.drop_event_source('twin', 'twin_view'); SELECT bundle_rec.add_event_source('twin', 'twin_sale', user_id => 'usr', item_id => 'sku', basket_id => 'basket', quantity => 'quantity')});
state_is(beside(q{SELECT bundle_rec.alter_catalog('twin', price => 'dear')}, q{SELECT bundle_rec.sync('twin')}), '', undef, 'sync beside an alteration');
is(sql($price), 't', 'reads the columns as they are altered');
state_is(beside(q{SELECT bundle_rec.alter_catalog('twin', price => 'price')}, q{SELECT bundle_rec.alter_catalog('twin', discount => 0.5)}), '', undef, 'two alterations');
is(sql(q{SELECT price, discount FROM bundle_rec.catalog WHERE name = 'twin'}), 'price|0.5', 'are both kept');
state_is(beside(q{SELECT bundle_rec.alter_catalog('twin', price => 'dear')}, q{UPDATE twin SET dear = 1000 + stock + 0, price = price + 1}), '', undef, 'the shop beside an alteration');
is(sql($price), 't', 'is followed by the new columns');
foreach my $call (q{refresh('twin')}, q{sync('twin')}, q{alter_catalog('twin', discount => 0)}, q{drop_catalog('twin')}, q{add_event_source('twin', 'base_sale', item_id => 'sku')},
	q{drop_event_source('twin', 'twin_sale')})
{
	state_is(beside(q{SELECT bundle_rec.drop_catalog('twin')}, "SELECT bundle_rec.$call"), '42704', qr/catalog .*was dropped/, "$call beside its end");
	nothing_left($node, 'postgres', 'afterwards');
	sql(q{SELECT bundle_rec.create_catalog('twin', 'twin', 'sku', price => 'dear', stock => 'stock', active => 'active');
		SELECT bundle_rec.add_event_source('twin', 'twin_sale', user_id => 'usr', item_id => 'sku', basket_id => 'basket', quantity => 'quantity')});
}
like((finish_session(beside('DROP TABLE twin_sale CASCADE', q{SET client_min_messages = warning; SELECT bundle_rec.sync('twin')})))[2],
	qr/a source of catalog "twin" was dropped/, 'sync beside the end of a source');
state_is(beside('DROP TABLE twin CASCADE', q{SELECT bundle_rec.create_catalog('again', 'twin', 'sku')}), '42P01', qr/dropped/, 'a table that goes while a catalog is made of it');
sql('CREATE TABLE spare (sku text PRIMARY KEY, stock int)');
state_is(beside('ALTER TABLE spare DROP COLUMN stock', q{SELECT bundle_rec.create_catalog('again', 'spare', 'sku', stock => 'stock')}),
	'42703', qr/has no column "stock"/, 'a column that goes meanwhile');
sql(q{SELECT bundle_rec.drop_catalog('twin')});
nothing_left($node, 'postgres', 'afterwards');

# ---- a shop that writes to several sources meets no deadlock ----

foreach my $catalog (qw(plain part))
{
	foreach my $call ("SELECT bundle_rec.sync('$catalog')", "BEGIN; SELECT bundle_rec.drop_catalog('$catalog'); ROLLBACK")
	{
		$busy->query_safe("BEGIN; INSERT INTO ${catalog}_sale VALUES ('deadly', 'w1', 'u');");
		my $waiting = start_session($node, 'postgres', $call, 'waiting');
		$busy->query_safe("SET LOCAL lock_timeout = '3s'; UPDATE $catalog SET price = 3 WHERE sku = 'w2'; COMMIT;");
		state_is($waiting, '', undef, "$call beside a transaction that writes events before items");
	}
}
$busy->query_safe('DELETE FROM ' . $_ . " WHERE basket IN ('deadly', 'busy');") for qw(plain_sale part_sale);

# ---- everything at once ----

sql(q{CREATE TABLE mix_1 (LIKE plain INCLUDING ALL); CREATE TABLE mix_2 (LIKE plain INCLUDING ALL); INSERT INTO mix_1 SELECT * FROM plain; INSERT INTO mix_2 SELECT * FROM plain;
	CREATE TABLE mix_1_sale (LIKE plain_sale INCLUDING ALL); CREATE TABLE mix_2_sale (LIKE plain_sale INCLUDING ALL)});
srand(50);

# Statements about the catalogs mix_1 and mix_2, and writes to their sources, in a random order.
sub mixture
{
	my ($n) = @_;
	my @kinds = (
		sub { "SELECT bundle_rec.create_catalog('$_[0]', '$_[0]', 'sku', price => 'price', stock => 'stock', active => 'active');
		       SELECT bundle_rec.add_event_source('$_[0]', '$_[0]_sale', user_id => 'usr', item_id => 'sku', basket_id => 'basket', quantity => 'quantity');" },
		sub { "SELECT bundle_rec.drop_catalog('$_[0]');" },
		sub { "SELECT bundle_rec.alter_catalog('$_[0]', price => '" . (qw(price stock))[ rand 2 ] . "');" },
		sub { "SELECT bundle_rec.refresh('$_[0]');" },
		sub { "SELECT count(*) FROM bundle_rec.sync('$_[0]');" },
		sub { "SELECT bundle_rec.drop_event_source('$_[0]', '$_[0]_sale');" },
		sub { "SELECT bundle_rec.add_event_source('$_[0]', '$_[0]_sale', user_id => 'usr', item_id => 'sku', basket_id => 'basket', quantity => 'quantity');" });
	my $text = '';
	foreach (1 .. $n)
	{
		my ($table, $sku) = ('mix_' . (1 + int rand 2), 'w' . (1 + int rand 200));
		$text .= "BEGIN; INSERT INTO ${table}_sale SELECT 'b' || i, '$sku', 'u' FROM generate_series(1, 3) i; UPDATE $table SET stock = stock + 1 WHERE sku = '$sku'; COMMIT;\n";
		$text .= $kinds[ rand @kinds ]->($table) . "\n";
	}
	return $text;
}
my @sessions = map { start_session($node, 'postgres', "\\set ON_ERROR_STOP 0\n" . mixture(60)) } 1 .. 4;
my %met;
foreach my $session (@sessions)
{
	my ($state, $out, $err) = finish_session($session);
	$met{$_}++ foreach $err =~ /(?:ERROR|FATAL|PANIC):  (\w{5}):/g;
	$met{lost}++ if $err =~ /connection/;
}
diag('errors of the mixture: ' . join(', ', map { "$_ $met{$_} times" } sort keys %met));
delete $met{$_} foreach qw(42704 42710);
is_deeply(\%met, {}, 'everything at once: errors are that a catalog is there or not');
nothing_left($node, 'postgres', 'afterwards');
sql("DO \$\$ BEGIN PERFORM bundle_rec.drop_catalog('$_'); EXCEPTION WHEN undefined_object THEN END \$\$") for qw(mix_1 mix_2);
sql(qq{SELECT bundle_rec.create_catalog('$_', '$_', 'sku', price => 'price', stock => 'stock', active => 'active'); SELECT bundle_rec.refresh('$_');
	SELECT bundle_rec.add_event_source('$_', '${_}_sale', user_id => 'usr', item_id => 'sku', basket_id => 'basket', quantity => 'quantity'); SELECT bundle_rec.refresh('$_')}) for qw(mix_1 mix_2);
follows_sources($node, 'postgres', 'created once more', 1, qw(mix_1 mix_2));

# writers of every isolation level beside refresh and sync: what cannot be serialised is tried again
my $script = $node->basedir . '/write.sql';
append_to_file($script, q{\set a random(1, 200)
\set b random(1, 200)
\set basket random(1, 60)
BEGIN;
UPDATE plain SET stock = stock + 1 WHERE sku = 'w' || :a;
INSERT INTO plain_sale VALUES ('x' || :basket, 'w' || :a, 'u'), ('x' || :basket, 'w' || :b, 'u');
DELETE FROM plain_sale WHERE ctid = (SELECT ctid FROM plain_sale WHERE basket = 'x' || :basket LIMIT 1);
UPDATE part SET stock = stock + 1, region = 1 - region WHERE sku = 'w' || :b;
INSERT INTO part_sale VALUES ('x' || :basket, 'w' || :b, 'u');
COMMIT;
});
append_to_file($node->basedir . '/change.sql', q{SELECT bundle_rec.refresh('plain');
SELECT bundle_rec.sync('part');
SELECT bundle_rec.sync('plain');
SELECT bundle_rec.refresh('part');
});
my @at_once;
foreach my $isolation ('read committed', 'repeatable read', 'serializable')
{
	foreach my $file ('write', 'change')
	{
		my $run = { err => '', out => '' };
		local %ENV = $node->_get_env();
		$ENV{PGOPTIONS} = "-c default_transaction_isolation=" . ($isolation =~ s/ /\\ /r);
		$run->{run} = IPC::Run::start([ 'pgbench', '-n', '-T', '3', '-c', '2', '--max-tries=0', '-f', $node->basedir . "/$file.sql", 'postgres' ], '>', \$run->{out}, '2>', \$run->{err});
		push @at_once, $run;
	}
}
ok($_->{run}->finish && $_->{out} !~ /aborted/, 'writers, refresh and sync of every isolation level') or diag($_->{err}) foreach @at_once;
sql(q{SELECT bundle_rec.refresh('plain'), bundle_rec.refresh('part'); SELECT bundle_rec.sync('view'); SELECT bundle_rec.refresh('view')});
follows_sources($node, 'postgres', 'writers of every isolation level', 1);
is(sql(q{SELECT sum(added + changed + removed) FROM unnest('{plain,part}'::text[]) c, bundle_rec.sync(c)}), '0', 'and sync finds nothing more');
is_whole($node, 'postgres', 'after all that');
$_->quit foreach $old, $busy;

# ---- 200 catalogs ----

sql('DROP EXTENSION bundle_rec CASCADE; CREATE EXTENSION bundle_rec');
my $start = time;
sql(join(' ', map { "SELECT bundle_rec.create_catalog('many $_', 'plain', 'sku', price => 'price', stock => 'stock');" } 1 .. 200));
diag(sprintf('200 catalogs over one table of 200 rows in %.1f s', time - $start));
is(sql('SELECT count(*), sum(items), sum(pairs) FROM bundle_rec.catalog_coverage'), '200|' . 200 * sql('SELECT count(*) FROM plain') . '|0', '200 catalogs are covered');
$start = time;
sql(q{UPDATE plain SET stock = 77 WHERE sku = 'w1'});
diag(sprintf('a statement that 200 catalogs follow: %.2f s', time - $start));
is(sql('SELECT count(*) FROM bundle_rec.item_state WHERE stock = 77'), '200', 'and all follow');
state_is('DROP EXTENSION bundle_rec CASCADE', '53200', qr/max_locks_per_transaction/, 'at once they cannot be dropped with few locks');
is(sql('SELECT count(*) FROM bundle_rec.catalog_coverage'), '200', 'and all are there still');
# a row-level policy that asks more catalogs than there is room for plans, while the plan that asks it runs
sql(q{CREATE ROLE guest; GRANT SELECT ON plain TO guest; ALTER TABLE plain ENABLE ROW LEVEL SECURITY;
	CREATE FUNCTION wanders(sku text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
		IF current_setting('wander.done', true) IS DISTINCT FROM 'yes' THEN
			PERFORM set_config('wander.done', 'yes', false);
			PERFORM count(*) FROM generate_series(2, 200) i, bundle_rec.recommend_items('many ' || i, basket => '{w1}', log => false);
			PERFORM count(*) FROM generate_series(2, 200) i, bundle_rec.bought_together('many ' || i, '{w1}');
			PERFORM count(*) FROM generate_series(2, 200) i, bundle_rec.recommend_items('many ' || i, user_id => 'u1', log => false);
		END IF;
		RETURN true; END $$;
	CREATE POLICY all_of_them ON plain FOR SELECT TO guest USING (wanders(sku))});
is(sql(q{SET ROLE guest; SELECT count(*) FROM bundle_rec.recommend_items('many 1', k => 5, log => false)}) =~ s/\n//gr, '5', 'a policy that asks a hundred catalogs');
sql('DROP POLICY all_of_them ON plain; ALTER TABLE plain DISABLE ROW LEVEL SECURITY');
sql(join(' ', map { "SELECT bundle_rec.drop_catalog('many $_');" } 1 .. 20));
$node->append_conf('postgresql.conf', "max_locks_per_transaction = 256\n");
$node->restart;
sql('DROP EXTENSION bundle_rec CASCADE');
is(sql(q{SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'bundle_rec%'}), '0', 'with 256 locks for each they are');

unlike(substr(slurp_file($node->logfile), $log_start), qr/PANIC|was terminated by signal|TRAP/, 'no session broke down');
$node->stop;
done_testing();

# Faults.pm
#    What the tests of faults share: a shop whose sources are plain, partitioned
#    and a view, whether its catalogs hold what they hold, and whether the tables
#    of catalogs are whole.
#
# What should be there is asked of the shop's own tables, by plain joins.

package Faults;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(load_checks make_sources differences follows_sources is_whole nothing_left state_of start_session
  finish_session cancel_after try_sql kill_during_change recovers);

# The functions wrong_items, wrong_events and unsound, in a database that has the extension.
sub load_checks
{
	my ($node, $database) = @_;
	foreach my $file ('follow.sql', 'sound.sql')
	{
		$node->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-f', "$ENV{BR_FILES}/test/sql/include/$file",
				'-d', $node->connstr($database) ], "$file is loaded");
	}
	return;
}

# Catalogs plain, part and view, each of n items and two rows of sales for each.
sub make_sources
{
	my ($node, $database, $n) = @_;
	$node->safe_psql($database, <<"SQL");
CREATE TABLE plain (sku text PRIMARY KEY, title text, price numeric, stock int, active boolean);
CREATE TABLE part (sku text, title text, price numeric, stock int, active boolean, region int) PARTITION BY LIST (region);
CREATE TABLE part_0 PARTITION OF part FOR VALUES IN (0);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE plain_sale (basket text, sku text, usr text, quantity int DEFAULT 1);
CREATE TABLE part_sale (basket text, sku text, usr text, quantity int DEFAULT 1) PARTITION BY HASH (basket);
CREATE TABLE part_sale_0 PARTITION OF part_sale FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE part_sale_1 PARTITION OF part_sale FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE base (sku text PRIMARY KEY, title text, price numeric, stock int, active boolean);
CREATE TABLE base_sale (basket text, sku text, usr text, quantity int DEFAULT 1);
CREATE VIEW view AS SELECT * FROM base;
CREATE VIEW view_sale AS SELECT * FROM base_sale;
INSERT INTO plain SELECT 'w' || i, 'ware ' || i % 100, i % 90, i % 5, i % 7 <> 0 FROM generate_series(1, $n) i;
INSERT INTO part SELECT *, hashtext(sku) & 1 FROM plain;
INSERT INTO base SELECT * FROM plain;
INSERT INTO plain_sale SELECT 'b' || i / 3, 'w' || 1 + (i * 7919::bigint) % $n, 'u' || i % 40 FROM generate_series(1, 2 * $n) i;
INSERT INTO part_sale SELECT * FROM plain_sale;
INSERT INTO base_sale SELECT * FROM plain_sale;
SELECT bundle_rec.create_catalog(c, c::regclass, 'sku', text => CASE WHEN EXISTS (SELECT FROM bundle_rec.stored_model) THEN '{title}'::name[] ELSE '{}' END,
                                 price => 'price', stock => 'stock', active => 'active')
FROM unnest('{plain,part,view}'::text[]) c;
SELECT bundle_rec.add_event_source(c, (c || '_sale')::regclass, user_id => 'usr', item_id => 'sku', basket_id => 'basket', quantity => 'quantity')
FROM unnest('{plain,part,view}'::text[]) c;
SQL
	return;
}

# Items, events and, of a catalog that was refreshed, counts that are not as the sources say; '' is right.
sub differences
{
	my ($node, $database, $catalog, $refreshed) = @_;
	my $events = "SELECT usr, sku, basket, ''purchase'' AS kind, quantity FROM ${catalog}_sale";
	my $counts = $refreshed ? <<"SQL" : 'SELECT NULL WHERE false';
SELECT 'count ' || x::text FROM (
	WITH b AS (SELECT DISTINCT basket, sku FROM ${catalog}_sale WHERE sku IN (SELECT i.item_id FROM bundle_rec.item i JOIN bundle_rec.catalog c USING (catalog) WHERE c.name = '$catalog')),
	plain AS (SELECT a.sku AS one, b.sku AS other, count(*) AS n FROM b a JOIN b USING (basket) WHERE a.sku <> b.sku GROUP BY 1, 2
	          UNION ALL SELECT sku, NULL, count(*) FROM b GROUP BY 1
	          UNION ALL SELECT NULL, NULL, count(DISTINCT basket) FROM b),
	stored AS (SELECT a.item_id::text AS one, o.item_id::text AS other, together AS n FROM bundle_rec.catalog c JOIN bundle_rec.item_pair p USING (catalog)
	           JOIN bundle_rec.item a USING (catalog, item) JOIN bundle_rec.item o ON o.catalog = p.catalog AND o.item = p.other WHERE c.name = '$catalog'
	           UNION ALL SELECT i.item_id, NULL, n.baskets FROM bundle_rec.catalog c JOIN bundle_rec.item_count n USING (catalog) JOIN bundle_rec.item i USING (catalog, item) WHERE c.name = '$catalog'
	           UNION ALL SELECT NULL, NULL, baskets FROM bundle_rec.catalog_state JOIN bundle_rec.catalog c USING (catalog) WHERE c.name = '$catalog')
	(TABLE plain EXCEPT TABLE stored) UNION ALL (TABLE stored EXCEPT TABLE plain)) x
SQL
	return $node->safe_psql($database, "SELECT * FROM (SELECT wrong_items('$catalog', '$catalog')
		UNION ALL SELECT wrong_events('$catalog', '$events') UNION ALL $counts) d LIMIT 5");
}

sub follows_sources
{
	my ($node, $database, $what, $refreshed, @catalogs) = @_;
	@catalogs = qw(plain part view) unless @catalogs;
	is(join("\n", map { differences($node, $database, $_, $refreshed) } @catalogs) =~ s/^\n*\z//r, '', "$what: catalogs hold what their sources hold");
	return;
}

# Heap, indexes and constraints of every table of a catalog.
sub is_whole
{
	my ($node, $database, $what) = @_;
	is($node->safe_psql($database, 'SELECT * FROM unsound() LIMIT 5'), '', "$what: heaps, indexes and constraints hold");
	return;
}

# Tables, triggers and rows of catalogs that are not there.
sub nothing_left
{
	my ($node, $database, $what) = @_;
	my $is = 'catalog NOT IN (SELECT catalog FROM bundle_rec.catalog)';
	is($node->safe_psql($database, <<"SQL"), '', "$what: nothing is left of what is gone, nothing is half there");
SELECT 'table ' || child FROM child WHERE substring(child::text, '[0-9]+\$')::int NOT IN (SELECT catalog FROM bundle_rec.catalog)
UNION ALL SELECT 'tables of catalog ' || c.name || ': ' || count(child) FROM bundle_rec.catalog c
	LEFT JOIN child ON substring(child::text, '[0-9]+\$')::int = c.catalog GROUP BY c.name HAVING count(child) <> 17
UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal AND tgparentid = 0 AND tgname ~ '^bundle_rec_[0-9]+_'
	AND NOT EXISTS (SELECT FROM bundle_rec.catalog c WHERE starts_with(tgname, format('bundle_rec_%s_', c.catalog)) AND (c.items = tgrelid OR c.items IN (SELECT pg_partition_ancestors(tgrelid))))
UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal AND tgparentid = 0 AND tgname ~ '^bundle_rec_event_'
	AND NOT EXISTS (SELECT FROM bundle_rec.event_source e WHERE starts_with(tgname, format('bundle_rec_event_%s_', e.source)) AND (e.events = tgrelid OR e.events IN (SELECT pg_partition_ancestors(tgrelid))))
UNION ALL SELECT 'state' FROM bundle_rec.catalog_state WHERE $is
UNION ALL SELECT 'source' FROM bundle_rec.event_source WHERE $is
UNION ALL SELECT 'log of ' || name FROM bundle_rec.catalog c WHERE (SELECT count(*) FROM bundle_rec.event_source e WHERE e.catalog = c.catalog AND e.events IS NULL) <> 1
UNION ALL SELECT 'rejected' FROM bundle_rec.rejected WHERE $is
UNION ALL SELECT 'policy' FROM bundle_rec.policy WHERE $is
UNION ALL SELECT 'no policy of ' || name FROM bundle_rec.catalog WHERE catalog NOT IN (SELECT catalog FROM bundle_rec.policy WHERE catalog IS NOT NULL)
SQL
	return;
}

# Everything that a catalog holds, as one value.
sub state_of
{
	my ($node, $database) = @_;
	return $node->safe_psql($database, 'SELECT md5(string_agg(t, chr(10) ORDER BY t)) FROM (' . join(' UNION ALL ',
			map { "SELECT '$_' || x::text AS t FROM bundle_rec.$_ x" }
			  qw(catalog event_source catalog_state item item_state item_count item_pair item_neighbour event event_queue item_change rejected)) . ') s');
}

# ---- sessions ----

# Statements in a session of their own, begun now: what to hand to finish_session.
sub start_session
{
	my ($node, $database, $sql, $wait) = @_;
	my $folder = PostgreSQL::Test::Utils::tempdir();
	my $session = { folder => $folder };

	# files, since nobody reads from it while it runs
	append_to_file("$folder/in", "\\set VERBOSITY verbose\n$sql\n");
	local %ENV = $node->_get_env();
	$ENV{PGAPPNAME} = $wait // 'session';
	$session->{run} = IPC::Run::start([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($database), '-f', "$folder/in" ],
		'<', \undef, '>', "$folder/out", '2>', "$folder/err");
	# until it waits for a lock, if that is what it shall do
	$node->poll_query_until($database, "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = '$wait' AND wait_event_type = 'Lock'")
	  or die "$wait does not wait" if defined $wait;
	return $session;
}

# (SQLSTATE or '', output, message)
sub finish_session
{
	my ($session) = @_;
	$session->{run}->finish;
	my ($out, $err) = map { slurp_file("$session->{folder}/$_") } qw(out err);
	my ($state) = $err =~ /(?:ERROR|FATAL):  (\w{5}):/;
	return ($state // '', $out =~ s/\s+\z//r, $err);
}

# The same for statements that need no company.
sub try_sql
{
	my ($node, $database, $sql) = @_;
	return finish_session(start_session($node, $database, $sql));
}

# Seconds from pg_cancel_backend to the end of a statement that has run so long; -1 where it had ended before.
sub cancel_after
{
	my ($node, $database, $sql, $seconds) = @_;
	my $session = start_session($node, $database, "SET application_name = 'cancelled';\n$sql");
	my $active = "FROM pg_stat_activity WHERE application_name = 'cancelled' AND state = 'active'";
	until ($node->safe_psql($database, "SELECT count(*) > 0 $active AND query NOT LIKE 'SET%'") eq 't')
	{
		# a fast one has ended before anybody looked
		return -1 unless $session->{run}->pumpable;
		usleep(10_000);
	}
	usleep($seconds * 1e6);
	my $start = time;
	my $cancelled = $node->safe_psql($database, "SELECT pg_cancel_backend(pid) $active");
	my ($state) = finish_session($session);
	return $cancelled eq 't' && $state eq '57014' ? time - $start : -1;
}

# ---- kills ----

# Statements long enough to be killed in; each time others.
my $turn = 0;
sub next_change
{
	$turn++;
	my @changes = (
		"SELECT bundle_rec.refresh('plain')",
		"SELECT bundle_rec.sync('plain')",
		"SELECT bundle_rec.create_catalog('killed', 'plain', 'sku', price => 'price')",
		"UPDATE plain SET price = price + 1, stock = stock + 1",
		"INSERT INTO part_sale SELECT 'k$turn' || i / 4, 'w' || 1 + i % 1000, 'u' FROM generate_series(1, 20000) i",
		"DELETE FROM plain_sale WHERE basket LIKE 'k%'",
		"SELECT bundle_rec.sync('view')",
		"SELECT bundle_rec.refresh('part')");
	return $changes[ $turn % @changes ];
}

# Begins a change beside others and kills its backend or the postmaster at some moment; the server runs again then.
sub kill_during_change
{
	my ($node, $database, $whom) = @_;
	my $change = next_change();

	# something to count, to compare and to wait for the end of recovery
	$node->safe_psql($database, "INSERT INTO plain_sale SELECT 'k$turn' || i / 3, 'w' || 1 + (i * 31) % 1000, 'u' || i % 9 FROM generate_series(1, 6000) i;
		SET session_replication_role = replica; UPDATE base SET price = price + 1; UPDATE plain SET stock = stock + 1 WHERE hashtext(sku) % 3 = 0;
		INSERT INTO base_sale SELECT 'k$turn' || i / 3, 'w' || 1 + (i * 17) % 1000, 'u' || i % 9 FROM generate_series(1, 6000) i");
	my @company = map { start_session($node, $database, $_) } ("UPDATE part SET stock = stock + 1", "INSERT INTO plain VALUES ('k$turn', 'new', 1, 1, true); INSERT INTO plain_sale VALUES ('k$turn', 'k$turn', 'u')");
	my $session = start_session($node, $database, "SET application_name = 'killed';\n$change;\nSELECT pg_sleep(20);");
	my $pid = '';
	for (my $tries = 0; $pid eq '' && $tries < 200; $tries++)
	{
		$pid = $node->safe_psql($database, "SELECT pid FROM pg_stat_activity WHERE application_name = 'killed'");
		usleep(5_000);
	}
	usleep(rand 400_000);
	if ($whom eq 'backend')
	{
		# the server's settings say that it does not start again by itself
		kill 'KILL', $pid;
		my $postmaster = $node->{_pid};
		for (my $tries = 0; kill(0, $postmaster) && $tries < 3000; $tries++) { usleep(10_000); }
		$node->_update_pid(0);
	}
	else
	{
		my $postmaster = $node->{_pid};
		$node->kill9;
		usleep(10_000) while kill 0, $postmaster;
	}
	finish_session($_) foreach $session, @company;
	foreach my $attempt (1 .. 300)
	{
		last if $node->start(fail_ok => 1);
		usleep(100_000);
	}
	return $change;
}

# After a crash: nothing half there; and after sync and refresh, sync finds nothing and all is as the sources say.
sub recovers
{
	my ($node, $database, $what) = @_;

	nothing_left($node, $database, $what);
	$node->safe_psql($database, q{SET client_min_messages = error; DO $$ BEGIN PERFORM bundle_rec.drop_catalog('killed'); EXCEPTION WHEN undefined_object THEN END $$});
	# plain and view have changes that no trigger saw; of part triggers saw all
	is($node->safe_psql($database, q{SELECT sum(added + changed + removed) FROM bundle_rec.sync('part')}), '0', "$what: sync finds nothing that triggers missed");
	$node->safe_psql($database, "SELECT bundle_rec.sync('$_')") foreach qw(plain view);
	$node->safe_psql($database, "SELECT bundle_rec.refresh('$_')") foreach qw(plain part view);
	follows_sources($node, $database, $what, 1);
	is($node->safe_psql($database, q{SELECT sum(added + changed + removed) FROM unnest('{plain,part,view}'::text[]) c, bundle_rec.sync(c)}), '0', "$what: sync finds no difference then");
	is_whole($node, $database, $what);
	return;
}

1;

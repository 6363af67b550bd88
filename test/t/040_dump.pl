# 040_dump.pl
#    Dumps of every kind, restored where nothing was, and copies of databases.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Shop;

my $node = PostgreSQL::Test::Cluster->new('dump');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nmax_connections = 30\n");
$node->start;
make_shop($node, 'postgres');
$node->safe_psql('postgres', q{SET client_min_messages = error; INSERT INTO shop.product (sku, price) VALUES ('bad', -1)});
my $untaught = "SET bundle_rec.backend = portable; SELECT rank, items, score, propensity, price
	FROM bundle_rec.recommend('shop', basket => '{p1,p2}', query => 'a blue stove', policy => 'shop', seed => 7, log => false)";
my $before = values_of($node, 'postgres', $untaught);
$node->safe_psql('postgres', q{SET ROLE keeper; SELECT bundle_rec.fit('shop', kind) FROM unnest(ARRAY['ease', 'ease', 'als', 'itemsets', 'association']) kind;
	SELECT bundle_rec.serve_version('shop', 1); SELECT bundle_rec.evaluate('shop', 'completion', seeds => 1)});
$node->safe_psql('postgres', q{SET client_min_messages = error; SET cron.database_name = 'elsewhere'; SET ROLE keeper;
	SELECT bundle_rec.schedule('shop', '0 3 * * *', '{refresh}', '{"refresh": {"max_texts": 7}}')});
$node->safe_psql('postgres', q{INSERT INTO bundle_rec.stored_alert (catalog, role, schedule, task, message) VALUES (1, 'keeper', 1, 'fit', 'a reason')});
$node->safe_psql('postgres', q{SET client_min_messages = error; SELECT bundle_rec.load_model('twin', '} . "$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls" . q{');
	SELECT bundle_rec.gate('shop', 'twin'); SELECT bundle_rec.drop_model('twin')});
my $folder = PostgreSQL::Test::Utils::tempdir();
my $answers = answers($node, 'postgres');
my $source = $node->connstr('postgres');
cmp_ok(scalar(split /\n/, $answers), '>', 20, 'the shop answers');

sub sql
{
	my ($database, $sql) = @_;
	return values_of($node, $database, $sql);
}

sub empty_database
{
	my ($database) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0");
	return $node->connstr($database);
}

# Loads a plain file, ending at the first error.
sub load_file
{
	my ($database, $file) = @_;
	return [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d', $node->connstr($database) ];
}

# Versions, and what they hold and found, number by number.
sub learned
{
	my ($database) = @_;
	return sql($database, q{SELECT version, kind, serving, parameters, figures, weights FROM bundle_rec.learned_version ORDER BY version;
		SELECT version, count(*), md5(string_agg(l::text, ' ' ORDER BY item)) FROM bundle_rec.learned_list l GROUP BY 1 ORDER BY 1;
		SELECT version, count(*), md5(string_agg(v::text, ' ' ORDER BY item)) FROM bundle_rec.learned_vector v GROUP BY 1 ORDER BY 1;
		SELECT version, count(*), md5(string_agg(s::text, ' ' ORDER BY number)) FROM bundle_rec.learned_set s GROUP BY 1 ORDER BY 1;
		SELECT evaluation, method, metric, k, value, place FROM bundle_rec.leaderboard ORDER BY 1, 2, 3, 4;
		TABLE bundle_rec.model_gate; TABLE bundle_rec.model_history});
}

my $learned = learned('postgres');
like($learned, qr/1\|ease\|t\|.*2\|ease\|f\|/s, 'an older version of it serves');
cmp_ok(scalar(split /\n/, $learned), '>', 30, 'and more was learned');

# A query for the tables of the extension that have rows, but for those of models.
sub all_rows
{
	my ($database) = @_;
	return sql($database, q{SELECT 'SELECT concat_ws('', '', ' || string_agg(format('(SELECT DISTINCT %L FROM bundle_rec.%I)', relname, relname), ', ') || ')'
		FROM pg_class WHERE relnamespace = 'bundle_rec'::regnamespace AND relkind = 'r' AND relname NOT IN ('stored_model', 'model_chunk')});
}

# A restored shop answers as its original does, goes on, and can be dropped.
sub is_whole
{
	my ($database, $what) = @_;
	is(answers($node, $database), $answers, "$what: answers as before");
	is(learned($database), $learned, "$what: with what was learned");
	is(sql($database, 'SELECT row_id FROM bundle_rec.rejected_row'), 'bad', "$what: what was set aside is known");
	is(sql($database, q{SELECT s.schedule, cron, tasks, parameters, created_by, cron_name FROM bundle_rec.schedules s}),
		'1|0 3 * * *|{refresh}|{"refresh": {"max_texts": 7}}|keeper|bundle_rec schedule 1 of postgres', "$what: what is scheduled is known");
	is(sql($database, q{SELECT message FROM bundle_rec.alert}), 'a reason', "$what: and what failed");
	is(sql($database, q{SELECT nextval('bundle_rec.schedule_number') > 1 AND nextval('bundle_rec.alert_number') > 1}), 't', "$what: both are numbered on");
	shop_goes_on($node, $database, $what);
	sql($database, q{SET ROLE keeper; SELECT bundle_rec.create_catalog('second', 'shop.product', 'sku')});
	is(sql($database, q{SELECT number FROM bundle_rec.catalog_coverage WHERE catalog = 'second'}), '4', "$what: catalogs are numbered on");
	is(sql($database, q{SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'bundle_rec%'}), '12', "$what: beside those there are");
	sql($database, q{SET ROLE keeper; SELECT bundle_rec.serve_version('shop', 2)});
	is(sql($database, q{SET ROLE keeper; SELECT version FROM bundle_rec.fit('shop', 'ease')}), 6, "$what: versions are numbered on");
	sql($database, q{SET ROLE keeper; SELECT bundle_rec.drop_catalog('shop'), bundle_rec.drop_catalog('second'), bundle_rec.drop_policy('banner'), bundle_rec.drop_policy('indexed')});
	is(sql($database, all_rows($database)), '', "$what: without catalogs there are no rows");
	is(sql($database, q{SELECT count(*) FROM pg_class WHERE relname ~ '_[1-4]($|_)' AND relnamespace = 'bundle_rec'::regnamespace}), '0',
		"$what: and can be dropped");
	is(sql($database, q{SELECT count(*) FROM pg_trigger WHERE tgrelid::regclass::text LIKE 'shop.%' AND NOT tgisinternal}), '0',
		"$what: without a trace in the shop");
	return;
}

# ---- whole dumps ----

empty_database('plain');
$node->command_ok([ 'pg_dump', '-f', "$folder/plain.sql", $source ], 'a plain dump');
$node->command_ok(load_file('plain', "$folder/plain.sql"), 'is restored without an error');
is_whole('plain', 'plain');

my $custom = empty_database('custom');
$node->safe_psql('postgres', 'CREATE ROLE backup LOGIN IN ROLE pg_read_all_data');
$node->command_ok([ 'pg_dump', '-U', 'backup', '-Fc', '-f', "$folder/custom", $source ], 'a custom dump, by a role that may only read');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $custom, "$folder/custom" ], 'is restored without an error');
is(answers($node, 'custom'), $answers, 'custom: answers as before');

my $parallel = empty_database('parallel');
$node->command_ok([ 'pg_dump', '-Fd', '-j2', '-f', "$folder/parallel", $source ], 'a parallel dump');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-j2', '-d', $parallel, "$folder/parallel" ], 'is restored in parallel');
is_whole('parallel', 'parallel');

# ---- piece by piece ----

# Triggers come last, in post-data, so sections need no care.
my $sections = empty_database('sections');
$node->command_ok([ 'pg_restore', '--exit-on-error', "--section=$_", '-d', $sections, "$folder/custom" ], "section $_ is restored")
  for qw(pre-data data post-data);
is(answers($node, 'sections'), $answers, 'sections: answers as before');
shop_goes_on($node, 'sections', 'sections');

# A schema has the triggers, which must not see the rows of the data arrive.
my $pieces = empty_database('pieces');
$node->command_ok([ 'pg_dump', '--schema-only', '-f', "$folder/schema.sql", $source ], 'a dump of the schema');
$node->command_ok([ 'pg_dump', '--data-only', '--disable-triggers', '-f', "$folder/data.sql", $source ], 'a dump of the data');
$node->command_ok(load_file('pieces', "$folder/schema.sql"), 'the schema is restored');
$node->command_ok(load_file('pieces', "$folder/data.sql"), 'and then the data');
is_whole('pieces', 'schema, then data');

# Whoever forgets that counts every purchase twice, until sync compares.
empty_database('enabled');
$node->command_ok([ 'pg_dump', '--data-only', '-f', "$folder/enabled.sql", $source ], 'a dump of the data that leaves triggers on');
$node->command_ok(load_file('enabled', "$folder/schema.sql"), 'the schema is restored');
$node->command_ok(load_file('enabled', "$folder/enabled.sql"), 'and the data past triggers that are on');
$node->safe_psql('enabled', q{SELECT bundle_rec.sync('shop'); SELECT bundle_rec.refresh('shop')});
shop_goes_on($node, 'enabled', 'data past triggers, then sync');

# ---- over what is there ----

$node->command_ok([ 'pg_dump', '--clean', '--if-exists', '-f', "$folder/clean.sql", $source ], 'a dump that cleans');
empty_database('clean');
$node->command_ok(load_file('clean', "$folder/clean.sql"), 'is restored where nothing was');
$node->safe_psql('clean', 'DELETE FROM shop.purchase WHERE basket % 2 = 0');
$node->command_ok(load_file('clean', "$folder/clean.sql"), 'and where another state was');
is_whole('clean', 'clean');

# ---- other roles ----

# Neither owners nor rights need to be there; all is then the restoring user's.
$node->safe_psql('postgres', 'ALTER ROLE keeper RENAME TO moved; ALTER ROLE web RENAME TO moved_web');
my $foreign = empty_database('elsewhere');
$node->command_ok([ 'pg_restore', '--exit-on-error', '--no-owner', '--no-acl', '-d', $foreign, "$folder/custom" ],
	'a restore without owners, where they are unknown');
is(answers($node, 'elsewhere'), $answers, 'without owners: answers as before');
$node->safe_psql('elsewhere', q{DROP TABLE shop.product CASCADE; SELECT bundle_rec.drop_catalog('shop')});
is(sql('elsewhere', 'SELECT count(*) FROM bundle_rec.catalog_coverage'), '0', 'a superuser may drop a catalog without source or owner');
$node->safe_psql('postgres', 'ALTER ROLE moved RENAME TO keeper; ALTER ROLE moved_web RENAME TO web');

# ---- the shop alone ----

# Whoever is no superuser cannot restore the extension's tables, but his own
# shop; the catalog is then made anew, as a catalog of a dump by itself is.
my $owned = empty_database('owned');
$node->safe_psql('owned', 'ALTER DATABASE owned OWNER TO keeper');
$node->command_fails_like([ 'pg_restore', '--exit-on-error', '--no-owner', '-U', 'keeper', '-d', $owned, "$folder/custom" ],
	qr/permission denied to create extension "bundle_rec"/, 'a whole dump is not restored by whoever is no superuser');
$node->command_ok([ 'pg_dump', '-U', 'keeper', '-Fc', '-n', 'shop', '-f', "$folder/shop", $source ], 'the shop alone is dumped, by its owner');
foreach my $triggers (qw(without with))
{
	my $what = "the shop alone, $triggers its triggers";
	my $alone = empty_database("alone_$triggers");
	$node->safe_psql("alone_$triggers", "CREATE EXTENSION bundle_rec; SELECT bundle_rec.load_model('tiny', '$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls');
		GRANT CREATE ON DATABASE alone_$triggers TO keeper");
	my ($list) = run_command([ 'pg_restore', '-l', "$folder/shop" ]);
	$list = join("\n", grep { $triggers eq 'with' || !/ TRIGGER .* bundle_rec_/ } split /\n/, $list);
	append_to_file("$folder/list_$triggers", "$list\n");
	$node->command_ok([ 'pg_restore', '--exit-on-error', '-U', 'keeper', '-L', "$folder/list_$triggers", '-d', $alone, "$folder/shop" ],
		"$what: its owner restores it");
	my ($status, undef, $warnings) = $node->psql("alone_$triggers", q{SET ROLE keeper; UPDATE shop.product SET stock = 10; UPDATE shop.purchase SET sku = sku});
	is("$status $warnings" =~ s/belongs to no catalog.*/belongs to no catalog/sr =~ s/psql:\S+ //r,
		$triggers eq 'with' ? '0 WARNING:  trigger "bundle_rec_1_update" of table "product" belongs to no catalog' : '0 ', "$what: it sells");
	make_catalog($node, "alone_$triggers");
	make_rules($node, "alone_$triggers");
	is(values_of($node, "alone_$triggers", $untaught), $before, "$what: a new catalog answers as the old one before it learned");
	counts_are_right($node, "alone_$triggers", $what);
	is(sql("alone_$triggers", "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'bundle_rec%'"), '8', "$what: with its own triggers");
}

# ---- copies ----

$node->safe_psql('postgres', 'CREATE DATABASE origin TEMPLATE template0');
$node->command_ok(load_file('origin', "$folder/plain.sql"), 'a database to copy');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE origin STRATEGY file_copy; CREATE DATABASE logged TEMPLATE origin STRATEGY wal_log');
is(answers($node, 'copy'), $answers, 'a copy of a database: answers as before');
shop_goes_on($node, 'copy', 'a copy of a database');
is(answers($node, 'logged'), $answers, 'a copy by way of WAL: answers as before');
is(answers($node, 'origin'), $answers, 'the original is as it was');
is(scalar(() = glob($node->data_dir . '/pgsql_tmp_br_*_generic')), 1, 'all databases share one packed file');
$node->safe_psql('postgres', 'DROP DATABASE copy; DROP DATABASE logged');
is(answers($node, 'origin'), $answers, 'nor does it miss what was dropped');

# ---- what foreign keys would do, were there any: pg_restore -j fails over them ----

is(sql('postgres', q{SELECT string_agg(conname, ', ') FROM pg_constraint WHERE contype = 'f' AND connamespace = 'bundle_rec'::regnamespace}),
	'', 'no table of the extension has a foreign key');

# One transaction begins with the first statement, another one runs the second; returns what it met.
sub beside
{
	my ($first, $second, $wait_for) = @_;
	my $one = $node->background_psql('origin');
	my $two = $node->background_psql('origin', on_error_stop => 0);
	$one->query_safe("BEGIN; $first");
	$two->query_until(qr/begun/, "\\set VERBOSITY verbose\n\\echo begun\n$second;\n");
	ok($node->poll_query_until('origin', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'}), "waits: $second");
	$one->query_safe('COMMIT');
	$two->query('SELECT 1');
	my ($error) = $two->{stderr} =~ /ERROR:\s+(.*)/;
	$_->quit for $one, $two;
	return $error // '';
}

$node->safe_psql('origin', "SELECT bundle_rec.load_model('second', '$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls'); CREATE TABLE more (id int PRIMARY KEY, title text)");
my $create = q{SELECT bundle_rec.create_catalog('more', 'more', 'id', text => '{title}', model => 'second')};
is(beside($create, q{SELECT bundle_rec.drop_model('second')}), '2BP01: model "second" is in use', 'a model is kept for a catalog that was made meanwhile');
is(beside(q{SELECT bundle_rec.create_policy('late', 'linear_thompson', 'more')}, q{SELECT bundle_rec.drop_catalog('more')}), '',
	'a catalog goes with a policy that was made meanwhile');
is(sql('origin', q{SELECT count(*) FROM bundle_rec.policy WHERE name IN ('more', 'late')}), '0', 'none of its policies is left');
is(sql('origin', q{SELECT count(*) FROM bundle_rec.posterior WHERE policy NOT IN (SELECT policy FROM bundle_rec.policy)}), '0', 'nor what they learned');
is(beside(q{SELECT bundle_rec.drop_model('second')}, $create), '42704: the model was dropped by a concurrent transaction', 'no catalog of a model that goes');
$node->safe_psql('origin', $create =~ s/second/tiny/r);
my $drop = q{SELECT bundle_rec.drop_catalog('more')};
is(beside($drop, q{SELECT bundle_rec.create_policy('late', 'linear_thompson', 'more')}), '42704: the catalog was dropped by a concurrent transaction',
	'no policy of a catalog that goes');
$node->safe_psql('origin', $create =~ s/second/tiny/r);
is(beside($drop, $drop), '42704: the catalog was dropped by a concurrent transaction', 'a catalog is dropped once');

# ---- the extension goes ----

$node->safe_psql('origin', q{DELETE FROM shop.product WHERE sku = 'bad'});
my $rows = q{SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM (SELECT p::text FROM shop.product p UNION ALL SELECT b::text FROM shop.purchase b) t};
my $before = sql('origin', $rows);
like(error_of($node, 'origin', 'DROP EXTENSION bundle_rec'), qr/^2BP01: cannot drop extension bundle_rec because other objects depend on it/,
	'the extension is not dropped while there are catalogs');
is(answers($node, 'origin'), $answers, 'and they serve on');

# One session that has plans of the old objects meets the new ones.
my $session = $node->background_psql('origin');
my $recommend = q{SELECT count(*) FROM bundle_rec.recommend('shop', basket => '{p1}', query => 'a lamp')};
is($session->query_safe($recommend), '5', 'a session recommends');
$session->query_safe('SET client_min_messages = warning; DROP EXTENSION bundle_rec CASCADE');
is(sql('origin', q{SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal}), '0', 'with CASCADE its triggers go');
is(sql('origin', q{SELECT (SELECT count(*) FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'S', 'v') AND relnamespace <> 'shop'::regnamespace
		AND relname NOT IN ('more'))
	+ (SELECT count(*) FROM pg_proc WHERE oid >= 16384) + (SELECT count(*) FROM pg_type WHERE oid >= 16384 AND typrelid = 0 AND typelem = 0)
	+ (SELECT count(*) FROM pg_operator WHERE oid >= 16384) + (SELECT count(*) FROM pg_cast WHERE oid >= 16384)}), '0', 'and everything of it');
is(error_of($node, 'origin', 'DROP SCHEMA bundle_rec'), '', 'its schema, which PostgreSQL keeps, is empty');
is(sql('origin', $rows), $before, 'the shop has its rows');
is(sql('origin', q{UPDATE shop.product SET stock = 10; SELECT 'sold'}), 'sold', 'and sells');
$session->query_safe("CREATE EXTENSION bundle_rec; SELECT bundle_rec.load_model('tiny', '$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls')");
$session->query_safe(q{SELECT bundle_rec.create_catalog('shop', 'shop.product', item_id => 'sku', text => '{title}', price => 'price', model => 'tiny');
	SELECT bundle_rec.add_event_source('shop', 'shop.purchase', user_id => 'shopper', item_id => 'sku', basket_id => 'basket');
	SELECT bundle_rec.refresh('shop')});
is($session->query_safe($recommend), '5', 'the extension comes again, and the session goes on');
counts_are_right($node, 'origin', 'after the extension came again');
is($session->query_safe(q{SELECT count(*) FROM bundle_rec.similar_items('shop', 'p3', k => 5)}), '5', 'with embeddings of the new type');
$session->quit;
$node->safe_psql('origin', q{SELECT bundle_rec.drop_catalog('shop'); DROP EXTENSION bundle_rec});
is(sql('origin', q{SELECT count(*) FROM pg_extension WHERE extname = 'bundle_rec'}), '0', 'without catalogs it goes without CASCADE');

$node->stop;
done_testing();

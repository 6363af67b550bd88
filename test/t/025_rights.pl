# 025_rights.pl
#    Rights among several sessions: a source that passes to another owner, or is
#    dropped, while a catalog waits for it, and grants that move meanwhile.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('rights');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\n");
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# one session waits for a lock
sub wait_for_waiter
{
	return $node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'bundle_rec'});
}

sql(q{
	CREATE EXTENSION bundle_rec;
	CREATE ROLE keeper;
	CREATE ROLE heir;
	CREATE ROLE logger;
	CREATE SCHEMA shop;
	GRANT ALL ON SCHEMA shop TO PUBLIC;
	SET ROLE keeper;
	CREATE TABLE shop.product (sku int PRIMARY KEY);
	INSERT INTO shop.product SELECT generate_series(1, 10);
	GRANT SELECT ON shop.product TO logger;
	CREATE TABLE shop.other (sku int PRIMARY KEY);
});

# ---- while create_catalog waits for the table ----

my $create = q{SET ROLE keeper; SELECT bundle_rec.create_catalog('other', 'shop.other', 'sku');};
for my $change ([ 'ALTER TABLE shop.other OWNER TO heir', qr/must be owner of table other/, 'gets another owner' ],
	[ 'ALTER TABLE shop.other OWNER TO keeper; DROP TABLE shop.other', qr/table "other" was dropped by a concurrent transaction/, 'is dropped' ])
{
	my ($statement, $error, $what) = @$change;
	sql('ALTER TABLE shop.other OWNER TO keeper');
	my $holder = $node->background_psql('postgres');
	$holder->query_safe("BEGIN; $statement;");
	my $waiter = $node->background_psql('postgres', on_error_stop => 0);
	$waiter->query_until(qr/waiting/, "\\echo waiting\n$create\n\\echo done\n");
	ok(wait_for_waiter(), "a catalog waits for a table that $what");
	$holder->query_safe('COMMIT;');
	$waiter->query_until(qr/done/, '');
	like($waiter->{stderr}, $error, 'and is not made');
	$holder->quit;
	$waiter->quit;
	is(sql('SELECT count(*) FROM bundle_rec.catalog'), '0', 'nothing of it');
}

# ---- who may not have a lock does not wait for one ----

my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; LOCK TABLE shop.product IN ACCESS EXCLUSIVE MODE;');
my ($status, undef, $error) = $node->psql('postgres',
	q{SET ROLE heir; SET lock_timeout = '5s'; SELECT bundle_rec.create_catalog('shop', (SELECT oid FROM pg_class WHERE relname = 'product')::regclass, 'sku')});
like($error, qr/must be owner of table product/, 'a stranger is refused without waiting');
$holder->query_safe('COMMIT;');
$holder->quit;

# ---- grants move in one transaction ----

sql(q{SET ROLE keeper; SELECT bundle_rec.create_catalog('shop', 'shop.product', 'sku')});
my $number = sql(q{SELECT catalog FROM bundle_rec.catalog WHERE name = 'shop'});
sql("SET ROLE keeper; GRANT INSERT ON bundle_rec.decision_$number TO logger");
sql('ALTER TABLE shop.product OWNER TO heir');
my $log = q{SET ROLE logger; SELECT count(*) FROM bundle_rec.recommend('shop')};
my $refresh = $node->background_psql('postgres');
$refresh->query_safe(q{BEGIN; SET ROLE heir; SELECT bundle_rec.refresh('shop');});
is(sql($log), '5', 'a logger logs while the new owner refreshes');
my $second = $node->background_psql('postgres', on_error_stop => 0);
$second->query_until(qr/waiting/, "\\echo waiting\nSET ROLE heir; SELECT bundle_rec.refresh('shop');\n\\echo done\n");
ok(wait_for_waiter(), 'a second refresh waits');
$refresh->query_safe('COMMIT;');
$second->query_until(qr/done/, '');
is($second->{stderr}, '', 'and succeeds');
is(sql($log), '5', 'and the logger logs afterwards');
is(sql(qq{SELECT count(*) FROM pg_class, aclexplode(relacl) WHERE relname = 'decision_$number' AND grantee = 'keeper'::regrole}), '0', 'the former owner may not');
$refresh->quit;
$second->quit;

done_testing();

# 023_privacy.pl
#    Forgetting a user beside those who write about him: whatever the order of
#    commits, no name stays or comes back, and nobody waits for forget_user.
#    Masks before the library is loaded; keys and lists in a dump.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

my $node = PostgreSQL::Test::Cluster->new('privacy');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\n");
$node->start;

sub sql
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', $sql);
}

sql(q{
	CREATE EXTENSION bundle_rec;
	CREATE TABLE product (sku int PRIMARY KEY, price int);
	CREATE TABLE sale (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, basket int, sku int, shopper text, at timestamptz DEFAULT now());
	INSERT INTO product SELECT i, i FROM generate_series(1, 30) i;
	INSERT INTO sale (basket, sku, shopper) SELECT i / 3, 1 + (i * 7) % 30, 'shopper ' || (i / 3) % 40 FROM generate_series(1, 600) i;
	SELECT bundle_rec.create_catalog('shop', 'product', 'sku', price => 'price');
	SELECT bundle_rec.add_event_source('shop', 'sale', item_id => 'sku', user_id => 'shopper', basket_id => 'basket', occurred_at => 'at');
	SELECT bundle_rec.refresh('shop');
	UPDATE bundle_rec.policy SET attribution_window = '0';
	CREATE ROLE analyst LOGIN;
	GRANT SELECT ON product TO analyst;
	GRANT SELECT (decision_id) ON bundle_rec.decision_1 TO analyst;
});

# Rows of events, decisions and feedback that hold a text.
sub holding
{
	my ($text, $database) = @_;
	return sql(qq{
		SELECT count(*) FROM (
			SELECT e::text FROM bundle_rec.event e UNION ALL SELECT e::text FROM bundle_rec.event_queue e UNION ALL SELECT d::text FROM bundle_rec.decision d
			UNION ALL SELECT f::text FROM bundle_rec.feedback f UNION ALL SELECT u::text FROM bundle_rec.unfolded_feedback u UNION ALL SELECT q::text FROM bundle_rec.unattributed_event q) x (t)
		WHERE t LIKE '%$text%'}, $database);
}

# Counts that are not what a plain join over the last year gives; none is right.
my $wrong_counts = q{
	WITH b AS (SELECT DISTINCT basket, sku FROM sale WHERE at >= now() - interval '1 year'),
	plain AS (SELECT a.sku::text AS a, b.sku::text AS b, count(*) FROM b a JOIN b USING (basket) WHERE a.sku <> b.sku GROUP BY 1, 2
	          UNION ALL SELECT sku::text, NULL, count(*) FROM b GROUP BY 1),
	stored AS (SELECT a.item_id, b.item_id, together FROM bundle_rec.item_pair p
	           JOIN bundle_rec.item a USING (catalog, item)
	           JOIN bundle_rec.item b ON b.catalog = p.catalog AND b.item = p.other
	           UNION ALL SELECT item_id, NULL, baskets FROM bundle_rec.item_count JOIN bundle_rec.item USING (catalog, item))
	SELECT count(*) FROM ((TABLE plain EXCEPT TABLE stored) UNION ALL (TABLE stored EXCEPT TABLE plain)) x};

sub waits
{
	my ($pid) = @_;
	my $start = time;
	while (time - $start < 10)
	{
		return 1 if sql("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $pid AND state = 'active'") eq 'Lock';
		usleep(20_000);
	}
	return 0;
}

# ---- a transaction that began before ----

my $writer = $node->background_psql('postgres');
my $forgetter = $node->background_psql('postgres');
my $forgetter_pid = $forgetter->query('SELECT pg_backend_pid()');
my $early = sql("SELECT decision_id FROM bundle_rec.recommend('shop', user_id => 'shopper 7') LIMIT 1");
$writer->query_safe(q{BEGIN;
	INSERT INTO sale (basket, sku, shopper) VALUES (1000, 1, 'shopper 7'), (1000, 2, 'shopper 7');
	SELECT count(*) FROM bundle_rec.recommend('shop', user_id => 'shopper 7');});
$writer->query_safe("SELECT bundle_rec.feedback($early, 1, 'purchase', 1, 'order 70');");
$forgetter->query_until(qr/started/, "\\echo started\nSELECT bundle_rec.forget_user('shop', 'shopper 7');\n\\echo ended\n");
ok(waits($forgetter_pid), 'forget_user waits for a transaction that wrote before it');
sql(q{SET lock_timeout = '2s';
	INSERT INTO sale (basket, sku, shopper) VALUES (1001, 3, 'shopper 7'), (1001, 4, 'shopper 8');
	SELECT bundle_rec.feedback(decision_id, 1) FROM bundle_rec.recommend('shop', user_id => 'shopper 8', bundles => 1);
	SELECT count(*) FROM bundle_rec.recommend('shop', user_id => 'shopper 7');});
pass('nobody waits for forget_user');
is(sql("SELECT user_id FROM bundle_rec.event_queue WHERE basket_id = '1001' ORDER BY item_id"), "\nshopper 8",
	'who writes beside it leaves the name out already');
is(sql("SELECT count(*) FROM bundle_rec.decision WHERE user_id = 'shopper 7'"), '1', 'so does who decides');
my ($status, undef, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT bundle_rec.feedback($early, 1, 'purchase', 1, 'order 71')");
like($error, qr/40001: +the user of decision $early is just being forgotten/, 'feedback on his decisions is put off');
$writer->query_safe('COMMIT;');
$forgetter->query_until(qr/ended/, "\n");
is(holding('shopper 7"') + holding('shopper 7,') + holding('order 7'), 0, 'and the name is gone when both have ended');
is(sql("SELECT bundle_rec.feedback($early, 1, 'purchase', 1, 'order 70'), bundle_rec.feedback($early, 1, 'purchase', 1, 'order 71')"), 'f|t',
	'feedback that was recorded is known, what was put off is new');
is(holding('order 7'), 0, 'without its id');
sql("SELECT bundle_rec.refresh('shop')");
is(sql($wrong_counts), '0', 'all that was bought is counted');

# ---- an old snapshot ----

my $others = sql("SELECT decision_id FROM bundle_rec.recommend('shop', user_id => 'shopper 9') LIMIT 1");
$writer->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM sale;");
sql("SELECT bundle_rec.forget_user('shop', 'shopper 9')");
$writer->query_safe(qq{
	INSERT INTO sale (basket, sku, shopper) VALUES (1002, 5, 'shopper 9');
	SELECT count(*) FROM bundle_rec.recommend('shop', user_id => 'shopper 9');
	SELECT bundle_rec.feedback($others, 1, 'purchase', 1, 'order 90');
	COMMIT;});
is(holding('shopper 9"') + holding('shopper 9,') + holding('order 90'), 0, 'who sees the past does not bring it back');

# ---- fold and refresh ----

$writer->query_safe("BEGIN; SELECT bundle_rec.fold('shop');");
$forgetter->query_until(qr/started/, "\\echo started\nSELECT bundle_rec.forget_user('shop', 'shopper 8');\n\\echo ended\n");
ok(waits($forgetter_pid), 'forget_user waits for a fold');
$writer->query_safe('COMMIT;');
$forgetter->query_until(qr/ended/, "\n");
$writer->query_safe("BEGIN; SELECT bundle_rec.refresh('shop');");
$forgetter->query_until(qr/started/, "\\echo started\nSELECT bundle_rec.forget_user('shop', 'shopper 10');\n\\echo ended\n");
ok(waits($forgetter_pid), 'and for a refresh');
$writer->query_safe('COMMIT;');
$forgetter->query_until(qr/ended/, "\n");
is(holding('shopper 8"') + holding('shopper 8,') + holding('shopper 10'), 0, 'and then takes the names out');
$writer->quit;
$forgetter->quit;

# ---- many writers, and a third of what they write or change is too old to keep ----

sql("SELECT bundle_rec.set_retention('shop', '1 year', '2 years')");
my $script = $node->basedir . '/visit.sql';
append_to_file($script, q{\set shopper random(20, 39)
\set basket random(2000, 2100)
\set sku random(1, 30)
\set age random(0, 5) * 100
BEGIN;
SELECT decision_id FROM bundle_rec.recommend('shop', user_id => 'shopper ' || :shopper, bundles => 1) \gset
SELECT bundle_rec.feedback(:decision_id, 1, 'purchase', 1, 'bill of ' || :shopper);
INSERT INTO sale (basket, sku, shopper, at) VALUES (:basket, :sku, 'shopper ' || :shopper, now() - :age * interval '1 day');
UPDATE sale SET at = now() - :age * interval '1 day' WHERE id = (SELECT max(id) FROM sale WHERE shopper = 'shopper ' || :shopper AND basket < 2000 AND at < now());
DELETE FROM sale WHERE id = (SELECT id FROM sale WHERE shopper = 'shopper ' || :shopper ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED);
END;
});
my ($out, $err);
my $visits = IPC::Run::start([ 'pgbench', '-n', '-T', '8', '-c', '4', '--max-tries=100', '-h', $node->host, '-p', $node->port, '-f', $script, 'postgres' ],
	'>', \$out, '2>', \$err);
foreach my $shopper (20 .. 29)
{
	usleep(300_000);
	sql("SELECT bundle_rec.forget_user('shop', 'shopper $shopper')");
	sql("SELECT bundle_rec." . ($shopper % 2 ? "refresh('shop')" : "fold('shop')"));
}
ok($visits->finish, 'visits beside forgetting end without an error') or diag($err);
note($out =~ /(number of transactions actually processed: \d+)/);
is(holding('shopper 2[0-9]') + sql(q{
	SELECT count(*) FROM (SELECT user_id FROM bundle_rec.event UNION ALL SELECT user_id FROM bundle_rec.event_queue UNION ALL SELECT user_id FROM bundle_rec.decision) x
	WHERE user_id ~ '^shopper 2\d$'}), 0, 'none of the forgotten is left');
is(sql(q{SELECT count(*) FROM bundle_rec.feedback WHERE event_id ~ 'bill of 2\d'}), '0', 'nor one of their bills');
cmp_ok(sql(q{SELECT count(*) FROM bundle_rec.feedback WHERE event_id ~ 'bill of 3\d'}), '>', 0, 'those of others are');
# the first takes back what was written while another did so
sql("SELECT bundle_rec.refresh('shop'); SELECT bundle_rec.refresh('shop'), bundle_rec.fold('shop')");
is(sql($wrong_counts), '0', 'counts are those of the shop');
is(sql('SELECT count(*), sum(weight), min(occurred_at) > now() - interval \'1 year\' FROM bundle_rec.event'),
	sql('SELECT count(*), count(*), true FROM sale WHERE at >= now() - interval \'1 year\''), 'every event of the last year once, and no other');
cmp_ok(sql('SELECT count(*) FROM sale WHERE at < now() - interval \'1 year\''), '>', 0, 'there are older ones');
is(sql('SELECT decisions, events FROM bundle_rec.policy_state'),
	sql('SELECT (SELECT count(*) FROM bundle_rec.decision), (SELECT count(*) FROM bundle_rec.feedback)'), 'every decision and every reward was learned from once');

# ---- masks ----

my ($masked_out, $masked_err);
(undef, $masked_out, $masked_err) = $node->psql('postgres',
	"SET bundle_rec.mask_users = off; SELECT count(*), bool_and(user_id ~ '^user_[0-9a-f]{16}\$') FROM bundle_rec.decision_log WHERE user_id IS NOT NULL",
	extra_params => [ '-U', 'analyst' ]);
like($masked_out, qr/^[1-9]\d*\|t$/, 'a reader cannot unmask users, not even before the library is loaded');

# ---- dump and restore ----

my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'the shop is dumped');
sql('CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'and restored');
foreach my $what ('SELECT * FROM bundle_rec.catalog_secret', 'SELECT * FROM bundle_rec.forgotten_user ORDER BY 1, 2', 'SELECT * FROM bundle_rec.privacy_state')
{
	is(sql($what, 'restored'), sql($what), "with the same: $what");
}
cmp_ok(sql('SELECT count(*) FROM bundle_rec.forgotten_user', 'restored'), '>', 10, 'which is a list');
sql("INSERT INTO sale (basket, sku, shopper) VALUES (3000, 1, 'shopper 7'), (3000, 2, 'shopper 30')", 'restored');
is(sql("SELECT user_id FROM bundle_rec.event_queue WHERE basket_id = '3000' ORDER BY item_id", 'restored'), "\nshopper 30", 'a restored catalog has not forgotten whom it forgot');
my $masks = "SELECT DISTINCT user_id FROM bundle_rec.decision_log ORDER BY 1";
is($node->safe_psql('restored', $masks, extra_params => [ '-U', 'analyst' ]), $node->safe_psql('postgres', $masks, extra_params => [ '-U', 'analyst' ]),
	'masks are the same after the restore');

$node->stop;
done_testing();

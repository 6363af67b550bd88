# 042_subscriber.pl
#    Logical replication of the shop's own tables to a server with a catalog of
#    its own: triggers do not see what replication writes; sync does.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Shop;

my @settings = ('postgresql.conf', "fsync = off\nautovacuum = off\nmax_connections = 30\nmax_logical_replication_workers = 8\n");
my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->append_conf(@settings);
$publisher->start;
make_shop($publisher, 'postgres');
$publisher->safe_psql('postgres', 'CREATE PUBLICATION shop FOR TABLES IN SCHEMA shop');

my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init;
$subscriber->append_conf(@settings);
$subscriber->start;

# The shop's tables alone, empty; the triggers of the publisher's catalog come along and are replaced.
my $dump = PostgreSQL::Test::Utils::tempdir() . '/shop.sql';
$subscriber->safe_psql('postgres', "CREATE EXTENSION bundle_rec; SELECT bundle_rec.load_model('tiny', '$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls');
	CREATE ROLE keeper LOGIN; CREATE ROLE web LOGIN");
$publisher->command_ok([ 'pg_dump', '--schema-only', '-n', 'shop', '-f', $dump, $publisher->connstr('postgres') ], 'the shop\'s tables are dumped');
$subscriber->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $subscriber->connstr('postgres') ], 'and made on the subscriber');
make_catalog($subscriber, 'postgres');
$subscriber->safe_psql('postgres', sprintf("CREATE SUBSCRIPTION shop CONNECTION '%s' PUBLICATION shop", $publisher->connstr('postgres') =~ s/'/''/gr));
$subscriber->wait_for_subscription_sync($publisher, 'shop');

# What a catalog knows, as numbers that both servers can be asked for.
my $knowledge = q{SELECT items, active, embedded, pending, events, baskets, pairs FROM bundle_rec.catalog_coverage WHERE catalog = 'shop'};
my $nothing = '0|0|0|0|0|0|0';

sub on
{
	my ($node, $sql) = @_;
	return values_of($node, 'postgres', $sql);
}

# Purchases, prices, titles, and what is gone, on the publisher.
sub trade
{
	my ($n) = @_;
	$publisher->safe_psql('postgres', qq{SET ROLE keeper;
		INSERT INTO shop.product VALUES ('new $n', 'a new yellow stove $n', 'kind 1', 20, 3, 5), ('idle $n', 'never sold', 'kind 1', 20, 3, 5);
		UPDATE shop.product SET stock = stock + $n, title = title || ' $n' WHERE sku IN ('p1', 'p2');
		DELETE FROM shop.product WHERE sku = 'idle ' || $n - 1;
		INSERT INTO shop.purchase (basket, shopper, sku) VALUES (-$n, 'u1', 'new $n'), (-$n, 'u1', 'p5');
		DELETE FROM shop.purchase WHERE basket = $n;
		SELECT bundle_rec.refresh('shop')});
	$publisher->wait_for_catchup('shop');
	return;
}

# ---- what triggers see of replication ----

is(on($subscriber, 'SELECT count(*) FROM shop.product'), '120', 'the first copy arrives');
is(on($subscriber, $knowledge), $nothing, 'and triggers did not see it');
trade(1);
is(on($subscriber, q{SELECT count(*) FROM shop.purchase WHERE basket = -1}), '2', 'a purchase arrives');
is(on($subscriber, $knowledge), $nothing, 'nor did they see that');
$subscriber->safe_psql('postgres', q{DO $$ DECLARE t record; BEGIN
	FOR t IN SELECT tgrelid::regclass AS source, tgname FROM pg_trigger WHERE tgname LIKE 'bundle_rec%' LOOP
		EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', t.source, t.tgname);
	END LOOP; END $$});
trade(2);
is(on($subscriber, q{SELECT count(*) FROM shop.purchase WHERE basket = -2}), '2', 'another arrives');
is(on($subscriber, $knowledge), $nothing, 'not even triggers that are enabled always: they are of statements');

# ---- what the subscriber does itself ----

is(on($subscriber, q{INSERT INTO shop.product VALUES ('local', 'a local lamp'); SELECT items FROM bundle_rec.catalog_coverage}), '1',
	'what the subscriber writes itself they see');
$subscriber->safe_psql('postgres', q{DELETE FROM shop.product WHERE sku = 'local'});

# ---- following ----

# What both answer of items and purchases; what was learned is each server's own.
my $evidence = q{SELECT * FROM bundle_rec.bought_together('shop', '{p1}', k => 5); SELECT item_id, similarity FROM bundle_rec.similar_items('shop', 'p3', k => 5)};

sub follows
{
	my ($what) = @_;
	is(on($subscriber, $knowledge), on($publisher, $knowledge), "$what: the subscriber knows what the publisher does");
	is(on($subscriber, $evidence), on($publisher, $evidence), "$what: and answers as it does");
	counts_are_right($subscriber, 'postgres', $what);
	return;
}

# A catalog that is made anew takes every row there is.
$subscriber->safe_psql('postgres', q{SELECT bundle_rec.drop_catalog('shop')});
make_catalog($subscriber, 'postgres');
follows('made anew');

# A catalog that is compared takes what differs.
trade(3);
$subscriber->safe_psql('postgres', q{SELECT bundle_rec.sync('shop'); SELECT bundle_rec.refresh('shop')});
follows('synchronised');
$publisher->safe_psql('postgres', q{TRUNCATE shop.purchase; SELECT bundle_rec.refresh('shop')});
$publisher->wait_for_catchup('shop');
$subscriber->safe_psql('postgres', q{SELECT bundle_rec.sync('shop'); SELECT bundle_rec.refresh('shop')});
follows('after a TRUNCATE');

# ---- decisions are the subscriber's own ----

my $decision = on($subscriber, q{SELECT decision_id FROM bundle_rec.recommend('shop', basket => '{p1}') LIMIT 1});
is(on($subscriber, "SELECT bundle_rec.feedback($decision, 1)"), 't', 'the subscriber decides and hears feedback');
is(on($publisher, q{SELECT count(*) FROM bundle_rec.decision}), '20', 'of which the publisher knows nothing');

# ---- a publication of everything ----

# It holds the extension's tables too: what they have no key for could then be neither updated nor deleted.
$publisher->safe_psql('postgres', 'CREATE PUBLICATION everything FOR ALL TABLES');
shop_goes_on($publisher, 'postgres', 'all tables published');
is(on($publisher, q{SELECT bundle_rec.drop_catalog('shop'); SELECT bundle_rec.drop_model('tiny'); SELECT 'dropped'}), 'dropped', 'catalogs and models are dropped as well');

$_->stop for $subscriber, $publisher;
done_testing();

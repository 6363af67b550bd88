# 044_prepared.pl
#    Two-phase commit: what the shop and the extension write in prepared
#    transactions, which outlive a crash of the server.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Shop;

my $node = PostgreSQL::Test::Cluster->new('prepared');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nmax_connections = 30\nmax_prepared_transactions = 20\n");
$node->start;
make_shop($node, 'postgres');

sub sql
{
	my ($sql) = @_;
	return values_of($node, 'postgres', $sql);
}

# Runs statements and prepares their transaction under a name; returns the rows they gave.
sub prepare
{
	my ($name, $statements) = @_;
	return sql("BEGIN; $statements; PREPARE TRANSACTION '$name'");
}

sub crash
{
	$node->stop('immediate');
	$node->start;
	return;
}

# ---- what the shop writes ----

my $before = sql('SELECT count(*) FROM bundle_rec.event_1');
prepare('sale', q{SET LOCAL ROLE keeper; INSERT INTO shop.purchase (basket, shopper, sku) VALUES (-10, 'u1', 'p1'), (-10, 'u1', 'p100');
	UPDATE shop.product SET stock = 3, title = 'a prepared title' WHERE sku = 'p1'; DELETE FROM shop.purchase WHERE basket = 2});
prepare('undone', q{INSERT INTO shop.purchase (basket, shopper, sku) VALUES (-11, 'u1', 'p2'), (-11, 'u1', 'p99');
	UPDATE shop.product SET stock = 3, title = 'an undone title' WHERE sku = 'p2'});
crash();
is(sql('SELECT count(*) FROM bundle_rec.event_1'), $before, 'what is prepared is not seen yet');
sql(q{SET lock_timeout = '2s'; UPDATE shop.product SET stock = 8, title = 'a free title' WHERE sku = 'p3';
	INSERT INTO shop.purchase (basket, shopper, sku) VALUES (-12, 'u1', 'p1'), (-12, 'u1', 'p2'); SELECT bundle_rec.refresh('shop')});
is(sql(q{SELECT pending FROM bundle_rec.catalog_coverage}), '0', 'nor does the shop or refresh wait for it');
counts_are_right($node, 'postgres', 'beside prepared writes');
is(sql(q{SELECT count(*) FROM bundle_rec.recommend('shop', basket => '{p1}', seed => 1, log => false)}), '5', 'recommend does not either');
sql(q{COMMIT PREPARED 'sale'});
sql(q{ROLLBACK PREPARED 'undone'});
is(sql(q{SELECT pending, events FROM bundle_rec.catalog_coverage}), sprintf('1|%d', 1200 + 2 + 2 - 3), 'prepared writes that are committed are there');
sql(q{SELECT bundle_rec.refresh('shop')});
counts_are_right($node, 'postgres', 'prepared writes');
is(sql(q{SELECT string_agg(stock::text, ' ' ORDER BY item_id) FROM bundle_rec.item_state JOIN bundle_rec.item USING (catalog, item) WHERE item_id IN ('p1', 'p2', 'p3')}),
	'3 10 8', 'with the stock of those that were committed alone');
is(sql(q{SELECT count(*) FROM shop.product JOIN bundle_rec.item ON item_id = sku
		WHERE (embedding OPERATOR(bundle_rec.<=>) bundle_rec.embed(title)) > 1e-6 OR embedding IS NULL}), '0', 'and the text');

# ---- decisions and feedback ----

my $decision = prepare('decision', q{SET LOCAL ROLE web; SELECT decision_id FROM bundle_rec.recommend('shop', basket => '{p4}') LIMIT 1});
prepare('forgotten', q{SELECT count(*) FROM bundle_rec.recommend('shop', basket => '{p5}')});
crash();
like(error_of($node, 'postgres', "SELECT bundle_rec.feedback($decision, 1)"), qr/^42704: decision $decision does not exist/,
	'a decision that is prepared is not known');
cmp_ok(sql(q{SELECT decision_id FROM bundle_rec.recommend('shop', basket => '{p6}') LIMIT 1}), '>', $decision, 'its number is taken');
sql(q{COMMIT PREPARED 'decision'});
sql(q{ROLLBACK PREPARED 'forgotten'});
is(sql("SELECT count(*) FROM bundle_rec.explain_decision($decision)"), '5', 'committed, it is explained');
is(prepare('click', "SET LOCAL ROLE web; SELECT bundle_rec.feedback($decision, 1, 'click', 1, 'once')"), 't', 'feedback is prepared');
like(error_of($node, 'postgres', "SET lock_timeout = '200ms'; SELECT bundle_rec.feedback($decision, 1, 'click', 1, 'once')"), qr/^55P03: /,
	'the same event waits to know whether it is new');
is(sql("SET lock_timeout = '2s'; SELECT bundle_rec.feedback($decision, 2, 'click', 1, 'twice')"), 't', 'another one does not');
sql(q{COMMIT PREPARED 'click'});
is(sql("SELECT bundle_rec.feedback($decision, 1, 'click', 1, 'once')"), 'f', 'committed, it is not new');

# ---- learning and refreshing ----

my $learned = q{SELECT version, decisions, events, unfolded_decisions, unfolded_feedback FROM bundle_rec.policy_state WHERE policy = 'at once'};
is(sql($learned), '1|20|20|2|2', 'two decisions and two events wait');
is(prepare('fold', q{SET LOCAL ROLE keeper; SELECT bundle_rec.fold('at once')}), '2', 'a fold is prepared');
crash();
is(sql($learned), '1|20|20|2|2', 'and not counted yet');
is(sql(q{SET lock_timeout = '2s'; SELECT count(*) FROM bundle_rec.recommend('shop', basket => '{p6}')}), '5', 'the shop decides on');
like(error_of($node, 'postgres', q{SET lock_timeout = '200ms'; SELECT bundle_rec.fold('at once')}), qr/^55P03: /, 'a second fold waits');
sql(q{ROLLBACK PREPARED 'fold'});
is(prepare('fold', q{SELECT bundle_rec.fold('at once')}), '2', 'rolled back, the next makes the same version');
sql(q{COMMIT PREPARED 'fold'});
is(sql($learned), '2|23|22|0|0', 'committed, everything is counted once');

sql(q{INSERT INTO shop.product VALUES ('late', 'a late rope', 'kind 2', 9, 3, 4); INSERT INTO shop.purchase (basket, shopper, sku) VALUES (-20, 'u3', 'late'), (-20, 'u3', 'p8')});
prepare('refresh', q{SET LOCAL ROLE keeper; SELECT bundle_rec.refresh('shop')});
crash();
is(sql('SELECT pending FROM bundle_rec.catalog_coverage'), '1', 'a refresh that is prepared has done nothing yet');
sql(q{SET lock_timeout = '2s'; INSERT INTO shop.purchase (basket, shopper, sku) VALUES (-21, 'u3', 'p9'), (-21, 'u3', 'p8'); UPDATE shop.product SET stock = 2 WHERE sku = 'late'});
is(sql(q{SET lock_timeout = '2s'; SELECT count(*) FROM bundle_rec.recommend('shop', basket => '{p6}')}), '5', 'and stops nobody');
like(error_of($node, 'postgres', q{SET lock_timeout = '200ms'; SELECT bundle_rec.refresh('shop')}), qr/^55P03: /, 'but another refresh');
sql(q{COMMIT PREPARED 'refresh'});
is(sql('SELECT pending FROM bundle_rec.catalog_coverage'), '0', 'committed, it has embedded');
is(sql(q{SELECT item_id FROM bundle_rec.bought_together('shop', '{late}')}), 'p8', 'and counted');
sql(q{SELECT bundle_rec.refresh('shop')});
counts_are_right($node, 'postgres', 'after a prepared refresh');

# ---- catalogs and models ----

sub packed_files
{
	return scalar(() = glob($node->data_dir . '/pgsql_tmp_br_*_generic'));
}

my $models = "$ENV{BR_GOLDEN_DIR}/models";
sql('CREATE TABLE book (id int PRIMARY KEY, title text); GRANT ALL ON book TO keeper');
sql(q{INSERT INTO book VALUES (1, 'bread'), (2, 'rice')});
prepare('model', "SELECT bundle_rec.load_model('dense', '$models/tiny-bert-cased-max-dense'); SELECT count(bundle_rec.embed('x', 'dense'))");
crash();
like(error_of($node, 'postgres', q{SELECT bundle_rec.embed('x', 'dense')}), qr/^42704: model "dense" does not exist/, 'a model that is prepared is not known');
sql(q{COMMIT PREPARED 'model'});
is(sql(q{SELECT bundle_rec.dims(bundle_rec.embed('x', 'dense')) > 0}), 't', 'committed, it embeds');
is(packed_files(), 2, 'from a file of its own');
prepare('create', q{SELECT bundle_rec.create_catalog('books', 'book', 'id', text => '{title}', model => 'dense'); SELECT bundle_rec.refresh('books')});
like(error_of($node, 'postgres', q{SELECT bundle_rec.refresh('books')}), qr/^42704: there is no catalog "books"/, 'a catalog that is prepared is not known');
sql(q{COMMIT PREPARED 'create'});
is(sql(q{SELECT items, embedded FROM bundle_rec.catalog_coverage WHERE catalog = 'books'}), '2|2', 'committed, it is there');
is(sql(q{INSERT INTO book VALUES (3, 'milk'); SELECT pending FROM bundle_rec.catalog_coverage WHERE catalog = 'books'}), '1', 'and follows');
prepare('drop', q{SELECT bundle_rec.drop_catalog('books'); SELECT bundle_rec.drop_model('dense')});
crash();
sql(q{COMMIT PREPARED 'drop'});
is(sql(q{INSERT INTO book VALUES (4, 'salt'); SELECT count(*) FROM bundle_rec.model}), '1', 'a prepared drop leaves neither catalog nor model nor trigger');
is(packed_files(), 1, 'nor a file');
is(sql('SELECT count(*) FROM pg_prepared_xacts'), '0', 'nothing is left prepared');

$node->stop;
done_testing();

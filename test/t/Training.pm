# Training.pm
#    What the tests of training share: a shop whose baskets follow a rule that no
#    text tells, and how often a model finds what goes with an item.

package Training;

use strict;
use warnings;

use Exporter 'import';
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(make_goods partners_found train_job job_ends wait_for_step hash_of_model validations_of);

# 40 goods in pairs whose titles have no word in common, baskets (600) of one pair each, one an hour.
sub make_goods
{
	my ($node, $baskets) = @_;
	$baskets //= 600;
	$node->safe_psql('postgres', <<SQL);
CREATE ROLE keeper LOGIN;
CREATE EXTENSION bundle_rec;
SELECT bundle_rec.load_model('tiny', '$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls');
CREATE SCHEMA goods AUTHORIZATION keeper;
SET ROLE keeper;
CREATE TABLE goods.article (sku text PRIMARY KEY, title text);
CREATE TABLE goods.sale (basket int, sku text, sold_at timestamptz);
INSERT INTO goods.article SELECT kind || i, CASE kind WHEN 'a' THEN w[1 + i % 5] || ' ' || w[6 + i / 5] ELSE w[10 + i % 5] || ' ' || w[15 + i / 5] END
FROM generate_series(0, 19) i, (VALUES ('a'), ('b')) k (kind),
	(VALUES ('{red,green,blue,black,white,house,book,water,music,old,young,small,large,new,city,river,school,family}'::text[])) v (w);
INSERT INTO goods.sale SELECT b, kind || (b * 7) % 20, timestamptz '2025-01-01' + b * interval '1 hour'
FROM generate_series(1, $baskets) b, (VALUES ('a'), ('b')) k (kind);
SELECT bundle_rec.create_catalog('goods', 'goods.article', 'sku', text => '{title}', model => 'tiny');
SELECT bundle_rec.add_event_source('goods', 'goods.sale', item_id => 'sku', basket_id => 'basket', occurred_at => 'sold_at');
SELECT bundle_rec.refresh('goods');
SQL
	return;
}

# Of how many of the 20 first halves the nearest other title is the second half.
sub partners_found
{
	my ($node, $model) = @_;
	return $node->safe_psql('postgres', qq{
		WITH e AS MATERIALIZED (SELECT sku, bundle_rec.embed(title, '$model') AS v FROM goods.article)
		SELECT count(*) FROM e a, LATERAL (SELECT sku FROM e b WHERE b.sku <> a.sku ORDER BY a.v OPERATOR(bundle_rec.<=>) b.v LIMIT 1) n
		WHERE a.sku LIKE 'a%' AND n.sku = 'b' || substr(a.sku, 2)});
}

sub train_job
{
	my ($node, $arguments) = @_;
	return $node->safe_psql('postgres', "SET ROLE keeper; SELECT bundle_rec.train('goods', $arguments)") =~ s/^\s+//r;
}

# Waits until a job has ended, and says whether that is as it should be.
sub job_ends
{
	my ($node, $job, $state, $what) = @_;
	$node->poll_query_until('postgres', "SELECT state NOT IN ('queued', 'running') FROM bundle_rec.job WHERE job = $job");
	is($node->safe_psql('postgres', "SELECT state FROM bundle_rec.job WHERE job = $job"), $state, $what)
	  || diag($node->safe_psql('postgres', "SELECT * FROM bundle_rec.job WHERE job = $job"));
	return;
}

sub wait_for_step
{
	my ($node, $job, $step) = @_;
	return $node->poll_query_until('postgres', "SELECT done >= $step FROM bundle_rec.job WHERE job = $job");
}

# SHA-256 of what a job has stored.
sub hash_of_model
{
	my ($node, $job) = @_;
	return $node->safe_psql('postgres', "SELECT encode(m.hash, 'hex') FROM bundle_rec.stored_model m JOIN bundle_rec.job j ON j.model = m.name WHERE j.job = $job");
}

# What validation said at which steps, which does not depend on the time that they took.
sub validations_of
{
	my ($node, $job) = @_;
	return $node->safe_psql('postgres', "SELECT string_agg(concat_ws(' ', seed, step, validation), ', ' ORDER BY seed, step) FROM bundle_rec.job_metric WHERE job = $job AND validation IS NOT NULL");
}

1;

# Ann.pm
#    What the tests of the access method under load share: a table of vectors
#    that clients change while it is vacuumed, and whether its index is right.

package Ann;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(make_vectors make_source start_load stop_load index_is_right same_rows);

my @scripts = (
	insert => q{INSERT INTO vectors (embedding) SELECT near(c) FROM generate_series(1, 20) c;},
	delete => q{\set low random(1, 5000)
DELETE FROM vectors WHERE id >= :low + (SELECT min(id) FROM vectors) AND id < :low + 25 + (SELECT min(id) FROM vectors);},
	update => q{\set low random(1, 5000)
UPDATE vectors SET embedding = near(id) WHERE id >= :low + (SELECT min(id) FROM vectors) AND id < :low + 5 + (SELECT min(id) FROM vectors);},
	search => q{\set c random(1, 60)
SELECT count(*) FROM (SELECT id FROM vectors ORDER BY embedding <=> (SELECT near(:c)) LIMIT 20) s;});

# n rows of 32 dimensions around 30 centres, and the index ann
sub make_vectors
{
	my ($node, $n, $persistence) = @_;
	$persistence //= '';
	$node->safe_psql('postgres', <<"SQL");
ALTER DATABASE postgres SET search_path = bundle_rec, public;
CREATE EXTENSION IF NOT EXISTS bundle_rec;
CREATE TABLE public.centre AS SELECT c, array_agg(random() - .5) AS at FROM generate_series(0, 29) c, generate_series(1, 32) j GROUP BY c;
CREATE FUNCTION public.near(n bigint) RETURNS bundle_rec.embedding LANGUAGE sql VOLATILE AS
	'SELECT (SELECT array_agg((a + .4 * (random() - .5))::real) FROM unnest(at) a)::bundle_rec.embedding FROM public.centre WHERE c = n % 30';
CREATE $persistence TABLE public.vectors (id bigserial PRIMARY KEY, embedding bundle_rec.embedding(32));
INSERT INTO public.vectors (embedding) SELECT public.near(i) FROM generate_series(1, $n) i;
CREATE INDEX ann ON public.vectors USING bundle_ann (embedding);
SQL
	return;
}

# n rows of 24 dimensions in 20 groups, the same each time; the first 6,000 of them as table t, and its index i
sub make_source
{
	my ($node, $n) = @_;
	$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION bundle_rec;
SET search_path = public, bundle_rec;
SELECT setseed(.2);
CREATE TABLE source AS SELECT i AS id, (SELECT array_agg((random() - .5 + sin(i % 20 * j))::real) FROM generate_series(1, 24) j WHERE i > 0)::bundle_rec.embedding AS embedding
FROM generate_series(1, $n) i;
CREATE TABLE t AS SELECT * FROM source WHERE id <= 6000;
CREATE INDEX i ON t USING bundle_ann (embedding embedding_l2_ops);
SQL
	return;
}

# Clients that insert, delete, update and search, and one that vacuums, until stop_load.
sub start_load
{
	my ($node, $folder, $clients) = @_;
	my @arguments;
	my %script = @scripts;
	foreach my $name (sort keys %script)
	{
		append_to_file("$folder/$name.sql", $script{$name}) unless -e "$folder/$name.sql";
		push @arguments, '-f', "$folder/$name.sql";
	}
	my @env = (PGHOST => $node->host, PGPORT => $node->port);
	my ($out, $err) = ('', '');
	my $load = { out => \$out, err => \$err };
	local %ENV = (%ENV, @env);
	$load->{pgbench} = IPC::Run::start([ 'pgbench', '-n', '-c', $clients, '-j', 2, '-T', 600, @arguments, 'postgres' ],
		'<', \undef, '>', $load->{out}, '2>', $load->{err});
	$load->{vacuum} = IPC::Run::start([ 'bash', '-c', 'while psql -XAtq -c "VACUUM vectors" postgres; do sleep .1; done' ],
		'<', \undef, '>', \my $vacuum_out, '2>', \my $vacuum_err);
	return $load;
}

# Ends what may have ended with the server; returns what clients were told but for lost connections.
sub stop_load
{
	my ($load) = @_;
	foreach my $process (@$load{qw(pgbench vacuum)})
	{
		$process->signal('TERM');
		eval { $process->finish };
	}
	return join "\n", grep { /ERROR|FATAL|PANIC/ && !/terminating connection|shutting down|starting up|recovery mode|administrator command/ }
	  split /\n/, ${ $load->{err} };
}

# The index holds what the table holds, in every detail.
sub index_is_right
{
	my ($node, $what) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', q{SELECT bundle_ann_check('ann', true) >= (SELECT count(*) FROM vectors)});
	is("$rc $out $err", '0 t ', "$what: the index is whole and holds every row");
	return;
}

# What a server answers through its index: all rows, and the nearest of some.
sub same_rows
{
	my ($one, $other, $what) = @_;
	my $ask = q{SET enable_seqscan = off; SET enable_sort = off; SET bundle_rec.scan_order = relaxed;
		SELECT md5(string_agg(id::text, ' ' ORDER BY id)) FROM (SELECT id FROM vectors ORDER BY embedding <=> (SELECT at::real[]::embedding FROM centre WHERE c = 1)) s;
		SET bundle_rec.scan_order = strict;
		SELECT string_agg(id || ':' || d, ' ') FROM centre, LATERAL (SELECT id, embedding <=> at::real[]::embedding AS d FROM vectors ORDER BY embedding <=> at::real[]::embedding LIMIT 10) s};
	is($one->safe_psql('postgres', $ask), $other->safe_psql('postgres', $ask), $what);
	return;
}

1;

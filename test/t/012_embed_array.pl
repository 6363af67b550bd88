# 012_embed_array.pl
#    An array of 100,000 texts: memory that grows with the result alone, progress,
#    and a cancel that is heard.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('array');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\n");
$node->start;
$node->safe_psql('postgres', qq{CREATE EXTENSION bundle_rec; SELECT bundle_rec.load_model('tiny', '$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls');
	CREATE TABLE words AS SELECT array_agg('number ' || i ORDER BY i) AS short, array_agg('number ' || i || repeat(' of a long title', 30) ORDER BY i) AS long FROM generate_series(1, 100000) i;
	UPDATE words SET long = long[1:5000]});

my $session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query_safe(q{SELECT pg_backend_pid()});

# Most memory that the session's process ever had of its own, in MB.
sub peak
{
	my $status = slurp_file("/proc/$pid/status");
	my ($peak) = $status =~ /^VmHWM:\s+(\d+) kB/m;
	return $peak / 1024;
}

$session->query_safe(q{SET search_path = public, bundle_rec; SELECT dims(embed('a text')), cardinality(embed('{a,b}'::text[]))});
my $before = peak();
my $start = time;
is($session->query_safe(q{SELECT cardinality(e), bool_and((e[i] <=> embed('number ' || i)) < 1e-5) FROM unnest('{1,512,513,777,100000}'::int[]) i, (SELECT embed(short) AS e FROM words OFFSET 0) x GROUP BY e}), '100000|t', '100,000 texts are embedded');
diag(sprintf('%.1f s', time - $start));
# the texts, and the embeddings of 32 dimensions one by one, as an array and grouped
my $grown = peak() - $before;
diag(sprintf('%.0f MB', $grown));
cmp_ok($grown, '<', 250, 'in memory of the size of what is given and returned');

# the array has 128 MB; its texts are taken out of it a few at a time
$before = peak();
is($session->query_safe(q{SELECT cardinality(embed(array_fill(repeat('word ', 400000), ARRAY[64])))}), '64', '64 texts of 2 MB each');
$grown = peak() - $before;
diag(sprintf('%.0f MB', $grown));
cmp_ok($grown, '<', 128 + 300, 'are not all in memory twice');

$session->query_safe(q{SET bundle_rec.backend = portable});
$start = time;
$session->query(q{SELECT cardinality(embed(long)) FROM words});
my $seconds = time - $start;
my $notices = () = $session->{stderr} =~ /NOTICE:  embedded \d+ of 5000 texts/g;
diag(sprintf('%.1f s, %d notices', $seconds, $notices));
# each comes with the first batch after 5 seconds, and none after the last one
my $expected = int($seconds / 8);
ok($notices >= $expected && $notices <= $seconds / 5, 'progress is told every 5 seconds or some more');
$session->{stderr} = '';
$start = time;
$session->query(q{SET statement_timeout = '400ms'; SELECT cardinality(embed(long)) FROM words});
diag(sprintf('cancelled after %.0f ms', 1000 * (time - $start)));
like($session->{stderr}, qr/canceling statement due to statement timeout/, 'a cancel is heard');
$session->quit;
$node->stop;
done_testing();

# 062_ann_damage.pl
#    An index of bundle_ann whose pages are damaged: whatever is done with it
#    then ends, with or without an error that names a block, and never with a
#    crash; and a check finds what is damaged.
#
# Bytes are changed on disk while the server is stopped, without checksums that
# would find them first. BR_FLIPS sets another number of damaged copies.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $flips = $ENV{BR_FLIPS} // 120;
my $copies = 20;
my $block = 8192;
my $node = PostgreSQL::Test::Cluster->new('damage');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nrestart_after_crash = off\nfull_page_writes = off\n");
$node->start;
my $log_start = -s $node->logfile;

sub sql
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', "SET search_path = bundle_rec, public; $sql") =~ s/^\n+//r;
}

sql('CREATE EXTENSION bundle_rec');
sql(<<'SQL');
SELECT setseed(.4);
CREATE TABLE original AS SELECT i AS id, (SELECT array_agg((random() - .5 + sin(i % 12 * j))::real) FROM generate_series(1, 24) j WHERE i > 0)::bundle_rec.embedding AS embedding
FROM generate_series(1, 1500) i;
SQL
# small lists, dead rows, a list that was rewritten, a page that is free
foreach my $i (1 .. $copies)
{
	sql(qq{CREATE TABLE t$i AS SELECT * FROM original WHERE id <= 1200;
		CREATE INDEX i$i ON t$i USING bundle_ann (embedding embedding_l2_ops) WITH (lists = 9)});
}
sub age
{
	sql(join '', map { "INSERT INTO t$_ SELECT * FROM original WHERE id > 1200;\nDELETE FROM t$_ WHERE id % 3 = 0;\nVACUUM t$_;\nDELETE FROM t$_ WHERE id % 11 = 0;\nVACUUM t$_;\n" } 1 .. $copies);
	return;
}
age();
is(join(' ', map { sql("SELECT bundle_ann_check('i$_', true)") } 1 .. $copies), join(' ', (sql('SELECT count(*) FROM t1')) x $copies), 'copies of an index, all whole');
my %file = map { $_ => $node->data_dir . '/' . sql("SELECT pg_relation_filepath('i$_')") } 1 .. $copies;
my $query = 'SELECT string_agg(id::text, \' \' ORDER BY o) FROM (SELECT id, row_number() OVER () AS o FROM (SELECT id FROM %s ORDER BY embedding <-> (SELECT embedding FROM original WHERE id = %d) LIMIT 5) s) t';
$node->stop;
my %whole = map { $_ => slurp_binary($file{$_}) } 1 .. $copies;

sub slurp_binary
{
	my ($name) = @_;
	open my $in, '<:raw', $name or die "$name: $!";
	local $/;
	my $bytes = <$in>;
	close $in;
	return $bytes;
}

sub write_binary
{
	my ($name, $bytes) = @_;
	open my $out, '+<:raw', $name or die "$name: $!";
	print $out $bytes;
	truncate $out, length $bytes;
	close $out;
	return;
}

# Fields of headers, special areas and entries are hit more often than vectors, which are most of an index.
sub random_place
{
	my ($bytes) = @_;
	my $page = int(rand(length($bytes) / $block));
	my $kind = rand;
	$page = int(rand 2) ? 0 : $page if $kind < .1;
	return $page * $block + ($kind < .35 ? int(rand 64) : $kind < .6 ? $block - 1 - int(rand 16) : $kind < .8 ? int(rand 1600) : int(rand $block));
}

sub damage
{
	my ($i) = @_;
	my $bytes = $whole{$i};
	my @places;
	foreach (1 .. 1 + int(rand 3))
	{
		my $place = random_place($bytes);
		my $value = (0, 255, ord(substr($bytes, $place, 1)) ^ (1 << int(rand 8)), int(rand 256))[ int(rand 4) ];
		substr($bytes, $place, 1) = chr $value;
		push @places, sprintf('%d+%d=%d', $place / $block, $place % $block, $value);
	}
	write_binary($file{$i}, $bytes);
	return join ' ', @places;
}

# ---- one field at a time ----

# Of an index of 24 dimensions, whose codes have 64 bits: 352 rows in 11 blocks to a posting page, with
# up to 3 pages of vectors. Offsets are those of am_int.h; a field is replaced by another value of its size.
my ($meta, $directory, $posting, $exact) = (1, 2, 3, 4);
my @fields = (
	[ 'version', $meta, 28, 'V', 9 ],
	[ 'dimensions', $meta, 32, 'V', 25 ],
	[ 'metric', $meta, 36, 'V', 1 ],
	[ 'number of the next list', $meta, 52, 'V', 1 ],
	[ 'end of the directory', $meta, 60, 'V', 0 ],
	[ 'number of entries', $directory, 24, 'V', 300 ],
	[ 'one entry less', $directory, 24, 'V', 5 ],
	[ 'list of an entry', $directory, 40, 'V', 1000 ],
	[ 'first page of a list', $directory, 48, 'V', 1 ],
	[ 'last page of a list', $directory, 52, 'V', 1 ],
	[ 'length of a centroid', $directory, 60, 'V', 0 ],
	[ 'state of a list', $directory, 64, 'v', 7 ],
	[ 'a centroid', $directory, 72, 'v', 0x1234 ],
	[ 'rows', $posting, 24, 'v', 3 ],
	[ 'rows that are gone', $posting, 26, 'v', 0 ],
	[ 'page of vectors', $posting, 28, 'V', 1 ],
	[ 'heap pointer', $posting, 44, 'v', 1000 ],
	[ 'width of a block', $posting, 2152, 'V', 0 ],
	[ 'number of a code', $posting, 2156, 'V', 0x3F8CCCCD ],
	[ 'a code', $posting, 2412, 'V', 0x12345678 ],
	[ 'list of a posting page', $posting, 8180, 'V', 1 ],
	[ 'chain of a list', $posting, 8176, 'V', 1 ],
	[ 'a vector', $exact, 24, 'v', 0x1234 ],
	[ 'a vector that is not finite', $exact, 26, 'v', 0x7C00 ],
	[ 'list of a page of vectors', $exact, 8180, 'V', 1 ],
	[ 'kind of a page', $exact, 8184, 'v', 3 ]);

# The last page of a kind that is of the list with the highest number, and so of one that counts.
sub page_of
{
	my ($bytes, $kind) = @_;
	my ($found, $highest) = (undef, -1);
	foreach my $page (0 .. length($bytes) / $block - 1)
	{
		my ($next, $list, $its) = unpack 'VVv', substr($bytes, ($page + 1) * $block - 16, 10);
		($found, $highest) = ($page, $list) if $its == $kind && $list > $highest;
	}
	return $found;
}

foreach my $part ([ @fields[ 0 .. 12 ] ], [ @fields[ 13 .. $#fields ] ])
{
	my $i = 1;
	foreach my $field (@$part)
	{
		my ($what, $kind, $offset, $format, $value) = @$field;
		my $bytes = $whole{$i};
		my $new = pack $format, $value;
		my $place = page_of($bytes, $kind) * $block + $offset;
		die "$what is $value already" if substr($bytes, $place, length $new) eq $new;
		substr($bytes, $place, length $new) = $new;
		write_binary($file{ $i++ }, $bytes);
	}
	$node->start;
	$i = 1;
	foreach my $field (@$part)
	{
		my ($code, $out, $err) = $node->psql('postgres', "SELECT bundle_rec.bundle_ann_check('bundle_rec.i" . $i++ . "', true)");
		like($err, qr/ERROR: .*\n(?:.*\n)*HINT:  REINDEX/, "a check finds: $$field[0]");
		note($err);
	}
	$node->stop;
	write_binary($file{$_}, $whole{$_}) foreach 1 .. $copies;
}

# ---- many damages ----

my %ends;

# What is done with index i, whose table is t.
sub uses
{
	my ($i, $round) = @_;
	return (
		check => "SELECT bundle_ann_check('i$i', true)",
		scan => sprintf($query, "t$i", 1 + int(rand 1500)),
		'whole scan' => "SELECT count(*) FROM (SELECT id FROM t$i ORDER BY embedding <-> '[1" . ',1' x 23 . "]' OFFSET 0) s",
		stats => "SELECT bundle_ann_stats('i$i')",
		insert => "INSERT INTO t$i SELECT id, embedding FROM original WHERE id % 4 = $round % 4 LIMIT 100",
		delete => "DELETE FROM t$i WHERE id % 7 = $round % 7",
		vacuum => "VACUUM t$i",
		recall => "SELECT bundle_ann_recall('i$i', 5, 5)",
		'second vacuum' => "VACUUM t$i");
}

# Whether an error says where and what to do. Those of the server itself name a block: a page whose
# header it does not take, or a heap pointer beyond the table's end.
sub is_clear
{
	my ($state, $message, $hints) = @_;
	return 1 if $state eq '00000' || ($state eq '22000' && $message =~ /dimensions/);
	return $hints =~ /HINT:  REINDEX/ if $state =~ /^(XX002|55000)$/;
	return $message =~ /^(invalid page in block|could not read block|could not open file .* \(target block)/;
}

srand(7);
my $rounds = int(($flips + $copies - 1) / $copies);
my $found = 0;
my $done = 0;
foreach my $round (1 .. $rounds)
{
	my %where = map { $_ => damage($_) } 1 .. $copies;
	my $script = "SET search_path = bundle_rec, public; SET statement_timeout = '60s'; SET enable_seqscan = off; SET enable_sort = off;\n";
	foreach my $i (1 .. $copies)
	{
		my @uses = uses($i, $round);
		while (my ($what, $sql) = splice @uses, 0, 2)
		{
			$script .= "$sql\n\\g /dev/null\n\\echo $i|$what|:SQLSTATE|:LAST_ERROR_MESSAGE\n\\warn end of $i $what\n";
			$script .= "\\set LAST_ERROR_MESSAGE none\n";
		}
	}
	$node->start;
	my ($code, $out, $err) = $node->psql('postgres', $script, on_error_stop => 0);
	foreach my $line (split /\n/, $out)
	{
		my ($i, $what, $state, $message) = split /\|/, $line, 4;
		my ($hints) = $err =~ /(?:\A|end of [^\n]*\n)((?:(?!end of )[^\n]*\n)*?)end of $i \Q$what\E\n/;

		$ends{$what}{$state}++;
		$done++;
		$found++ if $what eq 'check' && $state ne '00000';
		ok(0, "$what after $where{$i}") || diag("$state: $message\n" . ($hints // '')) if !is_clear($state, $message, $hints // '');
	}
	# what it advises helps
	my $one = 1 + $round % $copies;
	sql("REINDEX INDEX i$one");
	is(sql("SELECT bundle_ann_check('i$one', true) = (SELECT count(*) FROM t$one)"), 't', "round $round: REINDEX makes it whole");
	# begin anew with whole indexes
	sql(join '', map { "TRUNCATE t$_; INSERT INTO t$_ SELECT * FROM original WHERE id <= 1200; REINDEX INDEX i$_;\n" } 1 .. $copies);
	age();
	%file = map { $_ => $node->data_dir . '/' . sql("SELECT pg_relation_filepath('i$_')") } 1 .. $copies;
	$node->stop;
	%whole = map { $_ => slurp_binary($file{$_}) } 1 .. $copies;
}
is($done, $rounds * $copies * 9, 'every statement came to an end');
foreach my $what (sort keys %ends)
{
	note("$what: " . join(', ', map { "$_ $ends{$what}{$_}" } sort keys %{ $ends{$what} }));
}
cmp_ok($found, '>=', $rounds * $copies * .5, "a check finds damage ($found of " . $rounds * $copies . '; free pages and unused room have none)');
my $log = substr(slurp_file($node->logfile), $log_start);
unlike($log, qr/was terminated by signal|PANIC|TRAP/, 'no crash');

done_testing();

# 043_upgrade.pl
#    ALTER EXTENSION bundle_rec UPDATE: whatever version it began with, it ends
#    as a fresh installation would, and its catalogs go on.
#
# tools/describe_extension says what an extension consists of; two descriptions
# are compared line by line. A released version's install script is frozen in
# test/upgrade, and every step sql/bundle_rec--A--B.sql is walked from there. A
# step that is made up here, and forgets something, shows that the comparison
# would notice.

use strict;
use warnings;

use File::Copy qw(copy);
use File::Path qw(make_path);
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Shop;

# ---- a prefix whose extension folder is the test's own ----

my $root = "$ENV{BR_HOME}/root";
my $prefix = PostgreSQL::Test::Utils::tempdir();
my ($bin, $lib, $share) = map { my ($path) = run_command([ "$ENV{BR_BIN}/pg_config", $_ ]); substr($path, length $root) } qw(--bindir --pkglibdir --sharedir);
my $scripts = "$prefix$share/extension";

sub link_entries
{
	my ($folder) = @_;
	foreach my $entry (glob("$root$folder/*"))
	{
		my ($name) = $entry =~ m{([^/]+)$};
		symlink $entry, "$prefix$folder/$name" unless $name =~ /^bundle_rec.*\.(sql|control)$/ || -e "$prefix$folder/$name";
	}
	return;
}

# A server looks for its files beside its program, wherever that is copied to.
sub make_prefix
{
	make_path("$prefix$bin", $scripts);
	foreach my $program (qw(postgres initdb pg_ctl pg_config psql pg_dump pg_isready))
	{
		copy("$root$bin/$program", "$prefix$bin/$program") or die "$program: $!";
		chmod 0755, "$prefix$bin/$program";
	}
	symlink "$root$lib", "$prefix$lib";
	link_entries($_) for "$share/extension", $share;
	copy($_, $scripts) for glob("$root$share/extension/bundle_rec*"), glob("$ENV{BR_FILES}/test/upgrade/bundle_rec--*.sql");
	return;
}

make_prefix();
my ($version) = slurp_file("$scripts/bundle_rec.control") =~ /^default_version\s*=\s*'(.*)'/m;
my $install = slurp_file("$root$share/extension/bundle_rec--$version.sql");
my $node = PostgreSQL::Test::Cluster->new('upgrade', install_path => "$prefix$bin" =~ s{/bin$}{}r);
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE described');

# ---- descriptions ----

sub describe
{
	local %ENV = $node->_get_env();
	my ($text, $error) = run_command([ "$ENV{BR_FILES}/tools/describe_extension", '-d', 'described' ]);
	is($error, '', 'the extension is described');
	return $text;
}

# The description of a version, installed at once or by steps.
sub description_of
{
	my ($first, @steps) = @_;
	$node->safe_psql('described', join(';', 'DROP EXTENSION IF EXISTS bundle_rec', 'DROP SCHEMA IF EXISTS bundle_rec',
			"CREATE EXTENSION bundle_rec VERSION '$first'", map { "ALTER EXTENSION bundle_rec UPDATE TO '$_'" } @steps));
	return describe();
}

# Lines that only one of two descriptions has.
sub differences
{
	my ($is, $should_be) = @_;
	my %is = map { $_ => 1 } split /\n/, $is;
	my %should_be = map { $_ => 1 } split /\n/, $should_be;
	return ((map { "+ $_" } sort grep { !$should_be{$_} } keys %is), (map { "- $_" } sort grep { !$is{$_} } keys %should_be));
}

# A step, or several, from an installation of the version it begins with.
sub walk
{
	my ($from, $to) = @_;
	my @different = differences(description_of($from, $to), description_of($to));
	is_deeply(\@different, [], "an upgrade from $from to $to equals an installation of $to");
	return;
}

my $fresh = description_of($version);
cmp_ok(scalar(split /\n/, $fresh), '>', 1000, 'a description says much');
like($fresh, qr/^function bundle_rec\.recommend\(.*\): volatility = v$/m, 'of functions');
like($fresh, qr/^table bundle_rec\.catalog column 2: name = name$/m, 'of columns');
is($fresh, description_of($version), 'and the same of the same');

# ---- the steps there are ----

my @released = sort map { /bundle_rec--([^-]+)\.sql$/ ? $1 : () } glob("$ENV{BR_FILES}/test/upgrade/bundle_rec--*.sql");
my @steps = map { /bundle_rec--(.+)--(.+)\.sql$/ ? [ $1, $2 ] : () } glob("$scripts/bundle_rec--*--*.sql");
note('released: ' . join(' ', @released) . '; steps: ' . join(' ', map { "$_->[0] to $_->[1]" } @steps));
foreach my $step (@steps)
{
	ok(-e "$scripts/bundle_rec--$step->[0].sql", "the script that $step->[0] was installed by is in test/upgrade");
	walk(@$step);
}
foreach my $old (@released)
{
	# what was released stays as it is: later changes are a later version's
	is(slurp_file("$ENV{BR_FILES}/test/upgrade/bundle_rec--$old.sql"), $install, "version $old was released and has not changed since") if $old eq $version;
	walk($old, $version) if $old ne $version;
}

# ---- a step that is made up ----

# What a version to come might add, and how a step that forgets it is told; undef: others need it.
my @additions = (
	[ undef, q{CREATE TABLE sale_note (note int, said text DEFAULT 'nothing');} ],
	[ qr/^- table bundle_rec.sale_note: comment = Notes$/m, q{COMMENT ON TABLE sale_note IS 'Notes';} ],
	[ qr/^- table bundle_rec.sale_note column 2: comment = What was said$/m, q{COMMENT ON COLUMN sale_note.said IS 'What was said';} ],
	[ qr/^- table bundle_rec.sale_note: rights = .*=r\/\w/m, q{GRANT SELECT ON TABLE sale_note TO PUBLIC;} ],
	[ qr/^- table bundle_rec.sale_note index bundle_rec.sale_note_said: definition = /m, q{CREATE INDEX sale_note_said ON sale_note (said) WHERE said <> '';} ],
	[ qr/^- table bundle_rec.sale_note constraint sale_note_note_check: definition = /m, q{ALTER TABLE sale_note ADD CHECK (note > 0);} ],
	[ qr/^- table bundle_rec.sale_note column 2: storage = e$/m, q{ALTER TABLE sale_note ALTER said SET STORAGE EXTERNAL;} ],
	[ qr/^- table bundle_rec.sale_note column 2: default = 'something'/m, q{ALTER TABLE sale_note ALTER said SET DEFAULT 'something';} ],
	[ qr/^- rows of bundle_rec.sale_note: dumped where = WHERE note > 1$/m, q{SELECT pg_catalog.pg_extension_config_dump('@extschema@.sale_note', 'WHERE note > 1');} ],
	[ qr/^- table bundle_rec.feedback column \d+: name = channel$/m, q{ALTER TABLE feedback ADD COLUMN channel text;} ],
	[ qr/^- sequence bundle_rec.decision_number: sequence = .*"seqcache": 20/m, q{ALTER SEQUENCE decision_number CACHE 20;} ],
	[ undef, q{CREATE FUNCTION note_length(said text) RETURNS int LANGUAGE SQL IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT pg_catalog.length(said)';} ],
	[ qr/^- function bundle_rec.note_length\(.*\): comment = Its length$/m, q{COMMENT ON FUNCTION note_length(text) IS 'Its length';} ],
	[ qr/^\+ function bundle_rec.note_length\(.*\): rights = =X/m, q{REVOKE EXECUTE ON FUNCTION note_length(text) FROM PUBLIC;} ],
	[ qr/^- function bundle_rec.note_length\(.*\): cost = 7$/m, q{ALTER FUNCTION note_length(text) COST 7;} ],
	[ qr/^- function bundle_rec.explain_decision\(.*\): rows = 6$/m, q{ALTER FUNCTION explain_decision(bigint) ROWS 6;} ],
	[ qr/^- view bundle_rec.loud_note: view = /m, q{CREATE VIEW loud_note AS SELECT pg_catalog.upper(said) AS said FROM @extschema@.sale_note;} ],
	[ qr/^- type bundle_rec.note_pair column 2: type = integer$/m, q{CREATE TYPE note_pair AS (one int, other int);} ],
	[ undef, q{CREATE FUNCTION note_equal(embedding, embedding) RETURNS boolean LANGUAGE SQL IMMUTABLE PARALLEL SAFE AS 'SELECT true';} ],
	[ qr/^- operator bundle_rec.===\(.*\): restriction = eqsel$/m, q{CREATE OPERATOR === (FUNCTION = note_equal, LEFTARG = embedding, RIGHTARG = embedding, RESTRICT = eqsel);} ],
	[ qr/^- aggregate bundle_rec.note_sum\(.*\): transition = int4pl/m, q{CREATE AGGREGATE note_sum(int) (SFUNC = int4pl, STYPE = int, PARALLEL = SAFE);} ],
);

# As files of the version 9.9.9 and of two steps, to it and to another version that lacks what no other line needs.
sub write_scripts
{
	my ($name, @lines) = @_;
	append_to_file("$scripts/bundle_rec--$name.sql", join("\n", @lines, ''));
	return;
}

my @lines = map { $_->[1] } @additions;
write_scripts('9.9.9', $install, @lines);
write_scripts("$version--9.9.9", @lines);
write_scripts("$version--9.9.9forgets", map { $_->[1] } grep { !$_->[0] } @additions);
walk($version, '9.9.9');
my $forgotten = join("\n", differences(description_of($version, '9.9.9forgets'), description_of('9.9.9')));
like($forgotten, $_->[0], 'a step that forgets this is noticed: ' . substr($_->[1], 0, 70)) for grep { $_->[0] } @additions;

# ---- an upgrade beneath catalogs that work ----

make_shop($node, 'postgres');
my $answers = answers($node, 'postgres');
my ($old_dump, $dump) = ("$prefix/old.sql", "$prefix/new.sql");
$node->command_ok([ 'pg_dump', '-f', $old_dump, $node->connstr('postgres') ], 'the present version is dumped');
my $session = $node->background_psql('postgres');
my $recommend = q{SELECT count(*) FROM bundle_rec.recommend('shop', basket => '{p1}')};
is($session->query_safe($recommend), '5', 'a session recommends');
$node->safe_psql('postgres', q{ALTER EXTENSION bundle_rec UPDATE TO '9.9.9'});
is($session->query_safe($recommend), '5', 'and goes on after the upgrade');
$session->quit;
is(answers($node, 'postgres'), $answers, 'upgraded: answers as before');
shop_goes_on($node, 'postgres', 'upgraded');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_attribute WHERE attrelid = 'bundle_rec.feedback_1'::regclass AND attname = 'channel'}), '1',
	'what a parent gained its children have');
$node->safe_psql('postgres', 'INSERT INTO bundle_rec.sale_note VALUES (1), (2)');
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'upgraded: dumped');

# CREATE EXTENSION in a dump names no version: the default one is installed, whichever it was
sub restore
{
	my ($database, $file, $what) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d', $node->connstr($database) ], $what);
	return;
}

append_to_file("$scripts/bundle_rec.control", "default_version = '9.9.9'\n");
restore('restored', $dump, 'and restored');
is($node->safe_psql('restored', 'SELECT note FROM bundle_rec.sale_note'), '2', 'with the rows of a new table that are to be dumped');
is(answers($node, 'restored'), answers($node, 'postgres'), 'and its catalogs');
restore('older', $old_dump, 'a dump of the version before is restored into the next');
is($node->safe_psql('older', q{SELECT extversion FROM pg_extension WHERE extname = 'bundle_rec'}), '9.9.9', 'which it then has');
is(answers($node, 'older'), $answers, 'older: answers as before');
shop_goes_on($node, 'older', 'older');

$node->stop;
done_testing();

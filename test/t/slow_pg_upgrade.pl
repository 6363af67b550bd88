# slow_pg_upgrade.pl
#    pg_upgrade carries extension, catalogs and what was learned over. Both
#    clusters are of the version that is tested, which pg_upgrade allows.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Shop;

my $old = PostgreSQL::Test::Cluster->new('old');
$old->init;
$old->append_conf('postgresql.conf', "fsync = off\n");
$old->start;
make_shop($old, 'postgres');
my $answers = answers($old, 'postgres');
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init;
# it leaves its scripts in the working directory
chdir PostgreSQL::Test::Utils::tempdir();
command_ok([ 'pg_upgrade', '--no-sync', '-b', $ENV{BR_BIN}, '-B', $ENV{BR_BIN}, '-d', $old->data_dir, '-D', $new->data_dir,
		'-p', $old->port, '-P', $new->port, '-s', $new->host, '-U', $ENV{BR_SERVER_USER} ], 'pg_upgrade');
$new->start;
is(answers($new, 'postgres'), $answers, 'answers as before');
shop_goes_on($new, 'postgres', 'upgraded');
$new->safe_psql('postgres', q{SELECT bundle_rec.drop_catalog('shop'); SELECT bundle_rec.drop_policy('banner'); SELECT bundle_rec.drop_policy('indexed')});
is(error_of($new, 'postgres', 'DROP EXTENSION bundle_rec'), '', 'without catalogs and policies it goes');

$new->stop;
done_testing();

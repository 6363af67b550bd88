# slow_ann_kill.pl
#    The crashes of 060_ann.pl at length: 50 ends of the server under load.

use strict;
use warnings;

use FindBin;
# here, because INIT blocks of what is loaded later do not run
use PostgreSQL::Test::Cluster;

$ENV{BR_KILLS} //= 50;
do "$FindBin::RealBin/060_ann.pl" or die $@ || $!;

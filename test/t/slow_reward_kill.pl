# slow_reward_kill.pl
#    The crashes of 070_reward.pl at length: 20 ends of the server under load.

use strict;
use warnings;

use FindBin;
# here, because INIT blocks of what is loaded later do not run
use PostgreSQL::Test::Cluster;

$ENV{BR_KILLS} //= 20;
do "$FindBin::RealBin/070_reward.pl" or die $@ || $!;

# Restart.pm
#    Questions to a server that may be just ending or starting.

package Restart;

use strict;
use warnings;

use Exporter 'import';
use Time::HiRes qw(usleep);

our @EXPORT = qw(true_after_restart);

# Whether a query becomes true within a minute. It is no input of psql's, as in
# poll_query_until: where psql finds no server and ends before it has read that,
# the test would end with a broken pipe.
sub true_after_restart
{
	my ($node, $query) = @_;

	foreach my $attempt (1 .. 600)
	{
		my ($out, $err) = ('', '');
		IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $query ], '<', \undef, '>', \$out, '2>', \$err);
		return 1 if $out eq "t\n";
		usleep(100_000);
	}
	return 0;
}

1;

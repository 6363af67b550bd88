# Writers.pm
#    Sessions that write until they are told to stop, over a server that may be
#    killed meanwhile.

package Writers;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Time::HiRes qw(usleep);

use Decisions;

our @EXPORT = qw(work);

# Sessions of five texts each, which text->(n) gives; returns the process. What a
# session acknowledges, a line "! id word", goes to folder/done.name; errors that
# the end of the server does not explain to folder/errors.
sub work
{
	my ($node, $folder, $name, $text) = @_;

	return in_background(
		sub {
			my ($stopped) = @_;
			local %ENV = $node->_get_env();
			my $n = 0;
			until ($stopped->())
			{
				my ($out, $err) = ('', '');
				my $script = join "\n", map { $text->($n++) } 1 .. 5;
				IPC::Run::run([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-f', '-', 'postgres' ], '<', \$script, '>', \$out, '2>', \$err);
				append_to_file("$folder/done.$name", join '', map { "$_\n" } $out =~ /^! (\d+ \S+)$/mg);
				my @errors = grep { /ERROR|FATAL|PANIC/ && !/terminating connection|the database system is|connection to server/ } split /\n/, $err;
				append_to_file("$folder/errors", join '', map { "$name: $_\n" } @errors);
				usleep 50_000;
			}
		});
}

1;

# Decisions.pm
#    What 030_decisions.pl and slow_kill.pl share: a shop, clients that write
#    down outside the server what it acknowledged, and the comparison of what
#    they wrote down with the log.
#
# An acknowledgement is a line that a client writes into a file of its own
# after the server has answered the statement, or the COMMIT. Whatever is
# written there must be in the log once, however the server ended; what was
# rolled back must not.

package Decisions;

use strict;
use warnings;

use Exporter 'import';
use IO::Handle;
use IPC::Open3;
use POSIX ();
use PostgreSQL::Test::Utils;
use Symbol 'gensym';
use Test::More;
use Time::HiRes qw(time sleep usleep);

use Restart;

our @EXPORT = qw(make_shop in_background run_pgbench start_folding stop_folding run_clients start_clients wait_for_clients
  compare_with_log compare_with_posterior unexpected_messages hard_restart);

my $products = 300;

# 300 products in 10 categories and 3,000 baskets of 3; the tiny BERT model; a
# policy that learns at once, so that folding and deciding meet.
sub make_shop
{
	my ($node) = @_;
	my $model = "$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls";

	$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION bundle_rec;
SET search_path = public, bundle_rec;
SELECT load_model('tiny', '$model');
CREATE TABLE product (sku text PRIMARY KEY, title text, category text, price float8, cost float8, stock int);
INSERT INTO product SELECT 'p' || i, 'product ' || i, 'kind ' || i % 10, 5 + i % 40, 3, 1 + i % 9 FROM generate_series(1, $products) i;
CREATE TABLE purchase (receipt int, shopper text, sku text);
INSERT INTO purchase SELECT r, 'u' || r % 500, 'p' || 1 + (r * 7 + step * (1 + r % 5)) % $products
FROM generate_series(1, 3000) r, generate_series(0, 2) step;
SELECT create_catalog('shop', 'product', item_id => 'sku', text => '{title}', price => 'price', cost => 'cost',
                      stock => 'stock', category => 'category', model => 'tiny');
SELECT add_event_source('shop', 'purchase', user_id => 'shopper', item_id => 'sku', basket_id => 'receipt');
SELECT refresh('shop');
SELECT create_policy('at once', 'linear_thompson', 'shop', attribution_window => '0', make_default => true);
CREATE TABLE acknowledged (client text, what text, decision_id bigint, event_id text, is_new boolean);
SQL
	return;
}

# ---- pgbench ----

# One decision and one feedback per transaction: (transactions, per second, p50 ms, p99 ms).
sub run_pgbench
{
	my ($node, $clients, $seconds) = @_;
	my $folder = PostgreSQL::Test::Utils::tempdir();
	my ($out, $err) = ('', '');

	append_to_file("$folder/visit.sql", <<"SQL");
\\set basket random(1, $products)
\\set rank random(1, 3)
SELECT decision_id FROM bundle_rec.recommend('shop', basket => ARRAY['p' || :basket], bundles => 3) LIMIT 1 \\gset
SELECT bundle_rec.feedback(:decision_id, :rank);
SQL
	local %ENV = $node->_get_env();
	ok(IPC::Run::run([ 'pgbench', '-n', '-c', $clients, '-j', 2, '-T', $seconds, '-f', "$folder/visit.sql", '-l',
				"--log-prefix=$folder/latency", 'postgres' ], '>', \$out, '2>', \$err), 'pgbench ends well')
	  or diag($err);
	is($err =~ s/^pgbench \(.*\)\n//r, '', 'and says nothing');
	my ($n) = $out =~ /number of transactions actually processed: (\d+)/;
	my ($failed) = $out =~ /number of failed transactions: (\d+)/;
	my ($tps) = $out =~ /tps = ([\d.]+)/;
	is($failed, 0, 'no transaction failed');

	my @latency = sort { $a <=> $b } map { map { (split)[2] / 1000 } split /\n/, slurp_file($_) } glob("$folder/latency*");
	unlink glob("$folder/latency*");
	return ($n, $tps, map { $latency[ $_ * $#latency ] } .5, .99);
}

# ---- processes beside the test ----

# Runs work in a process that ends when it is told to, or with the test.
sub in_background
{
	my ($work) = @_;
	my $parent = $$;
	my $pid = fork // die "fork: $!";
	return $pid if $pid;

	my $stop = 0;
	local $SIG{TERM} = sub { $stop = 1 };
	# nothing of the test's own ending may run here
	eval { $work->(sub { return $stop || getppid() != $parent }); 1 } or warn $@;
	POSIX::_exit(0);
}

# ---- folding ----

# A client that folds every second until it is told to stop; restarts of the server do not end it.
sub start_folding
{
	my ($node, $folder) = @_;

	return in_background(
		sub {
			my ($stopped) = @_;
			local %ENV = $node->_get_env();
			until ($stopped->())
			{
				my $out = '';
				IPC::Run::run([ 'psql', '-XqAt', '-c', q{SELECT bundle_rec.fold('at once')}, 'postgres' ],
					'<', \undef, '>', \$out, '2>', "$folder/fold.errors");
				append_to_file("$folder/fold", $out);
				sleep 1;
			}
		});
}

# How many versions folds made; a fold that found no server made none.
sub stop_folding
{
	my ($pid, $folder) = @_;

	kill 'TERM', $pid;
	waitpid $pid, 0;
	my @lines = -e "$folder/fold" ? split /\n/, slurp_file("$folder/fold") : ();
	unlink "$folder/fold";
	my %versions = map { $_ => 1 } grep { /^\d+$/ } @lines;
	return scalar keys %versions;
}

# ---- clients ----

# One conversation with psql: what it is told is answered up to a line that says so.
sub open_session
{
	my ($node) = @_;
	my ($in, $out, $err) = (undef, undef, gensym);
	local %ENV = $node->_get_env();
	my $pid = open3($in, $out, $err, 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose', '-f', '-', 'postgres');

	$in->autoflush(1);
	return { pid => $pid, in => $in, out => $out, err => $err };
}

# The lines that came back, and whether the conversation goes on.
sub converse
{
	my ($session, $text) = @_;
	my @lines;

	local $SIG{PIPE} = 'IGNORE';
	print { $session->{in} } "$text\n\\echo over\n";
	while (defined(my $line = readline $session->{out}))
	{
		chomp $line;
		return (1, @lines) if $line eq 'over';
		push @lines, $line;
	}
	return (0, @lines);
}

# What ended a conversation: '' where it was nothing but the end of the server.
sub close_session
{
	my ($session) = @_;

	close $session->{in};
	my $said = do { local $/; readline $session->{err} } // '';
	waitpid $session->{pid}, 0;
	my @errors = grep { /ERROR|FATAL|PANIC/ && !/57P0[123]|08006|08001|connection to server/ } split /\n/, $said;
	return join("\n", @errors);
}

# A visit: text for psql, each acknowledgement a line beginning with "!".
sub visit
{
	my ($client, $n, $pending) = @_;
	my $basket = 1 + int rand $products;
	my $recommend = "SELECT decision_id FROM bundle_rec.recommend('shop', basket => '{p$basket}', bundles => 3) LIMIT 1 \\gset";
	my $event = "$client.$n";
	my $feedback = "SELECT bundle_rec.feedback(:decision_id, 1, 'click', 1, '$event') AS is_new \\gset";
	# every client reports these: who is first does not matter
	my $shared = int($n / 10);
	my $kind = $n % 10;

	if ($kind == 0)
	{
		return "BEGIN;\n$recommend\n$feedback\nROLLBACK;\n\\echo ! gone :decision_id $event f";
	}
	elsif ($kind == 1)
	{
		return "BEGIN;\n$recommend\n$feedback\nCOMMIT;\n\\echo ! decision :decision_id - f\n"
		  . "\\echo ! feedback :decision_id $event :is_new";
	}
	elsif ($kind == 2)
	{
		return "SELECT min(decision_id) AS decision_id FROM public.common \\gset\n"
		  . "SELECT bundle_rec.feedback(:decision_id, 1, 'click', 1, 'shared $shared') AS is_new \\gset\n"
		  . "\\echo ! feedback :decision_id shared_$shared :is_new";
	}
	$$pending = $event;
	return "$recommend\n\\echo ! decision :decision_id $event f\n$feedback\n\\echo ! feedback :decision_id $event :is_new";
}

# Visits until told to stop. After a lost connection the feedback that was not acknowledged is given once more.
sub visit_until_stopped
{
	my ($node, $client, $folder, $stopped) = @_;
	my ($n, $session, %unsure) = (0, undef);
	open my $file, '>>', "$folder/client.$client" or die;
	$file->autoflush(1);
	srand($client);

	until ($stopped->())
	{
		my $pending = '';
		$session //= open_session($node);
		my $text = visit("$client-$$", ++$n, \$pending);
		$text = join("\n", map { "SELECT bundle_rec.feedback($unsure{$_}, 1, 'click', 1, '$_') AS is_new \\gset\n"
				  . "\\echo ! feedback $unsure{$_} $_ :is_new" } sort keys %unsure) . "\n$text";
		my ($alive, @lines) = converse($session, $text);
		foreach my $line (@lines)
		{
			print $file "$1\n" if $line =~ /^! (\w+ \d+ \S+ [tf])$/;
			my ($what, $decision, $event) = $line =~ /^! (\w+) (\d+) (\S+)/ or next;
			$unsure{$event} = $decision if $what eq 'decision' && $event ne '-';
			delete $unsure{$event} if $what eq 'feedback';
		}
		next if $alive;
		my $error = close_session($session);
		print $file "error $error\n" if $error ne '';
		undef $session;
		usleep 100_000;
	}
	my $error = $session ? close_session($session) : '';
	print $file "error $error\n" if $error ne '';
	return;
}

sub start_clients
{
	my ($node, $clients, $folder) = @_;

	$node->safe_psql('postgres', "CREATE TABLE IF NOT EXISTS common AS
		SELECT decision_id FROM bundle_rec.recommend('shop', bundles => 3) LIMIT 1");
	return map { my $client = $_; in_background(sub { visit_until_stopped($node, $client, $folder, @_) }) } 1 .. $clients;
}

# Ends the clients and returns what went wrong in them.
sub wait_for_clients
{
	my ($folder, @pids) = @_;
	my @errors;

	kill 'TERM', @pids;
	waitpid $_, 0 for @pids;
	foreach my $file (glob("$folder/client.*"))
	{
		push @errors, grep { /^error/ } split /\n/, slurp_file($file);
	}
	return @errors;
}

# ---- what must be there ----

sub compare_with_log
{
	my ($node, $folder) = @_;

	foreach my $file (glob("$folder/client.*"))
	{
		# a line may be torn where a client was stopped while writing
		my @lines = map { join("\t", $file =~ /(\d+)$/, (split)) } grep { /^(decision|feedback|gone) \d+ \S+ [tf]$/ } split /\n/, slurp_file($file);
		append_to_file("$folder/acknowledged", join('', map { s/shared_/shared /r . "\n" } @lines));
	}
	my $rows = slurp_file("$folder/acknowledged");
	$node->safe_psql('postgres', "TRUNCATE acknowledged;\nCOPY acknowledged FROM stdin;\n$rows\\.\n");
	unlink "$folder/acknowledged";
	my ($number) = $node->safe_psql('postgres', q{SELECT catalog FROM bundle_rec.catalog WHERE name = 'shop'});
	my $count = sub { return $node->safe_psql('postgres', "SELECT count(*) FROM $_[0]"); };

	my $decisions = $count->("acknowledged WHERE what = 'decision'");
	my $feedback = $count->("acknowledged WHERE what = 'feedback'");
	cmp_ok($decisions, '>', 0, 'decisions were acknowledged');
	cmp_ok($feedback, '>', 0, 'feedback was acknowledged');
	is($count->("(SELECT decision_id FROM acknowledged WHERE what = 'decision' GROUP BY 1 HAVING count(*) > 1) d"), 0,
		'no decision id was given twice');
	is($count->("acknowledged a WHERE what = 'decision' AND
		(SELECT count(*) FROM bundle_rec.decision_$number d WHERE d.decision_id = a.decision_id) <> 1"), 0,
		'every acknowledged decision is there once');
	is($count->("acknowledged a WHERE what = 'feedback' AND
		(SELECT count(*) FROM bundle_rec.feedback_$number f WHERE f.decision_id = a.decision_id AND f.event_id = a.event_id) <> 1"), 0,
		'every acknowledged feedback is there once');
	is($count->("(SELECT FROM acknowledged WHERE what = 'feedback' AND is_new GROUP BY decision_id, event_id HAVING count(*) > 1) f"), 0,
		'only one client was told that its feedback was new');
	# a decision's number that was rolled back may be given again after a crash; an event id is not
	is($count->("acknowledged a JOIN bundle_rec.feedback_$number USING (event_id) WHERE what = 'gone'"), 0,
		'what was rolled back is not there');
	is($count->("bundle_rec.feedback_$number f WHERE NOT EXISTS
		(SELECT FROM bundle_rec.decision_$number d WHERE d.decision_id = f.decision_id)"), 0, 'no feedback without its decision');
	return ($decisions, $feedback);
}

# After a last fold the posterior counts the log: every decision, every event, and as its first number every slot.
sub compare_with_posterior
{
	my ($node) = @_;
	my ($number) = $node->safe_psql('postgres', q{SELECT catalog FROM bundle_rec.catalog WHERE name = 'shop'});
	my $state = sub { return $node->safe_psql('postgres', "SELECT $_[0] FROM bundle_rec.policy_state WHERE policy = 'at once'"); };
	my $log = "bundle_rec.decision_$number d JOIN bundle_rec.policy p ON p.policy = d.policy AND p.name = 'at once'";

	$node->safe_psql('postgres', q{SELECT bundle_rec.fold('at once')});
	is($state->('unfolded_decisions + unfolded_feedback'), 0, 'nothing waits after the last fold');
	is($state->('decisions'), $node->safe_psql('postgres', "SELECT count(*) FROM $log"), 'every decision is counted once');
	is($state->('events'), $node->safe_psql('postgres', "SELECT count(*) FROM $log JOIN bundle_rec.feedback_$number f USING (decision_id)"),
		'every feedback is counted once');
	is($node->safe_psql('postgres', q{SELECT evidence[1] FROM bundle_rec.posterior JOIN bundle_rec.policy USING (policy)
			WHERE name = 'at once' ORDER BY version DESC LIMIT 1}),
		$node->safe_psql('postgres', "SELECT sum(cardinality(slot_sizes)) FROM $log"), 'and every slot');
	return;
}

# Lines of the server's log that neither a client's end nor a kill explains.
sub unexpected_messages
{
	my ($node, $offset) = @_;
	return grep { /\b(ERROR|FATAL|PANIC)\b|deadlock/
		  && !/the database system is |terminating connection|lock file "postmaster.pid"|pre-existing shared memory/ }
	  split /\n/, substr(slurp_file($node->logfile), $offset // 0);
}

# Ends the server as `how` says, with clients at work, and has it run again.
sub hard_restart
{
	my ($node, $how) = @_;

	if ($how eq 'backend')
	{
		# one backend of a client is killed: the postmaster ends the others and recovers
		my $pid = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity
			WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1});
		kill 'KILL', $pid;
	}
	elsif ($how eq 'postmaster')
	{
		my $pid = $node->{_pid};
		$node->kill9;
		usleep 10_000 while kill 0, $pid;
	}
	else
	{
		$node->stop('immediate');
	}
	foreach my $attempt (1 .. 600)
	{
		# orphans of a killed postmaster must be gone before another may start
		last if $how eq 'backend' || $node->start(fail_ok => 1);
		usleep 100_000;
	}
	return true_after_restart($node, 'SELECT NOT pg_is_in_recovery()');
}

1;

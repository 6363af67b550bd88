# 031_experiments.pl
#    Experiments under many clients at once, over two other servers, and in a dump.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('experiments');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nmax_connections = 60\nlog_statement = none\n");
$node->start;
my $folder = PostgreSQL::Test::Utils::tempdir();

sub sql
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', $sql) =~ s/^\n+//r;
}

sql(q{CREATE EXTENSION bundle_rec; CREATE ROLE keeper LOGIN; CREATE ROLE web LOGIN; GRANT EXECUTE ON FUNCTION bundle_rec.create_experiment TO keeper;
	SET ROLE keeper; SELECT bundle_rec.create_experiment('button', layer => 'page', traffic => 0.75, holdout => 0.1);
	SELECT bundle_rec.create_experiment('colour', '{"control": 0.2, "blue": 0.5, "red": 0.3}')});
my $button = sql(q{SELECT exposures FROM bundle_rec.experiment_state WHERE experiment = 'button'});
my $colour = sql(q{SELECT exposures FROM bundle_rec.experiment_state WHERE experiment = 'colour'});
sql("SET ROLE keeper; GRANT INSERT ON $button, $colour TO web");

# ---- 16 clients, 5,000 units, while weights change ----

sub write_script
{
	my ($name, $text) = @_;
	append_to_file("$folder/$name", $text);
	return "$folder/$name";
}

my $assign = write_script('assign.sql', q{\set unit random_exponential(1, 5000, 5)
SELECT bundle_rec.assign('colour', :unit::text) = bundle_rec.assign('colour', :unit::text) AND 1 / (bundle_rec.assign('colour', :unit::text) IS NOT NULL)::int = 1;
});
my $alter = write_script('alter.sql', q{\set share random(1, 3)
SELECT bundle_rec.alter_experiment('colour', jsonb_build_object('control', 0.2, 'blue', 0.2 * :share, 'red', 0.8 - 0.2 * :share));
});
my $start = -s $node->logfile;
my $altering = IPC::Run::start([ 'pgbench', '-n', '-U', 'keeper', '-h', $node->host, '-p', $node->port, '-T', '4', '-R', '10', '-f', $alter, 'postgres' ],
	'>', \my $altered, '2>', \my $altered_error);
$node->command_ok([ 'pgbench', '-n', '-U', 'web', '-c', '16', '-j', '2', '-T', '3', '-f', $assign, 'postgres' ], '16 clients assign');
$altering->finish;
is($altering->result(0), 0, 'while another changes the weights');
is(sql("SELECT count(*) = count(DISTINCT unit_id) FROM $colour"), 't', 'each unit is logged once');
cmp_ok(sql("SELECT count(DISTINCT version) FROM $colour"), '>', 3, 'under the weights of its time');
is(sql("SELECT count(*) FROM $colour WHERE bundle_rec.assign('colour', unit_id) IS DISTINCT FROM variant"), '0', 'and keeps its variant');
unlike(slurp_file($node->logfile, $start), qr/ERROR|FATAL|deadlock/, 'without an error');

# a unit whose first exposure is not committed yet holds up nobody but itself
my $first = $node->background_psql('postgres');
$first->query_safe(q{BEGIN; SELECT bundle_rec.assign('colour', 'waits');});
is(sql(q{SET lock_timeout = '1s'; SELECT bundle_rec.assign('colour', 'other') IS NOT NULL}), 't', 'other units are assigned meanwhile');
like(($node->psql('postgres', q{SET lock_timeout = '100ms'; SELECT bundle_rec.assign('colour', 'waits')}))[2], qr/lock timeout/, 'the same one waits');
$first->query_safe('ROLLBACK;');
is(sql(q{SELECT count(*) FROM bundle_rec.exposure WHERE unit_id = 'waits'}), '0', 'what was rolled back is not logged');
$first->query_safe(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1;});
my $variant = sql(q{SELECT bundle_rec.assign('colour', 'seen')});
is($first->query_safe(q{SELECT bundle_rec.assign('colour', 'seen');}), $variant, 'a transaction with an older snapshot learns of it');
$first->quit;

# two experiments that want the last room of a layer
my $holder = $node->background_psql('postgres');
$holder->query_safe(q{BEGIN; SET ROLE keeper; SELECT bundle_rec.create_experiment('last', layer => 'page', traffic => 0.25);});
my $waiter = $node->background_psql('postgres', on_error_stop => 0);
$waiter->query_until(qr/waiting/, "\\echo waiting\nSET ROLE keeper; SELECT bundle_rec.create_experiment('later', layer => 'page', traffic => 0.25);\n\\echo done\n");
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'later'}), 'the second waits');
$holder->query_safe('COMMIT;');
$waiter->query_until(qr/done/, '');
like($waiter->{stderr}, qr/the layer has no room for this traffic/, 'and finds no room');
$holder->quit;
$waiter->quit;
sql(q{SET ROLE keeper; SELECT bundle_rec.drop_experiment('last')});

# ---- two other servers ----

sql(q{CREATE TABLE unit AS SELECT (ARRAY['control', 'treatment'])[1 + u % 2] AS variant, u, (u * 7919 % 1000) / 17::float8 AS y,
	(u * 104729 % 997) / 13::float8 AS x, 1 + u % 5 AS d FROM generate_series(1::bigint, 20000) u;
	CREATE EXTENSION postgres_fdw});
foreach my $half (0, 1)
{
	sql("CREATE DATABASE half$half");
	sql("CREATE EXTENSION bundle_rec; CREATE TABLE unit AS SELECT (ARRAY['control', 'treatment'])[1 + u % 2] AS variant, u, (u * 7919 % 1000) / 17::float8 AS y,
		(u * 104729 % 997) / 13::float8 AS x, 1 + u % 5 AS d FROM generate_series(1::bigint, 20000) u WHERE u / 2 % 2 = $half;
		CREATE VIEW part AS SELECT variant, bundle_rec.experiment_moments(y, x, d) AS moments FROM unit GROUP BY variant", "half$half");
	my ($host, $port) = ($node->host, $node->port);
	sql("CREATE SERVER half$half FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'half$half');
		CREATE USER MAPPING FOR CURRENT_USER SERVER half$half;
		CREATE FOREIGN TABLE part$half (variant text, moments float8[]) SERVER half$half OPTIONS (table_name 'part')");
}
is(sql(q{WITH whole AS (SELECT variant, bundle_rec.experiment_moments(y, x, d) AS m FROM unit GROUP BY variant),
	merged AS (SELECT variant, bundle_rec.experiment_moments_merge(moments) AS m FROM (TABLE part0 UNION ALL TABLE part1) p GROUP BY variant)
	SELECT count(*), bool_and(abs(a - b) <= 1e-10 * greatest(1, abs(b))) FROM whole w JOIN merged p USING (variant), unnest(p.m, w.m) v (a, b)}),
	'20|t', 'parts on two servers are merged to the moments of the whole');
is(sql(q{SELECT bool_and(abs(a.p_value - b.p_value) < 1e-9) FROM
	(SELECT (bundle_rec.compare_variants(max(m) FILTER (WHERE variant = 'control'), max(m) FILTER (WHERE variant <> 'control'), 'cuped')).* FROM
		(SELECT variant, bundle_rec.experiment_moments_merge(moments) AS m FROM (TABLE part0 UNION ALL TABLE part1) p GROUP BY variant) s) a,
	(SELECT p_value FROM bundle_rec.ab_test('SELECT variant, y AS value, x, d FROM unit', covariates => '{"value": "x"}', denominators => '{"value": "d"}')
		WHERE variant = 'treatment') b}), 't', 'and ab_test agrees');

# ---- a dump ----

sql(q{SELECT count(bundle_rec.assign('button', u::text)) FROM generate_series(1, 50) u});
my $state = q{SELECT experiment, layer, traffic, holdout, variants, version, salt, layer_salt, first_slot, end_slot, exposures, stopped_at
	FROM bundle_rec.experiment_state ORDER BY 1};
my $answers = q{SELECT string_agg(bundle_rec.assignment('button', u::text), ' ') || string_agg(bundle_rec.assignment('colour', u::text), ' ') FROM generate_series(1, 400) u};
my ($was, $answered, $exposures) = (sql($state), sql($answers), sql("SELECT count(*), sum(hashtext(e::text)) FROM bundle_rec.exposure e"));
sql('CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$folder/dump", $node->connstr('postgres') ], 'a dump');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), "$folder/dump" ], 'is restored');
is(sql($state, 'restored'), $was, 'experiments are there');
is(sql($answers, 'restored'), $answered, 'units get what they got');
is(sql("SELECT count(*), sum(hashtext(e::text)) FROM bundle_rec.exposure e", 'restored'), $exposures, 'and their exposures');
is(sql(q{SET ROLE web; SELECT bundle_rec.assign('colour', 'new') = bundle_rec.assignment('colour', 'new')}, 'restored'), 't', 'who may assign may go on');
like(($node->psql('restored', q{SET ROLE web; SELECT bundle_rec.stop_experiment('colour')}))[2], qr/must be owner of experiment/, 'and no more');
sql(q{SET ROLE keeper; SELECT bundle_rec.create_experiment('next')}, 'restored');
is(sql(q{SELECT count(DISTINCT experiment) FROM bundle_rec.experiment}, 'restored'), '3', 'numbers go on');
sql(q{SET ROLE keeper; SELECT bundle_rec.drop_experiment(e) FROM unnest('{button,colour,next}'::text[]) e}, 'restored');
is(sql(q{SELECT count(*) FROM pg_class WHERE relname ~ '^exposure_\d' AND relkind = 'r'}, 'restored'), '0', 'all can be dropped');
is(sql('SELECT (SELECT count(*) FROM bundle_rec.experiment_variant) + (SELECT count(*) FROM bundle_rec.experiment_layer)', 'restored'), '0', 'without a trace');
sql('DROP OWNED BY web; DROP OWNED BY keeper');
is(sql(q{SELECT count(*) FROM pg_class WHERE relname ~ '^exposure_\d' AND relacl::text ~ 'web|keeper'}), '0', 'roles that go take their rights along');

$node->stop;
done_testing();

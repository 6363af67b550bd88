# 027_train.pl
#    Training in the background: a model learns what goes together, whatever ends
#    its worker changes nothing of what comes of it, and nobody waits for it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use Decisions qw(hard_restart);
use Shop qw(error_of);
use Training;

my $node = PostgreSQL::Test::Cluster->new('train');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nrestart_after_crash = on\nmax_worker_processes = 12\nbundle_rec.worker_threads = 1\n");
$node->start;
make_goods($node);

sub sql
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql) =~ s/^\n+//r;
}

my $no_workers = q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'bundle_rec worker'};

# ---- from baskets to a model ----

my $zero_shot = partners_found($node, 'tiny');
cmp_ok($zero_shot, '<=', 5, "the model finds $zero_shot of 20 partners before");
my $listener = $node->background_psql('postgres', on_error_stop => 0);
$listener->query_safe('LISTEN bundle_rec_job');
my $job = train_job($node, q{parameters => '{"epochs": 150, "rate": 0.002, "batch": 16, "validation": 0}', model_name => 'learned'});
job_ends($node, $job, 'done', 'a training gets done');
my $learned = partners_found($node, 'learned');
cmp_ok($learned, '>=', 18, "and finds $learned afterwards");
is(sql("SELECT kind, model, phase, done = total, total > 100, loss < 1, message FROM bundle_rec.job WHERE job = $job"), 'train|learned||t|t|t|', 'the view says what came of it');
like($listener->query('SELECT 1'), qr/1/, 'who listens asks');
$listener->quit;
done_testing();

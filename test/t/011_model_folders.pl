# 011_model_folders.pl
#    Model folders that are damaged, incomplete or of another kind: each is a
#    clear error that stores nothing.

use strict;
use warnings;

use File::Path qw(rmtree);
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = "$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cased-max-dense";
my $plain = "$ENV{BR_GOLDEN_DIR}/models/tiny-bert-cls";
my $scratch = PostgreSQL::Test::Utils::tempdir();
my $json = JSON::PP->new->canonical;
my $number = 0;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->start;
$node->safe_psql('postgres', "CREATE EXTENSION bundle_rec; SELECT bundle_rec.load_model('good', '$plain')");

# Rows of both tables, and what they hold.
sub stored
{
	return $node->safe_psql('postgres', 'SELECT (SELECT md5(string_agg(s::text, \',\')) FROM bundle_rec.stored_model s),
		(SELECT md5(string_agg(md5(data), \',\')) FROM bundle_rec.model_chunk), (SELECT count(*) FROM bundle_rec.model)');
}
my $before = stored();

sub fresh_folder
{
	my ($from) = @_;
	my $folder = "$scratch/folder" . ++$number;
	PostgreSQL::Test::RecursiveCopy::copypath($from // $source, $folder);
	return $folder;
}

# $change damages a fresh copy; loading it must fail with this SQLSTATE and text.
sub refused
{
	my ($what, $state, $pattern, $change, $from) = @_;
	my $folder = fresh_folder($from);
	$change->($folder);
	my ($status, undef, $error) =
	  $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT bundle_rec.load_model('bad', '$folder')", timeout => 60);
	isnt($status, 0, "$what: is refused");
	like($error, qr/ERROR:  $state: /, "$what: SQLSTATE $state");
	like($error, $pattern, "$what: says what is wrong");
	is(stored(), $before, "$what: nothing is stored");
	chmod 0600, glob "$folder/*.json";
	rmtree($folder);
	return;
}

sub write_file
{
	my ($path, $contents) = @_;
	open my $file, '>:raw', $path or die "$path: $!";
	print $file $contents;
	close $file;
	return;
}

sub edit_json
{
	my ($path, $edit) = @_;
	my $value = $json->decode(slurp_file($path));
	$edit->($value);
	write_file($path, $json->encode($value));
	return;
}

# A safetensors file: 8 bytes of header length, little-endian, header, data.
sub edit_tensors
{
	my ($path, $edit) = @_;
	my $bytes = slurp_file($path);
	my $length = unpack 'Q<', $bytes;
	my $header = $json->decode(substr $bytes, 8, $length);
	my $data = substr $bytes, 8 + $length;
	$edit->($header, \$data);
	my $text = $json->encode($header);
	$text .= ' ' x (-length($text) % 8);
	write_file($path, pack('Q<', length $text) . $text . $data);
	return;
}

sub edit_weights
{
	my ($edit) = @_;
	return sub { edit_tensors("$_[0]/model.safetensors", $edit) };
}

sub edit_config
{
	my ($edit) = @_;
	return sub { edit_json("$_[0]/config.json", $edit) };
}

my $word = 'embeddings.word_embeddings.weight';
my $query = 'encoder.layer.0.attention.self.query.weight';

# ---- files that are missing or cannot be read ----

refused('no config.json', '58P01', qr/lacks the file "config\.json"/, sub { unlink "$_[0]/config.json" });
refused('no weights', '58P01', qr/lacks the file "model\.safetensors"\nHINT: .*safetensors/,
	sub { unlink "$_[0]/model.safetensors" });
refused('no pooling configuration', '58P01', qr/lacks the file "1_Pooling\/config\.json"/,
	sub { unlink "$_[0]/1_Pooling/config.json" });
refused('no weights of the dense layer', '58P01', qr/lacks the file "2_Dense\/model\.safetensors"/,
	sub { unlink "$_[0]/2_Dense/model.safetensors" });
refused('no tokenizer', '22P03', qr/tokenizer\.json|vocab\.txt/,
	sub { unlink "$_[0]/tokenizer.json", "$_[0]/vocab.txt" });
refused('an empty folder', '58P01', qr/lacks the file "config\.json"/, sub { rmtree($_[0]); mkdir $_[0] });
refused('an unreadable file', '42501', qr/could not open file ".*config\.json": Permission denied/,
	sub { chmod 0, "$_[0]/config.json" });
refused('a folder in place of a file', '42809', qr/config\.json" is not a regular file/,
	sub { unlink "$_[0]/config.json"; mkdir "$_[0]/config.json" });
refused('a named pipe in place of a file', '42809', qr/model\.safetensors" is not a regular file/,
	sub { unlink "$_[0]/model.safetensors"; system('mkfifo', "$_[0]/model.safetensors") == 0 or die });
refused('a huge file', '54000', qr/tokenizer\.json" is too large.*\n.*1073741824 bytes/,
	sub { truncate "$_[0]/tokenizer.json", 1 << 30 });

# ---- JSON ----

refused('config.json that is no JSON', '22P03', qr/config\.json/, sub { write_file("$_[0]/config.json", '{"model_type": ') });
refused('config.json that is an array', '22P03', qr/config\.json is not a JSON object/, sub { write_file("$_[0]/config.json", '[]') });
refused('an empty modules.json', '22P03', qr/modules\.json/, sub { write_file("$_[0]/modules.json", '') });
refused('deeply nested JSON', '54000', qr/tokenizer_config\.json/,
	sub { write_file("$_[0]/tokenizer_config.json", '{"a":' x 100_000) });
refused('a module path that leads out', '22P03', qr/leads out of the folder/,
	sub { edit_json("$_[0]/modules.json", sub { $_[0][1]{path} = '../1_Pooling' }) });
refused('a tokenizer without a vocabulary', '22P03', qr/tokenizer\.json/,
	sub { edit_json("$_[0]/tokenizer.json", sub { delete $_[0]{model}{vocab} }) });

# ---- kinds that are not handled ----

refused('an unknown architecture', '0A000', qr/gpt2/, edit_config(sub { $_[0]{model_type} = 'gpt2'; $_[0]{architectures} = ['GPT2Model'] }));
refused('positions by distance', '0A000', qr/position_embedding_type "relative_key" is not handled/,
	edit_config(sub { $_[0]{position_embedding_type} = 'relative_key' }));
refused('a default prompt', '0A000', qr/the default prompt "query" is not handled/,
	sub { edit_json("$_[0]/config_sentence_transformers.json", sub { $_[0]{default_prompt_name} = 'query'; $_[0]{prompts}{query} = 'query: ' }) });
refused('an unknown module', '0A000', qr/"sentence_transformers\.models\.CNN" is not handled/,
	sub { edit_json("$_[0]/modules.json", sub { $_[0][1]{type} = 'sentence_transformers.models.CNN' }) });
refused('an unknown activation', '0A000', qr/swish/, edit_config(sub { $_[0]{hidden_act} = 'swish' }));
refused('an unknown kind of tokenizer', '0A000', qr/WordLevel/,
	sub { edit_json("$_[0]/tokenizer.json", sub { $_[0]{model}{type} = 'WordLevel' }) });

# ---- configurations that contradict themselves or the weights ----

refused('no layers', '22P03', qr/num_hidden_layers/, edit_config(sub { $_[0]{num_hidden_layers} = 0 }));
refused('a negative size', '22P03', qr/hidden_size/, edit_config(sub { $_[0]{hidden_size} = -32 }));
refused('heads that do not divide', '22P03', qr/heads|num_attention_heads/, edit_config(sub { $_[0]{num_attention_heads} = 5 }));
refused('a huge vocabulary', '22P03', qr/vocab/, edit_config(sub { $_[0]{vocab_size} = 2000000000 }));
refused('more layers than weights', '22P03', qr/encoder\.layer\.\d/, edit_config(sub { $_[0]{num_hidden_layers} = 7 }));
refused('a roberta whose weights are of bert', '22P03', qr/max_position_embeddings|position_embeddings/,
	edit_config(sub { $_[0]{model_type} = 'roberta'; $_[0]{pad_token_id} = 1; $_[0]{max_position_embeddings} = 82 }));
refused('a distilbert by the members of bert', '22P03', qr/lacks "dim"/, edit_config(sub { $_[0]{model_type} = 'distilbert' }));
refused('a dense layer of other dimensions', '22P03', qr/2_Dense|linear\.weight|dimensions|features/,
	sub { edit_json("$_[0]/2_Dense/config.json", sub { $_[0]{in_features} = 31 }) });

# ---- weights ----

refused('weights cut off', '22P03', qr/model\.safetensors/, sub { truncate "$_[0]/model.safetensors", (-s "$_[0]/model.safetensors") - 100 });
refused('weights cut inside the header', '22P03', qr/model\.safetensors/, sub { truncate "$_[0]/model.safetensors", 1000 });
refused('weights of four bytes', '22P03', qr/model\.safetensors/, sub { truncate "$_[0]/model.safetensors", 4 });
refused('empty weights', '22P03', qr/model\.safetensors/, sub { truncate "$_[0]/model.safetensors", 0 });
refused('a header longer than the file', '22P03', qr/model\.safetensors/,
	sub { my $p = "$_[0]/model.safetensors"; write_file($p, pack('Q<', ~0) . substr slurp_file($p), 8) });
refused('a header that is no JSON', '22P03', qr/model\.safetensors/,
	sub { my $p = "$_[0]/model.safetensors"; my $b = slurp_file($p); substr($b, 8, 20) = 'x' x 20; write_file($p, $b) });
refused('overlapping tensors', '22P03', qr/\Q$query\E" begins at byte \d+, before the one before it ends/,
	edit_weights(sub { my $o = $_[0]{$query}{data_offsets}; $_ -= 64 for @$o }));
refused('a tensor outside the file', '22P03', qr/\Q$query\E" reaches from byte (\d+) to \d+ of \1/,
	edit_weights(sub { $_[0]{$query}{data_offsets} = [ length(${ $_[1] }), 2 * length(${ $_[1] }) ] }));
refused('offsets backwards', '22P03', qr/\Q$query\E/,
	edit_weights(sub { @{ $_[0]{$query}{data_offsets} } = reverse @{ $_[0]{$query}{data_offsets} } }));
refused('a wrong shape', '22P03', qr/\Q$query\E/, edit_weights(sub { $_[0]{$query}{shape} = [ 16, 64 ] }));
refused('a shape larger than its bytes', '22P03', qr/\Q$word\E/, edit_weights(sub { $_[0]{$word}{shape}[0] *= 2 }));
refused('a shape that overflows', '22P03', qr/\Q$word\E/, edit_weights(sub { $_[0]{$word}{shape} = [ 4294967296, 4294967296 ] }));
refused('an unknown type of number', '0A000', qr/I32/, edit_weights(sub { $_[0]{$query}{dtype} = 'I32' }));
refused('a missing tensor', '22P03', qr/\Q$query\E/, edit_weights(sub { my $t = delete $_[0]{$query}; $_[0]{unused} = $t }));
refused('a NaN among the weights', '22003', qr/\Q$query\E/,
	edit_weights(sub { substr(${ $_[1] }, $_[0]{$query}{data_offsets}[0] + 40, 4) = pack 'V', 0x7fc00000 }));
refused('an infinite weight', '22003', qr/linear\.bias/,
	sub { edit_tensors("$_[0]/2_Dense/model.safetensors", sub { substr(${ $_[1] }, $_[0]{'linear.bias'}{data_offsets}[0], 4) = pack 'V', 0xff800000 }) });

# ---- what is no error ----

my $folder = fresh_folder($plain);
unlink "$folder/modules.json";
rmtree("$folder/1_Pooling");
$node->safe_psql('postgres', "SELECT bundle_rec.load_model('plain', '$folder')");
is($node->safe_psql('postgres', q{SELECT pooling, normalize, dimensions FROM bundle_rec.model WHERE name = 'plain'}),
	'mean|f|32', 'a plain Hugging Face folder gets mean pooling');

$folder = fresh_folder();
symlink "$folder", "$scratch/link";
$node->safe_psql('postgres', "SELECT bundle_rec.load_model('linked', '$scratch/link')");
is($node->safe_psql('postgres', q{SELECT pooling FROM bundle_rec.model WHERE name = 'linked'}), 'max',
	'a link to a folder is a folder');

# a cancel while loading stores nothing, as a client that gives up would
$before = stored();
my ($status, undef, $error) = $node->psql('postgres',
	"\\set VERBOSITY verbose\nBEGIN; SELECT bundle_rec.load_model('half', '$source'); SELECT 1/0; COMMIT;");
like($error, qr/22012/, 'an error after loading');
is(stored(), $before, 'takes the load back');

# two sessions, one name: the second waits for the first and is told
my $first = $node->background_psql('postgres');
my $second = $node->background_psql('postgres', on_error_stop => 0);
$first->query("BEGIN; SELECT bundle_rec.load_model('same', '$source')");
$second->query_until(qr/begun/, "\\echo begun\n\\set VERBOSITY verbose\nSELECT bundle_rec.load_model('same', '$plain');\n");
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%same%' AND pid <> pg_backend_pid()"),
	'a second load of the same name waits');
$first->query('COMMIT');
$second->query('SELECT 1');
like($second->{stderr}, qr/42710: model "same" already exists/, 'and is told that the name is taken');
is($node->safe_psql('postgres', q{SELECT pooling FROM bundle_rec.model WHERE name = 'same'}), 'max', 'the first one stands');
$_->quit for $first, $second;

$node->stop;
done_testing();

/*
 * test_fuzz.c
 *	  Replays what the fuzzer begins with, and what it once found.
 *
 *	test_fuzz                  TAP: seeds and test/fuzz/corpus, all targets
 *	test_fuzz TARGET FILE ...  these files through one target
 *	test_fuzz --write DIR      writes the seeds to DIR/TARGET/
 *	test_fuzz --list           the targets, one a line
 *
 * A target that fails aborts, and the last line printed names the input.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz/fuzz.h"

/* An input that takes more seconds than this, or a process more memory, is a failure. */
#define MAX_SECONDS 10
#define MAX_MEMORY (1 << 30)

extern int target_safetensors(const uint8_t *data, size_t size);
extern int target_folder(const uint8_t *data, size_t size);
extern int target_tokenizer(const uint8_t *data, size_t size);
extern int target_tokenize(const uint8_t *data, size_t size);
extern int target_image(const uint8_t *data, size_t size);
extern int target_embedding_text(const uint8_t *data, size_t size);
extern int target_embedding_binary(const uint8_t *data, size_t size);
extern int target_helper(const uint8_t *data, size_t size);

typedef struct Target
{
	const char *name;
	int (*run)(const uint8_t *data, size_t size);
} Target;

static const Target targets[] = {
	{"safetensors", target_safetensors},
	{"folder", target_folder},
	{"tokenizer", target_tokenizer},
	{"tokenize", target_tokenize},
	{"image", target_image},
	{"embedding_text", target_embedding_text},
	{"embedding_binary", target_embedding_binary},
	{"helper", target_helper},
};

#define N_TARGETS ((int) (sizeof(targets) / sizeof(targets[0])))

/* One target being replayed. */
typedef struct Replay
{
	const Target *target;
	const char *directory; /* to write to, instead */
	int inputs;
} Replay;

static void
replay(void *arg, const char *name, const void *data, size_t size)
{
	Replay *this = arg;
	/* behind it lies nothing */
	uint8_t *copy = malloc(size > 0 ? size : 1);

	if (size > 0)
		memcpy(copy, data, size);
	printf("# %s: %s\n", this->target->name, name);
	fflush(stdout);
	alarm(MAX_SECONDS);
	this->target->run(copy, size);
	alarm(0);
	this->inputs++;
	free(copy);
}

static bool
replay_file(Replay *this, const char *path)
{
	FILE *file = fopen(path, "rb");
	long size;
	void *data;

	if (file == NULL)
		return false;
	fseek(file, 0, SEEK_END);
	size = ftell(file);
	rewind(file);
	data = malloc((size_t) size + 1);
	if (fread(data, 1, (size_t) size, file) == (size_t) size)
		replay(this, path, data, (size_t) size);
	fclose(file);
	free(data);
	return true;
}

/* What the fuzzer found, kept in the tree; none need be there. */
static void
replay_corpus(Replay *this)
{
	const char *golden = getenv("BR_TEST_DIR");
	char directory[1024];
	struct dirent **entries;
	int n;

	snprintf(directory, sizeof(directory), "%s/../fuzz/corpus/%s",
			 golden != NULL ? golden : "test/golden", this->target->name);
	n = scandir(directory, &entries, NULL, alphasort);
	for (int i = 0; i < n; i++)
	{
		char path[2048];

		snprintf(path, sizeof(path), "%s/%s", directory, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.' && !replay_file(this, path))
			fuzz_fail(__FILE__, __LINE__, "the corpus is read", path);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
}

static int
replay_all(void)
{
	printf("1..%d\n", N_TARGETS);
	for (int i = 0; i < N_TARGETS; i++)
	{
		Replay this = {&targets[i], NULL, 0};

		fuzz_accepted = 0;
		fuzz_each_seed(targets[i].name, replay, &this);
		replay_corpus(&this);
		/* a target that refuses all it is given tests next to nothing */
		printf("%s %d - %s: %d inputs, some of them accepted\n",
			   fuzz_accepted > 0 ? "ok" : "not ok", i + 1, targets[i].name, this.inputs);
	}
	return 0;
}

static int
replay_files(const char *name, char **paths, int n)
{
	for (int i = 0; i < N_TARGETS; i++)
	{
		Replay this = {&targets[i], NULL, 0};

		if (strcmp(targets[i].name, name) != 0)
			continue;
		for (int j = 0; j < n; j++)
			if (!replay_file(&this, paths[j]))
			{
				fprintf(stderr, "%s cannot be read\n", paths[j]);
				return 2;
			}
		return 0;
	}
	fprintf(stderr, "no target is called %s\n", name);
	return 2;
}

static void
write_seed(void *arg, const char *name, const void *data, size_t size)
{
	Replay *this = arg;
	char path[2048];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s/seed-%s", this->directory, this->target->name, name);
	file = fopen(path, "wb");
	if (file == NULL || fwrite(data, 1, size, file) != size || fclose(file) != 0)
		fuzz_fail(__FILE__, __LINE__, "a seed is written", path);
}

static int
write_seeds(const char *directory)
{
	mkdir(directory, 0755);
	for (int i = 0; i < N_TARGETS; i++)
	{
		Replay this = {&targets[i], directory, 0};
		char path[1024];

		snprintf(path, sizeof(path), "%s/%s", directory, targets[i].name);
		mkdir(path, 0755);
		fuzz_each_seed(targets[i].name, write_seed, &this);
	}
	return 0;
}

int
main(int argc, char **argv)
{
#ifndef __SANITIZE_ADDRESS__
	/* the sanitizer reserves address space of its own, a thousand times this */
	struct rlimit memory = {MAX_MEMORY, MAX_MEMORY};

	setrlimit(RLIMIT_AS, &memory);
#endif
	if (argc == 3 && strcmp(argv[1], "--write") == 0)
		return write_seeds(argv[2]);
	if (argc == 2 && strcmp(argv[1], "--list") == 0)
	{
		for (int i = 0; i < N_TARGETS; i++)
			puts(targets[i].name);
		return 0;
	}
	if (argc > 2)
		return replay_files(argv[1], argv + 2, argc - 2);
	return replay_all();
}

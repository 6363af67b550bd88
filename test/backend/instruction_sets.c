/*
 * instruction_sets.c
 *	  A process for each instruction set, for backends that keep their first.
 *
 * Each prints a TAP of its own; whoever reads them adds up the plans.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/instruction_sets.h"

#include "core/math/br_backend.h"

#define WHATEVER "any"

static const char *const sets[] = {"baseline",	  "avx2",		 "avx512",
								   "avx512_vnni", "avx512_bf16", WHATEVER};

/* Whether the program passed for one set; says so where it ended otherwise than by exit. */
static int
run_process(char *program, const char *set)
{
	pid_t child;
	int status;

	fflush(NULL);
	child = fork();
	if (child == 0)
	{
		unsetenv(BR_BACKEND_ISA_VARIABLE);
		execl("/proc/self/exe", program, set, (char *) NULL);
		_exit(127);
	}
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (child < 0 || !WIFEXITED(status) || WEXITSTATUS(status) == 127)
	{
		printf("1..1\nnot ok 1 - %s ended before its time\n", set);
		return 1;
	}
	return WEXITSTATUS(status) != 0;
}

int
run_for_each_set(int argc, char **argv, int (*tests)(const char *instruction_set))
{
	int failed = 0;

	if (argc > 1)
		return tests(strcmp(argv[1], WHATEVER) == 0 ? NULL : argv[1]) != 0;
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
		failed += run_process(argv[0], sets[i]);
	return failed != 0;
}

/*
 * instruction_sets.h
 *	  A process for each instruction set, for backends that keep their first.
 */
#ifndef BR_TEST_INSTRUCTION_SETS_H
#define BR_TEST_INSTRUCTION_SETS_H

/*
 * The main function of a test program. Without an argument it runs the program
 * again for each value of BR_BACKEND_ISA_VARIABLE and for none; with one it
 * gives it to tests, NULL for none, which returns how many failed.
 */
extern int run_for_each_set(int argc, char **argv, int (*tests)(const char *instruction_set));

#endif /* BR_TEST_INSTRUCTION_SETS_H */

/*
 * signals.c
 *	  No signal is handled on a stack that oneDNN's code is using.
 *
 * Its products (dnnl_sgemm of 2.6 for one) keep numbers and addresses further
 * below the stack pointer than the 128 bytes that the ABI leaves alone. A handler
 * that runs meanwhile, as PostgreSQL's do for a cancel, a timeout or another
 * backend's wake-up, writes over them; the product then is wrong, or written
 * anywhere. So signals wait until it is done, some milliseconds at most where
 * callers go by blocks. Those that the code itself would raise are let through.
 */
#define _POSIX_C_SOURCE 200809L /* pthread_sigmask */

#include <stddef.h>

#include "backend/onednn/signals.h"

void
br_onednn_hold_signals(sigset_t *before)
{
	sigset_t held;

	sigfillset(&held);
	sigdelset(&held, SIGSEGV);
	sigdelset(&held, SIGBUS);
	sigdelset(&held, SIGILL);
	sigdelset(&held, SIGFPE);
	sigdelset(&held, SIGABRT);
	(void) pthread_sigmask(SIG_SETMASK, &held, before);
}

void
br_onednn_let_signals(const sigset_t *before)
{
	(void) pthread_sigmask(SIG_SETMASK, before, NULL);
}

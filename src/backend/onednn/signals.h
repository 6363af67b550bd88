/*
 * signals.h
 *	  Signals of the thread that runs code which oneDNN has made.
 */
#ifndef BR_ONEDNN_SIGNALS_H
#define BR_ONEDNN_SIGNALS_H

#include <signal.h> /* sigset_t, of POSIX */

/* Around it: signals that come meanwhile are handled behind it. */
extern void br_onednn_hold_signals(sigset_t *before);
extern void br_onednn_let_signals(const sigset_t *before);

#endif /* BR_ONEDNN_SIGNALS_H */

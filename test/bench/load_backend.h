/*
 * load_backend.h
 *	  Backends for the programs that measure.
 */
#ifndef LOAD_BACKEND_H
#define LOAD_BACKEND_H

#include "core/math/br_backend.h"

/*
 * The table of "portable", or of br_backend_NAME.so in BR_BACKEND_DIR (build).
 * NULL, with *why, where it is not built or cannot run here.
 */
extern const BrBackend *load_backend(const char *name, const char **why);

#endif /* LOAD_BACKEND_H */

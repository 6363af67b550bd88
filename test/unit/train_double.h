/*
 * train_double.h
 *	  The train room compiled in double, in one piece, for a test of gradients.
 *
 * Include it first and once in a program: its functions then stand in for those
 * of the archive.
 */
#ifndef TRAIN_DOUBLE_H
#define TRAIN_DOUBLE_H

#define BR_TRAIN_DOUBLE

/* Three rows of 1,200 words. */
#define BR_TRAIN_MOST_SCORES 4000

#include "core/train/accumulate.c"
#include "core/train/adalora.c"
#include "core/train/adversarial.c"
#include "core/train/attention.c"
#include "core/train/augment.c"
#include "core/train/backward.c"
#include "core/train/bottleneck.c"
#include "core/train/classes.c"
#include "core/train/contrastive.c"
#include "core/train/delta.c"
#include "core/train/device.c"
#include "core/train/forward.c"
#include "core/train/lora.c"
#include "core/train/losses.c"
#include "core/train/masked.c"
#include "core/train/model.c"
#include "core/train/optimiser.c"
#include "core/train/plan.c"
#include "core/train/pooling.c"
#include "core/train/prefix.c"
#include "core/train/products.c"
#include "core/train/rows.c"
#include "core/train/sentences.c"
#include "core/train/sets.c"

#endif /* TRAIN_DOUBLE_H */

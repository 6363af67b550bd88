/*
 * tokens.c
 *	  What a training learns from, as core takes it, and which tokens are no words.
 *
 * Which tokens a model puts around a text, and which one hides a word, the
 * tokenizer itself is asked: the empty text has nothing but them, and a text of
 * one letter tells those in front from those behind.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "pg/model/model.h"
#include "pg/train/train_int.h"

/* tokens that hide a word, as the models of the known architectures write them */
static const char *const masks[] = {"[MASK]", "<mask>"};

static void
find_special(int32 model, BrTuneData *tune)
{
	int n_empty, n_letter;
	int32 *empty = br_pg_model_tokenize(model, "", false, &n_empty);
	int32 *letter = br_pg_model_tokenize(model, "a", false, &n_letter);

	while (tune->lead < n_empty && empty[tune->lead] == letter[tune->lead])
		tune->lead++;
	tune->tail = n_empty - tune->lead;
	tune->special = empty;
	tune->n_special = n_empty;
	pfree(letter);
}

static int32
find_mask(int32 model, const BrTuneData *tune)
{
	for (int i = 0; i < lengthof(masks); i++)
	{
		int n;
		int32 *ids = br_pg_model_tokenize(model, masks[i], true, &n);

		if (n == tune->lead + 1 + tune->tail)
			return ids[tune->lead];
		pfree(ids);
	}
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("the model has no token that hides a word"),
			 errhint("Train with another objective.")));
}

static const BrTuneExample *
convert_examples(const BrPgTrainData *data)
{
	BrTuneExample *examples =
		palloc_extended(sizeof(BrTuneExample) * (Size) data->n_examples, MCXT_ALLOC_HUGE);

	for (int i = 0; i < data->n_examples; i++)
	{
		const BrPgTrainExample *from = &data->examples[i];

		examples[i] = (BrTuneExample){.first = from->first,
									  .second = from->second,
									  .third = from->third,
									  .label = from->label,
									  .score = from->score};
	}
	return examples;
}

static int
count_classes(const BrPgTrainPlan *plan, const BrPgTrainData *data)
{
	int classes = 2;

	if (plan->choice.classes > 0)
		return plan->choice.classes;
	for (int i = 0; i < data->n_examples; i++)
		classes = Max(classes, data->examples[i].label + 1);
	return classes;
}

/* ---- documents ---- */

typedef struct Sentence
{
	int32 document;
	int32 place; /* among the examples */
} Sentence;

static int
compare_sentences(const void *left, const void *right)
{
	const Sentence *a = left;
	const Sentence *b = right;

	if (a->document != b->document)
		return a->document < b->document ? -1 : 1;
	return a->place < b->place ? -1 : a->place > b->place;
}

/* Examples with documents side by side, those of validation last. */
static Sentence *
order_documents(const BrPgTrainData *data)
{
	int n = data->n_examples, learned = n - data->n_validation;
	Sentence *order = palloc_extended(sizeof(Sentence) * (Size) n, MCXT_ALLOC_HUGE);

	for (int i = 0; i < n; i++)
		order[i] = (Sentence){data->examples[i].document, i};
	qsort(order, learned, sizeof(Sentence), compare_sentences);
	qsort(order + learned, data->n_validation, sizeof(Sentence), compare_sentences);
	return order;
}

/* Adds a text to the set that begins with a member, if it is not there yet. */
static void
add_member(int32 *members, int32 first, int32 *n, int32 text)
{
	for (int32 i = first; i < *n; i++)
		if (members[i] == text)
			return;
	members[(*n)++] = text;
}

/* Sets of different texts; what has but one is none. */
static void
lay_out_sets(const BrPgTrainData *data, BrTuneData *tune)
{
	int n = data->n_examples, learned = n - data->n_validation;
	Sentence *order = order_documents(data);
	int32 *sets = palloc_extended(sizeof(int32) * ((Size) n + 1), MCXT_ALLOC_HUGE);
	int32 *members = palloc_extended(sizeof(int32) * (Size) n, MCXT_ALLOC_HUGE);
	int32 n_members = 0;

	tune->n_examples = tune->n_validation = 0;
	sets[0] = 0;
	for (int i = 0; i < n;)
	{
		int32 first = n_members, document = order[i].document;
		bool validates = i >= learned;

		for (; i < n && order[i].document == document && (i >= learned) == validates; i++)
			add_member(members, first, &n_members, data->examples[order[i].place].first);
		if (n_members - first < 2)
			n_members = first;
		else
		{
			sets[++tune->n_examples] = n_members;
			tune->n_validation += validates;
		}
	}
	pfree(order);
	tune->sets = sets;
	tune->members = members;
}

/* Each sentence where it stands, as often as it does, documents side by side. */
static void
lay_out_sentences(const BrPgTrainData *data, BrTuneData *tune)
{
	int n = data->n_examples;
	Sentence *order = order_documents(data);
	int32 *documents = palloc_extended(sizeof(int32) * (Size) n, MCXT_ALLOC_HUGE);
	int32 *offsets = palloc_extended(sizeof(int32) * ((Size) n + 1), MCXT_ALLOC_HUGE);
	int64 total = 0;
	int32 *ids;

	for (int i = 0; i < n; i++)
	{
		int text = data->examples[order[i].place].first;

		documents[i] = order[i].document;
		offsets[i] = (int32) total;
		total += data->offsets[text + 1] - data->offsets[text];
		if (total > PG_INT32_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("there are too many sentences to learn from"),
					 errhint("Give a query that returns fewer.")));
	}
	offsets[n] = (int32) total;
	ids = palloc_extended(sizeof(int32) * (Size) total, MCXT_ALLOC_HUGE);
	for (int i = 0; i < n; i++)
	{
		int text = data->examples[order[i].place].first;

		memcpy(ids + offsets[i], data->ids + data->offsets[text],
			   sizeof(int32) * (data->offsets[text + 1] - data->offsets[text]));
	}
	pfree(order);
	tune->ids = ids;
	tune->offsets = offsets;
	tune->n_texts = n;
	tune->documents = documents;
}

BrTuneData
br_pg_train_tune_data(const BrPgTrainPlan *plan, const BrPgTrainData *data)
{
	BrTuneData tune = {.ids = data->ids,
					   .offsets = data->offsets,
					   .n_texts = data->n_texts,
					   .n_validation = data->n_validation,
					   .teacher = data->teacher,
					   .teacher_dimensions = data->dimensions};

	find_special(plan->parent, &tune);
	if (plan->options.objective == BR_TUNE_MASKED_WORDS)
		tune.mask_id = find_mask(plan->parent, &tune);
	if (plan->shape == BR_PG_TRAIN_SENTENCES)
		lay_out_sentences(data, &tune);
	else if (plan->shape == BR_PG_TRAIN_SETS)
		lay_out_sets(data, &tune);
	else
	{
		tune.examples = convert_examples(data);
		tune.n_examples = data->n_examples;
	}
	if (plan->shape == BR_PG_TRAIN_LABELS || plan->shape == BR_PG_TRAIN_PAIR_LABELS)
		tune.classes = count_classes(plan, data);
	return tune;
}

/*
 * test_learn_words.c
 *	  Words of texts, what they weigh, and which texts are alike.
 *
 * What words are was computed by Python's unicodedata (Unicode 14): NFKC,
 * casefold, NFKC, without default ignorables, split at all but categories L, M
 * and N. The weights are scikit-learn's (1.9.1) over these words, and BM25 as
 * rank-bm25 adds it up, by NumPy. Searches are compared with all products.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/learn/br_learn.h"
#include "learn_countdown.h"

#define assert_near(value, expected, tolerance) \
	assert_true(fabs((double) (value) - (expected)) <= (tolerance))

#define N_TEXTS 12

static const char *const texts[N_TEXTS] = {
	"Caf\u00E9 noir, 500 g \u2013 CAF\u00C9 au lait",
	"cafe\u0301 au lait 2\u00D7250 ml",
	"Stra\u00DFe & STRASSE: eine Ma\u00DFeinheit",
	"\uFB01ne ground co\uFB00ee, 5\u338F",
	"\uFF26\uFF55\uFF4C\uFF4C \uFF57\uFF49\uFF44\uFF54\uFF48 coffee fine grind",
	"\u043A\u043E\u0444\u0435 \u041C\u043E\u043B\u043E\u0442\u044B\u0439 500 \u0433",
	"\u0939\u093F\u0928\u094D\u0926\u0940 \u091A\u093E\u092F 500 g",
	"don't grind: soft\u00ADhyphen_under \u00BD cup",
	"",
	"softhyphen under 1\u20442 cup don t",
	"\u03A3\u038A\u03A3\u03A5\u03A6\u039F\u03A3 \u03C3\u03AF\u03C3\u03C5\u03C6\u03BF\u03C2 \u2260 "
	"=\u0338 \u0130stanbul",
	"coffee coffee coffee filter 4 cups",
};

static const char *const words[N_TEXTS] = {
	"caf\u00E9 noir 500 g caf\u00E9 au lait",
	"caf\u00E9 au lait 2 250 ml",
	"strasse strasse eine masseinheit",
	"fine ground coffee 5kg",
	"full width coffee fine grind",
	"\u043A\u043E\u0444\u0435 \u043C\u043E\u043B\u043E\u0442\u044B\u0439 500 \u0433",
	"\u0939\u093F\u0928\u094D\u0926\u0940 \u091A\u093E\u092F 500 g",
	"don t grind softhyphen under 1 2 cup",
	"",
	"softhyphen under 1 2 cup don t",
	"\u03C3\u03AF\u03C3\u03C5\u03C6\u03BF\u03C3 \u03C3\u03AF\u03C3\u03C5\u03C6\u03BF\u03C3 "
	"i\u0307stanbul",
	"coffee coffee coffee filter 4 cups",
};

static BrText
text_of(const char *text)
{
	return (BrText){text, strlen(text)};
}

/* the texts, and a vocabulary of them */
typedef struct Catalog
{
	BrContext context;
	BrText texts[N_TEXTS];
	BrVocabulary *vocabulary;
	BrSparse counts;
} Catalog;

static void
catalog_open(Catalog *catalog, bool pairs)
{
	BrWordOptions options = {.pairs = pairs};

	br_base_context_init(&catalog->context);
	for (int i = 0; i < N_TEXTS; i++)
		catalog->texts[i] = text_of(texts[i]);
	assert_int_equal(br_learn_vocabulary_create(&catalog->context, &catalog->vocabulary), BR_OK);
	assert_int_equal(br_learn_words(&catalog->context, catalog->texts, N_TEXTS, catalog->vocabulary,
									&options, &catalog->counts),
					 BR_OK);
	assert_int_equal(br_learn_sparse_check(&catalog->context, &catalog->counts), BR_OK);
}

static void
catalog_close(Catalog *catalog)
{
	br_learn_sparse_free(&catalog->context, &catalog->counts);
	br_learn_vocabulary_free(&catalog->context, catalog->vocabulary);
}

/* ---- words ---- */

/* counts of one text, checked against words with spaces between */
static void
assert_counts(const BrVocabulary *vocabulary, const BrSparse *counts, int row, const char *expected)
{
	float left[64] = {0};
	int64_t begin = counts->starts[row];
	int64_t n = counts->starts[row + 1] - begin;

	assert_true(n <= 64);
	for (int64_t i = 0; i < n; i++)
		left[i] = counts->values[begin + i];
	while (*expected != '\0')
	{
		size_t size = strcspn(expected, " ");
		int32_t id = br_learn_vocabulary_find(vocabulary, (BrText){expected, size});
		int64_t i = 0;

		assert_true(id >= 0);
		while (i < n && counts->ids[begin + i] != id)
			i++;
		assert_true(i < n);
		left[i]--;
		expected += size + (expected[size] == ' ');
	}
	for (int64_t i = 0; i < n; i++)
		assert_true(left[i] == 0);
}

static void
words_are_folded_and_split(void **state)
{
	Catalog catalog;

	(void) state;
	catalog_open(&catalog, false);
	assert_int_equal(br_learn_vocabulary_size(catalog.vocabulary), 35);
	assert_int_equal(catalog.counts.rows, N_TEXTS);
	assert_int_equal(catalog.counts.columns, 35);
	assert_int_equal(catalog.counts.starts[N_TEXTS], 53);
	for (int i = 0; i < N_TEXTS; i++)
		assert_counts(catalog.vocabulary, &catalog.counts, i, words[i]);

	/* numbers in the order in which words came */
	assert_int_equal(br_learn_vocabulary_find(catalog.vocabulary, text_of("caf\u00E9")), 0);
	assert_int_equal(br_learn_vocabulary_find(catalog.vocabulary, text_of("noir")), 1);
	assert_int_equal(br_learn_vocabulary_find(catalog.vocabulary, text_of("Noir")), -1);
	catalog_close(&catalog);
}

static void
pairs_are_terms_too(void **state)
{
	Catalog catalog;

	(void) state;
	catalog_open(&catalog, true);
	assert_int_equal(br_learn_vocabulary_size(catalog.vocabulary), 73);
	assert_int_equal(catalog.counts.starts[N_TEXTS], 99);
	assert_true(br_learn_vocabulary_find(catalog.vocabulary, text_of("1 2")) >= 0);
	assert_true(br_learn_vocabulary_find(catalog.vocabulary, text_of("coffee coffee")) >= 0);
	/* not over the end of a text */
	assert_int_equal(br_learn_vocabulary_find(catalog.vocabulary, text_of("lait caf\u00E9")), -1);
	catalog_close(&catalog);
}

static void
unknown_words_are_left_out_on_request(void **state)
{
	BrText fresh[2] = {text_of("COFFEE tin, coffee pot"), text_of("nothing known")};
	BrWordOptions options = {.known = true};
	Catalog catalog;
	BrSparse counts;

	(void) state;
	catalog_open(&catalog, false);
	assert_int_equal(br_learn_words(&catalog.context, fresh, 2, catalog.vocabulary, &options,
									&counts),
					 BR_OK);
	assert_int_equal(br_learn_vocabulary_size(catalog.vocabulary), 35);
	assert_int_equal(counts.columns, 35);
	assert_int_equal(counts.starts[1], 1);
	assert_int_equal(counts.starts[2], 1);
	assert_counts(catalog.vocabulary, &counts, 0, "coffee coffee");
	br_learn_sparse_free(&catalog.context, &counts);
	catalog_close(&catalog);
}

/* 40 e acute are 80 bytes, of which 64 are kept: 32 letters; the 65th a goes, too */
static void
long_words_keep_their_beginning(void **state)
{
	char accented[81];
	char plain[66];
	BrText both[2] = {{accented, 80}, {plain, 65}};
	BrWordOptions options = {.pairs = true};
	BrVocabulary *vocabulary;
	BrContext context;
	BrSparse counts;

	(void) state;
	for (int i = 0; i < 40; i++)
		memcpy(accented + 2 * i, "\u00E9", 3);
	memset(plain, 'a', sizeof(plain));
	plain[0] = 'X';
	br_base_context_init(&context);
	assert_int_equal(br_learn_vocabulary_create(&context, &vocabulary), BR_OK);
	assert_int_equal(br_learn_words(&context, both, 2, vocabulary, &options, &counts), BR_OK);
	assert_int_equal(counts.columns, 2);
	assert_int_equal(br_learn_vocabulary_term(vocabulary, 0).size, 64);
	assert_memory_equal(br_learn_vocabulary_term(vocabulary, 0).bytes, accented, 64);
	plain[0] = 'x';
	assert_int_equal(br_learn_vocabulary_term(vocabulary, 1).size, 64);
	assert_memory_equal(br_learn_vocabulary_term(vocabulary, 1).bytes, plain, 64);
	br_learn_sparse_free(&context, &counts);
	br_learn_vocabulary_free(&context, vocabulary);
}

/* a megabyte of marks that folding would have to sort, and a letter that grows eighteenfold */
static void
strange_texts_take_no_longer(void **state)
{
	size_t size = 1 << 20;
	char *marks = malloc(size);
	char *grown = malloc(3 * 600);
	BrText strange[3] = {{marks, size}, {grown, 3 * 600}, {"a\0b", 3}};
	BrWordOptions options = {.known = false};
	BrVocabulary *vocabulary;
	BrContext context;
	BrSparse counts;

	(void) state;
	for (size_t i = 0; i + 4 <= size; i += 4)
		memcpy(marks + i, "\u0301\u0323", 4);
	for (int i = 0; i < 600; i++)
		memcpy(grown + 3 * i, "\uFDFA", 3);
	marks[0] = 'm';
	marks[1] = 'm';
	br_base_context_init(&context);
	assert_int_equal(br_learn_vocabulary_create(&context, &vocabulary), BR_OK);
	assert_int_equal(br_learn_words(&context, strange, 3, vocabulary, &options, &counts), BR_OK);
	assert_int_equal(counts.starts[1], 1);
	/* U+FDFA is four words; the last runs into the next character's first, which makes a fifth */
	assert_int_equal(counts.starts[2] - counts.starts[1], 5);
	assert_int_equal(counts.starts[3] - counts.starts[2], 2);
	br_learn_sparse_free(&context, &counts);
	br_learn_vocabulary_free(&context, vocabulary);
	free(marks);
	free(grown);
}

static void
what_is_not_utf8_is_refused(void **state)
{
	static const char *const bad[] = {"caf\xE9",	  "a\xC3",
									  "\xED\xA0\x80", "\xF8\x88\x80\x80\x80",
									  "\x80",		  "caf\u00E9 \xC0\xAF"};
	BrWordOptions options = {.known = false};
	BrVocabulary *vocabulary;
	char name[BR_SHARED_WORDS_SIZE + 1];
	BrContext context;
	BrSparse counts;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_vocabulary_create(&context, &vocabulary), BR_OK);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		BrText text = text_of(bad[i]);

		assert_int_equal(br_learn_words(&context, &text, 1, vocabulary, &options, &counts),
						 BR_ERR_ARGUMENT);
		assert_non_null(strstr(context.detail, "UTF-8"));
		assert_null(counts.starts);
		assert_int_equal(br_learn_shared_words(&context, &text, 1, NULL, NULL, name),
						 BR_ERR_ARGUMENT);
	}
	br_learn_vocabulary_free(&context, vocabulary);
}

static void
vocabulary_keeps_every_term(void **state)
{
	BrVocabulary *vocabulary;
	BrContext context;
	char term[16];
	int32_t number;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_vocabulary_create(&context, &vocabulary), BR_OK);
	assert_int_equal(br_learn_vocabulary_find(vocabulary, text_of("t0")), -1);
	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < 5000; i++)
		{
			sprintf(term, "t%d", i * 7919 % 5000);
			assert_int_equal(br_learn_vocabulary_add(&context, vocabulary, text_of(term), &number),
							 BR_OK);
			assert_int_equal(number, i);
			assert_int_equal(br_learn_vocabulary_term(vocabulary, number).size, strlen(term));
			assert_memory_equal(br_learn_vocabulary_term(vocabulary, number).bytes, term,
								strlen(term));
		}
	assert_int_equal(br_learn_vocabulary_add(&context, vocabulary, text_of(""), &number), BR_OK);
	assert_int_equal(number, 5000);
	assert_int_equal(br_learn_vocabulary_find(vocabulary, text_of("")), 5000);
	assert_int_equal(br_learn_vocabulary_size(vocabulary), 5001);
	br_learn_vocabulary_free(&context, vocabulary);
}

/* A large table takes a while to double; a vocabulary outlives that somebody does not wait. */
static void
growing_may_be_cancelled(void **state)
{
	const int n = 1 << 18;
	BrVocabulary *vocabulary;
	Countdown countdown;
	BrContext context;
	int32_t number;

	(void) state;
	countdown_begin(&context, &countdown, INT_MAX, INT_MAX);
	assert_int_equal(br_learn_vocabulary_create(&context, &vocabulary), BR_OK);
	for (int i = 0; i < n; i++)
		assert_int_equal(br_learn_vocabulary_add(&context, vocabulary,
												 (BrText){(const char *) &i, sizeof(i)}, &number),
						 BR_OK);
	countdown.checks = 1;
	assert_int_equal(br_learn_vocabulary_add(&context, vocabulary, text_of("new"), &number),
					 BR_ERR_CANCELLED);
	assert_int_equal(br_learn_vocabulary_size(vocabulary), n);
	for (int i = 0; i < n; i++)
		assert_int_equal(br_learn_vocabulary_find(vocabulary,
												  (BrText){(const char *) &i, sizeof(i)}),
						 i);
	countdown.checks = INT_MAX;
	assert_int_equal(br_learn_vocabulary_add(&context, vocabulary, text_of("new"), &number), BR_OK);
	assert_int_equal(number, n);
	br_learn_vocabulary_free(&context, vocabulary);
	assert_int_equal(countdown.live, 0);
}

/* ---- names ---- */

static void
assert_name(const char *const *titles, int n, const char *expected)
{
	BrText shared[8];
	char name[BR_SHARED_WORDS_SIZE + 1];
	BrContext context;

	br_base_context_init(&context);
	for (int i = 0; i < n; i++)
		shared[i] = text_of(titles[i]);
	assert_int_equal(br_learn_shared_words(&context, shared, n, NULL, NULL, name), BR_OK);
	assert_string_equal(name, expected);
}

static void
names_are_what_texts_share(void **state)
{
	static const char *const yoga[] = {"Blue YOGA Mat", "yoga block, cork", "Strap for Yoga mat"};
	static const char *const none[] = {"bread", "butter", "jam"};
	/* "set" is in 2 of 5, which is less than half; in 2 of 4 it is half */
	static const char *const half[] = {"Tea Set", "tea cup set", "green tea", "black", "kettle"};
	static const char *const once[] = {"milk milk milk", "bread"};
	static const char *const folded[] = {"1\u20442 Stra\u00DFe", "\u00BD STRASSE"};
	/* first "Caf<e acute>" in NFC, then in NFD */
	static const char *const spelled[] = {"Caf\u00E9 Noir", "cafe\u0301 noir"};
	/* seven shared words: five stay; of texts in 3 before those in 2 */
	static const char *const many[] = {"a b c d e f g", "f e d c b a", "g f"};
	/* 25 + 1 + 25 fit, the third does not, the short one does */
	static const char *const wide[] = {"aaaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbbbbbbb "
									   "ccccccccccccccccccccccccc dd",
									   "aaaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbbbbbbb "
									   "ccccccccccccccccccccccccc dd"};

	(void) state;
	assert_name(yoga, 3, "YOGA Mat");
	assert_name(none, 3, "");
	assert_name(half, 5, "Tea");
	assert_name(half, 4, "Tea Set");
	assert_name(once, 2, "");
	assert_name(once, 1, "");
	assert_name(once, 0, "");
	assert_name(folded, 2, "1 2 Stra\u00DFe");
	assert_name(spelled, 2, "Caf\u00E9 Noir");
	assert_name(many, 3, "a b c d f");
	assert_name(wide, 2, "aaaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbbbbbbb dd");
}

/* "for" and "with" say too little beside "guitar"; alone they must do */
static void
names_leave_common_words_out(void **state)
{
	static const char *const terms[] = {"for", "with", "guitar", "steel", "black", "the"};
	static const float idf[] = {1.2F, 1.5F, 6, 4, 3, 0};
	BrText guitar[2] = {text_of("Strings for Guitar with Steel core, black"),
						text_of("black the Case for guitar with the steel handle")};
	BrText common[2] = {text_of("Lamp for desk"), text_of("Chair for the office")};
	BrText empty[2] = {text_of("the lamp"), text_of("the chair")};
	BrText unknown[2] = {text_of("for Zither"), text_of("zither for")};
	char name[BR_SHARED_WORDS_SIZE + 1];
	BrVocabulary *vocabulary;
	BrContext context;
	int32_t number;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_vocabulary_create(&context, &vocabulary), BR_OK);
	for (int i = 0; i < 6; i++)
		assert_int_equal(br_learn_vocabulary_add(&context, vocabulary, text_of(terms[i]), &number),
						 BR_OK);
	assert_int_equal(br_learn_shared_words(&context, guitar, 2, vocabulary, idf, name), BR_OK);
	assert_string_equal(name, "Guitar Steel black");
	assert_int_equal(br_learn_shared_words(&context, common, 2, vocabulary, idf, name), BR_OK);
	assert_string_equal(name, "for");
	assert_int_equal(br_learn_shared_words(&context, empty, 2, vocabulary, idf, name), BR_OK);
	assert_string_equal(name, "");
	assert_int_equal(br_learn_shared_words(&context, unknown, 2, vocabulary, idf, name), BR_OK);
	assert_string_equal(name, "Zither");
	assert_int_equal(br_learn_shared_words(&context, unknown, 2, vocabulary, NULL, name),
					 BR_ERR_ARGUMENT);
	br_learn_vocabulary_free(&context, vocabulary);
}

/* ---- little memory, and cancelling ---- */

static BrStatus
count_and_name(BrContext *context, const BrText *both)
{
	BrWordOptions options = {.pairs = true};
	char name[BR_SHARED_WORDS_SIZE + 1];
	BrVocabulary *vocabulary;
	BrSparse counts;
	BrStatus status = br_learn_vocabulary_create(context, &vocabulary);

	if (status != BR_OK)
		return status;
	status = br_learn_words(context, both, 2, vocabulary, &options, &counts);
	if (status == BR_OK)
	{
		status = br_learn_shared_words(context, both, 2, NULL, NULL, name);
		br_learn_sparse_free(context, &counts);
	}
	br_learn_vocabulary_free(context, vocabulary);
	return status;
}

static void
failures_leave_nothing(void **state)
{
	size_t size = 60000;
	char *many = malloc(size);
	BrText both[2] = {{many, size}, {"\uFDFA\uFDFA\uFDFA\uFDFA\uFDFA", 15}};
	BrStatus status = BR_ERR_MEMORY;
	Countdown countdown;
	BrContext context;
	int stops;

	(void) state;
	for (size_t i = 0; i < size; i++)
		many[i] = (char) (i % 6 == 5 ? ' ' : 'a' + i / 6 * (i % 6 + 1) % 26);
	for (stops = 0; status == BR_ERR_MEMORY; stops++)
	{
		countdown_begin(&context, &countdown, stops, INT_MAX);
		status = count_and_name(&context, both);
		assert_int_equal(countdown.live, 0);
		assert_true(status == BR_OK || context.detail[0] != '\0');
	}
	assert_int_equal(status, BR_OK);
	assert_true(stops > 30);

	status = BR_ERR_CANCELLED;
	for (stops = 0; status == BR_ERR_CANCELLED; stops++)
	{
		countdown_begin(&context, &countdown, INT_MAX, stops);
		status = count_and_name(&context, both);
		assert_int_equal(countdown.live, 0);
	}
	assert_int_equal(status, BR_OK);
	assert_true(stops > 10);
	free(many);
}

/* ---- weights ---- */

/* cosines of texts that share anything: plain, sublinear, with pairs; then BM25 both ways */
typedef struct Alike
{
	int left;
	int right;
	double plain;
	double sublinear;
	double pairs;
	double answers;	 /* right, asked by left */
	double answered; /* left, asked by right */
} Alike;

/*
 * S = X @ X.T of X = TfidfVectorizer(tokenizer=words, lowercase=False,
 * token_pattern=None, sublinear_tf=..., ngram_range=...).fit_transform(texts);
 * sum over the words w of the asking text of
 * log(1 + (n - df[w] + .5) / (df[w] + .5)) * c * 2.2 / (c + 1.2 * (.25 + .75 * len / mean))
 */
static const Alike alike[] = {
	{0, 1, 0.519385909, 0.512371293, 0.420590832, 6.001964069, 4.799441213},
	{0, 5, 0.117251461, 0.125278420, 0.064922988, 1.411762085, 1.108840949},
	{0, 6, 0.277905885, 0.296931140, 0.241149064, 3.185529712, 2.502012079},
	{1, 7, 0.109795627, 0.109795627, 0.055941404, 1.034826843, 1.194258083},
	{1, 9, 0.117613908, 0.117613908, 0.060750903, 1.108840949, 1.194258083},
	{3, 4, 0.358438856, 0.358438856, 0.184186319, 2.919658608, 3.185529712},
	{3, 11, 0.331666937, 0.282055972, 0.176374445, 1.960596993, 4.235286254},
	{4, 7, 0.152980875, 0.152980875, 0.076900511, 1.300178249, 1.625725198},
	{4, 11, 0.299955303, 0.255087786, 0.156185685, 1.960596993, 3.881800229},
	{5, 6, 0.167217312, 0.167217312, 0.091243446, 1.411762085, 1.411762085},
	{7, 9, 0.933525877, 0.933525877, 0.825790180, 9.467867728, 8.835896335},
};
#define N_ALIKE ((int) (sizeof(alike) / sizeof(alike[0])))

static float
listed(const BrLists *lists, int list, int other)
{
	for (int64_t i = lists->starts[list]; i < lists->starts[list + 1]; i++)
		if (lists->ids[i] == other)
			return lists->weights[i];
	return 0;
}

static void
find_alike(Catalog *catalog, const BrLexicalOptions *options, BrLists *lists)
{
	BrLexicalSearch search = {.depth = N_TEXTS, .least = 0, .same = true};
	bool cosine = options->measure == BR_LEXICAL_TFIDF;
	float idf[100];
	BrSparse weights;

	assert_true(catalog->counts.columns <= 100);
	assert_int_equal(br_learn_lexical_idf(&catalog->context, &catalog->counts, options->measure,
										  idf),
					 BR_OK);
	assert_int_equal(br_learn_lexical_weights(&catalog->context, &catalog->counts, idf, options,
											  &weights),
					 BR_OK);
	assert_int_equal(br_learn_lexical_lists(&catalog->context, cosine ? &weights : &catalog->counts,
											&weights, &search, lists),
					 BR_OK);
	assert_int_equal(lists->n, N_TEXTS);
	assert_int_equal(lists->starts[N_TEXTS], 2 * N_ALIKE);
	br_learn_sparse_free(&catalog->context, &weights);
}

static void
tfidf_equals_scikit_learn(void **state)
{
	(void) state;
	for (int variant = 0; variant < 3; variant++)
	{
		BrLexicalOptions options = {.measure = BR_LEXICAL_TFIDF, .sublinear = variant == 1};
		Catalog catalog;
		BrLists lists;

		catalog_open(&catalog, variant == 2);
		find_alike(&catalog, &options, &lists);
		for (int i = 0; i < N_ALIKE; i++)
		{
			const Alike *pair = &alike[i];
			double expected = variant == 0 ? pair->plain
				: variant == 1			   ? pair->sublinear
										   : pair->pairs;

			assert_near(listed(&lists, pair->left, pair->right), expected, 1e-6);
			assert_near(listed(&lists, pair->right, pair->left), expected, 1e-6);
		}
		br_learn_lists_free(&catalog.context, &lists);
		catalog_close(&catalog);
	}
}

static void
bm25_equals_its_formula(void **state)
{
	BrLexicalOptions options = {.measure = BR_LEXICAL_BM25, .k1 = 1.2, .b = 0.75};
	Catalog catalog;
	BrLists lists;

	(void) state;
	catalog_open(&catalog, false);
	for (int given = 0; given < 2; given++)
	{
		/* 58 words in 12 texts */
		options.mean_length = given == 1 ? 58.0 / 12 : 0;
		find_alike(&catalog, &options, &lists);
		for (int i = 0; i < N_ALIKE; i++)
		{
			assert_near(listed(&lists, alike[i].left, alike[i].right), alike[i].answers, 1e-5);
			assert_near(listed(&lists, alike[i].right, alike[i].left), alike[i].answered, 1e-5);
		}
		br_learn_lists_free(&catalog.context, &lists);
	}
	catalog_close(&catalog);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_are_folded_and_split),
		cmocka_unit_test(pairs_are_terms_too),
		cmocka_unit_test(unknown_words_are_left_out_on_request),
		cmocka_unit_test(long_words_keep_their_beginning),
		cmocka_unit_test(strange_texts_take_no_longer),
		cmocka_unit_test(what_is_not_utf8_is_refused),
		cmocka_unit_test(vocabulary_keeps_every_term),
		cmocka_unit_test(growing_may_be_cancelled),
		cmocka_unit_test(names_are_what_texts_share),
		cmocka_unit_test(names_leave_common_words_out),
		cmocka_unit_test(failures_leave_nothing),
		cmocka_unit_test(tfidf_equals_scikit_learn),
		cmocka_unit_test(bm25_equals_its_formula),
	};

	return cmocka_run_group_tests_name("words", tests, NULL, NULL);
}

/*
 * br_learn_words.h
 *	  Words of texts: part of the door br_learn.h, through which it is included.
 *
 * Texts become matrices by terms, and those lists of texts that read alike.
 */
#ifndef BR_LEARN_WORDS_H
#define BR_LEARN_WORDS_H

/* ---- words (words.c, vocabulary.c, shared_words.c, lexical.c, lexical_lists.c) ---- */

/* A text in UTF-8. It need not end with a zero, and may hold some. */
typedef struct BrText
{
	const char *bytes; /* (size) */
	size_t size;
} BrText;

/*
 * Words are the runs of letters, marks and numbers of the text folded as
 * Unicode's NFKC_Casefold, so that "CAF\u00C9" and "cafe\u0301" are one; of one
 * that is longer than BR_WORD_MAX_SIZE bytes, the beginning. A run of more than
 * a kilobyte is read in several pieces. Languages that put no space between
 * words have long words here: embeddings tell their texts apart better.
 */
#define BR_WORD_MAX_SIZE 64

/* Terms and their numbers from 0 on, in the order in which they came. */
typedef struct BrVocabulary BrVocabulary;

extern BrStatus br_learn_vocabulary_create(BrContext *context, BrVocabulary **vocabulary);
extern void br_learn_vocabulary_free(BrContext *context, BrVocabulary *vocabulary); /* or NULL */

/*
 * *number: the term's, which is new if nobody added it before. BR_ERR_LIMIT: 2^31 - 2 terms;
 * BR_ERR_CANCELLED.
 */
extern BrStatus br_learn_vocabulary_add(BrContext *context, BrVocabulary *vocabulary, BrText term,
										int32_t *number);
extern int32_t br_learn_vocabulary_find(const BrVocabulary *vocabulary, BrText term); /* or -1 */
extern int32_t br_learn_vocabulary_size(const BrVocabulary *vocabulary);
/* number: below the size. Valid until the next term is added. */
extern BrText br_learn_vocabulary_term(const BrVocabulary *vocabulary, int32_t number);

typedef struct BrWordOptions
{
	bool pairs; /* adjacent words, with a space between, are terms too */
	bool known; /* terms that are not in the vocabulary are left out instead of added */
	const BrProgress *progress;
} BrWordOptions;

/*
 * counts: how often each text has each term; (n, terms of the vocabulary).
 * BR_ERR_ARGUMENT: a text that is not UTF-8. After a failure the vocabulary may
 * have terms of the texts before.
 */
extern BrStatus br_learn_words(BrContext *context, const BrText *texts /* (n) */, int n,
							   BrVocabulary *vocabulary, const BrWordOptions *options,
							   BrSparse *counts);

/*
 * The same of runs of three to five characters of each word, which is read with a
 * blank before and behind it; a shorter word is one run. As scikit-learn's
 * analyzer "char_wb" with ngram_range (3, 5), words apart.
 */
extern BrStatus br_learn_word_parts(BrContext *context, const BrText *texts /* (n) */, int n,
									BrVocabulary *vocabulary, const BrProgress *progress,
									BrSparse *counts);

#define BR_SHARED_WORDS_MAX 5
#define BR_SHARED_WORDS_SIZE 60

/*
 * A short name for texts that belong together, from the words they share: those
 * in at least two texts and half of them, as first spelled, in the order in which
 * they first occur, with spaces between; the BR_SHARED_WORDS_MAX with the most
 * weight that fit into BR_SHARED_WORDS_SIZE bytes. Weight is idf times the number
 * of texts; words of less than half the idf of the rarest shared one say too
 * little beside it. A piece of the text that folds to several words ("\u00BD") is
 * shown folded. Nothing shared, or words of idf 0 alone: an empty name.
 *
 * vocabulary, idf: of the catalog, >= 0; a word that is not in it weighs as the
 * rarest that is. Both NULL: all words weigh the same.
 */
extern BrStatus br_learn_shared_words(BrContext *context, const BrText *texts /* (n) */, int n,
									  const BrVocabulary *vocabulary,
									  const float *idf /* (terms) */,
									  char name[BR_SHARED_WORDS_SIZE + 1]);

typedef enum BrLexicalMeasure
{
	BR_LEXICAL_TFIDF,
	BR_LEXICAL_BM25
} BrLexicalMeasure;

/*
 * How much a term tells; n texts, df of them with the term:
 *
 *		TFIDF	ln((1 + n) / (1 + df)) + 1
 *		BM25	ln(1 + (n - df + .5) / (df + .5))
 *
 * Sources: scikit-learn's TfidfVectorizer (smooth_idf); Lucene's BM25Similarity.
 */
extern BrStatus br_learn_lexical_idf(BrContext *context, const BrSparse *counts,
									 BrLexicalMeasure measure, float *idf /* (terms) */);

typedef struct BrLexicalOptions
{
	BrLexicalMeasure measure;
	bool sublinear;		/* TFIDF: 1 + ln(count) instead of the count */
	double k1;			/* BM25: >= 0; usually 1.2: how soon repetition tells nothing more */
	double b;			/* BM25: [0, 1]; usually .75: how much longer texts are discounted */
	double mean_length; /* BM25: of all texts, in terms; 0: that of counts */
} BrLexicalOptions;

/*
 * weights, in place of counts c of a text of length l (the sum of its counts):
 *
 *		TFIDF	c idf, then the row at length 1
 *		BM25	idf c (k1 + 1) / (c + k1 (1 - b + b l / mean_length))
 *
 * The product of two rows of the first is their cosine; of a row of counts and
 * one of the second, how well the latter answers the former. The first is
 * scikit-learn's TfidfVectorizer with its defaults, but for what a word is: there
 * words have two characters at least, an underscore is part of one, a mark is not.
 *
 * counts: > 0, with sublinear >= 1. idf: >= 0, of these texts or of others.
 * Source: Robertson, Zaragoza, "The Probabilistic Relevance Framework: BM25 and
 * Beyond", 2009.
 */
extern BrStatus br_learn_lexical_weights(BrContext *context, const BrSparse *counts,
										 const float *idf /* (terms) */,
										 const BrLexicalOptions *options, BrSparse *weights);

typedef struct BrLexicalSearch
{
	int depth;	 /* of each list, >= 1 */
	float least; /* weights above it are listed; >= 0 */
	bool same;	 /* query i is text i, and not listed for itself */
	const BrProgress *progress;
} BrLexicalSearch;

/*
 * For each row of queries the rows of texts whose product with it is largest;
 * exactly those, though most texts are not looked at. Values are >= 0, columns
 * the same terms.
 */
extern BrStatus br_learn_lexical_lists(BrContext *context, const BrSparse *queries,
									   const BrSparse *texts, const BrLexicalSearch *search,
									   BrLists *lists);

/* ---- what words say about belonging together (term_weights.c) ---- */

/*
 * How much a term that two texts share speaks for their things standing in one
 * set: the logarithm of its lift,
 *
 *		w_t = ln max( (n_t + shrinkage prior) / (e_t + shrinkage), 1.05 ),
 *
 * n_t: over all sets and ordered pairs in them, each set of m things weighing its
 * pairs by 1 / (m - 1), the pairs that share t; e_t: what it would be if partners
 * were drawn from all things; prior: the same lift of all terms that occur about as often
 * (within half a power of two). Where no pair shares any term the smooth idf
 * ln((1 + n) / (1 + df)) + 1 stands in.
 *
 * An idf says that rare words tell more; this says which of the rare ones, a
 * model number more than a colour. Measured on labelled electronics bundles (10
 * splits by session), hit rate at 10 of the cosine: .206, with smooth idf .188.
 *
 * texts: (things, terms), values not looked at; sets: (sets, things), values not
 * looked at. shrinkage: > 0, finite.
 */
extern BrStatus br_learn_term_weights(BrContext *context, const BrSparse *texts,
									  const BrSparse *sets, double shrinkage,
									  float *weights /* (terms) */);

#endif /* BR_LEARN_WORDS_H */

/*
 * json_mutator.c
 *	  Changes JSON as JSON, for the targets that read it.
 *
 * Bytes changed at random rarely leave valid JSON, and the readers behind the
 * parser would be tried with little else than the seeds. So every other
 * mutation takes a value that begins somewhere in the input, changes one node
 * of its tree, and writes it back: another type in its place, a copy, nothing,
 * an object as an array, a number at an end of its range.
 */
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "fuzz/fuzz.h"

extern size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
extern size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
									  unsigned int seed);

#define MAX_NODES 5000
#define MAX_COPIES 40
#define LENGTH(array) ((uint32_t) (sizeof(array) / sizeof((array)[0])))

typedef struct Node
{
	cJSON *parent;
	cJSON *item;
} Node;

typedef struct Tree
{
	Node nodes[MAX_NODES];
	uint32_t n;
} Tree;

static void
collect(Tree *tree, cJSON *parent)
{
	cJSON *item;

	cJSON_ArrayForEach(item, parent)
	{
		if (tree->n == MAX_NODES)
			return;
		tree->nodes[tree->n++] = (Node){parent, item};
		collect(tree, item);
	}
}

static cJSON *
random_value(BrRandom *random)
{
	static const char *const values[] = {"null",	"true",		   "false",		 "0",
										 "-1",		"1",		   "2",			 "1e999",
										 "0.5",		"4294967296",  "12",		 "15",
										 "16",		"\"\"",		   "\"a\"",		 "{}",
										 "[]",		"[[]]",		   "{\"a\":1}",	 "[0]",
										 "[\"a\"]", "2147483647",  "2147483648", "9007199254740993",
										 "1e-320",	"\"\\u4e2d\"", "\" \""};

	return cJSON_Parse(values[br_base_random_below(random, LENGTH(values))]);
}

static void
replace(Node node, cJSON *value)
{
	if (value != NULL && node.item->string != NULL)
	{
		cJSON_ReplaceItemInObjectCaseSensitive(node.parent, node.item->string, value);
		return;
	}
	cJSON_ReplaceItemViaPointer(node.parent, node.item, value);
}

/* A copy of a value beside itself or elsewhere, under its own name where there are names. */
static void
add_copy(Node node, cJSON *parent)
{
	cJSON *copy = cJSON_Duplicate(node.item, true);

	if (cJSON_IsObject(parent))
		cJSON_AddItemToObject(parent, node.item->string != NULL ? node.item->string : "a", copy);
	else
		cJSON_AddItemToArray(parent, copy);
}

/* An object's members without their names, or an array's with numbers for names. */
static void
change_container(Node node)
{
	cJSON *other = cJSON_IsObject(node.item) ? cJSON_CreateArray() : cJSON_CreateObject();
	char name[2] = "0";

	while (node.item->child != NULL)
	{
		cJSON *child = cJSON_DetachItemViaPointer(node.item, node.item->child);

		if (cJSON_IsObject(other))
			cJSON_AddItemToObject(other, name, child);
		else
			cJSON_AddItemToArray(other, child);
		name[0] = (char) (name[0] < 'z' ? name[0] + 1 : '0');
	}
	replace(node, other);
}

static void
change_node(Tree *tree, BrRandom *random)
{
	Node node = tree->nodes[br_base_random_below(random, tree->n)];
	Node other = tree->nodes[br_base_random_below(random, tree->n)];
	uint32_t copies = 1 + br_base_random_below(random, MAX_COPIES);

	switch (br_base_random_below(random, 8))
	{
		case 0:
		case 1:
			replace(node, random_value(random));
			break;
		case 2:
			cJSON_Delete(cJSON_DetachItemViaPointer(node.parent, node.item));
			break;
		case 3:
			add_copy(node, node.parent);
			break;
		case 4:
			for (uint32_t i = 0; i < copies; i++)
				add_copy(node, node.parent);
			break;
		case 5:
			/* never below itself: the copy is made first */
			replace(node, cJSON_Duplicate(other.item, true));
			break;
		case 6:
			if (node.item->child != NULL)
				change_container(node);
			else if (cJSON_IsNumber(node.item))
				cJSON_SetNumberValue(node.item,
									 node.item->valuedouble +
										 (br_base_random_below(random, 2) ? 1 : -1));
			break;
		default:
			if (cJSON_IsString(node.item) && other.item->string != NULL)
				replace(node, cJSON_CreateString(other.item->string));
			else
				replace(node, random_value(random));
	}
}

/* The text of a changed value that begins at text and ends at *end; NULL: none begins there. */
static char *
changed_value(const char *text, const char **end, BrRandom *random)
{
	static Tree tree;
	cJSON *root = cJSON_ParseWithOpts(text, end, false);
	char *changed = NULL;

	tree.n = 0;
	if (root != NULL)
		collect(&tree, root);
	if (tree.n > 0)
	{
		change_node(&tree, random);
		changed = cJSON_PrintUnformatted(root);
	}
	cJSON_Delete(root);
	return changed;
}

/* Of the places where a value may begin one by chance; NULL: there is none. */
static const char *
random_start(const char *text, size_t size, BrRandom *random)
{
	const char *start = NULL;
	uint32_t n = 0;

	for (const char *at = text; at < text + size; at++)
		if ((*at == '{' || *at == '[') && br_base_random_below(random, ++n) == 0)
			start = at;
	return start;
}

/* The new size, 0: nothing was changed. */
static size_t
change_json(uint8_t *data, size_t size, size_t max_size, BrRandom *random)
{
	char *text = malloc(size + 1);
	const char *start;
	const char *end = NULL;
	char *changed = NULL;
	size_t new_size = 0;

	memcpy(text, data, size);
	text[size] = '\0';
	start = random_start(text, size, random);
	if (start != NULL)
		changed = changed_value(start, &end, random);
	if (changed != NULL && size - (size_t) (end - start) + strlen(changed) <= max_size)
	{
		size_t begin = (size_t) (start - text);
		size_t rest = size - (size_t) (end - text);
		uint64_t header;

		new_size = begin + strlen(changed) + rest;
		memcpy(data + begin, changed, strlen(changed));
		memcpy(data + begin + strlen(changed), end, rest);
		/* a header with its length before it, as safetensors has */
		memcpy(&header, text, size < 8 ? size : 8);
		if (begin >= 8 && size > 8 && text[8] == '{' && header < size)
		{
			header += new_size - size;
			memcpy(data, &header, 8);
		}
	}
	free(changed);
	free(text);
	return new_size;
}

size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	BrRandom random;
	size_t new_size = 0;

	br_base_random_init(&random, seed, 1);
	if (br_base_random_below(&random, 2) == 0)
		new_size = change_json(data, size, max_size, &random);
	return new_size > 0 ? new_size : LLVMFuzzerMutate(data, size, max_size);
}

/*
 * validate.c
 *	  Whether an operator class can work.
 *
 * It has one operator, which orders, and one support function, which must be
 * what the operator calls: a scan computes the distance by the function, and
 * the executor by the operator. All members of the family are looked at, since
 * the planner may use each of them.
 */
#include "postgres.h"

#include "access/amvalidate.h"
#include "access/htup_details.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_type_d.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "pg/am/am_int.h"

#define THE_STRATEGY 1
#define THE_FUNCTION 1

/* An operator class and what is wrong with it. */
typedef struct Validation
{
	Oid family;
	Oid type;
	const char *name;
	Oid function; /* of the distance; InvalidOid: none was found */
	Oid operator_function;
	bool valid;
} Validation;

static void complain(Validation *validation, const char *format, ...) pg_attribute_printf(2, 3);

/* As other access methods tell: as information, and there may be several. */
static void
complain(Validation *validation, const char *format, ...)
{
	StringInfoData message;
	va_list values;
	int more;

	initStringInfo(&message);
	for (;;)
	{
		va_start(values, format);
		more = appendStringInfoVA(&message, format, values);
		va_end(values);
		if (more == 0)
			break;
		enlargeStringInfo(&message, more);
	}
	ereport(INFO,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION), errmsg_internal("%s", message.data)));
	pfree(message.data);
	validation->valid = false;
}

static void
check_function(Validation *validation, Form_pg_amproc entry)
{
	if (entry->amprocnum != THE_FUNCTION)
		complain(validation,
				 "operator family of class \"%s\" contains function %s with invalid support "
				 "number %d",
				 validation->name, format_procedure(entry->amproc), entry->amprocnum);
	else if (entry->amproclefttype != entry->amprocrighttype)
		complain(validation,
				 "operator family of class \"%s\" contains support function %s with different left "
				 "and right input types",
				 validation->name, format_procedure(entry->amproc));
	else if (!check_amproc_signature(entry->amproc, FLOAT8OID, true, 2, 2, entry->amproclefttype,
									 entry->amprocrighttype))
		complain(validation,
				 "operator family of class \"%s\" contains function %s with wrong signature for "
				 "support number %d",
				 validation->name, format_procedure(entry->amproc), entry->amprocnum);
	else if (entry->amproclefttype == validation->type)
		validation->function = entry->amproc;
}

static void
check_operator(Validation *validation, Form_pg_amop entry)
{
	if (entry->amopstrategy != THE_STRATEGY)
		complain(validation,
				 "operator family of class \"%s\" contains operator %s with invalid strategy "
				 "number %d",
				 validation->name, format_operator(entry->amopopr), entry->amopstrategy);
	else if (entry->amoppurpose != AMOP_ORDER)
		complain(validation,
				 "operator family of class \"%s\" contains operator %s for search, and bundle_ann "
				 "only orders",
				 validation->name, format_operator(entry->amopopr));
	else if (!check_amop_signature(entry->amopopr, FLOAT8OID, entry->amoplefttype,
								   entry->amoprighttype) ||
			 entry->amoplefttype != entry->amoprighttype)
		complain(validation,
				 "operator family of class \"%s\" contains operator %s with wrong signature",
				 validation->name, format_operator(entry->amopopr));
	else if (!opfamily_can_sort_type(entry->amopsortfamily, FLOAT8OID))
		complain(validation,
				 "operator family of class \"%s\" contains operator %s with a sort family that does "
				 "not sort distances",
				 validation->name, format_operator(entry->amopopr));
	else if (entry->amoplefttype == validation->type)
		validation->operator_function = get_opcode(entry->amopopr);
}

static void
check_members(Validation *validation)
{
	CatCList *operators = SearchSysCacheList1(AMOPSTRATEGY, ObjectIdGetDatum(validation->family));
	CatCList *functions = SearchSysCacheList1(AMPROCNUM, ObjectIdGetDatum(validation->family));

	for (int i = 0; i < functions->n_members; i++)
		check_function(validation, (Form_pg_amproc) GETSTRUCT(&functions->members[i]->tuple));
	for (int i = 0; i < operators->n_members; i++)
		check_operator(validation, (Form_pg_amop) GETSTRUCT(&operators->members[i]->tuple));
	ReleaseCatCacheList(operators);
	ReleaseCatCacheList(functions);
}

/* Both there, and the operator gives what the index orders by. */
static void
check_pair(Validation *validation)
{
	if (!OidIsValid(validation->function))
		complain(validation, "operator class \"%s\" is missing support function %d",
				 validation->name, THE_FUNCTION);
	if (!OidIsValid(validation->operator_function))
		complain(validation, "operator class \"%s\" is missing operator %d", validation->name,
				 THE_STRATEGY);
	if (OidIsValid(validation->function) && OidIsValid(validation->operator_function) &&
		validation->function != validation->operator_function)
		complain(validation,
				 "operator class \"%s\" orders by function %s, and its operator calls %s",
				 validation->name, format_procedure(validation->function),
				 format_procedure(validation->operator_function));
	if (OidIsValid(validation->function) &&
		!br_am_knows_distance(validation->function, validation->type))
		complain(validation,
				 "operator class \"%s\" has support function %s, which is no distance of type %s "
				 "that bundle_ann knows",
				 validation->name, format_procedure(validation->function),
				 format_type_be(validation->type));
}

bool
br_am_validate(Oid opclass)
{
	HeapTuple tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));
	Validation validation = {.valid = true};
	Form_pg_opclass form;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator class %u", opclass);
	form = (Form_pg_opclass) GETSTRUCT(tuple);
	validation.family = form->opcfamily;
	validation.type = form->opcintype;
	validation.name = NameStr(form->opcname);
	check_members(&validation);
	check_pair(&validation);
	ReleaseSysCache(tuple);
	return validation.valid;
}

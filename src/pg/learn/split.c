/*
 * split.c
 *	  Which part something belongs to, by a hash of its name: the same in every
 *	  tool, whatever the order of rows.
 */
#include "postgres.h"

#include "common/md5.h"
#include "miscadmin.h"

#include "pg/learn/split.h"

uint32
br_pg_md5_number(const char *id, const char *seed)
{
	char *text = psprintf("%s%s", id, seed);
	char digits[MD5_PASSWD_LEN];
	const char *problem = NULL;
	uint32 number;

	/* asked of every event, of which there may be millions */
	CHECK_FOR_INTERRUPTS();
	if (!pg_md5_hash(text, strlen(text), digits, &problem))
		elog(ERROR, "could not compute an MD5 hash: %s", problem);
	digits[8] = '\0';
	number = (uint32) strtoul(digits, NULL, 16);
	pfree(text);
	return number;
}

const char *
br_pg_event_unit(const BrPgLearnData *data, const BrPgLearnEvent *event)
{
	if (event->user >= 0)
		return data->users[event->user];
	return event->basket >= 0 ? data->baskets[event->basket] : "";
}

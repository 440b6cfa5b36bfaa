/*
 * activity_check.c
 *	  What every activity in memory holds to, checked where assertions are.
 */
#include "activity/activity_check.h"

#include "activity/activity.h"
#include "activity/activity_bytes.h"

#ifdef USE_ASSERT_CHECKING

static void
check_cell(const Series *s, const Cell *c)
{
	Assert(c->day <= MAX_DAY);
	switch (s->kind)
	{
		case SERIES_COUNT:
			Assert(c->key == 0 && c->n > 0 && c->total == 0 && c->day >= MIN_DAY);
			break;
		case SERIES_SUM:
			Assert(c->key == 0 && c->n > 0 && TOTAL_IN_RANGE(c->total) && c->day >= MIN_DAY);
			break;
		case SERIES_DISTINCT:
			Assert(c->n == 0 && c->total != 0 && c->day % DISTINCT_BLOCK == 0);
			Assert(c->day + chs_activity_lowest_bit(c->total) >= MIN_DAY);
			break;
	}
}

/*
 * chs_activity_check stops the server unless series ascend by id, their cells by key and
 * day, and every number is in its range.
 */
void
chs_activity_check(const ActivityData *data)
{
	Assert(data->day == DAY_NEVER || (data->day >= MIN_DAY && data->day <= MAX_DAY));
	Assert(data->nseries >= 0);
	for (int i = 0; i < data->nseries; i++)
	{
		const Series *s = &data->series[i];

		Assert(i == 0 || s->id > s[-1].id);
		Assert(s->kind >= SERIES_COUNT && s->kind <= SERIES_DISTINCT);
		Assert(s->keep >= 1 && s->keep <= MAX_KEEP);
		Assert(s->ncells >= 0);
		for (int j = 0; j < s->ncells; j++)
		{
			const Cell *c = &s->cells[j];

			check_cell(s, c);
			Assert(j == 0 || c->key > c[-1].key || (c->key == c[-1].key && c->day > c[-1].day));
		}
	}
}

#endif							/* USE_ASSERT_CHECKING */

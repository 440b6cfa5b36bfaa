/*
 * try.c
 *	  Trying what may fail.
 *
 * It runs in a subtransaction: if it fails, all of it is undone, and the error is
 * returned.  Errors that concern everyone, such as a cancellation of the query, are
 * raised on.
 */
#include "base/try.h"

#include "access/xact.h"
#include "utils/resowner.h"

/*
 * chs_try_was_interrupted tells whether an error is a request to stop what the session
 * does.  It is recognized by who raised it, because a user's function can raise any
 * error.
 */
bool
chs_try_was_interrupted(const ErrorData *error)
{
	return error->funcname != NULL && strcmp(error->funcname, "ProcessInterrupts") == 0;
}

/*
 * chs_try_is_general tells whether an SQLSTATE is that of an error which is nobody's
 * fault, and which whatever is tried next would meet as well: the query was cancelled,
 * the server shuts down, memory or space ran out, the transaction must be repeated.
 */
bool
chs_try_is_general(int sqlerrcode)
{
	int			category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return category == ERRCODE_OPERATOR_INTERVENTION ||
		category == ERRCODE_INSUFFICIENT_RESOURCES ||
		category == ERRCODE_TRANSACTION_ROLLBACK ||
		category == ERRCODE_SYSTEM_ERROR;
}

/*
 * Whether an error is such a one, and not RAISEd as one by a function in PL/pgSQL.
 */
static bool
concerns_everyone(const ErrorData *error)
{
	if (chs_try_was_interrupted(error))
		return true;
	if (error->funcname != NULL && strcmp(error->funcname, "exec_stmt_raise") == 0)
		return false;
	return chs_try_is_general(error->sqlerrcode);
}

/*
 * chs_try does something in a subtransaction.  Returns NULL or, in the current memory
 * context, the error that has undone all of it; raises one that concerns everyone.
 * Parallel mode has no subtransactions; there every error is raised.
 */
ErrorData *
chs_try(void (*work) (void *arg), void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	if (IsInParallelMode())
	{
		work(arg);
		return NULL;
	}
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		work(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (error->message == NULL)
			error->message = pstrdup("missing error text");
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (error != NULL && concerns_everyone(error))
		ReThrowError(error);
	return error;
}

/*
 * attach.h
 *	  Attaching a table as a source of events, and detaching it.
 */
#ifndef CHS_ATTACH_H
#define CHS_ATTACH_H

#include "base/compat.h"

#include "store/live.h"
#include "store/sources.h"

extern void chs_attach_rebuild_all(const char *note);
extern char *chs_attach_problem_text(const Live *live, const Source *source);
extern char *chs_attach_customers_problem_text(void);

#endif							/* CHS_ATTACH_H */

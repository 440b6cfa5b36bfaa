/*
 * catalog.h
 *	  The extension's own objects and the rights that code runs with.
 */
#ifndef CHS_CATALOG_H
#define CHS_CATALOG_H

#include "base/compat.h"

#include "access/transam.h"
#include "executor/spi.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* Tables and indexes of schema chs that the engine uses. */
typedef enum ChsRelation
{
	CHS_ACTIVITY,
	CHS_ACTIVITY_PKEY,
	CHS_CUSTOMER_EVENTS,
	CHS_CUSTOMER_HEALTH,
	CHS_CUSTOMER_HEALTH_PKEY,
	CHS_CUSTOMERS,
	CHS_CUSTOMERS_EXTERNAL_ID_KEY,
	CHS_CUSTOMERS_PKEY,
	CHS_EVENT_TYPES,
	CHS_FAILURES,
	CHS_FAILURES_PKEY,
	CHS_HEALTH_COUNTS,
	CHS_HEALTH_SCORES,
	CHS_HEALTH_SCORES_PKEY,
	CHS_MISSING_CUSTOMERS,
	CHS_MISSING_CUSTOMERS_KEY_HASH_IDX,
	CHS_PLUGINS,
	CHS_PAUSE,
	CHS_QUEUE,
	CHS_QUEUE_CUSTOMER_ID_IDX,
	CHS_QUEUE_XID_IDX,
	CHS_REJECTED_EVENTS,
	CHS_RETENTION,
	CHS_SCORECARD_VERSIONS,
	CHS_SCORECARD_VERSIONS_PKEY,
	CHS_SOURCES
} ChsRelation;

/* Saved state of the caller while the rights of the owner, or another role, are used. */
typedef struct OwnerRights
{
	Oid			user;
	int			security_context;
	bool		read_only;
	int			nest_level;
	int			lent_at;
} OwnerRights;

extern Oid	chs_catalog_extension_schema(void);
extern Oid	chs_catalog_relation(ChsRelation relation);
extern void chs_catalog_become_owner(OwnerRights *saved);
extern void chs_catalog_become_reader(OwnerRights *saved);
extern void chs_catalog_become_writer(Oid role, OwnerRights *saved);
extern void chs_catalog_become_role(Oid role, OwnerRights *saved);
extern void chs_catalog_become_registrar(Oid role, OwnerRights *saved);
extern void chs_catalog_become_caller(const OwnerRights *saved);
extern void chs_catalog_check_not_called_back(void);
extern void chs_catalog_check_path(Oid function);
extern void chs_catalog_init(void);

#endif							/* CHS_CATALOG_H */

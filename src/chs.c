/*
 * chs.c
 *	  What happens when the library is loaded.
 */
#include "compat.h"

#include "capture.h"
#include "catalog.h"
#include "fmgr.h"
#include "fold.h"
#include "settings.h"
#include "source.h"
#include "utility.h"
#include "worker.h"
#include "worker_shared.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

/*
 * When a session loads the library, everything works except the worker, which needs
 * shared_preload_libraries.
 */
void
_PG_init(void)
{
	chs_settings_define();
	chs_catalog_init();
	chs_live_init();
	chs_capture_init();
	chs_source_init();
	chs_fold_init();
	chs_worker_shared_init();
	chs_launcher_init();
	chs_utility_init();
}

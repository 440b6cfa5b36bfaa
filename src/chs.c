/*
 * chs.c
 *	  What happens when the library is loaded.
 */
#include "base/compat.h"

#include "fmgr.h"

#include "attach/attached.h"
#include "base/catalog.h"
#include "base/settings.h"
#include "base/wake.h"
#include "base/worker_shared.h"
#include "engine/capture.h"
#include "engine/fold.h"
#include "source/source.h"
#include "store/live.h"
#include "worker/launcher.h"
#include "worker/utility.h"

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
	chs_attached_init();
	chs_source_init();
	chs_fold_init();
	chs_worker_shared_init();
	chs_wake_init();
	chs_launcher_init();
	chs_utility_init();
}

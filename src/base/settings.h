/*
 * settings.h
 *	  All settings.
 */
#ifndef CHS_SETTINGS_H
#define CHS_SETTINGS_H

#include "base/compat.h"

extern bool chs_announce_status;
extern bool chs_enabled;
extern int	chs_max_workers;
extern int	chs_naptime;
extern int	chs_batch_size;
extern int	chs_event_retention;
extern int	chs_rejected_retention;
extern int	chs_history_retention;
extern double chs_history_threshold;

extern int	chs_plugin_timeout;

extern void chs_settings_define(void);
extern bool chs_settings_lists_database(const char *name);
extern bool chs_settings_reload(void);

#endif							/* CHS_SETTINGS_H */

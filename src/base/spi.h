/*
 * spi.h
 *	  Running SQL.
 */
#ifndef CHS_SPI_H
#define CHS_SPI_H

#include "base/compat.h"

#include "executor/spi.h"

#include "base/catalog.h"

extern void chs_spi_begin(OwnerRights *saved);
extern void chs_spi_end(const OwnerRights *saved);
extern uint64 chs_spi_select(const char *sql, int nargs, Oid *types, Datum *args);
extern uint64 chs_spi_execute(const char *sql, int nargs, Oid *types, Datum *args,
							  const char *nulls);
extern uint64 chs_spi_run(const char *sql);
extern uint64 chs_spi_execute_as_owner(const char *sql, int nargs, Oid *types, Datum *args,
									   const char *nulls);
extern uint64 chs_spi_execute_now(SPIPlanPtr *kept, const char *sql, int nargs, Oid *types,
								  Datum *args, const char *nulls);
extern void chs_spi_run_each(const char *sql, int nargs, Oid *types, Datum *args);

#endif							/* CHS_SPI_H */

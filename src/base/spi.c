/*
 * spi.c
 *	  Running SQL.
 */
#include "base/spi.h"

#include "utils/snapmgr.h"

#include "base/catalog.h"

/* chs_spi_begin switches to the rights of the owner, and connects to SPI. */
void
chs_spi_begin(OwnerRights *saved)
{
	chs_catalog_become_owner(saved);
	SPI_connect();
}

/* chs_spi_end disconnects from SPI, and switches back. */
void
chs_spi_end(const OwnerRights *saved)
{
	SPI_finish();
	chs_catalog_become_caller(saved);
}

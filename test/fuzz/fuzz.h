/*
 * fuzz.h
 *	  Between what makes inputs and what they are given to.
 */
#ifndef CHS_FUZZ_H
#define CHS_FUZZ_H

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* The C library's own, not those of a server. */
#undef fprintf
#undef printf
#undef snprintf
#undef vsnprintf

/* Reading an input of a few kilobytes must not take more memory than this. */
#define MOST_MEMORY ((size_t) 64 * 1024 * 1024)

/* The first byte of an input says what it is given to. */
enum
{
	FUZZ_RECV,					/* binary input of an activity, then all that takes one */
	FUZZ_IN,					/* text input, with the checksum as it comes */
	FUZZ_DECODE,				/* the bytes of a damaged table */
	FUZZ_MERGE,					/* two activities */
	FUZZ_CURVE,					/* a curve */
	FUZZ_TARGETS
};

/* Where an error goes, and with which SQLSTATE. */
extern sigjmp_buf fuzz_error;
extern char fuzz_sqlstate[6];

extern void fuzz_free_all(void);
extern int	fuzz_target(const uint8_t *data, size_t size);
extern size_t fuzz_seed(uint64_t seed, uint8_t *data, size_t size);

#endif							/* CHS_FUZZ_H */

/*
 * standins.c
 *	  As much of a server as parsing needs: memory that goes away after each
 *	  input, and errors that end it.
 *
 * Whatever else the linked files of src/ refer to stays unresolved; calling it
 * would be a crash, so nothing that a target calls may need it.
 */
#include "postgres.h"

#include <setjmp.h>

#include "base/compat.h"
#include "fmgr.h"
#include "fuzz.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port.h"
#include "port/pg_bitutils.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#undef qsort

/* ------------------------------------------------------------------ bits */

#if defined(TRY_POPCNT_FAST) || defined(TRY_POPCNT_X86_64)
static int
popcount64(uint64 word)
{
	return __builtin_popcountll(word);
}

int			(*pg_popcount64) (uint64 word) = popcount64;
#else
int
pg_popcount64(uint64 word)
{
	return __builtin_popcountll(word);
}
#endif

/* ---------------------------------------------------------------- memory */

typedef struct Chunk
{
	struct Chunk *next;
	struct Chunk *previous;
	Size		size;
	Size		unused;			/* keeps what follows aligned for 128-bit numbers */
} Chunk;

static Chunk chunks = {&chunks, &chunks, 0, 0};
static Size allocated = 0;

MemoryContext CurrentMemoryContext = NULL;
MemoryContext TopMemoryContext = NULL;
volatile sig_atomic_t InterruptPending = false;

void
ProcessInterrupts(void)
{
}

/* Too much for palloc is an internal error, and so a failure. */
static void *
allocate(Size size, Size limit)
{
	Chunk	   *chunk;

	if (size > limit)
	{
		fprintf(stderr, "FAILED: memory of invalid size %zu\n", size);
		abort();
	}
	if ((allocated += size) > MOST_MEMORY)
	{
		fprintf(stderr, "FAILED: %zu bytes for one input\n", allocated);
		abort();
	}
	chunk = malloc(sizeof(Chunk) + size);
	chunk->size = size;
	chunk->next = &chunks;
	chunk->previous = chunks.previous;
	chunk->previous->next = chunk->next->previous = chunk;
	/* what is read before it is written differs from run to run otherwise */
	memset(chunk + 1, 0x7f, size);
	return chunk + 1;
}

void *
palloc(Size size)
{
	return allocate(size, MaxAllocSize);
}

void *
palloc0(Size size)
{
	return memset(allocate(size, MaxAllocSize), 0, size);
}

void *
palloc_extended(Size size, int flags)
{
	void	   *p = allocate(size, flags & MCXT_ALLOC_HUGE ? MaxAllocHugeSize : MaxAllocSize);

	return flags & MCXT_ALLOC_ZERO ? memset(p, 0, size) : p;
}

void
pfree(void *p)
{
	Chunk	   *chunk = (Chunk *) p - 1;

	allocated -= chunk->size;
	chunk->previous->next = chunk->next;
	chunk->next->previous = chunk->previous;
	free(chunk);
}

void *
repalloc(void *p, Size size)
{
	void	   *bigger = palloc(size);

	memcpy(bigger, p, Min(size, ((Chunk *) p - 1)->size));
	pfree(p);
	return bigger;
}

void
fuzz_free_all(void)
{
	while (chunks.next != &chunks)
		pfree(chunks.next + 1);
}

char *
pnstrdup(const char *in, Size length)
{
	Size		n = strnlen(in, length);
	char	   *out = palloc(n + 1);

	memcpy(out, in, n);
	out[n] = '\0';
	return out;
}

char *
pstrdup(const char *in)
{
	return pnstrdup(in, strlen(in));
}

char *
psprintf(const char *format, ...)
{
	char		buffer[4096];
	va_list		args;

	va_start(args, format);
	vsnprintf(buffer, sizeof(buffer), format, args);
	va_end(args);
	return pstrdup(buffer);
}

/* ---------------------------------------------------------------- errors */

sigjmp_buf fuzz_error;
char		fuzz_sqlstate[6];
static int	sqlerrcode;

bool
errstart(int elevel, const char *domain pg_attribute_unused())
{
	sqlerrcode = ERRCODE_INTERNAL_ERROR;
	return elevel >= ERROR;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

int
errcode(int code)
{
	sqlerrcode = code;
	return 0;
}

#define MESSAGE_FUNCTION(name) \
int \
name(const char *format, ...) \
{ \
	char		buffer[8192]; \
	va_list		args; \
	va_start(args, format); \
	vsnprintf(buffer, sizeof(buffer), format, args); \
	va_end(args); \
	return 0; \
}

MESSAGE_FUNCTION(errmsg)
MESSAGE_FUNCTION(errmsg_internal)
MESSAGE_FUNCTION(errdetail)
MESSAGE_FUNCTION(errdetail_internal)
MESSAGE_FUNCTION(errhint)

void
errfinish(const char *file pg_attribute_unused(), int line pg_attribute_unused(), const char *function pg_attribute_unused())
{
	for (int i = 0; i < 5; i++)
		fuzz_sqlstate[i] = PGUNSIXBIT(sqlerrcode >> (6 * i));
	siglongjmp(fuzz_error, 1);
}

#if PG_VERSION_NUM >= 160000
bool
errsave_start(struct Node *context pg_attribute_unused(), const char *domain)
{
	return errstart(ERROR, domain);
}

void
errsave_finish(struct Node *context pg_attribute_unused(), const char *file, int line, const char *function)
{
	errfinish(file, line, function);
}
#endif

/* ------------------------------------------------------------ the rest of it */

void
pg_qsort(void *base, size_t n, size_t size, int (*compare) (const void *, const void *))
{
	if (n > 0)
		qsort(base, n, size, compare);
}

int
pg_mbcliplen(const char *text pg_attribute_unused(), int length, int limit)
{
	return Min(length, limit);
}

struct varlena *
pg_detoast_datum(struct varlena *datum)
{
	return datum;
}

struct varlena *
pg_detoast_datum_packed(struct varlena *datum)
{
	return datum;
}

char *
text_to_cstring(const text *t)
{
	return pnstrdup(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
}

const char *
pq_getmsgbytes(StringInfo message, int length)
{
	const char *bytes = &message->data[message->cursor];

	message->cursor += length;
	return bytes;
}

/* Of digits that the caller has looked at. */
uint64
hex_decode(const char *text, size_t length, char *bytes)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < length; i += 2)
		bytes[i / 2] = (char) ((strchr(digits, text[i]) - digits) << 4 |
							   (strchr(digits, text[i + 1]) - digits));
	return length / 2;
}

uint64
hex_encode(const char *bytes, size_t length, char *text)
{
	for (size_t i = 0; i < length; i++)
	{
		text[2 * i] = "0123456789abcdef"[(uint8) bytes[i] >> 4];
		text[2 * i + 1] = "0123456789abcdef"[(uint8) bytes[i] & 15];
	}
	return length * 2;
}

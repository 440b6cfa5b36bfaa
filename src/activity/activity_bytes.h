/*
 * activity_bytes.h
 *	  The bytes of an activity, for the files activity*.c only.
 *
 * Layout of the varlena.  All integers are little-endian or of variable length
 * ("var": seven bits per byte, least significant first; signed ones in zigzag):
 *
 *		4		length word
 *		1		format, 1
 *		1		flags
 *		2		number of series
 *		4		day as of which it was pruned
 *		4		checksum, CRC-32C of all that stands before and after it but the length word
 *		series, ascending by id:
 *			8		id
 *			1		kind
 *			var		days kept
 *			var		number of cells (of distinct values)
 *			var		first day (signed)
 *			counts and sums:
 *				1		widths in bytes, as the largest number requires: of the gaps
 *						(high half) and of the counts (low half, at least 1)
 *				1		sums only: width of the totals; the high bit is set if all
 *						totals are whole units, otherwise they are millionths
 *				gaps	days from each cell to the next, minus 1
 *				counts	n of each cell, minus 1
 *				totals	of each cell (zigzag)
 *			distinct values:	8 hash, var days since the first day, var number
 *								of bytes that follow, a bit for each later day
 *
 * Up to three flipped bits always change the checksum, whatever else a disk does
 * nearly always.  The log of an update leaves out the bytes with which the old and
 * the new row end.  So what every event changes stands at the beginning: the length,
 * the checksum, and before them in the row chs.activity.folded_to.  And an event
 * changes series of its type only, which are neighbours, see series.c.
 *
 * All numbers of a series have the same width, so that the days of a window can
 * be found and summed up in place: scoring works on views, without making cells.
 *
 * A canonical activity has no cell that its day and the number of days kept
 * rule out, no empty series, and the shortest form of every number, so that
 * equal activities have equal bytes.
 *
 * The aggregate's state has FLAG_OPEN: the header is followed by the sizes of an
 * unsorted tail of increments, with room to spare, which comes after the series,
 * so that adding an event takes an append and only occasionally a merge.  It has
 * no checksum, and chs never stores it.  Every function accepts both forms; only
 * canonical ones are accepted from outside.
 */
#ifndef CHS_ACTIVITY_BYTES_H
#define CHS_ACTIVITY_BYTES_H

#include "base/compat.h"

#include "datatype/timestamp.h"
#include "port/pg_bswap.h"
#include "port/pg_crc32c.h"
#include "utils/memutils.h"

#include "activity/activity.h"

#define ACTIVITY_FORMAT 1
#define FLAG_OPEN 0xff			/* all bits, lest flipping a few make one without a checksum */
#define WHOLE_UNITS 0x80		/* in the width of totals */

struct Activity
{
	int32		vl_len_;
	uint8		format;
	uint8		flags;
	uint16		nseries;
	int32		day;
};

#define HEADER_SIZE sizeof(Activity)
#define CHECKSUM_SIZE sizeof(pg_crc32c)

/* The series of a canonical activity. */
#define BODY(a) ((char *) (a) + HEADER_SIZE + CHECKSUM_SIZE)
#define BODY_SIZE(a) (VARSIZE(a) - HEADER_SIZE - CHECKSUM_SIZE)

/* In an open activity this stands in place of a checksum; the series and the tail follow it. */
typedef struct OpenHeader
{
	uint32		body;			/* bytes of series */
	uint32		ntail;			/* increments in the tail */
	uint32		captail;		/* room for increments */
} OpenHeader;

#define OPEN_BODY(a) ((char *) (a) + HEADER_SIZE + sizeof(OpenHeader))
#define OPEN_SIZE(body, captail) \
	(HEADER_SIZE + sizeof(OpenHeader) + (body) + (Size) (captail) * sizeof(Increment))

/* Days of any valid timestamp, with some to spare for windows. */
#define MIN_DAY (-2500000)
#define MAX_DAY 110000000
#define MAX_KEEP 4000
#define MAX_SPAN (MAX_DAY - MIN_DAY)
#define MAX_CELLS ((int) (MaxAllocSize / sizeof(Cell)))

#define ENDS_TOO_EARLY "It ends too early."
#define DAY_OUT_OF_RANGE "A day is out of range."

/* Makes the header's numbers little-endian, or back. */
static inline void
swap_header(Activity *activity pg_attribute_unused())
{
#ifdef WORDS_BIGENDIAN
	activity->nseries = pg_bswap16(activity->nseries);
	activity->day = (int32) pg_bswap32((uint32) activity->day);
#endif
}

/* The checksum that a canonical activity must have, in the order of its bytes. */
static inline pg_crc32c
make_checksum(const Activity *activity)
{
	Activity	header = *activity;
	pg_crc32c	crc;

	swap_header(&header);
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, (char *) &header + VARHDRSZ, HEADER_SIZE - VARHDRSZ);
	COMP_CRC32C(crc, BODY(activity), BODY_SIZE(activity));
	FIN_CRC32C(crc);
#ifdef WORDS_BIGENDIAN
	crc = pg_bswap32(crc);
#endif
	return crc;
}

static inline void
put_checksum(Activity *activity)
{
	pg_crc32c	crc = make_checksum(activity);

	memcpy((char *) activity + HEADER_SIZE, &crc, CHECKSUM_SIZE);
}

static inline bool
has_checksum(const Activity *activity)
{
	pg_crc32c	crc = make_checksum(activity);

	return memcmp((const char *) activity + HEADER_SIZE, &crc, CHECKSUM_SIZE) == 0;
}

/*
 * Where reading stands.  The first thing that is wrong ends it: everything that is
 * read from then on is zero, or the least that it may be.
 */
typedef struct Reader
{
	const char *next;
	const char *end;
	const char *damage;			/* what is wrong, as a sentence; or NULL */
} Reader;

static inline void
reader_fail(Reader *r, const char *damage)
{
	if (r->damage == NULL)
		r->damage = damage;
	r->next = r->end;
}

static inline uint8
get_byte(Reader *r)
{
	if (unlikely(r->next >= r->end))
	{
		reader_fail(r, ENDS_TOO_EARLY);
		return 0;
	}
	return (uint8) *r->next++;
}

static inline uint64
get_varint(Reader *r)
{
	uint8		b = get_byte(r);
	uint64		v = b & 0x7f;
	int			shift = 7;

	while (b & 0x80)
	{
		b = get_byte(r);
		if (unlikely(shift > 63 || (shift == 63 && b > 1) || b == 0))
		{
			reader_fail(r, "A number is malformed.");
			return 0;
		}
		v |= (uint64) (b & 0x7f) << shift;
		shift += 7;
	}
	return v;
}

/* Reads a number that must be in the given range. */
static inline int64
get_number(Reader *r, int64 low, int64 high, const char *damage)
{
	uint64		v = get_varint(r);

	if (unlikely(v > (uint64) high || (int64) v < low))
	{
		reader_fail(r, damage);
		return low;
	}
	return (int64) v;
}

static inline uint64
get_uint64(Reader *r)
{
	uint64		v;

	if (unlikely(r->end - r->next < (ptrdiff_t) sizeof(v)))
	{
		reader_fail(r, ENDS_TOO_EARLY);
		return 0;
	}
	memcpy(&v, r->next, sizeof(v));
	r->next += sizeof(v);
#ifdef WORDS_BIGENDIAN
	v = pg_bswap64(v);
#endif
	return v;
}

/* Reads the low bytes of a word. */
static inline uint64
get_word(const char *from, int width)
{
	uint64		v;

	memcpy(&v, from, sizeof(v));
#ifdef WORDS_BIGENDIAN
	v = pg_bswap64(v);
#endif
	return v & (width < 8 ? ((uint64) 1 << width * 8) - 1 : ~(uint64) 0);
}

/* Reads a number of the given width, at most 8 bytes. */
static inline uint64
get_fixed(const char *from, const char *end, int width)
{
	uint64		v = 0;

	/* reading a whole word is faster, and usually more bytes follow */
	if (likely(end - from >= (ptrdiff_t) sizeof(v)))
		return get_word(from, width);
	for (int i = 0; i < width; i++)
		v |= (uint64) (uint8) from[i] << i * 8;
	return v;
}

static inline int64
unzigzag(uint64 z)
{
	return (int64) (z >> 1) ^ -(int64) (z & 1);
}

/* Days between a cell of a run and the next one. */
static inline int64
get_gap(const SeriesView *s, int i)
{
	return (int64) get_fixed(s->gaps + (Size) i * s->gap_width, s->end, s->gap_width) + 1;
}

static inline int64
get_count(const SeriesView *s, int i)
{
	return (int64) get_fixed(s->counts + (Size) i * s->count_width, s->end, s->count_width) + 1;
}

/* A total of at most 8 bytes, in the unit of its series. */
static inline int64
get_short_total(const SeriesView *s, int i)
{
	return unzigzag(get_fixed(s->totals + (Size) i * s->total_width, s->end, s->total_width));
}

static inline int128
get_long_total(const SeriesView *s, int i)
{
	const char *from = s->totals + (Size) i * s->total_width;
	uint128		high = get_fixed(from + 8, s->end, s->total_width - 8);
	uint128		z = high << 64 | get_fixed(from, s->end, 8);

	return (int128) (z >> 1) ^ -(int128) (z & 1);
}

static inline int128
get_total(const SeriesView *s, int i)
{
	return s->total_width <= 8 ? get_short_total(s, i) : get_long_total(s, i);
}

/* A distinct value: its first day, and bytes with a bit for each later day. */
typedef struct DistinctValue
{
	uint64		key;
	int32		first;
	int			nbytes;
	const char *days;
} DistinctValue;

static pg_attribute_always_inline void
get_value(Reader *r, const SeriesView *s, DistinctValue *v)
{
	int64		first;

	v->key = get_uint64(r);
	first = s->first + get_number(r, 0, MAX_SPAN, DAY_OUT_OF_RANGE);
	v->nbytes = get_number(r, 0, MAX_SPAN / 8, DAY_OUT_OF_RANGE);
	v->days = r->next;
	if (unlikely(v->nbytes > r->end - r->next))
		reader_fail(r, ENDS_TOO_EARLY);
	else if (unlikely(v->nbytes > 0 && v->days[v->nbytes - 1] == 0))
		reader_fail(r, "The days of a distinct value are malformed.");
	else if (unlikely(first + (int64) v->nbytes * 8 > MAX_DAY))
		reader_fail(r, DAY_OUT_OF_RANGE);
	else
		r->next += v->nbytes;
	v->first = (int32) first;
}

#endif							/* CHS_ACTIVITY_BYTES_H */

/*
 * main.c
 *	  Makes inputs, without a fuzzer that knows what they reach.
 *
 *		main SEED COUNT			so many inputs, valid ones and damaged ones
 *		main --seeds DIRECTORY N	valid ones as files, for a fuzzer to begin with
 *		main FILE			one input, as a fuzzer has kept it
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define MOST_BYTES 65536

static uint64_t state;

static uint64_t
next_random(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % below;
}

static const char *const tokens[] = {
	":", " ", "0:0 1:100", "-", "1e308", "1e-320", "nan", "inf", "0x10", ".", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
	"\x80", "\xff\xff\xff\x7f"
};

/* Damages an input in one place, and returns its new length. */
static size_t
damage(uint8_t *data, size_t n)
{
	static uint8_t other[MOST_BYTES];
	size_t		at = next_random(n);
	size_t		length;
	const char *token;

	switch (next_random(9))
	{
		case 0:
			data[at] ^= (uint8_t) (1 << next_random(8));
			return n;
		case 1:
			data[at] = (uint8_t) next_random(256);
			return n;
		case 2:					/* ends too early */
			return at + 1;
		case 3:					/* has something to spare */
			length = next_random(12);
			for (size_t i = 0; i < length && n < MOST_BYTES; i++)
				data[n++] = (uint8_t) next_random(256);
			return n;
		case 4:					/* misses something */
			length = next_random(n - at) + 1;
			if (at == 0 || at + length > n)
				return n;
			memmove(data + at, data + at + length, n - at - length);
			return n - length;
		case 5:					/* has something twice */
			length = next_random(n - at) + 1;
			if (at == 0 || n + length > MOST_BYTES)
				return n;
			memmove(data + at + length, data + at, n - at);
			return n + length;
		case 6:					/* goes on as another one */
			length = fuzz_seed(next_random(UINT64_MAX), other, sizeof(other));
			if (at == 0 || at >= length)
				return n;
			memcpy(data + at, other + at, length - at);
			return length;
		case 7:					/* holds nothing, or too much, in whole numbers */
			length = 1 + next_random(16);
			if (at == 0 || at + length > n)
				return n;
			memset(data + at, next_random(2) ? 0 : 0xff, length);
			return n;
		default:
			token = tokens[next_random(sizeof(tokens) / sizeof(tokens[0]))];
			length = strlen(token);
			if (at == 0 || at + length > n)
				return n;
			memcpy(data + at, token, length);
			return n;
	}
}

static int
run_many(uint64_t seed, long count)
{
	static uint8_t data[MOST_BYTES];
	long		taken[FUZZ_TARGETS] = {0};
	long		refused[FUZZ_TARGETS] = {0};
	int			missing = 0;

	state = seed * 2 + 1;
	for (long i = 0; i < count; i++)
	{
		size_t		n = fuzz_seed(next_random(UINT64_MAX), data, sizeof(data));

		for (uint64_t places = i % 4 == 0 ? 0 : 1 + next_random(3); places > 0; places--)
			n = damage(data, n);
		if (fuzz_target(data, n))
			taken[data[0] % FUZZ_TARGETS]++;
		else
			refused[data[0] % FUZZ_TARGETS]++;
	}
	printf("%ld inputs; taken and refused:", count);
	for (int i = 0; i < FUZZ_TARGETS; i++)
	{
		printf(" %ld/%ld", taken[i], refused[i]);
		missing += taken[i] == 0 || refused[i] == 0;
	}
	printf("\n");
	return missing;
}

static int
write_seeds(const char *directory, long count)
{
	static uint8_t data[MOST_BYTES];

	for (long i = 0; i < count; i++)
	{
		char		path[1024];
		FILE	   *file;
		size_t		n = fuzz_seed((uint64_t) i, data, sizeof(data));

		snprintf(path, sizeof(path), "%s/seed%ld", directory, i);
		file = fopen(path, "wb");
		if (file == NULL || fwrite(data, 1, n, file) != n || fclose(file) != 0)
			return 1;
	}
	return 0;
}

static int
run_file(const char *path)
{
	static uint8_t data[MOST_BYTES];
	FILE	   *file = fopen(path, "rb");
	size_t		n;

	if (file == NULL)
		return 1;
	n = fread(data, 1, sizeof(data), file);
	fclose(file);
	printf("%s\n", fuzz_target(data, n) ? "taken" : fuzz_sqlstate);
	return 0;
}

int
main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "--seeds") == 0)
		return write_seeds(argv[2], atol(argv[3]));
	if (argc == 3)
		return run_many(strtoull(argv[1], NULL, 10), atol(argv[2]));
	return argc == 2 ? run_file(argv[1]) : 2;
}

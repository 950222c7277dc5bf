/* SPDX-License-Identifier: MPL-2.0 */
/* The C library: streams, numbers, text and arithmetic. */
#define _GNU_SOURCE
#include "check.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <fnmatch.h>
#include <iconv.h>
#include <inttypes.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <regex.h>
#include <search.h>
#include <setjmp.h>
#include <wchar.h>

static void streams(void)
{
	char text[64] = "", *line = NULL;
	size_t room = 0;
	FILE *f = SOME(fopen("file", "w+"));

	IS(fprintf(f, "first %d\nsecond %s\n", 1, "two"), 19);
	IS(fseek(f, 0, SEEK_SET), 0);
	SOME(fgets(text, sizeof(text), f));
	TEXT(text, "first 1\n");
	IS(ftell(f), 8);
	IS(getline(&line, &room, f), 11);
	TEXT(line, "second two\n");
	free(line);
	IS(getc(f), EOF);
	IS(feof(f) != 0, true);
	rewind(f);
	IS(fscanf(f, "%*s %d", &(int){ 0 }), 1);
	IS(ungetc('x', f), 'x');
	IS(getc(f), 'x');
	IS(fclose(f), 0);
	TRUE(fopen("none", "r") == NULL);
	IS(errno, ENOENT);
	TRUE(fopen("file", "wrong") != NULL || errno == EINVAL);
	f = SOME(fopen("file", "ax") ? NULL : fopen("file", "a"));
	fputs("third", f);
	IS(fclose(f), 0);
	f = SOME(fopen("/dev/full", "w"));
	fputs("x", f);
	IS(fflush(f), EOF);
	IS(errno, ENOSPC);
	fclose(f);
}

static void in_memory(void)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = SOME(open_memstream(&text, &size));

	for (int i = 0; i < 1000; i++)
		fprintf(f, "%d,", i);
	IS(fclose(f), 0);
	IS(size, 3890);
	TRUE(strncmp(text + size - 9, ",998,999,", 9) == 0);
	f = SOME(fmemopen(text, size, "r"));
	IS(fscanf(f, "%d,%d,%d", &(int){ 0 }, &(int){ 0 }, &(int){ 0 }), 3);
	fclose(f);
	free(text);
}

static FILE *shared;

static void *print_lines(void *arg)
{
	char name = *(char *)arg;

	for (int i = 0; i < 200; i++)
		fprintf(shared, "%c%c%c%c%c\n", name, name, name, name, name);
	return arg;
}

/* Output of one call is not interleaved with that of other threads. */
static void from_threads(void)
{
	pthread_t threads[5];
	char names[] = "abcde", line[64];
	int n = 0;

	shared = SOME(fopen("file", "w+"));
	for (int i = 0; i < 5; i++)
		threads[i] = start_small_thread(print_lines, names + i);
	for (int i = 0; i < 5; i++)
		join_thread(threads[i]);
	rewind(shared);
	while (fgets(line, sizeof(line), shared)) {
		TRUE(strlen(line) == 6 && all_bytes(line, line[0], 5));
		n++;
	}
	IS(n, 1000);
	fclose(shared);
}

static void temporary(void)
{
	char name[] = "fileXXXXXX", directory[] = "dirXXXXXX";
	FILE *f;

	OK(mkstemp(name));
	TRUE(strcmp(name, "fileXXXXXX") != 0);
	OK(access(name, F_OK));
	SOME(mkdtemp(directory));
	OK(rmdir(directory));
	f = SOME(tmpfile());
	IS(fputs("x", f) >= 0, true);
	IS(fclose(f), 0);
}

const struct check stdio_checks[] = {
	{ "stdio_streams", streams },
	{ "stdio_in_memory", in_memory },
	{ "stdio_from_threads", from_threads },
	{ "stdio_temporary", temporary },
	{ 0 }
};

static void formats(void)
{
	volatile size_t four = 4;
	char text[128];

	snprintf(text, sizeof(text), "%5d|%-5d|%05d|%+d|%x|%#o|%c|%%", 42, 42, 42, 42, 255, 8, 'c');
	TEXT(text, "   42|42   |00042|+42|ff|010|c|%");
	snprintf(text, sizeof(text), "%.3f|%e|%g|%a|%.0f", 3.14159, 12345.678, 0.0001, 1.0, 2.5);
	TEXT(text, "3.142|1.234568e+04|0.0001|0x1p+0|2");
	snprintf(text, sizeof(text), "%s|%.2s|%10s|%-4s|%*d", "text", "text", "right", "l", 6, 7);
	TEXT(text, "text|te|     right|l   |     7");
	snprintf(text, sizeof(text), "%lld|%zu|%" PRIu64 "|%hhd", -5LL, (size_t)9, UINT64_MAX,
		 (signed char)-1);
	TEXT(text, "-5|9|18446744073709551615|-1");
	IS(snprintf(text, four, "long text"), 9);
	TEXT(text, "lon");
	snprintf(text, sizeof(text), "%.17Lf|%f|%f", 1.1L, INFINITY, -NAN);
	TRUE(strncmp(text, "1.10000000000000000|", 20) == 0 && strstr(text, "|inf|") != NULL);
}

static void conversions(void)
{
	char *end;

	IS(strtol("0x1fz", &end, 0), 31);
	IS(*end, 'z');
	IS(strtol("-77", NULL, 8), -63);
	errno = 0;
	IS(strtol("99999999999999999999", NULL, 10) == LONG_MAX, true);
	IS(errno, ERANGE);
	TRUE(strtod("1e3x", &end) == 1000 && *end == 'x');
	TRUE(strtod("0x1.8p1", NULL) == 3);
	TRUE(isinf(strtod("inf", NULL)) && isnan(strtod("nan", NULL)));
	TRUE(strtod("2.2250738585072011e-308", NULL) == 0x0.fffffffffffffp-1022);
	IS(atoi("  12 "), 12);
	IS(sscanf("7 words 3.5", "%d %*s %lf", &(int){ 0 }, &(double){ 0 }), 2);
}

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void algorithms(void)
{
	static int list[10000];
	unsigned seed = 1;
	regex_t r;
	regmatch_t m[2];
	int key = 0;

	for (int i = 0; i < 10000; i++)
		list[i] = rand_r(&seed) % 100000;
	qsort(list, 10000, sizeof(int), compare);
	for (int i = 1; i < 10000; i++)
		TRUE(list[i - 1] <= list[i]);
	key = list[777];
	IS(*(int *)SOME(bsearch(&key, list, 10000, sizeof(int), compare)), key);
	IS(regcomp(&r, "^a(b+)c$", REG_EXTENDED), 0);
	IS(regexec(&r, "abbbc", 2, m, 0), 0);
	IS(m[1].rm_eo - m[1].rm_so, 3);
	IS(regexec(&r, "abbd", 2, m, 0), REG_NOMATCH);
	regfree(&r);
	IS(fnmatch("*.c", "file.c", 0), 0);
	IS(fnmatch("*.c", "file.h", 0), FNM_NOMATCH);
	TEXT(strerror(ENOENT), "No such file or directory");
	TEXT(setlocale(LC_ALL, "C"), "C");
}

/*
 * Volatile pointers keep the compiler from replacing the calls by built-in
 * code.
 */
static void *(*volatile copy)(void *, const void *, size_t) = memcpy;
static void *(*volatile move)(void *, const void *, size_t) = memmove;

static unsigned char byte_of(size_t i, size_t length)
{
	return i * 31 + (i >> 8) * 7 + length;
}

/*
 * Returns whether a function copies length bytes within a region and changes no
 * others.
 */
static bool copies_region(void *(*how)(void *, const void *, size_t), size_t to, size_t from,
			  size_t length)
{
	unsigned char region[1024];

	for (size_t i = 0; i < sizeof(region); i++)
		region[i] = byte_of(i, length);
	if (how(region + to, region + from, length) != region + to)
		return false;
	for (size_t i = 0; i < sizeof(region); i++)
		if (region[i] != byte_of(i >= to && i < to + length ? i - to + from : i, length))
			return false;
	return true;
}

/* Copies of many lengths between all alignments, overlapping and not. */
static void copies(void)
{
	for (size_t length = 0; length <= 300; length += length < 140 ? 1 : 13)
		for (size_t from = 16; from < 24; from++)
			for (size_t to = 0; to < 350; to += to < 48 ? 1 : 37) {
				bool apart = to >= from + length || from >= to + length;

				if (!copies_region(move, to, from, length) ||
				    (apart && !copies_region(copy, to, from, length))) {
					IS(length, -1);
					return;
				}
			}
}

/* Every pair of bytes in the Korean encoding is converted, or is an error: CVE-2025-26519. */
static void korean_text(void)
{
	iconv_t korean = iconv_open("UTF-8", "EUC-KR");
	char pair[2], text[8], *in, *out;
	size_t n_in, n_out;

	TRUE(korean != (iconv_t)-1);
	for (int i = 0x8000; i < 0x10000; i++) {
		pair[0] = i >> 8;
		pair[1] = i & 0xff;
		in = pair;
		out = text + 1;
		n_in = sizeof(pair);
		n_out = 6;
		memset(text, 'x', sizeof(text));
		if (iconv(korean, &in, &n_in, &out, &n_out) == (size_t)-1)
			TRUE(errno == EILSEQ || errno == EINVAL);
		TRUE(out >= text + 1 && out + n_out == text + 7);
		IS(text[0], 'x');
		IS(*out, 'x');
		iconv(korean, NULL, NULL, NULL, NULL);
	}
	in = "\xc8\x41";
	n_in = 2;
	IS(iconv(korean, &in, &n_in, &out, &n_out), -1);
	IS(errno, EILSEQ);
	iconv_close(korean);
}

const struct check number_checks[] = {
	{ "number_formats", formats },
	{ "number_conversions", conversions },
	{ "number_algorithms", algorithms },
	{ "number_copies", copies },
	{ "number_korean_text", korean_text },
	{ 0 }
};

static void functions(void)
{
	volatile double x = 2;

	TRUE(fabs(sqrt(x) - 1.4142135623730951) < 1e-15);
	TRUE(fabs(sin(x) - 0.9092974268256817) < 1e-15);
	TRUE(fabs(exp(x) - 7.38905609893065) < 1e-14);
	TRUE(fabs(log(x) - 0.6931471805599453) < 1e-15);
	TRUE(fabs(pow(x, 0.5) - 1.4142135623730951) < 1e-15);
	TRUE(fabsl(sqrtl(x) - 1.41421356237309504880L) < 1e-18L);
	TRUE(floor(-x - 0.5) == -3 && rint(x + 0.5) == 2 && lround(x + 0.5) == 3);
	TRUE(isnan(sqrt(-x)) && isinf(x / 0.0));
}

static void rounding(void)
{
	volatile double one = 1, three = 3;
	volatile double down, up;

	IS(fesetround(FE_DOWNWARD), 0);
	getppid();
	down = one / three;
	IS(fesetround(FE_UPWARD), 0);
	getppid();
	up = one / three;
	IS(fesetround(FE_TONEAREST), 0);
	TRUE(down < up);
	feclearexcept(FE_ALL_EXCEPT);
	down = one / 0.0;
	IS(fetestexcept(FE_DIVBYZERO) != 0, true);
	feclearexcept(FE_ALL_EXCEPT);
	IS(fetestexcept(FE_ALL_EXCEPT), 0);
}

static void *compute(void *arg)
{
	volatile double sum = 0;
	int mode = (int)(long)arg % 2 ? FE_UPWARD : FE_DOWNWARD;
	long wrong = 0;

	fesetround(mode);
	for (int i = 1; i < 20000; i++) {
		sum += 1.0 / i;
		if (i % 100 == 0)
			getppid(), wrong += fegetround() != mode;
	}
	return (void *)wrong;
}

/* Each thread has its own floating-point registers and rounding mode. */
static void in_threads(void)
{
	pthread_t threads[6];

	for (long i = 0; i < 6; i++)
		threads[i] = start_small_thread(compute, (void *)i);
	for (int i = 0; i < 6; i++)
		IS((long)join_thread(threads[i]), 0);
	IS(fegetround(), FE_TONEAREST);
}

static jmp_buf place;

static __attribute__((noinline)) void jump(int value)
{
	longjmp(place, value);
}

static void jumps(void)
{
	volatile int n = 0;
	int value = setjmp(place);

	if (value < 5) {
		n++;
		jump(value + 1);
	}
	IS(n, 5);
}

/* Rounds once, and raises the exceptions of one operation. */
static void fused(void)
{
	static const struct {
		float x, y, z, result;
		int exceptions;
	} cases[] = {
		{ 0x1p-120f, 0x1p-120f, 0x1p-149f, 0x1p-149f, FE_UNDERFLOW | FE_INEXACT },
		{ 0x1p-149f, -0x1p-149f, 0x1p-149f, 0x1p-149f, FE_UNDERFLOW | FE_INEXACT },
		{ 0x1p-75f, 0x1.000002p-75f, 0, 0x1p-149f, FE_UNDERFLOW | FE_INEXACT },
		{ 0x1p-67f, 0x1.000002p-104f, -0x1p-126f, -0x1p-126f, FE_INEXACT },
		{ 0x1p-63f, 0x1p-63f, 0x1p-149f, 0x1.000002p-126f, 0 },
		{ 0x1.000002p0f, 0x1.000002p0f, 0x1p-100f, 0x1.000004p0f, FE_INEXACT },
		{ 0x1.7ffffep0f, 0x1.000002p0f, 0x1p-60f, 0x1.8p0f, FE_INEXACT },
		{ 0x1p127f, 2, 0, INFINITY, FE_OVERFLOW | FE_INEXACT },
		{ INFINITY, 1, -INFINITY, NAN, FE_INVALID },
		{ 1, -1, 1, 0, 0 },
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		volatile float x = cases[i].x, y = cases[i].y, z = cases[i].z, result;

		feclearexcept(FE_ALL_EXCEPT);
		result = fmaf(x, y, z);
		IS(fetestexcept(FE_ALL_EXCEPT & ~0x02), cases[i].exceptions); /* 2: a subnormal operand */
		TRUE(isnan(cases[i].result) ? isnan(result) : result == cases[i].result);
	}
}

const struct check math_checks[] = {
	{ "math_functions", functions },
	{ "math_rounding", rounding },
	{ "math_fused", fused },
	{ "math_in_threads", in_threads },
	{ "math_jumps", jumps },
	{ 0 }
};

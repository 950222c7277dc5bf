/* SPDX-License-Identifier: MPL-2.0 */
/* lwIP's interface to the compiler and the platform. */
#ifndef LWIP_ARCH_CC_H
#define LWIP_ARCH_CC_H

#include <solo5.h>
#include <stdint.h>
#include <stdio.h>

#define LWIP_NO_INTTYPES_H 1
#define X8_F "02x"
#define U16_F "u"
#define S16_F "d"
#define X16_F "x"
#define U32_F "u"
#define S32_F "d"
#define X32_F "x"
#define SZT_F "lu"

#define LWIP_NO_LIMITS_H 1
#define INT_MAX __INT_MAX__

#define LWIP_NO_UNISTD_H 1
#define SSIZE_MAX __LONG_MAX__
typedef long ssize_t;

#define LWIP_NO_CTYPE_H 1

#define LWIP_PLATFORM_DIAG(x) \
	do { \
		printf x; \
	} while (0)
#define LWIP_PLATFORM_ASSERT(x) \
	do { \
		printf("httpd: lwIP: %s\n", x); \
		solo5_abort(); \
	} while (0)

uint32_t net_random(void);
#define LWIP_RAND() net_random()

#endif

/* SPDX-License-Identifier: MPL-2.0 */
#ifndef HTTPD_NET_H
#define HTTPD_NET_H

#include <stdbool.h>

#include "config.h"

/* Brings up the device "tap" as lwIP's interface. Prints any error. */
bool net_start(const struct config *config);

/* Handles packets and timers forever. */
_Noreturn void net_run(void);

#endif

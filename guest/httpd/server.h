/* SPDX-License-Identifier: MPL-2.0 */
#ifndef HTTPD_SERVER_H
#define HTTPD_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "answer.h"
#include "http.h"

/* Fills in the answer to a GET or HEAD request. */
typedef void server_page(const struct request *request, struct answer *answer);

/* Listens on a port. page makes the answers; log prints a line a request. */
bool server_start(uint16_t port, bool log, server_page *page);

#endif

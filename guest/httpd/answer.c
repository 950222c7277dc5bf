/* SPDX-License-Identifier: MPL-2.0 */
#include "answer.h"

#include <lwip/tcp.h>
#include <stdio.h>

#include "http.h"

/* The maximum size of one tcp_write, whose length has 16 bits. */
#define WRITE_MAX 16384

void answer_status(struct answer *a, int status)
{
	a->status = status;
	a->body = NULL;
	a->length = (uint64_t)snprintf(a->text, sizeof(a->text), "%d %s\n",
				       status, http_reason(status));
}

void answer_begin(struct outgoing *o, bool head_only, bool last)
{
	struct answer *a = &o->answer;

	if (!a->body) {
		a->body = a->text;
		a->period = sizeof(a->text);
	}
	o->head_length = (size_t)snprintf(
		o->head, sizeof(o->head),
		"HTTP/1.1 %d %s\r\nServer: httpd\r\n"
		"Content-Type: text/plain\r\nContent-Length: %lu\r\n"
		"%sConnection: %s\r\n\r\n",
		a->status, http_reason(a->status), a->length,
		a->status == 405 ? "Allow: GET, HEAD\r\n" : "",
		last ? "close" : "keep-alive");
	o->head_sent = 0;
	o->body_sent = 0;
	if (head_only)
		a->length = 0;
}

/* Queues as many of n bytes as lwIP has room for, and returns their number. */
static size_t queue_bytes(struct tcp_pcb *pcb, const char *from, uint64_t n,
			  u8_t flags)
{
	if (n > WRITE_MAX)
		n = WRITE_MAX;
	if (n > tcp_sndbuf(pcb))
		n = tcp_sndbuf(pcb);
	if (n == 0 || tcp_write(pcb, from, (u16_t)n, flags) != ERR_OK)
		return 0;
	return n;
}

bool answer_send(struct outgoing *o, struct tcp_pcb *pcb)
{
	const struct answer *a = &o->answer;
	u8_t more = a->length ? TCP_WRITE_FLAG_MORE : 0;
	u8_t copy = a->body == a->text ? TCP_WRITE_FLAG_COPY : 0;
	size_t n;

	while (o->head_sent < o->head_length) {
		n = queue_bytes(pcb, o->head + o->head_sent,
				o->head_length - o->head_sent,
				TCP_WRITE_FLAG_COPY | more);
		if (n == 0)
			return false;
		o->head_sent += n;
	}
	while (o->body_sent < a->length) {
		size_t at = o->body_sent % a->period;
		uint64_t left = a->length - o->body_sent;

		if (left > a->period - at)
			left = a->period - at;
		n = queue_bytes(pcb, a->body + at, left, copy);
		if (n == 0)
			return false;
		o->body_sent += n;
	}
	return true;
}

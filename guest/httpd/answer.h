/* SPDX-License-Identifier: MPL-2.0 */
#ifndef HTTPD_ANSWER_H
#define HTTPD_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The maximum size of a body that is stored in the answer itself. */
#define ANSWER_TEXT 256

/* The answer to a request. Its body may be longer than its source, body, which
 * is then sent repeatedly. */
struct answer {
	int status;
	const char *body;	/* static memory, or NULL for text */
	size_t period;		/* size of body */
	uint64_t length;
	char text[ANSWER_TEXT];
};

#define ANSWER_HEAD 256

/* An answer that is being sent. */
struct outgoing {
	struct answer answer;
	char head[ANSWER_HEAD];
	size_t head_length, head_sent;
	uint64_t body_sent;
};

/* Makes an answer whose body is the status and its reason phrase. */
void answer_status(struct answer *answer, int status);

/*
 * Prepares o->answer for answer_send. head_only leaves out the body, as for a
 * HEAD request; last announces that the connection closes after the answer.
 */
void answer_begin(struct outgoing *o, bool head_only, bool last);

/* Queues as much as lwIP has room for. Returns true if all of it is queued. */
struct tcp_pcb;
bool answer_send(struct outgoing *o, struct tcp_pcb *pcb);

#endif

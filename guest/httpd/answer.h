/* SPDX-License-Identifier: MPL-2.0 */
#ifndef HTTPD_ANSWER_H
#define HTTPD_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room in an answer for a text that is made for it. */
#define ANSWER_TEXT 256

/*
 * What is answered: the first bytes of an endless repetition of some static
 * memory, or of text.
 */
struct answer {
	int status;
	const char *body;	/* null: text */
	size_t period;		/* bytes after which body repeats */
	uint64_t length;
	char text[ANSWER_TEXT];
};

#define ANSWER_HEAD 256

/* An answer on its way. */
struct outgoing {
	struct answer answer;
	char head[ANSWER_HEAD];
	size_t head_length, head_sent;
	uint64_t body_sent;
};

/* Makes an answer that says no more than its status. */
void answer_status(struct answer *answer, int status);

/*
 * Begins to send o->answer. bare: the head alone, as HEAD asks for; last: tell
 * the peer that the connection ends with it.
 */
void answer_begin(struct outgoing *o, bool bare, bool last);

/* Hands lwIP what it has room for. True: all of the answer is with it. */
struct tcp_pcb;
bool answer_send(struct outgoing *o, struct tcp_pcb *pcb);

#endif

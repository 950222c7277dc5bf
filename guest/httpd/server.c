/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The connections of a web server on lwIP's raw TCP interface. A connection
 * copies received data to its own buffer at once. The buffer is as large as the
 * receive window, so no connection ever holds packets of lwIP's shared pool.
 */
#include "server.h"

#include <lwip/tcp.h>
#include <solo5.h>
#include <stdio.h>
#include <string.h>

#define CONNECTIONS 256
#define SERVER_INPUT TCP_WND
/* The largest body that is skipped. No page uses the body of a request. */
#define BODY_MAX (1UL << 20)

/* Time limits, in polls of lwIP's slow timer: two polls are a second. */
#define POLLS_IDLE 120		/* between two requests */
#define POLLS_REQUEST 40	/* from the first byte of a request to its last */
#define POLLS_STUCK 120		/* while the peer acknowledges nothing */
#define POLLS_DRAIN 4		/* after the last answer */
#define POLLS_EVICT 4		/* idle before a new connection may replace it */

enum state {
	FREE,
	READING,	/* waiting for the head of a request */
	SKIPPING,	/* discarding the body of a request */
	ANSWERING,
	DRAINING	/* sending side closed, waiting for the peer to close */
};

struct connection {
	struct tcp_pcb *pcb;
	enum state state;
	bool peer_done;		/* the peer has closed its side */
	bool last;		/* close after this answer */
	int polls;		/* since the last progress */
	uint64_t skip;		/* remaining bytes of the body */

	struct outgoing out;
	size_t in_length;
	char in[SERVER_INPUT];
};

static struct connection connections[CONNECTIONS];
static server_page *get_page;
static bool log_requests;

static void enter_state(struct connection *c, enum state state)
{
	c->state = state;
	c->polls = 0;
}

/* Frees the connection and leaves its pcb, if any, to lwIP. */
static void detach_pcb(struct connection *c)
{
	if (c->pcb) {
		tcp_arg(c->pcb, NULL);
		tcp_recv(c->pcb, NULL);
		tcp_sent(c->pcb, NULL);
		tcp_err(c->pcb, NULL);
		tcp_poll(c->pcb, NULL, 0);
	}
	c->pcb = NULL;
	c->state = FREE;
}

static err_t abort_connection(struct connection *c)
{
	struct tcp_pcb *pcb = c->pcb;

	detach_pcb(c);
	tcp_abort(pcb);
	return ERR_ABRT;
}

/* Closes a connection. lwIP still sends the queued data. */
static err_t close_connection(struct connection *c)
{
	struct tcp_pcb *pcb = c->pcb;

	/* With unread bytes lwIP would send a reset. */
	tcp_recved(pcb, (u16_t)c->in_length);
	c->in_length = 0;
	detach_pcb(c);
	if (tcp_close(pcb) == ERR_OK)
		return ERR_OK;
	tcp_abort(pcb);
	return ERR_ABRT;
}

/* Removes n bytes from the front of the input. */
static void consume(struct connection *c, size_t n)
{
	c->in_length -= n;
	memmove(c->in, c->in + n, c->in_length);
	tcp_recved(c->pcb, (u16_t)n);
}

/* Copies s for the log, without bytes that could forge or garble a line. */
static const char *printable(struct slice s, char *to, size_t size)
{
	size_t n = s.length < size ? s.length : size - 1;

	for (size_t i = 0; i < n; i++)
		to[i] = s.at[i] > ' ' && s.at[i] < 127 ? s.at[i] : '?';
	to[n] = 0;
	return to;
}

static void log_request(const struct connection *c, const struct request *r)
{
	char method[16], path[128];

	if (!log_requests)
		return;
	printf("%s %s %s %d %lu\n", ipaddr_ntoa(&c->pcb->remote_ip),
	       printable(r->method, method, sizeof(method)),
	       printable(r->path, path, sizeof(path)), c->out.answer.status,
	       c->out.answer.length);
}

static void begin_answer(struct connection *c, const struct request *r)
{
	log_request(c, r);
	answer_begin(&c->out, slice_is(r->method, "HEAD"), c->last);
	enter_state(c, ANSWERING);
}

/* Rejects bytes that are not a valid request, and closes the connection. */
static void refuse(struct connection *c, int status)
{
	static const struct request nothing = {
		.method = { "-", 1 },
		.path = { "-", 1 },
	};

	c->last = true;
	answer_status(&c->out.answer, status);
	begin_answer(c, &nothing);
}

static void answer_request(struct connection *c, const struct request *r)
{
	/* httpd sends no 100, so it cannot know whether the body will follow. */
	c->last = !r->keep_alive || r->expects_continue || r->body > BODY_MAX;
	c->skip = r->body;
	if (r->body > BODY_MAX) {
		answer_status(&c->out.answer, 413);
	} else if (!slice_is(r->method, "GET") && !slice_is(r->method, "HEAD")) {
		answer_status(&c->out.answer, 405);
	} else {
		c->out.answer.body = NULL;
		get_page(r, &c->out.answer);
	}
	begin_answer(c, r);
}

/* Reads one request or a part of its body. Returns whether to try again. */
static bool read_step(struct connection *c)
{
	struct request r;
	int n;

	if (c->state == SKIPPING) {
		size_t part = c->in_length < c->skip ? c->in_length : c->skip;

		consume(c, part);
		c->skip -= part;
		if (c->skip > 0)
			return false;
		enter_state(c, READING);
	}
	n = http_read(c->in, c->in_length, &r);
	if (n > 0) {
		answer_request(c, &r);
		consume(c, (size_t)n);
	} else if (n < 0) {
		refuse(c, -n);
	} else if (c->in_length == SERVER_INPUT) {
		refuse(c, 431);
	} else {
		return false;
	}
	return true;
}

/* Continues after a complete answer with the next request, or closes. */
static err_t finish_answer(struct connection *c)
{
	if (!c->last) {
		enter_state(c, SKIPPING);
		return ERR_OK;
	}
	if (c->peer_done)
		return close_connection(c);
	/*
	 * The peer may still be sending. A close would answer its data with a
	 * reset, which can discard the answer before the peer reads it.
	 */
	consume(c, c->in_length);
	if (tcp_shutdown(c->pcb, 0, 1) != ERR_OK)
		return ERR_OK;	/* lwIP lacks memory: retry at the next poll */
	enter_state(c, DRAINING);
	return ERR_OK;
}

/* Makes all progress that is possible without waiting. */
static err_t advance(struct connection *c)
{
	for (;;) {
		if (c->state == ANSWERING) {
			err_t err;

			if (!answer_send(&c->out, c->pcb))
				break;
			err = finish_answer(c);
			if (err != ERR_OK || c->state == FREE)
				return err;
			if (c->state == ANSWERING)
				break;
		}
		if (c->state == DRAINING || !read_step(c)) {
			if (c->peer_done)
				return close_connection(c);
			break;
		}
	}
	tcp_output(c->pcb);
	return ERR_OK;
}

static err_t on_receive(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
	struct connection *c = arg;

	(void)err;
	if (!p) {
		c->peer_done = true;
	} else if (c->state == DRAINING) {
		tcp_recved(pcb, p->tot_len);
		pbuf_free(p);
		return ERR_OK;
	} else {
		if (p->tot_len > SERVER_INPUT - c->in_length) {
			pbuf_free(p);
			return abort_connection(c);
		}
		/* The time limit of a request starts with its first byte. */
		if (c->state == SKIPPING ||
		    (c->state == READING && c->in_length == 0))
			c->polls = 0;
		pbuf_copy_partial(p, c->in + c->in_length, p->tot_len, 0);
		c->in_length += p->tot_len;
		pbuf_free(p);
	}
	return advance(c);
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t length)
{
	struct connection *c = arg;

	(void)pcb;
	(void)length;
	if (c->state == ANSWERING)
		c->polls = 0;
	return advance(c);
}

static err_t on_poll(void *arg, struct tcp_pcb *pcb)
{
	struct connection *c = arg;

	(void)pcb;
	c->polls++;
	switch (c->state) {
	case READING:
		if (c->in_length == 0 && c->polls > POLLS_IDLE)
			return close_connection(c);
		if (c->in_length > 0 && c->polls > POLLS_REQUEST)
			refuse(c, 408);
		break;
	case SKIPPING:
		if (c->polls > POLLS_REQUEST)
			return abort_connection(c);
		break;
	case ANSWERING:
		if (c->polls > POLLS_STUCK)
			return abort_connection(c);
		break;
	case DRAINING:
		if (c->polls > POLLS_DRAIN)
			return abort_connection(c);
		return ERR_OK;
	case FREE:
		return ERR_OK;
	}
	return advance(c);
}

/* lwIP has already freed the pcb. */
static void on_error(void *arg, err_t err)
{
	struct connection *c = arg;

	(void)err;
	c->pcb = NULL;
	detach_pcb(c);
}

/*
 * Returns a free connection, or NULL. If all are in use, it aborts the one that
 * has been idle longest.
 */
static struct connection *allocate_connection(void)
{
	struct connection *idle = NULL;

	for (int i = 0; i < CONNECTIONS; i++) {
		struct connection *c = &connections[i];

		if (c->state == FREE)
			return c;
		if (c->state == READING && c->in_length == 0 &&
		    c->polls >= (idle ? idle->polls : POLLS_EVICT))
			idle = c;
	}
	if (idle)
		abort_connection(idle);
	return idle;
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
	struct connection *c;

	(void)arg;
	if (err != ERR_OK || !pcb)
		return ERR_VAL;
	c = allocate_connection();
	if (!c)
		return ERR_MEM;	/* lwIP resets the connection */
	c->pcb = pcb;
	c->in_length = 0;
	c->peer_done = false;
	enter_state(c, READING);
	tcp_arg(pcb, c);
	tcp_recv(pcb, on_receive);
	tcp_sent(pcb, on_sent);
	tcp_err(pcb, on_error);
	tcp_poll(pcb, on_poll, 1);
	tcp_nagle_disable(pcb);
	return ERR_OK;
}

bool server_start(uint16_t port, bool log, server_page *page)
{
	struct tcp_pcb *pcb = tcp_new_ip_type(IPADDR_TYPE_ANY);
	struct tcp_pcb *listening;

	get_page = page;
	log_requests = log;
	if (!pcb || tcp_bind(pcb, IP_ANY_TYPE, port) != ERR_OK)
		return false;
	listening = tcp_listen(pcb);
	if (!listening)
		return false;
	tcp_accept(listening, on_accept);
	return true;
}

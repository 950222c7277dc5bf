/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The connections of a web server, over lwIP's raw TCP. A connection copies
 * what arrives into its own memory, which is as large as the window that the
 * peer is given: so none of lwIP's packets is ever held, and no peer can take
 * them from the others.
 */
#include "server.h"

#include <lwip/tcp.h>
#include <solo5.h>
#include <stdio.h>
#include <string.h>

#define CONNECTIONS 256
#define SERVER_INPUT TCP_WND
/* The largest body that is read over; it is of no use to any page. */
#define BODY_MAX (1UL << 20)

/* Polls of lwIP's slow timer, two a second, that each thing may take. */
#define POLLS_IDLE 120		/* from one request to the next */
#define POLLS_REQUEST 40	/* from a request's first byte to its last */
#define POLLS_STUCK 120		/* without the peer taking a byte */
#define POLLS_DRAIN 4		/* for a peer to see why we close */
#define POLLS_EVICT 4		/* idle, before it may be ended for another */

enum state {
	FREE,
	READING,	/* waiting for a request's head */
	SKIPPING,	/* reading over a request's body */
	ANSWERING,
	DRAINING	/* answered and shut: only for the peer to notice */
};

struct connection {
	struct tcp_pcb *pcb;
	enum state state;
	bool peer_done;		/* the peer will send no more */
	bool last;		/* close after the answer */
	int polls;		/* since the state began or made progress */
	uint64_t skip;		/* of the body, still to come */

	struct outgoing out;
	size_t in_length;
	char in[SERVER_INPUT];
};

static struct connection connections[CONNECTIONS];
static server_page *get_page;
static bool log_requests;

static void enter(struct connection *c, enum state state)
{
	c->state = state;
	c->polls = 0;
}

/* Forgets a connection whose pcb is lwIP's alone from now on. */
static void forget(struct connection *c)
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

static err_t abandon(struct connection *c)
{
	struct tcp_pcb *pcb = c->pcb;

	forget(c);
	tcp_abort(pcb);
	return ERR_ABRT;
}

/* Ends a connection; what is queued still goes out. */
static err_t end(struct connection *c)
{
	struct tcp_pcb *pcb = c->pcb;

	/* Unread bytes would make lwIP reset instead of close. */
	tcp_recved(pcb, (u16_t)c->in_length);
	c->in_length = 0;
	forget(c);
	if (tcp_close(pcb) == ERR_OK)
		return ERR_OK;
	tcp_abort(pcb);
	return ERR_ABRT;
}

/* Takes n bytes off the front of what has come in. */
static void consume(struct connection *c, size_t n)
{
	c->in_length -= n;
	memmove(c->in, c->in + n, c->in_length);
	tcp_recved(c->pcb, (u16_t)n);
}

/* A name for the log, in which no peer can write what it likes. */
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

static void answer(struct connection *c, const struct request *r)
{
	log_request(c, r);
	answer_begin(&c->out, slice_is(r->method, "HEAD"), c->last);
	enter(c, ANSWERING);
}

/* Answers what cannot be understood or is too much, and then closes. */
static void refuse(struct connection *c, int status)
{
	static const struct request nothing = {
		.method = { "-", 1 },
		.path = { "-", 1 },
	};

	c->last = true;
	answer_status(&c->out.answer, status);
	answer(c, &nothing);
}

static void answer_request(struct connection *c, const struct request *r)
{
	/* Who waits for a 100 is not told whether the body shall come. */
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
	answer(c, r);
}

/* One step of reading: true if there may be another at once. */
static bool read_some(struct connection *c)
{
	struct request r;
	int n;

	if (c->state == SKIPPING) {
		size_t over = c->in_length < c->skip ? c->in_length : c->skip;

		consume(c, over);
		c->skip -= over;
		if (c->skip > 0)
			return false;
		enter(c, READING);
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

/* After an answer: the next request, or the end. */
static err_t answered(struct connection *c)
{
	if (!c->last) {
		enter(c, SKIPPING);
		return ERR_OK;
	}
	if (c->peer_done)
		return end(c);
	/* The peer may be sending: a plain close would reset what it has yet
	 * to read. */
	consume(c, c->in_length);
	if (tcp_shutdown(c->pcb, 0, 1) != ERR_OK)
		return ERR_OK;	/* lwIP is short of memory: at the next poll */
	enter(c, DRAINING);
	return ERR_OK;
}

/* Does all that can be done now. */
static err_t advance(struct connection *c)
{
	for (;;) {
		if (c->state == ANSWERING) {
			err_t err;

			if (!answer_send(&c->out, c->pcb))
				break;
			err = answered(c);
			if (err != ERR_OK || c->state == FREE)
				return err;
			if (c->state == ANSWERING)
				break;
		}
		if (c->state == DRAINING || !read_some(c)) {
			if (c->peer_done)
				return end(c);
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
			return abandon(c);
		}
		/* A request has its time from its first byte, not its last. */
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
			return end(c);
		if (c->in_length > 0 && c->polls > POLLS_REQUEST)
			refuse(c, 408);
		break;
	case SKIPPING:
		if (c->polls > POLLS_REQUEST)
			return abandon(c);
		break;
	case ANSWERING:
		if (c->polls > POLLS_STUCK)
			return abandon(c);
		break;
	case DRAINING:
		if (c->polls > POLLS_DRAIN)
			return abandon(c);
		return ERR_OK;
	case FREE:
		return ERR_OK;
	}
	return advance(c);
}

/* lwIP has freed the pcb already. */
static void on_error(void *arg, err_t err)
{
	struct connection *c = arg;

	(void)err;
	c->pcb = NULL;
	forget(c);
}

/* A free connection, if need be by ending the one that is idle the longest. */
static struct connection *make_room(void)
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
		abandon(idle);
	return idle;
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
	struct connection *c;

	(void)arg;
	if (err != ERR_OK || !pcb)
		return ERR_VAL;
	c = make_room();
	if (!c)
		return ERR_MEM;	/* lwIP resets the connection */
	c->pcb = pcb;
	c->in_length = 0;
	c->peer_done = false;
	enter(c, READING);
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

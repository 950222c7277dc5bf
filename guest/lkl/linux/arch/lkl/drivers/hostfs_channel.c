// SPDX-License-Identifier: GPL-2.0-only
/*
 * The channel between hostfs and the file server on the host: a Solo5 network
 * device named "files" whose frames are FUSE requests and answers, one in each.
 * The host connects it to a socket that preserves the boundaries of packets.
 *
 * The task that makes a request sends it. If the socket is full, the thread of the
 * channel sends it later. An answer is received in interrupt context and finished
 * by the thread, because the end of a request may sleep. There is one CPU and no
 * preemption, so code that does not sleep needs no lock.
 *
 * The server is a process without privileges that reads a hostile guest's requests,
 * so this driver checks its answers. After a violation of the protocol, and when
 * the server has ended, all requests fail with -EIO.
 */
#include <linux/kthread.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <asm/lkl.h>
#include <asm/solo5.h>
#include "hostfs.h"

/* The longest frame in either direction: data of HOSTFS_MAX_PAGES and headers. */
#define HOSTFS_MAX_FRAME (HOSTFS_MAX_PAGES * PAGE_SIZE + SZ_4K)

/*
 * A socket of the host queues ten packets by default (net.unix.max_dgram_qlen). Two
 * places remain for FORGET requests, which have no answer.
 */
#define HOSTFS_MAX_IN_FLIGHT 8

/* Nodes to forget are collected up to this number and time, and sent together. */
#define HOSTFS_FORGETS 64
#define HOSTFS_FORGET_DELAY (HZ / 50)

/* An idle guest polls for an answer so long before it sleeps. */
#define HOSTFS_POLL_NS 50000
/* Polling stops after this many attempts in vain, for a number of requests that doubles. */
#define HOSTFS_POLL_CREDIT 8
#define HOSTFS_POLL_PAUSE_MIN 16
#define HOSTFS_POLL_PAUSE_MAX 256

static struct hostfs_channel {
	unsigned int handle;		/* of the device; 0: the guest has none */
	bool used;			/* there was a connection */
	struct fuse_conn *conn;
	struct fuse_dev *dev;		/* its list processing[0] has the requests sent */
	struct task_struct *thread;
	struct timer_list timer;	/* wakes the thread */
	wait_queue_head_t wait;
	bool work;			/* for the thread */
	bool closed;			/* the server has ended or violated the protocol */
	u8 *request, *answer;		/* frames */
	size_t answer_len;		/* 0: no answer waits for the thread */
	unsigned int in_flight;		/* requests sent and not yet answered */
	unsigned int waited;		/* those of them that a task may wait for */
	unsigned int forgets;		/* nodes to forget */
	unsigned long forget_at;	/* in jiffies */
	unsigned int poll_credit, poll_pause, poll_next_pause;
} hostfs;

static void hostfs_wake(void)
{
	hostfs.work = true;
	wake_up(&hostfs.wait);
}

static void hostfs_timer(struct timer_list *timer)
{
	hostfs_wake();
}

static void hostfs_fail(const char *why)
{
	if (!hostfs.closed)
		pr_err("hostfs: %s; files of the host are not available any more\n", why);
	hostfs.closed = true;
	hostfs_wake();
}

/* Receives a frame unless one waits already. Returns whether the thread has work. */
static bool hostfs_receive(void)
{
	size_t len = 1;
	int result;

	if (hostfs.answer_len || hostfs.closed)
		return true;
	result = solo5_net_read(hostfs.handle, hostfs.answer, HOSTFS_MAX_FRAME, &len);
	if (result == SOLO5_R_OK) {
		hostfs.answer_len = len;
		return true;
	}
	/* An empty frame is the end of the socket. */
	if (result == SOLO5_R_AGAIN && len)
		return false;
	hostfs_fail("the file server has ended");
	return true;
}

static void hostfs_ready(void *arg)
{
	if (hostfs.thread && !hostfs.closed && hostfs_receive())
		hostfs_wake();
}

/* Whether a task may wait for the answer. */
static bool hostfs_is_waited(const struct fuse_req *req)
{
	return req->in.h.opcode != FUSE_RELEASE && req->in.h.opcode != FUSE_RELEASEDIR;
}

/* Returns false if the request has to wait. */
static bool hostfs_send(struct fuse_req *req)
{
	int result;

	if (WARN_ON_ONCE(req->in.h.len > HOSTFS_MAX_FRAME)) {
		hostfs_fail("a request is too long");
		return false;
	}
	hostfs_put_request(hostfs.request, req);
	result = solo5_net_write(hostfs.handle, hostfs.request, req->in.h.len);
	if (result == SOLO5_R_OK) {
		list_move_tail(&req->list, &hostfs.dev->pq.processing[0]);
		clear_bit(FR_PENDING, &req->flags);
		set_bit(FR_SENT, &req->flags);
		hostfs.in_flight++;
		hostfs.waited += hostfs_is_waited(req);
		return true;
	}
	if (result != SOLO5_R_AGAIN)
		hostfs_fail("the file server has ended");
	return false;
}

/*
 * Sends the requests of the queue, whose lock is held. The next answer, or the timer,
 * makes the thread send those that remain.
 */
static void hostfs_send_pending(struct fuse_iqueue *queue)
{
	struct fuse_req *req;

	while (!hostfs.closed && hostfs.in_flight < HOSTFS_MAX_IN_FLIGHT) {
		req = list_first_entry_or_null(&queue->pending, struct fuse_req, list);
		if (!req || !hostfs_send(req))
			break;
	}
	if (!list_empty(&queue->pending) && !hostfs.in_flight)
		mod_timer(&hostfs.timer, jiffies + 1);
}

/* Sends the nodes to forget in one request, if the socket takes it. */
static void hostfs_send_forgets(struct fuse_iqueue *queue)
{
	struct fuse_in_header *header = (struct fuse_in_header *)hostfs.request;
	struct fuse_batch_forget_in *batch = (struct fuse_batch_forget_in *)(header + 1);
	struct fuse_forget_one *to = (struct fuse_forget_one *)(batch + 1);
	struct fuse_forget_link *link, *next;

	memset(header, 0, sizeof(*header));
	memset(batch, 0, sizeof(*batch));
	for (link = queue->forget_list_head.next; link && batch->count < HOSTFS_FORGETS; link = link->next)
		to[batch->count++] = link->forget_one;
	if (!batch->count) {
		/* An unmount drops them. */
		hostfs.forgets = 0;
		return;
	}
	header->opcode = FUSE_BATCH_FORGET;
	header->unique = fuse_get_unique(queue);
	header->len = sizeof(*header) + sizeof(*batch) + batch->count * sizeof(*to);
	if (solo5_net_write(hostfs.handle, hostfs.request, header->len) != SOLO5_R_OK) {
		mod_timer(&hostfs.timer, jiffies + 1);
		return;
	}
	hostfs.forgets -= batch->count;
	hostfs.forget_at = jiffies + HOSTFS_FORGET_DELAY;
	for (link = fuse_dequeue_forget(queue, batch->count, NULL); link; link = next) {
		next = link->next;
		kfree(link);
	}
}

/* Takes a request off the list of those sent. */
static void hostfs_take(struct fuse_req *req)
{
	list_del_init(&req->list);
	clear_bit(FR_SENT, &req->flags);
	hostfs.in_flight--;
	hostfs.waited -= hostfs_is_waited(req);
}

static struct fuse_req *hostfs_find(u64 unique)
{
	struct fuse_req *req;

	list_for_each_entry(req, &hostfs.dev->pq.processing[0], list)
		if (req->in.h.unique == unique)
			return req;
	return NULL;
}

/* Ends the request to which the received frame is the answer. */
static void hostfs_finish(void)
{
	const struct fuse_out_header *header = (struct fuse_out_header *)hostfs.answer;
	size_t len = hostfs.answer_len;
	struct fuse_req *req;
	int err;

	if (len < sizeof(*header) || header->len != len || header->error > 0 ||
	    header->error <= -512 || (header->error && len != sizeof(*header))) {
		hostfs_fail("an answer of the file server is malformed");
		return;
	}
	req = hostfs_find(header->unique);
	if (!req) {
		/* An unmount aborts requests. */
		if (hostfs.conn->connected)
			hostfs_fail("the file server has answered a request that was not made");
		hostfs.answer_len = 0;
		return;
	}
	hostfs_take(req);
	req->out.h = *header;
	err = header->error ? 0 : hostfs_get_answer(req->args, hostfs.answer + sizeof(*header),
						    len - sizeof(*header));
	if (err)
		req->out.h.error = err;
	hostfs.answer_len = 0;
	fuse_request_end(req);
}

/* Ends all requests with -EIO. The end of one may queue further ones. */
static void hostfs_end_all(struct fuse_iqueue *queue)
{
	struct fuse_req *req;
	struct fuse_forget_link *link;

	hostfs.answer_len = 0;
	for (;;) {
		req = list_first_entry_or_null(&hostfs.dev->pq.processing[0], struct fuse_req, list);
		if (req) {
			hostfs_take(req);
		} else {
			req = list_first_entry_or_null(&queue->pending, struct fuse_req, list);
			if (!req)
				break;
			list_del_init(&req->list);
			clear_bit(FR_PENDING, &req->flags);
		}
		req->out.h.error = -EIO;
		fuse_request_end(req);
	}
	while (queue->forget_list_head.next) {
		link = fuse_dequeue_forget(queue, 1, NULL);
		kfree(link);
	}
	hostfs.forgets = 0;
}

static void hostfs_work(struct fuse_iqueue *queue)
{
	while (!hostfs.closed && hostfs_receive())
		if (hostfs.answer_len)
			hostfs_finish();
	if (hostfs.closed) {
		hostfs_end_all(queue);
		return;
	}
	spin_lock(&queue->lock);
	hostfs_send_pending(queue);
	if (hostfs.forgets >= HOSTFS_FORGETS ||
	    (hostfs.forgets && time_after_eq(jiffies, hostfs.forget_at)))
		hostfs_send_forgets(queue);
	spin_unlock(&queue->lock);
}

static int hostfs_thread(void *unused)
{
	while (!kthread_should_stop()) {
		wait_event_idle(hostfs.wait, hostfs.work || kthread_should_stop());
		hostfs.work = false;
		hostfs_work(&hostfs.conn->iq);
	}
	return 0;
}

static void hostfs_wake_pending_and_unlock(struct fuse_iqueue *queue)
__releases(queue->lock)
{
	hostfs_send_pending(queue);
	if (hostfs.closed)
		hostfs_wake();
	spin_unlock(&queue->lock);
}

static void hostfs_wake_forget_and_unlock(struct fuse_iqueue *queue)
__releases(queue->lock)
{
	if (!hostfs.forgets++)
		hostfs.forget_at = jiffies + HOSTFS_FORGET_DELAY;
	if (hostfs.closed || hostfs.forgets == HOSTFS_FORGETS)
		hostfs_wake();
	else if (!timer_pending(&hostfs.timer))
		mod_timer(&hostfs.timer, hostfs.forget_at);
	spin_unlock(&queue->lock);
}

/* The server does not support INTERRUPT, and the connection makes none (no_interrupt). */
static void hostfs_wake_interrupt_and_unlock(struct fuse_iqueue *queue)
__releases(queue->lock)
{
	spin_unlock(&queue->lock);
}

const struct fuse_iqueue_ops hostfs_queue_ops = {
	.wake_pending_and_unlock = hostfs_wake_pending_and_unlock,
	.wake_forget_and_unlock = hostfs_wake_forget_and_unlock,
	.wake_interrupt_and_unlock = hostfs_wake_interrupt_and_unlock,
};

/* Whether the last attempts to poll were worth it. */
static bool hostfs_poll_pays(void)
{
	if (!hostfs.poll_pause)
		return true;
	hostfs.poll_pause--;
	return false;
}

static void hostfs_poll_was_in_vain(void)
{
	if (--hostfs.poll_credit)
		return;
	hostfs.poll_credit = 2;
	hostfs.poll_pause = hostfs.poll_next_pause;
	hostfs.poll_next_pause = min(2 * hostfs.poll_pause, HOSTFS_POLL_PAUSE_MAX);
}

/*
 * Called when the guest is idle. The server usually answers within a few
 * microseconds, faster than the host puts a CPU to sleep and wakes it. The server
 * polls, too. If it is slow, or has no CPU while the guest polls, polling pauses.
 */
static u64 hostfs_poll(unsigned long deadline)
{
	unsigned long now, end;

	if (!hostfs.waited || hostfs.closed || !hostfs_poll_pays())
		return 0;
	end = lkl_tsc() + lkl_clock_cycles(HOSTFS_POLL_NS);
	do {
		if (hostfs_receive()) {
			hostfs.poll_credit = min(hostfs.poll_credit + 1, HOSTFS_POLL_CREDIT);
			hostfs.poll_next_pause = HOSTFS_POLL_PAUSE_MIN;
			return BIT_ULL(hostfs.handle);
		}
		now = lkl_tsc();
	} while (now < end && now < deadline);
	if (now >= end)
		hostfs_poll_was_in_vain();
	return 0;
}

bool hostfs_channel_exists(void)
{
	return hostfs.handle;
}

static int hostfs_allocate(void)
{
	if (!hostfs.request)
		hostfs.request = alloc_pages_exact(HOSTFS_MAX_FRAME, GFP_KERNEL);
	if (!hostfs.answer)
		hostfs.answer = alloc_pages_exact(HOSTFS_MAX_FRAME, GFP_KERNEL);
	return hostfs.request && hostfs.answer ? 0 : -ENOMEM;
}

int hostfs_channel_open(struct fuse_conn *conn)
{
	struct task_struct *thread;
	int err;

	/* Answers to an earlier connection would be taken for those to this one. */
	if (hostfs.used)
		return -EBUSY;
	err = hostfs_allocate();
	if (err)
		return err;
	hostfs.dev = fuse_dev_alloc();
	if (!hostfs.dev)
		return -ENOMEM;
	fuse_dev_install(hostfs.dev, conn);
	hostfs.used = true;
	hostfs.conn = conn;
	hostfs.work = true;
	hostfs.poll_credit = HOSTFS_POLL_CREDIT;
	hostfs.poll_next_pause = HOSTFS_POLL_PAUSE_MIN;
	thread = kthread_run(hostfs_thread, NULL, "hostfs");
	if (IS_ERR(thread)) {
		fuse_dev_free(hostfs.dev);
		return PTR_ERR(thread);
	}
	sched_set_fifo_low(thread);
	hostfs.thread = thread;
	solo5_net_set_longest(hostfs.handle, HOSTFS_MAX_FRAME);
	lkl_device_ready(hostfs.handle, hostfs_ready, NULL);
	lkl_idle_poll = hostfs_poll;
	return 0;
}

void hostfs_channel_close(void)
{
	lkl_idle_poll = NULL;
	kthread_stop(hostfs.thread);
	hostfs.thread = NULL;
	del_timer_sync(&hostfs.timer);
	fuse_dev_free(hostfs.dev);
	hostfs.dev = NULL;
}

static int __init hostfs_channel_init(void)
{
	init_waitqueue_head(&hostfs.wait);
	timer_setup(&hostfs.timer, hostfs_timer, 0);
	hostfs.handle = lkl_find_net_device("files");
	return 0;
}
device_initcall(hostfs_channel_init);

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Solo5 network devices. Each is named after its entry in the manifest; those named
 * "control" and "files" have other drivers, control.c and hostfs_channel.c. Frames
 * are received by NAPI: an idle guest wakes when there are frames, a busy guest polls.
 *
 * A host may offer more than Solo5 does: a virtio header before each frame, which
 * describes the offloads. Then up to 64 KiB of TCP cross in one frame, and traffic
 * that stays on the host needs no checksums. The host announces this in
 * its configuration (the key "offload" of --config), and the start program passes
 * it on with LKL_SIOC_OFFLOAD before it brings the interface up.
 *
 * Neighbors (neighbors.c) exchange frames as long as those of lo, which has a larger
 * MTU than the interface: LKL_SIOC_LONG_FRAMES.
 */
#include <linux/etherdevice.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/sizes.h>
#include <linux/virtio_net.h>
#include <asm/lkl.h>
#include <asm/solo5.h>

#define SOLO5_NET_OFFLOADS (NETIF_F_SG | NETIF_F_HW_CSUM | NETIF_F_TSO | NETIF_F_TSO_ECN | \
			    NETIF_F_TSO6 | NETIF_F_RXCSUM)
/* The longest frame with its virtio header: a packet of the MTU of lo in Ethernet. */
#define SOLO5_NET_MAX_FRAME (sizeof(struct virtio_net_hdr) + ETH_HLEN + SZ_64K)
/*
 * The longest frame that an skb holds in one piece. Of a longer one the skb holds
 * this many bytes, enough for all headers of TCP over IPv6; the rest is in pages.
 */
#define SOLO5_NET_COPY_MAX 2048
#define SOLO5_NET_HEAD_LEN 128

struct solo5_net {
	struct net_device *dev;
	struct napi_struct napi;
	struct sk_buff *spare;	/* for the next frame */
	const char *name;	/* in the manifest */
	u64 handle;
	unsigned int frame;	/* bytes of the longest frame to receive */
	bool offload;
};

/*
 * Holds a virtio header and a frame: each one received, and those sent that are
 * not contiguous. All devices share it: there is one CPU, and no user of the
 * buffer sleeps.
 */
static u8 *solo5_net_buffer;

/* Puts the header before the frame: into its headroom, or both into the buffer. */
static const u8 *solo5_net_add_header(struct sk_buff *skb, const struct virtio_net_hdr *hdr)
{
	u8 *frame = solo5_net_buffer + sizeof(*hdr);

	if (!skb_is_nonlinear(skb) && !skb_header_cloned(skb) && skb_headroom(skb) >= sizeof(*hdr))
		return memcpy(skb->data - sizeof(*hdr), hdr, sizeof(*hdr));
	memcpy(solo5_net_buffer, hdr, sizeof(*hdr));
	return skb_copy_bits(skb, 0, frame, skb->len) ? NULL : solo5_net_buffer;
}

static bool solo5_net_send(struct solo5_net *net, struct sk_buff *skb)
{
	struct virtio_net_hdr hdr;
	const u8 *frame;

	if (!net->offload)
		return solo5_net_write(net->handle, skb->data, skb->len) == SOLO5_R_OK;
	if (skb->len + sizeof(hdr) > SOLO5_NET_MAX_FRAME ||
	    virtio_net_hdr_from_skb(skb, &hdr, true, false, 0))
		return false;
	frame = solo5_net_add_header(skb, &hdr);
	if (!frame)
		return false;
	return solo5_net_write(net->handle, frame, sizeof(hdr) + skb->len) == SOLO5_R_OK;
}

static netdev_tx_t solo5_net_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct solo5_net *net = netdev_priv(dev);

	if (solo5_net_send(net, skb)) {
		dev->stats.tx_packets++;
		dev->stats.tx_bytes += skb->len;
	} else {
		dev->stats.tx_dropped++;
	}
	dev_consume_skb_any(skb);
	return NETDEV_TX_OK;
}

/*
 * Copies a frame to a new skb. A socket accounts for the memory of an skb, so a
 * long frame gets pages, which it fills, instead of a block of twice its size.
 */
static struct sk_buff *solo5_net_copy(struct solo5_net *net, const u8 *frame, size_t len)
{
	size_t in_pages = len > SOLO5_NET_COPY_MAX ? len - SOLO5_NET_HEAD_LEN : 0;
	struct sk_buff *skb;
	int err;

	if (!in_pages) {
		skb = napi_alloc_skb(&net->napi, len);
		if (skb)
			skb_put_data(skb, frame, len);
		return skb;
	}
	skb = alloc_skb_with_frags(NET_SKB_PAD + NET_IP_ALIGN + SOLO5_NET_HEAD_LEN, in_pages,
				   PAGE_ALLOC_COSTLY_ORDER, &err, GFP_ATOMIC | __GFP_NOWARN);
	if (!skb)
		return NULL;
	skb->dev = net->dev;
	skb_reserve(skb, NET_SKB_PAD + NET_IP_ALIGN);
	skb_put(skb, SOLO5_NET_HEAD_LEN);
	skb->data_len = in_pages;
	skb->len += in_pages;
	skb_store_bits(skb, 0, frame, len);
	return skb;
}

/*
 * Makes an skb from the header and the frame in the buffer. Returns NULL if there
 * is no memory, or if the header does not match the frame.
 */
static struct sk_buff *solo5_net_unpack(struct solo5_net *net, size_t len)
{
	struct virtio_net_hdr *hdr = (struct virtio_net_hdr *)solo5_net_buffer;
	struct sk_buff *skb;

	if (len < sizeof(*hdr) + ETH_HLEN)
		goto error;
	skb = solo5_net_copy(net, solo5_net_buffer + sizeof(*hdr), len - sizeof(*hdr));
	if (!skb) {
		net->dev->stats.rx_dropped++;
		return NULL;
	}
	if (hdr->flags & VIRTIO_NET_HDR_F_DATA_VALID)
		skb->ip_summed = CHECKSUM_UNNECESSARY;
	if (!virtio_net_hdr_to_skb(skb, hdr, true))
		return skb;
	kfree_skb(skb);
error:
	net->dev->stats.rx_frame_errors++;
	net->dev->stats.rx_errors++;
	return NULL;
}

/* Receives a frame with a virtio header. *skb is NULL if the frame had to be dropped. */
static int solo5_net_receive_offload(struct solo5_net *net, struct sk_buff **skb)
{
	size_t len;
	int result = solo5_net_read(net->handle, solo5_net_buffer, net->frame, &len);

	if (result == SOLO5_R_OK)
		*skb = solo5_net_unpack(net, len);
	return result;
}

/* Receives a frame without a header that may be long. *skb is NULL if it had to be dropped. */
static int solo5_net_receive_long(struct solo5_net *net, struct sk_buff **skb)
{
	size_t len;
	int result = solo5_net_read(net->handle, solo5_net_buffer, net->frame, &len);

	if (result != SOLO5_R_OK)
		return result;
	*skb = solo5_net_copy(net, solo5_net_buffer, len);
	if (!*skb)
		net->dev->stats.rx_dropped++;
	return SOLO5_R_OK;
}

/*
 * Receives a frame without a header. The skb has to be allocated first; if no
 * frame is waiting, the next call uses it.
 */
static int solo5_net_receive_short(struct solo5_net *net, struct sk_buff **skb)
{
	size_t len;
	int result;

	if (!net->spare)
		net->spare = napi_alloc_skb(&net->napi, net->frame);
	if (!net->spare) {
		net->dev->stats.rx_dropped++;
		return SOLO5_R_AGAIN;
	}
	result = solo5_net_read(net->handle, net->spare->data, net->frame, &len);
	if (result == SOLO5_R_OK) {
		*skb = net->spare;
		net->spare = NULL;
		skb_put(*skb, len);
	}
	return result;
}

static int solo5_net_receive(struct solo5_net *net, struct sk_buff **skb)
{
	if (net->offload)
		return solo5_net_receive_offload(net, skb);
	if (net->frame > SOLO5_NET_COPY_MAX)
		return solo5_net_receive_long(net, skb);
	return solo5_net_receive_short(net, skb);
}

static int solo5_net_poll(struct napi_struct *napi, int budget)
{
	struct solo5_net *net = container_of(napi, struct solo5_net, napi);
	struct net_device *dev = net->dev;
	int done;

	for (done = 0; done < budget; done++) {
		struct sk_buff *skb;
		int result = solo5_net_receive(net, &skb);

		if (result != SOLO5_R_OK) {
			if (result != SOLO5_R_AGAIN)
				lkl_device_gone(net->name);
			break;
		}
		if (!skb)
			continue;
		dev->stats.rx_packets++;
		dev->stats.rx_bytes += skb->len;
		skb->protocol = eth_type_trans(skb, dev);
		napi_gro_receive(napi, skb);
	}
	if (done < budget)
		napi_complete_done(napi, done);
	return done;
}

static void solo5_net_ready(void *arg)
{
	struct solo5_net *net = arg;

	napi_schedule(&net->napi);
}

static int solo5_net_open(struct net_device *dev)
{
	struct solo5_net *net = netdev_priv(dev);

	if (!solo5_net_buffer && net->frame > SOLO5_NET_COPY_MAX) {
		solo5_net_buffer = alloc_pages_exact(SOLO5_NET_MAX_FRAME, GFP_KERNEL);
		if (!solo5_net_buffer)
			return -ENOMEM;
	}
	napi_enable(&net->napi);
	netif_start_queue(dev);
	lkl_device_ready(net->handle, solo5_net_ready, net);
	return 0;
}

static int solo5_net_stop(struct net_device *dev)
{
	struct solo5_net *net = netdev_priv(dev);

	netif_stop_queue(dev);
	napi_disable(&net->napi);
	return 0;
}

static void solo5_net_offload(struct net_device *dev)
{
	struct solo5_net *net = netdev_priv(dev);

	net->offload = true;
	dev->needed_headroom = sizeof(struct virtio_net_hdr);
	dev->hw_features |= SOLO5_NET_OFFLOADS;
	dev->wanted_features |= SOLO5_NET_OFFLOADS;
	netdev_update_features(dev);
}

/* LKL_SIOC_OFFLOAD and LKL_SIOC_LONG_FRAMES. */
static int solo5_net_siocdevprivate(struct net_device *dev, struct ifreq *ifr, void __user *data,
				    int cmd)
{
	struct solo5_net *net = netdev_priv(dev);

	if (cmd != LKL_SIOC_OFFLOAD && cmd != LKL_SIOC_LONG_FRAMES)
		return -EOPNOTSUPP;
	if (!capable(CAP_NET_ADMIN))
		return -EPERM;
	if (dev->flags & IFF_UP)
		return -EBUSY;
	solo5_net_set_longest(net->handle, SOLO5_NET_MAX_FRAME);
	net->frame = SOLO5_NET_MAX_FRAME;
	if (cmd == LKL_SIOC_OFFLOAD)
		solo5_net_offload(dev);
	return 0;
}

static const struct net_device_ops solo5_net_ops = {
	.ndo_open = solo5_net_open,
	.ndo_stop = solo5_net_stop,
	.ndo_start_xmit = solo5_net_xmit,
	.ndo_siocdevprivate = solo5_net_siocdevprivate,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
};

static int __init solo5_net_add(u64 handle, const struct solo5_device *info)
{
	struct net_device *dev;
	struct solo5_net *net;
	int err;

	BUILD_BUG_ON(LKL_SIOC_OFFLOAD != SIOCDEVPRIVATE);
	BUILD_BUG_ON(LKL_SIOC_LONG_FRAMES - 1 != SIOCDEVPRIVATE);
	dev = alloc_etherdev(sizeof(*net));
	if (!dev)
		return -ENOMEM;
	net = netdev_priv(dev);
	net->dev = dev;
	net->name = info->name;
	net->handle = handle;
	net->frame = info->net.mtu + ETH_HLEN;
	strscpy(dev->name, info->name, IFNAMSIZ);
	dev->netdev_ops = &solo5_net_ops;
	dev->mtu = info->net.mtu;
	dev->max_mtu = info->net.mtu;
	if (is_valid_ether_addr(info->net.mac))
		eth_hw_addr_set(dev, info->net.mac);
	else
		eth_hw_addr_random(dev);
	netif_napi_add(dev, &net->napi, solo5_net_poll);
	err = register_netdev(dev);
	if (err) {
		pr_err("network device %s: error %d\n", info->name, err);
		free_netdev(dev);
	}
	return err;
}

static int __init solo5_net_init(void)
{
	struct solo5_device dev;
	unsigned int i;

	for (i = 1; i <= solo5_device_count(); i++)
		if (solo5_device(i, &dev) == SOLO5_R_OK && dev.type == SOLO5_DEVICE_NET &&
		    strcmp(dev.name, "control") && strcmp(dev.name, "files"))
			solo5_net_add(i, &dev);
	return 0;
}
device_initcall(solo5_net_init);

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Solo5 network devices, each under its name in the manifest (but for "control", see control.c). Frames are received by
 * NAPI: an idle guest is woken when there are some, a busy one looks now and then.
 *
 * A host may offer more than Solo5: a virtio header before each frame, which says what is still to be done to it. Then up to
 * 64 KiB of TCP cross in one piece, and checksums of what stays on the host are never computed. The host has to say so
 * (--config, "offload"), and the start program passes it on by a private ioctl before the interface is brought up.
 */
#include <linux/etherdevice.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/virtio_net.h>
#include <asm/lkl.h>
#include <asm/solo5.h>

#define OFFLOADS (NETIF_F_SG | NETIF_F_HW_CSUM | NETIF_F_TSO | NETIF_F_TSO_ECN | NETIF_F_TSO6 | NETIF_F_RXCSUM)
/* Bytes of the longest frame, behind its header: the longest packet of IP in Ethernet. */
#define LONGEST (sizeof(struct virtio_net_hdr) + ETH_HLEN + 65535)
/* Bytes of the longest frame that is kept in one piece, and how many of a longer one are: all headers of TCP over IPv6. */
#define SHORT 2048
#define HEAD 128

struct nic {
	struct net_device *dev;
	struct napi_struct napi;
	struct sk_buff *spare;	/* for the next frame */
	u64 handle;
	unsigned int frame;	/* bytes of the longest frame without offloads */
	bool offload;
};

/*
 * A header and a frame behind it on their way out, when they are not in one piece, or in. One does for all devices: there is
 * one processor, and neither way waits for anything while it is in use.
 */
static u8 *buffer;

/* Puts the header before the frame: in its headroom if that can be, else both into the buffer. */
static const u8 *with_header(struct sk_buff *skb, const struct virtio_net_hdr *hdr)
{
	if (!skb_is_nonlinear(skb) && !skb_header_cloned(skb) && skb_headroom(skb) >= sizeof(*hdr))
		return memcpy(skb->data - sizeof(*hdr), hdr, sizeof(*hdr));
	memcpy(buffer, hdr, sizeof(*hdr));
	return skb_copy_bits(skb, 0, buffer + sizeof(*hdr), skb->len) ? NULL : buffer;
}

static bool send(struct nic *nic, struct sk_buff *skb)
{
	struct virtio_net_hdr hdr;
	const u8 *frame;

	if (!nic->offload)
		return solo5_net_write(nic->handle, skb->data, skb->len) == SOLO5_R_OK;
	if (skb->len + sizeof(hdr) > LONGEST || virtio_net_hdr_from_skb(skb, &hdr, true, false, 0))
		return false;
	frame = with_header(skb, &hdr);
	return frame && solo5_net_write(nic->handle, frame, sizeof(hdr) + skb->len) == SOLO5_R_OK;
}

static netdev_tx_t xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct nic *nic = netdev_priv(dev);

	if (send(nic, skb)) {
		dev->stats.tx_packets++;
		dev->stats.tx_bytes += skb->len;
	} else {
		dev->stats.tx_dropped++;
	}
	dev_consume_skb_any(skb);
	return NETDEV_TX_OK;
}

/* An skb with a copy of a frame: a short one in one piece, a long one in pages, so that it takes no more memory than it has. */
static struct sk_buff *copy_of(struct nic *nic, const u8 *frame, size_t len)
{
	struct sk_buff *skb;
	size_t in_pages = len > SHORT ? len - HEAD : 0;
	int err;

	if (!in_pages) {
		skb = napi_alloc_skb(&nic->napi, len);
		return skb ? (skb_put_data(skb, frame, len), skb) : NULL;
	}
	skb = alloc_skb_with_frags(NET_SKB_PAD + NET_IP_ALIGN + HEAD, in_pages, PAGE_ALLOC_COSTLY_ORDER, &err,
				   GFP_ATOMIC | __GFP_NOWARN);
	if (!skb)
		return NULL;
	skb->dev = nic->dev;
	skb_reserve(skb, NET_SKB_PAD + NET_IP_ALIGN);
	skb_put(skb, HEAD);
	skb->data_len = in_pages;
	skb->len += in_pages;
	skb_store_bits(skb, 0, frame, len);
	return skb;
}

/*
 * What solo5_net_read has read into the buffer. NULL: dropped, there being no memory for it or its header not being true of
 * it.
 */
static struct sk_buff *unpack(struct nic *nic, size_t len)
{
	struct virtio_net_hdr *hdr = (struct virtio_net_hdr *)buffer;
	struct sk_buff *skb;

	if (len < sizeof(*hdr) + ETH_HLEN)
		goto error;
	skb = copy_of(nic, buffer + sizeof(*hdr), len - sizeof(*hdr));
	if (!skb) {
		nic->dev->stats.rx_dropped++;
		return NULL;
	}
	if (hdr->flags & VIRTIO_NET_HDR_F_DATA_VALID)
		skb->ip_summed = CHECKSUM_UNNECESSARY;
	if (!virtio_net_hdr_to_skb(skb, hdr, true))
		return skb;
	kfree_skb(skb);
error:
	nic->dev->stats.rx_frame_errors++;
	nic->dev->stats.rx_errors++;
	return NULL;
}

/* Receives a frame; *skb is NULL if it had to be dropped. */
static int receive_long(struct nic *nic, struct sk_buff **skb)
{
	size_t len;
	int result = solo5_net_read(nic->handle, buffer, LONGEST, &len);

	if (result == SOLO5_R_OK)
		*skb = unpack(nic, len);
	return result;
}

static int receive(struct nic *nic, struct sk_buff **skb)
{
	size_t len;
	int result;

	if (!nic->spare)
		nic->spare = napi_alloc_skb(&nic->napi, nic->frame);
	if (!nic->spare) {
		nic->dev->stats.rx_dropped++;
		return SOLO5_R_AGAIN;
	}
	result = solo5_net_read(nic->handle, nic->spare->data, nic->frame, &len);
	if (result == SOLO5_R_OK) {
		*skb = nic->spare;
		nic->spare = NULL;
		skb_put(*skb, len);
	}
	return result;
}

static int poll(struct napi_struct *napi, int budget)
{
	struct nic *nic = container_of(napi, struct nic, napi);
	struct net_device *dev = nic->dev;
	int done;

	for (done = 0; done < budget; done++) {
		struct sk_buff *skb;
		int result = nic->offload ? receive_long(nic, &skb) : receive(nic, &skb);

		if (result != SOLO5_R_OK) {
			if (result != SOLO5_R_AGAIN)
				lkl_device_gone(dev->name);
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

static void ready(void *arg)
{
	struct nic *nic = arg;

	napi_schedule(&nic->napi);
}

static int open(struct net_device *dev)
{
	struct nic *nic = netdev_priv(dev);

	napi_enable(&nic->napi);
	netif_start_queue(dev);
	lkl_device_ready(nic->handle, ready, nic);
	return 0;
}

static int stop(struct net_device *dev)
{
	struct nic *nic = netdev_priv(dev);

	netif_stop_queue(dev);
	napi_disable(&nic->napi);
	return 0;
}

/* The start program's: the host has said that it has virtio headers. */
static int offload(struct net_device *dev, struct ifreq *ifr, void __user *data, int cmd)
{
	struct nic *nic = netdev_priv(dev);

	if (cmd != SIOCDEVPRIVATE)
		return -EOPNOTSUPP;
	if (!capable(CAP_NET_ADMIN))
		return -EPERM;
	if (dev->flags & IFF_UP)
		return -EBUSY;
	if (!buffer)
		buffer = alloc_pages_exact(LONGEST, GFP_KERNEL);
	if (!buffer)
		return -ENOMEM;
	solo5_net_set_longest(nic->handle, LONGEST);
	nic->offload = true;
	dev->needed_headroom = sizeof(struct virtio_net_hdr);
	dev->hw_features |= OFFLOADS;
	dev->wanted_features |= OFFLOADS;
	netdev_update_features(dev);
	return 0;
}

static const struct net_device_ops ops = {
	.ndo_open = open,
	.ndo_stop = stop,
	.ndo_start_xmit = xmit,
	.ndo_siocdevprivate = offload,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
};

static int __init add(u64 handle, const struct solo5_device *info)
{
	struct net_device *dev;
	struct nic *nic;
	int err;

	dev = alloc_etherdev(sizeof(*nic));
	if (!dev)
		return -ENOMEM;
	nic = netdev_priv(dev);
	nic->dev = dev;
	nic->handle = handle;
	nic->frame = info->net.mtu + ETH_HLEN;
	strscpy(dev->name, info->name, IFNAMSIZ);
	dev->netdev_ops = &ops;
	dev->mtu = dev->max_mtu = info->net.mtu;
	if (is_valid_ether_addr(info->net.mac))
		eth_hw_addr_set(dev, info->net.mac);
	else
		eth_hw_addr_random(dev);
	netif_napi_add(dev, &nic->napi, poll);
	err = register_netdev(dev);
	if (err) {
		pr_err("network device %s: error %d\n", info->name, err);
		free_netdev(dev);
	}
	return err;
}

static int __init start(void)
{
	struct solo5_device dev;
	unsigned int i;

	for (i = 1; i <= solo5_device_count(); i++)
		if (solo5_device(i, &dev) == SOLO5_R_OK && dev.type == SOLO5_DEVICE_NET && strcmp(dev.name, "control"))
			add(i, &dev);
	return 0;
}
device_initcall(start);

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Solo5 network devices, each under its name in the manifest (but for "control", see control.c). Frames are received by
 * NAPI: an idle guest is woken when there are some, a busy one looks now and then.
 */
#include <linux/etherdevice.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <asm/lkl.h>
#include <asm/solo5.h>

struct nic {
	struct net_device *dev;
	struct napi_struct napi;
	struct sk_buff *spare;	/* for the next frame */
	u64 handle;
	unsigned int frame;	/* bytes of the longest frame */
};

static netdev_tx_t xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct nic *nic = netdev_priv(dev);

	if (solo5_net_write(nic->handle, skb->data, skb->len) == SOLO5_R_OK) {
		dev->stats.tx_packets++;
		dev->stats.tx_bytes += skb->len;
	} else {
		dev->stats.tx_dropped++;
	}
	dev_consume_skb_any(skb);
	return NETDEV_TX_OK;
}

static int poll(struct napi_struct *napi, int budget)
{
	struct nic *nic = container_of(napi, struct nic, napi);
	int done, result;

	for (done = 0; done < budget; done++) {
		struct sk_buff *skb = nic->spare;
		size_t len;

		if (!skb)
			skb = napi_alloc_skb(napi, nic->frame);
		nic->spare = NULL;
		if (!skb) {
			nic->dev->stats.rx_dropped++;
			break;
		}
		result = solo5_net_read(nic->handle, skb->data, nic->frame, &len);
		if (result != SOLO5_R_OK) {
			nic->spare = skb;
			if (result != SOLO5_R_AGAIN)
				lkl_device_gone(nic->dev->name);
			break;
		}
		skb_put(skb, len);
		nic->dev->stats.rx_packets++;
		nic->dev->stats.rx_bytes += len;
		skb->protocol = eth_type_trans(skb, nic->dev);
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

static const struct net_device_ops ops = {
	.ndo_open = open,
	.ndo_stop = stop,
	.ndo_start_xmit = xmit,
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

# SPDX-License-Identifier: MPL-2.0
#
# The parts of lwIP, from Debian's source package, that httpd needs.

ifneq ($(MAKECMDGOALS),clean)
LWIP := $(shell $(HERE)source lwip)
ifeq ($(LWIP),)
$(error cannot fetch the source of lwIP for httpd: see the message above)
endif
endif

LWIP_SOURCES := $(addprefix core/, def.c inet_chksum.c init.c ip.c mem.c memp.c \
		netif.c pbuf.c tcp.c tcp_in.c tcp_out.c timeouts.c) \
	$(addprefix core/ipv4/, etharp.c icmp.c ip4.c ip4_addr.c ip4_frag.c) \
	$(addprefix core/ipv6/, ethip6.c icmp6.c inet6.c ip6.c ip6_addr.c \
		ip6_frag.c mld6.c nd6.c) \
	netif/ethernet.c
LWIP_CFLAGS := -I$(HERE)httpd/port -I$(LWIP)/src/include

httpd_SOURCES := $(addprefix httpd/, httpd.c answer.c config.c http.c net.c server.c)
httpd_OBJECTS := $(LWIP_SOURCES:%.c=$(OBJ)/lwip/%.o)

$(OBJ)/httpd/%.o: override CFLAGS += $(LWIP_CFLAGS)

$(OBJ)/lwip/%.o: $(LWIP)/src/%.c $(HERE)Makefile $(HERE)httpd/lwip.mk
	@mkdir -p $(@D)
	$(Q)echo "  CC    lwip/$*.c"; $(CC) $(CFLAGS) -Wno-unused-parameter -Wno-unused-variable $(LWIP_CFLAGS) -c -o $@ $<

-include $(wildcard $(OBJ)/lwip/*/*.d $(OBJ)/lwip/*/*/*.d)

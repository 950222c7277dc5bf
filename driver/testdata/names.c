// SPDX-License-Identifier: MPL-2.0

/* Prints the host name, and the addresses of the names in its arguments, IPv4 first. */

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static int print_family(const char *name, int family)
{
	struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found, *a;
	char text[64];
	int count = 0;

	if (getaddrinfo(name, NULL, &hints, &found))
		return 0;
	for (a = found; a; a = a->ai_next, count++) {
		getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST);
		printf(" %s", text);
	}
	freeaddrinfo(found);
	return count;
}

int main(int argc, char **argv)
{
	char name[256];
	int i;

	gethostname(name, sizeof(name));
	printf("hostname: %s\n", name);
	for (i = 1; i < argc; i++) {
		printf("%s:", argv[i]);
		if (!(print_family(argv[i], AF_INET) + print_family(argv[i], AF_INET6)))
			printf(" none");
		printf("\n");
	}
	return 0;
}

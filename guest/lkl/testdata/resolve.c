/* SPDX-License-Identifier: MPL-2.0 */
/* Prints what the resolver finds for the names in the arguments. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdio.h>
#include <sys/socket.h>

static void print_addresses(const char *name)
{
	struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found;
	char first[INET_ADDRSTRLEN] = "";
	int n = 0, err = getaddrinfo(name, NULL, &hints, &found);

	if (err) {
		printf("%s: %s\n", name, gai_strerror(err));
		return;
	}
	inet_ntop(AF_INET, &((struct sockaddr_in *)found->ai_addr)->sin_addr, first, sizeof(first));
	for (struct addrinfo *a = found; a; a = a->ai_next)
		n++;
	freeaddrinfo(found);
	printf("%s: %d from %s\n", name, n, first);
}

int main(int argc, char **argv)
{
	unsigned char answer[8192];

	for (int i = 1; i < argc; i++) {
		print_addresses(argv[i]);
		printf("%s: text of %d bytes\n", argv[i], res_query(argv[i], 1, 16, answer, sizeof(answer)));
	}
	return 0;
}

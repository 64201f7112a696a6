/* The network as ranks see it. */
#include "doctor/probe.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ADDRESSES_SHOWN 6
#define ADDRESS_TEXT 64
#define HOST_MAX 256

/* Addresses that are kept for documentation: who asks for the way to one gets the one to any other
 * network. Nothing is ever sent there. */
#define ELSEWHERE_V4 "203.0.113.1"
#define ELSEWHERE_V6 "2001:db8:ffff::1"
#define ANY_PORT "9"

static bool address_text(const struct sockaddr *address, char text[ADDRESS_TEXT])
{
    socklen_t length =
        address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    return getnameinfo(address, length, text, ADDRESS_TEXT, NULL, 0, NI_NUMERICHOST) == 0;
}

/* Link-local addresses of IPv6 are on every interface and say nothing. */
static bool is_telling(const struct ifaddrs *each)
{
    if (!each->ifa_addr || !(each->ifa_flags & IFF_UP))
        return false;
    if (each->ifa_addr->sa_family == AF_INET6)
        return !IN6_IS_ADDR_LINKLOCAL(&((struct sockaddr_in6 *)(void *)each->ifa_addr)->sin6_addr);
    return each->ifa_addr->sa_family == AF_INET;
}

void hk_probe_addresses(char *text, size_t size)
{
    struct ifaddrs *all = NULL;
    char address[ADDRESS_TEXT];
    int count = 0;
    if (getifaddrs(&all) < 0) {
        hk_append(text, size, "unknown: %s", strerror(errno));
        return;
    }
    for (int loopback = 0; loopback < 2; loopback++) { /* loopback last */
        for (struct ifaddrs *each = all; each; each = each->ifa_next) {
            if (!is_telling(each) || !(each->ifa_flags & IFF_LOOPBACK) != !loopback ||
                !address_text(each->ifa_addr, address) || count++ >= ADDRESSES_SHOWN)
                continue;
            hk_append(text, size, "%s%s %s", count > 1 ? ", " : "", each->ifa_name, address);
        }
    }
    freeifaddrs(all);
    if (count > ADDRESSES_SHOWN)
        hk_append(text, size, " and %d more", count - ADDRESSES_SHOWN);
    else if (count == 0)
        hk_append(text, size, "none: no interface is up, not even loopback");
}

/* The name of the interface that has this address. */
static void interface_of(const char *address, char *name, size_t size)
{
    struct ifaddrs *all = NULL;
    char each_text[ADDRESS_TEXT];
    snprintf(name, size, "an unknown interface");
    if (getifaddrs(&all) < 0)
        return;
    for (struct ifaddrs *each = all; each; each = each->ifa_next) {
        if (each->ifa_addr && address_text(each->ifa_addr, each_text) &&
            strcmp(each_text, address) == 0) {
            snprintf(name, size, "%s", each->ifa_name);
            break;
        }
    }
    freeifaddrs(all);
}

/* The address of this host from which host is reached: connecting a datagram socket asks the table
 * of routes and sends nothing. NULL, or why there is none. */
static const char *find_source(const char *host, char source[ADDRESS_TEXT])
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *found = NULL;
    int error = getaddrinfo(host, ANY_PORT, &hints, &found);
    if (error != 0)
        return gai_strerror(error);
    const char *reason = NULL;
    struct sockaddr_storage own;
    socklen_t length = sizeof own;
    int fd = socket(found->ai_family, SOCK_DGRAM, 0);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) < 0 ||
        getsockname(fd, (struct sockaddr *)&own, &length) < 0)
        reason = strerror(errno);
    else if (!address_text((struct sockaddr *)&own, source))
        reason = "it has no address";
    if (fd >= 0)
        close(fd);
    freeaddrinfo(found);
    return reason;
}

/* "host:port" or "[v6]:port": the host. */
static bool host_of(const char *coordinator, char host[HOST_MAX])
{
    const char *colon = strrchr(coordinator, ':');
    size_t length = colon ? (size_t)(colon - coordinator) : 0;
    if (length > 2 && coordinator[0] == '[' && coordinator[length - 1] == ']') {
        coordinator++;
        length -= 2;
    }
    return length > 0 && snprintf(host, HOST_MAX, "%.*s", (int)length, coordinator) < HOST_MAX;
}

void hk_probe_route(char *text, size_t size)
{
    char host[HOST_MAX], source[ADDRESS_TEXT], interface[IF_NAMESIZE + 32];
    const char *coordinator = getenv("HOCKET_COORDINATOR");
    bool told = coordinator && *coordinator;
    if (told && !host_of(coordinator, host)) {
        hk_append(text, size, "unknown: HOCKET_COORDINATOR is \"%.64s\", not host:port",
                  coordinator);
        return;
    }
    const char *reason = find_source(told ? host : ELSEWHERE_V4, source);
    if (reason && !told && !find_source(ELSEWHERE_V6, source))
        reason = NULL;
    if (reason && told) {
        hk_append(text, size, "none: there is no way to HOCKET_COORDINATOR %s: %s", host, reason);
    } else if (reason) {
        hk_append(text, size,
                  "loopback alone, for ranks of this host: no route leads elsewhere (%s)", reason);
    } else {
        interface_of(source, interface, sizeof interface);
        hk_append(text, size, "%s %s, ", interface, source);
        if (told)
            hk_append(text, size, "the way to HOCKET_COORDINATOR %s", host);
        else
            hk_append(text, size, "the default route; HOCKET_COORDINATOR would decide");
    }
}

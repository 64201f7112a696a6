#include "wire/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#define PORT_MAX 65535

static struct sockaddr_in *v4(const hk_address *address)
{
    return address->storage.ss_family == AF_INET ? (struct sockaddr_in *)&address->storage : NULL;
}

static struct sockaddr_in6 *v6(const hk_address *address)
{
    return address->storage.ss_family == AF_INET6 ? (struct sockaddr_in6 *)&address->storage : NULL;
}

static int parse_port(const char *text)
{
    int port = 0;
    for (const char *at = text; *at != '\0'; at++)
        if (*at < '0' || *at > '9' || (port = port * 10 + (*at - '0')) > PORT_MAX)
            return -1;
    return text[0] == '\0' ? -1 : port;
}

hocket_status hk_address_parse(const char *text, hk_host_port *name)
{
    const char *host = text, *host_end = strrchr(text, ':'), *colon = host_end;
    if (text[0] == '[') {
        host = text + 1;
        host_end = strchr(text, ']');
        colon = host_end == NULL ? NULL : host_end + 1;
    } else if (colon != strchr(text, ':')) {
        return hk_fail(HOCKET_ERR_INVALID, "\"%.300s\" is no address: write IPv6 as [address]:port",
                       text);
    }
    size_t length = host_end == NULL ? 0 : (size_t)(host_end - host);
    if (length == 0 || length >= sizeof name->host || *colon != ':')
        return hk_fail(HOCKET_ERR_INVALID, "\"%.300s\" is no address: it must be host:port", text);
    name->port = parse_port(colon + 1);
    if (name->port < 0)
        return hk_fail(HOCKET_ERR_INVALID,
                       "\"%.300s\" is no address: its port must be a number up to %d", text,
                       PORT_MAX);
    memcpy(name->host, host, length);
    name->host[length] = '\0';
    return HOCKET_OK;
}

/* One of the ports of text[0 .. length), which has no slash; *number is less by those that it has.
 */
static bool choose_port(const char *text, size_t length, int *number, char *one, size_t size)
{
    const char *comma = memchr(text, ',', length);
    size_t head = comma != NULL ? (size_t)(comma - text) : 0; /* up to the port, as "host:" */
    while (head > 0 && text[head - 1] != ':')
        head--;
    size_t at = head, end;
    for (;; at = end + 1) {
        const char *next = head > 0 ? memchr(text + at, ',', length - at) : NULL;
        end = next != NULL ? (size_t)(next - text) : length;
        if ((*number)-- == 0)
            break;
        if (end == length)
            return false;
    }
    int written = snprintf(one, size, "%.*s%.*s", (int)head, text, (int)(end - at), text + at);
    return (size_t)written < size;
}

bool hk_address_choice(const char *text, int number, char *one, size_t size)
{
    for (;;) {
        size_t length = strcspn(text, "/");
        if (choose_port(text, length, &number, one, size))
            return true;
        if (number < 0 || text[length] == '\0')
            return false;
        text += length + 1;
    }
}

bool hk_address_is_number(const hk_host_port *name)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *found = NULL;
    if (getaddrinfo(name->host, NULL, &hints, &found) != 0)
        return false;
    freeaddrinfo(found);
    return true;
}

static hocket_status fail_lookup(int code, const char *text)
{
    if (code == EAI_SYSTEM)
        return hk_fail(HOCKET_ERR_UNAVAILABLE, "the host in \"%.300s\" cannot be looked up: %s",
                       text, strerror(errno));
    return hk_fail(HOCKET_ERR_UNAVAILABLE, "the host in \"%.300s\" is not known: %s", text,
                   gai_strerror(code));
}

hocket_status hk_address_resolve(const char *text, hk_address *addresses, int *count)
{
    *count = 0;
    hk_host_port name;
    hocket_status status = hk_address_parse(text, &name);
    if (status != HOCKET_OK)
        return status;
    char port[8];
    snprintf(port, sizeof port, "%d", name.port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    hints.ai_flags = AI_NUMERICSERV;
    struct addrinfo *found = NULL;
    int code = getaddrinfo(name.host, port, &hints, &found);
    if (code != 0)
        return fail_lookup(code, text);
    for (struct addrinfo *one = found; one != NULL && *count < HK_ADDRESSES_MAX;
         one = one->ai_next) {
        if ((one->ai_family != AF_INET && one->ai_family != AF_INET6) ||
            one->ai_addrlen > sizeof addresses->storage)
            continue;
        hk_address *next = &addresses[(*count)++];
        memset(next, 0, sizeof *next);
        memcpy(&next->storage, one->ai_addr, one->ai_addrlen);
        next->length = one->ai_addrlen;
    }
    freeaddrinfo(found);
    if (*count == 0)
        return hk_fail(HOCKET_ERR_UNAVAILABLE, "the host in \"%.300s\" has no IP address", text);
    return HOCKET_OK;
}

void hk_address_format(const hk_address *address, char text[HK_ADDRESS_TEXT_MAX])
{
    char host[HK_ADDRESS_TEXT_MAX - 10]; /* room for [], the colon, the port and the NUL */
    if (getnameinfo((const struct sockaddr *)&address->storage, address->length, host, sizeof host,
                    NULL, 0, NI_NUMERICHOST) != 0)
        snprintf(text, HK_ADDRESS_TEXT_MAX, "an unknown address");
    else
        snprintf(text, HK_ADDRESS_TEXT_MAX, v6(address) ? "[%s]:%d" : "%s:%d", host,
                 hk_address_port(address));
}

hocket_status hk_address_local(int fd, hk_address *address)
{
    memset(address, 0, sizeof *address);
    address->length = sizeof address->storage;
    if (getsockname(fd, (struct sockaddr *)&address->storage, &address->length) != 0)
        return hk_fail_errno(errno, "a socket does not say its own address");
    hk_address_unmap(address);
    return HOCKET_OK;
}

hocket_status hk_address_peer(int fd, hk_address *address)
{
    memset(address, 0, sizeof *address);
    address->length = sizeof address->storage;
    if (getpeername(fd, (struct sockaddr *)&address->storage, &address->length) != 0)
        return hk_fail_errno(errno, "a socket does not say its peer's address");
    hk_address_unmap(address);
    return HOCKET_OK;
}

void hk_address_unmap(hk_address *address)
{
    struct sockaddr_in6 *mapped = v6(address);
    if (mapped == NULL || !IN6_IS_ADDR_V4MAPPED(&mapped->sin6_addr))
        return;
    struct sockaddr_in plain = {.sin_family = AF_INET, .sin_port = mapped->sin6_port};
    memcpy(&plain.sin_addr, &mapped->sin6_addr.s6_addr[12], sizeof plain.sin_addr);
    memset(address, 0, sizeof *address);
    memcpy(&address->storage, &plain, sizeof plain);
    address->length = sizeof plain;
}

bool hk_address_is_loopback(const hk_address *address)
{
    if (v4(address))
        return ntohl(v4(address)->sin_addr.s_addr) >> 24 == 127;
    if (!v6(address))
        return false;
    const struct in6_addr *ip = &v6(address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(ip) || (IN6_IS_ADDR_V4MAPPED(ip) && ip->s6_addr[12] == 127);
}

bool hk_address_is_any(const hk_address *address)
{
    if (v4(address))
        return v4(address)->sin_addr.s_addr == htonl(INADDR_ANY);
    return v6(address) && IN6_IS_ADDR_UNSPECIFIED(&v6(address)->sin6_addr);
}

int hk_address_port(const hk_address *address)
{
    if (v4(address))
        return ntohs(v4(address)->sin_port);
    return v6(address) ? ntohs(v6(address)->sin6_port) : 0;
}

void hk_address_set_port(hk_address *address, int port)
{
    if (v4(address))
        v4(address)->sin_port = htons((uint16_t)port);
    else if (v6(address))
        v6(address)->sin6_port = htons((uint16_t)port);
}

void hk_address_any_to_loopback(hk_address *address)
{
    if (!hk_address_is_any(address))
        return;
    if (v4(address))
        v4(address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        v6(address)->sin6_addr = in6addr_loopback;
}

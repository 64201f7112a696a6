/* Addresses of sockets, IPv4 and IPv6: from text, to text, and what kind they are. */
#ifndef HK_WIRE_ADDRESS_H
#define HK_WIRE_ADDRESS_H

#include "core/status.h"
#include <netinet/in.h>
#include <sys/socket.h>

#define HK_ADDRESS_TEXT_MAX 80 /* "[v6%scope]:port" with its NUL */
#define HK_HOST_MAX 256        /* a host's name with its NUL */
#define HK_ADDRESSES_MAX 16    /* of one name; more are ignored */

typedef struct hk_address {
    struct sockaddr_storage storage;
    socklen_t length;
} hk_address;

typedef struct hk_host_port { /* "host:port" taken apart, not resolved */
    char host[HK_HOST_MAX];   /* without brackets */
    int port;                 /* 0 to 65535 */
} hk_host_port;

/* Takes "host:port", "1.2.3.4:port" or "[v6]:port" apart. INVALID with the text in the sentence. */
hocket_status hk_address_parse(const char *text, hk_host_port *name);

/* "host:5001,5002/other:5003" is a choice: host:5001 is number 0, host:5002 number 1, other:5003
 * number 2. false: it has no such number, or that does not fit. A text without comma and slash is
 * its own number 0. */
bool hk_address_choice(const char *text, int number, char *one, size_t size);

/* Whether the host is written as a number, so that no name server is asked. */
bool hk_address_is_number(const hk_host_port *name);

/* Resolves "host:port" into 1 to HK_ADDRESSES_MAX addresses. A name may ask a name server, which
 * knows no deadline of ours; numbers never do. INVALID: not such a text; UNAVAILABLE: the host is
 * not known. */
hocket_status hk_address_resolve(const char *text, hk_address *addresses, int *count);

/* "127.0.0.1:4711", "[::1]:4711". */
void hk_address_format(const hk_address *address, char text[HK_ADDRESS_TEXT_MAX]);

/* What is at the two ends of a socket, unmapped. SYSTEM. */
hocket_status hk_address_local(int fd, hk_address *address);
hocket_status hk_address_peer(int fd, hk_address *address);

bool hk_address_is_loopback(const hk_address *address); /* 127/8, ::1, and 127/8 mapped into v6 */
bool hk_address_is_any(const hk_address *address);      /* 0.0.0.0, :: */
int hk_address_port(const hk_address *address);
void hk_address_set_port(hk_address *address, int port);

/* An IPv4 address in IPv6's clothes, as sockets that take both give it, becomes plain IPv4. */
void hk_address_unmap(hk_address *address);

/* 0.0.0.0 and :: become the loopback address of their family; others stay. */
void hk_address_any_to_loopback(hk_address *address);

#endif

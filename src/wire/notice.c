#include "wire/notice.h"

#include "core/log.h"
#include "wire/socket.h"
#include "wire/store.h"
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

/* "hocket.1/SECRET/1.2.3.4:4711/[fd00::1]:4711". SECRET is 64 hexadecimal digits, or "own": rank 0
 * was given one, and so must be all. A text that ends there instead, with "!", says that rank 0 has
 * failed. */
#define HEAD "hocket.1/"
#define OWN "own"
#define FAILED "!"
#define SECRET_BYTES 32
#define SECRET_DIGITS (2 * SECRET_BYTES)

bool hk_notice_wanted(const hk_settings *settings)
{
    return settings->world_size > 1 && settings->store != HK_STORE_NONE &&
           (settings->coordinator[0] == '\0' || settings->secret_length == 0);
}

/* === Rank 0 =================================================================================== */

/* An address at which other hosts may reach this one. */
static bool is_outward(const struct ifaddrs *each, int family)
{
    if (each->ifa_addr == NULL || each->ifa_addr->sa_family != family ||
        (each->ifa_flags & (IFF_UP | IFF_RUNNING)) != (IFF_UP | IFF_RUNNING) ||
        (each->ifa_flags & IFF_LOOPBACK) != 0)
        return false;
    if (family == AF_INET)
        return true;
    const struct in6_addr *ip = &((struct sockaddr_in6 *)(void *)each->ifa_addr)->sin6_addr;
    return !IN6_IS_ADDR_LINKLOCAL(ip) && !IN6_IS_ADDR_LOOPBACK(ip);
}

/* "a:port/b:port", IPv4 first; as many as a coordinator's text holds. */
static hocket_status list_addresses(int port, char *text, size_t size)
{
    static const int families[] = {AF_INET, AF_INET6};
    struct ifaddrs *all = NULL;
    size_t used = 0;
    if (getifaddrs(&all) < 0)
        return hk_fail_errno(errno, "the addresses of this host cannot be listed");
    for (int i = 0; i < 2; i++) {
        for (struct ifaddrs *each = all; each != NULL; each = each->ifa_next) {
            char one[HK_ADDRESS_TEXT_MAX];
            if (!is_outward(each, families[i]))
                continue;
            hk_address address = {.length = families[i] == AF_INET ? sizeof(struct sockaddr_in)
                                                                   : sizeof(struct sockaddr_in6)};
            memcpy(&address.storage, each->ifa_addr, address.length);
            hk_address_set_port(&address, port);
            hk_address_format(&address, one);
            if (used + strlen(one) + 2 > size || strchr(one, '%') != NULL)
                continue;
            used += (size_t)snprintf(text + used, size - used, "%s%s", used > 0 ? "/" : "", one);
        }
    }
    freeifaddrs(all);
    return used > 0 ? HOCKET_OK
                    : hk_fail(HOCKET_ERR_SYSTEM, "this host has no address but loopback's");
}

static hocket_status listen_anywhere(int *listener, int *port)
{
    static const char *const both[] = {"[::]:0", "0.0.0.0:0"};
    hocket_status status = HOCKET_ERR_SYSTEM;
    for (int i = 0; i < 2 && status != HOCKET_OK; i++) {
        hk_address address[HK_ADDRESSES_MAX], bound;
        int count;
        status = hk_address_resolve(both[i], address, &count);
        if (status == HOCKET_OK)
            status = hk_socket_listen(&address[0], 0, 0, listener, &bound);
        if (status == HOCKET_OK)
            *port = hk_address_port(&bound);
    }
    return status;
}

static hocket_status make_secret(hk_settings *settings)
{
    unsigned char bytes[SECRET_BYTES];
    if (sodium_init() < 0)
        return hk_fail(HOCKET_ERR_UNAVAILABLE, "libsodium does not start");
    randombytes_buf(bytes, sizeof bytes);
    sodium_bin2hex((char *)settings->secret, SECRET_DIGITS + 1, bytes, sizeof bytes);
    sodium_memzero(bytes, sizeof bytes);
    settings->secret_length = SECRET_DIGITS;
    return HOCKET_OK;
}

/* What goes over the store is no secret from who can read the wires between hosts. */
static hocket_status check_sealing(const hk_settings *settings)
{
    if (!settings->encrypt || settings->secret_length > 0)
        return HOCKET_OK;
    return hk_fail(HOCKET_ERR_AUTH,
                   "HOCKET_ENCRYPT=1 needs a secret that was not told over the network: %s",
                   settings->advice != NULL ? settings->advice : "set HOCKET_SECRET_FILE");
}

static hocket_status write_notice(hk_settings *settings, int *listener, char text[HK_WORD_MAX])
{
    bool own = settings->secret_length > 0;
    int port = 0;
    hocket_status status = check_sealing(settings);
    if (status == HOCKET_OK)
        status = listen_anywhere(listener, &port);
    if (status == HOCKET_OK)
        status = list_addresses(port, settings->coordinator, sizeof settings->coordinator);
    if (status == HOCKET_OK && !own)
        status = make_secret(settings);
    if (status == HOCKET_OK)
        snprintf(text, HK_WORD_MAX, HEAD "%.*s/%s", own ? (int)strlen(OWN) : SECRET_DIGITS,
                 own ? OWN : (const char *)settings->secret, settings->coordinator);
    else
        snprintf(text, HK_WORD_MAX, HEAD FAILED);
    return status;
}

/* === The others =============================================================================== */

static hocket_status fail_text(void)
{
    return hk_fail_rank(HOCKET_ERR_PROTOCOL, 0, "rank 0's word in the launcher's store is none");
}

/* Each must be written as a number: no name server is asked on a peer's word. */
static bool are_addresses(const char *text)
{
    char one[HK_COORDINATOR_MAX];
    hk_host_port name;
    if (strlen(text) >= HK_COORDINATOR_MAX || strchr(text, ',') != NULL)
        return false;
    for (int i = 0; hk_address_choice(text, i, one, sizeof one); i++)
        if (hk_address_parse(one, &name) != HOCKET_OK || name.port == 0 ||
            !hk_address_is_number(&name))
            return false;
    return true;
}

static hocket_status take_secret(const char *digits, size_t length, hk_settings *settings)
{
    bool given = settings->secret_length > 0;
    bool own = length == strlen(OWN) && memcmp(digits, OWN, length) == 0;
    if (own && !given)
        return hk_fail_rank(HOCKET_ERR_AUTH, 0, "rank 0 was given a secret and rank %d was not: %s",
                            settings->rank,
                            settings->advice != NULL ? settings->advice
                                                     : "set HOCKET_SECRET_FILE on all");
    if (own)
        return HOCKET_OK;
    if (length != SECRET_DIGITS || strspn(digits, "0123456789abcdef") != SECRET_DIGITS)
        return fail_text();
    if (given)
        return hk_fail_rank(HOCKET_ERR_AUTH, 0, "rank %d was given a secret and rank 0 was not: %s",
                            settings->rank,
                            settings->advice != NULL ? settings->advice
                                                     : "set HOCKET_SECRET_FILE on all");
    memcpy(settings->secret, digits, length);
    settings->secret_length = length;
    return HOCKET_OK;
}

hocket_status hk_notice_read(const char *text, hk_settings *settings)
{
    static const size_t head = sizeof HEAD - 1;
    if (strncmp(text, HEAD, head) != 0)
        return fail_text();
    text += head;
    if (strcmp(text, FAILED) == 0)
        return hk_fail_rank(HOCKET_ERR_SYSTEM, 0,
                            "rank 0 could not say where it listens; its own error says why");
    size_t length = strcspn(text, "/");
    if (text[length] != '/' || !are_addresses(text + length + 1))
        return fail_text();
    hocket_status status = check_sealing(settings);
    if (status == HOCKET_OK)
        status = take_secret(text, length, settings);
    if (status == HOCKET_OK)
        snprintf(settings->coordinator, sizeof settings->coordinator, "%s", text + length + 1);
    return status;
}

/* === Both ===================================================================================== */

/* Who knows a coordinator all the same goes on with that. */
static hocket_status fail_store(const hk_settings *settings)
{
    const char *name = hk_store_name(settings->store);
    hk_error why = *hk_error_last();
    if (why.status != HOCKET_ERR_UNAVAILABLE)
        return hk_fail(why.status, "rank %d of %d asks %s's %s store where rank 0 listens: %s",
                       settings->rank, settings->world_size, settings->launcher, name, why.text);
    if (settings->coordinator[0] != '\0') {
        hk_log(HK_LOG_INFO, settings->rank, "%s's %s store is of no use: %s", settings->launcher,
               name, why.text);
        return HOCKET_OK;
    }
    return hk_fail(HOCKET_ERR_INVALID,
                   "rank %d of %d: %s does not say where rank 0 listens, and its %s store is of no "
                   "use: %s; set HOCKET_COORDINATOR=host:port to the same on all ranks%s%s%s",
                   settings->rank, settings->world_size, settings->launcher, name, why.text,
                   settings->pass != NULL ? " (" : "", settings->pass != NULL ? settings->pass : "",
                   settings->pass != NULL ? ")" : "");
}

static hocket_status settle_first(hk_settings *settings, hk_time deadline, int *listener)
{
    char mine[HK_WORD_MAX], word[HK_WORD_MAX], before[HK_COORDINATOR_MAX];
    bool own = settings->secret_length > 0;
    memcpy(before, settings->coordinator, sizeof before);
    hocket_status written = write_notice(settings, listener, mine);
    hk_error why = *hk_error_last();
    hocket_status status = hk_store_exchange(settings->store, settings->rank, mine, deadline, word);
    if (status != HOCKET_OK) { /* nobody knows what was written */
        hk_socket_close(*listener);
        *listener = -1;
        memcpy(settings->coordinator, before, sizeof before);
        if (!own)
            hk_settings_wipe(settings);
        status = fail_store(settings);
    } else if (written != HOCKET_OK) {
        status = hk_fail_with(&why);
    }
    sodium_memzero(mine, sizeof mine);
    sodium_memzero(word, sizeof word);
    return status;
}

hocket_status hk_notice_settle(hk_settings *settings, hk_time deadline, int *listener)
{
    char word[HK_WORD_MAX];
    *listener = -1;
    if (settings->rank == 0)
        return settle_first(settings, deadline, listener);
    hocket_status status = hk_store_exchange(settings->store, settings->rank, NULL, deadline, word);
    status = status == HOCKET_OK ? hk_notice_read(word, settings) : fail_store(settings);
    sodium_memzero(word, sizeof word);
    return status;
}

/* Texts of addresses. No name is ever looked up: only what is written as a number goes on. */
#include "input.h"
#include "wire/address.h"

/* What hocket prints of an address it reads back as the same. */
static void print_and_read(const hk_address *address)
{
    char text[HK_ADDRESS_TEXT_MAX];
    hk_host_port name;
    hk_address again[HK_ADDRESSES_MAX];
    int count;
    hk_address_format(address, text);
    FUZZ_CHECK(hk_address_parse(text, &name) == HOCKET_OK);
    FUZZ_CHECK(hk_address_is_number(&name) && name.port == hk_address_port(address));
    FUZZ_CHECK(hk_address_resolve(text, again, &count) == HOCKET_OK && count >= 1);
    FUZZ_CHECK(hk_address_is_loopback(&again[0]) == hk_address_is_loopback(address));
    FUZZ_CHECK(hk_address_is_any(&again[0]) == hk_address_is_any(address));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    char *text = fuzz_text(&input, '\0');
    hk_host_port name;
    hk_address addresses[HK_ADDRESSES_MAX];
    int count = 0;
    hocket_status status = hk_address_parse(text, &name);
    FUZZ_CHECK(status == HOCKET_OK || status == HOCKET_ERR_INVALID);
    if (status == HOCKET_OK) {
        size_t length = strnlen(name.host, sizeof name.host);
        FUZZ_CHECK(length > 0 && length < sizeof name.host);
        FUZZ_CHECK(name.port >= 0 && name.port <= 65535);
    }
    if (status == HOCKET_OK && hk_address_is_number(&name))
        status = hk_address_resolve(text, addresses, &count);
    for (int i = 0; i < count; i++) {
        hk_address *one = &addresses[i];
        FUZZ_CHECK(hk_address_port(one) == name.port);
        print_and_read(one);
        hk_address_unmap(one);
        hk_address_set_port(one, 1 + name.port % 1000);
        hk_address_any_to_loopback(one);
        FUZZ_CHECK(!hk_address_is_any(one));
        print_and_read(one);
    }
    free(text);
    return 0;
}

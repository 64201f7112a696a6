/* Rank 0's word in the launcher's store. */
#include "input.h"
#include "wire/address.h"
#include "wire/notice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static hk_settings settings;
    fuzz_input input = {data, size};
    uint8_t how = fuzz_byte(&input);
    char *text = fuzz_text(&input, '\0');
    settings = (hk_settings){.rank = 1, .world_size = 2, .store = HK_STORE_PMI};
    settings.encrypt = how & 1;
    settings.secret_length = how & 2 ? HK_SECRET_MIN : 0;
    hocket_status status = hk_notice_read(text, &settings);
    if (status == HOCKET_OK) {
        char one[HK_COORDINATOR_MAX];
        FUZZ_CHECK(settings.secret_length == 64 || (how & 2));
        FUZZ_CHECK(hk_address_choice(settings.coordinator, 0, one, sizeof one));
        FUZZ_CHECK(strlen(settings.coordinator) < sizeof settings.coordinator);
    } else {
        FUZZ_CHECK(status == HOCKET_ERR_PROTOCOL || status == HOCKET_ERR_AUTH ||
                   status == HOCKET_ERR_SYSTEM);
        FUZZ_CHECK(settings.coordinator[0] == '\0' && settings.secret_length < 64);
    }
    free(text);
    return 0;
}

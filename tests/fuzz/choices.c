/* Rows of a table of choices, as a file or another rank hands them over. */
#include "input.h"
#include "transport/choices.h"

/* What one accepted row says must be what the look-up then does, where no earlier row fits. */
static void check_row(const hk_choices *own, size_t at)
{
    const hk_choice *row = &own->rows[at];
    FUZZ_CHECK(row->operation < HK_OPERATIONS && row->medium < HK_MEDIA);
    FUZZ_CHECK(row->algorithm < HK_ALGORITHMS && hk_algorithm_name(row->algorithm) != NULL);
    FUZZ_CHECK(row->ranks_from >= 0 && row->ranks_from <= row->ranks_to);
    FUZZ_CHECK(row->bytes_from <= row->bytes_to);
    hk_algorithm way =
        hk_choose(own, row->medium, row->operation, row->ranks_to, row->bytes_to, false);
    bool earlier = false;
    for (size_t i = 0; i < at; i++) {
        const hk_choice *other = &own->rows[i];
        earlier |= other->operation == row->operation && other->medium == row->medium &&
                   other->ranks_from <= row->ranks_to && row->ranks_to <= other->ranks_to &&
                   other->bytes_from <= row->bytes_to && row->bytes_to <= other->bytes_to;
    }
    FUZZ_CHECK(earlier || way == row->algorithm);
    FUZZ_CHECK(hk_choose(own, row->medium, row->operation, row->ranks_from, row->bytes_from,
                         true) != HK_RING);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static hk_choices own;
    hocket_status status = hk_choices_parse((const char *)data, size, &own);
    FUZZ_CHECK(status == HOCKET_OK || status == HOCKET_ERR_INVALID);
    FUZZ_CHECK(own.count <= HK_CHOICES_MAX);
    if (status != HOCKET_OK)
        FUZZ_CHECK(strstr(hocket_last_error(), "table of choices, line ") != NULL);
    for (size_t i = 0; i < own.count; i++)
        check_row(&own, i);
    return 0;
}

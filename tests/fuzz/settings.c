/* The variables and the config that hocket_init goes by. The input is a config and then lines, each
 * a letter that picks the variable and its value. Files are never opened by the input's own names:
 * a value that starts with f or d becomes the descriptor, or the path, of a file that holds what
 * the line of '*' says. */
#include "core/launcher.h"
#include "core/settings.h"
#include "input.h"
#include "wire/address.h"

#include <fcntl.h>
#include <math.h>
#include <unistd.h>

static const char *const names[] = {
    "HOCKET_RANK",
    "HOCKET_WORLD_SIZE",
    "HOCKET_COORDINATOR",
    "HOCKET_BACKEND",
    "HOCKET_TIMEOUT",
    "HOCKET_INSECURE",
    "HOCKET_SECRET",
    "MLX_RANK",
    "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",
    "PMI_SIZE",
    "OMPI_COMM_WORLD_SIZE",
    "RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "SLURM_PROCID",
    "SLURM_NTASKS",
    "HOCKET_SECRET_FILE",
    "HOCKET_HOSTFILE",
    "MLX_HOSTFILE",
    "HOCKET_ENCRYPT",
    "HOCKET_FAULT",
    "HOCKET_TRACE",
    "HOCKET_HOST",
    "MLX_JACCL_COORDINATOR",
    "MLX_WORLD_SIZE",
    "NCCL_HOST_IP",
    "NCCL_PORT",
    "LOCAL_WORLD_SIZE",
    "TORCHELASTIC_RUN_ID",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "PMIX_NAMESPACE",
    "PMIX_RANK",
    "OMPI_MCA_ess",
    "MPI_LOCALNRANKS",
    "PMI_FD",
    "PMI_JOBID",
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "SLURM_STEP_NODELIST",
    "SLURM_NODELIST",
    "MLX_IBV_DEVICES",
};
enum {
    NAMES = sizeof names / sizeof names[0],
    FIRST_FILE = 18,
    LAST_FILE = 20, /* and the last of all */
    VALUE_MAX = 8192
};

static int the_file(void)
{
    static int fd = -1;
    if (fd >= 0)
        return fd;
    FILE *file = tmpfile();
    if (file == NULL || (fd = dup(fileno(file))) < 0)
        abort();
    fclose(file);
    return fd;
}

static void fill_file(const char *text)
{
    int fd = the_file();
    size_t length = strlen(text);
    FUZZ_CHECK(ftruncate(fd, 0) == 0);
    FUZZ_CHECK(pwrite(fd, text, length, 0) == (ssize_t)length);
    lseek(fd, 0, SEEK_SET);
}

static void name_file(const char *text, char *value)
{
    if (text[0] == 'f')
        snprintf(value, VALUE_MAX, "fd:%d", the_file());
    else if (text[0] == 'd')
        snprintf(value, VALUE_MAX, "/dev/fd/%d", the_file());
    else if (text[0] == 'n' && strspn(text, "0123456789") != strlen(text))
        snprintf(value, VALUE_MAX, "fd:%s-", text + 1);
    else
        snprintf(value, VALUE_MAX, "/there is no such folder/%s", text);
}

static void set_variables(fuzz_input *input)
{
    static char value[VALUE_MAX];
    for (int i = 0; i < NAMES; i++)
        unsetenv(names[i]);
    fill_file("");
    while (input->left > 0) {
        uint8_t letter = fuzz_byte(input);
        char *text = fuzz_text(input, '\n');
        int which = (letter - 'a') & 0x3F;
        if (letter == '*') {
            fill_file(text);
        } else if (which < NAMES) {
            snprintf(value, sizeof value, "%s", text);
            if ((which >= FIRST_FILE && which <= LAST_FILE) || which == NAMES - 1)
                name_file(text, value);
            setenv(names[which], value, 1);
        }
        free(text);
    }
}

static void check(const hk_settings *settings, hocket_status status)
{
    if (status != HOCKET_OK) {
        for (size_t i = 0; i < sizeof settings->secret; i++)
            FUZZ_CHECK(settings->secret[i] == 0);
        return;
    }
    FUZZ_CHECK(settings->world_size >= 1 && settings->world_size <= HK_WORLD_MAX);
    FUZZ_CHECK(settings->rank >= 0 && settings->rank < settings->world_size);
    FUZZ_CHECK(settings->timeout_s > 0 && settings->init_timeout_s > 0);
    FUZZ_CHECK(settings->secret_length == 0 || (settings->secret_length >= HK_SECRET_MIN &&
                                                settings->secret_length <= HK_SECRET_MAX));
    FUZZ_CHECK(memchr(settings->backend, 0, sizeof settings->backend) != NULL);
    FUZZ_CHECK(memchr(settings->coordinator, 0, sizeof settings->coordinator) != NULL);
    for (int i = 0; settings->job != 0 && i < HK_PORT_CHOICES; i++) {
        char one[HK_COORDINATOR_MAX];
        FUZZ_CHECK(hk_address_choice(settings->coordinator, i, one, sizeof one));
    }
    FUZZ_CHECK(memchr(settings->hostfile, 0, sizeof settings->hostfile) != NULL);
    FUZZ_CHECK(memchr(settings->fault, 0, sizeof settings->fault) != NULL);
    FUZZ_CHECK(memchr(settings->trace, 0, sizeof settings->trace) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    uint8_t given = fuzz_byte(&input);
    hocket_config config = {.size = sizeof config};
    if (given & 1)
        config.size = fuzz_number(&input, 1);
    if (given & 2) {
        config.rank = (int)fuzz_number(&input, 4);
        config.world_size = (int)fuzz_number(&input, 4);
    }
    if (given & 4) {
        fuzz_take(&input, &config.timeout_s, sizeof config.timeout_s);
        fuzz_take(&input, &config.init_timeout_s, sizeof config.init_timeout_s);
    }
    char *texts[3] = {NULL, NULL, NULL};
    for (int i = 0; i < 3; i++)
        texts[i] = (given & (8 << i)) ? fuzz_text(&input, '\n') : NULL;
    config.coordinator = texts[0];
    config.backend = texts[1];
    config.secret = texts[2];
    set_variables(&input);
    static hk_settings settings;
    hocket_status status = hk_settings_read((given & 64) ? NULL : &config, &settings);
    check(&settings, status);
    if (status == HOCKET_OK)
        hk_settings_need_coordinator(&settings);
    hk_settings_wipe(&settings);
    for (int i = 0; i < 3; i++)
        free(texts[i]);
    return 0;
}

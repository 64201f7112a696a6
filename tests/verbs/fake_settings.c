#include "fake.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void fake_broken(const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "fake verbs: %s\n", text);
    fflush(stderr);
    abort();
}

int64_t fake_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

double fake_roll(uint64_t *dice)
{
    uint64_t x = *dice += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (double)((x ^ (x >> 31)) >> 11) * 0x1p-53;
}

static void read_end(fake_end *end, const char *text)
{
    const char *colon = strchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof end->device)
        fake_broken("HOCKET_FAKE_VERBS: \"%s\" is not device:message", text);
    memcpy(end->device, text, (size_t)(colon - text));
    end->at = strtoul(colon + 1, NULL, 10);
}

static void copy(char *to, size_t size, const char *from)
{
    if ((size_t)snprintf(to, size, "%s", from) >= size)
        fake_broken("HOCKET_FAKE_VERBS: \"%s\" is too long", from);
}

static fake_settings settings;

static const struct {
    const char *key;
    int *into;
} numbers[] = {{"count", &settings.count},
               {"rtr", &settings.rtr},
               {"busy", &settings.busy},
               {"full", &settings.full}};

static const struct {
    const char *key;
    bool *into;
} switches[] = {{"apple", &settings.apple},
                {"down", &settings.down},
                {"nogid", &settings.nogid},
                {"broken", &settings.broken}};

static const struct {
    const char *key;
    fake_end *into;
} ends[] = {{"kill", &settings.kill},     {"gone", &settings.gone}, {"unplug", &settings.unplug},
            {"silent", &settings.silent}, {"slow", &settings.slow}, {"landing", &settings.landing}};

static bool read_from_tables(const char *key, const char *value)
{
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(key, numbers[i].key) == 0) {
            *numbers[i].into = atoi(value);
            return true;
        }
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        if (strcmp(key, switches[i].key) == 0)
            return *switches[i].into = true;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (strcmp(key, ends[i].key) == 0) {
            read_end(ends[i].into, value);
            return true;
        }
    return false;
}

static void read_setting(const char *key, const char *value)
{
    if (strcmp(key, "dir") == 0)
        copy(settings.dir, sizeof settings.dir, value);
    else if (strcmp(key, "only") == 0)
        copy(settings.only, sizeof settings.only, value);
    else if (strcmp(key, "rc") == 0)
        settings.rc = atoi(value) != 0;
    else if (strcmp(key, "reads") == 0)
        settings.reads = atoi(value) != 0;
    else if (strcmp(key, "loss") == 0)
        settings.loss = atof(value) / 100;
    else if (strcmp(key, "seed") == 0)
        settings.seed = strtoull(value, NULL, 10);
    else if (strcmp(key, "delay_us") == 0)
        settings.delay_us = (unsigned)atoi(value);
    else if (!read_from_tables(key, value))
        fake_broken("HOCKET_FAKE_VERBS knows no \"%s\"", key);
}

void fake_read_settings(void)
{
    const char *text = getenv("HOCKET_FAKE_VERBS");
    char copied[512], *rest = copied, *word;
    settings = (fake_settings){.count = 8, .rc = true, .reads = true, .seed = 1};
    copy(copied, sizeof copied, text != NULL ? text : "");
    while ((word = strtok_r(rest, ",", &rest)) != NULL) {
        char *equals = strchr(word, '=');
        if (equals != NULL)
            *equals++ = '\0';
        read_setting(word, equals != NULL ? equals : "");
    }
    if (settings.dir[0] == '\0')
        fake_broken("HOCKET_FAKE_VERBS names no dir");
    if (settings.count < 0 || settings.count > FAKE_DEVICES)
        fake_broken("HOCKET_FAKE_VERBS: count is 0 to %d", FAKE_DEVICES);
    settings.rc = settings.rc && !settings.apple;
    settings.reads = settings.reads && settings.rc;
    settings.pairs_max = settings.apple ? 10 : 1000;
    settings.regions_max = settings.apple ? 100 : 10000;
    settings.depth_max = settings.apple ? 1023 : 16384;
    settings.inline_max = settings.apple ? 0 : 256;
    settings.ports = settings.apple ? 2 : 1;
    settings.active_port = settings.ports;
}

const fake_settings *fake_get_settings(void)
{
    return &settings;
}

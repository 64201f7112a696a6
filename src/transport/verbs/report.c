#include "transport/verbs/report.h"

#include "transport/verbs/device.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct report {
    char *text;
    size_t size;
} report;

static void say(const report *to, const char *format, ...) HK_PRINTF(2, 3);
static void say(const report *to, const char *format, ...)
{
    size_t used = strlen(to->text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(to->text + used, to->size - used, format, arguments);
    va_end(arguments);
}

static void say_port(const report *to, const hk_verbs_device *device, const hk_verbs_port *port)
{
    const hk_verbs_gid *chosen = hk_verbs_choose_gid(port, NULL);
    say(to, "\n  port %d: %s, %s, MTU %d", port->number, hk_verbs_state_text(port->state),
        hk_verbs_link_text(port->link_layer), hk_verbs_mtu_bytes(port->active_mtu));
    if (device->port_count > 1 && port == hk_verbs_choose_port(device, NULL))
        say(to, ", hocket's choice");
    for (int i = 0; i < port->gid_count; i++) {
        const hk_verbs_gid *gid = &port->gids[i];
        say(to, "\n    GID %d: %s", gid->index, gid->text);
        if (gid->type >= 0)
            say(to, ", %s", hk_verbs_gid_type_text(gid->type));
        if (port->gid_count > 1 && gid == chosen)
            say(to, ", hocket's choice");
    }
    if (chosen == NULL && port->state == HK_IBV_PORT_ACTIVE &&
        port->link_layer != HK_IBV_LINK_INFINIBAND)
        say(to, "\n    no GID, so it cannot be used: its network interface has no address, or is "
                "down");
}

static void say_device(const report *to, const hk_verbs_device *device)
{
    if (device->status != HOCKET_OK) {
        say(to, "\n%s: %s", device->name, device->error);
        return;
    }
    say(to, "\n%s: %s, %d queue pairs, %d memory regions, queues of %d, messages to %u KiB",
        device->name,
        device->rc && device->uc ? "RC and UC"
        : device->rc             ? "RC"
        : device->uc             ? "UC"
                                 : "neither RC nor UC",
        device->max_qp, device->max_mr, device->max_depth, device->max_message / 1024);
    for (int i = 0; i < device->port_count; i++)
        say_port(to, device, &device->ports[i]);
    if (hk_verbs_choose_port(device, NULL) == NULL)
        say(to, "\n  %s", hocket_last_error());
}

int hocket_verbs_report(char *text, size_t size)
{
    hk_verbs_device *devices = NULL;
    int count = 0;
    report to = {text, size};
    if (size == 0)
        return 0;
    text[0] = '\0';
    if (hk_verbs_devices(&devices, &count) != HOCKET_OK) {
        say(&to, "none: %s", hocket_last_error());
        return 0;
    }
    say(&to, "%d %s by %s", count, count == 1 ? "device" : "devices", hk_verbs_library_name());
    for (int i = 0; i < count; i++)
        say_device(&to, &devices[i]);
    free(devices);
    return count;
}

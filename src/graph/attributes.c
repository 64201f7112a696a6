#include "graph/attributes.h"

#include "core/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

hocket_attr hocket_attr_int(const char *name, int64_t value)
{
    return (hocket_attr){.name = name, .kind = HOCKET_ATTR_INT, .integer = value};
}

hocket_attr hocket_attr_float(const char *name, double value)
{
    return (hocket_attr){.name = name, .kind = HOCKET_ATTR_FLOAT, .number = value};
}

hocket_attr hocket_attr_string(const char *name, const char *text)
{
    return (hocket_attr){.name = name, .kind = HOCKET_ATTR_STRING, .text = text};
}

hocket_attr hocket_attr_ints(const char *name, const int64_t *list, size_t count)
{
    return (hocket_attr){.name = name, .kind = HOCKET_ATTR_INTS, .list = list, .count = count};
}

static const hocket_attr *find(const hocket_attrs *attributes, const char *name)
{
    for (size_t i = 0; i < attributes->count; i++)
        if (strcmp(attributes->items[i].name, name) == 0)
            return &attributes->items[i];
    return NULL;
}

bool hocket_attrs_has(const hocket_attrs *attributes, const char *name)
{
    return find(attributes, name) != NULL;
}

int64_t hocket_attrs_int(const hocket_attrs *attributes, const char *name, int64_t otherwise)
{
    const hocket_attr *found = find(attributes, name);
    return found && found->kind == HOCKET_ATTR_INT ? found->integer : otherwise;
}

double hocket_attrs_float(const hocket_attrs *attributes, const char *name, double otherwise)
{
    const hocket_attr *found = find(attributes, name);
    if (found && found->kind == HOCKET_ATTR_INT)
        return (double)found->integer;
    return found && found->kind == HOCKET_ATTR_FLOAT ? found->number : otherwise;
}

const char *hocket_attrs_string(const hocket_attrs *attributes, const char *name,
                                const char *otherwise)
{
    const hocket_attr *found = find(attributes, name);
    return found && found->kind == HOCKET_ATTR_STRING ? found->text : otherwise;
}

const int64_t *hocket_attrs_ints(const hocket_attrs *attributes, const char *name, size_t *count)
{
    const hocket_attr *found = find(attributes, name);
    bool list = found && found->kind == HOCKET_ATTR_INTS;
    *count = list ? found->count : 0;
    return list ? found->list : NULL;
}

/* --- Copies --- */

static size_t list_count(const hocket_attr *item)
{
    return item->kind == HOCKET_ATTR_INTS ? item->count : 0;
}

static size_t text_bytes(const hocket_attr *item)
{
    return item->kind == HOCKET_ATTR_STRING ? strlen(item->text) + 1 : 0;
}

static char *copy_text(const char *text, size_t bytes, char **room)
{
    char *copy = memcpy(*room, text, bytes);
    *room += bytes;
    return copy;
}

hocket_status hk_attrs_copy(const hocket_attr *items, size_t count, hocket_attrs *copy)
{
    *copy = (hocket_attrs){NULL, 0};
    if (count == 0)
        return HOCKET_OK;
    /* First the items, then all lists (aligned alike), then all texts. */
    size_t lists_count = 0, texts_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        lists_count += list_count(&items[i]);
        texts_bytes += strlen(items[i].name) + 1 + text_bytes(&items[i]);
    }
    size_t total = count * sizeof *items + lists_count * sizeof(int64_t) + texts_bytes;
    hocket_attr *copies = malloc(total);
    if (copies == NULL)
        return hk_fail_memory(total, "attributes");
    int64_t *lists = (int64_t *)(copies + count);
    char *texts = (char *)(lists + lists_count);
    for (size_t i = 0; i < count; i++) {
        const hocket_attr *item = &items[i];
        copies[i] = (hocket_attr){.kind = item->kind, .integer = item->integer,
                                  .number = item->number, .list = lists, .count = list_count(item)};
        copies[i].name = copy_text(item->name, strlen(item->name) + 1, &texts);
        if (text_bytes(item) > 0)
            copies[i].text = copy_text(item->text, text_bytes(item), &texts);
        if (list_count(item) > 0)
            memcpy(lists, item->list, list_count(item) * sizeof(int64_t));
        lists += list_count(item);
    }
    *copy = (hocket_attrs){copies, count};
    return HOCKET_OK;
}

/* --- Checks --- */

static const char *kind_text(hocket_attr_kind kind)
{
    switch (kind) {
    case HOCKET_ATTR_INT: return "an int";
    case HOCKET_ATTR_FLOAT: return "a float";
    case HOCKET_ATTR_STRING: return "a string";
    case HOCKET_ATTR_INTS: return "a list of ints";
    }
    return "of no known kind";
}

/* "axis, epsilon", or "none". */
static void names_text(const hocket_op_def *def, char *text, size_t capacity)
{
    snprintf(text, capacity, "%s", def->attribute_count > 0 ? "" : "none");
    size_t used = strlen(text);
    for (size_t i = 0; i < def->attribute_count && used < capacity; i++)
        used += (size_t)snprintf(text + used, capacity - used, "%s%s", i > 0 ? ", " : "",
                                 def->attributes[i].name);
}

static hocket_status check_value(const hocket_op_call *call, const hocket_attr *item,
                                 hocket_attr_kind kind)
{
    if (item->kind != kind && !(kind == HOCKET_ATTR_FLOAT && item->kind == HOCKET_ATTR_INT))
        return hocket_op_error(call, HOCKET_ERR_INVALID, "the attribute '%s' is %s, it must be %s",
                               item->name, kind_text(item->kind), kind_text(kind));
    if ((item->kind == HOCKET_ATTR_STRING && item->text == NULL) ||
        (item->kind == HOCKET_ATTR_INTS && item->list == NULL && item->count > 0))
        return hocket_op_error(call, HOCKET_ERR_INVALID, "the attribute '%s' is NULL", item->name);
    return HOCKET_OK;
}

static hocket_status check_item(const hocket_op_call *call, const hocket_op_def *def, size_t at)
{
    const hocket_attr *item = &call->attributes.items[at];
    if (item->name == NULL)
        return hocket_op_error(call, HOCKET_ERR_INVALID, "attribute %zu has no name", at);
    for (size_t i = 0; i < at; i++)
        if (strcmp(call->attributes.items[i].name, item->name) == 0)
            return hocket_op_error(call, HOCKET_ERR_INVALID, "the attribute '%s' is there twice",
                                   item->name);
    for (size_t i = 0; i < def->attribute_count; i++)
        if (strcmp(def->attributes[i].name, item->name) == 0)
            return check_value(call, item, def->attributes[i].kind);
    char names[256];
    names_text(def, names, sizeof names);
    return hocket_op_error(call, HOCKET_ERR_INVALID,
                           "it takes no attribute '%s'; those it takes: %s", item->name, names);
}

hocket_status hk_attrs_check(const hocket_op_call *call, const hocket_op_def *def)
{
    for (size_t i = 0; i < call->attributes.count; i++) {
        hocket_status status = check_item(call, def, i);
        if (status != HOCKET_OK)
            return status;
    }
    for (size_t i = 0; i < def->attribute_count; i++)
        if (def->attributes[i].required &&
            !hocket_attrs_has(&call->attributes, def->attributes[i].name))
            return hocket_op_error(call, HOCKET_ERR_INVALID, "it needs the attribute '%s', %s",
                                   def->attributes[i].name, kind_text(def->attributes[i].kind));
    return HOCKET_OK;
}

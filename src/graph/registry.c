/* Two lists that only grow, under one lock: what is in them stays where it is for ever, so that a
 * graph can keep a pointer to its operations. */
#include "graph/registry.h"

#include "core/status.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct own_op {
    hocket_op_def def;
    struct own_op *next;
} own_op;

typedef struct own_kernel {
    hk_kernel kernel;
    const hk_device *device;
    struct own_kernel *next;
} own_kernel;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static own_op *own_ops;
static own_kernel *own_kernels;

/* --- Operations --- */

static const hocket_op_def *find_op_locked(const char *name)
{
    const hk_op_table tables[] = {hk_ops_elementwise, hk_ops_shape, hk_ops_reduce,
                                  hk_ops_attention, hk_ops_collective};
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++)
        for (size_t i = 0; i < tables[t].count; i++)
            if (strcmp(tables[t].defs[i].name, name) == 0)
                return &tables[t].defs[i];
    for (const own_op *own = own_ops; own; own = own->next)
        if (strcmp(own->def.name, name) == 0)
            return &own->def;
    return NULL;
}

const hocket_op_def *hk_op_find(const char *name)
{
    pthread_mutex_lock(&lock);
    const hocket_op_def *def = find_op_locked(name);
    pthread_mutex_unlock(&lock);
    return def;
}

static hocket_status check_def(const hocket_op_def *def)
{
    if (def == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_op_register: def is NULL");
    if (def->size != sizeof *def)
        return hk_fail(HOCKET_ERR_INVALID,
                       "hocket_op_register: size is %zu, set it to sizeof(hocket_op_def), %zu",
                       def->size, sizeof *def);
    if (def->name == NULL || def->name[0] == '\0' || def->infer == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_op_register: an operation needs %s",
                       def->infer == NULL ? "infer" : "a name");
    if (def->min_inputs < 0 || def->max_inputs < def->min_inputs ||
        def->max_inputs > HOCKET_MAX_INPUTS)
        return hk_fail(HOCKET_ERR_INVALID,
                       "hocket_op_register: '%s' takes %d to %d inputs, which is not within 0..%d",
                       def->name, def->min_inputs, def->max_inputs, HOCKET_MAX_INPUTS);
    for (size_t i = 0; i < def->attribute_count; i++)
        if (def->attributes == NULL || def->attributes[i].name == NULL)
            return hk_fail(HOCKET_ERR_INVALID, "hocket_op_register: attribute %zu of '%s' has no "
                           "name", i, def->name);
    return HOCKET_OK;
}

static void free_op(own_op *own)
{
    for (size_t i = 0; own->def.attributes && i < own->def.attribute_count; i++)
        free((void *)own->def.attributes[i].name);
    free((void *)own->def.attributes);
    free((void *)own->def.name);
    free(own);
}

static own_op *copy_op(const hocket_op_def *def)
{
    own_op *own = calloc(1, sizeof *own);
    if (own == NULL)
        return NULL;
    own->def = *def;
    own->def.name = strdup(def->name);
    hocket_attr_def *attributes = calloc(def->attribute_count + 1, sizeof *attributes);
    own->def.attributes = attributes;
    bool complete = own->def.name != NULL && attributes != NULL;
    for (size_t i = 0; complete && i < def->attribute_count; i++) {
        attributes[i] = def->attributes[i];
        attributes[i].name = strdup(def->attributes[i].name);
        complete = attributes[i].name != NULL;
    }
    if (complete)
        return own;
    free_op(own);
    return NULL;
}

hocket_status hocket_op_register(const hocket_op_def *def)
{
    hocket_status status = check_def(def);
    if (status != HOCKET_OK)
        return status;
    own_op *own = copy_op(def);
    if (own == NULL)
        return hk_fail_memory(sizeof *own, "an operation");
    pthread_mutex_lock(&lock);
    bool taken = find_op_locked(def->name) != NULL;
    if (!taken) {
        own->next = own_ops;
        own_ops = own;
    }
    pthread_mutex_unlock(&lock);
    if (!taken)
        return HOCKET_OK;
    free_op(own);
    return hk_fail(HOCKET_ERR_INVALID, "hocket_op_register: there is an operation '%s' already",
                   def->name);
}

/* --- Kernels --- */

static bool find_kernel_locked(const char *op, const hk_device *device, hk_kernel *kernel)
{
    for (size_t i = 0; i < device->kernel_count; i++)
        if (strcmp(device->kernels[i].op, op) == 0) {
            *kernel = device->kernels[i];
            return true;
        }
    for (const own_kernel *own = own_kernels; own; own = own->next)
        if (own->device == device && strcmp(own->kernel.op, op) == 0) {
            *kernel = own->kernel;
            return true;
        }
    return false;
}

bool hk_kernel_find(const char *op, const hk_device *device, hk_kernel *kernel)
{
    pthread_mutex_lock(&lock);
    bool found = find_kernel_locked(op, device, kernel);
    pthread_mutex_unlock(&lock);
    return found;
}

hocket_status hocket_kernel_register(const char *op, const char *device_name, hocket_op_fn kernel,
                                     void *context)
{
    if (op == NULL || kernel == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_kernel_register: %s is NULL",
                       op == NULL ? "op" : "kernel");
    const hk_device *device;
    hocket_status status = hk_device_get(device_name, &device);
    if (status != HOCKET_OK)
        return hk_fail_prefix("hocket_kernel_register: ");
    own_kernel *own = calloc(1, sizeof *own);
    if (own == NULL)
        return hk_fail_memory(sizeof *own, "a kernel");
    pthread_mutex_lock(&lock);
    hk_kernel other;
    const hocket_op_def *def = find_op_locked(op);
    bool taken = find_kernel_locked(op, device, &other);
    if (def && !taken) {
        *own = (own_kernel){{def->name, kernel, context}, device, own_kernels};
        own_kernels = own;
    }
    pthread_mutex_unlock(&lock);
    if (def && !taken)
        return HOCKET_OK;
    free(own);
    if (def == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_kernel_register: there is no operation '%s'; "
                       "register it first", op);
    return hk_fail(HOCKET_ERR_INVALID,
                   "hocket_kernel_register: '%s' has a kernel for the device '%s' already", op,
                   device->name);
}

hocket_status hocket_op_error(const hocket_op_call *call, hocket_status status, const char *format,
                              ...)
{
    char text[HK_ERROR_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return hk_fail(status, "%s (node %d): %s", call->op, call->node, text);
}

/* libhocket-mlx, the library with the C++ in it, opened when something of it is asked for. */
#ifndef HK_CORE_PLUGIN_H
#define HK_CORE_PLUGIN_H

#include <hocket/hocket.h>

/* What libhocket-mlx hands over. core knows none of its tables: who asks for one casts it to the
 * type named here. */
typedef struct hk_plugin {
    size_t size;           /* sizeof(hk_plugin) as libhocket-mlx was built */
    const char *version;   /* hocket_version() as libhocket-mlx was built: both must be the same */
    const void *device;    /* const hk_device *, graph/device.h */
    const void *transport; /* the entry of transport/table.h */
    const void *gguf;      /* const hk_gguf_table *, graph/gguf.h */
    const char *(*describe)(void); /* MLX's version and where it computes, in words */
} hk_plugin;

/* The one symbol that libhocket-mlx exports: `const hk_plugin *hocket_mlx_plugin(void)`. */
#define HK_PLUGIN_SYMBOL "hocket_mlx_plugin"
typedef const hk_plugin *(*hk_plugin_fn)(void);

/* Opens libhocket-mlx on the first call: HOCKET_MLX_LIB if set, else the file beside libhocket. It
 * stays open. HOCKET_ERR_UNAVAILABLE says why it does not load; the answer is kept. */
hocket_status hk_plugin_mlx(const hk_plugin **plugin);

/* The path of a library that is loaded at run time: what the variable says where one is named and
 * set, else the file beside the library that this function is in. false: it is too long or unknown.
 */
bool hk_plugin_path(const char *variable, const char *file, char *path, size_t capacity);

#endif

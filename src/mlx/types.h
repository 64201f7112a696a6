/* Dtypes and shapes of hocket and of MLX. */
#ifndef HK_MLX_TYPES_H
#define HK_MLX_TYPES_H

#include <hocket/graph.h>
#include <hocket/mlx.hpp>

namespace hk
{

namespace mx = mlx::core;

mx::Dtype mlx_dtype(hocket_dtype dtype);
using hocket::mlx::dtype_of;

/* Throws HOCKET_ERR_UNSUPPORTED for a dimension that MLX's 32 bits do not hold. */
mx::Shape mlx_shape(const hocket_type &type);
mx::ShapeElem mlx_dimension(int64_t elements);

/* An array with a copy of the host's bytes. In bool everything but 0 becomes 1, MLX's true. */
mx::array array_from_host(const void *data, mx::Shape shape, mx::Dtype dtype);

} // namespace hk

#endif

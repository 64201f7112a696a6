#include "mlx/types.h"

#include <mlx/allocator.h>

#include <cstring>
#include <limits>

#include "mlx/guard.h"

namespace hk
{

mx::Dtype mlx_dtype(hocket_dtype dtype)
{
    switch (dtype) {
    case HOCKET_BOOL: return mx::bool_;
    case HOCKET_INT8: return mx::int8;
    case HOCKET_INT16: return mx::int16;
    case HOCKET_INT32: return mx::int32;
    case HOCKET_INT64: return mx::int64;
    case HOCKET_UINT8: return mx::uint8;
    case HOCKET_UINT16: return mx::uint16;
    case HOCKET_UINT32: return mx::uint32;
    case HOCKET_UINT64: return mx::uint64;
    case HOCKET_FLOAT16: return mx::float16;
    case HOCKET_BFLOAT16: return mx::bfloat16;
    case HOCKET_FLOAT32: return mx::float32;
    case HOCKET_FLOAT64: return mx::float64;
    case HOCKET_COMPLEX64: return mx::complex64;
    }
    throw Failure(HOCKET_ERR_INVALID, std::to_string(dtype) + " is no dtype");
}

mx::ShapeElem mlx_dimension(int64_t elements)
{
    if (elements < 0 || elements > std::numeric_limits<mx::ShapeElem>::max())
        throw Failure(HOCKET_ERR_UNSUPPORTED, "MLX has no dimension of " +
                                                  std::to_string(elements) +
                                                  " elements, only up to 2^31 - 1");
    return static_cast<mx::ShapeElem>(elements);
}

mx::Shape mlx_shape(const hocket_type &type)
{
    mx::Shape shape;
    for (int i = 0; i < type.rank; i++)
        shape.push_back(mlx_dimension(type.dims[i]));
    return shape;
}

mx::array array_from_host(const void *data, mx::Shape shape, mx::Dtype dtype)
{
    size_t bytes = dtype.size();
    for (mx::ShapeElem dimension : shape)
        bytes *= static_cast<size_t>(dimension);
    mx::allocator::Data memory = mx::allocator::malloc(bytes);
    void *to = memory.buffer().raw_ptr();
    if (dtype == mx::bool_) {
        auto from = static_cast<const unsigned char *>(data);
        for (size_t i = 0; i < bytes; i++)
            static_cast<unsigned char *>(to)[i] = from[i] != 0;
    } else if (bytes > 0) {
        memcpy(to, data, bytes);
    }
    return mx::array(std::move(memory), std::move(shape), dtype);
}

} // namespace hk

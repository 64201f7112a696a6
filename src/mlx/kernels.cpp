/* One composing function for each operation. Shapes and dtypes were checked when the graph was
 * built; a function takes them from the call's output type. Nothing here evaluates. */

#include "mlx/tables.h"

#include <mlx/fast.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <span>

#include "mlx/collectives.h"
#include "mlx/guard.h"
#include "mlx/host.h"

namespace hk
{
namespace
{

/* A call as its composing function sees it. */
struct Call {
    const hocket_op_call &raw;
    mx::Stream stream;

    const mx::array &input(int i) const
    {
        return *static_cast<mx::array *>(raw.inputs[i]);
    }
    mx::Shape shape() const
    {
        return mlx_shape(raw.output_type);
    }
    mx::Dtype dtype() const
    {
        return mlx_dtype(raw.output_type.dtype);
    }
    int64_t integer(const char *name, int64_t otherwise) const
    {
        return hocket_attrs_int(&raw.attributes, name, otherwise);
    }
    double number(const char *name, double otherwise) const
    {
        return hocket_attrs_float(&raw.attributes, name, otherwise);
    }
    std::string text(const char *name, const char *otherwise) const
    {
        return hocket_attrs_string(&raw.attributes, name, otherwise);
    }
    std::span<const int64_t> integers(const char *name) const
    {
        size_t count = 0;
        const int64_t *list = hocket_attrs_ints(&raw.attributes, name, &count);
        return {list, count};
    }
    /* The attribute axis, counted from the front of an array with so many dimensions. */
    int axis(const mx::array &x, int64_t otherwise) const
    {
        int64_t axis = integer("axis", otherwise);
        return static_cast<int>(axis < 0 ? axis + static_cast<int64_t>(x.ndim()) : axis);
    }
};

using Compose = mx::array (*)(const Call &call);

/* Operations that the cpu device's kernels do better than what MLX's cpu would compose; its GPUs
 * have their own way, which HOCKET_MLX_KERNELS=mlx takes anywhere. */
bool host_serves(const Call &call)
{
    const char *whose = getenv("HOCKET_MLX_KERNELS");
    return call.stream.device == mx::Device::cpu && !(whose && strcmp(whose, "mlx") == 0);
}

template <Compose otherwise> mx::array by_host(const Call &call)
{
    return host_serves(call) ? compose_on_host(call.raw, call.stream) : otherwise(call);
}

/* MLX's GPUs have no float64; MLX computes it on the cpu. */
mx::Stream stream_of(const hocket_op_call &call)
{
    bool wide = call.output_type.dtype == HOCKET_FLOAT64;
    for (int i = 0; i < call.input_count; i++)
        wide = wide || call.input_types[i].dtype == HOCKET_FLOAT64;
    return wide ? lane().cpu : lane().compute;
}

/* What the graph layer calls: runs a composing function and hands its array over. */
template <Compose compose> hocket_status kernel(hocket_op_call *call)
{
    hocket_status status = guard(nullptr, [&] {
        call->output = new mx::array(compose(Call{*call, stream_of(*call)}));
    });
    if (status == HOCKET_OK)
        return status;
    const std::string text = hocket_last_error();
    return hocket_op_error(call, status, "%s", text.c_str());
}

/* === Elementwise ============================================================================== */

template <mx::array (*op)(const mx::array &, mx::StreamOrDevice)> mx::array unary(const Call &call)
{
    return op(call.input(0), call.stream);
}

template <mx::array (*op)(const mx::array &, const mx::array &, mx::StreamOrDevice)>
mx::array binary(const Call &call)
{
    return op(call.input(0), call.input(1), call.stream);
}

bool is_half(const mx::array &x)
{
    return x.dtype() == mx::float16 || x.dtype() == mx::bfloat16;
}

/* Halves are computed in float32 and rounded once. */
mx::array widened(const Call &call, const mx::array &x)
{
    return is_half(x) ? mx::astype(x, mx::float32, call.stream) : x;
}

mx::array narrowed(const Call &call, const mx::array &x)
{
    return mx::astype(x, call.dtype(), call.stream);
}

mx::array scalar(double value, const mx::array &like)
{
    return mx::array(value, like.dtype());
}

mx::array select(const Call &call)
{
    return mx::where(call.input(0), call.input(1), call.input(2), call.stream);
}

mx::array silu(const Call &call)
{
    mx::array x = widened(call, call.input(0));
    return narrowed(call, mx::multiply(x, mx::sigmoid(x, call.stream), call.stream));
}

mx::array gelu(const Call &call)
{
    const mx::Stream s = call.stream;
    mx::array x = widened(call, call.input(0));
    const bool approximate = call.text("approximate", "none") == "tanh";
    mx::array inner = x;
    if (approximate) {
        /* sqrt(2 / pi) * (x + 0.044715 x^3) */
        mx::array cube = mx::multiply(mx::multiply(x, x, s), x, s);
        inner = mx::add(x, mx::multiply(cube, scalar(0.044715, x), s), s);
        inner = mx::tanh(mx::multiply(inner, scalar(std::sqrt(2 / M_PI), x), s), s);
    } else {
        inner = mx::erf(mx::multiply(x, scalar(M_SQRT1_2, x), s), s);
    }
    mx::array half = mx::multiply(x, scalar(0.5, x), s);
    return narrowed(call, mx::multiply(half, mx::add(inner, scalar(1, x), s), s));
}

mx::array cast(const Call &call)
{
    const mx::array &x = call.input(0);
    if (call.dtype() == mx::bool_)
        return mx::not_equal(x, mx::array(0, x.dtype()), call.stream);
    return mx::astype(x, call.dtype(), call.stream);
}

/* === Products, norms, reductions ============================================================== */

/* One row times a matrix. MLX would hand it to a product of matrices, which copies the right one
 * to where it likes it, for a single use of each element. */
bool is_one_row(const Call &call)
{
    const hocket_type &type = call.raw.output_type;
    return call.raw.input_types[1].rank == 2 && type.dims[type.rank - 1] > 0 &&
           hocket_type_count(&type) == static_cast<size_t>(type.dims[type.rank - 1]);
}

mx::array matmul(const Call &call)
{
    if (is_one_row(call) && host_serves(call))
        return compose_on_host(call.raw, call.stream);
    mx::array left = widened(call, call.input(0)), right = widened(call, call.input(1));
    if (call.integer("transpose_left", 0) != 0)
        left = mx::swapaxes(left, -1, -2, call.stream);
    if (call.integer("transpose_right", 0) != 0)
        right = mx::swapaxes(right, -1, -2, call.stream);
    return narrowed(call, mx::matmul(left, right, call.stream));
}

mx::array softmax(const Call &call)
{
    const mx::array &x = call.input(0);
    return mx::softmax(x, std::vector<int>{call.axis(x, -1)}, true, call.stream);
}

/* Weight and bias may be left out. */
std::optional<mx::array> factor(const Call &call, int input)
{
    if (input >= call.raw.input_count)
        return std::nullopt;
    return widened(call, call.input(input));
}

mx::array rms_norm(const Call &call)
{
    float epsilon = static_cast<float>(call.number("epsilon", 1e-5));
    return narrowed(call, mx::fast::rms_norm(widened(call, call.input(0)), factor(call, 1), epsilon,
                                             call.stream));
}

mx::array layer_norm(const Call &call)
{
    float epsilon = static_cast<float>(call.number("epsilon", 1e-5));
    return narrowed(call, mx::fast::layer_norm(widened(call, call.input(0)), factor(call, 1),
                                               factor(call, 2), epsilon, call.stream));
}

using Reduction = mx::array (*)(const mx::array &, const std::vector<int> &, bool,
                                mx::StreamOrDevice);

/* Over the attribute axes, or over all. The graph knows whether reduced dimensions stay. */
template <Reduction reduction> mx::array reduce(const Call &call)
{
    mx::array x = widened(call, call.input(0));
    std::vector<int> axes;
    if (hocket_attrs_has(&call.raw.attributes, "axes")) {
        for (int64_t axis : call.integers("axes"))
            axes.push_back(static_cast<int>(axis));
    } else {
        for (size_t i = 0; i < x.ndim(); i++)
            axes.push_back(static_cast<int>(i));
    }
    mx::array y = axes.empty() ? x : reduction(x, axes, false, call.stream);
    return mx::reshape(narrowed(call, y), call.shape(), call.stream);
}

mx::array nothing(const Call &call)
{
    return mx::zeros(call.shape(), call.dtype(), call.stream);
}

mx::array argmax(const Call &call)
{
    if (hocket_type_count(&call.raw.output_type) == 0)
        return nothing(call);
    const mx::array &x = call.input(0);
    return narrowed(call, mx::argmax(x, call.axis(x, -1), false, call.stream));
}

/* MLX's fused kernels for GPUs compute halves in float32 inside; on the cpu that is up to us. */
mx::array widened_on_cpu(const Call &call, int input)
{
    const mx::array &x = call.input(input);
    return call.stream.device == mx::Device::cpu ? widened(call, x) : x;
}

mx::array quantized_linear(const Call &call)
{
    mx::array x = widened_on_cpu(call, 0);
    if (x.size() == 0)
        return nothing(call);
    const auto group = static_cast<int>(call.integer("group", 32));
    const auto bits = static_cast<int>(call.integer("bits", 4));
    x = mx::reshape(x, {-1, x.shape(-1)}, call.stream);
    mx::array y = mx::quantized_matmul(x, call.input(1), call.input(2), call.input(3), true, group,
                                       bits, "affine", call.stream);
    return mx::reshape(narrowed(call, y), call.shape(), call.stream);
}

mx::array dequantize(const Call &call)
{
    if (hocket_type_count(&call.raw.output_type) == 0)
        return nothing(call);
    const auto group = static_cast<int>(call.integer("group", 32));
    const auto bits = static_cast<int>(call.integer("bits", 4));
    return narrowed(call,
                    mx::dequantize(call.input(0), widened_on_cpu(call, 1), widened_on_cpu(call, 2),
                                   group, bits, "affine", std::nullopt, std::nullopt, call.stream));
}

/* === Attention ================================================================================
 *
 * What depends on the position alone (angles, the mask, its bounds) is composed anew by each
 * operation; a compiled program computes it once for all layers. */

mx::array rope(const Call &call)
{
    if (call.input(0).size() == 0)
        return nothing(call);
    const mx::Stream s = call.stream;
    mx::array x = widened(call, call.input(0));
    const int size = x.shape(-1);
    const double base = call.number("base", 1);
    std::optional<mx::array> wavelengths;
    if (call.raw.input_count > 2) {
        mx::array even = mx::arange(0.0, size, 2.0, mx::float32, s);
        mx::array exponents = mx::divide(even, mx::array(static_cast<float>(size)), s);
        wavelengths = mx::multiply(mx::power(mx::array(static_cast<float>(base)), exponents, s),
                                   call.input(2), s);
    }
    auto rotation = wavelengths ? std::nullopt : std::optional<float>(static_cast<float>(base));
    return narrowed(call, mx::fast::rope(x, size, call.integer("interleaved", 0) != 0, rotation, 1,
                                         call.input(1), wavelengths, s));
}

/* MLX would write outside of the cache's memory. */
mx::array inside(const mx::array &position, int last, mx::Stream s)
{
    return mx::clip(position, mx::array(0), mx::array(last), s);
}

mx::array cache_update(const Call &call)
{
    const mx::array &cache = call.input(0), &rows = call.input(1);
    if (rows.size() == 0)
        return cache;
    mx::array position = inside(call.input(2), cache.shape(1) - rows.shape(1), call.stream);
    return mx::slice_update(cache, rows, mx::reshape(position, {1}, call.stream), {1}, call.stream);
}

/* Neighbouring heads of q that share neighbouring heads of k evenly: what MLX does at once. */
struct Share {
    int first, count, first_read, reads;
};

std::vector<Share> shares_of(const Call &call, int heads, int kv_heads)
{
    std::vector<int> reads;
    for (int64_t read : call.integers("heads"))
        reads.push_back(static_cast<int>(read));
    for (int head = static_cast<int>(reads.size()); head < heads; head++)
        reads.push_back(head / (heads / kv_heads));
    auto run = [&](int from) {
        int end = from;
        while (end < heads && reads[static_cast<size_t>(end)] == reads[static_cast<size_t>(from)])
            end++;
        return end - from;
    };
    std::vector<Share> shares;
    for (int head = 0; head < heads; head += run(head)) {
        const int read = reads[static_cast<size_t>(head)], length = run(head);
        if (!shares.empty()) {
            Share &last = shares.back();
            if (read == last.first_read + last.reads && length * last.reads == last.count) {
                last.count += length;
                last.reads++;
                continue;
            }
        }
        shares.push_back({head, length, read, 1});
    }
    return shares;
}

/* [1, count, rows, size] */
mx::array heads_of(const mx::array &x, int first, int count, mx::Stream s)
{
    mx::array some = x;
    if (count < x.shape(0))
        some = mx::slice(x, {first, 0, 0}, {first + count, x.shape(1), x.shape(2)}, s);
    return mx::expand_dims(some, 0, s);
}

mx::array attention(const Call &call)
{
    if (call.input(0).size() == 0)
        return nothing(call);
    const mx::Stream s = call.stream;
    mx::array q = widened_on_cpu(call, 0), k = widened_on_cpu(call, 1), v = widened_on_cpu(call, 2);
    mx::array rows = mx::add(mx::arange(q.shape(1), s), call.input(3), s);
    mx::array seen = mx::less_equal(mx::arange(k.shape(1), s), mx::expand_dims(rows, 1, s), s);
    const auto scale = static_cast<float>(call.number("scale", 1));
    std::vector<mx::array> parts;
    for (const Share &share : shares_of(call, q.shape(0), k.shape(0)))
        parts.push_back(mx::fast::scaled_dot_product_attention(
            heads_of(q, share.first, share.count, s), heads_of(k, share.first_read, share.reads, s),
            heads_of(v, share.first_read, share.reads, s), scale, "array", seen, {}, false, s));
    mx::array all = parts.size() == 1 ? parts[0] : mx::concatenate(std::move(parts), 1, s);
    return narrowed(call, mx::squeeze(all, 0, s));
}

/* === Shapes =================================================================================== */

mx::array reshape(const Call &call)
{
    return mx::reshape(call.input(0), call.shape(), call.stream);
}

mx::array transpose(const Call &call)
{
    const mx::array &x = call.input(0);
    std::vector<int> axes;
    for (int64_t axis : call.integers("axes"))
        axes.push_back(static_cast<int>(axis));
    return axes.empty() ? mx::transpose(x, call.stream) : mx::transpose(x, axes, call.stream);
}

mx::array broadcast_to(const Call &call)
{
    return mx::broadcast_to(call.input(0), call.shape(), call.stream);
}

/* The output's shape says how many elements there are, so a stop behind the last one will do. */
mx::array slice(const Call &call)
{
    const mx::array &x = call.input(0);
    std::span<const int64_t> starts = call.integers("start"), steps = call.integers("step");
    mx::Shape shape = call.shape(), start, stop, step;
    for (size_t i = 0; i < x.ndim(); i++) {
        int64_t extent = x.shape(static_cast<int>(i));
        int64_t from = starts[i] < 0 ? starts[i] + extent : starts[i];
        int64_t by = i < steps.size() ? steps[i] : 1;
        start.push_back(mlx_dimension(from));
        step.push_back(mlx_dimension(by));
        stop.push_back(mlx_dimension(shape[i] > 0 ? from + (shape[i] - 1) * by + 1 : from));
    }
    return mx::slice(x, start, stop, step, call.stream);
}

mx::array concatenate(const Call &call)
{
    std::vector<mx::array> parts;
    for (int i = 0; i < call.raw.input_count; i++)
        parts.push_back(call.input(i));
    return mx::concatenate(std::move(parts), call.axis(call.input(0), 0), call.stream);
}

mx::array take(const Call &call)
{
    const mx::array &x = call.input(0);
    return mx::take(x, call.input(1), call.axis(x, 0), call.stream);
}

/* === Collectives ============================================================================== */

hocket_reduce reduce_named(const std::string &name)
{
    if (name == "sum")
        return HOCKET_SUM;
    if (name == "mean")
        return HOCKET_MEAN;
    if (name == "max")
        return HOCKET_MAX;
    if (name == "min")
        return HOCKET_MIN;
    if (name == "prod")
        return HOCKET_PROD;
    throw Failure(HOCKET_ERR_INVALID,
                  "reduce is \"" + name + "\", which is none of sum, mean, max, min, prod");
}

Collective collective_of(const Call &call)
{
    Collective collective{};
    check(hocket_graph_group(call.integer("group", 0), &collective.group));
    collective.reduce = reduce_named(call.text("reduce", "sum"));
    if (call.raw.input_count > 0 && call.input(0).ndim() > 0)
        collective.axis = call.axis(call.input(0), 0);
    if (call.raw.after != nullptr)
        collective.after = *static_cast<mx::array *>(call.raw.after);
    return collective;
}

using ComposeCollective = mx::array (*)(const Collective &, const mx::array &);

template <ComposeCollective compose> mx::array over_group(const Call &call)
{
    return compose(collective_of(call), call.input(0));
}

int rank_named(const Call &call, const char *name)
{
    return static_cast<int>(call.integer(name, 0));
}

uint32_t tag_of(const Call &call)
{
    return static_cast<uint32_t>(call.integer("tag", 0));
}

mx::array broadcast(const Call &call)
{
    Collective collective = collective_of(call);
    return hocket::mlx::broadcast(call.input(0), collective.group, rank_named(call, "root"),
                                  collective.options());
}

mx::array permute(const Call &call)
{
    Collective collective = collective_of(call);
    std::vector<int> to;
    for (int64_t rank : call.integers("to"))
        to.push_back(static_cast<int>(rank));
    return hocket::mlx::permute(call.input(0), collective.group, to, collective.options());
}

mx::array send(const Call &call)
{
    Collective collective = collective_of(call);
    return hocket::mlx::send(call.input(0), collective.group, rank_named(call, "peer"),
                             tag_of(call), collective.options());
}

mx::array recv(const Call &call)
{
    Collective collective = collective_of(call);
    const hocket_type &type = call.raw.output_type;
    return hocket::mlx::recv(mlx_shape(type), mlx_dtype(type.dtype), collective.group,
                             rank_named(call, "peer"), tag_of(call), collective.options());
}

} // namespace

/* === The table ================================================================================ */

const hk_kernel mlx_kernels[] = {
    {"add", kernel<binary<mx::add>>, nullptr},
    {"subtract", kernel<binary<mx::subtract>>, nullptr},
    {"multiply", kernel<binary<mx::multiply>>, nullptr},
    {"divide", kernel<binary<mx::divide>>, nullptr},
    {"maximum", kernel<binary<mx::maximum>>, nullptr},
    {"minimum", kernel<binary<mx::minimum>>, nullptr},
    {"power", kernel<binary<mx::power>>, nullptr},
    {"equal", kernel<binary<mx::equal>>, nullptr},
    {"not_equal", kernel<binary<mx::not_equal>>, nullptr},
    {"less", kernel<binary<mx::less>>, nullptr},
    {"less_equal", kernel<binary<mx::less_equal>>, nullptr},
    {"greater", kernel<binary<mx::greater>>, nullptr},
    {"greater_equal", kernel<binary<mx::greater_equal>>, nullptr},
    {"where", kernel<select>, nullptr},
    {"negative", kernel<unary<mx::negative>>, nullptr},
    {"abs", kernel<unary<mx::abs>>, nullptr},
    {"exp", kernel<unary<mx::exp>>, nullptr},
    {"log", kernel<unary<mx::log>>, nullptr},
    {"sqrt", kernel<unary<mx::sqrt>>, nullptr},
    {"rsqrt", kernel<unary<mx::rsqrt>>, nullptr},
    {"sin", kernel<unary<mx::sin>>, nullptr},
    {"cos", kernel<unary<mx::cos>>, nullptr},
    {"tanh", kernel<unary<mx::tanh>>, nullptr},
    {"sigmoid", kernel<unary<mx::sigmoid>>, nullptr},
    {"silu", kernel<silu>, nullptr},
    {"gelu", kernel<gelu>, nullptr},
    {"cast", kernel<cast>, nullptr},
    {"matmul", kernel<matmul>, nullptr},
    {"softmax", kernel<softmax>, nullptr},
    {"rms_norm", kernel<by_host<rms_norm>>, nullptr},
    {"layer_norm", kernel<layer_norm>, nullptr},
    {"sum", kernel<reduce<mx::sum>>, nullptr},
    {"mean", kernel<reduce<mx::mean>>, nullptr},
    {"max", kernel<reduce<mx::max>>, nullptr},
    {"min", kernel<reduce<mx::min>>, nullptr},
    {"argmax", kernel<argmax>, nullptr},
    {"quantized_linear", kernel<by_host<quantized_linear>>, nullptr},
    {"dequantize", kernel<dequantize>, nullptr},
    {"rope", kernel<by_host<rope>>, nullptr},
    {"cache_update", kernel<by_host<cache_update>>, nullptr},
    {"attention", kernel<by_host<attention>>, nullptr},
    {"reshape", kernel<reshape>, nullptr},
    {"transpose", kernel<transpose>, nullptr},
    {"broadcast_to", kernel<broadcast_to>, nullptr},
    {"slice", kernel<slice>, nullptr},
    {"concatenate", kernel<concatenate>, nullptr},
    {"take", kernel<take>, nullptr},
    {"collective.all_reduce", kernel<over_group<compose_all_reduce>>, nullptr},
    {"collective.all_gather", kernel<over_group<compose_all_gather>>, nullptr},
    {"collective.reduce_scatter", kernel<over_group<compose_reduce_scatter>>, nullptr},
    {"collective.broadcast", kernel<broadcast>, nullptr},
    {"collective.permute", kernel<permute>, nullptr},
    {"collective.send", kernel<send>, nullptr},
    {"collective.recv", kernel<recv>, nullptr},
};
const size_t mlx_kernel_count = sizeof mlx_kernels / sizeof mlx_kernels[0];

} // namespace hk

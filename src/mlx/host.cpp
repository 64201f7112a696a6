#include "mlx/host.h"

#include <mlx/allocator.h>
#include <mlx/backend/cpu/encoder.h>
#include <mlx/primitives.h>
#include <mlx/scheduler.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <list>
#include <span>

#include "mlx/guard.h"

namespace hk
{
namespace
{

std::atomic<hk_host_fn> find_kernel = nullptr;

struct Kernel {
    hk_kernel raw{};
    bool in_place = false;
};

Kernel kernel_of(const char *op)
{
    const hk_host_fn find = find_kernel;
    Kernel kernel;
    if (find == nullptr || !find(op, &kernel.raw, &kernel.in_place))
        throw Failure(HOCKET_ERR_UNSUPPORTED, std::string("the cpu has no kernel ") + op);
    return kernel;
}

/* A call that outlives its graph, as a lazy array does. */
struct Call {
    explicit Call(const hocket_op_call &from)
        : op(from.op), types(from.input_types, from.input_types + from.input_count), raw(from)
    {
        for (hocket_attr attribute : std::span(from.attributes.items, from.attributes.count)) {
            attribute.name = texts.emplace_back(attribute.name).c_str();
            if (attribute.text != nullptr)
                attribute.text = texts.emplace_back(attribute.text).c_str();
            if (attribute.list != nullptr)
                attribute.list =
                    lists.emplace_back(attribute.list, attribute.list + attribute.count).data();
            attributes.push_back(attribute);
        }
        raw.op = op.c_str();
        raw.attributes = {attributes.data(), attributes.size()};
        raw.input_types = types.data();
    }
    Call(const Call &) = delete;
    Call &operator=(const Call &) = delete;

    std::string op;
    std::vector<hocket_type> types;
    std::list<std::string> texts;
    std::list<std::vector<int64_t>> lists;
    std::vector<hocket_attr> attributes;
    hocket_op_call raw;
};

/* An input as MLX has laid it out. MLX keeps its memory until the work on it is done. */
struct Layout {
    const char *data;
    mx::Shape shape;
    mx::Strides strides;
    size_t item;
    bool contiguous;

    explicit Layout(const mx::array &x)
        : data(x.data<char>()), shape(x.shape()), strides(x.strides()), item(x.itemsize()),
          contiguous(x.flags().row_contiguous || x.size() == 0)
    {
    }
    /* Copies dimensions from `at` on to where to points, and moves that on. */
    void gather(size_t at, const char *from, char **to) const
    {
        if (at == shape.size()) {
            memcpy(*to, from, item);
            *to += item;
            return;
        }
        const bool whole = at + 1 == shape.size() && strides[at] == 1;
        if (whole) {
            const size_t bytes = static_cast<size_t>(shape[at]) * item;
            memcpy(*to, from, bytes);
            *to += bytes;
        }
        for (int i = 0; !whole && i < shape[at]; i++)
            gather(at + 1, from + i * strides[at] * static_cast<int64_t>(item), to);
    }
    size_t bytes() const
    {
        size_t count = item;
        for (int extent : shape)
            count *= static_cast<size_t>(extent);
        return count;
    }
};

/* What runs on MLX's thread. */
void run(const Call &kept, const hk_kernel &kernel, const std::vector<Layout> &inputs, void *output)
{
    hocket_op_call call = kept.raw;
    std::vector<void *> pointers;
    std::list<std::vector<char>> copies;
    for (const Layout &input : inputs) {
        const char *data = input.data;
        if (!input.contiguous) {
            char *to = copies.emplace_back(input.bytes()).data();
            data = to;
            input.gather(0, input.data, &to);
        }
        pointers.push_back(const_cast<char *>(data));
    }
    call.inputs = pointers.data();
    call.output = output;
    call.context = kernel.context;
    check(kernel.run(&call));
}

class HostPrimitive : public mx::UnaryPrimitive
{
public:
    HostPrimitive(mx::Stream stream, const hocket_op_call &call)
        : UnaryPrimitive(stream), call_(std::make_shared<Call>(call)),
          kernel_(kernel_of(call.op))
    {
    }

    const char *name() const override
    {
        return "HocketHost";
    }
    void eval_cpu(const std::vector<mx::array> &inputs, mx::array &output) override
    {
        if (writes_over(inputs[0], output))
            output.copy_shared_buffer(inputs[0]);
        else
            output.set_data(mx::allocator::malloc(output.nbytes()));
        mx::cpu::CommandEncoder &encoder = mx::cpu::get_command_encoder(stream());
        std::vector<Layout> layouts;
        for (const mx::array &input : inputs) {
            encoder.set_input_array(input);
            layouts.emplace_back(input);
        }
        encoder.set_output_array(output);
        /* MLX goes on after a failure; what has failed must not become an index or a position. */
        encoder.dispatch([call = call_, kernel = kernel_.raw, layouts = std::move(layouts),
                          to = output.data<char>(), stream = stream()] {
            mx::scheduler::check_error(stream);
            run(*call, kernel, layouts, to);
        });
    }
    void eval_gpu(const std::vector<mx::array> &, mx::array &) override
    {
        throw Failure(HOCKET_ERR_UNSUPPORTED, call_->op + " by the host runs on MLX's cpu stream");
    }

private:
    bool writes_over(const mx::array &x, const mx::array &output) const
    {
        return kernel_.in_place && x.is_donatable() && x.flags().row_contiguous &&
               x.shape() == output.shape() && x.dtype() == output.dtype();
    }

    std::shared_ptr<const Call> call_;
    const Kernel kernel_;
};

} // namespace

void adopt_host_kernels(hk_host_fn find)
{
    find_kernel = find;
}

mx::array compose_on_host(const hocket_op_call &call, mx::Stream stream)
{
    std::vector<mx::array> inputs;
    for (int i = 0; i < call.input_count; i++)
        inputs.push_back(*static_cast<mx::array *>(call.inputs[i]));
    return mx::array(mlx_shape(call.output_type), mlx_dtype(call.output_type.dtype),
                     std::make_shared<HostPrimitive>(stream, call), std::move(inputs));
}

} // namespace hk

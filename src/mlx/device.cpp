/* The device `mlx`: a handle is a heap-allocated mlx::core::array. */
#include "mlx/tables.h"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <unistd.h>

#include "mlx/guard.h"
#include "mlx/host.h"
#include "mlx/lanes.h"

namespace hk
{
namespace
{

mx::array &array_of(void *handle)
{
    return *static_cast<mx::array *>(handle);
}

hocket_status upload(const hocket_type *type, const void *data, void **handle)
{
    return guard("upload to mlx", [&] {
        *handle = new mx::array(array_from_host(data, mlx_shape(*type), mlx_dtype(type->dtype)));
    });
}

void release(void *handle)
{
    delete static_cast<mx::array *>(handle);
}

hocket_status evaluate_handles(void *const *handles, int count)
{
    return guard(nullptr, [&] {
        std::vector<mx::array> arrays;
        for (int i = 0; i < count; i++)
            arrays.push_back(array_of(handles[i]));
        evaluate(std::move(arrays));
    });
}

hocket_status read(void *handle, const hocket_type *type, void *buffer)
{
    return guard(nullptr, [&] {
        mx::array array = array_of(handle);
        evaluate({array});
        if (!array.flags().row_contiguous) {
            array = mx::contiguous(array, false, lane().cpu);
            evaluate({array});
        }
        size_t bytes = hocket_type_bytes(type);
        if (array.nbytes() != bytes)
            throw Failure(HOCKET_ERR_INVALID, "the array has " + std::to_string(array.nbytes()) +
                                                  " bytes, its type " + std::to_string(bytes));
        if (bytes > 0)
            memcpy(buffer, array.data<char>(), bytes);
    });
}

/* === Compiled mode ============================================================================
 *
 * MLX traces the composing function once for each thread that runs the program and fuses what it
 * can. Collectives are never merged, reordered or dropped: the graph layer makes the last of them a
 * result, and each depends on the one before it. */

struct Program {
    hk_compose_fn compose;
    void *context;
    size_t input_count, result_count;
    std::function<std::vector<mx::array>(const std::vector<mx::array> &)> compiled;

    /* Handles for the arrays, and arrays for the handles that come back. */
    std::vector<mx::array> run(const std::vector<mx::array> &arrays) const
    {
        std::vector<mx::array> inputs = arrays;
        std::vector<void *> handles, results(result_count, nullptr);
        for (mx::array &input : inputs)
            handles.push_back(&input);
        check(compose(context, handles.data(), results.data()));
        std::vector<mx::array> made;
        for (void *result : results) {
            made.push_back(array_of(result));
            release(result);
        }
        return made;
    }
};

/* MLX fuses kernels for the cpu with the C++ compiler that it finds when it runs. */
bool has_compiler()
{
    const char *path = getenv("PATH");
    std::string rest = path ? path : "";
    while (!rest.empty()) {
        size_t end = rest.find(':');
        if (access((rest.substr(0, end) + "/g++").c_str(), X_OK) == 0)
            return true;
        rest = end == std::string::npos ? "" : rest.substr(end + 1);
    }
    return false;
}

hocket_status trace(hk_compose_fn compose, void *context, int input_count, int result_count,
                    void **handle)
{
    return guard("compile for mlx", [&] {
        auto program = std::make_unique<Program>();
        program->compose = compose;
        program->context = context;
        program->input_count = static_cast<size_t>(input_count);
        program->result_count = static_cast<size_t>(result_count);
        std::function<std::vector<mx::array>(const std::vector<mx::array> &)> run =
            [program = program.get()](const std::vector<mx::array> &arrays) {
                return program->run(arrays);
            };
        const bool fuses = mx::default_device() != mx::Device::cpu || has_compiler();
        program->compiled = fuses ? mx::compile(run) : run;
        *handle = program.release();
    });
}

hocket_status run_program(void *handle, void *const *inputs, void **results)
{
    const Program &program = *static_cast<Program *>(handle);
    for (size_t i = 0; i < program.result_count; i++)
        results[i] = nullptr;
    hocket_status status = guard(nullptr, [&] {
        std::vector<mx::array> arrays;
        for (size_t i = 0; i < program.input_count; i++)
            arrays.push_back(array_of(inputs[i]));
        std::vector<mx::array> made = program.compiled(arrays);
        for (size_t i = 0; i < program.result_count; i++)
            results[i] = new mx::array(made[i]);
    });
    for (size_t i = 0; status != HOCKET_OK && i < program.result_count; i++) {
        release(results[i]);
        results[i] = nullptr;
    }
    return status;
}

void free_program(void *handle)
{
    delete static_cast<Program *>(handle);
}

} // namespace

const hk_device mlx_device = {
    .size = sizeof(hk_device),
    .name = "mlx",
    .composes = true,
    .kernels = mlx_kernels,
    .kernel_count = mlx_kernel_count,
    .upload = upload,
    .read = read,
    .release = release,
    .evaluate = evaluate_handles,
    .trace = trace,
    .run_program = run_program,
    .free_program = free_program,
    .adopt = adopt_host_kernels,
};

} // namespace hk

/* GGUF files: MLX's reader decodes what libhocket has cut out of one. It keeps a quantized weight
 * as three arrays, packed words, scales and biases; here they become one where float32 is asked
 * for. */
#include "mlx/tables.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "mlx/guard.h"
#include "mlx/lanes.h"

struct hk_gguf_loaded {
    std::unordered_map<std::string, mlx::core::array> arrays;
    std::unordered_map<std::string, std::vector<std::string>> texts;
    std::unordered_map<std::string, std::vector<double>> numbers;
};

namespace hk
{
namespace
{

constexpr int kWordBits = 32;
constexpr size_t kMade = 16 << 20;
std::atomic<size_t> made_bytes = 0; /* of arrays, since it was last tidied */

const mx::array &find(const hk_gguf_loaded &loaded, const std::string &role)
{
    auto found = loaded.arrays.find(role);
    if (found == loaded.arrays.end())
        throw Failure(HOCKET_ERR_UNSUPPORTED, "this version of MLX makes no '" + role + "' of it");
    return found->second;
}

/* What is whole costs no evaluation, which takes longer than it does to read a small array. */
mx::array cut(const mx::array &array, const hocket_gguf_part &part)
{
    const auto axis = static_cast<size_t>(part.axis);
    if (part.start == 0 && part.stop == array.shape(part.axis))
        return array;
    mx::Shape start(array.ndim(), 0), stop = array.shape();
    start[axis] = mlx_dimension(part.start);
    stop[axis] = mlx_dimension(part.stop);
    return mx::slice(array, start, stop, lane().compute);
}

mx::array as_float(const mx::array &array)
{
    return mx::astype(array, mx::float32, lane().compute);
}

/* A quantized weight as float32. */
mx::array unpack(const hk_gguf_loaded &loaded, const mx::array &words)
{
    const mx::array &scales = find(loaded, HK_GGUF_SCALES);
    /* kWordBits / bits elements are in a word, and a group of them has one scale. */
    const int bits = words.shape(-1) * kWordBits / (scales.shape(-1) * HK_GGUF_GROUP);
    return mx::dequantize(words, as_float(scales), as_float(find(loaded, HK_GGUF_BIASES)),
                          HK_GGUF_GROUP, bits, "affine", std::nullopt, std::nullopt,
                          lane().compute);
}

/* Columns are cut after they are unpacked, as a group of them need not begin where the part does.
 */
mx::array compose(const hk_gguf_loaded &loaded, const std::string &role, hocket_gguf_form form,
                  const hocket_gguf_part &part)
{
    const mx::array &array = find(loaded, role);
    if (form == HOCKET_GGUF_STORED)
        return cut(array, part);
    const bool packed = role == HK_GGUF_WEIGHT && loaded.arrays.contains(HK_GGUF_SCALES);
    return packed ? cut(unpack(loaded, array), part) : as_float(cut(array, part));
}

void take_metadata(hk_gguf_loaded &loaded,
                   const std::unordered_map<std::string, mx::GGUFMetaData> &metadata)
{
    std::unordered_map<std::string, mx::array> lists;
    std::vector<mx::array> all;
    for (const auto &[key, value] : metadata) {
        if (auto text = std::get_if<std::string>(&value)) {
            loaded.texts[key] = {*text};
        } else if (auto texts = std::get_if<std::vector<std::string>>(&value)) {
            loaded.texts[key] = *texts;
        } else if (auto number = std::get_if<mx::array>(&value)) {
            all.push_back(mx::astype(*number, mx::float64, lane().cpu));
            lists.emplace(key, all.back());
        }
    }
    evaluate(std::move(all));
    for (const auto &[key, list] : lists)
        loaded.numbers[key].assign(list.data<double>(), list.data<double>() + list.size());
}

hocket_status load(const char *path, hk_gguf_loaded **loaded)
{
    return guard(nullptr, [&] {
        auto made = std::make_unique<hk_gguf_loaded>();
        mx::GGUFLoad read = mx::load_gguf(path);
        made->arrays = std::move(read.first);
        if (!read.second.empty())
            take_metadata(*made, read.second);
        for (const auto &entry : made->arrays)
            made_bytes += entry.second.nbytes();
        *loaded = made.release();
    });
}

/* MLX keeps memory for its next arrays; in sum a model's worth of it, which should go back. */
void tidy()
{
    made_bytes = 0;
    (void)guard(nullptr, [] { mx::clear_cache(); });
}

/* Tidying takes longer than it does to read a small tensor, so it waits for some of them. */
void unload(hk_gguf_loaded *loaded)
{
    delete loaded;
    if (made_bytes >= kMade)
        tidy();
}

hocket_status find_layout(const hk_gguf_loaded *loaded, unsigned elements, hocket_dtype *dtype,
                          unsigned *bits)
{
    return guard(nullptr, [&] {
        const mx::array &words = find(*loaded, HK_GGUF_WEIGHT);
        const bool packed = loaded->arrays.contains(HK_GGUF_SCALES);
        *dtype = dtype_of(words.dtype());
        *bits = packed ? static_cast<unsigned>(words.shape(-1)) * kWordBits / elements : 0;
    });
}

hocket_status make_array(const hk_gguf_loaded *loaded, const char *role, hocket_gguf_form form,
                         const hocket_gguf_part *part, const hocket_type *type, void **handle)
{
    return guard(nullptr, [&] {
        /* contiguous copies what is a small part of its memory, so that the rest can go. */
        mx::array made = mx::contiguous(compose(*loaded, role, form, *part), false, lane().compute);
        if (made.shape() != mlx_shape(*type) || made.dtype() != mlx_dtype(type->dtype))
            throw Failure(HOCKET_ERR_UNSUPPORTED,
                          "this version of MLX makes arrays of another type of it");
        evaluate({made});
        made_bytes += made.nbytes();
        *handle = new mx::array(std::move(made));
    });
}

size_t count_values(const hk_gguf_loaded *loaded, const char *key)
{
    size_t count = 0;
    (void)guard(nullptr, [&] {
        if (auto texts = loaded->texts.find(key); texts != loaded->texts.end())
            count = texts->second.size();
        else if (auto numbers = loaded->numbers.find(key); numbers != loaded->numbers.end())
            count = numbers->second.size();
    });
    return count;
}

template <typename Values>
const auto &value_at(const Values &values, const char *what, const char *key, size_t index)
{
    auto found = values.find(key);
    if (found == values.end() || index >= found->second.size())
        throw Failure(HOCKET_ERR_INVALID, std::string("there is no ") + what + " '" + key +
                                              "' number " + std::to_string(index));
    return found->second[index];
}

hocket_status find_text(const hk_gguf_loaded *loaded, const char *key, size_t index,
                        const char **text, size_t *length)
{
    return guard(nullptr, [&] {
        const std::string &value = value_at(loaded->texts, "text", key, index);
        *text = value.c_str();
        if (length)
            *length = value.size();
    });
}

hocket_status find_number(const hk_gguf_loaded *loaded, const char *key, size_t index,
                          double *number)
{
    return guard(nullptr, [&] { *number = value_at(loaded->numbers, "number", key, index); });
}

} // namespace

const hk_gguf_table mlx_gguf = {
    .load = load,
    .unload = unload,
    .layout = find_layout,
    .tidy = tidy,
    .array = make_array,
    .value_count = count_values,
    .text = find_text,
    .number = find_number,
};

} // namespace hk

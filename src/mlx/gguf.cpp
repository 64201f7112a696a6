/* GGUF files: MLX's reader does the work. It keeps a quantized weight as three arrays, packed
 * words, scales and biases; here they become one again where float32 is asked for. */
#include "mlx/tables.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "mlx/guard.h"
#include "mlx/lanes.h"

struct hocket_gguf {
    std::string path;
    std::unordered_map<std::string, mlx::core::array> arrays;
    std::vector<std::string> names; /* sorted */
    std::unordered_map<std::string, std::vector<std::string>> texts;
    std::unordered_map<std::string, std::vector<double>> numbers;
};

namespace hk
{
namespace
{

/* All quantized kinds of GGUF that MLX reads come in groups of this size. */
constexpr int kGroup = 32;
const std::string kWeight = ".weight";

const mx::array &find(const hocket_gguf &file, const std::string &name)
{
    auto found = file.arrays.find(name);
    if (found == file.arrays.end())
        throw Failure(HOCKET_ERR_INVALID, file.path + " has no array '" + name + "'");
    return found->second;
}

/* The other two arrays of a quantized weight. */
struct Quantized {
    const mx::array &scales, &biases;
    int bits;
};

std::optional<Quantized> quantized(const hocket_gguf &file, const std::string &name,
                                   const mx::array &words)
{
    if (words.dtype() != mx::uint32 || !name.ends_with(kWeight))
        return std::nullopt;
    const std::string stem = name.substr(0, name.size() - kWeight.size());
    auto scales = file.arrays.find(stem + ".scales"), biases = file.arrays.find(stem + ".biases");
    if (scales == file.arrays.end() || biases == file.arrays.end() || scales->second.size() == 0)
        return std::nullopt;
    /* 32 / bits elements are in a word, and kGroup of them have one scale. */
    const int bits = words.shape(-1) * 32 / (scales->second.shape(-1) * kGroup);
    return Quantized{scales->second, biases->second, bits};
}

mx::Shape shape_of(const hocket_gguf &file, const std::string &name, hocket_gguf_form form)
{
    const mx::array &array = find(file, name);
    mx::Shape shape = array.shape();
    if (form == HOCKET_GGUF_FLOAT32)
        if (auto packed = quantized(file, name, array))
            shape.back() = packed->scales.shape(-1) * kGroup;
    return shape;
}

hocket_type type_of(const mx::Shape &shape, hocket_dtype dtype)
{
    const std::vector<int64_t> dims(shape.begin(), shape.end());
    hocket_type type;
    check(hocket_type_make(dtype, static_cast<int>(dims.size()), dims.data(), &type));
    return type;
}

mx::array cut(const mx::array &array, const hocket_gguf_part *part)
{
    if (part == nullptr)
        return array;
    const auto axis = static_cast<size_t>(part->axis);
    mx::Shape start(array.ndim(), 0), stop = array.shape();
    start[axis] = mlx_dimension(part->start);
    stop[axis] = mlx_dimension(part->stop);
    return mx::slice(array, start, stop, lane().compute);
}

mx::array as_float(const mx::array &array)
{
    return mx::astype(array, mx::float32, lane().compute);
}

/* Composes what is asked for. Rows are cut before they are unpacked; columns after, as a group of
 * them need not begin where the part does; and nothing after, which MLX would not unpack. */
mx::array compose(const hocket_gguf &file, const std::string &name, hocket_gguf_form form,
                  const hocket_gguf_part *part)
{
    const mx::array &array = find(file, name);
    const auto packed =
        form == HOCKET_GGUF_FLOAT32 ? quantized(file, name, array) : std::optional<Quantized>();
    if (!packed)
        return form == HOCKET_GGUF_FLOAT32 ? as_float(cut(array, part)) : cut(array, part);
    const bool rows =
        part && part->start < part->stop && static_cast<size_t>(part->axis) + 1 < array.ndim();
    const hocket_gguf_part *before = rows ? part : nullptr;
    mx::array whole = mx::dequantize(cut(array, before), as_float(cut(packed->scales, before)),
                                     as_float(cut(packed->biases, before)), kGroup, packed->bits,
                                     "affine", std::nullopt, std::nullopt, lane().compute);
    return rows ? whole : cut(whole, part);
}

/* The part with its axis counted from the first; throws when it does not lie inside. */
hocket_gguf_part inside(const std::string &name, const mx::Shape &shape, hocket_gguf_part part)
{
    const int rank = static_cast<int>(shape.size());
    if (part.axis < -rank || part.axis >= rank)
        throw Failure(HOCKET_ERR_INVALID, name + " has " + std::to_string(rank) +
                                              " dimensions, none is axis " +
                                              std::to_string(part.axis));
    if (part.axis < 0)
        part.axis += rank;
    const int64_t length = shape[static_cast<size_t>(part.axis)];
    if (part.start < 0 || part.start > part.stop || part.stop > length)
        throw Failure(HOCKET_ERR_INVALID, name + " has " + std::to_string(length) + " along axis " +
                                              std::to_string(part.axis) + "; " +
                                              std::to_string(part.start) + " to " +
                                              std::to_string(part.stop) + " does not lie inside");
    return part;
}

void take_metadata(hocket_gguf &file,
                   const std::unordered_map<std::string, mx::GGUFMetaData> &metadata)
{
    std::unordered_map<std::string, mx::array> lists;
    std::vector<mx::array> all;
    for (const auto &[key, value] : metadata) {
        if (auto text = std::get_if<std::string>(&value)) {
            file.texts[key] = {*text};
        } else if (auto texts = std::get_if<std::vector<std::string>>(&value)) {
            file.texts[key] = *texts;
        } else if (auto number = std::get_if<mx::array>(&value)) {
            all.push_back(mx::astype(*number, mx::float64, lane().cpu));
            lists.emplace(key, all.back());
        }
    }
    evaluate(std::move(all));
    for (const auto &[key, list] : lists)
        file.numbers[key].assign(list.data<double>(), list.data<double>() + list.size());
}

hocket_status open_file(const char *path, hocket_gguf **file)
{
    return guard(nullptr, [&] {
        auto made = std::make_unique<hocket_gguf>();
        made->path = path;
        mx::GGUFLoad loaded = mx::load_gguf(path);
        made->arrays = std::move(loaded.first);
        take_metadata(*made, loaded.second);
        for (const auto &entry : made->arrays)
            made->names.push_back(entry.first);
        std::sort(made->names.begin(), made->names.end());
        *file = made.release();
    });
}

/* MLX keeps memory for its next arrays; a model's worth of it should go back. */
void close_file(hocket_gguf *file)
{
    delete file;
    (void)guard(nullptr, [] { mx::clear_cache(); });
}

size_t count_arrays(const hocket_gguf *file)
{
    return file->names.size();
}

const char *name_of(const hocket_gguf *file, size_t index)
{
    return file->names[index].c_str();
}

hocket_status find_type(const hocket_gguf *file, const char *name, hocket_gguf_form form,
                        hocket_type *type)
{
    return guard(nullptr, [&] {
        const hocket_dtype stored = hocket_dtype_of(find(*file, name).dtype());
        *type = type_of(shape_of(*file, name, form),
                        form == HOCKET_GGUF_FLOAT32 ? HOCKET_FLOAT32 : stored);
    });
}

hocket_status make_array(const hocket_gguf *file, const char *name, hocket_gguf_form form,
                         const hocket_gguf_part *part, hocket_type *type, void **handle)
{
    return guard(name, [&] {
        hocket_gguf_part checked{};
        if (part)
            checked = inside(name, shape_of(*file, name, form), *part);
        /* contiguous copies what is a small part of its memory, so that the rest can go. */
        mx::array made = mx::contiguous(compose(*file, name, form, part ? &checked : nullptr),
                                        false, lane().compute);
        evaluate({made});
        *type = type_of(made.shape(), hocket_dtype_of(made.dtype()));
        *handle = new mx::array(std::move(made));
    });
}

size_t count_values(const hocket_gguf *file, const char *key)
{
    size_t count = 0;
    (void)guard(nullptr, [&] {
        if (auto texts = file->texts.find(key); texts != file->texts.end())
            count = texts->second.size();
        else if (auto numbers = file->numbers.find(key); numbers != file->numbers.end())
            count = numbers->second.size();
    });
    return count;
}

template <typename Values>
const auto &value_at(const hocket_gguf &file, const Values &values, const char *what,
                     const char *key, size_t index)
{
    auto found = values.find(key);
    if (found == values.end() || index >= found->second.size())
        throw Failure(HOCKET_ERR_INVALID, file.path + " has no " + what + " '" + key + "' number " +
                                              std::to_string(index));
    return found->second[index];
}

hocket_status find_text(const hocket_gguf *file, const char *key, size_t index, const char **text,
                        size_t *length)
{
    return guard(nullptr, [&] {
        const std::string &value = value_at(*file, file->texts, "text", key, index);
        *text = value.c_str();
        if (length)
            *length = value.size();
    });
}

hocket_status find_number(const hocket_gguf *file, const char *key, size_t index, double *number)
{
    return guard(nullptr, [&] { *number = value_at(*file, file->numbers, "number", key, index); });
}

} // namespace

const hk_gguf_table mlx_gguf = {
    .open = open_file,
    .close = close_file,
    .count = count_arrays,
    .name = name_of,
    .type = find_type,
    .array = make_array,
    .value_count = count_values,
    .text = find_text,
    .number = find_number,
};

} // namespace hk

// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Finds the query, key and value tensors of a file and fits them together.
#include "lib/eval/tensor_source.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <string_view>
#include <utility>

#include "heed/attention.h"
#include "lib/eval/cut_layer.h"
#include "lib/io/input_error.h"
#include "lib/io/quoted.h"
#include "lib/io/safetensors.h"

namespace heed::eval {
namespace {

using io::InputError;
using io::Quoted;
using io::SafetensorsEntry;
using io::SafetensorsFile;
using io::SafetensorsHeader;

// What the library serves. Asked before the output is made: a small file can
// name a long query and a wide value, whose output is their product.
constexpr int64_t kMaxHeadDim = 1024;

// The three tensors under one prefix.
struct Triple {
  const SafetensorsEntry* part[3] = {};  // query, key, value
};

constexpr const char* kPartNames[] = {"query", "key", "value"};

// Splits "layer.2.query" into "layer.2." and 0; returns -1 for other names.
int SplitName(const std::string& name, std::string* prefix) {
  const size_t separator = name.find_last_of("._/-");
  const size_t begin = separator == std::string::npos ? 0 : separator + 1;
  const std::string_view last = std::string_view(name).substr(begin);
  for (int i = 0; i < 3; ++i) {
    const std::string_view part = kPartNames[i];
    if (last == part || last == part.substr(0, 1)) {
      *prefix = name.substr(0, begin);
      return i;
    }
  }
  return -1;
}

// The last number in the prefix: 2 of "model.layers.2.attn."; -1 where none.
int64_t LayerNumber(const std::string& prefix) {
  const size_t last = prefix.find_last_of("0123456789");
  if (last == std::string::npos) return -1;
  const size_t before = prefix.find_last_not_of("0123456789", last);
  const size_t first = before == std::string::npos ? 0 : before + 1;
  int64_t number = -1;
  std::from_chars(prefix.data() + first, prefix.data() + last + 1, number);
  return number;
}

// "1, 2, 3", and "..." where a file gives more than a reader wants.
std::string List(const std::vector<int64_t>& numbers) {
  constexpr size_t kMostListed = 32;
  std::string text;
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (i > 0) text += ", ";
    if (i == kMostListed) return text + "...";
    text += std::to_string(numbers[i]);
  }
  return text;
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return "[" + List(shape) + "]";
}

struct Extents {
  int64_t batch, seqlen, heads, head_dim;
};

Extents ExtentsOf(const SafetensorsEntry& entry, Layout layout) {
  const std::vector<int64_t>& shape = entry.shape;
  if (shape.size() != 3 && shape.size() != 4) {
    throw InputError("tensor " + Quoted(entry.name) + " has shape " +
                     ShapeText(shape) + "; 3 or 4 extents are needed");
  }
  const size_t at = shape.size() - 3;
  Extents extents{at == 1 ? shape[0] : 1, shape[at], shape[at + 1],
                  shape[at + 2]};
  if (layout == Layout::kBhsd) std::swap(extents.seqlen, extents.heads);
  if (extents.head_dim > kMaxHeadDim) {
    throw InputError("tensor " + Quoted(entry.name) + " has shape " +
                     ShapeText(shape) + "; head_dim is at most " +
                     std::to_string(kMaxHeadDim));
  }
  for (const int64_t extent : shape) {
    if (extent == 0) {
      throw InputError("tensor " + Quoted(entry.name) +
                       " is empty: its shape is " + ShapeText(shape));
    }
  }
  return extents;
}

// Reads a tensor and keeps its first `tokens` positions.
Tensor ReadTensor(const SafetensorsFile& file, const SafetensorsEntry& entry,
                  const Extents& extents, int64_t tokens, Layout layout) {
  const std::vector<float> values = file.Read(entry);
  if (!std::all_of(values.begin(), values.end(),
                   [](float value) { return std::isfinite(value); })) {
    throw InputError("tensor " + Quoted(entry.name) +
                     " holds values that are NaN or infinite");
  }
  Tensor tensor = MakeTensor(extents.batch, tokens, extents.heads,
                             extents.head_dim, layout);
  const int64_t seqlen_stride = layout == Layout::kBhsd
                                    ? extents.head_dim
                                    : extents.heads * extents.head_dim;
  const int64_t heads_stride = layout == Layout::kBhsd
                                   ? extents.seqlen * extents.head_dim
                                   : extents.head_dim;
  const int64_t batch_stride =
      extents.seqlen * extents.heads * extents.head_dim;
  for (int64_t b = 0; b < extents.batch; ++b) {
    for (int64_t s = 0; s < tokens; ++s) {
      for (int64_t h = 0; h < extents.heads; ++h) {
        std::memcpy(tensor.At(b, s, h),
                    values.data() + b * batch_stride + s * seqlen_stride +
                        h * heads_stride,
                    static_cast<size_t>(extents.head_dim) * sizeof(float));
      }
    }
  }
  return tensor;
}

[[noreturn]] void ShapesDisagree(const Triple& triple, const char* why) {
  std::string text = "the shapes do not fit together: ";
  for (const SafetensorsEntry* part : triple.part) {
    text += Quoted(part->name) + " " + ShapeText(part->shape) +
            (part == triple.part[2] ? "; " : ", ");
  }
  throw InputError(text + why);
}

AttentionShape FitShapes(const Triple& triple, Layout layout) {
  const Extents query = ExtentsOf(*triple.part[0], layout);
  const Extents key = ExtentsOf(*triple.part[1], layout);
  const Extents value = ExtentsOf(*triple.part[2], layout);
  if (query.batch != key.batch || key.batch != value.batch) {
    ShapesDisagree(triple, "the batch extents differ");
  }
  if (query.head_dim != key.head_dim) {
    ShapesDisagree(triple, "query and key differ in head_dim");
  }
  if (key.seqlen != value.seqlen || key.heads != value.heads) {
    ShapesDisagree(triple, "key and value differ in seqlen or heads");
  }
  if (query.heads % key.heads != 0) {
    ShapesDisagree(triple,
                   "the query's heads are not a multiple of the key's (is the "
                   "layout right?)");
  }
  AttentionShape shape;
  shape.batch = query.batch;
  shape.seqlen_q = query.seqlen;
  shape.seqlen_k = key.seqlen;
  shape.num_heads = query.heads;
  shape.num_kv_heads = key.heads;
  shape.head_dim = query.head_dim;
  shape.head_dim_v = value.head_dim;
  return shape;
}

// The complete triples of a file by layer number, then prefix.
std::map<std::pair<int64_t, std::string>, Triple> FindTriples(
    const SafetensorsHeader& header) {
  std::map<std::pair<int64_t, std::string>, Triple> triples;
  for (const SafetensorsEntry& entry : header.entries) {
    std::string prefix;
    const int part = SplitName(entry.name, &prefix);
    if (part < 0) continue;
    const SafetensorsEntry*& slot =
        triples[{LayerNumber(prefix), prefix}].part[part];
    if (slot != nullptr) {
      throw InputError("has both " + Quoted(slot->name) + " and " +
                       Quoted(entry.name));
    }
    slot = &entry;
  }
  if (triples.empty()) {
    throw InputError(
        "has no tensors named query, key and value, such as "
        "'layer.0.query'");
  }
  for (const auto& [key, triple] : triples) {
    for (int i = 0; i < 3; ++i) {
      if (triple.part[i] == nullptr) {
        throw InputError("has no tensor " + Quoted(key.second + kPartNames[i]));
      }
    }
  }
  return triples;
}

// The prefix without its end. It goes to the progress line and into the CSV.
std::string LayerName(std::string_view prefix) {
  if (!prefix.empty()) prefix.remove_suffix(1);
  return prefix.empty() ? "attention" : io::Printable(prefix);
}

// What the tensors of a problem take, its outputs also in double as the truth.
double BytesOf(const AttentionShape& s) {
  const double rows = static_cast<double>(s.batch * s.num_heads) *
                      static_cast<double>(s.seqlen_q);
  const double keys = static_cast<double>(s.batch * s.num_kv_heads) *
                      static_cast<double>(s.seqlen_k);
  const double dim = static_cast<double>(s.head_dim);
  const double dim_v = static_cast<double>(s.head_dim_v);
  return 4 * (rows + keys) * dim + 4 * keys * dim_v +
         (4 + 8) * rows * (dim_v + 1);
}

// A few bytes of file or text can ask for any size of output. What does not fit
// the machine is refused before the system has to end someone.
void CheckMemory(const std::string& where, double bytes) {
  const double machine = static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
                         static_cast<double>(sysconf(_SC_PAGESIZE));
  constexpr double kGiB = 1 << 30;
  if (bytes <= machine) return;
  throw InputError(where + "needs " +
                   std::to_string(std::llround(std::ceil(bytes / kGiB))) +
                   " GiB of memory, and the machine has " +
                   std::to_string(std::llround(machine / kGiB)));
}

// The oracles, which come before any attention, take what is asked on trust.
void CheckPlan(const std::string& where, const AttentionParams& params,
               const AttentionShape& shape) {
  Plan plan;
  const Status status = MakePlan(params, shape, {}, &plan);
  if (!status.ok()) throw InputError(where + ToString(status));
}

// The shape of a layer, cut to the tokens asked for.
AttentionShape ShapeOfLayer(const std::string& name, const Triple& triple,
                            const CaptureOptions& options) {
  AttentionShape shape = FitShapes(triple, options.layout);
  if (options.tokens == 0) return shape;
  if (shape.seqlen_q != shape.seqlen_k) {
    throw InputError(Quoted(name) + " has " + std::to_string(shape.seqlen_q) +
                     " queries of " + std::to_string(shape.seqlen_k) +
                     " keys: the first tokens of both are not one problem");
  }
  if (options.tokens > shape.seqlen_q) {
    throw InputError(Quoted(name) + " has " + std::to_string(shape.seqlen_q) +
                     " tokens, not " + std::to_string(options.tokens));
  }
  shape.seqlen_q = shape.seqlen_k = options.tokens;
  return shape;
}

Layer LoadLayer(const SafetensorsFile& file, const std::string& prefix,
                const Triple& triple, const AttentionParams& params,
                const CaptureOptions& options) {
  Layer layer;
  layer.name = LayerName(prefix);
  Tensors& tensors = layer.tensors;
  const AttentionShape shape = ShapeOfLayer(layer.name, triple, options);
  Tensor* const parts[] = {&tensors.query, &tensors.key, &tensors.value};
  for (int i = 0; i < 3; ++i) {
    const Extents extents = ExtentsOf(*triple.part[i], options.layout);
    *parts[i] =
        ReadTensor(file, *triple.part[i], extents,
                   i == 0 ? shape.seqlen_q : shape.seqlen_k, options.layout);
  }
  tensors.problem = io::Problem{shape, params};
  tensors.out = MakeTensor(shape.batch, shape.seqlen_q, shape.num_heads,
                           shape.head_dim_v, options.layout);
  tensors.lse = MakeTensor(shape.batch, shape.seqlen_q, shape.num_heads, 1,
                           options.layout);
  return layer;
}

TensorSource LoadLayers(const SafetensorsFile& file,
                        const CaptureOptions& options) {
  TensorSource source;
  source.name = file.path();
  source.metadata = file.header().metadata;
  const AttentionParams params = ReadParams(source.metadata, options.params);
  const auto triples = FindTriples(file.header());
  for (const io::NumberRange& wanted : options.layers) {
    const auto it = triples.lower_bound({wanted.first, ""});
    if (it == triples.end() || !wanted.Holds(it->first.first)) {
      std::vector<int64_t> known;
      for (const auto& [key, triple] : triples) known.push_back(key.first);
      throw InputError("has no layer " + FormatRange(wanted) + "; it has " +
                       List(known));
    }
  }
  const auto chosen = [&options](int64_t layer) {
    return options.layers.empty() || AnyHolds(options.layers, layer);
  };
  double bytes = 0;  // all layers are held at once
  for (const auto& [key, triple] : triples) {
    if (!chosen(key.first)) continue;
    const AttentionShape shape =
        ShapeOfLayer(LayerName(key.second), triple, options);
    CheckPlan("", params, shape);
    bytes += BytesOf(shape);
  }
  CheckMemory("", bytes);
  for (const auto& [key, triple] : triples) {
    if (!chosen(key.first)) continue;
    source.layers.push_back(
        LoadLayer(file, key.second, triple, params, options));
    if (options.heads.empty()) continue;
    KeepHeads(options.heads, options.layout, &source.layers.back());
  }
  return source;
}

}  // namespace

TensorSource LoadCapture(const std::string& path,
                         const CaptureOptions& options) {
  const SafetensorsFile file(path);
  try {
    return LoadLayers(file, options);
  } catch (const InputError& error) {
    const std::string what = error.what();
    if (what.starts_with("'")) throw;  // already names the file
    if (what.starts_with("has ")) throw InputError("'" + path + "' " + what);
    throw InputError("'" + path + "': " + what);
  }
}

TensorSource MakeSynthetic(const std::string& problem,
                           const WorkloadOptions& options) {
  TensorSource source;
  Layer layer;
  io::Problem parsed;
  const std::string error = io::ParseProblem(problem, &parsed);
  if (!error.empty()) throw InputError(error);
  const std::string where = "problem " + Quoted(problem) + ": ";
  const AttentionShape& shape = parsed.shape;
  for (const DType dtype :
       {shape.query_dtype, shape.key_dtype, shape.value_dtype}) {
    if (dtype == DType::kF32) continue;
    throw InputError(where + "variants are compared in f32 only");
  }
  if (shape.key_rotated || shape.value_rotated) {
    throw InputError(where + "variants are compared without rotation only");
  }
  CheckPlan(where, parsed.params, shape);
  CheckMemory(where, BytesOf(shape));
  layer.name = io::FormatProblem(parsed);
  source.name = layer.name;
  layer.tensors = MakeTensors(parsed, options);
  source.layers.push_back(std::move(layer));
  return source;
}

}  // namespace heed::eval

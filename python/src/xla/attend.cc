// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A call of attention from XLA, by its foreign function interface: no array is
// copied. Compiled where the interface's headers are, which come with jaxlib.
#include <cstdint>
#include <exception>
#include <new>
#include <string>

#include "heed/attention.h"
#include "python/src/call.h"
#include "python/src/scores.h"
#include "python/src/tensors.h"
#include "xla/ffi/api/ffi.h"

namespace heed::python {
namespace {

namespace ffi = xla::ffi;

// Which arrays follow q, k and v, in this order.
enum Given : int64_t { kBias = 1, kMask = 2, kSlopes = 4, kSinks = 8 };

// The kind and bits that Tensor has of a type; kind 0 where attention has none.
struct Element {
  char kind;
  int bits;
};

Element ElementOf(ffi::DataType type) {
  switch (type) {
    case ffi::DataType::F32:
      return {'f', 32};
    case ffi::DataType::F16:
      return {'f', 16};
    case ffi::DataType::BF16:
      return {'B', 16};
    case ffi::DataType::PRED:
      return {'?', 8};
    default:
      return {0, 0};
  }
}

Tensor TensorOf(const ffi::AnyBuffer& buffer, const char* name) {
  const Element element = ElementOf(buffer.element_type());
  const ffi::AnyBuffer::Dimensions extents = buffer.dimensions();
  if (element.kind == 0 || extents.size() > kMostAxes) {
    RaiseType(std::string(name) + ": is no array that attention takes");
  }
  return Tensor(name, buffer.untyped_data(), element.kind, element.bits,
                extents.begin(), static_cast<int>(extents.size()));
}

// Takes arrays one by one.
class Arrays {
 public:
  Arrays(const ffi::RemainingArgs& args, int64_t given)
      : args_(args), given_(given) {}

  Tensor Next(const char* name) {
    const auto buffer = args_.get<ffi::AnyBuffer>(next_++);
    if (!buffer.has_value()) {
      RaiseType(std::string(name) + ": is missing");
    }
    return TensorOf(*buffer, name);
  }
  Tensor NextIf(Given which, const char* name) {
    return (given_ & which) != 0 ? Next(name) : Tensor();
  }

 private:
  const ffi::RemainingArgs& args_;
  int64_t given_;
  size_t next_ = 0;
};

// What a call says beside arrays.
struct Rule {
  int64_t given;
  AttentionParams params;
  Layout layout;
  Numerics numerics;
};

void Attend(const Rule& rule, const ffi::RemainingArgs& arrays_given,
            const ffi::AnyBuffer& out, const ffi::AnyBuffer& lse) {
  Arrays arrays(arrays_given, rule.given);
  const Tensor query = arrays.Next("q"), key = arrays.Next("k"),
               value = arrays.Next("v");
  const Scores scores = {arrays.NextIf(kBias, "bias"),
                         arrays.NextIf(kMask, "mask"),
                         arrays.NextIf(kSlopes, "alibi_slopes"),
                         arrays.NextIf(kSinks, "sink_logits")};
  AttentionArgs args;
  args.query = query.View(rule.layout);
  args.key = key.View(rule.layout);
  args.value = value.View(rule.layout);
  scores.Set(args, args.query.batch(), args.key.seqlen(), &args.scores);
  args.out = TensorOf(out, "out").View(rule.layout);
  args.lse = TensorOf(lse, "lse").RowView(rule.layout);
  RunCall(rule.params, args, rule.numerics, nullptr, nullptr);
}

ffi::Error Handle(ffi::RemainingArgs arrays, ffi::Result<ffi::AnyBuffer> out,
                  ffi::Result<ffi::AnyBuffer> lse, int64_t given,
                  float softmax_scale, float softcap, bool causal,
                  int64_t causal_offset, int64_t window_left,
                  int64_t window_right, int64_t sink_size, int64_t layout,
                  bool same_numerics) {
  Rule rule;
  rule.given = given;
  rule.params.softmax_scale = softmax_scale;
  rule.params.softcap = softcap;
  rule.params.causal = causal;
  rule.params.causal_offset = causal_offset;
  rule.params.window_left = window_left;
  rule.params.window_right = window_right;
  rule.params.sink_size = sink_size;
  rule.layout = static_cast<Layout>(layout);
  rule.numerics = same_numerics ? Numerics::kSame : Numerics::kFast;
  // For the plans that calls keep; computing is without it.
  const nb::gil_scoped_acquire acquired;
  try {
    Attend(rule, arrays, *out, *lse);
  } catch (nb::python_error& error) {
    return ffi::Error::InvalidArgument(error.what());
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                      "heed: memory was short");
  } catch (const std::exception& error) {
    return ffi::Error::InvalidArgument(error.what());
  }
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER(kAttend, Handle,
                       ffi::Ffi::Bind()
                           .RemainingArgs()
                           .Ret<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Attr<int64_t>("given")
                           .Attr<float>("softmax_scale")
                           .Attr<float>("softcap")
                           .Attr<bool>("causal")
                           .Attr<int64_t>("causal_offset")
                           .Attr<int64_t>("window_left")
                           .Attr<int64_t>("window_right")
                           .Attr<int64_t>("sink_size")
                           .Attr<int64_t>("layout")
                           .Attr<bool>("same_numerics"));

}  // namespace

void BindXla(nb::module_& m) {
  m.attr("xla_attend") = nb::capsule(reinterpret_cast<void*>(kAttend));
}

}  // namespace heed::python

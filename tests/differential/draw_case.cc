// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// How problems are drawn: one function a feature, in a list. What a function
// leaves alone stays as the feature's absence, so that most cases have few
// features and some have all.
#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "lib/eval/workload.h"
#include "tests/differential/fuzz_case.h"

namespace heed::test {
namespace {

using eval::Random;

bool OneIn(Random& random, int64_t n) { return random.Below(n) == 0; }

int64_t Within(Random& random, int64_t least, int64_t most) {
  return least + random.Below(most - least + 1);
}

int64_t OneOf(Random& random, std::initializer_list<int64_t> list) {
  return list.begin()[random.Below(static_cast<int64_t>(list.size()))];
}

// Small numbers often, larger ones seldom.
int64_t Skewed(Random& random, int64_t most) {
  return random.Below(random.Below(most + 1) + 1);
}

// A few beside one of the edges.
int64_t Around(Random& random, std::initializer_list<int64_t> edges) {
  return std::max<int64_t>(OneOf(random, edges) + Within(random, -2, 2), 0);
}

void DrawExtents(Random& random, FuzzCase* c) {
  c->batch = OneIn(random, 40) ? 0 : 1 + Skewed(random, 3);
  c->kv_heads = 1 + Skewed(random, 3);
  c->group = OneOf(random, {1, 1, 1, 2, 3, 4, 5, 6, 7, 8});
  c->rows = OneOf(random, {Within(random, 0, 8), Skewed(random, 100),
                           Around(random, {16, 32, 48, 64, 96, 128, 192})});
  c->keys = OneOf(random, {Skewed(random, 300), Within(random, 0, 20),
                           Around(random, {16, 64, 128, 192, 256})});
  c->dim = OneOf(random, {1 + Skewed(random, 140), Within(random, 1, 9),
                          OneOf(random, {16, 64, 80, 96, 128})});
  c->dim_v = OneIn(random, 2) ? c->dim : Skewed(random, 140);
}

void DrawLongKeys(Random& random, FuzzCase* c) {
  if (!OneIn(random, 12)) return;
  // Few rows, heads and channels, or the page takes long.
  c->keys = Around(random, {4096, 8192, 12288, 20480});
  c->rows = Within(random, 1, 4);
  c->dim = Within(random, 1, 5);
  c->dim_v = Within(random, 1, 5);
  if (OneIn(random, 5)) {
    c->keys = Around(random, {65536, 69632, 131072});
    c->rows = Within(random, 1, 2);
    c->dim = c->dim_v = 1;
    c->group = c->kv_heads = c->batch = 1;
  } else if (OneIn(random, 2)) {
    c->group = c->kv_heads = c->batch = 1;
    c->rows = Within(random, 1, 20);
  }
}

void DrawWideHeads(Random& random, FuzzCase* c) {
  if (!OneIn(random, 30)) return;
  c->dim = OneOf(random, {192, 255, 256, 576, 1024});
  c->dim_v = OneOf(random, {0, 192, 256, 512, 1023, 1024});
}

void DrawCausal(Random& random, FuzzCase* c) {
  c->causal = random.Below(2);
  if (!OneIn(random, 4)) return;
  c->placed = 1;
  c->offset = Within(random, -c->rows - 2, c->keys + 2);
  if (OneIn(random, 20)) c->offset = OneOf(random, {INT64_MIN + 1, INT64_MAX});
}

void DrawWindow(Random& random, FuzzCase* c) {
  const auto width = [&] {
    return OneIn(random, 20) ? INT64_MAX : Skewed(random, c->keys + 2);
  };
  if (OneIn(random, 3)) c->left = width();
  if (OneIn(random, 4)) c->right = width();
  if ((c->left >= 0 || c->right >= 0) && OneIn(random, 2)) {
    // Often beyond the window, too.
    c->sinks = OneIn(random, 2) ? width() : Within(random, 0, c->keys + 2);
  }
}

void DrawScale(Random& random, FuzzCase* c) {
  if (OneIn(random, 3)) {
    c->scale = OneOf(random, {1024, 1, 400, -300, -1024, 8000});
  }
  if (OneIn(random, 5)) c->cap = OneOf(random, {1024, 200, 30 * 1024, 7000});
}

void DrawTypes(Random& random, FuzzCase* c) {
  if (OneIn(random, 3)) return;
  const int64_t type = random.Below(3);
  for (Placement* p : {&c->query, &c->key, &c->value, &c->out}) {
    p->dtype = OneIn(random, 3) ? random.Below(3) : type;
  }
}

void DrawPlace(Random& random, Placement* p) {
  p->back = random.Below(2);
  if (OneIn(random, 2)) p->order = random.Below(6);
  if (OneIn(random, 3)) p->pad = Within(random, 1, 9);
  if (OneIn(random, 4)) p->wild = 1;
  if (OneIn(random, 3)) p->shift = Within(random, 1, 16);
}

void DrawPlacement(Random& random, FuzzCase* c) {
  for (Placement* p : {&c->query, &c->key, &c->value, &c->out, &c->lse}) {
    DrawPlace(random, p);
    if (OneIn(random, 8)) p->repeat = random.Below(8);
  }
  if (OneIn(random, 4)) c->no_lse = 1;
  if (OneIn(random, 12)) c->alias = 1;
}

void DrawQuantised(Random& random, FuzzCase* c) {
  if (OneIn(random, 6)) c->key_rotated = 1;
  if (OneIn(random, 6)) c->value_rotated = 1;
  if (OneIn(random, 2)) return;
  const int64_t type = Within(random, 3, 6);
  for (Placement* p : {&c->key, &c->value}) {
    // Both the same, often, or two types, or one that is not quantised.
    p->dtype = OneIn(random, 2) ? type : Within(random, 0, 6);
  }
  for (Placement* p :
       {&c->key_scale, &c->key_minimum, &c->value_scale, &c->value_minimum}) {
    DrawPlace(random, p);
    // One a tensor, a head, a token; any.
    if (OneIn(random, 2))
      p->repeat = OneOf(random, {7, 3, 4, Skewed(random, 7)});
  }
  if (OneIn(random, 8)) c->no_key_scale = 1;
  if (OneIn(random, 8)) c->no_value_scale = 1;
  c->key_groups = random.Below(2);
  c->value_groups = random.Below(2);
  if (OneIn(random, 2)) c->raw = 1;
}

void DrawNumbers(Random& random, FuzzCase* c) {
  c->seed = random.Below(1'000'000);
  c->fill = random.Below(6);
  if (OneIn(random, 4)) {
    c->specials = 1 + Skewed(random, 20);
    c->kinds =
        OneIn(random, 2) ? int64_t{1} << random.Below(8) : random.Below(256);
  }
  if (OneIn(random, 4)) c->poison = 1;
}

void DrawIntervals(Random& random, FuzzCase* c) {
  if (!OneIn(random, 5)) return;
  c->list_rows = 1 + Skewed(random, c->rows + 20);
  c->list_most = Skewed(random, 30);
  c->list_longest = 1 + Skewed(random, c->keys / 2 + 2);
}

void DrawRagged(Random& random, FuzzCase* c) {
  if (!OneIn(random, 4)) return;
  c->sequences = 1 + Skewed(random, 8);
  if (OneIn(random, 3)) return;
  c->batch = 1;
  if (OneIn(random, 4)) {
    c->packed_keys = 1;
  } else {
    c->page_size = OneOf(random, {1, 1, 2, 7, 16, 16, 64, 100});
    if (OneIn(random, 3)) c->pointers = Within(random, 1, 2);
  }
}

// Few rows over a span and more, of which the sequences share as much or
// nearly.
void DrawShared(Random& random, FuzzCase* c) {
  if (c->page_size != 0 && c->sequences > 1 && OneIn(random, 2)) {
    c->sharers = Within(random, 1, c->sequences);
    c->prefix = 1 + random.Below(std::max<int64_t>(c->keys, 1));
  }
  if (!OneIn(random, 30)) return;
  c->batch = 1;
  c->list_rows = 0;
  c->sequences = Within(random, 2, 6);
  c->rows = c->sequences * Within(random, 1, 2) + random.Below(3);
  c->sharers = Within(random, 2, c->sequences);
  c->dim = Within(random, 1, 4);
  c->dim_v = Within(random, 0, 4);
  c->page_size = OneOf(random, {1, 16, 64, 100});
  const int64_t spans = OneOf(random, {1, 1, 1, 2});
  c->prefix = spans * 4096 + OneOf(random, {0, 0, -1, 5});
  c->keys = c->prefix + 100 + Skewed(random, 5000);
  if (OneIn(random, 2)) c->left = -1;
  if (OneIn(random, 2)) c->placed = 0;
}

void DrawScores(Random& random, FuzzCase* c) {
  if (!OneIn(random, 3)) return;
  c->scores = int64_t{1} << random.Below(11);
  if (OneIn(random, 2)) c->scores |= int64_t{1} << random.Below(11);
  if (OneIn(random, 4)) c->scores = random.Below(kFuzzAllScores + 1);
  c->hides = OneOf(random, {0, 1, 3, 10, 30});
  for (Placement* p : {&c->bias, &c->mask, &c->score}) {
    DrawPlace(random, p);
    if (OneIn(random, 3)) p->repeat = random.Below(16);
  }
  if (OneIn(random, 2)) c->bias.dtype = random.Below(3);
}

void DrawPlan(Random& random, FuzzCase* c) {
  if (OneIn(random, 3)) c->lane_groups = random.Below(17);
  if (OneIn(random, 2)) c->decode_rows = OneOf(random, {0, 1, 5, 64});
  if (OneIn(random, 3)) c->slack = OneOf(random, {1, 3, 100, 5000});
}

void DrawNumerics(Random& random, FuzzCase* c) {
  if (!OneIn(random, 3)) return;
  c->fast = 1;
  c->named = random.Below(2);
  if (OneIn(random, 4)) return;
  // What a unit serves, and rows enough that it does.
  for (Placement* p : {&c->query, &c->key, &c->value}) p->dtype = 1;
  if (!OneIn(random, 5)) c->key_rotated = c->value_rotated = 0;
  if (!OneIn(random, 4)) c->decode_rows = OneOf(random, {0, 0, 1, 5});
}

void DrawRun(Random& random, FuzzCase* c) {
  c->workers = OneIn(random, 3) ? 1 : Within(random, 1, 7);
  c->tasks = random.Below(2);
  c->free = random.Below(2);
  c->shuffle = random.Below(3) == 0 ? 0 : random.Below(1000);
  if (OneIn(random, 60)) c->threads = 1;
}

// Few rows and more workers than spans, which are then cut into parts
// (lib/core/parts.h): chance alone hardly ever gets there.
void DrawParts(Random& random, FuzzCase* c) {
  if (!OneIn(random, 15)) return;
  c->batch = 1;
  c->kv_heads = Within(random, 1, 2);
  c->group = Within(random, 1, 3);
  c->rows = Within(random, 1, 2);
  c->keys = Around(random, {1030, 1500, 4096, 5400});
  c->dim = Within(random, 1, 9);
  c->dim_v = Skewed(random, 150);
  c->workers = Within(random, 8, 15);
  c->free = c->scores = c->list_rows = c->sequences = c->value_rotated = 0;
  c->decode_rows = -1;
  c->placed = random.Below(2);
  c->offset = Within(random, c->keys / 2, c->keys + 20);
  if (OneIn(random, 2)) return;
  c->left = Within(random, 900, c->keys);
  c->right = Within(random, 0, 300);
  c->sinks = random.Below(2) * Within(random, 1, c->keys);
}

// In this order: later ones look at what earlier ones drew.
constexpr void (*kFeatures[])(Random&, FuzzCase*) = {
    DrawExtents,   DrawLongKeys, DrawWideHeads, DrawCausal,    DrawWindow,
    DrawScale,     DrawTypes,    DrawPlacement, DrawQuantised, DrawNumbers,
    DrawIntervals, DrawRagged,   DrawShared,    DrawScores,    DrawPlan,
    DrawNumerics,  DrawRun,      DrawParts,
};

}  // namespace

FuzzCase DrawCase(uint64_t seed, uint64_t number) {
  Random mixed(seed);
  FuzzCase c;
  Random random(mixed.Next() ^ (number * 0x9e3779b97f4a7c15u));
  for (const auto& draw : kFeatures) draw(random, &c);
  MakeConsistent(&c);
  return c;
}

FuzzCase OtherWayOf(const FuzzCase& c) {
  FuzzCase other = c;
  Random random(static_cast<uint64_t>(c.seed) + 5);
  for (Placement* p :
       {&other.query, &other.key, &other.value, &other.out, &other.lse}) {
    Placement place;
    place.dtype = p->dtype;
    place.repeat = p->repeat;
    DrawPlace(random, &place);
    *p = place;
  }
  other.lane_groups = random.Below(17);
  DrawRun(random, &other);
  MakeConsistent(&other);
  return other;
}

}  // namespace heed::test

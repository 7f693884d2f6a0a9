// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Which keys a query attends to, as a rule over positions. A pattern is any
// type with
//
//   bool Keep(int64_t head, int64_t query, int64_t key) const;
//
// where `query` is the position of the row among the keys (AttentionParams),
// which may lie before key 0 or beyond the last. A pattern that also has
//
//   template <typename F> void Intervals(const PatternRow& row, F f) const;
//
// calls f(begin, end) for the keys that Keep keeps, in any order, overlapping
// and beyond the keys as it likes: it is then asked a few times a row instead
// of once a pair, which is what makes plans cheap. Both must say the same.
//
//   auto pattern = (patterns::Window(512) | patterns::Sinks(4)) &
//                  patterns::Documents(ids, count);
//   patterns::KeepIf odd([](int64_t, int64_t, int64_t key) {
//     return key % 2 == 1; });
//
// And one with
//
//   int64_t SharedRows() const;
//
// keeps the same keys for all queries of [i * SharedRows(), (i + 1) *
// SharedRows()), 0 meaning for all there are: then only one of them is asked.
// One with
//
//   static constexpr bool kSteps = true;
//
// lists as many intervals for one query as for the next, in the same order, and
// each end of each stays where it is or moves on by one key: then few rows of a
// block are asked but the first and the last.
//
// Positions and sizes are below 2^31.
#ifndef HEED_PATTERNS_H_
#define HEED_PATTERNS_H_

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <type_traits>
#include <utility>

namespace heed {

// A query row that a pattern is asked about.
struct PatternRow {
  int64_t head = 0;
  int64_t query = 0;  // its position among the keys
  // Keys outside [begin, end) are not asked for.
  int64_t begin = 0;
  int64_t end = 0;
};

namespace internal {

struct IgnoreInterval {
  void operator()(int64_t, int64_t) const {}
};

template <typename P, typename = void>
struct HasIntervals : std::false_type {};
template <typename P>
struct HasIntervals<P,
                    decltype(std::declval<const P&>().Intervals(
                        std::declval<const PatternRow&>(), IgnoreInterval()))>
    : std::true_type {};

template <typename P, typename = void>
struct HasSharedRows : std::false_type {};
template <typename P>
struct HasSharedRows<P, decltype(void(std::declval<const P&>().SharedRows()))>
    : std::true_type {};

template <typename P, typename = void>
struct HasSteps : std::false_type {};
template <typename P>
struct HasSteps<P, typename std::enable_if<P::kSteps>::type> : std::true_type {
};

}  // namespace internal

// Returns how many rows, from multiples of it on, keep the same keys: 1 where a
// pattern does not say, 0 for all.
template <typename P>
int64_t SharedRowsOf(const P& pattern) {
  if constexpr (internal::HasSharedRows<P>::value) {
    return pattern.SharedRows();
  } else {
    return 1;
  }
}

template <typename P, typename F>
void ForEachKeptIn(const P& pattern, const PatternRow& row, int64_t begin,
                   int64_t end, F f);

// Calls f(begin, end) for the keys below row.end that a pattern keeps: by its
// Intervals where it has them, else by asking Keep of every key.
template <typename P, typename F>
void ForEachKept(const P& pattern, const PatternRow& row, F f) {
  if constexpr (internal::HasIntervals<P>::value) {
    pattern.Intervals(row, f);
  } else {
    ForEachKeptIn(pattern, row, row.begin, row.end, f);
  }
}

// The same for keys of [begin, end) only.
template <typename P, typename F>
void ForEachKeptIn(const P& pattern, const PatternRow& row, int64_t begin,
                   int64_t end, F f) {
  begin = std::max(begin, row.begin);
  end = std::min(end, row.end);
  if constexpr (internal::HasIntervals<P>::value) {
    PatternRow within = row;
    within.begin = begin;
    within.end = end;
    pattern.Intervals(within, [&](int64_t from, int64_t to) {
      from = std::max(from, begin);
      to = std::min(to, end);
      if (from < to) f(from, to);
    });
  } else {
    for (int64_t key = begin; key < end; ++key) {
      if (!pattern.Keep(row.head, row.query, key)) continue;
      const int64_t from = key;
      while (key < end && pattern.Keep(row.head, row.query, key)) ++key;
      f(from, key);
    }
  }
}

namespace patterns {

// What | & ~ combine.
struct Pattern {};

// Keys of less than `keys` positions before the query, its own among them. (As
// (left, right) windows count: keys - 1 to the left.) Hides nothing that comes
// later: that is the causal mask's business.
struct Window : Pattern {
  static constexpr bool kSteps = true;
  int64_t keys;

  explicit Window(int64_t window) : keys(window) {}
  bool Keep(int64_t, int64_t query, int64_t key) const {
    return query - key < keys;
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    f(row.query - keys + 1, row.end);
  }
};

// Keys of up to `reach` positions before and after the query.
struct Band : Pattern {
  static constexpr bool kSteps = true;
  int64_t reach;

  explicit Band(int64_t to_each_side) : reach(to_each_side) {}
  bool Keep(int64_t, int64_t query, int64_t key) const {
    return query - key <= reach && key - query <= reach;
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    f(row.query - reach, row.query + reach + 1);
  }
};

// The first `count` keys.
struct Sinks : Pattern {
  static constexpr bool kSteps = true;
  int64_t count;

  explicit Sinks(int64_t keys) : count(keys) {}
  int64_t SharedRows() const { return 0; }
  bool Keep(int64_t, int64_t, int64_t key) const { return key < count; }
  template <typename F>
  void Intervals(const PatternRow&, F f) const {
    f(0, count);
  }
};

// Every key, for queries at positions of [first, end).
struct Queries : Pattern {
  int64_t first, end;

  Queries(int64_t begin_position, int64_t end_position)
      : first(begin_position), end(end_position) {}
  bool Keep(int64_t, int64_t query, int64_t) const {
    return query >= first && query < end;
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    if (Keep(row.head, row.query, 0)) f(0, row.end);
  }
};

// Keys of the query's own stretch of `keys` positions, cut from key 0 on; below
// 1 counts as 1.
struct Segments : Pattern {
  int64_t keys;

  explicit Segments(int64_t length) : keys(length < 1 ? 1 : length) {}
  int64_t SharedRows() const { return keys; }
  bool Keep(int64_t, int64_t query, int64_t key) const {
    return query >= 0 && query / keys == key / keys;
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    if (row.query < 0) return;
    const int64_t begin = row.query / keys * keys;
    f(begin, begin + keys);
  }
};

// Keys a multiple of `step` before or after the query; below 1 counts as 1.
struct EveryNth : Pattern {
  int64_t step;

  explicit EveryNth(int64_t distance) : step(distance < 1 ? 1 : distance) {}
  bool Keep(int64_t, int64_t query, int64_t key) const {
    return (query - key) % step == 0;
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    if (step == 1) return f(0, row.end);
    const int64_t rest = (row.query - row.begin) % step;
    for (int64_t key = row.begin + (rest < 0 ? rest + step : rest);
         key < row.end; key += step) {
      f(key, key + 1);
    }
  }
};

// The keys of the query's own document, `ids[position]` being the document of a
// position below `count`. Others keep, and are, nothing. The array must stay,
// and the keys of a document must lie together.
struct Documents : Pattern {
  const int32_t* ids;
  int64_t count;

  Documents(const int32_t* document, int64_t positions)
      : ids(document), count(positions) {}
  bool Keep(int64_t, int64_t query, int64_t key) const {
    return query >= 0 && query < count && key < count && ids[query] == ids[key];
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    if (row.query < 0 || row.query >= count) return;
    int64_t begin = row.query;
    int64_t end = row.query + 1;
    while (begin > 0 && ids[begin - 1] == ids[row.query]) --begin;
    while (end < count && ids[end] == ids[row.query]) ++end;
    f(begin, end);
  }
};

// The key blocks that a map of bytes [heads][query blocks][key blocks] has, not
// 0 meaning kept; query blocks are cut by position. The array must stay. With
// more than one head the plan's option per_head is needed.
struct BlockMap : Pattern {
  const uint8_t* map;
  int64_t query_block_size, key_block_size;
  int64_t query_blocks, key_blocks;

  BlockMap(const uint8_t* kept, int64_t query_block, int64_t key_block,
           int64_t num_query_blocks, int64_t num_key_blocks)
      : map(kept),
        query_block_size(query_block),
        key_block_size(key_block),
        query_blocks(num_query_blocks),
        key_blocks(num_key_blocks) {}
  int64_t SharedRows() const { return query_block_size; }
  bool Keep(int64_t head, int64_t query, int64_t key) const {
    if (query < 0 || key < 0) return false;
    const int64_t i = query / query_block_size;
    const int64_t j = key / key_block_size;
    return i < query_blocks && j < key_blocks &&
           map[(head * query_blocks + i) * key_blocks + j] != 0;
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    for (int64_t j = 0; j < key_blocks; ++j) {
      const int64_t begin = j * key_block_size;
      if (Keep(row.head, row.query, begin)) f(begin, begin + key_block_size);
    }
  }
};

// The pairs for which f(head, query, key) holds, asked of every pair.
template <typename F>
struct KeepIf : Pattern {
  F keep;

  explicit KeepIf(F f) : keep(std::move(f)) {}
  bool Keep(int64_t head, int64_t query, int64_t key) const {
    return keep(head, query, key);
  }
};

template <typename A, typename B>
struct Either : Pattern {
  static constexpr bool kSteps =
      internal::HasSteps<A>::value && internal::HasSteps<B>::value;
  A a;
  B b;

  Either(A first, B second) : a(std::move(first)), b(std::move(second)) {}
  int64_t SharedRows() const {
    return std::gcd(SharedRowsOf(a), SharedRowsOf(b));
  }
  bool Keep(int64_t head, int64_t query, int64_t key) const {
    return a.Keep(head, query, key) || b.Keep(head, query, key);
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    ForEachKept(a, row, f);
    ForEachKept(b, row, f);
  }
};

template <typename A, typename B>
struct Both : Pattern {
  A a;
  B b;

  Both(A first, B second) : a(std::move(first)), b(std::move(second)) {}
  int64_t SharedRows() const {
    return std::gcd(SharedRowsOf(a), SharedRowsOf(b));
  }
  bool Keep(int64_t head, int64_t query, int64_t key) const {
    return a.Keep(head, query, key) && b.Keep(head, query, key);
  }
  // b is asked again for each interval of a: the one with few stands best on
  // the left.
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    ForEachKept(a, row, [&](int64_t begin, int64_t end) {
      ForEachKeptIn(b, row, begin, end, f);
    });
  }
};

// Asked of every pair.
template <typename A>
struct Not : Pattern {
  A a;

  explicit Not(A of) : a(std::move(of)) {}
  int64_t SharedRows() const { return SharedRowsOf(a); }
  bool Keep(int64_t head, int64_t query, int64_t key) const {
    return !a.Keep(head, query, key);
  }
};

template <typename A, typename B = A>
using IfPatterns =
    typename std::enable_if<std::is_base_of<Pattern, A>::value &&
                            std::is_base_of<Pattern, B>::value>::type;

template <typename A, typename B, typename = IfPatterns<A, B>>
Either<A, B> operator|(A a, B b) {
  return Either<A, B>(std::move(a), std::move(b));
}
template <typename A, typename B, typename = IfPatterns<A, B>>
Both<A, B> operator&(A a, B b) {
  return Both<A, B>(std::move(a), std::move(b));
}
template <typename A, typename = IfPatterns<A>>
Not<A> operator~(A a) {
  return Not<A>(std::move(a));
}

}  // namespace patterns
}  // namespace heed

#endif  // HEED_PATTERNS_H_

// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Where the rows of an append would go: every index array is read whole.
#ifndef HEED_LIB_CORE_CHECK_PLACES_H_
#define HEED_LIB_CORE_CHECK_PLACES_H_

#include "heed/append.h"

namespace heed::internal {

// Offsets, lengths, pages, and that no two rows share a place. Needs tensors
// whose extents were checked.
Status CheckPlaces(const AppendArgs& args);

// Of pages that have pointers and whose entries were checked
// (check_pointed_places.cc): that no two new rows begin at one address, over
// all that is written, and that the pages of one entry lie apart or between one
// another.
Status CheckPointedPlaces(const AppendArgs& args);

// The tables' positions against the new rows'; after CheckPlaces.
Status CheckRopeReaches(const AppendArgs& args);

// Whether two views of checked strides share no byte although their memory
// meets: both step alike, and one fits between the steps of the other.
bool LieBetween(const ConstTensorView& a, const ConstTensorView& b);

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_CHECK_PLACES_H_

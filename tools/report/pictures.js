// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the pictures beside the first show.

// Rows that are shown and passed, with their numbers.
const shownRows = () => rows.map((row, index) => ({row, index, n: numbers(row)}))
  .filter((p) => !hidden.has(p.index) && p.n.gate === 'ok');

// Of them, those that are not exact but for rounding.
const approximations = () => shownRows().filter((p) => p.n.rel_l2 > withoutRounding(0));

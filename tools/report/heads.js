// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Layers by heads: how much of each head a row lost, as a table of colours.
const HEAD_NUMBERS = {rel_l2: ['error', short], mass_mean: ['mass', fixed(3)], density: ['density', fixed(3)]};
const heads = {row: -1, number: 'rel_l2'};

// From the paper's colour at nothing lost to a deep red at all.
const headColour = (share) => `color-mix(in srgb, var(--bad) ${(100 * Math.min(1, Math.max(0, share))).toFixed(0)}%, var(--paper))`;

function headGrid() {
  const row = rows[heads.row], [, format] = HEAD_NUMBERS[heads.number];
  const lines = row.layers.map((part, l) => {
    const values = part.heads[heads.number];
    const line = element('tr');
    const name = element('th', layers[l].name, 'name');
    name.scope = 'row';
    line.append(name, ...values.map((value, head) => {
      const cell = element('td', show(format, value));
      const lost = heads.number === 'rel_l2' ? value : 1 - value;
      if (isNumber(value)) {
        cell.style.background = headColour(lost);
        cell.style.color = lost > 0.6 ? 'var(--paper)' : 'var(--ink)';
      }
      cell.title = `${layers[l].name} head ${layers[l].heads[head]}`;
      return cell;
    }));
    return line;
  });
  const head = element('tr');
  const most = layers.reduce((a, b) => b.heads.length > a.heads.length ? b : a);
  head.append(element('th', 'head', 'name'), ...most.heads.map((number) => element('th', String(number))));
  document.getElementById('head-grid').replaceChildren(head, ...lines);
}

function fillHeadChoices() {
  const able = rows.map((row, i) => i).filter((i) => rows[i].layers.some((part) => part.heads.rel_l2.length));
  document.getElementById('heads').hidden = !able.length;
  if (!able.length) return;
  // A row that selects, where there is one: others lose as much everywhere.
  heads.row = able.find((i) => rows[i].semantics === 'exact on selection') ?? able[0];
  choose('head-row', able.map((i) => [i, rows[i].name]), heads.row, (value) => { heads.row = Number(value); headGrid(); });
  choose('head-number', Object.entries(HEAD_NUMBERS).map(([key, [title]]) => [key, title]), heads.number,
    (value) => { heads.number = value; headGrid(); });
  headGrid();
}

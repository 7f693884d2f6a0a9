// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The attention map of a head: a click on its cell draws it, and the pointer on the
// map or on a token says what a row looks at.
(() => {
  const maps = data.maps;
  if (!maps) return;
  const element = (id) => document.getElementById(id);
  const canvas = element('map-canvas'), context = canvas.getContext('2d');
  const n = maps.tokens.length, names = Object.keys(maps.named);
  let levels = null;  // of the open head: its lower triangle, row by row
  let open = null;
  const weight = (row, column) => (levels[row * (row + 1) / 2 + column] / 255) ** 2;
  const quoted = (i) => `\u201c${maps.tokens[i]}\u201d`;

  const tokens = maps.tokens.map((text, i) => {
    const span = document.createElement('span');
    span.textContent = text;
    span.addEventListener('pointerenter', () => show(i, null));
    return span;
  });
  element('map-text').append(...tokens);

  function draw() {
    canvas.width = canvas.height = n;
    const image = context.createImageData(n, n);
    const dark = matchMedia('(prefers-color-scheme: dark)').matches;
    const ink = dark ? [255, 176, 64] : [0, 60, 130];
    for (let row = 0; row < n; ++row) {
      for (let column = 0; column <= row; ++column) {
        const at = 4 * (row * n + column);
        image.data.set([...ink, levels[row * (row + 1) / 2 + column]], at);
      }
    }
    context.putImageData(image, 0, 0);
  }

  // A row of the map on the text; column: the key that the pointer is on, or null.
  function show(row, column) {
    const most = [];
    tokens.forEach((span, i) => {
      const share = i <= row ? weight(row, i) : 0;
      span.style.background = `rgba(213, 94, 0, ${Math.sqrt(share).toFixed(3)})`;
      span.classList.toggle('asks', i === row);
      if (share > 0) most.push([share, i]);
    });
    most.sort((a, b) => b[0] - a[0]);
    const named = column === null ? most.slice(0, 3) : [[weight(row, column), column]];
    element('map-says').textContent = `${quoted(row)} (${row}) looks at ` +
      named.map(([share, i]) => `${quoted(i)} (${i}): ${share.toFixed(3)}`).join(', ');
  }

  function select(cell) {
    open?.classList.remove('open');
    open = cell;
    cell.classList.add('open');
    const text = atob(maps.heads[names.indexOf(cell.id)]);
    levels = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
    element('map').hidden = false;
    element('map-name').textContent = `Head ${cell.id.slice(5)}: ${maps.named[cell.id]}`;
    draw();
    show(n - 1, null);
  }

  canvas.addEventListener('pointermove', (event) => {
    const box = canvas.getBoundingClientRect();
    const place = (at, from, size) => Math.min(n - 1, Math.max(0, Math.floor((at - from) / size * n)));
    const row = place(event.clientY, box.top, box.height);
    const column = place(event.clientX, box.left, box.width);
    show(row, column <= row ? column : null);
  });
  element('heads').addEventListener('click', (event) => {
    const cell = event.target.closest('td[role=button]');
    if (cell) select(cell);
  });
  element('heads').addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    event.target.click();
  });
  element('pressed').hidden = false;
})();

// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Puts the page together: chips, reasons, layers, definitions and footer.
function fillFamilies() {
  const box = document.getElementById('families');
  box.replaceChildren(...families.map((name) => {
    const members = rows.map((row, i) => i).filter((i) => rows[i].variant === name);
    const label = element('label');
    const tick = element('input');
    tick.type = 'checkbox';
    const shown = members.filter((i) => !hidden.has(i)).length;
    tick.checked = shown > 0;
    tick.indeterminate = shown > 0 && shown < members.length;
    label.classList.toggle('off', shown === 0);
    tick.addEventListener('change', () => {
      for (const i of members) tick.checked ? hidden.delete(i) : hidden.add(i);
      refresh();
    });
    label.append(tick, swatch(name), members.length > 1 ? `${name} (${members.length})` : name);
    label.title = rows[members[0]].summary;
    return label;
  }));
}

// Fills a list to choose from.
function choose(id, choices, chosen, act) {
  const select = document.getElementById(id);
  select.replaceChildren(...choices.map(([value, text]) => {
    const option = element('option', text);
    option.value = value;
    return option;
  }));
  select.value = chosen;
  select.addEventListener('change', () => act(select.value));
}

function fillAxes() {
  const able = (all) => Object.entries(all)
    .filter(([, [, value]]) => rows.some((row) => isNumber(value(row))))
    .map(([key, [title]]) => [key, title]);
  choose('x-axis', able(X_AXES), axes.x, (value) => { axes.x = value; draw(); });
  choose('y-axis', able(Y_AXES), axes.y, (value) => { axes.y = value; draw(); });
  document.getElementById('whole').addEventListener('change', (event) => {
    axes.whole = event.target.checked;
    draw();
  });
}

function fillReasons() {
  const bad = rows.filter((row) => numbers(row).gate !== 'ok');
  document.getElementById('reasons').replaceChildren(
    ...bad.map((row) => element('li', `${row.name} ${numbers(row).gate}, so no time is shown: ${numbers(row).reason}`)));
  const zero = rows.some((row) => numbers(row).rel_l2 === 0);
  document.getElementById('zero-note').textContent = zero
    ? 'A log axis has no zero: an error of 0 is drawn ten times below the smallest other one.' : '';
}

function describe(list, entries) {
  for (const [term, text] of entries) {
    if (text === undefined || text === null || text === '') continue;
    list.append(element('dt', term), element('dd', String(text)));
  }
}

function fillAround() {
  const meta = data.input.metadata || {};
  const what = data.input.synthetic ? `Random tensors, ${data.input.name}.`
    : `${meta.model || data.input.name}${meta.text ? `, reading ${meta.text}` : ''}.`;
  const passed = rows.filter((row) => row.gate === 'ok').length;
  document.getElementById('lead').textContent =
    `${what} ${layers.length} layer${layers.length === 1 ? '' : 's'}, ${rows.length} rows; ` +
    `${passed} passed their check before they were timed. ${data.environment.cpu}, ` +
    `${data.run.threads} thread${data.run.threads === 1 ? '' : 's'}.`;
  choose('layer', [[-1, 'all together'], ...layers.map((l, i) => [i, l.name])], -1, (value) => {
    layer = Number(value);
    refresh();
  });
  document.getElementById('layer-choice').hidden = layers.length < 2 || !rows[0].layers.length;
  describe(document.querySelector('#definitions dl'), Object.entries(data.definitions));
  const caches = data.environment.caches
    .filter((c) => c.type !== 'Instruction').map((c) => `L${c.level} ${c.size}`).join(', ');
  describe(document.getElementById('environment'), [
    ['CPU', `${data.environment.cpu}, ${data.environment.processors} processors`],
    ['Caches', caches],
    ['Kernel', data.run.target],
    ['Plan', data.run.plan],
    ['Threads', `${data.run.threads}${data.run.threads_asked > data.run.threads
      ? ` of ${data.run.threads_asked} asked for` : ''} (${data.run.thread_library})`],
    ['Decoded', data.run.queries ? `the last ${data.run.queries} tokens, one by one over the cache` : null],
    ['Budgets', data.run.at ? `the smallest that reach ${data.run.at}${data.run.missed.length
      ? `; none does for ${data.run.missed.join(', ')}` : ''}` : null],
    ['Rounds', data.run.repeats],
    ['Seed', data.input.synthetic ? data.run.seed : null],
    ['Command', data.command],
    ['Date', data.began],
    ['heed', `${data.environment.version} (${data.environment.compiler})`],
    ['Input', data.input.name],
    ['Problems', layers.map((l) => `${l.name}: ${l.problem}; errors on ${l.measured_rows} of ${l.rows} rows`).join('\n')],
    ...Object.entries(meta).map(([key, value]) => [`Input: ${key}`, value]),
  ]);
}

function refresh() {
  fillTable();
  fillFamilies();
  fillReasons();
  draw();
  drawLengths();
  drawMass();
  drawRowErrors();
  drawPhases();
  drawCoverage();
  if (hasHeads()) headGrid();
}

fillHead();
fillAround();
fillAxes();
fillExports();
fillHeadChoices();
fillOtherRuns();
refresh();
// Pictures do not see the page's colours change.
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', refresh);
// Resized late and to the paper: the canvas is a picture when it is printed.
window.addEventListener('beforeprint', () => chart.resize(900, 420));
window.addEventListener('afterprint', () => chart.resize());
window.addEventListener('resize', () => setTimeout(selfCheck, 100));

// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Puts the page together: choices, pictures, files.
const chosen = {};

function choose(id, names, act) {
  const select = document.getElementById(id);
  select.replaceChildren(...names.map((name) => new Option(name, name)));
  chosen[id] = names[0];
  select.addEventListener('change', () => { chosen[id] = select.value; act(); });
}

const variantHarm = () => drawHarm('prediction', data.variants.map((row) => ({spec: row.spec,
  x: row.predictors?.[chosen.predictor], y: row.harms[chosen['harm-of']]})), chosen.predictor, chosen['harm-of'], false);
const layerHarm = () => drawHarm('by-layer', data.layerPoints.map((p) => ({spec: p.spec, layer: p.layer,
  x: p[chosen['layer-predictor']], y: p[data.layerHarms[chosen['layer-harm']]]})), chosen['layer-predictor'], chosen['layer-harm'], true);

function drawAll() {
  drawFrontiers();
  drawCrossing();
  const texts = Object.keys(data.exactPositions);
  document.getElementById('by-position').hidden = !texts.length;
  if (texts.length) drawPositions(chosen.text);
  const measured = data.variants.filter((row) => row.predictors);
  reveal('harm', {prediction: measured, 'by-layer': data.layerPoints});
  if (measured.length) variantHarm();
  if (data.layerPoints.length) layerHarm();
  drawAtlas();
  document.getElementById('pruning').hidden = !data.pruning;
  if (data.pruning) {
    drawPruning('loss', data.lossOf, 'change of loss, nats');
    drawPruning('margin', 'margin', 'margin of needles, nats');
  }
  drawFacts();
}

// The numbers behind a picture: what each of its points is called and where it stands.
const pictureCsv = (of) => csv([['name', 'x', 'y', 'error'], ...of.data.datasets.filter((set) => !set.guide)
  .flatMap((set) => set.data.map((p, i) => (typeof p === 'object' ? [p.spec ?? set.label, p.x, p.y, p.error ?? '']
    : [`${set.label}: ${of.data.labels[i]}`, p, '', set.errors?.[i] ?? ''])))]);

const pictures = Object.fromEntries([...document.querySelectorAll('.files')].map((box) => [box.dataset.of,
  {name: `heed-${box.dataset.of}`, of: () => drawn[box.dataset.of], csv: () => pictureCsv(drawn[box.dataset.of])}]));

// A heading with what is chosen in it.
function titleOf(box) {
  const words = (node) => (node.nodeName === 'SELECT' ? node.value
    : node.childNodes.length ? [...node.childNodes].map(words).join('') : node.textContent);
  return words(box.parentElement.querySelector('h2, h3'));
}

for (const id of ['numbers', 'missing', 'needles']) {
  document.getElementById(id).hidden = !document.querySelector(`#${id} td, #${id} li`);
}
choose('text', Object.keys(data.exactPositions), () => drawPositions(chosen.text));
choose('predictor', data.predictors, variantHarm);
choose('harm-of', data.harms, variantHarm);
choose('layer-predictor', data.layerPredictors, layerHarm);
choose('layer-harm', Object.keys(data.layerHarms), layerHarm);
drawAll();
fillFiles(pictures, titleOf);
// Pictures do not see the page's colours change.
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll);
// What the page's test asks.
document.documentElement.dataset.pictures = Object.keys(drawn).length;
document.documentElement.dataset.errors = pageErrors.length;

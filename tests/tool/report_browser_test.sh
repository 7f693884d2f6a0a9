#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Opens reports from disk in headless Chromium and looks for drawn points and an
# empty error console. The page counts what Chart.js says it drew and how many
# of those points have a variant's colour in their middle, and keeps both, and
# the errors it met, on its root element.
#
# A script that the test puts into a copy of a report uses it: switches axes,
# hides rows, reads what each export saves. At last it damages the page, which
# those counts must show, or the test would not see one.
#
# usage: report_browser_test.sh HEED CHROMIUM
#   HEED_SHOTS=folder keeps pictures at the widths of a desk, a phone and paper.
set -euo pipefail

heed=$1
chromium=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAILED: $1" >&2
  exit 1
}

# Runs Chromium with a profile of its own. It sometimes does not start on a
# loaded machine, hence the second try.
browse() {
  local try
  for try in 1 2; do
    rm -rf "$work/profile"
    if timeout 60 "$chromium" --headless --no-sandbox --disable-gpu \
      --disable-quic --no-first-run --disable-background-networking \
      --disable-component-update --disable-sync --hide-scrollbars \
      --user-data-dir="$work/profile" "$@" 2>"$work/chromium.log"; then
      return 0
    fi
  done
  cat "$work/chromium.log" >&2
  fail "Chromium does not run"
}

# Prints the root element of a page after its scripts ran.
root() {
  browse --dump-dom "file://$1" >"$work/dom"
  grep -o '<html[^>]*>' "$work/dom" | head -n 1
}

# Prints a number from that element: 0 where the page never wrote it.
number() {
  local text
  text=$(sed -n "s/.*data-$2=\"\([0-9]*\)\".*/\1/p" <<<"$1")
  echo "${text:-0}"
}

# Expects these numbers of a page's root element, as "name number" lines.
expect_numbers() {
  local element=$1 name expected
  while read -r name expected; do
    [ "$(number "$element" "$name")" = "$expected" ] ||
      fail "$name is $(number "$element" "$name"), not $expected: $element"
  done
}

sample=$work/sample.html
# Few enough that no point hides another.
"$heed" compare -q --repeats 2 --tokens 64-256 --layers 2,28 --html "$sample" \
  --csv "$work/csv" naive window_sink:window=16,32,64 \
  block_topk:total_blocks=1,2 linear_elu >/dev/null
rows=$(grep -c ',256,all,,,ok,' "$work/csv")
[ "$rows" -ge 5 ] || fail "only $rows rows"

# A single point, a row left out, an earlier run, and a command line that tries to
# end the data's element.
mkdir "$work/<"
small="--repeats 1 --problem b1_h1_d8_q64_f32"
# shellcheck disable=SC2086
"$heed" compare -q naive $small --json "$work/old.json" >/dev/null
# shellcheck disable=SC2086
"$heed" compare -q naive $small --time-budget 0 --against "$work/old.json" \
  --html "$work/</script><script>nobody();&\".html" >/dev/null || [ $? = 3 ]
mv "$work/<"/* "$work/one.html"
cat >>"$work/one.html" <<'END'
<script>
const items = (id) => document.querySelectorAll(`#${id} li`).length;
const open = (id) => !document.getElementById(id).hidden && document.getElementById(id).getBoundingClientRect().height > 0;
Object.assign(document.documentElement.dataset, {
  leftOut: items('left-out'), against: Number(open('against')), againstItems: items('against-list'),
  elsewhere: Number(open('elsewhere')), labels: chart.placedLabels.length});
</script>
END
expect_numbers "$(root "$work/one.html")" <<'END'
errors 0
rows 1
table-rows 1
points 1
painted 1
left-out 1
against 1
against-items 3
elsewhere 0
END
echo "one.html: one point, a row left out, an earlier run"

# The same row of two machines, and one of the other alone.
sed 's/"cpu": "[^"]*"/"cpu": "Other"/' "$work/old.json" >"$work/other.json"
cmp -s "$work/old.json" "$work/other.json" && fail "there is no CPU to change"
# shellcheck disable=SC2086
"$heed" compare -q exact $small --json "$work/here.json" >/dev/null
"$heed" merge "$work/here.json" "$work/other.json" --html "$work/merged.html" >/dev/null
cat >>"$work/merged.html" <<'END'
<script>
const cells = [...document.querySelectorAll('#elsewhere-table tr')].slice(1)
  .map((line) => [...line.children].slice(1).map((cell) => cell.textContent !== '\u2013'));
Object.assign(document.documentElement.dataset, {
  machines: cells[0].length, timed: cells.flat().filter((there) => there).length,
  elsewhereItems: document.querySelectorAll('#elsewhere-list li').length});
</script>
END
expect_numbers "$(root "$work/merged.html")" <<'END'
errors 0
rows 2
table-rows 2
points 1
painted 1
machines 2
timed 3
elsewhere-items 3
END
echo "merged.html: times of two machines"

# Every axis, a hidden row, both themes' widths and the exports: uses the page as
# a reader would and leaves what it met on the root element.
cat >"$work/use.js" <<'END'
// All at once: the page is looked at when it has loaded, and what a blob gives
// when asked may come later.
window.saved = {};
const texts = {};
window.Blob = class { constructor(parts) { this.text = parts.join(''); } };
HTMLAnchorElement.prototype.click = function () { if (!(this.download in saved)) saved[this.download] = this.href; };
URL.createObjectURL = (blob) => {
  const key = `blob:${Object.keys(texts).length}`;
  texts[key] = blob.text;
  return key;
};
const change = (id, value) => {
  const field = document.getElementById(id);
  if (field.type === 'checkbox') field.checked = value; else field.value = value;
  field.dispatchEvent(new Event('change'));
};
const used = document.documentElement.dataset;
Object.assign(used, {firstPoints: used.points, firstPainted: used.painted, firstTableRows: used.tableRows});
const seen = [];
for (const axis of ['x-axis', 'y-axis']) {
  const field = document.getElementById(axis), first = field.value;
  for (const option of [...field.options]) {
    change(axis, option.value);
    const drawn = chart.data.datasets.filter((set) => !set.guide).flatMap((set) => set.data);
    if (drawn.every((p) => isFinite(p.x) && isFinite(p.y))) seen.push(`${option.value}=${used.painted}`);
  }
  change(axis, first);
}
change('whole', true);
const wide = chart.options.scales.y.min;
change('whole', false);
used.opened = chart.options.scales.y.min > 1000 * wide;
document.querySelector('#table tbody input').click();
used.afterHiding = used.points;
document.querySelector('#table tbody input').click();
used.axes = seen.length;
used.leastPainted = Math.min(...seen.map((text) => Number(text.split('=')[1])));
const grid = drawn['head-chart'];
used.heads = grid.data.datasets.flatMap((set, i) => grid.getDatasetMeta(i).data).filter((bar) => bar.width > 3).length;
// What is written beside points covers no point and no other words.
const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 0 &&
  Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 0;
const written = [chart, ...['length-chart', 'mass-chart', 'row-error-chart'].map((id) => drawn[id])];
used.leastLabels = Math.min(...written.map((of) => of.placedLabels.length));
used.labelsMeet = written.flatMap((of) => of.placedLabels.filter((label, i) =>
  [...of.labelMarks, ...of.placedLabels.slice(i + 1)].some((other) => meet(label, other)))).length;
used.labelMarks = chart.labelMarks.length;
// The share of the picture that a variant reaches, counted on a fine grid.
const counted = (points) => {
  const STEPS = 400;
  let inside = 0;
  for (let i = 0; i < STEPS; ++i) {
    for (let j = 0; j < STEPS; ++j) {
      const speedup = 100 ** ((i + 0.5) / STEPS), error = 1e-4 ** ((j + 0.5) / STEPS);
      if (points.some((p) => p.speedup >= speedup && p.rel_l2 <= error)) ++inside;
    }
  }
  return inside / STEPS ** 2;
};
used.shares = coverages().length;
used.sharesOff = coverages().flatMap(({name, shares}) => shares.filter((share, l) => Math.abs(share -
  counted(rows.filter((row) => row.variant === name).map((row) => row.layers[l]))) > 0.01)).length;
// Rings of lengths from which rows pay.
const rings = drawn['length-chart'].data.datasets.find((set) => set.label === 'pays from').data;
used.ringsOff = Math.abs(rings.length - data.sweep.rows.filter((row) => row.efficiency === 'crosses').length) +
  rings.filter((p) => !(p.y > 0)).length;
// A picture is saved without the variants that are hidden.
document.querySelector('#families input').click();
const legend = savedLegend(chart).map((item) => item.text);
used.legend = legend.length;
used.legendAll = families.length;
document.querySelector('#families input').click();
used.bars = chart.data.datasets.find((set) => set.label === 'spread').data.length / 3;
for (const button of document.querySelectorAll('.files button, #save-md, #save-tex')) button.click();
for (const [name, href] of Object.entries(saved)) {
  const content = texts[href] ?? href;
  used[`file${name.replace(/[^a-z]/g, '')}`] = href.startsWith('data:image/png;base64,')
    ? Math.min(9999, content.length) : content.trim().split('\n').length;
}
// The middle of each mark of a picture has the colour of a variant, or this one.
const hasColour = (of, x, y, colours) => {
  const scale = of.canvas.width / of.canvas.clientWidth;
  const pixel = of.canvas.getContext('2d').getImageData(x * scale, y * scale, 1, 1).data;
  return pixel[3] > 200 && colours.some((colour) =>
    [1, 3, 5].every((at, c) => Math.abs(parseInt(colour.slice(at, at + 2), 16) - pixel[c]) < 32));
};
const ofVariants = Object.values(style).map((s) => s.colour);
const marks = (of) => of.data.datasets.flatMap((set, i) => of.getDatasetMeta(i).data.filter((_, at) =>
  !Array.isArray(set.radius) || set.radius[at] > 0));
for (const [name, id] of [['massMarks', 'mass-chart'], ['rowErrorMarks', 'row-error-chart']]) {
  used[name] = marks(drawn[id]).filter((mark) => hasColour(drawn[id], mark.x, mark.y, ofVariants)).length;
}
// Bars that are wide enough to look into.
const bars = drawn['phase-chart'].data.datasets.flatMap((set, i) =>
  drawn['phase-chart'].getDatasetMeta(i).data.map((bar) => ({...bar.getProps(['x', 'y', 'width', 'base']), set})));
const wideBars = bars.filter((bar) => bar.x - bar.base > 6);
used.phaseBars = bars.length;
used.wideBars = wideBars.length;
used.blankBars = wideBars.filter((bar) =>
  !hasColour(drawn['phase-chart'], (bar.x + bar.base) / 2, bar.y, [bar.set.backgroundColor])).length;
// The table's first column stays when the rest is pushed aside.
const box = document.getElementById('table').parentElement;
const left = () => document.querySelector('#table tbody .name').getBoundingClientRect().left;
const before = left();
box.scrollLeft = 120;
used.pushed = box.scrollLeft;
used.stays = Math.abs(left() - before) < 1;
box.scrollLeft = 0;
used.headings = [...document.querySelectorAll('#table th')].slice(3)
  .every((cell) => cell.textContent === data.headings[cell.dataset.key]);
// Each SVG, drawn by the browser, has its ink where the PNG has it.
const WIDTH = 480, HEIGHT = 270;
const inkOf = (image) => {
  const canvas = document.createElement('canvas');
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.drawImage(image, 0, 0, WIDTH, HEIGHT);
  const pixels = context.getImageData(0, 0, WIDTH, HEIGHT).data;
  return Array.from({length: WIDTH * HEIGHT}, (_, i) => [0, 1, 2].some((c) => Math.abs(pixels[c] - pixels[4 * i + c]) > 24));
};
// The share of one's ink that the other has within a pixel.
const near = (ink, other) => {
  const places = ink.flatMap((on, i) => (on ? [i] : []));
  const found = places.filter((i) => [-1, 0, 1].some((dy) => [-1, 0, 1].some((dx) => other[i + dy * WIDTH + dx])));
  return places.length > 1000 ? found.length / places.length : 0;
};
// Images in the page, which has loaded when they have.
const imageOf = (src) => {
  const image = document.createElement('img');
  image.src = src;
  document.body.append(image);
  return image;
};
const pairs = Object.keys(saved).filter((name) => name.endsWith('.svg')).map((name) => {
  const text = texts[saved[name]];
  if (new DOMParser().parseFromString(text, 'image/svg+xml').querySelector('parsererror')) throw new Error(name);
  return [imageOf(`data:image/svg+xml,${encodeURIComponent(text)}`), imageOf(saved[name.replace('.svg', '.png')])];
});
window.addEventListener('load', () => {
  used.pictures = pairs.length;
  used.leastAlike = Math.floor(100 * Math.min(...pairs.map(([svg, png]) => {
    const [a, b] = [inkOf(svg), inkOf(png)];
    return Math.min(near(a, b), near(b, a));
  })));
  // A page that draws nothing, and one that draws what nobody sees.
  used.errorsInUse = used.errors;
  for (const set of chart.data.datasets) set.backgroundColor = 'transparent';
  chart.update();
  selfCheck();
  used.paintedWhenBlank = used.painted;
  for (const set of chart.data.datasets) set.data = [];
  chart.update();
  selfCheck();
  used.pointsWhenEmpty = used.points;
  used.done = 1;
});
window.addEventListener('load', () => nobody());
END
sed -e '/^<\/body>$/d' -e '/^<\/html>$/d' "$sample" >"$work/used.html"
{ echo '<script>'; cat "$work/use.js"; echo '</script>'; } >>"$work/used.html"

# Says what is wrong with a page that use.js used, and whose table can be pushed
# aside so far. One row has no density and no mass.
judge_use() {
  local element=$1 name expected
  while read -r name expected; do
    [ "$(number "$element" "$name")" -ge "$expected" ] ||
      echo "$name is $(number "$element" "$name"), not $expected: $element"
  done <<END_OF_LEAST
done 1
first-points $rows
first-painted $rows
first-table-rows $rows
axes 10
least-painted $((rows - 1))
after-hiding $((rows - 1))
lengths 3
heads 18
bars 2
pushed $2
fileheedmd $((rows + 1))
fileheedtex $((rows + 3))
fileheedcsv $((rows + 1))
fileheedpng 9999
fileheedlengthscsv $((3 * rows + 1))
fileheedlengthspng 9999
fileheedmasscsv 6
fileheedrowerrorscsv $((24 * 6))
fileheedphasescsv 4
fileheedcoveragecsv 7
fileheedheadscsv 19
pictures 7
least-alike 90
least-labels 2
label-marks $rows
shares 3
mass-marks 5
row-error-marks 6
phase-bars 12
wide-bars 1
END_OF_LEAST
  [ "$(number "$element" after-hiding)" = $((rows - 1)) ] || echo "nothing hides"
  for name in errors-in-use blank-bars labels-meet shares-off rings-off points-when-empty; do
    [ "$(number "$element" "$name")" = 0 ] || echo "$name is not 0: $element"
  done
  [ "$(number "$element" errors)" = 1 ] || echo "an error is not seen: $element"
  [ "$(number "$element" painted-when-blank)" -lt "$rows" ] || echo "a blank page is not seen"
  [ "$(number "$element" legend)" = $(($(number "$element" legend-all) - 1)) ] ||
    echo "a saved legend has what is hidden: $element"
  grep -q 'data-stays="true"' <<<"$element" || echo "the first column moves"
  grep -q 'data-headings="true"' <<<"$element" || echo "headings differ"
  grep -q 'data-opened="true"' <<<"$element" ||
    echo "the picture does not open where the approximations are"
}

# A desk in daylight, a phone in the dark.
for look in --window-size=1280,1700 \
  "--window-size=500,3200 --blink-settings=preferredColorScheme=0"; do
  # shellcheck disable=SC2086
  browse $look --dump-dom "file://$work/used.html" >"$work/dom"
  pushed=120  # a table wider than its box; a desk has room for all of it
  case $look in *1280*) pushed=0 ;; esac
  said=$(judge_use "$(grep -o '<html[^>]*>' "$work/dom" | head -n 1)" $pushed)
  [ -z "$said" ] || fail "used.html with $look: $said"
  echo "used.html with $look: axes, rows, heads and exports work"
done

if [ -n "${HEED_SHOTS:-}" ]; then
  mkdir -p "$HEED_SHOTS"
  browse --window-size=1280,1700 --screenshot="$HEED_SHOTS/desk.png" \
    "file://$sample"
  browse --window-size=500,3200 --screenshot="$HEED_SHOTS/phone.png" \
    "file://$sample"
  browse --print-to-pdf="$HEED_SHOTS/paper.pdf" "file://$sample"
fi
echo "passed"

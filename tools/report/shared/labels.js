// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Words beside points where there is room: each dataset says by labelOf what a
// point of it is called ('' for nothing), and Chart.js calls the plug-in when it
// has drawn. What was placed stays on the chart, for the page's test.
const LABEL = {size: 11, gap: 10, mark: 7};

const apart = (a, b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
const boxAround = (x, y, width, height) =>
  ({left: x - width / 2, right: x + width / 2, top: y - height / 2, bottom: y + height / 2});

// The points of a chart that are to be called something, those on the frontier
// first: they are what a reader looks for.
function labelled(of) {
  return of.data.datasets.flatMap((set, index) => (set.labelOf ? of.getDatasetMeta(index).data.map((point, i) =>
    ({x: point.x, y: point.y, over: set.labelOver, text: set.labelOf(set.data[i], i), first: set.data[i].n?.pareto ? 0 : 1}))
    : [])).filter((point) => point.text && isFinite(point.x) && isFinite(point.y)).sort((a, b) => a.first - b.first);
}

// Right, left, above, below; the corners last. Over a line that goes to the right:
// from the point on, above and below.
function placesAround({x, y, over}, width) {
  if (over) return [-1, 1].map((side) => boxAround(x + width / 2 + 2, y + side * LABEL.size / 1.4, width, LABEL.size + 2));
  const aside = width / 2 + LABEL.gap, up = LABEL.size / 2 + LABEL.gap;
  return [[aside, 0], [-aside, 0], [0, -up], [0, up], [aside, -up / 2], [aside, up / 2], [-aside, -up / 2], [-aside, up / 2]]
    .map(([dx, dy]) => boxAround(x + dx, y + dy, width, LABEL.size + 2));
}

const pointLabels = {
  id: 'pointLabels',
  afterDatasetsDraw(of) {
    const {ctx, chartArea} = of;
    const marks = of.data.datasets.flatMap((set, index) => (set.guide && !set.labelOf ? [] : of.getDatasetMeta(index).data
      .filter((point, i) => !Array.isArray(set.radius) || set.radius[i] > 0)
      .map((point) => boxAround(point.x, point.y, 2 * LABEL.mark, 2 * LABEL.mark))));
    ctx.save();
    ctx.font = `${LABEL.size}px ${Chart.defaults.font.family}`;
    ctx.fillStyle = ink('--ink');
    ctx.textAlign = 'center';
    ctx.textBaseline = 'middle';
    of.placedLabels = [];
    for (const point of labelled(of)) {
      const inside = (box) => box.left >= chartArea.left && box.right <= chartArea.right &&
        box.top >= chartArea.top && box.bottom <= chartArea.bottom;
      const box = placesAround(point, ctx.measureText(point.text).width + 4).find((place) => inside(place) &&
        [...marks, ...of.placedLabels].every((other) => apart(place, other)));
      if (!box) continue;
      of.placedLabels.push({...box, text: point.text});
      ctx.fillText(point.text, (box.left + box.right) / 2, (box.top + box.bottom) / 2);
    }
    of.labelMarks = marks;
    ctx.restore();
  },
};

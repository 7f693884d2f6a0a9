// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A drawing context that takes down as SVG what Chart.js draws on a canvas: paths,
// texts, clips and transforms. What there is to draw, and where, stays Chart.js's.

// The page's colours by name in both themes, as its style has them.
function themes() {
  const of = (rules) => [...rules].find((rule) => rule.selectorText === ':root').style;
  const rules = document.styleSheets[0].cssRules;
  const dark = [...rules].find((rule) => rule.conditionText?.includes('prefers-color-scheme: dark'));
  return [of(rules), of(dark.cssRules)];
}
const THEMED = ['paper', 'guide', 'ink', 'faint', 'line'];
const round = (value) => Number(value.toFixed(2));
const escaped = (text) => String(text).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

class SvgContext {
  constructor(width, height) {
    this.canvas = {width, height, style: {}, getContext: () => this};
    this.ruler = document.createElement('canvas').getContext('2d');
    this.parts = [];
    this.clips = [];
    this.stack = [];
    this.state = {matrix: new DOMMatrix(), clip: -1};
    Object.assign(this, {fillStyle: '#000', strokeStyle: '#000', lineWidth: 1, lineCap: 'butt', lineJoin: 'miter',
      lineDashOffset: 0, font: '12px sans-serif', textAlign: 'start', textBaseline: 'alphabetic', globalAlpha: 1});
    this.dash = [];
    this.path = '';
  }

  // The state.
  save() {
    const {canvas, ruler, parts, clips, stack, path, ...kept} = this;
    this.stack.push({...kept, state: {...this.state}});
  }
  restore() { Object.assign(this, this.stack.pop()); }
  translate(x, y) { this.state.matrix = this.state.matrix.translate(x, y); }
  rotate(angle) { this.state.matrix = this.state.matrix.rotate(angle * 180 / Math.PI); }
  setTransform(...numbers) { this.state.matrix = new DOMMatrix(numbers); }
  resetTransform() { this.state.matrix = new DOMMatrix(); }
  setLineDash(dash) { this.dash = dash; }
  measureText(text) {
    this.ruler.font = this.font;
    return this.ruler.measureText(text);
  }

  // The path. Arcs go by halves: a whole circle ends where it began.
  beginPath() { this.path = ''; }
  closePath() { this.path += 'Z'; }
  moveTo(x, y) { this.path += `M${round(x)} ${round(y)}`; }
  lineTo(x, y) { this.path += `${this.path ? 'L' : 'M'}${round(x)} ${round(y)}`; }
  bezierCurveTo(...numbers) { this.path += `C${numbers.map(round).join(' ')}`; }
  rect(x, y, width, height) { this.path += `M${round(x)} ${round(y)}h${round(width)}v${round(height)}h${round(-width)}Z`; }
  arc(x, y, radius, from, to, counter) {
    const at = (angle) => [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
    this.lineTo(...at(from));
    for (const angle of [(from + to) / 2, to]) {
      this.path += `A${round(radius)} ${round(radius)} 0 0 ${counter ? 0 : 1} ${at(angle).map(round).join(' ')}`;
    }
  }

  // What is drawn.
  stroke() {
    const dash = this.dash.length ? ` stroke-dasharray="${this.dash.join(' ')}" stroke-dashoffset="${this.lineDashOffset}"` : '';
    this.put(`<path d="${this.path}" fill="none"${this.paint('stroke')} stroke-width="${this.lineWidth}" ` +
      `stroke-linecap="${this.lineCap}" stroke-linejoin="${this.lineJoin}"${dash}`, '/>');
  }
  fill() { this.put(`<path d="${this.path}"${this.paint('fill')}`, '/>'); }
  clip() {
    this.clips.push(`<clipPath id="clip${this.clips.length}"><path d="${this.path}"${this.transform()}/></clipPath>`);
    this.state.clip = this.clips.length - 1;
  }
  fillRect(...box) { this.beginPath(); this.rect(...box); this.fill(); }
  strokeRect(...box) { this.beginPath(); this.rect(...box); this.stroke(); }
  clearRect() {}
  strokeText() {}
  fillText(text, x, y) {
    const anchor = {center: 'middle', right: 'end', end: 'end'}[this.textAlign] || 'start';
    const down = {middle: 0.35, top: 0.8, bottom: -0.2}[this.textBaseline] || 0;
    this.put(`<text x="${round(x)}" y="${round(y)}" dy="${down}em" text-anchor="${anchor}"${this.paint('fill')} ` +
      `style="font:${escaped(this.font)}"`, `>${escaped(text)}</text>`);
  }

  transform() {
    const {a, b, c, d, e, f} = this.state.matrix;
    return this.state.matrix.isIdentity ? '' : ` transform="matrix(${[a, b, c, d, e, f].map(round).join(' ')})"`;
  }
  put(begin, end) {
    const {clip} = this.state;
    const part = `${begin}${this.transform()}${end}`;
    this.parts.push(clip < 0 ? part : `<g clip-path="url(#clip${clip})">${part}</g>`);
  }
  // A colour of the page is named, so that it follows the theme of whoever looks.
  paint(what) {
    const colour = String(this[`${what}Style`]);
    const named = THEMED.find((name) => ink(`--${name}`) === colour);
    const [, opaque, alpha] = /^(#[0-9a-f]{6})([0-9a-f]{2})$/i.exec(colour) || [null, colour, 'ff'];
    const share = parseInt(alpha, 16) / 255 * this.globalAlpha;
    return `${named ? ` class="${what}-${named}"` : ''} ${what}="${escaped(opaque)}"` +
      (share < 1 ? ` ${what}-opacity="${round(share)}"` : '');
  }

  text(title) {
    const {width, height} = this.canvas;
    const [light, dark] = themes().map((theme) => THEMED.map((name) => ['fill', 'stroke']
      .map((what) => `.${what}-${name}{${what}:${theme.getPropertyValue(`--${name}`).trim()}}`).join('')).join(''));
    return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">\n` +
      `<title>${escaped(title)}</title>\n<style>${light}\n@media (prefers-color-scheme: dark){${dark}}</style>\n` +
      `<defs>${this.clips.join('\n')}</defs>\n<rect width="${width}" height="${height}" fill="${ink('--paper')}" class="fill-paper"/>\n` +
      `${this.parts.join('\n')}\n</svg>\n`;
  }
}

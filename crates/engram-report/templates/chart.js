'use strict';
// What every figure shares: look, controls, drawing, downloads.

const DATA = JSON.parse(document.getElementById('data').textContent);

// Blue and orange, teal and purple: told apart with any colour vision, on light and on dark.
const KIND_COLOURS = ['#3f86c9', '#e07b39', '#7a9a3a', '#9467bd', '#8c8c8c'];
const MODEL_COLOURS = ['#1b9e86', '#a65fb5', '#c99a1e', '#4f7fd0', '#c2574f'];
const SHAPES = ['circle', 'square', 'triangle-up', 'diamond', 'cross'];
const DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4]];

// The page's ink on screen, so that light, dark and print need no other drawing; fixed in exports.
function look(ink, background) {
  const text = {labelColor: ink, titleColor: ink, labelFontSize: 12, titleFontSize: 12, titleFontWeight: 600};
  return {
    background,
    font: 'system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif',
    axis: {...text, gridColor: ink, gridOpacity: 0.12, domainColor: ink, domainOpacity: 0.4,
      tickColor: ink, tickOpacity: 0.4, labelLimit: 220},
    // Several legends stand below each other: beside each other they outgrow a phone.
    legend: {...text, orient: 'top', labelLimit: 360, symbolStrokeWidth: 2, symbolOpacity: 1, columns: 3,
      symbolBaseFillColor: ink, symbolBaseStrokeColor: ink,
      layout: {direction: 'vertical', anchor: 'start', margin: 4}},
    header: {...text, labelFontSize: 13, labelFontWeight: 600, title: null},
    view: {stroke: null},
    title: {color: ink, fontSize: 14, anchor: 'start', offset: 12},
    text: {color: ink},
    rule: {color: ink},
  };
}

const distinct = (rows, field) => [...new Set(rows.map(r => r[field]))];

// A colour for each value, the same in every figure.
const kindScale = () => ({domain: DATA.kinds, range: KIND_COLOURS});
function modelScale(present = DATA.conditions) {
  const trained = DATA.conditions.filter(c => c !== 'base');
  const domain = DATA.conditions.filter(c => present.includes(c));
  return {domain, range: domain.map(c =>
    c === 'base' ? '#8a9099' : MODEL_COLOURS[trained.indexOf(c) % MODEL_COLOURS.length])};
}
// Recovery: 0 in the middle, blue below, orange above.
const RECOVERY_SCALE = {domain: [-1, 0, 1], clamp: true, scheme: 'blueorange'};

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function save(name, url) {
  const link = element('a', {href: url, download: name});
  document.body.append(link);
  link.click();
  link.remove();
}

// A text that a spreadsheet would take for a formula (OWASP, CSV injection; its full-width signs too) begins with an
// apostrophe. A number is no formula, whether it comes as one or as text.
function csv(rows) {
  const columns = [...new Set(rows.flatMap(Object.keys))];
  const isNumber = text => /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text);
  const cell = value => {
    const plain = value === null || value === undefined ? '' : String(value);
    const isFormula = /^[=+\-@\t\r\n＝＋－＠]/.test(plain) && typeof value !== 'number' && !isNumber(plain);
    const text = isFormula ? `'${plain}` : plain;
    return /[",;\t\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns, ...rows.map(r => columns.map(c => r[c]))].map(r => r.map(cell).join(',')).join('\n') + '\n';
}

// A view that is drawn nowhere, with fixed ink on white and the title above.
function exported(spec, title) {
  const compiled = vegaLite.compile({...spec, title}, {config: look('#1c2126', '#ffffff')}).spec;
  return new vega.View(vega.parse(compiled), {renderer: 'none'});
}

// One figure.
//   rows      everything it may show
//   controls  [{field, label, first, names}]: a choice of one value of a field; each narrows the next
//   spec      (rows chosen, width, state) => Vega-Lite specification
//   table     rows chosen => rows of the CSV, where they are not the rows themselves
//   before    (rows chosen, element) => text above the chart
function figure(id, {rows, controls = [], spec, table = chosen => chosen, before}) {
  const place = document.getElementById(id);
  if (!place) return;
  const [bar, chart, downloads] = ['controls', 'chart', 'downloads'].map(c => place.getElementsByClassName(c)[0]);
  const title = place.querySelector('h3').textContent;
  const state = {};
  let current = null;
  let drawn = Promise.resolve();

  const selects = controls.map(control => {
    const select = element('select', {name: control.field});
    select.addEventListener('change', () => { state[control.field] = select.value; update(); });
    const label = element('label', {}, control.label, select);
    bar.append(label);
    return {...control, select, box: label};
  });

  function choose() {
    let left = rows;
    for (const {field, first, select, box, names} of selects) {
      const values = distinct(left, field);
      if (!values.includes(state[field])) state[field] = values.includes(first) ? first : values[0];
      select.replaceChildren(...values.map(v => {
        const option = element('option', {value: v}, names ? names(v, left) : v);
        option.selected = v === state[field];
        return option;
      }));
      // Nothing to choose: nothing to show.
      box.hidden = values.length < 2;
      box.style.display = box.hidden ? 'none' : '';
      left = left.filter(r => r[field] === state[field]);
    }
    return left;
  }

  async function update() {
    const chosen = choose();
    const width = Math.max(260, Math.floor(place.clientWidth) - 2);
    const made = {...spec(chosen, width, state), description: title,
      autosize: {type: 'pad', contains: 'padding'}};
    current = {chosen, made};
    // One drawing at a time, and only the latest.
    drawn = drawn.then(async () => {
      if (current.made !== made) return;
      const target = element('div', {});
      await vegaEmbed(target, made, {actions: false, renderer: 'svg', mode: 'vega-lite',
        config: look('currentColor', 'transparent'), tooltip: {theme: 'custom'}});
      const above = element('div', {});
      if (before) above.append(before(chosen));
      chart.replaceChildren(above, target);
    });
    return drawn;
  }

  if (!rows.length) {
    chart.append(element('p', {class: 'empty'}, 'Nothing was measured for this figure.'));
    return;
  }
  const name = id.replace('figure-', '');
  const button = (text, action) => {
    const made = element('button', {type: 'button', 'aria-label': `${text}: ${title}`}, text);
    made.addEventListener('click', action);
    downloads.append(made);
  };
  button('SVG', async () => {
    const svg = await exported(current.made, title).toSVG();
    save(`${name}.svg`, URL.createObjectURL(new Blob([svg], {type: 'image/svg+xml'})));
  });
  button('PNG', async () => save(`${name}.png`, await exported(current.made, title).toImageURL('png', 2)));
  button('CSV', () =>
    save(`${name}.csv`, URL.createObjectURL(new Blob([csv(table(current.chosen))], {type: 'text/csv'}))));

  // Drawn anew when the width has settled, not within the observer: drawing changes sizes itself.
  let known = place.clientWidth;
  let waiting = 0;
  new ResizeObserver(() => {
    if (Math.abs(place.clientWidth - known) < 8) return;
    clearTimeout(waiting);
    waiting = setTimeout(() => { known = place.clientWidth; update(); }, 120);
  }).observe(place);
  update();
}

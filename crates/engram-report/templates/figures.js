// The figures.

const MODEL = {field: 'condition', label: 'Model', first: DATA.first};
const METRIC = {field: 'metric', label: 'Metric', first: 'logit_diff'};
const DIRECTION = {field: 'direction', label: 'Direction', first: 'denoise'};
const CORRUPTION = {field: 'corruption', label: 'Corruption', first: 'swap'};
const percent = '.0%';

// How many panels stand beside each other, and how wide each is.
function panels(count, width, least = 250, gap = 70) {
  const most = Math.max(1, Math.min(count, Math.floor(width / (least + gap))));
  // As many in each row: four panels are two and two, not three and one.
  const columns = Math.ceil(count / Math.ceil(count / most));
  return {columns, each: Math.floor(width / columns) - gap};
}

const layerAxis = {field: 'layer', type: 'quantitative', title: 'layer',
  axis: {tickMinStep: 1, format: 'd', grid: false}};

figure('figure-knowing', {
  rows: DATA.knowing,
  spec: (rows, width) => {
    const whats = distinct(rows, 'what');
    const {columns, each} = panels(whats.length, width - 90, 200, 40);
    const y = {field: 'kind', type: 'nominal', title: null, sort: DATA.kinds, scale: {paddingInner: 0.3}};
    const place = {
      y, yOffset: {field: 'condition', sort: DATA.conditions},
      color: {field: 'condition', scale: modelScale(), title: null},
      tooltip: [{field: 'condition', title: 'model'}, {field: 'kind'}, {field: 'share', format: '.1%'},
        {field: 'lower', format: '.1%'}, {field: 'upper', format: '.1%'}, {field: 'count'}, {field: 'of'}],
    };
    const x = {type: 'quantitative', scale: {domain: [0, 1]}, title: null, axis: {format: percent, tickCount: 5}};
    return {
      data: {values: rows},
      facet: {field: 'what', type: 'nominal', sort: whats},
      columns,
      spec: {
        width: each, height: {step: 26},
        layer: [
          {mark: {type: 'rule', strokeDash: [4, 3], opacity: 0.7}, encoding: {x: {...x, field: 'chance', aggregate: 'min'}}},
          {mark: {type: 'rule', strokeWidth: 2}, encoding: {...place, x: {...x, field: 'lower'}, x2: {field: 'upper'}}},
          {mark: {type: 'point', filled: true, size: 80, opacity: 1}, encoding: {...place, x: {...x, field: 'share'},
            shape: {field: 'condition', scale: {domain: DATA.conditions, range: SHAPES}, title: null}}},
        ],
      },
    };
  },
});

figure('figure-steps', {
  rows: DATA.steps,
  spec: (rows, width) => ({
    data: {values: rows}, width: width - 60, height: 260,
    mark: {type: 'line', strokeWidth: 1.2},
    encoding: {
      x: {field: 'step', type: 'quantitative', title: 'step', axis: {grid: false, format: '~s'}},
      y: {field: 'loss', type: 'quantitative', title: 'loss (nats per token)', scale: {zero: false}},
      color: {field: 'condition', scale: modelScale(distinct(rows, 'condition')), title: null},
      tooltip: [{field: 'condition', title: 'model'}, {field: 'step'}, {field: 'tokens', format: ','},
        {field: 'loss', format: '.3f'}, {field: 'learning_rate', title: 'learning rate', format: '.2~e'}],
    },
  }),
});

figure('figure-epochs', {
  rows: DATA.epochs,
  spec: (rows, width) => {
    const series = distinct(rows, 'series');
    return {
      data: {values: rows}, width: width - 60, height: 260,
      layer: [
        {mark: {type: 'line', strokeWidth: 1.6}, encoding: {strokeDash: {field: 'series', sort: series,
          scale: {domain: series, range: DASHES}, title: null}}},
        {mark: {type: 'point', filled: true, size: 36, opacity: 1}, encoding: {
          shape: {field: 'series', sort: series, scale: {domain: series, range: SHAPES}, title: null}}},
        {transform: [{filter: 'datum.best && datum.series != "training"'}],
          mark: {type: 'point', shape: 'circle', size: 160, strokeWidth: 1.5, filled: false}},
      ],
      encoding: {
        x: {field: 'epoch', type: 'quantitative', title: 'epoch', axis: {grid: false, tickMinStep: 1}},
        y: {field: 'loss', type: 'quantitative', title: 'loss (nats per token)', scale: {zero: false}},
        color: {field: 'condition', scale: modelScale(distinct(rows, 'condition')), title: null},
        tooltip: [{field: 'condition', title: 'model'}, {field: 'series'}, {field: 'epoch'}, {field: 'loss', format: '.3f'}],
      },
      config: {legend: {columns: width < 500 ? 1 : 2}},
    };
  },
});

// Sites in reading order: those that add up over layers, the residual stream, what the graph alone fixes.
function sitesInOrder(rows) {
  const rank = site => rows.filter(r => r.site === site).every(r => r.trivial) ? 2 : site.startsWith('resid') ? 1 : 0;
  return distinct(rows, 'site').sort((a, b) => rank(a) - rank(b));
}

// Bands and curves over layers, one colour a `by`.
function curves(by, scale, size) {
  const colour = {field: by, scale, title: null};
  return {
    ...size,
    layer: [
      {mark: {type: 'area', opacity: 0.22}, encoding: {y: {field: 'lower', type: 'quantitative', title: 'recovery'},
        y2: {field: 'upper'}, x: layerAxis, color: colour}},
      {mark: {type: 'rule', opacity: 0.5}, encoding: {y: {datum: 0}}},
      {mark: {type: 'line', strokeWidth: 2}, encoding: {y: {field: 'mean', type: 'quantitative'}, x: layerAxis, color: colour,
        // By conditions, not by a scale: its legend would dash the outlines of the other legends' shapes.
        strokeDash: {value: DASHES[0], condition: scale.domain.slice(1).map((name, i) =>
          ({test: {field: by, equal: name}, value: DASHES[(i + 1) % DASHES.length]}))}}},
      {mark: {type: 'point', size: 50, filled: false, strokeWidth: 1.5, opacity: 1}, encoding: {
        y: {field: 'mean', type: 'quantitative'}, x: layerAxis, color: colour,
        fill: {condition: {test: 'datum.trivial', value: 'transparent'}, field: by, type: 'nominal', scale, title: null},
        shape: {field: by, scale: {domain: scale.domain, range: SHAPES}, title: null},
        tooltip: [{field: 'condition', title: 'model'}, {field: 'kind'}, {field: 'site'}, {field: 'layer'},
          {field: 'mean', format: '.3f'}, {field: 'lower', format: '.3f'}, {field: 'upper', format: '.3f'},
          {field: 'headline', title: 'ratio of means', format: '.3f'}, {field: 'n', title: 'pairs'},
          {field: 'trivial'}, {field: 'over'}]}},
    ],
  };
}

figure('figure-profiles', {
  rows: DATA.profiles,
  controls: [MODEL, METRIC, DIRECTION, CORRUPTION],
  spec: (rows, width) => {
    const sites = sitesInOrder(rows);
    const {columns, each} = panels(sites.length, width);
    return {
      data: {values: rows},
      facet: {field: 'site', type: 'nominal', sort: sites},
      columns,
      resolve: {scale: {y: 'independent'}, axis: {x: 'independent'}},
      spec: curves('kind', kindScale(), {width: each, height: 220}),
    };
  },
});

figure('figure-models', {
  rows: DATA.profiles,
  controls: [METRIC, DIRECTION, CORRUPTION],
  spec: (rows, width) => {
    const kinds = DATA.kinds.filter(kind => rows.some(r => r.kind === kind));
    const {columns, each} = panels(kinds.length, width, 280, 60);
    // Kinds share a vertical scale, sites do not.
    const row = site => ({
      transform: [{filter: {field: 'panel', oneOf: kinds.map(kind => `${site}, ${kind}`)}}],
      facet: {field: 'panel', type: 'nominal', sort: kinds.map(kind => `${site}, ${kind}`)},
      columns,
      resolve: {axis: {x: 'independent'}},
      spec: curves('condition', modelScale(), {width: each, height: 190}),
    });
    const sites = sitesInOrder(rows).filter(site => rows.some(r => r.site === site && !r.trivial));
    return {
      data: {values: rows.map(r => ({...r, panel: `${r.site}, ${r.kind}`}))},
      vconcat: sites.map(row),
      resolve: {scale: {y: 'independent'}},
    };
  },
});

// Rectangles over layers with a cross on those that are trivial.
function heat(x, y, size, tooltip) {
  const colour = {field: 'recovery', type: 'quantitative', scale: RECOVERY_SCALE,
    legend: {title: 'recovery', gradientLength: 160, tickCount: 5, orient: 'top'}};
  return {
    ...size,
    layer: [
      {mark: {type: 'rect', stroke: null}, encoding: {color: colour}},
      {transform: [{filter: 'datum.trivial'}],
        mark: {type: 'text', text: '×', fontSize: 11, opacity: 0.75},
        encoding: {color: {value: '#333333', condition: {test: 'abs(datum.recovery) > 0.6', value: '#ffffff'}}}},
    ],
    encoding: {x, y, tooltip},
  };
}

const layerRows = {field: 'layer', type: 'ordinal', title: 'layer', sort: 'descending', axis: {labelOverlap: true}};

// A token as it can be read on an axis.
const readable = token => token.replace(/^ /, '·').replaceAll('\n', '↵') || '∅';

function cells(example) {
  return example.cells.map(([layer, position, recovery, trivial]) => ({
    layer, position, recovery, trivial: trivial === 1,
    token: example.tokens[position], role: example.roles[position],
  }));
}

figure('figure-example', {
  rows: DATA.examples,
  controls: [MODEL, {field: 'site', label: 'Site'}, METRIC, DIRECTION, CORRUPTION,
    {field: 'kind', label: 'Kind'}, {field: 'pair', label: 'Pair'}],
  before: ([example]) => {
    const entry = (name, text) => [element('dt', {}, name), element('dd', {}, text)];
    return element('dl', {class: 'prompt'},
      ...entry('Clean', `${example.clean} → ${example.answer.trim()}`),
      ...entry('Corrupted', `${example.corrupt} → ${example.foil.trim()}`),
      ...entry('Gap', `${example.gap.toFixed(2)} logits; ${example.knows ? 'known' : 'not known'}`));
  },
  spec: ([example], width) => {
    const step = Math.max(16, Math.min(56, Math.floor((width - 90) / example.tokens.length)));
    return {
      params: [{name: 'tokens', value: example.tokens.map(readable)}],
      data: {values: cells(example)},
      ...heat(
        {field: 'position', type: 'ordinal', title: null,
          axis: {labelExpr: 'tokens[datum.value]', labelAngle: -50, labelAlign: 'right', labelBaseline: 'middle', labelOverlap: false}},
        layerRows,
        {width: {step}, height: {step: 22}},
        [{field: 'token'}, {field: 'position'}, {field: 'role'}, {field: 'layer'},
          {field: 'recovery', format: '.3f'}, {field: 'trivial'}],
      ),
    };
  },
  table: ([example]) => cells(example).map(c => ({pair: example.pair, ...c})),
});

figure('figure-map', {
  rows: DATA.maps.map(r => ({...r, recovery: r.mean})),
  controls: [MODEL, {field: 'site', label: 'Site'}, METRIC, DIRECTION, CORRUPTION],
  spec: (rows, width) => {
    const roles = ['before subject', 'subject, first', 'subject, middle', 'subject, last', 'after subject', 'last token', 'elsewhere']
      .filter(role => rows.some(r => r.role === role));
    const kinds = DATA.kinds.filter(kind => rows.some(r => r.kind === kind));
    const {columns, each} = panels(kinds.length, width, 260, 60);
    const made = heat(
      {field: 'role', type: 'ordinal', sort: roles, title: null, axis: {labelAngle: -40}},
      layerRows,
      {width: Math.min(each, 60 * roles.length), height: {step: 22}},
      [{field: 'kind'}, {field: 'role'}, {field: 'layer'}, {field: 'recovery', format: '.3f'},
        {field: 'n', title: 'pairs'}, {field: 'trivial'}],
    );
    return {data: {values: rows}, facet: {field: 'kind', type: 'nominal', sort: kinds}, columns, spec: made};
  },
});

figure('figure-localisation', {
  rows: DATA.localisation,
  controls: [METRIC, DIRECTION, CORRUPTION],
  spec: (rows, width) => {
    const sites = distinct(rows, 'site');
    const {columns, each} = panels(sites.length, width - 120, 240, 40);
    const x = {field: 'entropy', type: 'quantitative', title: 'normalised entropy', scale: {domain: [0, 1]}};
    const y = {field: 'condition', type: 'nominal', title: null, sort: DATA.conditions};
    const offset = {field: 'kind', sort: DATA.kinds};
    const colour = {field: 'kind', scale: kindScale(), title: null};
    return {
      data: {values: rows},
      facet: {field: 'site', type: 'nominal', sort: sites},
      columns,
      spec: {
        width: each, height: {step: 24},
        layer: [
          {mark: {type: 'tick', thickness: 1.5, opacity: 0.55, height: 16},
            encoding: {x, tooltip: [{field: 'pair'}, {field: 'condition', title: 'model'}, {field: 'kind'},
              {field: 'entropy', format: '.3f'}, {field: 'gini', format: '.3f'}, {field: 'layers_80', title: 'layers holding 80%'}]}},
          {mark: {type: 'point', shape: 'diamond', filled: true, size: 110, opacity: 1, stroke: '#ffffff', strokeWidth: 1},
            encoding: {x: {...x, aggregate: 'median'}}},
        ],
        encoding: {y, yOffset: offset, color: colour},
      },
    };
  },
});

figure('figure-paper', {
  rows: DATA.paper.map(r => ({...r, recovery: r.mean})),
  controls: [MODEL],
  spec: (rows, width) => {
    const parts = distinct(rows, 'part');
    const kinds = distinct(rows, 'kind');
    const {columns, each} = panels(kinds.length, width, 260, 90);
    const made = heat(
      {field: 'layer', type: 'ordinal', title: 'layer', axis: {labelAngle: 0, labelOverlap: true}},
      {field: 'part', type: 'ordinal', sort: parts, title: null},
      {width: each, height: {step: 22}},
      [{field: 'module'}, {field: 'kind'}, {field: 'recovery', format: '.3f'},
        {field: 'n', title: 'pairs'}, {field: 'trivial'}],
    );
    return {data: {values: rows}, facet: {field: 'kind', type: 'nominal', sort: kinds}, columns, spec: made};
  },
});

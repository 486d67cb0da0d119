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

// The mark of what the graph alone fixes, as in heat maps.
const TRIVIAL = 'M-1,-1L1,1M-1,1L1,-1';

// What is said of a mean of recovery.
const RECOVERY_HOVER = [{field: 'condition', title: 'model'}, {field: 'kind'}, {field: 'site'}, {field: 'layer'},
  {field: 'mean', format: '.3f'}, {field: 'lower', format: '.3f'}, {field: 'upper', format: '.3f'},
  {field: 'headline', title: 'ratio of means', format: '.3f'}, {field: 'n', title: 'pairs'}, {field: 'of', title: 'of the curve\'s pairs'},
  {field: 'trivial'}, {field: 'over'}];

// Bands and curves over layers, one colour a `by`. Crosses are trivial; hollow marks, with their number, are over fewer
// pairs than their curve has.
function curves(by, scale, size, {y = {title: 'recovery'}, x = layerAxis, tooltip = RECOVERY_HOVER} = {}) {
  const colour = {field: by, scale, title: null};
  return {
    ...size,
    layer: [
      {mark: {type: 'area', opacity: 0.22}, encoding: {y: {field: 'lower', type: 'quantitative', ...y},
        y2: {field: 'upper'}, x, color: colour}},
      {mark: {type: 'rule', opacity: 0.5}, encoding: {y: {datum: 0}}},
      {mark: {type: 'line', strokeWidth: 2}, encoding: {y: {field: 'mean', type: 'quantitative'}, x, color: colour,
        // By conditions, not by a scale: its legend would dash the outlines of the other legends' shapes.
        strokeDash: {value: DASHES[0], condition: scale.domain.slice(1).map((name, i) =>
          ({test: {field: by, equal: name}, value: DASHES[(i + 1) % DASHES.length]}))}}},
      {mark: {type: 'point', size: 50, filled: false, strokeWidth: 1.5, opacity: 1}, encoding: {
        y: {field: 'mean', type: 'quantitative'}, x, color: colour, tooltip,
        fill: {condition: {test: 'datum.n < datum.of', value: 'transparent'}, field: by, type: 'nominal', scale, title: null},
        shape: {condition: {test: 'datum.trivial', value: TRIVIAL}, field: by,
          scale: {domain: scale.domain, range: SHAPES}, title: null}}},
      // An empty text, not a filter: a layer without data has no extent.
      {transform: [{calculate: 'datum.n < datum.of && !datum.trivial ? "" + datum.n : ""', as: 'fewer'}],
        mark: {type: 'text', dy: -11, fontSize: 10}, encoding: {y: {field: 'mean', type: 'quantitative'}, x, color: colour,
          text: {field: 'fewer'}}},
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

// Boxes of values, their pairs as dots beside each other, and their mean or median.
//   value, group   encodings of the value and of what stands in a box
//   upright        whether groups stand beside each other (or below each other)
//   size           pixels of a box, across
function boxes(value, group, upright, size, middle, tooltip) {
  const [along, across, end, offset] = upright ? ['x', 'y', 'y2', 'xOffset'] : ['y', 'x', 'x2', 'yOffset'];
  const scale = {domain: [-1.6, 1.6]};
  const at = {[along]: group, [offset]: {datum: 0, type: 'quantitative', scale}};
  const of = aggregate => ({...value, aggregate});
  const colour = {field: 'kind', type: 'nominal', scale: kindScale(), title: null};
  return [
    {mark: {type: 'rule', opacity: 0.5}, encoding: {...at, [across]: of('min'), [end]: {field: value.field, aggregate: 'max'}}},
    {mark: {type: 'bar', size, opacity: 0.22}, encoding: {...at, color: colour, [across]: of('q1'), [end]: {field: value.field, aggregate: 'q3'}}},
    {mark: {type: 'tick', size, thickness: 1.5, color: '#808891'}, encoding: {...at, [across]: of('median')}},
    {mark: {type: 'circle', size: 22, opacity: 0.6},
      encoding: {[along]: group, [across]: value, tooltip, color: colour, [offset]: {field: 'place', type: 'quantitative', scale}}},
    {mark: {type: 'point', shape: 'diamond', filled: true, size: 90, opacity: 1, strokeWidth: 1, stroke: '#ffffff'},
      encoding: {...at, [across]: of(middle), color: colour}},
  ];
}

// Where the n-th of several dots stands between -1 and 1, so that neighbours do not hide each other.
const beside = n => Number((((n + 1) * 0.618034 % 1) * 2 - 1).toFixed(3));

// One row a pair and layer.
const pairsOf = profiles => profiles.flatMap(p => p.values.flatMap((values, i) => values.flatMap((recovery, n) =>
  recovery === null ? [] : [{condition: p.condition, site: p.site, kind: p.kind, layer: p.layers[i], pair: p.pairs[n],
    recovery, over: p.over, place: beside(n)}])));
const withoutPlace = rows => rows.map(({place, ...row}) => row);

figure('figure-spread', {
  rows: DATA.spread,
  // Sites that add up over layers first.
  controls: [MODEL, {field: 'site', label: 'Site', first: distinct(DATA.spread, 'site').find(s => !s.startsWith('resid'))}, CORRUPTION],
  spec: (profiles, width) => {
    const rows = pairsOf(profiles);
    const kinds = DATA.kinds.filter(kind => rows.some(r => r.kind === kind));
    const {columns, each} = panels(kinds.length, width, 280, 70);
    return {
      data: {values: rows},
      facet: {field: 'kind', type: 'nominal', sort: kinds},
      columns,
      resolve: {axis: {x: 'independent'}},
      spec: {
        width: each, height: 240,
        layer: [
          {mark: {type: 'rule', opacity: 0.5}, encoding: {y: {datum: 0}}},
          ...boxes({field: 'recovery', type: 'quantitative', title: 'recovery'},
            {field: 'layer', type: 'ordinal', title: 'layer', axis: {labelAngle: 0}}, true,
            Math.max(4, Math.min(36, 0.7 * each / profiles[0].layers.length)), 'mean',
            [{field: 'pair'}, {field: 'kind'}, {field: 'layer'}, {field: 'recovery', format: '.3f'}]),
        ],
      },
    };
  },
  table: profiles => withoutPlace(pairsOf(profiles)),
});

figure('figure-localisation', {
  rows: DATA.localisation.flatMap(({pairs, entropy, gini, layers_80, ...of}) => pairs.map((pair, i) => ({
    ...of, pair, entropy: entropy[i], gini: gini[i], layers_80: layers_80[i], group: `${of.condition}, ${of.kind}`,
  }))).map((r, n) => ({...r, place: beside(n)})),
  controls: [METRIC, DIRECTION, CORRUPTION],
  spec: (rows, width) => {
    const sites = distinct(rows, 'site');
    const groups = DATA.conditions.flatMap(c => DATA.kinds.map(k => `${c}, ${k}`)).filter(g => rows.some(r => r.group === g));
    const {columns, each} = panels(sites.length, width - 100, 240, 40);
    return {
      data: {values: rows},
      facet: {field: 'site', type: 'nominal', sort: sites},
      columns,
      spec: {
        width: each, height: {step: 38, for: 'position'},
        layer: boxes({field: 'entropy', type: 'quantitative', title: 'normalised entropy', scale: {domain: [0, 1]}},
          {field: 'group', type: 'ordinal', title: null, sort: groups, axis: {labelExpr: 'split(datum.label, ", ")'}}, false, 26, 'median',
          [{field: 'pair'}, {field: 'condition', title: 'model'}, {field: 'kind'}, {field: 'entropy', format: '.3f'},
            {field: 'gini', format: '.3f'}, {field: 'layers_80', title: 'layers holding 80%'}]),
      },
    };
  },
  table: rows => withoutPlace(rows).map(({group, ...row}) => row),
});

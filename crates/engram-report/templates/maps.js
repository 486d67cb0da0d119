// Heat maps.

// Ink that is read on the colour of its cell.
const ink = scale => ({value: '#333333', condition: {test: `abs(datum.recovery) > ${0.6 * scale.domain[2]}`, value: '#ffffff'}});

// Height of a layer's row: all rows of a deep model fit a screen or two.
const rowStep = (layers, most = 22) => Math.max(5, Math.min(most, Math.floor(1000 / Math.max(1, layers))));

// Rectangles over layers with a cross on those that are trivial, and a hollow circle with their number on those over
// fewer pairs than the map has.
function heat(x, y, size, tooltip, scale = RECOVERY_SCALE) {
  const colour = {field: 'recovery', type: 'quantitative', scale,
    legend: {title: 'recovery', gradientLength: 160, tickCount: 5, orient: 'top'}};
  // What is drawn over a cell stays within its row; a number that cannot be read is left out.
  const row = size.height.step;
  const fewer = row < 14 ? '"○"' : '"○" + datum.n';
  return {
    ...size,
    layer: [
      {mark: {type: 'rect', stroke: null}, encoding: {color: colour}},
      {transform: [{filter: 'datum.trivial'}],
        mark: {type: 'text', text: '×', fontSize: Math.min(11, row), opacity: 0.75},
        encoding: {color: ink(scale)}},
      {transform: [{filter: 'datum.n < datum.of && !datum.trivial'}, {calculate: fewer, as: 'fewer'}],
        mark: {type: 'text', fontSize: Math.min(10, row), opacity: 0.85}, encoding: {text: {field: 'fewer'}, color: ink(scale)}},
    ],
    encoding: {x, y, tooltip},
  };
}

// A mean's interval in words, for hovering.
const INTERVAL = {field: 'interval', title: `${DATA.level} interval`};
const interval = ({lower, upper}) =>
  typeof lower === 'number' ? `[${lower.toFixed(3)}, ${upper.toFixed(3)}]`.replaceAll('-', '−') : '–';
const hovered = row => ({...row, recovery: row.mean, interval: interval(row)});
const withoutHover = rows => rows.map(({recovery, interval: _, ...row}) => row);

// Layers as rows; of a deep model, every tenth has a label.
const layersOf = rows => distinct(rows, 'layer');
const layerRows = layers => ({field: 'layer', type: 'ordinal', title: 'layer', sort: 'descending',
  axis: layers.length > 40 ? {values: layers.filter(layer => layer % 10 === 0)} : {labelOverlap: true}});

// A token as it can be read on an axis.
const readable = token => token.replace(/^ /, '·').replaceAll('\n', '↵') || '∅';

// The cells of one pair, each beside the mean over all pairs at that layer and role.
function cells(example) {
  const same = ['condition', 'site', 'direction', 'corruption', 'metric', 'kind'];
  const means = new Map(DATA.maps.filter(r => same.every(f => r[f] === example[f])).map(r => [`${r.layer} ${r.role}`, r]));
  return example.cells.map(([layer, position, recovery, trivial]) => {
    const all = means.get(`${layer} ${example.roles[position]}`);
    return {layer, position, recovery, trivial: trivial === 1, token: example.tokens[position], role: example.roles[position],
      mean: all ? all.mean : null, lower: all && all.lower, upper: all && all.upper, pairs: all ? all.n : 0};
  });
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
      ...entry('Gap', `${example.gap.toFixed(2)} logits`),
      ...entry('Unpatched', `the model ${example.prefers ? 'prefers' : 'does not prefer'} the right one` +
        (example.says === null ? '' : ` and ${example.says ? 'says' : 'does not say'} the answer`)));
  },
  spec: ([example], width) => {
    const step = Math.max(16, Math.min(56, Math.floor((width - 90) / example.tokens.length)));
    const values = cells(example);
    const layers = layersOf(values);
    return {
      params: [{name: 'tokens', value: example.tokens.map(readable)}],
      data: {values: values.map(c => ({...c, interval: interval(c)}))},
      ...heat(
        {field: 'position', type: 'ordinal', title: null,
          axis: {labelExpr: 'tokens[datum.value]', labelAngle: -50, labelAlign: 'right', labelBaseline: 'middle', labelOverlap: false}},
        layerRows(layers),
        {width: {step}, height: {step: rowStep(layers.length)}},
        [{field: 'token'}, {field: 'position'}, {field: 'role'}, {field: 'layer'},
          {field: 'recovery', title: 'recovery, this pair', format: '.3f'}, {field: 'trivial'},
          {field: 'mean', title: 'mean at this role', format: '.3f'}, INTERVAL, {field: 'pairs', title: 'over pairs'}],
      ),
    };
  },
  table: ([example]) => cells(example).map(c => ({pair: example.pair, ...c})),
});

figure('figure-map', {
  rows: DATA.maps.map(hovered),
  controls: [MODEL, {field: 'site', label: 'Site'}, METRIC, DIRECTION, CORRUPTION],
  spec: (rows, width) => {
    const roles = ['before subject', 'subject, first', 'subject, middle', 'subject, last', 'after subject', 'last token', 'elsewhere']
      .filter(role => rows.some(r => r.role === role));
    const kinds = DATA.kinds.filter(kind => rows.some(r => r.kind === kind));
    const {columns, each} = panels(kinds.length, width, 260, 60);
    const made = heat(
      {field: 'role', type: 'ordinal', sort: roles, title: null, axis: {labelAngle: -40}},
      layerRows(layersOf(rows)),
      {width: Math.min(each, 60 * roles.length), height: {step: rowStep(layersOf(rows).length)}},
      [{field: 'kind'}, {field: 'role'}, {field: 'layer'}, {field: 'recovery', title: 'mean recovery', format: '.3f'}, INTERVAL,
        {field: 'n', title: 'pairs'}, {field: 'of', title: 'of the map\'s pairs'}, {field: 'trivial'}],
    );
    return {data: {values: rows}, facet: {field: 'kind', type: 'nominal', sort: kinds}, columns, spec: made};
  },
  table: withoutHover,
});

// The cells of a grid of heads, or of the strongest neurons.
const EFFECTS = {restores: 'restores', opposes: 'works against the answer', not_shown: 'not shown'};
function parts(grid) {
  const of = Math.max(...grid.cells.map(([, , n]) => n));
  return grid.cells.map(([layer, index, n, mean, lower, upper, p, trivial, effect]) => hovered({
    condition: grid.condition, site: grid.site, metric: grid.metric, direction: grid.direction, kind: grid.kind,
    layer, index, n, of, mean, lower, upper, p, trivial: trivial === 1, effect: EFFECTS[effect]}));
}
const PARTS = [MODEL, {field: 'site', label: 'Site'}, METRIC, DIRECTION, CORRUPTION, {field: 'kind', label: 'Kind'}];
const partHover = part => [{field: 'layer'}, {field: 'index', title: part}, {field: 'recovery', title: 'mean recovery', format: '.3f'},
  INTERVAL, {field: 'n', title: 'pairs'}, {field: 'p', title: 'p, adjusted', format: '.2~g'}, {field: 'effect', title: 'shown'}, {field: 'trivial'}];
// Parts restore little each: the scale ends at the largest, either way.
function partScale(rows) {
  const most = Math.max(0.01, ...rows.map(r => Math.abs(r.mean)));
  return {...RECOVERY_SCALE, domain: [-most, 0, most]};
}

figure('figure-heads', {
  rows: DATA.heads,
  controls: PARTS,
  spec: ([grid], width) => {
    const rows = parts(grid);
    const heads = distinct(rows, 'index').length;
    const step = Math.max(14, Math.min(44, Math.floor((width - 90) / heads)));
    const height = rowStep(layersOf(rows).length, Math.min(step, 28));
    const made = heat(
      {field: 'index', type: 'ordinal', title: 'head', axis: {labelAngle: 0, labelOverlap: true}},
      layerRows(layersOf(rows)), {width: {step}, height: {step: height}}, partHover('head'), partScale(rows));
    const marked = (effect, shape) => ({transform: [{filter: `datum.effect === '${effect}' && !datum.trivial`}],
      mark: {type: 'point', shape, size: height * 4, strokeWidth: 1.5, filled: false},
      encoding: {color: ink(partScale(rows))}});
    return {data: {values: rows}, ...made,
      layer: [...made.layer, marked(EFFECTS.restores, 'circle'), marked(EFFECTS.opposes, 'square')]};
  },
  table: ([grid]) => withoutHover(parts(grid)),
});

// How many neurons are drawn; the CSV has all that are kept.
const NEURONS = 30;
figure('figure-neurons', {
  rows: DATA.neurons,
  controls: PARTS,
  spec: ([grid], width) => {
    const rows = parts(grid).slice(0, NEURONS).map(r => ({...r, name: `${r.layer}.${r.index}`}));
    const y = {field: 'name', type: 'ordinal', title: 'layer.neuron', sort: rows.map(r => r.name)};
    const x = {type: 'quantitative', title: 'recovery'};
    const scale = partScale(rows);
    return {
      data: {values: rows}, width: width - 90, height: {step: 17},
      layer: [
        {mark: {type: 'rule', opacity: 0.5}, encoding: {x: {datum: 0, type: 'quantitative'}}},
        {mark: {type: 'rule', strokeWidth: 1.5, opacity: 0.7}, encoding: {y, x: {...x, field: 'lower'}, x2: {field: 'upper'}}},
        {mark: {type: 'point', filled: true, size: 80, opacity: 1, stroke: 'currentColor', strokeWidth: 0.7}, encoding: {y, x: {...x, field: 'mean'},
          color: {field: 'mean', type: 'quantitative', scale, legend: null},
          shape: {field: 'effect', type: 'nominal', scale: {domain: Object.values(EFFECTS), range: ['circle', 'square', 'diamond']},
            legend: {title: null, labelExpr: `datum.value === '${EFFECTS.not_shown}' ? datum.value : datum.value + ' (p < ${DATA.alpha} adjusted, mean ${DATA.least} or more)'`}},
          tooltip: partHover('neuron')}},
      ],
      config: {legend: {columns: 1}},
    };
  },
  table: ([grid]) => withoutHover(parts(grid)),
});

figure('figure-published', {
  rows: DATA.published.map(hovered),
  controls: [MODEL],
  spec: (rows, width) => {
    const parts = distinct(rows, 'part');
    const kinds = distinct(rows, 'kind');
    const {columns, each} = panels(kinds.length, width, 260, 90);
    const made = heat(
      {field: 'layer', type: 'ordinal', title: 'layer', axis: {labelAngle: 0, labelOverlap: true}},
      {field: 'part', type: 'ordinal', sort: parts, title: null},
      {width: each, height: {step: 22}},
      [{field: 'module'}, {field: 'kind'}, {field: 'recovery', title: 'mean recovery', format: '.3f'}, INTERVAL,
        {field: 'n', title: 'pairs'}, {field: 'trivial'}],
    );
    return {data: {values: rows}, facet: {field: 'kind', type: 'nominal', sort: kinds}, columns, spec: made};
  },
  table: withoutHover,
});

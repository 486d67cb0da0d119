// Edits: how well they hold where, and what else moves.

const EDITS = [MODEL, {field: 'method', label: 'Method', first: 'rome'}, {field: 'name', label: 'Edits'}];

// The panels from top to bottom, each with what its share counts.
const PANELS = {
  recovery: 'Recovery: how much patching mlp_out restores',
  efficacy: 'Efficacy: the new answer wins',
  paraphrase: 'Paraphrase: it wins in other words',
  neighbourhood: 'Neighbourhood: other facts keep their answers',
  S: 'S: harmonic mean of the three',
};

// Kinds keep their colours; facts of no kind are grey.
function factScale(rows) {
  const all = [...new Set([...DATA.kinds, ...distinct(rows, 'kind')])];
  const domain = all.filter(kind => rows.some(r => r.kind === kind));
  return {domain, range: domain.map(kind => KIND_COLOURS[DATA.kinds.includes(kind) ? DATA.kinds.indexOf(kind) : 4])};
}

const share = x => `${(100 * x).toFixed(1)}%`.replace('-', '−');
const shareInterval = ({share: mean, lower, upper}) =>
  typeof lower === 'number' && (lower !== mean || upper !== mean) ? `[${share(lower)}, ${share(upper)}]` : '–';

figure('figure-edits', {
  rows: DATA.edits,
  controls: EDITS,
  spec: (rows, width) => {
    const names = Object.keys(PANELS).filter(name => rows.some(r => r.panel === name));
    const layers = rows.map(r => r.layer);
    const scale = factScale(rows);
    const best = rows.filter(r => r.best && r.panel === 'S').map(({layer, kind}) => ({layer, kind}));
    const panel = (name, i) => {
      const last = i === names.length - 1;
      const isShare = name !== 'recovery';
      const x = {...layerAxis, scale: {domain: [Math.min(...layers), Math.max(...layers)], padding: 14, nice: false},
        axis: {...layerAxis.axis, labels: last, ticks: last, title: last ? 'layer' : null}};
      const y = {title: null, scale: isShare ? {domain: [0, 1]} : {},
        axis: {minExtent: 44, ...(isShare ? {format: percent, values: [0, 0.5, 1]} : {tickCount: 3})}};
      const tooltip = [{field: 'kind'}, {field: 'layers', title: 'layer'}, {field: 'said', title: name}, INTERVAL,
        ...(isShare ? [{field: 'was', title: 'before the edit'}, {field: 'n', title: 'facts'}]
          : [{field: 'n', title: 'pairs'}, {field: 'trivial'}])];
      const made = curves('kind', scale, {width: width - 60, height: isShare ? 110 : 90}, {y, x, tooltip});
      const colour = {field: 'kind', scale, title: null};
      const whisker = {mark: {type: 'rule', strokeWidth: 1.2, opacity: 0.6},
        encoding: {x, y: {field: 'lower', type: 'quantitative'}, y2: {field: 'upper'}, color: colour}};
      const before = {mark: {type: 'line', strokeWidth: 1.2, strokeDash: [1, 3], opacity: 0.9},
        encoding: {x, y: {field: 'before', type: 'quantitative'}, color: colour}};
      const peak = {data: {values: best}, mark: {type: 'rule', strokeDash: [5, 4], opacity: 0.55},
        encoding: {x, color: colour}};
      return {
        title: {text: width < 500 ? PANELS[name].split(':')[0] : PANELS[name], fontSize: 12, fontWeight: 600, offset: 6},
        data: {values: rows.filter(r => r.panel === name).map(r => ({...r,
          said: isShare ? share(r.mean) : r.mean.toFixed(3).replace('-', '−'), was: isShare ? share(r.before) : null,
          interval: isShare ? shareInterval({...r, share: r.mean}) : interval(r)}))},
        ...made,
        layer: [peak, ...(isShare ? [before] : []), whisker, ...made.layer],
      };
    };
    return {vconcat: names.map(panel), spacing: 14, resolve: {legend: {color: 'shared', shape: 'shared', fill: 'shared'}}};
  },
});

// Where the values of a list change, and what they are between.
function blocks(values) {
  const made = [];
  values.forEach((value, i) => {
    const last = made.at(-1);
    if (last && last.value === value) last.to = i + 1;
    else made.push({value, from: i, to: i + 1});
  });
  return made.map(b => ({...b, middle: (b.from + b.to) / 2}));
}

// One row an edit and another fact.
function moves({facts, edits, change, lost}) {
  const fact = new Map(facts.map(([name, kind, relation]) => [name, {kind, relation}]));
  const gone = new Set(lost.map(([row, column]) => `${row} ${column}`));
  return change.flatMap((values, row) => values.flatMap((value, column) => value === null ? [] : [{
    edited: edits[row], edited_kind: fact.get(edits[row])?.kind, edited_relation: fact.get(edits[row])?.relation,
    fact: facts[column][0], kind: facts[column][1], relation: facts[column][2],
    change: value, lost: gone.has(`${row} ${column}`), row, column,
  }]));
}

// The matrix; kinds stand above their facts.
function matrix(effects, side) {
  const [columns, rows] = [effects.facts.length, effects.edits.length];
  // Whole pixels, so that cells touch.
  const cell = Math.max(3, Math.floor(side / columns));
  const height = rows === 1 ? 28 : rows * cell;
  const kinds = blocks(effects.facts.map(f => f[1]));
  const edited = blocks(effects.edits.map(e => effects.facts.find(f => f[0] === e)?.[1]));
  const axis = {labels: false, ticks: false, grid: false, domain: false};
  const x = {type: 'quantitative', scale: {domain: [0, columns], nice: false}, title: 'other fact', axis};
  const y = {type: 'quantitative', scale: {domain: [0, rows], nice: false, reverse: true},
    title: rows === 1 ? 'all edited' : 'edited fact', axis: {...axis, titlePadding: rows === 1 ? 6 : 20}};
  const named = blocks => blocks.filter(b => b.value);
  const border = (blocks, encoding) => ({data: {values: blocks.slice(1)}, mark: {type: 'rule', strokeWidth: 1, color: '#59636e'}, encoding});
  return {
    width: columns * cell, height,
    data: {values: moves(effects).map(r => ({...r, right: r.column + 1, below: r.row + 1}))},
    layer: [
      {mark: {type: 'rect', stroke: null}, encoding: {
        x: {...x, field: 'column'}, x2: {field: 'right'}, y: {...y, field: 'row'}, y2: {field: 'below'},
        color: {field: 'change', type: 'quantitative', scale: RECOVERY_SCALE,
          legend: {title: 'change (nats)', gradientLength: 160, tickCount: 5, orient: 'top', offset: 24}},
        tooltip: [{field: 'edited'}, {field: 'edited_kind', title: 'its kind'}, {field: 'edited_relation', title: 'its relation'},
          {field: 'fact', title: 'other fact'}, {field: 'kind'}, {field: 'relation'}, {field: 'change', format: '.3f'}, {field: 'lost'}]}},
      {transform: [{filter: 'datum.lost'}, {calculate: 'datum.column + 0.5', as: 'x'}, {calculate: 'datum.row + 0.5', as: 'y'}],
        mark: {type: 'point', shape: 'M-1,-1L1,1M-1,1L1,-1', size: Math.min(0.5 * cell, 10) ** 2, strokeWidth: cell < 8 ? 1 : 1.4, opacity: 1},
        encoding: {x: {...x, field: 'x'}, y: {...y, field: 'y'},
          color: {value: '#333333', condition: {test: 'abs(datum.change) > 0.6', value: '#ffffff'}}}},
      border(kinds, {x: {...x, field: 'from'}}),
      border(edited, {y: {...y, field: 'from'}}),
      {data: {values: named(kinds)}, mark: {type: 'text', dy: -7, baseline: 'bottom'},
        encoding: {x: {...x, field: 'middle'}, y: {value: 0}, text: {field: 'value'}}},
      ...(rows === 1 ? [] : [{data: {values: named(edited)}, mark: {type: 'text', dy: -7, angle: 270, baseline: 'bottom'},
        encoding: {x: {value: 0}, y: {...y, field: 'middle'}, text: {field: 'value'}}}]),
    ],
  };
}

// Shares lost: after edits of each kind, and among facts of each closeness.
function sharesLost({shares}, width) {
  const most = Math.max(0.01, ...shares.map(s => s.upper ?? s.share));
  const x = {type: 'quantitative', scale: {domain: [0, most]}, axis: {format: '~%', tickCount: 3}};
  const bars = (group, last) => {
    const rows = shares.filter(s => s.group === group);
    const y = {field: 'name', type: 'ordinal', sort: rows.map(r => r.name), title: null, axis: {minExtent: 84}};
    const along = {...x, title: last ? 'share lost' : null};
    return {
      title: {text: group, fontSize: 12, fontWeight: 600, offset: 6},
      width, height: {step: 24},
      data: {values: rows.map(r => ({...r, said: share(r.share), interval: shareInterval(r)}))},
      layer: [
        {mark: {type: 'bar', height: 12, opacity: 0.75, color: '#8a9099'}, encoding: {x: {...along, field: 'share'}}},
        {mark: {type: 'rule', strokeWidth: 1.5}, encoding: {x: {...along, field: 'lower'}, x2: {field: 'upper'}}},
      ],
      encoding: {y, tooltip: [{field: 'name', title: group}, {field: 'said', title: 'lost'}, INTERVAL, {field: 'of', title: 'over'}]},
    };
  };
  const groups = distinct(shares, 'group');
  return {vconcat: groups.map((group, i) => bars(group, i === groups.length - 1)), spacing: 16};
}

figure('figure-side-effects', {
  rows: DATA.side_effects,
  controls: EDITS,
  spec: ([effects], width) => {
    const wide = width > 800;
    const map = matrix(effects, Math.min(wide ? width - 450 : width - 60, 620));
    const parts = effects.shares.length ? [map, sharesLost(effects, wide ? 240 : width - 130)] : [map];
    return {[wide ? 'hconcat' : 'vconcat']: parts, align: 'none', spacing: 36, resolve: {scale: {color: 'independent'}}};
  },
  table: ([effects]) => moves(effects).map(({row, column, ...rest}) => rest),
});

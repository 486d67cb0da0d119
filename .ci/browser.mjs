// The report in a real browser: no message on the console, no request beyond the file, every figure drawn, every
// choice redraws its figure, every download gives a file. Screenshots at three widths, and the page as it prints.
//
//   node browser.mjs report.html FOLDER          (beside node_modules with playwright-core; Debian's chromium)
import {createHash} from 'node:crypto';
import {mkdirSync, readFileSync} from 'node:fs';
import {resolve} from 'node:path';
import {pathToFileURL} from 'node:url';
import {chromium} from 'playwright-core';

const [report, folder] = process.argv.slice(2).map(p => resolve(p));
const url = pathToFileURL(report).href;
const problems = [];
const check = (what, holds) => { if (!holds) problems.push(what); };
mkdirSync(folder, {recursive: true});

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});

async function open(options) {
  const context = await browser.newContext({acceptDownloads: true, ...options});
  const page = await context.newPage();
  page.on('console', message => {
    if (['error', 'warning'].includes(message.type())) problems.push(`console: ${message.text()}`);
  });
  page.on('pageerror', error => problems.push(`error: ${error.message}`));
  page.on('request', request => {
    if (!/^(file|data|blob):/.test(request.url())) problems.push(`request: ${request.url()}`);
  });
  await page.goto(url);
  await page.waitForFunction(() => [...document.querySelectorAll('figure')]
    .every(f => f.querySelector('.chart svg, .chart .empty')));
  return page;
}

const hash = text => createHash('sha256').update(text).digest('hex');
const page = await open({viewport: {width: 1280, height: 900}});
const figures = await page.locator('figure[id^="figure-"]').all();
check('no figure at all', figures.length > 0);
let switches = 0;
let downloads = 0;
for (const figure of figures) {
  const id = await figure.getAttribute('id');
  const drawn = () => figure.locator('.chart').innerHTML().then(hash);
  for (const select of await figure.locator('select').all()) {
    if (!(await select.isVisible())) continue;
    const values = await select.locator('option').evaluateAll(all => all.map(o => o.value));
    const before = await drawn();
    const now = await select.inputValue();
    const other = values.find(v => v !== now);
    if (other === undefined) continue;
    await select.selectOption(other);
    await page.waitForTimeout(400);
    const name = await select.getAttribute('name');
    check(`${id}: another ${name} draws the same`, (await drawn()) !== before);
    switches += 1;
  }
  for (const button of await figure.locator('.downloads button').all()) {
    const [download] = await Promise.all([page.waitForEvent('download'), button.click()]);
    const path = `${folder}/${download.suggestedFilename()}`;
    await download.saveAs(path);
    const bytes = readFileSync(path);
    const begins = {svg: '<svg', png: '\u0089PNG', csv: ''}[path.split('.').pop()];
    check(`${path}: empty or of another kind`,
      bytes.length > 20 && bytes.subarray(0, 4).toString('latin1').startsWith(begins));
    downloads += 1;
  }
}
check('no figure has a choice', switches > 0);
check('no figure has a download', downloads > 0);

// What is under the pointer says its value and interval, and over how many; where a report has the figure.
async function says(place, nth, what) {
  const marks = page.locator(place);
  if (!(await marks.count())) return;
  const mark = marks.nth(nth);
  await mark.scrollIntoViewIfNeeded();
  const box = await mark.boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await page.waitForTimeout(300);
  const said = await page.locator('#vg-tooltip-element').innerText().catch(() => '');
  check(`${place} says: ${said}`, what.every(w => w.test(said)));
}
await says('#figure-map .chart .mark-rect path', 1, [/mean recovery\s+−?\d/, /interval\s+(\[|–)/]);
await says('#figure-edits .chart path[aria-roledescription="point"]', -1, [/S\s+\d/, /interval\s+(\[|–)/, /facts\s+\d/]);
await says('#figure-side-effects .chart .mark-rect path[aria-roledescription="rect mark"]', 1,
  [/other fact\s+\S/, /change\s+−?\d/]);

// Everything that can be worked can be reached by the keyboard and has a name.
const nameless = await page.evaluate(() => [...document.querySelectorAll('button, select, summary, a[href]')]
  .filter(e => !(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label')?.textContent.trim()))
  .map(e => e.outerHTML.slice(0, 80)));
nameless.forEach(e => problems.push(`no name: ${e}`));

for (const [name, options] of [
  ['phone', {viewport: {width: 360, height: 740}}],
  ['tablet', {viewport: {width: 820, height: 1100}}],
  ['desktop', {viewport: {width: 1280, height: 900}}],
  ['dark', {viewport: {width: 1280, height: 900}, colorScheme: 'dark'}],
]) {
  const shown = await open(options);
  const wide = await shown.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  check(`${name}: the page is ${wide} pixels wider than the screen`, wide <= 1);
  await shown.screenshot({path: `${folder}/${name}.png`, fullPage: true});
  await shown.context().close();
}
await page.pdf({path: `${folder}/print.pdf`, format: 'A4', preferCSSPageSize: true, printBackground: true});
await browser.close();

console.log(`${figures.length} figures, ${switches} choices, ${downloads} downloads`);
if (problems.length) {
  problems.forEach(p => console.error(p));
  process.exit(1);
}

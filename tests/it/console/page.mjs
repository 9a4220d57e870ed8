// Pages for the web in a real browser: Chromium, driven by playwright-core. Started by
// tests/it/the_page_is_for_the_web.rs with the files on the command line; prints a line of JSON a
// file, with what its tables hold.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const { TOOLS, CHROMIUM, SCREENSHOTS } = process.env;
const require = createRequire(`${TOOLS}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const WAYS = [
  ["desktop", "light", 1280], ["desktop", "dark", 1280], ["phone", "light", 360], ["phone", "dark", 360],
];

/** Every cell of every table with the words of its headers, as HTML has it: those that it names, or
 * else those of its column and of its row. */
const tables = () => [...document.querySelectorAll("table")].map((table) => {
  const words = (cell) => cell.textContent.trim();
  const places = [];
  [...table.rows].forEach((row, y) => {
    let x = 0;
    for (const cell of row.cells) {
      while (places[y]?.[x]) x++;
      for (let down = 0; down < cell.rowSpan; down++) {
        for (let across = 0; across < cell.colSpan; across++) (places[y + down] ??= [])[x + across] = cell;
      }
    }
  });
  const cells = [];
  places.forEach((row, y) => row.forEach((cell, x) => {
    if (cell.tagName !== "TD" || cell.parentElement.parentElement.tagName === "THEAD") return;
    let heads;
    if (cell.hasAttribute("headers")) {
      heads = cell.headers.split(" ").filter(Boolean).map((id) => {
        const head = document.getElementById(id);
        if (head?.tagName !== "TH" || head.closest("table") !== table) throw new Error(`${id} is no head here`);
        return head;
      });
    } else {
      const above = places.slice(0, y).map((row) => row[x]).filter((it) => it?.scope === "col");
      const beside = row.filter((it) => it.scope === "row");
      heads = [...above, ...beside];
    }
    cells.push({ text: words(cell), heads: [...new Set(heads)].map(words) });
  }));
  const heading = table.closest("section:not(.wide)")?.querySelector("h2");
  return { section: heading ? words(heading) : "", caption: table.caption ? words(table.caption) : "", cells };
});

/** The official heads of which a line has one character alone. */
const torn = () => [...document.querySelectorAll(".figures thead th, .list thead th")].filter((head) => {
  const lines = new Map();
  const texts = document.createTreeWalker(head, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    for (let at = 0; at < texts.currentNode.length; at++) {
      const range = document.createRange();
      range.setStart(texts.currentNode, at);
      range.setEnd(texts.currentNode, at + 1);
      const top = Math.round(range.getBoundingClientRect().top);
      lines.set(top, (lines.get(top) ?? 0) + 1);
    }
  }
  return lines.size > 1 && [...lines.values()].includes(1);
}).map((head) => head.textContent);

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });

const look = async (file, [kind, colorScheme, width]) => {
  // axe is put into the page, which the page's own policy would not allow.
  const context = await browser.newContext({
    bypassCSP: true, colorScheme, viewport: { width, height: 800 }, isMobile: kind === "phone",
  });
  const page = await context.newPage();
  const wrong = [];
  page.on("console", (it) => wrong.push(it.text()));
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("dialog", (it) => { wrong.push(`a dialog: ${it.message()}`); it.dismiss(); });
  page.on("request", (it) => { if (it.url() !== `file://${file}`) wrong.push(`asked ${it.url()}`); });
  await page.goto(`file://${file}`);
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run());
  wrong.push(...violations.map((it) => `${it.id}: ${it.nodes.map((node) => node.html).slice(0, 3).join(" | ")}`));
  assert.deepEqual(wrong, [], `${file}, ${kind}, ${colorScheme}`);
  const { seen, room } = await page.evaluate(() => ({ seen: document.documentElement.scrollWidth, room: window.innerWidth }));
  assert.ok(seen <= room, `${file}, ${kind}: the page itself scrolls sideways, ${seen} of ${room}`);
  assert.equal(await page.evaluate(() => window.ran), undefined, `${file}: something ran`);
  assert.deepEqual(await page.evaluate(torn), [], `${file}, ${kind}: a head is torn`);
  if (kind === "phone") {
    // Whoever has no mouse scrolls a wide table with the keys.
    for (const frame of await page.locator(".wide").all()) {
      await frame.focus();
      const before = await frame.evaluate((it) => it.scrollLeft);
      await page.keyboard.press("ArrowRight");
      await page.waitForFunction(([it, before]) => it.scrollLeft > before, [await frame.elementHandle(), before]);
    }
  }
  const name = file.split("/").pop().replace(/\.html$/, "");
  if (SCREENSHOTS) await page.screenshot({ path: `${SCREENSHOTS}/${name}-${kind}-${colorScheme}.png`, fullPage: true });
  const found = await page.evaluate(tables);
  const headings = await page.evaluate(() => [...document.querySelectorAll("h1, h2")].map((it) => it.textContent.trim()));
  const data = await page.evaluate(() => document.getElementById("report").textContent);
  const text = await page.evaluate(() => document.querySelector("main").textContent);
  await context.close();
  return { headings, tables: found, data, text };
};

for (const [at, file] of process.argv.slice(2).entries()) {
  // The styles are the same in all: the first in each way, the others in each width and each scheme.
  const ways = at === 0 || SCREENSHOTS ? WAYS : [WAYS[0], WAYS[3]];
  const [seen, ...others] = await Promise.all(ways.map((way) => look(file, way)));
  for (const other of others) assert.deepEqual(other, seen);
  console.log(JSON.stringify(seen));
}
await browser.close();

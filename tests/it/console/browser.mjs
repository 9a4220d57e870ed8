// What the pages of the console are in a real browser: Chromium, driven by playwright-core.
// Started by tests/it/the_console_shows_it.rs, which tells it where everything is; each check is
// named on the command line.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

// SCREENSHOTS names a folder for pictures of what is seen, PICTURES those that are wanted; without
// it all are.
const { BASE, TOOLS, BANSHI, JOBS, CHROMIUM, SCREENSHOTS, PICTURES, TOKEN } = process.env;
const require = createRequire(`${TOOLS}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const jobs = JSON.parse(JOBS ?? "{}");

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });

/** A page that fails the check on any error, dialog or request that leaves the console. */
const open = async (options = {}) => {
  const context = await browser.newContext({
    locale: "en-US", viewport: { width: 1280, height: 900 }, ...options,
  });
  const page = await context.newPage();
  const wrong = [];
  page.on("console", (it) => { if (it.type() === "error") wrong.push(it.text()); });
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("dialog", (it) => { wrong.push(`a dialog: ${it.message()}`); it.dismiss(); });
  page.on("request", (it) => {
    if (!it.url().startsWith(BASE) && !it.url().startsWith("data:")) wrong.push(`asked ${it.url()}`);
  });
  const visit = async (path) => {
    const answer = await page.goto(BASE + path);
    await page.waitForLoadState("load");
    return answer;
  };
  const close = async () => {
    assert.deepEqual(wrong, []);
    await context.close();
  };
  return { page, visit, close, context };
};

const shoot = async (page, name) => {
  const wanted = !PICTURES || PICTURES.split(" ").includes(name);
  if (SCREENSHOTS && wanted) await page.screenshot({ path: `${SCREENSHOTS}/${name}.png`, fullPage: true });
};

const job = (id) => `/jobs/${encodeURIComponent(id)}`;
const pages = () => [
  ["overview", "/"], ["jobs", "/jobs"], ["dead", "/dead"], ["unrouted", "/dead?queue=unrouted"],
  ["fleet", "/fleet"], ["templates", "/templates"], ["template", "/templates/annual-report/2021"],
  ["completed", job(jobs.completed)], ["rejected", job(jobs.rejected)], ["unknown", job("never-sent")],
];

const checks = {
  /** Every page in both languages, light and dark: no error, nothing serious that axe-core finds. */
  async pages() {
    for (const locale of ["zh-CN", "en-US"]) {
      for (const colorScheme of ["light", "dark"]) {
        // axe is put into the page, which the page's own policy would not allow.
        const { page, visit, close } = await open({ locale, colorScheme, bypassCSP: true });
        for (const [name, path] of pages()) {
          const answer = await visit(path);
          assert.equal(answer.status(), 200, path);
          assert.equal(await page.locator("html").getAttribute("lang"), locale === "zh-CN" ? "zh-CN" : "en");
          assert.equal(await page.locator("h1").count(), 1, path);
          if (name === "overview") await page.locator(".u-over").nth(1).waitFor();
          await page.evaluate(axe);
          const { violations } = await page.evaluate(() => window.axe.run());
          const serious = violations.filter((it) => ["serious", "critical"].includes(it.impact));
          const found = serious.map((it) => `${it.id}: ${it.nodes.map((node) => node.html).slice(0, 3).join(" | ")}`);
          assert.deepEqual(found, [], `${path}, ${locale}, ${colorScheme}`);
          await shoot(page, `${name}-${locale.slice(0, 2)}-${colorScheme}`);
        }
        await close();
      }
    }
  },

  /** The language changes by its link, and is kept. */
  async language() {
    const { page, visit, close } = await open();
    await visit("/jobs?kind=rejected");
    await page.getByRole("link", { name: "中文" }).click();
    assert.equal(await page.locator("h1").textContent(), "作业");
    assert.match(page.url(), /kind=rejected/);
    await visit("/");
    assert.equal(await page.locator("h1").textContent(), "总览");
    await close();
  },

  /** From the overview to a job's problems by the keyboard alone. */
  async keyboard() {
    const { page, visit, close } = await open();
    const focused = () => page.evaluate(() => {
      const it = document.activeElement;
      return [it.tagName, it.textContent?.trim() || it.getAttribute("name") || ""].join(" ");
    });
    const tabTo = async (wanted) => {
      for (let count = 0; count < 60; count++) {
        await page.keyboard.press("Tab");
        const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
        assert.notEqual(outline, "none", "what has the focus is seen to have it");
        if ((await focused()).startsWith(wanted)) return;
      }
      assert.fail(`no Tab leads to ${wanted}`);
    };
    await visit("/");
    await page.keyboard.press("Tab");
    assert.equal(await focused(), "A Skip to content");
    await tabTo("A Jobs");
    await page.keyboard.press("Enter");
    await page.waitForURL("**/jobs");
    await tabTo("INPUT q");
    await page.keyboard.type(jobs.rejected);
    await page.keyboard.press("Enter");
    await page.waitForURL("**/jobs?q=*");
    await tabTo(`A ${jobs.rejected}`);
    await page.keyboard.press("Enter");
    await page.waitForURL(`**${job(jobs.rejected)}`);
    assert.ok(await page.locator(".problems li").count() > 0);
    await close();
  },

  /** What is new appears by itself. */
  async live() {
    const { page, visit, close } = await open();
    await visit("/");
    const ended = page.locator("#verdict .figure").nth(3).locator("strong");
    const before = Number((await ended.textContent()).replaceAll(",", ""));
    execFileSync(BANSHI, ["enqueue", jobs.another], { stdio: "pipe" });
    await page.waitForFunction(
      (count) => Number(document.querySelectorAll("#verdict .figure strong")[3].textContent.replaceAll(",", "")) > count,
      before, { timeout: 30_000 },
    );
    await close();
  },

  /** A refused job: its problems in both languages, its page, and a mark that leads to its problem. */
  async rejected() {
    const { page, visit, close } = await open({ locale: "zh-CN" });
    await visit(job(jobs.rejected));
    const first = page.locator("#problem-1");
    assert.equal(await first.locator("code").first().textContent(), jobs.code);
    assert.match(await first.locator("[lang=en]").textContent(), /[a-z]/);
    assert.match(await first.locator("[lang=zh-CN]").textContent(), /[一-龥]/);
    const picture = page.locator("svg.page image").first();
    const answer = await page.request.get(BASE + await picture.getAttribute("href"));
    assert.equal(answer.headers()["content-type"], "image/png");
    assert.ok((await answer.body()).length > 10_000);
    const mark = page.locator("svg.page a:has(rect.mark)").first();
    const named = await mark.getAttribute("href");
    assert.equal(await page.locator(named).count(), 1);
    await mark.click();
    assert.equal(new URL(page.url()).hash, named);
    await close();
  },

  /** A completed job: its pages as pictures, and its PDF. */
  async completed() {
    const { page, visit, close } = await open();
    await visit(job(jobs.completed));
    assert.equal(await page.locator(".headline .badge").first().textContent(), "completed");
    const images = page.locator(".sheets img");
    assert.ok(await images.count() >= 3);
    await images.first().evaluate((it) => it.decode());
    const pdf = await page.request.get(`${BASE}${job(jobs.completed)}/report.pdf`);
    assert.equal((await pdf.body()).subarray(0, 5).toString(), "%PDF-");
    await close();
  },

  /** What stands beside a PDF is named and given out in both languages; a page of it runs nothing. */
  async companions() {
    for (const [locale, ofd, html] of [["en-US", "download", "open"], ["zh-CN", "下载", "打开"]]) {
      const { page, visit, close } = await open({ locale });
      await visit(job(jobs.companions));
      const link = (format) => page.locator(`a[href="${job(jobs.companions)}/report.${format}"]`);
      assert.equal(await link("ofd").textContent(), ofd);
      assert.equal(await link("html").textContent(), html);
      assert.equal(await link("pdf.p7s").textContent(), ofd);
      await shoot(page, `companions-${locale.slice(0, 2)}-light`);
      await page.emulateMedia({ colorScheme: "dark" });
      await shoot(page, `companions-${locale.slice(0, 2)}-dark`);
      const facts = await page.locator("section .facts").allTextContents();
      for (const [at, format] of [[1, "ofd"], [2, "html"], [3, "pdf.p7s"]]) {
        const answer = await page.request.get(BASE + await link(format).getAttribute("href"));
        const body = await answer.body();
        assert.ok(facts[at].includes(createHash("sha256").update(body).digest("hex")), facts[at]);
        if (format === "ofd") assert.equal(body.subarray(0, 2).toString(), "PK");
      }
      const shown = await visit(`${job(jobs.companions)}/report.html`);
      assert.match(shown.headers()["content-security-policy"], /^sandbox; default-src 'none';/);
      assert.ok((await page.locator("body").innerText()).includes(jobs.agency));
      const width = await page.locator("main").evaluate((it) => getComputedStyle(it).maxWidth);
      assert.notEqual(width, "none", "it has its own style");
      assert.equal(await page.evaluate(() => window.pwned), undefined);
      await close();
    }
  },

  /** The fleet: one worker has other templates, and one has fallen silent. */
  async fleet() {
    const { page, visit, close } = await open();
    await visit("/fleet");
    await page.locator(".banner.warn", { hasText: "differ in: templates" }).waitFor({ timeout: 30_000 });
    assert.equal(await page.locator(".worker").count(), 3);
    await page.locator(".worker .badge", { hasText: "silent" }).waitFor({ timeout: 40_000 });
    await close();
  },

  /** Nothing that a job contains runs in a page, or is taken for the page's own. */
  async hostile() {
    const { page, visit, close } = await open();
    for (const path of ["/", "/jobs", "/dead", "/dead?queue=unrouted", "/fleet", ...jobs.hostile.map(job)]) {
      await visit(path);
      await page.waitForTimeout(300);
      assert.equal(await page.evaluate(() => window.pwned), undefined, path);
      assert.equal(await page.locator("main script, main iframe, main object, img[src=x]").count(), 0, path);
    }
    for (const query of ["<script>window.pwned=1</script>", "\"><img src=x onerror=window.pwned=1>", "javascript:window.pwned=1"]) {
      for (const path of ["/jobs?q=", "/jobs?template=", "/jobs?code=", "/dead?q=", "/dead?queue=", "/dead?code=", "/?lang="]) {
        await visit(path + encodeURIComponent(query));
        assert.equal(await page.evaluate(() => window.pwned), undefined, path);
      }
    }
    await close();
  },

  /** What somebody sees who opens a page, in a picture of it. */
  async sees() {
    const { page, visit, close } = await open();
    await visit(jobs.path);
    for (const words of jobs.words) await page.getByText(words).first().waitFor({ timeout: 30_000 });
    await page.screenshot({ path: jobs.picture, fullPage: true });
    await close();
  },

  /** Read-only: there is nothing to press, and what is sent all the same is refused. */
  async read_only() {
    const { page, visit, close } = await open();
    await visit("/dead");
    assert.equal(await page.locator("#kept button").count(), 0);
    const csrf = await page.locator("#kept input[name=csrf]").inputValue();
    const sent = await page.request.post(`${BASE}/dead/drop`, { form: { csrf, id: jobs.rejected } });
    assert.equal(sent.status(), 403);
    await close();
  },

  /** With the token and actions: sign in, see first what would be done, replay one, drop another. */
  async actions() {
    const { page, visit, close, context } = await open();
    await visit("/");
    assert.match(page.url(), /\/login$/);
    await page.getByLabel("Token").fill(TOKEN);
    await page.getByRole("button").click();
    await page.waitForURL(`${BASE}/`);
    const [session] = await context.cookies();
    assert.ok(session.httpOnly && session.sameSite === "Strict");
    for (const [verb, id] of [["replay", jobs.rejected], ["drop", jobs.dropped]]) {
      await visit("/dead");
      await page.getByRole("checkbox", { name: id, exact: true }).check();
      await page.locator(`button[value=${verb}]`).click();
      await page.waitForURL("**/dead/ask");
      assert.deepEqual(await page.locator(".ids .id").allTextContents(), [id]);
      await shoot(page, `ask-${verb}`);
      await page.locator("form .actions button").click();
      await page.waitForURL(`**/dead?queue=dead&done=${verb}&count=1`);
    }
    // Another site's page can't: it has neither the cookie nor the form's secret.
    for (const form of [{ id: jobs.rejected }, { id: jobs.rejected, csrf: "0".repeat(64) }]) {
      const sent = await page.request.post(`${BASE}/dead/drop`, { form });
      assert.equal(sent.status(), 403);
    }
    await close();
  },
};

try {
  for (const name of process.argv.slice(2)) {
    await checks[name]();
    console.log(`${name}: well`);
  }
} finally {
  await browser.close();
}

// The form of docs/check-as-you-type.md in a real browser, served from an origin of its own.
// Started by tests/it/check_as_one_types.rs.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createRequire } from "node:module";

const { TOOLS, CHROMIUM, PAGE, PORT, ALLOWED } = process.env;
const { chromium } = createRequire(`${TOOLS}/`)("playwright-core");

const server = createServer((_, answer) => {
  answer.setHeader("content-type", "text/html; charset=utf-8");
  answer.end(PAGE);
});
await new Promise((listening) => server.listen(Number(PORT), "127.0.0.1", listening));
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
const page = await browser.newPage();
await page.goto(`http://127.0.0.1:${PORT}/`);
const said = page.locator("output");
const invalid = (name) => page.locator(`[name=${name}]`).evaluate((field) => field.validationMessage);

if (ALLOWED === "true") {
  await page.fill("[name=agency]", "某市人民政府");
  await page.waitForFunction(() => document.querySelector("output").textContent.includes("「成文日期」"));
  assert.equal(await invalid("agency"), "");
  assert.match(await invalid("issued_on"), /「成文日期」/);
  await page.fill("[name=number]", "某政函〔2026〕3号");
  await page.fill("[name=title]", "某市人民政府关于申请的复函");
  await page.fill("[name=addressee]", "某县人民政府");
  await page.fill("[name=body]", "来函收悉。");
  await page.fill("[name=issued_on]", "2026-11-30");
  await page.waitForFunction(() => document.querySelector("output").textContent === "可以报送");
  assert.equal(await invalid("issued_on"), "");
  await page.fill("[name=agency]", "某市\u{10FFFD}局");
  await page.waitForFunction(() => document.querySelector("[name=agency]").validationMessage.includes("U+10FFFD"));
} else {
  await page.fill("[name=agency]", "某市人民政府");
  await page.waitForFunction(() => document.querySelector("output").textContent === "暂时无法检查");
}
await browser.close();
server.close();

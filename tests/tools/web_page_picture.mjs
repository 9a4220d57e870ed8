// Table 3 of a page for the web, on a desk and on a phone side by side: see web-page-picture.
import { createRequire } from "node:module";

const [file, target] = process.argv.slice(2);
const require = createRequire(`${process.env.TOOLS}/`);
const { chromium } = require("playwright-core");
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });

const HEIGHT = 860;

const look = async (width, isMobile) => {
  const context = await browser.newContext({ viewport: { width, height: HEIGHT }, isMobile });
  const page = await context.newPage();
  await page.goto(`file://${file}`);
  await page.locator("h2", { hasText: "三、" }).evaluate((it) => it.scrollIntoView());
  const picture = (await page.screenshot()).toString("base64");
  await context.close();
  return `<img src="data:image/png;base64,${picture}" width="${width}" height="${HEIGHT}">`;
};

const pictures = [await look(1180, false), await look(390, true)];
const sheet = await browser.newPage({ viewport: { width: 1180 + 390 + 60, height: HEIGHT + 40 } });
await sheet.setContent(`<body style="margin: 0; padding: 20px; display: flex; gap: 20px; background: #ddd">${pictures.join("")}`);
await sheet.screenshot({ path: target });
await browser.close();

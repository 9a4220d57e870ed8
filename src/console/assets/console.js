// The pages work without it: it keeps them up to date, draws the plots, and says times in the
// reader's own clock.
"use strict";

(() => {
  const language = document.documentElement.lang;

  // Times, as the reader's clock has them.
  const format = new Intl.DateTimeFormat(language, {
    year: "numeric", month: "2-digit", day: "2-digit",
    hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false,
  });
  const localTimes = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const date = new Date(time.dateTime);
      if (!Number.isNaN(date.valueOf())) {
        time.title = time.dateTime;
        time.textContent = format.format(date);
      }
    }
  };

  // Plots.
  const plots = [];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colours = (count) => count > 2 ? ["--good", "--warn", "--bad"] : ["--accent", "--quiet"];
  const options = (element, labels, width) => {
    const axis = {
      stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 },
      ticks: { stroke: colour("--line"), width: 1 }, font: "12px system-ui, sans-serif",
    };
    const names = colours(labels.length);
    return {
      width, height: 220, cursor: { points: { size: 6 } }, legend: { live: true },
      scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.1, 4)] } },
      axes: [
        { ...axis, values: (_, ticks) => ticks.map((tick) => {
          const date = new Date(tick * 1000);
          return [date.getHours(), date.getMinutes()].map((it) => String(it).padStart(2, "0")).join(":");
        }) },
        { ...axis, size: 56 },
      ],
      series: [
        { label: language.startsWith("zh") ? "时间" : "time", value: (_, at) => at == null ? "–" : format.format(new Date(at * 1000)) },
        ...labels.map((label, index) => ({
          label, stroke: colour(names[index]), width: 2, points: { show: false },
          fill: index === 0 ? colour(names[index] + "-soft") : undefined,
        })),
      ],
    };
  };
  const plot = async (element) => {
    const answer = await fetch(element.dataset.plot, { headers: { accept: "application/json" } });
    if (!answer.ok) return;
    const columns = await answer.json();
    const labels = element.dataset.labels.split(",");
    const old = plots.find((it) => it.element === element);
    if (old) {
      old.plot.setData(columns);
      return;
    }
    if (columns[0].length < 2) return;
    const width = Math.max(element.clientWidth, 240);
    plots.push({ element, labels, plot: new uPlot(options(element, labels, width), columns, element) });
  };
  const drawAll = () => {
    for (const element of document.querySelectorAll("[data-plot]")) plot(element).catch(() => {});
  };
  const redraw = () => {
    for (const it of plots.splice(0)) it.plot.destroy();
    drawAll();
  };
  const needed = document.querySelector("[data-plot]");
  if (needed) {
    const script = document.createElement("script");
    script.src = "/assets/uPlot.js";
    script.addEventListener("load", drawAll);
    document.head.append(script);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    addEventListener("resize", () => {
      for (const it of plots) {
        it.plot.setSize({ width: Math.max(it.element.clientWidth, 240), height: 220 });
      }
    });
  }

  // What is new: the parts that may change are fetched again and put in the place of the old.
  const opened = (element) => [...element.querySelectorAll("details")].map((it) => it.open);
  const refresh = async () => {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok || answer.redirected) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(part.id);
      if (!next || part.contains(document.activeElement) && part !== document.activeElement) continue;
      localTimes(next);
      if (next.innerHTML === part.innerHTML) continue;
      const open = opened(part);
      part.replaceWith(document.adoptNode(next));
      next.querySelectorAll("details").forEach((it, index) => { it.open = open[index] ?? it.open; });
    }
    if (window.uPlot) drawAll();
  };
  if (document.querySelector("main [data-live]") && window.EventSource) {
    const pulse = () => document.getElementById("pulse");
    let busy = false;
    const source = new EventSource("/live");
    source.addEventListener("message", async () => {
      if (busy || document.hidden) return;
      busy = true;
      await refresh().catch(() => {});
      busy = false;
    });
    source.addEventListener("error", () => pulse()?.classList.add("lost"));
    source.addEventListener("open", () => pulse()?.classList.remove("lost"));
  }

  // All of a list.
  document.addEventListener("change", (event) => {
    if (!event.target.matches?.("[data-all]")) return;
    for (const box of event.target.form.querySelectorAll("input[name=id]")) {
      box.checked = event.target.checked;
    }
  });

  localTimes(document);
})();

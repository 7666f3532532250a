"use strict";
(() => {
  const root = document.documentElement;
  const dark = () => root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  // What a reader chose outlives the page's being read again while a sweep runs.
  const kept = (key, value) => {
    try {
      if (value !== undefined) sessionStorage.setItem(key, value);
      return sessionStorage.getItem(key);
    } catch { return null; }
  };
  if (kept("theme")) root.dataset.theme = kept("theme");
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = kept("theme", dark() ? "light" : "dark");
  });
  const place = (box) => `${box.closest("section").getAttribute("aria-labelledby")}/${box.dataset.series}`;
  const views = new Map();
  const hiddenIn = (section) => [...section.querySelectorAll("input[data-series]")]
    .filter((box) => !box.checked).map((box) => box.dataset.series);
  const draw = async (chart) => {
    const spec = JSON.parse(chart.parentElement.querySelector("script").textContent);
    const drawn = document.createElement("div");
    drawn.className = "chart";
    drawn.style.minHeight = `${chart.offsetHeight}px`;
    chart.after(drawn);
    const { view } = await vegaEmbed(drawn, spec, {
      renderer: "svg", actions: false, ast: true, tooltip: { theme: dark() ? "dark" : "light" },
    });
    chart.remove();
    drawn.style.minHeight = "";
    drawn.setAttribute("aria-label", chart.getAttribute("aria-label"));
    drawn.setAttribute("role", "group");
    views.set(drawn, view);
    const section = drawn.closest("section");
    view.signal("hidden", hiddenIn(section));
    await view.runAsync();
  };
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((e) => e.isIntersecting)) {
      seen.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "400px" });
  // A chart's numbers as a table, for those who do not point at it.
  const tabulate = (details) => {
    const text = details.closest("figure").querySelector("script").textContent;
    const { values } = JSON.parse(text).data;
    const names = [...new Set(values.flatMap((row) => Object.keys(row)))];
    const table = document.createElement("table");
    for (const row of [null, ...values]) {
      const line = table.insertRow();
      for (const name of names) {
        const cell = document.createElement(row ? "td" : "th");
        cell.textContent = row ? row[name] ?? "–" : name;
        line.append(cell);
      }
    }
    const scroll = document.createElement("div");
    scroll.className = "scroll";
    scroll.tabIndex = 0;
    scroll.append(table);
    details.append(scroll);
  };
  const prepare = (root) => {
    for (const box of root.querySelectorAll("input[data-series]")) {
      box.checked = kept(place(box)) !== "false";
    }
    for (const details of root.querySelectorAll(".numbers")) {
      details.addEventListener("toggle", () => tabulate(details), { once: true });
    }
    root.querySelectorAll(".chart").forEach((chart) => seen.observe(chart));
  };
  prepare(document);
  // The live report replaces sections.
  document.addEventListener("segprint:section", (event) => prepare(event.target));
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details:not(.numbers)")) details.open = true;
  });
  document.addEventListener("change", (event) => {
    if (!event.target.matches("input[data-series]")) return;
    kept(place(event.target), event.target.checked);
    const section = event.target.closest("section");
    for (const [chart, view] of views) {
      if (section.contains(chart)) view.signal("hidden", hiddenIn(section)).runAsync();
    }
  });
})();

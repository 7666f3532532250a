"use strict";
(() => {
  const root = document.documentElement;
  const dark = () => root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
  });
  const views = new Map();
  const hiddenIn = (section) => [...section.querySelectorAll("input[data-series]")]
    .filter((box) => !box.checked).map((box) => box.dataset.series);
  const draw = async (chart) => {
    const spec = JSON.parse(chart.parentElement.querySelector("script").textContent);
    const kept = document.createElement("div");
    kept.className = "chart";
    kept.style.minHeight = `${chart.offsetHeight}px`;
    chart.after(kept);
    const { view } = await vegaEmbed(kept, spec, {
      renderer: "svg", actions: false, tooltip: { theme: dark() ? "dark" : "light" },
    });
    chart.remove();
    kept.style.minHeight = "";
    kept.setAttribute("aria-label", chart.getAttribute("aria-label"));
    kept.setAttribute("role", "group");
    views.set(kept, view);
    const section = kept.closest("section");
    view.signal("hidden", hiddenIn(section));
    await view.runAsync();
  };
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((e) => e.isIntersecting)) {
      seen.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "400px" });
  document.querySelectorAll(".chart").forEach((chart) => seen.observe(chart));
  document.addEventListener("change", (event) => {
    if (!event.target.matches("input[data-series]")) return;
    const section = event.target.closest("section");
    for (const [chart, view] of views) {
      if (section.contains(chart)) view.signal("hidden", hiddenIn(section)).runAsync();
    }
  });
})();

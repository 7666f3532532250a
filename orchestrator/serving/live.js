"use strict";
(() => {
  // The sections as they were sent: drawing changes them.
  const sent = new Map();
  const nameOf = (section) => section.getAttribute("aria-labelledby");
  const reported = (root) => [...root.querySelectorAll("section[aria-labelledby]")];
  for (const section of reported(document)) sent.set(nameOf(section), section.outerHTML);
  const live = document.getElementById("live");
  const at = (id) => document.getElementById(id);
  let version = live.dataset.version;
  const replaceSections = (fresh) => {
    const names = new Set(reported(fresh).map(nameOf));
    for (const section of reported(document)) if (!names.has(nameOf(section))) section.remove();
    let previous = null;
    for (const section of reported(fresh)) {
      const name = nameOf(section);
      const present = reported(document).find((each) => nameOf(each) === name);
      if (present && sent.get(name) === section.outerHTML) { previous = present; continue; }
      sent.set(name, section.outerHTML);
      const renewed = document.importNode(section, true);
      if (present) present.replaceWith(renewed);
      else if (previous && previous.parentElement.id === "main") previous.after(renewed);
      else at("main").prepend(renewed);
      renewed.dispatchEvent(new CustomEvent("segprint:section", { bubbles: true }));
      previous = renewed;
    }
    document.querySelector("nav").replaceWith(document.importNode(fresh.querySelector("nav"), true));
  };
  const renew = async () => {
    const text = await (await fetch("page", { cache: "no-store" })).text();
    replaceSections(new DOMParser().parseFromString(text, "text/html"));
  };
  const fill = (body, rows, kind = "td") => {
    body.replaceChildren(...rows.map((cells) => {
      const line = document.createElement("tr");
      line.append(...cells.map((text) => {
        const cell = document.createElement(kind);
        cell.textContent = text ?? "–";
        return cell;
      }));
      return line;
    }));
  };
  let drawn = "";
  const drawCurves = async (running) => {
    const values = running.flatMap((trial) => trial.curve.map((point) => ({ ...point, trial: trial.name })));
    const text = JSON.stringify(values);
    at("live-curves").hidden = values.length === 0;
    if (text === drawn || !window.vegaEmbed || values.length === 0) return;
    drawn = text;
    await vegaEmbed(at("live-curves"), {
      width: "container", height: 180, data: { values }, background: "transparent",
      mark: { type: "line", point: true, tooltip: true },
      encoding: {
        x: { field: "step", type: "quantitative", title: "training step" },
        y: { field: "score", type: "quantitative", title: "validation Dice", scale: { zero: false } },
        color: { field: "trial", type: "nominal", title: null },
      },
    }, { renderer: "svg", actions: false, ast: true,
         theme: getComputedStyle(document.body).backgroundColor === "rgb(20, 24, 29)" ? "dark" : undefined });
  };
  const show = async (state) => {
    at("live-trials").hidden = state.running.length === 0;
    const columns = ["name", "step", "score", "left", "speed", "place", "sign"];
    fill(live.querySelector("tbody"), state.running.map((trial) => columns.map((c) => trial[c])));
    at("live-state").textContent = state.problem ? `The store cannot be read: ${state.problem}`
      : state.updating ? "Live: new results are being computed." : "Live: up to date.";
    if (state.version && state.version !== version) {
      await renew();
      version = state.version;
    }
    await drawCurves(state.running);
  };
  const poll = async () => {
    try {
      await show(await (await fetch("state", { cache: "no-store" })).json());
    } catch {
      at("live-state").textContent = "No connection to `segprint report --serve`; retrying.";
    }
    setTimeout(poll, 2000);
  };
  addEventListener("load", poll);
  at("live-query").addEventListener("submit", async (event) => {
    event.preventDefault();
    at("live-said").textContent = "Running …";
    at("live-result").replaceChildren();
    try {
      const answer = await fetch("query", {
        method: "POST", headers: { "content-type": "application/json" },
        body: JSON.stringify({ sql: at("live-sql").value }),
      });
      const result = await answer.json();
      at("live-said").textContent = result.error ?? result.summary;
      if (result.error) return;
      const head = document.createElement("thead");
      fill(head, [result.columns], "th");
      const body = document.createElement("tbody");
      fill(body, result.rows);
      at("live-result").replaceChildren(head, body);
    } catch {
      at("live-said").textContent = "No connection to `segprint report --serve`.";
    }
  });
})();

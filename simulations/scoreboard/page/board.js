"use strict";
// Draws the plots of the scoreboard, and the table of the chosen cell, from the document in this page.
(() => {
  const board = JSON.parse(document.getElementById("results").textContent);
  const byId = (id) => document.getElementById(id);
  const INK = "#1b1f24", SOFT = "#59636e", LINE = "#e6e9ec", OURS = "#0072b2";
  // Okabe and Ito's palette, which colour-blind readers can tell apart.
  const COLOURS = ["#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5c00", "#59636e"];
  const SYMBOLS = ["circle", "diamond", "square", "cross", "triangle-up", "star-diamond"];
  const CONFIG = { displaylogo: false, responsive: true, showTips: false,
    modeBarButtons: [["toImage", "zoomIn2d", "zoomOut2d", "resetScale2d"]] };
  const plain = (text) =>
    String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const families = [...new Set(board.standings.map((row) => row.family))]
    .filter((family) => family !== "own");
  const fixed = (value, digits) => (value === null ? "-" : value.toFixed(digits));
  let cell = null;

  const layout = (more) => ({
    margin: { l: 70, r: 20, t: 20, b: 50 }, paper_bgcolor: "#fff", plot_bgcolor: "#fff",
    font: { family: "system-ui, 'DejaVu Sans', sans-serif", size: 12, color: INK },
    hovermode: "closest", legend: { orientation: "h", y: -0.18 }, ...more,
  });

  function trace(name, rows, colour, symbol, more) {
    return {
      name, type: "scatter", mode: "markers", x: rows.map((r) => r.overPlan),
      y: rows.map((r) => Math.max(1e-5, 1 - r.attainment)),
      text: rows.map((r) => plain(`${r.setting} · ${r.cell}<br>${(100 * r.attainment).toFixed(2)} % at ${fixed(r.overPlan, 3)} of the plan`)
        .replace("&lt;br&gt;", "<br>")),
      hovertemplate: "%{text}<extra></extra>",
      marker: { color: colour, symbol, size: 8, opacity: .75 }, ...more,
    };
  }

  function drawPareto() {
    const rows = board.standings.filter((r) => r.overPlan !== null && (cell === null || r.cell === cell));
    const traces = families.map((family, i) => trace(family,
      rows.filter((r) => r.family === family), COLOURS[i % COLOURS.length],
      SYMBOLS[Math.floor(i / COLOURS.length) % SYMBOLS.length]));
    const ablations = rows.filter((r) => r.family === "own" && r.name !== "steelyard" && r.name !== "reference-plan");
    traces.push(trace("ablations", ablations, OURS, "circle-open", { visible: "legendonly" }));
    traces.push(trace("steelyard", rows.filter((r) => r.name === "steelyard"), OURS, "star",
      { marker: { color: OURS, symbol: "star", size: 13 } }));
    traces.push(trace("reference plan", rows.filter((r) => r.name === "reference-plan"), INK, "star",
      { marker: { color: INK, symbol: "x", size: 9 } }));
    for (const c of board.cells.filter((one) => one.name === cell && one.planCost > 0))
      traces.push({ name: "steelyard at several targets", type: "scatter", mode: "lines", hoverinfo: "skip",
        x: c.front.map(([, cost]) => cost / c.planCost), y: c.front.map(([share]) => Math.max(1e-5, 1 - share)),
        line: { color: OURS, width: 1.5 } });
    const goals = [...new Set(board.cells.filter((c) => cell === null || c.name === cell).map((c) => 1 - c.target))];
    Plotly.react("pareto", traces, layout({
      xaxis: { title: { text: "cost / plan" }, gridcolor: LINE, zeroline: false },
      yaxis: { title: { text: "share of requests missed" }, type: "log", range: [0.08, -5.1], gridcolor: LINE, tickformat: "~%" },
      shapes: goals.map((y) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: { color: SOFT, dash: "dot", width: 1 } })),
    }), CONFIG);
  }

  function drawRegret() {
    if (!byId("regret")) return;
    const rows = board.regrets.filter((r) => cell === null || r.cell === cell);
    const causes = [...new Set(board.regrets.map((r) => r.cause))];
    Plotly.react("regret", causes.map((cause) => ({
      type: "box", orientation: "h", name: cause, boxpoints: "all", pointpos: 0, jitter: .5,
      x: rows.filter((r) => r.cause === cause).map((r) => 100 * r.cost),
      text: rows.filter((r) => r.cause === cause).map((r) => plain(`${r.cell}: ${r.attainment.toFixed(2)} points of attainment`)),
      hovertemplate: "%{text}, %{x:.1f} % of the plan<extra></extra>",
      marker: { color: OURS, size: 5 }, line: { width: 1 }, fillcolor: "rgba(0,114,178,.12)",
    })), layout({ showlegend: false, margin: { l: 130, r: 20, t: 10, b: 50 },
      xaxis: { title: { text: "share of the plan's cost that goes away with it, %" }, gridcolor: LINE, zerolinecolor: SOFT } }), CONFIG);
  }

  function drill() {
    for (const row of document.querySelectorAll("tr[data-cell]"))
      row.setAttribute("aria-selected", String(row.dataset.cell === cell));
    byId("drill").hidden = cell === null;
    byId("drill-title").textContent = cell === null ? "All policies in a cell" : `All policies in ${cell}`;
    const found = board.cells.find((c) => c.name === cell);
    byId("drill-facts").textContent = found
      ? `${found.description} ${Object.entries(found.axes).map(([k, v]) => `${k} ${v}`).join(", ")}.` : "Choose a cell above.";
    const body = byId("drill").tBodies[0];
    body.replaceChildren();
    for (const r of board.standings.filter((s) => s.cell === cell).sort((a, b) => a.cost - b.cost)) {
      const line = body.insertRow();
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = r.name;
      line.append(head);
      const setting = r.setting.includes(":") ? r.setting.slice(r.setting.indexOf(":") + 1).replaceAll(",", ", ").replaceAll("_", " ") : "";
      const texts = [r.family === "own" ? setting : `${r.kind}${setting ? `: ${setting}` : ""}`, r.cost.toFixed(2), fixed(r.overPlan, 3),
        `${r.attains ? "✓" : "✗"} ${(100 * r.attainment).toFixed(2)}`, (100 * r.degradedShare).toFixed(1), fixed(r.steelyardShare, 2)];
      texts.forEach((text, i) => {
        const td = line.insertCell();
        td.textContent = text;
        if (i === 0) td.className = "text";
        if (i === 3) td.classList.add(r.attains ? "met" : "unmet");
      });
      if (r.name === "steelyard") line.className = "best";
    }
  }

  function choose(name) {
    cell = cell === name ? null : name;
    drill();
    drawPareto();
    drawRegret();
  }

  for (const row of document.querySelectorAll("tr[data-cell]")) {
    row.addEventListener("click", () => choose(row.dataset.cell));
    row.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(row.dataset.cell); });
  }
  drawPareto();
  drawRegret();
})();

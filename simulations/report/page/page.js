"use strict";
// Draws the plots and the list of decisions from the results document in this page.
(() => {
  const results = JSON.parse(document.getElementById("results").textContent);
  const byId = (id) => document.getElementById(id);

  // Okabe and Ito's palette, which colour-blind readers can tell apart, without its yellow.
  const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5c00"];
  const ROUNDS = [ // how policies beyond the palette's length differ from those before
    { dash: "solid", symbol: "circle" }, { dash: "dash", symbol: "diamond" },
    { dash: "dot", symbol: "square" }, { dash: "dashdot", symbol: "cross" },
  ];
  const INK = "#1b1f24", SOFT = "#59636e", LINE = "#e6e9ec", LIMIT = "#b34700";
  const CONFIG = {
    displaylogo: false, responsive: true, showTips: false,
    modeBarButtons: [["toImage", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
  };

  // The plan may be one of the policies, when none cheaper was found.
  const ours = results.policies.some((policy) => policy.name === results.referencePlan.name);
  const plan = { ...results.referencePlan, title: "reference plan", colour: INK, dash: "dash", symbol: "star" };
  // steelyard has the first colour, whatever the order the policies were run in.
  const ranks = results.policies.map((policy) => policy.name)
    .sort((a, b) => (b === "steelyard") - (a === "steelyard"));
  const policies = results.policies.map((policy) => {
    const rank = ranks.indexOf(policy.name);
    const round = ROUNDS[Math.floor(rank / COLOURS.length) % ROUNDS.length];
    return { ...policy, ...round, title: policy.name, colour: COLOURS[rank % COLOURS.length] };
  });
  const entries = ours ? policies : [...policies, plan];
  const meetsTarget = (policy) => policy.attainment >= results.slo.target;
  const best = policies.filter(meetsTarget)
    .sort((a, b) => a.cost - b.cost)[0];
  const state = {
    policy: policies.find((p) => p.name === "steelyard") || best || policies[0],
    range: null, // [from, to] in milliseconds; null is everything
    marked: null, // index into the policy's steps
    aboveThePlan: true,
    rows: 0,
  };

  // Plotly reads a subset of HTML in texts; names are shown as they are.
  const plain = (text) =>
    String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const milliseconds = (seconds) => seconds.map((s) => 1000 * s);
  const sum = (columns) => columns[0].map((_, i) => columns.reduce((total, c) => total + c[i], 0));
  const percent = (shares) => shares.map((s) => (s === null ? null : 100 * s));

  function clock(seconds) {
    const two = (n) => String(Math.floor(n)).padStart(2, "0");
    const days = Math.floor(seconds / 86400), rest = seconds % 86400;
    const time = `${two(rest / 3600)}:${two((rest % 3600) / 60)}:${two(rest % 60)}`;
    return span() > 86400e3 ? `day ${days + 1} ${time}` : time;
  }

  function span() {
    return Math.max(...policies.map((p) => 1000 * p.timeline.atSeconds.at(-1)));
  }

  // ---- layouts ---------------------------------------------------------------------------

  const axis = (title, more) => ({
    title: { text: title, font: { size: 12, color: SOFT } }, gridcolor: LINE, zeroline: false,
    linecolor: LINE, ticks: "", fixedrange: true, rangemode: "tozero", ...more,
  });

  // Elapsed time is drawn as a date from 1970-01-01, so that ticks fall on round hours.
  const timeAxis = () => ({
    type: "date", gridcolor: LINE, linecolor: SOFT, autorange: false, range: state.range || [0, span()],
    hoverformat: span() > 86400e3 ? "day %-j %H:%M:%S" : "%H:%M:%S",
    tickformatstops: [
      { dtickrange: [null, 60e3], value: "%H:%M:%S" },
      { dtickrange: [60e3, 86400e3 - 1], value: span() > 86400e3 ? "%H:%M\nday %-j" : "%H:%M" },
      { dtickrange: [86400e3, null], value: "day %-j" },
    ],
  });

  const layout = (more) => ({
    margin: { l: 70, r: 20, t: 34, b: 36 }, paper_bgcolor: "#fff", plot_bgcolor: "#fff",
    font: { family: "system-ui, 'DejaVu Sans', sans-serif", size: 12, color: INK },
    hovermode: "x unified", hoverlabel: { font: { size: 12 } }, dragmode: "zoom",
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", font: { size: 12 } },
    showlegend: true, ...more,
  });

  const limit = (yref, y) => ({
    type: "line", xref: "paper", x0: 0, x1: 1, yref, y0: y, y1: y,
    line: { color: LIMIT, width: 1.2, dash: "dash" },
  });

  const limitLabel = (yref, y, text) => ({
    xref: "paper", x: 1, xanchor: "right", yref, y, yanchor: "bottom", text, showarrow: false,
    font: { color: LIMIT, size: 11 }, bgcolor: "rgba(255,255,255,.75)",
  });

  const line = (name, x, y, colour, more) => ({
    type: "scatter", mode: "lines", name: plain(name), x, y, line: { color: colour, width: 1.5 },
    connectgaps: false, ...more,
  });

  // ---- the plots over time: each gives its traces, layout and limits ---------------------------

  // One closed outline for every stretch with a forecast.
  function band(times, lower, upper) {
    const x = [], y = [];
    let from = null;
    for (let i = 0; i <= times.length; i++) {
      const known = i < times.length && times[i] !== null && lower[i] !== null && upper[i] !== null;
      if (known && from === null) from = i;
      if (!known && from !== null) {
        const there = times.slice(from, i);
        x.push(...there, ...[...there].reverse(), null);
        y.push(...upper.slice(from, i), ...lower.slice(from, i).reverse(), null);
        from = null;
      }
    }
    return { x, y };
  }

  function load({ timeline }) {
    const x = milliseconds(timeline.atSeconds);
    const traces = [];
    if (timeline.quantileLevels.length) {
      const at = timeline.forecastForSeconds.map((s) => (s === null ? null : 1000 * s));
      const levels = timeline.quantileLevels.map((level) => `${100 * level} %`);
      const outline = band(at, timeline.forecast[0], timeline.forecast.at(-1));
      traces.push({
        ...line(`forecast, ${levels[0]} to ${levels.at(-1)} quantile`, outline.x, outline.y, "#0072b2"),
        fill: "toself", fillcolor: "rgba(0,114,178,.24)", line: { width: 0 }, hoverinfo: "skip",
      });
      timeline.forecast.forEach((values, i) => traces.push(
        line(`${levels[i]} quantile`, at, values, "#0072b2", {
          line: { color: "#0072b2", width: i ? 0 : 1.2 }, showlegend: false,
          hovertemplate: "%{y:.2f}",
        })));
    }
    traces.push(line("arrivals", x, timeline.arrivalsPerSecond, INK, {
      line: { color: INK, width: 1.1 }, hovertemplate: "%{y:.2f}",
    }));
    return { traces, layout: { yaxis: axis("requests / s") } };
  }

  function replicas({ timeline, title }) {
    const x = milliseconds(timeline.atSeconds);
    const step = (colour, dash, width) => ({ line: { color: colour, dash, width, shape: "hv" } });
    const several = timeline.variants.length > 1;
    const traces = timeline.variants.flatMap((name, v) => [
      line(`${name} wanted`, x, timeline.wanted[v], COLOURS[v], step(COLOURS[v], "dot", 1.2)),
      line(`${name} ready`, x, timeline.ready[v], COLOURS[v], step(COLOURS[v], "solid", 1.8)),
    ]);
    if (plan.timeline && title !== plan.title) {
      const at = milliseconds(plan.timeline.atSeconds);
      const label = several ? "reference plan, all variants" : "reference plan";
      traces.push(line(label, at, sum(plan.timeline.wanted), INK, step(INK, "dash", 1.2)));
    }
    return { traces, layout: { yaxis: axis("replicas") } };
  }

  function latency({ timeline }) {
    const x = milliseconds(timeline.atSeconds);
    const { ttftSeconds, tpotSeconds, target } = results.slo;
    const tpot = timeline.tpotP95Seconds.map((s) => (s === null ? null : 1000 * s));
    const traces = [
      line("TTFT p95", x, timeline.ttftP95Seconds, COLOURS[0], { hovertemplate: "%{y:.3g} s" }),
      line("TPOT p95", x, tpot, COLOURS[2], { yaxis: "y2", hovertemplate: "%{y:.3g} ms" }),
      line("good", x, percent(timeline.goodShare), COLOURS[3],
        { yaxis: "y3", hovertemplate: "%{y:.2f} %" }),
    ];
    const shapes = [limit("y3", 100 * target)];
    const annotations = [];
    if (ttftSeconds !== null) {
      shapes.push(limit("y", ttftSeconds));
      annotations.push(limitLabel("y", Math.log10(ttftSeconds), `SLO ${ttftSeconds} s`));
    }
    if (tpotSeconds !== null) {
      shapes.push(limit("y2", 1000 * tpotSeconds));
      annotations.push(limitLabel("y2", 1000 * tpotSeconds, `SLO ${1000 * tpotSeconds} ms`));
    }
    const reach = (values, threshold) =>
      Math.max(...values.map((v) => v || 0), 1.25 * (threshold || 0));
    const seconds = timeline.ttftP95Seconds.filter((s) => s > 0);
    const low = Math.log10(Math.min(...seconds, ttftSeconds || Infinity));
    const high = Math.log10(reach(seconds, ttftSeconds));
    const worst = Math.min(100 * target - 5, ...percent(timeline.goodShare).filter((v) => v !== null));
    annotations.push(limitLabel("y3", 100 * target, `target ${+(100 * target).toFixed(4)} %`));
    annotations.at(-1).yanchor = "top";
    return {
      traces, shapes,
      layout: {
        annotations, showlegend: false, hoversubplots: "axis", margin: { l: 70, r: 20, t: 10, b: 36 },
        yaxis: axis("TTFT p95, s", {
          domain: [0.68, 1], type: "log", range: [low - 0.1, high + 0.15], rangemode: "normal",
          tickvals: [-3, -2, -1, 0, 1, 2, 3].flatMap((e) => [1, 2, 5].map((m) => +(m * 10 ** e).toPrecision(1))),
        }),
        yaxis2: axis("TPOT p95, ms", {
          domain: [0.34, 0.62], range: [0, 1.1 * reach(tpot, 1000 * tpotSeconds)],
        }),
        yaxis3: axis("good, %", { domain: [0, 0.28], range: [worst - 0.06 * (101 - worst), 101] }),
      },
    };
  }

  // The plan's cost at the same moments, between its own points.
  function planCostAt(times) {
    const { atSeconds, cumulativeCost } = plan.timeline;
    let i = 0;
    return times.map((t) => {
      while (i < atSeconds.length - 2 && atSeconds[i + 1] < t) i++;
      const width = atSeconds[i + 1] - atSeconds[i] || 1;
      const share = Math.min(Math.max((t - atSeconds[i]) / width, 0), 1);
      return cumulativeCost[i] + share * (cumulativeCost[i + 1] - cumulativeCost[i]);
    });
  }

  function cost(selected) {
    const above = state.aboveThePlan && plan.timeline !== null;
    const shown = above ? policies : entries;
    const traces = shown.map((entry) => {
      const { atSeconds, cumulativeCost } = entry.timeline;
      const base = above ? planCostAt(atSeconds) : null;
      const y = above ? cumulativeCost.map((value, i) => value - base[i]) : cumulativeCost;
      const shown = entry.name === selected.name;
      return line(entry.title, milliseconds(atSeconds), y, entry.colour, {
        line: { color: entry.colour, dash: entry.dash, width: shown ? 3 : 1.5 },
        opacity: shown || entry === plan || meetsTarget(entry) ? 1 : 0.4, zorder: shown ? 1 : 0,
        hovertemplate: "%{y:,.2f}",
      });
    });
    const title = above ? "cost above the plan" : "cost";
    const more = above ? { zeroline: true, zerolinecolor: INK } : {};
    return { traces, layout: { yaxis: axis(title, more) } };
  }

  const OVER_TIME = { load, replicas, latency, cost };
  const limits = {};

  function marker() {
    if (state.marked === null) return [];
    const at = 1000 * state.policy.timeline.steps[state.marked].atSeconds;
    return [{
      type: "line", name: "marker", yref: "paper", y0: 0, y1: 1, x0: at, x1: at,
      line: { color: "#e69f00", width: 2.5 },
    }];
  }

  function drawOverTime(id) {
    const drawn = OVER_TIME[id](state.policy);
    limits[id] = drawn.shapes || [];
    const anchored = id === "latency" ? { anchor: "y3" } : {};
    return Plotly.react(id, drawn.traces, layout({
      xaxis: { ...timeAxis(), ...anchored }, shapes: [...limits[id], ...marker()], ...drawn.layout,
    }), CONFIG);
  }

  function moveMarker() {
    for (const id of Object.keys(OVER_TIME)) {
      Plotly.relayout(id, { shapes: [...limits[id], ...marker()] });
    }
  }

  let following = false; // set while the other plots are brought to the range of one

  function zoom(range) {
    state.range = range;
    following = true;
    const moves = Object.keys(OVER_TIME).map((id) =>
      Plotly.relayout(id, { "xaxis.range": range || [0, span()] }));
    Promise.all(moves).then(() => { following = false; });
  }

  function inMilliseconds(moment) {
    if (typeof moment === "number") return moment;
    return Date.parse(`${moment.replace(" ", "T")}${moment.includes(":") ? "Z" : ""}`);
  }

  function link(id) {
    byId(id).on("plotly_relayout", (change) => {
      if (following || !Object.keys(change).some((key) => key.startsWith("xaxis."))) return;
      const [from, to] = byId(id).layout.xaxis.range.map(inMilliseconds);
      zoom(from <= 0 && to >= span() ? null : [from, to]);
    });
    byId(id).on("plotly_click", ({ points }) => {
      const seconds = inMilliseconds(points[0].x) / 1000;
      const index = state.policy.timeline.steps.findLastIndex((s) => s.atSeconds <= seconds);
      if (index >= 0) mark(index, true);
    });
  }

  // ---- cost against attainment ---------------------------------------------------------------

  // Attainment by its nines: equal steps up are equal ratios of misses.
  const nines = (attainment, requests) =>
    -Math.log10(Math.max(1 - attainment, 0.5 / Math.max(requests, 1)));

  // Where each point's label goes, so that none covers another label or point; a label that has no
  // room is left to the hover. Points come in order of importance, in pixels.
  function labelPositions(points) {
    const taken = points.map(({ x, y }) => [x - 8, x + 8, y - 8, y + 8]);
    return points.map(({ x, y, text }) => {
      const half = 3.6 * text.length;
      const places = [
        ["top center", 0, -17], ["bottom center", 0, 17],
        ["middle right", half + 12, 0], ["middle left", -half - 12, 0],
      ];
      for (const [position, right, down] of places) {
        const box = [x + right - half, x + right + half, y + down - 8, y + down + 8];
        const clash = ([left, rightmost, top, bottom]) =>
          box[0] < rightmost && box[1] > left && box[2] < bottom && box[3] > top;
        if (!taken.some(clash)) {
          taken.push(box);
          return position;
        }
      }
      return null;
    });
  }

  function drawTradeoff() {
    const weight = (p) => 8 * (p === state.policy) + 4 * (p === plan) + 2 * (p === best) + meetsTarget(p);
    const shown = [plan, ...policies].filter((p) => p.attainment !== null)
      .sort((a, b) => weight(b) - weight(a) || a.cost - b.cost);
    const target = nines(results.slo.target, 1e9);
    const xs = shown.map((p) => p.cost).concat(results.lowerBoundCost ?? []);
    const ys = shown.map((p) => nines(p.attainment, p.requests)).concat(target);
    const pad = 0.08 * (Math.max(...xs) - Math.min(...xs)) || 1;
    const xRange = [Math.min(...xs) - pad, Math.max(...xs) + pad];
    const yRange = [Math.min(...ys) - 0.35, Math.max(...ys) + 0.35];
    const { clientWidth, clientHeight } = byId("tradeoff");
    const positions = labelPositions(shown.map((p, i) => ({
      text: p.title,
      x: (clientWidth - 90) * (xs[i] - xRange[0]) / (xRange[1] - xRange[0]),
      y: (clientHeight - 56) * (yRange[1] - ys[i]) / (yRange[1] - yRange[0]),
    })));
    const traces = shown.map((p, i) => ({
      type: "scatter", mode: "markers+text", name: plain(p.title), x: [xs[i]], y: [ys[i]],
      text: [positions[i] ? plain(p.title) : ""], textposition: positions[i] || "top center",
      customdata: [p.name], zorder: p === state.policy ? 1 : 0, cliponaxis: true,
      marker: {
        color: p.colour, symbol: p.symbol, size: p === state.policy ? 15 : p === plan ? 13 : 11,
        line: { color: p === state.policy ? INK : "#fff", width: 1.5 },
      },
      hovertemplate: `cost %{x:,.2f}<br>attained ${(100 * p.attainment).toFixed(3)} %` +
        `<br>degraded ${(100 * p.degradedShare).toFixed(2)} %`,
    }));
    const shapes = [limit("y", target)];
    const annotations = [limitLabel("y", target, `target ${+(100 * results.slo.target).toFixed(4)} %`)];
    if (results.lowerBoundCost !== null) {
      shapes.push({
        type: "line", yref: "paper", y0: 0, y1: 1, x0: results.lowerBoundCost,
        x1: results.lowerBoundCost, line: { color: SOFT, width: 1.2, dash: "dot" },
      });
      annotations.push({
        x: results.lowerBoundCost, yref: "paper", y: 1, yanchor: "top", xanchor: "right",
        text: "lower bound", textangle: -90, showarrow: false, font: { color: SOFT, size: 11 },
      });
    }
    const ticks = [0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999, 0.99999];
    Plotly.react("tradeoff", traces, layout({
      showlegend: false, hovermode: "closest", shapes, annotations,
      margin: { l: 70, r: 20, t: 12, b: 44 },
      xaxis: axis("cost", { rangemode: "normal", range: xRange, fixedrange: false }),
      yaxis: axis("attained, %", {
        rangemode: "normal", range: yRange, fixedrange: false,
        tickvals: ticks.map((share) => nines(share, 1e9)),
        ticktext: ticks.map((share) => String(+(100 * share).toFixed(4))),
      }),
    }), CONFIG);
  }

  // ---- decisions -------------------------------------------------------------------------------

  const ROWS = 200; // rows shown at first and by each "show more"

  const change = (step, v) =>
    step.before && step.before[v] !== step.after[v] ? `${step.before[v]} → ${step.after[v]}` : `${step.after[v]}`;

  const searched = (step) => [
    clock(step.atSeconds), ...state.policy.timeline.variants.map((n, v) => `${n} ${change(step, v)}`),
    step.reason,
  ].join(" ").toLowerCase();

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function stepRow(step, index) {
    const row = element("tr");
    row.dataset.index = index;
    row.tabIndex = 0;
    row.setAttribute("aria-selected", String(index === state.marked));
    row.append(element("td", clock(step.atSeconds)));
    step.after.forEach((n, v) => {
      const moved = step.before !== null && step.before[v] !== n;
      row.append(element("td", change(step, v), moved ? "changed" : "same"));
    });
    row.append(element("td", step.reason));
    return row;
  }

  function drawSteps() {
    const { steps, variants } = state.policy.timeline;
    const wanted = byId("search").value.trim().toLowerCase();
    const found = steps.map((step, i) => [step, i]).filter(([step]) => searched(step).includes(wanted));
    byId("step-headings").replaceChildren(
      ...["time", ...variants, "reason"].map((text) => element("th", text)));
    byId("steps").replaceChildren(...found.slice(0, state.rows).map(([s, i]) => stepRow(s, i)));
    byId("more").hidden = found.length <= state.rows;
    const whose = `${state.policy.title} changed its decision ${steps.length.toLocaleString("en")} times`;
    byId("found").textContent = !steps.length ? `${state.policy.title} gave no reasons.`
      : wanted ? `${whose}; ${found.length.toLocaleString("en")} match.`
      : `${whose}. Click one to mark its moment on the plots.`;
  }

  // Show a step: on the plots, and in the list if asked to bring it into view.
  function mark(index, reveal) {
    state.marked = index;
    const step = state.policy.timeline.steps[index];
    const at = 1000 * step.atSeconds;
    if (state.range && (at < state.range[0] || at > state.range[1])) {
      const half = (state.range[1] - state.range[0]) / 2;
      zoom([at - half, at + half]);
    }
    moveMarker();
    if (reveal) {
      byId("search").value = "";
      state.rows = Math.max(state.rows, index + ROWS);
      drawSteps();
    }
    for (const row of byId("steps").rows) {
      const chosen = Number(row.dataset.index) === index;
      row.setAttribute("aria-selected", String(chosen));
      if (chosen && reveal) {
        const list = document.querySelector(".scroll.steps");
        list.scrollTop = row.offsetTop - list.clientHeight / 2;
      }
    }
  }

  function listenToSteps() {
    const rowOf = (event) => event.target.closest("tr[data-index]");
    byId("steps").addEventListener("click", (event) => {
      if (rowOf(event)) mark(Number(rowOf(event).dataset.index), false);
    });
    byId("steps").addEventListener("keydown", (event) => {
      const row = rowOf(event);
      const next = { ArrowDown: row?.nextElementSibling, ArrowUp: row?.previousElementSibling, Enter: row }[event.key];
      if (!next) return;
      event.preventDefault();
      next.focus();
      mark(Number(next.dataset.index), false);
    });
    byId("search").addEventListener("input", () => { state.rows = ROWS; drawSteps(); });
    byId("more").addEventListener("click", () => { state.rows += ROWS; drawSteps(); });
  }

  // ---- which policy is shown ---------------------------------------------------------------------

  function select(entry) {
    state.policy = entry;
    state.marked = null;
    state.rows = ROWS;
    drawTradeoff();
    if (!replayed) return;
    byId("policies").querySelectorAll("input").forEach((input, i) => {
      input.checked = entries[i] === entry;
    });
    Object.keys(OVER_TIME).forEach(drawOverTime);
    drawSteps();
  }

  function offerPolicies() {
    entries.forEach((entry) => {
      const label = element("label");
      const input = element("input");
      input.type = "radio";
      input.name = "policy";
      input.value = entry.name;
      input.addEventListener("change", () => select(entry));
      label.append(input, element("span", entry.title));
      byId("policies").append(label);
    });
  }

  function offerCosts() {
    const buttons = { "cost-above": true, "cost-total": false };
    for (const [id, above] of Object.entries(buttons)) {
      byId(id).addEventListener("click", () => {
        state.aboveThePlan = above;
        for (const other of Object.keys(buttons)) {
          byId(other).setAttribute("aria-pressed", String(other === id));
        }
        drawOverTime("cost");
      });
    }
  }

  function fitPaper() {
    const plots = [...document.querySelectorAll(".plot")];
    addEventListener("beforeprint", () => plots.forEach((p) => Plotly.relayout(p, { width: 700 })));
    addEventListener("afterprint", () =>
      plots.forEach((p) => Plotly.relayout(p, { width: null, autosize: true })));
  }

  const replayed = entries.every((entry) => entry.timeline !== null);
  for (const swatch of document.querySelectorAll(".swatch[data-policy]")) {
    const { colour, symbol } = policies.find((p) => p.name === swatch.dataset.policy);
    swatch.style.background = colour;
    swatch.classList.add(symbol);
  }
  if (replayed) {
    offerPolicies();
    offerCosts();
    listenToSteps();
  }
  select(state.policy);
  if (replayed) Object.keys(OVER_TIME).forEach(link);
  byId("tradeoff").on("plotly_click", ({ points }) => {
    const chosen = entries.find((p) => p.name === points[0].customdata);
    if (chosen) select(chosen);
  });
  fitPaper();
})();

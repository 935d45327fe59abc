"use strict";
// Draws measured against simulated times from the points in this section.
document.addEventListener("DOMContentLoaded", () => {
  const points = JSON.parse(document.getElementById("trust-points").textContent);
  const plot = document.getElementById("trust-scatter");
  if (plot === null || points.length === 0) return;

  // Okabe and Ito's palette, which colour-blind readers can tell apart, without its yellow.
  const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5c00"];
  const SYMBOLS = ["circle", "diamond", "square", "cross", "triangle-up", "x"];
  const INK = "#1b1f24", SOFT = "#59636e", LINE = "#e6e9ec";
  // Plotly reads a subset of HTML in texts; names are shown as they are.
  const plain = (text) =>
    String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  const groups = new Map();
  for (const point of points) {
    const key = `${point.kind}, ${point.trust}`;
    groups.set(key, [...(groups.get(key) || []), point]);
  }
  const shape = (point) => [
    `${point.concurrency} running`,
    point.promptTokens === null ? null : `prompt ${point.promptTokens}`,
    point.outputTokens === null ? null : `output ${point.outputTokens}`,
    point.contextTokens === null ? null : `context ${point.contextTokens}`,
  ].filter((part) => part !== null).join(", ");
  const told = (point) => {
    const off = 100 * (point.simulatedMilliseconds / point.measuredMilliseconds - 1);
    const lines = [
      `${point.name}: ${point.replica}`, shape(point),
      `measured ${point.measuredMilliseconds.toPrecision(4)} ms, engine ${point.simulatedMilliseconds.toPrecision(4)} ms`,
      `off ${off >= 0 ? "+" : ""}${off.toFixed(1)} %`,
    ];
    return lines.map(plain).join("<br>");
  };
  const times = points.flatMap((point) => [point.measuredMilliseconds, point.simulatedMilliseconds]);
  const ends = [0.8 * Math.min(...times), 1.25 * Math.max(...times)];
  const guide = (name, factor, dash) => ({
    type: "scatter", mode: "lines", name, x: ends, y: ends.map((end) => factor * end),
    line: { color: SOFT, width: 1, dash }, hoverinfo: "skip", showlegend: false,
  });
  // What counts most is drawn last, hence on top.
  const clouds = [...groups].map(([name, members], place) => ({
    type: "scatter", mode: "markers", name: plain(name),
    x: members.map((point) => point.measuredMilliseconds),
    y: members.map((point) => point.simulatedMilliseconds),
    text: members.map(told), hovertemplate: "%{text}<extra></extra>",
    marker: {
      color: COLOURS[place % COLOURS.length], symbol: SYMBOLS[place % SYMBOLS.length],
      size: members[0].trust === "measured" ? 9 : 6,
      opacity: members[0].trust === "measured" ? 1 : 0.55,
    },
  })).sort((a, b) => a.marker.size - b.marker.size);
  const axis = (title) => ({
    title: { text: title, font: { size: 12, color: SOFT } }, type: "log", gridcolor: LINE,
    linecolor: LINE, zeroline: false, ticks: "", dtick: 1, range: ends.map((end) => Math.log10(end)),
  });
  Plotly.newPlot(
    plot,
    [guide("right", 1, "solid"), guide("+10 %", 1.1, "dot"), guide("-10 %", 0.9, "dot"), ...clouds],
    {
      margin: { l: 70, r: 20, t: 34, b: 46 }, paper_bgcolor: "#fff", plot_bgcolor: "#fff",
      font: { family: "system-ui, 'DejaVu Sans', sans-serif", size: 12, color: INK },
      hovermode: "closest", dragmode: "zoom", showlegend: true,
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", font: { size: 12 } },
      xaxis: axis("measured, ms"), yaxis: axis("simulated, ms"),
    },
    {
      displaylogo: false, responsive: true, showTips: false,
      modeBarButtons: [["toImage", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
    },
  );
});

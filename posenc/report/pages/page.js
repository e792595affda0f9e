"use strict";
// Tables: a click on a heading sorts, typing filters. Figures: one panel at a time. Both give their data as CSV.

const quote = (value) => {
  const shown = value === null || value === undefined ? "" : String(value);
  // what starts like a formula of a spreadsheet is text, unless it is a number
  const text = /^[=+\-@]/.test(shown) && Number.isNaN(Number(shown)) ? `'${shown}` : shown;
  return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
};

const download = (name, rows) => {
  const text = rows.map((row) => row.map(quote).join(",") + "\n").join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = `${name}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};

const compare = (a, b) => {
  if (a === "" || b === "") return (a === "") - (b === "");
  const [x, y] = [Number(a), Number(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
};

for (const section of document.querySelectorAll("section.table")) {
  const table = section.querySelector("table");
  if (!table) continue;
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (body.rows[0]?.cells[column]?.classList.contains("n")) head.classList.add("n");
    head.firstElementChild.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.v;
      const empty = (row) => key(row) === "";
      const rows = [...body.rows].sort((a, b) =>
        empty(a) || empty(b) ? empty(a) - empty(b) : compare(key(a), key(b)) * (down ? -1 : 1));
      body.append(...rows);
    });
  });
  const search = section.querySelector("input");
  const texts = new Map([...body.rows].map((row) => [row, row.textContent.toLowerCase()]));
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/);
    for (const [row, text] of texts) row.hidden = !words.every((word) => text.includes(word));
  });
  section.querySelector(".csv").addEventListener("click", () => {
    const rows = [...body.rows].filter((row) => !row.hidden);
    const cells = (row) => [...row.cells].map((cell) => cell.textContent);
    download(section.id, [heads.map((head) => head.textContent), ...rows.map(cells)]);
  });
}

const csvRows = (panels) => {
  const rows = [["panel", "encoding", "kind", "seed", "x", "y", "low", "high", "p_corrected"]];
  for (const panel of panels) {
    const across = panel.layout.kind === "rows"; // the value is x, and y only a place
    for (const trace of panel.traces) {
      const { kind, arm, seeds, each, p_corrected, values } = trace.meta;
      if (kind === "band") continue;
      let segment = 0;
      trace.x.forEach((x, k) => {
        if (x === null) { segment += 1; return; }
        const seed = each ? each[k] : seeds ? seeds[segment] : "";
        const [low, high] = trace.customdata?.[k] ?? ["", ""];
        rows.push([panel.title, arm, kind, seed, across ? "" : x, across ? x : (values ?? trace.y)[k], low, high, p_corrected ?? ""]);
      });
    }
  }
  return rows;
};

const axis = { gridcolor: "#e4e7eb", zeroline: false, linecolor: "#c3cad3", ticks: "outside", ticklen: 4,
  tickcolor: "#c3cad3", automargin: true };
// A figure is drawn when it comes near, so that a page of a thousand runs opens at once.
const pending = new Map();
const drawn = (place) => { pending.get(place)?.(); pending.delete(place); };
const near = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) drawn(entry.target);
}, { rootMargin: "900px 0px" });
window.addEventListener("beforeprint", () => [...pending.keys()].forEach(drawn));
const figures = JSON.parse(document.getElementById("figures").textContent);

for (const section of document.querySelectorAll("section.figure")) {
  const name = section.dataset.figure;
  const panels = figures[name];
  const place = section.querySelector(".plot");
  const draw = (panel) => {
    const { xaxis, yaxis, height, kind, ...rest } = panel.layout;
    const shown = panel.traces.filter((trace) => trace.showlegend !== false).length;
    const layout = {
      font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: "#1f2933" },
      height: height ?? Math.min(760, Math.max(470, 100 + 20 * shown)), margin: { l: 60, r: kind === "rows" ? 70 : 20, t: 26, b: 48 }, hovermode: "closest",
      hoverlabel: { bgcolor: "#fff", bordercolor: "#cbd2d9", font: { color: "#1f2933" }, namelength: -1 },
      legend: { x: 1.02, y: 1, font: { size: 12 }, tracegroupgap: 0, itemsizing: "constant" },
      plot_bgcolor: "#fff", paper_bgcolor: "#fff", xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...rest,
    };
    const traces = panel.traces.map((trace) => ({ type: "scatter", hoverinfo: "x+y+name", ...trace }));
    const buttons = ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"];
    Plotly.react(place, traces, layout, { responsive: true, displaylogo: false, modeBarButtonsToRemove: buttons });
  };
  const height = panels[0].layout.height ?? 470;
  place.style.minHeight = `${height}px`; // so that nothing moves when it is drawn
  pending.set(place, () => { place.style.minHeight = ""; draw(panels[0]); });
  near.observe(place);
  section.querySelector("select")?.addEventListener("change", (event) => {
    pending.delete(place);
    place.style.minHeight = "";
    draw(panels[Number(event.target.value)]);
  });
  section.querySelector(".csv").addEventListener("click", () => download(name, csvRows(panels)));
}

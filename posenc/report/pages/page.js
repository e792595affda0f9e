// Tables: a click on a heading sorts, typing filters. Figures: what belongs to one arm is shown by itself.

const quote = (value) => {
  const shown = value === null || value === undefined ? "" : String(value);
  // what starts like a formula of a spreadsheet is text, unless it is a number
  const text = /^[=+\-@]/.test(shown) && Number.isNaN(Number(shown)) ? `'${shown}` : shown;
  return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
};

const csv = (rows) => rows.map((row) => row.map(quote).join(",") + "\n").join("");

// SPECIAL comes with the page: characters that LaTeX reads as something else.
const plain = (text) => [...text].map((letter) => SPECIAL[letter] ?? letter).join("");
const tex = ([heads, ...rows]) => {
  const line = (cells) => `${cells.map(plain).join(" & ").replace(/^(?=[[*])/, "{}")} \\\\\n`;
  return `% \\usepackage{booktabs}\n\\begin{tabular}{${"l".repeat(heads.length)}}\n\\toprule\n${line(heads)}\\midrule\n` +
    `${rows.map(line).join("")}\\bottomrule\n\\end{tabular}\n`;
};

const download = (name, text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
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
  const shown = () => {
    const rows = [...body.rows].filter((row) => !row.hidden);
    return [heads, ...rows.map((row) => [...row.cells])].map((cells) => cells.map((cell) => cell.textContent));
  };
  for (const [form, write] of [["csv", csv], ["tex", tex]])
    section.querySelector(`.${form}`).addEventListener("click", () => download(`${section.id}.${form}`, write(shown())));
}

// A pointer over anything of an arm makes all else in the figure pale; the names come from the figure itself.
for (const figure of document.querySelectorAll(".plot svg")) {
  const parts = [...figure.querySelectorAll("g.tip")];
  const name = (part) => part.querySelector("title").textContent.split("\n")[0];
  const show = (chosen) => parts.forEach((part) => part.classList.toggle("pale", chosen !== null && name(part) !== chosen));
  figure.addEventListener("pointerover", (event) => {
    const part = event.target.closest("g.tip");
    show(part ? name(part) : null);
  });
  figure.addEventListener("pointerleave", () => show(null));
}

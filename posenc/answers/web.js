// The choice: what is asked and how long, to a sentence, a table and a command. DATA is what the ledger says.

const DATA = JSON.parse(document.getElementById("data").textContent);
const KINDS = ["not worse", "undecided", "worse"]; // of several tasks the last of these counts
const WORDS = { "not worse": "take", undecided: "undecided", worse: "avoid" };

const list = (names) => names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
const cell = (text, kind = "", value = text) => {
  const made = document.createElement("td");
  made.textContent = text;
  made.className = kind;
  made.dataset.v = value;
  return made;
};

const chosen = () => ({
  tasks: [...document.querySelectorAll("input[name=task]:checked")].map((box) => box.value),
  length: Number(document.querySelector("input[name=length]:checked").value),
});

// The rows of the encodings that have runs on every chosen task, the best first. Only these are compared.
const judge = ({ tasks, length }) => {
  const places = tasks.map((task) => ({ task, rows: DATA.places[`${task} ${length}`] ?? {} }));
  const names = Object.keys(places[0]?.rows ?? {}).filter((name) => places.every(({ rows }) => name in rows));
  const best = ({ rows }) => Math.max(...names.map((name) => rows[name].mean));
  const learned = places.filter((place) => best(place) >= DATA.learned);
  const kindOf = ({ better, doubtful }) =>
    names.some((name) => better.includes(name)) ? "worse" : names.some((name) => doubtful.includes(name)) ? "undecided" : "not worse";
  const rows = learned.length === 0 ? [] : names.map((name) => {
    const found = learned.map((place) => ({ task: place.task, ...place.rows[name], kind: kindOf(place.rows[name]), best: best(place) }));
    const kind = KINDS[Math.max(...found.map((one) => KINDS.indexOf(one.kind)))];
    return { name, kind, found, shortfall: Math.max(...found.map((one) => one.best - one.mean)) };
  });
  rows.sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) || a.shortfall - b.shortfall || a.name.localeCompare(b.name));
  const others = new Set(places.flatMap(({ rows }) => Object.keys(rows)).filter((name) => !names.includes(name)));
  return { names, rows, learned, others: [...others].sort(), lost: places.filter((place) => !learned.includes(place)).map(({ task }) => task) };
};

const sentence = ({ tasks, length }, { names, rows, lost }) => {
  if (!tasks.length) return "Choose at least one thing that your task asks for.";
  if (!names.length) return "No encoding has runs on all of these tasks. Choose fewer.";
  const where = length === 1 ? "At the trained length" : `At ${length} times the trained length`;
  const nobody = lost.length ? ` No encoding keeps half of ${list(lost)} there.` : "";
  const take = rows.filter((row) => row.kind === "not worse").map((row) => row.name);
  const open = rows.filter((row) => row.kind === "undecided").map((row) => row.name);
  if (!rows.length) return `${where} nothing can be taken.${nobody}`;
  if (take.length) return `${where} take ${list(take)}${open.length ? `; undecided: ${list(open)}` : ""}.${nobody}`;
  if (open.length) return `${where} no encoding is sure to be good; undecided: ${list(open)}.${nobody}`;
  return `${where} no encoding is good at all of these: each is worse than another at one of them.${nobody}`;
};

const show = () => {
  const wish = chosen();
  const said = judge(wish);
  document.getElementById("answer").textContent = sentence(wish, said);
  document.getElementById("others").textContent =
    said.others.length ? `Not compared, without runs on every chosen task: ${list(said.others)}.` : "";
  const table = document.getElementById("rows");
  const heads = ["encoding", "verdict", ...said.learned.map(({ task }) => `${task} ${wish.length}×`), "seeds solved", "parameters"];
  table.tHead.rows[0].replaceChildren(...heads.map((name, column) =>
    Object.assign(document.createElement("th"), { textContent: name, className: column > 1 ? "n" : "" })));
  table.tBodies[0].replaceChildren(...said.rows.map(({ name, kind, found }) => {
    const row = document.createElement("tr");
    const arm = cell("", "", name);
    const dot = document.createElement("i");
    dot.style.background = DATA.colours[name];
    arm.append(dot, name);
    row.append(arm, cell(WORDS[kind], WORDS[kind]));
    for (const one of found) {
      const link = Object.assign(document.createElement("a"), { href: `#${one.task}-${name}`, textContent: one.text });
      const value = cell("", "n", one.mean);
      value.append(link, one.kind === "not worse" ? "" : one.kind === "undecided" ? " ?" : " −");
      row.append(value);
    }
    row.append(cell(found.map((one) => one.solved).join(", "), "n"), cell(found[0].parameters.toLocaleString("en"), "n"));
    return row;
  }));
  const names = said.rows.filter((row) => row.kind !== "worse").slice(0, 4).map((row) => row.name);
  const options = (name) => DATA.options[name] ?? "";
  document.getElementById("command").textContent = [...new Set(names.map(options))].map((words) => {
    const alike = names.filter((name) => options(name) === words).join(",");
    return [DATA.start, `encoding=${alike}`, words, DATA.end].filter(Boolean).join(" ");
  }).join("\n") || "–";
};

document.querySelector("form").addEventListener("change", show);
show();

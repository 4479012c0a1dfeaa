// Sorts and filters the items of the page; viewer.js, which follows it in the same script, shows one of them large.
// Reads the JSON beside it, draws with the DOM, loads nothing. Texts reach the page as text only
// (textContent): names come from data sets that others made.
"use strict";

const DATA = JSON.parse(document.getElementById("items-data").textContent);
const ITEMS = DATA.items;
const STEP = 24; // items that are drawn at once
const MOST_CLASSES = 30; // rows of the matrix

const state = { sort: 0, reversed: false, classes: new Set(), pair: null, view: "guided", marks: false, drawn: STEP };

const byId = (id) => document.getElementById(id);
const nameOf = (index) => DATA.classes[index].name;
const perCent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function swatch(index) {
  const square = make("i");
  square.style.background = DATA.classes[index].colour;
  return square;
}

// ---- facts that follow from the records ----

const matrix = new Map(); // "class seen" -> {pixels, items}
const pixelsOf = new Map(); // class -> pixels of masks
const itemsOf = new Map(); // class -> items whose mask holds it
for (const item of ITEMS) {
  item.holds = new Set(item.pairs.map(([mask]) => mask));
  item.scored = item.pairs.reduce((sum, pair) => sum + pair[2], 0);
  for (const index of item.holds) itemsOf.set(index, (itemsOf.get(index) ?? 0) + 1);
  for (const [mask, seen, pixels] of item.pairs) {
    const cell = matrix.get(`${mask} ${seen}`) ?? { pixels: 0, items: 0 };
    matrix.set(`${mask} ${seen}`, { pixels: cell.pixels + pixels, items: cell.items + 1 });
    pixelsOf.set(mask, (pixelsOf.get(mask) ?? 0) + pixels);
  }
}

const ENERGIES = [...new Set(ITEMS.flatMap((item) => Object.keys(item.energies)))];
const SORTS = [
  {
    label: "disagreement with the teacher",
    value: (item) => item.disagreement,
    text: (item) => `${perCent(item.disagreement)} misread`,
  },
  ...ENERGIES.map((name) => ({
    label: `energy: ${name}`,
    value: (item) => item.energies[name],
    text: (item) => `${name} ${item.energies[name].toPrecision(3)}`,
  })),
  {
    label: "distance to the nearest real image",
    ascending: true,
    value: (item) => item.distance,
    text: (item) => `distance ${item.distance.toFixed(1)}`,
  },
  { label: "class chosen for", ascending: true, value: (item) => item.chosen_for, text: (item) => item.chosen_for },
  {
    label: "order of choice",
    ascending: true,
    value: (item) => ITEMS.indexOf(item),
    text: (item) => `chosen as number ${ITEMS.indexOf(item) + 1}`,
  },
].filter((sort) => ITEMS.some((item) => sort.value(item) != null));

function passes(item) {
  const held = [...state.classes].every((index) => item.holds.has(index));
  const read = !state.pair || item.pairs.some(([mask, seen]) => mask === state.pair[0] && seen === state.pair[1]);
  return held && read;
}

// Items without a value come last in either direction; ties stay in the order of choice.
function listed() {
  const { value, ascending = false } = SORTS[state.sort];
  const sign = ascending !== state.reversed ? 1 : -1;
  const order = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
  return ITEMS.filter(passes).sort((left, right) => {
    const [a, b] = [value(left), value(right)];
    return a == null || b == null ? (a == null) - (b == null) : sign * order(a, b);
  });
}

// ---- the list ----

function pictures(item, view, marks) {
  const shown = item.pictures[view] ? [make("img", { src: item.pictures[view], alt: "" })] : [];
  if (marks) shown.push(make("img", { src: item.pictures.misread, alt: "", className: "marks" }));
  return shown;
}

function tile(item) {
  const sort = SORTS[state.sort];
  const value = sort.value(item) == null ? "no value" : sort.text(item);
  const reason = item.chosen_for ? `for ${item.chosen_for}` : "";
  const index = DATA.classes.findIndex((one) => one.name === item.chosen_for);
  const button = make(
    "button",
    { type: "button", className: "tile", tabIndex: -1 },
    make("span", { className: "picture" }, ...pictures(item, state.view, state.marks)),
    make("b", { textContent: value }),
    make("span", { className: "faint", textContent: item.item_id }),
    make("span", { className: "faint" }, ...(index < 0 ? [] : [swatch(index)]), reason),
  );
  button.dataset.item = item.item_id;
  button.addEventListener("click", () => openItem(item));
  return make("li", {}, button);
}

function draw() {
  const sort = SORTS[state.sort];
  const found = listed();
  byId("grid").replaceChildren(...found.slice(0, state.drawn).map(tile));
  enter(byId("grid"), ".tile");
  const filters = [...state.classes].map((index) => `holds ${nameOf(index)}`);
  if (state.pair) filters.push(`${nameOf(state.pair[0])} read as ${nameOf(state.pair[1])}`);
  byId("status").textContent = [`${found.length} of ${ITEMS.length} items`, ...filters].join(" · ");
  byId("clear").hidden = filters.length === 0;
  byId("more").hidden = found.length <= state.drawn;
  byId("more").textContent = `Show ${Math.min(STEP, found.length - state.drawn)} more`;
  const down = (sort.ascending ?? false) === state.reversed;
  byId("direction").textContent = down ? "↓ highest first" : "↑ lowest first";
  if (sort.label === "class chosen for") byId("direction").textContent = down ? "↓ Z to A" : "↑ A to Z";
  for (const chip of byId("chips").children) chip.setAttribute("aria-pressed", state.classes.has(+chip.dataset.class));
  for (const cell of byId("matrix").querySelectorAll("td")) {
    cell.setAttribute("aria-selected", `${state.pair}` === cell.dataset.pair);
  }
}

function change(changes) {
  Object.assign(state, { drawn: STEP }, changes);
  draw();
}

function toggleClass(index) {
  const classes = new Set(state.classes);
  if (!classes.delete(index)) classes.add(index);
  change({ classes });
}

const togglePair = (pair) => change({ pair: `${state.pair}` === `${pair}` ? null : pair });

// One stop of the Tab key a group; arrow keys, Home and End move inside it.
function enter(box, selector) {
  const all = [...box.querySelectorAll(selector)];
  if (all.length && !all.some((one) => one.tabIndex === 0)) all[0].tabIndex = 0;
}

function moveTo(all, element) {
  for (const one of all) one.tabIndex = one === element ? 0 : -1;
  element.focus();
}

function movable(box, selector) {
  box.addEventListener("keydown", (event) => {
    const all = [...box.querySelectorAll(selector)];
    const at = all.indexOf(document.activeElement);
    const across = all.filter((one) => one.offsetTop === all[0].offsetTop).length;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, Home: -at };
    steps.End = all.length - 1 - at;
    const next = at < 0 || !(event.key in steps) ? undefined : all[at + steps[event.key]];
    if (!next) return;
    event.preventDefault();
    moveTo(all, next);
  });
  enter(box, selector);
}

// ---- filters ----

function drawChips() {
  const order = [...itemsOf.keys()].sort((a, b) => itemsOf.get(b) - itemsOf.get(a) || a - b);
  for (const index of order) {
    const count = make("span", { className: "faint", textContent: itemsOf.get(index) });
    const chip = make("button", { type: "button", tabIndex: -1 }, swatch(index), nameOf(index), count);
    chip.dataset.class = index;
    chip.addEventListener("click", () => toggleClass(index));
    byId("chips").append(chip);
  }
  movable(byId("chips"), "button");
}

// The classes that take part in most misreadings, in the order of the label space.
function matrixClasses() {
  const wrong = new Map();
  for (const [key, { pixels }] of matrix) {
    const [mask, seen] = key.split(" ").map(Number);
    if (mask === seen) continue;
    for (const index of [mask, seen]) wrong.set(index, (wrong.get(index) ?? 0) + pixels);
  }
  const most = [...wrong.keys()].sort((a, b) => wrong.get(b) - wrong.get(a)).slice(0, MOST_CLASSES);
  return most.sort((a, b) => a - b);
}

function matrixCell(mask, seen) {
  const { pixels = 0, items = 0 } = matrix.get(`${mask} ${seen}`) ?? {};
  const share = pixels ? pixels / pixelsOf.get(mask) : 0;
  const cell = make("td", { tabIndex: -1, textContent: share < 0.005 ? (pixels ? "·" : "") : Math.round(100 * share) });
  cell.dataset.pair = `${mask},${seen}`;
  cell.title = `${nameOf(mask)} read as ${nameOf(seen)}: ${perCent(share)} of its pixels, in ${items} items`;
  cell.setAttribute("aria-label", cell.title);
  cell.style.setProperty("--tint", `${Math.round(70 * Math.sqrt(share))}%`);
  cell.className = mask === seen ? "right" : "wrong";
  if (pixels) cell.addEventListener("click", () => togglePair([mask, seen]));
  else cell.classList.add("none");
  return cell;
}

function drawMatrix() {
  const classes = matrixClasses();
  const heads = classes.map((index) => make("th", { scope: "col" }, make("span", { textContent: nameOf(index) })));
  const rows = classes.map((mask) => {
    const head = make("th", { scope: "row" }, swatch(mask), nameOf(mask));
    return make("tr", {}, head, ...classes.map((seen) => matrixCell(mask, seen)));
  });
  byId("matrix").append(make("thead", {}, make("tr", {}, make("td"), ...heads)), make("tbody", {}, ...rows));
  byId("matrix-note").textContent = classes.length
    ? "Rows are classes of the masks, columns what the teacher sees, in per cent of the row's pixels. A cell filters."
    : "The teacher reads every pixel as its mask.";
  if (pixelsOf.size > classes.length && classes.length === MOST_CLASSES) {
    byId("matrix-note").textContent += ` The ${MOST_CLASSES} classes with most misread pixels.`;
  }
  byId("matrix").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    event.target.click();
  });
  movable(byId("matrix"), "tbody td");
}

// ---- controls ----

function listenToList() {
  byId("sort").append(...SORTS.map((sort, index) => make("option", { value: index, textContent: sort.label })));
  byId("view").append(...DATA.views.map((view) => make("option", { value: view.key, textContent: view.caption })));
  byId("view").value = state.view;
  byId("sort").addEventListener("change", (event) => change({ sort: +event.target.value, reversed: false }));
  byId("direction").addEventListener("click", () => change({ reversed: !state.reversed }));
  byId("view").addEventListener("change", (event) => change({ view: event.target.value }));
  byId("marks").addEventListener("change", (event) => change({ marks: event.target.checked }));
  byId("clear").addEventListener("click", () => change({ classes: new Set(), pair: null }));
  byId("more").addEventListener("click", () => {
    const first = state.drawn;
    change({ drawn: state.drawn + STEP });
    const all = [...byId("grid").querySelectorAll(".tile")];
    moveTo(all, all[first]);
  });
}

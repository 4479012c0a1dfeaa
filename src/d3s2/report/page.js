// Sorts, filters and shows the items of the page. Reads the JSON beside it, draws with the DOM, loads nothing.
// Texts reach the page as text only (textContent): names come from data sets that others made.
"use strict";

const DATA = JSON.parse(document.getElementById("items-data").textContent);
const ITEMS = DATA.items;
const STEP = 24; // items that are drawn at once
const MOST_CLASSES = 30; // rows of the matrix

const state = { sort: 0, reversed: false, classes: new Set(), pair: null, view: "guided", marks: false, drawn: STEP };
const viewer = { item: null, list: [], views: [] };

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
  button.addEventListener("click", () => open(item));
  return make("li", {}, button);
}

function draw() {
  const sort = SORTS[state.sort];
  const found = listed();
  viewer.list = found;
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

// ---- one item, large ----

function open(item) {
  show(item);
  if (!byId("viewer").open) byId("viewer").showModal();
  byId("slider").focus();
}

function show(item) {
  const before = viewer.views[Math.round(byId("slider").value)]?.key ?? state.view;
  viewer.item = item;
  viewer.views = DATA.views.filter((view) => item.pictures[view.key]);
  const at = viewer.list.indexOf(item);
  byId("viewer-title").textContent = item.item_id;
  byId("place").textContent = at < 0 ? "" : `${at + 1} of ${viewer.list.length}`;
  byId("previous").disabled = at <= 0;
  byId("next").disabled = at < 0 || at === viewer.list.length - 1;
  const layers = viewer.views.map((view) => make("img", { src: item.pictures[view.key], alt: view.caption }));
  byId("stack").replaceChildren(...layers, ...pictures(item, "misread", false).map(asMarks));
  byId("stops").replaceChildren(...viewer.views.map(stop));
  byId("facts").replaceChildren(...facts(item));
  byId("slider").max = viewer.views.length - 1;
  slideTo(Math.max(0, viewer.views.findIndex((view) => view.key === before)));
}

const asMarks = (image) => Object.assign(image, { className: "marks", hidden: !byId("marked").checked });

function stop(view, place) {
  const button = make("button", { type: "button", textContent: view.caption, tabIndex: -1 });
  button.addEventListener("click", () => slideTo(place));
  return button;
}

// Between two stops the right picture fades in over the left one.
function slideTo(value) {
  const place = Math.min(Math.max(value, 0), viewer.views.length - 1);
  const slider = byId("slider");
  slider.value = place;
  slider.setAttribute("aria-valuetext", viewer.views[Math.round(place)].caption);
  [...byId("stack").querySelectorAll("img:not(.marks)")].forEach((image, index) => {
    image.style.opacity = index <= place ? 1 : Math.max(0, 1 - (index - place));
    image.hidden = index < Math.floor(place) || index >= place + 1;
  });
  [...byId("stops").children].forEach((button, index) => {
    button.setAttribute("aria-pressed", index === Math.round(place));
  });
}

function turn(steps) {
  const next = viewer.list[viewer.list.indexOf(viewer.item) + steps];
  if (next) show(next);
}

function facts(item) {
  const index = DATA.classes.findIndex((one) => one.name === item.chosen_for);
  const rows = [
    ["mask", item.source_id],
    item.chosen_for && ["chosen for", ...(index < 0 ? [] : [swatch(index)]), item.chosen_for],
    item.disagreement != null && ["misread by the teacher", `${perCent(item.disagreement)} of the pixels`],
    ...ENERGIES.filter((name) => name in item.energies).map((name) => [`energy: ${name}`, energyText(item, name)]),
    item.distance != null && [
      "nearest real image",
      `${item.nearest_id === item.source_id ? "its own mask's image" : item.nearest_id}, distance ` +
        `${item.distance.toFixed(1)} grey levels, ratio ${item.ratio.toFixed(2)}`,
    ],
    item.candidate > 0 && ["candidate", `number ${item.candidate + 1} of its mask was kept`],
  ].filter(Boolean);
  const list = rows.map(([label, ...value]) => make("div", {}, make("dt", { textContent: label }), make("dd", {}, ...value)));
  return [make("dl", {}, ...list), ...misreadings(item)];
}

function energyText(item, name) {
  const [before, after] = [item.energies_before[name], item.energies[name]].map((value) => value?.toPrecision(3));
  return before === undefined ? after : `${before} unguided, ${after} guided`;
}

function misreadings(item) {
  const wrong = item.pairs.filter(([mask, seen]) => mask !== seen).sort((a, b) => b[2] - a[2]);
  if (!wrong.length) return [];
  const buttons = wrong.slice(0, 8).map(([mask, seen, pixels]) => {
    const text = `${nameOf(mask)} read as ${nameOf(seen)}`;
    const share = make("span", { className: "faint", textContent: perCent(pixels / item.scored) });
    const button = make("button", { type: "button" }, swatch(mask), swatch(seen), text, share);
    button.title = "Show all items with this misreading";
    button.addEventListener("click", () => {
      byId("viewer").close();
      change({ pair: [mask, seen] });
    });
    return make("li", {}, button);
  });
  return [make("h4", { textContent: "Misread, of its pixels" }), make("ul", { className: "misreadings" }, ...buttons)];
}

// ---- beginning ----

function listen() {
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
  byId("slider").addEventListener("input", (event) => slideTo(+event.target.value));
  byId("slider").addEventListener("change", (event) => slideTo(Math.round(event.target.value)));
  byId("marked").addEventListener("change", (event) => {
    byId("stack").querySelector(".marks").hidden = !event.target.checked;
  });
  byId("previous").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  byId("close").addEventListener("click", () => byId("viewer").close());
  byId("viewer").addEventListener("click", (event) => event.target === byId("viewer") && byId("viewer").close());
  byId("viewer").addEventListener("close", () => {
    const all = [...byId("grid").querySelectorAll(".tile")];
    const own = all.find((one) => one.dataset.item === viewer.item.item_id);
    if (own) moveTo(all, own);
  });
  byId("viewer").addEventListener("keydown", (event) => {
    const place = Math.round(byId("slider").value);
    const acts = {
      ArrowLeft: () => slideTo(place - 1),
      ArrowRight: () => slideTo(place + 1),
      ArrowUp: () => turn(-1),
      ArrowDown: () => turn(1),
      m: () => byId("marked").click(),
    };
    if (!(event.key in acts) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    acts[event.key]();
  });
}

movable(byId("grid"), ".tile");
drawChips();
drawMatrix();
listen();
draw();
byId("matrix-box").open = window.matchMedia("(min-width: 1100px)").matches;
byId("explorer").hidden = false;

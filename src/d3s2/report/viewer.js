// One item, large: a slider over its pictures, its facts and misreadings. Follows page.js in the same script.

const viewer = { item: null, list: [], views: [] }; // list: the items as they were listed when one was opened

function openItem(item) {
  viewer.list = listed();
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
  byId("stops").replaceChildren(...viewer.views.map(stopButton));
  byId("facts").replaceChildren(...facts(item));
  byId("slider").max = viewer.views.length - 1;
  slideTo(Math.max(0, viewer.views.findIndex((view) => view.key === before)));
}

const asMarks = (image) => Object.assign(image, { className: "marks", hidden: !byId("marked").checked });

function stopButton(view, place) {
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
      change({ pair: [mask, seen] });
      byId("viewer").close();
    });
    return make("li", {}, button);
  });
  return [make("h4", { textContent: "Misread, of its pixels" }), make("ul", { className: "misreadings" }, ...buttons)];
}

function listenToViewer() {
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
listenToList();
listenToViewer();
draw();
byId("matrix-box").open = window.matchMedia("(min-width: 1100px)").matches;
byId("explorer").hidden = false;

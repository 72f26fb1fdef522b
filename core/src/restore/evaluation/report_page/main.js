// Puts stage, frames, plot and lists together. The state is one frame, two versions, zoom and divider.

const element = (id) => document.getElementById(id);
const data = JSON.parse(element("data").textContent);
const stage = new Stage(element("stage"), data, new Pictures(data, JSON.parse(element("images").textContent)));
const state = { position: 0, left: 0, right: 1 }; // position counts the shown frames
let timer = null;

function tag(version) {
  const { name, reference, psnr } = data.versions[version];
  if (reference) return `${name} · reference`;
  const value = number(psnr[data.shown[state.position]], "psnr");
  return value === "equal" ? `${name} · equal` : `${name} · ${value} dB`;
}

async function update() {
  document.documentElement.dataset.state = "busy";
  const frame = data.shown[state.position];
  const all = data.shown.length === data.frames;
  const drawn = await stage.show(state.position, state.left, state.right);
  if (!drawn) return;
  for (const side of ["left", "right"]) {
    element(side).value = state[side];
    element(`tag-${side}`).textContent = tag(state[side]);
  }
  element("scrubber").value = state.position;
  element("scrubber").setAttribute("aria-valuetext", `frame ${frame}`);
  const kept = all ? "" : ` · picture ${state.position + 1} of ${data.shown.length}`;
  element("position").textContent = `Frame ${frame} / ${data.frames - 1}${kept}`;
  element("previous").disabled = state.position === 0;
  element("next").disabled = state.position === data.shown.length - 1;
  plot?.setFrame(frame);
  for (const button of element("worst").querySelectorAll("button")) {
    const current = Number(button.dataset.frame) === frame && Number(button.dataset.version) === state.right;
    button.setAttribute("aria-current", current);
  }
  document.documentElement.dataset.state = "ready";
}

function go(position) {
  state.position = Math.min(data.shown.length - 1, Math.max(0, position));
  return update();
}

// The shown frame that is nearest to a frame.
function nearest(frame) {
  let best = 0;
  data.shown.forEach((shown, i) => {
    if (Math.abs(shown - frame) < Math.abs(data.shown[best] - frame)) best = i;
  });
  return best;
}

function play(on) {
  clearInterval(timer);
  timer = on ? setInterval(() => go((state.position + 1) % data.shown.length), 1000 / Math.min(30, data.rate || 10)) : null;
  element("play").textContent = on ? "Pause" : "Play";
  element("play").setAttribute("aria-label", on ? "Pause" : "Play");
  element("play").setAttribute("aria-pressed", on);
}

function step(by) {
  play(false);
  go(state.position + by);
}

function swap() {
  [state.left, state.right] = [state.right, state.left];
  update();
}

function swatch(version) {
  const node = document.createElement("span");
  node.className = "swatch";
  node.style.setProperty("--color", color(version));
  return node;
}

function fillLists() {
  data.versions.forEach((version, i) => {
    for (const side of ["left", "right"]) {
      element(side).add(new Option(version.reference ? `${version.name} (ref.)` : version.name, i));
    }
    if (version.reference) return;
    const item = document.createElement("li");
    item.append(swatch(i), version.name);
    element("legend").append(item);
    element("worst").append(worstOf(version, i));
  });
}

function worstOf(version, i) {
  const column = document.createElement("div");
  const title = document.createElement("h3");
  const list = document.createElement("ol");
  title.append(swatch(i), version.name);
  column.append(title, list);
  for (const frame of version.worst) {
    const button = document.createElement("button");
    Object.assign(button.dataset, { frame, version: i });
    button.type = "button";
    button.disabled = !data.shown.includes(frame);
    button.title = button.disabled ? "Its picture is not in this page" : "Look at this frame beside the reference";
    for (const text of [`Frame ${frame}`, `${number(version.psnr[frame], "psnr")} dB`, number(version.ssim[frame], "ssim")]) {
      const part = document.createElement("span");
      part.textContent = text;
      button.append(part);
    }
    button.addEventListener("click", () => {
      Object.assign(state, { left: 0, right: i });
      step(nearest(frame) - state.position);
      stage.root.scrollIntoView({ block: "nearest" });
    });
    const item = document.createElement("li");
    item.append(button);
    list.append(item);
  }
  if (!version.worst.length) list.append("Every frame equals the reference.");
  return column;
}

fillLists();
const plot = data.frames > 1 ? new Plot(element("plot"), element("readout"), data, (frame) => step(nearest(frame) - state.position)) : null;
for (const id of ["transport", "plot-card", "worst-card"]) element(id).hidden = data.frames === 1;
element("scrubber").max = data.shown.length - 1;

for (const side of ["left", "right"]) {
  element(side).addEventListener("change", (event) => {
    state[side] = Number(event.target.value);
    update();
  });
}
element("scrubber").addEventListener("input", (event) => step(Number(event.target.value) - state.position));
element("previous").addEventListener("click", () => step(-1));
element("next").addEventListener("click", () => step(1));
element("play").addEventListener("click", () => play(timer === null));
element("swap").addEventListener("click", swap);
element("zoom-in").addEventListener("click", () => stage.setZoom(stage.zoom * 1.5));
element("zoom-out").addEventListener("click", () => stage.setZoom(stage.zoom / 1.5));
element("fit").addEventListener("click", () => stage.setZoom(1));
stage.onzoom = (zoom) => {
  element("zoom").textContent = `${Number(zoom.toFixed(1))}×`;
};
for (const button of document.querySelectorAll("[data-metric]")) {
  button.addEventListener("click", () => {
    for (const other of document.querySelectorAll("[data-metric]")) other.setAttribute("aria-pressed", other === button);
    plot.setMetric(button.dataset.metric);
  });
}

const KEYS = {
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  Home: () => step(-data.shown.length),
  End: () => step(data.shown.length),
  " ": () => data.frames > 1 && play(timer === null),
  "+": () => stage.setZoom(stage.zoom * 1.5),
  "=": () => stage.setZoom(stage.zoom * 1.5),
  "-": () => stage.setZoom(stage.zoom / 1.5),
  0: () => stage.setZoom(1),
  "[": () => stage.setSplit(stage.split - 0.02),
  "]": () => stage.setSplit(stage.split + 0.02),
  s: swap,
};

document.addEventListener("keydown", (event) => {
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  // A focused control keeps the keys that are its own.
  const own = event.target.closest?.("select, input") || (event.key === " " && event.target.closest?.("button, .scroll"));
  if (!act || own || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
});

// #frame=12&left=0&right=2&zoom=4&x=0.3&y=0.5&split=0.4 opens the page there, so that a view can be pointed at.
function follow() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const value = (key, otherwise) => (wanted.has(key) && Number.isFinite(Number(wanted.get(key))) ? Number(wanted.get(key)) : otherwise);
  const version = (key) => Math.min(data.versions.length - 1, Math.max(0, Math.round(value(key, state[key]))));
  Object.assign(state, { left: version("left"), right: version("right") });
  stage.setSplit(value("split", stage.split));
  if (wanted.has("zoom")) {
    stage.setZoom(1);
    const { clientWidth: width, clientHeight: height } = stage.root;
    stage.setZoom(value("zoom", 1), width * value("x", 0.5), height * value("y", 0.5));
  }
  return go(nearest(value("frame", data.shown[state.position])));
}
window.addEventListener("hashchange", follow);
follow();

// The plot: one line a version over all frames, whether their pictures are in the page or not.

const MARGIN = { left: 48, right: 12, top: 10, bottom: 30 };
const COLORS = 6;
const UNITS = { psnr: { label: "PSNR, dB", digits: 2 }, ssim: { label: "SSIM", digits: 4 } };

const color = (version) => `var(--c${(version - 1) % COLORS})`;

// null stands for infinite: the frame equals the reference.
const number = (value, metric) => (value === null ? "equal" : value.toFixed(UNITS[metric].digits));

// Asked of the browser, so that no address stands in the page.
const SVG = Object.assign(document.createElement("div"), { innerHTML: "<svg></svg>" }).firstChild.namespaceURI;

function svg(name, attributes, parent) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (parent) parent.append(node);
  return node;
}

// Round numbers that divide [low, high] into about `count` parts.
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
  return { found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

class Plot {
  constructor(root, readout, data, onpick) {
    Object.assign(this, { root, readout, data, onpick, metric: "psnr", frame: 0 });
    root.addEventListener("click", (event) => onpick(this.frameAt(event)));
    root.addEventListener("pointermove", (event) => this.hover(this.frameAt(event)));
    root.addEventListener("pointerleave", () => this.hover(null));
    new ResizeObserver(() => this.draw()).observe(root);
    this.draw();
  }

  setMetric(metric) {
    this.metric = metric;
    this.draw();
  }

  setFrame(frame) {
    this.frame = frame;
    this.mark(this.here, frame);
  }

  x(frame) {
    return MARGIN.left + (this.width - MARGIN.left - MARGIN.right) * (frame / Math.max(1, this.data.frames - 1));
  }

  y(value) {
    const [low, high] = this.range;
    return MARGIN.top + (this.height - MARGIN.top - MARGIN.bottom) * ((high - value) / (high - low));
  }

  frameAt(event) {
    const share = (event.clientX - this.root.getBoundingClientRect().left - MARGIN.left)
      / (this.width - MARGIN.left - MARGIN.right);
    return Math.round(Math.min(1, Math.max(0, share)) * (this.data.frames - 1));
  }

  mark(line, frame) {
    line.setAttribute("visibility", frame === null ? "hidden" : "visible");
    if (frame !== null) for (const end of ["x1", "x2"]) line.setAttribute(end, this.x(frame));
  }

  hover(frame) {
    this.mark(this.cursor, frame);
    if (frame === null) {
      const equal = this.data.versions.some((version) => version[this.metric].includes(null));
      this.readout.textContent = "Click to go to a frame."
        + (equal ? " Frames that equal the reference lie on the upper edge." : "");
      return;
    }
    const values = this.data.versions.slice(1).map((v) => `${v.name} ${number(v[this.metric][frame], this.metric)}`);
    const away = this.data.shown.includes(frame) ? "" : " (its picture is not in this page)";
    this.readout.textContent = `Frame ${frame}${away} · ${values.join(" · ")}`;
  }

  draw() {
    [this.width, this.height] = [this.root.clientWidth, this.root.clientHeight];
    if (this.width < MARGIN.left + MARGIN.right + 20) return;
    const versions = this.data.versions.slice(1);
    this.range = this.rangeOf(versions);
    const label = `${UNITS[this.metric].label} of every frame; the worst are listed below`;
    this.node = svg("svg", { role: "img", "aria-label": label });
    this.axes();
    versions.forEach((version, i) => this.line(version[this.metric], i + 1));
    const ends = { y1: MARGIN.top, y2: this.height - MARGIN.bottom };
    this.cursor = svg("line", { class: "hover", ...ends }, this.node);
    this.here = svg("line", { class: "here", ...ends }, this.node);
    this.root.replaceChildren(this.node);
    this.mark(this.here, this.frame);
    this.hover(null);
  }

  rangeOf(versions) {
    let [low, high] = [Infinity, -Infinity];
    for (const version of versions) {
      for (const value of version[this.metric]) {
        if (value !== null) [low, high] = [Math.min(low, value), Math.max(high, value)];
      }
    }
    if (low > high) return [0, 1]; // every frame equals the reference
    const room = Math.max((high - low) * 0.08, this.metric === "psnr" ? 0.05 : 0.0005);
    return [low - room, high + room];
  }

  axes() {
    const bottom = this.height - MARGIN.bottom;
    const { found, digits } = ticks(...this.range, 6);
    for (const value of found) {
      const y = this.y(value);
      svg("line", { class: "grid", x1: MARGIN.left, x2: this.width - MARGIN.right, y1: y, y2: y }, this.node);
      svg("text", { x: MARGIN.left - 8, y: y + 4, "text-anchor": "end" }, this.node).textContent = value.toFixed(digits);
    }
    const frames = ticks(0, Math.max(1, this.data.frames - 1), Math.max(2, this.width / 110)).found;
    for (const frame of frames.filter(Number.isInteger)) {
      svg("text", { x: this.x(frame), y: this.height - 8, "text-anchor": "middle" }, this.node).textContent = frame;
    }
    if (this.data.shown.length === this.data.frames) return;
    for (const frame of this.data.shown) {
      const x = this.x(frame);
      svg("line", { class: "shown", x1: x, x2: x, y1: bottom + 3, y2: bottom + 8 }, this.node);
    }
  }

  // A long video has many frames to one column of pixels: lowest and highest of each column are drawn.
  line(values, version) {
    const columns = Math.max(1, Math.floor(this.width - MARGIN.left - MARGIN.right));
    const width = Math.max(1, Math.floor(values.length / columns));
    let path = "";
    let pen = "M";
    const style = `--color: ${color(version)}`;
    for (let start = 0; start < values.length; start += width) {
      let [low, high] = [null, null];
      for (let i = start; i < Math.min(values.length, start + width); i++) {
        if (values[i] === null) continue;
        if (low === null || values[i] < values[low]) low = i;
        if (high === null || values[i] > values[high]) high = i;
      }
      if (low === null) {
        // Equal frames have no finite PSNR: a dot at the upper edge.
        svg("circle", { class: "dot", style, r: 2, cx: this.x(start), cy: MARGIN.top }, this.node);
        pen = "M";
        continue;
      }
      for (const i of low === high ? [low] : [Math.min(low, high), Math.max(low, high)]) {
        path += `${pen}${this.x(i).toFixed(1)} ${this.y(values[i]).toFixed(1)}`;
        pen = "L";
      }
    }
    if (path) svg("path", { class: "line", style, d: path }, this.node);
  }
}

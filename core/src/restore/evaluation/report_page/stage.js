// The stage: two pictures on top of each other, cut at a divider; zoom and pan move both alike.

const MAX_ZOOM = 8;
const CACHED = 60; // decoded pictures; a page holds more frames than memory should

class Pictures {
  constructor(data, encoded) {
    this.mime = data.mime;
    this.encoded = encoded; // one list a shown frame: base64 of each version
    this.cache = new Map();
  }

  // A decoded <img> of one version of one shown frame.
  async get(position, version) {
    const key = `${position}/${version}`;
    let image = this.cache.get(key);
    this.cache.delete(key);
    if (!image) {
      image = new Image();
      image.src = `data:${this.mime};base64,${this.encoded[position][version]}`;
    }
    this.cache.set(key, image); // the newest is last
    if (this.cache.size > CACHED) this.cache.delete(this.cache.keys().next().value);
    await image.decode();
    return image;
  }
}

class Stage {
  constructor(root, data, pictures) {
    this.root = root;
    this.pictures = pictures;
    this.panes = ["left", "right"].map((side) => root.querySelector(`#pane-${side}`));
    this.canvases = this.panes.map((pane) => pane.querySelector("canvas"));
    this.divider = root.querySelector("#divider");
    this.split = 0.5; // share of the stage that is the left picture's
    this.zoom = 1;
    this.pan = { x: 0, y: 0 }; // how far the zoomed picture lies left of and above the stage, in stage pixels
    this.request = 0;
    this.onzoom = () => {};
    for (const canvas of this.canvases) [canvas.width, canvas.height] = [data.width, data.height];
    root.style.setProperty("--ratio", data.width / data.height);
    this.listen();
    new ResizeObserver(() => this.place()).observe(root);
    this.place();
  }

  // Draws both sides at once, when both are decoded: they never show two different frames.
  async show(position, left, right) {
    const mine = ++this.request;
    const images = await Promise.all([left, right].map((version) => this.pictures.get(position, version)));
    if (mine !== this.request) return false;
    images.forEach((image, i) => this.canvases[i].getContext("2d").drawImage(image, 0, 0));
    return true;
  }

  setSplit(share) {
    this.split = Math.min(1, Math.max(0, share));
    this.place();
  }

  // Zooms by keeping the point (x, y) of the stage, in its pixels, where it is.
  setZoom(zoom, x = this.root.clientWidth / 2, y = this.root.clientHeight / 2) {
    const next = Math.min(MAX_ZOOM, Math.max(1, zoom));
    const factor = next / this.zoom;
    this.pan = { x: (this.pan.x + x) * factor - x, y: (this.pan.y + y) * factor - y };
    this.zoom = next;
    this.place();
    this.onzoom(next);
  }

  place() {
    const { clientWidth: width, clientHeight: height } = this.root;
    this.pan.x = Math.min(width * (this.zoom - 1), Math.max(0, this.pan.x));
    this.pan.y = Math.min(height * (this.zoom - 1), Math.max(0, this.pan.y));
    const move = `translate(${-this.pan.x}px, ${-this.pan.y}px) scale(${this.zoom})`;
    for (const canvas of this.canvases) canvas.style.transform = move;
    const percent = this.split * 100;
    this.panes[0].style.clipPath = `inset(0 ${100 - percent}% 0 0)`;
    this.panes[1].style.clipPath = `inset(0 0 0 ${percent}%)`;
    this.divider.style.left = `${percent}%`;
    this.divider.setAttribute("aria-valuenow", Math.round(percent));
    // Smoothing would hide what is compared once single pixels can be seen; below that, uneven pixels would.
    this.root.classList.toggle("pixels", (width * this.zoom) / this.canvases[0].width >= 3);
    this.root.classList.toggle("zoomed", this.zoom > 1);
  }

  listen() {
    const { root } = this;
    const local = (event) => {
      const box = root.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    root.addEventListener("wheel", (event) => {
      // At 1x the page itself scrolls on.
      if (this.zoom === 1 && event.deltaY > 0) return;
      event.preventDefault();
      const { x, y } = local(event);
      this.setZoom(this.zoom * Math.exp(-event.deltaY / 400), x, y);
    }, { passive: false });
    let drag = null;
    root.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const panning = this.zoom > 1 && event.target !== this.divider;
      drag = { panning, ...local(event) };
      root.setPointerCapture(event.pointerId);
      root.classList.toggle("panning", panning);
      if (!panning) this.setSplit(drag.x / root.clientWidth);
    });
    root.addEventListener("pointermove", (event) => {
      if (!drag) return;
      const { x, y } = local(event);
      if (drag.panning) {
        this.pan.x -= x - drag.x;
        this.pan.y -= y - drag.y;
        Object.assign(drag, { x, y });
        this.place();
      } else this.setSplit(x / root.clientWidth);
    });
    for (const kind of ["pointerup", "pointercancel"]) {
      root.addEventListener(kind, () => {
        drag = null;
        root.classList.remove("panning");
      });
    }
    // Dragging must not focus it, or the arrow keys would move it from then on and no longer step through frames.
    this.divider.addEventListener("mousedown", (event) => event.preventDefault());
    this.divider.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      this.setSplit(this.split + step);
    });
  }
}

class Eye { // a camera to fly with: centre, axes (right, down, forward), lens (k and size of a photo), point to turn about
  constructor(canvas, scene) {
    Object.assign(this, { canvas, scene });
  }
  goTo(view) {
    [this.center, this.axes, this.lens] = [view.center, view.axes, view];
    this.target = add(this.center, this.axes[2], view.depth);
  }
  get scale() { // window pixels per pixel of the lens' photo, which fits into the window
    const { canvas, lens } = this;
    return Math.min(canvas.clientWidth / lens.size[1], canvas.clientHeight / lens.size[0]);
  }
  get corner() { // of that photo in the window
    const { canvas, lens, scale } = this;
    return [(canvas.clientWidth - scale * lens.size[1]) / 2, (canvas.clientHeight - scale * lens.size[0]) / 2];
  }
  ray(x, y) { // direction in the world of a place in the window, of depth one
    const { corner, scale } = this;
    return ray({ axes: this.axes, k: this.lens.k }, (x - corner[0]) / scale - .5, (y - corner[1]) / scale - .5);
  }
  get clip() { // rows of the 4x4 matrix from positions on the GPU to WebGL's clip coordinates
    const { axes: [right, down, forward], scale, corner, scene } = this, [fx, fy, cx, cy] = this.lens.k;
    const [w, h] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const from = add(this.center, scene.middle, -1);
    const x = add(right.map((v) => 2 * scale * fx / w * v), forward, 2 * (scale * (cx + .5) + corner[0]) / w - 1);
    const y = add(down.map((v) => -2 * scale * fy / h * v), forward, 1 - 2 * (scale * (cy + .5) + corner[1]) / h);
    const [slope, depth] = this.planes, z = forward.map((v) => slope * v);
    return [...x, -dot(x, from), ...y, -dot(y, from), ...z, -dot(z, from) - depth, ...forward, -dot(forward, from)];
  }
  get near() {
    return this.scene.radius / 2000;
  }
  get planes() { // z / w of clip coordinates is the first less the second / distance
    const { near } = this, far = this.scene.radius * 200;
    return [(far + near) / (far - near), 2 * far * near / (far - near)];
  }
  turn(axis, angle) {
    this.axes = this.axes.map((each) => turned(each, axis, angle));
    this.center = add(this.target, turned(add(this.center, this.target, -1), axis, angle));
  }
  drag(dx, dy) {
    this.turn(this.scene.up, dx * -.006);
    const rise = dot(this.axes[2], this.scene.up); // not over the top
    if (Math.abs(rise) < .98 || Math.sign(rise) === Math.sign(dy)) this.turn(this.axes[0], dy * -.006);
  }
  pan(dx, dy) { // what is at the distance of the target follows the cursor
    const step = Math.hypot(...add(this.target, this.center, -1)) / (this.lens.k[0] * this.scale);
    const way = add(this.axes[0].map((v) => -dx * step * v), this.axes[1], -dy * step);
    [this.center, this.target] = [add(this.center, way), add(this.target, way)];
  }
  zoom(factor) { // close to the target the target goes ahead, so that one can walk on
    const back = add(this.center, this.target, -1), distance = Math.hypot(...back) * factor;
    this.center = add(this.target, back, factor);
    this.target = add(this.center, back, -factor * Math.max(1, this.scene.radius / 100 / distance));
  }
}

function steer(canvas, eye, { moved, click, doubleClick }) { // mouse, fingers and keys
  const fingers = new Map(); // pointers that are down -> their last event
  let way = 0;
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
    way = fingers.size > 1 ? Infinity : 0;
  };
  canvas.onpointermove = (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    const other = [...fingers.values()].find((each) => each.pointerId !== event.pointerId);
    if (other) {
      const gap = (at) => Math.hypot(at.clientX - other.clientX, at.clientY - other.clientY);
      eye.zoom(gap(before) / Math.max(gap(event), 1));
      eye.pan(dx / 2, dy / 2);
    } else if (event.buttons & 6 || event.shiftKey) eye.pan(dx, dy);
    else eye.drag(dx, dy);
    way += Math.abs(dx) + Math.abs(dy);
    fingers.set(event.pointerId, event);
    moved();
  };
  canvas.onpointerup = canvas.onpointercancel = (event) => {
    fingers.delete(event.pointerId);
    if (event.type === "pointerup" && way < 6 && event.button === 0) click(event.offsetX, event.offsetY);
  };
  canvas.oncontextmenu = (event) => event.preventDefault();
  canvas.onwheel = (event) => {
    event.preventDefault();
    eye.zoom(Math.exp(event.deltaY * (event.deltaMode ? .05 : .0012)));
    moved();
  };
  canvas.ondblclick = (event) => doubleClick(event.offsetX, event.offsetY);
  canvas.onkeydown = ({ key }) => {
    const steps = { ArrowLeft: [-20, 0], ArrowRight: [20, 0], ArrowUp: [0, -20], ArrowDown: [0, 20] };
    if (steps[key]) eye.drag(...steps[key]);
    else if (key === "+" || key === "-") eye.zoom(key === "+" ? .9 : 1 / .9);
    moved();
  };
}

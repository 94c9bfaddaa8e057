// The window: what is shown, from where, and what mouse, fingers and switches do.
(async () => {
  const scene = JSON.parse($("scene").textContent), canvas = $("canvas"), wish = new URLSearchParams(location.hash.slice(1));
  const gl = canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true });
  if (!gl || !window.DecompressionStream) throw Error("This page needs a browser of 2023 or later with WebGL 2.");
  const packed = await unpacked($("points").textContent), { places, paint } = decodePoints(new Uint8Array(packed), scene);
  const tracks = scene.tracks && new Float32Array(await unpacked(scene.tracks.points));

  const points = new Program(gl, SHADERS.points), lines = new Program(gl, SHADERS.lines), pictures = new Program(gl, SHADERS.pictures);
  const cloud = points.arrays({ place: [places, 3], paint: [paint, 4] }, 0);
  const kinds = Object.entries(segmentsOf(scene, tracks)).map(([name, list]) => {
    const floats = (pick) => [Float32Array.from(list.flatMap(pick)), pick(list[0] || [[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0]]).length];
    const fields = { a: floats((s) => s[0]), b: floats((s) => s[1]), paint: [Uint8Array.from(list.flatMap((s) => s[2])), 3], span: floats((s) => s[3]) };
    $(`${name}-row`).hidden = !list.length;
    return { name, count: list.length, state: lines.arrays(fields, 1) };
  });
  const framed = scene.views.filter((view) => view.picture && view.posed);
  for (const view of framed) {
    const [left, top, right, bottom] = view.picture;
    view.quad = [[left, top], [right, top], [left, bottom], [right, bottom]].map(([x, y]) => add(view.center, ray(view, x, y), scene.frustum));
  }
  const floats = (pick) => Float32Array.from(framed.flatMap(pick));
  const albums = pictures.arrays({
    corner: [floats((v) => add(v.quad[0], scene.middle, -1)), 3], right: [floats((v) => add(v.quad[1], v.quad[0], -1)), 3],
    down: [floats((v) => add(v.quad[2], v.quad[0], -1)), 3], tile: [floats((v) => v.tile), 2],
    span: [floats((v) => v.moment === null ? [0, 1e9] : [v.moment, v.moment]), 2] }, 1);
  if (scene.atlas) {
    const atlas = new Image();
    atlas.src = scene.atlas.image;
    await atlas.decode();
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, atlas);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
  }

  let eye, axes, target, lens, moment, queued = true; // axes: right, down, forward; lens: k and size of a photo
  const scaleOf = () => Math.min(canvas.clientWidth / lens.size[1], canvas.clientHeight / lens.size[0]);
  const shift = (i) => ([canvas.clientWidth, canvas.clientHeight][i] - scaleOf() * lens.size[1 - i]) / 2;
  const pixel = (x, y) => [(x - shift(0)) / scaleOf() - .5, (y - shift(1)) / scaleOf() - .5]; // window -> photo
  function clipFromWorld() { // rows of a 4x4 matrix; also the distance of the near plane
    const [fx, fy, cx, cy] = lens.k, s = scaleOf(), near = scene.radius / 2000, far = scene.radius * 200;
    const [w, h] = [canvas.clientWidth, canvas.clientHeight], [r, d, f] = axes;
    const x = add(r.map((v) => 2 * s * fx / w * v), f, 2 * (s * (cx + .5) + shift(0)) / w - 1);
    const y = add(d.map((v) => -2 * s * fy / h * v), f, 1 - 2 * (s * (cy + .5) + shift(1)) / h);
    const z = f.map((v) => (far + near) / (far - near) * v), from = add(eye, scene.middle, -1);
    const rows = [[...x, -dot(x, from)], [...y, -dot(y, from)], [...z, -dot(z, from) - 2 * far * near / (far - near)], [...f, -dot(f, from)]];
    return { clip: rows.flat(), near };
  }
  function draw() {
    queued = false;
    const ratio = window.devicePixelRatio || 1, { clip, near } = clipFromWorld(), show = scene.times.length ? $("show").value : "all";
    [canvas.width, canvas.height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    gl.viewport(0, 0, canvas.width, canvas.height);
    const shade = $("dark").checked ? .1 : 1;
    gl.clearColor(shade, shade, shade, 1);
    gl.enable(gl.DEPTH_TEST);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const grain = +$("size").value * scene.spread * lens.k[0] * scaleOf() * ratio, now = show === "all" ? -1 : moment;
    const shy = 1.6 * scene.frustum, from = add(eye, scene.middle, -1);
    points.use({ clip, least: +$("confidence").value });
    gl.bindVertexArray(cloud);
    for (const view of scene.views) {
      const here = show === "all" || view.moment === null || view.moment === moment;
      const first = view.first + (here || show === "moving" ? 0 : view.still), last = view.first + view.still + (here ? view.moving : 0);
      if (last <= first || (!here && show === "now")) continue;
      points.use({ origin: add(view.center, scene.middle, -1), grain: grain * view.grain });
      gl.drawArrays(gl.POINTS, first, last - first);
    }
    for (const kind of kinds.filter((each) => each.count && $(each.name).checked)) {
      const through = { shy: kind.name === "cameras" ? shy : 0, now: kind.name === "objects" ? moment : now };
      lines.use({ clip, near, eye: from, window: [canvas.clientWidth, canvas.clientHeight], ...through });
      gl.bindVertexArray(kind.state);
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, kind.count);
    }
    if (scene.atlas && $("cameras").checked) {
      pictures.use({ clip, now, shy, eye: from, tiles: scene.atlas.tiles });
      gl.bindVertexArray(albums);
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, framed.length);
    }
    document.body.classList.toggle("dark", $("dark").checked);
    $("hidden").value = `${Math.round($("confidence").value / 2.56)} %`;
    if (scene.times.length) $("clock").value = `${(scene.times[moment] - scene.times[0]).toFixed(2)} s`;
  }
  const redraw = () => { if (!queued) requestAnimationFrame(draw); queued = true; };

  function lookFrom(index) { // -1: overview
    const view = index < 0 ? scene.home : scene.views[index];
    [eye, axes, lens] = [view.center, view.axes, view];
    target = add(eye, axes[2], view.depth);
    $("photo").value = index;
    if (view.moment != null) $("time").value = moment = view.moment;
    redraw();
  }
  function turn(axis, angle) {
    axes = axes.map((each) => turned(each, axis, angle));
    eye = add(target, turned(add(eye, target, -1), axis, angle));
  }
  function drag(dx, dy) {
    turn(scene.up, dx * -.006);
    const rise = dot(axes[2], scene.up), angle = dy * -.006; // not over the top
    if (Math.abs(rise) < .98 || Math.sign(rise) === Math.sign(dy)) turn(axes[0], angle);
  }
  function pan(dx, dy) {
    const step = Math.hypot(...add(target, eye, -1)) / (lens.k[0] * scaleOf());
    for (const [axis, amount] of [[axes[0], -dx * step], [axes[1], -dy * step]]) [eye, target] = [add(eye, axis, amount), add(target, axis, amount)];
  }
  function zoom(factor) { // close to the point it turns about the point goes ahead, so that one can walk on
    const back = add(eye, target, -1), distance = Math.hypot(...back) * factor;
    eye = add(target, back, factor);
    target = add(eye, back, -factor * Math.max(1, scene.radius / 100 / distance));
  }
  function nearestPoint(x, y) { // of those within 8 pixels of the cursor the one in front
    const { clip } = clipFromWorld(), [w, h] = [canvas.clientWidth, canvas.clientHeight];
    let best = Infinity, found = null;
    for (let i = 0; i < scene.count; i++) {
      const row = (k) => clip[k] * places[3 * i] + clip[k + 1] * places[3 * i + 1] + clip[k + 2] * places[3 * i + 2] + clip[k + 3];
      const depth = row(12);
      if (depth <= 0 || depth >= best || paint[4 * i + 3] < +$("confidence").value) continue;
      if (Math.hypot((row(0) / depth + 1) * w / 2 - x, (1 - row(4) / depth) * h / 2 - y) < 8) [best, found] = [depth, i];
    }
    return found === null ? null : add([...places.subarray(3 * found, 3 * found + 3)], scene.middle);
  }
  function pictureAt(x, y) { // the view whose picture is under the cursor, -1 for none
    const direction = ray({ axes, k: lens.k }, ...pixel(x, y));
    const hits = framed.map((view) => {
      const depth = dot(add(view.quad[0], eye, -1), view.axes[2]) / dot(direction, view.axes[2]), hit = add(add(eye, direction, depth), view.quad[0], -1);
      const inside = [1, 2].every((k) => { const side = add(view.quad[k], view.quad[0], -1), t = dot(hit, side) / dot(side, side); return t >= 0 && t <= 1; });
      return [inside && depth > 0 ? depth : Infinity, scene.views.indexOf(view), view.moment];
    }).filter(([depth, , when]) => depth < Infinity && (when === null || $("show").value === "all" || when === moment));
    return hits.length && $("cameras").checked ? hits.sort((a, b) => a[0] - b[0])[0][1] : -1;
  }

  const fingers = new Map(); // pointers that are down -> where they are
  let moved = 0;
  canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); fingers.set(event.pointerId, event); moved = fingers.size > 1 ? 99 : 0; };
  canvas.onpointermove = (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    const other = [...fingers.values()].find((each) => each.pointerId !== event.pointerId);
    moved += Math.abs(dx) + Math.abs(dy);
    if (other) {
      const gap = (at) => Math.hypot(at.clientX - other.clientX, at.clientY - other.clientY);
      zoom(gap(before) / Math.max(gap(event), 1));
      pan(dx / 2, dy / 2);
    } else if (event.buttons & 6 || event.shiftKey) pan(dx, dy);
    else drag(dx, dy);
    fingers.set(event.pointerId, event);
    redraw();
  };
  canvas.onpointerup = canvas.onpointercancel = (event) => {
    fingers.delete(event.pointerId);
    const hit = moved < 4 && event.button === 0 && event.type === "pointerup" ? pictureAt(event.offsetX, event.offsetY) : -1;
    if (hit >= 0) lookFrom(hit);
  };
  canvas.oncontextmenu = (event) => event.preventDefault();
  canvas.onwheel = (event) => { event.preventDefault(); zoom(Math.exp(event.deltaY * (event.deltaMode ? .05 : .0012))); redraw(); };
  canvas.ondblclick = (event) => {
    const point = nearestPoint(event.offsetX, event.offsetY);
    if (point) target = point;
  };
  canvas.onkeydown = ({ key }) => {
    const steps = { ArrowLeft: [-20, 0], ArrowRight: [20, 0], ArrowUp: [0, -20], ArrowDown: [0, 20] };
    if (steps[key]) drag(...steps[key]);
    if (key === "+" || key === "-") zoom(key === "+" ? .9 : 1 / .9);
    redraw();
  };

  let clockwork = 0;
  const setMoment = (value) => { $("time").value = moment = value; redraw(); };
  $("time").oninput = () => setMoment(+$("time").value);
  $("play").onclick = () => {
    $("play").textContent = clockwork ? "▶" : "❚❚";
    clockwork = clockwork ? clearInterval(clockwork) || 0 : setInterval(() => setMoment((moment + 1) % scene.times.length), scene.tick);
  };
  for (const id of ["size", "confidence", "cameras", "tracks", "objects", "dark", "show"]) $(id).oninput = redraw;
  $("photo").oninput = () => lookFrom(+$("photo").value);
  $("controls").open = canvas.clientWidth > 600;
  scene.views.forEach((view, i) => { if (view.posed) $("photo").add(new Option(view.name, i)); });
  $("time").max = scene.times.length - 1;
  $("time-row").hidden = $("show-row").hidden = scene.times.length < 2;
  $("confidence-row").hidden = scene.levels[0] === scene.levels[255];
  $("show").value = scene.show;
  if (wish.has("bare")) document.body.classList.add("bare"); // only the picture, for a frame in another page
  if (wish.has("size")) $("size").value = wish.get("size");
  new ResizeObserver(redraw).observe(canvas);
  setMoment(scene.start);
  lookFrom(wish.has("photo") ? +wish.get("photo") : -1);
  if (wish.has("moment")) setMoment(+wish.get("moment"));
  draw();
  document.body.dataset.ready = "drawn";
  window.worldline = { scene, places, paint, lookFrom, setMoment, view: () => ({ eye, axes, target, k: lens.k }) };
})().catch((error) => { $("trouble").textContent = error.message; $("trouble").style.display = "block"; throw error; });

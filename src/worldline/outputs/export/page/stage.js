class Stage { // the scene on the GPU
  constructor(gl, scene, { places, paint }, segments) {
    Object.assign(this, { gl, scene, places, paint });
    this.programs = Object.fromEntries(Object.entries(SHADERS).map(([name, text]) => [name, new Program(gl, text)]));
    this.cloud = this.programs.points.arrays({ place: [places, 3], paint: [paint, 4] }, 0);
    this.kinds = Object.entries(segments).map(([name, list]) => {
      const floats = (part, width) => [Float32Array.from(list.flatMap((segment) => segment[part])), width];
      const bytes = [Uint8Array.from(list.flatMap((segment) => segment[2])), 3];
      const fields = { a: floats(0, 3), b: floats(1, 3), paint: bytes, span: floats(3, 2) };
      return { name, count: list.length, state: this.programs.lines.arrays(fields, 1) };
    });
    this.framed = scene.views.filter((view) => view.picture && view.posed);
    for (const view of this.framed) {
      const [left, top, right, bottom] = view.picture;
      view.quad = [[left, top], [right, top], [left, bottom]].map(([x, y]) => add(view.center, ray(view, x, y), scene.frustum));
    }
    const floats = (pick, width) => [Float32Array.from(this.framed.flatMap(pick)), width];
    this.album = this.programs.pictures.arrays({
      corner: floats((view) => add(view.quad[0], scene.middle, -1), 3),
      right: floats((view) => add(view.quad[1], view.quad[0], -1), 3),
      down: floats((view) => add(view.quad[2], view.quad[0], -1), 3),
      tile: floats((view) => view.tile, 2),
      span: floats(spanOf, 2),
    }, 1);
  }
  async load(atlas) { // the picture of all photos
    const { gl } = this, image = new Image();
    image.src = atlas.image;
    await image.decode();
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, image);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
  }
  draw(eye, look) { // look: size, least, show, moment, dark, and whether there are cameras, tracks, objects
    const { gl, scene, programs } = this, { canvas } = eye, ratio = window.devicePixelRatio || 1;
    [canvas.width, canvas.height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(...(look.dark ? [.1, .1, .1, 1] : [1, 1, 1, 1]));
    gl.enable(gl.DEPTH_TEST);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const { clip, near } = eye, shy = 1.6 * scene.frustum, now = look.show === "all" ? -1 : look.moment;
    const place = { clip, now, eye: add(eye.center, scene.middle, -1) };
    this.drawPoints(clip, eye.planes, look, eye.lens.k[0] * eye.scale * ratio);
    for (const { name, count, state } of this.kinds.filter((kind) => kind.count && look[kind.name])) {
      const through = name === "objects" ? { shy: 0, now: look.moment } : { shy: name === "cameras" ? shy : 0 };
      programs.lines.use({ ...place, near, window: [canvas.clientWidth, canvas.clientHeight], ...through });
      gl.bindVertexArray(state);
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, count);
    }
    if (this.framed.length && look.cameras) {
      programs.pictures.use({ ...place, shy, tiles: scene.atlas.tiles });
      gl.bindVertexArray(this.album);
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, this.framed.length);
    }
  }
  countOf(view, { show, moment }) { // how many of a view's points are shown: those that stand still, or also those that move
    const here = show === "all" || view.moment === null || view.moment === moment;
    return (here || show === "moving" ? view.still : 0) + (here ? view.moving : 0);
  }
  drawPoints(clip, planes, look, focal) {
    const { gl, scene, programs: { points } } = this, { least, size } = look;
    points.use({ clip, planes, least, focal });
    gl.bindVertexArray(this.cloud);
    for (const view of scene.views) {
      const count = this.countOf(view, look);
      if (!count) continue;
      points.use({ origin: add(view.center, scene.middle, -1), grain: size * scene.spread * focal * view.grain });
      gl.drawArrays(gl.POINTS, view.first, count);
    }
  }
  pointAt(eye, x, y, look) { // of the shown points within 8 pixels of a place in the window the one in front, in the world
    const { places, paint, scene } = this, { clip } = eye, { clientWidth: w, clientHeight: h } = eye.canvas;
    let best = Infinity, found = -1;
    for (const view of scene.views) {
      const end = view.first + this.countOf(view, look);
      for (let i = view.first; i < end; i++) {
        const row = (k) => clip[k] * places[3 * i] + clip[k + 1] * places[3 * i + 1] + clip[k + 2] * places[3 * i + 2]
          + clip[k + 3];
        const depth = row(12);
        if (depth <= 0 || depth >= best || paint[4 * i + 3] < look.least) continue;
        if (Math.hypot((row(0) / depth + 1) * w / 2 - x, (1 - row(4) / depth) * h / 2 - y) < 8) [best, found] = [depth, i];
      }
    }
    return found < 0 ? null : add([...places.subarray(3 * found, 3 * found + 3)], scene.middle);
  }
  pictureAt(eye, x, y, { show, moment }) { // the number of the view whose picture is there, -1 for none
    const direction = eye.ray(x, y);
    let best = Infinity, found = -1;
    for (const view of this.framed) {
      const [corner, ...ends] = view.quad, normal = view.axes[2];
      const depth = dot(add(corner, eye.center, -1), normal) / dot(direction, normal);
      const hit = add(add(eye.center, direction, depth), corner, -1);
      const inside = ends.every((end) => {
        const side = add(end, corner, -1), share = dot(hit, side) / dot(side, side);
        return share >= 0 && share <= 1;
      });
      const shown = show === "all" || view.moment === null || view.moment === moment;
      if (inside && shown && depth > 0 && depth < best) [best, found] = [depth, this.scene.views.indexOf(view)];
    }
    return found;
  }
}

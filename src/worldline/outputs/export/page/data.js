"use strict";
// Draws the scene of this page. Cameras have OpenCV axes (x right, y down, z forward), pixel centres are integers;
// export/web_points.py says how the points are packed. Positions on the GPU are relative to scene.middle.
const $ = (id) => document.getElementById(id);
const add = (a, b, s = 1) => a.map((x, i) => x + s * b[i]);
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const unit = (a) => a.map((x) => x / Math.hypot(...a));
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const turned = (v, axis, angle) => { // Rodrigues
  const c = Math.cos(angle), s = Math.sin(angle), n = cross(axis, v), d = dot(axis, v);
  return v.map((x, i) => c * x + s * n[i] + (1 - c) * d * axis[i]);
};

async function unpacked(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

function decodePoints(bytes, scene) {
  const n = scene.count, places = new Float32Array(3 * n), paint = new Uint8Array(4 * n);
  const plane = (k) => bytes.subarray(k * n, (k + 1) * n), planes = [...Array(10).keys()].map(plane);
  const step = [0, 0, 0], sum = [0, 0, 0, 0];
  let i = 0;
  for (const view of scene.views) {
    view.first = i;
    const [near, far] = view.range, shift = add(view.center, scene.middle, -1);
    for (const end = i + view.still + view.moving; i < end; i++) {
      for (let k = 0; k < 3; k++) {
        const folded = planes[k][i] | (planes[3 + k][i] << 8);
        step[k] = (step[k] + ((folded >> 1) ^ -(folded & 1))) & 65535;
      }
      let x = step[0] / 65535 * 2 - 1, y = step[1] / 65535 * 2 - 1;
      const z = 1 - Math.abs(x) - Math.abs(y);
      if (z < 0) [x, y] = [(1 - Math.abs(y)) * (x < 0 ? -1 : 1), (1 - Math.abs(x)) * (y < 0 ? -1 : 1)];
      const stretch = Math.exp(near + step[2] / 65535 * (far - near)) / Math.hypot(x, y, z);
      places.set([shift[0] + x * stretch, shift[1] + y * stretch, shift[2] + z * stretch], 3 * i);
      for (let k = 0; k < 4; k++) sum[k] = (sum[k] + planes[6 + k][i]) & 255;
      paint.set([sum[0] + sum[1], sum[0], sum[0] + sum[2], sum[3]].map((value) => value & 255), 4 * i);
    }
  }
  return { places, paint };
}

const ray = (view, x, y) => // world direction of a pixel, of depth one
  [0, 1, 2].map((i) => view.axes[0][i] * (x - view.k[2]) / view.k[0] + view.axes[1][i] * (y - view.k[3]) / view.k[1] + view.axes[2][i]);

function segmentsOf(scene, tracks) { // kind -> [from, to, colour, first moment, last moment]
  const from = (view, x, y) => add(add(view.center, ray(view, x, y), scene.frustum), scene.middle, -1);
  const ever = [0, 1e9], cameras = [], trails = [], boxes = [], before = {};
  for (const view of scene.views.filter((each) => each.posed)) {
    const span = view.moment === null ? ever : [view.moment, view.moment], center = add(view.center, scene.middle, -1);
    const [h, w] = view.size, corners = [[-.5, -.5], [w - .5, -.5], [w - .5, h - .5], [-.5, h - .5]].map((c) => from(view, ...c));
    corners.forEach((corner, i) => cameras.push([center, corner, [215, 50, 40], span], [corner, corners[(i + 1) % 4], [215, 50, 40], span]));
    if (view.moment !== null && before[view.sensor]) cameras.push([before[view.sensor], center, [150, 150, 150], ever]);
    before[view.sensor] = center;
  }
  const moments = scene.times.length;
  for (let t = 0; tracks && t < scene.tracks.colors.length; t++) {
    const at = (m) => [...tracks.subarray(4 * (t * moments + m), 4 * (t * moments + m) + 4)]; // x, y, z, seen
    for (let m = 1; m < moments; m++) {
      const [a, b] = [at(m - 1), at(m)], paint = a[3] * b[3] ? scene.tracks.colors[t] : [170, 170, 170];
      const ends = [a, b].map((end) => add(end.slice(0, 3), scene.middle, -1));
      if (!isNaN(a[0] + b[0])) trails.push([...ends, paint, [m, m + scene.trail]]);
    }
  }
  for (const { size, at } of scene.objects) for (const [moment, ...place] of at) {
    const corner = (i) => place.map((x, k) => x - scene.middle[k] + size[k] * ((i >> k & 1) - .5));
    for (let i = 0; i < 8; i++) for (const bit of [1, 2, 4]) if (!(i & bit)) boxes.push([corner(i), corner(i | bit), [230, 120, 0], [moment, moment]]);
  }
  return { cameras, tracks: trails, objects: boxes };
}

"use strict";
// Draws the scene of this page. Cameras have OpenCV axes (x right, y down, z forward), pixel centres are integers;
// export/web_points.py says how the points are packed. Positions on the GPU are relative to scene.middle.
const $ = (id) => document.getElementById(id);
const add = (a, b, s = 1) => a.map((x, i) => x + s * b[i]);
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
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

function ray({ axes: [right, down, forward], k: [fx, fy, cx, cy] }, x, y) { // world direction of a pixel, of depth one
  return add(add(forward, right, (x - cx) / fx), down, (y - cy) / fy);
}

const EVER = [0, 1e9]; // first and last moment
const spanOf = (view) => view.moment === null ? EVER : [view.moment, view.moment];
const RED = [215, 50, 40], GREY = [165, 165, 165], ORANGE = [230, 120, 0];

function segmentsOf(scene, tracks) { // kind -> [from, to, colour, [first moment, last moment]], relative to the middle
  const objects = scene.objects.flatMap((each) => boxes(each, scene));
  return { cameras: frusta(scene), tracks: tracks ? trails(scene, tracks) : [], objects };
}

function frusta(scene) { // and the way of each sensor
  const segments = [], before = {};
  for (const view of scene.views.filter((each) => each.posed)) {
    const center = add(view.center, scene.middle, -1), [h, w] = view.size;
    const edges = [[-.5, -.5], [w - .5, -.5], [w - .5, h - .5], [-.5, h - .5]]; // outer edges of the photo
    const corners = edges.map(([x, y]) => add(center, ray(view, x, y), scene.frustum));
    corners.forEach((corner, i) => {
      segments.push([center, corner, RED, spanOf(view)], [corner, corners[(i + 1) % 4], RED, spanOf(view)]);
    });
    if (view.moment !== null && before[view.sensor]) segments.push([before[view.sensor], center, GREY, EVER]);
    before[view.sensor] = center;
  }
  return segments;
}

function trails(scene, tracks) { // each piece is seen from its moment on for a while
  const segments = [], moments = scene.times.length;
  scene.tracks.colors.forEach((color, track) => {
    const place = (moment) => 4 * (track * moments + moment);
    const at = (moment) => [...tracks.subarray(place(moment), place(moment) + 4)]; // x, y, z, seen
    for (let moment = 1; moment < moments; moment++) {
      const [a, b] = [at(moment - 1), at(moment)], ends = [a, b].map((end) => add(end.slice(0, 3), scene.middle, -1));
      if (!isNaN(a[0] + b[0])) segments.push([...ends, a[3] * b[3] ? color : GREY, [moment, moment + scene.trail]]);
    }
  });
  return segments;
}

function boxes({ size, at }, { middle }) { // the twelve edges, at each moment
  return at.flatMap(([moment, ...center]) => {
    const corner = (i) => center.map((x, k) => x - middle[k] + size[k] * ((i >> k & 1) - .5));
    const edges = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((i) => [1, 2, 4].filter((bit) => !(i & bit)).map((bit) => [i, i | bit]));
    return edges.map(([i, j]) => [corner(i), corner(j), ORANGE, [moment, moment]]);
  });
}

async function main() {
  const scene = JSON.parse($("scene").textContent), canvas = $("canvas"), wish = new URLSearchParams(location.hash.slice(1));
  const gl = canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true });
  if (!gl || !window.DecompressionStream) throw Error("This page needs a browser of 2023 or later with WebGL 2.");
  const points = decodePoints(new Uint8Array(await unpacked($("points").textContent)), scene);
  const tracks = scene.tracks && new Float32Array(await unpacked(scene.tracks.points));
  const stage = new Stage(gl, scene, points, segmentsOf(scene, tracks)), eye = new Eye(canvas, scene);
  if (scene.atlas) await stage.load(scene.atlas);

  let queued = true; // until the first picture
  const look = () => ({
    size: +$("size").value, least: +$("confidence").value, moment: +$("time").value, dark: $("dark").checked,
    show: scene.times.length ? $("show").value : "all",
    cameras: $("cameras").checked, tracks: $("tracks").checked, objects: $("objects").checked,
  });
  function draw() {
    queued = false;
    const chosen = look();
    stage.draw(eye, chosen);
    document.body.classList.toggle("dark", chosen.dark);
    $("hidden").value = `${Math.round(chosen.least / 2.56)} %`;
    const passed = scene.times[chosen.moment] - scene.times[0];
    $("clock").value = scene.seconds ? `${passed.toFixed(2)} s` : `frame ${chosen.moment}`;
  }
  const redraw = () => { if (!queued) requestAnimationFrame(draw); queued = true; };
  const setMoment = (moment) => { $("time").value = moment; redraw(); };
  function lookFrom(index) { // -1: overview
    const view = index < 0 ? scene.home : scene.views[index];
    eye.goTo(view);
    $("photo").value = index;
    if (view.moment != null) $("time").value = view.moment;
    redraw();
  }
  steer(canvas, eye, {
    moved: redraw,
    click(x, y) {
      const hit = look().cameras ? stage.pictureAt(eye, x, y, look()) : -1;
      if (hit >= 0) lookFrom(hit);
    },
    doubleClick(x, y) { eye.target = stage.pointAt(eye, x, y, look()) || eye.target; },
  });

  let clockwork = 0; // runs while the scene plays
  $("play").onclick = () => {
    $("play").textContent = clockwork ? "▶" : "❚❚";
    if (clockwork) clearInterval(clockwork);
    clockwork = clockwork ? 0 : setInterval(() => setMoment((look().moment + 1) % scene.times.length), scene.tick);
  };
  for (const id of ["size", "confidence", "cameras", "tracks", "objects", "dark", "show", "time"]) $(id).oninput = redraw;
  $("photo").oninput = () => lookFrom(+$("photo").value);
  scene.views.forEach((view, i) => { if (view.posed) $("photo").add(new Option(view.name, i)); });
  for (const { name, count } of stage.kinds) $(`${name}-row`).hidden = !count;
  $("time").max = scene.times.length - 1;
  $("time-row").hidden = $("show-row").hidden = !scene.times.length;
  $("confidence-row").hidden = scene.levels[0] === scene.levels[255];
  $("controls").open = canvas.clientWidth > 600;
  $("show").value = scene.show;
  if (wish.has("bare")) document.body.classList.add("bare"); // only the picture, for a frame in another page
  if (wish.has("size")) $("size").value = wish.get("size");
  setMoment(scene.start);
  lookFrom(wish.has("photo") && scene.views[wish.get("photo")] ? +wish.get("photo") : -1);
  if (wish.has("moment")) setMoment(+wish.get("moment"));
  draw();
  new ResizeObserver(redraw).observe(canvas);
  document.body.dataset.ready = "drawn";
  window.worldline = { scene, points, eye, lookFrom };
}

main().catch((error) => {
  $("trouble").textContent = error.message;
  $("trouble").style.display = "block";
  throw error;
});

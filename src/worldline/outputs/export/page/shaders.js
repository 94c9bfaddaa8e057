// The three kinds of things drawn, and WebGL 2 without a library.
const SHADERS = {
  points: [`in vec3 place; in vec4 paint; uniform mat4 clip; uniform vec3 origin; uniform float grain, least, focal;
    out vec3 tint; out vec2 bowl; // distance from the eye, and how much farther the rim of a point is than its middle
    void main() {
      float width = grain * distance(place, origin);
      gl_Position = clip * vec4(place, 1);
      gl_PointSize = clamp(width / gl_Position.w, 1., 120.);
      bowl = vec2(gl_Position.w, width / focal);
      if (paint.a * 255. < least - .5) gl_Position = vec4(2, 2, 2, 1);
      tint = paint.rgb;
    }`, `in vec3 tint; in vec2 bowl; uniform vec2 planes;
    void main() { // of overlapping points the one is seen whose middle is nearest: smooth surfaces instead of scales
      vec2 p = gl_PointCoord - .5;
      if (dot(p, p) > .25) discard;
      gl_FragDepth = .5 + .5 * (planes.x - planes.y / (bowl.x + 4. * dot(p, p) * bowl.y));
      color = vec4(tint, 1);
    }`],
  lines: [`in vec3 a, b; in vec3 paint; in vec2 span; uniform mat4 clip; uniform vec3 eye; uniform vec2 window;
    uniform float now, near, shy;
    out vec3 tint;
    void main() { // a segment is a thin quad
      vec4 p = clip * vec4(a, 1), q = clip * vec4(b, 1);
      bool hidden = max(p.w, q.w) < near || now >= 0. && (now < span.x || now > span.y)
        || min(distance(a, eye), distance(b, eye)) < shy; // a camera that one looks through
      if (p.w < near) p = mix(p, q, (near - p.w) / (q.w - p.w));
      if (q.w < near) q = mix(q, p, (near - q.w) / (p.w - q.w));
      vec2 along = normalize((q.xy / q.w - p.xy / p.w) * window + 1e-6);
      vec4 end = gl_VertexID < 2 ? p : q;
      end.xy += vec2(-along.y, along.x) * (gl_VertexID % 2 == 0 ? -1. : 1.) / window * 1.6 * end.w;
      gl_Position = hidden ? vec4(2, 2, 2, 1) : end;
      tint = paint;
    }`, `in vec3 tint; void main() { color = vec4(tint, 1); }`],
  pictures: [`in vec3 corner, right, down; in vec2 tile; in vec2 span; uniform mat4 clip; uniform vec3 eye; uniform vec2 tiles;
    uniform float now, shy;
    out vec2 at;
    void main() {
      vec2 uv = vec2(gl_VertexID & 1, gl_VertexID >> 1);
      gl_Position = clip * vec4(corner + uv.x * right + uv.y * down, 1);
      bool hidden = now >= 0. && (now < span.x || now > span.y) || distance(corner + .5 * (right + down), eye) < shy;
      if (hidden) gl_Position = vec4(2, 2, 2, 1);
      at = (tile + mix(vec2(.02), vec2(.98), uv)) / tiles;
    }`, `in vec2 at; uniform sampler2D atlas; void main() { color = texture(atlas, at); }`],
};

class Program {
  constructor(gl, [vertex, fragment]) {
    const head = "#version 300 es\nprecision highp float;\n";
    Object.assign(this, { gl, places: {} });
    this.program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, head + vertex], [gl.FRAGMENT_SHADER, head + "out vec4 color;" + fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(this.program, shader);
    }
    gl.linkProgram(this.program);
    if (!gl.getProgramParameter(this.program, gl.LINK_STATUS)) throw Error(gl.getProgramInfoLog(this.program));
  }
  use(uniforms) {
    const { gl, places } = this;
    gl.useProgram(this.program);
    for (const [name, value] of Object.entries(uniforms)) {
      if (!(name in places)) places[name] = gl.getUniformLocation(this.program, name);
      const at = places[name];
      if (value.length === 16) gl.uniformMatrix4fv(at, true, value);
      else gl[`uniform${value.length || 1}fv`](at, value.length ? value : [value]);
    }
  }
  arrays(fields, divisor) { // fields: name -> [typed array, numbers per element]
    const { gl } = this, state = gl.createVertexArray();
    gl.bindVertexArray(state);
    for (const [name, [values, width]] of Object.entries(fields)) {
      const at = gl.getAttribLocation(this.program, name), bytes = values instanceof Uint8Array;
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, width, bytes ? gl.UNSIGNED_BYTE : gl.FLOAT, bytes, 0, 0);
      gl.vertexAttribDivisor(at, divisor);
    }
    return state;
  }
}

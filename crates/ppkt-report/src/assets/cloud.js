// A cloud of points that can be turned, drawn by WebGL, or on a plain canvas where there is none.
"use strict";
(() => {
  const canvas = document.getElementById("cloud");
  if (!canvas) return;
  const { classes, clouds } = JSON.parse(document.getElementById("cloud-data").textContent);
  const radios = [...document.querySelectorAll("input[name=colouring]")];
  const chooser = document.querySelector("select[name=cloud]");
  const about = document.querySelector(".about-colour");
  const legend = document.querySelector(".clouds .legend");

  const FIELD_OF_VIEW = (42 * Math.PI) / 180;
  const RIGHT = [176, 180, 186];
  const WRONG = [214, 58, 46];
  const UNLABELLED = [120, 124, 130];

  // ---- What a file holds ----

  function bytes(text) {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  }

  function shorts(text) {
    const view = new DataView(bytes(text).buffer);
    return Uint16Array.from({ length: view.byteLength / 2 }, (_, i) => view.getUint16(2 * i, true));
  }

  /** Positions around the middle of the cloud with the width of each point, and how far the cloud reaches. */
  function unpack(cloud) {
    const steps = shorts(cloud.xyz);
    const n = steps.length / 3;
    const middle = [0, 1, 2].map((k) => cloud.low[k] + cloud.step[k] * 32767.5);
    const points = new Float32Array(3 * n);
    for (let i = 0; i < points.length; i += 1) {
      points[i] = cloud.low[i % 3] + cloud.step[i % 3] * steps[i] - middle[i % 3];
    }
    // A few stray points must not make the rest small.
    const reach = Float32Array.from({ length: n }, (_, i) => Math.hypot(points[3 * i], points[3 * i + 1], points[3 * i + 2])).sort();
    const radius = Math.max(reach[Math.floor(0.97 * (n - 1))], 1e-3);
    const viewpoint = cloud.viewpoint && cloud.viewpoint.map((x, k) => x - middle[k]);
    // Points as wide as they are apart make surfaces look closed. What a camera saw is spread over about one
    // steradian, and lies farther apart the farther away it is.
    const places = new Float32Array(4 * n);
    for (let i = 0; i < n; i += 1) {
      const place = points.subarray(3 * i, 3 * i + 3);
      places.set(place, 4 * i);
      places[4 * i + 3] = viewpoint
        ? (1.7 * Math.hypot(place[0] - viewpoint[0], place[1] - viewpoint[1], place[2] - viewpoint[2])) / Math.sqrt(n)
        : (2.6 * radius) / Math.sqrt(n);
    }
    return { n, places, radius, viewpoint };
  }

  /** Display colour of a class, 0 being "unlabelled". */
  function colourOf(number) {
    if (number === 0) return UNLABELLED;
    if (classes[number - 1]) return classes[number - 1].colour;
    // Without a list of classes: hues a golden angle apart.
    const hue = (number * 137.508) % 360;
    return [0, 8, 4].map((k) => {
      const at = (k + hue / 30) % 12;
      return Math.round(255 * (0.58 - 0.26 * Math.max(-1, Math.min(at - 3, 9 - at, 1))));
    });
  }

  function nameOf(number) {
    if (number === 0) return "unlabelled";
    return classes[number - 1] ? classes[number - 1].name : `class ${number}`;
  }

  /** Colours of all points, and the legend to them. */
  function coloured(cloud, n, key) {
    const rgb = new Uint8Array(3 * n).fill(140);
    if (["photo", "teacher", "student"].includes(key)) {
      if (cloud[key]) rgb.set(bytes(cloud[key]));
      return { rgb, entries: [] };
    }
    const label = cloud.label && shorts(cloud.label);
    const prediction = cloud.prediction && shorts(cloud.prediction);
    const counts = new Map();
    const paint = (i, colour, name) => {
      rgb.set(colour, 3 * i);
      const entry = counts.get(name) || { name, colour, count: 0 };
      entry.count += 1;
      counts.set(name, entry);
    };
    for (let i = 0; i < n; i += 1) {
      if (key === "error") {
        if (label[i] === 0) paint(i, UNLABELLED, "unlabelled");
        else if (label[i] === prediction[i]) paint(i, RIGHT, "right");
        else paint(i, WRONG, "wrong");
      } else {
        const number = (key === "label" ? label : prediction)[i];
        paint(i, colourOf(number), nameOf(number));
      }
    }
    return { rgb, entries: [...counts.values()].sort((a, b) => b.count - a.count) };
  }

  function offers(cloud, key) {
    return key === "error" ? Boolean(cloud.label && cloud.prediction) : Boolean(cloud[key]);
  }

  // ---- Two ways to draw: both take points, colours, and a camera ----

  const VERTEX = `
    attribute vec4 place;
    attribute vec3 colour;
    uniform mat4 clip;
    uniform vec2 size;
    varying vec3 seen;
    void main() {
      gl_Position = clip * vec4(place.xyz, 1.0);
      gl_PointSize = clamp(place.w * size.x / gl_Position.w, size.y, 24.0 * size.y);
      seen = colour;
    }`;
  const FRAGMENT = `
    precision mediump float;
    varying vec3 seen;
    void main() {
      vec2 off = gl_PointCoord - 0.5;
      if (dot(off, off) > 0.25) discard;
      gl_FragColor = vec4(seen, 1.0);
    }`;

  function withWebGl() {
    // The buffer is kept so that a printed page holds the cloud as it was left.
    const gl = canvas.getContext("webgl", { antialias: true, preserveDrawingBuffer: true });
    if (!gl) return null;
    let program, places, colours, n = 0, last = {};

    function build() {
      program = gl.createProgram();
      for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
        const shader = gl.createShader(kind);
        gl.shaderSource(shader, source);
        gl.compileShader(shader);
        gl.attachShader(program, shader);
      }
      gl.linkProgram(program);
      gl.useProgram(program);
      gl.enable(gl.DEPTH_TEST);
      places = gl.createBuffer();
      colours = gl.createBuffer();
    }

    function fill(buffer, name, width, data, type, normalised) {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
      const at = gl.getAttribLocation(program, name);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, width, type, normalised, 0, 0);
    }

    build();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      build();
      if (last.places) drawer.places(last.places);
      if (last.rgb) drawer.colours(last.rgb);
      ask();
    });
    const drawer = {
      places(data) {
        last.places = data;
        n = data.length / 4;
        fill(places, "place", 4, data, gl.FLOAT, false);
      },
      colours(rgb) {
        last.rgb = rgb;
        fill(colours, "colour", 3, rgb, gl.UNSIGNED_BYTE, true);
      },
      draw(camera, width, height, pixel) {
        gl.viewport(0, 0, width, height);
        gl.clearColor(0, 0, 0, 0);
        gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
        gl.uniformMatrix4fv(gl.getUniformLocation(program, "clip"), false, camera.clip);
        gl.uniform2f(gl.getUniformLocation(program, "size"), camera.focal, 1.5 * pixel);
        gl.drawArrays(gl.POINTS, 0, n);
      },
    };
    return drawer;
  }

  function onPlainCanvas() {
    const context = canvas.getContext("2d");
    let places = new Float32Array(0), colours = new Uint8Array(0);
    return {
      places(data) { places = data; },
      colours(rgb) { colours = rgb; },
      draw(camera, width, height, pixel) {
        const picture = context.createImageData(width, height);
        const words = new Uint32Array(picture.data.buffer);
        const depth = new Float32Array(width * height).fill(Infinity);
        const m = camera.clip;
        for (let i = 0; 4 * i < places.length; i += 1) {
          const [x, y, z, grain] = places.subarray(4 * i, 4 * i + 4);
          const w = m[3] * x + m[7] * y + m[11] * z + m[15];
          if (w < camera.near) continue;
          const size = Math.min(Math.max((grain * camera.focal) / w, 1.5 * pixel), 24 * pixel);
          const column = ((m[0] * x + m[4] * y + m[8] * z + m[12]) / w + 1) * 0.5 * width;
          const row = (1 - (m[1] * x + m[5] * y + m[9] * z + m[13]) / w) * 0.5 * height;
          const [left, right] = [Math.max(0, Math.round(column - size / 2)), Math.min(width, Math.round(column + size / 2))];
          const [top, bottom] = [Math.max(0, Math.round(row - size / 2)), Math.min(height, Math.round(row + size / 2))];
          const word = 0xff000000 | (colours[3 * i + 2] << 16) | (colours[3 * i + 1] << 8) | colours[3 * i];
          for (let r = top; r < bottom; r += 1) {
            for (let c = left; c < right; c += 1) {
              if (w < depth[r * width + c]) {
                depth[r * width + c] = w;
                words[r * width + c] = word;
              }
            }
          }
        }
        context.putImageData(picture, 0, 0);
      },
    };
  }

  // ---- The camera: it looks at a place from an angle and a distance; z is up ----

  const view = { yaw: 0, pitch: 0, distance: 1, target: [0, 0, 0] };

  function directions() {
    const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
    return { back: [cp * cy, cp * sy, sp], right: [-sy, cy, 0], up: [-sp * cy, -sp * sy, cp] };
  }

  function start() {
    let angles = [[-0.6, 0.5]];
    if (shown.viewpoint && Math.hypot(...shown.viewpoint) > 0.05 * shown.radius) {
      // From where the photograph was taken, a little higher and to one side, so that the room has depth.
      const [x, y, z] = shown.viewpoint;
      const pitch = Math.min(Math.atan2(z, Math.hypot(x, y)) + 0.12, 1.2);
      angles = [0.22, -0.22].map((aside) => [Math.atan2(y, x) + aside, pitch]);
    }
    // The side from which more of it is seen.
    const tried = angles.map(([yaw, pitch]) => {
      Object.assign(view, { yaw, pitch });
      return { yaw, pitch, ...fitted() };
    });
    tried.sort((a, b) => b.covered - a.covered);
    const { yaw, pitch, target, distance } = tried[0];
    Object.assign(view, { yaw, pitch, target, distance });
  }

  /** Where to look, and from how far, so that nearly all of the cloud is in the middle of the picture. */
  function fitted() {
    const { back, right, up } = directions();
    const every = Math.ceil(shown.n / 4000);
    const along = (axis) => Float32Array.from({ length: Math.ceil(shown.n / every) }, (_, i) => {
      const at = 4 * i * every;
      return shown.places[at] * axis[0] + shown.places[at + 1] * axis[1] + shown.places[at + 2] * axis[2];
    });
    const [x, y, z] = [along(right), along(up), along(back)];
    const ends = (values) => {
      const sorted = values.sort();
      return [sorted[Math.floor(0.01 * sorted.length)], sorted[Math.floor(0.99 * (sorted.length - 1))]];
    };
    const [wide, high] = spread(canvas.clientWidth || 16, canvas.clientHeight || 9);
    const nearest = ends(z.slice())[1];
    let [cx, cy, distance, covered] = [0, 0, 3 * shown.radius, 0];
    // Nearer things reach farther to the sides, so the middle depends on the distance, and that on the middle.
    for (let round = 0; round < 6; round += 1) {
      const seen = (values, middle) => ends(values.map((v, i) => (v - middle) / Math.max(distance - z[i], 1e-3)));
      const [left, rightmost] = seen(x, cx);
      const [low, top] = seen(y, cy);
      cx += (distance * (left + rightmost)) / 2;
      cy += (distance * (low + top)) / 2;
      const [across, upward] = [((rightmost - left) / 2) * wide, ((top - low) / 2) * high];
      covered = across * upward * (distance / shown.radius) ** 2;
      distance = Math.max(distance * 1.08 * Math.max(across, upward), nearest + 0.2 * shown.radius);
    }
    const target = [0, 1, 2].map((k) => cx * right[k] + cy * up[k]);
    return { target, distance, covered };
  }

  /** How much the width and the height of a place are stretched; the shorter side has the field of view. */
  function spread(width, height) {
    const scale = 1 / Math.tan(FIELD_OF_VIEW / 2);
    return width > height ? [(scale * height) / width, scale] : [scale, (scale * width) / height];
  }

  function camera(width, height) {
    const { back, right, up } = directions();
    const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    const eye = view.target.map((t, k) => t + view.distance * back[k]);
    const near = view.distance / 100, far = view.distance + 20 * shown.radius;
    const [sx, sy] = spread(width, height);
    const [a, b] = [(far + near) / (near - far), (2 * far * near) / (near - far)];
    const clip = new Float32Array(16);
    for (let k = 0; k < 3; k += 1) {
      clip[4 * k] = sx * right[k];
      clip[4 * k + 1] = sy * up[k];
      clip[4 * k + 2] = a * back[k];
      clip[4 * k + 3] = -back[k];
    }
    clip[12] = -sx * dot(right, eye);
    clip[13] = -sy * dot(up, eye);
    clip[14] = -a * dot(back, eye) + b;
    clip[15] = dot(back, eye);
    return { clip, near, focal: (sy * height) / 2 };
  }

  // ---- On the page ----

  const drawer = withWebGl() || onPlainCanvas();
  let shown = null, asked = false;

  function ask() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  }

  function draw() {
    const pixel = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.max(1, Math.round(canvas.clientWidth * pixel));
    const height = Math.max(1, Math.round(canvas.clientHeight * pixel));
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    drawer.draw(camera(width, height), width, height, pixel);
  }

  function colour() {
    const cloud = clouds[shown.index];
    for (const radio of radios) radio.disabled = !offers(cloud, radio.value);
    let radio = radios.find((r) => r.checked);
    if (radio && radio.disabled) {
      radio = radios.find((r) => !r.disabled) || radio;
      radio.checked = true;
    }
    const key = radio ? radio.value : "photo";
    const { rgb, entries } = coloured(cloud, shown.n, key);
    drawer.colours(rgb);
    canvas.dataset.colouring = key;
    const name = radio ? radio.nextElementSibling.textContent : "";
    canvas.setAttribute("aria-label", `Point cloud ${cloud.name}, coloured by ${name}: ${shown.n} points`);
    about.textContent = radio ? radio.dataset.about : "";
    legend.replaceChildren(...entries.map(({ name, colour, count }) => {
      const item = document.createElement("li");
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = `rgb(${colour.join(" ")})`;
      const share = document.createElement("span");
      share.className = "share";
      share.textContent = ` ${((100 * count) / shown.n).toFixed(count === shown.n ? 0 : 1)} %`;
      item.append(swatch, name, share);
      return item;
    }));
    ask();
  }

  function show(index) {
    shown = { index, ...unpack(clouds[index]) };
    drawer.places(shown.places);
    start();
    colour();
  }

  for (const radio of radios) radio.addEventListener("change", colour);
  if (chooser) chooser.addEventListener("change", () => show(Number(chooser.value)));
  new ResizeObserver(ask).observe(canvas);
  window.addEventListener("beforeprint", draw);

  // ---- Turning, zooming, moving ----

  function turn(right, up) {
    view.yaw -= right;
    view.pitch = Math.min(Math.max(view.pitch + up, -1.5), 1.5);
    ask();
  }

  function zoom(factor) {
    view.distance = Math.min(Math.max(view.distance * factor, 0.05 * shown.radius), 20 * shown.radius);
    ask();
  }

  function move(x, y) {
    const { right, up } = directions();
    const metres = (2 * view.distance * Math.tan(FIELD_OF_VIEW / 2)) / Math.min(canvas.clientWidth, canvas.clientHeight);
    view.target = view.target.map((t, k) => t + metres * (y * up[k] - x * right[k]));
    ask();
  }

  const fingers = new Map();

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY];
    const [x, y] = [now[0] - before[0], now[1] - before[1]];
    const other = [...fingers].find(([id]) => id !== event.pointerId);
    fingers.set(event.pointerId, now);
    if (other) {
      const apart = (a) => Math.hypot(a[0] - other[1][0], a[1] - other[1][1]);
      zoom(apart(before) / Math.max(apart(now), 1));
      move(x / 2, y / 2);
    } else if (event.shiftKey || event.buttons === 2) {
      move(x, y);
    } else {
      turn(x * 0.008, y * 0.008);
    }
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
  }
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(Math.min(Math.max(event.deltaY, -120), 120) * 0.0016));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const answers = {
      ArrowLeft: () => turn(-0.1, 0),
      ArrowRight: () => turn(0.1, 0),
      ArrowUp: () => turn(0, 0.1),
      ArrowDown: () => turn(0, -0.1),
      "+": () => zoom(0.9),
      "=": () => zoom(0.9),
      "-": () => zoom(1 / 0.9),
      "0": () => { start(); ask(); },
    };
    const answer = answers[event.key];
    if (!answer || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    answer();
  });

  show(0);
})();

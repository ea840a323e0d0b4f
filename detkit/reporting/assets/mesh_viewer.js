"use strict";
// Meshes on a canvas: drag or arrow keys turn them, plus, minus and Ctrl with the wheel zoom, 0 shows them as seen.
// Flat shading before a depth buffer. The frame is that of the camera: x right, y down, z away.
(() => {
  const DISTANCE = 3; // of the viewer, in radii of the scene
  const LIGHT = [-0.4, -0.7, -0.6].map((value) => value / Math.hypot(0.4, 0.7, 0.6));
  const STEP = Math.PI / 12;

  const numbersIn = (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Uint16Array.from({ length: bytes.length / 2 }, (_, index) => view.getUint16(2 * index, true));
  };
  const sceneOf = ({ low, step, vertices, faces, objects }, center, radius) => {
    const levels = numbersIn(vertices);
    const points = Float32Array.from(levels, (level, index) => (low[index % 3] + step * level - center[index % 3]) / radius);
    const colors = objects.flatMap(({ color, faces: count }) => Array(count).fill(color));
    return { points, faces: numbersIn(faces), colors };
  };
  const product = (a, b) => [0, 1, 2].map((row) => [0, 1, 2].map((column) =>
    a[row][0] * b[0][column] + a[row][1] * b[1][column] + a[row][2] * b[2][column]));
  const aboutX = (angle) => [[1, 0, 0], [0, Math.cos(angle), -Math.sin(angle)], [0, Math.sin(angle), Math.cos(angle)]];
  const aboutY = (angle) => [[Math.cos(angle), 0, Math.sin(angle)], [0, 1, 0], [-Math.sin(angle), 0, Math.cos(angle)]];

  const draw = (canvas, scene, turn, zoom) => {
    const { width, height } = canvas;
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const pixels = image.data;
    const depths = new Float32Array(width * height); // 1 / z of what is nearest, 0 where nothing is
    const focal = zoom * 0.46 * Math.min(width, height) * Math.sqrt(DISTANCE * DISTANCE - 1);
    const { points, faces, colors } = scene;
    const turned = new Float32Array(points.length);
    const seen = new Float32Array(points.length); // x and y in pixels, 1 / z
    for (let at = 0; at < points.length; at += 3) {
      for (let row = 0; row < 3; row++) {
        const [a, b, c] = turn[row];
        turned[at + row] = a * points[at] + b * points[at + 1] + c * points[at + 2];
      }
      turned[at + 2] += DISTANCE;
      const inverse = 1 / turned[at + 2];
      seen[at] = width / 2 + focal * turned[at] * inverse;
      seen[at + 1] = height / 2 + focal * turned[at + 1] * inverse;
      seen[at + 2] = inverse;
    }
    for (let face = 0; face < faces.length / 3; face++) {
      const a = 3 * faces[3 * face], b = 3 * faces[3 * face + 1], c = 3 * faces[3 * face + 2];
      const area = (seen[b] - seen[a]) * (seen[c + 1] - seen[a + 1]) - (seen[b + 1] - seen[a + 1]) * (seen[c] - seen[a]);
      if (!area || Math.min(turned[a + 2], turned[b + 2], turned[c + 2]) < 0.05) continue;
      const [ux, uy, uz] = [0, 1, 2].map((axis) => turned[b + axis] - turned[a + axis]);
      const [vx, vy, vz] = [0, 1, 2].map((axis) => turned[c + axis] - turned[a + axis]);
      const normal = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
      const length = Math.hypot(...normal) || 1;
      const faced = normal[0] * turned[a] + normal[1] * turned[a + 1] + normal[2] * turned[a + 2] > 0 ? -1 : 1;
      const facing = faced / length * (normal[0] * LIGHT[0] + normal[1] * LIGHT[1] + normal[2] * LIGHT[2]);
      const shade = 0.4 + 0.6 * Math.max(0, facing);
      const [red, green, blue] = colors[face].map((value) => value * shade);
      const left = Math.max(0, Math.ceil(Math.min(seen[a], seen[b], seen[c]) - 0.5));
      const right = Math.min(width - 1, Math.floor(Math.max(seen[a], seen[b], seen[c]) - 0.5));
      const top = Math.max(0, Math.ceil(Math.min(seen[a + 1], seen[b + 1], seen[c + 1]) - 0.5));
      const bottom = Math.min(height - 1, Math.floor(Math.max(seen[a + 1], seen[b + 1], seen[c + 1]) - 0.5));
      for (let y = top; y <= bottom; y++) {
        for (let x = left; x <= right; x++) {
          const px = x + 0.5, py = y + 0.5;
          const wa = ((seen[c] - seen[b]) * (py - seen[b + 1]) - (seen[c + 1] - seen[b + 1]) * (px - seen[b])) / area;
          const wb = ((seen[a] - seen[c]) * (py - seen[c + 1]) - (seen[a + 1] - seen[c + 1]) * (px - seen[c])) / area;
          const wc = 1 - wa - wb;
          if (wa < 0 || wb < 0 || wc < 0) continue;
          const depth = wa * seen[a + 2] + wb * seen[b + 2] + wc * seen[c + 2];
          const place = y * width + x;
          if (depth <= depths[place]) continue;
          depths[place] = depth;
          pixels[4 * place] = red;
          pixels[4 * place + 1] = green;
          pixels[4 * place + 2] = blue;
          pixels[4 * place + 3] = 255;
        }
      }
    }
    context.putImageData(image, 0, 0);
  };

  const startViewer = (viewer) => {
    const { scenes, center, radius, turn: first, zoom } = JSON.parse(viewer.querySelector("script").textContent);
    const canvases = [...viewer.querySelectorAll("canvas")];
    const drawn = scenes.map((scene) => sceneOf(scene, center, radius));
    const start = { yaw: 0, pitch: 0, zoom };
    let view = { ...start };
    let isAsked = false;
    const show = () => {
      isAsked = false;
      const turn = product(product(aboutX(view.pitch), aboutY(view.yaw)), first);
      canvases.forEach((canvas, index) => draw(canvas, drawn[index], turn, view.zoom));
    };
    const change = (changed) => {
      view = { ...view, ...changed };
      view.pitch = Math.min(Math.max(view.pitch, -Math.PI / 2), Math.PI / 2);
      view.zoom = Math.min(Math.max(view.zoom, 0.2), 8);
      if (isAsked) return;
      isAsked = true;
      requestAnimationFrame(show);
    };
    const actions = {
      ArrowLeft: () => change({ yaw: view.yaw - STEP }),
      ArrowRight: () => change({ yaw: view.yaw + STEP }),
      ArrowUp: () => change({ pitch: view.pitch + STEP }),
      ArrowDown: () => change({ pitch: view.pitch - STEP }),
      "+": () => change({ zoom: view.zoom * 1.25 }),
      "-": () => change({ zoom: view.zoom / 1.25 }),
      0: () => change(start),
    };
    for (const button of viewer.querySelectorAll(".controls button")) {
      button.addEventListener("click", () => actions[button.dataset.key]());
    }
    for (const canvas of canvases) {
      canvas.addEventListener("keydown", (event) => {
        const action = actions[event.key === "=" ? "+" : event.key];
        if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        action();
      });
      canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
      canvas.addEventListener("pointermove", (event) => {
        if (!canvas.hasPointerCapture(event.pointerId)) return;
        const share = Math.PI / canvas.clientWidth;
        change({ yaw: view.yaw + share * event.movementX, pitch: view.pitch - share * event.movementY });
      });
      canvas.addEventListener("wheel", (event) => {
        if (!event.ctrlKey) return; // the wheel alone scrolls the page
        event.preventDefault();
        change({ zoom: view.zoom * Math.exp(-0.002 * event.deltaY) });
      }, { passive: false });
    }
    show();
  };
  document.querySelectorAll(".meshes").forEach(startViewer);
})();

// The demo's page: one photograph is sent, and everything after that (opacity, classes, divide, pointing) happens here.
"use strict";

const byId = (id) => document.getElementById(id);
const canvas = byId("view");
const pen = canvas.getContext("2d");
const limit = Number(document.body.dataset.maxBytes);

let result = null; // what the server said of the photograph that is shown
let photo = null; // ImageBitmap
let overlay = null; // canvas with the colours of the classes that are switched on
let hidden = new Set(); // class indices that are switched off
let lit = null; // the class that the pointer is on in the list
let point = null; // [x, y] of the pixel that is asked about
let asked = 0; // number of the latest request: answers to earlier ones are dropped
let scene = 0; // of the samples

// --- asking the server ---------------------------------------------------------------------------------------------

async function ask(path, body, name) {
  const number = ++asked;
  const started = Date.now();
  const tell = () => {
    const seconds = Math.round((Date.now() - started) / 1000);
    byId("status").textContent = `Predicting ${name} …${seconds ? ` ${seconds} s` : ""}`;
  };
  const clock = setInterval(tell, 5000);
  tell();
  complain("");
  document.body.classList.add("busy");
  try {
    const response = await fetch(path, { method: "POST", body }).catch(() => {
      throw new Error("The demo does not answer. Is tools/demo.py still running?");
    });
    const answer = await response.json().catch(() => ({ error: `The demo answered with status ${response.status}.` }));
    if (number !== asked) return;
    if (answer.error) throw new Error(answer.error);
    await show(answer);
  } catch (error) {
    if (number === asked) complain(error.message);
  } finally {
    clearInterval(clock);
    if (number === asked) {
      document.body.classList.remove("busy");
      byId("status").textContent = "";
    }
  }
}

function send(file) {
  if (!file) return;
  if (file.size > limit) {
    complain(`Expected a file of at most ${limit / 2 ** 20} MiB, but ${file.name} has ${(file.size / 2 ** 20).toFixed(1)}.`);
    return;
  }
  ask(`predict?name=${encodeURIComponent(file.name)}`, file, file.name);
}

function sendSample(number) {
  scene = number;
  ask(`sample?number=${number}`, undefined, `synthetic scene ${number}`);
}

function complain(sentence) {
  byId("error").textContent = sentence;
  byId("error").hidden = !sentence;
}

// --- showing its answer --------------------------------------------------------------------------------------------

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

async function show(answer) {
  photo = await createImageBitmap(new Blob([bytesOf(answer.photo)], { type: "image/jpeg" }));
  result = answer;
  result.class_map = bytesOf(answer.class_map);
  result.confidence = bytesOf(answer.confidence);
  [canvas.width, canvas.height] = result.shown;
  overlay = document.createElement("canvas");
  [overlay.width, overlay.height] = result.shown;
  document.body.classList.remove("empty");
  byId("result").hidden = false;
  moveTo(null);
  listClasses();
  listFacts();
  paintOverlay();
  fit();
}

function listClasses() {
  const found = result.classes.map((item, index) => ({ ...item, index })).sort((a, b) => b.share - a.share);
  const rows = found.filter((item) => item.share > 0).map((item) => {
    const row = document.createElement("li");
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: !hidden.has(item.index) });
    const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
    const name = Object.assign(document.createElement("span"), { textContent: item.name });
    const share = Object.assign(document.createElement("span"), { textContent: percent(item.share) });
    const bar = Object.assign(document.createElement("span"), { className: "bar" });
    swatch.style.backgroundColor = `rgb(${item.color})`;
    bar.append(document.createElement("span"));
    bar.firstChild.style.width = `${100 * item.share}%`;
    box.dataset.index = item.index;
    box.addEventListener("change", () => setShown([item.index], box.checked));
    for (const [event, value] of [["pointerenter", item.index], ["pointerleave", null]]) {
      row.addEventListener(event, (at) => at.pointerType === "mouse" && light(value));
    }
    label.append(box, swatch, name, share, bar);
    row.append(label);
    return row;
  });
  byId("classes").replaceChildren(...rows);
  const absent = found.filter((item) => item.share === 0).map((item) => item.name);
  byId("absent").textContent = absent.length ? `Not found: ${absent.join(", ")}` : "";
}

function percent(share) {
  return share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
}

function listFacts() {
  const time = (seconds) => (seconds < 1 ? `${Math.round(1000 * seconds)} ms` : `${seconds.toFixed(2)} s`);
  const [width, height] = result.size;
  const facts = [
    [result.shown[0] < width ? `size, shown as ${result.shown.join(" × ")}` : "size", `${width} × ${height}`],
    ...Object.entries(result.seconds).map(([part, seconds]) => [part, time(seconds)]),
  ];
  const tiles = facts.map(([title, value]) => {
    const tile = document.createElement("div");
    tile.append(
      Object.assign(document.createElement("dt"), { textContent: title }),
      Object.assign(document.createElement("dd"), { textContent: value }),
    );
    return tile;
  });
  byId("name").textContent = result.name;
  byId("facts").replaceChildren(...tiles);
}

// --- painting ------------------------------------------------------------------------------------------------------

function paintOverlay() {
  const [width, height] = result.shown;
  const image = new ImageData(width, height);
  const colors = new Uint8ClampedArray(4 * 256);
  result.classes.forEach(({ color }, index) => {
    const alpha = hidden.has(index) ? 0 : lit === null || lit === index ? 255 : 40;
    colors.set([...color, alpha], 4 * index);
  });
  const table = new Uint32Array(colors.buffer);
  const pixels = new Uint32Array(image.data.buffer);
  result.class_map.forEach((index, place) => (pixels[place] = table[index]));
  overlay.getContext("2d").putImageData(image, 0, 0);
  paint();
}

function paint() {
  if (!result) return;
  const divide = (canvas.width * Number(byId("wipe").value)) / 100;
  byId("divide").style.left = `${byId("wipe").value}%`;
  blend(pen, divide);
}

function blend(target, left) {
  const { width, height } = target.canvas;
  target.globalAlpha = 1;
  target.drawImage(photo, 0, 0);
  target.save();
  target.beginPath();
  target.rect(left, 0, width - left, height);
  target.clip();
  target.globalAlpha = Number(byId("opacity").value) / 100;
  target.drawImage(overlay, 0, 0);
  target.restore();
}

function fit() {
  if (!result) return;
  const [width, height] = result.shown;
  byId("stage").style.maxWidth = `${Math.max(240, (0.76 * innerHeight * width) / height)}px`;
}

function setShown(indices, on) {
  for (const index of indices) on ? hidden.delete(index) : hidden.add(index);
  paintOverlay();
}

function setAll(on) {
  const boxes = [...byId("classes").querySelectorAll("input")];
  for (const box of boxes) box.checked = on;
  setShown(boxes.map((box) => Number(box.dataset.index)), on);
}

function light(index) {
  lit = index;
  paintOverlay();
}

// --- pointing ------------------------------------------------------------------------------------------------------

function moveTo(place, marked = false) {
  point = place;
  byId("tip").hidden = !place;
  byId("point").hidden = !place || !marked;
  if (!place) return;
  const [x, y] = place;
  const index = result.class_map[y * canvas.width + x];
  const { name, color } = result.classes[index];
  const [swatch, text] = byId("tip").children;
  swatch.style.backgroundColor = `rgb(${color})`;
  text.textContent = `${name}, ${result.confidence[y * canvas.width + x]} %`;
  const [right, down] = [(x + 0.5) / canvas.width, (y + 0.5) / canvas.height];
  Object.assign(byId("point").style, { left: `${100 * right}%`, top: `${100 * down}%` });
  Object.assign(byId("tip").style, {
    left: `${100 * right}%`,
    top: `${100 * down}%`,
    transform: `translate(${right > 0.6 ? "calc(-100% - 14px)" : "14px"}, ${down > 0.6 ? "calc(-100% - 8px)" : "8px"})`,
  });
}

function pixelAt(event) {
  const box = canvas.getBoundingClientRect();
  const inside = (value, size) => Math.min(size - 1, Math.max(0, Math.floor(value * size)));
  return [
    inside((event.clientX - box.left) / box.width, canvas.width),
    inside((event.clientY - box.top) / box.height, canvas.height),
  ];
}

function drag(event) {
  moveTo(pixelAt(event));
  if (event.buttons !== 1) return;
  byId("wipe").value = (100 * (point[0] + 0.5)) / canvas.width;
  paint();
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
for (const kind of ["pointerdown", "pointermove"]) canvas.addEventListener(kind, drag);
canvas.addEventListener("pointerleave", () => moveTo(null));
canvas.addEventListener("blur", () => moveTo(null));
canvas.addEventListener("keydown", (event) => {
  const step = STEPS[event.key];
  if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const size = [canvas.width, canvas.height];
  const from = point || size.map((side) => side >> 1);
  const by = Math.ceil(Math.max(...size) / (event.shiftKey ? 400 : 40));
  moveTo(from.map((value, axis) => Math.min(size[axis] - 1, Math.max(0, value + step[axis] * by))), true);
});

// --- saving --------------------------------------------------------------------------------------------------------

function save(blob, ending) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${result.name.replace(/\.[^.]*$/, "")}_${ending}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

byId("save-map").addEventListener("click", () => save(new Blob([bytesOf(result.class_map_png)], { type: "image/png" }), "class_map"));
byId("save-overlay").addEventListener("click", () => {
  const whole = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  blend(whole.getContext("2d"), 0);
  whole.toBlob((blob) => save(blob, "overlay"), "image/png");
});

// --- what the user does --------------------------------------------------------------------------------------------

byId("file").addEventListener("change", (event) => {
  send(event.target.files[0]);
  event.target.value = ""; // so that the same file may be chosen again
});
byId("sample").addEventListener("click", () => sendSample(scene + 1));
byId("wipe").addEventListener("input", paint);
byId("opacity").addEventListener("input", paint);
byId("all").addEventListener("click", () => setAll(true));
byId("none").addEventListener("click", () => setAll(false));
addEventListener("resize", fit);
addEventListener("paste", (event) => send(event.clipboardData.files[0]));
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  send(event.dataTransfer.files[0]);
});

document.body.classList.add("empty");
const wanted = new URLSearchParams(location.search).get("sample"); // ?sample=3 shows that scene at once
if (/^\d{1,9}$/.test(wanted || "")) sendSample(Number(wanted));

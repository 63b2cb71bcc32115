import { encode } from "fast-png";

const MOST = 4_200_000; // pixels: what was tried, see docs/exchange.md
const $ = id => document.getElementById(id);
const facts = JSON.parse($("facts").textContent);
const compressed = new Map();
let worker, busy = false, queued = null, name = "", result = null, rate = null, timer = 0, ready = false;

const decoded = id => Uint8Array.from(atob($(id).textContent), letter => letter.charCodeAt(0));

async function unpacked(id) {
  if (!compressed.has(id)) compressed.set(id, decoded(id));
  const stream = new Blob([compressed.get(id)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

const say = text => { $("status").textContent = text; };
const fail = text => { stop(); say(""); $("error").textContent = text; };

async function start() {
  const [code, wasm] = await Promise.all([unpacked("worker"), unpacked("wasm")]);
  const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  worker = new Worker(address);
  URL.revokeObjectURL(address);
  worker.onmessage = ({ data }) => hear(data);
  worker.onerror = event => { event.preventDefault(); fail(`The page stopped working on it (${event.message}).`); restart(); };
  worker.postMessage({ command: "start", wasm, model: decoded("model"), limit: MOST, inputs: facts.channels }, [wasm]);
}

function restart() {
  worker?.terminate();
  worker = null;
  ready = false;
  return start();
}

function hear(message) {
  if (message.failed) return fail(message.text);
  if (message.step === "running") return progress(message.width * message.height);
  if (message.done === "start") { ready = true; return queued ? open(...queued.splice(0)) : undefined; }
  if (message.done === "open") return message.pages > 1 ? choose(message.pages) : predict(0);
  if (message.done === "predict") return show(message);
}
async function take(file) {
  $("error").textContent = "";
  $("pages").hidden = true;
  if (!file) return;
  if (busy) await cancel();
  name = file.name;
  say(`Opening ${name} …`);
  let bytes;
  try { bytes = await file.arrayBuffer(); } catch (error) { return fail(`${name} cannot be read (${error.message}). Is it a folder?`); }
  busy = true;
  if (ready) open(bytes); else queued = [bytes];
}

function open(bytes) {
  queued = null;
  worker.postMessage({ command: "open", bytes, name }, [bytes]);
}

function choose(pages) {
  stop();
  $("page").max = pages;
  $("page").value = 1;
  $("of").textContent = `of ${pages}`;
  $("pages").hidden = false;
  say(`${name} holds ${pages} pages: choose one.`);
  $("page").focus();
}

function predict(page) {
  busy = true;
  $("error").textContent = "";
  $("result").hidden = true;
  say(`Reading ${name} …`);
  worker.postMessage({ command: "predict", page, name });
}

function progress(pixels) {
  const began = performance.now(), expected = rate && pixels * rate;
  $("working").hidden = false;
  $("progress").removeAttribute("value");
  say(`Segmenting ${name}${expected ? `, about ${Math.ceil(expected)} s` : ""} …`);
  clearInterval(timer);
  timer = setInterval(() => {
    const seconds = (performance.now() - began) / 1000;
    if (expected) $("progress").value = Math.min(0.98, seconds / expected);
    $("progress").setAttribute("aria-valuetext", `${Math.round(seconds)} s${expected ? ` of about ${Math.ceil(expected)} s` : ""}`);
  }, 250);
}

function stop() {
  busy = false;
  clearInterval(timer);
  $("working").hidden = true;
}

async function cancel() {
  stop();
  $("pages").hidden = true; // the worker that had opened the file is gone
  say("Cancelled.");
  await restart();
}

function show(found) {
  stop();
  rate = found.seconds / (found.width * found.height);
  result = { ...found, name, grey: stretched(found), counts: counted(found.mask) };
  say(`${name}: ${found.width} × ${found.height} pixels in ${found.seconds.toFixed(1)} s.`);
  $("result-title").textContent = `Result of ${name}`; // which stays when the next file cannot be read
  $("result").hidden = false;
  draw();
  tabulate();
  $("result-title").focus();
}

const counted = mask => {
  const counts = new Array(facts.classes.length).fill(0);
  for (const index of mask) counts[index]++;
  return counts;
};

// RGB for display, each channel between its 0.5 and 99.8 percentiles.
function stretched({ values, channels, width, height }) {
  const size = width * height, shown = new Uint8ClampedArray(size * 3);
  for (let colour = 0; colour < 3; colour++) {
    const channel = Math.min(colour, channels - 1), from = values.subarray(channel * size, (channel + 1) * size);
    const every = Math.max(1, Math.floor(size / 200_000));
    const sample = from.filter((_, index) => index % every === 0).sort();
    const [low, high] = [0.005, 0.998].map(share => sample[Math.round(share * (sample.length - 1))]);
    const span = Math.max(high - low, 1e-12);
    for (let pixel = 0; pixel < size; pixel++) shown[pixel * 3 + colour] = (from[pixel] - low) / span * 255;
  }
  return shown;
}

const rgb = colour => [1, 3, 5].map(at => parseInt(colour.slice(at, at + 2), 16));

function draw() {
  const { width, height, mask, grey } = result, share = $("opacity").value / 100;
  const colours = facts.classes.map(({ color }) => rgb(color));
  const visible = facts.classes.map(({ index }) => $(`class${index}`).checked);
  const picture = new ImageData(width, height), { data } = picture;
  for (let pixel = 0, to = 0; pixel < mask.length; pixel++, to += 4) {
    const index = mask[pixel], part = visible[index] ? share : 0;
    for (let k = 0; k < 3; k++) data[to + k] = grey[pixel * 3 + k] * (1 - part) + colours[index][k] * part;
    data[to + 3] = 255;
  }
  const canvas = $("canvas");
  Object.assign(canvas, { width, height });
  canvas.classList.toggle("small", Math.max(width, height) < 200);
  canvas.getContext("2d").putImageData(picture, 0, 0);
  const shares = facts.classes.filter((_, i) => visible[i]).map(c => `${brief(c.name)} ${percent(result.counts[c.index])}`);
  canvas.setAttribute("aria-label", `${result.name} with its classes in colour: ${shares.join(", ") || "none shown"}`);
}

const brief = text => (text.length > 60 ? `${text.slice(0, 59)}…` : text);
const percent = count => `${(100 * count / result.mask.length).toFixed(1)} %`;

function area(count) {
  return result.step ? count * result.step[0] * result.step[1] : null;
}

function cell(tag, text, scope) {
  const element = document.createElement(tag);
  element.textContent = text;
  if (scope) element.scope = scope;
  return element;
}

function named({ name, color }) {
  const box = document.createElement("div"), swatch = document.createElement("span"), text = cell("span", name);
  swatch.className = "swatch";
  swatch.style.background = color;
  text.className = "name";
  text.title = name;
  box.append(swatch, text);
  return box;
}

function tabulate() {
  const heads = ["Class", "Index", "Pixels", "Share", ...(result.step ? ["Area, µm²"] : [])];
  const head = document.createElement("tr");
  head.append(...heads.map(text => cell("th", text, "col")));
  document.querySelector("thead").replaceChildren(head);
  document.querySelector("tbody").replaceChildren(...facts.classes.map(entry => {
    const row = document.createElement("tr"), first = cell("th", "", "row"), count = result.counts[entry.index];
    first.append(named(entry));
    const numbers = [entry.index, count.toLocaleString("en"), percent(count)];
    if (result.step) numbers.push(area(count).toLocaleString("en", { maximumSignificantDigits: 5 }));
    row.append(first, ...numbers.map(number => cell("td", number)));
    return row;
  }));
  const step = result.step?.map(length => Number(length.toPrecision(4))).join(" × ");
  $("caption").textContent = result.step ? `Areas of classes; a pixel is ${step} µm.`
    : "Areas of classes in pixels: the file does not say how large a pixel is.";
}

function save(content, type, suffix) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = `${result.name.replace(/\.[^.]*$/, "") || "image"}${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function csv() {
  // A spreadsheet would take a text that begins with one of these for a formula.
  const text = value => `"${String(value).replace(/^(?=[=+\-@\t\r])/, "'").replaceAll('"', '""')}"`;
  const rows = facts.classes.map(({ index, name }) => {
    const count = result.counts[index];
    return [text(result.name), index, text(name), count, count / result.mask.length, area(count) ?? ""].join(",");
  });
  return `image,index,class,pixels,share,area_um2\n${rows.join("\n")}\n`;
}

function wire() {
  const called = { 1: "Grey", 3: "RGB" }[facts.channels] || `${facts.channels}-channel`;
  $("wants").textContent = `${called} PNG, JPEG or TIFF of 8 or 16 bits, up to ${(MOST / 1e6).toFixed(1)} million pixels.` +
    (facts.pixel_size_um ? ` The model was trained at ${facts.pixel_size_um.map(x => Number(x.toPrecision(3))).join(" × ")} µm a pixel.` : "");
  $("about").textContent = `Whole images, exactly as rescrnet ${facts.rescrnet} predicts them, by onnxruntime-web.`;
  for (const entry of facts.classes) {
    const label = document.createElement("label"), box = document.createElement("input");
    Object.assign(box, { type: "checkbox", checked: true, id: `class${entry.index}`, onchange: draw });
    label.append(box, ...named(entry).childNodes);
    $("classes").append(label);
  }
  $("file").onchange = event => { take(event.target.files[0]); event.target.value = ""; };
  $("pages").onsubmit = event => { event.preventDefault(); if (!busy) predict($("page").valueAsNumber - 1); };
  $("cancel").onclick = cancel;
  $("opacity").oninput = () => { $("shown").textContent = `${$("opacity").value} %`; draw(); };
  $("mask").onclick = () => {
    const { width, height, mask: data } = result;
    save(encode({ width, height, data, channels: 1, depth: 8 }), "image/png", "_mask.png");
  };
  $("csv").onclick = () => save(csv(), "text/csv", "_areas.csv");
  addEventListener("dragover", event => { event.preventDefault(); document.body.classList.add("dropping"); });
  addEventListener("dragleave", event => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
  addEventListener("drop", event => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    const { files } = event.dataTransfer;
    if (files.length > 1) return fail(`${files.length} files were dropped; this page takes one at a time.`);
    take(files[0]);
  });
}

wire();
start().catch(error => fail(`This browser cannot run the page (${error.message}). Use a current Firefox, Chrome, Edge or Safari.`));

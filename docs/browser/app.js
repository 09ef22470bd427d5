// Runs model.onnx (`export --preprocess`) by onnxruntime-web. All files lie beside this one.
"use strict";

const MAX_PIXELS = 16e6;
const get = (id) => document.getElementById(id);
const say = (text) => { get("message").textContent = text; };
let session, meta, shown;

async function start() {
  ort.env.wasm.wasmPaths = new URL("./", document.baseURI).href;
  ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
  meta = await (await fetch("model.json")).json();
  session = await ort.InferenceSession.create("model.onnx");
  document.querySelector("h1").textContent = `${meta.name} in the browser`;
  get("example").disabled = false;
  say("Ready.");
}

// Height and width as the model's test pipeline makes them.
function modelSize(height, width) {
  for (const step of meta.size_rule) {
    if (step.step !== "Resize") throw new Error(`the page has no step ${step.step}`);
    let [w, h] = Array.isArray(step.scale) ? step.scale : [step.scale, step.scale];
    if (step.keep_ratio) {
      const factor = Math.min(
        Math.max(w, h) / Math.max(width, height), Math.min(w, h) / Math.min(width, height));
      [w, h] = [Math.floor(width * factor + 0.5), Math.floor(height * factor + 0.5)];
    }
    [height, width] = [h, w];
  }
  return [height, width];
}

// The image as the model takes it: (1, height, width, channels), 8 bits, RGB or gray.
function toTensor(image) {
  const [height, width] = modelSize(image.height, image.width);
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height).data;
  const channels = meta.channel_order === "gray" ? 1 : 3;
  const data = new Uint8Array(width * height * channels);
  for (let i = 0; i < width * height; i++) {
    const [r, g, b] = [pixels[4 * i], pixels[4 * i + 1], pixels[4 * i + 2]];
    if (channels === 1) data[i] = 0.25 * r + 0.5 * g + 0.25 * b;
    else data.set([r, g, b], 3 * i);
  }
  return { tensor: new ort.Tensor("uint8", data, [1, height, width, channels]), canvas };
}

async function predict(blob) {
  let image;
  try {
    image = await createImageBitmap(blob);
  } catch {
    return say("This file is no image that the browser can read.");
  }
  if (image.width * image.height > MAX_PIXELS)
    return say(`This image has more than ${MAX_PIXELS / 1e6} million pixels.`);
  say("Predicting ...");
  const { tensor, canvas } = toTensor(image);
  const begin = performance.now();
  const { logits } = await session.run({ image: tensor });
  const seconds = ((performance.now() - begin) / 1000).toFixed(2);
  shown = { logits: logits.data, canvas };
  if (meta.task === "segmentation") showClasses(canvas); else showProbabilities();
  say(`${image.width} x ${image.height} pixels, predicted in ${seconds} s`);
}

function showClasses(canvas) {
  const size = canvas.width * canvas.height;
  const labels = new Uint8Array(size);
  const counts = meta.classes.map(() => 0);
  for (let i = 0; i < size; i++) {
    let best = 0;
    for (let k = 1; k < counts.length; k++)
      if (shown.logits[k * size + i] > shown.logits[best * size + i]) best = k;
    labels[i] = best;
    counts[best]++;
  }
  shown.labels = labels;
  get("slider").hidden = false;
  paint();
  table(counts.map((n, k) => [meta.classes[k], n / size, meta.palette[k]]).filter((row) => row[1]));
}

function paint() {
  const { canvas, labels } = shown;
  const picture = get("picture");
  [picture.width, picture.height] = [canvas.width, canvas.height];
  const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const opacity = Number(get("opacity").value);
  for (let i = 0; i < (labels || []).length; i++)
    for (let c = 0; c < 3; c++)
      image.data[4 * i + c] =
        (1 - opacity) * image.data[4 * i + c] + opacity * meta.palette[labels[i]][c];
  picture.getContext("2d").putImageData(image, 0, 0);
}

function showProbabilities() {
  const powers = Array.from(shown.logits, (value) => Math.exp(value - Math.max(...shown.logits)));
  const sum = powers.reduce((a, b) => a + b);
  paint();
  table(powers.map((value, k) => [meta.classes[k], value / sum, null]), 5);
}

function table(rows, most = Infinity) {
  rows.sort((a, b) => b[1] - a[1]);
  get("classes").replaceChildren(...rows.slice(0, most).map(([name, share, color]) => {
    const row = document.createElement("tr");
    const label = row.insertCell();
    if (color) {
      const swatch = label.appendChild(document.createElement("i"));
      swatch.style.background = `rgb(${color})`;
    }
    label.append(` ${name}`);
    row.insertCell().textContent = `${(100 * share).toFixed(1)}%`;
    return row;
  }));
}

get("file").addEventListener("change", (event) => {
  if (event.target.files[0]) predict(event.target.files[0]);
});
get("opacity").addEventListener("input", paint);
get("example").addEventListener("click", async () => predict(await (await fetch(meta.example)).blob()));
get("drop").addEventListener("dragover", (event) => {
  event.preventDefault();
  get("drop").classList.add("over");
});
get("drop").addEventListener("dragleave", () => get("drop").classList.remove("over"));
get("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  get("drop").classList.remove("over");
  if (event.dataTransfer.files[0]) predict(event.dataTransfer.files[0]);
});
start().catch((error) => say(`The model cannot be loaded: ${error.message}`));

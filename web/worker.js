// Opens files and runs the model, away from the page so that it stays alive and can stop this.
import * as ort from "onnxruntime-web/wasm";
import { matched, opened, Refusal } from "./read.js";

let session, most, channels, file;

const commands = {
  async start({ wasm, model, limit, inputs }) {
    [most, channels] = [limit, inputs];
    Object.assign(ort.env.wasm, { wasmBinary: wasm, numThreads: 1, proxy: false });
    session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"], enableMemPattern: false });
    return {};
  },
  async open({ bytes, name }) {
    file = opened(new Uint8Array(bytes), name, most);
    return { pages: file.pages };
  },
  async predict({ page, name }) {
    const image = matched(await file.open(page), channels, name);
    const { width, height, values } = image;
    postMessage({ step: "running", width, height });
    const began = performance.now();
    const tensor = new ort.Tensor("float32", values, [1, channels, height, width]);
    const { probabilities } = await session.run({ image: tensor });
    const seconds = (performance.now() - began) / 1000;
    const mask = largest(probabilities.data, probabilities.dims[1], width * height);
    return { width, height, mask, values, channels, step: image.step, seconds };
  },
};

function largest(data, classes, size) {
  const mask = new Uint8Array(size), best = data.slice(0, size);
  for (let index = 1; index < classes; index++) {
    for (let pixel = 0, at = index * size; pixel < size; pixel++, at++) {
      if (data[at] > best[pixel]) { best[pixel] = data[at]; mask[pixel] = index; }
    }
  }
  return mask;
}

onmessage = async ({ data: { command, ...given } }) => {
  try {
    postMessage({ done: command, ...await commands[command](given) });
  } catch (error) {
    const text = error instanceof Refusal ? error.message
      : `This browser could not do that (${error?.message || error}). A smaller image, or another browser, may work.`;
    postMessage({ failed: command, text });
  }
};

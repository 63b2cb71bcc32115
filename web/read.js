// Image files as rescrnet reads them: integers divided by the largest value of their type, alpha left out.
import { decode as decodePng } from "fast-png";
import { decode as decodeTiff } from "tiff";

export class Refusal extends Error {} // what a person is told in a sentence

const UNITS = { "pm": 1e-6, "nm": 1e-3, "nanometer": 1e-3, "µm": 1, "μm": 1, "um": 1, "micron": 1, "microns": 1,
  "micrometer": 1, "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "centimeter": 1e4, "inch": 25400, "in": 25400, "m": 1e6 };
const COARSEST = 20; // micrometres a pixel; a coarser one is the resolution of a printer
const starts = (bytes, ...values) => values.every((value, index) => bytes[index] === value);

// What a file holds, its pixels not yet decoded: { pages, open(page) -> { width, height, channels, values, step } }
export function opened(bytes, name, most) {
  if (bytes.length === 0) throw new Refusal(`${name} is empty (0 bytes).`);
  if (starts(bytes, 0x89, 0x50, 0x4e, 0x47)) return { pages: 1, open: () => png(bytes, name, most) };
  if (starts(bytes, 0xff, 0xd8)) return { pages: 1, open: () => browsers(bytes, "image/jpeg", name, most) };
  if (starts(bytes, 0x49, 0x49) || starts(bytes, 0x4d, 0x4d)) return tiff(bytes, name, most);
  throw new Refusal(`${name} is no PNG, JPEG or TIFF image. Save it as one of these.`);
}

export function refuseHuge(width, height, name, most) {
  if (width * height > most) {
    const millions = (width * height / 1e6).toFixed(1);
    throw new Refusal(`${name} has ${width} × ${height} pixels, ${millions} million; this page takes up to ` +
      `${(most / 1e6).toFixed(1)} million. Cut a part out of it, or use “rescrnet predict”, which takes any size.`);
  }
}

function damaged(name, error) {
  return error instanceof Refusal ? error : new Refusal(`${name} cannot be read (${error?.message || error}). ` +
    "It may be damaged, or of a kind this page does not know; save it as PNG or as uncompressed TIFF.");
}

async function png(bytes, name, most) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 33) throw new Refusal(`${name} is cut off: it ends in its header.`);
  refuseHuge(view.getUint32(16), view.getUint32(20), name, most);
  if (bytes[24] < 8 || bytes[25] === 3) return browsers(bytes, "image/png", name, most); // bits packed, or a palette
  try {
    const { width, height, data, depth, channels, resolution } = decodePng(bytes);
    const step = resolution?.unit === 1 ? believable(1e6 / resolution.y, 1e6 / resolution.x) : null;
    return colours(width, height, data, channels, channels % 2 === 0, depth === 16 ? 65535 : 255, step);
  } catch (error) { throw damaged(name, error); }
}

async function browsers(bytes, type, name, most) {
  let picture;
  try {
    const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
    picture = await createImageBitmap(new Blob([bytes], { type }), options);
  } catch { throw damaged(name, "the browser finds no picture in it"); }
  const { width, height } = picture;
  refuseHuge(width, height, name, most);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  return colours(width, height, context.getImageData(0, 0, width, height).data, 4, true, 255, null);
}

function tiff(bytes, name, most) {
  let heads;
  try { heads = decodeTiff(bytes, { ignoreImageData: true }); } catch (error) { throw damaged(name, error); }
  if (heads.length === 0) throw new Refusal(`${name} holds no picture.`);
  const open = page => {
    const head = heads[page];
    refuseHuge(head.width, head.height, name, most);
    try {
      const [ifd] = decodeTiff(bytes, { pages: [page] });
      const { width, height, data } = ifd, samples = ifd.samplesPerPixel;
      if (data.length !== width * height * samples) throw new Error("its pixels are incomplete");
      const largest = data instanceof Uint8Array ? 255 : data instanceof Uint16Array ? 65535 : 1;
      const one = ifd.bitsPerSample === 1 ? 1 : largest;
      const alpha = samples > 1 && [1, 2].includes([].concat(ifd.extraSamples ?? [])[0]);
      return colours(width, height, data, samples, alpha, one, tiffStep(heads[0]));
    } catch (error) { throw damaged(name, error); }
  };
  return { pages: heads.length, open: async page => open(page) };
}

function tiffStep(head) {
  const text = head.imageDescription || "";
  if (text.includes("<OME")) {
    const attribute = key => text.match(new RegExp(`\\b${key}="([^"]*)"`))?.[1];
    const [down, across] = ["Y", "X"].map(letter => {
      const unit = UNITS[(attribute(`PhysicalSize${letter}Unit`) || "µm").toLowerCase()];
      return unit && Number(attribute(`PhysicalSize${letter}`)) * unit;
    });
    return down > 0 && across > 0 ? [down, across] : null;
  }
  const imageJ = text.startsWith("ImageJ=") ? text.match(/^unit=(.*)$/m)?.[1] : null;
  const named = imageJ?.trim().replace(/\\u00[bB]5/, "µ").toLowerCase();
  let unit = null;
  try {
    unit = named ? UNITS[named] : { 2: 25400, 3: 1e4 }[head.resolutionUnit];
    return unit ? believable(unit / head.yResolution, unit / head.xResolution) : null;
  } catch { return null; }
}

function believable(down, across) {
  return down > 0 && across > 0 && down < COARSEST && across < COARSEST ? [down, across] : null;
}

function colours(width, height, data, samples, alpha, largest, step) {
  const channels = alpha ? samples - 1 : samples, size = width * height;
  const values = new Float32Array(channels * size); // channel by channel
  for (let channel = 0; channel < channels; channel++) {
    for (let pixel = 0, from = channel, to = channel * size; pixel < size; pixel++, from += samples, to++) {
      values[to] = data[from] / largest;
    }
  }
  return { width, height, channels, values, step };
}

// The image with the channels that the model sees; grey that is stored as RGB is grey.
export function matched(image, channels, name) {
  const size = image.width * image.height, { values } = image;
  if (image.channels === channels) return check(image, name);
  if (channels === 1 && image.channels === 3) {
    let grey = true;
    for (let i = 0; grey && i < size; i++) grey = values[i] === values[i + size] && values[i] === values[i + 2 * size];
    if (grey) return check({ ...image, channels: 1, values: values.slice(0, size) }, name);
  }
  const called = number => ({ 1: "grey (1 channel)", 3: "RGB (3 channels)" })[number] || `${number} channels`;
  throw new Refusal(`${name} is ${called(image.channels)}; this model sees images that are ${called(channels)}. ` +
    "Convert the image.");
}

function check(image, name) {
  if (!image.values.every(Number.isFinite)) throw new Refusal(`${name} holds values that are no numbers (NaN or infinite).`);
  return image;
}

// Puts page, worker, decoders and onnxruntime's WASM into one HTML file: node build.mjs OUT
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const WASM = "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm";

async function bundled(file) {
  const result = await build({
    entryPoints: [file], bundle: true, minify: true, write: false, format: "iife", target: "es2022", charset: "ascii",
    legalComments: "inline", define: { "import.meta.url": "self.location.href" }, logLevel: "error",
  });
  return result.outputFiles[0].text.replaceAll("</script", "<\\/script");
}

const hash = text => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
const places = {
  SCRIPT: await bundled("page.js"),
  STYLE: readFileSync("page.css", "utf-8"),
  WORKER: gzipSync(await bundled("worker.js"), { level: 9 }).toString("base64"),
  WASM: gzipSync(readFileSync(WASM), { level: 9 }).toString("base64"),
};
places.SCRIPT_HASH = hash(places.SCRIPT);
places.STYLE_HASH = hash(places.STYLE);
// @@TITLE@@, @@FACTS@@ and @@MODEL@@ stay: rescrnet fills them.
const html = readFileSync("page.html", "utf-8").replace(/%%(\w+)%%/g, (_, name) => places[name]);
writeFileSync(process.argv[2], html);
console.log(`${process.argv[2]}: ${(html.length / 1e6).toFixed(1)} MB`);

// Pictures enlarge on a click, and the arrow keys go through them; printing opens what is folded.
const dialog = document.querySelector("dialog");
const pictures = [...document.querySelectorAll("figure button img")];
let shown = 0;

function show(index) {
  shown = (index + pictures.length) % pictures.length;
  dialog.querySelector("div").replaceChildren(pictures[shown].cloneNode());
  dialog.querySelector("p").textContent = pictures[shown].alt;
}

pictures.forEach((picture, index) => {
  picture.closest("button").addEventListener("click", () => { show(index); dialog.showModal(); });
});
dialog.addEventListener("click", () => dialog.close());
dialog.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) { event.preventDefault(); show(shown + step); }
});
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));

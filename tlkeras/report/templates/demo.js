"use strict";
const page = document.getElementById("main"), answers = document.getElementById("answers");
const share = value => (100 * value).toFixed(1) + " %";

// all texts are set as text, so that no name of a file or class can become a part of the page
function make(tag, traits = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(traits)) {
    if (name in made && name !== "style") made[name] = value; else made.setAttribute(name, value);
  }
  made.append(...children.filter(child => child !== null));
  return made;
}

async function ask(content, name) {
  const place = make("section", { className: "answer waiting" }, make("span", { className: "spinner" }), "Asking about " + name);
  answers.prepend(place);
  const most = Number(page.dataset.mostBytes);
  try {
    if (content.size > most) throw new Error("The file has more than " + Math.floor(most / 2 ** 20) + " MB.");
    const reply = await fetch("/answer", { method: "POST", body: content });
    const found = await reply.json();
    place.replaceWith(found.error === undefined ? shown(found, name) : refused(name, found.error));
  } catch (error) {
    const lost = error instanceof TypeError || error instanceof SyntaxError;
    place.replaceWith(refused(name, lost ? "The page got no answer. Does tlkeras demo still run?" : error.message));
  }
}

function refused(name, reason) {
  return make("section", { className: "answer refused", role: "alert" },
    make("p", {}, make("strong", { textContent: name }), ": " + reason));
}

function shown(found, name) {
  const wide = found.image === null;
  return make("section", { className: "answer" + (wide ? " wide" : "") },
    make("header", {}, make("h2", { textContent: found.prediction }),
      found.probability === null ? null : make("span", { className: "share", textContent: share(found.probability) }),
      make("span", { className: "file", textContent: name })),
    found.unlike > 1 ? make("p", { className: "warning" }, make("strong", { textContent: "Unlike the training data. " }),
      "The distance to the training rows is " + found.unlike.toFixed(2) + " times the limit, so do not rely on this answer.") : null,
    wide ? make("div", {}, words(found)) : views(found),
    make("div", {}, classes(found), ...said(found)),
    nearest(found));
}

function picture(source, row, words, isSmall = row.is_small) {
  const [width, height] = row.size;
  return make("img", { src: source, alt: words, width, height, className: isSmall ? "small" : "" });
}

function views(found) {
  const tall = found.kind === "sound";
  const first = { image: "as the model sees it", sound: "spectrogram" }[found.kind];
  const figure = (source, text) => make("figure", {}, picture(source, found, text), make("figcaption", { textContent: text }));
  return make("div", {}, make("div", { className: "views" + (tall ? " tall" : "") }, figure(found.image, first),
    found.overlay === null ? null : figure(found.overlay, found.explanation + ": bright parts matter")),
  found.audio === null ? null : make("audio", { controls: true, src: found.audio }));
}

function words(row) {
  if (row.words === null) return null;
  const parts = row.words.map((word, i) => {
    const part = make("span", { textContent: word });
    if (row.weights !== null) part.style.setProperty("--weight", row.weights[i] ?? 0);
    return [part, " "];
  });
  return make("p", { className: "text" }, ...parts.flat());
}

function classes(found) {
  return make("ul", { className: "classes", ariaLabel: "Probabilities" }, ...found.classes.map(row => {
    const bar = make("span");
    bar.style.width = share(row.probability).replace(" ", "");
    return make("li", { className: row.in_set === false ? "out" : "" }, make("span", { className: "name", textContent: row.name }),
      make("span", { className: "track" }, bar), make("span", { className: "value", textContent: share(row.probability) }));
  }));
}

function said(found) {
  const lines = [], often = Math.round(1000 * found.coverage) / 10 + " % of inputs like those of the training.";
  if (found.set !== null && !(found.unlike > 1)) {
    lines.push(found.set.length === 0 ? "No class is plausible enough. Such a list contains the true class for " + often
      : "Plausible classes: " + found.set.join(", ") + ". Such a list contains the true class for " + often);
  }
  if (found.interval !== null && !(found.unlike > 1)) {
    const bounds = found.interval.map(([low, high]) => low.toPrecision(4) + " to " + high.toPrecision(4)).join(", ");
    lines.push("Plausible values: " + bounds + ". They contain the true value for " + often);
  }
  if (found.unlike !== null && found.unlike <= 1) {
    lines.push("It resembles the training data (distance " + found.unlike.toFixed(2) + " of the limit).");
  }
  return [...lines.map(text => make("p", { className: "said", textContent: text })),
    ...found.notes.map(text => make("p", { className: "said muted small", textContent: text }))];
}

function nearest(found) {
  if (found.near.length === 0) return null;
  return make("div", { className: "nearest" }, make("h3", { textContent: "Nearest training " + { image: "pictures", sound: "sounds", text: "texts" }[found.kind] }),
    make("ul", { className: "near" + (found.image === null ? " lines" : "") }, ...found.near.map(row => make("li", { title: row.id },
      row.image === null ? words(row) : picture(row.image, row, row.id, found.is_small),
      make("span", { textContent: (row.label || "no label") + " " + row.similarity.toFixed(2) })))));
}

async function askAll(files) {
  for (const file of files) await ask(file, file.name || "picture");
}

const drop = document.getElementById("drop");
if (drop) {
  const files = document.getElementById("files");
  files.addEventListener("change", async () => { await askAll([...files.files]); files.value = ""; });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, event => { event.preventDefault(); drop.classList.toggle("over", kind === "dragover"); });
  }
  document.addEventListener("drop", event => askAll([...event.dataTransfer.files]));
  document.addEventListener("paste", event => askAll([...event.clipboardData.files]));
}

const form = document.getElementById("words");
if (form) {
  const send = event => {
    event.preventDefault();
    const texts = [...form.querySelectorAll("textarea")].map(box => box.value.replace(/\s+/g, " ").trim());
    if (texts.every(text => text)) ask(new Blob([texts.join("\t")]), "your text");
  };
  form.addEventListener("submit", send);
  form.addEventListener("keydown", event => { if (event.key === "Enter" && event.ctrlKey) send(event); });
}

const camera = document.getElementById("camera");
if (camera && !(navigator.mediaDevices && navigator.mediaDevices.getUserMedia)) camera.hidden = true;  // no secure page
else if (camera) {
  const booth = document.getElementById("booth"), film = document.getElementById("film");
  const close = () => { for (const track of film.srcObject.getTracks()) track.stop(); booth.hidden = true; camera.disabled = false; };
  camera.addEventListener("click", async () => {
    try {
      film.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      answers.prepend(refused("camera", "There is no camera that this page may use."));
      return;
    }
    booth.hidden = false;
    camera.disabled = true;
    await film.play();
  });
  document.getElementById("close").addEventListener("click", close);
  document.getElementById("shoot").addEventListener("click", () => {
    const canvas = make("canvas", { width: film.videoWidth, height: film.videoHeight });
    canvas.getContext("2d").drawImage(film, 0, 0);
    close();
    canvas.toBlob(picture => ask(picture, "camera picture"), "image/png");
  });
}

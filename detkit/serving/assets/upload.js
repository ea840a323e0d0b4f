"use strict";
// Texts of the server and names of files become text nodes alone, never HTML.
const LANES = 4; // requests at a time, which the server answers in batches
const LONGEST = 4; // numbers in a cell of the table of results: longer values, such as masks, are in the image
const form = document.forms[0];
const picker = form.querySelector("[type=file]");
const drop = document.getElementById("drop");
const status = document.querySelector("[role=status]");
const main = document.querySelector("main");
let cards = []; // of {file, figure}
let round = 0; // answers of an earlier round, with another score, are left out

const make = (name, text = "") => {
  const element = document.createElement(name);
  element.textContent = text;
  return element;
};
const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

async function describe() {
  const answer = await (await fetch("health")).json();
  const count = answer.classes.length;
  document.querySelector("h1").textContent = document.title = answer.model;
  document.getElementById("model").textContent = `${answer.task}, detkit ${answer.version}`;
  document.querySelector("header details").hidden = count === 0;
  document.querySelector("header summary").textContent = count === 1 ? "1 class" : `${count} classes`;
  document.getElementById("classes").textContent = answer.classes.join(", ");
  form.score.value = answer.score;
  form.shown.textContent = Number(form.score.value).toFixed(2);
}

function add(files) {
  const added = [...files].map((file) => {
    const figure = make("figure");
    figure.append(make("figcaption", file.name));
    return { file, figure };
  });
  main.prepend(...added.map((card) => card.figure));
  cards = [...added, ...cards];
  send(added, round);
}

async function send(some, own) {
  const waiting = [...some];
  waiting.forEach((card) => card.figure.classList.add("waiting"));
  const lane = async () => {
    while (waiting.length && own === round) await ask(waiting.shift(), own);
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}

async function ask(card, own) {
  const body = new FormData();
  body.append("images", card.file);
  let answer, refused;
  try {
    const response = await fetch(`predict?image=true&score=${form.score.value}`, { method: "POST", body });
    if (response.status === 503) {
      await pause(Number(response.headers.get("Retry-After")) || 1);
      return own === round ? ask(card, own) : undefined;
    }
    answer = await response.json();
    refused = response.ok ? answer.images[0].error : answer.detail;
  } catch (error) {
    refused = `${card.file.name}: the server does not answer (${error.message})`;
  }
  if (own !== round) return;
  show(card, refused ? null : answer.images[0], refused);
  tell();
}

function show(card, entry, refused) {
  card.figure.classList.remove("waiting");
  card.figure.replaceChildren();
  if (refused) {
    const line = make("figcaption", refused);
    line.className = "error";
    card.figure.append(line);
    return;
  }
  const image = make("img");
  image.src = entry.image;
  image.alt = `${entry.file_name} with ${counted(entry.results)}`;
  const details = make("details");
  details.append(make("summary", counted(entry.results)), table(entry.results));
  card.figure.append(image, make("figcaption", `${entry.file_name}, ${entry.width} x ${entry.height} pixels`), details);
}

const counted = (results) => (results.length === 1 ? "1 result" : `${results.length} results`);

function table(results) {
  const names = new Set(results.flatMap((one) => Object.keys(one).filter((name) => isShort(one[name]))));
  const columns = [...names].filter((name) => !(name.endsWith("_id") && names.has(name.slice(0, -3))));
  const head = make("tr");
  head.append(...columns.map((name) => make("th", name)));
  const rows = results.map((one) => {
    const row = make("tr");
    row.append(...columns.map((name) => make("td", text(one[name]))));
    return row;
  });
  const whole = make("table");
  whole.append(head, ...rows);
  return whole;
}

function isShort(value) {
  if (Array.isArray(value)) return value.length <= LONGEST && value.every((one) => typeof one === "number");
  return value !== null && typeof value !== "object";
}

function text(value) {
  if (Array.isArray(value)) return value.map((one) => one.toFixed(1)).join(", ");
  return typeof value === "number" ? value.toFixed(3) : String(value ?? "");
}

function tell() {
  const left = cards.filter((card) => card.figure.classList.contains("waiting")).length;
  const wrong = cards.filter((card) => card.figure.querySelector(".error")).length;
  const done = cards.length - left - wrong;
  const parts = [done && `${done} done`, left && `${left} waiting`, wrong && `${wrong} refused`];
  status.textContent = parts.filter(Boolean).join(", ");
}

picker.addEventListener("change", () => {
  add(picker.files);
  picker.value = "";
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") add(event.dataTransfer.files);
  });
}
form.score.addEventListener("input", () => {
  form.shown.textContent = Number(form.score.value).toFixed(2);
});
form.score.addEventListener("change", () => {
  round += 1;
  send(cards, round);
});
form.addEventListener("submit", (event) => event.preventDefault());
describe().catch((error) => {
  status.textContent = `The server does not answer (${error.message}).`;
});

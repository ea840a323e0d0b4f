"use strict";
(() => {
  const element = (name, className = "", text = "") => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text) made.textContent = text;
    return made;
  };
  const contentOf = (part) => JSON.parse(part.querySelector(":scope > script[type='application/json']").textContent);

  // Tables: a click on a heading sorts, numbers from the greatest on.
  const sortTable = (table, button) => {
    const heading = button.closest("th");
    const column = heading.cellIndex;
    const isNumber = heading.classList.contains("number");
    const isAscending = heading.hasAttribute("aria-sort")
      ? heading.getAttribute("aria-sort") === "descending" : !isNumber;
    const key = (row) => isNumber ? Number(row.cells[column].dataset.order ?? -Infinity) : row.cells[column].textContent;
    const compare = (a, b) => isNumber ? key(a) - key(b) : key(a).localeCompare(key(b), "en", { numeric: true });
    const rows = [...table.tBodies[0].rows].sort((a, b) => isAscending ? compare(a, b) : compare(b, a));
    table.tBodies[0].append(...rows);
    for (const other of table.tHead.querySelectorAll("th")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", isAscending ? "ascending" : "descending");
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    for (const button of table.tHead.querySelectorAll("button")) {
      button.addEventListener("click", () => sortTable(table, button));
    }
  }

  // Charts: the legend switches lines, the pointer and the arrow keys read values.
  const startChart = (chart) => {
    const { names, values, frame, x: xName } = contentOf(chart);
    const svg = chart.querySelector("svg");
    const cursor = chart.querySelector(".cursor");
    const reading = chart.querySelector(".reading");
    const paths = [...chart.querySelectorAll(".line")];
    const boxes = [...chart.querySelectorAll(".legend input")];
    let current = null;
    const shown = () => values.map((_, index) => index).filter((index) => boxes[index].checked && values[index].px.length);
    const places = () => [...new Set(shown().flatMap((index) => values[index].px))].sort((a, b) => a - b);
    const nearest = (list, place) => list.reduce(
      (best, value, index) => Math.abs(value - place) < Math.abs(list[best] - place) ? index : best, 0);
    const hide = () => {
      current = null;
      reading.hidden = true;
      cursor.classList.add("off");
    };
    const read = (place) => {
      current = place;
      cursor.setAttribute("x1", place);
      cursor.setAttribute("x2", place);
      cursor.classList.remove("off");
      reading.replaceChildren();
      let x = null;
      for (const index of shown()) {
        const { px, x: xs, y } = values[index];
        const point = nearest(px, place);
        if (Math.abs(px[point] - place) > 8) continue;
        if (x === null || px[point] === place) x = xs[point];
        const line = element("div");
        const name = element("span", `c${index % 8}`);
        name.append(element("i"), names[index]);
        line.append(name, element("b", "", String(y[point])));
        reading.append(line);
      }
      reading.prepend(element("div", "", `${xName} ${x}`));
      reading.hidden = false;
      const share = place / frame.width;
      reading.style.left = share < 0.5 ? `${100 * share + 2}%` : "auto";
      reading.style.right = share < 0.5 ? "auto" : `${100 * (1 - share) + 2}%`;
    };
    boxes.forEach((box, index) => box.addEventListener("change", () => {
      paths[index].classList.toggle("off", !box.checked);
      hide();
    }));
    svg.addEventListener("pointermove", (event) => {
      const outline = svg.getBoundingClientRect();
      const list = places();
      if (list.length) read(list[nearest(list, (event.clientX - outline.left) / outline.width * frame.width)]);
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const list = places();
      const at = current === null ? -1 : list.indexOf(current);
      const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: list.length - 1 }[event.key];
      if (event.key === "Escape") hide();
      if (next === undefined || !list.length) return;
      event.preventDefault();
      read(list[Math.min(Math.max(next, 0), list.length - 1)]);
    });
  };
  document.querySelectorAll(".chart").forEach(startChart);

  const MOST_LABELS = 8; // of a small image

  // The name space is taken from an element, since the page names no address.
  const template = element("template");
  template.innerHTML = "<svg></svg>";
  const vector = (name, attributes) => {
    const made = document.createElementNS(template.content.firstChild.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  // The browser of errors. A mark is [label, kind, box, score, object, iou, shape], a shape [mask, lines, dots] of paths.
  const startBrowser = (browser) => {
    const { classes, kinds, images, score: firstScore } = contentOf(browser);
    const form = browser.querySelector(".filters");
    const status = browser.querySelector(".status");
    const cards = browser.querySelector(".cards");
    const dialog = browser.querySelector("dialog");
    const section = browser.closest("section").id;
    const kindBoxes = [...form.querySelectorAll("[name=kind]")];
    const scoreInput = form.elements.score;
    let list = [];
    let opened = -1;

    const stateOf = () => ({
      kinds: new Set(kindBoxes.filter((box) => box.checked).map((box) => Number(box.value))),
      label: form.elements.class.value === "" ? null : Number(form.elements.class.value),
      score: scoreInput ? Number(scoreInput.value) : 0,
      order: form.elements.order.value,
      hasLabels: form.elements.labels?.checked ?? false,
    });
    const readHash = () => {
      const [name, query] = location.hash.slice(1).split("?");
      if (name !== section || query === undefined) return false;
      const given = new URLSearchParams(query);
      const wanted = new Set((given.get("kind") ?? "").split(","));
      for (const box of kindBoxes) box.checked = wanted.has(kinds[box.value].name.replaceAll(" ", "-"));
      const label = classes.indexOf(given.get("class"));
      form.elements.class.value = label < 0 ? "" : String(label);
      if (scoreInput && given.has("score")) scoreInput.value = given.get("score");
      form.elements.order.value = given.get("order") === "name" ? "name" : "";
      return true;
    };
    const writeHash = (state) => {
      const given = new URLSearchParams();
      const chosen = [...state.kinds].map((kind) => kinds[kind].name.replaceAll(" ", "-"));
      if (chosen.length) given.set("kind", chosen.join(","));
      if (state.label !== null) given.set("class", classes[state.label]);
      if (scoreInput && state.score !== firstScore) given.set("score", state.score.toFixed(2));
      if (state.order) given.set("order", state.order);
      history.replaceState(null, "", `#${section}?${given}`);
    };

    const marksOf = (image, state) => {
      const answers = image.answers
        .filter(([, , , score]) => score === null || score >= state.score)
        .map(([label, kind, box, score, object, iou, shape]) => ({ label, kind, box, score, object, iou, shape }));
      const objects = image.objects.map(([label, kind, box, , , , shape], index) => {
        const named = answers.filter((answer) => answer.object === index).map((answer) => answer.kind);
        return { label, kind: named.length ? Math.min(...named) : kind, box, score: null, object: -1, iou: null, shape };
      });
      const isOfClass = (mark) => state.label === null || mark.label === state.label
        || (mark.object >= 0 && objects[mark.object].label === state.label);
      for (const mark of [...objects, ...answers]) {
        mark.isOfClass = isOfClass(mark);
        mark.isMatch = mark.isOfClass && (!state.kinds.size || state.kinds.has(mark.kind));
      }
      return { objects, answers };
    };

    const words = (mark) => classes[mark.label] + (mark.score === null ? "" : ` ${mark.score.toFixed(2)}`);
    const boxOf = (mark, image, hasLabel) => {
      const [x, y, width, height] = mark.box;
      const isNamed = hasLabel && mark.kind !== 0 && mark.isMatch;
      const box = element("div", `box e${kinds[mark.kind].color}${mark.isMatch ? "" : " quiet"}${isNamed ? " named" : ""}`);
      if (x + width / 2 > 0.6 * image.width) box.classList.add("late");
      box.style.left = `${100 * x / image.width}%`;
      box.style.top = `${100 * y / image.height}%`;
      box.style.width = `${100 * width / image.width}%`;
      box.style.height = `${100 * height / image.height}%`;
      const iou = mark.iou === null ? "" : `, IoU ${mark.iou.toFixed(2)}`;
      box.title = `${words(mark)}: ${kinds[mark.kind].name}${iou}`;
      box.append(element("span", "", mark.kind === 0 ? words(mark) : `${words(mark)} · ${kinds[mark.kind].name}`));
      return box;
    };
    const shapesOf = (marks, image) => {
      const drawn = vector("svg", { class: "shapes", viewBox: `0 0 ${image.width} ${image.height}`, "aria-hidden": "true" });
      for (const mark of marks.toReversed()) {
        const [mask, lines, dots] = mark.shape;
        const group = vector("g", { class: `shape e${kinds[mark.kind].color}${mark.isMatch ? "" : " quiet"}` });
        const paths = { mask, lines, rim: dots, dots };
        group.append(...Object.entries(paths).filter(([, d]) => d).map(([name, d]) => vector("path", { class: name, d })));
        drawn.append(group);
      }
      return drawn;
    };
    const counted = (marks, what) => {
      const counts = new Map();
      for (const mark of marks) {
        const key = `${classes[mark.label]} ${kinds[mark.kind].name}`;
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
      const listed = [...counts].map(([key, count]) => `${count} ${key}`).join(", ");
      return `${marks.length} ${what}${listed ? `: ${listed}` : ""}`;
    };
    const frameOf = (title, marks, image, state, isLarge) => {
      const figure = element("figure");
      const boxed = marks.filter((mark) => mark.box);
      // More labels would hide the image; a box shows its own under the pointer.
      const hasLabels = state.hasLabels && boxed.filter((mark) => mark.kind !== 0 && mark.isMatch).length <= MOST_LABELS;
      const frame = element("div", "frame");
      frame.style.aspectRatio = `${image.width} / ${image.height}`;
      frame.style.setProperty("--ratio", String(image.width / image.height));
      if (isLarge) frame.style.maxWidth = `calc(74vh * ${image.width / image.height})`;
      const picture = element("img");
      picture.src = image.url;
      picture.alt = boxed.length ? `${image.name}, ${title}, ${counted(marks, "marked")}` : `${image.name}, ${title}`;
      picture.decoding = "async";
      const shaped = marks.filter((mark) => mark.shape);
      frame.append(picture, ...(shaped.length ? [shapesOf(shaped, image)] : []), ...boxed.map((mark) => boxOf(mark, image, hasLabels)));
      figure.append(element("figcaption", "", title), frame);
      return figure;
    };
    const answersOf = (title, marks) => {
      const figure = element("div");
      figure.append(element("div", "answers-title", title));
      const shown = element("ul", "answers");
      shown.append(...marks.map((mark) => element("li", `e${kinds[mark.kind].color}`, `${words(mark)} · ${kinds[mark.kind].name}`)));
      figure.append(shown);
      return figure;
    };
    const pairOf = (image, marks, state, isLarge) => {
      const isBoxed = [...marks.objects, ...marks.answers].some((mark) => mark.box);
      const isWhole = !isBoxed && [...marks.objects, ...marks.answers].length > 0;
      const pair = element("div", isWhole ? "pair single" : "pair");
      if (isWhole) {
        const truth = marks.objects.map((mark) => classes[mark.label]).join(", ");
        pair.append(frameOf(`true class ${truth}`, [], image, state, isLarge), answersOf("Answers", marks.answers));
      } else {
        pair.append(frameOf("ground truth", marks.objects, image, state, isLarge),
          frameOf("detections", marks.answers, image, state, isLarge));
      }
      return pair;
    };
    const sentence = ({ objects, answers }) => {
      if (objects.length && !objects.some((mark) => mark.box)) {
        return `${classes[objects[0].label]}: ${kinds[objects[0].kind].name}${answers.length ? `, ${words(answers[0])}` : ""}`;
      }
      const wrong = answers.filter((mark) => mark.kind !== 0).length;
      const open = objects.filter((mark) => mark.kind !== 0).length;
      return `${wrong} of ${answers.length} answers and ${open} of ${objects.length} objects with an error`;
    };

    const show = (isWritten = true) => {
      const state = stateOf();
      const all = images.map((image) => ({ image, marks: marksOf(image, state) }));
      const isFree = !state.kinds.size && state.label === null;
      list = all.filter(({ marks }) => isFree || [...marks.objects, ...marks.answers].some((mark) => mark.isMatch));
      if (state.order === "name") list.sort((a, b) => a.image.name.localeCompare(b.image.name, "en", { numeric: true }));
      for (const box of kindBoxes) {
        const kind = Number(box.value);
        const has = ({ marks }) => [...marks.objects, ...marks.answers].some((mark) => mark.kind === kind && mark.isOfClass);
        box.parentElement.querySelector("output").textContent = String(all.filter(has).length);
      }
      if (scoreInput) form.elements["score-value"].textContent = state.score.toFixed(2);
      status.textContent = `${list.length} of ${images.length} images match the filters.`;
      cards.replaceChildren(...list.map(({ image, marks }, index) => {
        const card = element("article", "card");
        const button = element("button", "", image.name);
        button.type = "button";
        button.append(element("small", "", sentence(marks)));
        button.addEventListener("click", () => open(index));
        const pair = pairOf(image, marks, state, false);
        pair.addEventListener("click", () => open(index));
        card.append(button, pair);
        return card;
      }));
      if (isWritten) writeHash(state);
    };
    const open = (index) => {
      if (index < 0 || index >= list.length) return;
      opened = index;
      const { image, marks } = list[index];
      dialog.querySelector("strong").textContent = `${image.name} (${index + 1} of ${list.length}): ${sentence(marks)}`;
      dialog.querySelector(".large").replaceChildren(pairOf(image, marks, stateOf(), true));
      if (!dialog.open) dialog.showModal();
    };

    let isAsked = false;
    const soon = () => {
      if (isAsked) return;
      isAsked = true;
      requestAnimationFrame(() => { isAsked = false; show(); });
    };
    form.addEventListener("input", soon);
    form.addEventListener("reset", () => setTimeout(show));
    form.addEventListener("submit", (event) => event.preventDefault());
    dialog.querySelector(".previous").addEventListener("click", () => open(opened - 1));
    dialog.querySelector(".next").addEventListener("click", () => open(opened + 1));
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") open(opened - 1);
      if (event.key === "ArrowRight") open(opened + 1);
    });
    const follow = () => {
      const isHere = readHash();
      show(false);
      if (isHere) browser.closest("section").scrollIntoView({ behavior: "instant" });
    };
    window.addEventListener("hashchange", () => { if (location.hash.startsWith(`#${section}?`)) follow(); });
    follow();
  };
  document.querySelectorAll(".browser").forEach(startBrowser);

  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
})();

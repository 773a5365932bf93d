"use strict";
// The program of the pages of `m3it browse`. The state (view, filters, page, opened record) stands in the address, so
// that a link shows the same thing and the browser's own buttons work. A record's texts become text nodes only.

const browse = (() => {
  const PAGE_SIZE = 24;
  const FILTERS = ["source", "split", "task", "language"];
  const VIEWS = ["records", "sources", "plots", "rejected"];
  const KINDS = {
    paraphrased: ["paraphrased", (record) => record.before !== undefined],
    boxes: ["with boxes", (record) => record.boxes > 0],
    several: ["several pictures", (record) => record.pictures.length > 1],
    turns: ["conversations", (record) => record.turns !== undefined],
  };
  const TASKS = { vqa: "VQA", knowledge_vqa: "knowledge VQA", chinese: "Chinese" };

  let records = [], chunkSize = 1, licences = {};
  let order = []; // numbers of all records as they are shown: a record of each source in turn
  let shown = []; // numbers of the records that the filters let through
  const chunks = new Map(); // number of a chunk -> promise of its details
  const waiting = new Map(); // number of a chunk -> what fulfils the promise

  const one = (selector) => document.querySelector(selector);

  // Returns an element; strings among the children become text, so they can hold anything.
  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  }

  const state = () => new URLSearchParams(location.hash.slice(1));

  function link(changes) {
    const next = state();
    for (const [key, value] of Object.entries(changes)) {
      if (value) next.set(key, value);
      else next.delete(key);
    }
    return "#" + next;
  }

  // Without a new step in the browser's history: typing would fill it.
  function replace(changes) {
    history.replaceState(null, "", link(changes) === "#" ? "#view=records" : link(changes));
    show();
  }

  const wordsOf = (query) => query.toLowerCase().split(/\s+/).filter(Boolean);

  function filtered(wanted) {
    const words = wordsOf(wanted.get("q") || "");
    const only = KINDS[wanted.get("only")];
    return order.filter((number) => {
      const record = records[number];
      if (FILTERS.some((name) => wanted.get(name) && record[name] !== wanted.get(name))) return false;
      return (!only || only[1](record)) && words.every((word) => record.text.includes(word));
    });
  }

  // Returns the text in pieces, with the searched words marked.
  function marked(text, words) {
    if (!words.length) return [text];
    const lower = text.toLowerCase();
    if (lower.length !== text.length) return [text]; // a few letters change their length: marks would slip
    const pieces = [];
    let at = 0;
    while (at < text.length) {
      let from = -1, length = 0;
      for (const word of words) {
        const place = lower.indexOf(word, at);
        if (place >= 0 && (from < 0 || place < from || (place === from && word.length > length))) [from, length] = [place, word.length];
      }
      if (from < 0) break;
      pieces.push(text.slice(at, from), make("mark", {}, text.slice(from, from + length)));
      at = from + length;
    }
    return [...pieces, text.slice(at)];
  }

  function image(picture, label) {
    if (picture.problem) return make("span", { class: "broken" }, `picture cannot be shown: ${picture.problem}`);
    const tiny = Math.max(picture.width, picture.height) <= 128;
    return make("img", { src: `files/pictures/${picture.file}`, width: picture.width, height: picture.height, alt: label, loading: "lazy", decoding: "async", class: tiny ? "tiny" : null });
  }

  const across = (count) => [0, 1, 2, 3, 2, 3, 3][count] || 4;

  function card(number, words) {
    const record = records[number];
    const count = record.pictures.length;
    const shots = make("div", { class: "shots few" }, ...record.pictures.slice(0, 12).map((picture, place) => image(picture, `picture ${place + 1} of ${count}`)));
    shots.style.setProperty("--across", across(Math.min(count, 12)));
    const text = (name, value) => (value ? make("p", { class: name }, ...marked(value, words)) : null);
    return make("a", { class: "record", href: link({ id: record.id }), lang: record.language },
      shots,
      make("div", { class: "words" },
        text("inputs", record.turns ? `${record.turns[0].instruction} …` : ""),
        text("instruction", record.instruction), text("inputs", record.inputs), text("outputs", record.outputs),
        make("p", { class: "origin", lang: "en" }, [record.source, record.split, record.language, count > 1 ? `${count} pictures` : "", record.turns ? `${record.turns.length} turns` : "", record.before !== undefined ? "paraphrased" : ""].filter(Boolean).join(" · "))));
  }

  function pager(page, pages) {
    if (pages < 2) return [];
    const step = (label, to, words) => (to < 1 || to > pages ? make("span", { "aria-hidden": "true" }, label) : make("a", { href: link({ page: to > 1 ? to : "" }), "aria-label": words }, label));
    return [step("‹", page - 1, "previous page"), make("span", {}, `${page.toLocaleString("en")} of ${pages.toLocaleString("en")}`), step("›", page + 1, "next page")];
  }

  let drawn = null; // what the cards on the page show, so that opening a record does not draw them again

  function showRecords(wanted) {
    const key = ["q", "only", "page", ...FILTERS].map((name) => wanted.get(name) || "").join("\u0000");
    const form = one(".tools");
    for (const name of ["q", "only", ...FILTERS]) {
      const field = form.elements[name];
      if (document.activeElement !== field || name !== "q") field.value = wanted.get(name) || "";
      if (name !== "q") field.classList.toggle("set", Boolean(field.value));
    }
    if (key === drawn) return markLinks(wanted);
    drawn = key;
    shown = filtered(wanted);
    const pages = Math.max(1, Math.ceil(shown.length / PAGE_SIZE));
    const page = Math.min(Math.max(1, Number(wanted.get("page")) || 1), pages);
    const words = wordsOf(wanted.get("q") || "");
    const cards = shown.slice((page - 1) * PAGE_SIZE, page * PAGE_SIZE).map((number) => card(number, words));
    one("#cards").replaceChildren(...(cards.length ? cards : [make("p", { class: "none" }, "No record matches.")]));
    for (const place of document.querySelectorAll(".pager")) place.replaceChildren(...pager(page, pages));
    const all = records.length.toLocaleString("en");
    one("#found").textContent = shown.length === records.length ? `${all} records` : `${shown.length.toLocaleString("en")} of ${all} records`;
  }

  // The cards' links keep the filters that hold now.
  function markLinks() {
    for (const element of document.querySelectorAll("#cards .record")) element.href = link({ id: new URLSearchParams(element.hash.slice(1)).get("id") });
  }

  function detailsOf(number) {
    const chunk = Math.floor(number / chunkSize);
    if (!chunks.has(chunk)) {
      chunks.set(chunk, new Promise((fulfil, fail) => {
        waiting.set(chunk, fulfil);
        const script = make("script", { src: `files/records/${chunk}.js` });
        script.onerror = () => { chunks.delete(chunk); fail(new Error(`files/records/${chunk}.js cannot be read`)); };
        document.head.append(script);
      }));
    }
    return chunks.get(chunk).then((details) => details[number % chunkSize]);
  }

  const SPECIAL = ["original_answer", "turns", "system"]; // stand among the texts
  const plain = (value) => (typeof value === "string" ? value : Array.isArray(value) && value.every((each) => typeof each === "string") ? value.join("\n") : JSON.stringify(value));

  function tokensOf(details) {
    const title = make("h3", {}, "As the model sees it");
    if (details.problem) return [title, make("p", { class: "soft" }, `It cannot be laid out: ${details.problem}`)];
    if (!details.tokens) return [];
    const learned = details.tokens.filter(([kind]) => kind === "learned").length;
    const key = (kind, words) => make("li", {}, make("i", { class: `fill-${kind}` }), words);
    const cut = details.dropped ? `; ${details.dropped} did not fit and are cut` : "";
    return [title,
      make("ul", { class: "legend" }, key("learned", `learned: ${learned}`), key("given", `given: ${details.tokens.filter(([kind]) => kind === "given").length}`), key("picture", "stands for a picture's query tokens")),
      make("p", { class: "tokens" }, ...details.tokens.map(([kind, piece]) => make("span", { class: kind }, piece))),
      make("p", { class: "soft small" }, `The loss counts only the learned tokens${cut}.`)];
  }

  function metaOf(record, details) {
    const rows = [["id", record.id], ["source", `${record.source}, ${record.split}`], ["task", TASKS[record.task] || record.task], ["language", record.language]];
    if (!details.meta.licence) rows.push(["licence", licences[record.source] || "unknown"]);
    for (const [name, value] of Object.entries(details.meta)) if (!SPECIAL.includes(name)) rows.push([name.replaceAll("_", " "), plain(value)]);
    return make("table", { class: "meta" }, ...rows.map(([name, value]) => make("tr", {}, make("td", {}, name), make("td", {}, value))));
  }

  function opened(record, details) {
    const gallery = make("div", { class: "gallery" }, ...record.pictures.map((picture, place) =>
      make("figure", {}, image(picture, `picture ${place + 1} of ${record.pictures.length}`),
        picture.width ? make("figcaption", {}, `${picture.width} × ${picture.height}`) : null)));
    gallery.style.setProperty("--across", across(record.pictures.length));
    const texts = make("dl", { class: "texts", lang: record.language });
    const add = (name, value, kind) => { if (value) texts.append(make("dt", { lang: "en" }, name), make("dd", { class: kind }, value)); };
    add("System message", record.system);
    for (const [number, turn] of (record.turns || []).slice(0, -1).entries()) {
      const fresh = number && turn.new_pictures ? `, with ${turn.new_pictures} more picture${turn.new_pictures > 1 ? "s" : ""}` : "";
      add(`Turn ${number + 1}${fresh}`, [turn.instruction, turn.inputs].filter(Boolean).join("\n"));
      add(`Answer ${number + 1}`, turn.outputs, "answer");
    }
    add(record.turns ? `Turn ${record.turns.length}` : "Instruction", record.instruction);
    add("Inputs", record.inputs);
    add("Answer before paraphrase", record.before, "before");
    add(record.before === undefined ? "Answer" : "Answer after paraphrase", record.outputs, "answer");
    return [gallery, texts, make("div", { class: "full" }, ...tokensOf(details)),
      make("div", { class: "full" }, make("h3", {}, "What is known about it"), make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "What is known about it" }, metaOf(record, details)))];
  }

  async function showRecord(id) {
    const dialog = one("#record");
    const number = id ? records.findIndex((record) => record.id === id) : -1;
    if (number < 0) return dialog.close();
    const place = shown.indexOf(number);
    one("#place").textContent = place < 0 ? records[number].source : `${(place + 1).toLocaleString("en")} of ${shown.length.toLocaleString("en")}`;
    for (const button of dialog.querySelectorAll("[data-step]")) button.disabled = place < 0 || shown[place + Number(button.dataset.step)] === undefined;
    let content;
    try {
      content = opened(records[number], await detailsOf(number));
    } catch (error) {
      content = [make("p", { class: "full" }, `${error.message}; write the pages again with m3it browse.`)];
    }
    if (state().get("id") !== id) return; // another one was opened meanwhile
    one("#opened").replaceChildren(...content);
    dialog.scrollTop = 0;
    if (!dialog.open) dialog.showModal();
    dialog.focus(); // and not the first button
  }

  function step(by) {
    const place = shown.indexOf(records.findIndex((record) => record.id === state().get("id")));
    const next = place < 0 ? undefined : shown[place + by];
    if (next !== undefined) replace({ id: records[next].id });
  }

  function show() {
    const wanted = state();
    const view = VIEWS.includes(wanted.get("view")) ? wanted.get("view") : "records";
    for (const name of VIEWS) one(`#${name}`).hidden = name !== view;
    for (const tab of document.querySelectorAll("nav a")) {
      if (tab.dataset.view === view) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
    }
    if (view === "records") showRecords(wanted);
    showRecord(view === "records" ? wanted.get("id") : null);
  }

  function inTurn() {
    const seen = new Map();
    const turns = records.map((record) => {
      seen.set(record.source, (seen.get(record.source) || 0) + 1);
      return seen.get(record.source);
    });
    return [...records.keys()].sort((a, b) => turns[a] - turns[b] || a - b);
  }

  function fillSelects() {
    const form = one(".tools");
    for (const name of FILTERS) {
      const counts = new Map();
      for (const record of records) counts.set(record[name], (counts.get(record[name]) || 0) + 1);
      const values = name === "split" ? [...counts.keys()] : [...counts.keys()].sort();
      form.elements[name].append(...values.map((value) => make("option", { value }, `${name === "task" ? TASKS[value] || value : value} (${counts.get(value).toLocaleString("en")})`)));
      form.elements[name].hidden = counts.size < 2;
    }
    const kinds = Object.entries(KINDS).map(([value, [words, holds]]) => [value, words, records.filter(holds).length]).filter(([, , count]) => count > 0);
    form.elements.only.append(...kinds.map(([value, words, count]) => make("option", { value }, `${words} (${count.toLocaleString("en")})`)));
    form.elements.only.hidden = !kinds.length;
  }

  function listen() {
    const form = one(".tools");
    const dialog = one("#record");
    let timer = 0;
    form.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => replace({ page: "", id: "", ...Object.fromEntries(["q", "only", ...FILTERS].map((name) => [name, form.elements[name].value.trim()])) }), 120);
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    window.addEventListener("hashchange", () => { show(); });
    document.querySelector(".found.end").addEventListener("click", (event) => { if (event.target.closest("a")) scrollTo(0, 0); });
    dialog.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (event.target === dialog || (button && "close" in button.dataset)) replace({ id: "" });
      else if (button) step(Number(button.dataset.step));
    });
    dialog.addEventListener("cancel", (event) => { event.preventDefault(); replace({ id: "" }); });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (dialog.open && (event.key === "ArrowLeft" || event.key === "ArrowRight")) step(event.key === "ArrowLeft" ? -1 : 1);
      if (!dialog.open && event.key === "/" && !["INPUT", "SELECT"].includes(document.activeElement.tagName)) { event.preventDefault(); form.elements.q.focus(); }
    });
  }

  return {
    // Called by files/index.js with everything that the search needs.
    begin(data) {
      [records, chunkSize, licences] = [data.records, data.chunk, data.licences];
      for (const record of records) record.text = [record.instruction, record.inputs, record.outputs, record.before || "", record.system || "", record.id, ...(record.turns || []).flatMap((turn) => [turn.instruction, turn.inputs, turn.outputs])].join("\n").toLowerCase();
      order = inTurn();
      fillSelects();
      listen();
      show();
    },
    // Called by files/records/<n>.js with the details of its records.
    details(chunk, values) {
      waiting.get(chunk)(values);
    },
  };
})();

// The page of `m3it serve`. What people and models write becomes text nodes and never markup.
"use strict";

const byId = id => document.getElementById(id);
const FRAMES = 8;             // of a video, as in training
const LONGEST_SIDE = 2048;    // pixels; larger pictures are made smaller before they are sent
const TAKEN = ["image/png", "image/jpeg", "image/webp"];

const state = { facts: null, turns: [], tray: [], going: null };

function make(tag, fields = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(fields)) {
    if (name in element) element[name] = value; else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function fail(text) { byId("error").textContent = text; }

// Pictures -----------------------------------------------------------------------------------------------------------

function readAsUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name}: cannot be read`));
    reader.readAsDataURL(file);
  });
}

function loaded(tag, event, source) {
  return new Promise((resolve, reject) => {
    const element = document.createElement(tag);
    element.muted = true;
    element.addEventListener(event, () => resolve(element), { once: true });
    element.addEventListener("error", () => reject(new Error("it is no picture or video that this browser reads")), { once: true });
    element.src = source;
  });
}

function drawn(source, width, height) {
  const canvas = make("canvas", { width: Math.max(1, Math.round(width)), height: Math.max(1, Math.round(height)) });
  canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/png");
}

async function picturesOf(file) {
  if (file.type.startsWith("video/")) return framesOf(file);
  const original = await readAsUrl(file);
  const image = await loaded("img", "load", original);
  const scale = Math.min(1, LONGEST_SIDE / Math.max(image.naturalWidth, image.naturalHeight));
  const url = TAKEN.includes(file.type) && scale === 1
    ? original : drawn(image, image.naturalWidth * scale, image.naturalHeight * scale);
  return [await pictureOf(url, file.name || "pasted picture")];
}

async function pictureOf(url, name) {
  const image = await loaded("img", "load", url);
  const side = state.facts.limits.picture_size;
  const canvas = make("canvas", { width: side, height: side });
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  const cut = state.facts.limits.picture_fit === "crop" ? Math.min(width, height) : 0;
  const from = cut ? [(width - cut) / 2, (height - cut) / 2, cut, cut] : [0, 0, width, height];
  canvas.getContext("2d").drawImage(image, ...from, 0, 0, side, side);
  return { url, name, width, height, seen: canvas.toDataURL("image/png") };
}

async function framesOf(file) {
  const address = URL.createObjectURL(file);
  try {
    const video = await loaded("video", "loadeddata", address);
    const found = [];
    for (let number = 0; number < FRAMES; number++) {
      video.currentTime = video.duration * (2 * number + 1) / (2 * FRAMES);
      await new Promise(done => video.addEventListener("seeked", done, { once: true }));
      found.push(await pictureOf(drawn(video, video.videoWidth, video.videoHeight), `${file.name} frame ${number + 1}`));
    }
    return found;
  } finally {
    URL.revokeObjectURL(address);
  }
}

async function add(files) {
  fail("");
  for (const file of files) {
    try {
      state.tray.push(...await picturesOf(file));
    } catch (error) {
      fail(`${file.name || "the picture"}: ${error.message}`);
    }
  }
  showTray();
}

function figure(picture, remove) {
  const limits = state.facts.limits;
  const image = make("img", { src: picture.url, alt: picture.name });
  const caption = make("figcaption", {}, `${picture.width} × ${picture.height}, ${limits.picture_tokens} tokens`);
  const view = make("button", { type: "button", "aria-pressed": "false" }, "Model's view");
  view.addEventListener("click", () => {
    const seen = view.getAttribute("aria-pressed") === "false";
    view.setAttribute("aria-pressed", String(seen));
    image.src = seen ? picture.seen : picture.url;
    image.classList.toggle("seen", seen);
    caption.textContent = seen
      ? `${limits.picture_size} × ${limits.picture_size}, ${limits.picture_tokens} tokens`
      : `${picture.width} × ${picture.height}, ${limits.picture_tokens} tokens`;
  });
  const parts = [image, caption, view];
  if (remove) parts.push(make("button", { type: "button", onclick: remove, ariaLabel: `Remove ${picture.name}` }, "Remove"));
  return make("li", {}, make("figure", {}, ...parts));
}

function showTray() {
  byId("tray").replaceChildren(...state.tray.map((picture, number) => figure(picture, () => {
    state.tray.splice(number, 1);
    showTray();
    byId("question").focus();
  })));
  const count = state.tray.length;
  byId("count").textContent = count ? `${count} picture${count === 1 ? "" : "s"}` : "";
}

// Requests -----------------------------------------------------------------------------------------------------------

function content(turn) {
  if (!turn.pictures.length) return turn.text;
  const parts = turn.pictures.map(picture => ({ type: "image_url", image_url: { url: picture.url } }));
  return [...parts, { type: "text", text: turn.text }];
}

function request(turns) {
  const body = { model: state.facts.model, messages: [] };
  if (byId("system").value.trim()) body.messages.push({ role: "system", content: byId("system").value });
  for (const turn of turns) {
    body.messages.push({ role: "user", content: content(turn) });
    if (turn.answer) body.messages.push({ role: "assistant", content: turn.answer });
  }
  body.temperature = Number(byId("temperature").value);
  body.top_p = Number(byId("top-p").value);
  body.max_tokens = Number(byId("max-tokens").value) || 128;
  if (byId("seed").value !== "") body.seed = Number(byId("seed").value);
  if (byId("stop-text").value) body.stop = [byId("stop-text").value];
  return body;
}

function asked(turn) {
  if (byId("history").checked) return [...state.turns.filter(one => one.answer), turn];
  // Pictures stay in view: the last ones that were shown.
  const shown = [...state.turns, turn].findLast(one => one.pictures.length);
  return [{ ...turn, pictures: turn.pictures.length || !shown ? turn.pictures : shown.pictures }];
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      if (!part.startsWith("data: ") || part === "data: [DONE]") continue;
      const event = JSON.parse(part.slice(6));
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

async function ask(turn) {
  const abort = new AbortController();
  state.going = abort;
  const began = performance.now();
  const body = { ...request(asked(turn)), stream: true, stream_options: { include_usage: true } };
  const shown = showTurn("assistant", "", []);
  shown.classList.add("going");
  const text = shown.querySelector(".text"), note = shown.querySelector(".note");
  let usage = null, first = 0, finish = "";
  setGoing(true);
  try {
    const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    const response = await fetch("v1/chat/completions", { ...options, signal: abort.signal });
    if (!response.ok) {
      const refused = await response.json().catch(() => null);
      throw new Error(refused?.error?.message || `the server answered ${response.status}`);
    }
    for await (const event of events(response)) {
      usage = event.usage || usage;
      const choice = event.choices[0];
      if (!choice) continue;
      finish = choice.finish_reason || finish;
      if (choice.delta.content) {
        first = first || performance.now() - began;
        turn.answer += choice.delta.content;
        text.textContent = turn.answer;
        shown.scrollIntoView({ block: "nearest" });
      }
    }
  } catch (error) {
    if (error.name === "AbortError") finish = "stopped";
    else {
      finish = "failed";
      fail(error instanceof TypeError ? "the server cannot be reached; is it still running?" : error.message);
    }
  } finally {
    state.going = null;
    shown.classList.remove("going");
    setGoing(false);
  }
  const facts = [];
  if (finish === "stopped") facts.push("stopped");
  if (finish === "length") facts.push("cut at the most new tokens");
  if (usage) facts.push(`${usage.completion_tokens} tokens for ${usage.prompt_tokens}`);
  if (first) facts.push(`first after ${(first / 1000).toFixed(2)} s`);
  note.textContent = facts.join(", ");
  shown.scrollIntoView({ block: "nearest" });
  if (finish === "failed" && !turn.answer) {  // the question comes back, to be mended and sent again
    shown.previousElementSibling.remove();
    shown.remove();
    state.turns.pop();
    byId("question").value = turn.text;
    state.tray = turn.pictures;
    showTray();
    showEmpty();
  } else if (!turn.answer) text.textContent = "(no text)";
  byId("question").focus();
}

// The conversation ---------------------------------------------------------------------------------------------------

function showTurn(role, text, pictures) {
  const shown = make("article", { className: `turn ${role}` },
    make("h3", {}, role === "user" ? "You" : "Model"),
    make("ul", { className: "shots", ariaLabel: "Pictures" }, ...pictures.map(picture => figure(picture))),
    make("div", { className: "text", dir: "auto" }, text),
    make("div", { className: "note" }));
  if (!pictures.length) shown.querySelector(".shots").remove();
  byId("log").append(shown);
  showEmpty();
  return shown;
}

function showEmpty() { byId("empty").hidden = byId("log").querySelector(".turn") !== null; }

function setGoing(going) {
  byId("send").disabled = going;
  byId("stop").hidden = !going;
}

function send() {
  const text = byId("question").value.trim();
  if (state.going) return;
  if (!text) {
    fail("Say what to do with the picture, for instance: What is in the picture?");
    byId("question").focus();
    return;
  }
  fail("");
  const turn = { text, pictures: state.tray, answer: "" };
  state.tray = [];
  byId("question").value = "";
  showTray();
  showTurn("user", text, turn.pictures);
  const done = ask(turn);
  state.turns.push(turn);
  return done;
}

function startAnew() {
  state.going?.abort();
  state.turns = [];
  state.tray = [];
  byId("log").querySelectorAll(".turn").forEach(element => element.remove());
  fail("");
  showTray();
  showEmpty();
  byId("question").focus();
}

function save() {
  const text = JSON.stringify({ model: state.facts.model, ...request(state.turns) }, null, 1);
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: "conversation.json" });
  link.click();
  URL.revokeObjectURL(link.href);
}

// As a program -------------------------------------------------------------------------------------------------------

function program(kind) {
  const turn = { text: byId("question").value.trim() || "What is in the picture?", pictures: state.tray, answer: "" };
  const last = state.turns.at(-1);
  const empty = !byId("question").value.trim() && !state.tray.length && last;
  const body = request(empty ? asked({ ...last, answer: "" }).slice(-1) : asked(turn));
  const text = JSON.stringify(body, null, 2);
  const address = new URL("v1", location.href).href;
  if (kind === "curl") {
    return `curl ${address}/chat/completions -H 'Content-Type: application/json' `
      + `-H "Authorization: Bearer $M3IT_SERVE_KEY" -d @- <<'JSON'\n${text}\nJSON\n`;
  }
  return "import json\nimport os\n\nimport openai\n\n"
    + `client = openai.OpenAI(base_url=${JSON.stringify(address)}, api_key=os.environ.get("M3IT_SERVE_KEY", "none"))\n`
    + `request = json.loads(r"""${JSON.stringify(body).replaceAll('"""', '\\u0022\\u0022\\u0022')}""")\n`
    + "print(client.chat.completions.create(**request).choices[0].message.content)\n";
}

async function copy(kind) {
  const code = byId("code");
  code.value = program(kind);
  code.hidden = false;
  try {
    await navigator.clipboard.writeText(code.value);
    byId("copied").textContent = "Copied.";
  } catch {  // without a permission the text is there to be copied by hand
    code.select();
    byId("copied").textContent = "Select the text and copy it.";
  }
}

// Settings -----------------------------------------------------------------------------------------------------------

function showFacts(facts) {
  state.facts = facts;
  document.title = `${facts.model} · m3it`;
  byId("model").textContent = facts.model;
  const about = facts.about, parts = [];
  if (about.variant) parts.push(about.variant);
  if (about.parameters) parts.push(`${(about.parameters / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} million parameters`);
  if (about.step) parts.push(`step ${about.step}`);
  if (about.device) parts.push(about.device);
  parts.push(`room for ${facts.limits.tokens} tokens, ${facts.limits.picture_tokens} of each picture`);
  byId("about").textContent = parts.join(" · ");
  byId("max-tokens").max = facts.limits.tokens;
  byId("task").replaceChildren(...Object.keys(facts.templates).map(task => make("option", { value: task }, task.replaceAll("_", " "))));
  byId("task").closest("details").hidden = !Object.keys(facts.templates).length;
  showTemplates();
  const talks = facts.asked.some(row => (row.num_turns || 1) > 1);
  byId("history").checked = talks || !facts.asked.length;
  const byTask = new Map(facts.asked.map(row => [row.task, row]));
  byId("examples").replaceChildren(...[...byTask.values()].slice(0, 6).map(row => {
    const text = [row.instruction, row.inputs].filter(Boolean).join("\n");
    return make("li", {}, make("button", { type: "button", dir: "auto", onclick: () => useText(text) }, text));
  }));
}

function showTemplates() {
  const texts = state.facts.templates[byId("task").value] || [];
  byId("template").replaceChildren(...texts.map(text => make("option", { value: text, dir: "auto" }, text)));
}

function useText(text) {
  byId("question").value = text;
  byId("question").focus();
}

function bind() {
  byId("composer").addEventListener("submit", event => { event.preventDefault(); send(); });
  byId("question").addEventListener("keydown", event => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
  });
  document.addEventListener("keydown", event => { if (event.key === "Escape") state.going?.abort(); });
  byId("stop").addEventListener("click", () => state.going?.abort());
  byId("new").addEventListener("click", startAnew);
  byId("save").addEventListener("click", save);
  byId("files").addEventListener("change", event => { add([...event.target.files]).then(() => { event.target.value = ""; }); });
  document.addEventListener("paste", event => {
    const files = [...event.clipboardData.files];
    if (files.length) { event.preventDefault(); add(files); }
  });
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, event => { event.preventDefault(); byId("composer").classList.add("over"); });
  }
  for (const kind of ["dragleave", "drop"]) {
    document.addEventListener(kind, event => { event.preventDefault(); byId("composer").classList.remove("over"); });
  }
  document.addEventListener("drop", event => add([...event.dataTransfer.files]));
  for (const name of ["temperature", "top-p"]) {
    byId(name).addEventListener("input", () => { byId(`${name}-value`).textContent = byId(name).value; });
  }
  byId("task").addEventListener("change", showTemplates);
  byId("use").addEventListener("click", () => useText(byId("template").value));
  byId("copy-curl").addEventListener("click", () => copy("curl"));
  byId("copy-python").addEventListener("click", () => copy("python"));
  const direction = new URLSearchParams(location.search).get("dir");
  if (["rtl", "ltr"].includes(direction)) document.documentElement.dir = direction;
}

bind();
fetch("page.json")
  .then(response => response.json())
  .then(showFacts)
  .catch(() => fail("the server cannot be reached; is it still running?"));

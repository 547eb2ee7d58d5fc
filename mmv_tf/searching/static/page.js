// The page of a search. Texts from files are only ever set as textContent; the whole state is in the address.
const $ = (id) => document.getElementById(id);
const token = document.querySelector("meta[name=token]").content;
const PAGE = 24;
let hits = [], total = 0, current = null, asking = 0;

const asked = () => new URLSearchParams(location.hash.slice(1));

function go(changes, replace = false) {
  const query = asked();
  for (const [name, value] of Object.entries(changes)) value === null || value === "" ? query.delete(name) : query.set(name, value);
  const address = "#" + query;
  if (address === location.hash) return show();
  if (replace) { history.replaceState(null, "", address); show(); } else location.hash = address;
}

async function answer(path, options) {
  const got = await fetch(path, options);
  if (got.ok) return got.json();
  let detail = got.statusText;
  try { detail = (await got.json()).detail; } catch { /* not ours */ }
  const error = new Error(typeof detail === "string" ? detail : "this cannot be asked");
  error.status = got.status;
  throw error;
}

const FILTERS = ["folder", "name", "label", "kind", "after", "before", "min_seconds", "max_seconds"];

function question(query) {
  const names = ["text", "upload", "like", "unlike", "within", ...FILTERS];
  const found = new URLSearchParams();
  for (const name of names) if (query.get(name)) found.set(name, query.get(name));
  for (const [name, days] of [["after", 0], ["before", 1]]) {  // a day of this place, the last one with all of it
    const day = /^(\d+)-(\d+)-(\d+)$/.exec(found.get(name) || "");
    day ? found.set(name, new Date(day[1], day[2] - 1, Number(day[3]) + days).getTime() / 1000) : found.delete(name);
  }
  const balance = query.get("balance"), other = joined(query);
  if (balance !== null && other && found.get("text")) found.set("weights", `text=${balance},${other}=${Number((1 - balance).toFixed(3))}`);
  return found;
}

// What is asked with beside the words, as the weights call it, or null.
const joined = (query) => query.get("upload") ? query.get("what") : query.get("like") ? "like" : null;
const CALLED = { image: "the picture", sound: "the sound", video: "the clip", like: "the moment" };

async function show() {
  const query = asked(), found = question(query), number = ++asking;
  $("text").value = query.get("text") || "";
  $("within").value = query.get("within") || "both";
  for (const name of FILTERS) $(name).value = query.get(name) || "";
  if (FILTERS.some((name) => query.get(name))) $("filters").open = true;
  const other = joined(query);
  $("with").hidden = !other;
  $("what").textContent = other ? `With ${CALLED[other] ?? "the upload"}` : "";
  $("other").textContent = other ? CALLED[other] ?? "the upload" : "";
  $("balanced").hidden = !found.get("text");
  $("balance").value = query.get("balance") ?? 1 / 3;
  const player = query.get("play");
  if (!found.get("text") && !found.get("upload") && !found.get("like")) { draw([], 0); $("notes").textContent = ""; $("lists").hidden = true; return player ? play(Number(player)) : shut(); }
  const key = found.toString();
  if (key !== show.key) {
    try {
      const results = await patient(`/api/search?${found}&k=${PAGE}`);
      if (number !== asking) return;
      show.key = key;
      notes(results);
      draw(results.results, results.total);
      for (const form of ["csv", "json", "edl"]) $(form).href = `/api/search?${found}&k=200&form=${form}`;
      $("lists").hidden = !results.results.length;
    } catch (error) { show.key = null; $("notes").textContent = error.message; draw([], 0); }
  }
  player ? play(Number(player)) : shut();
}

async function patient(path) {
  for (;;) {
    try { return await answer(path); } catch (error) {
      if (error.status !== 503) throw error;
      $("notes").textContent = error.message;
      await new Promise((done) => setTimeout(done, 700));
    }
  }
}

function notes(results) {
  const said = [...results.notes];
  if (!results.results.length) said.push("nothing found");
  $("notes").textContent = said.join(". ");
}

function draw(found, count) { hits = found; total = count; $("hits").replaceChildren(...hits.map(card)); $("more").hidden = hits.length >= total; }

function card(hit) {
  const item = document.createElement("li"), button = document.createElement("button"), strip = document.createElement("span");
  button.className = "hit"; button.type = "button"; button.dataset.id = hit.id;
  strip.className = hit.kind === "sound" ? "strip sound" : "strip";
  strip.style.backgroundImage = `url(/api/picture/${hit.id})`;
  const about = document.createElement("span"), name = document.createElement("b"), why = document.createElement("span");
  about.className = "about"; why.className = "why";
  name.textContent = hit.file;
  const place = hit.percentile === null ? "" : `, above ${hit.percentile} % of all`;
  const also = hit.also_in.length ? `; also in ${hit.also_in.length} more` : "";
  const words = hit.words ? `: ${hit.words}` : "";
  why.textContent = `${clock(hit.start)} to ${clock(hit.end)}; by ${hit.matched.join(", ")}${words}${place}${also}`;
  why.title = hit.score === null ? "" : `cosine ${hit.score}`;
  about.append(name, why);
  button.append(strip, about);
  button.addEventListener("click", () => go({ play: hit.id, from: null, to: null }));
  item.append(button);
  return item;
}

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String((seconds % 60).toFixed(1)).padStart(4, "0")}`;

async function play(id) {
  if (current && current.id === id) return;
  let file;
  try { file = await answer(`/api/moments/${id}`); } catch (error) { $("notes").textContent = error.message; return shut(); }
  const moment = file.moments.find((one) => one.id === id), query = asked();
  const known = hits.find((hit) => hit.id === id);
  current = { id, file, plays: known ? known.plays : false };
  $("title").textContent = file.file;
  $("from").value = query.get("from") ?? moment.start; $("to").value = query.get("to") ?? moment.end;
  $("trouble").textContent = "";
  timeline(); source();
  if (!$("player").open) $("player").showModal();
}

function span() { return [Number($("from").value), Number($("to").value)]; }

function source() {
  const video = $("video"), [from, to] = span();
  const preview = `/api/preview/${current.id}?start=${from}&end=${to}`;
  $("save").href = `${preview}&save=true`;
  video.dataset.kind = current.plays ? "file" : "preview";
  video.loop = !current.plays;
  video.src = current.plays ? `/api/file/${current.id}#t=${from},${to}` : preview;
  video.play().catch(() => { /* the browser wants a click first */ });
}

// Files that play as they are loop the span; what turns out not to show pictures becomes a preview.
$("video").addEventListener("timeupdate", () => {
  const [from, to] = span(), video = $("video");
  if (current && current.plays && (video.currentTime >= to || video.currentTime < from - 0.5)) { video.currentTime = from; video.play().catch(() => {}); }
});
$("video").addEventListener("loadeddata", () => {
  if (current && current.plays && !$("video").videoWidth && hits.find((hit) => hit.id === current.id)?.kind === "video") { current.plays = false; source(); }
});
$("video").addEventListener("error", async () => {
  if (!current || !$("video").src) return;
  if (current.plays) { current.plays = false; return source(); }
  const got = await fetch($("video").src);
  $("trouble").textContent = got.ok ? "this browser cannot play it" : (await got.json()).detail;
});

function timeline() {
  const { file, id } = current, found = new Set(hits.map((hit) => hit.id)), length = Math.max(file.seconds, 0.1);
  const shown = file.moments.filter((one) => found.has(one.id) || one.id === id);
  $("timeline").replaceChildren(...shown.map((one) => {
    const mark = document.createElement("button");
    mark.type = "button";
    mark.className = `${found.has(one.id) ? "found" : ""} ${one.id === id ? "now" : ""}`;
    mark.style.left = `${100 * one.start / length}%`; mark.style.width = `${100 * (one.end - one.start) / length}%`;
    mark.setAttribute("aria-label", `${clock(one.start)} to ${clock(one.end)}`);
    mark.addEventListener("click", () => go({ play: one.id, from: null, to: null }));
    return mark;
  }));
}

function shut() { current = null; const video = $("video"); video.pause(); video.removeAttribute("src"); if ($("player").open) $("player").close(); }

for (const id of ["from", "to"]) $(id).addEventListener("change", () => {
  const [from, to] = span();
  if (!(to > from)) { $("trouble").textContent = "the end must be after the start"; return; }
  $("trouble").textContent = "";
  const query = asked(); query.set("from", from); query.set("to", to);
  history.replaceState(null, "", "#" + query);
  source();
});
$("close").addEventListener("click", () => go({ play: null, from: null, to: null }));
$("player").addEventListener("cancel", (event) => { event.preventDefault(); go({ play: null, from: null, to: null }); });
$("like").addEventListener("click", () => go({ like: current.id, text: null, upload: null, what: null, balance: null, unlike: null, play: null, from: null, to: null }));
$("unlike").addEventListener("click", () => go({ unlike: current.id, play: null, from: null, to: null }));
$("ask").addEventListener("submit", (event) => { event.preventDefault(); go({ text: $("text").value.trim(), unlike: null, play: null, within: $("within").value, ...filters() }); });
const filters = () => Object.fromEntries(FILTERS.map((name) => [name, $(name).value.trim()]));
for (const name of FILTERS) $(name).addEventListener("change", () => go(filters()));
$("balance").addEventListener("change", () => go({ balance: $("balance").value }));
$("without").addEventListener("click", () => go({ like: null, upload: null, what: null, balance: null, unlike: null }));
$("within").addEventListener("change", () => go({ within: $("within").value }));
$("more").addEventListener("click", async () => {
  const results = await patient(`/api/search?${question(asked())}&k=${PAGE}&offset=${hits.length}`);
  hits = hits.concat(results.results);
  $("hits").append(...results.results.map(card));
  $("more").hidden = !results.results.length || hits.length >= results.total;
});

async function upload(file) {
  const kind = file.type.startsWith("image/") ? "image" : file.type.startsWith("audio/") ? "sound" : "video";
  const suffix = (/\.[A-Za-z0-9]{1,6}$/.exec(file.name || "") || [""])[0];
  if (file.size > 64 * 2 ** 20) { $("notes").textContent = "over 64 MiB: give a shorter piece"; return; }
  $("notes").textContent = "embedding it";
  try {
    const made = await answer(`/api/upload?kind=${kind}&suffix=${encodeURIComponent(suffix)}`, { method: "POST", body: file, headers: { "X-Token": token, "Content-Type": "application/octet-stream" } });
    go({ upload: made.upload, what: kind, balance: null, text: null, like: null, unlike: null, play: null });
  } catch (error) { $("notes").textContent = error.message; }
}
$("upload").addEventListener("change", () => { if ($("upload").files[0]) upload($("upload").files[0]); $("upload").value = ""; });
addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("drop"); });
addEventListener("dragleave", () => document.body.classList.remove("drop"));
addEventListener("drop", (event) => { event.preventDefault(); document.body.classList.remove("drop"); if (event.dataTransfer.files[0]) upload(event.dataTransfer.files[0]); });
addEventListener("paste", (event) => { const file = [...event.clipboardData.files][0]; if (file) { event.preventDefault(); upload(file); } });

let recorder = null;
$("record").addEventListener("click", async () => {
  if (recorder) return recorder.stop();
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true }), parts = [];
    recorder = new MediaRecorder(stream);
    recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    recorder.addEventListener("stop", () => {
      for (const track of stream.getTracks()) track.stop();
      recorder = null; $("record").textContent = "Record a sound";
      upload(new File(parts, "sound.webm", { type: "audio/webm" }));
    });
    recorder.start();
    $("record").textContent = "Stop";
  } catch (error) { $("notes").textContent = `no microphone: ${error.message}`; }
});

async function state() {
  try {
    const now = await answer("/api/state");
    const network = now.error ? `; the network cannot be loaded: ${now.error}` : now.loaded ? "" : "; network loading";
    $("state").textContent = `${now.files} files, ${now.moments} moments of ${now.seconds} s${network}`;
    if (!now.queries.includes("text")) $("text").placeholder = "only words in narrations and names: this module has no text";
    $("left").hidden = !now.unreadable;
    $("left").querySelector("summary").textContent = `${now.unreadable} files that cannot be read`;
    $("said").hidden = !now.remarks;
    $("said").querySelector("summary").textContent = `${now.remarks} remarks on captions`;
    if (state.generation !== now.generation) choices();
    if (state.generation !== undefined && state.generation !== now.generation) { show.key = null; show(); }
    state.generation = now.generation;
    setTimeout(state, now.loaded ? 2000 : 500);
  } catch { $("state").textContent = "the server has ended"; setTimeout(state, 3000); }
}
for (const [part, path, list] of [["left", "/api/unreadable", "unreadable"], ["said", "/api/remarks", "remarks"]]) $(part).addEventListener("toggle", async () => {
  if (!$(part).open) return;
  const rows = await answer(path);
  $(list).replaceChildren(...rows.map((row) => { const item = document.createElement("li"); item.textContent = `${row.file}: ${row.reason}${row.detail ? `: ${row.detail}` : ""}`; return item; }));
});
async function choices() {
  const known = await answer("/api/choices");
  for (const name of ["folders", "labels"]) $(name).replaceChildren(...known[name].map((value) => { const option = document.createElement("option"); option.value = value; return option; }));
}
addEventListener("hashchange", show);
state();
show();

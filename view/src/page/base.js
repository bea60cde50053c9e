// What all parts share: the state of the page, words, times, requests.
// Text from a node or a peer enters the page by `textContent` alone.

const at = (id) => document.getElementById(id);

const page = {
  summary: null,
  rows: new Map(), // by id: the latest that is known of a peer in the list
  order: [], // ids in the order of the list
  next: null, // where the list goes on
  matching: 0,
  counts: {},
  state: "all",
  search: "",
  peer: null, // the id of the peer that is open
  detail: null,
  token: null,
  skew: 0, // how far this clock is ahead of the node's, in milliseconds
  rest: 0, // when `detail` was read, by performance.now()
};

const WORDS = {
  all: "All", trouble: "In trouble", open: "Open", half_open: "Half-open", closed: "Closed",
  forced_open: "Banned", metrics_only: "Metrics only", disabled: "Not guarded",
};
const word = (state) => WORDS[state] ?? state;

/** What a peer is shown as: a closed circuit with a running streak is in trouble. */
const shownAs = (peer) =>
  peer.status === "closed" && peer.consecutive_failures > 0 ? "trouble" : peer.status;

function make(name, text, type) {
  const node = document.createElement(name);
  if (text !== undefined && text !== null) node.textContent = text;
  if (type) node.className = type;
  return node;
}

/** The sign of a state, beside its word: no state is told by color alone. */
function mark(state) {
  const sign = make("i", null, "mark");
  sign.dataset.status = state;
  return sign;
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const count = new Intl.NumberFormat("en").format;

/** A time in seconds, as people say it. */
function span(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([length]) => whole >= length);
  const [length, unit] = parts[first];
  const [less, lesser] = parts[first + 1];
  const rest = Math.floor((whole % length) / less);
  return `${Math.floor(whole / length)} ${unit}` + (rest ? ` ${rest} ${lesser}` : "");
}

const latency = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1000)} ms` : span(seconds));

/** How long ago a time of day of the node was. */
function ago(text) {
  const seconds = (Date.now() - page.skew - Date.parse(text)) / 1000;
  return seconds < 1 ? "now" : `${span(seconds < 10 ? Math.floor(seconds) + 0.001 : seconds).replace(/\.0 /, " ")} ago`;
}

const clock = (text) => new Date(text).toLocaleString();

/** The end of an id is enough to tell peers apart at a glance. */
const short = (id) => (id.length > 16 ? `${id.slice(0, 10)}…` : id);

/** The address of this view, wherever it is mounted. */
const base = location.pathname.endsWith("/") ? location.pathname : `${location.pathname}/`;

async function ask(path, options) {
  const answer = await fetch(base + path, { cache: "no-store", ...options });
  const body = await answer.json().catch(() => ({ error: `status ${answer.status}` }));
  if (answer.ok) return body;
  throw Object.assign(new Error(body.error), { status: answer.status });
}

const control = (path, body) =>
  ask(`api/${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${page.token}`, "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });

/** Notes when a peer may be called, by this page's clock, which no one sets. */
function timed(peer) {
  const after = peer.next_admission?.after;
  peer.due = after === undefined ? null : performance.now() + after * 1000;
  return peer;
}

/** When a peer is called next, in a word. */
function nextCall(peer) {
  if (peer.due !== null) {
    const rest = (peer.due - performance.now()) / 1000;
    return rest > 0.05 ? `in ${span(rest)}` : "due";
  }
  if (peer.next_admission === "now") return peer.status === "open" ? "due" : "any time";
  return peer.status === "forced_open" ? "not before a reset" : "after its probes";
}

/** The address line keeps what is shown, so that it can be sent to someone. */
function remember(push) {
  const kept = new URLSearchParams();
  if (page.state !== "all") kept.set("state", page.state);
  if (page.search) kept.set("q", page.search);
  if (page.peer !== null) kept.set("peer", page.peer);
  const address = kept.size ? `#${kept}` : location.pathname + location.search;
  history[push ? "pushState" : "replaceState"](null, "", address);
}

function recall() {
  const kept = new URLSearchParams(location.hash.slice(1));
  page.state = Object.hasOwn(WORDS, kept.get("state")) ? kept.get("state") : "all";
  page.search = kept.get("q") ?? "";
  page.peer = kept.get("peer");
}

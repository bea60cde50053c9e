// The overview and the list of peers.

const BAR = ["closed", "half_open", "open", "overridden"];
const FILTERS = ["all", "trouble", "open", "half_open", "closed", "forced_open", "metrics_only", "disabled"];
const RARE = ["forced_open", "metrics_only", "disabled"];

for (const state of BAR) at("bar").append(Object.assign(make("div"), { id: `bar-${state}` }));
for (const state of FILTERS) {
  const button = make("button");
  button.type = "button";
  button.dataset.status = state;
  const name = make("span");
  name.append(mark(state), word(state));
  button.append(make("b", "–"), name);
  button.onclick = () => show(state);
  at("filters").append(button);
}

function showOverview() {
  const sum = page.summary;
  if (!sum) return;
  write(at("title"), sum.title);
  const bad = sum.open + sum.half_open;
  document.title = bad ? `(${count(bad)}) ${sum.title}` : sum.title;
  const parts = BAR.map((state) => [state, sum[state]]);
  for (const [state, peers] of parts) {
    const part = at(`bar-${state}`);
    part.style.flexGrow = peers;
    part.style.background = `var(--${state === "overridden" ? "forced_open" : state})`;
    part.classList.toggle("some", peers > 0);
  }
  const told = parts.map(([state, peers]) => `${count(peers)} ${word(state).toLowerCase()}`);
  at("bar").setAttribute("aria-label", `${count(sum.known)} peers: ${told.join(", ")}`);
  // The summary is the latest; what it does not tell apart is from the list.
  const counts = { ...page.counts, all: sum.known, open: sum.open, half_open: sum.half_open, closed: sum.closed };
  for (const button of at("filters").children) {
    const state = button.dataset.status;
    write(button.firstChild, counts[state] === undefined ? "–" : count(counts[state]));
    button.setAttribute("aria-pressed", state === page.state);
    button.hidden = RARE.includes(state) && !counts[state] && state !== page.state;
  }
}

function show(state) {
  page.state = state;
  remember(false);
  showOverview();
  load();
}

const CELLS = ["state", "who", "wait", "good", "failed", "opened", "latency", "error"];
const UNSEEN = { good: "good calls", failed: "failed", opened: "times opened", latency: "latency", wait: "next call" };

function newRow(id) {
  const row = make("li");
  const link = make("a");
  link.href = `#${new URLSearchParams({ peer: id })}`;
  link.onclick = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    openPeer(id);
  };
  for (const name of CELLS) {
    const cell = make("span", null, ["good", "failed", "opened", "latency"].includes(name) ? `${name} n` : name);
    if (UNSEEN[name]) cell.append(make("span", `${UNSEEN[name]} `, "unseen"));
    if (name === "state") cell.append(mark("closed"));
    cell.append(make("span"));
    if (name === "who") cell.append(make("small"));
    link.append(cell);
  }
  row.append(link);
  return row;
}

const drawn = new Map(); // by id: the list item
const cell = (row, name) => row.querySelector(`.${name} > span:not(.unseen)`);

function drawRow(id) {
  const peer = page.rows.get(id);
  const row = drawn.get(id) ?? newRow(id);
  drawn.set(id, row);
  const link = row.firstChild;
  link.dataset.status = shownAs(peer);
  row.querySelector(".mark").dataset.status = shownAs(peer);
  link.setAttribute("aria-current", id === page.peer);
  write(cell(row, "state"), word(shownAs(peer)));
  write(cell(row, "who"), peer.label ?? short(peer.id));
  cell(row, "who").className = peer.label ? "" : "bare";
  write(row.querySelector("small"), peer.label ? short(peer.id) : "");
  const { succeeded, failed, opened, reported_successes: good, reported_errors: bad } = peer.totals;
  const numbers = { good: succeeded + good, failed: failed + bad, opened };
  for (const [name, number] of Object.entries(numbers)) {
    write(cell(row, name), count(number));
    cell(row, name).classList.toggle("zero", number === 0);
  }
  write(cell(row, "latency"), peer.latency === null ? "" : latency(peer.latency));
  write(cell(row, "error"), peer.last_error?.error ?? "");
  cell(row, "error").title = peer.last_error?.error ?? "";
  drawWait(id);
  return row;
}

function drawWait(id) {
  const peer = page.rows.get(id);
  const calm = peer.status === "closed" || peer.status === "disabled" || peer.status === "metrics_only";
  write(cell(drawn.get(id), "wait"), calm ? "" : nextCall(peer));
}

function showList() {
  const rows = at("rows");
  const focused = document.activeElement;
  for (const [id, row] of drawn) {
    if (!page.rows.has(id)) {
      row.remove();
      drawn.delete(id);
    }
  }
  page.order.forEach((id, place) => {
    const row = drawRow(id);
    if (rows.children[place] !== row) rows.insertBefore(row, rows.children[place] ?? null);
  });
  if (focused !== document.activeElement && rows.contains(focused)) focused.focus({ preventScroll: true });
  const shown = page.order.length;
  const of = page.matching > shown ? ` of ${count(page.matching)}` : "";
  write(at("shown"), shown ? `${count(shown)}${of} ${page.matching === 1 ? "peer" : "peers"}, the worst first` : "");
  at("none").hidden = shown > 0;
  write(at("none"), page.search || page.state !== "all" ? "No peer is like that." : "No peer is known yet.");
  at("more").hidden = page.next === null;
  showOverview();
}

const PAGE = 100;
const MOST = 500;
let loading = 0;

/** Reads as many peers as are shown already, or more. */
async function load(wanted = PAGE) {
  const turn = ++loading;
  const [rows, order] = [new Map(), []];
  let after = null;
  let last;
  try {
    do {
      const query = new URLSearchParams({ state: page.state, limit: Math.min(wanted - order.length, MOST) });
      if (page.search) query.set("q", page.search);
      if (after !== null) query.set("after", after);
      last = await ask(`api/peers?${query}`);
      if (turn !== loading) return; // another choice was made meanwhile
      for (const peer of last.peers) {
        if (!rows.has(peer.id)) order.push(peer.id);
        rows.set(peer.id, timed(peer));
      }
      after = last.next;
    } while (after !== null && order.length < wanted);
  } catch {
    return; // the stream says that the node is gone
  }
  Object.assign(page, { rows, order, next: last.next, matching: last.matching, counts: last.counts });
  showList();
}

at("more").onclick = () => load(page.order.length + PAGE);

let typing;
at("search").oninput = () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    page.search = at("search").value.trim();
    remember(false);
    load();
  }, 150);
};

// Arrows lead through the list, as Tab does.
at("rows").onkeydown = (event) => {
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const row = document.activeElement?.closest("li");
  if (!step || !row) return;
  event.preventDefault();
  row[step]?.firstChild.focus();
};

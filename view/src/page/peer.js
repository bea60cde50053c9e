// One peer: what it is now, and what happened to it. The driver. Controls.

const STATUS = {
  closed: "all calls go through", trouble: "its last calls failed, and calls still go through",
  open: "calls are refused", half_open: "a few probes decide", forced_open: "an operator bans it",
  disabled: "all calls go through, and nothing is recorded", metrics_only: "all calls go through, and it never opens",
};
const FAULTS = { peer: "the peer’s fault", link: "the fault of the way to it", local: "a fault of this node", document: "a fault of the document" };
const KINDS = { opened: "open", half_opened: "half_open", closed: "closed", reset: "closed", local_outage: "trouble" };

function facts(list, pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  list.replaceChildren(...shown.flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
}

function eventLine(event, named) {
  const line = make("li");
  const what = make("span");
  if (named) {
    const link = make("a", event.label ?? short(event.peer));
    link.href = `#${new URLSearchParams({ peer: event.peer })}`;
    link.onclick = (click) => {
      click.preventDefault();
      openPeer(event.peer);
    };
    what.append(link, " ");
  }
  what.append(event.text);
  const time = make("time", ago(event.at));
  time.dateTime = event.at;
  time.title = clock(event.at);
  line.append(mark(KINDS[event.kind] ?? event.status ?? "disabled"), what, time);
  if (event.error && !named) line.append(make("q", event.error.error));
  return line;
}

function openPeer(id) {
  if (page.peer === id) return at("peer").focus({ preventScroll: true });
  Object.assign(page, { peer: id, detail: null });
  remember(true);
  showPeer();
  at("side").scrollTop = 0;
  loadPeer().then(() => at("peer").focus({ preventScroll: true }));
}

function closePeer() {
  const row = drawn.get(page.peer);
  Object.assign(page, { peer: null, detail: null });
  remember(true);
  showPeer();
  row?.firstChild.focus();
}

async function loadPeer() {
  const id = page.peer;
  if (id === null) return;
  let detail;
  try {
    detail = timed(await ask(`api/peers/${encodeURIComponent(id)}`));
  } catch (error) {
    if (error.status !== 404) return; // the stream says that the node is gone
    detail = { id, gone: true, story: [] };
  }
  if (id !== page.peer) return;
  Object.assign(page, { detail, rest: performance.now() });
  if (page.rows.has(id) && !detail.gone) page.rows.set(id, { ...page.rows.get(id), ...detail });
  showPeer();
  if (drawn.has(id)) drawRow(id);
}

function showPeer() {
  const { peer: id, detail } = page;
  for (const [other, row] of drawn) row.firstChild.setAttribute("aria-current", other === id);
  at("peer").hidden = id === null;
  if (id === null) return;
  const known = detail ?? page.rows.get(id) ?? { id };
  write(at("peer-name"), known.label ?? short(id));
  write(at("peer-id").firstChild, id);
  at("peer-error").replaceChildren();
  at("peer-mark").dataset.status = known.status ? shownAs(known) : "disabled";
  showWait();
  if (!known.status) {
    facts(at("peer-facts"), []);
    return at("story").replaceChildren();
  }
  showError(known);
  const { totals, window } = known;
  const { refused } = totals;
  const wait = detail?.waiting;
  facts(at("peer-facts"), [
    ["Failures in a row", count(known.consecutive_failures)],
    ["Good calls", count(totals.succeeded + totals.reported_successes)],
    ["Failed calls", count(totals.failed + totals.reported_errors)],
    ["No outcome, or abandoned", count(totals.neutral + totals.abandoned + totals.late)],
    ["Refused", count(refused.open + refused.probes_in_flight + refused.forced_open)],
    ["Times opened", count(totals.opened)],
    ["Latency", known.latency === null ? "unknown" : latency(known.latency)],
    ["Probes out", known.status === "half_open" ? count(known.probes_in_flight) : null],
    ["In the window", window.total ? `${count(window.failures)} failed, ${count(window.slow)} slow of ${count(window.total)}` : null],
    ["The driver", wait ? (wait.until > 0 ? `${wait.text}, ${span(wait.until)}` : wait.text) : null],
  ]);
  at("story").replaceChildren(...(detail?.story ?? []).map((event) => eventLine(event, false)));
  if (detail && !detail.story.length) at("story").append(make("li", "Nothing since this view was started."));
  showControls();
}

function showError(peer) {
  if (!peer.last_error) return;
  const { error, fault, counts, sources } = peer.last_error;
  const quote = make("p");
  quote.append(make("q", [error, ...(sources ?? [])].join(": ")));
  const time = peer.last_error_at ? `, ${ago(peer.last_error_at)}` : "";
  const whose = `${FAULTS[fault] ?? fault}${counts ? "" : ", so it does not count"}${time}`;
  at("peer-error").append(quote, make("p", `Last error: ${whose}`));
}

function showWait() {
  const { peer: id, detail } = page;
  if (id === null) return;
  const known = detail ?? page.rows.get(id);
  if (!known?.status) {
    write(at("peer-status"), detail?.gone ? "The registry does not know this peer." : "…");
    at("wait").hidden = true;
    return;
  }
  const as = shownAs(known);
  const due = as === "open" || as === "forced_open" ? `, next call ${nextCall(known)}` : "";
  const text = `${word(as)}: ${STATUS[as]}${due}`;
  if (at("peer-status").textContent !== text) {
    at("peer-status").replaceChildren(make("b", word(as)), text.slice(word(as).length));
  }
  // The bar is full when the wait is over.
  const rest = known.due === null ? 0 : (known.due - performance.now()) / 1000;
  const past = (known.open_for ?? 0) + (performance.now() - page.rest) / 1000;
  at("wait").hidden = !(rest > 0 && known.open_for !== null && detail);
  at("wait").firstChild.style.width = `${Math.min(100, (100 * past) / (past + rest))}%`;
}

function showDriver() {
  const { driver, budget, totals, controls } = page.summary;
  at("driver").hidden = !driver;
  if (driver) {
    const numbers = [["running", driver.running], ["waiting", driver.waiting], ["calls begun", driver.started]];
    at("driver-numbers").replaceChildren(...numbers.map(([name, number]) => {
      const pair = make("div");
      pair.append(make("dt", name), make("dd", count(number)));
      return pair;
    }));
    const reasons = { slot: "for a free slot", retry: "to try again", local: "for this node itself", circuit: "for an open circuit", probes: "for probes of others", session: "since sessions end too soon" };
    facts(at("driver-facts"), [
      ...Object.entries(driver.reasons).map(([reason, peers]) => [`Waiting ${reasons[reason] ?? reason}`, count(peers)]),
      ["Succeeded", count(driver.succeeded)],
      ["Failed", count(driver.failed)],
      ["Given up", count(driver.given_up)],
      ["Retries without budget", driver.retries_refused ? count(driver.retries_refused) : null],
      ["Strangers refused", driver.strangers_refused ? count(driver.strangers_refused) : null],
      ["Retry budget", budget ? `${budget.tokens.toFixed(1)} tokens${budget.allows_retry ? "" : ", none to spend"}` : null],
    ]);
  }
  at("calls").hidden = !totals;
  if (totals) {
    const { all } = totals;
    facts(at("calls-facts"), [
      ["Good", count(all.succeeded + all.reported_successes)],
      ["Failed", count(all.failed + all.reported_errors)],
      ["No outcome, or abandoned", count(all.neutral + all.abandoned + all.late)],
      ["Refused", count(all.refused.open + all.refused.probes_in_flight + all.refused.forced_open)],
      ["Peers forgotten or removed", count(totals.evicted + totals.removed)],
      ["Without room in the table", totals.untracked ? count(totals.untracked) : null],
    ]);
  }
  at("unlock").hidden = !controls;
  write(at("unlock"), page.token === null ? "Unlock controls" : "Lock controls");
}

const BANS = [[600, "10 minutes"], [3600, "an hour"], [86400, "a day"], [null, "ever"]];

function button(text, act) {
  const made = make("button", text);
  made.type = "button";
  made.onclick = act;
  return made;
}

async function act(box, path, body) {
  const note = box.querySelector("p") ?? box.appendChild(make("p"));
  try {
    const { done } = await control(path, body);
    note.textContent = done ? "Done." : "There was nothing to do.";
  } catch (error) {
    if (error.status === 401) page.token = null;
    note.textContent = error.message;
  }
  note.setAttribute("role", "status");
  loadPeer();
  load(page.order.length);
  if (page.token === null) showDriver();
}

let controlled = null; // whose controls are drawn, and in which state

function showControls() {
  const box = at("peer-controls");
  const { peer: id, token, detail } = page;
  const state = JSON.stringify([id, token !== null, detail?.status]);
  if (state === controlled) return;
  controlled = state;
  box.hidden = token === null;
  const on = (name, body) => act(box, `peers/${encodeURIComponent(id)}/${name}`, body);
  const time = make("select");
  time.setAttribute("aria-label", "Ban for how long");
  BANS.forEach(([, name], place) => time.append(Object.assign(make("option", `for ${name}`), { value: place })));
  const ban = () => {
    const [seconds] = BANS[time.value];
    on("force_open", seconds === null ? undefined : { seconds });
  };
  const overridden = ["forced_open", "disabled", "metrics_only"].includes(detail?.status);
  const forget = button("Forget", () => {
    if (forget.textContent === "Forget") {
      forget.textContent = "Really forget?";
      setTimeout(() => (forget.textContent = "Forget"), 4000);
    } else on("remove");
  });
  box.replaceChildren(
    button("End its wait", () => on("end_wait")),
    button(overridden ? "Lift and reset" : "Reset", () => on("reset")),
    button("Ban", ban), time,
    button("Do not guard", () => on("disable")), button("Metrics only", () => on("metrics_only")), forget,
  );
}

function showDriverControls() {
  const box = at("driver-controls");
  box.hidden = page.token === null;
  if (box.firstChild) return;
  const on = (name) => act(box, `driver/${name}`);
  box.append(button("Pause", () => on("pause")), button("Resume", () => on("resume")), button("Call all that wait", () => on("kick_all")));
}

at("unlock").onclick = () => {
  if (page.token === null) return at("lock").showModal();
  page.token = null;
  unlocked();
};
at("lock-no").onclick = () => at("lock").close();
at("lock").onclose = () => {
  const token = at("token").value;
  at("token").value = "";
  if (at("lock").returnValue === "" || !token) return;
  page.token = token;
  unlocked();
};
at("lock").querySelector("form").onsubmit = () => (at("lock").returnValue = "unlock");

function unlocked() {
  showDriver();
  showDriverControls();
  showPeer();
}

at("close").onclick = closePeer;
at("peer-id").lastChild.onclick = (event) => {
  navigator.clipboard?.writeText(page.peer).then(() => {
    event.target.textContent = "Copied";
    setTimeout(() => (event.target.textContent = "Copy"), 1500);
  });
};

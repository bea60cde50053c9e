// The stream of events, and what the page does by itself.

const KEEP = 40; // events in the list of the latest
const live = { source: null, heard: 0, last: null, since: 0, changed: false, missed: 0 };

function touch(state, text) {
  at("touch").dataset.state = state;
  write(at("touch-text"), text);
  document.body.classList.toggle("lost", state === "lost");
}

function connect() {
  live.source?.close();
  if (document.hidden) return; // a browser has six connections for all of its tabs
  const query = live.last === null ? "" : `?${new URLSearchParams({ after: live.last })}`;
  const source = new EventSource(`${base}events${query}`);
  live.source = source;
  live.since = performance.now();
  const on = (name, act) =>
    source.addEventListener(name, (event) => {
      if (source !== live.source) return;
      live.heard = performance.now();
      if (event.lastEventId) live.last = event.lastEventId;
      act(event.data && JSON.parse(event.data));
    });
  on("open", () => {
    load(Math.max(PAGE, page.order.length));
    loadPeer();
  });
  on("summary", (summary) => {
    page.summary = summary;
    page.skew = Date.now() - Date.parse(summary.now);
    touch("live", "live");
    showOverview();
    showDriver();
    showDriverControls();
    showLinks();
    showBanners();
  });
  on("missed", ({ missed }) => {
    live.missed += missed;
    live.changed = true;
    showBanners();
  });
  on("transition", (event) => {
    live.changed = true;
    if (event.now && page.rows.has(event.peer)) {
      page.rows.set(event.peer, timed(event.now));
      drawRow(event.peer);
    }
    at("quiet").hidden = true;
    at("events").prepend(eventLine(event, true));
    while (at("events").children.length > KEEP) at("events").lastChild.remove();
    if (event.peer === page.peer) loadPeer();
  });
}

function showLinks() {
  const { links, title } = page.summary;
  at("views").hidden = links.length === 0;
  if (at("links").children.length || !links.length) return;
  for (const { name, href } of links) {
    const option = Object.assign(make("option", name), { value: href });
    option.selected = name === title;
    at("links").append(option);
  }
  at("links").onchange = () => {
    const to = new URL(at("links").value, location.href);
    if (to.protocol.startsWith("http")) location.assign(to);
  };
}

function showBanners() {
  const sum = page.summary;
  const told = [];
  if (at("touch").dataset.state === "lost") {
    const since = sum ? ` What you see was so at ${new Date(sum.now).toLocaleTimeString()}.` : "";
    told.push(["bad", "No word from the node.", `${since} This page goes on trying.`]);
  } else if (sum) {
    const { driver } = sum;
    if (sum.local_outage) told.push(["bad", "This node itself seems to be cut off.", " So many peers fail at once that circuits are kept from opening. The first answers end this."]);
    if (driver?.finished) told.push(["bad", "The driver has ended.", " It calls no peer any more."]);
    else if (driver?.local_trouble) told.push(["bad", "Calls fail for a reason of this node.", " The driver tries one now and then, and blames no peer."]);
    else if (driver?.paused) told.push(["", "The driver is paused.", ""]);
  }
  if (live.missed) told.push(["", `${count(live.missed)} events were missed.`, " They came faster than this page reads. The list is true again."]);
  const text = JSON.stringify(told);
  if (at("banners").dataset.told === text) return;
  at("banners").dataset.told = text;
  at("banners").replaceChildren(...told.map(([type, first, rest]) => {
    const banner = make("p", null, type);
    banner.append(make("b", first), rest);
    return banner;
  }));
}

// Four times a second: waits count down, and silence is noticed.
setInterval(() => {
  for (const id of page.order) if (page.rows.get(id).due !== null) drawWait(id);
  showWait();
  if (document.hidden) return;
  const patience = 3000 * (page.summary?.heartbeat ?? 5);
  const silent = performance.now() - Math.max(live.heard, live.since);
  if (silent > patience || (live.source?.readyState === EventSource.CLOSED && silent > 2000)) connect();
  const unheard = (performance.now() - live.heard) / 1000;
  const broken = live.source?.readyState !== EventSource.OPEN;
  if (live.heard && (unheard * 1000 > patience || (broken && unheard > 1.5))) {
    touch("lost", `no word for ${span(Math.floor(unheard) + 0.001).replace(".0 ", " ")}`);
    showBanners();
  } else if (!live.heard && unheard > 3) touch("lost", "no answer");
}, 250);

// Every other second the list is read anew if something has changed, and the times of events go on.
setInterval(() => {
  for (const time of document.querySelectorAll("time")) write(time, ago(time.dateTime));
  if (document.hidden || at("touch").dataset.state !== "live") return;
  if (live.changed) {
    live.changed = false;
    load(Math.max(PAGE, page.order.length));
  }
  loadPeer();
}, 2000);
// Calls that change no state change numbers.
setInterval(() => (live.changed = true), 6000);
setInterval(() => {
  live.missed = 0;
  showBanners();
}, 30000);

document.addEventListener("visibilitychange", () => {
  connect();
  if (document.hidden) touch("connecting", "resting while hidden");
});
window.addEventListener("popstate", () => {
  recall();
  page.detail = null;
  at("search").value = page.search;
  showPeer();
  loadPeer();
  load();
});
document.addEventListener("keydown", (event) => {
  const writes = event.target.closest?.("input, select, dialog");
  if (event.key === "/" && !writes) {
    event.preventDefault();
    at("search").focus();
  } else if (event.key === "Escape" && page.peer !== null && !writes) closePeer();
});

recall();
at("search").value = page.search;
showPeer();
connect();

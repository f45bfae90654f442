// The page is complete without this script. It adds the choice of a theme, copying, and the filters.
"use strict";
const one = (selector) => document.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const store = {
  get(key) { try { return localStorage.getItem(key); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(key, value); } catch { /* a browser may forbid it */ } },
};

// -- theme: auto (the system's), light, dark --
const THEMES = ["auto", "light", "dark"];
function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  one("#theme").textContent = `Theme: ${theme}`;
  store.set("tilth-theme", theme);
}
const saved = store.get("tilth-theme");
setTheme(THEMES.includes(saved) ? saved : "auto");
one("#theme").hidden = false;
one("#theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme || "auto";
  setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
});

// -- the table of scores, to copy --
const copy = one("#copy");
if (copy) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    const text = one("#scores-text");
    try {
      await navigator.clipboard.writeText(text.value);
      copy.textContent = "Copied";
    } catch {
      text.closest("details").open = true;
      text.select();
      copy.textContent = "Selected: press Ctrl+C";
    }
  });
}

// -- `show all` is visible only where something is clipped; widths change, and a folded text has no height --
function hideIdle() {
  for (const long of all(".long")) {
    const [text, more] = [long.querySelector(".text"), long.querySelector(".more")];
    if (!more.open && text.clientHeight) more.hidden = text.scrollHeight <= text.clientHeight + 1;
  }
}
addEventListener("resize", hideIdle);
addEventListener("toggle", hideIdle, true);
hideIdle();

// -- filters of what the models say --
const filters = one(".filters");
if (filters) {
  const unfolded = all("#answers-list .row").length;
  const rows = all(".row").map((element) => ({
    element,
    dataset: element.dataset.dataset,
    text: element.textContent.toLowerCase(),
    said: new Map(all(".answer", element).map((answer) => [answer.dataset.model, {
      element: answer, score: Number(answer.dataset.score), text: answer.querySelector(".said").textContent,
    }])),
  }));
  const [dataset, first, second, differ, search] = ["dataset", "first", "second", "differ", "search"].map((id) => one(`#filter-${id}`));
  const pair = (row) => [first, second].map((select) => row.said.get(select.value)).filter(Boolean);
  const apart = (row) => {
    const chosen = pair(row);
    if (chosen.length < 2) {
      const scores = [...row.said.values()].map((answer) => answer.score);
      return Math.max(...scores) - Math.min(...scores);
    }
    return Math.abs(chosen[0].score - chosen[1].score) + (chosen[0].text === chosen[1].text ? 0 : 1e-6);
  };
  const differs = (row) => {
    const texts = (pair(row).length === 2 ? pair(row) : [...row.said.values()]).map((answer) => answer.text);
    return new Set(texts).size > 1;
  };
  const apply = () => {
    const words = search.value.trim().toLowerCase();
    for (const row of rows) {
      const fits = (!dataset.value || row.dataset === dataset.value) && (!differ.checked || differs(row)) && row.text.includes(words);
      row.element.hidden = !fits;
      for (const [model, answer] of row.said) answer.element.hidden = Boolean(first.value || second.value) && ![first.value, second.value].includes(model);
    }
    const shown = rows.filter((row) => !row.element.hidden).sort((a, b) => apart(b) - apart(a));
    one("#answers-list").append(...shown.slice(0, unfolded).map((row) => row.element));
    one("#more-list").append(...shown.slice(unfolded).map((row) => row.element), ...rows.filter((row) => row.element.hidden).map((row) => row.element));
    one("#more-answers").hidden = shown.length <= unfolded;
    one("#more-count").textContent = shown.length - unfolded;
    one("#filter-count").value = `${shown.length} of ${rows.length} rows`;
    hideIdle();
  };
  filters.hidden = false;
  filters.addEventListener("input", apply);
  apply();
}

// folded parts are open for printing, and folded again after it
let folded = [];
addEventListener("beforeprint", () => {
  folded = all("details:not([open])");
  folded.forEach((element) => { element.open = true; });
});
addEventListener("afterprint", () => folded.forEach((element) => { element.open = false; }));

// a link opens the folded part that it leads into
function unfold() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at = target && target.closest("details"); at; at = at.parentElement.closest("details")) at.open = true;
}
addEventListener("hashchange", unfold);
unfold();

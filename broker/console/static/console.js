"use strict";
// Shows the page anew every few seconds, unless somebody is at work in it. Without this script a reload does the same.
const every = 5000;

function atWork() {
  const main = document.querySelector("main");
  const field = (e) => e.type === "checkbox" ? e.checked !== e.defaultChecked : e.value !== e.defaultValue;
  return document.hidden || main.contains(document.activeElement) || main.querySelector("details[open]") ||
    [...main.querySelectorAll("input")].some(field) || !getSelection().isCollapsed;
}

async function refresh() {
  const live = document.getElementById("live");
  if (atWork()) {
    live.textContent = "Not shown anew while something here is edited or selected.";
    return;
  }
  try {
    const answer = await fetch(location.href, {headers: {Accept: "text/html"}, cache: "no-store"});
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const part = page.querySelector("main");
    if (!part) throw new Error("it answers " + answer.status);
    if (atWork()) return;
    document.querySelector("main").replaceChildren(...part.childNodes);
    document.querySelector("footer time").textContent = page.querySelector("footer time").textContent;
    live.textContent = "";
  } catch (err) {
    live.textContent = "The broker cannot be reached (" + err.message + "); this is what it said last.";
  }
}

async function loop() {
  await refresh();
  setTimeout(loop, every);
}
setTimeout(loop, every);

"use strict";
// Follows the newest block. Without a script the page is the same, only it does not move.
(() => {
  const main = document.querySelector("main[data-live]");
  if (!main) return;
  let position = main.dataset.position;
  const look = async () => {
    // A reader with something open or selected is not disturbed.
    if (document.hidden || document.querySelector("details[open]")) return;
    if (!document.getSelection().isCollapsed) return;
    const answer = await fetch(location.href, { cache: "no-cache" });
    if (!answer.ok || answer.headers.get("X-Ledger-Position") === position) return;
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const name of ["header .facts", "main"]) {
      const [old, fresh] = [document.querySelector(name), next.querySelector(name)];
      if (old && fresh) old.replaceWith(fresh);
    }
    position = answer.headers.get("X-Ledger-Position");
  };
  setInterval(() => look().catch(() => {}), 6000);  // a server that is away is asked again
})();

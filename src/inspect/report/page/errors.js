// What goes wrong on this page is seen on it.
"use strict";
(() => {
  const show = (text) => {
    const banner = document.getElementById("errors");
    banner.hidden = false;
    const line = document.createElement("p");
    line.textContent = `This report could not show everything: ${text}`;
    if (banner.childElementCount < 5) banner.append(line);
  };
  addEventListener("error", (event) => show(event.message));
  addEventListener("unhandledrejection", (event) => show(String(event.reason)));
})();

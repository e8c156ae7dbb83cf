// Reads values off a plot: by pointer, by finger, by arrow keys. Unfolds for paper what is folded.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";

  for (const figure of document.querySelectorAll("figure.curves")) {
    const tip = figure.querySelector(".tip");
    const plots = [...figure.querySelectorAll("svg[data-plot]")].map((svg) => {
      const data = JSON.parse(svg.dataset.plot);
      const layer = svg.appendChild(document.createElementNS(SVG, "g"));
      const plot = { svg, layer, data };
      svg.addEventListener("pointermove", (event) => show(nearest(plot, event.clientX)));
      svg.addEventListener("pointerdown", (event) => show(nearest(plot, event.clientX)));
      svg.addEventListener("pointerleave", hide);
      return plot;
    });
    let shown = -1;

    figure.addEventListener("keydown", (event) => {
      const last = plots[0].data.x.length - 1;
      const steps = { ArrowRight: shown + 1, ArrowLeft: shown < 0 ? last : shown - 1, Home: 0, End: last, Escape: -1 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      const next = steps[event.key];
      if (event.key === "Escape") hide();
      else show(Math.min(Math.max(next, 0), last));
    });
    figure.addEventListener("blur", hide);

    function nearest({ svg, data }, clientX) {
      const box = svg.getBoundingClientRect();
      const x = ((clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      let best = 0;
      data.x.forEach((at, i) => {
        if (Math.abs(at - x) < Math.abs(data.x[best] - x)) best = i;
      });
      return best;
    }

    function show(index) {
      shown = index;
      for (const { layer, data } of plots) {
        const line = element("line", { class: "cursor", x1: data.x[index], x2: data.x[index], y1: data.top, y2: data.bottom });
        const marks = data.y[index].map((y) => element("circle", { class: "mark", cx: data.x[index], cy: y, r: 4 }));
        layer.replaceChildren(line, ...marks);
      }
      tip.textContent = plots[0].data.tips[index];
      tip.classList.add("shown");
    }

    function hide() {
      shown = -1;
      for (const { layer } of plots) layer.replaceChildren();
      tip.textContent = "";
      tip.classList.remove("shown");
    }
  }

  // Paper cannot be unfolded.
  const folded = [...document.querySelectorAll("details")];
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = folded.filter((details) => !details.open);
    for (const details of opened) details.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
  });

  function element(name, attributes) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }
})();

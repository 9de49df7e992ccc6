// The page of a run works without this script; it adds sorting, filters, hints on focus, a slider and a viewer.
"use strict";

(() => {
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const tip = document.getElementById("tip");

  // Hints: what stands in `title` is shown on hover and on focus, and read by screen readers.
  const hinted = (target) => {
    const element = target.closest("[title]:not(mark), [data-tip]");
    if (element && element.title) {
      element.dataset.tip = element.title;
      element.removeAttribute("title");
    }
    return element;
  };
  const hide = () => {
    tip.hidden = true;
    for (const element of all("[aria-describedby=tip]")) element.removeAttribute("aria-describedby");
  };
  const explain = (element) => {
    hide();
    if (!element) return;
    tip.textContent = element.dataset.tip;
    tip.hidden = false;
    element.setAttribute("aria-describedby", "tip");
    const place = element.getBoundingClientRect();
    const below = place.bottom + 6 + tip.offsetHeight < innerHeight;
    tip.style.left = `${Math.max(4, Math.min(place.left, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${below ? place.bottom + 6 : Math.max(4, place.top - tip.offsetHeight - 6)}px`;
  };
  document.addEventListener("mouseover", (event) => explain(hinted(event.target)));
  document.addEventListener("focusin", (event) => explain(hinted(event.target)));
  document.addEventListener("focusout", hide);
  addEventListener("scroll", hide, { passive: true, capture: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  // What is not in view waits as text in <noscript>. It becomes elements when it comes near the screen, when the browser
  // has nothing else to do, when a table needs all of its rows, or when the page is printed.
  const fill = (part) => {
    const made = document.createElement("template");
    made.innerHTML = part.textContent;
    const table = document.getElementById(part.dataset.rows);
    if (table) {
      table.tBodies[0].append(...all("tbody tr", made.content));
      part.remove();
      return;
    }
    for (const group of all("[data-stops]", made.content)) arm(group);
    part.replaceWith(made.content);
  };
  const complete = (table) => all(`noscript[data-rows="${table.id}"]`).forEach(fill);
  const waiting = () => document.querySelector("main noscript");
  const near = new IntersectionObserver((seen) => {
    for (const { target } of seen.filter((entry) => entry.isIntersecting)) {
      near.unobserve(target);
      all(":scope > noscript", target).forEach(fill);
    }
  }, { rootMargin: "600px" });
  for (const part of all("main noscript:not([data-rows])")) near.observe(part.parentElement);
  const soon = window.requestIdleCallback || ((call) => setTimeout(call, 60));
  const go = (idle) => {
    do {
      const part = waiting();
      if (!part) return;
      fill(part);
    } while (idle && idle.timeRemaining() > 20);
    soon(go);
  };
  addEventListener("load", () => soon(go));

  // One stop of the Tab key for a table or a strip; arrows go on inside it.
  const stops = (group) => all("[data-stop]", group).filter((stop) => !stop.closest("[hidden]"));
  const arm = (group) => {
    if (group.tagName === "TABLE") {
      const known = group.querySelector("td[tabindex='0']");
      if (known && !known.closest("[hidden]")) return;
      if (known) known.tabIndex = -1;
      const first = group.querySelector("tbody tr:not([hidden]) [data-stop]");
      if (first) first.tabIndex = 0;
      return;
    }
    const own = stops(group);
    const known = own.find((stop) => stop.tabIndex === 0);
    for (const stop of all("[data-stop]", group)) stop.tabIndex = -1;
    if (own.length) (known || own[0]).tabIndex = 0;
  };
  const moved = (stop, group, key) => {
    if (group.tagName !== "TABLE") {
      const own = stops(group);
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[key];
      if (key === "Home") return own[0];
      if (key === "End") return own[own.length - 1];
      return step ? own[own.indexOf(stop) + step] : undefined;
    }
    complete(group);
    const row = stop.parentElement;
    const cells = [...row.cells];
    const at = cells.indexOf(stop);
    if (key === "ArrowRight") return cells[at + 1];
    if (key === "ArrowLeft") return cells[at - 1];
    if (key === "Home") return cells[0];
    if (key === "End") return cells[cells.length - 1];
    const rows = [...row.parentElement.rows].filter((other) => !other.hidden);
    const step = { ArrowDown: 1, ArrowUp: -1 }[key];
    const next = step ? rows[rows.indexOf(row) + step] : undefined;
    return next && next.cells[Math.min(at, next.cells.length - 1)];
  };
  for (const group of all("[data-stops]")) arm(group);
  document.addEventListener("keydown", (event) => {
    const stop = event.target.closest("[data-stop]");
    if (!stop || event.ctrlKey || event.altKey || event.metaKey) return;
    const group = stop.closest("[data-stops]");
    const next = moved(stop, group, event.key);
    if (!next) return;
    event.preventDefault();
    stop.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });

  // Sorting: a press on a head sorts, a second one turns the order round. Rows without a value stay last.
  const order = (row, column) => (row.cells[column] ? row.cells[column].dataset.order || "" : "");
  const sort = (table, column, down) => {
    complete(table);
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const numbers = rows.every((row) => order(row, column) === "" || !Number.isNaN(Number(order(row, column))));
    const compare = (a, b) => (numbers ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true }));
    rows.sort((one, other) => {
      const a = order(one, column);
      const b = order(other, column);
      if (a === "" || b === "") return (a === "") - (b === "");
      return down ? compare(b, a) : compare(a, b);
    });
    body.append(...rows);
    all("thead th", table).forEach((head, i) => {
      head.setAttribute("aria-sort", i === column ? (down ? "descending" : "ascending") : "none");
    });
  };
  for (const button of all("th button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      sort(head.closest("table"), head.cellIndex, head.getAttribute("aria-sort") === "ascending");
    });
  }

  // Filters: rows that hold all of the words stay.
  for (const field of all("input[data-filter]")) {
    const table = document.getElementById(field.dataset.filter);
    const said = document.getElementById(`${field.dataset.filter}-count`);
    field.addEventListener("input", () => {
      complete(table);
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = [...table.tBodies[0].rows];
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
      said.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
      arm(table);
    });
  }

  // How strongly maps cover their images.
  for (const slider of all("input[data-heat]")) {
    const show = () => slider.closest("section").style.setProperty("--heat", slider.value / 100);
    slider.addEventListener("input", show);
  }

  // The viewer: a picture in large, with those beside it.
  const viewer = document.getElementById("viewer");
  let row = [];
  let at = 0;
  const view = () => {
    const source = row[at].querySelector("img");
    const frame = viewer.querySelector(".frame");
    const image = frame.querySelector("img");
    frame.className = `frame ${row[at].className.replace("tile", "")}`;
    image.src = source.src;
    image.alt = source.alt;
    frame.style.setProperty("--heat", getComputedStyle(row[at]).getPropertyValue("--heat"));
    viewer.querySelector("figcaption").textContent = `${source.alt} (${at + 1} of ${row.length})`;
  };
  const turn = (step) => {
    at = (at + step + row.length) % row.length;
    view();
  };
  if (viewer) {
    document.addEventListener("click", (event) => {
      const tile = event.target.closest(".tile");
      if (!tile) return;
      row = all(".tile", tile.closest(".strip"));
      at = row.indexOf(tile);
      view();
      viewer.showModal();
    });
    viewer.querySelector("[data-turn='-1']").addEventListener("click", () => turn(-1));
    viewer.querySelector("[data-turn='1']").addEventListener("click", () => turn(1));
    viewer.querySelector("[data-close]").addEventListener("click", () => viewer.close());
    viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
    viewer.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") turn(-1);
      if (event.key === "ArrowRight") turn(1);
    });
  }

  // On paper, everything is open.
  const opened = [];
  addEventListener("beforeprint", () => {
    all("main noscript").forEach(fill);
    for (const image of all("img[loading=lazy]")) image.loading = "eager";
    for (const details of all("details:not([open])")) {
      details.open = true;
      opened.push(details);
    }
  });
  addEventListener("afterprint", () => {
    while (opened.length) opened.pop().open = false;
  });
})();

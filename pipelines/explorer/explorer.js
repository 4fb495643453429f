// The page of PairExplorer: draws the widget's traits and sends back what is clicked.

const SVG = "http://www.w3.org/2000/svg";
const KEYS = { s: "same", d: "different", u: "unsure" };
const WORDS = { same: "Same", different: "Different", unsure: "Unsure" };

function put(parent, tag, attributes = {}, ...children) {
  const space = tag === "svg" || parent?.namespaceURI === SVG ? SVG : "http://www.w3.org/1999/xhtml";
  const node = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value);
  }
  node.append(...children);
  parent?.append(node);
  return node;
}

const figure = (value) => value === null || value === undefined ? "–"
  : Number.isInteger(value) ? String(value) : Math.abs(value) < 1000 ? String(+value.toPrecision(3)) : value.toFixed(0);
const likelihood = (value) => value === null ? "not judged" : value.toFixed(2);

function verdictOf(said) {
  const follows = said.startsWith("(");
  const word = follows ? said.slice(1, -1) : said;
  return { word, text: follows ? `follows: ${word}` : `said: ${word}` };
}

export default {
  render({ model, el }) {
    const root = put(el, "div", { class: "pair-explorer", tabindex: 0, "data-lm-suppress-shortcuts": "true" });
    const send = (action, ...values) => {
      root.focus({ preventScroll: true });  // what was clicked is drawn anew, and the keys must not go to the notebook
      model.send({ do: action, with: values });
    };
    const bar = put(root, "div", { class: "bar" });
    const body = put(root, "div", { class: "body" });
    const list = put(put(body, "div", { class: "side" }), "div", { class: "list", role: "listbox" });
    const stage = put(body, "div", { class: "stage" });
    const about = put(body, "div", { class: "about" });
    const message = put(root, "div", { class: "message", role: "status", "aria-live": "polite" });

    function choose(name, value) {
      model.set("filters", { ...model.get("filters"), [name]: value });
      model.save_changes();
    }

    function option(name, label, values, parse = (value) => value) {
      const select = put(put(bar, "label", {}, label), "select",
        { name, onchange: () => choose(name, parse(select.value)) });
      for (const value of values) put(select, "option", { value }, String(value));
      return select;
    }

    function drawBar() {
      const { name, epochs, cameras, truths, orders } = model.get("about");
      bar.replaceChildren();
      put(bar, "strong", {}, name);
      const inputs = {
        order: option("order", "First", orders),
        epoch: option("epoch", "Epoch", epochs, Number),
        truth: option("truth", "Truth", truths),
        cameras: option("cameras", "Cameras", cameras),
      };
      const range = put(bar, "label", {}, "Likelihood");
      const ends = [0, 1].map((end) => put(range, "input", {
        name: `likelihood_${end}`, type: "number", min: 0, max: 1, step: 0.05,
        onchange: () => {
          const wanted = ends.map((input, place) => input.value === "" ? place : Number(input.value));
          choose("likelihood", wanted);
        },
      }));
      const said = put(bar, "span", { class: "said" });
      return { inputs, ends, said };
    }
    let { inputs, ends, said } = drawBar();

    function drawFilters() {
      const filters = model.get("filters");
      for (const [name, input] of Object.entries(inputs)) input.value = filters[name];
      ends.forEach((input, end) => { input.value = filters.likelihood[end]; });
    }

    function drawSaid() {
      const counts = model.get("said");
      said.replaceChildren();
      for (const word of model.get("about").verdicts) {
        put(said, "span", { class: `tag ${word}` }, `${counts[word] ?? 0} ${word}`);
      }
      said.title = `kept in ${model.get("about").file}`;
    }

    function drawList() {
      const pairs = model.get("listed");
      const total = model.get("total");
      list.replaceChildren();
      for (const line of pairs) {
        const item = put(list, "button", {
          class: "item", role: "option", "data-pair": line.pair.join("-"), onclick: () => send("show", ...line.pair),
        });
        for (const image of line.images) put(item, "img", { src: image, alt: "" });
        const words = put(item, "span", { class: "words" });
        put(words, "b", {}, likelihood(line.likelihood));
        put(words, "small", {}, `${line.pair.join(" · ")}`);
        const marks = put(words, "small", {});
        put(marks, "span", {}, line.cameras[0] === line.cameras[1] ? `camera ${line.cameras[0]}`
          : `cameras ${line.cameras.join(", ")}`);
        if (line.truth !== null) put(marks, "span", { class: line.truth ? "right" : "wrong" }, line.truth ? " true" : " false");
        if (line.said) {
          const { word, text } = verdictOf(line.said);
          put(words, "small", { class: `tag ${word}` }, text);
        }
      }
      const rest = total - pairs.length;
      put(list, "p", {}, !total ? "No pair passes the filters." : rest > 0 ? `and ${rest} more` : `${total} pairs`);
      markShown();
    }

    function markShown() {
      const shown = (model.get("shown").pair ?? []).join("-");
      for (const item of list.querySelectorAll(".item")) {
        const current = item.dataset.pair === shown;
        item.classList.toggle("current", current);
        item.setAttribute("aria-selected", current);
        if (current) {  // within the list only: the page must not move
          const above = item.offsetTop - list.scrollTop;
          if (above < 0 || above + item.offsetHeight > list.clientHeight) list.scrollTop = item.offsetTop - 40;
        }
      }
    }

    function walk(node, scene) {
      const roots = scene.nodes.filter((other) => other.root !== null).sort((a, b) => a.root - b.root);
      send("walk", roots[node.side > 0 ? 1 : 0].row, node.row);
    }

    function drawNode(svg, node, scene) {
      const left = node.x - node.w / 2;
      const top = node.y - node.h / 2;
      const isRoot = node.root !== null;
      const group = put(svg, "g", isRoot ? { class: "node root", "data-row": node.row } : {
        class: "node", tabindex: 0, role: "button", "data-row": node.row, onclick: () => walk(node, scene),
        onkeydown: (event) => { if (event.key === "Enter") walk(node, scene); },
      });
      put(group, "title", {}, isRoot ? `image ${node.row}` : `walk on to the pair with image ${node.row}`);
      const frame = isRoot ? 4 : 3;
      put(group, "rect", { x: left - frame, y: top - frame, width: node.w + 2 * frame, height: node.h + 2 * frame,
        rx: 2, fill: node.frame });
      put(group, "rect", { x: left, y: top, width: node.w, height: node.h, fill: "#eceae3" });
      put(group, "image", { href: node.image, x: left, y: top, width: node.w, height: node.h });
      const strip = isRoot ? 14 : 10;
      put(group, "rect", { x: left, y: top + node.h - strip, width: node.w, height: strip, class: "strip" });
      put(group, "text", { x: node.x, y: top + node.h - strip / 2, class: "name" },
        `${node.row}${node.camera === null ? "" : ` c${node.camera}`}`);
      put(group, "circle", { cx: left, cy: top, r: isRoot ? 9 : 7, fill: node.badge, class: "badge" });
      put(group, "text", { x: left, y: top, class: "label" }, String(node.label));
    }

    function drawStage() {
      const scene = model.get("shown");
      stage.replaceChildren();
      about.replaceChildren();
      if (!scene.pair) {
        put(stage, "p", { class: "empty" }, "No pair to show: widen the filters.");
        return;
      }
      const head = put(stage, "div", { class: "head" });
      put(head, "b", {}, scene.likelihood === null ? "not judged in this epoch"
        : `likelihood ${scene.likelihood.toFixed(2)}, ${scene.believed ? "believed" : "not believed"}`);
      if (scene.truth !== null) put(head, "span", { class: scene.truth ? "right" : "wrong" },
        scene.truth ? "truth: the same" : "truth: different");
      if (scene.said) {
        const { word, text } = verdictOf(scene.said);
        put(head, "span", { class: `tag ${word}` }, text);
      }
      put(stage, "div", { class: "paths" }, scene.paths.join("  ·  "));
      const svg = put(stage, "svg", { viewBox: `-12 -12 ${scene.width + 24} ${scene.height + 24}`, role: "group",
        "aria-label": "the neighbours of the pair" });
      svg.style.maxWidth = `${scene.width * 1.25}px`;
      for (const edge of scene.edges) put(svg, "path", { d: edge.d, fill: "none", stroke: edge.colour,
        "stroke-width": edge.width, "stroke-opacity": edge.opacity, "stroke-linecap": "round" });
      for (const node of scene.nodes) drawNode(svg, node, scene);
      if (!scene.nodes.some((node) => node.root === null && node.side === 0)) put(svg, "text",
        { x: scene.middle[0], y: scene.middle[1], class: "more" }, "no shared neighbours");
      for (const { x, y, count } of scene.more) put(svg, "text", { x, y, class: "more" }, `+${count} more`);
      put(stage, "div", { class: "graph" },
        `${scene.graph}. Shared neighbours stand in the middle; click a neighbour to walk on to that pair.`);

      const buttons = put(about, "div", { class: "buttons" });
      for (const [key, word] of Object.entries(KEYS)) {
        put(buttons, "button", { class: `say ${word}`, "data-say": word, "aria-keyshortcuts": key,
          onclick: () => send("say", word) }, `${WORDS[word]} `, put(null, "kbd", {}, key.toUpperCase()));
      }
      put(buttons, "button", { "data-do": "back", disabled: scene.can_go_back ? null : "", onclick: () => send("back") },
        "Back ", put(null, "kbd", {}, "B"));
      if (scene.statistics.length) {
        const table = put(about, "table");
        const first = put(table, "tr");
        for (const title of ["", "this", ...scene.kinds]) put(first, "th", {}, title);
        for (const [name, ...values] of scene.statistics) {
          const row = put(table, "tr");
          put(row, "td", {}, name);
          values.forEach((value) => put(row, "td", {}, figure(value)));
        }
        put(about, "p", {}, `Beside the pair: the medians of ${scene.kinds.join(" and of ")}.`);
      }
      markShown();
    }

    function step(by) {
      const pairs = model.get("listed").map((line) => line.pair);
      const now = pairs.findIndex((pair) => String(pair) === String(model.get("shown").pair));
      const next = pairs[Math.min(Math.max(now + by, 0), pairs.length - 1)];
      if (next) send("show", ...next);
    }

    const moves = { j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1), b: () => send("back") };
    root.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT)$/.test(event.target.tagName)) return;
      const action = KEYS[event.key] ? () => send("say", KEYS[event.key]) : moves[event.key];
      event.stopPropagation();  // the notebook has other uses for these keys
      if (action) {
        event.preventDefault();
        action();
      }
    });

    const drawMessage = () => { message.textContent = model.get("message"); };
    const drawn = { filters: drawFilters, said: drawSaid, listed: drawList, total: drawList, shown: drawStage,
      message: drawMessage };
    for (const [trait, draw] of Object.entries(drawn)) model.on(`change:${trait}`, draw);
    for (const draw of new Set(Object.values(drawn))) draw();
    return () => { for (const [trait, draw] of Object.entries(drawn)) model.off(`change:${trait}`, draw); };
  },
};

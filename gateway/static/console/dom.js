// Elements, and how a page that is drawn again replaces the one that is there: focus, scrolling, typed text and selection
// stay.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "rect", "path", "line", "text", "g", "title"]);

export function h(tag, props, ...children) {
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  element.on = {};
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) {
      element[name] = value;
      element.on[name] = value;
    } else if (name === "key") element.dataset.key = value;
    else if (name === "style") element.style.cssText = value;
    else if (name === "checked") {
      element.checked = true;
      element.setAttribute("data-checked", "");
    } else element.setAttribute(name === "class" ? "class" : name, value === true ? "" : value);
  }
  element.append(...children.flat(5).filter((child) => child !== null && child !== undefined && child !== false).map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

const sameKind = (a, b) =>
  a.nodeType === b.nodeType && (a.nodeType !== 1 || (a.tagName === b.tagName && (a.dataset?.key ?? "") === (b.dataset?.key ?? "")));

export function morph(old, fresh) {
  if (old.nodeType !== 1) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    const kept = name === "open" && ["DETAILS", "DIALOG"].includes(old.tagName);
    if (!fresh.hasAttribute(name) && !kept) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const name of Object.keys(old.on || {})) if (!fresh.on?.[name]) old[name] = null;
  for (const [name, handler] of Object.entries(fresh.on || {})) old[name] = handler;
  old.on = fresh.on;
  if (old.tagName === "INPUT" && old.type === "checkbox" && !old.form) old.checked = fresh.hasAttribute("data-checked");
  morphChildren(old, fresh);
}

function morphChildren(old, fresh) {
  const byKey = new Map([...old.children].filter((child) => child.dataset?.key).map((child) => [child.dataset.key, child]));
  let at = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const known = wanted.dataset?.key ? byKey.get(wanted.dataset.key) : null;
    if (known && known !== at && sameKind(known, wanted)) {
      old.insertBefore(known, at);
      morph(known, wanted);
    } else if (at && sameKind(at, wanted)) {
      const next = at.nextSibling;
      morph(at, wanted);
      at = next;
    } else old.insertBefore(wanted, at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

export function draw(place, ...children) {
  morphChildren(place, h("div", {}, ...children));
}

// A dialog that asks before something is done. Resolves to the values of its fields, or null.
export function ask({ title, text, fields = [], confirm = "Do it", danger = false }) {
  return new Promise((resolve) => {
    const inputs = fields.map(({ name, label, type = "text", value = "", options, hint, ...more }, place) => {
      const id = `ask-${name}`;
      const common = { id, name, "aria-describedby": hint ? `${id}-hint` : null, autofocus: place === 0, ...more };
      const input = options
        ? h("select", common, options.map(([choice, words]) => h("option", { value: choice, selected: choice === value }, words)))
        : h("input", { type, value, autocomplete: "off", ...common });
      return h("p", { class: "field" }, h("label", { for: id }, label), input, hint && h("span", { id: `${id}-hint`, class: "hint" }, hint));
    });
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", { id: "ask-title" }, title),
      [text].flat().map((line) => line && h("p", {}, line)),
      inputs,
      h(
        "p",
        { class: "buttons" },
        h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Leave it"),
        h("button", { value: "yes", class: danger ? "danger" : "", autofocus: fields.length === 0 }, confirm),
      ),
    );
    const dialog = h("dialog", { "aria-labelledby": "ask-title" }, form);
    dialog.onclose = () => {
      resolve(dialog.returnValue === "yes" ? Object.fromEntries(new FormData(form)) : null);
      dialog.remove();
    };
    document.body.append(dialog);
    dialog.showModal();
  });
}

export function say(text, isProblem = false) {
  const place = document.getElementById("said");
  place.replaceChildren(h("p", { class: isProblem ? "problem" : "done" }, text));
  clearTimeout(say.timer);
  say.timer = setTimeout(() => place.replaceChildren(), isProblem ? 20000 : 8000);
}

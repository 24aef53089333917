// A list of any number of rows, of which only those in view are in the document.

const ROW_HEIGHT = 28;
/** Rows kept above and below those in view. */
const OVERSCAN = 6;

/**
 * A list box. Arrow keys, Page Up and Down, Home and End move; Enter or Space, or a click, choose.
 * `row(index)` gives the children of a row, `choose(index)` acts on it.
 */
class List {
  constructor({ id, name, tall, row, choose, follows }) {
    Object.assign(this, { id, row, choose, count: 0, active: 0, chosen: -1 });
    this.space = el("div", { role: "presentation" });
    this.box = el("div", { id, class: tall ? "list tall" : "list", role: "listbox", tabindex: "0", "aria-label": name }, this.space);
    this.follows = follows;
    this.box.addEventListener("scroll", () => this.render());
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (row) this.open(Number(row.dataset.index));
    });
    new ResizeObserver(() => onNextFrame(() => this.render())).observe(this.box);
  }

  /** Shows another number of rows from the top. */
  reset(count, { nothing = "Nothing.", chosen = -1 } = {}) {
    Object.assign(this, { count, active: Math.max(0, chosen), chosen, nothing });
    this.space.style.height = `${count * ROW_HEIGHT}px`;
    this.box.scrollTop = 0;
    this.reveal();
    this.render();
  }

  reveal() {
    const [top, bottom] = [this.active * ROW_HEIGHT, (this.active + 1) * ROW_HEIGHT];
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (bottom > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = bottom - this.box.clientHeight;
  }

  render() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW_HEIGHT) - OVERSCAN);
    const last = Math.min(this.count, Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW_HEIGHT) + OVERSCAN);
    const rows = [];
    for (let index = first; index < last; index += 1) {
      rows.push(el("div", {
        id: `${this.id}-${index}`, class: index === this.active ? "row active" : "row", role: "option",
        "aria-selected": String(index === this.chosen), "aria-setsize": this.count, "aria-posinset": index + 1,
        "data-index": index, style: `top: ${index * ROW_HEIGHT}px`,
      }, ...this.row(index)));
    }
    this.space.replaceChildren(...(this.count ? rows : [el("p", {}, this.nothing)]));
    const isShown = this.active >= first && this.active < last;
    for (const element of [this.box, this.follows]) {
      if (isShown) element?.setAttribute("aria-activedescendant", `${this.id}-${this.active}`);
      else element?.removeAttribute("aria-activedescendant");
    }
  }

  move(to) {
    this.active = Math.max(0, Math.min(this.count - 1, to));
    this.reveal();
    this.render();
  }

  open(index) {
    if (index < 0 || index >= this.count) return;
    Object.assign(this, { active: index, chosen: index });
    this.reveal();
    this.render();
    this.choose(index);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW_HEIGHT) - 1);
    const inText = event.target.tagName === "INPUT";
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page };
    if (event.key in steps) this.move(this.active + steps[event.key]);
    else if (event.key === "Home" && !inText) this.move(0);
    else if (event.key === "End" && !inText) this.move(this.count - 1);
    else if (event.key === "Enter" || (event.key === " " && !inText)) this.open(this.active);
    else return;
    event.preventDefault();
  }
}

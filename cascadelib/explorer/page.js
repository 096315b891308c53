// The page: one sentence, one chart and sliders below it, the same in JupyterLab and in a file. It evaluates with
// engine.js and draws with d3.js, which precede it in one module (page.py).

const STAGES = ["#56B4E9", "#E69F00", "#2FB98A", "#D98BB5"]
const GOALS = {
  near_best: "as accurate as the best model",
  max_improvement: "largest improvement (optimistic)",
  accuracy: "at least this accuracy …",
  budget: "at most this cost …",
}
const SIZES = { k: 1e3, M: 1e6, G: 1e9, T: 1e12 }
const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]]
const ROUGH = 0.1 // gap above which a front is only the best that was found in time
const PATIENCE = 30 // seconds of a search of many models, as in splits.py
const ACKNOWLEDGED = 4 // seconds within which a kernel acknowledges a request
const BUSY_POLLS = 4 // consecutive polls in which a kernel is busy, before controls are disabled
const POLL = 400 // milliseconds between two polls of the kernel
const ENDED = ["starting", "restarting", "autorestarting", "terminating", "dead"] // after a widget was shown
const FRONT_SAMPLES = 3e6 // evaluations of samples for a front on the held-out split
const ruler = document.createElement("canvas").getContext("2d") // measures the names in the chart
const [ABOVE, BELOW] = [-19, 5] // pixels from a point to the top of its name
const SVG = "http://www.w3.org/2000/svg"

// Words

const escaped = text => String(text).replace(/[&<>"']/g, c => `&#${c.charCodeAt(0)};`)
const percent = (value, k = 100) => `${(100 * value).toFixed(Math.max(2, Math.ceil(Math.log10(k)) - 2))}%`
const points = (value, k = 100) => {
  const text = (100 * value).toFixed(Math.max(2, Math.ceil(Math.log10(k)) - 2))
  return `${value < 0 ? text.replace("-", "−") : `+${text}`} points`
}
const times = value => value >= 100 ? value.toFixed(0) : value.toPrecision(value >= 10 ? 3 : 2)
const small = value => String(Number(Number(value).toPrecision(6)))

/** Format a number with significant digits and a prefix: 14.39G, 0.7112, 26µ. */
function amount(value, digits = 4) {
  if (!Number.isFinite(value)) return "–"
  if (value === 0 || Math.abs(value) >= 1e-3 && Math.abs(value) < 1e3) return String(Number(value.toPrecision(digits)))
  const [size, prefix] = PREFIXES.find(([size]) => Math.abs(value) >= size) ?? PREFIXES.at(-1)
  return Number((value / size).toPrecision(digits)) + prefix
}

const element = (name, attributes = {}, text) => {
  const node = document.createElementNS(SVG, name)
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value)
  if (text !== undefined) node.textContent = text
  return node
}

const LAYOUT = `
<div class="cl-bar">
  <div class="cl-number" role="radiogroup" aria-label="number of models"></div>
  <label class="cl-goal">go to <select aria-label="goal"></select><input hidden aria-label="value of the goal"></label>
</div>
<div class="cl-words"><p class="cl-sentence" aria-live="polite"></p><p class="cl-sentence cl-longest" aria-hidden="true"></p></div>
<figure class="cl-chart"></figure>
<div class="cl-exits" role="img"></div>
<p class="cl-hatched"><i></i><span></span></p>
<div class="cl-ways" aria-hidden="true"><span>◂ more exit</span><span>more are deferred ▸</span></div>
<div class="cl-stages"></div>
<p class="cl-note" aria-live="polite"></p>
<div class="cl-bar cl-tools">
  <button class="cl-undo" disabled>undo</button>
  <button data-copy="link">copy link</button><button data-copy="python">copy Python</button>
  <span class="cl-settings"></span><span class="cl-reason" role="status"></span>
  <span class="cl-copied" aria-live="polite"></span>
</div>
<textarea class="cl-text" hidden readonly aria-label="text to copy"></textarea>
<details class="cl-numbers"><summary>All numbers, with intervals</summary><div></div></details>
<details class="cl-examples" open hidden><summary>Examples that this cascade corrects and loses</summary><div></div></details>`

class View {
  /** host: null in a file, or {request(message), silent(), changed(state, finite thresholds)} in a notebook. */
  constructor(el, host) {
    this.el = el
    this.host = host
    this.past = []
    this.active = 0
    this.goal = "near_best"
    this.root = document.createElement("section")
    this.root.className = "cascadelib"
    this.root.view = this
    this.root.innerHTML = LAYOUT
    this.progress = document.createElement("span")
    this.progress.className = "cl-progress"
    this.progress.innerHTML = `<span role="status"></span> <button title="Keep the current cascade. The kernel ends its search in the background.">stop</button>`
    this.root.classList.toggle("cl-jupyter", document.body.dataset.jpThemeLight !== undefined)
    el.append(this.root)
    this.find = selector => this.root.querySelector(selector)
    this.listen()
    this.observer = new ResizeObserver(() => this.pack && this.draw())
    this.observer.observe(this.find(".cl-chart"))
  }

  listen() {
    const goals = this.find(".cl-goal select")
    const value = this.find(".cl-goal input")
    goals.innerHTML = Object.entries(GOALS).map(([key, text]) => `<option value="${key}">${text}</option>`).join("")
    goals.addEventListener("change", () => {
      value.hidden = !["accuracy", "budget"].includes(goals.value)
      value.placeholder = goals.value === "budget" ? `e.g. ${amount(this.shown.cost, 2)}` : "e.g. 94.2%"
      if (value.hidden) this.go(goals.value)
      else value.focus()
    })
    value.addEventListener("change", () => this.goTyped(goals.value, value.value))
    this.progress.querySelector("button").addEventListener("click", () => this.stop())
    this.find(".cl-undo").addEventListener("click", () => this.undo())
    for (const button of this.root.querySelectorAll("[data-copy]"))
      button.addEventListener("click", () => this.copy(button.dataset.copy))
    for (const name of ["numbers", "examples"])
      this.find(`.cl-${name}`).addEventListener("toggle", () => this.pack && this.drawDetails())
    this.root.addEventListener("keydown", event => {
      if (!event.ctrlKey && !event.metaKey) event.stopPropagation() // not to the notebook's shortcuts of one key
    })
  }

  destroy() {
    this.observer.disconnect()
    clearInterval(this.clock)
    this.root.remove()
  }

  // Data

  /** Use new arrays and their JSON. */
  setData(pack, details) {
    const isFirst = !this.pack
    const before = this.pack
    this.pack = pack
    this.details = details
    if (isFirst || !(this.cost in pack.costs)) this.cost = Object.keys(pack.costs)[0]
    if (before && (before.method !== pack.method || before.score !== pack.score)) this.past = []
    this.certified = details.certificate?.rows ?? []
    this.buildBar()
  }

  frontOf(n, cost = this.cost) {
    return this.details.fronts[[cost, this.pack.score, this.pack.method, n].join("|")]
  }

  get n() { return this.models?.length ?? 0 }
  get front() { return this.frontOf(this.n) }
  /** The split of the sentence and of the chart: held out, if there is one. */
  get split() { return this.pack.splits.at(-1) }
  get noun() {
    const [first] = this.details.examples ?? []
    return first ? first.image ? "images" : "texts" : "samples"
  }

  name(model) { return this.pack.models[model] }

  get costTitle() { return this.pack.costs[this.cost] }

  buildBar() {
    const number = this.find(".cl-number")
    const group = this.group ??= `cl-${Math.random().toString(36).slice(2)}`
    number.innerHTML = this.details.lengths.map(n =>
      `<label><input type="radio" name="${group}" value="${n}"><span>${n} model${n > 1 ? "s" : ""}</span></label>`).join("")
    number.onchange = event => this.resize(Number(event.target.value))
    const settings = this.find(".cl-settings")
    const list = (kind, words, value) => Object.keys(words).length < 2 ? "" :
      `<label>${kind} <select data-kind="${kind}">${Object.entries(words).map(([name, text]) =>
        `<option value="${escaped(name)}"${name === value ? " selected" : ""}>${escaped(text)}</option>`).join("")}</select></label>`
    const { methods, scores } = this.host ? this.details : { methods: {}, scores: {} }
    settings.innerHTML = list("cost", this.pack.costs, this.cost) + list("method", methods, this.pack.method) + list("score", scores, this.pack.score)
    settings.onchange = event => this.change(event.target.dataset.kind, event.target.value)
    this.drawLocks()
  }

  // Controls that need the kernel

  /** Disable the controls that need the kernel, with a reason, or enable them (null). */
  lock(reason) {
    if (reason === this.locked) return
    this.locked = reason
    this.drawLocks()
    if (this.models) this.drawNote()
  }

  /** The reason why the kernel cannot be asked now, or null. */
  get reason() { return this.locked ?? (this.pending ? "a search is running" : null) }

  drawLocks() {
    if (!this.host) return
    const { reason } = this
    const lock = (control, why) => {
      control.disabled = Boolean(why)
      control.title = why ?? ""
    }
    for (const select of this.root.querySelectorAll('[data-kind]:not([data-kind="cost"]), .cl-longer')) lock(select, reason)
    for (const radio of this.root.querySelectorAll(".cl-number input")) lock(radio, this.frontOf(Number(radio.value)) ? null : reason)
    this.find(".cl-reason").textContent = this.locked ?? ""
  }

  /** Show the computed method, score, cost and number of models in the selectors. */
  drawSelectors() {
    const values = { method: this.pack.method, score: this.pack.score, cost: this.cost }
    for (const [kind, value] of Object.entries(values)) {
      const select = this.find(`[data-kind="${kind}"]`)
      if (select) select.value = value
    }
    for (const radio of this.root.querySelectorAll(".cl-number input")) radio.checked = Number(radio.value) === this.n
  }

  // The state

  /** The text after # in the address, which is Explorer.state. */
  address() {
    const query = new URLSearchParams()
    for (const model of this.models) query.append("models", this.name(model))
    query.append("method", this.pack.method)
    query.append("cost", this.cost)
    query.append("score", this.pack.score)
    for (let stage = 0; stage < this.n - 1; stage++) query.append("thresholds", String(this.threshold(stage)))
    query.append("goal", typeof this.goal === "string" ? this.goal : Object.entries(this.goal)[0].join(":"))
    return query.toString()
  }

  /** Show the cascade of an address, or throw an Error that names what this page does not have. */
  open(text) {
    const query = new URLSearchParams(text.replace(/^#/, ""))
    const models = query.getAll("models").map(name => {
      const model = this.pack.models.indexOf(name)
      if (model < 0) throw new Error(`the address names a model that this page does not have: ${name}`)
      return model
    })
    const thresholds = query.getAll("thresholds")
    for (const part of ["method", "score"])
      if (query.get(part) !== this.pack[part]) throw new Error(`this page has the ${part} ${this.pack[part]}, not ${query.get(part)}`)
    if (!(query.get("cost") in this.pack.costs)) throw new Error(`this page does not have the cost ${query.get("cost")}`)
    const isChain = models.length > 0 && models.length <= 8 && new Set(models).size === models.length && thresholds.length === models.length - 1
    if (!isChain || thresholds.some(t => !(t in { always: 1, never: 1 }) && (t.trim() === "" || !Number.isFinite(Number(t)))))
      throw new Error("the address names no cascade")
    if (!this.pack.holds(models)) throw new Error("this page does not have the outputs of that cascade")
    this.cost = query.get("cost")
    const goal = (query.get("goal") ?? "near_best").split(":")
    this.goal = goal.length > 1 ? { [goal[0]]: Number(goal[1]) } : goal[0]
    const row = this.findRow(models, thresholds)
    this.set(models, row ? row[2] : models.slice(0, -1).map((_, stage) => this.pack.cut(models, stage, asNumber(thresholds[stage]))), row ? row[1] : [], false)
  }

  /** The row of a front or certificate that is this cascade, whose cuts are exact. */
  findRow(models, thresholds) {
    const fronts = Object.values(this.details.fronts).map(front => front.rows)
    const same = row => row[2] && String(row[0]) === String(models) && row[1].every((t, i) => String(t) === String(thresholds[i]) || Number(t) === Number(thresholds[i]))
    for (const rows of [this.certified, ...fronts]) {
      const row = rows.find(same)
      if (row) return row
    }
    return null
  }

  threshold(stage) { return this.exact[stage] ?? this.pack.threshold(this.models, stage, this.cuts[stage]) }

  /** Show a cascade. exact: thresholds to use instead of those of the cuts. */
  set(models, cuts, exact = [], remembers = true, isDrag = false) {
    if (remembers && this.models && !(isDrag && this.dragged === this.active)) this.past.push([this.models, this.cuts, this.exact, this.cost])
    this.dragged = isDrag ? this.active : null
    this.models = models
    this.cuts = cuts.slice()
    this.exact = exact.slice()
    this.active = Math.min(this.active, Math.max(0, models.length - 2))
    this.evaluated = evaluate(this.pack, models, this.cuts, this.cost)
    this.evaluatedPack = this.pack
    this.changed(isDrag)
  }

  changed(isDrag) {
    if (isDrag) {
      this.frame ??= requestAnimationFrame(() => {
        this.frame = null
        this.draw(true)
      })
    } else this.draw()
    const send = () => {
      this.sending = null
      const finite = this.models.slice(0, -1).map((model, stage) => {
        const exact = this.exact[stage]
        return { name: this.name(model), value: Number.isFinite(exact) ? exact : this.pack.finite(this.models, stage, this.cuts[stage]) }
      })
      this.host?.changed(this.address(), finite)
      if (!this.host) history.replaceState(null, "", `#${this.address()}`)
    }
    if (!isDrag) {
      clearTimeout(this.sending)
      send()
    } else this.sending ??= setTimeout(send, 120)
  }

  undo() {
    const last = this.past.pop()
    if (!last) return
    this.cost = last[3]
    this.set(last[0], last[1], last[2], false)
  }

  // User actions

  /** Move the cut of a stage, within a band to the nearest certified one, with a key to another one than the current. */
  drag(stage, cut, isKey = false) {
    this.active = stage
    const cuts = this.cuts.slice()
    const exact = this.exact.slice()
    cuts[stage] = cut
    exact[stage] = null
    const band = this.band(stage)
    const way = cut - this.cuts[stage]
    const reachable = isKey ? band.filter(each => (each.cut - this.cuts[stage]) * way > 0) : band
    if (band.length > 1 && reachable.length && cut >= band[0].cut && cut <= band.at(-1).cut) {
      const nearest = reachable.reduce((a, b) => Math.abs(b.cut - cut) < Math.abs(a.cut - cut) ? b : a)
      cuts[stage] = nearest.cut
      exact[stage] = nearest.threshold
    }
    this.moved = true
    this.set(this.models, cuts, exact, true, true)
  }

  /** Move to a threshold in native units, from a text field or another widget. */
  moveTo(stage, threshold) {
    const cut = this.pack.cut(this.models, stage, threshold)
    if (cut !== this.cuts[stage]) this.drag(stage, cut)
  }

  /** Certified points that differ from this cascade only in this threshold: {cut, threshold} by rising cut. */
  band(stage) {
    const others = (row, i) => i === stage || String(row[1][i]) === String(this.threshold(i))
    const rows = this.certified.filter(row => row[2] && String(row[0]) === String(this.models) && row[1].every((_, i) => others(row, i)))
    return rows.map(row => ({ cut: row[2][stage], threshold: row[1][stage] })).sort((a, b) => a.cut - b.cut)
  }

  /** The certified cascades that this page can evaluate: {row, cost, accuracy}. */
  get certifiedPoints() {
    const key = `${this.cost} ${this.pack.method} ${this.pack.score}`
    if (this.certifiedCache?.key !== key || this.certifiedCache.rows !== this.certified) {
      this.certifiedCache = { key, rows: this.certified, at: this.measure(this.certified) }
    }
    return this.certifiedCache.at
  }

  /** Rows of cascades on the split of the chart: {row, cost, accuracy} of those that the page can evaluate. */
  measure(rows) {
    return rows.filter(row => row[2] && this.pack.holds(row[0])).map(row => {
      const { cost, accuracy } = evaluateOnSplit(this.pack, this.split, outputsOf(this.pack, row[0]), row[0], row[2], this.cost)
      return { row, cost, accuracy }
    })
  }

  /** A front on the split of the chart: {row, cost, accuracy} by rising cost. */
  measureFront(front) {
    this.measured ??= new WeakMap()
    if (!this.measured.has(front)) {
      const every = Math.ceil(front.rows.length * this.split.samples / FRONT_SAMPLES)
      const points = this.pack.splits.length === 1 ?
        front.rows.map((row, i) => ({ row, cost: front.cost[i], accuracy: front.accuracy[i] })) :
        this.measure(front.rows.filter((_, i) => i % every === 0 || i === front.rows.length - 1))
      this.measured.set(front, points.sort((a, b) => a.cost - b.cost))
    }
    return this.measured.get(front)
  }

  get cheapestCertified() {
    return this.certifiedPoints.reduce((a, b) => a && a.cost <= b.cost ? a : b, null)?.row
  }

  get isCertified() {
    return this.certified.some(row => String(row[0]) === String(this.models) && row[1].every((t, i) => String(t) === String(this.threshold(i))))
  }

  /** Use another model at a position. If it is in the cascade, both swap. Each stage defers the share that it did. */
  replace(position, model) {
    const models = this.models.slice()
    const other = models.indexOf(model)
    if (other >= 0) models[other] = models[position]
    models[position] = model
    this.takeModels(models)
  }

  takeModels(models) {
    const each = this.pack.splits[0].baselines[this.cost].singles[1]
    models.sort((a, b) => each[a] - each[b] || a - b)
    if (!this.pack.holds(models)) {
      if (this.host && !this.reason) this.host.changed(this.addressOf(models), [])
      else this.showMessage(this.reason ?? `this page does not have the outputs of ${models.map(m => this.name(m)).join(" → ")}: open it in a notebook`)
      this.draw()
      return
    }
    const cuts = []
    for (let stage = 0; stage < models.length - 1; stage++) cuts.push(this.cutOfShare(models, cuts, stage, this.deferredShare(stage)))
    this.set(models, cuts)
  }

  /** The address of other models whose stages always exit, for which the kernel sends the outputs. */
  addressOf(models) {
    const query = new URLSearchParams(this.address())
    query.delete("models")
    query.delete("thresholds")
    for (const model of models) query.append("models", this.name(model))
    for (let stage = 0; stage < models.length - 1; stage++) query.append("thresholds", "always")
    return query.toString()
  }

  deferredShare(stage) {
    const { exits } = this.evaluated[0]
    const arriving = exits.slice(stage).reduce((a, b) => a + b, 0)
    return arriving && stage < exits.length - 1 ? 1 - exits[stage] / arriving : 0.2
  }

  /** The cut of a stage that defers this share of the arriving samples. */
  cutOfShare(models, cuts, stage, share) {
    const outputs = models.slice(0, stage + 1).map((_, s) => this.pack.output(models, s))
    const split = this.pack.splits[0]
    const { ranks, groups } = outputs[stage]
    const counts = new Uint32Array(groups + 1)
    let arriving = 0
    for (let i = 0, at = split.from; i < split.samples; i++, at++) {
      if (outputs.slice(0, stage).some((output, s) => output.ranks[at] < cuts[s])) continue
      counts[ranks[at]]++
      arriving++
    }
    const wanted = Math.round(arriving * (1 - share))
    if (wanted >= arriving) return groups
    let cut = 0
    for (let leaving = 0; cut < groups && leaving + counts[cut] <= wanted; cut++) leaving += counts[cut]
    return cut
  }

  /** Show the best cascade of n models by the current goal or, without a front, one of the current models. */
  resize(n) {
    if (n === this.n) return
    if (this.frontOf(n)) return this.go(this.goal, n)
    if (this.host) return this.search({ n }, ".cl-number")
    const free = this.pack.models.map((_, model) => model).filter(model => !this.models.includes(model))
    const models = n <= this.n ? [...this.models.slice(0, n - 1), this.models.at(-1)] : [...this.models, ...free.slice(this.n - n)]
    this.takeModels(models)
  }

  change(kind, name) {
    const control = `label:has([data-kind=${kind}])`
    if (kind !== "cost") return this.search({ [kind]: name }, control)
    this.past.push([this.models, this.cuts, this.exact, this.cost])
    this.cost = name
    this.set(this.models, this.cuts, this.exact, false)
    if (!this.front && this.host && !this.reason) this.search({}, control, true)
  }

  /** Request a front from the kernel. The progress appears next to a control, given by its selector. The selectors show
   * the computed cascade until the front arrives. */
  search(wanted, control, stays = false) {
    this.drawSelectors()
    if (this.reason) return this.showMessage(this.reason)
    const message = { n: this.n, method: this.pack.method, score: this.pack.score, cost: this.cost, ...wanted }
    this.pending = { stays, message, begun: Date.now(), isAcknowledged: false }
    this.moved = false
    this.showMessage("")
    this.find(control).after(this.progress)
    this.drawLocks()
    this.host.request(message)
    clearInterval(this.clock)
    this.clock = setInterval(() => this.tick(), 1000)
    this.tick()
  }

  tick() {
    const { message, begun, isAcknowledged } = this.pending
    const seconds = Math.round((Date.now() - begun) / 1000)
    if (!isAcknowledged && seconds >= ACKNOWLEDGED) {
      this.settle("")
      return this.host.silent()
    }
    const most = message.seconds ?? (message.n > 3 ? PATIENCE : null)
    this.progress.firstChild.textContent = `searching: ${seconds} s${most ? ` of at most ${most} s` : ""}`
  }

  /** Keep the current cascade, whatever the kernel finds. */
  stop() {
    this.settle("")
    this.host.request({ stop: true })
  }

  /** End the wait for a search, with the message of an error or "". */
  settle(message) {
    clearInterval(this.clock)
    this.pending = null
    this.progress.remove()
    this.showMessage(message)
    this.drawSelectors()
    this.drawLocks()
  }

  /** Show the result of a search, unless the user has moved something in the meantime. */
  showResult() {
    const { pending } = this
    this.settle("")
    if (pending && !pending.stays && !this.moved && this.frontOf(pending.message.n)) this.go(this.goal, pending.message.n)
    else if (this.pack.holds(this.models)) this.set(this.models, this.models.slice(0, -1).map((_, s) => Math.min(this.cuts[s], this.pack.output(this.models, s).groups)), this.exact, false)
  }

  goTyped(kind, text) {
    const match = /^\s*([\d.]+(?:e[+-]?\d+)?)\s*([kMGT%]?)\s*$/.exec(text)
    if (!match || !Number.isFinite(Number(match[1]))) return this.showMessage("write a number such as 11M, 94.2% or 0.942")
    let value = Number(match[1]) * (SIZES[match[2]] ?? 1)
    if (kind === "accuracy" && (match[2] === "%" || value > 1)) value = Number(`${match[1]}e-2`)
    this.go({ [kind]: value })
  }

  /** Show the point of a front that meets a goal. */
  go(goal, n = this.n) {
    const front = this.frontOf(n)
    if (!front) return this.host ? this.search({ n }, ".cl-goal") : this.showMessage(`this page has no front of ${n} models`)
    const row = pick(front, this.pack.splits[0].baselines[this.cost], goal)
    if (row === null) {
      const end = goal.budget === undefined ? `the best has ${percent(front.accuracy.at(-1))}` : `the cheapest costs ${amount(front.cost[0])}`
      this.showMessage(`no cascade of ${n} models meets this goal: ${end}`)
      this.draw()
      return
    }
    this.goal = goal
    this.load(front.rows[row])
  }

  load([models, thresholds, cuts]) {
    if (!cuts) {
      this.showMessage("this page does not have the outputs of that cascade")
      return
    }
    this.showMessage("")
    this.set(models.slice(), cuts, thresholds)
  }

  showMessage(text) {
    this.message = text
    if (this.models) this.drawNote()
  }

  // Exports

  copy(what) {
    if (what === "python") return this.offer(this.python(), what)
    if (this.host) return this.offer(this.address(), "state= of cl.explore")
    this.offer(`${location.href.split("#")[0]}#${this.address()}`, what)
  }

  /** Python that creates the policy of the current cascade. */
  python() {
    const names = ["store", "held_out"].slice(0, this.details.paths.length)
    const opened = names.map((name, i) => {
      const path = this.details.paths[i]
      return `${name} = ${path ? `cl.LogitStore(${JSON.stringify(path)})` : "…"}  # ${this.pack.splits[i].samples} samples`
    })
    const splits = names.join(", ")
    return ["import cascadelib as cl", "", ...opened, `explorer = cl.explore(${splits}, state=${JSON.stringify(this.address())})`,
      `policy = cl.Policy.from_point(explorer.point, ${splits})`, 'policy.save("cascade.json")', ""].join("\n")
  }

  /** Copy a text and show it, since a browser may forbid copying. */
  async offer(text, what) {
    const area = this.find(".cl-text")
    area.value = text
    area.hidden = false
    area.rows = Math.min(8, text.split("\n").length + 1)
    area.select()
    try {
      await navigator.clipboard.writeText(text)
      this.find(".cl-copied").textContent = `copied: ${what}`
    } catch {
      this.find(".cl-copied").textContent = "press Ctrl+C"
    }
  }

  // Drawing

  /** Draw everything, without the details while a slider moves. */
  draw(isDrag = false) {
    if (!this.models) return
    this.buildStages()
    this.drawSentence()
    this.drawNote()
    this.drawExits()
    this.drawStages()
    this.drawChart()
    this.find(".cl-undo").disabled = !this.past.length
    this.drawSelectors()
    const goal = typeof this.goal === "string" ? this.goal : Object.keys(this.goal)[0]
    const goals = this.find(".cl-goal select")
    const value = this.find(".cl-goal input")
    if (![goals, value].includes(document.activeElement)) { // not while the user edits them
      goals.value = goal === "match_best" ? "near_best" : goal
      value.hidden = !["accuracy", "budget"].includes(goals.value)
    }
    if (!isDrag) this.drawDetails()
    else {
      clearTimeout(this.later)
      this.later = setTimeout(() => this.drawDetails(), 250)
    }
  }

  get shown() { return this.evaluated.at(-1) }

  costWords(saving) {
    const [less, more] = this.pack.cost_words[this.cost]
    return saving >= 1 ? `${times(saving)} times ${less}` : `${times(1 / saving)} times ${more}`
  }

  drawSentence() {
    this.find(".cl-sentence").innerHTML = this.sentence(this.models.map(m => this.name(m)), this.evaluated)
  }

  /** The sentence of a cascade. evaluated: its results by split, of which the last is stated. */
  sentence(names, evaluated) {
    const result = evaluated.at(-1)
    const [chosen] = evaluated
    const { k } = result
    const rates = result.exitRates.map(rate => Math.round(100 * rate))
    rates[rates.indexOf(Math.max(...rates))] += 100 - rates.reduce((a, b) => a + b)
    const stops = names.map((name, stage) => `<b>${rates[stage]}</b>${stage ? "" : " exit"} at ${escaped(name)}`)
    const list = stops.length > 1 ? `${stops.slice(0, -1).join(", ")} and ${stops.at(-1)}` : stops[0]
    const score = { f1: "F1 is" }[this.pack.score]
    const agreement = this.agreement()
    const correct = score ? `${score} <b>${percent(result.accuracy, k)}</b>` :
      `<b>${percent(result.accuracy, k)}</b> ${agreement ? `agree with ${escaped(agreement)}` : "are correct"}${/^top(?!1$)/.test(this.pack.score) ? ` (${this.pack.score.replace("top", "top-")})` : ""}`
    const best = escaped(this.name(result.reference))
    const many = split => `${split.k.toLocaleString("en")} ${this.noun}${this.dataOf(split)}`
    const { shared } = this.pack.splits.at(-1)
    const others = shared ? `${this.noun}, ${shared.toLocaleString("en")} of them the same` : "others"
    const checked = evaluated.length > 1 ?
      `Measured on ${many(result)}. Selected on ${chosen.k.toLocaleString("en")} ${others} (there ${percent(chosen.accuracy, chosen.k)}, ${times(chosen.saving)} times).` :
      `Selected and measured on the same ${many(result)}. Expect a lower accuracy on new data.`
    const alone = agreement ? "" : ` (${best} alone: ${percent(result.best, k)})`
    return `Of 100 ${this.noun}, ${list}; ${correct}${alone}, for <b>${this.costWords(result.saving)}</b>. ${this.guarantee()}<small>${checked}</small>`
  }

  /** The model whose answers are the labels, since it is correct on all samples, else null. */
  agreement() {
    const bests = this.pack.splits.map(({ baselines }) => baselines[this.cost].best)
    const isAlwaysCorrect = this.pack.splits.every(({ baselines }, i) => baselines[this.cost].singles[0][bests[i]] === 1)
    return this.pack.score === "top1" && isAlwaysCorrect ? this.name(bests.at(-1)) : null
  }

  get scoreTitle() {
    const agreement = this.agreement()
    if (agreement) return `agreement with ${agreement}`
    return this.pack.score === "f1" ? "F1" : this.pack.score_words
  }

  /** The guarantee of the current cascade, if it is certified. */
  guarantee() {
    const { certificate } = this.details
    if (!certificate) return ""
    if (!this.isCertified) return `<span class="cl-open">Not certified.</span> `
    return `<span class="cl-sure">${this.certifiedWords()}</span> `
  }

  certifiedWords() {
    return `<b>Certified</b>: ${escaped(this.details.certificate.promise)}.`
  }

  dataOf({ split }) {
    const { data } = this.pack.splits.find(each => each.name === split)
    return data ? ` of ${escaped(data)}` : ""
  }

  /** Reserve the height of the longest sentence of these models, so that nothing below it moves with a slider. */
  reserveHeight() {
    const exitRates = this.models.map((_, i) => i ? 0 : 1)
    const longest = this.sentence(this.models.map(m => this.name(m)), this.evaluated.map(each => ({ ...each, exitRates, saving: 100 })))
    const hasCertified = this.certified.some(row => String(row[0]) === String(this.models))
    this.find(".cl-longest").innerHTML = hasCertified ? longest.replace("Not certified.", () => this.certifiedWords()) : longest
  }

  drawNote() {
    const { certificate } = this.details
    const texts = [
      this.message && `<b>${escaped(this.message)}</b>`,
      certificate && this.aboutCertificate(certificate),
      !this.message && this.aboutFront(),
    ]
    const note = this.find(".cl-note")
    const html = texts.filter(Boolean).join(" · ")
    if (this.noteHtml === html) return
    this.noteHtml = note.innerHTML = html
    note.querySelector(".cl-longer")?.addEventListener("click", () => this.search({ seconds: 4 * PATIENCE }, ".cl-note"))
    this.drawLocks()
    note.querySelector(".cl-cheapest")?.addEventListener("click", () => this.load(this.cheapestCertified))
  }

  /** How much cheaper other cascades may be than those of the front. */
  aboutFront() {
    const { front, host, n } = this
    if (!front) return host ? "" : `this page has no front of ${n} models, so this cascade is not optimized`
    const cheaper = 100 * front.gap / (1 + front.gap)
    if (front.gap <= ROUGH) return cheaper && `no cascade of ${n} models is more than ${cheaper.toFixed(1)}% cheaper at equal accuracy`
    const longer = host ? ` · <button class="cl-longer">search longer</button>` : ""
    return `best found in ${PATIENCE} s: another cascade may be up to ${cheaper.toFixed(0)}% cheaper${longer}`
  }

  /** The certified cascades and their labels or, if there are none, the number of labels that would suffice. */
  aboutCertificate({ samples, deltas, epsilon, assumption, promise }) {
    const on = `${samples.toLocaleString("en")} other labels`
    const delta = deltas.reduce((a, b) => a + b)
    if (!this.certified.length) {
      const needed = epsilon ? Math.ceil(Math.log(Math.max(...deltas)) / Math.log1p(-epsilon)) : null
      return `nothing is certified: ${on} do not suffice${needed ? `, ${needed.toLocaleString("en")} without a loss would` : ""}`
    }
    const sure = `at confidence ${Number((100 * Math.max(0, 1 - delta)).toPrecision(6))}%, simultaneously`
    const many = this.certified.length
    const go = this.cheapestCertified ? ` <button class="cl-cheapest">show the cheapest</button>` : ""
    return `◇ ${many === 1 ? "one cascade is" : `${many.toLocaleString("en")} cascades are`} certified by ${on} (${sure}): each ${escaped(promise)}. Others are not certified${go} <small>${escaped(assumption)}</small>`
  }

  drawExits() {
    const { exitRates, exits, exitsCorrect, k } = this.shown
    const strip = this.find(".cl-exits")
    strip.innerHTML = exitRates.map((rate, stage) => {
      const wrong = exits[stage] ? 1 - exitsCorrect[stage] / exits[stage] : 0
      return `<div style="flex-basis:${100 * rate}%;background:${STAGES[stage % 4]}"><i style="width:${100 * wrong}%"></i>${rate * (1 - wrong) * strip.clientWidth > 52 ? `<span style="margin-right:${100 * wrong}%">${(100 * rate).toFixed(1)}%</span>` : ""}</div>`
    }).join("")
    this.find(".cl-hatched span").textContent = `hatched: ${this.agreement() ? "other answers than the large model's" : "incorrect answers"}`
    strip.setAttribute("aria-label", this.models.map((model, stage) => `${percent(exitRates[stage], k)} exit at ${this.name(model)}`).join(", "))
  }

  /** Build the rows of sliders of another cascade. */
  buildStages() {
    const key = [this.models, this.cost].join()
    if (this.built?.key === key && this.built.pack === this.pack) return
    this.built = { key, pack: this.pack }
    this.reserveHeight()
    const box = this.find(".cl-stages")
    const focused = box.contains(document.activeElement) ? `.${document.activeElement.className}[data-stage="${document.activeElement.dataset.stage}"]` : null
    const { singles } = this.split.baselines[this.cost]
    const options = chosen => this.pack.models.map((name, model) =>
      `<option value="${model}"${model === chosen ? " selected" : ""}>${escaped(name)} · ${(100 * singles[0][model]).toFixed(1)}% · ${amount(singles[1][model], 3)}</option>`).join("")
    box.innerHTML = this.models.map((model, stage) => {
      const name = escaped(this.name(model))
      const label = `<span class="cl-chip" style="background:${STAGES[stage % 4]}">${stage + 1}</span><select class="cl-model" data-stage="${stage}" aria-label="model ${stage + 1}">${options(model)}</select>`
      if (stage === this.n - 1) return `<div class="cl-stage cl-last">${label}<span class="cl-rest">answers all remaining ${this.noun}</span><span class="cl-share"></span></div>`
      return `<div class="cl-stage">${label}<span class="cl-track"><span class="cl-band"></span><input class="cl-slider" type="range" data-stage="${stage}" min="0" max="${this.pack.output(this.models, stage).groups}" step="1" aria-label="${name}: threshold"></span>
        <span class="cl-share"></span><input class="cl-threshold" data-stage="${stage}" size="8" aria-label="${name}: threshold as text" title="a number in the metric's native units, always or never. Press Enter"></div>`
    }).join("")
    for (const select of box.querySelectorAll(".cl-model"))
      select.addEventListener("change", () => this.replace(Number(select.dataset.stage), Number(select.value)))
    for (const slider of box.querySelectorAll(".cl-slider")) {
      const stage = Number(slider.dataset.stage)
      slider.addEventListener("input", () => this.drag(stage, Number(slider.max) - slider.valueAsNumber))
      slider.addEventListener("change", () => { this.dragged = null })
      slider.addEventListener("focus", () => {
        this.active = stage
        this.drawChart()
      })
      slider.addEventListener("keydown", event => { // an arrow is a visible step, with Shift a single sample
        const steps = { ArrowRight: 1, ArrowUp: 1, PageUp: 20, ArrowLeft: -1, ArrowDown: -1, PageDown: -20 }[event.key]
        if (!steps) return
        event.preventDefault()
        const most = Number(slider.max)
        const cuts = event.shiftKey ? steps : Math.sign(steps) * Math.max(1, Math.round(Math.abs(steps) * most / 200))
        this.drag(stage, Math.min(most, Math.max(0, this.cuts[stage] - cuts)), true)
      })
    }
    for (const field of box.querySelectorAll(".cl-threshold"))
      field.addEventListener("change", () => {
        const stage = Number(field.dataset.stage)
        const text = field.value.trim().toLowerCase()
        if (text in { always: 1, never: 1 } || text && Number.isFinite(Number(text))) this.moveTo(stage, asNumber(text))
        this.drawStages()
      })
    if (focused) box.querySelector(focused)?.focus()
  }

  drawStages() {
    const { exits, k } = this.shown
    const rows = this.find(".cl-stages").children
    this.models.forEach((_, stage) => {
      const row = rows[stage]
      row.querySelector(".cl-share").textContent = `${(100 * exits[stage] / k).toFixed(1)}% exit`
      row.querySelector(".cl-model").value = this.models[stage]
      const slider = row.querySelector(".cl-slider")
      if (!slider) return
      const most = Number(slider.max)
      slider.value = most - this.cuts[stage]
      const threshold = this.threshold(stage)
      const text = typeof threshold === "string" ? threshold : small(threshold)
      slider.setAttribute("aria-valuetext", `${text}, ${percent(exits[stage] / k)} exit here`)
      const field = row.querySelector(".cl-threshold")
      field.value = text
      field.dataset.exact = threshold
      const band = this.band(stage)
      const mark = row.querySelector(".cl-band")
      mark.hidden = band.length < 2
      if (band.length > 1) {
        mark.style.left = `${100 * (1 - band.at(-1).cut / most)}%`
        mark.style.width = `${100 * (band.at(-1).cut - band[0].cut) / most}%`
      }
    })
  }

  // The chart

  /** Ends of the axes, which do not depend on thresholds: the possible costs, and accuracies from that of the first model. */
  domain() {
    const { accuracy, singles: [accuracies, each] } = this.split.baselines[this.cost]
    const costs = this.models.map(m => each[m])
    const total = costs.reduce((a, b) => a + b)
    const least = Math.max(costs[0], total * 1e-9, 1e-300)
    const low = accuracies[this.models[0]]
    const ofFront = this.front ? this.measureFront(this.front).map(point => point.accuracy) : []
    let high = Math.max(accuracy.at(-1), this.shown.accuracy, ...ofFront)
    const k = this.shown.k
    high += 1.2 * (shareInterval(high, k)[1] - high)
    const span = Math.max(high - low, 1e-6)
    return { x: [least * 0.93, Math.max(total, least * 1.1) * 1.07], y: [low - 0.06 * span, Math.min(high + 0.03 * span, 1 + 0.02 * span)] }
  }

  drawChart() {
    const figure = this.find(".cl-chart")
    const width = Math.max(260, Math.floor(figure.clientWidth))
    const height = (Math.floor(figure.clientHeight) || 260) - 2
    const { x: xs, y: ys } = this.domain()
    const { front, certifiedPoints } = this
    const others = this.cuts.filter((_, stage) => stage !== this.active)
    const key = [width, height, xs, ys, this.models, this.cost, this.active, others].join(" ")
    const drawn = this.drawn
    if (drawn?.key !== key || drawn.front !== front || drawn.certified !== certifiedPoints || drawn.pack !== this.pack)
      this.drawn = { key, front, certified: certifiedPoints, pack: this.pack, ...this.drawBackground(figure, width, height, xs, ys) }
    const { x, y, curves, points, boxes } = this.drawn
    const path = d3.line(p => x(p[0]), p => y(p[1]))
    const held = this.evaluated.length > 1
    curves.replaceChildren(...this.models.slice(0, -1).flatMap((_, stage) => {
      const line = this.curveOf(stage)
      const node = element("path", { class: `cl-curve${stage === this.active ? " cl-active" : ""}`, d: path(line) })
      if (this.n === 2 || !line.length) return [node]
      node.style.stroke = STAGES[stage % 4]
      const [cost, accuracy] = line[0] // if this model never exits
      return [node, element("circle", { cx: x(cost), cy: y(accuracy), r: 7, fill: STAGES[stage % 4] }), element("text", { class: "cl-digit", x: x(cost), y: y(accuracy) + 4 }, stage + 1)]
    }))
    const { cost, accuracy, isCounted, k } = this.shown
    const [px, py] = [x(cost), y(accuracy)]
    const nodes = []
    const ends = [py - 5, py + 5]
    if (held && isCounted) {
      const [bottom, highest] = y.range()
      const [low, high] = shareInterval(accuracy, k).map(end => Math.min(bottom, Math.max(highest, y(end))))
      nodes.push(element("line", { class: "cl-interval", x1: px, x2: px, y1: low, y2: high }))
      ends.splice(0, 2, high, low)
    }
    nodes.push(element("path", { class: held ? "cl-held" : "cl-now", d: `M${px},${py - 7}l7,7l-7,7l-7,-7Z` }))
    const name = [`this cascade${held && isCounted ? ", 95% interval" : ""}`, [[px, ends[0], ABOVE], [px, ends[1], BELOW]]]
    const certified = certifiedPoints.map(each => [x(each.cost), y(each.accuracy)])
    nodes.push(...placed([name], certified, [...x.range(), ...y.range()], boxes).nodes)
    points.replaceChildren(...nodes)
  }

  /** Draw what does not move with a slider: axes, front, single models, certified points and names. Returns the scales
   * and the groups of what moves. */
  drawBackground(figure, width, height, xs, ys) {
    const margin = { left: 66, right: 12, top: 10, bottom: 36 }
    const x = d3.scaleLog(xs, [margin.left, width - margin.right])
    const y = d3.scaleLinear(ys, [height - margin.bottom, margin.top])
    const svg = element("svg", { width, height, role: "img", "aria-label": `accuracy against ${this.costTitle}: the front, this cascade, single models` })
    const clip = `${this.group}-clip`
    svg.append(element("clipPath", { id: clip }))
    svg.firstChild.append(element("rect", { x: margin.left, y: margin.top, width: width - margin.left - margin.right, height: height - margin.top - margin.bottom }))
    this.drawAxes(svg, x, y, width, height, margin)
    const inside = element("g", { "clip-path": `url(#${clip})` })
    svg.append(inside)
    const baseline = this.split.baselines[this.cost]
    const best = baseline.accuracy.at(-1)
    inside.append(element("line", { class: "cl-reference", x1: margin.left, x2: width - margin.right, y1: y(best), y2: y(best) }))
    const { front } = this
    const rough = front?.gap > ROUGH ? " cl-rough" : ""
    if (front) inside.append(element("path", { class: `cl-front${rough}`, d: steps(this.measureFront(front), x, y) }))
    baseline.singles[0].forEach((accuracy, model) => {
      const cost = baseline.singles[1][model]
      if (cost > 0) inside.append(element("circle", { class: "cl-single", cx: x(cost), cy: y(accuracy), r: 2.5 }))
    })
    const curves = element("g")
    inside.append(curves)
    for (const { row, cost, accuracy } of this.certifiedPoints) {
      const hasSameModels = String(row[0]) === String(this.models)
      if (cost > 0) inside.append(element("path", { class: `cl-certified${hasSameModels ? "" : " cl-other"}`, d: `M${x(cost)},${y(accuracy) - 6}l6,6l-6,6l-6,-6Z` }))
    }
    const names = this.names(x, y)
    svg.append(...names.nodes)
    const points = element("g")
    svg.append(points)
    figure.replaceChildren(svg)
    svg.addEventListener("click", event => this.clicked(event, svg, x, y))
    return { x, y, curves, points, boxes: names.boxes }
  }

  /** Points on the split of the chart as one slider moves, computed once per position of the others. */
  curveOf(stage) {
    const key = [this.models, this.cuts.filter((_, other) => other !== stage), this.cost, this.pack.method].join(" ")
    this.curveCache ??= {}
    if (this.curveCache[stage]?.key !== key || this.curveCache[stage].pack !== this.pack) {
      const line = curve(this.pack, this.split, this.models, this.cuts, this.cost, stage).filter(point => point[0] > 0)
      this.curveCache[stage] = { key, pack: this.pack, line }
    }
    return this.curveCache[stage].line
  }

  /** The name of the front. On held-out data, other cascades can lie above it. */
  get frontName() {
    const { front } = this
    const of = front.candidates < this.pack.models.length ? ` of ${front.candidates} candidates` : ""
    return (front.gap > ROUGH ? "best found" : this.pack.splits.length > 1 ? "best on the selection split" : "best") + of
  }

  /** The names of lines and points, each where the chart has room: {nodes, boxes}. */
  names(x, y) {
    const { front, split } = this
    const { singles, best, accuracy } = split.baselines[this.cost]
    const [left, right] = x.range()
    const [bottom, top] = y.range()
    const at = ({ cost, accuracy }) => [x(cost), y(accuracy)]
    const inside = points => points.filter(([px, py]) => px >= left && px <= right && py >= top && py <= bottom)
    const dots = inside(singles[0].flatMap((each, model) => this.models.includes(model) ? [] : [[x(singles[1][model]), y(each)]]))
    const certified = inside(this.certifiedPoints.map(at))
    const ofFront = front ? inside(along(this.measureFront(front).flatMap((point, i, all) => i ? [[x(point.cost), y(all[i - 1].accuracy)], at(point)] : [at(point)]))) : []
    const ofCurve = this.n > 1 ? inside(along(this.curveOf(this.active).map(([cost, accuracy]) => [x(cost), y(accuracy)]))) : []
    const level = y(accuracy.at(-1))
    const interval = shareInterval(this.shown.accuracy, this.shown.k).map(end => [x(this.shown.cost), y(end)])
    const fixed = [...along([[left, level], [right, level]]), ...along(interval)]
    const texts = [
      [`${this.name(best)} alone`, [[right, level], [left, level]]],
      [this.n > 2 ? `as slider ${this.active + 1} moves` : "as the slider moves", ofCurve.toReversed()],
      [front ? this.frontName : "", ofFront],
      ["certified", certified],
      ["single models", dots],
    ]
    return placed(texts, [...dots, ...certified, ...ofFront, ...ofCurve, ...fixed], [left, right, bottom, top])
  }

  drawAxes(svg, x, y, width, height, margin) {
    const [left, right] = x.range()
    const xTicks = logTicks(...x.domain(), width < 500 ? 4 : 8)
    for (const value of xTicks) {
      svg.append(element("line", { class: "cl-grid", x1: x(value), x2: x(value), y1: margin.top, y2: height - margin.bottom }))
      svg.append(element("text", { class: "cl-tick", x: x(value), y: height - margin.bottom + 14, "text-anchor": "middle" }, amount(value)))
    }
    const yTicks = y.ticks(Math.max(3, Math.floor(height / 60)))
    const decimals = Math.max(0, Math.ceil(-Math.log10(100 * (yTicks[1] - yTicks[0]) + 1e-12)))
    for (const value of yTicks) {
      svg.append(element("line", { class: "cl-grid", x1: left, x2: right, y1: y(value), y2: y(value) }))
      svg.append(element("text", { class: "cl-tick", x: left - 6, y: y(value) + 4, "text-anchor": "end" }, `${(100 * value).toFixed(decimals)}%`))
    }
    svg.append(element("text", { class: "cl-title", x: (left + right) / 2, y: height - 4, "text-anchor": "middle" }, this.costTitle))
    svg.append(element("text", { class: "cl-title", transform: `translate(11,${(height - margin.bottom + margin.top) / 2}) rotate(-90)`, "text-anchor": "middle" }, `${this.agreement() ? "agreement" : this.scoreTitle}, ${this.evaluated.length > 1 ? "held out" : "selection split"}`))
  }

  /** Show the certified point or point of the front that is nearest to a click. */
  clicked(event, svg, x, y) {
    const box = svg.getBoundingClientRect()
    const [px, py] = [event.clientX - box.left, event.clientY - box.top]
    const ofFront = this.front ? this.measureFront(this.front) : []
    let nearest = null, least = 20 ** 2
    for (const { row, cost, accuracy } of [...this.certifiedPoints, ...ofFront]) {
      if (cost <= 0) continue
      const distance = (x(cost) - px) ** 2 + (y(accuracy) - py) ** 2
      if (distance < least) [nearest, least] = [row, distance]
    }
    if (nearest !== null) this.load(nearest)
  }

  // On demand

  drawDetails() {
    if (this.find(".cl-numbers").open) this.find(".cl-numbers div").innerHTML = this.table()
    const hasExamples = this.details.examples?.length && this.n > 1
    this.find(".cl-examples").hidden = !hasExamples
    if (hasExamples && this.find(".cl-examples").open) this.drawExamples()
  }

  table() {
    const columns = [...this.evaluated].reverse()
    const interval = (ends, text) => ends ? ` <small>${ends.map(text).join(" … ")}</small>` : ""
    const reference = this.name(columns[0].reference)
    const rows = [
      [this.scoreTitle, "accuracy", e => `<b>${percent(e.accuracy, e.k)}</b>${interval(e.isCounted && shareInterval(e.accuracy, e.k), v => percent(v, e.k))}`],
      [`difference from ${reference}`, "difference", e => `<b>${points(e.difference, e.k)}</b>${interval(e.isCounted && differenceInterval(e.gained, e.lost, e.k), v => points(v, e.k))}`],
      ["gained, lost", "gained", e => `${amount(e.gained)}, ${amount(e.lost)}`],
      [this.costTitle, "cost", e => `<b>${amount(e.cost)}</b>`],
      ["saving: cost of that model ÷ cost of the cascade", "saving", e => `<b>${e.saving.toPrecision(3)}×</b>`],
      ["improvement over random routing at equal accuracy", "improvement", e => Number.isNaN(e.improvement) ? "undefined: more accurate than every single model" : `${e.improvement.toPrecision(3)}×`],
      ...this.models.map((model, stage) => [`exit at ${this.name(model)}`, `exit-rate-${stage + 1}`, e => `${percent(e.exitRates[stage])} <small>${e.exits[stage].toLocaleString("en")}, ${e.exits[stage] ? percent(e.exitsCorrect[stage] / e.exits[stage]) : "–"} correct</small>`]),
    ]
    const heads = columns.map(e => `<th>${e.split}, ${e.k.toLocaleString("en")} ${this.noun}</th>`).join("")
    const body = rows.map(([title, kind, text]) => `<tr><th>${escaped(title)}</th>${columns.map(e => `<td class="${kind}" data-split="${e.split}">${text(e)}</td>`).join("")}</tr>`).join("")
    return `<table><thead><tr><th></th>${heads}</tr></thead><tbody>${body}</tbody></table>
      <p>Ranges are 95% intervals for new samples of the same distribution. They do not cover other distributions. On the samples that selected a cascade they are too optimistic.</p>`
  }

  drawExamples() {
    const { stages } = this.evaluated[0]
    const outputs = this.models.map((_, stage) => this.pack.output(this.models, stage))
    const isLost = i => outputs.at(-1).correct[i] > outputs[stages[i]].correct[i]
    const kinds = {
      "early exits": i => stages[i] === 0 && !isLost(i),
      "deferred and corrected": i => stages[i] > 0 && outputs[stages[i]].correct[i] > outputs[0].correct[i],
      "lost by exiting early": isLost,
    }
    const near = i => Math.abs(outputs[0].ranks[i] + 0.5 - this.cuts[0])
    const all = Array.from(stages.keys())
    const box = Object.entries(kinds).map(([kind, is]) => {
      const some = this.details.examples.filter(e => is(e.row)).sort((a, b) => near(a.row) - near(b.row)).slice(0, 12)
      const shown = some.map(e => `<figure>${e.image ? `<img src="${escaped(e.image)}" alt="sample ${e.row}">` : `<div>${escaped(e.text)}</div>`}<figcaption>${e.label === null ? `sample ${e.row}` : escaped(e.label)}</figcaption></figure>`).join("")
      return `<div class="cl-kind"><div><b>${kind}</b> <small>${all.filter(is).length.toLocaleString("en")} on the selection split</small></div><div>${shown || "none among the examples of this page"}</div></div>`
    })
    this.find(".cl-examples div").innerHTML = box.join("")
  }
}

const asNumber = text => text === "always" || text === "never" ? text : Number(text)

/** Points of pixels at most 6 apart along a line of pixels. */
function along(line) {
  return line.flatMap(([px, py], i) => {
    const [qx, qy] = line[i - 1] ?? [px, py]
    const parts = Math.max(1, Math.ceil(Math.hypot(px - qx, py - qy) / 6))
    return Array.from({ length: parts }, (_, part) => [px + (qx - px) * part / parts, py + (qy - py) * part / parts])
  })
}

/** Place each text next to one of its anchors [x, y, ABOVE or BELOW or neither], where it covers no other text and the
 * fewest points: {nodes, boxes}. A box is [left, right, top, bottom], plot is [left, right, bottom, top]. */
function placed(texts, points, plot, taken = []) {
  const boxes = [...taken]
  ruler.font = "12px system-ui, sans-serif"
  const covers = ([l, r, t, b], [px, py]) => px > l && px < r && py > t && py < b
  const overlaps = (a, b) => a[0] < b[1] + 8 && b[0] < a[1] + 8 && a[2] < b[3] && b[2] < a[3]
  const nodes = texts.filter(([text, anchors]) => text && anchors.length).map(([text, anchors]) => {
    const wide = ruler.measureText(text).width + 4
    let best = null, least = Infinity
    const every = Math.ceil(anchors.length / 40)
    for (const [px, py, only] of anchors.filter((_, i) => i % every === 0))
      for (const down of only ? [only] : [ABOVE, BELOW]) for (const back of [wide / 2, 0, wide]) {
        const left = Math.max(plot[0] + 4, Math.min(plot[1] - wide - 2, px - back))
        const box = [left, left + wide, py + down, py + down + 14]
        const clashes = (box[2] < plot[3] || box[3] > plot[2]) + boxes.filter(other => overlaps(box, other)).length
        const cost = 1000 * clashes + points.filter(point => covers(box, point)).length
        if (cost < least) [best, least] = [box, cost]
      }
    boxes.push(best)
    return element("text", { class: "cl-name", x: (best[0] + best[1]) / 2, y: best[3] - 3 }, text)
  })
  return { nodes, boxes }
}

/** The path of points {cost, accuracy} by rising cost, as steps. */
function steps(points, x, y) {
  let text = ""
  let last = null
  points.forEach(({ cost, accuracy }) => {
    if (cost <= 0) return
    const px = x(cost).toFixed(1)
    const py = y(accuracy).toFixed(1)
    text += last === null ? `M${px},${py}` : `H${px}V${py}`
    last = py
  })
  return text
}

/** At most ``most`` round numbers on a logarithmic axis. */
function logTicks(low, high, most) {
  for (const round of [[1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 5], [1, 2, 5], [1, 3], [1]]) {
    const found = []
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
      for (const each of round) if (each * 10 ** power >= low && each * 10 ** power <= high) found.push(Number(`${each}e${power}`))
    if (found.length <= most) return found.length > 1 ? found : [low * 1.02, high / 1.02].map(v => Number(v.toPrecision(2)))
  }
  const powers = []
  for (let power = Math.ceil(Math.log10(low)); 10 ** power <= high; power++) powers.push(Number(`1e${power}`))
  return powers.filter((_, i) => i % Math.ceil(powers.length / most) === 0)
}

/** Show the page of a file, with its state after #. */
async function mountFile(el, bytes) {
  const still = el.querySelector("noscript")
  let pack
  try {
    pack = await unpack(bytes)
  } catch (error) {
    still.outerHTML = `<p>The page cannot be opened (${escaped(error.message)}): its file is damaged, or this browser is older than 2023. It was saved with this text:</p>${still.textContent}`
    return
  }
  still.remove()
  const view = new View(el, null)
  view.setData(pack, pack)
  const openAt = text => {
    try {
      view.open(text)
    } catch (error) {
      if (!view.models) view.open(pack.state)
      view.showMessage(error.message)
    }
  }
  openAt(location.hash.length > 1 ? location.hash : pack.state)
  addEventListener("hashchange", () => { if (location.hash.slice(1) !== view.address()) openAt(location.hash) })
  window.explorer = view
  if (parent === window) return
  document.body.classList.add("cl-framed") // the page around the frame has a title
  new ResizeObserver(() => parent.postMessage({ height: Math.ceil(document.body.offsetHeight) }, "*")).observe(document.body)
}

/** Show the page as the view of a widget (anywidget). */
function render({ model, el }) {
  let view = null
  let packed = null
  let pack = null
  let loading = Promise.resolve()
  let sliders = []
  const host = {
    request: message => model.send(message),
    silent() {
      isSilent = true
      poll()
    },
    changed(state, finite) {
      if (model.get("state") !== state) {
        model.set("state", state)
        model.save_changes()
      }
      finite.forEach(({ name, value }, stage) => {
        const slider = sliders[stage]
        if (!slider || slider.get("value") === value && slider.get("description") === name) return
        slider.isSetHere = true
        slider.set({ value, description: name })
        slider.save_changes()
        slider.isSetHere = false
      })
    },
  }
  const load = () => {
    loading = loading.then(async () => {
      if (model.get("packed") !== packed) {
        packed = model.get("packed")
        pack = await unpack(packed)
      }
      view ??= new View(el, host)
      const isFirst = !view.models
      view.setData(pack, JSON.parse(model.get("details")))
      show()
      isSilent = false
      if (!isFirst && (view.pending || view.evaluatedPack !== pack)) view.showResult()
      else if (!isFirst) view.draw()
    })
  }
  const show = () => {
    if (!view?.pack) return
    const state = model.get("state")
    if (view.models && state === view.address()) return
    try {
      view.open(state)
    } catch (error) {
      if (view.models) return // its arrays will arrive
      view.showMessage(error.message)
    }
  }
  const say = () => {
    isSilent = false
    const notice = model.get("notice")
    if (notice.startsWith("searching") && view?.pending) view.pending.isAcknowledged = true
    else if (notice && !notice.startsWith("searching")) view?.settle(notice)
    else if (!notice) loading = loading.then(() => view?.pending && view.settle("")) // after its arrays are loaded
  }
  let isKernelGone = false
  let isSilent = false
  let busyPolls = 0
  /** Disable what needs the kernel while it is busy, and for good if it has ended, since its objects are lost. */
  const poll = () => {
    const status = model.widget_manager?.kernel?.status
    isKernelGone ||= ENDED.includes(status) || model.get("layout")?.comm_live === false
    busyPolls = status === "busy" ? busyPolls + 1 : 0
    if (isKernelGone && view?.pending) view.settle("")
    const reason = isKernelGone ? "the kernel has restarted or ended: run the cell again" :
      isSilent ? "the kernel does not answer" : busyPolls >= BUSY_POLLS ? "the kernel is busy" : null
    view?.lock(reason)
  }
  const clock = setInterval(poll, POLL)
  // A restart may last less than the time between two polls.
  const noteStatus = (_, status) => { isKernelGone ||= ENDED.includes(status) }
  const kernel = model.widget_manager?.kernel
  kernel?.statusChanged?.connect(noteStatus)
  // Its status may be lost, but each kernel reports its requests in a session of its own.
  let session = null
  const noteMessage = (_, { header }) => {
    if (header.msg_type !== "status") return
    session ??= header.session
    isKernelGone ||= header.session !== session
  }
  kernel?.iopubMessage?.connect(noteMessage)
  const follow = slider => () => {
    const stage = sliders.indexOf(slider)
    if (slider.isSetHere || !view?.models || stage >= view.n - 1) return
    view.moveTo(stage, slider.get("value"))
  }
  const bind = async () => {
    const ids = model.get("sliders").map(id => id.replace("IPY_MODEL_", ""))
    sliders = await Promise.all(ids.map(id => model.widget_manager.get_model(id)))
    for (const slider of sliders) slider.on("change:value", slider.follow = follow(slider))
  }
  model.on("change:packed", load)
  model.on("change:details", load)
  model.on("change:state", show)
  model.on("change:notice", say)
  load()
  bind()
  return () => {
    clearInterval(clock)
    kernel?.statusChanged?.disconnect(noteStatus)
    kernel?.iopubMessage?.disconnect(noteMessage)
    for (const [name, listener] of [["packed", load], ["details", load], ["state", show], ["notice", say]]) model.off(`change:${name}`, listener)
    for (const slider of sliders) slider.off("change:value", slider.follow)
    view?.destroy()
  }
}

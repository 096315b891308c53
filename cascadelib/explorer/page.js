// The page: one sentence, one chart, sliders below it; the same in JupyterLab and in a file. It evaluates with engine.js
// and draws with d3.js, which stand before it in one module (page.py).

const STAGES = ["#56B4E9", "#E69F00", "#2FB98A", "#D98BB5"]
const GOALS = {
  near_best: "as accurate as the best model",
  max_improvement: "largest improvement (optimistic)",
  accuracy: "at least this accuracy …",
  budget: "at most this cost …",
}
const SIZES = { k: 1e3, M: 1e6, G: 1e9, T: 1e12 }
const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]]
const ROUGH = 0.1 // a front with a larger gap is only the best that was found in time
const PATIENCE = 30 // seconds that a search of many models has: splits.py
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

/** So many significant digits with a prefix: 14.39G, 0.7112, 26µ. */
function amount(value, digits = 4) {
  if (!Number.isFinite(value)) return "–"
  if (value === 0 || Math.abs(value) >= 1e-3 && Math.abs(value) < 1e3) return String(Number(value.toPrecision(digits)))
  const [size, prefix] = PREFIXES.find(([size]) => Math.abs(value) >= size) ?? PREFIXES.at(-1)
  return Number((value / size).toPrecision(digits)) + prefix
}

/** A float as Python's repr has it, which checksums of files are made of. */
function pythonFloat(value) {
  if (Number.isInteger(value) && Math.abs(value) < 1e16) return Object.is(value, -0) ? "-0.0" : `${value}.0`
  const [digits, exponent] = value.toExponential().split("e")
  const power = Number(exponent)
  if (power >= 16 || power < -4) return `${digits}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`
  if (!String(value).includes("e")) return String(value)
  return value.toFixed(20).replace(/0+$/, "")
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
  <label class="cl-goal">best <select aria-label="goal"></select><input hidden aria-label="value of the goal"></label>
</div>
<div class="cl-words"><p class="cl-sentence" aria-live="polite"></p><p class="cl-sentence cl-longest" aria-hidden="true"></p></div>
<figure class="cl-chart"></figure>
<div class="cl-exits" role="img"></div>
<div class="cl-ways" aria-hidden="true"><span>◂ more stop here</span><span>more go on ▸</span></div>
<div class="cl-stages"></div>
<p class="cl-note" aria-live="polite"></p>
<div class="cl-bar cl-tools">
  <button class="cl-undo" disabled>undo</button>
  <button data-copy="link">copy link</button><button data-copy="python">copy Python</button><button data-copy="policy">policy file</button>
  <span class="cl-settings"></span>
  <span class="cl-copied" aria-live="polite"></span>
</div>
<textarea class="cl-text" hidden readonly aria-label="text to copy"></textarea>
<details class="cl-numbers"><summary>All numbers, with intervals</summary><div></div></details>
<details class="cl-histogram"><summary>Confidences of the samples that arrive</summary><div></div></details>
<details class="cl-examples" open hidden><summary>What this cascade repairs and breaks</summary><div></div></details>`

class View {
  /** host: null in a file; else {ask(message), changed(state, finite thresholds)}. */
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
    const jupyter = document.body.dataset.jpThemeLight !== undefined
    this.root.classList.toggle("cl-jupyter", jupyter)
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
      value.placeholder = goals.value === "budget" ? "e.g. 11M" : "e.g. 94.2%"
      if (value.hidden) this.go(goals.value)
      else value.focus()
    })
    value.addEventListener("change", () => this.goTyped(goals.value, value.value))
    this.find(".cl-undo").addEventListener("click", () => this.undo())
    for (const button of this.root.querySelectorAll("[data-copy]"))
      button.addEventListener("click", () => this.copy(button.dataset.copy))
    for (const name of ["histogram", "numbers", "examples"])
      this.find(`.cl-${name}`).addEventListener("toggle", () => this.pack && this.drawDetails())
    this.root.addEventListener("keydown", event => event.stopPropagation()) // the notebook has keys of its own
  }

  destroy() {
    this.observer.disconnect()
    clearInterval(this.clock)
    this.root.remove()
  }

  // What is there

  /** Take on arrays and what stands beside them. */
  take(pack, more) {
    const isFirst = !this.pack
    const before = this.pack
    this.pack = pack
    this.more = more
    if (isFirst || !(this.cost in pack.costs)) this.cost = Object.keys(pack.costs)[0]
    if (before && (before.method !== pack.method || before.score !== pack.score)) this.past = []
    this.certified = more.certificate?.rows ?? []
    this.buildBar()
    this.built = null
  }

  frontOf(n, cost = this.cost) {
    return this.more.fronts[[cost, this.pack.score, this.pack.method, n].join("|")]
  }

  get n() { return this.models.length }
  get front() { return this.frontOf(this.n) }
  get anyFront() { return this.more.lengths.map(n => this.frontOf(n)).filter(Boolean).at(-1) }
  get noun() {
    const [first] = this.more.examples ?? []
    return first ? first.image ? "images" : "texts" : "samples"
  }

  name(model) { return this.pack.models[model] }

  buildBar() {
    const number = this.find(".cl-number")
    const group = this.group ??= `cl-${Math.random().toString(36).slice(2)}`
    number.innerHTML = this.more.lengths.map(n =>
      `<label><input type="radio" name="${group}" value="${n}"><span>${n} model${n > 1 ? "s" : ""}</span></label>`).join("")
    number.onchange = event => this.resize(Number(event.target.value))
    const settings = this.find(".cl-settings")
    const list = (kind, options, words, value) => options.length < 2 ? "" :
      `<label>${kind} <select data-kind="${kind}">${options.map(name =>
        `<option value="${escaped(name)}"${name === value ? " selected" : ""}>${escaped(words(name))}</option>`).join("")}</select></label>`
    const plain = name => name.replace(/_ts$/, ", scaled").replace("_most_confident", ", most confident").replace("_mean_", ", mean ").replaceAll("_", " ")
    const kinds = this.host ? this.more : { methods: [], scores: [] }
    settings.innerHTML = list("cost", Object.keys(this.pack.costs), name => this.pack.costs[name], this.cost) +
      list("method", kinds.methods, plain, this.pack.method) +
      list("score", kinds.scores, name => name === "f1" ? "F1" : name.replace(/^top(\d+)/, "top-$1 accuracy"), this.pack.score)
    settings.onchange = event => this.change(event.target.dataset.kind, event.target.value)
  }

  // The state

  /** What stands after # in the address, and in Explorer.state. */
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

  /** Show what an address says; an Error says what of it this page does not have. */
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
    if (!this.pack.holds(models)) throw new Error("this page does not hold the outputs of that cascade")
    this.cost = query.get("cost")
    const goal = (query.get("goal") ?? "near_best").split(":")
    this.goal = goal.length > 1 ? { [goal[0]]: Number(goal[1]) } : goal[0]
    const known = this.knownRow(models, thresholds)
    this.set(models, known ? known[2] : models.slice(0, -1).map((_, stage) => this.pack.cut(models, stage, asNumber(thresholds[stage]))), known ? known[1] : [], false)
  }

  /** The row of a front or of the certificate that is this very cascade: its cuts are exact. */
  knownRow(models, thresholds) {
    const fronts = Object.values(this.more.fronts).map(front => front.rows)
    const same = row => row[2] && String(row[0]) === String(models) && row[1].every((t, i) => String(t) === String(thresholds[i]) || Number(t) === Number(thresholds[i]))
    for (const rows of [this.certified, ...fronts]) {
      const row = rows.find(same)
      if (row) return row
    }
    return null
  }

  threshold(stage) { return this.exact[stage] ?? this.pack.threshold(this.models, stage, this.cuts[stage]) }

  /** Show a cascade; exact: thresholds that are given elsewhere, in place of the page's own. */
  set(models, cuts, exact = [], remembers = true, isDrag = false) {
    if (remembers && this.models && !(isDrag && this.dragged === this.active)) this.past.push([this.models, this.cuts, this.exact, this.cost])
    this.dragged = isDrag ? this.active : null
    this.models = models
    this.cuts = cuts.slice()
    this.exact = exact.slice()
    this.active = Math.min(this.active, Math.max(0, models.length - 2))
    this.evaluated = evaluate(this.pack, models, this.cuts, this.cost)
    this.changed(isDrag)
  }

  changed(isDrag) {
    if (isDrag) {
      this.frame ??= requestAnimationFrame(() => {
        this.frame = null
        this.draw(true)
      })
    } else this.draw()
    const tell = () => {
      this.told = null
      const finite = this.models.slice(0, -1).map((model, stage) => {
        const exact = this.exact[stage]
        return { name: this.name(model), value: Number.isFinite(exact) ? exact : this.pack.finite(this.models, stage, this.cuts[stage]) }
      })
      this.host?.changed(this.address(), finite)
      if (!this.host) history.replaceState(null, "", `#${this.address()}`)
    }
    if (!isDrag) {
      clearTimeout(this.told)
      tell()
    } else this.told ??= setTimeout(tell, 120)
  }

  undo() {
    const last = this.past.pop()
    if (!last) return
    this.cost = last[3]
    this.set(last[0], last[1], last[2], false)
  }

  // What hands do

  /** A slider moved: the cut of a stage, snapped to what is certified where a band is. */
  drag(stage, cut) {
    this.active = stage
    const cuts = this.cuts.slice()
    const exact = this.exact.slice()
    cuts[stage] = cut
    exact[stage] = null
    const band = this.band(stage)
    if (band.length > 1 && cut >= band[0].cut && cut <= band.at(-1).cut) {
      const nearest = band.reduce((a, b) => Math.abs(b.cut - cut) < Math.abs(a.cut - cut) ? b : a)
      cuts[stage] = nearest.cut
      exact[stage] = nearest.threshold
    }
    this.moved = true
    this.set(this.models, cuts, exact, true, true)
  }

  /** A threshold in own units that a text, or another widget, asks for. */
  ask(stage, threshold) {
    const cut = this.pack.cut(this.models, stage, threshold)
    if (cut !== this.cuts[stage]) this.drag(stage, cut)
  }

  /** The certified points that this slider passes, the other thresholds as they are: {cut, threshold} by rising cut. */
  band(stage) {
    const others = (row, i) => i === stage || String(row[1][i]) === String(this.threshold(i))
    const rows = this.certified.filter(row => row[2] && String(row[0]) === String(this.models) && row[1].every((_, i) => others(row, i)))
    return rows.map(row => ({ cut: row[2][stage], threshold: row[1][stage] })).sort((a, b) => a.cut - b.cut)
  }

  /** The certified cascades that this page can evaluate: {row, cost, accuracy where it was chosen}. */
  get marks() {
    const key = `${this.cost} ${this.pack.method} ${this.pack.score}`
    if (this.marked?.key !== key || this.marked.rows !== this.certified) {
      const [split] = this.pack.splits
      const at = this.certified.filter(row => row[2] && this.pack.holds(row[0])).map(row => {
        const { cost, accuracy } = onSplit(this.pack, split, outputsOf(this.pack, row[0]), row[0], row[2], this.cost)
        return { row, cost, accuracy }
      })
      this.marked = { key, rows: this.certified, at }
    }
    return this.marked.at
  }

  get cheapestCertified() {
    return this.marks.reduce((a, b) => a && a.cost <= b.cost ? a : b, null)?.row
  }

  get isCertified() {
    return this.certified.some(row => String(row[0]) === String(this.models) && row[1].every((t, i) => String(t) === String(this.threshold(i))))
  }

  /** Another model at a position; taken twice, it swaps places. Each stage sends on the share that it did. */
  replace(position, model) {
    const models = this.models.slice()
    const there = models.indexOf(model)
    if (there >= 0) models[there] = models[position]
    models[position] = model
    this.takeModels(models)
  }

  takeModels(models) {
    const each = this.pack.splits[0].baselines[this.cost].singles[1]
    models.sort((a, b) => each[a] - each[b] || a - b)
    if (!this.pack.holds(models)) {
      if (this.host) this.host.changed(this.addressOf(models), [])
      else this.say(`this page does not hold the outputs of ${models.map(m => this.name(m)).join(" → ")}: open it in a notebook`)
      this.draw()
      return
    }
    const cuts = []
    for (let stage = 0; stage < models.length - 1; stage++) cuts.push(this.cutOfShare(models, cuts, stage, this.shareSentOn(stage)))
    this.set(models, cuts)
  }

  /** The address of other models, each stage always exiting: the kernel sends what they need. */
  addressOf(models) {
    const query = new URLSearchParams(this.address())
    query.delete("models")
    query.delete("thresholds")
    for (const model of models) query.append("models", this.name(model))
    for (let stage = 0; stage < models.length - 1; stage++) query.append("thresholds", "always")
    return query.toString()
  }

  shareSentOn(stage) {
    const { exits } = this.evaluated[0]
    const arriving = exits.slice(stage).reduce((a, b) => a + b, 0)
    return arriving && stage < exits.length - 1 ? 1 - exits[stage] / arriving : 0.2
  }

  /** The cut of a stage at which so large a share of those that arrive goes on. */
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

  /** The best cascade of n models by the present goal; without a front of them, one of the present models. */
  resize(n) {
    if (n === this.n) return
    if (this.frontOf(n)) return this.go(this.goal, n)
    if (this.host) return this.search({ n })
    const free = this.pack.models.map((_, model) => model).filter(model => !this.models.includes(model))
    const models = n <= this.n ? [...this.models.slice(0, n - 1), this.models.at(-1)] : [...this.models, ...free.slice(this.n - n)]
    this.takeModels(models)
  }

  change(kind, name) {
    if (kind !== "cost") return this.search({ [kind]: name })
    this.past.push([this.models, this.cuts, this.exact, this.cost])
    this.cost = name
    this.set(this.models, this.cuts, this.exact, false)
    if (!this.front && this.host) this.search({}, true)
  }

  /** Ask the kernel for a front; the last cascade stays meanwhile. */
  search(wanted, stays = false) {
    const message = { n: this.n, method: this.pack.method, score: this.pack.score, cost: this.cost, ...wanted }
    this.awaited = stays ? null : message
    this.moved = false
    this.host.ask(message)
    const begun = Date.now()
    const most = message.seconds ?? (message.n > 3 ? PATIENCE : null)
    const tick = () => Date.now() - begun > 1000 * (3 * (most ?? PATIENCE)) ? this.say("no answer: has the kernel ended? All else on this page works without it") : this.say(`searching cascades of ${message.n} models: ${Math.round((Date.now() - begun) / 1000)} s${most ? ` of at most ${most} s` : ""} …`)
    clearInterval(this.clock)
    this.clock = setInterval(tick, 1000)
    tick()
  }

  /** What was asked for is here: go there, unless a hand moved something meanwhile. */
  arrived() {
    clearInterval(this.clock)
    this.say("")
    const { awaited } = this
    this.awaited = null
    if (awaited && !this.moved && this.frontOf(awaited.n)) this.go(this.goal, awaited.n)
    else if (this.models && this.pack.holds(this.models)) this.set(this.models, this.models.slice(0, -1).map((_, s) => Math.min(this.cuts[s], this.pack.output(this.models, s).groups)), this.exact, false)
  }

  goTyped(kind, text) {
    const match = /^\s*([\d.]+(?:e[+-]?\d+)?)\s*([kMGT%]?)\s*$/.exec(text)
    if (!match || !Number.isFinite(Number(match[1]))) return this.say("write a number such as 11M, 94.2% or 0.942")
    let value = Number(match[1]) * (SIZES[match[2]] ?? 1)
    if (kind === "accuracy" && (match[2] === "%" || value > 1)) value = Number(`${match[1]}e-2`)
    this.go({ [kind]: value })
  }

  /** To the point of a front that a goal names. */
  go(goal, n = this.n) {
    const front = this.frontOf(n)
    if (!front) return this.host ? this.search({ n }) : this.say(`this page has no front of ${n} models`)
    const row = pick(front, this.pack.splits[0].baselines[this.cost], goal)
    if (row === null) {
      const end = goal.budget === undefined ? `the best has ${percent(front.accuracy.at(-1))}` : `the cheapest costs ${amount(front.cost[0])}`
      this.say(`no cascade of ${n} models does that: ${end}`)
      this.draw()
      return
    }
    this.goal = goal
    this.load(front.rows[row])
  }

  load([models, thresholds, cuts]) {
    if (!cuts) {
      this.say("this page does not hold the outputs of that cascade")
      return
    }
    this.say("")
    this.set(models.slice(), cuts, thresholds)
  }

  say(text) {
    this.message = text
    if (this.models) this.drawNote()
  }

  // What is taken away

  copy(what) {
    const text = { link: () => `${location.href.split("#")[0]}#${this.address()}`, python: () => this.python(), policy: () => null }[what]()
    if (what === "policy") return this.savePolicy()
    if (what === "link" && this.host) return this.offer(this.address(), "state= of cl.explore")
    this.offer(text, what)
  }

  /** Lines of Python that make the present cascade's policy. */
  python() {
    const names = ["store", "held_out"].slice(0, this.more.paths.length)
    const opened = names.map((name, i) => {
      const path = this.more.paths[i]
      return `${name} = ${path ? `cl.LogitStore(${JSON.stringify(path)})` : "…"}  # ${this.pack.splits[i].samples} samples`
    })
    const given = names.join(", ")
    return ["import cascadelib as cl", "", ...opened, `explorer = cl.explore(${given}, state=${JSON.stringify(this.address())})`,
      `policy = cl.Policy.from_point(explorer.point, ${given})`, 'policy.save("cascade.json")', ""].join("\n")
  }

  /** Copy a text; where that is not allowed, show it to be copied. */
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

  /** The policy's file as text, its checksum as cascadelib computes it. */
  async policyText() {
    const { policy } = this.more
    if (!policy) throw new Error("a file cannot hold this method: make the policy in Python")
    const [chosen] = this.evaluated
    const method = JSON.parse(policy.method)
    if (method?.temperatures) for (const name of Object.keys(method.temperatures)) if (!this.models.some(m => this.name(m) === name)) delete method.temperatures[name]
    const inMethod = value => {
      if (typeof value === "number") return pythonFloat(value)
      if (value && typeof value === "object") return `{${Object.keys(value).sort().map(key => `${ascii(key)}: ${inMethod(value[key])}`).join(", ")}}`
      return typeof value === "string" ? ascii(value) : JSON.stringify(value)
    }
    const thresholds = this.models.slice(0, -1).map((_, stage) => this.threshold(stage))
    const improvement = Number.isFinite(chosen.improvement) ? `, "improvement": ${pythonFloat(chosen.improvement)}` : ""
    const parts = {
      chosen: `{"accuracy": ${pythonFloat(chosen.accuracy)}, "cost": ${pythonFloat(chosen.cost)}, "exit_rates": [${chosen.exitRates.map(pythonFloat).join(", ")}]${improvement}}`,
      chosen_on: policy.chosen_on,
      cost_kind: ascii(this.cost),
      method: method ? inMethod(method) : "null",
      models: `[${this.models.map(m => policy.models[m]).join(", ")}]`,
      score: ascii(this.pack.score),
      thresholds: `[${thresholds.map(t => typeof t === "string" ? ascii(t) : pythonFloat(t)).join(", ")}]`,
      versions: policy.versions,
    }
    const body = Object.entries(parts).map(([key, text]) => `"${key}": ${text}`).join(", ")
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`{${body}}`))
    const checksum = Array.from(new Uint8Array(digest), byte => byte.toString(16).padStart(2, "0")).join("")
    return `{"format": "cascadelib cascade", "version": 1, "checksum": "${checksum}", ${body}}\n`
  }

  async savePolicy() {
    try {
      const link = document.createElement("a")
      link.href = URL.createObjectURL(new Blob([await this.policyText()], { type: "application/json" }))
      link.download = "cascade.json"
      link.click()
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
    } catch (error) {
      this.say(error.message)
    }
  }

  // What is shown

  /** Everything; while a slider moves only what follows it. */
  draw(isDrag = false) {
    if (!this.models) return
    this.buildStages()
    this.drawSentence()
    this.drawNote()
    this.drawExits()
    this.drawStages()
    this.drawChart()
    this.find(".cl-undo").disabled = !this.past.length
    const radio = this.find(`.cl-number input[value="${this.n}"]`)
    if (radio) radio.checked = true
    const goal = typeof this.goal === "string" ? this.goal : Object.keys(this.goal)[0]
    const goals = this.find(".cl-goal select")
    const value = this.find(".cl-goal input")
    if (![goals, value].includes(document.activeElement)) { // who writes there is not disturbed
      goals.value = goal === "match_best" ? "near_best" : goal
      value.hidden = !["accuracy", "budget"].includes(goals.value)
    }
    const cost = this.find('[data-kind="cost"]')
    if (cost) cost.value = this.cost
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

  /** The sentence of a cascade of these names; evaluated: its results, of which the last are shown. */
  sentence(names, evaluated) {
    const result = evaluated.at(-1)
    const [chosen] = evaluated
    const { k } = result
    const rates = result.exitRates.map(rate => Math.round(100 * rate))
    rates[rates.indexOf(Math.max(...rates))] += 100 - rates.reduce((a, b) => a + b)
    const stops = names.map((name, stage) => `<b>${rates[stage]}</b>${stage ? "" : " stop"} at ${escaped(name)}`)
    const list = stops.length > 1 ? `${stops.slice(0, -1).join(", ")} and ${stops.at(-1)}` : stops[0]
    const score = { f1: "F1 is" }[this.pack.score]
    const correct = score ? `${score} <b>${percent(result.accuracy, k)}</b>` :
      `<b>${percent(result.accuracy, k)}</b> are correct${/^top(?!1$)/.test(this.pack.score) ? ` (${this.pack.score.replace("top", "top-")})` : ""}`
    const best = escaped(this.name(result.reference))
    const many = split => `${split.k.toLocaleString("en")} ${this.noun}${this.dataOf(split)}`
    const { shared } = this.pack.splits.at(-1)
    const others = shared ? `${this.noun}, ${shared.toLocaleString("en")} of them the same` : "others"
    const checked = evaluated.length > 1 ?
      `Measured on ${many(result)}; chosen on ${chosen.k.toLocaleString("en")} ${others} (there ${percent(chosen.accuracy, chosen.k)}, ${times(chosen.saving)} times).` :
      `Chosen and measured on the same ${many(result)}: expect a little less elsewhere.`
    return `Of 100 ${this.noun}, ${list}; ${correct} (${best} alone: ${percent(result.best, k)}), for <b>${this.costWords(result.saving)}</b>. ${this.promise()}<small>${checked}</small>`
  }

  /** What is promised of the cascade on screen: nothing unless it is one that was certified. */
  promise() {
    const { certificate } = this.more
    if (!certificate) return ""
    if (!this.isCertified) return `<span class="cl-open">Not certified.</span> `
    return `<span class="cl-kept">${this.certifiedWords()}</span> `
  }

  certifiedWords() {
    const { epsilon, promise } = this.more.certificate
    return epsilon === null ? `<b>Certified</b>: ${escaped(promise)}.` : `<b>Certified</b> to lose at most ${small(100 * epsilon)}%.`
  }

  dataOf({ split }) {
    const { data } = this.pack.splits.find(each => each.name === split)
    return data ? ` of ${escaped(data)}` : ""
  }

  /** The longest sentence that this page can need holds the place, so that nothing below it moves. */
  reserve() {
    const names = [...this.pack.models].sort((a, b) => b.length - a.length).slice(0, Math.max(...this.more.lengths))
    const exitRates = names.map((_, i) => i ? 0 : 1)
    const longest = this.evaluated.map(each => ({ ...each, exitRates, saving: 100 }))
    this.find(".cl-longest").innerHTML = this.sentence(names, longest).replace("Not certified.", () => this.certifiedWords())
  }

  drawNote() {
    const { certificate } = this.more
    const texts = []
    const front = this.front
    if (this.message) texts.push(`<b>${escaped(this.message)}</b>`)
    if (certificate) texts.push(this.aboutCertificate(certificate))
    if (!this.message && front && front.gap > ROUGH) {
      texts.push(`best found in ${PATIENCE} s: another cascade may be up to ${(100 * front.gap / (1 + front.gap)).toFixed(0)}% cheaper`)
      if (this.host) texts.push(`<button class="cl-longer">search longer</button>`)
    } else if (!this.message && front?.gap) texts.push(`front certified: no cascade of its kind is more than ${(100 * front.gap / (1 + front.gap)).toFixed(1)}% cheaper at equal accuracy`)
    if (!this.message && !front && !this.host) texts.push(`this page has no front of ${this.n} models: this cascade is put together by hand`)
    if (!this.message) texts.push(this.added())
    const note = this.find(".cl-note")
    const html = texts.filter(Boolean).join(" · ")
    if (this.noted === html) return
    this.noted = note.innerHTML = html
    note.querySelector(".cl-longer")?.addEventListener("click", () => this.search({ seconds: 4 * PATIENCE }))
    note.querySelector(".cl-cheapest")?.addEventListener("click", () => this.load(this.cheapestCertified))
  }

  /** Who is certified, on how many samples; where nobody is, how many labels would do. */
  aboutCertificate({ samples, deltas, epsilon, premises, promise }) {
    const on = `${samples.toLocaleString("en")} other labels`
    const delta = deltas.reduce((a, b) => a + b)
    if (!this.certified.length) {
      const needed = epsilon ? Math.ceil(Math.log(Math.max(...deltas)) / Math.log1p(-epsilon)) : null
      return `nothing is certified: ${on} do not show it${needed ? `; ${needed.toLocaleString("en")} without a loss would` : ""}`
    }
    const sure = `at confidence ${Number((100 * Math.max(0, 1 - delta)).toPrecision(6))}%, all at once`
    const many = this.certified.length
    const go = this.cheapestCertified ? ` <button class="cl-cheapest">show the cheapest</button>` : ""
    return `◇ ${many === 1 ? "one cascade is" : `${many.toLocaleString("en")} cascades are`} certified by ${on} (${sure}): each ${escaped(promise)}; no other is${go}<small>${escaped(premises)}</small>`
  }

  /** What the last model adds: the best by the goal of n models beside that of one fewer, on the split that is shown. */
  added() {
    const less = this.frontOf(this.n - 1)
    const { front } = this
    if (!less || !front) return ""
    const baseline = this.pack.splits[0].baselines[this.cost]
    const rows = [less, front].map(each => each.rows[pick(each, baseline, this.goal)])
    if (rows.some((row, i) => !row?.[2] || row[0].length !== this.n - 1 + i)) return ""
    const key = `${this.n} ${this.cost} ${JSON.stringify(this.goal)} ${this.pack.method}`
    if (this.addedKey !== key) {
      const [before, after] = rows.map(row => evaluate(this.pack, row[0], row[2], this.cost).at(-1))
      this.addedKey = key
      this.addedText = `a ${["", "first", "second", "third", "fourth"][this.n] ?? `${this.n}th`} model changes the best by ${points(after.accuracy - before.accuracy, after.k)} at ${(100 * (after.cost / before.cost - 1)).toFixed(1).replace("-", "−")}% cost`
    }
    return this.addedText
  }

  drawExits() {
    const { exitRates, exits, exitsCorrect, k } = this.shown
    const strip = this.find(".cl-exits")
    strip.innerHTML = exitRates.map((rate, stage) => {
      const wrong = exits[stage] ? 1 - exitsCorrect[stage] / exits[stage] : 0
      return `<div style="flex-basis:${100 * rate}%;background:${STAGES[stage % 4]}"><i style="width:${100 * wrong}%"></i>${rate * strip.clientWidth > 52 ? `<span>${(100 * rate).toFixed(1)}%</span>` : ""}</div>`
    }).join("")
    strip.setAttribute("aria-label", this.models.map((model, stage) => `${percent(exitRates[stage], k)} stop at ${this.name(model)}`).join(", "))
  }

  /** Rows of sliders: built anew where the cascade is another. */
  buildStages() {
    const key = [this.models, this.pack.method, this.cost].join()
    if (this.built === key) return
    this.built = key
    this.reserve()
    const box = this.find(".cl-stages")
    const focused = box.contains(document.activeElement) ? `.${document.activeElement.className}[data-stage="${document.activeElement.dataset.stage}"]` : null
    const { singles } = this.pack.splits[0].baselines[this.cost]
    const options = chosen => this.pack.models.map((name, model) =>
      `<option value="${model}"${model === chosen ? " selected" : ""}>${escaped(name)} · ${(100 * singles[0][model]).toFixed(1)}% · ${amount(singles[1][model], 3)}</option>`).join("")
    box.innerHTML = this.models.map((model, stage) => {
      const name = escaped(this.name(model))
      const label = `<span class="cl-chip" style="background:${STAGES[stage % 4]}">${stage + 1}</span><select class="cl-model" data-stage="${stage}" aria-label="model ${stage + 1}">${options(model)}</select>`
      if (stage === this.n - 1) return `<div class="cl-stage cl-last">${label}<span class="cl-rest">answers whatever arrives</span><span class="cl-share"></span></div>`
      return `<div class="cl-stage">${label}<span class="cl-track"><span class="cl-band"></span><input class="cl-slider" type="range" data-stage="${stage}" min="0" max="${this.pack.output(this.models, stage).groups}" step="1" aria-label="${name}: threshold"></span>
        <span class="cl-share"></span><input class="cl-threshold" data-stage="${stage}" size="8" aria-label="${name}: threshold as text" title="a number in the metric's own units, always or never; Enter"></div>`
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
      slider.addEventListener("keydown", event => { // an arrow is a step that one sees, with Shift a single sample
        const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key]
        if (!way) return
        event.preventDefault()
        const step = event.shiftKey ? 1 : Math.max(1, Math.round(Number(slider.max) / 200))
        this.drag(stage, Math.min(Number(slider.max), Math.max(0, this.cuts[stage] - way * step)))
      })
    }
    for (const field of box.querySelectorAll(".cl-threshold"))
      field.addEventListener("change", () => {
        const stage = Number(field.dataset.stage)
        const text = field.value.trim().toLowerCase()
        if (text in { always: 1, never: 1 } || text && Number.isFinite(Number(text))) this.ask(stage, asNumber(text))
        this.drawStages()
      })
    if (focused) box.querySelector(focused)?.focus()
  }

  drawStages() {
    const { exits, k } = this.shown
    const rows = this.find(".cl-stages").children
    let arriving = k
    this.models.forEach((_, stage) => {
      const row = rows[stage]
      row.querySelector(".cl-share").textContent = `${(100 * exits[stage] / k).toFixed(1)}% stop`
      arriving -= exits[stage]
      const slider = row.querySelector(".cl-slider")
      if (!slider) return
      const most = Number(slider.max)
      slider.value = most - this.cuts[stage]
      const threshold = this.threshold(stage)
      const text = typeof threshold === "string" ? threshold : small(threshold)
      slider.setAttribute("aria-valuetext", `${text}, ${percent(exits[stage] / k)} stop here`)
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

  /** Ends of the chart: what this cascade can cost, from its first model's accuracy up; the same wherever its thresholds are. */
  domain() {
    const { splits } = this.pack
    const each = splits[0].baselines[this.cost].singles[1]
    const own = this.models.map(m => each[m])
    const total = own.reduce((a, b) => a + b)
    const least = Math.max(own[0], total * 1e-9, 1e-300)
    const low = Math.min(...splits.map(split => split.baselines[this.cost].singles[0][this.models[0]]))
    let high = Math.max(...splits.map(split => split.baselines[this.cost].accuracy.at(-1)), ...this.evaluated.map(e => e.accuracy), this.front?.accuracy.at(-1) ?? 0)
    const k = this.shown.k
    high += 1.2 * (shareInterval(high, k)[1] - high)
    const span = Math.max(high - low, 1e-6)
    return { x: [least * 0.93, Math.max(total, least * 1.1) * 1.07], y: [low - 0.06 * span, Math.min(high + 0.03 * span, 1 + 0.02 * span)] }
  }

  drawChart() {
    const figure = this.find(".cl-chart")
    const width = Math.max(260, Math.floor(figure.clientWidth))
    const height = (Math.floor(figure.clientHeight) || 260) - (width < 500 ? 36 : 24)
    const { x: xs, y: ys } = this.domain()
    const { front, marks } = this
    const key = [width, height, xs, ys, this.models, this.cost, this.active].join(" ")
    const drawn = this.drawn
    if (drawn?.key !== key || drawn.front !== front || drawn.certified !== marks || drawn.pack !== this.pack)
      this.drawn = { key, front, certified: marks, pack: this.pack, ...this.drawGround(figure, width, height, xs, ys) }
    const { x, y, locator, curves, points } = this.drawn
    const path = d3.line(p => x(p[0]), p => y(p[1]))
    curves.replaceChildren(...this.models.slice(0, -1).map((_, stage) => {
      const node = element("path", { class: `cl-curve${stage === this.active ? " cl-active" : ""}`, d: path(this.wayOf(stage)) })
      node.style.stroke = this.n > 2 ? STAGES[stage % 4] : ""
      return node
    }))
    const [chosen] = this.evaluated
    const held = this.evaluated.length > 1 ? this.shown : null
    const nodes = []
    if (held?.isCounted) {
      const [bottom, top] = y.range()
      const [low, high] = shareInterval(held.accuracy, held.k).map(end => Math.min(bottom, Math.max(top, y(end))))
      nodes.push(element("line", { class: "cl-interval", x1: x(held.cost), x2: x(held.cost), y1: low, y2: high }))
    }
    if (held) nodes.push(element("path", { class: "cl-held", d: `M${x(held.cost)},${y(held.accuracy) - 7}l7,7l-7,7l-7,-7Z` }))
    nodes.push(element("circle", { class: "cl-now", cx: x(chosen.cost), cy: y(chosen.accuracy), r: 5.5 }))
    nodes.push(element("circle", { class: "cl-now cl-small", cx: locator.x(chosen.cost), cy: locator.y(chosen.accuracy), r: 3 }))
    points.replaceChildren(...nodes)
  }

  /** What of the chart stays while a slider moves: axes, front, single models, certified points, locator; with the scales
   * and the groups of what does not stay. */
  drawGround(figure, width, height, xs, ys) {
    const margin = { left: 66, right: 12, top: 10, bottom: 36 }
    const x = d3.scaleLog(xs, [margin.left, width - margin.right])
    const y = d3.scaleLinear(ys, [height - margin.bottom, margin.top])
    const svg = element("svg", { width, height, role: "img", "aria-label": `accuracy against ${this.pack.costs[this.cost]}: the front, this cascade, single models` })
    const clip = `${this.group}-clip`
    svg.append(element("clipPath", { id: clip }))
    svg.firstChild.append(element("rect", { x: margin.left, y: margin.top, width: width - margin.left - margin.right, height: height - margin.top - margin.bottom }))
    this.drawAxes(svg, x, y, width, height, margin)
    const inside = element("g", { "clip-path": `url(#${clip})` })
    svg.append(inside)
    const baseline = this.pack.splits[0].baselines[this.cost]
    const best = baseline.accuracy.at(-1)
    inside.append(element("line", { class: "cl-reference", x1: margin.left, x2: width - margin.right, y1: y(best), y2: y(best) }))
    const { front } = this
    if (front) inside.append(element("path", { class: `cl-front${front.gap > ROUGH ? " cl-rough" : ""}`, d: steps(front, x, y) }))
    baseline.singles[0].forEach((accuracy, model) => {
      const cost = baseline.singles[1][model]
      if (cost > 0) inside.append(element("circle", { class: "cl-single", cx: x(cost), cy: y(accuracy), r: 2.5 }))
    })
    const curves = element("g")
    inside.append(curves)
    for (const { row, cost, accuracy } of this.marks) {
      const isOwn = String(row[0]) === String(this.models)
      if (cost > 0) inside.append(element("path", { class: `cl-certified${isOwn ? "" : " cl-other"}`, d: `M${x(cost)},${y(accuracy) - 6}l6,6l-6,6l-6,-6Z` }))
    }
    svg.append(element("text", { class: "cl-best", x: margin.left + 6, y: Math.max(margin.top + 10, y(best) - 5) }, `${this.name(baseline.best)} alone`))
    const locator = this.drawLocator(svg, front ?? this.anyFront, xs, ys, width, height, margin)
    const points = element("g")
    svg.append(points)
    figure.replaceChildren(svg, this.legend())
    svg.addEventListener("click", event => this.clicked(event, svg, x, y))
    return { x, y, locator, curves, points }
  }

  /** Points of the way that a slider goes; they do not change while it goes it. */
  wayOf(stage) {
    const key = [this.models, this.cuts.filter((_, other) => other !== stage), this.cost, this.pack.method].join(" ")
    this.ways ??= []
    if (this.ways[stage]?.key !== key || this.ways[stage].pack !== this.pack) {
      const line = curve(this.pack, this.pack.splits[0], this.models, this.cuts, this.cost, stage).filter(point => point[0] > 0)
      this.ways[stage] = { key, pack: this.pack, line }
    }
    return this.ways[stage].line
  }

  legend() {
    const box = document.createElement("figcaption")
    const isHeldOut = this.evaluated.length > 1
    const items = [["now", isHeldOut ? "where chosen" : "this cascade"], ["front", this.front?.gap > ROUGH ? "best found" : "best of all"], ["single", "single models"]]
    if (isHeldOut) items.unshift(["held", "held out, 95% interval"])
    if (this.n > 1) items.push(["curve", this.n > 2 ? `as slider ${this.active + 1} moves` : "as the slider moves"])
    if (this.certified.length) items.push(["certified", "certified"])
    box.innerHTML = items.filter(([kind]) => kind !== "front" || this.front).map(([kind, text]) => `<span><i class="cl-key-${kind}"></i>${text}</span>`).join("")
    if (this.n > 2) box.style.setProperty("--curve", STAGES[this.active % 4])
    return box
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
    svg.append(element("text", { class: "cl-title", x: (left + right) / 2, y: height - 4, "text-anchor": "middle" }, this.pack.costs[this.cost]))
    svg.append(element("text", { class: "cl-title", transform: `translate(11,${(height - margin.bottom + margin.top) / 2}) rotate(-90)`, "text-anchor": "middle" }, this.pack.score === "f1" ? "F1" : this.pack.score_words))
  }

  /** The whole front in small, and where the chart stands in it: its scales. */
  drawLocator(svg, front, xs, ys, width, height, margin) {
    const isNarrow = width < 500
    const { singles } = this.pack.splits[0].baselines[this.cost]
    const cost = [...(front?.cost ?? []), ...singles[1]].filter(c => c > 0)
    const accuracy = [...(front?.accuracy ?? []), ...singles[0]]
    const size = isNarrow ? [84, 50] : [130, 76]
    const at = [width - margin.right - size[0] - 6, height - margin.bottom - size[1] - 6]
    const x = d3.scaleLog([Math.min(...cost), Math.max(...cost) * 1.0001], [at[0] + 4, at[0] + size[0] - 4])
    const y = d3.scaleLinear([Math.min(...accuracy) - 1e-9, Math.max(...accuracy)], [at[1] + size[1] - 4, at[1] + 4])
    const box = element("g", { class: "cl-locator" })
    box.append(element("rect", { x: at[0], y: at[1], width: size[0], height: size[1], rx: 3 }))
    if (front) box.append(element("path", { class: "cl-front", d: steps(front, x, y) }))
    if (!isNarrow) box.append(element("text", { class: "cl-tick", x: at[0] + size[0] - 4, y: at[1] + size[1] - 5, "text-anchor": "end" }, "all cascades"))
    const clamp = (value, low, high) => Math.min(high, Math.max(low, value))
    const [x1, x2] = xs.map(v => clamp(x(v), at[0], at[0] + size[0]))
    const [y1, y2] = ys.map(v => clamp(y(v), at[1], at[1] + size[1]))
    box.append(element("rect", { class: "cl-window", x: x1, y: y2, width: Math.max(2, x2 - x1), height: Math.max(2, y1 - y2) }))
    svg.append(box)
    return { x, y }
  }

  /** To the certified point, or that of the front, that is nearest to a click. */
  clicked(event, svg, x, y) {
    const box = svg.getBoundingClientRect()
    const [px, py] = [event.clientX - box.left, event.clientY - box.top]
    const { front } = this
    const ofFront = front ? front.rows.map((row, i) => ({ row, cost: front.cost[i], accuracy: front.accuracy[i] })) : []
    let nearest = null, least = 20 ** 2
    for (const { row, cost, accuracy } of [...this.marks, ...ofFront]) {
      if (cost <= 0) continue
      const distance = (x(cost) - px) ** 2 + (y(accuracy) - py) ** 2
      if (distance < least) [nearest, least] = [row, distance]
    }
    if (nearest !== null) this.load(nearest)
  }

  // On demand

  drawDetails() {
    if (this.find(".cl-numbers").open) this.find(".cl-numbers div").innerHTML = this.table()
    if (this.find(".cl-histogram").open) this.drawHistogram()
    this.find(".cl-examples").hidden = !this.more.examples?.length || this.n < 2
    if (this.more.examples?.length && this.n > 1 && this.find(".cl-examples").open) this.drawExamples()
  }

  table() {
    const columns = [...this.evaluated].reverse()
    const interval = (ends, text) => ends ? ` <small>${ends.map(text).join(" … ")}</small>` : ""
    const cost = this.pack.costs[this.cost]
    const reference = escaped(this.name(columns[0].reference))
    const rows = [
      [this.pack.score_words, "accuracy", e => `<b>${percent(e.accuracy, e.k)}</b>${interval(e.isCounted && shareInterval(e.accuracy, e.k), v => percent(v, e.k))}`],
      [`difference from ${reference}`, "difference", e => `<b>${points(e.difference, e.k)}</b>${interval(e.isCounted && differenceInterval(e.gained, e.lost, e.k), v => points(v, e.k))}`],
      ["gained, lost", "gained", e => `${amount(e.gained)}, ${amount(e.lost)}`],
      [cost, "cost", e => `<b>${amount(e.cost)}</b>`],
      ["saving: cost of that model ÷ cost", "saving", e => `<b>${e.saving.toPrecision(3)} ×</b>`],
      ["improvement over random routing at equal accuracy", "improvement", e => Number.isNaN(e.improvement) ? "undefined: more accurate than every single model" : `${e.improvement.toPrecision(3)} ×`],
      ...this.models.map((model, stage) => [`stop at ${escaped(this.name(model))}`, `exit-rate-${stage + 1}`, e => `${percent(e.exitRates[stage])} <small>${e.exits[stage].toLocaleString("en")}, ${e.exits[stage] ? percent(e.exitsCorrect[stage] / e.exits[stage]) : "–"} correct</small>`]),
    ]
    const heads = columns.map(e => `<th>${e.split}, ${e.k.toLocaleString("en")} ${this.noun}</th>`).join("")
    const body = rows.map(([title, kind, text]) => `<tr><th>${escaped(title).replaceAll("&#38;", "&")}</th>${columns.map(e => `<td class="${kind}" data-split="${e.split}">${text(e)}</td>`).join("")}</tr>`).join("")
    return `<table><thead><tr><th></th>${heads}</tr></thead><tbody>${body}</tbody></table>
      <p>Ranges are 95% intervals: where the number would lie for most other samples of the same kind. They say nothing about other kinds of data, and on the samples that chose a cascade they flatter it.</p>`
  }

  drawHistogram() {
    const box = this.find(".cl-histogram div")
    box.replaceChildren()
    for (let stage = 0; stage < this.n - 1; stage++) {
      const { correct, wrong, low, high } = histogram(this.pack, this.pack.splits.at(-1), this.models, this.cuts, stage)
      const width = 320, height = 110
      const most = Math.max(1, ...correct.map((c, i) => c + wrong[i]))
      const svg = element("svg", { viewBox: `0 0 ${width} ${height + 32}`, role: "img", "aria-label": `confidences at ${this.name(this.models[stage])}` })
      const bar = width / correct.length
      correct.forEach((count, i) => {
        const tall = Math.sqrt(count / most) * height
        const full = Math.sqrt((count + wrong[i]) / most) * height
        svg.append(element("rect", { class: "cl-wrong", x: i * bar, y: height - full, width: bar - 0.5, height: full - tall }))
        svg.append(element("rect", { class: "cl-correct", x: i * bar, y: height - tall, width: bar - 0.5, height: tall }))
      })
      const threshold = this.threshold(stage)
      if (typeof threshold === "number") {
        const at = Math.min(1, Math.max(0, (this.pack.sign * threshold - low) / (high - low || 1))) * width
        svg.append(element("line", { class: "cl-cut", x1: at, x2: at, y1: 0, y2: height }))
      }
      const ends = [low, high].map(v => small(this.pack.sign * v))
      svg.append(element("text", { class: "cl-tick", x: 0, y: height + 13 }, ends[0]))
      svg.append(element("text", { class: "cl-tick", x: width, y: height + 13, "text-anchor": "end" }, ends[1]))
      svg.append(element("text", { class: "cl-title", x: width / 2, y: height + 27, "text-anchor": "middle" }, `${this.pack.method_words}, ${this.name(this.models[stage])}`))
      box.append(svg)
    }
    const words = document.createElement("p")
    words.innerHTML = `<i class="cl-correct"></i>correct <i class="cl-wrong"></i>incorrect; heights are square roots; those right of the line stop.`
    box.append(words)
  }

  drawExamples() {
    const { stages } = this.evaluated[0]
    const outputs = this.models.map((_, stage) => this.pack.output(this.models, stage))
    const kinds = {
      "stop at once": i => stages[i] === 0,
      "passed on and repaired": i => stages[i] > 0 && outputs[stages[i]].correct[i] > outputs[0].correct[i],
      "broken by the cascade": i => outputs.at(-1).correct[i] > outputs[stages[i]].correct[i],
    }
    const near = i => Math.abs(outputs[0].ranks[i] + 0.5 - this.cuts[0])
    const all = Array.from(stages.keys())
    const box = Object.entries(kinds).map(([kind, is]) => {
      const some = this.more.examples.filter(e => is(e.row)).sort((a, b) => near(a.row) - near(b.row)).slice(0, 12)
      const shown = some.map(e => `<figure>${e.image ? `<img src="${escaped(e.image)}" alt="sample ${e.row}">` : `<div>${escaped(e.text)}</div>`}<figcaption>${e.label === null ? `sample ${e.row}` : escaped(e.label)}</figcaption></figure>`).join("")
      return `<div class="cl-kind"><div><b>${kind}</b> <small>${all.filter(is).length.toLocaleString("en")} where chosen</small></div><div>${shown || "none of those that the page has"}</div></div>`
    })
    this.find(".cl-examples div").innerHTML = box.join("")
  }
}

const ascii = text => JSON.stringify(text).replace(/[\u007f-\uffff]/g, c => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`)
const asNumber = text => text === "always" || text === "never" ? text : Number(text)

/** A front as steps: the accuracy of a point holds until the next costs more. */
function steps(front, x, y) {
  let text = ""
  let last = null
  front.cost.forEach((cost, row) => {
    if (cost <= 0) return
    const px = x(cost).toFixed(1)
    const py = y(front.accuracy[row]).toFixed(1)
    text += last === null ? `M${px},${py}` : `H${px}V${py}`
    last = py
  })
  return text
}

/** At most so many round numbers on a logarithmic axis. */
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

/** The page in a file: arrays at hand, the state after #. */
async function mountFile(el, bytes) {
  const still = el.querySelector("noscript")
  let pack
  try {
    pack = await unpack(bytes)
  } catch (error) {
    still.outerHTML = `<p>The page cannot be opened (${escaped(error.message)}): its file is damaged, or this browser is older than 2023. What it showed when it was saved:</p>${still.textContent}`
    return
  }
  still.remove()
  const view = new View(el, null)
  view.take(pack, pack)
  const openAt = text => {
    try {
      view.open(text)
    } catch (error) {
      if (!view.models) view.open(pack.state)
      view.say(error.message)
    }
  }
  openAt(location.hash.length > 1 ? location.hash : pack.state)
  addEventListener("hashchange", () => { if (location.hash.slice(1) !== view.address()) openAt(location.hash) })
  window.explorer = view
}

/** The page as a widget's view (anywidget). */
function render({ model, el }) {
  let view = null
  let packed = null
  let pack = null
  let busy = Promise.resolve()
  let sliders = []
  const host = {
    ask: message => model.send(message),
    changed(state, finite) {
      if (model.get("state") !== state) {
        model.set("state", state)
        model.save_changes()
      }
      finite.forEach(({ name, value }, stage) => {
        const slider = sliders[stage]
        if (!slider || slider.given === value || slider.get("value") === value && slider.get("description") === name) return
        slider.isOurs = true
        slider.set({ value, description: name })
        slider.save_changes()
        slider.isOurs = false
      })
    },
  }
  const load = () => {
    busy = busy.then(async () => {
      if (model.get("packed") !== packed) {
        packed = model.get("packed")
        pack = await unpack(packed)
      }
      view ??= new View(el, host)
      const isFirst = !view.models
      view.take(pack, JSON.parse(model.get("more")))
      show()
      if (!isFirst && view.awaited) view.arrived()
      else if (!isFirst) view.draw()
    })
  }
  const show = () => {
    if (!view?.pack || view.models && model.get("state") === view.address()) return
    try {
      view.open(model.get("state"))
    } catch (error) {
      if (view.models) return // the arrays that it needs are on their way
      view.say(error.message)
    }
  }
  const say = () => {
    const said = model.get("said")
    if (!said.startsWith("searching")) {
      clearInterval(view?.clock)
      view?.say(said)
    }
  }
  const heard = slider => () => {
    const stage = sliders.indexOf(slider)
    if (slider.isOurs || !view?.models || stage >= view.n - 1) return
    view.ask(stage, slider.get("value"))
  }
  const bind = async () => {
    const ids = model.get("sliders").map(id => id.replace("IPY_MODEL_", ""))
    sliders = await Promise.all(ids.map(id => model.widget_manager.get_model(id)))
    for (const slider of sliders) slider.on("change:value", slider.heard = heard(slider))
  }
  model.on("change:packed", load)
  model.on("change:more", load)
  model.on("change:state", show)
  model.on("change:said", say)
  load()
  bind()
  return () => {
    for (const [name, listener] of [["packed", load], ["more", load], ["state", show], ["said", say]]) model.off(`change:${name}`, listener)
    for (const slider of sliders) slider.off("change:value", slider.heard)
    view?.destroy()
  }
}

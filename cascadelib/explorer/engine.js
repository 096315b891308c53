// The evaluator of cascades of packed models (packing.py) at any cuts, equal to cl.evaluate in every digit.
// A cut is the number of a model's distinct confidences, largest first, that exit: 0 is "never", all of them "always".

const RAW = 255 // digits of a separator that is stored as eight bytes
const Z = 1.959963984540054 // of 95% intervals

/** Inflate the bytes of Packed.to_bytes. */
export async function unpack(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))
  return new Pack(await new Response(stream).arrayBuffer())
}

export class Pack {
  constructor(buffer) {
    this.buffer = buffer
    const length = new DataView(buffer).getUint32(0, true)
    Object.assign(this, JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length))))
    this.start = 4 + length
    this.size = this.splits.reduce((sum, split) => sum + split.samples, 0)
    let from = 0
    for (const split of this.splits) {
      split.from = from
      from += split.samples
      if (split.positive) split.positives = this.bits(split.positive, split.samples)
    }
    this.decoded = new Map()
  }

  slice([offset, length]) { return this.buffer.slice(this.start + offset, this.start + offset + length) }

  bits(place, count) {
    const packed = new Uint8Array(this.slice(place))
    const out = new Uint8Array(count)
    for (let i = 0; i < count; i++) out[i] = packed[i >> 3] >> (i & 7) & 1
    return out
  }

  key(models, stage) { return this.last_only ? `${models[stage]}` : models.slice(0, stage + 1).join(",") }

  /** Whether all outputs of a cascade are packed. */
  holds(models) { return models.every((_, stage) => this.key(models, stage) in this.outputs) }

  /** The output after the models up to a stage: ranks, correct, groups. */
  output(models, stage = models.length - 1) {
    const key = this.key(models, stage)
    if (!this.decoded.has(key)) {
      const packed = this.outputs[key]
      if (!packed) throw new RangeError(`this page does not have the output after ${models.slice(0, stage + 1).map(m => this.models[m]).join(" → ")}`)
      const { correct } = packed
      this.decoded.set(key, {
        groups: packed.groups,
        ends: packed.ends,
        packed,
        ranks: this.ranks(packed),
        correct: correct.bits ? this.bits(correct.bits, this.size) : new Float64Array(this.slice(correct.graded)),
      })
    }
    return this.decoded.get(key)
  }

  ranks({ ranks, groups }) {
    const planes = new Uint8Array(this.slice(ranks))
    const out = groups < 65536 ? new Uint16Array(this.size) : new Uint32Array(this.size)
    for (let plane = 0; plane * this.size < planes.length; plane++)
      for (let i = 0; i < this.size; i++) out[i] += planes[plane * this.size + i] * 2 ** (8 * plane)
    return out
  }

  /** The thresholds between neighbouring confidences, inside (higher = more confident), falling. */
  separators(models, stage) {
    const output = this.output(models, stage)
    if (!output.separators) {
      const { packed, groups } = output
      const digits = new Uint8Array(this.slice(packed.digits))
      const steps = new Uint8Array(this.slice(packed.steps))
      const raw = new Float64Array(this.slice(packed.raw))
      const out = new Float64Array(groups)
      const scales = Array.from({ length: 16 }, (_, i) => Number(`1e${i}`))
      let before = 0, next = 0
      for (let i = 0; i < groups; i++) {
        const scale = scales[digits[i]]
        before = out[i] = digits[i] === RAW ? raw[next++] : (Math.floor(before * scale) - steps[i]) / scale
      }
      output.separators = out
    }
    return output.separators
  }

  /** The threshold of a cut in native units: a number, "always" or "never". */
  threshold(models, stage, cut) {
    if (cut <= 0) return "never"
    if (cut >= this.output(models, stage).groups) return "always"
    return this.sign * this.separators(models, stage)[cut - 1]
  }

  /** The cut of a threshold in native units, at the largest separator that is not above it. */
  cut(models, stage, threshold) {
    const { groups, ends } = this.output(models, stage)
    if (threshold === "never") return 0
    if (threshold === "always") return groups
    const inside = this.sign * threshold
    if (!groups || inside > this.sign * ends[0]) return 0
    const separators = this.separators(models, stage)
    let low = 0, high = groups // the first separator ≤ inside
    while (low < high) {
      const middle = low + high >> 1
      if (separators[middle] <= inside) high = middle
      else low = middle + 1
    }
    return Math.min(low + 1, groups)
  }

  /** The same as a finite number, which a slider can hold. */
  finite(models, stage, cut) {
    const { groups, ends } = this.output(models, stage)
    if (cut <= 0) return this.sign * above(this.sign * ends[0])
    return cut >= groups ? ends[1] : this.sign * this.separators(models, stage)[cut - 1]
  }

  paidBy(models, split, kind) {
    const baseline = split.baselines[kind]
    if (!baseline.paid) return models.map(m => baseline.singles[1][m])
    baseline.decoded ??= new Float64Array(this.slice(baseline.paid))
    return models.map(m => baseline.decoded.subarray(m * split.samples, (m + 1) * split.samples))
  }
}

/** The next float64 above. */
function above(value) {
  if (value === 0) return Number.MIN_VALUE
  const view = new DataView(new ArrayBuffer(8))
  view.setFloat64(0, value)
  view.setBigInt64(0, view.getBigInt64(0) + (value > 0 ? 1n : -1n))
  const next = view.getFloat64(0)
  return Number.isFinite(next) ? next : value
}

/** numpy.interp, with the same order of operations. */
export function interp(x, xs, ys) {
  const last = xs.length - 1
  if (x < xs[0]) return ys[0]
  if (x >= xs[last]) return ys[last]
  let low = 0, high = last
  while (high - low > 1) {
    const middle = low + high >> 1
    if (x >= xs[middle]) low = middle
    else high = middle
  }
  if (x === xs[low]) return ys[low]
  const slope = (ys[low + 1] - ys[low]) / (xs[low + 1] - xs[low])
  return slope * (x - xs[low]) + ys[low]
}

/** The baseline's cost ÷ a cost, or 1 if both are equal. */
export const factor = (baseline, cost) => baseline === cost ? 1 : baseline / cost

/** Cost of the single models' hull at an accuracy, NaN above the best. */
export function costAt({ accuracy, cost }, at) {
  return at <= accuracy[accuracy.length - 1] ? interp(at, accuracy, cost) : NaN
}

/** Wilson's interval of a share of k samples. */
export function shareInterval(share, k) {
  const centre = 2 * k * share + Z * Z
  const half = Z * Math.sqrt(Z * Z + 4 * k * share * (1 - share))
  return [(centre - half) / (2 * (k + Z * Z)), (centre + half) / (2 * (k + Z * Z))]
}

/** Agresti and Min's interval of a paired difference of shares. */
export function differenceInterval(gained, lost, samples) {
  const k = samples + 2
  const difference = (gained - lost) / k
  const half = Z * Math.sqrt((gained + lost + 1) / k - difference * difference) / Math.sqrt(k)
  return [Math.max(-1, difference - half), Math.min(1, difference + half)]
}

/** Evaluate a cascade of models (positions) at cuts on each split. */
export function evaluate(pack, models, cuts, kind) {
  const outputs = outputsOf(pack, models)
  return pack.splits.map(split => evaluateOnSplit(pack, split, outputs, models, cuts, kind))
}

const outputsOf = (pack, models) => models.map((_, stage) => pack.output(models, stage))

/** The stage at which each sample of a split exits, Uint8Array. */
export function exitStages(split, outputs, cuts) {
  const last = outputs.length - 1
  const stages = new Uint8Array(split.samples).fill(last)
  for (let stage = last - 1; stage >= 0; stage--) markExits(stages, split.from, outputs[stage].ranks, cuts[stage], stage)
  return stages
}

function markExits(stages, from, ranks, cut, stage) {
  for (let i = 0; i < stages.length; i++) if (ranks[from + i] < cut) stages[i] = stage
}

/** Accuracy of k samples, or F1 = hits ÷ (hits + half of the errors), with hits the correct positives. */
function scoreOf({ k, correct, hits }, isF1) {
  if (!isF1) return correct / k
  return hits ? 2 * hits / (2 * hits + (k - correct)) : 0
}

/** Mean cost of k samples. A model's load is the number that reaches it, or the sum of their prices. */
function costOf({ k, loads }, paid) {
  let cost = 0
  for (let s = 0; s < loads.length; s++) cost += typeof paid[s] === "number" ? paid[s] * (loads[s] / k) : loads[s] / k
  return cost
}

function evaluateOnSplit(pack, split, outputs, models, cuts, kind) {
  const k = split.samples
  const n = models.length
  const stages = exitStages(split, outputs, cuts)
  const baseline = split.baselines[kind]
  const bestCorrect = pack.output([baseline.best]).correct
  const exits = new Array(n).fill(0)
  const exitsCorrect = new Array(n).fill(0)
  const paid = pack.paidBy(models, split, kind)
  const loads = new Array(n).fill(0)
  const { positives } = split
  let gained = 0, lost = 0, hits = 0
  // One stage at a time, so that each loop reads arrays of one type.
  for (let stage = 0; stage < n; stage++) {
    const stageCorrect = outputs[stage].correct
    let count = 0, sum = 0
    for (let i = 0, at = split.from; i < k; i++, at++) {
      if (stages[i] !== stage) continue
      const correct = stageCorrect[at]
      const difference = correct - bestCorrect[at]
      count++
      sum += correct
      if (difference > 0) gained += difference
      else lost -= difference
      if (positives) hits += positives[i] & correct
    }
    exits[stage] = count
    exitsCorrect[stage] = sum
  }
  let reached = k
  for (let s = 0; s < n; s++) {
    const prices = paid[s]
    if (typeof prices === "number") loads[s] = reached
    else for (let i = 0; i < k; i++) if (stages[i] >= s) loads[s] += prices[i]
    reached -= exits[s]
  }
  const correct = exitsCorrect.reduce((a, b) => a + b)
  const accuracy = scoreOf({ k, correct, hits }, positives)
  const cost = costOf({ k, loads }, paid)
  const best = baseline.accuracy[baseline.accuracy.length - 1]
  const isCounted = !positives && Number.isInteger(gained) && Number.isInteger(lost) && Number.isInteger(correct)
  return {
    split: split.name, k, accuracy, cost, exits, exitsCorrect, stages, correct, hits, loads, gained, lost, best, isCounted,
    reference: baseline.best,
    exitRates: exits.map(count => count / k),
    saving: factor(baseline.cost[baseline.cost.length - 1], cost),
    improvement: factor(costAt(baseline, accuracy), cost),
    difference: accuracy - best,
  }
}

/** Points [cost, accuracy, cut] of a split for all cuts of one stage, from 0 to all, with the other cuts fixed. */
export function curve(pack, split, models, cuts, kind, stage, steps = 600) {
  const outputs = outputsOf(pack, models)
  const paid = pack.paidBy(models, split, kind)
  const { positives } = split
  const { groups, ranks, correct: stageCorrect } = outputs[stage]
  const open = cuts.slice()
  open[stage] = 0
  const { k, stages, correct, hits, loads } = evaluateOnSplit(pack, split, outputs, models, open, kind)
  const every = Math.max(1, Math.floor(groups / steps)) // cuts per point
  const count = Math.ceil(groups / every)
  // Changes when the samples of a bin of `every` ranks exit.
  const gain = new Float64Array(count + 1)
  const hitsGain = new Float64Array(count + 1)
  const saved = outputs.map(() => new Float64Array(count + 1))
  for (let s = stage + 1; s < outputs.length; s++) {
    const later = outputs[s].correct
    const prices = typeof paid[s] === "number" ? null : paid[s]
    const less = saved[s]
    for (let i = 0, at = split.from; i < k; i++, at++) {
      if (stages[i] < s || ranks[at] >= groups) continue
      const bin = Math.floor(ranks[at] / every)
      less[bin] += prices ? prices[i] : 1
      if (stages[i] > s) continue
      const difference = stageCorrect[at] - later[at]
      gain[bin] += difference
      if (positives) hitsGain[bin] += positives[i] * difference
    }
  }
  const now = { k, correct, hits, loads }
  const points = []
  for (let bin = 0; bin <= count; bin++) {
    points.push([costOf(now, paid), scoreOf(now, positives), Math.min(bin * every, groups)])
    now.correct += gain[bin]
    now.hits += hitsGain[bin]
    saved.forEach((less, s) => { loads[s] -= less[bin] })
  }
  return points
}

/** The row of a front that cl.pick chooses, or null: goal is "match_best", "near_best", "max_improvement", {budget} or {accuracy}. */
export function pick(front, baseline, goal) {
  const { accuracy, cost } = front
  const last = accuracy.length - 1
  if (goal === "max_improvement") {
    let best = null, most = -Infinity
    accuracy.forEach((a, row) => {
      const improvement = factor(costAt(baseline, a), cost[row])
      if (improvement > most) [best, most] = [row, improvement]
    })
    return best
  }
  if (goal.budget !== undefined) {
    const above = cost.findIndex(c => c > goal.budget)
    if (above === 0) return null
    return above < 0 ? last : above - 1
  }
  const row = accuracy.findIndex(a => a >= (goal.accuracy ?? baseline.accuracy[baseline.accuracy.length - 1]))
  if (row < 0) return goal === "near_best" ? last : null
  return row
}

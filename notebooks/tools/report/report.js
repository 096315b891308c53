// Figures follow the page. On a phone their panels stand one below the other, legends below them, titles in more lines.
const PHONE = matchMedia("(max-width: 600px)")
const WIDE = matchMedia("(min-width: 1320px)")
const LINE = 21  // pixels of a line of a legend
// One column of panels: how many pixels a panel is high, and what lies between two; where there are many, two columns.
const ONE = { sides: [[0, 1]], panel: 260, between: 100 }
const TWO = { sides: [[0, 0.44], [0.56, 1]], panel: 110, between: 60 }

const numbered = (layout, name) => Object.keys(layout).filter(key => new RegExp(`^${name}\\d*$`).test(key))
const copy = value => value === undefined ? null : structuredClone(value)

// Text in lines of at most so many characters; what is a tag counts for nothing.
function wrapped(text, most) {
    const lines = String(text).split("<br>").flatMap(line => {
        const out = [""]
        for (const word of line.split(" ")) {
            const longer = out.at(-1) ? `${out.at(-1)} ${word}` : word
            longer.replace(/<[^>]*>/g, "").length > most && out.at(-1) ? out.push(word) : out[out.length - 1] = longer
        }
        return out
    })
    return [lines.join("<br>"), lines.length]
}

function panelsOf({ layout, data }) {
    const of = key => ({
        x: key, y: key.replace("x", "y"), across: layout[key].domain ?? [0, 1],
        up: layout[key.replace("x", "y")]?.domain ?? [0, 1],
    })
    const drawn = new Set(data.map(trace => `xaxis${(trace.xaxis ?? "x").slice(1)}`))
    const panels = numbered(layout, "xaxis").filter(key => drawn.has(key)).map(of)
    return panels.sort((a, b) => b.up[1] - a.up[1] || a.across[0] - b.across[0])
}

// What a figure's layout is on a phone: {attribute: value}, and the same for its bars of colour.
function onPhone(plot, width) {
    const { layout } = plot, panels = panelsOf(plot), legends = numbered(layout, "legend")
    const template = layout.template?.layout ?? {}, margin = { ...template.margin, ...layout.margin }
    margin.r = Math.min(layout.margin?.r ?? 12, 130)  // names of lines stand there
    const full = layout.height ?? template.height ?? 450
    const isNamed = trace => trace.name && trace.showlegend !== false && layout.showlegend !== false
    const names = plot.data.filter(isNamed)
    const entries = legend => names.filter(trace => (trace.legend ?? "legend") === legend).length * LINE + 20
    const own = legends.length > 1 ? Math.max(...legends.map(entries)) : 0  // each panel's legend below it
    const [title, lines] = wrapped(layout.title?.text ?? "", Math.floor(width / 9))
    const { sides, panel, between } = panels.length > 8 ? TWO : ONE, rows = Math.ceil(panels.length / sides.length)
    const hasBarAbove = plot.data.some(trace => trace.marker?.colorbar?.orientation === "h")
    const top = layout.title?.text ? 40 + LINE * lines : hasBarAbove ? 60 : 10
    const inside = rows === 1 ? Math.max(panel, full - (margin.t ?? 50) - (margin.b ?? 55)) : panel
    const gap = between + own, total = inside * rows + gap * (rows - 1)
    const low = 60 + (layout.annotations?.some(note => note.yref === "paper" && note.y <= 0) ? 30 : 0)
    const below = own ? own + low : low + 10 + (legends.length || names.length > 1 ? entries("legend") : 0)
    const left = margin.l > 100 ? { l: 10 } : { l: Math.min(margin.l ?? 70, 60) }
    const change = {
        height: total + top + below, margin: { ...margin, ...left, t: top, b: below },
        "title.text": title, "title.y": 1 - 12 / (total + top + below), "title.yanchor": "top",
        "title.yref": "container",
    }
    const places = panels.map((panel, i) => {
        const high = 1 - Math.floor(i / sides.length) * (inside + gap) / total
        const to = panels.length > 1 ? [Math.max(0, high - inside / total), high] : panel.up  // with room above it
        return { ...panel, to, side: sides[i % sides.length] }
    })
    places.forEach(({ x, y, to, side }) => {
        change[`${x}.domain`] = side
        change[`${y}.domain`] = to
        change[`${y}.automargin`] = change[`${x}.automargin`] = true
        for (const [axis, name] of [[x, "xaxis"], [y, "yaxis"]]) {
            if (layout[axis]?.showticklabels !== false) continue
            const first = places.find(place => layout[place[name[0]]]?.showticklabels !== false)
            change[`${axis}.showticklabels`] = true
            change[`${axis}.title.text`] = layout[first?.[name[0]]]?.title?.text ?? ""
        }
        if (margin.l > 100) change[`${y}.tickfont.size`] = 9
        const said = change[`${x}.title.text`] ?? layout[x]?.title?.text  // in lines, as the title
        const across = (plot._fullLayout?._size.w ?? width) * (side[1] - side[0])
        if (said) change[`${x}.title.text`] = wrapped(said, Math.floor(Math.min(across / 7, width / 10)))[0]
    })
    for (const x of numbered(layout, "xaxis").filter(key => !places.some(place => place.x === key))) {
        change[`${x}.visible`] = change[`${x.replace("x", "y")}.visible`] = false
    }
    if (layout.annotations) {
        change.annotations = layout.annotations.map(note => {
            if (note.xref !== "paper" || note.yref !== "paper") return note
            const inX = ({ across }) => across[0] - 0.01 <= note.x && note.x <= across[1] + 0.01
            const home = places.find(place => inX(place) && Math.abs(place.up[1] - note.y) < 0.03)
            const middle = home && (home.side[0] + home.side[1]) / 2
            return home ? { ...note, x: middle, y: home.to[1], text: wrapped(note.text, 50)[0] } : note
        })
    }
    const under = { orientation: own ? "v" : "h", x: 0, xanchor: "left", yanchor: "top", yref: "paper" }
    for (const legend of own ? legends : ["legend"]) {
        const first = plot.data.find(trace => (trace.legend ?? "legend") === legend)
        const axis = own ? "yaxis" + (first?.yaxis ?? "y").slice(1) : places.at(-1).y
        const home = places.find(place => place.y === axis) ?? places.at(-1)
        change[legend] = { ...layout[legend], ...under, y: home.to[0] - low / total, font: { size: 11 } }
    }
    const bars = plot.data.map((trace, i) => [i, trace]).filter(([, trace]) => trace.marker?.colorbar && trace.marker.colorbar.orientation !== "h")
    const traces = bars.map(([i, trace]) => {
        const { y, to } = places.find(place => place.y === "yaxis" + (trace.yaxis ?? "y").slice(1)) ?? places[0]
        const bar = { x: 1, y: (to[0] + to[1]) / 2, len: to[1] - to[0] }
        return [i, Object.fromEntries(Object.entries(bar).map(([key, value]) => [`marker.colorbar.${key}`, value]))]
    })
    return [change, traces]
}

const valueAt = (object, path) => copy(path.split(".").reduce((at, key) => at?.[key], object))
const nowOf = (object, change) => Object.fromEntries(Object.keys(change).map(path => [path, valueAt(object, path)]))

async function resized(plot, change) {
    await Plotly.relayout(plot, change)
    plot.parentElement.style.height = `${plot._fullLayout.height}px`
}

async function fit(plot) {
    if (PHONE.matches && !plot.wide) {
        const [change, traces] = onPhone(plot, plot.parentElement.clientWidth)
        plot.wide = [nowOf(plot.layout, change), traces.map(([i, bar]) => [i, nowOf(plot.data[i], bar)])]
        for (const [i, bar] of traces) await Plotly.restyle(plot, bar, [i])
        await resized(plot, change)
    } else if (!PHONE.matches && plot.wide) {
        const [change, traces] = plot.wide
        plot.wide = null
        for (const [i, bar] of traces) await Plotly.restyle(plot, bar, [i])
        await resized(plot, change)
    }
}

const fitAll = async () => {
    for (const plot of document.querySelectorAll(".js-plotly-plot")) await fit(plot)
    document.body.dataset.fitted = PHONE.matches ? "phone" : "page"
}
const open = () => document.querySelectorAll("details.contents").forEach(part => part.open = WIDE.matches)
open()
WIDE.addEventListener("change", open)
PHONE.addEventListener("change", fitAll)
window.addEventListener("load", fitAll)

// Names in tables break after underscores. A table that is still too wide breaks anywhere on a phone.
for (const table of document.querySelectorAll("table.dataframe")) {
    for (const cell of table.querySelectorAll("th, td")) {
        const parts = cell.textContent.split(/(?<=[_@])(?=.)/)
        if (!cell.children.length && parts.length > 1) cell.replaceChildren(...parts.flatMap(part => [part, document.createElement("wbr")]))
    }
}
const tighten = () => {
    for (const table of document.querySelectorAll("table.dataframe")) {
        table.classList.remove("tight")
        if (table.scrollWidth > table.clientWidth + 1) table.classList.add("tight")
    }
}
tighten()
PHONE.addEventListener("change", tighten)

// A column of a table that holds words is read from the left; numbers stand below each other.
for (const table of document.querySelectorAll("table.dataframe")) {
    const rows = [...table.tBodies].flatMap(body => [...body.rows])
    const heads = [...(table.tHead?.rows ?? [])]
    const width = Math.max(0, ...rows.map(row => row.cells.length))
    for (let column = 0; column < width; column++) {
        const cells = rows.map(row => row.cells[column]).filter(Boolean)
        if (cells.every(cell => cell.tagName === "TH" && cell.textContent.length < 40)) continue
        if (!cells.some(cell => /[a-z]{3,}.* .*[a-z]{3,}/i.test(cell.textContent))) continue
        for (const row of [...heads, ...rows]) row.cells[column]?.classList.add("text")
    }
}

// A range input with a name and its value in words, which tells when a hand is on it: see Slider in controls.py.
export default {
  render({ model, el }) {
    const input = document.createElement("input")
    Object.assign(input, { type: "range", min: 0, max: model.get("most"), step: 1 })
    input.style.cssText = "width: 100%; margin: 0"
    const put = (key, value) => {
      if (model.get(key) === value) return
      model.set(key, value)
      model.save_changes()
    }
    const show = () => {
      if (!model.get("held")) input.value = model.get("value")
      input.setAttribute("aria-label", model.get("label"))
      input.setAttribute("aria-valuetext", model.get("text"))
      input.title = model.get("label")
    }
    const release = () => put("held", false)
    input.addEventListener("input", () => put("value", input.valueAsNumber))
    input.addEventListener("pointerdown", () => put("held", true))
    input.addEventListener("keydown", event => {
      event.stopPropagation() // the notebook has keys of its own
      if (/^(Arrow|Page|Home|End)/.test(event.key)) put("held", true)
    })
    for (const kind of ["pointerup", "pointercancel", "keyup", "blur"]) input.addEventListener(kind, release)
    window.addEventListener("pointerup", release)
    for (const key of ["value", "label", "text", "held"]) model.on(`change:${key}`, show)
    release()
    show()
    el.append(input)
    return () => {
      window.removeEventListener("pointerup", release)
      for (const key of ["value", "label", "text", "held"]) model.off(`change:${key}`, show)
    }
  },
}

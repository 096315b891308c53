// How wide the explorer may be, told to the kernel, which lays out the charts: see Page in charts.py.
export default {
  render({ model, el }) {
    const { body } = document
    // JupyterLab has its own theme; a page of Voilà follows the system, unless it is served as dark already.
    if (body.dataset.voila && body.dataset.jpThemeLight !== "false" && matchMedia("(prefers-color-scheme: dark)").matches) {
      body.dataset.jpThemeLight = "false"
      body.classList.add("cascadelib-dark")
    }
    let timer
    const tell = () => {
      const width = Math.floor(el.getBoundingClientRect().width)
      if (width < 50 || width === model.get("width")) return // on a page that is not shown
      if (!el.parentElement?.parentElement?.querySelector(".js-plotly-plot .main-svg")) { // which would not hear of it yet
        timer = setTimeout(tell, 100)
        return
      }
      model.set("width", width)
      model.save_changes()
    }
    const observer = new ResizeObserver(() => {
      clearTimeout(timer)
      timer = setTimeout(tell, 60)
    })
    observer.observe(el)
    return () => observer.disconnect()
  },
}
